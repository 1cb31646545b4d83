//! What clerks ask for: a seed's mix of calls, keys and values, and of what happens to clerks and their connections.

use std::collections::BTreeMap;

use fastrand::Rng;
use kvcli::core::Patience;
use kvcli::{Ask, Expectation, Range};
use kvnode::Bounds;

/// One run's clients. Times in microseconds.
#[derive(Clone, Debug)]
pub struct Workload {
    /// Clerks at any one time.
    pub clerk_count: usize,
    /// Calls per second of all of them together, on average, whatever the faults.
    pub calls_per_s: u64,
    /// How often which call, relative to the others.
    pub weights: Weights,
    /// Keys that everybody uses.
    pub hot_keys: u64,
    /// Share of calls to keys that live for a few calls.
    pub short_lived: f64,
    /// Bytes that make some values longer.
    pub padding_len: usize,
    /// Share of calls that come many at once, at one clerk.
    pub bursts: f64,
    /// Bounds that are tiny, or those of real nodes.
    pub bounds: Bounds,
    /// How long clerks wait for others. Most wait longer between two rounds than the default: that costs no bug, and much less time.
    pub patience: Patience,
    /// Longest delay of what is sent on a connection.
    pub delay_us_max: u64,
    /// Chance that it stalls for much longer.
    pub stall: f64,
    /// Chance that a connection is refused although the node is up.
    pub refusal: f64,
    /// Mean time between two things that happen to clerks: cut off, interrupted, lost, their connections reset. `None`: nothing does.
    pub fault_every_us: Option<u64>,
}

/// How often which call is made.
#[derive(Clone, Copy, Debug)]
pub struct Weights {
    /// One field per call.
    pub get: u32,
    /// See above.
    pub put: u32,
    /// See above.
    pub append: u32,
    /// See above.
    pub delete: u32,
    /// See above.
    pub cas: u32,
    /// See above.
    pub scan: u32,
    /// See above.
    pub get_stale: u32,
    /// See above.
    pub scan_stale: u32,
}

impl Workload {
    /// The mix of a seed.
    pub fn draw(rng: &mut Rng) -> Workload {
        const WEIGHTS: [u32; 5] = [0, 1, 2, 4, 8];
        let mut weight = || WEIGHTS[rng.usize(0..WEIGHTS.len())];
        let weights = Weights {
            get: 1 + weight(),
            put: 1 + weight(),
            append: 1 + weight(),
            delete: weight() / 2,
            cas: weight(),
            scan: weight() / 4,
            get_stale: weight() / 2,
            scan_stale: weight() / 4,
        };
        let defaults = Bounds::default();
        let mut sometimes = |most: f64| if rng.bool() { rng.f64() * most } else { 0.0 };
        let (short_lived, bursts, stall, refusal) = (sometimes(0.6), sometimes(0.5), sometimes(0.02), sometimes(0.1));
        let bounds = Bounds {
            sessions_max: if rng.u32(0..4) > 0 { rng.usize(2..=16) } else { defaults.sessions_max },
            session_idle_ms_max: if rng.bool() { rng.u64(200..3_000) } else { defaults.session_idle_ms_max },
            page_bytes_max: if rng.u32(0..4) > 0 { rng.usize(30..600) } else { defaults.page_bytes_max },
            view_bytes_max: if rng.u32(0..4) > 0 { rng.usize(100..2_000) } else { defaults.view_bytes_max },
            chunk_bytes_max: if rng.u32(0..4) > 0 { rng.usize(200..4_000) } else { defaults.chunk_bytes_max },
        };
        let patience = match rng.u32(0..32) {
            0 => Patience::default(),
            _ => Patience { pause_min_us: 200_000, pause_max_us: rng.u64(400_000..1_500_000), ..Patience::default() },
        };
        Workload {
            clerk_count: rng.usize(1..=8),
            calls_per_s: rng.u64(18..=24),
            weights,
            hot_keys: rng.u64(1..=6),
            short_lived,
            // Long values fill segments, of which a full disk gives no other.
            padding_len: match rng.u32(0..8) {
                0 => rng.usize(600..4_000),
                1..4 => rng.usize(0..600),
                _ => 0,
            },
            bursts,
            bounds,
            patience,
            delay_us_max: rng.u64(200..20_000),
            stall,
            refusal,
            fault_every_us: (rng.u32(0..4) > 0).then(|| rng.u64(200_000..2_000_000)),
        }
    }

