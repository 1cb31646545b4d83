//! `kvcli`, run.

use std::ffi::OsStr;
use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::thread;

use crate::fake::Fake;

/// What a run left behind.
#[derive(Debug)]
pub(crate) struct Ran {
    /// `None`: a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Ran {
    /// It must have ended so.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Ran {
        assert_eq!(self.code, Some(code), "{self:?}");
        self
    }

    /// Standard output as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// The one JSON document on standard error.
    pub(crate) fn error(&self) -> serde_json::Value {
        serde_json::from_str(&self.stderr).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The command that it says settles the write, without its first word.
    pub(crate) fn finish(&self) -> String {
        let line = self.stderr.lines().find_map(|line| line.strip_prefix("finish safely with: kvcli "));
        line.unwrap_or_else(|| panic!("no such line: {self:?}")).to_string()
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Ran {
        Ran { code: output.status.code(), stdout: output.stdout, stderr: String::from_utf8_lossy(&output.stderr).into_owned() }
    }
}

/// `kvcli`, with an environment that says nothing.
pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kvcli"));
    for variable in ["KVCLI_ENDPOINTS", "KVCLI_TIMEOUT", "KVCLI_OUTPUT"] {
        command.env_remove(variable);
    }
    command.stdin(Stdio::null());
    command
}

/// With these arguments only.
pub(crate) fn run<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Ran {
    command().args(args).output().expect("kvcli runs").into()
}

/// Against these nodes, in this order.
pub(crate) fn run_at<A: AsRef<OsStr>>(nodes: &[&Fake], args: impl IntoIterator<Item = A>) -> Ran {
    command_at(nodes).args(args).output().expect("kvcli runs").into()
}

/// As `run_at`, to be run.
pub(crate) fn command_at(nodes: &[&Fake]) -> Command {
    let mut command = command();
    let addresses: Vec<&str> = nodes.iter().map(|node| node.address.as_str()).collect();
    command.env("KVCLI_ENDPOINTS", addresses.join(","));
    command
}

/// With these bytes on standard input.
pub(crate) fn run_reading<A: AsRef<OsStr>>(nodes: &[&Fake], stdin: &[u8], args: impl IntoIterator<Item = A>) -> Ran {
    let mut command = command_at(nodes);
    command.args(args);
    feed(command, stdin)
}

fn feed(mut command: Command, stdin: &[u8]) -> Ran {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    let mut pipe = child.stdin.take().expect("a pipe");
    let bytes = stdin.to_vec();
    let feeder = thread::spawn(move || {
        let _ = pipe.write_all(&bytes); // it may have read enough
    });
    let output = child.wait_with_output().expect("it ends");
    feeder.join().expect("the feeder ends with the pipe");
    output.into()
}

/// The command that was printed, run by a shell, as a person would.
pub(crate) fn settle(node: &Fake, finish: &str) -> Ran {
    settle_reading(node, finish, b"")
}

/// As `settle`, with these bytes on standard input.
pub(crate) fn settle_reading(node: &Fake, finish: &str, stdin: &[u8]) -> Ran {
    let mut shell = Command::new("bash");
    shell.args(["-c", &format!("{} {finish}", env!("CARGO_BIN_EXE_kvcli"))]);
    shell.env("KVCLI_ENDPOINTS", &node.address).env_remove("KVCLI_TIMEOUT").env_remove("KVCLI_OUTPUT");
    feed(shell, stdin)
}
