//! A node's disk with snapshots, and the model of what it must give back: what was acknowledged, and what may have happened besides.

use std::collections::BTreeMap;

use data::fake::FakeDisk;
use data::{OpenError, SaveStatus, SnapshotMeta, Store, StoreError};
use raft::{EntryId, HardState, Index, Term};

use crate::common::{SMALL, entry, first_entry, identity, new_disk, save, term_of, vote};
use crate::snapshots::{content, id, take};

/// The content of the snapshot that ends with `last`: another for each, some of several chunks.
pub(crate) fn state_at(last: EntryId) -> Vec<u8> {
    let len = [200, 70_000, 0, 3000, 140_000][usize::try_from((last.index.0 + last.term.0) % 5).expect("below 5")];
    content(len + usize::try_from(last.index.0).expect("tests are short"))
}

/// The file of that snapshot, as a peer would send it.
pub(crate) fn file_of(last: EntryId) -> Vec<u8> {
    let disk = new_disk();
    let (mut store, _) = Store::open(disk, &identity(), SMALL).expect("a new log opens");
    let entries: Vec<Vec<u8>> = (2..=last.index.0).map(|_| entry(last.term.0, b"")).collect();
    save(&mut store, vote(last.term.0, 0), 1, 2, &entries).expect("the disk is healthy");
    let info = take(&mut store, last, &state_at(last));
    let mut bytes = Vec::new();
    let len = store.read_snapshot(last, 0, usize::MAX, &mut bytes).expect("the disk is healthy");
    assert_eq!((len, bytes.len() as u64), (Some(info.len), info.len));
    bytes
}

/// Something that must be there after it was acknowledged, and may be before.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Save {
        hard_state: HardState,
        commit_index: u64,
        first: u64,
        entries: Vec<Vec<u8>>,
    },
    /// A snapshot, taken or received, has its name.
    Named(EntryId),
    Installed(EntryId, HardState),
}

/// Everything that a disk has promised.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Model {
    pub(crate) hard_state: HardState,
    pub(crate) commit_index: u64,
    pub(crate) snapshot: Option<EntryId>,
    /// The entry before the first that was ever there since the last installation.
    pub(crate) base: EntryId,
    pub(crate) entries: BTreeMap<u64, Vec<u8>>,
}

/// What a start shows, besides the tail below the snapshot.
#[derive(PartialEq, Eq, Debug)]
struct Shown {
    hard_state: HardState,
    commit_index: u64,
    snapshot: Option<EntryId>,
    /// Above the snapshot.
    entries: Vec<(u64, Vec<u8>)>,
}

impl Model {
    /// After `init`.
    pub(crate) fn new() -> Model {
        let entries = BTreeMap::from([(1, first_entry())]);
        Model { hard_state: HardState::default(), commit_index: 1, snapshot: None, base: id(0, 0), entries }
    }

    pub(crate) fn last_index(&self) -> u64 {
        self.entries.keys().last().copied().unwrap_or(self.base.index.0)
    }

    pub(crate) fn covered(&self) -> u64 {
        self.snapshot.map_or(0, |last| last.index.0)
    }

    pub(crate) fn id_at(&self, index: u64) -> EntryId {
        match self.entries.get(&index) {
            Some(entry) => id(index, term_of(entry)),
            None => {
                assert_eq!(index, self.base.index.0, "neither an entry nor the base");
                self.base
            }
        }
    }

    pub(crate) fn holds(&self, last: EntryId) -> bool {
        (self.base.index.0..=self.last_index()).contains(&last.index.0) && self.id_at(last.index.0) == last
    }

    pub(crate) fn apply(&mut self, change: &Change) {
        match change {
            Change::Save { hard_state, commit_index, first, entries } => {
                (self.hard_state, self.commit_index) = (*hard_state, *commit_index);
                if !entries.is_empty() {
                    self.entries.split_off(first);
                    self.entries.extend((*first..).zip(entries.iter().cloned()));
                }
            }
            Change::Named(last) => {
                self.snapshot = Some(*last);
                self.commit_index = self.commit_index.max(last.index.0);
            }
            Change::Installed(last, hard_state) => {
                (self.hard_state, self.commit_index, self.base) = (*hard_state, last.index.0, *last);
                self.entries.clear();
            }
        }
    }

