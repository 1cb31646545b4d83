//! Nodes and what is done to them.

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::cli::{Ran, kvcli_command};
use crate::sizes::MaxLog;
use crate::status::Status;
use crate::wait::{PATIENCE, let_pass, wait_for, wait_until};
use crate::{place, process, programs};

/// One node: its place, and its process while it runs.
#[derive(Debug)]
pub struct Node {
    /// `n1` and so on.
    pub name: String,
    /// Where clients reach it.
    pub client_addr: String,
    /// Where peers reach it.
    pub peer_addr: String,
    /// Its data.
    pub data_dir: PathBuf,
    /// All it ever said on stderr.
    pub log: PathBuf,
    /// More arguments for its `kvnode run`.
    pub run_args: Vec<String>,
    /// What it is run under, from its next start on: a program that ends in an exec, and its arguments.
    pub under: Vec<String>,
    child: Option<Child>,
    paused: bool,
}

/// Nodes that are members of one cluster. Dropping it kills them; their files stay if the test is failing.
#[derive(Debug)]
pub struct Cluster {
    dir: Option<TempDir>,
    /// In order of name; `n1` is number 0.
    pub nodes: Vec<Node>,
    /// `--cluster`, as every node got it.
    pub members: String,
    /// More arguments for every `kvnode run`.
    pub run_args: Vec<String>,
}

/// Election ticks of a calm cluster, 20 to 40 s: longer than a machine stalls, and short enough to be waited for if a killed leader's
/// successor is not found at once.
pub const CALM_TICKS: u32 = 2000;

/// How a node's process is, as far as it was told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProcessState {
    /// It runs.
    Running,
    /// SIGSTOP.
    Paused,
    /// There is none.
    Down,
}

impl Node {
    /// How its process is.
    pub fn state(&self) -> ProcessState {
        match (&self.child, self.paused) {
            (None, _) => ProcessState::Down,
            (Some(_), true) => ProcessState::Paused,
            (Some(_), false) => ProcessState::Running,
        }
    }
}

impl Cluster {
    /// A cluster of this size, formed, with every member up.
    pub fn start(size: usize) -> Cluster {
        let mut cluster = Cluster::prepare(size);
        cluster.start_all();
        cluster.wait_healthy();
        cluster
    }

    /// The same, in which nobody stands for election and no link is given up, however busy the machine is: see
    /// [`Cluster::start_all_calm`].
    pub fn start_calm(size: usize) -> Cluster {
        let mut cluster = Cluster::prepare(size);
        cluster.start_all_calm(CALM_TICKS);
        cluster
    }

    /// The same, with logs that are at most so long.
    pub fn start_with_log(size: usize, max: MaxLog) -> Cluster {
        let mut cluster = Cluster::prepare(size);
        cluster.run_args = vec!["--max-log-bytes".into(), max.arg()];
        cluster.start_all();
        cluster.wait_healthy();
        cluster
    }

    /// Initialised directories, and nothing running yet.
    pub fn prepare(size: usize) -> Cluster {
        Cluster::prepare_at((0..size).map(|_| {
            let address = place::loopback();
            [place::CLIENT_PORT, place::PEER_PORT].map(|port| format!("{address}:{port}"))
        }))
    }

    /// The same, every address an IPv6 one.
    pub fn prepare_on_ipv6(size: usize) -> Cluster {
        Cluster::prepare_at((0..size).map(|_| [place::ipv6_loopback(), place::ipv6_loopback()].map(|address| address.to_string())))
    }

    /// Nodes with these client and peer addresses.
    fn prepare_at(addresses: impl IntoIterator<Item = [String; 2]>) -> Cluster {
        let dir = place::directory();
        let node = |(number, [client_addr, peer_addr]): (usize, [String; 2])| {
            let name = format!("n{}", number + 1);
            let (data_dir, log) = (dir.path().join(&name), dir.path().join(format!("{name}.log")));
            Node { name, client_addr, peer_addr, data_dir, log, run_args: Vec::new(), under: Vec::new(), child: None, paused: false }
        };
        let nodes: Vec<Node> = addresses.into_iter().enumerate().map(node).collect();
        let members = nodes.iter().map(|node| format!("{}={}", node.name, node.peer_addr)).collect::<Vec<_>>().join(",");
        // Small segments: the default would write 128 MiB per node before the first entry.
        let run_args = ["--max-log-bytes", "4MiB"].map(String::from).into();
        let cluster = Cluster { dir: Some(dir), nodes, members, run_args };
        for number in 0..cluster.nodes.len() {
            cluster.init(number).expect_code(0);
        }
        cluster
    }

