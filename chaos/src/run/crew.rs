//! The clients of a run: a thread each, a real Clerk each, and one clock for all. What they ask and are told goes to one place.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use checker::{Call, Name, Op, Outcome};
use fastrand::Rng;
use kvcli::{Clerk, ClerkError, Options, Token};

use super::perform::{Ended, now_ns, perform, settle};
use super::workload::{Rotation, Script, Workload};

/// What all clients of a run have in common.
#[derive(Clone)]
pub(crate) struct Duty {
    pub(crate) workload: Workload,
    /// Of every node, `HOST:PORT`.
    pub(crate) endpoints: Vec<String>,
    pub(crate) clients: usize,
    /// Calls per second, of all clients together; `None`: as many as are answered.
    pub(crate) rate: Option<u32>,
    /// Bounds a call, with its retries.
    pub(crate) timeout: Duration,
    pub(crate) seed: u64,
    /// When time began: every interval of the history is on this clock.
    pub(crate) start: Instant,
    /// Where a client's thread goes before it opens a socket.
    pub(crate) enter: Arc<dyn Fn(usize) -> io::Result<()> + Send + Sync>,
}

/// Of the session workload: the longest wait before an unknown write is settled.
const SETTLE_AFTER_MAX: Duration = Duration::from_secs(8);
/// Behind this it no longer has a right to be settled: the run is over.
const SETTLE_TRIES_MAX: usize = 3;

/// Clients at work.
pub(crate) struct Crew {
    threads: Vec<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    /// Writes of unknown outcome that somebody else has settled.
    settled: Arc<AtomicU64>,
    ops: Receiver<Result<Op, String>>,
}

impl Crew {
    /// Sends them to work.
    pub(crate) fn start(duty: &Duty) -> io::Result<Crew> {
        let (sender, ops) = mpsc::channel();
        let (stop, settled) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let rotation = Arc::new(Rotation::default());
        let mut threads = Vec::new();
        for number in 0..duty.clients {
            let client = Client {
                script: Script::new(duty.workload, number, duty.seed, Arc::clone(&rotation)),
                number,
                lives: 0,
                rng: Rng::with_seed(duty.seed.wrapping_add(number as u64 * 7919)),
                duty: duty.clone(),
                stop: Arc::clone(&stop),
                settled: Arc::clone(&settled),
                ops: sender.clone(),
                unsettled: Vec::new(),
            };
            let name = format!("client {number}");
            threads.push(std::thread::Builder::new().name(name).spawn(move || client.work())?);
        }
        Ok(Crew { threads, stop, settled, ops })
    }

    /// What has ended since it was last asked for, after waiting for at most so long. `Err`: this machine failed a client.
    pub(crate) fn take(&self, wait: Duration) -> Result<Vec<Op>, String> {
        let mut ops = Vec::new();
        if let Ok(first) = self.ops.recv_timeout(wait) {
            ops.push(first?);
        }
        for op in self.ops.try_iter() {
            ops.push(op?);
        }
        Ok(ops)
    }

    /// Lets every client finish the call that it is in, and what it has to settle; what ended meanwhile, and how many were settled in all.
    pub(crate) fn stop(self) -> Result<(Vec<Op>, u64), String> {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().map_err(|_| "a client's thread panicked".to_owned())?;
        }
        Ok((self.ops.try_iter().collect::<Result<_, _>>()?, self.settled.load(Ordering::Relaxed)))
    }
}

struct Client {
    script: Script,
    number: usize,
    /// Identities so far: whoever does not know what became of a call goes on as somebody else.
    lives: u64,
    rng: Rng,
    duty: Duty,
    stop: Arc<AtomicBool>,
    settled: Arc<AtomicU64>,
    ops: Sender<Result<Op, String>>,
    unsettled: Vec<Unsettled>,
}

/// A write of the session workload whose outcome is to be learned later.
struct Unsettled {
    op: Op,
    token: Token,
    due: Instant,
    tries: usize,
}

impl Client {
    fn work(mut self) {
        if let Err(error) = self.try_work() {
            let _ = self.ops.send(Err(format!("client {}: {error}", self.number))); // nobody listens: the run is over
        }
    }

