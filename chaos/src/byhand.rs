//! Chaos by hand: a cluster that stays up between commands, and commands that break it.
//!
//! `chaos up` leaves a supervisor behind, which has the cluster and a socket; every other command asks it there.

mod clean; // `chaos clean`
mod control; // what commands and the supervisor say to each other
mod doctor; // `chaos doctor`
mod enter; // `chaos exec` and `chaos shell`
mod show; // `chaos status`, for people
mod supervise; // the supervisor
mod up; // `chaos up`

use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use serde_json::json;

use self::control::{Connection, Request};
use crate::cluster::lock;
use crate::ending::{Ending, Failure};
use crate::fault::Fault;
use crate::host::network::{Backend, HOSTS_MAX};
use crate::host::people;
use crate::interrupt::Interrupt;
use crate::{here, journal};

/// A year.
const WHILE_UP_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// Commands of this part.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// What this host can do, and which faults are lost without it. Exits 5 if no cluster can be started here at all.
    Doctor(DoctorArgs),
    /// Start a cluster of real nodes, each on a host of its own, and leave it running.
    ///
    /// Hosts are network namespaces: nothing of this machine's own is touched, and nothing is left of them when the cluster ends,
    /// however it ends. Waits until all nodes follow one leader. Nodes that have data in DIR already go on with it.
    #[command(after_help = "Example:\n  chaos up -n 5\n  \
        chaos exec -- kvcli put greeting hello\n  chaos inject pause leader --for 5s\n  chaos down")]
    Up(UpArgs),
    /// Run a command on a client's host, with KVCLI_ENDPOINTS set. Exits as the command does.
    Exec(ExecArgs),
    /// Run your shell on a client's host, with KVCLI_ENDPOINTS set.
    Shell(ShellArgs),
    /// Break something, until it is healed.
    ///
    /// WHO is leader, follower, one, minority, majority, all, n1, or n1,n2. Exits 4 if there is nothing to break just now, 5 if this
    /// host cannot do it.
    #[command(after_help = inject_help())]
    Inject(InjectArgs),
    /// Undo faults: all of them, or one by its number. Prints what each has done.
    Heal(HealArgs),
    /// Nodes, their roles and terms, and the faults in force.
    Status(StatusArgs),
    /// Heal everything and stop the cluster. Data and logs stay in DIR.
    Down(DirArgs),
    /// Sweep up what a killed `chaos` may have left: processes, and files that a fault had moved or changed.
    Clean(CleanArgs),
    /// What `chaos` starts itself with.
    #[command(hide = true, subcommand)]
    Internal(Internal),
}

#[derive(Args)]
pub(crate) struct DirArgs {
    /// Where the cluster's data, logs and records are.
    #[arg(long, value_name = "DIR", default_value = "chaos-run", env = "CHAOS_DIR")]
    dir: PathBuf,
}

#[derive(Args)]
pub(crate) struct DoctorArgs {
    /// One JSON object per line.
    #[arg(long)]
    json: bool,
    /// The kvnode program, instead of the one beside chaos or in PATH.
    #[arg(long, value_name = "FILE")]
    kvnode: Option<PathBuf>,
}

#[derive(Args, Clone)]
pub(crate) struct UpArgs {
    /// How many nodes.
    #[arg(short, long, default_value_t = 3, value_parser = count)]
    nodes: usize,
    /// How many client hosts: c1, c2 and so on.
    #[arg(short, long, default_value_t = 1, value_parser = count)]
    clients: usize,
    /// Where data, logs and records go.
    #[arg(long, value_name = "DIR", default_value = "chaos-run", env = "CHAOS_DIR")]
    dir: PathBuf,
    /// The kvnode program, instead of the one beside chaos or in PATH.
    #[arg(long, value_name = "FILE")]
    kvnode: Option<PathBuf>,
    /// How links are broken; default: the best this host has.
    #[arg(long, value_enum)]
    net: Option<Backend>,
    /// Targets and packets are drawn from it; default: another one every time.
    #[arg(long)]
    seed: Option<u64>,
    /// How long the nodes may take to follow one leader.
    #[arg(long, default_value = "60s", value_parser = while_up)]
    wait: Duration,
    /// Stop the cluster when this process has ended.
    #[arg(long, value_name = "PID", env = "CHAOS_WITH")]
    with: Option<u32>,
    /// More arguments for `kvnode run`.
    #[arg(last = true, value_name = "ARGS")]
    run_args: Vec<String>,
}

