//! The tiers of tests, cheapest first, and the table at the end. Every tier runs, whatever became of the one before.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};

use crate::host::Host;
use crate::shell;
use crate::traces::Traces;

const USAGE: &str = "usage: cargo xtask test [--no-install] [--seed N] [FILTER]";

/// What the caller wants.
pub(crate) struct Options {
    may_install: bool,
    seed: u64,
    filter: Option<String>,
}

impl Options {
    pub(crate) fn parse(args: &[&str]) -> Result<Options> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        let mut options = Options { may_install: true, seed: now.as_secs() ^ u64::from(now.subsec_nanos()), filter: None };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            match *arg {
                "--no-install" => options.may_install = false,
                "--seed" => options.seed = args.next().and_then(|seed| seed.parse().ok()).context(USAGE)?,
                filter if !filter.starts_with('-') && options.filter.is_none() => options.filter = Some(filter.into()),
                _ => bail!("{arg}: {USAGE}"),
            }
        }
        Ok(options)
    }
}

/// A part of the tests, by the cost of running it.
struct Tier {
    name: &'static str,
    /// What to run of the whole workspace, a call of `cargo test` each. Never a package alone: the crates that it shares with others would
    /// be compiled again, with just the features that it asks for.
    calls: Vec<Vec<String>>,
    /// For the test programs themselves.
    libtest: &'static [&'static str],
}

/// Programs in `tests` folders that simulate clusters, and those that start real ones.
const SIMULATE: [&str; 5] = ["labs", "seeds", "sim", "trace", "world"];
const START_CLUSTERS: [&str; 2] = ["real", "whole"];

fn tiers() -> Result<[Tier; 3]> {
    let call = |others: &[&str], programs: &[String]| {
        let programs = programs.iter().flat_map(|program| ["--test".to_owned(), program.clone()]);
        others.iter().map(|other| (*other).to_owned()).chain(programs).collect::<Vec<String>>()
    };
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<String>>();
    let (simulate, start_clusters) = (owned(&SIMULATE), owned(&START_CLUSTERS));
    let mut units = programs(&crate::root())?;
    units.retain(|program| !simulate.contains(program) && !start_clusters.contains(program));
    Ok([
        Tier { name: "1 units, scripts, properties", calls: vec![call(&["--lib", "--bins"], &units), call(&["--doc"], &[])], libtest: &[] },
        Tier { name: "2 simulation", calls: vec![call(&[], &simulate)], libtest: &[] },
        // Three at a time on two cores: a real cluster mostly waits, for disks and for elections.
        Tier { name: "3 real processes", calls: vec![call(&[], &start_clusters)], libtest: &["--test-threads=3"] },
    ])
}

/// The test programs of the packages here and one folder down: `tests/NAME.rs` and `tests/NAME/main.rs`.
fn programs(root: &Path) -> Result<Vec<String>> {
    let mut packages = folders(root)?;
    for folder in packages.clone() {
        packages.extend(folders(&folder)?);
    }
    let mut programs = BTreeSet::new();
    for tests in packages.iter().filter(|folder| folder.join("Cargo.toml").is_file()).map(|package| package.join("tests")) {
        for entry in std::fs::read_dir(tests).into_iter().flatten() {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "rs") || path.join("main.rs").is_file() {
                programs.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
            }
        }
    }
    Ok(programs.into_iter().collect())
}

fn folders(parent: &Path) -> Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for entry in std::fs::read_dir(parent).with_context(|| format!("cannot read {}", parent.display()))? {
        let path = entry?.path();
        if path.is_dir() && !path.ends_with("target") {
            folders.push(path);
        }
    }
    Ok(folders)
}

/// What became of a tier.
#[derive(Default)]
struct Outcome {
    name: String,
    passed: usize,
    failed: usize,
    not_run: Vec<String>,
    failures: Vec<String>,
    seconds: f64,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    println!("seed={}", options.seed);
    let host = Host::probe();
    host.print();
    let host = host.install_missing(options.may_install)?;
    let run = Run::new(options, &host)?;
    let before = run.traces();

