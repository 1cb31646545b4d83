//! M-K: clients that fight for keys with conditional puts. The labs' clerk says "maybe" when a put that it sent again is refused, since its
//! first attempt may have won. Ours sends it again under the same number and is told what became of it: so in every run, and not only in
//! quiet ones, the version of a key is the number of puts that were told "done".

use std::collections::BTreeMap;

use kvcli::{Answer, Ask, Expectation, WriteOutcome};
use sim::{ClerkId, Cluster};

use crate::crowd::{Behaviour, Crowd, check_quiet, check_sizes, conditions, get, get_by, limits, written};
use crate::under_seeds;

const LABS_MAX: Option<u64> = Some(1000);

fn expectation(version: u64) -> Expectation {
    if version == 0 { Expectation::Absent } else { Expectation::Version(version) }
}

/// A put that finds the version that it is for; the one that it makes.
#[track_caller]
fn put(cluster: &mut Cluster, clerk: ClerkId, key: &str, value: &str, version: u64) -> u64 {
    let written = written(&cluster.done(clerk, Ask::Cas { key: key.into(), expect: expectation(version), value: value.into() }));
    assert_eq!((written.outcome, written.version), (WriteOutcome::Swapped, version + 1), "{key}");
    written.version
}

/// The labs' driver.
struct Fight {
    clients: usize,
    servers: usize,
    unreliable: bool,
    restarts: bool,
    partitions: bool,
    max_log: Option<u64>,
    /// All fight for the first of them, or each for any.
    keys: u64,
}

impl Fight {
    const QUIET: Fight = Fight { clients: 1, servers: 5, unreliable: false, restarts: false, partitions: false, max_log: None, keys: 1 };

    fn run(&self, seeds: u64) {
        under_seeds(seeds, |seed| self.run_under(seed));
    }

    fn run_under(&self, seed: u64) {
        let mut cluster = Cluster::new(seed, self.servers, conditions(self.unreliable), limits(self.max_log));
        let mut puts: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
        let (mut refused, term) = (0, cluster.term(0).expect("it is up").0);
        for round in 0..3 {
            let fighters = (0..self.clients).map(|client| Fighter::new(round, client, self.keys));
            let crowd = self.round(&mut cluster, fighters);
            if !self.unreliable && !self.restarts && !self.partitions {
                check_quiet(&cluster, term);
            }
            for member in crowd.members {
                for (key, count) in member.behaviour.puts {
                    *puts.entry(key).or_default() += count;
                }
                refused += member.behaviour.refused;
            }
            cluster.judge();
        }
        for (key, count) in &puts {
            let value = get(&mut cluster, key.clone()).expect("it was put");
            assert_eq!(value.version, *count, "the version of a key is the number of puts that were done");
        }
        let must_meet = self.clients > 1 && self.keys == 1;
        assert!(!must_meet || refused > 0, "nobody met anybody: this exercised nothing");
        check_sizes(&cluster, self.max_log, self.clients);
    }

    fn round(&self, cluster: &mut Cluster, fighters: impl Iterator<Item = Fighter>) -> Crowd<Fighter> {
        let mut crowd = Crowd::new(cluster, 60_000, fighters);
        if self.partitions {
            crowd.run_for_ms(cluster, 1_000);
            crowd.split_by_coin(cluster);
        }
        crowd.run_for_ms(cluster, 1_000);
        if self.partitions {
            crowd.heal(cluster);
            crowd.rest_for_ms(cluster, 1_000);
        }
        if self.restarts {
            crowd.outlive_a_power_cut(cluster, 1_000);
        }
        crowd.finish(cluster);
        crowd.check_waits(self.unreliable);
        let least = if self.unreliable { 4 * self.clients } else { 50 * self.clients };
        assert!(crowd.done >= least, "{} calls in a round: this exercised nothing", crowd.done);
        crowd
    }
}

