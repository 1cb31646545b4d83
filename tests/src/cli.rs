//! A finished command and what may be expected of it.

use std::ffi::OsStr;
use std::fmt;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::wait::{PATIENCE, wait_for};
use crate::{process, programs};

/// How a command ended and all it said.
pub struct Ran {
    line: String,
    /// Exit code; 128 and the signal's number if a signal ended it, as a shell would say.
    pub code: i32,
    /// Results.
    pub stdout: Vec<u8>,
    /// All else.
    pub stderr: String,
    /// From start to end.
    pub took: Duration,
}

impl Ran {
    /// Runs it to its end, with these bytes on stdin.
    pub fn run(command: Command, stdin: &[u8]) -> Ran {
        let mut command = command;
        let line = format!("{command:?}");
        command.stdin(if stdin.is_empty() { Stdio::null() } else { Stdio::piped() }).stdout(Stdio::piped()).stderr(Stdio::piped());
        let start = Instant::now();
        let mut child = process::spawn(command).unwrap_or_else(|error| panic!("cannot run {line}: {error}"));
        let writer = child.stdin.take().map(|mut pipe| {
            let bytes = stdin.to_owned();
            // It may end without reading all of it, which is its right.
            std::thread::spawn(move || drop(pipe.write_all(&bytes)))
        });
        let output = child.wait_with_output().unwrap_or_else(|error| panic!("cannot wait for {line}: {error}"));
        if let Some(writer) = writer {
            writer.join().expect("the writer of stdin");
        }
        let code = output.status.code().unwrap_or_else(|| 128 + output.status.signal().unwrap_or(0));
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        Ran { line, code, stdout: output.stdout, stderr, took: start.elapsed() }
    }

    /// `kvnode` with these arguments.
    pub fn kvnode<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Ran {
        let mut command = programs::command(programs::kvnode());
        command.args(args);
        Ran::run(command, b"")
    }

    /// `kvcli` with these arguments.
    pub fn kvcli<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Ran {
        Ran::run(kvcli_command(args), b"")
    }

    /// Runs it until it ends with this code and says all of these words. Where a timeout is short because it must run out, a machine that
    /// stalls may let it run out before the interesting thing has happened; that ends with one of the codes in `early`, and any other
    /// code is a failure.
    #[track_caller]
    pub fn until(code: i32, words: &[&str], early: &[i32], run: impl Fn() -> Ran) -> Ran {
        wait_for(&format!("it ends with {code} and says {words:?}"), PATIENCE, || {
            let ran = run();
            assert!(ran.code == code || early.contains(&ran.code), "expected exit code {code}, or {early:?} for a while\n{ran}");
            if ran.code == code && words.iter().all(|word| ran.says(word)) { Ok(ran) } else { Err(ran) }
        })
    }

    fn says(&self, word: &str) -> bool {
        self.stderr.to_lowercase().contains(&word.to_lowercase())
    }

    /// Panics unless it ended with this code.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Ran {
        self.expect_one_of(&[code])
    }

    /// Panics unless it ended with one of these codes.
    #[track_caller]
    pub fn expect_one_of(self, codes: &[i32]) -> Ran {
        assert!(codes.contains(&self.code), "expected exit code {codes:?}\n{self}");
        self
    }

    /// Panics unless stderr holds all of these words, in any order, whatever their case.
    #[track_caller]
    pub fn expect_says(self, words: &[&str]) -> Ran {
        for word in words {
            assert!(self.says(word), "expected the error to say {word:?}\n{self}");
        }
        self
    }
}

impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.stdout[..self.stdout.len().min(2000)];
        writeln!(f, "$ {}\nended with {} after {:?}", self.line, self.code, self.took)?;
        write!(f, "stdout ({} bytes): {}\nstderr: {}", self.stdout.len(), String::from_utf8_lossy(shown), self.stderr)
    }
}

impl fmt::Debug for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `KVCLI_TIMEOUT` where time is not the matter: a machine that is busy may need longer than the default for an election.
pub const PATIENT: &str = "60s";

/// `kvcli` with these arguments, to be run. Unless they say otherwise it is patient.
pub fn kvcli_command<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Command {
    let mut command = programs::command(programs::kvcli());
    command.args(args).env("KVCLI_TIMEOUT", PATIENT);
    command
}
