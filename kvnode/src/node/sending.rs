//! Snapshots on their way to peers that were away for longer than the log reaches back. The peer asks, a chunk at a time, so it is never
//! sent more than it can take, and goes on where it was after any break; this side only bounds how much leaves per tick.

use std::collections::BTreeMap;

use data::{Disk, Store};
use raft::{EntryId, NodeId};
use wire::peer::PeerFrame;

use crate::drive::Outbox;
use crate::error::NodeError;
use crate::limits::{CHUNKS_PER_TICK_MAX, REPEATS_SUSPECT, TRANSFER_SILENT_US_MAX};
use crate::node::Node;

/// What peers have asked for.
#[derive(Default)]
pub(crate) struct Sending {
    /// The last question of each that was not answered yet.
    asked: BTreeMap<NodeId, (EntryId, u64)>,
    /// What each is being sent.
    transfers: BTreeMap<NodeId, Transfer>,
    /// A peer has begun this one anew: it could not use what it was sent.
    suspect: Option<EntryId>,
    /// Chunks that may leave before the next tick.
    chunks_left: u32,
}

struct Transfer {
    last: EntryId,
    offset: u64,
    /// How often it asked for the same bytes in a row.
    repeats: u32,
    /// When it last asked.
    asked_us: u64,
}

impl Sending {
    /// A peer asks for the bytes of a snapshot from `offset` on.
    pub(crate) fn asked(&mut self, peer: NodeId, last: EntryId, offset: u64, now_us: u64) {
        self.asked.insert(peer, (last, offset));
        let before = self.transfers.get(&peer).filter(|before| before.last == last);
        let repeats = before.filter(|before| before.offset == offset).map_or(0, |before| before.repeats + 1);
        // It began anew, or gets no further: a chunk or two may be lost on the way, but not this many.
        if before.is_some_and(|before| offset < before.offset) || repeats >= REPEATS_SUSPECT {
            self.suspect = Some(last);
        }
        self.transfers.insert(peer, Transfer { last, offset, repeats, asked_us: now_us });
    }

    /// The file of this snapshot may be damaged, while the state it was taken from is not: it is to be taken again.
    pub(crate) fn suspects(&self, last: EntryId) -> bool {
        self.suspect == Some(last)
    }

    /// A new one is on the disk.
    pub(crate) fn trust(&mut self) {
        self.suspect = None;
    }

    pub(crate) fn tick(&mut self, now_us: u64) {
        self.chunks_left = CHUNKS_PER_TICK_MAX;
        self.transfers.retain(|_, transfer| now_us.saturating_sub(transfer.asked_us) < TRANSFER_SILENT_US_MAX);
    }

    pub(crate) fn has_work(&self) -> bool {
        !self.asked.is_empty() && self.chunks_left > 0
    }

    /// The oldest snapshot that somebody is being sent: it and the log behind it are still needed.
    pub(crate) fn pinned(&self) -> Option<EntryId> {
        self.transfers.values().map(|transfer| transfer.last).min_by_key(|last| last.index)
    }
}

/// Answers what was asked, as far as this tick allows.
pub(crate) fn send<D: Disk>(node: &mut Node, store: &mut Store<D>, outbox: &mut impl Outbox) -> Result<(), NodeError> {
    store.pin_snapshot(node.sending.pinned());
    let mut bytes = Vec::new();
    while node.sending.chunks_left > 0
        && let Some((peer, (last, offset))) = node.sending.asked.pop_first()
    {
        bytes.clear();
        // A snapshot that is gone is not answered for: the next heartbeat brings the offer of a newer one.
        if let Some(file_len) = store.read_snapshot(last, offset, node.config.bounds.chunk_bytes_max, &mut bytes)? {
            outbox.send_beside(peer, &PeerFrame::SnapshotChunk { last, file_len, offset, bytes: &bytes });
            node.sending.chunks_left -= 1;
        } else {
            node.reached.mark("a snapshot that is asked for is gone");
        }
    }
    Ok(())
}
