//! Between nodes: a raft message, and for an append the bytes of its entries; the bytes of a snapshot; the digest of a state. `Ping` and
//! `Pong` keep a link known to be alive.
//!
//! The body of a frame of kind 7 begins with a type of 1 byte. Fields are of the type that their name ends in:
//!
//! | type | message            | fields behind the type, in this order                                                       |
//! |-----:|--------------------|---------------------------------------------------------------------------------------------|
//! |    1 | pre-vote           | term, last log index, last log term                                                         |
//! |    2 | pre-vote reply     | term, vote granted bool                                                                     |
//! |    3 | request vote       | term, last log index, last log term, transfer bool                                          |
//! |    4 | request vote reply | term, vote granted bool                                                                     |
//! |    5 | append             | term, prev log index, prev log term, leader commit index, then encoded entries to the end   |
//! |    6 | append reply       | term, outcome 1; 1 accepted: match index; 2 rejected: prev log index, hint index, hint term |
//! |    7 | heartbeat          | term, leader commit index, optional read token                                              |
//! |    8 | heartbeat reply    | term, optional read token                                                                   |
//! |    9 | read index         | term, read token                                                                            |
//! |   10 | read index reply   | term, read token, index                                                                     |
//! |   11 | install snapshot   | term, last included index, last included term                                               |
//!
//! A read token is an incarnation, 8, and a round, 8. An encoded entry is its header of 24 (`raft::EntryHeader`) and its payload; the
//! first of an append stands at prev log index + 1, the others follow by counting. Terms in a log never fall, and never pass its leader's:
//! an append whose entries say otherwise is an error, as is one whose last entry does not end where the frame does.
//!
//! A snapshot is named by the last entry that it replaces. Frames beside those of raft:
//!
//! | kind | body            | fields, in this order                                                                    |
//! |-----:|-----------------|------------------------------------------------------------------------------------------|
//! |   10 | `SnapshotFetch` | last included index, last included term, offset 8                                        |
//! |   11 | `SnapshotChunk` | last included index, last included term, file len 8, offset 8, then its bytes to the end |
//! |   12 | `StateDigest`   | index, digest 8                                                                          |
//!
//! A chunk has at most `SNAPSHOT_CHUNK_LEN_MAX` bytes, and none beyond the length of the file.

use raft::{
    AppendOutcome, ENTRY_HEADER_LEN, EntryHeader, EntryHeaderError, EntryId, EntryMeta, Index, Message, ReadToken, TERM_AND_INDEX_LIMIT,
    Term,
};

use crate::codec::{DecodeError, Reader, Writer};
use crate::frame::{Frame, Kind, encode_frame};
use crate::limits::SNAPSHOT_CHUNK_LEN_MAX;

/// A frame between nodes, after the greeting.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PeerFrame<'a> {
    /// From raft to raft.
    Raft {
        /// What it says.
        message: Message,
        /// The encoded entries of an `Append`, one after the other; else empty.
        entries: &'a [u8],
    },
    /// "Are you there?" From the dialler.
    Ping,
    /// "I am." From the acceptor.
    Pong,
    /// "Send me the bytes of this snapshot from here on." From a follower to its leader, on *control*: at the start, after what it has when
    /// a transfer broke off, and for more when it has taken in what it asked for.
    SnapshotFetch {
        /// The last entry that the snapshot replaces: its name.
        last: EntryId,
        /// Of the first byte that is missing.
        offset: u64,
    },
    /// Some of those bytes, on *snapshot*.
    SnapshotChunk {
        /// The last entry that the snapshot replaces: its name.
        last: EntryId,
        /// Bytes of the whole file.
        file_len: u64,
        /// Of the first of `bytes` in the file.
        offset: u64,
        /// At most `SNAPSHOT_CHUNK_LEN_MAX`, and none beyond `file_len`.
        bytes: &'a [u8],
    },
    /// What the sender's state was once it had applied `index`: two nodes that say different things have diverged.
    StateDigest {
        /// Applied up to here.
        index: Index,
        /// Of the whole state.
        digest: u64,
    },
}

