//! One outgoing connection to a peer as a value: when to dial, when to ping, when to give up. It holds no socket and reads no clock;
//! `now` comes in, what to do comes out.

use std::time::{Duration, Instant};

use raft::Incarnation;

use super::limits::{CONNECT_MAX, REDIAL_MIN, REDIAL_REFUSED};

/// The times a link lives by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// A ping leaves this often.
    pub(crate) heartbeat: Duration,
    /// Silent for this long: closed and dialled again.
    pub(crate) election: Duration,
}

/// What a link wants done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Want {
    /// Open a connection; then say `connected` or `ended`.
    Dial,
    /// Send a ping.
    Ping,
    /// Close the connection; the link has already moved on.
    Close(End),
}

/// How a connection ended. Only the first two say anything about the peer's process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// Nobody listens there.
    ConnectionRefused,
    /// The remote ended an open connection (end of file, reset).
    ByPeer,
    /// It took longer than `CONNECT_MAX` to connect.
    ConnectTimeout,
    /// Connected, and then silent.
    Silent,
    /// The peer answered "no", or we did.
    Refused,
    /// Anything else, on our side or on the way.
    Failed,
}

/// News about the peer's process, drawn from how its connections end and begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum PeerNews {
    /// The process we were connected to is known to be gone.
    ProcessGone,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Not connected; dial at this time.
    Waiting { until: Instant },
    /// Dialled.
    Connecting { since: Instant },
    /// Connected, our `Hello` sent.
    Greeting { since: Instant },
    /// Greeted.
    Up { heard: Instant, pinged: Instant },
}

/// One outgoing connection to one peer.
#[derive(Debug)]
pub(crate) struct Link {
    pace: Pace,
    state: State,
    backoff: Duration,
    /// The process greeted last.
    incarnation: Option<Incarnation>,
    /// The remote ended a greeted connection, and no re-dial has told yet whether the process lives.
    ended_by_peer: bool,
}

impl Link {
    /// Wants to dial at once.
    pub(crate) fn new(pace: Pace, now: Instant) -> Link {
        Link { pace, state: State::Waiting { until: now }, backoff: REDIAL_MIN, incarnation: None, ended_by_peer: false }
    }

    /// What is due now, if anything. Call until it says `None`.
    pub(crate) fn poll(&mut self, now: Instant, jitter: f64) -> Option<Want> {
        match &mut self.state {
            State::Waiting { until } if *until <= now => {
                self.state = State::Connecting { since: now };
                Some(Want::Dial)
            }
            State::Connecting { since } if now.duration_since(*since) >= CONNECT_MAX => {
                self.ended(End::ConnectTimeout, now, jitter);
                Some(Want::Close(End::ConnectTimeout))
            }
            State::Greeting { since } if now.duration_since(*since) >= self.pace.election => {
                self.ended(End::Silent, now, jitter);
                Some(Want::Close(End::Silent))
            }
            State::Up { heard, .. } if now.duration_since(*heard) >= self.pace.election => {
                self.ended(End::Silent, now, jitter);
                Some(Want::Close(End::Silent))
            }
            State::Up { pinged, .. } if now.duration_since(*pinged) >= self.pace.heartbeat => {
                *pinged = now;
                Some(Want::Ping)
            }
            _ => None,
        }
    }

    /// The connection stands; our `Hello` leaves now.
    pub(crate) fn connected(&mut self, now: Instant) {
        self.state = State::Greeting { since: now };
    }

    /// The peer answered our `Hello`.
    pub(crate) fn greeted(&mut self, incarnation: Incarnation, now: Instant) -> Option<PeerNews> {
        self.state = State::Up { heard: now, pinged: now };
        self.backoff = REDIAL_MIN;
        self.ended_by_peer = false;
        let before = self.incarnation.replace(incarnation);
        before.is_some_and(|before| before != incarnation).then_some(PeerNews::ProcessGone)
    }

    /// Bytes came from the peer.
    pub(crate) fn heard(&mut self, now: Instant) {
        if let State::Up { heard, .. } = &mut self.state {
            *heard = now;
        }
    }

    /// After a gap (this process stood still) nobody's silence means anything: what they sent has just been read.
    pub(crate) fn forgive_silence(&mut self, now: Instant) {
        match &mut self.state {
            State::Up { heard, .. } => *heard = now,
            State::Greeting { since } | State::Connecting { since } => *since = now,
            State::Waiting { .. } => {}
        }
    }

    /// The peer is known to be there: no need to wait out a pause.
    pub(crate) fn nudge(&mut self, now: Instant) {
        if let State::Waiting { until } = &mut self.state {
            *until = now.min(*until);
        }
    }

    /// The connection is over, or could not be made. After a greeted connection that the remote ended, the next dial is due at once:
    /// whether it is refused tells a dead process from a lost connection.
    pub(crate) fn ended(&mut self, end: End, now: Instant, jitter: f64) -> Option<PeerNews> {
        let was_up = self.is_up();
        let pause = match end {
            End::Refused => REDIAL_REFUSED,
            End::ByPeer if was_up => Duration::ZERO,
            _ => self.backoff,
        };
        if pause > Duration::ZERO {
            self.backoff = (self.backoff * 2).min(self.pace.election);
        }
        self.state = State::Waiting { until: now + pause.mul_f64(0.5 + jitter / 2.0) };
        match end {
            End::ByPeer if was_up => self.ended_by_peer = true,
            End::ConnectionRefused if self.ended_by_peer => {
                self.ended_by_peer = false;
                return Some(PeerNews::ProcessGone);
            }
            _ => {}
        }
        None
    }

