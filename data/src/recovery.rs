//! Opening a log: what a crash can have left, what cannot come from a crash, and what must be on the disk before raft starts.
//!
//! Saves are synced one after the other, so a crash can damage only the last batch: it is there, or not, or in part, in any mixture of
//! its sectors. Hence, for a batch that fails its checksum:
//!
//! - with anything good behind it, it *was* synced: damage. The node refuses to start and names file and offset (exit 65). Cutting the log
//!   there would drop entries that this node has vouched for, and the next leader might be elected without them.
//! - with nothing behind it, its sync never returned, so nothing was promised: it is cut, the rest of the segment zeroed.
//!
//! **The window that remains.** The second case takes the word of the disk for it. If the last batch was synced and acknowledged, then
//! the node crashed, and then *that* batch rotted before its seal was written, it is dropped as if it had been torn. The seal, an empty
//! batch 20 ms after the last save and at a clean stop, closes the window: it stands behind the batch. Under load the next batch does.
//! What rots together with everything behind it, to the end of the log, looks torn as well: nothing is left to prove the contrary.
//!
//! Then the last good batch is written again in place and synced, and so are the directories, before anything is returned: what was just
//! read may have come from the page cache of a system whose last sync failed, and a vote or an acknowledgement must not rest on that.
//! Every step may be cut short by another crash; the next recovery does it again.
//!
//! **Where the log begins.** At entry 1; or behind a base batch; or, once compacted, with whatever the oldest segment begins with. Then the
//! term of the entry before the first is unknown, unless a snapshot ends there: the first entry is given up to be the base, for its own
//! term is known. A later batch may have replaced even the entries that the log now begins with, from further below: then it is that
//! batch that the log begins with.
//!
//! **The newest snapshot** must fit to the log. If the log holds its last entry, the two are one history: what lies below is a tail kept
//! for others. If it does not, a crash came between the snapshot's name and the base batch, and the snapshot is installed now. A log that
//! begins above the snapshot's end has a hole: damage. Here only the header of a snapshot is read; its chunks are verified as they are
//! loaded, before raft starts.
//!
//! No check walls off a later repair from peers: `BatchDamage::Body` keeps the header, which says which entries are lost.

use std::collections::VecDeque;
use std::io;

use raft::{ClusterId, EntryId, EntryMeta, HardState, Index, Reached, Term};

use crate::batch::{self, BadTail, BatchFields, BatchHeader, BatchKind, Tip, Walk, walk};
use crate::disk::{Disk, is_zero_from, read_all, write_zeros};
use crate::error::{Damage, Nonsense, OpenError};
use crate::garbage::TEMPORARY;
use crate::identity::Identity;
use crate::limits::{SEGMENT_LEN_MAX, SEGMENT_LEN_MIN};
use crate::segment::{HeaderError, LOG_DIR, Place, SEGMENT_HEADER_LEN, Segment, SegmentHeader, SegmentName, next_segment_len};
use crate::snapshot::{SnapshotInfo, SnapshotMeta};
use crate::snapshots::{self, Found, Snapshots};
use crate::spare::Spare;

/// What was on the disk, for raft to start from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recovered {
    /// Term and vote.
    pub hard_state: HardState,
    /// A hint: everything up to here is committed.
    pub commit_index: Index,
    /// The newest snapshot. Its end is at or above the base, and in the log: at most at the last entry, or the base if there is none.
    pub snapshot: Option<SnapshotInfo>,
    /// The entry before the first in `entries`: `i0/t0` as long as nothing was compacted.
    pub base: EntryId,
    /// The log. What of it is at or below the snapshot's end is there for followers that are behind.
    pub entries: Vec<EntryMeta>,
    /// Cluster time of the last entry, milliseconds.
    pub last_time_ms: u64,
}

