//! Lab cases T-25 to T-53 (TinyKV 2AB, 2AC and the restart rows of 2C). Node 1 is under test unless a case names others.

use raft::*;

use crate::cluster::{Cluster, Start, config, start};
use crate::words::*;

#[test]
fn t25_a_proposal_is_sent_at_once_and_neither_stable_nor_committed() {
    let mut cluster = settled_leader(3, Start::default());
    cluster.hold_saves(1);
    cluster.propose(1).unwrap();
    cluster.turn(1);
    assert_eq!((cluster.terms(1), cluster.commit(1)), (vec![1, 1], 1));
    assert_eq!(cluster.raft(1).log().stable_index(), Index(1));
    assert_eq!(said(&mut cluster), to_each([2, 3], &append(1, (1, 1), &[1], 1)));
}

#[test]
fn t26_acknowledged_entries_are_committed_applied_and_announced() {
    let mut cluster = settled_leader(3, Start::default());
    cluster.propose(1).unwrap();
    cluster.turn(1);
    cluster.queue.clear();
    [2, 3].into_iter().for_each(|peer| cluster.step(1, peer, accepted(1, 2)));
    assert_eq!(cluster.commit(1), 2);
    assert_eq!(cluster.member(1).applied.last().unwrap().index, Index(2));
    assert_eq!(said(&mut cluster), [], "the news waits for the next append, or for a tick without one");
    cluster.propose(1).unwrap();
    cluster.turn(1);
    assert_eq!(said(&mut cluster), to_each([2, 3], &append(1, (2, 1), &[1], 2)));
}

#[test]
fn t27_an_entry_is_committed_exactly_when_a_majority_has_it() {
    for (count, acks, is_committed) in
        [(1, 0, true), (3, 0, false), (3, 1, true), (3, 2, true), (5, 0, false), (5, 1, false), (5, 2, true), (5, 3, true), (5, 4, true)]
    {
        let mut cluster = settled_leader(count, Start::default());
        cluster.propose(1).unwrap();
        cluster.turn(1);
        (2..2 + acks).for_each(|peer| cluster.step(1, peer, accepted(1, 2)));
        assert_eq!(cluster.commit(1) == 2, is_committed, "{count} nodes, {acks} acknowledgements");
    }
}

#[test]
fn t28_inherited_entries_are_committed_with_the_first_own_one() {
    for log in [vec![], vec![2], vec![1, 2], vec![1]] {
        let old = log.len() as u64;
        let mut cluster = lone(RoleName::Leader, 3, start(2, &log, 0));
        cluster.propose(1).unwrap();
        cluster.turn(1);
        cluster.step(1, 2, accepted(3, old + 2));
        assert_eq!(cluster.commit(1), old + 2);
        let applied: Vec<u64> = cluster.member(1).applied.iter().map(|entry| entry.term.0).collect();
        assert_eq!(applied, [log, vec![3, 3]].concat(), "all at once, in order");
    }
}

#[test]
fn t29_a_follower_hands_out_exactly_what_is_committed() {
    for (terms, commit) in [(&[1][..], 1), (&[1, 1], 2), (&[1, 1], 1), (&[1, 1, 1], 2)] {
        let mut cluster = lone(RoleName::Follower, 3, start(1, &[], 0));
        cluster.step(1, 2, append(1, (0, 0), terms, commit));
        let applied: Vec<u64> = cluster.member(1).applied.iter().map(|entry| entry.index.0).collect();
        assert_eq!(applied, (1..=commit).collect::<Vec<_>>(), "of {terms:?}");
    }
}

#[test]
fn t30_an_append_is_accepted_where_the_logs_meet() {
    for (prev, answer) in [
        ((0, 0), accepted(2, 0)),
        ((1, 1), accepted(2, 1)),
        ((2, 2), accepted(2, 2)),
        ((2, 1), rejected(2, 2, (1, 1))),
        ((3, 3), rejected(3, 3, (2, 2))), // an entry of term 3 before term 3: ours takes that for nonsense, so the append is of term 3
    ] {
        let mut cluster = lone(RoleName::Follower, 3, start(2, &[1, 2], 1));
        cluster.step(1, 2, append(2.max(prev.1), prev, &[], 1));
        assert_eq!(said(&mut cluster), [(2, answer)], "after {prev:?}");
    }
}

