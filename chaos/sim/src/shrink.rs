//! A smaller plan that fails in the same way. What is left out of a plan is a value of its own, short enough for a command line: so the
//! smaller run needs no file to be run again.

use std::collections::BTreeSet;
use std::fmt;

use crate::failure::Failure;
use crate::fault::{FaultKind, Planned};
use crate::plan::Plan;
use crate::run::Run;

/// What is left out of a plan.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Less {
    /// Sorts of faults that do not happen.
    pub without: BTreeSet<FaultKind>,
    /// The faults of the schedule that do, counted from 0 as it was drawn; `None`: all.
    pub faults: Option<BTreeSet<usize>>,
    /// Clerks, if fewer.
    pub clerks: Option<usize>,
    /// Nothing happens to clerks and their connections.
    pub calm_clerks: bool,
    /// When faults end and the cluster must serve, if earlier, milliseconds.
    pub end_ms: Option<u64>,
}

impl Less {
    /// What remains of a plan as it was drawn.
    pub fn of(&self, plan: &Plan) -> Plan {
        let mut less = plan.clone();
        less.faults = self.happening(plan).map(|number| plan.faults[number].clone()).collect();
        for kind in &self.without {
            less = less.without(*kind);
        }
        if self.calm_clerks {
            less.workload = less.workload.calm();
        }
        less.workload.clerk_count = self.clerks.unwrap_or(usize::MAX).min(plan.workload.clerk_count);
        less.faulty_us = self.end_us(plan);
        less
    }

    /// The faults of the drawn plan that still happen, by number.
    pub fn happening(&self, plan: &Plan) -> impl Iterator<Item = usize> {
        let happens = |(number, planned): &(usize, &Planned)| {
            let is_kept = self.faults.as_ref().is_none_or(|kept| kept.contains(number));
            is_kept && planned.at_us < self.end_us(plan) && !self.without.contains(&planned.fault.kind())
        };
        plan.faults.iter().enumerate().filter(happens).map(|(number, _)| number)
    }

    fn end_us(&self, plan: &Plan) -> u64 {
        self.end_ms.map_or(u64::MAX, |end_ms| end_ms.saturating_mul(1_000)).min(plan.faulty_us)
    }
}

/// As options of the command line, each with a space before it; empty if nothing is left out.
impl fmt::Display for Less {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, flag: &str, items: Vec<String>| write!(f, " --{flag} {}", items.join(","));
        if !self.without.is_empty() {
            list(f, "without", self.without.iter().map(ToString::to_string).collect())?;
        }
        match &self.faults {
            Some(none) if none.is_empty() => f.write_str(" --faults none")?,
            Some(kept) => list(f, "faults", kept.iter().map(ToString::to_string).collect())?,
            None => {}
        }
        if let Some(clerks) = self.clerks {
            write!(f, " --clerks {clerks}")?;
        }
        if self.calm_clerks {
            f.write_str(" --calm-clerks")?;
        }
        self.end_ms.map_or(Ok(()), |end_ms| write!(f, " --end {end_ms}ms"))
    }
}

/// A plan from which nothing more could be left out.
#[derive(Debug)]
pub struct Shrunk {
    /// What is left out.
    pub less: Less,
    /// How it fails now: by the same rule.
    pub failure: Failure,
    /// How many plans were tried.
    pub tried: u64,
}

/// Leaves out of a drawn plan, which failed so with `less` of it left out, whatever the same rule fails without: time, faults by halves and
/// then one by one, sorts of faults, clerks. Before each try it says how many there were and asks whether to go on.
pub fn shrink(plan: &Plan, less: Less, failure: &Failure, go_on: &mut dyn FnMut(u64) -> bool) -> Shrunk {
    let mut search = Search { plan, best: Shrunk { less, failure: failure.clone(), tried: 0 }, go_on };
    loop {
        let before = search.best.less.clone();
        search.shorten();
        search.drop_faults();
        search.drop_kinds();
        search.drop_clerks();
        // What one of these allowed may allow the others more.
        if search.best.less == before {
            return search.best;
        }
    }
}

