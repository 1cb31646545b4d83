//! One call in flight: what was tried for it, and what may have come of that.

use std::collections::{BTreeMap, BTreeSet};

use super::servers::ServerId;
use super::sessions::Seat;
use super::{Patience, RequestId};
use crate::ask::Ask;
use crate::reason::Reason;
use crate::token::Purpose;

#[derive(Debug)]
pub(super) struct Call {
    pub(super) ask: Ask,
    pub(super) deadline_us: u64,
    /// Where it stands among the timers.
    pub(super) timer_us: Option<u64>,
    /// Its number in a session: given with the first attempt, kept by every other.
    pub(super) seat: Option<Seat>,
    /// The seat came with a resume token for this, so that attempts of another process count too.
    pub(super) resumed: Option<Purpose>,
    pub(super) phase: Phase,
    /// Sent, and not answered yet: each may take effect. At most one per connection.
    pub(super) attempts: BTreeMap<RequestId, Attempt>,
    /// An attempt that may have taken effect, or may yet, will never be answered.
    pub(super) lost: bool,
    /// Servers that this sweep has visited.
    pub(super) tried: BTreeSet<ServerId>,
    /// Sweeps that ended without success since the last sign of progress; they set the length of the pause.
    pub(super) sweeps: u32,
    /// What each server did last.
    pub(super) reasons: BTreeMap<ServerId, Reason>,
}

/// What a call waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// For a server to be chosen: at once.
    Choosing,
    /// For room in the session's window.
    Queued,
    /// For a connection to this server.
    Joining(ServerId),
    /// For the answer to this request, for so long.
    Waiting { request: RequestId, server: ServerId, since_us: u64 },
    /// For the next sweep.
    Pausing { until_us: u64 },
}

/// One request on one connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Attempt {
    pub(super) server: ServerId,
    pub(super) sent_us: u64,
    pub(super) kind: AttemptKind,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum AttemptKind {
    /// The call itself.
    Call,
    /// "How far are you?", of a node that has forgotten our session: the next one must be born later.
    News,
}

impl Call {
    pub(super) fn new(ask: Ask, deadline_us: u64) -> Call {
        Call {
            ask,
            deadline_us,
            timer_us: None,
            seat: None,
            resumed: None,
            phase: Phase::Choosing,
            attempts: BTreeMap::new(),
            lost: false,
            tried: BTreeSet::new(),
            sweeps: 0,
            reasons: BTreeMap::new(),
        }
    }

    /// Whether it may have taken effect, or may yet, by any attempt so far.
    pub(super) fn maybe(&self) -> bool {
        self.ask.is_write() && (self.lost || self.attempts.values().any(|attempt| attempt.kind == AttemptKind::Call))
    }

    /// This attempt will not be answered any more.
    pub(super) fn lose(&mut self, request: RequestId) {
        if self.attempts.remove(&request).is_some_and(|attempt| attempt.kind == AttemptKind::Call) {
            self.lost |= self.ask.is_write();
        }
    }

    /// The attempt that is out at this server, if one is.
    pub(super) fn attempt_at(&self, server: ServerId) -> Option<Attempt> {
        self.attempts.values().find(|attempt| attempt.server == server).copied()
    }

    /// This server did not help, this time.
    pub(super) fn failed_at(&mut self, server: ServerId, reason: Reason) {
        self.tried.insert(server);
        self.reasons.insert(server, reason);
    }

    /// When something is to be done about it, if nothing happens.
    pub(super) fn next_due_us(&self, patience: &Patience) -> u64 {
        match self.phase {
            // Nobody else has the next page: a slow node is better than none.
            Phase::Waiting { .. } if matches!(self.ask, Ask::ScanNext { .. }) => self.deadline_us,
            Phase::Waiting { since_us, .. } => self.deadline_us.min(since_us + patience.reply_us),
            Phase::Pausing { until_us } => self.deadline_us.min(until_us),
            Phase::Choosing | Phase::Queued | Phase::Joining(_) => self.deadline_us,
        }
    }

    /// Whether it stands still because of this server.
    pub(super) fn depends_on(&self, server: ServerId) -> bool {
        match self.phase {
            Phase::Joining(at) | Phase::Waiting { server: at, .. } => at == server,
            Phase::Choosing | Phase::Queued | Phase::Pausing { .. } => false,
        }
    }
}
