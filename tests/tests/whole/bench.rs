//! `kvcli bench` on real nodes: what it asks for is done, and a killed leader is a gap and no error.

use std::process::Stdio;

use serde_json::Value;
use tests::client::Client;
use tests::wait::{PATIENCE, wait_until};
use tests::{Cluster, host, process};

fn number(figures: &Value, name: &str) -> u64 {
    figures[name].as_u64().unwrap_or_else(|| panic!("{name}: {figures}"))
}

#[test]
fn every_kind_of_load_is_served_without_an_error() {
    let cluster = Cluster::start(3);
    for op in ["put", "get", "append", "mixed"] {
        let args = ["bench", "--op", op, "--clients", "8", "--in-flight", "4", "--keys", "50", "--seconds", "1", "--warmup", "0", "--json"];
        // A machine may stall for a second.
        wait_until(&format!("some of {op} is done in a second"), PATIENCE, || {
            let ran = cluster.kvcli(args).expect_code(0);
            let figures: Value = serde_json::from_slice(&ran.stdout).expect("JSON");
            assert_eq!(number(&figures, "errors"), 0, "{op}: {figures}");
            number(&figures, "ops_per_s") > 0
        });
    }
    cluster.wait_equal();
}

#[test]
fn a_leader_killed_under_load_is_a_gap_and_no_error() {
    let mut cluster = Cluster::start(3);
    let leader = cluster.leader();
    let args = ["bench", "--clients", "8", "--keys", "50", "--seconds", "3", "--warmup", "0", "--failover", "--json"];
    let mut bench = cluster.kvcli_command(&cluster.endpoints(), args);
    bench.stdout(Stdio::piped());
    let running = process::spawn(bench).expect("kvcli runs");
    let mut client = Client::new(&cluster.endpoints(), PATIENCE);
    wait_until("the bench writes", PATIENCE, || client.get("bench/0000000049").is_ok_and(|value| value.is_some()));
    cluster.kill(leader);
    let output = running.wait_with_output().expect("kvcli ends");
    let figures: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((output.status.code(), number(&figures, "errors")), (Some(0), 0), "{figures}");
    assert!(number(&figures, "ops_per_s") > 0);
    host::report(format!("longest time without a write: {} ms", number(&figures, "longest_gap_ms")));
}
