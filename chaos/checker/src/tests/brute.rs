//! Short histories with random answers, against all orders.

use std::collections::BTreeMap;

use fastrand::Rng;

use super::bad::only;
use super::make::{WORKLOADS, Workload, key};
use crate::history::{Answer, Call, History, Op, Outcome};
use crate::model::Prepared;
use crate::search::{Search, search};
use crate::witness::{Witness, witness};
use crate::{Limits, Verdict, check};

/// Values, and how many writes each key has seen since it was created.
type Store = BTreeMap<Vec<u8>, (Vec<u8>, u64)>;

/// Whether some order of what is left, begun in `store`, gives all answers and versions; `by_position`: one that agrees with all positions.
fn some_order(ops: &[&Op], done: u32, store: &Store, by_position: bool) -> bool {
    let is_left = |index: &usize| done & 1 << index == 0;
    // What has a position did happen.
    let may_never_be = |op: &Op| op.outcome == Outcome::Unknown && !(by_position && op.position.is_some());
    let end = |op: &Op| if op.outcome == Outcome::Unknown { u64::MAX } else { op.return_ns.unwrap() };
    if (0..ops.len()).filter(is_left).all(|index| may_never_be(ops[index])) {
        return true;
    }
    let only_reads = |op: &Op| op.call.is_read() || op.outcome == Outcome::Ok(Answer::Flag(false));
    let behind = |a: &Op, b: &Op| a.position.zip(b.position).is_some_and(|(at, other)| (other, only_reads(b)) < (at, only_reads(a)));
    (0..ops.len()).filter(is_left).any(|index| {
        if by_position && (0..ops.len()).filter(is_left).any(|other| behind(ops[index], ops[other])) {
            return false;
        }
        if (0..ops.len()).filter(is_left).any(|other| end(ops[other]) < ops[index].call_ns) {
            return false;
        }
        let mut next = store.clone();
        let answer = run(&mut next, &ops[index].call);
        let fits = match &ops[index].outcome {
            Outcome::Ok(Answer::Done) | Outcome::Unknown => true,
            Outcome::Ok(told) => *told == answer,
            Outcome::Fail => false,
        };
        let version = ops[index].call.key().and_then(|key| next.get(key)).map_or(0, |(_, version)| *version);
        fits && ops[index].version.is_none_or(|told| told == version) && some_order(ops, done | 1 << index, &next, by_position)
    })
}

fn run(store: &mut Store, call: &Call) -> Answer {
    match call {
        Call::Get { key } => return Answer::Value(store.get(key).map(|(value, _)| value.clone())),
        Call::Put { key, value } => {
            let held = store.entry(key.clone()).or_default();
            *held = (value.clone(), held.1 + 1);
        }
        Call::Append { key, value } => {
            let held = store.entry(key.clone()).or_default();
            held.0.extend(value);
            held.1 += 1;
        }
        Call::Delete { key } => return Answer::Flag(store.remove(key).is_some()),
        Call::Cas { key, expect, value } => {
            let swaps = store.get(key).map(|(value, _)| value) == expect.as_ref();
            if swaps {
                let held = store.entry(key.clone()).or_default();
                *held = (value.clone(), held.1 + 1);
            }
            return Answer::Flag(swaps);
        }
        Call::Scan { limit, .. } => {
            let limit = limit.map_or(9, |limit| usize::try_from(limit).unwrap());
            return Answer::List(store.iter().take(limit).map(|(key, (value, _))| (key.clone(), value.clone())).collect());
        }
    }
    Answer::Done
}

