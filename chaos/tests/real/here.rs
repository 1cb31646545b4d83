//! Nodes that chaos did not start, on the host that it runs on. The host is a namespace, so that it is nobody's firewall but the test's.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use serde_json::Value;
use tests::wait::{PATIENCE, wait_until};
use tests::{Ran, host, process, programs};

use crate::up::{Up, figure, json, lacks};

/// A cluster, and `chaos` on the host of its first node, which knows the nodes from a file only.
struct Foreign {
    up: Up,
    /// Keeps the host, also while its node is down.
    _held: File,
    network: String,
}

impl Foreign {
    fn start() -> Foreign {
        let up = Up::start(3);
        let held = File::open(format!("/proc/{}/ns/net", up.pid("n1"))).expect("a process");
        let network = format!("--net=/proc/{}/fd/{}", std::process::id(), held.as_raw_fd());
        let kvnode = programs::kvnode();
        let start = format!("{} run --data-dir {}", kvnode.display(), up.file("n1").display());
        // Nobody's child: so a shell watches whether this test program is still there.
        let (pid_file, us) = (up.file("n1.pid"), std::process::id());
        let start = format!(
            "exec >/dev/null 2>&1; {start} --listen-client 10.117.0.1:7117 & pid=$!; echo $pid >{}; \
             (while kill -0 {us}; do sleep 0.2; done; kill -9 $pid) &",
            pid_file.display()
        );
        let mut text = format!("[[node]]\nname = \"n1\"\nclient = \"10.117.0.1:7117\"\npid_file = {:?}\n", up.file("n1.pid"));
        text.push_str(&format!("start = {start:?}\n"));
        for number in [2, 3] {
            text.push_str(&format!("[[node]]\nname = \"n{number}\"\nclient = \"10.117.0.{number}:7117\"\n"));
        }
        std::fs::write(up.file("nodes.toml"), text).expect("a file");
        std::fs::create_dir(up.file("here")).expect("a directory");
        Foreign { up, _held: held, network }
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = programs::command("nsenter");
        command.arg(&self.network).arg(env!("CARGO_BIN_EXE_chaos")).args(&words[..1]).arg("--dir").arg(self.up.file("here"));
        if words[0] == "inject" {
            command.arg("--nodes").arg(self.up.file("nodes.toml")).arg("--yes-on-this-host");
        }
        command.args(&words[1..]);
        command
    }

    fn chaos(&self, words: &[&str]) -> Ran {
        Ran::run(self.command(words), b"")
    }

    fn heal(&self) -> Value {
        json(&self.chaos(&["heal", "--json"]).expect_code(0))["effect"].clone()
    }

    fn rules(&self) -> String {
        let mut command = programs::command("nsenter");
        command.args([&self.network, "iptables", "-S"]);
        String::from_utf8(Ran::run(command, b"").expect_code(0).stdout).expect("text")
    }
}

fn is_stopped(pid: u64) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process").split(' ').nth(2) == Some("T")
}

#[test]
fn a_node_of_this_host_is_cut_off_and_stopped_and_let_go_on() {
    let name = "a_node_of_this_host_is_cut_off_and_stopped_and_let_go_on";
    if lacks(name) || host::lacks("iptables", name) {
        return;
    }
    let foreign = Foreign::start();
    let before = foreign.rules();
    for (words, figure_name) in [
        ("partition n1", "packets_cut"),
        ("one-way n2 n1", "packets_cut"),
        ("loss 50% n1", "packets_lost"),
        ("reset n1 n3", "packets_reset"),
    ] {
        let mut all = vec!["inject"];
        all.extend(words.split(' '));
        foreign.chaos(&all).expect_code(0);
        assert!(foreign.rules().contains("chaos:"), "{}", foreign.rules());
        // Heartbeats are enough traffic for any rule.
        wait_until("it has met some packets", PATIENCE, || counted(&foreign));
        if words == "partition n1" {
            wait_until("n1 leads nobody", PATIENCE, || foreign.up.leader() != "n1");
        }
        let effect = foreign.heal();
        assert!(figure(&effect, figure_name) > 0, "{words}: {effect}");
        assert_eq!(foreign.rules(), before);
    }
    let pid = foreign.up.pid("n1");
    let ran = foreign.chaos(&["inject", "pause", "n1", "--for", "300ms", "--json"]).expect_code(0);
    assert!(figure(&json(&ran)["effect"], "stopped_ms") >= 290, "{ran}");
    assert!(!is_stopped(pid));
    foreign.up.wait_healthy();
}

