//! Logs against each other: an index and a term name one entry and all before it, and what is committed is in the log of every later
//! leader.

use std::collections::BTreeMap;

use raft::{EntryId, Index, NodeId, Raft, Term};

use crate::disk::{WatchedDisk, Written};
use crate::failure::must;

/// Every entry that was ever written to any disk, and those that are known to be committed.
#[derive(Default)]
pub(super) struct Logs {
    /// By index, the entry that was seen first there.
    entries: Vec<Option<(Term, Entry)>>,
    /// Others at the same indexes.
    rivals: BTreeMap<EntryId, Entry>,
    /// The term of each committed entry, by index, and that of the node which was the first to know.
    committed: Vec<(Term, Term)>,
    /// What the log of every leader ended with when it was elected.
    elected: BTreeMap<Term, (NodeId, EntryId)>,
    written: Vec<Written>,
}

/// What a name stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Entry {
    digest: u64,
    /// Of the entry before: with that, one entry vouches for its whole prefix.
    prev_term: Term,
}

impl Logs {
    /// What a node has written since the last look.
    pub(super) fn take_written(&mut self, id: NodeId, disk: &WatchedDisk) {
        let mut written = std::mem::take(&mut self.written);
        disk.take_written(&mut written);
        for Written { first_index, mut prev_term, entries } in written.drain(..) {
            for (index, (term, digest)) in (first_index.0..).map(Index).zip(entries) {
                let (at, entry) = (EntryId { index, term }, Entry { digest, prev_term });
                let known = self.learn(at, entry);
                let rule = "one entry per index and term, and one log before it (log matching, Raft 5.3)";
                must!(known == entry, rule, "{id} has written {at} as {entry:x?}, another node as {known:x?}");
                prev_term = term;
            }
        }
        self.written = written;
    }

    /// What this name is known to stand for.
    fn learn(&mut self, at: EntryId, entry: Entry) -> Entry {
        let position = position(at.index);
        if self.entries.len() <= position {
            self.entries.resize(position + 1, None);
        }
        match self.entries[position].get_or_insert((at.term, entry)) {
            (term, known) if *term == at.term => *known,
            _ => *self.rivals.entry(at).or_insert(entry),
        }
    }

    fn known(&self, at: EntryId) -> Option<Entry> {
        match self.entries.get(position(at.index))? {
            Some((term, known)) if *term == at.term => Some(*known),
            _ => self.rivals.get(&at).copied(),
        }
    }

    /// A node knows that its log is committed this far; before it was `from`.
    pub(super) fn committed(&mut self, raft: &Raft, from: Index) {
        let (id, log, to) = (raft.id(), raft.log(), raft.commit_index());
        if to == from {
            return;
        }
        if self.committed.is_empty() {
            self.committed.push((Term(0), Term(0))); // stands before the first
        }
        let first_new = self.committed.len();
        // It may have compacted in the same turn: what its log begins with vouches for what was before.
        let mut at = log.base();
        let mut compacted = Vec::new();
        while first_new as u64 <= at.index.0 {
            compacted.push(at);
            let before = self.known(at);
            must!(before.is_some(), "what is committed was written", "{id} has committed {at}, which is on no disk");
            at = EntryId { index: at.index.prev(), term: before.map_or(Term(0), |entry| entry.prev_term) };
        }
        self.committed.extend(compacted.iter().rev().map(|at| (at.term, raft.term())));
        for index in (from.max(log.base().index.prev()).0 + 1..=to.0).map(Index) {
            let Some(term) = log.term_at(index) else { continue };
            let known = self.committed.get(position(index)).map_or(term, |(known, _)| *known);
            let rule = "what is committed stays so (leader completeness, Raft 5.4)";
            must!(known == term, rule, "{id} has committed {index} of {term}, another node of {known}");
            if position(index) == self.committed.len() {
                self.committed.push((term, raft.term()));
            }
        }
        // A deposed leader may learn only now that a majority had its entry before that elected another.
        for (later, (leader, last)) in self.elected.range(raft.term().next()..) {
            for index in (first_new..self.committed.len()).map(|index| Index(index as u64)) {
                self.must_hold(*leader, *later, *last, index);
            }
        }
    }

    /// The leader of this term says that the log is committed so far: who knew of that first may have heard of a later term beside it.
    pub(super) fn committed_in(&mut self, term: Term, commit: Index) {
        let end = self.committed.len().min(position(commit) + 1);
        let later = |(_, known_in): &(Term, Term)| term < *known_in;
        let first = end - self.committed[..end].iter().rev().take_while(|known| later(known)).count();
        self.committed[first..end].iter_mut().for_each(|(_, known_in)| *known_in = term);
        for (later, (leader, last)) in self.elected.range(term.next()..).filter(|_| first < end) {
            self.must_hold(*leader, *later, *last, Index(end as u64 - 1));
        }
    }

