//! Between a client and a node. Requests carry an id; replies may come out of order.
//!
//! How fields are written stands in PROTOCOL.md, "Fields". The body of a request, a frame of kind 5:
//!
//! | offset | size | field      | meaning                                                                                      |
//! |-------:|-----:|------------|----------------------------------------------------------------------------------------------|
//! |      0 |    8 | request id | the client's; the reply repeats it                                                           |
//! |      8 |    1 | type       | 1 write, 2 get, 3 status, 4 members, 5 get stale, 6 scan, 7 scan next                        |
//! |      9 |      | write      | the encoded command, to the end                                                              |
//! |      9 |      | get        | key bytes                                                                                    |
//! |      9 |      | get stale  | key bytes                                                                                    |
//! |      9 |      | scan       | stale bool, keys only bool, from bytes (included), to optional bytes (excluded), limit optional 8 |
//! |      9 |      | scan next  | scan 8, from the page before                                                                 |
//!
//! The body of a reply, a frame of kind 6, begins with the request id, 8, and a type, 1:
//!
//! | type | reply           | fields behind the type, in this order                                        |
//! |-----:|-----------------|------------------------------------------------------------------------------|
//! |    1 | written         | outcome 1, version 8 (the key's from now on; 0: no such key), position index |
//! |    2 | value           | position index, optional: version 8, modified index, value bytes             |
//! |    3 | status          | a node's status, to the end                                                  |
//! |    4 | members         | leader: optional node, list of: node, name, client address                   |
//! |    5 | not leader      | leader: optional node, its client address (empty: unknown)                   |
//! |    6 | busy            | reason 1                                                                     |
//! |    7 | forming         | list of: name                                                                |
//! |    8 | replaced        |                                                                              |
//! |    9 | leadership lost |                                                                              |
//! |   10 | session expired |                                                                              |
//! |   11 | rejected        | reason 1                                                                     |
//! |   12 | stale value     | age optional 8, position index, optional: version 8, modified index, value bytes |
//! |   13 | page            | scan 8, position index, age optional 8, last bool, count 4, then that many: key bytes, version 8, value bytes |
//! |   14 | scan lost       |                                                                              |
//!
//! Age is the time since the node last heard from a leader, milliseconds; absent: never, or the read was not a stale one.
//!
//! | code | outcome of a write                  | reason of busy                 | reason of rejected             |
//! |-----:|-------------------------------------|--------------------------------|--------------------------------|
//! |    1 | done: put, append                   | uncommitted: too much proposed | key empty                      |
//! |    2 | deleted                             | waiting: too many requests     | key too long                   |
//! |    3 | delete: not found                   | full: at most deletes go on    | value too long                 |
//! |    4 | swapped                             | no space: its disk is full     | version or type not known here |
//! |    5 | cas: not as expected                | log: it waits to be compacted  | sequence outside the window    |
//! |    6 | append: the value would be too long |                                |                                |

use raft::{Index, NodeId};

use crate::codec::{DecodeError, Reader, Writer};
use crate::frame::{Frame, Kind, encode_frame};
use crate::hello::MemberAddress;
use crate::limits::{ADDRESS_LEN_MAX, NAME_LEN_MAX};
use crate::status::NodeStatus;

/// What a client asks. A write's payload is an encoded `Command::Write`: the node checks it and logs those very bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Request<'a> {
    /// A write.
    Write {
        /// What `encode_write` wrote.
        command: &'a [u8],
    },
    /// A linearizable read of one key, at any node.
    Get {
        /// Which key.
        key: &'a [u8],
    },
    /// What this node has applied of one key, whoever leads: possibly old.
    GetStale {
        /// Which key.
        key: &'a [u8],
    },
    /// Keys in byte order as they are at one point in time, in pages: the first is the reply, the others are asked for.
    Scan(Scan<'a>),
    /// The next page.
    ScanNext {
        /// From the page before.
        scan: u64,
    },
    /// How is this node?
    Status,
    /// Whom do you know? Answered as `Welcome` is.
    Members,
}

