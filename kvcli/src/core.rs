//! The Clerk as a value: events go in, actions come out. It decides which server is next, which retry is safe, and what the outcome
//! of a call is. It has no clock, no socket and no random source, so that it runs in the simulator as it runs under `kvcli`.
//!
//! ```text
//! submit, connected, received, closed, tick  ->  Core  ->  Dial, Send, Close, Finished
//! ```
//!
//! **The rule of outcomes.** Every attempt of a write may take effect until the node that got it says otherwise: *not the leader*,
//! *busy*, *forming*, *replaced* and *session expired* say so; silence, a lost connection and lost leadership do not. A call whose
//! attempts were all answered "no" is not done. A call with any other attempt is unknown, unless some attempt is answered: all have
//! the same number in the same session, so that one answer stands for all.
//!
//! **Where to go.** To the server thought to lead; else to servers that are connected, then to the others in their order; one that
//! said nothing within the time others need is left alone for a second. A server that did not help is not asked again before all
//! others were: that is a sweep, and between sweeps is a short pause.
//!
//! **How long to wait.** A call goes on to the next server after a fixed, short time, and leaves the connection behind, as it is: it may
//! still come, or its answer. A connection that nothing has come of is given up in the end, and the next one to the same server waited for
//! twice as long: a link may be slow rather than dead. Otherwise nobody would ever get an answer whose round trip is longer than that short
//! time, or whose request takes longer to send.

mod call; // one call in flight
#[cfg(test)]
mod script; // a core, and the network as a test tells it
mod servers; // whom we know, and the connection to each
mod sessions; // the number that makes a retry safe
mod settle; // what a reply, or its absence, means for a call
#[cfg(test)]
mod stories; // what it does when the network does this
mod timers; // when each call is due for a look
#[cfg(test)]
mod wanderings; // whatever the network does, an outcome is true

use std::collections::{BTreeMap, BTreeSet};

use raft::{ClusterId, Index};
use wire::command::SessionId;
use wire::limits::{FRAME_BODY_LEN_MAX, HELLO_BODY_LEN_MAX};
use wire::{FrameBuffer, Hello, Item, Kind, NodeStatus, Refused, RefusedReason, Request, Value, Welcome, Written};

use self::call::{Attempt, AttemptKind, Call, Phase};
use self::servers::{Awaited, Link, ServerId, Servers};
use self::sessions::{Seat, Sessions};
use self::timers::Timers;
use crate::ask::{Ask, Range};
use crate::error::ClerkError;
use crate::reason::{Reason, Tried};
use crate::token::{Purpose, Token};

/// A connection, as the core names it. Never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnectionId(pub u64);

/// A call, as the core names it. Never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CallNumber(pub u64);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct RequestId(u64);

/// What the core wants done.
#[derive(Debug)]
pub enum Action {
    /// Connect to this address. Answer with `connected` or `closed`.
    Dial {
        /// Its name from now on.
        connection: ConnectionId,
        /// `HOST:PORT`.
        address: String,
    },
    /// Send these bytes, in order. Only ever on a connection that was `connected`.
    Send {
        /// Where.
        connection: ConnectionId,
        /// Whole frames.
        bytes: Vec<u8>,
        /// For which call; `None`: a greeting.
        call: Option<CallNumber>,
    },
    /// Close, or stop dialling. Nothing needs to be answered.
    Close {
        /// What.
        connection: ConnectionId,
    },
    /// The call is over.
    Finished {
        /// Which.
        call: CallNumber,
        /// How.
        outcome: Result<Answer, ClerkError>,
    },
}

/// A definite answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// To a write.
    Written(Written),
    /// To a `Get`.
    Value {
        /// `None`: no such key.
        value: Option<Value>,
        /// The log index it was read at.
        position: Index,
    },
    /// To a `GetStale`.
    StaleValue {
        /// `None`: no such key.
        value: Option<Value>,
        /// The log index it was read at.
        position: Index,
        /// Milliseconds since the node last heard from a leader; `None`: never.
        age_ms: Option<u64>,
    },
    /// To a `Scan` or a `ScanNext`.
    Page(Page),
    /// To a `Status`.
    Status(Box<NodeStatus>),
}

