//! Any crash at any step: what was acknowledged comes back, and what was under way comes back whole or not at all.

use data::fake::FakeDisk;
use data::{InitError, SaveStatus, Store, StoreError, init, read_identity};
use fastrand::Rng;
use raft::HardState;

use crate::common::{Content, SMALL, entry, first_entry, identity, new_disk, open, save, term_of, vote};

/// A node's log through many lives. The model knows what was acknowledged, and what was under way when the life ended.
struct Lives {
    rng: Rng,
    disk: FakeDisk,
    acknowledged: Content,
    under_way: Option<Content>,
    counts: Counts,
}

/// What happened, so that a run in which nothing did can be told from one that passed.
#[derive(Default, Debug)]
struct Counts {
    saves: u64,
    crashes: u64,
    failures: u64,
    kept: u64,
    dropped: u64,
    recoveries_cut_short: u64,
    segments: u64,
}

impl Lives {
    fn new(seed: u64) -> Lives {
        let counts = Counts::default();
        Lives { rng: Rng::with_seed(seed), disk: new_disk(), acknowledged: Content::new(), under_way: None, counts }
    }

    /// One life: open, work, end somehow.
    fn live(&mut self) {
        let mut store = self.recover();
        let steps = self.rng.u64(..60);
        match self.rng.u8(..6) {
            0 => self.disk.stop_after(steps),
            1 => self.disk.fail_sync_after(steps / 3),
            2 => self.disk.fail_write_after(steps / 3),
            _ => {}
        }
        for _ in 0..self.rng.u8(..25) {
            let acted = self.act(&mut store);
            if self.disk.sync_is_held() {
                break;
            }
            if let Err(error) = acted {
                self.counts.failures += 1;
                // Once it failed, it fails for ever.
                assert!(!matches!(error, StoreError::Poisoned), "poisoned without a failure");
                let after = save(&mut store, vote(1 << 40, 0), self.acknowledged.commit_index, 0, &[]);
                assert!(matches!(after, Err(StoreError::Poisoned)), "{after:?}");
                assert!(matches!(store.seal(), Err(StoreError::Poisoned)));
                assert!(matches!(store.prepare_slice(), Err(StoreError::Poisoned)));
                break;
            }
        }
        self.end_life();
    }

    fn act(&mut self, store: &mut Store<FakeDisk>) -> Result<(), StoreError> {
        match self.rng.u8(..10) {
            0 => store.seal(),
            1..4 => {
                if store.needs_prepare() {
                    store.prepare_slice()?;
                }
                Ok(())
            }
            _ => {
                let (hard_state, commit_index, first, entries) = self.draw_save();
                self.under_way = Some(self.acknowledged.after(hard_state, commit_index, first, &entries));
                self.disk.hold_syncs(self.rng.u8(..8) == 0);
                if save(store, hard_state, commit_index, first, &entries)? == SaveStatus::Pending {
                    assert!(store.poll_saved()?.is_none(), "a sync finished by itself");
                    assert!(!store.needs_prepare() && !store.needs_seal(), "work beside a pending save");
                    if self.rng.bool() {
                        return Ok(()); // the life ends with the sync under way
                    }
                    self.disk.finish_sync();
                    assert!(store.poll_saved()?.is_some());
                }
                self.counts.saves += 1;
                self.acknowledged = self.under_way.take().expect("it was put there");
                Ok(())
            }
        }
    }

