//! The clock, the nodes and the events between them. One event is handled at a time; then the node it concerned is driven until it has
//! nothing left to do, and looked at.

use std::collections::{BTreeMap, BTreeSet};

use data::{FakeDisk, Identity, InitialMember, Options, Store};
use fastrand::Rng;
use kvnode::{ClientId, Event as NodeEvent, MaxLogBytes, Node, NodeConfig, NodeError, Outbox, drive};
use raft::{DiskId, EntryId, Incarnation, Index, Message, NodeId, Term};
use wire::client::Reply;
use wire::frame::FrameBuffer;
use wire::hello::PeerHello;
use wire::limits::FRAME_BODY_LEN_MAX;
use wire::peer::PeerFrame;

use crate::check::Checker;
use crate::client::{Client, PATIENCE_US, Step};
use crate::network::Network;
use crate::plan::Plan;
use crate::report::Report;

const TICK_US: u64 = 10_000;
const ELECTION_TICKS: u64 = 30;
const GREET_EVERY_US: u64 = 20_000;
/// After the faults the cluster has this long to converge.
const CONVERGE_US: u64 = 30_000_000;

pub(crate) enum Event {
    Tick {
        node: usize,
        life: u64,
    },
    Deliver {
        from: usize,
        from_life: u64,
        to: usize,
        to_life: u64,
        frame: Vec<u8>,
    },
    Lost {
        node: usize,
        life: u64,
        gone: usize,
    },
    SyncDone {
        node: usize,
        life: u64,
        took_us: u64,
    },
    Kill {
        node: usize,
        life: u64,
    },
    Greet,
    Request {
        client: usize,
        to: usize,
        request_id: u64,
        command: Vec<u8>,
    },
    Answer {
        client: usize,
        from: usize,
        request_id: u64,
        reply: Reply,
    },
    /// Nobody has answered this attempt.
    Impatient {
        client: usize,
        attempt: u64,
    },
    /// This attempt was refused; the client has been told where to go.
    Again {
        client: usize,
        attempt: u64,
    },
    Fault,
    Restart {
        node: usize,
    },
    /// Somebody starts over on one machine.
    Wipe,
    /// There is room again on this disk.
    Room {
        node: usize,
    },
    Heal,
}

pub(crate) struct Host {
    pub(crate) identity: Identity,
    pub(crate) disk: FakeDisk,
    /// Counts its processes, from 1; also the incarnation.
    pub(crate) life: u64,
    pub(crate) process: Option<(Node, Store<FakeDisk>)>,
    pub(crate) paused_until_us: u64,
    /// Its disk will stop at some step: when it does, so does the process.
    pub(crate) doomed: bool,
    /// An event will finish the sync under way.
    syncing: bool,
    /// How long its next sync takes, if that is decided.
    pub(crate) next_sync_us: Option<u64>,
    /// The log was cut meanwhile.
    overtaken: bool,
    /// Its disk was wiped: the cluster may have to do without it.
    pub(crate) wiped: bool,
    /// A node of the formed cluster has turned it away.
    refused: bool,
    /// Inputs since it was last driven.
    inputs: u64,
    /// Its save waits for room, as far as it was counted.
    waits_for_room: bool,
    last_tick_us: u64,
    /// As far as it was counted.
    pub(crate) newest_snapshot: Option<EntryId>,
    /// Its clock does not run like the others'.
    tick_us: u64,
    /// Peers and their lives that it has exchanged greetings with.
    greeted: BTreeSet<(usize, u64)>,
}

pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) rng: Rng,
    pub(crate) now_us: u64,
    event_count: u64,
    events: BTreeMap<(u64, u64), Event>,
    pub(crate) hosts: Vec<Host>,
    pub(crate) network: Network,
    clients: Vec<Client>,
    pub(crate) checker: Checker,
    pub(crate) report: Report,
    pub(crate) calm: bool,
    /// Some node has known that the cluster is formed.
    pub(crate) formed: bool,
}

/// Runs one plan to its end. Panics, naming the seed, if anything that must hold does not.
pub fn run(plan: &Plan) -> Report {
    let mut world = World::new(plan.clone());
    world.until(plan.faulty_us, |_| false);
    world.heal_all();
    let deadline = world.now_us + CONVERGE_US;
    let converged = world.until(deadline, World::has_converged);
    assert!(
        converged,
        "seed {}: no convergence within {CONVERGE_US} us of virtual time after the last fault:\n{}",
        plan.seed,
        world.describe()
    );
    world.judge();
    world.report
}

