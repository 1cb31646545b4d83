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

use crate::batch::{self, BadTail, BatchFields, BatchHeader, Tip, Walk, walk};
use crate::disk::{Disk, nonzero_len, read_all, write_zeros};
use crate::error::{Damage, Nonsense, OpenError};
use crate::identity::Identity;
use crate::limits::{SEGMENT_LEN_MAX, SEGMENT_LEN_MIN};
use crate::segment::{HeaderError, LOG_DIR, Place, SEGMENT_HEADER_LEN, Segment, SegmentHeader, SegmentName, next_segment_len};
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

/// Reads the log as opening it would, and changes nothing: what `kvnode run` would say.
pub fn verify<D: Disk>(disk: &mut D, identity: &Identity) -> Result<Recovered, OpenError> {
    let survey = survey(disk, identity.cluster_id, EntryId::default())?;
    open_spare(disk, identity.cluster_id, survey.last.name.next(), 0)?;
    Ok(survey.replay.into_recovered().0)
}

/// Reads the log, repairs its end and makes it durable. `segment_len` is for segments to come.
pub(crate) fn recover<D: Disk>(
    disk: &mut D,
    cluster_id: ClusterId,
    segment_len: u64,
    base: EntryId,
) -> Result<Recovery<D::File>, OpenError> {
    let Survey { replay, last: LastBatch { name, size, offset, bytes }, torn } = survey(disk, cluster_id, base)?;
    let mut spare = open_spare(disk, cluster_id, name.next(), next_segment_len(segment_len, size))?;

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
    disk.sync_dir(LOG_DIR).and_then(|()| disk.sync_dir("")).map_err(|source| OpenError::Io { file: LOG_DIR.to_owned(), source })?;
    let sealed = replay.sealed;
    let (recovered, places) = replay.into_recovered();
    Ok(Recovery { recovered, places, sealed, current: Segment { name, size, file }, used: offset + bytes.len() as u64, spare })
}

