//! An order that is given, against the clock.

use crate::model::{Event, over_before};
use crate::verdict::Anomaly;

/// Two events that time contradicts: the first stands behind the second in the order, and was over before the second was called.
/// `ranked`: an event's place in the order, and its index; events of one rank may stand in any order among themselves.
pub(crate) fn contradiction<R: Ord + Copy>(events: &[Event<'_>], mut ranked: Vec<(R, usize)>) -> Option<(usize, usize)> {
    ranked.sort_unstable_by(|a, b| b.cmp(a));
    let mut earliest: Option<usize> = None; // to end, of all behind
    for group in ranked.chunk_by(|a, b| a.0 == b.0) {
        if let Some(behind) = earliest {
            // Of those called last, the one with the longest overlap tells least: take the latest call.
            let last_called =
                group.iter().map(|(_, index)| *index).max_by_key(|index| (events[*index].call, *index)).expect("no group is empty");
            if over_before(events[behind].end, events[last_called].call) {
                return Some((behind, last_called));
            }
        }
        earliest = group.iter().map(|(_, index)| *index).chain(earliest).min_by_key(|index| (events[*index].end, *index));
    }
    None
}

/// What it is called that `behind` was over before `ahead` was called, and stands behind it.
pub(crate) fn name(behind: &Event<'_>, ahead: &Event<'_>) -> Anomaly {
    match (behind.does.only_reads(), ahead.does.only_reads()) {
        (false, true) => Anomaly::StaleRead,
        (true, true) => Anomaly::NonMonotonicRead,
        (false, false) => Anomaly::ReorderedWrites,
        (true, false) => Anomaly::PhantomValue,
    }
}
