//! A segment of the log, `log/` + its sequence number as 16 hexadecimal digits + `.seg`: a header, then batches, then zeros.
//!
//! | offset | size | field          | meaning; all integers are little-endian                       |
//! |-------:|-----:|----------------|----------------------------------------------------------------|
//! |      0 |    8 | magic          | `kvraftsg`                                                    |
//! |      8 |    4 | format version | 1: of the segment and the batches in it                       |
//! |     12 |   16 | cluster_id     |                                                                |
//! |     28 |    8 | sequence       | as in the name; the first segment of a new directory is 1     |
//! |     36 |    8 | size           | of the whole file, a multiple of 8                            |
//! |     44 |   16 | zero           | anything else is an error                                     |
//! |     60 |    4 | header_crc     | CRC-32C of bytes 0 to 60                                      |
//!
//! A segment is written ahead: zeros first, slice by slice; they are synced; then the header, synced; then the *next* segment's file is
//! created, empty, and the directory synced; only then may a batch be written here. So while a segment holds a batch, the file after
//! it exists: no file of the log can vanish unnoticed, the last one included. And a write into zeros that are on the disk already
//! changes no metadata, so its sync waits for data alone. The oldest go, one after the other, when a snapshot covers what they hold; if one
//! goes that was still needed, the log begins above the end of the newest snapshot, which is noticed too.
//!
//! A batch longer than the segment made ready for it has that made longer: the empty file behind is removed first, durably, for the
//! header must be written again, and a crash may tear it. A segment that holds no batch may thus have no good header if, and only if,
//! no file stands behind it.

use std::fmt;

use raft::ClusterId;

use crate::checksum::checksum;
use crate::error::Damage;
use crate::limits::{SEGMENT_GROWTH_MAX, SEGMENT_LEN_MAX, SEGMENT_LEN_MIN, SEQUENCE_MAX};

/// Bytes of a segment's header.
pub const SEGMENT_HEADER_LEN: usize = 64;
/// The directory of all segments.
pub(crate) const LOG_DIR: &str = "log";
const MAGIC: [u8; 8] = *b"kvraftsg";
const FORMAT_VERSION: u32 = 1;

/// Which segment: its sequence number. Shown as its path in the data directory.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SegmentName(pub u64);

impl SegmentName {
    pub(crate) const FIRST: SegmentName = SegmentName(1);

    pub(crate) fn next(self) -> SegmentName {
        SegmentName(self.0 + 1)
    }

    pub(crate) fn prev(self) -> Option<SegmentName> {
        (self > SegmentName::FIRST).then(|| SegmentName(self.0 - 1))
    }

    pub(crate) fn path(self) -> String {
        self.to_string()
    }

    /// Reads a file name. `None`: no segment, leave it alone.
    pub(crate) fn parse(file_name: &str) -> Option<SegmentName> {
        let digits = file_name.strip_suffix(".seg")?;
        let sequence = u64::from_str_radix(digits, 16).ok().filter(|sequence| (1..=SEQUENCE_MAX).contains(sequence))?;
        let name = SegmentName(sequence);
        // One name per number: `1.seg` and `+000000000000001.seg` are not ours.
        (name.path().strip_prefix("log/") == Some(file_name)).then_some(name)
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{LOG_DIR}/{:016x}.seg", self.0)
    }
}

/// The first bytes of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentHeader {
    /// Whose log it is.
    pub cluster_id: ClusterId,
    /// Which segment of it.
    pub name: SegmentName,
    /// Bytes of the whole file.
    pub size: u64,
}

