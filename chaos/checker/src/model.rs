//! One copy of the store: what every operation does to it, and whether it could have answered as it did.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use crate::history::{Answer, Call, History, Outcome};

/// A key's place in the byte order of all keys of the history.
pub(crate) type Key = usize;

/// What an operation does, with what it answered.
#[derive(Clone, Debug)]
pub(crate) enum Does<'h> {
    Read {
        key: Key,
        found: Option<&'h [u8]>,
    },
    /// Every key from `from` to before `to`: these, and no others.
    Scan {
        from: Key,
        to: Key,
        items: Vec<(Key, &'h [u8])>,
    },
    Put {
        key: Key,
        value: &'h [u8],
    },
    Append {
        key: Key,
        value: &'h [u8],
    },
    /// `None`: it was not told.
    Delete {
        key: Key,
        existed: Option<bool>,
    },
    Cas {
        key: Key,
        expect: Option<&'h [u8]>,
        value: &'h [u8],
        swapped: Option<bool>,
    },
}

impl Does<'_> {
    pub(crate) fn key(&self) -> Option<Key> {
        match self {
            Does::Scan { .. } => None,
            Does::Read { key, .. }
            | Does::Put { key, .. }
            | Does::Append { key, .. }
            | Does::Delete { key, .. }
            | Does::Cas { key, .. } => Some(*key),
        }
    }

    /// Whether, with this answer, it changes nothing.
    pub(crate) fn only_reads(&self) -> bool {
        matches!(
            self,
            Does::Read { .. } | Does::Scan { .. } | Does::Delete { existed: Some(false), .. } | Does::Cas { swapped: Some(false), .. }
        )
    }
}

/// An operation that happened, or may have.
#[derive(Clone, Debug)]
pub(crate) struct Event<'h> {
    /// Its number in the history.
    pub(crate) id: usize,
    pub(crate) call: u64,
    /// `u64::MAX`: it may happen at any time after its call.
    pub(crate) end: u64,
    /// Whether it need not have happened.
    pub(crate) maybe: bool,
    pub(crate) position: Option<u64>,
    pub(crate) version: Option<u64>,
    pub(crate) does: Does<'h>,
}

impl Event<'_> {
    /// Whether this one was over when `other` began. Intervals are closed: with equal times, either may have come first.
    pub(crate) fn precedes(&self, other: &Event<'_>) -> bool {
        over_before(self.end, other.call)
    }
}

/// Whether what ended at `end` was over before what was called at `call` began.
pub(crate) fn over_before(end: u64, call: u64) -> bool {
    if crate::broken::is(crate::broken::Broken::HalfOpenIntervals) { end <= call && end != u64::MAX } else { end < call }
}

/// A history ready to be judged.
pub(crate) struct Prepared<'h> {
    pub(crate) history: &'h History,
    /// All keys, in byte order.
    pub(crate) keys: Vec<&'h [u8]>,
    /// What happened or may have, in order of the calls.
    pub(crate) events: Vec<Event<'h>>,
    /// Which of them are scans.
    pub(crate) scans: Vec<usize>,
}

