//! An entry as bytes: a header of 24, then the payload. The leader encodes it once; the same bytes go to its disk, to the followers
//! and to their disks. The index is not in it: a batch or an append names its first index, the rest follow by counting.
//!
//! | offset | size | field       | meaning; all integers are little-endian                                        |
//! |-------:|-----:|-------------|---------------------------------------------------------------------------------|
//! |      0 |    8 | term        | of the leader that created it                                                   |
//! |      8 |    8 | time_ms     | cluster time: the last entry's time plus the leader's monotonic time since      |
//! |     16 |    4 | payload_len | bytes that follow                                                               |
//! |     20 |    1 | kind        | 1 command, 2 no-op, 3 membership                                                |
//! |     21 |    3 | zero        | any other value is an error                                                     |
//!
//! It carries no checksum of its own: the batch or the frame around it does.

use crate::types::{EntryKind, EntryMeta, Index, Term};

/// Bytes of an entry's header.
pub const ENTRY_HEADER_LEN: usize = 24;

/// The fixed part of an encoded entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EntryHeader {
    /// Of the leader that created it.
    pub term: Term,
    /// Cluster time in milliseconds; never falls from one entry to the next.
    pub time_ms: u64,
    /// Bytes of payload behind the header.
    pub payload_len: u32,
    /// What it is to raft.
    pub kind: EntryKind,
}

/// Why bytes are not an entry's header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EntryHeaderError {
    /// Fewer than `ENTRY_HEADER_LEN` bytes.
    Short,
    /// A kind this version does not know.
    Kind(u8),
    /// Bytes that must be zero are not.
    Padding,
}

impl EntryHeader {
    /// The header as bytes.
    pub fn encode(&self) -> [u8; ENTRY_HEADER_LEN] {
        let mut bytes = [0; ENTRY_HEADER_LEN];
        bytes[0..8].copy_from_slice(&self.term.0.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.time_ms.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.payload_len.to_le_bytes());
        bytes[20] = match self.kind {
            EntryKind::Command => 1,
            EntryKind::NoOp => 2,
            EntryKind::Membership => 3,
        };
        bytes
    }

    /// Reads the header at the start of `bytes`; what follows it is not looked at.
    pub fn decode(bytes: &[u8]) -> Result<EntryHeader, EntryHeaderError> {
        let (header, _) = bytes.split_first_chunk::<ENTRY_HEADER_LEN>().ok_or(EntryHeaderError::Short)?;
        let u64_at = |at: usize| u64::from_le_bytes(core::array::from_fn(|i| header[at + i]));
        let kind = match header[20] {
            1 => EntryKind::Command,
            2 => EntryKind::NoOp,
            3 => EntryKind::Membership,
            other => return Err(EntryHeaderError::Kind(other)),
        };
        if header[21..24] != [0; 3] {
            return Err(EntryHeaderError::Padding);
        }
        Ok(EntryHeader {
            term: Term(u64_at(0)),
            time_ms: u64_at(8),
            payload_len: u32::from_le_bytes(core::array::from_fn(|i| header[16 + i])),
            kind,
        })
    }

    /// What raft knows of the entry that has this header and stands at `index`.
    pub fn meta(&self, index: Index) -> EntryMeta {
        EntryMeta { index, term: self.term, payload_len: self.payload_len, kind: self.kind }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_bytes_are_fixed_for_ever() {
        let header = EntryHeader { term: Term(0x0102), time_ms: 0x0304, payload_len: 0x0506, kind: EntryKind::Membership };
        let bytes = [2, 1, 0, 0, 0, 0, 0, 0, 4, 3, 0, 0, 0, 0, 0, 0, 6, 5, 0, 0, 3, 0, 0, 0];
        assert_eq!(header.encode(), bytes);
        assert_eq!(EntryHeader::decode(&bytes), Ok(header));
        assert_eq!(EntryHeader::decode(&bytes[..23]), Err(EntryHeaderError::Short));
        assert_eq!(EntryHeader::decode(&[0; 24]), Err(EntryHeaderError::Kind(0)));
    }
}
