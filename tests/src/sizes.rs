//! How long the nodes' logs and snapshots are: looked at again and again while something else happens, and at the end on every node.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::cli::{Ran, kvcli_command};
use crate::wait::let_pass;
use crate::{Cluster, Status, host};

/// `--max-log-bytes` of the labs' cases.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MaxLog {
    /// -1: the log grows for ever, and there are no snapshots.
    Never,
    /// The labs' "maxraftstate".
    Bytes(u64),
}

impl MaxLog {
    /// The labs' own value wherever there are snapshots.
    pub const LABS: MaxLog = MaxLog::Bytes(1000);

    /// As an argument.
    pub fn arg(self) -> String {
        match self {
            MaxLog::Never => "-1".into(),
            MaxLog::Bytes(bytes) => bytes.to_string(),
        }
    }
}

/// The largest that were seen.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Sizes {
    /// How often a node answered.
    pub samples: u64,
    /// Hard state and entries above the snapshot.
    pub log_bytes: u64,
    /// A snapshot, as a file.
    pub snapshot_bytes: u64,
}

impl Sizes {
    fn look(&mut self, status: &Status) {
        let nodes = status.0["nodes"].as_array().map(Vec::as_slice).unwrap_or_default();
        for node in nodes {
            let (Some(log_bytes), Some(snapshot_bytes)) = (node["log_bytes"].as_u64(), node["snapshot_bytes"].as_u64()) else { continue };
            self.samples += 1;
            self.log_bytes = self.log_bytes.max(log_bytes);
            self.snapshot_bytes = self.snapshot_bytes.max(snapshot_bytes);
        }
    }

    /// The labs' own limits.
    fn check(&self, max: MaxLog) {
        match max {
            MaxLog::Never => assert_eq!(self.snapshot_bytes, 0, "there is a snapshot"),
            MaxLog::Bytes(bytes) => assert!(self.log_bytes <= 8 * bytes, "a log of {} bytes", self.log_bytes),
        }
    }
}

/// Looks until it is told to stop, or dropped.
pub struct Sampler {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Sizes>>,
}

/// Often enough to see a log between two snapshots, and seldom enough not to be the load itself.
const PAUSE: Duration = Duration::from_millis(20);

impl Sampler {
    /// Begins. Nodes may come and go meanwhile.
    pub fn start(cluster: &Cluster) -> Sampler {
        let (stop, endpoints) = (Arc::new(AtomicBool::new(false)), cluster.endpoints());
        let thread = std::thread::spawn({
            let stop = Arc::clone(&stop);
            move || {
                let mut sizes = Sizes::default();
                while !stop.load(Ordering::Relaxed) {
                    let ran = Ran::run(kvcli_command(["--endpoints", &endpoints, "--timeout", "300ms", "-o", "json", "status"]), b"");
                    if let Ok(status) = serde_json::from_slice(&ran.stdout) {
                        sizes.look(&Status(status));
                    }
                    let_pass(PAUSE);
                }
                sizes
            }
        });
        Sampler { stop, thread: Some(thread) }
    }

    /// Ends with a look at every node, all of which must be up. Panics if what was seen at any time breaks the labs' own limits: eight
    /// times `max`, or no snapshot if there is none.
    pub fn stop_and_check(mut self, cluster: &Cluster, max: MaxLog, case: &str) -> Sizes {
        self.stop.store(true, Ordering::Relaxed);
        let mut sizes = self.thread.take().expect("a thread").join().expect("somebody who only looks does not panic");
        assert!(sizes.samples > 0, "nobody was seen under load");
        let status = cluster.status();
        for node in &cluster.nodes {
            let snapshot_index = status.number(&node.name, "snapshot_index").unwrap_or_else(|| panic!("{} does not answer", node.name));
            assert_eq!(snapshot_index > 0, max != MaxLog::Never, "{} has a snapshot at {snapshot_index}", node.name);
        }
        sizes.look(&status);
        host::report(format!("{case}: {sizes:?}"));
        sizes.check(max);
        sizes
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn of_all_that_was_seen_the_largest_counts_and_a_node_that_is_down_is_not_seen() {
        let mut sizes = Sizes::default();
        sizes.look(&Status(json!({ "verdict": "unreachable" })));
        sizes.look(&Status(json!({ "nodes": [{ "log_bytes": 7, "snapshot_bytes": 0 }, { "name": "n2", "reachable": false }] })));
        sizes.look(&Status(json!({ "nodes": [{ "log_bytes": 3, "snapshot_bytes": 5 }, { "log_bytes": 1, "snapshot_bytes": 0 }] })));
        assert_eq!(sizes, Sizes { samples: 3, log_bytes: 7, snapshot_bytes: 5 });
    }

    #[test]
    fn eight_times_the_limit_is_the_most_and_without_one_there_is_no_snapshot() {
        let passes = |log_bytes, snapshot_bytes, max| {
            let sizes = Sizes { samples: 1, log_bytes, snapshot_bytes };
            std::panic::catch_unwind(|| sizes.check(max)).is_ok()
        };
        assert!(passes(8000, 100_000, MaxLog::LABS) && !passes(8001, 100, MaxLog::LABS));
        assert!(passes(1 << 30, 0, MaxLog::Never) && !passes(16, 1, MaxLog::Never));
    }
}
