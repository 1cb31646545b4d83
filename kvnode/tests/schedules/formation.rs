//! The first election of a cluster, and disks that are wiped before, during and after it: what was promised on them is lost.

use wire::Reply;

use crate::{TICK_US, World, is_append};

#[test]
fn a_cluster_forms_soon_whatever_order_its_members_come_in() {
    for (order, ticks_between) in [[1, 2, 3], [1, 3, 2], [2, 1, 3], [2, 3, 1], [3, 1, 2], [3, 2, 1]].into_iter().zip([0, 1, 7, 60, 200, 3])
    {
        let mut world = World::three();
        for id in order {
            world.run(ticks_between);
            world.start(id);
        }
        let last_us = world.now_us;
        world.run_until("all know that it is formed", |world| world.up().into_iter().all(|id| world.node(id).status().formed));
        let ticks = (world.now_us - last_us) / TICK_US;
        assert!(ticks <= 120, "{order:?}: {ticks} ticks, two of the longest election timeouts\n{}", world.describe());
        world.put_done(b"k", b"v");
    }
}

#[test]
fn a_cluster_that_is_not_formed_elects_nobody_and_says_whom_it_waits_for() {
    let mut world = World::three();
    world.start(1);
    world.start(2);
    world.run(500);
    assert_eq!((world.leader(), world.last_index(1), world.last_index(2)), (None, 1, 1));
    world.put(1, b"k", b"v");
    world.get(2, b"k");
    let forming = Reply::Forming { missing: vec!["n3".into()] };
    assert_eq!(world.run(1), [forming.clone(), forming]);
}

#[test]
fn a_disk_wiped_before_the_cluster_is_formed_does_not_vote_twice_in_a_term() {
    let mut world = World::three();
    world.start(1);
    world.start(2);
    world.run(150);
    // Who starts over on n2 does it while n1 is down; n3 comes up for the first time.
    world.kill(2);
    world.kill(1);
    world.init(2, 0xb2);
    world.start(3);
    world.start(2);
    world.run(400);
    assert_eq!(world.leader(), None, "n2 may have voted for n1 in any of these terms");
    world.start(1);
    world.put_done(b"k", b"v");
    for dies in [2, 1, 3] {
        world.kill(dies);
        world.run(100);
        assert_eq!(world.get_done(b"k").as_deref(), Some(&b"v"[..]), "without n{dies}");
        world.start(dies);
        world.run(100);
    }
}

#[test]
fn what_only_a_dead_leader_knows_of_the_disks_is_not_decided_without_it() {
    let mut world = World::three();
    world.loses = Box::new(|_, _, message| is_append(message));
    (1..=3).for_each(|id| world.start(id));
    world.run_until("one is elected", |world| world.leader().is_some());
    world.run(1);
    let leader = world.leader().expect("it was just there");
    assert!(world.last_index(leader) >= 5, "its no-op and three announcements");
    let (wiped, other) = (leader % 3 + 1, (leader + 1) % 3 + 1);
    world.kill(leader);
    world.kill(wiped);
    world.init(wiped, 0xb2);
    world.loses = Box::new(|_, _, _| false);
    world.start(wiped);
    world.run(500);
    assert_eq!((world.leader(), world.last_index(other)), (None, 1), "n{wiped} has voted for n{leader}, and has forgotten it");
    world.start(leader);
    world.put_done(b"k", b"v");
    assert_eq!(world.last_index(wiped), 1, "what it has promised is lost");
    assert!(world.links.iter().all(|(from, to)| ![*from, *to].contains(&wiped)), "refused by all: {:?}", world.links);
    world.kill(leader);
    world.run(500);
    assert_eq!(world.leader(), None, "n{wiped} must not vote n{other} into forgetting");
}

#[test]
fn a_wiped_member_that_was_let_in_by_one_who_did_not_know_is_shown_the_door_when_the_log_names_its_disk() {
    let mut world = World::three();
    world.loses = Box::new(|_, to, message| to == 3 && is_append(message));
    (1..=3).for_each(|id| world.start(id));
    world.run_until("n1 or n2 leads", |world| world.leader().is_some_and(|leader| leader != 3));
    let leader = world.leader().expect("it was just there");
    let wiped = 3 - leader;
    world.run_until("it is formed", |world| world.node(leader).status().formed);
    world.put(leader, b"k", b"v");
    assert!(matches!(world.run(10)[..], [Reply::Written(_)]), "on the disks of n{leader} and n{wiped}");
    assert_eq!(world.last_index(3), 1, "n3 knows of nothing");
    world.kill(leader);
    world.kill(wiped);
    world.init(wiped, 0xb2);
    world.start(wiped);
    world.run(200);
    assert!(world.links.contains(&(3, wiped)) && world.links.contains(&(wiped, 3)), "n3 lets it in: {:?}", world.links);
    assert_eq!(world.leader(), None);
    world.loses = Box::new(|_, _, _| false);
    world.start(leader);
    assert_eq!(world.get_done(b"k").as_deref(), Some(&b"v"[..]));
    assert!(world.links.iter().all(|(from, to)| ![*from, *to].contains(&wiped)), "n3 knows better now: {:?}", world.links);
    // An idle log does not grow.
    let before = world.last_index(leader);
    world.run(1_000);
    assert_eq!(world.last_index(leader), before);
    world.kill(leader);
    world.run(500);
    assert_eq!((world.leader(), world.last_index(wiped)), (None, 1));
}