/// Appends the frame of a raft message; `entries` are the encoded entries of an `Append`, else empty.
pub fn encode_raft(message: &Message, entries: &[u8], out: &mut Vec<u8>) {
    debug_assert_eq!(entries.len(), entries_len(message), "the bytes are not those of the entries in {message:?}");
    encode_frame(out, Kind::Raft, |out| {
        write_message(message, out);
        out.extend_from_slice(entries);
    });
}

/// Appends the frame.
pub fn encode_ping(out: &mut Vec<u8>) {
    encode_frame(out, Kind::Ping, |_| {});
}

/// Appends the frame.
pub fn encode_pong(out: &mut Vec<u8>) {
    encode_frame(out, Kind::Pong, |_| {});
}

/// Appends the frame.
pub fn encode_snapshot_fetch(last: EntryId, offset: u64, out: &mut Vec<u8>) {
    encode_frame(out, Kind::SnapshotFetch, |out| {
        write_entry_id(out, last);
        out.put_u64(offset);
    });
}

/// Appends the frame. More than `SNAPSHOT_CHUNK_LEN_MAX` bytes, or some beyond the end of the file, are the caller's mistake.
pub fn encode_snapshot_chunk(last: EntryId, file_len: u64, offset: u64, bytes: &[u8], out: &mut Vec<u8>) {
    assert!(bytes.len() <= SNAPSHOT_CHUNK_LEN_MAX, "a chunk of {} bytes, at most {SNAPSHOT_CHUNK_LEN_MAX} are allowed", bytes.len());
    assert!(is_within(file_len, offset, bytes), "{} bytes from {offset} on, in a file of {file_len}", bytes.len());
    encode_frame(out, Kind::SnapshotChunk, |out| {
        write_entry_id(out, last);
        out.put_u64(file_len);
        out.put_u64(offset);
        out.extend_from_slice(bytes);
    });
}

/// Appends the frame.
pub fn encode_state_digest(index: Index, digest: u64, out: &mut Vec<u8>) {
    encode_frame(out, Kind::StateDigest, |out| {
        out.put_u64(index.0);
        out.put_u64(digest);
    });
}

/// Appends the frame.
pub fn encode_peer(frame: &PeerFrame<'_>, out: &mut Vec<u8>) {
    match frame {
        PeerFrame::Raft { message, entries } => encode_raft(message, entries, out),
        PeerFrame::Ping => encode_ping(out),
        PeerFrame::Pong => encode_pong(out),
        PeerFrame::SnapshotFetch { last, offset } => encode_snapshot_fetch(*last, *offset, out),
        PeerFrame::SnapshotChunk { last, file_len, offset, bytes } => encode_snapshot_chunk(*last, *file_len, *offset, bytes, out),
        PeerFrame::StateDigest { index, digest } => encode_state_digest(*index, *digest, out),
    }
}

