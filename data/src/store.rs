//! The log of a running node: entries are staged, a save writes and syncs them, anybody may read them back.

mod compaction; // snapshots, and what they make of the log

use std::collections::VecDeque;
use std::io;

use raft::{ClusterId, EntryHeader, EntryId, EntryMeta, HardState, Index, Reached, Save, SaveToken};

use crate::batch::{self, BatchFields, BatchKind, Tip};
use crate::cache::Cache;
use crate::checksum::{Seed, checksum};
use crate::disk::{Disk, SyncStatus};
use crate::error::{OpenError, StoreError};
use crate::garbage::Garbage;
use crate::identity::Identity;
use crate::limits::{BATCH_BODY_LEN_MAX, CACHE_BYTES_DEFAULT, LOG_BYTES_DEFAULT, READ_AHEAD_LEN_MAX, READ_LEN_MAX};
use crate::recovery::{Recovered, Recovery, recover};
use crate::segment::{Place, SEGMENT_HEADER_LEN, Segment, SegmentName, next_segment_len, segment_len};
use crate::snapshot::{SnapshotInfo, SnapshotMeta};
use crate::snapshots::{Snapshots, is_no_space};
use crate::spare::Spare;
use crate::terms::Terms;

/// Encoded length of term and vote, as `log_bytes` counts them.
const HARD_STATE_LEN: u64 = 16;

/// How a store behaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// Log size at which the log is compacted, once it is; segments are a quarter of it. `None`: the default.
    pub max_log_bytes: Option<u64>,
    /// Bytes of entries kept in memory.
    pub cache_bytes: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options { max_log_bytes: None, cache_bytes: CACHE_BYTES_DEFAULT }
    }
}

/// Whether a save has finished.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SaveStatus {
    /// It is on the disk.
    Synced,
    /// Its sync is under way: ask `poll_saved`.
    Pending,
}

/// The log of a running node. After any error it is poisoned: every later call fails, and the process must stop.
#[derive(Debug)]
pub struct Store<D: Disk> {
    disk: D,
    cluster_id: ClusterId,
    segment_len: u64,
    current: Segment<D::File>,
    /// Bytes of the current segment up to where the next batch goes.
    used: u64,
    /// How long the last batch was, header included.
    last_batch_len: u64,
    spare: Spare<D::File>,
    /// The first segment that was not removed.
    oldest: SegmentName,
    snapshots: Snapshots<D::File>,
    /// A large file that is being freed.
    garbage: Option<Garbage<D::File>>,
    /// The older segment that was read from last.
    reader: Option<(SegmentName, D::File)>,
    base: EntryId,
    /// Of the entries that were written, from the one behind `base`.
    places: VecDeque<Place>,
    entry_bytes: u64,
    /// How much of that the newest snapshot covers.
    below_snapshot_bytes: u64,
    terms: Terms,
    hard_state: HardState,
    commit_index: Index,
    sealed: bool,
    cache: Cache,
    /// What `entry` read last from the disk.
    ahead: Ahead,
    /// The first entry that was staged and not written. Whatever `places` says from here on is about to be replaced.
    unsaved: Option<Index>,
    pending: Option<SaveToken>,
    waiting: Option<Waiting>,
    no_space: bool,
    poisoned: bool,
    batch: Vec<u8>,
    reached: Reached,
}

/// A save that met a full disk before anything of it was written. To whoever asked for it it is one whose sync takes long.
#[derive(Debug)]
struct Waiting {
    save: Save,
    batch_len: u64,
    /// Its entries: others may be staged in their place meanwhile.
    entries: Cache,
    /// The first entry that was staged meanwhile.
    restaged: Option<Index>,
}

