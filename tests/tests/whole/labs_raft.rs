//! The labs' raft cases that are about real connections (rows R-B).

use kvcli::{Clerk, Options};
use tests::cluster::CALM_TICKS;
use tests::wait::PATIENCE;
use tests::{Cluster, Status, host};

/// What has crossed the network between the nodes so far: each byte is counted where it is sent and where it arrives.
fn crossed(cluster: &Cluster, status: &Status) -> u64 {
    let of_node = |name: &str| status.number(name, "peer_bytes").expect("a counter");
    cluster.nodes.iter().map(|node| of_node(&node.name)).sum::<u64>() / 2
}

#[test]
fn r_b2_each_command_crosses_the_network_once_per_peer() {
    const COMMANDS: u64 = 10;
    const COMMAND_LEN: u64 = 5000;
    let mut cluster = Cluster::prepare(3);
    // Heartbeats and pings are counted with all else: at the usual pace 10 KB each second, and a disk may take seconds for a sync. And a link
    // that is given up for silence takes with it what was sent on it. The last node keeps its pace while it has the usual timeout.
    for (node, ticks) in cluster.nodes.iter_mut().zip(["200", "200", "15"]) {
        node.run_args = ["--heartbeat-ticks", ticks].map(String::from).into();
    }
    cluster.start_all_calm(CALM_TICKS);
    let servers = cluster.nodes.len() as u64;
    let endpoints = cluster.endpoints();
    let mut clerk = Clerk::new(endpoints.split(','), Options { timeout: PATIENCE, ..Options::default() }).expect("a clerk");
    clerk.put("first", "99").expect("a put");
    cluster.wait_equal();
    let mut random = fastrand::Rng::with_seed(host::seed());
    let before = crossed(&cluster, &cluster.status());
    for count in 0..COMMANDS {
        let value: Vec<u8> = (0..COMMAND_LEN).map(|_| random.u8(..)).collect();
        clerk.put(count.to_string(), value).expect("a put");
    }
    cluster.wait_equal();
    let grown = crossed(&cluster, &cluster.status()) - before;
    host::report(format!("R-B2: {grown} bytes between {servers} nodes for {COMMANDS} commands of {COMMAND_LEN} bytes"));
    assert!(grown >= (servers - 1) * COMMANDS * COMMAND_LEN, "{grown} bytes cannot have brought them to everyone");
    // The lab's own limit: as often as there are servers, and so much again for all else.
    assert!(grown <= servers * COMMANDS * COMMAND_LEN + 50_000, "{grown} bytes");
}
