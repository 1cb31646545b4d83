//! `chaos clean`: what a killed `chaos` may have left is swept up.
//!
//! Namespaces, interfaces, rules and mounts need no sweeping: they end with the processes in them. So: no process is left, then files
//! are put back.

use std::io::{self, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use kvcli::words::quote;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::CleanArgs;
use super::control::{Connection, Request, SOCKET};
use crate::cluster::{PID, lock};
use crate::ending::{Ending, Failure};
use crate::fault::effect::Effect;
use crate::here;
use crate::journal::{self, Journal, MARK, Undo};

/// How long a `chaos` that was killed may take to go: it has interfaces to take down.
const LOCK_WAIT: Duration = Duration::from_secs(10);
/// How long processes may take to end when they are killed: a slow disk can hold one for a while.
const END_WAIT: Duration = Duration::from_secs(30);

pub(super) fn clean(args: &CleanArgs) -> Result<Ending, Failure> {
    let dir = &args.dir.dir;
    let shown = &quote(dir.as_os_str());
    let cannot = |what: &'static str| move |error: io::Error| Ending::Io.says(format!("cannot {what}: {error}"));
    if !dir.is_dir() {
        return Err(Ending::Usage.says(format!("{shown}: no such directory")));
    }
    // Every chaos writes its journal before anything else: without one, all that is here is somebody else's.
    if !dir.join(journal::FILE).is_file() {
        return Err(Ending::Usage.says(format!("nothing of chaos in {shown}: it has no {}", journal::FILE)));
    }
    let is_up = || Ending::Usage.says(format!("the cluster in {shown} is up: `chaos down --dir {shown}`, or say --force"));
    if args.force {
        kill_supervisor(dir)?;
    } else if answers(dir) {
        return Err(is_up());
    }
    let deadline = Instant::now() + END_WAIT;
    let _lock = lock::take(dir, LOCK_WAIT).map_err(cannot("take the lock"))?.ok_or_else(is_up)?;
    let open = journal::open_ends(dir).map_err(cannot("read the undo journal"))?;
    let had_cluster = journal::had_cluster(dir).map_err(cannot("read the undo journal"))?;
    let mut journal = Journal::open(dir).map_err(cannot("write the undo journal"))?;
    let mut out = io::stdout().lock();
    // Processes first: files are put back under nobody's feet.
    for (_, undo) in &open {
        if let Undo::EndMarked(mark) = undo {
            let count = end_marked(mark, deadline)?;
            if count > 0 {
                writeln!(out, "ended {count} processes")?;
            }
        }
    }
    let (mut effect, mut failures) = (Effect::default(), Vec::new());
    for (id, undo) in &open {
        // Files are put back in order, or one would get what belongs to another that has its name meanwhile.
        if !failures.is_empty() && !undo.is_here() {
            continue;
        }
        match undo.files().map_err(cannot("put files back")).and_then(|()| here::undo(undo)) {
            Ok(done) => effect = effect.with(&done),
            // To be tried again. It keeps nothing else broken.
            Err(failure) => {
                failures.push(failure);
                continue;
            }
        }
        match undo {
            Undo::EndMarked(_) => {}
            Undo::MoveBack { to, .. } => writeln!(out, "put back {}", to.display())?,
            Undo::PutBack { file, .. } => writeln!(out, "put back what {} held", file.display())?,
            Undo::GoOn { pid, .. } => writeln!(out, "let process {pid} go on")?,
            Undo::Start { unit, command, .. } => {
                writeln!(out, "started {}", unit.as_ref().or(command.as_ref()).map_or("", String::as_str))?
            }
            Undo::DropRule { comment, .. } => writeln!(out, "removed the firewall rule {comment}")?,
        }
        journal.end(*id).map_err(cannot("write the undo journal"))?;
    }
    if !effect.is_nothing() {
        here::note_end(dir, &effect);
    }
    if let Some(failure) = Failure::of_all(failures) {
        return Err(failure);
    }
    if had_cluster {
        for entry in std::fs::read_dir(dir).map_err(cannot("read the directory"))? {
            let entry = entry.map_err(cannot("read the directory"))?;
            if entry.file_name().to_str().is_some_and(is_clusters) {
                std::fs::remove_file(entry.path()).map_err(cannot("remove a stale file"))?;
            }
        }
    }
    writeln!(out, "{shown} is clean")?;
    Ok(Ending::Passed)
}

/// Whether it is the name of a file that says where a cluster is: its socket, its process id, those of its nodes.
fn is_clusters(name: &str) -> bool {
    let node = name.strip_prefix('n').and_then(|rest| rest.strip_suffix(".pid"));
    name == SOCKET || name == PID || node.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Whether a supervisor is at work. One that was killed may still be there for a moment, and does not answer.
fn answers(dir: &Path) -> bool {
    Connection::to(dir).and_then(|mut connection| connection.ask(&Request::Host { name: "chaos".into() })).is_ok()
}

/// If there is one.
fn kill_supervisor(dir: &Path) -> Result<(), Failure> {
    if lock::take(dir, Duration::ZERO).is_ok_and(|lock| lock.is_some()) {
        return Ok(());
    }
    let pid = std::fs::read_to_string(dir.join(PID)).ok().and_then(|text| text.trim().parse::<i32>().ok());
    let pid = pid.ok_or_else(|| Ending::Io.says("the cluster is up, and its pid file does not say where"))?;
    // A pid file may be older than whoever has the directory now, and its number be a stranger's.
    let cannot = |error: io::Error| Ending::Io.says(format!("cannot tell who has {}: {error}", dir.display()));
    if !lock::is_held_by(dir, pid).map_err(cannot)? {
        return Err(Ending::Io.says(format!("{} is in use, and not by process {pid}, which its pid file names", dir.display())));
    }
    match kill(Pid::from_raw(pid), Signal::SIGKILL) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(Ending::Io.says(format!("cannot kill the supervisor: {errno}"))),
    }
}

/// Kills all that have the mark, until there are none; how many there were.
fn end_marked(mark: &str, deadline: Instant) -> Result<usize, Failure> {
    let wanted = format!("{MARK}={mark}");
    let mut seen = std::collections::BTreeSet::new();
    loop {
        let marked = marked(&wanted).map_err(|error| Ending::Io.says(format!("cannot look through /proc: {error}")))?;
        if marked.is_empty() {
            return Ok(seen.len());
        }
        if Instant::now() > deadline {
            return Err(Ending::Io.says(format!("these processes do not end: {marked:?}")));
        }
        for pid in marked {
            seen.insert(pid);
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL); // it may have ended meanwhile
        }
        // sleeps because nobody tells us when a process that is not our child has ended
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Processes with this in their environment. Those of other users are nobody's of ours: we may not even look.
fn marked(wanted: &str) -> io::Result<Vec<i32>> {
    let mut marked = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        let Ok(environment) = std::fs::read(entry.path().join("environ")) else { continue };
        if environment.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes()) && pid != std::process::id().cast_signed() {
            marked.push(pid);
        }
    }
    Ok(marked)
}

#[cfg(test)]
mod tests {
    use super::is_clusters;

    #[test]
    fn only_names_that_a_cluster_gives_are_stale_files_of_one() {
        for ours in ["control", "pid", "n1.pid", "n12.pid"] {
            assert!(is_clusters(ours), "{ours}");
        }
        for other in ["sshd.pid", "n.pid", "n1x.pid", "n1.pid.old", "n-1.pid", "control.pid", "pids", "undo.jsonl", "n1"] {
            assert!(!is_clusters(other), "{other}");
        }
    }
}
