//! Bounds on what a node holds for others, with their reasons. Those that decide a result stand in `wire::limits`.

/// Writes and reads waiting for an answer; above it new ones are answered *busy*. Some 100 bytes each.
pub const WAITING_MAX: usize = 65_536;

/// Bytes this leader has proposed and not yet committed: a cluster without a quorum must not fill the leader's memory.
pub const UNCOMMITTED_BYTES_MAX: usize = 64 << 20;

/// Bytes of entries that gather for one save while another is under way: beyond it a leader is busy, and a follower drops what comes,
/// which comes again. One save is one batch, so this stays well below the longest.
pub const UNSAVED_BYTES_MAX: usize = 16 << 20;

/// Bytes of entries in one append; one larger entry travels alone.
pub const APPEND_BYTES_MAX: usize = 1 << 20;

/// Appends under way to one follower.
pub const INFLIGHT_APPENDS_MAX: usize = 256;

/// Bytes of entries under way to one follower, which may become one batch and one sync there, while its answers to heartbeats and reads
/// wait.
pub const INFLIGHT_BYTES_MAX: usize = 2 << 20;

/// A session that has written nothing for this long, in cluster time, may be forgotten: an hour.
pub const SESSION_IDLE_MS_MAX: u64 = 3_600_000;

/// Old values that frozen views keep, bytes, all views together: beyond it the one that holds most is cut off.
pub const VIEW_BYTES_MAX: usize = 64 << 20;

/// Bytes of keys and values in one page of a scan, unless one item alone is larger: what one turn of the loop can read in passing.
pub const PAGE_BYTES_MAX: usize = 256 << 10;

/// Scans that clients are reading at once.
pub const SCANS_MAX: usize = 256;

/// A scan whose client has not asked for more within this time is forgotten.
pub const SCAN_IDLE_US_MAX: u64 = 30_000_000;
