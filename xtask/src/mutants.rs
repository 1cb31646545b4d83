//! Mutants: patches under `tests/mutants/` that break one rule each. Every one must be caught by the test that its header names: a check
//! that cannot fail proves nothing.
//!
//! A patch begins with its header:
//! ```text
//! # rule: what it breaks, in one sentence; more such lines may follow
//! # tier: script | unit | property | simulation | real
//! # test: cargo test -p raft --test suite NAME_PREFIX
//! ```
//! All happens in a copy of the sources under `target/mutants/`, so that the tree itself is never broken. First the tests must pass
//! there without any mutant: else their failure would show nothing. Draws are fresh in every run, so no seed is chosen for a mutant.

use std::fs::File;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};

const TIERS: [&str; 5] = ["script", "unit", "property", "simulation", "real"];
/// Seconds that building may take. The first one builds everything.
const BUILD_S_MAX: u32 = 900;
/// Seconds that the tests of one mutant may take: the cheapest test that can catch it is a quick one.
const TEST_S_MAX: u32 = 180;

/// A patch and its header.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Mutant {
    name: String,
    tier: String,
    /// What follows `cargo`.
    test: Vec<String>,
    /// The files that it changes.
    files: Vec<String>,
}

/// What has become of one.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Verdict {
    CaughtBy(String),
    /// Why it counts as a failure of this job.
    Wrong(String),
}

pub(crate) struct Options {
    seed: u64,
    names: Vec<String>,
}

impl Options {
    pub(crate) fn parse(args: &[&str]) -> Result<Options> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos();
        let mut options = Options { seed: u64::try_from(now / 1000 % 1_000_000_000)?, names: Vec::new() };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            match *arg {
                "--seed" => {
                    let seed = args.next().context("--seed needs a number")?;
                    options.seed = seed.parse().with_context(|| format!("--seed {seed}"))?;
                }
                unknown if unknown.starts_with('-') => bail!("mutants: no such option: {unknown}"),
                name => options.names.push(name.to_owned()),
            }
        }
        Ok(options)
    }
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let start = Instant::now();
    let mutants = chosen(all()?, &options.names)?;
    println!("seed={} (the same draws again with: cargo xtask mutants --seed {})", options.seed, options.seed);
    let lab = Lab::prepare(options.seed)?;
    let mut sound = Vec::new();
    for mutant in &mutants {
        if !sound.iter().any(|(test, _)| *test == mutant.test) {
            let verdict = lab.test(&mutant.test).and_then(|ran| judge_without(&ran));
            sound.push((mutant.test.clone(), verdict));
        }
    }
    println!("without a mutant: {} commands, {:.1} s", sound.len(), start.elapsed().as_secs_f64());
    println!("{:<52} | {:<72} | {:<10} | {:>7}", "mutant", "caught by", "seed", "seconds");
    let mut failed = Vec::new();
    for mutant in &mutants {
        let begun = Instant::now();
        let without = sound.iter().find(|(test, _)| *test == mutant.test).and_then(|(_, verdict)| verdict.as_ref().err());
        let verdict = match without {
            Some(error) => Verdict::Wrong(format!("its test fails without it: {error:#}")),
            None => lab.expose(mutant).unwrap_or_else(|error| Verdict::Wrong(format!("{error:#}"))),
        };
        let drawn = ["property", "simulation", "real"].contains(&mutant.tier.as_str());
        let seed = if drawn { options.seed.to_string() } else { "-".to_owned() };
        let shown = match &verdict {
            Verdict::CaughtBy(test) => test.clone(),
            Verdict::Wrong(why) => format!("NOT CAUGHT: {}", why.lines().next().unwrap_or_default()),
        };
        println!("{:<52} | {shown:<72} | {seed:<10} | {:>7.1}", mutant.name, begun.elapsed().as_secs_f64());
        if let Verdict::Wrong(why) = verdict {
            failed.push(format!("{}: {why}\n  again with: cargo xtask mutants --seed {} {}", mutant.name, options.seed, mutant.name));
        }
    }
    drop(lab);
    for failure in &failed {
        println!("failed: {failure}");
    }
    let caught = mutants.len() - failed.len();
    println!("{} mutants, {caught} caught, {} not, {:.0} s", mutants.len(), failed.len(), start.elapsed().as_secs_f64());
    // The line above stays the last one: no error is printed behind it.
    if !failed.is_empty() {
        std::process::exit(1);
    }
    Ok(())
}

/// Every mutant there is, in the order of their numbers.
fn all() -> Result<Vec<Mutant>> {
    let dir = crate::root().join("tests/mutants");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&dir).with_context(|| format!("cannot list {}", dir.display()))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        names.extend(name.strip_suffix(".patch").map(str::to_owned));
    }
    names.sort_unstable();
    names.iter().map(|name| parse(name, &crate::read(&format!("tests/mutants/{name}.patch"))?)).collect()
}