#[test]
fn t31_an_append_replaces_what_conflicts_and_nothing_else() {
    // The append is of the newest term in it: entries from the future are nonsense.
    for (prev, terms, log, written) in [
        ((2, 2), &[3][..], &[1, 2, 3][..], &[3][..]),
        ((1, 1), &[3, 4], &[1, 3, 4], &[2, 3]),
        ((0, 0), &[1], &[1, 2], &[]), // shorter, and it matches: nothing is cut
        ((0, 0), &[3], &[3], &[1]),
    ] {
        let mut cluster = lone(RoleName::Follower, 3, start(4, &[1, 2], 0));
        cluster.step(1, 2, append(4, prev, terms, 0));
        assert_eq!(cluster.terms(1), log, "after {prev:?}");
        let saved: Vec<u64> = cluster.member(1).saved.iter().flat_map(|save| &save.entries).map(|entry| entry.index.0).collect();
        assert_eq!(saved, written, "after {prev:?}: written is what is new");
    }
}

#[test]
fn t32_a_leader_brings_any_follower_log_in_line() {
    let leader = [1, 1, 1, 4, 4, 5, 5, 6, 6, 6];
    let followers: [&[u64]; 6] = [
        &[1, 1, 1, 4, 4, 5, 5, 6, 6],
        &[1, 1, 1, 4],
        &[1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6],
        &[1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7],
        &[1, 1, 1, 4, 4, 4, 4],
        &[1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3],
    ];
    for follower in followers {
        let mut cluster = Cluster::with(&[start(8, &leader, 10), start(8, follower, 0), start(8, &[], 0)]);
        cluster.elect(1);
        cluster.propose(1).unwrap();
        cluster.settle();
        assert_eq!(cluster.terms(1), [&leader[..], &[9, 9]].concat());
        assert_eq!(cluster.terms(2), cluster.terms(1), "from {follower:?}");
    }
}

#[test]
fn t33_requests_name_the_last_entry() {
    for (log, last) in [(&[1][..], (1, 1)), (&[1, 2], (2, 2))] {
        let term = last.1;
        let mut cluster = lone(RoleName::Follower, 3, start(term, log, 0));
        (0..19).for_each(|_| cluster.tick(1, 1));
        assert_eq!(said(&mut cluster), to_each([2, 3], &pre_vote(term + 1, last)), "ours: first the pre-vote, of the same form");
        cluster.step(1, 2, pre_vote_reply(term + 1, true));
        assert_eq!(said(&mut cluster), to_each([2, 3], &vote(term + 1, last)));
    }
}

#[test]
fn t34_a_voter_refuses_a_log_behind_its_own() {
    for (log, last_term, last_index, granted) in [
        (&[1][..], 1, 1, true),
        (&[1], 1, 2, true),
        (&[1, 1], 1, 1, false),
        (&[1], 2, 1, true),
        (&[1], 2, 2, true),
        (&[1, 1], 2, 1, true),
        (&[2], 1, 1, false),
        (&[2], 1, 2, false),
        (&[2, 1], 1, 1, false),
    ] {
        // A log whose terms fall cannot be: the lab's [2, 1] stands here as [2, 2], newer and longer alike.
        let log: Vec<u64> = log.iter().scan(0, |highest, term| (*highest = (*term).max(*highest), Some(*highest)).1).collect();
        let mut cluster = lone(RoleName::Follower, 3, start(2, &log, 0));
        cluster.step(1, 2, vote(3, (last_index, last_term)));
        assert_eq!(said(&mut cluster), [(2, vote_reply(3, granted))], "own {log:?}, candidate i{last_index}/t{last_term}");
    }
}

#[test]
fn t35_a_leader_only_commits_by_counting_entries_of_its_term() {
    let mut cluster = lone(RoleName::Leader, 2, start(2, &[1, 2], 0));
    for (ack, commit) in [(1, 0), (2, 0), (3, 3)] {
        cluster.step(1, 2, accepted(3, ack));
        assert_eq!(cluster.commit(1), commit, "after {ack} is acknowledged");
    }
}

#[test]
fn t36_progress_follows_every_proposal() {
    let mut cluster = Cluster::new(2);
    cluster.elect(1);
    for proposal in 1..=5 {
        cluster.propose(1).unwrap();
        cluster.settle();
        // Ours: a leader keeps no progress of itself; what it counts for itself is what its own disk holds.
        assert_eq!(cluster.raft(1).log().stable_index(), Index(proposal + 1));
        let (_, progress) = cluster.raft(1).progress().next().unwrap();
        assert_eq!((progress.match_index(), progress.next_index()), (Index(proposal + 1), Index(proposal + 2)));
    }
}

