//! Damage to the files of a node: done while it is down, and undone, where that is possible at all, while it is down.
//!
//! What a node has accepted cannot be undone: to put old bytes under a log that has gone on would be a second fault, and a worse one.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::{Cluster, LOOK, ProcessState};
use crate::ending::{Ending, Failure};
use crate::fault::ProcessFault;
use crate::fault::effect::Effect;
use crate::journal::Undo;

/// How long a node may take to say that it accepts its disk, or to refuse it.
const START_WAIT: Duration = Duration::from_secs(10);
/// Room on a small disk for a node to start in.
const ROOM: u64 = 24 << 20;
/// On a full disk, what filled it.
const FILLER: &str = "somebody-else's";

/// Something that can be undone.
#[derive(Debug)]
pub(super) struct Damage {
    /// Whose.
    pub(super) node: usize,
    how: How,
}

#[derive(Debug)]
enum How {
    /// By the journal.
    Journalled(u64, Undo),
    /// What it has lies there, and there may be a disk in its place; it has not been started since.
    Aside(PathBuf),
    /// Its disk is a small one in memory; the one it had lies there.
    SmallDisk(PathBuf),
}

impl Cluster {
    /// Damages the files of a node that is down, and starts it. What is to be undone, also after an error, is added to `damages`.
    pub(super) fn damage(
        &mut self,
        id: u64,
        at: usize,
        fault: ProcessFault,
        effect: &mut Effect,
        damages: &mut Vec<Damage>,
    ) -> Result<(), Failure> {
        let dir = self.nodes[at].dir.clone();
        let name = self.nodes[at].name.clone();
        let cannot = |what: &'static str| {
            let name = name.clone();
            move |error: io::Error| Ending::Io.says(format!("{name}: cannot {what}: {error}"))
        };
        match fault {
            ProcessFault::Truncate(_) | ProcessFault::Flip => {
                let (file, end) = newest_segment(&dir).map_err(cannot("find its log"))?;
                let bytes = match fault {
                    ProcessFault::Truncate(count) => count.min(end),
                    _ => 1,
                };
                let offset = if fault == ProcessFault::Flip { self.random.u64(0..end) } else { end - bytes };
                // A truncated file also loses the zeros behind its last record.
                let len = if fault == ProcessFault::Flip { offset + 1 } else { file_len(&file).map_err(cannot("read its log"))? };
                let old = read_range(&file, offset, len).map_err(cannot("read its log"))?;
                let undo = Undo::PutBack { file: file.clone(), offset, bytes: old.clone() };
                let step = self.journal.begin(undo.clone()).map_err(cannot("write the undo journal for it"))?;
                damages.push(Damage { node: at, how: How::Journalled(step, undo) });
                if fault == ProcessFault::Flip {
                    let turned = old[0] ^ 1 << self.random.u32(0..8);
                    write_at(&file, offset, &[turned]).map_err(cannot("damage its log"))?;
                } else {
                    OpenOptions::new().write(true).open(&file).and_then(|file| file.set_len(offset)).map_err(cannot("cut its log"))?;
                }
                effect.bytes_lost += bytes;
                effect.down_ms += self.start_after(at)?;
                if self.accepts_its_disk(at)? {
                    damages.pop(); // what it has accepted must not be put back, whatever becomes of the journal
                    self.journal.end(step).map_err(cannot("write the undo journal for it"))?;
                }
            }
            ProcessFault::Wipe => {
                let aside = nothing_at(dir.with_file_name(format!("{name}.wiped-{id}"))).map_err(cannot("move its directory"))?;
                effect.bytes_lost += size_of(&dir).map_err(cannot("read its directory"))?;
                let undo = Undo::MoveBack { from: aside.clone(), to: dir.clone() };
                let step = self.journal.begin(undo.clone()).map_err(cannot("write the undo journal for it"))?;
                damages.push(Damage { node: at, how: How::Journalled(step, undo) });
                std::fs::rename(&dir, &aside).map_err(cannot("move its directory"))?;
                self.init_node(at)?;
                effect.down_ms += self.start_after(at)?;
            }
            ProcessFault::DiskFull => {
                let aside = dir.with_file_name(format!("{name}.before-disk-full-{id}"));
                let aside = nothing_at(aside).map_err(cannot("move its directory"))?;
                // Not in the journal: once the node has gone on with the small disk, the old one is one that has forgotten. If we die,
                // so does the small disk, and what is left is an empty directory, which no node starts on.
                let room = size_of(&dir).map_err(cannot("read its directory"))? + ROOM;
                std::fs::rename(&dir, &aside).map_err(cannot("move its directory"))?;
                damages.push(Damage { node: at, how: How::Aside(aside.clone()) });
                std::fs::create_dir(&dir).map_err(cannot("make a directory for a small disk"))?;
                let options = format!("size={room},mode=0700");
                mount(Some("chaos"), &dir, Some("tmpfs"), MsFlags::empty(), Some(options.as_str()))
                    .map_err(|errno| Ending::Unsupported.says(format!("cannot mount a small disk: {errno}")))?;
                copy(&aside, &dir).map_err(cannot("copy its directory"))?;
                damages.pop();
                damages.push(Damage { node: at, how: How::SmallDisk(aside) });
                effect.down_ms += self.start_after(at)?;
                self.accepts_its_disk(at)?;
                effect.bytes_filled += fill(&dir.join(FILLER)).map_err(cannot("fill its disk"))?;
            }
            ProcessFault::Kill | ProcessFault::Restart | ProcessFault::CrashLoop | ProcessFault::Pause => {}
        }
        Ok(())
    }

    /// Undoes it. The node is down afterwards.
    pub(super) fn put_back(&mut self, damage: &Damage) -> Result<(), Failure> {
        let name = self.nodes[damage.node].name.clone();
        let cannot = |what: &'static str| {
            let name = name.clone();
            move |error: io::Error| Ending::Io.says(format!("{name}: cannot {what}: {error}"))
        };
        self.nodes[damage.node].kill()?;
        let dir = self.nodes[damage.node].dir.clone();
        match &damage.how {
            How::Journalled(step, undo) => {
                undo.files().map_err(cannot("put its files back"))?;
                self.journal.end(*step).map_err(cannot("write the undo journal for it"))?;
            }
            How::Aside(aside) => {
                if is_mounted(&dir).map_err(cannot("look at its disk"))? {
                    umount2(&dir, MntFlags::MNT_DETACH).map_err(|errno| cannot("unmount its disk")(errno.into()))?;
                }
                let undo = Undo::MoveBack { from: aside.clone(), to: dir };
                undo.files().map_err(cannot("put its files back"))?;
            }
            // An earlier attempt may have got as far as any of these.
            How::SmallDisk(aside) => {
                let after = dir.with_file_name(format!("{name}.after"));
                if is_mounted(&dir).map_err(cannot("look at its disk"))? {
                    gone(std::fs::remove_file(dir.join(FILLER))).map_err(cannot("free its disk"))?;
                    copy(&dir, &after).map_err(cannot("copy its directory"))?;
                    umount2(&dir, MntFlags::MNT_DETACH).map_err(|errno| cannot("unmount its disk")(errno.into()))?;
                }
                gone(std::fs::rename(&after, &dir)).map_err(cannot("move its directory"))?;
                gone(std::fs::remove_dir_all(aside)).map_err(cannot("remove its old directory"))?;
            }
        }
        Ok(())
    }

    /// Waits until a node that was started either answers or ends; whether it answers.
    fn accepts_its_disk(&mut self, at: usize) -> Result<bool, Failure> {
        let deadline = Instant::now() + START_WAIT;
        loop {
            self.nodes[at].notice_end();
            if self.nodes[at].state() == ProcessState::Ended {
                return Ok(false);
            }
            if self.clerk()?.status(&self.nodes[at].client_addr).is_ok() {
                return Ok(true);
            }
            if Instant::now() > deadline {
                return Err(Ending::Late.says(format!("it neither answers nor ends: {}", self.nodes[at].last_words())));
            }
            // sleeps because a refused connection comes back at once
            std::thread::sleep(LOOK);
        }
    }
}

