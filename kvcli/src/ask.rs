//! What a caller asks for, and what is refused before a byte is sent.

use wire::{Expect, Op, RejectedReason};

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
            Ask::Get { .. } | Ask::Status { .. } => None,
        }
    }

    /// The limits that every node would hold it to. Checked here too: nothing too large is worth sending.
    pub(crate) fn check(&self) -> Result<(), RejectedReason> {
        match (self, self.op()) {
            (_, Some(op)) => op.validate(),
            (Ask::Get { key }, None) => wire::validate_key(key),
            _ => Ok(()),
        }
    }
}
