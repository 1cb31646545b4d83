//! Machines: a process that is started, driven and killed, its clock, and the disk that stays.

use std::collections::VecDeque;

use data::{FakeDisk, Identity, InitialMember, OpenError, Options, Store, StoreError};
use fastrand::Rng;
use kvnode::{Event as NodeEvent, MaxLogBytes, Node, NodeConfig, NodeError, drive};
use raft::{DiskId, EntryId, Incarnation};

use crate::clock::Clock;
use crate::disk::WatchedDisk;
use crate::effects::Effect;
use crate::failure::{FailureKind, broken, must};
use crate::outgoing::{Outgoing, Sent};
use crate::plan::{DiskPlan, Plan, stream};
use crate::trace::tell;
use crate::world::{Event, World};

/// Ticks without a save after which the log is sealed, as in the real loop.
const SEAL_IDLE_TICKS: u32 = 2;

pub(crate) struct Host {
    pub(crate) identity: Identity,
    pub(crate) disk: WatchedDisk,
    /// Those that were wiped: what was acknowledged while they held it was acknowledged in good faith.
    pub(crate) wiped_disks: Vec<WatchedDisk>,
    pub(crate) disk_plan: DiskPlan,
    /// The luck of its disk.
    pub(crate) disk_rng: Rng,
    /// The luck of its processes: the seeds of their timeouts, and what they find together in one turn.
    pub(crate) rng: Rng,
    /// Counts its processes, from 1; also the incarnation.
    pub(crate) life: u64,
    pub(crate) process: Option<(Node, Store<WatchedDisk>)>,
    /// The machine has no power: nothing there so much as refuses a connection.
    pub(crate) is_off: bool,
    pub(crate) clock: Clock,
    /// It stands still, or waits for its disk.
    pub(crate) deaf_until_us: u64,
    /// What has come meanwhile.
    pub(crate) inbox: Vec<Event>,
    /// A tick was due meanwhile.
    pub(crate) tick_put_off: bool,
    /// Its turns are late: until when, and by how much.
    pub(crate) late: (u64, u64),
    /// Whoever dials it is turned away.
    pub(crate) refuses_until_us: u64,
    /// How it dies when its disk stops, and how long it is down then.
    pub(crate) doom: Option<(Death, u64)>,
    /// How long it is down after a disk error.
    pub(crate) error_down_us: u64,
    /// Steps to the end of each of its next lives, and how long it is down in between.
    pub(crate) crash_loop: (VecDeque<u64>, u64),
    /// Somebody else writes its disk full, again and again, as far as recovery may know.
    pub(crate) is_full: bool,
    /// So many of its next syncs take so long.
    pub(crate) slow_syncs: (u32, u64),
    /// Syncs that have ended, or will by an event: the number of the one under way.
    pub(crate) sync_number: u64,
    /// An event will finish the sync under way.
    pub(crate) syncing: bool,
    /// It waits for a sync, and hears nothing meanwhile: what it says as soon as that has returned.
    pub(crate) behind_sync: Option<Sent>,
    /// The log was cut meanwhile.
    pub(crate) overtaken: bool,
    /// Since the last save.
    pub(crate) idle_ticks: u32,
    /// Its disk was wiped: the cluster may have to do without it.
    pub(crate) wiped: bool,
    /// Its first life on the disk that it has now.
    pub(crate) disk_since_life: u64,
    /// A node of the formed cluster has turned it away.
    pub(crate) refused: bool,
    /// Inputs since it was last driven.
    pub(crate) inputs: u64,
    /// Its save waits for room, as far as it was counted.
    pub(crate) waits_for_room: bool,
    /// Its disk as it was when it started last; see `Plan::sabotage`.
    backup: Option<FakeDisk>,
    /// As far as it was counted.
    pub(crate) newest_snapshot: Option<EntryId>,
}

/// How a process ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Death {
    /// By a signal, or its own exit: what it wrote stays, and its kernel answers for it.
    Process,
    /// With its machine: what was not synced may be lost, and nobody is told.
    Power,
}

