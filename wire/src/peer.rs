//! Between nodes: a raft message, and for an append the bytes of its entries. `Ping` and `Pong` keep a link known to be alive.
//!
//! The body of a frame of kind 7 begins with a type of 1 byte; every type but pre-vote and its answer counts as news of its term:
//!
//! | type | message              | fields behind the type, in this order                                                             |
//! |-----:|----------------------|---------------------------------------------------------------------------------------------------|
//! |    1 | pre-vote             | term 8, last log index 8, last log term 8                                                         |
//! |    2 | pre-vote reply       | term 8, vote granted bool                                                                         |
//! |    3 | request vote         | term 8, last log index 8, last log term 8, transfer bool                                          |
//! |    4 | request vote reply   | term 8, vote granted bool                                                                         |
//! |    5 | append               | term 8, prev log index 8, prev log term 8, leader commit 8, then the encoded entries to the end   |
//! |    6 | append reply         | term 8, outcome 1: 1 accepted, then match index 8; 2 rejected, then prev log index 8, hint index 8, hint term 8 |
//! |    7 | heartbeat            | term 8, leader commit 8, optional read token                                                      |
//! |    8 | heartbeat reply      | term 8, optional read token                                                                       |
//! |    9 | read index           | term 8, read token                                                                                |
//! |   10 | read index reply     | term 8, read token, index 8                                                                       |
//!
//! A read token is incarnation 8, round 8. An encoded entry is its header of 24 (`raft::EntryHeader`) and its payload; the first of an
//! append stands at prev log index + 1, the others follow by counting. Terms in a log never fall, and never pass its leader's: an
//! append whose entries say otherwise is an error, as is one whose last entry does not end where the frame does.

use raft::{
    AppendOutcome, ENTRY_HEADER_LEN, EntryHeader, EntryHeaderError, EntryMeta, Index, Message, ReadToken, TERM_AND_INDEX_LIMIT, Term,
};

use crate::codec::{DecodeError, Reader, Writer};
use crate::frame::{Frame, Kind, encode_frame};

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

/// A frame from a node, after the greeting.
pub fn decode_peer(frame: Frame<'_>) -> Result<PeerFrame<'_>, DecodeError> {
    match frame.kind {
        Kind::Ping => Reader::new(frame.body).finish().map(|()| PeerFrame::Ping),
        Kind::Pong => Reader::new(frame.body).finish().map(|()| PeerFrame::Pong),
        _ => decode_raft(frame.expect(Kind::Raft)?),
    }
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
    }
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
    let code = reader.code("message type", |code| (1..=10).contains(&code).then_some(code))?;
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
        _ => Message::ReadIndexReply { term, token: read_token(&mut reader)?, index: reader.index("index")? },
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
