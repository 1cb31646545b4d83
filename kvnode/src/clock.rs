//! Time as entries carry it.

/// Cluster time: the last entry's, plus what has passed since on this node's own clock. No wall clock anywhere, and a new leader goes on
/// where its log ends.
pub(crate) struct ClusterClock {
    pub(crate) last_entry_ms: u64,
    /// When that time was now, on this node's clock.
    pub(crate) last_entry_at_us: u64,
    pub(crate) now_us: u64,
}

impl ClusterClock {
    pub(crate) fn now_ms(&self) -> u64 {
        self.last_entry_ms.saturating_add(self.now_us.saturating_sub(self.last_entry_at_us) / 1000)
    }

    /// The log ends with an entry of this time now.
    pub(crate) fn entry(&mut self, time_ms: u64) {
        self.last_entry_at_us = if time_ms == self.now_ms() {
            // Of this clock's own making: the fraction of a millisecond since then counts for the next entry. With more than a thousand
            // entries a second all of time would be fractions.
            self.last_entry_at_us.saturating_add((time_ms - self.last_entry_ms).saturating_mul(1000))
        } else {
            self.now_us
        };
        self.last_entry_ms = time_ms;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_every_300_microseconds_lose_no_time() {
        let mut clock = ClusterClock { last_entry_ms: 50, last_entry_at_us: 700, now_us: 700 };
        for _ in 0..10_000 {
            clock.now_us += 300;
            clock.entry(clock.now_ms());
        }
        assert_eq!(clock.last_entry_ms, 50 + 3_000);
    }

    #[test]
    fn the_time_of_anothers_entry_is_taken_over_whatever_it_is() {
        let mut clock = ClusterClock { last_entry_ms: 50, last_entry_at_us: 0, now_us: 1_700 };
        for time_ms in [70, 40, u64::MAX] {
            clock.entry(time_ms);
            assert_eq!(clock.now_ms(), time_ms);
        }
        clock.now_us += 1_000_000;
        assert_eq!(clock.now_ms(), u64::MAX);
        clock.entry(u64::MAX);
        clock.entry(7);
        clock.now_us += 1_000;
        assert_eq!(clock.now_ms(), 8);
    }
}
