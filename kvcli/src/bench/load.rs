//! What is asked, and what came of it: first every key that will be read is written, then each client keeps its calls in flight.

use std::time::Duration;

use super::clients::Clients;
use super::meter::{Meter, Report};
use super::{BenchArgs, BenchOp};
use crate::ask::Ask;
use crate::core::{Answer, CallNumber, Core};
use crate::error::ClerkError;
use crate::token::Token;

/// Calls in flight over all clients while keys are written: enough for full batches, few enough to be no load of their own.
const PREPARING_IN_FLIGHT_MAX: usize = 1024;
const PREPARING_IN_FLIGHT_PER_CLIENT: usize = 32;
/// Values differ in where in the noise they begin.
const NOISE_EXTRA: usize = 4096;

/// See the [module](self).
pub(super) struct Load {
    op: BenchOp,
    value_len: usize,
    keys: u64,
    in_flight: usize,
    failover: bool,
    timeout_us: u64,
    warmup_us: u64,
    measured_us: u64,
    clients: Vec<Caller>,
    /// Random bytes that all values are cut from.
    noise: Vec<u8>,
    random: fastrand::Rng,
    phase: Phase,
    pending_count: usize,
    meter: Meter,
    /// Ended it before there were figures.
    failure: Option<ClerkError>,
}

/// What a client is at.
#[derive(Default)]
struct Caller {
    /// Out, and what each was; at most as many as are in flight.
    pending: Vec<(CallNumber, Call)>,
    /// The next key it prepares.
    next_key: u64,
    /// Calls that ended badly; each is followed by the next one only after a tick, for the sake of whoever is in trouble.
    owed: usize,
    /// To be settled or tried again, with the next tick.
    again: Vec<(Call, Option<Box<Token>>)>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Keys are written; so many of them are prepared.
    Preparing { keys: u64 },
    /// Figures are taken from `from_us` on.
    Running { from_us: u64, until_us: u64 },
    /// Nothing new begins.
    Draining,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Call {
    kind: Kind,
    key: u64,
    /// Where its value begins in the noise.
    value_at: usize,
    began_us: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Put,
    /// A put of no bytes: what is appended to.
    Empty,
    Append,
    Get,
}

impl Load {
    pub(super) fn new(args: &BenchArgs, timeout: Duration) -> Load {
        let clients = u64::from(args.clients);
        let mut random = fastrand::Rng::with_seed(0x6265_6e63_6800); // the same keys in the same order: figures are to be compared
        let mut noise = vec![0; args.value_size + NOISE_EXTRA];
        random.fill(&mut noise);
        // What is only written need not be there before: then one key per client, so that all are connected when the time begins.
        let keys = if args.op == BenchOp::Put { args.keys.min(clients) } else { args.keys };
        Load {
            op: args.op,
            value_len: args.value_size,
            keys: args.keys,
            in_flight: args.in_flight as usize,
            failover: args.failover,
            timeout_us: u64::try_from(timeout.as_micros()).unwrap_or(u64::MAX),
            warmup_us: u64::from(args.warmup) * 1_000_000,
            measured_us: u64::from(args.seconds) * 1_000_000,
            clients: (0..clients).map(|at| Caller { next_key: at, ..Caller::default() }).collect(),
            noise,
            random,
            phase: Phase::Preparing { keys },
            pending_count: 0,
            meter: Meter::new(),
            failure: None,
        }
    }

    /// The first calls of all clients.
    pub(super) fn begin(&mut self, clients: &mut Clients) {
        let in_flight = (PREPARING_IN_FLIGHT_MAX / self.clients.len()).clamp(1, PREPARING_IN_FLIGHT_PER_CLIENT);
        self.clients.iter_mut().for_each(|client| client.owed = in_flight);
        clients.tick(self);
    }

    pub(super) fn is_over(&self) -> bool {
        self.failure.is_some() || (self.phase == Phase::Draining && self.pending_count == 0)
    }

    pub(super) fn into_report(self) -> Result<Report, ClerkError> {
        match self.failure {
            Some(failure) => Err(failure),
            None => Ok(self.meter.report(self.measured_us)),
        }
    }

    /// What the time alone decides.
    pub(super) fn time_passed(&mut self, now_us: u64) {
        match self.phase {
            Phase::Preparing { .. } if self.pending_count == 0 => {
                let from_us = now_us + self.warmup_us;
                self.phase = Phase::Running { from_us, until_us: from_us + self.measured_us };
                self.clients.iter_mut().for_each(|client| client.owed = self.in_flight);
            }
            Phase::Running { from_us, until_us } => {
                if now_us >= from_us {
                    self.meter.begin(from_us);
                }
                if now_us >= until_us {
                    self.meter.end(until_us);
                    self.phase = Phase::Draining;
                }
            }
            Phase::Preparing { .. } | Phase::Draining => {}
        }
    }

