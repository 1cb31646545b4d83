//! What a leader knows of one follower, and how fast it may send to it.
//!
//! - *Probe*: it is not known where the logs agree. One append at a time, and no other until it is answered.
//! - *Replicate*: the logs agree at `match_index`. Appends are pipelined: `next_index` runs ahead, within a window of messages and bytes.
//! - *Snapshot*: it needs entries at or below the log's base, which are gone. It is offered a snapshot, and gets no appends until it
//!   vouches for the base. The offer is repeated when it answers a heartbeat meanwhile: offers can be lost, and so can the answer.

use alloc::collections::VecDeque;
use core::hash::{Hash, Hasher};

use crate::types::Index;

/// What a leader knows of one follower.
#[derive(Clone, Debug)]
pub struct Progress {
    /// The follower's log is on its disk and agrees with ours up to here.
    match_index: Index,
    /// What to send next.
    next_index: Index,
    pace: Pace,
    /// The leader's clock when it was last heard.
    pub(crate) heard_at: u64,
    /// The highest commit index that was sent to it.
    pub(crate) commit_sent: Index,
    /// The newest read round it has answered.
    pub(crate) round_acked: u64,
    /// It is alive but has not acknowledged everything: something may have been lost, so send one append even if it is empty.
    nudge: bool,
}

#[derive(Clone, Hash, Debug)]
enum Pace {
    Probe(Probe),
    Replicate(Window),
    Snapshot(Offer),
}

/// Where the offer of a snapshot stands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Offer {
    /// To be sent.
    Due,
    /// Sent; the follower may be fetching the snapshot for a long time.
    Sent,
}

/// Where a probe stands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Probe {
    /// To be sent, with as many entries as fit.
    Due,
    /// To be sent once more, without entries: the first may still be on its way, over a slow link.
    Again,
    /// Waiting for the answer.
    Sent,
}

/// Appends that were sent and not yet acknowledged.
#[derive(Clone, Hash, Debug, Default)]
struct Window {
    sent: VecDeque<(Index, usize)>,
    bytes: usize,
}

/// What may be sent to this follower now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sending {
    /// Nothing may or need be sent.
    Nothing,
    /// An append without entries.
    Empty,
    /// An append with as many entries as fit.
    Entries,
    /// The offer of a snapshot.
    Offer,
}

/// Bounds of the window.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WindowMax {
    pub(crate) appends: usize,
    pub(crate) bytes: usize,
}

impl Progress {
    /// A follower of a new leader whose log ended before `next_index`.
    pub(crate) fn new(next_index: Index, now: u64) -> Progress {
        Progress {
            match_index: Index(0),
            next_index,
            pace: Pace::Probe(Probe::Due),
            heard_at: now,
            commit_sent: Index(0),
            round_acked: 0,
            nudge: false,
        }
    }

    /// The follower's log is on its disk and agrees with the leader's up to here.
    pub fn match_index(&self) -> Index {
        self.match_index
    }

    /// What the leader will send next.
    pub fn next_index(&self) -> Index {
        self.next_index
    }

    /// Whether appends are pipelined to it; otherwise the leader is looking for the place where the logs agree.
    pub fn is_replicating(&self) -> bool {
        matches!(self.pace, Pace::Replicate(_))
    }

    /// Whether it needs entries that the leader's log no longer holds: it gets a snapshot instead.
    pub fn needs_snapshot(&self) -> bool {
        matches!(self.pace, Pace::Snapshot(_))
    }

    /// Appends sent and not yet acknowledged.
    pub fn inflight_appends(&self) -> usize {
        match &self.pace {
            Pace::Probe(probe) => usize::from(*probe == Probe::Sent),
            Pace::Replicate(window) => window.sent.len(),
            Pace::Snapshot(_) => 0,
        }
    }

