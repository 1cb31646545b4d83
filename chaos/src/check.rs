//! `chaos check`: a history, judged.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;

use checker::{Limits, Outcome, Verdict};

use crate::cli::CheckArgs;
use crate::ending::{Ending, Failure};

pub(crate) fn check(args: &CheckArgs) -> Result<Ending, Failure> {
    let name = args.history.display();
    let input: Box<dyn BufRead> = if args.history == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        Box::new(BufReader::new(File::open(&args.history).map_err(|error| Ending::Usage.says(format!("cannot open {name}: {error}")))?))
    };
    let history = checker::read(input).map_err(|error| Ending::Usage.says(format!("{name}: {error}")))?;
    let count = history.ops().len();
    let answered = history.ops().iter().any(|op| matches!(op.outcome, Outcome::Ok(_)));
    let mut out = io::stdout().lock();
    let verdict = checker::check(&history, &Limits::default());
    let ending = match &verdict {
        // Whatever a store does, it fits if nobody was told anything.
        Verdict::Linearizable if !answered => {
            writeln!(out, "inconclusive: {count} operations, and none of them is ok")?;
            Ending::Inconclusive
        }
        Verdict::Linearizable => {
            writeln!(out, "linearizable: {count} operations")?;
            Ending::Passed
        }
        Verdict::Violation(violation) => {
            write!(out, "violation: {violation}")?;
            Ending::Violation
        }
        Verdict::Unknown(why) => {
            writeln!(out, "unknown: {why}")?;
            Ending::Unknown
        }
    };
    Ok(ending)
}
