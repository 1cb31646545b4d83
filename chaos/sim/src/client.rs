//! Clients that append. Each has a session and one call at a time; an unanswered call is sent again, under its number, to another node,
//! for as long as it takes: so every call is acknowledged in the end, and must have taken effect once.

use raft::Index;
use wire::client::{Reply, Request, WriteOutcome};
use wire::command::{CallId, Command, Op, SessionId};

/// After this silence the call is sent again, elsewhere.
pub(crate) const PATIENCE_US: u64 = 500_000;

/// Longer ones would in the end be more than a value may be.
const PADDED_CALLS_MAX: u64 = 500;

/// One client, its session and what it was told.
pub(crate) struct Client {
    /// Also its key: `c0`, `c1`, ...
    pub(crate) id: usize,
    session: SessionId,
    padding: String,
    birth_index: Index,
    seq: u64,
    /// Which node is tried next.
    pub(crate) target: usize,
    /// Counts what was sent; timers of earlier attempts are void.
    pub(crate) attempt: u64,
    first_attempt: u64,
    /// Sequence numbers of appends that were acknowledged.
    pub(crate) acknowledged: Vec<u64>,
}

/// What the client makes of a reply.
pub(crate) enum Step {
    /// The call is done.
    Done,
    /// Send it again, to this node if one is named.
    Again(Option<usize>),
    /// A reply to something else.
    Ignore,
}

impl Client {
    pub(crate) fn new(id: usize, session: u128, target: usize, padding_len: usize) -> Client {
        Client {
            id,
            session: SessionId(session),
            padding: ".".repeat(padding_len),
            birth_index: Index(1),
            seq: 0,
            target,
            attempt: 0,
            first_attempt: 1,
            acknowledged: Vec::new(),
        }
    }

    pub(crate) fn key(&self) -> Vec<u8> {
        format!("c{}", self.id).into_bytes()
    }

    pub(crate) fn token(&self, seq: u64) -> String {
        let padding = if seq <= PADDED_CALLS_MAX { &self.padding } else { "" };
        format!("x {} {seq} {padding}y", self.id)
    }

    pub(crate) fn begin_call(&mut self) {
        self.seq += 1;
        self.first_attempt = self.attempt + 1;
    }

    /// Another attempt is sent; whether it is a retry.
    pub(crate) fn send(&mut self) -> bool {
        self.attempt += 1;
        self.attempt > self.first_attempt
    }

    /// Whether the call under way is still at this attempt.
    pub(crate) fn waits_for(&self, attempt: u64) -> bool {
        self.attempt == attempt && !self.is_idle()
    }

    /// Whether every call so far is acknowledged.
    pub(crate) fn is_idle(&self) -> bool {
        self.acknowledged.last().copied().unwrap_or(0) == self.seq
    }

    /// The call under way as the bytes of a command.
    pub(crate) fn command(&self) -> Vec<u8> {
        let call = CallId { session: self.session, birth_index: self.birth_index, seq: self.seq, first_unanswered: self.seq };
        let (key, value) = (self.key(), self.token(self.seq));
        let mut bytes = Vec::new();
        Command::Write { call, op: Op::Append { key: &key, value: value.as_bytes() } }.encode(&mut bytes);
        bytes
    }

    /// The request's number is the call's.
    pub(crate) fn request_id(&self) -> u64 {
        self.seq
    }

    pub(crate) fn request(command: &[u8]) -> Request<'_> {
        Request::Write { command }
    }

    pub(crate) fn on_reply(&mut self, request_id: u64, reply: &Reply) -> Step {
        if request_id != self.seq || self.is_idle() {
            return Step::Ignore;
        }
        match reply {
            Reply::Written(written) => {
                assert_eq!(written.outcome, WriteOutcome::Done, "an append is done");
                self.acknowledged.push(self.seq);
                Step::Done
            }
            Reply::NotLeader { leader, .. } => Step::Again(leader.map(|leader| usize::try_from(leader.0 - 1).expect("ids count from 1"))),
            Reply::Busy { .. } | Reply::Forming { .. } | Reply::Replaced | Reply::LeadershipLost => Step::Again(None),
            reply => panic!("client {} call {}: nobody should answer {reply:?}", self.id, self.seq),
        }
    }
}
