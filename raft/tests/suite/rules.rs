//! Rules that a story would tell at too great a length: who listens to whom and when, and how much may be said.

use raft::*;

use crate::cluster::{Cluster, Start, config, start};
use crate::words::*;

/// Node 1 of three follows node 2 in term 1 and has heard it this instant.
fn follower(seed: u64) -> Cluster {
    let mut cluster = Cluster::build(3, vec![(config(1, seed), start(1, &[], 0))]);
    cluster.step(1, 2, heartbeat(1, 0));
    cluster.queue.clear();
    cluster
}

#[test]
fn requests_to_vote_are_ignored_until_the_minimum_timeout_has_passed() {
    let mut cluster = follower(3);
    for _ in 0..10 {
        for message in [vote(9, (9, 8)), pre_vote(9, (9, 8))] {
            cluster.step(1, 3, message);
        }
        assert_eq!((cluster.raft(1).term(), said(&mut cluster)), (Term(1), vec![]), "the leader was heard");
        cluster.tick(1, 1);
    }
    assert_eq!(cluster.raft(1).leader(), Some(NodeId(2)), "this seed waits longer than the minimum");
    cluster.step(1, 3, pre_vote(9, (9, 8)));
    assert_eq!((cluster.raft(1).term(), said(&mut cluster)), (Term(1), vec![(3, pre_vote_reply(9, true))]), "a pre-vote changes no term");
    cluster.step(1, 3, vote(9, (9, 8)));
    assert_eq!((cluster.raft(1).term(), said(&mut cluster)), (Term(9), vec![(3, vote_reply(9, true))]));
}

#[test]
fn a_transfer_may_disturb_a_living_leader() {
    let transfer = |term| Message::RequestVote { term: Term(term), last_log_index: Index(9), last_log_term: Term(1), transfer: true };
    let mut cluster = follower(1);
    cluster.step(1, 3, transfer(2));
    assert_eq!(said(&mut cluster), [(3, vote_reply(2, true))]);
    let mut cluster = settled_leader(3, Start::default());
    cluster.step(1, 3, transfer(2));
    assert_eq!((cluster.raft(1).is_leader(), said(&mut cluster)), (false, vec![(3, vote_reply(2, true))]));
}

#[test]
fn a_node_that_lost_its_leader_grants_at_once() {
    let mut cluster = follower(1);
    cluster.input(1, |raft| raft.leader_lost(NodeId(2)));
    cluster.step(1, 3, pre_vote(2, (0, 0)));
    cluster.step(1, 3, vote(2, (0, 0)));
    assert_eq!(said(&mut cluster), [(3, pre_vote_reply(2, true)), (3, vote_reply(2, true))]);
}

#[test]
fn only_a_refusal_of_a_higher_term_lifts_a_pre_candidate() {
    for (refusal, term, role) in [(5, 5, RoleName::Follower), (1, 1, RoleName::PreCandidate), (0, 1, RoleName::PreCandidate)] {
        let mut cluster = lone(RoleName::PreCandidate, 3, start(1, &[], 0));
        cluster.step(1, 2, pre_vote_reply(refusal, false));
        assert_eq!((cluster.raft(1).term(), cluster.raft(1).role()), (Term(term), role), "refused with {refusal}");
    }
}

/// Ticks between one message of node 1 and the next, while nobody answers.
fn attempts(cluster: &mut Cluster, count: usize) -> Vec<u32> {
    let next = |cluster: &mut Cluster| {
        let ticks = (1..100).find(|_| {
            cluster.tick(1, 1);
            !said(cluster).is_empty()
        });
        ticks.expect("an attempt within 100 ticks")
    };
    (0..count).map(|_| next(cluster)).collect()
}

#[test]
fn a_lost_leader_causes_six_quick_attempts_then_normal_ones() {
    for seed in 0..200 {
        let mut cluster = follower(seed);
        cluster.input(1, |raft| raft.leader_lost(NodeId(2)));
        let ticks = attempts(&mut cluster, 8);
        assert!((1..=3).contains(&ticks[0]), "seed {seed}: {ticks:?}");
        assert!(ticks[1..6].iter().all(|ticks| (2..=5).contains(ticks)), "seed {seed}: {ticks:?}");
        assert!(ticks[6..].iter().all(|ticks| (10..20).contains(ticks)), "seed {seed}: {ticks:?}");
    }
}

#[test]
fn a_candidate_in_a_hurry_does_not_wait_out_a_whole_timeout() {
    let mut cluster = follower(1);
    cluster.input(1, |raft| raft.leader_lost(NodeId(2)));
    attempts(&mut cluster, 1);
    cluster.step(1, 3, pre_vote_reply(2, true));
    assert_eq!((cluster.raft(1).role(), cluster.raft(1).term()), (RoleName::Candidate, Term(2)));
    cluster.queue.clear();
    assert!(attempts(&mut cluster, 1)[0] <= 5, "the vote was split: two asked at once");
}