/// Those whose names contain any of `names`, or all of them.
fn chosen(mutants: Vec<Mutant>, names: &[String]) -> Result<Vec<Mutant>> {
    for name in names {
        ensure!(mutants.iter().any(|mutant| mutant.name.contains(name)), "no mutant's name contains {name}");
    }
    let is_chosen = |mutant: &Mutant| names.is_empty() || names.iter().any(|name| mutant.name.contains(name));
    let mutants: Vec<Mutant> = mutants.into_iter().filter(is_chosen).collect();
    ensure!(!mutants.is_empty(), "there are no mutants: nothing was tried");
    Ok(mutants)
}

fn parse(name: &str, text: &str) -> Result<Mutant> {
    let (number, rest) = name.split_once('-').unwrap_or(("", name));
    ensure!(number.len() == 3 && number.bytes().all(|byte| byte.is_ascii_digit()) && !rest.is_empty(), "{name}: not NNN-name.patch");
    let field = |field: &str| -> Result<&str> {
        let header = text.lines().take_while(|line| line.starts_with('#'));
        let value = header.filter_map(|line| line.strip_prefix("# ")?.strip_prefix(field)?.strip_prefix(": ")).next();
        value.map(str::trim).filter(|value| !value.is_empty()).with_context(|| format!("{name}: no line `# {field}: ...` in its header"))
    };
    field("rule")?;
    let tier = field("tier")?;
    ensure!(TIERS.contains(&tier), "{name}: no such tier: {tier}");
    let test: Vec<String> = field("test")?.split_whitespace().map(str::to_owned).collect();
    ensure!(test.len() > 2 && test[..2] == ["cargo", "test"], "{name}: its test is not `cargo test ...`");
    let files: Vec<String> = text.lines().filter_map(|line| line.strip_prefix("+++ b/")).map(str::to_owned).collect();
    ensure!(!files.is_empty(), "{name}: no line `+++ b/FILE`: it changes nothing");
    // A mutant that changes the tests would be caught, or not, by what it brings along.
    let is_test = |file: &&String| file.contains("tests/") || file.ends_with("tests.rs");
    ensure!(!files.iter().any(|file| is_test(&file)), "{name}: it changes tests");
    Ok(Mutant { name: name.to_owned(), tier: tier.to_owned(), test: test[1..].to_vec(), files })
}

/// A copy of the sources, and where it is built.
struct Lab {
    dir: PathBuf,
    seed: u64,
    /// Two runs at once would break each other's copy.
    _lock: File,
}

