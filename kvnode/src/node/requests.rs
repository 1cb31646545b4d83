//! What clients ask of a node, up to the point where raft has it; and the answers to those who
//! read. Writers are answered by `Node::apply`.

use raft::{EntryKind, ProposeError, ReadError, ReadId};
use wire::command::{Command, Op};
use wire::{BusyReason, RejectedReason, Reply, Request, Scan};

use crate::limits;
use crate::node::Node;
use crate::sessions::Admission;
use crate::waiting::{Addressed, ClientId, Range, RequestId, WaitingRead, Wanted};

impl Node {
    /// A client asks.
    pub fn request(&mut self, client: ClientId, request_id: u64, request: Request<'_>, now_us: u64) {
        self.clock.now_us = now_us;
        let id = RequestId { client, request_id };
        let answer = match request {
            Request::Write { command } => self.write(id, command),
            Request::Get { key } => self.get(id, key, false),
            Request::GetStale { key } => self.get(id, key, true),
            Request::Scan(scan) => self.scan(id, scan),
            Request::ScanNext { scan } => self.wait_for_room(id, Wanted::Page(scan)),
            Request::Status => Some(Reply::Status(Box::new(self.status()))),
            Request::Members => Some(Reply::Members { leader: self.raft.leader(), members: self.members.addresses() }),
        };
        self.replies.extend(answer.map(|reply| (id, reply)));
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
            self.reached.mark("a repeated call is answered from the table");
            return Some(Reply::Written(written));
        }
        // While it is not formed a cluster has a leader only in passing: say what it waits for, unless another node may know more.
        let leader = self.raft.leader();
        if !self.members.formed() && leader.is_none_or(|leader| leader == self.config.identity.node) {
            return Some(self.forming());
        }
        if !self.raft.is_leader() {
            return Some(self.not_leader());
        }
        if self.no_space {
            return Some(Reply::Busy { reason: BusyReason::NoSpace });
        }
        if self.is_full(&op) {
            return Some(Reply::Busy { reason: BusyReason::Full });
        }
        if self.is_crowded() {
            return Some(Reply::Busy { reason: BusyReason::Waiting });
        }
        if self.snapshots.log_is_full(self.staged_bytes) {
            return Some(Reply::Busy { reason: BusyReason::Log });
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

    fn get(&mut self, request: RequestId, key: &[u8], stale: bool) -> Option<Reply> {
        if let Err(reason) = wire::command::validate_key(key) {
            return Some(Reply::Rejected { reason });
        }
        if stale { self.wait_for_room(request, Wanted::StaleValue(key.into())) } else { self.read(request, Wanted::Value(key.into())) }
    }

    fn scan(&mut self, request: RequestId, scan: Scan<'_>) -> Option<Reply> {
        let Scan { stale, keys_only, from, to, limit } = scan;
        let range = Range { from: from.into(), to: to.map(Into::into), keys_only, limit };
        if stale { self.wait_for_room(request, Wanted::StaleScan(range)) } else { self.read(request, Wanted::Scan(range)) }
    }

    /// A read of what is applied here: nothing to wait for but room for its answer. Those that wait for a leader do not keep it out.
    fn wait_for_room(&mut self, request: RequestId, wanted: Wanted) -> Option<Reply> {
        if self.reads.bytes() >= 2 * limits::WAITING_BYTES_MAX {
            return Some(Reply::Busy { reason: BusyReason::Waiting });
        }
        self.reads.wait_for_room(WaitingRead { request, wanted });
        None
    }

    /// A linearizable read: raft names the index to read at.
    fn read(&mut self, request: RequestId, wanted: Wanted) -> Option<Reply> {
        if !self.members.formed() {
            return Some(self.forming());
        }
        if self.is_crowded() {
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

    /// Answers the next reader whose client has room for so many bytes as its answer has. Who has no room waits on: an answer is made
    /// only when it can leave, or requests of a few bytes would fill the memory with values.
    pub(crate) fn next_answer(&mut self, mut room: impl FnMut(ClientId) -> usize) -> Option<Addressed> {
        while let Some(read) = self.reads.pop_ready() {
            let room = room(read.request.client);
            if room < usize::MAX && self.answer_len_max(&read.wanted) > room {
                self.reads.park(read);
                continue;
            }
            let client = read.request.client;
            let reply = match read.wanted {
                Wanted::Value(key) => Reply::Value { value: self.machine.get(&key), position: self.applied.index },
                Wanted::StaleValue(key) => {
                    Reply::StaleValue { value: self.machine.get(&key), position: self.applied.index, age_ms: self.age_ms() }
                }
                Wanted::Scan(range) => self.open_scan(client, &range, None),
                Wanted::StaleScan(range) => self.open_scan(client, &range, self.age_ms()),
                Wanted::Page(scan) => self.scans.next(&mut self.machine, client, scan, self.clock.now_us),
            };
            return Some((read.request, reply));
        }
        None
    }

    fn open_scan(&mut self, client: ClientId, range: &Range, age_ms: Option<u64>) -> Reply {
        if !self.scans.may_open(client) {
            return Reply::Busy { reason: BusyReason::Waiting };
        }
        self.scans.open(&mut self.machine, self.applied.index, client, range, age_ms, self.clock.now_us)
    }

    /// Bytes of the answer; a page is not looked up for it, and may be as large as pages get.
    fn answer_len_max(&self, wanted: &Wanted) -> usize {
        match wanted {
            Wanted::Value(key) | Wanted::StaleValue(key) => 64 + self.machine.value_len(key),
            Wanted::Scan(_) | Wanted::StaleScan(_) | Wanted::Page(_) => self.config.bounds.page_bytes_max,
        }
    }

    /// The client has read: there may be room for answers that waited for it.
    pub fn client_has_room(&mut self, client: ClientId) {
        self.reads.unpark(client);
    }

    /// How old a stale read may be: the time since a leader was last heard; `None`: never.
    fn age_ms(&self) -> Option<u64> {
        if self.raft.is_leader() {
            return Some(0);
        }
        self.leader_heard_us.map(|heard| self.clock.now_us.saturating_sub(heard) / 1000)
    }

    /// The client is gone: nobody will ask for the rest of its scans, and nobody waits for what it has asked for.
    pub fn client_gone(&mut self, client: ClientId) {
        self.reads.client_gone(client);
        self.scans.client_gone(&mut self.machine, client);
    }

    fn is_full(&self, op: &Op<'_>) -> bool {
        let full = self.config.max_data_bytes.is_some_and(|max| self.machine.data_bytes() >= max);
        full && !matches!(op, Op::Delete { .. })
    }

    fn is_crowded(&self) -> bool {
        self.writes.len() + self.reads.len() >= limits::WAITING_MAX || self.reads.bytes() >= limits::WAITING_BYTES_MAX
    }

    fn forming(&self) -> Reply {
        let me = self.config.identity.node;
        Reply::Forming { missing: self.members.missing(|node| node == me || self.greetings.contains_key(&node)) }
    }

    pub(super) fn not_leader(&self) -> Reply {
        let leader = self.raft.leader().filter(|leader| *leader != self.config.identity.node);
        let client_addr = leader.map_or(String::new(), |leader| self.members.client_addr(leader).to_owned());
        Reply::NotLeader { leader, client_addr }
    }
}
