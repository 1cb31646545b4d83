//! The Raft algorithm as a value: inputs go in, a [`Ready`] comes out.
//!
//! It never reads a clock, file, socket or random source of its own; time is a count of ticks, and the caller passes the seed. The same
//! inputs give the same outputs, byte for byte. It knows entries by position, term, length and kind; their bytes never pass through it.
//!
//! One turn, and its *order* is the safety argument:
//! ```
//! # use raft::*;
//! # let config = Config { id: NodeId(1), incarnation: Incarnation(1), seed: 7, election_ticks: 30, heartbeat_ticks: 5, append_bytes_max: 1 << 20,
//! #     inflight_appends_max: 64, inflight_bytes_max: 8 << 20, uncommitted_bytes_max: 16 << 20, unsaved_bytes_max: 16 << 20 };
//! # let recovered = Recovered { hard_state: HardState::default(), commit_index: Index(0), applied_index: Index(0), snapshot: EntryId::default(),
//! #     base: EntryId::default(), entries: vec![], membership: Membership::of_voters([NodeId(1)]) };
//! # fn send(_: Vec<(NodeId, Message)>) {}
//! # fn write_and_sync(_: &Save) {}
//! let mut raft = Raft::new(config, recovered);
//! raft.tick(1); // inputs: tick, step(from, message), propose(len), read(id), ...
//! let mut applied = vec![];
//! while raft.has_ready() {
//!     let ready = raft.take_ready();
//!     send(ready.appends); //               1. a leader's entries may travel while its own disk syncs (dissertation 10.2.1)
//!     if let Some(save) = ready.save {
//!         write_and_sync(&save); //         2. hard state and entries: one batch, one sync
//!         raft.saved(save.token); //           an input like any other: own votes and entries count from here
//!     }
//!     let released = raft.take_released();
//!     send(released.promises); //           3. votes and acknowledgements leave after the disk agrees
//!     if let Some((first, last)) = released.committed {
//!         applied.extend(first.0..=last.0); // 4. apply in log order, then answer clients and `released.reads`
//!         raft.applied(last);
//!     }
//! }
//! assert!(raft.is_leader()); // alone, it has elected itself, and its no-op is committed
//! assert_eq!(applied, [1]);
//! ```
//!
//! What it deliberately does not do: leases (no clock is trusted), more than one save at a time, joint membership changes, moving the
//! bytes of a snapshot (it says who offers which, [`Raft::wanted_snapshot`], and is told when it is there, [`Raft::install`]). What it does
//! not do *yet*, and where it will go: membership changes (`membership`, taken over when an entry of [`EntryKind::Membership`] is appended,
//! given back when it is truncated), leader transfer (`election`).
#![cfg_attr(not(test), no_std)] // the compiler keeps that promise
extern crate alloc;

// The words everything else is made of.
mod entry; // the 24 bytes before every payload, on disk and on the wire alike
mod limits; // how much is remembered for others
mod message; // what nodes say to each other
mod reached; // rare paths, marked for whoever tests
mod types; // Term, Index, NodeId, EntryMeta

// What a node consists of.
mod log; // positions, terms, and how much is on disk
mod membership; // who belongs, and what a majority is
mod progress; // what a leader knows of a follower
mod ready; // what a turn hands out, and the promises that wait for the disk
mod role; // follower, pre-candidate, candidate, leader

// The node, and its jobs.
mod raft; // inputs, outputs, the term rules: start here

mod election; // timers, pre-votes, votes
mod reads; // linearizable reads without a log entry
mod replication; // appends, acknowledgements, commit
mod snapshot; // compaction here, and what replaces dropped entries there

mod invariants; // what must hold after every step
mod sameness; // when two nodes have the same future

pub use entry::{ENTRY_HEADER_LEN, EntryHeader, EntryHeaderError};
pub use invariants::Facts;
pub use limits::READS_MAX;
pub use log::LogPositions;
pub use membership::Membership;
pub use message::{AppendOutcome, Message, ReadToken};
pub use progress::Progress;
pub use raft::{Config, Raft, Recovered};
pub use reached::Reached;
pub use reads::{ReadError, ReadId};
pub use ready::{Ready, Released, Save, SaveToken};
pub use replication::ProposeError;
pub use role::RoleName;
pub use types::{ClusterId, DiskId, EntryId, EntryKind, EntryMeta, HardState, Incarnation, Index, NodeId, TERM_AND_INDEX_LIMIT, Term};
