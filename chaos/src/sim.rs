//! `chaos sim`: whole clusters in simulation, each from a seed.

mod many; // a range of seeds, on all cores
mod one; // a single seed, second by second
mod pool; // threads, and results in order
pub(crate) mod seeds; // what a range is
mod smaller; // what of a failed run is enough for its failure
mod totals; // what a range has to show for itself

use std::fmt;
use std::io::{self, Write};

use sim::{FailureKind, Less, Plan, Profile};

use crate::cli::SimArgs;
use crate::ending::{Ending, Failure};
use crate::interrupt::Interrupt;

/// Events that are printed of a run that failed; `--trace` prints all.
const EVENTS_SHOWN: usize = 60;

pub(crate) fn sim(args: &SimArgs) -> Result<Ending, Failure> {
    let interrupt = Interrupt::catch()?;
    let recipe = Recipe { node_count: args.nodes, profile: args.profile, less: args.less.less(), sabotage: args.sabotage };
    let mut out = io::stdout().lock();
    match args.seed {
        Some(seed) => one::run(&recipe, seed, args, &interrupt, &mut out),
        None => many::run(&recipe, args, &interrupt, &mut out),
    }
}

/// What, beside the seed, makes a run what it is.
pub(crate) struct Recipe {
    node_count: usize,
    profile: Profile,
    /// What is left out of every plan.
    less: Less,
    sabotage: bool,
}

impl Recipe {
    fn drawn(&self, seed: u64) -> Plan {
        Plan { sabotage: self.sabotage, ..Plan::draw(seed, self.node_count, self.profile) }
    }

    fn plan(&self, seed: u64) -> Plan {
        self.less.of(&self.drawn(seed))
    }

    /// The command that runs it again.
    fn command(&self, seed: u64) -> String {
        format!("chaos sim --seed {seed} {self}{}", self.less)
    }
}

/// `--nodes 5 --profile storm`
impl fmt::Display for Recipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "--nodes {}", self.node_count)?;
        if self.profile != Profile::default() {
            write!(f, " --profile {}", self.profile)?;
        }
        f.write_str(if self.sabotage { " --sabotage" } else { "" })
    }
}

/// Says what is wrong with a run, and how to see it again.
fn tell(failure: &sim::Failure, recipe: &Recipe, shrink: bool, interrupt: &Interrupt, out: &mut impl Write) -> Result<Ending, Failure> {
    let events = &failure.last_events;
    if !events.is_empty() {
        let shown = &events[events.len().saturating_sub(EVENTS_SHOWN)..];
        writeln!(out, "the last {} events of seed {}:", shown.len(), failure.seed)?;
        shown.iter().try_for_each(|event| writeln!(out, "{event}"))?;
    }
    let (what, ending) = match failure.kind {
        FailureKind::Safety => ("VIOLATION", Ending::Violation),
        FailureKind::Liveness => ("TOO LATE", Ending::Late),
        FailureKind::Unjudged => ("NOT JUDGED", Ending::Unknown),
    };
    let seconds = failure.at_us as f64 / 1e6;
    writeln!(out, "{what} in seed {} after {seconds:.6} s: {}", failure.seed, failure.rule)?;
    writeln!(out, "  {}", failure.detail.trim_end().replace('\n', "\n  "))?;
    writeln!(out, "replay: {}", recipe.command(failure.seed))?;
    if shrink {
        smaller::find(failure, recipe, interrupt, out)?;
    }
    Ok(ending)
}
