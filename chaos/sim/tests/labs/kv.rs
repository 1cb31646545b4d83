//! K: clients with keys of their own or of all, on networks and nodes as bad as the labs have them.

use kvcli::{Answer, Ask};
use sim::Cluster;

use crate::crowd::{
    Behaviour, Crowd, check_appends, check_quiet, check_sizes, conditions, get, get_by, key, limits, put_by, token, written,
};
use crate::under_seeds;

const LABS_MAX: Option<u64> = Some(1000);

/// The labs' common driver.
struct Generic {
    clients: usize,
    servers: usize,
    unreliable: bool,
    restarts: bool,
    partitions: bool,
    max_log: Option<u64>,
    random_keys: bool,
}

impl Generic {
    const QUIET: Generic =
        Generic { clients: 1, servers: 5, unreliable: false, restarts: false, partitions: false, max_log: None, random_keys: false };

    fn run(&self, seeds: u64) {
        under_seeds(seeds, |seed| self.run_under(seed));
    }

    fn run_under(&self, seed: u64) {
        let mut cluster = Cluster::new(seed, self.servers, conditions(self.unreliable), limits(self.max_log));
        let term = cluster.term(0).expect("it is up").0;
        for round in 0..3 {
            if self.random_keys {
                let behaviours = (0..self.clients).map(|client| RandomKeys { client, keys: self.clients, round, count: 0 });
                self.round(&mut cluster, behaviours);
            } else {
                let behaviours = (0..self.clients).map(|client| FixedKey { client, expected: None, count: 0 });
                let crowd = self.round(&mut cluster, behaviours);
                if !self.unreliable && !self.restarts && !self.partitions {
                    check_quiet(&cluster, term);
                }
                for member in crowd.members {
                    let FixedKey { client, count, .. } = member.behaviour;
                    let value = get(&mut cluster, key(client)).unwrap_or_else(|| panic!("client {client} has put its key"));
                    check_appends(client, &value.value, count);
                }
            }
        }
        check_sizes(&cluster, self.max_log, self.clients);
        cluster.judge();
    }

    fn round<B: Behaviour>(&self, cluster: &mut Cluster, behaviours: impl IntoIterator<Item = B>) -> Crowd<B> {
        // Within the limit of the whole case: what a client is in the middle of gets finished.
        let mut crowd = Crowd::new(cluster, 60_000, behaviours);
        if self.partitions {
            crowd.run_for_ms(cluster, 1_000);
            let end_ms = cluster.now_ms() + 5_000;
            while cluster.now_ms() < end_ms {
                crowd.split_by_coin(cluster);
                let ms = 1_000 + cluster.draw(200);
                crowd.run_for_ms(cluster, ms.min(end_ms - cluster.now_ms()));
            }
            crowd.heal(cluster);
            crowd.rest_for_ms(cluster, 1_000);
        } else {
            crowd.run_for_ms(cluster, 5_000);
        }
        if self.restarts {
            crowd.outlive_a_power_cut(cluster, 1_000);
        }
        crowd.finish(cluster);
        crowd.check_waits(self.unreliable);
        let least = if self.unreliable { 5 * self.clients } else { 200 * self.clients };
        assert!(crowd.done >= least, "{} calls in a round: this exercised nothing", crowd.done);
        crowd
    }
}

/// Half appends to a key of its own, half reads that must show exactly what it has written.
struct FixedKey {
    client: usize,
    /// `None`: it has not put its key yet.
    expected: Option<String>,
    count: usize,
}

impl Behaviour for FixedKey {
    fn next(&mut self, cluster: &mut Cluster) -> Ask {
        let key = key(self.client);
        if self.expected.is_none() {
            return Ask::Put { key, value: Vec::new() };
        }
        if cluster.draw(2) == 0 { Ask::Append { key, value: token(self.client, self.count).into_bytes() } } else { Ask::Get { key } }
    }

