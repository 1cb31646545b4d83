//! Any crash at any step of taking, receiving and installing snapshots, and of dropping what they cover; and a full disk at any step.

use data::fake::FakeDisk;
use data::{SnapshotMeta, StoreError};
use fastrand::Rng;
use raft::{HardState, Term};

use crate::common::{entry, new_disk, segments_in_use, vote};
use crate::snapshot_model::{Known, Node};
use crate::snapshots::id;

/// A fixed life with one of everything. Ends at the first failure.
fn fixed_life(disk: &FakeDisk, known: &mut Known) -> Result<(), StoreError> {
    first_half(disk, known)?;
    second_half(disk, known)
}

/// Taken while the log goes on, compacted with a tail, rolled, replaced.
fn first_half(disk: &FakeDisk, known: &mut Known) -> Result<(), StoreError> {
    let Ok(mut node) = Node::open(disk, known) else { return Err(StoreError::Poisoned) };
    node.new_term(1)?;
    node.append(62_000)?; // fills the first segment but for a little
    for _ in 0..6 {
        node.append(900)?;
    }
    node.store.seal()?;
    node.commit()?;
    // With saves between its slices, one of them in a new segment.
    node.begin_taking(6)?;
    while !node.go_on_taking(60_000)? {
        node.append(1800)?;
        node.prepare()?;
    }
    node.compact(4)?;
    while node.trim()? {}
    node.append(2000)?;
    node.commit()?;
    // An uncommitted tail over more than a segment, which a new leader replaces: some of it may then be the first thing in the log.
    for _ in 0..4 {
        node.append(1500)?;
    }
    node.new_term(0)?;
    let (first, hard_state) = (node.model().commit_index + 1, node.model().hard_state);
    node.save(hard_state, first - 1, first, &[entry(hard_state.term.0, &[1; 800])])?;
    node.commit()?;
    let last = node.model().last_index();
    node.take(last, 1 << 20)?;
    node.compact(last - 1)?;
    while node.trim()? {
        node.append(700)?;
    }
    node.compact(last)?;
    while node.trim()? {}
    // Two that are not finished.
    node.begin_taking(last)?;
    node.go_on_taking(70_000)?;
    node.store.abandon_snapshot()?;
    node.begin_taking(last)?;
    node.begin_receiving(id(last + 9, 9))?;
    node.go_on_receiving(100)?;
    Ok(())
}

/// Received: one that the log holds, one that it does not, one beyond the end.
fn second_half(disk: &FakeDisk, known: &mut Known) -> Result<(), StoreError> {
    let Ok(mut node) = Node::open(disk, known) else { return Err(StoreError::Poisoned) };
    for _ in 0..3 {
        node.append(600)?;
    }
    let last = node.model().last_index();
    let held = node.model().id_at(last - 1);
    node.receive(held, 50_000)?;
    node.compact(last - 2)?;
    while node.trim()? {}
    node.begin_receiving(id(last, 7))?;
    while !node.go_on_receiving(40_000)? {
        node.append(100)?;
    }
    while node.trim()? {}
    node.append(1000)?;
    node.store.seal()?;
    let last = node.model().last_index();
    // The term is known to be later than the snapshot's by now.
    node.save(vote(20, 2), last, last + 1, &[])?;
    node.receive(id(last + 30, 12), 1 << 20)?;
    for _ in 0..5 {
        node.append(1200)?;
        node.prepare()?;
    }
    while node.trim()? {}
    node.commit()?;
    let last = node.model().last_index();
    node.take(last - 2, 1 << 20)?;
    node.compact(last - 2)?;
    while node.trim()? {}
    node.store.seal()
}

/// A way in which power may be lost, or the process alone.
type Crash = fn(&FakeDisk);

