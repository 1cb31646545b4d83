//! `chaos run`: what it ends with, and what it leaves behind.

use std::path::Path;
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tests::wait::{PATIENCE, wait_until};
use tests::{Ran, place, process, programs};

use crate::up::{chaos, lacks};

/// Runs with these flags, in a directory of the test's own.
fn run(out: &Path, flags: &[&str]) -> Ran {
    let (out, kvnode) = (format!("--out={}", out.display()), format!("--kvnode={}", programs::kvnode().display()));
    let mut words = vec!["run", &out, &kvnode];
    words.extend(flags);
    Ran::run(chaos(&words), b"")
}

fn result(out: &Path) -> Value {
    let text = std::fs::read_to_string(out.join("latest/result.json")).expect("result.json");
    serde_json::from_str(&text).expect("JSON")
}

fn lines(out: &Path, name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(out.join("latest").join(name)).expect(name);
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn a_run_breaks_what_it_has_planned_and_keeps_what_was_seen() {
    if lacks("a_run_breaks_what_it_has_planned_and_keeps_what_was_seen") {
        return;
    }
    let dir = place::directory();
    let out = dir.path().join("runs");
    // One whose plan kills a leader: that another is seen depends on no timeout.
    let flags = ["--nodes=3", "--time=10s", "--clients=6", "--rate=300", "--faults=kill,pause,partition", "--seed=10"];
    run(&out, &flags).expect_code(0);
    let result = result(&out);
    assert_eq!((result["verdict"].as_str(), result["exit_code"].as_u64()), (Some("passed"), Some(0)), "{result:#}");
    assert!(result["ok"].as_u64() > Some(300) && result["contended_reads"].as_u64() > Some(0), "{result:#}");
    let history = lines(&out, "history.jsonl");
    assert_eq!(result["operations"].as_u64(), Some(history.len() as u64));
    // Every fault of the plan began and ended, and had an effect.
    let (plan, faults) = (lines(&out, "plan.jsonl"), lines(&out, "faults.jsonl"));
    assert!(plan.iter().any(|step| step["inject"] == "kill leader"), "another seed is needed: {plan:?}");
    let of = |event: &str| faults.iter().filter(|line| line["event"] == event).collect::<Vec<_>>();
    assert!(!plan.is_empty() && of("begin").len() == plan.len() && of("end").len() == plan.len(), "{plan:?} {faults:?}");
    assert!(of("end").iter().all(|line| line["effect"].as_object().is_some_and(|effect| !effect.is_empty())), "{faults:?}");
    // What was kept can be judged again, by itself.
    Ran::run(chaos(&["check", out.join("latest/history.jsonl").to_str().expect("text")]), b"").expect_code(0);
    let log = std::fs::read_to_string(out.join("latest/n1.log")).expect("the log of n1");
    assert!(!log.is_empty());
}

#[test]
fn a_run_without_faults_in_which_nothing_could_go_wrong_is_inconclusive() {
    if lacks("a_run_without_faults_in_which_nothing_could_go_wrong_is_inconclusive") {
        return;
    }
    let dir = place::directory();
    // One client alone: no read is ever contended.
    let ran = run(dir.path(), &["--nodes=1", "--time=5s", "--clients=1", "--rate=50", "--faults=pause"]).expect_code(4);
    let text = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(text.contains("inconclusive\n  no read was under way while its key was written"), "{text}");
    assert_eq!(result(dir.path())["verdict"], "inconclusive");
    // Whoever wants to know why has what the node applied.
    assert!(lines(dir.path(), "n1.applied.jsonl").iter().any(|line| line["outcome"] == "done"));
}

#[test]
fn a_write_that_was_applied_and_never_answered_gets_its_position() {
    if lacks("a_write_that_was_applied_and_never_answered_gets_its_position") {
        return;
    }
    let dir = place::directory();
    let scenario = dir.path().join("scenario.toml");
    let steps = ["1s", "3s", "5s"].map(|at| format!("[[fault]]\nat = \"{at}\"\nfor = \"1s\"\ninject = \"one-way leader clients\"\n"));
    std::fs::write(&scenario, format!("timeout = \"400ms\"\n{}", steps.concat())).expect("a file");
    let flags = [scenario.to_str().expect("text"), "--nodes=3", "--time=7s", "--clients=8", "--rate=200", "--workload=mixed"];
    run(dir.path(), &flags).expect_code(0);
    let result = result(dir.path());
    let history = lines(dir.path(), "history.jsonl");
    let placed = |line: &&Value| line["outcome"] == "unknown" && line["position"].is_u64();
    let placed: Vec<&Value> = history.iter().filter(placed).collect();
    assert!(!placed.is_empty(), "requests arrived and answers did not: {result:#}");
    assert!(placed.iter().all(|line| line["session"].is_string() && line["seq"].is_u64()), "{placed:#?}");
    assert_eq!(result["unknown_applied"].as_u64(), Some(placed.len() as u64), "{result:#}");
    // The run has passed: what the nodes told is in the history now.
    let left = ["n1", "n2", "n3"].map(|node| dir.path().join(format!("latest/{node}.applied.jsonl")).exists());
    assert_eq!(left, [false; 3]);
    Ran::run(chaos(&["check", dir.path().join("latest/history.jsonl").to_str().expect("text")]), b"").expect_code(0);
}

#[test]
fn every_workload_is_judged() {
    if lacks("every_workload_is_judged") {
        return;
    }
    for workload in ["register", "cas", "mixed", "session"] {
        let dir = place::directory();
        let workload = format!("--workload={workload}");
        // First nobody answers, for longer than a call may take: some outcomes are unknown, and are settled later, at the latest when all is
        // healed. Then another leads: that one does after a kill depends on no timeout.
        let scenario = dir.path().join("scenario.toml");
        let silence = "[[fault]]\nat = \"1s\"\nfor = \"1500ms\"\ninject = \"pause all\"\n";
        let kill = "[[fault]]\nat = \"3s\"\nfor = \"3s\"\ninject = \"kill leader\"\n";
        std::fs::write(&scenario, format!("{silence}{kill}")).expect("a file");
        let scenario = scenario.to_str().expect("text").to_owned();
        run(dir.path(), &[&scenario, "--nodes=3", "--time=7s", "--clients=16", "--rate=400", &workload]).expect_code(0);
        let result = result(dir.path());
        assert!(result["leaders"].as_u64() >= Some(2), "{workload}: {result:#}");
        assert_eq!(result["settled"].as_u64() > Some(0), workload.ends_with("session"), "{workload}: {result:#}");
    }
}

#[test]
fn ctrl_c_heals_and_keeps_the_history() {
    if lacks("ctrl_c_heals_and_keeps_the_history") {
        return;
    }
    let dir = place::directory();
    let (out, kvnode) = (format!("--out={}", dir.path().display()), format!("--kvnode={}", programs::kvnode().display()));
    let mut command = chaos(&["run", &out, &kvnode, "--nodes=3", "--time=60s", "--rate=500"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = process::spawn(command).expect("chaos starts");
    let history = dir.path().join("latest/history.jsonl");
    wait_until("clients have been answered", PATIENCE, || history.metadata().is_ok_and(|file| file.len() > 0));
    process::signal(&child, Signal::SIGINT);
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    Ran::run(chaos(&["check", history.to_str().expect("text")]), b"").expect_code(0);
}

#[test]
fn a_node_that_somebody_else_kills_is_late_and_the_history_is_judged_all_the_same() {
    if lacks("a_node_that_somebody_else_kills_is_late_and_the_history_is_judged_all_the_same") {
        return;
    }
    let dir = place::directory();
    let scenario = dir.path().join("scenario.toml");
    std::fs::write(&scenario, "faults = []\n").expect("a file");
    let (out, kvnode) = (format!("--out={}", dir.path().display()), format!("--kvnode={}", programs::kvnode().display()));
    let mut command = chaos(&["run", scenario.to_str().expect("text"), &out, &kvnode, "--nodes=3", "--time=8s", "--rate=500"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = process::spawn(command).expect("chaos starts");
    let history = dir.path().join("latest/history.jsonl");
    wait_until("clients have been answered", PATIENCE, || history.metadata().is_ok_and(|file| file.len() > 0));
    let pid = std::fs::read_to_string(dir.path().join("latest/n1.pid")).expect("the pid of n1");
    kill(Pid::from_raw(pid.trim().parse().expect("a number")), Signal::SIGKILL).expect("it runs");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let result = result(dir.path());
    assert_eq!((result["verdict"].as_str(), result["exit_code"].as_u64()), (Some("late"), Some(3)), "{result:#}");
    let reason = result["reasons"][0].as_str().expect("a reason");
    assert!(reason.starts_with("n1 ended with SIGKILL") && result["ok"].as_u64() > Some(0), "{result:#}");
    // The two that are left have read every key once more.
    assert!(lines(dir.path(), "history.jsonl").iter().any(|op| op["client"] == "final"), "no final read");
}

#[test]
fn a_kvnode_that_is_not_there_leaves_no_run_behind() {
    let dir = place::directory();
    let out = dir.path().join("runs");
    let words = ["run", &format!("--out={}", out.display()), "--kvnode=no/such/kvnode"];
    Ran::run(chaos(&words), b"").expect_code(64).expect_says(&["no/such/kvnode"]);
    assert!(!out.exists(), "nothing was begun");
}

#[test]
fn bad_scenarios_are_refused_before_anything_starts() {
    let dir = place::directory();
    let scenario = dir.path().join("scenario.toml");
    std::fs::write(&scenario, "nodes = 3\nnode = 3\n").expect("a file");
    let scenario = scenario.to_str().expect("text");
    for (flags, says) in [
        (&[scenario][..], "unknown field `node`"),
        (&["no/such.toml"], "cannot read no/such.toml"),
        (&["--faults=meteor"], "no fault meteor: there are kill, "),
        (&["--time=1s"], "too short"),
        (&["--nodes=0"], "0 nodes"),
        (&["--nodes=1", "--faults=one-way"], "one-way: there is nothing for it to break among 1 nodes"),
        (&["--time=10000000000000000000s"], "is too long"),
        (&["--workload=dance"], "dance"),
    ] {
        let ran = run(&dir.path().join("runs"), flags).expect_code(64);
        assert!(ran.stderr.contains(says), "{flags:?}: {ran}");
    }
    assert!(!dir.path().join("runs").exists(), "nothing was begun");
}