impl<'h> Prepared<'h> {
    pub(crate) fn new(history: &'h History) -> Prepared<'h> {
        let mut places: HashMap<&[u8], Key> = HashMap::new();
        for op in history.ops() {
            places.extend(op.call.key().map(|key| (key, 0)));
            if let Outcome::Ok(Answer::List(items)) = &op.outcome {
                places.extend(items.iter().map(|(key, _)| (&key[..], 0)));
            }
        }
        let mut keys: Vec<&[u8]> = places.keys().copied().collect();
        keys.sort_unstable();
        for (place, key) in keys.iter().enumerate() {
            places.insert(key, place);
        }
        let mut events: Vec<Event<'_>> = (0..history.ops().len()).filter_map(|id| event(history, &keys, &places, id)).collect();
        events.sort_by_key(|event| (event.call, event.id));
        if crate::broken::is(crate::broken::Broken::KeyDropped) {
            events.retain(|event| event.does.key().is_none_or(|key| key + 1 < keys.len()));
        }
        let scans = (0..events.len()).filter(|index| events[*index].does.key().is_none()).collect();
        Prepared { history, keys, events, scans }
    }

    /// Which events have this key, for every key; scans have none.
    pub(crate) fn by_key(&self) -> Vec<Vec<usize>> {
        let mut by_key = vec![Vec::new(); self.keys.len()];
        for (index, event) in self.events.iter().enumerate() {
            if let Some(key) = event.does.key() {
                by_key[key].push(index);
            }
        }
        by_key
    }

    /// All that touches a key, in order of the calls; a scan is a read of each key in its range. One key at a time: all keys times all
    /// scans may be more than fits into memory.
    pub(crate) fn of_key(&self, key: Key, own: &[usize]) -> Vec<Event<'h>> {
        let scans = self.scans.iter().copied().filter(|index| match &self.events[*index].does {
            Does::Scan { from, to, .. } => (*from..*to).contains(&key),
            _ => false,
        });
        let mut indexes: Vec<usize> = own.iter().copied().chain(scans).collect();
        indexes.sort_unstable();
        indexes.into_iter().map(|index| self.events[index].at_key(key)).collect()
    }
}

impl<'h> Event<'h> {
    /// What it does to one key: a scan reads it.
    pub(crate) fn at_key(&self, key: Key) -> Event<'h> {
        let Does::Scan { items, .. } = &self.does else { return self.clone() };
        let found = items.binary_search_by_key(&key, |(key, _)| *key).ok().map(|place| items[place].1);
        Event { does: Does::Read { key, found }, version: None, ..*self }
    }
}

fn event<'h>(history: &'h History, keys: &[&[u8]], places: &HashMap<&[u8], Key>, id: usize) -> Option<Event<'h>> {
    let op = &history.ops()[id];
    let answer = match &op.outcome {
        Outcome::Fail => return None,
        Outcome::Unknown if op.call.is_read() || crate::broken::is(crate::broken::Broken::UnknownIsFailed) => return None,
        Outcome::Unknown => None,
        Outcome::Ok(answer) => Some(answer),
    };
    let place = |key: &[u8]| places[key];
    let bound = |key: &[u8]| keys.partition_point(|other| *other < key);
    let flag = match answer {
        Some(Answer::Flag(flag)) => Some(*flag),
        _ => None,
    };
    let does = match (&op.call, answer) {
        (Call::Get { key }, Some(Answer::Value(found))) => Does::Read { key: place(key), found: found.as_deref() },
        (Call::Scan { from, to, limit }, Some(Answer::List(items))) => {
            let items: Vec<(Key, &[u8])> = items.iter().map(|(key, value)| (place(key), &value[..])).collect();
            let from = from.as_deref().map_or(0, bound);
            // A scan that stopped at its limit says nothing of what comes behind.
            let to = match limit {
                Some(limit) if *limit == items.len() as u64 => items.last().map_or(from, |(key, _)| key + 1),
                _ => to.as_deref().map_or(keys.len(), bound),
            };
            Does::Scan { from, to: to.max(from), items }
        }
        (Call::Put { key, value }, _) => Does::Put { key: place(key), value },
        (Call::Append { key, value }, _) => Does::Append { key: place(key), value },
        (Call::Delete { key }, _) => Does::Delete { key: place(key), existed: flag },
        (Call::Cas { key, expect, value }, _) => Does::Cas { key: place(key), expect: expect.as_deref(), value, swapped: flag },
        (Call::Get { .. } | Call::Scan { .. }, _) => unreachable!("`History::push` lets no such answer in"),
    };
    let unknown = answer.is_none();
    Some(Event {
        id,
        call: op.call_ns,
        end: if unknown { u64::MAX } else { op.return_ns.expect("an answered call has returned") },
        maybe: unknown && op.position.is_none(),
        position: op.position,
        version: op.version,
        does,
    })
}

