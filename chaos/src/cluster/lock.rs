//! Who has a cluster's directory. The kernel lets go of a lock when its owner is gone, however it went.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// Its name.
const LOCK: &str = "lock";
/// Between two attempts.
const LOOK: Duration = Duration::from_millis(10);

/// The directory is ours while this lives.
pub(crate) struct Lock(#[expect(dead_code, reason = "held, not used")] Flock<File>);

/// Takes it. `None`: somebody had it all the time; a process that was killed needs a while to take its interfaces down.
pub(crate) fn take(dir: &Path, wait: Duration) -> io::Result<Option<Lock>> {
    let deadline = Instant::now() + wait;
    let mut file = OpenOptions::new().create(true).append(true).open(dir.join(LOCK))?;
    loop {
        file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(Some(Lock(lock))),
            Err((_, Errno::EWOULDBLOCK)) if Instant::now() >= deadline => return Ok(None),
            Err((file, Errno::EWOULDBLOCK)) => file,
            Err((_, errno)) => return Err(errno.into()),
        };
        // sleeps because a wait for a lock has no deadline
        thread::sleep(LOOK);
    }
}

/// Whether it is this process that has it, as the kernel says.
pub(crate) fn is_held_by(dir: &Path, pid: i32) -> io::Result<bool> {
    let inode = std::fs::metadata(dir.join(LOCK))?.ino();
    Ok(std::fs::read_to_string("/proc/locks")?.lines().any(|line| names(line, pid, inode)))
}

/// Whether a line of /proc/locks is about this process and file. Inodes alone: some file systems have a device there that they show
/// to nobody else, and a process that holds a lock on another file of that number is a rarer thing.
fn names(line: &str, pid: i32, inode: u64) -> bool {
    // 12: FLOCK  ADVISORY  WRITE 29731 fe:00:8751219 0 EOF
    let words: Vec<&str> = line.split_whitespace().collect();
    let of_file = |word: &str| word.rsplit(':').next().is_some_and(|number| number == inode.to_string());
    matches!(words[..], [_, "FLOCK", _, "WRITE", who, file, ..] if who == pid.to_string() && of_file(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_a_directory_is_told_from_strangers() {
        let dir = tempfile::tempdir().unwrap();
        let us = std::process::id().cast_signed();
        let held = take(dir.path(), Duration::ZERO).unwrap().unwrap();
        assert!(is_held_by(dir.path(), us).unwrap());
        assert!(!is_held_by(dir.path(), 1).unwrap());
        drop(held);
        assert!(!is_held_by(dir.path(), us).unwrap());
        let line = "2: FLOCK  ADVISORY  WRITE 42 fe:00:77 0 EOF";
        assert!(names(line, 42, 77) && !names(line, 4, 77) && !names(line, 42, 7) && !names(&line.replace("FLOCK", "POSIX"), 42, 77));
    }
}
