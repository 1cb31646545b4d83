//! What one turn of a node sends, and when it leaves. Where a sync is waited for, all that is sent after it leaves that much later.

use std::rc::Rc;

use kvnode::{AppliedWrite, ClientId, Node, Outbox};
use raft::{Index, Message, NodeId, Term};
use wire::client::Reply;
use wire::peer::PeerFrame;

use crate::check::{Vote, is_kept, leads};
use crate::disk::WatchedDisk;
use crate::ledger::Ledger;
use crate::network::Way;

/// What leaves at one instant.
#[derive(Default, Debug)]
pub(crate) struct Sent {
    pub(crate) votes: Vec<Vote>,
    /// Terms that the node says it leads, each with how far it says it has committed.
    pub(crate) leads: Vec<(Term, Index)>,
    /// It asks its leader for a read.
    pub(crate) asks: bool,
    pub(crate) frames: Vec<Outgone>,
    pub(crate) replies: Vec<(ClientId, u64, Reply)>,
}

impl Sent {
    pub(crate) fn is_empty(&self) -> bool {
        let Sent { votes, leads, asks: _, frames, replies } = self;
        frames.is_empty() && replies.is_empty() && votes.is_empty() && leads.is_empty()
    }
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

/// Takes what a turn sends.
pub(crate) struct Outgoing<'a> {
    node: NodeId,
    disk: &'a WatchedDisk,
    /// What is applied is looked at between two entries.
    ledger: &'a mut Ledger,
    /// The frame that is being made.
    bytes: &'a mut Vec<u8>,
    done: Done,
}

/// The whole of a turn.
#[derive(Default)]
pub(crate) struct Done {
    /// What left before there was a save.
    pub(crate) before: Sent,
    /// What was sent after it began; `None`: there was none.
    pub(crate) behind: Option<Sent>,
}

impl<'a> Outgoing<'a> {
    pub(crate) fn new(node: NodeId, disk: &'a WatchedDisk, ledger: &'a mut Ledger, bytes: &'a mut Vec<u8>) -> Outgoing<'a> {
        Outgoing { node, disk, ledger, bytes, done: Done::default() }
    }

    pub(crate) fn finish(self) -> Done {
        self.done
    }

    fn now(&mut self) -> &mut Sent {
        self.done.behind.as_mut().unwrap_or(&mut self.done.before)
    }
}

impl Outbox for Outgoing<'_> {
    fn applied(&mut self, node: &Node, index: Index, entry: &[u8], _write: Option<&AppliedWrite>) {
        self.ledger.applied(node, index, entry);
    }

    fn send(&mut self, to: NodeId, message: &Message, entries: &[u8]) {
        is_kept(self.node, to, message, self.disk);
        self.bytes.clear();
        wire::peer::encode_raft(message, entries, self.bytes);
        let frame = self.bytes.as_slice().into();
        let way = if matches!(message, Message::Append { .. }) { Way::Entries } else { Way::Control };
        let vote = Vote::of(self.node, to, message);
        let sent = self.now();
        sent.frames.push(Outgone { to, way, is_answer: is_answer(message), frame });
        sent.votes.extend(vote);
        sent.asks |= matches!(message, Message::ReadIndex { .. });
        if let Some(leads) = leads(message).filter(|leads| sent.leads.last() != Some(leads)) {
            sent.leads.push(leads);
        }
    }

    fn send_beside(&mut self, to: NodeId, frame: &PeerFrame<'_>) {
        self.bytes.clear();
        wire::peer::encode_peer(frame, self.bytes);
        let bytes = self.bytes.as_slice().into();
        let is_chunk = matches!(frame, PeerFrame::SnapshotChunk { .. });
        let way = if is_chunk { Way::Snapshot } else { Way::Control };
        self.now().frames.push(Outgone { to, way, is_answer: is_chunk, frame: bytes });
    }

    fn flush(&mut self) {
        self.done.behind.get_or_insert_default();
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