    /// What a client still has to begin.
    pub(super) fn tick(&mut self, at: usize, core: &mut Core, now_us: u64) {
        for (call, token) in std::mem::take(&mut self.clients[at].again) {
            self.submit(at, core, call, token, now_us);
        }
        for _ in 0..std::mem::take(&mut self.clients[at].owed) {
            self.next(at, core, now_us);
        }
    }

    /// A call is over.
    pub(super) fn finished(&mut self, at: usize, core: &mut Core, number: CallNumber, outcome: Result<Answer, ClerkError>, now_us: u64) {
        let pending = &mut self.clients[at].pending;
        let Some(found) = pending.iter().position(|(known, _)| *known == number) else { return };
        let (_, call) = pending.swap_remove(found);
        self.pending_count -= 1;
        let is_write = call.kind != Kind::Get;
        // Not before: nobody may be there. Not afterwards: nobody may come back.
        let may_try_again = self.failover && matches!(self.phase, Phase::Running { .. });
        match outcome {
            Ok(Answer::Value { value: None, .. }) => self.meter.missed(&format!("no value at {}", name(call.key))),
            Ok(_) => {
                if let Phase::Running { from_us, until_us } = self.phase
                    && (from_us..until_us).contains(&now_us)
                {
                    // The clock of the phases ticks; a call may be the first to know that the time has begun.
                    self.meter.begin(from_us);
                    self.meter.done(now_us, now_us - call.began_us, is_write || self.op == BenchOp::Get);
                }
            }
            Err(ClerkError::Unknown { resume: Some(token), .. }) if may_try_again => return self.again(at, call, Some(token)),
            Err(ClerkError::NotDone { .. }) if may_try_again => return self.again(at, call, None),
            Err(failure) if matches!(self.phase, Phase::Preparing { .. }) => {
                self.failure.get_or_insert(failure);
                return;
            }
            Err(failure) => {
                self.meter.missed(&failure.to_string());
                self.clients[at].owed += 1;
                return;
            }
        }
        self.next(at, core, now_us);
    }

    fn again(&mut self, at: usize, call: Call, token: Option<Box<Token>>) {
        self.pending_count += 1; // it is still out, though not in the core
        self.clients[at].again.push((call, token));
    }

    /// Begins the next call of a client, if there is to be one.
    fn next(&mut self, at: usize, core: &mut Core, now_us: u64) {
        let (kind, key) = match self.phase {
            Phase::Preparing { keys } => {
                let clients = self.clients.len() as u64;
                let next_key = &mut self.clients[at].next_key;
                if *next_key >= keys {
                    return;
                }
                let key = *next_key;
                *next_key += clients;
                (if self.op == BenchOp::Append { Kind::Empty } else { Kind::Put }, key)
            }
            Phase::Running { until_us, .. } if now_us < until_us => {
                let kind = match self.op {
                    BenchOp::Put => Kind::Put,
                    BenchOp::Get => Kind::Get,
                    BenchOp::Append => Kind::Append,
                    BenchOp::Mixed => *[Kind::Put, Kind::Get].get(self.random.usize(..2)).unwrap_or(&Kind::Put),
                };
                (kind, self.random.u64(..self.keys))
            }
            Phase::Running { .. } | Phase::Draining => return,
        };
        let call = Call { kind, key, value_at: self.random.usize(..NOISE_EXTRA), began_us: now_us };
        self.pending_count += 1;
        self.submit(at, core, call, None, now_us);
    }

    fn submit(&mut self, at: usize, core: &mut Core, call: Call, token: Option<Box<Token>>, now_us: u64) {
        let ask = self.ask(&call);
        let number = match token {
            Some(token) => core.resume(now_us, ask, *token, self.timeout_us),
            None => core.submit(now_us, ask, self.timeout_us),
        };
        self.clients[at].pending.push((number, call));
    }

    fn ask(&self, call: &Call) -> Ask {
        let key = name(call.key).into_bytes();
        let value = || self.noise[call.value_at..call.value_at + self.value_len].to_vec();
        match call.kind {
            Kind::Put => Ask::Put { key, value: value() },
            Kind::Empty => Ask::Put { key, value: Vec::new() },
            Kind::Append => Ask::Append { key, value: value() },
            Kind::Get => Ask::Get { key },
        }
    }
}

fn name(key: u64) -> String {
    format!("bench/{key:010}")
}
