//! The clock, the nodes and the events between them. One event is handled at a time; then the node it concerned is driven until it has
//! nothing left to do, and looked at.

use std::collections::BTreeSet;

use data::{Identity, InitialMember};
use fastrand::Rng;
use raft::{DiskId, NodeId};
use wire::frame::FrameBuffer;
use wire::limits::FRAME_BODY_LEN_MAX;
use wire::peer::PeerFrame;

use crate::check::Checker;
use crate::clerks::{Clerks, Due};
use crate::cluster::Conditions;
use crate::connections::Wire;
use crate::disk::WatchedDisk;
use crate::hosts::Host;
use crate::network::Network;
use crate::peers::Traffic;
use crate::plan::Plan;
use crate::queue::Queue;
use crate::report::Report;
use crate::trace::{Trace, tell};
use crate::words::Said;

pub(crate) const TICK_US: u64 = 10_000;
pub(crate) const ELECTION_TICKS: u64 = 30;
/// After the faults the cluster has this long to converge.
pub(crate) const CONVERGE_US: u64 = 30_000_000;

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
    Clerks(Due),
    Wire(Wire),
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

pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) rng: Rng,
    pub(crate) now_us: u64,
    events: Queue<Event>,
    pub(crate) hosts: Vec<Host>,
    pub(crate) network: Network,
    /// What a script says of the network; else the plan does.
    pub(crate) conditions: Option<Conditions>,
    /// What the nodes have sent each other so far.
    pub(crate) traffic: Traffic,
    pub(crate) clerks: Clerks,
    pub(crate) checker: Checker,
    pub(crate) trace: Trace,
    pub(crate) report: Report,
    pub(crate) calm: bool,
    /// Some node has known that the cluster is formed.
    pub(crate) formed: bool,
}

impl World {
    pub(crate) fn new(plan: Plan) -> World {
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
                let mut disk = WatchedDisk::new();
                data::init(&mut disk, &identity, &kvnode::first_entry(&members)).expect("an empty disk takes a node");
                let tick_us = TICK_US * rng.u64(95..=105) / 100;
                Host {
                    identity,
                    disk,
                    wiped_disks: Vec::new(),
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
        let clerks = Clerks::new(plan.seed);
        let report = Report { seed: plan.seed, ..Report::default() };
        let calm = plan.fault_every_us.is_none();
        let node_count = plan.node_count;
        let mut world = World {
            plan,
            rng,
            now_us: 0,
            events: Queue::new(),
            hosts,
            network: Network::new(),
            conditions: None,
            traffic: Traffic::default(),
            clerks,
            checker: Checker::default(),
            trace: Trace::new(node_count),
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
        world.hire_clerks();
        world.next_fault();
        world
    }

    // Time.

    pub(crate) fn after(&mut self, delay_us: u64, event: Event) {
        self.events.push(self.now_us + delay_us, event);
    }

    /// Handles events until virtual time `end_us`, or until `done`.
    pub(crate) fn until(&mut self, end_us: u64, mut done: impl FnMut(&World) -> bool) -> bool {
        while let Some(at_us) = self.events.next_us().filter(|at_us| *at_us < end_us) {
            let Some((sequence, event)) = self.events.pop() else { break };
            self.now_us = at_us;
            self.trace.fact(at_us ^ sequence.rotate_left(32));
            self.handle(event);
            if done(self) {
                return true;
            }
        }
        assert!(self.events.next_us().is_some(), "ticks never end");
        self.now_us = end_us;
        done(self)
    }

    pub(crate) fn handle(&mut self, event: Event) {
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
                    self.trace.bytes(&frame);
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
                    let frame = wire::peer::decode_peer(frame).expect("what a node sent");
                    tell!(self, "{from} -> n{} {}", to + 1, Said(&frame));
                    match frame {
                        PeerFrame::Raft { message, entries } => self.hand_in(to, |node| node.peer_message(from, message, entries)),
                        beside => self.hand_in(to, |node| node.peer_beside(from, beside)),
                    }
                }
            }
            Event::Lost { node, life, gone } => {
                if self.hosts[node].life == life && self.hosts[node].paused_until_us <= self.now_us {
                    let gone = NodeId(gone as u64 + 1);
                    tell!(self, "n{} hears that the process of {gone} is gone", node + 1);
                    self.with_node(node, |node| {
                        node.peer_unreachable(gone);
                        node.leader_lost(gone);
                    });
                }
            }
            Event::SyncDone { node, life, took_us } => {
                if self.hosts[node].life == life && self.hosts[node].syncing {
                    tell!(self, "n{} has synced, after {took_us} us", node + 1);
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
            Event::Clerks(due) => self.handle_due(due),
            Event::Wire(wire) => self.handle_wire(wire),
            Event::Fault => self.fault(),
            Event::Restart { node } => {
                if self.hosts[node].process.is_none() {
                    self.start(node);
                }
            }
            Event::Wipe => self.wipe(),
            Event::Room { node } => {
                tell!(self, "n{} has room on its disk again", node + 1);
                self.hosts[node].disk.set_space(None);
            }
            Event::Heal => {
                tell!(self, "the network is whole");
                self.network.heal();
            }
        }
    }
}
