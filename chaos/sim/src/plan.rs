//! What a seed decides before the run begins: its own mix of faults and intensities (swarm testing). A seed that draws no loss and
//! many crashes finds other bugs than one that draws a little of everything.
//!
//! All of it is data: clocks, links and disks as they are all the time, and a schedule of what happens to them. Whatever is random while
//! a plan runs has a stream of its own, named by what it is for: so leaving out one fault or one client leaves the luck of the others
//! alone.

use std::collections::BTreeSet;

use fastrand::Rng;

use crate::fault::{FaultKind, Planned};
use crate::network::{LinkQuality, NetworkPlan};
use crate::profile::Profile;
use crate::schedule::{self, Scope};
use crate::workload::Workload;

/// One run's settings. Times in microseconds of virtual time.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Everything follows from it.
    pub seed: u64,
    /// What it was drawn under.
    pub profile: Profile,
    /// How many nodes.
    pub node_count: usize,
    /// What clients do, and what happens to them.
    pub workload: Workload,
    /// How long faults happen, before they stop for a majority, which must serve, and then for all.
    pub faulty_us: u64,
    /// The sorts of faults that this run has.
    pub kinds: BTreeSet<FaultKind>,
    /// What happens, in the order of time.
    pub faults: Vec<Planned>,
    /// The clock of each node.
    pub clocks: Vec<ClockPlan>,
    /// When each node comes up for the first time.
    pub starts_us: Vec<u64>,
    /// The ticks that every node is told to live by.
    pub ticks: Ticks,
    /// The disk of each node.
    pub disks: Vec<DiskPlan>,
    /// What is between the nodes.
    pub network: NetworkPlan,
    /// A quarter of it is the length of the log's files.
    pub segments_for: u64,
    /// Log above which a snapshot is taken; `None`: never. Tiny, so that it happens all the time.
    pub max_log_bytes: Option<u64>,
    /// The same in entries.
    pub max_log_entries: Option<u64>,
    /// The nodes in the order in which they are wanted for the majority that must serve while the others are in the state of `rest`.
    pub core_order: Vec<usize>,
    /// What becomes of each node that is not of it.
    pub rest: Vec<Rest>,
    /// Whenever the first node starts, somebody gives it the disk of the start before: a promise broken on purpose, to see a failure.
    pub sabotage: bool,
}

/// How time passes for a node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClockPlan {
    /// Its microseconds in a thousand true ones.
    pub rate_permille: u64,
    /// Its loop is woken at most so late, all the time.
    pub late_us: u64,
}

/// The settings of time that all nodes share.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ticks {
    /// Length of a tick on a true clock.
    pub tick_us: u64,
    /// Ticks between heartbeats.
    pub heartbeat_ticks: u32,
    /// Ticks of the shortest election timeout.
    pub election_ticks: u32,
}

/// How a disk syncs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DiskPlan {
    /// The sync of a save ends by itself, and the node goes on meanwhile. Otherwise it waits, as the real loop does, and is deaf.
    pub beside: bool,
    /// The shortest sync.
    pub sync_us_min: u64,
    /// Usually the longest.
    pub sync_us_max: u64,
    /// One sync in so many is far longer; 0: none.
    pub spike_in: u32,
    /// The longest of those.
    pub spike_us_max: u64,
}

/// What a node outside the majority does while that must serve.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rest {
    /// It is down.
    Down,
    /// It stands still.
    Paused,
    /// Nobody hears it, and it hears nobody.
    CutOff,
    /// It hears nobody, and what it sends arrives.
    Deaf,
    /// It hears all, and nothing that it sends arrives.
    Mute,
    /// It is killed and started again and again, behind links that lose every second message.
    Restless,
}

impl Rest {
    const ALL: [Rest; 6] = [Rest::Down, Rest::Paused, Rest::CutOff, Rest::Deaf, Rest::Mute, Rest::Restless];
}

/// Nodes come up within this time of each other, or their ticks would coincide: no two machines are that much alike.
const EARLY_US: u64 = 20_000;

