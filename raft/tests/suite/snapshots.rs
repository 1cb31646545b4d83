//! Rules of snapshots that a story would tell at too great a length: what an install leaves standing, and what nobody may ask for.

use raft::*;

use crate::cluster::{Cluster, Start, start};
use crate::disk::Snapshot;
use crate::words::*;

/// Node 1 of three follows node 2 in term 4, with this log, and has committed so much of it.
fn follower(log: &[u64], commit: u64) -> Cluster {
    let mut cluster = lone(RoleName::Follower, 3, start(4, log, commit));
    cluster.step(1, 2, heartbeat(4, commit));
    cluster.queue.clear();
    cluster
}

fn snapshot(last: (u64, u64)) -> Snapshot {
    let applied = (1..=last.0).map(|index| entry_id(index, last.1)).collect();
    Snapshot { applied, membership: Membership::of_voters((1..=3).map(NodeId)) }
}

#[test]
fn an_offer_of_what_the_log_holds_commits_it() {
    let mut cluster = follower(&[1, 1, 3], 1);
    cluster.step(1, 2, offer(4, (2, 1)));
    assert_eq!((cluster.commit(1), cluster.raft(1).wanted_snapshot()), (2, None));
    assert_eq!(said(&mut cluster), [(2, accepted(4, 2))], "what is behind it is not vouched for");
    cluster.step(1, 2, offer(4, (1, 1)));
    assert_eq!(said(&mut cluster), [(2, accepted(4, 2))], "an older one: what is committed is");
}

#[test]
fn an_offer_of_what_is_not_on_disk_yet_is_answered_once_it_is() {
    let mut cluster = follower(&[1, 1], 1);
    cluster.hold_saves(1);
    cluster.step(1, 2, append(4, (2, 1), &[4], 1));
    cluster.step(1, 2, offer(4, (3, 4)));
    assert_eq!((cluster.commit(1), said(&mut cluster)), (3, vec![]));
    cluster.finish_save(1);
    assert_eq!(said(&mut cluster), [(2, accepted(4, 3)), (2, accepted(4, 3))]);
}

#[test]
fn an_offer_of_an_entry_in_whose_place_the_log_has_another_is_wanted() {
    let mut cluster = follower(&[1, 1, 3], 2);
    cluster.step(1, 2, offer(4, (3, 4)));
    assert_eq!(cluster.raft(1).wanted_snapshot(), Some((NodeId(2), entry_id(3, 4))));
}

#[test]
fn the_newest_of_a_leaders_offers_is_wanted() {
    let mut cluster = follower(&[1], 1);
    for (last, wanted) in [((5, 2), (5, 2)), ((9, 4), (9, 4)), ((7, 3), (9, 4))] {
        cluster.step(1, 2, offer(4, last));
        assert_eq!(cluster.raft(1).wanted_snapshot(), Some((NodeId(2), entry_id(wanted.0, wanted.1))), "after {last:?}");
    }
    assert!(cluster.raft(1).needs_snapshot(entry_id(5, 2)), "a transfer of the first one is still worth something");
}

#[test]
fn an_offer_is_void_once_the_leader_is_gone_or_the_log_has_caught_up() {
    let wanting = || {
        let mut cluster = follower(&[1], 1);
        cluster.step(1, 2, offer(4, (2, 4)));
        assert!(cluster.raft(1).wanted_snapshot().is_some());
        cluster
    };
    let void = |why: &str, end: fn(&mut Cluster)| {
        let mut cluster = wanting();
        end(&mut cluster);
        assert_eq!(cluster.raft(1).wanted_snapshot(), None, "{why}");
    };
    void("its process is gone", |cluster| cluster.input(1, |raft| raft.leader_lost(NodeId(2))));
    void("its time is up", |cluster| (0..40).for_each(|_| cluster.tick(1, 1)));
    void("another leads", |cluster| cluster.step(1, 3, heartbeat(5, 0)));
    void("the log holds the entry", |cluster| cluster.step(1, 2, append(4, (1, 1), &[4], 1)));
    void("more than that is committed", |cluster| cluster.step(1, 2, append(4, (1, 1), &[4, 4], 3)));
    let mut cluster = wanting();
    cluster.step(1, 2, heartbeat(4, 1));
    assert!(cluster.raft(1).wanted_snapshot().is_some(), "the same leader lives");
}

#[test]
fn an_offer_is_a_sign_of_life() {
    let mut cluster = follower(&[1], 1);
    for _ in 0..40 {
        cluster.tick(1, 5);
        cluster.step(1, 2, offer(4, (2, 4)));
    }
    assert_eq!((cluster.raft(1).role(), cluster.raft(1).leader()), (RoleName::Follower, Some(NodeId(2))));
    let mut cluster = lone(RoleName::Candidate, 3, start(3, &[], 0));
    cluster.step(1, 2, offer(4, (2, 4)));
    assert_eq!((cluster.raft(1).role(), cluster.raft(1).leader()), (RoleName::Follower, Some(NodeId(2))), "of its own term");
}