#[test]
fn a_node_in_a_hurry_lets_the_one_it_supports_go_first() {
    for seed in 0..50 {
        let mut cluster = follower(seed);
        cluster.input(1, |raft| raft.leader_lost(NodeId(2)));
        cluster.step(1, 3, pre_vote(2, (0, 0)));
        cluster.queue.clear();
        assert!(2 <= attempts(&mut cluster, 1)[0], "seed {seed}");
    }
}

#[test]
fn the_loss_of_a_leader_is_news_only_to_its_followers() {
    for role in [RoleName::PreCandidate, RoleName::Candidate, RoleName::Leader] {
        let mut cluster = lone(role, 3, Start::default());
        (1..=3).for_each(|node| cluster.input(1, |raft| raft.leader_lost(NodeId(node))));
        assert_eq!(cluster.raft(1).role(), role);
    }
    let mut cluster = follower(1);
    cluster.input(1, |raft| raft.leader_lost(NodeId(3)));
    assert_eq!(cluster.raft(1).leader(), Some(NodeId(2)));
}

#[test]
fn a_learner_never_stands() {
    let membership = Membership { voters: [NodeId(2)].into(), learners: [NodeId(1)].into() };
    let recovered = Recovered {
        hard_state: HardState::default(),
        commit_index: Index(0),
        applied_index: Index(0),
        snapshot: EntryId::default(),
        base: EntryId::default(),
        entries: vec![],
        membership,
    };
    let mut raft = Raft::new(config(1, 1), recovered);
    (0..100).for_each(|_| raft.tick(1));
    raft.campaign();
    assert_eq!((raft.role(), raft.has_ready()), (RoleName::Follower, false));
}

#[test]
fn a_save_begun_before_the_vote_does_not_cover_it() {
    let mut cluster = lone(RoleName::Follower, 3, start(1, &[], 0));
    cluster.hold_saves(1);
    cluster.step(1, 2, append(1, (0, 0), &[1], 0)); // save 1 begins
    cluster.input(1, |raft| raft.leader_lost(NodeId(2)));
    cluster.campaign(1);
    cluster.step(1, 2, pre_vote_reply(2, true));
    cluster.step(1, 3, vote_reply(2, true)); // of a liar: nobody was asked yet
    cluster.queue.clear();
    cluster.finish_save(1);
    assert_eq!((cluster.raft(1).role(), said(&mut cluster)), (RoleName::Candidate, vec![]), "save 1 holds no vote");
    cluster.finish_save(1);
    assert_eq!(cluster.raft(1).role(), RoleName::Candidate, "what the liar said counts for nothing later, either");
    cluster.step(1, 2, vote_reply(2, true));
    assert!(cluster.raft(1).is_leader());
}

#[test]
fn what_relies_on_nothing_does_not_wait_for_the_disk() {
    let mut cluster = lone(RoleName::Follower, 3, start(1, &[], 0));
    cluster.hold_saves(1);
    cluster.step(1, 2, vote(2, (0, 0)));
    assert_eq!(said(&mut cluster), [], "a vote does");
    cluster.step(1, 3, pre_vote(3, (0, 0)));
    assert_eq!(said(&mut cluster), [(3, pre_vote_reply(3, true))]);
}

#[test]
fn promises_with_nothing_to_save_leave_in_the_same_turn() {
    let mut cluster = follower(1);
    cluster.hold_saves(1);
    cluster.step(1, 2, heartbeat(1, 0));
    cluster.step(1, 2, append(1, (0, 0), &[], 0));
    assert_eq!(said(&mut cluster), [(2, heartbeat_reply(1)), (2, accepted(1, 0))]);
}

#[test]
fn a_hundred_entries_of_divergence_take_four_appends_at_most() {
    let (mut leader, mut other) = (vec![1; 10], vec![1; 10]);
    leader.extend([[2; 25], [4; 25]].concat());
    other.extend([[3; 25], [5; 25]].concat());
    let mut cluster = Cluster::with(&[start(6, &leader, 0), start(6, &leader, 0), start(6, &other, 0)]);
    cluster.crash(2, false);
    // Node 3's log is newer, so node 2 has to elect node 1 before node 3 hears of it.
    cluster.restart(2);
    cluster.isolate(3);
    cluster.elect(1);
    cluster.heal();
    cluster.tick(1, 1);
    let mut appends = 0;
    while let Some(envelope) = cluster.queue.pop_front() {
        appends += usize::from(envelope.to == NodeId(3) && matches!(envelope.message, Message::Append { .. }));
        cluster.deliver(envelope);
    }
    assert_eq!(cluster.terms(3), cluster.terms(1));
    assert!(appends <= 4, "{appends} appends");
}

