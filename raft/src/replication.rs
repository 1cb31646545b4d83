//! Entries on their way from the leader to everybody's disk (Raft 5.3, 5.4.2).

use alloc::vec::Vec;

use crate::log::LogPositions;
use crate::message::{AppendOutcome, Message, ReadToken};
use crate::progress::{Progress, Sending, WindowMax};
use crate::raft::{Config, Raft};
use crate::role::{Leader, Role};
use crate::types::{EntryId, EntryKind, EntryMeta, Index, NodeId, Term};

/// Why a proposal was not taken. Nothing was appended: it is safe to try again elsewhere or later.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProposeError {
    /// This node does not lead.
    NotLeader {
        /// Who does, as far as this node knows.
        leader: Option<NodeId>,
    },
    /// Too many bytes wait to be committed already.
    Busy,
}

/// What an append asks of a follower, apart from term and sender.
pub(crate) struct Append {
    pub(crate) prev: EntryId,
    pub(crate) leader_commit: Index,
    pub(crate) entries: Vec<EntryMeta>,
}

impl Raft {
    /// Appends a command of so many bytes to the leader's log and names it. It is committed when it comes back in
    /// [`Released::committed`](crate::Released::committed) under the same name: its place may also be taken by another leader's entry.
    pub fn propose(&mut self, payload_len: u32) -> Result<EntryId, ProposeError> {
        let Role::Leader(leader) = &self.role else { return Err(ProposeError::NotLeader { leader: self.leader() }) };
        let meta = EntryMeta { index: self.log.last_index().next(), term: self.hard_state.term, payload_len, kind: EntryKind::Command };
        // One entry of any size is always admitted: otherwise it could never be.
        if leader.uncommitted_bytes > 0 && self.config.uncommitted_bytes_max < leader.uncommitted_bytes + meta.encoded_len() {
            return Err(ProposeError::Busy);
        }
        // While a save is under way all that is proposed gathers for the next one, and one save has a longest length.
        if self.log.has_unsaved() && self.config.unsaved_bytes_max < self.log.unsaved_bytes() + meta.encoded_len() {
            return Err(ProposeError::Busy);
        }
        self.append_own(meta);
        Ok(meta.id())
    }

    /// The connection that carries entries to `peer` broke: what was in flight is lost. The leader looks again for where the logs agree.
    pub fn peer_unreachable(&mut self, peer: NodeId) {
        if let Role::Leader(leader) = &mut self.role
            && let Some(progress) = leader.progress.get_mut(&peer)
        {
            progress.unreachable(self.log.base().index);
        }
    }

    pub(crate) fn append_own(&mut self, meta: EntryMeta) {
        let Role::Leader(leader) = &mut self.role else { panic!("only a leader creates entries") };
        assert_eq!(meta.term, self.hard_state.term, "{} is not of the leader's term", meta.id());
        leader.uncommitted_bytes += meta.encoded_len();
        self.log.append(meta);
    }

    /// Time passes for a leader, all of it: after a pause it must not believe that it still leads.
    pub(crate) fn tick_leader(&mut self, ticks: u32) {
        let Role::Leader(leader) = &mut self.role else { return };
        leader.now += u64::from(ticks);
        let (me, now, election_ticks) = (self.config.id, leader.now, u64::from(self.config.election_ticks));
        let is_heard = |voter| voter == me || leader.progress.get(&voter).is_some_and(|peer| now - peer.heard_at < election_ticks);
        if !self.membership.is_quorum(is_heard) {
            self.reached.mark("a leader that no majority answers steps down");
            self.become_follower(self.hard_state.term, None);
            return;
        }
        if u64::from(self.config.heartbeat_ticks) <= leader.now - leader.heartbeat_at {
            leader.heartbeat_at = leader.now;
            leader.heartbeat_due = true;
        }
        // News of a commit rides on the next append. Under load there always is one; when there was none for a tick, it goes alone.
        let commit_index = self.commit_index;
        leader.commit_news_due = leader.progress.values().any(|peer| peer.commit_sent < commit_index.min(peer.match_index()));
    }

    /// Whether the leader has anything to tell its followers now.
    pub(crate) fn has_leader_messages(&self) -> bool {
        let Role::Leader(leader) = &self.role else { return false };
        let (last, max) = (self.log.last_index(), window_max(&self.config));
        let is_sendable = |peer: &Progress| peer.sending(last, max) != Sending::Nothing;
        leader.heartbeat_due || leader.commit_news_due || leader.progress.values().any(is_sendable)
    }