#[test]
fn acknowledgements_that_wait_for_the_disk_do_not_survive_an_install() {
    let mut cluster = follower(&[1], 1);
    cluster.hold_saves(1);
    cluster.step(1, 2, append(4, (1, 1), &[4, 4], 1)); // save 1 begins
    cluster.step(1, 2, append(4, (3, 4), &[4], 1)); // waits for save 2
    cluster.step(1, 2, offer(4, (9, 4)));
    // Nothing may be installed while a save is outstanding. It ends, and save 2 is not begun before the install.
    cluster.finish_save_only(1);
    cluster.install_unchecked(1, snapshot((9, 4)));
    assert_eq!(said(&mut cluster), [(2, accepted(4, 9))], "one promise, of all that is on disk");
    assert!(!cluster.raft(1).has_ready(), "and nothing is left to save");
}

#[test]
fn a_vote_that_waits_for_the_disk_leaves_with_its_own_save_after_an_install() {
    let mut cluster = follower(&[1], 1);
    cluster.input(1, |raft| raft.leader_lost(NodeId(2)));
    cluster.input(1, |raft| raft.step(NodeId(3), vote(5, (9, 4)))); // decided, and in no save yet
    cluster.hold_saves(1);
    cluster.install_unchecked(1, snapshot((9, 4)));
    assert_eq!(said(&mut cluster), []);
    cluster.finish_save(1);
    assert_eq!(said(&mut cluster), [(3, vote_reply(5, true))]);
    let saves = &cluster.member(1).saved;
    assert_eq!(saves.last().map(|save| save.hard_state), Some(HardState { term: Term(5), voted_for: Some(NodeId(3)) }));
    assert!(saves.last().is_some_and(|save| save.entries.is_empty()));
}

#[test]
fn a_promise_that_relied_on_the_log_alone_needs_no_save_after_an_install() {
    let mut cluster = follower(&[1], 1);
    cluster.input(1, |raft| raft.step(NodeId(2), append(4, (1, 1), &[4, 4], 1)));
    cluster.input(1, |raft| raft.step(NodeId(2), heartbeat(4, 1)));
    cluster.install_unchecked(1, snapshot((9, 4)));
    assert_eq!(said(&mut cluster), [(2, heartbeat_reply(4)), (2, accepted(4, 9))]);
    assert_eq!(cluster.member(1).saved, []);
}

#[test]
fn a_follower_goes_on_behind_what_it_installed() {
    let mut cluster = follower(&[1, 1, 3, 3], 2);
    cluster.install_unchecked(1, snapshot((3, 4)));
    cluster.queue.clear();
    cluster.step(1, 2, append(4, (5, 4), &[4], 4));
    assert_eq!(said(&mut cluster), [(2, rejected(4, 5, (3, 4)))], "the hint is the base");
    cluster.step(1, 2, append(4, (3, 4), &[4, 4], 4));
    assert_eq!((said(&mut cluster), cluster.commit(1)), (vec![(2, accepted(4, 5))], 4));
    assert_eq!(cluster.member(1).applied, (1..=4).map(|index| entry_id(index, 4)).collect::<Vec<_>>());
}

#[test]
fn a_read_that_waits_is_served_by_what_was_installed() {
    let mut cluster = follower(&[1], 1);
    cluster.read(1, 7).unwrap();
    cluster.turn(1);
    let token = ReadToken { incarnation: Incarnation(1), round: 1 };
    cluster.install_unchecked(1, snapshot((9, 4)));
    cluster.step(1, 2, Message::ReadIndexReply { term: Term(4), token, index: Index(8) });
    assert_eq!((cluster.member(1).reads.clone(), cluster.raft(1).applied_index()), (vec![(ReadId(7), Index(8))], Index(9)));
}

#[test]
fn a_leader_offers_the_newest_snapshot_that_it_has() {
    let mut cluster = settled_leader(3, start(1, &[1, 1, 1], 3));
    cluster.compact_all(1);
    cluster.propose(1).unwrap();
    cluster.turn(1);
    cluster.step(1, 2, accepted(2, 5));
    cluster.queue.clear();
    // Node 3 has lost what it acknowledged after entry 4, which an honest one does not; nobody is harmed by asking.
    cluster.take_snapshot(1);
    cluster.compact(1, Index(5));
    assert_eq!(cluster.raft(1).peers_in_snapshot().count(), 0, "what is in flight may yet arrive");
    cluster.step(1, 3, rejected(2, 5, (4, 2)));
    assert_eq!(said(&mut cluster), [(3, offer(2, (5, 2)))]);
    for _ in 0..3 {
        cluster.propose(1).unwrap();
        cluster.turn(1);
        cluster.step(1, 2, accepted(2, cluster.raft(1).log().last_index().0));
    }
    cluster.take_snapshot(1);
    cluster.queue.clear();
    cluster.step(1, 3, heartbeat_reply(2));
    assert_eq!(said(&mut cluster), [(3, offer(2, (8, 2)))]);
    cluster.step(1, 3, accepted(2, 5)); // it had finished with the first one
    let [(3, Message::Append { prev_log_index: Index(5), .. })] = &said(&mut cluster)[..] else { panic!("the base is enough to go on") };
}