    /// Nothing happens to clerks, and nothing else is out of the ordinary.
    pub fn calm(self) -> Workload {
        let (clerk_count, bounds) = (self.clerk_count.min(4), Bounds::default());
        Workload { clerk_count, bounds, padding_len: 0, bursts: 0.0, stall: 0.0, refusal: 0.0, fault_every_us: None, ..self }
    }
}

/// Draws one call after the other, and remembers what their answers said, for those that expect something.
#[derive(Default)]
pub(crate) struct Asks {
    count: u64,
    short_lived_count: u64,
    seen: BTreeMap<Vec<u8>, (Vec<u8>, u64)>,
}

/// A value is not made longer than this; a longer one is replaced.
const VALUE_LEN_ENOUGH: usize = 8 << 10;

impl Asks {
    /// Somebody saw this under the key, or nothing.
    pub(crate) fn saw(&mut self, key: &[u8], value: Option<(&[u8], u64)>) {
        match value {
            Some((value, version)) => self.seen.insert(key.to_vec(), (value.to_vec(), version)),
            None => self.seen.remove(key),
        };
    }

    /// The next call.
    pub(crate) fn next(&mut self, workload: &Workload, rng: &mut Rng) -> Ask {
        self.count += 1;
        let key = self.key(workload, rng);
        let Weights { get, put, append, delete, cas, scan, get_stale, scan_stale } = workload.weights;
        let mut drawn = rng.u32(0..get + put + append + delete + cas + scan + get_stale + scan_stale);
        let mut is = |weight: u32| {
            let is_this = drawn < weight;
            drawn = drawn.wrapping_sub(weight);
            is_this
        };
        if is(get) {
            Ask::Get { key }
        } else if is(put) {
            Ask::Put { key, value: self.value(workload, rng) }
        } else if is(append) {
            let is_long = self.seen.get(&key).is_some_and(|(value, _)| value.len() > VALUE_LEN_ENOUGH);
            let value = self.value(workload, rng);
            if is_long { Ask::Put { key, value } } else { Ask::Append { key, value } }
        } else if is(delete) {
            Ask::Delete { key }
        } else if is(cas) {
            let expect = match (self.seen.get(&key), rng.u32(0..8)) {
                (None, _) | (_, 0) => Expectation::Absent,
                (Some((value, _)), 1..4) => Expectation::Value(value.clone()),
                (Some((_, version)), _) => Expectation::Version(*version),
            };
            Ask::Cas { key, expect, value: self.value(workload, rng) }
        } else if is(scan) {
            Ask::Scan(range(rng))
        } else if is(get_stale) {
            Ask::GetStale { key }
        } else {
            Ask::Scan(Range { stale: true, ..range(rng) })
        }
    }

    /// The next call that writes.
    pub(crate) fn next_write(&mut self, workload: &Workload, rng: &mut Rng) -> Ask {
        loop {
            let ask = self.next(workload, rng);
            if ask.is_write() {
                return ask;
            }
        }
    }

    fn key(&mut self, workload: &Workload, rng: &mut Rng) -> Vec<u8> {
        if rng.f64() >= workload.short_lived {
            return format!("h{}", rng.u64(0..workload.hot_keys)).into_bytes();
        }
        self.short_lived_count += 1;
        format!("s{:04}", (self.short_lived_count / 4).saturating_sub(rng.u64(0..2))).into_bytes()
    }

    /// No two are equal.
    fn value(&self, workload: &Workload, rng: &mut Rng) -> Vec<u8> {
        let padding_len = if rng.u32(0..100) == 0 { 4 << 10 } else { rng.usize(0..=workload.padding_len) };
        format!("{}{};", self.count, ".".repeat(padding_len)).into_bytes()
    }
}

fn range(rng: &mut Rng) -> Range {
    let whole = match rng.u32(0..4) {
        0 => Range::default(),
        1 => Range::prefix("h"),
        2 => Range::prefix("s0"),
        _ => Range { from: b"h1".to_vec(), to: Some(b"s0008".to_vec()), ..Range::default() },
    };
    let limit = if rng.u32(0..4) == 0 { Some(rng.u64(0..12)) } else { None };
    Range { limit, keys_only: rng.u32(0..8) == 0, ..whole }
}
