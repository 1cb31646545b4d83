//! Snapshots as a node uses them: taken in slices, sent, received, installed; and the log that shrinks behind them.

use data::fake::FakeDisk;
use data::{OpenError, SnapshotDecoder, SnapshotInfo, SnapshotMeta, Store, snapshot_path};
use raft::{EntryId, Index, Term};

use crate::common::{Log, SMALL, entry, identity, save, segments_in_use, vote};

pub(crate) fn id(index: u64, term: u64) -> EntryId {
    EntryId { index: Index(index), term: Term(term) }
}

/// Content that differs at every byte, so that no piece of it passes for another.
pub(crate) fn content(len: usize) -> Vec<u8> {
    (0..len).map(|at| u8::try_from((at * 31 + at / 251) % 256).expect("below 256")).collect()
}

/// Takes a snapshot of `content` that ends with `last`.
pub(crate) fn take(store: &mut Store<FakeDisk>, last: EntryId, content: &[u8]) -> SnapshotInfo {
    store.begin_snapshot(SnapshotMeta { last, time_ms: last.index.0 * 10 }).expect("the disk is healthy");
    for slice in content.chunks(100_000) {
        store.write_snapshot(slice).expect("the disk is healthy");
    }
    store.finish_snapshot().expect("the disk is healthy").expect("there is room")
}

/// All content of the newest snapshot.
pub(crate) fn loaded(store: &mut Store<FakeDisk>) -> Vec<u8> {
    let mut content = Vec::new();
    store.load_snapshot(|piece| content.extend_from_slice(piece)).expect("it is whole");
    content
}

/// Sends the newest snapshot of one node to another, in pieces of `piece_len`, verified on the way.
pub(crate) fn transfer(from: &mut Store<FakeDisk>, to: &mut Store<FakeDisk>, piece_len: usize) -> SnapshotInfo {
    let last = from.snapshot().expect("there is one").meta.last;
    to.begin_incoming(last).expect("the disk is healthy");
    let mut decoder = SnapshotDecoder::new(identity().cluster_id);
    while let Some((_, offset)) = to.incoming_len() {
        let mut piece = Vec::new();
        let len = from.read_snapshot(last, offset, piece_len, &mut piece).expect("the disk is healthy").expect("it is there");
        if offset == len {
            break;
        }
        decoder.push(&piece).expect("it is whole");
        to.write_incoming(&piece).expect("the disk is healthy");
    }
    assert_eq!(decoder.end().map(|meta| meta.last), Ok(last));
    to.finish_incoming().expect("the disk is healthy").expect("there is room")
}

#[test]
fn a_snapshot_is_found_again_with_its_content_and_the_log_as_its_tail() {
    let mut log = Log::new();
    for _ in 0..9 {
        log.append(b"value");
    }
    let content = content(200_000);
    let info = take(&mut log.store, id(7, 1), &content);
    assert_eq!(log.store.snapshot(), Some(info));
    assert_eq!(loaded(&mut log.store), content);
    let entry_len = entry(1, b"value").len() as u64;
    assert_eq!((log.store.log_entries(), log.store.log_bytes()), (3, 16 + 3 * entry_len));

    log.disk.crash_losing_all();
    let (mut store, recovered) = Store::open(log.disk.clone(), &identity(), SMALL).expect("it is whole");
    assert_eq!((recovered.snapshot, recovered.base, recovered.entries.len()), (Some(info), id(0, 0), 10));
    assert_eq!(recovered.commit_index, Index(7), "a snapshot holds only what is committed");
    assert_eq!(loaded(&mut store), content);
    assert_eq!((store.log_entries(), store.log_bytes()), (3, 16 + 3 * entry_len));
}

#[test]
fn a_snapshot_received_into_a_log_that_ends_before_it_is_all_that_is_left() {
    let mut leader = Log::new();
    for _ in 0..40 {
        leader.append(&[7; 900]);
    }
    let info = take(&mut leader.store, id(30, 1), &content(150_000));
    let mut follower = Log::new();
    follower.save(vote(0, 3), 2, &(2..=20).map(|_| entry(0, &[8; 900])).collect::<Vec<_>>());
    for _ in 0..4 {
        follower.save(vote(0, 3), 21, &[entry(0, &vec![8; 60_000])]);
    }
    let (disk, mut store) = (follower.disk, follower.store);
    assert_eq!(segments_in_use(&disk).len(), 5);
    assert_eq!(transfer(&mut leader.store, &mut store, 4096), info);
    assert!(!store.holds(id(30, 1)));
    store.install(id(30, 1), vote(3, 2)).expect("the disk is healthy");
    assert_eq!((store.first_index(), store.last_index(), store.log_bytes()), (Index(31), Index(30), 16));
    while store.needs_trim() {
        store.trim_slice().expect("the disk is healthy");
    }
    save(&mut store, vote(3, 2), 30, 31, &[entry(3, b"next")]).expect("the disk is healthy");

    disk.crash_losing_all();
    assert_eq!(segments_in_use(&disk).len(), 1, "the current one");
    let (mut store, recovered) = Store::open(disk.clone(), &identity(), SMALL).expect("it is whole");
    assert_eq!((recovered.snapshot, recovered.base, recovered.hard_state), (Some(info), id(30, 1), vote(3, 2)));
    assert_eq!(recovered.entries.iter().map(|meta| meta.id()).collect::<Vec<_>>(), [id(31, 3)]);
    assert_eq!(loaded(&mut store), content(150_000));
}

#[test]
fn a_snapshot_whose_installation_was_cut_short_is_installed_at_the_next_start() {
    let mut leader = Log::new();
    for _ in 0..40 {
        leader.append(&[7; 900]);
    }
    let info = take(&mut leader.store, id(30, 1), b"state");
    // It holds an entry 30, but of another term: all of its log is another history.
    let mut follower = Log::new();
    follower.save(vote(0, 3), 2, &(2..=35).map(|_| entry(0, b"lost")).collect::<Vec<_>>());
    transfer(&mut leader.store, &mut follower.store, 50);
    assert!(!follower.store.holds(id(30, 1)));
    follower.disk.crash_losing_all();
    for _ in 0..2 {
        let (mut store, recovered) = Store::open(follower.disk.clone(), &identity(), SMALL).expect("it is whole");
        assert_eq!((recovered.snapshot, recovered.base, recovered.entries.len()), (Some(info), id(30, 1), 0));
        assert_eq!(recovered.hard_state, vote(1, 0), "the term rose, so the vote is over");
        assert_eq!((recovered.commit_index, recovered.last_time_ms), (Index(30), 300));
        assert_eq!(loaded(&mut store), b"state");
        follower.disk.crash_losing_all();
    }
}

#[test]
fn a_log_without_the_snapshot_that_it_continues_is_refused() {
    let mut log = Log::new();
    log.fill_segments(4);
    let last = log.content.last_index() - 1;
    take(&mut log.store, id(last, 1), b"state");
    log.store.compact(id(last, 1)).expect("the disk is healthy");
    while log.store.needs_trim() {
        log.store.trim_slice().expect("the disk is healthy");
    }
    log.disk.delete(&snapshot_path(id(last, 1)));
    let steps = log.disk.steps();
    let error = Store::open(log.disk.clone(), &identity(), SMALL).map(|_| ()).expect_err("entries are missing");
    assert_eq!(log.disk.steps(), steps, "a damaged log was changed");
    assert!(matches!(error, OpenError::Corrupt { .. }));
    let told = error.to_string();
    assert!(told.contains("there is no snapshot; what was before is missing"), "{told}");
}
