//! Any bytes, to every decoder.
#![no_main]

#[path = "../checks.rs"]
#[expect(dead_code, reason = "the other target uses the rest")]
mod checks;

libfuzzer_sys::fuzz_target!(|body: &[u8]| checks::decoders(body));
