//! The session table: why a call that is sent twice runs once (dissertation 6.3). It is part of the replicated state: every node
//! decides the same, from the log alone.
//!
//! A session opens with its first write. A kept reply answers a repeated call. What is evicted, in log order, can never come back: the
//! *horizon* is the highest index at which an evicted session was active, and an unknown session that was born at or below it is
//! refused. (A session born above the horizon that is unknown here has never written: had it written, it would have been active above
//! its birth, and its eviction would have lifted the horizon past it.)

use std::collections::BTreeMap;

use raft::{Index, Reached};
use wire::client::Written;
use wire::command::{CallId, SessionId};
use wire::image::SessionImage;
use wire::limits::SESSION_WINDOW;

use crate::limits::Bounds;
use crate::machine::mix;
use crate::view::{Dated, ViewId, Views, Weight};

/// Every session that is alive.
#[derive(Default)]
pub(crate) struct Sessions {
    table: BTreeMap<SessionId, Session>,
    /// The same, longest idle first. Every index is the last activity of at most one session.
    by_activity: BTreeMap<Index, SessionId>,
    /// An unknown session born at or below this index is refused.
    horizon: Index,
    digest: u64,
    views: Views<SessionId, Session>,
    bounds: Bounds,
    reached: Reached,
}

#[derive(Clone)]
struct Session {
    last_active_index: Index,
    last_active_ms: u64,
    first_unanswered: u64,
    /// By sequence number; small, and never a value.
    replies: Vec<(u64, Written)>,
}

impl Weight for SessionId {
    fn bytes(&self) -> usize {
        size_of::<SessionId>()
    }
}

impl Weight for Session {
    fn bytes(&self) -> usize {
        self.replies.len() * size_of::<(u64, Written)>()
    }
}

impl Dated for Session {
    fn written_at(&self) -> Index {
        self.last_active_index
    }
}

/// What is to become of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Admission {
    /// Run it, then `keep` its reply.
    Run,
    /// It ran before; this was the answer.
    Kept(Written),
    /// Its session was evicted, or never existed and is too old to begin: never run it.
    Expired,
    /// Its number is outside the session's window: answered long ago, or too far ahead. Never run it.
    OutOfWindow,
}

impl Sessions {
    /// Decides about a call that is being applied at `index`, and opens its session if it is new.
    pub(crate) fn admit(&mut self, call: &CallId, index: Index, time_ms: u64) -> Admission {
        self.evict_idle(time_ms);
        let Some(session) = self.table.get_mut(&call.session) else {
            let admission = self.judge(call);
            match admission {
                Admission::Run => self.open(call, index, time_ms),
                // Whoever made the first call of a session may be as old; whoever has made more had a session when it began.
                _ if call.seq > 1 => self.reached.mark("a session was evicted while its calls were in flight"),
                _ => self.reached.mark("a call is refused by the horizon"),
            }
            return admission;
        };
        self.views.before_write(&call.session, session);
        self.digest = self.digest.wrapping_sub(session_digest(call.session, session));
        self.by_activity.remove(&session.last_active_index);
        self.by_activity.insert(index, call.session);
        session.last_active_index = index;
        session.last_active_ms = time_ms;
        if session.first_unanswered < call.first_unanswered {
            session.first_unanswered = call.first_unanswered;
            let kept = session.replies.len();
            session.replies.retain(|(seq, _)| *seq >= call.first_unanswered);
            if session.replies.len() < kept {
                self.reached.mark("the lowest unanswered number drops kept replies");
            }
        }
        self.digest = self.digest.wrapping_add(session_digest(call.session, session));
        let admission = self.judge(call);
        if matches!(admission, Admission::Kept(_)) {
            self.reached.mark("a call that is in the log twice runs once");
        }
        admission
    }

    /// Moves the rare paths that were taken since the last call to `out`.
    pub(crate) fn take_reached(&mut self, out: &mut Vec<&'static str>) {
        self.reached.take(out);
    }

