//! What the log carries. The bytes of a client's write travel unchanged from its request into the log and to every disk.
//!
//! How fields are written stands in PROTOCOL.md, "Fields". The payload of a command entry:
//!
//! | offset | size | field           | meaning                                                               |
//! |-------:|-----:|-----------------|-----------------------------------------------------------------------|
//! |      0 |    1 | command version | 1; a node that meets a newer one in its log stops without applying it |
//! |      1 |    1 | type            | 1 write, 2 announce                                                   |
//!
//! A write goes on:
//!
//! | offset | size | field            | meaning                                                       |
//! |-------:|-----:|------------------|---------------------------------------------------------------|
//! |      2 |   16 | session          | drawn at random by the client                                 |
//! |     18 |    8 | birth index      | index: a `Welcome`'s, from before the session's first write   |
//! |     26 |    8 | seq              | which call of the session, from 1                             |
//! |     34 |    8 | first unanswered | the lowest seq whose answer the client does not have yet      |
//! |     42 |    1 | op               | 1 put, 2 append, 3 delete, 4 cas                              |
//! |     43 |      | key              | bytes                                                         |
//! |        |    1 | cas: expects     | 0 no such key; 1 a value: bytes follow; 2 a version: 8 follow |
//! |        |      | value            | bytes; absent in a delete                                     |
//!
//! An announce, which only nodes write, goes on:
//!
//! | offset | size | field          | meaning                |
//! |-------:|-----:|----------------|------------------------|
//! |      2 |    8 | node           | who                    |
//! |     10 |   16 | disk id        | its data directory     |
//! |     26 |      | client address | where clients reach it |
//! |        |      | peer address   | where peers reach it   |
//! |        |      | version        | of the program         |
//!
//! The payload of a membership entry:
//!
//! | offset | size | field           | meaning                                                         |
//! |-------:|-----:|-----------------|-----------------------------------------------------------------|
//! |      0 |    1 | command version | 1                                                               |
//! |      1 |      | members         | list, nodes ascending, of: node, voter bool, name, peer address |

use raft::{DiskId, Index, NodeId};

use crate::client::RejectedReason;
use crate::codec::{DecodeError, Reader, Writer};
use crate::limits::{ADDRESS_LEN_MAX, KEY_LEN_MAX, NAME_LEN_MAX, VALUE_LEN_MAX, VERSION_LEN_MAX};

/// Version of the encoding of commands and memberships: the first byte of each.
pub const COMMAND_VERSION: u8 = 1;

/// A client's session: 128 bits that the client draws.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SessionId(pub u128);

/// What makes a retry safe: the same call, however often it is sent, takes effect once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CallId {
    /// Whose call.
    pub session: SessionId,
    /// A log index from before the session's first write, learned from a node's `Welcome`: a session that is unknown though it was
    /// born at or before the horizon has been evicted, and is refused.
    pub birth_index: Index,
    /// Which call of the session, from 1.
    pub seq: u64,
    /// The lowest number whose answer the client does not have yet: replies below it are forgotten.
    pub first_unanswered: u64,
}

/// A write, as a client asks for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Op<'a> {
    /// Replace.
    Put {
        /// Which key.
        key: &'a [u8],
        /// Its value from now on.
        value: &'a [u8],
    },
    /// Add to the end; a missing key is an empty value.
    Append {
        /// Which key.
        key: &'a [u8],
        /// What is added.
        value: &'a [u8],
    },
    /// Remove.
    Delete {
        /// Which key.
        key: &'a [u8],
    },
    /// Replace if the key is as expected (compare and swap).
    Cas {
        /// Which key.
        key: &'a [u8],
        /// As it must be.
        expect: Expect<'a>,
        /// Its value then.
        value: &'a [u8],
    },
}

/// What a `Cas` expects.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expect<'a> {
    /// No such key.
    Absent,
    /// This value.
    Value(&'a [u8]),
    /// This version.
    Version(u64),
}

