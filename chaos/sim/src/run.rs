//! One plan to its end, a slice of virtual time after the other: between two slices the caller may look, print, or lose interest.

use crate::failure::{self, Broken, Failure, FailureKind};
use crate::plan::Plan;
use crate::report::Report;
use crate::trace::Keep;
use crate::world::{CONVERGE_US, World};

/// A run under way. In how many slices it runs changes nothing in it.
pub struct Run {
    world: World,
    phase: Phase,
}

#[derive(Clone, Copy)]
enum Phase {
    /// Faults happen.
    Faults,
    /// All is healed; by then the cluster must have converged.
    Recovery { deadline_us: u64 },
}

/// How many events a failure tells of.
const LAST_EVENTS: usize = 200;

/// Runs one plan to its end. If it fails it runs once more, to tell what happened before.
pub fn run(plan: &Plan) -> Result<Report, Failure> {
    Run::new(plan).finish().map_err(|failure| with_last_events(plan, failure))
}

/// A run that differs from itself cannot be explained by its repetition: then that is the failure.
fn with_last_events(plan: &Plan, failure: Failure) -> Failure {
    let mut again = Run::new(plan);
    again.keep_events(Keep::Last(LAST_EVENTS));
    match again.finish() {
        Err(repeated) if Failure { last_events: Vec::new(), ..repeated.clone() } == failure => repeated,
        other => {
            let then = other.map_or_else(|other| other.to_string(), |_| "nothing".into());
            let detail = format!("first: {failure}\nthen: {then}");
            Failure { kind: FailureKind::Safety, rule: SAME_SEED_SAME_RUN.into(), detail, ..failure }
        }
    }
}

/// Runs one plan twice: the report, if both runs are the same one.
pub fn run_twice(plan: &Plan) -> Result<Report, Failure> {
    let one = run(plan)?;
    let then = match Run::new(plan).finish() {
        Ok(two) if one == two => return Ok(one),
        Ok(two) => format!("{two:?}"),
        Err(failure) => failure.to_string(),
    };
    let (rule, detail) = (SAME_SEED_SAME_RUN.into(), format!("first: {one:?}\nthen: {then}"));
    Err(Failure { seed: plan.seed, kind: FailureKind::Safety, rule, detail, at_us: one.simulated_us, last_events: Vec::new() })
}

const SAME_SEED_SAME_RUN: &str = "the same seed gives the same run";

impl Run {
    /// Virtual time is 0, nothing has happened.
    pub fn new(plan: &Plan) -> Run {
        Run { world: World::new(plan.clone()), phase: Phase::Faults }
    }

    /// To the end.
    pub fn finish(mut self) -> Result<Report, Failure> {
        loop {
            if let Some(report) = self.advance(u64::MAX)? {
                return Ok(report);
            }
        }
    }

    /// On for so long at most, microseconds of virtual time; the report if that was the end.
    pub fn advance(&mut self, for_us: u64) -> Result<Option<Report>, Failure> {
        let until_us = self.world.now_us.saturating_add(for_us);
        let advanced = failure::catch(|| self.on(until_us));
        advanced.map_err(|Broken { kind, rule, detail }| {
            let (seed, at_us) = (self.world.plan.seed, self.world.now_us);
            Failure { seed, kind, rule, detail, at_us, last_events: self.take_events() }
        })
    }

    /// From now on events are kept, until they are taken. They are none of the run's business.
    pub fn keep_events(&mut self, keep: Keep) {
        self.world.trace.keep(keep);
    }

    /// Those since they were last taken, the newest last.
    pub fn take_events(&mut self) -> Vec<String> {
        self.world.trace.take()
    }

    /// Virtual time, microseconds.
    pub fn now_us(&self) -> u64 {
        self.world.now_us
    }

    fn on(&mut self, until_us: u64) -> Option<Report> {
        match self.phase {
            Phase::Faults => {
                let end_us = self.world.plan.faulty_us;
                self.world.until(end_us.min(until_us), |_| false);
                if self.world.now_us == end_us {
                    self.world.heal_all();
                    self.phase = Phase::Recovery { deadline_us: end_us + CONVERGE_US };
                }
                None
            }
            Phase::Recovery { deadline_us } => {
                if self.world.until(deadline_us.min(until_us), World::has_converged) {
                    self.world.judge();
                    self.world.report.trace_digest = self.world.trace.digest;
                    return Some(self.world.report.clone());
                }
                if self.world.now_us == deadline_us {
                    let detail = format!("not within {CONVERGE_US} us after the last fault:\n{}", self.world.describe());
                    failure::broken(FailureKind::Liveness, "the cluster converges", detail);
                }
                None
            }
        }
    }
}
