//! The figures of a bench.

use std::time::Duration;

use hdrhistogram::Histogram;
use nix::sys::resource::{UsageWho, getrusage};
use serde::Serialize;

/// Longest latency told apart from longer ones: no call may take a fraction of it.
const LATENCY_MAX_US: u64 = 3_600_000_000;

/// What a bench found. As JSON, its fields in this order.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Report {
    /// Calls that succeeded, per second.
    pub ops_per_s: u64,
    /// Half of them took no longer.
    pub p50_us: u64,
    /// 90 % took no longer.
    pub p90_us: u64,
    /// 99 % took no longer.
    pub p99_us: u64,
    /// 99.9 % took no longer.
    pub p999_us: u64,
    /// The slowest.
    pub max_us: u64,
    /// The longest time without a successful write (without a successful read, if only those were made), rounded up.
    pub longest_gap_ms: u64,
    /// Calls that did not succeed, and reads that found nothing; also before and after the measured time.
    pub errors: u64,
    /// The first of them.
    #[serde(skip)]
    pub first_error: Option<String>,
    /// What the bench itself used of one core, percent.
    #[serde(skip)]
    pub cpu_percent: u64,
}

pub(super) struct Meter {
    latencies_us: Histogram<u64>,
    began: Option<Began>,
    longest_gap_us: u64,
    last_us: u64,
    cpu: Duration,
    errors: u64,
    first_error: Option<String>,
}

struct Began {
    cpu: Duration,
}

impl Meter {
    pub(super) fn new() -> Meter {
        let latencies_us = Histogram::new_with_bounds(1, LATENCY_MAX_US, 3).expect("bounds that make sense");
        Meter { latencies_us, began: None, longest_gap_us: 0, last_us: 0, cpu: Duration::ZERO, errors: 0, first_error: None }
    }

    /// The measured time has begun; more than one may say so.
    pub(super) fn begin(&mut self, from_us: u64) {
        if self.began.is_none() {
            self.began = Some(Began { cpu: cpu_used() });
            self.last_us = from_us;
        }
    }

    /// A call succeeded in the measured time.
    pub(super) fn done(&mut self, now_us: u64, latency_us: u64, ends_gap: bool) {
        self.latencies_us.saturating_record(latency_us.max(1));
        if ends_gap {
            self.gap_until(now_us);
        }
    }

    /// A call did not succeed.
    pub(super) fn missed(&mut self, why: &str) {
        self.errors += 1;
        self.first_error.get_or_insert_with(|| why.into());
    }

    /// The measured time is over.
    pub(super) fn end(&mut self, until_us: u64) {
        self.gap_until(until_us);
        self.cpu = cpu_used().saturating_sub(self.began.as_ref().map_or(Duration::ZERO, |began| began.cpu));
    }

    pub(super) fn report(self, measured_us: u64) -> Report {
        let at = |quantile| self.latencies_us.value_at_quantile(quantile);
        Report {
            ops_per_s: (self.latencies_us.len() * 1_000_000 + measured_us / 2) / measured_us,
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: self.latencies_us.max(),
            longest_gap_ms: self.longest_gap_us.div_ceil(1000),
            errors: self.errors,
            first_error: self.first_error,
            cpu_percent: u64::try_from(self.cpu.as_micros()).unwrap_or(u64::MAX).saturating_mul(100) / measured_us,
        }
    }

    fn gap_until(&mut self, now_us: u64) {
        self.longest_gap_us = self.longest_gap_us.max(now_us.saturating_sub(self.last_us));
        self.last_us = now_us;
    }
}

/// By this process so far.
fn cpu_used() -> Duration {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) else { return Duration::ZERO };
    let micros =
        |time: nix::sys::time::TimeVal| u64::try_from(time.tv_sec()).unwrap_or(0) * 1_000_000 + u64::try_from(time.tv_usec()).unwrap_or(0);
    Duration::from_micros(micros(usage.user_time()) + micros(usage.system_time()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_reach_from_the_first_moment_to_the_last() {
        let longest = |times_us: &[u64]| {
            let mut meter = Meter::new();
            meter.begin(1_000_000);
            times_us.iter().for_each(|now_us| meter.done(*now_us, 10, true));
            meter.end(2_000_000);
            meter.report(1_000_000).longest_gap_ms
        };
        assert_eq!(longest(&[]), 1000);
        assert_eq!(longest(&[1_600_000]), 600);
        assert_eq!(longest(&[1_300_000, 1_300_001]), 700);
        assert_eq!(longest(&[1_300_000, 1_650_001, 1_900_000]), 351, "rounded up");
    }

    #[test]
    fn reads_end_no_gap_between_writes_and_count_as_calls() {
        let mut meter = Meter::new();
        meter.begin(0);
        meter.done(100_000, 10, true);
        meter.done(500_000, 20, false);
        meter.end(1_000_000);
        let report = meter.report(1_000_000);
        assert_eq!((report.ops_per_s, report.longest_gap_ms, report.max_us), (2, 900, 20));
    }

    #[test]
    fn json_has_these_fields_in_this_order() {
        let mut meter = Meter::new();
        meter.begin(0);
        (1..=1000).for_each(|us| meter.done(us * 1000, us, true));
        meter.missed("first");
        meter.missed("second");
        meter.end(1_000_000);
        let report = meter.report(1_000_000);
        let json = "{\"ops_per_s\":1000,\"p50_us\":500,\"p90_us\":900,\"p99_us\":990,\"p999_us\":999,\"max_us\":1000,\
            \"longest_gap_ms\":1,\"errors\":2}";
        assert_eq!(serde_json::to_string(&report).unwrap(), json);
        assert_eq!(report.first_error.as_deref(), Some("first"));
    }
}
