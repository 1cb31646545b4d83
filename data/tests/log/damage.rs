//! What no crash can have done is refused, with file and offset named, and nothing is changed.

use data::fake::FakeDisk;
use data::{BatchDamage, Damage, OpenError, Record, Recovered, SegmentName, Store, verify};
use raft::Index;

use crate::common::{FIRST_SEGMENT, Log, SMALL, batches, entry, identity, open, save, segments_in_use, vote};
use crate::snapshots::{id, take, transfer};

/// Opens a damaged log, which must fail without a write, and says where the damage was found.
fn refused(disk: &FakeDisk) -> (String, u64, Damage) {
    let steps = disk.steps();
    let result = Store::open(disk.clone(), &identity(), SMALL);
    assert_eq!(disk.steps(), steps, "a damaged log was changed");
    match result {
        Err(OpenError::Corrupt { segment, offset, damage }) => (segment.to_string(), offset, damage),
        Err(error) => panic!("not found to be damage: {error}"),
        Ok((_, recovered)) => panic!("opened, with {} entries", recovered.entries.len()),
    }
}

/// Several segments, and in each of them several kinds of batch; the last batch is a seal.
fn long_log() -> Log {
    let mut log = Log::new();
    log.append(b"a");
    log.save(vote(2, 3), log.content.last_index() + 1, &[]);
    log.save(vote(2, 3), 2, &[entry(2, b"b"), entry(2, &[0; 40]), entry(2, &[0xff; 100])]);
    log.store.seal().expect("the disk is healthy");
    // Entries of zeros, and of what looks like numbers.
    while segments_in_use(&log.disk).len() < 2 {
        let payload: Vec<u8> = (0..5000_u32).flat_map(|number| (number / 3).to_le_bytes()).collect();
        log.save(vote(2, 3), log.content.last_index() + 1, &[entry(2, &payload), entry(2, b"")]);
    }
    for _ in 0..12 {
        log.save(vote(2, 3), log.content.last_index() + 1, &[entry(2, &[9; 700])]);
    }
    log.store.seal().expect("the disk is healthy");
    assert!(4 <= segments_in_use(&log.disk).len(), "the log is too short to show anything");
    log
}

/// Flips every byte before the last batch by `pattern`. There is none whose flip is harmless: headers, bodies, padding and the zeros
/// behind the last batch of a segment that is not the last are all covered.
/// `stride` skips in the long first segment, to save time; the others are flipped whole.
fn flip_everything_before_the_last_batch(pattern: u8, stride: usize) {
    let log = long_log();
    flip_everything(&log.disk, pattern, stride);
    assert_eq!(open(&log.disk).expect("every flip was taken back").1, log.content);
}

fn flip_everything(disk: &FakeDisk, pattern: u8, stride: usize) {
    let all = batches(disk);
    let (last_segment, last_offset, _) = all.last().expect("a log is never without a batch").clone();
    for segment in segments_in_use(disk) {
        let len = if segment == last_segment { last_offset } else { disk.content(&segment).expect("it is there").len() as u64 };
        let stride = if segment == FIRST_SEGMENT { stride } else { 1 };
        for at in (0..len).step_by(stride) {
            disk.flip(&segment, at, pattern);
            let (named, offset, damage) = refused(disk);
            disk.flip(&segment, at, pattern);
            assert_eq!(named, segment, "byte {at}: {damage}");
            // Named is the batch that the byte belongs to, or the header of the segment, or the end of the batches before it.
            let start =
                all.iter().filter(|(name, offset, len)| *name == segment && *offset <= at && at < offset + len).map(|found| found.1);
            let end = all.iter().filter(|(name, ..)| *name == segment).map(|(_, offset, len)| offset + len).max();
            let expected = if at < 64 { 0 } else { start.chain(end).next().expect("every segment has a batch") };
            assert_eq!(offset, expected, "{segment} byte {at}: {damage}");
        }
    }
}

#[test]
fn flipping_all_bits_of_any_byte_before_the_last_batch_is_found() {
    flip_everything_before_the_last_batch(0xff, 1);
}