/// All of them.
const CRASHES: [(&str, Crash); 9] = [
    ("killed", FakeDisk::kill),
    ("all unsynced lost", FakeDisk::crash_losing_all),
    ("names without bytes", FakeDisk::crash_keeping_names),
    ("torn after 1 byte", |disk| disk.crash_tearing_at(1)),
    ("torn after 64 bytes", |disk| disk.crash_tearing_at(64)),
    ("torn after 700 bytes", |disk| disk.crash_tearing_at(700)),
    ("in any mixture, 1", |disk| disk.crash(104)),
    ("in any mixture, 2", |disk| disk.crash(101)),
    ("in any mixture, 3", |disk| disk.crash(106)),
];

#[test]
fn a_crash_at_every_step_with_snapshots_loses_nothing_that_was_acknowledged() {
    let healthy = new_disk();
    fixed_life(&healthy, &mut Known::new()).expect("nothing fails");
    let all_steps = healthy.steps();
    let (mut cut_short, mut recoveries) = (0, 0);
    for steps in 0..all_steps {
        let (disk, mut known) = (new_disk(), Known::new());
        disk.stop_after(steps);
        cut_short += u64::from(fixed_life(&disk, &mut known).is_err());
        for (what, crash) in CRASHES {
            let disk = disk.fork();
            crash(&disk);
            recoveries += recover_through_crashes(&disk, &known, &format!("step {steps}, {what}"));
        }
    }
    assert_eq!(cut_short + crate::common::new_disk().steps(), all_steps, "steps that the life did not reach");
    assert!(5 * all_steps < recoveries, "{recoveries} recoveries were cut short");
}

/// Opens the disk; every recovery cut short at one of its steps, and then finished, must come to something that may be, and to the same
/// if it was shown before. Afterwards the node works. Returns how many recoveries were cut short.
fn recover_through_crashes(disk: &FakeDisk, known: &Known, what: &str) -> u64 {
    let straight = disk.fork();
    let before = straight.steps();
    let mut found = known.clone();
    drop(found.open(&straight).unwrap_or_else(|error| panic!("{what}: {error}")));
    let recovery_steps = straight.steps() - before;
    straight.crash_losing_all();
    let shown = found.acknowledged.clone();
    works(&straight, &mut found, what);
    for steps in 0..recovery_steps {
        let (disk, mut after) = (disk.fork(), known.clone());
        disk.stop_after(steps);
        let attempt = after.open(&disk).is_ok();
        disk.crash(steps ^ 0x9e37);
        after.open(&disk).unwrap_or_else(|error| panic!("{what}, then step {steps} of recovery: {error}"));
        assert!(!attempt || after.acknowledged == shown, "{what}, then step {steps} of recovery: what was shown is gone");
    }
    recovery_steps
}

/// A node on this disk can go on.
fn works(disk: &FakeDisk, known: &mut Known, what: &str) {
    let mut node = Node::open(disk, known).unwrap_or_else(|error| panic!("{what}: again: {error}"));
    let mut go_on = || {
        node.new_term(0)?;
        node.append(5000)?;
        node.commit()?;
        let last = node.model().last_index();
        node.take(last, 1 << 20)?;
        node.compact(last)?;
        while node.trim()? {}
        node.store.seal()
    };
    go_on().unwrap_or_else(|error| panic!("{what}: it does not work: {error}"));
    assert_eq!(segments_in_use(disk).len(), 1, "{what}: files that nobody needs");
    let snapshots = disk.files().iter().filter(|path| path.starts_with("snapshot/")).count();
    assert_eq!(snapshots, 1, "{what}: files that nobody needs: {:?}", disk.files());
    disk.crash_losing_all();
    drop(Node::open(disk, known).unwrap_or_else(|error| panic!("{what}: after that: {error}")));
}

/// A node with a log and a snapshot.
fn settled(known: &mut Known) -> FakeDisk {
    let disk = new_disk();
    let mut node = Node::open(&disk, known).expect("a new log opens");
    let mut settle = || {
        node.new_term(1)?;
        for _ in 0..12 {
            node.append(900)?;
        }
        node.commit()?;
        node.take(5, 1 << 20)
    };
    settle().expect("the disk is healthy");
    disk
}

