//! Rare paths that runs have taken. Nodes and stores mark them where they are (`raft::Reached`), some are seen from outside; whatever is
//! not in this list is a mistake, and what a thousand runs do not reach makes them too weak to show anything.

use std::collections::BTreeMap;

/// All of them.
pub const RARE_PATHS: [&str; 40] = [
    // Elections.
    "a hurried election is called off by a leader",
    "a leader steps down after a slow sync",
    "a leader that no majority answers steps down",
    "a leader with a full disk gives way",
    "a node with a full disk stands last",
    "a second candidate of a term is refused",
    "a vote is refused while a leader lives",
    "a voter dies between its save and its word",
    "an election ends without a winner",
    "promises are outlived by their term, unsaid",
    // Logs.
    "a conflict is traced back over a boundary of terms",
    "a crash meets a cut of the log that is not durable",
    "a deposed leader is told so",
    "a majority holds an entry of an older term, which commits nothing",
    "an append comes late, and shortens nothing",
    "entries are cut off while their save is under way",
    "entries come while a save waits for room",
    "entries of two terms are cut off at once",
    "the first batch of a segment is not durable yet",
    // Snapshots.
    "a snapshot is installed during appends",
    "a snapshot that is asked for is gone",
    "a snapshot that was replaced is removed at start",
    "a snapshot waits with its installation for a save under way",
    "a transfer goes on with another leader",
    "a transfer is outlived by a newer snapshot",
    "a transfer that broke off goes on where it was",
    "an installation is finished at the next start",
    "an unfinished snapshot is removed at start",
    // Disks.
    "a torn batch is cut off at start",
    "a wiped disk is refused",
    // Calls.
    "a call is refused by the horizon",
    "a call that is in the log twice runs once",
    "a follower is answered for a read of its past life",
    "a read round is cut by a step-down",
    "a repeated call is answered from the table",
    "a scan that was too slow has lost its view",
    "a session makes room for another",
    "a session was evicted while its calls were in flight",
    "the lowest unanswered number drops kept replies",
    "who waits for a write is told that leadership is lost",
];

/// How many turns have taken each.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Reached {
    counts: BTreeMap<&'static str, u64>,
}

impl Reached {
    pub(crate) fn count(&mut self, paths: &mut Vec<&'static str>) {
        for path in paths.drain(..) {
            assert!(RARE_PATHS.contains(&path), "{path} is in no list of rare paths");
            *self.counts.entry(path).or_default() += 1;
        }
    }

    /// Takes in what other runs have reached.
    pub fn add(&mut self, others: &Reached) {
        for (path, count) in &others.counts {
            *self.counts.entry(path).or_default() += count;
        }
    }

    /// All rare paths, and how often each was taken.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        RARE_PATHS.iter().map(|path| (*path, self.counts.get(path).copied().unwrap_or(0)))
    }

    /// Those that were never taken.
    pub fn missing(&self) -> impl Iterator<Item = &'static str> {
        self.counts().filter(|(_, count)| *count == 0).map(|(path, _)| path)
    }
}
