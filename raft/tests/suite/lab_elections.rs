//! Lab cases T-1 to T-24 (TinyKV 2AA). The labs know neither pre-vote nor check-quorum; where that changes an outcome, ours is shown
//! and a line says why. Base timeout 10 ticks, a heartbeat per tick. Node 1 is under test; where a lab table votes for nodes 1 and 2,
//! the peers here are 2 and 3.

use std::collections::BTreeSet;

use raft::*;

use crate::cluster::{Cluster, Start, config, start};
use crate::words::*;

const ROLES: [RoleName; 4] = [RoleName::Follower, RoleName::PreCandidate, RoleName::Candidate, RoleName::Leader];

fn is_follower_at(cluster: &Cluster, term: u64) -> bool {
    cluster.raft(1).role() == RoleName::Follower && cluster.raft(1).term() == Term(term)
}

#[test]
fn t01_follower_takes_the_term_of_a_newer_append() {
    let mut cluster = lone(RoleName::Follower, 3, start(1, &[], 0));
    cluster.step(1, 2, append(2, (0, 0), &[], 0));
    assert!(is_follower_at(&cluster, 2));
}

#[test]
fn t02_candidate_takes_the_term_of_a_newer_append() {
    let mut cluster = lone(RoleName::Candidate, 3, Start::default());
    cluster.step(1, 2, append(2, (0, 0), &[], 0));
    assert!(is_follower_at(&cluster, 2));
}

#[test]
fn t03_leader_takes_the_term_of_a_newer_append() {
    let mut cluster = lone(RoleName::Leader, 3, Start::default());
    cluster.step(1, 2, append(2, (0, 0), &[], 0));
    assert!(is_follower_at(&cluster, 2));
}

#[test]
fn t04_a_fresh_node_is_a_follower() {
    assert!(is_follower_at(&Cluster::new(3), 0));
}

#[test]
fn t05_leader_bcast_beat_is_one_heartbeat_per_peer_and_tick() {
    let mut cluster = lone(RoleName::Leader, 3, Start::default());
    cluster.tick(1, 1);
    // Index, log term and entries: the variant has no such fields.
    assert_eq!(said(&mut cluster), to_each([2, 3], &heartbeat(1, 0)));
}

#[test]
fn t06_a_silent_follower_asks_for_pre_votes_and_then_stands_once() {
    let mut cluster = lone(RoleName::Follower, 3, start(1, &[], 0));
    (0..19).for_each(|_| cluster.tick(1, 1));
    // Ours: pre-vote first. The term stays until a majority would vote for it.
    assert_eq!((cluster.raft(1).role(), cluster.raft(1).term()), (RoleName::PreCandidate, Term(1)));
    assert_eq!(said(&mut cluster), to_each([2, 3], &pre_vote(2, (0, 0))));
    cluster.step(1, 2, pre_vote_reply(2, true));
    assert_eq!((cluster.raft(1).role(), cluster.raft(1).term()), (RoleName::Candidate, Term(2)));
    assert_eq!(cluster.raft(1).voted_for(), Some(NodeId(1)));
    assert_eq!(said(&mut cluster), to_each([2, 3], &vote(2, (0, 0))));
    cluster.step(1, 3, vote_reply(2, true));
    assert!(cluster.raft(1).is_leader(), "its own vote and one more are a majority");
}

#[test]
fn t07_a_candidate_without_majority_asks_again_and_stands_once_more() {
    let mut cluster = lone(RoleName::Candidate, 3, Start::default());
    (0..19).for_each(|_| cluster.tick(1, 1));
    // Ours: it falls back to pre-votes, so a candidate that nobody hears does not count up terms.
    assert_eq!((cluster.raft(1).role(), cluster.raft(1).term()), (RoleName::PreCandidate, Term(1)));
    assert_eq!(said(&mut cluster), to_each([2, 3], &pre_vote(2, (0, 0))));
    cluster.step(1, 2, pre_vote_reply(2, true));
    assert_eq!((cluster.raft(1).role(), cluster.raft(1).term()), (RoleName::Candidate, Term(2)));
    assert_eq!(said(&mut cluster), to_each([2, 3], &vote(2, (0, 0))));
}

