//! The labs' cases that are about snapshots alone, on real processes: K-B1 and K-B2, and M-K14 and M-K15, which are the same with
//! conditional puts.
//!
//! A node is cut off by SIGSTOP here, which cuts its clients off as well: they are told only of those that run.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use kvcli::{Clerk, Expectation, Options, WriteOutcome};
use tests::wait::{PATIENCE, let_pass};
use tests::{Cluster, MaxLog, Sampler, host, wait_until};

/// A client that knows what it has put, and of which version every key must be.
struct Putter {
    clerk: Clerk,
    /// Every put names the version that it is for.
    conditional: bool,
}

/// The versions of all keys.
type Versions = BTreeMap<String, u64>;

impl Putter {
    fn new(endpoints: &str, conditional: bool) -> Putter {
        let options = Options { timeout: PATIENCE, ..Options::default() };
        Putter { clerk: Clerk::new(endpoints.split(','), options).expect("a clerk"), conditional }
    }

    fn put(&mut self, versions: &mut Versions, key: &str, value: &str) {
        let version = versions.entry(key.to_owned()).or_default();
        let (written, outcome) = if self.conditional {
            let expect = if *version == 0 { Expectation::Absent } else { Expectation::Version(*version) };
            (self.clerk.cas(key, expect, value), WriteOutcome::Swapped)
        } else {
            (self.clerk.put(key, value), WriteOutcome::Done)
        };
        let written = written.unwrap_or_else(|error| panic!("put {key}: {error}"));
        *version += 1;
        assert_eq!((written.outcome, written.version), (outcome, *version), "put {key}={value}");
    }

    fn check(&mut self, versions: &Versions, key: &str, value: &str) {
        let found = self.clerk.get(key).unwrap_or_else(|error| panic!("get {key}: {error}")).value.expect("the key is there");
        assert_eq!((String::from_utf8_lossy(&found.value).as_ref(), found.version), (value, versions[key]), "{key}");
    }
}

/// Two of three nodes write, then one of them with the third, which needs a snapshot for it.
fn who_was_cut_off_is_needed_next(conditional: bool, case: &str) {
    let mut cluster = Cluster::start_with_log(3, MaxLog::LABS);
    let sampler = Sampler::start(&cluster);
    let mut versions = Versions::new();
    let putter = |cluster: &Cluster, nodes: &[usize]| Putter::new(&cluster.endpoints_of(nodes.iter().copied()), conditional);
    let mut all = putter(&cluster, &[0, 1, 2]);
    all.put(&mut versions, "a", "A");
    all.check(&versions, "a", "A");
    cluster.wait_equal(); // or it would not be known what node 2 misses

    cluster.cut_off(2);
    let mut first = putter(&cluster, &[0, 1]);
    for number in 0..50 {
        first.put(&mut versions, &number.to_string(), &number.to_string());
    }
    let_pass(Duration::from_secs(1));
    first.put(&mut versions, "b", "B");
    // Node 2 says nothing, and yet nobody keeps the log for it: this is checked below, of every look at them.

    cluster.pause(1);
    cluster.resume(2);
    let mut second = putter(&cluster, &[0, 2]);
    second.put(&mut versions, "c", "C");
    second.put(&mut versions, "d", "D");
    for (key, value) in [("a", "A"), ("b", "B"), ("1", "1"), ("49", "49")] {
        second.check(&versions, key, value);
    }
    assert!(cluster.log(2).contains("caught up"), "node 2 was sent a snapshot: {}", cluster.log(2));

    cluster.resume(1);
    all.put(&mut versions, "e", "E");
    for (key, value) in [("c", "C"), ("e", "E"), ("1", "1")] {
        all.check(&versions, key, value);
    }
    cluster.wait_equal();
    sampler.stop_and_check(&cluster, MaxLog::LABS, case);
}

/// The budget of a snapshot of one key `x` with a value of one byte, and one session with one kept reply: what stands in the file's format
/// (`data::snapshot`) and in that of its content (`wire::image`), added up.
fn budget(cluster: &Cluster) -> u64 {
    let version = env!("CARGO_PKG_VERSION"); // of the workspace
    let file = 64 + 8; // header, and the header of the one chunk
    let head = 5 + 1 + 4 * 8 + 1 + 2; // record, version, digest, horizon, counts, formed, how many members
    let member = |node: &tests::Node| {
        let known = 8 + 1 + text(&node.name) + text(&node.peer_addr);
        let announced = 1 + 16 + text(&node.client_addr) + 1 + text(version);
        known + announced
    };
    let members: usize = cluster.nodes.iter().map(member).sum();
    let session = 5 + 16 + 3 * 8 + (8 + 1 + 8 + 8); // record, id, when and what, one reply
    let key = 5 + 8 + 8 + (4 + 1) + 1; // record, version, position, key, value
    host::report(format!(
        "a snapshot of one key: file {file}, head {head}, members {members}, session {session}, key {key}: {} bytes",
        file + head + members + session + key
    ));
    (file + head + members + session + key) as u64
}

fn text(text: &str) -> usize {
    2 + text.len()
}

/// Eight hundred operations on one key.
fn one_key_again_and_again(conditional: bool, case: &str) {
    let cluster = Cluster::start_with_log(3, MaxLog::LABS);
    let sampler = Sampler::start(&cluster);
    let (mut client, mut versions) = (Putter::new(&cluster.endpoints(), conditional), Versions::new());
    let start = Instant::now();
    for _ in 0..200 {
        for value in ["0", "1"] {
            client.put(&mut versions, "x", value);
            client.check(&versions, "x", value);
        }
    }
    let took = start.elapsed();
    let last = versions["x"];
    wait_until("every node has taken a late snapshot", PATIENCE, || {
        let status = cluster.status();
        cluster.nodes.iter().all(|node| status.number(&node.name, "snapshot_index") > Some(last / 2))
    });
    cluster.wait_equal();
    let sizes = sampler.stop_and_check(&cluster, MaxLog::LABS, case);
    host::report(format!("{case}: 800 operations in {} ms", took.as_millis()));
    // The labs' own limit.
    assert!(sizes.snapshot_bytes <= 500, "a snapshot of {} bytes", sizes.snapshot_bytes);
    assert_eq!(sizes.snapshot_bytes, budget(&cluster), "nothing is in a snapshot that nobody has written down");
}

#[test]
fn k_b1_snapshot_for_who_was_cut_off_and_is_needed_next() {
    who_was_cut_off_is_needed_next(false, "K-B1");
}

#[test]
fn k_b2_snapshot_size_of_one_key() {
    one_key_again_and_again(false, "K-B2");
}

#[test]
fn m_k14_snapshot_for_who_was_cut_off_and_is_needed_next() {
    who_was_cut_off_is_needed_next(true, "M-K14");
}

#[test]
fn m_k15_snapshot_size_of_one_key() {
    one_key_again_and_again(true, "M-K15");
}
