//! The sessions that a clerk writes in: which number a call gets, and which replies the cluster may forget.

use std::collections::{BTreeMap, BTreeSet};

use raft::Index;
use wire::command::{CallId, SessionId};
use wire::limits::SESSION_WINDOW;

/// Every session that still has a call in flight, and the one for the next write.
#[derive(Debug)]
pub(super) struct Sessions {
    /// 128 random bits; the sessions of one clerk count up from here. (Drawing each would need a random source in here.)
    next: SessionId,
    /// The highest index known to be applied somewhere: the birth of the next session.
    known_index: Index,
    current: Option<SessionId>,
    /// The current session goes on although a call of it was given up.
    held: bool,
    sessions: BTreeMap<SessionId, Session>,
}

#[derive(Debug)]
struct Session {
    birth_index: Index,
    next_seq: u64,
    in_flight: BTreeSet<u64>,
    /// Given up with an unknown outcome: their tokens must stay good, so their replies must not be forgotten.
    given_up: BTreeSet<u64>,
}

/// One write of one session.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Seat {
    pub(super) session: SessionId,
    pub(super) birth_index: Index,
    pub(super) seq: u64,
}

impl Sessions {
    pub(super) fn new(first: SessionId) -> Sessions {
        Sessions { next: first, known_index: Index(0), current: None, held: false, sessions: BTreeMap::new() }
    }

    /// From now on there is one session for all calls, unless the cluster forgets it.
    pub(super) fn hold(&mut self) {
        self.held = true;
    }

    /// No longer. If any call of the session may have taken effect, or may yet: the number behind all of them, and nobody else gets it.
    pub(super) fn leave(&mut self) -> Option<Seat> {
        self.held = false;
        let id = self.current?;
        let session = self.sessions.get(&id)?;
        if session.in_flight.is_empty() && session.given_up.is_empty() {
            return None;
        }
        let seat = Seat { session: id, birth_index: session.birth_index, seq: session.next_seq };
        self.retire(id);
        Some(seat)
    }

    /// Some node has applied this much.
    pub(super) fn learn(&mut self, applied: Index) {
        self.known_index = self.known_index.max(applied);
    }

    /// A number for a new write; `None` while `SESSION_WINDOW` numbers are between the oldest call in flight and it.
    pub(super) fn assign(&mut self) -> Option<Seat> {
        let id = *self.current.get_or_insert_with(|| {
            let id = self.next;
            self.next = SessionId(id.0.wrapping_add(1));
            let session = Session { birth_index: self.known_index, next_seq: 1, in_flight: BTreeSet::new(), given_up: BTreeSet::new() };
            self.sessions.insert(id, session);
            id
        });
        let session = self.sessions.get_mut(&id)?;
        if session.next_seq >= session.first_unanswered() + SESSION_WINDOW {
            return None;
        }
        let seq = session.next_seq;
        session.next_seq += 1;
        session.in_flight.insert(seq);
        Some(Seat { session: id, birth_index: session.birth_index, seq })
    }

    /// What goes out with every attempt of a call.
    pub(super) fn call_id(&self, seat: Seat) -> CallId {
        let first_unanswered = match self.sessions.get(&seat.session) {
            Some(session) => session.first_unanswered(),
            // Resumed, from another process. Calls as old as the window allows may have tokens too: forget none of their replies.
            None => (seat.seq + 1).saturating_sub(SESSION_WINDOW).max(1),
        };
        CallId { session: seat.session, birth_index: seat.birth_index, seq: seat.seq, first_unanswered }
    }

    /// What goes out with every attempt of a call behind which no older one of its session may take effect.
    pub(super) fn fence_id(seat: Seat) -> CallId {
        CallId { session: seat.session, birth_index: seat.birth_index, seq: seat.seq, first_unanswered: seat.seq }
    }

    /// The outcome of this call is known: its reply may be forgotten.
    pub(super) fn settled(&mut self, seat: Seat) {
        if let Some(session) = self.sessions.get_mut(&seat.session) {
            session.in_flight.remove(&seat.seq);
        }
        self.drop_if_done(seat.session);
    }

    /// The call ends without a known outcome. Its session takes no new calls, so that its token stays good however long it lies; one that
    /// is held takes as many as the window has room for.
    pub(super) fn given_up(&mut self, seat: Seat) {
        if let Some(session) = self.sessions.get_mut(&seat.session) {
            session.in_flight.remove(&seat.seq);
            session.given_up.insert(seat.seq);
        }
        if !self.held || self.current != Some(seat.session) {
            self.retire(seat.session);
        }
    }

