//! The labs' scans among puts, on real processes (rows T-B, and T-C with snapshots): what a client scans is exactly what it has put, before
//! and after every node was killed.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kvcli::{Answer, Ask, Clerk, ClerkError, Options, Range, WriteOutcome};
use tests::load::token;
use tests::wait::{PATIENCE, let_pass};
use tests::{Cluster, MaxLog, host, wait_for, wait_until};

const SERVERS: usize = 5;
const ROUNDS: u64 = 3;
/// The labs load for 5 s; on two cores, 1 s shows the same.
const LOAD: Duration = Duration::from_secs(1);
/// With snapshots too: a log of 100 entries is full every few milliseconds.
const LOAD_WITH_SNAPSHOTS: Duration = Duration::from_millis(500);

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
fn put_and_scan(client: usize, endpoints: &str, mut random: fastrand::Rng, stop: &AtomicBool, done: &AtomicUsize) -> (usize, Instant) {
    let (mut clerk, mut count) = (clerk(endpoints), 0);
    while !stop.load(Ordering::Relaxed) {
        if random.bool() {
            let written = clerk.put(key(client, count), token(client, count)).expect("a put finishes");
            assert_eq!((written.outcome, written.version), (WriteOutcome::Done, 1), "the key is new, and put once");
            count += 1;
            done.fetch_add(1, Ordering::Relaxed);
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

/// A cluster that takes a snapshot at every so many entries. Below one it keeps a tail of half of `--max-log-bytes`, so the limit in bytes
/// is about what so many entries take: a log is then at most some 1.7 times as many entries, with the tail.
fn snapshot_at(size: usize, entries: u64) -> Cluster {
    let mut cluster = prepare_snapshot_at(size, entries);
    cluster.start_all();
    cluster.wait_healthy();
    cluster
}

fn prepare_snapshot_at(size: usize, entries: u64) -> Cluster {
    let mut cluster = Cluster::prepare(size);
    let bytes = MaxLog::Bytes(entries * ENTRY_LEN);
    cluster.run_args = ["--max-log-entries".into(), entries.to_string(), "--max-log-bytes".into(), bytes.arg()].into();
    cluster
}

/// A little more than what a put of these tests takes in the log: a header, its session and numbers, a key and a token.
const ENTRY_LEN: u64 = 100;

/// How many entries the log holds up to what was applied, on the node where that is the most; within the labs' own limit, once the
/// snapshot that is due has been taken.
fn longest_log(cluster: &Cluster, snapshot_every: u64) -> u64 {
    wait_for("no log is longer than twice what a snapshot is due after", PATIENCE, || {
        let status = cluster.status();
        let of_node = |name: &str| {
            let number = |field| status.number(name, field).expect("every node is up");
            number("applied_index") + 1 - number("first_log_index")
        };
        let longest = cluster.nodes.iter().map(|node| of_node(&node.name)).max().expect("a node");
        if longest <= 2 * snapshot_every { Ok(longest) } else { Err(format!("{longest} entries: {:#}", status.0)) }
    })
}

fn put_scan_delete(clients: usize, restarts: bool, snapshot_every: Option<u64>) {
    let seed = host::seed();
    let mut cluster = snapshot_every.map_or_else(|| Cluster::start(SERVERS), |entries| snapshot_at(SERVERS, entries));
    let mut longest = 0;
    for round in 0..ROUNDS {
        let (stop, done) = (AtomicBool::new(false), AtomicUsize::new(0));
        let puts: Vec<usize> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..clients)
                .map(|client| {
                    let mut random = fastrand::Rng::with_seed(seed ^ (round << 32) ^ client as u64);
                    let mut order: Vec<usize> = (0..SERVERS).collect();
                    random.shuffle(&mut order);
                    let (endpoints, stop, done) = (cluster.endpoints_of(order), &stop, &done);
                    scope.spawn(move || put_and_scan(client, &endpoints, random, stop, done))
                })
                .collect();
            let_pass(if snapshot_every.is_some() { LOAD_WITH_SNAPSHOTS } else { LOAD });
            // However slow the disk is just now.
            wait_until("the clients have put", PATIENCE, || done.load(Ordering::Relaxed) > clients);
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
        if let Some(entries) = snapshot_every {
            // A log that was read from its files reaches back to where the oldest of them begins, until the next snapshot.
            for count in 0..entries {
                independent.put("one more", count.to_string()).expect("a put");
            }
            independent.delete("one more").expect("a delete");
            cluster.wait_equal();
            longest = longest.max(longest_log(&cluster, entries));
        }
    }
    cluster.wait_equal();
    if let Some(entries) = snapshot_every {
        host::report(format!("{clients} clients: a log of at most {longest} entries, with a snapshot at every {entries}"));
    }
}

#[test]
fn t_b1_basic_one_client() {
    put_scan_delete(1, false, None);
}

#[test]
fn t_b2_concurrent_five_clients() {
    put_scan_delete(5, false, None);
}

#[test]
fn t_b7_persist_one_client() {
    put_scan_delete(1, true, None);
}

#[test]
fn t_b8_persist_concurrent() {
    put_scan_delete(5, true, None);
}

#[test]
fn t_c1_a_node_that_was_cut_off_gets_what_was_put_and_loses_what_was_deleted() {
    const ENTRIES: u64 = 10;
    let mut cluster = prepare_snapshot_at(3, ENTRIES);
    cluster.start_all_calm(300); // whoever says nothing for 3 s is given up, and not for a sync that takes a third of a second
    let mut writer = clerk(&cluster.endpoints());
    writer.put("k1", "v1").expect("a put");
    writer.put("k2", "v2").expect("a put");
    cluster.wait_equal();
    let victim = cluster.follower();
    let applied = cluster.status().number(&cluster.nodes[victim].name, "applied_index").expect("it answers");
    cluster.cut_off(victim);
    for key in 100..115 {
        writer.put(format!("k{key}"), "v").expect("a put");
    }
    writer.delete("k2").expect("a delete");
    wait_until("the others no longer have what it needs", PATIENCE, || {
        let status = cluster.status();
        let mut others = (0..3).filter(|other| *other != victim).map(|other| &cluster.nodes[other].name);
        others.all(|name| status.number(name, "first_log_index") > Some(applied + 1))
    });
    cluster.resume(victim);
    cluster.wait_equal();
    assert!(cluster.log(victim).contains("caught up"), "it was sent a snapshot: {}", cluster.log(victim));

    let stale = |cluster: &Cluster, key: &str| cluster.kvcli_at([victim], ["get", "--stale", key]);
    for (key, value) in [("k1", &b"v1"[..]), ("k100", b"v"), ("k114", b"v")] {
        assert_eq!(stale(&cluster, key).expect_code(0).stdout, value, "{key}");
    }
    stale(&cluster, "k2").expect_code(1);
    assert!(cluster.terminate(victim).success());
    cluster.start_node(victim);
    cluster.wait_healthy();
    assert_eq!(stale(&cluster, "k1").expect_code(0).stdout, b"v1");
    stale(&cluster, "k2").expect_code(1);
    let longest = longest_log(&cluster, ENTRIES);
    host::report(format!("T-C1: a log of at most {longest} entries, with a snapshot at every {ENTRIES}"));
}

#[test]
fn t_c2_snapshot_recover_one_client() {
    put_scan_delete(1, true, Some(100));
}

#[test]
fn t_c3_snapshot_recover_twenty_clients() {
    put_scan_delete(20, true, Some(100));
}
