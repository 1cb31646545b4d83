//! Snapshots, and what they make of the log: compaction from below, installation in one step. Part of [`Store`].
//!
//! **What may go.** The *base* is the entry before the first that can be read; `compact` moves it up, never past the newest snapshot.
//! A segment goes when everything in it is at or below the base, one file at a time, oldest first, the directory synced each time. The
//! current segment always stays, and every batch repeats the hard state: so at every moment a synced batch in a later segment tells
//! what the dropped ones told. After a restart the log begins with the first entry that is left, maybe below the old base.
//!
//! **Installing.** A snapshot from the leader replaces a log that does not hold its last entry. It is complete, synced and named first;
//! then one *base batch* says that the log begins behind it, and repeats the hard state. A crash before that batch is synced leaves a log
//! that the snapshot does not fit to: recovery installs it. A crash after it leaves segments of the old log, which the base batch takes
//! out of count. It stands behind the last batch like any other: a fresh segment might have to be filled with zeros first, and on a full
//! disk there may be none.

use raft::{EntryId, HardState, Index};

use crate::batch::{self, BatchFields, BatchKind};
use crate::disk::Disk;
use crate::error::{OpenError, StoreError};
use crate::garbage::Garbage;
use crate::limits::{TRIM_LATE_SEGMENTS, TRIM_LATE_SNAPSHOTS};
use crate::segment::SegmentName;
use crate::snapshot::{SnapshotInfo, SnapshotMeta, snapshot_path};
use crate::snapshots;
use crate::store::{Ahead, HARD_STATE_LEN, Store, io_error};
use crate::terms::Terms;

impl<D: Disk> Store<D> {
    /// Begins to take a snapshot: the state after `meta.last`, which is applied and not before the newest snapshot. One at a time.
    pub fn begin_snapshot(&mut self, meta: SnapshotMeta) -> Result<(), StoreError> {
        assert!(self.holds(meta.last), "a snapshot of {}, which the log does not hold: it would take the log's place", meta.last);
        self.guarded(|store| store.snapshots.begin(&mut store.disk, meta))
    }

    /// Writes a slice of the content; nobody waits for the disk. Nothing happens if the snapshot was given up: see `snapshot_in_progress`.
    pub fn write_snapshot(&mut self, content: &[u8]) -> Result<(), StoreError> {
        self.guarded(|store| store.snapshots.write(&mut store.disk, content))
    }

    /// Writes the rest, syncs, and makes the snapshot the newest; it lasts when this returns. Older ones go by `trim_slice`. `None`: it was
    /// given up for want of space.
    pub fn finish_snapshot(&mut self) -> Result<Option<SnapshotInfo>, StoreError> {
        let finished = self.guarded(|store| store.snapshots.finish(&mut store.disk))?;
        self.count_below_snapshot();
        Ok(finished)
    }

    /// Gives up the snapshot that is being taken, if one is.
    pub fn abandon_snapshot(&mut self) -> Result<(), StoreError> {
        self.guarded(|store| store.snapshots.abandon(&mut store.disk))
    }

    /// Whether one is being taken. Want of space ends that without a failure, at any step.
    pub fn snapshot_in_progress(&self) -> bool {
        self.snapshots.is_taking()
    }

    /// Whether the last snapshot that was taken or received was given up for want of space; over when the next one begins.
    pub fn snapshot_no_space(&self) -> bool {
        self.snapshots.no_space()
    }

    /// The newest complete snapshot.
    pub fn snapshot(&self) -> Option<SnapshotInfo> {
        self.snapshots.newest()
    }

    /// Appends at most `len_max` bytes of the file of a complete snapshot to `out`, from `offset` on, as they are to be sent; returns the
    /// length of the file. `None`: there is no such snapshot, or not any more.
    pub fn read_snapshot(&mut self, last: EntryId, offset: u64, len_max: usize, out: &mut Vec<u8>) -> Result<Option<u64>, StoreError> {
        self.guarded(|store| store.snapshots.read(&mut store.disk, last, offset, len_max, out))
    }

    /// Keeps this snapshot although a newer one may come; `None`: none any more.
    pub fn pin_snapshot(&mut self, last: Option<EntryId>) {
        self.snapshots.pin(last);
    }

