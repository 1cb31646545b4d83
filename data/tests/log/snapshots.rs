//! Snapshots as a node uses them: taken in slices, sent, received, installed; and the log that shrinks behind them.

use data::fake::FakeDisk;
use data::{Disk, OpenError, RealDisk, Record, SaveStatus, SnapshotDecoder, SnapshotInfo, SnapshotMeta, Store, snapshot_path};
use raft::{EntryHeader, EntryId, HardState, Index, Save, SaveToken, Term};

use crate::common::{Log, SMALL, entry, identity, open, save, segments_in_use, vote};

pub(crate) fn id(index: u64, term: u64) -> EntryId {
    EntryId { index: Index(index), term: Term(term) }
}

/// Content that differs at every byte, so that no piece of it passes for another.
pub(crate) fn content(len: usize) -> Vec<u8> {
    (0..len).map(|at| u8::try_from((at * 31 + at / 251) % 256).expect("below 256")).collect()
}

/// Takes a snapshot of `content` that ends with `last`.
pub(crate) fn take<D: Disk>(store: &mut Store<D>, last: EntryId, content: &[u8]) -> SnapshotInfo {
    store.begin_snapshot(SnapshotMeta { last, time_ms: last.index.0 * 10 }).expect("the disk is healthy");
    for slice in content.chunks(100_000) {
        store.write_snapshot(slice).expect("the disk is healthy");
    }
    store.finish_snapshot().expect("the disk is healthy").expect("there is room")
}

/// All content of the newest snapshot.
pub(crate) fn loaded<D: Disk>(store: &mut Store<D>) -> Vec<u8> {
    let mut content = Vec::new();
    store.load_snapshot(|piece| content.extend_from_slice(piece)).expect("it is whole");
    content
}

