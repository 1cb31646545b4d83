//! Frames in few words, for the trace.

use std::borrow::Cow;
use std::fmt;

use wire::client::{Reply, Request};
use wire::command::{Command, Op};
use wire::frame::FrameBuffer;
use wire::limits::FRAME_BODY_LEN_MAX;
use wire::peer::PeerFrame;

/// Bytes of a key or value that are shown.
const SHOWN_MAX: usize = 24;

/// A frame between nodes that is on its way.
pub(crate) fn on_its_way(mut bytes: &[u8]) -> String {
    let mut received = FrameBuffer::new(FRAME_BODY_LEN_MAX);
    while !bytes.is_empty() {
        let space = received.space();
        let (next, rest) = bytes.split_at(space.len().min(bytes.len()));
        space[..next.len()].copy_from_slice(next);
        received.filled(next.len());
        bytes = rest;
    }
    let frame = received.next().expect("a good frame").expect("a whole frame");
    Said(&wire::peer::decode_peer(frame).expect("what a node sent")).to_string()
}

/// What nodes say to each other.
pub(crate) struct Said<'a>(pub(crate) &'a PeerFrame<'a>);

impl fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            PeerFrame::Raft { message, .. } => message.fmt(f),
            PeerFrame::Ping => f.write_str("ping"),
            PeerFrame::Pong => f.write_str("pong"),
            PeerFrame::SnapshotFetch { last, offset } => write!(f, "fetch snapshot {last} from byte {offset}"),
            PeerFrame::SnapshotChunk { last, file_len, offset, bytes } => {
                write!(f, "snapshot {last} bytes {offset} to {} of {file_len}", offset + bytes.len() as u64)
            }
            PeerFrame::StateDigest { index, digest } => write!(f, "digest of {index} is {digest:016x}"),
        }
    }
}

/// What a client asks.
pub(crate) struct Asked<'a>(pub(crate) &'a Request<'a>);

impl fmt::Display for Asked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Request::Write { command } => match Command::decode(command) {
                Ok(Command::Write { call, op }) => {
                    match op {
                        Op::Put { key, value } => write!(f, "put {} {}", shown(key), shown(value))?,
                        Op::Append { key, value } => write!(f, "append {} {}", shown(key), shown(value))?,
                        Op::Delete { key } => write!(f, "delete {}", shown(key))?,
                        Op::Cas { key, expect, value } => write!(f, "cas {} {expect:?} {}", shown(key), shown(value))?,
                    }
                    write!(f, ", call {} of {:08x}", call.seq, call.session.0 >> 96)
                }
                other => write!(f, "{other:?}"),
            },
            Request::Get { key } => write!(f, "get {}", shown(key)),
            Request::GetStale { key } => write!(f, "get {} --stale", shown(key)),
            Request::Scan(scan) => {
                let to = scan.to.map_or(Cow::Borrowed("the end"), shown);
                write!(f, "scan {} to {to}{}", shown(scan.from), if scan.stale { " --stale" } else { "" })
            }
            Request::ScanNext { scan } => write!(f, "next page of scan {scan}"),
            Request::Status => f.write_str("status"),
            Request::Members => f.write_str("members"),
        }
    }
}

/// What a node answers.
pub(crate) struct Answered<'a>(pub(crate) &'a Reply);

impl fmt::Display for Answered<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Reply::Written(written) => write!(f, "{:?} at {}, version {}", written.outcome, written.position, written.version),
            Reply::Value { value: None, position } => write!(f, "no such key at {position}"),
            Reply::Value { value: Some(value), position } => write!(f, "{} at {position}, version {}", shown(&value.value), value.version),
            Reply::StaleValue { value, position, age_ms } => {
                let value = value.as_ref().map_or(Cow::Borrowed("no such key"), |value| shown(&value.value));
                write!(f, "{value} at {position}, {age_ms:?} ms old")
            }
            Reply::Page(page) => {
                write!(f, "{} keys at {}{}", page.items.len(), page.position, if page.last { ", the last" } else { "" })
            }
            Reply::NotLeader { leader: Some(leader), .. } => write!(f, "not leader, {leader} is"),
            Reply::NotLeader { leader: None, .. } => f.write_str("not leader, nobody known"),
            Reply::Busy { reason } => write!(f, "busy: {reason:?}"),
            Reply::Forming { missing } => write!(f, "forming, without {missing:?}"),
            Reply::Members { leader, .. } => write!(f, "members, leader {leader:?}"),
            Reply::Status(_) => f.write_str("status"),
            other => write!(f, "{other:?}"),
        }
    }
}

pub(crate) fn shown(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) if bytes.len() <= SHOWN_MAX && text.chars().all(|letter| letter.is_ascii_graphic()) => Cow::Borrowed(text),
        Ok(text) if bytes.len() <= SHOWN_MAX => Cow::Owned(format!("{text:?}")),
        _ => Cow::Owned(format!("({} bytes)", bytes.len())),
    }
}