    /// What may be sent to it now by a leader whose log ends at `last`.
    pub(crate) fn sending(&self, last: Index, max: WindowMax) -> Sending {
        if self.match_index >= last {
            return Sending::Nothing;
        }
        match &self.pace {
            Pace::Probe(Probe::Due) => Sending::Entries,
            Pace::Probe(Probe::Again) => Sending::Empty,
            Pace::Probe(Probe::Sent) => Sending::Nothing,
            Pace::Replicate(window) if self.next_index <= last && window.sent.len() < max.appends && window.bytes < max.bytes => {
                Sending::Entries
            }
            Pace::Replicate(_) if self.nudge => Sending::Empty,
            Pace::Replicate(_) => Sending::Nothing,
            Pace::Snapshot(Offer::Due) => Sending::Offer,
            Pace::Snapshot(Offer::Sent) => Sending::Nothing,
        }
    }

    /// An append went out whose last entry is `last` (the one before it, if it is empty), with so many bytes of entries.
    pub(crate) fn sent(&mut self, last: Index, bytes: usize) {
        self.nudge = false;
        match &mut self.pace {
            Pace::Probe(probe) => *probe = Probe::Sent,
            Pace::Replicate(_) if bytes == 0 => {}
            Pace::Replicate(window) => {
                window.sent.push_back((last, bytes));
                window.bytes += bytes;
                self.next_index = last.next();
            }
            Pace::Snapshot(_) => panic!("an append up to {last} to a follower that needs a snapshot"),
        }
    }

    /// A snapshot was offered.
    pub(crate) fn offered(&mut self) {
        assert!(self.needs_snapshot(), "a snapshot was offered to a follower that gets appends");
        self.pace = Pace::Snapshot(Offer::Sent);
    }

    /// It vouches for everything up to `match_index`. An old acknowledgement changes nothing.
    pub(crate) fn accepted(&mut self, match_index: Index, base: Index) {
        self.match_index = self.match_index.max(match_index);
        self.next_index = self.next_index.max(self.match_index.next());
        match &mut self.pace {
            // Below the base it answers neither this probe nor this offer, but something older.
            Pace::Probe(_) | Pace::Snapshot(_) if self.match_index < base => {}
            Pace::Probe(_) | Pace::Snapshot(_) => {
                self.next_index = self.match_index.next();
                self.pace = Pace::Replicate(Window::default());
            }
            Pace::Replicate(window) => {
                while let Some((_, bytes)) = window.sent.pop_front_if(|(last, _)| *last <= match_index) {
                    window.bytes -= bytes;
                }
            }
        }
    }

    /// Whether a rejection of `prev_log_index` answers what we last sent. Otherwise it comes late and says nothing new.
    pub(crate) fn is_fresh_rejection(&self, prev_log_index: Index) -> bool {
        match self.pace {
            Pace::Probe(_) => prev_log_index == self.next_index.prev() && self.match_index < prev_log_index,
            Pace::Replicate(_) => self.match_index < prev_log_index && prev_log_index < self.next_index,
            Pace::Snapshot(_) => self.match_index < prev_log_index,
        }
    }

    /// Its log lacks `prev_log_index`, and may agree with ours up to `guess` at best; `None`: nowhere in the log that is left.
    pub(crate) fn rejected(&mut self, prev_log_index: Index, guess: Option<Index>, base: Index) {
        assert!(self.match_index < prev_log_index, "rejected {prev_log_index}, which is acknowledged up to {}", self.match_index);
        let next_index = guess.map_or(base, Index::next).clamp(self.match_index.next(), prev_log_index);
        // One that waits for a snapshot leaves that only for a place in the log: a late rejection must not offer it once more.
        if base < next_index || !self.needs_snapshot() {
            self.send_from(next_index, base);
        }
    }

    /// Its connection broke: whatever was in flight is lost. It may hold more than it has acknowledged, so ask before a snapshot is sent.
    pub(crate) fn unreachable(&mut self, base: Index) {
        if !self.needs_snapshot() {
            self.send_from(self.match_index.max(base).next(), base);
        }
    }