/// Random calls at random times with answers that are often possible.
fn random(rng: &mut Rng, workload: Workload) -> History {
    let mut history = History::new();
    let count = rng.usize(1..8);
    let keys = rng.u64(1..3);
    let letter = |rng: &mut Rng| vec![b'a' + rng.u8(..3)];
    for number in 0..count {
        let key = key(rng.u64(..keys));
        let unique = vec![b'a' + u8::try_from(number).unwrap()];
        let some = |rng: &mut Rng| vec![b'a' + rng.u8(..u8::try_from(count).unwrap())];
        let (call, answer) = match workload {
            Workload::Append | Workload::Register | Workload::Words if rng.bool() => {
                let longest = if workload == Workload::Register { 2 } else { 3 };
                let value: Vec<u8> = (0..rng.usize(..longest)).flat_map(|_| some(rng)).collect();
                (Call::Get { key }, Answer::Value((!value.is_empty()).then_some(value)))
            }
            Workload::Words if rng.bool() => (Call::Put { key, value: unique }, Answer::Done),
            Workload::Append | Workload::Words => (Call::Append { key, value: unique }, Answer::Done),
            Workload::Register => (Call::Put { key, value: unique }, Answer::Done),
            Workload::Scans if rng.u8(..3) == 0 => {
                let all = [(b"k0".to_vec(), letter(rng)), (b"k1".to_vec(), letter(rng))];
                let limit = (rng.u8(..3) == 0).then_some(1);
                let most = if limit.is_some() { 1 } else { 2 };
                let items: Vec<_> = all.into_iter().filter(|_| rng.u8(..3) > 0).take(most).collect();
                (Call::Scan { from: None, to: None, limit }, Answer::List(items))
            }
            Workload::Mixed | Workload::Scans => match rng.u8(..5) {
                0 => (Call::Put { key, value: letter(rng) }, Answer::Done),
                1 => (Call::Append { key, value: letter(rng) }, Answer::Done),
                2 => (Call::Delete { key }, if rng.bool() { Answer::Done } else { Answer::Flag(rng.bool()) }),
                3 => (Call::Cas { key, expect: rng.bool().then(|| letter(rng)), value: letter(rng) }, Answer::Flag(rng.bool())),
                _ => {
                    let value: Vec<u8> = (0..rng.usize(..3)).flat_map(|_| letter(rng)).collect();
                    (Call::Get { key }, Answer::Value((!value.is_empty()).then_some(value)))
                }
            },
        };
        let from = rng.u64(..12);
        let op = Op::new(number as u64, call, from);
        let end = from + rng.u64(..6);
        let op = match rng.u8(..8) {
            0 => op,
            1 if rng.bool() => op.fail(end),
            _ => op.ok(end, answer),
        };
        history.push(op).unwrap();
    }
    history
}

fn line(op: &Op) -> String {
    let mut line = Vec::new();
    crate::write(op, &mut line).unwrap();
    String::from_utf8(line).unwrap()
}

fn truth(history: &History) -> bool {
    some_order(&happened(history), 0, &Store::new(), false)
}

/// What counts: all but refused calls and reads without an answer.
fn happened(history: &History) -> Vec<&Op> {
    let counts = |op: &&Op| op.outcome != Outcome::Fail && !(op.outcome == Outcome::Unknown && op.call.is_read());
    history.ops().iter().filter(counts).collect()
}

/// How many histories were judged otherwise than by all orders; how many of all were linearizable.
pub(super) fn disagreements(seeds: std::ops::Range<u64>) -> (Vec<String>, usize) {
    let (mut disagreements, mut linearizable) = (Vec::new(), 0);
    for seed in seeds {
        let mut rng = Rng::with_seed(seed);
        let workload = if seed % 5 == 4 { Workload::Words } else { WORKLOADS[usize::try_from(seed % 5).unwrap()] };
        let history = random(&mut rng, workload);
        let truth = truth(&history);
        linearizable += usize::from(truth);
        let verdict = check(&history, &Limits::default());
        if (verdict == Verdict::Linearizable) != truth || matches!(verdict, Verdict::Unknown(_)) {
            disagreements.push(format!("seed {seed} {workload:?}, linearizable: {truth}, but {verdict:?} of {:#?}", history.ops()));
        }
    }
    (disagreements, linearizable)
}

#[test]
fn short_histories_are_judged_as_by_all_orders() {
    let (disagreements, linearizable) = disagreements(0..40_000);
    assert!(disagreements.is_empty(), "{} of 40000, the first: {}", disagreements.len(), disagreements[0]);
    assert!((10_000..30_000).contains(&linearizable), "{linearizable} of 40000 are linearizable: one side is hardly tested");
}

#[test]
fn the_operations_that_are_named_prove_it_by_all_orders() {
    let mut violations = 0;
    for seed in 400_000..420_000 {
        let mut rng = Rng::with_seed(seed);
        let workload = if seed % 5 == 4 { Workload::Words } else { WORKLOADS[usize::try_from(seed % 5).unwrap()] };
        let history = random(&mut rng, workload);
        let Verdict::Violation(violation) = check(&history, &Limits::default()) else { continue };
        violations += 1;
        let lines: String = history.ops().iter().map(line).collect();
        assert!(!truth(&only(&history, &violation.ops)), "seed {seed} {workload:?}:\n{lines}{violation}");
    }
    assert!(violations > 5000, "{violations} violations: hardly anything is tested");
}

