//! A cluster in memory: real nodes, a queue for a network, a vector for a disk. After every input the node's own invariants are
//! checked, and Raft's five safety properties across all nodes (figure 3).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;

use raft::*;

use crate::disk::{Disk, Snapshot};

/// One message on its way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Envelope {
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
    pub(crate) message: Message,
}

/// What a node starts with.
#[derive(Clone, Default)]
pub(crate) struct Start {
    pub(crate) term: u64,
    pub(crate) voted_for: Option<u64>,
    /// Terms of the entries from index 1.
    pub(crate) log: Vec<u64>,
    pub(crate) commit: u64,
}

pub(crate) struct Member {
    pub(crate) raft: Raft,
    pub(crate) config: Config,
    /// The state machine: what was applied, what a snapshot restored included.
    pub(crate) applied: Vec<EntryId>,
    /// A snapshot that was fetched from a leader, complete, and is not installed yet.
    fetched: Option<Snapshot>,
    pub(crate) reads: Vec<(ReadId, Index)>,
    pub(crate) reads_failed: Vec<ReadId>,
    /// Saves that reached the disk, in this life.
    pub(crate) saved: Vec<Save>,
    disk: Disk,
    is_up: bool,
    /// Saves stay outstanding until `finish_save`.
    holds_saves: bool,
    outstanding: Option<Save>,
}

pub(crate) struct Cluster {
    members: BTreeMap<NodeId, Member>,
    membership: Membership,
    /// Sent and not yet delivered, in the order sent.
    pub(crate) queue: VecDeque<Envelope>,
    cuts: BTreeSet<(NodeId, NodeId)>,
    /// Messages of which this is true are lost.
    pub(crate) loses: Option<fn(&Message) -> bool>,
    pub(crate) safety: Safety,
    /// What happened, in our notation.
    pub(crate) trace: Vec<String>,
    lives: u64,
}

/// What has been true of the whole cluster so far.
#[derive(Default)]
pub(crate) struct Safety {
    leaders: BTreeMap<Term, NodeId>,
    /// Committed entries, with the lowest term in which somebody knew it.
    pub(crate) committed: BTreeMap<Index, (Term, Term)>,
    /// What was committed somewhere when a read was asked for.
    read_floors: BTreeMap<ReadId, Index>,
    pub(crate) reads_served: usize,
    /// Snapshots installed, and logs compacted.
    pub(crate) installs: usize,
    pub(crate) compactions: usize,
}

/// Timeouts as in the lab cases: base 10, a heartbeat per tick.
pub(crate) fn config(id: u64, seed: u64) -> Config {
    Config {
        id: NodeId(id),
        incarnation: Incarnation(seed),
        seed,
        election_ticks: 10,
        heartbeat_ticks: 1,
        append_bytes_max: 1 << 20,
        inflight_appends_max: 64,
        inflight_bytes_max: 8 << 20,
        uncommitted_bytes_max: 16 << 20,
        unsaved_bytes_max: 16 << 20,
    }
}

pub(crate) fn start(term: u64, log: &[u64], commit: u64) -> Start {
    Start { term, voted_for: None, log: log.to_vec(), commit }
}

pub(crate) fn meta(index: u64, term: u64) -> EntryMeta {
    EntryMeta { index: Index(index), term: Term(term), payload_len: 10, kind: EntryKind::Command }
}

impl Cluster {
    /// So many nodes with empty logs.
    pub(crate) fn new(count: u64) -> Cluster {
        Cluster::with(&vec![Start::default(); usize::try_from(count).unwrap()])
    }

    /// Nodes 1, 2, ... that start so.
    pub(crate) fn with(starts: &[Start]) -> Cluster {
        let configs = (1..).take(starts.len()).map(|id| config(id, id));
        Cluster::build(starts.len() as u64, configs.zip(starts.iter().cloned()).collect())
    }

    /// Node 1 of so many: the others exist only in what the test says for them.
    pub(crate) fn lone(count: u64, start: Start) -> Cluster {
        Cluster::build(count, vec![(config(1, 1), start)])
    }

    pub(crate) fn build(count: u64, starts: Vec<(Config, Start)>) -> Cluster {
        let membership = Membership::of_voters((1..=count).map(NodeId));
        let mut cluster = Cluster {
            members: BTreeMap::new(),
            membership,
            queue: VecDeque::new(),
            cuts: BTreeSet::new(),
            loses: None,
            safety: Safety::default(),
            trace: Vec::new(),
            lives: 0,
        };
        for (config, Start { term, voted_for, log, commit }) in starts {
            let entries = (1..).zip(log).map(|(index, term)| meta(index, term)).collect();
            let hard_state = HardState { term: Term(term), voted_for: voted_for.map(NodeId) };
            let disk = Disk { hard_state, commit_index: Index(commit), entries, ..Disk::default() };
            let member = cluster.boot(config.clone(), disk);
            cluster.members.insert(config.id, member);
            cluster.turn(config.id.0);
        }
        cluster
    }

