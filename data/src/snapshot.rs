//! A snapshot, `snapshot/` + the index and the term of its last entry, 16 hexadecimal digits each, joined by `-`, + `.snap`: a header,
//! then chunks. What is in the chunks, put together, is the state machine's affair; the same content makes the same file, byte for
//! byte, in whatever slices it was written.
//!
//! | offset | size | field          | meaning; all integers are little-endian               |
//! |-------:|-----:|----------------|---------------------------------------------------------|
//! |      0 |    8 | magic          | `kvraftsn`                                            |
//! |      8 |    4 | format version | 1: of the header and the chunks                       |
//! |     12 |   16 | cluster_id     |                                                       |
//! |     28 |    8 | last_index     | the state is that after this entry                    |
//! |     36 |    8 | last_term      | its term                                              |
//! |     44 |    8 | time_ms        | cluster time at that entry                            |
//! |     52 |    8 | zero           | anything else is an error                             |
//! |     60 |    4 | header_crc     | CRC-32C of bytes 0 to 60                              |
//!
//! A chunk, the first at offset 64, each right behind the one before:
//!
//! | offset | size | field    | meaning                                                                                   |
//! |-------:|-----:|----------|----------------------------------------------------------------------------------------------|
//! |      0 |    4 | body_len | lower 31 bits: 1 to `SNAPSHOT_CHUNK_LEN_MAX`, 0 only in a last one; top bit: the last chunk |
//! |      4 |    4 | crc      | CRC-32C of body_len and body, seeded                                                      |
//! |      8 |      | body     | every chunk but the last is written with `SNAPSHOT_CHUNK_LEN` bytes                       |
//!
//! "Seeded" means that cluster id (16 bytes), last_index (8), last_term (8) and the chunk's offset in the file (8) go into the checksum
//! first: a chunk of another snapshot, of another cluster, or from elsewhere in this one never passes. Behind the last chunk there is
//! nothing.
//!
//! A file gets its name when all of it is on the disk, so a crash leaves a whole snapshot or one that has no name (`.tmp`), which the
//! next start removes. A named one that is not whole is damage.

use raft::{ClusterId, EntryId, Index, Term};

use crate::checksum::checksum;
use crate::limits::{SNAPSHOT_CHUNK_LEN, SNAPSHOT_CHUNK_LEN_MAX};

/// The directory of all snapshots.
pub(crate) const SNAPSHOT_DIR: &str = "snapshot";
/// Bytes of a snapshot's header.
pub(crate) const SNAPSHOT_HEADER_LEN: usize = 64;
const MAGIC: [u8; 8] = *b"kvraftsn";
const FORMAT_VERSION: u32 = 1;
const CHUNK_HEADER_LEN: usize = 8;
const LAST_CHUNK: u32 = 1 << 31;

/// What a snapshot ends with.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct SnapshotMeta {
    /// The last entry that is part of it.
    pub last: EntryId,
    /// Cluster time at that entry, milliseconds.
    pub time_ms: u64,
}

/// A complete snapshot.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct SnapshotInfo {
    /// What it ends with.
    pub meta: SnapshotMeta,
    /// Bytes of the file.
    pub len: u64,
}

/// The path of a complete snapshot, in the data directory.
pub fn snapshot_path(last: EntryId) -> String {
    format!("{SNAPSHOT_DIR}/{:016x}-{:016x}.snap", last.index.0, last.term.0)
}

/// Reads a file name. `None`: no complete snapshot.
pub(crate) fn parse_snapshot_name(file_name: &str) -> Option<EntryId> {
    let (index, term) = file_name.strip_suffix(".snap")?.split_once('-')?;
    let number = |digits| u64::from_str_radix(digits, 16).ok();
    let last = EntryId { index: Index(number(index)?), term: Term(number(term)?) };
    // One name per snapshot: `1-1.snap` is not ours.
    (snapshot_path(last).rsplit('/').next() == Some(file_name)).then_some(last)
}

/// Bytes that are no snapshot of this cluster.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{what} at offset {offset}")]
pub struct SnapshotDamage {
    /// Where in the file: the start of the header or chunk that is wrong, or where the bytes end.
    pub offset: u64,
    /// What it is.
    pub what: SnapshotFault,
}

