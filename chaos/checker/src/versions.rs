//! Versions, where no replay counts them: how many writes a key can have seen by then.
//!
//! An order that is given bounds them from both sides, up to the writes of unknown outcome.

use std::ops::RangeInclusive;

use crate::model::{Does, Event, over_before};
use crate::place::Next;

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
