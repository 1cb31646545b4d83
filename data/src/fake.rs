//! A disk in memory that keeps two views: what a running system sees, and what a power cut would leave. For tests and the simulator.
//!
//! Bytes become durable by `sync`, names by `sync_dir`. A crash keeps any subset of the 512-byte sectors written since the last sync,
//! any prefix of the unsynced operations on names, and either length. After a failed sync the written sectors count as clean though the
//! disk never got them, as on real systems: they stay visible until the next crash, and a later sync of the file does not save them.
//! Nothing is random but by the seed given to `crash`.

mod fate; // of what was not synced, in a crash

use std::cell::{RefCell, RefMut};
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

use fastrand::Rng;

use self::fate::Fate;
use crate::disk::{Disk, SyncStatus, parent};

const SECTOR_LEN: usize = 512;

/// `None`: zeros.
type Sector = Option<Rc<[u8; SECTOR_LEN]>>;

/// A handle on the disk; clones are handles on the same one.
#[derive(Clone, Debug, Default)]
pub struct FakeDisk(Rc<RefCell<State>>);

/// An open file. It does not outlive a crash.
#[derive(Clone, Copy, Debug)]
pub struct FakeFile {
    inode: usize,
    life: u64,
}

/// A failure that was asked for, as the source of an `io::Error`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FakeError {
    /// The disk has stopped, until the next crash.
    #[error("fake disk: stopped")]
    Stopped,
    /// A sync that failed.
    #[error("fake disk: injected sync failure")]
    Sync,
    /// A write that failed half done.
    #[error("fake disk: injected write failure")]
    Write,
}

impl FakeError {
    /// Whether that is what an error comes from.
    pub fn of(error: &io::Error) -> Option<FakeError> {
        error.get_ref()?.downcast_ref().copied()
    }
}

