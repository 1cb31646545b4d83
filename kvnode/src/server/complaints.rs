//! Lines about connections that were closed for what they sent: one each, but a flood of them is not a flood of lines.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::limits::COMPLAINTS_PER_SECOND_MAX;

/// Counts within the second that began with the last line after a pause.
#[derive(Debug, Default)]
pub(crate) struct Complaints {
    second: Option<Instant>,
    written: u32,
    suppressed: u64,
}

impl Complaints {
    /// One connection and what was wrong with it.
    pub(crate) fn add(&mut self, remote: SocketAddr, what: impl fmt::Display, now: Instant) {
        self.summarise(now);
        self.second.get_or_insert(now);
        if self.written < COMPLAINTS_PER_SECOND_MAX {
            self.written += 1;
            tracing::warn!("closed {remote}: {what}");
        } else {
            self.suppressed += 1;
        }
    }

    /// Ends the second, if it is over, with the count of what was left out. Also called when nobody complains.
    pub(crate) fn summarise(&mut self, now: Instant) {
        if self.second.is_some_and(|second| now.duration_since(second) >= Duration::from_secs(1)) {
            if self.suppressed > 0 {
                tracing::warn!("closed {} more connections for what they sent", self.suppressed);
            }
            *self = Complaints::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_counted_and_a_new_second_starts_afresh() {
        let start = Instant::now();
        let remote = "127.0.0.1:1".parse().unwrap();
        let mut complaints = Complaints::default();
        for _ in 0..1000 {
            complaints.add(remote, "noise", start);
        }
        assert_eq!((complaints.written, complaints.suppressed), (COMPLAINTS_PER_SECOND_MAX, 1000 - u64::from(COMPLAINTS_PER_SECOND_MAX)));
        complaints.add(remote, "noise", start + Duration::from_secs(1));
        assert_eq!((complaints.written, complaints.suppressed), (1, 0));
    }
}
