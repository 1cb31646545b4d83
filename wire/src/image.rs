//! The content of a snapshot: the replicated state as records, in an order that is the same on every node.
//!
//! A record is a type, 1, the length of its body, 4, and the body. How fields are written stands in PROTOCOL.md, "Fields". First comes
//! one head, then the sessions by id, then the keys in byte order.
//!
//! | type | record  | body, in this order                                                                                   |
//! |-----:|---------|-------------------------------------------------------------------------------------------------------|
//! |    1 | head    | version 1, state digest 8, horizon index, sessions 8, keys 8, formed bool, list of members            |
//! |      | member  | node, voter bool, name, peer address, optional announcement                                           |
//! |      |         | announcement: disk id 16, client address, optional peer address if it is another than above, version  |
//! |    2 | session | id 16, last active index, last active 8 (cluster time, ms), first unanswered 8, kept replies          |
//! |      |         | kept reply, to the end: number 8, outcome 1, version 8, position index                                |
//! |    3 | key     | version 8, modified index, length of the key 4, the key, the value to the end                         |
//!
//! The head counts what follows and tells the digest of it all: an image that ends early or differs in any part is known as such.

use raft::{Index, NodeId};

use crate::client::{WriteOutcome, Written};
use crate::codec::{DecodeError, Reader, Writer};
use crate::command::{Announce, Member, SessionId};
use crate::limits::{ADDRESS_LEN_MAX, KEY_LEN_MAX, RECORD_LEN_MAX, VERSION_LEN_MAX};

/// Version of the content; a node that meets another does not load it.
pub const IMAGE_VERSION: u8 = 1;

const RECORD_HEADER_LEN: usize = 5;

/// What an image says of itself, and who the members are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ImageHead {
    /// Of the whole state: `NodeStatus::state_digest` of the node that took it.
    pub digest: u64,
    /// An unknown session born at or below this index is refused.
    pub horizon: Index,
    /// Sessions that follow.
    pub session_count: u64,
    /// Keys that follow them.
    pub key_count: u64,
    /// Whether every first member had announced itself: once so, for ever so.
    pub formed: bool,
    /// Every member, with what it has announced; ids ascend.
    pub members: Vec<(Member, Option<Announce>)>,
}

/// A session and the replies that are kept for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SessionImage {
    /// Drawn by the client.
    pub id: SessionId,
    /// The index of its last call.
    pub last_active_index: Index,
    /// Cluster time of that, milliseconds.
    pub last_active_ms: u64,
    /// Its client has the answers to everything below.
    pub first_unanswered: u64,
    /// By sequence number, in the order in which they were given.
    pub replies: Vec<(u64, Written)>,
}

/// A key and what it holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyImage<'a> {
    /// The key.
    pub key: &'a [u8],
    /// Its value.
    pub value: &'a [u8],
    /// Writes since it was created.
    pub version: u64,
    /// The log index of the last of them.
    pub modified: Index,
}

/// One record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Record<'a> {
    /// The first.
    Head(ImageHead),
    /// A session.
    Session(SessionImage),
    /// A key.
    Key(KeyImage<'a>),
}

fn encode_record(out: &mut Vec<u8>, code: u8, body: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.put_u8(code);
    out.put_u32(0);
    body(out);
    let len = u32::try_from(out.len() - at - RECORD_HEADER_LEN).expect("no record comes near 4 GiB");
    out[at + 1..at + RECORD_HEADER_LEN].copy_from_slice(&len.to_le_bytes());
}

impl ImageHead {
    /// Appends the record.
    pub fn encode(&self, out: &mut Vec<u8>) {
        encode_record(out, 1, |out| {
            out.put_u8(IMAGE_VERSION);
            out.put_u64(self.digest);
            out.put_u64(self.horizon.0);
            out.put_u64(self.session_count);
            out.put_u64(self.key_count);
            out.put_bool(self.formed);
            out.put_list(&self.members, |out, (member, announced)| {
                member.write(out);
                out.put_optional(announced.as_ref(), |out, announce| {
                    out.put_u128(announce.disk_id.0);
                    out.put_text(&announce.client_addr, ADDRESS_LEN_MAX);
                    let moved = Some(&announce.peer_addr).filter(|addr| **addr != member.peer_addr);
                    out.put_optional(moved, |out, addr| out.put_text(addr, ADDRESS_LEN_MAX));
                    out.put_text(&announce.version, VERSION_LEN_MAX);
                });
            });
        });
    }

