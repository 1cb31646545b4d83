//! What a run has to show for itself.

use crate::effects::Effects;
use crate::reached::Reached;

/// What a run did and saw. A run in which nothing happened has proved nothing: look at the counts.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Report {
    /// Replays the run.
    pub seed: u64,
    /// Virtual time, microseconds.
    pub simulated_us: u64,
    /// Calls that clerks were asked for and that ended, one way or another.
    pub calls: u64,
    /// Writes that were acknowledged: each took effect once, or was decided, where its answer says.
    pub acknowledged: u64,
    /// Reads of a key that were answered.
    pub reads: u64,
    /// Scans that were answered.
    pub scans: u64,
    /// Writes that nodes were asked for again.
    pub retries: u64,
    /// Calls that ended without anybody knowing whether they happened.
    pub unknown: u64,
    /// Calls that did not happen.
    pub not_done: u64,
    /// Calls of unknown outcome that were settled later, or tried to be.
    pub resumes: u64,
    /// Of these, calls whose outcome is known now.
    pub settled: u64,
    /// Of these, calls that nobody can settle any more: their session is forgotten.
    pub expired: u64,
    /// Loads that went on where others had left off, behind a fence.
    pub fences: u64,
    /// Keys whose answers were linearizable also without their positions.
    pub keys_alone: u64,
    /// Those that were too hard to judge without.
    pub keys_given_up: u64,
    /// Clerks that were lost in the middle of what they did, and replaced.
    pub clerks_lost: u64,
    /// Clerks that could not reach some nodes for a while.
    pub clerk_cuts: u64,
    /// Processes killed.
    pub kills: u64,
    /// Sectors that crashes took back: written, never synced, and not what they were before.
    pub lost_writes: u64,
    /// Times the network was cut.
    pub cuts: u64,
    /// Processes paused.
    pub pauses: u64,
    /// Terms that had a leader.
    pub leader_changes: u64,
    /// Snapshots that nodes have taken or been sent.
    pub snapshots: u64,
    /// Those that a node was sent, and that became its state.
    pub installs: u64,
    /// Disks wiped before any node knew that the cluster was formed.
    pub early_wipes: u64,
    /// Disks wiped later.
    pub late_wipes: u64,
    /// Disks that were full for a while, whose node met that.
    pub full_disks: u64,
    /// Saves that waited for room.
    pub waiting_saves: u64,
    /// Syncs that took longer than an election timeout.
    pub slow_syncs: u64,
    /// Leaders that stepped down because of one, or because their disk was full.
    pub resignations: u64,
    /// Connections that broke for no reason.
    pub breaks: u64,
    /// Turns that took in more than one message or request.
    pub batches: u64,
    /// Logs that were cut, to be continued otherwise.
    pub truncations: u64,
    /// Saves that finished only after that.
    pub overtaken_saves: u64,
    /// Rare paths that nodes have taken.
    pub reached: Reached,
    /// What the faults have done.
    pub effects: Effects,
    /// How long a majority took to serve once the faults were over for it, microseconds.
    pub core_us: u64,
    /// A digest of every event in its order: equal for equal seeds.
    pub trace_digest: u64,
}
