//! `--apply-trace`: what nodes say they applied, line by line, and what becomes of it when they die.

use std::fs;
use std::path::PathBuf;

use kvcli::Token;
use serde_json::{Value, json};
use tests::client::Client;
use tests::disk::SmallDisk;
use tests::lossy::Ways;
use tests::wait::PATIENCE;
use tests::{Cluster, Ran, host, wait_until};

use crate::resumed::{finish_line, paste};

/// Nodes that each trace into a file beside their data, and take snapshots soon.
fn prepare(size: usize) -> Cluster {
    let mut cluster = Cluster::prepare(size);
    cluster.run_args = ["--max-log-bytes", "64KiB"].map(String::from).into();
    for number in 0..size {
        let trace = path(&cluster, number).display().to_string();
        cluster.nodes[number].run_args = vec!["--apply-trace".into(), trace];
    }
    cluster
}

fn path(cluster: &Cluster, number: usize) -> PathBuf {
    cluster.path().join(format!("{}.applied.jsonl", cluster.nodes[number].name))
}

/// The whole lines of a trace, in order of their indexes, each once.
fn lines(cluster: &Cluster, number: usize) -> Vec<Value> {
    let text = fs::read_to_string(path(cluster, number)).expect("a trace");
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect();
    let indexes: Vec<u64> = lines.iter().map(|line| line["index"].as_u64().expect("an index")).collect();
    assert!(indexes.is_sorted_by(|a, b| a < b), "{indexes:?}");
    lines
}

/// Those that say that something ran. On a busy machine a client may ask twice.
fn ran(cluster: &Cluster, number: usize) -> Vec<Value> {
    let mut lines = lines(cluster, number);
    lines.retain(|line| line["outcome"] != "repeated");
    lines
}

#[test]
fn every_node_says_what_it_applied_and_what_came_of_it() {
    let mut cluster = prepare(3);
    cluster.start_all();
    cluster.wait_healthy();
    cluster.kvcli(["put", "k", "1"]).expect_code(0);
    cluster.kvcli(["get", "k"]).expect_code(0);
    cluster.kvcli(["append", "k", "2"]).expect_code(0);
    cluster.kvcli(["cas", "k", "3", "--expect", "12"]).expect_code(0);
    cluster.kvcli(["cas", "k", "4", "--expect", "12"]).expect_code(1);
    cluster.kvcli(["delete", "k"]).expect_code(0);
    cluster.kvcli(["delete", "k"]).expect_code(0);
    cluster.wait_equal();
    let traces: Vec<Vec<Value>> = (0..3).map(|number| lines(&cluster, number)).collect();
    assert!(traces.iter().all(|trace| *trace == traces[0]), "{traces:#?}");
    let ran_first = ran(&cluster, 0);
    let outcomes: Vec<&Value> = ran_first.iter().map(|line| &line["outcome"]).collect();
    assert_eq!(outcomes, ["done", "done", "swapped", "not_swapped", "deleted", "not_found"]);
    // The position that clients are told is the index.
    let told = cluster.kvcli(["-o", "json", "put", "k", "5"]).expect_code(0).stdout;
    let told: Value = serde_json::from_slice(&told).expect("JSON");
    cluster.wait_equal();
    let last = ran(&cluster, 0).pop().expect("a line");
    assert_eq!((&last["index"], &last["seq"]), (&told["position"], &json!(1)), "{told}");
}

#[test]
fn a_killed_node_goes_on_with_its_trace_and_says_nothing_twice() {
    let mut cluster = prepare(3);
    cluster.start_all();
    cluster.wait_healthy();
    let mut client = Client::new(&cluster.endpoints(), PATIENCE);
    let mut put = |keys: std::ops::Range<usize>| {
        for key in keys {
            client.put(&format!("key {key}"), vec![7; 300]).expect("a put");
        }
    };
    put(0..100);
    cluster.wait_equal(); // or nobody would know what the victim has told
    let victim = cluster.follower();
    cluster.kill(victim);
    put(100..300);
    cluster.kill_all();
    // What a killed process had begun to write.
    let begun = fs::read_to_string(path(&cluster, victim)).expect("a trace") + "{\"index\":9999,\"te";
    fs::write(path(&cluster, victim), begun).expect("it is written");
    cluster.start_all();
    cluster.wait_healthy();
    put(300..320);
    cluster.wait_equal();
    let others: Vec<usize> = (0..3).filter(|number| *number != victim).collect();
    for number in others {
        assert_eq!(ran(&cluster, number).len(), 320, "{} was there all the time", cluster.nodes[number].name);
    }
    // The victim may have got what it missed with a snapshot, which is another's to tell.
    let (all, own) = (lines(&cluster, cluster.leader()), lines(&cluster, victim));
    assert!(own.len() >= 100 && own.iter().all(|line| all.contains(line)), "{own:#?}");
}

