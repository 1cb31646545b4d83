//! Why a node stops itself.

use raft::Index;

use crate::image::ImageError;

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
    /// The node's own snapshot is not the state that was taken, though its file is intact.
    #[error("{file}: {error}")]
    Image {
        /// Relative to the data directory.
        file: String,
        /// What is wrong with it.
        error: ImageError,
    },
    /// The node's own snapshot cannot be read.
    #[error(transparent)]
    Snapshot(#[from] data::OpenError),
    /// A majority has another state than this node: going on would spread what is wrong.
    #[error(
        "the state after entry {index} differs from that of a majority (digest {own:016x}, theirs {theirs:016x}): this copy cannot be \
         trusted. Keep its directory for whoever looks into it, and replace this member"
    )]
    Diverged {
        /// Once this much was applied.
        index: Index,
        /// This node's digest.
        own: u64,
        /// The majority's.
        theirs: u64,
    },
    /// An entry whose header is no header, though its batch was intact.
    #[error("entry {index}: its header cannot be read")]
    Entry {
        /// Where it stands.
        index: Index,
    },
}
