//! Rows T-60 to T-63, T-65 and T-69 of the lab cases (TinyKV's `PeerStorage` and its snapshot files), in our terms. There, entries and hard
//! state are records in a key/value store; here they are batches in a log. What is compacted away lies below the *base*, the entry before
//! the first, and asking below that is a mistake of the caller, not an answer.

use std::panic::{AssertUnwindSafe, catch_unwind};

use data::{SnapshotDecoder, SnapshotMeta, Store, init, snapshot_path};
use raft::{EntryId, Index, Term};

use crate::snapshots::{content, id, loaded, take, transfer};

use crate::common::{Content, FIRST_SEGMENT, Log, SMALL, batches, entry, first_entry, identity, new_disk, open, open_with, vote};

/// T-60, PeerStorageTerm: every entry of the log gives its term, the base gives its own, and below it there is nothing.
#[test]
fn t60_every_entry_gives_its_term_and_so_does_the_base() {
    let mut log = Log::new();
    log.save(vote(3, 1), 2, &[entry(3, b"")]);
    log.save(vote(5, 1), 3, &[entry(4, b""), entry(5, b"")]);
    let (store, recovered) = Store::open(log.disk.clone(), &identity(), SMALL).expect("the log is whole");
    let terms: Vec<(u64, u64)> = recovered.entries.iter().map(|meta| (meta.index.0, meta.term.0)).collect();
    assert_eq!(terms, [(1, 0), (2, 3), (3, 4), (4, 5)]);
    assert_eq!(recovered.base, EntryId { index: Index(0), term: Term(0) });
    assert_eq!(store.first_index(), Index(1));
}

/// T-61, PeerStorageClearMeta: after appends there are exactly these files, and an interrupted beginning leaves none of its own.
#[test]
fn t61_appends_leave_exactly_the_files_of_a_log_and_a_new_beginning_leaves_none_of_the_old() {
    let mut log = Log::new();
    for _ in 0..5 {
        log.append(b"x");
    }
    let files = ["identity", FIRST_SEGMENT, "log/0000000000000002.seg"];
    assert_eq!(log.disk.files(), files, "the log, and the segment that comes next");

    let mut disk = new_disk();
    disk.delete("identity");
    disk.crash_losing_all();
    let mut other = identity();
    other.name = "other".into();
    init(&mut disk, &other, &first_entry()).expect("without an identity nothing counts");
    assert_eq!(disk.files(), files);
    assert_eq!(open(&disk).expect("a new log opens").1, Content::new());
}

/// T-62, PeerStorageEntries: any range of the log comes back exactly, from memory and from the disk; a range that leaves it does not.
#[test]
fn t62_any_range_of_entries_comes_back_exactly() {
    let mut log = Log::new();
    for index in 2..=12_u8 {
        log.append(&vec![index; usize::from(index) * 60]);
    }
    log.fill_segments(2);
    let last = log.content.last_index();
    for cache_bytes in [0, 3000, 1 << 20] {
        let (mut store, _) = open_with(&log.disk, data::Options { cache_bytes, ..SMALL }).expect("the log is whole");
        // Some of the entries are in memory, the newest, and some only on the disk.
        let kept = store.read(Index(last), Index(last), &mut Vec::new());
        assert!(kept.is_ok());
        for first in 1..=last {
            for end in first..=last {
                let mut bytes = Vec::new();
                store.read(Index(first), Index(end), &mut bytes).expect("they are there");
                let range = crate::common::position(first)..=crate::common::position(end);
                assert_eq!(bytes, log.content.entries[range].concat(), "{first} to {end} with {cache_bytes} bytes of cache");
            }
        }
        for (first, end) in [(0, 1), (0, last), (last, last + 1), (last + 1, last + 1)] {
            let asked = catch_unwind(AssertUnwindSafe(|| store.read(Index(first), Index(end), &mut Vec::new()).is_ok()));
            assert!(asked.is_err(), "{first} to {end} is not in the log");
        }
    }
}