/// Some keys of a scan.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page {
    /// In byte order.
    pub items: Vec<Item>,
    /// The point in time of the whole scan.
    pub position: Index,
    /// Of a stale scan: milliseconds since the node last heard from a leader when it began; `None`: never.
    pub age_ms: Option<u64>,
    /// For the next page; `None`: this is the last.
    pub next: Option<Cursor>,
}

/// Where a scan goes on: a node keeps it for the connection that it began on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cursor {
    connection: ConnectionId,
    scan: u64,
}

/// What a core is made with.
#[derive(Clone, Debug)]
pub struct CoreConfig {
    /// Where to begin, `HOST:PORT` each; the other members are learned.
    pub endpoints: Vec<String>,
    /// 128 random bits, of this clerk alone: two clerks with the same would answer for each other's writes.
    pub session: SessionId,
    /// For the length of pauses.
    pub seed: u64,
    /// The cluster it must be, if that is known.
    pub cluster_id: Option<ClusterId>,
    /// How long to wait.
    pub patience: Patience,
}

/// How long to wait before trying elsewhere, microseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Patience {
    /// For a connection, and as long again for its greeting.
    pub connect_us: u64,
    /// For a reply.
    pub reply_us: u64,
    /// A connection is given up after `connect_us`, doubled for each that was given up before it, but no more than this: a server that is
    /// back is found by a new connection sooner than by an old one.
    pub connect_max_us: u64,
    /// A connection without a reply is given up after `reply_us`, doubled likewise, but no more than this.
    pub reply_max_us: u64,
    /// Between sweeps: the first pause; each is twice as long as the one before.
    pub pause_min_us: u64,
    /// Between sweeps: the longest pause.
    pub pause_max_us: u64,
    /// A server that refused a connection so lately is not dialled again.
    pub redial_us: u64,
    /// A server that said nothing is left alone for so long while others answer.
    pub shun_us: u64,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience {
            connect_us: 300_000,
            reply_us: 500_000,
            connect_max_us: 2_400_000,
            reply_max_us: 32_000_000,
            pause_min_us: 8_000,
            pause_max_us: 50_000,
            redial_us: 10_000,
            shun_us: 1_000_000,
        }
    }
}

/// See the [module](self).
#[derive(Debug)]
pub struct Core {
    patience: Patience,
    cluster_id: Option<ClusterId>,
    servers: Servers,
    sessions: Sessions,
    calls: BTreeMap<CallNumber, Call>,
    requests: BTreeMap<RequestId, CallNumber>,
    /// Calls in `Choosing`.
    choosing: BTreeSet<CallNumber>,
    timers: Timers,
    actions: Vec<Action>,
    random: fastrand::Rng,
    now_us: u64,
    next_call: u64,
    next_request: u64,
}

impl Core {
    /// Knows its endpoints and nothing else yet; dials nobody before the first call.
    pub fn new(config: CoreConfig) -> Core {
        Core {
            patience: config.patience,
            cluster_id: config.cluster_id,
            servers: Servers::new(config.endpoints),
            sessions: Sessions::new(config.session),
            calls: BTreeMap::new(),
            requests: BTreeMap::new(),
            choosing: BTreeSet::new(),
            timers: Timers::default(),
            actions: Vec::new(),
            random: fastrand::Rng::with_seed(config.seed),
            now_us: 0,
            next_call: 1,
            next_request: 1,
        }
    }

    /// A new call; it finishes within `timeout_us`, one way or another.
    pub fn submit(&mut self, now_us: u64, ask: Ask, timeout_us: u64) -> CallNumber {
        let deadline_us = self.passed(now_us).saturating_add(timeout_us);
        let checked = ask.check();
        let target = if let Ask::Status { address } = &ask { Some(self.servers.add(address)) } else { None };
        let number = self.enter(Call::new(ask, deadline_us));
        match (checked, target) {
            (Err(reason), _) => self.finish(number, Err(ClerkError::Rejected { reason })),
            (_, Some(None)) => self.finish(number, Err(ClerkError::NotDone { endpoints: Vec::new() })), // no room for its address
            _ => self.proceed(),
        }
        number
    }

