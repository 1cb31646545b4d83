//! Every bound on what is kept on disk or in memory here, with its reason.

/// Longest body of a batch, bytes. One save is one batch, so this bounds a save: what kvnode lets gather for one while another is under
/// way (its `UNSAVED_BYTES_MAX`, 16 MiB, far more than a turn of its loop takes) and one append more; the rest is room.
pub const BATCH_BODY_LEN_MAX: u32 = 32 << 20;
/// Smallest segment, bytes: what a test with a tiny log can ask for.
pub const SEGMENT_LEN_MIN: u64 = 4 << 10;
/// Largest segment, bytes: recovery reads one at a time into memory. Holds the largest batch with room to spare.
pub const SEGMENT_LEN_MAX: u64 = 64 << 20;
const _: () = assert!(BATCH_BODY_LEN_MAX as u64 + (64 << 10) < SEGMENT_LEN_MAX, "the longest batch fits in a segment");
/// The segment that `init` writes, bytes: a new directory should appear at once.
pub const FIRST_SEGMENT_LEN: u64 = 64 << 10;
/// How many times longer than the segment before it a segment may be. The next one is filled while the current one is used up: if it
/// were 16 MiB behind 64 KiB, a new node would write zeros at every turn.
pub const SEGMENT_GROWTH_MAX: u64 = 8;
/// Log size that the segment size is derived from unless the options name another, bytes.
pub const LOG_BYTES_DEFAULT: u64 = 64 << 20;
/// Fewest bytes of the next segment that one call fills: about a millisecond of a plain disk's time.
pub const PREPARE_SLICE_LEN: u64 = 256 << 10;
/// Most bytes that one call fills, to keep up with large batches.
pub const PREPARE_SLICE_LEN_MAX: u64 = 2 << 20;
/// How far the next segment is ahead of the current one, as one part in so many of the current one's length.
pub const PREPARE_LEAD: u64 = 8;
/// Bytes of entries kept in memory unless the options say otherwise: what the slowest healthy follower still needs.
pub const CACHE_BYTES_DEFAULT: usize = 16 << 20;
/// Largest identity file, bytes: 32 members with names of 64 and addresses of 270 bytes, with room to spare.
pub const IDENTITY_LEN_MAX: usize = 64 << 10;
/// Highest sequence number of a segment, so that an entry's place fits in 16 bytes. At 4 KiB each this is 16 TiB of log.
pub const SEQUENCE_MAX: u64 = u32::MAX as u64;
/// Bytes after which one read of entries that stand side by side is cut in two.
pub const READ_LEN_MAX: usize = 1 << 20;
/// Bytes read at once when single entries are asked for that are not in memory: a restarted node applies its log in order.
pub const READ_AHEAD_LEN_MAX: usize = 256 << 10;
/// Bytes of content in a chunk of a snapshot: what is lost to one checksum, and what a writer holds back.
pub const SNAPSHOT_CHUNK_LEN: usize = 64 << 10;
/// Longest chunk that a reader accepts, bytes: what it must hold before anything can be believed.
pub const SNAPSHOT_CHUNK_LEN_MAX: usize = 256 << 10;
/// Bytes of a file that nobody needs that are freed at once: a millisecond or two where the system tells the device of every freed block,
/// less elsewhere.
pub const TRIM_SLICE_LEN: u64 = 1 << 20;
/// Segments that wait to be freed above which that is hurried: twice what one compaction leaves behind.
pub const TRIM_LATE_SEGMENTS: u64 = 8;
/// Snapshots that wait to be freed above which that is hurried; one may be pinned by a transfer.
pub const TRIM_LATE_SNAPSHOTS: usize = 4;
/// Bytes of a snapshot read at once while it is loaded.
pub const SNAPSHOT_READ_LEN: usize = 1 << 20;
