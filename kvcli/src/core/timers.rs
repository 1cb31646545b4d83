//! When each call is due for a look though nothing happens. In order, so that a turn costs nothing for those that are not due: a hundred
//! thousand may wait, and there is a turn for every few answers.

use std::collections::BTreeSet;

use super::call::Call;
use super::{CallNumber, Patience};

/// Every call is in here once, from its first place to its end.
#[derive(Debug, Default)]
pub(super) struct Timers(BTreeSet<(u64, CallNumber)>);

impl Timers {
    /// The call may have come to something else to wait for.
    pub(super) fn set(&mut self, number: CallNumber, call: &mut Call, patience: &Patience) {
        let due_us = call.next_due_us(patience);
        if call.timer_us != Some(due_us) {
            self.clear(number, call);
            self.0.insert((due_us, number));
            call.timer_us = Some(due_us);
        }
    }

    /// The call is over.
    pub(super) fn clear(&mut self, number: CallNumber, call: &mut Call) {
        if let Some(due_us) = call.timer_us.take() {
            self.0.remove(&(due_us, number));
        }
    }

    /// All that are due by now.
    pub(super) fn due(&self, now_us: u64) -> BTreeSet<CallNumber> {
        self.0.iter().take_while(|(due_us, _)| *due_us <= now_us).map(|(_, number)| *number).collect()
    }

    /// When the first is due.
    pub(super) fn first_us(&self) -> Option<u64> {
        self.0.first().map(|(due_us, _)| *due_us)
    }
}
