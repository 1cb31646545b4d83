//! Log and snapshots as they lie on the disk, for people: read only, and past damage as far as it goes.

use std::io;

use raft::{ClusterId, EntryHeader, Index};

use crate::batch::{self, BATCH_HEADER_LEN, BatchHeader, Walk, walk_from};
use crate::disk::{Disk, nonzero_len, read_all};
use crate::error::{BatchDamage, Damage, IdentityError, Nonsense, OpenError};
use crate::identity::{Identity, read_identity};
use crate::limits::SEGMENT_LEN_MAX;
use crate::segment::{HeaderError, LOG_DIR, SEGMENT_HEADER_LEN, SegmentHeader, SegmentName};
use crate::snapshot::{SNAPSHOT_DIR, SnapshotMeta, parse_snapshot_name};
use crate::snapshots::load;

/// One thing found, in order of place.
#[derive(Debug)]
pub enum Record<'a> {
    /// Who the node is.
    Identity(&'a Identity),
    /// The identity is missing (`None`) or cannot be read.
    NoIdentity(Option<IdentityError>),
    /// A snapshot begins.
    Snapshot {
        /// The file.
        file: &'a str,
        /// Bytes in it.
        file_len: u64,
        /// What it is to a node that starts.
        state: SnapshotState,
    },
    /// Content of the newest snapshot, verified; the next piece follows.
    SnapshotContent(&'a [u8]),
    /// The newest snapshot is not whole, or cannot be read.
    BadSnapshot(&'a OpenError),
    /// A segment begins.
    Segment {
        /// Which.
        name: SegmentName,
        /// Bytes in the file.
        file_len: u64,
        /// Its header; `None` for one that is still being prepared, or damaged.
        header: Option<SegmentHeader>,
    },
    /// A batch, good or with a bad body.
    Batch {
        /// Where it begins in its segment.
        offset: u64,
        /// What it says.
        header: BatchHeader,
        /// Whether its body passed the checksum; if not, no entries follow.
        intact: bool,
    },
    /// An entry of the batch before.
    Entry {
        /// Its position in the log.
        index: Index,
        /// Its fixed part.
        header: EntryHeader,
        /// The rest.
        payload: &'a [u8],
    },
    /// Bytes that are not as they should be. In the last batch that was begun they may be a torn write, else they are damage.
    Bad {
        /// The file.
        segment: SegmentName,
        /// Where it begins.
        offset: u64,
        /// What it is.
        what: Bad,
    },
}

/// What a file in the directory of snapshots is to a node that starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SnapshotState {
    /// What it starts from. Its content follows.
    Newest(SnapshotMeta),
    /// Replaced by a newer one, which it ends before; or not finished. It is removed.
    Leftover,
}

/// What `inspect` may find wrong.
#[derive(Debug, thiserror::Error)]
pub enum Bad {
    /// The file, or its header.
    #[error("{0}")]
    Segment(Damage),
    /// A format version of another program.
    #[error("format version {0} is unknown to this program")]
    Version(u32),
    /// A batch.
    #[error("{0}")]
    Batch(BatchDamage),
    /// The entries of a batch.
    #[error("a batch that makes no sense ({0})")]
    Entries(Nonsense),
    /// The file cannot be read.
    #[error("{0}")]
    Io(io::Error),
}

/// Shows `see` everything in a data directory, and changes nothing. Fails only if the directory of the log cannot be listed.
pub fn inspect<D: Disk>(disk: &mut D, see: &mut impl FnMut(Record<'_>)) -> io::Result<()> {
    let identity = read_identity(disk);
    let mut cluster_id = None;
    match &identity {
        Ok(Some(identity)) => {
            cluster_id = Some(identity.cluster_id);
            see(Record::Identity(identity));
        }
        Ok(None) => see(Record::NoIdentity(None)),
        Err(_) => see(Record::NoIdentity(identity.err())),
    }
    let mut names: Vec<SegmentName> = match disk.list(LOG_DIR) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        other => other?.iter().filter_map(|name| SegmentName::parse(name)).collect(),
    };
    names.sort_unstable();
    // What a snapshot covers may have been dropped.
    let has_snapshot = snapshots(disk, cluster_id, see)?;
    let mut expected = names.first().copied().filter(|_| has_snapshot).unwrap_or(SegmentName::FIRST);
    for name in names {
        if expected < name {
            see(Record::Bad { segment: expected, offset: 0, what: Bad::Segment(Damage::Missing) });
        }
        expected = name.next();
        let mut bytes = Vec::new();
        let read = disk.open(&name.path()).and_then(|file| read_all(disk, &file, SEGMENT_LEN_MAX, &mut bytes));
        if let Err(error) = read {
            see(Record::Bad { segment: name, offset: 0, what: Bad::Io(error) });
            continue;
        }
        // Without an identity the log speaks for itself.
        cluster_id = cluster_id.or(SegmentHeader::cluster_of(&bytes));
        segment(name, &bytes, cluster_id, see);
    }
    Ok(())
}

/// Shows the snapshots; whether there is a complete one.
fn snapshots<D: Disk>(disk: &mut D, cluster_id: Option<ClusterId>, see: &mut impl FnMut(Record<'_>)) -> io::Result<bool> {
    let mut names = match disk.list(SNAPSHOT_DIR) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        other => other?,
    };
    names.sort_unstable();
    let newest = names.iter().filter_map(|name| parse_snapshot_name(name)).max();
    for name in names {
        let file = format!("{SNAPSHOT_DIR}/{name}");
        let file_len = disk.open(&file).and_then(|open| disk.file_len(&open)).unwrap_or(0);
        match (parse_snapshot_name(&name).filter(|last| newest == Some(*last)), cluster_id) {
            (Some(last), Some(cluster_id)) => {
                let mut header_seen = false;
                let result = load(disk, cluster_id, last, |meta, content| {
                    if !std::mem::replace(&mut header_seen, true) {
                        see(Record::Snapshot { file: &file, file_len, state: SnapshotState::Newest(meta) });
                    }
                    see(Record::SnapshotContent(content));
                });
                if let Err(error) = result {
                    see(Record::BadSnapshot(&error));
                }
            }
            _ => see(Record::Snapshot { file: &file, file_len, state: SnapshotState::Leftover }),
        }
    }
    Ok(newest.is_some())
}

fn segment(name: SegmentName, bytes: &[u8], cluster_id: Option<ClusterId>, see: &mut impl FnMut(Record<'_>)) {
    let file_len = bytes.len() as u64;
    let Some(cluster_id) = cluster_id else {
        see(Record::Segment { name, file_len, header: None });
        return;
    };
    let header = SegmentHeader::decode(bytes, cluster_id, name);
    see(Record::Segment { name, file_len, header: header.ok() });
    let unused = nonzero_len(bytes) <= SEGMENT_HEADER_LEN;
    match header {
        Err(HeaderError::Version(version)) => see(Record::Bad { segment: name, offset: 8, what: Bad::Version(version) }),
        // A segment in the making has no header yet.
        Err(HeaderError::Damaged(damage)) if !unused => see(Record::Bad { segment: name, offset: 0, what: Bad::Segment(damage) }),
        _ => {}
    }
    let mut from = SEGMENT_HEADER_LEN;
    loop {
        let Walk { batches, end, bad } = walk_from(bytes, from, cluster_id, name);
        for (offset, header) in batches {
            see(Record::Batch { offset, header, intact: true });
            let body = usize::try_from(offset).map_or(0, |offset| offset + BATCH_HEADER_LEN);
            match batch::entries(&header, &bytes[body..body + header.body_len as usize]) {
                Ok(entries) => {
                    for (index, entry) in (header.first_index.0..).zip(entries) {
                        see(Record::Entry { index: Index(index), header: entry.header, payload: entry.payload() });
                    }
                }
                Err(nonsense) => see(Record::Bad { segment: name, offset, what: Bad::Entries(nonsense) }),
            }
        }
        let Some(bad) = bad else { return };
        if let Some(header) = bad.header {
            see(Record::Batch { offset: end, header, intact: false });
        }
        see(Record::Bad { segment: name, offset: end, what: Bad::Batch(bad.damage) });
        match bad.next_offset.and_then(|next| usize::try_from(next).ok()) {
            Some(next) => from = next,
            None => return,
        }
    }
}
