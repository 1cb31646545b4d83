//! Who leads: timers, pre-votes, votes (Raft 5.2, 5.4.1; dissertation 4.2.3, 6.2, 9.6).
//!
//! A pre-vote asks "would you?" and changes no term, so a node that was cut off and comes back disturbs nobody. A node that has heard
//! a leader within the minimum election timeout ignores both kinds of request. A leader that no majority has answered for that long
//! steps down. Leader transfer will enter here: a `TimeoutNow` message that makes its receiver campaign with `transfer` set.
//!
//! While the embedding cannot tell the members' disks apart ([`Raft::require_every_vote`]) a candidate needs every vote. One that was
//! wiped may then vote twice in a term without harm: two leaders of that term would need two votes of every member, so that all were
//! wiped, and nothing is left of the first.

use alloc::collections::BTreeMap;

use crate::message::Message;
use crate::progress::Progress;
use crate::raft::Raft;
use crate::reads::LeaderReads;
use crate::role::{Canvass, Follower, Leader, Role, RoleName};
use crate::types::{EntryId, EntryKind, EntryMeta, HardState, Index, NodeId, Term};

/// Ticks after which a follower asks, once it is told that its leader's process is gone: few, and random, so that one asks first.
const HURRIED_FIRST_TICKS: core::ops::RangeInclusive<u32> = 1..=3;
/// Ticks between such attempts: others may hear of the loss a little later, or two may have asked at once.
const HURRIED_RETRY_TICKS: core::ops::RangeInclusive<u32> = 2..=5;
/// Attempts before normal timeouts come back: the leader may be alive after all, or no majority may be left.
const HURRIED_RETRIES: u32 = 5;

/// Ticks until a node that does not lead asks for an election.
#[derive(Clone, Debug)]
pub(crate) struct Timer {
    /// Since a leader was heard, a vote given or an attempt begun.
    pub(crate) ticks: u32,
    pub(crate) timeout_ticks: u32,
    /// The leader is known to be gone: so many quick attempts are left.
    pub(crate) hurried_left: Option<u32>,
}

impl Raft {
    /// Asks for an election now, as if the timeout had run out. Nothing happens on a leader or on a node that is no voter.
    pub fn campaign(&mut self) {
        if self.is_leader() || !self.membership.voters.contains(&self.config.id) {
            return;
        }
        if matches!(self.role, Role::Candidate(_)) {
            self.reached.mark("an election ends without a winner");
        }
        let hurried_left = self.role.timer().and_then(|timer| timer.hurried_left);
        let timer = match hurried_left {
            Some(left) if left > 0 => Timer { ticks: 0, timeout_ticks: self.rng.u32(HURRIED_RETRY_TICKS), hurried_left: Some(left - 1) },
            _ => self.normal_timer(),
        };
        let answers = BTreeMap::from([(self.config.id, true)]);
        self.become_role(Role::PreCandidate(Canvass { answers, timer }));
        let EntryId { index: last_log_index, term: last_log_term } = self.log.last();
        let message = Message::PreVote { term: self.hard_state.term.next(), last_log_index, last_log_term };
        for peer in self.other_voters() {
            self.saves.say(peer, message.clone());
        }
        self.count_votes();
    }

    /// The process of `leader` is known to be gone: its connection ended by its own side, and dialling it again was refused or met a new
    /// incarnation. Asks for pre-votes after a few random ticks; a heartbeat cancels that. No news unless it is the leader we follow.
    pub fn leader_lost(&mut self, leader: NodeId) {
        let timeout_ticks = self.rng.u32(HURRIED_FIRST_TICKS);
        let timer = match self.stands_last {
            false => Timer { ticks: 0, timeout_ticks, hurried_left: Some(HURRIED_RETRIES) },
            true => self.normal_timer(),
        };
        if matches!(&self.role, Role::Follower(follower) if follower.leader == Some(leader)) {
            self.become_role(Role::Follower(Follower::new(None, timer)));
        }
    }

    /// Whether elections take every vote from here on, pre-votes included, and not a majority.
    pub fn require_every_vote(&mut self, every: bool) {
        self.every_vote = every;
    }

    /// Whether others are to stand for election before this node does, from the next timeout on: it would be of little use as a leader.
    pub fn stand_last(&mut self, last: bool) {
        self.stands_last = last;
    }

    /// Stops leading, in the same term. For a leader that was deaf for longer than the minimum election timeout, or cannot save anything.
    pub fn step_down(&mut self) {
        if self.is_leader() {
            self.become_follower(self.hard_state.term, None);
        }
    }

