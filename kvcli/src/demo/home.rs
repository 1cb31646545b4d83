//! Where a demo's files are: a temporary directory that is locked while the demo lives, or one that the user wants to keep.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// The temporary directories' names begin so.
const PREFIX: &str = "kvraft-demo-";
/// While it is being made, before it is locked. A directory of this name is nobody's prey.
const PREFIX_UNLOCKED: &str = ".kvraft-demo-new-";

/// A directory for a cluster.
#[derive(Debug)]
pub(super) struct Home {
    path: PathBuf,
    /// An advisory lock on the directory itself, which the kernel drops when we die; `None`: kept, nobody's to sweep.
    lock: Option<File>,
}

/// A directory that should be kept must be new: what is in it already would be mixed with ours.
#[derive(Debug, thiserror::Error)]
#[error("{} is not empty: name a directory that is, or that does not exist yet", .0.display())]
pub(super) struct NotEmpty(PathBuf);

impl Home {
    /// A directory of its own under `parent`, gone after [`Home::leave`]. Directories of demos that were killed go first.
    pub(super) fn temporary(parent: &Path) -> io::Result<Home> {
        sweep(parent);
        // Made, locked, and only then named so that others would look whether it is still locked.
        let made = tempfile::Builder::new().prefix(PREFIX_UNLOCKED).tempdir_in(parent)?;
        let lock = File::open(made.path())?;
        lock.try_lock()?;
        let name = made.path().file_name().unwrap_or_default().to_string_lossy().replace(PREFIX_UNLOCKED, PREFIX);
        let path = parent.join(name);
        fs::rename(made.path(), &path)?;
        let _ = made.keep();
        Ok(Home { path, lock: Some(lock) })
    }

    /// The user's own directory, made if it does not exist.
    pub(super) fn kept(path: &Path) -> Result<Home, anyhow::Error> {
        fs::create_dir_all(path)?;
        if fs::read_dir(path)?.next().is_some() {
            return Err(NotEmpty(path.to_owned()).into());
        }
        Ok(Home { path: fs::canonicalize(path)?, lock: None })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it stays.
    pub(super) fn is_kept(&self) -> bool {
        self.lock.is_none()
    }

    /// Removes it, unless it is kept.
    pub(super) fn leave(mut self) -> io::Result<()> {
        self.remove()
    }

    fn remove(&mut self) -> io::Result<()> {
        // Removed while still locked: otherwise another demo's sweep would race with us.
        match self.lock.take() {
            Some(_held) => fs::remove_dir_all(&self.path),
            None => Ok(()),
        }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = self.remove();
    }
}

/// Removes what demos that were killed left behind: directories of our name that nobody holds locked. Those of other users stay.
fn sweep(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let ours = entry.file_name().to_string_lossy().starts_with(PREFIX) && entry.file_type().is_ok_and(|kind| kind.is_dir());
        if ours
            && let Ok(lock) = File::open(entry.path())
            && lock.try_lock().is_ok()
        {
            let _ = fs::remove_dir_all(entry.path()); // what cannot be removed now is the next demo's to try
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temporary_home_is_gone_when_left() {
        let parent = tempfile::tempdir().unwrap();
        let home = Home::temporary(parent.path()).unwrap();
        fs::write(home.path().join("n1.log"), "x").unwrap();
        home.leave().unwrap();
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }

    #[test]
    fn the_next_demo_sweeps_a_dead_ones_directory_and_leaves_a_live_ones() {
        let parent = tempfile::tempdir().unwrap();
        let live = Home::temporary(parent.path()).unwrap();
        let dead = parent.path().join(format!("{PREFIX}dead"));
        fs::create_dir_all(dead.join("n1/log")).unwrap();
        let others = parent.path().join("somebody-else");
        fs::create_dir(&others).unwrap();
        let _next = Home::temporary(parent.path()).unwrap();
        assert!(!dead.exists());
        assert!(live.path().exists() && others.exists());
    }

    #[test]
    fn a_kept_home_must_be_empty_and_stays() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/b");
        let home = Home::kept(&path).unwrap();
        assert!(home.is_kept());
        fs::write(home.path().join("n1.log"), "x").unwrap();
        home.leave().unwrap();
        assert!(path.join("n1.log").exists());
        assert!(Home::kept(&path).unwrap_err().to_string().contains("not empty"));
    }
}