/// Sends the newest snapshot of one node to another, in pieces of `piece_len`, verified on the way.
pub(crate) fn transfer<D: Disk>(from: &mut Store<impl Disk>, to: &mut Store<D>, piece_len: usize) -> SnapshotInfo {
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
    log.store.compact(Index(last)).expect("the disk is healthy");
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

#[test]
fn nothing_is_dropped_while_only_an_unsynced_batch_would_be_left() {
    let mut log = Log::new();
    log.fill_segments(3);
    let last = log.content.last_index();
    take(&mut log.store, id(last, 1), b"state");
    log.store.compact(Index(last)).expect("the disk is healthy");
    // The first batch of a new segment is on its way, and it holds all there is above the base.
    log.disk.hold_syncs(true);
    save(&mut log.store, vote(1, 1), last, last + 1, &[entry(1, &[1; 4000])]).expect("it is written");
    assert_eq!(segments_in_use(&log.disk).len(), 4);
    assert!(!log.store.needs_trim());
    log.store.trim_slice().expect("there is nothing to do");
    assert_eq!(segments_in_use(&log.disk).len(), 4);
    log.disk.finish_sync();
    log.store.poll_saved().expect("the disk is healthy");
    while log.store.needs_trim() {
        log.store.trim_slice().expect("the disk is healthy");
    }
    assert_eq!(segments_in_use(&log.disk).len(), 1);
    log.disk.crash_losing_all();
    let (_, recovered) = Store::open(log.disk.clone(), &identity(), SMALL).expect("it is whole");
    assert_eq!((recovered.base, recovered.entries.len()), (id(last, 1), 1));
}

#[test]
fn a_snapshot_that_is_being_sent_stays_until_it_is_not_pinned_any_more() {
    let mut log = Log::new();
    for _ in 0..9 {
        log.append(b"value");
    }
    let first = take(&mut log.store, id(3, 1), &content(100_000));
    log.store.pin_snapshot(Some(id(3, 1)));
    take(&mut log.store, id(5, 1), b"later");
    take(&mut log.store, id(7, 1), b"later still");
    let trim = |store: &mut Store<FakeDisk>| {
        while store.needs_trim() {
            store.trim_slice().expect("the disk is healthy");
        }
    };
    trim(&mut log.store);
    let complete = |disk: &FakeDisk| disk.files().into_iter().filter(|path| path.starts_with("snapshot/")).collect::<Vec<_>>();
    assert_eq!(complete(&log.disk), [snapshot_path(id(3, 1)), snapshot_path(id(7, 1))]);
    let (mut bytes, mut read) = (Vec::new(), 0);
    while read < first.len {
        let len = log.store.read_snapshot(id(3, 1), read, 30_000, &mut bytes).expect("the disk is healthy");
        assert_eq!(len, Some(first.len));
        read = bytes.len() as u64;
    }
    assert_eq!(bytes, log.disk.content(&snapshot_path(id(3, 1))).expect("it is there"));
    // Beyond its end there is nothing.
    assert_eq!(log.store.read_snapshot(id(3, 1), read, 10, &mut bytes).expect("the disk is healthy"), Some(first.len));
    assert_eq!(bytes.len() as u64, first.len);
    log.store.pin_snapshot(None);
    trim(&mut log.store);
    assert_eq!(complete(&log.disk), [snapshot_path(id(7, 1))]);
    assert_eq!(log.store.read_snapshot(id(3, 1), 0, 10, &mut bytes).expect("the disk is healthy"), None);
    assert_eq!(log.store.read_snapshot(id(6, 1), 0, 10, &mut bytes).expect("the disk is healthy"), None, "there never was one");
}

#[test]
fn a_snapshot_of_three_members_one_session_and_one_key_is_small() {
    // Header and one chunk: what is left for the content of the 500 bytes is 428.
    let mut log = Log::new();
    log.append(b"value");
    let info = take(&mut log.store, id(2, 1), &[1; 428]);
    assert_eq!(info.len, 500);
    assert_eq!(log.disk.content(&snapshot_path(id(2, 1))).map(|bytes| bytes.len()), Some(500));
}

#[test]
fn what_is_received_is_of_no_use_if_it_is_not_what_was_announced_or_no_newer() {
    let mut leader = Log::new();
    for _ in 0..9 {
        leader.append(b"value");
    }
    take(&mut leader.store, id(7, 1), b"state");
    let mut bytes = Vec::new();
    leader.store.read_snapshot(id(7, 1), 0, 1000, &mut bytes).expect("the disk is healthy");
    let mut follower = Log::new();
    let receive = |store: &mut Store<FakeDisk>, last, bytes: &[u8]| {
        store.begin_incoming(last).expect("the disk is healthy");
        store.write_incoming(bytes).expect("the disk is healthy");
        store.finish_incoming().expect("it is no failure")
    };
    for (last, bytes) in [(id(8, 1), &bytes[..]), (id(7, 2), &bytes), (id(7, 1), &bytes[..63]), (id(7, 1), &[9; 100]), (id(7, 1), b"")] {
        assert_eq!(receive(&mut follower.store, last, bytes), None, "{last} of {} bytes", bytes.len());
        assert_eq!((follower.store.snapshot(), follower.store.snapshot_no_space()), (None, false));
    }
    let info = receive(&mut follower.store, id(7, 1), &bytes);
    assert_eq!(info, leader.store.snapshot());
    assert_eq!(receive(&mut follower.store, id(7, 1), &bytes), None, "it is there already");
    assert_eq!(follower.store.snapshot(), info);
    assert_eq!(follower.disk.files().iter().filter(|path| path.starts_with("snapshot/")).count(), 1);
}

#[test]
fn a_snapshot_gathered_in_part_is_begun_anew_or_given_up() {
    let mut follower = Log::new();
    follower.store.begin_incoming(id(7, 1)).expect("the disk is healthy");
    follower.store.write_incoming(b"bytes").expect("the disk is healthy");
    assert_eq!(follower.store.incoming_len(), Some((id(7, 1), 5)));
    follower.store.begin_incoming(id(9, 2)).expect("the disk is healthy");
    assert_eq!(follower.store.incoming_len(), Some((id(9, 2), 0)));
    follower.store.write_incoming(b"others").expect("the disk is healthy");
    assert_eq!(follower.disk.content("snapshot/incoming.tmp"), Some(b"others".to_vec()));
    follower.store.abandon_incoming().expect("the disk is healthy");
    assert_eq!((follower.store.incoming_len(), follower.disk.content("snapshot/incoming.tmp")), (None, None));
    follower.store.write_incoming(b"late").expect("it goes nowhere");
    assert_eq!(follower.store.finish_incoming().expect("there is nothing to finish"), None);
}

#[test]
fn a_flipped_bit_or_a_cut_anywhere_in_the_newest_snapshot_is_refused_with_file_and_offset() {
    let mut log = Log::new();
    log.append(b"value");
    let info = take(&mut log.store, id(2, 1), &content(70_000));
    let path = snapshot_path(id(2, 1));
    let whole = log.disk.content(&path).expect("it is there");
    let chunk = 64 + 8 + (64 << 10);
    // At the start if the header tells, and else when it is loaded.
    let refused = |disk: &FakeDisk| match Store::open(disk.clone(), &identity(), SMALL) {
        Ok((mut store, _)) => (store.load_snapshot(|_| {}).expect_err("damage passed"), "loading"),
        Err(error) => (error, "opening"),
    };
    for at in (0..whole.len()).step_by(997).chain([8, 63, 64, 67, 68, chunk, chunk + 8, whole.len() - 1]) {
        let disk = log.disk.fork();
        disk.flip(&path, at as u64, 0x20);
        let (error, when) = refused(&disk);
        assert_eq!(when, if at < 64 { "opening" } else { "loading" }, "byte {at}");
        let OpenError::Snapshot { file, damage } = error else { panic!("byte {at}: {error}") };
        let start = [0, 64, chunk][usize::from(64 <= at) + usize::from(chunk <= at)] as u64;
        let cut_off = damage.what == data::SnapshotFault::Truncated;
        assert_eq!((file, damage.offset), (path.clone(), if cut_off { info.len } else { start }), "byte {at}");
        let verified = data::verify(&mut disk.clone(), &identity()).map(|_| ()).expect_err("damage passed");
        assert!(matches!(verified, OpenError::Snapshot { damage: found, .. } if found == damage), "byte {at}: {verified}");
    }
    for len in [0, 1, 63, 64, 71, 72, 5000, chunk, chunk + 8, whole.len() - 1] {
        let disk = log.disk.fork();
        disk.set_content(&path, &whole[..len]);
        let (error, _) = refused(&disk);
        assert_eq!(error.to_string(), format!("{path}: the snapshot is cut off at offset {len}"));
    }
    let disk = log.disk.fork();
    disk.set_content(&path, &[&whole[..], b"x"].concat());
    assert_eq!(refused(&disk).0.to_string(), format!("{path}: bytes behind the end of the snapshot at offset {}", info.len));
    // Under another's name.
    let disk = log.disk.fork();
    disk.set_content(&snapshot_path(id(2, 2)), &whole);
    let told = refused(&disk).0.to_string();
    assert_eq!(told, format!("{}: a snapshot that ends with i2/t1 at offset 0", snapshot_path(id(2, 2))));
    // Of another cluster.
    let mut other = identity();
    other.cluster_id = raft::ClusterId(7);
    let told = Store::open(log.disk.clone(), &other, SMALL).map(|_| ()).expect_err("it is another's").to_string();
    assert!(told.starts_with(&format!("{path}: a snapshot of another cluster, ")), "{told}");
}

#[test]
fn inspect_shows_snapshots_and_what_will_be_removed() {
    let mut log = Log::new();
    log.append(b"value");
    take(&mut log.store, id(1, 0), b"old");
    take(&mut log.store, id(2, 1), &content(70_000));
    log.store.begin_snapshot(SnapshotMeta { last: id(2, 1), time_ms: 20 }).expect("the disk is healthy");
    let show = |disk: &FakeDisk| {
        let (mut lines, mut content) = (Vec::new(), Vec::new());
        data::inspect(&mut disk.clone(), &mut |record| match record {
            Record::Snapshot { file, file_len, state } => lines.push(format!("{file} {file_len} {state:?}")),
            Record::SnapshotContent(piece) => content.extend_from_slice(piece),
            Record::BadSnapshot(error) => lines.push(error.to_string()),
            _ => {}
        })
        .expect("the directory can be listed");
        (lines, content)
    };
    let newest = SnapshotMeta { last: id(2, 1), time_ms: 20 };
    let expected = [
        "snapshot/0000000000000001-0000000000000000.snap 75 Leftover".to_owned(),
        format!("snapshot/0000000000000002-0000000000000001.snap 70080 Newest({newest:?})"),
        "snapshot/0000000000000002-0000000000000001.snap.tmp 0 Leftover".to_owned(),
    ];
    assert_eq!(show(&log.disk), (expected.to_vec(), content(70_000)));
    log.disk.flip(&snapshot_path(id(2, 1)), 66_000, 1);
    let (lines, shown) = show(&log.disk);
    assert_eq!(lines[1], "snapshot/0000000000000002-0000000000000001.snap: bad snapshot chunk at offset 65608");
    assert!(shown.is_empty(), "it was read in one piece, and is not whole");
}

#[test]
fn what_compaction_frees_lets_a_save_through_that_waits_for_room() {
    let mut log = Log::new();
    log.fill_segments(4);
    let last = log.content.last_index();
    take(&mut log.store, id(last, 1), b"state");
    log.disk.set_space(Some(log.disk.used()));
    // Longer than what is left of the segment; the next one is not made yet.
    let entries = [entry(1, &[1; 4000])];
    assert_eq!(save(&mut log.store, vote(1, 1), last, last + 1, &entries).expect("it is no failure"), SaveStatus::Pending);
    assert!(log.store.no_space() && !log.store.has_room_again());
    log.store.prepare_slice().expect("it is no failure");
    assert!(!log.store.has_room_again(), "nothing was freed");
    log.store.compact(Index(last)).expect("the disk is healthy");
    assert!(log.store.needs_trim(), "what waits is not begun, and the last batch is synced");
    while log.store.needs_trim() {
        log.store.trim_slice().expect("the disk is healthy");
    }
    while !log.store.has_room_again() {
        assert!(log.store.needs_prepare());
        log.store.prepare_slice().expect("there is room");
    }
    assert!(log.store.poll_saved().expect("there is room").is_some());
    assert!(!log.store.no_space());
    log.disk.crash_losing_all();
    let (_, recovered) = Store::open(log.disk.clone(), &identity(), SMALL).expect("it is whole");
    assert_eq!(recovered.entries.last().map(|meta| meta.id()), Some(id(last + 1, 1)));
}

#[test]
fn a_snapshot_is_not_given_its_name_while_its_installation_would_find_no_room() {
    let mut leader = Log::new();
    for _ in 0..40 {
        leader.append(b"value");
    }
    let info = take(&mut leader.store, id(30, 1), b"state");
    let mut follower = Log::new();
    // The segment is used up to its last byte, and there is no room for another.
    follower.append(b"x");
    let (segment, offset, len) = follower.last_batch();
    let left = follower.disk.content(&segment).expect("it is there").len() - usize::try_from(offset + len).expect("short");
    follower.append(&vec![1; left - 64 - entry(1, b"").len()]);
    follower.disk.set_space(Some(follower.disk.used() + info.len));
    let receive = |follower: &mut Log, leader: &mut Log| {
        let mut bytes = Vec::new();
        leader.store.read_snapshot(id(30, 1), 0, 1000, &mut bytes).expect("the disk is healthy");
        follower.store.begin_incoming(id(30, 1)).expect("the disk is healthy");
        follower.store.write_incoming(&bytes).expect("there is room");
        assert_eq!(follower.store.incoming_len(), Some((id(30, 1), info.len)));
        follower.store.finish_incoming().expect("it is no failure")
    };
    assert_eq!(receive(&mut follower, &mut leader), None);
    assert!(follower.store.snapshot_no_space());
    assert_eq!((follower.store.snapshot(), follower.disk.content("snapshot/incoming.tmp")), (None, None));
    assert_eq!(open(&follower.disk.fork()).expect("it is whole").1, follower.content, "nothing has changed");
    follower.disk.set_space(None);
    assert_eq!(receive(&mut follower, &mut leader), Some(info));
    follower.store.install(id(30, 1), vote(1, 1)).expect("there is room");
    follower.disk.crash_losing_all();
    let (_, recovered) = Store::open(follower.disk.clone(), &identity(), SMALL).expect("it is whole");
    assert_eq!((recovered.base, recovered.hard_state), (id(30, 1), vote(1, 1)));
}

#[test]
fn the_same_on_a_real_disk() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let mut disk = RealDisk::create(root.path()).expect("it can be made");
    data::init(&mut disk, &identity(), &crate::common::first_entry()).expect("it is healthy");
    let reopen = || Store::open(RealDisk::open(root.path()).expect("it is there"), &identity(), SMALL).expect("it is whole");
    let files = |dir: &str| {
        let names = std::fs::read_dir(root.path().join(dir)).expect("it is there");
        let mut names: Vec<String> = names.map(|entry| entry.expect("it is there").file_name().into_string().expect("ours")).collect();
        names.sort();
        names
    };
    let (mut store, recovered) = reopen();
    assert_eq!((recovered.snapshot, files("snapshot").len()), (None, 0));
    append(&mut store, vote(1, 1), 99);
    take(&mut store, id(40, 1), &content(200_000));
    take(&mut store, id(90, 1), &content(100_000));
    store.compact(Index(80)).expect("it is healthy");
    while store.needs_trim() {
        store.trim_slice().expect("it is healthy");
    }
    assert_eq!(files("snapshot"), ["000000000000005a-0000000000000001.snap"]);
    assert_ne!(files("log")[0], "0000000000000001.seg");
    // Two that are left unfinished.
    store.begin_snapshot(SnapshotMeta { last: id(95, 1), time_ms: 0 }).expect("it is healthy");
    store.write_snapshot(&content(100_000)).expect("it is healthy");
    store.begin_incoming(id(200, 1)).expect("it is healthy");
    store.write_incoming(b"part").expect("it is healthy");
    assert_eq!(files("snapshot").len(), 3);
    drop(store);

    let (mut store, recovered) = reopen();
    assert_eq!(files("snapshot").len(), 1, "leftovers are removed");
    assert_eq!(recovered.entries.last().map(|meta| meta.id()), Some(id(100, 1)));
    assert!((77..=81).contains(&recovered.base.index.0), "{}", recovered.base);
    assert_eq!(loaded(&mut store), content(100_000));
    let mut leader = Log::new();
    leader.save(vote(1, 0), 2, &(2..=300).map(|_| entry(1, b"")).collect::<Vec<_>>());
    take(&mut leader.store, id(300, 1), &content(150_000));
    transfer(&mut leader.store, &mut store, 10_000);
    store.install(id(300, 1), vote(4, 2)).expect("it is healthy");
    append(&mut store, vote(4, 2), 1);
    drop(store);

    let (mut store, recovered) = reopen();
    assert_eq!((recovered.base, recovered.hard_state, recovered.entries.len()), (id(300, 1), vote(4, 2), 1));
    assert_eq!(loaded(&mut store), content(150_000));
    while store.needs_trim() {
        store.trim_slice().expect("it is healthy");
    }
    assert_eq!(files("snapshot"), ["000000000000012c-0000000000000001.snap"]);
    assert!(files("log").len() <= 3, "{:?}", files("log"));
}

