//! Without a majority nothing is promised. A wiped disk is no member: it has forgotten what it promised.

use std::time::Duration;

use tests::wait::{PATIENCE, let_pass};
use tests::{Cluster, Ran, wait_until};

#[test]
fn with_two_of_three_down_writes_end_in_time_and_never_with_0() {
    let mut cluster = Cluster::start(3);
    cluster.kvcli(["put", "before", "1"]).expect_code(0);
    let survivor = cluster.leader();
    for number in (0..3).filter(|number| *number != survivor) {
        cluster.kill(number);
    }
    for attempt in 0..3 {
        let ran = cluster.kvcli(["--timeout", "1s", "put", "lonely", &attempt.to_string()]).expect_one_of(&[3, 4]);
        assert!(ran.took < PATIENCE, "it hangs: {ran}");
    }
    // A read has no unknown outcome.
    cluster.kvcli(["--timeout", "1s", "get", "before"]).expect_code(3);
    // With the majority back, what was acknowledged is there, and writes are taken again.
    cluster.start_all();
    assert_eq!(cluster.kvcli(["get", "before"]).expect_code(0).stdout, b"1");
    cluster.kvcli(["put", "after", "2"]).expect_code(0);
}

#[test]
fn a_put_begun_a_second_before_the_nodes_succeeds() {
    let mut cluster = Cluster::prepare(3);
    let put = tests::process::spawn(cluster.kvcli_command(&cluster.endpoints(), ["put", "early", "bird"]));
    let mut put = put.expect("kvcli starts");
    let_pass(Duration::from_secs(1));
    cluster.start_all();
    assert_eq!(put.wait().expect("it ends").code(), Some(0));
    assert_eq!(cluster.kvcli(["get", "early"]).expect_code(0).stdout, b"bird");
}

#[test]
fn a_cluster_serves_nothing_before_every_first_member_was_heard() {
    let mut cluster = Cluster::prepare(3);
    cluster.start_node(0);
    cluster.start_node(1);
    wait_until("status says who is missing", PATIENCE, || {
        let ran = cluster.kvcli(["--timeout", "2s", "status"]);
        ran.code == 1 && format!("{ran}").contains("n3") && format!("{ran}").contains("forming")
    });
    Ran::until(3, &["n3"], &[4], || cluster.kvcli(["--timeout", "1s", "put", "k", "v"]));
    cluster.start_node(2);
    cluster.kvcli(["put", "k", "v"]).expect_code(0);
}

#[test]
fn a_wiped_node_initialised_again_is_refused_by_all_and_never_votes() {
    let mut cluster = Cluster::start(3);
    cluster.kvcli(["put", "city", "Turin"]).expect_code(0);
    cluster.wait_equal();
    let before = cluster.status().term();
    cluster.kill(0);
    std::fs::remove_dir_all(&cluster.nodes[0].data_dir).expect("wiped");
    cluster.init(0).expect_code(0);
    std::fs::remove_file(&cluster.nodes[0].log).expect("its log so far");
    cluster.start_node(0);

    // It is told what has happened and what to do, in its own log and in those of the others.
    for number in 0..3 {
        let name = cluster.nodes[number].name.clone();
        wait_until(&format!("{name} says what to do"), PATIENCE, || cluster.log(number).contains("kvcli member replace n1"));
    }
    // The others go on without it.
    cluster.kvcli_at([1, 2], ["put", "city", "Asti"]).expect_code(0);
    assert_eq!(cluster.kvcli_at([1, 2], ["get", "city"]).expect_code(0).stdout, b"Asti");

    // Its vote would be the majority now. It must not be had: nothing is written, and nobody leads.
    cluster.kill(1);
    cluster.kvcli_at([2], ["--timeout", "3s", "put", "city", "Rome"]).expect_one_of(&[3, 4]);
    let status = cluster.status();
    assert!(status.number("n1", "term").unwrap_or(0) < before, "the wiped node took part in a term: {:#}", status.0);
    cluster.start_node(1);
    wait_until("the two go on", PATIENCE, || cluster.kvcli_at([1, 2], ["--timeout", "5s", "put", "city", "Novara"]).code == 0);
}
