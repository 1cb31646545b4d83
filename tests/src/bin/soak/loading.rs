//! How fast lines are loaded, against a bench that keeps as many calls under way: in turn, on the same nodes, so that both have had the
//! same disk and the same neighbours.

use std::time::Instant;

use tests::Cluster;

const LINES: usize = 100_000;
const VALUE_LEN: usize = 256;
/// The least share of the bench's rate.
const SHARE_MIN: f64 = 0.5;

/// Whether lines are loaded fast enough, in the median of so many rounds.
pub(crate) fn run(rounds: u64) -> bool {
    let cluster = crate::cluster();
    let lines: String = (0..LINES).map(|number| format!("load/{number:010}\t{:v<VALUE_LEN$}\n", number)).collect();
    println!("{LINES} lines of {VALUE_LEN} bytes loaded, against bench --clients 1 --in-flight 64 --value-size {VALUE_LEN}:");
    let mut shares: Vec<f64> = (0..rounds).map(|_| round(&cluster, &lines)).collect();
    shares.sort_by(f64::total_cmp);
    let median = shares[shares.len() / 2];
    println!("  load / bench: median {median:.2} of {rounds} (at least {SHARE_MIN})");
    median >= SHARE_MIN
}

/// One bench, then one load; how the second compares.
fn round(cluster: &Cluster, lines: &str) -> f64 {
    let (keys, len) = (LINES.to_string(), VALUE_LEN.to_string());
    let bench = ["bench", "--clients", "1", "--in-flight", "64", "--value-size", &len, "--keys", &keys, "--seconds", "4", "--json"];
    let figures = cluster.kvcli(bench).expect_code(0).stdout;
    let figures: serde_json::Value = serde_json::from_slice(&figures).expect("a document");
    let bench = figures["ops_per_s"].as_f64().expect("a number");
    let start = Instant::now(); // its start and end are part of it
    cluster.kvcli_reading(lines.as_bytes(), ["--timeout", "20s", "load"]).expect_code(0);
    let load = LINES as f64 / start.elapsed().as_secs_f64();
    println!("  bench {bench:.0}/s, load {load:.0}/s: {:.2}", load / bench);
    load / bench
}
