//! A real directory. The only clock of this crate is here: it measures how long a sync took.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use nix::libc;

use crate::disk::Disk;

/// A data directory in the file system.
#[derive(Debug)]
pub struct RealDisk {
    dir: PathBuf,
    writable: bool,
    last_sync_us: u64,
}

impl RealDisk {
    /// A directory that exists.
    pub fn open(dir: &Path) -> io::Result<RealDisk> {
        RealDisk::at(dir, true)
    }

    /// A directory that exists, whose files will only be read: enough for `inspect`, even on a read-only file system.
    pub fn open_read_only(dir: &Path) -> io::Result<RealDisk> {
        RealDisk::at(dir, false)
    }

    /// Makes the directory, with those above it, if it is missing; it lasts when this returns.
    pub fn create(dir: &Path) -> io::Result<RealDisk> {
        let dir = std::path::absolute(dir)?;
        let missing: Vec<&Path> = dir.ancestors().take_while(|dir| !dir.exists()).collect();
        for made in missing.iter().rev() {
            match fs::create_dir(made) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
            if let Some(parent) = made.parent() {
                File::open(parent)?.sync_all()?;
            }
        }
        RealDisk::open(&dir)
    }

    fn at(dir: &Path, writable: bool) -> io::Result<RealDisk> {
        if !fs::metadata(dir)?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(RealDisk { dir: dir.to_owned(), writable, last_sync_us: 0 })
    }

    fn path(&self, path: &str) -> PathBuf {
        if path.is_empty() { self.dir.clone() } else { self.dir.join(path) }
    }
}

impl Disk for RealDisk {
    type File = File;

    fn list(&mut self, dir: &str) -> io::Result<Vec<String>> {
        // A name that is not UTF-8 is none of ours.
        fs::read_dir(self.path(dir))?.filter_map(|entry| entry.map(|entry| entry.file_name().into_string().ok()).transpose()).collect()
    }

    fn make_dir(&mut self, dir: &str) -> io::Result<()> {
        match fs::create_dir(self.path(dir)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }
    }

    fn create(&mut self, path: &str) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).create_new(true).open(self.path(path))
    }

    fn open(&mut self, path: &str) -> io::Result<File> {
        OpenOptions::new().read(true).write(self.writable).open(self.path(path))
    }

    fn read_at(&mut self, file: &File, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let mut read = 0;
        while read < buf.len() {
            match file.read_at(&mut buf[read..], offset + read as u64) {
                Ok(0) => break,
                Ok(count) => read += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(read)
    }

    fn file_len(&mut self, file: &File) -> io::Result<u64> {
        Ok(file.metadata()?.len())
    }

    fn write_at(&mut self, file: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
        file.write_all_at(bytes, offset)
    }

    fn set_len(&mut self, file: &File, len: u64) -> io::Result<()> {
        file.set_len(len)
    }

    #[expect(unsafe_code, reason = "no crate that we use has this call; it takes a descriptor that is open and three numbers")]
    fn write_behind(&mut self, file: &File, offset: u64, len: u64) {
        let (Ok(offset), Ok(len)) = (i64::try_from(offset), i64::try_from(len)) else { return };
        // SAFETY: it touches no memory of ours.
        unsafe { libc::sync_file_range(file.as_raw_fd(), offset, len, libc::SYNC_FILE_RANGE_WRITE) };
    }

    fn sync(&mut self, file: &File) -> io::Result<()> {
        let start = Instant::now();
        let result = file.sync_data(); // fdatasync: the length is synced too when it changed
        self.last_sync_us = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
        result
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(from), self.path(to))
    }

    fn remove(&mut self, path: &str) -> io::Result<()> {
        fs::remove_file(self.path(path))
    }

    fn sync_dir(&mut self, dir: &str) -> io::Result<()> {
        File::open(self.path(dir))?.sync_all()
    }

    fn last_sync_us(&self) -> u64 {
        self.last_sync_us
    }
}
