//! What holds for any value and for any bytes.

mod allocation; // no bytes make a decoder take memory out of proportion
mod any_bytes; // no bytes make it panic, or accept what no encoder wrote
#[path = "../../../fuzz/checks.rs"]
mod checks; // shared with the fuzz targets
mod round_trips; // what is written is read back
mod strategies; // any well-formed value of each type
