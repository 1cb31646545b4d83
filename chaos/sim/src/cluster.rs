//! A cluster in the hands of a script: the same nodes, disks, clock, messages and checks as in a drawn run, but what happens to it is what
//! the script says. For cases that somebody has thought of (`tests/labs`), beside those that a seed comes upon.
//!
//! ```
//! use sim::{Cluster, Conditions, Limits};
//!
//! let mut cluster = Cluster::new(1, 3, Conditions::reliable(), Limits::default());
//! let leader = cluster.one_leader();
//! assert_eq!(cluster.agree(b"x", 3), 1);
//! cluster.crash(leader);
//! assert_ne!(cluster.one_leader(), leader);
//! assert_eq!(cluster.agree(b"y", 2), 2);
//! ```

mod agree; // a command until enough nodes have applied it
mod applied; // what the nodes apply, and that it is the same
mod clerks; // clients, and how their calls end
mod conditions; // a network as the labs have it

use std::collections::{BTreeMap, BTreeSet};

use kvnode::{ClientId, Node};
use raft::{EntryId, Index, Term};
use wire::client::Reply;
use wire::command::{Command, Op, SessionId};
use wire::{Request, Value};

pub use self::agree::Agreement;
use self::applied::Applied;
pub use self::clerks::{CallId, ClerkId, Outcome};
pub use self::conditions::Conditions;
use crate::failure::{self, Broken};
use crate::hosts::Death;
use crate::network::NetworkPlan;
use crate::peers::Traffic;
use crate::plan::{DiskPlan, Plan};
use crate::report::Report;
use crate::workload::Workload;
use crate::world::{Event, World};

/// The client who proposes, who has no connection.
pub(crate) const NOBODY: ClientId = ClientId(u64::MAX >> 1);

/// Above which log a node takes a snapshot; `None`: never.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Its bytes.
    pub max_log_bytes: Option<u64>,
    /// Its entries.
    pub max_log_entries: Option<u64>,
}

/// A command that a leader has taken into its log. It may yet be lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Proposal {
    /// Counts all that were proposed.
    pub number: u32,
    /// Where it stands if it stays.
    pub at: EntryId,
}

/// A whole cluster in the hands of a script. Nodes count from 0. Every check of a drawn run is made at every step, and panics.
pub struct Cluster {
    pub(crate) world: World,
    applied: Applied,
    connected: Vec<bool>,
    /// Which side of a partition a node is on.
    side: Vec<usize>,
    /// Links that are cut in one direction.
    one_way: BTreeSet<(usize, usize)>,
    /// Who was asked first, the last time.
    asked_first: usize,
    log_bytes_max: Vec<u64>,
}

impl Cluster {
    /// Nodes that have just found each other: all are up, and the cluster is formed.
    pub fn new(seed: u64, node_count: usize, conditions: Conditions, limits: Limits) -> Cluster {
        let plan = Plan {
            workload: Workload { clerk_count: 0, ..Plan::calm(seed, node_count).workload },
            // Messages are for themselves, as in the labs: no connection breaks because of a cut.
            network: NetworkPlan { in_order: false, ..NetworkPlan::good(node_count) },
            // Half of the seeds have syncs that a power cut may fall into, the others the shortest ways.
            disks: vec![if seed % 2 == 1 { DiskPlan::good(true) } else { DiskPlan::instant() }; node_count],
            segments_for: limits.max_log_bytes.map_or(128 << 10, |bytes| bytes.max(16 << 10)),
            max_log_bytes: limits.max_log_bytes,
            max_log_entries: limits.max_log_entries,
            ..Plan::calm(seed, node_count)
        };
        let mut world = World::new(plan);
        world.conditions = Some(conditions);
        world.calm = false;
        let mut cluster = Cluster {
            world,
            applied: Applied::default(),
            connected: vec![true; node_count],
            side: vec![0; node_count],
            one_way: BTreeSet::new(),
            asked_first: 0,
            log_bytes_max: vec![0; node_count],
        };
        let is_formed = |cluster: &mut Cluster| (0..node_count).all(|node| cluster.node(node).is_some_and(|node| node.status().formed));
        assert!(cluster.run_until(60_000, is_formed), "seed {seed}: the cluster does not form");
        cluster
    }

