//! The snapshots of a node, as files: one being taken, one being received, the newest complete one, and older ones on their way out.
//!
//! A snapshot is written under a name ending in `.tmp`, in slices. Nobody waits for a slice: the system is only asked to begin with it, so
//! that in the end little is left to sync. Then the file is synced and renamed, and the directory synced. Want of space while one is
//! written is no failure: the log, which is all that counts, is not touched by it. Then the file is removed and the snapshot given up; it
//! may be tried again.

use std::io;

use raft::{ClusterId, EntryId, Reached, TERM_AND_INDEX_LIMIT};

use crate::disk::Disk;
use crate::error::{OpenError, StoreError};
use crate::garbage::TEMPORARY;
use crate::limits::SNAPSHOT_READ_LEN;
use crate::snapshot::{
    SNAPSHOT_DIR, SNAPSHOT_HEADER_LEN, SnapshotDamage, SnapshotDecoder, SnapshotEncoder, SnapshotFault, SnapshotInfo, SnapshotMeta,
    decode_header, parse_snapshot_name, snapshot_path,
};

/// Where a snapshot from a peer is gathered.
const INCOMING: &str = "snapshot/incoming.tmp";

/// The snapshots in a data directory.
#[derive(Debug)]
pub(crate) struct Snapshots<F> {
    cluster_id: ClusterId,
    newest: Option<SnapshotInfo>,
    /// Complete ones that a newer one has replaced, oldest first.
    older: Vec<EntryId>,
    /// Stays though it is older: somebody is in the middle of it.
    pinned: Option<EntryId>,
    taking: Option<Taking<F>>,
    incoming: Option<Incoming<F>>,
    /// The complete one that was read from last.
    reader: Option<(SnapshotInfo, F)>,
    no_space: bool,
}

#[derive(Debug)]
struct Taking<F> {
    encoder: SnapshotEncoder,
    file: F,
    len: u64,
}

#[derive(Debug)]
struct Incoming<F> {
    last: EntryId,
    file: F,
    len: u64,
    /// The first bytes, up to a whole header.
    header: Vec<u8>,
}

/// What a directory holds, before anything in it is changed.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) newest: Option<SnapshotInfo>,
    /// Files to be removed: unfinished or replaced.
    leftovers: Vec<String>,
    has_dir: bool,
}

impl Found {
    /// What opening is about to clear away.
    pub(crate) fn mark(&self, reached: &mut Reached) {
        for leftover in &self.leftovers {
            reached.mark(match leftover.ends_with(TEMPORARY) {
                true => "an unfinished snapshot is removed at start",
                false => "a snapshot that was replaced is removed at start",
            });
        }
    }

    /// Whether opening removes anything.
    pub(crate) fn has_leftovers(&self) -> bool {
        !self.leftovers.is_empty()
    }
}

/// Looks at the directory, and at the header of the newest snapshot.
pub(crate) fn survey<D: Disk>(disk: &mut D, cluster_id: ClusterId) -> Result<Found, OpenError> {
    let names = match disk.list(SNAPSHOT_DIR) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found { newest: None, leftovers: Vec::new(), has_dir: false }),
        other => other.map_err(open_error(SNAPSHOT_DIR))?,
    };
    let newest = names.iter().filter_map(|name| parse_snapshot_name(name)).max();
    let is_leftover = |name: &str| match name.strip_suffix(TEMPORARY) {
        Some(whole) => parse_snapshot_name(whole).is_some() || INCOMING.ends_with(&format!("/{name}")),
        None => parse_snapshot_name(name).is_some_and(|last| Some(last) != newest),
    };
    let mut leftovers: Vec<String> = names.iter().filter(|name| is_leftover(name)).map(|name| format!("{SNAPSHOT_DIR}/{name}")).collect();
    leftovers.sort_unstable();
    let newest = newest.map(|last| read_info(disk, cluster_id, last)).transpose()?;
    Ok(Found { newest, leftovers, has_dir: true })
}

