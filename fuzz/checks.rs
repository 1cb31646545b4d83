//! What must hold for any bytes at all. The fuzz targets hand over what they please; `wire/tests/properties/` does the same with
//! random bytes, on a stable compiler and in every test run.

use wire::limits::{READ_BUFFER_KEPT_LEN, READ_BUFFER_LEN};
use wire::{Command, FRAME_HEADER_LEN, Frame, FrameBuffer, FrameError, Kind, NodeStatus, PeerFrame, Reply};

/// No decoder panics, whatever the kind of the frame, and each accepts only the bytes that its encoder writes.
pub(crate) fn decoders(body: &[u8]) {
    for kind in Kind::ALL {
        let mut again = Vec::new();
        if let Some(open_ended) = encode_again(Frame { kind, body }, &mut again) {
            let again = &again[FRAME_HEADER_LEN..];
            assert_eq!(again, &body[..if open_ended { again.len() } else { body.len() }], "{kind:?}");
        }
    }
    if let Ok(command) = Command::decode(body) {
        let mut again = Vec::new();
        command.encode(&mut again);
        assert_eq!(again, body, "command");
    }
    if let Ok(members) = wire::decode_membership(body) {
        let mut again = Vec::new();
        wire::encode_membership(&members, &mut again);
        assert_eq!(again, body, "membership");
    }
    if let Ok(status) = NodeStatus::decode(body) {
        let mut again = Vec::new();
        status.encode(&mut again);
        assert_eq!(again, body[..again.len()], "status");
    }
}

/// Whether bytes may follow that the decoder ignores; `None` if the body is not accepted.
fn encode_again(frame: Frame<'_>, out: &mut Vec<u8>) -> Option<bool> {
    match frame.kind {
        Kind::Hello => wire::encode_hello(&wire::decode_hello(frame).ok()?, out),
        Kind::Welcome => wire::encode_welcome(&wire::decode_welcome(frame).ok()?.expect("the frame is no refusal"), out),
        Kind::PeerWelcome => wire::encode_peer_welcome(&wire::decode_peer_welcome(frame).ok()?.expect("the frame is no refusal"), out),
        Kind::Refused => wire::encode_refused(&wire::decode_welcome(frame).ok()?.expect_err("the frame is a refusal"), out),
        Kind::Request => {
            let (id, request) = wire::decode_request(frame).ok()?;
            wire::encode_request(id, &request, out);
        }
        Kind::Reply => {
            let (id, reply) = wire::decode_reply(frame).ok()?;
            wire::encode_reply(id, &reply, out);
            return Some(matches!(reply, Reply::Status(_)));
        }
        Kind::Raft | Kind::Ping | Kind::Pong | Kind::SnapshotFetch | Kind::SnapshotChunk | Kind::StateDigest => {
            match wire::decode_peer(frame).ok()? {
                PeerFrame::Raft { message, entries } => wire::encode_raft(&message, entries, out),
                PeerFrame::Ping => wire::encode_ping(out),
                PeerFrame::Pong => wire::encode_pong(out),
                PeerFrame::SnapshotFetch { last, offset } => wire::encode_snapshot_fetch(last, offset, out),
                PeerFrame::SnapshotChunk { last, file_len, offset, bytes } => {
                    wire::encode_snapshot_chunk(last, file_len, offset, bytes, out)
                }
                PeerFrame::StateDigest { index, digest } => wire::encode_state_digest(index, digest, out),
            }
        }
    }
    Some(false)
}

/// However a stream is cut into reads, the same frames come out of it and the same error ends it, and the memory held stays within
/// twice the bytes that are waiting, or what an idle buffer may keep.
pub(crate) fn frames(stream: &[u8], read_lens: &[usize], body_len_max: usize) {
    let (expected, expected_error) = frames_of_the_whole(stream, body_len_max);
    let mut buffer = FrameBuffer::new(body_len_max);
    let (mut found, mut found_error, mut pending_len_max) = (Vec::new(), None, 0);
    let (mut rest, mut read_lens) = (stream, read_lens.iter().copied().chain([usize::MAX]).cycle());
    while !rest.is_empty() && found_error.is_none() {
        let space = buffer.space();
        assert!(!space.is_empty());
        let read_len = read_lens.next().unwrap_or(1).clamp(1, rest.len().min(space.len()));
        space[..read_len].copy_from_slice(&rest[..read_len]);
        buffer.filled(read_len);
        rest = &rest[read_len..];
        pending_len_max = pending_len_max.max(buffer.pending_len());
        loop {
            match buffer.next() {
                Ok(Some(frame)) => found.push((frame.kind, frame.body.to_vec())),
                Ok(None) => break,
                Err(error) => {
                    found_error = Some(error);
                    break;
                }
            }
        }
        let frame_len_max = FRAME_HEADER_LEN + body_len_max;
        let held_len_max = (2 * pending_len_max).max(READ_BUFFER_KEPT_LEN).min(frame_len_max.max(READ_BUFFER_LEN));
        assert!(buffer.allocated_len() <= held_len_max, "{} bytes held, {held_len_max} allowed", buffer.allocated_len());
    }
    assert_eq!(found_error, expected_error);
    assert_eq!(found, expected);
}

/// The table of `wire::frame`, read once more, by the shortest way.
fn frames_of_the_whole(mut stream: &[u8], body_len_max: usize) -> (Vec<(Kind, Vec<u8>)>, Option<FrameError>) {
    let mut frames = Vec::new();
    while let Some((header, rest)) = stream.split_at_checked(FRAME_HEADER_LEN) {
        let number = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let (len, found) = (number(0) as usize, number(4));
        if len > body_len_max {
            return (frames, Some(FrameError::TooLong { len, max: body_len_max }));
        }
        let Some((body, behind)) = rest.split_at_checked(len) else { break };
        let computed = wire::checksum(&stream[8..FRAME_HEADER_LEN + len]);
        if found != computed {
            return (frames, Some(FrameError::Checksum { found, computed }));
        }
        let Some(kind) = Kind::ALL.into_iter().find(|kind| *kind as u8 == header[8]) else {
            return (frames, Some(FrameError::Kind { found: header[8] }));
        };
        frames.push((kind, body.to_vec()));
        stream = behind;
    }
    (frames, None)
}

/// Writes the right checksum into every whole frame, so that random bytes get past it.
pub(crate) fn correct_checksums(mut stream: &mut [u8]) {
    while let Some((header, _)) = stream.split_first_chunk::<FRAME_HEADER_LEN>() {
        let frame_len = FRAME_HEADER_LEN + u32::from_le_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let Some((frame, behind)) = stream.split_at_mut_checked(frame_len) else { return };
        let crc = wire::checksum(&frame[8..]).to_le_bytes();
        frame[4..8].copy_from_slice(&crc);
        stream = behind;
    }
}