impl<D: Disk> Store<D> {
    /// Opens the log that `init` made: reads all of it, repairs what a crash left at its end and makes that durable.
    pub fn open(mut disk: D, identity: &Identity, options: Options) -> Result<(Store<D>, Recovered), OpenError> {
        let cluster_id = identity.cluster_id;
        let segment_len = segment_len(options.max_log_bytes.unwrap_or(LOG_BYTES_DEFAULT));
        let Recovery { mut recovered, places, sealed, oldest, current, used, spare, snapshots, holds_snapshot, mut reached } =
            recover(&mut disk, cluster_id, segment_len)?;
        if recovered.snapshot.is_some() && !holds_snapshot {
            reached.mark("an installation is finished at the next start");
        }
        let mut terms = Terms::new(recovered.base);
        for entry in &recovered.entries {
            terms.push(entry.index, entry.term);
        }
        let mut store = Store {
            disk,
            cluster_id,
            segment_len,
            current,
            used,
            last_batch_len: 0,
            spare,
            oldest,
            snapshots,
            garbage: None,
            reader: None,
            base: recovered.base,
            entry_bytes: places.iter().map(|place| u64::from(place.len)).sum(),
            below_snapshot_bytes: 0,
            places,
            terms,
            hard_state: recovered.hard_state,
            commit_index: recovered.commit_index,
            sealed,
            cache: Cache::new(options.cache_bytes),
            ahead: Ahead::default(),
            unsaved: None,
            pending: None,
            waiting: None,
            no_space: false,
            poisoned: false,
            batch: Vec::new(),
            reached,
        };
        match recovered.snapshot {
            Some(SnapshotInfo { meta: SnapshotMeta { last, time_ms }, .. }) if !holds_snapshot => {
                // The last life ended between the name of a received snapshot and the base batch.
                recovered = recovered.installed(last, time_ms);
                store.install(last, recovered.hard_state).map_err(OpenError::from)?;
            }
            _ => store.count_below_snapshot(),
        }
        Ok((store, recovered))
    }

    /// Takes the bytes of an entry, header and payload, that raft has accepted or appended. They replace the entry at `index` and all
    /// behind it, and stay in memory at least until they are written.
    pub fn stage(&mut self, index: Index, encoded: Vec<u8>) {
        assert!(self.base.index < index && index <= self.last_index().next(), "entry {index} staged behind {}", self.last_index());
        self.cache.put(index, encoded);
        // Two for one: after a compaction they are all gone before as many have come.
        self.cache.forget_some(self.base.index, 2);
        self.unsaved = Some(self.unsaved.map_or(index, |first| first.min(index)));
        if let Some(waiting) = &mut self.waiting {
            self.reached.mark("entries come while a save waits for room");
            waiting.restaged = Some(waiting.restaged.map_or(index, |first| first.min(index)));
        }
        self.cache.shrink(self.first_unsaved());
    }

    /// Writes a save as one batch and begins its sync. The entries must have been staged. With `Pending`, nothing else may be saved
    /// until `poll_saved` names its token. On a full disk it is pending too, and written when there is room: nobody has been promised
    /// anything yet, and a node that stopped would be of no more use to anybody.
    pub fn save(&mut self, save: &Save) -> Result<SaveStatus, StoreError> {
        assert!(self.waiting.is_none(), "a save while another waits for room");
        let first_index = save.entries.first().map_or(self.written_last().next(), |entry| entry.index);
        for (entry, index) in save.entries.iter().zip(first_index.0..) {
            assert_eq!(entry.index.0, index, "a save of entries that are not consecutive");
            let staged = self.cache.get(entry.index).expect("every entry of a save was staged");
            assert_eq!(EntryHeader::decode(staged).map(|header| header.meta(entry.index)), Ok(*entry), "another entry was staged");
            assert_eq!(staged.len(), entry.encoded_len(), "entry {} is not one whole entry", entry.index);
        }
        let entries_len: usize = save.entries.iter().map(EntryMeta::encoded_len).sum();
        let batch_len = batch::BATCH_HEADER_LEN as u64 + batch::body_len(entries_len as u64);
        if self.make_room(batch_len)? {
            return self.write_save(save);
        }
        let mut entries = Cache::new(usize::MAX);
        for entry in &save.entries {
            entries.put(entry.index, self.cache.get(entry.index).map(<[u8]>::to_vec).unwrap_or_default());
        }
        let restaged = save.entries.last().map(|last| last.index.next()).filter(|next| self.cache.last() >= Some(*next));
        self.waiting = Some(Waiting { save: save.clone(), batch_len, entries, restaged });
        Ok(SaveStatus::Pending)
    }

