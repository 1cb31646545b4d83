//! A snapshot on its way to this node, which was away for longer than its leader's log reaches back.
//!
//! Raft is offered one and names it. This side asks for it a chunk at a time; each chunk is written, flushed, checked and loaded into a
//! state of its own as it comes, while the old state goes on answering stale reads. When the last has come, the file gets its name, the
//! log begins anew behind it with one synced batch, and only then raft hears of it and the new state takes the place of the old one.
//! A transfer that breaks off goes on where it was, from whoever leads then, as long as that one offers the same snapshot.

use data::{Disk, SnapshotDecoder, SnapshotMeta, Store};
use raft::{EntryId, HardState, Membership, NodeId};
use wire::peer::PeerFrame;

use crate::drive::Outbox;
use crate::error::NodeError;
use crate::image::{Image, ImageError, Loading};
use crate::limits::{ASKED_IN_VAIN_MAX, TRANSFER_ASK_AGAIN_US, TRANSFER_PAUSE_US};
use crate::node::{Event, Node};

/// At most one snapshot at a time.
#[derive(Default)]
pub(crate) struct Receiving {
    incoming: Option<Incoming>,
    /// The bytes that come next, as they came.
    chunk: Option<Vec<u8>>,
    /// Not before this: the last attempt found damaged bytes or no room.
    pause_until_us: u64,
}

struct Incoming {
    last: EntryId,
    from: NodeId,
    received: u64,
    /// What the sender said.
    file_len: u64,
    decoder: SnapshotDecoder,
    loading: Loading,
    /// When more was asked for; `None`: to be asked for now.
    asked_us: Option<u64>,
    /// How often that was without an answer, in a row.
    asked_in_vain: u32,
    /// Complete, and loaded: it waits for a save under way.
    whole: Option<(SnapshotMeta, Image)>,
}

impl Incoming {
    fn is_due(&self, now_us: u64) -> bool {
        self.whole.is_none() && self.asked_us.is_none_or(|asked_us| TRANSFER_ASK_AGAIN_US <= now_us.saturating_sub(asked_us))
    }
}

