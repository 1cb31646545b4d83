//! One plan to its end, a slice of virtual time after the other: between two slices the caller may look, print, or lose interest.

use crate::failure::{self, Broken, Failure, FailureKind};
use crate::plan::Plan;
use crate::report::Report;
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

/// Runs one plan to its end.
pub fn run(plan: &Plan) -> Result<Report, Failure> {
    Run::new(plan).finish()
}

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
        advanced.map_err(|Broken { kind, rule, detail }| Failure {
            seed: self.world.plan.seed,
            kind,
            rule,
            detail,
            at_us: self.world.now_us,
        })
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
