//! R-B: commands reach every log, once. Where a row of the labs says "index", this says how many commands come up to it: no-ops and
//! announcements stand between them.

use sim::{Cluster, Conditions, Limits, Proposal};

use crate::under_seeds;

fn cluster(seed: u64, nodes: usize) -> Cluster {
    Cluster::new(seed, nodes, Conditions::reliable(), Limits::default())
}

fn others(leader: usize, nodes: usize) -> Vec<usize> {
    (1..nodes).map(|step| (leader + step) % nodes).collect()
}

/// No node has applied it, and none applies anything in its place.
fn assert_applied_nowhere(cluster: &Cluster, proposal: Option<Proposal>, commands: usize) {
    assert_eq!(cluster.nodes_applied(commands + 1), 0, "command {} is applied without a majority", commands + 1);
    assert_eq!(proposal.and_then(|proposal| cluster.ordinal(proposal)), None);
}

#[test]
fn r_b1_commands_are_applied_in_order_and_none_before_it_is_given() {
    under_seeds(20, |seed| {
        let mut cluster = cluster(seed, 3);
        for k in 1..=3 {
            assert_eq!(cluster.nodes_applied(k), 0, "somebody has applied command {k} before it was given");
            assert_eq!(cluster.agree_at_once((100 * k).to_string().as_bytes(), 3), k);
        }
    });
}

#[test]
fn r_b2_each_command_crosses_a_simulated_network_once_per_peer() {
    under_seeds(10, |seed| {
        let mut cluster = cluster(seed, 3);
        cluster.agree_at_once(b"99", 3);
        let before = cluster.traffic().bytes;
        let mut sent = 0;
        for k in 2..12 {
            let value = cluster.draw_bytes(5_000);
            assert_eq!(cluster.agree_at_once(&value, 3), k);
            sent += value.len() as u64;
        }
        let grown = cluster.traffic().bytes - before;
        assert!(2 * sent <= grown, "{grown} bytes cannot have brought them to everyone");
        assert!(grown <= 3 * sent + 50_000, "{grown} bytes for {sent}");
    });
}

#[test]
fn r_b3_a_leader_without_followers_applies_nothing() {
    under_seeds(20, |seed| {
        let mut cluster = cluster(seed, 3);
        cluster.agree_at_once(b"101", 3);
        let leader = cluster.one_leader();
        let [first, second] = others(leader, 3)[..] else { unreachable!() };
        cluster.disconnect(first);
        cluster.agree_at_once(b"102", 2);
        cluster.run_for_ms(1_000);
        cluster.agree_at_once(b"103", 2);
        let leader = cluster.one_leader();
        cluster.disconnect(second);
        let proposal = cluster.propose_no_wait(leader, b"104");
        assert!(proposal.is_some(), "a leader does not know at once that it is alone");
        cluster.run_for_ms(2_000);
        assert_applied_nowhere(&cluster, proposal, 3);
    });
}

#[test]
fn r_b4_without_a_second_leader_nothing_is_applied() {
    under_seeds(20, |seed| {
        let mut cluster = cluster(seed, 3);
        cluster.agree_at_once(b"101", 3);
        let first = cluster.one_leader();
        cluster.disconnect(first);
        cluster.agree(b"102", 2);
        cluster.run_for_ms(1_000);
        cluster.agree_at_once(b"103", 2);
        let second = cluster.one_leader();
        cluster.disconnect(second);
        let proposals: Vec<_> = (0..3).map(|node| cluster.propose_no_wait(node, b"104")).collect();
        assert!(proposals[second].is_some(), "a leader does not know at once that it is alone");
        cluster.run_for_ms(2_000);
        for proposal in proposals {
            assert_applied_nowhere(&cluster, proposal, 3);
        }
    });
}

#[test]
fn r_b5_a_follower_that_comes_back_catches_up() {
    under_seeds(20, |seed| {
        let mut cluster = cluster(seed, 3);
        cluster.agree_at_once(b"101", 3);
        let leader = cluster.one_leader();
        let follower = others(leader, 3)[0];
        cluster.disconnect(follower);
        cluster.agree_at_once(b"102", 2);
        cluster.agree_at_once(b"103", 2);
        cluster.run_for_ms(1_000);
        cluster.agree_at_once(b"104", 2);
        cluster.agree_at_once(b"105", 2);
        let term = cluster.term(leader);
        cluster.connect(follower);
        assert_eq!(cluster.agree(b"106", 3), 6);
        cluster.run_for_ms(1_000);
        assert_eq!(cluster.agree_at_once(b"107", 3), 7);
        // Ours: it could not even stand while it was alone, so nobody's term has changed.
        assert_eq!((cluster.term(leader), cluster.term(follower)), (term, term));
    });
}

#[test]
fn r_b6_two_of_five_agree_on_nothing() {
    under_seeds(20, |seed| {
        let mut cluster = cluster(seed, 5);
        assert_eq!(cluster.agree_at_once(b"10", 5), 1);
        let leader = cluster.one_leader();
        for follower in &others(leader, 5)[..3] {
            cluster.disconnect(*follower);
        }
        let orphan = cluster.propose_no_wait(leader, b"20");
        assert!(orphan.is_some(), "a leader does not know at once that it has no majority");
        cluster.run_for_ms(2_000);
        assert_applied_nowhere(&cluster, orphan, 1);
        cluster.heal();
        let leader = cluster.one_leader();
        let next = cluster.propose_no_wait(leader, b"30").expect("a leader takes a command");
        assert!(cluster.run_until(2_000, |cluster| cluster.ordinal(next).is_some()));
        assert!(matches!(cluster.ordinal(next), Some(2 | 3)), "{:?}", cluster.ordinal(next));
        cluster.agree_at_once(b"1000", 5);
    });
}

