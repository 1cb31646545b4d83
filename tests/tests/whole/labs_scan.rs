//! The labs' scans among puts, on real processes (rows T-B): what a client scans is exactly what it has put, before and after every node
//! was killed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kvcli::{Answer, Ask, Clerk, ClerkError, Options, Range, WriteOutcome};
use tests::load::token;
use tests::wait::{PATIENCE, let_pass};
use tests::{Cluster, host};

const SERVERS: usize = 5;
const ROUNDS: u64 = 3;
/// The labs load for 5 s; on two cores, 1 s shows the same.
const LOAD: Duration = Duration::from_secs(1);

fn clerk(endpoints: &str) -> Clerk {
    Clerk::new(endpoints.split(','), Options { timeout: PATIENCE, ..Options::default() }).expect("a clerk")
}

fn key(client: usize, count: usize) -> String {
    format!("{client} {count:08}")
}

/// The values under the client's keys, in the order of the keys. A scan whose node dies between two pages begins again.
fn scan(clerk: &mut Clerk, client: usize) -> Vec<Vec<u8>> {
    let start = Instant::now();
    loop {
        let scanned = clerk.scan(Range::prefix(format!("{client} "))).and_then(|scan| scan.collect::<Result<Vec<_>, _>>());
        match scanned {
            Ok(items) => return items.into_iter().map(|item| item.value).collect(),
            Err(ClerkError::ScanLost { .. }) if start.elapsed() < PATIENCE => {}
            Err(error) => panic!("{error}"),
        }
    }
}

fn tokens(client: usize, count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|count| token(client, count).into_bytes()).collect()
}

/// One client: half puts under a key of its own each, half scans of all of them. How many it has put, and when its last call was over.
fn put_and_scan(client: usize, endpoints: &str, mut random: fastrand::Rng, stop: &AtomicBool) -> (usize, Instant) {
    let (mut clerk, mut count) = (clerk(endpoints), 0);
    while !stop.load(Ordering::Relaxed) {
        if random.bool() {
            let written = clerk.put(key(client, count), token(client, count)).expect("a put finishes");
            assert_eq!((written.outcome, written.version), (WriteOutcome::Done, 1), "the key is new, and put once");
            count += 1;
        } else {
            assert!(scan(&mut clerk, client) == tokens(client, count), "client {client} scans something else than its {count} puts");
        }
    }
    (count, Instant::now())
}

fn delete_all(endpoints: &str, puts: &[usize]) {
    let mut clerk = clerk(endpoints);
    let keys = puts.iter().enumerate().flat_map(|(client, count)| (0..*count).map(move |count| key(client, count)));
    let calls: Vec<_> = keys.map(|key| clerk.submit(Ask::Delete { key: key.into_bytes() }, PATIENCE)).collect();
    for call in calls {
        let answer = clerk.wait(call).expect("a delete is done");
        assert!(matches!(answer, Answer::Written(written) if written.outcome == WriteOutcome::Deleted), "{answer:?}");
    }
}

fn put_scan_delete(clients: usize, restarts: bool) {
    let seed = host::seed();
    let mut cluster = Cluster::start(SERVERS);
    for round in 0..ROUNDS {
        let stop = AtomicBool::new(false);
        let puts: Vec<usize> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..clients)
                .map(|client| {
                    let mut random = fastrand::Rng::with_seed(seed ^ (round << 32) ^ client as u64);
                    let mut order: Vec<usize> = (0..SERVERS).collect();
                    random.shuffle(&mut order);
                    let (endpoints, stop) = (cluster.endpoints_of(order), &stop);
                    scope.spawn(move || put_and_scan(client, &endpoints, random, stop))
                })
                .collect();
            let_pass(LOAD);
            let mut up = None;
            if restarts {
                // The labs let the clients finish first. So, every one of them is inside a call that has to be sent again.
                cluster.kill_all();
                let_pass(Duration::from_millis(300));
                stop.store(true, Ordering::Relaxed);
                up = Some(Instant::now());
                cluster.start_all();
            }
            stop.store(true, Ordering::Relaxed);
            let told: Vec<_> = threads.into_iter().map(|thread| thread.join().expect("every call finishes and is right")).collect();
            assert!(up.is_none_or(|up| told.iter().any(|(_, over)| *over > up)), "no call was under way while all nodes were down");
            told.into_iter().map(|(count, _)| count).collect()
        });
        assert!(puts.iter().sum::<usize>() > clients, "this round exercised nothing: {puts:?}");
        let mut independent = clerk(&cluster.endpoints());
        for (client, count) in puts.iter().enumerate() {
            assert!(scan(&mut independent, client) == tokens(client, *count), "not the {count} puts of client {client}, once each");
        }
        delete_all(&cluster.endpoints(), &puts);
        assert_eq!(independent.scan(Range::default()).expect("a scan").count(), 0, "all keys are deleted");
    }
    cluster.wait_equal();
}

#[test]
fn t_b1_basic_one_client() {
    put_scan_delete(1, false);
}

#[test]
fn t_b2_concurrent_five_clients() {
    put_scan_delete(5, false);
}

#[test]
fn t_b7_persist_one_client() {
    put_scan_delete(1, true);
}

#[test]
fn t_b8_persist_concurrent() {
    put_scan_delete(5, true);
}