#[test]
fn t08_leader_election_in_one_round() {
    let cases: [(u64, &[bool], RoleName); 10] = [
        (1, &[], RoleName::Leader),
        (3, &[true], RoleName::Leader),
        (3, &[true, true], RoleName::Leader),
        (5, &[true, true], RoleName::Leader),
        (5, &[true, true, true], RoleName::Leader),
        (5, &[true, true, true, true], RoleName::Leader),
        (3, &[], RoleName::Candidate),
        (5, &[], RoleName::Candidate),
        (5, &[true], RoleName::Candidate),
        (5, &[false, false], RoleName::Candidate),
    ];
    for (count, votes, role) in cases {
        // Alone, it leads at once; otherwise the pre-votes are given and the votes decide.
        let mut cluster =
            if count == 1 { lone(RoleName::Leader, 1, Start::default()) } else { lone(RoleName::Candidate, count, Start::default()) };
        (2..).zip(votes).for_each(|(peer, granted)| cluster.step(1, peer, vote_reply(1, *granted)));
        assert_eq!((cluster.raft(1).role(), cluster.raft(1).term()), (role, Term(1)), "{count} nodes, votes {votes:?}");
    }
}

#[test]
fn t09_a_follower_votes_once_per_term() {
    for (voted_for, requester, granted) in
        [(None, 2, true), (None, 3, true), (Some(2), 2, true), (Some(3), 3, true), (Some(2), 3, false), (Some(3), 2, false)]
    {
        let mut cluster = lone(RoleName::Follower, 3, Start { voted_for, ..start(1, &[], 0) });
        cluster.step(1, requester, vote(1, (0, 0)));
        assert_eq!(said(&mut cluster), [(requester, vote_reply(1, granted))], "voted for {voted_for:?}, asked by {requester}");
    }
}

#[test]
fn t10_a_candidate_gives_way_to_a_leader_of_its_term_or_a_newer_one() {
    for term in [1, 2] {
        let mut cluster = lone(RoleName::Candidate, 3, Start::default());
        cluster.step(1, 2, append(term, (0, 0), &[], 0));
        assert!(is_follower_at(&cluster, term));
        assert_eq!(cluster.raft(1).leader(), Some(NodeId(2)));
    }
}

/// Ticks until node 1 says something.
fn ticks_to_first_message(cluster: &mut Cluster) -> u32 {
    cluster.queue.clear();
    (1..100)
        .find(|_| {
            cluster.tick(1, 1);
            !cluster.queue.is_empty()
        })
        .expect("a timeout within 100 ticks")
}

fn seeded(role: RoleName, seed: u64) -> Cluster {
    let mut cluster = Cluster::build(3, vec![(config(1, seed), Start::default())]);
    if role == RoleName::Candidate {
        cluster.campaign(1);
        cluster.step(1, 2, pre_vote_reply(1, true));
    }
    assert_eq!(cluster.raft(1).role(), role);
    cluster
}

/// Ours: from the base itself to twice as much, exclusive; the labs begin one above it.
fn assert_timeouts_cover_their_range(role: RoleName) {
    let mut cluster = seeded(role, 7);
    let mut seen = BTreeSet::new();
    for round in 0..500 {
        seen.insert(match role {
            // One life, as in the lab: each round ends with a heartbeat.
            RoleName::Follower => {
                let ticks = ticks_to_first_message(&mut cluster);
                cluster.step(1, 2, heartbeat(1, 0));
                ticks
            }
            _ => ticks_to_first_message(&mut seeded(role, round)),
        });
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), (10..=19).collect::<Vec<_>>());
}

