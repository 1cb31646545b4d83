//! T-B, T-C: puts and scans. What a client scans is exactly what it has put, on networks and nodes as bad as the labs have them.

use kvcli::{Answer, Ask, Range, WriteOutcome};
use sim::{ClerkId, Cluster, Conditions, Limits};

use crate::crowd::{Behaviour, Crowd, check_quiet, conditions, get_by, put_by, token, written};
use crate::under_seeds;

/// A little more than what a put of these cases takes in the log.
const ENTRY_LEN: u64 = 100;

fn limits(entries: Option<u64>) -> Limits {
    // Below a snapshot a tail of half the bytes is kept: a log is then at most some 1.7 times as many entries, with the tail.
    Limits { max_log_entries: entries, max_log_bytes: entries.map(|entries| entries * ENTRY_LEN) }
}

/// The labs' driver.
struct PutAndScan {
    clients: usize,
    drops: bool,
    partitions: bool,
    restarts: bool,
    snapshot_every: Option<u64>,
}

impl PutAndScan {
    const QUIET: PutAndScan = PutAndScan { clients: 1, drops: false, partitions: false, restarts: false, snapshot_every: None };

    fn run(&self, seeds: u64) {
        under_seeds(seeds, |seed| self.run_under(seed));
    }

    fn run_under(&self, seed: u64) {
        let mut cluster = Cluster::new(seed, 5, slow(conditions(false)), limits(self.snapshot_every));
        cluster.run_for_ms(1_000);
        let term = cluster.term(0).expect("it is up").0;
        for round in 0..3 {
            let crowd = self.round(&mut cluster);
            if !self.drops && !self.restarts && !self.partitions {
                check_quiet(&cluster, term);
            }
            let reader = cluster.clerk();
            for member in &crowd.members {
                let Scanner { client, count, .. } = member.behaviour;
                assert_eq!(scan(&mut cluster, reader, client), tokens(client, count), "round {round}, client {client}");
            }
            for member in crowd.members {
                let Scanner { client, count, .. } = member.behaviour;
                for number in 0..count {
                    let written = written(&cluster.done(reader, Ask::Delete { key: key(client, number) }));
                    assert_eq!(written.outcome, WriteOutcome::Deleted);
                }
            }
            if let Some(entries) = self.snapshot_every {
                cluster.run_for_ms(1_000);
                for node in 0..cluster.size() {
                    let length = cluster.log_entries(node);
                    assert!(length <= 2 * entries, "n{} has a log of {length} entries", node + 1);
                    assert!(cluster.snapshot_bytes(node) > 0, "n{} has no snapshot", node + 1);
                }
            }
        }
        cluster.judge();
    }

    fn round(&self, cluster: &mut Cluster) -> Crowd<Scanner> {
        let scanners = (0..self.clients).map(|client| Scanner { client, count: 0, is_put: false });
        // The labs let a request be retried for five seconds.
        let mut crowd = Crowd::new(cluster, REQUEST_MS, scanners);
        crowd.run_for_ms(cluster, 300);
        let (end_ms, mut filters) = (cluster.now_ms() + 5_000 - 300, 0);
        while cluster.now_ms() < end_ms {
            if self.partitions {
                crowd.split_by_coin(cluster);
                filters = 0;
            }
            if self.drops {
                // The harsher form: a filter more each time, and none is taken away in this round.
                filters += 1;
                cluster.set_conditions(slow(Conditions::drop_filters(filters)));
            }
            let ms = 500 + cluster.draw(200);
            crowd.run_for_ms(cluster, ms.min(end_ms - cluster.now_ms()));
        }
        crowd.heal(cluster);
        cluster.set_conditions(slow(conditions(false)));
        if self.restarts {
            crowd.rest_for_ms(cluster, 500);
            crowd.outlive_a_power_cut(cluster, 500);
        } else {
            crowd.rest_for_ms(cluster, 500);
        }
        crowd.finish(cluster);
        crowd.check_waits(self.drops);
        let puts: usize = crowd.members.iter().map(|member| member.behaviour.count).sum();
        assert!(puts > 5 * self.clients, "{puts} puts: this exercised nothing");
        crowd
    }
}

const REQUEST_MS: u64 = 5_000;

