//! What a crash leaves of what was not synced.

use fastrand::Rng;

/// What becomes of an unsynced sector, or name change, in a crash.
pub(super) enum Fate<'a> {
    /// The process died, the system lives: everything stays.
    Kept,
    /// Nothing stays.
    Gone,
    /// Names stay, bytes do not.
    Named,
    /// The disk stopped after so many bytes of the last write of each file.
    Torn(u64),
    /// Anything may stay.
    Random(&'a mut Rng),
}