    /// All that a leader says in one turn: heartbeats, which also carry read rounds and news of commits, then entries.
    pub(crate) fn push_leader_messages(&mut self) {
        let is_new_round = self.start_read_round();
        let Role::Leader(leader) = &mut self.role else { return };
        let (term, commit_index) = (self.hard_state.term, self.commit_index);
        let token = leader.reads.newest_round().map(|round| ReadToken { incarnation: self.config.incarnation, round });
        for (peer, progress) in &mut leader.progress {
            let is_voter = self.membership.voters.contains(peer);
            // A heartbeat may not commit entries that the follower does not share.
            let leader_commit = commit_index.min(progress.match_index());
            let is_news = leader.commit_news_due && progress.commit_sent < leader_commit;
            if leader.heartbeat_due || is_news || (is_new_round && is_voter) {
                let read_token = token.filter(|_| is_voter);
                self.outbox.push((*peer, Message::Heartbeat { term, leader_commit, read_token }));
                progress.commit_sent = progress.commit_sent.max(leader_commit);
            }
            if progress.sending(self.log.last_index(), window_max(&self.config)) == Sending::Offer {
                self.outbox.push((*peer, Message::InstallSnapshot { term, last_included: self.snapshot }));
                progress.offered();
            }
            while let Some((prev, entries)) = next_append(progress, &self.log, &self.config) {
                let last = Index(prev.index.0 + entries.len() as u64);
                progress.commit_sent = progress.commit_sent.max(commit_index.min(last));
                let (prev_log_index, prev_log_term) = (prev.index, prev.term);
                self.outbox.push((*peer, Message::Append { term, prev_log_index, prev_log_term, leader_commit: commit_index, entries }));
            }
        }
        leader.heartbeat_due = false;
        leader.commit_news_due = false;
        self.confirm_reads();
    }

    pub(crate) fn handle_append(&mut self, from: NodeId, append: Append) {
        let term = self.hard_state.term;
        if !is_well_formed(&append, term) || !self.follow(from) {
            return;
        }
        let bytes: usize = append.entries.iter().map(EntryMeta::encoded_len).sum();
        if self.log.has_unsaved() && self.config.unsaved_bytes_max < self.log.unsaved_bytes() + bytes {
            return; // the disk is behind; the leader repeats what is not acknowledged
        }
        let Append { prev, leader_commit, entries } = append;
        let vouched = Index(prev.index.0 + entries.len() as u64);
        let base = self.log.base();
        if base.index <= prev.index && self.log.term_at(prev.index) != Some(prev.term) {
            self.promise(from, self.rejection(prev));
            return;
        }
        // What is below the base is committed, so the leader has the same. An entry with our index and term is the one we have;
        // an append that only repeats such entries must not shorten the log: it may be an old one, delivered late.
        let news = entries.iter().position(|entry| base.index <= entry.index && self.log.term_at(entry.index) != Some(entry.term));
        if let Some(first) = news {
            let conflict = entries[first].index;
            if conflict <= self.commit_index {
                return; // no leader may take back what is committed (Leader Completeness, Raft 5.4): ignore a peer that tries
            }
            if conflict <= self.log.last_index() {
                // A leader never takes back what it has appended in its term or told us to be in its log (Leader Append-Only, Raft 5.3), and
                // we may have vouched for it in this very turn: ignore one that tries.
                if self.log.last().term == term || conflict <= self.vouched_index {
                    return;
                }
                if self.log.term_at(conflict) != Some(self.log.last().term) {
                    self.reached.mark("entries of two terms are cut off at once");
                }
                if self.saves.is_outstanding() && conflict < self.log.first_unsaved() {
                    self.reached.mark("entries are cut off while their save is under way");
                }
                self.log.truncate(conflict);
            }
            entries[first..].iter().for_each(|entry| self.log.append(*entry));
        } else if !entries.is_empty() && vouched < self.log.last_index() {
            self.reached.mark("an append comes late, and shortens nothing");
        }
        self.commit_to(leader_commit.min(vouched));
        self.vouched_index = self.vouched_index.max(vouched);
        let outcome = AppendOutcome::Accepted { match_index: vouched.max(base.index) };
        self.promise(from, Message::AppendReply { term, outcome });
    }

    /// The answer to an append after `prev`, which this log does not hold.
    pub(crate) fn rejection(&self, prev: EntryId) -> Message {
        let hint = self.log.last_at_or_before(prev.index, prev.term).unwrap_or(self.log.base()); // which is committed
        let outcome = AppendOutcome::Rejected { prev_log_index: prev.index, hint_index: hint.index, hint_term: hint.term };
        Message::AppendReply { term: self.hard_state.term, outcome }
    }

