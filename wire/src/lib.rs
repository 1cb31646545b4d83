//! Bytes to frames to messages, and back: everything that crosses a socket, and the one encoding of commands.
//!
//! It does no I/O. Every length is checked against its limit before anything is allocated for it.

pub mod client;
pub mod command; // what the log carries: writes and the cluster's own records
pub mod hello; // the first frame on every connection
pub mod limits; // every bound on bytes from outside, with its reason
pub mod peer; // between nodes // between a client and a node