    /// `kvnode init` for one node, with the arguments that every node gets.
    pub fn init(&self, number: usize) -> Ran {
        let node = &self.nodes[number];
        let args: [&OsStr; 7] = [
            "init".as_ref(),
            "--data-dir".as_ref(),
            node.data_dir.as_ref(),
            "--name".as_ref(),
            node.name.as_ref(),
            "--cluster".as_ref(),
            self.members.as_ref(),
        ];
        Ran::kvnode(args)
    }

    /// The arguments of `kvnode run` for one node.
    pub fn run_command(&self, number: usize) -> Command {
        let node = &self.nodes[number];
        let mut command = match node.under.split_first() {
            None => programs::command(programs::kvnode()),
            Some((program, args)) => {
                let mut command = programs::command(program);
                command.args(args).arg(programs::kvnode());
                command
            }
        };
        command.args(["run", "--listen-client", &node.client_addr, "--data-dir"]).arg(&node.data_dir);
        command.args(&self.run_args).args(&node.run_args);
        command
    }

    /// Where the cluster's files are.
    pub fn path(&self) -> &Path {
        self.dir.as_ref().expect("a directory until drop").path()
    }

    /// Starts a node. It goes on with its log file.
    pub fn start_node(&mut self, number: usize) {
        assert!(self.nodes[number].child.is_none(), "{} runs already", self.nodes[number].name);
        let mut command = self.run_command(number);
        let log = OpenOptions::new().create(true).append(true).open(&self.nodes[number].log).expect("a log file");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.nodes[number].child = Some(process::spawn(command).expect("kvnode starts"));
    }

    /// Starts every node that does not run.
    pub fn start_all(&mut self) {
        for number in 0..self.nodes.len() {
            if self.nodes[number].child.is_none() {
                self.start_node(number);
            }
        }
    }

    /// Starts all nodes with an election timeout of so many ticks of 10 ms, or up to twice that, and returns when they are healthy. Who
    /// leads then goes on for so long without an answer.
    ///
    /// Nobody waits so long for a first leader: the last node begins with the usual timeout, leads, and is killed. That is known at once,
    /// and one of the others leads.
    pub fn start_all_calm(&mut self, election_ticks: u32) {
        assert!(self.nodes.len() >= 3, "without the last node there is a majority");
        let calm = ["--election-ticks".to_owned(), election_ticks.to_string()];
        let last = self.nodes.len() - 1;
        self.nodes[..last].iter_mut().for_each(|node| node.run_args.extend(calm.clone()));
        self.start_all();
        self.wait_healthy();
        while self.leader() == last {
            self.restart(last);
        }
        self.nodes[last].run_args.extend(calm);
        self.restart(last);
    }

    fn restart(&mut self, number: usize) {
        self.kill(number);
        self.start_node(number);
        self.wait_healthy();
    }

    /// SIGKILL: what it had not synced is the page cache's business, and what it had not said is never said.
    pub fn kill(&mut self, number: usize) {
        let mut child = self.nodes[number].child.take().expect("it runs");
        self.nodes[number].paused = false;
        child.kill().expect("SIGKILL is delivered");
        child.wait().expect("it is waited for");
    }

    /// SIGKILL for every node that runs, all before the first is waited for.
    pub fn kill_all(&mut self) {
        let mut children: Vec<Child> = self.nodes.iter_mut().filter_map(|node| node.child.take()).collect();
        children.iter_mut().for_each(|child| child.kill().expect("SIGKILL is delivered"));
        for child in &mut children {
            child.wait().expect("it is waited for");
        }
        self.nodes.iter_mut().for_each(|node| node.paused = false);
    }

