//! Writes of unknown outcome, put into an order that is given for everything else: wherever an answer needs one, as late as possible.
//!
//! A step is the next event of the order, or a write that may have happened. Where an answer fits as it is, no such write is needed
//! before it; where it does not, only those that bring the value nearer to the answer are. What remains to be tried is small: which
//! append came between which.

use std::collections::HashSet;

use crate::model::{Does, Event, Key, Model, Undo, over_before, spread};
use crate::search::twins;

/// What came of it.
pub(crate) enum Placed {
    Fits,
    /// The furthest event, counted from 0, that cannot answer as it did; and what was there.
    Stuck(usize, Option<Vec<u8>>),
    GaveUp,
}

/// An event of the order.
pub(crate) struct Next<'h> {
    pub(crate) event: Event<'h>,
    /// The earliest end of this event and all behind it, on any key: what comes before it must have been called by then.
    pub(crate) over: u64,
}

struct Frame {
    /// How many of the order are done.
    at: usize,
    /// 0: the next event; from 1: a write that may have happened.
    choice: usize,
    done: Option<(Option<usize>, Undo)>,
}

/// Looks for places for `maybes` among `order`, all of one key.
pub(crate) fn place(key: Key, order: &[Next<'_>], maybes: &[&Event<'_>], steps_max: u64) -> Placed {
    let mut model = Model::new(key..key + 1);
    let mut used = vec![false; maybes.len()];
    let mut used_hash = 0u128;
    let mut seen = HashSet::new();
    let twin = twins(maybes.iter().copied());
    let is_cas = |write: usize| matches!(maybes[write].does, Does::Cas { .. });
    let mut cas_left = (0..maybes.len()).filter(|write| is_cas(*write)).count();
    let mut stuck = (0, None);
    let mut steps = 0;
    let ahead = look_ahead(order);
    let may_only_append = maybes.iter().all(|maybe| matches!(maybe.does, Does::Append { .. }));
    let mut stack = vec![Frame { at: 0, choice: 0, done: None }];
    while let Some(frame) = stack.last_mut() {
        if let Some((write, undo)) = frame.done.take() {
            model.undo(undo);
            if let Some(write) = write {
                used[write] = false;
                cas_left += usize::from(is_cas(write));
                used_hash ^= spread(write as u128 + 1);
            }
        }
        let Some(next) = order.get(frame.at) else { return Placed::Fits };
        let choice = frame.choice;
        frame.choice += 1;
        steps += 1;
        if steps > steps_max {
            return Placed::GaveUp;
        }
        let mut forward = frame.at;
        if choice == 0 {
            let Some(undo) = model.apply(&next.event.does) else {
                if stuck.0 <= frame.at {
                    stuck = (frame.at, model.value(key).map(Into::into));
                }
                continue;
            };
            // What shows it is known already: an append in a wrong place is noticed here, not after all that can come in between.
            if let (Does::Append { .. }, Ahead::Found(shown, found), true) = (&next.event.does, ahead[frame.at], may_only_append)
                && !model.value(key).is_some_and(|value| found.starts_with(value))
            {
                if stuck.0 <= shown {
                    stuck = (shown, model.value(key).map(Into::into));
                }
                model.undo(undo);
                continue;
            }
            forward += 1;
            frame.done = Some((None, undo));
        } else {
            let Some(maybe) = maybes.get(choice - 1) else {
                stack.pop();
                continue;
            };
            let write = choice - 1;
            let twin_is_left = twin[write].is_some_and(|other| !used[other]);
            if used[write] || twin_is_left || over_before(next.over, maybe.call) || !helps(&model, &next.event.does, ahead[frame.at]) {
                continue;
            }
            let Some(undo) = model.apply(&maybe.does) else { continue };
            // A cas may turn any value into another; without one, only appends can follow that keep what is there.
            if !undo.changed() || !(cas_left > 0 || leads_to(&model, key, &next.event.does, ahead[frame.at])) {
                model.undo(undo);
                continue;
            }
            used[write] = true;
            cas_left -= usize::from(is_cas(write));
            used_hash ^= spread(write as u128 + 1);
            frame.done = Some((Some(write), undo));
        }
        if maybes.is_empty() || seen.insert(spread(model.hash() ^ spread(used_hash ^ forward as u128))) {
            stack.push(Frame { at: forward, choice: 0, done: None });
        }
    }
    Placed::Stuck(stuck.0, stuck.1)
}

/// What will show whether the appends that come next are the right ones.
#[derive(Clone, Copy)]
enum Ahead<'h> {
    /// Nobody sees them: they are covered first, or the order ends.
    Nobody,
    /// The event of this number found this.
    Found(usize, &'h [u8]),
    /// Something that is not told in advance.
    Something,
}

/// For every event: what shows its effect, if nothing but appends comes in between.
fn look_ahead<'h>(order: &[Next<'h>]) -> Vec<Ahead<'h>> {
    let mut ahead = vec![Ahead::Nobody; order.len()];
    for at in (1..order.len()).rev() {
        ahead[at - 1] = match order[at].event.does {
            Does::Append { .. } => ahead[at],
            Does::Read { found: Some(found), .. } | Does::Cas { expect: Some(found), swapped: Some(true), .. } => Ahead::Found(at, found),
            Does::Put { .. } | Does::Delete { .. } => Ahead::Nobody,
            Does::Read { .. } | Does::Cas { .. } | Does::Scan { .. } => Ahead::Something,
        };
    }
    ahead
}

/// Whether a write before this can matter. If it answers without, or covers it, the write may as well come later or never.
fn helps(model: &Model, does: &Does<'_>, ahead: Ahead<'_>) -> bool {
    match does {
        Does::Read { key, found } => model.value(*key) != *found,
        Does::Delete { key, existed } => existed.is_some_and(|existed| existed != model.value(*key).is_some()),
        Does::Cas { key, expect, swapped: Some(swapped), .. } => *swapped != (model.value(*key) == *expect),
        Does::Append { .. } => !matches!(ahead, Ahead::Nobody),
        Does::Cas { swapped: None, .. } => true,
        Does::Put { .. } | Does::Scan { .. } => false,
    }
}

/// Whether the value can still become what the event found by appends.
fn leads_to(model: &Model, key: Key, does: &Does<'_>, ahead: Ahead<'_>) -> bool {
    let needs = match (does, ahead) {
        (Does::Read { found, .. }, _) => found,
        (Does::Cas { expect, swapped: Some(true), .. }, _) => expect,
        (Does::Append { .. }, Ahead::Found(_, found)) => &Some(found),
        _ => return true,
    };
    match (needs, model.value(key)) {
        (Some(needs), Some(value)) => needs.starts_with(value),
        (None, None) | (Some(_), None) => true,
        (None, Some(_)) => false,
    }
}
