//! Snapshots on real processes: the log stays short, restarts are from a snapshot and a tail, and who was away is caught up while the
//! others serve.

use std::path::PathBuf;
use std::time::Duration;

use tests::client::Client;
use tests::cluster::CALM_TICKS;
use tests::load::Load;
use tests::raw::Raw;
use tests::wait::{PATIENCE, let_pass};
use tests::{Cluster, host, wait_for, wait_until};
use wire::{Reply, Request, Scan};

const KIB: usize = 1024;

/// A cluster whose log is never longer than a few values.
fn cluster(size: usize, max_log_bytes: &str) -> Cluster {
    let mut cluster = Cluster::prepare(size);
    cluster.run_args = ["--max-log-bytes", max_log_bytes].map(String::from).into();
    cluster.start_all();
    cluster.wait_healthy();
    cluster
}

fn put_all(cluster: &Cluster, keys: std::ops::Range<usize>, value: &str) {
    let mut client = Client::new(&cluster.endpoints(), PATIENCE);
    for key in keys {
        client.put(&format!("key {key:05}"), format!("{value} {key:0500}")).expect("a put");
    }
}

fn check_all(cluster: &Cluster, keys: std::ops::Range<usize>, value: &str) {
    let mut client = Client::new(&cluster.endpoints(), PATIENCE);
    for key in keys {
        let found = client.get(&format!("key {key:05}")).expect("a read");
        assert_eq!(found.map(|value| String::from_utf8(value).expect("text")), Some(format!("{value} {key:0500}")), "key {key}");
    }
}

fn snapshot_index(cluster: &Cluster, number: usize) -> u64 {
    cluster.status().number(&cluster.nodes[number].name, "snapshot_index").unwrap_or(0)
}

/// Stops a node, writes until the others no longer have what it needs, and lets it come back.
fn away(cluster: &mut Cluster, number: usize, mut leave: impl FnMut(&mut Cluster), mut come_back: impl FnMut(&mut Cluster)) {
    put_all(cluster, 0..50, "first");
    cluster.wait_equal();
    let applied = cluster.status().number(&cluster.nodes[number].name, "applied_index").expect("it answers");
    leave(cluster);
    put_all(cluster, 20..300, "second");
    let mut client = Client::new(&cluster.endpoints(), PATIENCE);
    client.put("gone", "1").expect("a put");
    wait_until("the others have compacted their logs", PATIENCE, || {
        let status = cluster.status();
        let others = (0..cluster.nodes.len()).filter(|other| *other != number).map(|other| &cluster.nodes[other].name);
        others.into_iter().all(|name| status.number(name, "first_log_index") > Some(applied + 1))
    });
    let load = Load::start(&cluster.endpoints(), 4);
    load.wait_progress(20);
    come_back(cluster);
    wait_for("it is caught up by a snapshot", PATIENCE, || {
        load.wait_progress(20); // whatever is sent to it, the others serve
        if cluster.log(number).contains("caught up") { Ok(()) } else { Err(cluster.log(number)) }
    });
    let account = load.stop();
    cluster.wait_equal();
    account.check_all(&cluster.endpoints_of([number]));
    check_all(cluster, 0..20, "first");
    check_all(cluster, 20..300, "second");
}

#[test]
fn a_node_that_was_down_is_caught_up_by_a_snapshot_while_the_others_serve() {
    let mut cluster = cluster(3, "16KiB");
    let victim = cluster.follower();
    away(&mut cluster, victim, |cluster| cluster.kill(victim), |cluster| cluster.start_node(victim));
    // What it was sent is its own from now on.
    cluster.kill_all();
    cluster.start_all();
    cluster.wait_healthy();
    cluster.wait_equal();
    check_all(&cluster, 20..300, "second");
}

#[test]
fn a_leader_that_was_paused_is_caught_up_by_a_snapshot_while_the_others_serve() {
    let mut cluster = cluster(3, "16KiB");
    let victim = cluster.leader();
    // Only paused, it may find what it missed in its sockets: if it led no longer, it was being sent all that was written.
    away(&mut cluster, victim, |cluster| cluster.cut_off(victim), |cluster| cluster.resume(victim));
}

