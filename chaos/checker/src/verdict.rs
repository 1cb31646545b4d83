//! What the checker says, and how it shows it.

use std::collections::BTreeMap;
use std::fmt;

use crate::history::{Answer, Call, History, Op, Outcome};

/// Of a whole history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Some order of the operations, each at a moment between its call and its return, gives every answer that was given.
    Linearizable,
    /// There is no such order.
    Violation(Box<Violation>),
    /// The checker gave up.
    Unknown(GaveUp),
}

/// What there was too much of.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GaveUp {
    /// The search for an order.
    #[error("{ops} operations {on} need more than {steps_max} steps to search", on = on(key))]
    Steps {
        /// The hot key; `None`: many, tied together by scans.
        key: Option<Vec<u8>>,
        /// How many operations touch it.
        ops: usize,
        /// See [`crate::Limits`].
        steps_max: u64,
    },
    /// What the search must remember.
    #[error("{ops} operations {on} need more than {states_max} states to search", on = on(key))]
    States {
        /// The hot key; `None`: many, tied together by scans.
        key: Option<Vec<u8>>,
        /// How many operations touch it.
        ops: usize,
        /// See [`crate::Limits`].
        states_max: usize,
    },
}

fn on(key: &Option<Vec<u8>>) -> String {
    key.as_ref().map_or("on keys that are scanned together".into(), |key| format!("on key {}", show(key)))
}

/// The names of what goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Anomaly {
    /// An answer from before a write that had completed.
    StaleRead,
    /// A completed write that nobody ever sees.
    LostWrite,
    /// One write that took effect twice.
    Duplicate,
    /// Two histories of one key: each shows what the other lacks.
    Fork,
    /// Somebody saw a write, and a later read does not.
    NonMonotonicRead,
    /// A value that nobody wrote, or that was not written yet.
    PhantomValue,
    /// Writes that took effect in another order than they were made, one after the other.
    ReorderedWrites,
    /// The answers fit together, the positions given with them do not.
    WrongPosition,
}

impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Anomaly::StaleRead => "stale read",
            Anomaly::LostWrite => "lost write",
            Anomaly::Duplicate => "duplicate",
            Anomaly::Fork => "fork",
            Anomaly::NonMonotonicRead => "non-monotonic read",
            Anomaly::PhantomValue => "phantom value",
            Anomaly::ReorderedWrites => "reordered writes",
            Anomaly::WrongPosition => "wrong position",
        })
    }
}

/// A history that no single copy could have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Its name.
    pub anomaly: Anomaly,
    /// Where; `None`: it takes more than one key.
    pub key: Option<Vec<u8>>,
    /// The numbers of the operations that prove it, in order of their calls, at most [`OPS_MAX`].
    pub ops: Vec<usize>,
    /// The proof in words: what each of them is, then why they cannot all be true.
    pub sentences: Vec<String>,
    /// Their intervals, each a line.
    pub drawing: String,
}

/// So many operations explain anything; more explain nothing.
pub const OPS_MAX: usize = 6;

/// A longer scan is only counted.
const LISTED_MAX: usize = 4;

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key {
            Some(key) => writeln!(f, "{} on key {}", self.anomaly, show(key))?,
            None => writeln!(f, "{}", self.anomaly)?,
        }
        for sentence in &self.sentences {
            writeln!(f, "  {sentence}")?;
        }
        f.write_str(&self.drawing)
    }
}

/// A part of the proof.
pub(crate) enum Why {
    /// The first had returned before the second was called.
    Before(usize, usize),
    /// The first is an operation, the rest is said of it: "A saw ...".
    Of(usize, String),
    /// Of no operation in particular.
    Text(String),
}

impl Violation {
    /// `ops` prove it, the most telling first, for these reasons.
    pub(crate) fn new(history: &History, anomaly: Anomaly, key: Option<&[u8]>, ops: &[usize], why: &[Why]) -> Box<Violation> {
        let mut chosen: Vec<usize> = Vec::new();
        for op in ops {
            if !chosen.contains(op) && chosen.len() < OPS_MAX {
                chosen.push(*op);
            }
        }
        chosen.sort_by_key(|op| (history.ops()[*op].call_ns, *op));
        let label =
            |op: &usize| chosen.iter().zip('A'..).find(|(chosen, _)| *chosen == op).map_or(format!("#{op}"), |(_, label)| label.into());
        let mut sentences: Vec<String> =
            chosen.iter().map(|op| format!("{} (#{op}): {}.", label(op), describe(&history.ops()[*op], key))).collect();
        sentences.extend(why.iter().map(|why| match why {
            Why::Before(first, second) => format!("{} had returned before {} was called.", label(first), label(second)),
            Why::Of(op, what) => format!("{} {what}.", label(op)),
            Why::Text(what) => format!("{what}."),
        }));
        let drawing = draw(history, &chosen, key);
        Box::new(Violation { anomaly, key: key.map(Into::into), ops: chosen, sentences, drawing })
    }
}

