//! Every bound on bytes from outside, with its reason. Those that decide a result are constants of the format, not settings: two
//! nodes that disagreed about one would hold different states.

/// Longest key, bytes; the shortest is 1.
pub const KEY_LEN_MAX: usize = 64 << 10;
/// Longest value, bytes, whether put at once or grown by appends.
pub const VALUE_LEN_MAX: usize = 1 << 20;
/// Sessions that the state machine keeps; at the limit the longest idle makes room.
pub const SESSIONS_MAX: usize = 65_536;
/// Calls of one session in flight: a sequence number this far above the lowest unanswered one is refused.
pub const SESSION_WINDOW: u64 = 64;
/// Longest frame body, bytes: the largest command (key, value and some 100 bytes) with room to spare; entries travel in appends of
/// 1 MiB, or one larger entry alone.
pub const FRAME_BODY_LEN_MAX: usize = 2 << 20;
/// Longest frame body before the greeting is done: strangers get no buffers.
pub const HELLO_BODY_LEN_MAX: usize = 4 << 10;
/// Longest name of a node, bytes.
pub const NAME_LEN_MAX: usize = 64;
/// Longest address, `HOST:PORT`, bytes: a DNS name has at most 253.
pub const ADDRESS_LEN_MAX: usize = 270;
/// Members of a cluster, voters and learners.
pub const MEMBERS_MAX: usize = 32;
