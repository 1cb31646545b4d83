//! What must hold at every step, whatever the world does. It looks at nodes from outside and shares no decision with them.

use std::collections::BTreeMap;

use kvnode::Node;
use raft::{EntryId, Facts, Index, Message, NodeId, Term};

/// What has been seen so far, on any node, in any life.
#[derive(Default)]
pub(crate) struct Checker {
    leaders: BTreeMap<Term, NodeId>,
    votes: BTreeMap<(NodeId, Term), NodeId>,
    /// Every entry that any node has applied, and the digest of the state behind it.
    applied: BTreeMap<Index, (EntryId, u64)>,
    /// How far every node has been seen to apply, within one life.
    positions: BTreeMap<NodeId, Index>,
    facts: BTreeMap<NodeId, Facts>,
    /// The last entry of every log, within one life.
    lasts: BTreeMap<NodeId, EntryId>,
    pub(crate) leader_changes: u64,
}

impl Checker {
    /// Looks at a node after a pass of `drive`; whether its log was cut, to be continued otherwise.
    pub(crate) fn look(&mut self, node: &Node) -> bool {
        let raft = node.raft();
        let id = raft.id();
        if let Some(before) = self.facts.get(&id) {
            raft.check(before);
        }
        self.facts.insert(id, raft.facts());
        if raft.is_leader() {
            let leader = *self.leaders.entry(raft.term()).or_insert_with(|| {
                self.leader_changes += 1;
                id
            });
            assert_eq!(leader, id, "two leaders in {} (election safety, Raft 5.2)", raft.term());
        }
        let (at, digest) = node.digest();
        if at.index > Index(0) {
            let seen = *self.applied.entry(at.index).or_insert((at, digest));
            assert_eq!(seen, (at, digest), "{id} applied another entry, or reached another state, at {}", at.index);
        }
        let position = self.positions.entry(id).or_default();
        assert!(*position <= at.index, "{id} applied {} after {position}", at.index);
        *position = at.index;
        let log = raft.log();
        let before = self.lasts.insert(id, log.last());
        before.is_some_and(|last| log.base().index <= last.index && !log.holds(last))
    }

    /// A node says something. A vote counts from here: one that was decided, not saved and not sent may be decided again after a crash.
    pub(crate) fn hear(&mut self, from: NodeId, to: NodeId, message: &Message) {
        let (term, candidate) = match message {
            Message::RequestVote { term, .. } => (*term, from),
            Message::RequestVoteReply { term, vote_granted: true } => (*term, to),
            _ => return,
        };
        let vote = *self.votes.entry((from, term)).or_insert(candidate);
        assert_eq!(vote, candidate, "{from} votes twice in {term}");
    }

    /// A node begins a new life: what it applied in memory is gone, what it promised is not.
    pub(crate) fn restarted(&mut self, id: NodeId) {
        self.facts.remove(&id);
        self.positions.remove(&id);
        self.lasts.remove(&id);
    }

    /// A node begins anew with an empty disk: its next votes are not bound by those it has forgotten. What they elect is.
    pub(crate) fn wiped(&mut self, id: NodeId) {
        self.votes.retain(|(voter, _), _| *voter != id);
    }

    /// How far any node has applied.
    pub(crate) fn applied_index(&self) -> Index {
        self.applied.last_key_value().map_or(Index(0), |(index, _)| *index)
    }
}
