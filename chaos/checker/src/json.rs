//! A history as text: one JSON object per line.
//!
//! | field | of | meaning |
//! |---|---|---|
//! | `client` | all | number or word |
//! | `op` | all | `get`, `put`, `append`, `delete`, `cas`, `scan` |
//! | `key` | all but scan | |
//! | `value` | put, append, cas | what is written |
//! | `expect` | cas | the value that must be there; null: no such key |
//! | `from`, `to`, `limit` | scan | absent or null: from the first, to the last, all |
//! | `call_ns`, `return_ns` | all | on one clock; `return_ns` null or absent when unknown |
//! | `outcome` | all | `ok`, `fail`, `unknown` |
//! | `result` | ok | get: value or null; delete, cas: true or false; scan: a list of `{key, value}`. A delete may lack it |
//! | `position`, `version`, `session`, `seq`, `node` | all | may be absent |
//!
//! Bytes that are not UTF-8 stand in base 64 in the field of that name with `_b64` behind it. Fields that are not named here are ignored.

use std::borrow::Cow;
use std::io::{self, BufRead, Read, Write};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as STANDARD;
use serde::{Deserialize, Deserializer, Serialize};

use crate::history::{Answer, Call, History, Name, Op, OpError, Outcome};

/// A longer line is refused before it is held: a value has at most 1 MiB, and a scan at most some tens of them.
pub const LINE_LEN_MAX: usize = 64 << 20;

/// Why a file is not a history.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It could not be read.
    #[error("line {line}: {source}")]
    Io {
        /// Counted from 1.
        line: u64,
        /// What the system says.
        source: io::Error,
    },
    /// A line is no operation.
    #[error("line {line}: {reason}")]
    Line {
        /// Counted from 1.
        line: u64,
        /// What is wrong with it.
        reason: LineError,
    },
}