    /// What the next start makes of it: a snapshot that does not end in the log takes its place.
    pub(crate) fn recovered(&self) -> Model {
        let mut model = self.clone();
        if let Some(last) = self.snapshot.filter(|last| !self.holds(*last)) {
            let HardState { term, voted_for } = self.hard_state;
            let hard_state = HardState { term: term.max(last.term), voted_for: voted_for.filter(|_| last.term <= term) };
            model.apply(&Change::Installed(last, hard_state));
        }
        model.commit_index = model.commit_index.max(model.covered()).min(model.last_index());
        model
    }

    fn shown(&self) -> Shown {
        let entries = self.entries.range(self.covered() + 1..).map(|(index, entry)| (*index, entry.clone())).collect();
        Shown { hard_state: self.hard_state, commit_index: self.commit_index, snapshot: self.snapshot, entries }
    }
}

/// What is known of a disk.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) acknowledged: Model,
    /// Begun and not acknowledged: each may have happened or not.
    pub(crate) under_way: Vec<Change>,
    /// The base that was compacted to.
    pub(crate) compacted_to: u64,
}

impl Known {
    pub(crate) fn new() -> Known {
        Known { acknowledged: Model::new(), under_way: Vec::new(), compacted_to: 0 }
    }

    /// Everything the disk may say now.
    fn possible(&self) -> Vec<Model> {
        let mut models = vec![self.acknowledged.clone()];
        for change in &self.under_way {
            for mut model in models.clone() {
                model.apply(change);
                models.push(model);
            }
        }
        models.iter().map(Model::recovered).collect()
    }

    /// Opens the disk, which must be one of the things that it may be, and settles on it.
    pub(crate) fn open(&mut self, disk: &FakeDisk) -> Result<Store<FakeDisk>, OpenError> {
        let (mut store, recovered) = Store::open(disk.clone(), &identity(), SMALL)?;
        let mut entries = Vec::new();
        let mut bytes = Vec::new();
        if store.first_index() <= store.last_index() {
            store.read(store.first_index(), store.last_index(), &mut bytes).expect("what was recovered can be read");
        }
        for meta in &recovered.entries {
            let rest = bytes.split_off(meta.encoded_len());
            entries.push((meta.index.0, std::mem::replace(&mut bytes, rest)));
        }
        assert!(bytes.is_empty());
        let snapshot = recovered.snapshot.map(|info| info.meta.last);
        let covered = snapshot.map_or(0, |last| last.index.0);
        let (tail, above): (Vec<_>, Vec<_>) = entries.into_iter().partition(|(index, _)| *index <= covered);
        let (hard_state, commit_index) = (recovered.hard_state, recovered.commit_index.0);
        let shown = Shown { hard_state, commit_index, snapshot, entries: above };
        let possible = self.possible();
        let Some(model) = possible.iter().find(|model| model.shown() == shown) else {
            panic!("the disk says {shown:?}\nwhat may be is {possible:#?}");
        };
        // The tail is no promise, but what is there of it is true, and not more is gone than was compacted away, and one entry.
        for (index, entry) in &tail {
            assert_eq!(Some(entry), model.entries.get(index), "entry {index} of the tail");
        }
        let base = recovered.base;
        assert_eq!(base, model.id_at(base.index.0));
        let lowest = if model.base.index.0 == covered { covered } else { self.compacted_to + 1 };
        assert!(base.index.0 <= covered.min(lowest.max(model.base.index.0)), "base {base} after compaction to {}", self.compacted_to);
        *self = Known { acknowledged: model.clone(), under_way: Vec::new(), compacted_to: base.index.0 };
        self.check(&store);
        if let Some(last) = snapshot {
            let mut loaded = Vec::new();
            store.load_snapshot(|piece| loaded.extend_from_slice(piece)).expect("a snapshot that has a name is whole");
            assert!(loaded == state_at(last), "the content of {last}");
            assert_eq!(recovered.snapshot.map(|info| info.meta.time_ms), Some(covered * 10));
        }
        Ok(store)
    }

