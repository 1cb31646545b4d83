//! How long verdicts take: `cargo run --release -p checker --example speed`. Prints, and asserts nothing about time.

use std::collections::BTreeMap;
use std::io::BufReader;
use std::time::Instant;

use checker::{Answer, Call, History, Limits, Op, Outcome, Verdict, check};
use fastrand::Rng;

const CLIENTS: u64 = 64;

/// What one copy answers, 64 clients at a time: each operation takes effect at its own moment, within an interval of some 64 of them.
struct Copy {
    rng: Rng,
    values: BTreeMap<Vec<u8>, Vec<u8>>,
    position: u64,
    moment: u64,
    history: History,
}

impl Copy {
    fn new() -> Copy {
        Copy { rng: Rng::with_seed(7), values: BTreeMap::new(), position: 0, moment: 1_000_000, history: History::new() }
    }

    fn run(&mut self, call: Call) {
        self.position += u64::from(!call.is_read());
        let answer = match &call {
            Call::Get { key } => Answer::Value(self.values.get(key).cloned()),
            Call::Put { key, value } => {
                self.values.insert(key.clone(), value.clone());
                Answer::Done
            }
            Call::Append { key, value } => {
                self.values.entry(key.clone()).or_default().extend_from_slice(value);
                Answer::Done
            }
            Call::Delete { key } => Answer::Flag(self.values.remove(key).is_some()),
            Call::Cas { key, expect, value } => {
                let swaps = self.values.get(key) == expect.as_ref();
                if swaps {
                    self.values.insert(key.clone(), value.clone());
                }
                Answer::Flag(swaps)
            }
            Call::Scan { from, limit, .. } => {
                let limit = limit.map_or(0, |limit| usize::try_from(limit).unwrap_or(0));
                let from = from.clone().unwrap_or_default();
                Answer::List(self.values.range(from..).take(limit).map(|(key, value)| (key.clone(), value.clone())).collect())
            }
        };
        self.moment += 1000;
        let [before, after] = [self.rng.u64(..CLIENTS * 1000), self.rng.u64(..CLIENTS * 1000)];
        let op = Op::new(self.rng.u64(..CLIENTS), call, self.moment - before);
        // One in a thousand is never answered; half of those with a position are found in a log later.
        let op = match self.rng.u16(..2000) {
            0 => op,
            1 => op.at(self.position),
            _ => op.ok(self.moment + after, answer).at(self.position),
        };
        self.history.push(op).expect("one copy contradicts nobody");
    }
}

fn mixed(ops: usize) -> History {
    let mut copy = Copy::new();
    for number in 0..ops {
        let key = format!("key-{:05}", copy.rng.u64(..10_000)).into_bytes();
        let value = format!("value-{number}").into_bytes();
        let call = match copy.rng.u8(..20) {
            0..8 => Call::Get { key },
            8..14 => Call::Put { key, value },
            14..16 => Call::Append { key, value },
            16 => Call::Delete { key },
            17..19 => Call::Cas { expect: copy.values.get(&key).cloned(), key, value },
            _ => Call::Scan { from: Some(key), to: None, limit: Some(10) },
        };
        copy.run(call);
    }
    copy.history
}

/// Appends on 100 keys, and a read for every five of them.
fn appends(appends: usize) -> History {
    let mut copy = Copy::new();
    for number in 0..appends {
        let key = |copy: &mut Copy| format!("key-{:02}", copy.rng.u64(..100)).into_bytes();
        let call = Call::Append { key: key(&mut copy), value: format!(".{number}").into_bytes() };
        copy.run(call);
        if number % 5 == 0 {
            let call = Call::Get { key: key(&mut copy) };
            copy.run(call);
        }
    }
    copy.history
}

