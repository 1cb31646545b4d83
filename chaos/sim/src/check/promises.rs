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

impl Checker {
    /// A node votes. That counts from here: a vote that was decided, not saved and not sent may be decided again after a crash.
    pub(crate) fn hear(&mut self, from: NodeId, Vote { term, candidate }: Vote) {
        let vote = *self.votes.entry((from, term)).or_insert(candidate);
        must!(vote == candidate, "one vote per term (Raft 5.2)", "{from} votes for {candidate} in {term}, and has voted for {vote}");
    }

    /// A client is told that its write took effect at `position`. `holds`: how many members' disks would hold an entry after a power cut.
    fn acknowledged(&mut self, id: NodeId, position: Index, voters: usize, holds: impl FnOnce(EntryId) -> usize) {
        let rule = "what a client was told is on a majority of disks";
        let Some(entry) = self.logs.committed_at(position) else {
            must!(false, rule, "{id} has acknowledged {position}, which nobody has committed");
            return;
        };
        let holders = holds(entry);
        must!(voters < 2 * holders, rule, "{id} has acknowledged {entry}; a power cut now would leave it on {holders} of {voters}");
        self.acknowledged = self.acknowledged.max(position);
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
        let holds = |host: &Host, entry| host.disk.holds(entry) || host.wiped_disks.iter().any(|disk| disk.holds(entry));
        self.checker.acknowledged(id, written.position, hosts.len(), |entry| hosts.iter().filter(|host| holds(host, entry)).count());
    }
}