    /// A save that raft might ask for: terms and votes do not fall, committed entries are not replaced.
    fn draw_save(&mut self) -> (HardState, u64, u64, Vec<Vec<u8>>) {
        let Content { hard_state, commit_index, .. } = self.acknowledged;
        let next = self.acknowledged.last_index() + 1;
        let hard_state = match self.rng.u8(..5) {
            0 => vote(hard_state.term.0 + 1, self.rng.u64(..4)),
            1 if hard_state.voted_for.is_none() && hard_state.term.0 > 0 => vote(hard_state.term.0, self.rng.u64(1..4)),
            _ => hard_state,
        };
        if self.rng.u8(..6) == 0 {
            return (hard_state, commit_index, next, Vec::new());
        }
        let first = if self.rng.u8(..4) == 0 { self.rng.u64(commit_index + 1..=next) } else { next };
        let lowest = self.acknowledged.entries.get(crate::common::position(first) - 1).map_or(0, |entry| term_of(entry));
        let term = self.rng.u64(lowest..=hard_state.term.0);
        let entries: Vec<Vec<u8>> = (0..self.rng.u8(1..4))
            .map(|_| {
                let len = match self.rng.u8(..24) {
                    0 | 1 => self.rng.usize(..40_000),
                    2 => self.rng.usize(..6000),
                    3 => 0,
                    _ => self.rng.usize(..300),
                };
                let fill = [0, 0xff, self.rng.u8(..)][self.rng.usize(..3)];
                entry(term, &vec![fill; len])
            })
            .collect();
        let last = first + entries.len() as u64 - 1;
        (hard_state, self.rng.u64(commit_index..=last), first, entries)
    }

    fn end_life(&mut self) {
        self.counts.crashes += 1;
        match self.rng.u8(..4) {
            0 => self.disk.kill(),
            1 => self.disk.crash_losing_all(),
            _ => self.disk.crash(self.rng.u64(..)),
        }
        self.disk.hold_syncs(false);
    }

    /// Opens the log, maybe after attempts that were cut short, and compares it with the model.
    fn recover(&mut self) -> Store<FakeDisk> {
        while self.rng.u8(..3) == 0 {
            self.disk.stop_after(self.rng.u64(..8));
            let attempt = open(&self.disk);
            if attempt.is_err() {
                self.counts.recoveries_cut_short += 1;
            }
            if let (Ok((_, found)), Some(under_way)) = (attempt, &self.under_way) {
                // What a finished recovery has shown to raft must stay.
                let kept = found == *under_way;
                self.settle(kept);
            }
            self.end_life();
        }
        let (mut store, mut found) = open(&self.disk).expect("no crash leaves damage");
        if let Some(under_way) = &self.under_way {
            let kept = found == *under_way;
            self.settle(kept);
        }
        assert_eq!(found, self.acknowledged);
        if self.rng.u8(..4) == 0 {
            self.disk.crash_losing_all();
            (store, found) = open(&self.disk).expect("no crash leaves damage");
            assert_eq!(found, self.acknowledged, "recovery showed what was not durable");
        }
        store
    }

    fn settle(&mut self, kept: bool) {
        let under_way = self.under_way.take().expect("something was under way");
        if kept {
            self.counts.kept += 1;
            self.acknowledged = under_way;
        } else {
            self.counts.dropped += 1;
        }
    }
}

#[test]
fn random_lives_lose_nothing_and_invent_nothing() {
    let mut total = Counts::default();
    for seed in 0..3000 {
        let mut lives = Lives::new(seed);
        let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..6 {
                lives.live();
            }
            lives.recover();
            lives.counts.segments = lives.disk.files().len() as u64 - 2; // identity and spare
        }));
        if let Err(panic) = run {
            eprintln!("seed={seed}");
            std::panic::resume_unwind(panic);
        }
        let Counts { saves, crashes, failures, kept, dropped, recoveries_cut_short, segments } = lives.counts;
        total.saves += saves;
        total.crashes += crashes;
        total.failures += failures;
        total.kept += kept;
        total.dropped += dropped;
        total.recoveries_cut_short += recoveries_cut_short;
        total.segments += segments;
    }
    let Counts { saves, crashes, failures, kept, dropped, recoveries_cut_short, segments } = total;
    let lives = [(saves, 50_000), (crashes, 10_000), (failures, 2000), (segments, 8000)];
    let ends = [(kept, 500), (dropped, 500), (recoveries_cut_short, 1000)];
    assert!(lives.iter().chain(&ends).all(|(count, least)| least <= count), "too little happened: {total:?}");
}