/// Everything but scans on so many keys.
fn without_scans(ops: usize, keys: u64) -> History {
    let mut copy = Copy::new();
    for number in 0..ops {
        let key = format!("key-{:05}", copy.rng.u64(..keys)).into_bytes();
        let value = format!("value-{}", number % 100).into_bytes();
        let call = match copy.rng.u8(..10) {
            0..5 => Call::Get { key },
            5..7 => Call::Put { key, value },
            7 => Call::Delete { key },
            _ => Call::Cas { expect: copy.values.get(&key).cloned(), key, value },
        };
        copy.run(call);
    }
    copy.history
}

/// Puts of values that differ, and gets.
fn registers(ops: usize) -> History {
    let mut copy = Copy::new();
    for number in 0..ops {
        let key = format!("key-{:02}", copy.rng.u64(..100)).into_bytes();
        let call = if copy.rng.bool() { Call::Get { key } } else { Call::Put { key, value: format!("{number}").into_bytes() } };
        copy.run(call);
    }
    copy.history
}

fn judge(what: &str, history: &History) {
    let begin = Instant::now();
    let verdict = check(history, &Limits::default());
    println!("{what}: {} operations judged in {:.2} s", history.ops().len(), begin.elapsed().as_secs_f64());
    match verdict {
        Verdict::Linearizable => {}
        Verdict::Unknown(why) => println!("  gave up: {why}"),
        Verdict::Violation(violation) => panic!("one copy was judged wrong: {violation}"),
    }
}

/// The same with one read in the middle that finds what was there one write before.
fn judge_bad(history: &History) {
    let ops = history.ops();
    let read_of = |op: &Op, key: &[u8]| matches!(&op.outcome, Outcome::Ok(Answer::Value(Some(_)))) && op.call.key() == Some(key);
    let (put, key, old) = (ops.len() / 2..ops.len())
        .find_map(|put| match &ops[put].call {
            Call::Put { key, .. } if ops[put].return_ns.is_some() => {
                let before = ops[..put].iter().rev().find(|op| op.call.key() == Some(key))?;
                read_of(before, key).then(|| (put, key.clone(), before.outcome.clone()))
            }
            _ => None,
        })
        .expect("some key is read before it is written");
    let read = (put..ops.len())
        .find(|read| read_of(&ops[*read], &key) && Some(ops[*read].call_ns) > ops[put].return_ns)
        .expect("it is read again");
    let mut bad = History::new();
    for (number, op) in ops.iter().enumerate() {
        let outcome = if number == read { old.clone() } else { op.outcome.clone() };
        bad.push(Op { outcome, ..op.clone() }).expect("it was in a history before");
    }
    let begin = Instant::now();
    let Verdict::Violation(violation) = check(&bad, &Limits::default()) else { panic!("not noticed") };
    let found_s = begin.elapsed().as_secs_f64();
    println!("the same with one stale read: found in {found_s:.2} s, a {} with {} operations", violation.anomaly, violation.ops.len());
}

fn main() {
    let history = mixed(1_000_000);
    judge("mixed with scans and cas, with positions", &history);
    judge_bad(&history);
    let begin = Instant::now();
    let mut text = Vec::new();
    for op in history.ops() {
        checker::write(op, &mut text).expect("memory takes everything");
    }
    println!("  written as {} MB of lines in {:.2} s", text.len() / 1_000_000, begin.elapsed().as_secs_f64());
    let begin = Instant::now();
    let read = checker::read(BufReader::new(&text[..])).expect("what was written can be read");
    println!("  and read back in {:.2} s", begin.elapsed().as_secs_f64());
    assert_eq!(read, history, "what was written is read back");
    drop((history, read, text));

    judge("appends on 100 keys and reads, without positions", &appends(100_000).without_positions());
    judge("registers, 100 keys, without positions", &registers(1_000_000).without_positions());
    for keys in [100, 10, 1] {
        let history = without_scans(100_000, keys).without_positions();
        judge(&format!("put, get, delete, cas on {keys} keys, without positions (search)"), &history);
    }
}