/// Why a segment's header cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum HeaderError {
    Damaged(Damage),
    Version(u32),
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; SEGMENT_HEADER_LEN] {
        let mut bytes = [0; SEGMENT_HEADER_LEN];
        bytes[0..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[12..28].copy_from_slice(&self.cluster_id.0.to_le_bytes());
        bytes[28..36].copy_from_slice(&self.name.0.to_le_bytes());
        bytes[36..44].copy_from_slice(&self.size.to_le_bytes());
        let header_crc = checksum(&[&bytes[..60]]);
        bytes[60..64].copy_from_slice(&header_crc.to_le_bytes());
        bytes
    }

    /// Whose log a file belongs to, if its header can be read at all.
    pub(crate) fn cluster_of(file: &[u8]) -> Option<ClusterId> {
        let bytes = file.first_chunk::<SEGMENT_HEADER_LEN>()?;
        let intact = bytes[0..8] == MAGIC && bytes[60..64] == checksum(&[&bytes[..60]]).to_le_bytes();
        intact.then(|| ClusterId(u128::from_le_bytes(std::array::from_fn(|i| bytes[12 + i]))))
    }

    /// Reads the header of a file found under `name` in the log of `cluster_id`.
    pub(crate) fn decode(file: &[u8], cluster_id: ClusterId, name: SegmentName) -> Result<SegmentHeader, HeaderError> {
        SegmentHeader::decode_head(file, file.len() as u64, cluster_id, name)
    }

    /// The same, of what a file of `file_len` bytes begins with.
    pub(crate) fn decode_head(head: &[u8], file_len: u64, cluster_id: ClusterId, name: SegmentName) -> Result<SegmentHeader, HeaderError> {
        let damaged = |damage| Err(HeaderError::Damaged(damage));
        let Some(bytes) = head.first_chunk::<SEGMENT_HEADER_LEN>() else { return damaged(Damage::SegmentHeader) };
        let u32_at = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        let u64_at = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        if bytes[0..8] != MAGIC || u32_at(60) != checksum(&[&bytes[..60]]) {
            return damaged(Damage::SegmentHeader);
        }
        if u32_at(8) != FORMAT_VERSION {
            return Err(HeaderError::Version(u32_at(8)));
        }
        let found = ClusterId(u128::from_le_bytes(std::array::from_fn(|i| bytes[12 + i])));
        if found != cluster_id {
            return damaged(Damage::OtherCluster(found));
        }
        if u64_at(28) != name.0 {
            return damaged(Damage::OtherSequence(u64_at(28)));
        }
        let size = u64_at(36);
        if bytes[44..60] != [0; 16] || !size.is_multiple_of(8) || !(SEGMENT_LEN_MIN..=SEGMENT_LEN_MAX).contains(&size) {
            return damaged(Damage::SegmentHeader);
        }
        if file_len != size {
            return damaged(Damage::Length { expected: size });
        }
        Ok(SegmentHeader { cluster_id, name, size })
    }
}

/// A segment that is open.
#[derive(Debug)]
pub(crate) struct Segment<F> {
    pub(crate) name: SegmentName,
    pub(crate) size: u64,
    pub(crate) file: F,
}

/// Where an entry stands. 16 bytes, for there is one per entry of the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    segment: u32,
    offset: u32,
    pub(crate) len: u32,
    /// Of the encoded entry, so that what is read back years later is not passed on unseen.
    pub(crate) crc: u32,
}

impl Place {
    pub(crate) fn new(segment: SegmentName, offset: u64, encoded: &[u8]) -> Place {
        let small = |number: u64| u32::try_from(number).expect("SEQUENCE_MAX and SEGMENT_LEN_MAX fit in 32 bits");
        Place { segment: small(segment.0), offset: small(offset), len: small(encoded.len() as u64), crc: checksum(&[encoded]) }
    }

    pub(crate) fn segment(&self) -> SegmentName {
        SegmentName(u64::from(self.segment))
    }

    pub(crate) fn offset(&self) -> u64 {
        u64::from(self.offset)
    }

    /// Whether `other` stands right behind this one.
    pub(crate) fn touches(&self, other: &Place) -> bool {
        self.segment == other.segment && self.offset() + u64::from(self.len) == other.offset()
    }
}

/// Length of new segments for a log of at most so many bytes.
pub(crate) fn segment_len(log_bytes_max: u64) -> u64 {
    (log_bytes_max / 4).clamp(SEGMENT_LEN_MIN, SEGMENT_LEN_MAX) & !(SEGMENT_LEN_MIN - 1)
}

