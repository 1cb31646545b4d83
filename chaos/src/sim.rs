//! `chaos sim`: clusters in simulation.

use std::io::{self, Write};
use std::ops::RangeInclusive;

use sim::{FailureKind, Plan, run};

use crate::cli::SimArgs;
use crate::ending::{Ending, Failure};

pub(crate) fn sim(args: &SimArgs) -> Result<Ending, Failure> {
    let seeds = match args.seed {
        Some(seed) => seed..=seed,
        None => range(&args.seeds)?,
    };
    let mut out = io::stdout().lock();
    for seed in seeds {
        writeln!(out, "seed={seed}")?;
        let report = match run(&Plan::draw(seed, args.nodes)) {
            Ok(report) => report,
            Err(failure) => {
                writeln!(out, "FAILED: {failure}\nreplay: chaos sim --seed {seed} --nodes {}", args.nodes)?;
                return Ok(match failure.kind {
                    FailureKind::Safety => Ending::Violation,
                    FailureKind::Liveness => Ending::Late,
                    FailureKind::Unjudged => Ending::Unknown,
                });
            }
        };
        writeln!(out, "  {} writes, {} kills, {} leader changes", report.acknowledged, report.kills, report.leader_changes)?;
    }
    Ok(Ending::Passed)
}

fn range(text: &str) -> Result<RangeInclusive<u64>, Failure> {
    let parsed = text.split_once("..").and_then(|(first, last)| Some(first.parse::<u64>().ok()?..=last.parse::<u64>().ok()?));
    match parsed {
        Some(range) if !range.is_empty() => Ok(range),
        Some(_) => Err(Ending::Usage.says(format!("--seeds {text}: the range is empty; the first comes first"))),
        None => Err(Ending::Usage.says(format!("--seeds {text}: not a range of numbers such as 1..200"))),
    }
}
