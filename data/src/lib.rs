//! What a node keeps on disk: who it is, the replicated log, and snapshots in place of the log's beginning.
//!
//! One save is one *batch*, written with one call and made durable by one sync, in *segments* that were zero-filled and synced before.
//! It knows nothing of elections or keys, has no thread, and reads no clock but to measure a sync. All I/O goes through the small
//! [`Disk`] trait; [`fake::FakeDisk`] imitates one with its faults.
//!
//! After a crash the log holds every batch whose sync had returned, and the one batch after them whole or not at all. Damage to
//! anything before the last batch is found and named ([`OpenError::Corrupt`]), never cut away. After a failed write or sync the
//! [`Store`] is poisoned: the process must stop, and its next start makes the end of the log durable before raft sees it. The
//! module docs of `recovery` give the reasons, and the one window that remains.
//!
//! A snapshot is a file of its own, complete and synced before it has its name; what is in it is the caller's affair. Only when one is
//! there may the log be compacted, up to its end. Want of space costs a snapshot, or makes a save late, and stops nothing.
//!
//! ```
//! use data::fake::FakeDisk;
//! use data::{Identity, Options, Store, cluster_id, init};
//! use raft::{DiskId, EntryHeader, EntryKind, HardState, Index, NodeId, Save, SaveToken, Term};
//!
//! let entry = |term, payload: &[u8]| {
//!     let header = EntryHeader { term: Term(term), time_ms: 0, payload_len: payload.len() as u32, kind: EntryKind::Command };
//!     [&header.encode()[..], payload].concat()
//! };
//! let cluster_id = cluster_id("", &[("n1", "127.0.0.1:7217")]);
//! let identity = Identity { cluster_id, node: NodeId(1), name: "n1".into(), disk_id: DiskId(7), members: vec![] };
//! let mut disk = FakeDisk::new();
//! init(&mut disk, &identity, &entry(0, b"the first members"))?;
//!
//! let (mut store, _) = Store::open(disk.clone(), &identity, Options::default())?;
//! let put = entry(1, b"put k v");
//! let meta = EntryHeader::decode(&put).unwrap().meta(Index(2));
//! store.stage(Index(2), put);
//! let hard_state = HardState { term: Term(1), voted_for: Some(NodeId(1)) };
//! store.save(&Save { token: SaveToken(1), hard_state, commit_index: Index(1), entries: vec![meta] })?;
//!
//! disk.crash_losing_all();
//! let (_, recovered) = Store::open(disk, &identity, Options::default())?;
//! assert_eq!((recovered.hard_state, recovered.entries.len()), (hard_state, 2));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod identity; // who a node is
mod init; // a new data directory
mod lock; // one process per directory

mod batch; // what one save writes
mod cache; // the newest entries, in memory
mod garbage; // files on their way out
mod recovery; // what a crash can leave, and what it cannot
mod segment; // a file of batches
mod spare; // the next one, made ready ahead
mod store; // the log of a running node
mod terms; // which term each entry is of

mod snapshot; // a file that stands for the beginning of the log
mod snapshots; // those of a node: taken, received, kept

mod inspect; // the same for people, past damage

mod checksum;
mod disk; // what all of this needs of a file system
mod error;
pub mod fake;
pub mod limits;
mod real;

pub use batch::{BATCH_HEADER_LEN, BatchHeader, BatchKind};
pub use disk::{Disk, SyncStatus};
pub use error::{BatchDamage, Damage, IdentityError, InitError, Nonsense, OpenError, StoreError};
pub use fake::{FakeDisk, FakeError};
pub use identity::{Identity, InitialMember, cluster_id, read_identity};
pub use init::init;
pub use inspect::{Bad, Record, SnapshotState, inspect};
pub use lock::{LockError, LockGuard, lock};
pub use real::RealDisk;
pub use recovery::{Recovered, verify};
pub use segment::{SEGMENT_HEADER_LEN, SegmentHeader, SegmentName};
pub use snapshot::{SnapshotDamage, SnapshotDecoder, SnapshotFault, SnapshotInfo, SnapshotMeta, snapshot_path};
pub use store::{Options, SaveStatus, Store};
