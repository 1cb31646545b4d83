//! R-C: what was agreed on outlives power cuts, lost and late messages. The labs hand a crashed server everything that it ever gave to its
//! persister; here a crash leaves any part of what was not synced.

use std::cell::Cell;

use sim::{Agreement, Cluster, Conditions, Effect, Limits, Proposal};

use crate::under_seeds;

fn cluster(seed: u64, nodes: usize, conditions: Conditions) -> Cluster {
    Cluster::new(seed, nodes, conditions, Limits::default())
}

fn power_cut(cluster: &mut Cluster, node: usize) {
    cluster.crash(node);
    cluster.restart(node);
}

/// Values that differ.
struct Values(u32);

impl Values {
    fn next(&mut self) -> [u8; 4] {
        self.0 += 1;
        self.0.to_le_bytes()
    }
}

#[test]
fn r_c1_nothing_is_lost_by_power_cuts_of_all_of_the_leader_and_of_a_follower() {
    under_seeds(20, |seed| {
        let mut cluster = cluster(seed, 3, Conditions::reliable());
        assert_eq!(cluster.agree(b"11", 3), 1);
        for node in 0..3 {
            cluster.crash(node);
        }
        for node in 0..3 {
            cluster.restart(node);
        }
        assert_eq!(cluster.agree(b"12", 3), 2);
        let leader = cluster.one_leader();
        power_cut(&mut cluster, leader);
        assert_eq!(cluster.agree(b"13", 3), 3);
        let leader = cluster.one_leader();
        cluster.disconnect(leader);
        assert_eq!(cluster.agree(b"14", 2), 4);
        power_cut(&mut cluster, leader);
        cluster.connect(leader);
        cluster.wait_applied(4, 3);
        let follower = (cluster.one_leader() + 1) % 3;
        cluster.disconnect(follower);
        assert_eq!(cluster.agree(b"15", 2), 5);
        power_cut(&mut cluster, follower);
        cluster.connect(follower);
        assert_eq!(cluster.agree(b"16", 3), 6);
    });
}

#[test]
fn r_c2_a_majority_of_restarted_nodes_keeps_the_log() {
    under_seeds(5, |seed| {
        let (mut cluster, mut values) = (cluster(seed, 5, Conditions::reliable()), Values(0));
        let mut count = 0;
        for _ in 0..5 {
            count += 1;
            assert_eq!(cluster.agree(&values.next(), 5), count);
            let leader = cluster.one_leader();
            let node = |step: usize| (leader + step) % 5;
            cluster.disconnect(node(1));
            cluster.disconnect(node(2));
            count += 1;
            assert_eq!(cluster.agree(&values.next(), 3), count);
            for step in [0, 3, 4] {
                cluster.disconnect(node(step));
            }
            for step in [1, 2] {
                power_cut(&mut cluster, node(step));
                cluster.connect(node(step));
            }
            cluster.run_for_ms(1_000);
            power_cut(&mut cluster, node(3));
            cluster.connect(node(3));
            count += 1;
            assert_eq!(cluster.agree(&values.next(), 3), count);
            cluster.connect(node(4));
            cluster.connect(node(0));
        }
        assert_eq!(cluster.agree(&values.next(), 5), count + 1);
    });
}

#[test]
fn r_c3_who_has_missed_a_command_does_not_win() {
    under_seeds(20, |seed| {
        let mut cluster = cluster(seed, 3, Conditions::reliable());
        assert_eq!(cluster.agree(b"101", 3), 1);
        let leader = cluster.one_leader();
        let (other, behind) = ((leader + 1) % 3, (leader + 2) % 3);
        cluster.disconnect(behind);
        assert_eq!(cluster.agree(b"102", 2), 2);
        cluster.crash(leader);
        cluster.crash(other);
        cluster.connect(behind);
        cluster.restart(leader);
        assert_eq!(cluster.agree(b"103", 2), 3);
        cluster.restart(other);
        assert_eq!(cluster.agree(b"104", 3), 4);
    });
}

/// The labs' pauses of Figure 8: seldom up to half a second, else next to nothing.
fn figure_8_pause(cluster: &mut Cluster) {
    let ms = if cluster.draw(1000) < 100 { cluster.draw(500) } else { cluster.draw(13) };
    cluster.run_for_ms(ms);
}

