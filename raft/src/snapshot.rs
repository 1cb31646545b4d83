//! Snapshots (Raft 7), as far as positions go: which entries a log may drop, and what a follower gets that needs dropped ones.
//!
//! A follower that needs entries below the leader's base is offered a snapshot. Fetching it is the embedding's business, on a connection
//! of its own and for as long as it takes; raft goes on without it. It hears of the snapshot again, through `install`, when the file is
//! complete, synced and renamed, the state machine holds it and the log on disk has been replaced. Both ends may die in between: the next
//! offer starts again.

use crate::log::LogPositions;
use crate::membership::Membership;
use crate::message::{AppendOutcome, Message};
use crate::raft::Raft;
use crate::role::Role;
use crate::types::{EntryId, Index, NodeId};

impl Raft {
    /// A snapshot of the state up to `last` is on disk, complete and synced: it is offered from now on, and the log may be compacted.
    pub fn snapshot_taken(&mut self, last: EntryId) {
        assert!(self.snapshot.index <= last.index, "the snapshot {last} was taken after {}", self.snapshot);
        assert!(last.index <= self.applied_index, "the snapshot {last} was taken, but only {} was applied", self.applied_index);
        assert!(self.log.holds(last), "the snapshot {last} is not of this log");
        self.snapshot = last;
    }

    /// Drops the positions up to `to`, all of them in the snapshot. Followers that need them get the snapshot.
    pub fn compact(&mut self, to: Index) {
        assert!(to <= self.snapshot.index, "cannot compact to {to}: the snapshot is {}", self.snapshot);
        self.log.compact(to);
        if let Role::Leader(leader) = &mut self.role {
            leader.progress.values_mut().for_each(|progress| progress.compacted(to));
        }
    }

    /// The peers that need a snapshot from this leader; none on other nodes.
    pub fn peers_in_snapshot(&self) -> impl Iterator<Item = NodeId> {
        self.progress().filter(|(_, progress)| progress.needs_snapshot()).map(|(peer, _)| peer)
    }

    /// The newest snapshot that this node needs and its leader has offered. A transfer already under way may be of an older one: that is
    /// worth finishing while [`Raft::needs_snapshot`] says so, and the leader still has it.
    pub fn wanted_snapshot(&self) -> Option<(NodeId, EntryId)> {
        let Role::Follower(follower) = &self.role else { return None };
        let offered = follower.offered.filter(|last| self.needs_snapshot(*last))?;
        Some((follower.leader?, offered))
    }

    /// Whether a snapshot that ends with `last` holds anything that this node cannot have from its own log.
    pub fn needs_snapshot(&self, last: EntryId) -> bool {
        self.commit_index < last.index && !self.log.holds(last)
    }

    /// A snapshot has been installed: it is on disk, the state machine holds it and nothing else, and the log on disk has been replaced by
    /// an empty one after `last`. It may come from any leader, of this term or of an earlier one: what it holds is committed.
    ///
    /// Only while no save is outstanding, [`Raft::needs_snapshot`], and this node does not lead: a leader holds all that is committed.
    pub fn install(&mut self, last: EntryId, membership: Membership) {
        assert!(!self.is_leader(), "{self} leads, and is to install the snapshot {last}");
        assert!(self.needs_snapshot(last), "{self} has committed {} and is to install the snapshot {last}", self.commit_index);
        assert!(last.term <= self.hard_state.term, "the snapshot {last} is ahead of {}", self.hard_state.term);
        if self.commit_index < self.log.last_index() {
            self.reached.mark("a snapshot is installed during appends");
        }
        self.log = LogPositions::recovered(last, alloc::vec::Vec::new());
        self.snapshot = last;
        self.commit_index = last.index;
        self.handed_out = last.index;
        self.applied_index = last.index;
        self.membership = membership;
        self.saves.log_replaced(self.is_dirty());
        if let Role::Follower(follower) = &self.role
            && let Some(leader) = follower.leader
        {
            self.vouch_for_committed(leader);
        }
    }

    pub(crate) fn handle_install_snapshot(&mut self, from: NodeId, last_included: EntryId) {
        let is_senseless = self.hard_state.term < last_included.term;
        if is_senseless || !self.follow(from) {
            return;
        }
        if self.needs_snapshot(last_included) {
            if let Role::Follower(follower) = &mut self.role {
                follower.offered = follower.offered.max(Some(last_included)); // offers may overtake each other
            }
            return;
        }
        // The leader would not offer it if it knew: our answer was lost, or is on its way.
        self.commit_to(last_included.index);
        self.vouch_for_committed(from);
    }

    /// What is committed is in the log of every later leader, and in ours: as much as can be promised without an append to compare with.
    fn vouch_for_committed(&mut self, leader: NodeId) {
        let outcome = AppendOutcome::Accepted { match_index: self.commit_index };
        self.promise(leader, Message::AppendReply { term: self.hard_state.term, outcome });
    }
}