    /// What a running store says of itself.
    pub(crate) fn check(&self, store: &Store<FakeDisk>) {
        let model = &self.acknowledged;
        let len = |index: u64| model.entries.get(&index).map_or(0, |entry| entry.len() as u64);
        let (covered, last) = (model.covered(), model.last_index());
        assert_eq!(store.log_entries(), last.saturating_sub(covered.max(store.first_index().0 - 1)));
        assert_eq!(store.log_bytes(), 16 + (covered + 1..=last).map(len).sum::<u64>());
        let first = store.first_index().0;
        assert!(store.holds(model.id_at(first - 1)), "the base is {}", model.id_at(first - 1));
        if !model.holds(id(covered, model.snapshot.map_or(0, |last| last.term.0))) {
            return; // to be installed
        }
        for bytes_max in [0, 1, 500, 2000, 10_000, u64::MAX] {
            let fits = |base: &u64| (base + 1..=covered).map(len).sum::<u64>() <= bytes_max;
            let expected = (first - 1..=covered.max(first - 1)).find(fits).expect("an empty tail fits");
            assert_eq!(store.tail_start(bytes_max), Index(expected), "a tail of {bytes_max} bytes");
        }
    }
}

/// A running node, of which everything is known.
pub(crate) struct Node<'a> {
    pub(crate) store: Store<FakeDisk>,
    pub(crate) known: &'a mut Known,
    /// The rest of the content of the snapshot that is being taken.
    pub(crate) untaken: Option<(EntryId, Vec<u8>)>,
    /// The file of the snapshot that is being received.
    pub(crate) incoming: Option<(EntryId, Vec<u8>)>,
    /// Snapshots given up for want of space.
    pub(crate) given_up: u64,
}

