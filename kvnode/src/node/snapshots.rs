//! Snapshots of this node's own state: when one is due, its slices, and what of the log may go when it is on the disk.
//!
//! Nothing here stops the node: a slice is what one tick can write in passing. When the log has grown to twice its limit before
//! the snapshot is done, there is a slice for every save as well; at four times the limit the leader takes no more writes.

use data::{Disk, SnapshotInfo, SnapshotMeta, Store};
use raft::EntryId;

use crate::error::NodeError;
use crate::image::{Sliced, Taking};
use crate::limits::{
    LOG_BYTES_DEFAULT, LOG_ENTRIES_DEFAULT, LOG_ENTRIES_PER_KEYS, SLICE_BYTES_MAX, SMALL_SLICE_BYTES_MAX, SMALL_STATE_BYTES_MAX,
    SNAPSHOT_PAUSE_US,
};
use crate::node::{Event, Node};

/// `--max-log-bytes`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MaxLogBytes {
    /// The larger of 64 MiB and the last snapshot; and so many entries that a restart applies them in about half a second, or, if there
    /// are very many keys, in less time than it takes to load those.
    Default,
    /// The log is never compacted.
    Never,
    /// So many.
    Above(u64),
}

impl MaxLogBytes {
    /// Bytes of log above which a snapshot is due.
    fn limit(self, snapshot: Option<SnapshotInfo>) -> u64 {
        match self {
            MaxLogBytes::Default => snapshot.map_or(0, |snapshot| snapshot.len).max(LOG_BYTES_DEFAULT),
            MaxLogBytes::Never => u64::MAX,
            MaxLogBytes::Above(bytes) => bytes,
        }
    }
}

/// The snapshot that is being taken.
pub(crate) struct Snapshots {
    taking: Option<(SnapshotMeta, Taking)>,
    /// All slices of it are written; the next tick finishes it.
    is_written: bool,
    /// A slice may be taken now.
    slice_due: bool,
    /// As of the last turn.
    limit: u64,
    /// As of the last turn: a snapshot should be begun.
    begin_due: bool,
    /// Not before this: there was no room for the last one, or it was cut off.
    pause_until_us: u64,
    /// That there is no room was said.
    room_told: bool,
    /// What was written of the log above the newest snapshot, as of the last turn.
    log_bytes: u64,
    /// As of the last turn: the log is twice as long as it should be.
    is_far_behind: bool,
    /// The newest one.
    pub(super) newest: Option<SnapshotInfo>,
    content: Vec<u8>,
}

impl Snapshots {
    pub(crate) fn new(newest: Option<SnapshotInfo>) -> Snapshots {
        Snapshots {
            taking: None,
            is_written: false,
            slice_due: false,
            limit: u64::MAX,
            begin_due: false,
            pause_until_us: 0,
            room_told: false,
            log_bytes: 0,
            is_far_behind: false,
            newest,
            content: Vec::new(),
        }
    }

    pub(crate) fn tick(&mut self) {
        self.slice_due = true;
    }

    /// Something was saved. While the log is far above its limit, that is paid for with a slice.
    pub(crate) fn saved(&mut self) {
        self.slice_due |= self.is_far_behind;
    }

    pub(crate) fn has_work(&self, now_us: u64) -> bool {
        match self.taking {
            Some(_) => self.slice_due,
            None => self.begin_due && self.pause_until_us <= now_us,
        }
    }

    /// Whether the log, with so many bytes that were not written yet, is too long for more.
    pub(crate) fn log_is_full(&self, staged_bytes: u64) -> bool {
        self.log_bytes.saturating_add(staged_bytes) > self.limit.saturating_mul(4)
    }
}

impl Node {
    /// What the disk says about the log and its snapshot, for the next turn.
    pub(crate) fn follow_store<D: Disk>(&mut self, store: &Store<D>) {
        let newest = store.snapshot();
        let (log_bytes, log_entries) = (store.log_bytes(), store.log_entries());
        let limit = self.config.max_log_bytes.limit(newest);
        let base = newest.map_or(EntryId::default(), |newest| newest.meta.last);
        let max_log_entries = match (self.config.max_log_entries, self.config.max_log_bytes) {
            (None, MaxLogBytes::Default) => Some(LOG_ENTRIES_DEFAULT.max(self.machine.key_count() / LOG_ENTRIES_PER_KEYS)),
            (max, _) => max,
        };
        let is_longer = |times: u64| {
            log_bytes > limit.saturating_mul(times) || max_log_entries.is_some_and(|max| log_entries >= max.saturating_mul(times))
        };
        let (too_long, is_far_behind) = (is_longer(1), is_longer(2));
        // A snapshot must be worth it: of a log that is mostly not applied yet, little would go.
        let gained = self.applied.index.0.saturating_sub(base.index.0);
        let is_worth_it = gained > 0 && 2 * gained >= log_entries;
        let is_suspect = base.index <= self.applied.index && self.sending.suspects(base);
        let snapshots = &mut self.snapshots;
        (snapshots.limit, snapshots.log_bytes, snapshots.newest) = (limit, log_bytes, newest);
        snapshots.is_far_behind = is_far_behind;
        snapshots.begin_due = too_long && is_worth_it || is_suspect;
        // Its own, or one that was sent to this node and that the log itself has overtaken: that is as good.
        if self.raft.snapshot().index < base.index && base.index <= self.raft.applied_index() {
            self.raft.snapshot_taken(base);
        }
        self.counters.log_bytes = log_bytes;
        self.staged_bytes = self.staged.iter().map(|(_, entry)| entry.len() as u64).sum();
    }

