//! What a seed decides before the run begins: its own mix of faults and intensities (swarm testing). A seed that draws no loss and
//! many crashes finds other bugs than one that draws a little of everything.

use fastrand::Rng;

use crate::workload::Workload;

/// One run's settings. Times in microseconds of virtual time.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Everything follows from it.
    pub seed: u64,
    /// How many nodes.
    pub node_count: usize,
    /// What clients do, and what happens to them.
    pub workload: Workload,
    /// How long faults happen, before all is healed and must converge.
    pub faulty_us: u64,
    /// Chance that a message is lost.
    pub loss: f64,
    /// Chance that a message comes twice.
    pub duplicate: f64,
    /// Longest delay of a message.
    pub delay_us_max: u64,
    /// Mean time between two faults; `None`: no faults at all.
    pub fault_every_us: Option<u64>,
    /// Which of them happen.
    pub kills: bool,
    /// See above.
    pub cuts: bool,
    /// See above.
    pub pauses: bool,
    /// See above: disks that are full for a while.
    pub full_disks: bool,
    /// See above: directories that are deleted and made again, of a minority.
    pub wipes: bool,
    /// One that is wiped at this time, probably before the cluster is formed.
    pub wipe_at_us: Option<u64>,
    /// Nodes come up for the first time one after the other.
    pub late_starts: bool,
    /// No fault but those two before this time: in most runs the cluster is formed by then.
    pub quiet_us: u64,
    /// Syncs take a while, and end on their own.
    pub slow_syncs: bool,
    /// A quarter of it is the length of the log's files.
    pub segments_for: u64,
    /// Log above which a snapshot is taken; `None`: never. Tiny, so that it happens all the time.
    pub max_log_bytes: Option<u64>,
    /// The same in entries.
    pub max_log_entries: Option<u64>,
}

impl Plan {
    /// The mix of this seed.
    pub fn draw(seed: u64, node_count: usize) -> Plan {
        let mut rng = Rng::with_seed(seed);
        let sometimes = |rng: &mut Rng, most: f64| if rng.bool() { rng.f64() * most } else { 0.0 };
        Plan {
            seed,
            node_count,
            workload: Workload::draw(&mut Rng::with_seed(seed ^ 0xca11)),
            faulty_us: 8_000_000,
            loss: sometimes(&mut rng, 0.15),
            duplicate: sometimes(&mut rng, 0.1),
            delay_us_max: rng.u64(500..30_000),
            fault_every_us: Some(rng.u64(150_000..1_500_000)),
            kills: rng.u32(0..4) > 0,
            cuts: rng.u32(0..4) > 0,
            pauses: rng.bool(),
            slow_syncs: rng.bool(),
            full_disks: rng.bool(),
            wipes: rng.u32(0..4) == 0,
            wipe_at_us: (rng.u32(0..3) == 0).then(|| rng.u64(0..2_500_000)),
            late_starts: rng.u32(0..3) == 0,
            quiet_us: if rng.u32(0..4) > 0 { 1_500_000 } else { 0 },
            segments_for: if rng.u32(0..4) > 0 { 16 << 10 } else { 128 << 10 },
            max_log_bytes: (rng.u32(0..4) > 0).then(|| if rng.bool() { rng.u64(300..6_000) } else { rng.u64(6_000..60_000) }),
            max_log_entries: None,
        }
    }

    /// Nothing ever goes wrong.
    pub fn calm(seed: u64, node_count: usize) -> Plan {
        let drawn = Plan::draw(seed, node_count);
        Plan {
            workload: drawn.workload.calm(),
            loss: 0.0,
            duplicate: 0.0,
            fault_every_us: None,
            wipe_at_us: None,
            late_starts: false,
            ..drawn
        }
    }
}