#[test]
fn flipping_the_lowest_bit_of_a_byte_before_the_last_batch_is_found() {
    flip_everything_before_the_last_batch(0x01, 7);
}

#[test]
fn flipping_the_highest_bit_of_a_byte_before_the_last_batch_is_found() {
    flip_everything_before_the_last_batch(0x80, 11);
}

/// A log whose first segments are gone: it begins with a kept tail, or behind a base batch. Two more segments follow.
fn compacted_log(installed: bool) -> Log {
    let mut log = long_log();
    let mut last = id(log.content.last_index() - 3, 2);
    if installed {
        last = id(log.content.last_index() + 100, 2);
        let mut leader = Log::new();
        leader.save(vote(2, 0), 2, &(2..=last.index.0).map(|_| entry(2, b"")).collect::<Vec<_>>());
        take(&mut leader.store, last, b"state");
        transfer(&mut leader.store, &mut log.store, 1000);
        log.store.install(last, vote(2, 3)).expect("the disk is healthy");
    } else {
        take(&mut log.store, last, b"state");
        log.store.compact(last.index).expect("the disk is healthy");
    }
    while log.store.needs_trim() {
        log.store.trim_slice().expect("the disk is healthy");
    }
    for _ in 0..8 {
        let next = log.store.last_index().0 + 1;
        save(&mut log.store, vote(2, 3), last.index.0, next, &[entry(2, &[4; 800])]).expect("the disk is healthy");
    }
    log.store.seal().expect("the disk is healthy");
    log
}

#[test]
fn flipping_any_byte_of_a_log_that_begins_behind_a_snapshot_is_found() {
    for installed in [false, true] {
        let log = compacted_log(installed);
        assert!(log.disk.content(FIRST_SEGMENT).is_none());
        assert!(2 <= segments_in_use(&log.disk).len());
        flip_everything(&log.disk, 0xff, 3);
        assert!(Store::open(log.disk.clone(), &identity(), SMALL).is_ok(), "every flip was taken back");
    }
}

#[test]
fn any_damage_to_a_log_with_a_snapshot_is_refused_or_passes_for_a_torn_write() {
    let mut rng = fastrand::Rng::with_seed(0x5a9);
    for installed in [false, true] {
        let log = compacted_log(installed);
        let files: Vec<String> = log.disk.files().into_iter().filter(|path| path != "identity").collect();
        let (_, whole) = Store::open(log.disk.fork(), &identity(), SMALL).expect("it is whole");
        let (segment, offset, len) = log.last_batch();
        let seal = usize::try_from(offset).expect("short")..usize::try_from(offset + len).expect("short");
        let sealed = log.disk.content(&segment).expect("it is there")[seal.clone()].to_vec();
        let (mut opened, mut refused) = (0, 0);
        for round in 0..1500 {
            let disk = log.disk.fork();
            for _ in 0..rng.usize(1..3) {
                let path = &files[rng.usize(..files.len())];
                let Some(mut bytes) = disk.content(path) else { continue };
                let at = rng.usize(..=bytes.len());
                let len = rng.usize(..=(bytes.len() - at).min(3000));
                match rng.u8(..6) {
                    0 => bytes[at..at + len].fill(0),
                    1 => rng.fill(&mut bytes[at..at + len]),
                    2 => bytes.truncate(at),
                    3 => bytes[at..at + len.min(1)].fill(0xff),
                    4 => bytes.extend_from_slice(&[0; 9]),
                    _ => {
                        disk.delete(path);
                        continue;
                    }
                }
                disk.set_content(path, &bytes);
            }
            let steps = disk.steps();
            match Store::open(disk.clone(), &identity(), SMALL) {
                Err(OpenError::Corrupt { .. } | OpenError::Snapshot { .. }) => {
                    refused += 1;
                    assert_eq!(disk.steps(), steps, "round {round}: a damaged directory was changed");
                }
                Err(error) => panic!("round {round}: {error}"),
                Ok((mut store, recovered)) => {
                    opened += 1;
                    let mut content = Vec::new();
                    match store.load_snapshot(|piece| content.extend_from_slice(piece)) {
                        Ok(()) => assert_eq!(content, b"state", "round {round}"),
                        Err(error) => {
                            assert!(matches!(error, OpenError::Snapshot { .. }), "round {round}: {error}");
                            continue;
                        }
                    }
                    assert_eq!((recovered.hard_state, recovered.snapshot), (whole.hard_state, whole.snapshot), "round {round}");
                    let above = |recovered: &Recovered| {
                        let covered = recovered.snapshot.map_or(Index(0), |snapshot| snapshot.meta.last.index);
                        recovered.entries.iter().filter(|entry| covered < entry.index).copied().collect::<Vec<_>>()
                    };
                    // What rots to the very end of the log, the seal included, passes for a torn write.
                    let (found, all) = (above(&recovered), above(&whole));
                    let seal_is_whole = disk.content(&segment).map(|bytes| bytes[seal.clone()].to_vec()) == Some(sealed.clone());
                    assert!(all.starts_with(&found) && (found == all || !seal_is_whole), "round {round}: {found:?}");
                }
            }
        }
        assert!(10 < opened && 800 < refused, "{opened} opened, {refused} refused");
    }
}