/// The random numbers of this seed for one purpose.
pub(crate) fn stream(seed: u64, purpose: &str) -> Rng {
    let spread = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    Rng::with_seed(purpose.bytes().fold(seed ^ 0xcbf2_9ce4_8422_2325, spread))
}

impl Plan {
    /// The mix of this seed.
    pub fn draw(seed: u64, node_count: usize, profile: Profile) -> Plan {
        let mut rng = stream(seed, "kinds");
        let kinds: BTreeSet<FaultKind> = FaultKind::ALL.into_iter().filter(|kind| rng.u32(0..100) < profile.chance(*kind)).collect();
        let is_calm = profile == Profile::Calm;
        let has = |kind: FaultKind| kinds.contains(&kind);

        let mut rng = stream(seed, "workload");
        let workload = Workload::draw(&mut rng);
        let workload = match profile {
            Profile::Calm => workload.calm(),
            Profile::Clients => Workload {
                clerk_count: rng.usize(6..=16),
                calls_per_s: rng.u64(40..=120),
                fault_every_us: Some(rng.u64(50_000..400_000)),
                ..workload
            },
            _ => workload,
        };
        let faulty_us = 8_000_000;

        let mut rng = stream(seed, "limits");
        let segments_for = if rng.u32(0..4) > 0 { 16 << 10 } else { 128 << 10 };
        let always = profile == Profile::Snapshots;
        let max_log_bytes =
            (rng.u32(0..4) > 0 || always).then(|| if rng.bool() || always { rng.u64(300..6_000) } else { rng.u64(6_000..60_000) });
        let max_log_entries = (rng.u32(0..4) == 0).then(|| rng.u64(3..200));
        // A heartbeat at every tick is five times the messages: few seeds have it.
        let (heartbeat_ticks, election_ticks) = match rng.u32(0..10) {
            0 => (1, 10),
            1 | 2 => (3, 10),
            3 | 4 => (10, 60),
            _ => (5, 30),
        };
        let tick_us = match rng.u32(0..10) {
            0 => 5_000,
            1 | 2 => 20_000,
            _ => 10_000,
        };
        let ticks = if is_calm { Ticks::default() } else { Ticks { tick_us, heartbeat_ticks, election_ticks } };

        let mut rng = stream(seed, "clocks");
        let clocks = (0..node_count).map(|_| ClockPlan::draw(&mut rng, has(FaultKind::Clocks))).collect();
        let mut rng = stream(seed, "starts");
        let starts_us = (0..node_count).map(|_| rng.u64(0..if has(FaultKind::LateStarts) { 2_000_000 } else { EARLY_US })).collect();
        let mut rng = stream(seed, "disks");
        let beside = rng.bool();
        let disks = (0..node_count).map(|_| DiskPlan::draw(&mut rng, beside, has(FaultKind::SlowSyncs))).collect();
        let network = NetworkPlan::draw(&mut stream(seed, "network"), node_count, &kinds);

        let mut rng = stream(seed, "pace");
        let every_us = if profile == Profile::Storm { rng.u64(150_000..500_000) } else { rng.u64(100_000..900_000) };
        let quiet_us = if rng.u32(0..4) > 0 { 1_500_000 } else { 0 };
        let faults =
            schedule::draw(seed, &kinds, &Scope { node_count, quiet_us, end_us: faulty_us, election_us: ticks.election_us(), every_us });

        let mut rng = stream(seed, "core");
        let mut core_order: Vec<usize> = (0..node_count).collect();
        rng.shuffle(&mut core_order);
        let rest = (0..node_count).map(|_| Rest::ALL[rng.usize(0..Rest::ALL.len())]).collect();
        Plan {
            seed,
            profile,
            node_count,
            workload,
            faulty_us,
            kinds,
            faults,
            clocks,
            starts_us,
            ticks,
            disks,
            network,
            segments_for,
            max_log_bytes,
            max_log_entries,
            core_order,
            rest,
            sabotage: false,
        }
    }