/// What is done on a full disk: a snapshot of three chunks, taken or received.
fn take_or_receive(node: &mut Node<'_>, taken: bool) -> Result<(), StoreError> {
    if taken { node.take(13, 50_000) } else { node.receive(id(34, 5), 50_000) }
}

/// Nothing of it is left, and the node goes on as before. With room it succeeds.
fn goes_on_without(disk: &FakeDisk, mut node: Node<'_>, taken: bool, what: &str) {
    assert!(node.store.snapshot_no_space(), "{what}");
    assert!(!node.store.snapshot_in_progress() && node.store.incoming_len().is_none(), "{what}");
    let leftovers: Vec<String> = disk.files().into_iter().filter(|path| path.ends_with(".tmp")).collect();
    assert!(leftovers.is_empty(), "{what}: {leftovers:?}");
    node.append(300).unwrap_or_else(|error| panic!("{what}: {error}"));
    node.known.check(&node.store);
    disk.set_space(None);
    let before = node.model().snapshot;
    take_or_receive(&mut node, taken).unwrap_or_else(|error| panic!("{what}, with room: {error}"));
    assert!(before < node.model().snapshot && !node.store.snapshot_no_space(), "{what}, with room");
}

#[test]
fn a_disk_with_too_little_room_for_a_snapshot_has_none_and_the_node_goes_on() {
    for taken in [true, false] {
        let (mut given_up, mut finished) = (0, 0);
        for space in (0..160_000).step_by(4000) {
            let mut known = Known::new();
            let disk = settled(&mut known);
            let mut node = Node::open(&disk, &mut known).expect("it is healthy");
            disk.set_space(Some(disk.used() + space));
            take_or_receive(&mut node, taken).unwrap_or_else(|error| panic!("{space} bytes: {error}"));
            if node.given_up > 0 {
                given_up += 1;
                goes_on_without(&disk, node, taken, &format!("{space} bytes"));
            } else {
                finished += 1;
            }
            disk.crash_losing_all();
            drop(known.open(&disk).unwrap_or_else(|error| panic!("{space} bytes: {error}")));
        }
        assert!(10 < given_up && 1 < finished, "{given_up} given up, {finished} finished");
    }
}

#[test]
fn a_disk_that_is_full_at_any_step_of_a_snapshot_stops_the_node_only_when_a_name_is_at_stake() {
    for taken in [true, false] {
        let (mut given_up, mut stopped) = (0, Vec::new());
        for steps in 0.. {
            let mut known = Known::new();
            let disk = settled(&mut known);
            let mut node = Node::open(&disk, &mut known).expect("it is healthy");
            disk.full_after(steps);
            let before = node.model().snapshot;
            match take_or_receive(&mut node, taken) {
                Ok(()) if node.given_up > 0 => {
                    given_up += 1;
                    assert_eq!(node.model().snapshot, before);
                    goes_on_without(&disk, node, taken, &format!("step {steps}"));
                }
                Ok(()) => break,
                Err(error) => {
                    assert!(matches!(node.store.abandon_snapshot(), Err(StoreError::Poisoned)));
                    stopped.push(error.to_string());
                }
            }
            for crash in [FakeDisk::kill, FakeDisk::crash_losing_all] {
                crash(&disk);
                drop(known.open(&disk).unwrap_or_else(|error| panic!("step {steps}: {error}")));
            }
        }
        let name = "snapshot: sync failed: ";
        let log = "log/0000000000000001.seg: ";
        // A rename whose directory was not synced may last or not; and the installation is a write to the log like any other.
        assert!(stopped[0].starts_with(name), "{stopped:?}");
        assert!(stopped[1..].iter().all(|error| error.starts_with(log)), "{stopped:?}");
        assert_eq!(stopped.len(), if taken { 1 } else { 3 }, "the name, then write and sync of the base batch: {stopped:?}");
        assert!(6 <= given_up, "{given_up} given up");
    }
}

