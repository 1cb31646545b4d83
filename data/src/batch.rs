//! A batch: what one save writes and one sync makes durable. A header, then the encoded entries (`raft::EntryHeader`) one after the
//! other, then zeros up to a multiple of 8.
//!
//! | offset | size | field           | meaning; all integers are little-endian                                              |
//! |-------:|-----:|-----------------|---------------------------------------------------------------------------------------|
//! |      0 |    4 | header_crc      | CRC-32C of bytes 4 to 64, seeded with cluster, segment, offset                        |
//! |      4 |    4 | body_crc        | of the body, zeros at its end included, seeded alike: a rotten body keeps its identity |
//! |      8 |    4 | body_len        | a multiple of 8, 0 to `BATCH_BODY_LEN_MAX`; 0: no entries, the hard state only        |
//! |     12 |    4 | entry_count     | 0 if and only if `body_len` is                                                        |
//! |     16 |    8 | first_index     | at or below the last index: replaces everything from here; no entries: the next index |
//! |     24 |    8 | last_entry_term | of the log's last entry, counting this batch                                          |
//! |     32 |    8 | term            | hard state                                                                            |
//! |     40 |    8 | voted_for       | hard state; 0: nobody                                                                 |
//! |     48 |    8 | commit          | a hint: everything up to here is committed                                            |
//! |     56 |    4 | kind            | 0: entries; 1: *base*, see below; anything else is no batch of this version           |
//! |     60 |    4 | zero            |                                                                                       |
//!
//! A base batch has no entries. It says that the log begins here: the entry before its first has the index `first_index` - 1 and the term
//! `last_entry_term`, a snapshot holds everything up to there, and what stands in older batches is gone.
//!
//! Batches stand at offsets that are multiples of 8, the first right behind the segment's header, each right behind the one before.
//! "Seeded" means that cluster id (16 bytes), segment sequence (8) and the batch's offset (8) go into the checksum first.
//! What a crash can leave of a batch is told in `recovery`.

use raft::{ClusterId, ENTRY_HEADER_LEN, EntryHeader, HardState, Index, NodeId, TERM_AND_INDEX_LIMIT, Term};

use crate::checksum::Seed;
use crate::disk::nonzero_len;
use crate::error::{BatchDamage, Nonsense};
use crate::limits::BATCH_BODY_LEN_MAX;
use crate::segment::{SEGMENT_HEADER_LEN, SegmentName};

/// Bytes of a batch's header.
pub const BATCH_HEADER_LEN: usize = 64;
/// Batches begin and end at multiples of this.
const ALIGNMENT: usize = 8;

/// What a batch does to the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BatchKind {
    /// Adds entries, in place of those from the first of them on; or none.
    Entries,
    /// Begins the log anew, behind a snapshot.
    Base,
}

/// The fixed part of a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchHeader {
    /// Checksum of the body.
    pub body_crc: u32,
    /// Length of the body, a multiple of 8.
    pub body_len: u32,
    /// Entries in the body.
    pub entry_count: u32,
    /// Index of the first of them; without any, the index that comes next.
    pub first_index: Index,
    /// Term of the log's last entry, counting this batch.
    pub last_entry_term: Term,
    /// Term and vote.
    pub hard_state: HardState,
    /// Everything up to here is committed.
    pub commit_index: Index,
    /// Entries, or a new beginning.
    pub kind: BatchKind,
}

impl BatchHeader {
    /// Bytes from the start of this batch to the start of the next.
    pub fn batch_len(&self) -> u64 {
        BATCH_HEADER_LEN as u64 + u64::from(self.body_len)
    }