    fn write_save(&mut self, save: &Save) -> Result<SaveStatus, StoreError> {
        let first_index = save.entries.first().map_or(self.written_last().next(), |entry| entry.index);
        let fields = BatchFields {
            kind: BatchKind::Entries,
            first_index,
            last_entry_term: save.entries.last().map_or(self.terms.last(), |entry| entry.term),
            hard_state: save.hard_state,
            commit_index: save.commit_index,
        };
        let entry_count = save.entries.len();
        let status = self.guarded(|store| store.write_batch(&fields, entry_count))?;
        let waited = self.waiting.take();
        if let Some(last) = save.entries.last() {
            let newer_staged = self.cache.last().is_some_and(|staged| last.index < staged);
            self.unsaved = match waited {
                Some(waited) => waited.restaged,
                None => newer_staged.then(|| last.index.next()),
            };
            self.cache.shrink(self.first_unsaved());
        }
        self.sealed = entry_count == 0 && self.hard_state == save.hard_state;
        self.hard_state = save.hard_state;
        self.commit_index = save.commit_index;
        Ok(match status {
            SyncStatus::Done => SaveStatus::Synced,
            SyncStatus::Pending => {
                self.pending = Some(save.token);
                SaveStatus::Pending
            }
        })
    }

    /// The save whose sync was pending and has finished now.
    pub fn poll_saved(&mut self) -> Result<Option<SaveToken>, StoreError> {
        if self.has_room_again() {
            let save = self.waiting.as_ref().map(|waiting| waiting.save.clone()).expect("it waits for room");
            return Ok((self.write_save(&save)? == SaveStatus::Synced).then_some(save.token));
        }
        if self.pending.is_none() && !self.poisoned {
            return Ok(None);
        }
        let finished = self.guarded(|store| {
            let name = store.current.name;
            store.disk.sync_finished().map_err(io_error(name, "sync"))
        })?;
        Ok(if finished { self.pending.take() } else { None })
    }

    /// Whether a save that waited for room has it now: `poll_saved` writes it.
    pub fn has_room_again(&self) -> bool {
        let fits = |waiting: &Waiting| {
            self.fits(waiting.batch_len)
                || self.spare.is_ready() && SEGMENT_HEADER_LEN as u64 + waiting.batch_len <= self.spare.segment.size
        };
        !self.poisoned && self.waiting.as_ref().is_some_and(fits)
    }

    /// Whether the last batch is still without the proof that its sync returned. See `recovery` for what a seal is good for. Without
    /// room it goes without.
    pub fn needs_seal(&self) -> bool {
        let idle = self.pending.is_none() && self.waiting.is_none();
        !self.sealed && idle && !self.poisoned && (!self.no_space || self.fits(batch::BATCH_HEADER_LEN as u64))
    }

    /// Writes and syncs the seal: an empty batch that repeats the hard state. 20 ms after the last save, and at a clean stop.
    pub fn seal(&mut self) -> Result<(), StoreError> {
        let fields = BatchFields {
            kind: BatchKind::Entries,
            first_index: self.written_last().next(),
            last_entry_term: self.terms.last(),
            hard_state: self.hard_state,
            commit_index: self.commit_index,
        };
        if !self.make_room(batch::BATCH_HEADER_LEN as u64)? {
            return Ok(());
        }
        self.guarded(|store| {
            assert!(store.pending.is_none() && store.waiting.is_none(), "a seal while a save is under way");
            store.put_batch(&fields, 0)?;
            store.disk.sync(&store.current.file).map_err(io_error(store.current.name, "sync"))
        })?;
        self.sealed = true;
        Ok(())
    }

    /// Whether the next segment should be worked on. Call `prepare_slice` once per turn while it should.
    pub fn needs_prepare(&self) -> bool {
        // Not beside a pending save: while the first batch of a segment is under way, nothing may suggest that it had been synced.
        let wanted = self.waiting.is_some() && !self.spare.is_ready();
        self.pending.is_none() && !self.poisoned && (wanted || self.spare.lags(self.used, self.current.size))
    }

