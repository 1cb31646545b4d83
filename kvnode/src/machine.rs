//! The state machine's map: what `Put`, `Append`, `Delete` and `Cas` do to keys. Applying never fails: a lost cas is an answer, the
//! same on every node. It knows nothing of raft, sessions or sockets.

use std::collections::BTreeMap;

use crc32c::{crc32c, crc32c_append};
use raft::Index;
use wire::client::{Value, WriteOutcome, Written};
use wire::command::{Expect, Op};
use wire::image::KeyImage;
use wire::limits::VALUE_LEN_MAX;

use crate::view::{Dated, Slice, ViewId, Views, Weight};

/// Keys in byte order.
type Map = BTreeMap<Box<[u8]>, Slot>;

/// Keys in byte order, with their values and versions.
#[derive(Default)]
pub(crate) struct Machine {
    map: Map,
    views: Views<Box<[u8]>, Slot>,
    data_bytes: u64,
    digest: u64,
}

#[derive(Clone)]
pub(crate) struct Slot {
    pub(crate) value: Vec<u8>,
    /// CRC-32C of `value`: an append extends it without reading what is there, so the digest costs what the write costs.
    checksum: u32,
    pub(crate) version: u64,
    pub(crate) modified: Index,
}

impl Slot {
    /// What a snapshot tells of a key.
    pub(crate) fn restored(image: &KeyImage<'_>) -> Slot {
        Slot { value: image.value.to_vec(), checksum: crc32c(image.value), version: image.version, modified: image.modified }
    }
}

impl Weight for Slot {
    fn bytes(&self) -> usize {
        self.value.len()
    }
}

impl Dated for Slot {
    fn written_at(&self) -> Index {
        self.modified
    }
}

impl Machine {
    /// Does `op` at log position `index`. Keys and values were checked against their limits before they entered the log; the one limit
    /// that only the state can decide, an append that grows a value too far, is an answer.
    pub(crate) fn apply(&mut self, index: Index, op: &Op<'_>) -> Written {
        let (outcome, version) = match *op {
            Op::Put { key, value } => (WriteOutcome::Done, self.put(index, key, value)),
            Op::Append { key, value } => self.append(index, key, value),
            Op::Delete { key } => match self.remove(key) {
                true => (WriteOutcome::Deleted, 0),
                false => (WriteOutcome::NotFound, 0),
            },
            Op::Cas { key, expect, value } => self.cas(index, key, expect, value),
        };
        Written { outcome, version, position: index }
    }

    /// The value under `key`.
    pub(crate) fn get(&self, key: &[u8]) -> Option<Value> {
        self.map.get(key).map(|slot| Value { value: slot.value.clone(), version: slot.version, modified: slot.modified })
    }

    /// Bytes of the value under `key`; 0: no such key.
    pub(crate) fn value_len(&self, key: &[u8]) -> usize {
        self.map.get(key).map_or(0, |slot| slot.value.len())
    }

    /// Begins to read a range of keys as they are now: at `position`.
    pub(crate) fn open_view(&mut self, position: Index, from: &[u8], to: Option<&[u8]>) -> ViewId {
        self.views.open(position, from.into(), to.map(Into::into))
    }

    /// Begins to read everything as it is now, for a snapshot.
    pub(crate) fn open_whole(&mut self, position: Index) -> ViewId {
        self.views.open_whole(position)
    }

    /// Reads on in a view, until `take` has enough; see `Views::read`.
    pub(crate) fn read_view(&mut self, id: ViewId, any: bool, mut take: impl FnMut(&[u8], &Slot) -> bool) -> Option<Slice> {
        self.views.read(id, &self.map, any, |key, slot| take(key, slot))
    }

    /// Forgets a view.
    pub(crate) fn close_view(&mut self, id: ViewId) {
        self.views.close(id);
    }

    /// The views that are open.
    #[cfg(test)]
    pub(crate) fn views(&self) -> &Views<Box<[u8]>, Slot> {
        &self.views
    }

    /// How many keys there are.
    pub(crate) fn key_count(&self) -> u64 {
        self.map.len() as u64
    }

    /// Bytes of keys and values.
    pub(crate) fn data_bytes(&self) -> u64 {
        self.data_bytes
    }

    /// A sum over all keys of a hash of key, value, version and position: equal states have equal digests, in whatever order they grew.
    pub(crate) fn digest(&self) -> u64 {
        self.digest
    }

