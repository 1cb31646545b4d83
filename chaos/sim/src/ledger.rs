//! What was applied, as seen from outside: every entry once, in the order of the log, and what it did to the keys. It has its own idea of
//! what commands do, and never asks the session table which of them ran: it looks.

use std::collections::BTreeMap;

use kvnode::Node;
use raft::{ENTRY_HEADER_LEN, EntryHeader, EntryKind, Index};
use wire::Value;
use wire::command::{Command, Expect, Op, SessionId};
use wire::limits::VALUE_LEN_MAX;

use crate::failure::must;

/// A write of a clerk: session and number.
pub(crate) type Identity = (SessionId, u64);

/// See the [module](self).
#[derive(Default)]
pub(crate) struct Ledger {
    /// From index 1 on: the bytes, and the digest of the state behind them.
    entries: Vec<(Vec<u8>, u64)>,
    /// What was under every key, and since which index.
    keys: BTreeMap<Vec<u8>, Vec<(Index, Option<Value>)>>,
    /// Writes that changed something.
    effects: BTreeMap<Identity, Index>,
    /// Entries of writes that changed nothing although they could have: repeated, or refused.
    pub(crate) refused_count: u64,
}

impl Ledger {
    /// A node has applied `entry`, and nothing behind it yet.
    pub(crate) fn applied(&mut self, node: &Node, index: Index, entry: &[u8]) {
        let digest = node.digest().1;
        let place = usize::try_from(index.0 - 1).expect("a short log");
        if let Some((known, known_digest)) = self.entries.get(place) {
            let id = node.raft().id();
            must!(known == entry, "state machine safety (Raft 5.4.3)", "{id} applied another entry at {index} than others");
            must!(*known_digest == digest, "the same entries lead to the same state", "{id} has another state at {index} than others");
            return;
        }
        must!(place == self.entries.len(), "entries are applied in order", "{index} is applied before what is in front of it");
        self.entries.push((entry.to_vec(), digest));
        let Some((identity, op)) = write_in(entry) else { return };
        let before = self.value(op.key());
        let is_now = node.peek(op.key());
        match outcome(&op, before, index) {
            Some(after) if is_now == after => {
                let earlier = self.effects.insert(identity, index);
                must!(earlier.is_none(), "a call takes effect once", "{identity:?} at {index}, and at {earlier:?} before: {op:?}");
                self.keys.entry(op.key().to_vec()).or_default().push((index, after));
            }
            changes => {
                let is_as_before = is_now.as_ref() == before;
                must!(is_as_before, "commands do what they say", "{op:?} at {index} found {before:?} and left {is_now:?}");
                self.refused_count += u64::from(changes.is_some());
            }
        }
    }

    /// The state of a key behind everything that was applied.
    pub(crate) fn value(&self, key: &[u8]) -> Option<&Value> {
        self.keys.get(key).and_then(|history| history.last()).and_then(|(_, value)| value.as_ref())
    }

    /// The same as it was at `position`.
    pub(crate) fn value_at(&self, key: &[u8], position: Index) -> Option<&Value> {
        let history = self.keys.get(key)?;
        let next = history.partition_point(|(since, _)| *since <= position);
        history[..next].last().and_then(|(_, value)| value.as_ref())
    }

    /// Every key that there ever was, in byte order.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.keys.keys()
    }

    /// Where this write took effect.
    pub(crate) fn effect(&self, identity: &Identity) -> Option<Index> {
        self.effects.get(identity).copied()
    }

    /// The writes of the same session that were called before this one, and where they took effect.
    pub(crate) fn effects_before(&self, (session, seq): Identity) -> impl Iterator<Item = (&Identity, &Index)> {
        self.effects.range((session, 0)..(session, seq))
    }

    /// The last index that anybody has applied.
    pub(crate) fn last_index(&self) -> Index {
        Index(self.entries.len() as u64)
    }

    /// Whose write stands at `position`.
    pub(crate) fn identity_at(&self, position: Index) -> Option<Identity> {
        let place = usize::try_from(position.0.checked_sub(1)?).expect("a short log");
        write_in(&self.entries.get(place)?.0).map(|(identity, _)| identity)
    }
}

fn write_in(entry: &[u8]) -> Option<(Identity, Op<'_>)> {
    let header = EntryHeader::decode(entry).expect("what was applied is an entry");
    if header.kind != EntryKind::Command {
        return None;
    }
    match Command::decode(&entry[ENTRY_HEADER_LEN..]).expect("what was applied is a command") {
        Command::Write { call, op } => Some(((call.session, call.seq), op)),
        Command::Announce(_) => None,
    }
}

/// What a write leaves under its key if it runs; `None`: it changes nothing.
fn outcome(op: &Op<'_>, before: Option<&Value>, index: Index) -> Option<Option<Value>> {
    let set = |value: &[u8]| {
        let version = before.map_or(1, |before| before.version + 1);
        Some(Some(Value { value: value.to_vec(), version, modified: index }))
    };
    match op {
        Op::Put { value, .. } => set(value),
        Op::Append { value, .. } => {
            let whole = [before.map_or(&[][..], |before| &before.value), value].concat();
            if whole.len() > VALUE_LEN_MAX { None } else { set(&whole) }
        }
        Op::Delete { .. } => before.map(|_| None),
        Op::Cas { expect, value, .. } => {
            let is_expected = match expect {
                Expect::Absent => before.is_none(),
                Expect::Value(expected) => before.is_some_and(|before| before.value == *expected),
                Expect::Version(version) => before.is_some_and(|before| before.version == *version),
            };
            if is_expected { set(value) } else { None }
        }
    }
}
