//! Which term each entry is of. Terms change seldom, so runs of one term are kept, not a term per entry.

use std::collections::VecDeque;

use raft::{EntryId, Index, Term};

/// The terms of the entries from the base on, the base included.
#[derive(Debug)]
pub(crate) struct Terms {
    /// The first entry of every run; of the first run, one at or below the base. Never empty.
    runs: VecDeque<EntryId>,
}

impl Terms {
    /// Of a log without entries.
    pub(crate) fn new(base: EntryId) -> Terms {
        Terms { runs: VecDeque::from([base]) }
    }

    /// The entry at `index` follows.
    pub(crate) fn push(&mut self, index: Index, term: Term) {
        if self.last() != term {
            self.runs.push_back(EntryId { index, term });
        }
    }

    /// Of the last entry.
    pub(crate) fn last(&self) -> Term {
        self.runs.back().map_or(Term(0), |run| run.term)
    }

    /// Of an entry that the log has, or of the base.
    pub(crate) fn at(&self, index: Index) -> Term {
        let run = self.runs.partition_point(|run| run.index <= index).checked_sub(1);
        run.and_then(|run| self.runs.get(run)).map_or(Term(0), |run| run.term)
    }

    /// The entries from `first` on are gone. `first` is above the base.
    pub(crate) fn truncate(&mut self, first: Index) {
        let kept = self.runs.partition_point(|run| run.index < first);
        self.runs.truncate(kept);
    }

    /// The base moves up.
    pub(crate) fn forget_below(&mut self, base: Index) {
        let run = self.runs.partition_point(|run| run.index <= base);
        self.runs.drain(..run.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_gives_its_term_while_the_log_grows_and_shrinks_at_both_ends() {
        let mut terms = Terms::new(EntryId { index: Index(4), term: Term(2) });
        let mut model = std::collections::BTreeMap::from([(4, 2)]);
        let push = |terms: &mut Terms, model: &mut std::collections::BTreeMap<u64, u64>, index, term| {
            terms.push(Index(index), Term(term));
            model.insert(index, term);
        };
        let check = |terms: &Terms, model: &std::collections::BTreeMap<u64, u64>| {
            for (index, term) in model {
                assert_eq!(terms.at(Index(*index)), Term(*term), "{index} in {terms:?}");
            }
            assert_eq!(Some(terms.last().0), model.values().last().copied());
        };
        for (index, term) in (5..).zip([2, 2, 3, 3, 3, 7, 8, 8]) {
            push(&mut terms, &mut model, index, term);
            check(&terms, &model);
        }
        terms.truncate(Index(9));
        model.split_off(&9);
        check(&terms, &model);
        push(&mut terms, &mut model, 9, 9);
        for base in 5..=9 {
            terms.forget_below(Index(base));
            model = model.split_off(&base);
            check(&terms, &model);
        }
        assert_eq!(terms.runs.len(), 1);
    }
}
