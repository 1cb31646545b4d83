//! Minutes of heavy load on three real nodes, and the figures: small writes from many clients, then large ones; the term must not change,
//! and a small read by somebody else must never wait long. `cargo xtask soak [--small SECONDS] [--large SECONDS]`.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tests::Cluster;
use tests::client::Client;
use tests::wait::{PATIENCE, let_pass};

const USAGE: &str = "usage: cargo xtask soak [--small SECONDS] [--large SECONDS]";
/// The longest that a read of one byte may take, whatever the load.
const READ_MAX: Duration = Duration::from_millis(500);

/// One kind of load.
struct Phase {
    name: &'static str,
    clients: usize,
    value_len: usize,
    time: Duration,
}

fn main() -> ExitCode {
    let (mut small, mut large) = (300, 60);
    let args: Vec<String> = std::env::args().skip(1).collect();
    for pair in args.chunks(2) {
        match pair {
            [flag, seconds] if flag == "--small" => small = seconds.parse().expect(USAGE),
            [flag, seconds] if flag == "--large" => large = seconds.parse().expect(USAGE),
            _ => {
                eprintln!("{USAGE}");
                return ExitCode::from(64);
            }
        }
    }
    let phases = [
        Phase { name: "small writes", clients: 64, value_len: 256, time: Duration::from_secs(small) },
        Phase { name: "large writes", clients: 16, value_len: 1 << 20, time: Duration::from_secs(large) },
    ];

    let mut cluster = Cluster::prepare(3);
    cluster.run_args.clear(); // as users run it
    cluster.start_all();
    let before = cluster.wait_healthy().term();
    Client::new(&cluster.endpoints(), PATIENCE).put("probe", "1").expect("a put");
    let mut good = true;
    for phase in &phases {
        good &= run(&cluster, phase);
    }
    let after = cluster.wait_healthy().term();
    println!("term before {before}, after {after}");
    if before != after {
        good = false;
        for (number, node) in cluster.nodes.iter().enumerate() {
            println!("what {} said:\n{}", node.name, cluster.log(number));
        }
    }
    cluster.wait_equal();
    println!("all nodes hold the same state");
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs one load beside a reader of one byte. Whether the reader never waited too long and every write was acknowledged.
fn run(cluster: &Cluster, phase: &Phase) -> bool {
    let (stop, writes, failures) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let start = Instant::now();
    let mut reads = std::thread::scope(|scope| {
        for client in 0..phase.clients {
            let (endpoints, stop, writes, failures) = (cluster.endpoints(), &stop, &writes, &failures);
            scope.spawn(move || {
                let (mut clerk, key) = (Client::new(&endpoints, PATIENCE), format!("soak-{client}"));
                let value = vec![b'v'; phase.value_len];
                while !stop.load(Ordering::Relaxed) {
                    let counter = if clerk.put(&key, value.clone()).is_ok() { writes } else { failures };
                    counter.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let reader = scope.spawn(|| {
            let mut clerk = Client::new(&cluster.endpoints(), PATIENCE);
            let mut reads = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let start = Instant::now();
                let value = clerk.get("probe").expect("a read");
                assert_eq!(value.as_deref(), Some(&b"1"[..]));
                reads.push(start.elapsed());
                let_pass(Duration::from_millis(5));
            }
            reads
        });
        let_pass(phase.time);
        stop.store(true, Ordering::Relaxed);
        reader.join().expect("the reader")
    });
    let (seconds, writes, failures) = (start.elapsed().as_secs_f64(), writes.into_inner(), failures.into_inner());
    reads.sort();
    let at = |share: usize| reads[(reads.len() - 1) * share / 1000].as_secs_f64() * 1000.0;
    println!(
        "{}: {} clients, {} bytes each, {seconds:.0} s: {writes} acknowledged ({:.0}/s), {failures} failed",
        phase.name,
        phase.clients,
        phase.value_len,
        writes as f64 / seconds
    );
    println!(
        "  a get of 1 byte beside it: {} reads, p50 {:.1} ms, p99 {:.1} ms, longest {:.1} ms",
        reads.len(),
        at(500),
        at(990),
        at(1000)
    );
    failures == 0 && reads.last().is_some_and(|longest| *longest <= READ_MAX)
}
