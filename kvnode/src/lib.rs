//! A replica without its sockets: `Node` is raft, the state machine, the sessions and the waiting clients as one value; `drive` is the
//! one way through it. The binary puts a mio loop around it, the simulator virtual clocks and disks.
//!
//! What is absent: no clock (the caller passes the time), no thread, no socket, no file but through `data::Store`.

mod applied; // what came of a client's write
mod clock; // time as entries carry it
mod digests; // replicas compare their states
pub mod drive; // the order of effects
mod error; // why a node stops itself
mod image; // the state as the content of a snapshot
pub mod limits; // bounds, with their reasons
mod machine; // what commands do to keys
mod members; // who they are, and the guard against a wiped disk
mod node; // all of these as one value
mod scans; // clients that read page by page
mod sessions; // why a call that is sent twice runs once
mod status; // what a node tells of itself
mod view; // the map at one point in time, read in slices
mod waiting; // clients that wait for an answer

pub use applied::{AppliedWrite, Fate};
pub use drive::{Outbox, drive};
pub use error::NodeError;
pub use image::ImageError;
pub use limits::Bounds;
pub use members::first_entry;
pub use node::{Asked, Event, MaxLogBytes, Node, NodeConfig};
pub use waiting::ClientId;
