//! One member of a cluster: what it has to remember, and its inputs and outputs.

use alloc::vec::Vec;
use core::fmt;

use crate::election::Timer;
use crate::log::LogPositions;
use crate::membership::Membership;
use crate::message::{AppendOutcome, Message};
use crate::progress::Progress;
use crate::reached::Reached;
use crate::reads::ReadResults;
use crate::ready::{Ready, Released, Save, SaveToken, Saves};
use crate::replication::Append;
use crate::role::{Follower, Role, RoleName};
use crate::types::{EntryId, EntryMeta, HardState, Incarnation, Index, NodeId, Term};

/// What the embedding decides for a node.
#[derive(Clone, Debug)]
pub struct Config {
    /// This node.
    pub id: NodeId,
    /// Drawn at random at every start.
    pub incarnation: Incarnation,
    /// Of the generator that draws timeouts.
    pub seed: u64,
    /// Shortest election timeout; each is drawn from here to twice as much, exclusive.
    pub election_ticks: u32,
    /// Between two heartbeats.
    pub heartbeat_ticks: u32,
    /// Encoded entries in one append; one larger entry travels alone.
    pub append_bytes_max: usize,
    /// Appends to one follower that are not acknowledged yet.
    pub inflight_appends_max: usize,
    /// Their encoded entries: no append is sent beyond this.
    pub inflight_bytes_max: usize,
    /// Encoded entries of a leader that are not committed yet: beyond this it is busy.
    pub uncommitted_bytes_max: usize,
    /// Encoded entries that no save was given yet: beyond this a leader is busy, and a follower ignores appends.
    pub unsaved_bytes_max: usize,
}

/// What a node finds on its disk at start, all of it synced.
#[derive(Clone, Debug)]
pub struct Recovered {
    /// Term and vote.
    pub hard_state: HardState,
    /// Known to be committed; there may be more.
    pub commit_index: Index,
    /// The state machine holds everything up to here: what a snapshot restored, else 0. At least `snapshot.index`.
    pub applied_index: Index,
    /// What the newest snapshot ends with; (0, t0) if there is none.
    pub snapshot: EntryId,
    /// The entry before `entries`, at or before what the snapshot ends with: a tail is kept for slow followers.
    pub base: EntryId,
    /// The log, consecutive.
    pub entries: Vec<EntryMeta>,
    /// The members as of the last entry.
    pub membership: Membership,
}

/// One member of a cluster. See the crate's page for the order of calls.
#[derive(Clone, Debug)]
pub struct Raft {
    pub(crate) config: Config,
    pub(crate) rng: fastrand::Rng,
    pub(crate) hard_state: HardState,
    pub(crate) log: LogPositions,
    pub(crate) membership: Membership,
    /// The log agrees with that of this term's leader up to here, as far as this node has said so.
    pub(crate) vouched_index: Index,
    /// Elections take every vote, not a majority.
    pub(crate) every_vote: bool,
    /// Others are to stand for election first.
    pub(crate) stands_last: bool,
    pub(crate) commit_index: Index,
    /// Given to the embedding to apply up to here.
    pub(crate) handed_out: Index,
    pub(crate) applied_index: Index,
    /// What the newest snapshot ends with: offered to followers that need what the log has dropped.
    pub(crate) snapshot: EntryId,
    pub(crate) role: Role,
    pub(crate) saves: Saves,
    /// Leaves with the next `take_ready`.
    pub(crate) outbox: Vec<(NodeId, Message)>,
    /// Rounds and questions numbered so far, in this life.
    pub(crate) read_rounds: u64,
    pub(crate) read_results: ReadResults,
    pub(crate) reached: Reached,
}

impl Raft {
    /// A node that has just started: a follower that knows no leader, with nothing to save.
    pub fn new(config: Config, recovered: Recovered) -> Raft {
        let Recovered { hard_state, commit_index, applied_index, snapshot, base, entries, membership } = recovered;
        assert!(0 < config.heartbeat_ticks && config.heartbeat_ticks < config.election_ticks, "heartbeats must be faster than elections");
        let log = LogPositions::recovered(base, entries);
        assert!(log.last().term <= hard_state.term, "the log ends with {}, ahead of {}", log.last(), hard_state.term);
        assert!(applied_index <= log.last_index(), "applied to {applied_index}, but the log ends with {}", log.last());
        assert!(base.index <= snapshot.index, "the log begins after {base}, beyond the snapshot {snapshot}");
        assert!(snapshot.index <= applied_index, "applied to {applied_index}, but the snapshot is {snapshot}");
        assert!(log.holds(snapshot), "the log from {base} to {} does not hold the snapshot's {snapshot}", log.last());
        let timer = Timer { ticks: 0, timeout_ticks: 0, hurried_left: None };
        let mut raft = Raft {
            rng: fastrand::Rng::with_seed(config.seed),
            config,
            hard_state,
            commit_index: commit_index.min(log.last_index()).max(applied_index),
            handed_out: applied_index,
            applied_index,
            snapshot,
            log,
            membership,
            vouched_index: Index(0),
            every_vote: false,
            stands_last: false,
            role: Role::Follower(Follower::new(None, timer)),
            saves: Saves::recovered(hard_state),
            outbox: Vec::new(),
            read_rounds: 0,
            read_results: ReadResults::default(),
            reached: Reached::default(),
        };
        let timer = raft.normal_timer();
        *raft.role.timer_mut().expect("a node starts as follower") = timer;
        raft
    }

