//! One connection: its stream, and who is at the other end.

use std::net::SocketAddr;
use std::time::Instant;

use raft::NodeId;
use slotmap::new_key_type;
use wire::{DecodeError, Frame, FrameError, Purpose, Refused, RequestError};

use super::limits::{CLIENT_IN_FLIGHT_MAX, CLIENT_OUTPUT_BYTES_MAX, TURN_CONNECTION_BYTES_MAX};
use super::link::End;
use super::stream::{Output, Over, Stream};

new_key_type! {
    /// Names a connection; never reused, so that an event or a reply for one that is gone finds nobody.
    pub(crate) struct ConnectionKey;
}

/// Which listener a connection came through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Door {
    /// `--listen-client`.
    Client,
    /// `--listen-peer`.
    Peer,
}

/// Who is at the other end.
#[derive(Debug)]
pub(crate) enum Party {
    /// Somebody who has not said who it is.
    Stranger { door: Door },
    /// Somebody who was told "no": what it still sends is read and dropped, so that our answer is not lost in a reset.
    Leaving,
    /// A client.
    Client(Client),
    /// A peer that dialled us and was greeted.
    Peer { node: NodeId, purpose: Purpose, heard: Instant },
    /// A peer that we dialled.
    Dialled { peer: NodeId, purpose: Purpose, connected: bool },
}

/// What a client may still ask.
#[derive(Debug, Default)]
pub(crate) struct Client {
    /// Requests taken and not answered.
    pub(crate) in_flight: u32,
    /// It has frames or bytes waiting, and is at its limit.
    pub(crate) paused: bool,
    /// An answer waits until it has read others.
    pub(crate) waits_for_room: bool,
    /// Since when a part of a request lies here.
    pub(crate) unfinished_since: Option<Instant>,
    /// Its share of what all clients have unsent, and of what they hold to be read into, as last counted.
    pub(crate) counted: [usize; 2],
}

impl Client {
    /// Whether another request is taken, with so many unsent bytes.
    pub(crate) fn may_ask(&self, unsent: usize) -> bool {
        self.in_flight < CLIENT_IN_FLIGHT_MAX && unsent < CLIENT_OUTPUT_BYTES_MAX
    }
}

/// A connection of either direction.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) stream: Stream,
    pub(crate) remote: SocketAddr,
    /// Through which it came; `None`: we dialled.
    pub(crate) door: Option<Door>,
    pub(crate) party: Party,
    /// Waits to be read.
    pub(crate) queued: bool,
    /// Has output that was not handed to the kernel yet.
    pub(crate) unsent: bool,
}

/// Why a connection is to be closed.
#[derive(Debug)]
pub(crate) enum Why {
    /// The stream ended.
    Over(Over),
    /// What came is not our protocol.
    Bad(String),
    /// We say "no": the reason is sent first.
    Refuse(Refused),
    /// The peer said "no".
    RefusedByPeer(Refused),
    /// Our link gave up.
    Link(End),
}

impl Why {
    /// The words of a refusal, theirs or ours.
    pub(crate) fn refusal(&self) -> Option<&str> {
        match self {
            Why::Refuse(refused) | Why::RefusedByPeer(refused) => Some(&refused.message),
            _ => None,
        }
    }

    /// What it means for a link.
    pub(crate) fn end(&self) -> End {
        match self {
            Why::Over(Over::Error(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => End::ConnectionRefused,
            Why::Over(over) if over.by_peer() => End::ByPeer,
            Why::Over(_) => End::Failed,
            Why::Bad(_) | Why::Refuse(_) | Why::RefusedByPeer(_) => End::Refused,
            Why::Link(end) => *end,
        }
    }
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Why::Over(over) => over.fmt(f),
            Why::Bad(what) => f.write_str(what),
            Why::Refuse(refused) => write!(f, "refused: {}", refused.message),
            Why::RefusedByPeer(refused) => write!(f, "refused by it: {}", refused.message),
            Why::Link(End::ConnectTimeout) => f.write_str("cannot connect: no answer"),
            Why::Link(End::Silent) => f.write_str("silent"),
            Why::Link(_) => f.write_str("failed"),
        }
    }
}

impl From<Over> for Why {
    fn from(over: Over) -> Why {
        Why::Over(over)
    }
}

impl From<FrameError> for Why {
    fn from(error: FrameError) -> Why {
        Why::Bad(error.to_string())
    }
}

impl From<DecodeError> for Why {
    fn from(error: DecodeError) -> Why {
        Why::Bad(error.to_string())
    }
}

impl From<RequestError> for Why {
    fn from(error: RequestError) -> Why {
        Why::Bad(error.to_string())
    }
}

/// Whether the next frame may follow at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Flow {
    Next,
    Stop,
}

/// What is left after a reading.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Left {
    /// Nothing, until the poll says otherwise.
    Nothing,
    /// Frames or bytes: come back.
    More,
}

impl Connection {
    /// Of `party`: a stranger, or a peer that we dial.
    pub(crate) fn new(stream: Stream, remote: SocketAddr, party: Party) -> Connection {
        let door = if let Party::Stranger { door } = party { Some(door) } else { None };
        Connection { stream, remote, door, party, queued: false, unsent: false }
    }

    /// A client was read: whether a `whole` request came, and whether we `stopped` ourselves, which leaves it nothing to hurry for.
    pub(crate) fn note_request(&mut self, whole: bool, stopped: bool, now: Instant) {
        let is_part = !stopped && self.stream.input.pending_len() > 0;
        if let Party::Client(client) = &mut self.party {
            let since = client.unfinished_since.filter(|_| !whole);
            client.unfinished_since = is_part.then(|| since.unwrap_or(now));
        }
    }

    /// Hands every whole frame to `each`, and reads on until nothing is left, `each` says stop, or the connection has had its share of
    /// this turn. The bytes read are added to `count`.
    pub(crate) fn read(
        &mut self,
        count: &mut u64,
        each: impl FnMut(Frame<'_>, &mut Output, &mut Party) -> Result<Flow, Why>,
    ) -> Result<Left, Why> {
        self.read_share(TURN_CONNECTION_BYTES_MAX, count, each)
    }

    /// The same with another share: reads on while less than that was read.
    pub(crate) fn read_share(
        &mut self,
        share: usize,
        count: &mut u64,
        mut each: impl FnMut(Frame<'_>, &mut Output, &mut Party) -> Result<Flow, Why>,
    ) -> Result<Left, Why> {
        let mut taken = 0;
        loop {
            while let Some(frame) = self.stream.input.next()? {
                if each(frame, &mut self.stream.output, &mut self.party)? == Flow::Stop {
                    return Ok(Left::More);
                }
            }
            if !self.stream.readable {
                return Ok(Left::Nothing);
            }
            if taken >= share {
                return Ok(Left::More);
            }
            let filled = self.stream.fill()?;
            taken += filled;
            *count += filled as u64;
        }
    }
}