/// Why a line is no operation.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// See [`LINE_LEN_MAX`].
    #[error("longer than {LINE_LEN_MAX} bytes")]
    TooLong,
    /// Not JSON, or a field of the wrong kind.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// A field that such an operation must have.
    #[error("a {op} must have `{field}`")]
    Missing {
        /// Which operation.
        op: &'static str,
        /// Which field.
        field: &'static str,
    },
    /// Bytes in two notations at once.
    #[error("both `{0}` and `{0}_b64`")]
    Twice(&'static str),
    /// A field ending in `_b64`.
    #[error("`{0}_b64` is not base 64")]
    Base64(&'static str),
    /// The fields contradict each other.
    #[error("{0}")]
    Op(#[from] OpError),
}

/// Reads all lines; empty ones are skipped.
///
/// # Errors
///
/// The first line that is no operation: its number and the reason.
pub fn read(mut input: impl BufRead) -> Result<History, ReadError> {
    let mut history = History::new();
    let mut text = Vec::new();
    for line in 1.. {
        text.clear();
        input.by_ref().take(LINE_LEN_MAX as u64 + 1).read_until(b'\n', &mut text).map_err(|source| ReadError::Io { line, source })?;
        if text.is_empty() {
            break;
        }
        if text.len() > LINE_LEN_MAX {
            return Err(ReadError::Line { line, reason: LineError::TooLong });
        }
        if text.trim_ascii().is_empty() {
            continue;
        }
        parse(&text).and_then(|op| Ok(history.push(op)?)).map_err(|reason| ReadError::Line { line, reason })?;
    }
    Ok(history)
}

/// One operation from one line.
///
/// # Errors
///
/// It is none.
pub fn parse(line: &[u8]) -> Result<Op, LineError> {
    serde_json::from_slice::<Line<'_>>(line)?.into_op()
}

/// One operation and a line feed.
///
/// # Errors
///
/// Those of `out`.
pub fn write(op: &Op, out: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, &Line::from_op(op))?;
    out.write_all(b"\n")
}

type Text<'a> = Option<Cow<'a, str>>;

/// `#[serde(default, deserialize_with = "present")]`: absent is `None`, null is `Some(None)`.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

#[derive(Serialize, Deserialize)]
struct Line<'a> {
    client: Id<'a>,
    op: Kind,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    key: Text<'a>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    key_b64: Text<'a>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    value: Text<'a>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    value_b64: Text<'a>,
    #[serde(borrow, default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    expect: Option<Text<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    expect_b64: Text<'a>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    from: Text<'a>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    from_b64: Text<'a>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    to: Text<'a>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    to_b64: Text<'a>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    limit: Option<u64>,
    call_ns: u64,
    #[serde(default)]
    return_ns: Option<u64>,
    outcome: End,
    #[serde(borrow, default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    result: Option<Found<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    result_b64: Text<'a>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    position: Option<u64>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    session: Option<Id<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    node: Option<Id<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Id<'a> {
    Number(u64),
    Text(Cow<'a, str>),
}

impl<'a> Id<'a> {
    fn name(self) -> Name {
        match self {
            Id::Number(number) => Name::Number(number),
            Id::Text(text) => Name::Text(text.into()),
        }
    }

    fn of(name: &'a Name) -> Id<'a> {
        match name {
            Name::Number(number) => Id::Number(*number),
            Name::Text(text) => Id::Text(Cow::Borrowed(text)),
        }
    }
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Get,
    Put,
    Append,
    Delete,
    Cas,
    Scan,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum End {
    Ok,
    Fail,
    Unknown,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Found<'a> {
    Absent(()),
    Flag(bool),
    #[serde(borrow)]
    Value(Cow<'a, str>),
    #[serde(borrow)]
    List(Vec<Item<'a>>),
}

#[derive(Serialize, Deserialize)]
struct Item<'a> {
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    key: Text<'a>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    key_b64: Text<'a>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    value: Text<'a>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    value_b64: Text<'a>,
}

/// The bytes of a field, from whichever notation is there.
fn bytes(field: &'static str, text: Text<'_>, b64: Text<'_>) -> Result<Option<Vec<u8>>, LineError> {
    match (text, b64) {
        (Some(_), Some(_)) => Err(LineError::Twice(field)),
        (Some(text), None) => Ok(Some(text.into_owned().into_bytes())),
        (None, Some(b64)) => STANDARD.decode(b64.as_bytes()).map(Some).map_err(|_| LineError::Base64(field)),
        (None, None) => Ok(None),
    }
}

/// Text if it is, else base 64.
fn notation(bytes: &[u8]) -> (Text<'_>, Text<'static>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (Some(Cow::Borrowed(text)), None),
        Err(_) => (None, Some(Cow::Owned(STANDARD.encode(bytes)))),
    }
}

impl<'a> Line<'a> {
    fn into_op(self) -> Result<Op, LineError> {
        let op = match self.op {
            Kind::Get => "get",
            Kind::Put => "put",
            Kind::Append => "append",
            Kind::Delete => "delete",
            Kind::Cas => "cas",
            Kind::Scan => "scan",
        };
        let missing = |field| LineError::Missing { op, field };
        let key = bytes("key", self.key, self.key_b64)?;
        let value = bytes("value", self.value, self.value_b64)?;
        let expect_null = self.expect.as_ref().is_some_and(Option::is_none);
        let expect = bytes("expect", self.expect.flatten(), self.expect_b64)?;
        let call = match self.op {
            Kind::Scan => {
                Call::Scan { from: bytes("from", self.from, self.from_b64)?, to: bytes("to", self.to, self.to_b64)?, limit: self.limit }
            }
            kind => {
                let key = key.ok_or(missing("key"))?;
                match kind {
                    Kind::Put => Call::Put { key, value: value.ok_or(missing("value"))? },
                    Kind::Append => Call::Append { key, value: value.ok_or(missing("value"))? },
                    Kind::Delete => Call::Delete { key },
                    Kind::Cas if expect.is_none() && !expect_null => return Err(missing("expect")),
                    Kind::Cas => Call::Cas { key, expect, value: value.ok_or(missing("value"))? },
                    Kind::Get | Kind::Scan => Call::Get { key },
                }
            }
        };
        let outcome = match self.outcome {
            End::Fail => Outcome::Fail,
            End::Unknown => Outcome::Unknown,
            End::Ok => Outcome::Ok(match (call.is_read(), self.result, self.result_b64) {
                (_, Some(_), Some(_)) => return Err(LineError::Twice("result")),
                (true, None, None) => return Err(missing("result")),
                (_, None, Some(b64)) => Answer::Value(Some(STANDARD.decode(b64.as_bytes()).map_err(|_| LineError::Base64("result"))?)),
                (_, Some(Found::Value(text)), None) => Answer::Value(Some(text.into_owned().into_bytes())),
                (true, Some(Found::Absent(())), None) => Answer::Value(None),
                (false, Some(Found::Flag(flag)), None) if matches!(call, Call::Delete { .. } | Call::Cas { .. }) => Answer::Flag(flag),
                (_, Some(Found::List(items)), None) => Answer::List(items.into_iter().map(Item::pair).collect::<Result<_, _>>()?),
                // A cas must say whether it swapped: `push` refuses one that does not.
                (false, None | Some(Found::Absent(())), None) => Answer::Done,
                (_, Some(Found::Flag(_)), None) => return Err(OpError::WrongAnswer.into()),
            }),
        };
        Ok(Op {
            client: self.client.name(),
            call,
            call_ns: self.call_ns,
            return_ns: self.return_ns,
            outcome,
            position: self.position,
            version: self.version,
            session: self.session.map(Id::name),
            seq: self.seq,
            node: self.node.map(Id::name),
        })
    }

    fn from_op(op: &'a Op) -> Line<'a> {
        let mut line = Line {
            client: Id::of(&op.client),
            op: Kind::Get,
            key: None,
            key_b64: None,
            value: None,
            value_b64: None,
            expect: None,
            expect_b64: None,
            from: None,
            from_b64: None,
            to: None,
            to_b64: None,
            limit: None,
            call_ns: op.call_ns,
            return_ns: op.return_ns,
            outcome: End::Unknown,
            result: None,
            result_b64: None,
            position: op.position,
            session: op.session.as_ref().map(Id::of),
            seq: op.seq,
            node: op.node.as_ref().map(Id::of),
            version: op.version,
        };
        (line.key, line.key_b64) = op.call.key().map_or((None, None), notation);
        match &op.call {
            Call::Get { .. } => {}
            Call::Put { value, .. } => (line.op, (line.value, line.value_b64)) = (Kind::Put, notation(value)),
            Call::Append { value, .. } => (line.op, (line.value, line.value_b64)) = (Kind::Append, notation(value)),
            Call::Delete { .. } => line.op = Kind::Delete,
            Call::Cas { expect, value, .. } => {
                line.op = Kind::Cas;
                (line.value, line.value_b64) = notation(value);
                match expect.as_deref().map(notation) {
                    None => line.expect = Some(None),
                    Some((text, b64)) => (line.expect, line.expect_b64) = (text.map(Some), b64),
                }
            }
            Call::Scan { from, to, limit } => {
                line.op = Kind::Scan;
                (line.from, line.from_b64) = from.as_deref().map_or((None, None), notation);
                (line.to, line.to_b64) = to.as_deref().map_or((None, None), notation);
                line.limit = *limit;
            }
        }
        match &op.outcome {
            Outcome::Unknown => {}
            Outcome::Fail => line.outcome = End::Fail,
            Outcome::Ok(answer) => {
                line.outcome = End::Ok;
                match answer {
                    Answer::Done => {}
                    Answer::Value(None) => line.result = Some(Found::Absent(())),
                    Answer::Value(Some(value)) => {
                        let (text, b64) = notation(value);
                        (line.result, line.result_b64) = (text.map(Found::Value), b64);
                    }
                    Answer::Flag(flag) => line.result = Some(Found::Flag(*flag)),
                    Answer::List(items) => line.result = Some(Found::List(items.iter().map(|(key, value)| Item::of(key, value)).collect())),
                }
            }
        }
        line
    }
}

impl<'a> Item<'a> {
    fn pair(self) -> Result<(Vec<u8>, Vec<u8>), LineError> {
        let missing = |field| LineError::Missing { op: "scan's item", field };
        let key = bytes("key", self.key, self.key_b64)?.ok_or(missing("key"))?;
        let value = bytes("value", self.value, self.value_b64)?.ok_or(missing("value"))?;
        Ok((key, value))
    }

    fn of(key: &'a [u8], value: &'a [u8]) -> Item<'a> {
        let ((key, key_b64), (value, value_b64)) = (notation(key), notation(value));
        Item { key, key_b64, value, value_b64 }
    }
}