    fn boot(&mut self, mut config: Config, mut disk: Disk) -> Member {
        self.lives += 1;
        config.incarnation = Incarnation(self.lives);
        let membership = disk.snapshot.as_ref().map_or_else(|| self.membership.clone(), |snapshot| snapshot.membership.clone());
        let recovered = Recovered { membership, ..disk.recover() };
        Member {
            raft: Raft::new(config.clone(), recovered),
            config,
            applied: disk.snapshot.clone().map_or_else(Vec::new, |snapshot| snapshot.applied),
            fetched: None,
            reads: Vec::new(),
            reads_failed: Vec::new(),
            saved: Vec::new(),
            disk,
            is_up: true,
            holds_saves: false,
            outstanding: None,
        }
    }

    pub(crate) fn ids(&self) -> Vec<u64> {
        self.members.keys().map(|id| id.0).collect()
    }

    pub(crate) fn member(&self, node: u64) -> &Member {
        &self.members[&NodeId(node)]
    }

    pub(crate) fn raft(&self, node: u64) -> &Raft {
        &self.member(node).raft
    }

    pub(crate) fn is_up(&self, node: u64) -> bool {
        self.members.get(&NodeId(node)).is_some_and(|member| member.is_up)
    }

    /// Terms along a node's log.
    pub(crate) fn terms(&self, node: u64) -> Vec<u64> {
        self.raft(node).log().from(Index(1)).iter().map(|entry| entry.term.0).collect()
    }

    pub(crate) fn commit(&self, node: u64) -> u64 {
        self.raft(node).commit_index().0
    }

    pub(crate) fn leader(&self) -> Option<u64> {
        let leaders = self.members.values().filter(|member| member.is_up && member.raft.is_leader());
        leaders.max_by_key(|member| member.raft.term()).map(|member| member.raft.id().0)
    }

    /// One input, checked.
    pub(crate) fn input<T>(&mut self, node: u64, input: impl FnOnce(&mut Raft) -> T) -> T {
        let member = self.members.get_mut(&NodeId(node)).expect("a real node");
        let before = (member.raft.facts(), notation(&member.raft));
        let result = input(&mut member.raft);
        member.raft.check(&before.0);
        let after = notation(&member.raft);
        if before.1 != after {
            self.trace.push(after);
        }
        let members = &self.members;
        self.safety.check(NodeId(node), members);
        result
    }

    /// One pass of the way: save, send, apply, until nothing is ready.
    pub(crate) fn turn(&mut self, node: u64) {
        while self.member(node).raft.has_ready() {
            let ready = self.input(node, Raft::take_ready);
            self.send(node, ready.appends);
            let holds = self.member(node).holds_saves;
            match ready.save {
                Some(save) if holds => {
                    self.trace.push(format!("n{node} begins to save {}", save_notation(&save)));
                    self.members.get_mut(&NodeId(node)).unwrap().outstanding = Some(save);
                }
                Some(save) => self.finish(node, &save),
                None => {}
            }
            self.release(node);
        }
        // What says that nothing is ready must not keep anything back.
        let mut idle = self.member(node).raft.clone();
        assert_eq!((idle.take_ready(), idle.take_released()), (Ready::default(), Released::default()), "n{node} has more than it says");
    }

    fn finish(&mut self, node: u64, save: &Save) {
        self.trace.push(format!("n{node} saves {}", save_notation(save)));
        let member = self.members.get_mut(&NodeId(node)).unwrap();
        member.disk.write(save);
        member.saved.push(save.clone());
        self.input(node, |raft| raft.saved(save.token));
    }

