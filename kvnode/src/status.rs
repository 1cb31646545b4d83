//! What a node tells of itself.

use hdrhistogram::Histogram;
use wire::status::{MemberStatus, NodeStatus, RoleName};

use crate::node::Node;

/// What is counted for `status` and for nothing else.
pub(crate) struct Counters {
    started_us: u64,
    pub(crate) peer_messages_received: u64,
    pub(crate) peer_bytes: u64,
    pub(crate) log_bytes: u64,
    sync_us: Histogram<u32>,
}

impl Counters {
    pub(crate) fn new(now_us: u64) -> Counters {
        // Two digits up to a minute: some 6 KiB.
        let sync_us = Histogram::new_with_bounds(1, 60_000_000, 2).expect("the bounds are constants");
        Counters { started_us: now_us, peer_messages_received: 0, peer_bytes: 0, log_bytes: 0, sync_us }
    }

    pub(crate) fn synced(&mut self, sync_us: u64) {
        self.sync_us.saturating_record(sync_us);
    }
}

pub(crate) fn status(node: &Node) -> NodeStatus {
    let parts = node.parts();
    let raft = node.raft();
    let identity = &parts.config.identity;
    let (applied, state_digest) = node.digest();
    let members = |(id, name, peer_addr, voter): (raft::NodeId, &str, &str, bool)| MemberStatus {
        id,
        name: name.to_owned(),
        voter,
        client_addr: parts.members.client_addr(id).to_owned(),
        peer_addr: peer_addr.to_owned(),
        announced: parts.members.announced(id).is_some(),
    };
    NodeStatus {
        cluster_id: identity.cluster_id,
        id: identity.node,
        name: identity.name.clone(),
        client_addr: parts.config.client_addr.clone(),
        peer_addr: parts.config.peer_addr.clone(),
        role: role_name(raft.role()),
        voter: raft.membership().voters.contains(&identity.node),
        leader: raft.leader(),
        term: raft.term(),
        first_log_index: raft.log().first_index(),
        last_log_index: raft.log().last_index(),
        commit_index: raft.commit_index(),
        applied_index: applied.index,
        snapshot_index: parts.snapshot.map_or(raft::Index(0), |snapshot| snapshot.meta.last.index),
        log_bytes: node.counters.log_bytes,
        snapshot_bytes: parts.snapshot.map_or(0, |snapshot| snapshot.len),
        keys: parts.machine.key_count(),
        data_bytes: parts.machine.data_bytes(),
        sessions: parts.sessions.count(),
        state_digest,
        digest_index: applied.index,
        peer_messages_received: node.counters.peer_messages_received,
        peer_bytes: node.counters.peer_bytes,
        fsync_us_p99: node.counters.sync_us.value_at_quantile(0.99),
        uptime_ms: parts.now_us.saturating_sub(node.counters.started_us) / 1000,
        version: parts.config.version.clone(),
        formed: parts.members.formed(),
        members: parts.members.iter().map(members).collect(),
    }
}

fn role_name(role: raft::RoleName) -> RoleName {
    match role {
        raft::RoleName::Follower => RoleName::Follower,
        raft::RoleName::PreCandidate => RoleName::PreCandidate,
        raft::RoleName::Candidate => RoleName::Candidate,
        raft::RoleName::Leader => RoleName::Leader,
    }
}
