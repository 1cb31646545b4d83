//! Bytes from outside never panic, and nonsense changes nothing. Safety does not defend against lying members; a node defends itself.

use proptest::prelude::*;
use raft::*;

use crate::cluster::{Cluster, Start, meta, start};
use crate::disk::Snapshot;
use crate::words::*;

/// Node 1 follows node 2 in term 4; of its log 1, 1, 3 two entries are committed.
fn follower() -> Cluster {
    let mut cluster = lone(RoleName::Follower, 3, start(4, &[1, 1, 3], 2));
    cluster.step(1, 2, heartbeat(4, 2));
    cluster.queue.clear();
    cluster
}

fn assert_ignores(mut cluster: Cluster, from: u64, message: Message) {
    let state = |cluster: &Cluster| (crate::cluster::notation(cluster.raft(1)), cluster.terms(1), cluster.raft(1).wanted_snapshot());
    let before = state(&cluster);
    cluster.step(1, from, message.clone());
    assert_eq!(state(&cluster), before, "{message}");
    assert_eq!(said(&mut cluster), [], "{message}");
}

#[test]
fn an_append_that_would_take_back_committed_entries_is_ignored() {
    assert_ignores(follower(), 2, append(4, (1, 1), &[4], 0));
    assert_ignores(follower(), 2, append(4, (0, 0), &[2, 2, 2], 3));
}

#[test]
fn an_append_from_before_the_base_that_contradicts_it_is_ignored() {
    let compacted = || {
        let mut cluster = follower();
        cluster.compact_all(1);
        assert_eq!((cluster.raft(1).log().base(), cluster.terms(1)), (entry_id(2, 1), vec![3]));
        cluster
    };
    assert_ignores(compacted(), 2, append(4, (0, 0), &[0, 0, 0, 4], 3)); // a lower term at the base, and behind it
    assert_ignores(compacted(), 2, append(4, (0, 0), &[1, 2, 3, 4], 3));
    assert_ignores(compacted(), 2, append(4, (1, 1), &[2], 3));
    let mut cluster = compacted();
    cluster.step(1, 2, append(4, (0, 0), &[1, 1, 3, 4], 3));
    assert_eq!((cluster.terms(1), cluster.commit(1)), (vec![3, 4], 3), "one that agrees with it is taken");
    assert_eq!(said(&mut cluster), [(2, accepted(4, 4))]);
    cluster.step(1, 2, append(4, (0, 0), &[1], 1));
    assert_eq!(said(&mut cluster), [(2, accepted(4, 2))], "what is below the base is held");
}

#[test]
fn an_append_that_would_take_back_entries_of_the_current_term_is_ignored() {
    let with_own_term = |then: Message| {
        let mut cluster = follower();
        // Both in one turn: what the first has promised is not on disk yet.
        cluster.input(1, |raft| raft.step(NodeId(2), append(4, (3, 3), &[4, 4], 2)));
        cluster.input(1, |raft| raft.step(NodeId(2), then));
        cluster.turn(1);
        assert_eq!(cluster.terms(1), [1, 1, 3, 4, 4]);
        assert_eq!(said(&mut cluster), [(2, accepted(4, 5))]);
    };
    with_own_term(append(4, (3, 3), &[3], 2));
    with_own_term(append(4, (2, 1), &[2], 2)); // an entry of an older term, but those of this one would go with it
}

#[test]
fn an_append_that_contradicts_what_its_leader_has_said_in_this_term_is_ignored() {
    let mut cluster = follower();
    cluster.input(1, |raft| raft.step(NodeId(2), append(4, (2, 1), &[2, 2], 2))); // of older terms, instead of the 3
    cluster.input(1, |raft| raft.step(NodeId(2), append(4, (2, 1), &[3], 2)));
    cluster.turn(1);
    assert_eq!((cluster.terms(1), said(&mut cluster)), (vec![1, 1, 2, 2], vec![(2, accepted(4, 4))]));
    cluster.step(1, 3, append(5, (2, 1), &[3], 2));
    assert_eq!(cluster.terms(1), [1, 1, 3], "the leader of another term is not bound by that");
}

#[test]
fn votes_that_nobody_can_have_been_asked_for_yet_elect_nobody() {
    let mut cluster = lone(RoleName::PreCandidate, 3, start(3, &[1], 1));
    for message in [pre_vote_reply(4, true), vote_reply(4, true)] {
        cluster.input(1, |raft| raft.step(NodeId(2), message)); // all before the save of the term and the vote
    }
    assert_eq!((cluster.raft(1).role(), cluster.raft(1).term()), (RoleName::Candidate, Term(4)));
    cluster.turn(1);
    assert_eq!(cluster.raft(1).role(), RoleName::Candidate);
    cluster.step(1, 2, vote_reply(4, true));
    assert_eq!(cluster.raft(1).role(), RoleName::Leader, "this one was asked");
}

