//! A log at work: what is read, when it wants a seal or a segment, and what ends it.

use std::io::ErrorKind;

use data::fake::{FakeDisk, FakeError};
use data::{Disk, InitError, Options, RealDisk, SaveStatus, Store, StoreError, SyncStatus, init, read_identity};
use raft::{EntryHeader, Index, Save, SaveToken};

use crate::common::{Content, Log, SMALL, batches, entry, first_entry, identity, new_disk, open, open_with, save, segments_in_use, vote};

#[test]
fn one_save_is_one_batch_one_write_and_one_sync() {
    let mut log = Log::new();
    let before = (log.disk.steps(), batches(&log.disk).len());
    log.save(vote(1, 1), 2, &[entry(1, b"a"), entry(1, b"b"), entry(1, b"c")]);
    assert_eq!((log.disk.steps(), batches(&log.disk).len()), (before.0 + 2, before.1 + 1));
}

#[test]
fn a_seal_is_wanted_after_every_save_and_only_once() {
    let mut log = Log::new();
    assert!(log.store.needs_seal(), "of a new directory too");
    log.store.seal().expect("the disk is healthy");
    assert!(!log.store.needs_seal());
    log.append(b"x");
    assert!(log.store.needs_seal());
    log.store.seal().expect("the disk is healthy");
    assert!(!log.store.needs_seal());
    log.save(vote(2, 3), log.content.last_index() + 1, &[]);
    assert!(log.store.needs_seal(), "a vote is a promise like any other");
    log.store.seal().expect("the disk is healthy");
    let (store, found) = open(&log.disk).expect("the log is whole");
    assert!(!store.needs_seal(), "a seal is known again after a restart");
    assert_eq!(found, log.content);
}

#[test]
fn entries_are_readable_from_staging_on_and_the_staged_ones_hide_what_they_replace() {
    let mut log = Log::new();
    log.save(vote(1, 1), 2, &[entry(1, b"a"), entry(1, b"b"), entry(1, b"c")]);
    log.store.stage(Index(3), entry(2, b"B"));
    assert_eq!(log.store.last_index(), Index(3));
    assert_eq!(log.store.entry(Index(2)).expect("it is there"), entry(1, b"a"));
    assert_eq!(log.store.entry(Index(3)).expect("it is there"), entry(2, b"B"));
    let log_bytes = log.store.log_bytes();
    assert_eq!(log_bytes, 16 + log.content.entries.concat().len() as u64, "what is only staged does not count yet");
    log.disk.crash_losing_all();
    assert_eq!(open(&log.disk).expect("the log is whole").1, log.content, "and does not last");
}

#[test]
fn what_is_not_saved_stays_in_memory_however_small_the_cache() {
    let disk = new_disk();
    let (mut store, _) = open_with(&disk, Options { cache_bytes: 0, ..SMALL }).expect("a new log opens");
    let entries: Vec<Vec<u8>> = (0..50).map(|n| entry(1, &[n; 200])).collect();
    for (index, entry) in (2..).zip(&entries) {
        store.stage(Index(index), entry.clone());
    }
    let metas = (2..).zip(&entries).map(|(index, entry)| EntryHeader::decode(entry).expect("whole").meta(Index(index))).collect();
    store.save(&Save { token: SaveToken(1), hard_state: vote(1, 1), commit_index: Index(1), entries: metas }).expect("it is healthy");
    for (index, entry) in (2..).zip(&entries) {
        assert_eq!(store.entry(Index(index)).expect("it is there"), entry, "from the disk now");
    }
}

#[test]
fn a_replacement_is_read_and_not_what_was_read_ahead_before_it() {
    let disk = new_disk();
    let (mut store, _) = open_with(&disk, Options { cache_bytes: 0, ..SMALL }).expect("a new log opens");
    save(&mut store, vote(1, 1), 1, 2, &[entry(1, b"a"), entry(1, b"b"), entry(1, b"c")]).expect("it is healthy");
    assert_eq!(store.entry(Index(2)).expect("it is there"), entry(1, b"a"));
    save(&mut store, vote(2, 1), 1, 3, &[entry(2, b"B"), entry(2, b"C")]).expect("it is healthy");
    assert_eq!(store.entry(Index(3)).expect("it is there"), entry(2, b"B"));
    assert_eq!(store.entry(Index(4)).expect("it is there"), entry(2, b"C"));
}