impl Host {
    /// A machine with a directory that was just made.
    pub(crate) fn new(plan: &Plan, members: &[InitialMember], node: usize) -> Host {
        let named: Vec<(&str, &str)> = members.iter().map(|member| (member.name.as_str(), member.peer_addr.as_str())).collect();
        let (mut rng, disk_rng) = (stream(plan.seed, &format!("process {node}")), stream(plan.seed, &format!("disk {node}")));
        let identity = Identity {
            cluster_id: data::cluster_id("", &named),
            node: members[node].id,
            name: members[node].name.clone(),
            disk_id: DiskId(u128::from(rng.u64(..))),
            members: members.to_vec(),
        };
        let mut disk = WatchedDisk::new();
        data::init(&mut disk, &identity, &kvnode::first_entry(members)).expect("an empty disk takes a node");
        Host {
            identity,
            disk,
            wiped_disks: Vec::new(),
            disk_plan: plan.disks[node].clone(),
            disk_rng,
            rng,
            life: 0,
            process: None,
            is_off: true,
            clock: Clock::new(plan.clocks[node].rate_permille),
            deaf_until_us: 0,
            inbox: Vec::new(),
            tick_put_off: false,
            late: (0, 0),
            refuses_until_us: 0,
            doom: None,
            error_down_us: 0,
            crash_loop: (VecDeque::new(), 0),
            is_full: false,
            slow_syncs: (0, 0),
            sync_number: 0,
            syncing: false,
            behind_sync: None,
            overtaken: false,
            idle_ticks: 0,
            wiped: false,
            disk_since_life: 0,
            refused: false,
            inputs: 0,
            waits_for_room: false,
            backup: None,
            newest_snapshot: None,
        }
    }
}

impl World {
    pub(crate) fn start(&mut self, node: usize) {
        // Whatever its clients had of an earlier life that lost power: they hear of it now.
        self.reset_connections_of(node);
        let (now_us, ticks) = (self.now_us, self.plan.ticks.clone());
        let host = &mut self.hosts[node];
        host.life += 1;
        host.is_off = false;
        if self.plan.sabotage && node == 0 {
            let now = host.disk.fork();
            host.backup.replace(now).into_iter().for_each(|backup| host.disk.restore(backup));
        }
        host.clock.start(now_us, ticks.tick_us);
        (host.deaf_until_us, host.doom, host.idle_ticks, host.tick_put_off) = (0, None, 0, false);
        (host.syncing, host.overtaken, host.inputs, host.waits_for_room) = (false, false, 0, false);
        host.behind_sync = None;
        host.disk.hold_syncs(host.disk_plan.takes_time());
        if let Some(steps) = host.crash_loop.0.pop_front() {
            host.disk.stop_after(steps);
            host.doom = Some((Death::Power, host.crash_loop.1));
        }
        let options = Options { max_log_bytes: Some(self.plan.segments_for), ..Options::default() };
        let (mut store, recovered) = match Store::open(host.disk.clone(), &host.identity, options) {
            Ok(opened) => opened,
            Err(error) => return self.recovery_failed(node, &NodeError::Snapshot(error)),
        };
        host.disk.recovered(host.identity.node, &recovered);
        let config = NodeConfig {
            identity: host.identity.clone(),
            incarnation: Incarnation(host.life),
            seed: host.rng.u64(..),
            client_addr: format!("{}:7117", host.identity.name),
            peer_addr: format!("{}:7217", host.identity.name),
            version: "sim".into(),
            election_ticks: ticks.election_ticks,
            heartbeat_ticks: ticks.heartbeat_ticks,
            tick_us: ticks.tick_us,
            max_data_bytes: None,
            max_log_bytes: self.plan.max_log_bytes.map_or(MaxLogBytes::Never, MaxLogBytes::Above),
            max_log_entries: self.plan.max_log_entries,
            bounds: self.plan.workload.bounds,
        };
        let started = match Node::new(config, recovered, &mut store, host.clock.micros(now_us)) {
            Ok(started) => started,
            Err(error) => return self.recovery_failed(node, &error),
        };
        self.checker.restarted(host.identity.node);
        host.process = Some((started, store));
        let life = host.life;
        tell!(self, "n{} starts, life {life}", node + 1);
        self.with_node(node, |_| ());
        self.next_tick(node, life);
        self.dial_all(node);
        self.watch_links();
        if self.rests_paused(node) {
            self.pause(node, u64::MAX / 2);
        }
    }

