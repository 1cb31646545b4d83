//! Machines: a process that is started, driven and killed, and the disk that stays.

use std::collections::BTreeSet;

use data::{Identity, Options, Store};
use kvnode::{ClientId, Event as NodeEvent, MaxLogBytes, Node, NodeConfig, NodeError, Outbox, drive};
use raft::{EntryId, Incarnation, Index, Message, NodeId};
use wire::client::Reply;
use wire::peer::PeerFrame;

use crate::check::is_kept;
use crate::disk::WatchedDisk;
use crate::ledger::Ledger;
use crate::trace::tell;
use crate::world::{ELECTION_TICKS, Event, TICK_US, World};

pub(crate) struct Host {
    pub(crate) identity: Identity,
    pub(crate) disk: WatchedDisk,
    /// Those that were wiped: what was acknowledged while they held it was acknowledged in good faith.
    pub(crate) wiped_disks: Vec<WatchedDisk>,
    /// Counts its processes, from 1; also the incarnation.
    pub(crate) life: u64,
    pub(crate) process: Option<(Node, Store<WatchedDisk>)>,
    pub(crate) paused_until_us: u64,
    /// Its disk will stop at some step: when it does, so does the process.
    pub(crate) doomed: bool,
    /// An event will finish the sync under way.
    pub(crate) syncing: bool,
    /// How long its next sync takes, if that is decided.
    pub(crate) next_sync_us: Option<u64>,
    /// The log was cut meanwhile.
    pub(crate) overtaken: bool,
    /// Its disk was wiped: the cluster may have to do without it.
    pub(crate) wiped: bool,
    /// A node of the formed cluster has turned it away.
    pub(crate) refused: bool,
    /// Inputs since it was last driven.
    pub(crate) inputs: u64,
    /// Its save waits for room, as far as it was counted.
    pub(crate) waits_for_room: bool,
    pub(crate) last_tick_us: u64,
    /// As far as it was counted.
    pub(crate) newest_snapshot: Option<EntryId>,
    /// Its clock does not run like the others'.
    pub(crate) tick_us: u64,
    /// Peers and their lives that it has exchanged greetings with.
    pub(crate) greeted: BTreeSet<(usize, u64)>,
}

impl World {
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
        host.disk.recovered(host.identity.node, &recovered);
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
            max_log_entries: self.plan.max_log_entries,
            bounds: self.plan.workload.bounds,
        };
        let started = Node::new(config, recovered, &mut store, self.now_us).expect("a recovered log can be read");
        self.checker.restarted(host.identity.node);
        host.process = Some((started, store));
        let (life, tick_us) = (host.life, host.tick_us);
        tell!(self, "n{} starts, life {life}", node + 1);
        self.with_node(node, |_| ());
        self.after(tick_us, Event::Tick { node, life });
    }

    pub(crate) fn kill(&mut self, node: usize) {
        if self.cut_power(node) {
            let delay_us = self.rng.u64(10_000..2_000_000);
            self.after(delay_us, Event::Restart { node });
        }
    }

    /// Kills a process and its disk with it, until somebody starts it again; `false`: it was down.
    pub(crate) fn cut_power(&mut self, node: usize) -> bool {
        let host = &mut self.hosts[node];
        if host.process.take().is_none() {
            return false;
        }
        let seed = self.rng.u64(..);
        host.disk.crash(|disk| disk.crash(seed));
        self.report.kills += 1;
        self.trace.is(self.now_us, node, format!("n{} is down", node + 1));
        self.reset_connections_of(node);
        // The kernel closes its connections and refuses new ones; a peer that is cut off does not hear of it.
        for peer in 0..self.hosts.len() {
            if peer != node && self.network.is_open(node, peer) && self.network.is_open(peer, node) {
                let delay_us = self.rng.u64(100..3_000);
                self.after(delay_us, Event::Lost { node: peer, life: self.hosts[peer].life, gone: node });
            }
        }
        true
    }

    pub(crate) fn tick(&mut self, node: usize, life: u64) {
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
    pub(crate) fn hand_in(&mut self, node: usize, input: impl FnOnce(&mut Node)) {
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
        let mut outbox = Sent::new(host.identity.node, &host.disk, std::mem::take(&mut self.clerks.ledger));
        let mut truncations = 0;
        let driven = loop {
            let led = running.raft().is_leader().then(|| running.raft().term());
            let driven = drive(running, store, &mut outbox);
            // Also at one that dies now: what it has sent is on its way.
            truncations += u64::from(self.checker.look(running, store, &host.disk));
            if driven.is_err() {
                break driven;
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
        self.clerks.ledger = std::mem::take(&mut outbox.ledger);
        if self.trace.is_on()
            && let Some((running, _)) = &self.hosts[node].process
        {
            self.trace.look(self.now_us, node, running);
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
}

/// What one drive sent.
pub(crate) struct Sent {
    node: NodeId,
    disk: WatchedDisk,
    /// Lent to it: what is applied is looked at between two entries.
    ledger: Ledger,
    pub(crate) messages: Vec<(NodeId, Message)>,
    /// To whom, whether it answers something, and its bytes.
    pub(crate) frames: Vec<(NodeId, bool, Vec<u8>)>,
    pub(crate) replies: Vec<(ClientId, u64, Reply)>,
}

impl Sent {
    fn new(node: NodeId, disk: &WatchedDisk, ledger: Ledger) -> Sent {
        Sent { node, disk: disk.clone(), ledger, messages: Vec::new(), frames: Vec::new(), replies: Vec::new() }
    }
}

impl Outbox for Sent {
    fn applied(&mut self, node: &Node, index: Index, entry: &[u8]) {
        self.ledger.applied(node, index, entry);
    }

    fn send(&mut self, to: NodeId, message: &Message, entries: &[u8]) {
        is_kept(self.node, to, message, &self.disk);
        let mut frame = Vec::new();
        wire::peer::encode_raft(message, entries, &mut frame);
        self.frames.push((to, is_answer(message), frame));
        self.messages.push((to, message.clone()));
    }

    fn send_beside(&mut self, to: NodeId, frame: &PeerFrame<'_>) {
        let mut bytes = Vec::new();
        wire::peer::encode_peer(frame, &mut bytes);
        self.frames.push((to, matches!(frame, PeerFrame::SnapshotChunk { .. }), bytes));
    }

    fn flush(&mut self) {}

    fn reply(&mut self, client: ClientId, request_id: u64, reply: &Reply) {
        self.replies.push((client, request_id, reply.clone()));
    }
}

fn is_answer(message: &Message) -> bool {
    match message {
        Message::PreVoteReply { .. }
        | Message::RequestVoteReply { .. }
        | Message::AppendReply { .. }
        | Message::HeartbeatReply { .. }
        | Message::ReadIndexReply { .. } => true,
        Message::PreVote { .. }
        | Message::RequestVote { .. }
        | Message::Append { .. }
        | Message::InstallSnapshot { .. }
        | Message::Heartbeat { .. }
        | Message::ReadIndex { .. } => false,
    }
}
