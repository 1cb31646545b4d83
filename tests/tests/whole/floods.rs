//! Clients by the hundred that ask and do not read, begin and do not finish, come and go: they get no more than their share, and whoever
//! behaves is served meanwhile.

use tests::client::Client;
use tests::cluster::CALM_TICKS;
use tests::process::memory_kib;
use tests::raw::{self, Raw};
use tests::wait::PATIENCE;
use tests::{Cluster, host, wait_until};
use wire::{Kind, RejectedReason, Reply, Request, Scan};

const MIB: usize = 1 << 20;

/// What the node's memory has grown by at most since its process began.
fn peak_mib(cluster: &Cluster) -> u64 {
    memory_kib(cluster.pid(0), "VmHWM:") / 1024
}

fn resident_mib(cluster: &Cluster) -> u64 {
    memory_kib(cluster.pid(0), "VmRSS:") / 1024
}

/// One node that holds a value of 1 MiB under `large` and a small one under `small`.
fn node_with_values() -> Cluster {
    let cluster = Cluster::start(1);
    let mut client = Client::new(&cluster.endpoints(), PATIENCE);
    client.put("large", vec![b'v'; MIB]).expect("there is room");
    client.put("small", "v").expect("there is room");
    cluster
}

/// So many clients, each of which asks for 64 large values and reads nothing.
fn askers(cluster: &Cluster, count: usize, request: &Request<'_>) -> Vec<Raw> {
    (0..count)
        .map(|_| {
            let (mut raw, _) = Raw::client(&cluster.nodes[0].client_addr);
            for id in 0..64 {
                raw.request(id, request);
            }
            raw
        })
        .collect()
}

#[test]
fn whoever_asks_for_64_large_values_at_once_gets_all_of_them_and_costs_the_node_few() {
    let cluster = node_with_values();
    let before = resident_mib(&cluster);
    for request in [Request::Get { key: b"large" }, Request::GetStale { key: b"large" }] {
        let raws = askers(&cluster, 8, &request);
        // Whoever asks behind them is answered: so theirs was answered as far as it will be.
        cluster.kvcli(["get", "small"]).expect_code(0);
        for mut raw in raws {
            let mut ids: Vec<u64> = Vec::new();
            while ids.len() < 64 {
                match raw.reply() {
                    (id, Reply::Value { value: Some(value), .. } | Reply::StaleValue { value: Some(value), .. }) => {
                        assert_eq!(value.value.len(), MIB);
                        ids.push(id);
                    }
                    other => panic!("{other:?}"),
                }
            }
            ids.sort_unstable();
            assert!(ids.into_iter().eq(0..64));
        }
    }
    let grown = peak_mib(&cluster) - before;
    host::report(format!("8 clients with 64 large values each under way: {grown} MiB more at the peak"));
    assert!(grown < 64, "{grown} MiB more for 8 clients");
}

#[test]
fn those_who_do_not_read_hold_a_bounded_share_and_others_are_served() {
    let cluster = node_with_values();
    let before = resident_mib(&cluster);
    let stalled = askers(&cluster, 150, &Request::Get { key: b"large" });
    // Small answers at once, large ones as soon as the stalled have had their time.
    cluster.kvcli(["get", "small"]).expect_code(0);
    cluster.kvcli(["put", "another", "v"]).expect_code(0);
    assert_eq!(cluster.kvcli(["get", "large"]).expect_code(0).stdout.len(), MIB);
    let grown = peak_mib(&cluster) - before;
    host::report(format!("150 clients that do not read 64 large values each: {grown} MiB more at the peak"));
    assert!(grown < 256, "{grown} MiB more for 150 clients");
    wait_until("some are given up", PATIENCE, || cluster.log(0).contains("does not read its replies"));
    drop(stalled);
    assert_eq!(cluster.kvcli(["get", "large"]).expect_code(0).stdout.len(), MIB);
}

#[test]
fn requests_that_are_begun_and_not_finished_hold_a_bounded_share_and_not_for_ever() {
    let cluster = node_with_values();
    let before = resident_mib(&cluster);
    // Of a request of 3 MiB, somewhat less.
    let part = &raw::frame(Kind::Request, &vec![0; 3 * MIB - 9])[..2 * MIB + MIB / 2];
    let mut unfinished: Vec<Raw> = (0..200).map(|_| Raw::client(&cluster.nodes[0].client_addr).0).collect();
    unfinished.iter_mut().for_each(|raw| raw.send(part));
    // Meanwhile whoever finishes is served, even with large requests.
    let mut client = Client::new(&cluster.endpoints(), PATIENCE);
    client.put("large", vec![b'w'; MIB]).expect("it is whole");
    let grown = peak_mib(&cluster) - before;
    host::report(format!("200 clients in the middle of a request of 3 MiB: {grown} MiB more at the peak"));
    assert!(grown < 384, "{grown} MiB more for 200 unfinished requests");
    for mut raw in unfinished {
        assert!(raw.frame_or_end(2 * PATIENCE).is_none(), "an answer to half a request");
    }
    for why in ["its own is the oldest", "it does not finish its request"] {
        wait_until("the log says why", PATIENCE, || cluster.log(0).contains(why));
    }
}

#[test]
fn scans_of_clients_that_hang_up_while_they_wait_are_opened_for_nobody() {
    let mut cluster = Cluster::prepare(3);
    cluster.start_all_calm(CALM_TICKS);
    let leader = cluster.leader();
    let mut client = Client::new(&cluster.endpoints(), PATIENCE);
    for key in ["a", "b", "c"] {
        client.put(key, vec![b'v'; 200_000]).expect("there is room");
    }
    let others = || (0..3).filter(move |number| *number != leader);
    others().for_each(|number| cluster.pause(number));
    let scan = Request::Scan(Scan { stale: false, keys_only: false, from: b"", to: None, limit: None });
    for _ in 0..300 {
        let (mut raw, _) = Raw::client(&cluster.nodes[leader].client_addr);
        raw.request(1, &scan);
    }
    // Whoever asks behind them is heard behind them; and so are the ends of their connections.
    let (mut last, _) = Raw::client(&cluster.nodes[leader].client_addr);
    last.request(1, &Request::GetStale { key: b"a" });
    last.reply();
    others().for_each(|number| cluster.resume(number));
    let dump = cluster.kvcli_at([leader], ["dump"]).expect_code(0);
    assert!(dump.stdout.len() > 600_000);
}

#[test]
fn a_request_of_a_type_that_is_not_known_is_rejected_and_the_next_one_served() {
    let cluster = node_with_values();
    let (mut raw, _) = Raw::client(&cluster.nodes[0].client_addr);
    let unknown = [&7_u64.to_le_bytes()[..], &[200], b"whatever a later version sends"].concat();
    raw.send(&raw::frame(Kind::Request, &unknown));
    assert_eq!(raw.reply(), (7, Reply::Rejected { reason: RejectedReason::Version }));
    raw.request(8, &Request::Get { key: b"small" });
    assert!(matches!(raw.reply(), (8, Reply::Value { value: Some(_), .. })));
}