    /// Time passes: one tick at a time, or more after a gap. A leader counts all of a gap, so that it does not go on leading on the
    /// strength of answers from before. Everybody else takes at most one heartbeat's worth: the gap was ours, not the leader's.
    pub fn tick(&mut self, ticks: u32) {
        if self.is_leader() {
            self.tick_leader(ticks);
            return;
        }
        let ticks = ticks.min(self.config.heartbeat_ticks);
        if let Role::Follower(follower) = &mut self.role {
            let overdue = follower.reads.tick(ticks, self.config.election_ticks);
            self.read_results.failed.extend(overdue);
        }
        self.tick_timer(ticks);
    }

    /// A message has arrived. This cannot fail: what is stale, repeated or senseless is simply no news.
    pub fn step(&mut self, from: NodeId, message: Message) {
        if from == self.config.id || !message.is_within_limits() {
            return;
        }
        if self.ignores(&message) {
            return self.reached.mark("a vote is refused while a leader lives");
        }
        match message.term() {
            Some(term) if term < self.hard_state.term => return self.answer_stale(from, message),
            Some(term) if self.hard_state.term < term => self.become_follower(term, None),
            _ => {}
        }
        // From here on the terms agree; each handler only has to know its own job.
        match message {
            Message::PreVote { term, last_log_index, last_log_term } => {
                self.handle_pre_vote(from, term, EntryId { index: last_log_index, term: last_log_term });
            }
            Message::PreVoteReply { term, vote_granted } => self.handle_pre_vote_reply(from, term, vote_granted),
            Message::RequestVote { term, last_log_index, last_log_term, transfer: _ } => {
                self.handle_request_vote(from, term, EntryId { index: last_log_index, term: last_log_term });
            }
            Message::RequestVoteReply { vote_granted, .. } => self.handle_request_vote_reply(from, vote_granted),
            Message::Append { prev_log_index, prev_log_term, leader_commit, entries, .. } => {
                let prev = EntryId { index: prev_log_index, term: prev_log_term };
                self.handle_append(from, Append { prev, leader_commit, entries });
            }
            Message::InstallSnapshot { last_included, .. } => self.handle_install_snapshot(from, last_included),
            Message::AppendReply { outcome, .. } => self.handle_append_reply(from, outcome),
            Message::Heartbeat { leader_commit, read_token, .. } => self.handle_heartbeat(from, leader_commit, read_token),
            Message::HeartbeatReply { read_token, .. } => self.handle_heartbeat_reply(from, read_token),
            Message::ReadIndex { token, .. } => self.handle_read_index(from, token),
            Message::ReadIndexReply { token, index, .. } => self.handle_read_index_reply(from, token, index),
        }
    }

    /// A request to vote while a leader is alive must not even raise our term: a node that was cut off would end a healthy leadership
    /// by coming back (dissertation 4.2.3). A transfer is the leader's own wish.
    fn ignores(&self, message: &Message) -> bool {
        matches!(message, Message::PreVote { .. } | Message::RequestVote { transfer: false, .. }) && self.has_live_leader()
    }

    /// A request of an older term is answered with ours, so that a leader or candidate of that term gives up; an answer is dropped.
    fn answer_stale(&mut self, from: NodeId, message: Message) {
        let term = self.hard_state.term;
        if matches!(message, Message::Append { .. } | Message::Heartbeat { .. }) {
            self.reached.mark("a deposed leader is told so");
        }
        match message {
            Message::RequestVote { .. } => self.promise(from, Message::RequestVoteReply { term, vote_granted: false }),
            Message::Append { prev_log_index, prev_log_term, .. } => {
                let rejection = self.rejection(EntryId { index: prev_log_index, term: prev_log_term });
                self.promise(from, rejection);
            }
            Message::InstallSnapshot { last_included, .. } => self.promise(from, self.rejection(last_included)),
            // The token is not repeated: this answer confirms nothing.
            Message::Heartbeat { .. } => self.promise(from, Message::HeartbeatReply { term, read_token: None }),
            _ => {}
        }
    }

    /// Whether a turn would hand out anything now.
    pub fn has_ready(&self) -> bool {
        !self.outbox.is_empty()
            || (self.is_dirty() && !self.saves.is_outstanding())
            || self.has_leader_messages()
            || self.can_start_reads()
            || self.saves.has_released()
            || self.handed_out < self.appliable()
            || !self.read_results.confirmed.is_empty()
            || !self.read_results.failed.is_empty()
    }

