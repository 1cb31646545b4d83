//! The order that the positions claim: replayed on one copy, and held against the clock.
//!
//! A write stands at its position; what only reads stands behind the writes at and before its own. A write of unknown outcome without a
//! position is put wherever an answer shows it ([`crate::place`]). What passes is linearizable, whoever made the positions up: they are
//! only a hint at the order. What fails breaks a promise, and the other tiers are asked which.

use std::ops::RangeInclusive;

use crate::check::Limits;
use crate::model::{Does, Event, Key, Model, Prepared};
use crate::order;
use crate::place::{Next, Placed, place};
use crate::verdict::{Anomaly, Violation, Why, show_value};
use crate::versions;

/// What came of it.
pub(crate) enum Witness {
    Fits,
    /// Nothing contradicts, but not all that was answered says where it took effect.
    Untold,
    Broken {
        violation: Box<Violation>,
        key: Option<Key>,
        /// Whether no place for writes of unknown outcome can mend it.
        certain: bool,
        /// Whether it is the clock that contradicts, not the answers.
        by_time: bool,
    },
}

pub(crate) fn witness(prepared: &Prepared<'_>, limits: &Limits) -> Witness {
    let events = &prepared.events;
    let is_untold = |event: &&Event<'_>| event.position.is_none() && !event.maybe;
    let mut ranked: Vec<((u64, bool), usize)> = Vec::with_capacity(events.len());
    for (index, event) in events.iter().enumerate() {
        ranked.extend(event.position.map(|position| ((position, event.does.only_reads()), index)));
    }
    ranked.sort_unstable();
    let untold = key_set(events.iter().filter(is_untold).filter(|event| !event.does.only_reads()));
    let replay = Replay { prepared, order: &ranked, untold };
    if let Some((violation, key)) = replay.shared_position().or_else(|| replay.against_the_clock()) {
        return Witness::Broken { violation, key, certain: true, by_time: true };
    }
    match replay.run(limits) {
        Witness::Fits if events.iter().any(|event| is_untold(&event)) => Witness::Untold,
        said => said,
    }
}

/// The keys of events, in order.
fn key_set<'e, 'h: 'e>(events: impl Iterator<Item = &'e Event<'h>>) -> Vec<Key> {
    let mut keys: Vec<Key> = events.filter_map(|event| event.does.key()).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

struct Replay<'a, 'h> {
    prepared: &'a Prepared<'h>,
    /// Positions, whether it only reads, index of the event.
    order: &'a [((u64, bool), usize)],
    /// Keys with writes that did happen and do not say where: what is on them cannot be replayed.
    untold: Vec<Key>,
}