/// Reads the header of a complete snapshot.
fn read_info<D: Disk>(disk: &mut D, cluster_id: ClusterId, last: EntryId) -> Result<SnapshotInfo, OpenError> {
    let path = snapshot_path(last);
    let file = disk.open(&path).map_err(open_error(&path))?;
    let mut header = [0; SNAPSHOT_HEADER_LEN];
    let read = disk.read_at(&file, 0, &mut header).map_err(open_error(&path))?;
    let meta = if read < header.len() {
        Err(SnapshotDamage { offset: read as u64, what: SnapshotFault::Truncated })
    } else {
        decode_header(&header, cluster_id)
    };
    let meta = meta.and_then(|meta| named(meta, last)).map_err(|damage| OpenError::Snapshot { file: path.clone(), damage })?;
    let len = disk.file_len(&file).map_err(open_error(&path))?;
    Ok(SnapshotInfo { meta, len })
}

/// A header must say what the name says.
fn named(meta: SnapshotMeta, last: EntryId) -> Result<SnapshotMeta, SnapshotDamage> {
    if meta.last == last { Ok(meta) } else { Err(SnapshotDamage { offset: 0, what: SnapshotFault::OtherEntry(meta.last) }) }
}

impl<F> Snapshots<F> {
    /// Removes what is left over, and makes the directory last.
    pub(crate) fn open<D: Disk<File = F>>(disk: &mut D, cluster_id: ClusterId, found: Found) -> Result<Snapshots<F>, OpenError> {
        if !found.has_dir {
            disk.make_dir(SNAPSHOT_DIR).and_then(|()| disk.sync_dir("")).map_err(open_error(SNAPSHOT_DIR))?;
        }
        // First of all the newest one's name must last: it may be known to the page cache alone, and the older one is the fallback.
        disk.sync_dir(SNAPSHOT_DIR).map_err(open_error(SNAPSHOT_DIR))?;
        for leftover in &found.leftovers {
            disk.remove(leftover).map_err(open_error(leftover))?;
        }
        if !found.leftovers.is_empty() {
            disk.sync_dir(SNAPSHOT_DIR).map_err(open_error(SNAPSHOT_DIR))?;
        }
        Ok(Snapshots {
            cluster_id,
            newest: found.newest,
            older: Vec::new(),
            pinned: None,
            taking: None,
            incoming: None,
            reader: None,
            no_space: false,
        })
    }

    pub(crate) fn newest(&self) -> Option<SnapshotInfo> {
        self.newest
    }

    pub(crate) fn no_space(&self) -> bool {
        self.no_space
    }

    // Taking one.

    pub(crate) fn begin<D: Disk<File = F>>(&mut self, disk: &mut D, meta: SnapshotMeta) -> Result<(), StoreError> {
        assert!(self.taking.is_none(), "a snapshot of {} while another is taken", meta.last);
        assert!(self.newest.is_none_or(|newest| newest.meta.last <= meta.last), "a snapshot of {} behind a newer one", meta.last);
        self.no_space = false;
        let path = taking_path(meta.last);
        let created = create_anew(disk, &path);
        if let Some(file) = self.settle(disk, &path, "create", created)? {
            self.taking = Some(Taking { encoder: SnapshotEncoder::new(self.cluster_id, meta), file, len: 0 });
        }
        Ok(())
    }

    pub(crate) fn is_taking(&self) -> bool {
        self.taking.is_some()
    }

    pub(crate) fn write<D: Disk<File = F>>(&mut self, disk: &mut D, content: &[u8]) -> Result<(), StoreError> {
        let Some(mut taking) = self.taking.take() else { return Ok(()) };
        let mut bytes = Vec::new();
        taking.encoder.push(content, &mut bytes);
        let path = taking_path(taking.encoder.meta().last);
        if bytes.is_empty() {
            self.taking = Some(taking);
            return Ok(());
        }
        let written = append(disk, &taking.file, taking.len, &bytes);
        taking.len += bytes.len() as u64;
        if self.settle(disk, &path, "write", written)?.is_some() {
            self.taking = Some(taking);
        }
        Ok(())
    }