/// Some fifty calls a second for each client.
fn slow(conditions: Conditions) -> Conditions {
    Conditions { way_us: 4_000..4_500, ..conditions }
}

fn key(client: usize, number: usize) -> Vec<u8> {
    format!("{client} {number:08}").into_bytes()
}

fn tokens(client: usize, count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|number| token(client, number).into_bytes()).collect()
}

fn all_of(client: usize) -> Ask {
    Ask::Scan(Range::prefix(format!("{client} ")))
}

#[track_caller]
fn scan(cluster: &mut Cluster, clerk: ClerkId, client: usize) -> Vec<Vec<u8>> {
    values(&cluster.done(clerk, all_of(client)))
}

fn values(answer: &Answer) -> Vec<Vec<u8>> {
    match answer {
        Answer::Page(page) => page.items.iter().map(|item| item.value.clone()).collect(),
        other => panic!("{other:?} answers no scan"),
    }
}

/// Half puts under a key of its own each, half scans of all of them.
struct Scanner {
    client: usize,
    count: usize,
    is_put: bool,
}

impl Behaviour for Scanner {
    fn next(&mut self, cluster: &mut Cluster) -> Ask {
        self.is_put = cluster.draw(2) == 0;
        if !self.is_put {
            return all_of(self.client);
        }
        Ask::Put { key: key(self.client, self.count), value: token(self.client, self.count).into_bytes() }
    }

    fn answered(&mut self, answer: &Answer) {
        if self.is_put {
            assert_eq!(written(answer).version, 1, "the key is new, and put once");
            self.count += 1;
        } else {
            assert_eq!(values(answer), tokens(self.client, self.count), "client {}", self.client);
        }
    }
}

#[test]
fn t_b1_one_client_puts_and_scans() {
    PutAndScan::QUIET.run(2);
}

#[test]
fn t_b2_five_clients_put_and_scan() {
    PutAndScan { clients: 5, ..PutAndScan::QUIET }.run(1);
}

#[test]
fn t_b3_more_and_more_messages_are_dropped() {
    PutAndScan { clients: 5, drops: true, ..PutAndScan::QUIET }.run(3);
}

fn holds(cluster: &Cluster, node: usize, key: &str) -> Option<String> {
    cluster.peek(node, key.as_bytes()).map(|value| String::from_utf8_lossy(&value.value).into_owned())
}

#[test]
fn t_b4_the_side_of_the_majority_goes_on_and_the_other_side_learns_of_it() {
    under_seeds(10, |seed| {
        let mut cluster = Cluster::new(seed, 5, conditions(false), Limits::default());
        let leader = cluster.one_leader();
        let node = |step: usize| (leader + step) % 5;
        let clerk = cluster.clerk();
        cluster.partition(&[node(0), node(1), node(2)]);
        put_by(&mut cluster, clerk, "k1", "v1");
        assert_eq!(get_by(&mut cluster, clerk, "k1").map(|value| value.value), Some(b"v1".into()));
        assert!([3, 4].iter().all(|step| holds(&cluster, node(*step), "k1").is_none()), "a put crossed a cut");
        cluster.partition(&[]);
        cluster.run_for_ms(1_000);

        let leader = cluster.one_leader();
        let other = (leader + 1) % 5;
        let majority: Vec<usize> = (0..5).filter(|node| *node != leader && *node != other).collect();
        cluster.partition(&majority);
        cluster.reach_only(clerk, &majority);
        assert_eq!(get_by(&mut cluster, clerk, "k1").map(|value| value.value), Some(b"v1".into()));
        put_by(&mut cluster, clerk, "k1", "changed");
        let sees = |cluster: &Cluster, node: usize, key: &str, value: &str| holds(cluster, node, key).as_deref() == Some(value);
        assert!([leader, other].iter().all(|node| sees(&cluster, *node, "k1", "v1")), "a put crossed a cut");
        cluster.partition(&[]);
        cluster.reach_only(clerk, &[0, 1, 2, 3, 4]);
        put_by(&mut cluster, clerk, "k2", "v2");
        // The labs look for six seconds.
        let learned = cluster.run_until(6_000, |cluster| sees(cluster, leader, "k2", "v2") && sees(cluster, leader, "k1", "changed"));
        assert!(learned, "{}", cluster.describe());
        cluster.judge();
    });
}

