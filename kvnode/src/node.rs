//! The whole node as a value: raft, the state machine, the members and the clients that wait. Inputs are methods; what is to be sent,
//! saved and answered is taken out by `drive`. It has no socket, file or clock: the caller passes the time, which is monotonic and
//! only ever compared with itself.

mod clients; // what they send, frame by frame
mod greetings; // what members say of themselves, and who is believed
mod receiving; // a snapshot from a peer
mod requests; // what clients ask
mod room; // a full disk
mod sending; // a snapshot to a peer
mod snapshots; // snapshots of this node's own state, and what of the log may go

use data::{Disk, Identity, SnapshotMeta, Store};
use raft::{
    EntryHeader, EntryId, EntryKind, EntryMeta, Incarnation, Index, Message, NodeId, ProposeError, Raft, Reached, ReadId, RoleName, Term,
};
use wire::command::{Announce, Command, Member};
use wire::hello::{PeerHello, Refused, Welcome};
use wire::peer::PeerFrame;
use wire::{NodeStatus, RejectedReason, Reply};

use std::collections::BTreeMap;

use crate::applied::{AppliedWrite, Fate};
use crate::clock::ClusterClock;
use crate::digests::Digests;
use crate::error::NodeError;
use crate::image::{Image, Loading, state_digest};
use crate::limits::{self, Bounds};
use crate::machine::Machine;
use crate::members::Members;
use crate::scans::Scans;
use crate::sessions::{Admission, Sessions};
use crate::status::Counters;
use crate::waiting::{Addressed, WaitingReads, WaitingWrites};
pub use clients::Asked;
use greetings::announced_in;
pub(crate) use receiving::{Receiving, receive};
pub(crate) use sending::{Sending, send};
pub use snapshots::MaxLogBytes;
pub(crate) use snapshots::Snapshots;

/// What a node is told once, at its start.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Who it is, from its data directory.
    pub identity: Identity,
    /// Drawn at random at every start.
    pub incarnation: Incarnation,
    /// For the election timeouts.
    pub seed: u64,
    /// Where clients reach it.
    pub client_addr: String,
    /// Where peers reach it.
    pub peer_addr: String,
    /// Its version.
    pub version: String,
    /// The shortest election timeout; the longest is just below twice that.
    pub election_ticks: u32,
    /// Between two heartbeats.
    pub heartbeat_ticks: u32,
    /// The length of a tick, microseconds: only to compare a sync with the election timeout.
    pub tick_us: u64,
    /// Keys and values, bytes; above it only deletes are taken.
    pub max_data_bytes: Option<u64>,
    /// The log above the last snapshot, encoded: beyond it the next is taken.
    pub max_log_bytes: MaxLogBytes,
    /// The same in entries.
    pub max_log_entries: Option<u64>,
    /// `Bounds::default()`, but in simulation and tests.
    pub bounds: Bounds,
}

/// A replica, without its disk and its sockets.
pub struct Node {
    config: NodeConfig,
    pub(crate) raft: Raft,
    machine: Machine,
    sessions: Sessions,
    members: Members,
    applied: EntryId,
    /// Cluster time of that entry.
    applied_ms: u64,
    writes: WaitingWrites,
    reads: WaitingReads,
    scans: Scans,
    snapshots: Snapshots,
    sending: Sending,
    receiving: Receiving,
    digests: Digests,
    /// A digest to be told to every peer.
    digest_news: Option<(Index, u64)>,
    /// A state that a snapshot has replaced, on its way out of memory.
    retired: Option<Machine>,
    replies: Vec<Addressed>,
    /// Encoded entries that raft has accepted and the store has not been given.
    staged: Vec<(Index, Vec<u8>)>,
    staged_last: Index,
    /// Of those that were staged since the store last said how long the log is.
    staged_bytes: u64,
    clock: ClusterClock,
    /// What this node says of itself.
    own_hello: PeerHello,
    /// What each peer last said of itself.
    greetings: BTreeMap<NodeId, PeerHello>,
    /// Announcements of this leader's term that are not applied yet.
    announcing: BTreeMap<NodeId, Announce>,
    no_space: bool,
    /// When this node last stepped down because its disk was full.
    gave_way_us: Option<u64>,
    /// When a leader was last heard, on this node's clock; a leader hears itself.
    leader_heard_us: Option<u64>,
    /// The term this node leads, as far as its clients have been told.
    leading: Option<Term>,
    reported: Report,
    events: Vec<Event>,
    pub(crate) counters: Counters,
    reached: Reached,
}