#[derive(Clone, Debug, Default)]
struct State {
    inodes: Vec<Inode>,
    names: BTreeMap<String, Node>,
    durable_names: BTreeMap<String, Node>,
    unsynced: Vec<NameChange>,
    /// Files that have lost a name, and may have lost the last.
    unnamed: Vec<usize>,
    life: u64,
    steps: u64,
    stop_at: Option<u64>,
    stop_behind_rename: Option<u64>,
    full_at: Option<u64>,
    stopped: bool,
    writes: u64,
    fail_write: Option<u64>,
    syncs: u64,
    fail_sync: Option<u64>,
    space: Option<u64>,
    sync_us: u64,
    hold_syncs: bool,
    /// Written and taken back by crashes.
    lost_sectors: u64,
    held: Option<FakeFile>,
    finished: Option<Outcome>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Node {
    Dir,
    File(usize),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outcome {
    Synced,
    Failed(FakeError),
    Full,
}

/// One operation on the names of a directory, as it reaches the disk: whole or not at all.
#[derive(Clone, Debug)]
struct NameChange {
    dir: String,
    removed: Option<String>,
    added: Option<(String, Node)>,
}

#[derive(Clone, Debug, Default)]
struct Inode {
    sectors: Vec<Sector>,
    len: u64,
    durable_len: u64,
    /// Written since the last sync; with what the disk still holds there.
    dirty: BTreeMap<usize, Sector>,
    /// Written, then dropped by a failed sync; with what the disk still holds there.
    lost: BTreeMap<usize, Sector>,
    last_write_offset: u64,
}

impl FakeDisk {
    /// An empty directory.
    pub fn new() -> FakeDisk {
        FakeDisk::default()
    }

    /// Another disk with the same content and the same past.
    pub fn fork(&self) -> FakeDisk {
        FakeDisk(Rc::new(RefCell::new(self.0.borrow().clone())))
    }

    /// Power cut: of what was not synced anything may stay. Open files are gone, injected faults are over.
    pub fn crash(&self, seed: u64) {
        let mut rng = Rng::with_seed(seed);
        let fate = match rng.u8(..8) {
            0 => Fate::Kept,
            1 => Fate::Gone,
            2 => Fate::Torn(rng.u64(..64 << 10)),
            3 => Fate::Torn(rng.u64(..256)),
            _ => Fate::Random(&mut rng),
        };
        self.state().crash(fate);
    }

    /// Power cut after which nothing unsynced is left.
    pub fn crash_losing_all(&self) {
        self.state().crash(Fate::Gone);
    }

    /// Power cut that left the first bytes of the last write, all writes before it, and every name.
    pub fn crash_tearing_at(&self, bytes: u64) {
        self.state().crash(Fate::Torn(bytes));
    }

    /// Power cut that left every name and none of the bytes that were not synced: a rename can overtake what it names.
    pub fn crash_keeping_names(&self) {
        self.state().crash(Fate::Named);
    }

    /// The process is killed; the system lives on, and with it everything written.
    pub fn kill(&self) {
        self.state().crash(Fate::Kept);
    }

    /// Sectors so far that had been written, were not synced, and were something else after a crash.
    pub fn lost_sectors(&self) -> u64 {
        self.state().lost_sectors
    }

    /// Calls so far that change anything or make it durable.
    pub fn steps(&self) -> u64 {
        self.state().steps
    }

    /// Lets so many of those calls happen from now on; the next one fails, and from then on everything, until a crash.
    pub fn stop_after(&self, steps: u64) {
        let mut state = self.state();
        state.stop_at = Some(state.steps + steps);
    }

    /// The same from the next time on that something gets another name.
    pub fn stop_behind_rename(&self, steps: u64) {
        self.state().stop_behind_rename = Some(steps);
    }

    /// Lets so many of those calls happen from now on; the next one finds the disk full, and does nothing.
    pub fn full_after(&self, steps: u64) {
        let mut state = self.state();
        state.full_at = Some(state.steps + steps);
    }

    /// The write after so many others fails, half done.
    pub fn fail_write_after(&self, writes: u64) {
        let mut state = self.state();
        state.fail_write = Some(state.writes + writes);
    }

    /// The sync after so many others, of files or directories, fails, and drops what it should have saved.
    pub fn fail_sync_after(&self, syncs: u64) {
        let mut state = self.state();
        state.fail_sync = Some(state.syncs + syncs);
    }

    /// None of the faults that were asked for happens any more; one that has stopped the disk is not undone.
    pub fn disarm(&self) {
        let mut state = self.state();
        (state.stop_at, state.stop_behind_rename, state.full_at) = (None, None, None);
        (state.fail_write, state.fail_sync, state.space) = (None, None, None);
    }

    /// Bytes that all files together may have; `None`: any.
    pub fn set_space(&self, bytes: Option<u64>) {
        self.state().space = bytes;
    }

    /// Bytes that all files together have.
    pub fn used(&self) -> u64 {
        self.state().used()
    }

    /// How long a sync seems to take, microseconds.
    pub fn set_sync_us(&self, sync_us: u64) {
        self.state().sync_us = sync_us;
    }

    /// From now on `start_sync` leaves the sync pending until `finish_sync`.
    pub fn hold_syncs(&self, hold: bool) {
        self.state().hold_syncs = hold;
    }

    /// Whether a sync is pending.
    pub fn sync_is_held(&self) -> bool {
        self.state().held.is_some()
    }

    /// Whether a sync that was pending has ended, and nobody has asked yet.
    pub fn sync_is_finished(&self) -> bool {
        self.state().finished.is_some()
    }

    /// Lets the pending sync happen.
    pub fn finish_sync(&self) {
        let mut state = self.state();
        if let Some(file) = state.held.take() {
            state.finished = Some(match state.sync(&file) {
                Ok(()) => Outcome::Synced,
                Err(error) => FakeError::of(&error).map_or(Outcome::Full, Outcome::Failed),
            });
        }
    }

    /// Whether the bytes `from..to` of a file would be there after a power cut at this instant, under its name, whatever else it leaves.
    /// Not for a file that was shortened since it was last synced.
    pub fn survives(&self, path: &str, from: u64, to: u64) -> bool {
        let state = self.state();
        let Some(Node::File(inode)) = state.names.get(path) else { return false };
        let touches =
            |change: &NameChange| change.removed.as_deref() == Some(path) || change.added.as_ref().is_some_and(|(added, _)| added == path);
        state.durable_names.get(path) == Some(&Node::File(*inode))
            && !state.unsynced.iter().any(touches)
            && state.inodes[*inode].survives(from, to)
    }

    /// Every file, in order of path.
    pub fn files(&self) -> Vec<String> {
        self.state().names.iter().filter(|(_, node)| **node != Node::Dir).map(|(path, _)| path.clone()).collect()
    }

    /// The bytes of a file.
    pub fn content(&self, path: &str) -> Option<Vec<u8>> {
        let state = self.state();
        let Some(Node::File(inode)) = state.names.get(path) else { return None };
        let inode = &state.inodes[*inode];
        let mut bytes = vec![0; usize::try_from(inode.len).ok()?];
        inode.read(0, &mut bytes);
        Some(bytes)
    }

    /// Damage: the file has these bytes now, durably, as if it had always had them.
    pub fn set_content(&self, path: &str, bytes: &[u8]) {
        let mut state = self.state();
        let mut inode = Inode { len: bytes.len() as u64, durable_len: bytes.len() as u64, ..Inode::default() };
        inode.write(0, bytes);
        inode.dirty.clear();
        match state.names.get(path) {
            Some(Node::File(known)) => {
                let known = *known;
                state.inodes[known] = inode;
            }
            _ => {
                state.inodes.push(inode);
                let node = Node::File(state.inodes.len() - 1);
                state.names.insert(path.to_owned(), node);
                state.durable_names.insert(path.to_owned(), node);
            }
        }
    }

    /// Damage: one byte differs.
    pub fn flip(&self, path: &str, offset: u64, pattern: u8) {
        let mut state = self.state();
        let Some(Node::File(inode)) = state.names.get(path).copied() else { panic!("no file {path}") };
        let inode = &mut state.inodes[inode];
        let mut byte = [0];
        assert_eq!(inode.read(offset, &mut byte), 1, "no byte {offset} in {path}");
        inode.write(offset, &[byte[0] ^ pattern]);
        inode.dirty.clear();
    }

    /// Damage: the file is gone, durably.
    pub fn delete(&self, path: &str) {
        let mut state = self.state();
        state.names.remove(path);
        state.durable_names.remove(path);
    }

    fn state(&self) -> RefMut<'_, State> {
        self.0.borrow_mut()
    }
}

impl State {
    fn crash(&mut self, mut fate: Fate<'_>) {
        // Killed, and not cut off: the page cache survives, with all its debts.
        if !matches!(fate, Fate::Kept) {
            for inode in &mut self.inodes {
                self.lost_sectors += inode.crash(&mut fate);
            }
            self.crash_names(&mut fate);
        }
        self.life += 1;
        self.stopped = false;
        (self.stop_at, self.stop_behind_rename, self.full_at, self.fail_write, self.fail_sync) = (None, None, None, None, None);
        (self.held, self.finished) = (None, None);
    }

