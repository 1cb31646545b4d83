//! A cluster of real nodes on hosts of its own, and what is broken in it: started, asked, broken, healed.
//!
//! ```text
//! let mut cluster = Cluster::start(options)?;          // before this process has a second thread
//! cluster.wait_healthy(limit)?;
//! let id = cluster.inject(&Fault::parse(&["pause", "leader"])?, None)?;
//! cluster.turn()?;                                     // every few milliseconds: children, deadlines, crash loops
//! let effect = cluster.heal(id)?;
//! ```
//!
//! A client's thread calls `cluster.network().hosts()[i].network.enter()` first: its sockets are then those of that host.

pub(crate) mod files; // damage to a node's files
mod force; // faults in force
pub(crate) mod lock; // who has the directory
pub(crate) mod node; // one process
mod record; // faults.jsonl

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use fastrand::Rng;
use kvcli::words::quote;
use kvcli::{Clerk, Options as ClerkOptions, Overview, Verdict};

use self::force::InForce;
use self::lock::Lock;
use self::node::{Node, ProcessState};
use self::record::Record;
use crate::ending::{Ending, Failure};
use crate::fault::target::Scene;
use crate::host::network::{Backend, Network};
use crate::host::people::People;
use crate::host::{programs, tun, world};
use crate::journal::{Journal, Undo, open_ends};

/// How long a node may take to say how it is: longer, and it does not answer.
const STATUS_TIMEOUT: Duration = Duration::from_millis(400);
/// How long a fault aimed at a leader waits for one.
const LEADER_WAIT: Duration = Duration::from_secs(5);
/// How long a `chaos` that was killed may still be in the way.
const LOCK_WAIT: Duration = Duration::from_secs(5);
/// The name of the file with our process id.
pub(crate) const PID: &str = "pid";
/// Between two looks at something that nobody tells us of.
const LOOK: Duration = Duration::from_millis(10);

/// What to start.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// The `kvnode` program; `None`: beside ours, else in `PATH`.
    pub(crate) kvnode: Option<PathBuf>,
    /// Where data, logs and records go. It exists. Nodes that have data there already go on with it.
    pub(crate) dir: PathBuf,
    /// How many nodes.
    pub(crate) nodes: usize,
    /// How many client hosts.
    pub(crate) clients: usize,
    /// More arguments for `kvnode run`.
    pub(crate) run_args: Vec<String>,
    /// Whether nodes tell what they apply: a line per write.
    pub(crate) apply_traces: bool,
    /// How links are broken; `None`: the best there is.
    pub(crate) backend: Option<Backend>,
    /// Targets and packets are drawn from it.
    pub(crate) seed: u64,
    /// Times in records are nanoseconds since then.
    pub(crate) epoch: Instant,
}

/// Nodes, their network, and what is wrong with them. It all ends when this process does.
pub(crate) struct Cluster {
    network: Network,
    people: People,
    nodes: Vec<Node>,
    in_force: Vec<InForce>,
    last_id: u64,
    journal: Journal,
    record: Record,
    random: Rng,
    options: Options,
    _marked: Marked,
    _lock: Lock,
}

/// Nodes that have applied the same.
pub(crate) struct Converged {
    pub(crate) overview: Overview,
    /// How their states differ nevertheless; `None`: they do not.
    pub(crate) differ: Option<String>,
}

/// Whoever ends in good order needs nobody to look for its processes: they end with it.
struct Marked {
    dir: PathBuf,
    step: u64,
}

impl Drop for Marked {
    fn drop(&mut self) {
        // Else `chaos clean` looks for processes that are not there: no harm.
        let _ = Journal::open(&self.dir).and_then(|mut journal| journal.end(self.step));
    }
}

