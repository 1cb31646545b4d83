//! What can go wrong, by who can do something about it. Every error names the file, and where it can the offset.

use std::io;

use raft::{ClusterId, EntryId, Index};

use crate::segment::{LOG_DIR, SegmentName};
use crate::snapshot::SnapshotDamage;

/// Why a data directory cannot be prepared.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// It has an identity already; read it to see whether it is the wanted one.
    #[error("identity: the directory is already initialised")]
    AlreadyInitialised,
    /// There is a log of more than `init` ever writes, and no identity: somebody lost the identity of a node that ran.
    #[error("{segment}: holds a log, but there is no identity: restore the file, or empty the directory to give up this copy of the data")]
    LogWithoutIdentity {
        /// A segment that holds it.
        segment: SegmentName,
    },
    /// A file operation failed.
    #[error("{file}: {source}")]
    Io {
        /// Relative to the data directory.
        file: String,
        /// What the system said.
        source: io::Error,
    },
}

/// Why an identity cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The bytes are not what was written.
    #[error("identity: {damage} at offset {offset}")]
    Corrupt {
        /// Where it shows.
        offset: u64,
        /// What it is.
        damage: &'static str,
    },
    /// Written by another version of the program.
    #[error("identity: format version {version} is unknown to this program")]
    Version {
        /// That version.
        version: u32,
    },
    /// The file cannot be read.
    #[error("identity: {0}")]
    Io(#[from] io::Error),
}

/// Why a log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// What was synced is no longer there. Nothing was changed.
    #[error("{segment}: {}", damage.told(*offset))]
    Corrupt {
        /// The file.
        segment: SegmentName,
        /// Where the damage begins.
        offset: u64,
        /// What it is.
        damage: Damage,
    },
    /// Written by another version of the program.
    #[error("{segment}: format version {version} is unknown to this program")]
    Version {
        /// The file.
        segment: SegmentName,
        /// That version.
        version: u32,
    },
    /// A snapshot is not what was written, not ours, or of another version of the program. Nothing was changed.
    #[error("{file}: {damage}")]
    Snapshot {
        /// The file.
        file: String,
        /// What, and where.
        damage: SnapshotDamage,
    },
    /// A file operation failed.
    #[error("{file}: {source}")]
    Io {
        /// Relative to the data directory.
        file: String,
        /// What the system said.
        source: io::Error,
    },
}

impl From<StoreError> for OpenError {
    /// Of what a store did while it was being opened: it writes, and reads nothing back.
    fn from(error: StoreError) -> OpenError {
        match error {
            StoreError::Io { file, source, .. } => OpenError::Io { file, source },
            other => OpenError::Io { file: LOG_DIR.to_owned(), source: io::Error::other(other) },
        }
    }
}

/// What is wrong with a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Damage {
    /// A segment is gone though one behind it, or a batch before it, proves that it was there.
    #[error("the file is missing")]
    Missing,
    /// The segment's header has a bad checksum or magic.
    #[error("bad segment header")]
    SegmentHeader,
    /// A segment of another cluster.
    #[error("a segment of another cluster, {0}")]
    OtherCluster(ClusterId),
    /// A segment under another's name.
    #[error("a segment with sequence number {0}")]
    OtherSequence(u64),
    /// The file is longer or shorter than its header says.
    #[error("the file is not {expected} bytes long; it differs")]
    Length {
        /// What the header says.
        expected: u64,
    },
    /// A bad batch, or bytes where there should be none, with something good behind it.
    #[error("{batch}")]
    Batch {
        /// What is bad about it.
        batch: BatchDamage,
        /// Where the good data is.
        next: SegmentName,
        /// Where in there.
        next_offset: u64,
    },
    /// Nothing in a segment that a later one proves to have held a batch.
    #[error("no batch")]
    Empty,
    /// No good batch in the whole log, which cannot be: a finished `init` has synced one.
    #[error("no good batch in the whole log")]
    NoBatch,
    /// The log begins above the newest snapshot: entries are in neither.
    #[error("the log begins at {first}, {}; what was before is missing", match .snapshot {
        Some(last) => format!("and the newest snapshot ends with {last}"),
        None => "and there is no snapshot".to_owned(),
    })]
    Hole {
        /// Its first entry.
        first: Index,
        /// What the newest snapshot ends with.
        snapshot: Option<EntryId>,
    },
    /// A batch with good checksums that cannot follow what stands before it.
    #[error("a batch that makes no sense ({0})")]
    Nonsense(Nonsense),
}

impl Damage {
    /// The whole finding: what, where, and how we know that it is no torn write.
    fn told(&self, offset: u64) -> String {
        match self {
            Damage::Missing | Damage::Hole { .. } => self.to_string(),
            Damage::Batch { next, next_offset, .. } => {
                format!("{self} at offset {offset}; it was synced, for there is data behind it, at offset {next_offset} of {next}")
            }
            Damage::Empty => format!("{self} at offset {offset}; a later segment proves that there was one"),
            _ => format!("{self} at offset {offset}"),
        }
    }
}

/// What is bad about a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BatchDamage {
    /// The header's checksum is wrong. Its fields mean nothing.
    #[error("bad batch header")]
    Header,
    /// The body's checksum is wrong. The header still says which entries it held.
    #[error("bad batch body")]
    Body,
    /// Bytes behind the last batch, where there should be zeros.
    #[error("bytes that are no batch")]
    Garbage,
}

/// How a batch contradicts itself or the log before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Nonsense {
    /// Its first entry does not follow the log, or stands below it.
    #[error("its first index leaves a gap or lies below the log")]
    Gap,
    /// Its term is below an earlier batch's.
    #[error("the term fell")]
    TermFell,
    /// Another vote in the same term.
    #[error("the vote changed within a term")]
    VoteChanged,
    /// The term of an entry is below that of the entry before it.
    #[error("the terms of its entries fall")]
    EntryTermFell,
    /// The term of an entry is above the batch's own.
    #[error("an entry is of a later term than the batch")]
    EntryTermAhead,
    /// The entries do not fill the body as the header says.
    #[error("its entries are not what its header says")]
    Entries,
    /// A term or an index beyond what is possible.
    #[error("a number is out of range")]
    Range,
}

/// Why the log failed while running. The node must stop: after a failed write or sync nobody knows what the disk holds, and a second
/// try may report success for pages that the system has already dropped.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file operation failed.
    #[error("{file}: {what} failed: {source}")]
    Io {
        /// Relative to the data directory.
        file: String,
        /// The operation.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// An entry read back differs from what was written.
    #[error("{segment}: entry {index} at offset {offset} is damaged")]
    Corrupt {
        /// The file.
        segment: SegmentName,
        /// Where the entry begins.
        offset: u64,
        /// The entry.
        index: Index,
    },
    /// A save of more bytes than a batch can hold.
    #[error("a save of {len} bytes is longer than a batch can be")]
    BatchTooLong {
        /// Its body.
        len: u64,
    },
    /// An earlier call failed.
    #[error("the log was given up after an earlier failure")]
    Poisoned,
}
