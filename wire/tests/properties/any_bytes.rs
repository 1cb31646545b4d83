//! The fuzz targets of `fuzz/` as properties: any bytes, damaged messages, and streams cut into reads anywhere.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index as Position;
use wire::limits::{FRAME_BODY_LEN_MAX, HELLO_BODY_LEN_MAX};

use crate::{checks, strategies};

proptest! {
    #[test]
    fn no_decoder_panics_on_any_bytes(body in vec(any::<u8>(), 0..200)) {
        checks::decoders(&body);
    }

    /// Nearly right is where mistakes hide: one byte changed, some cut off or added.
    #[test]
    fn no_decoder_panics_on_a_damaged_message(
        frame in strategies::frame(), at in any::<Position>(), byte in any::<u8>(), len in any::<Position>(), tail in vec(any::<u8>(), 0..3),
    ) {
        let mut body = frame[wire::FRAME_HEADER_LEN..].to_vec();
        checks::decoders(&body);
        if !body.is_empty() {
            let at = at.index(body.len());
            body[at] = byte;
            checks::decoders(&body);
        }
        body.truncate(len.index(body.len() + 1));
        body.extend_from_slice(&tail);
        checks::decoders(&body);
    }

    #[test]
    fn no_decoder_panics_on_a_damaged_log_payload(payload in strategies::payload(), at in any::<Position>(), byte in any::<u8>()) {
        let mut payload = payload;
        checks::decoders(&payload);
        let at = at.index(payload.len());
        payload[at] = byte;
        checks::decoders(&payload);
    }

    #[test]
    fn any_stream_gives_the_same_frames_however_it_is_cut(
        frames in vec(strategies::frame(), 0..20), tail in vec(any::<u8>(), 0..30), read_lens in vec(1_usize..200, 0..20),
    ) {
        let mut stream = frames.concat();
        stream.extend_from_slice(&tail);
        checks::frames(&stream, &read_lens, FRAME_BODY_LEN_MAX);
        checks::frames(&stream, &[1; 1000], HELLO_BODY_LEN_MAX);
    }

    #[test]
    fn a_damaged_stream_gives_the_same_frames_and_the_same_error_however_it_is_cut(
        frames in vec(strategies::frame(), 1..10), at in any::<Position>(), byte in any::<u8>(), read_lens in vec(1_usize..200, 0..20),
    ) {
        let mut stream = frames.concat();
        let at = at.index(stream.len());
        stream[at] = byte;
        checks::frames(&stream, &read_lens, FRAME_BODY_LEN_MAX);
        checks::correct_checksums(&mut stream);
        checks::frames(&stream, &read_lens, FRAME_BODY_LEN_MAX);
    }

    #[test]
    fn large_frames_are_found_in_bounded_memory(lens in vec(0..FRAME_BODY_LEN_MAX - 64, 1..4), read_len in 1_000_usize..2_000_000) {
        let mut stream = Vec::new();
        for len in lens {
            wire::encode_request(1, &wire::Request::Write { command: &vec![7; len] }, &mut stream);
        }
        checks::frames(&stream, &[read_len; 50], FRAME_BODY_LEN_MAX);
    }
}