    fn crash_names(&mut self, fate: &mut Fate<'_>) {
        let changes = std::mem::take(&mut self.unsynced);
        let kept = match fate {
            Fate::Kept | Fate::Named | Fate::Torn(_) => changes.len(),
            Fate::Gone => 0,
            Fate::Random(rng) => rng.usize(..=changes.len()),
        };
        for change in &changes[..kept] {
            change.apply(&mut self.durable_names);
        }
        // A name needs its directory.
        let names = self.durable_names.clone();
        self.durable_names.retain(|path, _| parent(path).is_empty() || names.get(parent(path)) == Some(&Node::Dir));
        let before = std::mem::replace(&mut self.names, self.durable_names.clone());
        let gone = before.values().filter(|node| !self.durable_names.values().any(|named| named == *node));
        self.unnamed.extend(gone.filter_map(|node| if let Node::File(inode) = node { Some(*inode) } else { None }));
        self.forget_nameless();
    }

    fn inode(&mut self, file: &FakeFile) -> io::Result<&mut Inode> {
        if file.life != self.life {
            return Err(io::Error::other("fake disk: a file that was opened before the crash"));
        }
        self.check_running()?;
        Ok(&mut self.inodes[file.inode])
    }

    /// Counts a call that changes something.
    fn step(&mut self) -> io::Result<()> {
        self.check_running()?;
        self.stopped = self.stop_at == Some(self.steps);
        self.check_running()?;
        self.steps += 1;
        if self.full_at == Some(self.steps - 1) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn check_running(&self) -> io::Result<()> {
        if self.stopped { Err(io::Error::other(FakeError::Stopped)) } else { Ok(()) }
    }

    /// Bytes of all files that have a name.
    fn used(&self) -> u64 {
        let len = |node: &Node| match node {
            Node::File(inode) => self.inodes[*inode].len,
            Node::Dir => 0,
        };
        self.names.values().map(len).sum()
    }

    /// Frees what no crash can bring back. Nobody here reads a file that was removed, as a real system would let them.
    fn forget_nameless(&mut self) {
        let candidates = std::mem::take(&mut self.unnamed);
        for number in candidates {
            let node = Node::File(number);
            let added = self.unsynced.iter().filter_map(|change| change.added.as_ref().map(|(_, node)| node));
            if self.names.values().chain(self.durable_names.values()).chain(added).any(|named| *named == node) {
                self.unnamed.push(number);
            } else {
                self.inodes[number] = Inode::default();
            }
        }
    }

    fn change_names(&mut self, change: NameChange) {
        let replaced = change.added.as_ref().map_or(change.removed.as_ref(), |(path, _)| Some(path));
        if let Some(Node::File(inode)) = replaced.and_then(|path| self.names.get(path)) {
            self.unnamed.push(*inode);
        }
        change.apply(&mut self.names);
        self.unsynced.push(change);
    }

    fn count_sync(&mut self) -> io::Result<()> {
        self.syncs += 1;
        if self.fail_sync == Some(self.syncs - 1) { Err(io::Error::other(FakeError::Sync)) } else { Ok(()) }
    }

    fn sync(&mut self, file: &FakeFile) -> io::Result<()> {
        self.step()?;
        let counted = self.count_sync();
        let inode = self.inode(file)?;
        if let Err(error) = counted {
            inode.lost.append(&mut inode.dirty);
            return Err(error);
        }
        inode.dirty.clear();
        inode.durable_len = inode.len;
        Ok(())
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, Node>) {
        if let Some(removed) = &self.removed {
            names.remove(removed);
        }
        if let Some((added, node)) = &self.added {
            names.insert(added.clone(), *node);
        }
    }
}

impl Inode {
    fn read(&self, offset: u64, buf: &mut [u8]) -> usize {
        let (Ok(at), Ok(len)) = (usize::try_from(offset), usize::try_from(self.len)) else { return 0 };
        let count = len.saturating_sub(at).min(buf.len());
        let mut done = 0;
        while done < count {
            let (sector, from) = ((at + done) / SECTOR_LEN, (at + done) % SECTOR_LEN);
            let piece = (SECTOR_LEN - from).min(count - done);
            match self.sectors.get(sector) {
                Some(Some(bytes)) => buf[done..done + piece].copy_from_slice(&bytes[from..from + piece]),
                _ => buf[done..done + piece].fill(0),
            }
            done += piece;
        }
        count
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) {
        let at = usize::try_from(offset).expect("a fake file fits in memory");
        self.last_write_offset = offset;
        self.len = self.len.max(offset + bytes.len() as u64);
        self.sectors.resize(self.sectors.len().max((at + bytes.len()).div_ceil(SECTOR_LEN)), None);
        let mut done = 0;
        while done < bytes.len() {
            let (sector, from) = ((at + done) / SECTOR_LEN, (at + done) % SECTOR_LEN);
            let piece = &bytes[done..done + (SECTOR_LEN - from).min(bytes.len() - done)];
            done += piece.len();
            let old = &self.sectors[sector];
            // Zeros over zeros cost nothing, or filling ahead would fill memory.
            if old.is_none() && !self.lost.contains_key(&sector) && *piece == [0; SECTOR_LEN][..piece.len()] {
                continue;
            }
            let on_disk = self.lost.remove(&sector).unwrap_or_else(|| old.clone());
            self.dirty.entry(sector).or_insert(on_disk);
            let mut new = old.as_deref().copied().unwrap_or([0; SECTOR_LEN]);
            new[from..from + piece.len()].copy_from_slice(piece);
            self.sectors[sector] = (new != [0; SECTOR_LEN]).then(|| Rc::new(new));
        }
    }