    /// The same plan without one sort of fault: everything else happens as before, at the same times.
    pub fn without(&self, kind: FaultKind) -> Plan {
        let mut plan = self.clone();
        plan.kinds.remove(&kind);
        plan.faults.retain(|planned| planned.fault.kind() != kind);
        match kind {
            FaultKind::Clocks => plan.clocks.iter_mut().for_each(|clock| *clock = ClockPlan::default()),
            FaultKind::LateStarts => plan.starts_us.iter_mut().for_each(|start_us| *start_us %= EARLY_US),
            FaultKind::SlowSyncs => plan.disks.iter_mut().for_each(|disk| *disk = DiskPlan::good(disk.beside)),
            FaultKind::Disorder => plan.network.in_order = true,
            FaultKind::Queues => plan.network.queue_bytes_max = NetworkPlan::QUEUE_BYTES_MAX,
            _ => {}
        }
        for link in &mut plan.network.links {
            match kind {
                FaultKind::Loss => link.loss_permille = 0,
                FaultKind::Disorder => link.twice_permille = 0,
                FaultKind::Delays => (link.base_us, link.jitter_us) = (LinkQuality::GOOD.base_us, LinkQuality::GOOD.jitter_us),
                FaultKind::Queues => link.bytes_per_ms = None,
                _ => {}
            }
        }
        plan
    }

    /// Nothing ever goes wrong.
    pub fn calm(seed: u64, node_count: usize) -> Plan {
        Plan::draw(seed, node_count, Profile::Calm)
    }

    /// How many nodes are a majority.
    pub fn quorum(&self) -> usize {
        self.node_count / 2 + 1
    }
}

impl Default for ClockPlan {
    fn default() -> ClockPlan {
        ClockPlan { rate_permille: 1_000, late_us: 0 }
    }
}

impl ClockPlan {
    fn draw(rng: &mut Rng, differs: bool) -> ClockPlan {
        let rate_permille = match rng.u32(0..4) {
            _ if !differs => return ClockPlan::default(),
            0 => [800, 1_200][rng.usize(0..2)],
            _ => rng.u64(950..=1_050),
        };
        ClockPlan { rate_permille, late_us: if rng.u32(0..4) == 0 { rng.u64(0..5_000) } else { 0 } }
    }
}

impl Default for Ticks {
    fn default() -> Ticks {
        Ticks { tick_us: 10_000, heartbeat_ticks: 5, election_ticks: 30 }
    }
}

impl Ticks {
    /// The shortest election timeout on a true clock.
    pub fn election_us(&self) -> u64 {
        self.tick_us * u64::from(self.election_ticks)
    }

    /// Between two heartbeats on a true clock.
    pub fn heartbeat_us(&self) -> u64 {
        self.tick_us * u64::from(self.heartbeat_ticks)
    }
}

impl DiskPlan {
    /// A sound and fast one.
    pub fn good(beside: bool) -> DiskPlan {
        DiskPlan { beside, sync_us_min: 100, sync_us_max: 1_000, spike_in: 0, spike_us_max: 0 }
    }

    /// Syncs take no time at all.
    pub fn instant() -> DiskPlan {
        DiskPlan { sync_us_min: 0, sync_us_max: 0, ..DiskPlan::good(false) }
    }

    fn draw(rng: &mut Rng, beside: bool, slow: bool) -> DiskPlan {
        if !slow {
            return DiskPlan::good(beside);
        }
        let sync_us_max = if rng.u32(0..4) == 0 { rng.u64(5_000..40_000) } else { rng.u64(1_000..5_000) };
        let spike_in = if rng.bool() { rng.u32(10..200) } else { 0 };
        DiskPlan { beside, sync_us_min: 100, sync_us_max, spike_in, spike_us_max: rng.u64(50_000..2_500_000) }
    }

    /// Whether a sync is anything that a power cut may fall into.
    pub(crate) fn takes_time(&self) -> bool {
        self.sync_us_max > 0
    }

    /// How long the next sync takes.
    pub(crate) fn sync_us(&self, rng: &mut Rng) -> u64 {
        let is_spike = self.spike_in > 0 && rng.u32(0..self.spike_in) == 0;
        rng.u64(self.sync_us_min..=if is_spike { self.spike_us_max } else { self.sync_us_max })
    }
}
