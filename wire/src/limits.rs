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
/// Longest command that the limits above allow, bytes: a cas that expects the longest value and writes one, and its fixed fields.
pub const COMMAND_LEN_MAX: usize = KEY_LEN_MAX + 2 * VALUE_LEN_MAX + 64;
/// Longest record of a snapshot's content, bytes: the longest key and value, and its fixed fields. Sessions and members are shorter.
pub const RECORD_LEN_MAX: usize = KEY_LEN_MAX + VALUE_LEN_MAX + 64;
/// Longest frame body, bytes: the longest command, and room for one somewhat above the limits to be told so instead of being cut off.
/// Entries travel in appends of 1 MiB, or one larger entry alone.
pub const FRAME_BODY_LEN_MAX: usize = 3 << 20;
/// Longest piece of a snapshot in one frame, bytes: long enough that its frame costs nothing beside it, short enough that a link which
/// carries one a second is not taken for dead.
pub const SNAPSHOT_CHUNK_LEN_MAX: usize = 256 << 10;
/// Longest frame body before the greeting is done, bytes: a `Welcome` that names `MEMBERS_MAX` members. Strangers get no more.
pub const HELLO_BODY_LEN_MAX: usize = 16 << 10;
/// First size of a connection's read buffer: a read of this many bytes costs about as much as one of few.
pub const READ_BUFFER_LEN: usize = 16 << 10;
/// What a read buffer may keep while nothing is pending: a steady stream of 64 KiB values should not allocate for each.
pub const READ_BUFFER_KEPT_LEN: usize = 128 << 10;
/// Longest name of a node, bytes.
pub const NAME_LEN_MAX: usize = 64;
/// Longest address, `HOST:PORT`, bytes: a DNS name has at most 253.
pub const ADDRESS_LEN_MAX: usize = 270;
/// Longest version, `kvnode -V` without the name, bytes.
pub const VERSION_LEN_MAX: usize = 64;
/// Longest explanation of a refusal, bytes; a longer one is cut.
pub const MESSAGE_LEN_MAX: usize = 1024;
/// Members of a cluster, voters and learners.
pub const MEMBERS_MAX: usize = 32;