    /// Begins to gather a snapshot from a peer; one that was begun before is given up.
    pub fn begin_incoming(&mut self, last: EntryId) -> Result<(), StoreError> {
        self.guarded(|store| store.snapshots.begin_incoming(&mut store.disk, last))
    }

    /// Appends bytes of the file, in order. Nothing happens if it was given up: see `incoming_len`.
    pub fn write_incoming(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.guarded(|store| store.snapshots.write_incoming(&mut store.disk, bytes))
    }

    /// Which snapshot is being gathered, and how many bytes of it there are: where to resume. `None` also when want of space ended it.
    pub fn incoming_len(&self) -> Option<(EntryId, u64)> {
        self.snapshots.incoming_len()
    }

    /// Gives up what was gathered, if anything was.
    pub fn abandon_incoming(&mut self) -> Result<(), StoreError> {
        self.guarded(|store| store.snapshots.abandon_incoming(&mut store.disk))
    }

    /// Makes what was gathered the newest snapshot; it lasts when this returns. The caller has verified it, to its end, with a
    /// `SnapshotDecoder`. If the log does not hold its last entry, `install` must follow before anything else is saved, so no save may be
    /// under way. `None`: it was given up, for want of space or because it is no newer than the newest.
    pub fn finish_incoming(&mut self) -> Result<Option<SnapshotInfo>, StoreError> {
        // The installation must find room: once the snapshot has its name there is no way back.
        if !self.make_room(batch::BATCH_HEADER_LEN as u64)? {
            self.guarded(|store| store.snapshots.give_up_incoming(&mut store.disk))?;
        }
        let finished = self.guarded(|store| store.snapshots.finish_incoming(&mut store.disk))?;
        self.count_below_snapshot();
        Ok(finished)
    }

    /// Whether the log has this entry, or begins right behind it.
    pub fn holds(&self, entry: EntryId) -> bool {
        self.base.index <= entry.index && entry.index <= self.written_last() && self.terms.at(entry.index) == entry.term
    }

    /// Makes the log begin right behind the newest snapshot, which must end with `last`, with nothing in it, and with this hard state.
    /// Durable when it returns. What was staged and not saved is forgotten.
    pub fn install(&mut self, last: EntryId, hard_state: HardState) -> Result<(), StoreError> {
        assert_eq!(self.snapshot().map(|newest| newest.meta.last), Some(last), "an installation of what is not the newest snapshot");
        let fields = BatchFields {
            kind: BatchKind::Base,
            first_index: last.index.next(),
            last_entry_term: last.term,
            hard_state,
            commit_index: last.index,
        };
        self.guarded(|store| {
            assert!(store.pending.is_none() && store.waiting.is_none(), "an installation while a save is under way");
            store.put_batch(&fields, 0)?;
            store.disk.sync(&store.current.file).map_err(io_error(store.current.name, "sync"))
        })?;
        self.hard_state = hard_state;
        self.commit_index = last.index;
        self.sealed = false;
        Ok(())
    }

    /// Moves the base up to the entry at `to`, which the newest snapshot covers: entries at or below it can no longer be read. Files go by
    /// `trim_slice`. A base that is there already is no mistake.
    pub fn compact(&mut self, to: Index) -> Result<(), StoreError> {
        self.guarded(|_| Ok(()))?;
        let covered = self.snapshot_index().min(self.written_last());
        assert!(to <= covered, "a base of {to}, which is more than the newest snapshot covers of the log, {covered}");
        if to <= self.base.index {
            return Ok(());
        }
        let end = self.position(to) + 1;
        let bytes: u64 = self.places.drain(..end).map(|place| u64::from(place.len)).sum();
        self.entry_bytes -= bytes;
        self.below_snapshot_bytes -= bytes;
        self.base = EntryId { index: to, term: self.terms.at(to) };
        self.terms.forget_below(to);
        Ok(())
    }

    /// Whether there is a file that nobody needs. Call `trim_slice` once per tick while there is.
    pub fn needs_trim(&self) -> bool {
        // Not beside a pending save: it may be the first batch of its segment. One that waits for room is not begun, and may get it.
        let unneeded = self.garbage.is_some() || self.oldest < self.oldest_needed() || self.snapshots.removable().is_some();
        !self.poisoned && self.pending.is_none() && unneeded
    }

