//! The command line of `chaos`.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use sim::{FaultKind, Less, Profile};

use crate::sim::seeds::Seeds;

/// Breaks a kvraft cluster, real or simulated, and judges what its clients saw.
///
/// Exit codes: 0 passed, 1 violation, 2 the checker gave up, 3 a liveness or recovery goal was missed, 4 inconclusive (nothing was
/// exercised), 5 this host cannot do it, 64 usage, 70 internal, 74 a file failed, 130 interrupted.
#[derive(Parser)]
#[command(name = "chaos", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Judge a history: could these answers have come from one copy?
    ///
    /// A history is one JSON object per line: {client, op, key, value, call_ns, return_ns, outcome, result, position, ...}. It may
    /// come from any system; `position` and `version` may be absent.
    #[command(after_help = "Example:\n  chaos check runs/latest/history.jsonl")]
    Check(CheckArgs),
    /// One of the teaching labs' cases, on real processes.
    #[command(after_help = "Examples:\n  chaos lab list\n  chaos lab K-A4\n  chaos lab K-B8 --short --seed 7")]
    Lab(crate::lab::LabArgs),
    /// Break a cluster of real nodes while clients use it, and judge what they saw.
    ///
    /// The seed fixes the plan: which faults, when, and what clients ask. What really happened is in the run's directory: run.json,
    /// plan.jsonl, faults.jsonl, leaders.jsonl, history.jsonl, result.json, and the log of every node. Unless the run has passed, what
    /// every node applied stays there, too: n1.applied.jsonl and so on.
    #[command(after_help = "Examples:\n  chaos run\n  chaos run --time 20s --nodes 3 --faults pause,partition --workload mixed --seed 7")]
    Run(crate::run::RunArgs),
    /// Run whole clusters in simulation, each from a seed.
    ///
    /// Every run has its own mix of faults, drawn from its seed. A range says how far it is, sums up what happened, and ends at its
    /// first failing seed with the rule that was broken, what happened before, and the command that runs it again. One seed shows a
    /// column per node and a line per simulated second.
    ///
    /// Exit codes: 0 passed, 1 something happened that never must, 2 a history was too hard to judge and nothing else is wrong, 3
    /// something did not happen in time, 4 inconclusive (the range never had a crash, a lost write, a leader change, an install, ...),
    /// 64 usage, 130 interrupted.
    #[command(after_help = "Examples:\n  chaos sim --seeds 1..1000\n  chaos sim --seeds 1.. --for 10m --nodes 5\n  \
                            chaos sim --seed 42 --nodes 5\n  chaos sim --seed 42 --nodes 5 --trace | less\n  \
                            chaos sim --seeds 1..1000 --profile storm --shrink")]
    Sim(SimArgs),
    #[command(flatten)]
    ByHand(crate::byhand::Command),
}

#[derive(Args)]
pub(crate) struct CheckArgs {
    /// The history; `-` is standard input.
    pub(crate) history: PathBuf,
}

#[derive(Args)]
pub(crate) struct SimArgs {
    /// The seeds to run, first and last; without a last one, for the time that --for gives
    #[arg(long, value_name = "A..B", default_value = "1..200", conflicts_with = "seed")]
    pub(crate) seeds: Seeds,
    /// One seed
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Print every event of that seed, with its virtual time
    #[arg(long, requires = "seed", conflicts_with = "seeds")]
    pub(crate) trace: bool,
    /// Nodes of a cluster: 3, 5 or 7
    #[arg(long, value_name = "COUNT", default_value_t = 3, value_parser = node_count)]
    pub(crate) nodes: usize,
    /// Begin no further seed after this time, such as 90s or 10m
    #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration, conflicts_with = "seed")]
    pub(crate) time: Option<Duration>,
    /// What the seeds may draw: default, calm, network, disk, crash, snapshots, clients or storm
    #[arg(long, value_name = "NAME", default_value_t)]
    pub(crate) profile: Profile,
    /// If a seed fails, leave out of it whatever the same rule fails without, and print the command that runs what remains
    #[arg(long)]
    pub(crate) shrink: bool,
    /// Break a promise on purpose, to see what a failure looks like: n1 always starts with the disk of its start before
    #[arg(long)]
    pub(crate) sabotage: bool,
    /// Seeds that run at the same time [default: one per core]
    #[arg(long, value_name = "COUNT", conflicts_with = "seed")]
    pub(crate) jobs: Option<NonZeroUsize>,
    #[command(flatten)]
    pub(crate) less: LessArgs,
}

/// What `--shrink` prints, to run the smaller plan again.
#[derive(Args)]
#[command(next_help_heading = "Part of a run, as --shrink prints it")]
pub(crate) struct LessArgs {
    /// Without these sorts of faults
    #[arg(long, value_name = "KIND,...", value_delimiter = ',', value_parser = fault_kind, requires = "seed", conflicts_with = "seeds")]
    pub(crate) without: Vec<FaultKind>,
    /// Of the faults that are drawn ahead, only these, counted from 0; or `none`
    #[arg(long, value_name = "N,...", requires = "seed", conflicts_with = "seeds")]
    pub(crate) faults: Option<Numbers>,
    /// So many clerks at most
    #[arg(long, value_name = "COUNT", requires = "seed", conflicts_with = "seeds")]
    pub(crate) clerks: Option<usize>,
    /// Nothing happens to clerks and their connections
    #[arg(long, requires = "seed", conflicts_with = "seeds")]
    pub(crate) calm_clerks: bool,
    /// Faults end at this virtual time, such as 2500ms
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, requires = "seed", conflicts_with = "seeds")]
    pub(crate) end: Option<Duration>,
}

impl LessArgs {
    pub(crate) fn less(&self) -> Less {
        Less {
            without: self.without.iter().copied().collect(),
            faults: self.faults.as_ref().map(|numbers| numbers.0.clone()),
            clerks: self.clerks,
            calm_clerks: self.calm_clerks,
            end_ms: self.end.map(|end| u64::try_from(end.as_millis()).unwrap_or(u64::MAX)),
        }
    }
}

/// `3,17,20`, or `none`.
#[derive(Clone, Debug)]
pub(crate) struct Numbers(BTreeSet<usize>);

impl FromStr for Numbers {
    type Err = String;

    fn from_str(text: &str) -> Result<Numbers, String> {
        let number = |text: &str| text.parse().map_err(|_| format!("{text:?} is no number of a fault"));
        if text == "none" { Ok(Numbers(BTreeSet::new())) } else { text.split(',').map(number).collect::<Result<_, _>>().map(Numbers) }
    }
}

fn fault_kind(text: &str) -> Result<FaultKind, String> {
    let names = || FaultKind::ALL.map(FaultKind::name).join(", ");
    FaultKind::ALL.into_iter().find(|kind| kind.name() == text).ok_or_else(|| format!("there are {}", names()))
}

fn node_count(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|count| [3, 5, 7].contains(count)).ok_or_else(|| "a cluster here has 3, 5 or 7 nodes".into())
}
