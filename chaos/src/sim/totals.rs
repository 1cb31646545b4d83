//! What a range of seeds has to show for itself. A range in which something never happened has shown nothing about it.

use std::fmt;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use sim::{Effect, Effects, FaultKind, Profile, Reached, Report};

/// So many seeds of the default profile must take every rare path.
const SEEDS_FOR_RARE_PATHS: u64 = 1_000;

/// What counts as a fault of its own, and not as one of its consequences.
const FAULTS: [Effect; 10] = [
    Effect::Killed,
    Effect::PowerLost,
    Effect::Paused,
    Effect::Cut,
    Effect::Reset,
    Effect::Weather,
    Effect::SlowSync,
    Effect::SyncError,
    Effect::WriteError,
    Effect::FullDisk,
];

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
    /// Of seeds that ran a second time, which nothing else counts.
    repeated_us: u64,
    /// The longest that a majority took to serve, from the end of its faults.
    core_us_max: u64,
    clerk_faults: u64,
    /// Keys whose answers were judged without their positions, and those that were too hot for that.
    keys_alone: u64,
    keys_given_up: u64,
    effects: Effects,
    reached: Reached,
}

impl Totals {
    pub(crate) fn add(&mut self, report: &Report) {
        self.seeds += 1;
        self.operations += report.calls;
        self.crashes += report.effects[Effect::Killed] + report.effects[Effect::PowerLost];
        self.lost_writes += report.effects[Effect::LostSector];
        self.leader_changes += report.leader_changes.saturating_sub(1);
        self.installs += report.installs;
        self.committed += report.acknowledged;
        self.simulated_us += report.simulated_us;
        self.core_us_max = self.core_us_max.max(report.core_us);
        self.clerk_faults += report.clerks_lost + report.clerk_cuts;
        self.keys_alone += report.keys_alone;
        self.keys_given_up += report.keys_given_up;
        self.effects += &report.effects;
        self.reached.add(&report.reached);
    }

    /// It ran a second time.
    pub(crate) fn repeated(&mut self, report: &Report) {
        self.repeated_us += report.simulated_us;
    }

    /// What never happened, of what must in runs of this profile.
    pub(crate) fn missing(&self, profile: Profile) -> Vec<&'static str> {
        let has = |kind: FaultKind| profile.has(kind);
        let has_any = profile != Profile::Calm;
        let must = [true, has(FaultKind::Kills) || has(FaultKind::PowerCuts), has(FaultKind::PowerCuts), has_any, has_any];
        let counts = self.counts().into_iter().zip(must).filter(|((_, count), must)| *must && *count == 0).map(|((name, _), _)| name);
        let is_long = profile == Profile::Default && self.seeds >= SEEDS_FOR_RARE_PATHS;
        // Four keys of five must be told. A search that gives up says nothing.
        let alone = (self.keys_alone <= 4 * self.keys_given_up).then_some("enough keys judged without positions");
        counts.chain(alone.into_iter().chain(self.reached.missing()).filter(|_| is_long)).collect()
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
        let simulated = (self.simulated_us + self.repeated_us) as f64 / 1e6;
        let (wall, cpu) = (spent.wall.as_secs_f64(), spent.cpu.as_secs_f64());
        format!(
            "simulated {simulated:.0} s in {wall:.1} s: {:.0} x, per core {:.0} x; {:.0} committed operations per core-second",
            simulated / wall.max(1e-6),
            simulated / cpu.max(1e-6),
            self.committed as f64 / cpu.max(1e-6),
        )
    }

    /// How much happened in a second, and how long anybody waited at the end.
    pub(crate) fn rates(&self) -> String {
        let seconds = (self.simulated_us as f64 / 1e6).max(1e-6);
        let faults: u64 = FAULTS.iter().map(|effect| self.effects[*effect]).sum();
        format!(
            "{:.1} operations and {:.1} faults per simulated second; a majority served {:.1} s after the end of its faults at the latest",
            self.operations as f64 / seconds,
            faults as f64 / seconds,
            self.core_us_max as f64 / 1e6
        )
    }

    /// How much was judged twice: with the positions of writes every key of every seed is.
    pub(crate) fn alone(&self) -> String {
        format!("without positions, too: {} keys judged, {} too hot to tell", self.keys_alone, self.keys_given_up)
    }

    /// By kind.
    pub(crate) fn faults(&self) -> String {
        let effects = self.effects.iter().map(|(effect, count)| format!("{} {count}", effect.name()));
        let counts: Vec<String> = effects.chain([format!("clerks lost or cut off {}", self.clerk_faults)]).collect();
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
        assert_eq!(totals.missing(Profile::Default), ["operations", "crashes", "lost writes", "leader changes", "installs"]);
        assert_eq!(totals.missing(Profile::Network), ["operations", "leader changes", "installs"]);
        assert_eq!(totals.missing(Profile::Calm), ["operations"]);
        // The first leader of all changes nothing.
        let mut report = Report { calls: 1, leader_changes: 2, keys_alone: 5, keys_given_up: 1, ..Report::default() };
        (report.effects[Effect::Killed], report.effects[Effect::LostSector]) = (1, 1);
        (1..SEEDS_FOR_RARE_PATHS).for_each(|_| totals.add(&report));
        assert_eq!(totals.missing(Profile::Default), ["installs"]);
        totals.add(&Report { installs: 1, ..report });
        assert_eq!(totals.missing(Profile::Default), sim::RARE_PATHS, "a thousand seeds must take them all");
        assert!(totals.missing(Profile::Network).is_empty(), "some of them need what it never has");
        totals.add(&Report { keys_given_up: 300, ..Report::default() });
        assert_eq!(totals.missing(Profile::Default)[0], "enough keys judged without positions");
    }
}