#[test]
fn a_sealed_batch_that_rots_is_found_and_an_unsealed_last_one_is_the_window() {
    let mut log = Log::new();
    log.append(b"one");
    let before = log.content.clone();
    log.append(b"two");
    let (segment, offset, len) = log.last_batch();
    for at in offset..offset + len {
        let disk = log.disk.fork();
        disk.flip(&segment, at, 0x10);
        // Nothing tells this from a torn write. The docs of `recovery` say so.
        assert_eq!(open(&disk).expect("taken for a torn write").1, before);
    }
    log.store.seal().expect("the disk is healthy");
    for at in offset..offset + len {
        log.disk.flip(&segment, at, 0x10);
        let (named, found, _) = refused(&log.disk);
        assert_eq!((named.as_str(), found), (segment.as_str(), offset), "byte {at}");
        log.disk.flip(&segment, at, 0x10);
    }
}

#[test]
fn a_sealed_batch_that_is_zeroed_is_found() {
    let mut log = Log::new();
    log.append(&[1; 300]);
    let (segment, offset, len) = log.last_batch();
    log.store.seal().expect("the disk is healthy");
    let mut bytes = log.disk.content(&segment).expect("it is there");
    let range = usize::try_from(offset).expect("short")..usize::try_from(offset + len).expect("short");
    bytes[range].fill(0);
    log.disk.set_content(&segment, &bytes);
    let (named, found, damage) = refused(&log.disk);
    assert_eq!((named, found), (segment, offset));
    assert!(matches!(damage, Damage::Batch { batch: BatchDamage::Garbage, next_offset, .. } if next_offset == offset + len), "{damage}");
}

#[test]
fn a_bad_body_behind_which_only_garbage_stands_is_damage() {
    // One torn batch leaves nothing behind its own end, which its good header tells.
    let mut log = Log::new();
    log.append(b"one");
    log.append(&[1; 100]);
    let (segment, offset, len) = log.last_batch();
    log.disk.flip(&segment, offset + 70, 1);
    log.disk.flip(&segment, offset + len + 1000, 1);
    assert_eq!(refused(&log.disk).1, offset);
}

#[test]
fn a_missing_segment_is_named_whichever_it_is() {
    let log = long_log();
    let in_use = segments_in_use(&log.disk);
    let spare = SegmentName(in_use.len() as u64 + 1);
    for path in in_use.iter().cloned().chain([spare.to_string()]) {
        let disk = log.disk.fork();
        disk.delete(&path);
        let found = refused(&disk);
        if path == FIRST_SEGMENT {
            // The beginning may have been compacted away: but then there would be a snapshot.
            assert!(matches!(&found, (named, 0, Damage::Hole { snapshot: None, .. }) if *named == in_use[1]), "{found:?}");
        } else {
            assert_eq!(found, (path, 0, Damage::Missing));
        }
    }
    let disk = log.disk.fork();
    for path in disk.files().iter().filter(|path| path.starts_with("log/")) {
        disk.delete(path);
    }
    assert_eq!(refused(&disk), (FIRST_SEGMENT.to_owned(), 0, Damage::Missing), "all of them");
}