    /// The keys of a snapshot, in byte order.
    pub(crate) fn restore(slots: Vec<(Box<[u8]>, Slot)>) -> Machine {
        let mut machine = Machine::default();
        for (key, slot) in &slots {
            machine.digest = machine.digest.wrapping_add(slot_digest(key, slot));
            machine.data_bytes += (key.len() + slot.value.len()) as u64;
        }
        // Built at once from what is sorted: its nodes are full, while those of a map that grew key by key are half empty.
        machine.map = slots.into_iter().collect();
        machine
    }

    /// The same state, to take the place of another: what somebody reads of that one must not go on here, in a view that is numbered
    /// alike.
    pub(crate) fn instead_of(mut self, other: &Machine) -> Machine {
        self.views.number_behind(&other.views);
        self
    }

    /// The same state, its views held to another bound than a real node's.
    pub(crate) fn bounded(mut self, view_bytes_max: usize) -> Machine {
        self.views.hold_to(view_bytes_max);
        self
    }

    /// Drops up to so many keys of a state that is no longer used: to free a million at once would take a tenth of a second. `false`: it
    /// is empty.
    pub(crate) fn drop_some(&mut self, count: usize) -> bool {
        (0..count).all(|_| self.map.pop_first().is_some())
    }

    fn put(&mut self, index: Index, key: &[u8], value: &[u8]) -> u64 {
        let checksum = crc32c(value);
        let Some(slot) = self.map.get_mut(key) else { return self.create(index, key, value, checksum) };
        self.views.before_write(key, slot);
        self.digest = self.digest.wrapping_sub(slot_digest(key, slot));
        self.data_bytes = self.data_bytes - slot.value.len() as u64 + value.len() as u64;
        slot.value.clear();
        slot.value.extend_from_slice(value);
        // A short value must not keep the memory of a long one that it replaced.
        if slot.value.capacity() > 2 * value.len() + 64 {
            slot.value.shrink_to_fit();
        }
        slot.checksum = checksum;
        slot.version += 1;
        slot.modified = index;
        self.digest = self.digest.wrapping_add(slot_digest(key, slot));
        slot.version
    }

    fn append(&mut self, index: Index, key: &[u8], value: &[u8]) -> (WriteOutcome, u64) {
        let Some(slot) = self.map.get_mut(key) else {
            return (WriteOutcome::Done, self.create(index, key, value, crc32c(value)));
        };
        if slot.value.len() + value.len() > VALUE_LEN_MAX {
            return (WriteOutcome::ValueTooLong, slot.version);
        }
        self.views.before_write(key, slot);
        self.digest = self.digest.wrapping_sub(slot_digest(key, slot));
        self.data_bytes += value.len() as u64;
        slot.value.extend_from_slice(value);
        slot.checksum = crc32c_append(slot.checksum, value);
        slot.version += 1;
        slot.modified = index;
        self.digest = self.digest.wrapping_add(slot_digest(key, slot));
        (WriteOutcome::Done, slot.version)
    }

    fn cas(&mut self, index: Index, key: &[u8], expect: Expect<'_>, value: &[u8]) -> (WriteOutcome, u64) {
        let slot = self.map.get(key);
        let expected = match expect {
            Expect::Absent => slot.is_none(),
            Expect::Value(value) => slot.is_some_and(|slot| slot.value == value),
            Expect::Version(version) => slot.is_some_and(|slot| slot.version == version),
        };
        match expected {
            true => (WriteOutcome::Swapped, self.put(index, key, value)),
            false => (WriteOutcome::NotSwapped, slot.map_or(0, |slot| slot.version)),
        }
    }

    fn create(&mut self, index: Index, key: &[u8], value: &[u8], checksum: u32) -> u64 {
        let slot = Slot { value: value.to_vec(), checksum, version: 1, modified: index };
        self.digest = self.digest.wrapping_add(slot_digest(key, &slot));
        self.data_bytes += (key.len() + value.len()) as u64;
        self.map.insert(key.into(), slot);
        1
    }

    fn remove(&mut self, key: &[u8]) -> bool {
        let Some(slot) = self.map.remove(key) else { return false };
        self.views.before_write(key, &slot);
        self.digest = self.digest.wrapping_sub(slot_digest(key, &slot));
        self.data_bytes -= (key.len() + slot.value.len()) as u64;
        true
    }
}

