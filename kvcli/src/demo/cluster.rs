//! A cluster of real `kvnode` processes on this machine: started, killed, paused, restarted, stopped.
//!
//! Each node has a directory `NAME` for its data and a file `NAME.log` for what it says, on free loopback ports. Dropping the
//! cluster kills the processes that are left; the directory is its owner's to remove.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::child::{dies_with_us, forget_environment};

/// How long a node asked to stop gets before it is killed.
const STOP_WAIT_MAX: Duration = Duration::from_secs(5);
/// The lowest port to choose, above those that services are known by.
const PORT_MIN: u16 = 10_240;
/// Ports to try before the system chooses.
const PORT_TRIES_MAX: usize = 100;
/// Lines of a node's log that an error quotes.
const QUOTED_LINES_MAX: usize = 6;

/// What went wrong with a cluster.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The system refused something.
    #[error("cannot {doing}: {source}")]
    Io {
        /// What we were trying to do.
        doing: String,
        /// What the system said.
        source: io::Error,
    },
    /// A command on a node's directory, or a node that should be running, ended.
    #[error("{name}: {command} ended with {}{said}", ending(*status))]
    Ended {
        /// Which node.
        name: String,
        /// What ran.
        command: &'static str,
        /// How it ended.
        status: ExitStatus,
        /// The end of what it said, on lines of its own.
        said: String,
    },
    /// No such node.
    #[error("no node {name}: there are {known}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
}

impl ClusterError {
    fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> ClusterError {
        move |source| ClusterError::Io { doing: doing.into(), source }
    }

    /// Whether another process took a port between our choosing it and the node's listening on it: start again, on others.
    pub fn is_port_clash(&self) -> bool {
        matches!(self, ClusterError::Ended { said, .. } if said.to_lowercase().contains("in use"))
    }
}

/// How a node's process is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProcessState {
    /// It runs.
    Running,
    /// It is stopped by SIGSTOP.
    Paused,
    /// There is none.
    Down,
}

/// One node: its place, and its process while there is one.
#[derive(Debug)]
pub struct LocalNode {
    /// Its name, `n1` and so on.
    pub name: String,
    /// Where clients reach it.
    pub client_addr: String,
    /// Where peers reach it.
    pub peer_addr: String,
    /// Its data.
    pub data_dir: PathBuf,
    /// What it says.
    pub log_file: PathBuf,
    child: Option<Child>,
    paused: bool,
}

impl LocalNode {
    /// Its process, if there is one.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// How its process is, as far as we know: [`LocalCluster::check_running`] finds out about those that ended by themselves.
    pub fn state(&self) -> ProcessState {
        match (&self.child, self.paused) {
            (None, _) => ProcessState::Down,
            (Some(_), true) => ProcessState::Paused,
            (Some(_), false) => ProcessState::Running,
        }
    }

    fn signal(&self, signal: Signal) -> Result<(), ClusterError> {
        // A child that we have not waited for keeps its pid, so this cannot hit a stranger.
        let Some(pid) = self.pid().and_then(|pid| i32::try_from(pid).ok()) else { return Ok(()) };
        kill(Pid::from_raw(pid), signal).map_err(|errno| ClusterError::io(format!("send {signal} to {}", self.name))(errno.into()))
    }

    /// The end of its log, for an error to quote.
    fn last_words(&self) -> String {
        let log = std::fs::read(&self.log_file).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(QUOTED_LINES_MAX)..].iter().fold(String::new(), |mut said, line| {
            let _ = write!(said, "\n    {line}");
            said
        })
    }
}

/// What a cluster is made of.
#[derive(Clone, Debug)]
pub struct LocalOptions {
    /// The `kvnode` program.
    pub kvnode: PathBuf,
    /// An existing directory, for the nodes' directories and logs.
    pub dir: PathBuf,
    /// How many nodes.
    pub size: usize,
    /// More arguments for `kvnode run`, say `--max-log-bytes 4MiB`.
    pub run_args: Vec<String>,
}

/// Local nodes that form one cluster.
#[derive(Debug)]
pub struct LocalCluster {
    options: LocalOptions,
    nodes: Vec<LocalNode>,
}

impl LocalCluster {
    /// Prepares the directories (`kvnode init`) and starts every node. They may still be electing a leader when this returns.
    ///
    /// The nodes die with the calling thread.
    pub fn start(options: LocalOptions) -> Result<LocalCluster, ClusterError> {
        let nodes = plan(&options)?;
        let mut cluster = LocalCluster { options, nodes };
        cluster.init()?;
        cluster.spawn_all()?;
        Ok(cluster)
    }