impl World {
    fn new(plan: Plan) -> World {
        let mut rng = Rng::with_seed(plan.seed ^ 0x5eed);
        let members: Vec<InitialMember> = (1..=plan.node_count as u64)
            .map(|id| InitialMember { id: NodeId(id), name: format!("n{id}"), peer_addr: format!("n{id}:7217") })
            .collect();
        let named: Vec<(&str, &str)> = members.iter().map(|member| (member.name.as_str(), member.peer_addr.as_str())).collect();
        let cluster_id = data::cluster_id("", &named);
        let hosts = members
            .iter()
            .map(|member| {
                let identity = Identity {
                    cluster_id,
                    node: member.id,
                    name: member.name.clone(),
                    disk_id: DiskId(u128::from(rng.u64(..))),
                    members: members.clone(),
                };
                let mut disk = FakeDisk::new();
                data::init(&mut disk, &identity, &kvnode::first_entry(&members)).expect("an empty disk takes a node");
                let tick_us = TICK_US * rng.u64(95..=105) / 100;
                Host {
                    identity,
                    disk,
                    life: 0,
                    process: None,
                    paused_until_us: 0,
                    doomed: false,
                    syncing: false,
                    next_sync_us: None,
                    overtaken: false,
                    wiped: false,
                    refused: false,
                    inputs: 0,
                    waits_for_room: false,
                    newest_snapshot: None,
                    last_tick_us: 0,
                    tick_us,
                    greeted: BTreeSet::new(),
                }
            })
            .collect();
        let clients =
            (0..plan.client_count).map(|id| Client::new(id, rng.u128(..), rng.usize(0..plan.node_count), plan.padding_len)).collect();
        let report = Report { seed: plan.seed, ..Report::default() };
        let calm = plan.fault_every_us.is_none();
        let mut world = World {
            plan,
            rng,
            now_us: 0,
            event_count: 0,
            events: BTreeMap::new(),
            hosts,
            network: Network::new(),
            clients,
            checker: Checker::default(),
            report,
            calm,
            formed: false,
        };
        for node in 0..world.hosts.len() {
            let delay_us = if world.plan.late_starts { world.rng.u64(0..2_000_000) } else { 0 };
            world.after(delay_us, Event::Restart { node });
        }
        if let Some(at_us) = world.plan.wipe_at_us {
            world.after(at_us, Event::Wipe);
        }
        world.after(0, Event::Greet);
        for client in 0..world.clients.len() {
            world.clients[client].begin_call();
            world.send_call(client);
        }
        world.next_fault();
        world
    }

    // Time.

    pub(crate) fn after(&mut self, delay_us: u64, event: Event) {
        self.event_count += 1;
        self.events.insert((self.now_us + delay_us, self.event_count), event);
    }

    /// Handles events until virtual time `end_us`, or until `done`.
    fn until(&mut self, end_us: u64, done: impl Fn(&World) -> bool) -> bool {
        while let Some(((at_us, sequence), event)) = self.events.pop_first() {
            if at_us >= end_us {
                self.events.insert((at_us, sequence), event);
                self.now_us = end_us;
                return done(self);
            }
            self.now_us = at_us;
            self.trace(at_us ^ sequence.rotate_left(32));
            self.handle(event);
            if done(self) {
                return true;
            }
        }
        unreachable!("ticks never end");
    }