/// Whether something is mounted there; nothing is where there is no directory.
fn is_mounted(dir: &Path) -> io::Result<bool> {
    let device = |dir: &Path| std::fs::metadata(dir).map(|metadata| metadata.dev());
    match device(dir) {
        Ok(there) => Ok(there != device(dir.parent().unwrap_or(dir))?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// A place to move something to. What is there already is somebody's, and would be taken for what we moved there.
fn nothing_at(path: PathBuf) -> io::Result<PathBuf> {
    if path.symlink_metadata().is_ok() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{} is in the way", path.display())));
    }
    Ok(path)
}

/// What somebody else, or we, have removed already is as good as removed.
fn gone(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

/// The segment with the last records, and where they end: zeros that were written ahead are none.
fn newest_segment(dir: &Path) -> io::Result<(PathBuf, u64)> {
    let mut segments: Vec<PathBuf> = std::fs::read_dir(dir.join("log"))?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    segments.retain(|path| path.extension().is_some_and(|extension| extension == "seg"));
    segments.sort();
    for segment in segments.into_iter().rev() {
        let bytes = std::fs::read(&segment)?;
        if let Some(last) = bytes.iter().rposition(|byte| *byte != 0) {
            return Ok((segment, last as u64 + 1));
        }
    }
    Err(io::Error::new(io::ErrorKind::NotFound, "no segment holds anything"))
}

fn file_len(file: &Path) -> io::Result<u64> {
    Ok(std::fs::metadata(file)?.len())
}

fn read_range(file: &Path, from: u64, to: u64) -> io::Result<Vec<u8>> {
    let len = usize::try_from(to - from).map_err(io::Error::other)?;
    let mut bytes = vec![0; len];
    File::open(file)?.read_exact_at(&mut bytes, from)?;
    Ok(bytes)
}

fn write_at(file: &Path, offset: u64, bytes: &[u8]) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(file)?;
    file.write_all_at(bytes, offset)?;
    file.sync_all()
}

fn size_of(dir: &Path) -> io::Result<u64> {
    let mut size = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        size += if metadata.is_dir() { size_of(&entry.path())? } else { metadata.len() };
    }
    Ok(size)
}

/// A directory and all in it, synced.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), &target)?;
            File::open(&target)?.sync_all()?;
        }
    }
    File::open(to)?.sync_all()
}