#[test]
fn an_entry_that_rots_under_a_running_node_is_not_passed_on() {
    let disk = new_disk();
    let (mut store, _) = open_with(&disk, Options { cache_bytes: 0, ..SMALL }).expect("a new log opens");
    save(&mut store, vote(1, 1), 1, 2, &[entry(1, b"value")]).expect("it is healthy");
    let (segment, offset, _) = batches(&disk).pop().expect("it is there");
    disk.flip(&segment, offset + 64 + 24 + 2, 4);
    match store.read(Index(1), Index(2), &mut Vec::new()) {
        Err(StoreError::Corrupt { segment: found, offset: at, index: Index(2) }) => {
            assert_eq!((found.to_string(), at), (segment, offset + 64));
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(store.read(Index(1), Index(1), &mut Vec::new()), Err(StoreError::Poisoned)));
}

#[test]
fn no_save_after_the_first_segment_waits_for_zeros() {
    let disk = new_disk();
    let (mut store, found) = open_with(&disk, Options { max_log_bytes: Some(8 << 20), ..SMALL }).expect("a new log opens");
    for (turn, index) in (found.last_index() + 1..).take(1500).enumerate() {
        let steps = disk.steps();
        save(&mut store, vote(1, 1), 1, index, &[entry(1, &[1; 5000])]).expect("it is healthy");
        assert!(turn < 20 || disk.steps() - steps == 2, "turn {turn}: a save of {} steps", disk.steps() - steps);
        if store.needs_prepare() {
            let steps = disk.steps();
            store.prepare_slice().expect("it is healthy");
            assert!(disk.steps() - steps <= 5, "256 KiB in writes of 64 KiB, and a sync");
        }
    }
    assert!(4 <= segments_in_use(&disk).len());
}

#[test]
fn no_save_of_a_large_batch_waits_for_zeros_either() {
    let disk = new_disk();
    let (mut store, found) = open_with(&disk, Options { max_log_bytes: Some(64 << 20), ..SMALL }).expect("a new log opens");
    let large = entry(1, &vec![1; 1 << 20]);
    let writes = {
        let mut writes = Vec::new();
        for index in (found.last_index() + 1..).take(100) {
            let steps = disk.steps();
            save(&mut store, vote(1, 1), 1, index, std::slice::from_ref(&large)).expect("it is healthy");
            writes.push(disk.steps() - steps);
            if store.needs_prepare() {
                store.prepare_slice().expect("it is healthy");
            }
        }
        writes
    };
    // The first segments are shorter than one batch: there is nothing to be ahead of.
    assert!(writes[30..].iter().all(|steps| *steps == 2), "{writes:?}");
}

#[test]
fn want_of_space_is_known_while_the_current_segment_still_takes_saves() {
    let mut log = Log::new();
    log.disk.set_space(Some(70 << 10));
    while log.store.needs_prepare() && !log.store.no_space() {
        log.store.prepare_slice().expect("want of space ahead is no failure");
    }
    assert!(!log.store.no_space(), "4 KiB had room");
    while segments_in_use(&log.disk).len() < 2 {
        log.append(&[1; 900]);
    }
    assert!(!log.store.no_space());
    log.store.prepare_slice().expect("want of space ahead is no failure");
    assert!(log.store.no_space());
    log.append(b"still taken");
    log.disk.set_space(None);
    log.store.prepare_slice().expect("it is healthy");
    assert!(!log.store.no_space(), "room was made");
}

/// Appends until a save waits for room: the log, and the entry that waits.
fn full() -> (Log, Vec<u8>) {
    let mut log = Log::new();
    log.disk.set_space(Some(74 << 10));
    let entry = entry(1, &[1; 900]);
    loop {
        let index = log.content.last_index() + 1;
        assert!(index < 1000, "74 KiB never got full");
        match save(&mut log.store, vote(1, 1), 1, index, std::slice::from_ref(&entry)).expect("a full disk is no failure") {
            SaveStatus::Synced => log.content = log.content.after(vote(1, 1), 1, index, std::slice::from_ref(&entry)),
            SaveStatus::Pending => return (log, entry),
        }
    }
}

/// As the loop does it, as long as it gets on.
fn prepare(store: &mut Store<FakeDisk>) {
    for _ in 0..100 {
        if store.needs_prepare() {
            store.prepare_slice().expect("want of space is no failure");
        }
    }
}

#[test]
fn a_save_on_a_full_disk_waits_for_room_and_is_written_when_there_is() {
    let (mut log, entry) = full();
    let index = log.content.last_index() + 1;
    prepare(&mut log.store);
    assert_eq!(log.store.poll_saved().expect("it is healthy"), None);
    assert!(log.store.no_space() && !log.store.has_room_again() && !log.store.needs_seal());
    assert_eq!(log.store.entry(Index(index)).expect("it is staged"), entry);
    assert_eq!(log.store.entry(Index(index - 1)).expect("it is there"), entry, "reads go on");

    log.disk.set_space(None);
    prepare(&mut log.store);
    assert!(log.store.has_room_again());
    assert_eq!(log.store.poll_saved().expect("it is healthy"), Some(SaveToken(1)));
    assert!(!log.store.no_space() && !log.store.has_room_again());
    log.content = log.content.after(vote(1, 1), 1, index, &[entry]);
    log.append(b"and on");
    log.store.seal().expect("the disk is healthy");
    assert_eq!(open(&log.disk).expect("the log is whole").1, log.content);
}

#[test]
fn what_waits_for_room_was_never_promised_and_a_crash_forgets_it() {
    let (mut log, _) = full();
    prepare(&mut log.store);
    log.disk.crash_losing_all();
    let (mut store, found) = open(&log.disk).expect("the log is whole, on a full disk too");
    assert_eq!(found, log.content);
    assert!(store.read(Index(2), Index(found.last_index()), &mut Vec::new()).is_ok());
}

#[test]
fn what_is_staged_while_a_save_waits_for_room_replaces_it_in_the_next_one_and_not_in_this() {
    let (mut log, waits) = full();
    let index = log.content.last_index() + 1;
    let other = entry(2, b"of another leader");
    log.store.stage(Index(index), other.clone());
    assert_eq!(log.store.entry(Index(index)).expect("it is staged"), other);
    log.disk.set_space(None);
    prepare(&mut log.store);
    assert_eq!(log.store.poll_saved().expect("it is healthy"), Some(SaveToken(1)));
    assert_eq!(log.store.entry(Index(index)).expect("it is staged"), other, "not saved yet");
    log.content = log.content.after(vote(1, 1), 1, index, &[waits]);
    assert_eq!(open(&log.disk).expect("the log is whole").1, log.content);
    log.save(vote(2, 2), index, std::slice::from_ref(&other));
    assert_eq!(log.store.entry(Index(index)).expect("it is saved"), other);
    assert_eq!(open(&log.disk).expect("the log is whole").1, log.content);
}

#[test]
fn a_batch_longer_than_the_next_segment_waits_for_room_like_any_other() {
    let mut log = Log::new();
    log.disk.set_space(Some(96 << 10));
    let large = entry(1, &[7; 100_000]);
    let status = save(&mut log.store, vote(1, 1), 1, 2, std::slice::from_ref(&large)).expect("a full disk is no failure");
    assert_eq!(status, SaveStatus::Pending);
    prepare(&mut log.store);
    assert!(!log.store.has_room_again());
    log.disk.set_space(None);
    prepare(&mut log.store);
    assert_eq!(log.store.poll_saved().expect("it is healthy"), Some(SaveToken(1)));
    log.content = log.content.after(vote(1, 1), 1, 2, &[large]);
    log.append(b"and on");
    assert_eq!(open(&log.disk).expect("the log is whole").1, log.content);
}

#[test]
fn a_failed_sync_is_reported_once_and_nothing_is_tried_again() {
    let mut log = Log::new();
    log.disk.fail_sync_after(0);
    let first = save(&mut log.store, vote(1, 1), 1, 2, &[entry(1, b"x")]);
    assert!(matches!(&first, Err(StoreError::Io { file, what: "sync", .. }) if file == crate::common::FIRST_SEGMENT), "{first:?}");
    let steps = log.disk.steps();
    assert!(matches!(save(&mut log.store, vote(1, 1), 1, 2, &[entry(1, b"x")]), Err(StoreError::Poisoned)));
    assert!(matches!(log.store.seal(), Err(StoreError::Poisoned)));
    assert!(matches!(log.store.prepare_slice(), Err(StoreError::Poisoned)));
    assert!(matches!(log.store.poll_saved(), Err(StoreError::Poisoned)));
    assert!(matches!(log.store.read(Index(1), Index(1), &mut Vec::new()), Err(StoreError::Poisoned)) || log.store.last_index() > Index(0));
    assert_eq!(log.disk.steps(), steps, "the disk was touched again");
}

#[test]
fn a_pending_save_is_reported_once_its_sync_has_finished() {
    let mut log = Log::new();
    log.disk.hold_syncs(true);
    let save = |token| Save { token: SaveToken(token), hard_state: vote(1, 1), commit_index: Index(1), entries: Vec::new() };
    assert_eq!(log.store.save(&save(7)).expect("it is healthy"), SaveStatus::Pending);
    assert_eq!(log.store.poll_saved().expect("it is healthy"), None);
    log.disk.finish_sync();
    assert_eq!(log.store.poll_saved().expect("it is healthy"), Some(SaveToken(7)));
    assert_eq!(log.store.poll_saved().expect("it is healthy"), None);
    assert_eq!(log.store.save(&save(8)).expect("it is healthy"), SaveStatus::Pending);
    log.disk.fail_sync_after(0);
    log.disk.finish_sync();
    assert!(matches!(log.store.poll_saved(), Err(StoreError::Io { what: "sync", .. })));
    assert!(matches!(log.store.poll_saved(), Err(StoreError::Poisoned)));
}

#[test]
fn a_pending_sync_fails_with_what_ended_it() {
    type Fault = fn(&FakeDisk);
    let faults: [(Fault, Option<FakeError>); 3] = [
        (|disk| disk.fail_sync_after(0), Some(FakeError::Sync)),
        (|disk| disk.stop_after(0), Some(FakeError::Stopped)),
        (|disk| disk.full_after(0), None),
    ];
    for (fault, ended_by) in faults {
        let mut disk = FakeDisk::new();
        let file = disk.create("file").expect("it is healthy");
        disk.hold_syncs(true);
        assert_eq!(disk.start_sync(&file).expect("it is healthy"), SyncStatus::Pending);
        fault(&disk);
        disk.finish_sync();
        let error = disk.sync_finished().expect_err("it was told to fail");
        assert_eq!(FakeError::of(&error), ended_by, "{error}");
        assert_eq!(error.kind() == ErrorKind::StorageFull, ended_by.is_none(), "{error}");
    }
}

#[test]
fn init_never_touches_a_log_that_lost_its_identity() {
    let mut log = Log::new();
    log.append(b"precious");
    log.disk.delete("identity");
    let before: Vec<_> = log.disk.files().iter().map(|path| log.disk.content(path)).collect();
    let again = init(&mut log.disk.clone(), &identity(), &first_entry());
    assert!(matches!(again, Err(InitError::LogWithoutIdentity { segment }) if segment.0 == 1), "{again:?}");
    assert_eq!(log.disk.files().iter().map(|path| log.disk.content(path)).collect::<Vec<_>>(), before);
}

#[test]
fn a_disk_imitation_starts_empty_and_forgets_what_was_never_synced() {
    let mut disk = FakeDisk::new();
    init(&mut disk, &identity(), &first_entry()).expect("it is healthy");
    let forgetful = FakeDisk::new();
    forgetful.crash_losing_all();
    assert!(forgetful.files().is_empty());
    let (mut store, _) = open(&disk).expect("a new log opens");
    disk.hold_syncs(true);
    save(&mut store, vote(1, 1), 1, 2, &[entry(1, b"x")]).expect("it is written");
    disk.crash_losing_all();
    disk.hold_syncs(false);
    assert_eq!(open(&disk).expect("the log is whole").1, Content::new());
}

#[test]
fn the_same_log_on_a_real_disk() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let dir = root.path().join("not/there/yet");
    let mut disk = RealDisk::create(&dir).expect("it can be made");
    assert!(read_identity(&mut disk).expect("no file is no error").is_none());
    init(&mut disk, &identity(), &first_entry()).expect("it is healthy");
    assert!(matches!(init(&mut disk, &identity(), &first_entry()), Err(InitError::AlreadyInitialised)));
    let reopen = || Store::open(RealDisk::open(&dir).expect("it is there"), &identity(), SMALL).expect("the log is whole");

    let (mut store, _) = reopen();
    for index in 2..200 {
        let entry = entry(1, &vec![0x5a; 700]);
        let meta = EntryHeader::decode(&entry).expect("whole").meta(Index(index));
        store.stage(Index(index), entry);
        let save = Save { token: SaveToken(index), hard_state: vote(1, 1), commit_index: Index(index - 1), entries: vec![meta] };
        assert_eq!(store.save(&save).expect("it is healthy"), SaveStatus::Synced);
        if store.needs_prepare() {
            store.prepare_slice().expect("it is healthy");
        }
    }
    store.seal().expect("it is healthy");
    drop(store);

    let (mut store, recovered) = reopen();
    assert_eq!((recovered.entries.len(), recovered.commit_index, recovered.last_time_ms), (199, Index(198), 1000));
    assert!(!store.needs_seal());
    let mut bytes = Vec::new();
    store.read(Index(2), Index(199), &mut bytes).expect("they are there");
    assert_eq!(bytes, entry(1, &vec![0x5a; 700]).repeat(198));

    let mut batches = 0;
    let mut read_only = RealDisk::open_read_only(&dir).expect("it is there");
    data::inspect(&mut read_only, &mut |record| match record {
        data::Record::Batch { intact, .. } => batches += i32::from(intact),
        data::Record::Bad { segment, offset, what } => panic!("{segment} {offset}: {what}"),
        _ => {}
    })
    .expect("it can be listed");
    assert_eq!(batches, 1 + 198 + 1);
}

