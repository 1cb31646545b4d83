//! Bounds on what a node holds for others, with their reasons. Those that decide a result stand in `wire::limits`.

use wire::limits::{SESSIONS_MAX, SNAPSHOT_CHUNK_LEN_MAX};

/// Writes and reads waiting for an answer; above it new ones are answered *busy*. Some 100 bytes each and the
/// keys of those that read.
pub const WAITING_MAX: usize = 65_536;

/// Bytes that waiting reads may hold: their keys may be 64 KiB each, which times the above would be 4 GiB. Stale reads may take as much
/// again: they wait only for their own clients, and are for times when the others wait.
pub const WAITING_BYTES_MAX: usize = 64 << 20;

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

/// Bounds that simulation and tests make small, so that what happens beyond them happens all the time. There is no setting for them: the
/// first two decide what commands do, and nodes that differ in them would come to different states from the same log. So they are
/// constants of the format, and every real node has the default.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// Sessions that are alive at once; for one more the longest idle is evicted.
    pub sessions_max: usize,
    /// A session is evicted that has written nothing for longer than this, in cluster time.
    pub session_idle_ms_max: u64,
    /// Bytes of keys and values in one page of a scan, unless one item alone is larger.
    pub page_bytes_max: usize,
    /// Old values that frozen views of keys keep, bytes.
    pub view_bytes_max: usize,
    /// Bytes of a snapshot that are sent at once.
    pub chunk_bytes_max: usize,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds {
            sessions_max: SESSIONS_MAX,
            session_idle_ms_max: SESSION_IDLE_MS_MAX,
            page_bytes_max: PAGE_BYTES_MAX,
            view_bytes_max: VIEW_BYTES_MAX,
            chunk_bytes_max: SNAPSHOT_CHUNK_LEN_MAX,
        }
    }
}

/// Old values that frozen views keep, bytes, all views together: beyond it the one that holds most is cut off.
pub const VIEW_BYTES_MAX: usize = 64 << 20;

/// Keys that one slice of a view steps over because they are newer than it is: some 50 ns each.
pub const VIEW_STEPS_MAX: usize = 16_384;

/// Bytes of keys and values in one page of a scan, unless one item alone is larger: what one turn of the loop can read in passing.
pub const PAGE_BYTES_MAX: usize = 256 << 10;

/// Scans that clients are reading at once.
pub const SCANS_MAX: usize = 256;

/// Of these, scans of one client: nobody reads more side by side, and whoever opens them and reads none leaves the others for the rest.
pub const CLIENT_SCANS_MAX: usize = 8;

/// A scan whose client has not asked for more within this time is forgotten.
pub const SCAN_IDLE_US_MAX: u64 = 30_000_000;

/// Log above which a snapshot is taken unless the settings say otherwise, bytes; more if the last snapshot is larger, so that the disk
/// holds about as much log as state.
pub const LOG_BYTES_DEFAULT: u64 = 64 << 20;

/// Entries of log above which a snapshot is taken unless the settings say otherwise: a restart applies them at some 2 us each when there
/// are a million keys.
pub const LOG_ENTRIES_DEFAULT: u64 = 200_000;

/// With many keys it is one entry for so many of them, if that is more: a snapshot costs in proportion to the keys.
pub const LOG_ENTRIES_PER_KEYS: u64 = 8;

/// Content of one slice of a snapshot, bytes: a fraction of a millisecond to write; the disk takes one or two beside everything else.
pub const SLICE_BYTES_MAX: usize = 256 << 10;

/// A state below this is written in one slice.
pub const SMALL_STATE_BYTES_MAX: u64 = 1 << 20;

/// Content of the one slice of such a state, its sessions and the fixed parts of its keys included; what is beyond takes another.
pub const SMALL_SLICE_BYTES_MAX: usize = 4 << 20;

/// Pause after a snapshot that found no room or was cut off, before the next is begun.
pub const SNAPSHOT_PAUSE_US: u64 = 1_000_000;

/// Chunks of snapshots that leave in one tick, all peers together: 50 MB/s with ticks of 10 ms, far below what would hold up entries.
pub const CHUNKS_PER_TICK_MAX: u32 = 2;

/// A peer that has not asked for more within this time is not being sent a snapshot any longer.
pub const TRANSFER_SILENT_US_MAX: u64 = 10_000_000;

/// Asked so often in vain, a peer no longer has that snapshot: the one that it offers now is begun.
pub const ASKED_IN_VAIN_MAX: u32 = 3;

/// A peer that has asked for the same bytes so many times more cannot use them: the snapshot is taken again.
pub const REPEATS_SUSPECT: u32 = 3;

/// A chunk that has not come within this time is asked for again.
pub const TRANSFER_ASK_AGAIN_US: u64 = 300_000;

/// Pause after a transfer that brought damaged bytes or found no room.
pub const TRANSFER_PAUSE_US: u64 = 1_000_000;

/// Keys of a state no longer used that are freed in one tick: to free a million at once takes a tenth of a second.
pub const DROPPED_KEYS_PER_TICK: usize = 10_000;

/// Replicas compare their states whenever they have applied a multiple of so many entries.
pub const DIGEST_EVERY: u64 = 1024;

/// Indexes whose digests are remembered: how far apart two replicas may be and still compare.
pub const DIGESTS_KEPT_MAX: usize = 64;

/// A leader whose disk is full steps down, for others may have room; not more often than this, for all disks may be full.
pub(crate) const GIVE_WAY_EVERY_US: u64 = 60_000_000;

/// It steps down only while its log has room for this: some ten elections, each a few batches of a few hundred bytes.
pub(crate) const ELECTION_ROOM_BYTES: u64 = 4 << 10;
