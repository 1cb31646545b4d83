//! What is written is read back, for every message.

use proptest::prelude::*;
use wire::limits::FRAME_BODY_LEN_MAX;
use wire::{Command, Frame, FrameBuffer, PeerFrame};

use crate::strategies;

/// Sends a frame through a buffer, as a connection would, and hands it to `read`.
fn received<T>(frame: &[u8], read: impl FnOnce(Frame<'_>) -> T) -> T {
    let mut buffer = FrameBuffer::new(FRAME_BODY_LEN_MAX);
    buffer.space()[..frame.len()].copy_from_slice(frame);
    buffer.filled(frame.len());
    let result = read(buffer.next().expect("a good frame").expect("a whole frame"));
    assert_eq!(buffer.next(), Ok(None), "nothing follows");
    result
}

proptest! {
    #[test]
    fn hello(hello in strategies::hello()) {
        let mut out = Vec::new();
        wire::encode_hello(&hello, &mut out);
        prop_assert_eq!(received(&out, wire::decode_hello), Ok(hello));
    }

    #[test]
    fn answer_to_a_client(answer in strategies::welcome()) {
        let mut out = Vec::new();
        match &answer {
            Ok(welcome) => wire::encode_welcome(welcome, &mut out),
            Err(refused) => wire::encode_refused(refused, &mut out),
        }
        prop_assert_eq!(received(&out, wire::decode_welcome), Ok(answer));
    }

    #[test]
    fn answer_to_a_node(answer in strategies::peer_welcome()) {
        let mut out = Vec::new();
        match &answer {
            Ok(peer) => wire::encode_peer_welcome(peer, &mut out),
            Err(refused) => wire::encode_refused(refused, &mut out),
        }
        prop_assert_eq!(received(&out, wire::decode_peer_welcome), Ok(answer));
    }

    #[test]
    fn request(id in any::<u64>(), request in strategies::request()) {
        let mut out = Vec::new();
        wire::encode_request(id, &request.request(), &mut out);
        received(&out, |frame| assert_eq!(wire::decode_request(frame), Ok((id, request.request()))));
    }

    #[test]
    fn reply(id in any::<u64>(), reply in strategies::reply()) {
        let mut out = Vec::new();
        wire::encode_reply(id, &reply, &mut out);
        prop_assert_eq!(received(&out, wire::decode_reply), Ok((id, reply)));
    }

    #[test]
    fn message_between_nodes((message, entries) in strategies::message()) {
        let mut out = Vec::new();
        wire::encode_raft(&message, &entries, &mut out);
        received(&out, |frame| {
            let expected = PeerFrame::Raft { message: message.clone(), entries: &entries };
            assert_eq!(wire::decode_peer(frame), Ok(expected));
        });
    }

    #[test]
    fn question_for_a_snapshot(last in strategies::entry_id(), offset in any::<u64>()) {
        let mut out = Vec::new();
        wire::encode_snapshot_fetch(last, offset, &mut out);
        received(&out, |frame| assert_eq!(wire::decode_peer(frame), Ok(PeerFrame::SnapshotFetch { last, offset })));
    }

    #[test]
    fn chunk_of_a_snapshot((last, file_len, offset, bytes) in strategies::chunk()) {
        let mut out = Vec::new();
        wire::encode_snapshot_chunk(last, file_len, offset, &bytes, &mut out);
        received(&out, |frame| {
            assert_eq!(wire::decode_peer(frame), Ok(PeerFrame::SnapshotChunk { last, file_len, offset, bytes: &bytes }));
        });
    }

    #[test]
    fn digest_of_a_state(index in strategies::index(), digest in any::<u64>()) {
        let mut out = Vec::new();
        wire::encode_state_digest(index, digest, &mut out);
        received(&out, |frame| assert_eq!(wire::decode_peer(frame), Ok(PeerFrame::StateDigest { index, digest })));
    }

    #[test]
    fn command(command in strategies::command()) {
        let mut out = Vec::new();
        command.command().encode(&mut out);
        prop_assert_eq!(Command::decode(&out), Ok(command.command()));
    }

    #[test]
    fn membership(members in strategies::membership()) {
        let mut out = Vec::new();
        wire::encode_membership(&members, &mut out);
        prop_assert_eq!(wire::decode_membership(&out), Ok(members));
    }
}