struct Search<'a> {
    plan: &'a Plan,
    best: Shrunk,
    go_on: &'a mut dyn FnMut(u64) -> bool,
}

impl Search<'_> {
    /// Whether the same rule fails with this left out; if so that is the best so far.
    fn fails(&mut self, less: Less) -> bool {
        if less == self.best.less || !(self.go_on)(self.best.tried) {
            return false;
        }
        self.best.tried += 1;
        match Run::new(&less.of(self.plan)).finish() {
            Err(failure) if failure.rule == self.best.failure.rule => {
                (self.best.less, self.best.failure) = (less, failure);
                true
            }
            _ => false,
        }
    }

    fn with(&self, change: impl FnOnce(&mut Less)) -> Less {
        let mut less = self.best.less.clone();
        change(&mut less);
        less
    }

    /// Faults end just after the failure, or in the middle of what is left of them.
    fn shorten(&mut self) {
        let at_ms = self.best.failure.at_us / 1_000 + 1;
        let less = self.with(|less| less.end_ms = Some(at_ms));
        if at_ms * 1_000 < self.best.less.end_us(self.plan) {
            self.fails(less);
        }
        let (mut fails_at, mut passes_at) = (self.best.less.end_us(self.plan) / 1_000, 0);
        while fails_at - passes_at > 100 {
            let middle = (fails_at + passes_at) / 2;
            let less = self.with(|less| less.end_ms = Some(middle));
            *(if self.fails(less) { &mut fails_at } else { &mut passes_at }) = middle;
        }
    }

    fn drop_faults(&mut self) {
        let now: Vec<usize> = self.best.less.happening(self.plan).collect();
        minimal(now, |faults| {
            let less = self.with(|less| less.faults = Some(faults.iter().copied().collect()));
            self.fails(less)
        });
    }

    fn drop_kinds(&mut self) {
        for kind in &self.plan.kinds {
            let now = self.best.less.of(self.plan);
            let other = Plan { kinds: now.kinds.clone(), ..now.without(*kind) };
            // A kind that is only events, all of which are gone, need not be named.
            if now.kinds.contains(kind) && format!("{now:?}") != format!("{other:?}") {
                let less = self.with(|less| less.without.extend([*kind]));
                self.fails(less);
            }
        }
    }

    fn drop_clerks(&mut self) {
        if !self.best.less.calm_clerks {
            let less = self.with(|less| less.calm_clerks = true);
            self.fails(less);
        }
        let mut fewer = 0;
        while fewer < self.best.less.of(self.plan).workload.clerk_count {
            let less = self.with(|less| less.clerks = Some(fewer));
            if self.fails(less) {
                return;
            }
            fewer = (2 * fewer).max(1);
        }
    }
}

/// A part of the items that still fails, from which no item can be left out: delta debugging, by complements.
fn minimal<T: Copy>(mut items: Vec<T>, mut fails: impl FnMut(&[T]) -> bool) -> Vec<T> {
    let mut chunk = items.len();
    while chunk > 0 {
        let (mut from, mut dropped) = (0, false);
        while from < items.len() {
            let to = (from + chunk).min(items.len());
            let rest = [&items[..from], &items[to..]].concat();
            if fails(&rest) {
                (items, dropped) = (rest, true);
            } else {
                from = to;
            }
        }
        // One by one until nothing changes: what one needed may be gone now.
        chunk = if chunk == 1 && dropped { 1 } else { chunk / 2 };
    }
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_is_found_and_nothing_else_stays() {
        for needed in [vec![], vec![0], vec![99], vec![3, 50], vec![1, 2, 3, 97], (0..100).step_by(9).collect()] {
            let mut tried = 0;
            let found = minimal((0..100).collect(), |items| {
                tried += 1;
                needed.iter().all(|item| items.contains(item))
            });
            assert_eq!(found, needed);
            assert!(tried < 40 * (needed.len() + 1), "{tried} tries for {needed:?}");
        }
    }

    #[test]
    fn either_of_two_is_enough_and_one_stays() {
        let found = minimal((0..20).collect(), |items| items.contains(&4) || items.contains(&15));
        assert_eq!(found.len(), 1);
    }
}