    /// Whether these bytes are on the disk: they were synced, or are what was synced there before.
    fn survives(&self, from: u64, to: u64) -> bool {
        let (Ok(at), Ok(end)) = (usize::try_from(from), usize::try_from(to)) else { return false };
        let (first, last) = (at / SECTOR_LEN, end.div_ceil(SECTOR_LEN));
        let is_same = |(sector, on_disk): (&usize, &Sector)| {
            let start = sector * SECTOR_LEN;
            let (from, to) = (at.saturating_sub(start), (end - start).min(SECTOR_LEN));
            let bytes = |sector: &Sector| sector.as_deref().map_or([0; SECTOR_LEN], |bytes| *bytes);
            bytes(on_disk)[from..to] == bytes(&self.sectors[*sector])[from..to]
        };
        to <= self.len.min(self.durable_len) && self.dirty.range(first..last).all(is_same) && self.lost.range(first..last).all(is_same)
    }

    /// How many sectors are not as they were.
    fn crash(&mut self, fate: &mut Fate<'_>) -> u64 {
        let mut lost = 0;
        let torn_at = match fate {
            Fate::Torn(bytes) => usize::try_from(self.last_write_offset + *bytes).unwrap_or(usize::MAX),
            _ => 0,
        };
        for (sector, on_disk) in std::mem::take(&mut self.dirty) {
            let start = sector * SECTOR_LEN;
            let stays = match fate {
                Fate::Random(rng) => rng.bool(),
                Fate::Torn(_) => start + SECTOR_LEN <= torn_at,
                Fate::Kept | Fate::Gone | Fate::Named => false,
            };
            if stays {
                continue;
            }
            let mut bytes = on_disk.as_deref().copied().unwrap_or([0; SECTOR_LEN]);
            if let (true, Some(written)) = (start < torn_at, &self.sectors[sector]) {
                bytes[..torn_at - start].copy_from_slice(&written[..torn_at - start]);
            }
            let left = (bytes != [0; SECTOR_LEN]).then(|| Rc::new(bytes));
            lost += u64::from(self.sectors[sector] != left);
            self.sectors[sector] = left;
        }
        for (sector, on_disk) in std::mem::take(&mut self.lost) {
            lost += u64::from(self.sectors[sector] != on_disk);
            self.sectors[sector] = on_disk;
        }
        let keeps_len = match fate {
            Fate::Random(rng) => rng.bool(),
            Fate::Torn(_) => true,
            Fate::Kept | Fate::Gone | Fate::Named => false,
        };
        if !keeps_len {
            self.truncate();
        }
        self.durable_len = self.len;
        lost
    }