/// A put on the version that it has seen last, then a look, and so on.
struct Fighter {
    round: usize,
    client: usize,
    keys: u64,
    count: u64,
    /// Of each key, the version that it has seen.
    seen: BTreeMap<Vec<u8>, u64>,
    /// The key it is at; what it has put there and not looked at.
    key: Vec<u8>,
    has_put: bool,
    mine: Option<(u64, Vec<u8>)>,
    puts: BTreeMap<Vec<u8>, u64>,
    refused: u64,
}

impl Fighter {
    fn new(round: usize, client: usize, keys: u64) -> Fighter {
        let (seen, puts) = (BTreeMap::new(), BTreeMap::new());
        Fighter { round, client, keys, count: 0, seen, key: Vec::new(), has_put: false, mine: None, puts, refused: 0 }
    }

    fn value(&self) -> Vec<u8> {
        format!("{} {} {}", self.round, self.client, self.count).into_bytes()
    }
}

impl Behaviour for Fighter {
    fn next(&mut self, cluster: &mut Cluster) -> Ask {
        if self.has_put {
            return Ask::Get { key: self.key.clone() };
        }
        self.key = format!("k{}", cluster.draw(self.keys)).into_bytes();
        self.count += 1;
        let version = self.seen.get(&self.key).copied().unwrap_or(0);
        Ask::Cas { key: self.key.clone(), expect: expectation(version), value: self.value() }
    }

    fn answered(&mut self, answer: &Answer) {
        match answer {
            Answer::Written(written) => {
                self.has_put = true;
                let version = self.seen.get(&self.key).copied().unwrap_or(0);
                self.mine = None;
                match written.outcome {
                    WriteOutcome::Swapped => {
                        assert_eq!(written.version, version + 1, "a put makes the next version");
                        *self.puts.entry(self.key.clone()).or_default() += 1;
                        self.mine = Some((written.version, self.value()));
                    }
                    WriteOutcome::NotSwapped => {
                        assert_ne!(written.version, version, "a put is refused though it found what it is for");
                        self.refused += 1;
                    }
                    other => panic!("{other:?} answers no conditional put"),
                }
            }
            Answer::Value { value, .. } => {
                self.has_put = false;
                let version = value.as_ref().map_or(0, |value| value.version);
                if let Some((_, mine)) = self.mine.take_if(|(made, _)| *made == version) {
                    assert_eq!(value.as_ref().map(|value| &value.value), Some(&mine), "the version that it made holds its value");
                }
                self.seen.insert(self.key.clone(), version);
            }
            other => panic!("{other:?} answers nothing that was asked"),
        }
    }
}

fn a_thousand_puts(max_log: Option<u64>) {
    under_seeds(2, |seed| {
        let mut cluster = Cluster::new(seed, 3, conditions(false), limits(max_log));
        let (clerk, began_ms) = (cluster.clerk(), cluster.now_ms());
        for version in 0..1000 {
            put(&mut cluster, clerk, "speed", &version.to_string(), version);
        }
        let took_ms = cluster.now_ms() - began_ms;
        assert!(took_ms <= 33_300, "a thousand puts took {took_ms} ms");
        let value = get(&mut cluster, "speed").expect("the key is there");
        assert_eq!((value.version, value.value), (1000, b"999".into()));
        check_sizes(&cluster, max_log, 1);
        cluster.judge();
    });
}

#[test]
fn m_k1_one_client() {
    Fight::QUIET.run(2);
}

#[test]
fn m_k2_a_thousand_puts_take_a_heartbeat_for_three() {
    a_thousand_puts(None);
}

#[test]
fn m_k3_five_clients() {
    Fight { clients: 5, ..Fight::QUIET }.run(2);
}

#[test]
fn m_k4_five_clients_with_loss() {
    Fight { clients: 5, unreliable: true, ..Fight::QUIET }.run(3);
}

