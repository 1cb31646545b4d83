//! Small writes from many clients, then large ones: the term must not change, and a small read by somebody else must never wait long.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tests::Cluster;
use tests::client::Client;
use tests::wait::{PATIENCE, let_pass};

/// The longest that a read of one byte may take, whatever the load.
const READ_MAX: Duration = Duration::from_millis(500);

/// One kind of load.
struct Phase {
    name: &'static str,
    clients: usize,
    value_len: usize,
    time: Duration,
}

/// Whether all was well, for so many seconds of small writes and then of large ones.
pub(crate) fn run(small: u64, large: u64) -> bool {
    let phases = [
        Phase { name: "small writes", clients: 64, value_len: 256, time: Duration::from_secs(small) },
        Phase { name: "large writes", clients: 16, value_len: 1 << 20, time: Duration::from_secs(large) },
    ];
    let cluster = crate::cluster();
    let before = cluster.status().term();
    Client::new(&cluster.endpoints(), PATIENCE).put("probe", "1").expect("a put");
    let mut good = true;
    for phase in phases.iter().filter(|phase| !phase.time.is_zero()) {
        good &= load(&cluster, phase);
    }
    good &= crate::same_term(&cluster, before);
    cluster.wait_equal();
    println!("  all nodes hold the same state");
    good
}

/// Runs one load beside a reader of one byte. Whether the reader never waited too long and every write was acknowledged.
fn load(cluster: &Cluster, phase: &Phase) -> bool {
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
