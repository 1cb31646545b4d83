//! Whatever the network does, in whatever order: a call finishes once, and its outcome is true.
//!
//! The model knows what the core cannot: for each call, whether it took effect, and whether an attempt may still do so. It answers as
//! nodes do: a definite "no" only for an attempt that will never take effect.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use raft::Index;
use wire::{BusyReason, CallId, Reply, WriteOutcome};

use super::script::*;
use super::*;

#[derive(Clone, Debug)]
enum Step {
    Submit { kind: Kind, timeout_ms: u64 },
    Connect { which: usize, leader: Option<u64> },
    Fail { which: usize },
    End { which: usize },
    Answer { which: usize, how: How },
    Repeat { which: usize },
    Pass { ms: u64 },
    GiveUp { which: usize },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Write,
    Get,
    GetStale,
    Scan,
    /// The next page of the last scan that has one.
    ScanNext,
}

#[derive(Clone, Copy, Debug)]
enum How {
    Done,
    NotLeader(Option<u64>),
    LostAfterAll,
    LostAndDone,
    Replaced,
    Busy,
    Forming,
}

/// What became of one write, in truth.
#[derive(Debug)]
struct Truth {
    /// Its number in its session: the same in every attempt.
    id: (SessionId, u64),
    /// It took effect, and every later attempt is told so.
    done: bool,
    /// Attempts that a node has and has not said "no" to.
    open_attempts: usize,
}

fn step() -> impl Strategy<Value = Step> {
    let how = prop_oneof![
        3 => Just(How::Done),
        2 => prop_oneof![Just(None), (1u64..=3).prop_map(Some)].prop_map(How::NotLeader),
        1 => Just(How::LostAfterAll),
        1 => Just(How::LostAndDone),
        1 => Just(How::Replaced),
        1 => Just(How::Busy),
        1 => Just(How::Forming),
    ];
    let kind = prop_oneof![
        4 => Just(Kind::Write),
        2 => Just(Kind::Get),
        1 => Just(Kind::GetStale),
        1 => Just(Kind::Scan),
        2 => Just(Kind::ScanNext),
    ];
    prop_oneof![
        3 => (kind, prop_oneof![Just(50u64), Just(700), Just(3000)]).prop_map(|(kind, timeout_ms)| Step::Submit { kind, timeout_ms }),
        4 => (any::<usize>(), prop_oneof![Just(None), (1u64..=3).prop_map(Some)]).prop_map(|(which, leader)| Step::Connect { which, leader }),
        1 => any::<usize>().prop_map(|which| Step::Fail { which }),
        1 => any::<usize>().prop_map(|which| Step::End { which }),
        6 => (any::<usize>(), how).prop_map(|(which, how)| Step::Answer { which, how }),
        1 => any::<usize>().prop_map(|which| Step::Repeat { which }),
        3 => prop_oneof![Just(1u64), Just(20), Just(300), Just(500)].prop_map(|ms| Step::Pass { ms }),
        1 => any::<usize>().prop_map(|which| Step::GiveUp { which }),
    ]
}

struct Walk {
    script: Script,
    /// By key, which no two calls share.
    truth: BTreeMap<Vec<u8>, Truth>,
    /// Every call, its key, and what it asks.
    calls: Vec<(CallNumber, Vec<u8>, Kind)>,
    /// Where each scan is kept, by number.
    scans: BTreeMap<u64, ConnectionId>,
    seen: Vec<Seen>,
    answered: Vec<(Seen, Reply)>,
    position: u64,
}

impl Walk {
    fn run(steps: &[Step]) {
        let mut walk = Walk {
            script: Script::new(&["n1:1", "n2:1", "n3:1"]),
            truth: BTreeMap::new(),
            calls: Vec::new(),
            scans: BTreeMap::new(),
            seen: Vec::new(),
            answered: Vec::new(),
            position: 10,
        };
        for step in steps {
            walk.step(step);
            walk.notice();
        }
        walk.script.pass(4_000 * MS);
        walk.notice();
        assert_eq!(walk.script.core.calls_in_flight(), 0, "every call ends by its timeout");
        assert_eq!(walk.script.finished.len(), walk.calls.len());
        for (call, key, kind) in &walk.calls {
            let truth = walk.truth.get(key);
            match (&walk.script.finished[call], truth) {
                (Ok(Answer::Written(_)), Some(truth)) => assert!(truth.done, "a false success"),
                (Ok(Answer::Value { .. }), None) => assert_eq!(*kind, Kind::Get),
                (Ok(Answer::StaleValue { .. }), None) => assert_eq!(*kind, Kind::GetStale),
                (Ok(Answer::Page(_)), None) => assert!(matches!(kind, Kind::Scan | Kind::ScanNext)),
                (Err(ClerkError::ScanLost { .. }), None) => assert_eq!(*kind, Kind::ScanNext, "a first page is asked for elsewhere"),
                (Err(ClerkError::NotDone { .. }), Some(truth)) => {
                    assert!(!truth.done && truth.open_attempts == 0, "not done, but {truth:?}");
                }
                (Err(ClerkError::NotDone { .. }), None) => assert_ne!(*kind, Kind::ScanNext), // a read, or never sent
                (Err(ClerkError::Unknown { resume, .. }), Some(truth)) => {
                    assert!(resume.is_some(), "a token for {truth:?}");
                }
                (outcome, truth) => panic!("{outcome:?} in truth {truth:?}"),
            }
        }
        let ids: BTreeSet<(SessionId, u64)> = walk.truth.values().map(|truth| truth.id).collect();
        assert_eq!(ids.len(), walk.truth.len(), "no two writes share a number");
    }