impl<'h> Replay<'_, 'h> {
    fn event(&self, place: usize) -> &Event<'h> {
        &self.prepared.events[self.order[place].1]
    }

    fn shared_position(&self) -> Option<(Box<Violation>, Option<Key>)> {
        let place = (1..self.order.len()).find(|place| self.order[*place].0 == self.order[place - 1].0 && !self.order[*place].0.1)?;
        let [one, other] = [self.event(place - 1), self.event(place)];
        let why = [Why::Text(format!("Both took effect at position {}: there are two logs", self.order[place].0.0))];
        Some((self.violation(Anomaly::Fork, other.does.key(), &[one.id, other.id], &why), other.does.key()))
    }

    fn against_the_clock(&self) -> Option<(Box<Violation>, Option<Key>)> {
        let (behind, ahead) = order::contradiction(&self.prepared.events, self.order.to_vec())?;
        let [behind, ahead] = [behind, ahead].map(|index| &self.prepared.events[index]);
        let [late, early] = [behind, ahead].map(|event| event.position.unwrap_or_default());
        let why = [
            Why::Before(behind.id, ahead.id),
            Why::Of(behind.id, format!("took effect at position {late}")),
            Why::Of(ahead.id, format!("only at {early}")),
        ];
        Some((self.violation(order::name(behind, ahead), ahead.does.key(), &[ahead.id, behind.id], &why), ahead.does.key()))
    }

    fn run(&self, limits: &Limits) -> Witness {
        let events = &self.prepared.events;
        let keys = self.prepared.keys.len();
        // Keys with writes of which nobody said where they are, if anywhere: put aside.
        let is_untold = |key: Key| self.untold.binary_search(&key).is_ok();
        let mut aside = key_set(events.iter().filter(|event| event.maybe));
        aside.retain(|key| !is_untold(*key));
        let skip = |key: Key| is_untold(key) || aside.binary_search(&key).is_ok();
        let mut put_aside: Vec<Vec<usize>> = vec![Vec::new(); aside.len()];
        let mut model = Model::new(0..keys);
        let mut last_write: Vec<Option<usize>> = vec![None; keys];
        for (place, (_, index)) in self.order.iter().enumerate() {
            let event = &events[*index];
            let (key, fits) = match &event.does {
                Does::Scan { from, to, items } => {
                    let range = aside.partition_point(|key| key < from)..aside.partition_point(|key| key < to);
                    put_aside[range].iter_mut().for_each(|places| places.push(place));
                    let differs = model.scan_differs(*from, *to, items, skip);
                    (differs.unwrap_or(*from), differs.is_none())
                }
                does => {
                    let key = does.key().expect("not a scan");
                    if is_untold(key) {
                        continue;
                    }
                    if let Ok(slot) = aside.binary_search(&key) {
                        put_aside[slot].push(place);
                        continue;
                    }
                    (key, model.apply(does).is_some())
                }
            };
            if !fits {
                let (violation, key) = self.misfit(key, place, last_write[key], model.value(key));
                return Witness::Broken { violation, key: Some(key), certain: true, by_time: false };
            }
            if let Some(claimed) = event.version
                && !matches!(event.does, Does::Delete { .. } | Does::Scan { .. })
                && claimed != model.version(key)
            {
                let violation = self.wrong_version(key, event, claimed, last_write[key], model.version(key)..=model.version(key));
                return Witness::Broken { violation, key: Some(key), certain: true, by_time: true };
            }
            if !event.does.only_reads() {
                last_write[key] = Some(event.id);
            }
        }
        self.place_asides(&aside, &put_aside, limits)
    }

    fn place_asides(&self, aside: &[Key], put_aside: &[Vec<usize>], limits: &Limits) -> Witness {
        if aside.is_empty() {
            return Witness::Fits;
        }
        let mut over: Vec<u64> = (0..self.order.len()).map(|place| self.event(place).end).collect();
        for place in (1..over.len()).rev() {
            over[place - 1] = over[place - 1].min(over[place]);
        }
        let mut maybes: Vec<Vec<&Event<'_>>> = vec![Vec::new(); aside.len()];
        for event in self.prepared.events.iter().filter(|event| event.maybe) {
            if let Some(slot) = event.does.key().and_then(|key| aside.binary_search(&key).ok()) {
                maybes[slot].push(event);
            }
        }
        for ((key, places), maybes) in aside.iter().zip(put_aside).zip(&maybes) {
            let order: Vec<Next<'_>> =
                places.iter().map(|place| Next { event: self.event(*place).at_key(*key), over: over[*place] }).collect();
            let last_write = |at: usize| order[..at].iter().rev().find(|next| !next.event.does.only_reads()).map(|next| next.event.id);
            let placed = place(*key, &order, maybes, limits.steps_max);
            if let Placed::Stuck(stuck, value) = placed {
                let (violation, key) = self.misfit(*key, places[stuck], last_write(stuck), value.as_deref());
                return Witness::Broken { violation, key: Some(key), certain: true, by_time: false };
            }
            if let Some((at, can)) = versions::misfit(&order, maybes) {
                let event = &order[at].event;
                let violation = self.wrong_version(*key, event, event.version.unwrap_or_default(), last_write(at), can);
                return Witness::Broken { violation, key: Some(*key), certain: true, by_time: true };
            }
            if let Placed::GaveUp = placed {
                let (violation, key) = self.misfit(*key, places[0], None, None);
                return Witness::Broken { violation, key: Some(key), certain: false, by_time: false };
            }
        }
        Witness::Fits
    }

    /// The event at `place` cannot have found what it found.
    fn misfit(&self, key: Key, place: usize, last_write: Option<usize>, value: Option<&[u8]>) -> (Box<Violation>, Key) {
        let event = self.event(place).at_key(key);
        let mut ops = vec![event.id];
        ops.extend(last_write);
        let mut why = vec![Why::Text(format!("In order of the positions, {} was there", show_value(value)))];
        let found = match event.does {
            Does::Read { found, .. } => Some(found),
            Does::Cas { expect, swapped: Some(true), .. } => Some(expect),
            _ => None,
        };
        let leaves = |does: &Does<'_>| match (does, found) {
            (Does::Put { value, .. } | Does::Cas { value, .. }, Some(Some(found))) => *value == found,
            (Does::Append { value, .. }, Some(Some(found))) => found.ends_with(value),
            (Does::Delete { .. }, Some(None)) => true,
            _ => false,
        };
        let source = self.prepared.events.iter().find(|other| other.does.key() == Some(key) && other.id != event.id && leaves(&other.does));
        let anomaly = match (found, source) {
            (Some(Some(_)), None) => {
                why.push(Why::Of(event.id, "found what nobody wrote".into()));
                Anomaly::PhantomValue
            }
            (_, source) => {
                ops.extend(source.map(|source| source.id));
                why.push(Why::Of(event.id, "answered as if something else had been".into()));
                match source {
                    Some(source) if source.position > event.position => Anomaly::WrongPosition,
                    _ => Anomaly::StaleRead,
                }
            }
        };
        (self.violation(anomaly, Some(key), &ops, &why), key)
    }

    /// `can`: how many writes there can have been since the key was created.
    fn wrong_version(
        &self,
        key: Key,
        event: &Event<'_>,
        claimed: u64,
        last_write: Option<usize>,
        can: RangeInclusive<u64>,
    ) -> Box<Violation> {
        let ops: Vec<usize> = [event.id].into_iter().chain(last_write).collect();
        let (least, most) = (*can.start(), *can.end());
        let known = if least == most {
            format!("says version {claimed}; {most} writes are known since the key was created")
        } else {
            format!("says version {claimed}; since the key was created there were {least} to {most} writes, with those of unknown outcome")
        };
        let anomaly = if claimed > most { Anomaly::Duplicate } else { Anomaly::LostWrite };
        self.violation(anomaly, Some(key), &ops, &[Why::Of(event.id, known)])
    }

    fn violation(&self, anomaly: Anomaly, key: Option<Key>, ops: &[usize], why: &[Why]) -> Box<Violation> {
        Violation::new(self.prepared.history, anomaly, key.map(|key| self.prepared.keys[key]), ops, why)
    }
}
