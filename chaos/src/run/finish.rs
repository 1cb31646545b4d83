//! Everything is healed: the nodes must come to the same state, and every key is read once more, through the leader and on every node.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use checker::{Call, Op};
use kvcli::{Clerk, ClerkError, Options, Range};

use super::perform::{now_ns, perform, scan};
use crate::cluster::Cluster;
use crate::ending::{Ending, Failure};

/// Of one call, with nothing broken any more.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What the end shows.
pub(crate) struct End {
    /// Reads of every key, for the history.
    pub(crate) reads: Vec<Op>,
    /// What nodes have in common that they must not, or have not that they must; none: all is well.
    pub(crate) wrong: Vec<String>,
}

/// Waits for the nodes to come together and reads. An error: they did not in time.
pub(crate) fn finish(cluster: &mut Cluster, ops: &[Op], endpoints: &[String], start: Instant, limit: Duration) -> Result<End, Failure> {
    let mut wrong: Vec<String> = cluster.converge(limit)?.differ.into_iter().collect();
    let failed = |error: ClerkError| Ending::Late.says(format!("nothing is broken any more, and a read fails: {error}"));
    let options = Options { timeout: TIMEOUT, ..Options::default() };
    let mut clerk = Clerk::new(endpoints, options.clone()).map_err(failed)?;
    let keys: BTreeSet<&[u8]> = ops.iter().filter_map(|op| op.call.key()).collect();
    let mut reads = Vec::new();
    for key in keys {
        let call = Call::Get { key: key.to_vec() };
        let mut op = Op::new("final", call.clone(), now_ns(start));
        let ended = perform(&mut clerk, &call, TIMEOUT);
        if let Some(error) = ended.local {
            return Err(Ending::Io.says(error));
        }
        ended.close(&mut op, now_ns(start));
        reads.push(op);
    }
    let (_, truth) = scan(&mut clerk, Range::default()).map_err(failed)?;
    for (node, address) in cluster.nodes().iter().zip(endpoints) {
        let mut clerk = Clerk::new([address.clone()], options.clone()).map_err(failed)?;
        let (_, state) = scan(&mut clerk, Range { stale: true, ..Range::default() }).map_err(failed)?;
        if state != truth {
            let key = truth.iter().zip(&state).find(|(a, b)| a != b).map(|(a, _)| String::from_utf8_lossy(&a.0).into_owned());
            let place = key.map_or(format!("{} keys instead of {}", state.len(), truth.len()), |key| format!("first at key {key}"));
            wrong.push(format!("{} holds another state than the leader: {place}", node.name));
        }
    }
    Ok(End { reads, wrong })
}
