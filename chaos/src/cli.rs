//! The command line of `chaos`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Breaks a kvraft cluster, real or simulated, and judges what its clients saw.
///
/// Exit codes: 0 passed, 1 violation, 2 the checker gave up, 3 a liveness or recovery goal was missed, 4 inconclusive (nothing was
/// exercised), 5 this host cannot do it, 64 usage, 70 internal, 74 a file failed.
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
    /// Break a cluster of real nodes while clients use it, and judge what they saw.
    ///
    /// The seed fixes the plan: which faults, when, and what clients ask. What really happened is in the run's directory: run.json,
    /// plan.jsonl, faults.jsonl, leaders.jsonl, history.jsonl, result.json, and the log of every node.
    #[command(after_help = "Examples:\n  chaos run\n  chaos run --time 20s --nodes 3 --faults pause,partition --workload mixed --seed 7")]
    Run(crate::run::RunArgs),
    /// Run whole clusters in simulation, each from a seed.
    #[command(after_help = "Examples:\n  chaos sim --seeds 1..1000\n  chaos sim --seed 42 --nodes 5")]
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
    /// The seeds to run, first and last.
    #[arg(long, value_name = "A..B", default_value = "1..200", conflicts_with = "seed")]
    pub(crate) seeds: String,
    /// One seed.
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Nodes of a cluster.
    #[arg(long, default_value_t = 3, value_parser = node_count)]
    pub(crate) nodes: usize,
}

fn node_count(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|count| [3, 5, 7].contains(count)).ok_or_else(|| "a cluster here has 3, 5 or 7 nodes".into())
}