/// How to take a step back.
pub(crate) struct Undo {
    key: Key,
    hash: u128,
    version: u64,
    what: Was,
}

enum Was {
    Same,
    Value(Option<Vec<u8>>),
    Shorter(usize),
}

impl Undo {
    pub(crate) fn changed(&self) -> bool {
        !matches!(self.what, Was::Same)
    }
}

/// The store as it is now.
pub(crate) struct Model {
    /// The first key that it holds.
    base: Key,
    values: Vec<Option<Vec<u8>>>,
    /// The keys that have a value: a scan looks at no others.
    existing: BTreeSet<Key>,
    versions: Vec<u64>,
    hashes: Vec<u128>,
    hash: u128,
}

const FNV_OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
const FNV_PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;

fn hash_bytes(hash: u128, bytes: &[u8]) -> u128 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u128::from(*byte)).wrapping_mul(FNV_PRIME))
}

/// One number spread over 128 bits, the same in every run.
pub(crate) fn spread(number: u128) -> u128 {
    let lane = |bits: u128, salt: u64| {
        let mut z = u64::try_from(bits & u128::from(u64::MAX)).expect("masked").wrapping_add(salt);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    let (low, high) = (lane(number, 0x9e37_79b9_7f4a_7c15), lane(number >> 64, 0xd1b5_4a32_d192_ed03));
    u128::from(lane(u128::from(low ^ high.rotate_left(17)), 1)) << 64 | u128::from(lane(u128::from(high ^ low.rotate_left(29)), 2))
}

impl Model {
    /// An empty store for these keys.
    pub(crate) fn new(keys: Range<Key>) -> Model {
        let (base, count) = (keys.start, keys.len());
        Model { base, values: vec![None; count], existing: BTreeSet::new(), versions: vec![0; count], hashes: vec![0; count], hash: 0 }
    }

    pub(crate) fn value(&self, key: Key) -> Option<&[u8]> {
        self.values[key - self.base].as_deref()
    }

    /// Of the key: writes since it was created; 0: no such key.
    pub(crate) fn version(&self, key: Key) -> u64 {
        self.versions[key - self.base]
    }

    /// Equal for equal stores, and for no others that anybody will meet (2^-128 each).
    pub(crate) fn hash(&self) -> u128 {
        self.hash
    }

    /// Does it, if one copy could have answered so now.
    pub(crate) fn apply(&mut self, does: &Does<'_>) -> Option<Undo> {
        match *does {
            Does::Read { key, found } => (self.value(key) == found).then(|| self.same(key)),
            Does::Scan { from, to, ref items } => self.scan_differs(from, to, items, |_| false).is_none().then(|| self.same(from)),
            Does::Put { key, value } => Some(self.put(key, Some(value))),
            Does::Append { key, value } => Some(self.append(key, value)),
            Does::Delete { key, existed } => {
                let exists = self.values[key - self.base].is_some();
                if existed.is_some_and(|existed| existed != exists) {
                    return None;
                }
                Some(if exists { self.put(key, None) } else { self.same(key) })
            }
            Does::Cas { key, expect, value, swapped } => {
                let swaps = self.value(key) == expect;
                if swapped.is_some_and(|swapped| swapped != swaps) {
                    return None;
                }
                Some(if swaps { self.put(key, Some(value)) } else { self.same(key) })
            }
        }
    }

    /// The first key of a scan that is otherwise here.
    pub(crate) fn scan_differs(&self, from: Key, to: Key, items: &[(Key, &[u8])], skip: impl Fn(Key) -> bool) -> Option<Key> {
        let mut existing = self.existing.range(from..to).copied().filter(|key| !skip(*key));
        for (key, value) in items.iter().filter(|(key, _)| !skip(*key)) {
            match existing.next() {
                Some(held) if held == *key && self.value(held) == Some(value) => {}
                held => return Some(held.map_or(*key, |held| held.min(*key))),
            }
        }
        existing.next()
    }

    pub(crate) fn undo(&mut self, undo: Undo) {
        let Undo { key, hash, version, what } = undo;
        match what {
            Was::Same => return,
            Was::Value(value) => drop(self.replace(key, value)),
            Was::Shorter(len) => self.values[key - self.base].as_mut().expect("it was appended to").truncate(len),
        }
        self.set_hash(key, hash);
        self.versions[key - self.base] = version;
    }

    fn same(&self, key: Key) -> Undo {
        Undo { key, hash: 0, version: 0, what: Was::Same }
    }

    fn put(&mut self, key: Key, value: Option<&[u8]>) -> Undo {
        let (hash, version) = (self.hashes[key - self.base], self.versions[key - self.base]);
        let old = self.replace(key, value.map(Into::into));
        self.set_hash(key, value.map_or(0, |value| hash_bytes(FNV_OFFSET, value)));
        self.versions[key - self.base] = if value.is_some() { version + 1 } else { 0 };
        Undo { key, hash, version, what: Was::Value(old) }
    }

    fn replace(&mut self, key: Key, value: Option<Vec<u8>>) -> Option<Vec<u8>> {
        let exists = value.is_some();
        let old = std::mem::replace(&mut self.values[key - self.base], value);
        match (old.is_some(), exists) {
            (false, true) => drop(self.existing.insert(key)),
            (true, false) => drop(self.existing.remove(&key)),
            _ => {}
        }
        old
    }

    fn append(&mut self, key: Key, value: &[u8]) -> Undo {
        let (hash, version) = (self.hashes[key - self.base], self.versions[key - self.base]);
        let Some(held) = &mut self.values[key - self.base] else { return self.put(key, Some(value)) };
        let len = held.len();
        held.extend_from_slice(value);
        self.set_hash(key, hash_bytes(hash, value));
        self.versions[key - self.base] = version + 1;
        Undo { key, hash, version, what: Was::Shorter(len) }
    }

    fn set_hash(&mut self, key: Key, hash: u128) {
        let mixed = |hash: u128| if hash == 0 { 0 } else { spread(hash ^ spread(key as u128 + 1)) };
        self.hash ^= mixed(self.hashes[key - self.base]) ^ mixed(hash);
        self.hashes[key - self.base] = hash;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_scan_looks_at_what_is_there_not_at_what_once_was() {
        let mut model = Model::new(0..1000);
        for key in 0..1000 {
            model.apply(&Does::Put { key, value: b"v" }).unwrap();
        }
        let undo: Vec<Undo> = (1..999).map(|key| model.apply(&Does::Delete { key, existed: Some(true) }).unwrap()).collect();
        let looked_at = Cell::new(0);
        let count = |_| {
            looked_at.set(looked_at.get() + 1);
            false
        };
        assert_eq!(model.scan_differs(1, 999, &[], count), None);
        assert_eq!(model.scan_differs(0, 1000, &[(0, b"v"), (999, b"v")], count), None);
        assert!(looked_at.get() < 10, "looked at {}", looked_at.get());
        assert_eq!(model.scan_differs(0, 1000, &[(0, b"v"), (7, b"v"), (999, b"v")], count), Some(7));
        assert_eq!(model.scan_differs(0, 1000, &[(999, b"v")], count), Some(0));
        assert_eq!(model.scan_differs(0, 1000, &[(0, b"v"), (999, b"other")], count), Some(999));
        undo.into_iter().rev().for_each(|undo| model.undo(undo));
        assert_eq!(model.scan_differs(0, 1000, &[], count), Some(0));
        assert_eq!(model.existing.len(), 1000);
    }
}
