//! What a fault did, as seen from outside: packets, milliseconds, bytes. Not that a command returned 0.

use serde::Serialize;

use crate::host::link::{Counters, Policy};

/// Zero is nothing, and not written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub(crate) struct Effect {
    /// Packets dropped at cut links.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) packets_cut: u64,
    /// Packets answered by a reset.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) packets_reset: u64,
    /// Packets that vanished by chance.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) packets_lost: u64,
    /// Packets that arrived twice.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) packets_duplicated: u64,
    /// Packets that others overtook.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) packets_reordered: u64,
    /// Packets that took longer.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) packets_delayed: u64,
    /// How much longer, altogether.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) delayed_ms: u64,
    /// Packets dropped because too many waited for a slow link.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) packets_queue_full: u64,
    /// Processes that a SIGKILL ended.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) killed: u64,
    /// How long nodes had no process, added up.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) down_ms: u64,
    /// How long processes were stopped according to /proc, added up.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) stopped_ms: u64,
    /// Bytes of files cut off, changed, or put out of reach.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) bytes_lost: u64,
    /// Bytes that filled a disk until nothing more went.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) bytes_filled: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Effect {
    /// Adds what a link counted, as far as this policy can have done it: another fault may be at work on the same link.
    pub(crate) fn add_packets(&mut self, counters: Counters, policy: &Policy) {
        let if_it = |does: bool, count: u64| if does { count } else { 0 };
        let delays = !policy.delay.is_zero() || !policy.jitter.is_zero() || policy.rate.is_some();
        self.packets_cut += if_it(policy.cut, counters.cut);
        self.packets_reset += if_it(policy.reset, counters.reset);
        self.packets_lost += if_it(policy.loss > 0.0, counters.lost);
        self.packets_duplicated += if_it(policy.duplicate > 0.0, counters.duplicated);
        self.packets_reordered += if_it(policy.reorder > 0.0, counters.reordered);
        self.packets_delayed += if_it(delays, counters.delayed);
        self.delayed_ms += if_it(delays, counters.delayed_us / 1000);
        self.packets_queue_full += if_it(policy.rate.is_some(), counters.queue_full);
    }

    /// Whether it did nothing at all.
    pub(crate) fn is_nothing(&self) -> bool {
        *self == Effect::default()
    }

    /// Both of them.
    pub(crate) fn with(self, other: &Effect) -> Effect {
        Effect {
            packets_cut: self.packets_cut + other.packets_cut,
            packets_reset: self.packets_reset + other.packets_reset,
            packets_lost: self.packets_lost + other.packets_lost,
            packets_duplicated: self.packets_duplicated + other.packets_duplicated,
            packets_reordered: self.packets_reordered + other.packets_reordered,
            packets_delayed: self.packets_delayed + other.packets_delayed,
            delayed_ms: self.delayed_ms + other.delayed_ms,
            packets_queue_full: self.packets_queue_full + other.packets_queue_full,
            killed: self.killed + other.killed,
            down_ms: self.down_ms + other.down_ms,
            stopped_ms: self.stopped_ms + other.stopped_ms,
            bytes_lost: self.bytes_lost + other.bytes_lost,
            bytes_filled: self.bytes_filled + other.bytes_filled,
        }
    }
}
