//! Linearizable reads without a log entry (dissertation 6.4).
//!
//! A leader notes its commit index, asks its voters "do you still follow me?", and may serve the read there once a majority has said
//! yes after it was asked. Many reads share one round. Each round has its own number, so that answers to an earlier question never
//! count for a later one; and the number travels with the incarnation of the process, because a restarted one counts from 1 again.
//! A follower asks its leader for such an index and reads from its own state. There are no leases: no clock is trusted.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::mem;

use crate::limits::READS_MAX;
use crate::message::{Message, ReadToken};
use crate::raft::Raft;
use crate::role::{Leader, Role};
use crate::types::{Index, NodeId};

/// Names a read for the embedding.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ReadId(pub u64);

/// Why a read cannot even wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReadError {
    /// This node neither leads nor knows who does.
    NoLeader,
    /// `READS_MAX` reads are waiting already.
    Busy,
}

/// Who waits for a leader's confirmation.
#[derive(Clone, Copy, Hash, Debug)]
enum Asker {
    Here(ReadId),
    Follower(NodeId, ReadToken),
}

/// One question to the voters.
#[derive(Clone, Hash, Debug)]
struct Round {
    number: u64,
    /// Committed when the question was asked.
    index: Index,
    askers: Vec<Asker>,
}

/// The reads of a leader.
#[derive(Clone, Hash, Debug, Default)]
pub(crate) struct LeaderReads {
    waiting: Vec<Asker>,
    /// Under way, oldest first.
    rounds: VecDeque<Round>,
    /// Reads in `waiting` and `rounds`.
    count: usize,
}

/// The reads of a follower.
#[derive(Clone, Hash, Debug, Default)]
pub(crate) struct FollowerReads {
    waiting: Vec<ReadId>,
    asked: BTreeMap<u64, Asked>,
    /// Reads in `waiting` and `asked`.
    count: usize,
}

/// One question to the leader.
#[derive(Clone, Hash, Debug)]
struct Asked {
    reads: Vec<ReadId>,
    ticks: u32,
}

/// What reads leave behind for the second half of a turn.
#[derive(Clone, Hash, Debug, Default)]
pub(crate) struct ReadResults {
    pub(crate) confirmed: Vec<(ReadId, Index)>,
    pub(crate) failed: Vec<ReadId>,
}

impl LeaderReads {
    fn push(&mut self, asker: Asker) -> Result<(), ReadError> {
        if self.count >= READS_MAX {
            return Err(ReadError::Busy);
        }
        self.count += 1;
        self.waiting.push(asker);
        Ok(())
    }

    pub(crate) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The newest round under way.
    pub(crate) fn newest_round(&self) -> Option<u64> {
        self.rounds.back().map(|round| round.number)
    }

    fn start_round(&mut self, number: u64, index: Index) {
        self.rounds.push_back(Round { number, index, askers: mem::take(&mut self.waiting) });
    }

    /// The reads of this node that wait here: their askers must be told when leadership ends.
    pub(crate) fn ids(self) -> impl Iterator<Item = ReadId> {
        let asked = self.rounds.into_iter().flat_map(|round| round.askers);
        asked.chain(self.waiting).filter_map(|asker| match asker {
            Asker::Here(read) => Some(read),
            Asker::Follower(..) => None, // it gives up by its own clock, or with its own term
        })
    }
}

impl FollowerReads {
    pub(crate) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// All reads that wait here.
    pub(crate) fn ids(self) -> impl Iterator<Item = ReadId> {
        self.asked.into_values().flat_map(|asked| asked.reads).chain(self.waiting)
    }

    /// Time passes: takes the reads whose question has been out for `ticks_max`.
    pub(crate) fn tick(&mut self, ticks: u32, ticks_max: u32) -> Vec<ReadId> {
        let mut overdue = Vec::new();
        self.asked.retain(|_, asked| {
            asked.ticks = asked.ticks.saturating_add(ticks);
            if asked.ticks >= ticks_max {
                overdue.append(&mut asked.reads);
            }
            asked.ticks < ticks_max
        });
        self.count -= overdue.len();
        overdue
    }
}

