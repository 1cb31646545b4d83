//! The Raft algorithm as a value: inputs go in, a `Ready` comes out.
//!
//! It never reads a clock, file, socket or random source of its own; time is a count of ticks, and the caller passes the seed.
#![cfg_attr(not(test), no_std)] // the compiler keeps that promise
extern crate alloc;

mod entry; // the 24 bytes before every payload, on disk and on the wire alike
mod message;
mod types; // Term, Index, NodeId, EntryMeta: the words everything else is made of // what nodes say to each other

pub use entry::{ENTRY_HEADER_LEN, EntryHeader, EntryHeaderError};
pub use message::{AppendOutcome, Message, ReadToken};
pub use types::{ClusterId, DiskId, EntryId, EntryKind, EntryMeta, HardState, Incarnation, Index, NodeId, TERM_AND_INDEX_LIMIT, Term};
