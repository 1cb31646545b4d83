//! How a cluster is, and waiting until it is well.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use wire::Reply;

use crate::fake::{Fake, Manner};
use crate::program::{Ran, command, command_at, run, run_at};

fn follows(leader: &Fake) -> Manner {
    Manner::Follows(Some(leader.address.clone()))
}

/// n1 leads.
fn cluster() -> [Fake; 3] {
    let [n1, n2, n3] = Fake::cluster([Manner::Serves, Manner::Silent, Manner::Silent]);
    n2.behave(follows(&n1));
    n3.behave(follows(&n1));
    [n1, n2, n3]
}

fn verdict(ran: &Ran) -> String {
    let status: serde_json::Value = serde_json::from_slice(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
    status["verdict"].as_str().unwrap().to_string()
}

#[test]
fn every_member_is_found_from_one_endpoint() {
    let [n1, n2, n3] = cluster();
    let ran = run_at(&[&n2], ["status"]).expect(0);
    assert!(ran.text().starts_with("healthy: 3/3 voters, leader n1, term 3, can lose 1\n"), "{ran:?}");
    for node in [&n1, &n2, &n3] {
        assert!(ran.text().contains(&node.address));
        assert_eq!(node.asked(), ["status"]);
    }
}

#[test]
fn a_member_that_does_not_answer_is_a_row_with_its_reason() {
    let [n1, _, n3] = cluster();
    n3.behave(Manner::Silent);
    let ran = run_at(&[&n1], ["status"]).expect(1);
    assert!(ran.text().starts_with("degraded: 2/3 voters, leader n1, term 3, can lose 0; no answer from n3\n"), "{ran:?}");
    assert!(ran.text().lines().any(|line| line.contains(&n3.address) && line.contains("says nothing")), "{ran:?}");
    assert_eq!(ran.stderr, "", "the verdict stands there already");
    let ran = run_at(&[&n1], ["status", "-o", "json"]).expect(1);
    let status: serde_json::Value = serde_json::from_slice(&ran.stdout).unwrap();
    let row = &status["nodes"][2];
    assert_eq!((row["name"].as_str(), row["reachable"].as_bool(), row["term"].is_null()), (Some("n3"), Some(false), true));
}

#[test]
fn without_a_majority_that_follows_one_leader_there_is_no_quorum() {
    let [n1, n2, n3] = cluster();
    n2.behave(Manner::Silent);
    n3.behave(Manner::Silent);
    assert_eq!(verdict(&run_at(&[&n1], ["status", "-o", "json"]).expect(1)), "no-quorum");
    for node in [&n1, &n2, &n3] {
        node.behave(Manner::Follows(None));
    }
    assert_eq!(verdict(&run_at(&[&n1], ["status", "-o", "jsonl"]).expect(1)), "no-quorum");
}

#[test]
fn a_cluster_that_never_was_complete_is_forming() {
    let [n1, n2, n3] = cluster();
    n3.behave(Manner::Silent);
    for node in [&n1, &n2] {
        node.unform();
    }
    let ran = run_at(&[&n1], ["status"]).expect(1);
    assert!(ran.text().starts_with("forming: 2/3 voters"), "{ran:?}");
}

#[test]
fn nobody_is_not_done() {
    let ran = run(["--endpoints", "127.0.0.1:1,no-such-host.invalid", "status"]).expect(3);
    assert!(ran.stderr.contains("127.0.0.1:1: connection refused"), "{ran:?}");
    assert!(ran.stderr.contains("no-such-host.invalid:7117: "), "{ran:?}");
    let ran = run(["--endpoints", "127.0.0.1:1", "status", "-o", "json"]).expect(3);
    assert_eq!((verdict(&ran).as_str(), ran.error()["code"].as_u64()), ("unreachable", Some(3)));
}

#[test]
fn waiting_ends_when_a_leader_serves() {
    let [n1, _, n3] = cluster();
    n3.behave(Manner::Silent);
    run_at(&[&n1], ["wait"]).expect(0);
    n1.behave(Manner::Answers(Reply::NotLeader { leader: None, client_addr: String::new() }));
    let waiting = command_at(&[&n1]).args(["wait", "-o", "json"]).stdout(Stdio::piped()).spawn().unwrap();
    while !n1.asked().iter().any(|asked| asked == "get") {
        std::thread::yield_now();
    }
    n1.behave(Manner::Serves);
    let ran: Ran = Ran::from(waiting.wait_with_output().unwrap()).expect(0);
    assert!(ran.text().contains("\"leader\":\"n1\""), "{ran:?}");
}

#[test]
fn waiting_for_nobody_ends_with_the_timeout() {
    let node = Fake::new(Manner::Follows(None));
    run_at(&[&node], ["wait", "--timeout", "300ms"]).expect(3);
    run(["--endpoints", "127.0.0.1:1", "wait", "--timeout", "300ms"]).expect(3);
}

#[test]
fn waiting_for_all_wants_every_member_there_and_caught_up() {
    let [n1, n2, n3] = cluster();
    n1.apply_to(10);
    n2.apply_to(10);
    let ran = run_at(&[&n1], ["wait", "--all", "--timeout", "500ms"]).expect(3); // n3 is at 5
    assert!(ran.stderr.contains("healthy"), "all answer: {ran:?}");
    n3.apply_to(10);
    run_at(&[&n1], ["wait", "--all", "--timeout", "10s"]).expect(0);
    n3.behave(Manner::Silent);
    let ran = run_at(&[&n1], ["wait", "--all", "--timeout", "1s"]).expect(3);
    assert!(ran.stderr.contains(&n3.address), "{ran:?}");
}

#[test]
fn watching_says_it_every_second_until_ctrl_c() {
    let [n1, n2, n3] = cluster();
    let mut watching = command_at(&[&n1]).args(["status", "--watch", "-o", "jsonl"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    let mut next_verdict = || {
        let line = lines.next().expect("it goes on").unwrap();
        serde_json::from_str::<serde_json::Value>(&line).unwrap()["verdict"].as_str().unwrap().to_string()
    };
    assert_eq!(next_verdict(), "healthy");
    for node in [&n1, &n2, &n3] {
        node.behave(Manner::Follows(None));
    }
    while next_verdict() != "no-quorum" {}
    for node in [&n2, &n3] {
        node.behave(follows(&n1));
    }
    n1.behave(Manner::Serves);
    while next_verdict() != "healthy" {}
    kill(Pid::from_raw(i32::try_from(watching.id()).unwrap()), Signal::SIGINT).unwrap();
    assert_eq!(watching.wait().unwrap().code(), Some(130));
}

#[test]
fn a_watch_goes_on_while_nobody_answers_and_ends_with_its_reader() {
    let mut watching = command().args(["--endpoints", "127.0.0.1:1", "status", "--watch"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    let pictures = lines.by_ref().map_while(Result::ok).filter(|line| line == "unreachable: nobody answers").take(2);
    assert_eq!(pictures.count(), 2);
    drop(lines);
    assert_eq!(watching.wait().unwrap().code(), Some(141));
}