/// Why what came cannot be used.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("{0}")]
    File(#[from] data::SnapshotDamage),
    #[error("{0}")]
    Content(#[from] ImageError),
    #[error("it is another snapshot than the one that was offered, or of another length")]
    Other,
}

impl Receiving {
    /// A chunk has come. Only the one that was asked for counts: a repeated or late one is dropped.
    pub(crate) fn chunk(&mut self, last: EntryId, file_len: u64, offset: u64, bytes: &[u8]) {
        if let Some(incoming) = &mut self.incoming
            && incoming.last == last
            && incoming.received == offset
            && incoming.whole.is_none()
            && !bytes.is_empty()
        {
            incoming.file_len = file_len;
            self.chunk = Some(bytes.to_vec());
        }
    }

    /// Whether `receive` has something to do. `wanted`: what raft is offered.
    pub(crate) fn has_work(&self, wanted: Option<(NodeId, EntryId)>, now_us: u64) -> bool {
        match wanted {
            _ if now_us < self.pause_until_us => false,
            Some(_) => self.chunk.is_some() || self.incoming.as_ref().is_none_or(|incoming| incoming.is_due(now_us)),
            None => self.chunk.is_some(),
        }
    }
}

/// Begins, takes in what came, asks for more, and installs what is whole.
pub(crate) fn receive<D: Disk>(node: &mut Node, store: &mut Store<D>, outbox: &mut impl Outbox) -> Result<(), NodeError> {
    let now_us = node.clock.now_us;
    let wanted = node.raft.wanted_snapshot();
    // A newer one may be offered all the time, faster than any is received: what is under way is good enough as long as it comes.
    if let Some(incoming) = &node.receiving.incoming
        && let is_other = wanted.is_some_and(|(_, last)| last != incoming.last)
        && (!node.raft.needs_snapshot(incoming.last) || is_other && incoming.asked_in_vain >= ASKED_IN_VAIN_MAX)
    {
        if is_other {
            node.reached.mark("a transfer is outlived by a newer snapshot");
        }
        give_up(node, store)?;
    }
    if let Some((from, last)) = wanted {
        match &mut node.receiving.incoming {
            Some(incoming) => {
                if incoming.from != from && incoming.received > 0 {
                    node.reached.mark("a transfer goes on with another leader");
                }
                incoming.from = from;
            }
            None if now_us < node.receiving.pause_until_us => {}
            None => {
                store.begin_incoming(last)?;
                let decoder = SnapshotDecoder::new(node.config.identity.cluster_id);
                let loading = Loading::default();
                node.receiving.incoming = Some(Incoming {
                    last,
                    from,
                    received: 0,
                    file_len: 0,
                    decoder,
                    loading,
                    asked_us: None,
                    asked_in_vain: 0,
                    whole: None,
                });
            }
        }
    }
    if let Some(chunk) = node.receiving.chunk.take() {
        take_in(node, store, &chunk)?;
    }
    install_whole(node, store)?;
    if wanted.is_some()
        && let Some(incoming) = &mut node.receiving.incoming
        && incoming.is_due(now_us)
    {
        incoming.asked_in_vain += u32::from(incoming.asked_us.is_some());
        incoming.asked_us = Some(now_us);
        outbox.send_beside(incoming.from, &PeerFrame::SnapshotFetch { last: incoming.last, offset: incoming.received });
    }
    Ok(())
}

fn take_in<D: Disk>(node: &mut Node, store: &mut Store<D>, chunk: &[u8]) -> Result<(), NodeError> {
    let Some(incoming) = &mut node.receiving.incoming else { return Ok(()) };
    store.write_incoming(chunk)?;
    if store.incoming_len().is_none() {
        return no_room(node, store);
    }
    if incoming.asked_in_vain > 0 && incoming.received > 0 {
        node.reached.mark("a transfer that broke off goes on where it was");
    }
    incoming.received += chunk.len() as u64;
    (incoming.asked_us, incoming.asked_in_vain) = (None, 0);
    if let Err(unusable) = check(incoming, chunk) {
        let (from, last) = (incoming.from, incoming.last);
        node.events.push(Event::SnapshotRefused { from, last, why: unusable.to_string() });
        node.receiving.pause_until_us = node.clock.now_us + TRANSFER_PAUSE_US;
        return give_up(node, store);
    }
    Ok(())
}

/// Checks and loads a chunk; with the last one the whole state is there.
fn check(incoming: &mut Incoming, chunk: &[u8]) -> Result<(), Unusable> {
    incoming.decoder.push(chunk)?;
    incoming.loading.push(&incoming.decoder.take_content())?;
    if incoming.received < incoming.file_len {
        return Ok(());
    }
    let meta =
        incoming.decoder.meta().filter(|meta| meta.last == incoming.last && incoming.decoder.is_complete()).ok_or(Unusable::Other)?;
    let image = std::mem::take(&mut incoming.loading).finish()?;
    incoming.whole = Some((meta, image));
    Ok(())
}

/// The order is that of the design: the file first, then the log, then raft and the state. A save under way is waited for.
fn install_whole<D: Disk>(node: &mut Node, store: &mut Store<D>) -> Result<(), NodeError> {
    if node.receiving.incoming.as_ref().is_none_or(|incoming| incoming.whole.is_none()) {
        return Ok(());
    }
    if node.raft.has_outstanding_save() {
        node.reached.mark("a snapshot waits with its installation for a save under way");
        return Ok(());
    }
    if store.finish_incoming()?.is_none() {
        return no_room(node, store);
    }
    node.room_for_snapshot();
    let Some(Incoming { last, from, received, whole: Some((meta, image)), .. }) = node.receiving.incoming.take() else { return Ok(()) };
    node.abandon_snapshot(store)?;
    store.install(last, HardState { term: node.raft.term(), voted_for: node.raft.voted_for() })?;
    let voters = image.members.iter().filter(|(member, _)| member.voter).map(|(member, _)| member.id);
    node.raft.install(last, Membership::of_voters(voters));
    node.replace_state(meta, image);
    node.events.push(Event::Installed { from, last, bytes: received });
    Ok(())
}

fn no_room<D: Disk>(node: &mut Node, store: &mut Store<D>) -> Result<(), NodeError> {
    node.no_room_for_snapshot();
    node.receiving.pause_until_us = node.clock.now_us + TRANSFER_PAUSE_US;
    give_up(node, store)
}

fn give_up<D: Disk>(node: &mut Node, store: &mut Store<D>) -> Result<(), NodeError> {
    node.receiving.incoming = None;
    node.receiving.chunk = None;
    store.abandon_incoming()?;
    Ok(())
}
