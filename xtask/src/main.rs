//! The jobs that people and CI run: `cargo xtask JOB`. Almost no dependencies, so that the first command in a fresh clone starts soon.

mod check; // what CI asks for: formatting, lints, documentation, tidiness, tests
mod host; // what this machine can do, found by trying
mod install; // build and copy
mod lab_runs; // the same cases, on real processes at full length
mod labs; // the teaching labs' cases and the tests that stand for them
mod mutants; // patches that break one rule each, and the tests that must notice
mod shell; // commands, echoed before they run
mod simulate; // fresh seeds, for as long as is given
mod test; // the tiers of tests and their table
mod tidy; // rules about the sources that no compiler keeps
mod traces; // what a run of tests may not leave behind

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

const USAGE: &str = "\
usage: cargo xtask JOB

  demo [ARGS]                     build release kvnode and kvcli, then `kvcli demo ARGS`: a cluster to try out
  test [--no-install] [FILTER]    every tier of tests; `--seed N` repeats a run's draws
  check [--no-install]            formatting, lints, documentation, tidiness, then `test`: what CI runs
  labs [--short] [--seed N] [ID...]  the teaching labs' cases on real processes, at full length; `--list`: what tests or runs each
  mutants [--seed N] [NAME...]    patches that break one rule each: every one must be caught by the test it names
  explore [--depth N] [MODEL]     every order of events around raft, to a depth; prints how many states
  simulate [--seed N] [--seconds S]  whole clusters from fresh seeds, for 600 s: what the tests may not have met yet
  soak [ARGS]                     what takes minutes: heavy load, dumps beside it, idle crowds, load against bench; prints figures
  install [--prefix DIR]          build release and copy kvnode, kvcli and chaos to DIR/bin
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args.as_slice() {
        ["demo", rest @ ..] => demo(rest),
        ["test", rest @ ..] => test::Options::parse(rest).and_then(|options| test::run(&options)),
        ["check", rest @ ..] => test::Options::parse(rest).and_then(|options| check::run(&options)),
        ["labs", "--list"] => labs::list(),
        ["labs", rest @ ..] => lab_runs::Options::parse(rest).and_then(|options| lab_runs::run(&options)),
        ["mutants", rest @ ..] => mutants::Options::parse(rest).and_then(|options| mutants::run(&options)),
        ["explore", rest @ ..] => explore(rest),
        ["simulate", rest @ ..] => simulate::Options::parse(rest).and_then(|options| simulate::run(&options)),
        ["soak", rest @ ..] => soak(rest),
        ["install", rest @ ..] => install::run(rest),
        [] | ["help" | "--help" | "-h"] => {
            print!("{USAGE}");
            Ok(())
        }
        _ => {
            eprint!("cargo xtask {}: no such job\n\n{USAGE}", args.join(" "));
            return ExitCode::from(64);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The demonstration belongs to kvcli; this builds it and hands over arguments and terminal.
fn demo(args: &[&str]) -> Result<()> {
    shell::run(cargo().args(["build", "--release", "-p", "kvnode", "-p", "kvcli"]))?;
    become_program(Command::new(target_dir().join("release/kvcli")).arg("demo").args(args))
}

/// The models of `raft/tests/explore`, deeper than the tests go, one after the other.
fn explore(args: &[&str]) -> Result<()> {
    let (depth, models) = match args {
        ["--depth", depth, models @ ..] => (depth.parse::<usize>().with_context(|| format!("--depth {depth}"))?.to_string(), models),
        ["--depth"] => bail!("--depth needs a number"),
        models => ("deep".to_owned(), models),
    };
    let tests = ["test", "--release", "-p", "raft", "--test", "explore", "--", "--nocapture", "--test-threads=1"];
    let mut searched = 0;
    let environment = [("KVRAFT_EXPLORE", depth)];
    let succeeded = shell::run_reading(cargo().args(tests).args(models), &environment, |line| {
        searched += usize::from(line.contains(" states, "));
    })?;
    match (succeeded, searched) {
        (false, _) => bail!("a breach, or a search that did not end: see above"),
        (true, 0) => bail!("no model has such a name"),
        (true, _) => Ok(()),
    }
}

fn soak(args: &[&str]) -> Result<()> {
    shell::run(cargo().args(["build", "--release", "-p", "kvnode", "-p", "kvcli", "-p", "tests", "--bins"]))?;
    become_program(Command::new(target_dir().join("release/soak")).args(args).env("KVRAFT_BIN_DIR", target_dir().join("release")))
}

/// Replaces this process, so that signals, terminal and exit code are the program's own.
fn become_program(command: &mut Command) -> Result<()> {
    shell::echo(command);
    let error = std::os::unix::process::CommandExt::exec(command);
    bail!("{}: {error}", command.get_program().to_string_lossy())
}

/// The cargo that runs us, in the workspace's root.
fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    // What cargo tells this program about itself would make the inner cargo rebuild build scripts that listen to it.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CARGO_PKG_") || name == "CARGO_MANIFEST_DIR" || name == "CARGO_MANIFEST_PATH" {
            command.env_remove(name);
        }
    }
    command
}

/// The workspace's root.
fn root() -> PathBuf {
    let xtask = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    xtask.parent().expect("xtask lies in the workspace").to_owned()
}

/// Where cargo builds.
fn target_dir() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root().join(dir),
        None => root().join("target"),
    }
}

/// A file of the workspace, as text.
fn read(path: &str) -> Result<String> {
    std::fs::read_to_string(root().join(path)).with_context(|| format!("cannot read {path}"))
}