#[test]
fn a_scan_of_what_an_installation_has_replaced_is_lost_and_gets_no_page_of_another() {
    let mut cluster = cluster(3, "16KiB");
    let mut client = Client::new(&cluster.endpoints(), PATIENCE);
    for key in ["long 1", "long 2", "long 3", "long 4"] {
        client.put(key, "v".repeat(200 * KIB)).expect("a put"); // a page holds two of them
    }
    cluster.wait_equal();
    let victim = cluster.follower();
    let (mut reader, _) = Raw::client(&cluster.nodes[victim].client_addr);
    let mut asked = |request: &Request<'_>| {
        reader.request(1, request);
        reader.reply().1
    };
    let scan = Request::Scan(Scan { stale: true, keys_only: false, from: b"long", to: None, limit: None });
    let page = |reply: Reply| match reply {
        Reply::Page(page) => page,
        other => panic!("{other:?} answers no scan"),
    };
    let before = page(asked(&scan));
    away(&mut cluster, victim, |cluster| cluster.pause(victim), |cluster| cluster.resume(victim));
    // If the new state counted its scans from 1 again, one of them would be called like the old one.
    let after = loop {
        let mut read = page(asked(&scan));
        if before.scan <= read.scan {
            break read;
        }
        while !read.last {
            read = page(asked(&Request::ScanNext { scan: read.scan }));
        }
    };
    assert!(!before.last && !after.last, "both go on");
    assert_eq!(asked(&Request::ScanNext { scan: before.scan }), Reply::ScanLost);
    let next = page(asked(&Request::ScanNext { scan: after.scan }));
    assert_eq!((next.position, &next.items[0].key[..]), (after.position, &b"long 3"[..]));
}

#[test]
fn keys_that_a_snapshot_does_not_hold_are_gone_from_whoever_installs_it() {
    let mut cluster = cluster(3, "4KiB");
    let mut client = Client::new(&cluster.endpoints(), PATIENCE);
    client.put("doomed", "1").expect("a put");
    cluster.wait_equal();
    let victim = cluster.follower();
    cluster.kill(victim);
    cluster.kvcli(["delete", "doomed"]).expect_code(0);
    put_all(&cluster, 0..60, "v");
    cluster.start_node(victim);
    cluster.wait_equal();
    assert!(cluster.log(victim).contains("caught up"), "{}", cluster.log(victim));
    cluster.kvcli_at([victim], ["get", "--stale", "doomed"]).expect_code(1);
}

#[test]
fn a_restart_is_from_the_snapshot_and_the_tail() {
    let mut cluster = cluster(3, "16KiB");
    for round in 0..3 {
        put_all(&cluster, 0..120, &format!("round {round}"));
        cluster.wait_equal();
        let snapshots: Vec<u64> = (0..3).map(|number| snapshot_index(&cluster, number)).collect();
        assert!(snapshots.iter().all(|index| *index > 100 * round), "{snapshots:?}");
        cluster.kill_all();
        cluster.start_all();
        cluster.wait_healthy();
        check_all(&cluster, 0..120, &format!("round {round}"));
    }
    // The files say so, too: `kvnode dump` shows a snapshot and a log that does not begin at 1.
    let node = &cluster.nodes[0];
    let dump = tests::cli::Ran::kvnode(["dump".as_ref(), node.data_dir.as_os_str()]).expect_code(0);
    let text = String::from_utf8_lossy(&dump.stdout).into_owned();
    assert!(text.contains(".snap") && text.contains("00119 version "), "{}", text.chars().take(2000).collect::<String>());
    assert!(!text.contains(" i1/t0 "), "entry 1 is long gone: {text}");
}

#[test]
fn the_log_stays_short_under_load_and_the_term_does_not_change() {
    const MAX: u64 = 1000;
    let mut cluster = Cluster::prepare(3);
    cluster.run_args = ["--max-log-bytes", &MAX.to_string()].map(String::from).into();
    cluster.start_all_calm(CALM_TICKS);
    let term = cluster.status().term();
    let load = Load::start(&cluster.endpoints(), 3);
    let mut longest = 0;
    for _ in 0..20 {
        load.wait_progress(10);
        let status = cluster.status();
        for node in &cluster.nodes {
            let log_bytes = status.number(&node.name, "log_bytes").unwrap_or(0);
            longest = longest.max(log_bytes);
            assert!(log_bytes <= 8 * MAX, "{} has a log of {log_bytes} bytes", node.name);
        }
    }
    let account = load.stop();
    host::report(format!("the longest of 60 samples under load: {longest} bytes of log at --max-log-bytes {MAX}"));
    account.check_all(&cluster.endpoints());
    cluster.wait_equal();
    let status = cluster.status();
    assert_eq!(status.term(), term, "the leader was never held up for an election timeout");
    assert!(cluster.nodes.iter().all(|node| status.number(&node.name, "snapshot_index") > Some(50)), "no snapshots: {:#}", status.0);
}

#[test]
fn acknowledged_appends_survive_sigkill_while_snapshots_are_taken_all_the_time() {
    let mut random = fastrand::Rng::with_seed(host::seed());
    let mut cluster = cluster(3, "2KiB");
    let load = Load::start(&cluster.endpoints(), 4);
    for _ in 0..10 {
        load.wait_progress(20);
        let_pass(Duration::from_millis(random.u64(0..100)));
        if random.u8(..4) == 0 {
            cluster.kill_all();
            cluster.start_all();
        } else {
            let victim = random.usize(..3);
            cluster.kill(victim);
            load.wait_progress(5);
            cluster.start_node(victim);
        }
    }
    let account = load.stop();
    cluster.wait_healthy();
    cluster.wait_equal();
    account.check_all(&cluster.endpoints());
    assert!(snapshot_index(&cluster, 0) > 100);
}

