//! The tiers, one after the other.

use crate::broken::{self, Broken};
use crate::explain::explain;
use crate::history::{History, Outcome};
use crate::model::{Does, Event, Key, Prepared};
use crate::search::{Search, search};
use crate::verdict::{Anomaly, GaveUp, Verdict, Violation};
use crate::witness::{Witness, witness};
use crate::{Judged, append, mixed, register, versions};

/// How far a search may go, for each key. They are counts, not times, so that a verdict never depends on the machine.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Operations tried, or looked at to find those that can be. A million take some tenths of a second.
    pub steps_max: u64,
    /// States remembered, some 40 bytes each; and operations held that are yet to be tried.
    pub states_max: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { steps_max: 20_000_000, states_max: 5_000_000 }
    }
}

/// Judges a history.
#[must_use]
pub fn check(history: &History, limits: &Limits) -> Verdict {
    if broken::is(Broken::AcceptsAll) {
        return Verdict::Linearizable;
    }
    let prepared = Prepared::new(history);
    let claimed = witness(&prepared, limits);
    if let Witness::Fits = claimed {
        return Verdict::Linearizable;
    }
    // Either there are no positions, or they do not hold. Without scans a history is linearizable if the part of every key is (Herlihy
    // and Wing 1990, locality); with scans, still no part may be wrong.
    let by_key = prepared.by_key();
    let refused = refused(&prepared);
    let suspect = match &claimed {
        Witness::Broken { key: Some(key), .. } => Some(*key),
        _ => None,
    };
    let mut gave_up = None;
    let mut misversioned = None;
    let mut left = limits.clone();
    for key in suspect.into_iter().chain((0..by_key.len()).filter(|key| Some(*key) != suspect)) {
        let events = prepared.of_key(key, &by_key[key]);
        misversioned = misversioned.or_else(|| versions::contradiction(&prepared, key, &events));
        match of_key(&prepared, key, &events, &refused[key], &left) {
            Verdict::Linearizable => {}
            Verdict::Violation(violation) => return Verdict::Violation(violation),
            Verdict::Unknown(why) => {
                gave_up = gave_up.or(Some(why));
                // From here on only a violation is news: many hot keys must not take many times as long.
                left.steps_max = (left.steps_max / 4).max(limits.steps_max.min(10_000));
            }
        }
    }
    if !prepared.scans.is_empty() && gave_up.is_none() {
        match together(&prepared, limits) {
            Verdict::Linearizable => {}
            Verdict::Violation(violation) => return Verdict::Violation(violation),
            Verdict::Unknown(why) => gave_up = Some(why),
        }
    }
    match (claimed, gave_up) {
        // The answers could be put in order; the order that was claimed with them is another.
        (Witness::Broken { violation, certain: true, by_time, .. }, None) => Verdict::Violation(misplaced(violation, by_time)),
        (Witness::Broken { violation, certain: true, .. }, Some(_)) => Verdict::Violation(violation),
        (_, gave_up) => match (misversioned, gave_up) {
            (Some(violation), Some(_)) => Verdict::Violation(violation),
            (Some(mut violation), None) => {
                violation
                    .sentences
                    .push("The answers alone can be put in order; with the versions that came with them they cannot.".into());
                Verdict::Violation(violation)
            }
            (None, Some(why)) => Verdict::Unknown(why),
            (None, None) => Verdict::Linearizable,
        },
    }
}

fn misplaced(mut violation: Box<Violation>, by_time: bool) -> Box<Violation> {
    if !by_time {
        violation.anomaly = Anomaly::WrongPosition;
    }
    violation.sentences.push("The answers alone can be put in order; with the positions that came with them they cannot.".into());
    violation
}

/// Refused writes by key: nobody may ever see them.
fn refused(prepared: &Prepared<'_>) -> Vec<Vec<usize>> {
    let mut refused = vec![Vec::new(); prepared.keys.len()];
    for (id, op) in prepared.history.ops().iter().enumerate() {
        if let (Outcome::Fail, Some(key)) = (&op.outcome, op.call.key()) {
            refused[prepared.keys.partition_point(|other| *other < key)].push(id);
        }
    }
    refused
}

fn of_key(prepared: &Prepared<'_>, key: Key, events: &[Event<'_>], refused: &[usize], limits: &Limits) -> Verdict {
    for judge in [append::judge, register::judge, mixed::judge] {
        match judge(prepared, key, events, refused) {
            Judged::Fits => return Verdict::Linearizable,
            Judged::Broken(violation) => return Verdict::Violation(violation),
            Judged::NotMine => {}
        }
    }
    searched(prepared, Some(key), key..key + 1, events, limits)
}

/// The keys from the first that any scan looks at to the last.
fn together(prepared: &Prepared<'_>, limits: &Limits) -> Verdict {
    let scans = prepared.events.iter().filter_map(|event| match &event.does {
        Does::Scan { from, to, .. } if from < to => Some((*from, *to)),
        _ => None,
    });
    let Some((from, to)) = scans.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))) else { return Verdict::Linearizable };
    let touches = |event: &&Event<'_>| match &event.does {
        Does::Scan { from, to, .. } => from < to,
        does => does.key().is_some_and(|key| (from..to).contains(&key)),
    };
    let events: Vec<Event<'_>> = prepared.events.iter().filter(touches).cloned().collect();
    searched(prepared, None, from..to, &events, limits)
}

fn searched(prepared: &Prepared<'_>, key: Option<Key>, keys: std::ops::Range<Key>, events: &[Event<'_>], limits: &Limits) -> Verdict {
    let name = || key.map(|key| prepared.keys[key].to_vec());
    match search(events, keys.clone(), limits) {
        Search::Fits => Verdict::Linearizable,
        Search::Impossible => Verdict::Violation(explain(prepared, key, keys, events, limits)),
        Search::TooManySteps => Verdict::Unknown(GaveUp::Steps { key: name(), ops: events.len(), steps_max: limits.steps_max }),
        Search::TooManyStates => Verdict::Unknown(GaveUp::States { key: name(), ops: events.len(), states_max: limits.states_max }),
    }
}