#[test]
fn t37_a_newer_entry_that_was_never_committed_may_be_lost() {
    let voted = |log: &[u64]| Start { voted_for: Some(3), ..start(2, log, 0) };
    let mut cluster = Cluster::with(&[start(1, &[1], 0), start(1, &[1], 0), voted(&[2]), voted(&[]), voted(&[])]);
    cluster.campaign(1);
    cluster.settle();
    assert!(is_follower(&cluster, 1), "refused by a majority");
    assert_eq!(cluster.raft(1).term(), Term(2), "ours: the refusals lift its term, and the pre-vote nobody else's");
    cluster.elect(1);
    assert!(cluster.raft(1).is_leader());
    assert_eq!(cluster.raft(1).term(), Term(3));
    for node in 1..=5 {
        assert_eq!(cluster.terms(node), [1, 3], "n{node}");
    }
}

fn is_follower(cluster: &Cluster, node: u64) -> bool {
    cluster.raft(node).role() == RoleName::Follower
}

#[test]
fn t38_entries_reach_every_log_in_order() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.propose(1).unwrap();
    cluster.settle();
    cluster.beat(1);
    (1..=3).for_each(|node| assert_eq!((cluster.commit(node), cluster.terms(node)), (2, vec![1, 1])));
    cluster.elect(2);
    cluster.propose(2).unwrap();
    cluster.settle();
    cluster.beat(2);
    for node in 1..=3 {
        assert_eq!((cluster.commit(node), cluster.terms(node)), (4, vec![1, 1, 2, 2]), "n{node}");
        assert_eq!(cluster.member(node).applied, cluster.member(1).applied);
    }
}

#[test]
fn t39_a_single_node_commits_alone() {
    let mut cluster = Cluster::new(1);
    cluster.elect(1);
    for _ in 0..2 {
        cluster.propose(1).unwrap();
        cluster.turn(1);
    }
    assert_eq!(cluster.commit(1), 3, "with the no-op");
}

#[test]
fn t40_a_new_leader_commits_old_entries_without_a_proposal() {
    let mut cluster = Cluster::new(5);
    cluster.elect(1);
    [3, 4, 5].into_iter().for_each(|node| cluster.cut(1, node));
    for _ in 0..2 {
        cluster.propose(1).unwrap();
        cluster.settle();
    }
    assert_eq!(cluster.commit(1), 1, "two copies of five");
    cluster.heal();
    cluster.elect(2);
    for node in 1..=5 {
        assert_eq!((cluster.terms(node), cluster.commit(node)), (vec![1, 1, 1, 2], 4), "n{node}");
    }
}

#[test]
fn t41_a_heartbeat_finds_what_was_lost() {
    let mut cluster = Cluster::new(5);
    cluster.elect(1);
    cluster.isolate(5);
    for _ in 0..2 {
        cluster.propose(1).unwrap();
        cluster.settle();
    }
    assert_eq!((cluster.commit(1), cluster.commit(5)), (3, 1));
    cluster.heal();
    cluster.beat(1);
    assert_eq!((cluster.commit(5), cluster.terms(5)), (3, vec![1, 1, 1]));
}

#[test]
fn t42_a_candidate_that_lost_does_not_disturb_the_winner() {
    let mut cluster = Cluster::new(3);
    cluster.cut(1, 3);
    cluster.campaign(1);
    cluster.settle();
    cluster.input(3, Raft::campaign);
    cluster.settle();
    assert!(cluster.raft(1).is_leader());
    // Ours: node 2 hears its leader, so node 3 gets no pre-vote and its term stays 0; after the cut it asks again, still in vain.
    assert_eq!((cluster.raft(3).role(), cluster.raft(3).term()), (RoleName::PreCandidate, Term(0)));
    cluster.heal();
    cluster.input(3, Raft::campaign);
    cluster.settle();
    cluster.beat(1);
    assert!(cluster.raft(1).is_leader());
    for node in 1..=3 {
        assert_eq!((cluster.raft(node).term(), cluster.terms(node)), (Term(1), vec![1]), "n{node}: one term and one log");
    }
}

#[test]
fn t43_an_isolated_candidate_concedes() {
    let mut cluster = Cluster::new(3);
    cluster.isolate(1);
    cluster.campaign(1);
    cluster.elect(3);
    cluster.heal();
    cluster.propose(3).unwrap();
    cluster.settle();
    cluster.beat(3);
    assert!(is_follower(&cluster, 1));
    assert_eq!((cluster.raft(1).term(), cluster.terms(1), cluster.commit(1)), (Term(1), vec![1, 1], 2));
}

