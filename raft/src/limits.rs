//! Bounds on what is remembered for others, with their reasons. Those that depend on payloads are the embedding's: see `Config`.

/// Reads that wait in one node at most: some 16 bytes each, and far more than clients keep in flight.
pub const READS_MAX: usize = 65_536;