    /// Fills a bounded slice of the next segment, or syncs it once all of it is filled. Want of space is no failure yet: see `no_space`.
    pub fn prepare_slice(&mut self) -> Result<(), StoreError> {
        if !self.needs_prepare() && !self.poisoned {
            return Ok(());
        }
        self.guarded(|store| {
            let name = store.spare.segment.name;
            match store.spare.prepare_slice(&mut store.disk, store.cluster_id, store.last_batch_len) {
                Err(error) if is_no_space(&error) => store.no_space = true,
                other => {
                    other.map_err(io_error(name, "preparing"))?;
                    store.no_space = false;
                }
            }
            Ok(())
        })
    }

    /// Whether the last attempt to prepare the next segment found the disk full. When the current segment is full too, a save waits:
    /// refuse writes before that.
    pub fn no_space(&self) -> bool {
        self.no_space || self.waiting.is_some()
    }

    /// Whether a save waits until the disk has room.
    pub fn waits_for_room(&self) -> bool {
        self.waiting.is_some()
    }

    /// Bytes that the log can still take on a full disk.
    pub fn room_left(&self) -> u64 {
        self.current.size.saturating_sub(self.used)
    }

    /// Appends the encoded entries `first..=last` to `out`, from memory or from the disk.
    pub fn read(&mut self, first: Index, last: Index, out: &mut Vec<u8>) -> Result<(), StoreError> {
        self.assert_present(first, last);
        let mut index = first;
        while index <= last {
            if let Some(encoded) = self.cache.get(index) {
                out.extend_from_slice(encoded);
                index = index.next();
            } else {
                index = self.read_run(index, last, READ_LEN_MAX, out)?.next();
            }
        }
        Ok(())
    }

    /// One encoded entry, header and payload. Made for asking in order: what is not in memory is read ahead.
    pub fn entry(&mut self, index: Index) -> Result<&[u8], StoreError> {
        self.assert_present(index, index);
        if self.cache.get(index).is_none() && self.ahead.get(index).is_none() {
            let mut ahead = std::mem::take(&mut self.ahead);
            ahead.bytes.clear();
            let last = self.read_run(index, self.last_index(), READ_AHEAD_LEN_MAX, &mut ahead.bytes)?;
            ahead.first = index;
            let places = self.places.range(self.position(index)..=self.position(last));
            ahead.ends = places
                .scan(0, |end, place| {
                    Some({
                        *end += place.len as usize;
                        *end
                    })
                })
                .collect();
            self.ahead = ahead;
        }
        Ok(self.cache.get(index).or_else(|| self.ahead.get(index)).expect("it was just read"))
    }

    /// Moves the rare paths that were taken since the last call to `out`.
    pub fn take_reached(&mut self, out: &mut Vec<&'static str>) {
        self.reached.take(out);
    }

    /// How long the last sync took, microseconds.
    pub fn last_sync_us(&self) -> u64 {
        self.disk.last_sync_us()
    }

    /// The first entry that can be read, if there is one.
    pub fn first_index(&self) -> Index {
        self.base.index.next()
    }

    /// The last entry, staged ones included.
    pub fn last_index(&self) -> Index {
        match self.unsaved {
            Some(_) => self.cache.last().unwrap_or(self.written_last()),
            None => self.written_last(),
        }
    }

    /// The last entry in a batch.
    fn written_last(&self) -> Index {
        Index(self.base.index.0 + self.places.len() as u64)
    }

    fn tip(&self) -> Tip {
        Tip { base_index: self.base.index, last_index: self.written_last(), hard_state: self.hard_state }
    }

    fn first_unsaved(&self) -> Index {
        self.unsaved.unwrap_or(Index(u64::MAX))
    }

    fn write_batch(&mut self, fields: &BatchFields, entry_count: usize) -> Result<SyncStatus, StoreError> {
        assert!(self.pending.is_none(), "a save while another is under way");
        self.put_batch(fields, entry_count)?;
        let status = self.disk.start_sync(&self.current.file).map_err(io_error(self.current.name, "sync"))?;
        if status == SyncStatus::Pending && self.used == SEGMENT_HEADER_LEN as u64 + self.last_batch_len {
            self.reached.mark("the first batch of a segment is not durable yet");
        }
        Ok(status)
    }