    /// A start that came to nothing: excused if the disk was told to fail, or is full. It is tried again.
    fn recovery_failed(&mut self, node: usize, error: &NodeError) {
        let host = &mut self.hosts[node];
        let (effect, death, down_us) = match (cause(error), host.doom) {
            (Cause::Stopped, Some((death, down_us))) => (Effect::RecoveryCut, death, down_us),
            (Cause::Full, _) if host.is_full => (Effect::RecoveryFull, Death::Process, 300_000),
            _ => broken(FailureKind::Safety, "a node comes back with its disk", format!("n{}: {error}", node + 1)),
        };
        self.report.effects[effect] += 1;
        self.crash_disk(node, death);
        let host = &mut self.hosts[node];
        host.is_off = death == Death::Power;
        let life = host.life;
        self.after(down_us, Event::Restart { node, life });
    }

    fn crash_disk(&mut self, node: usize, death: Death) {
        let host = &mut self.hosts[node];
        match death {
            Death::Process => host.disk.crash(FakeDisk::kill),
            Death::Power => {
                let lost_before = host.disk.lost_sectors();
                let seed = host.disk_rng.u64(..);
                host.disk.crash(|disk| disk.crash(seed));
                self.report.effects[Effect::LostSector] += host.disk.lost_sectors() - lost_before;
            }
        }
    }

    /// Ends a process and starts it again after so long; `None`: somebody else does.
    pub(crate) fn kill(&mut self, node: usize, death: Death, down_us: Option<u64>) {
        let was_up = self.hosts[node].process.take().is_some();
        if !was_up && (death == Death::Process || self.hosts[node].is_off) {
            return;
        }
        // A process that is dead already has left its debts in the page cache.
        self.crash_disk(node, death);
        self.report.effects[if death == Death::Power { Effect::PowerLost } else { Effect::Killed }] += 1;
        let host = &mut self.hosts[node];
        host.is_off = death == Death::Power;
        host.inbox.clear();
        host.behind_sync = None;
        let life = host.life;
        self.trace.is(self.now_us, node, format!("n{} is down{}", node + 1, if death == Death::Power { ", and its machine" } else { "" }));
        if death == Death::Process {
            self.reset_connections_of(node);
        }
        if was_up {
            self.report.kills += 1;
            if let Some(down_us) = down_us {
                self.after(down_us, Event::Restart { node, life });
            }
        }
        self.hang_up(node, death);
        self.watch_links();
    }

    // Time.

    /// Puts it to sleep; whatever comes meanwhile waits.
    pub(crate) fn pause(&mut self, node: usize, until_us: u64) {
        let host = &mut self.hosts[node];
        host.deaf_until_us = host.deaf_until_us.max(until_us);
        tell!(self, "n{} stands still", node + 1);
        let host = &self.hosts[node];
        let (life, for_us) = (host.life, host.deaf_until_us - self.now_us);
        self.after(for_us, Event::Wake { node, life });
        self.watch_links();
    }

    pub(crate) fn is_deaf(&self, node: usize) -> bool {
        self.hosts[node].deaf_until_us > self.now_us
    }

    /// Keeps an event for a node that cannot take it now; `None`: it is kept.
    pub(crate) fn unless_deaf(&mut self, node: usize, event: Event) -> Option<Event> {
        if !self.is_deaf(node) {
            return Some(event);
        }
        self.hosts[node].inbox.push(event);
        None
    }

