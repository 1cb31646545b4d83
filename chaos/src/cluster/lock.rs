//! Who has a cluster's directory. The kernel lets go of a lock when its owner is gone, however it went.

use std::fs::{File, OpenOptions};
use std::io;
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