    /// A write that an earlier clerk left unknown: settles it, at most once in all. Or, with the token of a load, the first write behind it.
    ///
    /// # Panics
    /// If the token is not of this write: see [`Token::is_of`].
    pub fn resume(&mut self, now_us: u64, ask: Ask, token: Token, timeout_us: u64) -> CallNumber {
        assert!(token.is_of(&ask), "a resume token of another write");
        let deadline_us = self.passed(now_us).saturating_add(timeout_us);
        let mut call = Call::new(ask, deadline_us);
        call.seat = Some(Seat { session: token.session, birth_index: token.birth_index, seq: token.seq });
        call.resumed = Some(token.purpose);
        call.lost = true;
        let known = *self.cluster_id.get_or_insert(token.cluster_id);
        let number = self.enter(call);
        if known == token.cluster_id {
            self.proceed();
        } else {
            let message = format!("the token belongs to cluster {}, this is {known}", token.cluster_id);
            self.finish(number, Err(ClerkError::Refused { message, resume: Some(Box::new(token)), endpoints: Vec::new() }));
        }
        number
    }

    /// Until `leave_session`, all writes are in one session, also when one of them was left unknown.
    pub fn hold_session(&mut self) {
        self.sessions.hold();
    }

    /// No longer. If any write of that session was left unknown: the token of a write with this digest, to be `resume`d. Once that one is
    /// over, with an answer or because the cluster has forgotten the session (`Unknown`, without a token), none of them can take effect
    /// any more.
    pub fn leave_session(&mut self, op_digest: u32) -> Option<Token> {
        let Seat { session, birth_index, seq } = self.sessions.leave()?;
        Some(Token { purpose: Purpose::Load, cluster_id: self.cluster_id?, session, birth_index, seq, op_digest })
    }

    /// Ends a call now, as its deadline would: not done, or unknown.
    pub fn give_up(&mut self, now_us: u64, call: CallNumber) {
        self.passed(now_us);
        if self.calls.contains_key(&call) {
            self.time_out(call);
        }
        self.proceed();
    }

    /// A dialled connection stands.
    pub fn connected(&mut self, now_us: u64, connection: ConnectionId) {
        let now_us = self.passed(now_us);
        let Some(id) = self.servers.by_connection(connection) else { return };
        let buffer = FrameBuffer::new(HELLO_BODY_LEN_MAX);
        self.servers.get_mut(id).link = Link::Greeting { connection, since_us: now_us, is_left: false, buffer };
        let mut bytes = Vec::new();
        wire::encode_hello(&Hello::Client { cluster_id: self.cluster_id }, &mut bytes);
        self.actions.push(Action::Send { connection, bytes, call: None });
    }

    /// Bytes came, any number of them.
    pub fn received(&mut self, now_us: u64, connection: ConnectionId, bytes: &[u8]) {
        let now_us = self.passed(now_us);
        let Some(id) = self.servers.by_connection(connection) else { return };
        self.servers.heard(id, now_us);
        let Some(buffer) = self.servers.get_mut(id).link.buffer() else { return };
        buffer.push(bytes);
        self.take_frames(connection, id);
        self.proceed();
    }

    /// A connection could not be made, or has ended.
    pub fn closed(&mut self, now_us: u64, connection: ConnectionId, reason: Reason) {
        self.passed(now_us);
        if let Some(id) = self.servers.by_connection(connection) {
            self.servers.hang_up(id);
            self.server_failed(id, reason);
        }
        self.proceed();
    }

    /// Time has passed.
    pub fn tick(&mut self, now_us: u64) {
        let now_us = self.passed(now_us);
        let due = self.timers.due(now_us);
        for number in &due {
            if self.calls.get(number).is_some_and(|call| call.deadline_us <= now_us) {
                self.time_out(*number);
            }
        }
        for id in self.servers.ids() {
            let Some(Awaited { since_us, is_left, reason }) = self.servers.get(id).link.awaited() else { continue };
            if since_us + self.servers.connect_patience_us(id, &self.patience) <= now_us {
                self.servers.get_mut(id).vain_connections += 1;
                self.drop_server(id, reason);
            } else if !is_left && since_us + self.patience.connect_us <= now_us {
                self.servers.leave(id);
                self.servers.silent(id, now_us + self.patience.shun_us);
                self.go_elsewhere(id, &reason);
            }
        }
        for number in due {
            let Some(call) = self.calls.get_mut(&number) else { continue };
            match call.phase {
                Phase::Waiting { server, since_us, .. } if call.next_due_us(&self.patience) <= now_us => {
                    call.failed_at(server, Reason::NoReply);
                    if !self.servers.has_spoken_since(server, since_us) {
                        self.servers.silent(server, now_us + self.patience.shun_us);
                    }
                }
                Phase::Pausing { until_us } if until_us <= now_us => call.tried.clear(),
                _ => continue,
            }
            call.phase = Phase::Choosing;
            self.choosing.insert(number);
        }
        self.proceed();
    }

