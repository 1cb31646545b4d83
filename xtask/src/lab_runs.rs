//! `cargo xtask labs`: the labs' cases on real processes, each a run of its own, and a table of what came of them.

use std::process::{Command, Stdio};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};

use crate::host::Host;
use crate::{cargo, labs, shell, target_dir};

const USAGE: &str = "usage: cargo xtask labs [--list | --short] [--seed N] [ID...]";

/// What the caller wants.
pub(crate) struct Options {
    short: bool,
    seed: u64,
    ids: Vec<String>,
}

impl Options {
    pub(crate) fn parse(args: &[&str]) -> Result<Options> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
        let mut options = Options { short: false, seed: now, ids: Vec::new() };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            match *arg {
                "--short" => options.short = true,
                "--seed" => options.seed = args.next().and_then(|seed| seed.parse().ok()).context(USAGE)?,
                id if !id.starts_with('-') => options.ids.push(id.to_owned()),
                _ => bail!("{arg}: {USAGE}"),
            }
        }
        Ok(options)
    }
}

/// With `--short` these: each driver, with everything that can go wrong at once, in a few minutes. Cases that are tests too (K-A6, K-A13,
/// K-B9, M-R3, M-R4, M-K21, M-L4) are not among them.
const SHORT: [&str; 8] = ["K-A4", "K-A5", "K-A8", "K-A14", "K-B8", "M-K5", "M-K22", "M-L3"];

pub(crate) fn run(options: &Options) -> Result<()> {
    println!("seed={}", options.seed);
    let lacks = Host::probe().lacks_of(&["netns", "mount", "tun"]);
    if !lacks.is_empty() {
        println!("labs: not run: this host lacks {}", lacks.join(", "));
        return Ok(());
    }
    // The short ones with the programs that the tests have built already.
    let (profile, flags) = if options.short { ("debug", &[][..]) } else { ("release", &["--release"][..]) };
    shell::run(cargo().args(["build", "-p", "kvnode", "-p", "chaos", "--bins"]).args(flags))?;
    let chaos = target_dir().join(profile).join("chaos");
    let list = Command::new(&chaos).args(["lab", "list"]).output().context("cannot run chaos")?;
    let all: Vec<String> = String::from_utf8_lossy(&list.stdout).lines().map(str::to_owned).collect();
    ensure!(labs::runs()? == all.iter().cloned().collect(), "`chaos lab list` and what `labs --list` takes for it differ: {all:?}");
    if let Some(unknown) = options.ids.iter().find(|id| !all.contains(id)) {
        bail!("no run of {unknown}: `cargo xtask labs --list` says where each is tested");
    }
    let wanted = |id: &&String| match (options.ids.is_empty(), options.short) {
        (false, _) => options.ids.contains(id),
        (true, true) => SHORT.contains(&id.as_str()),
        (true, false) => true,
    };
    let mut failed = Vec::new();
    let start = Instant::now();
    let ids: Vec<&String> = all.iter().filter(wanted).collect();
    for id in &ids {
        let mut command = Command::new(&chaos);
        command.args(["lab", id, "--seed", &options.seed.to_string()]).stdin(Stdio::null());
        if options.short {
            command.arg("--short");
        }
        let output = command.output().context("cannot run chaos")?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        println!("{}", said.lines().rfind(|line| !line.starts_with("seed=")).unwrap_or(id));
        if !output.status.success() {
            print!("{}", String::from_utf8_lossy(&output.stderr));
            println!("{id} failed ({}): again with: cargo xtask labs --seed {} {id}", output.status, options.seed);
            failed.push(id.as_str());
        }
    }
    println!("labs: {} cases, {} failed, in {} s", ids.len(), failed.len(), start.elapsed().as_secs());
    if failed.is_empty() { Ok(()) } else { bail!("failed: {}", failed.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_read() {
        let options = Options::parse(&["--short", "--seed", "7", "K-A4", "M-R4"]).expect("well-formed");
        assert_eq!((options.short, options.seed, options.ids.len()), (true, 7, 2));
        for bad in [&["--seed"][..], &["--seed", "x"], &["--bogus"]] {
            assert!(Options::parse(bad).is_err(), "{bad:?}");
        }
    }
}