    /// Writes a batch, in the next segment if this one has no room for it.
    fn put_batch(&mut self, fields: &BatchFields, entry_count: usize) -> Result<(), StoreError> {
        // Of a save that has waited, what was staged then.
        let source = self.waiting.as_ref().map_or(&self.cache, |waiting| &waiting.entries);
        let entries = |cache: &Cache| -> u64 {
            (fields.first_index.0..).take(entry_count).map(|index| cache.get(Index(index)).map_or(0, <[u8]>::len) as u64).sum()
        };
        let body_len = batch::body_len(entries(source));
        let (Ok(count), true) = (u32::try_from(entry_count), body_len <= u64::from(BATCH_BODY_LEN_MAX)) else {
            return Err(StoreError::BatchTooLong { len: body_len });
        };
        let tip = self.tip();
        let admitted = tip.admits(fields, count);
        assert!(admitted.is_ok(), "a save that could not be opened again, {admitted:?}: {fields:?} with {count} entries behind {tip:?}");

        let batch_len = batch::BATCH_HEADER_LEN as u64 + body_len;
        if !self.fits(batch_len) {
            self.roll(batch_len)?;
        }
        let Segment { name, file, .. } = &self.current;
        let (name, seed) = (*name, Seed { cluster_id: self.cluster_id, segment: *name, offset: self.used });
        let source = self.waiting.as_ref().map_or(&self.cache, |waiting| &waiting.entries);
        let encoded = (fields.first_index.0..).take(entry_count).filter_map(|index| source.get(Index(index)));
        batch::encode(&mut self.batch, &seed, fields, encoded);
        self.disk.write_at(file, self.used, &self.batch).map_err(io_error(name, "write"))?;

        if fields.kind == BatchKind::Base {
            self.begin_behind(EntryId { index: fields.first_index.prev(), term: fields.last_entry_term });
        }
        let covered = self.snapshots.newest().map_or(Index(0), |newest| newest.meta.last.index);
        for (replaced, index) in self.places.drain(self.position(fields.first_index)..).zip(fields.first_index.0..) {
            self.entry_bytes -= u64::from(replaced.len);
            self.below_snapshot_bytes -= if index <= covered.0 { u64::from(replaced.len) } else { 0 };
            self.ahead.clear();
        }
        self.terms.truncate(fields.first_index);
        let mut offset = self.used + batch::BATCH_HEADER_LEN as u64;
        let source = self.waiting.as_ref().map_or(&self.cache, |waiting| &waiting.entries);
        for index in (fields.first_index.0..).take(entry_count) {
            let encoded = source.get(Index(index)).expect("it was staged, and is not saved yet");
            self.places.push_back(Place::new(name, offset, encoded));
            self.terms.push(Index(index), EntryHeader::decode(encoded).map_or(fields.last_entry_term, |header| header.term));
            offset += encoded.len() as u64;
            self.entry_bytes += encoded.len() as u64;
        }
        self.used += batch_len;
        self.last_batch_len = batch_len;
        Ok(())
    }

    /// Whether the current segment takes a batch of so many bytes.
    fn fits(&self, batch_len: u64) -> bool {
        self.used + batch_len <= self.current.size
    }

    /// Makes sure that a batch of so many bytes has a place, however long that takes. `false`: the disk is full, and nothing happened.
    fn make_room(&mut self, batch_len: u64) -> Result<bool, StoreError> {
        self.guarded(|store| {
            if store.fits(batch_len) || u64::from(BATCH_BODY_LEN_MAX) + (batch::BATCH_HEADER_LEN as u64) < batch_len {
                return Ok(true);
            }
            let name = store.spare.segment.name;
            match store.spare.make_ready(&mut store.disk, store.cluster_id, batch_len) {
                Err(error) if is_no_space(&error) => {
                    store.no_space = true;
                    Ok(false)
                }
                other => other.map(|()| true).map_err(io_error(name, "preparing")),
            }
        })
    }