    /// From the beginning, without the data and on other ports: what to do about a [port clash](ClusterError::is_port_clash).
    pub fn start_over(&mut self) -> Result<(), ClusterError> {
        for at in 0..self.nodes.len() {
            self.kill(at)?;
            let data_dir = &self.nodes[at].data_dir;
            std::fs::remove_dir_all(data_dir).map_err(ClusterError::io(format!("remove {}", data_dir.display())))?;
        }
        self.nodes = plan(&self.options)?;
        self.init()?;
        self.spawn_all()
    }

    /// The nodes, in order of name.
    pub fn nodes(&self) -> &[LocalNode] {
        &self.nodes
    }

    /// The place of the node called `name`.
    pub fn find(&self, name: &str) -> Result<usize, ClusterError> {
        self.nodes.iter().position(|node| node.name == name).ok_or_else(|| ClusterError::Unknown {
            name: name.to_owned(),
            known: self.nodes.iter().map(|node| node.name.as_str()).collect::<Vec<_>>().join(", "),
        })
    }

    /// The clients' addresses, as `--endpoints` takes them.
    pub fn endpoints(&self) -> String {
        self.nodes.iter().map(|node| node.client_addr.as_str()).collect::<Vec<_>>().join(",")
    }

    /// SIGKILL: the process is gone when this returns.
    pub fn kill(&mut self, at: usize) -> Result<(), ClusterError> {
        let node = &mut self.nodes[at];
        node.signal(Signal::SIGKILL)?;
        if let Some(mut child) = node.child.take() {
            child.wait().map_err(ClusterError::io(format!("wait for {}", node.name)))?;
        }
        node.paused = false;
        Ok(())
    }

    /// SIGSTOP: it holds its connections and says nothing.
    pub fn pause(&mut self, at: usize) -> Result<(), ClusterError> {
        self.nodes[at].signal(Signal::SIGSTOP)?;
        self.nodes[at].paused = self.nodes[at].child.is_some();
        Ok(())
    }

    /// SIGCONT: it goes on where it was.
    pub fn resume(&mut self, at: usize) -> Result<(), ClusterError> {
        self.nodes[at].signal(Signal::SIGCONT)?;
        self.nodes[at].paused = false;
        Ok(())
    }

    /// Starts the node again, on the same data and ports, killing it first if it runs.
    pub fn restart(&mut self, at: usize) -> Result<(), ClusterError> {
        self.kill(at)?;
        self.spawn(at)
    }

    /// An error that quotes the log if a node ended by itself. It is down from then on.
    pub fn check_running(&mut self) -> Result<(), ClusterError> {
        for node in &mut self.nodes {
            let Some(child) = &mut node.child else { continue };
            let ended = child.try_wait().map_err(ClusterError::io(format!("wait for {}", node.name)))?;
            if let Some(status) = ended {
                node.child = None;
                node.paused = false;
                return Err(ClusterError::Ended { name: node.name.clone(), command: "kvnode run", status, said: node.last_words() });
            }
        }
        Ok(())
    }

