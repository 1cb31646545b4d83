//! Mutants: patches under `tests/mutants/` that break one rule each. Every one must be caught by the tests that its header names: a check
//! that cannot fail proves nothing.
//!
//! A patch begins with its header:
//! ```text
//! # rule: what it breaks, in one sentence; more such lines may follow
//! # tier: script | unit | property | exhaustive | simulation | real
//! # test: cargo test -p raft --test suite NAME_PREFIX
//! ```
//! Tier and test may come more than once: each of them must catch it.
//!
//! All happens in copies of the sources under `target/mutants/`, so that the tree itself is never broken: two copies on two cores. One
//! takes the mutants from the front, the other from the back, so that each builds about half of the crates. First the tests must pass there
//! without any mutant: else their failure would show nothing. Draws are fresh in every run, so no seed is chosen for a mutant.
//!
//! A test that stays away because this host lacks what it needs (`ptrace`, say) catches nothing: such a mutant is counted apart.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};

use crate::host::Host;

const TIERS: [&str; 6] = ["script", "unit", "property", "exhaustive", "simulation", "real"];
/// Tiers whose tests draw.
const DRAWN: [&str; 3] = ["property", "simulation", "real"];
/// How often such tests may draw anew before a mutant counts as a survivor: the rarest of those of 150 seeds is met in one of 35.
const DRAWS_MAX: u64 = 3;
/// More than any test takes from one seed on.
const SEEDS_BETWEEN_DRAWS: u64 = 100_000;
/// Seconds that building may take. The first one builds everything.
const BUILD_S_MAX: u32 = 900;
/// Seconds that the tests of one mutant may take, and all tests of one program without any: the cheapest test that can catch a mutant is a
/// quick one.
const TEST_S_MAX: u32 = 180;

/// A patch and its header.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Mutant {
    name: String,
    catchers: Vec<Catcher>,
    /// The files that it changes.
    files: Vec<String>,
}

/// What must notice a mutant.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Catcher {
    tier: String,
    /// What follows `cargo`, up to the names of tests: one program.
    program: Vec<String>,
    /// The beginning, or any other part, of the names of its tests.
    filter: String,
}

/// What has become of one.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Verdict {
    CaughtBy(String),
    /// The test that is to catch it did not run: what this host lacks.
    NotHere(String),
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
    let home = Home::lock()?;
    let count = std::thread::available_parallelism().map_or(1, |cores| cores.get().min(2)).min(mutants.len());
    let lacks = Host::probe().lacks();
    let labs = (0..count).map(|number| Lab::prepare(&home, number, options.seed, &lacks, &mutants)).collect::<Result<Vec<Lab>>>()?;
    println!("{:<52} | {:<10} | {:<72} | {:<10} | {:>7}", "mutant", "tier", "caught by", "seed", "seconds");
    let todo: Mutex<VecDeque<&Mutant>> = Mutex::new(mutants.iter().collect());
    let tally: Mutex<Tally> = Mutex::new(Tally::default());
    std::thread::scope(|scope| {
        for (number, mut lab) in labs.into_iter().enumerate() {
            let (todo, tally) = (&todo, &tally);
            scope.spawn(move || {
                loop {
                    let next = |todo: &mut VecDeque<_>| if number == 0 { todo.pop_front() } else { todo.pop_back() };
                    let Some(mutant) = next(&mut todo.lock().expect("no panic")) else { break };
                    let verdicts = lab.judge(mutant);
                    tally.lock().expect("no panic").count(options.seed, mutant, verdicts);
                }
            });
        }
    });
    let Tally { mut failed, caught, not_here } = tally.into_inner().expect("no panic");
    failed.sort_unstable();
    for failure in &failed {
        println!("failed: {failure}");
    }
    let apart = if not_here > 0 { format!(", {not_here} for which this host lacks {lacks}") } else { String::new() };
    println!("{} mutants, {caught} caught, {} not{apart}, {:.0} s", mutants.len(), failed.len(), start.elapsed().as_secs_f64());
    // The line above stays the last one: no error is printed behind it.
    if !failed.is_empty() {
        std::process::exit(1);
    }
    Ok(())
}