    pub(crate) fn finish<D: Disk<File = F>>(&mut self, disk: &mut D) -> Result<Option<SnapshotInfo>, StoreError> {
        let Some(Taking { encoder, file, len }) = self.taking.take() else { return Ok(None) };
        let meta = encoder.meta();
        let path = taking_path(meta.last);
        let mut bytes = Vec::new();
        encoder.finish(&mut bytes);
        let written = append(disk, &file, len, &bytes).and_then(|()| disk.sync(&file));
        if self.settle(disk, &path, "write", written)?.is_none() {
            return Ok(None);
        }
        self.publish(disk, &path, SnapshotInfo { meta, len: len + bytes.len() as u64 })
    }

    pub(crate) fn abandon<D: Disk<File = F>>(&mut self, disk: &mut D) -> Result<(), StoreError> {
        match self.taking.take() {
            Some(taking) => remove(disk, &taking_path(taking.encoder.meta().last)),
            None => Ok(()),
        }
    }

    // Receiving one.

    pub(crate) fn begin_incoming<D: Disk<File = F>>(&mut self, disk: &mut D, last: EntryId) -> Result<(), StoreError> {
        self.abandon_incoming(disk)?;
        self.no_space = false;
        let created = create_anew(disk, INCOMING);
        if let Some(file) = self.settle(disk, INCOMING, "create", created)? {
            self.incoming = Some(Incoming { last, file, len: 0, header: Vec::new() });
        }
        Ok(())
    }

    pub(crate) fn write_incoming<D: Disk<File = F>>(&mut self, disk: &mut D, bytes: &[u8]) -> Result<(), StoreError> {
        let Some(mut incoming) = self.incoming.take() else { return Ok(()) };
        let written = append(disk, &incoming.file, incoming.len, bytes);
        if self.settle(disk, INCOMING, "write", written)?.is_some() {
            let missing = SNAPSHOT_HEADER_LEN - incoming.header.len();
            incoming.header.extend_from_slice(&bytes[..bytes.len().min(missing)]);
            incoming.len += bytes.len() as u64;
            self.incoming = Some(incoming);
        }
        Ok(())
    }

    pub(crate) fn incoming_len(&self) -> Option<(EntryId, u64)> {
        self.incoming.as_ref().map(|incoming| (incoming.last, incoming.len))
    }

    pub(crate) fn abandon_incoming<D: Disk<File = F>>(&mut self, disk: &mut D) -> Result<(), StoreError> {
        match self.incoming.take() {
            Some(_) => remove(disk, INCOMING),
            None => Ok(()),
        }
    }

    /// There is no room for what comes after it.
    pub(crate) fn give_up_incoming<D: Disk<File = F>>(&mut self, disk: &mut D) -> Result<(), StoreError> {
        self.no_space |= self.incoming.is_some();
        self.abandon_incoming(disk)
    }

    pub(crate) fn finish_incoming<D: Disk<File = F>>(&mut self, disk: &mut D) -> Result<Option<SnapshotInfo>, StoreError> {
        let Some(Incoming { last, file, len, header }) = self.incoming.take() else { return Ok(None) };
        let meta = header.first_chunk().and_then(|header| decode_header(header, self.cluster_id).ok()).filter(|meta| meta.last == last);
        // The log must be able to go on behind it.
        let is_possible = last.index.0 < TERM_AND_INDEX_LIMIT - 1 && last.term.0 < TERM_AND_INDEX_LIMIT;
        let is_newer = self.newest.is_none_or(|newest| newest.meta.last < last);
        let Some(meta) = meta.filter(|_| is_newer && is_possible) else {
            remove(disk, INCOMING)?;
            return Ok(None);
        };
        // One of our own that ends before this one is of no use any more.
        if self.taking.as_ref().is_some_and(|taking| taking.encoder.meta().last <= last) {
            self.abandon(disk)?;
        }
        let synced = disk.sync(&file);
        if self.settle(disk, INCOMING, "sync", synced)?.is_none() {
            return Ok(None);
        }
        self.publish(disk, INCOMING, SnapshotInfo { meta, len })
    }