#[test]
fn m_k5_a_minority_answers_nobody_and_its_clients_are_served_afterwards_with_loss() {
    under_seeds(5, |seed| {
        let mut cluster = Cluster::new(seed, 5, conditions(true), limits(None));
        let clerk = cluster.clerk();
        put(&mut cluster, clerk, "1", "13", 0);
        let leader = cluster.one_leader();
        let minority = [leader, (leader + 1) % 5];
        let majority = [(leader + 2) % 5, (leader + 3) % 5, (leader + 4) % 5];
        cluster.partition(&minority);

        let (inside, outside) = ([cluster.clerk(), cluster.clerk()], cluster.clerk());
        cluster.reach_only(outside, &majority);
        put(&mut cluster, outside, "1", "14", 1);
        let value = |cluster: &mut Cluster| get_by(cluster, outside, "1").map(|value| (value.value, value.version));
        assert_eq!(value(&mut cluster), Some((b"14".into(), 2)));

        for clerk in inside {
            cluster.reach_only(clerk, &minority);
        }
        // For the version that the majority is about to make.
        let ask = Ask::Cas { key: b"1".into(), expect: expectation(3), value: b"15".into() };
        let late = cluster.ask(inside[0], ask, 60_000);
        let read = cluster.ask(inside[1], Ask::Get { key: b"1".into() }, 60_000);
        cluster.run_for_ms(1_000);
        assert!(cluster.outcome(late).is_none() && cluster.outcome(read).is_none(), "a minority has answered");
        put(&mut cluster, outside, "1", "16", 2);
        assert_eq!(value(&mut cluster), Some((b"16".into(), 3)));

        cluster.heal();
        for clerk in inside {
            cluster.reach_only(clerk, &[0, 1, 2, 3, 4]);
        }
        let over = cluster.run_until(3_000, |cluster| cluster.outcome(late).is_some() && cluster.outcome(read).is_some());
        assert!(over, "no answer within three seconds after the end of the partition:\n{}", cluster.describe());
        let written = written(cluster.outcome(late).expect("it is over").as_ref().expect("it is done"));
        assert_eq!((written.outcome, written.version), (WriteOutcome::Swapped, 4));
        assert!(cluster.outcome(read).is_some_and(Result::is_ok));
        assert_eq!(get(&mut cluster, "1").map(|value| (value.value, value.version)), Some((b"15".into(), 4)));
        cluster.judge();
    });
}

#[test]
fn m_k6_partitions_and_one_client() {
    Fight { partitions: true, ..Fight::QUIET }.run(3);
}

#[test]
fn m_k7_partitions_and_five_clients() {
    Fight { clients: 5, partitions: true, ..Fight::QUIET }.run(3);
}

#[test]
fn m_k8_restarts_and_one_client() {
    Fight { restarts: true, ..Fight::QUIET }.run(3);
}

#[test]
fn m_k9_restarts_and_five_clients() {
    Fight { clients: 5, restarts: true, ..Fight::QUIET }.run(3);
}

#[test]
fn m_k10_restarts_and_five_clients_with_loss() {
    Fight { clients: 5, unreliable: true, restarts: true, ..Fight::QUIET }.run(5);
}

#[test]
fn m_k11_restarts_and_partitions_and_five_clients() {
    Fight { clients: 5, restarts: true, partitions: true, ..Fight::QUIET }.run(3);
}

#[test]
fn m_k12_restarts_and_partitions_and_five_clients_with_loss() {
    Fight { clients: 5, unreliable: true, restarts: true, partitions: true, ..Fight::QUIET }.run(5);
}

#[test]
fn m_k13_everything_at_once_to_fifteen_clients_and_a_hundred_keys() {
    Fight { clients: 15, servers: 7, unreliable: true, restarts: true, partitions: true, max_log: None, keys: 100 }.run(3);
}