/// What happened in random lives, so that a run in which nothing did can be told from one that passed.
#[derive(Default, Debug)]
struct Counts {
    taken: u64,
    received: u64,
    installed: u64,
    trimmed: u64,
    replaced: u64,
    pending: u64,
    beside_pending: u64,
    given_up: u64,
    failures: u64,
    recoveries_cut_short: u64,
}

/// One life of a node, at random; it ends with the first failure, or when it has done enough.
fn random_life(disk: &FakeDisk, known: &mut Known, rng: &mut Rng, counts: &mut Counts) {
    let mut node = Node::open(disk, known).expect("no crash leaves damage");
    let steps = rng.u64(..120);
    match rng.u8(..6) {
        0 => disk.stop_after(steps),
        1 => disk.fail_sync_after(steps / 3),
        2 => disk.fail_write_after(steps / 3),
        _ => {}
    }
    for _ in 0..rng.u8(..60) {
        match random_act(disk, &mut node, rng, counts) {
            Ok(()) => {}
            Err(error) => {
                counts.failures += 1;
                assert!(!matches!(error, StoreError::Poisoned), "poisoned without a failure");
                let steps = disk.steps();
                assert!(matches!(node.store.abandon_snapshot(), Err(StoreError::Poisoned)), "it goes on after {error}");
                assert!(matches!(node.store.trim_slice(), Err(StoreError::Poisoned)), "it goes on after {error}");
                assert_eq!(disk.steps(), steps);
                break;
            }
        }
    }
    counts.given_up += node.given_up;
}

fn random_act(disk: &FakeDisk, node: &mut Node<'_>, rng: &mut Rng, counts: &mut Counts) -> Result<(), StoreError> {
    let pending = !node.known.under_way.is_empty();
    counts.beside_pending += u64::from(pending);
    let (commit, last, covered) = (node.model().commit_index, node.model().last_index(), node.model().covered());
    match rng.u8(..20) {
        0 | 19 if pending => {
            let held = disk.sync_is_held();
            disk.finish_sync();
            disk.hold_syncs(false);
            let saved = node.store.poll_saved()?;
            assert!(saved.is_some() || !held, "a sync that has finished");
            if saved.is_some() {
                let change = node.known.under_way.pop().expect("a save was under way");
                node.known.acknowledged.apply(&change);
            }
        }
        1 if !pending => node.store.seal()?,
        2 | 3 => node.prepare()?,
        4 if !node.store.snapshot_in_progress() && covered < commit => {
            node.begin_taking(rng.u64(covered.max(node.model().base.index.0).max(1)..=commit))?;
        }
        5..=7 if node.store.snapshot_in_progress() => {
            counts.taken += u64::from(node.go_on_taking(rng.usize(1..100_000))? && node.model().covered() > covered);
        }
        8 => {
            let lowest = node.store.first_index().0 - 1;
            if lowest < covered {
                node.compact(rng.u64(lowest..=covered))?;
            }
        }
        9 | 10 => counts.trimmed += u64::from(node.trim()?),
        11 if !pending => {
            let index = rng.u64(covered + 1..covered.max(commit) + 20);
            let term = node.model().hard_state.term.0 + rng.u64(..2);
            // What is committed is the same everywhere.
            let agrees = index <= commit || (index <= last && rng.bool());
            let beyond = id(index, term.max(1));
            node.begin_receiving(if agrees { node.model().id_at(index) } else { beyond })?;
        }
        12..=14 if !pending && node.incoming.is_some() => {
            let (base, before) = (node.model().base, node.model().snapshot);
            let last_incoming = node.incoming.as_ref().map_or(id(0, 0), |(last, _)| *last);
            // What is committed is the same everywhere: a leader does not send another history of that.
            let committed = node.model().id_at(last_incoming.index.0.clamp(base.index.0, commit));
            if committed.index == last_incoming.index && committed != last_incoming || last_incoming.term < committed.term {
                node.incoming = None;
                return node.store.abandon_incoming();
            }
            node.go_on_receiving(rng.usize(1..100_000))?;
            counts.received += u64::from(node.model().snapshot != before);
            counts.installed += u64::from(node.model().base != base);
        }
        15 => match rng.u8(..4) {
            0 => node.store.abandon_snapshot()?,
            1 => {
                node.store.abandon_incoming()?;
                node.incoming = None;
            }
            _ => disk.set_space(Some(disk.used() + rng.u64(..80_000)).filter(|_| rng.bool())),
        },
        _ if !pending && !node.store.no_space() => {
            let HardState { term, .. } = node.model().hard_state;
            let hard_state = if rng.u8(..5) == 0 { vote(term.0 + 1, rng.u64(..4)) } else { node.model().hard_state };
            let first = if rng.u8(..3) == 0 { rng.u64(commit + 1..=last + 1) } else { last + 1 };
            let lowest = node.model().id_at(first - 1).term;
            let entries: Vec<Vec<u8>> = (0..rng.u8(..4))
                .map(|_| entry(rng.u64(lowest.0..=hard_state.term.0), &vec![rng.u8(..); rng.usize(..100) * rng.usize(1..30)]))
                .scan(Term(0), |highest, entry| {
                    // Terms do not fall within a save either.
                    let falls = crate::common::term_of(&entry) < highest.0;
                    *highest = Term(crate::common::term_of(&entry).max(highest.0));
                    (!falls).then_some(entry)
                })
                .collect();
            let first = if entries.is_empty() { last + 1 } else { first };
            counts.replaced += u64::from(first <= last);
            let end = first + entries.len() as u64 - 1;
            disk.hold_syncs(rng.u8(..6) == 0);
            let synced = node.save(hard_state, rng.u64(commit..=end), first, &entries)?;
            counts.pending += u64::from(!synced);
        }
        _ => {}
    }
    if node.known.under_way.is_empty() {
        node.known.check(&node.store);
    }
    Ok(())
}

