//! What each command does.

use std::ffi::{OsStr, OsString};
use std::io::{self, IsTerminal as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::time::{Duration, Instant};

use kvcli::bench::{BenchArgs, BenchError, BenchOp};
use kvcli::{Answer, Ask, ClerkError, Expectation, Overview, Reading, Token, Verdict, WriteOutcome, Written};

use crate::cli::{Command, Expected, Mode, Write};
use crate::failure::Failure;
use crate::lending::Lent;
use crate::load;
use crate::output;
use crate::quote::{escape, quote};
use crate::running::{self, Interrupts};
use crate::scanning;
use crate::settings::Settings;
use crate::value::Source;
use crate::watching;

/// Between two looks at a cluster that is not ready.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Runs a command that talks to a cluster.
pub(crate) fn run(command: Command, settings: &Settings) -> Result<(), Failure> {
    match command {
        Command::Put(write) => put(write, settings, |key, value| Ask::Put { key, value }, "put"),
        Command::Append(write) => put(write, settings, |key, value| Ask::Append { key, value }, "append"),
        Command::Get { key, stale } => get(key, stale, settings),
        Command::Delete { key, must_exist } => delete(key, must_exist, settings),
        Command::Cas { expected, write } => cas(expected, write, settings),
        Command::Scan(args) => scanning::scan(args, settings),
        Command::Dump { stale } => scanning::dump(stale, settings),
        Command::Load(args) => load::load(&args, settings),
        Command::Status { watch: false } => status(settings),
        Command::Status { watch: true } => watching::run(&mut clerk(settings)?, settings),
        Command::Wait { all } => wait(all, settings),
        Command::Bench(args) => bench(&args, settings),
        Command::Demo(_) | Command::Shell => unreachable!("main runs them"),
    }
}

fn put(write: Write, settings: &Settings, ask: fn(Vec<u8>, Vec<u8>) -> Ask, name: &str) -> Result<(), Failure> {
    check_key(&write.key)?; // before anything is read
    let source = Source::of(&write);
    let value = source.read()?;
    let arguments = source.repeat(&write.key, &value);
    let written = settle(settings, ask(write.key.into_vec(), value), name, &arguments)?;
    say(|out| output::written(out, settings.mode, &written))
}

fn delete(key: OsString, must_exist: bool, settings: &Settings) -> Result<(), Failure> {
    let mut arguments = String::new();
    if must_exist {
        arguments += "--must-exist ";
    }
    if key.as_bytes().starts_with(b"-") {
        arguments += "-- ";
    }
    arguments += &quote(key.as_bytes());
    let name = escape(key.as_bytes());
    let written = settle(settings, Ask::Delete { key: key.into_vec() }, "delete", &arguments)?;
    if must_exist && written.outcome == WriteOutcome::NotFound {
        return Err(Failure::No(format!("no such key: {name}")));
    }
    say(|out| output::deleted(out, settings.mode, &written))
}

fn cas(expected: Expected, write: Write, settings: &Settings) -> Result<(), Failure> {
    check_key(&write.key)?;
    let (expect, mut arguments) = match expected {
        Expected { expect: Some(value), .. } => {
            let arguments = format!("--expect={}", quote(value.as_bytes()));
            (Expectation::Value(value.into_vec()), arguments)
        }
        Expected { version: Some(version), .. } => (Expectation::Version(version), format!("--version {version}")),
        Expected { .. } => (Expectation::Absent, "--absent".into()),
    };
    let source = Source::of(&write);
    let value = source.read()?;
    arguments = format!("{arguments} {}", source.repeat(&write.key, &value));
    let name = escape(write.key.as_bytes());
    let written = settle(settings, Ask::Cas { key: write.key.into_vec(), expect, value }, "cas", &arguments)?;
    say(|out| output::swapped(out, settings.mode, &written))?;
    match (written.outcome, written.version) {
        (WriteOutcome::NotSwapped, 0) => Err(Failure::No(format!("not swapped: no such key: {name}"))),
        (WriteOutcome::NotSwapped, version) => Err(Failure::No(format!("not swapped: {name} is at version {version}"))),
        _ => Ok(()),
    }
}

fn get(key: OsString, stale: bool, settings: &Settings) -> Result<(), Failure> {
    let bytes = key.as_bytes().to_vec();
    let ask = if stale { Ask::GetStale { key: bytes } } else { Ask::Get { key: bytes } };
    let mut clerk = clerk(settings)?;
    let (value, position) = match running::run(&mut clerk, ask, settings, |_| String::new())? {
        Answer::Value { value, position } => (value, position),
        Answer::StaleValue { value, position, age_ms } => {
            output::age(&mut io::stderr(), settings.mode, position, age_ms)?;
            (value, position)
        }
        _ => unreachable!("a get is answered by a value"),
    };
    let reading = Reading { value, position };
    if reading.value.is_none() {
        return Err(Failure::No(format!("no such key: {}", escape(key.as_bytes()))));
    }
    say(|out| output::reading(out, settings.mode, key.as_bytes(), &reading))
}

fn status(settings: &Settings) -> Result<(), Failure> {
    let overview = clerk(settings)?.overview().map_err(plainly)?;
    say(|out| output::overview(out, settings.mode, &overview))?;
    match overview.verdict {
        Verdict::Healthy => Ok(()),
        Verdict::Unreachable => Err(unreachable(settings, &overview)),
        _ => Err(Failure::NotHealthy(overview.headline())),
    }
}

/// A read that a majority answers proves that a leader serves; no status could.
fn wait(all: bool, settings: &Settings) -> Result<(), Failure> {
    let began = Instant::now();
    let mut clerk = clerk(settings)?;
    running::run(&mut clerk, Ask::Get { key: b"kvcli wait".to_vec() }, settings, |_| String::new())?;
    let interrupts = Interrupts::catch()?;
    let mut goal = None;
    loop {
        let overview = clerk.overview().map_err(plainly)?;
        goal = goal.or(overview.committed());
        let is_ready = match (all, goal) {
            (false, _) => true,
            (true, Some(goal)) => overview.verdict == Verdict::Healthy && overview.all_applied(goal),
            (true, None) => false,
        };
        if is_ready {
            return say(|out| output::ready(out, settings.mode, &overview));
        }
        let endpoints = overview.tried();
        if interrupts.came() {
            return Err(Failure::Interrupted { error: ClerkError::NotDone { endpoints }, finish: None });
        }
        if began.elapsed() + LOOK_AGAIN >= settings.timeout {
            return Err(Failure::Clerk {
                error: ClerkError::NotDone { endpoints },
                finish: None,
                hint: Some(escape(overview.headline().as_bytes())),
            });
        }
        clerk.turn(LOOK_AGAIN).map_err(plainly)?;
    }
}

/// Figures first, also when not all went well.
fn bench(args: &BenchArgs, settings: &Settings) -> Result<(), Failure> {
    let interrupts = Interrupts::catch()?;
    if io::stderr().is_terminal() {
        let prepared = if args.op == BenchOp::Put { "" } else { "all keys are written, " };
        let (warmup, seconds) = (args.warmup, args.seconds);
        eprintln!("{prepared}{warmup} s are warm-up, {seconds} s are measured (Ctrl-C ends it)");
    }
    let report = match kvcli::bench::run(args, &settings.endpoints, settings.timeout, interrupts.as_fd()) {
        Ok(report) => report,
        Err(BenchError::Interrupted) => {
            interrupts.came(); // taken: let through, it would end us otherwise
            return Err(Failure::Stopped);
        }
        Err(BenchError::Prepare(error)) => {
            let hint = running::hint(&error, settings);
            return Err(Failure::Clerk { error, finish: None, hint });
        }
    };
    let mode = if args.json { Mode::Json } else { settings.mode };
    say(|out| output::bench(out, mode, args, &report))?;
    match &report.first_error {
        Some(first) => Err(Failure::No(format!("{} errors, the first: {}", report.errors, escape(first.as_bytes())))),
        None => Ok(()),
    }
}

/// One write, from a process that may end before it knows the outcome: then the next can take over.
fn settle(settings: &Settings, ask: Ask, name: &str, arguments: &str) -> Result<Written, Failure> {
    if let Some(token) = settings.resume
        && !token.is_of(&ask)
    {
        return Err(Failure::Usage("--resume: the token was made for another command, key or value".into()));
    }
    let finish = |token: &Token| finish_line(settings, token, &format!("{name} {arguments}"));
    let mut clerk = clerk(settings)?;
    match running::run(&mut clerk, ask, settings, finish)? {
        Answer::Written(written) => Ok(written),
        _ => unreachable!("a write is answered by what it did"),
    }
}

/// The command that goes on from this token, as a line for a shell.
pub(crate) fn finish_line(settings: &Settings, token: &Token, command: &str) -> String {
    let endpoints = settings.endpoints_flag.as_ref().map(|given| format!(" --endpoints {}", quote(given.as_bytes())));
    format!("kvcli --resume {token}{} {command}", endpoints.unwrap_or_default())
}

pub(crate) fn clerk(settings: &Settings) -> Result<Lent, Failure> {
    settings.clerks.lend(&settings.endpoints, settings.timeout).map_err(plainly)
}

fn check_key(key: &OsStr) -> Result<(), Failure> {
    wire::validate_key(key.as_bytes()).map_err(|reason| plainly(ClerkError::Rejected { reason }))
}

pub(crate) fn plainly(error: ClerkError) -> Failure {
    Failure::Clerk { error, finish: None, hint: None }
}

fn unreachable(settings: &Settings, overview: &Overview) -> Failure {
    let hint = settings.endpoints_are_default.then(running::first_steps);
    Failure::Clerk { error: ClerkError::NotDone { endpoints: overview.tried() }, finish: None, hint }
}

/// Results go to standard output, all at once.
pub(crate) fn say(write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> Result<(), Failure> {
    let mut bytes = Vec::new();
    write(&mut bytes)?;
    let mut stdout = io::stdout().lock();
    stdout.write_all(&bytes)?;
    Ok(stdout.flush()?)
}