    /// What `admit` would say now, changing nothing: a leader answers a repeated call without logging it again.
    pub(crate) fn judge(&self, call: &CallId) -> Admission {
        let first_unanswered = match self.table.get(&call.session) {
            None if call.birth_index <= self.horizon => return Admission::Expired,
            None => call.first_unanswered,
            Some(session) => {
                if let Some((_, written)) = session.replies.iter().find(|(seq, _)| *seq == call.seq) {
                    return Admission::Kept(*written);
                }
                session.first_unanswered.max(call.first_unanswered)
            }
        };
        let in_window = call.seq >= first_unanswered.max(1) && call.seq - first_unanswered < SESSION_WINDOW;
        if in_window { Admission::Run } else { Admission::OutOfWindow }
    }

    /// Keeps the reply to a call that was admitted to run, in the same entry: views have kept the session as it was before that.
    pub(crate) fn keep(&mut self, call: &CallId, written: Written) {
        let session = self.table.get_mut(&call.session).expect("an admitted call has a session");
        if session.replies.is_empty() {
            session.replies.reserve_exact(1); // most write once; room for four, as usual, would make the table half as large again
        }
        session.replies.push((call.seq, written));
    }

    /// The same table, held to other bounds than a real node's.
    pub(crate) fn bounded(self, bounds: Bounds) -> Sessions {
        Sessions { bounds, ..self }
    }

    /// An empty table with a horizon, for `restore`.
    pub(crate) fn with_horizon(horizon: Index) -> Sessions {
        Sessions { horizon, ..Sessions::default() }
    }

    /// Puts back a session from a snapshot. `false`: it is there already, or another one was active at the same index.
    pub(crate) fn restore(&mut self, image: SessionImage) -> bool {
        let SessionImage { id, last_active_index, last_active_ms, first_unanswered, replies } = image;
        let is_new = !self.table.contains_key(&id) && !self.by_activity.contains_key(&last_active_index);
        if is_new {
            self.insert(id, Session { last_active_index, last_active_ms, first_unanswered, replies });
        }
        is_new
    }

    /// Begins to read all of them as they are now.
    pub(crate) fn open_view(&mut self, position: Index) -> ViewId {
        self.views.open_whole(position)
    }

    /// Reads on in a view until `take` has enough. The end was reached: `Some(true)`. `None`: the view was cut off.
    pub(crate) fn read_view(&mut self, id: ViewId, mut take: impl FnMut(SessionImage) -> bool) -> Option<bool> {
        let image = |id: &SessionId, session: &Session| SessionImage {
            id: *id,
            last_active_index: session.last_active_index,
            last_active_ms: session.last_active_ms,
            first_unanswered: session.first_unanswered,
            replies: session.replies.clone(),
        };
        self.views.read(id, &self.table, true, |id, session| take(image(id, session))).map(|slice| slice.is_last)
    }

    /// Forgets a view.
    pub(crate) fn close_view(&mut self, id: ViewId) {
        self.views.close(id);
    }

    /// An unknown session born at or below this index is refused.
    pub(crate) fn horizon(&self) -> Index {
        self.horizon
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        self.table.len() as u64
    }

    /// Covers who is alive and since when, and the horizon: what decides whether a call runs.
    pub(crate) fn digest(&self) -> u64 {
        self.digest.wrapping_add(self.horizon.0)
    }

    fn open(&mut self, call: &CallId, index: Index, time_ms: u64) {
        if self.table.len() >= self.bounds.sessions_max {
            self.reached.mark("a session makes room for another");
            self.evict_longest_idle();
        }
        let session =
            Session { last_active_index: index, last_active_ms: time_ms, first_unanswered: call.first_unanswered, replies: Vec::new() };
        self.insert(call.session, session);
    }

    fn insert(&mut self, id: SessionId, session: Session) {
        self.digest = self.digest.wrapping_add(session_digest(id, &session));
        self.by_activity.insert(session.last_active_index, id);
        self.table.insert(id, session);
    }

    fn evict_idle(&mut self, time_ms: u64) {
        while let Some(longest_idle) = self.by_activity.first_key_value().map(|(_, id)| &self.table[id]) {
            if time_ms.saturating_sub(longest_idle.last_active_ms) <= self.bounds.session_idle_ms_max {
                return;
            }
            self.evict_longest_idle();
        }
    }

    fn evict_longest_idle(&mut self) {
        let Some((last_active_index, id)) = self.by_activity.pop_first() else { return };
        let session = self.table.remove(&id).expect("both maps hold the same sessions");
        self.views.before_write(&id, &session);
        self.digest = self.digest.wrapping_sub(session_digest(id, &session));
        self.horizon = self.horizon.max(last_active_index);
    }
}