    /// SIGTERM, and how it ended.
    pub fn terminate(&mut self, number: usize) -> ExitStatus {
        self.signal(number, Signal::SIGTERM);
        self.wait_end(number)
    }

    /// SIGSTOP: it keeps its sockets, its memory and its opinions.
    pub fn pause(&mut self, number: usize) {
        self.signal(number, Signal::SIGSTOP);
        self.nodes[number].paused = true;
    }

    /// SIGSTOP, until all others that run have given it up: what they send before that waits in its sockets, and it would find all of it
    /// there when it goes on, as if it had not been away.
    pub fn cut_off(&mut self, number: usize) {
        let Node { name, peer_addr, .. } = &self.nodes[number];
        let (lost, back) = (format!("{name} ({peer_addr}) is lost"), format!("{name} is back"));
        self.pause(number);
        let is_lost = |other: usize| {
            let log = self.log(other);
            self.nodes[other].state() != ProcessState::Running || log.rfind(&lost) > log.rfind(&back)
        };
        let is_lost_for_all = || (0..self.nodes.len()).all(is_lost);
        wait_until(&format!("all others say that {lost}"), PATIENCE, || {
            // That is said of one link of three; the others were heard at most some heartbeats later, and what is sent on them still arrives.
            // And who was being greeted when it was paused is lost once more.
            is_lost_for_all() && {
                let_pass(Duration::from_millis(200));
                is_lost_for_all()
            }
        });
    }

    /// SIGCONT.
    pub fn resume(&mut self, number: usize) {
        self.signal(number, Signal::SIGCONT);
        self.nodes[number].paused = false;
    }

    /// Any signal.
    pub fn signal(&self, number: usize, signal: Signal) {
        process::signal(self.nodes[number].child.as_ref().expect("it runs"), signal);
    }

    /// The process of a running node.
    pub fn pid(&self, number: usize) -> u32 {
        self.nodes[number].child.as_ref().expect("it runs").id()
    }

    /// Waits until a node ends by itself.
    pub fn wait_end(&mut self, number: usize) -> ExitStatus {
        let name = self.nodes[number].name.clone();
        let child = self.nodes[number].child.as_mut().expect("it runs");
        let status = wait_for(&format!("{name} ends"), PATIENCE, || child.try_wait().expect("a child").ok_or("it runs"));
        self.nodes[number].child = None;
        status
    }

    /// All it ever said.
    pub fn log(&self, number: usize) -> String {
        std::fs::read_to_string(&self.nodes[number].log).unwrap_or_default()
    }

    /// `--endpoints` with every node.
    pub fn endpoints(&self) -> String {
        self.endpoints_of(0..self.nodes.len())
    }

    /// `--endpoints` with these nodes, in this order.
    pub fn endpoints_of(&self, numbers: impl IntoIterator<Item = usize>) -> String {
        numbers.into_iter().map(|number| self.nodes[number].client_addr.clone()).collect::<Vec<_>>().join(",")
    }

    /// Runs `kvcli` against all nodes.
    pub fn kvcli<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Ran {
        Ran::run(self.kvcli_command(&self.endpoints(), args), b"")
    }

    /// Runs `kvcli` against these nodes only, as far as it knows.
    pub fn kvcli_at<A: AsRef<OsStr>>(&self, numbers: impl IntoIterator<Item = usize>, args: impl IntoIterator<Item = A>) -> Ran {
        Ran::run(self.kvcli_command(&self.endpoints_of(numbers), args), b"")
    }

    /// Runs `kvcli` with these bytes on stdin.
    pub fn kvcli_reading<A: AsRef<OsStr>>(&self, stdin: &[u8], args: impl IntoIterator<Item = A>) -> Ran {
        Ran::run(self.kvcli_command(&self.endpoints(), args), stdin)
    }

    /// `kvcli`, to be run.
    pub fn kvcli_command<A: AsRef<OsStr>>(&self, endpoints: &str, args: impl IntoIterator<Item = A>) -> Command {
        let mut command = kvcli_command(["--endpoints", endpoints]);
        command.args(args);
        command
    }