    fn read(reader: &mut Reader<'_>) -> Result<ImageHead, DecodeError> {
        reader.code("image version", |code| (code == IMAGE_VERSION).then_some(()))?;
        let (digest, horizon) = (reader.u64("digest")?, reader.index("horizon")?);
        let (session_count, key_count) = (reader.u64("sessions")?, reader.u64("keys")?);
        let formed = reader.bool("formed")?;
        let mut last = NodeId(0);
        let members = reader.list("members", |reader| {
            let member = Member::read(reader, &mut last)?;
            let announced = reader.optional("announcement", |reader| {
                let (disk_id, client_addr) = (reader.disk_id()?, reader.text("client_addr", ADDRESS_LEN_MAX)?);
                let moved = reader.optional("announced peer_addr", |reader| reader.text("announced peer_addr", ADDRESS_LEN_MAX))?;
                let version = reader.text("version", VERSION_LEN_MAX)?;
                let peer_addr = moved.unwrap_or_else(|| member.peer_addr.clone());
                Ok(Announce { node: member.id, disk_id, client_addr, peer_addr, version })
            })?;
            Ok((member, announced))
        })?;
        Ok(ImageHead { digest, horizon, session_count, key_count, formed, members })
    }
}

impl SessionImage {
    /// Appends the record.
    pub fn encode(&self, out: &mut Vec<u8>) {
        encode_record(out, 2, |out| {
            out.put_u128(self.id.0);
            out.put_u64(self.last_active_index.0);
            out.put_u64(self.last_active_ms);
            out.put_u64(self.first_unanswered);
            for (seq, Written { outcome, version, position }) in &self.replies {
                out.put_u64(*seq);
                out.put_u8(*outcome as u8);
                out.put_u64(*version);
                out.put_u64(position.0);
            }
        });
    }

    fn read(reader: &mut Reader<'_>) -> Result<SessionImage, DecodeError> {
        let mut session = SessionImage {
            id: SessionId(reader.u128("session")?),
            last_active_index: reader.index("last_active_index")?,
            last_active_ms: reader.u64("last_active_ms")?,
            first_unanswered: reader.u64("first_unanswered")?,
            replies: Vec::new(),
        };
        while !reader.is_empty() {
            let seq = reader.u64("seq")?;
            let outcome = reader.code("outcome", WriteOutcome::from_code)?;
            let (version, position) = (reader.u64("version")?, reader.index("position")?);
            session.replies.push((seq, Written { outcome, version, position }));
        }
        Ok(session)
    }
}

impl<'a> KeyImage<'a> {
    /// Appends the record.
    pub fn encode(&self, out: &mut Vec<u8>) {
        encode_record(out, 3, |out| {
            out.put_u64(self.version);
            out.put_u64(self.modified.0);
            out.put_bytes(self.key);
            out.extend_from_slice(self.value);
        });
    }

