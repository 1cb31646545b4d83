//! The labs' conditional puts on real processes (rows M-K): a put takes effect only on the version that it names.
//!
//! The labs' clerk says "maybe" when a put that it sent again is refused, since its first attempt may have won. Ours sends it again under
//! the same number and is told what became of it: so in every run, and not only in a quiet one, each put is answered, and the version of
//! the key is the number of those that were told "done".

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kvcli::{Clerk, Expectation, Options, WriteOutcome};
use tests::versions::{self, Call, Saw};
use tests::wait::{PATIENCE, let_pass};
use tests::{Cluster, MaxLog, Sampler, host, wait_until};

const KEY: &str = "k";
const ROUNDS: usize = 3;
const LOAD: Duration = Duration::from_secs(1);
/// With snapshots too: a log of 1000 bytes is full every few milliseconds.
const LOAD_WITH_SNAPSHOTS: Duration = Duration::from_millis(500);

fn clerk(endpoints: &str) -> Clerk {
    Clerk::new(endpoints.split(','), Options { timeout: PATIENCE, ..Options::default() }).expect("a clerk")
}

/// The labs' driver: clients that fight for one key. The history goes on from round to round.
struct Fight {
    clients: usize,
    servers: usize,
    restarts: bool,
    max_log: MaxLog,
    load: Duration,
}

impl Fight {
    fn run(&self, case: &str) {
        let seed = host::seed();
        let mut cluster = Cluster::start_with_log(self.servers, self.max_log);
        let sampler = Sampler::start(&cluster);
        let mut calls = Vec::new();
        for round in 0..ROUNDS {
            let (stop, done, refused) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
            let mut up = None;
            let of_round = std::thread::scope(|scope| {
                let clients: Vec<_> = (0..self.clients)
                    .map(|client| {
                        let mut order: Vec<usize> = (0..self.servers).collect();
                        fastrand::Rng::with_seed(seed ^ ((round as u64) << 32) ^ client as u64).shuffle(&mut order);
                        let (endpoints, stop, done, refused) = (cluster.endpoints_of(order), &stop, &done, &refused);
                        scope.spawn(move || put_and_get(round, client, &endpoints, stop, [done, refused]))
                    })
                    .collect();
                let_pass(self.load);
                // However slow the disk is just now.
                wait_until("the clients have put, and fought", PATIENCE, || {
                    done.load(Ordering::Relaxed) > self.clients && (refused.load(Ordering::Relaxed) > 0 || self.clients == 1)
                });
                if self.restarts {
                    // The clients are told to stop only afterwards: every one of them is inside a call that has to be sent again.
                    cluster.kill_all();
                    let_pass(Duration::from_millis(300));
                    up = Some(Instant::now());
                    cluster.start_all();
                }
                stop.store(true, Ordering::Relaxed);
                clients.into_iter().flat_map(|client| client.join().expect("every call is answered")).collect::<Vec<Call>>()
            });
            let met_restart = |call: &Call| up.is_some_and(|up| call.began < up && call.ended > up);
            assert_eq!(of_round.iter().any(met_restart), self.restarts, "a call was under way while all nodes were down");
            calls.extend(of_round);
            let version = versions::check(&calls);
            assert!(version > (self.clients * (round + 1)) as u64, "this round exercised nothing");
            let reading = clerk(&cluster.endpoints()).get(KEY).expect("a read").value.expect("the key is there");
            assert_eq!(reading.version, version, "the version of the key is the number of puts that were done");
        }
        let refused = calls.iter().filter(|call| matches!(call.saw, Saw::Refused { .. })).count();
        assert_eq!(refused > 0, self.clients > 1, "{refused} puts of {} clients were refused", self.clients);
        cluster.wait_equal();
        sampler.stop_and_check(&cluster, self.max_log, case);
    }
}