/// The one complete snapshot of a node that runs. Older ones go bit by bit.
fn snapshot_file(cluster: &Cluster, number: usize) -> PathBuf {
    let dir = cluster.nodes[number].data_dir.join("snapshot");
    wait_for("one snapshot is left", PATIENCE, || {
        let entries = std::fs::read_dir(&dir).expect("a directory of snapshots");
        // One that goes may be gone before it is looked at.
        let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        files.retain(|path| path.extension().is_some_and(|extension| extension == "snap"));
        if files.len() == 1 { Ok(files.remove(0)) } else { Err(format!("{files:?}")) }
    })
}

/// A cluster of one node whose snapshot is then changed; what its next start says.
fn start_with(change: impl Fn(&mut Vec<u8>)) -> (i32, String) {
    let mut cluster = cluster(1, "4KiB");
    put_all(&cluster, 0..60, "v");
    assert!(snapshot_index(&cluster, 0) > 10);
    let path = snapshot_file(&cluster, 0);
    assert!(cluster.terminate(0).success());
    let mut bytes = std::fs::read(&path).expect("it can be read");
    change(&mut bytes);
    std::fs::write(&path, bytes).expect("it can be written");
    cluster.start_node(0);
    let status = cluster.wait_end(0);
    (status.code().expect("it ends by itself"), cluster.log(0))
}

#[test]
fn a_damaged_snapshot_ends_with_65_and_names_file_offset_and_what_to_do() {
    for what in ["a bit in the middle", "a bit in the header", "its end is missing", "bytes behind its end"] {
        let (code, log) = start_with(|bytes| match what {
            "a bit in the middle" => {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
            }
            "a bit in the header" => bytes[30] ^= 1,
            "its end is missing" => bytes.truncate(bytes.len() - 1),
            _ => bytes.push(0),
        });
        assert_eq!(code, 65, "{what}: {log}");
        let last = log.lines().last().unwrap_or_default();
        assert!(last.contains("/snapshot/") && last.contains("offset") && last.contains("kvcli member replace"), "{what}: {last}");
    }
}

#[test]
fn a_snapshot_of_a_newer_format_or_of_another_cluster_is_told_apart_from_damage() {
    let (code, log) = start_with(|bytes| {
        bytes[8..12].copy_from_slice(&9u32.to_le_bytes());
        let crc = wire::checksum(&bytes[..60]);
        bytes[60..64].copy_from_slice(&crc.to_le_bytes());
    });
    assert_eq!(code, 78, "{log}");
    assert!(log.contains("format version 9"), "{log}");
    let (code, log) = start_with(|bytes| {
        bytes[12] ^= 1;
        let crc = wire::checksum(&bytes[..60]);
        bytes[60..64].copy_from_slice(&crc.to_le_bytes());
    });
    assert_eq!(code, 65, "{log}");
    assert!(log.contains("another cluster"), "{log}");
}

#[test]
fn one_slice_of_kib_is_enough_for_a_small_state() {
    // A snapshot of a small state is written in one go: it is there as soon as the write that made it due is answered.
    let cluster = cluster(1, "4KiB");
    let mut client = Client::new(&cluster.endpoints(), PATIENCE);
    for _ in 0..5 {
        let before = snapshot_index(&cluster, 0);
        client.put("k", vec![b'v'; 5 * KIB]).expect("a put");
        let after = snapshot_index(&cluster, 0);
        assert!(after > before, "no snapshot between {before} and {after}");
    }
}

#[test]
fn a_snapshot_that_rots_on_the_leaders_disk_is_refused_taken_again_and_service_goes_on() {
    let mut cluster = Cluster::prepare(3);
    cluster.run_args = ["--max-log-bytes", "16KiB"].map(String::from).into();
    cluster.start_all_calm(CALM_TICKS); // or another would lead, whose snapshot is well
    put_all(&cluster, 0..50, "first");
    let (leader, victim) = cluster.leader_and_follower();
    cluster.kill(victim);
    put_all(&cluster, 0..200, "second");
    let path = snapshot_file(&cluster, leader);
    let mut bytes = std::fs::read(&path).expect("it can be read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    // In place: the leader may have it open.
    let file = std::fs::OpenOptions::new().write(true).open(&path).expect("it can be written");
    std::os::unix::fs::FileExt::write_at(&file, &bytes[middle..=middle], middle as u64).expect("one byte");
    cluster.start_node(victim);
    cluster.wait_equal();
    let log = cluster.log(victim);
    let refused = log.lines().find(|line| line.contains("cannot be used")).unwrap_or_else(|| panic!("it was taken for good: {log}"));
    assert!(refused.contains("offset") && refused.contains(&cluster.nodes[leader].name), "{refused}");
    assert!(log.contains("caught up"), "{log}");
    check_all(&cluster, 0..200, "second");
}