#[test]
fn t_b5_partitions_and_one_client() {
    PutAndScan { partitions: true, ..PutAndScan::QUIET }.run(3);
}

#[test]
fn t_b6_partitions_and_five_clients() {
    PutAndScan { clients: 5, partitions: true, ..PutAndScan::QUIET }.run(2);
}

#[test]
fn t_b7_restarts_and_one_client() {
    PutAndScan { restarts: true, ..PutAndScan::QUIET }.run(2);
}

#[test]
fn t_b8_restarts_and_five_clients() {
    PutAndScan { clients: 5, restarts: true, ..PutAndScan::QUIET }.run(1);
}

#[test]
fn t_b9_restarts_and_drops_and_five_clients() {
    PutAndScan { clients: 5, restarts: true, drops: true, ..PutAndScan::QUIET }.run(2);
}

#[test]
fn t_b10_restarts_and_partitions_and_five_clients() {
    PutAndScan { clients: 5, restarts: true, partitions: true, ..PutAndScan::QUIET }.run(2);
}

#[test]
fn t_b11_restarts_and_partitions_and_drops_and_five_clients() {
    PutAndScan { clients: 5, restarts: true, partitions: true, drops: true, snapshot_every: None }.run(2);
}

#[test]
fn t_c1_who_was_cut_off_is_sent_what_was_put_and_loses_what_was_deleted() {
    const ENTRIES: u64 = 10;
    under_seeds(10, |seed| {
        let mut cluster = Cluster::new(seed, 3, conditions(false), limits(Some(ENTRIES)));
        let clerk = cluster.clerk();
        put_by(&mut cluster, clerk, "k1", "v1");
        put_by(&mut cluster, clerk, "k2", "v2");
        // Theirs begin with a truncated state at index 5; ours with nothing at all.
        cluster.run_for_ms(200);
        assert!((0..3).all(|node| cluster.snapshot_bytes(node) == 0), "there is a snapshot already");
        let victim = 1;
        cluster.disconnect(victim);
        for number in 100..115 {
            put_by(&mut cluster, clerk, format!("k{number}"), "v");
        }
        assert_eq!(written(&cluster.done(clerk, Ask::Delete { key: b"k2".into() })).outcome, WriteOutcome::Deleted);
        cluster.run_for_ms(500);
        assert_eq!((holds(&cluster, victim, "k100"), holds(&cluster, victim, "k2").as_deref()), (None, Some("v2")));
        let installs = cluster.report().installs;
        cluster.connect(victim);
        let caught_up = |cluster: &mut Cluster| {
            holds(cluster, victim, "k114").is_some() && holds(cluster, victim, "k1").is_some() && holds(cluster, victim, "k2").is_none()
        };
        assert!(cluster.run_until(6_000, caught_up), "{}", cluster.describe());
        assert!(cluster.report().installs > installs, "it was sent a snapshot");
        cluster.crash(victim);
        cluster.restart(victim);
        assert!(cluster.run_until(6_000, caught_up), "{}", cluster.describe());
        for node in 0..3 {
            let length = cluster.log_entries(node);
            assert!(length <= 2 * ENTRIES, "n{} has a log of {length} entries", node + 1);
        }
        cluster.judge();
    });
}

#[test]
fn t_c2_snapshots_and_restarts_and_one_client() {
    PutAndScan { restarts: true, snapshot_every: Some(100), ..PutAndScan::QUIET }.run(2);
}

#[test]
fn t_c3_snapshots_and_restarts_and_twenty_clients() {
    PutAndScan { clients: 20, restarts: true, snapshot_every: Some(100), ..PutAndScan::QUIET }.run(1);
}

#[test]
fn t_c4_snapshots_and_drops_and_five_clients() {
    PutAndScan { clients: 5, drops: true, snapshot_every: Some(100), ..PutAndScan::QUIET }.run(2);
}

#[test]
fn t_c5_snapshots_and_restarts_and_drops_and_five_clients() {
    PutAndScan { clients: 5, restarts: true, drops: true, snapshot_every: Some(100), ..PutAndScan::QUIET }.run(2);
}

#[test]
fn t_c6_snapshots_and_everything_at_once_and_five_clients() {
    PutAndScan { clients: 5, restarts: true, partitions: true, drops: true, snapshot_every: Some(100) }.run(2);
}
