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

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use nix::fcntl::FdFlag;

    use super::*;

    const DIR: &str = "KVRAFT_TEST_LOCK_DIR";

    /// What another process finds: `free`, or `held by PID`.
    fn try_elsewhere(dir: &Path) -> String {
        let this = std::env::current_exe().expect("a running program has a file");
        let test = "lock::tests::what_another_process_runs";
        let output = Command::new(this).args([test, "--exact", "--nocapture"]).env(DIR, dir).output().expect("it starts");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().find_map(|line| line.strip_prefix("lock is ")).unwrap_or_else(|| panic!("no answer in {text}")).to_owned()
    }

    /// Not a test by itself: `try_elsewhere` runs it in another process, with a directory.
    #[test]
    fn what_another_process_runs() {
        let Some(dir) = std::env::var_os(DIR) else { return };
        match lock(Path::new(&dir)) {
            Ok(_) => println!("\nlock is free"),
            Err(LockError::Held { pid }) => println!("\nlock is held by {pid}"),
            Err(LockError::Io(error)) => panic!("{error}"),
        }
    }

    #[test]
    fn a_second_process_is_refused_and_told_who_has_it() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let guard = lock(dir.path()).expect("nobody has it");
        let pid = std::process::id();
        // Read by another process: opening and closing the file in this one would drop the lock.
        let text = Command::new("cat").arg(dir.path().join("lock")).output().expect("cat is everywhere").stdout;
        assert_eq!(String::from_utf8_lossy(&text), format!("{pid}\n"));
        assert_eq!(try_elsewhere(dir.path()), format!("held by {pid}"));
        drop(guard);
        assert_eq!(try_elsewhere(dir.path()), "free", "and a pid left in the file by a dead process means nothing");
    }

    #[test]
    fn a_child_that_inherits_the_open_file_does_not_hold_the_lock() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let guard = lock(dir.path()).expect("nobody has it");
        // As careless as can be: the descriptor is passed on. A lock of the open file (flock) would now live as long as the child.
        fcntl(&guard._file, FcntlArg::F_SETFD(FdFlag::empty())).expect("it is open");
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("cat is everywhere");
        assert_eq!(try_elsewhere(dir.path()), format!("held by {}", std::process::id()));
        drop(guard);
        let found = try_elsewhere(dir.path());
        drop(child.stdin.take());
        child.wait().expect("it ends with its input");
        assert_eq!(found, "free");
    }
}