#[test]
fn t11_follower_election_timeouts_cover_their_range() {
    assert_timeouts_cover_their_range(RoleName::Follower);
}

#[test]
fn t12_candidate_election_timeouts_cover_their_range() {
    assert_timeouts_cover_their_range(RoleName::Candidate);
}

/// Of 1000 rounds, in how many two or more of five nodes time out first at the same tick.
fn conflicts(role: RoleName) -> usize {
    let is_conflict = |round: u64| {
        let ticks: Vec<u32> = (0..5).map(|node| ticks_to_first_message(&mut seeded(role, round * 5 + node))).collect();
        let first = ticks.iter().min().unwrap();
        ticks.iter().filter(|ticks| *ticks == first).count() > 1
    };
    (0..1000).filter(|round| is_conflict(*round)).count()
}

#[test]
fn t13_followers_rarely_time_out_together() {
    let conflicts = conflicts(RoleName::Follower);
    assert!(conflicts <= 300, "{conflicts} of 1000");
}

#[test]
fn t14_candidates_rarely_time_out_together() {
    let conflicts = conflicts(RoleName::Candidate);
    assert!(conflicts <= 300, "{conflicts} of 1000");
}

#[test]
fn t15_leader_election_needs_a_majority() {
    // Ours: without a majority it does not even stand, and its term stays 0.
    for (count, silent, role, term) in [
        (3, 0, RoleName::Leader, 1),
        (3, 1, RoleName::Leader, 1),
        (3, 2, RoleName::PreCandidate, 0),
        (4, 2, RoleName::PreCandidate, 0),
        (5, 2, RoleName::Leader, 1),
    ] {
        let mut cluster = Cluster::new(count);
        (2..2 + silent).for_each(|node| cluster.crash(node, false));
        cluster.elect(1);
        assert_eq!((cluster.raft(1).role(), cluster.raft(1).term()), (role, Term(term)), "{count} nodes, {silent} silent");
    }
}

#[test]
fn t16_every_node_can_lead_in_turn() {
    let mut cluster = Cluster::new(3);
    for leader in 1..=3 {
        cluster.elect(leader);
        for node in 1..=3 {
            assert_eq!(cluster.raft(node).is_leader(), node == leader, "n{node}, when n{leader} was elected");
            assert_eq!(cluster.raft(node).leader(), Some(NodeId(leader)));
        }
    }
}

#[test]
fn t17_any_state_that_hears_no_leader_votes_for_a_newer_log() {
    for role in ROLES {
        let mut cluster = lone(role, 3, start(1, &[], 0));
        let term = cluster.raft(1).term().0;
        cluster.step(1, 2, vote(term + 1, (42, term + 1)));
        if role == RoleName::Leader {
            // Ours: a leader with a live majority ignores the request, its term included.
            assert_eq!((cluster.raft(1).role(), cluster.raft(1).term(), said(&mut cluster)), (role, Term(term), vec![]));
            continue;
        }
        assert_eq!(said(&mut cluster), [(2, vote_reply(term + 1, true))], "as {role}");
        assert!(is_follower_at(&cluster, term + 1));
        assert_eq!(cluster.raft(1).voted_for(), Some(NodeId(2)));
    }
}

#[test]
fn t18_a_single_node_leads_at_once() {
    let mut cluster = Cluster::new(1);
    cluster.campaign(1);
    assert!(cluster.raft(1).is_leader());
    assert_eq!(cluster.raft(1).term(), Term(1));
}

/// Node 3 misses two elections and gives up on its leader; then everything is healed.
fn outvoted() -> Cluster {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.isolate(3);
    for (from, to) in [(1, 2), (2, 1)] {
        // Ours: a live leader ignores requests to vote, so it has to give up first.
        cluster.input(from, Raft::step_down);
        cluster.elect(to);
    }
    assert!(cluster.raft(1).is_leader());
    assert_eq!(cluster.raft(1).term(), Term(3));
    (0..19).for_each(|_| cluster.tick(3, 1));
    // Ours: alone it cannot become candidate, so its term stays behind instead of running ahead.
    assert_eq!((cluster.raft(3).role(), cluster.raft(3).term()), (RoleName::PreCandidate, Term(1)));
    cluster.heal();
    cluster
}

