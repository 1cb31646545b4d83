//! What a reply, or its absence, means for a call: where outcomes are decided.

use wire::limits::SESSION_WINDOW;
use wire::{BusyReason, RejectedReason, Reply, Request, WriteOutcome};

use super::call::{Attempt, AttemptKind, Call, Phase};
use super::servers::ServerId;
use super::sessions::Seat;
use super::{Action, Answer, CallNumber, Core, Cursor, Page, RequestId};
use crate::ask::Ask;
use crate::error::ClerkError;
use crate::reason::Reason;
use crate::token::{Purpose, Token, op_digest};

impl Core {
    pub(super) fn replied(&mut self, id: ServerId, request: RequestId, reply: Reply) {
        let Some(number) = self.requests.remove(&request) else { return }; // answered by another server meanwhile, or given up
        let Some(call) = self.calls.get_mut(&number) else { return };
        let Some(attempt) = call.attempts.remove(&request) else { return };
        if self.now_us < attempt.sent_us + self.patience.reply_us {
            self.servers.prompt(id);
        }
        if attempt.kind == AttemptKind::News {
            return self.news_came(number, request, id, reply);
        }
        match (&call.ask, reply) {
            (Ask::Get { .. }, Reply::Value { value, position }) => {
                self.sessions.learn(position);
                self.finish(number, Ok(Answer::Value { value, position }));
            }
            (Ask::GetStale { .. }, Reply::StaleValue { value, position, age_ms }) => {
                self.finish(number, Ok(Answer::StaleValue { value, position, age_ms }));
            }
            (Ask::Scan(_) | Ask::ScanNext { .. }, Reply::Page(page)) => {
                self.sessions.learn(page.position);
                let connection = self.servers.get(id).link.connection().filter(|_| !page.last);
                let next = connection.map(|connection| Cursor { connection, scan: page.scan });
                let wire::Page { items, position, age_ms, .. } = page;
                self.finish(number, Ok(Answer::Page(Page { items, position, age_ms, next })));
            }
            (Ask::Scan(_) | Ask::ScanNext { .. }, Reply::ScanLost) => self.go_on(number, request, id, Reason::ScanLost),
            (Ask::Status { .. }, Reply::Status(status)) => self.finish(number, Ok(Answer::Status(status))),
            (ask, Reply::Written(written)) if ask.is_write() => {
                self.sessions.learn(written.position);
                self.servers.leader = Some(id);
                let outcome = match written.outcome {
                    WriteOutcome::ValueTooLong => Err(ClerkError::Rejected { reason: RejectedReason::ValueTooLong }),
                    _ => Ok(Answer::Written(written)),
                };
                self.finish(number, outcome);
            }
            (_, Reply::NotLeader { leader, client_addr }) => {
                let hint = self.servers.resolve(leader, &client_addr).filter(|hint| *hint != id);
                if self.servers.leader == Some(id) {
                    self.servers.leader = None;
                }
                // A hint to a server that this call just came from is a rumour.
                if hint.is_some_and(|hint| !call.tried.contains(&hint)) {
                    self.servers.leader = hint;
                }
                let name = hint.map(|hint| self.servers.get(hint).address.clone());
                self.go_on(number, request, id, Reason::NotLeader(name));
            }
            (_, Reply::LeadershipLost) => {
                call.lost |= call.ask.is_write();
                self.no_longer_leads(id);
                self.go_on(number, request, id, Reason::LeadershipLost);
            }
            (_, Reply::Replaced) => {
                self.no_longer_leads(id);
                self.go_on(number, request, id, Reason::Replaced);
            }
            (_, Reply::Forming { missing }) => self.go_on(number, request, id, Reason::Forming(missing)),
            (_, Reply::Busy { reason }) => {
                call.reasons.insert(id, Reason::Busy(reason));
                if matches!(reason, BusyReason::Full | BusyReason::NoSpace) && !call.maybe() {
                    self.time_out(number); // it stays full for longer than a moment
                } else if call.waits_for(request) {
                    self.pause(number); // and then the same server again: others would only name it
                }
            }
            (ask, Reply::SessionExpired) if ask.is_write() => {
                call.reasons.insert(id, Reason::SessionExpired);
                if call.maybe() {
                    // An earlier attempt may have taken effect before the session was forgotten: nobody can say any more.
                    self.finish_unknown(number, None);
                } else {
                    self.redraw(number, id);
                }
            }
            (_, Reply::Rejected { reason }) => match (call.maybe(), reason) {
                (false, _) => self.finish(number, Err(ClerkError::Rejected { reason })),
                // The session has moved past the call: it was answered before, to whoever asked then.
                (true, RejectedReason::Sequence) => self.finish_unknown(number, None),
                (true, _) => {
                    let resume = self.token(number);
                    self.finish_unknown(number, resume);
                }
            },
            (_, other) => {
                // Back among those that the closed connection loses: nobody knows what this node did with it.
                call.attempts.insert(request, attempt);
                self.requests.insert(request, number);
                self.drop_server(id, Reason::Garbled(format!("an answer to another question: {}", name_of(&other))));
            }
        }
    }

