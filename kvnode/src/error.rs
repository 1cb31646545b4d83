//! Why a node stops itself.

use raft::Index;

/// A node that meets one of these must not go on.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The disk failed: what it holds is unknown from here on.
    #[error(transparent)]
    Store(#[from] data::StoreError),
    /// An entry that this version cannot read: written by a newer one.
    #[error("entry {index}: {error}; this node is older than the one that wrote it: install that version")]
    Command {
        /// Where it stands.
        index: Index,
        /// What is wrong with it.
        error: wire::DecodeError,
    },
    /// An entry whose header is no header, though its batch was intact.
    #[error("entry {index}: its header cannot be read")]
    Entry {
        /// Where it stands.
        index: Index,
    },
}
