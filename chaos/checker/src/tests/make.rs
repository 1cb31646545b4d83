//! A random execution of one copy, and what its clients saw of it.

use std::collections::BTreeMap;

use fastrand::Rng;

use crate::history::{Answer, Call, History, Op, Outcome};

/// What clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Workload {
    /// Appends of values that differ, and gets.
    Append,
    /// Puts of values that differ, and gets.
    Register,
    /// Everything but scans, with few values.
    Mixed,
    /// Everything.
    Scans,
    /// Puts and appends of values that differ, and gets.
    Words,
}

pub(super) const WORKLOADS: [Workload; 4] = [Workload::Append, Workload::Register, Workload::Mixed, Workload::Scans];

/// An execution: operations in the order in which one copy did them.
pub(super) struct Execution {
    pub(super) ops: Vec<Op>,
    /// Unknown writes that happened, and where; only half of them say so themselves.
    pub(super) happened: Vec<(usize, u64)>,
}

impl Execution {
    pub(super) fn history(&self) -> History {
        let mut history = History::new();
        for op in &self.ops {
            history.push(op.clone()).expect("one copy contradicts nobody");
        }
        history
    }
}

#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub(super) workload: Workload,
    pub(super) ops: usize,
    pub(super) keys: u64,
    /// How long an operation may take, before and after it takes effect; three take effect every ten.
    pub(super) spread: u64,
    /// One in so many is unknown, and as many are refused; 0: none.
    pub(super) unknown: u64,
}

/// The copy, and its own opinion of what everything does.
#[derive(Default)]
struct Copy {
    values: BTreeMap<Vec<u8>, (Vec<u8>, u64)>,
    position: u64,
}

impl Copy {
    /// Answer, position, version.
    fn run(&mut self, call: &Call) -> (Answer, u64, Option<u64>) {
        if !call.is_read() {
            self.position += 1;
        }
        let write = |old: Option<&(Vec<u8>, u64)>, value: Vec<u8>| (value, old.map_or(1, |(_, version)| version + 1));
        let answer = match call {
            Call::Get { key } => Answer::Value(self.values.get(key).map(|(value, _)| value.clone())),
            Call::Put { key, value } => {
                let new = write(self.values.get(key), value.clone());
                self.values.insert(key.clone(), new);
                Answer::Done
            }
            Call::Append { key, value } => {
                let old = self.values.get(key);
                let new = write(old, [old.map_or(&b""[..], |(value, _)| value), value].concat());
                self.values.insert(key.clone(), new);
                Answer::Done
            }
            Call::Delete { key } => Answer::Flag(self.values.remove(key).is_some()),
            Call::Cas { key, expect, value } => {
                let old = self.values.get(key);
                let swaps = old.map(|(value, _)| value) == expect.as_ref();
                if swaps {
                    let new = write(old, value.clone());
                    self.values.insert(key.clone(), new);
                }
                Answer::Flag(swaps)
            }
            Call::Scan { from, to, limit } => {
                let all = self
                    .values
                    .iter()
                    .filter(|(key, _)| from.as_ref().is_none_or(|from| from <= key) && to.as_ref().is_none_or(|to| *key < to));
                let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
                Answer::List(all.take(limit).map(|(key, (value, _))| (key.clone(), value.clone())).collect())
            }
        };
        let version = match call {
            Call::Delete { .. } | Call::Scan { .. } => None,
            call => call.key().and_then(|key| self.values.get(key)).map(|(_, version)| *version),
        };
        (answer, self.position, version)
    }
}

pub(super) fn key(number: u64) -> Vec<u8> {
    format!("k{number}").into_bytes()
}

fn call(rng: &mut Rng, shape: &Shape, number: usize) -> Call {
    let key = key(rng.u64(..shape.keys));
    let unique = format!(".{number}").into_bytes();
    let value = |rng: &mut Rng| vec![b'a' + rng.u8(..4)];
    match shape.workload {
        Workload::Append | Workload::Register | Workload::Words if rng.u8(..5) < 2 => Call::Get { key },
        Workload::Words if rng.u8(..4) == 0 => Call::Put { key, value: unique },
        Workload::Append | Workload::Words => Call::Append { key, value: unique },
        Workload::Register => Call::Put { key, value: unique },
        Workload::Scans if rng.u8(..5) == 0 => Call::Scan {
            from: rng.bool().then(|| self::key(rng.u64(..shape.keys))),
            to: rng.bool().then(|| self::key(rng.u64(..=shape.keys))),
            limit: rng.bool().then(|| rng.u64(..4)),
        },
        Workload::Mixed | Workload::Scans => match rng.u8(..9) {
            0..3 => Call::Get { key },
            3..5 => Call::Put { key, value: value(rng) },
            5 => Call::Append { key, value: value(rng) },
            6 => Call::Delete { key },
            _ => Call::Cas { key, expect: (rng.u8(..4) > 0).then(|| value(rng)), value: value(rng) },
        },
    }
}

pub(super) fn make(rng: &mut Rng, shape: Shape) -> Execution {
    let mut copy = Copy::default();
    let (mut ops, mut happened) = (Vec::new(), Vec::new());
    for number in 0..shape.ops {
        let call = call(rng, &shape, number);
        // Several take effect at one moment: what ends as something else begins may have come after it.
        let moment = 100_000 + number as u64 / 3 * 10;
        let mut op = Op::new(rng.u64(..8), call, moment - rng.u64(..=shape.spread));
        let fate = if shape.unknown == 0 { u64::MAX } else { rng.u64(..shape.unknown) };
        let end = moment + rng.u64(..=shape.spread);
        op = match fate {
            0 if rng.bool() => op.fail(end),
            0 => op, // unknown, and it never happens
            1 => {
                // Unknown, and it did happen, perhaps long after.
                op.call_ns -= rng.u64(..=20 * shape.spread);
                let (_, position, _) = copy.run(&op.call);
                happened.extend((!op.call.is_read()).then_some((number, position)));
                if rng.bool() && !op.call.is_read() {
                    op.position = Some(position);
                }
                op
            }
            _ => {
                let (answer, position, version) = copy.run(&op.call);
                let mut op = op.ok(end, answer).at(position);
                op.version = version;
                op
            }
        };
        ops.push(op);
    }
    Execution { ops, happened }
}

/// The bytes that a get found.
pub(super) fn found(op: &Op) -> Option<&[u8]> {
    match &op.outcome {
        Outcome::Ok(Answer::Value(Some(value))) => Some(value),
        _ => None,
    }
}
