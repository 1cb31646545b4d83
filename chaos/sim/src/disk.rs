//! The disk of a machine, and beside it what a power cut at this instant would leave of the log on it, in the worst case. That is known
//! from the bytes of every batch that was written and from the disk's own word on which bytes are safe: neither the node nor its store is
//! asked what they believe.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::ops::Deref;
use std::rc::Rc;

use data::{Disk, FakeDisk, Recovered, SyncStatus};
use raft::{EntryId, HardState, Index, NodeId, Reached, Term};

use crate::failure::must;

/// A disk that is watched; clones are handles on the same one.
#[derive(Clone)]
pub(crate) struct WatchedDisk {
    disk: FakeDisk,
    watch: Rc<RefCell<Watch>>,
}

/// A batch, as it was handed to the disk.
pub(crate) struct Written {
    pub(crate) first_index: Index,
    /// Of the entry before the first.
    pub(crate) prev_term: Term,
    /// Terms, and digests of the encoded entries.
    pub(crate) entries: Vec<(Term, u64)>,
}

#[derive(Default)]
struct Watch {
    /// As far as it was written.
    log: Log,
    /// Entries up to here would survive a power cut.
    durable_to: Index,
    /// The same of term and vote.
    hard_state: HardState,
    /// Written, and perhaps not durable yet; oldest first.
    pending: VecDeque<Batch>,
    /// Complete ones, by their last index.
    snapshots: Vec<Snapshot>,
    /// For whoever compares the logs.
    written: Vec<Written>,
    /// A power cut may leave less than it would have before.
    holds_less: bool,
    /// The power is out, or the process dead: what was pending is there or not.
    crashed: bool,
    has_lived: bool,
    reached: Reached,
}

/// A log as positions and terms.
#[derive(Default)]
struct Log {
    /// The entry before the first.
    base: EntryId,
    /// Each with the segment that it stands in.
    entries: VecDeque<(Term, u64)>,
}

struct Batch {
    path: Rc<str>,
    offset: u64,
    len: u64,
    is_base: bool,
    first_index: Index,
    last_index: Index,
    hard_state: HardState,
    /// What stood in its place.
    replaced: Log,
}

struct Snapshot {
    index: Index,
    path: String,
    len: u64,
    is_durable: bool,
}

impl Log {
    fn last_index(&self) -> Index {
        Index(self.base.index.0 + self.entries.len() as u64)
    }

    fn last(&self) -> EntryId {
        self.entries.back().map_or(self.base, |(term, _)| EntryId { index: self.last_index(), term: *term })
    }

    fn term_at(&self, index: Index) -> Option<Term> {
        if index == self.base.index {
            return Some(self.base.term);
        }
        let position = usize::try_from(index.0.checked_sub(self.base.index.0 + 1)?).ok()?;
        self.entries.get(position).map(|(term, _)| *term)
    }

    /// Takes out everything from `first` on.
    fn cut(&mut self, first: Index) -> Log {
        let kept = usize::try_from(first.0 - self.base.index.0 - 1).expect("the entries are in memory");
        let base = EntryId { index: first.prev(), term: self.term_at(first.prev()).unwrap_or_default() };
        Log { base, entries: self.entries.split_off(kept.min(self.entries.len())) }
    }
}

impl WatchedDisk {
    pub(crate) fn new() -> WatchedDisk {
        WatchedDisk { disk: FakeDisk::new(), watch: Rc::default() }
    }

    /// Somebody has put another in its place.
    pub(crate) fn restore(&mut self, other: FakeDisk) {
        self.disk = other;
    }

    /// Whether this entry would be there after a power cut now, in the log or within a snapshot.
    pub(crate) fn holds(&self, entry: EntryId) -> bool {
        let watch = &mut *self.watch.borrow_mut();
        watch.settle(&self.disk);
        let in_log = entry.index <= watch.durable_to && watch.log.base.index < entry.index;
        entry.index <= watch.snapshot_index() || in_log && watch.log.term_at(entry.index) == Some(entry.term)
    }

    /// How far, without a gap, entries would be there after a power cut now.
    pub(crate) fn durable_index(&self) -> Index {
        let watch = &mut *self.watch.borrow_mut();
        watch.settle(&self.disk);
        let snapshot_index = watch.snapshot_index();
        if watch.log.base.index <= snapshot_index { watch.durable_to.max(snapshot_index) } else { snapshot_index }
    }

    /// Term and vote after a power cut now.
    pub(crate) fn hard_state(&self) -> HardState {
        let watch = &mut *self.watch.borrow_mut();
        watch.settle(&self.disk);
        watch.hard_state
    }

