//! A range of seeds, on all cores. The first that fails ends it.

use std::io::{IsTerminal, Write};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use sim::{FailureKind, Report};

use crate::cli::SimArgs;
use crate::ending::{Ending, Failure};
use crate::interrupt::Interrupt;
use crate::sim::totals::{Began, Totals};
use crate::sim::{Recipe, pool, tell};

/// One seed in so many runs twice.
const TWICE_EVERY: u64 = 20;
/// Lines that say how far it is: after so many seeds, or for people after so long.
const STATUS_EVERY: u64 = 100;
const STATUS_AFTER: Duration = Duration::from_secs(1);

pub(crate) fn run(recipe: &Recipe, args: &SimArgs, interrupt: &Interrupt, out: &mut impl Write) -> Result<Ending, Failure> {
    let seeds = args.seeds;
    if seeds.last.is_none() && args.time.is_none() {
        return Err(Ending::Usage.says(format!("--seeds {seeds} has no end: say --for how long, or a last seed")));
    }
    let jobs = args.jobs.map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), usize::from);
    writeln!(out, "seeds={seeds} nodes={} profile={} jobs={jobs}", recipe.node_count, recipe.profile)?;
    out.flush()?;

    let began = Began::now();
    let deadline = args.time.map(|time| Instant::now() + time);
    let in_time = move |_: &u64| deadline.is_none_or(|deadline| Instant::now() < deadline);
    let work = |seed: u64| {
        let plan = recipe.plan(seed);
        let is_repeated = (seed - seeds.first).is_multiple_of(TWICE_EVERY);
        (seed, is_repeated, if is_repeated { sim::run_twice(&plan) } else { sim::run(&plan) })
    };
    let mut range = Range { totals: Totals::default(), unjudged: 0, interrupted: false, last: None, failure: None };
    let mut status = Status { for_people: std::io::stdout().is_terminal(), last: Instant::now() };
    let mut printed = Ok(());
    pool::in_order(jobs, seeds.iter().take_while(in_time), work, |result| {
        if let Some((seed, is_repeated, result)) = result {
            range.take(seed, is_repeated, result);
            if range.failure.is_none() && status.is_due(range.totals.seeds) {
                printed = writeln!(out, "to {seed}: {}", range.totals).and_then(|()| out.flush());
            }
        }
        range.interrupted |= interrupt.came();
        if range.interrupted || range.failure.is_some() || printed.is_err() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    printed?;

    let totals = &range.totals;
    writeln!(out, "{totals}\n{}\n{}\n{}\n{}", totals.faults(), totals.rates(), totals.alone(), totals.speed(&began.spent()))?;
    let done = match range.last {
        Some(last) => format!("seeds={}..{last}", seeds.first),
        None => format!("seeds={seeds}"),
    };
    if let Some(failure) = range.failure {
        return tell(&failure, recipe, args.shrink, interrupt, out);
    }
    if range.interrupted {
        writeln!(out, "interrupted: {done} had passed")?;
        return Ok(Ending::Interrupted);
    }
    let missing = range.totals.missing(recipe.profile);
    if !missing.is_empty() {
        writeln!(out, "inconclusive: {done} never had {}", missing.join(", "))?;
        return Ok(Ending::Inconclusive);
    }
    if range.unjudged > 0 {
        writeln!(out, "not judged: {} of {} histories; nothing else is wrong with {done}", range.unjudged, range.totals.seeds)?;
        return Ok(Ending::Unknown);
    }
    writeln!(out, "{done} passed")?;
    Ok(Ending::Passed)
}

/// What is known so far, of all seeds up to the last.
struct Range {
    totals: Totals,
    unjudged: u64,
    interrupted: bool,
    last: Option<u64>,
    failure: Option<sim::Failure>,
}

impl Range {
    fn take(&mut self, seed: u64, is_repeated: bool, result: Result<Report, sim::Failure>) {
        match result {
            Ok(report) => {
                self.totals.add(&report);
                if is_repeated {
                    self.totals.repeated(&report);
                }
            }
            // The others may be easier, and may be wrong.
            Err(failure) if failure.kind == FailureKind::Unjudged => self.unjudged += 1,
            Err(failure) => {
                self.failure = Some(failure);
                return;
            }
        }
        self.last = Some(seed);
    }
}

struct Status {
    for_people: bool,
    last: Instant,
}

impl Status {
    fn is_due(&mut self, seeds: u64) -> bool {
        if !self.for_people {
            return seeds.is_multiple_of(STATUS_EVERY);
        }
        let is_due = self.last.elapsed() >= STATUS_AFTER;
        if is_due {
            self.last = Instant::now();
        }
        is_due
    }
}