/// Something that an operator may want to read in the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// Another role, term or leader.
    Role {
        /// What the node does now.
        role: RoleName,
        /// Its term.
        term: Term,
        /// Whom it follows.
        leader: Option<NodeId>,
    },
    /// Every first member has been heard: the cluster serves.
    Formed,
    /// A snapshot from a peer is now this node's state.
    Installed {
        /// Who sent it.
        from: NodeId,
        /// Its last entry.
        last: EntryId,
        /// Of the file.
        bytes: u64,
    },
    /// What a peer sent is no snapshot that can be used; it is asked for again.
    SnapshotRefused {
        /// Who sent it.
        from: NodeId,
        /// The snapshot that was asked for.
        last: EntryId,
        /// What is wrong with it.
        why: String,
    },
    /// The disk has no room for a snapshot; it is tried again.
    NoRoomForSnapshot,
    /// A snapshot is on the disk again after there was no room for one.
    RoomForSnapshot,
    /// This node led, and was deaf for longer than an election may take.
    SlowSync {
        /// How long it waited for its disk.
        sync_us: u64,
    },
    /// A peer that was greeted has another disk than the log now says: its connections are to be closed, both ways.
    Refused {
        /// Whose.
        node: NodeId,
        /// What it is told.
        refused: Refused,
    },
    /// More has changed while a snapshot was taken than this node may keep aside; it is begun again.
    SnapshotCutOff,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Report {
    role: RoleName,
    term: Term,
    leader: Option<NodeId>,
    formed: bool,
}

impl Node {
    /// A node as its disk remembers it. Reads the end of the log for announcements that are not known to be committed.
    pub fn new<D: Disk>(config: NodeConfig, recovered: data::Recovered, store: &mut Store<D>, now_us: u64) -> Result<Node, NodeError> {
        let mut members = Members::default();
        let (mut machine, mut sessions, mut snapshot) = (Machine::default(), Sessions::default(), SnapshotMeta::default());
        if let Some(info) = recovered.snapshot {
            snapshot = info.meta;
            let image = load(store, snapshot)?;
            (machine, sessions) = (image.machine, image.sessions);
            members.restore(image.formed, &image.members);
        }
        let is_newer = |meta: &&EntryMeta| meta.kind == EntryKind::Membership && snapshot.last.index < meta.index;
        if let Some(meta) = recovered.entries.iter().rev().find(is_newer) {
            members.set(decode_members(*meta, store.entry(meta.index)?)?);
        }
        // What is known to be committed is applied in the first turn.
        let uncommitted = recovered.entries.iter().filter(|meta| recovered.commit_index.max(snapshot.last.index) < meta.index);
        for meta in uncommitted {
            members.appended(meta.index, announced_in(meta.kind, store.entry(meta.index)?));
        }
        let staged_last = recovered.entries.last().map_or(recovered.base.index, |meta| meta.index);
        let mut raft = Raft::new(
            raft::Config {
                id: config.identity.node,
                incarnation: config.incarnation,
                seed: config.seed,
                election_ticks: config.election_ticks,
                heartbeat_ticks: config.heartbeat_ticks,
                append_bytes_max: limits::APPEND_BYTES_MAX,
                inflight_appends_max: limits::INFLIGHT_APPENDS_MAX,
                inflight_bytes_max: limits::INFLIGHT_BYTES_MAX,
                uncommitted_bytes_max: limits::UNCOMMITTED_BYTES_MAX,
                unsaved_bytes_max: limits::UNSAVED_BYTES_MAX,
            },
            raft::Recovered {
                hard_state: recovered.hard_state,
                commit_index: recovered.commit_index,
                applied_index: snapshot.last.index,
                base: recovered.base,
                snapshot: snapshot.last,
                entries: recovered.entries,
                membership: raft::Membership::of_voters(members.voters()),
            },
        );
        raft.require_every_vote(!members.formed_in_log());
        let reported = Report { role: raft.role(), term: raft.term(), leader: None, formed: false };
        let mut node = Node {
            raft,
            machine: machine.bounded(config.bounds.view_bytes_max),
            sessions: sessions.bounded(config.bounds),
            members,
            applied: snapshot.last,
            applied_ms: snapshot.time_ms,
            writes: WaitingWrites::default(),
            reads: WaitingReads::default(),
            scans: Scans::new(config.bounds.page_bytes_max),
            snapshots: Snapshots::new(recovered.snapshot),
            sending: Sending::default(),
            receiving: Receiving::default(),
            digests: Digests::default(),
            digest_news: None,
            retired: None,
            replies: Vec::new(),
            staged: Vec::new(),
            staged_last,
            staged_bytes: 0,
            clock: ClusterClock { last_entry_ms: recovered.last_time_ms.max(snapshot.time_ms), last_entry_at_us: now_us, now_us },
            own_hello: PeerHello {
                node: config.identity.node,
                to: None,
                disk_id: config.identity.disk_id,
                incarnation: config.incarnation,
                client_addr: config.client_addr.clone(),
                peer_addr: config.peer_addr.clone(),
                version: config.version.clone(),
            },
            greetings: BTreeMap::new(),
            announcing: BTreeMap::new(),
            no_space: false,
            gave_way_us: None,
            leader_heard_us: None,
            leading: None,
            reported,
            events: Vec::new(),
            counters: Counters::new(now_us),
            reached: Reached::default(),
            config,
        };
        // Segments go as a whole, so the log on disk may reach back further than is kept.
        node.compact(store)?;
        Ok(node)
    }