    /// Asks every node how it is; an error if there is no answer at all.
    pub fn try_status(&self) -> Result<Status, String> {
        let ran = self.kvcli(["--timeout", "2s", "-o", "json", "status"]);
        serde_json::from_slice(&ran.stdout).map(Status).map_err(|error| format!("{error}\n{ran}"))
    }

    /// Asks every node how it is, until all that run answer: one that its disk holds up is not gone.
    pub fn status(&self) -> Status {
        wait_for("every node says how it is", PATIENCE, || {
            let status = self.try_status()?;
            match self.running().find(|node| status.node(&node.name)["reachable"] != true) {
                None => Ok(status),
                Some(silent) => Err(format!("{} does not answer: {:#}", silent.name, status.0)),
            }
        })
    }

    /// Waits until every member is up and follows one leader, and answers reads.
    pub fn wait_healthy(&self) -> Status {
        let what = "the cluster is healthy";
        wait_for(what, PATIENCE, || {
            let status = self.try_status()?;
            if status.verdict() == "healthy" { Ok(status) } else { Err(format!("{:#}", status.0)) }
        })
    }

    /// Waits for a leader that a majority follows; its number.
    pub fn leader(&self) -> usize {
        wait_for("a majority follows one leader", PATIENCE, || {
            let status = self.try_status()?;
            let newest = status.leaders().into_iter().max_by_key(|(_, term)| *term);
            let found = newest.and_then(|(name, term)| {
                let id = status.number(&name, "id")?;
                let follows =
                    |node: &&Node| status.number(&node.name, "leader") == Some(id) && status.number(&node.name, "term") == Some(term);
                let followers = self.nodes.iter().filter(follows).count();
                (followers * 2 > self.nodes.len()).then(|| self.number(&name))
            });
            found.ok_or_else(|| format!("{:#}", status.0))
        })
    }

    /// A node that runs and does not lead.
    pub fn follower(&self) -> usize {
        self.leader_and_follower().1
    }

    /// Both at one time: asked one after the other they may be the same, if the machine stalls for an election in between.
    pub fn leader_and_follower(&self) -> (usize, usize) {
        let leader = self.leader();
        let follower = (0..self.nodes.len()).find(|number| *number != leader && self.nodes[*number].child.is_some());
        (leader, follower.expect("a follower"))
    }

    fn number(&self, name: &str) -> usize {
        self.nodes.iter().position(|node| node.name == name).expect("a node of this cluster")
    }

    /// Waits until every running node has applied the same state: same index, same digest.
    pub fn wait_equal(&self) {
        wait_for("all nodes hold the same state", PATIENCE, || {
            let status = self.try_status()?;
            let mut states: Vec<_> = self
                .running()
                .map(|node| {
                    let node = status.node(&node.name);
                    (node["applied_index"].clone(), node["digest_index"].clone(), node["state_digest"].clone())
                })
                .collect();
            states.dedup();
            if states.len() == 1 && states[0].0.is_u64() { Ok(()) } else { Err(format!("{states:?}")) }
        });
    }

    fn running(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.child.is_some() && !node.paused)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let mut ended = Vec::new();
        for node in &mut self.nodes {
            let Some(child) = &mut node.child else { continue };
            if let Ok(Some(status)) = child.try_wait() {
                ended.push(format!("{} ended by itself: {status}", node.name));
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() || !ended.is_empty() {
            let dir = self.dir.take().expect("a directory until drop").keep();
            eprintln!("the cluster's files are kept in {}", dir.display());
            for node in &self.nodes {
                let log = std::fs::read_to_string(&node.log).unwrap_or_default();
                let lines: Vec<&str> = log.lines().collect();
                eprintln!("the last lines of {}:\n{}", node.name, lines[lines.len().saturating_sub(15)..].join("\n"));
            }
        }
        if !std::thread::panicking() {
            assert!(ended.is_empty(), "{}", ended.join(", "));
        }
    }
}
