//! What clients asked, when, and what they were told.

use std::fmt;
use std::sync::Arc;

/// A client, session or node, as its own system calls it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Name {
    /// A number.
    Number(u64),
    /// A word.
    Text(Arc<str>),
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Name::Number(number) => write!(f, "{number}"),
            Name::Text(text) => f.write_str(text),
        }
    }
}

impl From<u64> for Name {
    fn from(number: u64) -> Name {
        Name::Number(number)
    }
}

impl From<&str> for Name {
    fn from(text: &str) -> Name {
        Name::Text(text.into())
    }
}

/// What a client asks for. Keys and values are any bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// The value of a key.
    Get {
        /// Which.
        key: Vec<u8>,
    },
    /// Writes a value.
    Put {
        /// Where.
        key: Vec<u8>,
        /// What.
        value: Vec<u8>,
    },
    /// Writes behind what is there; a missing key is made.
    Append {
        /// Where.
        key: Vec<u8>,
        /// What is added.
        value: Vec<u8>,
    },
    /// Removes a key.
    Delete {
        /// Which.
        key: Vec<u8>,
    },
    /// Writes `value` if the key now has `expect`; `None` expects no such key.
    Cas {
        /// Where.
        key: Vec<u8>,
        /// What must be there.
        expect: Option<Vec<u8>>,
        /// What is written if it is.
        value: Vec<u8>,
    },
    /// All keys from `from` (included) to `to` (not included), in byte order, at most `limit` of them.
    Scan {
        /// The first key that counts; `None`: the first there is.
        from: Option<Vec<u8>>,
        /// The first that no longer counts; `None`: there is no end.
        to: Option<Vec<u8>>,
        /// No more than this.
        limit: Option<u64>,
    },
}

impl Call {
    /// Whether the call can change nothing.
    #[must_use]
    pub fn is_read(&self) -> bool {
        matches!(self, Call::Get { .. } | Call::Scan { .. })
    }

    /// Its key; a scan has none.
    #[must_use]
    pub fn key(&self) -> Option<&[u8]> {
        match self {
            Call::Get { key } | Call::Put { key, .. } | Call::Append { key, .. } | Call::Delete { key } | Call::Cas { key, .. } => {
                Some(key)
            }
            Call::Scan { .. } => None,
        }
    }
}

/// What a completed call said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Done, and nothing else: put, append, and a delete that does not tell whether the key existed.
    Done,
    /// Of a get: what is there, or that there is no such key.
    Value(Option<Vec<u8>>),
    /// Of a delete, whether the key existed; of a cas, whether it swapped.
    Flag(bool),
    /// Of a scan: keys and values, in byte order of the keys.
    List(Vec<(Vec<u8>, Vec<u8>)>),
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It took effect, between call and return.
    Ok(Answer),
    /// It had no effect, and never will.
    Fail,
    /// It may have happened at any time after its call, may still happen, or never.
    Unknown,
}

/// One operation of one client: an interval, what was asked and what was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Op {
    /// Who.
    pub client: Name,
    /// What was asked.
    pub call: Call,
    /// When, on the clock that all of the history shares.
    pub call_ns: u64,
    /// When the answer came. `None`: never.
    pub return_ns: Option<u64>,
    /// What came of it.
    pub outcome: Outcome,
    /// Where in the log it took effect; of a read, the last position that it saw. An unknown write that has one did happen.
    pub position: Option<u64>,
    /// How many writes the key has seen since it was created, with this one; 0: there is no such key.
    pub version: Option<u64>,
    /// For the reader.
    pub session: Option<Name>,
    /// For the reader.
    pub seq: Option<u64>,
    /// Which node answered, for the reader.
    pub node: Option<Name>,
}

impl Op {
    /// A call whose outcome is not known yet.
    #[must_use]
    pub fn new(client: impl Into<Name>, call: Call, call_ns: u64) -> Op {
        Op {
            client: client.into(),
            call,
            call_ns,
            return_ns: None,
            outcome: Outcome::Unknown,
            position: None,
            version: None,
            session: None,
            seq: None,
            node: None,
        }
    }

    /// The same, answered.
    #[must_use]
    pub fn ok(mut self, return_ns: u64, answer: Answer) -> Op {
        self.return_ns = Some(return_ns);
        self.outcome = Outcome::Ok(answer);
        self
    }

    /// The same, refused.
    #[must_use]
    pub fn fail(mut self, return_ns: u64) -> Op {
        self.return_ns = Some(return_ns);
        self.outcome = Outcome::Fail;
        self
    }

    /// The same, at this position.
    #[must_use]
    pub fn at(mut self, position: u64) -> Op {
        self.position = Some(position);
        self
    }

    fn check(&self) -> Result<(), OpError> {
        if self.return_ns.is_some_and(|return_ns| return_ns < self.call_ns) {
            return Err(OpError::ReturnBeforeCall);
        }
        if self.return_ns.unwrap_or(self.call_ns) > TIME_NS_MAX {
            return Err(OpError::TooLate);
        }
        let Outcome::Ok(answer) = &self.outcome else { return Ok(()) };
        if self.return_ns.is_none() {
            return Err(OpError::NoReturn);
        }
        match (&self.call, answer) {
            (Call::Get { .. }, Answer::Value(_))
            | (Call::Put { .. } | Call::Append { .. } | Call::Delete { .. }, Answer::Done)
            | (Call::Delete { .. } | Call::Cas { .. }, Answer::Flag(_)) => Ok(()),
            (Call::Scan { from, to, limit }, Answer::List(items)) => {
                let in_order = items.windows(2).all(|pair| pair[0].0 < pair[1].0);
                let within =
                    items.iter().all(|(key, _)| from.as_ref().is_none_or(|from| from <= key) && to.as_ref().is_none_or(|to| key < to));
                let few = limit.is_none_or(|limit| items.len() as u64 <= limit);
                if in_order && within && few { Ok(()) } else { Err(OpError::WrongScan) }
            }
            _ => Err(OpError::WrongAnswer),
        }
    }
}

/// 292 years; behind it there is room for "never".
const TIME_NS_MAX: u64 = 1 << 63;

/// Why an operation cannot be part of a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpError {
    /// Time runs backwards.
    #[error("it returns before it is called")]
    ReturnBeforeCall,
    /// Later than any clock.
    #[error("its times are beyond 2^63 ns")]
    TooLate,
    /// Completed, but when?
    #[error("it is ok and has no return_ns")]
    NoReturn,
    /// An answer to something else.
    #[error("its result is not one that such a call can have")]
    WrongAnswer,
    /// Of a scan.
    #[error("its result is out of order, outside from and to, or longer than limit")]
    WrongScan,
}

/// Operations, in any order. The store was empty before the first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    ops: Vec<Op>,
}

impl History {
    /// None yet.
    #[must_use]
    pub fn new() -> History {
        History::default()
    }

    /// Adds one; its number in verdicts is how many there were before it.
    ///
    /// # Errors
    ///
    /// The operation contradicts itself.
    pub fn push(&mut self, op: Op) -> Result<(), OpError> {
        op.check()?;
        self.ops.push(op);
        Ok(())
    }

    /// All of them.
    #[must_use]
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }

    /// The same history of a system that has no positions and no versions.
    #[must_use]
    pub fn without_positions(mut self) -> History {
        for op in &mut self.ops {
            op.position = None;
            op.version = None;
        }
        self
    }
}