/// What is wrong with a snapshot.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SnapshotFault {
    /// The header has a bad checksum or magic.
    #[error("bad snapshot header")]
    Header,
    /// Written by another version of the program.
    #[error("snapshot format version {0}, unknown to this program,")]
    Version(u32),
    /// Of another cluster.
    #[error("a snapshot of another cluster, {0},")]
    OtherCluster(ClusterId),
    /// Another snapshot than its name, or whoever sends it, says.
    #[error("a snapshot that ends with {0}")]
    OtherEntry(EntryId),
    /// A chunk has a bad checksum.
    #[error("bad snapshot chunk")]
    Chunk,
    /// The file ends before its last chunk does.
    #[error("the snapshot is cut off")]
    Truncated,
    /// There are bytes behind the last chunk.
    #[error("bytes behind the end of the snapshot")]
    TrailingBytes,
}

/// The checksum of a chunk that stands at `offset`.
fn chunk_crc(cluster_id: ClusterId, last: EntryId, offset: u64, len_field: [u8; 4], body: &[u8]) -> [u8; 4] {
    let mut place = [0; 40];
    place[0..16].copy_from_slice(&cluster_id.0.to_le_bytes());
    place[16..24].copy_from_slice(&last.index.0.to_le_bytes());
    place[24..32].copy_from_slice(&last.term.0.to_le_bytes());
    place[32..40].copy_from_slice(&offset.to_le_bytes());
    checksum(&[&place, &len_field, body]).to_le_bytes()
}

fn encode_header(cluster_id: ClusterId, meta: &SnapshotMeta) -> [u8; SNAPSHOT_HEADER_LEN] {
    let mut bytes = [0; SNAPSHOT_HEADER_LEN];
    bytes[0..8].copy_from_slice(&MAGIC);
    bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    bytes[12..28].copy_from_slice(&cluster_id.0.to_le_bytes());
    bytes[28..36].copy_from_slice(&meta.last.index.0.to_le_bytes());
    bytes[36..44].copy_from_slice(&meta.last.term.0.to_le_bytes());
    bytes[44..52].copy_from_slice(&meta.time_ms.to_le_bytes());
    let header_crc = checksum(&[&bytes[..60]]);
    bytes[60..64].copy_from_slice(&header_crc.to_le_bytes());
    bytes
}

/// Reads the header of a snapshot of `cluster_id`.
pub(crate) fn decode_header(bytes: &[u8; SNAPSHOT_HEADER_LEN], cluster_id: ClusterId) -> Result<SnapshotMeta, SnapshotDamage> {
    let fault = |what| Err(SnapshotDamage { offset: 0, what });
    let u32_at = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
    let u64_at = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
    if bytes[0..8] != MAGIC || u32_at(60) != checksum(&[&bytes[..60]]) {
        return fault(SnapshotFault::Header);
    }
    if u32_at(8) != FORMAT_VERSION {
        return fault(SnapshotFault::Version(u32_at(8)));
    }
    let found = ClusterId(u128::from_le_bytes(std::array::from_fn(|i| bytes[12 + i])));
    if found != cluster_id {
        return fault(SnapshotFault::OtherCluster(found));
    }
    if bytes[52..60] != [0; 8] {
        return fault(SnapshotFault::Header);
    }
    Ok(SnapshotMeta { last: EntryId { index: Index(u64_at(28)), term: Term(u64_at(36)) }, time_ms: u64_at(44) })
}

/// Content to file bytes.
#[derive(Debug)]
pub(crate) struct SnapshotEncoder {
    cluster_id: ClusterId,
    meta: SnapshotMeta,
    /// Of the next byte that comes out.
    offset: u64,
    /// Content that is in no chunk yet. A full chunk waits until more follows, for it may be the last.
    pending: Vec<u8>,
}

impl SnapshotEncoder {
    pub(crate) fn new(cluster_id: ClusterId, meta: SnapshotMeta) -> SnapshotEncoder {
        SnapshotEncoder { cluster_id, meta, offset: 0, pending: Vec::new() }
    }

    pub(crate) fn meta(&self) -> SnapshotMeta {
        self.meta
    }

    /// Takes content, and appends to `out` the file bytes that are certain by now.
    pub(crate) fn push(&mut self, mut content: &[u8], out: &mut Vec<u8>) {
        while !content.is_empty() {
            if self.pending.len() == SNAPSHOT_CHUNK_LEN {
                self.chunk(0, out);
            }
            let (now, later) = content.split_at(content.len().min(SNAPSHOT_CHUNK_LEN - self.pending.len()));
            self.pending.extend_from_slice(now);
            content = later;
        }
    }

