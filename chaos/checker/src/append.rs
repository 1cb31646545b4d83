//! Keys that are only appended to, each time with another value: a read shows the whole order, so the order need not be searched.
//!
//! The longest read gives the order of the appends it shows; every other read must show a beginning of it. That puts every operation in
//! its place, and what remains is to compare the places with the clock. Appends that no read shows stand behind all reads.

use crate::Judged;
use crate::history::Call;
use crate::model::{Does, Event, Key, Prepared};
use crate::order;
use crate::verdict::{Anomaly, Violation, Why, show, show_value};

/// Who appended a value.
#[derive(Clone, Copy)]
pub(crate) enum By {
    /// An event's index.
    Event(usize),
    /// An operation that was refused.
    Refused(usize),
}

/// What was appended, such that a value can be cut into what it is made of in one way only.
pub(crate) struct Words {
    /// In order.
    words: Vec<(Vec<u8>, By)>,
    /// Read from the back: no word ends with another, while some begin with another.
    backwards: bool,
}

impl Words {
    pub(crate) fn new(mut words: Vec<(Vec<u8>, By)>) -> Option<Words> {
        for backwards in [false, true] {
            if backwards {
                words.iter_mut().for_each(|(word, _)| word.reverse());
            }
            words.sort_by(|a, b| a.0.cmp(&b.0));
            // In byte order, the first word that begins with another stands right behind it.
            if words.windows(2).all(|pair| !pair[1].0.starts_with(&pair[0].0)) {
                return Some(Words { words, backwards });
            }
        }
        None
    }

    /// The words that make up `value`, each with its length.
    pub(crate) fn cut(&self, value: &[u8]) -> Option<Vec<(By, usize)>> {
        let mut value = value.to_vec();
        if self.backwards {
            value.reverse();
        }
        let (mut found, mut rest) = (Vec::new(), &value[..]);
        while !rest.is_empty() {
            let (word, by) = self.words[..self.words.partition_point(|(word, _)| word.as_slice() <= rest)].last()?;
            rest = rest.strip_prefix(word.as_slice())?;
            found.push((*by, word.len()));
        }
        if self.backwards {
            found.reverse();
        }
        Some(found)
    }
}

/// What the judgement is about.
struct Case<'a, 'h> {
    prepared: &'a Prepared<'h>,
    key: Key,
    events: &'a [Event<'h>],
}

pub(crate) fn judge(prepared: &Prepared<'_>, key: Key, events: &[Event<'_>], refused: &[usize]) -> Judged {
    let mut words = Vec::new();
    let mut longest: Option<usize> = None;
    for (index, event) in events.iter().enumerate() {
        match event.does {
            Does::Append { value, .. } if !value.is_empty() => words.push((value.to_vec(), By::Event(index))),
            Does::Read { found, .. } if found != Some(b"") => {
                if longest.is_none_or(|longest| len(&events[longest]) < len(event)) {
                    longest = Some(index);
                }
            }
            _ => return Judged::NotMine,
        }
    }
    for id in refused {
        match &prepared.history.ops()[*id].call {
            Call::Append { value, .. } if !value.is_empty() => words.push((value.clone(), By::Refused(*id))),
            _ => {}
        }
    }
    let Some(words) = Words::new(words) else { return Judged::NotMine };
    match (Case { prepared, key, events }).judge(&words, longest) {
        Some(violation) => Judged::Broken(violation),
        None => Judged::Fits,
    }
}

fn found<'h>(event: &Event<'h>) -> &'h [u8] {
    match event.does {
        Does::Read { found, .. } => found.unwrap_or_default(),
        _ => b"",
    }
}

fn len(event: &Event<'_>) -> usize {
    found(event).len()
}

impl Case<'_, '_> {
    fn judge(&self, words: &Words, longest: Option<usize>) -> Option<Box<Violation>> {
        let order = match longest {
            Some(longest) => match self.cut(words, longest) {
                Ok(order) => order,
                Err(violation) => return Some(violation),
            },
            None => Vec::new(),
        };
        // How many appends a read of so many bytes shows.
        let mut ends = vec![0];
        ends.extend(order.iter().scan(0, |end, (_, len)| {
            *end += len;
            Some(*end)
        }));
        let mut ranked = Vec::with_capacity(self.events.len());
        let mut shown = vec![false; self.events.len()];
        for (place, (index, _)) in order.iter().enumerate() {
            shown[*index] = true;
            ranked.push((2 * place + 1, *index));
        }
        for (index, event) in self.events.iter().enumerate() {
            if let Does::Append { .. } = event.does {
                if !shown[index] && !event.maybe {
                    ranked.push((2 * order.len() + 1, index));
                }
                continue;
            }
            let longest = longest.expect("there is a read");
            if !found(&self.events[longest]).starts_with(found(event)) {
                return Some(self.fork(words, longest, index));
            }
            match ends.binary_search(&len(event)) {
                Ok(count) => ranked.push((2 * count, index)),
                Err(_) => return Some(self.cut(words, index).err().unwrap_or_else(|| self.torn(longest, index))),
            }
        }
        let (behind, ahead) = order::contradiction(self.events, ranked)?;
        Some(self.late(&order, &shown, behind, ahead))
    }