    /// A leader has appeared: it holds whatever was committed before its term. Its votes may have come late, and others may have been
    /// elected and have committed more meanwhile.
    pub(super) fn elected(&mut self, raft: &Raft) {
        let (log, term) = (raft.log(), raft.term());
        // Its own entries say nothing about what it was elected with.
        let mut last = log.last();
        while last.term == term && log.base().index < last.index {
            let index = last.index.prev();
            last = EntryId { index, term: log.term_at(index).unwrap_or_default() };
        }
        self.elected.insert(term, (raft.id(), last));
        if let Some(index) = self.owed(term) {
            self.must_hold(raft.id(), term, last, index);
        }
    }

    /// The last entry that was committed before this term, as far as is known.
    fn owed(&self, term: Term) -> Option<Index> {
        self.committed.iter().rposition(|(_, known_in)| *known_in < term).map(|index| Index(index as u64))
    }

    /// A log that ends with `last` holds the committed entry at `index`: found by going back from the one to the other.
    fn must_hold(&self, leader: NodeId, leads: Term, last: EntryId, index: Index) {
        let rule = "a leader holds whatever is committed (leader completeness, Raft 5.4)";
        let committed = EntryId { index, term: self.committed[position(index)].0 };
        must!(index <= last.index, rule, "{leader} leads {leads} with a log to {last}; {committed} is committed");
        let mut at = last;
        while index < at.index && !self.is_committed(at) {
            let Some(known) = self.known(at) else {
                must!(
                    at.index <= Index(1),
                    rule,
                    "{leader} leads {leads} with {at} in its log, which is on no disk; {committed} is committed"
                );
                return; // every disk begins with the first entry
            };
            at = EntryId { index: at.index.prev(), term: known.prev_term };
        }
        must!(self.is_committed(at), rule, "{leader} leads {leads} with {at} in its log; {committed} is committed");
    }

    fn is_committed(&self, at: EntryId) -> bool {
        self.committed.get(position(at.index)).is_some_and(|(term, _)| *term == at.term)
    }

    /// The committed entry at this index.
    pub(super) fn committed_at(&self, index: Index) -> Option<EntryId> {
        let (term, _) = *self.committed.get(position(index))?;
        Some(EntryId { index, term })
    }
}

fn position(index: Index) -> usize {
    usize::try_from(index.0).expect("a log in memory")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::catch;

    /// Entries 1/t1, 2/t1 and 3/t3, all committed in their terms; beside them 3/t2 was written and lost.
    fn logs() -> Logs {
        let mut logs = Logs { committed: [0, 1, 1, 3].map(|term| (Term(term), Term(term))).to_vec(), ..Logs::default() };
        for (index, term, prev_term) in [(1, 1, 0), (2, 1, 1), (3, 2, 1), (3, 3, 1), (4, 2, 2), (4, 3, 3)] {
            let at = EntryId { index: Index(index), term: Term(term) };
            logs.learn(at, Entry { digest: index, prev_term: Term(prev_term) });
        }
        logs
    }

    #[test]
    fn a_leader_owes_what_was_committed_before_its_term() {
        // The votes of term 2 may come late, when term 3 has committed already.
        assert_eq!([1, 2, 3, 4].map(|term| logs().owed(Term(term))), [0, 2, 2, 3].map(|index| Some(Index(index))));
    }

    #[test]
    fn a_log_is_known_by_its_last_entry() {
        let holds = |last: (u64, u64), index| {
            let last = EntryId { index: Index(last.0), term: Term(last.1) };
            catch(|| logs().must_hold(NodeId(1), Term(9), last, Index(index))).is_ok()
        };
        assert!(holds((4, 3), 3) && holds((3, 3), 3) && holds((4, 2), 2) && holds((2, 1), 2));
        assert!(!holds((2, 1), 3), "it is too short");
        assert!(!holds((4, 2), 3) && !holds((3, 2), 3), "it goes on otherwise");
        assert!(!holds((5, 9), 3), "its end is on no disk");
    }

    #[test]
    fn what_a_leader_says_is_committed_was_so_before_any_later_term() {
        // Whoever learned first of 3/t3 had heard of term 5 in the same turn.
        let mut logs = logs();
        logs.committed[3].1 = Term(5);
        assert_eq!(logs.owed(Term(4)), Some(Index(2)));
        logs.elected.insert(Term(4), (NodeId(2), EntryId { index: Index(4), term: Term(2) }));
        assert!(catch(|| logs.committed_in(Term(3), Index(2))).is_ok(), "nothing new");
        assert!(catch(|| logs.committed_in(Term(3), Index(3))).is_err(), "the leader of term 4 does not hold it");
        assert_eq!(logs.owed(Term(4)), Some(Index(3)));
    }

    #[test]
    fn a_name_stands_for_one_entry_and_one_prefix() {
        let at = EntryId { index: Index(3), term: Term(2) };
        let known = Entry { digest: 3, prev_term: Term(1) };
        for other in [Entry { digest: 4, ..known }, Entry { prev_term: Term(2), ..known }] {
            assert_eq!(logs().learn(at, other), known, "what was first known under the name");
        }
    }
}