/// Which keys, and how.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scan<'a> {
    /// As this node has applied them; otherwise linearizable.
    pub stale: bool,
    /// Values are left empty.
    pub keys_only: bool,
    /// The first key, if there is such a one.
    pub from: &'a [u8],
    /// The first key that is not wanted any more; `None`: to the end.
    pub to: Option<&'a [u8]>,
    /// Keys at most.
    pub limit: Option<u64>,
}

/// Some keys of a scan.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page {
    /// For the next page.
    pub scan: u64,
    /// The point in time of the whole scan.
    pub position: Index,
    /// Of a stale scan: milliseconds since the node last heard from a leader; `None`: never.
    pub age_ms: Option<u64>,
    /// Nothing follows, and the node has forgotten the scan.
    pub last: bool,
    /// In byte order.
    pub items: Vec<Item>,
}

/// A key in a page.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Item {
    /// The key.
    pub key: Vec<u8>,
    /// Its value; empty if only keys were asked for.
    pub value: Vec<u8>,
    /// Writes since the key was created.
    pub version: u64,
}

/// What a node answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply {
    /// The write took effect (or, for a lost cas and the like, was decided) at this position. The same for every retry of the call.
    Written(Written),
    /// What a key holds.
    Value {
        /// `None`: no such key.
        value: Option<Value>,
        /// The log index it was read at.
        position: Index,
    },
    /// What a key holds as far as this node has applied the log.
    StaleValue {
        /// `None`: no such key.
        value: Option<Value>,
        /// The log index it was read at.
        position: Index,
        /// Milliseconds since the node last heard from a leader; `None`: never.
        age_ms: Option<u64>,
    },
    /// Part of a scan.
    Page(Page),
    /// The node does not know this scan any more: its reader was too slow, or the node was restarted. Begin again.
    ScanLost,
    /// How this node is.
    Status(Box<NodeStatus>),
    /// Whom this node knows.
    Members {
        /// The leader it knows of.
        leader: Option<NodeId>,
        /// All members.
        members: Vec<MemberAddress>,
    },
    /// Not done, nothing appended: ask the leader, if it is known.
    NotLeader {
        /// The leader it knows of.
        leader: Option<NodeId>,
        /// Where clients reach that leader; empty: unknown.
        client_addr: String,
    },
    /// Not done, nothing appended: try again later.
    Busy {
        /// Why.
        reason: BusyReason,
    },
    /// Not done, nothing appended: the cluster is not formed yet.
    Forming {
        /// The names of the members that were never heard.
        missing: Vec<String>,
    },
    /// This attempt was appended and another entry now stands in its place: it will never take effect. Safe to retry.
    ///
    /// No schedule of the present node ends in it: only a leader has writers waiting, nobody else replaces a leader's entries, and when it
    /// leads no longer all of them are told `LeadershipLost` before anything else is applied. It stays because a node compares what it
    /// applies with what was asked for all the same: if that order is ever broken, the answer is one that may be retried and not a false
    /// *done*. Clients know it since the first version of the protocol.
    Replaced,
    /// This attempt was appended, then leadership was lost: it may still take effect. Retry under the same sequence number to learn.
    LeadershipLost,
    /// Refused: the session was evicted, or never existed and was born at or before the horizon. Never run.
    SessionExpired,
    /// Refused, now and for ever.
    Rejected {
        /// Why.
        reason: RejectedReason,
    },
}

/// What a write did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Written {
    /// What became of it.
    pub outcome: WriteOutcome,
    /// The key's version afterwards; 0: no such key.
    pub version: u64,
    /// The log index it took effect at.
    pub position: Index,
}

/// What became of a write; part of the state (replies are kept), so the codes are fixed for ever.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum WriteOutcome {
    /// Put, append: done.
    Done = 1,
    /// Delete: it was there, and is gone.
    Deleted = 2,
    /// Delete: it was not there.
    NotFound = 3,
    /// Cas: swapped.
    Swapped = 4,
    /// Cas: not as expected; nothing changed.
    NotSwapped = 5,
    /// Append: the value would pass its limit; nothing changed.
    ValueTooLong = 6,
}