    /// Appends the rest of the file.
    pub(crate) fn finish(mut self, out: &mut Vec<u8>) {
        self.chunk(LAST_CHUNK, out);
    }

    fn chunk(&mut self, flag: u32, out: &mut Vec<u8>) {
        if self.offset == 0 {
            out.extend_from_slice(&encode_header(self.cluster_id, &self.meta));
            self.offset = SNAPSHOT_HEADER_LEN as u64;
        }
        let body_len = u32::try_from(self.pending.len()).expect("at most SNAPSHOT_CHUNK_LEN");
        let len_field = (body_len | flag).to_le_bytes();
        out.extend_from_slice(&len_field);
        out.extend_from_slice(&chunk_crc(self.cluster_id, self.meta.last, self.offset, len_field, &self.pending));
        out.extend_from_slice(&self.pending);
        self.offset += (CHUNK_HEADER_LEN + self.pending.len()) as u64;
        self.pending.clear();
    }
}

/// File bytes to content: verifies a snapshot as it comes in, from the disk or from a peer, in pieces of any length. Nothing comes out
/// that has not passed its checksum, and after damage nothing more does.
#[derive(Debug)]
pub struct SnapshotDecoder {
    cluster_id: ClusterId,
    meta: Option<SnapshotMeta>,
    /// Of the first byte in `pending`.
    offset: u64,
    /// The part of a header or chunk whose rest has not come.
    pending: Vec<u8>,
    content: Vec<u8>,
    complete: bool,
    damage: Option<SnapshotDamage>,
}

impl SnapshotDecoder {
    /// For a snapshot of this cluster, from its first byte on.
    pub fn new(cluster_id: ClusterId) -> SnapshotDecoder {
        SnapshotDecoder { cluster_id, meta: None, offset: 0, pending: Vec::new(), content: Vec::new(), complete: false, damage: None }
    }

