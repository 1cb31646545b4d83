//! The search for an order, for any history of one key or of keys that scans tie together.
//!
//! Wing and Gong ("Testing and Verifying Concurrent Objects", 1993): whatever was called before anything that is left was over may come
//! next; try one, go on, take it back when nothing fits. As Lowe does ("Testing for Linearizability", 2017), what is about to return is
//! tried first, and a set of operations that led to the same store before is not tried again.

use std::collections::HashSet;
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
    candidates: Vec<usize>,
    next: usize,
    /// What was done to get to the frame above, and how to take it back.
    done: Option<(usize, Undo)>,
}

struct Left<'e, 'h> {
    events: &'e [Event<'h>],
    /// A ring through what is left, in order of the calls; the last place is its head.
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
        for (place, index) in maybes.iter().enumerate() {
            twin[*index] = maybes[..place].iter().copied().rev().find(|other| same(&events[*other].does, &events[*index].does));
        }
        Left {
            events,
            next: (0..=count).map(|index| if index == count { 0 } else { index + 1 }).collect(),
            prev: (0..=count).map(|index| if index == 0 { count } else { index - 1 }).collect(),
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

    /// What may come next, what returns first in front. Something that only reads and fits now is as good now as later: it stands alone.
    fn candidates(&self, model: &mut Model) -> Vec<usize> {
        let head = self.events.len();
        let (mut candidates, mut first_end) = (Vec::new(), u64::MAX);
        let mut at = self.next[head];
        while at != head {
            let event = &self.events[at];
            if over_before(first_end, event.call) {
                break;
            }
            if event.does.only_reads() {
                if model.apply(&event.does).is_some() {
                    return vec![at];
                }
            } else if self.twin[at].is_none_or(|twin| !self.is_left[twin]) {
                candidates.push(at);
            }
            first_end = first_end.min(event.end);
            at = self.next[at];
        }
        candidates.sort_by_key(|index| self.events[*index].end);
        candidates
    }
}

/// Whether it may leave less than a longer value than there was.
fn resets(does: &Does<'_>) -> bool {
    matches!(does, Does::Put { .. } | Does::Delete { .. } | Does::Cas { .. })
}

/// Whether two writes do the same.
pub(crate) fn same(a: &Does<'_>, b: &Does<'_>) -> bool {
    match (a, b) {
        (Does::Put { key, value }, Does::Put { key: k, value: v }) | (Does::Append { key, value }, Does::Append { key: k, value: v }) => {
            (key, value) == (k, v)
        }
        (Does::Delete { key, .. }, Does::Delete { key: k, .. }) => key == k,
        (Does::Cas { key, expect, value, .. }, Does::Cas { key: k, expect: e, value: v, .. }) => (key, expect, value) == (k, e, v),
        _ => false,
    }
}

/// Looks for an order of `events`, which are in order of their calls.
pub(crate) fn search(events: &[Event<'_>], keys: Range<Key>, limits: &Limits) -> Search {
    let mut left = Left::new(events, keys.len() == 1);
    let mut model = Model::new(keys);
    let mut seen: HashSet<u128, BuildHasherDefault<AsIs>> = HashSet::default();
    let mut steps = 0;
    let mut stack = vec![Frame { candidates: left.candidates(&mut model), next: 0, done: None }];
    while let Some(frame) = stack.last_mut() {
        if left.must == 0 {
            return Search::Fits;
        }
        if let Some((index, undo)) = frame.done.take() {
            model.undo(undo);
            left.put_back(index);
        }
        let Some(index) = frame.candidates.get(frame.next).copied() else {
            stack.pop();
            continue;
        };
        frame.next += 1;
        steps += 1;
        if steps > limits.steps_max {
            return Search::TooManySteps;
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
            if seen.len() > limits.states_max {
                return Search::TooManyStates;
            }
            let candidates = left.candidates(&mut model);
            stack.push(Frame { candidates, next: 0, done: None });
        }
    }
    Search::Impossible
}