/// One client: a read, then a put on the version that it saw, and so on.
fn put_and_get(round: usize, client: usize, endpoints: &str, stop: &AtomicBool, [done, refused]: [&AtomicUsize; 2]) -> Vec<Call> {
    let (mut clerk, mut calls) = (clerk(endpoints), Vec::<Call>::new());
    let mut mine = None;
    while !stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        let read = clerk.get(KEY).expect("a read finishes").value;
        let ended = Instant::now();
        let seen = read.as_ref().map_or(0, |value| value.version);
        let value = read.map(|value| String::from_utf8(value.value).expect("text"));
        assert!(mine.as_ref().is_none_or(|(version, mine)| *version != seen || value.as_ref() == Some(mine)), "{value:?}, not {mine:?}");
        calls.push(Call { client, began, ended, saw: Saw::Read { version: seen, value } });

        let value = format!("{round} {client} {}", calls.len());
        let expect = if seen == 0 { Expectation::Absent } else { Expectation::Version(seen) };
        let began = Instant::now();
        let written = clerk.cas(KEY, expect, value.as_str()).expect("a put is answered");
        let ended = Instant::now();
        let saw = match written.outcome {
            WriteOutcome::Swapped => {
                assert_eq!(written.version, seen + 1, "a put makes the next version");
                mine = Some((written.version, value.clone()));
                done.fetch_add(1, Ordering::Relaxed);
                Saw::Put { version: written.version, value }
            }
            WriteOutcome::NotSwapped => {
                refused.fetch_add(1, Ordering::Relaxed);
                Saw::Refused { expected: seen, found: written.version }
            }
            other => panic!("{other:?} is no answer to a conditional put"),
        };
        calls.push(Call { client, began, ended, saw });
    }
    calls
}

#[test]
fn m_k1_basic_one_client() {
    Fight { clients: 1, servers: 5, restarts: false, max_log: MaxLog::Never, load: LOAD }.run("M-K1");
}

fn a_thousand_conditional_puts_in_sequence(max_log: MaxLog, case: &str) {
    const PUTS: u64 = 1000;
    let cluster = Cluster::start_with_log(3, max_log);
    let sampler = Sampler::start(&cluster);
    let mut clerk = clerk(&cluster.endpoints());
    let start = Instant::now();
    let mut position = None;
    for version in 0..PUTS {
        let expect = if version == 0 { Expectation::Absent } else { Expectation::Version(version) };
        let written = clerk.cas("speed", expect, version.to_string()).expect("a put");
        assert_eq!((written.outcome, written.version), (WriteOutcome::Swapped, version + 1));
        assert!(position < Some(written.position), "each put has its own place in the log");
        position = Some(written.position);
    }
    let took = start.elapsed();
    host::report(format!("{case}: {PUTS} conditional puts in sequence, {} us each", took.as_micros() / u128::from(PUTS)));
    let reading = clerk.get("speed").expect("a read").value.expect("the key is there");
    assert_eq!((reading.version, reading.value), (PUTS, (PUTS - 1).to_string().into_bytes()));
    sampler.stop_and_check(&cluster, max_log, case);
}

#[test]
fn m_k2_speed_a_thousand_conditional_puts_in_sequence() {
    a_thousand_conditional_puts_in_sequence(MaxLog::Never, "M-K2");
}

#[test]
fn m_k3_concurrent_five_clients() {
    Fight { clients: 5, servers: 5, restarts: false, max_log: MaxLog::Never, load: LOAD }.run("M-K3");
}

#[test]
fn m_k8_persist_one_client() {
    Fight { clients: 1, servers: 5, restarts: true, max_log: MaxLog::Never, load: LOAD }.run("M-K8");
}

#[test]
fn m_k9_persist_concurrent() {
    Fight { clients: 5, servers: 5, restarts: true, max_log: MaxLog::Never, load: LOAD }.run("M-K9");
}

#[test]
fn m_k16_speed_a_thousand_conditional_puts_in_sequence_among_snapshots() {
    a_thousand_conditional_puts_in_sequence(MaxLog::LABS, "M-K16");
}

#[test]
fn m_k17_snapshot_recover_one_client() {
    Fight { clients: 1, servers: 5, restarts: true, max_log: MaxLog::LABS, load: LOAD_WITH_SNAPSHOTS }.run("M-K17");
}

#[test]
fn m_k18_snapshot_recover_twenty_clients() {
    Fight { clients: 20, servers: 5, restarts: true, max_log: MaxLog::LABS, load: LOAD_WITH_SNAPSHOTS }.run("M-K18");
}
