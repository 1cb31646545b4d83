//! What came of a client's write, once it is applied: for those who watch, while the client gets its reply.

use raft::{Index, Term};
use wire::WriteOutcome;
use wire::command::SessionId;

/// A client's write, as an entry of the log that was applied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AppliedWrite {
    /// Of the entry.
    pub term: Term,
    /// Whose.
    pub session: SessionId,
    /// Which call of the session.
    pub seq: u64,
    /// What came of it.
    pub fate: Fate,
}

/// What came of a write that was applied: the same on every node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It ran.
    Ran(WriteOutcome),
    /// It had run before.
    Repeated {
        /// There.
        first: Index,
    },
    /// Its session is gone: it did not run.
    Expired,
    /// Its number is answered, or too far ahead: it did not run.
    OutOfWindow,
}
