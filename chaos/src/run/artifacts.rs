//! What a run leaves behind: a directory of its own, and a link `latest` beside it.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use checker::Op;
use serde::Serialize;

use crate::ending::{Ending, Failure};

/// What clients saw.
const HISTORY: &str = "history.jsonl";

/// What to say when it cannot.
pub(crate) fn cannot_write(place: &Path, error: &io::Error) -> Failure {
    Ending::Io.says(format!("cannot write to {}: {error}", place.display()))
}

/// The directory of a run, while it is written.
pub(crate) struct Artifacts {
    dir: PathBuf,
    history: BufWriter<File>,
}

impl Artifacts {
    /// Makes `OUT/TIME-seed-N` and points `OUT/latest` at it.
    pub(crate) fn create(out: &Path, seed: u64) -> io::Result<Artifacts> {
        fs::create_dir_all(out)?;
        let time = humantime::format_rfc3339_seconds(SystemTime::now()).to_string().replace(':', "");
        // Two runs may begin within a second, with one seed.
        let names = (1..).map(|count: u32| if count == 1 { format!("{time}-seed-{seed}") } else { format!("{time}-seed-{seed}-{count}") });
        let mut name = String::new();
        for candidate in names {
            match fs::create_dir(out.join(&candidate)) {
                Ok(()) => {
                    name = candidate;
                    break;
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        let dir = out.join(&name).canonicalize()?;
        // Made beside and renamed over: whoever follows the link finds one run or the other.
        let fresh = out.join(format!(".latest-{name}"));
        std::os::unix::fs::symlink(&name, &fresh)?;
        fs::rename(&fresh, out.join("latest"))?;
        let history = BufWriter::new(File::create(dir.join(HISTORY))?);
        Ok(Artifacts { dir, history })
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// One value, for people and programs.
    pub(crate) fn json(&self, name: &str, value: &impl Serialize) -> io::Result<()> {
        let mut text = serde_json::to_string_pretty(value)?;
        text.push('\n');
        fs::write(self.dir.join(name), text)
    }

    /// A value per line.
    pub(crate) fn lines<T: Serialize>(&self, name: &str, values: &[T]) -> io::Result<()> {
        let mut text = String::new();
        for value in values {
            text += &serde_json::to_string(value)?;
            text.push('\n');
        }
        fs::write(self.dir.join(name), text)
    }

    /// Adds to the history, in the order in which calls end.
    pub(crate) fn record(&mut self, ops: &[Op]) -> Result<(), Failure> {
        let written = ops.iter().try_for_each(|op| checker::write(op, &mut self.history));
        written.map_err(|error| cannot_write(&self.dir.join(HISTORY), &error))
    }

    /// The whole history once more, because more is known of it.
    pub(crate) fn rewrite(&mut self, ops: &[Op]) -> Result<(), Failure> {
        let (fresh, place) = (self.dir.join(".history.jsonl"), self.dir.join(HISTORY));
        self.history = BufWriter::new(File::create(&fresh).map_err(|error| cannot_write(&fresh, &error))?);
        self.record(ops)?;
        self.flush()?;
        fs::rename(fresh, &place).map_err(|error| cannot_write(&place, &error))
    }

    /// From here on the history can be read.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        self.history.flush().map_err(|error| cannot_write(&self.dir.join(HISTORY), &error))
    }
}

#[cfg(test)]
mod tests {
    use checker::Call;

    use super::*;

    #[test]
    fn a_full_disk_is_named() {
        let history = BufWriter::new(File::options().write(true).open("/dev/full").expect("every Linux has it"));
        let mut artifacts = Artifacts { dir: "runs/x".into(), history };
        let ops = vec![Op::new(1, Call::Get { key: b"k".into() }, 0); 1000];
        let failure = artifacts.record(&ops).expect_err("it takes nothing");
        assert!(failure.to_string().starts_with("cannot write to runs/x/history.jsonl: "), "{failure}");
    }

    #[test]
    fn latest_is_the_last_run_and_none_is_overwritten() {
        let out = tempfile::tempdir().expect("a temporary directory");
        let out = out.path().join("runs");
        let runs: Vec<Artifacts> = (0..3).map(|_| Artifacts::create(&out, 7).expect("a directory")).collect();
        assert_eq!(out.join("latest").canonicalize().expect("a link"), runs[2].dir());
        assert!(runs[0].dir() != runs[1].dir() && runs[1].dir() != runs[2].dir());
    }
}
