//! A network as the labs have it: calls are requests and answers, and each may be late or lost.

use std::ops::Range;

use fastrand::Rng;

use crate::network::Delays;

/// What becomes of messages between nodes, and between clients and nodes.
#[derive(Clone, Debug)]
pub struct Conditions {
    /// What every message takes.
    pub way_us: Range<u64>,
    /// A request waits for up to so long before it is delivered.
    pub request_delay_us_max: u64,
    /// Chance that it is lost then.
    pub request_loss: f64,
    /// Chance that an answer is lost, when the request has had its effect.
    pub answer_loss: f64,
    /// Two thirds of the answers are held back for 200 ms to 2.2 s, most of them for less than half of that.
    pub long_reordering: bool,
    /// Chance that a message comes twice.
    pub duplicate: f64,
    /// Calls of clients are never lost.
    pub spares_clients: bool,
}

impl Conditions {
    /// Nothing is late or lost, or overtakes anything.
    pub fn reliable() -> Conditions {
        Conditions {
            way_us: 100..101,
            request_delay_us_max: 0,
            request_loss: 0.0,
            answer_loss: 0.0,
            long_reordering: false,
            duplicate: 0.0,
            spares_clients: false,
        }
    }

    /// Up to 26 ms late, and a fifth of the calls fail, half of them after they have taken effect.
    pub fn unreliable() -> Conditions {
        Conditions { request_delay_us_max: 26_000, request_loss: 0.1, answer_loss: 0.1, ..Conditions::reliable() }
    }

    /// That, and answers overtake each other by seconds.
    pub fn long_reordering() -> Conditions {
        Conditions { long_reordering: true, ..Conditions::unreliable() }
    }

    /// So many filters that drop each message between nodes with 10.1 percent, one behind the other.
    pub fn drop_filters(filters: i32) -> Conditions {
        let loss = 1.0 - 0.899_f64.powi(filters);
        Conditions { request_loss: loss, answer_loss: loss, spares_clients: true, ..Conditions::reliable() }
    }

    pub(crate) fn delays(&self, is_answer: bool, rng: &mut Rng) -> Delays {
        if rng.f64() < if is_answer { self.answer_loss } else { self.request_loss } {
            return [None, None];
        }
        let is_twice = rng.f64() < self.duplicate;
        [Some(self.delay_us(is_answer, rng)), is_twice.then(|| self.delay_us(is_answer, rng))]
    }

    /// When a call of a client, or the answer to it, arrives; `None`: it is lost.
    pub(crate) fn call_delay_us(&self, is_answer: bool, rng: &mut Rng) -> Option<u64> {
        let loss = if is_answer { self.answer_loss } else { self.request_loss };
        (self.spares_clients || rng.f64() >= loss).then(|| self.delay_us(is_answer, rng))
    }

    fn delay_us(&self, is_answer: bool, rng: &mut Rng) -> u64 {
        let way_us = rng.u64(self.way_us.clone());
        if !is_answer {
            return way_us + rng.u64(0..=self.request_delay_us_max);
        }
        if self.long_reordering && rng.u32(0..900) < 600 {
            let most_ms = rng.u64(1..=2000);
            return way_us + 1000 * (200 + rng.u64(0..most_ms));
        }
        way_us
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(conditions: &Conditions, is_answer: bool) -> Vec<u64> {
        let mut rng = Rng::with_seed(7);
        (0..10_000).flat_map(|_| conditions.delays(is_answer, &mut rng)).flatten().collect()
    }

    #[test]
    fn the_unreliable_network_has_the_labs_figures() {
        let (requests, answers) = (sample(&Conditions::unreliable(), false), sample(&Conditions::unreliable(), true));
        assert!((8_900..9_100).contains(&requests.len()) && (8_900..9_100).contains(&answers.len()));
        assert!(requests.iter().all(|delay| *delay <= 26_100) && requests.iter().any(|delay| *delay > 25_000));
        let held: Vec<u64> = sample(&Conditions::long_reordering(), true).into_iter().filter(|delay| *delay >= 200_000).collect();
        assert!((5_800..6_200).contains(&held.len()), "two thirds of those that are not lost");
        assert!(held.iter().all(|delay| *delay <= 2_200_100) && held.iter().any(|delay| *delay > 1_900_000));
        let early = held.iter().filter(|delay| **delay < 700_000).count();
        assert!(held.len() / 2 < early, "skewed low");
    }

    #[test]
    fn eight_drop_filters_let_less_than_half_through() {
        let through = sample(&Conditions::drop_filters(8), false).len();
        assert!((4_000..4_500).contains(&through), "{through}");
    }
}