/// What a member says of itself, committed so that all others hold it to its word.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Announce {
    /// Who.
    pub node: NodeId,
    /// Its data directory: another one later means that what it promised is lost.
    pub disk_id: DiskId,
    /// Where clients reach it.
    pub client_addr: String,
    /// Where peers reach it.
    pub peer_addr: String,
    /// Its version, `kvnode -V` without the name.
    pub version: String,
}

/// The payload of a command entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command<'a> {
    /// A client's write.
    Write {
        /// Which call of which session.
        call: CallId,
        /// What to do.
        op: Op<'a>,
    },
    /// A member's record.
    Announce(Announce),
}

/// One member in the payload of a membership entry, which holds them all.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    /// Its id.
    pub id: NodeId,
    /// Its name, unique in the cluster.
    pub name: String,
    /// Where peers dial it until it announces another address.
    pub peer_addr: String,
    /// Whether it votes; otherwise it learns.
    pub voter: bool,
}

impl<'a> Command<'a> {
    /// Appends the payload.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Command::Write { call, op } => encode_write(call, op, out),
            Command::Announce(announce) => {
                out.put_u8(COMMAND_VERSION);
                out.put_u8(2);
                announce.write(out);
            }
        }
    }

    /// Reads a payload; key and value stay where they are. `Unknown` means that a newer version wrote it.
    pub fn decode(bytes: &'a [u8]) -> Result<Command<'a>, DecodeError> {
        let mut reader = Reader::new(bytes);
        read_version(&mut reader)?;
        let is_write = reader.code("command type", |code| match code {
            1 => Some(true),
            2 => Some(false),
            _ => None,
        })?;
        let command = if is_write {
            Command::Write { call: CallId::read(&mut reader)?, op: Op::read(&mut reader)? }
        } else {
            Command::Announce(Announce::read(&mut reader)?)
        };
        reader.finish()?;
        Ok(command)
    }
}

/// Room for most commands, found at once instead of field by field.
const SHORT_COMMAND_LEN: usize = 128;

/// Appends the payload of a write: the bytes of a `Request::Write`.
pub fn encode_write(call: &CallId, op: &Op<'_>, out: &mut Vec<u8>) {
    out.reserve(SHORT_COMMAND_LEN);
    out.put_u8(COMMAND_VERSION);
    out.put_u8(1);
    out.put_u128(call.session.0);
    out.put_u64(call.birth_index.0);
    out.put_u64(call.seq);
    out.put_u64(call.first_unanswered);
    op.write(out);
}

fn read_version(reader: &mut Reader<'_>) -> Result<(), DecodeError> {
    reader.code("command version", |code| (code == COMMAND_VERSION).then_some(()))
}

impl CallId {
    fn read(reader: &mut Reader<'_>) -> Result<CallId, DecodeError> {
        Ok(CallId {
            session: SessionId(reader.u128("session")?),
            birth_index: reader.index("birth_index")?,
            seq: reader.u64("seq")?,
            first_unanswered: reader.u64("first_unanswered")?,
        })
    }
}

