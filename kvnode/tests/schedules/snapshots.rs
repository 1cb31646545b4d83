//! Snapshots between nodes: a transfer that breaks off or is overtaken, and a log that grows faster than it is compacted.

use kvnode::MaxLogBytes;
use raft::Index;
use wire::{BusyReason, Reply};

use crate::{World, is_append};

const VALUE_LEN: usize = 200_000;

impl World {
    /// Three nodes with short logs, one of which was away while the others wrote so many values; and who it was.
    fn with_one_away(values: u8) -> (World, u64) {
        let mut world = World::new(3);
        world.max_log_bytes = MaxLogBytes::Above(64 << 10);
        (1..=3).for_each(|id| world.init(id, id.into()));
        (1..=3).for_each(|id| world.start(id));
        world.run_until("it serves", |world| world.leader().is_some_and(|leader| world.node(leader).status().formed));
        let leader = world.leader().expect("one leads");
        let away = (1..=3).find(|id| *id != leader).expect("a follower");
        world.kill(away);
        for n in 0..values {
            world.put_done(&[b'k', n], &[n; VALUE_LEN]);
        }
        world.run(30);
        let log = world.node(world.leader().expect("one leads")).raft().log().first_index();
        assert!(Index(5) < log, "the log begins at {log}: nothing was compacted");
        (world, away)
    }

    fn has_caught_up(&self, id: u64) -> bool {
        self.leader().is_some_and(|leader| self.node(id).digest() == self.node(leader).digest())
    }
}

#[test]
fn a_transfer_that_breaks_off_goes_on_where_it_was() {
    let (mut world, away) = World::with_one_away(8);
    world.chunks_lost_from = Some(3 << 18);
    world.start(away);
    world.run(300);
    assert!(world.installed.is_empty() && world.fetches.contains(&(world.fetches[0].0, 3 << 18)), "{:?}", world.fetches);
    world.chunks_lost_from = None;
    world.run_until("it is caught up", |world| world.has_caught_up(away));
    let offsets: Vec<u64> = world.fetches.iter().filter(|(last, _)| *last == world.installed[0]).map(|(_, offset)| *offset).collect();
    assert!(offsets.is_sorted(), "it began anew: {offsets:?}");
    assert_eq!((world.installed.len(), offsets.first()), (1, Some(&0)));
    for n in 0..8_u8 {
        assert_eq!(world.node(away).peek(&[b'k', n]).map(|value| value.value), Some(vec![n; VALUE_LEN]));
    }
}

#[test]
fn a_transfer_ends_although_newer_snapshots_are_offered_all_the_time() {
    let (mut world, away) = World::with_one_away(40);
    world.start(away);
    let leader = world.leader().expect("one leads");
    let mut writes = 0_u8;
    while world.installed.is_empty() {
        writes += 1;
        assert!(writes < 100, "after {writes} snapshots of its leader it has none");
        // More than the log may hold: the leader takes a snapshot for each of them.
        world.put(leader, b"busy", &[writes; 70_000]);
        world.run(1);
    }
    assert!(writes > 2, "nothing newer was ever offered");
    world.run_until("it is caught up", |world| world.has_caught_up(away));
    assert_eq!(world.installed[0], world.fetches[0].0, "what was begun was brought to its end");
}

#[test]
fn a_leader_whose_log_is_four_times_too_long_takes_no_more_until_it_is_compacted() {
    let (mut world, _) = World::with_one_away(8);
    let leader = world.leader().expect("one leads");
    world.loses = Box::new(|_, _, message| is_append(message));
    let mut refused = None;
    for n in 0..40_u8 {
        world.put(leader, b"much", &[n; 20_000]);
        refused = world.settle().into_iter().find(|reply| matches!(reply, Reply::Busy { .. })).map(|reply| (n, reply));
        if refused.is_some() {
            break;
        }
    }
    assert_eq!(refused, Some((14, Reply::Busy { reason: BusyReason::Log })), "four times 64 KiB are 13 of these, and one goes beyond");
    world.loses = Box::new(|_, _, _| false);
    world.run_until("it is compacted", |world| world.node(leader).status().log_bytes <= 64 << 10);
    world.put_done(b"much", b"no more");
}

#[test]
fn no_more_than_two_chunks_leave_in_a_tick() {
    let (mut world, away) = World::with_one_away(40);
    world.start(away);
    let mut most = 0;
    while world.installed.is_empty() {
        let before = world.chunks;
        world.run(1);
        most = most.max(world.chunks - before);
    }
    assert_eq!(most, 2, "of {} chunks", world.chunks);
    assert!(world.chunks > 30, "{} chunks", world.chunks);
}

#[test]
fn whoever_waits_at_a_node_that_is_being_caught_up_is_answered_when_it_is() {
    let (mut world, away) = World::with_one_away(8);
    world.chunks_lost_from = Some(0);
    world.start(away);
    world.run_until("it follows", |world| world.node(away).leader().is_some());
    world.get(away, &[b'k', 7]);
    assert_eq!(world.run(10), [], "what it has is older than the question");
    world.chunks_lost_from = None;
    let replies = world.run(100);
    assert!(
        matches!(&replies[..], [Reply::Value { value: Some(value), .. }] if value.value == [7; VALUE_LEN]),
        "{} replies",
        replies.len()
    );
}