/// Crashes it, maybe also during recoveries.
fn end_life(disk: &FakeDisk, known: &mut Known, rng: &mut Rng, counts: &mut Counts) {
    disk.set_space(None);
    loop {
        match rng.u8(..5) {
            0 => disk.kill(),
            1 => disk.crash_losing_all(),
            2 => disk.crash_keeping_names(),
            _ => disk.crash(rng.u64(..)),
        }
        disk.hold_syncs(false);
        if rng.u8(..3) > 0 {
            return;
        }
        disk.stop_after(rng.u64(..12));
        counts.recoveries_cut_short += u64::from(known.open(disk).is_err());
    }
}

#[test]
fn random_lives_with_snapshots_lose_nothing_and_invent_nothing() {
    let mut total = Counts::default();
    for seed in 0..1000 {
        let run = std::panic::catch_unwind(|| {
            let (mut rng, disk, mut known, mut counts) = (Rng::with_seed(seed), new_disk(), Known::new(), Counts::default());
            for _ in 0..6 {
                random_life(&disk, &mut known, &mut rng, &mut counts);
                end_life(&disk, &mut known, &mut rng, &mut counts);
            }
            drop(known.open(&disk).expect("no crash leaves damage"));
            counts
        });
        let counts = run.unwrap_or_else(|panic| {
            eprintln!("seed={seed}");
            std::panic::resume_unwind(panic);
        });
        total.add(&counts);
    }
    let Counts { taken, received, installed, trimmed, replaced, .. } = total;
    let Counts { pending, beside_pending, given_up, failures, recoveries_cut_short, .. } = total;
    let enough = [(taken, 1500), (received, 500), (installed, 300), (trimmed, 500), (replaced, 2000), (pending, 2000)];
    let faults = [(beside_pending, 5000), (given_up, 200), (failures, 500), (recoveries_cut_short, 1000)];
    assert!(enough.iter().chain(&faults).all(|(count, least)| least <= count), "too little happened: {total:?}");
}

