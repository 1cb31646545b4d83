//! What must hold after every step, by itself and against the state before. An idea from LogCabin's `RaftConsensusInvariants.cc`.
//! Tests and the simulator call it after each input; a breach is our own mistake, so it stops the program.

use crate::raft::Raft;
use crate::role::{Role, RoleName};
use crate::types::{EntryId, EntryMeta, HardState, Index, Term};

/// A node at one moment, as far as the next moment is bound by it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Facts {
    hard_state: HardState,
    saved_term: Term,
    role: RoleName,
    last: EntryId,
    /// The last committed entry.
    commit: EntryId,
    handed_out: Index,
    applied_index: Index,
    base: EntryId,
    snapshot: EntryId,
}

impl Raft {
    /// The facts of now, for the next [`Raft::check`].
    pub fn facts(&self) -> Facts {
        let commit_term = self.log.term_at(self.commit_index).expect("what is committed is in the log");
        Facts {
            hard_state: self.hard_state,
            saved_term: self.saves.saved_hard_state().term,
            role: self.role.name(),
            last: self.log.last(),
            commit: EntryId { index: self.commit_index, term: commit_term },
            handed_out: self.handed_out,
            applied_index: self.applied_index,
            base: self.log.base(),
            snapshot: self.snapshot,
        }
    }

    /// Asserts every invariant of one node. `before` is of the same life: a restart begins with new facts.
    pub fn check(&self, before: &Facts) {
        self.check_alone();
        self.check_against(before);
    }

    fn check_alone(&self) {
        let (term, last) = (self.hard_state.term, self.log.last());
        let (stable, commit_index, handed_out, applied_index) =
            (self.log.stable_index(), self.commit_index, self.handed_out, self.applied_index);
        assert!(self.saves.saved_hard_state().term <= term, "the disk is at {:?}, ahead of {term}", self.saves.saved_hard_state());
        assert!(stable <= last.index, "stable to {stable}, beyond the last entry {last}");
        let (base, snapshot) = (self.log.base(), self.snapshot);
        assert!(base.index <= snapshot.index, "the base {base} is beyond the snapshot {snapshot}: nothing holds what lies between");
        assert!(snapshot.index <= applied_index, "the snapshot {snapshot} is beyond what was applied, {applied_index}");
        assert!(self.log.holds(snapshot), "the snapshot's {snapshot} is not in the log from {base} to {last}");
        assert!(commit_index <= last.index, "committed to {commit_index}, beyond the last entry {last}");
        assert!(handed_out <= commit_index, "handed out to {handed_out}, beyond the commit index {commit_index}");
        assert!(handed_out <= stable, "handed out to {handed_out}, but on disk only to {stable}");
        assert!(applied_index <= handed_out, "applied to {applied_index}, but handed out only to {handed_out}");
        assert!(last.term <= term, "the log ends in {}, ahead of {term}", last.term);

        let uncommitted = self.log.from(commit_index.next());
        assert!(uncommitted.is_sorted_by_key(|entry| entry.term), "terms fall along the log after {commit_index}");

        match &self.role {
            Role::Follower(follower) => {
                assert!(follower.leader != Some(self.config.id), "{self} follows itself");
                assert!(follower.offered.is_none() || follower.leader.is_some(), "{self} was offered a snapshot by nobody");
            }
            Role::PreCandidate(_) => {}
            Role::Candidate(_) => {
                assert_eq!(self.hard_state.voted_for, Some(self.config.id), "a candidate of {term} voted for another");
            }
            Role::Leader(leader) => {
                assert_eq!(self.hard_state.voted_for, Some(self.config.id), "a leader of {term} voted for another");
                assert_eq!(self.saves.saved_hard_state(), self.hard_state, "a leader's vote is not on its disk");
                let noop_term = self.log.term_at(leader.noop_index);
                let is_compacted = leader.noop_index < base.index;
                assert!(is_compacted || noop_term == Some(term), "the no-op at {} is gone", leader.noop_index);
                let own: usize = uncommitted.iter().filter(|entry| entry.term == term).map(EntryMeta::encoded_len).sum();
                assert_eq!(leader.uncommitted_bytes, own, "uncommitted bytes are miscounted");
                let mut peers = self.membership.members().filter(|member| *member != self.config.id);
                let counted = peers.try_fold(0, |count, peer| leader.progress.contains_key(&peer).then_some(count + 1));
                assert_eq!(counted, Some(leader.progress.len()), "the leader counts other peers than its members");
                for (peer, progress) in &leader.progress {
                    let (matched, next) = (progress.match_index(), progress.next_index());
                    assert!(matched < next, "{peer} has {matched}, yet is to get {next}");
                    assert!(next <= last.index.next(), "{peer} is to get {next}, the log ends at {last}");
                    let is_gone = next <= base.index;
                    assert_eq!(progress.needs_snapshot(), is_gone, "{peer} is to get {next}, the log begins after {base}");
                }
            }
        }
    }

    fn check_against(&self, before: &Facts) {
        let HardState { term, voted_for } = self.hard_state;
        assert!(before.hard_state.term <= term, "the term fell from {} to {term}", before.hard_state.term);
        assert!(before.saved_term <= self.saves.saved_hard_state().term, "the term on disk fell from {}", before.saved_term);
        assert!(before.commit.index <= self.commit_index, "the commit index fell from {} to {}", before.commit.index, self.commit_index);
        assert!(before.handed_out <= self.handed_out, "handed out to {} before, now to {}", before.handed_out, self.handed_out);
        assert!(before.applied_index <= self.applied_index, "applied fell from {} to {}", before.applied_index, self.applied_index);
        let (base, snapshot) = (self.log.base(), self.snapshot);
        assert!(before.base.index <= base.index, "the base fell from {} to {base}", before.base);
        assert!(before.snapshot.index <= snapshot.index, "the snapshot fell from {} to {snapshot}", before.snapshot);
        // Beyond that, all of it was committed, applied and compacted since, or replaced by a snapshot that holds it.
        if base.index <= before.commit.index {
            assert!(self.log.holds(before.commit), "the committed entry {} was overwritten", before.commit);
        }
        if before.hard_state.term == term {
            if before.hard_state.voted_for.is_some() {
                assert_eq!(before.hard_state.voted_for, voted_for, "the vote changed within {term}");
            }
            if before.role == RoleName::Leader && base.index <= before.last.index {
                assert_eq!(
                    self.log.term_at(before.last.index),
                    Some(before.last.term),
                    "a leader of {term} lost its entry {}",
                    before.last
                );
            }
            if before.role == RoleName::Leader {
                assert!(!matches!(self.role, Role::Candidate(_)), "a leader of {term} stands for election in its own term");
            }
            if self.role.name() == RoleName::Leader {
                assert!(matches!(before.role, RoleName::Leader | RoleName::Candidate), "a {} became leader within {term}", before.role);
            }
        }
    }
}
