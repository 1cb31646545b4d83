//! A cluster for one case: its network as the labs have it, its clients on hosts of their own, and every call in one history.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use checker::{Answer, Call, History, Limits, Op, Outcome, Verdict};
use fastrand::Rng;
use kvcli::{Ask, Clerk, Expectation, Options as ClerkOptions, Overview};

use super::{MaxLog, Terms, broken};
use crate::cluster::{Cluster, Options};
use crate::ending::{Ending, Failure};
use crate::fault::Fault;
use crate::run::perform::{Ended, now_ns, perform, perform_ask};

/// How long the nodes may take to form a cluster, or to come together.
const CONVERGE_MAX: Duration = Duration::from_secs(60);
/// The labs' limit for one case; a client still inside a call has it retried until then.
const CALL_MAX: Duration = Duration::from_secs(120);
/// So long, and a client is stuck: whatever it is in the middle of takes a call or two.
const FINISH_MAX: Duration = Duration::from_secs(300);
/// Client hosts.
const CLIENT_HOSTS: usize = 2;
/// Between two looks at what time brings.
const TURN: Duration = Duration::from_millis(10);

pub(crate) struct Stage {
    pub(crate) cluster: Cluster,
    pub(crate) random: Rng,
    pub(crate) start: Instant,
    max_log: MaxLog,
    longest_log: u64,
    ops: Arc<Mutex<Vec<Op>>>,
    next_sample: Instant,
    /// Gone with everything in it when the case is over.
    _dir: tempfile::TempDir,
}

impl Stage {
    pub(crate) fn new(servers: usize, unreliable: bool, max_log: MaxLog, seed: u64) -> Result<Stage, Failure> {
        let dir = tempfile::tempdir().map_err(|error| Ending::Io.says(format!("no temporary directory: {error}")))?;
        let start = Instant::now();
        let max_log_bytes = max_log.map_or("-1".to_owned(), |bytes| bytes.to_string());
        let mut cluster = Cluster::start(Options {
            kvnode: None,
            dir: dir.path().into(),
            nodes: servers,
            clients: CLIENT_HOSTS,
            run_args: vec!["--max-log-bytes".into(), max_log_bytes],
            apply_traces: false,
            backend: None,
            seed,
            epoch: start,
        })?;
        cluster.wait_healthy(CONVERGE_MAX)?;
        let mut stage = Stage {
            cluster,
            random: Rng::with_seed(seed),
            start,
            max_log,
            longest_log: 0,
            ops: Arc::default(),
            next_sample: start,
            _dir: dir,
        };
        if unreliable {
            // The labs' figures, each way: up to 26 ms, and a tenth is lost.
            stage.inject("jitter 26ms all")?;
            stage.inject("loss 10% all")?;
        }
        Ok(stage)
    }

    /// Breaks something until it is healed; its number.
    pub(crate) fn inject(&mut self, words: &str) -> Result<u64, Failure> {
        let fault = Fault::parse(&words.split(' ').collect::<Vec<_>>()).map_err(|error| Ending::Internal.says(error))?;
        Ok(self.cluster.inject(&fault, None)?.id)
    }

    pub(crate) fn heal(&mut self, id: u64) -> Result<(), Failure> {
        self.cluster.heal(id).map(drop)
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.cluster.nodes().iter().map(|node| node.name.clone()).collect()
    }

    /// The name of the leader.
    pub(crate) fn leader(&mut self) -> Result<String, Failure> {
        let overview = self.cluster.wait_healthy(CONVERGE_MAX)?;
        Ok(overview.leader.map(|id| overview.name_of(id)).expect("a healthy cluster has one"))
    }

