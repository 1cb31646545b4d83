//! What nodes promise to each other and to clients, against what a power cut would leave of it.

use kvnode::ClientId;
use raft::{AppendOutcome, EntryId, HardState, Index, Message, NodeId, Term};
use wire::client::{Reply, Request, Scan};

use super::Checker;
use crate::disk::WatchedDisk;
use crate::failure::must;
use crate::hosts::Host;
use crate::world::World;

/// In which term a node votes, and for whom.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Vote {
    term: Term,
    candidate: NodeId,
}

impl Vote {
    /// The one that this message gives, if any.
    pub(crate) fn of(id: NodeId, to: NodeId, message: &Message) -> Option<Vote> {
        match message {
            Message::RequestVote { term, .. } => Some(Vote { term: *term, candidate: id }),
            Message::RequestVoteReply { term, vote_granted: true } => Some(Vote { term: *term, candidate: to }),
            _ => None,
        }
    }
}

/// Which term the sender of this message leads, if any, and how far it says that the log is committed.
pub(crate) fn leads(message: &Message) -> Option<(Term, Index)> {
    match message {
        Message::Append { term, leader_commit, .. } | Message::Heartbeat { term, leader_commit, .. } => Some((*term, *leader_commit)),
        Message::InstallSnapshot { term, .. } => Some((*term, Index(0))),
        _ => None,
    }
}

/// Whether a message is true on the disk of the node that says it, at the moment it says it.
pub(crate) fn is_kept(id: NodeId, to: NodeId, message: &Message, disk: &WatchedDisk) {
    if let Message::AppendReply { outcome: AppendOutcome::Accepted { match_index }, .. } = message {
        let durable = disk.durable_index();
        let rule = "what is acknowledged is on the disk";
        must!(*match_index <= durable, rule, "{id} vouches to {to} for {match_index}, but a power cut now would leave it {durable}");
    }
    let Some(Vote { term: of, candidate }) = Vote::of(id, to, message) else { return };
    let HardState { term, voted_for } = disk.hard_state();
    let is_kept = of < term || (of, Some(candidate)) == (term, voted_for);
    let rule = "a vote is on the disk";
    must!(is_kept, rule, "{id} votes for {candidate} in {of}, but a power cut now would leave it {voted_for:?} in {term}");
}

const TOLD_IS_ON_A_MAJORITY: &str = "what a client was told is on a majority of disks";

fn is_on_a_majority(id: NodeId, entry: EntryId, voters: usize, holders: usize) {
    let is_majority = voters < 2 * holders;
    must!(is_majority, TOLD_IS_ON_A_MAJORITY, "{entry} is acknowledged; a power cut now, by {id}, would leave it on {holders} of {voters}");
}

impl Checker {
    /// A node votes. That counts from here: a vote that was decided, not saved and not sent may be decided again after a crash.
    pub(crate) fn hear(&mut self, from: NodeId, Vote { term, candidate }: Vote) {
        let vote = *self.votes.entry((from, term)).or_insert(candidate);
        must!(vote == candidate, "one vote per term (Raft 5.2)", "{from} votes for {candidate} in {term}, and has voted for {vote}");
    }

    /// A node says that it leads: perhaps it did so only in the middle of a turn, when nobody looked.
    pub(crate) fn hear_leader(&mut self, from: NodeId, term: Term, commit: Index) {
        self.leads(from, term);
        self.logs.committed_in(term, commit);
    }

    /// A client is told that its write took effect at `position`. `holds`: how many members' disks would hold an entry after a power cut.
    fn acknowledged(&mut self, id: NodeId, position: Index, voters: usize, holds: impl FnOnce(EntryId) -> usize) {
        let Some(entry) = self.logs.committed_at(position) else {
            must!(false, TOLD_IS_ON_A_MAJORITY, "{id} has acknowledged {position}, which nobody has committed");
            return;
        };
        is_on_a_majority(id, entry, voters, holds(entry));
        self.acknowledged = self.acknowledged.max(position);
    }

    fn newest_acknowledged(&self) -> Option<EntryId> {
        self.logs.committed_at(self.acknowledged).filter(|entry| Index(0) < entry.index)
    }

    /// A request is handed to a node.
    pub(crate) fn asked(&mut self, id: NodeId, client: ClientId, request_id: u64, request: &Request<'_>) {
        if matches!(request, Request::Get { .. } | Request::Scan(Scan { stale: false, .. })) {
            self.reads.entry((id, client, request_id)).or_insert(self.acknowledged);
        }
    }

    /// A node answers, perhaps one of those.
    fn answered(&mut self, id: NodeId, client: ClientId, request_id: u64, reply: &Reply) {
        let Some(floor) = self.reads.remove(&(id, client, request_id)) else { return };
        let position = match reply {
            Reply::Value { position, .. } => *position,
            Reply::Page(page) if page.age_ms.is_none() => page.position,
            _ => return,
        };
        let rule = "a read sees what was acknowledged before it began";
        must!(floor <= position, rule, "{id} has answered a read with its state at {position}; {floor} had been acknowledged");
    }
}

impl World {
    /// A node says something to a client.
    pub(crate) fn check_reply(&mut self, node: usize, client: ClientId, request_id: u64, reply: &Reply) {
        let id = self.hosts[node].identity.node;
        let Reply::Written(written) = reply else { return self.checker.answered(id, client, request_id, reply) };
        let hosts = &self.hosts;
        self.checker.acknowledged(id, written.position, hosts.len(), |entry| holders(hosts, entry));
    }

    /// The disk of a node holds less than before. What clients were told is still on a majority of disks: the newest of it, and with that
    /// all before.
    pub(crate) fn check_acknowledged(&self, node: usize) {
        if let Some(entry) = self.checker.newest_acknowledged() {
            is_on_a_majority(self.hosts[node].identity.node, entry, self.hosts.len(), holders(&self.hosts, entry));
        }
    }
}

/// How many members' disks would hold an entry after a power cut. One that was wiped counts by what it had: nobody is elected by it again.
fn holders(hosts: &[Host], entry: EntryId) -> usize {
    let holds = |host: &&Host| host.disk.holds(entry) || host.wiped_disks.iter().any(|disk| disk.holds(entry));
    hosts.iter().filter(holds).count()
}
