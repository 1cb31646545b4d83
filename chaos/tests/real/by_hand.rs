//! A cluster between commands.

use std::time::Duration;

use serde_json::Value;
use tests::Ran;
use tests::wait::{PATIENCE, wait_until};

use crate::up::{Up, lacks};

#[test]
fn a_cluster_stays_up_between_commands_and_goes_on_where_it_was() {
    if lacks("a_cluster_stays_up_between_commands_and_goes_on_where_it_was") {
        return;
    }
    let up = Up::start(3);
    up.wait_healthy();
    let status = up.status();
    let addresses: Vec<&Value> = status["nodes"].as_array().expect("nodes").iter().map(|node| &node["address"]).collect();
    assert_eq!(addresses, ["10.117.0.1", "10.117.0.2", "10.117.0.3"]);

    up.kvcli(&["put", "city", "Turin"]).expect_code(0);
    assert_eq!(up.kvcli(&["get", "city"]).expect_code(0).stdout, b"Turin");
    up.up(3, &[]).expect_code(64).expect_says(&["in use"]);
    up.chaos(&["clean"]).expect_code(64).expect_says(&["is up"]);

    up.chaos(&["down"]).expect_code(0);
    up.chaos(&["status"]).expect_code(64).expect_says(&["no cluster is up"]);
    up.up(5, &[]).expect_code(64).expect_says(&["data of 3 nodes"]);
    up.up(3, &[]).expect_code(0);
    assert_eq!(up.kvcli(&["get", "city"]).expect_code(0).stdout, b"Turin");
}

#[test]
fn commands_run_on_hosts_of_their_own_and_end_as_they_would() {
    if lacks("commands_run_on_hosts_of_their_own_and_end_as_they_would") {
        return;
    }
    let up = Up::start_with(1, &["--clients=2"]);
    let address = |host: &str| {
        let ran = up.chaos(&["exec", "--as", host, "--", "ip", "-o", "-4", "addr", "show", "dev", "kv0"]).expect_code(0);
        String::from_utf8(ran.stdout).expect("text").split_whitespace().nth(3).expect("an address").to_owned()
    };
    assert_eq!(["c1", "c2", "n1"].map(address), ["10.117.0.101/24", "10.117.0.102/24", "10.117.0.1/24"]);
    up.chaos(&["exec", "--", "sh", "-c", "test $KVCLI_ENDPOINTS = 10.117.0.1:7117 && exit 42"]).expect_code(42);
    up.chaos(&["exec", "--", "sh", "-c", "kill -9 $$"]).expect_code(128 + 9);
    up.chaos(&["exec", "--as", "c3", "--", "true"]).expect_code(64).expect_says(&["no host c3", "c1, c2"]);
    up.chaos(&["exec", "--", "/no/such/program"]).expect_code(64);
    let mut shell = up.command(&["shell", "--as", "c2"]);
    shell.env("SHELL", "/bin/sh");
    let ran = Ran::run(shell, b"echo $CHAOS_HOST $KVCLI_ENDPOINTS; exit 7\n").expect_code(7);
    assert_eq!(ran.stdout, b"c2 10.117.0.1:7117\n");
}

#[test]
fn what_is_wrongly_asked_is_said_and_nothing_is_broken() {
    if lacks("what_is_wrongly_asked_is_said_and_nothing_is_broken") {
        return;
    }
    let up = Up::start(3);
    up.chaos(&["inject", "explode", "n1"]).expect_code(64).expect_says(&["no fault explode"]);
    up.chaos(&["inject", "kill", "n9"]).expect_code(64).expect_says(&["no host n9"]);
    up.chaos(&["inject", "kill", "c1"]).expect_code(64).expect_says(&["runs no node"]);
    up.chaos(&["inject", "partition", "ring"]).expect_code(64).expect_says(&["breaks no link"]); // of three, each has two neighbours
    up.chaos(&["heal", "7"]).expect_code(64).expect_says(&["no fault 7"]);
    assert_eq!(up.status()["faults"], serde_json::json!([]));
    assert!(up.record().is_empty());
    // What is broken already cannot be broken again: nothing would be exercised.
    up.inject("kill n2");
    up.chaos(&["inject", "pause", "n2"]).expect_code(4).expect_says(&["victim of fault"]);
    up.heal();
}

#[test]
fn a_fault_with_a_deadline_heals_itself() {
    if lacks("a_fault_with_a_deadline_heals_itself") {
        return;
    }
    let up = Up::start(3);
    up.leader();
    up.chaos(&["inject", "pause", "follower", "--for", "300ms"]).expect_code(0);
    wait_until("it is over", PATIENCE, || up.status()["faults"].as_array().is_some_and(Vec::is_empty));
    let record = up.record();
    assert_eq!(record.len(), 2, "{record:?}");
    let stopped = record[1]["effect"]["stopped_ms"].as_u64().expect("an effect");
    let lasted = record[1]["at_ns"].as_u64().expect("a time") - record[0]["at_ns"].as_u64().expect("a time");
    assert!(Duration::from_nanos(lasted) >= Duration::from_millis(300), "{record:?}");
    // The fault begins when it was asked for, the stop when /proc says so.
    assert!(stopped > 0 && Duration::from_millis(stopped) <= Duration::from_nanos(lasted), "{record:?}");
    up.wait_healthy();
}
