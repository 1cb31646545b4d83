//! `--shrink`: what of a failed run is enough for its failure.

use std::io::{self, IsTerminal, Write};

use crate::ending::Failure;
use crate::interrupt::Interrupt;
use crate::sim::Recipe;

/// Searches, and says what was found and how to run it.
pub(crate) fn find(failure: &sim::Failure, recipe: &Recipe, interrupt: &Interrupt, out: &mut impl Write) -> Result<(), Failure> {
    writeln!(out, "shrinking ...")?;
    out.flush()?;
    let (drawn, before) = (recipe.drawn(failure.seed), recipe.plan(failure.seed));
    let shown = io::stderr().is_terminal();
    let mut interrupted = false;
    let shrunk = sim::shrink(&drawn, recipe.less.clone(), failure, &mut |tried| {
        if shown {
            let _ = write!(io::stderr(), "\r{tried} plans tried "); // for whoever watches
        }
        interrupted |= interrupt.came();
        !interrupted
    });
    if shown {
        let _ = writeln!(io::stderr()); // as above
    }
    let smaller = Recipe { less: shrunk.less, ..*recipe };
    let after = smaller.plan(failure.seed);
    let (clerks, clerks_before) = (after.workload.clerk_count, before.workload.clerk_count);
    let (faults, faults_before) = (after.faults.len(), before.faults.len());
    let stopped = if interrupted { ", interrupted" } else { "" };
    writeln!(
        out,
        "{} plans tried{stopped}: {faults} of {faults_before} faults and {clerks} of {clerks_before} clerks are enough",
        shrunk.tried
    )?;
    for (number, planned) in smaller.less.happening(&drawn).map(|number| (number, &drawn.faults[number])) {
        writeln!(out, "  {:.6} s, fault {number}: {:?}", planned.at_us as f64 / 1e6, planned.fault)?;
    }
    writeln!(out, "then: {}: {}", shrunk.failure.rule, shrunk.failure.detail.lines().next().unwrap_or_default())?;
    writeln!(out, "replay: {}", smaller.command(failure.seed))?;
    Ok(())
}
