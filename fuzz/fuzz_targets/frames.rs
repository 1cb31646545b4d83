//! Any bytes as a stream, cut into reads as the first bytes say: with the checksums found in it, and with the right ones.
#![no_main]

#[path = "../checks.rs"]
#[expect(dead_code, reason = "the other target uses the rest")]
mod checks;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((cuts, stream)) = bytes.split_first_chunk::<4>() else { return };
    let read_lens = cuts.map(usize::from);
    checks::frames(stream, &read_lens, wire::limits::HELLO_BODY_LEN_MAX);
    let mut stream = stream.to_vec();
    checks::correct_checksums(&mut stream);
    checks::frames(&stream, &read_lens, wire::limits::HELLO_BODY_LEN_MAX);
});