/// What has become of all of them.
#[derive(Default)]
struct Tally {
    failed: Vec<String>,
    caught: usize,
    /// None of their tests runs on this host.
    not_here: usize,
}

impl Tally {
    /// Prints a line for everything that had to catch it.
    fn count(&mut self, seed: u64, mutant: &Mutant, verdicts: Vec<(Verdict, u64, f64)>) {
        let (mut wrongs, mut caught) = (Vec::new(), 0);
        let mut lines = String::new();
        for (catcher, (verdict, drawn, seconds)) in mutant.catchers.iter().zip(verdicts) {
            let seed = if DRAWN.contains(&catcher.tier.as_str()) { drawn.to_string() } else { "-".to_owned() };
            let shown = match &verdict {
                Verdict::CaughtBy(test) => test.clone(),
                Verdict::NotHere(why) => format!("not run: {why}"),
                Verdict::Wrong(why) => format!("NOT CAUGHT: {}", why.lines().next().unwrap_or_default()),
            };
            lines += &format!("{:<52} | {:<10} | {shown:<72} | {seed:<10} | {seconds:>7.1}\n", mutant.name, catcher.tier);
            match verdict {
                Verdict::CaughtBy(_) => caught += 1,
                Verdict::NotHere(_) => {}
                Verdict::Wrong(why) => wrongs.push(format!("{} ({}): {why}", mutant.name, catcher.tier)),
            }
        }
        print!("{lines}"); // at once: the other copy prints, too
        match (wrongs.is_empty(), caught) {
            (true, 0) => self.not_here += 1,
            (true, _) => self.caught += 1,
            (false, _) => {
                let again = format!("again with: cargo xtask mutants --seed {seed} {}", mutant.name);
                self.failed.push(format!("{}\n  {again}", wrongs.join("\n  ")));
            }
        }
    }
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
    let fields = |field: &str| -> Vec<String> {
        let header = text.lines().take_while(|line| line.starts_with('#'));
        header
            .filter_map(|line| line.strip_prefix("# ")?.strip_prefix(field)?.strip_prefix(": "))
            .map(|value| value.trim().to_owned())
            .collect()
    };
    ensure!(fields("rule").iter().any(|rule| !rule.is_empty()), "{name}: no line `# rule: ...` in its header");
    let (tiers, tests) = (fields("tier"), fields("test"));
    ensure!(!tiers.is_empty() && tiers.len() == tests.len(), "{name}: {} lines `# tier: ...`, {} `# test: ...`", tiers.len(), tests.len());
    let catchers = tiers.into_iter().zip(tests).map(|(tier, test)| catcher(tier, &test)).collect::<Result<Vec<Catcher>>>();
    let catchers = catchers.with_context(|| name.to_owned())?;
    let files: Vec<String> = text.lines().filter_map(|line| line.strip_prefix("+++ b/")).map(str::to_owned).collect();
    ensure!(!files.is_empty(), "{name}: no line `+++ b/FILE`: it changes nothing");
    // A mutant that changes the tests would be caught, or not, by what it brings along.
    let is_test = |file: &&String| file.contains("tests/") || file.ends_with("tests.rs");
    ensure!(!files.iter().any(|file| is_test(&file)), "{name}: it changes tests");
    Ok(Mutant { name: name.to_owned(), catchers, files })
}

fn catcher(tier: String, test: &str) -> Result<Catcher> {
    ensure!(TIERS.contains(&tier.as_str()), "no such tier: {tier}");
    let words: Vec<String> = test.split_whitespace().map(str::to_owned).collect();
    let is_program =
        words.len() > 3 && words[..2] == ["cargo", "test"] && words[words.len() - 2] != "-p" && words[words.len() - 2] != "--test";
    ensure!(is_program, "its test is not `cargo test PROGRAM NAME`: {test}");
    let [program @ .., filter] = &words[1..] else { unreachable!("more than three words") };
    Ok(Catcher { tier, program: program.to_vec(), filter: filter.clone() })
}

