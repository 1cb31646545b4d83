//! Bytes to frames to messages, and back: everything that crosses a socket, and the one encoding of commands.
//!
//! It does no I/O. Every length is checked against its limit before anything is allocated for it.

mod checksum; // CRC-32C: the one function
pub mod client; // between a client and a node
mod codec; // how a field is written: the words all messages are made of
pub mod command; // what the log carries: writes and the cluster's own records
#[cfg(test)]
mod document; // docs/PROTOCOL.md says what the code does
pub mod frame; // how messages are told apart in a stream of bytes
pub mod hello; // the first frame on every connection
#[cfg(test)]
mod hex; // bytes as people write them
pub mod limits; // every bound on bytes from outside, with its reason
pub mod peer; // between nodes
pub mod status; // how a node is

pub use checksum::checksum;
pub use client::{
    BusyReason, RejectedReason, Reply, Request, RequestError, Value, WriteOutcome, Written, decode_reply, decode_request, encode_reply,
    encode_request,
};
pub use codec::DecodeError;
pub use command::{
    Announce, CallId, Command, Expect, Member, Op, SessionId, decode_membership, encode_membership, encode_write, validate_key,
};
pub use frame::{FRAME_HEADER_LEN, Frame, FrameBuffer, FrameError, Kind};
pub use hello::{
    Hello, MemberAddress, PeerHello, Purpose, Refused, RefusedReason, Welcome, decode_hello, decode_peer_welcome, decode_welcome,
    encode_hello, encode_peer_welcome, encode_refused, encode_welcome,
};
pub use peer::{PeerFrame, decode_peer, encode_ping, encode_pong, encode_raft};
pub use status::{MemberStatus, NodeStatus, RoleName};