    /// It takes part again. All that has come is read before time passes, as in the real loop: no election starts while the leader's
    /// heartbeat lies unread.
    pub(crate) fn wake(&mut self, node: usize, life: u64) {
        if self.hosts[node].life != life || self.hosts[node].process.is_none() || self.is_deaf(node) {
            return; // it sleeps on: another event will wake it
        }
        self.sync_returned(node);
        if self.is_deaf(node) || self.hosts[node].process.is_none() {
            return; // it saves once more, or is dead
        }
        let inbox = std::mem::take(&mut self.hosts[node].inbox);
        self.waking = Some(node);
        inbox.into_iter().for_each(|event| self.handle(event));
        self.waking = None;
        self.forgive_silence(node);
        self.with_node(node, |_| ());
        if std::mem::take(&mut self.hosts[node].tick_put_off) {
            self.next_tick(node, life);
        }
    }

    pub(crate) fn tick(&mut self, node: usize, life: u64) {
        if self.hosts[node].life != life || self.hosts[node].process.is_none() {
            return;
        }
        if self.is_deaf(node) {
            self.hosts[node].tick_put_off = true;
            return;
        }
        self.turn(node, true, None::<fn(&mut Node)>);
        self.next_tick(node, life);
    }

    fn next_tick(&mut self, node: usize, life: u64) {
        let host = &mut self.hosts[node];
        if host.life != life {
            return;
        }
        let (late_until_us, late_us) = host.late;
        let late_us = if self.now_us < late_until_us { late_us } else { self.plan.clocks[node].late_us };
        let late_us = if late_us > 0 { host.rng.u64(0..=late_us) } else { 0 };
        self.report.effects[Effect::LateTick] += u64::from(late_us > 0);
        let delay_us = host.clock.until_tick_us(self.now_us) + late_us;
        self.after(delay_us, Event::Tick { node, life });
    }

    // Turns.

    /// Hands an input to a node that is up, and drives it now or with a later one: a turn of the real loop reads all that has arrived.
    pub(crate) fn hand_in(&mut self, node: usize, input: impl FnOnce(&mut Node)) {
        let host = &mut self.hosts[node];
        if self.waking != Some(node) && host.deaf_until_us <= self.now_us && host.rng.u32(0..3) > 0 {
            return self.with_node(node, input);
        }
        if let Some((running, _)) = &mut host.process {
            input(running);
            host.inputs += 1;
        }
    }

    /// Hands an input to a node that is up, counts the ticks that have passed, then drives it until it has nothing left to do, and looks
    /// at it.
    pub(crate) fn with_node(&mut self, node: usize, input: impl FnOnce(&mut Node)) {
        self.turn(node, true, Some(input));
    }

