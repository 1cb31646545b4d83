//! Keys that are put and appended to, each time with another value: what a read shows is cut into words, each of one write, and so what is
//! wrong with it has a name.
//!
//! A put leaves nothing of what was there: the reads that begin with it show what was appended until the next, and each the beginning of
//! the longest. What is not found here is for the search to judge.

use std::collections::HashMap;

use crate::Judged;
use crate::append::{By, Words};
use crate::history::Call;
use crate::model::{Does, Event, Key, Prepared, over_before};
use crate::verdict::{Anomaly, Violation, Why, show, show_value};

pub(crate) struct Mixed<'a, 'h> {
    prepared: &'a Prepared<'h>,
    key: Key,
    events: &'a [Event<'h>],
    words: Words,
}

pub(crate) fn judge(prepared: &Prepared<'_>, key: Key, events: &[Event<'_>], refused: &[usize]) -> Judged {
    match Mixed::new(prepared, key, events, refused).and_then(|mixed| mixed.broken()) {
        Some(violation) => Judged::Broken(violation),
        None => Judged::NotMine,
    }
}

impl<'a, 'h> Mixed<'a, 'h> {
    /// `None`: the key is not of this kind.
    pub(crate) fn new(prepared: &'a Prepared<'h>, key: Key, events: &'a [Event<'h>], refused: &[usize]) -> Option<Mixed<'a, 'h>> {
        let mut words = Vec::new();
        for (index, event) in events.iter().enumerate() {
            match event.does {
                Does::Put { value, .. } | Does::Append { value, .. } if !value.is_empty() => words.push((value.to_vec(), By::Event(index))),
                Does::Read { found, .. } if found != Some(b"") => {}
                _ => return None,
            }
        }
        for id in refused {
            match &prepared.history.ops()[*id].call {
                Call::Put { value, .. } | Call::Append { value, .. } if !value.is_empty() => words.push((value.clone(), By::Refused(*id))),
                _ => {}
            }
        }
        Some(Mixed { prepared, key, events, words: Words::new(words)? })
    }

    fn over(&self, first: usize, second: usize) -> bool {
        over_before(self.events[first].end, self.events[second].call)
    }

    fn is_put(&self, index: usize) -> bool {
        matches!(self.events[index].does, Does::Put { .. })
    }

    fn found(&self, index: usize) -> &'h [u8] {
        match self.events[index].does {
            Does::Read { found, .. } => found.unwrap_or_default(),
            _ => b"",
        }
    }

    fn word(&self, index: usize) -> String {
        match self.events[index].does {
            Does::Put { value, .. } | Does::Append { value, .. } => show(value),
            _ => String::new(),
        }
    }

    fn reads(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.events.len()).filter(|index| matches!(self.events[*index].does, Does::Read { .. }))
    }

    /// The writes that a read shows, if it can be told.
    fn shown(&self, read: usize) -> Option<Vec<usize>> {
        let by_event = |(by, _)| match by {
            By::Event(index) => Some(index),
            By::Refused(_) => None,
        };
        self.words.cut(self.found(read))?.into_iter().map(by_event).collect()
    }

    /// The put that a value begins with; `None`: nothing was put before it.
    fn base(&self, shown: &[usize]) -> Option<usize> {
        shown.first().copied().filter(|first| self.is_put(*first))
    }

    fn broken(&self) -> Option<Box<Violation>> {
        let mut seen = vec![usize::MAX; self.events.len()];
        let mut longest: HashMap<Option<usize>, usize> = HashMap::new();
        let mut behind_others = None;
        for read in self.reads() {
            let shown = match self.cut(read, &mut seen) {
                Ok(shown) => shown,
                Err(violation) => return Some(violation),
            };
            behind_others = behind_others.or_else(|| shown.iter().skip(1).position(|word| self.is_put(*word)).map(|at| (read, at + 1)));
            let longest = longest.entry(self.base(&shown)).or_insert(read);
            let [one, other] = [self.found(*longest), self.found(read)];
            if !one.starts_with(other) && !other.starts_with(one) {
                return Some(self.fork(*longest, read));
            }
            if one.len() < other.len() {
                *longest = read;
            }
        }
        let (read, at) = behind_others?;
        let shown = self.shown(read)?;
        let (before, put) = (shown[at - 1], shown[at]);
        let [id, before_id, put_id] = [read, before, put].map(|index| self.events[index].id);
        let mut why = vec![Why::Of(
            id,
            format!("shows {} before {}, which was put and leaves nothing of what was there", self.word(before), self.word(put)),
        )];
        let mut ops = vec![id, before_id, put_id];
        let other = longest.get(&Some(put)).copied().filter(|other| self.shown(*other).is_some_and(|shown| shown.contains(&before)));
        let Some(other) = other else { return Some(self.violation(Anomaly::PhantomValue, &ops, &why)) };
        ops.push(self.events[other].id);
        why.push(Why::Of(self.events[other].id, "shows them in the other order".into()));
        Some(self.violation(Anomaly::Fork, &ops, &why))
    }

    /// The writes that a read shows: each was called by then, shows once, and behind no write that was called only when it was over.
    fn cut(&self, read: usize, seen: &mut [usize]) -> Result<Vec<usize>, Box<Violation>> {
        let id = self.events[read].id;
        let Some(cut) = self.words.cut(self.found(read)) else {
            return Err(self.violation(Anomaly::PhantomValue, &[id], &[Why::Of(id, "shows bytes that nobody wrote".into())]));
        };
        let mut shown: Vec<usize> = Vec::with_capacity(cut.len());
        let mut last_called: Option<usize> = None;
        for (by, _) in cut {
            let index = match by {
                By::Event(index) => index,
                By::Refused(op) => {
                    let why = Why::Of(id, "shows what was written by a call that was refused".into());
                    return Err(self.violation(Anomaly::PhantomValue, &[id, op], &[why]));
                }
            };
            let write = self.events[index].id;
            if std::mem::replace(&mut seen[index], read) == read {
                let why = Why::Of(id, format!("shows {} twice; it was written once", self.word(index)));
                return Err(self.violation(Anomaly::Duplicate, &[id, write], &[why]));
            }
            if self.over(read, index) {
                let why = [Why::Before(id, write), Why::Of(id, format!("shows {} before anybody wrote it", self.word(index)))];
                return Err(self.violation(Anomaly::PhantomValue, &[id, write], &why));
            }
            if let Some(before) = last_called.filter(|before| self.over(index, *before)) {
                let first = self.events[before].id;
                let why = [Why::Before(write, first), Why::Of(id, format!("shows {} behind {}", self.word(index), self.word(before)))];
                return Err(self.violation(Anomaly::ReorderedWrites, &[id, first, write], &why));
            }
            if last_called.is_none_or(|last| self.events[last].call <= self.events[index].call) {
                last_called = Some(index);
            }
            shown.push(index);
        }
        Ok(shown)
    }

    /// Two reads that begin with the same put, or with none, of which neither shows a beginning of the other.
    fn fork(&self, one: usize, other: usize) -> Box<Violation> {
        let orders = [one, other].map(|read| self.shown(read).unwrap_or_default());
        let common = orders[0].iter().zip(&orders[1]).take_while(|(a, b)| a == b).count();
        let reads = [one, other].map(|read| self.events[read].id);
        let mut ops = reads.to_vec();
        let mut why = vec![Why::Text(format!("Writes that both show in the same order, from the first: {common}"))];
        for (read, order) in reads.into_iter().zip(&orders) {
            if let Some(write) = order.get(common) {
                ops.push(self.events[*write].id);
                why.push(Why::Of(read, format!("then shows {}", self.word(*write))));
            }
        }
        why.push(Why::Text("An append adds at the end: one copy cannot have had both".into()));
        self.violation(Anomaly::Fork, &ops, &why)
    }

    fn violation(&self, anomaly: Anomaly, ops: &[usize], why: &[Why]) -> Box<Violation> {
        Violation::new(self.prepared.history, anomaly, Some(self.prepared.keys[self.key]), ops, why)
    }

    /// What a read shows, as operations.
    pub(crate) fn ops_shown(&self, read: usize) -> Vec<usize> {
        self.index(read).and_then(|read| self.shown(read)).unwrap_or_default().into_iter().map(|index| self.events[index].id).collect()
    }

    fn index(&self, op: usize) -> Option<usize> {
        self.reads().find(|read| self.events[*read].id == op)
    }

    /// What a read does not show, and had to: its name, the operations that prove it, and why.
    pub(crate) fn missing(&self, op: usize) -> Option<(Anomaly, Vec<usize>, Vec<Why>)> {
        let read = self.index(op)?;
        let shown = self.shown(read)?;
        let base = self.base(&shown);
        let id = |index: usize| self.events[index].id;
        // A read that was over before and shows more behind the same put.
        let more = self.reads().find_map(|other| {
            let more = self.found(other);
            let later = self.over(other, read) && more.len() > self.found(read).len() && more.starts_with(self.found(read));
            let more = self.shown(other).filter(|more| later && self.base(more) == base)?;
            Some((other, more[shown.len()]))
        });
        if let Some((other, write)) = more {
            let why = vec![
                Why::Before(id(other), op),
                Why::Of(id(other), format!("shows {}", self.word(write))),
                Why::Of(op, format!("no longer does: it shows {}", show_value(Some(self.found(read))))),
            ];
            return Some((Anomaly::NonMonotonicRead, vec![op, id(other), id(write)], why));
        }
        // All that was called when the put was over, and was over when the read was called.
        let is_missing = |write: &usize| {
            !matches!(self.events[*write].does, Does::Read { .. })
                && self.over(*write, read)
                && base.is_none_or(|base| self.over(base, *write))
                && !shown.contains(write)
        };
        let write = (0..self.events.len()).filter(is_missing).max_by_key(|write| self.events[*write].end)?;
        let mut why: Vec<Why> = base.map(|base| Why::Before(id(base), id(write))).into_iter().collect();
        why.push(Why::Before(id(write), op));
        why.push(Why::Of(op, format!("shows nothing of {}", self.word(write))));
        let ops: Vec<usize> = [op, id(write)].into_iter().chain(base.map(id)).collect();
        let is_seen = self.reads().any(|other| self.shown(other).is_some_and(|shown| shown.contains(&write)));
        if !is_seen {
            why.push(Why::Text("Nor does any other read".into()));
        }
        Some((if is_seen { Anomaly::StaleRead } else { Anomaly::LostWrite }, ops, why))
    }
}