    /// The appends that a read shows, with their lengths; each must have been made, and once.
    fn cut(&self, words: &Words, read: usize) -> Result<Vec<(usize, usize)>, Box<Violation>> {
        let id = self.events[read].id;
        let Some(cut) = words.cut(found(&self.events[read])) else {
            return Err(self.violation(Anomaly::PhantomValue, &[id], &[Why::Of(id, "shows bytes that nobody appended".into())]));
        };
        let mut seen = vec![false; self.events.len()];
        let mut order = Vec::with_capacity(cut.len());
        for (by, len) in cut {
            let index = match by {
                By::Event(index) => index,
                By::Refused(op) => {
                    let why = Why::Of(id, "shows what was appended by a call that was refused".into());
                    return Err(self.violation(Anomaly::PhantomValue, &[id, op], &[why]));
                }
            };
            if std::mem::replace(&mut seen[index], true) {
                let append = self.events[index].id;
                let why = Why::Of(id, format!("shows {} twice; it was appended once", self.word(index)));
                return Err(self.violation(Anomaly::Duplicate, &[id, append], &[why]));
            }
            order.push((index, len));
        }
        Ok(order)
    }

    fn word(&self, append: usize) -> String {
        match self.events[append].does {
            Does::Append { value, .. } => show(value),
            _ => String::new(),
        }
    }

    /// Two reads of which neither shows a beginning of the other.
    fn fork(&self, words: &Words, one: usize, other: usize) -> Box<Violation> {
        let orders = match (self.cut(words, one), self.cut(words, other)) {
            (Ok(one), Ok(other)) => [one, other],
            (Err(violation), _) | (_, Err(violation)) => return violation,
        };
        let common = orders[0].iter().zip(&orders[1]).take_while(|(a, b)| a == b).count();
        let [one, other] = [one, other].map(|read| self.events[read].id);
        let mut ops = vec![one, other];
        let mut why = vec![Why::Text(format!("Appends that both show in the same order, from the first: {common}"))];
        for (read, order) in [one, other].into_iter().zip(&orders) {
            if let Some((append, _)) = order.get(common) {
                ops.push(self.events[*append].id);
                why.push(Why::Of(read, format!("then shows {}", self.word(*append))));
            }
        }
        why.push(Why::Text("An append adds at the end: one copy cannot have had both".into()));
        self.violation(Anomaly::Fork, &ops, &why)
    }

    fn torn(&self, longest: usize, read: usize) -> Box<Violation> {
        let [longest, read] = [longest, read].map(|read| self.events[read].id);
        self.violation(Anomaly::PhantomValue, &[read, longest], &[Why::Of(read, "shows a part of an append".into())])
    }

    /// `behind` stands behind `ahead` in the order that the reads show, and was over before `ahead` was called.
    fn late(&self, order: &[(usize, usize)], shown: &[bool], behind: usize, ahead: usize) -> Box<Violation> {
        let [last, first] = [behind, ahead].map(|index| &self.events[index]);
        let is_append = |event: &Event<'_>| matches!(event.does, Does::Append { .. });
        let mut ops = vec![first.id, last.id];
        let mut why = vec![Why::Before(last.id, first.id)];
        let anomaly = match (is_append(last), is_append(first)) {
            (true, true) => {
                why.push(Why::Of(last.id, format!("stands behind {} in every read that shows both", self.word(ahead))));
                let both = self.events.iter().find(|event| len(event) > 0 && order.iter().map(|(_, len)| len).sum::<usize>() == len(event));
                ops.extend(both.map(|event| event.id));
                if shown[behind] { Anomaly::ReorderedWrites } else { Anomaly::LostWrite }
            }
            (true, false) if shown[behind] => {
                why.push(Why::Of(first.id, format!("does not show {}", self.word(behind))));
                let seen = self.events.iter().find(|event| len(event) > len(first));
                if let Some(seen) = seen {
                    ops.push(seen.id);
                    why.push(Why::Of(seen.id, "does".into()));
                }
                Anomaly::StaleRead
            }
            (true, false) => {
                why.push(Why::Of(first.id, format!("does not show {}, nor does any other read", self.word(behind))));
                Anomaly::LostWrite
            }
            (false, true) => {
                why.push(Why::Of(last.id, format!("shows {} before anybody appended it", self.word(ahead))));
                Anomaly::PhantomValue
            }
            (false, false) => {
                let (append, _) = order[self.count(order, first)];
                ops.push(self.events[append].id);
                why.push(Why::Of(last.id, format!("shows {}", self.word(append))));
                why.push(Why::Of(first.id, format!("no longer does: it shows {}", show_value(Some(found(first))))));
                Anomaly::NonMonotonicRead
            }
        };
        self.violation(anomaly, &ops, &why)
    }

    /// How many appends a read shows.
    fn count(&self, order: &[(usize, usize)], read: &Event<'_>) -> usize {
        let mut left = len(read);
        order.iter().take_while(|(_, len)| left.checked_sub(*len).map(|less| left = less).is_some()).count()
    }

    fn violation(&self, anomaly: Anomaly, ops: &[usize], why: &[Why]) -> Box<Violation> {
        Violation::new(self.prepared.history, anomaly, Some(self.prepared.keys[self.key]), ops, why)
    }
}
