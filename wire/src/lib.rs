//! Bytes to frames to messages, and back: everything that crosses a socket, and the one encoding of what the log carries.
//!
//! It does no I/O and believes nothing: a length is checked against its limit before memory is reserved for it, a checksum before the
//! bytes under it are read, and no bytes from outside make it panic. Keys, values and entries are borrowed from the read buffer, never
//! copied. Each module shows the tables of its bytes; `docs/PROTOCOL.md` shows them all, and says what a client must do.
//!
//! ```
//! use raft::Index;
//! use wire::{CallId, Command, FrameBuffer, Op, Request, SessionId, limits::FRAME_BODY_LEN_MAX};
//!
//! // A client writes a request...
//! let call = CallId { session: SessionId(7), birth_index: Index(5), seq: 1, first_unanswered: 1 };
//! let op = Op::Put { key: b"color", value: b"green" };
//! op.validate().expect("within the limits");
//! let (mut command, mut sent) = (Vec::new(), Vec::new());
//! wire::encode_write(&call, &op, &mut command);
//! wire::encode_request(42, &Request::Write { command: &command }, &mut sent);
//!
//! // ...a node reads it, however the stream was cut on the way; the bytes of `command` go into its log as they are.
//! let mut buffer = FrameBuffer::new(FRAME_BODY_LEN_MAX);
//! buffer.space()[..sent.len()].copy_from_slice(&sent);
//! buffer.filled(sent.len());
//! let frame = buffer.next()?.expect("a whole frame");
//! let (request_id, request) = wire::decode_request(frame)?;
//! assert_eq!((request_id, &request), (42, &Request::Write { command: &command }));
//! assert_eq!(Command::decode(&command)?, Command::Write { call, op });
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

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
pub mod image; // the content of a snapshot
pub mod limits; // every bound on bytes from outside, with its reason
pub mod peer; // between nodes
pub mod status; // how a node is

pub use checksum::checksum;
pub use client::{
    BusyReason, Item, Page, RejectedReason, Reply, Request, RequestError, Scan, Value, WriteOutcome, Written, decode_reply, decode_request,
    encode_reply, encode_request,
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
pub use peer::{
    PeerFrame, decode_peer, encode_ping, encode_pong, encode_raft, encode_snapshot_chunk, encode_snapshot_fetch, encode_state_digest,
};
pub use status::{MemberStatus, NodeStatus, RoleName};
