//! The one checksum of everything on disk: CRC-32C (Castagnoli). One function, so that a faster one can stand behind it without a
//! change of format.

use raft::ClusterId;

use crate::segment::SegmentName;

/// CRC-32C of the parts, one after the other.
pub(crate) fn checksum(parts: &[&[u8]]) -> u32 {
    parts.iter().fold(0, |checksum, part| crc32c::crc32c_append(checksum, part))
}

/// Where bytes belong. It goes into their checksum first, so that a batch that lands elsewhere, comes from an earlier use of the same
/// blocks or from another cluster's log never passes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Seed {
    pub(crate) cluster_id: ClusterId,
    pub(crate) segment: SegmentName,
    pub(crate) offset: u64,
}

impl Seed {
    /// CRC-32C of cluster id (16 bytes), sequence number (8), offset (8), all little-endian, and then the bytes.
    pub(crate) fn checksum(&self, bytes: &[u8]) -> u32 {
        let mut place = [0; 32];
        place[0..16].copy_from_slice(&self.cluster_id.0.to_le_bytes());
        place[16..24].copy_from_slice(&self.segment.0.to_le_bytes());
        place[24..32].copy_from_slice(&self.offset.to_le_bytes());
        checksum(&[&place, bytes])
    }
}

/// Bytes from hexadecimal digits, for literal tests of formats.
#[cfg(test)]
pub(crate) fn hex(text: &str) -> Vec<u8> {
    text.split_whitespace().map(|digits| u8::from_str_radix(digits, 16).expect("two hexadecimal digits")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_is_crc_32c() {
        assert_eq!(checksum(&[b"123456789"]), 0xe306_9283);
        assert_eq!(checksum(&[b"1234", b"", b"56789"]), 0xe306_9283);
    }

    #[test]
    fn every_part_of_the_place_counts() {
        let seed = Seed { cluster_id: ClusterId(1), segment: SegmentName(2), offset: 3 };
        let others = [Seed { cluster_id: ClusterId(9), ..seed }, Seed { segment: SegmentName(9), ..seed }, Seed { offset: 9, ..seed }];
        for other in others {
            assert_ne!(seed.checksum(b"bytes"), other.checksum(b"bytes"), "{other:?}");
        }
    }
}