    /// When `tick` is due, if nothing else happens.
    pub fn next_tick_us(&self) -> Option<u64> {
        let links = self.servers.ids().filter_map(|id| {
            let Awaited { since_us, is_left, .. } = self.servers.get(id).link.awaited()?;
            Some(since_us + if is_left { self.servers.connect_patience_us(id, &self.patience) } else { self.patience.connect_us })
        });
        links.chain(self.timers.first_us()).min()
    }

    /// What is to be done since the last time, in this order.
    pub fn take_actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    /// Calls that have not finished.
    pub fn calls_in_flight(&self) -> usize {
        self.calls.len()
    }

    /// What a call has met so far: whom it tried and how that went.
    pub fn tried(&self, call: CallNumber) -> Vec<Tried> {
        self.calls.get(&call).map(|call| self.tried_by(call)).unwrap_or_default()
    }

    /// Session and number under which a write that has not finished is sent: for checks of what becomes of it. `None`: it was not sent yet.
    /// Another one than before: the cluster has forgotten the session without running the call.
    pub fn identity(&self, call: CallNumber) -> Option<(SessionId, u64)> {
        self.calls.get(&call)?.seat.map(|seat| (seat.session, seat.seq))
    }

    /// Time never goes back, whatever the caller says.
    fn passed(&mut self, now_us: u64) -> u64 {
        self.now_us = self.now_us.max(now_us);
        self.now_us
    }

    fn enter(&mut self, call: Call) -> CallNumber {
        let number = CallNumber(self.next_call);
        self.next_call += 1;
        self.calls.insert(number, call);
        self.choosing.insert(number);
        number
    }

    /// Finds a place for every call that needs one. The end of every event.
    fn proceed(&mut self) {
        while let Some(number) = self.choosing.pop_first() {
            self.place(number);
            self.set_timer(number);
        }
    }

    fn set_timer(&mut self, number: CallNumber) {
        if let Some(call) = self.calls.get_mut(&number) {
            self.timers.set(number, call, &self.patience);
        }
    }

    fn place(&mut self, number: CallNumber) {
        let Some(call) = self.calls.get_mut(&number) else { return };
        let Some(id) = choose(call, &self.servers, self.now_us, &self.patience) else { return self.end_sweep(number) };
        if let Some(attempt) = call.attempt_at(id) {
            // It has this very request. If it lives, another copy does not help; if it said nothing since, the connection may be dead.
            let may_come = self.now_us < attempt.sent_us + self.servers.reply_patience_us(id, &self.patience);
            if may_come || self.servers.has_spoken_since(id, attempt.sent_us) {
                self.with_call(number, |call| call.tried.insert(id));
                self.choosing.insert(number);
                return;
            }
            self.servers.get_mut(id).vain_requests += 1;
            self.drop_server(id, Reason::NoReply);
        }
        let server = self.servers.get(id);
        match (&server.link, &server.failed) {
            (Link::Ready { .. }, _) => return self.send(number, id),
            (Link::Down, Some((at_us, reason))) if !reason.is_silence() && self.now_us < at_us + self.patience.redial_us => {
                let reason = reason.clone();
                self.with_call(number, |call| call.failed_at(id, reason));
                self.choosing.insert(number);
                return;
            }
            (Link::Down, _) => {
                let address = server.address.clone();
                let connection = self.servers.dial(id, self.now_us);
                self.actions.push(Action::Dial { connection, address });
            }
            (link, _) => {
                // It has been waited for as long as any call does.
                if let Some(Awaited { reason, .. }) = link.awaited().filter(|awaited| awaited.is_left) {
                    self.with_call(number, |call| call.failed_at(id, reason));
                    self.choosing.insert(number);
                    return;
                }
            }
        }
        self.with_call(number, |call| call.phase = Phase::Joining(id));
    }

