//! Fresh seeds in simulation, for as long as is given: the search that goes on after the tests have passed. Every seed follows from the one
//! that is printed, and a failure prints the command that runs it again, and a smaller run that fails in the same way.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};

use crate::{cargo, shell, target_dir};

/// Nodes, profile, and its share of the time, in tenths.
const PARTS: [(u32, &str, u32); 5] = [(3, "default", 3), (5, "default", 2), (5, "storm", 2), (3, "snapshots", 2), (7, "default", 1)];
/// Seeds from one part's first to the next part's.
const SEEDS_APART: u64 = 1_000_000_000;

pub(crate) struct Options {
    seed: u64,
    time: Duration,
}

impl Options {
    pub(crate) fn parse(args: &[&str]) -> Result<Options> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let mut options = Options { seed: now.as_secs() % 1_000_000_000, time: Duration::from_secs(600) };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut number = || args.next().and_then(|number| number.parse::<u64>().ok()).with_context(|| format!("{arg} needs a number"));
            match *arg {
                "--seed" => options.seed = number()?,
                "--seconds" => options.time = Duration::from_secs(number()?),
                other => bail!("{other}: usage: cargo xtask simulate [--seed N] [--seconds S]"),
            }
        }
        ensure!(options.time >= Duration::from_secs(10), "less than 10 s show nothing");
        Ok(options)
    }
}

pub(crate) fn run(options: &Options) -> Result<()> {
    println!("seed={}", options.seed);
    shell::run(cargo().args(["build", "--release", "-p", "chaos"]))?;
    for (command, number) in commands(options).into_iter().zip(1..) {
        shell::run(std::process::Command::new(target_dir().join("release/chaos")).args(command))
            .with_context(|| format!("part {number} of {}; `cargo xtask simulate --seed {}` repeats all", PARTS.len(), options.seed))?;
    }
    Ok(())
}

/// What `chaos` is told, part by part.
fn commands(options: &Options) -> Vec<Vec<String>> {
    let part = |(number, (nodes, profile, tenths)): (u64, (u32, &str, u32))| {
        let first = options.seed.wrapping_mul(1_000_003) % SEEDS_APART + number * SEEDS_APART;
        let seconds = (options.time * tenths / 10).as_secs();
        let text = format!("sim --seeds {first}.. --for {seconds}s --nodes {nodes} --profile {profile} --shrink");
        text.split(' ').map(str::to_owned).collect()
    };
    (0..).zip(PARTS).map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_share_the_time_and_no_seeds() {
        assert_eq!(PARTS.iter().map(|(_, _, tenths)| tenths).sum::<u32>(), 10);
        let options = Options::parse(&["--seed", "7", "--seconds", "600"]).expect("good options");
        let commands = commands(&options);
        assert_eq!(commands[0].join(" "), "sim --seeds 7000021.. --for 180s --nodes 3 --profile default --shrink");
        assert_eq!(commands[4][2], "4007000021..");
        let seconds = |command: &Vec<String>| command[4].trim_end_matches('s').parse::<u64>().expect("a number");
        assert_eq!(commands.iter().map(seconds).sum::<u64>(), 600);
    }

    #[test]
    fn bad_options_are_named() {
        for args in [&["--seed"][..], &["--seed", "x"], &["--minutes", "1"], &["--seconds", "1"]] {
            assert!(Options::parse(args).is_err(), "{args:?}");
        }
    }
}
