//! A small disk of a node's own, which can be filled without anybody else noticing.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::process;
use crate::wait::{PATIENCE, wait_until};

/// A file system in memory, in a mount namespace that only this value and the programs run under it see. It ends with both.
pub struct SmallDisk {
    /// Keeps the namespace, and what is on the disk while no node runs.
    holder: Child,
    mounted_at: PathBuf,
}

impl SmallDisk {
    /// So many bytes, at `path`, with what was there before.
    pub fn mount(path: &Path, bytes: usize) -> SmallDisk {
        let mut command = Command::new("unshare");
        let script = "mount -t tmpfs -o size=$1 kvraft-test \"$0\" && exec sleep infinity";
        command.args(["--mount", "sh", "-c", script]).arg(path).arg(bytes.to_string());
        let holder = process::spawn({
            command.stdin(Stdio::null()).stdout(Stdio::null());
            command
        })
        .expect("unshare starts");
        let disk = SmallDisk { holder, mounted_at: path.to_owned() };
        let mounts = format!("/proc/{}/mountinfo", disk.holder.id());
        wait_until("the disk is mounted", PATIENCE, || {
            std::fs::read_to_string(&mounts).is_ok_and(|mounts| mounts.lines().any(|line| line.contains("kvraft-test")))
        });
        let copied = Command::new("cp").arg("-a").arg(path.join(".")).arg(disk.path("")).status().expect("cp runs");
        assert!(copied.success(), "cannot copy {} to the small disk", path.display());
        disk
    }

    /// What a program is run under to see it.
    pub fn under(&self) -> Vec<String> {
        ["nsenter", "--target", &self.holder.id().to_string(), "--mount", "--"].map(String::from).into()
    }

    /// A file of it, for us.
    pub fn path(&self, name: &str) -> PathBuf {
        let inside = self.mounted_at.strip_prefix("/").expect("an absolute path");
        Path::new(&format!("/proc/{}/root", self.holder.id())).join(inside).join(name)
    }

    /// Somebody else's file takes all room but this.
    pub fn fill_but(&self, bytes: u64) {
        let stat = nix::sys::statvfs::statvfs(&self.path("")).expect("a file system");
        let free = stat.blocks_available() * stat.fragment_size();
        let len = usize::try_from(free.saturating_sub(bytes)).expect("a small disk");
        std::fs::write(self.path("somebody else's"), vec![7; len]).expect("it has room for that");
    }

    /// That file is gone.
    pub fn free(&self) {
        std::fs::remove_file(self.path("somebody else's")).expect("it was filled");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