    /// The same, perhaps with nothing but time: if the node then has nothing to do and is what it was, that is all.
    fn turn(&mut self, node: usize, time_passes: bool, input: Option<impl FnOnce(&mut Node)>) {
        let now_us = self.now_us;
        let Host { identity, process, disk, clock, idle_ticks, inputs, overtaken, syncing, waits_for_room, deaf_until_us, doom, .. } =
            &mut self.hosts[node];
        let Some((running, store)) = process else { return };
        if let Some((steps, down_us)) = self.ambushes.in_installs.pop_if(|_| doom.is_none() && store.incoming_len().is_some()) {
            *doom = Some((Death::Power, down_us));
            disk.stop_behind_rename(steps);
        }
        if *deaf_until_us > now_us {
            // It has begun to wait for its disk in this very instant.
            *inputs += u64::from(input.is_some());
            input.into_iter().for_each(|input| input(running));
            return;
        }
        let had_inputs = std::mem::take(inputs) > 0;
        self.report.batches += u64::from(had_inputs);
        let has_input = had_inputs || input.is_some();
        input.into_iter().for_each(|input| input(running));
        let mut driven = Ok(());
        let ticks = if time_passes { clock.take_ticks(now_us) } else { 0 };
        let mut seals = false;
        if ticks > 0 {
            self.report.effects[Effect::Gap] += u64::from(ticks > self.plan.ticks.heartbeat_ticks);
            running.tick(ticks, clock.micros(now_us));
            *idle_ticks = idle_ticks.saturating_add(ticks);
            seals = *idle_ticks >= SEAL_IDLE_TICKS && store.needs_seal();
            if seals {
                driven = store.seal().map_err(NodeError::from);
            }
        }
        // As the real loop: a turn that finds nothing to do asks nobody for anything.
        let mut has_work = running.has_work() || store.has_room_again() || disk.sync_is_finished();
        let is_idle = !has_input && !has_work && !seals && !store.needs_prepare() && !store.needs_trim();
        if is_idle && self.checker.is_as_it_was(running) {
            return self.trace.look(now_us, node, running);
        }
        let mut outgoing = Outgoing::new(identity.node, disk, &mut self.clerks.ledger, &mut self.sent);
        let mut truncations = 0;
        while driven.is_ok() {
            let led = running.raft().is_leader().then(|| running.raft().term());
            if has_work {
                driven = drive(running, store, &mut outgoing);
            }
            // Also at one that dies now: what it has sent is on its way.
            truncations += u64::from(self.checker.look(running, store, disk));
            if driven.is_err() {
                break;
            }
            // Nothing but a slow sync or a full disk ends a leadership here: messages and ticks were handed in before.
            self.report.resignations += u64::from(led == Some(running.raft().term()) && !running.raft().is_leader());
            let waited = std::mem::replace(waits_for_room, store.waits_for_room());
            self.report.waiting_saves += u64::from(!waited && *waits_for_room);
            has_work = has_work && (running.has_work() || store.has_room_again());
            if !has_work {
                let prepared = if store.needs_prepare() { store.prepare_slice() } else { Ok(()) };
                driven = prepared.and_then(|()| if store.needs_trim() { store.trim_slice() } else { Ok(()) }).map_err(NodeError::from);
                break;
            }
        }
        let sent = outgoing.finish();
        let holds_less = disk.take_holds_less();
        if sent.behind.is_some() {
            *idle_ticks = 0;
        }
        self.report.truncations += truncations;
        self.report.leader_changes = self.checker.leader_changes;
        *overtaken |= truncations > 0 && *syncing;
        let news = running.take_events();
        let newest = store.snapshot().map(|newest| newest.meta.last);
        if holds_less {
            self.check_acknowledged(node);
        }
        let host = &mut self.hosts[node];
        if newest.is_some() && host.newest_snapshot != newest {
            host.newest_snapshot = newest;
            self.report.snapshots += 1;
        }
        for event in news {
            match event {
                NodeEvent::Installed { .. } => self.report.installs += 1,
                NodeEvent::Formed => self.formed = true,
                NodeEvent::Refused { node: peer, .. } => {
                    let peer = usize::try_from(peer.0 - 1).expect("ids count from 1");
                    must!(self.hosts[peer].wiped, "only another disk is refused", "n{} was turned away, and never wiped", peer + 1);
                    self.shut_out(node, peer);
                }
                _ => {}
            }
        }
        if let Some((running, _)) = &self.hosts[node].process {
            self.trace.look(now_us, node, running);
        }
        if sent.before.asks || sent.behind.as_ref().is_some_and(|behind| behind.asks) {
            self.kill_asker(node);
        }
        self.carry(node, sent.before);
        let host = &mut self.hosts[node];
        if driven.is_ok() && host.disk.sync_is_held() && !host.syncing {
            self.sync_begins(node);
            if truncations > 0 {
                self.cut_truncation(node);
            }
        }
        let behind = sent.behind.unwrap_or_default();
        let host = &mut self.hosts[node];
        if host.syncing && !host.disk_plan.beside {
            host.behind_sync.get_or_insert(behind);
        } else {
            self.carry(node, behind);
        }
        if let Err(error) = driven {
            self.die_of(node, &error);
        }
    }