impl Recovered {
    /// The same after the installation of its snapshot: the term does not fall, and a vote counts only in its own term.
    pub(crate) fn installed(self, last: EntryId, time_ms: u64) -> Recovered {
        let HardState { term, voted_for } = self.hard_state;
        let hard_state = HardState { term: term.max(last.term), voted_for: voted_for.filter(|_| last.term <= term) };
        Recovered { hard_state, commit_index: last.index, base: last, entries: Vec::new(), last_time_ms: time_ms, ..self }
    }
}

/// Everything that a store begins with.
pub(crate) struct Recovery<F> {
    pub(crate) recovered: Recovered,
    pub(crate) places: VecDeque<Place>,
    pub(crate) sealed: bool,
    /// The first segment there is.
    pub(crate) oldest: SegmentName,
    pub(crate) current: Segment<F>,
    /// Where in it the next batch goes.
    pub(crate) used: u64,
    pub(crate) spare: Spare<F>,
    pub(crate) snapshots: Snapshots<F>,
    /// Whether the newest snapshot, if there is one, ends in this log. If not, it is to be installed.
    pub(crate) holds_snapshot: bool,
    pub(crate) reached: Reached,
}

/// Reads the log as opening it would, and changes nothing: what `kvnode run` would say.
pub fn verify<D: Disk>(disk: &mut D, identity: &Identity) -> Result<Recovered, OpenError> {
    let Survey { log, found, holds_snapshot, .. } = survey(disk, identity.cluster_id)?;
    open_spare(disk, identity.cluster_id, log.last.name.next(), 0)?;
    let (recovered, _) = log.replay.into_recovered(found.newest);
    let Some(SnapshotInfo { meta: SnapshotMeta { last, time_ms }, .. }) = recovered.snapshot else { return Ok(recovered) };
    snapshots::load(disk, identity.cluster_id, last, |_, _| {})?;
    Ok(if holds_snapshot { recovered } else { recovered.installed(last, time_ms) })
}

/// Reads the log, repairs its end and makes it durable. `segment_len` is for segments to come.
pub(crate) fn recover<D: Disk>(disk: &mut D, cluster_id: ClusterId, segment_len: u64) -> Result<Recovery<D::File>, OpenError> {
    let Survey { log, found, holds_snapshot } = survey(disk, cluster_id)?;
    let LogSurvey { replay, oldest, last: LastBatch { name, size, offset, bytes }, torn } = log;
    let mut spare = open_spare(disk, cluster_id, name.next(), next_segment_len(segment_len, size))?;
    // Only the headers of snapshots were read so far. Before an older one goes, or the log is begun anew behind the newest, that must be
    // whole: else what is left of this copy would be destroyed by the start that finds out about the damage.
    if let Some(newest) = found.newest
        && (!holds_snapshot || torn.is_some() || found.has_leftovers())
    {
        snapshots::load(disk, cluster_id, newest.meta.last, |_, _| {})?;
    }

    let mut reached = Reached::default();
    if torn.is_some() {
        reached.mark("a torn batch is cut off at start");
    }
    found.mark(&mut reached);
    // So far nothing was written. From here on only what takes back no promise: it can be cut short anywhere and done again.
    if let Some(Torn { name, from, to }) = torn {
        let file = open(disk, name)?;
        write_zeros(disk, &file, from, to).and_then(|()| disk.sync(&file)).map_err(io_error(name))?;
    }
    let file = open(disk, name)?;
    disk.write_at(&file, offset, &bytes).and_then(|()| disk.sync(&file)).map_err(io_error(name))?;
    if spare.is_filled() {
        // The last life may have failed at syncing this header, or the file behind.
        spare.finish(disk, cluster_id).map_err(io_error(name.next()))?;
    }
    remove_garbage(disk)?;
    disk.sync_dir(LOG_DIR).and_then(|()| disk.sync_dir("")).map_err(|source| OpenError::Io { file: LOG_DIR.to_owned(), source })?;
    let newest = found.newest;
    let snapshots = Snapshots::open(disk, cluster_id, found)?;
    let sealed = replay.sealed;
    let (recovered, places) = replay.into_recovered(newest);
    let (current, used) = (Segment { name, size, file }, offset + bytes.len() as u64);
    Ok(Recovery { recovered, places, sealed, oldest, current, used, spare, snapshots, holds_snapshot, reached })
}

