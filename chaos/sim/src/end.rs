//! The end of a run: nothing is under way any more, and what is there must be what was acknowledged.

use std::collections::BTreeSet;

use checker::{History, Limits, Verdict};
use kvcli::{Ask, ClerkError, Range};
use raft::{Index, Term};

use crate::failure::{FailureKind, broken, must};
use crate::history::history;
use crate::hosts::Host;
use crate::world::World;

/// A write, and a scan of everything, take so long at most.
const LAST_CALLS_US: u64 = 10_000_000;

/// The answers of one seed in so many are judged without their positions, too.
const ANSWERS_ALONE_EVERY: u64 = 16;

/// How far such a search goes: some milliseconds for a key.
const ANSWERS_ALONE: Limits = Limits { steps_max: 20_000, states_max: 20_000 };

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
        self.last_calls();
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

    /// A write that is not done is tried again: a leader whose disk was full a moment ago may not have noticed yet that it has room.
    fn last_write(&mut self) {
        let deadline_us = self.now_us + LAST_CALLS_US;
        let clerk = self.add_clerk(None);
        loop {
            let timeout_us = deadline_us - self.now_us;
            let place = self.submit(clerk, Ask::Put { key: b"last".to_vec(), value: b"served".to_vec() }, timeout_us);
            self.until(deadline_us + 1, |world| world.clerks.are_idle());
            let call = &self.clerks.calls[place];
            let is_not_done = matches!(call.outcome, Some(Err(ClerkError::NotDone { .. })));
            if matches!(call.outcome, Some(Ok(_))) {
                return;
            }
            if !is_not_done || self.now_us >= deadline_us {
                broken(FailureKind::Liveness, "a cluster without faults serves", format!("{call} ended in {:?}", call.outcome));
            }
            self.until(deadline_us.min(self.now_us + 100_000), |_| false);
        }
    }

    /// One more write, and a scan of all keys at every node that is up.
    fn last_calls(&mut self) {
        let up = |(_, host): &(usize, &Host)| host.process.is_some() && !host.refused;
        let nodes: Vec<usize> = self.hosts.iter().enumerate().filter(up).map(|(node, _)| node).collect();
        self.last_write();
        let first = self.clerks.calls.len();
        for node in nodes {
            let clerk = self.add_clerk(Some(node));
            self.submit(clerk, Ask::Scan(Range::default()), LAST_CALLS_US);
        }
        self.until(self.now_us + LAST_CALLS_US + 1, World::has_converged);
        for call in &self.clerks.calls[first..] {
            if !matches!(call.outcome, Some(Ok(_))) {
                broken(FailureKind::Liveness, "a cluster without faults serves", format!("{call} ended in {:?}", call.outcome));
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
            must!(effects.len() <= 1, "a call takes effect once", "{call}, as {:?}, did at {effects:?}", call.identities);
            if let Some(Err(ClerkError::NotDone { endpoints })) = &call.outcome {
                must!(effects.is_empty(), "not done means not done", "{call} took effect at {effects:?}: {endpoints:?}");
            }
            if let (Some(fence), Some(fenced_at)) = (call.fence, call.fenced_at) {
                let late = self.clerks.ledger.effects_before(fence).find(|(_, at)| fenced_at < **at);
                must!(late.is_none(), "nothing of a load comes behind its fence", "{fence:?} stood at {fenced_at}, and then {late:?}");
            }
        }
    }

    /// Answers and positions together are an order that need only be looked through. In some runs the answers must do alone, as far as that
    /// can be told within a moment.
    fn judge_history(&mut self) {
        let clerks = &self.clerks;
        let verdict = checker::check(&history(&clerks.calls, Some(&clerks.ledger)), &Limits::default());
        if let Verdict::Unknown(why) = verdict {
            broken(FailureKind::Unjudged, "linearizable", why.to_string());
        }
        hold(&verdict);
        if self.plan.seed.is_multiple_of(ANSWERS_ALONE_EVERY) {
            // Key by key, which is as good (Herlihy and Wing 1990, locality): one that is too hot to judge hides no other.
            let answers = history(&clerks.calls, None).without_positions();
            for key in clerks.ledger.keys() {
                let mut of_key = History::new();
                for op in answers.ops().iter().filter(|op| op.call.key() == Some(key)) {
                    of_key.push(op.clone()).expect("it was one already");
                }
                let verdict = checker::check(&of_key, &ANSWERS_ALONE);
                hold(&verdict);
                *(if verdict == Verdict::Linearizable { &mut self.report.keys_alone } else { &mut self.report.keys_given_up }) += 1;
            }
        }
    }
}

fn hold(verdict: &Verdict) {
    if let Verdict::Violation(violation) = verdict {
        must!(false, "linearizable", "{violation}");
    }
}