/// Where values differ, the search must come to the same end as the tiers that do not search.
#[test]
fn the_search_comes_to_the_same_end_as_all_orders() {
    for seed in 100_000..120_000 {
        let mut rng = Rng::with_seed(seed);
        let history = random(&mut rng, WORKLOADS[usize::try_from(seed % 3).unwrap()]);
        let prepared = Prepared::new(&history);
        let fits =
            |(key, own): (usize, &Vec<_>)| matches!(search(&prepared.of_key(key, own), key..key + 1, &Limits::default()), Search::Fits);
        assert_eq!(prepared.by_key().iter().enumerate().all(fits), truth(&history), "seed {seed}: {:#?}", history.ops());
    }
}

/// Whatever positions somebody makes up: what passes is linearizable.
#[test]
fn made_up_positions_prove_nothing_that_is_not_so() {
    let mut passed = 0;
    for seed in 200_000..260_000 {
        let mut rng = Rng::with_seed(seed);
        let workload = WORKLOADS[usize::try_from(seed % 4).unwrap()];
        let mut history = History::new();
        for op in random(&mut rng, workload).ops() {
            let unplaced = op.outcome == Outcome::Unknown && rng.bool();
            history.push(if unplaced { op.clone() } else { op.clone().at(op.call_ns + rng.u64(..4)) }).unwrap();
        }
        if let Witness::Fits = witness(&Prepared::new(&history), &Limits::default()) {
            passed += 1;
            assert!(truth(&history), "seed {seed} {workload:?}: {:#?}", history.ops());
        }
    }
    assert!(passed > 3000, "{passed} of 60000 pass: hardly anything is tested");
}

/// With positions the verdict is that of all orders that agree with them: writes of unknown outcome are looked for wherever they can be.
#[test]
fn positions_are_judged_as_by_all_orders_that_agree_with_them() {
    let mut fits = 0;
    for seed in 300_000..360_000 {
        let mut rng = Rng::with_seed(seed);
        let workload = WORKLOADS[usize::try_from(seed % 4).unwrap()];
        let mut history = History::new();
        for (number, op) in random(&mut rng, workload).ops().iter().enumerate() {
            let unplaced = op.outcome == Outcome::Unknown && rng.u8(..4) > 0;
            // No two have one position: two reads of one position are of one state, whatever is unknown.
            let position = 10 * (op.call_ns + rng.u64(..3)) + number as u64;
            history.push(if unplaced { op.clone() } else { op.clone().at(position) }).unwrap();
        }
        let truth = some_order(&happened(&history), 0, &Store::new(), true);
        let witness = witness(&Prepared::new(&history), &Limits::default());
        let lines: String = history.ops().iter().map(line).collect();
        assert_eq!(matches!(witness, Witness::Fits), truth, "seed {seed} {workload:?}:\n{lines}");
        fits += usize::from(truth);
    }
    assert!((3000..57_000).contains(&fits), "{fits} of 60000 fit: one side is hardly tested");
}

/// Random versions, with and without positions: what some order gives is not called wrong.
#[test]
fn versions_that_some_order_gives_are_not_called_wrong() {
    let [mut fits, mut wrong] = [0; 2];
    for seed in 500_000..560_000 {
        let mut rng = Rng::with_seed(seed);
        let workload = WORKLOADS[usize::try_from(seed % 4).unwrap()];
        let with_positions = rng.bool();
        let mut history = History::new();
        for (number, op) in random(&mut rng, workload).ops().iter().enumerate() {
            let version = Some(rng.u64(..4)).filter(|_| op.outcome != Outcome::Unknown && counts_versions(&op.call) && rng.bool());
            let unplaced = op.outcome == Outcome::Unknown && rng.u8(..4) > 0 || !with_positions;
            let position = Some(10 * (op.call_ns + rng.u64(..3)) + number as u64).filter(|_| !unplaced);
            history.push(Op { version, position, ..op.clone() }).unwrap();
        }
        let truth = some_order(&happened(&history), 0, &Store::new(), with_positions);
        let verdict = check(&history, &Limits::default());
        let lines: String = history.ops().iter().map(line).collect();
        if truth {
            assert_eq!(verdict, Verdict::Linearizable, "seed {seed} {workload:?}:\n{lines}");
        }
        let by_answers = check(&history.clone().without_positions(), &Limits::default());
        wrong += usize::from(by_answers == Verdict::Linearizable && verdict != Verdict::Linearizable);
        fits += usize::from(truth);
    }
    assert!(fits > 3000 && wrong > 3000, "{fits} fit and {wrong} were wrong in what they told alone: hardly anything is tested");
}

fn counts_versions(call: &Call) -> bool {
    !matches!(call, Call::Scan { .. } | Call::Delete { .. })
}