    fn encode(&self, seed: &Seed) -> [u8; BATCH_HEADER_LEN] {
        let mut bytes = [0; BATCH_HEADER_LEN];
        bytes[4..8].copy_from_slice(&self.body_crc.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.body_len.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.entry_count.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.first_index.0.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.last_entry_term.0.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.hard_state.term.0.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.hard_state.voted_for.map_or(0, |node| node.0).to_le_bytes());
        bytes[48..56].copy_from_slice(&self.commit_index.0.to_le_bytes());
        bytes[56..60].copy_from_slice(&u32::from(self.kind == BatchKind::Base).to_le_bytes());
        let header_crc = seed.checksum(&bytes[4..]);
        bytes[0..4].copy_from_slice(&header_crc.to_le_bytes());
        bytes
    }

    /// Reads a header. `None`: the checksum, or something that no correct writer would put under a correct checksum.
    pub(crate) fn decode(bytes: &[u8; BATCH_HEADER_LEN], seed: &Seed) -> Option<BatchHeader> {
        let u32_at = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        let u64_at = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        let (body_len, entry_count) = (u32_at(8), u32_at(12));
        // Cheap questions first: the search behind a bad batch asks them at every eighth byte.
        let kind = match u64_at(56) {
            0 => BatchKind::Entries,
            1 if body_len == 0 => BatchKind::Base,
            _ => return None,
        };
        let plausible =
            body_len <= BATCH_BODY_LEN_MAX && (body_len as usize).is_multiple_of(ALIGNMENT) && (body_len == 0) == (entry_count == 0);
        if !plausible || u32_at(0) != seed.checksum(&bytes[4..]) {
            return None;
        }
        Some(BatchHeader {
            body_crc: u32_at(4),
            body_len,
            entry_count,
            first_index: Index(u64_at(16)),
            last_entry_term: Term(u64_at(24)),
            hard_state: HardState {
                term: Term(u64_at(32)),
                voted_for: match u64_at(40) {
                    0 => None,
                    node => Some(NodeId(node)),
                },
            },
            commit_index: Index(u64_at(48)),
            kind,
        })
    }
}

/// What a batch says besides its entries.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchFields {
    pub(crate) kind: BatchKind,
    pub(crate) first_index: Index,
    pub(crate) last_entry_term: Term,
    pub(crate) hard_state: HardState,
    pub(crate) commit_index: Index,
}

/// Length of the body that holds entries of so many bytes.
pub(crate) fn body_len(entry_bytes: u64) -> u64 {
    entry_bytes.next_multiple_of(ALIGNMENT as u64)
}

/// Encodes a batch over what `out` held. The entries must fit in a body.
pub(crate) fn encode<'a>(out: &mut Vec<u8>, seed: &Seed, fields: &BatchFields, entries: impl Iterator<Item = &'a [u8]>) {
    out.clear();
    out.resize(BATCH_HEADER_LEN, 0);
    let mut entry_count = 0;
    for entry in entries {
        out.extend_from_slice(entry);
        entry_count += 1;
    }
    out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
    let body = &out[BATCH_HEADER_LEN..];
    let header = BatchHeader {
        body_crc: seed.checksum(body),
        body_len: u32::try_from(body.len()).expect("the caller checks it against BATCH_BODY_LEN_MAX"),
        entry_count,
        first_index: fields.first_index,
        last_entry_term: fields.last_entry_term,
        hard_state: fields.hard_state,
        commit_index: fields.commit_index,
        kind: fields.kind,
    };
    out[..BATCH_HEADER_LEN].copy_from_slice(&header.encode(seed));
}

/// An entry in a body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BodyEntry<'a> {
    pub(crate) header: EntryHeader,
    /// Header and payload.
    pub(crate) encoded: &'a [u8],
    /// From the start of the body.
    pub(crate) offset: usize,
}

impl<'a> BodyEntry<'a> {
    pub(crate) fn payload(&self) -> &'a [u8] {
        &self.encoded[ENTRY_HEADER_LEN..]
    }
}