/// Removes what a crash left of segments that were on their way out.
fn remove_garbage<D: Disk>(disk: &mut D) -> Result<(), OpenError> {
    let is_garbage = |name: &String| name.strip_suffix(TEMPORARY).and_then(SegmentName::parse).is_some();
    let names = disk.list(LOG_DIR).map_err(|source| OpenError::Io { file: LOG_DIR.to_owned(), source })?;
    for path in names.iter().filter(|name| is_garbage(name)).map(|name| format!("{LOG_DIR}/{name}")) {
        disk.remove(&path).map_err(|source| OpenError::Io { file: path, source })?;
    }
    Ok(())
}

/// What the disk says, before anything is written.
struct Survey {
    log: LogSurvey,
    found: Found,
    holds_snapshot: bool,
}

fn survey<D: Disk>(disk: &mut D, cluster_id: ClusterId) -> Result<Survey, OpenError> {
    let found = snapshots::survey(disk, cluster_id)?;
    let mut log = survey_log(disk, cluster_id)?;
    let holds_snapshot = log.replay.settle_base(found.newest.map(|newest| newest.meta.last), log.oldest)?;
    Ok(Survey { log, found, holds_snapshot })
}

/// What the log says, and what is to be repaired.
struct LogSurvey {
    replay: Replay,
    oldest: SegmentName,
    last: LastBatch,
    torn: Option<Torn>,
}

/// The last good batch.
struct LastBatch {
    name: SegmentName,
    /// Of its segment.
    size: u64,
    offset: u64,
    bytes: Vec<u8>,
}

/// The bytes of a batch whose sync never returned.
struct Torn {
    name: SegmentName,
    from: u64,
    to: u64,
}

fn survey_log<D: Disk>(disk: &mut D, cluster_id: ClusterId) -> Result<LogSurvey, OpenError> {
    let (oldest, names) = segments(disk)?;
    let last_used = last_used(disk, oldest, &names)?;
    let mut bytes = Vec::new();
    let (mut replay, mut last, mut torn) = (Replay::new(oldest == SegmentName::FIRST), None, None);
    for name in names.into_iter().take_while(|name| *name <= last_used) {
        let file = open(disk, name)?;
        read(disk, name, &file, &mut bytes)?;
        let SegmentHeader { size, .. } =
            SegmentHeader::decode(&bytes, cluster_id, name).map_err(|error| header_error(name, error, bytes.len() as u64))?;
        let Walk { batches, end, bad } = walk(&bytes, cluster_id, name);
        for (offset, header) in &batches {
            let batch = batch_bytes(&bytes, *offset, header);
            replay.batch(name, *offset, header, batch).map_err(|nonsense| corrupt(name, *offset, Damage::Nonsense(nonsense)))?;
        }
        let behind = (name < last_used).then_some((last_used, SEGMENT_HEADER_LEN as u64));
        if let Some(BadTail { damage: batch, next_offset, nonzero_end, .. }) = bad {
            if let Some((next, next_offset)) = next_offset.map(|offset| (name, offset)).or(behind) {
                return Err(corrupt(name, end, Damage::Batch { batch, next, next_offset }));
            }
            torn = Some(Torn { name, from: end, to: nonzero_end });
        }
        match batches.last() {
            Some((offset, header)) => {
                last = Some(LastBatch { name, size, offset: *offset, bytes: batch_bytes(&bytes, *offset, header).to_vec() });
            }
            None if behind.is_some() => return Err(corrupt(name, end, Damage::Empty)),
            None => {}
        }
    }
    let last = last.ok_or(no_batch(oldest))?;
    Ok(LogSurvey { replay, oldest, last, torn })
}