    /// Whether a leader was heard within the minimum election timeout, or is this node itself: then nobody needs an election.
    pub(crate) fn has_live_leader(&self) -> bool {
        match &self.role {
            Role::Follower(follower) => follower.leader.is_some() && follower.timer.ticks < self.config.election_ticks,
            Role::Leader(_) => true, // check-quorum ends it otherwise
            Role::PreCandidate(_) | Role::Candidate(_) => false,
        }
    }

    pub(crate) fn handle_pre_vote(&mut self, from: NodeId, term: Term, last: EntryId) {
        let vote_granted = self.hard_state.term < term && self.is_up_to_date(last);
        if vote_granted {
            self.give_way();
        }
        let reply_term = if vote_granted { term } else { self.hard_state.term };
        self.saves.say(from, Message::PreVoteReply { term: reply_term, vote_granted });
    }

    pub(crate) fn handle_pre_vote_reply(&mut self, from: NodeId, term: Term, vote_granted: bool) {
        let asked = self.hard_state.term.next();
        match &mut self.role {
            // A refusal of a higher term says why: without this the node would ask about an old term for ever.
            Role::PreCandidate(_) if !vote_granted && self.hard_state.term < term => self.become_follower(term, None),
            Role::PreCandidate(canvass) if !vote_granted || term == asked => {
                canvass.answers.insert(from, vote_granted);
                self.count_votes();
            }
            _ => {} // of an earlier attempt
        }
    }

    pub(crate) fn handle_request_vote(&mut self, from: NodeId, term: Term, last: EntryId) {
        let HardState { term: own_term, voted_for } = self.hard_state;
        assert_eq!(term, own_term, "a vote is asked for {term}, but step left us at {own_term}");
        let is_free = voted_for.is_none_or(|node| node == from);
        let is_standing = matches!(self.role, Role::Candidate(_) | Role::Leader(_));
        let vote_granted = is_free && !is_standing && self.is_up_to_date(last);
        if !is_free {
            self.reached.mark("a second candidate of a term is refused");
        }
        if vote_granted {
            self.hard_state.voted_for = Some(from);
            let timer = self.normal_timer();
            self.become_role(Role::Follower(Follower::new(None, timer)));
        }
        self.promise(from, Message::RequestVoteReply { term, vote_granted });
    }

    pub(crate) fn handle_request_vote_reply(&mut self, from: NodeId, vote_granted: bool) {
        // Our request leaves once our own vote is on disk: an answer from before that is to nothing we have asked.
        if self.saves.saved_hard_state() != self.hard_state {
            return;
        }
        if let Role::Candidate(canvass) = &mut self.role {
            canvass.answers.insert(from, vote_granted);
            self.count_votes();
        }
    }

    /// A candidate's own vote counts like any other: once it is on disk.
    pub(crate) fn count_own_vote(&mut self) {
        let is_saved = self.saves.saved_hard_state() == self.hard_state;
        if let Role::Candidate(canvass) = &mut self.role
            && is_saved
        {
            canvass.answers.insert(self.config.id, true);
            self.count_votes();
        }
    }

    /// Time passes for a node that does not lead.
    pub(crate) fn tick_timer(&mut self, ticks: u32) {
        let Some(timer) = self.role.timer_mut() else { return };
        timer.ticks = timer.ticks.saturating_add(ticks);
        if timer.timeout_ticks <= timer.ticks {
            self.campaign();
        }
    }

    /// Follows the sender of an append or heartbeat of this term; `false` if that cannot be its leader.
    pub(crate) fn follow(&mut self, leader: NodeId) -> bool {
        if self.role.timer().is_some_and(|timer| timer.hurried_left.is_some()) {
            self.reached.mark("a hurried election is called off by a leader");
        }
        let timer = self.normal_timer();
        match &mut self.role {
            Role::Follower(follower) if follower.leader.is_none_or(|known| known == leader) => {
                follower.leader = Some(leader);
                follower.timer = timer;
                true
            }
            Role::PreCandidate(_) | Role::Candidate(_) => {
                self.become_follower(self.hard_state.term, Some(leader));
                true
            }
            // A second leader of one term: no honest peer says so (Election Safety, Raft 5.2).
            Role::Follower(_) | Role::Leader(_) => false,
        }
    }

    pub(crate) fn become_follower(&mut self, term: Term, leader: Option<NodeId>) {
        assert!(self.hard_state.term <= term, "the term would fall from {} to {term}", self.hard_state.term);
        // A node that was about to stand may go on in its own time: hearing of a higher term is no sign of a leader.
        let timer = match self.role.timer() {
            Some(timer) if leader.is_none() => timer.clone(),
            _ => self.normal_timer(),
        };
        self.enter_term(term, None);
        self.become_role(Role::Follower(Follower::new(leader, timer)));
    }