/// A value and its history.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Value {
    /// The bytes.
    pub value: Vec<u8>,
    /// Writes since the key was created.
    pub version: u64,
    /// The log index of the last of them.
    pub modified: Index,
}

/// Why a request is not taken now.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum BusyReason {
    /// Too many bytes proposed and not yet committed.
    Uncommitted = 1,
    /// Too many requests waiting.
    Waiting = 2,
    /// The state is at `--max-data-bytes`; deletes go on.
    Full = 3,
    /// The disk of this node has no room for more log: nothing is written until it has.
    NoSpace = 4,
    /// The log is several times longer than it should be: it waits for a snapshot.
    Log = 5,
}

/// Why a request is refused for ever.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum RejectedReason {
    /// A key of no bytes.
    KeyEmpty = 1,
    /// A key above `KEY_LEN_MAX`.
    KeyTooLong = 2,
    /// A value above `VALUE_LEN_MAX`.
    ValueTooLong = 3,
    /// A command or a request of a version or kind this node does not know.
    Version = 4,
    /// A sequence number outside the session's window.
    Sequence = 5,
}

/// Why a frame is no request.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RequestError {
    /// A request that this version does not know: answer `Rejected { Version }`.
    #[error("request {request_id} is of unknown type {code}")]
    Unknown {
        /// Its id, for the answer.
        request_id: u64,
        /// The type.
        code: u8,
    },
    /// No request at all: close the connection.
    #[error(transparent)]
    Malformed(#[from] DecodeError),
}

/// Appends the frame.
pub fn encode_request(request_id: u64, request: &Request<'_>, out: &mut Vec<u8>) {
    encode_frame(out, Kind::Request, |out| {
        out.put_u64(request_id);
        match request {
            Request::Write { command } => {
                out.put_u8(1);
                out.extend_from_slice(command);
            }
            Request::Get { key } => {
                out.put_u8(2);
                out.put_bytes(key);
            }
            Request::Status => out.put_u8(3),
            Request::Members => out.put_u8(4),
            Request::GetStale { key } => {
                out.put_u8(5);
                out.put_bytes(key);
            }
            Request::Scan(scan) => {
                out.put_u8(6);
                out.put_bool(scan.stale);
                out.put_bool(scan.keys_only);
                out.put_bytes(scan.from);
                out.put_optional(scan.to, |out, to| out.put_bytes(to));
                out.put_optional(scan.limit, |out, limit| out.put_u64(limit));
            }
            Request::ScanNext { scan } => {
                out.put_u8(7);
                out.put_u64(*scan);
            }
        }
    });
}

/// A request and its id. A write's command is not looked into: see `Command::decode`.
pub fn decode_request(frame: Frame<'_>) -> Result<(u64, Request<'_>), RequestError> {
    let mut reader = Reader::new(frame.expect(Kind::Request)?);
    let request_id = reader.u64("request_id")?;
    let request = match reader.u8("request type")? {
        1 => Request::Write { command: reader.rest() },
        2 => Request::Get { key: reader.bytes("key")? },
        3 => Request::Status,
        4 => Request::Members,
        5 => Request::GetStale { key: reader.bytes("key")? },
        6 => Request::Scan(Scan {
            stale: reader.bool("stale")?,
            keys_only: reader.bool("keys_only")?,
            from: reader.bytes("from")?,
            to: reader.optional("to", |reader| reader.bytes("to"))?,
            limit: reader.optional("limit", |reader| reader.u64("limit"))?,
        }),
        7 => Request::ScanNext { scan: reader.u64("scan")? },
        code => return Err(RequestError::Unknown { request_id, code }),
    };
    reader.finish()?;
    Ok((request_id, request))
}

/// Appends the frame.
pub fn encode_reply(request_id: u64, reply: &Reply, out: &mut Vec<u8>) {
    encode_frame(out, Kind::Reply, |out| {
        out.put_u64(request_id);
        reply.write(out);
    });
}

/// A reply and the id of its request.
pub fn decode_reply(frame: Frame<'_>) -> Result<(u64, Reply), DecodeError> {
    let mut reader = Reader::new(frame.expect(Kind::Reply)?);
    let request_id = reader.u64("request_id")?;
    let reply = Reply::read(&mut reader)?;
    reader.finish()?;
    Ok((request_id, reply))
}