#[test]
fn t44_messages_of_an_old_leader_are_ignored() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.elect(2);
    cluster.elect(1);
    cluster.step(1, 2, append(2, (2, 2), &[2], 2));
    cluster.propose(1).unwrap();
    cluster.settle();
    cluster.beat(1);
    for node in 1..=3 {
        assert_eq!((cluster.terms(node), cluster.commit(node)), (vec![1, 2, 3, 3], 4), "n{node}");
    }
}

#[test]
fn t45_a_proposal_needs_a_majority() {
    for (count, silent, is_taken) in [(3, 0, true), (3, 1, true), (3, 2, false), (4, 2, false), (5, 2, true)] {
        let mut cluster = Cluster::new(count);
        (2..2 + silent).for_each(|node| cluster.crash(node, false));
        cluster.elect(1);
        // Ours: without a majority nobody stands, so the term stays 0 and the proposal is refused.
        assert_eq!(cluster.propose(1).is_ok(), is_taken);
        cluster.settle();
        if is_taken {
            cluster.beat(1);
        }
        for node in (1..=count).filter(|node| cluster.is_up(*node)) {
            let expected = if is_taken { (vec![1, 1], 2, Term(1)) } else { (vec![], 0, Term(0)) };
            assert_eq!((cluster.terms(node), cluster.commit(node), cluster.raft(node).term()), expected, "n{node} of {count}");
        }
    }
}

#[test]
fn t46_a_follower_commits_only_what_the_append_vouches_for() {
    for (term, prev, terms, leader_commit, last, commit, is_accepted) in [
        (3, (2, 3), &[][..], 3, 2, 0, false),
        (3, (3, 3), &[], 3, 2, 0, false),
        (2, (1, 1), &[], 1, 2, 1, true),
        // Ours: the entry of term 2 behind it would go with it, and no leader takes back what is of its own term.
        (2, (0, 0), &[2], 1, 2, 0, false),
        (3, (0, 0), &[2], 1, 1, 1, true),
        (2, (2, 2), &[2, 2], 3, 4, 3, true),
        (2, (2, 2), &[2], 4, 3, 3, true),
        (2, (1, 1), &[2], 4, 2, 2, true),
        (2, (1, 1), &[], 3, 2, 1, true),
        (2, (1, 1), &[2], 3, 2, 2, true),
        (2, (2, 2), &[], 3, 2, 2, true),
        (2, (2, 2), &[], 4, 2, 2, true),
    ] {
        let mut cluster = lone(RoleName::Follower, 3, start(2, &[1, 2], 0));
        cluster.step(1, 2, append(term, prev, terms, leader_commit));
        let answer = said(&mut cluster);
        let accepts = matches!(answer[..], [(2, Message::AppendReply { outcome: AppendOutcome::Accepted { .. }, .. })]);
        let state = (cluster.raft(1).log().last_index().0, cluster.commit(1), accepts);
        assert_eq!(state, (last, commit, is_accepted), "after {prev:?}, entries {terms:?}, leader commit {leader_commit}");
    }
}

#[test]
fn t47_votes_by_log_by_earlier_vote_and_by_role() {
    let answer = |role, voted_for, term, last| {
        let mut cluster = lone(role, 3, Start { voted_for, ..start(term, &[2, 2], 0) });
        cluster.step(1, 2, vote(3, last));
        said(&mut cluster)
    };
    for last_index in 0..=3 {
        for last_term in 0..=3 {
            let granted = if last_index < 2 { last_term == 3 } else { last_term >= 2 };
            let said = answer(RoleName::Follower, None, 3, (last_index, last_term));
            assert_eq!(said, [(2, vote_reply(3, granted))], "candidate i{last_index}/t{last_term}");
        }
    }
    assert_eq!(answer(RoleName::Follower, Some(2), 3, (3, 2)), [(2, vote_reply(3, true))], "the same candidate again");
    assert_eq!(answer(RoleName::Follower, Some(3), 3, (3, 2)), [(2, vote_reply(3, false))]);
    assert_eq!(answer(RoleName::Candidate, None, 2, (3, 2)), [(2, vote_reply(3, false))]);
    // Ours: a leader with a live majority does not answer at all.
    assert_eq!(answer(RoleName::Leader, None, 2, (3, 2)), []);
}

