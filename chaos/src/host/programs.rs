//! Programs that we run: our own, and the system's tools.
//!
//! Interfaces and rules are made by `ip` and `iptables`, once per host and fault: a netlink crate would bring an async runtime or a
//! hundred message types for a dozen lines that every administrator can read, and iptables has no stable interface but its command.

use std::ffi::OsStr;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::unistd::{AccessFlags, access};

use crate::ending::{Ending, Failure};

/// A program beside our own, else in `PATH`.
pub(crate) fn ours(name: &str) -> Result<PathBuf, Failure> {
    kvcli::demo::child::find_program(name).map_err(|error| Ending::Usage.says(error))
}

/// A program that the user names, by its absolute path.
fn given(path: &Path) -> Result<PathBuf, Failure> {
    let absolute = absolute(path)?;
    if !absolute.is_file() || access(&absolute, AccessFlags::X_OK).is_err() {
        return Err(Ending::Usage.says(format!("{}: no program that can be run", path.display())));
    }
    Ok(absolute)
}

/// A path as text. Records and the undo journal hold paths, and they are JSON.
pub(crate) fn text(path: &Path) -> Result<&str, Failure> {
    path.to_str().ok_or_else(|| Ending::Usage.says(format!("{}: the path of a cluster's directory must be UTF-8", path.display())))
}

/// The program that somebody has named, which must be there; else our own.
pub(crate) fn given_or_ours(given: Option<&Path>, name: &str) -> Result<PathBuf, Failure> {
    given.map_or_else(|| ours(name), self::given)
}

/// A tool of the system: in `PATH`, or where root's programs are, which is not in everybody's `PATH`.
pub(crate) fn tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]).map(|dir| dir.join(name)).find(|path| path.is_file())
}

/// Runs a tool to its end, with this on its stdin; what it printed. An error says what it complained of.
pub(crate) fn run<A: AsRef<OsStr>>(name: &str, args: impl IntoIterator<Item = A>, input: &str) -> io::Result<String> {
    let not_found = || io::Error::new(io::ErrorKind::NotFound, format!("{name} is not installed"));
    let mut command = Command::new(tool(name).ok_or_else(not_found)?);
    command.args(args);
    finish(command, input)
}

/// The same, of a command.
pub(crate) fn finish(mut command: Command, input: &str) -> io::Result<String> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        let _ = stdin.write_all(input.as_bytes()); // it may end without reading it, and says why
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(io::Error::other(format!("{}: {} ({})", command.get_program().display(), said.trim(), output.status)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Several `ip` commands, a line each, stopping at the first that fails.
pub(crate) fn ip(lines: &str) -> io::Result<()> {
    run("ip", ["-batch", "-"], lines).map(drop)
}

/// The absolute path of a file that exists, for a process that will be somewhere else.
pub(crate) fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    path.canonicalize().map_err(|error| Ending::Usage.says(format!("{}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_program_that_cannot_be_run_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("kvnode");
        let refused = |path: &Path, why: &str| {
            let failure = given(path).unwrap_err();
            assert!(failure.ending == Ending::Usage && failure.to_string().contains(why), "{failure}");
        };
        refused(&file, "No such file");
        refused(dir.path(), "no program");
        std::fs::write(&file, "#!/bin/sh\n").unwrap();
        refused(&file, "no program");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert!(given(&file).is_ok());
    }
}