#[test]
fn a_segment_cut_short_or_made_longer_is_refused() {
    let log = long_log();
    for segment in segments_in_use(&log.disk) {
        let whole = log.disk.content(&segment).expect("it is there");
        for len in [whole.len() - 1, whole.len() - 512, 4096.min(whole.len() - 8), 64, 63, 1, 0] {
            let disk = log.disk.fork();
            disk.set_content(&segment, &whole[..len]);
            let (named, offset, _) = refused(&disk);
            let expected = if len < 64 { 0 } else { len as u64 };
            assert_eq!((named, offset), (segment.clone(), expected), "cut to {len}");
        }
        let disk = log.disk.fork();
        disk.set_content(&segment, &[&whole[..], &[0]].concat());
        let expected = whole.len() as u64;
        assert_eq!(refused(&disk), (segment, expected, Damage::Length { expected }));
    }
}

#[test]
fn segments_under_each_others_names_are_refused() {
    let log = long_log();
    let in_use = segments_in_use(&log.disk);
    let (second, third) = (&in_use[1], &in_use[2]);
    let content = |path: &str| log.disk.content(path).expect("it is there");
    let (second_bytes, third_bytes) = (content(second), content(third));
    log.disk.set_content(second, &third_bytes);
    log.disk.set_content(third, &second_bytes);
    assert_eq!(refused(&log.disk), (second.clone(), 0, Damage::OtherSequence(3)));
}