/// Length of the segment behind one of `current_len`, when they are to be of `segment_len` in the end.
pub(crate) fn next_segment_len(segment_len: u64, current_len: u64) -> u64 {
    segment_len.min(current_len.next_multiple_of(SEGMENT_LEN_MIN) * SEGMENT_GROWTH_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checksum::hex;

    const CLUSTER: ClusterId = ClusterId(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10);
    const NAME: SegmentName = SegmentName(0x1f);

    fn file() -> (SegmentHeader, Vec<u8>) {
        let header = SegmentHeader { cluster_id: CLUSTER, name: NAME, size: 16 << 20 };
        let mut file = header.encode().to_vec();
        file.resize(16 << 20, 0);
        (header, file)
    }

    #[test]
    fn segment_header_bytes_are_fixed_for_ever() {
        let bytes = hex("6b 76 72 61 66 74 73 67 01 00 00 00 10 0f 0e 0d \
             0c 0b 0a 09 08 07 06 05 04 03 02 01 1f 00 00 00 \
             00 00 00 00 00 00 00 01 00 00 00 00 00 00 00 00 \
             00 00 00 00 00 00 00 00 00 00 00 00 a5 55 d4 1a");
        let (header, file) = file();
        assert_eq!(header.encode()[..], bytes);
        assert_eq!(SegmentHeader::decode(&file, CLUSTER, NAME), Ok(header));
        assert_eq!(SegmentHeader::cluster_of(&file), Some(CLUSTER));
    }

    #[test]
    fn a_segment_in_the_wrong_place_or_of_the_wrong_length_is_told_apart() {
        let (_, mut file) = file();
        let damage = |result: Result<SegmentHeader, HeaderError>| match result {
            Err(HeaderError::Damaged(damage)) => damage,
            other => panic!("{other:?}"),
        };
        assert_eq!(damage(SegmentHeader::decode(&file, ClusterId(1), NAME)), Damage::OtherCluster(CLUSTER));
        assert_eq!(damage(SegmentHeader::decode(&file, CLUSTER, SegmentName(7))), Damage::OtherSequence(0x1f));
        file.push(0);
        assert_eq!(damage(SegmentHeader::decode(&file, CLUSTER, NAME)), Damage::Length { expected: 16 << 20 });
        file.truncate(100);
        assert_eq!(damage(SegmentHeader::decode(&file, CLUSTER, NAME)), Damage::Length { expected: 16 << 20 });
        file.truncate(63);
        assert_eq!(damage(SegmentHeader::decode(&file, CLUSTER, NAME)), Damage::SegmentHeader);
    }

    #[test]
    fn a_later_format_is_named_and_not_called_damage() {
        let (_, mut file) = file();
        file[8] = 2;
        let crc = checksum(&[&file[..60]]);
        file[60..64].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(SegmentHeader::decode(&file, CLUSTER, NAME), Err(HeaderError::Version(2)));
    }

    #[test]
    fn one_file_name_per_segment() {
        assert_eq!(NAME.path(), "log/000000000000001f.seg");
        assert_eq!(SegmentName::parse("000000000000001f.seg"), Some(NAME));
        let others = ["1f.seg", "000000000000001F.seg", "+00000000000001f.seg", "0000000000000000.seg", "ffffffffffffffff.seg", "x", ""];
        for other in others {
            assert_eq!(SegmentName::parse(other), None, "{other}");
        }
    }

    #[test]
    fn segments_are_a_quarter_of_the_log_within_limits() {
        let sizes =
            [(0, 4 << 10), (16 << 10, 4 << 10), (1 << 20, 256 << 10), (100_000, 24_576), (64 << 20, 16 << 20), (u64::MAX, 64 << 20)];
        for (log_bytes_max, expected) in sizes {
            assert_eq!(segment_len(log_bytes_max), expected, "{log_bytes_max}");
        }
    }

    #[test]
    fn segments_grow_to_their_length_by_steps() {
        let mut lens = vec![crate::limits::FIRST_SEGMENT_LEN];
        while *lens.last().expect("there is one") < 16 << 20 {
            lens.push(next_segment_len(16 << 20, *lens.last().expect("there is one")));
        }
        assert_eq!(lens, [64 << 10, 512 << 10, 4 << 20, 16 << 20]);
        assert_eq!(next_segment_len(4 << 10, 64 << 10), 4 << 10, "a small log has small segments at once");
    }
}