    let tiers = tiers()?;
    let mut outcomes = vec![run.build()];
    if outcomes[0].failed == 0 {
        outcomes.extend(tiers.iter().map(|tier| run.tier(tier, options.filter.as_deref())));
        if outcomes.iter().all(|outcome| outcome.passed + outcome.failed == 0) {
            outcomes[0].fail("no test has such a name");
        }
    }
    outcomes.push(run.nothing_left(&before, &outcomes));
    report(options.seed, &outcomes)
}

/// One run: its place for files, and the mark that all its processes carry.
struct Run {
    marker: String,
    temp: PathBuf,
    not_run: PathBuf,
    environment: Vec<(&'static str, String)>,
}

impl Run {
    fn new(options: &Options, host: &Host) -> Result<Run> {
        let name = format!("run-{}", std::process::id());
        let temp = crate::target_dir().join("tmp").join(&name);
        std::fs::create_dir_all(&temp).with_context(|| format!("cannot create {}", temp.display()))?;
        let not_run = crate::target_dir().join("tmp").join(format!("{name}.not-run"));
        std::fs::write(&not_run, "")?;
        let environment = vec![
            ("KVRAFT_SEED", options.seed.to_string()),
            ("PROPTEST_RNG_SEED", options.seed.to_string()),
            ("KVRAFT_HOST_LACKS", host.lacks()),
            ("KVRAFT_NOT_RUN", not_run.to_string_lossy().into_owned()),
            ("KVRAFT_RUN", name.clone()),
            ("KVRAFT_BIN_DIR", crate::target_dir().join("debug").to_string_lossy().into_owned()),
            ("TMPDIR", temp.to_string_lossy().into_owned()),
        ];
        for (name, value) in &environment {
            println!("$ export {name}={value}");
        }
        Ok(Run { marker: format!("KVRAFT_RUN={name}"), temp, not_run, environment })
    }

    fn traces(&self) -> Traces {
        Traces::take(&crate::root(), &crate::target_dir(), &self.marker)
    }

    /// Everything that the tiers need, first: so their seconds are their own, and the third finds the programs it starts.
    fn build(&self) -> Outcome {
        let start = Instant::now();
        let mut outcome = Outcome { name: "build".into(), ..Outcome::default() };
        if let Err(error) = shell::run(crate::cargo().args(["test", "--workspace", "--no-run", "--lib", "--bins", "--tests"])) {
            outcome.fail(&format!("{error:#}"));
        }
        outcome.seconds = start.elapsed().as_secs_f64();
        outcome
    }

    fn tier(&self, tier: &Tier, filter: Option<&str>) -> Outcome {
        let start = Instant::now();
        let mut outcome = Outcome { name: tier.name.into(), ..Outcome::default() };
        for call in &tier.calls {
            let mut command = crate::cargo();
            command.args(["test", "--workspace", "--no-fail-fast"]).args(call).args(filter);
            if !tier.libtest.is_empty() {
                command.arg("--").args(tier.libtest);
            }
            let failed = outcome.failed;
            match shell::run_reading(&mut command, &self.environment, |line| outcome.read(line)) {
                Ok(true) => {}
                Ok(false) if outcome.failed > failed => {}
                Ok(false) => outcome.fail("a test program did not finish, see above"),
                Err(error) => outcome.fail(&format!("{error:#}")),
            }
        }
        for line in std::fs::read_to_string(&self.not_run).unwrap_or_default().lines() {
            outcome.not_run.push(line.to_owned());
            outcome.passed = outcome.passed.saturating_sub(1); // libtest knows only passed and failed
        }
        let _ = std::fs::write(&self.not_run, "");
        outcome.seconds = start.elapsed().as_secs_f64();
        outcome
    }

