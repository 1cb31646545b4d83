//! The flags of `chaos run`.

use std::path::PathBuf;

use clap::Args;

use super::workload::Workload;

#[derive(Args)]
pub(crate) struct RunArgs {
    /// What to do; flags say otherwise. Without one: the default scenario.
    pub(crate) scenario: Option<PathBuf>,
    /// Nodes of the cluster [default: 5]
    #[arg(long)]
    pub(crate) nodes: Option<usize>,
    /// How long faults happen [default: 60s]
    #[arg(long)]
    pub(crate) time: Option<humantime::Duration>,
    /// Kinds of faults to draw from [default: kill,pause,partition]
    #[arg(long, value_delimiter = ',')]
    pub(crate) faults: Option<Vec<String>>,
    /// What clients do [default: append]
    #[arg(long)]
    pub(crate) workload: Option<Workload>,
    /// How many of them [default: 16]
    #[arg(long)]
    pub(crate) clients: Option<usize>,
    /// Calls per second, of all of them together; 0: as many as are answered [default: 2000]
    #[arg(long)]
    pub(crate) rate: Option<u32>,
    /// Fixes the plan; without one it is drawn, and printed.
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Where runs are kept.
    #[arg(long, default_value = "runs")]
    pub(crate) out: PathBuf,
    /// The kvnode to run; without it the one beside this program, else from PATH.
    #[arg(long)]
    pub(crate) kvnode: Option<PathBuf>,
}