/// The segments in order, without gaps, and the first of them.
fn segments<D: Disk>(disk: &mut D) -> Result<(SegmentName, Vec<SegmentName>), OpenError> {
    let names = match disk.list(LOG_DIR) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        other => other.map_err(|source| OpenError::Io { file: LOG_DIR.to_owned(), source })?,
    };
    let mut names: Vec<SegmentName> = names.iter().filter_map(|name| SegmentName::parse(name)).collect();
    names.sort_unstable();
    let Some(oldest) = names.first().copied() else { return Err(corrupt(SegmentName::FIRST, 0, Damage::Missing)) };
    match names.windows(2).find(|pair| pair[0].next() != pair[1]) {
        Some(gap) => Err(corrupt(gap[0].next(), 0, Damage::Missing)),
        None => Ok((oldest, names)),
    }
}

/// The last segment in which a batch was ever begun. Behind it stands the spare and, if that is complete, one more, empty file.
fn last_used<D: Disk>(disk: &mut D, oldest: SegmentName, names: &[SegmentName]) -> Result<SegmentName, OpenError> {
    let mut unused = 0;
    let mut last_len = 0;
    for name in names.iter().rev() {
        let file = open(disk, *name)?;
        let file_len = file_len(disk, *name, &file)?;
        if is_zero_from(disk, &file, SEGMENT_HEADER_LEN as u64).map_err(io_error(*name))? {
            unused += 1;
            last_len = if unused == 1 { file_len } else { last_len };
            continue;
        }
        return match unused {
            0 => Err(corrupt(name.next(), 0, Damage::Missing)),
            1 => Ok(*name),
            2 if last_len == 0 => Ok(*name),
            // A spare is worked on only once the segment before it holds a batch.
            _ => Err(corrupt(name.next(), SEGMENT_HEADER_LEN as u64, Damage::Empty)),
        };
    }
    Err(no_batch(oldest))
}

/// No good batch anywhere, though a finished `init` has synced one, and compaction leaves one: rotten, or gone with its file.
fn no_batch(oldest: SegmentName) -> OpenError {
    match oldest.prev() {
        Some(before) => corrupt(before, 0, Damage::Missing),
        None => corrupt(oldest, SEGMENT_HEADER_LEN as u64, Damage::NoBatch),
    }
}

/// The segment behind the last batch: complete, or still to be made.
fn open_spare<D: Disk>(disk: &mut D, cluster_id: ClusterId, name: SegmentName, segment_len: u64) -> Result<Spare<D::File>, OpenError> {
    let file = open(disk, name)?;
    let file_len = file_len(disk, name, &file)?;
    let mut head = [0; SEGMENT_HEADER_LEN];
    let read = disk.read_at(&file, 0, &mut head).map_err(io_error(name))?;
    let error = match SegmentHeader::decode_head(&head[..read], file_len, cluster_id, name) {
        Ok(SegmentHeader { size, .. }) => return Ok(Spare::found(Segment { name, size, file })),
        Err(error) => error,
    };
    // The file behind is made when the header is on the disk, and the header is written when the zeros are. It holds no batch, so
    // what comes from a crash in between is no loss. Longer than its header says is one that was about to hold a longer batch.
    let complete = match disk.open(&name.next().path()) {
        Ok(_) => true,
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(io_error(name.next())(error)),
    };
    match error {
        HeaderError::Damaged(Damage::SegmentHeader) if !complete => {}
        HeaderError::Damaged(Damage::Length { expected }) if !complete && expected < file_len => {}
        error => return Err(header_error(name, error, file_len)),
    }
    // A file is never shortened.
    Ok(Spare::unfinished(name, segment_len.max(file_len.next_multiple_of(SEGMENT_LEN_MIN)), file))
}

/// The log as the batches tell it, one after the other.
struct Replay {
    begin: Begin,
    hard_state: HardState,
    commit_index: Index,
    entries: Vec<EntryMeta>,
    places: VecDeque<Place>,
    last_time_ms: u64,
    sealed: bool,
}

