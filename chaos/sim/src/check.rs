//! What must hold at every step, on all nodes together, whatever the world does. It looks at nodes from outside and shares no decision
//! with them. A look costs what has changed since the last one, however long the logs are.

mod logs; // entries: the same ones under the same names, in every log that should hold them
mod promises; // what nodes say, and what clients are told

use std::collections::BTreeMap;

use data::Store;
use kvnode::{ClientId, Node};
use raft::{EntryId, Facts, HardState, Index, NodeId, Term};

use crate::disk::WatchedDisk;
use crate::failure::must;
use crate::reached::Reached;
use logs::Logs;
pub(crate) use promises::{Vote, is_kept, leads};

/// What has been seen so far, on any node, in any life.
#[derive(Default)]
pub(crate) struct Checker {
    leaders: BTreeMap<Term, NodeId>,
    votes: BTreeMap<(NodeId, Term), NodeId>,
    logs: Logs,
    /// By index, whatever any node has had applied after a turn: the last entry, and the digest of the state behind it.
    states: Vec<Option<(Term, u64)>>,
    /// By the place of the node.
    lives: Vec<Option<Life>>,
    /// The highest position that any client was told.
    acknowledged: Index,
    /// Reads under way, and what had been acknowledged when they were handed in.
    reads: BTreeMap<(NodeId, ClientId, u64), Index>,
    pub(crate) leader_changes: u64,
    pub(crate) reached: Reached,
    paths: Vec<&'static str>,
}

/// One node in one life, when it was last looked at.
struct Life {
    facts: Facts,
    last: EntryId,
    commit_index: Index,
    applied_index: Index,
}

impl Checker {
    /// Whether a node that was given nothing, and had nothing to do, is what it was when it was last looked at. Only its timers have moved
    /// then, or this says no.
    pub(crate) fn is_as_it_was(&self, node: &Node) -> bool {
        let life = self.lives.get(place(node.raft().id())).and_then(Option::as_ref);
        life.is_some_and(|life| life.facts == node.raft().facts())
    }

    /// Looks at a node after a pass of `drive`; whether its log was cut, to be continued otherwise.
    pub(crate) fn look(&mut self, node: &mut Node, store: &mut Store<WatchedDisk>, disk: &WatchedDisk) -> bool {
        node.take_reached(&mut self.paths);
        store.take_reached(&mut self.paths);
        disk.take_reached(&mut self.paths);
        let (raft, id) = (node.raft(), node.raft().id());
        let log = raft.log();
        let place = place(id);
        if self.lives.len() <= place {
            self.lives.resize_with(place + 1, || None);
        }
        let before = self.lives[place].take();
        match &before {
            Some(before) => raft.check(&before.facts),
            None => self.begins(id, raft.hard_state()),
        }
        self.reached.count(&mut self.paths);
        self.logs.take_written(id, disk);
        self.logs.committed(raft, before.as_ref().map_or(Index(0), |before| before.commit_index));
        if raft.is_leader() && self.leads(id, raft.term()) {
            self.logs.elected(raft);
        }
        let (at, digest) = node.digest();
        let applied_before = before.as_ref().map_or(Index(0), |before| before.applied_index);
        must!(applied_before <= at.index, "what is applied stays so", "{id} has applied {at} after {applied_before}");
        if applied_before < at.index {
            self.reaches(id, at, digest);
        }
        let is_cut = before.is_some_and(|before| log.base().index <= before.last.index && !log.holds(before.last));
        let life = Life { facts: raft.facts(), last: log.last(), commit_index: raft.commit_index(), applied_index: at.index };
        self.lives[place] = Some(life);
        is_cut
    }

    /// The first look at a life. Its vote may be one that the last life did not live to say.
    fn begins(&mut self, id: NodeId, HardState { term, voted_for }: HardState) {
        if voted_for.is_some_and(|candidate| candidate != id) && !self.votes.contains_key(&(id, term)) {
            self.paths.push("a voter dies between its save and its word");
        }
    }

    /// A node leads, or says so; whether that is news.
    fn leads(&mut self, id: NodeId, term: Term) -> bool {
        let known = self.leaders.get(&term).copied();
        let leader = known.unwrap_or(id);
        must!(leader == id, "one leader per term (election safety, Raft 5.2)", "{leader} and {id} lead {term}");
        if known.is_none() {
            self.leaders.insert(term, id);
            self.leader_changes += 1;
        }
        known.is_none()
    }

    fn reaches(&mut self, id: NodeId, at: EntryId, digest: u64) {
        let position = usize::try_from(at.index.0).expect("a log in memory");
        if self.states.len() <= position {
            self.states.resize(position + 1, None);
        }
        let (term, known) = *self.states[position].get_or_insert((at.term, digest));
        let is_same = (term, known) == (at.term, digest);
        let rule = "one state per index (state machine safety, Raft 5.4.3)";
        must!(is_same, rule, "{id} has {digest:x} at {at}, another node {known:x} of {term}");
    }

    /// A node begins a new life: what it applied in memory is gone, what it promised is not.
    pub(crate) fn restarted(&mut self, id: NodeId) {
        if let Some(life) = self.lives.get_mut(place(id)) {
            *life = None;
        }
        self.reads.retain(|(node, ..), _| *node != id);
    }

    /// A node begins anew with an empty disk: its next votes are not bound by those it has forgotten. What they elect is.
    pub(crate) fn wiped(&mut self, id: NodeId) {
        self.votes.retain(|(voter, _), _| *voter != id);
    }

    /// How far any node has applied.
    pub(crate) fn applied_index(&self) -> Index {
        Index(self.states.len().saturating_sub(1) as u64)
    }
}

fn place(id: NodeId) -> usize {
    usize::try_from(id.0).expect("a small cluster")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::catch;

    #[test]
    fn two_that_say_they_lead_one_term_are_heard() {
        let mut checker = Checker::default();
        checker.hear_leader(NodeId(1), Term(2), Index(0));
        checker.hear_leader(NodeId(1), Term(2), Index(0));
        checker.hear_leader(NodeId(2), Term(3), Index(0));
        assert_eq!(checker.leader_changes, 2);
        assert!(catch(|| checker.hear_leader(NodeId(2), Term(2), Index(0))).is_err());
    }
}