    fn try_work(&mut self) -> Result<(), String> {
        (self.duty.enter)(self.number).map_err(|error| format!("cannot enter the clients' network namespace: {error}"))?;
        let mut clerk = self.clerk()?;
        // Calls are due at fixed times: a slow one does not slow down those behind it for good, it delays them.
        let pace = self.duty.rate.map(|rate| Duration::from_secs(1) * u32::try_from(self.duty.clients).unwrap_or(1) / rate.max(1));
        let mut due = Instant::now() + pace.unwrap_or_default().mul_f64(self.rng.f64());
        while !self.stop.load(Ordering::Relaxed) {
            if let Some(pace) = pace {
                // sleeps because a call is due at its time and not before; in pieces, to be stopped meanwhile
                std::thread::sleep(due.saturating_duration_since(Instant::now()).min(Duration::from_millis(100)));
                if Instant::now() < due {
                    continue;
                }
                due = (due + pace).max(Instant::now() - Duration::from_secs(1));
            }
            self.settle_due()?;
            let call = self.script.next();
            let begun = now_ns(self.duty.start);
            let ended = perform(&mut clerk, &call, self.duty.timeout);
            let is_unknown = ended.outcome == Outcome::Unknown;
            self.record(call, begun, ended)?;
            if is_unknown {
                self.lives += 1;
                clerk = self.clerk()?;
            }
        }
        // Nothing is broken any more; unless it is, and then the first says so for all.
        let mut is_answered = true;
        for unsettled in std::mem::take(&mut self.unsettled) {
            if is_answered {
                is_answered = self.settle(unsettled, SETTLE_TRIES_MAX)?;
            } else {
                self.send(unsettled.op)?;
            }
        }
        Ok(())
    }

    /// A new identity: a new session, and the nodes in another order.
    fn clerk(&mut self) -> Result<Clerk, String> {
        let mut endpoints = self.duty.endpoints.clone();
        self.rng.shuffle(&mut endpoints);
        let options = Options { timeout: self.duty.timeout, ..Options::default() };
        Clerk::new(endpoints, options).map_err(|error: ClerkError| error.to_string())
    }

    fn record(&mut self, call: Call, begun: u64, ended: Ended) -> Result<(), String> {
        if let Some(error) = ended.local {
            return Err(error);
        }
        let is_read = call.is_read();
        let mut op = Op::new(Name::Text(format!("c{}.{}", self.number, self.lives).into()), call, begun);
        ended.close(&mut op, now_ns(self.duty.start));
        if let Outcome::Ok(answer) = &op.outcome {
            self.script.learn(&op.call, answer);
        }
        match ended.token {
            Some(token) if self.duty.workload == Workload::Session && !is_read => {
                let due = Instant::now() + SETTLE_AFTER_MAX.mul_f64(self.rng.f64());
                self.unsettled.push(Unsettled { op, token, due, tries: 0 });
                Ok(())
            }
            _ => self.send(op),
        }
    }

    fn send(&self, op: Op) -> Result<(), String> {
        self.ops.send(Ok(op)).map_err(|_| "the run has ended".into())
    }

    fn settle_due(&mut self) -> Result<(), String> {
        let Some(place) = self.unsettled.iter().position(|unsettled| unsettled.due <= Instant::now()) else { return Ok(()) };
        let unsettled = self.unsettled.swap_remove(place);
        let tries = unsettled.tries + 1;
        self.settle(unsettled, tries).map(drop)
    }

    /// Somebody else, at another node, finishes what was left unknown, after so many tries; whether there was an answer.
    fn settle(&mut self, unsettled: Unsettled, tries: usize) -> Result<bool, String> {
        let Unsettled { mut op, token, .. } = unsettled;
        let ended = settle(&mut self.clerk()?, token, &op.call, self.duty.timeout);
        if let Some(error) = ended.local {
            return Err(error);
        }
        let is_answered = ended.outcome != Outcome::Unknown;
        match (&ended.outcome, ended.token) {
            (Outcome::Unknown, Some(token)) if tries < SETTLE_TRIES_MAX => {
                let due = Instant::now() + SETTLE_AFTER_MAX.mul_f64(self.rng.f64());
                self.unsettled.push(Unsettled { op, token, due, tries });
            }
            // It did not happen by this attempt; an earlier one may still be on its way.
            (Outcome::Fail | Outcome::Unknown, _) => self.send(op)?,
            (Outcome::Ok(_), _) => {
                ended.close(&mut op, now_ns(self.duty.start));
                self.settled.fetch_add(1, Ordering::Relaxed);
                self.send(op)?;
            }
        }
        Ok(is_answered)
    }
}