    fn release(&mut self, node: u64) {
        let released = self.input(node, Raft::take_released);
        self.send(node, released.promises);
        if let Some((first, last)) = released.committed {
            self.trace.push(format!("n{node} applies {first}..{last}"));
            let member = self.members.get_mut(&NodeId(node)).unwrap();
            assert_eq!(member.applied.last().map_or(Index(0), |entry| entry.index).next(), first, "a gap in what n{node} applies");
            for index in (first.0..=last.0).map(Index) {
                let term = member.raft.log().term_at(index).expect("handed out entries are in the log");
                assert_eq!(member.disk.term_at(index), Some(term), "{index} is on disk");
                member.applied.push(EntryId { index, term });
            }
            self.input(node, |raft| raft.applied(last));
        }
        for (read, index) in released.reads {
            self.trace.push(format!("n{node} may serve r{} at {index}", read.0));
            self.safety.check_read(read, index);
            self.members.get_mut(&NodeId(node)).unwrap().reads.push((read, index));
        }
        for read in released.reads_failed {
            self.trace.push(format!("n{node} fails r{}", read.0));
            self.members.get_mut(&NodeId(node)).unwrap().reads_failed.push(read);
        }
    }

    fn send(&mut self, from: u64, messages: Vec<(NodeId, Message)>) {
        let from = NodeId(from);
        for (to, message) in messages {
            assert_ne!(from, to, "{from} sends to itself: {message}");
            if self.cuts.contains(&(from, to)) || self.loses.is_some_and(|loses| loses(&message)) {
                self.trace.push(format!("{from} -> {to} {message} (lost)"));
            } else {
                self.trace.push(format!("{from} -> {to} {message}"));
                self.queue.push_back(Envelope { from, to, message });
            }
        }
    }

    /// A message from a peer, and the turn it causes.
    pub(crate) fn step(&mut self, node: u64, from: u64, message: Message) {
        self.input(node, |raft| raft.step(NodeId(from), message));
        self.turn(node);
    }

    /// Delivers one message, unless its receiver is down or not there.
    pub(crate) fn deliver(&mut self, envelope: Envelope) {
        if self.is_up(envelope.to.0) {
            self.step(envelope.to.0, envelope.from.0, envelope.message);
        }
    }

    /// Turns and deliveries until nothing is on its way.
    pub(crate) fn settle(&mut self) {
        for node in self.ids() {
            if self.is_up(node) {
                self.turn(node);
            }
        }
        for _ in 0..100_000 {
            let Some(envelope) = self.queue.pop_front() else { return };
            self.deliver(envelope);
        }
        panic!("100,000 messages and no end: {:?}", self.queue);
    }

    /// What is on its way, taken away.
    pub(crate) fn take_sent(&mut self) -> Vec<Envelope> {
        self.queue.drain(..).collect()
    }

    pub(crate) fn tick(&mut self, node: u64, ticks: u32) {
        self.input(node, |raft| raft.tick(ticks));
        self.turn(node);
    }

    /// One tick for every node that is up, and what follows from it.
    pub(crate) fn tick_all(&mut self) {
        for node in self.ids() {
            if self.is_up(node) {
                self.tick(node, 1);
            }
        }
        self.settle();
    }

    /// The node asks for an election; the others have lost sight of their leaders, so that they listen.
    pub(crate) fn campaign(&mut self, node: u64) {
        for other in self.ids() {
            if let Some(leader) = self.raft(other).leader() {
                self.input(other, |raft| raft.leader_lost(leader));
            }
        }
        self.input(node, Raft::campaign);
        self.turn(node);
    }

    /// Like `campaign`, with everything that follows; a tick of the new leader tells all how far is committed.
    pub(crate) fn elect(&mut self, node: u64) {
        self.campaign(node);
        self.settle();
        if self.raft(node).is_leader() {
            self.beat(node);
        }
    }

    /// One heartbeat interval of the leader, and what follows.
    pub(crate) fn beat(&mut self, node: u64) {
        let ticks = self.member(node).config.heartbeat_ticks;
        self.tick(node, ticks);
        self.settle();
    }

    pub(crate) fn propose(&mut self, node: u64) -> Result<EntryId, ProposeError> {
        self.input(node, |raft| raft.propose(10))
    }

    pub(crate) fn read(&mut self, node: u64, read: u64) -> Result<(), ReadError> {
        let floor = self.safety.committed.last_key_value().map_or(Index(0), |(index, _)| *index);
        self.safety.read_floors.insert(ReadId(read), floor);
        self.input(node, |raft| raft.read(ReadId(read)))
    }

    pub(crate) fn cut(&mut self, one: u64, other: u64) {
        self.cuts.extend([(NodeId(one), NodeId(other)), (NodeId(other), NodeId(one))]);
    }

    pub(crate) fn isolate(&mut self, node: u64) {
        for other in self.membership.voters.clone() {
            self.cut(node, other.0);
        }
        self.queue.retain(|envelope| envelope.from.0 != node && envelope.to.0 != node);
    }

