//! What a caller asks for, and what is refused before a byte is sent.

use wire::{Expect, Op, RejectedReason};

use crate::core::Cursor;

/// One call: a write, a linearizable read, or a question to one node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ask {
    /// Replace.
    Put {
        /// Which key.
        key: Vec<u8>,
        /// Its value from now on.
        value: Vec<u8>,
    },
    /// Add to the end; a missing key is an empty value.
    Append {
        /// Which key.
        key: Vec<u8>,
        /// What to add.
        value: Vec<u8>,
    },
    /// Remove.
    Delete {
        /// Which key.
        key: Vec<u8>,
    },
    /// Replace if the key is as expected.
    Cas {
        /// Which key.
        key: Vec<u8>,
        /// What must be there.
        expect: Expectation,
        /// Its value from then on.
        value: Vec<u8>,
    },
    /// Read.
    Get {
        /// Which key.
        key: Vec<u8>,
    },
    /// Read what some node has applied, whoever leads: possibly old.
    GetStale {
        /// Which key.
        key: Vec<u8>,
    },
    /// Read many keys at one point in time: the first page.
    Scan(Range),
    /// The next page. Only the node that gave the page before has it: nobody else is asked, and it may be as slow as the timeout allows.
    ScanNext {
        /// From the page before.
        cursor: Cursor,
    },
    /// How is the node at this address? Asked there only, and once: any failure ends it.
    Status {
        /// `HOST:PORT`.
        address: String,
    },
}

/// What a [`Ask::Cas`] expects to find.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Expectation {
    /// No such key.
    Absent,
    /// This value.
    Value(Vec<u8>),
    /// This version.
    Version(u64),
}

/// Which keys a scan is for, in byte order. The default is all of them, and linearizable.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Range {
    /// The first one, if it is there.
    pub from: Vec<u8>,
    /// The first one that is not wanted any more; `None`: to the end.
    pub to: Option<Vec<u8>>,
    /// At most so many.
    pub limit: Option<u64>,
    /// Leave their values out.
    pub keys_only: bool,
    /// As some node has applied them, whoever leads: possibly old.
    pub stale: bool,
}

impl Range {
    /// The keys that begin so.
    pub fn prefix(prefix: impl Into<Vec<u8>>) -> Range {
        let from = prefix.into();
        let mut end = from.clone();
        while end.last() == Some(&u8::MAX) {
            end.pop();
        }
        if let Some(last) = end.last_mut() {
            *last += 1;
        }
        Range { from, to: Some(end).filter(|end| !end.is_empty()), ..Range::default() }
    }
}

impl Ask {
    /// Whether it changes anything: only then can its outcome be unknown.
    pub fn is_write(&self) -> bool {
        self.op().is_some()
    }

    /// The write it is, as the log will carry it.
    pub fn op(&self) -> Option<Op<'_>> {
        match self {
            Ask::Put { key, value } => Some(Op::Put { key, value }),
            Ask::Append { key, value } => Some(Op::Append { key, value }),
            Ask::Delete { key } => Some(Op::Delete { key }),
            Ask::Cas { key, expect, value } => {
                let expect = match expect {
                    Expectation::Absent => Expect::Absent,
                    Expectation::Value(value) => Expect::Value(value),
                    Expectation::Version(version) => Expect::Version(*version),
                };
                Some(Op::Cas { key, expect, value })
            }
            Ask::Get { .. } | Ask::GetStale { .. } | Ask::Scan(_) | Ask::ScanNext { .. } | Ask::Status { .. } => None,
        }
    }

    /// Whether the node that leads answers it best. Any node answers a read that may be old.
    pub(crate) fn prefers_leader(&self) -> bool {
        !matches!(self, Ask::GetStale { .. } | Ask::Scan(Range { stale: true, .. }))
    }

    /// Whether one node alone can answer it: then any failure there ends it.
    pub(crate) fn is_bound(&self) -> bool {
        matches!(self, Ask::ScanNext { .. } | Ask::Status { .. })
    }

    /// The limits that every node would hold it to. Checked here too: nothing too large is worth sending.
    pub(crate) fn check(&self) -> Result<(), RejectedReason> {
        match (self, self.op()) {
            (_, Some(op)) => op.validate(),
            (Ask::Get { key } | Ask::GetStale { key }, None) => wire::validate_key(key),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_the_keys_from_it_to_the_next_that_does_not_begin_so() {
        let cases: [(&[u8], Option<&[u8]>); 6] = [
            (b"a", Some(b"b")),
            (b"ab\x00", Some(b"ab\x01")),
            (b"a\xff\xff", Some(b"b")),
            (b"\xff\xff", None),
            (b"", None),
            (b"\xfe", Some(b"\xff")),
        ];
        for (prefix, to) in cases {
            let range = Range::prefix(prefix);
            assert_eq!((range.from.as_slice(), range.to.as_deref()), (prefix, to));
        }
    }
}