/// Writes until nothing more goes; how much went.
fn fill(path: &Path) -> io::Result<u64> {
    let mut file = File::create(path)?;
    let mut filled = 0;
    // Large pieces first, then what is left.
    for piece in [1 << 20, 4096] {
        let zeros = vec![7; piece];
        loop {
            match file.write(&zeros) {
                Ok(len) if len > 0 => filled += len as u64,
                Ok(_) => break,
                Err(error) if error.kind() == io::ErrorKind::StorageFull => break,
                Err(error) => return Err(error),
            }
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_end_where_the_zeros_begin() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        std::fs::create_dir(&log).unwrap();
        assert!(newest_segment(dir.path()).is_err());
        std::fs::write(log.join("0001.seg"), [1; 100]).unwrap();
        std::fs::write(log.join("0002.seg"), [[2; 50], [0; 50]].concat()).unwrap();
        std::fs::write(log.join("0003.seg"), [0; 100]).unwrap();
        assert_eq!(newest_segment(dir.path()).unwrap(), (log.join("0002.seg"), 50));
        assert_eq!(size_of(dir.path()).unwrap(), 300);
        let other = tempfile::tempdir().unwrap();
        copy(dir.path(), other.path()).unwrap();
        assert_eq!(std::fs::read(other.path().join("log/0002.seg")).unwrap(), std::fs::read(log.join("0002.seg")).unwrap());
    }
}
