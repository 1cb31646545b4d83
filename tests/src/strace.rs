//! System calls of a running node, and delays in them.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::Signal;

use crate::process;
use crate::wait::{PATIENCE, wait_until};

/// An `strace` that is attached to a process until it is dropped.
pub struct Strace {
    child: Child,
    output: PathBuf,
}

impl Strace {
    /// Attaches with these arguments; returns once it has. What it sees goes to `output`.
    pub fn attach(pid: u32, output: &Path, args: &[&str]) -> Strace {
        let said = output.with_extension("stderr");
        let mut command = Command::new("strace");
        command.args(["-f", "-p", &pid.to_string(), "-o"]).arg(output).args(args);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(std::fs::File::create(&said).expect("a file"));
        let child = process::spawn(command).expect("strace starts");
        wait_until("strace has attached", PATIENCE, || std::fs::read_to_string(&said).is_ok_and(|said| said.contains("attached")));
        Strace { child, output: output.to_owned() }
    }

    /// Detaches, and returns the lines it wrote.
    pub fn detach(self) -> Vec<String> {
        let output = self.output.clone();
        drop(self);
        lines_of(&output)
    }

    /// The lines it has written so far; the last may not be whole.
    pub fn lines(&self) -> Vec<String> {
        lines_of(&self.output)
    }
}

fn lines_of(output: &Path) -> Vec<String> {
    let text = std::fs::read(output).expect("strace's output");
    String::from_utf8_lossy(&text).lines().map(String::from).collect()
}

impl Drop for Strace {
    fn drop(&mut self) {
        // Not SIGKILL: it must first let go of the process and of every delay it put into it.
        if matches!(self.child.try_wait(), Ok(None)) {
            process::signal(&self.child, Signal::SIGINT);
        }
        let _ = self.child.wait();
    }
}