/// The entries of a body that passed its checksum.
pub(crate) fn entries<'a>(header: &BatchHeader, body: &'a [u8]) -> Result<Vec<BodyEntry<'a>>, Nonsense> {
    let mut entries = Vec::new();
    let mut offset = 0;
    for _ in 0..header.entry_count {
        let rest = body.get(offset..).ok_or(Nonsense::Entries)?;
        let entry = EntryHeader::decode(rest).map_err(|_| Nonsense::Entries)?;
        let encoded = rest.get(..ENTRY_HEADER_LEN + entry.payload_len as usize).ok_or(Nonsense::Entries)?;
        entries.push(BodyEntry { header: entry, encoded, offset });
        offset += encoded.len();
    }
    match body.get(offset..) {
        Some(padding) if padding.len() < ALIGNMENT && padding.iter().all(|byte| *byte == 0) => Ok(entries),
        _ => Err(Nonsense::Entries),
    }
}

/// The end of the log so far: what a batch must fit to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tip {
    /// No batch replaces anything at or below this.
    pub(crate) base_index: Index,
    pub(crate) last_index: Index,
    pub(crate) hard_state: HardState,
}

impl Tip {
    /// Whether a batch may follow. What `save` writes must pass, or the log could not be opened again.
    pub(crate) fn admits(&self, fields: &BatchFields, entry_count: u32) -> Result<(), Nonsense> {
        let BatchFields { kind, first_index, last_entry_term, hard_state, commit_index } = *fields;
        let last_index = first_index.0.saturating_add(u64::from(entry_count));
        if [last_index, last_entry_term.0, hard_state.term.0, commit_index.0].iter().any(|number| *number >= TERM_AND_INDEX_LIMIT) {
            return Err(Nonsense::Range);
        }
        let next = self.last_index.next();
        let follows = match kind {
            BatchKind::Entries => first_index <= next && (entry_count > 0 || first_index == next),
            BatchKind::Base => true,
        };
        if !follows || first_index <= self.base_index {
            return Err(Nonsense::Gap);
        }
        if hard_state.term < self.hard_state.term {
            return Err(Nonsense::TermFell);
        }
        let voted = self.hard_state.voted_for;
        if hard_state.term == self.hard_state.term && voted.is_some() && hard_state.voted_for != voted {
            return Err(Nonsense::VoteChanged);
        }
        if last_entry_term > hard_state.term {
            return Err(Nonsense::EntryTermAhead);
        }
        Ok(())
    }
}

/// What stands in a segment, as far as it can be followed.
#[derive(Debug)]
pub(crate) struct Walk {
    /// The good batches from the front, with their offsets.
    pub(crate) batches: Vec<(u64, BatchHeader)>,
    /// Where the last of them ends.
    pub(crate) end: u64,
    /// Whatever is behind that and not zero.
    pub(crate) bad: Option<BadTail>,
}

/// Bytes behind the good batches of a segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BadTail {
    pub(crate) damage: BatchDamage,
    /// The header, if only the body is bad.
    pub(crate) header: Option<BatchHeader>,
    /// What proves that it had been synced: the next good header or, behind a batch of known length, any byte.
    pub(crate) next_offset: Option<u64>,
    /// Behind the last byte that is not zero.
    pub(crate) nonzero_end: u64,
}

/// Follows the batches of a segment, whose bytes these are from its start on.
pub(crate) fn walk(bytes: &[u8], cluster_id: ClusterId, segment: SegmentName) -> Walk {
    walk_from(bytes, SEGMENT_HEADER_LEN, cluster_id, segment)
}