#[test]
fn m_k14_who_was_cut_off_is_sent_a_snapshot_and_needed_next() {
    under_seeds(5, |seed| {
        let mut cluster = Cluster::new(seed, 3, conditions(false), limits(LABS_MAX));
        let clerk = cluster.clerk();
        put(&mut cluster, clerk, "a", "A", 0);
        cluster.partition(&[2]);
        cluster.reach_only(clerk, &[0, 1]);
        for number in 0..50 {
            put(&mut cluster, clerk, &number.to_string(), &number.to_string(), 0);
        }
        cluster.run_for_ms(1_000);
        put(&mut cluster, clerk, "b", "B", 0);
        assert!((0..2).all(|node| cluster.log_bytes(node) <= 8_000 && cluster.snapshot_bytes(node) > 0));

        let installs = cluster.report().installs;
        cluster.partition(&[1]);
        cluster.reach_only(clerk, &[0, 2]);
        put(&mut cluster, clerk, "c", "C", 0);
        put(&mut cluster, clerk, "d", "D", 0);
        put(&mut cluster, clerk, "a", "AA", 1);
        assert!(cluster.report().installs > installs, "it was sent a snapshot");

        cluster.heal();
        cluster.reach_only(clerk, &[0, 1, 2]);
        put(&mut cluster, clerk, "e", "E", 0);
        for (key, value, version) in [("a", "AA", 2), ("b", "B", 1), ("c", "C", 1), ("e", "E", 1), ("1", "1", 1), ("49", "49", 1)] {
            let held = get_by(&mut cluster, clerk, key).expect("the key is there");
            assert_eq!((held.value, held.version), (value.into(), version), "{key}");
        }
        check_sizes(&cluster, LABS_MAX, 1);
        cluster.judge();
    });
}

#[test]
fn m_k15_one_key_makes_small_snapshots() {
    under_seeds(3, |seed| {
        let mut cluster = Cluster::new(seed, 3, conditions(false), limits(LABS_MAX));
        let (clerk, mut version) = (cluster.clerk(), 0);
        for _ in 0..200 {
            for value in ["0", "1"] {
                version = put(&mut cluster, clerk, "x", value, version);
                let held = get_by(&mut cluster, clerk, "x").expect("the key is there");
                assert_eq!((held.value, held.version), (value.into(), version));
            }
        }
        check_sizes(&cluster, LABS_MAX, 1);
        for node in 0..3 {
            assert!(cluster.snapshot_bytes(node) <= 500, "a snapshot of {} bytes", cluster.snapshot_bytes(node));
        }
        cluster.judge();
    });
}

#[test]
fn m_k16_a_thousand_puts_among_snapshots() {
    a_thousand_puts(LABS_MAX);
}

#[test]
fn m_k17_snapshots_and_restarts_and_one_client() {
    Fight { restarts: true, max_log: LABS_MAX, ..Fight::QUIET }.run(3);
}

#[test]
fn m_k18_snapshots_and_restarts_and_twenty_clients() {
    Fight { clients: 20, restarts: true, max_log: LABS_MAX, ..Fight::QUIET }.run(1);
}

#[test]
fn m_k19_snapshots_and_five_clients_with_loss() {
    Fight { clients: 5, unreliable: true, max_log: LABS_MAX, ..Fight::QUIET }.run(3);
}

#[test]
fn m_k20_snapshots_and_restarts_and_five_clients_with_loss() {
    Fight { clients: 5, unreliable: true, restarts: true, max_log: LABS_MAX, ..Fight::QUIET }.run(3);
}

#[test]
fn m_k21_snapshots_and_restarts_and_partitions_and_five_clients_with_loss() {
    Fight { clients: 5, unreliable: true, restarts: true, partitions: true, max_log: LABS_MAX, ..Fight::QUIET }.run(3);
}

#[test]
fn m_k22_everything_at_once_with_snapshots_to_fifteen_clients_and_a_hundred_keys() {
    Fight { clients: 15, servers: 7, unreliable: true, restarts: true, partitions: true, max_log: LABS_MAX, keys: 100 }.run(3);
}