    fn answered(&mut self, answer: &Answer) {
        match (answer, &mut self.expected) {
            (Answer::Written(_), None) => self.expected = Some(String::new()),
            (Answer::Written(_), Some(expected)) => {
                expected.push_str(&token(self.client, self.count));
                self.count += 1;
            }
            (Answer::Value { value, .. }, Some(expected)) => {
                let value = value.as_ref().map(|value| String::from_utf8_lossy(&value.value));
                assert_eq!(value.as_deref(), Some(expected.as_str()), "client {}", self.client);
            }
            (other, _) => panic!("{other:?} answers nothing that was asked"),
        }
    }
}

/// Appends, puts and reads of keys that all share. Only the judge of the history knows what is right.
struct RandomKeys {
    client: usize,
    keys: usize,
    round: usize,
    count: usize,
}

impl Behaviour for RandomKeys {
    fn next(&mut self, cluster: &mut Cluster) -> Ask {
        let key = format!("{}", cluster.draw(self.keys as u64)).into_bytes();
        // The rounds are one history, in which no value is written twice.
        let value = format!("x {} {} {} y", self.round, self.client, self.count).into_bytes();
        self.count += 1;
        match cluster.draw(100) {
            0..50 => Ask::Append { key, value },
            50..55 => Ask::Put { key, value },
            _ => Ask::Get { key },
        }
    }

    fn answered(&mut self, _: &Answer) {}
}

fn a_thousand_appends(max_log: Option<u64>) {
    under_seeds(2, |seed| {
        let mut cluster = Cluster::new(seed, 3, conditions(false), limits(max_log));
        let clerk = cluster.clerk();
        assert_eq!(get_by(&mut cluster, clerk, "speed"), None);
        let (began_ms, mut last, mut longest_ms) = (cluster.now_ms(), None, 0);
        for count in 0..1000 {
            let call_ms = cluster.now_ms();
            let written = written(&cluster.done(clerk, Ask::Append { key: b"speed".into(), value: token(0, count).into_bytes() }));
            // A clerk that gathers appends and answers before they are in the log would be fast, too.
            assert!(last < Some(written.position), "each append has its own place in the log");
            last = Some(written.position);
            longest_ms = longest_ms.max(cluster.now_ms() - call_ms);
        }
        let took_ms = cluster.now_ms() - began_ms;
        // Three for every heartbeat of 100 ms.
        assert!(took_ms <= 33_333, "a thousand appends took {took_ms} ms");
        assert!(longest_ms <= 100, "one of them took {longest_ms} ms, with nothing in its way");
        check_appends(0, &get(&mut cluster, "speed").expect("the key is there").value, 1000);
        check_sizes(&cluster, max_log, 1);
    });
}

#[test]
fn k_a1_one_client() {
    Generic::QUIET.run(1);
}

#[test]
fn k_a2_a_thousand_appends_take_a_heartbeat_for_three() {
    a_thousand_appends(None);
}

#[test]
fn k_a3_five_clients() {
    Generic { clients: 5, ..Generic::QUIET }.run(1);
}

#[test]
fn k_a4_five_clients_with_loss() {
    Generic { clients: 5, unreliable: true, ..Generic::QUIET }.run(3);
}

#[test]
fn k_a5_five_clients_append_to_one_key_with_loss() {
    struct TenAppends(usize, usize);
    impl Behaviour for TenAppends {
        fn next(&mut self, _: &mut Cluster) -> Ask {
            Ask::Append { key: b"one".into(), value: token(self.0, self.1).into_bytes() }
        }
        fn answered(&mut self, _: &Answer) {
            self.1 += 1;
        }
        fn is_done(&self) -> bool {
            self.1 == 10
        }
    }
    under_seeds(5, |seed| {
        let mut cluster = Cluster::new(seed, 3, conditions(true), limits(None));
        let clerk = cluster.clerk();
        put_by(&mut cluster, clerk, "one", "");
        let mut crowd = Crowd::new(&mut cluster, 60_000, (0..5).map(|client| TenAppends(client, 0)));
        crowd.run_to_the_end(&mut cluster);
        let value = get(&mut cluster, "one").expect("the key is there").value;
        for client in 0..5 {
            check_appends(client, &value, 10);
        }
        assert_eq!(value.iter().filter(|byte| **byte == b'y').count(), 50);
        cluster.judge();
    });
}

