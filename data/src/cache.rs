//! The newest entries, encoded, in memory: what is not saved yet, and what followers and the state machine will soon ask for.

use std::collections::VecDeque;

use raft::Index;

/// Consecutive entries, bounded in bytes except for those that are not saved yet.
#[derive(Debug)]
pub(crate) struct Cache {
    first: Index,
    entries: VecDeque<Vec<u8>>,
    bytes: usize,
    bytes_max: usize,
}

impl Cache {
    pub(crate) fn new(bytes_max: usize) -> Cache {
        Cache { first: Index(1), entries: VecDeque::new(), bytes: 0, bytes_max }
    }

    /// Puts an entry at `index`; what was there and behind it is forgotten.
    pub(crate) fn put(&mut self, index: Index, encoded: Vec<u8>) {
        if index < self.first || self.entries.is_empty() {
            self.entries.clear();
            self.bytes = 0;
            self.first = index;
        }
        assert!(index.0 <= self.first.0 + self.entries.len() as u64, "entry {index} leaves a gap in the cache");
        while index.0 < self.first.0 + self.entries.len() as u64 {
            self.bytes -= self.entries.pop_back().map_or(0, |entry| entry.len());
        }
        self.bytes += encoded.len();
        self.entries.push_back(encoded);
    }

    /// Drops the oldest entries beyond the bound, as long as they are before `keep_from`.
    pub(crate) fn shrink(&mut self, keep_from: Index) {
        while self.bytes > self.bytes_max && self.first < keep_from {
            let Some(entry) = self.entries.pop_front() else { return };
            self.bytes -= entry.len();
            self.first = self.first.next();
        }
    }

    /// Drops at most so many of the entries up to `last`: there may be a hundred thousand, and to free them all takes milliseconds.
    pub(crate) fn forget_some(&mut self, last: Index, count_max: usize) {
        for _ in 0..count_max {
            if last < self.first {
                return;
            }
            let Some(entry) = self.entries.pop_front() else { return };
            self.bytes -= entry.len();
            self.first = self.first.next();
        }
    }

    /// Drops everything.
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
        self.bytes = 0;
    }

    pub(crate) fn get(&self, index: Index) -> Option<&[u8]> {
        let position = usize::try_from(index.0.checked_sub(self.first.0)?).ok()?;
        self.entries.get(position).map(Vec::as_slice)
    }

    /// The last entry held.
    pub(crate) fn last(&self) -> Option<Index> {
        let count = self.entries.len() as u64;
        (count > 0).then(|| Index(self.first.0 + count - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_first_and_the_unsaved_never() {
        let mut cache = Cache::new(25);
        for index in 1..=4 {
            cache.put(Index(index), vec![0; 10]);
        }
        cache.shrink(Index(2));
        assert_eq!((cache.get(Index(1)), cache.first), (None, Index(2)), "saved and beyond the bound");
        assert!(cache.get(Index(2)).is_some(), "not saved");
        cache.shrink(Index(5));
        assert_eq!((cache.first, cache.last(), cache.bytes), (Index(3), Some(Index(4)), 20));
    }

    #[test]
    fn what_is_below_the_base_goes_bit_by_bit() {
        let mut cache = Cache::new(100);
        for index in 1..=5 {
            cache.put(Index(index), vec![0; 10]);
        }
        cache.forget_some(Index(3), 2);
        assert_eq!((cache.first, cache.bytes), (Index(3), 30));
        cache.forget_some(Index(3), 2);
        assert_eq!((cache.first, cache.last(), cache.bytes), (Index(4), Some(Index(5)), 20), "and no more");
    }

    #[test]
    fn an_entry_replaces_everything_behind_it() {
        let mut cache = Cache::new(100);
        for index in 5..=8 {
            cache.put(Index(index), vec![1]);
        }
        cache.put(Index(6), vec![2]);
        assert_eq!((cache.get(Index(5)), cache.get(Index(6)), cache.get(Index(7))), (Some(&[1][..]), Some(&[2][..]), None));
        cache.put(Index(3), vec![3]);
        assert_eq!((cache.first, cache.last(), cache.bytes), (Index(3), Some(Index(3)), 1));
    }
}
