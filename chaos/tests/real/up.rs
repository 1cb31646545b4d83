//! A cluster for a test. It ends with the test, however that ends.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;
use tests::wait::{PATIENCE, wait_for};
use tests::{Ran, host, place, programs};

/// Nodes that `chaos up` has started, in a directory of their own.
pub(crate) struct Up {
    dir: TempDir,
}

/// Whether a test must stay away; the words are those of `cargo xtask test`.
pub(crate) fn lacks(name: &str) -> bool {
    ["netns", "mount", "tun"].into_iter().any(|facility| host::lacks(facility, name))
}

/// A figure of an effect; 0 if it is not there.
pub(crate) fn figure(effect: &Value, name: &str) -> u64 {
    effect[name].as_u64().unwrap_or(0)
}

/// Whom a fault met: who led a moment ago need not be who led then.
pub(crate) fn target(injected: &Value) -> String {
    injected["targets"][0].as_str().expect("a name").to_owned()
}

/// The program under test. A `kvcli` that it starts is patient: how long a slow machine takes is nowhere what a test is about.
pub(crate) fn chaos(words: &[&str]) -> Command {
    let mut command = programs::command(env!("CARGO_BIN_EXE_chaos"));
    command.env_remove("CHAOS_DIR").env_remove("CHAOS_WITH").env("KVCLI_TIMEOUT", "60s").args(words);
    command
}

/// To be ended by `chaos up`'s own end, should we be killed.
pub(crate) fn with_us() -> String {
    format!("--with={}", std::process::id())
}

impl Up {
    /// So many nodes, ready.
    pub(crate) fn start(nodes: usize) -> Up {
        Up::start_with(nodes, &[])
    }

    /// The same, with more arguments of `chaos up`.
    pub(crate) fn start_with(nodes: usize, more: &[&str]) -> Up {
        let up = Up::nowhere();
        up.up(nodes, more).expect_code(0);
        up
    }

    /// A place for one, where nothing is up yet.
    pub(crate) fn nowhere() -> Up {
        Up { dir: place::directory() }
    }

    /// `chaos up`.
    pub(crate) fn up(&self, nodes: usize, more: &[&str]) -> Ran {
        let (nodes, kvnode) = (format!("--nodes={nodes}"), format!("--kvnode={}", programs::kvnode().display()));
        let mut words = vec!["up", &nodes, &kvnode];
        let with = with_us();
        words.push(&with);
        words.extend(more);
        self.chaos(&words)
    }

    /// Any command, on this cluster; words after `--` stay there.
    pub(crate) fn chaos(&self, words: &[&str]) -> Ran {
        Ran::run(self.command(words), b"")
    }

    /// The same, to be run.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let (name, rest) = words.split_first().expect("a command");
        let mut command = chaos(&[name, "--dir"]);
        command.arg(self.dir.path()).args(rest);
        command
    }

    /// Breaks something, in words that blanks separate. Who aims at a leader waits for one longer than `chaos` does.
    pub(crate) fn inject(&self, words: &str) -> Value {
        if words.contains("leader") {
            self.leader();
        }
        let mut all = vec!["inject", "--json"];
        all.extend(words.split(' '));
        json(&self.chaos(&all).expect_code(0))
    }

    /// What the only fault in force has done until now.
    pub(crate) fn effect(&self) -> Value {
        self.status()["faults"][0]["effect"].clone()
    }

    /// Undoes the only fault in force; its effect.
    pub(crate) fn heal(&self) -> Value {
        json(&self.chaos(&["heal", "--json"]).expect_code(0))["effect"].clone()
    }

    /// `kvcli` on the host of c1.
    pub(crate) fn kvcli(&self, words: &[&str]) -> Ran {
        self.kvcli_as("c1", words)
    }

    /// `kvcli` on any host.
    pub(crate) fn kvcli_as(&self, host: &str, words: &[&str]) -> Ran {
        let kvcli = programs::kvcli();
        let mut all = vec!["exec", "--as", host, "--", kvcli.to_str().expect("text")];
        all.extend(words);
        self.chaos(&all)
    }

    /// `chaos status --json`.
    pub(crate) fn status(&self) -> Value {
        json(&self.chaos(&["status", "--json"]).expect_code(0))
    }

    /// What `status` says of a node.
    pub(crate) fn node(&self, name: &str) -> Value {
        let status = self.status();
        let nodes = status["nodes"].as_array().expect("nodes");
        nodes.iter().find(|node| node["name"] == name).unwrap_or_else(|| panic!("no {name} in {status:#}")).clone()
    }

    /// The process of a node.
    pub(crate) fn pid(&self, name: &str) -> u64 {
        let node = self.node(name);
        node["pid"].as_u64().unwrap_or_else(|| panic!("no process: {node:#}"))
    }

    /// Waits for a leader that a majority follows; its name.
    pub(crate) fn leader(&self) -> String {
        wait_for("a majority follows one leader", PATIENCE, || {
            let status = self.status();
            status["leader"].as_str().map(str::to_owned).ok_or(status["headline"].to_string())
        })
    }

    /// Waits until all nodes follow one leader.
    pub(crate) fn wait_healthy(&self) {
        wait_for("the cluster is healthy", PATIENCE, || {
            let status = self.status();
            if status["verdict"] == "healthy" { Ok(()) } else { Err(format!("{status:#}")) }
        });
    }

    /// Where its files are.
    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// One of them.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The lines of `faults.jsonl`.
    pub(crate) fn record(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.file("faults.jsonl")).expect("faults.jsonl");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let cleaned = self.chaos(&["clean", "--force"]);
        if std::thread::panicking() {
            let said = std::fs::read_to_string(self.file("chaos.log")).unwrap_or_default();
            eprintln!("the supervisor said: {said}");
        } else {
            cleaned.expect_code(0);
        }
    }
}

/// What a command printed.
pub(crate) fn json(ran: &Ran) -> Value {
    serde_json::from_slice(&ran.stdout).unwrap_or_else(|error| panic!("{error}\n{ran}"))
}