/// What running a command has come to.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Ran {
    /// `None`: a signal ended it.
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Lab {
    fn prepare(seed: u64) -> Result<Lab> {
        let dir = crate::target_dir().join("mutants");
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let lock = File::create(dir.join("lock"))?;
        lock.try_lock().with_context(|| format!("another run works in {}", dir.display()))?;
        let lab = Lab { dir, seed, _lock: lock };
        lab.clear(); // what an interrupted run has left
        std::fs::create_dir_all(lab.tmp())?;
        let list = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
        let output = Command::new("git").args(list).current_dir(crate::root()).output().context("cannot run git")?;
        ensure!(output.status.success(), "git ls-files: {}", String::from_utf8_lossy(&output.stderr));
        for path in String::from_utf8(output.stdout)?.split_terminator('\0') {
            let (from, to) = (crate::root().join(path), lab.tree().join(path));
            // A file that was deleted and not committed is still listed.
            if from.is_file() {
                std::fs::create_dir_all(to.parent().unwrap_or(&to))?;
                std::fs::copy(&from, &to).with_context(|| format!("cannot copy {path}"))?;
            }
        }
        Ok(lab)
    }

    fn tree(&self) -> PathBuf {
        self.dir.join("tree")
    }

    fn tmp(&self) -> PathBuf {
        self.dir.join("tmp")
    }

    fn clear(&self) {
        for dir in [self.tree(), self.tmp()] {
            let _ = std::fs::remove_dir_all(dir);
        }
    }

    /// Applies it, sees whether it is caught, and takes it back.
    fn expose(&self, mutant: &Mutant) -> Result<Verdict> {
        let read = |file: &String| std::fs::read(self.tree().join(file)).with_context(|| format!("it no longer applies: {file}"));
        let originals = mutant.files.iter().map(read).collect::<Result<Vec<Vec<u8>>>>()?;
        let verdict = self.apply(mutant).and_then(|()| {
            let unchanged = mutant.files.iter().zip(&originals).any(|(file, original)| read(file).is_ok_and(|now| now == *original));
            ensure!(!unchanged, "it no longer applies: a file is as it was");
            Ok(judge(&self.test(&mutant.test)?))
        });
        // With the time of now: cargo must not take what was built of the mutant for this.
        for (file, original) in mutant.files.iter().zip(&originals) {
            std::fs::write(self.tree().join(file), original)?;
        }
        verdict
    }

    fn apply(&self, mutant: &Mutant) -> Result<()> {
        let patch = crate::root().join(format!("tests/mutants/{}.patch", mutant.name));
        let mut git = Command::new("git");
        git.args(["apply", "--whitespace=nowarn"]).arg(patch).current_dir(self.tree());
        // The copy lies within the repository, where git would take the paths for others and skip them without a word.
        let output = git.env("GIT_CEILING_DIRECTORIES", &self.dir).output().context("cannot run git")?;
        ensure!(output.status.success(), "it no longer applies: {}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(())
    }

    /// Builds, which must succeed, and runs the tests.
    fn test(&self, test: &[String]) -> Result<Ran> {
        let built = self.cargo(BUILD_S_MAX, &build(test))?;
        if built.code != Some(0) {
            let errors: Vec<&str> = built.stderr.lines().filter(|line| line.starts_with("error")).take(3).collect();
            bail!("it does not compile ({:?}): {}", built.code, errors.join("; "));
        }
        self.cargo(TEST_S_MAX, test)
    }

    fn cargo(&self, seconds_max: u32, args: &[String]) -> Result<Ran> {
        let cargo = crate::cargo();
        // `timeout` ends the tests' programs too, which are not our children.
        let mut command = Command::new("timeout");
        command.arg("--kill-after=5").arg(seconds_max.to_string()).arg(cargo.get_program()).args(args).current_dir(self.tree());
        for (name, value) in cargo.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.env("CARGO_TARGET_DIR", self.dir.join("build")).env("TMPDIR", self.tmp()).env("RUST_BACKTRACE", "0");
        for name in ["KVRAFT_SEED", "SIM_FIRST_SEED", "PROPTEST_RNG_SEED"] {
            command.env(name, self.seed.to_string());
        }
        let output = command.output().context("cannot run timeout")?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(Ran { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) })
    }
}

impl Drop for Lab {
    /// What was built stays: it saves the next run most of its time.
    fn drop(&mut self) {
        self.clear();
    }
}

/// The command that builds what `test` runs: all of it up to the names of tests.
fn build(test: &[String]) -> Vec<String> {
    let cargos = test.iter().take_while(|word| *word != "--");
    cargos.cloned().chain(["--no-run".to_owned()]).collect()
}

/// How many tests have passed, and which have failed.
fn counts(stdout: &str) -> (usize, Vec<String>) {
    let of = |line: &str, ending: &str| Some(line.strip_prefix("test ")?.strip_suffix(ending)?.to_owned());
    let passed = stdout.lines().filter_map(|line| of(line, " ... ok")).count();
    (passed, stdout.lines().filter_map(|line| of(line, " ... FAILED")).collect())
}

/// Why there is no verdict of the tests at all, if so.
fn unfinished(ran: &Ran) -> Option<String> {
    match ran.code {
        Some(124 | 137) => Some(format!("not finished after {TEST_S_MAX} s: no test has failed")),
        None => Some("a signal ended the tests".to_owned()),
        Some(_) => None,
    }
}

/// With a mutant the command must fail, and because of a test.
fn judge(ran: &Ran) -> Verdict {
    let (passed, failed) = counts(&ran.stdout);
    if let Some(why) = unfinished(ran) {
        return Verdict::Wrong(why);
    }
    match (ran.code, failed.as_slice()) {
        (Some(101), [first]) => Verdict::CaughtBy(first.clone()),
        (Some(101), [first, rest @ ..]) => Verdict::CaughtBy(format!("{first} (and {} more)", rest.len())),
        (Some(0), []) if passed == 0 => Verdict::Wrong("its command runs no test".to_owned()),
        (Some(0), []) => Verdict::Wrong(format!("it survives: {passed} tests passed")),
        (code, _) => {
            let last = ran.stderr.lines().rev().find(|line| !line.is_empty()).unwrap_or_default();
            Verdict::Wrong(format!("no test says so by name (code {code:?}): {last}"))
        }
    }
}

