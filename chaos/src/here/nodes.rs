//! Which nodes there are, and which of them are on this host: a file that the user writes.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::ending::{Ending, Failure};
use crate::journal::Undo;

/// How long a process that was signalled may take to be gone, or to stand.
const END_WAIT: Duration = Duration::from_secs(10);

/// As the file has them.
#[derive(Debug)]
pub(super) struct Nodes {
    pub(super) all: Vec<Node>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    node: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    /// Where clients reach it.
    client: SocketAddr,
    /// Holds the process's id, if the node is on this host.
    pid_file: Option<PathBuf>,
    /// The systemd unit, if it is on this host and has one.
    unit: Option<String>,
    /// Starts it, where there is no unit.
    start: Option<String>,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) name: String,
    pub(super) client: String,
    /// Also that of its peers' connections: the host's.
    pub(super) address: IpAddr,
    pid_file: Option<PathBuf>,
    unit: Option<String>,
    start: Option<String>,
}

impl Nodes {
    pub(super) fn read(path: &Path) -> Result<Nodes, Failure> {
        let shown = path.display();
        let text = std::fs::read_to_string(path).map_err(|error| Ending::Usage.says(format!("{shown}: {error}")))?;
        Nodes::parse(&text).map_err(|why| Ending::Usage.says(format!("{shown}: {why}")))
    }

    fn parse(text: &str) -> Result<Nodes, String> {
        let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
        let node = |entry: Entry| Node {
            name: entry.name,
            client: entry.client.to_string(),
            address: entry.client.ip(),
            pid_file: entry.pid_file,
            unit: entry.unit,
            start: entry.start,
        };
        Ok(Nodes { all: file.node.into_iter().map(node).collect() })
    }
}

impl Node {
    /// Whether this host has its address.
    pub(super) fn is_here(&self) -> bool {
        UdpSocket::bind((self.address, 0)).is_ok()
    }

    /// Its process. It must look like a node: a stale pid file may name anybody.
    pub(super) fn pid(&self) -> Result<i32, Failure> {
        let name = &self.name;
        if self.pid_file.is_none() && self.unit.is_none() {
            return Err(Ending::Usage.says(format!("{name}: neither pid_file nor unit says where its process is")));
        }
        let pid = pid_of(self.pid_file.as_deref(), self.unit.as_deref());
        let pid = pid.map_err(|why| Ending::Inconclusive.says(format!("{name}: {why}")))?;
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let program = line.split(|byte| *byte == 0).next().map(|word| String::from_utf8_lossy(word).into_owned()).unwrap_or_default();
        if program.rsplit('/').next() != Some("kvnode") {
            return Err(Ending::Usage.says(format!("{name}: process {pid} is {program:?}, and not a kvnode")));
        }
        Ok(pid)
    }

    /// An error if nobody knows how: then it must not be killed.
    pub(super) fn how_to_start(&self) -> Result<Undo, Failure> {
        if self.unit.is_none() && self.start.is_none() {
            let why = "neither unit nor start says how to start it again";
            return Err(Ending::Unsupported.says(format!("{}: {why}", self.name)));
        }
        let (unit, pid_file, command) = (self.unit.clone(), self.pid_file.clone(), self.start.clone());
        Ok(Undo::Start { unit, pid_file, command, since_ms: None })
    }

    /// Until a process that was killed is gone.
    pub(super) fn wait_end(&self, pid: i32) -> Result<(), Failure> {
        self.wait("end", || begun(pid).is_none())
    }

    /// Until a process that was sent a SIGSTOP stands, or is gone.
    pub(super) fn wait_stopped(&self, pid: i32) -> Result<(), Failure> {
        self.wait("stop", || is_stopped(pid) || begun(pid).is_none())
    }