    /// The batches written since the last call.
    pub(crate) fn take_written(&self, out: &mut Vec<Written>) {
        out.append(&mut self.watch.borrow_mut().written);
    }

    /// Whether, since the last call, anything that would have been there after a power cut may be gone.
    pub(crate) fn take_holds_less(&self) -> bool {
        std::mem::take(&mut self.watch.borrow_mut().holds_less)
    }

    /// Moves the rare paths that were taken since the last call to `out`.
    pub(crate) fn take_reached(&self, out: &mut Vec<&'static str>) {
        self.watch.borrow_mut().reached.take(out);
    }

    /// A life ends; `how` is what that does to the disk: a kill or a power cut.
    pub(crate) fn crash(&self, how: impl FnOnce(&FakeDisk)) {
        self.watch.borrow_mut().life_ends(&self.disk);
        how(&self.disk);
    }

    /// A new life has read this from it. That must be what was durable, with or without the batches whose sync had not returned.
    pub(crate) fn recovered(&self, node: NodeId, recovered: &Recovered) {
        let watch = &mut *self.watch.borrow_mut();
        watch.recovered(node, recovered);
        watch.settle(&self.disk);
    }
}

impl Deref for WatchedDisk {
    type Target = FakeDisk;

    fn deref(&self) -> &FakeDisk {
        &self.disk
    }
}

impl Watch {
    fn snapshot_index(&self) -> Index {
        self.snapshots.iter().filter(|snapshot| snapshot.is_durable).map(|snapshot| snapshot.index).max().unwrap_or_default()
    }

    /// Counts what has become durable since.
    fn settle(&mut self, disk: &FakeDisk) {
        if self.crashed {
            return;
        }
        for snapshot in self.snapshots.iter_mut().filter(|snapshot| !snapshot.is_durable) {
            snapshot.is_durable = disk.survives(&snapshot.path, 0, snapshot.len);
        }
        while let Some(batch) = self.pending.pop_front_if(|batch| disk.survives(&batch.path, batch.offset, batch.offset + batch.len)) {
            self.hard_state = batch.hard_state;
            // What a later batch replaces does not count.
            let replaced_from = self.pending.iter().map(|later| later.first_index).min();
            self.durable_to = replaced_from.map_or(batch.last_index, |from| batch.last_index.min(from.prev()));
        }
    }

    fn life_ends(&mut self, disk: &FakeDisk) {
        self.settle(disk);
        self.crashed = true;
        if self.pending.iter().any(|batch| !batch.is_base && !batch.replaced.entries.is_empty()) {
            self.reached.mark("a crash meets a cut of the log that is not durable");
        }
    }

    fn batch(&mut self, path: &Rc<str>, offset: u64, bytes: &[u8]) {
        let Some(header) = Header::decode(bytes) else { return };
        let (len, is_base, hard_state, first_index) = (bytes.len() as u64, header.is_base, header.hard_state, header.first_index);
        if self.crashed && !is_base {
            return; // recovery writes the last good batch again
        }
        let segment = segment_number(path);
        let prev_term = self.log.term_at(first_index.prev()).unwrap_or_default();
        let entries = header.entries(bytes);
        let last_index = Index(first_index.prev().0 + entries.len() as u64);
        let replaced = match is_base {
            true => {
                let base = EntryId { index: first_index.prev(), term: header.last_entry_term };
                std::mem::replace(&mut self.log, Log { base, entries: VecDeque::new() })
            }
            false => self.log.cut(first_index),
        };
        self.holds_less |= is_base || first_index <= self.durable_to;
        self.durable_to = self.durable_to.min(first_index.prev());
        self.log.entries.extend(entries.iter().map(|(term, _)| (*term, segment)));
        self.pending.push_back(Batch { path: path.clone(), offset, len, is_base, first_index, last_index, hard_state, replaced });
        if !entries.is_empty() {
            self.written.push(Written { first_index, prev_term, entries });
        }
    }

    /// A segment is gone: perhaps the one behind the last, where nothing stands yet.
    fn segment_removed(&mut self, path: &str) {
        let segment = segment_number(path);
        let up_to = self.log.entries.partition_point(|(_, stands_in)| *stands_in <= segment);
        if self.log.entries.get(up_to.wrapping_sub(1)).is_none_or(|(_, stands_in)| *stands_in < segment) {
            return;
        }
        self.holds_less = true;
        for (term, _) in self.log.entries.drain(..up_to) {
            self.log.base = EntryId { index: self.log.base.index.next(), term };
        }
    }

