//! Why a search found no order: the first answer that does not fit, and the few operations without which it would.

use std::ops::Range;

use crate::Limits;
use crate::mixed::Mixed;
use crate::model::{Does, Event, Key, Prepared};
use crate::search::{Search, search};
use crate::verdict::{Anomaly, OPS_MAX, Violation, Why, show_value};

/// A search for an explanation is a small one, and there are not many.
const LIMITS: Limits = Limits { steps_max: 50_000, states_max: 50_000 };
const TRIES_MAX: usize = 400;

/// Explains why there is no order of these events.
pub(crate) fn explain(
    prepared: &Prepared<'_>,
    key: Option<Key>,
    keys: Range<Key>,
    events: &[Event<'_>],
    limits: &Limits,
) -> Box<Violation> {
    let impossible = |events: &[Event<'_>], limits: &Limits| matches!(search(events, keys.clone(), limits), Search::Impossible);
    // What was answered up to some moment either fits or not, and nothing later can mend it: find the first answer that does not fit.
    let mut ends: Vec<u64> = events.iter().map(|event| event.end).filter(|end| *end != u64::MAX).collect();
    ends.sort_unstable();
    ends.dedup();
    let (mut fits, mut fails) = (0, ends.len());
    while fits + 1 < fails {
        let middle = usize::midpoint(fits, fails);
        if impossible(&until(events, ends[middle - 1]), limits) { fails = middle } else { fits = middle }
    }
    let all = until(events, ends[fails - 1]);
    let mut core = all.clone();
    // Where the answers show which writes they are of, nothing else is said of them.
    let whole: Vec<Event<'_>> = key.map(|key| own(prepared, key)).unwrap_or_default();
    let mixed = key.and_then(|key| Mixed::new(prepared, key, &whole, &[]));
    let lacks = |event: &Event<'_>| mixed.as_ref().is_some_and(|mixed| mixed.missing(event.id).is_some());
    // Of several, one that lacks something for sure, or a read: it says more.
    let ended = core.iter().filter(|event| event.end == ends[fails - 1]);
    let culprit = ended.max_by_key(|event| (lacks(event), event.does.only_reads())).map(|event| event.id).expect("something ended then");
    // Then look away from as much as possible. Looking away is sound: a read is left out, a write may have happened at any time or never.
    let mut size = core.len().div_ceil(2);
    let mut tries = 0;
    while size > 0 && tries < TRIES_MAX {
        let mut from = 0;
        while from < core.len() && tries < TRIES_MAX {
            let less = relaxed(&core, from..(from + size).min(core.len()), culprit);
            if let Some(less) = less
                && {
                    tries += 1;
                    impossible(&less, &LIMITS)
                }
            {
                from += size - (core.len() - less.len()).min(size);
                core = less;
            } else {
                from += size;
            }
        }
        size /= 2;
    }
    name(prepared, key, mixed.as_ref(), &all, &core, culprit)
}

/// What was known at a moment.
fn until<'h>(events: &[Event<'h>], moment: u64) -> Vec<Event<'h>> {
    events
        .iter()
        .filter(|event| event.call <= moment)
        .filter_map(|event| if event.end <= moment { Some(event.clone()) } else { maybe(event) })
        .collect()
}

/// Of what never returned, reads do not count and writes may have happened.
fn maybe<'h>(event: &Event<'h>) -> Option<Event<'h>> {
    let does = match event.does.clone() {
        does if does.only_reads() && !matches!(does, Does::Cas { .. } | Does::Delete { .. }) => return None,
        Does::Delete { key, .. } => Does::Delete { key, existed: None },
        Does::Cas { key, expect, value, .. } => Does::Cas { key, expect, value, swapped: None },
        does => does,
    };
    Some(Event { end: u64::MAX, maybe: true, does, ..event.clone() })
}

fn relaxed<'h>(events: &[Event<'h>], which: Range<usize>, culprit: usize) -> Option<Vec<Event<'h>>> {
    let mut changed = false;
    let relaxed = events
        .iter()
        .enumerate()
        .filter_map(|(index, event)| {
            if !which.contains(&index) || event.id == culprit || event.end == u64::MAX {
                return Some(event.clone());
            }
            changed = true;
            maybe(event)
        })
        .collect();
    changed.then_some(relaxed)
}

/// What an operation says was there when it took effect.
fn saw<'h>(does: &Does<'h>) -> Option<Option<&'h [u8]>> {
    match does {
        Does::Read { found, .. } => Some(*found),
        Does::Cas { expect, swapped: Some(true), .. } => Some(*expect),
        _ => None,
    }
}

/// Whether an operation can have left this value.
fn leaves(does: &Does<'_>, value: Option<&[u8]>) -> bool {
    match (does, value) {
        (Does::Put { value: left, .. } | Does::Cas { value: left, .. }, Some(value)) => left == &value,
        (Does::Append { value: end, .. }, Some(value)) => value.ends_with(end),
        (Does::Delete { .. }, None) => true,
        _ => false,
    }
}

