//! What raft knows of its log: the position, term, length and kind of every entry, and how much of it is on disk.
//!
//! ```text
//!   base        stable          saving             last
//!    |  on disk   |  in the save  |  not yet in one  |
//! ```
//! A truncation pulls every mark back with it. That is why a finished save cannot call entries stable that were overwritten while it
//! ran: `saving` has fallen below them, and the entries that replaced them belong to the next save. A compaction moves the base up, never
//! beyond `stable`; what it drops is in a snapshot.

use alloc::vec::Vec;
use core::hash::{Hash, Hasher};

use crate::types::{EntryId, EntryMeta, Index, Term};

/// The log as positions.
#[derive(Clone, Debug)]
pub struct LogPositions {
    /// The entry before the first: (0, t0), or what a snapshot ends with.
    base: EntryId,
    /// Consecutive; the first `dropped` of them are at or below the base, the next one is `base + 1`.
    metas: Vec<EntryMeta>,
    /// Compacted away, but still in front of `metas`: moving the rest down at every compaction would cost its whole length each time.
    dropped: usize,
    /// On disk up to here.
    stable: Index,
    /// Handed to a save up to here.
    saving: Index,
    /// Encoded bytes of the entries after `saving`.
    unsaved_bytes: usize,
}

impl LogPositions {
    /// A log read back from disk: all of it is stable.
    pub(crate) fn recovered(base: EntryId, entries: Vec<EntryMeta>) -> LogPositions {
        let mut before = base;
        for entry in &entries {
            assert_eq!(entry.index, before.index.next(), "recovered entries have a gap after {before}");
            assert!(before.term <= entry.term, "recovered entries fall from {before} to {}", entry.id());
            before = entry.id();
        }
        LogPositions { base, metas: entries, dropped: 0, stable: before.index, saving: before.index, unsaved_bytes: 0 }
    }

    /// The entry before the first one held.
    pub fn base(&self) -> EntryId {
        self.base
    }

    /// The first position held, if anything is.
    pub fn first_index(&self) -> Index {
        self.base.index.next()
    }

    /// The last position.
    pub fn last_index(&self) -> Index {
        Index(self.base.index.0 + self.held().len() as u64)
    }

    /// The last entry, or the base of an empty log.
    pub fn last(&self) -> EntryId {
        self.held().last().map_or(self.base, EntryMeta::id)
    }

    /// On disk up to here: what this node may vouch for, and apply.
    pub fn stable_index(&self) -> Index {
        self.stable
    }

    /// The first position that no save was given yet, one past the last if all were. The embedding keeps the bytes of these.
    pub fn first_unsaved(&self) -> Index {
        self.saving.next()
    }

    /// The term of the entry at `index`; `None` before the base and after the last.
    pub fn term_at(&self, index: Index) -> Option<Term> {
        if index == self.base.index { Some(self.base.term) } else { self.meta(index).map(|meta| meta.term) }
    }

    /// The entry at `index`.
    pub fn meta(&self, index: Index) -> Option<&EntryMeta> {
        self.held().get(self.offset(index)?)
    }

    /// Entries from `first` to the last; all that are left, if `first` is gone.
    pub fn from(&self, first: Index) -> &[EntryMeta] {
        self.offset(first.max(self.first_index())).and_then(|offset| self.held().get(offset..)).unwrap_or(&[])
    }

    /// The last entry at or before `index` whose term is at most `term`, the base included; `None` if it could only be below the base.
    /// Terms never fall along a log.
    pub(crate) fn last_at_or_before(&self, index: Index, term: Term) -> Option<EntryId> {
        if index < self.base.index || term < self.base.term {
            return None;
        }
        let held = self.held();
        let within = &held[..self.offset(index.next()).unwrap_or(0).min(held.len())];
        let count = within.partition_point(|meta| meta.term <= term);
        Some(count.checked_sub(1).map_or(self.base, |at| within[at].id()))
    }

    /// Whether this very entry is in the log, or is its base.
    pub fn holds(&self, entry: EntryId) -> bool {
        self.term_at(entry.index) == Some(entry.term)
    }

    /// Whether the log holds entries that no save was given yet.
    pub(crate) fn has_unsaved(&self) -> bool {
        self.saving < self.last_index()
    }

    /// Encoded bytes of the entries that no save was given yet.
    pub(crate) fn unsaved_bytes(&self) -> usize {
        self.unsaved_bytes
    }

    pub(crate) fn append(&mut self, meta: EntryMeta) {
        let last = self.last();
        assert_eq!(meta.index, last.index.next(), "appended {} after {last}", meta.id());
        assert!(last.term <= meta.term, "terms fall from {last} to {}", meta.id());
        self.unsaved_bytes += meta.encoded_len();
        self.metas.push(meta);
    }

    /// Drops `from` and everything after it.
    pub(crate) fn truncate(&mut self, from: Index) {
        let Some(offset) = self.offset(from) else { panic!("cannot cut at {from}, the base is {}", self.base) };
        self.metas.truncate(self.dropped + offset);
        self.stable = self.stable.min(from.prev());
        self.saving = self.saving.min(from.prev());
        self.unsaved_bytes = self.from(self.saving.next()).iter().map(EntryMeta::encoded_len).sum();
    }

    /// Drops everything up to `to`, which becomes the base. Costs what it drops, in the long run.
    pub(crate) fn compact(&mut self, to: Index) {
        assert!(to <= self.stable, "cannot compact to {to}: only {} is on disk", self.stable);
        let Some(term) = self.term_at(to) else { panic!("cannot compact to {to}: the base is {}", self.base) };
        self.dropped += usize::try_from(to.0 - self.base.index.0).expect("the entries are in memory");
        self.base = EntryId { index: to, term };
        if self.held().len() <= self.dropped {
            self.metas.drain(..core::mem::take(&mut self.dropped));
            // Gives memory back, but what the log will soon need again.
            self.metas.shrink_to(2 * self.metas.len());
        }
    }

