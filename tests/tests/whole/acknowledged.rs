//! Nothing acknowledged is lost or done twice, whoever is killed. SIGKILL: no handler runs, no buffer is flushed.

use std::time::Duration;

use tests::client::Client;
use tests::load::{Account, Load, Told};
use tests::wait::{PATIENCE, let_pass};
use tests::{Cluster, host};

const CLIENTS: usize = 4;
const ROUNDS: usize = 5;
/// Appends that must be acknowledged between two kills: the load really runs.
const PROGRESS: usize = 40;

fn check(cluster: &Cluster, account: &Account) {
    let mut reader = Client::new(&cluster.endpoints(), PATIENCE);
    for client in 0..CLIENTS {
        let value = reader.get(&Load::key(client)).expect("a read").expect("the key is there");
        account.check(client, &value);
    }
    host::report(format!(
        "{} acknowledged, {} not done, {} unknown; the longest took {} ms",
        account.count(Told::Done),
        account.count(Told::NotDone),
        account.count(Told::Unknown),
        account.longest.as_millis()
    ));
    cluster.wait_equal();
}

/// Kills the node that `choose` names and starts it again, in a loop under load.
fn kill_in_a_loop(choose: impl Fn(&Cluster) -> usize) {
    let mut cluster = Cluster::start(3);
    let load = Load::start(&cluster.endpoints(), CLIENTS);
    for _ in 0..ROUNDS {
        load.wait_progress(PROGRESS);
        let victim = choose(&cluster);
        cluster.kill(victim);
        load.wait_progress(PROGRESS); // the other two go on
        cluster.start_node(victim);
    }
    load.wait_progress(PROGRESS);
    let account = load.stop();
    cluster.wait_healthy();
    check(&cluster, &account);
}

#[test]
fn appends_survive_sigkill_of_the_leader_in_a_loop() {
    kill_in_a_loop(Cluster::leader);
}

#[test]
fn appends_survive_sigkill_of_a_follower_in_a_loop() {
    kill_in_a_loop(Cluster::follower);
}

#[test]
fn appends_survive_sigkill_of_all_in_a_loop() {
    let mut cluster = Cluster::start(3);
    let load = Load::start(&cluster.endpoints(), CLIENTS);
    for _ in 0..ROUNDS {
        load.wait_progress(PROGRESS);
        cluster.kill_all();
        cluster.start_all();
    }
    load.wait_progress(PROGRESS);
    let account = load.stop();
    cluster.wait_healthy();
    check(&cluster, &account);
}

#[test]
fn a_majority_of_restarted_nodes_keeps_what_the_third_has_forgotten() {
    // The third node stops before the writes; the two that took them are killed and started: their disks alone must know.
    let mut cluster = Cluster::start(3);
    let absent = cluster.follower();
    cluster.kill(absent);
    cluster.kvcli(["put", "city", "Turin"]).expect_code(0);
    cluster.kill_all();
    cluster.start_all();
    assert_eq!(cluster.kvcli(["get", "city"]).expect_code(0).stdout, b"Turin");
}

#[test]
fn sigterm_ends_a_node_with_0_and_it_comes_back_with_everything() {
    let mut cluster = Cluster::start(3);
    cluster.kvcli(["put", "city", "Turin"]).expect_code(0);
    for number in 0..3 {
        let status = cluster.terminate(number);
        assert_eq!(status.code(), Some(0), "{} after SIGTERM: {status}\n{}", cluster.nodes[number].name, cluster.log(number));
    }
    let_pass(Duration::from_millis(100));
    cluster.start_all();
    assert_eq!(cluster.kvcli(["get", "city"]).expect_code(0).stdout, b"Turin");
}
