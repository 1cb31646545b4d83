//! A client reaches the cluster through whichever node answers, and says of every one that did not why.

use tests::cli::Ran;
use tests::firewall::BlackHole;
use tests::{Cluster, host, place};

/// Puts and gets with this endpoint first and one good one behind it, and with no more patience than anybody has who says nothing. Only if
/// the machine itself stalls for so long it takes another attempt.
fn served_behind(cluster: &Cluster, first: &str, good: usize) {
    let endpoints = format!("{first},{}", cluster.nodes[good].client_addr);
    for value in ["v", "w"] {
        let kvcli =
            |args: &[&str]| Ran::until(0, &[], &[3, 4], || Ran::kvcli([&["--endpoints", &endpoints, "--timeout", "5s"], args].concat()));
        kvcli(&["put", "k", value]);
        assert_eq!(kvcli(&["get", "k"]).stdout, value.as_bytes());
    }
}

#[test]
fn the_first_endpoint_may_be_a_stopped_process() {
    let mut cluster = Cluster::start(3);
    let (leader, follower) = cluster.leader_and_follower();
    cluster.pause(follower);
    served_behind(&cluster, &cluster.nodes[follower].client_addr.clone(), leader);
    cluster.resume(follower);
    cluster.wait_healthy();
}

#[test]
fn the_first_endpoint_may_be_the_leader_stopped() {
    let mut cluster = Cluster::start(3);
    let (leader, follower) = cluster.leader_and_follower();
    cluster.pause(leader);
    served_behind(&cluster, &cluster.nodes[leader].client_addr.clone(), follower);
    cluster.resume(leader);
    cluster.wait_healthy();
}

#[test]
fn the_first_endpoint_may_be_black_holed_by_a_firewall() {
    if host::lacks("iptables", "the_first_endpoint_may_be_black_holed_by_a_firewall") {
        return;
    }
    let cluster = Cluster::start(3);
    let (leader, follower) = cluster.leader_and_follower();
    // A member that lives and whose clients' packets vanish; then an address where nobody ever was.
    for first in [cluster.nodes[follower].client_addr.clone(), format!("{}:{}", place::loopback(), place::CLIENT_PORT)] {
        let hole = BlackHole::at(&first);
        served_behind(&cluster, &first, leader);
        assert!(hole.swallowed() > 0, "nobody dialled it, and this showed nothing");
        let ran = Ran::kvcli(["--endpoints", &first, "--timeout", "1s", "get", "k"]).expect_code(3);
        ran.expect_says(&[&first]);
    }
    // A hole that closes leaves nothing behind.
    let status = Ran::until(0, &[], &[1, 3], || cluster.kvcli_at([follower], ["status"]));
    assert!(status.stdout.starts_with(b"healthy"), "{status}");
}

#[test]
fn the_first_endpoint_may_refuse_lead_nowhere_or_not_resolve() {
    let cluster = Cluster::start(3);
    let refusing = format!("{}:{}", place::loopback(), place::CLIENT_PORT);
    // The second is reserved for documentation: nobody is there, and a router may even say nothing.
    for first in [refusing.as_str(), "192.0.2.1:7117", "no-such-host.invalid:7117"] {
        served_behind(&cluster, first, 0);
    }
}

#[test]
fn the_first_endpoint_may_be_a_follower() {
    let cluster = Cluster::start(3);
    let (leader, follower) = cluster.leader_and_follower();
    served_behind(&cluster, &cluster.nodes[follower].client_addr, leader);
}

#[test]
fn any_node_may_be_the_only_endpoint() {
    let cluster = Cluster::start(3);
    for number in 0..3 {
        let value = number.to_string();
        cluster.kvcli_at([number], ["put", "k", &value]).expect_code(0);
        for reader in 0..3 {
            assert_eq!(cluster.kvcli_at([reader], ["get", "k"]).expect_code(0).stdout, value.as_bytes());
        }
    }
}

#[test]
fn unreachable_endpoints_are_each_named_with_the_reason() {
    let endpoints: Vec<String> = (0..2).map(|_| format!("{}:{}", place::loopback(), place::CLIENT_PORT)).collect();
    let all = format!("{},{},no-such-host.invalid:7117", endpoints[0], endpoints[1]);
    for command in [&["put", "k", "v"][..], &["get", "k"], &["status"]] {
        let options = ["--endpoints", &all, "--timeout", "1s"];
        let named = [&endpoints[0], &endpoints[1], "no-such-host.invalid", "refused"];
        let ran = Ran::until(3, &named, &[], || Ran::kvcli(options.iter().chain(command)));
        assert!(ran.stdout.is_empty() || command == ["status"], "{ran}");
    }
}

#[test]
fn wait_waits_for_the_cluster_and_says_when_it_does_not_come() {
    let mut cluster = Cluster::prepare(3);
    cluster.kvcli(["--timeout", "1s", "wait"]).expect_code(3);
    let waiting = tests::process::spawn(cluster.kvcli_command(&cluster.endpoints(), ["wait"]));
    let mut waiting = waiting.expect("kvcli starts");
    cluster.start_all();
    assert_eq!(waiting.wait().expect("it ends").code(), Some(0));
    cluster.kvcli(["put", "k", "v"]).expect_code(0);
}