#[test]
fn t19_an_outvoted_node_follows_on_a_heartbeat() {
    let mut cluster = outvoted();
    cluster.step(3, 1, heartbeat(3, 0));
    assert_eq!((cluster.raft(3).role(), cluster.raft(3).term(), cluster.raft(3).leader()), (RoleName::Follower, Term(3), Some(NodeId(1))));
}

#[test]
fn t20_an_outvoted_node_follows_on_an_append() {
    let mut cluster = outvoted();
    cluster.step(3, 1, append(3, (3, 3), &[], 0));
    assert_eq!((cluster.raft(3).role(), cluster.raft(3).term(), cluster.raft(3).leader()), (RoleName::Follower, Term(3), Some(NodeId(1))));
}

#[test]
fn t21_a_silent_follower_cannot_disrupt_its_leader() {
    let mut cluster = Cluster::with(&vec![start(1, &[], 0); 3]);
    cluster.elect(1);
    (0..19).for_each(|_| cluster.tick(3, 1));
    cluster.settle();
    // Ours: node 2 hears the leader and ignores the pre-vote. Node 3 stays in term 2, and a late heartbeat brings it back.
    assert_eq!((cluster.raft(3).role(), cluster.raft(3).term()), (RoleName::PreCandidate, Term(2)));
    cluster.step(3, 1, heartbeat(2, 0));
    cluster.settle();
    assert!(cluster.raft(1).is_leader());
    assert_eq!((cluster.raft(3).role(), cluster.raft(1).term()), (RoleName::Follower, Term(2)));

    // A node that did become candidate, because a majority had lost sight of the leader, answers with its term: the leader steps down.
    cluster.isolate(1);
    cluster.campaign(3);
    cluster.settle();
    assert_eq!(cluster.raft(3).term(), Term(3));
    cluster.heal();
    cluster.step(3, 1, heartbeat(2, 0));
    cluster.settle();
    assert!(is_follower_at(&cluster, 3));
}

#[test]
fn t22_only_a_leader_beats() {
    for role in ROLES {
        let mut cluster = lone(role, 3, Start::default());
        cluster.tick(1, 1);
        let beats = said(&mut cluster).into_iter().filter(|(_, message)| matches!(message, Message::Heartbeat { .. })).count();
        assert_eq!(beats, if role == RoleName::Leader { 2 } else { 0 }, "as {role}");
    }
}

#[test]
fn t23_a_leader_that_campaigns_stays_leader() {
    let mut cluster = Cluster::new(1);
    cluster.campaign(1);
    cluster.campaign(1);
    assert!(cluster.raft(1).is_leader());
    assert_eq!(cluster.raft(1).term(), Term(1));
}

#[test]
fn t24_a_split_vote_is_settled_by_the_next_election() {
    let mut cluster = Cluster::with(&vec![start(1, &[], 0); 3]);
    cluster.elect(1);
    cluster.isolate(1);
    cluster.campaign(2);
    cluster.campaign(3); // at once: both have the other's pre-vote, and each votes for itself
    cluster.settle();
    for node in [2, 3] {
        assert_eq!((cluster.raft(node).role(), cluster.raft(node).term()), (RoleName::Candidate, Term(3)), "n{node}");
    }
    cluster.elect(2);
    assert!(cluster.raft(2).is_leader());
    assert_eq!(cluster.raft(2).term(), Term(4));
    assert_eq!((cluster.raft(3).role(), cluster.raft(3).leader()), (RoleName::Follower, Some(NodeId(2))));
}
