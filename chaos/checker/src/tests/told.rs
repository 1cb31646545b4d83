//! Positions and versions that contradict, where not everything has them.

use fastrand::Rng;

use super::good::executions;
use crate::history::{Answer, Call, History, Op};
use crate::model::Prepared;
use crate::verdict::Anomaly::{self, *};
use crate::witness::{Witness, witness};
use crate::{Limits, Verdict, check};

fn put(value: &str) -> Call {
    Call::Put { key: b"k".into(), value: value.into() }
}

fn get() -> Call {
    Call::Get { key: b"k".into() }
}

fn found(value: &str) -> Answer {
    Answer::Value(Some(value.into()))
}

/// One operation after the other.
fn in_turn(ops: impl IntoIterator<Item = Op>) -> History {
    let mut history = History::new();
    for (number, mut op) in ops.into_iter().enumerate() {
        op.call_ns += 100 * number as u64;
        op.return_ns = op.return_ns.map(|end| end + 100 * number as u64);
        history.push(op).unwrap();
    }
    history
}

fn done(call: Call) -> Op {
    Op::new(1, call, 10).ok(20, Answer::Done)
}

fn named(history: &History) -> Anomaly {
    match check(history, &Limits::default()) {
        Verdict::Violation(violation) => violation.anomaly,
        other => panic!("{other:?}"),
    }
}

#[test]
fn two_writes_at_one_position_are_a_fork_whoever_else_has_none() {
    let other = |key: &[u8]| Call::Put { key: key.into(), value: b"v".into() };
    assert_eq!(named(&in_turn([done(other(b"a")).at(1), done(other(b"b")).at(1), done(other(b"c"))])), Fork);
}

#[test]
fn positions_are_held_against_the_clock_whoever_else_has_none() {
    let other = |key: &[u8]| Call::Put { key: key.into(), value: b"v".into() };
    assert_eq!(named(&in_turn([done(other(b"a")).at(2), done(other(b"b")).at(1), done(other(b"c"))])), ReorderedWrites);
}

#[test]
fn a_key_that_says_all_positions_is_replayed_whatever_another_says() {
    let other = done(Call::Put { key: b"other".into(), value: b"v".into() });
    let overlapping = |op: Op| Op { call_ns: 10, return_ns: Some(50), ..op };
    let ops = [done(put("a")).at(1), done(put("b")).at(2), Op::new(2, get(), 10).ok(20, found("a")).at(2), other];
    let mut history = History::new();
    ops.into_iter().for_each(|op| history.push(overlapping(op)).unwrap());
    assert_eq!(named(&history), WrongPosition);
}

/// Nothing that is left out of a good history makes it a bad one.
#[test]
fn a_good_history_is_linearizable_whichever_positions_and_versions_are_told() {
    let mut untold = 0;
    for (seed, shape, execution) in executions(5000..5200) {
        for keep_positions in [0, 1, 2] {
            let mut rng = Rng::with_seed(seed);
            let mut history = History::new();
            for op in execution.history().ops() {
                let position = op.position.filter(|_| rng.u8(..2) < keep_positions);
                let version = op.version.filter(|_| rng.u8(..4) > 0);
                history.push(Op { position, version, ..op.clone() }).unwrap();
            }
            untold += usize::from(matches!(witness(&Prepared::new(&history), &Limits::default()), Witness::Untold));
            let verdict = check(&history, &Limits::default());
            assert_eq!(verdict, Verdict::Linearizable, "seed {seed} {:?} unknown {}", shape.workload, shape.unknown);
        }
    }
    assert!(untold > 1000, "{untold} say only some positions: hardly anything is tested");
}

fn versioned(op: Op, version: u64) -> Op {
    Op { version: Some(version), ..op }
}

fn read(value: &str) -> Op {
    Op::new(2, get(), 10).ok(20, found(value))
}

fn absent() -> Op {
    Op::new(2, get(), 10).ok(20, Answer::Value(None))
}

/// After one put, a put of unknown outcome, and perhaps another call of unknown outcome: a read that says this version.
fn after_unknown(unknown: Option<Call>, version: u64) -> Verdict {
    let mut ops = vec![versioned(done(put("a")).at(1), 1), Op::new(7, put("b"), 10)];
    ops.extend(unknown.map(|call| Op::new(8, call, 10)));
    ops.push(done(put("c")).at(4));
    ops.push(versioned(read("c").at(4), version));
    check(&in_turn(ops), &Limits::default())
}