impl Cluster {
    /// Moves this process into namespaces of its own, and starts everything there. Nodes may still be electing when this returns.
    ///
    /// It must be called while the process has one thread.
    pub(crate) fn start(mut options: Options) -> Result<Cluster, Failure> {
        let kvnode = programs::given_or_ours(options.kvnode.as_deref(), "kvnode")?;
        options.dir = programs::absolute(&options.dir)?;
        programs::text(&options.dir)?;
        options.kvnode = Some(kvnode);
        let io = |doing: &'static str| move |error: std::io::Error| Ending::Io.says(format!("cannot {doing}: {error}"));
        let shown = quote(options.dir.as_os_str());
        let in_use = || Ending::Usage.says(format!("{shown} is in use: `chaos down --dir {shown}` stops the cluster there"));
        let lock = lock::take(&options.dir, LOCK_WAIT).map_err(io("take the lock"))?.ok_or_else(in_use)?;
        if !open_ends(&options.dir).map_err(io("read the undo journal"))?.is_empty() {
            return Err(Ending::Usage.says(format!("a cluster in {shown} was killed: first `chaos clean --dir {shown}`")));
        }
        // Before anything else: only where there is a journal with a cluster in it does `chaos clean` take files for a cluster's.
        let mut journal = Journal::open(&options.dir).map_err(io("write the undo journal"))?;
        let mark = format!("{:016x}", Rng::new().u64(..));
        let step = journal.begin(Undo::EndMarked(mark.clone())).map_err(io("write the undo journal"))?;
        let marked = Marked { dir: options.dir.clone(), step };
        std::fs::write(options.dir.join(PID), format!("{}\n", std::process::id())).map_err(io("write the pid file"))?;
        let record = Record::open(&options.dir, options.epoch).map_err(io("write faults.jsonl"))?;

        let backend = options.backend.unwrap_or_else(best_backend);
        world::enter()?;
        let people = People::begin(&mark)?;
        let network = Network::make(options.nodes, options.clients, backend, options.seed)?;
        let hosts = &network.hosts()[..options.nodes];
        let nodes: Vec<Node> = hosts.iter().map(|host| Node::new(host, &options, &mark)).collect();
        let random = Rng::with_seed(options.seed);
        let mut cluster = Cluster {
            network,
            people,
            nodes,
            in_force: Vec::new(),
            last_id: 0,
            journal,
            record,
            random,
            options,
            _marked: marked,
            _lock: lock,
        };
        cluster.init()?;
        for at in 0..cluster.nodes.len() {
            cluster.start_node(at)?;
        }
        Ok(cluster)
    }

    /// Hosts: nodes first, then clients, then ourselves.
    pub(crate) fn network(&self) -> &Network {
        &self.network
    }

    /// The nodes, `n1` first.
    pub(crate) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The first process of the cluster's pid namespace.
    pub(crate) fn holder(&self) -> u32 {
        self.people.holder()
    }

    /// What marks its processes.
    pub(crate) fn mark(&self) -> &str {
        self.people.mark()
    }

    /// `--endpoints` for `kvcli`.
    pub(crate) fn endpoints(&self) -> String {
        self.nodes.iter().map(|node| node.client_addr.as_str()).collect::<Vec<_>>().join(",")
    }

    /// What every node says of itself, asked from our own host.
    pub(crate) fn overview(&self) -> Result<Overview, Failure> {
        self.clerk()?.overview().map_err(|error| Ending::Io.says(format!("cannot ask how the nodes are: {error}")))
    }

    /// A new one every time: the connections of an old one may have ended unnoticed, and its first question would be lost on them.
    fn clerk(&self) -> Result<Clerk, Failure> {
        let endpoints = self.nodes.iter().map(|node| node.client_addr.as_str());
        let options = ClerkOptions { timeout: STATUS_TIMEOUT, ..ClerkOptions::default() };
        Clerk::new(endpoints, options).map_err(|error| Ending::Io.says(format!("cannot ask how the nodes are: {error}")))
    }

    /// Waits until all nodes follow one leader. An error quotes a node that ended by itself.
    pub(crate) fn wait_healthy(&mut self, limit: Duration) -> Result<Overview, Failure> {
        self.await_for(limit, |cluster| {
            cluster.turn()?;
            cluster.check_running()?;
            let overview = cluster.overview()?;
            if overview.verdict == Verdict::Healthy {
                return Ok(Ok(overview));
            }
            Ok(Err(Ending::Late.says(format!("not healthy after {limit:?}: {}", overview.headline()))))
        })
    }

