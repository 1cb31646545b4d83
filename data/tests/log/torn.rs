//! The last batch, cut or torn at every byte: the synced prefix comes back, or that plus the whole batch, and never anything else.

use data::{SaveStatus, Store};
use raft::HardState;

use crate::common::{Content, Log, SMALL, entry, identity, open, save, vote};
use crate::snapshots::{id, take, transfer};

/// Saves with the sync held back, so that the batch is written and not durable. Returns the model with it.
fn begin_save(log: &mut Log, hard_state: HardState, first: u64, entries: &[Vec<u8>]) -> Content {
    log.disk.hold_syncs(true);
    let commit_index = log.content.commit_index;
    assert_eq!(save(&mut log.store, hard_state, commit_index, first, entries).expect("it is written"), SaveStatus::Pending);
    log.content.after(hard_state, commit_index, first, entries)
}

/// Tears the last write at every byte of it.
fn tear_everywhere(log: &Log, with_batch: &Content) {
    let (segment, offset, len) = log.last_batch();
    let whole = log.disk.content(&segment).expect("the segment is there");
    for torn_at in 0..=len {
        let disk = log.disk.fork();
        disk.crash_tearing_at(torn_at);
        // Zeros at its end make a batch whole before its last byte is written.
        let end = usize::try_from(offset + torn_at).expect("test logs are short");
        let is_whole = whole[end..].iter().all(|byte| *byte == 0);
        let expected = if is_whole { with_batch } else { &log.content };
        let (_, found) = open(&disk).unwrap_or_else(|error| panic!("torn at {torn_at} of {len}: {error}"));
        assert_eq!(&found, expected, "torn at {torn_at} of {len}");
        let left = disk.content(&segment).expect("the segment is there");
        let from = usize::try_from(offset).expect("test logs are short");
        assert!(is_whole || left[from..].iter().all(|byte| *byte == 0), "torn at {torn_at} of {len}: bytes of the torn batch are left");
        disk.crash_losing_all();
        assert_eq!(&open(&disk).expect("it was repaired").1, expected, "torn at {torn_at} of {len}: the repair was not durable");
    }
}

/// Lets any subset of its sectors reach the disk.
fn scatter(log: &Log, with_batch: &Content) {
    let (mut without, mut with) = (0, 0);
    for seed in 0..400 {
        let disk = log.disk.fork();
        disk.crash(seed);
        let (_, found) = open(&disk).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        match found {
            found if found == *with_batch => with += 1,
            found if found == log.content => without += 1,
            found => panic!("seed {seed}: {found:?}"),
        }
    }
    assert!(0 < with && 0 < without, "the crashes were all alike: {with} with, {without} without");
}

/// Shows the same of a log in several shapes of its last batch.
fn torn(prepare: impl Fn(&mut Log), hard_state: HardState, first: u64, entries: &[Vec<u8>]) {
    let mut log = Log::new();
    prepare(&mut log);
    let with_batch = begin_save(&mut log, hard_state, first, entries);
    tear_everywhere(&log, &with_batch);
    scatter(&log, &with_batch);
}

fn three(log: &mut Log) {
    for payload in [&b"one"[..], b"two", b"three"] {
        log.append(payload);
    }
}

#[test]
fn an_append_is_whole_or_gone() {
    torn(three, vote(1, 1), 5, &[entry(1, b"four"), entry(1, &[0xff; 700]), entry(1, b"")]);
}

#[test]
fn a_replacement_of_the_tail_is_whole_or_gone() {
    torn(three, vote(2, 0), 3, &[entry(2, &[7; 1000])]);
}

#[test]
fn a_vote_is_whole_or_gone() {
    torn(three, vote(9, 3), 5, &[]);
}

#[test]
fn payloads_of_zeros_are_whole_or_gone() {
    torn(three, vote(1, 1), 5, &[entry(1, &[0; 1500])]);
}

#[test]
fn a_payload_that_copies_a_batch_is_whole_or_gone() {
    // The bytes of a good batch inside a torn one are out of their place: they must not pass for data behind it.
    let mut log = Log::new();
    three(&mut log);
    let (segment, offset, len) = log.last_batch();
    let from = usize::try_from(offset).expect("test logs are short");
    let copy = log.disk.content(&segment).expect("it is there")[from..][..usize::try_from(len).expect("short")].to_vec();
    let with_batch = begin_save(&mut log, vote(1, 1), 5, &[entry(1, &copy.repeat(5))]);
    tear_everywhere(&log, &with_batch);
}

#[test]
fn the_first_batch_of_a_new_segment_is_whole_or_gone() {
    let fill = |log: &mut Log| {
        log.fill_segments(2);
        // Leaves no room in segment 2 for the batch that follows.
        log.append(&[1; 2500]);
    };
    let mut log = Log::new();
    fill(&mut log);
    let next = log.content.last_index() + 1;
    torn(fill, vote(1, 1), next, &[entry(1, &[3; 1200])]);
}

#[test]
fn a_batch_longer_than_a_segment_is_whole_or_gone() {
    let mut log = Log::new();
    log.fill_segments(2);
    let next = log.content.last_index() + 1;
    let with_batch = begin_save(&mut log, vote(1, 1), next, &[entry(1, &[5; 9000])]);
    let (segment, ..) = log.last_batch();
    assert_eq!(log.disk.content(&segment).map(|bytes| bytes.len()), Some(12 << 10), "a segment of its own, of whole 4 KiB");
    tear_everywhere(&log, &with_batch);
    scatter(&log, &with_batch);
}

#[test]
fn a_base_batch_torn_at_any_byte_is_written_again() {
    let mut leader = Log::new();
    leader.save(vote(3, 0), 2, &(2..=30).map(|_| entry(3, b"")).collect::<Vec<_>>());
    take(&mut leader.store, id(30, 3), b"state");
    let mut log = Log::new();
    three(&mut log);
    transfer(&mut leader.store, &mut log.store, 1000);
    // Write and sync: the sync does not happen.
    log.disk.stop_after(1);
    log.store.install(id(30, 3), vote(5, 2)).expect_err("it was cut short");
    for torn_at in 0..=64 {
        let disk = log.disk.fork();
        disk.crash_tearing_at(torn_at);
        // Zeros at its end make a batch whole before its last byte is written.
        let expected = if 57 <= torn_at { vote(5, 2) } else { vote(3, 0) };
        for _ in 0..2 {
            let (store, recovered) = Store::open(disk.clone(), &identity(), SMALL).expect("no crash leaves damage");
            assert_eq!((recovered.base, recovered.entries.len()), (id(30, 3), 0), "torn at {torn_at}");
            assert_eq!(recovered.hard_state, expected, "torn at {torn_at}");
            assert!(store.needs_seal(), "a base batch is no proof that it was synced");
            disk.crash_losing_all();
        }
    }
}