    pub(crate) fn heal(&mut self) {
        self.cuts.clear();
        self.loses = None;
    }

    /// The process dies. A save under way may have reached the disk or not.
    pub(crate) fn crash(&mut self, node: u64, save_survives: bool) {
        let member = self.members.get_mut(&NodeId(node)).unwrap();
        if let Some(save) = member.outstanding.take().filter(|_| save_survives) {
            member.disk.write(&save);
        }
        member.is_up = false;
    }

    pub(crate) fn restart(&mut self, node: u64) {
        let Member { config, disk, .. } = self.member(node);
        let (config, disk) = (config.clone(), disk.clone());
        let member = self.boot(config, disk);
        self.members.insert(NodeId(node), member);
        self.trace.push(notation(self.raft(node)));
        self.turn(node);
    }

    /// Writes a snapshot of everything applied.
    pub(crate) fn take_snapshot(&mut self, node: u64) {
        let membership = self.raft(node).membership().clone();
        let member = self.members.get_mut(&NodeId(node)).unwrap();
        let snapshot = Snapshot { applied: member.applied.clone(), membership };
        let last = snapshot.last();
        member.disk.snapshot = Some(snapshot);
        self.trace.push(format!("n{node} takes the snapshot {last}"));
        self.input(node, |raft| raft.snapshot_taken(last));
    }

    pub(crate) fn compact(&mut self, node: u64, to: Index) {
        self.input(node, |raft| raft.compact(to));
        self.members.get_mut(&NodeId(node)).unwrap().disk.compact(to);
        self.safety.compactions += 1;
        self.trace.push(format!("n{node} compacts to {}", self.raft(node).log().base()));
    }

    /// Both, with nothing kept.
    pub(crate) fn compact_all(&mut self, node: u64) {
        self.take_snapshot(node);
        self.compact(node, self.raft(node).snapshot().index);
    }

    /// A transfer, begun and ended in an instant: the snapshot that the node wants, or the newer one that the leader has by now. Whether
    /// there was anything to fetch.
    pub(crate) fn fetch(&mut self, node: u64) -> bool {
        let Some((leader, wanted)) = self.raft(node).wanted_snapshot().filter(|(leader, _)| self.is_up(leader.0)) else { return false };
        let has_it = |snapshot: &&Snapshot| wanted.index <= snapshot.last().index;
        let Some(snapshot) = self.members[&leader].disk.snapshot.as_ref().filter(has_it).cloned() else { return false };
        self.trace.push(format!("n{node} fetches the snapshot {} from {leader}", snapshot.last()));
        self.members.get_mut(&NodeId(node)).unwrap().fetched = Some(snapshot);
        true
    }

    /// What was fetched replaces everything, if it is still needed and nothing is in the way. Whether it did.
    pub(crate) fn install(&mut self, node: u64) -> bool {
        let Some(snapshot) = self.take_fetched(node) else { return false };
        self.safety.check_snapshot(&snapshot);
        self.install_unchecked(node, snapshot);
        true
    }

    /// A snapshot from a member that may be lying.
    pub(crate) fn install_unchecked(&mut self, node: u64, snapshot: Snapshot) {
        let Member { raft, disk, applied, .. } = self.members.get_mut(&NodeId(node)).unwrap();
        let last = snapshot.last();
        disk.snapshot = Some(snapshot.clone());
        disk.replace_log(last, raft.hard_state());
        *applied = snapshot.applied;
        self.trace.push(format!("n{node} installs the snapshot {last}"));
        self.input(node, |raft| raft.install(last, snapshot.membership));
        self.turn(node);
    }

    fn take_fetched(&mut self, node: u64) -> Option<Snapshot> {
        let Member { raft, fetched, .. } = self.members.get_mut(&NodeId(node)).unwrap();
        fetched.take_if(|snapshot| !raft.is_leader() && !raft.has_outstanding_save() && raft.needs_snapshot(snapshot.last()))
    }

    /// The process dies in the middle of an install: the snapshot has its name, the log is still the old one.
    pub(crate) fn crash_installing(&mut self, node: u64) {
        if let Some(snapshot) = self.take_fetched(node) {
            self.members.get_mut(&NodeId(node)).unwrap().disk.snapshot = Some(snapshot);
        }
        self.crash(node, false);
    }

    /// From now on saves stay outstanding until `finish_save`.
    pub(crate) fn hold_saves(&mut self, node: u64) {
        self.members.get_mut(&NodeId(node)).unwrap().holds_saves = true;
    }

