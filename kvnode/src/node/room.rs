//! A full disk: its node refuses writes and lets others lead.
//!
//! Want of room shows early: the log cannot make its next segment, and the current one has room for a while. From then on a leader proposes
//! nothing. Others may have room, so it steps down, and stands for election after everybody else; but if all disks are full somebody must
//! lead on, for reads: so it steps down once in a while only, and never when the log has little room left even for elections. A save that
//! waits for room is worse: nothing that is committed can be applied, nobody is answered, not even about reads. Such a leader steps down
//! always.

use data::{Disk, Store};

use crate::limits::{ELECTION_ROOM_BYTES, GIVE_WAY_EVERY_US};
use crate::node::Node;

impl Node {
    /// What the disk says about its room, for requests and for whether this node should lead.
    pub(crate) fn follow_room<D: Disk>(&mut self, store: &Store<D>) {
        self.no_space = store.no_space();
        self.raft.stand_last(self.no_space);
        if !self.no_space || !self.raft.is_leader() || self.raft.membership().is_sole_voter(self.config.identity.node) {
            return;
        }
        let now_us = self.clock.now_us;
        let is_due = self.gave_way_us.is_none_or(|gave_way_us| GIVE_WAY_EVERY_US <= now_us.saturating_sub(gave_way_us));
        if store.waits_for_room() || is_due && ELECTION_ROOM_BYTES <= store.room_left() {
            self.reached.mark("a leader with a full disk gives way");
            self.gave_way_us = Some(now_us);
            self.raft.step_down();
            self.follow_raft();
        }
    }
}
