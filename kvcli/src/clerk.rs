//! The Clerk: a core on real sockets, and calls that wait for their answer.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use raft::{ClusterId, Index};
use wire::{NodeStatus, SessionId, Value, Written};

use crate::ask::{Ask, Expectation, Range};
use crate::core::{Answer, CallNumber, Core, CoreConfig, Patience};
use crate::error::ClerkError;
use crate::overview::Overview;
use crate::reason::Tried;
use crate::scan::Scan;
use crate::token::Token;
use crate::transport::Transport;

/// The timeout of a call, unless another is asked for.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);
/// One turn of the loop: long enough to cost nothing, short enough that a turn without events is no hang.
const TURN: Duration = Duration::from_secs(3600);

/// A call that is over, and how.
pub type Finished = (CallNumber, Result<Answer, ClerkError>);

/// How a clerk behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bounds one call, with all its retries.
    pub timeout: Duration,
    /// When to try elsewhere meanwhile.
    pub patience: Patience,
    /// The cluster it must be, if that is known: another one refuses us.
    pub cluster_id: Option<ClusterId>,
}

impl Default for Options {
    fn default() -> Options {
        Options { timeout: DEFAULT_TIMEOUT, patience: Patience::default(), cluster_id: None }
    }
}

/// What a read found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reading {
    /// `None`: no such key.
    pub value: Option<Value>,
    /// The log index it was read at.
    pub position: Index,
}

/// What a read found that may be old.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StaleReading {
    /// `None`: no such key.
    pub value: Option<Value>,
    /// The log index it was read at: later writes are not in it.
    pub position: Index,
    /// Milliseconds since the node last heard from a leader; `None`: never since it started.
    pub age_ms: Option<u64>,
}

/// A client of one cluster. It finds the leader, follows it, and retries what is safe to retry.
#[derive(Debug)]
pub struct Clerk {
    transport: Transport,
    endpoints: Vec<String>,
    timeout: Duration,
    finished: BTreeMap<CallNumber, Result<Answer, ClerkError>>,
    /// Nobody wants to know how they end.
    forgotten: BTreeSet<CallNumber>,
}

impl Clerk {
    /// Knows where to begin, `HOST:PORT` each (see [`parse_endpoint`](crate::parse_endpoint)); connects with the first call.
    pub fn new(endpoints: impl IntoIterator<Item = impl Into<String>>, options: Options) -> Result<Clerk, ClerkError> {
        let mut random = [0; 24];
        getrandom::fill(&mut random).map_err(|error| local("drawing a session")(std::io::Error::other(error.to_string())))?;
        let (session, seed) = random.split_at(16);
        let word = |bytes: &[u8]| bytes.iter().fold(0, |word: u128, byte| word << 8 | u128::from(*byte));
        let endpoints: Vec<String> = endpoints.into_iter().map(Into::into).collect();
        let core = Core::new(CoreConfig {
            endpoints: endpoints.clone(),
            session: SessionId(word(session)),
            seed: u64::try_from(word(seed)).unwrap_or_default(),
            cluster_id: options.cluster_id,
            patience: options.patience,
        });
        let transport = Transport::new(core).map_err(local("making a poll"))?;
        Ok(Clerk { transport, endpoints, timeout: options.timeout, finished: BTreeMap::new(), forgotten: BTreeSet::new() })
    }

