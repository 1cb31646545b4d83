//! Time as entries carry it.

/// Cluster time: the last entry's, plus what has passed since on this node's own clock. No wall clock anywhere, and a new leader goes on
/// where its log ends.
pub(crate) struct ClusterClock {
    pub(crate) last_entry_ms: u64,
    pub(crate) last_entry_at_us: u64,
    pub(crate) now_us: u64,
}

impl ClusterClock {
    pub(crate) fn now_ms(&self) -> u64 {
        self.last_entry_ms.saturating_add(self.now_us.saturating_sub(self.last_entry_at_us) / 1000)
    }

    pub(crate) fn entry(&mut self, time_ms: u64) {
        self.last_entry_ms = time_ms;
        self.last_entry_at_us = self.now_us;
    }
}