    // Complete ones.

    /// Appends bytes of a file to `out`, and tells how long it is.
    pub(crate) fn read<D: Disk<File = F>>(
        &mut self,
        disk: &mut D,
        last: EntryId,
        offset: u64,
        len_max: usize,
        out: &mut Vec<u8>,
    ) -> Result<Option<u64>, StoreError> {
        let path = snapshot_path(last);
        let (info, file) = match self.reader.take() {
            Some((info, file)) if info.meta.last == last => (info, file),
            _ => {
                let newest = self.newest.filter(|newest| newest.meta.last == last);
                if newest.is_none() && !self.older.contains(&last) {
                    return Ok(None);
                }
                let file = disk.open(&path).map_err(store_error(&path, "open"))?;
                let len = disk.file_len(&file).map_err(store_error(&path, "read"))?;
                (SnapshotInfo { meta: SnapshotMeta { last, time_ms: 0 }, len }, file)
            }
        };
        let at = out.len();
        let wanted = usize::try_from(info.len.saturating_sub(offset)).map_or(len_max, |left| left.min(len_max));
        out.resize(at + wanted, 0);
        let read = disk.read_at(&file, offset, &mut out[at..]).map_err(store_error(&path, "read"))?;
        out.truncate(at + read);
        self.reader = Some((info, file));
        Ok(Some(info.len))
    }

    pub(crate) fn pin(&mut self, last: Option<EntryId>) {
        self.pinned = last;
    }

    /// The oldest complete one that nobody needs.
    pub(crate) fn removable(&self) -> Option<EntryId> {
        self.older.iter().copied().find(|last| Some(*last) != self.pinned)
    }

    /// How many complete ones a newer one has replaced.
    pub(crate) fn older_count(&self) -> usize {
        self.older.len()
    }

    /// Its file is about to be removed.
    pub(crate) fn forget(&mut self, last: EntryId) {
        self.reader.take_if(|(info, _)| info.meta.last == last);
        self.older.retain(|older| *older != last);
    }

    /// Gives a synced file its name.
    fn publish<D: Disk<File = F>>(&mut self, disk: &mut D, path: &str, info: SnapshotInfo) -> Result<Option<SnapshotInfo>, StoreError> {
        let last = info.meta.last;
        let renamed = disk.rename(path, &snapshot_path(last));
        if self.settle(disk, path, "rename", renamed)?.is_none() {
            return Ok(None);
        }
        // From here on there is no way back: nobody knows whether the name lasts if this fails.
        disk.sync_dir(SNAPSHOT_DIR).map_err(store_error(SNAPSHOT_DIR, "sync"))?;
        self.reader.take_if(|(info, _)| info.meta.last == last);
        let replaced = self.newest.replace(info).map(|newest| newest.meta.last);
        self.older.extend(replaced.filter(|replaced| *replaced != last));
        Ok(Some(info))
    }

    /// What a step on an unfinished file came to. `None`: there was no room, and the file is gone.
    fn settle<D: Disk<File = F>, T>(
        &mut self,
        disk: &mut D,
        path: &str,
        what: &'static str,
        result: io::Result<T>,
    ) -> Result<Option<T>, StoreError> {
        match result {
            Err(error) if is_no_space(&error) => {
                self.no_space = true;
                match disk.remove(path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => Err(store_error(path, "remove")(error)),
                    _ => Ok(None),
                }
            }
            other => other.map(Some).map_err(store_error(path, what)),
        }
    }
}