    /// Writes `value` under `key`.
    pub fn put(&mut self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Result<Written, ClerkError> {
        self.write(Ask::Put { key: key.into(), value: value.into() })
    }

    /// Adds `value` to the end of what `key` holds; a missing key is an empty value.
    pub fn append(&mut self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Result<Written, ClerkError> {
        self.write(Ask::Append { key: key.into(), value: value.into() })
    }

    /// Removes `key`. `Written::outcome` says whether it was there.
    pub fn delete(&mut self, key: impl Into<Vec<u8>>) -> Result<Written, ClerkError> {
        self.write(Ask::Delete { key: key.into() })
    }

    /// Writes `value` under `key` if that is as expected. `Written::outcome` says whether it was.
    pub fn cas(&mut self, key: impl Into<Vec<u8>>, expect: Expectation, value: impl Into<Vec<u8>>) -> Result<Written, ClerkError> {
        self.write(Ask::Cas { key: key.into(), expect, value: value.into() })
    }

    /// What `key` holds, after every call that finished before this one began.
    pub fn get(&mut self, key: impl Into<Vec<u8>>) -> Result<Reading, ClerkError> {
        let call = self.submit(Ask::Get { key: key.into() }, self.timeout);
        match self.wait(call)? {
            Answer::Value { value, position } => Ok(Reading { value, position }),
            _ => unreachable!("the core answers what was asked"),
        }
    }

    /// What some node has applied under `key`, whoever leads and whether anybody does: possibly old, and it says how old.
    pub fn get_stale(&mut self, key: impl Into<Vec<u8>>) -> Result<StaleReading, ClerkError> {
        let call = self.submit(Ask::GetStale { key: key.into() }, self.timeout);
        match self.wait(call)? {
            Answer::StaleValue { value, position, age_ms } => Ok(StaleReading { value, position, age_ms }),
            _ => unreachable!("the core answers what was asked"),
        }
    }

    /// All keys of a range at one point in time: after every call that finished before this one began, unless the range is stale. The
    /// timeout bounds the wait for each page.
    pub fn scan(&mut self, range: Range) -> Result<Scan<'_>, ClerkError> {
        let call = self.submit(Ask::Scan(range), self.timeout);
        match self.wait(call)? {
            Answer::Page(page) => Scan::new(self, page),
            _ => unreachable!("the core answers what was asked"),
        }
    }

    /// Settles a write that was left unknown, perhaps by another process: at most once in all.
    ///
    /// # Panics
    /// If the token is not of this write: see [`Token::is_of`].
    pub fn resume(&mut self, token: Token, ask: Ask) -> Result<Written, ClerkError> {
        let call = self.submit_resumed(token, ask, self.timeout);
        self.wait_written(call)
    }

    /// How the node at this address is. Nobody else is asked.
    pub fn status(&mut self, address: &str) -> Result<NodeStatus, ClerkError> {
        let call = self.submit(Ask::Status { address: address.into() }, self.timeout);
        match self.wait(call)? {
            Answer::Status(status) => Ok(*status),
            _ => unreachable!("the core answers what was asked"),
        }
    }

    /// How the cluster is: every endpoint is asked, and every member that any of them knows of, all at once.
    pub fn overview(&mut self) -> Result<Overview, ClerkError> {
        let mut answers = BTreeMap::new();
        let mut unasked: BTreeSet<String> = self.endpoints.iter().cloned().collect();
        while !unasked.is_empty() {
            let calls: Vec<(String, CallNumber)> = std::mem::take(&mut unasked)
                .into_iter()
                .map(|address| (address.clone(), self.submit(Ask::Status { address }, self.timeout)))
                .collect();
            for (address, call) in calls {
                let answer = match self.wait(call) {
                    Ok(Answer::Status(status)) => {
                        unasked.extend(Overview::known_addresses(&status).map(str::to_string));
                        Ok(status)
                    }
                    Ok(_) => unreachable!("the core answers what was asked"),
                    Err(error @ ClerkError::Local { .. }) => return Err(error),
                    Err(error) => Err(error.endpoints().last().map(|tried| tried.reason.clone())),
                };
                answers.insert(address, answer);
            }
            unasked.retain(|address| !answers.contains_key(address));
        }
        Ok(Overview::new(answers))
    }

    fn write(&mut self, ask: Ask) -> Result<Written, ClerkError> {
        let call = self.submit(ask, self.timeout);
        self.wait_written(call)
    }

    fn wait_written(&mut self, call: CallNumber) -> Result<Written, ClerkError> {
        match self.wait(call)? {
            Answer::Written(written) => Ok(written),
            _ => unreachable!("the core answers what was asked"),
        }
    }

    /// Begins a call and does not wait for it. Any number may be in flight; the writes of a session beyond 64 wait for their turn.
    pub fn submit(&mut self, ask: Ask, timeout: Duration) -> CallNumber {
        self.transport.submit(ask, timeout)
    }

    /// As `submit`, for a write that was left unknown.
    ///
    /// # Panics
    /// If the token is not of this write: see [`Token::is_of`].
    pub fn submit_resumed(&mut self, token: Token, ask: Ask, timeout: Duration) -> CallNumber {
        self.transport.resume(ask, token, timeout)
    }

    /// Until [`leave_session`](Clerk::leave_session), all writes are in one session, also when one of them was left unknown: then one token
    /// stands for all of them.
    pub fn hold_session(&mut self) {
        self.transport.core_mut().hold_session();
    }

    /// No longer: the writes since are over. If any was left unknown: a token for the next write, which has this
    /// [digest](Token::digest_of). Once that is [resumed](Clerk::resume), by whichever clerk, none of those can take effect behind it:
    /// neither after an answer, nor after [`ClerkError::Unknown`] without a token, which means that the cluster has forgotten the session
    /// (the next write is to be made again, then).
    pub fn leave_session(&mut self, next_digest: u32) -> Option<Token> {
        self.transport.core_mut().leave_session(next_digest)
    }

    /// Waits until this call is over.
    pub fn wait(&mut self, call: CallNumber) -> Result<Answer, ClerkError> {
        loop {
            if let Some(outcome) = self.finished.remove(&call) {
                return outcome;
            }
            self.step(TURN)?;
        }
    }

    /// Works for at most so long, and returns the calls that are over meanwhile, as soon as there are any.
    pub fn turn(&mut self, wait: Duration) -> Result<Vec<Finished>, ClerkError> {
        if self.finished.is_empty() {
            self.step(wait)?;
        }
        Ok(std::mem::take(&mut self.finished).into_iter().collect())
    }

    /// Ends a call as its timeout would, with the next turn.
    pub fn give_up(&mut self, call: CallNumber) {
        self.transport.give_up(call);
    }

    /// Whether every call is over, and its end was taken.
    pub fn is_idle(&self) -> bool {
        self.finished.is_empty() && self.transport.core().calls_in_flight() == 0
    }

    /// What a call that is not over has met so far.
    pub fn tried(&self, call: CallNumber) -> Vec<Tried> {
        self.transport.core().tried(call)
    }

    /// From now on a turn also ends when there is something to read here: a signal descriptor, say.
    pub fn watch(&mut self, descriptor: &impl AsFd) -> Result<(), ClerkError> {
        self.transport.watch(descriptor.as_fd().as_raw_fd()).map_err(local("watching a descriptor"))
    }

    /// No longer. Before the descriptor is closed.
    pub fn unwatch(&mut self, descriptor: &impl AsFd) -> Result<(), ClerkError> {
        self.transport.unwatch(descriptor.as_fd().as_raw_fd()).map_err(local("watching a descriptor"))
    }

    /// As `wait`, for a call without a deadline. `None`: `stop`, asked whenever anything has happened, has ended it.
    pub(crate) fn wait_within_timeout(&mut self, call: CallNumber, mut stop: impl FnMut() -> bool) -> Result<Option<Answer>, ClerkError> {
        let began = Instant::now();
        loop {
            // Looked at before the time is: it may have come while nobody waited.
            self.step(Duration::ZERO)?;
            if let Some(outcome) = self.finished.remove(&call) {
                return outcome.map(Some);
            }
            if stop() {
                self.forget(call);
                return Ok(None);
            }
            let left = self.timeout.saturating_sub(began.elapsed());
            if left.is_zero() {
                self.give_up(call);
            } else {
                self.step(left)?;
            }
        }
    }

    /// Ends a call, and never returns it from a turn.
    pub(crate) fn forget(&mut self, call: CallNumber) {
        if self.finished.remove(&call).is_none() {
            self.forgotten.insert(call);
            self.give_up(call);
        }
    }

    pub(crate) fn step(&mut self, wait: Duration) -> Result<(), ClerkError> {
        let finished = self.transport.turn(wait).map_err(local("waiting for the network"))?;
        let wanted = finished.into_iter().filter(|(call, _)| !self.forgotten.remove(call));
        self.finished.extend(wanted);
        Ok(())
    }
}

fn local(doing: &'static str) -> impl FnOnce(std::io::Error) -> ClerkError {
    move |source| ClerkError::Local { doing, source }
}
