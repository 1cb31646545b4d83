//! Faults that cannot be done, recorded or undone: what is broken can always be mended, and what is mended is not said to be broken.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tests::{Ran, place, programs};

use crate::up::{Up, chaos, lacks};

/// What is in force, as it was asked for.
fn in_force(up: &Up) -> Vec<Value> {
    up.status()["faults"].as_array().expect("faults").iter().map(|fault| fault["fault"].clone()).collect()
}

/// Processes that have this directory on their command line.
fn processes_of(dir: &Path) -> usize {
    let entries = std::fs::read_dir("/proc").expect("/proc").flatten();
    let lines = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines.filter(|line| line.split(|byte| *byte == 0).any(|word| word == dir.as_os_str().as_encoded_bytes())).count()
}

#[test]
fn a_fault_that_cannot_be_recorded_is_undone() {
    if lacks("a_fault_that_cannot_be_recorded_is_undone") {
        return;
    }
    let up = Up::nowhere();
    symlink("/dev/full", up.file("faults.jsonl")).expect("a link");
    up.up(3, &[]).expect_code(0);
    for words in ["kill n2", "pause n3", "partition n1"] {
        let mut all = vec!["inject"];
        all.extend(words.split(' '));
        up.chaos(&all).expect_code(74).expect_says(&["cannot write faults.jsonl"]);
        assert_eq!(in_force(&up), Vec::<Value>::new());
        for name in ["n1", "n2", "n3"] {
            assert_eq!(up.node(name)["process"], "running", "after {words}");
        }
    }
    up.wait_healthy();
}

#[test]
fn a_node_that_cannot_be_started_does_not_run_and_its_fault_stays_in_force() {
    if lacks("a_node_that_cannot_be_started_does_not_run_and_its_fault_stays_in_force") {
        return;
    }
    let up = Up::start(3);
    assert_eq!(processes_of(&up.file("n1")), 1);
    up.inject("pause n3");
    up.inject("kill n1");
    std::fs::create_dir(up.file("n1.pid")).expect("a directory, where a file should be written");
    // Last first: what fails keeps nothing else broken.
    up.chaos(&["heal"]).expect_code(74).expect_says(&["n1: cannot write its pid file"]);
    assert_eq!(in_force(&up), ["kill n1"]);
    assert_eq!((up.node("n1")["process"].clone(), processes_of(&up.file("n1"))), (json!("down"), 0));
    assert_eq!(up.node("n3")["process"], "running");
    // Whoever stops the cluster is told, and has not lost anything.
    up.chaos(&["down"]).expect_code(74).expect_says(&["n1: cannot write its pid file"]);
    assert_eq!(in_force(&up), ["kill n1"]);
    std::fs::remove_dir(up.file("n1.pid")).expect("ours");
    let effect = up.heal();
    assert!(effect["killed"] == 1 && effect["down_ms"].as_u64().is_some_and(|ms| ms > 0), "{effect}");
    up.wait_healthy();
}

#[test]
fn a_full_disk_that_somebody_has_emptied_is_taken_away_all_the_same() {
    if lacks("a_full_disk_that_somebody_has_emptied_is_taken_away_all_the_same") {
        return;
    }
    let up = Up::start(3);
    up.kvcli(&["put", "city", "Turin"]).expect_code(0);
    up.inject("disk-full n1");
    let filler = up.file("n1").join("somebody-else's");
    up.chaos(&["exec", "--as", "n1", "--", "rm", filler.to_str().expect("text")]).expect_code(0);
    up.kvcli(&["put", "city", "Rome"]).expect_code(0);
    let effect = up.heal();
    assert!(effect["bytes_filled"].as_u64().is_some_and(|bytes| bytes > 0), "{effect}");
    up.wait_healthy();
    up.chaos(&["down"]).expect_code(0);
    let mut entries: Vec<String> = std::fs::read_dir(up.path())
        .expect("a directory")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("text"))
        .collect();
    entries.retain(|name| name.starts_with("n1"));
    entries.sort();
    assert_eq!(entries, ["n1", "n1.log"]);
    assert!(up.file("n1").join("log").is_dir(), "its data are on the disk that stays");
}

#[test]
fn of_two_nodes_to_wipe_the_first_is_put_back_if_the_second_cannot_be() {
    if lacks("of_two_nodes_to_wipe_the_first_is_put_back_if_the_second_cannot_be") {
        return;
    }
    let up = Up::start(3);
    up.kvcli(&["put", "city", "Turin"]).expect_code(0);
    let in_the_way = up.file("n2.wiped-1").join("mine");
    std::fs::create_dir_all(&in_the_way).expect("a directory");
    up.chaos(&["inject", "wipe", "n1,n2"]).expect_code(74).expect_says(&["n2: cannot move its directory"]);
    assert!(!up.file("n1.wiped-1").exists() && in_the_way.exists());
    assert_eq!(in_force(&up), Vec::<Value>::new());
    up.wait_healthy();
    // Both have their data: each can be one of the two that a majority takes.
    up.inject("kill n3");
    assert_eq!(up.kvcli(&["get", "city"]).expect_code(0).stdout, b"Turin");
    // Named twice, it is wiped once.
    up.heal();
    up.wait_healthy();
    std::fs::remove_dir_all(up.file("n2.wiped-1")).expect("ours");
    assert_eq!(up.inject("wipe n2,n2")["targets"], json!(["n2"]));
    up.heal();
    up.wait_healthy();
}

#[test]
fn whom_somebody_else_let_go_on_is_not_paused_for_ever() {
    if lacks("whom_somebody_else_let_go_on_is_not_paused_for_ever") {
        return;
    }
    let up = Up::start(3);
    up.inject("pause n1");
    let pid = i32::try_from(up.pid("n1")).expect("a process");
    kill(Pid::from_raw(pid), Signal::SIGCONT).expect("it is there");
    tests::wait::wait_until("it goes on", tests::wait::PATIENCE, || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process");
        stat.split(' ').nth(2) != Some("T")
    });
    let effect = up.heal();
    assert!(effect.get("stopped_ms").is_none(), "nobody knows how long it stood: {effect}");
    assert_eq!(up.node("n1")["process"], "running");
    up.inject("pause n1");
    assert_eq!(up.node("n1")["process"], "paused");
    up.heal();
    up.wait_healthy();
}

#[test]
fn what_cannot_be_started_or_written_down_is_refused_before_anything_is_made() {
    let dir = place::directory();
    let file = dir.path().join("kvnode");
    std::fs::write(&file, "#!/bin/sh\n").expect("a file");
    let up = |dir: &Path, kvnode: &Path| {
        let mut command = chaos(&["up", "--nodes=1", "--dir"]);
        command.arg(dir).arg("--kvnode").arg(kvnode);
        Ran::run(command, b"")
    };
    up(&dir.path().join("run"), &file).expect_code(64).expect_says(&["no program that can be run"]);
    assert!(!dir.path().join("run/n1").exists());
    let odd = dir.path().join(OsStr::from_bytes(b"\xff"));
    up(&odd, &programs::kvnode()).expect_code(64).expect_says(&["must be UTF-8"]);
    assert!(!odd.exists());
}