impl Reply {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Reply::Written(written) => {
                out.put_u8(1);
                written.write(out);
            }
            Reply::Value { value, position } => {
                out.put_u8(2);
                out.put_u64(position.0);
                out.put_optional(value.as_ref(), |out, value| value.write(out));
            }
            Reply::Status(status) => {
                out.put_u8(3);
                status.encode(out);
            }
            Reply::Members { leader, members } => {
                out.put_u8(4);
                out.put_optional(*leader, |out, leader| out.put_u64(leader.0));
                out.put_list(members, |out, member| member.write(out));
            }
            Reply::NotLeader { leader, client_addr } => {
                out.put_u8(5);
                out.put_optional(*leader, |out, leader| out.put_u64(leader.0));
                out.put_text(client_addr, ADDRESS_LEN_MAX);
            }
            Reply::Busy { reason } => {
                out.put_u8(6);
                out.put_u8(*reason as u8);
            }
            Reply::Forming { missing } => {
                out.put_u8(7);
                out.put_list(missing, |out, name| out.put_text(name, NAME_LEN_MAX));
            }
            Reply::Replaced => out.put_u8(8),
            Reply::LeadershipLost => out.put_u8(9),
            Reply::SessionExpired => out.put_u8(10),
            Reply::Rejected { reason } => {
                out.put_u8(11);
                out.put_u8(*reason as u8);
            }
            Reply::StaleValue { value, position, age_ms } => {
                out.put_u8(12);
                out.put_optional(*age_ms, |out, age_ms| out.put_u64(age_ms));
                out.put_u64(position.0);
                out.put_optional(value.as_ref(), |out, value| value.write(out));
            }
            Reply::Page(page) => {
                out.put_u8(13);
                page.write(out);
            }
            Reply::ScanLost => out.put_u8(14),
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Reply, DecodeError> {
        Ok(match reader.code("reply type", |code| (1..=14).contains(&code).then_some(code))? {
            1 => Reply::Written(Written::read(reader)?),
            2 => Reply::Value { position: reader.index("position")?, value: reader.optional("value", Value::read)? },
            3 => Reply::Status(Box::new(NodeStatus::read(reader)?)),
            4 => {
                let leader = reader.optional("leader", |reader| reader.node("leader"))?;
                Reply::Members { leader, members: reader.list("members", MemberAddress::read)? }
            }
            5 => {
                let leader = reader.optional("leader", |reader| reader.node("leader"))?;
                Reply::NotLeader { leader, client_addr: reader.text("client_addr", ADDRESS_LEN_MAX)? }
            }
            6 => Reply::Busy { reason: reader.code("reason", BusyReason::from_code)? },
            7 => Reply::Forming { missing: reader.list("missing", |reader| reader.text("name", NAME_LEN_MAX))? },
            8 => Reply::Replaced,
            9 => Reply::LeadershipLost,
            10 => Reply::SessionExpired,
            11 => Reply::Rejected { reason: reader.code("reason", RejectedReason::from_code)? },
            12 => {
                let age_ms = reader.optional("age", |reader| reader.u64("age"))?;
                let position = reader.index("position")?;
                Reply::StaleValue { value: reader.optional("value", Value::read)?, position, age_ms }
            }
            13 => Reply::Page(Page::read(reader)?),
            _ => Reply::ScanLost,
        })
    }
}