    fn recovered(&mut self, node: NodeId, recovered: &Recovered) {
        assert!(self.crashed || !self.has_lived, "{node} lives again, and its last life has not ended");
        self.has_lived = true;
        let last = recovered.entries.last().map_or(recovered.base, |meta| meta.id());
        let found = |watch: &Watch| {
            let hard_state = watch.pending.back().map_or(watch.hard_state, |batch| batch.hard_state);
            (watch.log.last(), hard_state) == (last, recovered.hard_state)
        };
        let newest = (self.log.last(), self.pending.len());
        while !found(self) {
            let Some(batch) = self.pending.pop_back() else {
                let known = (self.log.last(), self.hard_state, newest);
                must!(false, "what is durable comes back", "{node} has found {last} and {:?}, not {known:?}", recovered.hard_state);
                return;
            };
            let Batch { is_base, first_index, replaced, .. } = batch;
            if is_base {
                self.log = replaced;
            } else {
                self.log.cut(first_index);
                self.log.entries.extend(replaced.entries);
            }
            // What stood in its place was durable, unless it was itself pending.
            let still_pending = self.pending.iter().map(|batch| batch.first_index).min();
            self.durable_to = still_pending.map_or(self.log.last_index(), Index::prev);
        }
        for meta in &recovered.entries {
            let known = self.log.term_at(meta.index);
            let is_same = known == Some(meta.term) || meta.index <= self.log.base.index;
            must!(is_same, "what is durable comes back", "{node} has found {}, there was {known:?}", meta.id());
        }
        let snapshot_index = recovered.snapshot.map_or(Index(0), |snapshot| snapshot.meta.last.index);
        let durable = self.snapshot_index();
        must!(durable <= snapshot_index, "what is durable comes back", "{node} has found a snapshot of {snapshot_index}, not {durable}");
        self.snapshots.retain(|snapshot| snapshot.index <= snapshot_index);
        (self.crashed, self.holds_less) = (false, true);
    }
}

/// Of a path in the log's directory; 0: of nothing there.
fn segment_number(path: &str) -> u64 {
    let digits = path.strip_prefix("log/").and_then(|name| name.strip_suffix(".seg"));
    digits.and_then(|digits| u64::from_str_radix(digits, 16).ok()).unwrap_or(0)
}

fn snapshot_index(path: &str) -> Option<Index> {
    let (index, _) = path.strip_prefix("snapshot/")?.strip_suffix(".snap")?.split_once('-')?;
    u64::from_str_radix(index, 16).ok().map(Index)
}

/// What the header of a batch says, read by its table in `data::batch` and not by its code.
struct Header {
    is_base: bool,
    entry_count: usize,
    first_index: Index,
    last_entry_term: Term,
    hard_state: HardState,
}

const HEADER_LEN: usize = 64;
const ENTRY_HEADER_LEN: usize = 24;

fn u32_at(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(std::array::from_fn(|i| bytes[at + i])) as usize
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}

impl Header {
    /// `None`: zeros, or the header of a segment.
    fn decode(bytes: &[u8]) -> Option<Header> {
        let is_batch = HEADER_LEN <= bytes.len() && u32_at(bytes, 0) != 0 && bytes.len() == HEADER_LEN + u32_at(bytes, 8);
        is_batch.then(|| Header {
            is_base: u32_at(bytes, 56) == 1,
            entry_count: u32_at(bytes, 12),
            first_index: Index(u64_at(bytes, 16)),
            last_entry_term: Term(u64_at(bytes, 24)),
            hard_state: HardState { term: Term(u64_at(bytes, 32)), voted_for: Some(u64_at(bytes, 40)).filter(|id| *id != 0).map(NodeId) },
        })
    }

    fn entries(&self, batch: &[u8]) -> Vec<(Term, u64)> {
        let mut rest = &batch[HEADER_LEN..];
        let mut entry = || {
            let (entry, behind) = rest.split_at(ENTRY_HEADER_LEN + u32_at(rest, 16));
            rest = behind;
            (Term(u64_at(entry, 0)), digest(entry))
        };
        (0..self.entry_count).map(|_| entry()).collect()
    }
}

fn digest(bytes: &[u8]) -> u64 {
    let add = |digest: u64, part: u64| {
        let mixed = (digest ^ part).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed ^ (mixed >> 29)
    };
    let (words, rest) = bytes.as_chunks::<8>();
    let digest = words.iter().fold(bytes.len() as u64, |digest, word| add(digest, u64::from_le_bytes(*word)));
    rest.iter().fold(digest, |digest, byte| add(digest, u64::from(*byte)))
}

/// An open file, and the name that it was opened under.
pub(crate) struct WatchedFile {
    file: <FakeDisk as Disk>::File,
    path: Rc<str>,
}

impl Disk for WatchedDisk {
    type File = WatchedFile;