/// A frame from a node, after the greeting.
pub fn decode_peer(frame: Frame<'_>) -> Result<PeerFrame<'_>, DecodeError> {
    match frame.kind {
        Kind::Ping => Reader::new(frame.body).finish().map(|()| PeerFrame::Ping),
        Kind::Pong => Reader::new(frame.body).finish().map(|()| PeerFrame::Pong),
        Kind::SnapshotFetch => decode_snapshot_fetch(Reader::new(frame.body)),
        Kind::SnapshotChunk => decode_snapshot_chunk(Reader::new(frame.body)),
        Kind::StateDigest => decode_state_digest(Reader::new(frame.body)),
        _ => decode_raft(frame.expect(Kind::Raft)?),
    }
}

fn decode_snapshot_fetch(mut reader: Reader<'_>) -> Result<PeerFrame<'_>, DecodeError> {
    let frame = PeerFrame::SnapshotFetch { last: read_entry_id(&mut reader)?, offset: reader.u64("offset")? };
    reader.finish()?;
    Ok(frame)
}

fn decode_snapshot_chunk(mut reader: Reader<'_>) -> Result<PeerFrame<'_>, DecodeError> {
    let last = read_entry_id(&mut reader)?;
    let file_len = reader.u64("file_len")?;
    let (at, offset) = (reader.offset(), reader.u64("offset")?);
    let bytes_at = reader.offset();
    let bytes = reader.rest();
    if bytes.len() > SNAPSHOT_CHUNK_LEN_MAX {
        return Err(DecodeError::TooLong { what: "bytes", offset: bytes_at, found: bytes.len(), max: SNAPSHOT_CHUNK_LEN_MAX });
    }
    if !is_within(file_len, offset, bytes) {
        return Err(DecodeError::OutOfRange { what: "offset", offset: at, found: offset });
    }
    Ok(PeerFrame::SnapshotChunk { last, file_len, offset, bytes })
}

fn decode_state_digest(mut reader: Reader<'_>) -> Result<PeerFrame<'_>, DecodeError> {
    let frame = PeerFrame::StateDigest { index: reader.index("index")?, digest: reader.u64("digest")? };
    reader.finish()?;
    Ok(frame)
}

/// Whether a file of so many bytes can hold these from `offset` on.
fn is_within(file_len: u64, offset: u64, bytes: &[u8]) -> bool {
    offset.checked_add(bytes.len() as u64).is_some_and(|end| end <= file_len)
}

fn entries_len(message: &Message) -> usize {
    match message {
        Message::Append { entries, .. } => entries.iter().map(EntryMeta::encoded_len).sum(),
        _ => 0,
    }
}

fn write_message(message: &Message, out: &mut Vec<u8>) {
    let head = |out: &mut Vec<u8>, code: u8, term: &Term| {
        out.put_u8(code);
        out.put_u64(term.0);
    };
    match message {
        Message::PreVote { term, last_log_index, last_log_term } => {
            head(out, 1, term);
            out.put_u64(last_log_index.0);
            out.put_u64(last_log_term.0);
        }
        Message::PreVoteReply { term, vote_granted } => {
            head(out, 2, term);
            out.put_bool(*vote_granted);
        }
        Message::RequestVote { term, last_log_index, last_log_term, transfer } => {
            head(out, 3, term);
            out.put_u64(last_log_index.0);
            out.put_u64(last_log_term.0);
            out.put_bool(*transfer);
        }
        Message::RequestVoteReply { term, vote_granted } => {
            head(out, 4, term);
            out.put_bool(*vote_granted);
        }
        Message::Append { term, prev_log_index, prev_log_term, leader_commit, entries: _ } => {
            head(out, 5, term);
            out.put_u64(prev_log_index.0);
            out.put_u64(prev_log_term.0);
            out.put_u64(leader_commit.0);
        }
        Message::AppendReply { term, outcome } => {
            head(out, 6, term);
            match outcome {
                AppendOutcome::Accepted { match_index } => {
                    out.put_u8(1);
                    out.put_u64(match_index.0);
                }
                AppendOutcome::Rejected { prev_log_index, hint_index, hint_term } => {
                    out.put_u8(2);
                    out.put_u64(prev_log_index.0);
                    out.put_u64(hint_index.0);
                    out.put_u64(hint_term.0);
                }
            }
        }
        Message::Heartbeat { term, leader_commit, read_token } => {
            head(out, 7, term);
            out.put_u64(leader_commit.0);
            out.put_optional(*read_token, write_token);
        }
        Message::HeartbeatReply { term, read_token } => {
            head(out, 8, term);
            out.put_optional(*read_token, write_token);
        }
        Message::ReadIndex { term, token } => {
            head(out, 9, term);
            write_token(out, *token);
        }
        Message::ReadIndexReply { term, token, index } => {
            head(out, 10, term);
            write_token(out, *token);
            out.put_u64(index.0);
        }
        Message::InstallSnapshot { term, last_included } => {
            head(out, 11, term);
            write_entry_id(out, *last_included);
        }
    }
}

fn write_entry_id(out: &mut Vec<u8>, entry: EntryId) {
    out.put_u64(entry.index.0);
    out.put_u64(entry.term.0);
}

fn read_entry_id(reader: &mut Reader<'_>) -> Result<EntryId, DecodeError> {
    Ok(EntryId { index: reader.index("last_included_index")?, term: reader.term("last_included_term")? })
}

fn write_token(out: &mut Vec<u8>, token: ReadToken) {
    out.put_u64(token.incarnation.0);
    out.put_u64(token.round);
}

fn read_token(reader: &mut Reader<'_>) -> Result<ReadToken, DecodeError> {
    Ok(ReadToken { incarnation: reader.incarnation()?, round: reader.u64("round")? })
}

fn decode_raft(body: &[u8]) -> Result<PeerFrame<'_>, DecodeError> {
    let mut reader = Reader::new(body);
    let code = reader.code("message type", |code| (1..=11).contains(&code).then_some(code))?;
    let term = reader.term("term")?;
    let mut entries: &[u8] = &[];
    let message = match code {
        1 => {
            let (last_log_index, last_log_term) = (reader.index("last_log_index")?, reader.term("last_log_term")?);
            Message::PreVote { term, last_log_index, last_log_term }
        }
        2 => Message::PreVoteReply { term, vote_granted: reader.bool("vote_granted")? },
        3 => {
            let (last_log_index, last_log_term) = (reader.index("last_log_index")?, reader.term("last_log_term")?);
            Message::RequestVote { term, last_log_index, last_log_term, transfer: reader.bool("transfer")? }
        }
        4 => Message::RequestVoteReply { term, vote_granted: reader.bool("vote_granted")? },
        5 => {
            let (prev_log_index, prev_log_term) = (reader.index("prev_log_index")?, reader.term("prev_log_term")?);
            let leader_commit = reader.index("leader_commit")?;
            let entries_offset = reader.offset();
            entries = reader.rest();
            let metas = read_entries(entries, entries_offset, prev_log_index, prev_log_term, term)?;
            Message::Append { term, prev_log_index, prev_log_term, leader_commit, entries: metas }
        }
        6 => Message::AppendReply { term, outcome: read_outcome(&mut reader)? },
        7 => {
            let leader_commit = reader.index("leader_commit")?;
            Message::Heartbeat { term, leader_commit, read_token: reader.optional("read_token", read_token)? }
        }
        8 => Message::HeartbeatReply { term, read_token: reader.optional("read_token", read_token)? },
        9 => Message::ReadIndex { term, token: read_token(&mut reader)? },
        10 => Message::ReadIndexReply { term, token: read_token(&mut reader)?, index: reader.index("index")? },
        _ => Message::InstallSnapshot { term, last_included: read_entry_id(&mut reader)? },
    };
    reader.finish()?;
    Ok(PeerFrame::Raft { message, entries })
}

fn read_outcome(reader: &mut Reader<'_>) -> Result<AppendOutcome, DecodeError> {
    let accepted = reader.code("outcome", |code| match code {
        1 => Some(true),
        2 => Some(false),
        _ => None,
    })?;
    if accepted {
        return Ok(AppendOutcome::Accepted { match_index: reader.index("match_index")? });
    }
    Ok(AppendOutcome::Rejected {
        prev_log_index: reader.index("prev_log_index")?,
        hint_index: reader.index("hint_index")?,
        hint_term: reader.term("hint_term")?,
    })
}

/// What raft knows of the entries in `bytes`, which begin at `base` of the frame's body.
fn read_entries(bytes: &[u8], base: usize, prev: Index, prev_term: Term, leader_term: Term) -> Result<Vec<EntryMeta>, DecodeError> {
    let mut metas = Vec::new();
    let (mut index, mut last_term) = (prev, prev_term);
    let mut rest = bytes;
    while !rest.is_empty() {
        let offset = base + bytes.len() - rest.len();
        let header = EntryHeader::decode(rest).map_err(|error| match error {
            EntryHeaderError::Short => DecodeError::Truncated { what: "entry header", offset },
            EntryHeaderError::Kind(code) => DecodeError::Unknown { what: "entry kind", offset: offset + 20, found: code.into() },
            EntryHeaderError::Padding => DecodeError::OutOfRange { what: "entry padding", offset: offset + 21, found: 1 },
        })?;
        if header.term < last_term || header.term > leader_term {
            return Err(DecodeError::OutOfRange { what: "entry term", offset, found: header.term.0 });
        }
        index = index.next();
        if index.0 >= TERM_AND_INDEX_LIMIT {
            return Err(DecodeError::OutOfRange { what: "entry index", offset, found: index.0 });
        }
        let meta = header.meta(index);
        rest = rest.get(meta.encoded_len()..).ok_or(DecodeError::Truncated { what: "entry payload", offset: offset + ENTRY_HEADER_LEN })?;
        last_term = header.term;
        metas.push(meta);
    }
    Ok(metas)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex::hex;
    use raft::{EntryKind, Incarnation};

    const TOKEN: ReadToken = ReadToken { incarnation: Incarnation(0x8877_6655_4433_2211), round: 0x99 };
    const TOKEN_BYTES: &str = "1122334455667788 9900000000000000";

    fn decode(body: &[u8]) -> Result<PeerFrame<'_>, DecodeError> {
        decode_peer(Frame { kind: Kind::Raft, body })
    }

    fn pinned(message: Message, bytes: &str) {
        let mut out = Vec::new();
        write_message(&message, &mut out);
        assert_eq!(out, hex(bytes), "{message:?}");
        assert_eq!(decode(&out), Ok(PeerFrame::Raft { message, entries: &[] }));
    }

    #[test]
    fn message_bytes_are_fixed_for_ever() {
        let (term, last_log_index, last_log_term) = (Term(0x0102), Index(0x0304), Term(0x05));
        let t = "0201000000000000";
        let last = "0403000000000000 0500000000000000";
        pinned(Message::PreVote { term, last_log_index, last_log_term }, &format!("01 {t} {last}"));
        pinned(Message::PreVoteReply { term, vote_granted: true }, &format!("02 {t} 01"));
        pinned(Message::RequestVote { term, last_log_index, last_log_term, transfer: false }, &format!("03 {t} {last} 00"));
        pinned(Message::RequestVote { term, last_log_index, last_log_term, transfer: true }, &format!("03 {t} {last} 01"));
        pinned(Message::RequestVoteReply { term, vote_granted: false }, &format!("04 {t} 00"));
        let (prev_log_index, prev_log_term, leader_commit) = (Index(6), Term(5), Index(0x07));
        let probe = Message::Append { term, prev_log_index, prev_log_term, leader_commit, entries: Vec::new() };
        pinned(probe, &format!("05 {t} 0600000000000000 0500000000000000 0700000000000000"));
        let accepted = AppendOutcome::Accepted { match_index: Index(8) };
        pinned(Message::AppendReply { term, outcome: accepted }, &format!("06 {t} 01 0800000000000000"));
        let rejected = AppendOutcome::Rejected { prev_log_index: Index(9), hint_index: Index(4), hint_term: Term(3) };
        pinned(Message::AppendReply { term, outcome: rejected }, &format!("06 {t} 02 0900000000000000 0400000000000000 0300000000000000"));
        pinned(Message::Heartbeat { term, leader_commit, read_token: None }, &format!("07 {t} 0700000000000000 00"));
        pinned(Message::Heartbeat { term, leader_commit, read_token: Some(TOKEN) }, &format!("07 {t} 0700000000000000 01 {TOKEN_BYTES}"));
        pinned(Message::HeartbeatReply { term, read_token: None }, &format!("08 {t} 00"));
        pinned(Message::HeartbeatReply { term, read_token: Some(TOKEN) }, &format!("08 {t} 01 {TOKEN_BYTES}"));
        pinned(Message::ReadIndex { term, token: TOKEN }, &format!("09 {t} {TOKEN_BYTES}"));
        let index = Index(0x0a);
        pinned(Message::ReadIndexReply { term, token: TOKEN, index }, &format!("0a {t} {TOKEN_BYTES} 0a00000000000000"));
        let last_included = EntryId { index: last_log_index, term: last_log_term };
        pinned(Message::InstallSnapshot { term, last_included }, &format!("0b {t} {last}"));
    }

    const LAST: EntryId = EntryId { index: Index(0x0304), term: Term(0x05) };
    const LAST_BYTES: &str = "0403000000000000 0500000000000000";

    fn pinned_frame(frame: PeerFrame<'_>, kind: Kind, bytes: &str, out: &[u8]) {
        assert_eq!(out[crate::FRAME_HEADER_LEN..], hex(bytes), "{frame:?}");
        assert_eq!(out[8], kind as u8, "{frame:?}");
        assert_eq!(decode_peer(Frame { kind, body: &hex(bytes) }), Ok(frame));
    }

    #[test]
    fn bytes_of_snapshots_and_digests_are_fixed_for_ever() {
        let mut out = Vec::new();
        encode_snapshot_fetch(LAST, 0x0607, &mut out);
        let fetch = PeerFrame::SnapshotFetch { last: LAST, offset: 0x0607 };
        pinned_frame(fetch, Kind::SnapshotFetch, &format!("{LAST_BYTES} 0706000000000000"), &out);
        out.clear();
        encode_snapshot_chunk(LAST, 0x0a09, 0x0607, b"abc", &mut out);
        let chunk = PeerFrame::SnapshotChunk { last: LAST, file_len: 0x0a09, offset: 0x0607, bytes: b"abc" };
        pinned_frame(chunk, Kind::SnapshotChunk, &format!("{LAST_BYTES} 090a000000000000 0706000000000000 616263"), &out);
        out.clear();
        encode_state_digest(Index(0x0400), 0x8877_6655_4433_2211, &mut out);
        let digest = PeerFrame::StateDigest { index: Index(0x0400), digest: 0x8877_6655_4433_2211 };
        pinned_frame(digest, Kind::StateDigest, "0004000000000000 1122334455667788", &out);
    }

    #[test]
    fn a_chunk_is_bounded_and_lies_within_its_file() {
        let chunk = |file_len: u64, offset: u64, count: usize| {
            let mut body = [0x0304_u64, 5, file_len, offset].map(u64::to_le_bytes).concat();
            body.resize(32 + count, 7);
            decode_peer(Frame { kind: Kind::SnapshotChunk, body: &body }).map(drop)
        };
        assert_eq!(chunk(u64::MAX, 0, SNAPSHOT_CHUNK_LEN_MAX), Ok(()));
        let (found, max) = (SNAPSHOT_CHUNK_LEN_MAX + 1, SNAPSHOT_CHUNK_LEN_MAX);
        assert_eq!(chunk(u64::MAX, 0, found), Err(DecodeError::TooLong { what: "bytes", offset: 32, found, max }));
        assert_eq!((chunk(10, 7, 3), chunk(10, 10, 0), chunk(0, 0, 0)), (Ok(()), Ok(()), Ok(())));
        for (file_len, offset, count) in [(10, 8, 3), (10, 11, 0), (10, u64::MAX, 2), (u64::MAX, u64::MAX, 1)] {
            let error = DecodeError::OutOfRange { what: "offset", offset: 24, found: offset };
            assert_eq!(chunk(file_len, offset, count), Err(error), "{count} from {offset} on, in {file_len}");
        }
    }

    #[test]
    fn frames_of_snapshots_and_digests_end_where_their_fields_do() {
        for (kind, len) in [(Kind::SnapshotFetch, 24), (Kind::StateDigest, 16)] {
            for count in 0..30 {
                let body = vec![0; count];
                assert_eq!(decode_peer(Frame { kind, body: &body }).is_ok(), count == len, "{kind:?} of {count}");
            }
        }
        for count in 0..32 {
            assert!(decode_peer(Frame { kind: Kind::SnapshotChunk, body: &vec![0; count] }).is_err(), "a chunk of {count}");
        }
        for (kind, field) in [
            (Kind::SnapshotFetch, 7), // last included index, then its term
            (Kind::SnapshotFetch, 15),
            (Kind::SnapshotChunk, 7),
            (Kind::SnapshotChunk, 15),
            (Kind::StateDigest, 7),
        ] {
            let mut body = vec![0; if kind == Kind::StateDigest { 16 } else { 24 + 8 * usize::from(kind == Kind::SnapshotChunk) }];
            body[field] = 1; // 2^56
            assert!(matches!(decode_peer(Frame { kind, body: &body }), Err(DecodeError::OutOfRange { .. })), "{kind:?} {field}");
        }
    }

    const APPEND_HEAD: &str = "05 0400000000000000 0600000000000000 0200000000000000 0500000000000000";
    const NO_OP: &str = "0300000000000000 1122000000000000 00000000 02 000000";
    const COMMAND: &str = "0400000000000000 1122000000000000 03000000 01 000000 616263";

    #[test]
    fn append_bytes_are_fixed_for_ever() {
        let metas = vec![
            EntryMeta { index: Index(7), term: Term(3), payload_len: 0, kind: EntryKind::NoOp },
            EntryMeta { index: Index(8), term: Term(4), payload_len: 3, kind: EntryKind::Command },
        ];
        let message =
            Message::Append { term: Term(4), prev_log_index: Index(6), prev_log_term: Term(2), leader_commit: Index(5), entries: metas };
        let entries = hex(&format!("{NO_OP} {COMMAND}"));
        let mut out = Vec::new();
        encode_raft(&message, &entries, &mut out);
        let body = hex(&format!("{APPEND_HEAD} {NO_OP} {COMMAND}"));
        assert_eq!(out[crate::FRAME_HEADER_LEN..], body);
        assert_eq!(decode(&body), Ok(PeerFrame::Raft { message, entries: &entries }));
    }

    #[test]
    fn entries_must_fill_the_append_exactly() {
        let body = hex(&format!("{APPEND_HEAD} {NO_OP} {COMMAND}"));
        let whole = [33, 33 + 24, 33 + 24 + 27]; // none, one, both
        for len in 33..body.len() {
            assert_eq!(decode(&body[..len]).is_ok(), whole.contains(&len), "{len}");
        }
        let error = DecodeError::Truncated { what: "entry payload", offset: 33 + 24 + 24 };
        assert_eq!(decode(&body[..body.len() - 1]), Err(error));
        assert_eq!(decode(&[body.as_slice(), &[0]].concat()), Err(DecodeError::Truncated { what: "entry header", offset: body.len() }));

        let mut unknown_kind = body.clone();
        unknown_kind[33 + 20] = 4;
        assert_eq!(decode(&unknown_kind), Err(DecodeError::Unknown { what: "entry kind", offset: 33 + 20, found: 4 }));
        let mut padded = body.clone();
        padded[33 + 21] = 1;
        assert_eq!(decode(&padded), Err(DecodeError::OutOfRange { what: "entry padding", offset: 33 + 21, found: 1 }));
    }

    #[test]
    fn terms_of_entries_never_fall_and_never_pass_the_leaders() {
        let body = |prev_term: &str, first: &str, second: &str| {
            let head = format!("05 0400000000000000 0600000000000000 {prev_term}00000000000000 0500000000000000");
            let entry = |term: &str| format!("{term}00000000000000 1122000000000000 00000000 02 000000");
            hex(&format!("{head} {} {}", entry(first), entry(second)))
        };
        for (prev_term, first, second, at) in [("03", "02", "04", 33), ("02", "04", "03", 57), ("02", "03", "05", 57)] {
            let body = body(prev_term, first, second);
            let error = DecodeError::OutOfRange { what: "entry term", offset: at, found: body[at].into() };
            assert_eq!(decode(&body), Err(error));
        }
        assert!(decode(&body("03", "03", "04")).is_ok());
    }

    #[test]
    fn every_term_and_index_is_below_2_to_the_56() {
        let over = "0000000000000001";
        let most = "ffffffffffffff00";
        let zero = "0000000000000000";
        let fields: [(&str, usize, &str); 11] = [
            ("01", 3, ""),
            ("02", 1, "00"),
            ("03", 3, "00"),
            ("04", 1, "00"),
            ("05", 4, ""),
            ("07", 2, "00"),
            ("08", 1, "00"),
            ("09", 1, TOKEN_BYTES),
            ("0b", 3, ""),
            ("06", 1, "01 0000000000000000"),
            ("06", 1, "02 0000000000000000 0000000000000000 0000000000000000"),
        ];
        for (code, count, tail) in fields {
            assert!(decode(&hex(&format!("{code} {} {tail}", most.repeat(count)))).is_ok(), "{code}");
            for bad in 0..count {
                let numbers: String = (0..count).map(|i| if i == bad { over } else { zero }).collect();
                let error = decode(&hex(&format!("{code} {numbers} {tail}"))).unwrap_err();
                assert!(matches!(error, DecodeError::OutOfRange { found: 0x0100_0000_0000_0000, .. }), "{code} {bad}: {error}");
            }
        }
        for outcome in [
            format!("01 {over}"),
            format!("02 {over} {zero} {zero}"),
            format!("02 {zero} {over} {zero}"),
            format!("02 {zero} {zero} {over}"),
        ] {
            assert!(matches!(decode(&hex(&format!("06 {zero} {outcome}"))), Err(DecodeError::OutOfRange { .. })), "{outcome}");
        }
        let reply = hex(&format!("0a {zero} {TOKEN_BYTES} {over}"));
        assert!(matches!(decode(&reply), Err(DecodeError::OutOfRange { what: "index", .. })));
        let last_index = hex(&format!("05 0400000000000000 {most} 0200000000000000 {zero} {NO_OP}"));
        assert!(matches!(decode(&last_index), Err(DecodeError::OutOfRange { what: "entry index", .. })));
    }

    #[test]
    fn an_unknown_message_or_a_byte_too_many_is_an_error() {
        for code in [0, 12, 255] {
            assert_eq!(decode(&[code]), Err(DecodeError::Unknown { what: "message type", offset: 0, found: code.into() }));
        }
        let reply = hex("02 0100000000000000 01 00");
        assert_eq!(decode(&reply), Err(DecodeError::TrailingBytes { offset: 10, count: 1 }));
        assert_eq!(decode(&hex("02 0100000000000000 02")), Err(DecodeError::OutOfRange { what: "vote_granted", offset: 9, found: 2 }));
    }

    #[test]
    fn ping_and_pong_are_bare() {
        let (mut ping, mut pong) = (Vec::new(), Vec::new());
        encode_ping(&mut ping);
        encode_pong(&mut pong);
        assert_eq!(ping, hex("00000000 9e0ba4d8 08"));
        assert_eq!(pong, hex("00000000 9d88cf2a 09"));
        assert_eq!(decode_peer(Frame { kind: Kind::Ping, body: &[] }), Ok(PeerFrame::Ping));
        assert_eq!(decode_peer(Frame { kind: Kind::Pong, body: &[] }), Ok(PeerFrame::Pong));
        let error = DecodeError::TrailingBytes { offset: 0, count: 1 };
        assert_eq!(decode_peer(Frame { kind: Kind::Pong, body: &[0] }), Err(error));
        let error = DecodeError::WrongKind { expected: Kind::Raft, found: Kind::Request };
        assert_eq!(decode_peer(Frame { kind: Kind::Request, body: &[] }), Err(error));
    }
}