#[derive(Args)]
pub(crate) struct ExecArgs {
    #[command(flatten)]
    dir: DirArgs,
    /// On whose host: c1, c2, or a node's.
    #[arg(long = "as", value_name = "HOST", default_value = "c1")]
    host: String,
    /// The command and its arguments.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

#[derive(Args)]
pub(crate) struct ShellArgs {
    #[command(flatten)]
    dir: DirArgs,
    /// On whose host: c1, c2, or a node's.
    #[arg(long = "as", value_name = "HOST", default_value = "c1")]
    host: String,
}

#[derive(Args)]
pub(crate) struct InjectArgs {
    #[command(flatten)]
    dir: DirArgs,
    /// The fault, in words.
    #[arg(required = true, value_name = "FAULT")]
    words: Vec<String>,
    /// Heal it after so long.
    #[arg(long = "for", value_name = "TIME", value_parser = while_up)]
    lasts: Option<Duration>,
    /// The answer as JSON.
    #[arg(long)]
    json: bool,
    /// Break nodes that this file names, on this host, which chaos did not start. See docs/chaos.md.
    #[arg(long, value_name = "FILE")]
    nodes: Option<PathBuf>,
    /// With --nodes: yes, stop processes and change the firewall of this very host.
    #[arg(long, requires = "nodes")]
    yes_on_this_host: bool,
}

#[derive(Args)]
pub(crate) struct HealArgs {
    #[command(flatten)]
    dir: DirArgs,
    /// The number of the fault; without it, all.
    id: Option<u64>,
    /// The answer as JSON, a line per fault.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    dir: DirArgs,
    /// The answer as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(crate) struct CleanArgs {
    #[command(flatten)]
    dir: DirArgs,
    /// Also end a cluster that is still up.
    #[arg(long)]
    force: bool,
}

#[derive(Subcommand)]
pub(crate) enum Internal {
    /// The first process of a pid namespace.
    Hold,
    /// Tries one facility.
    Probe {
        /// Which.
        name: String,
    },
    /// The supervisor.
    Supervise(UpArgs),
}

fn count(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|count| (1..=HOSTS_MAX).contains(count)).ok_or_else(|| format!("a number from 1 to {HOSTS_MAX}"))
}

/// How long something may last in a cluster that is up: a clock has an end, and nobody waits for it.
fn while_up(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if !time.is_zero() && time <= WHILE_UP_MAX { Ok(time) } else { Err("a time above 0 and up to 365d".to_owned()) }
}

fn inject_help() -> String {
    let lines: Vec<String> = crate::fault::ALL.iter().map(|(_, usage)| format!("  {usage}")).collect();
    format!("Faults:\n{}\n\nExamples:\n  chaos inject partition n1,n2\n  chaos inject loss 10% n2 --for 30s", lines.join("\n"))
}

/// Runs one of them.
pub(crate) fn run(command: Command) -> Result<Ending, Failure> {
    match command {
        Command::Doctor(args) => doctor::doctor(&args),
        Command::Up(args) => up::up(&args),
        Command::Exec(args) => enter::exec(&args),
        Command::Shell(args) => enter::shell(&args),
        Command::Inject(args) => inject(&args),
        Command::Heal(args) => heal(&args),
        Command::Status(args) => status(&args),
        Command::Down(args) => down(&args),
        Command::Clean(args) => clean::clean(&args),
        Command::Internal(Internal::Hold) => people::hold_until_alone(),
        Command::Internal(Internal::Probe { name }) => doctor::probe(&name),
        Command::Internal(Internal::Supervise(args)) => supervise::supervise(args),
    }
}

fn inject(args: &InjectArgs) -> Result<Ending, Failure> {
    // Bad words are answered here, whoever is up.
    let fault = Fault::parse(&args.words).map_err(|why| Ending::Usage.says(why))?;
    if let Some(nodes) = &args.nodes {
        return inject_here(args, nodes, &fault);
    }
    let lasts_ms = args.lasts.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    let reply = Connection::to(&args.dir.dir)?.ask(&Request::Inject { words: args.words.clone(), lasts_ms })?;
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{reply}")?
    } else {
        writeln!(out, "{}", show::injected(&reply))?
    }
    Ok(Ending::Passed)
}