    /// How many nodes there are.
    pub fn size(&self) -> usize {
        self.connected.len()
    }

    // Time.

    /// Since the beginning.
    pub fn now_ms(&self) -> u64 {
        self.world.now_us / 1000
    }

    /// Lets time pass.
    pub fn run_for_ms(&mut self, ms: u64) {
        self.run_for_us(1000 * ms);
    }

    /// Lets time pass until this is so; `false`: it was not, for so long. Looks every millisecond.
    pub fn run_until(&mut self, limit_ms: u64, mut done: impl FnMut(&mut Cluster) -> bool) -> bool {
        let end_ms = self.now_ms() + limit_ms;
        while !done(self) {
            if self.now_ms() >= end_ms {
                return false;
            }
            self.run_for_ms(1);
        }
        true
    }

    /// Lets time pass, microseconds.
    #[track_caller]
    pub fn run_for_us(&mut self, us: u64) {
        let Cluster { world, applied, log_bytes_max, .. } = self;
        let look = |world: &World| {
            for (number, host) in world.hosts.iter().enumerate() {
                let Some((_, store)) = &host.process else { continue };
                log_bytes_max[number] = log_bytes_max[number].max(store.held_bytes());
            }
            false
        };
        said(failure::catch(|| world.until(world.now_us + us, look)));
        applied.read(&world.clerks.ledger);
    }

    /// A number below `end`, from the seed.
    pub fn draw(&mut self, end: u64) -> u64 {
        self.world.rng.u64(0..end)
    }

    /// A node, from the seed.
    pub fn draw_node(&mut self) -> usize {
        let size = self.size();
        self.world.rng.usize(0..size)
    }