#[test]
fn the_log_of_another_cluster_is_refused() {
    let log = long_log();
    let mut other = identity();
    other.cluster_id = raft::ClusterId(7);
    match data::Store::open(log.disk.clone(), &other, data::Options::default()) {
        Err(OpenError::Corrupt { segment: SegmentName(1), offset: 0, damage: Damage::OtherCluster(found) }) => {
            assert_eq!(found, identity().cluster_id);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_batch_copied_elsewhere_never_passes() {
    let log = long_log();
    let all = batches(&log.disk);
    let (last_segment, last_offset, last_len) = all.last().expect("a log is never without a batch").clone();
    let end = usize::try_from(last_offset + last_len).expect("short");
    for (segment, offset, len) in &all {
        let from = usize::try_from(*offset).expect("short");
        let batch = log.disk.content(segment).expect("it is there")[from..][..usize::try_from(*len).expect("short")].to_vec();
        // Behind the last batch, where the next one would stand: another segment, or another offset.
        let disk = log.disk.fork();
        let mut bytes = disk.content(&last_segment).expect("it is there");
        if bytes.len() < end + batch.len() {
            continue;
        }
        bytes[end..end + batch.len()].copy_from_slice(&batch);
        disk.set_content(&last_segment, &bytes);
        assert_eq!(open(&disk).expect("taken for a torn write").1, log.content, "{segment} {offset}");
    }
}

#[test]
fn the_log_of_another_node_in_parts_never_passes() {
    // The same batches at the same places, under another cluster id: what a recycled block would hold.
    let log = long_log();
    let mut other = identity();
    other.cluster_id = raft::ClusterId(7);
    let mut disk = FakeDisk::new();
    data::init(&mut disk, &other, &crate::common::first_entry()).expect("a new disk is healthy");
    let ours = log.disk.content(FIRST_SEGMENT).expect("it is there");
    let mut theirs = disk.content(FIRST_SEGMENT).expect("it is there");
    let (_, second, _) = batches(&log.disk)[1].clone();
    let second = usize::try_from(second).expect("short");
    theirs[second..].copy_from_slice(&ours[second..]);
    disk.set_content(FIRST_SEGMENT, &theirs);
    let (_, recovered) = data::Store::open(disk, &other, data::Options::default()).expect("taken for a torn write");
    assert_eq!(recovered.entries.len(), 1);
}

#[test]
fn any_bytes_whatever_are_refused_or_cut_without_a_panic() {
    let log = long_log();
    let mut rng = fastrand::Rng::with_seed(0x5eed);
    let in_use = segments_in_use(&log.disk);
    let (mut opened, mut damaged) = (0, 0);
    let (last_segment, offset, len) = log.last_batch();
    let last_range = usize::try_from(offset).expect("short")..usize::try_from(offset + len).expect("short");
    let last_batch = log.disk.content(&last_segment).expect("it is there")[last_range.clone()].to_vec();
    for round in 0..1500 {
        let mut disk = log.disk.fork();
        for _ in 0..rng.usize(1..4) {
            let segment = &in_use[rng.usize(..in_use.len())];
            let mut bytes = disk.content(segment).expect("it is there");
            let at = rng.usize(..bytes.len());
            let len = rng.usize(1..=(bytes.len() - at).min(5000));
            match rng.u8(..4) {
                0 => bytes[at..at + len].fill(0),
                1 => bytes[at..at + len].fill(0xff),
                2 => rng.fill(&mut bytes[at..at + len]),
                _ => bytes.truncate(at),
            }
            disk.set_content(segment, &bytes);
        }
        let steps = disk.steps();
        let verified = verify(&mut disk, &identity()).map(|recovered| recovered.entries.len()).map_err(|error| error.to_string());
        assert_eq!(disk.steps(), steps, "verify changes nothing");
        let opened_as = open(&disk);
        let said = opened_as.as_ref().map(|(_, content)| content.entries.len()).map_err(ToString::to_string);
        assert_eq!(verified, said, "round {round}");
        match opened_as {
            Err(OpenError::Corrupt { .. }) => damaged += 1,
            Ok((_, content)) => {
                opened += 1;
                // Only what reaches to the end of the log can pass for a torn write.
                assert!(log.history.contains(&content), "round {round}: a log that never was");
                let last = disk.content(&last_segment).expect("it is there")[last_range.clone()] == last_batch;
                assert!(!last || content == log.content, "round {round}: batches dropped from before the last");
            }
            Err(error) => panic!("round {round}: {error}"),
        }
    }
    assert!(0 < opened && 1000 < damaged, "{opened} opened, {damaged} refused");
}

#[test]
fn a_segment_zeroed_behind_its_header_is_found_if_anything_tells_that_it_was_used() {
    let log = long_log();
    let in_use = segments_in_use(&log.disk);
    let zeroed = |path: &str| {
        let mut bytes = log.disk.content(path).expect("it is there");
        bytes[64..].fill(0);
        bytes
    };
    for segment in &in_use[..in_use.len() - 1] {
        let disk = log.disk.fork();
        disk.set_content(segment, &zeroed(segment));
        assert_eq!(refused(&disk), (segment.clone(), 64, Damage::Empty));
    }
    // Of the last one nothing but the work on the spare tells: that begins when the first batch is synced.
    let last = &in_use[in_use.len() - 1];
    let spare = SegmentName(in_use.len() as u64 + 1).to_string();
    log.disk.set_content(last, &zeroed(last));
    let disk = log.disk.fork();
    disk.set_content(&spare, &[0; 4096]);
    assert_eq!(refused(&disk), (last.clone(), 64, Damage::Empty), "the spare was worked on");
    disk.set_content(&spare, &log.disk.content(last).expect("it is there"));
    disk.set_content(&SegmentName(in_use.len() as u64 + 2).to_string(), b"");
    assert_eq!(refused(&disk), (last.clone(), 64, Damage::Empty), "the spare was complete");
}

#[test]
fn damage_is_told_in_one_sentence() {
    let mut log = Log::new();
    log.append(&[1; 100]);
    log.append(b"x");
    log.disk.flip(FIRST_SEGMENT, 168 + 70, 1);
    let told = open(&log.disk).map(|_| ()).expect_err("it is damaged").to_string();
    assert_eq!(
        told,
        "log/0000000000000001.seg: bad batch body at offset 168; it was synced, for there is data behind it, at offset 360 of \
         log/0000000000000001.seg"
    );
    log.disk.delete(FIRST_SEGMENT);
    let told = open(&log.disk).map(|_| ()).expect_err("it is damaged").to_string();
    assert_eq!(told, "log/0000000000000001.seg: the file is missing");
}

#[test]
fn inspect_shows_what_is_left_of_a_damaged_log() {
    let log = long_log();
    let all = batches(&log.disk);
    let (segment, offset, _) = all[3].clone();
    log.disk.flip(&segment, offset + 70, 1);
    let (mut intact, mut not_intact, mut bad) = (0, 0, Vec::new());
    data::inspect(&mut log.disk.clone(), &mut |record| match record {
        Record::Batch { intact: true, .. } => intact += 1,
        Record::Batch { offset, intact: false, .. } => not_intact += offset,
        Record::Bad { segment, offset, .. } => bad.push((segment.to_string(), offset)),
        _ => {}
    })
    .expect("the directory can be listed");
    assert_eq!((intact, not_intact, bad), (all.len() - 1, offset, vec![(segment, offset)]));
}

#[test]
fn inspect_shows_everything_in_a_healthy_log_and_changes_nothing() {
    let mut log = Log::new();
    log.save(vote(2, 3), 2, &[entry(2, b"abc"), entry(2, b"")]);
    log.store.seal().expect("the disk is healthy");
    let steps = log.disk.steps();
    let mut lines = Vec::new();
    data::inspect(&mut log.disk.clone(), &mut |record| {
        lines.push(match record {
            Record::Identity(identity) => format!("{} of {}", identity.name, identity.cluster_id),
            Record::NoIdentity(error) => format!("no identity {error:?}"),
            Record::Snapshot { file, file_len, state } => format!("{file} {file_len} {state:?}"),
            Record::SnapshotContent(content) => format!("{} bytes of content", content.len()),
            Record::BadSnapshot(error) => format!("bad {error}"),
            Record::Segment { name, file_len, header } => format!("{name} {file_len} {}", header.is_some()),
            Record::Batch { offset, header, intact } => {
                format!("batch {offset} {intact} {}+{} t{}", header.first_index, header.entry_count, header.hard_state.term.0)
            }
            Record::Entry { index, header, payload } => format!("{index}/{} {}", header.term, String::from_utf8_lossy(payload)),
            Record::Bad { segment, offset, what } => format!("bad {segment} {offset} {what}"),
        });
    })
    .expect("the directory can be listed");
    assert_eq!(
        lines,
        [
            &format!("n1 of {}", identity().cluster_id)[..],
            "log/0000000000000001.seg 65536 true",
            "batch 64 true i1+1 t0",
            "i1/t0 n1 n2 n3.",
            "batch 168 true i2+2 t2",
            "i2/t2 abc",
            "i3/t2 ",
            "batch 288 true i4+0 t2",
            "log/0000000000000002.seg 0 false",
        ]
    );
    assert_eq!(log.disk.steps(), steps);
}

#[test]
fn inspect_names_missing_files_and_an_unreadable_identity() {
    let log = long_log();
    log.disk.delete("log/0000000000000002.seg");
    log.disk.flip("identity", 30, 1);
    let (mut identities, mut bad, mut entries) = (Vec::new(), Vec::new(), 0);
    data::inspect(&mut log.disk.clone(), &mut |record| match record {
        Record::NoIdentity(error) => identities.push(error.map(|error| error.to_string())),
        Record::Bad { segment, what, .. } => bad.push(format!("{segment}: {what}")),
        Record::Entry { .. } => entries += 1,
        _ => {}
    })
    .expect("the directory can be listed");
    let len = log.disk.content("identity").expect("it is there").len() - 4;
    assert_eq!(identities, [Some(format!("identity: bad checksum at offset {len}"))]);
    assert_eq!(bad, ["log/0000000000000002.seg: the file is missing"]);
    assert!(10 < entries, "the log speaks for itself");
}
