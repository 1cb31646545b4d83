//! The whole node as a value: raft, the state machine, the members and the clients that wait. Inputs are methods; what is to be sent,
//! saved and answered is taken out by `drive`. It has no socket, file or clock: the caller passes the time, which is monotonic and
//! only ever compared with itself.

use data::{Disk, Identity, Store};
use raft::{
    EntryHeader, EntryId, EntryKind, EntryMeta, Incarnation, Index, Message, NodeId, ProposeError, Raft, ReadError, ReadId, RoleName, Term,
};
use wire::command::{Announce, Command, Member, Op};
use wire::hello::{PeerHello, Refused, RefusedReason, Welcome};
use wire::{BusyReason, NodeStatus, RejectedReason, Reply, Request, Scan};

use std::collections::BTreeMap;

use crate::error::NodeError;
use crate::limits;
use crate::machine::Machine;
use crate::members::Members;
use crate::scans::Scans;
use crate::sessions::{Admission, Sessions};
use crate::status::Counters;
use crate::waiting::{Addressed, ClientId, Range, RequestId, WaitingRead, WaitingReads, WaitingWrites, Wanted};

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
}

/// A replica, without its disk and its sockets.
pub struct Node {
    config: NodeConfig,
    pub(crate) raft: Raft,
    machine: Machine,
    sessions: Sessions,
    members: Members,
    applied: EntryId,
    writes: WaitingWrites,
    reads: WaitingReads,
    scans: Scans,
    replies: Vec<Addressed>,
    /// Encoded entries that raft has accepted and the store has not been given.
    staged: Vec<(Index, Vec<u8>)>,
    staged_last: Index,
    clock: ClusterClock,
    /// What each peer last said of itself.
    greetings: BTreeMap<NodeId, PeerHello>,
    /// Announcements of this leader's term that are not applied yet.
    announcing: BTreeMap<NodeId, Announce>,
    no_space: bool,
    /// When a leader was last heard, on this node's clock; a leader hears itself.
    leader_heard_us: Option<u64>,
    /// The term this node leads, as far as its clients have been told.
    leading: Option<Term>,
    reported: Report,
    events: Vec<Event>,
    pub(crate) counters: Counters,
}

/// Cluster time: the last entry's, plus what has passed since on this node's own clock. No wall clock anywhere, and a new leader goes on
/// where its log ends.
struct ClusterClock {
    last_entry_ms: u64,
    last_entry_at_us: u64,
    now_us: u64,
}

impl ClusterClock {
    fn now_ms(&self) -> u64 {
        self.last_entry_ms.saturating_add(self.now_us.saturating_sub(self.last_entry_at_us) / 1000)
    }