    /// So many bytes, from the seed.
    pub fn draw_bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.world.rng.u8(..)).collect()
    }

    // The network.

    /// What becomes of messages from now on.
    pub fn set_conditions(&mut self, conditions: Conditions) {
        self.world.conditions = Some(conditions);
    }

    /// Cuts a node off from all others and from all clients; it runs on.
    pub fn disconnect(&mut self, node: usize) {
        self.connected[node] = false;
        self.cut();
    }

    /// Ends that.
    pub fn connect(&mut self, node: usize) {
        self.connected[node] = true;
        self.cut();
    }

    /// Whether the node is not cut off.
    pub fn is_connected(&self, node: usize) -> bool {
        self.connected[node]
    }

    /// Cuts all links between these nodes and the others; instead of an earlier partition.
    pub fn partition(&mut self, one_side: &[usize]) {
        self.side = (0..self.size()).map(|node| usize::from(one_side.contains(&node))).collect();
        self.cut();
    }

    /// From now on nothing that `from` sends reaches `to`.
    pub fn cut_one_way(&mut self, from: usize, to: usize) {
        self.one_way.insert((from, to));
        self.cut();
    }

    /// Ends everything that was cut.
    pub fn heal(&mut self) {
        self.connected.fill(true);
        self.side.fill(0);
        self.one_way.clear();
        self.cut();
    }

    fn cut(&mut self) {
        let mut links = self.one_way.clone();
        for (from, to) in (0..self.size()).flat_map(|from| (0..self.size()).map(move |to| (from, to))) {
            if from != to && (!self.connected[from] || !self.connected[to] || self.side[from] != self.side[to]) {
                links.insert((from, to));
            }
        }
        self.world.network.cut_exactly(&links);
        self.world.mended();
        self.world.clerks.unreachable = (0..self.size()).filter(|node| !self.connected[*node]).collect();
    }

    /// What the nodes have sent each other since the beginning.
    pub fn traffic(&self) -> Traffic {
        self.world.traffic
    }

    // Processes.

    /// Cuts the power: of what the disk has not synced anything may be lost.
    pub fn crash(&mut self, node: usize) {
        assert!(self.is_up(node), "n{} is down", node + 1);
        self.world.kill(node, Death::Power, None);
        // As in the labs, whoever is connected hears of it at once.
        self.world.reset_connections_of(node);
    }

    /// Starts it again.
    pub fn restart(&mut self, node: usize) {
        assert!(!self.is_up(node), "n{} is up", node + 1);
        let life = self.world.hosts[node].life;
        self.world.after(0, Event::Restart { node, life });
        self.run_for_us(1);
    }

    /// Whether its process runs.
    pub fn is_up(&self, node: usize) -> bool {
        self.world.hosts[node].process.is_some()
    }

    /// For so long the process gets no time at all; what is sent to it waits.
    pub fn pause(&mut self, node: usize, ms: u64) {
        self.world.pause(node, self.world.now_us + 1000 * ms);
    }

    // What the nodes say of themselves.

    pub(crate) fn node(&self, node: usize) -> Option<&Node> {
        self.world.hosts[node].process.as_ref().map(|(node, _)| node)
    }

    /// Its term; `None`: it is down.
    pub fn term(&self, node: usize) -> Option<Term> {
        self.node(node).map(Node::term)
    }

    /// Whether it is up and thinks that it leads.
    pub fn leads(&self, node: usize) -> bool {
        self.node(node).is_some_and(|node| node.raft().is_leader())
    }

    /// How long its log is above its snapshot, as its status says.
    pub fn log_bytes(&self, node: usize) -> u64 {
        self.node(node).map_or(0, |node| node.status().log_bytes)
    }

    /// The longest that any node's log has been at any step so far.
    pub fn log_bytes_max(&self) -> u64 {
        self.log_bytes_max.iter().copied().max().unwrap_or_default()
    }

    /// How many entries its log holds up to what it has applied.
    pub fn log_entries(&self, node: usize) -> u64 {
        let status = self.node(node).map(Node::status);
        status.map_or(0, |status| status.applied_index.0 + 1 - status.first_log_index.0)
    }

    /// What it has under a key.
    pub fn peek(&self, node: usize, key: &[u8]) -> Option<Value> {
        self.node(node)?.peek(key)
    }

    /// Its snapshot, as its status says; 0: none.
    pub fn snapshot_bytes(&self, node: usize) -> u64 {
        self.node(node).map_or(0, |node| node.status().snapshot_bytes)
    }

    /// What has happened so far.
    pub fn report(&self) -> &Report {
        &self.world.report
    }

    /// How all of them are, for a message.
    pub fn describe(&self) -> String {
        self.world.describe()
    }

    // The labs' helpers.

    /// ONE-LEADER: up to ten rounds of 450 to 549 ms. The leader with the highest term among the connected.
    #[track_caller]
    pub fn one_leader(&mut self) -> usize {
        for _ in 0..10 {
            let ms = 450 + self.draw(100);
            self.run_for_ms(ms);
            let mut leaders = BTreeMap::new();
            for node in (0..self.size()).filter(|node| self.connected[*node] && self.leads(*node)) {
                let term = self.term(node).expect("it leads");
                let other = leaders.insert(term, node);
                assert_eq!(other, None, "two leaders of {term}");
            }
            if let Some((_, leader)) = leaders.pop_last() {
                return leader;
            }
        }
        panic!("no leader within ten rounds of half a second:\n{}", self.world.describe());
    }

    /// NO-LEADER among the connected.
    #[track_caller]
    pub fn no_leader(&self) {
        let leader = (0..self.size()).find(|node| self.connected[*node] && self.leads(*node));
        assert_eq!(leader, None, "a leader without a majority");
    }

    /// Hands a command to this node and to no other, and does not wait for anything. `None`: it does not lead, or takes no writes now.
    pub fn propose_no_wait(&mut self, node: usize, value: &[u8]) -> Option<Proposal> {
        if self.world.is_deaf(node) {
            return None;
        }
        let session = SessionId(self.world.rng.u128(..));
        let number = self.applied.proposed(session, value);
        let call = wire::command::CallId { session, birth_index: Index(1), seq: 1, first_unanswered: 1 };
        let (key, mut command) = (applied::key(number), Vec::new());
        Command::Write { call, op: Op::Put { key: &key, value } }.encode(&mut command);
        let now_us = self.world.now_us;
        let mut taken = None;
        let input = |node: &mut Node| {
            let before = node.raft().log().last_index();
            node.request(NOBODY, u64::from(number), Request::Write { command: &command }, now_us);
            let last = node.raft().log().last();
            taken = (before < last.index).then_some(Proposal { number, at: last });
        };
        said(failure::catch(|| self.world.with_node(node, input)));
        taken
    }

    /// What the node that took it has said of it.
    pub fn told(&self, proposal: Proposal) -> Option<&Reply> {
        self.world.clerks.told.get(&u64::from(proposal.number))
    }

    /// Hands a command to every node that is up and connected, one after the other, until one takes it; each time another is the first.
    pub fn propose_anywhere(&mut self, value: &[u8]) -> Option<Proposal> {
        self.asked_first = (self.asked_first + 1) % self.size();
        let order = (0..self.size()).map(|step| (self.asked_first + step) % self.size());
        let open: Vec<usize> = order.filter(|node| self.connected[*node] && self.is_up(*node)).collect();
        open.into_iter().find_map(|node| self.propose_no_wait(node, value))
    }

    /// How many commands this node has applied; 0 while it is down.
    pub fn applied_count(&self, node: usize) -> usize {
        self.node(node).map_or(0, |node| self.applied.count(node.digest().0.index))
    }

    /// Which place a command has among those that were applied anywhere, from 1.
    pub fn ordinal(&self, proposal: Proposal) -> Option<usize> {
        self.applied.ordinal(proposal.number)
    }

    /// How many nodes that are up have applied so many commands.
    pub fn nodes_applied(&self, ordinal: usize) -> usize {
        let Some((key, value)) = self.applied.left_by(ordinal) else { return 0 };
        let has_applied = |node: &usize| self.applied_count(*node) >= ordinal;
        let nodes = (0..self.size()).filter(has_applied);
        // It is the command itself that was applied there.
        nodes.inspect(|node| assert_eq!(self.peek(*node, &key).map(|held| held.value).as_deref(), Some(value), "n{}", node + 1)).count()
    }

    /// How many nodes that are up have applied the entry at this index, or state that holds it.
    pub fn nodes_past(&self, index: Index) -> usize {
        (0..self.size()).filter(|node| self.node(*node).is_some_and(|node| index <= node.digest().0.index)).count()
    }

    /// WAIT: until so many nodes have applied so many commands, looking at 10 ms, twice that, ... 1.28 s, thirty times in all.
    #[track_caller]
    pub fn wait_applied(&mut self, ordinal: usize, nodes: usize) {
        let mut pause_ms = 10;
        for _ in 0..30 {
            if self.nodes_applied(ordinal) >= nodes {
                return;
            }
            self.run_for_ms(pause_ms);
            pause_ms = (2 * pause_ms).min(1280);
        }
        panic!("only {} nodes have applied command {ordinal}, not {nodes}:\n{}", self.nodes_applied(ordinal), self.world.describe());
    }
}

/// A rule that is broken ends a test as any assertion does, with what was seen.
#[track_caller]
fn said<T>(result: Result<T, Broken>) -> T {
    result.unwrap_or_else(|Broken { rule, detail, .. }| panic!("{rule}: {detail}"))
}