/// What the log says, and what is to be repaired.
struct Survey {
    replay: Replay,
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

fn survey<D: Disk>(disk: &mut D, cluster_id: ClusterId, base: EntryId) -> Result<Survey, OpenError> {
    let names = segments(disk)?;
    let mut bytes = Vec::new();
    let last_used = last_used(disk, &names, &mut bytes)?;
    let (mut replay, mut last, mut torn) = (Replay::new(base), None, None);
    for name in names.into_iter().take_while(|name| *name <= last_used) {
        let file = open(disk, name)?;
        read(disk, name, &file, &mut bytes)?;
        let SegmentHeader { size, .. } =
            SegmentHeader::decode(&bytes, cluster_id, name).map_err(|error| header_error(name, error, bytes.len()))?;
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
    let last = last.ok_or(corrupt(SegmentName::FIRST, SEGMENT_HEADER_LEN as u64, Damage::NoBatch))?;
    Ok(Survey { replay, last, torn })
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
fn open_spare<D: Disk>(disk: &mut D, cluster_id: ClusterId, name: SegmentName, segment_len: u64) -> Result<Spare<D::File>, OpenError> {
    let file = open(disk, name)?;
    let mut bytes = Vec::new();
    read(disk, name, &file, &mut bytes)?;
    let file_len = bytes.len() as u64;
    let error = match SegmentHeader::decode(&bytes, cluster_id, name) {
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

    /// What raft is told. The log may be long: it is handed over, not copied.
    fn into_recovered(self) -> (Recovered, VecDeque<Place>) {
        let last_index = self.tip().last_index;
        let Replay { base, hard_state, commit_index, entries, places, last_time_ms, .. } = self;
        (Recovered { hard_state, commit_index: commit_index.min(last_index), base, entries, last_time_ms }, places)
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
mod tests {
    use fastrand::Rng;
    use raft::{EntryHeader, EntryKind, NodeId};

    use super::*;
    use crate::checksum::Seed;
    use crate::fake::FakeDisk;

    const CLUSTER: ClusterId = ClusterId(9);
    const START: u64 = SEGMENT_HEADER_LEN as u64;

    fn entry(term: u64, payload: &[u8]) -> Vec<u8> {
        let payload_len = u32::try_from(payload.len()).expect("short");
        [&EntryHeader { term: Term(term), time_ms: 0, payload_len, kind: EntryKind::Command }.encode()[..], payload].concat()
    }

    /// A log of one segment in use with these batches, each with good checksums, and what opening it says.
    fn open_log(batches: &[(BatchFields, Vec<Vec<u8>>)]) -> Result<Recovered, OpenError> {
        let mut segment = SegmentHeader { cluster_id: CLUSTER, name: SegmentName::FIRST, size: 1 << 16 }.encode().to_vec();
        for (fields, entries) in batches {
            let mut batch = Vec::new();
            let seed = Seed { cluster_id: CLUSTER, segment: SegmentName::FIRST, offset: segment.len() as u64 };
            batch::encode(&mut batch, &seed, fields, entries.iter().map(Vec::as_slice));
            segment.extend_from_slice(&batch);
        }
        segment.resize(1 << 16, 0);
        let mut disk = FakeDisk::new();
        disk.make_dir(LOG_DIR).expect("it is healthy");
        disk.set_content(&SegmentName::FIRST.path(), &segment);
        disk.set_content(&SegmentName::FIRST.next().path(), b"");
        recover(&mut disk, CLUSTER, 4096, EntryId::default()).map(|recovery| recovery.recovered)
    }

    fn fields(first_index: u64, last_entry_term: u64, term: u64) -> BatchFields {
        let hard_state = HardState { term: Term(term), voted_for: None };
        BatchFields { first_index: Index(first_index), last_entry_term: Term(last_entry_term), hard_state, commit_index: Index(0) }
    }

    #[test]
    fn good_checksums_do_not_make_sense_of_nonsense() {
        let first = (fields(1, 2, 5), vec![entry(1, b"a"), entry(2, b"b")]);
        assert_eq!(open_log(std::slice::from_ref(&first)).expect("it makes sense").entries.len(), 2);
        let nonsense = |second: (BatchFields, Vec<Vec<u8>>)| match open_log(&[first.clone(), second]) {
            Err(OpenError::Corrupt { segment: SegmentName::FIRST, offset, damage: Damage::Nonsense(nonsense) }) => {
                assert_eq!(offset, START + 64 + 56);
                nonsense
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(nonsense((fields(4, 5, 5), vec![entry(5, b"")])), Nonsense::Gap);
        assert_eq!(nonsense((fields(0, 5, 5), vec![entry(5, b"")])), Nonsense::Gap);
        assert_eq!(nonsense((fields(3, 4, 4), vec![entry(4, b"")])), Nonsense::TermFell);
        assert_eq!(nonsense((fields(3, 6, 5), vec![entry(6, b"")])), Nonsense::EntryTermAhead);
        assert_eq!(nonsense((fields(3, 1, 5), vec![entry(1, b"")])), Nonsense::EntryTermFell);
        assert_eq!(nonsense((fields(3, 3, 5), vec![entry(4, b""), entry(3, b"")])), Nonsense::EntryTermFell);
        assert_eq!(nonsense((fields(3, 3, 5), vec![entry(4, b"")])), Nonsense::Entries, "another last term than it says");
        assert_eq!(nonsense((fields(3, 3, 5), vec![])), Nonsense::Entries, "a seal that tells another last term");
        assert_eq!(nonsense((fields(3, 3, 5), vec![vec![7; 40]])), Nonsense::Entries, "bytes that are no entry");
    }

    #[test]
    fn the_first_batch_begins_the_log() {
        let gap = open_log(&[(fields(2, 1, 1), vec![entry(1, b"")])]);
        assert!(matches!(gap, Err(OpenError::Corrupt { offset: START, damage: Damage::Nonsense(Nonsense::Gap), .. })), "{gap:?}");
    }

    #[test]
    fn a_commit_hint_beyond_the_log_is_not_believed() {
        let hint = BatchFields { commit_index: Index(1 << 50), ..fields(1, 1, 1) };
        assert_eq!(open_log(&[(hint, vec![entry(1, b"")])]).expect("a hint is only a hint").commit_index, Index(1));
    }

    #[test]
    fn any_fields_under_good_checksums_are_refused_or_opened_without_a_panic() {
        let mut rng = Rng::with_seed(7);
        let number = |rng: &mut Rng| match rng.u8(..6) {
            0 => rng.u64(..),
            1 => u64::MAX - rng.u64(..3),
            2 => (1 << 56) - rng.u64(..3),
            _ => rng.u64(..4),
        };
        let (mut opened, mut refused) = (0, 0);
        for _ in 0..4000 {
            let batches: Vec<_> = (0..rng.usize(1..4))
                .map(|_| {
                    let voted_for = Some(NodeId(rng.u64(1..3))).filter(|_| rng.bool());
                    let fields = BatchFields {
                        first_index: Index(number(&mut rng)),
                        last_entry_term: Term(number(&mut rng)),
                        hard_state: HardState { term: Term(number(&mut rng)), voted_for },
                        commit_index: Index(number(&mut rng)),
                    };
                    let entries = (0..rng.u8(..3)).map(|_| entry(number(&mut rng), &[1; 9])).collect();
                    (fields, entries)
                })
                .collect();
            match open_log(&batches) {
                Ok(_) => opened += 1,
                Err(OpenError::Corrupt { .. }) => refused += 1,
                Err(error) => panic!("{error}"),
            }
        }
        assert!(0 < opened && 2000 < refused, "{opened} opened, {refused} refused");
    }
}