impl Counts {
    fn add(&mut self, other: &Counts) {
        let Counts { taken, received, installed, trimmed, replaced, pending, beside_pending, given_up, .. } = self;
        for (sum, count) in [
            (taken, other.taken),
            (received, other.received),
            (installed, other.installed),
            (trimmed, other.trimmed),
            (replaced, other.replaced),
            (pending, other.pending),
            (beside_pending, other.beside_pending),
            (given_up, other.given_up),
            (&mut self.failures, other.failures),
            (&mut self.recoveries_cut_short, other.recoveries_cut_short),
        ] {
            *sum += count;
        }
    }
}

/// A node that has a segment and an older snapshot to remove, both large.
fn with_large_files<'a>(disk: &FakeDisk, known: &'a mut Known) -> Node<'a> {
    let mut node = Node::open(disk, known).expect("a new log opens");
    let mut fill = || {
        node.new_term(1)?;
        node.append(9 << 20)?;
        for _ in 0..6 {
            node.append(900)?;
        }
        node.commit()?;
        node.store.begin_snapshot(SnapshotMeta { last: node.model().id_at(4), time_ms: 40 })?;
        node.store.write_snapshot(&vec![7; 10 << 20])?;
        assert!(node.store.finish_snapshot()?.is_some());
        node.take(7, 1 << 20)?;
        node.compact(7)
    };
    fill().expect("the disk is healthy");
    assert_eq!(large_files(disk).len(), 2);
    node
}

fn large_files(disk: &FakeDisk) -> Vec<u64> {
    let len = |path: &String| disk.content(path).map_or(0, |bytes| bytes.len() as u64);
    disk.files().iter().map(len).filter(|len| 4 << 20 < *len).collect()
}

fn temporary_files(disk: &FakeDisk) -> Vec<String> {
    disk.files().into_iter().filter(|path| path.ends_with(".tmp")).collect()
}

#[test]
fn a_large_file_goes_slice_by_slice() {
    let (disk, mut known) = (new_disk(), Known::new());
    let mut node = with_large_files(&disk, &mut known);
    let (mut used, mut calls) = (disk.used(), 0);
    while node.trim().expect("the disk is healthy") {
        assert!(used - disk.used() <= 4 << 20, "{used} bytes, then {}", disk.used());
        (used, calls) = (disk.used(), calls + 1);
    }
    assert!(8 <= calls, "{calls} calls");
    assert!(large_files(&disk).is_empty() && temporary_files(&disk).is_empty(), "{:?}", disk.files());
}

#[test]
fn a_crash_between_the_slices_of_a_file_that_goes_leaves_nothing_that_counts() {
    let (disk, mut known) = (new_disk(), Known::new());
    let mut node = with_large_files(&disk, &mut known);
    let before = disk.steps();
    while node.trim().expect("the disk is healthy") {}
    let steps = disk.steps() - before;
    let mut seen = 0;
    for cut in 0..steps {
        // A start removes the older snapshot at once, so every life is a new one.
        let (disk, mut known) = (new_disk(), Known::new());
        let mut node = with_large_files(&disk, &mut known);
        disk.stop_after(cut);
        while node.trim().is_ok() {}
        seen += temporary_files(&disk).len();
        for (what, crash) in CRASHES {
            let (disk, mut known) = (disk.fork(), node.known.clone());
            crash(&disk);
            drop(known.open(&disk).unwrap_or_else(|error| panic!("step {cut}, {what}: {error}")));
            assert!(temporary_files(&disk).is_empty(), "step {cut}, {what}: {:?}", disk.files());
        }
    }
    assert!(6 <= seen, "{seen} temporary files: the slices were not cut short");
}