impl Written {
    fn write(&self, out: &mut Vec<u8>) {
        out.put_u8(self.outcome as u8);
        out.put_u64(self.version);
        out.put_u64(self.position.0);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Written, DecodeError> {
        Ok(Written {
            outcome: reader.code("outcome", WriteOutcome::from_code)?,
            version: reader.u64("version")?,
            position: reader.index("position")?,
        })
    }
}

impl Page {
    fn write(&self, out: &mut Vec<u8>) {
        out.put_u64(self.scan);
        out.put_u64(self.position.0);
        out.put_optional(self.age_ms, |out, age_ms| out.put_u64(age_ms));
        out.put_bool(self.last);
        out.put_u32(u32::try_from(self.items.len()).expect("a page is short"));
        for item in &self.items {
            out.put_bytes(&item.key);
            out.put_u64(item.version);
            out.put_bytes(&item.value);
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Page, DecodeError> {
        let (scan, position) = (reader.u64("scan")?, reader.index("position")?);
        let age_ms = reader.optional("age", |reader| reader.u64("age"))?;
        let last = reader.bool("last")?;
        // The count decides nothing about memory: items are read until one is missing.
        let mut items = Vec::new();
        for _ in 0..reader.u32("count")? {
            let (key, version) = (reader.bytes("key")?.to_vec(), reader.u64("version")?);
            items.push(Item { key, version, value: reader.bytes("value")?.to_vec() });
        }
        Ok(Page { scan, position, age_ms, last, items })
    }
}

impl Value {
    fn write(&self, out: &mut Vec<u8>) {
        out.put_u64(self.version);
        out.put_u64(self.modified.0);
        out.put_bytes(&self.value);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Value, DecodeError> {
        let (version, modified) = (reader.u64("version")?, reader.index("modified")?);
        Ok(Value { value: reader.bytes("value")?.to_vec(), version, modified })
    }
}

impl WriteOutcome {
    pub(crate) fn from_code(code: u8) -> Option<WriteOutcome> {
        use WriteOutcome::*;
        [Done, Deleted, NotFound, Swapped, NotSwapped, ValueTooLong].into_iter().find(|outcome| *outcome as u8 == code)
    }
}

impl BusyReason {
    fn from_code(code: u8) -> Option<BusyReason> {
        use BusyReason::*;
        [Uncommitted, Waiting, Full, NoSpace, Log].into_iter().find(|reason| *reason as u8 == code)
    }
}

impl RejectedReason {
    fn from_code(code: u8) -> Option<RejectedReason> {
        use RejectedReason::*;
        [KeyEmpty, KeyTooLong, ValueTooLong, Version, Sequence].into_iter().find(|reason| *reason as u8 == code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex::hex;

    const ID: u64 = 0x8877_6655_4433_2211;

    fn body(frame: &[u8]) -> &[u8] {
        &frame[crate::FRAME_HEADER_LEN..]
    }

    #[test]
    fn request_bytes_are_fixed_for_ever() {
        for (request, bytes) in [
            (Request::Write { command: b"abc" }, "01 616263"),
            (Request::Get { key: b"k" }, "02 01000000 6b"),
            (Request::Status, "03"),
            (Request::Members, "04"),
            (Request::GetStale { key: b"k" }, "05 01000000 6b"),
            (
                Request::Scan(Scan { stale: false, keys_only: true, from: b"a", to: Some(b"b"), limit: Some(9) }),
                "06 00 01 01000000 61 01 01000000 62 01 0900000000000000",
            ),
            (Request::Scan(Scan { stale: true, keys_only: false, from: b"", to: None, limit: None }), "06 01 00 00000000 00 00"),
            (Request::ScanNext { scan: 7 }, "07 0700000000000000"),
        ] {
            let mut out = Vec::new();
            encode_request(ID, &request, &mut out);
            assert_eq!(body(&out), hex(&format!("1122334455667788 {bytes}")));
            assert_eq!(decode_request(Frame { kind: Kind::Request, body: body(&out) }), Ok((ID, request)));
        }
    }

    #[test]
    fn a_request_of_a_later_version_can_still_be_answered() {
        for code in ["00", "08", "ff"] {
            let bytes = hex(&format!("1122334455667788 {code} 616263"));
            let error = RequestError::Unknown { request_id: ID, code: bytes[8] };
            assert_eq!(decode_request(Frame { kind: Kind::Request, body: &bytes }), Err(error));
        }
        let short = DecodeError::Truncated { what: "request_id", offset: 0 };
        assert_eq!(decode_request(Frame { kind: Kind::Request, body: &[0; 7] }), Err(short.into()));
        let wrong = DecodeError::WrongKind { expected: Kind::Request, found: Kind::Raft };
        assert_eq!(decode_request(Frame { kind: Kind::Raft, body: &[0; 9] }), Err(wrong.into()));
    }

    fn pinned(reply: Reply, bytes: &str) {
        let mut out = Vec::new();
        encode_reply(ID, &reply, &mut out);
        assert_eq!(body(&out), hex(&format!("1122334455667788 {bytes}")));
        assert_eq!(decode_reply(Frame { kind: Kind::Reply, body: body(&out) }), Ok((ID, reply)));
    }

    #[test]
    fn reply_bytes_are_fixed_for_ever() {
        for (outcome, code) in [
            (WriteOutcome::Done, "01"),
            (WriteOutcome::Deleted, "02"),
            (WriteOutcome::NotFound, "03"),
            (WriteOutcome::Swapped, "04"),
            (WriteOutcome::NotSwapped, "05"),
            (WriteOutcome::ValueTooLong, "06"),
        ] {
            let written = Written { outcome, version: 2, position: Index(3) };
            pinned(Reply::Written(written), &format!("01 {code} 0200000000000000 0300000000000000"));
        }
        let position = Index(4);
        pinned(Reply::Value { value: None, position }, "02 0400000000000000 00");
        let value = Value { value: b"v".to_vec(), version: 2, modified: Index(3) };
        pinned(Reply::Value { value: Some(value), position }, "02 0400000000000000 01 0200000000000000 0300000000000000 01000000 76");
        let members = vec![MemberAddress { id: NodeId(5), name: "n5".into(), client_addr: "c:1".into() }];
        pinned(Reply::Members { leader: None, members }, "04 00 0100 0500000000000000 0200 6e35 0300 633a31");
        let not_leader = Reply::NotLeader { leader: Some(NodeId(5)), client_addr: "c:1".into() };
        pinned(not_leader, "05 01 0500000000000000 0300 633a31");
        pinned(Reply::NotLeader { leader: None, client_addr: String::new() }, "05 00 0000");
        for (reason, code) in [
            (BusyReason::Uncommitted, "01"),
            (BusyReason::Waiting, "02"),
            (BusyReason::Full, "03"),
            (BusyReason::NoSpace, "04"),
            (BusyReason::Log, "05"),
        ] {
            pinned(Reply::Busy { reason }, &format!("06 {code}"));
        }
        pinned(Reply::Forming { missing: vec!["n1".into(), "n2".into()] }, "07 0200 0200 6e31 0200 6e32");
        pinned(Reply::Replaced, "08");
        pinned(Reply::LeadershipLost, "09");
        pinned(Reply::SessionExpired, "0a");
        for (reason, code) in [
            (RejectedReason::KeyEmpty, "01"),
            (RejectedReason::KeyTooLong, "02"),
            (RejectedReason::ValueTooLong, "03"),
            (RejectedReason::Version, "04"),
            (RejectedReason::Sequence, "05"),
        ] {
            pinned(Reply::Rejected { reason }, &format!("0b {code}"));
        }
        pinned(Reply::StaleValue { value: None, position, age_ms: Some(5) }, "0c 01 0500000000000000 0400000000000000 00");
        let items = vec![Item { key: b"k".to_vec(), value: b"v".to_vec(), version: 2 }];
        let page = Page { scan: 7, position, age_ms: None, last: true, items };
        pinned(Reply::Page(page), "0d 0700000000000000 0400000000000000 00 01 01000000 01000000 6b 0200000000000000 01000000 76");
        pinned(Reply::ScanLost, "0e");
    }

    #[test]
    fn unknown_replies_and_reasons_are_errors() {
        for (bytes, what, offset, found) in [
            ("00", "reply type", 8, 0),
            ("0f", "reply type", 8, 15),
            ("01 07 0200000000000000 0300000000000000", "outcome", 9, 7),
            ("06 06", "reason", 9, 6),
            ("0b 00", "reason", 9, 0),
        ] {
            let bytes = hex(&format!("1122334455667788 {bytes}"));
            assert_eq!(decode_reply(Frame { kind: Kind::Reply, body: &bytes }), Err(DecodeError::Unknown { what, offset, found }));
        }
    }
}
