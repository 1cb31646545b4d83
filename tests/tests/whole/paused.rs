//! A leader that slept through an election wakes up and believes it still leads: it may not answer anything from before.

use std::time::Duration;

use tests::Cluster;
use tests::client::Client;
use tests::cluster::CALM_TICKS;
use tests::load::{Load, Told};
use tests::raw::Raw;
use tests::wait::{PATIENCE, let_pass};
use wire::{Reply, Request};

const PAUSE: Duration = Duration::from_secs(5);

#[test]
fn a_leader_paused_for_5_s_under_load_answers_nothing_stale() {
    let mut cluster = Cluster::start(3);
    cluster.kvcli(["put", "register", "old"]).expect_code(0);
    let leader = cluster.leader();
    let others: Vec<usize> = (0..3).filter(|number| *number != leader).collect();
    let load = Load::start(&cluster.endpoints(), 4);
    load.wait_progress(20);
    // Connected while it still leads: the read below needs no handshake of a node that is wide awake.
    let (mut by_hand, _) = Raw::client(&cluster.nodes[leader].client_addr);

    cluster.pause(leader);
    let_pass(PAUSE);
    cluster.kvcli_at(others, ["put", "register", "new"]).expect_code(0);
    // After that put was acknowledged; it lies in the sleeper's socket until it wakes, and is then among the first things it sees.
    by_hand.request(1, &Request::Get { key: b"register" });
    cluster.resume(leader);

    match by_hand.reply() {
        (1, Reply::Value { value: Some(value), .. }) => assert_eq!(String::from_utf8_lossy(&value.value), "new", "a stale read"),
        (1, Reply::NotLeader { .. } | Reply::LeadershipLost | Reply::Busy { .. }) => {}
        other => panic!("an unexpected answer: {other:?}"),
    }
    for _ in 0..20 {
        let ran = cluster.kvcli_at([leader], ["get", "register"]).expect_code(0);
        assert_eq!(ran.stdout, b"new", "a stale read\n{ran}");
    }
    load.wait_progress(20);
    let account = load.stop();
    let mut reader = Client::new(&cluster.endpoints(), PATIENCE);
    for client in account.told.keys() {
        account.check(*client, &reader.get(&Load::key(*client)).expect("a read").expect("the key is there"));
    }
    assert!(account.count(Told::Done) > 0);
    cluster.wait_healthy();
    cluster.wait_equal();
}

#[test]
fn a_deposed_leader_that_wakes_alone_answers_no_read_from_memory() {
    let mut cluster = Cluster::start(3);
    cluster.kvcli(["put", "register", "old"]).expect_code(0);
    let leader = cluster.leader();
    let others: Vec<usize> = (0..3).filter(|number| *number != leader).collect();
    let (mut by_hand, _) = Raw::client(&cluster.nodes[leader].client_addr);
    cluster.pause(leader);
    let_pass(Duration::from_secs(2)); // the others have given up its connections: nothing of theirs waits in its sockets
    cluster.kvcli_at(others.clone(), ["put", "register", "new"]).expect_code(0);
    // Nobody is there to tell it that it was deposed, and only that they are not there can keep it from answering.
    others.iter().for_each(|number| cluster.pause(*number));
    by_hand.request(1, &Request::Get { key: b"register" });
    cluster.resume(leader);
    let answer = by_hand.reply_within(Duration::from_millis(1500));
    assert!(!matches!(answer, Some((_, Reply::Value { .. }))), "it answered alone: {answer:?}");
    others.iter().for_each(|number| cluster.resume(*number));
    let ran = cluster.kvcli_at([leader], ["get", "register"]).expect_code(0);
    assert_eq!(ran.stdout, b"new", "a stale read\n{ran}");
}

#[test]
fn a_paused_follower_disturbs_nobody_when_it_wakes() {
    let mut cluster = Cluster::prepare(3);
    cluster.start_all_calm(CALM_TICKS);
    // It alone is of the usual impatience.
    let follower = cluster.follower();
    cluster.kill(follower);
    cluster.nodes[follower].run_args = Vec::new();
    cluster.start_node(follower);
    cluster.wait_healthy();
    let load = Load::start(&cluster.endpoints(), 2);
    load.wait_progress(20);
    let before = cluster.status().term();
    cluster.pause(follower);
    let_pass(Duration::from_secs(2)); // longer than its election timeout
    load.wait_progress(20);
    cluster.resume(follower);
    load.wait_progress(50);
    load.stop();
    cluster.wait_healthy();
    assert_eq!(cluster.status().term(), before, "its missed heartbeats must not start an election");
    cluster.wait_equal();
}