#[test]
fn a_write_that_its_client_never_heard_of_is_found_by_its_token_and_its_repetition_does_not_run() {
    let mut cluster = prepare(3);
    let ways = Ways::to(&mut cluster);
    cluster.start_all();
    cluster.wait_healthy();
    let ran = ways.unheard(|| Ran::kvcli(["--endpoints", &ways.endpoints, "append", "k", "once,", "--timeout", "1s"]));
    let line = finish_line(&ran);
    let token: Token = line.split(' ').nth(2).and_then(|token| token.parse().ok()).unwrap_or_else(|| panic!("no token: {line}"));
    let is_it = |line: &&Value| line["session"] == format!("{:032x}", token.session.0) && line["seq"] == token.seq;
    wait_until("all have applied it", PATIENCE, || (0..3).all(|number| lines(&cluster, number).iter().any(|line| is_it(&line))));
    paste(&line).expect_code(0);
    cluster.wait_equal();
    for number in 0..3 {
        let lines = lines(&cluster, number);
        let ran: Vec<&Value> = lines.iter().filter(is_it).filter(|line| line["outcome"] == "done").collect();
        assert_eq!(ran.len(), 1, "{lines:#?}");
        let again = lines.iter().filter(is_it).filter(|line| line["outcome"] != "done");
        again.for_each(|line| assert_eq!((&line["outcome"], &line["first"]), (&json!("repeated"), &ran[0]["index"])));
    }
}

#[test]
fn a_trace_that_cannot_be_written_ends_and_its_node_goes_on() {
    if host::lacks("mount", "a_trace_that_cannot_be_written_ends_and_its_node_goes_on") {
        return;
    }
    let mut cluster = Cluster::prepare(1);
    let place = cluster.path().join("small");
    fs::create_dir(&place).expect("a directory");
    let disk = SmallDisk::mount(&place, 1 << 20);
    cluster.nodes[0].under = disk.under();
    cluster.nodes[0].run_args = vec!["--apply-trace".into(), place.join("trace").display().to_string()];
    cluster.start_all();
    cluster.wait_healthy();
    cluster.kvcli(["put", "k", "1"]).expect_code(0);
    disk.fill_but(0);
    let mut client = Client::new(&cluster.endpoints(), PATIENCE);
    // A file may have room left in its last page.
    for count in 0..100 {
        client.put("k", count.to_string()).expect("the node serves");
    }
    wait_until("it says so", PATIENCE, || cluster.log(0).contains("cannot write to --apply-trace"));
    disk.free();
    client.put("k", "after").expect("the node serves");
    let before = fs::read_to_string(disk.path("trace")).expect("a trace");
    // Nothing is missing in the middle: it has ended, until a restart, which goes on with what the log still holds.
    assert!(before.lines().count() < 101, "{before}");
    cluster.kill(0);
    cluster.start_node(0);
    cluster.wait_healthy();
    client.put("k", "at last").expect("the node serves");
    wait_until("it goes on", PATIENCE, || fs::read_to_string(disk.path("trace")).is_ok_and(|text| text.lines().count() >= 103));
}

#[test]
fn a_file_that_is_no_trace_is_refused_and_left_alone() {
    let mut cluster = prepare(1);
    fs::write(path(&cluster, 0), "milk\n").expect("a file");
    cluster.start_node(0);
    assert_eq!(cluster.wait_end(0).code(), Some(78), "{}", cluster.log(0));
    assert!(cluster.log(0).contains("it holds something else; name a new file"), "{}", cluster.log(0));
    assert_eq!(fs::read_to_string(path(&cluster, 0)).expect("a file"), "milk\n");
}