    /// Back to the length that is on the disk.
    fn truncate(&mut self) {
        self.cut(self.durable_len);
    }

    /// Bytes that are cut off may be zeros after a crash that brings the length back.
    fn cut(&mut self, len: u64) {
        self.len = len;
        let len = usize::try_from(self.len).expect("a fake file fits in memory");
        let sectors = len.div_ceil(SECTOR_LEN);
        self.sectors.truncate(sectors);
        self.dirty.retain(|sector, _| *sector < sectors);
        self.lost.retain(|sector, _| *sector < sectors);
        if let (Some(Some(last)), true) = (self.sectors.last_mut(), !len.is_multiple_of(SECTOR_LEN)) {
            Rc::make_mut(last)[len % SECTOR_LEN..].fill(0);
        }
    }
}

impl Disk for FakeDisk {
    type File = FakeFile;

    fn list(&mut self, dir: &str) -> io::Result<Vec<String>> {
        let state = self.state();
        state.check_running()?;
        if !dir.is_empty() && state.names.get(dir) != Some(&Node::Dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let names = state.names.keys().filter(|path| parent(path) == dir);
        Ok(names.map(|path| path.rsplit('/').next().unwrap_or_default().to_owned()).collect())
    }

    fn make_dir(&mut self, dir: &str) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        if !state.names.contains_key(dir) {
            state.change_names(NameChange { dir: parent(dir).to_owned(), removed: None, added: Some((dir.to_owned(), Node::Dir)) });
        }
        Ok(())
    }