fn one_partition(seed: u64) {
    let mut cluster = Cluster::new(seed, 5, conditions(false), limits(None));
    let clerk = cluster.clerk();
    put_by(&mut cluster, clerk, "1", "13");
    let leader = cluster.one_leader();
    let minority = [leader, (leader + 1) % 5];
    let majority = [(leader + 2) % 5, (leader + 3) % 5, (leader + 4) % 5];
    cluster.partition(&minority);

    let (inside, outside) = ([cluster.clerk(), cluster.clerk()], cluster.clerk());
    cluster.reach_only(outside, &majority);
    put_by(&mut cluster, outside, "1", "14");
    let value = |cluster: &mut Cluster| get_by(cluster, outside, "1").map(|value| value.value);
    assert_eq!(value(&mut cluster), Some(b"14".into()));

    for clerk in inside {
        cluster.reach_only(clerk, &minority);
    }
    let put = cluster.ask(inside[0], Ask::Put { key: b"1".into(), value: b"15".into() }, 60_000);
    let read = cluster.ask(inside[1], Ask::Get { key: b"1".into() }, 60_000);
    cluster.run_for_ms(1_000);
    assert!(cluster.outcome(put).is_none() && cluster.outcome(read).is_none(), "a minority has answered");
    assert_eq!(value(&mut cluster), Some(b"14".into()));
    put_by(&mut cluster, outside, "1", "16");
    assert_eq!(value(&mut cluster), Some(b"16".into()));

    cluster.heal();
    for clerk in inside {
        cluster.reach_only(clerk, &[0, 1, 2, 3, 4]);
    }
    cluster.run_for_ms(1_000);
    // The lab looks at the put only.
    let over = cluster.run_until(3_000, |cluster| cluster.outcome(put).is_some() && cluster.outcome(read).is_some());
    assert!(over, "no answer within three seconds after the end of the partition:\n{}", cluster.describe());
    assert!(cluster.outcome(put).is_some_and(Result::is_ok) && cluster.outcome(read).is_some_and(Result::is_ok));
    assert_eq!(get(&mut cluster, "1").map(|value| value.value), Some(b"15".into()));
    cluster.judge();
}

#[test]
fn k_a6_a_minority_answers_nobody_and_its_clients_are_served_afterwards() {
    under_seeds(10, one_partition);
}

#[test]
fn k_a7_partitions_and_one_client() {
    Generic { partitions: true, ..Generic::QUIET }.run(2);
}

#[test]
fn k_a8_partitions_and_five_clients() {
    Generic { clients: 5, partitions: true, ..Generic::QUIET }.run(1);
}

#[test]
fn k_a9_restarts_and_one_client() {
    Generic { restarts: true, ..Generic::QUIET }.run(2);
}

#[test]
fn k_a10_restarts_and_five_clients() {
    Generic { clients: 5, restarts: true, ..Generic::QUIET }.run(1);
}

#[test]
fn k_a11_restarts_and_five_clients_with_loss() {
    Generic { clients: 5, restarts: true, unreliable: true, ..Generic::QUIET }.run(3);
}

#[test]
fn k_a12_restarts_and_partitions_and_five_clients() {
    Generic { clients: 5, restarts: true, partitions: true, ..Generic::QUIET }.run(1);
}

#[test]
fn k_a13_restarts_and_partitions_and_five_clients_with_loss() {
    Generic { clients: 5, restarts: true, partitions: true, unreliable: true, ..Generic::QUIET }.run(3);
}

#[test]
fn k_a14_everything_at_once_to_fifteen_clients_of_the_same_keys() {
    Generic { clients: 15, servers: 7, unreliable: true, restarts: true, partitions: true, max_log: None, random_keys: true }.run(2);
}