    fn wait(&self, what: &str, is_so: impl Fn() -> bool) -> Result<(), Failure> {
        let deadline = Instant::now() + END_WAIT;
        while !is_so() {
            if Instant::now() > deadline {
                return Err(Ending::Io.says(format!("{}: its process does not {what}", self.name)));
            }
            // sleeps because nobody tells us how a process is that is not our child
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }
}

/// The process of a node that runs: what its pid file says, or else its unit.
pub(super) fn pid_of(pid_file: Option<&Path>, unit: Option<&str>) -> Result<i32, String> {
    match (pid_file, unit) {
        (Some(file), _) => pid_in(file),
        (None, Some(unit)) => unit_pid(unit),
        (None, None) => Err("neither a pid file nor a unit says which process it is".to_owned()),
    }
}

/// The process that a file names, if it runs.
fn pid_in(file: &Path) -> Result<i32, String> {
    let shown = file.display();
    let text = std::fs::read_to_string(file).map_err(|error| format!("{shown}: {error}"))?;
    let pid = text.trim().parse().map_err(|_| format!("{shown} holds no process id"))?;
    if begun(pid).is_some() { Ok(pid) } else { Err(format!("process {pid} of {shown} does not run")) }
}

fn unit_pid(unit: &str) -> Result<i32, String> {
    let output = Command::new("systemctl").args(["show", "--property=MainPID", "--value", unit]).output();
    let output = output.map_err(|error| format!("systemctl: {error}"))?;
    match String::from_utf8_lossy(&output.stdout).trim().parse() {
        Ok(0) | Err(_) => Err(format!("unit {unit} does not run")),
        Ok(pid) => Ok(pid),
    }
}

/// When a process began; `None`: there is none, or only what its parent has not noticed yet.
pub(super) fn begun(pid: i32) -> Option<String> {
    let fields = stat(pid)?;
    (fields.first()? != "Z").then(|| fields.get(19).cloned())?
}

/// The same, in milliseconds since this machine started.
pub(super) fn begun_ms(pid: i32) -> Option<u64> {
    let ticks: u64 = begun(pid)?.parse().ok()?;
    let ticks_per_s = u64::try_from(nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok()??).ok()?;
    Some(ticks * 1000 / ticks_per_s)
}

/// Whether a process stands still.
pub(super) fn is_stopped(pid: i32) -> bool {
    stat(pid).is_some_and(|fields| fields.first().is_some_and(|state| state == "T"))
}

/// What stands behind the name, which is whatever is between the first and the last parenthesis.
fn stat(pid: i32) -> Option<Vec<String>> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(stat.rsplit_once(") ")?.1.split(' ').map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(more: &str) -> Node {
        let text = format!("[[node]]\nname = \"n1\"\nclient = \"127.0.0.1:7117\"\n{more}");
        Nodes::parse(&text).unwrap().all.remove(0)
    }

    #[test]
    fn only_a_kvnode_that_runs_is_touched() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pid");
        let with_file = || node(&format!("pid_file = {file:?}"));
        assert!(with_file().pid().unwrap_err().to_string().contains("No such file"));
        std::fs::write(&file, "4194304").unwrap(); // above the highest there can be
        assert_eq!(with_file().pid().unwrap_err().ending, Ending::Inconclusive);
        std::fs::write(&file, std::process::id().to_string()).unwrap();
        let failure = with_file().pid().unwrap_err();
        assert_eq!(failure.ending, Ending::Usage);
        assert!(failure.to_string().contains("not a kvnode"), "{failure}");
        assert_eq!(node("").pid().unwrap_err().ending, Ending::Usage);
    }

    #[test]
    fn who_could_not_be_started_again_is_not_killed() {
        assert_eq!(node("").how_to_start().unwrap_err().ending, Ending::Unsupported);
        assert!(node("start = \"kvnode run\"").how_to_start().is_ok());
        assert!(node("unit = \"kvnode@n1\"").how_to_start().is_ok());
    }

    #[test]
    fn an_unknown_word_in_the_file_is_an_error() {
        assert!(Nodes::parse("[[node]]\nname = \"n1\"\nclient = \"127.0.0.1:7117\"\npidfile = \"x\"").is_err());
    }
}