/// Where the log begins, as far as is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Begin {
    /// Behind this entry, for certain: at the first of all, or at a base batch.
    Behind(EntryId),
    /// What was before was dropped. Nothing was read yet.
    Somewhere,
    /// What was before was dropped; the first batch that is left begins behind this index. Its term may be known.
    Dropped(Index, Option<Term>),
}

impl Begin {
    fn base_index(&self) -> Index {
        match self {
            Begin::Behind(base) => base.index,
            Begin::Somewhere => Index(0),
            Begin::Dropped(index, _) => *index,
        }
    }

    fn base_term(&self) -> Option<Term> {
        match self {
            Begin::Behind(base) => Some(base.term),
            Begin::Somewhere => None,
            Begin::Dropped(_, term) => *term,
        }
    }
}

impl Replay {
    fn new(from_entry_1: bool) -> Replay {
        let begin = if from_entry_1 { Begin::Behind(EntryId::default()) } else { Begin::Somewhere };
        let (hard_state, commit_index) = (HardState::default(), Index(0));
        Replay { begin, hard_state, commit_index, entries: Vec::new(), places: VecDeque::new(), last_time_ms: 0, sealed: false }
    }

    /// What raft is told. The log may be long: it is handed over, not copied.
    fn into_recovered(self, snapshot: Option<SnapshotInfo>) -> (Recovered, VecDeque<Place>) {
        let last_index = self.tip().last_index;
        let base = EntryId { index: self.begin.base_index(), term: self.begin.base_term().unwrap_or_default() };
        let Replay { hard_state, commit_index, entries, places, last_time_ms, .. } = self;
        let meta = snapshot.map_or(SnapshotMeta::default(), |snapshot| snapshot.meta);
        // A snapshot holds only what is committed.
        let commit_index = commit_index.max(meta.last.index).min(last_index);
        let last_time_ms = if last_index == meta.last.index { meta.time_ms } else { last_time_ms };
        (Recovered { hard_state, commit_index, snapshot, base, entries, last_time_ms }, places)
    }

    /// Settles where the log begins, now that all of it is known, and whether the newest snapshot ends in it.
    fn settle_base(&mut self, snapshot: Option<EntryId>, oldest: SegmentName) -> Result<bool, OpenError> {
        let (base_index, covered) = (self.begin.base_index(), snapshot.map_or(Index(0), |last| last.index));
        if covered < base_index {
            return Err(corrupt(oldest, 0, Damage::Hole { first: base_index.next(), snapshot }));
        }
        let Some(last) = snapshot else { return Ok(true) };
        if self.begin.base_term().is_none() {
            if base_index == last.index {
                self.begin = Begin::Dropped(base_index, Some(last.term));
            } else if let (Some(entry), Some(_)) = (self.entries.first().copied(), self.places.pop_front()) {
                self.entries.remove(0);
                self.begin = Begin::Dropped(entry.index, Some(entry.term));
            }
        }
        let held = match last.index.0.checked_sub(self.begin.base_index().0) {
            Some(0) => self.begin.base_term(),
            Some(count) => self.entries.get(to_usize(count - 1)).map(|entry| entry.term),
            None => None,
        };
        Ok(held == Some(last.term) && last.term <= self.hard_state.term)
    }

    fn tip(&self) -> Tip {
        let last_index = Index(self.begin.base_index().0 + self.entries.len() as u64);
        // What was dropped may have been replaced later: only a certain beginning is a limit.
        let base_index = if let Begin::Behind(base) = self.begin { base.index } else { Index(0) };
        Tip { base_index, last_index, hard_state: self.hard_state }
    }

    fn last_entry_term(&self) -> Term {
        self.entries.last().map_or(self.begin.base_term().unwrap_or_default(), |entry| entry.term)
    }