    // Inputs.

    /// `ticks` have passed; more than one after a gap, and then only once everything that had arrived has been handed in.
    pub fn tick(&mut self, ticks: u32, now_us: u64) {
        self.clock.now_us = now_us;
        self.raft.tick(ticks);
        self.scans.close_idle(&mut self.machine, now_us);
        self.snapshots.tick();
        self.sending.tick(now_us);
        self.retired.take_if(|retired| !retired.drop_some(limits::DROPPED_KEYS_PER_TICK));
        self.follow_raft();
        self.announce_members();
    }

    /// A message from a peer that was greeted; `entries` are the bytes of an append's entries.
    pub fn peer_message(&mut self, from: NodeId, message: Message, entries: &[u8]) {
        self.counters.peer_messages_received += 1;
        if !self.greetings.contains_key(&from) {
            return; // its disk has turned out to be another than the log says: its connections are about to be closed
        }
        let is_leaders = matches!(message, Message::Append { .. } | Message::InstallSnapshot { .. } | Message::Heartbeat { .. });
        if is_leaders && message.term() >= Some(self.raft.term()) {
            self.leader_heard_us = Some(self.clock.now_us);
        }
        let Message::Append { entries: metas, .. } = &message else {
            self.raft.step(from, message);
            return self.follow_raft();
        };
        // Raft takes all entries from the first one that it does not hold, or none. From there on the bytes are those of this message, also
        // of an entry that stood at its place before: it was cut off with those before it.
        let news = metas.iter().position(|meta| self.raft.log().base().index < meta.index && !self.raft.log().holds(meta.id()));
        let Some(news) = news else {
            self.raft.step(from, message);
            return self.follow_raft();
        };
        let metas = metas.clone();
        self.raft.step(from, message);
        if self.raft.log().holds(metas[news].id()) {
            let mut rest = entries;
            for (position, meta) in metas.iter().enumerate() {
                let (entry, behind) = rest.split_at(meta.encoded_len());
                if news <= position {
                    self.stage(meta.index, entry.to_vec());
                }
                rest = behind;
            }
        }
        self.follow_raft();
    }

    /// What a peer that was greeted says beside raft's messages.
    pub fn peer_beside(&mut self, from: NodeId, frame: PeerFrame<'_>) {
        self.counters.peer_messages_received += 1;
        if !self.greetings.contains_key(&from) {
            return; // its disk has turned out to be another than the log says: its connections are about to be closed
        }
        match frame {
            PeerFrame::SnapshotFetch { last, offset } => self.sending.asked(from, last, offset, self.clock.now_us),
            PeerFrame::SnapshotChunk { last, file_len, offset, bytes } => self.receiving.chunk(last, file_len, offset, bytes),
            PeerFrame::StateDigest { index, digest } => self.digests.heard(from, index, digest),
            PeerFrame::Raft { .. } | PeerFrame::Ping | PeerFrame::Pong => {}
        }
    }

    /// The leader's process is known to be gone: its connection ended by its own doing, and nobody answers there, or another life does.
    pub fn leader_lost(&mut self, node: NodeId) {
        self.raft.leader_lost(node);
        self.follow_raft();
    }

    /// The connection that carries entries to this peer broke: what was under way may be lost.
    pub fn peer_unreachable(&mut self, node: NodeId) {
        self.raft.peer_unreachable(node);
    }