    /// No server is left in this sweep.
    pub(super) fn end_sweep(&mut self, number: CallNumber) {
        let Some(call) = self.calls.get(&number) else { return };
        let all_refuse = self.servers.ids().all(|id| call.reasons.get(&id).is_some_and(Reason::is_refusal));
        if all_refuse || call.ask.is_bound() {
            self.time_out(number);
        } else {
            self.pause(number);
        }
    }

    /// A call ends without a definite answer.
    pub(super) fn time_out(&mut self, number: CallNumber) {
        let Some(call) = self.calls.get(&number) else { return };
        let endpoints = self.tried_by(call);
        let met_only_strangers = endpoints.iter().all(|tried| tried.reason.is_refusal() || tried.reason.is_before_greeting());
        let refusal = endpoints
            .iter()
            .rev()
            .find(|tried| tried.reason.is_refusal() && met_only_strangers && (call.resumed.is_some() || !call.maybe()));
        let outcome = match refusal.map(|tried| tried.reason.clone()) {
            Some(Reason::Refused(wire::RefusedReason::WrongVersion, _)) if !call.maybe() => {
                Err(ClerkError::Rejected { reason: RejectedReason::Version })
            }
            Some(Reason::Refused(_, message)) => {
                let resume = if call.resumed.is_some() { self.token(number) } else { None };
                Err(ClerkError::Refused { message, resume, endpoints })
            }
            Some(other) => unreachable!("{other} is no refusal"),
            None if matches!(call.ask, Ask::ScanNext { .. }) => Err(ClerkError::ScanLost { endpoints }),
            None if call.maybe() => Err(ClerkError::Unknown { resume: self.token(number), endpoints }),
            None => Err(ClerkError::NotDone { endpoints }),
        };
        self.finish(number, outcome);
    }

    pub(super) fn finish(&mut self, number: CallNumber, outcome: Result<Answer, ClerkError>) {
        let Some(mut call) = self.calls.remove(&number) else { return };
        self.timers.clear(number, &mut call);
        self.choosing.remove(&number);
        for request in call.attempts.keys() {
            self.requests.remove(request);
        }
        if let Some(seat) = call.seat {
            match outcome {
                Err(ClerkError::Unknown { .. } | ClerkError::Refused { resume: Some(_), .. }) => self.sessions.given_up(seat),
                _ => self.sessions.settled(seat),
            }
        }
        // Also behind a write that never had a number: it may have been woken in the place of one that still sleeps.
        if call.ask.is_write() {
            self.dequeue();
        }
        self.actions.push(Action::Finished { call: number, outcome });
    }

    fn finish_unknown(&mut self, number: CallNumber, resume: Option<Box<Token>>) {
        let Some(call) = self.calls.get(&number) else { return };
        let endpoints = self.tried_by(call);
        self.finish(number, Err(ClerkError::Unknown { resume, endpoints }));
    }

    /// The window may have moved, or a new session begun. No more than a window's worth can be sent: to wake all of a hundred thousand with
    /// every write that is answered would be minutes of work.
    fn dequeue(&mut self) {
        let queued = self.calls.iter_mut().filter(|(_, call)| call.phase == Phase::Queued);
        for (number, call) in queued.take(usize::try_from(SESSION_WINDOW).unwrap_or(usize::MAX)) {
            call.phase = Phase::Choosing;
            self.choosing.insert(*number);
        }
    }

