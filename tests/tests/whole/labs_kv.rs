//! The labs' key/value cases on real processes (rows K-A, and K-B as far as they are K-A with snapshots, of
//! `tests/lab-cases.tsv`).

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kvcli::{Clerk, Options};
use tests::client::Client;
use tests::load::{Account, Told, token};
use tests::{Cluster, MaxLog, Sampler, host, wait};

/// The labs' common driver, for fixed keys and a reliable network.
struct Generic {
    clients: usize,
    servers: usize,
    restarts: bool,
    max_log: MaxLog,
    load: Duration,
}

/// The labs load for 5 s; with restarts and five nodes on two cores, 2 s show the same.
const LOAD: Duration = Duration::from_secs(2);
/// With snapshots too: a log of 1000 bytes is full every few milliseconds.
const LOAD_WITH_SNAPSHOTS: Duration = Duration::from_millis(500);

impl Generic {
    fn run(&self, case: &str) {
        let seed = host::seed();
        let mut cluster = Cluster::start_with_log(self.servers, self.max_log);
        let sampler = Sampler::start(&cluster);
        for round in 0..3 {
            let (stop, done) = (AtomicBool::new(false), AtomicUsize::new(0));
            let account = std::thread::scope(|scope| {
                let clients: Vec<_> = (0..self.clients)
                    .map(|client| {
                        let mut random = fastrand::Rng::with_seed(seed ^ (round << 32) ^ client as u64);
                        let mut order: Vec<usize> = (0..self.servers).collect();
                        random.shuffle(&mut order); // every clerk has its own idea of who is first
                        let (endpoints, stop, done) = (cluster.endpoints_of(order), &stop, &done);
                        scope.spawn(move || put_then_append_and_get(client, &endpoints, random, stop, done))
                    })
                    .collect();
                wait::let_pass(self.load);
                // However slow the disk is just now.
                wait::wait_until("the clients have written", wait::PATIENCE, || done.load(Ordering::Relaxed) > self.clients);
                stop.store(true, Ordering::Relaxed);
                if self.restarts {
                    // The clients are still inside an operation; its retries must get it through.
                    cluster.kill_all();
                    wait::let_pass(Duration::from_millis(300));
                    cluster.start_all();
                }
                let told = clients.into_iter().map(|client| client.join().expect("the client found what it had written"));
                Account { told: told.enumerate().collect(), longest: Duration::ZERO }
            });
            let mut independent = Client::new(&cluster.endpoints(), wait::PATIENCE);
            for client in 0..self.clients {
                let value = independent.get(&client.to_string()).expect("a read").expect("the key is there");
                account.check(client, &value);
            }
            assert!(account.count(Told::Done) > self.clients, "this round exercised nothing");
            assert_eq!(
                account.count(Told::Done),
                account.told.values().map(Vec::len).sum::<usize>(),
                "every operation finishes by retrying"
            );
        }
        cluster.wait_equal();
        sampler.stop_and_check(&cluster, self.max_log, case);
    }
}

/// One client with its own key: half appends, half reads that must return exactly what it has written.
fn put_then_append_and_get(client: usize, endpoints: &str, mut random: fastrand::Rng, stop: &AtomicBool, done: &AtomicUsize) -> Vec<Told> {
    let (mut clerk, key) = (Client::new(endpoints, wait::PATIENCE), client.to_string());
    let (mut told, mut expected) = (Vec::new(), String::new());
    clerk.put(&key, "").expect("a put finishes");
    while !stop.load(Ordering::Relaxed) {
        if random.bool() {
            let token = token(client, told.len());
            clerk.append(&key, &token).expect("an append finishes");
            told.push(Told::Done);
            done.fetch_add(1, Ordering::Relaxed);
            expected += &token;
        } else {
            let value = clerk.get(&key).expect("a read finishes");
            assert_eq!(value.as_deref().map(String::from_utf8_lossy).as_deref(), Some(expected.as_str()), "client {client}");
        }
    }
    told
}

