//! M-R: a counter. It is the version of a key, an increment is an append.

use kvcli::{Answer, Ask, ClerkError};
use sim::{CallId, Cluster};
use wire::client::Reply;

use crate::crowd::{check_appends, conditions, get, limits, token, written};
use crate::under_seeds;

fn cluster(seed: u64, max_log: Option<u64>) -> Cluster {
    Cluster::new(seed, 3, conditions(false), limits(max_log))
}

fn increment(number: usize) -> Ask {
    Ask::Append { key: b"counter".into(), value: token(0, number).into_bytes() }
}

/// SUBMIT: the next value. The labs give up after ten seconds.
#[track_caller]
fn inc(cluster: &mut Cluster, number: usize) -> u64 {
    let clerk = cluster.clerk();
    written(&cluster.done(clerk, increment(number))).version
}

fn counts(cluster: &Cluster, node: usize) -> u64 {
    cluster.peek(node, b"counter").map_or(0, |value| value.version)
}

/// COUNTER: until so many nodes count to this, looking at 10 ms, twice that, ... 1.28 s, thirty times in all.
#[track_caller]
fn wait_counter(cluster: &mut Cluster, count: u64, nodes: usize) {
    let mut pause_ms = 10;
    for _ in 0..30 {
        if (0..3).filter(|node| counts(cluster, *node) == count).count() >= nodes {
            return;
        }
        cluster.run_for_ms(pause_ms);
        pause_ms = (2 * pause_ms).min(1280);
    }
    panic!("not {nodes} nodes count to {count}:\n{}", cluster.describe());
}

fn count_to_a_hundred(cluster: &mut Cluster) {
    for number in 0..100 {
        assert_eq!(inc(cluster, number), number as u64 + 1);
    }
    wait_counter(cluster, 100, 3);
}

fn power_cut_of_all(cluster: &mut Cluster, dark_ms: u64) {
    (0..3).for_each(|node| cluster.crash(node));
    cluster.run_for_ms(dark_ms);
    (0..3).for_each(|node| cluster.restart(node));
}

#[test]
fn m_r1_ten_increments_return_one_to_ten_and_reach_every_node() {
    under_seeds(10, |seed| {
        let mut cluster = cluster(seed, None);
        for number in 0..10 {
            assert_eq!(inc(&mut cluster, number), number as u64 + 1);
            wait_counter(&mut cluster, number as u64 + 1, 3);
        }
        cluster.judge();
    });
}

#[test]
fn m_r2_fifty_increments_at_once_count_to_fifty() {
    under_seeds(10, |seed| {
        let mut cluster = cluster(seed, None);
        let calls: Vec<CallId> = (0..50)
            .map(|number| {
                let clerk = cluster.clerk();
                cluster.ask(clerk, increment(number), 10_000)
            })
            .collect();
        assert!(cluster.run_until(10_001, |cluster| calls.iter().all(|call| cluster.outcome(*call).is_some())));
        let mut told: Vec<u64> =
            calls.iter().map(|call| written(cluster.outcome(*call).expect("it is over").as_ref().expect("it is done")).version).collect();
        told.sort_unstable();
        assert!(told.into_iter().eq(1..=50), "everyone is told a count of their own");
        wait_counter(&mut cluster, 50, 3);
        cluster.judge();
    });
}

#[test]
fn m_r3_a_lost_leader_takes_no_increment_with_it() {
    under_seeds(10, |seed| {
        let mut cluster = cluster(seed, None);
        assert_eq!(inc(&mut cluster, 0), 1);
        let leader = cluster.one_leader();
        cluster.disconnect(leader);
        let began_ms = cluster.now_ms();
        assert_eq!(inc(&mut cluster, 1), 2);
        // Beyond the lab: an election, and the patience of a clerk that the old leader does not answer.
        let took_ms = cluster.now_ms() - began_ms;
        assert!(took_ms <= 2_500, "an increment took {took_ms} ms while the leader was replaced");
        wait_counter(&mut cluster, 2, 2);
        cluster.connect(leader);
        wait_counter(&mut cluster, 2, 3);
        cluster.judge();
    });
}