    fn trace(&mut self, fact: u64) {
        let digest = (self.report.trace_digest ^ fact).wrapping_mul(0x0000_0100_0000_01b3);
        self.report.trace_digest = digest ^ (digest >> 29);
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Tick { node, life } => self.tick(node, life),
            Event::Deliver { from, from_life, to, to_life, frame } => {
                if self.hosts[to].paused_until_us > self.now_us {
                    let delay_us = self.hosts[to].paused_until_us - self.now_us;
                    return self.after(delay_us, Event::Deliver { from, from_life, to, to_life, frame });
                }
                // Its sender may be dead, and may have lost everything that it has not synced.
                let is_same_life = self.hosts[to].life == to_life;
                if is_same_life && self.network.is_open(from, to) && self.hosts[to].greeted.contains(&(from, from_life)) {
                    self.trace(frame.len() as u64);
                    let mut received = FrameBuffer::new(FRAME_BODY_LEN_MAX);
                    let mut rest = &frame[..];
                    while !rest.is_empty() {
                        let space = received.space();
                        let count = space.len().min(rest.len());
                        space[..count].copy_from_slice(&rest[..count]);
                        received.filled(count);
                        rest = &rest[count..];
                    }
                    let frame = received.next().expect("a good frame").expect("a whole frame");
                    let from = NodeId(from as u64 + 1);
                    match wire::peer::decode_peer(frame).expect("what a node sent") {
                        PeerFrame::Raft { message, entries } => self.hand_in(to, |node| node.peer_message(from, message, entries)),
                        beside => self.hand_in(to, |node| node.peer_beside(from, beside)),
                    }
                }
            }
            Event::Lost { node, life, gone } => {
                if self.hosts[node].life == life && self.hosts[node].paused_until_us <= self.now_us {
                    let gone = NodeId(gone as u64 + 1);
                    self.with_node(node, |node| {
                        node.peer_unreachable(gone);
                        node.leader_lost(gone);
                    });
                }
            }
            Event::SyncDone { node, life, took_us } => {
                if self.hosts[node].life == life && self.hosts[node].syncing {
                    let host = &mut self.hosts[node];
                    host.syncing = false;
                    self.report.overtaken_saves += u64::from(std::mem::take(&mut host.overtaken));
                    self.report.slow_syncs += u64::from(took_us > ELECTION_TICKS * TICK_US);
                    host.disk.set_sync_us(took_us);
                    host.disk.finish_sync();
                    self.with_node(node, |_| ());
                    self.hosts[node].disk.set_sync_us(0);
                }
            }
            Event::Kill { node, life } => {
                if self.hosts[node].life == life {
                    self.kill(node);
                }
            }
            Event::Greet => self.greet(),
            Event::Request { client, to, request_id, command } => {
                if self.hosts[to].paused_until_us > self.now_us {
                    let delay_us = self.hosts[to].paused_until_us - self.now_us;
                    return self.after(delay_us, Event::Request { client, to, request_id, command });
                }
                let now_us = self.now_us;
                self.hand_in(to, |node| node.request(ClientId(client as u64), request_id, Client::request(&command), now_us));
            }
            Event::Answer { client, from, request_id, reply } => self.answer(client, from, request_id, &reply),
            Event::Impatient { client, attempt } => {
                if self.clients[client].waits_for(attempt) {
                    self.clients[client].target = (self.clients[client].target + 1) % self.hosts.len();
                    self.send_call(client);
                }
            }
            Event::Again { client, attempt } => {
                if self.clients[client].waits_for(attempt) {
                    self.send_call(client);
                }
            }
            Event::Fault => self.fault(),
            Event::Restart { node } => {
                if self.hosts[node].process.is_none() {
                    self.start(node);
                }
            }
            Event::Wipe => self.wipe(),
            Event::Room { node } => self.hosts[node].disk.set_space(None),
            Event::Heal => self.network.heal(),
        }
    }

    // Nodes.

    pub(crate) fn start(&mut self, node: usize) {
        let host = &mut self.hosts[node];
        host.life += 1;
        host.paused_until_us = 0;
        host.last_tick_us = self.now_us;
        host.greeted.clear();
        host.doomed = false;
        (host.syncing, host.overtaken, host.inputs, host.waits_for_room) = (false, false, 0, false);
        host.disk.hold_syncs(self.plan.slow_syncs && !self.calm);
        let options = Options { max_log_bytes: Some(self.plan.segments_for), ..Options::default() };
        let opened = Store::open(host.disk.clone(), &host.identity, options);
        let (mut store, recovered) = opened.unwrap_or_else(|error| panic!("seed {}: n{}: {error}", self.plan.seed, node + 1));
        let config = NodeConfig {
            identity: host.identity.clone(),
            incarnation: Incarnation(host.life),
            seed: self.rng.u64(..),
            client_addr: format!("{}:7117", host.identity.name),
            peer_addr: format!("{}:7217", host.identity.name),
            version: "sim".into(),
            election_ticks: u32::try_from(ELECTION_TICKS).expect("a few"),
            heartbeat_ticks: 5,
            tick_us: TICK_US,
            max_data_bytes: None,
            max_log_bytes: self.plan.max_log_bytes.map_or(MaxLogBytes::Never, MaxLogBytes::Above),
            max_log_entries: None,
        };
        let started = Node::new(config, recovered, &mut store, self.now_us).expect("a recovered log can be read");
        self.checker.restarted(host.identity.node);
        host.process = Some((started, store));
        let (life, tick_us) = (host.life, host.tick_us);
        self.with_node(node, |_| ());
        self.after(tick_us, Event::Tick { node, life });
    }

    pub(crate) fn kill(&mut self, node: usize) {
        let host = &mut self.hosts[node];
        if host.process.take().is_none() {
            return;
        }
        host.disk.crash(self.rng.u64(..));
        self.report.kills += 1;
        let delay_us = self.rng.u64(10_000..2_000_000);
        self.after(delay_us, Event::Restart { node });
        // The kernel closes its connections and refuses new ones; a peer that is cut off does not hear of it.
        for peer in 0..self.hosts.len() {
            if peer != node && self.network.is_open(node, peer) && self.network.is_open(peer, node) {
                let delay_us = self.rng.u64(100..3_000);
                self.after(delay_us, Event::Lost { node: peer, life: self.hosts[peer].life, gone: node });
            }
        }
    }

    fn tick(&mut self, node: usize, life: u64) {
        let host = &mut self.hosts[node];
        if host.life != life || host.process.is_none() {
            return;
        }
        if host.paused_until_us > self.now_us {
            // What had arrived is handed in first: those events were put off to the same instant, and come before this one.
            let delay_us = host.paused_until_us - self.now_us;
            return self.after(delay_us, Event::Tick { node, life });
        }
        let tick_us = host.tick_us;
        let ticks = ((self.now_us - host.last_tick_us) / tick_us).max(1);
        host.last_tick_us = self.now_us;
        let now_us = self.now_us;
        self.with_node(node, |node| node.tick(u32::try_from(ticks).unwrap_or(u32::MAX), now_us));
        let sealed = match &mut self.hosts[node].process {
            Some((_, store)) if store.needs_seal() => store.seal().map_err(NodeError::from),
            _ => Ok(()),
        };
        self.die_if_failed(node, sealed);
        self.after(tick_us, Event::Tick { node, life });
    }

    /// Hands an input to a node that is up, and drives it now or with a later one: a turn of the real loop reads all that has arrived.
    fn hand_in(&mut self, node: usize, input: impl FnOnce(&mut Node)) {
        if self.rng.u32(0..3) > 0 {
            return self.with_node(node, input);
        }
        if let Some((running, _)) = &mut self.hosts[node].process {
            input(running);
            self.hosts[node].inputs += 1;
        }
    }

    /// Hands an input to a node that is up, then drives it until it has nothing left to do, and looks at it.
    pub(crate) fn with_node(&mut self, node: usize, input: impl FnOnce(&mut Node)) {
        let host = &mut self.hosts[node];
        let Some((running, store)) = &mut host.process else { return };
        self.report.batches += u64::from(std::mem::take(&mut host.inputs) > 0);
        input(running);
        let mut outbox = Sent::default();
        let mut truncations = 0;
        let driven = loop {
            let led = running.raft().is_leader().then(|| running.raft().term());
            match drive(running, store, &mut outbox) {
                Ok(()) => truncations += u64::from(self.checker.look(running)),
                Err(error) => break Err(error),
            }
            // Nothing but a slow sync or a full disk ends a leadership here: messages and ticks were handed in before.
            self.report.resignations += u64::from(led == Some(running.raft().term()) && !running.raft().is_leader());
            self.report.waiting_saves +=
                u64::from(!std::mem::replace(&mut host.waits_for_room, store.waits_for_room()) && host.waits_for_room);
            if !running.has_work() && !store.has_room_again() {
                let prepared = if store.needs_prepare() { store.prepare_slice() } else { Ok(()) };
                let trimmed = prepared.and_then(|()| if store.needs_trim() { store.trim_slice() } else { Ok(()) });
                break trimmed.map_err(NodeError::from);
            }
        };
        self.report.truncations += truncations;
        host.overtaken |= truncations > 0 && host.syncing;
        let news = running.take_events();
        if let Some(newest) = store.snapshot()
            && host.newest_snapshot.replace(newest.meta.last) != Some(newest.meta.last)
        {
            self.report.snapshots += 1;
        }
        for event in news {
            match event {
                NodeEvent::Installed { .. } => self.report.installs += 1,
                NodeEvent::Refused { node: peer, .. } => {
                    let peer = usize::try_from(peer.0 - 1).expect("ids count from 1");
                    assert!(self.hosts[peer].wiped, "seed {}: n{} was turned away, and never wiped", self.plan.seed, peer + 1);
                    self.hosts[node].greeted.retain(|(met, _)| *met != peer);
                    self.hosts[peer].greeted.retain(|(met, _)| *met != node);
                }
                _ => {}
            }
        }
        self.carry(node, outbox);
        self.die_if_failed(node, driven);
        let host = &mut self.hosts[node];
        if host.disk.sync_is_held() && !host.syncing {
            host.syncing = true;
            let life = host.life;
            let slowest_us = if self.rng.u32(0..12) == 0 { 1_500_000 } else { 3_000 };
            let took_us = self.hosts[node].next_sync_us.take().unwrap_or_else(|| self.rng.u64(100..slowest_us));
            self.after(took_us, Event::SyncDone { node, life, took_us });
        }
    }

    /// A disk that was told to stop ends its process, in the middle of whatever it was doing; what it had sent is on its way. No other
    /// failure is planned.
    fn die_if_failed(&mut self, node: usize, result: Result<(), NodeError>) {
        let Err(error) = result else { return };
        assert!(self.hosts[node].doomed, "seed {}: n{}: {error}", self.plan.seed, node + 1);
        self.kill(node);
    }

    /// What a drive sent is on its way.
    fn carry(&mut self, node: usize, outbox: Sent) {
        self.report.leader_changes = self.checker.leader_changes;
        let from_life = self.hosts[node].life;
        for (to, message) in &outbox.messages {
            self.checker.hear(self.hosts[node].identity.node, *to, message);
        }
        for (to, frame) in outbox.frames {
            let to = usize::try_from(to.0 - 1).expect("ids count from 1");
            if !self.network.is_open(node, to) {
                continue;
            }
            for delay_us in Network::delays(&self.plan, self.calm, &mut self.rng) {
                let to_life = self.hosts[to].life;
                self.after(delay_us, Event::Deliver { from: node, from_life, to, to_life, frame: frame.clone() });
            }
        }
        for (client, request_id, reply) in outbox.replies {
            let client = usize::try_from(client.0).expect("a client's number is its position");
            for delay_us in Network::delays(&self.plan, self.calm, &mut self.rng) {
                self.after(delay_us, Event::Answer { client, from: node, request_id, reply: reply.clone() });
            }
        }
    }

    /// Nodes that can reach each other, both ways, and have not met in their present lives, greet each other.
    fn greet(&mut self) {
        let node_count = self.hosts.len();
        for (a, b) in (0..node_count).flat_map(|a| (a + 1..node_count).map(move |b| (a, b))) {
            let reachable = self.network.is_open(a, b) && self.network.is_open(b, a);
            let awake = [a, b].iter().all(|node| self.hosts[*node].paused_until_us <= self.now_us);
            let met = self.hosts[a].greeted.contains(&(b, self.hosts[b].life));
            let (Some((node_a, _)), Some((node_b, _))) = (&self.hosts[a].process, &self.hosts[b].process) else { continue };
            if !reachable || !awake || met {
                continue;
            }
            let (hello_a, hello_b) = (node_a.hello(Some(NodeId(b as u64 + 1))), node_b.hello(None));
            let (life_a, life_b) = (self.hosts[a].life, self.hosts[b].life);
            // The one that is dialled judges first; then, if it was let in, the other.
            if self.lets_in(b, a, &hello_a) && self.lets_in(a, b, &hello_b) {
                self.hosts[a].greeted.insert((b, life_b));
                self.hosts[b].greeted.insert((a, life_a));
            }
        }
        self.after(GREET_EVERY_US, Event::Greet);
    }

    fn lets_in(&mut self, node: usize, peer: usize, hello: &PeerHello) -> bool {
        let mut answer = Ok(());
        self.with_node(node, |node| answer = node.greeted(hello));
        let Err(refused) = answer else { return true };
        assert!(self.hosts[peer].wiped, "seed {}: n{} was refused, and never wiped: {}", self.plan.seed, peer + 1, refused.message);
        self.hosts[peer].refused |= self.hosts[node].process.as_ref().is_some_and(|(node, _)| node.status().formed);
        false
    }

    // Clients.

    fn send_call(&mut self, client: usize) {
        let caller = &mut self.clients[client];
        self.report.retries += u64::from(caller.send());
        let (to, request_id, command, attempt) = (caller.target, caller.request_id(), caller.command(), caller.attempt);
        for delay_us in Network::delays(&self.plan, self.calm, &mut self.rng) {
            self.after(delay_us, Event::Request { client, to, request_id, command: command.clone() });
        }
        self.after(PATIENCE_US, Event::Impatient { client, attempt });
    }

    fn answer(&mut self, client: usize, from: usize, request_id: u64, reply: &Reply) {
        self.trace(request_id);
        let caller = &mut self.clients[client];
        match caller.on_reply(request_id, reply) {
            Step::Done => {
                self.report.acknowledged += 1;
                if self.now_us < self.plan.faulty_us {
                    caller.begin_call();
                    self.send_call(client);
                }
            }
            Step::Again(to) if caller.target == from => {
                // A node without a leader answers at once: not quite at once again, or the two spin.
                caller.target = to.unwrap_or((from + 1) % self.hosts.len());
                let attempt = caller.attempt;
                self.after(20_000, Event::Again { client, attempt });
            }
            Step::Again(_) | Step::Ignore => (),
        }
    }

    // The end.

    fn has_converged(&self) -> bool {
        let idle = self.clients.iter().all(Client::is_idle);
        let everywhere = |host: &Host| {
            let applied = host.process.as_ref().map(|(node, _)| node.digest().0.index);
            applied == Some(self.checker.applied_index())
        };
        idle && self.members().all(everywhere)
    }

    /// All but those that were turned away: they have lost what they had promised.
    fn members(&self) -> impl Iterator<Item = &Host> {
        self.hosts.iter().filter(|host| !host.refused)
    }

    fn describe(&self) -> String {
        let node = |host: &Host| match &host.process {
            Some((node, _)) => {
                format!("{} leader {:?}, applied {}, {:?}\n", node.raft(), node.leader(), node.digest().0, node.status().formed)
            }
            None => format!("{} is down\n", host.identity.name),
        };
        let client = |client: &Client| format!("client {} call {}, attempt {}\n", client.id, client.request_id(), client.attempt);
        self.hosts.iter().map(node).chain(self.clients.iter().map(client)).collect()
    }

    fn judge(&mut self) {
        self.report.simulated_us = self.now_us;
        let seed = self.plan.seed;
        let digests: BTreeSet<(Index, Term, u64)> = self
            .members()
            .filter_map(|host| host.process.as_ref())
            .map(|(node, _)| node.digest())
            .map(|(at, digest)| (at.index, at.term, digest))
            .collect();
        for host in self.hosts.iter().filter(|host| host.refused) {
            let applied = host.process.as_ref().map(|(node, _)| node.digest().0.index);
            assert!(applied <= Some(Index(1)), "seed {seed}: {} was turned away, and has applied {applied:?}", host.identity.name);
        }
        assert_eq!(digests.len(), 1, "seed {seed}: the states differ: {digests:?}");
        for client in &self.clients {
            // A client stops only when its last call is acknowledged: so the value holds exactly its tokens, each once, in order.
            let expected: String = client.acknowledged.iter().map(|seq| client.token(*seq)).collect();
            let name = |host: &Host| host.identity.name.clone();
            for host in self.members() {
                let Some((node, _)) = &host.process else { continue };
                let value = node.peek(&client.key()).map(|value| value.value).unwrap_or_default();
                let agreed = value.iter().zip(expected.as_bytes()).take_while(|(a, b)| a == b).count();
                let around = |text: &str| text.get(agreed.saturating_sub(20)..).unwrap_or_default().chars().take(60).collect::<String>();
                assert!(
                    value == expected.as_bytes(),
                    "seed {seed}: {} holds other appends of client {} than were acknowledged: from byte {agreed} on ..{}.. instead of ..{}..",
                    name(host),
                    client.id,
                    around(&String::from_utf8_lossy(&value)),
                    around(&expected),
                );
            }
        }
    }
}

/// What one drive sent.
#[derive(Default)]
struct Sent {
    messages: Vec<(NodeId, Message)>,
    frames: Vec<(NodeId, Vec<u8>)>,
    replies: Vec<(ClientId, u64, Reply)>,
}

impl Outbox for Sent {
    fn send(&mut self, to: NodeId, message: &Message, entries: &[u8]) {
        let mut frame = Vec::new();
        wire::peer::encode_raft(message, entries, &mut frame);
        self.frames.push((to, frame));
        self.messages.push((to, message.clone()));
    }

    fn send_beside(&mut self, to: NodeId, frame: &PeerFrame<'_>) {
        let mut bytes = Vec::new();
        wire::peer::encode_peer(frame, &mut bytes);
        self.frames.push((to, bytes));
    }

    fn flush(&mut self) {}

    fn reply(&mut self, client: ClientId, request_id: u64, reply: &Reply) {
        self.replies.push((client, request_id, reply.clone()));
    }
}
