//! Keys that are only put, each time another value: every read names its write, so the order need not be searched (Gibbons and Korach,
//! "Testing Shared Memories", 1997).
//!
//! A write and its reads stand together in any order that fits. So one value must come before another as soon as one operation of the
//! first was over before one of the second was called, and nothing is wrong unless two values must each come before the other.

use std::collections::HashMap;

use crate::Judged;
use crate::history::Call;
use crate::model::{Does, Event, Key, Prepared, over_before};
use crate::verdict::{Anomaly, Violation, Why, show, show_value};

/// A value: its write and what read it, as indexes of events.
struct Zone {
    write: usize,
    is_read: bool,
    /// Whichever was over first.
    first_over: usize,
    /// Whichever was called last.
    last_called: usize,
}

struct Case<'a, 'h> {
    prepared: &'a Prepared<'h>,
    key: Key,
    events: &'a [Event<'h>],
}

pub(crate) fn judge(prepared: &Prepared<'_>, key: Key, events: &[Event<'_>], refused: &[usize]) -> Judged {
    let mut zones: Vec<Zone> = Vec::new();
    let mut of_value: HashMap<&[u8], usize> = HashMap::new();
    for (index, event) in events.iter().enumerate() {
        match event.does {
            Does::Put { value, .. } => {
                if of_value.insert(value, zones.len()).is_some() {
                    return Judged::NotMine;
                }
                zones.push(Zone { write: index, is_read: false, first_over: index, last_called: index });
            }
            Does::Read { .. } => {}
            _ => return Judged::NotMine,
        }
    }
    let case = Case { prepared, key, events };
    match case.judge(&mut zones, &of_value, refused) {
        Some(violation) => Judged::Broken(violation),
        None => Judged::Fits,
    }
}

impl<'h> Case<'_, 'h> {
    fn over(&self, first: usize, second: usize) -> bool {
        over_before(self.events[first].end, self.events[second].call)
    }

    fn found(&self, event: usize) -> Option<&'h [u8]> {
        match self.events[event].does {
            Does::Read { found, .. } => found,
            Does::Put { value, .. } => Some(value),
            _ => None,
        }
    }

    fn judge(&self, zones: &mut Vec<Zone>, of_value: &HashMap<&[u8], usize>, refused: &[usize]) -> Option<Box<Violation>> {
        let mut last_absent: Option<usize> = None;
        for (index, event) in self.events.iter().enumerate() {
            let Does::Read { found, .. } = event.does else { continue };
            let Some(value) = found else {
                last_absent = Some(index); // events are in order of their calls
                continue;
            };
            let Some(zone) = of_value.get(value) else { return Some(self.phantom(index, refused)) };
            let zone = &mut zones[*zone];
            if self.over(index, zone.write) {
                let (read, write) = (event.id, self.events[zone.write].id);
                let why = [Why::Before(read, write), Why::Of(read, "read it before anybody wrote it".into())];
                return Some(self.violation(Anomaly::PhantomValue, &[read, write], &why));
            }
            zone.is_read = true;
            if event.end < self.events[zone.first_over].end {
                zone.first_over = index;
            }
            if event.call >= self.events[zone.last_called].call {
                zone.last_called = index;
            }
        }
        // A write that may not have happened and that nobody saw did not.
        zones.retain(|zone| zone.is_read || self.events[zone.write].end != u64::MAX);
        if let Some(absent) = last_absent
            && let Some(zone) = zones.iter().min_by_key(|zone| self.events[zone.first_over].end)
            && self.over(zone.first_over, absent)
        {
            return Some(self.late(zones, zone, absent, None));
        }
        // Those that are read after they are over are closed to all others from one moment to another; the rest can be anywhere in between.
        let (mut closed, open): (Vec<&Zone>, Vec<&Zone>) = zones.iter().partition(|zone| self.over(zone.first_over, zone.last_called));
        closed.sort_by_key(|zone| self.events[zone.first_over].end);
        let pair = closed.windows(2).map(|pair| (pair[0], pair[1])).find(|(a, b)| self.over(b.first_over, a.last_called));
        let pair = pair.or_else(|| {
            open.into_iter().find_map(|zone| {
                let before = closed.partition_point(|other| self.over(other.first_over, zone.last_called));
                let other = *closed[..before].last()?;
                self.over(zone.first_over, other.last_called).then_some((other, zone))
            })
        });
        let (a, b) = pair?;
        // Each must come before the other. Told from the side of the read that is too old, if possible the one whose write came first.
        let score = |old: &Zone, new: &Zone| {
            let is_read = old.last_called != old.write;
            (is_read, self.over(old.write, new.write), new.first_over == new.write)
        };
        let (old, new) = if score(a, b) >= score(b, a) { (a, b) } else { (b, a) };
        Some(self.late(zones, new, old.last_called, Some(old)))
    }

    /// `read` found `old` (`None`: no such key) although an operation on `new` was over before it was called, and `old` came first.
    fn late(&self, zones: &[Zone], new: &Zone, read: usize, old: Option<&Zone>) -> Box<Violation> {
        let id = |index: usize| self.events[index].id;
        let mut ops = vec![id(read), id(new.first_over), id(new.write)];
        let mut why = Vec::new();
        if let Some(old) = old {
            ops.extend([id(old.write), id(old.first_over), id(new.last_called)]);
            why.push(Why::Before(id(old.first_over), id(new.last_called)));
            let (old, new) = (show_value(self.found(old.write)), show_value(self.found(new.write)));
            why.push(Why::Text(format!("So {old} was there before {new}")));
        }
        why.push(Why::Before(id(new.first_over), id(read)));
        let anomaly = if new.first_over != new.write {
            why.push(Why::Of(id(new.first_over), format!("read {}", show_value(self.found(new.write)))));
            Anomaly::NonMonotonicRead
        } else if !new.is_read && !self.is_overwritten(zones, new) {
            why.push(Why::Text(format!("Nobody ever read {}", show_value(self.found(new.write)))));
            Anomaly::LostWrite
        } else {
            Anomaly::StaleRead
        };
        why.push(Why::Of(id(read), format!("still read {}", show_value(self.found(read)))));
        self.violation(anomaly, &ops, &why)
    }

    /// Whether a value was read that may have taken the place of `zone`'s.
    fn is_overwritten(&self, zones: &[Zone], zone: &Zone) -> bool {
        zones.iter().any(|other| {
            other.is_read && other.write != zone.write && !self.over(other.write, zone.write) && self.over(zone.write, other.last_called)
        })
    }

    fn phantom(&self, read: usize, refused: &[usize]) -> Box<Violation> {
        let id = self.events[read].id;
        let found = self.found(read).unwrap_or_default();
        let by = refused.iter().find(|op| matches!(&self.prepared.history.ops()[**op].call, Call::Put { value, .. } if value == found));
        let why = match by {
            Some(_) => "read what was put by a call that was refused".into(),
            None => format!("read {}, which nobody wrote", show(found)),
        };
        let ops: Vec<usize> = [id].into_iter().chain(by.copied()).collect();
        self.violation(Anomaly::PhantomValue, &ops, &[Why::Of(id, why)])
    }

    fn violation(&self, anomaly: Anomaly, ops: &[usize], why: &[Why]) -> Box<Violation> {
        Violation::new(self.prepared.history, anomaly, Some(self.prepared.keys[self.key]), ops, why)
    }
}