    pub(crate) fn handle_append_reply(&mut self, from: NodeId, outcome: AppendOutcome) {
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(progress) = leader.progress.get_mut(&from) else { return };
        progress.heard_at = leader.now;
        match outcome {
            AppendOutcome::Accepted { match_index } if match_index <= self.log.last_index() => {
                progress.accepted(match_index, self.log.base().index);
                self.advance_commit();
            }
            AppendOutcome::Rejected { prev_log_index, hint_index, hint_term } if progress.is_fresh_rejection(prev_log_index) => {
                // Neither log holds a common entry above this: the follower has none of a lower term there, and we none of its term.
                let guess = self.log.last_at_or_before(hint_index, hint_term);
                if guess.is_some_and(|guess| self.log.term_at(prev_log_index).is_some_and(|term| guess.term < term)) {
                    self.reached.mark("a conflict is traced back over a boundary of terms");
                }
                progress.rejected(prev_log_index, guess.map(|entry| entry.index), self.log.base().index);
            }
            _ => {} // late, or about entries we never had
        }
    }

    pub(crate) fn handle_heartbeat(&mut self, from: NodeId, leader_commit: Index, read_token: Option<ReadToken>) {
        if self.follow(from) {
            self.commit_to(leader_commit.min(self.log.last_index()));
            self.promise(from, Message::HeartbeatReply { term: self.hard_state.term, read_token });
        }
    }

    pub(crate) fn handle_heartbeat_reply(&mut self, from: NodeId, read_token: Option<ReadToken>) {
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(progress) = leader.progress.get_mut(&from) else { return };
        progress.heard_at = leader.now;
        progress.answered_heartbeat();
        if let Some(token) = read_token {
            self.acknowledge_round(from, token);
            self.confirm_reads();
        }
    }

    /// Commits what a majority has on disk; this node counts only what its own disk holds.
    pub(crate) fn advance_commit(&mut self) {
        let Role::Leader(Leader { progress, .. }) = &self.role else { return };
        let (me, stable) = (self.config.id, self.log.stable_index());
        let on_disk = |voter| if voter == me { stable } else { progress.get(&voter).map_or(Index(0), Progress::match_index) };
        let agreed = self.membership.agreed(on_disk);
        // Count replicas only for entries of our own term (5.4.2). An older entry on a majority can still be overwritten, by a leader
        // whose log ends in a newer term (figure 8), after we told a client "done".
        if self.commit_index < agreed && self.log.term_at(agreed) == Some(self.hard_state.term) {
            self.commit_to(agreed);
        } else if self.commit_index < agreed {
            self.reached.mark("a majority holds an entry of an older term, which commits nothing");
        }
    }

    /// Commits up to `index`; what is committed already stays so.
    pub(crate) fn commit_to(&mut self, index: Index) {
        if index <= self.commit_index {
            return;
        }
        assert!(index <= self.log.last_index(), "cannot commit {index}: the log ends at {}", self.log.last());
        let term = self.hard_state.term;
        if let Role::Leader(leader) = &mut self.role {
            let count = index.0 - self.commit_index.0;
            let committed = self.log.from(self.commit_index.next()).iter().zip(0..count).map(|(entry, _)| entry);
            leader.uncommitted_bytes -= committed.filter(|entry| entry.term == term).map(EntryMeta::encoded_len).sum::<usize>();
        }
        self.commit_index = index;
    }
}

fn window_max(config: &Config) -> WindowMax {
    WindowMax { appends: config.inflight_appends_max, bytes: config.inflight_bytes_max }
}

/// The next append for a follower, if one may be sent: the entry before, and the entries. Called until there is none.
fn next_append(progress: &mut Progress, log: &LogPositions, config: &Config) -> Option<(EntryId, Vec<EntryMeta>)> {
    let sending = progress.sending(log.last_index(), window_max(config));
    if !matches!(sending, Sending::Empty | Sending::Entries) {
        return None;
    }
    let prev_index = progress.next_index().prev();
    let Some(term) = log.term_at(prev_index) else { panic!("an append after {prev_index}, but the log begins after {}", log.base()) };
    let prev = EntryId { index: prev_index, term };
    let (mut entries, mut bytes) = (Vec::new(), 0);
    if sending == Sending::Entries {
        for entry in log.from(prev_index.next()) {
            // One entry larger than the limit travels alone.
            if !entries.is_empty() && config.append_bytes_max < bytes + entry.encoded_len() {
                break;
            }
            bytes += entry.encoded_len();
            entries.push(*entry);
        }
    }
    progress.sent(Index(prev_index.0 + entries.len() as u64), bytes);
    Some((prev, entries))
}

/// Whether entries follow `prev` without gap, in terms that never fall and are not above the sender's.
fn is_well_formed(append: &Append, term: Term) -> bool {
    let mut before = append.prev;
    let is_next = |entry: &EntryMeta| {
        let is_next = entry.index == before.index.next() && before.term <= entry.term;
        before = entry.id();
        is_next
    };
    append.entries.iter().all(is_next) && before.term <= term
}