    /// A sync took longer than an election may: others may have elected a leader meanwhile.
    pub(crate) fn sync_was_slow(&mut self, sync_us: u64) {
        let is_slow = sync_us > u64::from(self.config.election_ticks) * self.config.tick_us;
        // A sole voter has nobody who could have been elected.
        if is_slow && self.raft.is_leader() && !self.raft.membership().is_sole_voter(self.config.identity.node) {
            self.events.push(Event::SlowSync { sync_us });
            self.reached.mark("a leader steps down after a slow sync");
            self.raft.step_down();
            self.follow_raft();
        }
    }

    // What follows from an input.

    fn append(&mut self, kind: EntryKind, payload: &[u8]) -> Result<EntryId, ProposeError> {
        let payload_len = u32::try_from(payload.len()).expect("a payload is shorter than a frame");
        let id = self.raft.propose(payload_len)?;
        self.stage_own(id, kind, payload);
        Ok(id)
    }

    /// Encodes an entry of this leader's: the only time that it is encoded.
    fn stage_own(&mut self, id: EntryId, kind: EntryKind, payload: &[u8]) {
        let payload_len = u32::try_from(payload.len()).expect("a payload is shorter than a frame");
        let header = EntryHeader { term: id.term, time_ms: self.clock.now_ms(), payload_len, kind };
        let mut entry = Vec::with_capacity(raft::ENTRY_HEADER_LEN + payload.len());
        entry.extend_from_slice(&header.encode());
        entry.extend_from_slice(payload);
        self.stage(id.index, entry);
    }

    fn stage(&mut self, index: Index, entry: Vec<u8>) {
        if let Ok(header) = EntryHeader::decode(&entry) {
            self.clock.entry(header.time_ms);
            let announced = announced_in(header.kind, &entry);
            self.members.appended(index, announced);
            self.follow_log(announced.map(|(node, _)| node));
        }
        self.staged_bytes += entry.len() as u64;
        self.staged.push((index, entry));
        self.staged_last = index;
    }

    /// After every input to raft: an election may have appended a no-op, whose bytes are ours to make; leadership may be lost.
    fn follow_raft(&mut self) {
        let last = self.raft.log().last_index();
        if self.raft.is_leader() && last > self.staged_last {
            let term = self.raft.term();
            assert_eq!(last, self.staged_last.next(), "raft itself appends one entry at a time, the no-op of an election");
            self.stage_own(EntryId { index: last, term }, EntryKind::NoOp, &[]);
        }
        let leading = self.raft.is_leader().then(|| self.raft.term());
        if self.leading.is_some() && self.leading != leading {
            if self.writes.len() > 0 {
                self.reached.mark("who waits for a write is told that leadership is lost");
            }
            self.replies.extend(self.writes.leadership_lost());
            self.announcing.clear();
        }
        if self.reported.leader != self.raft.leader() {
            // A read may have been confirmed at an index that this node never hears of again. To read is safe to try again.
            let reply = self.not_leader();
            self.replies.extend(self.reads.give_up_confirmed().map(|request| (request, reply.clone())));
        }
        let is_elected = leading.is_some() && self.leading != leading;
        self.leading = leading;
        if is_elected {
            // In the first batch of the term: what members promise to a leader they promise as the disks it has announced.
            self.announce_members();
        }
        self.report();
    }

    fn report(&mut self) {
        let leader = self.raft.leader();
        let now = Report { role: self.raft.role(), term: self.raft.term(), leader, formed: self.members.formed() };
        if now.formed && !self.reported.formed {
            self.events.push(Event::Formed);
        }
        if (now.role, now.term, now.leader) != (self.reported.role, self.reported.term, self.reported.leader) {
            self.events.push(Event::Role { role: now.role, term: now.term, leader });
        }
        self.reported = now;
    }

    // What `drive` takes out, and puts in on the way.

    /// Entries for the store, in the order in which they were accepted: a later one replaces what stands at its index and behind it.
    pub(crate) fn take_staged(&mut self) -> Vec<(Index, Vec<u8>)> {
        std::mem::take(&mut self.staged)
    }

    pub(crate) fn saved(&mut self, token: raft::SaveToken) {
        self.snapshots.saved();
        self.raft.saved(token);
        self.follow_raft();
    }

