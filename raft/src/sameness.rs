//! When two nodes have the same future. For explorers, which try every order of events and must know whether they have been here before.

use core::hash::{Hash, Hasher};

use crate::raft::Raft;
use crate::role::{Canvass, Follower, Leader, Role};

impl Raft {
    /// Hashes everything that the answers to later inputs depend on, apart from clocks and draws. Two nodes of one configuration that hash
    /// alike do the same from here on, as long as the caller decides who times out: by `campaign`, `leader_lost` and `step_down`, and with
    /// election timeouts too long for the ticks that are left.
    pub fn hash_without_clocks(&self, hasher: &mut impl Hasher) {
        // All fields by name: whoever adds one has to decide here.
        let Raft {
            config: _,
            rng: _,
            hard_state,
            log,
            membership,
            vouched_index,
            every_vote,
            stands_last,
            commit_index,
            handed_out,
            applied_index,
            snapshot,
            role,
            saves,
            outbox,
            read_rounds,
            read_results,
            reached: _,
        } = self;
        (hard_state, membership, vouched_index, every_vote, stands_last).hash(hasher);
        (commit_index, handed_out, applied_index, snapshot, outbox, read_rounds, read_results).hash(hasher);
        log.hash_held(hasher);
        saves.hash_distances(hasher);
        match role {
            Role::Follower(Follower { leader, timer: _, reads, offered }) => (0u8, leader, reads, offered).hash(hasher),
            Role::PreCandidate(Canvass { answers, timer: _ }) => (1u8, answers).hash(hasher),
            Role::Candidate(Canvass { answers, timer: _ }) => (2u8, answers).hash(hasher),
            Role::Leader(leader) => {
                let Leader { progress, now: _, heartbeat_at: _, heartbeat_due, commit_news_due, noop_index, uncommitted_bytes, reads } =
                    leader;
                (3u8, heartbeat_due, commit_news_due, noop_index, uncommitted_bytes, reads).hash(hasher);
                for (peer, progress) in progress {
                    peer.hash(hasher);
                    progress.hash_without_clock(hasher);
                }
            }
        }
    }
}
