//! The way, in one piece: what raft has ready goes to the peers, to the disk and to the clients, in the one order that is safe. Every
//! effect of a node is here; the same code runs under sockets and in simulation.

use data::{Disk, SaveStatus, Store};
use raft::{Index, Message, NodeId};
use wire::client::Reply;
use wire::peer::PeerFrame;

use crate::applied::AppliedWrite;
use crate::error::NodeError;
use crate::node::{Node, receive, send};
use crate::waiting::ClientId;

/// Where messages and replies go. Nothing here may fail: what cannot be sent is lost, as on any network.
pub trait Outbox {
    /// To a peer; `entries` are the bytes of an append's entries.
    fn send(&mut self, to: NodeId, message: &Message, entries: &[u8]);
    /// To a peer, beside raft's messages: parts of snapshots on a way of their own.
    fn send_beside(&mut self, to: NodeId, frame: &PeerFrame<'_>);
    /// What was sent leaves now: the disk is about to be waited for.
    fn flush(&mut self);
    /// How long an answer to a read of this client's may be now. Whoever says less than `usize::MAX` calls `Node::client_has_room` when
    /// that has changed.
    fn room(&mut self, _client: ClientId) -> usize {
        usize::MAX
    }
    /// The node has applied this entry, as one that was never applied before or once more in a new life: for checks, which look at the
    /// state between two entries; and for diagnostics, of `write`, which is what came of it if it is a client's.
    fn applied(&mut self, _node: &Node, _index: Index, _entry: &[u8], _write: Option<&AppliedWrite>) {}
    /// No more is applied in this pass: from here on clients may hear of it, and a snapshot may cover it.
    fn all_applied(&mut self) {}
    /// To a client that may be gone.
    fn reply(&mut self, client: ClientId, request_id: u64, reply: &Reply);
}

/// One pass. Call it until `node.has_work()` is false.
pub fn drive<D: Disk>(node: &mut Node, store: &mut Store<D>, outbox: &mut impl Outbox) -> Result<(), NodeError> {
    if let Some(token) = store.poll_saved()? {
        synced(node, store, token);
    }
    for (index, entry) in node.take_staged() {
        store.stage(index, entry);
    }
    let ready = node.raft.take_ready();
    // 1. A leader's entries may travel while its own disk syncs (dissertation 10.2.1): it counts itself only after that sync.
    let mut entries = Vec::new();
    for (to, message) in &ready.appends {
        entries.clear();
        if let Message::Append { entries: metas, .. } = message
            && let (Some(first), Some(last)) = (metas.first(), metas.last())
        {
            store.read(first.index, last.index, &mut entries)?;
        }
        outbox.send(*to, message, &entries);
    }
    // 2. Hard state and entries: one batch, one sync.
    if let Some(save) = &ready.save {
        outbox.flush();
        if store.save(save)? == SaveStatus::Synced {
            synced(node, store, save.token);
        }
    }
    // 3. Votes and acknowledgements are promises: they leave when the disk agrees. Raft holds back those that wait for a later save.
    let released = node.raft.take_released();
    for (to, message) in &released.promises {
        outbox.send(*to, message, &[]);
    }
    // 4. What is committed and saved is applied in the order of the log; then clients hear of it.
    if let Some((first, last)) = released.committed {
        let mut index = first;
        while index <= last {
            let entry = store.entry(index)?;
            let write = node.apply(index, entry)?;
            outbox.applied(node, index, entry, write.as_ref());
            index = index.next();
        }
        outbox.all_applied();
    }
    node.finish_turn(released.reads, released.reads_failed);
    node.compare_digests()?;
    if let Some((index, digest, peers)) = node.take_digest_news() {
        peers.into_iter().for_each(|peer| outbox.send_beside(peer, &PeerFrame::StateDigest { index, digest }));
    }
    // 5. Snapshots, a slice or a chunk at a time: this node's own, one for a peer, one from a peer.
    node.take_slice(store)?;
    send(node, store, outbox)?;
    receive(node, store, outbox)?;
    node.follow_room(store);
    for (request, reply) in node.take_replies() {
        outbox.reply(request.client, request.request_id, &reply);
    }
    while let Some((request, reply)) = node.next_answer(|client| outbox.room(client)) {
        outbox.reply(request.client, request.request_id, &reply);
    }
    Ok(())
}

fn synced<D: Disk>(node: &mut Node, store: &Store<D>, token: raft::SaveToken) {
    let sync_us = store.last_sync_us();
    node.counters.synced(sync_us);
    node.saved(token);
    // Nothing that came in meanwhile has been handled yet: a leader that was deaf for so long must not take it as one.
    node.sync_was_slow(sync_us);
}