/// Follows the batches from `start` on, where one should begin.
pub(crate) fn walk_from(bytes: &[u8], start: usize, cluster_id: ClusterId, segment: SegmentName) -> Walk {
    let seed = |offset: usize| Seed { cluster_id, segment, offset: offset as u64 };
    let header_at = |offset: usize| {
        let header = bytes.get(offset..)?.first_chunk::<BATCH_HEADER_LEN>()?;
        BatchHeader::decode(header, &seed(offset))
    };
    let nonzero_end = nonzero_len(bytes);
    let mut batches = Vec::new();
    let mut at = start;
    while at < nonzero_end {
        let header = header_at(at);
        // A length from a header that passed its checksum still has to fit.
        let batch = header.and_then(|header| Some((header, bytes.get(at + BATCH_HEADER_LEN..)?.get(..header.body_len as usize)?)));
        if let Some((header, body)) = batch
            && seed(at).checksum(body) == header.body_crc
        {
            batches.push((at as u64, header));
            at += BATCH_HEADER_LEN + body.len();
            continue;
        }
        // What a good header claims is its own, though its bytes may look like anything. Without one every place is searched.
        let behind = at + header.map_or(ALIGNMENT, |header| BATCH_HEADER_LEN + header.body_len as usize);
        let next_offset = match header {
            // One torn batch leaves nothing behind its own end: whatever is there was written after it was synced.
            Some(_) => (behind..nonzero_end).find(|at| bytes[*at] != 0).map(|at| at - at % ALIGNMENT),
            None => (behind..nonzero_end).step_by(ALIGNMENT).find(|at| header_at(*at).is_some()),
        };
        let damage = match header {
            Some(_) => BatchDamage::Body,
            None if bytes[at..].iter().take(BATCH_HEADER_LEN).all(|byte| *byte == 0) => BatchDamage::Garbage,
            None => BatchDamage::Header,
        };
        let bad = BadTail { damage, header, next_offset: next_offset.map(|at| at as u64), nonzero_end: nonzero_end as u64 };
        return Walk { batches, end: at as u64, bad: Some(bad) };
    }
    Walk { batches, end: at as u64, bad: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checksum::hex;

    const SEED: Seed = Seed { cluster_id: ClusterId(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10), segment: SegmentName(0x1f), offset: 0x140 };

    fn batch(fields: &BatchFields, entries: &[&[u8]]) -> Vec<u8> {
        let mut bytes = vec![0xee; 7]; // what stood in the buffer before must not matter
        encode(&mut bytes, &SEED, fields, entries.iter().copied());
        bytes
    }

    fn decoded(bytes: &[u8]) -> Option<BatchHeader> {
        BatchHeader::decode(bytes.first_chunk()?, &SEED)
    }

    fn one_entry() -> (BatchFields, Vec<u8>) {
        let header = EntryHeader { term: Term(7), time_ms: 1000, payload_len: 3, kind: raft::EntryKind::Command };
        let fields = BatchFields {
            kind: BatchKind::Entries,
            first_index: Index(9),
            last_entry_term: Term(7),
            hard_state: HardState { term: Term(8), voted_for: Some(NodeId(3)) },
            commit_index: Index(6),
        };
        (fields, [&header.encode()[..], b"abc"].concat())
    }

    #[test]
    fn batch_bytes_are_fixed_for_ever() {
        let bytes = hex("fa 73 a2 44 0f 3f 84 47 20 00 00 00 01 00 00 00 \
             09 00 00 00 00 00 00 00 07 00 00 00 00 00 00 00 \
             08 00 00 00 00 00 00 00 03 00 00 00 00 00 00 00 \
             06 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 \
             07 00 00 00 00 00 00 00 e8 03 00 00 00 00 00 00 \
             03 00 00 00 01 00 00 00 61 62 63 00 00 00 00 00");
        let (fields, entry) = one_entry();
        assert_eq!(batch(&fields, &[&entry]), bytes);
        let header = decoded(&bytes).expect("the literal is whole");
        assert_eq!((header.body_len, header.entry_count, header.batch_len()), (32, 1, 96));
        assert_eq!((header.first_index, header.last_entry_term), (fields.first_index, fields.last_entry_term));
        assert_eq!((header.hard_state, header.commit_index), (fields.hard_state, fields.commit_index));
        assert_eq!(SEED.checksum(&bytes[64..]), header.body_crc);
        let entries = entries(&header, &bytes[64..]).expect("it makes sense");
        assert_eq!(entries.iter().map(|entry| entry.encoded).collect::<Vec<_>>(), [&entry[..]]);
        assert_eq!(entries[0].payload(), b"abc");
    }

    #[test]
    fn seal_bytes_are_fixed_for_ever() {
        let bytes = hex("5a 83 ba 0a e6 c8 8d 48 00 00 00 00 00 00 00 00 \
             0a 00 00 00 00 00 00 00 07 00 00 00 00 00 00 00 \
             08 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 \
             09 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00");
        let hard_state = HardState { term: Term(8), voted_for: None };
        let fields =
            BatchFields { kind: BatchKind::Entries, first_index: Index(10), last_entry_term: Term(7), hard_state, commit_index: Index(9) };
        assert_eq!(batch(&fields, &[]), bytes);
        assert_eq!(decoded(&bytes).map(|header| (header.body_len, header.hard_state)), Some((0, hard_state)));
    }

    #[test]
    fn base_bytes_are_fixed_for_ever() {
        let bytes = hex("8a 1a 7f 9a e6 c8 8d 48 00 00 00 00 00 00 00 00 \
             2b 00 00 00 00 00 00 00 07 00 00 00 00 00 00 00 \
             08 00 00 00 00 00 00 00 02 00 00 00 00 00 00 00 \
             2a 00 00 00 00 00 00 00 01 00 00 00 00 00 00 00");
        let fields = BatchFields {
            kind: BatchKind::Base,
            first_index: Index(43),
            last_entry_term: Term(7),
            hard_state: HardState { term: Term(8), voted_for: Some(NodeId(2)) },
            commit_index: Index(42),
        };
        assert_eq!(batch(&fields, &[]), bytes);
        assert_eq!(decoded(&bytes).map(|header| (header.kind, header.first_index)), Some((BatchKind::Base, Index(43))));
    }

    #[test]
    fn a_kind_that_is_not_known_is_no_batch() {
        let (fields, entry) = one_entry();
        let with_kind = |mut bytes: Vec<u8>, at: usize, value| {
            bytes[at] = value;
            let crc = SEED.checksum(&bytes[4..64]);
            bytes[0..4].copy_from_slice(&crc.to_le_bytes());
            decoded(&bytes).map(|header| header.kind)
        };
        let (empty, with_entries) = (batch(&fields, &[]), batch(&fields, &[&entry]));
        assert_eq!(with_kind(empty.clone(), 56, 1), Some(BatchKind::Base));
        assert_eq!(with_kind(empty.clone(), 56, 2), None);
        assert_eq!(with_kind(empty.clone(), 59, 1), None);
        assert_eq!(with_kind(empty, 60, 1), None, "kept for what may come");
        assert_eq!(with_kind(with_entries.clone(), 56, 0), Some(BatchKind::Entries));
        assert_eq!(with_kind(with_entries, 56, 1), None, "a base has no entries");
    }

    #[test]
    fn no_flipped_bit_passes() {
        let (fields, entry) = one_entry();
        for whole in [batch(&fields, &[&entry]), batch(&BatchFields { kind: BatchKind::Base, ..fields }, &[])] {
            no_flipped_bit_of(&whole);
        }
    }

    fn no_flipped_bit_of(whole: &[u8]) {
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let passes = decoded(&bytes).is_some_and(|header| header.body_crc == SEED.checksum(&bytes[64..]));
            assert!(!passes, "bit {bit}");
        }
    }

    #[test]
    fn a_batch_passes_only_where_it_was_written() {
        let (fields, entry) = one_entry();
        let whole = batch(&fields, &[&entry]);
        let header = decoded(&whole).expect("in its place it passes");
        let elsewhere = [
            Seed { offset: SEED.offset + 8, ..SEED },
            Seed { segment: SEED.segment.next(), ..SEED },
            Seed { cluster_id: ClusterId(1), ..SEED },
        ];
        for seed in elsewhere {
            assert_eq!(BatchHeader::decode(whole.first_chunk().expect("64 bytes"), &seed), None, "{seed:?}");
            assert_ne!(seed.checksum(&whole[64..]), header.body_crc, "{seed:?}: a body alone");
        }
    }

    #[test]
    fn bodies_that_are_not_what_the_header_says_make_no_sense() {
        let (fields, entry) = one_entry();
        let whole = batch(&fields, &[&entry, &entry]);
        let header = decoded(&whole).expect("it is whole");
        let body = &whole[64..];
        assert_eq!(entries(&header, body).map(|entries| entries.len()), Ok(2));
        let other_count = |entry_count| BatchHeader { entry_count, ..header };
        assert_eq!(entries(&other_count(1), body).err(), Some(Nonsense::Entries), "bytes are left over");
        assert_eq!(entries(&other_count(3), body).err(), Some(Nonsense::Entries), "bytes are missing");
        assert_eq!(entries(&other_count(u32::MAX), body).err(), Some(Nonsense::Entries), "an absurd count");
        for (offset, value, what) in
            [(16, 0xff, "a long entry"), (19, 0xff, "an absurd length"), (20, 9, "an unknown kind"), (55, 1, "padding")]
        {
            let mut other = body.to_vec();
            other[offset] = value;
            assert_eq!(entries(&header, &other).err(), Some(Nonsense::Entries), "{what}");
        }
    }

    #[test]
    fn only_a_batch_that_can_follow_is_admitted() {
        let vote = |term, node: u64| HardState { term: Term(term), voted_for: (node > 0).then_some(NodeId(node)) };
        let tip = Tip { base_index: Index(2), last_index: Index(9), hard_state: vote(5, 1) };
        let fields = BatchFields {
            kind: BatchKind::Entries,
            first_index: Index(10),
            last_entry_term: Term(5),
            hard_state: vote(5, 1),
            commit_index: Index(9),
        };
        let admits = |fields: BatchFields, entry_count| tip.admits(&fields, entry_count);
        let first = |index| BatchFields { first_index: Index(index), ..fields };
        let state = |hard_state| BatchFields { hard_state, ..fields };
        assert_eq!(admits(fields, 1), Ok(()));
        assert_eq!(admits(fields, 0), Ok(()));
        let base = |index| BatchFields { kind: BatchKind::Base, ..first(index) };
        assert_eq!(admits(base(500), 0), Ok(()), "a base may leave a gap");
        assert_eq!(admits(base(4), 0), Ok(()), "and end the log before its end");
        assert_eq!(admits(base(2), 0), Err(Nonsense::Gap), "but not go down");
        assert_eq!(admits(BatchFields { hard_state: vote(4, 1), ..base(500) }, 0), Err(Nonsense::TermFell));
        assert_eq!(admits(first(3), 1), Ok(()), "replaces everything above the base");
        assert_eq!(admits(state(vote(6, 0)), 0), Ok(()), "a new term begins without a vote");
        assert_eq!(admits(first(11), 1), Err(Nonsense::Gap));
        assert_eq!(admits(first(2), 1), Err(Nonsense::Gap), "at the base");
        assert_eq!(admits(first(9), 0), Err(Nonsense::Gap), "replaces by nothing");
        assert_eq!(admits(state(vote(4, 1)), 1), Err(Nonsense::TermFell));
        assert_eq!(admits(state(vote(5, 2)), 1), Err(Nonsense::VoteChanged));
        assert_eq!(admits(state(vote(5, 0)), 1), Err(Nonsense::VoteChanged));
        assert_eq!(admits(BatchFields { last_entry_term: Term(6), ..fields }, 1), Err(Nonsense::EntryTermAhead));
        assert_eq!(admits(first(u64::MAX), 3), Err(Nonsense::Range));
        assert_eq!(admits(state(vote(u64::MAX, 1)), 1), Err(Nonsense::Range));
        assert_eq!(admits(BatchFields { commit_index: Index(1 << 56), ..fields }, 1), Err(Nonsense::Range));
    }
}
