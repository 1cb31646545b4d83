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
//! No check walls off a later repair from peers: `BatchDamage::Body` keeps the header, which says which entries are lost.

use std::collections::VecDeque;
use std::io;

use raft::{ClusterId, EntryId, EntryMeta, HardState, Index, Term};

use crate::batch::{self, BatchFields, BatchHeader, Tip, Walk, walk};
use crate::disk::{Disk, nonzero_len, read_all, write_zeros};
use crate::error::{Damage, Nonsense, OpenError};
use crate::limits::{SEGMENT_LEN_MAX, SEGMENT_LEN_MIN};
use crate::segment::{HeaderError, LOG_DIR, Place, SEGMENT_HEADER_LEN, Segment, SegmentHeader, SegmentName};
use crate::spare::Spare;

/// What was on the disk, for raft to start from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recovered {
    /// Term and vote.
    pub hard_state: HardState,
    /// A hint: everything up to here is committed.
    pub commit_index: Index,
    /// The entry before the first in `entries`: `i0/t0` as long as there are no snapshots.
    pub base: EntryId,
    /// The log.
    pub entries: Vec<EntryMeta>,
    /// Cluster time of the last entry, milliseconds.
    pub last_time_ms: u64,
}

/// Everything that a store begins with.
pub(crate) struct Recovery<F> {
    pub(crate) recovered: Recovered,
    pub(crate) places: VecDeque<Place>,
    pub(crate) sealed: bool,
    pub(crate) current: Segment<F>,
    /// Where in it the next batch goes.
    pub(crate) used: u64,
    pub(crate) spare: Spare<F>,
}

/// Reads the log, repairs its end and makes it durable. `segment_len` is for segments to come.
pub(crate) fn recover<D: Disk>(
    disk: &mut D,
    cluster_id: ClusterId,
    segment_len: u64,
    base: EntryId,
) -> Result<Recovery<D::File>, OpenError> {
    let names = segments(disk)?;
    let mut bytes = Vec::new();
    let last_used = last_used(disk, &names, &mut bytes)?;
    let mut replay = Replay::new(base);
    let mut last = None;
    let mut cut = None;
    for name in names.into_iter().take_while(|name| *name <= last_used) {
        let file = open(disk, name)?;
        read(disk, name, &file, &mut bytes)?;
        let header = SegmentHeader::decode(&bytes, cluster_id, name).map_err(|error| header_error(name, error, bytes.len()))?;
        let Walk { batches, end, bad } = walk(&bytes, cluster_id, name);
        if batches.is_empty() && name < last_used {
            return Err(corrupt(name, end, bad.map_or(Damage::Empty, |bad| behind(bad.damage, last_used, SEGMENT_HEADER_LEN as u64))));
        }
        for (offset, batch) in &batches {
            let from = to_usize(*offset);
            let batch_bytes = &bytes[from..from + to_usize(batch.batch_len())];
            replay.batch(name, *offset, batch, batch_bytes).map_err(|nonsense| corrupt(name, *offset, Damage::Nonsense(nonsense)))?;
        }
        if let Some((offset, batch)) = batches.last() {
            let from = to_usize(*offset);
            let size = header.size;
            last = Some(LastBatch { name, size, offset: *offset, bytes: bytes[from..from + to_usize(batch.batch_len())].to_vec() });
        }
        if let Some(bad) = bad {
            let next = bad.next_offset.map(|offset| (name, offset));
            let next = next.or((name < last_used).then_some((last_used, SEGMENT_HEADER_LEN as u64)));
            if let Some((next, next_offset)) = next {
                return Err(corrupt(name, end, behind(bad.damage, next, next_offset)));
            }
            cut = Some((name, end, bad.nonzero_end));
        }
    }
    let last = last.ok_or(corrupt(SegmentName::FIRST, SEGMENT_HEADER_LEN as u64, Damage::NoBatch))?;
    let LastBatch { name, size, offset, bytes: last_bytes } = last;
    let mut spare = open_spare(disk, cluster_id, name.next(), segment_len, &mut bytes)?;

    // So far nothing was written. From here on only what takes back no promise: it can be cut short anywhere and done again.
    if let Some((name, from, to)) = cut {
        let file = open(disk, name)?;
        write_zeros(disk, &file, from, to).and_then(|()| disk.sync(&file)).map_err(io_error(name))?;
    }
    let file = open(disk, name)?;
    disk.write_at(&file, offset, &last_bytes).and_then(|()| disk.sync(&file)).map_err(io_error(name))?;
    if spare.is_filled() {
        // The last life may have failed at syncing this header, or the file behind.
        spare.finish(disk, cluster_id).map_err(io_error(name.next()))?;
    }
    disk.sync_dir(LOG_DIR).and_then(|()| disk.sync_dir("")).map_err(|source| OpenError::Io { file: LOG_DIR.to_owned(), source })?;

    let last_index = replay.tip().last_index;
    Ok(Recovery {
        recovered: Recovered {
            hard_state: replay.hard_state,
            commit_index: replay.commit_index.min(last_index),
            base,
            entries: replay.entries,
            last_time_ms: replay.last_time_ms,
        },
        places: replay.places,
        sealed: replay.sealed,
        current: Segment { name, size, file },
        used: offset + last_bytes.len() as u64,
        spare,
    })
}

struct LastBatch {
    name: SegmentName,
    size: u64,
    offset: u64,
    bytes: Vec<u8>,
}

