//! `chaos exec` and `chaos shell`: a command on a host of the cluster. It ends with the cluster, if not before.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::Command;

use nix::sched::{CloneFlags, setns};
use serde_json::Value;

use super::control::{Connection, Request};
use super::{ExecArgs, ShellArgs};
use crate::ending::{Ending, Failure};
use crate::journal::MARK;

pub(super) fn exec(args: &ExecArgs) -> Result<Ending, Failure> {
    run(&args.dir.dir, &args.host, &args.command)
}

pub(super) fn shell(args: &ShellArgs) -> Result<Ending, Failure> {
    let shell = std::env::var_os("SHELL").unwrap_or_else(|| "/bin/sh".into());
    run(&args.dir.dir, &args.host, &[shell])
}

/// Runs it to its end, and ends as it does.
fn run(dir: &Path, host: &str, command: &[OsString]) -> Result<Ending, Failure> {
    let way = Connection::to(dir)?.ask(&Request::Host { name: host.to_owned() })?;
    let field = |name: &str| way[name].as_str().unwrap_or_default().to_owned();
    let here = std::env::current_dir().ok();
    join(&way)?;
    // Another mount namespace begins at its root.
    if let Some(here) = here {
        let _ = std::env::set_current_dir(here); // where we were may have been removed; then the root will do
    }
    let (program, arguments) = command.split_first().ok_or_else(|| Ending::Usage.says("no command"))?;
    let mut child = Command::new(program);
    child.args(arguments).env("KVCLI_ENDPOINTS", field("endpoints")).env("CHAOS_HOST", host).env(MARK, field("mark"));
    let status = child.status().map_err(|error| Ending::Usage.says(format!("{}: {error}", OsStr::display(program))))?;
    // As a shell would say it.
    std::process::exit(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)))
}

/// Moves this process, which has one thread, to where the host is. Its children will be in the cluster's pid namespace.
fn join(way: &Value) -> Result<(), Failure> {
    // All are opened first: in another user namespace we might not be allowed to any more.
    let kinds = [
        ("user", CloneFlags::CLONE_NEWUSER),
        ("mount", CloneFlags::CLONE_NEWNS),
        ("network", CloneFlags::CLONE_NEWNET),
        ("processes", CloneFlags::CLONE_NEWPID),
    ];
    let cannot = |error: &dyn std::fmt::Display| Ending::Io.says(format!("cannot go to that host: {error}"));
    let mut opened = Vec::new();
    for (kind, flag) in kinds {
        let path = way[kind].as_str().unwrap_or_default();
        let is_ours = kind == "user" && std::fs::read_link(path).ok() == std::fs::read_link("/proc/self/ns/user").ok();
        if !is_ours {
            opened.push((File::open(path).map_err(|error| cannot(&error))?, flag)); // nobody may enter the user namespace it is in
        }
    }
    opened.iter().try_for_each(|(file, flag)| setns(file, *flag)).map_err(|errno| cannot(&errno))
}