/// `all` is what was known when the culprit answered, `core` what of it cannot be looked away from.
fn name(
    prepared: &Prepared<'_>,
    key: Option<Key>,
    mixed: Option<&Mixed<'_, '_>>,
    all: &[Event<'_>],
    core: &[Event<'_>],
    culprit: usize,
) -> Box<Violation> {
    let end = all.iter().find(|event| event.id == culprit).expect("the culprit answered");
    let mut ops = vec![culprit];
    let mut why = Vec::new();
    let others: Vec<&Event<'_>> = all.iter().filter(|event| event.id != culprit && touches(end, event)).collect();
    let known = || others.iter().filter(|event| event.end != u64::MAX);
    let writer = |value: Option<&[u8]>| others.iter().find(|event| leaves(&event.does, value));
    let shown = mixed.map(|mixed| mixed.ops_shown(culprit)).unwrap_or_default();
    let anomaly = 'name: {
        if let Some((anomaly, proof, because)) = mixed.and_then(|mixed| mixed.missing(culprit)) {
            ops.extend(proof);
            why.extend(because);
            break 'name anomaly;
        }
        if let Some(value) = saw(&end.does) {
            let from = writer(value);
            if value.is_some() && from.is_none() {
                why.push(Why::Of(culprit, format!("found {}, which nothing that was called by then can have left", show_value(value))));
                break 'name Anomaly::PhantomValue;
            }
            ops.extend(from.map(|event| event.id));
            // Two that both took the place of one value: the one that came second did not find it.
            let rival = known().find(|event| matches!(event.does, Does::Cas { .. }) && saw(&event.does) == Some(value));
            if let (Some(rival), Does::Cas { .. }) = (rival, &end.does) {
                ops.push(rival.id);
                why.push(Why::Of(culprit, format!("found {} and put another value in its place", show_value(value))));
                why.push(Why::Of(rival.id, "did the same".into()));
                break 'name Anomaly::LostWrite;
            }
            // A read that was over before and shows what came behind.
            let newer = known().filter(|event| event.does.only_reads() && event.precedes(end)).find_map(|event| {
                let newer = saw(&event.does).filter(|newer| *newer != value)?;
                let write = writer(newer)?;
                from.is_none_or(|from| from.precedes(write)).then_some((event, write))
            });
            if let (Some((newer, write)), true) = (newer, end.does.only_reads()) {
                ops.extend([newer.id, write.id]);
                why.extend(from.map(|from| Why::Before(from.id, write.id)));
                why.push(Why::Before(newer.id, culprit));
                why.push(Why::Of(culprit, format!("found {} again", show_value(value))));
                break 'name Anomaly::NonMonotonicRead;
            }
        }
        let is_unseen = |event: &&&Event<'_>| event.precedes(end) && !event.does.only_reads() && !shown.contains(&event.id);
        let Some(write) = known().filter(is_unseen).max_by_key(|event| (event.end, event.id)) else {
            why.push(Why::Of(culprit, "fits at no moment between its call and its return".into()));
            if key.is_none() {
                // Scans of which each shows what another lacks; and who wrote it.
                let scans = [end].into_iter().chain(core.iter().filter(|event| event.id != culprit && event.end != u64::MAX));
                ops.extend(scans.clone().map(|event| event.id));
                ops.extend(
                    scans
                        .flat_map(|scan| items(&scan.does))
                        .filter_map(|item| all.iter().find(|event| writes(&event.does, item)).map(|event| event.id)),
                );
                break 'name Anomaly::Fork;
            }
            let is_read = known().any(|event| event.does.only_reads());
            break 'name if is_read { Anomaly::NonMonotonicRead } else { Anomaly::PhantomValue };
        };
        ops.push(write.id);
        why.push(Why::Before(write.id, culprit));
        why.push(Why::Of(culprit, "answers as if that had not been".into()));
        if is_seen(prepared, write) { Anomaly::StaleRead } else { Anomaly::LostWrite }
    };
    let mut rest: Vec<&Event<'_>> = core.iter().filter(|event| event.end != u64::MAX && !ops.contains(&event.id)).collect();
    rest.sort_by_key(|event| std::cmp::Reverse(event.end));
    for event in rest.into_iter().take(OPS_MAX.saturating_sub(ops.len())) {
        if event.precedes(end) {
            why.push(Why::Before(event.id, culprit));
        }
        ops.push(event.id);
    }
    why.push(Why::Text("No order within the intervals gives all of these answers".into()));
    Violation::new(prepared.history, anomaly, key.map(|key| prepared.keys[key]), &ops, &why)
}

/// All that touches a key.
fn own<'h>(prepared: &Prepared<'h>, key: Key) -> Vec<Event<'h>> {
    let own: Vec<usize> = (0..prepared.events.len()).filter(|index| prepared.events[*index].does.key() == Some(key)).collect();
    prepared.of_key(key, &own)
}

fn items<'a, 'h>(does: &'a Does<'h>) -> &'a [(Key, &'h [u8])] {
    match does {
        Does::Scan { items, .. } => items,
        _ => &[],
    }
}

fn writes(does: &Does<'_>, (key, value): &(Key, &[u8])) -> bool {
    does.key() == Some(*key) && leaves(does, Some(value))
}

/// Whether two events have a key in common.
fn touches(a: &Event<'_>, b: &Event<'_>) -> bool {
    match (a.does.key(), b.does.key()) {
        (Some(a), Some(b)) => a == b,
        _ => true,
    }
}

/// Whether any operation of the whole history found what this one left.
fn is_seen(prepared: &Prepared<'_>, write: &Event<'_>) -> bool {
    prepared.events.iter().any(|event| {
        event.id != write.id
            && event.does.key() == write.does.key()
            && !event.precedes(write)
            && matches!(saw(&event.does), Some(value) if leaves(&write.does, value))
    })
}
