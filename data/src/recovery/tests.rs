//! What batches and snapshots together make of a log, with good checksums throughout.

use fastrand::Rng;
use raft::{EntryHeader, EntryKind, NodeId};

use super::*;
use crate::checksum::Seed;
use crate::fake::FakeDisk;
use crate::snapshot::{SnapshotEncoder, snapshot_path};
use crate::store::{Options, Store};

const CLUSTER: ClusterId = ClusterId(9);
const START: u64 = SEGMENT_HEADER_LEN as u64;

fn entry(term: u64, payload: &[u8]) -> Vec<u8> {
    let payload_len = u32::try_from(payload.len()).expect("short");
    [&EntryHeader { term: Term(term), time_ms: 0, payload_len, kind: EntryKind::Command }.encode()[..], payload].concat()
}

type Batch = (BatchFields, Vec<Vec<u8>>);

/// A segment with these batches, each with good checksums.
fn segment(name: SegmentName, batches: &[Batch]) -> Vec<u8> {
    let mut segment = SegmentHeader { cluster_id: CLUSTER, name, size: 1 << 16 }.encode().to_vec();
    for (fields, entries) in batches {
        let mut batch = Vec::new();
        let seed = Seed { cluster_id: CLUSTER, segment: name, offset: segment.len() as u64 };
        batch::encode(&mut batch, &seed, fields, entries.iter().map(Vec::as_slice));
        segment.extend_from_slice(&batch);
    }
    segment.resize(1 << 16, 0);
    segment
}

/// A disk with these segments, from the `first` on, and a snapshot.
fn disk_with(first: u64, segments: &[Vec<Batch>], snapshot: Option<EntryId>) -> FakeDisk {
    let mut disk = FakeDisk::new();
    disk.make_dir(LOG_DIR).expect("it is healthy");
    for (name, batches) in (first..).map(SegmentName).zip(segments) {
        disk.set_content(&name.path(), &segment(name, batches));
    }
    disk.set_content(&SegmentName(first + segments.len() as u64).path(), b"");
    if let Some(last) = snapshot {
        disk.make_dir("snapshot").expect("it is healthy");
        let mut bytes = Vec::new();
        SnapshotEncoder::new(CLUSTER, SnapshotMeta { last, time_ms: 77 }).finish(&mut bytes);
        disk.set_content(&snapshot_path(last), &bytes);
    }
    disk
}

/// A log of one segment in use with these batches, and what opening it says.
fn open_log(batches: &[Batch]) -> Result<Recovered, OpenError> {
    recover(&mut disk_with(1, &[batches.to_vec()], None), CLUSTER, 4096).map(|recovery| recovery.recovered)
}

/// The same of segments from the third on, the first two being dropped, and a snapshot.
fn open_rest(segments: &[Vec<Batch>], snapshot: Option<EntryId>) -> Result<Recovered, OpenError> {
    let identity = Identity { cluster_id: CLUSTER, node: NodeId(1), name: "n1".into(), disk_id: raft::DiskId(1), members: Vec::new() };
    let mut disk = disk_with(3, segments, snapshot);
    let verified = verify(&mut disk, &identity);
    let opened = Store::open(disk, &identity, Options::default()).map(|(store, recovered)| {
        assert_eq!((store.first_index(), store.last_index()), (recovered.base.index.next(), last_of(&recovered)));
        recovered
    });
    match (verified, &opened) {
        (Ok(verified), Ok(opened)) => assert_eq!(&verified, opened),
        (Err(verified), Err(opened)) => assert_eq!(verified.to_string(), opened.to_string()),
        (verified, opened) => panic!("{verified:?} and {opened:?}"),
    }
    opened
}

fn last_of(recovered: &Recovered) -> Index {
    recovered.entries.last().map_or(recovered.base.index, |entry| entry.index)
}

fn id(index: u64, term: u64) -> EntryId {
    EntryId { index: Index(index), term: Term(term) }
}

/// A batch of entries of these terms, from `first_index` on, written in term 9.
fn of_terms(first_index: u64, terms: &[u64]) -> Batch {
    (fields(first_index, *terms.last().expect("there is one"), 9), terms.iter().map(|term| entry(*term, b"x")).collect())
}