/// Gives a command to every node that is up; whoever took it last.
fn offer_to_all(cluster: &mut Cluster, value: &[u8]) -> Option<(usize, Proposal)> {
    let offer = |node| Some((node, cluster.propose_no_wait(node, value)?));
    (0..5).filter_map(offer).last()
}

#[test]
fn r_c4_entries_of_older_terms_are_not_committed_by_counting_while_leaders_crash() {
    let (cases, lost_sectors) = (Cell::new(0), Cell::new(0));
    under_seeds(3, |seed| {
        let (mut cluster, mut values) = (cluster(seed, 5, Conditions::reliable()), Values(0));
        cluster.agree(&values.next(), 1);
        let mut crashes = 0;
        for _ in 0..1000 {
            let taken = offer_to_all(&mut cluster, &values.next());
            figure_8_pause(&mut cluster);
            if let Some((node, _)) = taken {
                cluster.crash(node);
                crashes += 1;
            }
            if (0..5).filter(|node| cluster.is_up(*node)).count() < 3 {
                let node = cluster.draw_node();
                if !cluster.is_up(node) {
                    cluster.restart(node);
                }
            }
        }
        assert!(crashes > 50, "{crashes} leaders crashed: this exercised nothing");
        for node in 0..5 {
            if !cluster.is_up(node) {
                cluster.restart(node);
            }
        }
        cluster.agree(&values.next(), 5);
        assert!(cluster.now_ms() < 120_000, "{} ms", cluster.now_ms());
        cases.set(cases.get() + 1);
        lost_sectors.set(lost_sectors.get() + cluster.report().effects[Effect::LostSector]);
    });
    // Most cuts come at rest; under even seeds all do.
    assert!(lost_sectors.get() > 0 || cases.get() < 3, "no power cut has taken anything back: this exercised nothing");
}

#[test]
fn r_c5_much_is_agreed_on_while_messages_are_lost() {
    under_seeds(5, |seed| {
        let (mut cluster, mut values) = (cluster(seed, 5, Conditions::unreliable()), Values(0));
        let mut beside: Vec<Agreement> = Vec::new();
        for _ in 1..50 {
            beside.extend((0..4).map(|_| cluster.agreement(&values.next(), 1, true)));
            let mut ahead = cluster.agreement(&values.next(), 1, true);
            while ahead.step(&mut cluster).is_none() {
                beside.retain_mut(|agreement| agreement.step(&mut cluster).is_none());
                cluster.run_for_ms(1);
            }
        }
        cluster.set_conditions(Conditions::reliable());
        while !beside.is_empty() {
            beside.retain_mut(|agreement| agreement.step(&mut cluster).is_none());
            cluster.run_for_ms(1);
        }
        assert!(cluster.agree(&values.next(), 5) > 245, "all that was agreed on is there");
        assert!(cluster.now_ms() < 120_000, "{} ms", cluster.now_ms());
    });
}

fn figure_8_without_crashes(seed: u64, early: Conditions, late: Conditions) {
    let (mut cluster, mut values) = (cluster(seed, 5, early), Values(0));
    cluster.agree(&values.next(), 1);
    let mut cuts = 0;
    for round in 0..1000 {
        if round == 200 {
            cluster.set_conditions(late.clone());
        }
        let taken = offer_to_all(&mut cluster, &values.next());
        figure_8_pause(&mut cluster);
        if let Some((node, _)) = taken
            && cluster.is_connected(node)
            && cluster.draw(2) == 0
        {
            cluster.disconnect(node);
            cuts += 1;
        }
        if (0..5).filter(|node| cluster.is_connected(*node)).count() < 3 {
            let node = cluster.draw_node();
            cluster.connect(node);
        }
    }
    assert!(cuts > 5, "{cuts} leaders were cut off: this exercised nothing");
    cluster.heal();
    cluster.agree(&values.next(), 5);
    assert!(cluster.now_ms() < 120_000, "{} ms", cluster.now_ms());
}

#[test]
fn r_c6_stale_answers_and_stale_appends_do_no_harm() {
    under_seeds(5, |seed| figure_8_without_crashes(seed, Conditions::unreliable(), Conditions::long_reordering()));
}

