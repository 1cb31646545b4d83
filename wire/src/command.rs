//! What the log carries. The bytes of a client's write travel unchanged from its request into the log and to every disk.

use raft::{DiskId, Index, NodeId};

/// A client's session: 128 bits that the client draws.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SessionId(pub u128);

/// What makes a retry safe: the same call, however often it is sent, takes effect once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CallId {
    /// Whose call.
    pub session: SessionId,
    /// A log index from before the session's first write, learned from a node's `Welcome`: a session that is unknown though it was
    /// born at or before the horizon has been evicted, and is refused.
    pub birth_index: Index,
    /// Which call of the session, from 1.
    pub seq: u64,
    /// The lowest number whose answer the client does not have yet: replies below it are forgotten.
    pub first_unanswered: u64,
}

/// A write, as a client asks for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Op<'a> {
    /// Replace.
    Put { key: &'a [u8], value: &'a [u8] },
    /// Add to the end; a missing key is an empty value.
    Append { key: &'a [u8], value: &'a [u8] },
    /// Remove.
    Delete { key: &'a [u8] },
    /// Replace if the key is as expected (compare and swap).
    Cas { key: &'a [u8], expect: Expect<'a>, value: &'a [u8] },
}

/// What a `Cas` expects.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expect<'a> {
    /// No such key.
    Absent,
    /// This value.
    Value(&'a [u8]),
    /// This version.
    Version(u64),
}

/// What a member says of itself, committed so that all others hold it to its word.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Announce {
    /// Who.
    pub node: NodeId,
    /// Its data directory: another one later means that what it promised is lost.
    pub disk_id: DiskId,
    /// Where clients reach it.
    pub client_addr: String,
    /// Where peers reach it.
    pub peer_addr: String,
    /// Its version, `kvnode -V` without the name.
    pub version: String,
}

/// The payload of a command entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command<'a> {
    /// A client's write.
    Write { call: CallId, op: Op<'a> },
    /// A member's record.
    Announce(Announce),
}

/// One member in the payload of a membership entry, which holds them all.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    /// Its id.
    pub id: NodeId,
    /// Its name, unique in the cluster.
    pub name: String,
    /// Where peers dial it until it announces another address.
    pub peer_addr: String,
    /// Whether it votes; otherwise it learns.
    pub voter: bool,
}