    /// No new calls in this session.
    pub(super) fn retire(&mut self, session: SessionId) {
        if self.current == Some(session) {
            self.current = None;
        }
        self.drop_if_done(session);
    }

    fn drop_if_done(&mut self, id: SessionId) {
        if self.current != Some(id) && self.sessions.get(&id).is_some_and(|session| session.in_flight.is_empty()) {
            self.sessions.remove(&id);
        }
    }
}

impl Session {
    fn first_unanswered(&self) -> u64 {
        [self.in_flight.first(), self.given_up.first()].into_iter().flatten().min().copied().unwrap_or(self.next_seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sessions() -> Sessions {
        Sessions::new(SessionId(100))
    }

    #[test]
    fn numbers_count_from_one_in_a_session_born_at_the_highest_index_known() {
        let mut sessions = sessions();
        sessions.learn(Index(9));
        sessions.learn(Index(4));
        let (first, second) = (sessions.assign().unwrap(), sessions.assign().unwrap());
        assert_eq!(first, Seat { session: SessionId(100), birth_index: Index(9), seq: 1 });
        assert_eq!(second.seq, 2);
        assert_eq!(sessions.call_id(second).first_unanswered, 1);
        sessions.settled(first);
        assert_eq!(sessions.call_id(second).first_unanswered, 2);
    }

    #[test]
    fn the_window_opens_only_at_its_lower_end() {
        let mut sessions = sessions();
        let seats: Vec<Seat> = (0..SESSION_WINDOW).map(|_| sessions.assign().unwrap()).collect();
        assert_eq!(sessions.assign(), None);
        sessions.settled(seats[1]);
        assert_eq!(sessions.assign(), None, "number 1 is still unanswered");
        sessions.settled(seats[0]);
        assert_eq!(sessions.assign().map(|seat| seat.seq), Some(65));
        assert_eq!(sessions.assign().map(|seat| seat.seq), Some(66));
        assert_eq!(sessions.assign(), None);
    }

    #[test]
    fn a_call_given_up_keeps_its_reply_and_ends_its_session() {
        let mut sessions = sessions();
        let (first, second) = (sessions.assign().unwrap(), sessions.assign().unwrap());
        sessions.given_up(first);
        assert_eq!(sessions.call_id(second).first_unanswered, 1);
        assert_eq!(sessions.assign().map(|seat| (seat.session, seat.seq)), Some((SessionId(101), 1)));
        sessions.settled(second);
        assert_eq!(sessions.sessions.len(), 1, "the old session is forgotten with its last call");
    }

    #[test]
    fn a_session_that_is_held_outlives_a_call_given_up_and_one_number_is_behind_all_of_its_calls() {
        let mut sessions = sessions();
        sessions.learn(Index(9));
        sessions.hold();
        let (first, second) = (sessions.assign().unwrap(), sessions.assign().unwrap());
        sessions.given_up(second);
        assert_eq!(sessions.assign().map(|seat| (seat.session, seat.seq)), Some((SessionId(100), 3)), "still the same");
        sessions.settled(first);
        for seq in 4..66 {
            assert_eq!(sessions.assign().map(|seat| seat.seq), Some(seq));
        }
        assert_eq!(sessions.assign(), None, "the reply to number 2 is kept, and the window has an end");
        let behind = sessions.leave().unwrap();
        assert_eq!(behind, Seat { session: SessionId(100), birth_index: Index(9), seq: 66 });
        assert_eq!(Sessions::fence_id(behind).first_unanswered, 66);
        assert_eq!(sessions.assign().map(|seat| seat.session), Some(SessionId(101)), "nobody else gets that number");
    }

    #[test]
    fn a_session_whose_calls_are_all_settled_is_left_as_it_is() {
        let mut sessions = sessions();
        sessions.hold();
        let first = sessions.assign().unwrap();
        sessions.settled(first);
        assert_eq!(sessions.leave(), None);
        let second = sessions.assign().unwrap();
        assert_eq!((second.session, second.seq), (SessionId(100), 2));
        sessions.given_up(second);
        assert_eq!(sessions.assign().map(|seat| seat.session), Some(SessionId(101)), "and no longer held");
    }

    #[test]
    fn a_resumed_call_makes_the_cluster_forget_nothing_within_the_window() {
        let sessions = sessions();
        let first_unanswered = |seq| sessions.call_id(Seat { session: SessionId(7), birth_index: Index(1), seq }).first_unanswered;
        assert_eq!([first_unanswered(1), first_unanswered(64), first_unanswered(65)], [1, 1, 2]);
    }
}