/// The segments in order, without gaps.
pub(crate) fn segments<D: Disk>(disk: &mut D) -> Result<Vec<SegmentName>, OpenError> {
    let names = match disk.list(LOG_DIR) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        other => other.map_err(|source| OpenError::Io { file: LOG_DIR.to_owned(), source })?,
    };
    let mut names: Vec<SegmentName> = names.iter().filter_map(|name| SegmentName::parse(name)).collect();
    names.sort_unstable();
    let mut expected = SegmentName::FIRST;
    for name in &names {
        if *name != expected {
            break;
        }
        expected = expected.next();
    }
    // One name too few, whether there are any behind it or not: for an empty log the first is missing.
    if names.last().is_none_or(|last| *last >= expected) { Err(corrupt(expected, 0, Damage::Missing)) } else { Ok(names) }
}

/// The last segment in which a batch was ever begun. Behind it stands the spare and, if that is complete, one more, empty file.
fn last_used<D: Disk>(disk: &mut D, names: &[SegmentName], bytes: &mut Vec<u8>) -> Result<SegmentName, OpenError> {
    let mut unused = 0;
    let mut last_len = 0;
    for name in names.iter().rev() {
        let file = open(disk, *name)?;
        read(disk, *name, &file, bytes)?;
        if nonzero_len(bytes) <= SEGMENT_HEADER_LEN {
            unused += 1;
            last_len = if unused == 1 { bytes.len() } else { last_len };
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
    Err(corrupt(SegmentName::FIRST, SEGMENT_HEADER_LEN as u64, Damage::NoBatch))
}

/// The segment behind the last batch: complete, or still to be made.
fn open_spare<D: Disk>(
    disk: &mut D,
    cluster_id: ClusterId,
    name: SegmentName,
    segment_len: u64,
    bytes: &mut Vec<u8>,
) -> Result<Spare<D::File>, OpenError> {
    let file = open(disk, name)?;
    read(disk, name, &file, bytes)?;
    let file_len = bytes.len() as u64;
    let error = match SegmentHeader::decode(bytes, cluster_id, name) {
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
        error => return Err(header_error(name, error, bytes.len())),
    }
    // A file is never shortened.
    Ok(Spare::unfinished(name, segment_len.max(file_len.next_multiple_of(SEGMENT_LEN_MIN)), file))
}

/// The log as the batches tell it, one after the other.
struct Replay {
    base: EntryId,
    hard_state: HardState,
    commit_index: Index,
    entries: Vec<EntryMeta>,
    places: VecDeque<Place>,
    last_time_ms: u64,
    sealed: bool,
}

impl Replay {
    fn new(base: EntryId) -> Replay {
        let (hard_state, commit_index) = (HardState::default(), base.index);
        Replay { base, hard_state, commit_index, entries: Vec::new(), places: VecDeque::new(), last_time_ms: 0, sealed: false }
    }

    fn tip(&self) -> Tip {
        let last_index = Index(self.base.index.0 + self.entries.len() as u64);
        Tip { base_index: self.base.index, last_index, hard_state: self.hard_state }
    }

    fn last_entry_term(&self) -> Term {
        self.entries.last().map_or(self.base.term, |entry| entry.term)
    }

    fn batch(&mut self, segment: SegmentName, offset: u64, header: &BatchHeader, bytes: &[u8]) -> Result<(), Nonsense> {
        let BatchHeader { first_index, last_entry_term, hard_state, commit_index, entry_count, .. } = *header;
        self.tip().admits(&BatchFields { first_index, last_entry_term, hard_state, commit_index }, entry_count)?;
        let kept = to_usize(first_index.0 - self.base.index.0 - 1);
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
        self.sealed = entry_count == 0 && hard_state == self.hard_state;
        self.hard_state = hard_state;
        self.commit_index = commit_index;
        Ok(())
    }
}

fn open<D: Disk>(disk: &mut D, name: SegmentName) -> Result<D::File, OpenError> {
    disk.open(&name.path()).map_err(io_error(name))
}

fn read<D: Disk>(disk: &mut D, name: SegmentName, file: &D::File, bytes: &mut Vec<u8>) -> Result<(), OpenError> {
    read_all(disk, file, SEGMENT_LEN_MAX, bytes).map_err(io_error(name))?;
    if bytes.len() as u64 > SEGMENT_LEN_MAX {
        return Err(corrupt(name, SEGMENT_LEN_MAX, Damage::Length { expected: SEGMENT_LEN_MAX }));
    }
    Ok(())
}

fn header_error(segment: SegmentName, error: HeaderError, file_len: usize) -> OpenError {
    match error {
        HeaderError::Version(version) => OpenError::Version { segment, version },
        HeaderError::Damaged(Damage::Length { expected }) => corrupt(segment, expected.min(file_len as u64), Damage::Length { expected }),
        HeaderError::Damaged(damage) => corrupt(segment, 0, damage),
    }
}

fn corrupt(segment: SegmentName, offset: u64, damage: Damage) -> OpenError {
    OpenError::Corrupt { segment, offset, damage }
}

fn behind(batch: crate::error::BatchDamage, next: SegmentName, next_offset: u64) -> Damage {
    Damage::Batch { batch, next, next_offset }
}

fn io_error(segment: SegmentName) -> impl Fn(io::Error) -> OpenError {
    move |source| OpenError::Io { file: segment.path(), source }
}

/// For offsets and lengths inside what was read into memory.
fn to_usize(number: u64) -> usize {
    usize::try_from(number).expect("it is within what is in memory")
}