#[test]
fn r_b7_commands_given_at_once_are_all_applied() {
    under_seeds(20, |seed| {
        let mut cluster = cluster(seed, 3);
        let succeeded = (0..5).any(|attempt| {
            if attempt > 0 {
                cluster.run_for_ms(3_000);
            }
            let leader = cluster.one_leader();
            let term = cluster.term(leader);
            if cluster.propose_no_wait(leader, b"1").is_none() {
                return false;
            }
            // In one instant, as from five threads.
            let proposals: Vec<_> = (0..5).filter_map(|k| cluster.propose_no_wait(leader, &[100 + k])).collect();
            assert_eq!(proposals.len(), 5);
            let all = |cluster: &mut Cluster| {
                proposals.iter().all(|proposal| cluster.ordinal(*proposal).is_some_and(|ordinal| cluster.nodes_applied(ordinal) == 3))
            };
            let applied = cluster.run_until(2_000, all);
            let same_term = (0..3).all(|node| cluster.term(node) == term);
            assert!(applied || !same_term, "a command was lost, and no term has changed");
            applied && same_term
        });
        assert!(succeeded, "the term changed five times");
    });
}

#[test]
fn r_b8_orphans_of_a_leader_that_was_cut_off_vanish() {
    under_seeds(20, |seed| {
        let mut cluster = cluster(seed, 3);
        cluster.agree_at_once(b"101", 3);
        let first = cluster.one_leader();
        cluster.disconnect(first);
        let orphans: Vec<_> = (0..3).map(|k| cluster.propose_no_wait(first, &[k]).expect("it still leads")).collect();
        cluster.agree(b"103", 2);
        let second = cluster.one_leader();
        cluster.disconnect(second);
        cluster.connect(first);
        cluster.agree(b"104", 2);
        cluster.connect(second);
        assert_eq!(cluster.agree(b"105", 3), 4, "the orphans are gone");
        assert!(orphans.iter().all(|orphan| cluster.ordinal(*orphan).is_none()));
    });
}

#[test]
fn r_b9_long_wrong_logs_are_repaired_quickly() {
    under_seeds(5, |seed| {
        let mut cluster = cluster(seed, 5);
        let mut number = 0_u32;
        let mut next = || {
            number += 1;
            number.to_le_bytes()
        };
        cluster.agree(&next(), 5);
        let first = cluster.one_leader();
        let [partner, a, b, c] = others(first, 5)[..] else { unreachable!() };
        for node in [a, b, c] {
            cluster.disconnect(node);
        }
        let mut orphans: Vec<_> = (0..50).map(|_| cluster.propose_no_wait(first, &next()).expect("it still leads")).collect();
        cluster.run_for_ms(500);
        cluster.heal();
        cluster.disconnect(first);
        cluster.disconnect(partner);
        for _ in 0..50 {
            cluster.agree(&next(), 3);
        }
        let second = cluster.one_leader();
        let other = [a, b, c].into_iter().find(|node| *node != second).expect("one of three");
        cluster.disconnect(other);
        orphans.extend((0..50).map(|_| cluster.propose_no_wait(second, &next()).expect("it still leads")));
        cluster.run_for_ms(500);
        // All but the two that were cut off together, and the one that was cut off last.
        cluster.heal();
        for node in [a, b, c].into_iter().filter(|node| *node != other) {
            cluster.disconnect(node);
        }
        for _ in 0..50 {
            cluster.agree(&next(), 3);
        }
        cluster.heal();
        assert_eq!(cluster.agree(&next(), 5), 102, "a hundred of two hundred vanish, and what a majority had stays");
        assert!(orphans.iter().all(|orphan| cluster.ordinal(*orphan).is_none()));
        // One step back per heartbeat would take 100 x 50 ms for each of the repairs alone.
        assert!(cluster.now_ms() < 120_000, "{} ms", cluster.now_ms());
    });
}

#[test]
fn r_b10_traffic_is_thrifty() {
    under_seeds(10, |seed| {
        // Ours: requests count, and answers do not, as a call counts once in the lab.
        let requests = |cluster: &Cluster| cluster.traffic().requests;
        let mut cluster = cluster(seed, 3);
        // It has formed by now: pre-votes, votes, announcements, perhaps a heartbeat.
        let used = requests(&cluster);
        assert!((1..=30).contains(&used), "{used} requests until there is a leader");
        let mut succeeded = false;
        for _ in 0..5 {
            let leader = cluster.one_leader();
            let term = cluster.term(leader);
            let before = requests(&cluster);
            let first = cluster.propose_no_wait(leader, b"1").expect("it leads");
            let rest: Vec<_> = (0..11).map(|k| cluster.propose_no_wait(leader, &[k]).expect("it leads")).collect();
            let consecutive = rest.iter().enumerate().all(|(k, proposal)| proposal.at.index.0 == first.at.index.0 + 1 + k as u64);
            let ten = rest[9];
            let applied = cluster.run_until(2_000, |cluster| cluster.ordinal(ten).is_some_and(|ten| cluster.nodes_applied(ten) == 3));
            if !(0..3).all(|node| cluster.term(node) == term) {
                continue;
            }
            assert!(consecutive && applied, "in one term nothing comes between, and nothing is lost");
            let used = requests(&cluster) - before;
            assert!(used <= (10 + 1 + 3) * 3, "{used} requests for ten commands");
            succeeded = true;
            break;
        }
        assert!(succeeded, "the term changed five times");
        let before = requests(&cluster);
        cluster.run_for_ms(1_000);
        let used = requests(&cluster) - before;
        assert!((20..=3 * 20).contains(&used), "{used} requests in an idle second");
    });
}