    /// The first half of a turn: what may leave at once, and what must reach the disk.
    pub fn take_ready(&mut self) -> Ready {
        self.push_leader_messages();
        let question = self.ask_for_read_index();
        self.outbox.extend(question);
        let save = (self.is_dirty() && !self.saves.is_outstanding()).then(|| Save {
            token: self.saves.issue(self.hard_state),
            hard_state: self.hard_state,
            commit_index: self.commit_index,
            entries: self.log.start_save(),
        });
        Ready { appends: core::mem::take(&mut self.outbox), save }
    }

    /// The save of this name is on disk: from here on this node's own vote and entries count.
    pub fn saved(&mut self, token: SaveToken) {
        self.saves.finish(token);
        self.log.finish_save();
        self.count_own_vote();
        self.advance_commit();
    }

    /// The second half of a turn: what the finished saves allow.
    pub fn take_released(&mut self) -> Released {
        let promises = self.saves.take_released(self.hard_state.term, self.log.stable_index());
        let (first, last) = (self.handed_out.next(), self.appliable());
        let committed = (first <= last).then_some((first, last));
        self.handed_out = self.handed_out.max(last);
        let ReadResults { confirmed, failed } = core::mem::take(&mut self.read_results);
        Released { promises, committed, reads: confirmed, reads_failed: failed }
    }

    /// The state machine holds everything up to `index`.
    pub fn applied(&mut self, index: Index) {
        assert!(self.applied_index <= index, "applied {index} after {}", self.applied_index);
        assert!(index <= self.handed_out, "applied {index}, but only {} was handed out", self.handed_out);
        self.applied_index = index;
    }

    /// Queues a message that relies on everything decided so far being on disk.
    pub(crate) fn promise(&mut self, to: NodeId, message: Message) {
        if let Message::AppendReply { outcome: AppendOutcome::Accepted { match_index }, .. } = &message {
            assert!(*match_index <= self.log.last_index(), "about to vouch for {match_index}, the log ends at {}", self.log.last());
        }
        self.saves.promise(self.is_dirty(), to, message);
    }

    /// Whether a save was handed out that has not come back through [`Raft::saved`].
    pub fn has_outstanding_save(&self) -> bool {
        self.saves.is_outstanding()
    }

    /// Whether anything was decided that no save was given yet.
    pub(crate) fn is_dirty(&self) -> bool {
        self.saves.is_unsaved(self.hard_state) || self.log.has_unsaved()
    }

    /// Committed and on our own disk: what is applied survives our own crash.
    fn appliable(&self) -> Index {
        self.commit_index.min(self.log.stable_index())
    }

    /// Moves the rare paths that were taken since the last call to `out`.
    pub fn take_reached(&mut self, out: &mut Vec<&'static str>) {
        self.reached.take(out);
    }

    /// This node.
    pub fn id(&self) -> NodeId {
        self.config.id
    }

    /// The latest term it has seen.
    pub fn term(&self) -> Term {
        self.hard_state.term
    }

    /// Term and vote: what goes into the batch that replaces the log when a snapshot is installed.
    pub fn hard_state(&self) -> HardState {
        self.hard_state
    }

    /// Whom it voted for in that term.
    pub fn voted_for(&self) -> Option<NodeId> {
        self.hard_state.voted_for
    }

    /// What it is now.
    pub fn role(&self) -> RoleName {
        self.role.name()
    }

    /// Whether it leads, as far as it knows.
    pub fn is_leader(&self) -> bool {
        matches!(self.role, Role::Leader(_))
    }

    /// Who leads this term, as far as it knows.
    pub fn leader(&self) -> Option<NodeId> {
        match &self.role {
            Role::Follower(follower) => follower.leader,
            Role::Leader(_) => Some(self.config.id),
            Role::PreCandidate(_) | Role::Candidate(_) => None,
        }
    }

    /// Known to be committed.
    pub fn commit_index(&self) -> Index {
        self.commit_index
    }

    /// Held by the state machine.
    pub fn applied_index(&self) -> Index {
        self.applied_index
    }

    /// What the newest snapshot ends with; (0, t0) if there is none.
    pub fn snapshot(&self) -> EntryId {
        self.snapshot
    }

    /// Its log, as positions.
    pub fn log(&self) -> &LogPositions {
        &self.log
    }

    /// Who belongs to the cluster.
    pub fn membership(&self) -> &Membership {
        &self.membership
    }

    /// Whether it leads and an entry of its own term is committed: from then on it knows everything that is.
    pub fn own_term_committed(&self) -> bool {
        matches!(&self.role, Role::Leader(leader) if leader.noop_index <= self.commit_index)
    }

    /// What a leader knows of each other member; nothing on other nodes.
    pub fn progress(&self) -> impl Iterator<Item = (NodeId, &Progress)> {
        let progress = match &self.role {
            Role::Leader(leader) => Some(&leader.progress),
            _ => None,
        };
        progress.into_iter().flatten().map(|(peer, progress)| (*peer, progress))
    }
}

/// The notation of logs, scripts and dumps: `n2 follower i7/t3`, with the last entry.
impl fmt::Display for Raft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.config.id, self.role.name(), self.log.last())
    }
}