    /// The last test of all: the run itself.
    fn nothing_left(self, before: &Traces, outcomes: &[Outcome]) -> Outcome {
        let mut outcome = Outcome { name: "nothing left behind".into(), ..Outcome::default() };
        for trace in self.traces().new_since(before) {
            outcome.failures.push(format!("left behind: {trace}"));
        }
        let _ = std::fs::remove_file(&self.not_run);
        // A failed test keeps its directory for whoever looks into it.
        if outcomes.iter().all(|outcome| outcome.failed == 0) {
            for entry in std::fs::read_dir(&self.temp).into_iter().flatten().flatten() {
                outcome.failures.push(format!("left behind: file {}", entry.path().display()));
            }
        } else {
            println!("the failed tests' files are kept in {}", self.temp.display());
        }
        if outcome.failures.is_empty() {
            let _ = std::fs::remove_dir(&self.temp);
            outcome.passed = 1;
        } else {
            outcome.failed = 1;
        }
        outcome
    }
}

impl Outcome {
    fn fail(&mut self, why: &str) {
        self.failed += 1;
        self.failures.push(why.to_owned());
    }

    /// Learns from one line of libtest's output.
    fn read(&mut self, line: &str) {
        if let Some(name) = line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED")) {
            self.failures.push(name.to_owned());
        }
        if let Some(counts) = line.strip_prefix("test result: ") {
            let mut words = counts.split_whitespace().collect::<Vec<_>>();
            words.retain(|word| !word.is_empty());
            for pair in words.windows(2) {
                let Ok(count) = pair[0].parse::<usize>() else { continue };
                match pair[1] {
                    "passed;" => self.passed += count,
                    "failed;" => self.failed += count,
                    "ignored;" if count > 0 => self.fail(&format!("{count} tests are marked `ignore`: nobody would know if they failed")),
                    _ => {}
                }
            }
        }
    }
}

fn report(seed: u64, outcomes: &[Outcome]) -> Result<()> {
    println!("\n{:<30} {:>7} {:>7} {:>8} {:>8}", "tier", "passed", "failed", "not run", "seconds");
    for outcome in outcomes {
        let (name, seconds) = (&outcome.name, outcome.seconds);
        println!("{name:<30} {:>7} {:>7} {:>8} {seconds:>8.1}", outcome.passed, outcome.failed, outcome.not_run.len());
    }
    for outcome in outcomes {
        for not_run in &outcome.not_run {
            println!("not run: {not_run}");
        }
        for failure in &outcome.failures {
            println!("failed: {}: {failure}", outcome.name);
        }
    }
    let passed: usize = outcomes.iter().map(|outcome| outcome.passed).sum();
    let failed: usize = outcomes.iter().map(|outcome| outcome.failed).sum();
    println!("seed={seed} (again with: cargo xtask test --seed {seed})");
    println!("{passed} passed, {failed} failed");
    // The line above stays the last one: no error is printed behind it.
    if failed > 0 {
        std::process::exit(1);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_names_are_read_from_what_libtest_prints() {
        let mut outcome = Outcome::default();
        for line in [
            "test a::b ... ok",
            "test a::c ... FAILED",
            "test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 7 filtered out; finished in 0.00s",
            "test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.25s",
        ] {
            outcome.read(line);
        }
        assert_eq!((outcome.passed, outcome.failed), (13, 1));
        assert_eq!(outcome.failures, ["a::c"]);
    }

    #[test]
    fn every_test_program_belongs_to_a_tier() {
        let programs = programs(&crate::root()).expect("the workspace");
        for name in SIMULATE.iter().chain(&START_CLUSTERS) {
            assert!(programs.iter().any(|program| program == name), "{name} is among {programs:?}");
        }
        let [units, ..] = tiers().expect("tiers");
        for name in ["explore", "suite", "properties", "log", "schedules"] {
            assert!(units.calls[0].windows(2).any(|pair| pair == ["--test", name]), "{name} is in {:?}", units.calls);
        }
    }

    #[test]
    fn an_ignored_test_is_a_failed_one() {
        let mut outcome = Outcome::default();
        outcome.read("test result: ok. 1 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.00s");
        assert_eq!((outcome.passed, outcome.failed), (1, 1));
    }

    #[test]
    fn the_command_line_is_read() {
        let options = Options::parse(&["--no-install", "--seed", "7", "wiped"]).expect("well-formed");
        assert_eq!((options.may_install, options.seed, options.filter.as_deref()), (false, 7, Some("wiped")));
        for bad in [&["--seed"][..], &["--seed", "x"], &["--bogus"], &["one", "two"]] {
            assert!(Options::parse(bad).is_err(), "{bad:?}");
        }
    }
}
