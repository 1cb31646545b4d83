//! R-D: a short log, and snapshots for those who need what is no longer in it.

use sim::{Cluster, Conditions, Limits};

use crate::under_seeds;

/// The labs' service takes a snapshot at every tenth command. Ours at a length of the log: eight of these commands. With the tail that is
/// kept for slow followers it is some twelve.
const COMMANDS_PER_SNAPSHOT: u64 = 10;
const SNAPSHOT_AT_LOG_BYTES: u64 = 600;
const LOG_BYTES_MAX: u64 = 2000;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    Cut,
    Crash,
}

fn cluster(seed: u64, conditions: Conditions) -> Cluster {
    let limits = Limits { max_log_bytes: Some(SNAPSHOT_AT_LOG_BYTES), ..Limits::default() };
    Cluster::new(seed, 3, conditions, limits)
}

fn check_logs(cluster: &Cluster) {
    // The labs look only when nothing is under way; this is the longest that any log was at any step.
    assert!(cluster.log_bytes_max() < LOG_BYTES_MAX, "a log of {} bytes", cluster.log_bytes_max());
}

fn thirty_rounds(seed: u64, fault: Fault, conditions: Conditions) {
    let mut cluster = cluster(seed, conditions);
    cluster.agree(b"0", 3);
    let mut leader = cluster.one_leader();
    let all = if fault == Fault::None { 3 } else { 2 };
    for round in 0..30 {
        let (mut victim, mut sender) = ((leader + 1) % 3, leader);
        if round % 3 == 1 {
            (victim, sender) = (sender, victim);
        }
        match fault {
            Fault::None => {}
            Fault::Cut => cluster.disconnect(victim),
            Fault::Crash => cluster.crash(victim),
        }
        if fault != Fault::None {
            cluster.agree(b"1", 2);
        }
        let count = COMMANDS_PER_SNAPSHOT / 2 + cluster.draw(COMMANDS_PER_SNAPSHOT);
        for number in 0..count {
            cluster.propose_no_wait(sender, &number.to_le_bytes()[..1]);
        }
        cluster.agree(b"2", all);
        check_logs(&cluster);
        match fault {
            Fault::None => {}
            Fault::Cut => {
                cluster.connect(victim);
                cluster.agree(b"3", 3);
                leader = cluster.one_leader();
            }
            Fault::Crash => {
                cluster.restart(victim);
                cluster.agree(b"3", 3);
                leader = cluster.one_leader();
            }
        }
    }
    check_logs(&cluster);
    let (snapshots, installs) = (cluster.report().snapshots, cluster.report().installs);
    assert!(snapshots > 30, "{snapshots} snapshots");
    if fault == Fault::None {
        assert_eq!(installs, 0, "nobody was away, and somebody was sent a snapshot");
    } else {
        assert!(installs > 0, "nobody was sent a snapshot: this exercised nothing");
    }
}

#[test]
fn r_d1_snapshots_keep_the_log_short_and_nobody_is_sent_one() {
    under_seeds(5, |seed| thirty_rounds(seed, Fault::None, Conditions::reliable()));
}

#[test]
fn r_d2_who_was_cut_off_is_sent_a_snapshot() {
    under_seeds(5, |seed| thirty_rounds(seed, Fault::Cut, Conditions::reliable()));
}

#[test]
fn r_d3_who_was_cut_off_is_sent_a_snapshot_while_messages_are_lost() {
    under_seeds(5, |seed| thirty_rounds(seed, Fault::Cut, Conditions::unreliable()));
}

#[test]
fn r_d4_who_was_down_is_sent_a_snapshot() {
    under_seeds(5, |seed| thirty_rounds(seed, Fault::Crash, Conditions::reliable()));
}

#[test]
fn r_d5_who_was_down_is_sent_a_snapshot_while_messages_are_lost() {
    under_seeds(5, |seed| thirty_rounds(seed, Fault::Crash, Conditions::unreliable()));
}

fn power_cut_of_all(cluster: &mut Cluster) {
    for node in 0..3 {
        cluster.crash(node);
    }
    for node in 0..3 {
        cluster.restart(node);
    }
}

#[test]
fn r_d6_all_nodes_restart_from_their_snapshots_and_what_follows() {
    under_seeds(10, |seed| {
        let mut cluster = cluster(seed, Conditions::reliable());
        cluster.agree(b"0", 3);
        for _ in 0..5 {
            for _ in 0..COMMANDS_PER_SNAPSHOT / 2 + cluster.draw(COMMANDS_PER_SNAPSHOT) {
                cluster.agree(b"before", 3);
            }
            let before = cluster.agree(b"the last before", 3);
            power_cut_of_all(&mut cluster);
            assert_eq!(cluster.agree(b"after", 3), before + 1);
        }
        assert!(cluster.report().snapshots > 10, "{} snapshots", cluster.report().snapshots);
        check_logs(&cluster);
    });
}

#[test]
fn r_d7_the_first_write_after_a_restart_leaves_the_stored_snapshot() {
    under_seeds(10, |seed| {
        let mut cluster = cluster(seed, Conditions::reliable());
        cluster.agree(b"0", 3);
        for _ in 0..COMMANDS_PER_SNAPSHOT + 1 {
            cluster.agree(b"before", 3);
        }
        assert!((0..3).all(|node| cluster.snapshot_bytes(node) > 0), "there is no snapshot that could be lost");
        for expected in [13, 14] {
            power_cut_of_all(&mut cluster);
            assert_eq!(cluster.agree(b"after", 3), expected);
        }
    });
}
