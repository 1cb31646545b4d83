//! What a history shows at a glance: how much was done, and whether anything could have gone wrong in it.

use std::collections::BTreeMap;

use checker::{History, Op, Outcome};
use serde::Serialize;

/// Counts of a history.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub(crate) struct Sight {
    pub(crate) ok: usize,
    pub(crate) fail: usize,
    pub(crate) unknown: usize,
    /// Those of unknown outcome of which a node says that it applied them.
    pub(crate) unknown_applied: usize,
    /// Reads that were under way while a write of the same key was, or a scan while any was.
    pub(crate) contended_reads: usize,
    /// The longest time in which no call succeeded.
    pub(crate) longest_gap_ms: u64,
}

impl Sight {
    pub(crate) fn of(history: &History) -> Sight {
        let mut sight = Sight { contended_reads: contended_reads(history.ops()), ..Sight::default() };
        let mut ends: Vec<u64> = Vec::new();
        for op in history.ops() {
            match op.outcome {
                Outcome::Ok(_) => {
                    sight.ok += 1;
                    ends.extend(op.return_ns);
                }
                Outcome::Fail => sight.fail += 1,
                Outcome::Unknown => {
                    sight.unknown += 1;
                    sight.unknown_applied += usize::from(op.position.is_some());
                }
            }
        }
        ends.sort_unstable();
        sight.longest_gap_ms = ends.windows(2).map(|pair| (pair[1] - pair[0]) / 1_000_000).max().unwrap_or(0);
        sight
    }
}

fn contended_reads(ops: &[Op]) -> usize {
    // A write of unknown outcome may happen at any time; it is not counted as contention after its client had given up.
    let mut writes: BTreeMap<&[u8], Vec<(u64, u64)>> = BTreeMap::new();
    for op in ops.iter().filter(|op| !op.call.is_read()) {
        if let (Some(key), Some(end)) = (op.call.key(), op.return_ns) {
            writes.entry(key).or_default().push((op.call_ns, end));
        }
    }
    // In order of their calls; and how late any of those up to here has ended.
    let mut latest: BTreeMap<&[u8], Vec<u64>> = BTreeMap::new();
    for (key, writes) in &mut writes {
        writes.sort_unstable();
        let ends = writes.iter().scan(0, |latest, (_, end)| {
            *latest = (*latest).max(*end);
            Some(*latest)
        });
        latest.insert(key, ends.collect());
    }
    let overlaps = |key: &[u8], from: u64, to: u64| {
        let begun = writes.get(key).map_or(0, |writes| writes.partition_point(|(call, _)| *call <= to));
        begun > 0 && latest[key][begun - 1] >= from
    };
    let is_contended = |op: &&Op| {
        let Some(end) = op.return_ns else { return false };
        match op.call.key() {
            Some(key) => overlaps(key, op.call_ns, end),
            None => writes.keys().any(|key| overlaps(key, op.call_ns, end)),
        }
    };
    ops.iter().filter(|op| op.call.is_read() && matches!(op.outcome, Outcome::Ok(_))).filter(is_contended).count()
}

#[cfg(test)]
mod tests {
    use checker::{Answer, Call};

    use super::*;

    fn put(call: u64, end: u64) -> Op {
        Op::new(1, Call::Put { key: b"k".into(), value: b"v".into() }, call).ok(end, Answer::Done)
    }

    fn get(key: &[u8], call: u64, end: u64) -> Op {
        Op::new(2, Call::Get { key: key.into() }, call).ok(end, Answer::Value(None))
    }

    fn sight(ops: &[Op]) -> Sight {
        let mut history = History::new();
        ops.iter().for_each(|op| history.push(op.clone()).expect("a good operation"));
        Sight::of(&history)
    }

    #[test]
    fn a_read_is_contended_while_a_write_of_its_key_is_under_way() {
        let writes = [put(10, 20), put(30, 100), put(40, 50)];
        for (read, is_contended) in [
            (get(b"k", 0, 9), false),
            (get(b"k", 0, 10), true),
            (get(b"k", 21, 29), false),
            (get(b"k", 60, 70), true),
            (get(b"other", 15, 16), false),
        ] {
            let ops: Vec<Op> = writes.iter().cloned().chain([read.clone()]).collect();
            assert_eq!(sight(&ops).contended_reads, usize::from(is_contended), "{read:?}");
        }
        let scan = Op::new(3, Call::Scan { from: None, to: None, limit: None }, 15).ok(16, Answer::List(Vec::new()));
        assert_eq!(sight(&[put(10, 20), scan]).contended_reads, 1);
    }

    #[test]
    fn the_longest_gap_is_between_two_successes() {
        let ms = 1_000_000;
        let failed = Op::new(1, Call::Get { key: b"k".into() }, 0).fail(40 * ms);
        let sight = sight(&[get(b"k", 0, 10 * ms), failed, get(b"k", 0, 75 * ms)]);
        assert_eq!((sight.ok, sight.fail, sight.longest_gap_ms), (2, 1, 65));
    }
}
