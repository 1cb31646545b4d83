//! Frozen views: a map as it was at one log position, read in slices while writes go on.
//!
//! A view is a cursor over the *live* map. What a write is about to change ahead of the cursor is kept aside first; what lies behind has
//! been read already. So a view costs nothing until keys ahead of it change, and then as much as their old values; what several views
//! keep of one write they share. That memory is bounded for all views of a map together: beyond it the view that holds most is cut off,
//! and its reader is told, whenever it comes back.
//!
//! A value knows the position of its last write. One that was written after the view began and that the view has not kept was not there
//! then: so a key that is new costs a view nothing but to step over it, and there may be a million of them.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::rc::Rc;

use raft::Index;

use crate::limits::{VIEW_BYTES_MAX, VIEW_STEPS_MAX};

/// Names a view for as long as the process lives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct ViewId(pub(crate) u64);

/// What keeping it aside costs.
pub(crate) trait Weight {
    /// Bytes in memory beyond the fixed part.
    fn bytes(&self) -> usize;
}

/// A value that knows when it was written.
pub(crate) trait Dated {
    /// The log position of its last write.
    fn written_at(&self) -> Index;
}

impl Weight for Box<[u8]> {
    fn bytes(&self) -> usize {
        self.len()
    }
}

/// Views of one map that are being read.
pub(crate) struct Views<K, V> {
    open: BTreeMap<ViewId, View<K, V>>,
    last_id: u64,
    /// Of all of them; what they share is counted once.
    kept_bytes: usize,
    kept_bytes_max: usize,
}

/// What one write has changed, shared by the views that it was ahead of. In the order of the keys.
struct Kept<K, V>(Rc<Old<K, V>>);

struct Old<K, V> {
    key: K,
    /// As it was.
    value: V,
}

struct View<K, V> {
    position: Index,
    /// Of a snapshot: cut off only when no other is left.
    is_snapshot: bool,
    /// Keys before it have been read.
    from: Bound<K>,
    /// The first key that is not read any more.
    to: Option<K>,
    /// Keys ahead that have changed or gone since, as they were.
    kept: BTreeSet<Kept<K, V>>,
    /// With what others share: how much this one has fallen behind.
    kept_bytes: usize,
}

/// A slice of a view.
#[derive(Debug)]
pub(crate) struct Slice {
    /// The point in time of the whole view.
    pub(crate) position: Index,
    /// Whether anything may follow.
    pub(crate) is_last: bool,
}

impl<K, V> Default for Views<K, V> {
    fn default() -> Views<K, V> {
        Views { open: BTreeMap::new(), last_id: 0, kept_bytes: 0, kept_bytes_max: VIEW_BYTES_MAX }
    }
}

impl<K: Ord + Clone + Weight, V: Clone + Weight + Dated> Views<K, V> {
    /// Numbers its views on from those of another map, which somebody may still name. None was opened before.
    pub(crate) fn number_behind(&mut self, others: &Views<K, V>) {
        self.last_id = others.last_id;
    }

    /// Begins to read the keys from `from` (included) to `to` (not included) as they are now, with everything up to `position` applied.
    pub(crate) fn open(&mut self, position: Index, from: K, to: Option<K>) -> ViewId {
        self.insert(View { position, is_snapshot: false, from: Bound::Included(from), to, kept: BTreeSet::new(), kept_bytes: 0 })
    }

    /// Begins to read everything, for a snapshot.
    pub(crate) fn open_whole(&mut self, position: Index) -> ViewId {
        self.insert(View { position, is_snapshot: true, from: Bound::Unbounded, to: None, kept: BTreeSet::new(), kept_bytes: 0 })
    }

    fn insert(&mut self, view: View<K, V>) -> ViewId {
        self.last_id += 1;
        let id = ViewId(self.last_id);
        self.open.insert(id, view);
        id
    }

    /// Holds them to this, and not to what a real node's may keep.
    pub(crate) fn hold_to(&mut self, kept_bytes_max: usize) {
        self.kept_bytes_max = kept_bytes_max;
    }