    fn with_call<T>(&mut self, number: CallNumber, change: impl FnOnce(&mut Call) -> T) {
        if let Some(call) = self.calls.get_mut(&number) {
            change(call);
        }
    }

    fn send(&mut self, number: CallNumber, id: ServerId) {
        let Some(connection) = self.servers.get(id).link.connection() else { return };
        let Some(call) = self.calls.get_mut(&number) else { return };
        if call.ask.is_write() && call.seat.is_none() {
            call.seat = self.sessions.assign();
            if call.seat.is_none() {
                call.phase = Phase::Queued;
                return;
            }
        }
        let request = RequestId(self.next_request);
        self.next_request += 1;
        let mut bytes = Vec::new();
        match (&call.ask, call.ask.op(), call.seat) {
            (_, Some(op), Some(seat)) => {
                let mut command = Vec::new();
                let id = match call.resumed {
                    Some(Purpose::Load) => Sessions::fence_id(seat),
                    Some(Purpose::Write) | None => self.sessions.call_id(seat),
                };
                wire::encode_write(&id, &op, &mut command);
                wire::encode_request(request.0, &Request::Write { command: &command }, &mut bytes);
            }
            (Ask::Get { key }, ..) => wire::encode_request(request.0, &Request::Get { key }, &mut bytes),
            (Ask::GetStale { key }, ..) => wire::encode_request(request.0, &Request::GetStale { key }, &mut bytes),
            (Ask::Scan(Range { from, to, limit, keys_only, stale }), ..) => {
                let (stale, keys_only, to, limit) = (*stale, *keys_only, to.as_deref(), *limit);
                wire::encode_request(request.0, &Request::Scan(wire::Scan { stale, keys_only, from, to, limit }), &mut bytes);
            }
            (Ask::ScanNext { cursor }, ..) => wire::encode_request(request.0, &Request::ScanNext { scan: cursor.scan }, &mut bytes),
            _ => wire::encode_request(request.0, &Request::Status, &mut bytes),
        }
        self.requests.insert(request, number);
        call.attempts.insert(request, Attempt { server: id, sent_us: self.now_us, kind: AttemptKind::Call });
        call.phase = Phase::Waiting { request, server: id, since_us: self.now_us };
        self.actions.push(Action::Send { connection, bytes, call: Some(number) });
    }

    fn take_frames(&mut self, connection: ConnectionId, id: ServerId) {
        // Any frame can end the connection, and with it the buffer.
        while self.servers.by_connection(connection) == Some(id) {
            let link = &mut self.servers.get_mut(id).link;
            let is_ready = link.is_ready();
            let Some(buffer) = link.buffer() else { return };
            let frame = match buffer.next() {
                Ok(None) => return,
                Ok(Some(frame)) => frame,
                Err(error) => return self.drop_server(id, Reason::Garbled(error.to_string())),
            };
            if is_ready && frame.kind != Kind::Refused {
                match wire::decode_reply(frame) {
                    Ok((request, reply)) => self.replied(id, RequestId(request), reply),
                    Err(error) => self.drop_server(id, Reason::Garbled(error.to_string())),
                }
            } else {
                match wire::decode_welcome(frame) {
                    Ok(Ok(welcome)) => self.welcomed(connection, id, welcome),
                    Ok(Err(Refused { reason, message })) => self.drop_server(id, Reason::Refused(reason, message)),
                    Err(error) => self.drop_server(id, Reason::Garbled(error.to_string())),
                }
            }
        }
    }

    fn welcomed(&mut self, connection: ConnectionId, id: ServerId, welcome: Welcome) {
        let ours = *self.cluster_id.get_or_insert(welcome.cluster_id);
        if ours != welcome.cluster_id {
            // Two seeds of two clusters, dialled before either had answered: the first to answer decides.
            let message = format!("it belongs to cluster {}, not to {ours}", welcome.cluster_id);
            return self.drop_server(id, Reason::Refused(RefusedReason::WrongCluster, message));
        }
        let server = self.servers.get_mut(id);
        server.failed = None;
        if let Link::Greeting { buffer, since_us, .. } = std::mem::replace(&mut server.link, Link::Down) {
            // Else the link is slow, and its replies will be.
            if self.now_us < since_us + self.patience.connect_us {
                server.vain_connections = 0;
            }
            let mut buffer = buffer;
            buffer.set_body_len_max(FRAME_BODY_LEN_MAX);
            server.link = Link::Ready { connection, heard_us: self.now_us, buffer };
        }
        self.sessions.learn(welcome.applied_index);
        let leader = self.servers.learn(id, welcome.node, &welcome.members, welcome.leader);
        self.servers.leader = self.servers.leader.or(leader);
        for (number, call) in &mut self.calls {
            if call.phase == Phase::Joining(id) {
                call.phase = Phase::Choosing;
                self.choosing.insert(*number);
            }
        }
    }

