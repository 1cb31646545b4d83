//! What a range of seeds has to show for itself. A range in which something never happened has shown nothing about it.

use std::fmt;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use sim::{Reached, Report};

/// So many seeds must take every rare path.
const SEEDS_FOR_RARE_PATHS: u64 = 1_000;

/// The sums of many reports.
#[derive(Default)]
pub(crate) struct Totals {
    pub(crate) seeds: u64,
    operations: u64,
    crashes: u64,
    lost_writes: u64,
    leader_changes: u64,
    installs: u64,
    committed: u64,
    simulated_us: u64,
    reached: Reached,
    faults: Vec<(&'static str, u64)>,
}

impl Totals {
    pub(crate) fn add(&mut self, report: &Report) {
        self.seeds += 1;
        self.operations += report.calls;
        self.crashes += report.kills;
        self.lost_writes += report.lost_writes;
        self.leader_changes += report.leader_changes.saturating_sub(1);
        self.installs += report.installs;
        self.committed += report.acknowledged;
        self.simulated_us += report.simulated_us;
        self.reached.add(&report.reached);
        for (number, (kind, count)) in faults(report).into_iter().enumerate() {
            match self.faults.get_mut(number) {
                Some((_, sum)) => *sum += count,
                None => self.faults.push((kind, count)),
            }
        }
    }

    /// What never happened, of what must.
    pub(crate) fn missing(&self) -> Vec<&'static str> {
        let counts = self.counts().into_iter().filter(|(_, count)| *count == 0).map(|(name, _)| name);
        let is_long = self.seeds >= SEEDS_FOR_RARE_PATHS;
        counts.chain(self.reached.missing().filter(|_| is_long)).collect()
    }

    fn counts(&self) -> [(&'static str, u64); 5] {
        [
            ("operations", self.operations),
            ("crashes", self.crashes),
            ("lost writes", self.lost_writes),
            ("leader changes", self.leader_changes),
            ("installs", self.installs),
        ]
    }

    /// How it went, against the clocks.
    pub(crate) fn speed(&self, spent: &Spent) -> String {
        let simulated = self.simulated_us as f64 / 1e6;
        let (wall, cpu) = (spent.wall.as_secs_f64(), spent.cpu.as_secs_f64());
        format!(
            "simulated {simulated:.0} s in {wall:.1} s: {:.0} x, per core {:.0} x; {:.0} committed operations per core-second",
            simulated / wall.max(1e-6),
            simulated / cpu.max(1e-6),
            self.committed as f64 / cpu.max(1e-6),
        )
    }

    /// By kind.
    pub(crate) fn faults(&self) -> String {
        let counts: Vec<String> = self.faults.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
        format!("faults: {}", counts.join(", "))
    }
}

/// `operations 12345, crashes 67, ...`
impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts: Vec<String> = self.counts().iter().map(|(name, count)| format!("{name} {count}")).collect();
        f.write_str(&counts.join(", "))
    }
}

fn faults(report: &Report) -> Vec<(&'static str, u64)> {
    vec![
        ("kills", report.kills),
        ("cuts", report.cuts),
        ("pauses", report.pauses),
        ("wipes", report.early_wipes + report.late_wipes),
        ("full disks", report.full_disks),
        ("slow syncs", report.slow_syncs),
        ("broken connections", report.breaks),
        ("lost clerks", report.clerks_lost),
        ("cut off clerks", report.clerk_cuts),
    ]
}

/// Time on the wall and on all cores since the beginning.
pub(crate) struct Spent {
    pub(crate) wall: Duration,
    pub(crate) cpu: Duration,
}

/// When that was.
pub(crate) struct Began {
    wall: Instant,
    cpu: Duration,
}

impl Began {
    pub(crate) fn now() -> Began {
        Began { wall: Instant::now(), cpu: cpu_time() }
    }

    pub(crate) fn spent(&self) -> Spent {
        Spent { wall: self.wall.elapsed(), cpu: cpu_time().saturating_sub(self.cpu) }
    }
}

/// Of this process, in user space and in the kernel.
fn cpu_time() -> Duration {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) else { return Duration::ZERO };
    let us = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Duration::from_micros(us.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_asked_for_what_it_can_show() {
        let mut totals = Totals::default();
        assert_eq!(totals.missing(), ["operations", "crashes", "lost writes", "leader changes", "installs"]);
        // The first leader of all changes nothing.
        let report = Report { calls: 1, kills: 1, lost_writes: 1, leader_changes: 2, ..Report::default() };
        (1..SEEDS_FOR_RARE_PATHS).for_each(|_| totals.add(&report));
        assert_eq!(totals.missing(), ["installs"]);
        totals.add(&Report { installs: 1, ..report });
        assert_eq!(totals.missing(), sim::RARE_PATHS, "a thousand seeds must take them all");
    }
}
