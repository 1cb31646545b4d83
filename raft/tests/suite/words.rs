//! Short words for messages and for nodes in a given role.

use raft::*;

use crate::cluster::{Cluster, Envelope, Start, meta};

pub(crate) fn append(term: u64, prev: (u64, u64), terms: &[u64], commit: u64) -> Message {
    let entries = (prev.0 + 1..).zip(terms).map(|(index, term)| meta(index, *term)).collect();
    let (prev_log_index, prev_log_term) = (Index(prev.0), Term(prev.1));
    Message::Append { term: Term(term), prev_log_index, prev_log_term, leader_commit: Index(commit), entries }
}

pub(crate) fn accepted(term: u64, match_index: u64) -> Message {
    Message::AppendReply { term: Term(term), outcome: AppendOutcome::Accepted { match_index: Index(match_index) } }
}

pub(crate) fn rejected(term: u64, prev: u64, hint: (u64, u64)) -> Message {
    let outcome = AppendOutcome::Rejected { prev_log_index: Index(prev), hint_index: Index(hint.0), hint_term: Term(hint.1) };
    Message::AppendReply { term: Term(term), outcome }
}

pub(crate) fn heartbeat(term: u64, commit: u64) -> Message {
    Message::Heartbeat { term: Term(term), leader_commit: Index(commit), read_token: None }
}

pub(crate) fn heartbeat_reply(term: u64) -> Message {
    Message::HeartbeatReply { term: Term(term), read_token: None }
}

pub(crate) fn entry_id(index: u64, term: u64) -> EntryId {
    EntryId { index: Index(index), term: Term(term) }
}

pub(crate) fn offer(term: u64, last: (u64, u64)) -> Message {
    Message::InstallSnapshot { term: Term(term), last_included: entry_id(last.0, last.1) }
}

pub(crate) fn vote(term: u64, last: (u64, u64)) -> Message {
    Message::RequestVote { term: Term(term), last_log_index: Index(last.0), last_log_term: Term(last.1), transfer: false }
}

pub(crate) fn vote_reply(term: u64, vote_granted: bool) -> Message {
    Message::RequestVoteReply { term: Term(term), vote_granted }
}

pub(crate) fn pre_vote(term: u64, last: (u64, u64)) -> Message {
    Message::PreVote { term: Term(term), last_log_index: Index(last.0), last_log_term: Term(last.1) }
}

pub(crate) fn pre_vote_reply(term: u64, vote_granted: bool) -> Message {
    Message::PreVoteReply { term: Term(term), vote_granted }
}

/// Node 1 of so many, alone with the test, in this role; what it said on the way is taken away. Standing and leading take one term.
pub(crate) fn lone(role: RoleName, count: u64, start: Start) -> Cluster {
    let mut cluster = Cluster::lone(count, start);
    let term = cluster.raft(1).term().0 + 1;
    if role != RoleName::Follower {
        cluster.campaign(1);
    }
    if matches!(role, RoleName::Candidate | RoleName::Leader) {
        (2..=count).for_each(|peer| cluster.step(1, peer, pre_vote_reply(term, true)));
    }
    if role == RoleName::Leader {
        (2..=count).for_each(|peer| cluster.step(1, peer, vote_reply(term, true)));
    }
    cluster.queue.clear();
    assert_eq!(cluster.raft(1).role(), role);
    cluster
}

/// A leader of term `start.term + 1` whose no-op, and everything before it, every follower has acknowledged.
pub(crate) fn settled_leader(count: u64, start: Start) -> Cluster {
    let mut cluster = lone(RoleName::Leader, count, start);
    let (term, last) = (cluster.raft(1).term().0, cluster.raft(1).log().last_index().0);
    (2..=count).for_each(|peer| cluster.step(1, peer, accepted(term, last)));
    assert_eq!(cluster.commit(1), last);
    cluster.queue.clear();
    cluster
}

/// What node 1 said, as (receiver, message).
pub(crate) fn said(cluster: &mut Cluster) -> Vec<(u64, Message)> {
    cluster.take_sent().into_iter().map(|Envelope { to, message, .. }| (to.0, message)).collect()
}

/// The same message to each of these peers.
pub(crate) fn to_each(peers: impl IntoIterator<Item = u64>, message: &Message) -> Vec<(u64, Message)> {
    peers.into_iter().map(|peer| (peer, message.clone())).collect()
}