#[test]
fn an_append_with_a_gap_is_ignored() {
    let entries = vec![meta(4, 4), meta(6, 4)];
    let (prev_log_index, prev_log_term) = (Index(3), Term(3));
    assert_ignores(follower(), 2, Message::Append { term: Term(4), prev_log_index, prev_log_term, leader_commit: Index(0), entries });
}

#[test]
fn an_append_whose_terms_fall_or_come_from_the_future_is_ignored() {
    assert_ignores(follower(), 2, append(4, (3, 3), &[2], 0));
    assert_ignores(follower(), 2, append(4, (3, 3), &[4, 3], 0));
    assert_ignores(follower(), 2, append(4, (3, 3), &[5], 0));
}

#[test]
fn a_second_leader_of_a_term_is_ignored() {
    assert_ignores(follower(), 3, append(4, (3, 3), &[4], 0));
    assert_ignores(follower(), 3, heartbeat(4, 3));
    let leader = || settled_leader(3, Start::default());
    assert_ignores(leader(), 2, append(1, (1, 1), &[1], 2));
    assert_ignores(leader(), 2, heartbeat(1, 1));
}

#[test]
fn a_senseless_offer_is_ignored() {
    assert_ignores(follower(), 2, offer(4, (9, 5))); // of a term that is still to come
    assert_ignores(follower(), 3, offer(4, (9, 4))); // from a second leader
    assert_ignores(follower(), 2, offer(4, (TERM_AND_INDEX_LIMIT, 4)));
    assert_ignores(settled_leader(3, Start::default()), 2, offer(1, (9, 1)));
    assert_ignores(settled_leader(3, Start::default()), 9, offer(1, (9, 1)));
}

#[test]
fn an_answer_to_what_was_never_said_is_ignored() {
    let leader = || settled_leader(3, Start::default());
    assert_ignores(leader(), 2, accepted(1, 2));
    assert_ignores(leader(), 2, rejected(1, 9, (8, 1)));
    assert_ignores(leader(), 2, vote_reply(1, false));
    assert_ignores(leader(), 2, pre_vote_reply(2, true));
    assert_ignores(lone(RoleName::PreCandidate, 3, Start::default()), 2, vote_reply(0, true));
    assert_ignores(lone(RoleName::PreCandidate, 3, start(3, &[], 0)), 2, pre_vote_reply(3, true));
}

#[test]
fn strangers_count_for_nothing() {
    let mut cluster = lone(RoleName::Candidate, 5, Start::default());
    [8, 9].into_iter().for_each(|stranger| cluster.step(1, stranger, vote_reply(1, true)));
    assert_eq!(cluster.raft(1).role(), RoleName::Candidate);
    assert_ignores(settled_leader(3, Start::default()), 9, accepted(1, 1));
}

#[test]
fn a_node_does_not_talk_to_itself() {
    assert_ignores(follower(), 1, append(9, (0, 0), &[], 0));
}

#[test]
fn terms_and_indexes_at_the_limit_are_ignored() {
    let limit = TERM_AND_INDEX_LIMIT;
    for message in [
        vote(limit, (1, 1)),
        vote(5, (limit, 1)),
        pre_vote(u64::MAX, (1, 1)),
        append(u64::MAX, (0, 0), &[], 0),
        append(4, (u64::MAX - 1, 3), &[], 0),
        append(4, (3, 3), &[], limit),
        heartbeat(limit, 0),
        heartbeat_reply(limit),
    ] {
        assert_ignores(follower(), 2, message);
    }
}

#[test]
fn a_read_is_not_confirmed_by_an_answer_to_another_question() {
    let token = |incarnation, round| Some(ReadToken { incarnation: Incarnation(incarnation), round });
    for read_token in [None, token(1, 2), token(1, u64::MAX), token(2, 1)] {
        let mut cluster = settled_leader(3, Start::default());
        cluster.read(1, 5).unwrap();
        cluster.turn(1);
        let asked = said(&mut cluster);
        assert!(matches!(&asked[..], [(2, Message::Heartbeat { read_token, .. }), (3, _)] if *read_token == token(1, 1)), "{asked:?}");
        cluster.step(1, 2, Message::HeartbeatReply { term: Term(1), read_token });
        assert_eq!(cluster.member(1).reads, [], "confirmed by {read_token:?}");
        cluster.step(1, 2, Message::HeartbeatReply { term: Term(1), read_token: token(1, 1) });
        assert_eq!(cluster.member(1).reads, [(ReadId(5), Index(1))]);
    }
}

#[test]
fn a_follower_believes_only_its_leader_about_where_to_read() {
    let mut cluster = follower();
    cluster.read(1, 5).unwrap();
    cluster.turn(1);
    let token = ReadToken { incarnation: Incarnation(1), round: 1 };
    let reply = |token, index| Message::ReadIndexReply { term: Term(4), token, index: Index(index) };
    cluster.step(1, 3, reply(token, 2));
    cluster.step(1, 2, reply(ReadToken { round: 2, ..token }, 2));
    cluster.step(1, 2, reply(ReadToken { incarnation: Incarnation(7), ..token }, 2));
    assert_eq!(cluster.member(1).reads, []);
    cluster.step(1, 2, reply(token, 3));
    cluster.step(1, 2, reply(token, 2));
    assert_eq!(cluster.member(1).reads, [(ReadId(5), Index(3))], "once");
}

