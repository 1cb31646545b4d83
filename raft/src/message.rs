//! What nodes say to each other. A variant carries exactly its own fields, named as in the paper.

use alloc::vec::Vec;
use core::fmt;

use crate::types::{EntryId, EntryMeta, Incarnation, Index, TERM_AND_INDEX_LIMIT, Term};

/// Names one round of a leader's confirmation, or one request of a follower. It carries the incarnation drawn at start: an answer to
/// a token of an earlier life, delivered after a restart, must not count.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ReadToken {
    /// The life of the process that drew it.
    pub incarnation: Incarnation,
    /// Counts up within that life.
    pub round: u64,
}

/// One message from one node to another.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Message {
    /// "Would you vote for me in `term`?" Changes no term (dissertation 9.6).
    PreVote {
        /// The term the sender would campaign in: one above its own.
        term: Term,
        /// The sender's last entry.
        last_log_index: Index,
        /// Its term.
        last_log_term: Term,
    },
    /// Answers `PreVote`.
    PreVoteReply {
        /// Granted: the term that was asked about. Refused: the sender's own term.
        term: Term,
        /// Whether the sender would vote so.
        vote_granted: bool,
    },
    /// A candidate asks for a vote (Raft 5.2). Granted only if its log is at least as up to date as ours (5.4.1).
    RequestVote {
        /// The candidate's term.
        term: Term,
        /// Its last entry.
        last_log_index: Index,
        /// Its term.
        last_log_term: Term,
        /// The leader itself asked for this election (dissertation 3.10): it may disturb a living leader.
        transfer: bool,
    },
    /// Answers `RequestVote`.
    RequestVoteReply {
        /// The sender's term.
        term: Term,
        /// Whether the candidate has its vote.
        vote_granted: bool,
    },
    /// A leader's entries (Raft 5.3); none: a probe of where the logs agree.
    Append {
        /// The leader's term.
        term: Term,
        /// The entry before the first of `entries`.
        prev_log_index: Index,
        /// Its term.
        prev_log_term: Term,
        /// How far the leader has committed.
        leader_commit: Index,
        /// Consecutive, from `prev_log_index + 1`. Their bytes travel beside this value.
        entries: Vec<EntryMeta>,
    },
    /// Answers `Append`, and `InstallSnapshot` once there is nothing to install, or nothing any more.
    AppendReply {
        /// The sender's term: above the leader's, if the append was of an older one.
        term: Term,
        /// What became of the entries.
        outcome: AppendOutcome,
    },
    /// The follower needs entries that the leader's log no longer holds: here is what it can have instead (Raft 7). Only an offer: the
    /// bytes travel on a connection of their own, and raft hears of them again through [`Raft::install`](crate::Raft::install).
    InstallSnapshot {
        /// The leader's term.
        term: Term,
        /// The last entry that the snapshot replaces.
        last_included: EntryId,
    },
    /// "I lead", at least once per heartbeat interval; also a read round (dissertation 6.4).
    Heartbeat {
        /// The leader's term.
        term: Term,
        /// What is committed *and* known to be in the receiver's log: a heartbeat may not commit entries that the follower does not share.
        leader_commit: Index,
        /// The newest read round, if one is under way.
        read_token: Option<ReadToken>,
    },
    /// Answers `Heartbeat`.
    HeartbeatReply {
        /// The sender's term.
        term: Term,
        /// The heartbeat's token, unchanged.
        read_token: Option<ReadToken>,
    },
    /// A follower asks its leader for an index to read at (dissertation 6.4).
    ReadIndex {
        /// The follower's term.
        term: Term,
        /// The follower's own token, for the answer.
        token: ReadToken,
    },
    /// Answers `ReadIndex` once a round has confirmed the leader.
    ReadIndexReply {
        /// The leader's term.
        term: Term,
        /// The follower's token, unchanged.
        token: ReadToken,
        /// Everything committed when the request came: apply this far, then read.
        index: Index,
    },
}

/// What became of an `Append`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum AppendOutcome {
    /// The follower's log agrees with the leader's up to here, and is on disk.
    Accepted {
        /// The last index that the append vouched for.
        match_index: Index,
    },
    /// The entry before the first is missing or of another term.
    Rejected {
        /// The append's `prev_log_index`, unchanged: tells a late rejection from a fresh one.
        prev_log_index: Index,
        /// Where the logs may agree at best: the follower's last entry at or before `prev_log_index` whose term is at most the append's.
        hint_index: Index,
        /// Its term.
        hint_term: Term,
    },
}