    /// How many are open.
    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.open.len()
    }

    /// Forgets a view.
    pub(crate) fn close(&mut self, id: ViewId) {
        if let Some(view) = self.open.remove(&id) {
            view.kept.into_iter().for_each(|kept| self.release(kept));
        }
    }

    /// What stands under `key` is about to change from `value`, or to go.
    pub(crate) fn before_write<Q>(&mut self, key: &Q, value: &V)
    where
        Q: Ord + ToOwned + ?Sized,
        K: Borrow<Q> + From<Q::Owned>,
    {
        // What was written since a view began is kept already, or was not there.
        let is_needed = |view: &View<K, V>| value.written_at() <= view.position && view.is_ahead(key);
        if !self.open.values().any(is_needed) {
            return;
        }
        let owned = K::from(key.to_owned());
        let content = owned.bytes() + value.bytes();
        let mut shared: Option<Kept<K, V>> = None;
        let mut last = None;
        while let Some(id) = self.open.range((last.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded)).next().map(|(id, _)| *id) {
            last = Some(id);
            if !self.open.get(&id).is_some_and(is_needed) {
                continue;
            }
            // Room is made before anything is kept; perhaps by this very view.
            self.make_room(KEPT_OVERHEAD + if shared.is_none() { content } else { 0 });
            let Some(view) = self.open.get_mut(&id) else { continue };
            let kept = shared.get_or_insert_with(|| {
                self.kept_bytes += content;
                Kept(Rc::new(Old { key: owned.clone(), value: value.clone() }))
            });
            view.kept.insert(Kept(Rc::clone(&kept.0)));
            view.kept_bytes += KEPT_OVERHEAD + content;
            self.kept_bytes += KEPT_OVERHEAD;
        }
        // All who shared it may have been cut off since.
        if shared.is_some_and(|kept| Rc::strong_count(&kept.0) == 1) {
            self.kept_bytes -= content;
        }
    }

    /// Cuts off whoever holds most, until so many bytes more may be kept or nobody is left.
    fn make_room(&mut self, bytes: usize) {
        while self.kept_bytes + bytes > self.kept_bytes_max {
            let greediest = self.open.iter().max_by_key(|(_, view)| (!view.is_snapshot, view.kept_bytes)).map(|(id, _)| *id);
            let Some(greediest) = greediest else { return };
            self.close(greediest);
        }
    }

    /// A view no longer keeps it: what others do not keep either is gone.
    fn release(&mut self, kept: Kept<K, V>) {
        self.kept_bytes -= KEPT_OVERHEAD + if Rc::strong_count(&kept.0) == 1 { kept.content() } else { 0 };
    }

    /// Reads on: gives `take` each key and value of the view in order until it says that this was enough, or until many were found that
    /// the view has not; nothing if not `any` are wanted. `None`: the view is gone, cut off or closed.
    pub(crate) fn read(&mut self, id: ViewId, map: &BTreeMap<K, V>, any: bool, mut take: impl FnMut(&K, &V) -> bool) -> Option<Slice> {
        let view = self.open.get_mut(&id)?;
        if !any {
            return Some(Slice { position: view.position, is_last: false });
        }
        let bounds = (view.from.as_ref(), view.to.as_ref().map_or(Bound::Unbounded, Bound::Excluded));
        // A range whose end lies before its start holds nothing; BTreeMap would panic.
        let is_empty = matches!((&view.from, &view.to), (Bound::Included(from) | Bound::Excluded(from), Some(to)) if to <= from);
        let mut stopped_after: Option<K> = None;
        let mut stepped_over = 0;
        if !is_empty {
            let mut live = map.range::<K, _>(bounds).peekable();
            let mut kept = view.kept.iter().peekable();
            loop {
                // A kept key hides the live one: that is what it is now, not what it was.
                let from_kept = match (live.peek(), kept.peek()) {
                    (Some((live_key, _)), Some(kept)) => kept.0.key <= **live_key,
                    (None, Some(_)) => true,
                    (Some(_), None) => false,
                    (None, None) => break,
                };
                let (key, value) = if from_kept {
                    let Old { key, value } = &*kept.next().expect("it was there").0;
                    live.next_if(|(live_key, _)| *live_key == key);
                    (key, value)
                } else {
                    live.next().expect("it was there")
                };
                let is_enough = if view.position < value.written_at() {
                    stepped_over += 1;
                    stepped_over == VIEW_STEPS_MAX
                } else {
                    !take(key, value)
                };
                if is_enough {
                    stopped_after = Some(key.clone());
                    break;
                }
            }
        }
        let slice = Slice { position: view.position, is_last: stopped_after.is_none() };
        match stopped_after {
            None => self.close(id),
            Some(key) => {
                let ahead = view.kept.split_off(&key);
                let mut read = std::mem::replace(&mut view.kept, ahead);
                // The key it stopped after was read, too.
                read.extend(view.kept.take(&key));
                view.kept_bytes -= read.iter().map(|kept| KEPT_OVERHEAD + kept.content()).sum::<usize>();
                view.from = Bound::Excluded(key);
                read.into_iter().for_each(|kept| self.release(kept));
            }
        }
        Some(slice)
    }
}

/// What keeping a key aside costs each view, beside the bytes of key and value.
const KEPT_OVERHEAD: usize = 128;

impl<K: Weight, V: Weight> Kept<K, V> {
    fn content(&self) -> usize {
        self.0.key.bytes() + self.0.value.bytes()
    }
}

