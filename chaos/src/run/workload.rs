//! What a client asks next. Every value is written once, so that a read says whose write it shows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use checker::{Answer, Call};
use clap::ValueEnum;
use fastrand::Rng;
use serde::{Deserialize, Serialize};

/// What clients do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Workload {
    /// Appends to a few keys and reads of them: a read shows the whole order.
    Append,
    /// Puts and reads.
    Register,
    /// Compare-and-swap against what was last seen, and reads.
    Cas,
    /// Everything: put, append, get, delete, cas, scan.
    Mixed,
    /// Appends; one whose outcome is unknown is settled later, by another client, at another node.
    Session,
}

impl Workload {
    /// How long a call takes at most, unless the scenario says otherwise. Shorter than most faults: some outcomes must be unknown, above
    /// all where it is their settling that is tested.
    pub(crate) fn timeout(self) -> Duration {
        match self {
            Workload::Session => Duration::from_millis(400),
            Workload::Append | Workload::Register | Workload::Cas | Workload::Mixed => Duration::from_secs(1),
        }
    }
}

/// Fewer keys make every read contended; more make the history easier to judge.
const SLOTS: usize = 8;
/// Behind so many appends a slot goes on with a new key: values stay short.
const APPENDS_PER_KEY: u64 = 200;

/// Which key of each slot is being appended to, by all clients.
#[derive(Debug, Default)]
pub(crate) struct Rotation([AtomicU64; SLOTS]);

impl Rotation {
    /// The key of a slot now; whether this call adds to it.
    fn key(&self, slot: usize, adds: bool) -> Vec<u8> {
        let counter = &self.0[slot];
        let count = if adds { counter.fetch_add(1, Ordering::Relaxed) } else { counter.load(Ordering::Relaxed) };
        format!("a{slot}.{}", count / APPENDS_PER_KEY).into_bytes()
    }
}

/// One client's side of it.
pub(crate) struct Script {
    workload: Workload,
    client: usize,
    rng: Rng,
    rotation: Arc<Rotation>,
    writes: u64,
    /// What this client last saw under each key.
    seen: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
}

impl Script {
    pub(crate) fn new(workload: Workload, client: usize, seed: u64, rotation: Arc<Rotation>) -> Script {
        let rng = Rng::with_seed(seed ^ (client as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        Script { workload, client, rng, rotation, writes: 0, seen: BTreeMap::new() }
    }

    pub(crate) fn next(&mut self) -> Call {
        let slot = self.rng.usize(..SLOTS);
        let is_write = self.rng.bool();
        match self.workload {
            Workload::Append | Workload::Session => {
                let key = self.rotation.key(slot, is_write);
                if is_write { Call::Append { key, value: self.value() } } else { Call::Get { key } }
            }
            Workload::Register => {
                let key = format!("r{slot}").into_bytes();
                if is_write { Call::Put { key, value: self.value() } } else { Call::Get { key } }
            }
            Workload::Cas => {
                let key = format!("x{slot}").into_bytes();
                if is_write { self.cas(key) } else { Call::Get { key } }
            }
            Workload::Mixed => {
                let key = format!("m{slot}").into_bytes();
                match self.rng.u32(..16) {
                    0..=2 => Call::Put { key, value: self.value() },
                    3..=5 => Call::Append { key, value: self.value() },
                    6 | 7 => Call::Delete { key },
                    8..=10 => self.cas(key),
                    11 => self.scan(),
                    _ => Call::Get { key },
                }
            }
        }
    }

    fn value(&mut self) -> Vec<u8> {
        self.writes += 1;
        format!("c{}w{};", self.client, self.writes).into_bytes()
    }

    fn cas(&mut self, key: Vec<u8>) -> Call {
        let expect = self.seen.get(&key).cloned().flatten();
        Call::Cas { key, expect, value: self.value() }
    }

    fn scan(&mut self) -> Call {
        let (first, last) = (self.rng.usize(..SLOTS), self.rng.usize(..SLOTS));
        let bound = |slot: usize| Some(format!("m{slot}").into_bytes());
        Call::Scan { from: bound(first.min(last)), to: bound(first.max(last) + 1), limit: None }
    }

    /// What was answered, for those calls that build on what was seen.
    pub(crate) fn learn(&mut self, call: &Call, answer: &Answer) {
        match (call, answer) {
            (Call::Get { key }, Answer::Value(value)) => drop(self.seen.insert(key.clone(), value.clone())),
            (Call::Put { key, value }, _) | (Call::Cas { key, value, .. }, Answer::Flag(true)) => {
                self.seen.insert(key.clone(), Some(value.clone()));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls(workload: Workload, client: usize) -> Vec<Call> {
        let mut script = Script::new(workload, client, 7, Arc::default());
        (0..1000).map(|_| script.next()).collect()
    }

    #[test]
    fn no_value_is_written_twice() {
        for workload in [Workload::Append, Workload::Register, Workload::Cas, Workload::Mixed, Workload::Session] {
            let values: Vec<Vec<u8>> = [calls(workload, 1), calls(workload, 11)]
                .concat()
                .into_iter()
                .filter_map(|call| match call {
                    Call::Put { value, .. } | Call::Append { value, .. } | Call::Cas { value, .. } => Some(value),
                    _ => None,
                })
                .collect();
            let different: std::collections::BTreeSet<_> = values.iter().collect();
            assert!(different.len() == values.len() && values.len() > 500, "{workload:?}: {} of {}", different.len(), values.len());
        }
    }

    #[test]
    fn a_seed_gives_one_script() {
        assert_eq!(calls(Workload::Mixed, 1), calls(Workload::Mixed, 1));
        assert_ne!(calls(Workload::Mixed, 1), calls(Workload::Mixed, 2));
    }

    #[test]
    fn the_mixed_workload_asks_for_everything() {
        let kinds: std::collections::HashSet<std::mem::Discriminant<Call>> =
            calls(Workload::Mixed, 3).iter().map(std::mem::discriminant).collect();
        assert_eq!(kinds.len(), 6);
    }

    #[test]
    fn a_cas_expects_what_was_last_seen() {
        let mut script = Script::new(Workload::Cas, 1, 7, Arc::default());
        let key = b"x3".to_vec();
        script.learn(&Call::Get { key: key.clone() }, &Answer::Value(Some(b"seen".into())));
        assert!(matches!(script.cas(key.clone()), Call::Cas { expect: Some(value), .. } if value == b"seen"));
        let call = Call::Cas { key: key.clone(), expect: None, value: b"lost".into() };
        script.learn(&call, &Answer::Flag(false));
        assert!(matches!(script.cas(key), Call::Cas { expect: Some(value), .. } if value == b"seen"));
    }
}
