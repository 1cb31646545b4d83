//! What a turn hands to the embedding, and the promises that wait for the disk.
//!
//! A *promise* is a message that says "this is on my disk": a vote, a vote request, an acknowledgement. Each names the save that
//! makes it true, and leaves once that save has finished.

use alloc::vec::Vec;
use core::hash::{Hash, Hasher};

use crate::message::{AppendOutcome, Message};
use crate::reads::ReadId;
use crate::types::{EntryMeta, HardState, Index, NodeId, Term};

/// Names a save; they count up from 1 and finish in order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct SaveToken(pub u64);

/// The first half of a turn.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Ready {
    /// A leader's appends, offers and heartbeats, and read traffic: they leave at once. The bytes of an append's entries travel beside it.
    pub appends: Vec<(NodeId, Message)>,
    /// To be written and synced as one batch. `None` while another save is outstanding, or if nothing changed.
    pub save: Option<Save>,
}

/// What must reach the disk, whole.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Save {
    /// To be handed back through [`Raft::saved`](crate::Raft::saved).
    pub token: SaveToken,
    /// Term and vote.
    pub hard_state: HardState,
    /// Committed as of now: a hint that lets a restarted node apply without waiting for a leader.
    pub commit_index: Index,
    /// Consecutive. They may start at or below the last saved index: they replace everything from there. None: the hard state only.
    pub entries: Vec<EntryMeta>,
}

/// The second half of a turn: what the finished saves allow.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Released {
    /// Votes, vote requests, acknowledgements, answers to heartbeats.
    pub promises: Vec<(NodeId, Message)>,
    /// First and last position to apply, both included: committed, on this node's disk, and not handed out before.
    pub committed: Option<(Index, Index)>,
    /// Confirmed reads: to be answered once this much is applied.
    pub reads: Vec<(ReadId, Index)>,
    /// Reads that will not be confirmed: leadership was lost, or the leader did not answer.
    pub reads_failed: Vec<ReadId>,
}

/// What was handed to the disk, and what waits for it.
#[derive(Clone, Debug)]
pub(crate) struct Saves {
    /// The last save issued.
    issued: SaveToken,
    /// The last save finished; the one before `issued` if that one is outstanding.
    finished: SaveToken,
    /// The hard state in the save issued last.
    saving: HardState,
    /// The hard state on disk.
    saved: HardState,
    promises: Vec<Promise>,
}

#[derive(Clone, Debug)]
struct Promise {
    relies_on: SaveToken,
    to: NodeId,
    message: Message,
}

impl Saves {
    pub(crate) fn recovered(hard_state: HardState) -> Saves {
        Saves { issued: SaveToken(0), finished: SaveToken(0), saving: hard_state, saved: hard_state, promises: Vec::new() }
    }

    pub(crate) fn is_outstanding(&self) -> bool {
        self.finished < self.issued
    }

    /// The hard state on disk.
    pub(crate) fn saved_hard_state(&self) -> HardState {
        self.saved
    }

    /// Whether this hard state was given to no save yet.
    pub(crate) fn is_unsaved(&self, hard_state: HardState) -> bool {
        self.saving != hard_state
    }

    pub(crate) fn issue(&mut self, hard_state: HardState) -> SaveToken {
        assert!(!self.is_outstanding(), "save {:?} is still outstanding", self.issued);
        self.saving = hard_state;
        self.issued = SaveToken(self.issued.0 + 1);
        self.issued
    }

    pub(crate) fn finish(&mut self, token: SaveToken) {
        assert!(self.is_outstanding() && token == self.issued, "save {token:?} finished, but {:?} was issued", self.issued);
        self.finished = token;
        self.saved = self.saving;
    }

    /// Queues a message that relies on everything this node has decided so far. `dirty`: part of that was given to no save yet.
    pub(crate) fn promise(&mut self, dirty: bool, to: NodeId, message: Message) {
        let relies_on = if dirty { SaveToken(self.issued.0 + 1) } else { self.issued };
        self.promises.push(Promise { relies_on, to, message });
    }

    /// Queues a message that relies on nothing.
    pub(crate) fn say(&mut self, to: NodeId, message: Message) {
        self.promises.push(Promise { relies_on: SaveToken(0), to, message });
    }

    /// A new term began. Unsaid promises of older terms help nobody any more, and some stop being true: an acknowledged entry may be
    /// overwritten by the new leader before the save that should have held it was even issued.
    pub(crate) fn forget_promises(&mut self) {
        self.promises.clear();
    }

    /// A snapshot has replaced the log, and all of it is on disk. Acknowledgements of what the log held are void; the rest relied on no
    /// more than the hard state. `dirty`: that was given to no save yet.
    pub(crate) fn log_replaced(&mut self, dirty: bool) {
        assert!(!self.is_outstanding(), "save {:?} is still outstanding", self.issued);
        self.promises.retain(|promise| !matches!(promise.message, Message::AppendReply { .. }));
        if !dirty {
            self.promises.iter_mut().for_each(|promise| promise.relies_on = promise.relies_on.min(self.issued));
        }
    }

    /// For [`Raft::hash_without_clocks`](crate::Raft::hash_without_clocks). Saves count up for ever; only the distance to the last finished
    /// one matters.
    pub(crate) fn hash_distances(&self, hasher: &mut impl Hasher) {
        let Saves { issued, finished, saving, saved, promises } = self;
        (issued.0 - finished.0, saving, saved, promises.len()).hash(hasher);
        for Promise { relies_on, to, message } in promises {
            (relies_on.0.saturating_sub(finished.0), to, message).hash(hasher);
        }
    }

    pub(crate) fn has_promises(&self) -> bool {
        !self.promises.is_empty()
    }

    pub(crate) fn has_released(&self) -> bool {
        self.promises.iter().any(|promise| promise.relies_on <= self.finished)
    }

    /// Takes the promises that are true on disk, in the order they were made.
    pub(crate) fn take_released(&mut self, term: Term, stable: Index) -> Vec<(NodeId, Message)> {
        let finished = self.finished;
        let released = self.promises.extract_if(.., |promise| promise.relies_on <= finished);
        let released: Vec<(NodeId, Message)> = released.map(|promise| (promise.to, promise.message)).collect();
        for (to, message) in &released {
            if let Message::AppendReply { term: promised, outcome: AppendOutcome::Accepted { match_index } } = message {
                assert_eq!(*promised, term, "an acknowledgement to {to} outlived its term");
                assert!(*match_index <= stable, "acknowledged {match_index} to {to}, but only {stable} is on disk");
            }
        }
        released
    }
}