    /// The server said "not me, not now"; if the call waited for that, it tries the next.
    fn go_on(&mut self, number: CallNumber, request: RequestId, id: ServerId, reason: Reason) {
        let Some(call) = self.calls.get_mut(&number) else { return };
        call.failed_at(id, reason);
        if call.waits_for(request) {
            call.phase = Phase::Choosing;
            self.choosing.insert(number);
        }
    }

    fn no_longer_leads(&mut self, id: ServerId) {
        if self.servers.leader == Some(id) {
            self.servers.leader = None;
        }
    }

    fn pause(&mut self, number: CallNumber) {
        let Some(call) = self.calls.get_mut(&number) else { return };
        let pause_us = (self.patience.pause_min_us << call.sweeps.min(16)).min(self.patience.pause_max_us);
        call.sweeps += 1;
        // Not all clients at once.
        call.phase = Phase::Pausing { until_us: self.now_us + self.random.u64(pause_us / 2..=pause_us) };
        self.timers.set(number, call, &self.patience);
    }

    /// The session was forgotten before any attempt of this call could count: it moves to a new one. That must be born later than
    /// whatever the cluster has forgotten, and the node that said so has applied all of that.
    fn redraw(&mut self, number: CallNumber, id: ServerId) {
        let Some(call) = self.calls.get_mut(&number) else { return };
        if let Some(seat) = call.seat.take() {
            self.sessions.settled(seat);
            self.sessions.retire(seat.session);
        }
        let Some(connection) = self.servers.get(id).link.connection() else { return };
        let request = RequestId(self.next_request);
        self.next_request += 1;
        let mut bytes = Vec::new();
        wire::encode_request(request.0, &Request::Status, &mut bytes);
        self.requests.insert(request, number);
        call.attempts.insert(request, Attempt { server: id, sent_us: self.now_us, kind: AttemptKind::News });
        call.phase = Phase::Waiting { request, server: id, since_us: self.now_us };
        self.timers.set(number, call, &self.patience);
        self.actions.push(Action::Send { connection, bytes, call: Some(number) });
        self.dequeue();
    }

    fn news_came(&mut self, number: CallNumber, request: RequestId, id: ServerId, reply: Reply) {
        match reply {
            Reply::Status(status) => {
                self.sessions.learn(status.applied_index);
                // Not at once: a node that forgets every session must not be asked in a tight loop.
                if self.calls.get(&number).is_some_and(|call| call.waits_for(request)) {
                    self.pause(number);
                }
            }
            other => self.drop_server(id, Reason::Garbled(format!("no status: {}", name_of(&other)))),
        }
    }

    fn token(&self, number: CallNumber) -> Option<Box<Token>> {
        let call = self.calls.get(&number)?;
        let (op, seat, cluster_id) = (call.ask.op()?, call.seat?, self.cluster_id?);
        let Seat { session, birth_index, seq } = seat;
        let purpose = call.resumed.unwrap_or(Purpose::Write);
        Some(Box::new(Token { purpose, cluster_id, session, birth_index, seq, op_digest: op_digest(&op) }))
    }
}

impl Call {
    fn waits_for(&self, request: RequestId) -> bool {
        matches!(self.phase, Phase::Waiting { request: waited, .. } if waited == request)
    }
}

fn name_of(reply: &Reply) -> &'static str {
    match reply {
        Reply::Written(_) => "written",
        Reply::Value { .. } => "value",
        Reply::StaleValue { .. } => "stale value",
        Reply::Page(_) => "page",
        Reply::ScanLost => "scan lost",
        Reply::Status(_) => "status",
        Reply::Members { .. } => "members",
        Reply::NotLeader { .. } => "not leader",
        Reply::Busy { .. } => "busy",
        Reply::Forming { .. } => "forming",
        Reply::Replaced => "replaced",
        Reply::LeadershipLost => "leadership lost",
        Reply::SessionExpired => "session expired",
        Reply::Rejected { .. } => "rejected",
    }
}
