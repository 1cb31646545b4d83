//! R-A: leaders come, go and come back.

use sim::{Cluster, Conditions, Limits};

use crate::under_seeds;

fn cluster(seed: u64, nodes: usize) -> Cluster {
    Cluster::new(seed, nodes, Conditions::reliable(), Limits::default())
}

#[test]
fn r_a1_a_quiet_cluster_has_one_leader_and_one_term() {
    under_seeds(20, |seed| {
        let mut cluster = cluster(seed, 3);
        let leader = cluster.one_leader();
        cluster.run_for_ms(50);
        let term = cluster.term(0).expect("it is up");
        assert!(term.0 >= 1 && (0..3).all(|node| cluster.term(node) == Some(term)), "the terms differ:\n{}", cluster.describe());
        cluster.run_for_ms(2_000);
        // The lab only warns.
        assert!((0..3).all(|node| cluster.term(node) == Some(term)), "the term has changed in a quiet time:\n{}", cluster.describe());
        assert_eq!(cluster.one_leader(), leader);
    });
}

#[test]
fn r_a2_leaders_are_replaced_and_step_down_and_need_a_majority() {
    under_seeds(20, |seed| {
        let mut cluster = cluster(seed, 3);
        let first = cluster.one_leader();
        cluster.disconnect(first);
        let second = cluster.one_leader();
        let term = cluster.term(second);
        cluster.connect(first);
        assert_eq!(cluster.one_leader(), second, "who comes back does not disturb");
        assert_eq!((cluster.term(second), cluster.leads(first)), (term, false));
        cluster.disconnect(second);
        cluster.disconnect((second + 1) % 3);
        cluster.run_for_ms(2_000);
        cluster.no_leader();
        // Ours: nor among those that are cut off. A leader whose majority is silent steps down.
        assert!((0..3).all(|node| !cluster.leads(node)), "{}", cluster.describe());
        cluster.connect((second + 1) % 3);
        let third = cluster.one_leader();
        cluster.connect(second);
        assert_eq!(cluster.one_leader(), third);
    });
}

#[test]
fn r_a3_there_is_a_leader_whichever_three_of_seven_are_cut_off() {
    under_seeds(10, |seed| {
        let mut cluster = cluster(seed, 7);
        cluster.one_leader();
        for _ in 0..9 {
            for _ in 0..3 {
                let node = cluster.draw_node();
                cluster.disconnect(node);
            }
            // Either the leader is still there, or the others have one.
            cluster.one_leader();
            cluster.heal();
        }
        cluster.one_leader();
    });
}

/// Beyond the lab, which only cuts both directions of a link and never slows one down.
#[test]
fn a_leader_that_hears_nobody_or_whom_nobody_hears_is_replaced() {
    for deaf in [true, false] {
        under_seeds(10, |seed| {
            let mut cluster = cluster(seed, 3);
            let first = cluster.one_leader();
            for peer in (0..3).filter(|peer| *peer != first) {
                let (from, to) = if deaf { (peer, first) } else { (first, peer) };
                cluster.cut_one_way(from, to);
            }
            // Deaf, it goes on saying that it leads until check-quorum ends that.
            let replaced = cluster.run_until(2_000, |cluster| !cluster.leads(first) && (0..3).any(|node| cluster.leads(node)));
            assert!(replaced, "no other leader within two seconds:\n{}", cluster.describe());
            cluster.agree_at_once(b"x", 2);
        });
    }
}

/// Beyond the lab, which never pauses a process.
#[test]
fn a_leader_that_slept_for_seconds_does_not_lead_on() {
    under_seeds(10, |seed| {
        let mut cluster = cluster(seed, 3);
        cluster.agree_at_once(b"before", 3);
        let sleeper = cluster.one_leader();
        let ms = 2_000 + cluster.draw(8_000);
        cluster.pause(sleeper, ms);
        let slept_from_ms = cluster.now_ms();
        assert_eq!(cluster.agree(b"meanwhile", 2), 2);
        let took_ms = cluster.now_ms() - slept_from_ms;
        assert!(took_ms < 1_500, "two who are awake have agreed only after {took_ms} ms");
        cluster.run_for_ms(ms);
        assert!(!cluster.leads(sleeper), "{}", cluster.describe());
        cluster.agree_at_once(b"after", 3);
    });
}
