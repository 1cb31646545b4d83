//! The teaching labs' cases of snapshots, T-54 to T-59 (`tests/lab-cases.tsv`). Where ours differs, the test says so.

use raft::*;

use crate::cluster::{Cluster, config, meta};
use crate::words::*;

/// Node 1 after a restart: its log begins after `snapshot` with entries of these terms, and `commit` of all are known to be committed.
fn restarted(snapshot: EntryId, terms: &[u64], commit: u64, membership: Membership) -> Raft {
    let entries = (snapshot.index.0 + 1..).zip(terms).map(|(index, term)| meta(index, *term)).collect();
    let (term, commit_index, applied_index) = (snapshot.term.max(Term(terms.last().copied().unwrap_or(0))), Index(commit), snapshot.index);
    let hard_state = HardState { term, voted_for: None };
    Raft::new(config(1, 1), Recovered { hard_state, commit_index, applied_index, snapshot, base: snapshot, entries, membership })
}

fn voters(ids: std::ops::RangeInclusive<u64>) -> Membership {
    Membership::of_voters(ids.map(NodeId))
}

/// Whole turns until nothing is ready: what it said.
fn turn(raft: &mut Raft) -> Vec<(u64, Message)> {
    let mut said = Vec::new();
    while raft.has_ready() {
        let before = raft.facts();
        let ready = raft.take_ready();
        said.extend(ready.appends);
        if let Some(save) = ready.save {
            raft.saved(save.token);
        }
        let released = raft.take_released();
        said.extend(released.promises);
        if let Some((_, last)) = released.committed {
            raft.applied(last);
        }
        raft.check(&before);
    }
    said.into_iter().map(|(to, message)| (to.0, message)).collect()
}

fn step(raft: &mut Raft, from: u64, message: Message) -> Vec<(u64, Message)> {
    let before = raft.facts();
    raft.step(NodeId(from), message);
    raft.check(&before);
    turn(raft)
}

#[test]
fn t54_an_installed_snapshot_is_the_log_and_the_membership() {
    let mut raft = restarted(EntryId::default(), &[], 0, voters(1..=1));
    assert_eq!(step(&mut raft, 2, offer(11, (11, 11))), [], "there is nothing to promise yet");
    assert_eq!(raft.wanted_snapshot(), Some((NodeId(2), entry_id(11, 11))));
    let before = raft.facts();
    raft.install(entry_id(11, 11), voters(1..=3));
    raft.check(&before);
    assert_eq!((raft.log().last_index(), raft.log().term_at(Index(11)), raft.membership()), (Index(11), Some(Term(11)), &voters(1..=3)));
    assert_eq!((raft.commit_index(), raft.applied_index(), raft.log().stable_index()), (Index(11), Index(11), Index(11)));
    assert_eq!((raft.snapshot(), raft.wanted_snapshot()), (entry_id(11, 11), None));
    assert_eq!(turn(&mut raft), [(2, accepted(11, 11))]);
}

#[test]
fn t55_a_snapshot_of_what_is_committed_is_not_wanted() {
    let mut raft = restarted(EntryId::default(), &[1, 1, 1], 3, voters(1..=2));
    turn(&mut raft);
    assert!(!raft.needs_snapshot(entry_id(1, 1)));
    // Ours: the leader is told what it does not know, or it would offer it for ever.
    assert_eq!(step(&mut raft, 2, offer(1, (1, 1))), [(2, accepted(1, 3))]);
    assert_eq!((raft.wanted_snapshot(), raft.commit_index()), (None, Index(3)));
}

#[test]
fn t56_a_leader_provides_one_snapshot_to_a_peer_that_needs_what_is_gone() {
    let mut raft = restarted(entry_id(11, 11), &[], 11, voters(1..=2));
    raft.campaign();
    turn(&mut raft);
    step(&mut raft, 2, pre_vote_reply(12, true));
    let probe = step(&mut raft, 2, vote_reply(12, true));
    assert_eq!((raft.is_leader(), probe), (true, vec![(2, append(12, (11, 11), &[12], 11))].into_iter().map(as_noop).collect()));
    assert_eq!(step(&mut raft, 2, rejected(12, 11, (9, 10))), [(2, offer(12, (11, 11)))], "it needs entry 10");
    assert_eq!(raft.peers_in_snapshot().collect::<Vec<_>>(), [NodeId(2)]);
    for _ in 0..3 {
        raft.propose(10).unwrap();
        assert_eq!(turn(&mut raft), [], "exactly one, and no appends");
    }
}

/// A no-op has no payload.
fn as_noop((to, mut message): (u64, Message)) -> (u64, Message) {
    if let Message::Append { entries, .. } = &mut message {
        entries.iter_mut().for_each(|entry| (entry.payload_len, entry.kind) = (0, EntryKind::NoOp));
    }
    (to, message)
}

#[test]
fn t57_whoever_offers_a_snapshot_leads() {
    let mut raft = restarted(EntryId::default(), &[], 0, voters(1..=2));
    step(&mut raft, 2, offer(2, (11, 1)));
    assert_eq!((raft.role(), raft.term(), raft.leader()), (RoleName::Follower, Term(2), Some(NodeId(2))));
}

#[test]
fn t58_the_membership_is_replaced_and_not_merged() {
    let mut raft = restarted(EntryId::default(), &[], 0, voters(1..=3));
    step(&mut raft, 2, offer(11, (11, 11)));
    raft.install(entry_id(11, 11), voters(2..=4));
    assert_eq!(raft.membership(), &voters(2..=4));
}

#[test]
fn t59_a_slow_node_is_restored_and_then_follows_by_appends() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.isolate(3);
    for _ in 0..101 {
        cluster.propose(1).unwrap();
        cluster.settle();
    }
    cluster.compact_all(1);
    cluster.heal();
    cluster.beat(1);
    assert!(cluster.fetch(3), "it is offered a snapshot: {:?}", cluster.raft(3).wanted_snapshot());
    cluster.propose(1).unwrap();
    assert!(cluster.install(3));
    cluster.settle();
    cluster.propose(1).unwrap();
    cluster.settle();
    cluster.beat(1);
    assert_eq!((cluster.commit(3), cluster.commit(1)), (104, 104));
    assert_eq!(cluster.member(3).applied, cluster.member(1).applied);
    assert_eq!(cluster.terms(3).len(), 2, "the rest came by appends");
}
