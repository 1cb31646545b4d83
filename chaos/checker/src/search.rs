//! The search for an order, for any history of one key or of keys that scans tie together.
//!
//! Wing and Gong ("Testing and Verifying Concurrent Objects", 1993): whatever was called before anything that is left was over may come
//! next; try one, go on, take it back when nothing fits. As Lowe does ("Testing for Linearizability", 2017), what is about to return is
//! tried first, and a set of operations that led to the same store before is not tried again.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Range;

use crate::Limits;
use crate::model::{Does, Event, Key, Model, Undo, over_before, spread};

/// What came of it.
pub(crate) enum Search {
    Fits,
    Impossible,
    TooManySteps,
    TooManyStates,
}

/// What is remembered is as good as random already.
#[derive(Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            self.0 ^= chunk.iter().fold(0, |bits, byte| bits << 8 | u64::from(*byte));
        }
    }
}

struct Frame {
    /// Of what must have happened, what may come next: what returns first in front.
    candidates: Vec<usize>,
    next: usize,
    /// Then come those that may have happened, in order of the calls: the last that was tried, or the head of their ring. `None`: no more.
    maybe: Option<usize>,
    /// They must have been called by then.
    first_end: u64,
    /// What was done to get to the frame above, and how to take it back.
    done: Option<(usize, Undo)>,
}

struct Left<'e, 'h> {
    events: &'e [Event<'h>],
    /// Two rings through what is left, in order of the calls: of what must have happened and of what may have. The last two places
    /// are their heads.
    next: Vec<usize>,
    prev: Vec<usize>,
    is_left: Vec<bool>,
    /// Of a write that may have happened: the last one before it that does the same. It is no use before that one.
    twin: Vec<Option<usize>>,
    /// How many of those are left that must have happened.
    must: usize,
    /// Of those that are done.
    hash: u128,
    /// Of one key only: from every place, the next read.
    next_read: Option<Vec<usize>>,
    /// How many are left that can take away from a value.
    resets: usize,
}

impl<'e, 'h> Left<'e, 'h> {
    fn new(events: &'e [Event<'h>], is_one_key: bool) -> Left<'e, 'h> {
        let count = events.len();
        let mut next_read = vec![count; count + 1];
        for index in (0..count).rev() {
            next_read[index] = if matches!(events[index].does, Does::Read { .. }) { index } else { next_read[index + 1] };
        }
        let maybes: Vec<usize> = (0..count).filter(|index| events[*index].maybe).collect();
        let mut twin = vec![None; count];
        for (index, other) in maybes.iter().zip(twins(maybes.iter().map(|index| &events[*index]))) {
            twin[*index] = other.map(|place| maybes[place]);
        }
        let mut next: Vec<usize> = (0..count + 2).collect();
        let mut prev = next.clone();
        for (index, event) in events.iter().enumerate() {
            let head = count + usize::from(event.maybe);
            let last = prev[head];
            (next[last], prev[index], next[index], prev[head]) = (index, last, head, index);
        }
        Left {
            events,
            next,
            prev,
            is_left: vec![true; count],
            twin,
            must: count - maybes.len(),
            hash: 0,
            next_read: is_one_key.then_some(next_read),
            resets: events.iter().filter(|event| resets(&event.does)).count(),
        }
    }

    fn take(&mut self, index: usize) {
        let (prev, next) = (self.prev[index], self.next[index]);
        (self.next[prev], self.prev[next], self.is_left[index]) = (next, prev, false);
        self.count(index, false);
    }

    fn put_back(&mut self, index: usize) {
        let (prev, next) = (self.prev[index], self.next[index]);
        (self.next[prev], self.prev[next], self.is_left[index]) = (index, index, true);
        self.count(index, true);
    }

    fn count(&mut self, index: usize, back: bool) {
        self.hash ^= spread(index as u128 + 1);
        if resets(&self.events[index].does) {
            self.resets = if back { self.resets + 1 } else { self.resets - 1 };
        }
        if !self.events[index].maybe {
            self.must = if back { self.must + 1 } else { self.must - 1 };
        }
    }

    /// Whether the next read that is left can never be answered: only appends are left, and the value does not begin it.
    fn is_past(&self, model: &Model) -> bool {
        let Some(next_read) = self.next_read.as_ref().filter(|_| self.resets == 0) else { return false };
        let head = self.events.len();
        let mut read = next_read[self.next[head]];
        while read < head && !self.is_left[read] {
            read = next_read[read + 1];
        }
        match self.events.get(read).map(|event| &event.does) {
            Some(Does::Read { key, found }) => {
                model.value(*key).is_some_and(|value| !found.unwrap_or_default().starts_with(value) || found.is_none())
            }
            _ => false,
        }
    }

    /// What may come next, and how many were looked at. Something that only reads and fits now is as good now as later: it stands alone.
    fn frame(&self, model: &mut Model) -> (Frame, u64) {
        let head = self.events.len();
        let mut frame = Frame { candidates: Vec::new(), next: 0, maybe: Some(head + 1), first_end: u64::MAX, done: None };
        let mut looked_at = 0;
        let mut at = self.next[head];
        while at != head {
            let event = &self.events[at];
            if over_before(frame.first_end, event.call) {
                break;
            }
            looked_at += 1;
            if event.does.only_reads() {
                if model.apply(&event.does).is_some() {
                    (frame.candidates, frame.maybe) = (vec![at], None);
                    return (frame, looked_at);
                }
            } else {
                frame.candidates.push(at);
            }
            frame.first_end = frame.first_end.min(event.end);
            at = self.next[at];
        }
        frame.candidates.sort_by_key(|index| self.events[*index].end);
        (frame, looked_at)
    }

    /// The next that a frame has to try. What may have happened is not held but found again: many such writes may be left at every step.
    fn following(&self, frame: &mut Frame) -> Option<usize> {
        if let Some(index) = frame.candidates.get(frame.next) {
            frame.next += 1;
            return Some(*index);
        }
        let at = self.next[frame.maybe?];
        let is_candidate = self.events.get(at).is_some_and(|event| !over_before(frame.first_end, event.call));
        frame.maybe = is_candidate.then_some(at);
        frame.maybe
    }
}

