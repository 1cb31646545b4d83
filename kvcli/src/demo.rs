//! `kvcli demo`: three real nodes, a short tour, a leader killed under load.

use std::path::PathBuf;

/// How the demo is asked for.
#[derive(Clone, PartialEq, Eq, Default, Debug, clap::Args)]
pub(crate) struct DemoArgs {
    /// Keep the cluster's data in DIR, which must be empty or not exist yet, and print how to start it again.
    #[arg(long, value_name = "DIR")]
    pub(crate) keep: Option<PathBuf>,
}

/// Plays it. Returns the exit code: 0 only if every check held.
pub(crate) fn run(_args: &DemoArgs) -> u8 {
    eprintln!("kvcli: demo: not in this build");
    70
}