    /// A slice of the snapshot under way, or the first of one that is due.
    pub(crate) fn take_slice<D: Disk>(&mut self, store: &mut Store<D>) -> Result<(), NodeError> {
        self.follow_store(store);
        if !self.snapshots.has_work(self.clock.now_us) {
            return Ok(());
        }
        self.snapshots.slice_due = false;
        if self.snapshots.taking.is_none() {
            let meta = SnapshotMeta { last: self.applied, time_ms: self.applied_ms };
            store.begin_snapshot(meta)?;
            let taking = Taking::begin(&mut self.machine, &mut self.sessions, &self.members, meta.last.index);
            self.snapshots.taking = Some((meta, taking));
            self.snapshots.is_written = false;
        }
        let Some((meta, mut taking)) = self.snapshots.taking.take() else { return Ok(()) };
        let is_small = self.machine.data_bytes() < SMALL_STATE_BYTES_MAX;
        let sliced = if self.snapshots.is_written { Sliced::End } else { self.write_slice(store, &mut taking, is_small)? };
        // What the last slices wrote would be waited for if it were finished now; at the next tick it is on the disk, or nearly.
        let is_due = sliced == Sliced::End && (is_small || self.snapshots.is_written);
        self.snapshots.is_written = sliced == Sliced::End;
        let finished = if is_due { store.finish_snapshot()? } else { None };
        match finished {
            Some(_) => {
                self.room_for_snapshot();
                self.sending.trust();
                self.follow_store(store);
                return self.compact(store);
            }
            None if sliced != Sliced::CutOff && store.snapshot_in_progress() => self.snapshots.taking = Some((meta, taking)),
            None => {
                match sliced {
                    Sliced::CutOff => self.events.push(Event::SnapshotCutOff),
                    _ => self.no_room_for_snapshot(),
                }
                self.snapshots.pause_until_us = self.clock.now_us + SNAPSHOT_PAUSE_US;
                self.snapshots.taking = Some((meta, taking));
                self.abandon_snapshot(store)?;
            }
        }
        self.follow_store(store);
        Ok(())
    }

    fn write_slice<D: Disk>(&mut self, store: &mut Store<D>, taking: &mut Taking, is_small: bool) -> Result<Sliced, NodeError> {
        let mut content = std::mem::take(&mut self.snapshots.content);
        content.clear();
        let bytes_max = if is_small { SMALL_SLICE_BYTES_MAX } else { SLICE_BYTES_MAX };
        let sliced = taking.slice(&mut self.machine, &mut self.sessions, bytes_max, &mut content);
        if sliced != Sliced::CutOff {
            store.write_snapshot(&content)?;
        }
        self.snapshots.content = content;
        Ok(sliced)
    }

    /// Says so, once until there was room again.
    pub(super) fn no_room_for_snapshot(&mut self) {
        if !std::mem::replace(&mut self.snapshots.room_told, true) {
            self.events.push(Event::NoRoomForSnapshot);
        }
    }

    /// There was room: says so if anything else was said before.
    pub(super) fn room_for_snapshot(&mut self) {
        if std::mem::take(&mut self.snapshots.room_told) {
            self.events.push(Event::RoomForSnapshot);
        }
    }

    /// Gives up the snapshot under way, if there is one.
    pub(crate) fn abandon_snapshot<D: Disk>(&mut self, store: &mut Store<D>) -> Result<(), NodeError> {
        if let Some((_, taking)) = self.snapshots.taking.take() {
            taking.close(&mut self.machine, &mut self.sessions);
            store.abandon_snapshot()?;
        }
        Ok(())
    }

    /// The log up to the snapshot may go, but for a tail: half the limit for followers that are a little behind, and what a peer needs
    /// that is being sent an older snapshot, as long as that is no more than the limit.
    pub(super) fn compact<D: Disk>(&mut self, store: &mut Store<D>) -> Result<(), NodeError> {
        let limit = self.config.max_log_bytes.limit(store.snapshot());
        let mut to = store.tail_start(limit / 2);
        if let Some(pinned) = self.sending.pinned()
            && pinned.index < to
            && store.tail_start(limit) <= pinned.index
        {
            to = pinned.index;
        }
        if self.raft.log().base().index < to {
            store.compact(to)?;
            self.raft.compact(to);
        }
        Ok(())
    }
}