    fn list(&mut self, dir: &str) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }

    fn make_dir(&mut self, dir: &str) -> io::Result<()> {
        self.disk.make_dir(dir)
    }

    fn create(&mut self, path: &str) -> io::Result<WatchedFile> {
        Ok(WatchedFile { file: self.disk.create(path)?, path: path.into() })
    }

    fn open(&mut self, path: &str) -> io::Result<WatchedFile> {
        Ok(WatchedFile { file: self.disk.open(path)?, path: path.into() })
    }

    fn read_at(&mut self, file: &WatchedFile, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.disk.read_at(&file.file, offset, buf)
    }

    fn file_len(&mut self, file: &WatchedFile) -> io::Result<u64> {
        self.disk.file_len(&file.file)
    }

    fn write_at(&mut self, file: &WatchedFile, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.disk.write_at(&file.file, offset, bytes)?;
        // Nothing but batches stands behind the header of a segment.
        if HEADER_LEN as u64 <= offset && file.path.starts_with("log/") {
            self.watch.borrow_mut().batch(&file.path, offset, bytes);
        }
        Ok(())
    }

    fn set_len(&mut self, file: &WatchedFile, len: u64) -> io::Result<()> {
        self.disk.set_len(&file.file, len)
    }

    fn sync(&mut self, file: &WatchedFile) -> io::Result<()> {
        self.disk.sync(&file.file)
    }

    fn start_sync(&mut self, file: &WatchedFile) -> io::Result<SyncStatus> {
        self.disk.start_sync(&file.file)
    }

    fn sync_finished(&mut self) -> io::Result<bool> {
        self.disk.sync_finished()
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let file = self.disk.open(from)?;
        let len = self.disk.file_len(&file)?;
        self.settle();
        self.disk.rename(from, to)?;
        self.removed(from);
        if let Some(index) = snapshot_index(to) {
            let snapshot = Snapshot { index, path: to.to_owned(), len, is_durable: false };
            self.watch.borrow_mut().snapshots.push(snapshot);
        }
        Ok(())
    }

    fn remove(&mut self, path: &str) -> io::Result<()> {
        self.settle();
        self.disk.remove(path)?;
        self.removed(path);
        Ok(())
    }

    fn sync_dir(&mut self, dir: &str) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }

    fn last_sync_us(&self) -> u64 {
        self.disk.last_sync_us()
    }
}

impl WatchedDisk {
    fn settle(&self) {
        self.watch.borrow_mut().settle(&self.disk);
    }

    /// A name is gone, at least for now.
    fn removed(&self, path: &str) {
        let watch = &mut *self.watch.borrow_mut();
        let snapshots = watch.snapshots.len();
        watch.snapshots.retain(|snapshot| snapshot.path != path);
        watch.holds_less |= watch.snapshots.len() < snapshots;
        if segment_number(path) > 0 {
            watch.segment_removed(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use data::{Identity, Options, Store};
    use raft::{DiskId, EntryHeader, EntryKind, EntryMeta, Save, SaveToken};

    use super::*;

    fn save(store: &mut Store<WatchedDisk>, first: u64, term: u64) {
        let header = EntryHeader { term: Term(term), time_ms: 0, payload_len: 1, kind: EntryKind::Command };
        let meta = |index| EntryMeta { index: Index(index), term: Term(term), payload_len: 1, kind: EntryKind::Command };
        let entries: Vec<EntryMeta> = (first..first + 2).map(meta).collect();
        entries.iter().for_each(|entry| store.stage(entry.index, [&header.encode()[..], b"x"].concat()));
        let hard_state = HardState { term: Term(term), voted_for: None };
        store.save(&Save { token: SaveToken(0), hard_state, commit_index: Index(1), entries }).expect("it is healthy");
    }

    #[test]
    fn a_disk_holds_less_when_what_was_durable_is_replaced() {
        let members = Vec::new();
        let cluster_id = data::cluster_id("", &[("n1", "n1:7217")]);
        let identity = Identity { cluster_id, node: NodeId(1), name: "n1".into(), disk_id: DiskId(1), members };
        let mut disk = WatchedDisk::new();
        data::init(&mut disk, &identity, &kvnode::first_entry(&[])).expect("an empty disk takes a node");
        let (mut store, recovered) = Store::open(disk.clone(), &identity, Options::default()).expect("it is whole");
        disk.recovered(identity.node, &recovered);
        assert!(disk.take_holds_less(), "a crash may have taken anything");
        save(&mut store, 2, 1);
        assert_eq!(disk.durable_index(), Index(3));
        assert!(!disk.take_holds_less(), "it holds more");
        save(&mut store, 3, 2);
        assert!(disk.take_holds_less(), "3/t1 is gone");
        assert!(!disk.holds(EntryId { index: Index(3), term: Term(1) }));
    }
}