    pub(crate) fn stop_holding(&mut self, node: u64) {
        self.members.get_mut(&NodeId(node)).unwrap().holds_saves = false;
        self.finish_save(node);
    }

    /// The save under way reached the disk and raft knows it; no turn follows yet.
    pub(crate) fn finish_save_only(&mut self, node: u64) {
        let save = self.members.get_mut(&NodeId(node)).unwrap().outstanding.take().expect("a save is under way");
        self.finish(node, &save);
    }

    pub(crate) fn finish_save(&mut self, node: u64) {
        if let Some(save) = self.members.get_mut(&NodeId(node)).unwrap().outstanding.take() {
            self.finish(node, &save);
            self.release(node);
        }
        self.turn(node);
    }
}

impl Safety {
    fn check(&mut self, node: NodeId, members: &BTreeMap<NodeId, Member>) {
        let raft = &members[&node].raft;
        let term = raft.term();
        if raft.is_leader() {
            let is_new = !self.leaders.contains_key(&term);
            let leader = *self.leaders.entry(term).or_insert(node);
            assert_eq!(leader, node, "two leaders in {term} (Election Safety)");
            if is_new {
                for (index, (entry, known_in)) in &self.committed {
                    let held = raft.log().term_at(*index);
                    let is_in_snapshot = *index < raft.log().base().index; // compared when it was taken or installed
                    assert!(
                        term <= *known_in || is_in_snapshot || held == Some(*entry),
                        "{raft} lacks {index}/{entry}, committed in {known_in} (Leader Completeness)"
                    );
                }
            }
        }
        for index in (raft.log().base().index.0.max(1)..=raft.commit_index().0).rev().map(Index) {
            let entry = raft.log().term_at(index).expect("committed entries are in the log");
            let Some(known) = self.committed.get(&index).copied() else {
                self.committed.insert(index, (entry, term));
                continue;
            };
            assert_eq!(known.0, entry, "{raft} committed {index}/{entry}, another node {index}/{} (State Machine Safety)", known.0);
            if known.1 <= term {
                if index.0 + 8 < raft.commit_index().0 {
                    break; // what is below was checked when it was committed
                }
            } else {
                self.committed.insert(index, (entry, term));
            }
        }
        for other in members.values().filter(|other| other.raft.id() != node) {
            check_log_matching(raft.log(), other.raft.log());
        }
    }

    fn check_snapshot(&mut self, snapshot: &Snapshot) {
        self.installs += 1;
        assert_eq!(snapshot.applied.len() as u64, snapshot.last().index.0, "a snapshot with gaps");
        for entry in &snapshot.applied {
            let (committed, _) = self.committed[&entry.index];
            assert_eq!(committed, entry.term, "the snapshot {} holds {entry}, which was not committed", snapshot.last());
        }
    }

    fn check_read(&mut self, read: ReadId, index: Index) {
        self.reads_served += 1;
        if let Some(floor) = self.read_floors.get(&read) {
            assert!(*floor <= index, "r{} may be served at {index}, but {floor} was committed when it was asked", read.0);
        }
    }
}

/// If two logs have an entry of one index and term, they agree on everything before it.
fn check_log_matching(one: &LogPositions, other: &LogPositions) {
    let last = one.last_index().min(other.last_index());
    let mut matched = false;
    let first = one.base().index.max(other.base().index).max(Index(1));
    for index in (first.0..=last.0).rev().map(Index) {
        let agrees = one.term_at(index) == other.term_at(index);
        assert!(
            agrees || !matched,
            "logs agree above {index} and not there: {:?}, {:?} (Log Matching)",
            one.meta(index),
            other.meta(index)
        );
        matched = agrees;
    }
}

/// `n2 follower i7/t3 of n1, t3, commit i6`
pub(crate) fn notation(raft: &Raft) -> String {
    let mut text = raft.to_string();
    match raft.leader() {
        Some(leader) if leader != raft.id() => write!(text, " of {leader}").unwrap(),
        _ => {}
    }
    write!(text, ", {}, commit {}", raft.term(), raft.commit_index()).unwrap();
    text
}

fn save_notation(save: &Save) -> String {
    let mut text = save.hard_state.term.to_string();
    if let Some(vote) = save.hard_state.voted_for {
        write!(text, ", vote for {vote}").unwrap();
    }
    match save.entries.as_slice() {
        [] => {}
        [one] => write!(text, ", {}", one.id()).unwrap(),
        [first, .., last] => write!(text, ", {} .. {}", first.id(), last.id()).unwrap(),
    }
    text
}
