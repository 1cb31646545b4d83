//! A node's own clock, which does not run like the others', and the ticks that it counts: as in the real loop, parts of ticks add up and a
//! gap is counted whole.

/// Monotonic time since the start of a process.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    rate_permille: u64,
    tick_us: u64,
    started_us: u64,
    /// On this clock.
    last_tick_us: u64,
}

impl Clock {
    pub(crate) fn new(rate_permille: u64) -> Clock {
        Clock { rate_permille, tick_us: 1, started_us: 0, last_tick_us: 0 }
    }

    /// A process starts: its time begins anew.
    pub(crate) fn start(&mut self, now_us: u64, tick_us: u64) {
        (self.started_us, self.tick_us, self.last_tick_us) = (now_us, tick_us, 0);
    }

    /// What this clock shows.
    pub(crate) fn micros(&self, now_us: u64) -> u64 {
        (now_us - self.started_us) * self.rate_permille / 1_000
    }

    /// Ticks that have passed since the last call.
    pub(crate) fn take_ticks(&mut self, now_us: u64) -> u32 {
        let ticks = (self.micros(now_us) - self.last_tick_us) / self.tick_us;
        self.last_tick_us += ticks * self.tick_us;
        u32::try_from(ticks).unwrap_or(u32::MAX)
    }

    /// True time until the next tick is due.
    pub(crate) fn until_tick_us(&self, now_us: u64) -> u64 {
        let due_us = self.started_us + ((self.last_tick_us + self.tick_us) * 1_000).div_ceil(self.rate_permille);
        due_us.saturating_sub(now_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fast_clock_ticks_more_often_and_a_gap_is_counted_whole() {
        let mut clock = Clock::new(1_200);
        clock.start(5_000, 10_000);
        assert_eq!(clock.until_tick_us(5_000), 8_334);
        let at = |true_us: u64| 5_000 + true_us;
        let ticks: Vec<u32> = [8_333, 8_334, 16_000, 100_000, 3_100_000].map(|true_us| clock.take_ticks(at(true_us))).into();
        assert_eq!(ticks, [0, 1, 0, 11, 360]);
        assert_eq!((clock.micros(at(100_000)), clock.until_tick_us(at(3_101_000))), (120_000, 7_334));
    }
}