#[test]
fn an_unknown_write_explains_one_version_and_no_more() {
    let delete = || Some(Call::Delete { key: b"k".into() });
    for (unknown, version, fits) in [
        (None, 1, false),
        (None, 2, true),
        (None, 3, true),
        (None, 4, false),
        (None, 77, false),
        (Some(put("d")), 4, true),
        (Some(put("d")), 5, false),
        (delete(), 0, false),
        (delete(), 1, true),
        (delete(), 4, false),
    ] {
        let verdict = after_unknown(unknown.clone(), version);
        assert_eq!(verdict == Verdict::Linearizable, fits, "{unknown:?}, version {version}: {verdict:?}");
    }
}

#[test]
fn an_unknown_write_that_was_counted_stays_counted() {
    // Version 3 after two known puts shows that the unknown one was among them; a third known put then makes version 4.
    let history = |last| {
        let known = |value: &str, position| done(put(value)).at(position);
        in_turn([Op::new(7, put("u"), 10), known("a", 1), versioned(known("b", 3), 3), versioned(known("c", 4), last)])
    };
    assert_eq!(check(&history(4), &Limits::default()), Verdict::Linearizable);
    assert_eq!(named(&history(3)), LostWrite);
    assert_eq!(named(&history(5)), Duplicate);
}

#[test]
fn a_key_that_was_absent_counts_anew() {
    let history = |version| {
        let delete = Op::new(1, Call::Delete { key: b"k".into() }, 10).ok(20, Answer::Flag(true));
        in_turn([
            Op::new(7, put("u"), 10),
            versioned(done(put("a")).at(2), 2),
            delete.at(3),
            versioned(absent().at(3), 0),
            versioned(done(put("b")).at(4), version),
        ])
    };
    assert_eq!(check(&history(1), &Limits::default()), Verdict::Linearizable);
    assert_eq!(named(&history(2)), Duplicate, "the unknown write was counted before the delete");
}

fn without_any_position(ops: impl IntoIterator<Item = Op>) -> History {
    in_turn(ops.into_iter().map(|op| Op { position: None, ..op }))
}

#[test]
fn a_version_beyond_the_writes_is_noticed_without_positions() {
    let history = |version| without_any_position([Op::new(7, put("b"), 10), done(put("a")), versioned(read("a"), version)]);
    assert_eq!(check(&history(1), &Limits::default()), Verdict::Linearizable);
    assert_eq!(check(&history(2), &Limits::default()), Verdict::Linearizable, "the unknown put may have come first");
    assert_eq!(named(&history(3)), Duplicate);
    assert_eq!(named(&history(7)), Duplicate);
    assert_eq!(named(&history(0)), LostWrite);
}

#[test]
fn versions_of_a_key_are_held_against_the_clock_without_positions() {
    let three = |versions: [u64; 3]| {
        let values = ["a", "b", "c"].into_iter().zip(versions);
        without_any_position(values.map(|(value, version)| versioned(done(put(value)), version)))
    };
    assert_eq!(check(&three([1, 2, 3]), &Limits::default()), Verdict::Linearizable);
    assert_eq!(named(&three([1, 1, 3])), LostWrite);
    // At once, so that no count is too low.
    let at_once = |versions: [u64; 3]| {
        let mut history = History::new();
        for op in three(versions).ops() {
            history.push(Op { call_ns: 10, return_ns: Some(500), ..op.clone() }).unwrap();
        }
        history
    };
    assert_eq!(check(&at_once([3, 1, 2]), &Limits::default()), Verdict::Linearizable);
    assert_eq!(named(&at_once([3, 2, 2])), Fork);
    let maybe = |value: &str| Op::new(7, put(value), 10);
    let history = without_any_position([maybe("u"), maybe("v"), versioned(done(put("a")), 3), versioned(done(put("b")), 2)]);
    assert_eq!(named(&history), ReorderedWrites);
}

#[test]
fn a_deleted_key_may_begin_anew_without_positions() {
    let delete = Op::new(7, Call::Delete { key: b"k".into() }, 10);
    let history = |version| without_any_position([delete.clone(), versioned(done(put("a")), 1), versioned(done(put("b")), version)]);
    assert_eq!(check(&history(1), &Limits::default()), Verdict::Linearizable);
    assert_eq!(check(&history(2), &Limits::default()), Verdict::Linearizable);
    assert_eq!(named(&history(3)), Duplicate);
}