    fn create(&mut self, path: &str) -> io::Result<FakeFile> {
        let mut state = self.state();
        state.step()?;
        if state.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.inodes.push(Inode::default());
        let inode = state.inodes.len() - 1;
        state.change_names(NameChange { dir: parent(path).to_owned(), removed: None, added: Some((path.to_owned(), Node::File(inode))) });
        Ok(FakeFile { inode, life: state.life })
    }

    fn open(&mut self, path: &str) -> io::Result<FakeFile> {
        let state = self.state();
        state.check_running()?;
        match state.names.get(path) {
            Some(Node::File(inode)) => Ok(FakeFile { inode: *inode, life: state.life }),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn read_at(&mut self, file: &FakeFile, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        Ok(self.state().inode(file)?.read(offset, buf))
    }

    fn file_len(&mut self, file: &FakeFile) -> io::Result<u64> {
        Ok(self.state().inode(file)?.len)
    }

    fn write_at(&mut self, file: &FakeFile, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        state.writes += 1;
        let fails = state.fail_write == Some(state.writes - 1);
        let used = state.used();
        let space = state.space;
        let life = state.life;
        if file.life != life {
            return Err(io::Error::other("fake disk: a file that was opened before the crash"));
        }
        let inode = &mut state.inodes[file.inode];
        let growth = (offset + bytes.len() as u64).saturating_sub(inode.len);
        if growth > 0 && space.is_some_and(|space| space < used + growth) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if fails {
            inode.write(offset, &bytes[..bytes.len() / 2]);
            return Err(io::Error::other(FakeError::Write));
        }
        inode.write(offset, bytes);
        Ok(())
    }

    fn set_len(&mut self, file: &FakeFile, len: u64) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        state.inode(file)?.cut(len);
        Ok(())
    }

    fn sync(&mut self, file: &FakeFile) -> io::Result<()> {
        self.state().sync(file)
    }

    fn start_sync(&mut self, file: &FakeFile) -> io::Result<SyncStatus> {
        let mut state = self.state();
        if !state.hold_syncs {
            return state.sync(file).map(|()| SyncStatus::Done);
        }
        assert!(state.held.is_none(), "a sync while another is under way");
        state.held = Some(*file);
        Ok(SyncStatus::Pending)
    }

    fn sync_finished(&mut self) -> io::Result<bool> {
        match self.state().finished.take() {
            Some(Outcome::Synced) => Ok(true),
            Some(Outcome::Failed(error)) => Err(io::Error::other(error)),
            Some(Outcome::Full) => Err(io::ErrorKind::StorageFull.into()),
            None => Ok(false),
        }
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        let node = *state.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        assert_eq!(parent(from), parent(to), "nothing here moves between directories");
        let added = Some((to.to_owned(), node));
        state.change_names(NameChange { dir: parent(from).to_owned(), removed: Some(from.to_owned()), added });
        if let Some(steps) = state.stop_behind_rename.take() {
            state.stop_at = Some(state.steps + steps);
        }
        Ok(())
    }

    fn remove(&mut self, path: &str) -> io::Result<()> {
        let mut state = self.state();
        state.check_running()?;
        if !state.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.step()?;
        state.change_names(NameChange { dir: parent(path).to_owned(), removed: Some(path.to_owned()), added: None });
        Ok(())
    }

    fn sync_dir(&mut self, dir: &str) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        state.count_sync()?;
        let changes = std::mem::take(&mut state.unsynced);
        let (synced, others): (Vec<_>, Vec<_>) = changes.into_iter().partition(|change| change.dir == dir);
        for change in synced {
            change.apply(&mut state.durable_names);
        }
        state.unsynced = others;
        state.forget_nameless();
        Ok(())
    }

    fn last_sync_us(&self) -> u64 {
        self.0.borrow().sync_us
    }
}