fn session_digest(id: SessionId, session: &Session) -> u64 {
    let bytes = id.0.to_le_bytes();
    let (low, high) = bytes.split_at(8);
    let half = |half: &[u8]| half.iter().rev().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    [half(high), session.last_active_index.0, session.first_unanswered].into_iter().fold(mix(half(low)), |digest, part| mix(digest ^ part))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::SESSION_IDLE_MS_MAX;
    use wire::client::WriteOutcome;
    use wire::limits::SESSIONS_MAX;

    fn call(session: u128, birth: u64, seq: u64, first_unanswered: u64) -> CallId {
        CallId { session: SessionId(session), birth_index: Index(birth), seq, first_unanswered }
    }

    fn written(index: u64) -> Written {
        Written { outcome: WriteOutcome::Done, version: 1, position: Index(index) }
    }

    fn run(sessions: &mut Sessions, call: &CallId, index: u64, time_ms: u64) {
        assert_eq!(sessions.admit(call, Index(index), time_ms), Admission::Run);
        sessions.keep(call, written(index));
    }

    #[test]
    fn a_repeated_call_is_answered_as_the_first_time_and_not_run() {
        let mut sessions = Sessions::default();
        run(&mut sessions, &call(7, 1, 1, 1), 10, 0);
        run(&mut sessions, &call(7, 1, 2, 1), 11, 0);
        assert_eq!(sessions.admit(&call(7, 1, 1, 1), Index(12), 0), Admission::Kept(written(10)));
        assert_eq!(sessions.admit(&call(7, 1, 2, 1), Index(13), 0), Admission::Kept(written(11)));
        assert_eq!(sessions.count(), 1);
    }

    #[test]
    fn calls_in_flight_may_be_applied_in_any_order() {
        let mut sessions = Sessions::default();
        for seq in [64, 2, 63, 1] {
            run(&mut sessions, &call(7, 1, seq, 1), 100 + seq, 0);
        }
        assert_eq!(sessions.admit(&call(7, 1, 65, 1), Index(200), 0), Admission::OutOfWindow);
        run(&mut sessions, &call(7, 1, 65, 2), 201, 0);
    }

    #[test]
    fn an_answered_call_is_forgotten_and_never_runs_again() {
        let mut sessions = Sessions::default();
        run(&mut sessions, &call(7, 1, 1, 1), 10, 0);
        run(&mut sessions, &call(7, 1, 2, 2), 11, 0);
        // A duplicate that the network held back: its client has its answer, so the reply is gone. It must not run.
        assert_eq!(sessions.admit(&call(7, 1, 1, 1), Index(12), 0), Admission::OutOfWindow);
        assert_eq!(sessions.judge(&call(7, 1, 0, 0)), Admission::OutOfWindow, "numbers begin at 1");
    }

    #[test]
    fn an_evicted_session_can_never_come_back() {
        let mut sessions = Sessions::default();
        let old = call(7, 5, 1, 1);
        run(&mut sessions, &old, 10, 0);
        run(&mut sessions, &call(8, 12, 1, 1), 20, SESSION_IDLE_MS_MAX + 1);
        assert_eq!((sessions.count(), sessions.horizon), (1, Index(10)));
        assert_eq!(sessions.admit(&old, Index(21), SESSION_IDLE_MS_MAX + 1), Admission::Expired);
        assert_eq!(sessions.admit(&call(9, 10, 1, 1), Index(22), SESSION_IDLE_MS_MAX + 1), Admission::Expired, "born at the horizon");
        run(&mut sessions, &call(9, 11, 1, 1), 23, SESSION_IDLE_MS_MAX + 1);
    }

    #[test]
    fn an_hour_of_idleness_is_counted_from_the_last_call() {
        let mut sessions = Sessions::default();
        run(&mut sessions, &call(7, 1, 1, 1), 10, 0);
        run(&mut sessions, &call(7, 1, 2, 2), 11, SESSION_IDLE_MS_MAX);
        run(&mut sessions, &call(7, 1, 3, 3), 12, 2 * SESSION_IDLE_MS_MAX);
        assert_eq!(sessions.count(), 1);
    }

    #[test]
    fn at_the_limit_the_longest_idle_makes_room() {
        let mut sessions = Sessions::default();
        for n in 0..SESSIONS_MAX as u64 {
            run(&mut sessions, &call(u128::from(n), 1, 1, 1), 10 + n, 0);
        }
        run(&mut sessions, &call(0, 1, 2, 2), 1_000_000, 0); // session 0 is no longer the longest idle
        run(&mut sessions, &call(u128::MAX, 900_000, 1, 1), 1_000_001, 0);
        assert_eq!((sessions.count(), sessions.horizon), (SESSIONS_MAX as u64, Index(11)));
        assert_eq!(sessions.judge(&call(1, 1, 1, 1)), Admission::Expired);
        assert_eq!(sessions.judge(&call(0, 1, 2, 2)), Admission::Kept(written(1_000_000)));
    }

    #[test]
    fn smaller_bounds_make_room_sooner() {
        let bounds = Bounds { sessions_max: 2, session_idle_ms_max: 100, ..Bounds::default() };
        let mut sessions = Sessions::default().bounded(bounds);
        for n in 1..=3 {
            run(&mut sessions, &call(n, 1, 1, 1), 10 + u64::try_from(n).unwrap(), 0);
        }
        assert_eq!((sessions.count(), sessions.horizon), (2, Index(11)));
        run(&mut sessions, &call(4, 20, 1, 1), 30, 101);
        assert_eq!((sessions.count(), sessions.horizon), (1, Index(13)));
    }

    #[test]
    fn the_digest_follows_who_is_alive() {
        let mut sessions = Sessions::default();
        run(&mut sessions, &call(7, 1, 1, 1), 10, 0);
        let one = sessions.digest();
        run(&mut sessions, &call(8, 1, 1, 1), 11, 0);
        assert_ne!(sessions.digest(), one);
        let mut again = Sessions::default();
        run(&mut again, &call(7, 1, 1, 1), 10, 0);
        assert_eq!(again.digest(), one);
    }

    #[test]
    fn a_full_table_of_sessions_that_wrote_once_takes_at_most_16_mib() {
        let mut sessions = Sessions::default();
        let mut random = 1_u128;
        let bytes = counting::kept_by(|| {
            for n in 0..100_000 {
                // Drawn at random, as clients do: ids in order would leave the tree's nodes half full.
                random = random.wrapping_mul(0x2d99_787f_d3a1_3c9d_ab54_9f1b_7a2e_c1c5).wrapping_add(0x5851_f42d_4c95_7f2d);
                run(&mut sessions, &call(random, 1 + n, 1, 1), 10 + n, 0);
            }
        });
        assert_eq!(sessions.count(), SESSIONS_MAX as u64);
        assert!(bytes <= 16 << 20, "{bytes} bytes, {} each", bytes / SESSIONS_MAX);
        assert!(bytes > SESSIONS_MAX * size_of::<Session>(), "{bytes} bytes: they were not counted");
    }
}