impl Message {
    /// The sender's term; `None` for a pre-vote and its answer, which must change no term.
    pub fn term(&self) -> Option<Term> {
        match self {
            Message::PreVote { .. } | Message::PreVoteReply { .. } => None,
            Message::RequestVote { term, .. }
            | Message::RequestVoteReply { term, .. }
            | Message::Append { term, .. }
            | Message::AppendReply { term, .. }
            | Message::InstallSnapshot { term, .. }
            | Message::Heartbeat { term, .. }
            | Message::HeartbeatReply { term, .. }
            | Message::ReadIndex { term, .. }
            | Message::ReadIndexReply { term, .. } => Some(*term),
        }
    }

    /// Whether every term and index is below its limit. The codec cuts such a peer off; raft itself only refuses to count beyond it.
    pub(crate) fn is_within_limits(&self) -> bool {
        let (term, index) = match self {
            Message::PreVote { term, last_log_index, last_log_term } => ((*term).max(*last_log_term), *last_log_index),
            Message::RequestVote { term, last_log_index, last_log_term, .. } => ((*term).max(*last_log_term), *last_log_index),
            Message::Append { term, prev_log_index, prev_log_term, leader_commit, entries } => {
                let last = Index(prev_log_index.0.saturating_add(entries.len() as u64));
                ((*term).max(*prev_log_term), last.max(*leader_commit))
            }
            Message::AppendReply { term, outcome: AppendOutcome::Accepted { match_index } } => (*term, *match_index),
            Message::AppendReply { term, outcome: AppendOutcome::Rejected { prev_log_index, hint_index, hint_term } } => {
                ((*term).max(*hint_term), (*prev_log_index).max(*hint_index))
            }
            Message::InstallSnapshot { term, last_included } => ((*term).max(last_included.term), last_included.index),
            Message::Heartbeat { term, leader_commit, .. } => (*term, *leader_commit),
            Message::ReadIndexReply { term, index, .. } => (*term, *index),
            Message::PreVoteReply { term, .. }
            | Message::RequestVoteReply { term, .. }
            | Message::HeartbeatReply { term, .. }
            | Message::ReadIndex { term, .. } => (*term, Index(0)),
        };
        term.0 < TERM_AND_INDEX_LIMIT && index.0 < TERM_AND_INDEX_LIMIT
    }
}

/// The notation of logs, scripts and dumps: `append t2 after i3/t1: i4/t2 i5/t2, commit i3`.
impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = |index: &Index, term: &Term| EntryId { index: *index, term: *term };
        let answer = |granted: &bool| if *granted { "granted" } else { "refused" };
        match self {
            Message::PreVote { term, last_log_index, last_log_term } => {
                write!(f, "pre-vote {term}? last {}", id(last_log_index, last_log_term))
            }
            Message::PreVoteReply { term, vote_granted } => write!(f, "pre-vote {term} {}", answer(vote_granted)),
            Message::RequestVote { term, last_log_index, last_log_term, transfer } => {
                write!(f, "vote {term}? last {}{}", id(last_log_index, last_log_term), if *transfer { ", transfer" } else { "" })
            }
            Message::RequestVoteReply { term, vote_granted } => write!(f, "vote {term} {}", answer(vote_granted)),
            Message::Append { term, prev_log_index, prev_log_term, leader_commit, entries } => {
                write!(f, "append {term} after {}:", id(prev_log_index, prev_log_term))?;
                match entries.as_slice() {
                    [] => f.write_str(" nothing")?,
                    [first, .., last] if entries.len() > 4 => write!(f, " {} .. {}", first.id(), last.id())?,
                    few => few.iter().try_for_each(|entry| write!(f, " {}", entry.id()))?,
                }
                write!(f, ", commit {leader_commit}")
            }
            Message::AppendReply { term, outcome: AppendOutcome::Accepted { match_index } } => {
                write!(f, "accepted {term} to {match_index}")
            }
            Message::AppendReply { term, outcome: AppendOutcome::Rejected { prev_log_index, hint_index, hint_term } } => {
                write!(f, "rejected {term} after {prev_log_index}, try {}", id(hint_index, hint_term))
            }
            Message::InstallSnapshot { term, last_included } => write!(f, "snapshot {term} of {last_included}"),
            Message::Heartbeat { term, leader_commit, read_token } => {
                write!(f, "heartbeat {term}, commit {leader_commit}")?;
                read_token.map_or(Ok(()), |token| write!(f, ", {token}"))
            }
            Message::HeartbeatReply { term, read_token } => {
                write!(f, "heard {term}")?;
                read_token.map_or(Ok(()), |token| write!(f, ", {token}"))
            }
            Message::ReadIndex { term, token } => write!(f, "read index {term}? {token}"),
            Message::ReadIndexReply { term, token, index } => write!(f, "read index {term} is {index}, {token}"),
        }
    }
}

impl fmt::Display for ReadToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "round {:x}.{}", self.incarnation.0, self.round)
    }
}