#[test]
fn m_r4_what_a_leader_in_a_minority_is_given_never_happens_and_is_answered() {
    under_seeds(10, |seed| {
        let mut cluster = cluster(seed, None);
        assert_eq!(inc(&mut cluster, 0), 1);
        let leader = cluster.one_leader();
        cluster.partition(&[leader]);
        let others = [(leader + 1) % 3, (leader + 2) % 3];
        let decrements: Vec<_> = (0..100).map(|_| cluster.propose_no_wait(leader, b"dec").expect("it still leads")).collect();
        cluster.run_for_ms(10);
        assert!(decrements.iter().all(|dec| cluster.told(*dec).is_none()), "a minority has answered");
        let clerk = cluster.clerk();
        cluster.reach_only(clerk, &others);
        assert_eq!(written(&cluster.done(clerk, increment(1))).version, 2);
        // Ours: the labs' leader answers none of them as long as it is cut off. This one steps down when it hears nobody (check-quorum),
        // and tells everybody who waits what it knows: that it does not know.
        let all = |cluster: &mut Cluster| decrements.iter().all(|dec| cluster.told(*dec).is_some());
        cluster.run_until(1_000, all);
        cluster.partition(&[]);
        assert!(cluster.run_until(1_000, all), "somebody is not answered within a second after the end of the partition");
        for dec in &decrements {
            assert_eq!(cluster.told(*dec), Some(&Reply::LeadershipLost));
            assert_eq!(cluster.ordinal(*dec), None, "a decrement has happened");
        }
        wait_counter(&mut cluster, 2, 3);
        cluster.judge();
    });
}

#[test]
fn m_r5_a_power_cut_of_all_replays_every_increment_once() {
    under_seeds(5, |seed| {
        let mut cluster = cluster(seed, None);
        count_to_a_hundred(&mut cluster);
        power_cut_of_all(&mut cluster, 1_000);
        assert_eq!(inc(&mut cluster, 100), 101);
        cluster.run_for_ms(1_000);
        wait_counter(&mut cluster, 101, 3);
        cluster.judge();
    });
}

/// A hundred clients ask at once, and 20 ms later every node is dark: each of them is told something within eleven seconds, while nobody
/// is there. What is there afterwards is what they were told.
fn burst_and_power_cut(cluster: &mut Cluster) {
    let burst = |number: usize| Ask::Append { key: b"burst".into(), value: token(number, 0).into_bytes() };
    let began_ms = cluster.now_ms();
    let calls: Vec<CallId> = (0..100)
        .map(|number| {
            let clerk = cluster.clerk();
            cluster.ask(clerk, burst(number), 10_000)
        })
        .collect();
    cluster.run_for_ms(20);
    (0..3).for_each(|node| cluster.crash(node));
    let left_ms = 11_000 - (cluster.now_ms() - began_ms);
    assert!(cluster.run_until(left_ms, |cluster| calls.iter().all(|call| cluster.outcome(*call).is_some())), "somebody still waits");
    (0..3).for_each(|node| cluster.restart(node));
    let value = get(cluster, "burst").map_or(Vec::new(), |value| value.value);
    for (number, call) in calls.iter().enumerate() {
        let count = String::from_utf8_lossy(&value).matches(&token(number, 0)).count();
        match cluster.outcome(*call).expect("it is over") {
            Ok(Answer::Written(_)) => assert_eq!(count, 1, "client {number} was told that it is done"),
            Err(ClerkError::NotDone { .. }) => assert_eq!(count, 0, "client {number} was told that it is not done"),
            Err(ClerkError::Unknown { .. }) => assert!(count <= 1, "client {number} has done it twice"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn m_r6_everybody_who_waits_is_answered_when_all_nodes_are_gone() {
    under_seeds(5, |seed| {
        let mut cluster = cluster(seed, None);
        burst_and_power_cut(&mut cluster);
        cluster.judge();
    });
}

#[test]
fn m_r7_old_waiters_are_told_nothing_new() {
    under_seeds(5, |seed| {
        let mut cluster = cluster(seed, None);
        count_to_a_hundred(&mut cluster);
        power_cut_of_all(&mut cluster, 1_000);
        assert_eq!(inc(&mut cluster, 100), 101);
        cluster.run_for_ms(1_000);
        wait_counter(&mut cluster, 101, 3);
        burst_and_power_cut(&mut cluster);
        assert_eq!(inc(&mut cluster, 101), 102);
        wait_counter(&mut cluster, 102, 3);
        check_appends(0, &get(&mut cluster, "counter").expect("the key is there").value, 102);
        cluster.judge();
    });
}

#[test]
fn m_r8_a_hundred_increments_leave_a_short_log_and_survive_a_power_cut() {
    const MAX: u64 = 1000;
    under_seeds(5, |seed| {
        let mut cluster = cluster(seed, Some(MAX));
        count_to_a_hundred(&mut cluster);
        // At every step, and stricter than elsewhere.
        assert!(cluster.log_bytes_max() <= 2 * MAX, "a log of {} bytes", cluster.log_bytes_max());
        power_cut_of_all(&mut cluster, 0);
        assert_eq!(inc(&mut cluster, 100), 101);
        wait_counter(&mut cluster, 101, 3);
        cluster.judge();
    });
}
