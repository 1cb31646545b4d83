//! Bounds on what the loop holds and does for others, with their reasons.

use std::time::Duration;

/// Bytes of requests that one turn takes: what a turn takes becomes one batch and one sync, and everybody waits for it. With 4 MiB, three
/// nodes on one busy disk synced for longer than an election timeout, and the leader gave up.
pub(crate) const TURN_REQUEST_BYTES_MAX: usize = 1 << 20;

/// Bytes of requests after which a turn takes not even small ones: those that fit into a first read go on beyond the bound above, so that
/// a get does not wait behind a line of large puts.
pub(crate) const TURN_SMALL_BYTES_MAX: usize = 4 << 20;

/// Bytes read from one connection in one turn: no connection may keep the others waiting.
pub(crate) const TURN_CONNECTION_BYTES_MAX: usize = 1 << 20;

/// Passes over the peers' connections before the ticks of a gap (a pause, a slow sync) are counted: enough to read all that a kernel
/// buffers for a connection, so that no election starts while the leader's heartbeat lies unread.
pub(crate) const GAP_PASSES_MAX: u32 = 32;

/// Connections taken from a listener in one turn.
pub(crate) const TURN_ACCEPTS_MAX: usize = 256;

/// Events taken from one poll; when there are as many, the next poll follows at once.
pub(crate) const POLL_EVENTS_MAX: usize = 1024;

/// Polls in one turn.
pub(crate) const TURN_POLLS_MAX: usize = 16;

/// Requests of one connection under way; the rest waits in the socket. As many as the window of a session, so that a client with one
/// session never feels it.
pub(crate) const CLIENT_IN_FLIGHT_MAX: u32 = 64;

/// Unsent reply bytes at which no further request is taken from a client, and no answer to an earlier read is made, until it reads. With
/// one answer of the largest value this bounds a connection's buffer: a stranger who asks for 64 of them and never reads costs two.
pub(crate) const CLIENT_OUTPUT_BYTES_MAX: usize = 1 << 20;

/// The same for all clients together, as there may be thousands: above it answers wait, but for small ones.
pub(crate) const CLIENTS_OUTPUT_BYTES_MAX: usize = 64 << 20;

/// An answer that need not wait for what others have not read, and the unsent bytes up to which a client gets such.
pub(crate) const CLIENT_SMALL_REPLY_LEN: usize = 16 << 10;

/// A client that has not read a byte of its replies for this long is given up.
pub(crate) const CLIENT_STALLED_MAX: Duration = Duration::from_secs(30);

/// The same while others wait because of it.
pub(crate) const CLIENT_STALLED_PRESSED_MAX: Duration = Duration::from_secs(2);

/// A request must be whole within this time of its first byte: the longest, at 1 Mbit/s, takes 17 s.
pub(crate) const CLIENT_REQUEST_MAX: Duration = Duration::from_secs(30);

/// Memory that clients' requests are read into, all clients together and beyond the first 16 KiB of each: whoever sends as large a
/// request as there may be needs 3 MiB. Above it those go whose requests have been incomplete for longest.
pub(crate) const CLIENTS_INPUT_BYTES_MAX: usize = 256 << 20;

/// Unsent bytes on a link to a peer; messages that find it full are dropped, which raft expects of any network. Above the appends that
/// raft has under way to one follower, so that it happens only when the peer has stopped reading.
pub(crate) const LINK_OUTPUT_BYTES_MAX: usize = 16 << 20;

/// Unsent bytes that a buffer keeps room for after it was emptied.
pub(crate) const OUTPUT_KEPT_LEN: usize = 256 << 10;

/// Whoever connects must have said who they are within this time.
pub(crate) const GREETING_MAX: Duration = Duration::from_secs(5);

/// A connection from a peer that is silent for this long is dead: its dialler pings it many times a second.
pub(crate) const PEER_SILENT_MAX: Duration = Duration::from_secs(10);

/// Clients at a time, strangers included. Each costs a descriptor and some 20 KiB.
const CLIENTS_MAX: usize = 16_384;

/// Descriptors that clients may not take. Half of them are for whoever comes to the peers' door: 31 peers would be 93, and some dial
/// anew before their old connections are gone. The other half is for our own links, as many, and for files: a log that cannot open its
/// next one ends the node.
const DESCRIPTORS_RESERVED: usize = 256;

/// With fewer descriptors a node says so at its start: a quarter of them must do for its files and its links, which are some 30 beside a few
/// peers.
pub(crate) const DESCRIPTORS_MIN: u64 = 128;

/// Clients at a time for a process that may have so many descriptors: however many come, the peers still find one.
pub(crate) fn clients_max(descriptors: u64) -> usize {
    let descriptors = usize::try_from(descriptors).unwrap_or(usize::MAX);
    (descriptors - reserved(descriptors)).min(CLIENTS_MAX)
}

/// Connections at the peers' door at a time, strangers included.
pub(crate) fn incoming_max(descriptors: u64) -> usize {
    reserved(usize::try_from(descriptors).unwrap_or(usize::MAX)) / 2
}

fn reserved(descriptors: usize) -> usize {
    DESCRIPTORS_RESERVED.min(descriptors / 2)
}

/// Lines per second about connections that were closed for what they sent; the rest is counted.
pub(crate) const COMPLAINTS_PER_SECOND_MAX: u32 = 5;

/// The same refusal is logged again after this time: whoever is refused comes again and again.
pub(crate) const REFUSAL_REPEATED: Duration = Duration::from_secs(60);

/// Refusals remembered; whoever makes up new ones without end is only limited by the rate of complaints.
pub(crate) const REFUSALS_MAX: usize = 64;

/// Connecting to a peer may take this long.
pub(crate) const CONNECT_MAX: Duration = Duration::from_millis(300);

/// First pause before a link is dialled again; it doubles up to one election timeout.
pub(crate) const REDIAL_MIN: Duration = Duration::from_millis(20);

/// A peer that refused us will not change its mind in milliseconds.
pub(crate) const REDIAL_REFUSED: Duration = Duration::from_secs(1);

/// Ticks without a save after which the log is sealed.
pub(crate) const SEAL_IDLE_TICKS: u32 = 2;

/// How long a stop may take to hand the last replies to the kernel.
pub(crate) const STOP_FLUSH_MAX: Duration = Duration::from_millis(500);
