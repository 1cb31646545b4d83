//! A node at one moment, in the width of a column.

use std::fmt;

use kvnode::Node;
use raft::{EntryId, Index, RoleName, Term};

/// What a status line shows of a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NodeView {
    /// What it is.
    pub role: RoleName,
    /// Its term.
    pub term: Term,
    /// Known to be on a majority of disks.
    pub commit_index: Index,
    /// Part of its state.
    pub applied_index: Index,
    /// The last entry of its log.
    pub last: EntryId,
    /// Entries in its log.
    pub log_len: u64,
    /// Of its snapshot; 0: none.
    pub snapshot_index: Index,
}

impl NodeView {
    /// How wide it is written, unless numbers grow beyond six digits.
    pub const WIDTH: usize = 30;
    /// What it is written as.
    pub const LEGEND: &str = "role term commit/applied +entries in the log, snapshot; - is down";

    pub(crate) fn of(node: &Node) -> NodeView {
        let raft = node.raft();
        NodeView {
            role: raft.role(),
            term: raft.term(),
            commit_index: raft.commit_index(),
            applied_index: node.digest().0.index,
            last: raft.log().last(),
            log_len: raft.log().last_index().0 - raft.log().base().index.0,
            snapshot_index: raft.snapshot().index,
        }
    }
}

/// `L t3 i120/i118 +20 s100`
impl fmt::Display for NodeView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let role = match self.role {
            RoleName::Leader => 'L',
            RoleName::Follower => 'F',
            RoleName::Candidate => 'C',
            RoleName::PreCandidate => 'P',
        };
        write!(f, "{role} {} {}/{} +{}", self.term, self.commit_index, self.applied_index, self.log_len)?;
        if self.snapshot_index > Index(0) { write!(f, " s{}", self.snapshot_index.0) } else { Ok(()) }
    }
}
