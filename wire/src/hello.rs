//! The first frame on every connection, in both directions: who is there, and whether we may talk.

use raft::{ClusterId, DiskId, Incarnation, Index, NodeId};

/// Version of the protocol; a node speaks exactly one so far.
pub const PROTOCOL_VERSION: u16 = 1;

/// What a connection between nodes carries. Bulk never delays a heartbeat: they travel apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Purpose {
    /// Heartbeats, votes, reads, acknowledgements.
    Control,
    /// Appends.
    Entries,
    /// Snapshots.
    Snapshot,
}

/// First frame of whoever dialled.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Hello {
    /// From a client. `cluster_id` if it knows one, from a resume token or an earlier answer.
    Client { cluster_id: Option<ClusterId> },
    /// From a node, on one of its connections to a peer.
    Peer { cluster_id: ClusterId, purpose: Purpose, peer: PeerHello },
}

/// What a node says of itself to a peer, in the dialler's `Hello` and in the acceptor's answer alike.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeerHello {
    /// Who speaks.
    pub node: NodeId,
    /// Whom the dialler believes to reach; `None` in the answer.
    pub to: Option<NodeId>,
    /// Its data directory.
    pub disk_id: DiskId,
    /// Its life.
    pub incarnation: Incarnation,
    /// Where clients reach it.
    pub client_addr: String,
    /// Where peers reach it.
    pub peer_addr: String,
    /// Its version.
    pub version: String,
}

/// The answer to a client's `Hello`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Welcome {
    /// Which cluster this is.
    pub cluster_id: ClusterId,
    /// Who answers.
    pub node: NodeId,
    /// What this node has applied: the birth index of a session that begins now.
    pub applied_index: Index,
    /// The leader it knows of.
    pub leader: Option<NodeId>,
    /// Every member with a known client address: endpoints are seeds, the rest is learned here.
    pub members: Vec<MemberAddress>,
    /// Its version.
    pub version: String,
}

/// Where clients reach a member.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemberAddress {
    /// Its id.
    pub id: NodeId,
    /// Its name.
    pub name: String,
    /// `HOST:PORT` for clients; empty while it has not announced one.
    pub client_addr: String,
}

/// "No", and why; the connection is closed behind it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refused {
    /// For programs.
    pub reason: RefusedReason,
    /// For people: names what was found, what was expected and what to do.
    pub message: String,
}

/// Why a connection is refused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum RefusedReason {
    /// Another cluster's id.
    WrongCluster,
    /// A protocol version this node does not speak.
    WrongVersion,
    /// A member whose data directory is not the one it announced.
    WrongDisk,
    /// The dialler expected another node at this address.
    WrongNode,
    /// Not a member of this cluster.
    NotAMember,
    /// The first frame was no `Hello`, or of the wrong kind for this listener.
    NotHello,
    /// No room for another connection.
    TooManyConnections,
}
