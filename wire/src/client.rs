//! Between a client and a node. Requests carry an id; replies may come out of order.

use raft::{Index, NodeId, Term};

/// What a client asks. A write's payload is an encoded `Command::Write`: the node checks it and logs those very bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Request<'a> {
    /// A write.
    Write { command: &'a [u8] },
    /// A linearizable read of one key, at any node.
    Get { key: &'a [u8] },
    /// How is this node?
    Status,
    /// Whom do you know? Answered as `Welcome` is.
    Members,
}

/// What a node answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply {
    /// The write took effect (or, for a lost cas and the like, was decided) at this position. The same for every retry of the call.
    Written(Written),
    /// The value at `position`; `None`: no such key.
    Value { value: Option<Value>, position: Index },
    /// How this node is.
    Status(Box<NodeStatus>),
    /// Whom this node knows.
    Members { leader: Option<NodeId>, members: Vec<crate::hello::MemberAddress> },
    /// Not done, nothing appended: ask the leader, if it is known.
    NotLeader { leader: Option<NodeId>, client_addr: String },
    /// Not done, nothing appended: try again later.
    Busy { reason: BusyReason },
    /// Not done, nothing appended: the cluster is not formed yet; these members were never heard.
    Forming { missing: Vec<String> },
    /// This attempt was appended and another entry now stands in its place: it will never take effect. Safe to retry.
    Replaced,
    /// This attempt was appended, then leadership was lost: it may still take effect. Retry under the same sequence number to learn.
    LeadershipLost,
    /// Refused: the session was evicted, or never existed and was born at or before the horizon. Never run.
    SessionExpired,
    /// Refused, now and for ever.
    Rejected { reason: RejectedReason },
}

/// What a write did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Written {
    /// What became of it.
    pub outcome: WriteOutcome,
    /// The key's version afterwards; 0: no such key.
    pub version: u64,
    /// The log index it took effect at.
    pub position: Index,
}

/// What became of a write; part of the state (replies are kept), so the codes are fixed for ever.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum WriteOutcome {
    /// Put, append: done.
    Done,
    /// Delete: it was there, and is gone.
    Deleted,
    /// Delete: it was not there.
    NotFound,
    /// Cas: swapped.
    Swapped,
    /// Cas: not as expected; nothing changed.
    NotSwapped,
    /// Append: the value would pass its limit; nothing changed.
    ValueTooLong,
}

/// A value and its history.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Value {
    /// The bytes.
    pub value: Vec<u8>,
    /// Writes since the key was created.
    pub version: u64,
    /// The log index of the last of them.
    pub modified: Index,
}

/// Why a request is not taken now.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum BusyReason {
    /// Too many bytes proposed and not yet committed.
    Uncommitted,
    /// Too many requests waiting.
    Waiting,
    /// The state is at `--max-data-bytes`; deletes go on.
    Full,
}

/// Why a request is refused for ever.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum RejectedReason {
    /// A key of no bytes.
    KeyEmpty,
    /// A key above `KEY_LEN_MAX`.
    KeyTooLong,
    /// A value above `VALUE_LEN_MAX`.
    ValueTooLong,
    /// A command or a request of a version or kind this node does not know.
    Version,
    /// A sequence number outside the session's window.
    Sequence,
}

/// A role, for people.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum RoleName {
    /// Follows.
    Follower,
    /// Asks whether it would be elected.
    PreCandidate,
    /// Asks to be elected.
    Candidate,
    /// Leads.
    Leader,
    /// Learns, and does not vote.
    Learner,
}

/// How a node is, as it sees itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeStatus {
    /// Which cluster.
    pub cluster_id: raft::ClusterId,
    /// Who.
    pub id: NodeId,
    /// Its name.
    pub name: String,
    /// Where clients reach it.
    pub client_addr: String,
    /// Where peers reach it.
    pub peer_addr: String,
    /// What it does.
    pub role: RoleName,
    /// Whether it votes.
    pub voter: bool,
    /// Whom it follows.
    pub leader: Option<NodeId>,
    /// Its term.
    pub term: Term,
    /// First entry it still has.
    pub first_log_index: Index,
    /// Last entry it has.
    pub last_log_index: Index,
    /// Committed.
    pub commit_index: Index,
    /// Applied.
    pub applied_index: Index,
    /// Last entry in its snapshot; 0: none.
    pub snapshot_index: Index,
    /// Encoded hard state and entries above the snapshot, bytes.
    pub log_bytes: u64,
    /// The snapshot, bytes.
    pub snapshot_bytes: u64,
    /// Keys.
    pub keys: u64,
    /// Keys and values, bytes.
    pub data_bytes: u64,
    /// Sessions.
    pub sessions: u64,
    /// Digest of the state at `digest_index`.
    pub state_digest: u64,
    /// The applied index that `state_digest` belongs to.
    pub digest_index: Index,
    /// Messages received from peers since the start.
    pub peer_messages_received: u64,
    /// Bytes sent to and received from peers since the start.
    pub peer_bytes: u64,
    /// 99th percentile of the log's sync, microseconds, since the start.
    pub fsync_us_p99: u64,
    /// Since the start, milliseconds.
    pub uptime_ms: u64,
    /// Its version.
    pub version: String,
    /// Whether every first member was heard and recorded; until then nothing is served.
    pub formed: bool,
    /// The members, as this node knows them.
    pub members: Vec<MemberStatus>,
}

/// A member, as a node knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemberStatus {
    /// Its id.
    pub id: NodeId,
    /// Its name.
    pub name: String,
    /// Whether it votes.
    pub voter: bool,
    /// Where clients reach it; empty: never announced.
    pub client_addr: String,
    /// Where peers reach it.
    pub peer_addr: String,
    /// Whether it has announced its disk.
    pub announced: bool,
}
