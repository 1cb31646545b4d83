//! One directed link: what is wrong with it, and what that has done so far.

use std::time::Duration;

use serde::Serialize;

/// What is wrong with a link, one way. The default: nothing.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(crate) struct Policy {
    /// Nothing passes.
    pub(crate) cut: bool,
    /// A TCP segment is answered by a reset, to both sides, and does not pass.
    pub(crate) reset: bool,
    /// The part of the packets that vanishes, 0 to 1.
    pub(crate) loss: f64,
    /// The part that arrives twice.
    pub(crate) duplicate: f64,
    /// The part that is held back for up to [`REORDER_HOLD`], each for its own time: what is sent meanwhile overtakes it.
    pub(crate) reorder: f64,
    /// Every packet takes this much longer.
    pub(crate) delay: Duration,
    /// And up to this much more, drawn for each; they stay in order.
    pub(crate) jitter: Duration,
    /// Bytes per second.
    pub(crate) rate: Option<u64>,
}

/// What held-back packets are held back for at most: many times what it takes to send some more.
pub(crate) const REORDER_HOLD: Duration = Duration::from_millis(20);
/// What may wait for a slow link: past it packets are dropped, as a router does.
pub(crate) const RATE_QUEUE: Duration = Duration::from_millis(500);

impl Policy {
    /// Both at once.
    pub(crate) fn and(self, other: Policy) -> Policy {
        // A part of what is left after the other has taken its part.
        let either = |a: f64, b: f64| 1.0 - (1.0 - a) * (1.0 - b);
        Policy {
            cut: self.cut || other.cut,
            reset: self.reset || other.reset,
            loss: either(self.loss, other.loss),
            duplicate: either(self.duplicate, other.duplicate),
            reorder: either(self.reorder, other.reorder),
            delay: self.delay + other.delay,
            jitter: self.jitter + other.jitter,
            rate: [self.rate, other.rate].into_iter().flatten().min(),
        }
    }

    /// Whether a packet may take longer by this than by the other.
    pub(crate) fn is_slower_than(&self, other: &Policy) -> bool {
        let rate = |policy: &Policy| policy.rate.unwrap_or(u64::MAX);
        self.delay > other.delay || self.jitter > other.jitter || rate(self) < rate(other)
    }

    /// Whether a packet filter can do all of it: it can drop and refuse, not hold.
    pub(crate) fn is_filter(&self) -> bool {
        Policy { cut: false, reset: false, loss: 0.0, ..*self } == Policy::default()
    }
}

/// What happened to packets on a link since it was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub(crate) struct Counters {
    /// Arrived, or are on their way.
    pub(crate) passed: u64,
    /// Dropped since the link was cut.
    pub(crate) cut: u64,
    /// Answered by a reset.
    pub(crate) reset: u64,
    /// Vanished by chance.
    pub(crate) lost: u64,
    /// Sent twice.
    pub(crate) duplicated: u64,
    /// Arrived behind one that was sent later.
    pub(crate) reordered: u64,
    /// Took longer than they had to.
    pub(crate) delayed: u64,
    /// By how much, altogether, those on their way until now.
    pub(crate) delayed_us: u64,
    /// Dropped because too many waited for a slow link.
    pub(crate) queue_full: u64,
}

impl Counters {
    /// Another packet that took so much longer, or has until now.
    pub(crate) fn add_delay(&mut self, delay: Duration) {
        self.delayed += u64::from(!delay.is_zero());
        self.delayed_us += u64::try_from(delay.as_micros()).unwrap_or(u64::MAX);
    }

    /// One by one.
    pub(crate) fn plus(self, other: Counters) -> Counters {
        self.zip(other, |a, b| a + b)
    }

    /// What was added since.
    pub(crate) fn since(self, before: Counters) -> Counters {
        self.zip(before, |now, then| now - then)
    }

    fn zip(self, other: Counters, f: impl Fn(u64, u64) -> u64) -> Counters {
        Counters {
            passed: f(self.passed, other.passed),
            cut: f(self.cut, other.cut),
            reset: f(self.reset, other.reset),
            lost: f(self.lost, other.lost),
            duplicated: f(self.duplicated, other.duplicated),
            reordered: f(self.reordered, other.reordered),
            delayed: f(self.delayed, other.delayed),
            delayed_us: f(self.delayed_us, other.delayed_us),
            queue_full: f(self.queue_full, other.queue_full),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_faults_on_a_link_take_a_part_of_what_the_other_leaves() {
        let a = Policy { loss: 0.5, delay: Duration::from_millis(10), rate: Some(1000), ..Policy::default() };
        let b = Policy { loss: 0.5, delay: Duration::from_millis(5), cut: true, ..Policy::default() };
        let both = a.and(b);
        assert_eq!((both.loss, both.delay, both.rate, both.cut), (0.75, Duration::from_millis(15), Some(1000), true));
        assert_eq!(Policy::default().and(Policy::default()), Policy::default());
    }

    #[test]
    fn a_filter_drops_and_refuses_but_holds_nothing() {
        assert!(Policy { cut: true, reset: true, loss: 0.1, ..Policy::default() }.is_filter());
        assert!(!Policy { jitter: Duration::from_millis(1), ..Policy::default() }.is_filter());
        assert!(!Policy { rate: Some(1), ..Policy::default() }.is_filter());
    }
}