/// What the allocator has handed out to a thread and not had back.
#[cfg(test)]
mod counting {
    use std::alloc::{GlobalAlloc, Layout, System};
    use std::cell::Cell;

    thread_local! {
        static KEPT: Cell<usize> = const { Cell::new(0) };
    }

    struct Counting;

    #[global_allocator]
    static COUNTING: Counting = Counting;

    /// What the system's allocator takes for a request: 8 bytes of its own in front, in steps of 16, at least 32.
    fn taken(size: usize) -> usize {
        (size + 8).next_multiple_of(16).max(32)
    }

    #[expect(unsafe_code, reason = "the only way to see every allocation; all work is handed to the system's allocator unchanged")]
    // SAFETY: the system's allocator keeps the contract, and counting touches no memory that it hands out.
    unsafe impl GlobalAlloc for Counting {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            KEPT.set(KEPT.get().wrapping_add(taken(layout.size())));
            // SAFETY: as the caller promises.
            unsafe { System.alloc(layout) }
        }

        unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
            KEPT.set(KEPT.get().wrapping_sub(taken(layout.size())));
            // SAFETY: as the caller promises.
            unsafe { System.dealloc(pointer, layout) }
        }
    }

    /// The bytes that `work` allocated on this thread and did not give back.
    pub(super) fn kept_by(work: impl FnOnce()) -> usize {
        let before = KEPT.get();
        work();
        KEPT.get().wrapping_sub(before)
    }
}
