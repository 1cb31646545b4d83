//! What survives a crash: a log in a vector, and the newest snapshot beside it.

use raft::*;

/// A snapshot: the state machine of these tests is the list of what was applied.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Snapshot {
    pub(crate) applied: Vec<EntryId>,
    pub(crate) membership: Membership,
}

#[derive(Clone, Default, Hash)]
pub(crate) struct Disk {
    pub(crate) hard_state: HardState,
    pub(crate) commit_index: Index,
    pub(crate) snapshot: Option<Snapshot>,
    /// The entry before `entries`.
    pub(crate) base: EntryId,
    pub(crate) entries: Vec<EntryMeta>,
}

impl Snapshot {
    /// The last entry that it replaces.
    pub(crate) fn last(&self) -> EntryId {
        *self.applied.last().expect("a snapshot holds something")
    }
}

impl Disk {
    pub(crate) fn write(&mut self, save: &Save) {
        self.hard_state = save.hard_state;
        self.commit_index = save.commit_index;
        if let Some(first) = save.entries.first() {
            let keep = usize::try_from(first.index.0 - self.base.index.0).unwrap() - 1;
            assert!(
                keep <= self.entries.len(),
                "a save begins at {} behind {} entries after {}",
                first.index,
                self.entries.len(),
                self.base
            );
            self.entries.truncate(keep);
            self.entries.extend(&save.entries);
        }
    }

    pub(crate) fn term_at(&self, index: Index) -> Option<Term> {
        if index == self.base.index {
            return Some(self.base.term);
        }
        let offset = index.0.checked_sub(self.base.index.0 + 1)?;
        self.entries.get(usize::try_from(offset).unwrap()).map(|entry| entry.term)
    }

    pub(crate) fn compact(&mut self, to: Index) {
        let term = self.term_at(to).expect("only what is on disk is compacted");
        self.entries.retain(|entry| to < entry.index);
        self.base = EntryId { index: to, term };
    }

    /// The base batch of an installed snapshot: nothing of the log is left.
    pub(crate) fn replace_log(&mut self, base: EntryId, hard_state: HardState) {
        *self = Disk { hard_state, commit_index: base.index, snapshot: self.snapshot.take(), base, entries: Vec::new() };
    }

    /// What a node does before it starts: the tail of the log is kept only if it holds the entry that the snapshot ends with.
    pub(crate) fn recover(&mut self) -> Recovered {
        let snapshot = self.snapshot.as_ref().map(Snapshot::last).unwrap_or_default();
        if self.term_at(snapshot.index) != Some(snapshot.term) {
            let raised = HardState { term: snapshot.term, voted_for: None };
            self.replace_log(snapshot, if self.hard_state.term < snapshot.term { raised } else { self.hard_state });
        }
        Recovered {
            hard_state: self.hard_state,
            commit_index: self.commit_index,
            applied_index: snapshot.index,
            snapshot,
            base: self.base,
            entries: self.entries.clone(),
            membership: Membership::default(),
        }
    }
}