    fn batch(&mut self, segment: SegmentName, offset: u64, header: &BatchHeader, bytes: &[u8]) -> Result<(), Nonsense> {
        let BatchHeader { kind, first_index, last_entry_term, hard_state, commit_index, entry_count, .. } = *header;
        if self.begin == Begin::Somewhere {
            self.begin = Begin::Dropped(first_index.prev(), (entry_count == 0).then_some(last_entry_term));
        }
        self.tip().admits(&BatchFields { kind, first_index, last_entry_term, hard_state, commit_index }, entry_count)?;
        let before = first_index.prev();
        let kept = match kind {
            BatchKind::Base => {
                self.begin = Begin::Behind(EntryId { index: before, term: last_entry_term });
                0
            }
            BatchKind::Entries if before < self.begin.base_index() => {
                self.begin = Begin::Dropped(before, None);
                0
            }
            BatchKind::Entries => to_usize(before.0 - self.begin.base_index().0),
        };
        self.entries.truncate(kept);
        self.places.truncate(kept);
        let body_offset = offset + batch::BATCH_HEADER_LEN as u64;
        for (index, entry) in (first_index.0..).zip(batch::entries(header, &bytes[batch::BATCH_HEADER_LEN..])?) {
            if entry.header.term < self.last_entry_term() {
                return Err(Nonsense::EntryTermFell);
            }
            self.entries.push(entry.header.meta(Index(index)));
            self.places.push_back(Place::new(segment, body_offset + entry.offset as u64, entry.encoded));
            self.last_time_ms = entry.header.time_ms;
        }
        if self.last_entry_term() != last_entry_term {
            return Err(Nonsense::Entries);
        }
        self.sealed = kind == BatchKind::Entries && entry_count == 0 && hard_state == self.hard_state;
        self.hard_state = hard_state;
        self.commit_index = commit_index;
        Ok(())
    }
}

fn open<D: Disk>(disk: &mut D, name: SegmentName) -> Result<D::File, OpenError> {
    disk.open(&name.path()).map_err(io_error(name))
}

fn read<D: Disk>(disk: &mut D, name: SegmentName, file: &D::File, bytes: &mut Vec<u8>) -> Result<(), OpenError> {
    file_len(disk, name, file)?;
    read_all(disk, file, SEGMENT_LEN_MAX, bytes).map_err(io_error(name))
}

/// How long a segment's file is: no longer than any is made.
fn file_len<D: Disk>(disk: &mut D, name: SegmentName, file: &D::File) -> Result<u64, OpenError> {
    match disk.file_len(file).map_err(io_error(name))? {
        file_len if SEGMENT_LEN_MAX < file_len => Err(corrupt(name, SEGMENT_LEN_MAX, Damage::Length { expected: SEGMENT_LEN_MAX })),
        file_len => Ok(file_len),
    }
}

fn header_error(segment: SegmentName, error: HeaderError, file_len: u64) -> OpenError {
    match error {
        HeaderError::Version(version) => OpenError::Version { segment, version },
        HeaderError::Damaged(Damage::Length { expected }) => corrupt(segment, expected.min(file_len), Damage::Length { expected }),
        HeaderError::Damaged(damage) => corrupt(segment, 0, damage),
    }
}

fn corrupt(segment: SegmentName, offset: u64, damage: Damage) -> OpenError {
    OpenError::Corrupt { segment, offset, damage }
}

fn io_error(segment: SegmentName) -> impl Fn(io::Error) -> OpenError {
    move |source| OpenError::Io { file: segment.path(), source }
}

fn batch_bytes<'a>(segment: &'a [u8], offset: u64, header: &BatchHeader) -> &'a [u8] {
    &segment[to_usize(offset)..][..to_usize(header.batch_len())]
}

/// For offsets and lengths inside what was read into memory.
fn to_usize(number: u64) -> usize {
    usize::try_from(number).expect("it is within what is in memory")
}

#[cfg(test)]
mod tests;
