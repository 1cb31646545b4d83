//! What one copy answered is never rejected, by any tier, and never given up on.

use fastrand::Rng;

use super::make::{Execution, Shape, WORKLOADS, Workload, make};
use crate::history::{Answer, Call, History, Op, Outcome};
use crate::model::Prepared;
use crate::search::{Search, search};
use crate::witness::{Witness, witness};
use crate::{Limits, Verdict, check};

fn shapes(rng: &mut Rng) -> Vec<Shape> {
    let mut shapes = Vec::new();
    for workload in WORKLOADS {
        for unknown in [0, 12] {
            // Who can be in any order is tried in every order: what only a search can judge is kept short.
            let ops = if matches!(workload, Workload::Scans | Workload::Mixed) { rng.usize(1..60) } else { rng.usize(1..300) };
            shapes.push(Shape { workload, ops, keys: rng.u64(1..4), spread: rng.u64(..40), unknown });
        }
    }
    shapes
}

pub(super) fn executions(seeds: std::ops::Range<u64>) -> impl Iterator<Item = (u64, Shape, Execution)> {
    seeds.flat_map(|seed| {
        let mut rng = Rng::with_seed(seed);
        shapes(&mut rng).into_iter().map(|shape| (seed, shape, make(&mut rng, shape))).collect::<Vec<_>>()
    })
}

/// Good histories that are not called so.
pub(super) fn rejected(seeds: std::ops::Range<u64>) -> Vec<String> {
    let mut rejected = Vec::new();
    for (seed, shape, execution) in executions(seeds) {
        let history = execution.history();
        let bare = history.clone().without_positions();
        for (what, history) in [("with positions", &history), ("without positions", &bare)] {
            match check(history, &Limits::default()) {
                Verdict::Linearizable => {}
                Verdict::Violation(violation) => {
                    rejected.push(format!("seed {seed} {:?} unknown {} {what}: {violation}", shape.workload, shape.unknown));
                }
                Verdict::Unknown(why) => rejected.push(format!("seed {seed} {:?} unknown {} {what}: {why}", shape.workload, shape.unknown)),
            }
        }
    }
    rejected
}

#[test]
fn what_one_copy_answered_is_linearizable() {
    let rejected = rejected(0..300);
    assert!(rejected.is_empty(), "{} good histories rejected, the first: {}", rejected.len(), rejected[0]);
}

/// The positions alone suffice, so that a million operations never need a search.
#[test]
fn positions_alone_prove_what_one_copy_answered() {
    for (seed, shape, execution) in executions(1000..1300) {
        let history = execution.history();
        match witness(&Prepared::new(&history), &Limits::default()) {
            Witness::Fits => {}
            Witness::Untold => panic!("seed {seed}: it has positions"),
            Witness::Broken { violation, .. } => panic!("seed {seed} {:?}: {violation}", shape.workload),
        }
    }
}

/// Hundreds of writes of unknown outcome on one hot key: too many places to search for, and one order to replay if it is told where
/// those are that happened. The others never happened, and nobody says so.
#[test]
fn unknown_writes_with_positions_need_no_search() {
    let shape = Shape { workload: Workload::Scans, ops: 100_000, keys: 1, spread: 300, unknown: 300 };
    let Execution { mut ops, happened } = make(&mut Rng::with_seed(417), shape);
    assert!(happened.len() > 100, "{} are too few", happened.len());
    for (number, position) in happened {
        ops[number].position = Some(position);
    }
    let unknown = ops.iter().filter(|op| op.outcome == Outcome::Unknown && op.position.is_none() && !op.call.is_read()).count();
    assert!(unknown > 50, "{unknown} are too few");
    let history = Execution { ops, happened: Vec::new() }.history();
    // A step per operation, and not one more.
    let limits = Limits { steps_max: 100_000, ..Limits::default() };
    assert!(matches!(witness(&Prepared::new(&history), &limits), Witness::Fits));
}

/// The search needs neither positions nor values that differ.
#[test]
fn the_search_agrees_on_appends_and_registers() {
    for (seed, shape, execution) in executions(2000..2100) {
        let history = execution.history();
        let prepared = Prepared::new(&history);
        for (key, own) in prepared.by_key().iter().enumerate().filter(|(_, own)| own.len() < 60) {
            let result = search(&prepared.of_key(key, own), key..key + 1, &Limits::default());
            assert!(matches!(result, Search::Fits), "seed {seed} {:?} key {key}", shape.workload);
        }
    }
}

#[test]
fn the_same_history_gets_the_same_verdict() {
    for (_, _, execution) in executions(3000..3020) {
        let mut history = execution.history().without_positions();
        for _ in 0..2 {
            assert_eq!(check(&history, &Limits::default()), Verdict::Linearizable);
        }
        let phantom = Op::new(9, Call::Get { key: b"k0".into() }, 0).ok(1, Answer::Value(Some(b"phantom".into())));
        history.push(phantom).unwrap();
        let verdict = check(&history, &Limits::default());
        assert!(matches!(verdict, Verdict::Violation(_)));
        assert_eq!(verdict, check(&history.clone(), &Limits::default()));
    }
}

#[test]
fn a_search_that_needs_too_much_gives_up_and_says_where() {
    let mut history = History::new();
    // Sixteen writes at once, two of one value, and a read of what none of their orders can leave: all must be tried.
    for client in 0..16 {
        let (key, value) = (b"hot".to_vec(), vec![b'a' + u8::try_from(client % 15).unwrap()]);
        let call = if client % 2 == 0 { Call::Append { key, value } } else { Call::Put { key, value } };
        history.push(Op::new(client, call, 0).ok(100, Answer::Done)).unwrap();
    }
    history.push(Op::new(99, Call::Get { key: b"hot".into() }, 200).ok(300, Answer::Value(Some(b"zz".into())))).unwrap();
    let limits = Limits { steps_max: 1000, states_max: 1_000_000 };
    let Verdict::Unknown(why) = check(&history, &limits) else { panic!("not given up") };
    assert_eq!(why.to_string(), "17 operations on key \"hot\" need more than 1000 steps to search");
    let limits = Limits { steps_max: 1_000_000, states_max: 100 };
    let Verdict::Unknown(why) = check(&history, &limits) else { panic!("not given up") };
    assert_eq!(why.to_string(), "17 operations on key \"hot\" need more than 100 states to search");
}