impl<'a> Node<'a> {
    pub(crate) fn open(disk: &FakeDisk, known: &'a mut Known) -> Result<Node<'a>, OpenError> {
        let store = known.open(disk)?;
        Ok(Node { store, known, untaken: None, incoming: None, given_up: 0 })
    }

    pub(crate) fn model(&self) -> &Model {
        &self.known.acknowledged
    }

    /// Does something that changes what the disk promises. `None`: it was given up.
    fn change<T>(
        &mut self,
        change: Change,
        act: impl FnOnce(&mut Store<FakeDisk>) -> Result<Option<T>, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        self.known.under_way.push(change);
        let done = act(&mut self.store)?;
        let change = self.known.under_way.pop().expect("it was put there");
        if done.is_some() {
            self.known.acknowledged.apply(&change);
        }
        Ok(done)
    }

    /// Saves entries from `first` on. `false`: the sync is pending, and the change stays under way.
    pub(crate) fn save(&mut self, hard_state: HardState, commit_index: u64, first: u64, entries: &[Vec<u8>]) -> Result<bool, StoreError> {
        let change = Change::Save { hard_state, commit_index, first, entries: entries.to_vec() };
        let synced = self.change(change.clone(), |store| {
            Ok(Some(save(store, hard_state, commit_index, first, entries)?).filter(|status| *status == SaveStatus::Synced))
        })?;
        if synced.is_none() {
            self.known.under_way.push(change);
        }
        Ok(synced.is_some())
    }

    /// One entry more, of the current term.
    pub(crate) fn append(&mut self, payload_len: usize) -> Result<(), StoreError> {
        let Model { hard_state, commit_index, .. } = *self.model();
        let next = self.model().last_index() + 1;
        self.save(hard_state, commit_index, next, &[entry(hard_state.term.0, &vec![0x5a; payload_len])]).map(|_| ())
    }

    /// Everything is committed.
    pub(crate) fn commit(&mut self) -> Result<(), StoreError> {
        let (hard_state, last) = (self.model().hard_state, self.model().last_index());
        self.save(hard_state, last, last + 1, &[]).map(|_| ())
    }

    pub(crate) fn prepare(&mut self) -> Result<(), StoreError> {
        if self.store.needs_prepare() { self.store.prepare_slice() } else { Ok(()) }
    }

    pub(crate) fn begin_taking(&mut self, index: u64) -> Result<(), StoreError> {
        let last = self.model().id_at(index);
        self.store.begin_snapshot(SnapshotMeta { last, time_ms: index * 10 })?;
        self.untaken = Some((last, state_at(last)));
        self.given_up += u64::from(!self.store.snapshot_in_progress());
        Ok(())
    }

    /// Writes a slice, or finishes. Whether it is over.
    pub(crate) fn go_on_taking(&mut self, slice_len: usize) -> Result<bool, StoreError> {
        if !self.store.snapshot_in_progress() {
            self.untaken = None;
        }
        let Some((last, mut rest)) = self.untaken.take() else { return Ok(true) };
        if rest.is_empty() {
            self.given_up += u64::from(self.change(Change::Named(last), Store::finish_snapshot)?.is_none());
            return Ok(true);
        }
        let later = rest.split_off(rest.len().min(slice_len));
        self.store.write_snapshot(&rest)?;
        self.given_up += u64::from(!self.store.snapshot_in_progress());
        self.untaken = Some((last, later));
        Ok(false)
    }

    pub(crate) fn take(&mut self, index: u64, slice_len: usize) -> Result<(), StoreError> {
        self.begin_taking(index)?;
        while !self.go_on_taking(slice_len)? {}
        Ok(())
    }

    pub(crate) fn compact(&mut self, index: u64) -> Result<(), StoreError> {
        self.store.compact(Index(index))?;
        self.known.compacted_to = self.known.compacted_to.max(index);
        Ok(())
    }

    pub(crate) fn trim(&mut self) -> Result<bool, StoreError> {
        let needed = self.store.needs_trim();
        self.store.trim_slice()?;
        Ok(needed)
    }

    pub(crate) fn begin_receiving(&mut self, last: EntryId) -> Result<(), StoreError> {
        self.store.begin_incoming(last)?;
        self.incoming = Some((last, file_of(last)));
        self.given_up += u64::from(self.store.incoming_len().is_none());
        Ok(())
    }

    /// Writes a piece, or finishes and installs. Whether it is over.
    pub(crate) fn go_on_receiving(&mut self, piece_len: usize) -> Result<bool, StoreError> {
        let Some((last, offset)) = self.store.incoming_len() else {
            self.incoming = None;
            return Ok(true);
        };
        let (_, file) = self.incoming.as_ref().expect("it is being received");
        let rest = &file[usize::try_from(offset).expect("short")..];
        if !rest.is_empty() {
            self.store.write_incoming(&rest[..rest.len().min(piece_len)])?;
            self.given_up += u64::from(self.store.incoming_len().is_none());
            return Ok(false);
        }
        self.incoming = None;
        let newer = self.model().snapshot.is_none_or(|newest| newest < last);
        let named = self.change(Change::Named(last), Store::finish_incoming)?;
        self.given_up += u64::from(named.is_none() && newer);
        assert!(newer || named.is_none(), "an older snapshot took a newer one's place");
        if named.is_some() && !self.model().holds(last) {
            // The leader that sent it may be of a later term than any that was saved.
            let HardState { term, voted_for } = self.model().recovered().hard_state;
            let later = HardState { term: term.next(), voted_for: None };
            self.install(last, if last.index.0 % 3 == 0 { HardState { term, voted_for } } else { later })?;
        }
        Ok(true)
    }

    pub(crate) fn install(&mut self, last: EntryId, hard_state: HardState) -> Result<(), StoreError> {
        assert!(!self.store.holds(last));
        self.change(Change::Installed(last, hard_state), |store| store.install(last, hard_state).map(Some))?;
        self.known.compacted_to = 0;
        Ok(())
    }

    pub(crate) fn receive(&mut self, last: EntryId, piece_len: usize) -> Result<(), StoreError> {
        self.begin_receiving(last)?;
        while !self.go_on_receiving(piece_len)? {}
        Ok(())
    }

    /// A term begins, with a vote or without.
    pub(crate) fn new_term(&mut self, voted_for: u64) -> Result<(), StoreError> {
        let Model { hard_state: HardState { term: Term(term), .. }, commit_index, .. } = *self.model();
        let next = self.model().last_index() + 1;
        self.save(vote(term + 1, voted_for), commit_index, next, &[]).map(|_| ())
    }
}