impl<'a> Op<'a> {
    /// The key it is about.
    pub fn key(&self) -> &'a [u8] {
        match self {
            Op::Put { key, .. } | Op::Append { key, .. } | Op::Delete { key } | Op::Cas { key, .. } => key,
        }
    }

    /// Whether key and values are within their limits. Apart from decoding: a client that asks for too much gets an answer, it is
    /// not cut off.
    pub fn validate(&self) -> Result<(), RejectedReason> {
        validate_key(self.key())?;
        let value_len = match self {
            Op::Put { value, .. } | Op::Append { value, .. } => value.len(),
            Op::Cas { expect: Expect::Value(expect), value, .. } => value.len().max(expect.len()),
            Op::Cas { value, .. } => value.len(),
            Op::Delete { .. } => 0,
        };
        if value_len > VALUE_LEN_MAX { Err(RejectedReason::ValueTooLong) } else { Ok(()) }
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Op::Put { key, value } => {
                out.put_u8(1);
                out.put_bytes(key);
                out.put_bytes(value);
            }
            Op::Append { key, value } => {
                out.put_u8(2);
                out.put_bytes(key);
                out.put_bytes(value);
            }
            Op::Delete { key } => {
                out.put_u8(3);
                out.put_bytes(key);
            }
            Op::Cas { key, expect, value } => {
                out.put_u8(4);
                out.put_bytes(key);
                match expect {
                    Expect::Absent => out.put_u8(0),
                    Expect::Value(expect) => {
                        out.put_u8(1);
                        out.put_bytes(expect);
                    }
                    Expect::Version(version) => {
                        out.put_u8(2);
                        out.put_u64(*version);
                    }
                }
                out.put_bytes(value);
            }
        }
    }

    fn read(reader: &mut Reader<'a>) -> Result<Op<'a>, DecodeError> {
        let code = reader.code("op", |code| (1..=4).contains(&code).then_some(code))?;
        let key = reader.bytes("key")?;
        Ok(match code {
            1 => Op::Put { key, value: reader.bytes("value")? },
            2 => Op::Append { key, value: reader.bytes("value")? },
            3 => Op::Delete { key },
            _ => Op::Cas { key, expect: Expect::read(reader)?, value: reader.bytes("value")? },
        })
    }
}

impl<'a> Expect<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Expect<'a>, DecodeError> {
        Ok(match reader.code("expect", |code| (code <= 2).then_some(code))? {
            0 => Expect::Absent,
            1 => Expect::Value(reader.bytes("expected value")?),
            _ => Expect::Version(reader.u64("expected version")?),
        })
    }
}

/// Whether a key, of a write or a read, is within its limits.
pub fn validate_key(key: &[u8]) -> Result<(), RejectedReason> {
    match key.len() {
        0 => Err(RejectedReason::KeyEmpty),
        1..=KEY_LEN_MAX => Ok(()),
        _ => Err(RejectedReason::KeyTooLong),
    }
}

impl Announce {
    fn write(&self, out: &mut Vec<u8>) {
        out.put_u64(self.node.0);
        out.put_u128(self.disk_id.0);
        out.put_text(&self.client_addr, ADDRESS_LEN_MAX);
        out.put_text(&self.peer_addr, ADDRESS_LEN_MAX);
        out.put_text(&self.version, VERSION_LEN_MAX);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Announce, DecodeError> {
        Ok(Announce {
            node: reader.node("node")?,
            disk_id: reader.disk_id()?,
            client_addr: reader.text("client_addr", ADDRESS_LEN_MAX)?,
            peer_addr: reader.text("peer_addr", ADDRESS_LEN_MAX)?,
            version: reader.text("version", VERSION_LEN_MAX)?,
        })
    }
}

impl Member {
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.put_u64(self.id.0);
        out.put_bool(self.voter);
        out.put_text(&self.name, NAME_LEN_MAX);
        out.put_text(&self.peer_addr, ADDRESS_LEN_MAX);
    }

    /// `last`: the id of the member before; ids ascend.
    pub(crate) fn read(reader: &mut Reader<'_>, last: &mut NodeId) -> Result<Member, DecodeError> {
        let offset = reader.offset();
        let id = reader.node("id")?;
        if id <= *last {
            return Err(DecodeError::OutOfRange { what: "id", offset, found: id.0 });
        }
        *last = id;
        Ok(Member {
            id,
            voter: reader.bool("voter")?,
            name: reader.text("name", NAME_LEN_MAX)?,
            peer_addr: reader.text("peer_addr", ADDRESS_LEN_MAX)?,
        })
    }
}

/// Appends the payload of a membership entry. The ids must ascend, so that one membership is one string of bytes.
pub fn encode_membership(members: &[Member], out: &mut Vec<u8>) {
    assert!(members.is_sorted_by(|a, b| a.id < b.id), "the ids of a membership must ascend: {members:?}");
    out.put_u8(COMMAND_VERSION);
    out.put_list(members, |out, member| member.write(out));
}

