//! What snapshots cost under a load that fills the log every few seconds, against nodes that never take one: in turn, on the same disk.

use tests::Cluster;

/// The least share of the throughput without snapshots.
const SHARE_MIN: f64 = 0.85;

/// Whether the median of so many rounds is good enough, and no term changed.
pub(crate) fn run(rounds: u64) -> bool {
    println!("bench --clients 64 --value-size 256 --keys 10000 with --max-log-bytes 64MiB, against -1:");
    let mut shares: Vec<f64> = Vec::new();
    let mut good = true;
    for _ in 0..rounds {
        let (without, _, same) = bench("-1");
        good &= same;
        let (with, snapshots, same) = bench("64MiB");
        good &= same;
        println!("  {without:.0}/s without, {with:.0}/s with {snapshots} snapshots at the leader: {:.2}", with / without);
        good &= snapshots > 0;
        shares.push(with / without);
    }
    shares.sort_by(f64::total_cmp);
    let median = shares[shares.len() / 2];
    println!("  with / without: median {median:.2} of {rounds} (at least {SHARE_MIN})");
    good && median >= SHARE_MIN
}

/// Puts per second on a new cluster, how many snapshots its leader has taken, and whether the term stayed.
fn bench(max_log_bytes: &str) -> (f64, u64, bool) {
    let mut cluster = Cluster::prepare(3);
    cluster.run_args = ["--max-log-bytes", max_log_bytes].map(String::from).into();
    cluster.start_all();
    let term = cluster.wait_healthy().term();
    let leader = cluster.leader();
    let (mut snapshots, mut last) = (0, 0);
    let mut figures = serde_json::Value::Null;
    std::thread::scope(|scope| {
        let running = scope.spawn(|| {
            let args = ["bench", "--clients", "64", "--value-size", "256", "--keys", "10000", "--seconds", "20", "--json"];
            serde_json::from_slice(&cluster.kvcli(args).expect_code(0).stdout).expect("a document")
        });
        while !running.is_finished() {
            let index = cluster.status().number(&cluster.nodes[leader].name, "snapshot_index").unwrap_or(0);
            snapshots += u64::from(index > last);
            last = last.max(index);
            tests::wait::let_pass(std::time::Duration::from_millis(200));
        }
        figures = running.join().expect("the bench");
    });
    (figures["ops_per_s"].as_f64().expect("a number"), snapshots, crate::same_term(&cluster, term))
}
