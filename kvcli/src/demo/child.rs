//! What every process that the demo starts has in common: it dies with the demo, and nothing that we block is blocked in it.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::getppid;

/// Makes the child die with the thread that spawns it, whatever kills that, SIGKILL included, and start with no signal blocked.
///
/// The kernel watches the *thread*: spawn from one that lives as long as the child should.
pub fn dies_with_us(command: &mut Command) -> &mut Command {
    let parent = nix::unistd::getpid();
    let in_child = move || -> io::Result<()> {
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        // Had we died between the fork and the line above, nobody would be left to send the signal.
        if getppid() != parent {
            return Err(io::Error::from(nix::errno::Errno::ESRCH));
        }
        SigSet::empty().thread_set_mask()?;
        Ok(())
    };
    #[expect(unsafe_code, reason = "these settings belong to the child and must be made between fork and exec")]
    // SAFETY: the closure only makes three system calls that are async-signal-safe; it neither allocates nor takes a lock.
    unsafe {
        command.pre_exec(in_child)
    }
}

/// Takes every variable that begins with `prefix` out of the child's environment: what the user set up for other nodes and
/// clients is not meant for these.
pub fn forget_environment<'a>(command: &'a mut Command, prefix: &str) -> &'a mut Command {
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(prefix.as_bytes()) {
            command.env_remove(name);
        }
    }
    command
}

/// The program `name`: beside our own executable, else in `PATH`. The error names where we looked.
pub fn find_program(name: &str) -> Result<PathBuf, ProgramNotFound> {
    let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.join(name)));
    if let Some(path) = beside.as_deref().filter(|path| is_executable(path)) {
        return Ok(path.to_path_buf());
    }
    in_path(name).ok_or_else(|| ProgramNotFound { name: name.to_owned(), beside })
}

/// `name` as the shell would find it.
pub(super) fn in_path(name: &str) -> Option<PathBuf> {
    let path: OsString = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|path| is_executable(path))
}

fn is_executable(path: &Path) -> bool {
    path.is_file() && nix::unistd::access(path, nix::unistd::AccessFlags::X_OK).is_ok()
}

/// A program that must be there and is not.
#[derive(Debug, thiserror::Error)]
#[error("{name} is neither beside kvcli ({}) nor in PATH; `cargo build -p kvcli -p {name}` puts them side by side", shown(beside.as_deref()))]
pub struct ProgramNotFound {
    name: String,
    beside: Option<PathBuf>,
}

fn shown(path: Option<&Path>) -> String {
    path.map_or_else(|| "unknown".to_owned(), |path| path.display().to_string())
}