/// Reads the payload of a membership entry.
pub fn decode_membership(bytes: &[u8]) -> Result<Vec<Member>, DecodeError> {
    let mut reader = Reader::new(bytes);
    read_version(&mut reader)?;
    let mut last = NodeId(0);
    let members = reader.list("members", |reader| Member::read(reader, &mut last))?;
    reader.finish()?;
    Ok(members)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex::hex;
    use crate::limits::{COMMAND_LEN_MAX, FRAME_BODY_LEN_MAX};

    const CALL: CallId = CallId {
        session: SessionId(0x0f0e_0d0c_0b0a_0908_0706_0504_0302_0100),
        birth_index: Index(0x11),
        seq: 0x22,
        first_unanswered: 0x21,
    };

    fn pinned(command: &Command<'_>, bytes: &str) {
        let mut out = Vec::new();
        command.encode(&mut out);
        assert_eq!(out, hex(bytes), "{command:?}");
        assert_eq!(Command::decode(&out).as_ref(), Ok(command));
    }

    #[test]
    fn command_bytes_are_fixed_for_ever() {
        let call = "01 01 # version, write
            00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f # session
            1100000000000000 # birth index
            2200000000000000 # seq
            2100000000000000 # first unanswered
            ";
        let key = b"k".as_slice();
        let value = b"vw".as_slice();
        for (op, bytes) in [
            (Op::Put { key, value }, "01 01000000 6b 02000000 7677"),
            (Op::Append { key, value }, "02 01000000 6b 02000000 7677"),
            (Op::Delete { key }, "03 01000000 6b"),
            (Op::Cas { key, expect: Expect::Absent, value }, "04 01000000 6b 00 02000000 7677"),
            (Op::Cas { key, expect: Expect::Value(b"x"), value }, "04 01000000 6b 01 01000000 78 02000000 7677"),
            (Op::Cas { key, expect: Expect::Version(0x33), value }, "04 01000000 6b 02 3300000000000000 02000000 7677"),
        ] {
            pinned(&Command::Write { call: CALL, op }, &format!("{call}{bytes}"));
        }
        let announce =
            Announce { node: NodeId(2), disk_id: DiskId(1), client_addr: "c:1".into(), peer_addr: "p:22".into(), version: "0.1.0".into() };
        pinned(
            &Command::Announce(announce),
            "01 02 # version, announce
            0200000000000000 # node
            01000000000000000000000000000000 # disk id
            0300 633a31 # client addr
            0400 703a3232 # peer addr
            0500 302e312e30 # version",
        );
    }

    #[test]
    fn membership_bytes_are_fixed_for_ever() {
        let members = [
            Member { id: NodeId(1), name: "n1".into(), peer_addr: "h:1".into(), voter: true },
            Member { id: NodeId(0x99), name: "n2".into(), peer_addr: "h:2".into(), voter: false },
        ];
        let mut out = Vec::new();
        encode_membership(&members, &mut out);
        let bytes = "01 0200 # version, count
            0100000000000000 01 0200 6e31 0300 683a31
            9900000000000000 00 0200 6e32 0300 683a32";
        assert_eq!(out, hex(bytes));
        assert_eq!(decode_membership(&out).unwrap(), members);
    }

    #[test]
    fn a_membership_names_each_id_once_and_in_order() {
        let two_ids = |a: &str, b: &str| hex(&format!("01 0200 {a}00000000000000 01 0000 0000 {b}00000000000000 01 0000 0000"));
        assert_eq!(decode_membership(&two_ids("01", "02")).unwrap().len(), 2);
        for (a, b) in [("01", "01"), ("02", "01")] {
            assert_eq!(decode_membership(&two_ids(a, b)), Err(DecodeError::OutOfRange { what: "id", offset: 16, found: 1 }));
        }
        assert_eq!(decode_membership(&two_ids("00", "01")), Err(DecodeError::OutOfRange { what: "id", offset: 3, found: 0 }));
    }

    #[test]
    fn a_newer_version_or_code_is_unknown_rather_than_broken() {
        let mut bytes = Vec::new();
        encode_write(&CALL, &Op::Cas { key: b"k", expect: Expect::Absent, value: b"" }, &mut bytes);
        for (at, what, code) in [(0, "command version", 2), (1, "command type", 3), (42, "op", 5), (48, "expect", 3)] {
            let mut newer = bytes.clone();
            newer[at] = code;
            assert_eq!(Command::decode(&newer), Err(DecodeError::Unknown { what, offset: at, found: code.into() }));
        }
        assert_eq!(decode_membership(&[2]), Err(DecodeError::Unknown { what: "command version", offset: 0, found: 2 }));
    }

    #[test]
    fn a_command_is_exactly_as_long_as_its_fields() {
        let mut bytes = Vec::new();
        encode_write(&CALL, &Op::Put { key: b"key", value: b"value" }, &mut bytes);
        for len in 0..bytes.len() {
            assert!(matches!(Command::decode(&bytes[..len]), Err(DecodeError::Truncated { .. })), "{len}");
        }
        bytes.push(0);
        let offset = bytes.len() - 1;
        assert_eq!(Command::decode(&bytes), Err(DecodeError::TrailingBytes { offset, count: 1 }));
    }

    #[test]
    fn keys_and_values_are_valid_up_to_their_limits() {
        let bytes = vec![0; VALUE_LEN_MAX + 1];
        for (key_len, verdict) in [
            (0, Err(RejectedReason::KeyEmpty)),
            (1, Ok(())),
            (KEY_LEN_MAX - 1, Ok(())),
            (KEY_LEN_MAX, Ok(())),
            (KEY_LEN_MAX + 1, Err(RejectedReason::KeyTooLong)),
        ] {
            let key = &bytes[..key_len];
            assert_eq!(validate_key(key), verdict);
            for op in [
                Op::Put { key, value: b"" },
                Op::Append { key, value: b"" },
                Op::Delete { key },
                Op::Cas { key, expect: Expect::Absent, value: b"" },
            ] {
                assert_eq!(op.validate(), verdict, "{key_len}");
            }
        }
        for (value_len, verdict) in
            [(0, Ok(())), (VALUE_LEN_MAX - 1, Ok(())), (VALUE_LEN_MAX, Ok(())), (VALUE_LEN_MAX + 1, Err(RejectedReason::ValueTooLong))]
        {
            let value = &bytes[..value_len];
            for op in [
                Op::Put { key: b"k", value },
                Op::Append { key: b"k", value },
                Op::Cas { key: b"k", expect: Expect::Version(1), value },
                Op::Cas { key: b"k", expect: Expect::Value(value), value: b"" },
            ] {
                assert_eq!(op.validate(), verdict, "{value_len}");
            }
        }
    }

    #[test]
    fn the_longest_valid_command_fits_a_frame_and_one_above_the_limits_still_gets_an_answer() {
        let bytes = vec![0; VALUE_LEN_MAX + 1];
        let mut out = Vec::new();
        let key = &bytes[..KEY_LEN_MAX];
        let value = &bytes[..VALUE_LEN_MAX];
        encode_write(&CALL, &Op::Cas { key, expect: Expect::Value(value), value }, &mut out);
        assert!(out.len() <= COMMAND_LEN_MAX && COMMAND_LEN_MAX - out.len() < 16, "{}", out.len());
        out.clear();
        encode_write(&CALL, &Op::Cas { key: &bytes[..KEY_LEN_MAX + 1], expect: Expect::Value(&bytes), value: &bytes }, &mut out);
        // The rest is room for the fields around a command: of a request, or of an entry in an append.
        assert!(out.len() + 128 <= FRAME_BODY_LEN_MAX);
    }
}
