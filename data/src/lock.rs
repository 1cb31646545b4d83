//! One process per data directory: a write lock on `DIR/lock`, which holds the owner's pid for people to read.
//!
//! It is a POSIX record lock. The kernel drops it with the process, however that ends, so there is no stale lock to remove; and a child
//! does not inherit it, so a helper that outlives its node cannot keep the directory closed. Two properties to live with: a process does
//! not conflict with itself, and closing *any* descriptor of the file drops the lock, so nothing else here ever opens that file.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

/// Keeps the directory to this process until dropped.
#[derive(Debug)]
pub struct LockGuard {
    _file: File,
}

/// Why the directory could not be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("the data directory is in use by process {pid}")]
    Held {
        /// That process.
        pid: i32,
    },
    /// The lock file cannot be opened, locked or written.
    #[error("lock: {0}")]
    Io(#[from] io::Error),
}

/// Locks a data directory, or says who has it. It never waits.
pub fn lock(dir: &Path) -> Result<LockGuard, LockError> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(dir.join("lock"))?;
    loop {
        match fcntl(&file, FcntlArg::F_SETLK(&whole_file())) {
            Ok(_) => break,
            Err(Errno::EACCES | Errno::EAGAIN) => {}
            Err(errno) => return Err(LockError::Io(errno.into())),
        }
        let mut holder = whole_file();
        fcntl(&file, FcntlArg::F_GETLK(&mut holder)).map_err(io::Error::from)?;
        if i32::from(holder.l_type) != libc::F_UNLCK {
            return Err(LockError::Held { pid: holder.l_pid });
        }
        // The holder went away between the two calls.
    }
    file.set_len(0)?;
    file.write_all_at(format!("{}\n", std::process::id()).as_bytes(), 0)?;
    Ok(LockGuard { _file: file })
}

#[expect(clippy::cast_possible_truncation, reason = "the constants are small; libc declares them wider than the fields they are for")]
fn whole_file() -> libc::flock {
    libc::flock { l_type: libc::F_WRLCK as libc::c_short, l_whence: libc::SEEK_SET as libc::c_short, l_start: 0, l_len: 0, l_pid: 0 }
}