/// T-63, PeerStorageAppend: six shapes of an append to entries 3/t3, 4/t4, 5/t5; what stood behind the new end is gone for ever.
#[test]
fn t63_an_append_replaces_everything_from_its_first_entry_on() {
    // First index and terms of the append, terms of entries 3, 4, ... afterwards.
    let shapes: [(&str, u64, &[u64], &[u64]); 6] = [
        ("rewrites the same", 3, &[3, 4, 5], &[3, 4, 5]),
        ("rewrites with later terms, and the older tail goes", 3, &[3, 6, 6], &[3, 6, 6]),
        ("rewrites and extends", 3, &[3, 4, 5, 5], &[3, 4, 5, 5]),
        ("overlaps from further below", 2, &[2, 3, 5], &[3, 5]),
        ("cuts back to one", 4, &[5], &[3, 5]),
        ("plainly appends", 6, &[5], &[3, 4, 5, 5]),
    ];
    for (what, first, terms, expected) in shapes {
        let mut log = Log::new();
        log.save(vote(6, 1), 2, &[entry(2, b"two"), entry(3, b"three"), entry(4, b"four"), entry(5, b"five")]);
        let new: Vec<Vec<u8>> = terms.iter().map(|term| entry(*term, format!("{what} {term}").as_bytes())).collect();
        log.save(vote(6, 1), first, &new);

        let mut bytes = Vec::new();
        log.store.read(Index(1), log.store.last_index(), &mut bytes).expect("they are there");
        assert_eq!(bytes, log.content.entries.concat(), "{what}: while running");
        log.disk.crash_losing_all();
        let (_, recovered) = Store::open(log.disk.clone(), &identity(), SMALL).expect("the log is whole");
        let found: Vec<u64> = recovered.entries.iter().skip(2).map(|meta| meta.term.0).collect();
        assert_eq!(found, expected, "{what}");
        assert_eq!(open(&log.disk).expect("the log is whole").1, log.content, "{what}");
    }
}

/// Also T-63: the older tail stays in the file, in its old batch, and still never comes back, however the log ends.
#[test]
fn t63_a_replaced_tail_stays_replaced_after_later_saves_and_crashes() {
    let mut log = Log::new();
    log.save(vote(1, 1), 2, &[entry(1, b"a"), entry(1, b"b"), entry(1, b"c")]);
    log.save(vote(2, 2), 2, &[entry(2, b"A")]);
    let batches_before = batches(&log.disk).len();
    log.save(vote(3, 3), 3, &[]);
    assert_eq!(batches(&log.disk).len(), batches_before + 1);
    log.disk.crash_losing_all();
    let (_, found) = open(&log.disk).expect("the log is whole");
    assert_eq!(found, log.content);
    assert_eq!(found.entries.len(), 2);
}

