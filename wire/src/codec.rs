//! The few ways a field is written, and their reading. Everything in this crate is made of these:
//!
//! | field                  | bytes                                                                      |
//! |------------------------|----------------------------------------------------------------------------|
//! | 1, 2, 4, 8, 16         | an unsigned integer of so many bytes, little-endian                        |
//! | bool                   | 1: 0 no, 1 yes                                                             |
//! | term, index            | 8: below 2^56                                                              |
//! | node                   | 8: from 1, below 2^56                                                      |
//! | optional               | 1: 0 absent, 1 present; then the field, only if present                    |
//! | bytes                  | 4: their count; then they                                                  |
//! | text                   | 2: the count of its bytes; then they, UTF-8                                |
//! | name, address, version | text of at most `NAME_LEN_MAX`, `ADDRESS_LEN_MAX`, `VERSION_LEN_MAX` bytes |
//! | list                   | 2: the count of its items, at most `MEMBERS_MAX`; then they                |
//!
//! Any other value is an error, and so is a byte left over at the end, except where a table says otherwise.

use raft::{ClusterId, DiskId, Incarnation, Index, NodeId, TERM_AND_INDEX_LIMIT, Term};

use crate::limits::MEMBERS_MAX;

/// Why bytes are not what they should be. `offset` counts from the first byte handed to the decoder.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DecodeError {
    /// A frame of another kind than the connection is at.
    #[error("a {found:?} frame where {expected:?} was expected")]
    WrongKind {
        /// What was due.
        expected: crate::frame::Kind,
        /// What came.
        found: crate::frame::Kind,
    },
    /// The bytes end inside a field.
    #[error("the bytes end inside `{what}` at offset {offset}")]
    Truncated {
        /// The field.
        what: &'static str,
        /// Where it begins.
        offset: usize,
    },
    /// Bytes are left over behind the last field.
    #[error("{count} bytes too many at offset {offset}")]
    TrailingBytes {
        /// Where they begin.
        offset: usize,
        /// How many.
        count: usize,
    },
    /// A length or count above its maximum.
    #[error("`{what}` at offset {offset}: {found} is above the maximum, {max}")]
    TooLong {
        /// The field.
        what: &'static str,
        /// Where it begins.
        offset: usize,
        /// The length or count found.
        found: usize,
        /// What is allowed.
        max: usize,
    },
    /// A value that its field cannot have: a term or index of 2^56 or more, a bool that is neither 0 nor 1, and the like.
    #[error("`{what}` at offset {offset}: {found} is out of range")]
    OutOfRange {
        /// The field.
        what: &'static str,
        /// Where it begins.
        offset: usize,
        /// What was found.
        found: u64,
    },
    /// A version or code that this build does not know; a later one may.
    #[error("`{what}` at offset {offset}: {found} is not known to this version")]
    Unknown {
        /// The field.
        what: &'static str,
        /// Where it begins.
        offset: usize,
        /// What was found.
        found: u64,
    },
    /// Text that is no UTF-8.
    #[error("`{what}` at offset {offset} is not UTF-8")]
    NotUtf8 {
        /// The field.
        what: &'static str,
        /// Where it begins.
        offset: usize,
    },
    /// A greeting that does not begin with the magic: no program of ours.
    #[error("the greeting does not begin with \"kvraft\"")]
    NotKvraft,
    /// A greeting of another version of the protocol.
    #[error("the greeting is of protocol version {found}")]
    ProtocolVersion {
        /// Theirs.
        found: u16,
    },
}