    /// Lets time pass. The log is looked at meanwhile: the labs look only when all is quiet.
    pub(crate) fn pass(&mut self, time: Duration) -> Result<(), Failure> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.cluster.turn()?;
            if Instant::now() >= self.next_sample {
                let overview = self.cluster.overview()?;
                self.sample(&overview)?;
                self.next_sample = Instant::now() + Duration::from_millis(200);
            }
            // sleeps because time is what the case asks for
            std::thread::sleep(TURN.min(end.saturating_duration_since(Instant::now())));
        }
        Ok(())
    }

    fn sample(&mut self, overview: &Overview) -> Result<(), Failure> {
        for (row, status) in overview.rows.iter().filter_map(|row| row.status().map(|status| (row, status))) {
            self.longest_log = self.longest_log.max(status.log_bytes);
            match self.max_log {
                Some(max) if status.log_bytes > 8 * max => {
                    return Err(broken(format!("{} has a log of {} bytes, more than 8 x {max}", row.name(), status.log_bytes)));
                }
                None if status.snapshot_bytes > 0 => return Err(broken(format!("{} has a snapshot, and should have none", row.name()))),
                _ => {}
            }
        }
        Ok(())
    }

    /// All of them by SIGKILL, a second of nothing, all of them back.
    pub(crate) fn restart_all(&mut self) -> Result<(), Failure> {
        let id = self.inject("kill all")?;
        self.pass(Duration::from_secs(1))?;
        self.heal(id)
    }

    /// For so long, every 1000 to 1199 ms each server is put on one of two sides by a coin; then all is whole again.
    pub(crate) fn partition_for(&mut self, time: Duration) -> Result<(), Failure> {
        let end = Instant::now() + time;
        let mut cut = None;
        while Instant::now() < end {
            let side: Vec<String> = self.names().into_iter().filter(|_| self.random.bool()).collect();
            if let Some(id) = cut.take() {
                self.heal(id)?;
            }
            if !side.is_empty() && side.len() < self.cluster.nodes().len() {
                cut = Some(self.inject(&format!("partition {}", side.join(",")))?);
            }
            let period = Duration::from_millis(self.random.u64(1000..1200));
            self.pass(period.min(end.saturating_duration_since(Instant::now())))?;
        }
        cut.map_or(Ok(()), |id| self.heal(id))
    }

    /// A round of the common drivers, with clients that work already: they load the nodes for so long, under partitions if the case has
    /// them, and are told to stop; then all nodes are restarted if it says so. Whoever is still inside a call gets it finished by retrying.
    pub(crate) fn round<T>(&mut self, terms: &Terms, load: Duration, stop: &Stop, clients: Vec<Work<T>>) -> Result<Vec<T>, Failure> {
        if terms.partitions {
            self.pass(Duration::from_secs(1))?;
            self.partition_for(load)?;
            stop.now();
            self.pass(Duration::from_secs(1))?;
        } else {
            self.pass(load)?;
            stop.now();
        }
        if terms.restarts {
            self.restart_all()?;
        }
        self.finish(clients)
    }

    /// Waits for clients that end by themselves, or have been told to; what they have to say.
    pub(crate) fn finish<T>(&mut self, clients: Vec<Work<T>>) -> Result<Vec<T>, Failure> {
        let deadline = Instant::now() + FINISH_MAX;
        let mut ended = Vec::new();
        for client in clients {
            while !client.is_over() {
                if Instant::now() >= deadline {
                    return Err(Ending::Late.says(format!("a client has not finished within {FINISH_MAX:?}")));
                }
                self.pass(Duration::from_millis(20))?;
            }
            ended.push(client.end()?);
        }
        Ok(ended)
    }

    /// A client on a host of its own, whose first idea of who is first is its own.
    pub(crate) fn client(&mut self, number: usize) -> Caller {
        let mut endpoints: Vec<String> = self.cluster.nodes().iter().map(|node| node.client_addr.clone()).collect();
        self.random.shuffle(&mut endpoints);
        self.client_of(number, endpoints, CALL_MAX)
    }

    /// The same, told of these nodes only, and less patient.
    pub(crate) fn client_of(&mut self, number: usize, endpoints: Vec<String>, timeout: Duration) -> Caller {
        Caller { number, endpoints, timeout, start: self.start, ops: Arc::clone(&self.ops), clerk: None }
    }

    /// Runs a client's part on a thread of the client's host (`c1` or `c2`).
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        host: &str,
        work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
    ) -> Result<Work<T>, Failure> {
        let cannot = |error: std::io::Error| Ending::Internal.says(format!("cannot start a client: {error}"));
        let at = self.cluster.network().find(host).expect("a host of this cluster");
        let network = self.cluster.network().hosts()[at].network.try_clone().map_err(cannot)?;
        let thread = std::thread::spawn(move || {
            network.enter().map_err(|error| Ending::Internal.says(format!("cannot enter a client's network: {error}")))?;
            work()
        });
        Ok(Work(thread))
    }

    /// Waits for the nodes to come together; they then have the same state.
    pub(crate) fn converge(&mut self) -> Result<(), Failure> {
        let converged = self.cluster.converge(CONVERGE_MAX)?;
        self.sample(&converged.overview)?;
        converged.differ.map_or(Ok(()), |why| Err(broken(why)))
    }

    /// All of the history must be linearizable; undecided is not enough. How many calls it has.
    pub(crate) fn judge(&self) -> Result<usize, Failure> {
        let mut history = History::new();
        for op in self.ops.lock().expect("nobody panics with it").iter() {
            history.push(op.clone()).map_err(|error| Ending::Internal.says(error))?;
        }
        match checker::check(&history, &Limits::default()) {
            Verdict::Linearizable => Ok(history.ops().len()),
            Verdict::Violation(violation) => Err(broken(violation)),
            Verdict::Unknown(why) => Err(Ending::Unknown.says(why)),
        }
    }

    /// The longest log that any look has shown.
    pub(crate) fn longest_log(&self) -> u64 {
        self.longest_log
    }
}