/// Where all copies lie.
struct Home {
    dir: PathBuf,
    /// Two runs at once would break each other's copies.
    _lock: File,
}

impl Home {
    fn lock() -> Result<Home> {
        let dir = crate::target_dir().join("mutants");
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let lock = File::create(dir.join("lock"))?;
        lock.try_lock().with_context(|| format!("another run works in {}", dir.display()))?;
        Ok(Home { dir, _lock: lock })
    }
}

/// A copy of the sources, and where it is built.
struct Lab {
    dir: PathBuf,
    seed: u64,
    /// What the host denies, for tests that cannot do without.
    lacks: String,
    /// All names that are asked of each program.
    filters: BTreeMap<Vec<String>, Vec<String>>,
    /// Programs that were run without a mutant, and what came of it.
    sound: BTreeMap<Vec<String>, Result<Ran, String>>,
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
    fn prepare(home: &Home, number: usize, seed: u64, lacks: &str, mutants: &[Mutant]) -> Result<Lab> {
        let mut filters: BTreeMap<Vec<String>, Vec<String>> = BTreeMap::new();
        for Catcher { program, filter, .. } in mutants.iter().flat_map(|mutant| &mutant.catchers) {
            filters.entry(program.clone()).or_default().push(filter.clone());
        }
        let (dir, lacks) = (home.dir.join(number.to_string()), lacks.to_owned());
        let lab = Lab { dir, seed, lacks, filters, sound: BTreeMap::new() };
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

    /// What each of its catchers says, with which draws, and the seconds that took.
    fn judge(&mut self, mutant: &Mutant) -> Vec<(Verdict, u64, f64)> {
        let unsound: Vec<Option<String>> = mutant.catchers.iter().map(|catcher| self.unsound(catcher).err()).collect();
        let mut verdicts = Vec::new();
        let exposed = self.expose(mutant, |lab| {
            for (catcher, unsound) in mutant.catchers.iter().zip(&unsound) {
                let begun = Instant::now();
                let (verdict, seed) = match unsound {
                    Some(why) => (Verdict::Wrong(format!("its test fails without it: {why}")), lab.seed),
                    None => lab.try_draws(catcher),
                };
                verdicts.push((verdict, seed, begun.elapsed().as_secs_f64()));
            }
        });
        if let Err(error) = exposed {
            verdicts = vec![(Verdict::Wrong(format!("{error:#}")), self.seed, 0.0); mutant.catchers.len()];
        }
        verdicts
    }

    /// Runs a catcher on the mutant that is applied, with new draws while it survives them; and the seed of the last ones.
    fn try_draws(&self, catcher: &Catcher) -> (Verdict, u64) {
        let draws = if DRAWN.contains(&catcher.tier.as_str()) { DRAWS_MAX } else { 1 };
        let mut last = (Verdict::Wrong("it was not tried".to_owned()), self.seed);
        for seed in (0..draws).map(|draw| self.seed + draw * SEEDS_BETWEEN_DRAWS) {
            let ran = self.test(&catcher.program, [&catcher.filter], seed);
            let survives = ran.as_ref().is_ok_and(|ran| ran.code == Some(0));
            last = (ran.map_or_else(|error| Verdict::Wrong(format!("{error:#}")), |ran| judge(&ran)), seed);
            if !survives || matches!(last.0, Verdict::NotHere(_)) {
                break;
            }
        }
        last
    }

    /// Without a mutant the tests must pass; all that are asked of a program run at once.
    fn unsound(&mut self, catcher: &Catcher) -> Result<(), String> {
        let ran = match self.sound.get(&catcher.program) {
            Some(known) => known,
            None => {
                let ran = self.test(&catcher.program, &self.filters[&catcher.program], self.seed).map_err(|error| format!("{error:#}"));
                self.sound.entry(catcher.program.clone()).or_insert(ran)
            }
        };
        judge_without(ran.as_ref().map_err(Clone::clone)?, &catcher.filter).map_err(|error| format!("{error:#}"))
    }

    /// Applies it, does something, and takes it back.
    fn expose(&self, mutant: &Mutant, mut act: impl FnMut(&Lab)) -> Result<()> {
        let read = |file: &String| std::fs::read(self.tree().join(file)).with_context(|| format!("it no longer applies: {file}"));
        let originals = mutant.files.iter().map(read).collect::<Result<Vec<Vec<u8>>>>()?;
        let done = self.apply(mutant).and_then(|()| {
            let unchanged = mutant.files.iter().zip(&originals).any(|(file, original)| read(file).is_ok_and(|now| now == *original));
            ensure!(!unchanged, "it no longer applies: a file is as it was");
            act(self);
            Ok(())
        });
        // With the time of now: cargo must not take what was built of the mutant for this.
        for (file, original) in mutant.files.iter().zip(&originals) {
            std::fs::write(self.tree().join(file), original)?;
        }
        done
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

    /// Builds, which must succeed, and runs the tests of these names.
    fn test<'a>(&self, program: &[String], filters: impl IntoIterator<Item = &'a String>, seed: u64) -> Result<Ran> {
        let mut builds = vec![[program, &["--no-run".to_owned()]].concat()];
        if program.iter().any(|word| word == "tests") {
            // They would build the programs that they start by themselves, and the first time takes longer than tests may.
            builds.push(["build", "-p", "kvnode", "-p", "kvcli"].map(str::to_owned).into());
        }
        for build in builds {
            let built = self.cargo(BUILD_S_MAX, &build, seed)?;
            if built.code != Some(0) {
                let errors: Vec<&str> = built.stderr.lines().filter(|line| line.starts_with("error")).take(3).collect();
                bail!("it does not compile ({:?}): {}", built.code, errors.join("; "));
            }
        }
        let filters: Vec<String> = filters.into_iter().cloned().collect();
        self.cargo(TEST_S_MAX, &[program, &["--".to_owned()], &filters].concat(), seed)
    }

    fn cargo(&self, seconds_max: u32, args: &[String], seed: u64) -> Result<Ran> {
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
        command.env("CARGO_PROFILE_DEV_DEBUG", "0"); // nobody looks into these
        for name in ["KVRAFT_SEED", "PROPTEST_RNG_SEED"] {
            command.env(name, seed.to_string());
        }
        // Tests of real processes build those of the copy.
        command.env("KVRAFT_HOST_LACKS", &self.lacks).env_remove("KVRAFT_NOT_RUN").env_remove("KVRAFT_BIN_DIR");
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

/// Which tests have passed, and which have failed.
fn results(stdout: &str) -> (Vec<String>, Vec<String>) {
    let of = |line: &str, ending: &str| Some(line.strip_prefix("test ")?.strip_suffix(ending)?.to_owned());
    let passed = stdout.lines().filter_map(|line| of(line, " ... ok")).collect();
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

/// What this host lacks, if a test says that it did not run for want of it.
fn lacking(stdout: &str) -> Option<String> {
    let (_, what) = stdout.lines().find(|line| line.contains("not run: "))?.split_once(": this host lacks ")?;
    Some(format!("this host lacks {what}"))
}

/// With a mutant the command must fail, and because of a test.
fn judge(ran: &Ran) -> Verdict {
    let (passed, failed) = results(&ran.stdout);
    if let Some(why) = unfinished(ran) {
        return Verdict::Wrong(why);
    }
    if let (Some(0), Some(what)) = (ran.code, lacking(&ran.stdout)) {
        return Verdict::NotHere(what);
    }
    match (ran.code, failed.as_slice()) {
        (Some(101), [first]) => Verdict::CaughtBy(first.clone()),
        (Some(101), [first, rest @ ..]) => Verdict::CaughtBy(format!("{first} (and {} more)", rest.len())),
        (Some(0), []) if passed.is_empty() => Verdict::Wrong("its command runs no test".to_owned()),
        (Some(0), []) => Verdict::Wrong(format!("it survives: {} tests passed", passed.len())),
        (code, _) => {
            let last = ran.stderr.lines().rev().find(|line| !line.is_empty()).unwrap_or_default();
            Verdict::Wrong(format!("no test says so by name (code {code:?}): {last}"))
        }
    }
}

/// Without a mutant every test of the name must pass, and there must be one.
fn judge_without(ran: &Ran, filter: &str) -> Result<()> {
    let (mut passed, mut failed) = results(&ran.stdout);
    if let Some(why) = unfinished(ran) {
        bail!(why);
    }
    ensure!(failed.is_empty() == (ran.code == Some(0)), "code {:?}, and {} tests failed", ran.code, failed.len());
    passed.retain(|name| name.contains(filter));
    failed.retain(|name| name.contains(filter));
    ensure!(failed.is_empty(), "{}", failed.join(", "));
    ensure!(!passed.is_empty(), "no test of the name {filter}");
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
            Verdict::CaughtBy(what) | Verdict::NotHere(what) => panic!("{what}"),
            Verdict::Wrong(why) => why,
        }
    }

    #[test]
    fn a_header_is_read() {
        let mutant = parse("001-counts-older-terms", PATCH).expect("well-formed");
        assert_eq!(mutant.files, ["raft/src/replication.rs"]);
        let [Catcher { tier, program, filter }] = mutant.catchers.as_slice() else { panic!("{:?}", mutant.catchers) };
        assert_eq!((tier.as_str(), program.join(" ").as_str(), filter.as_str()), ("script", "test -p raft --test suite", "every_story"));
        let two = PATCH.replace("--- a/", "# tier: exhaustive\n# test: cargo test -p raft --test explore figure_8\n--- a/");
        let tiers: Vec<String> = parse("001-a", &two).expect("well-formed").catchers.into_iter().map(|catcher| catcher.tier).collect();
        assert_eq!(tiers, ["script", "exhaustive"]);
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
            ("001-a", "# test:", "# tier: unit\n# test:"),
            ("001-a", " every_story", ""),
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
        let away = "not run: a: this host lacks ptrace\ntest a ... ok\n";
        assert_eq!(judge(&ran(Some(0), away)), Verdict::NotHere("this host lacks ptrace".to_owned()));
        assert_eq!(judge(&ran(Some(101), &format!("{away}test b ... FAILED\n"))), Verdict::CaughtBy("b".to_owned()));
        // It did not compile, or a test program was killed half-way.
        assert!(wrong(judge(&ran(Some(101), "test a::b ... ok\n"))).contains("test failed, to rerun"));
        assert!(wrong(judge(&ran(Some(124), failed))).contains("not finished"));
        assert!(wrong(judge(&ran(None, failed))).contains("signal"));
    }

    #[test]
    fn a_test_that_fails_or_is_missing_without_the_mutant_proves_nothing() {
        let (good, one_bad) = (ran(Some(0), "test a ... ok\n"), ran(Some(101), "test a ... ok\ntest b ... FAILED\n"));
        assert!(judge_without(&good, "a").is_ok() && judge_without(&one_bad, "a").is_ok(), "another test's failure is another mutant's");
        assert!(judge_without(&one_bad, "b").is_err());
        assert!(judge_without(&good, "b").is_err());
        for (code, stdout) in
            [(0, "running 0 tests\n"), (101, "test a ... ok\n"), (0, "test b ... FAILED\ntest a ... ok\n"), (124, "test a ... ok\n")]
        {
            assert!(judge_without(&ran(Some(code), stdout), "a").is_err(), "{code} {stdout}");
        }
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