/// Shows all the content of a complete snapshot, verified, with what it ends with; then that there is no more to it.
pub(crate) fn load<D: Disk>(
    disk: &mut D,
    cluster_id: ClusterId,
    last: EntryId,
    mut each: impl FnMut(SnapshotMeta, &[u8]),
) -> Result<(), OpenError> {
    let path = snapshot_path(last);
    let damaged = |damage| OpenError::Snapshot { file: path.clone(), damage };
    let file = disk.open(&path).map_err(open_error(&path))?;
    let mut decoder = SnapshotDecoder::new(cluster_id);
    // Most are far shorter than what is read at once of a long one.
    let file_len = disk.file_len(&file).map_err(open_error(&path))?;
    let mut bytes = vec![0; usize::try_from(file_len).unwrap_or(SNAPSHOT_READ_LEN).clamp(1, SNAPSHOT_READ_LEN)];
    loop {
        let read = disk.read_at(&file, decoder.len(), &mut bytes).map_err(open_error(&path))?;
        if read == 0 {
            return decoder.end().map(|_| ()).map_err(damaged);
        }
        decoder.push(&bytes[..read]).map_err(damaged)?;
        if let Some(meta) = decoder.meta() {
            each(named(meta, last).map_err(damaged)?, &decoder.take_content());
        }
    }
}

fn taking_path(last: EntryId) -> String {
    snapshot_path(last) + TEMPORARY
}

fn create_anew<D: Disk>(disk: &mut D, path: &str) -> io::Result<D::File> {
    match disk.create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            disk.remove(path)?;
            disk.create(path)
        }
        other => other,
    }
}

fn append<D: Disk>(disk: &mut D, file: &D::File, len: u64, bytes: &[u8]) -> io::Result<()> {
    disk.write_at(file, len, bytes)?;
    disk.write_behind(file, len, bytes.len() as u64);
    Ok(())
}

fn remove<D: Disk>(disk: &mut D, path: &str) -> Result<(), StoreError> {
    disk.remove(path).map_err(store_error(path, "remove"))
}

/// Whether a file operation failed because there is no room, and for no other reason.
pub(crate) fn is_no_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn open_error(file: &str) -> impl Fn(io::Error) -> OpenError {
    move |source| OpenError::Io { file: file.to_owned(), source }
}

fn store_error(file: &str, what: &'static str) -> impl Fn(io::Error) -> StoreError {
    move |source| StoreError::Io { file: file.to_owned(), what, source }
}

#[cfg(test)]
mod tests {
    use raft::{Index, Term};

    use super::*;
    use crate::fake::FakeDisk;

    #[test]
    fn a_snapshot_that_no_log_could_go_on_behind_is_not_taken_in() {
        let (mut disk, cluster_id) = (FakeDisk::new(), ClusterId(5));
        let found = survey(&mut disk, cluster_id).expect("it is healthy");
        let mut snapshots = Snapshots::open(&mut disk, cluster_id, found).expect("it is healthy");
        let limit = TERM_AND_INDEX_LIMIT;
        for (index, term, is_taken_in) in [(limit - 1, 1, false), (u64::MAX, 1, false), (1, limit, false), (limit - 2, limit - 1, true)] {
            let last = EntryId { index: Index(index), term: Term(term) };
            let mut bytes = Vec::new();
            SnapshotEncoder::new(cluster_id, SnapshotMeta { last, time_ms: 0 }).finish(&mut bytes);
            snapshots.begin_incoming(&mut disk, last).expect("it is healthy");
            snapshots.write_incoming(&mut disk, &bytes).expect("it is healthy");
            let finished = snapshots.finish_incoming(&mut disk).expect("it is no failure");
            assert_eq!(finished.is_some(), is_taken_in, "{last}");
        }
    }
}
