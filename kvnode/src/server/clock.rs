//! Time as ticks: how many are due, and how long the poll may wait for the next.

use std::time::{Duration, Instant};

/// Monotonic time since the start, cut into ticks.
#[derive(Debug)]
pub(crate) struct Clock {
    start: Instant,
    tick: Duration,
    last_tick: Instant,
}

impl Clock {
    /// The first tick is due one tick from now.
    pub(crate) fn new(tick: Duration, now: Instant) -> Clock {
        Clock { start: now, tick, last_tick: now }
    }

    /// Ticks that have passed since the last call.
    pub(crate) fn due(&mut self, now: Instant) -> u32 {
        let ticks = u32::try_from(now.duration_since(self.last_tick).as_nanos() / self.tick.as_nanos()).unwrap_or(u32::MAX);
        self.last_tick = self.last_tick.checked_add(self.tick.saturating_mul(ticks)).unwrap_or(now);
        ticks
    }

    /// Until the next tick.
    pub(crate) fn wait(&self, now: Instant) -> Duration {
        (self.last_tick + self.tick).saturating_duration_since(now)
    }

    /// Microseconds since the start.
    pub(crate) fn micros(&self, now: Instant) -> u64 {
        u64::try_from(now.duration_since(self.start).as_micros()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_ticks_add_up_and_a_gap_is_counted_whole() {
        let ms = Duration::from_millis;
        let start = Instant::now();
        let mut clock = Clock::new(ms(10), start);
        let due: Vec<u32> = [9, 10, 19, 25, 30, 5034, 5040].into_iter().map(|at| clock.due(start + ms(at))).collect();
        assert_eq!(due, [0, 1, 0, 1, 1, 500, 1]);
        assert_eq!(clock.wait(start + ms(5043)), ms(7));
        assert_eq!(clock.wait(start + ms(9000)), ms(0));
        assert_eq!(clock.micros(start + ms(3)), 3000);
    }
}