    fn read(reader: &mut Reader<'a>) -> Result<KeyImage<'a>, DecodeError> {
        let (version, modified) = (reader.u64("version")?, reader.index("modified")?);
        let offset = reader.offset();
        let key = reader.bytes("key")?;
        if key.is_empty() || key.len() > KEY_LEN_MAX {
            return Err(DecodeError::TooLong { what: "key", offset, found: key.len(), max: KEY_LEN_MAX });
        }
        Ok(KeyImage { key, value: reader.rest(), version, modified })
    }
}

/// The record that `bytes` begin with, and its length. `None`: the rest of it is still to come.
pub fn decode_record(bytes: &[u8]) -> Result<Option<(Record<'_>, usize)>, DecodeError> {
    let mut header = Reader::new(bytes);
    if bytes.len() < RECORD_HEADER_LEN {
        return Ok(None);
    }
    let code = header.code("record type", |code| (1..=3).contains(&code).then_some(code))?;
    let len = header.u32("record length")? as usize;
    if len > RECORD_LEN_MAX {
        return Err(DecodeError::TooLong { what: "record length", offset: 1, found: len, max: RECORD_LEN_MAX });
    }
    let Some(body) = bytes[RECORD_HEADER_LEN..].get(..len) else { return Ok(None) };
    let mut reader = Reader::new(body);
    let record = match code {
        1 => Record::Head(ImageHead::read(&mut reader)?),
        2 => Record::Session(SessionImage::read(&mut reader)?),
        _ => Record::Key(KeyImage::read(&mut reader)?),
    };
    reader.finish()?;
    Ok(Some((record, RECORD_HEADER_LEN + len)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex::hex;
    use proptest::prelude::*;
    use raft::DiskId;

    fn head() -> ImageHead {
        let member = |id: u64| Member { id: NodeId(id), name: format!("n{id}"), peer_addr: format!("h{id}:1"), voter: true };
        let announce = |id: u64, peer_addr: &str| Announce {
            node: NodeId(id),
            disk_id: DiskId(0x10 + u128::from(id)),
            client_addr: "c:2".into(),
            peer_addr: peer_addr.into(),
            version: "0".into(),
        };
        let members = vec![(member(1), Some(announce(1, "h1:1"))), (member(2), Some(announce(2, "x:9"))), (member(3), None)];
        ImageHead { digest: 7, horizon: Index(5), session_count: 1, key_count: 1, formed: true, members }
    }

    fn session() -> SessionImage {
        let written = Written { outcome: WriteOutcome::Swapped, version: 3, position: Index(9) };
        SessionImage {
            id: SessionId(1),
            last_active_index: Index(9),
            last_active_ms: 1000,
            first_unanswered: 2,
            replies: vec![(2, written)],
        }
    }

    const KEY: KeyImage<'static> = KeyImage { key: b"k", value: b"val", version: 3, modified: Index(9) };

    #[test]
    fn the_bytes_of_each_record_are_fixed_for_ever() {
        let (mut h, mut s, mut k) = (Vec::new(), Vec::new(), Vec::new());
        head().encode(&mut h);
        session().encode(&mut s);
        KEY.encode(&mut k);
        assert_eq!(
            h,
            hex("01 97000000 01 0700000000000000 0500000000000000 0100000000000000 0100000000000000 01 0300 \
                 0100000000000000 01 0200 6e31 0400 68313a31 01 11000000000000000000000000000000 0300 633a32 00 0100 30 \
                 0200000000000000 01 0200 6e32 0400 68323a31 01 12000000000000000000000000000000 0300 633a32 01 0300 783a39 0100 30 \
                 0300000000000000 01 0200 6e33 0400 68333a31 00")
        );
        assert_eq!(
            s,
            hex("02 41000000 01000000000000000000000000000000 0900000000000000 e803000000000000 0200000000000000 \
                 0200000000000000 04 0300000000000000 0900000000000000")
        );
        assert_eq!(k, hex("03 18000000 0300000000000000 0900000000000000 01000000 6b 76616c"));
    }

    #[test]
    fn records_come_back_one_after_the_other_and_wait_for_the_rest_of_one() {
        let mut bytes = Vec::new();
        head().encode(&mut bytes);
        session().encode(&mut bytes);
        KEY.encode(&mut bytes);
        let (mut at, mut found) = (0, Vec::new());
        while at < bytes.len() {
            let (record, len) = decode_record(&bytes[at..]).unwrap().unwrap();
            for cut in 0..len {
                assert_eq!(decode_record(&bytes[at..at + cut]), Ok(None), "cut at {cut}");
            }
            found.push(record);
            at += len;
        }
        assert_eq!(found, [Record::Head(head()), Record::Session(session()), Record::Key(KEY)]);
    }

    #[test]
    fn nonsense_is_named() {
        assert!(matches!(decode_record(&[9, 0, 0, 0, 0]), Err(DecodeError::Unknown { what: "record type", .. })));
        assert!(matches!(decode_record(&[1, 0, 0, 0, 0xff]), Err(DecodeError::TooLong { what: "record length", .. })));
        assert!(matches!(decode_record(&[1, 1, 0, 0, 0, 2]), Err(DecodeError::Unknown { what: "image version", found: 2, .. })));
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_or_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80), code in 1u8..=3) {
            let _ = decode_record(&bytes);
            let mut framed = vec![code];
            framed.extend_from_slice(&u32::try_from(bytes.len()).unwrap().to_le_bytes());
            framed.extend_from_slice(&bytes);
            if let Ok(Some((record, len))) = decode_record(&framed) {
                let mut again = Vec::new();
                match record {
                    Record::Head(head) => head.encode(&mut again),
                    Record::Session(session) => session.encode(&mut again),
                    Record::Key(key) => key.encode(&mut again),
                }
                // An announced address that equals the first one may be written out in full: the only second way to say something.
                prop_assert!(again == framed[..len] || code == 1);
            }
        }
    }
}