fn any_message() -> impl Strategy<Value = Message> {
    let number = || prop_oneof![8 => 0u64..7, 1 => any::<u64>(), 1 => Just(TERM_AND_INDEX_LIMIT - 1)];
    let (term, index) = (move || number().prop_map(Term), move || number().prop_map(Index));
    let entry = (index(), term()).prop_map(|(index, term)| EntryMeta { term, ..meta(index.0, 0) });
    let token = (0u64..3, 0u64..4).prop_map(|(life, round)| ReadToken { incarnation: Incarnation(life), round });
    let (token, token_or_none) = (token.clone(), proptest::option::of(token));
    let entries = prop_oneof![
        proptest::collection::vec(entry, 0..4),
        // Mostly such as a peer would send.
        (0u64..6, proptest::collection::vec(0u64..4, 0..4)).prop_map(|(first, mut terms)| {
            terms.sort_unstable();
            (first..).zip(terms).map(|(index, term)| meta(index, term)).collect()
        }),
    ];
    let outcome = prop_oneof![
        index().prop_map(|match_index| AppendOutcome::Accepted { match_index }),
        (index(), index(), term()).prop_map(|(prev_log_index, hint_index, hint_term)| AppendOutcome::Rejected {
            prev_log_index,
            hint_index,
            hint_term
        }),
    ];
    prop_oneof![
        1 => (term(), index(), term()).prop_map(|(term, last_log_index, last_log_term)| Message::PreVote { term, last_log_index, last_log_term }),
        1 => (term(), any::<bool>()).prop_map(|(term, vote_granted)| Message::PreVoteReply { term, vote_granted }),
        1 => (term(), index(), term(), any::<bool>()).prop_map(|(term, last_log_index, last_log_term, transfer)| Message::RequestVote {
            term,
            last_log_index,
            last_log_term,
            transfer
        }),
        1 => (term(), any::<bool>()).prop_map(|(term, vote_granted)| Message::RequestVoteReply { term, vote_granted }),
        3 => (term(), index(), term(), index(), entries).prop_map(|(term, prev_log_index, prev_log_term, leader_commit, entries)| Message::Append {
            term,
            prev_log_index,
            prev_log_term,
            leader_commit,
            entries
        }),
        2 => (term(), outcome).prop_map(|(term, outcome)| Message::AppendReply { term, outcome }),
        2 => (term(), index(), term()).prop_map(|(term, index, last_term)| Message::InstallSnapshot {
            term,
            last_included: EntryId { index, term: last_term }
        }),
        1 => (term(), index(), token_or_none.clone()).prop_map(|(term, leader_commit, read_token)| Message::Heartbeat {
            term,
            leader_commit,
            read_token
        }),
        1 => (term(), token_or_none).prop_map(|(term, read_token)| Message::HeartbeatReply { term, read_token }),
        1 => (term(), token.clone()).prop_map(|(term, token)| Message::ReadIndex { term, token }),
        1 => (term(), token, index()).prop_map(|(term, token, index)| Message::ReadIndexReply { term, token, index }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_messages_in_any_role_break_nothing(
        role in 0usize..4,
        // Several messages may come in one turn, as from a socket.
        messages in proptest::collection::vec((1u64..6, any_message(), 0u32..6, 0u8..8, any::<bool>()), 1..60),
    ) {
        let role = [RoleName::Follower, RoleName::PreCandidate, RoleName::Candidate, RoleName::Leader][role];
        let mut cluster = lone(role, 3, start(2, &[1, 1, 2], 1));
        for (read, (from, message, ticks, doing, ends_turn)) in (0..).zip(messages) {
            let _shows_well = message.to_string();
            cluster.input(1, |raft| raft.step(NodeId(from), message));
            if !ends_turn {
                continue;
            }
            cluster.turn(1);
            let _refused_without_leader = (cluster.propose(1), cluster.input(1, |raft| raft.read(ReadId(read))));
            cluster.tick(1, ticks);
            let raft = cluster.raft(1);
            match doing {
                0 if raft.snapshot().index < raft.applied_index() => cluster.take_snapshot(1),
                1 => cluster.compact(1, raft.snapshot().index),
                2..5 => if let Some((_, last)) = raft.wanted_snapshot().filter(|(_, last)| last.index < Index(100)) {
                    let applied = (1..=last.index.0).map(|index| EntryId { index: Index(index), ..last }).collect();
                    let membership = raft.membership().clone();
                    cluster.install_unchecked(1, Snapshot { applied, membership });
                },
                _ => {}
            }
        }
    }
}