    /// The leader's log was compacted.
    pub(crate) fn compacted(&mut self, base: Index) {
        if self.next_index <= base && !self.needs_snapshot() {
            self.send_from(self.next_index, base);
        }
    }

    /// It answered a heartbeat, so it is alive: what it has not answered by now may be lost.
    pub(crate) fn answered_heartbeat(&mut self) {
        match &mut self.pace {
            Pace::Probe(probe @ Probe::Sent) => *probe = Probe::Again,
            Pace::Probe(_) => {}
            Pace::Replicate(window) => self.nudge = !window.sent.is_empty(),
            Pace::Snapshot(offer) => *offer = Offer::Due,
        }
    }

    /// For [`Raft::hash_without_clocks`](crate::Raft::hash_without_clocks).
    pub(crate) fn hash_without_clock(&self, hasher: &mut impl Hasher) {
        let Progress { match_index, next_index, pace, heard_at: _, commit_sent, round_acked, nudge } = self;
        (match_index, next_index, pace, commit_sent, round_acked, nudge).hash(hasher);
    }

    /// Starts again from `next_index`. The entry before it is needed for that, and nothing before the base is left.
    fn send_from(&mut self, next_index: Index, base: Index) {
        self.next_index = next_index;
        self.nudge = false;
        self.pace = if next_index <= base { Pace::Snapshot(Offer::Due) } else { Pace::Probe(Probe::Due) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: WindowMax = WindowMax { appends: 2, bytes: 100 };
    const NO_BASE: Index = Index(0);

    fn replicating() -> Progress {
        let mut progress = Progress::new(Index(5), 0);
        progress.accepted(Index(4), NO_BASE);
        progress
    }

    #[test]
    fn a_probe_waits_for_its_answer_and_is_repeated_without_entries() {
        let mut progress = Progress::new(Index(5), 0);
        assert_eq!(progress.sending(Index(9), MAX), Sending::Entries);
        progress.sent(Index(9), 50);
        assert_eq!(progress.sending(Index(9), MAX), Sending::Nothing);
        progress.answered_heartbeat();
        assert_eq!(progress.sending(Index(9), MAX), Sending::Empty);
        progress.sent(Index(4), 0);
        assert_eq!(progress.next_index(), Index(5));
        progress.accepted(Index(4), NO_BASE);
        assert_eq!((progress.is_replicating(), progress.sending(Index(9), MAX)), (true, Sending::Entries));
    }

    #[test]
    fn the_window_closes_at_its_messages_and_at_its_bytes() {
        let mut progress = replicating();
        progress.sent(Index(5), 10);
        assert_eq!(progress.sending(Index(9), MAX), Sending::Entries);
        progress.sent(Index(6), 10);
        assert_eq!(progress.sending(Index(9), MAX), Sending::Nothing, "two appends are on their way");
        progress.accepted(Index(5), NO_BASE);
        progress.sent(Index(7), 95);
        assert_eq!(progress.sending(Index(9), MAX), Sending::Nothing, "105 bytes are on their way");
        progress.accepted(Index(7), NO_BASE);
        assert_eq!((progress.sending(Index(9), MAX), progress.inflight_appends()), (Sending::Entries, 0));
    }

    #[test]
    fn a_follower_that_lives_and_owes_an_answer_is_asked_once_more() {
        let mut progress = replicating();
        progress.sent(Index(9), 10);
        assert_eq!(progress.sending(Index(9), MAX), Sending::Nothing);
        progress.answered_heartbeat();
        assert_eq!(progress.sending(Index(9), MAX), Sending::Empty);
        progress.sent(Index(9), 0);
        assert_eq!(progress.sending(Index(9), MAX), Sending::Nothing);
        progress.accepted(Index(9), NO_BASE);
        progress.answered_heartbeat();
        assert_eq!(progress.sending(Index(9), MAX), Sending::Nothing, "nothing is owed");
    }

    #[test]
    fn late_rejections_are_recognised() {
        let mut progress = replicating();
        progress.sent(Index(9), 10);
        assert!(!progress.is_fresh_rejection(Index(4)), "4 is acknowledged");
        assert!(progress.is_fresh_rejection(Index(9)));
        progress.rejected(Index(9), Some(Index(2)), NO_BASE);
        assert_eq!(progress.next_index(), Index(5), "never below what is acknowledged");
        assert!(!progress.is_fresh_rejection(Index(9)), "the probe asks about 4");
    }

    #[test]
    fn a_rejection_always_moves_down() {
        let mut progress = Progress::new(Index(9), 0);
        progress.rejected(Index(8), Some(Index(20)), NO_BASE);
        assert_eq!(progress.next_index(), Index(8));
    }

    /// Of a leader whose log was compacted to 7 while appends up to 9 were on their way.
    fn needing_a_snapshot() -> Progress {
        let mut progress = replicating();
        progress.sent(Index(9), 10);
        progress.rejected(Index(9), None, Index(7));
        assert_eq!((progress.needs_snapshot(), progress.next_index(), progress.inflight_appends()), (true, Index(7), 0));
        progress
    }

    #[test]
    fn a_snapshot_is_offered_once_and_again_to_one_that_lives() {
        let mut progress = needing_a_snapshot();
        assert_eq!(progress.sending(Index(9), MAX), Sending::Offer);
        progress.offered();
        assert_eq!(progress.sending(Index(9), MAX), Sending::Nothing);
        progress.unreachable(Index(7));
        progress.compacted(Index(8));
        progress.rejected(Index(9), None, Index(8));
        assert_eq!(progress.sending(Index(9), MAX), Sending::Nothing, "it still needs one, and may be fetching it");
        progress.answered_heartbeat();
        assert_eq!(progress.sending(Index(9), MAX), Sending::Offer);
    }

    #[test]
    fn who_vouches_for_the_base_gets_appends_again() {
        let mut progress = needing_a_snapshot();
        progress.accepted(Index(6), Index(7));
        assert_eq!((progress.needs_snapshot(), progress.match_index(), progress.next_index()), (true, Index(6), Index(7)));
        progress.accepted(Index(7), Index(7));
        assert_eq!((progress.is_replicating(), progress.next_index()), (true, Index(8)));
    }

    #[test]
    fn a_compaction_takes_away_only_what_was_still_to_be_sent() {
        let mut progress = replicating();
        progress.sent(Index(6), 10);
        progress.compacted(Index(6));
        assert_eq!((progress.is_replicating(), progress.inflight_appends()), (true, 1), "it may arrive");
        progress.compacted(Index(7));
        assert_eq!((progress.needs_snapshot(), progress.sending(Index(9), MAX)), (true, Sending::Offer));
    }

    #[test]
    fn a_probe_asks_at_the_base_and_hears_only_its_own_answer() {
        let mut progress = replicating();
        progress.sent(Index(9), 10);
        progress.unreachable(Index(7));
        assert_eq!((progress.needs_snapshot(), progress.next_index()), (false, Index(8)), "it may hold what it has not acknowledged");
        progress.accepted(Index(5), Index(7));
        assert_eq!((progress.is_replicating(), progress.next_index()), (false, Index(8)), "5 was acknowledged before the connection broke");
        progress.accepted(Index(8), Index(7));
        assert_eq!((progress.is_replicating(), progress.next_index()), (true, Index(9)));
    }

    #[test]
    fn a_broken_connection_starts_again_from_what_is_acknowledged() {
        let mut progress = replicating();
        progress.sent(Index(9), 10);
        progress.unreachable(NO_BASE);
        assert_eq!((progress.next_index(), progress.is_replicating(), progress.inflight_appends()), (Index(5), false, 0));
    }
}
