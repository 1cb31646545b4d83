//! A million keys: what a snapshot of them costs those who write meanwhile, how fast a node that was away is brought back, how long a
//! restart takes, and what it all needs of memory and disk.

use std::path::Path;
use std::time::{Duration, Instant};

use tests::process::memory_kib;
use tests::wait::{PATIENCE, let_pass};
use tests::{Cluster, wait_for};

use crate::beside::{Beside, beside};

const KEYS: usize = 1_000_000;
const VALUE_LEN: usize = 100;
const LONG: Duration = Duration::from_secs(300);
/// How long writes are watched with snapshots or without, at least.
const WINDOW: Duration = Duration::from_secs(10);
/// The longest put while a snapshot is taken, and while one is sent, in the median round.
const PUT_MS_MAX: f64 = 20.0;

/// Whether what must hold did, in the median of so many rounds.
pub(crate) fn run(rounds: u64) -> bool {
    let mut cluster = crate::cluster();
    let term = cluster.status().term();
    let lines: String = (0..KEYS).map(|number| format!("key {number:07}\t{:v<VALUE_LEN$}\n", number)).collect();
    let raw_bytes = lines.len() - 2 * KEYS;
    println!("{KEYS} keys of {VALUE_LEN} bytes, {:.0} MiB of keys and values, three nodes:", mib(raw_bytes as u64));
    let start = Instant::now();
    let (_, waited) = beside(&cluster, || cluster.kvcli_reading(lines.as_bytes(), ["--timeout", "60s", "load"]).expect_code(0));
    println!("  loaded in {:.1} s; of another client meanwhile: {waited}", start.elapsed().as_secs_f64());
    let mut good = crate::same_term(&cluster, term);

    let mut rows = ["without a snapshot", "while a snapshot is taken", "while one is sent"].map(Row::new);
    for round in 1..=rounds {
        println!("round {round} of {rounds}, load average {}:", load_average());
        good &= round_of_writes(&mut cluster, &mut rows);
    }
    println!("longest put / longest raw sync of each round, ms:");
    for row in &rows {
        println!("  {row}");
    }
    good &= rows[1..].iter().all(|row| median(&row.puts_ms) <= PUT_MS_MAX);

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
    let term = cluster.status().term();
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

/// The same writes without a snapshot, while one is taken, and while one is sent to a follower that was away: in turn, so that all three
/// have the same disk and the same neighbours. Whether the term stayed in each.
fn round_of_writes(cluster: &mut Cluster, rows: &mut [Row; 3]) -> bool {
    let [without, taken, sent] = rows;
    cluster.run_args = ["--max-log-bytes", "-1"].map(String::from).into();
    let mut good = restart_all(cluster, |cluster| {
        let (figures, waited) = beside(cluster, || writes_until(cluster, "no snapshot", || None::<()>, WINDOW));
        without.add(&figures, &waited);
    });

    cluster.run_args.clear();
    good &= restart_all(cluster, |cluster| {
        let leader = cluster.leader();
        let (start, before) = (Instant::now(), snapshot_index(cluster, leader));
        let is_taken = || (WINDOW <= start.elapsed() && before < snapshot_index(cluster, leader)).then_some(());
        let (figures, waited) = beside(cluster, || writes_until(cluster, "a snapshot", is_taken, LONG));
        taken.add(&figures, &waited);
    });

    let term = cluster.status().term();
    let victim = cluster.follower();
    let applied = cluster.status().number(&cluster.nodes[victim].name, "applied_index").expect("it answers");
    cluster.kill(victim);
    let others: Vec<String> = (0..3).filter(|number| *number != victim).map(|number| cluster.nodes[number].name.clone()).collect();
    let compacted = || {
        let status = cluster.status();
        others.iter().all(|name| status.number(name, "first_log_index") > Some(applied + 1)).then_some(())
    };
    writes_until(cluster, "the others have no log for it", compacted, LONG);
    let times = |cluster: &Cluster| cluster.log(victim).matches("caught up").count();
    let before = times(cluster);
    cluster.start_node(victim);
    let is_caught_up = || (before < times(cluster)).then_some(());
    let (figures, waited) = beside(cluster, || writes_until(cluster, "it is caught up", is_caught_up, LONG));
    sent.add(&figures, &waited);
    cluster.wait_equal();
    good & crate::same_term(cluster, term)
}

/// Restarts every node, and says whether the term stays while something happens.
fn restart_all(cluster: &mut Cluster, act: impl FnOnce(&Cluster)) -> bool {
    for number in 0..cluster.nodes.len() {
        assert!(cluster.terminate(number).success());
    }
    cluster.start_all();
    let term = cluster.wait_healthy().term();
    act(cluster);
    crate::same_term(cluster, term)
}

/// What the rounds have shown of one kind of window.
struct Row {
    what: &'static str,
    puts_ms: Vec<f64>,
    syncs_ms: Vec<f64>,
}

impl Row {
    fn new(what: &'static str) -> Row {
        Row { what, puts_ms: Vec::new(), syncs_ms: Vec::new() }
    }

    fn add(&mut self, figures: &str, waited: &Beside) {
        println!("  {}: {figures}; {waited}", self.what);
        self.puts_ms.push(waited.longest_put_ms());
        self.syncs_ms.push(waited.longest_sync_ms());
    }
}

/// `while one is sent: 14.1/9.0, 21.0/19.3, 12.2/7.7; median 14.1/9.0`
impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let pairs: Vec<String> = self.puts_ms.iter().zip(&self.syncs_ms).map(|(put, sync)| format!("{put:.1}/{sync:.1}")).collect();
        write!(f, "{}: {}; median {:.1}/{:.1}", self.what, pairs.join(", "), median(&self.puts_ms), median(&self.syncs_ms))
    }
}

fn median(all: &[f64]) -> f64 {
    let mut sorted = all.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Of one minute: how many processes wanted a processor or waited for the disk.
fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
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