/// A fixed life: small and large saves through several segments, with slices in between. Ends at the first failure.
fn fixed_life(disk: &FakeDisk, acknowledged: &mut Content, under_way: &mut Option<Content>) -> Result<(), StoreError> {
    let Ok((mut store, found)) = open(disk) else { return Err(StoreError::Poisoned) };
    assert_eq!(found, *acknowledged);
    let mut save = |store: &mut Store<FakeDisk>, hard_state, first, payload_len: usize| {
        let entries: Vec<Vec<u8>> = (0..payload_len.min(1)).map(|_| entry(1, &vec![0x77; payload_len])).collect();
        *under_way = Some(acknowledged.after(hard_state, 1, first, &entries));
        save(store, hard_state, 1, first, &entries)?;
        *acknowledged = under_way.take().expect("it was put there");
        Ok::<(), StoreError>(())
    };
    save(&mut store, vote(1, 1), 2, 0)?;
    // Fills the first segment but for a little.
    save(&mut store, vote(1, 1), 2, 62_000)?;
    for round in 0..8 {
        while round % 2 == 0 && store.needs_prepare() {
            store.prepare_slice()?;
        }
        save(&mut store, vote(1, 1), 3, 1500 + round * 200)?;
        store.seal()?;
    }
    // Longer than the prepared segment; the spare is complete by now.
    while store.needs_prepare() {
        store.prepare_slice()?;
    }
    save(&mut store, vote(2, 0), 2, 9000)?;
    save(&mut store, vote(2, 3), 3, 100)?;
    store.seal()
}

#[test]
fn a_crash_at_every_step_of_rolling_to_other_segments() {
    let disk = new_disk();
    fixed_life(&disk, &mut Content::new(), &mut None).expect("nothing fails");
    let segments = disk.files().len();
    assert!(7 <= segments, "too few segments to show anything: {segments}");
    let all_steps = disk.steps();
    let mut cut_short = 0;
    for steps in 0..all_steps {
        let disk = new_disk();
        let (mut acknowledged, mut under_way) = (Content::new(), None);
        disk.stop_after(steps);
        cut_short += u64::from(fixed_life(&disk, &mut acknowledged, &mut under_way).is_err());
        for seed in 0..6 {
            let disk = disk.fork();
            disk.crash(seed);
            let found = recover_through_crashes(&disk, &format!("step {steps}, seed {seed}"));
            assert!(found == acknowledged || Some(&found) == under_way.as_ref(), "step {steps}, seed {seed}: {found:?}");
        }
    }
    assert!(all_steps / 2 < cut_short, "few of {all_steps} steps were reached");
}

/// Opens the log; every recovery cut short at one of its steps, and then finished, must come to the same.
fn recover_through_crashes(disk: &FakeDisk, what: &str) -> Content {
    let straight = disk.fork();
    let before = straight.steps();
    let (_, found) = open(&straight).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(open(&straight).expect("it was just opened").1, found, "{what}: the second recovery");
    for steps in 0..straight.steps() - before {
        let disk = disk.fork();
        disk.stop_after(steps);
        let attempt = open(&disk).map(|(_, content)| content).ok();
        disk.crash(steps ^ 0x9e37);
        let (_, after) = open(&disk).unwrap_or_else(|error| panic!("{what}, then step {steps} of recovery: {error}"));
        // A batch that recovery has only begun to write again may be lost with it, as long as nobody was told of it.
        assert!(attempt.is_none_or(|attempt| attempt == after), "{what}, then step {steps} of recovery: what was shown is gone");
    }
    found
}