/// On nodes that somebody else started. There is no supervisor, so who says `--for` waits.
fn inject_here(args: &InjectArgs, nodes: &Path, fault: &Fault) -> Result<Ending, Failure> {
    if !args.yes_on_this_host {
        return Err(Ending::Usage.says("this stops processes and changes the firewall of this very host: say --yes-on-this-host"));
    }
    let dir = &args.dir.dir;
    let _lock = lock_for_here(dir)?;
    // Before anything is broken: whoever is told to stop must heal first.
    let interrupt = Interrupt::catch()?;
    let begun = here::inject(dir, nodes, fault)?;
    let injected = match begun.outcome {
        Ok(injected) => injected,
        Err(failure) if begun.steps.is_empty() => return Err(failure),
        Err(failure) => {
            let Err(second) = here::heal(dir, Some(&begun.steps)) else { return Err(failure) };
            let why = format!("{failure}; then it could not be undone, `chaos heal` tries it again: {second}");
            return Err(failure.ending.says(why));
        }
    };
    let mut line = json!({"fault": fault.to_string(), "targets": injected.targets});
    if let Some(over) = injected.over {
        line["over"] = json!(over);
        return print_here(args.json, &line);
    }
    let Some(lasts) = args.lasts else { return print_here(args.json, &line) };
    let end = begun.at + lasts;
    while Instant::now() < end && !interrupt.came() {
        // sleeps because the passing of time is what was asked for
        std::thread::sleep(Duration::from_millis(5).min(end.saturating_duration_since(Instant::now())));
    }
    line["effect"] = json!(here::heal(dir, Some(&begun.steps))?);
    print_here(args.json, &line)
}

fn lock_for_here(dir: &Path) -> Result<lock::Lock, Failure> {
    let cannot = |error: std::io::Error| Ending::Io.says(format!("{}: {error}", dir.display()));
    std::fs::create_dir_all(dir).map_err(cannot)?;
    let in_use = || Ending::Usage.says(format!("{} is in use: say another --dir", dir.display()));
    lock::take(dir, Duration::ZERO).map_err(cannot)?.ok_or_else(in_use)
}

fn print_here(as_json: bool, line: &serde_json::Value) -> Result<Ending, Failure> {
    let mut out = std::io::stdout().lock();
    if as_json {
        writeln!(out, "{line}")?
    } else {
        writeln!(out, "{}", show::here(line))?
    }
    Ok(Ending::Passed)
}

fn heal(args: &HealArgs) -> Result<Ending, Failure> {
    // Without a supervisor there may still be something to undo on this very host.
    let is_here = journal::open_ends(&args.dir.dir).is_ok_and(|open| open.iter().any(|(_, undo)| undo.is_here()));
    if is_here && args.id.is_none() {
        let _lock = lock_for_here(&args.dir.dir)?;
        let effect = here::heal(&args.dir.dir, None)?;
        return print_here(args.json, &json!({"fault": "everything", "targets": [], "effect": effect}));
    }
    let reply = Connection::to(&args.dir.dir)?.ask(&Request::Heal { id: args.id })?;
    let mut out = std::io::stdout().lock();
    let healed = reply.as_array().map(Vec::as_slice).unwrap_or_default();
    for line in healed {
        if args.json { writeln!(out, "{line}")? } else { writeln!(out, "{}", show::healed(line))? }
    }
    if healed.is_empty() && !args.json {
        writeln!(out, "no fault was in force")?;
    }
    Ok(Ending::Passed)
}

fn status(args: &StatusArgs) -> Result<Ending, Failure> {
    let reply = Connection::to(&args.dir.dir)?.ask(&Request::Status)?;
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{reply}")?
    } else {
        write!(out, "{}", show::status(&reply))?
    }
    Ok(Ending::Passed)
}

fn down(args: &DirArgs) -> Result<Ending, Failure> {
    let mut connection = Connection::to(&args.dir)?;
    connection.ask(&Request::Down)?;
    connection.wait_for_end();
    Ok(Ending::Passed)
}

#[cfg(test)]
mod tests {
    use super::while_up;

    #[test]
    fn what_lasts_has_an_end_that_a_clock_can_hold() {
        for bad in ["0s", "366d", "10000000000000000000s", "soon"] {
            assert!(while_up(bad).is_err(), "{bad}");
        }
        for good in ["1ms", "1h", "365d"] {
            assert!(while_up(good).is_ok(), "{good}");
        }
    }
}