/// Whether it may leave less than a longer value than there was.
fn resets(does: &Does<'_>) -> bool {
    matches!(does, Does::Put { .. } | Does::Delete { .. } | Does::Cas { .. })
}

/// Of each write, the last one before it that does the same.
pub(crate) fn twins<'e, 'h: 'e>(writes: impl Iterator<Item = &'e Event<'h>>) -> Vec<Option<usize>> {
    let mut last = HashMap::new();
    let does = |does: &Does<'h>| match *does {
        Does::Put { key, value } => Some((0, key, None, value)),
        Does::Append { key, value } => Some((1, key, None, value)),
        Does::Delete { key, .. } => Some((2, key, None, &b""[..])),
        Does::Cas { key, expect, value, .. } => Some((3, key, expect, value)),
        Does::Read { .. } | Does::Scan { .. } => None,
    };
    writes.enumerate().map(|(place, write)| does(&write.does).and_then(|does| last.insert(does, place))).collect()
}

/// Looks for an order of `events`, which are in order of their calls.
pub(crate) fn search(events: &[Event<'_>], keys: Range<Key>, limits: &Limits) -> Search {
    let mut left = Left::new(events, keys.len() == 1);
    let mut model = Model::new(keys);
    let mut seen: HashSet<u128, BuildHasherDefault<AsIs>> = HashSet::default();
    let (first, mut steps) = left.frame(&mut model);
    let mut held = first.candidates.len();
    let mut stack = vec![first];
    while let Some(frame) = stack.last_mut() {
        if left.must == 0 {
            return Search::Fits;
        }
        if let Some((index, undo)) = frame.done.take() {
            model.undo(undo);
            left.put_back(index);
        }
        let Some(index) = left.following(frame) else {
            held -= frame.candidates.len();
            stack.pop();
            continue;
        };
        steps += 1;
        if steps > limits.steps_max {
            return Search::TooManySteps;
        }
        if left.twin[index].is_some_and(|twin| left.is_left[twin]) {
            continue;
        }
        let event = &events[index];
        let Some(undo) = model.apply(&event.does) else { continue };
        // A write that need not have happened and would change nothing now: later is soon enough.
        if event.maybe && !undo.changed() {
            continue;
        }
        left.take(index);
        frame.done = Some((index, undo));
        if left.must == 0 {
            return Search::Fits;
        }
        if !left.is_past(&model) && seen.insert(left.hash ^ spread(model.hash())) {
            let (frame, looked_at) = left.frame(&mut model);
            steps += looked_at;
            held += frame.candidates.len();
            if seen.len().max(held) > limits.states_max {
                return Search::TooManyStates;
            }
            stack.push(frame);
        }
    }
    Search::Impossible
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(call: u64, end: u64, value: &[u8]) -> Event<'_> {
        let maybe = end == u64::MAX;
        Event { id: 0, call, end, maybe, position: None, version: None, does: Does::Put { key: 0, value } }
    }

    fn fits(found: &Search) -> bool {
        matches!(found, Search::Fits)
    }

    #[test]
    fn writes_that_may_have_happened_are_not_held_at_every_step() {
        let values: Vec<[u8; 2]> = (0..1000_u16).map(u16::to_be_bytes).collect();
        let mut events: Vec<Event<'_>> = values.iter().map(|value| put(1, u64::MAX, value)).collect();
        events.push(put(2, 3, b"known"));
        let (mut frame, _) = Left::new(&events, true).frame(&mut Model::new(0..1));
        assert_eq!(frame.candidates, [1000]);
        // And yet each is tried.
        let left = Left::new(&events, true);
        assert_eq!(std::iter::from_fn(|| left.following(&mut frame)).count(), 1001);
    }

    #[test]
    fn what_is_looked_at_is_a_step_and_what_is_held_is_bounded() {
        // Any order fits, and the first is found with a step for each; 300, then 299 and so on are looked at and held.
        let values: Vec<[u8; 2]> = (0..300_u16).map(u16::to_be_bytes).collect();
        let events: Vec<Event<'_>> = values.iter().map(|value| put(1, 9, value)).collect();
        assert!(fits(&search(&events, 0..1, &Limits { steps_max: 50_000, states_max: 50_000 })));
        assert!(matches!(search(&events, 0..1, &Limits { steps_max: 10_000, states_max: 50_000 }), Search::TooManySteps));
        assert!(matches!(search(&events, 0..1, &Limits { steps_max: 50_000, states_max: 10_000 }), Search::TooManyStates));
    }

    /// Compared each with each, this would take hours.
    #[test]
    fn the_twins_of_a_million_writes_are_found() {
        let values: Vec<[u8; 4]> = (0..1_000_000_u32).map(u32::to_be_bytes).collect();
        let events: Vec<Event<'_>> = values.iter().chain(&values[..1]).map(|value| put(1, u64::MAX, value)).collect();
        let twins = twins(events.iter());
        assert_eq!((twins[1_000_000], twins[..1_000_000].iter().flatten().count()), (Some(0), 0));
    }
}