/// Beyond the lab, whose network never delivers a message twice and is never slow.
#[test]
fn repeated_messages_on_slow_links_do_no_harm() {
    let duplicating = Conditions { duplicate: 0.2, ..Conditions::unreliable() };
    let slow = Conditions { way_us: 75_000..100_000, ..duplicating.clone() };
    under_seeds(3, |seed| figure_8_without_crashes(seed, duplicating.clone(), slow.clone()));
}

/// A client of the churn: gives a command to everybody, and looks for it a few times.
#[derive(Default)]
struct Churner {
    next_ms: u64,
    /// What it looks for, and how often it has looked.
    looking: Option<(Proposal, usize)>,
    applied: Vec<Proposal>,
}

impl Churner {
    fn step(&mut self, number: u64, cluster: &mut Cluster, values: &mut Values) {
        const LOOKS_MS: [u64; 5] = [10, 20, 50, 100, 200];
        if cluster.now_ms() < self.next_ms {
            return;
        }
        if let Some((proposal, looks)) = self.looking {
            if cluster.nodes_past(proposal.at.index) > 0 {
                self.applied.extend(cluster.ordinal(proposal).map(|_| proposal));
                self.looking = None;
            } else if looks < LOOKS_MS.len() {
                self.next_ms = cluster.now_ms() + LOOKS_MS[looks];
                self.looking = Some((proposal, looks + 1));
                return;
            } else {
                self.looking = None;
            }
        }
        match offer_to_all(cluster, &values.next()) {
            Some((_, proposal)) => self.looking = Some((proposal, 0)),
            None => self.next_ms = cluster.now_ms() + 79 + 17 * number,
        }
    }
}

fn churn(seed: u64, conditions: Conditions) {
    let (mut cluster, mut values) = (cluster(seed, 5, conditions), Values(0));
    let mut clients = [Churner::default(), Churner::default(), Churner::default()];
    let mut faults = 0;
    let load = |cluster: &mut Cluster, values: &mut Values, clients: &mut [Churner; 3], ms: u64| {
        let end_ms = cluster.now_ms() + ms;
        while cluster.now_ms() < end_ms {
            for (number, client) in clients.iter_mut().enumerate() {
                client.step(number as u64, cluster, values);
            }
            cluster.run_for_ms(1);
        }
    };
    for _ in 0..20 {
        if cluster.draw(1000) < 200 {
            let node = cluster.draw_node();
            cluster.disconnect(node);
            faults += 1;
        }
        if cluster.draw(1000) < 500 {
            let node = cluster.draw_node();
            if !cluster.is_up(node) {
                cluster.restart(node);
            }
            cluster.connect(node);
        }
        if cluster.draw(1000) < 200 {
            let node = cluster.draw_node();
            if cluster.is_up(node) {
                cluster.crash(node);
                faults += 1;
            }
        }
        load(&mut cluster, &mut values, &mut clients, 700);
    }
    load(&mut cluster, &mut values, &mut clients, 1_000);
    cluster.set_conditions(Conditions::reliable());
    for node in 0..5 {
        if !cluster.is_up(node) {
            cluster.restart(node);
        }
    }
    cluster.heal();
    let sought: usize = clients.iter().map(|client| client.applied.len()).sum();
    assert!(sought > 50 && faults > 0, "{sought} commands were applied among {faults} faults: this exercised nothing");
    cluster.run_for_ms(1_000);
    let last = cluster.agree(&values.next(), 5);
    assert_eq!(cluster.nodes_applied(last), 5);
    for proposal in clients.iter().flat_map(|client| &client.applied) {
        // Every node's list is the same, so one that is in it is on all of them.
        assert!(cluster.ordinal(*proposal) < Some(last), "{proposal:?} was applied, and is gone");
    }
}

#[test]
fn r_c7_what_was_applied_once_is_there_after_a_churn() {
    under_seeds(3, |seed| churn(seed, Conditions::reliable()));
}

#[test]
fn r_c8_what_was_applied_once_is_there_after_a_churn_with_loss() {
    under_seeds(5, |seed| churn(seed, Conditions::unreliable()));
}