fn counted(foreign: &Foreign) -> bool {
    let mut command = programs::command("nsenter");
    command.args([&foreign.network, "iptables-save", "-c", "-t", "filter"]);
    let listed = String::from_utf8(Ran::run(command, b"").expect_code(0).stdout).expect("text");
    listed.lines().any(|line| line.contains("chaos:") && !line.starts_with("[0:"))
}

#[test]
fn a_node_of_this_host_is_killed_and_started_as_its_owner_says() {
    if lacks("a_node_of_this_host_is_killed_and_started_as_its_owner_says") {
        return;
    }
    let foreign = Foreign::start();
    let pid = foreign.up.pid("n1");
    foreign.chaos(&["inject", "kill", "n1"]).expect_code(0);
    wait_until("it has ended", PATIENCE, || foreign.up.node("n1")["process"] == "ended");
    let effect = foreign.heal();
    assert!(figure(&effect, "killed") == 1 && figure(&effect, "down_ms") > 0, "{effect}");
    foreign.up.wait_healthy();
    let started = std::fs::read_to_string(foreign.up.file("n1.pid")).expect("a pid file").trim().to_owned();
    assert_ne!(started, pid.to_string());
    // It is not the supervisor's any more, and so nobody's but ours.
    let pid = nix::unistd::Pid::from_raw(started.parse().expect("a number"));
    nix::sys::signal::kill(pid, Signal::SIGKILL).expect("it runs");
}

#[test]
fn a_killed_chaos_leaves_a_journal_that_undoes_it() {
    let name = "a_killed_chaos_leaves_a_journal_that_undoes_it";
    if lacks(name) || host::lacks("iptables", name) {
        return;
    }
    let foreign = Foreign::start();
    let before = foreign.rules();
    foreign.chaos(&["inject", "partition", "n1"]).expect_code(0);
    let mut command = foreign.command(&["inject", "pause", "n1", "--for", "1h"]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut pausing = process::spawn(command).expect("it starts");
    let pid = foreign.up.pid("n1");
    wait_until("it is stopped", PATIENCE, || is_stopped(pid));
    pausing.kill().and_then(|()| pausing.wait()).expect("it ends");
    let ran = foreign.chaos(&["clean"]).expect_code(0);
    assert!(String::from_utf8_lossy(&ran.stdout).contains("go on"), "{ran}");
    let record = std::fs::read_to_string(foreign.up.file("here").join("faults.jsonl")).expect("a record");
    let last: Value = serde_json::from_str(record.lines().last().expect("a line")).expect("JSON");
    assert!(last["event"] == "end" && figure(&last["effect"], "stopped_ms") > 0, "{record}");
    assert!(!is_stopped(pid));
    assert_eq!(foreign.rules(), before);
    foreign.up.wait_healthy();
}

#[test]
fn what_was_not_agreed_to_or_is_not_here_is_refused() {
    if lacks("what_was_not_agreed_to_or_is_not_here_is_refused") {
        return;
    }
    let foreign = Foreign::start();
    let before = foreign.rules();
    let nodes = foreign.up.file("nodes.toml");
    let unasked = |nodes: &Path| {
        let mut command = foreign.up.command(&["inject", "pause", "n1", "--nodes"]);
        command.arg(nodes);
        Ran::run(command, b"")
    };
    unasked(&nodes).expect_code(64).expect_says(&["--yes-on-this-host"]);
    foreign.chaos(&["inject", "one-way", "n2", "n3"]).expect_code(5).expect_says(&["neither n2 nor n3"]);
    foreign.chaos(&["inject", "partition", "n2"]).expect_code(5); // n2 and n3 again, though n1 is here
    foreign.chaos(&["inject", "delay", "5ms", "n1"]).expect_code(5).expect_says(&["only to clusters that it started"]);
    foreign.chaos(&["inject", "pause", "n2"]).expect_code(64).expect_says(&["neither pid_file nor unit"]);
    assert_eq!(foreign.rules(), before, "nothing was begun");
    foreign.up.wait_healthy();
}