/// So many entries of this term.
fn append(store: &mut Store<RealDisk>, hard_state: HardState, count: u64) {
    for _ in 0..count {
        let (index, entry) = (store.last_index().next(), entry(hard_state.term.0, &[0x5a; 900]));
        let meta = EntryHeader::decode(&entry).expect("whole").meta(index);
        store.stage(index, entry);
        let save = Save { token: SaveToken(1), hard_state, commit_index: index, entries: vec![meta] };
        assert_eq!(store.save(&save).expect("it is healthy"), SaveStatus::Synced);
    }
}

#[test]
fn a_start_that_finds_the_newest_snapshot_damaged_leaves_the_older_one_and_the_log_alone() {
    let mut log = Log::new();
    for _ in 0..9 {
        log.append(b"value");
    }
    let older = take(&mut log.store, id(4, 1), &content(80_000));
    let newest = take(&mut log.store, id(7, 1), &content(200_000));
    // Nobody had the time to trim: both are there.
    log.disk.crash_losing_all();
    log.disk.flip(&snapshot_path(newest.meta.last), newest.len / 2, 1);
    let before: Vec<(String, Option<Vec<u8>>)> = log.disk.files().into_iter().map(|path| (path.clone(), log.disk.content(&path))).collect();
    for _ in 0..2 {
        let error = Store::open(log.disk.clone(), &identity(), SMALL).map(drop).expect_err("it is damaged");
        assert!(matches!(&error, OpenError::Snapshot { file, .. } if *file == snapshot_path(newest.meta.last)), "{error}");
        let after: Vec<(String, Option<Vec<u8>>)> =
            log.disk.files().into_iter().map(|path| (path.clone(), log.disk.content(&path))).collect();
        assert!(after == before, "nothing was changed");
    }
    assert!(log.disk.files().contains(&snapshot_path(older.meta.last)));
}