    /// Waits until all nodes have applied the same: then their digests must agree. An error: they have not come together in time.
    pub(crate) fn converge(&mut self, limit: Duration) -> Result<Converged, Failure> {
        self.await_for(limit, |cluster| {
            let overview = cluster.wait_healthy(limit)?;
            let statuses = overview.rows.iter().filter_map(|row| row.status());
            let states: BTreeSet<(u64, u64)> = statuses.map(|status| (status.applied_index.0, status.state_digest)).collect();
            let positions: BTreeSet<u64> = states.iter().map(|(position, _)| *position).collect();
            if positions.len() == 1 {
                let differ = (states.len() > 1).then(|| format!("nodes that have applied the same differ: {states:x?}"));
                return Ok(Ok(Converged { differ, overview }));
            }
            Ok(Err(Ending::Late.says(format!("the nodes have not come together within {limit:?}: {}", overview.headline()))))
        })
    }

    /// Looks until there is what it looks for. The inner error is what to say if that takes too long; the outer one ends it at once.
    fn await_for<T>(
        &mut self,
        limit: Duration,
        mut look: impl FnMut(&mut Cluster) -> Result<Result<T, Failure>, Failure>,
    ) -> Result<T, Failure> {
        let deadline = Instant::now() + limit;
        loop {
            match look(self)? {
                Ok(found) => return Ok(found),
                Err(too_late) if Instant::now() >= deadline => return Err(too_late),
                Err(_) => {}
            }
            // sleeps because nobody tells us when a leader is elected, or a node has caught up
            std::thread::sleep(LOOK);
        }
    }

    /// An error that quotes the log of a node that ended without being asked to.
    pub(crate) fn check_running(&self) -> Result<(), Failure> {
        match self.nodes.iter().find(|node| node.ended_by_itself().is_some()) {
            Some(node) => Err(Ending::Late.says(node.last_words())),
            None => Ok(()),
        }
    }

    /// What time brings: notices ended nodes, heals what has a deadline, keeps crash loops going.
    pub(crate) fn turn(&mut self) -> Result<(), Failure> {
        for node in &mut self.nodes {
            node.notice_end();
        }
        self.turn_faults()
    }

    /// SIGTERM to all nodes, and waits for them; who does not end is killed.
    pub(crate) fn stop(&mut self) -> Result<(), Failure> {
        self.heal_all()?;
        for node in &mut self.nodes {
            node.ask_to_end();
        }
        for node in &mut self.nodes {
            node.wait_end();
        }
        let _ = std::fs::remove_file(self.options.dir.join(PID)); // a stale one harms nobody
        Ok(())
    }

    /// Prepares the directories of nodes that have none.
    fn init(&mut self) -> Result<(), Failure> {
        for at in 0..self.nodes.len() {
            if !self.nodes[at].dir.exists() {
                self.init_node(at)?;
            }
        }
        Ok(())
    }

    fn init_node(&self, at: usize) -> Result<(), Failure> {
        let members: Vec<String> = self.nodes.iter().map(|node| format!("{}={}", node.name, node.peer_addr)).collect();
        self.nodes[at].init(&self.people, &self.network.hosts()[at], &members.join(","))
    }

    fn start_node(&mut self, at: usize) -> Result<(), Failure> {
        self.nodes[at].start(&self.people, &self.network.hosts()[at])
    }

    /// The number of the node that a majority follows; waits a little for one.
    fn leader(&mut self) -> Result<usize, Failure> {
        self.await_for(LEADER_WAIT, |cluster| {
            let overview = cluster.overview()?;
            let name = overview.leader.map(|id| overview.name_of(id));
            let at = name.and_then(|name| cluster.nodes.iter().position(|node| node.name == name));
            Ok(at.ok_or_else(|| Ending::Inconclusive.says(format!("no leader to aim at: {}", overview.headline()))))
        })
    }

    /// Whom the words of a target mean now.
    fn resolve(&mut self, target: &crate::fault::target::Target) -> Result<Vec<usize>, Failure> {
        let leader = if target.needs_leader() { Some(self.leader()?) } else { None };
        let names: Vec<String> = self.network.hosts().iter().map(|host| host.name.clone()).collect();
        let (nodes, rest) = names.split_at(self.options.nodes);
        let scene = Scene { nodes, clients: &rest[..self.options.clients], leader };
        let found = target.resolve(&scene, &mut self.random).map_err(|why| Ending::Usage.says(why))?;
        Ok(found.iter().filter_map(|name| self.network.find(name)).collect())
    }
}

/// TUN devices where we may have them.
fn best_backend() -> Backend {
    let tun = std::fs::OpenOptions::new().read(true).write(true).open(tun::DEVICE);
    if tun.is_ok() { Backend::Tun } else { Backend::Iptables }
}