#[test]
fn t48_every_role_steps_down_before_a_newer_term() {
    for (role, start_term) in [(RoleName::Follower, 1), (RoleName::PreCandidate, 1), (RoleName::Candidate, 0), (RoleName::Leader, 0)] {
        for (message, leader) in [(vote(3, (5, 3)), None), (append(3, (0, 0), &[], 0), Some(NodeId(2)))] {
            let mut cluster = lone(role, 3, start(start_term, &[], 0));
            let log = cluster.terms(1);
            cluster.step(1, 2, message);
            assert_eq!(cluster.terms(1), log, "its log is untouched");
            if role == RoleName::Leader && leader.is_none() {
                // Ours: a leader with a live majority ignores a request to vote.
                assert!(cluster.raft(1).is_leader());
                continue;
            }
            assert_eq!((cluster.raft(1).role(), cluster.raft(1).term()), (RoleName::Follower, Term(3)), "as {role}");
            assert_eq!(cluster.raft(1).leader(), leader, "a request to vote names no leader");
        }
    }
}

#[test]
fn t49_a_heartbeat_commits_nothing_that_the_follower_does_not_share() {
    for (orphans, committed) in [(1, 1), (5, 3), (5, 10)] {
        let mut cluster = Cluster::new(5);
        cluster.elect(1);
        cluster.isolate(1);
        for _ in 0..orphans {
            cluster.propose(1).unwrap();
        }
        cluster.turn(1);
        cluster.elect(2);
        for _ in 0..committed {
            cluster.propose(2).unwrap();
            cluster.settle();
        }
        assert_eq!(cluster.commit(2), 2 + committed);
        cluster.heal();
        cluster.loses = Some(|message| matches!(message, Message::Append { .. }));
        cluster.beat(2);
        assert!(is_follower(&cluster, 1));
        assert_eq!(cluster.commit(1), 1, "{orphans} orphans, {committed} committed without it");
    }
}

#[test]
fn t50_next_index_runs_ahead_of_acknowledgements() {
    let mut cluster = settled_leader(3, start(1, &[1, 1, 1], 0));
    cluster.propose(1).unwrap();
    cluster.turn(1);
    for (_, progress) in cluster.raft(1).progress() {
        assert_eq!((progress.match_index(), progress.next_index()), (Index(4), Index(6)));
    }
}

fn alone(base: EntryId, terms: &[u64], commit: u64, applied: u64) -> Raft {
    let entries = (base.index.0 + 1..).zip(terms).map(|(index, term)| crate::cluster::meta(index, *term)).collect();
    let (commit_index, applied_index) = (Index(commit), Index(applied));
    let hard_state = HardState { term: Term(if terms.is_empty() { 0 } else { 1 }), voted_for: None };
    let membership = Membership::of_voters([NodeId(1)]);
    Raft::new(config(1, 1), Recovered { hard_state, commit_index, applied_index, snapshot: base, base, entries, membership })
}

#[test]
fn t51_one_turn_takes_a_proposal_from_save_to_commit() {
    let mut raft = alone(EntryId::default(), &[], 0, 0);
    raft.campaign();
    while raft.has_ready() {
        let ready = raft.take_ready();
        if let Some(save) = ready.save {
            raft.saved(save.token);
        }
        raft.take_released();
    }
    let id = raft.propose(3).unwrap();
    let ready = raft.take_ready();
    let save = ready.save.expect("the entry is not on disk");
    assert_eq!(save.entries.iter().map(EntryMeta::id).collect::<Vec<_>>(), [id]);
    assert_eq!(raft.take_released(), Released::default(), "ours: nothing is committed before the save is done");
    raft.saved(save.token);
    assert_eq!(raft.take_released().committed, Some((id.index, id.index)));
    raft.applied(id.index);
    assert!(!raft.has_ready());
}

#[test]
fn t52_a_restarted_node_hands_out_what_it_knows_committed() {
    let mut raft = alone(EntryId::default(), &[1, 1], 1, 0);
    assert!(raft.has_ready());
    assert_eq!(raft.take_ready(), Ready::default(), "no change of hard state");
    assert_eq!(raft.take_released(), Released { committed: Some((Index(1), Index(1))), ..Released::default() });
    raft.applied(Index(1));
    assert!(!raft.has_ready());
}

#[test]
fn t53_a_node_restarted_from_a_snapshot_hands_out_only_what_follows_it() {
    let mut raft = alone(EntryId { index: Index(2), term: Term(1) }, &[1], 3, 2);
    assert_eq!(raft.take_ready(), Ready::default());
    assert_eq!(raft.take_released().committed, Some((Index(3), Index(3))));
    raft.applied(Index(3));
    assert!(!raft.has_ready());
}