    /// Applies the entry at `index`, which is committed and saved here, and answers who waited for it. What came of it, if it is a write.
    pub(crate) fn apply(&mut self, index: Index, entry: &[u8]) -> Result<Option<AppliedWrite>, NodeError> {
        let header = EntryHeader::decode(entry).map_err(|_| NodeError::Entry { index })?;
        assert_eq!(index, self.applied.index.next(), "entries are applied in the order of the log");
        let mut applied = None;
        let reply = match header.kind {
            EntryKind::NoOp => self.writes.applied(index, None),
            EntryKind::Membership => {
                self.members.set(decode_members(header.meta(index), entry)?);
                self.follow_log(None);
                self.writes.applied(index, None)
            }
            EntryKind::Command => match Command::decode(payload(entry)).map_err(|error| NodeError::Command { index, error })? {
                Command::Announce(announce) => {
                    let node = announce.node;
                    self.announcing.remove(&node);
                    self.members.announce(announce);
                    self.follow_log(Some(node));
                    self.writes.applied(index, None)
                }
                Command::Write { call, op } => {
                    let (fate, reply) = match self.sessions.admit(&call, index, header.time_ms) {
                        Admission::Run => {
                            let written = self.machine.apply(index, &op);
                            self.sessions.keep(&call, written);
                            (Fate::Ran(written.outcome), Reply::Written(written))
                        }
                        Admission::Kept(written) => (Fate::Repeated { first: written.position }, Reply::Written(written)),
                        Admission::Expired => (Fate::Expired, Reply::SessionExpired),
                        Admission::OutOfWindow => (Fate::OutOfWindow, Reply::Rejected { reason: RejectedReason::Sequence }),
                    };
                    applied = Some(AppliedWrite { term: header.term, session: call.session, seq: call.seq, fate });
                    self.writes.applied(index, Some((&call, reply)))
                }
            },
        };
        self.members.applied(index);
        self.applied = EntryId { index, term: header.term };
        self.applied_ms = header.time_ms;
        self.replies.extend(reply);
        if Digests::is_due(index) {
            let digest = state_digest(&self.machine, &self.sessions);
            self.digests.own(index, digest);
            self.digest_news = Some((index, digest));
        }
        Ok(applied)
    }

    /// Stops a node whose state is another than that of a majority.
    pub(crate) fn compare_digests(&mut self) -> Result<(), NodeError> {
        let quorum = self.raft.membership().voters.len() / 2 + 1;
        let voters = &self.raft.membership().voters;
        match self.digests.verdict(quorum, |peer| voters.contains(&peer)) {
            Some(diverged) => Err(NodeError::Diverged { index: diverged.index, own: diverged.own, theirs: diverged.theirs }),
            None => Ok(()),
        }
    }

    /// The digest that every peer is to be told.
    pub(crate) fn take_digest_news(&mut self) -> Option<(Index, u64, Vec<NodeId>)> {
        let (index, digest) = self.digest_news.take()?;
        let me = self.config.identity.node;
        Some((index, digest, self.members.iter().map(|(id, ..)| id).filter(|id| *id != me).collect()))
    }

    /// The state of a snapshot takes the place of this one. The old one is freed bit by bit; whoever was reading it is told so when it
    /// asks for more.
    fn replace_state(&mut self, meta: SnapshotMeta, image: Image) {
        let machine = image.machine.bounded(self.config.bounds.view_bytes_max).instead_of(&self.machine);
        self.retired = Some(std::mem::replace(&mut self.machine, machine));
        self.sessions = image.sessions.bounded(self.config.bounds);
        self.members.restore(image.formed, &image.members);
        let greeted: Vec<NodeId> = self.greetings.keys().copied().collect();
        greeted.into_iter().for_each(|node| self.follow_log(Some(node)));
        self.follow_log(None);
        self.scans = Scans::new(self.config.bounds.page_bytes_max);
        self.digests.restart();
        (self.applied, self.applied_ms) = (meta.last, meta.time_ms);
        self.staged.clear();
        self.staged_last = meta.last.index;
        self.clock.entry(meta.time_ms);
    }

    /// Everything up to `applied` is applied: raft may know, readers may be answered.
    pub(crate) fn finish_turn(&mut self, reads: Vec<(ReadId, Index)>, reads_failed: Vec<ReadId>) {
        self.raft.applied(self.applied.index);
        for (read, index) in reads {
            self.reads.confirmed(read.0, index);
        }
        for read in reads_failed {
            let reply = self.not_leader();
            self.replies.extend(self.reads.failed(read.0).map(|request| (request, reply)));
        }
        self.reads.applied(self.applied.index);
        self.report();
    }

    pub(crate) fn take_replies(&mut self) -> Vec<Addressed> {
        std::mem::take(&mut self.replies)
    }

