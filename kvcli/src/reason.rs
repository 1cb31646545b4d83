//! Why one endpoint did not help: what an error says about each of them.

use std::fmt;

use wire::client::BusyReason;
use wire::hello::RefusedReason;

/// Why one endpoint did not help.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reason {
    /// Its name has no address.
    Unresolvable(String),
    /// No connection: refused, no route, and the like.
    Connect(String),
    /// No connection in time: stopped, or cut off.
    ConnectTimeout,
    /// Connected, but no greeting in time: stopped, or not a kvnode.
    NoGreeting,
    /// It refused to talk.
    Refused(RefusedReason, String),
    /// It speaks something else.
    Garbled(String),
    /// No answer in time.
    NoReply,
    /// The connection ended.
    Closed(String),
    /// It does not lead; perhaps it knows who does.
    NotLeader(Option<String>),
    /// It led when it took the request, and no longer.
    LeadershipLost,
    /// Another entry stands where this attempt was.
    Replaced,
    /// Overloaded, or full.
    Busy(BusyReason),
    /// The cluster never had all its members together yet; these are missing.
    Forming(Vec<String>),
    /// It has forgotten the session.
    SessionExpired,
    /// It has forgotten the scan.
    ScanLost,
}

impl Reason {
    /// Whether it is a definite "no" to this client rather than to this moment.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self, Reason::Refused(reason, _) if *reason != RefusedReason::TooManyConnections)
    }

    /// Whether nothing was ever asked there.
    pub(crate) fn is_before_greeting(&self) -> bool {
        matches!(self, Reason::Unresolvable(_) | Reason::Connect(_) | Reason::ConnectTimeout | Reason::NoGreeting)
    }

    /// Whether the endpoint said nothing at all: visiting it costs a timeout, not a round trip.
    pub(crate) fn is_silence(&self) -> bool {
        matches!(self, Reason::ConnectTimeout | Reason::NoGreeting | Reason::NoReply)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Unresolvable(why) => write!(f, "cannot resolve the name: {why}"),
            Reason::Connect(why) => write!(f, "{why}"),
            Reason::ConnectTimeout => write!(f, "no connection in time"),
            Reason::NoGreeting => write!(f, "connected, but it says nothing (stopped, or not a kvnode?)"),
            Reason::Refused(_, message) => write!(f, "refused: {message}"),
            Reason::Garbled(why) => write!(f, "does not speak our protocol: {why}"),
            Reason::NoReply => write!(f, "no reply in time"),
            Reason::Closed(why) => write!(f, "connection lost: {why}"),
            Reason::NotLeader(Some(leader)) => write!(f, "not the leader, names {leader}"),
            Reason::NotLeader(None) => write!(f, "not the leader, knows of none"),
            Reason::LeadershipLost => write!(f, "lost its leadership meanwhile"),
            Reason::Replaced => write!(f, "lost its leadership, and the request with it"),
            Reason::Busy(BusyReason::Uncommitted) => write!(f, "busy: too many bytes wait for a majority"),
            Reason::Busy(BusyReason::Waiting) => write!(f, "busy: too many requests wait"),
            Reason::Busy(BusyReason::Full) => write!(f, "busy: full: it is at its --max-data-bytes; deletes go on"),
            Reason::Busy(BusyReason::Log) => f.write_str("busy: its log waits to be compacted"),
            Reason::Busy(BusyReason::NoSpace) => write!(f, "busy: the disk of this node is full; reads go on, writes when it has room"),
            Reason::Forming(missing) if missing.is_empty() => write!(f, "the cluster is still forming"),
            Reason::Forming(missing) => write!(f, "the cluster is still forming, never heard of: {}", missing.join(", ")),
            Reason::SessionExpired => write!(f, "has forgotten the session"),
            Reason::ScanLost => write!(f, "has forgotten the scan: its reader was too slow, or too much changed meanwhile"),
        }
    }
}

/// One endpoint that was tried, and why it did not help.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tried {
    /// `HOST:PORT`.
    pub address: String,
    /// The last thing it did.
    pub reason: Reason,
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.address, self.reason)
    }
}