#[test]
fn k_a1_basic_one_client() {
    Generic { clients: 1, servers: 5, restarts: false, max_log: MaxLog::Never, load: LOAD }.run("K-A1");
}

fn a_thousand_appends_in_sequence(max_log: MaxLog, case: &str) {
    const APPENDS: usize = 1000;
    let cluster = Cluster::start_with_log(3, max_log);
    let sampler = Sampler::start(&cluster);
    let endpoints = cluster.endpoints();
    let mut clerk = Clerk::new(endpoints.split(','), Options { timeout: wait::PATIENCE, ..Options::default() }).expect("a clerk");
    assert_eq!(clerk.get("speed").expect("a read").value, None);
    let (start, mut position) = (Instant::now(), None);
    for count in 0..APPENDS {
        let written = clerk.append("speed", token(0, count)).expect("an append");
        assert_eq!(written.version, count as u64 + 1);
        // A clerk that gathers appends and answers before they are in the log would be fast, too.
        assert!(position < Some(written.position), "each append has its own place in the log");
        position = Some(written.position);
    }
    let took = start.elapsed();
    host::report(format!("{case}: {APPENDS} acknowledged appends in sequence, {} us each", took.as_micros() / APPENDS as u128));
    let value = clerk.get("speed").expect("a read").value.expect("the key is there").value;
    let account = Account { told: [(0, vec![Told::Done; APPENDS])].into(), longest: Duration::ZERO };
    account.check(0, &value);
    sampler.stop_and_check(&cluster, max_log, case);
}

#[test]
fn k_a2_speed_a_thousand_appends_in_sequence() {
    a_thousand_appends_in_sequence(MaxLog::Never, "K-A2");
}

#[test]
fn k_a3_concurrent_five_clients() {
    Generic { clients: 5, servers: 5, restarts: false, max_log: MaxLog::Never, load: LOAD }.run("K-A3");
}

#[test]
fn k_a5_five_clients_append_to_one_key() {
    const CLIENTS: usize = 5;
    const APPENDS: usize = 10;
    let cluster = Cluster::start_with_log(3, MaxLog::Never);
    let sampler = Sampler::start(&cluster);
    Client::new(&cluster.endpoints(), wait::PATIENCE).put("one", "").expect("a put");
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let endpoints = cluster.endpoints();
            scope.spawn(move || {
                let mut clerk = Client::new(&endpoints, wait::PATIENCE);
                for count in 0..APPENDS {
                    clerk.append("one", &token(client, count)).expect("an append");
                }
            });
        }
    });
    let value = Client::new(&cluster.endpoints(), wait::PATIENCE).get("one").expect("a read").expect("the key is there");
    let told = (0..CLIENTS).map(|client| (client, vec![Told::Done; APPENDS])).collect();
    let account = Account { told, longest: Duration::ZERO };
    for client in 0..CLIENTS {
        account.check(client, &value);
    }
    assert_eq!(value.iter().filter(|byte| **byte == b'y').count(), CLIENTS * APPENDS);
    sampler.stop_and_check(&cluster, MaxLog::Never, "K-A5");
}

#[test]
fn k_a9_persist_one_client() {
    Generic { clients: 1, servers: 5, restarts: true, max_log: MaxLog::Never, load: LOAD }.run("K-A9");
}

#[test]
fn k_a10_persist_concurrent() {
    Generic { clients: 5, servers: 5, restarts: true, max_log: MaxLog::Never, load: LOAD }.run("K-A10");
}

#[test]
fn k_b3_speed_a_thousand_appends_in_sequence_among_snapshots() {
    a_thousand_appends_in_sequence(MaxLog::LABS, "K-B3");
}

#[test]
fn k_b4_snapshot_recover_one_client() {
    Generic { clients: 1, servers: 5, restarts: true, max_log: MaxLog::LABS, load: LOAD_WITH_SNAPSHOTS }.run("K-B4");
}

#[test]
fn k_b5_snapshot_recover_twenty_clients() {
    Generic { clients: 20, servers: 5, restarts: true, max_log: MaxLog::LABS, load: LOAD_WITH_SNAPSHOTS }.run("K-B5");
}