fn slot_digest(key: &[u8], slot: &Slot) -> u64 {
    let sums = u64::from(crc32c(key)) << 32 | u64::from(slot.checksum);
    let lens = (key.len() as u64) << 32 | slot.value.len() as u64;
    [lens, slot.version, slot.modified.0].into_iter().fold(mix(sums), |digest, part| mix(digest ^ part))
}

/// Spreads every bit of `x` over all of the result (the finalizer of splitmix64).
pub(crate) fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put<'a>(key: &'a [u8], value: &'a [u8]) -> Op<'a> {
        Op::Put { key, value }
    }

    fn append<'a>(key: &'a [u8], value: &'a [u8]) -> Op<'a> {
        Op::Append { key, value }
    }

    fn run(ops: &[Op<'_>]) -> (Machine, Vec<(WriteOutcome, u64)>) {
        let mut machine = Machine::default();
        let answers = (1..).zip(ops).map(|(index, op)| machine.apply(Index(index), op)).map(|w| (w.outcome, w.version)).collect();
        (machine, answers)
    }

    #[test]
    fn versions_count_writes_since_the_key_was_created() {
        use WriteOutcome::*;
        let delete = Op::Delete { key: b"k" };
        let (machine, answers) = run(&[put(b"k", b"a"), append(b"k", b"b"), delete, delete, append(b"k", b"c")]);
        assert_eq!(answers, [(Done, 1), (Done, 2), (Deleted, 0), (NotFound, 0), (Done, 1)]);
        assert_eq!(machine.get(b"k"), Some(Value { value: b"c".to_vec(), version: 1, modified: Index(5) }));
        assert_eq!((machine.key_count(), machine.data_bytes()), (1, 2));
    }

    #[test]
    fn cas_swaps_only_what_it_expects_and_says_what_is_there() {
        use WriteOutcome::*;
        let cas = |expect, value| Op::Cas { key: b"k", expect, value };
        let (machine, answers) = run(&[
            cas(Expect::Value(b""), b"x"),
            cas(Expect::Version(0), b"x"),
            cas(Expect::Absent, b"a"),
            cas(Expect::Absent, b"b"),
            cas(Expect::Value(b"a"), b"b"),
            cas(Expect::Version(1), b"c"),
            cas(Expect::Version(2), b"c"),
        ]);
        let expected = [(NotSwapped, 0), (NotSwapped, 0), (Swapped, 1), (NotSwapped, 1), (Swapped, 2), (NotSwapped, 2), (Swapped, 3)];
        assert_eq!(answers, expected);
        assert_eq!(machine.get(b"k").unwrap().value, b"c");
    }

    #[test]
    fn an_append_past_the_limit_is_an_answer_and_changes_nothing() {
        let full = vec![b'v'; VALUE_LEN_MAX];
        let (mut machine, _) = run(&[put(b"k", &full[1..])]);
        assert_eq!(machine.apply(Index(2), &append(b"k", b"x")).outcome, WriteOutcome::Done);
        let digest = machine.digest();
        let refused = Written { outcome: WriteOutcome::ValueTooLong, version: 2, position: Index(3) };
        assert_eq!(machine.apply(Index(3), &append(b"k", b"x")), refused);
        assert_eq!((machine.digest(), machine.get(b"k").unwrap().value.len()), (digest, VALUE_LEN_MAX));
    }

    #[test]
    fn the_digest_depends_on_the_state_and_not_on_the_way_to_it() {
        let mut one = Machine::default();
        let mut other = Machine::default();
        one.apply(Index(1), &put(b"a", b"1"));
        one.apply(Index(2), &put(b"b", b"2"));
        other.apply(Index(2), &put(b"b", b"2"));
        other.apply(Index(1), &put(b"a", b"1"));
        assert_eq!(one.digest(), other.digest());
        for change in [put(b"a", b"2"), append(b"a", b""), Op::Delete { key: b"a" }, put(b"c", b"")] {
            let before = one.digest();
            one.apply(Index(3), &change);
            assert_ne!(one.digest(), before, "{change:?}");
        }
        one.apply(Index(4), &Op::Delete { key: b"b" });
        one.apply(Index(5), &Op::Delete { key: b"c" });
        assert_eq!((one.digest(), one.data_bytes()), (0, 0), "an empty state has the empty digest");
    }
}