    /// A sync takes its time, and ends by an event.
    fn sync_begins(&mut self, node: usize) {
        let host = &mut self.hosts[node];
        host.syncing = true;
        host.sync_number += 1;
        let (life, number) = (host.life, host.sync_number);
        let took_us = match &mut host.slow_syncs {
            (0, _) => host.disk_plan.sync_us(&mut host.disk_rng),
            (left, slow_us) => {
                *left -= 1;
                *slow_us
            }
        };
        let beside = host.disk_plan.beside;
        self.after(took_us, Event::SyncDone { node, life, number, took_us });
        self.spring_ambush(node, took_us);
        if beside {
            return;
        }
        // It hears nothing until it has said what it says after the sync.
        tell!(self, "n{} waits {took_us} us until it has synced", node + 1);
        let host = &mut self.hosts[node];
        host.deaf_until_us = host.deaf_until_us.max(self.now_us + took_us + 1);
        let for_us = host.deaf_until_us - self.now_us;
        self.after(for_us, Event::Wake { node, life });
        if self.plan.ticks.election_us() < took_us {
            self.watch_links();
        }
    }

    pub(crate) fn sync_done(&mut self, node: usize, life: u64, number: u64, took_us: u64) {
        let host = &mut self.hosts[node];
        if host.life != life || !host.syncing || host.sync_number != number {
            return;
        }
        tell!(self, "n{} has synced, after {took_us} us", node + 1);
        let host = &mut self.hosts[node];
        host.syncing = false;
        self.report.overtaken_saves += u64::from(std::mem::take(&mut host.overtaken));
        let is_slow = took_us > self.plan.ticks.election_us();
        self.report.slow_syncs += u64::from(is_slow);
        self.report.effects[Effect::SlowSync] += u64::from(is_slow);
        host.disk.set_sync_us(took_us);
        host.disk.finish_sync();
        if host.behind_sync.is_none() {
            self.with_node(node, |_| ());
            self.hosts[node].disk.set_sync_us(0);
        } else if host.deaf_until_us <= self.now_us + 1 {
            self.sync_returned(node);
        }
        // Otherwise it stands still as well: when it wakes.
    }

    /// A node that has waited for its disk goes on where it was, before it reads what has come or counts time that has passed.
    fn sync_returned(&mut self, node: usize) {
        let host = &mut self.hosts[node];
        let Some(behind) = host.behind_sync.take_if(|_| !host.syncing) else { return };
        let deaf_until_us = std::mem::take(&mut host.deaf_until_us);
        self.carry(node, behind);
        self.turn(node, false, None::<fn(&mut Node)>);
        let host = &mut self.hosts[node];
        host.disk.set_sync_us(0);
        host.deaf_until_us = host.deaf_until_us.max(deaf_until_us);
    }

    /// A disk that was told to stop or to fail ends its process, in the middle of whatever it was doing; what it had sent is on its way.
    /// No other failure is excused, want of space least of all.
    fn die_of(&mut self, node: usize, error: &NodeError) {
        let host = &self.hosts[node];
        let (death, down_us) = match (cause(error), host.doom) {
            (Cause::Stopped, Some(doom)) => doom,
            (Cause::SyncError, _) => {
                self.report.effects[Effect::SyncError] += 1;
                (Death::Process, host.error_down_us)
            }
            (Cause::WriteError, _) => {
                self.report.effects[Effect::WriteError] += 1;
                (Death::Process, host.error_down_us)
            }
            _ => broken(FailureKind::Safety, "a node stops only when its disk fails", format!("n{}: {error}", node + 1)),
        };
        self.kill(node, death, Some(down_us));
    }
}

/// Why a node stopped.
enum Cause {
    Stopped,
    SyncError,
    WriteError,
    Full,
    /// Nothing that was done to its disk.
    Other,
}

fn cause(error: &NodeError) -> Cause {
    let source = match error {
        NodeError::Store(StoreError::Io { source, .. }) | NodeError::Snapshot(OpenError::Io { source, .. }) => source,
        _ => return Cause::Other,
    };
    match data::FakeError::of(source) {
        Some(data::FakeError::Stopped) => Cause::Stopped,
        Some(data::FakeError::Sync) => Cause::SyncError,
        Some(data::FakeError::Write) => Cause::WriteError,
        None if source.kind() == std::io::ErrorKind::StorageFull => Cause::Full,
        None => Cause::Other,
    }
}
