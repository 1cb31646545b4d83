//! The end of a run: nothing is under way any more, and what is there must be what was acknowledged.

use std::collections::BTreeSet;

use checker::{Limits, Verdict};
use kvcli::{Answer, Ask, ClerkError, Range};
use raft::{Index, Term};

use crate::failure::{FailureKind, broken, must};
use crate::history::history;
use crate::hosts::Host;
use crate::world::World;

/// A scan of everything takes so long at most.
const LAST_READ_US: u64 = 10_000_000;

impl World {
    pub(crate) fn has_converged(&self) -> bool {
        let everywhere = |host: &Host| {
            let applied = host.process.as_ref().map(|(node, _)| node.digest().0.index);
            applied == Some(self.checker.applied_index())
        };
        self.clerks.are_idle() && self.members().all(everywhere)
    }

    /// All but those that were turned away: they have lost what they had promised.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Host> {
        self.hosts.iter().filter(|host| !host.refused)
    }

    pub(crate) fn describe(&self) -> String {
        let node = |host: &Host| match &host.process {
            Some((node, _)) => {
                format!("{} leader {:?}, applied {}, {:?}\n", node.raft(), node.leader(), node.digest().0, node.status().formed)
            }
            None => format!("{} is down\n", host.identity.name),
        };
        self.hosts.iter().map(node).chain([self.clerks.describe()]).collect()
    }

    pub(crate) fn judge(&mut self) {
        self.read_everything();
        self.report.simulated_us = self.now_us;
        self.report.reached = std::mem::take(&mut self.checker.reached);
        let digests: BTreeSet<(Index, Term, u64)> = self
            .members()
            .filter_map(|host| host.process.as_ref())
            .map(|(node, _)| node.digest())
            .map(|(at, digest)| (at.index, at.term, digest))
            .collect();
        for host in self.hosts.iter().filter(|host| host.refused) {
            let applied = host.process.as_ref().map(|(node, _)| node.digest().0.index);
            let name = &host.identity.name;
            must!(applied <= Some(Index(1)), "a node that was turned away applies nothing", "{name} has applied {applied:?}");
        }
        must!(digests.len() == 1, "replicas end in one state", "the states differ: {digests:?}");
        self.compare_states();
        self.judge_outcomes();
        self.judge_history();
    }

    /// A scan of all keys at every node that is up.
    fn read_everything(&mut self) {
        let up = |(_, host): &(usize, &Host)| host.process.is_some() && !host.refused;
        let nodes: Vec<usize> = self.hosts.iter().enumerate().filter(up).map(|(node, _)| node).collect();
        for node in nodes {
            let clerk = self.add_clerk(Some(node));
            self.submit(clerk, Ask::Scan(Range::default()), LAST_READ_US);
        }
        let first = self.clerks.calls.len() - self.members().filter(|host| host.process.is_some()).count();
        self.until(self.now_us + LAST_READ_US + 1, |world| world.clerks.are_idle());
        for call in &self.clerks.calls[first..] {
            if !matches!(call.outcome, Some(Ok(Answer::Page(_)))) {
                broken(FailureKind::Liveness, "a cluster without faults serves", format!("a last scan ended in {:?}", call.outcome));
            }
        }
    }

    /// What every member holds is what was applied.
    fn compare_states(&self) {
        let ledger = &self.clerks.ledger;
        for host in self.members() {
            let Some((node, _)) = &host.process else { continue };
            let (count, sessions_max) = (node.session_count(), self.plan.workload.bounds.sessions_max);
            must!(
                count <= sessions_max as u64,
                "sessions are bounded",
                "{} has {count}, and the limit is {sessions_max}",
                host.identity.name
            );
            for key in ledger.keys() {
                let (held, known) = (node.peek(key), ledger.value(key));
                let name = &host.identity.name;
                must!(held.as_ref() == known, "replicas hold what was applied", "{name} has {held:?} under {key:?} instead of {known:?}");
            }
        }
    }

    /// "Not done" means that it never happened, and nothing happens twice, whatever it was sent under.
    fn judge_outcomes(&self) {
        for call in &self.clerks.calls {
            let effects: Vec<Index> = call.identities.iter().filter_map(|identity| self.clerks.ledger.effect(identity)).collect();
            must!(effects.len() <= 1, "a call takes effect once", "{:?} as {:?} did at {effects:?}", call.ask, call.identities);
            if let Some(Err(ClerkError::NotDone { endpoints })) = &call.outcome {
                must!(effects.is_empty(), "not done means not done", "{:?} took effect at {effects:?}: {endpoints:?}", call.ask);
            }
        }
    }

    fn judge_history(&mut self) {
        let history = history(&self.clerks.calls, &self.clerks.ledger);
        match checker::check(&history, &Limits { steps_max: 100_000, states_max: 100_000 }) {
            Verdict::Linearizable => {}
            Verdict::Violation(violation) => must!(false, "linearizable", "{violation}"),
            Verdict::Unknown(why) => broken(FailureKind::Unjudged, "linearizable", why.to_string()),
        }
    }
}
