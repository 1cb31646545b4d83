//! A load that ended with lines of unknown outcome goes on with the command that it printed: what it sent before may arrive whenever it
//! likes, the keys hold what the file says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::thread;

use tests::lossy::Ways;
use tests::status::Status;
use tests::wait::PATIENCE;
use tests::{Cluster, Ran, host, wait_until};

use crate::resumed::{finish_line, paste};

const KEYS: usize = 500;
const LINES: usize = 20_000;

/// A file in which every key comes forty times, and what is dumped once it is loaded.
fn file(cluster: &Cluster) -> (PathBuf, Vec<u8>) {
    let (mut lines, mut last) = (String::new(), BTreeMap::new());
    for number in 0..LINES {
        let (key, value) = (format!("key {:03}", number * 7 % KEYS), format!("value of line {}", number + 1));
        lines += &format!("{key}\t{value}\n");
        last.insert(key, value);
    }
    let path = cluster.path().join("it's many lines");
    std::fs::write(&path, lines).expect("a file");
    (path, last.iter().flat_map(|(key, value)| format!("{key}\t{value}\n").into_bytes()).collect())
}

/// A load that was stopped half-way, and left lines unknown. What stops it also undoes that, for one that was faster.
fn unfinished(cluster: &mut Cluster, endpoints: &str, path: &Path, timeout: &str, mut stop: impl FnMut(&mut Cluster, bool)) -> Ran {
    for _ in 0..20 {
        let applied = |status: &Status| cluster.nodes.iter().filter_map(|node| status.number(&node.name, "applied_index")).max();
        let enough = applied(&cluster.status()).map(|before| before + KEYS as u64);
        let mut command = cluster.kvcli_command(endpoints, ["load", "--timeout", timeout]);
        command.arg(path);
        let load = thread::spawn(|| Ran::run(command, b""));
        wait_until("every key was written, or the load has ended", PATIENCE, || {
            load.is_finished() || cluster.try_status().is_ok_and(|status| applied(&status) >= enough)
        });
        if load.is_finished() {
            continue; // the machine was too busy for its timeout, or has done it all
        }
        stop(cluster, true);
        let ran = load.join().expect("it ends").expect_one_of(&[0, 3, 4]);
        if ran.code == 4 {
            let done: usize = ran.stderr.lines().find_map(|line| line.strip_suffix(" lines done")?.parse().ok()).expect("an account");
            assert!(done < LINES, "{ran}");
            host::report(format!("{done} lines done"));
            return ran;
        }
        stop(cluster, false);
        cluster.wait_healthy();
    }
    panic!("twenty times the load had no line under way when it was stopped");
}

#[test]
fn what_the_network_held_back_changes_nothing_once_the_load_has_gone_on() {
    let mut cluster = Cluster::prepare(3);
    let ways = Ways::to(&mut cluster);
    cluster.start_all();
    Ran::kvcli(["--endpoints", &ways.endpoints, "wait", "--all"]).expect_code(0);
    let (path, loaded) = file(&cluster);
    let ran = unfinished(&mut cluster, &ways.endpoints, &path, "1s", |_, stop| ways.hold_requests(stop));
    ways.hold_requests(false);
    let line = finish_line(&ran);
    paste(&line).expect_code(0);
    let dump = || cluster.kvcli(["dump"]).expect_code(0).stdout;
    assert!(dump() == loaded, "what is dumped is not what was loaded");
    let late = ways.let_requests_arrive();
    assert!(late > 0, "the network held nothing, so that this test shows nothing");
    host::report(format!("{late} requests were late"));
    assert!(dump() == loaded, "what came late took effect");
    // Whoever is not sure pastes it again.
    paste(&line).expect_code(0);
    assert!(dump() == loaded);
    cluster.wait_equal();
}

/// When the leader that was stopped under a load goes on.
#[derive(Clone, Copy, PartialEq)]
enum Wakes {
    BeforeTheNextLoad,
    BehindTheNextLoad,
}

fn under_a_stopped_leader(wakes: Wakes) {
    let mut cluster = Cluster::start(3);
    let (path, loaded) = file(&cluster);
    let endpoints = cluster.endpoints();
    let mut leader = 0;
    let ran = unfinished(&mut cluster, &endpoints, &path, "400ms", |cluster, stop| {
        if stop {
            leader = cluster.leader();
            cluster.pause(leader);
        } else {
            cluster.resume(leader);
        }
    });
    if wakes == Wakes::BeforeTheNextLoad {
        cluster.resume(leader);
    }
    paste(&finish_line(&ran)).expect_code(0);
    if wakes == Wakes::BehindTheNextLoad {
        assert_ne!(cluster.leader(), leader, "it was asleep");
        cluster.resume(leader);
    }
    cluster.wait_healthy();
    cluster.wait_equal();
    let dumped = cluster.kvcli(["dump"]).expect_code(0).stdout;
    assert!(dumped == loaded, "what is dumped is not what was loaded");
}

#[test]
fn a_load_goes_on_while_the_leader_that_it_was_stopped_under_wakes_up() {
    under_a_stopped_leader(Wakes::BeforeTheNextLoad);
}

#[test]
fn a_load_goes_on_under_another_leader_and_the_old_one_wakes_up_behind_it() {
    under_a_stopped_leader(Wakes::BehindTheNextLoad);
}