    fn step(&mut self, step: &Step) {
        let pick = |which: usize, len: usize| which.checked_rem(len);
        match *step {
            Step::Submit { kind, timeout_ms } => {
                let key = format!("{}", self.calls.len());
                let (kind, ask) = match (kind, self.cursor()) {
                    (Kind::Write, _) => (kind, put(&key)),
                    (Kind::Get, _) => (kind, get(&key)),
                    (Kind::GetStale, _) => (kind, Ask::GetStale { key: key.clone().into_bytes() }),
                    (Kind::ScanNext, Some(cursor)) => (kind, Ask::ScanNext { cursor }),
                    (Kind::Scan | Kind::ScanNext, _) => (Kind::Scan, Ask::Scan(Range::default())),
                };
                let call = self.script.submit_for(ask, timeout_ms * MS);
                self.calls.push((call, key.into_bytes(), kind));
            }
            Step::Connect { which, leader } => {
                if let Some(at) = pick(which, self.script.dialling.len()) {
                    let address = self.script.dialling[at].1.clone();
                    self.script.welcome(&address, leader);
                }
            }
            Step::Fail { which } => {
                if let Some(at) = pick(which, self.script.dialling.len()) {
                    let address = self.script.dialling[at].1.clone();
                    self.script.refuse(&address);
                }
            }
            Step::End { which } => {
                if let Some(at) = pick(which, self.script.open.len()) {
                    let connection = *self.script.open.keys().nth(at).expect("there are as many");
                    self.script.end(connection);
                }
            }
            Step::Answer { which, how } => {
                if let Some(at) = pick(which, self.seen.len()) {
                    let seen = self.seen.remove(at);
                    let reply = self.answer(&seen, how);
                    self.script.reply(&seen, &reply);
                    self.answered.push((seen, reply));
                }
            }
            Step::Repeat { which } => {
                if let Some(at) = pick(which, self.answered.len()) {
                    let (seen, reply) = self.answered[at].clone();
                    self.script.reply(&seen, &reply);
                }
            }
            Step::Pass { ms } => self.script.pass(ms * MS),
            Step::GiveUp { which } => {
                if let Some(at) = pick(which, self.calls.len()) {
                    self.script.core.give_up(self.script.now_us, self.calls[at].0);
                    self.script.pump();
                }
            }
        }
    }

    fn cursor(&self) -> Option<Cursor> {
        self.script.finished.values().rev().find_map(|outcome| match outcome {
            Ok(Answer::Page(page)) => page.next,
            _ => None,
        })
    }

    /// Requests that the nodes have now.
    fn notice(&mut self) {
        for seen in std::mem::take(&mut self.script.asked) {
            if let What::Write { call: CallId { session, seq, .. }, key } = &seen.what {
                let id = (*session, *seq);
                let truth = self.truth.entry(key.clone()).or_insert(Truth { id, done: false, open_attempts: 0 });
                assert_eq!(truth.id, id, "a retry under another number can take effect twice");
                truth.open_attempts += 1;
            }
            if let What::ScanNext(scan) = seen.what {
                assert_eq!(self.scans[&scan], seen.connection, "nobody else has that page");
            }
            self.seen.push(seen);
        }
    }

    fn read(&mut self, seen: &Seen) -> Reply {
        let (value, position) = (None, Index(self.position));
        let scan = match seen.what {
            What::GetStale(_) => return Reply::StaleValue { value, position, age_ms: None },
            What::Scan { .. } => {
                let scan = self.scans.len() as u64;
                self.scans.insert(scan, seen.connection);
                scan
            }
            What::ScanNext(scan) => scan,
            _ => return Reply::Value { value, position },
        };
        Reply::Page(wire::Page { scan, position, age_ms: None, last: false, items: Vec::new() })
    }

    fn answer(&mut self, seen: &Seen, how: How) -> Reply {
        let What::Write { key, .. } = &seen.what else {
            return match how {
                How::NotLeader(leader) => not_leader(leader),
                How::LostAfterAll | How::LostAndDone => Reply::LeadershipLost,
                How::Busy => Reply::Busy { reason: BusyReason::Waiting },
                How::Replaced if matches!(seen.what, What::Scan { .. } | What::ScanNext(_)) => Reply::ScanLost,
                How::Done | How::Forming | How::Replaced => self.read(seen),
            };
        };
        let truth = self.truth.get_mut(key).expect("a request that was noticed");
        match how {
            How::Done => {
                truth.done = true;
                truth.open_attempts -= 1;
                self.position += 1;
                Reply::Written(wire::Written { outcome: WriteOutcome::Done, version: 1, position: Index(self.position) })
            }
            How::LostAfterAll => Reply::LeadershipLost, // the attempt stays open for ever
            How::LostAndDone => {
                truth.done = true;
                Reply::LeadershipLost
            }
            How::NotLeader(leader) => {
                truth.open_attempts -= 1;
                not_leader(leader)
            }
            How::Replaced => {
                truth.open_attempts -= 1;
                Reply::Replaced
            }
            How::Busy => {
                truth.open_attempts -= 1;
                Reply::Busy { reason: BusyReason::Waiting }
            }
            How::Forming => {
                truth.open_attempts -= 1;
                Reply::Forming { missing: vec!["n3".into()] }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_call_finishes_once_and_its_outcome_is_true(steps in proptest::collection::vec(step(), 0..120)) {
        Walk::run(&steps);
    }
}