/// T-65, GcRaftLog: 100 entries, of which ranges from below go, each once; what is above stays, byte for byte, and so does all else.
#[test]
fn t65_compaction_drops_exactly_the_entries_up_to_the_base_and_each_once() {
    let mut log = Log::new();
    for index in 2..=100_u8 {
        log.append(&vec![index; 1200]);
    }
    let snapshot = take(&mut log.store, id(80, 1), b"state");
    let (log_bytes, log_entries) = (log.store.log_bytes(), log.store.log_entries());
    let mut segments = crate::common::segments_in_use(&log.disk).len();
    for (to, removed) in [(10, 10), (50, 40), (50, 0), (60, 10), (20, 0)] {
        let before = log.store.first_index().0;
        log.store.compact(Index(to)).expect("the disk is healthy");
        assert_eq!(log.store.first_index().0 - before, removed, "up to {to}");
        while log.store.needs_trim() {
            log.store.trim_slice().expect("the disk is healthy");
        }
        let left = crate::common::segments_in_use(&log.disk).len();
        assert!(left <= segments, "up to {to}");
        segments = left;
        let (first, last) = (log.store.first_index(), log.store.last_index());
        let mut bytes = Vec::new();
        log.store.read(first, last, &mut bytes).expect("they are there");
        assert_eq!(bytes, log.content.entries[crate::common::position(first.0)..].concat(), "what is above {to}");
        let below = catch_unwind(AssertUnwindSafe(|| log.store.read(Index(first.0 - 1), last, &mut Vec::new()).is_ok()));
        assert!(below.is_err(), "what is at or below {to} is gone");
        assert_eq!((log.store.log_bytes(), log.store.log_entries()), (log_bytes, log_entries), "what is above the snapshot");
        assert_eq!(log.store.snapshot(), Some(snapshot));
    }
    assert_eq!(log.disk.content(FIRST_SEGMENT), None, "it held about 50 of these entries");
    let beyond = catch_unwind(AssertUnwindSafe(|| log.store.compact(Index(81)).is_ok()));
    assert!(beyond.is_err(), "nothing goes that no snapshot holds");

    log.disk.crash_losing_all();
    let (_, recovered) = Store::open(log.disk.clone(), &identity(), SMALL).expect("it is whole");
    assert_eq!(recovered.hard_state, log.content.hard_state);
    assert_eq!(recovered.entries.last().map(|meta| meta.index), Some(Index(100)));
    assert!((57..=61).contains(&recovered.base.index.0), "whole segments go: {}", recovered.base);
}

/// T-69, SnapFile: with and without data. A file is there when it is complete and not before, on both sides; size and content survive the
/// way; it goes when a newer one has come, and with it the bytes it took.
#[test]
fn t69_a_snapshot_file_is_built_sent_received_and_removed() {
    for data in [content(200_000), Vec::new()] {
        let (mut from, mut to) = (Log::new(), Log::new());
        for _ in 0..9 {
            from.append(b"value");
        }
        let (last, path) = (id(8, 1), snapshot_path(id(8, 1)));
        let file_len = |log: &Log| log.disk.content(&path).map(|bytes| bytes.len() as u64);
        from.store.begin_snapshot(SnapshotMeta { last, time_ms: 5 }).expect("the disk is healthy");
        from.store.write_snapshot(&data).expect("the disk is healthy");
        assert_eq!((file_len(&from), from.store.snapshot()), (None, None), "not yet");
        let built = from.store.finish_snapshot().expect("the disk is healthy").expect("there is room");
        assert_eq!((file_len(&from), from.store.snapshot()), (Some(built.len), Some(built)));

        let mut bytes = Vec::new();
        from.store.read_snapshot(last, 0, usize::MAX, &mut bytes).expect("the disk is healthy");
        let mut decoder = SnapshotDecoder::new(identity().cluster_id);
        decoder.push(&bytes).expect("it is whole");
        assert!(decoder.is_complete() && decoder.take_content() == data);
        to.store.begin_incoming(last).expect("the disk is healthy");
        to.store.write_incoming(&bytes).expect("the disk is healthy");
        assert_eq!((file_len(&to), to.store.snapshot()), (None, None), "received, and not yet saved");
        let received = to.store.finish_incoming().expect("the disk is healthy").expect("there is room");
        assert_eq!((received, file_len(&to)), (built, Some(built.len)));
        to.store.install(last, vote(1, 0)).expect("the disk is healthy");
        assert_eq!(loaded(&mut to.store), data);
        assert_eq!(to.disk.content(&path), from.disk.content(&path));

        take(&mut from.store, id(10, 1), b"newer");
        transfer(&mut from.store, &mut to.store, 1000);
        to.store.install(id(10, 1), vote(1, 0)).expect("the disk is healthy");
        for log in [&mut from, &mut to] {
            let used = log.disk.used();
            assert!(log.store.needs_trim());
            log.store.trim_slice().expect("the disk is healthy");
            assert_eq!((file_len(log), log.disk.used()), (None, used - built.len));
        }
    }
}