    /// Whether so many of them have gathered that one `trim_slice` per tick is not enough.
    pub fn trim_is_late(&self) -> bool {
        // Small snapshots of a small log may come faster than one per tick.
        self.oldest.0 + TRIM_LATE_SEGMENTS < self.oldest_needed().0 || self.snapshots.older_count() > TRIM_LATE_SNAPSHOTS
    }

    /// Removes one such file, or a slice of one that is large.
    pub fn trim_slice(&mut self) -> Result<(), StoreError> {
        if !self.needs_trim() && !self.poisoned {
            return Ok(());
        }
        self.guarded(|store| {
            if let Some(garbage) = store.garbage.take() {
                let path = garbage.path().to_owned();
                store.garbage =
                    garbage.shorten(&mut store.disk).map_err(|source| StoreError::Io { file: path, what: "removing", source })?;
                return Ok(());
            }
            let path = match store.snapshots.removable() {
                Some(last) => {
                    store.snapshots.forget(last);
                    snapshot_path(last)
                }
                None => {
                    let name = store.oldest;
                    store.reader.take_if(|(reader, _)| *reader == name);
                    store.oldest = name.next();
                    name.path()
                }
            };
            let discarded = Garbage::discard(&mut store.disk, &path);
            store.garbage = discarded.map_err(|source| StoreError::Io { file: path, what: "removing", source })?;
            Ok(())
        })
    }

    /// The first segment that holds an entry above the base, or else the current one.
    fn oldest_needed(&self) -> SegmentName {
        self.places.front().map_or(self.current.name, |place| place.segment())
    }

    /// Bytes of hard state and entries above the newest snapshot, encoded, as far as they were written. A tail that is kept below it does
    /// not count.
    pub fn log_bytes(&self) -> u64 {
        HARD_STATE_LEN + self.entry_bytes - self.below_snapshot_bytes
    }

    /// Bytes of the term, the vote and all entries that the log holds, the tail that is kept below the newest snapshot among them.
    pub fn held_bytes(&self) -> u64 {
        HARD_STATE_LEN + self.entry_bytes
    }

    /// Entries above the newest snapshot, as far as they were written.
    pub fn log_entries(&self) -> u64 {
        self.written_last().0 - self.snapshot_index().max(self.base.index).min(self.written_last()).0
    }

    /// The lowest base for which the entries behind it, up to the end of the newest snapshot, are at most `bytes_max`: what to compact to
    /// if so much is to be kept for slow followers.
    pub fn tail_start(&self, bytes_max: u64) -> Index {
        let covered = self.snapshot_index().clamp(self.base.index, self.written_last());
        let count = usize::try_from(covered.0 - self.base.index.0).unwrap_or(0);
        let mut left = bytes_max;
        let kept = self.places.range(..count).rev().take_while(|place| match left.checked_sub(u64::from(place.len)) {
            Some(rest) => {
                left = rest;
                true
            }
            None => false,
        });
        Index(covered.0 - kept.count() as u64)
    }

    /// Shows all the content of the newest snapshot, verified. Nothing is shown if there is none.
    pub fn load_snapshot(&mut self, mut each: impl FnMut(&[u8])) -> Result<(), OpenError> {
        let Some(newest) = self.snapshot() else { return Ok(()) };
        snapshots::load(&mut self.disk, self.cluster_id, newest.meta.last, |_, content| each(content))
    }

    fn snapshot_index(&self) -> Index {
        self.snapshot().map_or(Index(0), |newest| newest.meta.last.index)
    }

    /// Counts what the newest snapshot covers of the log. It has changed.
    pub(crate) fn count_below_snapshot(&mut self) {
        let covered = self.snapshot_index().0.saturating_sub(self.base.index.0);
        let count = usize::try_from(covered).map_or(self.places.len(), |count| count.min(self.places.len()));
        self.below_snapshot_bytes = self.places.range(..count).map(|place| u64::from(place.len)).sum();
    }

    /// The log in memory begins behind `base`, with nothing in it.
    pub(super) fn begin_behind(&mut self, base: EntryId) {
        self.base = base;
        self.terms = Terms::new(base);
        self.places.clear();
        self.entry_bytes = 0;
        self.below_snapshot_bytes = 0;
        self.cache.clear();
        self.ahead = Ahead::default();
        self.unsaved = None;
    }
}
