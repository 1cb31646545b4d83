//! What one turn of a node sends, and when it leaves. Where a sync is waited for, all that is sent after it leaves that much later.

use std::rc::Rc;

use fastrand::Rng;
use kvnode::{AppliedWrite, ClientId, Node, Outbox};
use raft::{Index, Message, NodeId};
use wire::client::Reply;
use wire::peer::PeerFrame;

use crate::check::{Vote, is_kept};
use crate::disk::WatchedDisk;
use crate::ledger::Ledger;
use crate::network::Way;
use crate::plan::DiskPlan;

/// What leaves at one instant.
#[derive(Default, Debug)]
pub(crate) struct Sent {
    pub(crate) votes: Vec<Vote>,
    pub(crate) frames: Vec<Outgone>,
    pub(crate) replies: Vec<(ClientId, u64, Reply)>,
}

/// One frame for a peer.
#[derive(Clone, Debug)]
pub(crate) struct Outgone {
    pub(crate) to: NodeId,
    pub(crate) way: Way,
    /// It answers something.
    pub(crate) is_answer: bool,
    pub(crate) frame: Rc<[u8]>,
}

/// How long the syncs of a disk take.
pub(crate) struct Syncs<'a> {
    pub(crate) disk: &'a WatchedDisk,
    pub(crate) plan: &'a DiskPlan,
    pub(crate) rng: &'a mut Rng,
    /// So many of the next ones take so long.
    pub(crate) slow: &'a mut (u32, u64),
}

impl Syncs<'_> {
    /// How long the next one takes.
    pub(crate) fn draw_us(self) -> u64 {
        let Syncs { plan, rng, slow, .. } = self;
        next_us(plan, rng, slow)
    }
}

fn next_us(plan: &DiskPlan, rng: &mut Rng, (left, slow_us): &mut (u32, u64)) -> u64 {
    if *left > 0 {
        *left -= 1;
        return *slow_us;
    }
    plan.sync_us(rng)
}

/// Takes what a turn sends.
pub(crate) struct Outgoing<'a> {
    node: NodeId,
    syncs: Syncs<'a>,
    /// What is applied is looked at between two entries.
    ledger: &'a mut Ledger,
    /// None until something is sent: most turns send nothing.
    parts: Vec<(u64, Sent)>,
    late_us: u64,
    saved: bool,
    /// The frame that is being made.
    bytes: Vec<u8>,
}

/// The whole of a turn.
pub(crate) struct Done {
    /// What leaves, each so much later.
    pub(crate) parts: Vec<(u64, Sent)>,
    /// How long the turn waited for its disk.
    pub(crate) late_us: u64,
    /// There was a save.
    pub(crate) saved: bool,
}

impl<'a> Outgoing<'a> {
    pub(crate) fn new(node: NodeId, syncs: Syncs<'a>, ledger: &'a mut Ledger) -> Outgoing<'a> {
        Outgoing { node, syncs, ledger, parts: Vec::new(), late_us: 0, saved: false, bytes: Vec::new() }
    }

    pub(crate) fn finish(self) -> Done {
        if !self.syncs.plan.beside {
            self.syncs.disk.set_sync_us(0);
        }
        Done { parts: self.parts, late_us: self.late_us, saved: self.saved }
    }

    fn now(&mut self) -> &mut Sent {
        if self.parts.last().is_none_or(|(late_us, _)| *late_us < self.late_us) {
            self.parts.push((self.late_us, Sent::default()));
        }
        &mut self.parts.last_mut().expect("there is one now").1
    }
}

impl Outbox for Outgoing<'_> {
    fn applied(&mut self, node: &Node, index: Index, entry: &[u8], _write: Option<&AppliedWrite>) {
        self.ledger.applied(node, index, entry);
    }

    fn send(&mut self, to: NodeId, message: &Message, entries: &[u8]) {
        is_kept(self.node, to, message, self.syncs.disk);
        self.bytes.clear();
        wire::peer::encode_raft(message, entries, &mut self.bytes);
        let frame = self.bytes.as_slice().into();
        let way = if matches!(message, Message::Append { .. }) { Way::Entries } else { Way::Control };
        let vote = Vote::of(self.node, to, message);
        let sent = self.now();
        sent.frames.push(Outgone { to, way, is_answer: is_answer(message), frame });
        sent.votes.extend(vote);
    }

    fn send_beside(&mut self, to: NodeId, frame: &PeerFrame<'_>) {
        self.bytes.clear();
        wire::peer::encode_peer(frame, &mut self.bytes);
        let bytes = self.bytes.as_slice().into();
        let is_chunk = matches!(frame, PeerFrame::SnapshotChunk { .. });
        let way = if is_chunk { Way::Snapshot } else { Way::Control };
        self.now().frames.push(Outgone { to, way, is_answer: is_chunk, frame: bytes });
    }

    /// The sync that follows is waited for, if that is how this disk is used.
    fn flush(&mut self) {
        self.saved = true;
        if self.syncs.plan.beside {
            return;
        }
        let Syncs { disk, plan, rng, slow } = &mut self.syncs;
        let took_us = next_us(plan, rng, slow);
        disk.set_sync_us(took_us);
        self.late_us += took_us;
    }

    fn reply(&mut self, client: ClientId, request_id: u64, reply: &Reply) {
        self.now().replies.push((client, request_id, reply.clone()));
    }
}

fn is_answer(message: &Message) -> bool {
    match message {
        Message::PreVoteReply { .. }
        | Message::RequestVoteReply { .. }
        | Message::AppendReply { .. }
        | Message::HeartbeatReply { .. }
        | Message::ReadIndexReply { .. } => true,
        Message::PreVote { .. }
        | Message::RequestVote { .. }
        | Message::Append { .. }
        | Message::InstallSnapshot { .. }
        | Message::Heartbeat { .. }
        | Message::ReadIndex { .. } => false,
    }
}
