//! A cluster that knows nothing but IPv6: peers, clients, and what `status` says of them.

use tests::cluster::CALM_TICKS;
use tests::{Cluster, Ran, host};

#[test]
fn everything_works_on_ipv6_addresses() {
    if host::lacks("ipv6", "everything_works_on_ipv6_addresses") {
        return;
    }
    let mut cluster = Cluster::prepare_on_ipv6(3);
    assert!(cluster.members.starts_with("n1=[::1]:"), "{}", cluster.members);
    cluster.start_all_calm(CALM_TICKS); // `status` is to say that all is well
    cluster.kvcli(["wait", "--all"]).expect_code(0);

    // From any one of them, and by what it says of the others: no address was cut at a wrong colon.
    for number in 0..3 {
        let value = format!("written at n{}", number + 1);
        cluster.kvcli_at([number], ["put", "city", &value]).expect_code(0);
        assert_eq!(cluster.kvcli_at([number], ["get", "city"]).expect_code(0).stdout, value.as_bytes());
        cluster.kvcli_at([number], ["get", "--stale", "city"]).expect_code(0).expect_says(&["as of position"]);
        let status = cluster.kvcli_at([number], ["-o", "json", "status"]).expect_code(0);
        let status = tests::Status(serde_json::from_slice(&status.stdout).expect("a document"));
        for node in &cluster.nodes {
            let said = status.node(&node.name);
            assert_eq!(said["client_addr"].as_str(), Some(node.client_addr.as_str()), "{said:#}");
            assert_eq!(said["peer_addr"].as_str(), Some(node.peer_addr.as_str()), "{said:#}");
        }
    }
    cluster.kvcli(["delete", "city"]).expect_code(0);

    let lines: String = (0..500).map(|number| format!("key {number:03}\tvalue {number}\n")).collect();
    cluster.kvcli_reading(lines.as_bytes(), ["load"]).expect_code(0);
    assert_eq!(cluster.kvcli(["dump"]).expect_code(0).stdout, lines.as_bytes());
    let scanned = cluster.kvcli(["scan", "key 00", "--keys-only"]).expect_code(0).stdout;
    assert_eq!(scanned.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count(), 10);

    // A leader that dies is found again, and one that is not there is named as it was written.
    let leader = cluster.leader();
    let gone = cluster.nodes[leader].client_addr.clone();
    cluster.kill(leader);
    cluster.kvcli(["put", "city", "Turin"]).expect_code(0);
    Ran::kvcli(["--endpoints", &gone, "--timeout", "1s", "get", "city"]).expect_code(3).expect_says(&[&gone, "refused"]);
    cluster.start_node(leader);
    cluster.wait_healthy();
    cluster.wait_equal();
}