#[test]
fn a_failure_at_every_write_and_sync_stops_the_log_and_loses_nothing() {
    let healthy = new_disk();
    fixed_life(&healthy, &mut Content::new(), &mut None).expect("nothing fails");
    for (what, fail) in [("write", FakeDisk::fail_write_after as fn(&FakeDisk, u64)), ("sync", FakeDisk::fail_sync_after)] {
        let mut failures = 0;
        for nth in 0..healthy.steps() {
            let disk = new_disk();
            let (mut acknowledged, mut under_way) = (Content::new(), None);
            fail(&disk, nth);
            if fixed_life(&disk, &mut acknowledged, &mut under_way).is_ok() {
                break;
            }
            failures += 1;
            // First the process alone is gone: the page cache shows what the disk does not have. Then the power is cut.
            disk.kill();
            let (_, found) = open(&disk).unwrap_or_else(|error| panic!("{what} {nth}: {error}"));
            assert!(found == acknowledged || Some(&found) == under_way.as_ref(), "{what} {nth}: {found:?}");
            disk.crash_losing_all();
            let (_, after) = open(&disk).unwrap_or_else(|error| panic!("{what} {nth}: {error}"));
            assert_eq!(after, found, "{what} {nth}: recovery took the page cache's word");
        }
        assert!(30 < failures, "{what}: only {failures} failures");
    }
}

#[test]
fn a_crash_at_every_step_of_init_leaves_a_whole_directory_or_one_that_can_be_made_again() {
    let whole = FakeDisk::new();
    init(&mut whole.clone(), &identity(), &first_entry()).expect("nothing fails");
    let (mut finished, mut redone) = (0, 0);
    for steps in 0..whole.steps() {
        for seed in 0..60 {
            let mut disk = FakeDisk::new();
            disk.stop_after(steps);
            init(&mut disk, &identity(), &first_entry()).expect_err("it was cut short");
            disk.crash(seed);
            match read_identity(&mut disk).unwrap_or_else(|error| panic!("step {steps}, seed {seed}: {error}")) {
                Some(found) => {
                    finished += 1;
                    assert_eq!(found, identity());
                    assert!(matches!(init(&mut disk, &identity(), &first_entry()), Err(InitError::AlreadyInitialised)));
                }
                None => {
                    redone += 1;
                    // With other arguments, even: nothing of the first attempt is left.
                    let mut other = identity();
                    other.cluster_id = raft::ClusterId(5);
                    init(&mut disk, &other, &first_entry()).unwrap_or_else(|error| panic!("step {steps}, seed {seed}: {error}"));
                    let (_, recovered) = Store::open(disk.clone(), &other, SMALL).expect("a new log opens");
                    assert_eq!(recovered.entries.len(), 1);
                    assert_eq!(disk.files(), whole.files());
                    continue;
                }
            }
            // What was found may have been in the page cache only: from the first recovery on it is on the disk.
            for _ in 0..2 {
                assert_eq!(open(&disk).unwrap_or_else(|error| panic!("step {steps}, seed {seed}: {error}")).1, Content::new());
                disk.crash_losing_all();
                assert_eq!(read_identity(&mut disk).expect("it was there"), Some(identity()), "step {steps}, seed {seed}");
            }
        }
    }
    assert!(0 < finished && 100 < redone, "{finished} finished, {redone} redone");
}

#[test]
fn the_fake_disk_counts_what_its_crashes_took() {
    use data::Disk;
    let mut disk = FakeDisk::new();
    let file = disk.create("file").and_then(|file| disk.write_at(&file, 0, &[1; 2_000]).map(|()| file)).expect("it is healthy");
    disk.sync(&file).and_then(|()| disk.sync_dir("")).expect("it is healthy");
    disk.crash_losing_all();
    assert_eq!(disk.lost_sectors(), 0, "all was synced");
    let rewrite = |disk: &mut FakeDisk| {
        let file = disk.open("file").expect("it is there");
        // The first sector as it was, the second and the third not.
        disk.write_at(&file, 0, &[1; 512]).and_then(|()| disk.write_at(&file, 600, &[2; 600])).expect("it is healthy");
    };
    rewrite(&mut disk);
    disk.kill();
    assert_eq!(disk.lost_sectors(), 0, "the system lives on");
    disk.crash_losing_all();
    assert_eq!(disk.lost_sectors(), 2);
    rewrite(&mut disk);
    let file = disk.open("file").expect("it is there");
    disk.fail_sync_after(0);
    disk.sync(&file).expect_err("as it was told");
    disk.crash_losing_all();
    assert_eq!(disk.lost_sectors(), 4, "a failed sync saves nothing");
}
