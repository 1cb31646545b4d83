//! One plan to its end, a slice of virtual time after the other: between two slices the caller may look, print, or lose interest.

use crate::failure::{self, Broken, Failure, FailureKind};
use crate::plan::Plan;
use crate::recovery::bound_us;
use crate::report::Report;
use crate::trace::Keep;
use crate::view::NodeView;
use crate::world::World;

/// A run under way. In how many slices it runs changes nothing in it.
pub struct Run {
    world: World,
    phase: Phase,
}

#[derive(Clone, Copy)]
enum Phase {
    /// Faults happen.
    Faults,
    /// They are over for a majority; by then it must serve.
    Core { deadline_us: u64 },
    /// All is healed; by then the cluster must have converged.
    Recovery { deadline_us: u64 },
}

/// How many events a failure tells of.
const LAST_EVENTS: usize = 200;

/// Runs one plan to its end. If it fails it runs once more, to tell what happened before.
pub fn run(plan: &Plan) -> Result<Report, Failure> {
    Run::new(plan).finish().map_err(|failure| explain(plan, failure))
}

/// The same failure with what happened before, from another run of the plan. If that does not fail in the same way, this is the failure.
pub fn explain(plan: &Plan, failure: Failure) -> Failure {
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
    let report = run(plan)?;
    repeat(plan, &report)?;
    Ok(report)
}

/// Runs a plan that had this report once more; it must have it again.
pub fn repeat(plan: &Plan, report: &Report) -> Result<(), Failure> {
    let then = match Run::new(plan).finish() {
        Ok(again) if again == *report => return Ok(()),
        Ok(again) => format!("{again:?}"),
        Err(failure) => failure.to_string(),
    };
    let (rule, detail) = (SAME_SEED_SAME_RUN.into(), format!("first: {report:?}\nthen: {then}"));
    Err(Failure { seed: plan.seed, kind: FailureKind::Safety, rule, detail, at_us: report.simulated_us, last_events: Vec::new() })
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
        let advanced = failure::catch(|| {
            loop {
                let report = self.on(until_us);
                if report.is_some() || self.world.now_us >= until_us {
                    return report;
                }
            }
        });
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

    /// The nodes as they are; `None`: down.
    pub fn nodes(&self) -> Vec<Option<NodeView>> {
        self.world.hosts.iter().map(|host| host.process.as_ref().map(|(node, _)| NodeView::of(node))).collect()
    }

    /// The data directory of a node: every file's path in it, and the bytes that a running system would read.
    pub fn files(&self, node: usize) -> Vec<(String, Vec<u8>)> {
        let disk = &self.world.hosts[node].disk;
        disk.files().into_iter().filter_map(|path| disk.content(&path).map(|content| (path, content))).collect()
    }

    /// What has happened so far.
    pub fn report(&self) -> Report {
        let lost_writes = self.world.hosts.iter().map(|host| host.disk.lost_sectors()).sum();
        Report { lost_writes, trace_digest: self.world.trace.digest, ..self.world.report.clone() }
    }

    /// Virtual time, microseconds.
    pub fn now_us(&self) -> u64 {
        self.world.now_us
    }

    /// On within one phase.
    fn on(&mut self, until_us: u64) -> Option<Report> {
        match self.phase {
            Phase::Faults => {
                let end_us = self.world.plan.faulty_us;
                self.world.until(end_us.min(until_us), |_| false);
                if self.world.now_us == end_us {
                    self.world.calm_core();
                    self.phase = Phase::Core { deadline_us: end_us + bound_us(&self.world.plan.ticks) };
                }
                None
            }
            Phase::Core { deadline_us } => {
                if self.world.last_write.is_none() && self.world.until(deadline_us.min(until_us), World::core_agrees) {
                    self.world.begin_last_write();
                }
                let is_done = |world: &World| world.last_write_is_done() && world.core_agrees();
                if self.world.last_write.is_some() && self.world.until(deadline_us.min(until_us), is_done) {
                    self.world.report.core_us = self.world.now_us - self.world.plan.faulty_us;
                    self.world.calm_all();
                    self.phase = Phase::Recovery { deadline_us: self.world.now_us + bound_us(&self.world.plan.ticks) };
                } else if self.world.now_us == deadline_us {
                    failure::broken(FailureKind::Liveness, "a majority without faults serves", self.world.no_excuse());
                }
                None
            }
            Phase::Recovery { deadline_us } => {
                if self.world.until(deadline_us.min(until_us), World::has_converged) {
                    self.world.judge();
                    return Some(self.report());
                }
                if self.world.now_us == deadline_us {
                    failure::broken(FailureKind::Liveness, "a cluster without faults converges", self.world.no_excuse());
                }
                None
            }
        }
    }
}