impl<K, V> Borrow<K> for Kept<K, V> {
    fn borrow(&self) -> &K {
        &self.0.key
    }
}

impl<K: Ord, V> Ord for Kept<K, V> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.key.cmp(&other.0.key)
    }
}

impl<K: Ord, V> PartialOrd for Kept<K, V> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<K: Ord, V> PartialEq for Kept<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<K: Ord, V> Eq for Kept<K, V> {}

impl<K, V> View<K, V> {
    fn is_ahead<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        let begun = match &self.from {
            Bound::Included(from) => from.borrow() <= key,
            Bound::Excluded(from) => from.borrow() < key,
            Bound::Unbounded => true,
        };
        begun && self.to.as_ref().is_none_or(|to| key < to.borrow())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Machine;
    use proptest::prelude::*;
    use wire::command::Op;

    type Items = Vec<(Vec<u8>, Vec<u8>)>;

    fn put(machine: &mut Machine, index: u64, key: &[u8], value: &[u8]) {
        machine.apply(Index(index), &Op::Put { key, value });
    }

    /// Reads `most` keys on; the keys and values, and whether that was the end. `None`: cut off.
    fn read(machine: &mut Machine, view: ViewId, most: usize) -> Option<(Items, bool)> {
        let mut items = Vec::new();
        let slice = machine.read_view(view, true, |key, slot| {
            items.push((key.to_vec(), slot.value.clone()));
            items.len() < most
        })?;
        Some((items, slice.is_last))
    }

    #[test]
    fn a_view_does_not_see_what_is_written_after_it_began() {
        let mut machine = Machine::default();
        for key in [b"a", b"b", b"c", b"d"] {
            put(&mut machine, 1, key, b"old");
        }
        let view = machine.open_view(Index(4), b"", None);
        assert_eq!(read(&mut machine, view, 1), Some((vec![(b"a".to_vec(), b"old".to_vec())], false)));
        put(&mut machine, 5, b"a", b"new"); // behind the cursor
        put(&mut machine, 6, b"b", b"new"); // ahead of it
        put(&mut machine, 7, b"b", b"newer");
        put(&mut machine, 8, b"bb", b"new"); // was not there
        machine.apply(Index(9), &Op::Delete { key: b"c" });
        let old = |key: &[u8]| (key.to_vec(), b"old".to_vec());
        assert_eq!(read(&mut machine, view, 9), Some((vec![old(b"b"), old(b"c"), old(b"d")], true)));
        assert_eq!(read(&mut machine, view, 9), None, "it is closed at its end");
    }

    #[test]
    fn keys_that_are_newer_than_a_view_cost_it_nothing_but_a_few_steps_per_slice() {
        let mut machine = Machine::default();
        put(&mut machine, 1, b"a", b"old");
        put(&mut machine, 2, b"z", b"old");
        let view = machine.open_view(Index(2), b"", None);
        let count = 2 * VIEW_STEPS_MAX + 5;
        for n in 0..count {
            put(&mut machine, 3 + n as u64, format!("k{n:06}").as_bytes(), b"new");
        }
        put(&mut machine, 3 + count as u64, b"k000000", b"newer");
        machine.apply(Index(4 + count as u64), &Op::Delete { key: b"k000001" });
        assert_eq!(machine.views().kept_bytes, 0);
        let old = |key: &[u8]| (key.to_vec(), b"old".to_vec());
        assert_eq!(read(&mut machine, view, 9), Some((vec![old(b"a")], false)));
        assert_eq!(read(&mut machine, view, 9), Some((vec![], false)));
        assert_eq!(read(&mut machine, view, 9), Some((vec![old(b"z")], true)));
    }

    #[test]
    fn a_view_has_bounds() {
        let mut machine = Machine::default();
        for key in [b"a", b"b", b"c"] {
            put(&mut machine, 1, key, b"");
        }
        let view = machine.open_view(Index(3), b"b", Some(b"c"));
        assert_eq!(read(&mut machine, view, 9), Some((vec![(b"b".to_vec(), vec![])], true)));
        for (from, to) in [(b"c", b"b"), (b"b", b"b")] {
            let view = machine.open_view(Index(3), from, Some(to));
            assert_eq!(read(&mut machine, view, 9), Some((vec![], true)), "an empty range is no error");
        }
    }

    #[test]
    fn the_greediest_view_is_cut_off_when_all_hold_too_much() {
        let mut machine = Machine::default();
        let big = vec![b'v'; 1 << 20];
        let key = |n: usize| format!("k{n:04}").into_bytes();
        let count = VIEW_BYTES_MAX / big.len() + 2;
        for n in 0..count {
            put(&mut machine, 1, &key(n), &big);
        }
        let modest = machine.open_view(Index(1), &key(count - 1), None);
        let greedy = machine.open_view(Index(1), b"", None);
        for n in 0..count {
            put(&mut machine, 2, &key(n), b"new");
        }
        assert_eq!(read(&mut machine, greedy, 1), None);
        assert_eq!(read(&mut machine, modest, 1).unwrap().0[0].1, big);
        assert_eq!(machine.views().kept_bytes, held(&machine));
    }

