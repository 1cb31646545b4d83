//! The four roles, each holding the state that only it has. A follower has no `progress` because the type has none.

use alloc::collections::BTreeMap;
use core::fmt;

use crate::election::Timer;
use crate::progress::Progress;
use crate::reads::{FollowerReads, LeaderReads};
use crate::types::{EntryId, Index, NodeId};

/// What a node is, without its state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RoleName {
    /// Accepts a leader's entries, if there is one.
    Follower,
    /// Asks whether it could win an election, before it disturbs anybody (dissertation 9.6).
    PreCandidate,
    /// Stands for election in its term.
    Candidate,
    /// Leads its term.
    Leader,
}

#[derive(Clone, Debug)]
pub(crate) enum Role {
    Follower(Follower),
    PreCandidate(Canvass),
    Candidate(Canvass),
    Leader(Leader),
}

#[derive(Clone, Debug)]
pub(crate) struct Follower {
    /// The leader of this term, once it has been heard.
    pub(crate) leader: Option<NodeId>,
    pub(crate) timer: Timer,
    pub(crate) reads: FollowerReads,
    /// The newest snapshot that the leader has offered.
    pub(crate) offered: Option<EntryId>,
}

impl Follower {
    /// Nothing heard yet from this leader, nothing asked of it.
    pub(crate) fn new(leader: Option<NodeId>, timer: Timer) -> Follower {
        Follower { leader, timer, reads: FollowerReads::default(), offered: None }
    }
}

/// A count of votes, or of votes that would be given.
#[derive(Clone, Debug)]
pub(crate) struct Canvass {
    pub(crate) answers: BTreeMap<NodeId, bool>,
    pub(crate) timer: Timer,
}

#[derive(Clone, Debug)]
pub(crate) struct Leader {
    /// Every other member.
    pub(crate) progress: BTreeMap<NodeId, Progress>,
    /// Ticks since the election.
    pub(crate) now: u64,
    /// When heartbeats were last due.
    pub(crate) heartbeat_at: u64,
    /// Heartbeats are to be sent this turn.
    pub(crate) heartbeat_due: bool,
    /// Followers are to be told this turn how far is committed, if they do not know yet.
    pub(crate) commit_news_due: bool,
    /// The no-op of this term: reads wait until it is committed.
    pub(crate) noop_index: Index,
    /// Encoded bytes of this leader's entries above the commit index.
    pub(crate) uncommitted_bytes: usize,
    pub(crate) reads: LeaderReads,
}

impl Role {
    pub(crate) fn name(&self) -> RoleName {
        match self {
            Role::Follower(_) => RoleName::Follower,
            Role::PreCandidate(_) => RoleName::PreCandidate,
            Role::Candidate(_) => RoleName::Candidate,
            Role::Leader(_) => RoleName::Leader,
        }
    }

    /// The election timer; a leader has none.
    pub(crate) fn timer(&self) -> Option<&Timer> {
        match self {
            Role::Follower(follower) => Some(&follower.timer),
            Role::PreCandidate(canvass) | Role::Candidate(canvass) => Some(&canvass.timer),
            Role::Leader(_) => None,
        }
    }

    pub(crate) fn timer_mut(&mut self) -> Option<&mut Timer> {
        match self {
            Role::Follower(follower) => Some(&mut follower.timer),
            Role::PreCandidate(canvass) | Role::Candidate(canvass) => Some(&mut canvass.timer),
            Role::Leader(_) => None,
        }
    }
}

impl fmt::Display for RoleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RoleName::Follower => "follower",
            RoleName::PreCandidate => "pre-candidate",
            RoleName::Candidate => "candidate",
            RoleName::Leader => "leader",
        })
    }
}