/// Reads fields one after the other; nothing is copied, and no length is believed before the bytes are there.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes, offset: 0 }
    }

    pub(crate) fn offset(&self) -> usize {
        self.offset
    }

    /// Nothing may be left.
    pub(crate) fn finish(self) -> Result<(), DecodeError> {
        match self.bytes.len() - self.offset {
            0 => Ok(()),
            count => Err(DecodeError::TrailingBytes { offset: self.offset, count }),
        }
    }

    /// Whether every byte was read.
    pub(crate) fn is_empty(&self) -> bool {
        self.offset == self.bytes.len()
    }

    /// All that is left.
    pub(crate) fn rest(&mut self) -> &'a [u8] {
        let rest = &self.bytes[self.offset..];
        self.offset = self.bytes.len();
        rest
    }

    pub(crate) fn take(&mut self, what: &'static str, len: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, _) = self.bytes[self.offset..].split_at_checked(len).ok_or(DecodeError::Truncated { what, offset: self.offset })?;
        self.offset += len;
        Ok(taken)
    }

    fn array<const LEN: usize>(&mut self, what: &'static str) -> Result<[u8; LEN], DecodeError> {
        let (taken, _) = self.bytes[self.offset..].split_first_chunk().ok_or(DecodeError::Truncated { what, offset: self.offset })?;
        self.offset += LEN;
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self, what: &'static str) -> Result<u8, DecodeError> {
        self.array(what).map(u8::from_le_bytes)
    }

    pub(crate) fn u16(&mut self, what: &'static str) -> Result<u16, DecodeError> {
        self.array(what).map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self, what: &'static str) -> Result<u32, DecodeError> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        self.array(what).map(u64::from_le_bytes)
    }

    pub(crate) fn u128(&mut self, what: &'static str) -> Result<u128, DecodeError> {
        self.array(what).map(u128::from_le_bytes)
    }

    /// A code from a table: `known` says what it means, if this version knows.
    pub(crate) fn code<T>(&mut self, what: &'static str, known: impl FnOnce(u8) -> Option<T>) -> Result<T, DecodeError> {
        let offset = self.offset;
        let code = self.u8(what)?;
        known(code).ok_or(DecodeError::Unknown { what, offset, found: code.into() })
    }

    pub(crate) fn bool(&mut self, what: &'static str) -> Result<bool, DecodeError> {
        let offset = self.offset;
        match self.u8(what)? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(DecodeError::OutOfRange { what, offset, found: other.into() }),
        }
    }

    fn below_limit(&mut self, what: &'static str, min: u64) -> Result<u64, DecodeError> {
        let offset = self.offset;
        let found = self.u64(what)?;
        if (min..TERM_AND_INDEX_LIMIT).contains(&found) { Ok(found) } else { Err(DecodeError::OutOfRange { what, offset, found }) }
    }

    pub(crate) fn term(&mut self, what: &'static str) -> Result<Term, DecodeError> {
        self.below_limit(what, 0).map(Term)
    }

    pub(crate) fn index(&mut self, what: &'static str) -> Result<Index, DecodeError> {
        self.below_limit(what, 0).map(Index)
    }

    pub(crate) fn node(&mut self, what: &'static str) -> Result<NodeId, DecodeError> {
        self.below_limit(what, 1).map(NodeId)
    }

    pub(crate) fn cluster_id(&mut self) -> Result<ClusterId, DecodeError> {
        self.u128("cluster_id").map(ClusterId)
    }

    pub(crate) fn disk_id(&mut self) -> Result<DiskId, DecodeError> {
        self.u128("disk_id").map(DiskId)
    }

    pub(crate) fn incarnation(&mut self) -> Result<Incarnation, DecodeError> {
        self.u64("incarnation").map(Incarnation)
    }

    pub(crate) fn optional<T>(
        &mut self,
        what: &'static str,
        read: impl FnOnce(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        if self.bool(what)? { read(self).map(Some) } else { Ok(None) }
    }

    pub(crate) fn bytes(&mut self, what: &'static str) -> Result<&'a [u8], DecodeError> {
        let len = self.u32(what)? as usize;
        self.take(what, len)
    }

    pub(crate) fn text(&mut self, what: &'static str, len_max: usize) -> Result<String, DecodeError> {
        let offset = self.offset;
        let len = usize::from(self.u16(what)?);
        if len > len_max {
            return Err(DecodeError::TooLong { what, offset, found: len, max: len_max });
        }
        let bytes = self.take(what, len)?;
        Ok(str::from_utf8(bytes).map_err(|_| DecodeError::NotUtf8 { what, offset })?.to_owned())
    }

    pub(crate) fn list<T>(
        &mut self,
        what: &'static str,
        mut read: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let offset = self.offset;
        let count = usize::from(self.u16(what)?);
        if count > MEMBERS_MAX {
            return Err(DecodeError::TooLong { what, offset, found: count, max: MEMBERS_MAX });
        }
        (0..count).map(|_| read(self)).collect()
    }
}

/// The writing side of `Reader`. A field above its maximum is our own mistake, made long before: it panics.
pub(crate) trait Writer {
    fn put_u8(&mut self, value: u8);
    fn put_u16(&mut self, value: u16);
    fn put_u32(&mut self, value: u32);
    fn put_u64(&mut self, value: u64);
    fn put_u128(&mut self, value: u128);
    fn put_bool(&mut self, value: bool);
    fn put_optional<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T));
    fn put_bytes(&mut self, value: &[u8]);
    fn put_text(&mut self, value: &str, len_max: usize);
    fn put_list<T>(&mut self, items: &[T], write: impl FnMut(&mut Self, &T));
}

impl Writer for Vec<u8> {
    fn put_u8(&mut self, value: u8) {
        self.push(value);
    }

    fn put_u16(&mut self, value: u16) {
        self.extend_from_slice(&value.to_le_bytes());
    }

    fn put_u32(&mut self, value: u32) {
        self.extend_from_slice(&value.to_le_bytes());
    }

    fn put_u64(&mut self, value: u64) {
        self.extend_from_slice(&value.to_le_bytes());
    }

    fn put_u128(&mut self, value: u128) {
        self.extend_from_slice(&value.to_le_bytes());
    }

    fn put_bool(&mut self, value: bool) {
        self.push(value.into());
    }

    fn put_optional<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.put_bool(value.is_some());
        if let Some(value) = value {
            write(self, value);
        }
    }

    fn put_bytes(&mut self, value: &[u8]) {
        self.put_u32(u32::try_from(value.len()).expect("no value comes near 4 GiB"));
        self.extend_from_slice(value);
    }

    fn put_text(&mut self, value: &str, len_max: usize) {
        assert!(value.len() <= len_max, "{} bytes of text where {len_max} are allowed: {value:?}", value.len());
        self.put_u16(u16::try_from(value.len()).expect("every maximum of a text fits"));
        self.extend_from_slice(value.as_bytes());
    }

    fn put_list<T>(&mut self, items: &[T], mut write: impl FnMut(&mut Self, &T)) {
        assert!(items.len() <= MEMBERS_MAX, "a list of {}, at most {MEMBERS_MAX} are allowed", items.len());
        self.put_u16(u16::try_from(items.len()).expect("MEMBERS_MAX fits"));
        for item in items {
            write(self, item);
        }
    }
}
