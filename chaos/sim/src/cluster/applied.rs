//! The commands of a script among all that was applied: which of them took effect, and in which order. What every node applies is in the
//! ledger, which is held against the states of all nodes at every step: APPLY-CHECK.

use std::collections::BTreeMap;

use raft::Index;
use wire::command::SessionId;

use crate::ledger::Ledger;

/// See the [module](self).
#[derive(Default)]
pub(crate) struct Applied {
    /// What was proposed, and in which session: each has its own.
    numbers: BTreeMap<SessionId, u32>,
    values: Vec<Vec<u8>>,
    /// Read up to here.
    last: Index,
    /// Where a command took effect, and which, in the order of the log.
    order: Vec<(Index, u32)>,
    ordinals: BTreeMap<u32, usize>,
}

impl Applied {
    /// A command on its way: its number.
    pub(super) fn proposed(&mut self, session: SessionId, value: &[u8]) -> u32 {
        let number = u32::try_from(self.values.len()).expect("a few");
        self.numbers.insert(session, number);
        self.values.push(value.to_vec());
        number
    }

    /// Reads on.
    pub(super) fn read(&mut self, ledger: &Ledger) {
        while self.last < ledger.last_index() {
            self.last = self.last.next();
            let Some(identity) = ledger.identity_at(self.last) else { continue };
            let Some(number) = self.numbers.get(&identity.0).copied() else { continue };
            assert_eq!(ledger.effect(&identity), Some(self.last), "a command is applied and does nothing");
            self.order.push((self.last, number));
            let twice = self.ordinals.insert(number, self.order.len());
            assert_eq!(twice, None, "command {number} was applied twice");
        }
    }

    /// How many commands there are up to this index.
    pub(super) fn count(&self, index: Index) -> usize {
        self.order.partition_point(|(at, _)| *at <= index)
    }

    /// Its place among all of them, from 1.
    pub(super) fn ordinal(&self, number: u32) -> Option<usize> {
        self.ordinals.get(&number).copied()
    }

    /// The key and the value that a command in this place must have left.
    pub(super) fn left_by(&self, ordinal: usize) -> Option<(Vec<u8>, &[u8])> {
        let (_, number) = *self.order.get(ordinal.checked_sub(1)?)?;
        Some((key(number), &self.values[number as usize]))
    }
}

/// Every command puts a key of its own.
pub(super) fn key(number: u32) -> Vec<u8> {
    format!("l{number}").into_bytes()
}