/// Bytes for people: escaped, in quotes, the middle of long ones left out.
pub(crate) fn show(bytes: &[u8]) -> String {
    const HALF: usize = 24;
    if bytes.len() <= 2 * HALF + 3 {
        return format!("\"{}\"", bytes.escape_ascii());
    }
    format!("\"{}\" ... \"{}\" ({} bytes)", bytes[..HALF].escape_ascii(), bytes[bytes.len() - HALF..].escape_ascii(), bytes.len())
}

pub(crate) fn show_value(value: Option<&[u8]>) -> String {
    value.map_or("no such key".into(), show)
}

/// What was asked and answered, in short; of a scan, what it says of `about`.
fn summary(op: &Op, about: Option<&[u8]>) -> String {
    let mut text = match &op.call {
        Call::Get { key } => format!("get {}", show(key)),
        Call::Put { key, value } => format!("put {} {}", show(key), show(value)),
        Call::Append { key, value } => format!("append {} {}", show(key), show(value)),
        Call::Delete { key } => format!("delete {}", show(key)),
        Call::Cas { key, expect, value } => format!("cas {} from {} to {}", show(key), show_value(expect.as_deref()), show(value)),
        Call::Scan { from, to, limit } => {
            let mut text = String::from("scan");
            if let Some(from) = from {
                text += &format!(" from {}", show(from));
            }
            if let Some(to) = to {
                text += &format!(" to {}", show(to));
            }
            if let Some(limit) = limit {
                text += &format!(" limit {limit}");
            }
            text
        }
    };
    text += &match &op.outcome {
        Outcome::Fail => " -> refused".into(),
        Outcome::Unknown => " -> unknown".into(),
        Outcome::Ok(Answer::Done) => " -> done".into(),
        Outcome::Ok(Answer::Value(value)) => format!(" -> {}", show_value(value.as_deref())),
        Outcome::Ok(Answer::Flag(flag)) => format!(" -> {flag}"),
        Outcome::Ok(Answer::List(items)) => match about {
            Some(about) => {
                let value = items.iter().find(|(key, _)| key == about).map(|(_, value)| &value[..]);
                format!(" -> {} keys, {}: {}", items.len(), show(about), show_value(value))
            }
            None if items.len() <= LISTED_MAX => {
                let items: Vec<String> = items.iter().map(|(key, value)| format!("{}: {}", show(key), show(value))).collect();
                format!(" -> {{{}}}", items.join(", "))
            }
            None => format!(" -> {} keys", items.len()),
        },
    };
    text
}

fn describe(op: &Op, about: Option<&[u8]>) -> String {
    let mut text = format!("client {}, {}", op.client, ms(op.call_ns));
    text += &op.return_ns.map_or(" on".into(), |end| format!(" to {} ms", ms(end)));
    if let Some(node) = &op.node {
        text += &format!(", node {node}");
    }
    if let Some(position) = op.position {
        text += &format!(", position {position}");
    }
    text + ": " + &summary(op, about)
}

fn ms(ns: u64) -> String {
    format!("{}.{:06}", ns / 1_000_000, ns % 1_000_000)
}

/// A line per operation; columns are moments, in order and not to scale: it is the order that proves.
fn draw(history: &History, ops: &[usize], about: Option<&[u8]>) -> String {
    const STEP: usize = 4;
    let op = |id: &usize| &history.ops()[*id];
    let end = |op: &Op| if op.outcome == Outcome::Unknown { None } else { op.return_ns };
    let mut columns: BTreeMap<u64, usize> =
        ops.iter().map(op).flat_map(|op| [Some(op.call_ns), end(op)]).flatten().map(|at| (at, 0)).collect();
    for (column, place) in columns.values_mut().enumerate() {
        *place = column * STEP;
    }
    let width = columns.len() * STEP + 1;
    let first = ops.iter().map(op).map(|op| op.call_ns).min().unwrap_or(0);
    let mut drawing = format!("  {:10} {} ms, then in order of time, not to scale\n", "", ms(first));
    for (id, label) in ops.iter().zip('A'..) {
        let op = op(id);
        let from = columns[&op.call_ns];
        let (to, close) = end(op).map_or((width - 1, '?'), |end| (columns[&end], '|'));
        let mut bar = " ".repeat(from) + "|";
        if to > from {
            bar += &"-".repeat(to - from - 1);
            bar.push(close);
        }
        drawing += &format!("  {label} {:8} {bar:width$}  {}\n", format!("{}", op.client), summary(op, about));
    }
    drawing
}