    fn become_candidate(&mut self, timer: Timer) {
        self.enter_term(self.hard_state.term.next(), Some(self.config.id));
        self.become_role(Role::Candidate(Canvass { answers: BTreeMap::new(), timer }));
        let EntryId { index: last_log_index, term: last_log_term } = self.log.last();
        let message = Message::RequestVote { term: self.hard_state.term, last_log_index, last_log_term, transfer: false };
        for peer in self.other_voters() {
            self.promise(peer, message.clone());
        }
    }

    fn become_leader(&mut self) {
        assert_eq!(self.hard_state.voted_for, Some(self.config.id), "{self} leads without its own vote");
        assert_eq!(self.saves.saved_hard_state(), self.hard_state, "{self} leads a term that is not on its disk");
        let noop_index = self.log.last_index().next();
        let peers = self.membership.members().filter(|member| *member != self.config.id);
        self.become_role(Role::Leader(Leader {
            progress: peers.map(|peer| (peer, Progress::new(noop_index, 0))).collect(),
            now: 0,
            heartbeat_at: 0,
            heartbeat_due: false,
            commit_news_due: false,
            noop_index,
            uncommitted_bytes: 0,
            reads: LeaderReads::default(),
        }));
        // Entries of earlier terms are committed only through one of our own (5.4.2); without it they would wait for the next command.
        self.append_own(EntryMeta { index: noop_index, term: self.hard_state.term, payload_len: 0, kind: EntryKind::NoOp });
    }

    /// Raises the term, or stays in it. A vote is forgotten only with its term.
    fn enter_term(&mut self, term: Term, voted_for: Option<NodeId>) {
        if self.hard_state.term < term {
            self.hard_state = HardState { term, voted_for };
            if self.saves.has_promises() {
                self.reached.mark("promises are outlived by their term, unsaid");
            }
            self.saves.forget_promises();
            self.vouched_index = Index(0);
        }
    }

    /// The only place where the role changes: reads do not survive it.
    fn become_role(&mut self, role: Role) {
        match core::mem::replace(&mut self.role, role) {
            Role::Follower(follower) => self.read_results.failed.extend(follower.reads.ids()),
            Role::Leader(leader) => {
                if leader.reads.newest_round().is_some() {
                    self.reached.mark("a read round is cut by a step-down");
                }
                self.read_results.failed.extend(leader.reads.ids());
            }
            Role::PreCandidate(_) | Role::Candidate(_) => {}
        }
    }

    fn count_votes(&mut self) {
        let (Role::PreCandidate(canvass) | Role::Candidate(canvass)) = &self.role else { return };
        let grants = |voter| canvass.answers.get(&voter) == Some(&true);
        let is_elected = match self.every_vote {
            true => self.membership.voters.iter().all(|voter| grants(*voter)),
            false => self.membership.is_quorum(grants),
        };
        if !is_elected {
            return;
        }
        match self.role.name() {
            RoleName::PreCandidate => {
                // In a hurry the election itself is short, too: two that asked at once must not wait out a whole timeout.
                let timer = match canvass.timer.hurried_left {
                    Some(_) => Timer { ticks: 0, ..canvass.timer.clone() },
                    None => self.normal_timer(),
                };
                self.become_candidate(timer);
            }
            _ => self.become_leader(),
        }
    }

    /// Lets the node whose pre-vote we granted go first: two candidates at once split the votes.
    fn give_way(&mut self) {
        let timeout_ticks = self.rng.u32(HURRIED_RETRY_TICKS);
        if let Some(timer) = self.role.timer_mut().filter(|timer| timer.hurried_left.is_some()) {
            timer.ticks = 0;
            timer.timeout_ticks = timeout_ticks;
        }
    }

    /// Whether a candidate with this last entry has everything that we know to be decided (5.4.1).
    fn is_up_to_date(&self, last: EntryId) -> bool {
        let own = self.log.last();
        (own.term, own.index) <= (last.term, last.index)
    }

    pub(crate) fn normal_timer(&mut self) -> Timer {
        let election_ticks = self.config.election_ticks;
        let timeout_ticks = match self.stands_last {
            _ if self.membership.is_sole_voter(self.config.id) => 1, // it has nobody to wait for
            false => self.rng.u32(election_ticks..2 * election_ticks),
            true => {
                self.reached.mark("a node with a full disk stands last");
                self.rng.u32(2 * election_ticks..3 * election_ticks)
            }
        };
        Timer { ticks: 0, timeout_ticks, hurried_left: None }
    }

    fn other_voters(&self) -> alloc::vec::Vec<NodeId> {
        self.membership.voters.iter().copied().filter(|voter| *voter != self.config.id).collect()
    }
}