impl Raft {
    /// Asks for a linearizable read. It comes back in [`Released::reads`](crate::Released::reads) with the index to apply before
    /// answering, or in [`Released::reads_failed`](crate::Released::reads_failed).
    pub fn read(&mut self, id: ReadId) -> Result<(), ReadError> {
        match &mut self.role {
            Role::Leader(leader) => leader.reads.push(Asker::Here(id)),
            Role::Follower(follower) if follower.leader.is_some() => {
                if follower.reads.count >= READS_MAX {
                    return Err(ReadError::Busy);
                }
                follower.reads.count += 1;
                follower.reads.waiting.push(id);
                Ok(())
            }
            _ => Err(ReadError::NoLeader),
        }
    }

    /// A follower asks. If too many reads wait already the question is dropped: the follower's own clock ends it.
    pub(crate) fn handle_read_index(&mut self, from: NodeId, token: ReadToken) {
        if let Role::Leader(leader) = &mut self.role {
            let _dropped_if_busy = leader.reads.push(Asker::Follower(from, token));
        }
    }

    /// The leader answers. Only an answer to a question of this life and this leadership counts.
    pub(crate) fn handle_read_index_reply(&mut self, from: NodeId, token: ReadToken, index: Index) {
        let Role::Follower(follower) = &mut self.role else { return };
        if token.incarnation != self.config.incarnation {
            return self.reached.mark("a follower is answered for a read of its past life");
        }
        if follower.leader != Some(from) {
            return;
        }
        if let Some(asked) = follower.reads.asked.remove(&token.round) {
            follower.reads.count -= asked.reads.len();
            self.read_results.confirmed.extend(asked.reads.into_iter().map(|read| (read, index)));
        }
    }

    /// Whether reads wait for a round or a question that could start now.
    pub(crate) fn can_start_reads(&self) -> bool {
        match &self.role {
            Role::Leader(leader) => leader.reads.has_waiting() && self.own_term_committed(),
            Role::Follower(follower) => follower.reads.has_waiting(),
            _ => false,
        }
    }

    /// Starts one round for everything that waits; whether one was started.
    ///
    /// Never before an entry of this term is committed: until then this leader may not know of everything its predecessors committed.
    pub(crate) fn start_read_round(&mut self) -> bool {
        if !self.can_start_reads() {
            return false;
        }
        let Role::Leader(leader) = &mut self.role else { return false };
        self.read_rounds += 1;
        leader.reads.start_round(self.read_rounds, self.commit_index);
        true
    }

    /// A follower's question for everything that waits.
    pub(crate) fn ask_for_read_index(&mut self) -> Option<(NodeId, Message)> {
        let Role::Follower(follower) = &mut self.role else { return None };
        let leader = follower.leader?;
        if !follower.reads.has_waiting() {
            return None;
        }
        self.read_rounds += 1;
        let token = ReadToken { incarnation: self.config.incarnation, round: self.read_rounds };
        let asked = Asked { reads: mem::take(&mut follower.reads.waiting), ticks: 0 };
        follower.reads.asked.insert(token.round, asked);
        Some((leader, Message::ReadIndex { term: self.hard_state.term, token }))
    }

    /// A voter has answered a round. An answer with a number that was never given out, or of another life, is ignored.
    pub(crate) fn acknowledge_round(&mut self, from: NodeId, token: ReadToken) {
        let Role::Leader(leader) = &mut self.role else { return };
        if token.incarnation != self.config.incarnation || self.read_rounds < token.round {
            return;
        }
        if let Some(progress) = leader.progress.get_mut(&from) {
            progress.round_acked = progress.round_acked.max(token.round);
        }
    }

    /// Finishes the rounds that a majority has answered. An answer to a round also answers all rounds before it.
    pub(crate) fn confirm_reads(&mut self) {
        let Role::Leader(Leader { reads, progress, .. }) = &mut self.role else { return };
        if reads.rounds.is_empty() {
            return;
        }
        let (me, newest) = (self.config.id, self.read_rounds);
        let confirmed =
            self.membership.agreed(|voter| if voter == me { newest } else { progress.get(&voter).map_or(0, |p| p.round_acked) });
        while let Some(round) = reads.rounds.pop_front_if(|round| round.number <= confirmed) {
            reads.count -= round.askers.len();
            for asker in round.askers {
                match asker {
                    Asker::Here(read) => self.read_results.confirmed.push((read, round.index)),
                    Asker::Follower(follower, token) => {
                        let reply = Message::ReadIndexReply { term: self.hard_state.term, token, index: round.index };
                        self.outbox.push((follower, reply));
                    }
                }
            }
        }
    }
}