/// A batch without entries that follows one of this term.
fn seal(first_index: u64, last_entry_term: u64) -> Batch {
    (fields(first_index, last_entry_term, 9), Vec::new())
}

fn base(base: EntryId) -> Batch {
    (BatchFields { kind: BatchKind::Base, ..fields(base.index.0 + 1, base.term.0, 9) }, Vec::new())
}

/// Where the log begins, and the terms of its entries.
fn shape(recovered: &Recovered) -> (EntryId, Vec<u64>) {
    (recovered.base, recovered.entries.iter().map(|entry| entry.term.0).collect())
}

fn fields(first_index: u64, last_entry_term: u64, term: u64) -> BatchFields {
    let hard_state = HardState { term: Term(term), voted_for: None };
    BatchFields {
        kind: BatchKind::Entries,
        first_index: Index(first_index),
        last_entry_term: Term(last_entry_term),
        hard_state,
        commit_index: Index(0),
    }
}

#[test]
fn good_checksums_do_not_make_sense_of_nonsense() {
    let first = (fields(1, 2, 5), vec![entry(1, b"a"), entry(2, b"b")]);
    assert_eq!(open_log(std::slice::from_ref(&first)).expect("it makes sense").entries.len(), 2);
    let nonsense = |second: (BatchFields, Vec<Vec<u8>>)| match open_log(&[first.clone(), second]) {
        Err(OpenError::Corrupt { segment: SegmentName::FIRST, offset, damage: Damage::Nonsense(nonsense) }) => {
            assert_eq!(offset, START + 64 + 56);
            nonsense
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(nonsense((fields(4, 5, 5), vec![entry(5, b"")])), Nonsense::Gap);
    assert_eq!(nonsense((fields(0, 5, 5), vec![entry(5, b"")])), Nonsense::Gap);
    assert_eq!(nonsense((fields(3, 4, 4), vec![entry(4, b"")])), Nonsense::TermFell);
    assert_eq!(nonsense((fields(3, 6, 5), vec![entry(6, b"")])), Nonsense::EntryTermAhead);
    assert_eq!(nonsense((fields(3, 1, 5), vec![entry(1, b"")])), Nonsense::EntryTermFell);
    assert_eq!(nonsense((fields(3, 3, 5), vec![entry(4, b""), entry(3, b"")])), Nonsense::EntryTermFell);
    assert_eq!(nonsense((fields(3, 3, 5), vec![entry(4, b"")])), Nonsense::Entries, "another last term than it says");
    assert_eq!(nonsense((fields(3, 3, 5), vec![])), Nonsense::Entries, "a seal that tells another last term");
    assert_eq!(nonsense((fields(3, 3, 5), vec![vec![7; 40]])), Nonsense::Entries, "bytes that are no entry");
}

#[test]
fn the_first_batch_begins_the_log() {
    let gap = open_log(&[(fields(2, 1, 1), vec![entry(1, b"")])]);
    assert!(matches!(gap, Err(OpenError::Corrupt { offset: START, damage: Damage::Nonsense(Nonsense::Gap), .. })), "{gap:?}");
}

#[test]
fn a_commit_hint_beyond_the_log_is_not_believed() {
    let hint = BatchFields { commit_index: Index(1 << 50), ..fields(1, 1, 1) };
    assert_eq!(open_log(&[(hint, vec![entry(1, b"")])]).expect("a hint is only a hint").commit_index, Index(1));
}

#[test]
fn any_fields_under_good_checksums_are_refused_or_opened_without_a_panic() {
    let mut rng = Rng::with_seed(7);
    let number = |rng: &mut Rng| match rng.u8(..6) {
        0 => rng.u64(..),
        1 => u64::MAX - rng.u64(..3),
        2 => (1 << 56) - rng.u64(..3),
        _ => rng.u64(..4),
    };
    let (mut opened, mut refused) = (0, 0);
    for _ in 0..4000 {
        let batches: Vec<_> = (0..rng.usize(1..4))
            .map(|_| {
                let voted_for = Some(NodeId(rng.u64(1..3))).filter(|_| rng.bool());
                let fields = BatchFields {
                    kind: if rng.u8(..8) == 0 { BatchKind::Base } else { BatchKind::Entries },
                    first_index: Index(number(&mut rng)),
                    last_entry_term: Term(number(&mut rng)),
                    hard_state: HardState { term: Term(number(&mut rng)), voted_for },
                    commit_index: Index(number(&mut rng)),
                };
                let entries = (0..rng.u8(..3)).map(|_| entry(number(&mut rng), &[1; 9])).collect();
                (fields, entries)
            })
            .collect();
        match open_log(&batches) {
            Ok(_) => opened += 1,
            Err(OpenError::Corrupt { .. }) => refused += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(0 < opened && 2000 < refused, "{opened} opened, {refused} refused");
}

#[test]
fn a_base_batch_begins_the_log_anew_and_nothing_goes_below_it() {
    let old = of_terms(1, &[1, 2, 3]);
    let opened = recover(&mut disk_with(1, &[vec![old.clone(), base(id(7, 5)), of_terms(8, &[5, 6])]], Some(id(7, 5))), CLUSTER, 4096);
    assert_eq!(shape(&opened.expect("it makes sense").recovered), (id(7, 5), vec![5, 6]));
    let nonsense = |batches: &[Batch]| match open_log(batches) {
        Err(OpenError::Corrupt { damage: Damage::Nonsense(nonsense), .. }) => nonsense,
        other => panic!("{other:?}"),
    };
    assert_eq!(nonsense(&[old.clone(), base(id(7, 5)), of_terms(7, &[5])]), Nonsense::Gap, "at the base");
    assert_eq!(nonsense(&[old.clone(), base(id(7, 5)), of_terms(9, &[5])]), Nonsense::Gap);
    assert_eq!(nonsense(&[old.clone(), base(id(7, 5)), of_terms(8, &[4])]), Nonsense::EntryTermFell);
    assert_eq!(nonsense(&[old.clone(), base(id(7, 5)), base(id(6, 5))]), Nonsense::Gap, "the base does not go down");
    assert_eq!(nonsense(&[old.clone(), base(id(7, 10))]), Nonsense::EntryTermAhead);
    let mut at_zero = base(id(7, 5));
    at_zero.0.first_index = Index(0);
    assert_eq!(nonsense(&[old, at_zero]), Nonsense::Gap);
}

#[test]
fn a_base_batch_without_its_snapshot_is_a_hole() {
    let opened = open_log(&[of_terms(1, &[1, 2, 3]), base(id(7, 5)), of_terms(8, &[5])]);
    let hole = Damage::Hole { first: Index(8), snapshot: None };
    assert!(matches!(opened, Err(OpenError::Corrupt { damage, .. }) if damage == hole), "{opened:?}");
}

#[test]
fn a_log_that_goes_on_right_behind_the_snapshot_has_its_end_as_base() {
    let opened = open_rest(&[vec![of_terms(11, &[4, 5])]], Some(id(10, 3))).expect("it fits");
    assert_eq!((shape(&opened), opened.commit_index), ((id(10, 3), vec![4, 5]), Index(10)));
    // Told by a batch without entries, and without any entry behind.
    let opened = open_rest(&[vec![seal(11, 3)]], Some(id(10, 3))).expect("it fits");
    assert_eq!((shape(&opened), opened.last_time_ms), ((id(10, 3), vec![]), 77));
    let opened = open_rest(&[vec![base(id(10, 3))], vec![of_terms(11, &[7])]], Some(id(10, 3))).expect("it fits");
    assert_eq!(shape(&opened), (id(10, 3), vec![7]));
}

#[test]
fn a_tail_that_is_kept_gives_up_its_first_entry_as_base() {
    let opened = open_rest(&[vec![of_terms(7, &[2, 3, 3, 3, 4])]], Some(id(10, 3))).expect("it fits");
    assert_eq!(shape(&opened), (id(7, 2), vec![3, 3, 3, 4]));
    // The first entry is the snapshot's last, or the log ends there.
    assert_eq!(shape(&open_rest(&[vec![of_terms(10, &[3, 4])]], Some(id(10, 3))).expect("it fits")), (id(10, 3), vec![4]));
    assert_eq!(shape(&open_rest(&[vec![of_terms(9, &[3, 3])]], Some(id(10, 3))).expect("it fits")), (id(9, 3), vec![3]));
    // A batch without entries tells the term before it: nothing is given up.
    assert_eq!(
        shape(&open_rest(&[vec![seal(8, 2), of_terms(8, &[3, 3, 3])]], Some(id(10, 3))).expect("it fits")),
        (id(7, 2), vec![3, 3, 3])
    );
}

#[test]
fn entries_that_were_replaced_from_below_where_the_log_now_begins_do_not_count() {
    // Entries 20 and 21 stand first in what is left; they were replaced from 9 on, and what stood before them was dropped.
    let rest = [vec![of_terms(20, &[5, 5])], vec![of_terms(9, &[6, 6, 7])]];
    assert_eq!(shape(&open_rest(&rest, Some(id(8, 3))).expect("it fits")), (id(8, 3), vec![6, 6, 7]));
    assert_eq!(shape(&open_rest(&rest, Some(id(10, 6))).expect("it fits")), (id(9, 6), vec![6, 7]));
    // A seal may stand before them.
    let sealed = [vec![seal(20, 4), of_terms(20, &[5])], vec![of_terms(9, &[6])]];
    assert_eq!(shape(&open_rest(&sealed, Some(id(8, 3))).expect("it fits")), (id(8, 3), vec![6]));
}

#[test]
fn a_log_that_begins_above_the_end_of_the_snapshot_has_a_hole() {
    for (rest, first) in [(vec![of_terms(12, &[4])], 12), (vec![seal(12, 4)], 12), (vec![base(id(11, 4))], 12)] {
        let opened = open_rest(&[rest], Some(id(10, 3)));
        let hole = Damage::Hole { first: Index(first), snapshot: Some(id(10, 3)) };
        match opened {
            Err(error @ OpenError::Corrupt { segment: SegmentName(3), damage, .. }) if damage == hole => assert_eq!(
                error.to_string(),
                "log/0000000000000003.seg: the log begins at i12, and the newest snapshot ends with i10/t3; what was before is missing"
            ),
            other => panic!("{other:?}"),
        }
    }
    assert!(open_rest(&[vec![of_terms(5, &[4])]], None).is_err());
}

#[test]
fn a_snapshot_that_does_not_end_in_the_log_takes_its_place() {
    let hard_state = |term, voted_for: Option<u64>| HardState { term: Term(term), voted_for: voted_for.map(NodeId) };
    let with_vote = |mut batch: Batch, term| {
        batch.0.hard_state = hard_state(term, Some(2));
        batch
    };
    let cases = [
        ("the log ends before it", with_vote(of_terms(7, &[2, 3]), 9), id(10, 3), hard_state(9, Some(2))),
        ("another entry stands there", with_vote(of_terms(7, &[2, 2, 2, 2, 2]), 9), id(10, 3), hard_state(9, Some(2))),
        ("it is of a later term, so the vote is over", with_vote(of_terms(7, &[2, 3]), 4), id(10, 5), hard_state(5, None)),
        ("it is of this term", with_vote(of_terms(7, &[2, 3]), 5), id(10, 5), hard_state(5, Some(2))),
        ("the entry before the log is another", with_vote(seal(11, 2), 9), id(10, 3), hard_state(9, Some(2))),
    ];
    for (what, batch, last, expected) in cases {
        let opened = open_rest(&[vec![batch]], Some(last)).expect(what);
        assert_eq!((shape(&opened), opened.hard_state), ((last, vec![]), expected), "{what}");
        assert_eq!((opened.commit_index, opened.last_time_ms), (last.index, 77), "{what}");
    }
}

#[test]
fn a_log_with_nothing_left_of_what_was_dropped_before_is_refused() {
    let disk = disk_with(3, &[], Some(id(10, 3)));
    let opened = recover(&mut disk.clone(), CLUSTER, 4096).map(|recovery| recovery.recovered);
    assert!(matches!(opened, Err(OpenError::Corrupt { segment: SegmentName(2), damage: Damage::Missing, .. })), "{opened:?}");
}