    /// Takes the next bytes of the file.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<(), SnapshotDamage> {
        while self.damage.is_none() && !bytes.is_empty() {
            // Never holds more than one chunk, whatever length it claims.
            let (now, later) = bytes.split_at(bytes.len().min(self.wanted() - self.pending.len()));
            self.pending.extend_from_slice(now);
            bytes = later;
            self.damage = match self.complete {
                true => Some(SnapshotDamage { offset: self.offset, what: SnapshotFault::TrailingBytes }),
                false => self.take_whole().err(),
            };
        }
        self.damage.map_or(Ok(()), Err)
    }

    /// There are no more bytes.
    pub fn end(&self) -> Result<SnapshotMeta, SnapshotDamage> {
        match (self.damage, self.meta) {
            (Some(damage), _) => Err(damage),
            (None, Some(meta)) if self.complete => Ok(meta),
            _ => Err(SnapshotDamage { offset: self.len(), what: SnapshotFault::Truncated }),
        }
    }

    /// The content that has come out since the last call.
    pub fn take_content(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.content)
    }

    /// What it ends with, once the header is known.
    pub fn meta(&self) -> Option<SnapshotMeta> {
        self.meta
    }

    /// Whether the last chunk was whole, and nothing came behind it.
    pub fn is_complete(&self) -> bool {
        self.complete && self.damage.is_none()
    }

    /// Bytes taken so far.
    pub fn len(&self) -> u64 {
        self.offset + self.pending.len() as u64
    }

    /// Whether nothing was taken yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of the header or chunk at `offset`, as far as it is known how long it is.
    fn wanted(&self) -> usize {
        match (self.meta, self.body_len()) {
            (None, _) => SNAPSHOT_HEADER_LEN,
            (Some(_), None) => CHUNK_HEADER_LEN,
            (Some(_), Some(body_len)) => CHUNK_HEADER_LEN + body_len,
        }
    }

    fn len_field(&self) -> Option<u32> {
        self.pending.first_chunk().map(|field| u32::from_le_bytes(*field))
    }

    /// Of the chunk that has begun.
    fn body_len(&self) -> Option<usize> {
        (self.pending.len() >= CHUNK_HEADER_LEN).then(|| self.len_field().unwrap_or(0) & !LAST_CHUNK).map(|len| len as usize)
    }

    /// Handles what is pending, if it is whole.
    fn take_whole(&mut self) -> Result<(), SnapshotDamage> {
        let damage = |what| Err(SnapshotDamage { offset: self.offset, what });
        if self.meta.is_none() {
            let Some(header) = self.pending.first_chunk() else { return Ok(()) };
            self.meta = Some(decode_header(header, self.cluster_id)?);
        } else {
            let Some(body_len) = self.body_len() else { return Ok(()) };
            let len_field = self.len_field().unwrap_or(0);
            let is_last = len_field & LAST_CHUNK != 0;
            if SNAPSHOT_CHUNK_LEN_MAX < body_len || (body_len == 0 && !is_last) {
                return damage(SnapshotFault::Chunk);
            }
            if self.pending.len() < self.wanted() {
                return Ok(());
            }
            let (head, body) = self.pending.split_at(CHUNK_HEADER_LEN);
            let last = self.meta.map_or(EntryId::default(), |meta| meta.last);
            if head[4..] != chunk_crc(self.cluster_id, last, self.offset, len_field.to_le_bytes(), body) {
                return damage(SnapshotFault::Chunk);
            }
            self.content.extend_from_slice(body);
            self.complete = is_last;
        }
        self.offset += self.pending.len() as u64;
        self.pending.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;

    use super::*;
    use crate::checksum::hex;

    const CLUSTER: ClusterId = ClusterId(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10);
    const META: SnapshotMeta = SnapshotMeta { last: EntryId { index: Index(0x2a), term: Term(7) }, time_ms: 1000 };

    /// The file that holds `content`, written in slices of `slice_len`.
    fn file(meta: SnapshotMeta, content: &[u8], slice_len: usize) -> Vec<u8> {
        let (mut encoder, mut bytes) = (SnapshotEncoder::new(CLUSTER, meta), Vec::new());
        for slice in content.chunks(slice_len) {
            encoder.push(slice, &mut bytes);
        }
        encoder.finish(&mut bytes);
        bytes
    }

    /// What comes out of a file that arrives in pieces of `piece_len`.
    fn decode(bytes: &[u8], piece_len: usize) -> Result<(SnapshotMeta, Vec<u8>), SnapshotDamage> {
        let (mut decoder, mut content) = (SnapshotDecoder::new(CLUSTER), Vec::new());
        let mut pushed = 0;
        for piece in bytes.chunks(piece_len) {
            let result = decoder.push(piece);
            content.extend_from_slice(&decoder.take_content());
            pushed += piece.len() as u64;
            if let Err(damage) = result {
                assert!(!decoder.is_complete());
                assert_eq!((decoder.push(b"more"), decoder.end()), (Err(damage), Err(damage)), "damage is not forgotten");
                assert!(decoder.take_content().is_empty());
                return Err(damage);
            }
            assert_eq!(decoder.len(), pushed);
        }
        assert_eq!(decoder.is_complete(), decoder.end().is_ok());
        Ok((decoder.end()?, content))
    }

    fn content(len: usize) -> Vec<u8> {
        let mut rng = Rng::with_seed(len as u64);
        (0..len).map(|_| rng.u8(..)).collect()
    }

    #[test]
    fn snapshot_bytes_are_fixed_for_ever() {
        let bytes = hex("6b 76 72 61 66 74 73 6e 01 00 00 00 10 0f 0e 0d \
             0c 0b 0a 09 08 07 06 05 04 03 02 01 2a 00 00 00 \
             00 00 00 00 07 00 00 00 00 00 00 00 e8 03 00 00 \
             00 00 00 00 00 00 00 00 00 00 00 00 40 63 a6 f5 \
             03 00 00 80 42 21 00 8f 61 62 63");
        assert_eq!(file(META, b"abc", 1), bytes);
        assert_eq!(decode(&bytes, 1), Ok((META, b"abc".to_vec())));
    }

    #[test]
    fn a_snapshot_without_content_is_a_header_and_a_last_chunk_of_nothing() {
        let bytes = file(META, b"", 1);
        assert_eq!(bytes.len(), SNAPSHOT_HEADER_LEN + CHUNK_HEADER_LEN);
        assert_eq!(decode(&bytes, 7), Ok((META, Vec::new())));
    }

    #[test]
    fn the_same_content_makes_the_same_file_in_whatever_slices() {
        const CHUNK: usize = SNAPSHOT_CHUNK_LEN;
        for len in [1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 77] {
            let content = content(len);
            let whole = file(META, &content, len);
            let chunks = len.div_ceil(CHUNK);
            assert_eq!(whole.len(), SNAPSHOT_HEADER_LEN + chunks * CHUNK_HEADER_LEN + len, "no empty chunk at the end");
            for slice_len in [1, 1000, CHUNK - 1, CHUNK, CHUNK + 1, 5 * CHUNK] {
                assert!(file(META, &content, slice_len) == whole, "{len} bytes in slices of {slice_len}");
            }
            for piece_len in [1, 64, 1000, CHUNK, whole.len()] {
                assert_eq!(decode(&whole, piece_len), Ok((META, content.clone())), "{len} bytes in pieces of {piece_len}");
            }
        }
    }

    #[test]
    fn no_flipped_bit_passes() {
        let whole = file(META, &content(300), 300);
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let damage = decode(&bytes, 50).expect_err("a flipped bit passed");
            let expected = if bit / 8 < SNAPSHOT_HEADER_LEN { 0 } else { SNAPSHOT_HEADER_LEN as u64 };
            // A chunk that claims to be longer looks cut off, one that claims not to be the last as well.
            let offset = if damage.what == SnapshotFault::Truncated { whole.len() as u64 } else { expected };
            assert_eq!(damage.offset, offset, "bit {bit}: {damage}");
        }
    }

    #[test]
    fn a_bit_flipped_in_any_chunk_is_found_in_that_chunk_and_nothing_of_it_comes_out() {
        let (content, chunk) = (content(3 * SNAPSHOT_CHUNK_LEN), SNAPSHOT_CHUNK_LEN + CHUNK_HEADER_LEN);
        let whole = file(META, &content, content.len());
        for number in 0..3 {
            let start = SNAPSHOT_HEADER_LEN + number * chunk;
            for at in [0, 3, 4, 7, 8, 5000, chunk - 1] {
                let mut bytes = whole.clone();
                bytes[start + at] ^= 0x40;
                let mut decoder = SnapshotDecoder::new(CLUSTER);
                let pushed = decoder.push(&bytes);
                assert_eq!(decoder.take_content(), content[..number * SNAPSHOT_CHUNK_LEN], "chunk {number} byte {at}");
                let damage = pushed.and_then(|()| decoder.end().map(|_| ())).expect_err("a flipped bit passed");
                assert!(damage.offset == start as u64 || damage.what == SnapshotFault::Truncated, "chunk {number} byte {at}: {damage}");
            }
        }
    }

    #[test]
    fn a_file_cut_at_any_byte_is_cut_off_there() {
        let whole = file(META, &content(200), 200);
        for len in 0..whole.len() {
            let damage = SnapshotDamage { offset: len as u64, what: SnapshotFault::Truncated };
            assert_eq!(decode(&whole[..len], 9), Err(damage), "cut at {len}");
        }
        // At the end of a chunk, too.
        let whole = file(META, &content(2 * SNAPSHOT_CHUNK_LEN), SNAPSHOT_CHUNK_LEN);
        let len = SNAPSHOT_HEADER_LEN + CHUNK_HEADER_LEN + SNAPSHOT_CHUNK_LEN;
        assert_eq!(decode(&whole[..len], 4096), Err(SnapshotDamage { offset: len as u64, what: SnapshotFault::Truncated }));
    }

    #[test]
    fn bytes_behind_the_end_are_found() {
        let whole = file(META, b"abc", 3);
        let damage = SnapshotDamage { offset: whole.len() as u64, what: SnapshotFault::TrailingBytes };
        assert_eq!(decode(&[&whole[..], &[0]].concat(), 1000), Err(damage));
        assert_eq!(decode(&[&whole[..], &whole[64..]].concat(), 1), Err(damage));
    }

    #[test]
    fn another_cluster_and_a_later_version_are_named_and_not_called_damage() {
        let whole = file(META, b"abc", 3);
        let mut decoder = SnapshotDecoder::new(ClusterId(9));
        assert_eq!(decoder.push(&whole), Err(SnapshotDamage { offset: 0, what: SnapshotFault::OtherCluster(CLUSTER) }));
        assert_eq!(decoder.meta(), None);
        let mut later = whole;
        later[8] = 2;
        let crc = checksum(&[&later[..60]]);
        later[60..64].copy_from_slice(&crc.to_le_bytes());
        let damage = decode(&later, 1000).expect_err("an unknown version");
        assert_eq!(damage, SnapshotDamage { offset: 0, what: SnapshotFault::Version(2) });
        assert_eq!(damage.to_string(), "snapshot format version 2, unknown to this program, at offset 0");
    }

    #[test]
    fn a_chunk_passes_only_where_it_was_written() {
        let (content, chunk) = (content(3 * SNAPSHOT_CHUNK_LEN), SNAPSHOT_CHUNK_LEN + CHUNK_HEADER_LEN);
        let whole = file(META, &content, content.len());
        let at = |number: usize| SNAPSHOT_HEADER_LEN + number * chunk;
        let refused = |bytes: &[u8], number: usize| {
            let damage = SnapshotDamage { offset: at(number) as u64, what: SnapshotFault::Chunk };
            assert_eq!(decode(bytes, 100_000).map(|_| ()), Err(damage));
        };
        let swapped = [&whole[..at(0)], &whole[at(1)..at(2)], &whole[at(0)..at(1)], &whole[at(2)..]].concat();
        refused(&swapped, 0);
        let left_out = [&whole[..at(1)], &whole[at(2)..]].concat();
        refused(&left_out, 1);
        // The same place in another snapshot, of the same content.
        let others = [
            SnapshotMeta { last: EntryId { index: Index(0x2b), ..META.last }, ..META },
            SnapshotMeta { last: EntryId { term: Term(8), ..META.last }, ..META },
        ];
        for other in others {
            let other = file(other, &content, content.len());
            refused(&[&whole[..at(1)], &other[at(1)..]].concat(), 1);
        }
    }

    #[test]
    fn a_chunk_that_claims_too_much_or_nothing_is_refused_before_it_is_held() {
        let header = &file(META, b"", 1)[..SNAPSHOT_HEADER_LEN];
        let too_long = u32::try_from(SNAPSHOT_CHUNK_LEN_MAX).expect("it fits") + 1;
        for len_field in [too_long, !LAST_CHUNK, u32::MAX, 0] {
            let mut decoder = SnapshotDecoder::new(CLUSTER);
            let chunk = [&len_field.to_le_bytes()[..], &[0; 4]].concat();
            let damage = SnapshotDamage { offset: 64, what: SnapshotFault::Chunk };
            assert_eq!(decoder.push(&[header, &chunk].concat()), Err(damage), "{len_field:#x}");
            assert!(decoder.pending.capacity() < 1000);
        }
    }

    #[test]
    fn a_chunk_of_the_longest_accepted_length_passes() {
        let body = content(SNAPSHOT_CHUNK_LEN_MAX);
        let len_field = (u32::try_from(body.len()).expect("it fits") | LAST_CHUNK).to_le_bytes();
        let crc = chunk_crc(CLUSTER, META.last, 64, len_field, &body);
        let bytes = [&encode_header(CLUSTER, &META)[..], &len_field, &crc, &body].concat();
        assert_eq!(decode(&bytes, 10_000), Ok((META, body)));
    }

    #[test]
    fn any_bytes_whatever_are_refused_without_a_panic() {
        let mut rng = Rng::with_seed(3);
        let whole = file(META, &content(5000), 5000);
        for round in 0..2000 {
            let mut bytes = whole.clone();
            for _ in 0..rng.usize(1..4) {
                let at = rng.usize(..bytes.len());
                let len = rng.usize(1..=(bytes.len() - at).min(300));
                match rng.u8(..3) {
                    0 => rng.fill(&mut bytes[at..at + len]),
                    1 => bytes[at..at + len].fill(0xff),
                    _ => drop(bytes.drain(at..at + len)),
                }
                if bytes.is_empty() {
                    break;
                }
            }
            let passed = decode(&bytes, rng.usize(1..6000)).is_ok();
            assert_eq!(passed, bytes == whole, "round {round}");
        }
    }

    #[test]
    fn one_file_name_per_snapshot() {
        assert_eq!(snapshot_path(META.last), "snapshot/000000000000002a-0000000000000007.snap");
        assert_eq!(parse_snapshot_name("000000000000002a-0000000000000007.snap"), Some(META.last));
        let others = [
            "2a-7.snap",
            "000000000000002A-0000000000000007.snap",
            "000000000000002a-0000000000000007.snap.tmp",
            "000000000000002a0000000000000007.snap",
            "incoming.tmp",
            "-.snap",
            "",
        ];
        for other in others {
            assert_eq!(parse_snapshot_name(other), None, "{other}");
        }
    }
}
