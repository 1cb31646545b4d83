//! What the core does when the network does this.

mod finding;
mod outcomes;
mod scans;
mod sessions;

use raft::Index;
use wire::{BusyReason, NodeStatus, RefusedReason, RejectedReason, Reply, RoleName, WriteOutcome, encode_refused};

use super::script::*;
use super::*;

fn call_of(seen: &Seen) -> wire::CallId {
    match &seen.what {
        What::Write { call, .. } => *call,
        other => panic!("a write, not {other:?}"),
    }
}

fn status_at(applied_index: u64) -> Reply {
    Reply::Status(Box::new(NodeStatus {
        cluster_id: CLUSTER,
        id: raft::NodeId(1),
        name: "n1".into(),
        client_addr: "n1:1".into(),
        peer_addr: "n1:2".into(),
        role: RoleName::Leader,
        voter: true,
        leader: None,
        term: raft::Term(1),
        first_log_index: Index(1),
        last_log_index: Index(applied_index),
        commit_index: Index(applied_index),
        applied_index: Index(applied_index),
        snapshot_index: Index(0),
        log_bytes: 0,
        snapshot_bytes: 0,
        keys: 0,
        data_bytes: 0,
        sessions: 0,
        state_digest: 0,
        digest_index: Index(0),
        peer_messages_received: 0,
        peer_bytes: 0,
        fsync_us_p99: 0,
        uptime_ms: 0,
        version: String::new(),
        formed: true,
        members: Vec::new(),
    }))
}

/// Three nodes; n1 leads and is connected.
fn with_leader() -> (Script, ConnectionId) {
    let mut script = Script::new(&["n1:1", "n2:1", "n3:1"]);
    let call = script.submit(put("first"));
    let n1 = script.welcome("n1:1", Some(1));
    let seen = script.take();
    script.reply(&seen, &written(11));
    script.outcome(call).unwrap();
    (script, n1)
}

fn refuse_with(script: &mut Script, address: &str, reason: RefusedReason) {
    let connection = script.accept(address);
    let mut bytes = Vec::new();
    encode_refused(&wire::Refused { reason, message: "this is cluster 9".into() }, &mut bytes);
    script.bytes(connection, &bytes);
}
