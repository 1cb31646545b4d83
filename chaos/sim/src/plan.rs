//! What a seed decides before the run begins: its own mix of faults and intensities (swarm testing). A seed that draws no loss and
//! many crashes finds other bugs than one that draws a little of everything.

use fastrand::Rng;

/// One run's settings. Times in microseconds of virtual time.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Everything follows from it.
    pub seed: u64,
    /// How many nodes.
    pub node_count: usize,
    /// How many clients append.
    pub client_count: usize,
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
    /// Syncs take a while, and end on their own.
    pub slow_syncs: bool,
    /// Log above which a snapshot is taken; `None`: never. Tiny, so that it happens all the time.
    pub max_log_bytes: Option<u64>,
}

impl Plan {
    /// The mix of this seed.
    pub fn draw(seed: u64, node_count: usize) -> Plan {
        let mut rng = Rng::with_seed(seed);
        let sometimes = |rng: &mut Rng, most: f64| if rng.bool() { rng.f64() * most } else { 0.0 };
        Plan {
            seed,
            node_count,
            client_count: rng.usize(1..=4),
            faulty_us: 8_000_000,
            loss: sometimes(&mut rng, 0.15),
            duplicate: sometimes(&mut rng, 0.1),
            delay_us_max: rng.u64(500..30_000),
            fault_every_us: Some(rng.u64(150_000..1_500_000)),
            kills: rng.u32(0..4) > 0,
            cuts: rng.u32(0..4) > 0,
            pauses: rng.bool(),
            slow_syncs: rng.bool(),
            max_log_bytes: (rng.u32(0..4) > 0).then(|| rng.u64(300..6_000)),
        }
    }

    /// Nothing ever goes wrong.
    pub fn calm(seed: u64, node_count: usize) -> Plan {
        Plan { loss: 0.0, duplicate: 0.0, fault_every_us: None, ..Plan::draw(seed, node_count) }
    }
}