    /// Whatever stands still because of this server goes on to another.
    fn go_elsewhere(&mut self, id: ServerId, reason: &Reason) {
        for (number, call) in self.calls.iter_mut().filter(|(_, call)| call.depends_on(id)) {
            call.failed_at(id, reason.clone());
            call.phase = Phase::Choosing;
            self.choosing.insert(*number);
        }
    }

    /// Ends the connection from our side.
    fn drop_server(&mut self, id: ServerId, reason: Reason) {
        if let Some(connection) = self.servers.hang_up(id) {
            self.actions.push(Action::Close { connection });
        }
        self.server_failed(id, reason);
    }

    /// The connection is gone: whatever was out on it will not be answered.
    fn server_failed(&mut self, id: ServerId, reason: Reason) {
        if self.servers.leader == Some(id) {
            self.servers.leader = None;
        }
        if reason.is_silence() {
            self.servers.silent(id, self.now_us + self.patience.shun_us);
        }
        for call in self.calls.values_mut() {
            let out: Vec<RequestId> =
                call.attempts.iter().filter(|(_, attempt)| attempt.server == id).map(|(request, _)| *request).collect();
            for request in out {
                call.lose(request);
                self.requests.remove(&request);
            }
        }
        self.go_elsewhere(id, &reason);
        self.servers.get_mut(id).failed = Some((self.now_us, reason));
    }

    fn tried_by(&self, call: &Call) -> Vec<Tried> {
        let mut reasons = call.reasons.clone();
        match call.phase {
            // What it did the last time says more than that it is dialled again.
            Phase::Joining(id) => {
                let greeting = matches!(self.servers.get(id).link, Link::Greeting { .. });
                reasons.entry(id).or_insert(if greeting { Reason::NoGreeting } else { Reason::ConnectTimeout });
            }
            Phase::Waiting { server, request, since_us } if call.attempts.contains_key(&request) => {
                let is_fresh = self.now_us < since_us + self.patience.reply_us / 5;
                if !is_fresh || !reasons.contains_key(&server) {
                    reasons.insert(server, Reason::NoReply);
                }
            }
            Phase::Waiting { .. } | Phase::Choosing | Phase::Queued | Phase::Pausing { .. } => {}
        }
        reasons.into_iter().map(|(id, reason)| Tried { address: self.servers.get(id).address.clone(), reason }).collect()
    }
}

/// Where a call goes next; `None` ends its sweep.
fn choose(call: &Call, servers: &Servers, now_us: u64, patience: &Patience) -> Option<ServerId> {
    let is_shunned = |id: ServerId| servers.get(id).shunned_until_us.is_some_and(|until_us| now_us < until_us);
    let open = |id: &ServerId| !call.tried.contains(id);
    match &call.ask {
        Ask::Status { address } => return servers.find(address).filter(open),
        Ask::ScanNext { cursor } => return servers.by_connection(cursor.connection).filter(open),
        _ => {}
    }
    // A read is answered by any node; a write only by the leader, so that it is worth a connection of its own.
    let leader = servers.leader.filter(|id| open(id) && !is_shunned(*id));
    if let Some(leader) = leader
        && call.ask.prefers_leader()
        && (call.ask.is_write() || servers.get(leader).link.is_ready())
    {
        return Some(leader);
    }
    let rank = |id: ServerId| {
        let server = servers.get(id);
        let failed_lately = server.failed.as_ref().is_some_and(|(at_us, _)| now_us < at_us + patience.shun_us);
        (!server.link.is_ready(), failed_lately, id)
    };
    let all_shunned = servers.ids().all(is_shunned);
    servers.ids().filter(open).filter(|id| all_shunned || !is_shunned(*id)).min_by_key(|id| rank(*id))
}