/// A client's part, on its own thread.
pub(crate) struct Work<T>(JoinHandle<Result<T, Failure>>);

impl<T> Work<T> {
    pub(crate) fn is_over(&self) -> bool {
        self.0.is_finished()
    }

    pub(crate) fn end(self) -> Result<T, Failure> {
        self.0.join().unwrap_or_else(|_| Err(Ending::Internal.says("a client's thread panicked")))
    }
}

/// A flag that ends a load.
#[derive(Clone, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    pub(crate) fn now(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(crate) fn came(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// One client: its calls go into the history.
pub(crate) struct Caller {
    number: usize,
    endpoints: Vec<String>,
    timeout: Duration,
    start: Instant,
    ops: Arc<Mutex<Vec<Op>>>,
    clerk: Option<Clerk>,
}

impl Caller {
    /// Makes a call; how it ended.
    pub(crate) fn call(&mut self, call: Call) -> Result<Ended, Failure> {
        let timeout = self.timeout;
        self.record(call, |clerk, call| perform(clerk, call, timeout))
    }

    /// Puts if the key is still as it was seen: by version, as the labs do. No value is written twice, so the history may name the value.
    pub(crate) fn put_at(&mut self, key: &str, seen: Option<(u64, Vec<u8>)>, value: Vec<u8>) -> Result<Ended, Failure> {
        let timeout = self.timeout;
        let (expect, old) = match seen {
            Some((version, old)) => (Expectation::Version(version), Some(old)),
            None => (Expectation::Absent, None),
        };
        let ask = Ask::Cas { key: key.into(), expect, value: value.clone() };
        self.record(Call::Cas { key: key.into(), expect: old, value }, |clerk, _| perform_ask(clerk, ask, timeout))
    }

    /// The version and value of a key.
    pub(crate) fn get(&mut self, key: &str) -> Result<Option<(u64, Vec<u8>)>, Failure> {
        let ended = self.call(Call::Get { key: key.into() })?;
        match (ended.outcome, ended.version) {
            (Outcome::Ok(Answer::Value(value)), Some(version)) => Ok(value.map(|value| (version, value))),
            (other, _) => Err(broken(format!("a read of {key} did not finish: {other:?}"))),
        }
    }

    /// Closes its connections: the next call makes others, from wherever it is then.
    pub(crate) fn hang_up(&mut self) {
        self.clerk = None;
    }

    /// Another client with the same ideas.
    pub(crate) fn clone_idle(&self) -> Caller {
        let Caller { number, endpoints, timeout, start, ops, clerk: _ } = self;
        Caller { number: number + 100, endpoints: endpoints.clone(), timeout: *timeout, start: *start, ops: Arc::clone(ops), clerk: None }
    }

    fn record(&mut self, call: Call, make: impl FnOnce(&mut Clerk, &Call) -> Ended) -> Result<Ended, Failure> {
        let clerk = match &mut self.clerk {
            Some(clerk) => clerk,
            none => {
                let options = ClerkOptions { timeout: self.timeout, ..ClerkOptions::default() };
                none.insert(Clerk::new(self.endpoints.clone(), options).map_err(|error| Ending::Internal.says(error))?)
            }
        };
        let mut op = Op::new(self.number as u64, call, now_ns(self.start));
        let ended = make(clerk, &op.call);
        if let Some(error) = &ended.local {
            return Err(Ending::Io.says(error));
        }
        ended.close(&mut op, now_ns(self.start));
        if op.outcome == Outcome::Unknown {
            self.number += 1_000; // whoever does not know goes on as somebody else
            self.clerk = None;
        }
        self.ops.lock().expect("nobody panics with it").push(op);
        Ok(ended)
    }
}