    fn entry(&mut self, time_ms: u64) {
        self.last_entry_ms = time_ms;
        self.last_entry_at_us = self.now_us;
    }
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
        let latest_membership = recovered.entries.iter().rev().find(|meta| meta.kind == EntryKind::Membership);
        let mut voters = Vec::new();
        if let Some(meta) = latest_membership {
            let list = decode_members(*meta, store.entry(meta.index)?)?;
            voters.extend(list.iter().filter(|member| member.voter).map(|member| member.id));
            members.set(list);
        }
        for meta in recovered.entries.iter().filter(|meta| meta.index > recovered.commit_index && meta.kind == EntryKind::Command) {
            let entry = store.entry(meta.index)?;
            if let Ok(Command::Announce(announce)) = Command::decode(payload(entry)) {
                members.hear(announce.node, announce.disk_id);
            }
        }
        members.hear(config.identity.node, config.identity.disk_id);
        let staged_last = recovered.entries.last().map_or(recovered.base.index, |meta| meta.index);
        let raft = Raft::new(
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
                applied_index: recovered.base.index,
                snapshot: recovered.base,
                base: recovered.base,
                entries: recovered.entries,
                membership: raft::Membership::of_voters(voters),
            },
        );
        let reported = Report { role: raft.role(), term: raft.term(), leader: None, formed: false };
        Ok(Node {
            raft,
            machine: Machine::default(),
            sessions: Sessions::default(),
            members,
            applied: recovered.base,
            writes: WaitingWrites::default(),
            reads: WaitingReads::default(),
            scans: Scans::default(),
            replies: Vec::new(),
            staged: Vec::new(),
            staged_last,
            clock: ClusterClock { last_entry_ms: recovered.last_time_ms, last_entry_at_us: now_us, now_us },
            greetings: BTreeMap::new(),
            announcing: BTreeMap::new(),
            no_space: false,
            leader_heard_us: None,
            leading: None,
            reported,
            events: Vec::new(),
            counters: Counters::new(now_us),
            config,
        })
    }

    // Inputs.

    /// `ticks` have passed; more than one after a gap, and then only once everything that had arrived has been handed in.
    pub fn tick(&mut self, ticks: u32, now_us: u64) {
        self.clock.now_us = now_us;
        self.raft.tick(ticks);
        self.scans.close_idle(&mut self.machine, now_us);
        self.follow_raft();
        self.announce_members();
    }

    /// A peer says who it is, whoever dialled. `Err`: close the connection, and tell the peer why if it dialled.
    pub fn greeted(&mut self, hello: &PeerHello) -> Result<(), Refused> {
        let me = self.config.identity.node;
        if hello.node == me || hello.to.is_some_and(|to| to != me) {
            let to = hello.to.map_or(0, |to| to.0);
            let message =
                format!("this is node {}, not node {to}; the greeting is from node {}. Check the members' addresses", me.0, hello.node.0);
            return Err(Refused { reason: RefusedReason::WrongNode, message });
        }
        self.members.check(hello)?;
        self.members.hear(hello.node, hello.disk_id);
        self.greetings.insert(hello.node, hello.clone());
        self.announce_members();
        Ok(())
    }

    /// A message from a peer that was greeted; `entries` are the bytes of an append's entries.
    pub fn peer_message(&mut self, from: NodeId, message: Message, entries: &[u8]) {
        self.counters.peer_messages_received += 1;
        if !self.members.contains(from) {
            return;
        }
        let is_leaders = matches!(message, Message::Append { .. } | Message::InstallSnapshot { .. } | Message::Heartbeat { .. });
        if is_leaders && message.term() >= Some(self.raft.term()) {
            self.leader_heard_us = Some(self.clock.now_us);
        }
        let Message::Append { entries: metas, .. } = &message else {
            self.raft.step(from, message);
            return self.follow_raft();
        };
        // Raft takes the positions. What it did not have before and has now, it has taken from this message: those bytes are kept.
        let missing: Vec<EntryMeta> = metas.iter().filter(|meta| !self.holds(meta)).copied().collect();
        let first = metas.first().map(|meta| meta.index);
        self.raft.step(from, message);
        let mut rest = entries;
        let mut next = first.unwrap_or_default();
        for meta in missing {
            while next < meta.index {
                rest = skip_entry(rest);
                next = next.next();
            }
            let (entry, behind) = rest.split_at(meta.encoded_len());
            if self.holds(&meta) {
                self.stage(meta.index, entry.to_vec());
            }
            rest = behind;
            next = meta.index.next();
        }
        self.follow_raft();
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
        if sync_us > u64::from(self.config.election_ticks) * self.config.tick_us {
            self.raft.step_down();
            self.follow_raft();
        }
    }

    /// A client asks.
    pub fn request(&mut self, client: ClientId, request_id: u64, request: Request<'_>, now_us: u64) {
        self.clock.now_us = now_us;
        let request_id = RequestId { client, request_id };
        let answer = match request {
            Request::Write { command } => self.write(request_id, command),
            Request::Get { key } => self.get(request_id, key),
            Request::GetStale { key } => Some(self.get_stale(key)),
            Request::Scan(scan) => self.scan(request_id, scan),
            Request::ScanNext { scan } => Some(self.scans.next(&mut self.machine, client, scan, now_us)),
            Request::Status => Some(Reply::Status(Box::new(self.status()))),
            Request::Members => Some(Reply::Members { leader: self.raft.leader(), members: self.members.addresses() }),
        };
        self.replies.extend(answer.map(|reply| (request_id, reply)));
    }

    fn write(&mut self, request: RequestId, command: &[u8]) -> Option<Reply> {
        let Ok(Command::Write { call, op }) = Command::decode(command) else {
            return Some(Reply::Rejected { reason: RejectedReason::Version });
        };
        if let Err(reason) = op.validate() {
            return Some(Reply::Rejected { reason });
        }
        // An answer from the table is true on any node: what it tells of is applied here, so it is committed.
        if let Admission::Kept(written) = self.sessions.judge(&call) {
            return Some(Reply::Written(written));
        }
        if !self.raft.is_leader() {
            return Some(self.not_leader());
        }
        if !self.members.formed() {
            return Some(Reply::Forming { missing: self.members.missing() });
        }
        if self.no_space {
            return Some(Reply::Busy { reason: BusyReason::NoSpace });
        }
        if self.is_full(&op) {
            return Some(Reply::Busy { reason: BusyReason::Full });
        }
        if self.waiting() >= limits::WAITING_MAX {
            return Some(Reply::Busy { reason: BusyReason::Waiting });
        }
        match self.append(EntryKind::Command, command) {
            Ok(id) => {
                self.writes.wait(id.index, request, call);
                None
            }
            Err(ProposeError::NotLeader { .. }) => Some(self.not_leader()),
            Err(ProposeError::Busy) => Some(Reply::Busy { reason: BusyReason::Uncommitted }),
        }
    }

    fn get(&mut self, request: RequestId, key: &[u8]) -> Option<Reply> {
        if let Err(reason) = wire::command::validate_key(key) {
            return Some(Reply::Rejected { reason });
        }
        self.read(request, Wanted::Value(key.into()))
    }

    fn get_stale(&self, key: &[u8]) -> Reply {
        if let Err(reason) = wire::command::validate_key(key) {
            return Reply::Rejected { reason };
        }
        Reply::StaleValue { value: self.machine.get(key), position: self.applied.index, age_ms: self.age_ms() }
    }

    fn scan(&mut self, request: RequestId, scan: Scan<'_>) -> Option<Reply> {
        let Scan { stale, keys_only, from, to, limit } = scan;
        let range = Range { from: from.into(), to: to.map(Into::into), keys_only, limit };
        if stale { Some(self.open_scan(request.client, &range, self.age_ms())) } else { self.read(request, Wanted::Scan(range)) }
    }

    fn open_scan(&mut self, client: ClientId, range: &Range, age_ms: Option<u64>) -> Reply {
        if self.scans.is_full() {
            return Reply::Busy { reason: BusyReason::Waiting };
        }
        self.scans.open(&mut self.machine, self.applied.index, client, range, age_ms, self.clock.now_us)
    }

    /// A linearizable read: raft names the index to read at.
    fn read(&mut self, request: RequestId, wanted: Wanted) -> Option<Reply> {
        if !self.members.formed() {
            return Some(Reply::Forming { missing: self.members.missing() });
        }
        if self.waiting() >= limits::WAITING_MAX {
            return Some(Reply::Busy { reason: BusyReason::Waiting });
        }
        match self.raft.read(ReadId(self.reads.next_read())) {
            Ok(()) => {
                self.reads.wait(WaitingRead { request, wanted });
                None
            }
            Err(ReadError::NoLeader) => Some(self.not_leader()),
            Err(ReadError::Busy) => Some(Reply::Busy { reason: BusyReason::Waiting }),
        }
    }

    /// How old a stale read may be: the time since a leader was last heard; `None`: never.
    fn age_ms(&self) -> Option<u64> {
        if self.raft.is_leader() {
            return Some(0);
        }
        self.leader_heard_us.map(|heard| self.clock.now_us.saturating_sub(heard) / 1000)
    }

    /// The client is gone: nobody will ask for the rest of its scans.
    pub fn client_gone(&mut self, client: ClientId) {
        self.scans.client_gone(&mut self.machine, client);
    }

    fn is_full(&self, op: &Op<'_>) -> bool {
        let full = self.config.max_data_bytes.is_some_and(|max| self.machine.data_bytes() >= max);
        full && !matches!(op, Op::Delete { .. })
    }

    /// The disk has no room for the next segment: nothing is proposed until it has, so that the log never meets a full disk unprepared.
    pub(crate) fn set_no_space(&mut self, no_space: bool) {
        self.no_space = no_space;
    }

    fn waiting(&self) -> usize {
        self.writes.len() + self.reads.len()
    }

    fn not_leader(&self) -> Reply {
        let leader = self.raft.leader().filter(|leader| *leader != self.config.identity.node);
        let client_addr = leader.map_or(String::new(), |leader| self.members.client_addr(leader).to_owned());
        Reply::NotLeader { leader, client_addr }
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
        }
        self.staged.push((index, entry));
        self.staged_last = index;
    }

    fn holds(&self, meta: &EntryMeta) -> bool {
        self.raft.log().last_index() >= meta.index && self.raft.log().term_at(meta.index) == Some(meta.term)
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
            self.replies.extend(self.writes.leadership_lost());
            self.announcing.clear();
        }
        self.leading = leading;
        self.report();
    }

    /// A leader puts into the log what members say of themselves, once for every change.
    fn announce_members(&mut self) {
        if !self.raft.is_leader() {
            return;
        }
        let own = self.hello(None);
        let changed: Vec<Announce> = std::iter::once(&own)
            .chain(self.greetings.values())
            .map(|hello| Announce {
                node: hello.node,
                disk_id: hello.disk_id,
                client_addr: hello.client_addr.clone(),
                peer_addr: hello.peer_addr.clone(),
                version: hello.version.clone(),
            })
            .filter(|announce| self.members.contains(announce.node))
            .filter(|announce| self.members.announced(announce.node) != Some(announce))
            .filter(|announce| self.announcing.get(&announce.node) != Some(announce))
            .collect();
        for announce in changed {
            let mut payload = Vec::new();
            Command::Announce(announce.clone()).encode(&mut payload);
            if self.append(EntryKind::Command, &payload).is_err() {
                return; // busy: the next tick tries again
            }
            self.announcing.insert(announce.node, announce);
        }
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
        self.raft.saved(token);
        self.follow_raft();
    }

    /// Applies the entry at `index`, which is committed and saved here, and answers who waited for it.
    pub(crate) fn apply(&mut self, index: Index, entry: &[u8]) -> Result<(), NodeError> {
        let header = EntryHeader::decode(entry).map_err(|_| NodeError::Entry { index })?;
        assert_eq!(index, self.applied.index.next(), "entries are applied in the order of the log");
        let reply = match header.kind {
            EntryKind::NoOp => self.writes.applied(index, None),
            EntryKind::Membership => {
                self.members.set(decode_members(header.meta(index), entry)?);
                self.writes.applied(index, None)
            }
            EntryKind::Command => match Command::decode(payload(entry)).map_err(|error| NodeError::Command { index, error })? {
                Command::Announce(announce) => {
                    self.announcing.remove(&announce.node);
                    self.members.announce(announce);
                    self.writes.applied(index, None)
                }
                Command::Write { call, op } => {
                    let reply = match self.sessions.admit(&call, index, header.time_ms) {
                        Admission::Run => {
                            let written = self.machine.apply(index, &op);
                            self.sessions.keep(&call, written);
                            Reply::Written(written)
                        }
                        Admission::Kept(written) => Reply::Written(written),
                        Admission::Expired => Reply::SessionExpired,
                        Admission::OutOfWindow => Reply::Rejected { reason: RejectedReason::Sequence },
                    };
                    self.writes.applied(index, Some((&call, reply)))
                }
            },
        };
        self.applied = EntryId { index, term: header.term };
        self.replies.extend(reply);
        Ok(())
    }

    /// Everything up to `applied` is applied: raft may know, readers may read.
    pub(crate) fn finish_turn(&mut self, reads: Vec<(ReadId, Index)>, reads_failed: Vec<ReadId>) {
        self.raft.applied(self.applied.index);
        for (read, index) in reads {
            self.reads.confirmed(read.0, index);
        }
        for read in reads_failed {
            let reply = self.not_leader();
            self.replies.extend(self.reads.failed(read.0).map(|request| (request, reply)));
        }
        while let Some(read) = self.reads.pop_ready(self.applied.index) {
            let reply = match read.wanted {
                Wanted::Value(key) => Reply::Value { value: self.machine.get(&key), position: self.applied.index },
                Wanted::Scan(range) => self.open_scan(read.request.client, &range, None),
            };
            self.replies.push((read.request, reply));
        }
        self.report();
    }

    pub(crate) fn take_replies(&mut self) -> Vec<Addressed> {
        std::mem::take(&mut self.replies)
    }

    // What others may ask.

    /// Whether `drive` has something to do.
    pub fn has_work(&self) -> bool {
        self.raft.has_ready() || !self.staged.is_empty() || !self.replies.is_empty()
    }

    /// What changed since the last call.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// What this node says of itself to a peer: to node `to` when it dials, `None` in an answer.
    pub fn hello(&self, to: Option<NodeId>) -> PeerHello {
        PeerHello {
            node: self.config.identity.node,
            to,
            disk_id: self.config.identity.disk_id,
            incarnation: self.config.incarnation,
            client_addr: self.config.client_addr.clone(),
            peer_addr: self.config.peer_addr.clone(),
            version: self.config.version.clone(),
        }
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
        (self.applied, self.machine.digest().wrapping_add(crate::machine::mix(self.sessions.digest())))
    }

    /// The value under `key` as this node has applied it: for checks, not for clients.
    pub fn peek(&self, key: &[u8]) -> Option<wire::client::Value> {
        self.machine.get(key)
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
    pub(crate) now_us: u64,
}

impl Node {
    pub(crate) fn parts(&self) -> Parts<'_> {
        Parts { config: &self.config, machine: &self.machine, sessions: &self.sessions, members: &self.members, now_us: self.clock.now_us }
    }
}

fn payload(entry: &[u8]) -> &[u8] {
    entry.get(raft::ENTRY_HEADER_LEN..).unwrap_or_default()
}

fn decode_members(meta: EntryMeta, entry: &[u8]) -> Result<Vec<Member>, NodeError> {
    wire::command::decode_membership(payload(entry)).map_err(|error| NodeError::Command { index: meta.index, error })
}

fn skip_entry(entries: &[u8]) -> &[u8] {
    let header = EntryHeader::decode(entries).expect("the decoder of the frame has read these headers");
    &entries[raft::ENTRY_HEADER_LEN + header.payload_len as usize..]
}
