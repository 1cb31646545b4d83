//! Versions, where no replay counts them: how many writes a key can have seen by then.
//!
//! An order that is given bounds them from both sides, up to the writes of unknown outcome. Without one the clock does; and on a key that
//! nobody deletes a version is a position among the writes of that key.

use std::ops::RangeInclusive;

use crate::model::{Does, Event, Key, Prepared, over_before};
use crate::order;
use crate::place::Next;
use crate::verdict::{Anomaly, OPS_MAX, Violation, Why};

/// What an event does to the number of writes since the key was created.
struct Effect {
    /// Just before it there was no such key.
    from_nothing: bool,
    writes: bool,
    may_write: bool,
    /// It leaves none, or found none.
    to_nothing: bool,
    /// There is such a key when it has taken effect.
    exists: bool,
}

fn effect(does: &Does<'_>) -> Effect {
    let none = Effect { from_nothing: false, writes: false, may_write: false, to_nothing: false, exists: false };
    match does {
        Does::Put { .. } | Does::Append { .. } => Effect { writes: true, exists: true, ..none },
        Does::Cas { expect, swapped: Some(true), .. } => Effect { from_nothing: expect.is_none(), writes: true, exists: true, ..none },
        Does::Cas { expect, swapped: Some(false), .. } => Effect { exists: expect.is_none(), ..none },
        Does::Cas { swapped: None, .. } => Effect { may_write: true, ..none },
        Does::Read { found, .. } => Effect { to_nothing: found.is_none(), exists: found.is_some(), ..none },
        Does::Delete { .. } => Effect { to_nothing: true, ..none },
        Does::Scan { .. } => none,
    }
}

/// The version that an answer claims; a delete leaves none.
fn claimed(event: &Event<'_>) -> Option<u64> {
    event.version.filter(|_| event.end != u64::MAX && !matches!(event.does, Does::Delete { .. } | Does::Scan { .. }))
}

/// The first event of an order, all of one key, that says more or fewer writes than there can have been, and how many there can.
pub(crate) fn misfit(order: &[Next<'_>], maybes: &[&Event<'_>]) -> Option<(usize, RangeInclusive<u64>)> {
    // Both in order of the calls.
    let (deletes, writes): (Vec<&Event<'_>>, Vec<&Event<'_>>) =
        maybes.iter().copied().partition(|maybe| matches!(maybe.does, Does::Delete { .. }));
    let (mut called, mut may) = (0, 0);
    // Since the key was last absent for certain: writes that are known, and how many of the others came in between at the least. Before
    // that: how many of the others are spent.
    let (mut known, mut more, mut spent) = (0, 0, 0);
    for (at, next) in order.iter().enumerate() {
        while writes.get(called).is_some_and(|write| !over_before(next.over, write.call)) {
            called += 1;
        }
        let effect = effect(&next.event.does);
        if effect.from_nothing || effect.to_nothing {
            (known, more, spent) = (0, 0, spent + more);
        }
        known += u64::from(effect.writes);
        may += u64::from(effect.may_write);
        let Some(claimed) = claimed(&next.event) else { continue };
        let is_deleted = deletes.first().is_some_and(|delete| !over_before(next.over, delete.call));
        let least = if is_deleted { 0 } else { known + more };
        let most = if effect.to_nothing || effect.from_nothing { known } else { (known + called as u64 + may).saturating_sub(spent) };
        let can = least.max(u64::from(effect.exists))..=most;
        if !can.contains(&claimed) {
            return Some((at, can));
        }
        more = more.max(claimed.saturating_sub(known));
    }
    None
}

/// What contradicts in the versions of a key, by the clock alone.
pub(crate) fn contradiction(prepared: &Prepared<'_>, key: Key, events: &[Event<'_>]) -> Option<Box<Violation>> {
    let told: Vec<(u64, usize)> = events.iter().enumerate().filter_map(|(index, event)| Some((claimed(event)?, index))).collect();
    if told.is_empty() {
        return None;
    }
    let violation =
        |anomaly, ops: &[usize], why: &[Why]| Some(Violation::new(prepared.history, anomaly, Some(prepared.keys[key]), ops, why));
    let can_write = |event: &&Event<'_>| !event.does.only_reads() && !matches!(event.does, Does::Delete { .. });
    let writes: Vec<&Event<'_>> = events.iter().filter(can_write).collect();
    let is_deleted = events.iter().any(|event| matches!(event.does, Does::Delete { existed: None | Some(true), .. }));
    let mut sure: Vec<&Event<'_>> = events.iter().filter(|event| !event.maybe && effect(&event.does).writes).collect();
    sure.sort_by_key(|event| event.end);
    for (claimed, index) in &told {
        let event = &events[*index];
        let most = writes.partition_point(|write| !over_before(event.end, write.call));
        if *claimed > most as u64 {
            let ops: Vec<usize> =
                [event.id].into_iter().chain(writes[..most].iter().rev().map(|write| write.id).take(OPS_MAX - 1)).collect();
            let why = Why::Of(event.id, format!("says version {claimed}; no more than {most} writes can have happened by then"));
            return violation(Anomaly::Duplicate, &ops, &[why]);
        }
        let effect = effect(&event.does);
        let over = if is_deleted { 0 } else { sure.partition_point(|write| over_before(write.end, event.call)) };
        let least = (over as u64 + u64::from(effect.writes)).max(u64::from(effect.exists));
        if *claimed < least {
            let ops: Vec<usize> = [event.id].into_iter().chain(sure[..over].iter().rev().map(|write| write.id).take(OPS_MAX - 1)).collect();
            let why = Why::Of(event.id, format!("says version {claimed}; no fewer than {least} writes had happened when it did"));
            return violation(Anomaly::LostWrite, &ops, &[why]);
        }
    }
    if is_deleted {
        return None;
    }
    let mut ranked: Vec<((u64, bool), usize)> =
        told.into_iter().map(|(claimed, index)| ((claimed, !effect(&events[index].does).writes), index)).collect();
    ranked.sort_unstable();
    if let Some(pair) = ranked.windows(2).find(|pair| pair[0].0 == pair[1].0 && !pair[0].0.1) {
        let [one, other] = [pair[0].1, pair[1].1].map(|index| events[index].id);
        let why = Why::Text(format!("Both made version {}: one of them is in another history", pair[0].0.0));
        return violation(Anomaly::Fork, &[one, other], &[why]);
    }
    let (behind, ahead) = order::contradiction(events, ranked)?;
    let [behind, ahead] = [behind, ahead].map(|index| &events[index]);
    let says = |event: &Event<'_>| Why::Of(event.id, format!("says version {}", event.version.unwrap_or_default()));
    let why = [Why::Before(behind.id, ahead.id), says(behind), says(ahead)];
    violation(order::name(behind, ahead), &[ahead.id, behind.id], &why)
}