#[test]
fn k_b1_who_was_cut_off_is_sent_a_snapshot_and_needed_next() {
    under_seeds(5, |seed| {
        let mut cluster = Cluster::new(seed, 3, conditions(false), limits(LABS_MAX));
        let clerk = cluster.clerk();
        let check = |cluster: &mut Cluster, key: &str, value: &str| {
            assert_eq!(get_by(cluster, clerk, key).map(|value| value.value).as_deref(), Some(value.as_bytes()), "{key}");
        };
        put_by(&mut cluster, clerk, "a", "A");
        check(&mut cluster, "a", "A");
        cluster.partition(&[2]);
        cluster.reach_only(clerk, &[0, 1]);
        for number in 0..50 {
            put_by(&mut cluster, clerk, number.to_string(), number.to_string());
        }
        cluster.run_for_ms(1_000);
        put_by(&mut cluster, clerk, "b", "B");
        assert!((0..2).all(|node| cluster.log_bytes(node) <= 8_000 && cluster.snapshot_bytes(node) > 0));

        let installs = cluster.report().installs;
        cluster.partition(&[1]);
        cluster.reach_only(clerk, &[0, 2]);
        put_by(&mut cluster, clerk, "c", "C");
        put_by(&mut cluster, clerk, "d", "D");
        for (key, value) in [("a", "A"), ("b", "B"), ("1", "1"), ("49", "49")] {
            check(&mut cluster, key, value);
        }
        assert!(cluster.report().installs > installs, "it was sent a snapshot");

        cluster.heal();
        cluster.reach_only(clerk, &[0, 1, 2]);
        put_by(&mut cluster, clerk, "e", "E");
        for (key, value) in [("c", "C"), ("e", "E"), ("1", "1")] {
            check(&mut cluster, key, value);
        }
        check_sizes(&cluster, LABS_MAX, 1);
        cluster.judge();
    });
}

#[test]
fn k_b2_one_key_makes_small_snapshots() {
    under_seeds(3, |seed| {
        let mut cluster = Cluster::new(seed, 3, conditions(false), limits(LABS_MAX));
        let (clerk, began_ms) = (cluster.clerk(), cluster.now_ms());
        for _ in 0..200 {
            for value in ["0", "1"] {
                put_by(&mut cluster, clerk, "x", value);
                assert_eq!(get_by(&mut cluster, clerk, "x").map(|value| value.value).as_deref(), Some(value.as_bytes()));
            }
        }
        let took_ms = cluster.now_ms() - began_ms;
        assert!(took_ms < 20_000, "{took_ms} ms");
        check_sizes(&cluster, LABS_MAX, 1);
        for node in 0..3 {
            assert!(cluster.snapshot_bytes(node) <= 500, "a snapshot of {} bytes", cluster.snapshot_bytes(node));
        }
        cluster.judge();
    });
}

#[test]
fn k_b3_a_thousand_appends_among_snapshots() {
    a_thousand_appends(LABS_MAX);
}

#[test]
fn k_b4_snapshots_and_restarts_and_one_client() {
    Generic { restarts: true, max_log: LABS_MAX, ..Generic::QUIET }.run(2);
}

#[test]
fn k_b5_snapshots_and_restarts_and_twenty_clients() {
    Generic { clients: 20, restarts: true, max_log: LABS_MAX, ..Generic::QUIET }.run(1);
}

#[test]
fn k_b6_snapshots_and_five_clients_with_loss() {
    Generic { clients: 5, unreliable: true, max_log: LABS_MAX, ..Generic::QUIET }.run(3);
}

#[test]
fn k_b7_snapshots_and_restarts_and_five_clients_with_loss() {
    Generic { clients: 5, unreliable: true, restarts: true, max_log: LABS_MAX, ..Generic::QUIET }.run(3);
}

#[test]
fn k_b8_snapshots_and_restarts_and_partitions_and_five_clients_with_loss() {
    Generic { clients: 5, unreliable: true, restarts: true, partitions: true, max_log: LABS_MAX, ..Generic::QUIET }.run(3);
}

#[test]
fn k_b9_everything_at_once_with_snapshots_to_fifteen_clients_of_the_same_keys() {
    Generic { clients: 15, servers: 7, unreliable: true, restarts: true, partitions: true, max_log: LABS_MAX, random_keys: true }.run(2);
}