    // What others may ask.

    /// Whether `drive` has something to do.
    pub fn has_work(&self) -> bool {
        self.raft.has_ready()
            || !self.staged.is_empty()
            || !self.replies.is_empty()
            || self.reads.has_ready()
            || self.digest_news.is_some()
            || self.digests.has_news()
            || self.snapshots.has_work(self.clock.now_us)
            || self.sending.has_work()
            || self.receiving.has_work(self.raft.wanted_snapshot(), self.clock.now_us)
    }

    /// Moves the rare paths that were taken since the last call to `out`, those of raft included.
    pub fn take_reached(&mut self, out: &mut Vec<&'static str>) {
        self.reached.take(out);
        self.sessions.take_reached(out);
        self.scans.take_reached(out);
        self.raft.take_reached(out);
    }

    /// What changed since the last call.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// The answer to a client's greeting.
    pub fn welcome(&self) -> Welcome {
        Welcome {
            cluster_id: self.config.identity.cluster_id,
            node: self.config.identity.node,
            applied_index: self.applied.index,
            leader: self.raft.leader(),
            members: self.members.addresses(),
            version: self.config.version.clone(),
        }
    }

    /// Whom to dial, and where: id, name, address.
    pub fn peers(&self) -> Vec<(NodeId, String, String)> {
        let me = self.config.identity.node;
        self.members.iter().filter(|(id, ..)| *id != me).map(|(id, name, addr, _)| (id, name.to_owned(), addr.to_owned())).collect()
    }

    /// The name of a member.
    pub fn name_of(&self, node: NodeId) -> &str {
        self.members.name(node)
    }

    /// Its role, for a line of the log.
    pub fn role(&self) -> RoleName {
        self.raft.role()
    }

    /// Its term, for a line of the log.
    pub fn term(&self) -> Term {
        self.raft.term()
    }

    /// Whom it follows; itself if it leads.
    pub fn leader(&self) -> Option<NodeId> {
        self.raft.leader()
    }

    /// The consensus part, for checks and reports.
    pub fn raft(&self) -> &Raft {
        &self.raft
    }

    /// What is applied, and a digest of the state there: equal on every node at the same entry.
    pub fn digest(&self) -> (EntryId, u64) {
        (self.applied, state_digest(&self.machine, &self.sessions))
    }

    /// The value under `key` as this node has applied it: for checks, not for clients.
    pub fn peek(&self, key: &[u8]) -> Option<wire::client::Value> {
        self.machine.get(key)
    }

    /// How many sessions it remembers: for checks and reports.
    pub fn session_count(&self) -> u64 {
        self.sessions.count()
    }

    /// Bytes sent to and received from peers, for `status`.
    pub fn count_peer_bytes(&mut self, bytes: u64) {
        self.counters.peer_bytes += bytes;
    }

    /// How the node is.
    pub fn status(&self) -> NodeStatus {
        crate::status::status(self)
    }
}

/// The parts of a node that its status tells of.
pub(crate) struct Parts<'a> {
    pub(crate) config: &'a NodeConfig,
    pub(crate) machine: &'a Machine,
    pub(crate) sessions: &'a Sessions,
    pub(crate) members: &'a Members,
    pub(crate) snapshot: Option<data::SnapshotInfo>,
    pub(crate) now_us: u64,
}

impl Node {
    pub(crate) fn parts(&self) -> Parts<'_> {
        Parts {
            config: &self.config,
            machine: &self.machine,
            sessions: &self.sessions,
            members: &self.members,
            snapshot: self.snapshots.newest,
            now_us: self.clock.now_us,
        }
    }
}

/// The state of the node's own snapshot.
fn load<D: Disk>(store: &mut Store<D>, meta: SnapshotMeta) -> Result<Image, NodeError> {
    let unusable = |error| NodeError::Image { file: data::snapshot_path(meta.last), error };
    let mut loading = Loading::default();
    let mut loaded = Ok(());
    store.load_snapshot(|content| {
        if loaded.is_ok() {
            loaded = loading.push(content);
        }
    })?;
    loaded.and_then(|()| loading.finish()).map_err(unusable)
}

fn payload(entry: &[u8]) -> &[u8] {
    entry.get(raft::ENTRY_HEADER_LEN..).unwrap_or_default()
}

fn decode_members(meta: EntryMeta, entry: &[u8]) -> Result<Vec<Member>, NodeError> {
    wire::command::decode_membership(payload(entry)).map_err(|error| NodeError::Command { index: meta.index, error })
}
