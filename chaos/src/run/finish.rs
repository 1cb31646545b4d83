//! Everything is healed: the nodes must come to the same state, and every key is read once more, through the leader and on every node.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use checker::{Call, Op, Outcome};
use kvcli::{Clerk, ClerkError, Options, Range};

use super::findings::Findings;
use super::perform::{now_ns, perform, scan};
use crate::cluster::Cluster;
use crate::ending::{Ending, Failure};

/// Of one call, with nothing broken any more.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Waits for the nodes to come together, if they follow one leader, and reads: every key, for the history, and every node's state.
pub(crate) fn finish(
    cluster: &mut Cluster,
    ops: &[Op],
    endpoints: &[String],
    start: Instant,
    converges_in: Option<Duration>,
    found: &mut Findings,
) -> Result<Vec<Op>, Failure> {
    let converged = converges_in.map(|limit| cluster.converge(limit)).transpose();
    let converged = found.late(converged)?.flatten();
    let have_converged = converged.is_some();
    found.wrong(converged.and_then(|converged| converged.differ));
    let mut reads = Vec::new();
    let read = read_all(ops, endpoints, TIMEOUT, start, &mut reads);
    found.late(read)?;
    // Nodes that have not come together differ, and that is said already.
    if have_converged && let Some(truth) = found.late(state("all nodes", endpoints, false))? {
        for (node, address) in cluster.nodes().iter().zip(endpoints) {
            let Some(state) = found.late(state(&node.name, std::slice::from_ref(address), true))? else { continue };
            if state != truth {
                let key = truth.iter().zip(&state).find(|(a, b)| a != b).map(|(a, _)| String::from_utf8_lossy(&a.0).into_owned());
                let place = key.map_or(format!("{} keys instead of {}", state.len(), truth.len()), |key| format!("first at key {key}"));
                found.wrong([format!("{} holds another state than the leader: {place}", node.name)]);
            }
        }
    }
    Ok(reads)
}

/// Reads every key that was asked for. An error: one cannot be read.
fn read_all(ops: &[Op], endpoints: &[String], timeout: Duration, start: Instant, reads: &mut Vec<Op>) -> Result<(), Failure> {
    let mut clerk = clerk(endpoints).map_err(|error| Ending::Io.says(error))?;
    let keys: BTreeSet<&[u8]> = ops.iter().filter_map(|op| op.call.key()).collect();
    for key in keys {
        let call = Call::Get { key: key.to_vec() };
        let mut op = Op::new("final", call.clone(), now_ns(start));
        let ended = perform(&mut clerk, &call, timeout);
        if let Some(error) = ended.local {
            return Err(Ending::Io.says(error));
        }
        ended.close(&mut op, now_ns(start));
        let is_ok = matches!(op.outcome, Outcome::Ok(_));
        reads.push(op);
        if !is_ok {
            let key = String::from_utf8_lossy(key);
            return Err(Ending::Late.says(format!("nothing is broken any more, and key {key} cannot be read at {}", endpoints.join(", "))));
        }
    }
    Ok(())
}

type Items = Vec<(Vec<u8>, Vec<u8>)>;

/// All keys and values, as `whom` have them.
fn state(whom: &str, endpoints: &[String], stale: bool) -> Result<Items, Failure> {
    let read = || scan(&mut clerk(endpoints)?, Range { stale, ..Range::default() });
    let (_, state) =
        read().map_err(|error| Ending::Late.says(format!("nothing is broken any more, and a scan of {whom} fails: {error}")))?;
    Ok(state)
}

fn clerk(endpoints: &[String]) -> Result<Clerk, ClerkError> {
    Clerk::new(endpoints, Options { timeout: TIMEOUT, ..Options::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_final_read_that_fails_is_late_and_not_forgotten() {
        let ops = [Op::new(1, Call::Get { key: b"city".into() }, 0)];
        let mut reads = Vec::new();
        // A port where nobody listens.
        let (endpoints, timeout) = (["127.0.0.1:1".to_owned()], Duration::from_millis(50));
        let failure = read_all(&ops, &endpoints, timeout, Instant::now(), &mut reads).expect_err("nobody answers");
        assert_eq!((failure.ending, reads.len()), (Ending::Late, 1));
        assert!(failure.to_string().contains("key city cannot be read"), "{failure}");
    }
}
