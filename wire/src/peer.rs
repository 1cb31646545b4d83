//! Between nodes: a raft message, and for an append the bytes of its entries. `Ping` and `Pong` keep a link known to be alive.

use raft::Message;

/// A frame between nodes, after the greeting. `entries` are the encoded entries of an `Append`, one after the other; else empty.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PeerFrame<'a> {
    /// From raft to raft.
    Raft { message: Message, entries: &'a [u8] },
    /// "Are you there?" From the dialler.
    Ping,
    /// "I am." From the acceptor.
    Pong,
}