    /// Greeted: messages may be sent.
    pub(crate) fn is_up(&self) -> bool {
        matches!(self.state, State::Up { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace { heartbeat: Duration::from_millis(50), election: Duration::from_millis(300) };
    const ONE: Incarnation = Incarnation(1);
    const TWO: Incarnation = Incarnation(2);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn up(start: Instant) -> Link {
        let mut link = Link::new(PACE, start);
        assert_eq!(link.poll(start, 1.0), Some(Want::Dial));
        link.connected(start);
        assert_eq!(link.greeted(ONE, start), None);
        assert!(link.is_up());
        link
    }

    #[test]
    fn a_new_link_dials_at_once_and_only_once() {
        let start = Instant::now();
        let mut link = Link::new(PACE, start);
        assert_eq!(link.poll(start, 1.0), Some(Want::Dial));
        assert_eq!(link.poll(start, 1.0), None);
    }

    #[test]
    fn it_pings_once_per_heartbeat_while_it_is_up() {
        let start = Instant::now();
        let mut link = up(start);
        assert_eq!(link.poll(start + ms(49), 1.0), None);
        assert_eq!(link.poll(start + ms(50), 1.0), Some(Want::Ping));
        assert_eq!(link.poll(start + ms(50), 1.0), None);
        assert_eq!(link.poll(start + ms(100), 1.0), Some(Want::Ping));
    }

    #[test]
    fn silence_of_one_election_timeout_closes_it_and_says_nothing_about_the_process() {
        let start = Instant::now();
        let mut link = up(start);
        link.heard(start + ms(100));
        link.poll(start + ms(399), 1.0);
        assert!(link.is_up());
        assert_eq!(link.poll(start + ms(400), 1.0), Some(Want::Close(End::Silent)));
        assert_eq!(link.poll(start + ms(420), 1.0), Some(Want::Dial));
        assert_eq!(link.ended(End::ConnectionRefused, start + ms(421), 1.0), None, "we ended it, not the peer");
    }

    #[test]
    fn a_pause_of_our_own_is_not_the_peers_silence() {
        let start = Instant::now();
        let mut link = up(start);
        link.forgive_silence(start + ms(5000));
        assert_eq!(link.poll(start + ms(5000), 1.0), Some(Want::Ping));
        assert!(link.is_up());
    }

    #[test]
    fn an_ended_connection_is_redialled_at_once_and_a_refusal_then_proves_the_process_gone() {
        let start = Instant::now();
        let mut link = up(start);
        assert_eq!(link.ended(End::ByPeer, start, 1.0), None);
        assert_eq!(link.poll(start, 1.0), Some(Want::Dial));
        assert_eq!(link.ended(End::ConnectionRefused, start, 1.0), Some(PeerNews::ProcessGone));
        assert_eq!(link.poll(start, 1.0), None, "now there is a pause");
        assert_eq!(link.poll(start + ms(20), 1.0), Some(Want::Dial));
        assert_eq!(link.ended(End::ConnectionRefused, start + ms(20), 1.0), None, "told once");
    }

    #[test]
    fn a_redial_that_times_out_is_no_proof_but_a_later_refusal_is() {
        let start = Instant::now();
        let mut link = up(start);
        link.ended(End::ByPeer, start, 1.0);
        link.poll(start, 1.0);
        assert_eq!(link.poll(start + ms(300), 1.0), Some(Want::Close(End::ConnectTimeout)));
        assert_eq!(link.poll(start + ms(320), 1.0), Some(Want::Dial));
        assert_eq!(link.ended(End::ConnectionRefused, start + ms(320), 1.0), Some(PeerNews::ProcessGone));
    }

    #[test]
    fn a_new_incarnation_proves_the_old_process_gone_and_the_same_one_does_not() {
        let start = Instant::now();
        let mut link = up(start);
        for (incarnation, news) in [(ONE, None), (TWO, Some(PeerNews::ProcessGone)), (TWO, None)] {
            link.ended(End::ByPeer, start, 1.0);
            assert_eq!(link.poll(start, 1.0), Some(Want::Dial));
            link.connected(start);
            assert_eq!(link.greeted(incarnation, start), news);
        }
    }

    #[test]
    fn refusals_back_off_to_one_election_timeout() {
        let start = Instant::now();
        let mut link = Link::new(PACE, start);
        let mut now = start;
        let mut pauses = Vec::new();
        for _ in 0..7 {
            assert_eq!(link.poll(now, 1.0), Some(Want::Dial));
            link.ended(End::ConnectionRefused, now, 1.0);
            let State::Waiting { until } = link.state else { panic!("{:?}", link.state) };
            pauses.push(until.duration_since(now));
            now = until;
        }
        assert_eq!(pauses, [20, 40, 80, 160, 300, 300, 300].map(ms));
    }

    #[test]
    fn a_connection_that_is_never_greeted_is_given_up() {
        let start = Instant::now();
        let mut link = Link::new(PACE, start);
        link.poll(start, 1.0);
        link.connected(start + ms(10));
        assert_eq!(link.poll(start + ms(309), 1.0), None);
        assert_eq!(link.poll(start + ms(310), 1.0), Some(Want::Close(End::Silent)));
    }

    #[test]
    fn a_peer_that_says_no_is_asked_again_after_a_second() {
        let start = Instant::now();
        let mut link = up(start);
        link.ended(End::Refused, start, 1.0);
        assert_eq!(link.poll(start + ms(999), 1.0), None);
        assert_eq!(link.poll(start + ms(1000), 1.0), Some(Want::Dial));
    }
}
