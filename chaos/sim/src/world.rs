//! The clock, the nodes and the events between them. One event is handled at a time; then the node it concerned is driven until it has
//! nothing left to do, and looked at.

use std::rc::Rc;

use data::InitialMember;
use fastrand::Rng;
use raft::NodeId;
use wire::frame::FrameBuffer;
use wire::limits::FRAME_BODY_LEN_MAX;

use crate::check::Checker;
use crate::clerks::{Clerks, Due};
use crate::cluster::Conditions;
use crate::connections::Wire;
use crate::faults::Ambushes;
use crate::hosts::{Death, Host};
use crate::network::{Network, Parcel};
use crate::peers::{Met, Traffic};
use crate::plan::{Plan, stream};
use crate::queue::Queue;
use crate::report::Report;
use crate::trace::Trace;

pub(crate) enum Event {
    Tick {
        node: usize,
        life: u64,
    },
    /// It has stood still, or waited for its disk, until now.
    Wake {
        node: usize,
        life: u64,
    },
    Deliver {
        parcel: Parcel,
    },
    /// What a cut has held up is sent again.
    Resume {
        from: usize,
        to: usize,
    },
    Dial {
        from: usize,
        to: usize,
        life: u64,
        attempt: u64,
    },
    /// The dial has met something.
    Dialled {
        from: usize,
        to: usize,
        life: u64,
        attempt: u64,
        met: Met,
    },
    /// The news that connections to this life of a peer have ended.
    Ended {
        node: usize,
        life: u64,
        gone: usize,
        to_life: u64,
    },
    /// A peer has been silent for long.
    Silent {
        node: usize,
        life: u64,
        peer: usize,
        since_us: u64,
    },
    SyncDone {
        node: usize,
        life: u64,
        number: u64,
        took_us: u64,
    },
    Clerks(Due),
    Wire(Wire),
    /// One of the plan's.
    Fault {
        index: usize,
    },
    /// It should have ended at a step of its disk by now.
    Strike {
        node: usize,
        life: u64,
        death: Death,
        down_us: u64,
    },
    PowerCut {
        node: usize,
        down_us: u64,
    },
    Restart {
        node: usize,
        life: u64,
    },
    /// There is room again on this disk.
    Room {
        node: usize,
    },
    /// A cut is over.
    Mend {
        links: Rc<[(usize, usize)]>,
    },
    WeatherOver {
        from: usize,
        to: usize,
        number: u64,
    },
    /// A node that is not of the core is killed once more.
    Unrest {
        node: usize,
    },
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
    /// Takes in one frame after the other, for whomever it is.
    pub(crate) received: FrameBuffer,
    /// The frame that is being made, by whomever.
    pub(crate) sent: Vec<u8>,
    /// What the nodes have sent each other so far.
    pub(crate) traffic: Traffic,
    pub(crate) clerks: Clerks,
    pub(crate) checker: Checker,
    pub(crate) trace: Trace,
    pub(crate) report: Report,
    pub(crate) ambushes: Ambushes,
    /// No fault begins any more.
    pub(crate) calm: bool,
    /// Handed in, and not driven: this node takes what came while it was deaf.
    pub(crate) waking: Option<usize>,
    /// Nodes that must serve while the others cannot; all of them until then, and after.
    pub(crate) core: Vec<usize>,
    /// The write that must be done when the faults are over for a majority.
    pub(crate) last_write: Option<usize>,
    /// Some node has known that the cluster is formed.
    pub(crate) formed: bool,
}

impl World {
    pub(crate) fn new(plan: Plan) -> World {
        let rng = stream(plan.seed, "script");
        let members: Vec<InitialMember> = (1..=plan.node_count as u64)
            .map(|id| InitialMember { id: NodeId(id), name: format!("n{id}"), peer_addr: format!("n{id}:7217") })
            .collect();
        let hosts = (0..plan.node_count).map(|node| Host::new(&plan, &members, node)).collect();
        let report = Report { seed: plan.seed, ..Report::default() };
        let mut world = World {
            rng,
            now_us: 0,
            events: Queue::new(),
            hosts,
            network: Network::new(&plan),
            conditions: None,
            received: FrameBuffer::new(FRAME_BODY_LEN_MAX),
            sent: Vec::new(),
            traffic: Traffic::default(),
            clerks: Clerks::new(plan.seed),
            checker: Checker::default(),
            trace: Trace::new(plan.node_count),
            report,
            ambushes: Ambushes::default(),
            calm: false,
            waking: None,
            core: (0..plan.node_count).collect(),
            last_write: None,
            formed: false,
            plan,
        };
        for node in 0..world.hosts.len() {
            world.after(world.plan.starts_us[node], Event::Restart { node, life: 0 });
        }
        world.plan_faults();
        world.hire_clerks();
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
        // Nobody is up, and nobody will be unless somebody else starts them.
        self.now_us = end_us;
        done(self)
    }

    pub(crate) fn handle(&mut self, event: Event) {
        match event {
            Event::Tick { node, life } => self.tick(node, life),
            Event::Wake { node, life } => self.wake(node, life),
            Event::Deliver { parcel } => self.deliver(parcel),
            Event::Resume { from, to } => self.resume_link(from, to),
            Event::Dial { from, to, life, attempt } => self.dial_peer(from, to, life, attempt),
            Event::Dialled { from, to, life, attempt, met } => self.dialled(from, to, life, attempt, met),
            Event::Ended { node, life, gone, to_life } => self.ended(node, life, gone, to_life),
            Event::Silent { node, life, peer, since_us } => self.silent(node, life, peer, since_us),
            Event::SyncDone { node, life, number, took_us } => self.sync_done(node, life, number, took_us),
            Event::Clerks(due) => self.handle_due(due),
            Event::Wire(wire) => self.handle_wire(wire),
            Event::Fault { index } => self.fault(index),
            Event::Strike { node, life, death, down_us } => {
                if !self.calm && self.hosts[node].life == life {
                    self.kill(node, death, Some(down_us));
                }
            }
            Event::PowerCut { node, down_us } => {
                if !self.calm {
                    self.kill(node, Death::Power, Some(down_us));
                }
            }
            Event::Restart { node, life } => {
                let host = &self.hosts[node];
                if host.process.is_none() && host.life == life && self.may_start(node) {
                    self.start(node);
                }
            }
            Event::Room { node } => {
                if !self.calm {
                    self.hosts[node].is_full = false;
                    self.hosts[node].disk.set_space(None);
                }
            }
            Event::Mend { links } => self.mend(&links),
            Event::WeatherOver { from, to, number } => self.network.clear_weather(from, to, number),
            Event::Unrest { node } => self.unrest(node),
        }
    }
}