    /// What the views keep, counted anew: what they share once.
    fn held(machine: &Machine) -> usize {
        let kept = || machine.views().open.values().flat_map(|view| &view.kept);
        let distinct: BTreeMap<_, usize> = kept().map(|kept| (Rc::as_ptr(&kept.0), kept.content())).collect();
        kept().count() * KEPT_OVERHEAD + distinct.values().sum::<usize>()
    }

    #[test]
    fn what_256_views_keep_of_one_large_value_is_one_large_value() {
        let mut machine = Machine::default();
        let (key, big) = (vec![b'k'; 64 << 10], vec![b'v'; 1 << 20]);
        put(&mut machine, 1, &key, &big);
        let views: Vec<ViewId> = (0..256).map(|_| machine.open_view(Index(1), b"", None)).collect();
        put(&mut machine, 2, &key, b"new");
        assert_eq!(machine.views().kept_bytes, key.len() + big.len() + views.len() * KEPT_OVERHEAD);
        assert_eq!(machine.views().kept_bytes, held(&machine));
        for view in views {
            assert!(read(&mut machine, view, 9) == Some((vec![(key.clone(), big.clone())], true)), "none was cut off");
        }
        assert_eq!(machine.views().kept_bytes, 0);
    }

    #[test]
    fn what_views_keep_is_within_its_bound_at_every_moment() {
        let mut machine = Machine::default();
        let big = vec![b'v'; 1 << 20];
        let key = |n: usize| format!("k{n:04}").into_bytes();
        let count = VIEW_BYTES_MAX / big.len();
        for n in 0..count {
            put(&mut machine, 1, &key(n), &big);
        }
        let views: Vec<ViewId> = (0..8).map(|_| machine.open_view(Index(1), b"", None)).collect();
        for n in 0..count {
            put(&mut machine, 2, &key(n), b"new");
            assert!(machine.views().kept_bytes <= VIEW_BYTES_MAX);
            assert_eq!(machine.views().kept_bytes, held(&machine));
        }
        // Each held the same: the last write had room for none of them.
        assert!(views.into_iter().all(|view| read(&mut machine, view, 1).is_none()));
        assert_eq!(machine.views().kept_bytes, 0);
    }

    proptest! {
        #[test]
        fn slices_with_writes_between_them_add_up_to_the_moment_of_opening(
            before in proptest::collection::vec((0u8..20, any::<u8>()), 0..40),
            during in proptest::collection::vec((0u8..20, proptest::option::of(any::<u8>()), 0usize..3), 0..40),
        ) {
            let mut machine = Machine::default();
            let mut index = 0;
            for (key, value) in &before {
                index += 1;
                put(&mut machine, index, &[*key], &[*value]);
            }
            let mut expected: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
            expected.extend(before.iter().map(|(key, value)| (vec![*key], vec![*value])));
            let view = machine.open_view(Index(index), b"", None);
            let (mut seen, mut done) = (Vec::new(), false);
            let mut later: Vec<(ViewId, Items)> = Vec::new();
            for (key, value, most) in &during {
                index += 1;
                match value {
                    Some(value) => put(&mut machine, index, &[*key], &[*value]),
                    None => drop(machine.apply(Index(index), &Op::Delete { key: &[*key] })),
                }
                prop_assert_eq!(machine.views().kept_bytes, held(&machine));
                if *most > 0 && !done {
                    let (items, is_last) = read(&mut machine, view, *most).expect("within its memory");
                    seen.extend(items);
                    done = is_last;
                }
                if *most == 2 {
                    let probe = machine.open_view(Index(index), b"", None);
                    let now = read(&mut machine, probe, usize::MAX).expect("nothing was written since").0;
                    later.push((machine.open_view(Index(index), b"", None), now));
                }
                prop_assert_eq!(machine.views().kept_bytes, held(&machine));
            }
            if !done {
                seen.extend(read(&mut machine, view, usize::MAX).expect("within its memory").0);
            }
            prop_assert_eq!(seen, expected.into_iter().collect::<Vec<_>>());
            for (view, then) in later {
                prop_assert_eq!(read(&mut machine, view, usize::MAX).expect("within its memory").0, then);
                prop_assert_eq!(machine.views().kept_bytes, held(&machine));
            }
            prop_assert_eq!(machine.views().kept_bytes, 0);
        }
    }
}
