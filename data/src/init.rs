//! Preparing a data directory: the first segment with entry 1, the file behind it, and at last the identity.

use std::io;

use raft::{ENTRY_HEADER_LEN, EntryHeader, HardState, Index};

use crate::batch::{self, BatchFields, BatchKind, walk};
use crate::checksum::Seed;
use crate::disk::{Disk, read_all, write_zeros};
use crate::error::InitError;
use crate::identity::{IDENTITY, Identity, write_identity};
use crate::limits::FIRST_SEGMENT_LEN;
use crate::segment::{LOG_DIR, SEGMENT_HEADER_LEN, SegmentHeader, SegmentName};

/// Makes a data directory whose log holds `first_entry`, encoded, as entry 1, committed. Durable when it returns; a crash before that
/// leaves no identity, and the next `init` removes what else it left.
pub fn init<D: Disk>(disk: &mut D, identity: &Identity, first_entry: &[u8]) -> Result<(), InitError> {
    match disk.open(IDENTITY) {
        Ok(_) => return Err(InitError::AlreadyInitialised),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(source) => return Err(InitError::Io { file: IDENTITY.to_owned(), source }),
    }
    disk.make_dir(LOG_DIR).map_err(io_error(LOG_DIR))?;
    remove_leftovers(disk)?;

    let cluster_id = identity.cluster_id;
    let first = SegmentName::FIRST;
    let entry = EntryHeader::decode(first_entry).expect("the caller encodes it");
    assert_eq!(first_entry.len(), ENTRY_HEADER_LEN + entry.payload_len as usize, "entry 1 is one whole entry");
    let fields = BatchFields {
        kind: BatchKind::Entries,
        first_index: Index(1),
        last_entry_term: entry.term,
        hard_state: HardState { term: entry.term, voted_for: None },
        commit_index: Index(1),
    };
    let mut batch = Vec::new();
    batch::encode(&mut batch, &Seed { cluster_id, segment: first, offset: SEGMENT_HEADER_LEN as u64 }, &fields, [first_entry].into_iter());
    assert!((SEGMENT_HEADER_LEN + batch.len()) as u64 <= FIRST_SEGMENT_LEN, "entry 1 of {} bytes", first_entry.len());

    // No order among these: without the identity nothing of it counts.
    let path = first.path();
    let file = disk.create(&path).map_err(io_error(&path))?;
    write_zeros(disk, &file, 0, FIRST_SEGMENT_LEN).map_err(io_error(&path))?;
    let header = SegmentHeader { cluster_id, name: first, size: FIRST_SEGMENT_LEN }.encode();
    disk.write_at(&file, 0, &header).map_err(io_error(&path))?;
    disk.write_at(&file, SEGMENT_HEADER_LEN as u64, &batch).map_err(io_error(&path))?;
    disk.sync(&file).map_err(io_error(&path))?;
    let spare = first.next().path();
    disk.create(&spare).map_err(io_error(&spare))?;
    disk.sync_dir(LOG_DIR).map_err(io_error(LOG_DIR))?;
    disk.sync_dir("").map_err(io_error("."))?;
    write_identity(disk, identity)
}

/// Removes what an interrupted `init` can have left, and nothing else: a log that a node has written to stays.
fn remove_leftovers<D: Disk>(disk: &mut D) -> Result<(), InitError> {
    let names: Vec<SegmentName> =
        disk.list(LOG_DIR).map_err(io_error(LOG_DIR))?.iter().filter_map(|name| SegmentName::parse(name)).collect();
    for name in &names {
        let path = name.path();
        let file = disk.open(&path).map_err(io_error(&path))?;
        let mut bytes = Vec::new();
        let len_max = if *name == SegmentName::FIRST { FIRST_SEGMENT_LEN } else { 0 };
        read_all(disk, &file, len_max, &mut bytes).map_err(io_error(&path))?;
        if bytes.len() as u64 > len_max || holds_more_than_init_writes(&bytes, *name) {
            return Err(InitError::LogWithoutIdentity { segment: *name });
        }
    }
    for name in names {
        disk.remove(&name.path()).map_err(io_error(&name.path()))?;
    }
    disk.sync_dir(LOG_DIR).map_err(io_error(LOG_DIR))
}

/// Whether a segment was ever in use. Its own header names the cluster, which this `init` may not.
fn holds_more_than_init_writes(bytes: &[u8], name: SegmentName) -> bool {
    SegmentHeader::cluster_of(bytes).is_some_and(|cluster_id| {
        let found = walk(bytes, cluster_id, name);
        found.batches.len() > 1 || found.bad.is_some_and(|bad| bad.next_offset.is_some())
    })
}

fn io_error(file: &str) -> impl FnOnce(io::Error) -> InitError {
    let file = file.to_owned();
    move |source| InitError::Io { file, source }
}
