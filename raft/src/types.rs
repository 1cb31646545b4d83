//! The words everything else is made of. Each is a type of its own: swapping a term and an index must not compile.

use core::fmt;

/// A period with at most one leader (Raft 5.1). 0 before the first election; below 2^56.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Term(pub u64);

/// A position in the log, from 1; 0 stands before the first entry. Below 2^56.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Index(pub u64);

/// A member of the cluster, from 1. Never reused: the id of a member added later is the index of the entry that added it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NodeId(pub u64);

/// Which cluster: derived from its token and its first members, or drawn anew when a backup is restored.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId(pub u128);

/// Which data directory: drawn at random by `init`. A member with another disk id has lost what it promised.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DiskId(pub u128);

/// Which life of a process: drawn at random at every start, so that answers meant for an earlier life do not count.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Incarnation(pub u64);

/// Terms and indexes of a well-formed message are below this; a peer that sends more is cut off before raft sees it.
pub const TERM_AND_INDEX_LIMIT: u64 = 1 << 56;

impl Term {
    /// The next term.
    pub fn next(self) -> Term {
        Term(self.0 + 1)
    }
}

impl Index {
    /// The position after this one.
    pub fn next(self) -> Index {
        Index(self.0 + 1)
    }

    /// The position before this one; the one before 0 is 0.
    pub fn prev(self) -> Index {
        Index(self.0.saturating_sub(1))
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "t{}", self.0)
    }
}

impl fmt::Display for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "i{}", self.0)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}", self.0)
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for DiskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for DiskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What names an entry for ever: two entries with the same index and term are the same entry (Log Matching, Raft 5.3).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct EntryId {
    /// Its position.
    pub index: Index,
    /// The term of the leader that created it.
    pub term: Term,
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.term)
    }
}

/// What an entry is to raft; its bytes are nobody's business here.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum EntryKind {
    /// A command of the state machine.
    Command,
    /// Appended by a leader on its election, so that it may commit its predecessors' entries (Raft 8).
    NoOp,
    /// The whole membership from here on.
    Membership,
}

/// All that raft knows of an entry: a position, a length and a kind. The bytes never pass through it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct EntryMeta {
    /// Its position.
    pub index: Index,
    /// The term of the leader that created it.
    pub term: Term,
    /// Bytes of its payload, header not included.
    pub payload_len: u32,
    /// What it is to raft.
    pub kind: EntryKind,
}

impl EntryMeta {
    /// Its name.
    pub fn id(&self) -> EntryId {
        EntryId { index: self.index, term: self.term }
    }

    /// Bytes it takes on disk and on the wire, header included.
    pub fn encoded_len(&self) -> usize {
        crate::ENTRY_HEADER_LEN + self.payload_len as usize
    }
}

/// What a node must have on disk before it says anything that relies on it (Raft figure 2, persistent state).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct HardState {
    /// The latest term this node has seen.
    pub term: Term,
    /// Whom it voted for in that term.
    pub voted_for: Option<NodeId>,
}
