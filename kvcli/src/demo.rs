//! `kvcli demo`: three real nodes, a short tour, a leader killed under load, and what is left of the data: all of it.
//!
//! The scenes, in the order in which they play:
//!
//! 1. `cluster` starts three `kvnode` processes in a `home` of their own;
//! 2. `tour` runs the first commands anybody would try;
//! 3. `failover` kills the leader while clients append, and `judge`s what they saw;
//! 4. `shell`, on a terminal, hands over to the user.
//!
//! Whatever ends the demo, SIGKILL included, ends its nodes; a directory that could not be removed is removed by the next demo.

pub mod child; // what all our child processes have in common
pub mod cluster; // local nodes as processes
mod failover; // the leader is killed under load
mod home; // where the files are
mod interrupts; // signals as something to wait for
mod judge; // was every acknowledged append done exactly once?
mod shell; // the user's turn
mod stage; // what the scenes share
mod tour; // the first commands

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use self::cluster::{LocalCluster, LocalOptions};
use self::home::{Home, NotEmpty};
use self::interrupts::{Interrupted, Interrupts};
use self::stage::{CheckFailed, Stage, StdoutFailed, say};
use crate::words;

/// Nodes of a demo.
const NODES: usize = 3;
/// The demo is light on the disk: segments are a quarter of this, filled with zeros ahead, and there are two per node.
const RUN_ARGS: [&str; 2] = ["--max-log-bytes", "16MiB"];

/// How the demo is asked for.
#[derive(Clone, PartialEq, Eq, Default, Debug, clap::Args)]
pub struct DemoArgs {
    /// Keep the cluster's data in DIR, which must be empty or not exist yet, and print how to start it again.
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
}

/// Plays it. Returns the exit code: 0 only if every check held.
///
/// Call it from the thread that lives longest, before others are started: signals are blocked here, and nodes die with this thread.
pub fn run(args: &DemoArgs) -> u8 {
    let error = match play(args) {
        Ok(()) => return 0,
        Err(error) => error,
    };
    if let Some(Interrupted(signal)) = error.downcast_ref() {
        return u8::try_from(128 + *signal as i32).unwrap_or(130);
    }
    match error.downcast_ref() {
        Some(StdoutFailed(io)) if io.kind() == std::io::ErrorKind::BrokenPipe => return 141,
        // Nobody may be left to tell.
        _ => drop(writeln!(std::io::stderr(), "kvcli: demo: {error:#}")),
    }
    match error {
        error if error.is::<CheckFailed>() => 1,
        error if error.is::<NotEmpty>() => 2,
        _ => 74,
    }
}

fn play(args: &DemoArgs) -> anyhow::Result<()> {
    let interrupts = Interrupts::catch().context("cannot catch signals")?;
    let kvnode = child::find_program("kvnode")?;
    let kvcli = std::env::current_exe().context("cannot find our own program")?;
    let home = match &args.keep {
        Some(dir) => Home::kept(dir).with_context(|| format!("cannot use {}", dir.display()))?,
        None => Home::temporary(&std::env::temp_dir()).context("cannot make a temporary directory")?,
    };
    let mut stage = Stage::new(start(&home, &kvnode)?, interrupts, kvcli)?;
    let played = scenes(&mut stage);
    let stopped = stop(stage, home);
    // The first thing that went wrong is the news; stopping is still done and said.
    played.and(stopped)
}

fn start(home: &Home, kvnode: &Path) -> anyhow::Result<LocalCluster> {
    let options = LocalOptions {
        kvnode: kvnode.to_owned(),
        dir: home.path().to_owned(),
        size: NODES,
        run_args: RUN_ARGS.map(str::to_owned).to_vec(),
    };
    Ok(LocalCluster::start(options)?)
}

fn scenes(stage: &mut Stage) -> anyhow::Result<()> {
    stage.open()?;
    let table = stage.table();
    say(&format!("{table}\n"))?;
    tour::tour(stage)?;
    say("")?;
    failover::failover(stage)?;
    if std::io::stdin().is_terminal() && std::io::stdout().is_terminal() {
        let (endpoints, kvcli) = (stage.cluster.endpoints(), stage.kvcli_as_typed());
        say(&format!("\nIn a second terminal:\n  export KVCLI_ENDPOINTS={endpoints}\n  {kvcli} get greeting\n"))?;
        say(r"Here: \kill leader, \status, \help, or any kvcli command; Ctrl-D ends it.")?;
        shell::shell(stage)?;
    }
    Ok(())
}

fn stop(mut stage: Stage, home: Home) -> anyhow::Result<()> {
    let stopped = stage.cluster.stop();
    if home.is_kept() {
        let commands = (0..NODES).map(|at| words::join(stage.cluster.run_command(at).iter().map(|word| word.as_os_str())));
        let commands: String = commands.map(|command| format!("\n  {command}")).collect();
        let (dir, endpoints) = (home.path().display(), stage.cluster.endpoints());
        say(&format!("stopped; kept in {dir}. Start it again with these, each in a terminal of its own:{commands}"))?;
        say(&format!("and for kvcli:\n  export KVCLI_ENDPOINTS={endpoints}"))?;
    } else {
        home.leave().context("cannot remove the temporary directory")?;
        say("stopped; nothing left")?;
    }
    Ok(stopped?)
}