#[test]
fn a_disk_imitation_keeps_names_without_bytes_and_is_full_when_told() {
    let mut disk = FakeDisk::new();
    let file = disk.create("new").expect("it is healthy");
    disk.write_at(&file, 0, b"bytes").expect("it is healthy");
    disk.rename("new", "named").expect("it is healthy");
    let lost = disk.fork();
    lost.crash_losing_all();
    assert!(lost.files().is_empty());
    disk.crash_keeping_names();
    assert_eq!((disk.files(), disk.content("named")), (vec!["named".to_owned()], Some(Vec::new())));

    let file = disk.open("named").expect("it is there");
    disk.full_after(1);
    disk.write_at(&file, 0, b"one").expect("not yet");
    let full = disk.write_at(&file, 3, b"two").map_err(|error| error.kind());
    assert_eq!(full, Err(std::io::ErrorKind::StorageFull));
    disk.write_at(&file, 3, b"three").expect("not any more");
    assert_eq!((disk.content("named"), disk.used()), (Some(b"onethree".to_vec()), 8));
    // What has no name takes no room, and no crash brings it back.
    disk.sync(&file).expect("it is healthy");
    disk.sync_dir("").expect("it is healthy");
    disk.remove("named").expect("it is healthy");
    assert_eq!(disk.used(), 0);
    let back = disk.fork();
    back.crash_losing_all();
    assert_eq!(back.content("named"), Some(b"onethree".to_vec()), "the removal was not synced");
    disk.sync_dir("").expect("it is healthy");
    disk.crash_losing_all();
    assert!(disk.files().is_empty());
}