    /// Goes on in the next segment.
    fn roll(&mut self, batch_len: u64) -> Result<(), StoreError> {
        let name = self.spare.segment.name;
        self.spare.make_ready(&mut self.disk, self.cluster_id, batch_len).map_err(io_error(name, "preparing"))?;
        let spare_len = next_segment_len(self.segment_len, self.spare.segment.size);
        self.spare.take(spare_len, &mut self.current);
        self.used = SEGMENT_HEADER_LEN as u64;
        Ok(())
    }

    fn assert_present(&self, first: Index, last: Index) {
        let (base, end) = (self.base.index, self.last_index());
        assert!(base < first && last <= end, "entries {first} to {last} were asked for, the log has those behind {base} up to {end}");
    }

    /// Where `places` has an entry.
    fn position(&self, index: Index) -> usize {
        usize::try_from(index.0 - self.base.index.0 - 1).expect("a position in a queue in memory")
    }

    /// Reads the longest run of entries from `first` on that are not in memory and stand side by side, and returns its last.
    fn read_run(&mut self, first: Index, last: Index, len_max: usize, out: &mut Vec<u8>) -> Result<Index, StoreError> {
        let start = self.places[self.position(first)];
        let (mut end, mut index, mut len) = (start, first, start.len as usize);
        while index < last && self.cache.get(index.next()).is_none() {
            let place = self.places[self.position(index.next())];
            if !end.touches(&place) || len_max < len + place.len as usize {
                break;
            }
            (end, index, len) = (place, index.next(), len + place.len as usize);
        }
        let places: Vec<Place> = self.places.range(self.position(first)..=self.position(index)).copied().collect();
        let at = out.len();
        out.resize(at + len, 0);
        self.guarded(|store| store.read_places(first, &places, &mut out[at..]))?;
        Ok(index)
    }

    /// Reads entries that stand side by side, and checks each.
    fn read_places(&mut self, first: Index, places: &[Place], out: &mut [u8]) -> Result<(), StoreError> {
        let (segment, offset) = (places[0].segment(), places[0].offset());
        let io = io_error(segment, "read");
        let read = if segment == self.current.name {
            self.disk.read_at(&self.current.file, offset, out)
        } else {
            let file = match self.reader.take() {
                Some((name, file)) if name == segment => file,
                _ => self.disk.open(&segment.path()).map_err(&io)?,
            };
            let read = self.disk.read_at(&file, offset, out);
            self.reader = Some((segment, file));
            read
        };
        let mut rest = &out[..read.map_err(io)?];
        for (place, index) in places.iter().zip(first.0..) {
            match rest.split_at_checked(place.len as usize) {
                Some((encoded, behind)) if checksum(&[encoded]) == place.crc => rest = behind,
                _ => return Err(StoreError::Corrupt { segment, offset: place.offset(), index: Index(index) }),
            }
        }
        Ok(())
    }

    /// Fails if anything failed before, and remembers if this does.
    fn guarded<T>(&mut self, act: impl FnOnce(&mut Store<D>) -> Result<T, StoreError>) -> Result<T, StoreError> {
        if self.poisoned {
            return Err(StoreError::Poisoned);
        }
        let result = act(self);
        self.poisoned = result.is_err();
        result
    }
}

/// Consecutive entries, read from the disk together.
#[derive(Debug, Default)]
struct Ahead {
    first: Index,
    bytes: Vec<u8>,
    /// Where each ends in `bytes`.
    ends: Vec<usize>,
}

impl Ahead {
    fn get(&self, index: Index) -> Option<&[u8]> {
        let position = usize::try_from(index.0.checked_sub(self.first.0)?).ok()?;
        let start = if position == 0 { 0 } else { *self.ends.get(position - 1)? };
        self.bytes.get(start..*self.ends.get(position)?)
    }

    fn clear(&mut self) {
        self.ends.clear();
    }
}

fn io_error(segment: SegmentName, what: &'static str) -> impl Fn(io::Error) -> StoreError {
    move |source| StoreError::Io { file: segment.path(), what, source }
}
