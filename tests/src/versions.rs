//! Conditional puts on one key, and whether what their clients saw can have happened one call after the other.
//!
//! Every put that took effect made a version of its own, so the versions say in which order the calls took effect: the put that made
//! version 7, then whoever saw version 7, then the put that made version 8. The history is linearizable exactly if no call that was over
//! before another one began comes behind it in that order. No search, hence no "unknown" as a verdict.

use std::collections::BTreeMap;
use std::time::Instant;

/// One call, and what its client was told.
#[derive(Clone, Debug)]
pub struct Call {
    /// Who called.
    pub client: usize,
    /// Just before.
    pub began: Instant,
    /// Just after.
    pub ended: Instant,
    /// The answer.
    pub saw: Saw,
}

/// What a call was told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Saw {
    /// The put took effect: it made this version. The values of all puts differ.
    Put {
        /// Of the key, from then on.
        version: u64,
        /// What was put.
        value: String,
    },
    /// The put was refused.
    Refused {
        /// The version that it was meant for; 0: no such key.
        expected: u64,
        /// The one that was there.
        found: u64,
    },
    /// A read; version 0 without a value: no such key.
    Read {
        /// Of the key.
        version: u64,
        /// What it held.
        value: Option<String>,
    },
}

impl Call {
    /// Where it stands in the order of all calls; those that only saw the same version may stand in any order.
    fn place(&self) -> u64 {
        match &self.saw {
            Saw::Put { version, .. } => 2 * version,
            Saw::Refused { found: version, .. } | Saw::Read { version, .. } => 2 * version + 1,
        }
    }
}

/// Panics unless these are all the calls that a key has ever seen, each took effect once or not at all as its client was told, and at
/// some moment between its beginning and its end. Returns the version of the key.
#[track_caller]
pub fn check(calls: &[Call]) -> u64 {
    let mut puts = BTreeMap::new();
    for call in calls {
        if let Saw::Put { version, value } = &call.saw
            && let Some(other) = puts.insert(*version, value)
        {
            panic!("version {version} was made twice: by {other:?} and by {value:?}");
        }
    }
    let last = puts.keys().last().copied().unwrap_or_default();
    if let Some(missing) = (1..=last).find(|version| !puts.contains_key(version)) {
        panic!("{} puts were acknowledged, but nobody was told that theirs made version {missing} of {last}", puts.len());
    }
    for call in calls {
        match &call.saw {
            Saw::Put { .. } => {}
            Saw::Refused { expected, found } => {
                assert!(found != expected && *found <= last, "refused without a reason, the last version is {last}: {call:?}");
            }
            Saw::Read { version: 0, value } => assert_eq!(*value, None, "{call:?}"),
            Saw::Read { version, value } => {
                assert_eq!(puts.get(version).copied(), value.as_ref(), "not what was put as version {version}: {call:?}");
            }
        }
    }
    let mut by_end: Vec<&Call> = calls.iter().collect();
    by_end.sort_by_key(|call| call.ended);
    let mut by_beginning: Vec<&Call> = calls.iter().collect();
    by_beginning.sort_by_key(|call| call.began);
    let (mut ended, mut newest): (_, Option<&Call>) = (by_end.into_iter().peekable(), None);
    for call in by_beginning {
        while let Some(over) = ended.next_if(|over| over.ended < call.began) {
            newest = newest.filter(|newest| newest.place() >= over.place()).or(Some(over));
        }
        if let Some(newest) = newest {
            assert!(newest.place() <= call.place(), "{newest:?} was over when {call:?} began, which saw an older state");
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn put(version: u64, value: &str) -> Saw {
        Saw::Put { version, value: value.into() }
    }

    fn read(version: u64, value: Option<&str>) -> Saw {
        Saw::Read { version, value: value.map(Into::into) }
    }

    /// Calls with the milliseconds in which they began and ended.
    fn accepts(calls: &[(u64, u64, Saw)]) -> bool {
        let zero = Instant::now();
        let at = |ms| zero + Duration::from_millis(ms);
        let calls: Vec<Call> =
            calls.iter().map(|(began, ended, saw)| Call { client: 0, began: at(*began), ended: at(*ended), saw: saw.clone() }).collect();
        std::panic::catch_unwind(|| check(&calls)).is_ok()
    }

    #[test]
    fn the_judge_of_versions_notices_what_is_lost_doubled_invented_stale_or_refused_without_reason() {
        let refused = |expected, found| Saw::Refused { expected, found };
        assert!(accepts(&[(0, 1, read(0, None)), (2, 3, put(1, "a")), (4, 5, read(1, Some("a"))), (6, 7, refused(0, 1))]));
        assert!(accepts(&[(0, 9, put(1, "a")), (1, 2, read(1, Some("a"))), (3, 8, put(2, "b"))]), "seen before its client hears of it");
        assert!(accepts(&[(0, 9, put(2, "b")), (0, 9, put(1, "a")), (0, 9, read(0, None))]), "calls at the same time have any order");
        assert!(!accepts(&[(0, 1, put(1, "a")), (2, 3, put(1, "b"))]), "two winners");
        assert!(!accepts(&[(0, 1, put(1, "a")), (2, 3, put(3, "b"))]), "one took effect twice, or nobody was told of version 2");
        assert!(!accepts(&[(0, 1, put(1, "a")), (2, 3, read(1, Some("b")))]), "a value that was never put");
        assert!(!accepts(&[(0, 1, put(1, "a")), (2, 3, read(2, Some("a")))]), "a version that nobody made");
        assert!(!accepts(&[(0, 1, put(1, "a")), (2, 3, read(0, None))]), "lost, or a stale read");
        assert!(!accepts(&[(0, 9, put(1, "a")), (1, 2, read(1, Some("a"))), (3, 4, read(0, None))]), "an older state after a newer one");
        assert!(!accepts(&[(0, 1, put(2, "b")), (2, 3, put(1, "a"))]), "took effect before it began");
        assert!(!accepts(&[(0, 1, put(1, "a")), (2, 3, refused(1, 1))]), "refused though it was as expected");
        assert!(!accepts(&[(0, 1, put(1, "a")), (2, 3, refused(0, 2))]), "refused for a version that nobody made");
    }
}