#[test]
fn reads_that_wait_are_bounded() {
    let mut leader = settled_leader(3, Start::default());
    let mut follower = follower(1);
    for read in 0..READS_MAX as u64 {
        assert_eq!(leader.input(1, |raft| raft.read(ReadId(read))), Ok(()));
        assert_eq!(follower.input(1, |raft| raft.read(ReadId(read))), Ok(()));
    }
    assert_eq!(leader.read(1, 0), Err(ReadError::Busy));
    assert_eq!(follower.read(1, 0), Err(ReadError::Busy));
    leader.input(1, Raft::step_down);
    leader.turn(1);
    assert_eq!(leader.member(1).reads_failed.len(), READS_MAX);
    assert_eq!(leader.read(1, 0), Err(ReadError::NoLeader));
}

/// Requests received by three nodes while `act` runs, with the default timeouts; answers are not counted, as in the labs.
fn requests(cluster: &mut Cluster, act: impl FnOnce(&mut Cluster)) -> usize {
    cluster.trace.clear();
    act(cluster);
    let requests = [" pre-vote t", " vote t", " append ", " heartbeat ", " read index "];
    let is_request = |line: &&String| {
        line.contains(" -> ")
            && !line.contains("granted")
            && !line.contains("refused")
            && requests.iter().any(|request| line.contains(request))
    };
    cluster.trace.iter().filter(is_request).count()
}

/// The budgets of lab case R-B10.
#[test]
fn traffic_is_thrifty() {
    let configs = (1..=3).map(|id| (Config { election_ticks: 30, heartbeat_ticks: 5, ..config(id, id) }, Start::default()));
    let mut cluster = Cluster::build(3, configs.collect());
    let election = requests(&mut cluster, |cluster| cluster.elect(1));
    assert!((1..=30).contains(&election), "{election} for the first election");

    let commands = requests(&mut cluster, |cluster| {
        for _ in 0..12 {
            cluster.propose(1).unwrap();
            cluster.turn(1); // not waiting for the one before
        }
        cluster.settle();
        cluster.tick_all();
    });
    assert!((1..=42).contains(&commands), "{commands} for twelve commands in a row");
    assert_eq!((1..=3).map(|node| cluster.commit(node)).collect::<Vec<_>>(), [13; 3]);

    let idle = requests(&mut cluster, |cluster| (0..100).for_each(|_| cluster.tick_all()));
    assert!((1..=60).contains(&idle), "{idle} in an idle second");
}

#[test]
fn while_every_vote_is_required_a_majority_elects_nobody() {
    let mut cluster = lone(RoleName::Follower, 3, Start::default());
    cluster.input(1, |raft| raft.require_every_vote(true));
    cluster.campaign(1);
    cluster.step(1, 2, pre_vote_reply(1, true));
    assert_eq!(cluster.raft(1).role(), RoleName::PreCandidate);
    cluster.step(1, 3, pre_vote_reply(1, true));
    cluster.step(1, 3, vote_reply(1, true));
    assert_eq!(cluster.raft(1).role(), RoleName::Candidate);
    cluster.step(1, 2, vote_reply(1, false));
    assert_eq!(cluster.raft(1).role(), RoleName::Candidate, "a refusal is no vote");
    cluster.step(1, 2, vote_reply(1, true));
    assert!(cluster.raft(1).is_leader());
    cluster.input(1, |raft| raft.require_every_vote(false));
    cluster.step(1, 2, heartbeat(2, 0));
    cluster.campaign(1);
    cluster.step(1, 3, pre_vote_reply(3, true));
    assert_eq!(cluster.raft(1).role(), RoleName::Candidate, "now a majority is enough");
}

#[test]
fn who_stands_last_asks_after_everybody_else_has() {
    let mut cluster = lone(RoleName::Follower, 3, Start::default());
    cluster.input(1, |raft| raft.stand_last(true));
    for hears in [true, false] {
        cluster.step(1, 2, heartbeat(0, 0));
        if hears {
            cluster.input(1, |raft| raft.leader_lost(NodeId(2)));
        }
        // The longest timeout of the others is just below two of the shortest.
        cluster.queue.clear();
        (0..20).for_each(|_| cluster.tick(1, 1));
        assert_eq!((cluster.raft(1).role(), said(&mut cluster)), (RoleName::Follower, vec![]));
        (0..10).for_each(|_| cluster.tick(1, 1));
        assert_eq!(cluster.raft(1).role(), RoleName::PreCandidate, "but it does");
    }
}

#[test]
fn a_sole_voter_counts_its_vote_once_that_vote_is_on_its_disk() {
    let mut cluster = Cluster::new(1);
    cluster.hold_saves(1);
    for term in [1, 2] {
        cluster.input(1, Raft::campaign);
        cluster.turn(1);
        assert_eq!((cluster.raft(1).term(), cluster.raft(1).role()), (Term(term), RoleName::Candidate));
    }
    // The save that ends holds the vote of term 1, which elects nobody any more: a crash now would forget term 2.
    cluster.finish_save(1);
    assert_eq!((cluster.raft(1).term(), cluster.raft(1).role()), (Term(2), RoleName::Candidate));
    cluster.finish_save(1);
    assert_eq!((cluster.raft(1).term(), cluster.raft(1).role()), (Term(2), RoleName::Leader));
}
