//! A million keys: what a snapshot of them costs those who write meanwhile, how fast a node that was away is brought back, how long a
//! restart takes, and what it all needs of memory and disk.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tests::client::Client;
use tests::process::memory_kib;
use tests::wait::{PATIENCE, let_pass};
use tests::{Cluster, wait_for};

const KEYS: usize = 1_000_000;
const VALUE_LEN: usize = 100;
const LONG: Duration = Duration::from_secs(300);

/// Whether what must hold did; the figures are for whoever reads them.
pub(crate) fn run() -> bool {
    let mut cluster = crate::cluster();
    let term = cluster.status().term();
    let lines: String = (0..KEYS).map(|number| format!("key {number:07}\t{:v<VALUE_LEN$}\n", number)).collect();
    let raw_bytes = lines.len() - 2 * KEYS;
    println!("{KEYS} keys of {VALUE_LEN} bytes, {:.0} MiB of keys and values, three nodes:", mib(raw_bytes as u64));
    let start = Instant::now();
    let (_, longest) = beside_a_writer(&cluster, || cluster.kvcli_reading(lines.as_bytes(), ["--timeout", "60s", "load"]).expect_code(0));
    println!("  loaded in {:.1} s; the longest put of another client meanwhile {longest}", start.elapsed().as_secs_f64());

    let (figures, longest) = beside_a_writer(&cluster, || writes_until(&cluster, "no snapshot", || None::<()>, Duration::from_secs(10)));
    println!("  10 s of writes, mostly without a snapshot: {figures}; the longest put {longest}");
    let leader = cluster.leader();
    let before = snapshot_index(&cluster, leader);
    let taken = || (snapshot_index(&cluster, leader) > before).then_some(());
    let (figures, longest) = beside_a_writer(&cluster, || writes_until(&cluster, "a snapshot", taken, LONG));
    println!("  writes until the leader had taken a snapshot: {figures}; the longest put {longest}");

    let victim = cluster.follower();
    let applied = cluster.status().number(&cluster.nodes[victim].name, "applied_index").expect("it answers");
    cluster.kill(victim);
    let others: Vec<String> = (0..3).filter(|number| *number != victim).map(|number| cluster.nodes[number].name.clone()).collect();
    let compacted = || {
        let status = cluster.status();
        others.iter().all(|name| status.number(name, "first_log_index") > Some(applied + 1)).then_some(())
    };
    writes_until(&cluster, "the others have no log for it", compacted, LONG);
    cluster.start_node(victim);
    let started = Instant::now();
    let caught_up = || cluster.log(victim).contains("caught up").then_some(());
    let (figures, longest) = beside_a_writer(&cluster, || writes_until(&cluster, "it is caught up", caught_up, LONG));
    let took = started.elapsed().as_secs_f64();
    println!("  a follower that was away, sent a snapshot within {took:.1} s: {figures}; the longest put {longest}");

    cluster.wait_equal();
    // A few more writes, until every node has just taken a snapshot; compaction has come to its end when no file is on its way out.
    let applied = cluster.status().number(&cluster.nodes[0].name, "applied_index").expect("it answers");
    let all_new = || {
        let status = cluster.status();
        cluster.nodes.iter().all(|node| status.number(&node.name, "snapshot_index") > Some(applied)).then_some(())
    };
    writes_until(&cluster, "a snapshot on every node", all_new, LONG);
    for node in &cluster.nodes {
        let bytes = wait_for("compaction has come to its end", PATIENCE, || {
            let before = disk_bytes(&node.data_dir);
            let_pass(Duration::from_secs(1));
            let unfinished = has_temporary(&node.data_dir);
            if !unfinished && before == disk_bytes(&node.data_dir) { Ok(before) } else { Err("files come and go") }
        });
        println!("  {} on disk: {:.0} MiB, {:.2} x the raw bytes", node.name, mib(bytes), bytes as f64 / raw_bytes as f64);
    }
    let follower = cluster.follower();
    let mut good = true;
    for how in ["SIGTERM", "SIGKILL"] {
        if how == "SIGKILL" {
            cluster.kill(follower)
        } else {
            assert!(cluster.terminate(follower).success())
        }
        let start = Instant::now();
        cluster.start_node(follower);
        wait_for("it serves", PATIENCE, || {
            let served = cluster.kvcli_at([follower], ["--timeout", "5s", "get", "--stale", "key 0999999"]);
            if served.code == 0 { Ok(()) } else { Err(served.to_string()) }
        });
        let took = start.elapsed();
        let (ready, resident) = (ready_line(&cluster.log(follower)), memory_kib(cluster.pid(follower), "VmRSS:"));
        println!("  restart after {how}: serving after {:.2} s ({ready}), resident {:.0} MiB", took.as_secs_f64(), mib(resident * 1024));
        cluster.wait_equal();
        good &= cluster.kvcli_at([follower], ["get", "key 0999999"]).code == 0;
    }
    good & crate::same_term(&cluster, term)
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn snapshot_index(cluster: &Cluster, number: usize) -> u64 {
    cluster.status().number(&cluster.nodes[number].name, "snapshot_index").unwrap_or(0)
}

/// What the node said about its own start.
fn ready_line(log: &str) -> String {
    let line = log.lines().rev().find(|line| line.contains("ready after")).unwrap_or_default();
    line.rsplit(", ").next().unwrap_or_default().to_owned()
}

fn has_temporary(data_dir: &Path) -> bool {
    let names = ["log", "snapshot"].into_iter().flat_map(|dir| std::fs::read_dir(data_dir.join(dir)).expect("a directory"));
    names.into_iter().any(|entry| entry.expect("an entry").path().extension().is_some_and(|extension| extension == "tmp"))
}

fn disk_bytes(path: &Path) -> u64 {
    let entries = std::fs::read_dir(path).expect("a directory").map(|entry| entry.expect("an entry").path());
    entries.map(|path| if path.is_dir() { disk_bytes(&path) } else { path.metadata().map_or(0, |file| file.len()) }).sum()
}

/// Does something while one client puts one value after the other; its longest put.
fn beside_a_writer<T>(cluster: &Cluster, act: impl FnOnce() -> T) -> (T, String) {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut client = Client::new(&cluster.endpoints(), PATIENCE);
            let mut took = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let start = Instant::now();
                client.put("watched", "1").expect("a put");
                took.push(start.elapsed().as_secs_f64() * 1000.0);
                let_pass(Duration::from_millis(1));
            }
            took.sort_by(f64::total_cmp);
            format!("{:.1} ms, p99 {:.1} ms of {}", took[took.len() - 1], took[took.len() * 99 / 100], took.len())
        });
        let done = act();
        stop.store(true, Ordering::Relaxed);
        (done, writer.join().expect("the writer"))
    })
}

/// Benches of 16 clients over the million keys, one after the other, until something has happened; what the last of them printed.
fn writes_until<T>(cluster: &Cluster, what: &str, happened: impl Fn() -> Option<T>, limit: Duration) -> String {
    let start = Instant::now();
    loop {
        let args = ["bench", "--clients", "16", "--value-size", "100", "--keys", "100000", "--seconds", "5", "--warmup", "1", "--json"];
        let figures = cluster.kvcli(args).expect_code(0).stdout;
        let figures: serde_json::Value = serde_json::from_slice(&figures).expect("a document");
        if happened().is_some() || (start.elapsed() >= limit && limit < LONG) {
            return format!(
                "{} puts/s, longest of these {:.1} ms",
                figures["ops_per_s"],
                figures["max_us"].as_f64().unwrap_or(0.0) / 1000.0
            );
        }
        assert!(start.elapsed() < limit, "{what}: not within {limit:?}");
    }
}