    /// The entries for the next save.
    pub(crate) fn start_save(&mut self) -> Vec<EntryMeta> {
        let entries = self.from(self.saving.next()).to_vec();
        self.saving = self.last_index();
        self.unsaved_bytes = 0;
        entries
    }

    /// The save under way is on disk.
    pub(crate) fn finish_save(&mut self) {
        self.stable = self.saving;
    }

    /// For [`Raft::hash_without_clocks`](crate::Raft::hash_without_clocks): what is held, not how.
    pub(crate) fn hash_held(&self, hasher: &mut impl Hasher) {
        let LogPositions { base, metas: _, dropped: _, stable, saving, unsaved_bytes: _ } = self;
        (base, self.held(), stable, saving).hash(hasher);
    }

    /// The entries after the base.
    fn held(&self) -> &[EntryMeta] {
        &self.metas[self.dropped..]
    }

    fn offset(&self, index: Index) -> Option<usize> {
        index.0.checked_sub(self.base.index.0 + 1).and_then(|offset| usize::try_from(offset).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::EntryKind;

    fn meta(index: u64, term: u64) -> EntryMeta {
        EntryMeta { index: Index(index), term: Term(term), payload_len: 6, kind: EntryKind::Command }
    }

    fn log(base: (u64, u64), terms: &[u64]) -> LogPositions {
        let base = EntryId { index: Index(base.0), term: Term(base.1) };
        LogPositions::recovered(base, (base.index.0 + 1..).zip(terms).map(|(index, term)| meta(index, *term)).collect())
    }

    #[test]
    fn terms_are_known_from_the_base_to_the_last() {
        let log = log((3, 1), &[1, 2]);
        assert_eq!((2..=6).map(|i| log.term_at(Index(i)).map(|t| t.0)).collect::<Vec<_>>(), [None, Some(1), Some(1), Some(2), None]);
        assert_eq!((log.first_index(), log.last_index(), log.stable_index()), (Index(4), Index(5), Index(5)));
    }

    #[test]
    fn a_save_that_finishes_after_a_truncation_calls_only_the_survivors_stable() {
        let mut log = log((0, 0), &[1]);
        log.append(meta(2, 1));
        log.append(meta(3, 1));
        assert_eq!(log.start_save(), [meta(2, 1), meta(3, 1)]);
        log.truncate(Index(3));
        log.append(meta(3, 2));
        log.append(meta(4, 2));
        log.finish_save();
        assert_eq!(log.stable_index(), Index(2), "entry 3 of term 2 is not on disk yet");
        assert_eq!(log.start_save(), [meta(3, 2), meta(4, 2)]);
        log.finish_save();
        assert_eq!(log.stable_index(), Index(4));
    }

    #[test]
    fn unsaved_bytes_follow_appends_saves_and_truncations() {
        let mut log = log((0, 0), &[1]);
        log.append(meta(2, 1));
        log.append(meta(3, 1));
        assert_eq!(log.unsaved_bytes(), 60);
        log.truncate(Index(3));
        assert_eq!(log.unsaved_bytes(), 30);
        log.start_save();
        assert_eq!((log.unsaved_bytes(), log.has_unsaved()), (0, false));
        log.append(meta(3, 2));
        log.truncate(Index(1));
        assert_eq!((log.unsaved_bytes(), log.has_unsaved(), log.last_index()), (0, false, Index(0)));
    }

    #[test]
    fn a_hint_is_the_last_entry_of_a_term_at_or_before_an_index() {
        let log = log((0, 0), &[1, 1, 2, 4, 4]);
        let hint = |index, term| log.last_at_or_before(Index(index), Term(term)).unwrap().index.0;
        assert_eq!([hint(5, 4), hint(5, 3), hint(5, 1), hint(9, 9), hint(1, 9), hint(5, 0), hint(0, 9)], [5, 3, 2, 5, 1, 0, 0]);
    }

    #[test]
    fn a_hint_may_be_the_base_and_is_never_below_it() {
        let log = log((3, 2), &[2, 4]);
        let hint = |index, term| log.last_at_or_before(Index(index), Term(term)).map(|entry| entry.index.0);
        assert_eq!(
            [hint(9, 9), hint(4, 9), hint(3, 9), hint(5, 2), hint(2, 9), hint(9, 1)],
            [Some(5), Some(4), Some(3), Some(4), None, None]
        );
    }

    #[test]
    fn a_compacted_log_is_one_that_began_there() {
        // Against a log that was built with the later base: every cut, in every order of small and large steps.
        let terms: Vec<u64> = (0..40).map(|at| 1 + at / 7).collect();
        for step in [1, 2, 3, 7, 19, 40] {
            let mut log = log((0, 0), &terms);
            for to in (step..=40).step_by(step) {
                log.compact(Index(to as u64));
                let mut fresh = self::log((to as u64, terms[to - 1]), &terms[to..]);
                for log in [&mut log, &mut fresh] {
                    log.append(meta(41, 9));
                }
                assert_eq!((log.base(), log.last(), log.stable_index()), (fresh.base(), fresh.last(), fresh.stable_index()));
                assert_eq!(log.from(log.first_index()), fresh.from(fresh.first_index()));
                assert!((0..=42).map(Index).all(|index| log.term_at(index) == fresh.term_at(index)), "compacted to {to} by {step}");
                assert_eq!(log.unsaved_bytes(), 30);
                log.truncate(Index(41));
                assert!(log.dropped <= log.held().len(), "{} entries are held, and {} that were dropped", log.held().len(), log.dropped);
            }
        }
    }
}