#[test]
fn a_restarted_leader_offers_its_snapshot_and_not_the_base_below_it() {
    let mut cluster = Cluster::with(&[start(1, &[1, 1, 1, 1, 1], 5), start(1, &[1, 1, 1, 1, 1], 5), start(1, &[1], 1)]);
    cluster.take_snapshot(1);
    cluster.compact(1, Index(3));
    cluster.crash(1, false);
    cluster.restart(1);
    assert_eq!((cluster.raft(1).snapshot(), cluster.raft(1).log().base()), (entry_id(5, 1), entry_id(3, 1)));
    cluster.elect(1);
    assert_eq!(cluster.raft(3).wanted_snapshot(), Some((NodeId(1), entry_id(5, 1))));
}

#[test]
fn a_late_rejection_ends_the_wait_only_for_a_place_in_the_log() {
    let waiting = || {
        let mut cluster = settled_leader(3, start(1, &[1, 1, 1], 3));
        (0..3).for_each(|_| _ = cluster.propose(1).unwrap());
        cluster.turn(1);
        cluster.step(1, 2, accepted(2, 7));
        cluster.take_snapshot(1);
        cluster.compact(1, Index(6));
        cluster.step(1, 3, rejected(2, 7, (4, 2)));
        assert_eq!(cluster.raft(1).peers_in_snapshot().collect::<Vec<_>>(), [NodeId(3)]);
        cluster.queue.clear();
        cluster
    };
    for hint in [(0, 0), (4, 2), (5, 2), (7, 1)] {
        let mut cluster = waiting();
        cluster.step(1, 3, rejected(2, 7, hint));
        assert_eq!(said(&mut cluster), [], "{hint:?} is no place in the log, and no new reason for an offer");
    }
    for (hint, place) in [((6, 2), 6), ((7, 2), 6)] {
        let mut cluster = waiting();
        cluster.step(1, 3, rejected(2, 7, hint));
        let [(3, Message::Append { prev_log_index, .. })] = &said(&mut cluster)[..] else { panic!("{hint:?} is a place in the log") };
        assert_eq!(*prev_log_index, Index(place));
    }
}

#[test]
fn a_leader_that_compacts_its_own_no_op_goes_on() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    for round in 0..5 {
        cluster.propose(1).unwrap();
        cluster.settle();
        cluster.beat(1);
        cluster.compact_all(1);
        cluster.read(1, round).unwrap();
        cluster.settle();
    }
    assert!(cluster.raft(1).own_term_committed());
    assert_eq!((cluster.terms(1).len(), cluster.commit(3), cluster.member(1).reads.len()), (0, 6, 5));
}

#[test]
#[should_panic(expected = "leads, and is to install")]
fn a_leader_installs_nothing() {
    settled_leader(3, Start::default()).install_unchecked(1, snapshot((9, 1)));
}

#[test]
#[should_panic(expected = "is to install the snapshot")]
fn nothing_is_installed_that_is_committed_already() {
    follower(&[1, 1, 3], 2).install_unchecked(1, snapshot((2, 1)));
}

#[test]
#[should_panic(expected = "still outstanding")]
fn nothing_is_installed_while_a_save_is_under_way() {
    let mut cluster = follower(&[1], 1);
    cluster.hold_saves(1);
    cluster.step(1, 2, append(4, (1, 1), &[4, 4], 1));
    assert!(cluster.raft(1).has_outstanding_save());
    cluster.install_unchecked(1, snapshot((9, 4)));
}

#[test]
#[should_panic(expected = "cannot compact to i3")]
fn only_what_a_snapshot_holds_is_compacted() {
    let mut cluster = follower(&[1, 1, 3], 3);
    cluster.input(1, |raft| raft.snapshot_taken(entry_id(2, 1)));
    cluster.input(1, |raft| raft.compact(Index(3)));
}

#[test]
#[should_panic(expected = "the snapshot i2/t1 was taken after i3/t3")]
fn snapshots_are_taken_in_order() {
    let mut cluster = follower(&[1, 1, 3], 3);
    cluster.take_snapshot(1);
    cluster.input(1, |raft| raft.snapshot_taken(entry_id(2, 1)));
}

#[test]
#[should_panic(expected = "was taken, but only i1 was applied")]
fn a_snapshot_holds_only_what_was_applied() {
    follower(&[1, 1, 3], 1).input(1, |raft| raft.snapshot_taken(entry_id(2, 1)));
}