    /// SIGTERM to all, and waits for them; who does not end within seconds is killed. An error if a node did not end well.
    pub fn stop(&mut self) -> Result<(), ClusterError> {
        for node in &mut self.nodes {
            node.signal(Signal::SIGTERM)?;
            node.signal(Signal::SIGCONT)?; // one that is paused could not hear it
            node.paused = false;
        }
        let deadline = Instant::now() + STOP_WAIT_MAX;
        let mut failed = None;
        for node in &mut self.nodes {
            let Some(mut child) = node.child.take() else { continue };
            let waiting = || ClusterError::io(format!("wait for {}", node.name));
            let status = loop {
                if let Some(status) = child.try_wait().map_err(waiting())? {
                    break status;
                }
                if Instant::now() >= deadline {
                    child.kill().map_err(waiting())?;
                    break child.wait().map_err(waiting())?;
                }
                // sleeps because the system has no wait for a child with a deadline
                std::thread::sleep(Duration::from_millis(2));
            };
            if !status.success() {
                failed = Some(ClusterError::Ended { name: node.name.clone(), command: "kvnode run", status, said: node.last_words() });
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// The command that runs the node, as words.
    pub fn run_command(&self, at: usize) -> Vec<std::ffi::OsString> {
        let node = &self.nodes[at];
        let mut words = vec![self.options.kvnode.clone().into(), "run".into(), "--data-dir".into(), node.data_dir.clone().into()];
        words.extend(["--listen-client".into(), node.client_addr.clone().into()]);
        words.extend(self.options.run_args.iter().map(Into::into));
        words
    }

    fn init(&self) -> Result<(), ClusterError> {
        let members: Vec<String> = self.nodes.iter().map(|node| format!("{}={}", node.name, node.peer_addr)).collect();
        for node in &self.nodes {
            let mut command = Command::new(&self.options.kvnode);
            command.args(["init", "--name", &node.name, "--cluster", &members.join(","), "--data-dir"]).arg(&node.data_dir);
            dies_with_us(forget_environment(&mut command, "KVNODE_")).stdin(Stdio::null());
            let output = command.output().map_err(ClusterError::io(format!("run {}", self.options.kvnode.display())))?;
            if !output.status.success() {
                let said = String::from_utf8_lossy(&output.stderr).lines().map(|line| format!("\n    {line}")).collect();
                return Err(ClusterError::Ended { name: node.name.clone(), command: "kvnode init", status: output.status, said });
            }
        }
        Ok(())
    }

    fn spawn_all(&mut self) -> Result<(), ClusterError> {
        (0..self.nodes.len()).try_for_each(|at| self.spawn(at))
    }

    fn spawn(&mut self, at: usize) -> Result<(), ClusterError> {
        let words = self.run_command(at);
        let node = &mut self.nodes[at];
        let log = OpenOptions::new().create(true).append(true).open(&node.log_file);
        let log = log.map_err(ClusterError::io(format!("open {}", node.log_file.display())))?;
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        command.process_group(0); // Ctrl-C on the terminal is for the demo, not for its nodes
        dies_with_us(forget_environment(&mut command, "KVNODE_"));
        node.child = Some(command.spawn().map_err(ClusterError::io(format!("run {}", self.options.kvnode.display())))?);
        Ok(())
    }
}

impl Drop for LocalCluster {
    fn drop(&mut self) {
        for at in 0..self.nodes.len() {
            let _ = self.kill(at); // nothing more can be done here; the kernel kills them when we are gone
        }
    }
}

/// How a process ended, for people: `exit code 74`, `SIGKILL`.
pub fn ending(status: ExitStatus) -> String {
    match (status.code(), status.signal().and_then(|number| Signal::try_from(number).ok())) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => signal.to_string(),
        (None, None) => status.to_string(),
    }
}

/// Names, directories and addresses for all nodes. The ports were free a moment ago: all are held at once while choosing, so that they
/// differ, and let go for the nodes to take.
fn plan(options: &LocalOptions) -> Result<Vec<LocalNode>, ClusterError> {
    let held = hold_ports(2 * options.size).map_err(ClusterError::io("find free ports on 127.0.0.1"))?;
    let node = |(at, pair): (usize, &[(TcpListener, SocketAddr)])| {
        let name = format!("n{}", at + 1);
        LocalNode {
            client_addr: pair[0].1.to_string(),
            peer_addr: pair[1].1.to_string(),
            data_dir: options.dir.join(&name),
            log_file: options.dir.join(format!("{name}.log")),
            name,
            child: None,
            paused: false,
        }
    };
    Ok(held.chunks(2).enumerate().map(node).collect())
}

/// Listeners on free ports, if possible on ports that the system does not hand out by itself. Otherwise, while a node is down, any
/// outgoing connection may be given its port, even a peer's attempt to reach that node: it would be connected with itself.
fn hold_ports(count: usize) -> io::Result<Vec<(TcpListener, SocketAddr)>> {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let handed_out_from = range.split_whitespace().next().and_then(|low| low.parse().ok()).unwrap_or(PORT_MIN);
    let mut random = fastrand::Rng::with_seed(getrandom::u64().map_err(|error| io::Error::other(error.to_string()))?);
    let own_choice = (0..PORT_TRIES_MAX).map(|_| if handed_out_from > PORT_MIN { random.u16(PORT_MIN..handed_out_from) } else { 0 });
    let mut held = Vec::new();
    for port in own_choice.chain(std::iter::repeat_n(0, count)) {
        if held.len() == count {
            break;
        }
        match TcpListener::bind(("127.0.0.1", port)) {
            Ok(listener) => {
                let address = listener.local_addr()?;
                held.push((listener, address));
            }
            Err(error) if port == 0 => return Err(error),
            Err(_) => {} // taken
        }
    }
    Ok(held)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stand-in for kvnode: `init` succeeds, `run` does what the script says.
    fn cluster(run: &str) -> (tempfile::TempDir, LocalOptions) {
        let dir = tempfile::tempdir().unwrap();
        let kvnode = dir.path().join("kvnode");
        // Written by a child: a descriptor of ours, open for writing, could be in another test's child while we execute the file.
        let write = r#"printf '%s\n' '#!/bin/sh' '[ "$1" = init ] && exit 0' "$1" >"$0" && chmod +x "$0""#;
        assert!(Command::new("sh").args(["-c", write]).arg(&kvnode).arg(run).status().unwrap().success());
        let options = LocalOptions { kvnode, dir: dir.path().to_owned(), size: 3, run_args: Vec::new() };
        (dir, options)
    }

    fn alive(pid: u32) -> bool {
        kill(Pid::from_raw(i32::try_from(pid).unwrap()), None).is_ok()
    }

    #[test]
    fn nodes_have_names_and_addresses_of_their_own() {
        let (_dir, options) = cluster("exec sleep 60");
        let cluster = LocalCluster::start(options).unwrap();
        let mut seen = std::collections::BTreeSet::new();
        for node in cluster.nodes() {
            assert!(seen.insert(node.client_addr.clone()) && seen.insert(node.peer_addr.clone()), "{cluster:?}");
        }
        assert_eq!(cluster.find("n3").unwrap(), 2);
        assert_eq!(cluster.find("n4").unwrap_err().to_string(), "no node n4: there are n1, n2, n3");
    }

    #[test]
    fn dropping_the_cluster_leaves_no_process_not_even_a_paused_one() {
        let (_dir, options) = cluster("exec sleep 60");
        let mut cluster = LocalCluster::start(options).unwrap();
        cluster.pause(1).unwrap();
        let pids: Vec<u32> = cluster.nodes().iter().filter_map(LocalNode::pid).collect();
        assert_eq!(pids.len(), 3);
        assert!(pids.iter().all(|pid| alive(*pid)));
        drop(cluster);
        assert!(!pids.iter().any(|pid| alive(*pid)));
    }

    #[test]
    fn a_killed_node_is_down_until_it_is_restarted() {
        let (_dir, options) = cluster("exec sleep 60");
        let mut cluster = LocalCluster::start(options).unwrap();
        let before = cluster.nodes()[0].pid().unwrap();
        cluster.kill(0).unwrap();
        assert!(!alive(before));
        assert_eq!(cluster.nodes()[0].state(), ProcessState::Down);
        cluster.check_running().unwrap(); // we did it: no surprise
        cluster.restart(0).unwrap();
        assert_eq!(cluster.nodes()[0].state(), ProcessState::Running);
        cluster.pause(0).unwrap();
        assert_eq!(cluster.nodes()[0].state(), ProcessState::Paused);
        cluster.resume(0).unwrap();
        assert_eq!(cluster.nodes()[0].state(), ProcessState::Running);
    }

    #[test]
    fn a_node_that_ends_by_itself_is_reported_with_its_last_words() {
        let (_dir, options) = cluster("echo 'cannot listen on 127.0.0.1:7117: Address already in use' >&2; exit 74");
        let mut cluster = LocalCluster::start(options).unwrap();
        let error = loop {
            if let Err(error) = cluster.check_running() {
                break error;
            }
            std::thread::yield_now();
        };
        assert!(error.to_string().contains("Address already in use"), "{error}");
        assert!(error.is_port_clash());
    }

    #[test]
    fn a_stop_that_a_node_answers_badly_is_an_error() {
        let (_dir, options) = cluster("trap 'exit 74' TERM; echo ready >&2; while :; do sleep 0.01; done");
        let mut cluster = LocalCluster::start(options).unwrap();
        while !cluster.nodes().iter().all(|node| std::fs::read(&node.log_file).is_ok_and(|log| log == b"ready\n")) {
            std::thread::yield_now();
        }
        assert!(cluster.stop().unwrap_err().to_string().contains("74"));
        assert!(cluster.nodes().iter().all(|node| node.pid().is_none()));
    }
}