/// Without a mutant every test must pass, and there must be one.
fn judge_without(ran: &Ran) -> Result<()> {
    let (passed, failed) = counts(&ran.stdout);
    if let Some(why) = unfinished(ran) {
        bail!(why);
    }
    ensure!(failed.is_empty() && ran.code == Some(0), "{} (code {:?})", failed.join(", "), ran.code);
    ensure!(passed > 0, "no test of this name");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATCH: &str = "\
# rule: an entry of an older term is never committed by counting
# tier: script
# test: cargo test -p raft --test suite every_story
--- a/raft/src/replication.rs
+++ b/raft/src/replication.rs
@@ -1,3 +1,3 @@
 one
-two
+three
";

    fn ran(code: Option<i32>, stdout: &str) -> Ran {
        Ran { code, stdout: stdout.to_owned(), stderr: "\nerror: test failed, to rerun pass `-p raft`\n\n".to_owned() }
    }

    fn wrong(verdict: Verdict) -> String {
        match verdict {
            Verdict::CaughtBy(test) => panic!("caught by {test}"),
            Verdict::Wrong(why) => why,
        }
    }

    #[test]
    fn a_header_is_read() {
        let mutant = parse("001-counts-older-terms", PATCH).expect("well-formed");
        assert_eq!((mutant.tier.as_str(), mutant.files.as_slice()), ("script", &["raft/src/replication.rs".to_owned()][..]));
        assert_eq!(mutant.test, ["test", "-p", "raft", "--test", "suite", "every_story"]);
        assert_eq!(build(&mutant.test).last().map(String::as_str), Some("--no-run"));
    }

    #[test]
    fn a_header_that_says_too_little_is_refused() {
        for (name, from, to) in [
            ("1-short", "", ""),
            ("001", "", ""),
            ("001-a", "# rule: an", "# an"),
            ("001-a", "# tier: script", "# tier: luck"),
            ("001-a", "# test: cargo test -p", "# test: make"),
            ("001-a", "+++ b/", "+++ "),
            ("001-a", "+++ b/raft/src/", "+++ b/raft/tests/suite/"),
            ("001-a", "# test:", "--- test:"),
        ] {
            assert!(parse(name, &PATCH.replace(from, to)).is_err(), "{name} {to}");
        }
    }

    #[test]
    fn only_a_test_that_fails_by_name_catches_a_mutant() {
        let failed = "running 2 tests\ntest a::b ... ok\ntest a::c ... FAILED\n\ntest result: FAILED. 1 passed; 1 failed; 0 ignored\n";
        assert_eq!(judge(&ran(Some(101), failed)), Verdict::CaughtBy("a::c".to_owned()));
        let two = "test a ... FAILED\ntest b ... FAILED\n";
        assert_eq!(judge(&ran(Some(101), two)), Verdict::CaughtBy("a (and 1 more)".to_owned()));
        assert!(wrong(judge(&ran(Some(0), "test a::b ... ok\n"))).contains("survives"));
        assert!(wrong(judge(&ran(Some(0), "running 0 tests\n"))).contains("runs no test"));
        // It did not compile, or a test program was killed half-way.
        assert!(wrong(judge(&ran(Some(101), "test a::b ... ok\n"))).contains("test failed, to rerun"));
        assert!(wrong(judge(&ran(Some(124), failed))).contains("not finished"));
        assert!(wrong(judge(&ran(None, failed))).contains("signal"));
    }

    #[test]
    fn a_test_that_fails_or_is_missing_without_the_mutant_proves_nothing() {
        assert!(judge_without(&ran(Some(0), "test a ... ok\n")).is_ok());
        assert!(judge_without(&ran(Some(101), "test a ... ok\ntest b ... FAILED\n")).is_err());
        assert!(judge_without(&ran(Some(0), "running 0 tests\n")).is_err());
        assert!(judge_without(&ran(Some(101), "test a ... ok\n")).is_err());
        assert!(judge_without(&ran(Some(124), "test a ... ok\n")).is_err());
    }

    #[test]
    fn the_patches_of_this_tree_are_well_formed_and_numbered_once() {
        let mutants = all().expect("every header is well-formed");
        let numbers: std::collections::BTreeSet<&str> = mutants.iter().map(|mutant| &mutant.name[..3]).collect();
        assert_eq!(numbers.len(), mutants.len(), "a number is used twice");
        assert!(mutants.len() >= 24, "{} mutants", mutants.len());
    }

    #[test]
    fn names_choose_and_unknown_ones_are_refused() {
        let mutants = vec![parse("001-one", PATCH).expect("one"), parse("002-two", PATCH).expect("two")];
        assert_eq!(chosen(mutants.clone(), &[]).expect("all").len(), 2);
        assert_eq!(chosen(mutants.clone(), &["two".to_owned()]).expect("one of them")[0].name, "002-two");
        assert!(chosen(mutants, &["three".to_owned()]).is_err());
        assert!(chosen(Vec::new(), &[]).is_err());
        assert!(Options::parse(&["--seed"]).is_err() && Options::parse(&["--bogus"]).is_err());
    }
}
