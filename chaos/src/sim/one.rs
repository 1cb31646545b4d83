//! A single seed: a line per simulated second with a column per node, or every event. Then the same once more, unseen: it must be the
//! same run.

use std::io::Write;

use sim::{Keep, NodeView, Report, Run};

use crate::cli::SimArgs;
use crate::ending::{Ending, Failure};
use crate::interrupt::Interrupt;
use crate::sim::totals::{Began, Totals};
use crate::sim::{Recipe, tell};

const SECOND_US: u64 = 1_000_000;

pub(crate) fn run(recipe: &Recipe, seed: u64, args: &SimArgs, interrupt: &Interrupt, out: &mut impl Write) -> Result<Ending, Failure> {
    let (plan, began, trace) = (recipe.plan(seed), Began::now(), args.trace);
    writeln!(out, "seed={seed} nodes={} profile={}", recipe.node_count, recipe.profile)?;
    let mut run = Run::new(&plan);
    if trace {
        run.keep_events(Keep::All);
    } else {
        writeln!(out, "{}", NodeView::LEGEND)?;
        let names: Vec<String> = (1..=recipe.node_count).map(|node| format!("n{node}")).collect();
        writeln!(out, "{}", columns("s", &names))?;
    }
    let ended = loop {
        let advanced = run.advance(SECOND_US);
        if trace {
            run.take_events().iter().try_for_each(|event| writeln!(out, "{event}"))?;
        } else {
            let nodes: Vec<String> = run.nodes().iter().map(|node| node.map_or("-".into(), |node| node.to_string())).collect();
            writeln!(out, "{}", columns(&format!("{:.1}", run.now_us() as f64 / 1e6), &nodes))?;
        }
        match advanced {
            Ok(None) if interrupt.came() => {
                writeln!(out, "interrupted")?;
                break Ok((run.report(), Ending::Interrupted));
            }
            Ok(None) => (),
            Ok(Some(report)) => break Ok((report, Ending::Passed)),
            Err(failure) if trace => {
                failure.last_events.iter().try_for_each(|event| writeln!(out, "{event}"))?;
                break Err(sim::Failure { last_events: Vec::new(), ..failure });
            }
            Err(failure) => break Err(sim::explain(&plan, failure)),
        }
    };
    let repeated = ended.and_then(|(report, ending)| match ending {
        Ending::Passed => sim::repeat(&plan, &report).map(|()| (report, ending)),
        _ => Ok((report, ending)),
    });
    match repeated {
        Ok((report, ending)) => {
            summary(&report, ending == Ending::Passed, &began, out)?;
            if ending == Ending::Passed {
                writeln!(out, "seed={seed} passed, twice alike")?;
            }
            Ok(ending)
        }
        Err(failure) => tell(&failure, recipe, args.shrink, interrupt, out),
    }
}

fn summary(report: &Report, is_repeated: bool, began: &Began, out: &mut impl Write) -> Result<(), Failure> {
    let mut totals = Totals::default();
    totals.add(report);
    if is_repeated {
        totals.repeated(report);
    }
    writeln!(out, "{totals}\n{}\n{}\n{}", totals.faults(), totals.rates(), totals.speed(&began.spent()))?;
    Ok(())
}

fn columns(first: &str, nodes: &[String]) -> String {
    let line = nodes.iter().fold(format!("{first:>5}"), |line, node| format!("{line}  {node:<width$}", width = NodeView::WIDTH));
    line.trim_end().to_owned()
}
