//! One node on its disk, as a value, and the inputs that it may get next.

use std::hash::{DefaultHasher, Hash, Hasher};

use raft::*;

use crate::disk::{Disk, Snapshot};
use crate::history::Fact;

/// A message on its way.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Mail {
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
    pub(crate) message: Message,
}

/// What may happen to a node, apart from messages.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Event {
    /// Its election timeout runs out.
    Campaign,
    /// It has heard no leader for the shortest election timeout: from here on it listens to candidates.
    Forget,
    /// A leader that nobody answers gives up, or is told to.
    StepDown,
    /// A heartbeat is due.
    Beat,
    Propose,
    Read(ReadId),
    /// The connection to a peer broke.
    Break(NodeId),
    /// The save under way is on disk.
    Saved,
    /// The process dies and starts again at once: while it is down it is merely silent.
    Crash {
        save_survives: bool,
    },
    /// A snapshot of everything applied is on disk, and the log before it is dropped.
    Compact,
    /// The snapshot that it wants has arrived.
    Fetch(Snapshot),
    Install,
    /// It dies with the snapshot in place and the log not yet replaced.
    CrashInstalling,
}

/// What a node has said and done in one step.
#[derive(Default)]
pub(crate) struct Said {
    pub(crate) mails: Vec<Mail>,
    pub(crate) facts: Vec<Fact>,
    /// A save was begun and has not ended.
    pub(crate) save_is_late: bool,
}

#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) raft: Raft,
    config: Config,
    disk: Disk,
    /// The save under way.
    outstanding: Option<Save>,
    /// The state machine: what was applied, what a snapshot restored included.
    pub(crate) applied: Vec<EntryId>,
    /// A snapshot that has arrived, complete, and is not installed yet.
    fetched: Option<Snapshot>,
}

impl Node {
    /// One of three voters, with this on its disk.
    pub(crate) fn new(config: Config, mut disk: Disk) -> Node {
        let membership = Membership::of_voters((1..=3).map(NodeId));
        let recovered = Recovered { membership, ..disk.recover() };
        let applied = disk.snapshot.clone().map_or_else(Vec::new, |snapshot| snapshot.applied);
        Node { raft: Raft::new(config.clone(), recovered), config, disk, outstanding: None, applied, fetched: None }
    }

    pub(crate) fn id(&self) -> NodeId {
        self.config.id
    }

    /// Two nodes of one hash have the same future.
    pub(crate) fn hash(&self) -> u128 {
        let half = |salt: u64| {
            let mut hasher = DefaultHasher::new();
            (salt, self.config.id, self.config.incarnation, &self.applied, &self.fetched, &self.disk).hash(&mut hasher);
            if let Some(Save { token: _, hard_state, commit_index, entries }) = &self.outstanding {
                (hard_state, commit_index, entries).hash(&mut hasher);
            }
            self.raft.hash_without_clocks(&mut hasher);
            u128::from(hasher.finish())
        };
        half(1) << 64 | half(2)
    }

    /// What may happen to it next. Reads and fetched snapshots stand for all of their kind.
    pub(crate) fn events(&self) -> Vec<Event> {
        let raft = &self.raft;
        let mut events = Vec::new();
        if self.outstanding.is_some() {
            events.extend([Event::Saved, Event::Crash { save_survives: true }]);
        }
        events.push(Event::Crash { save_survives: false });
        if raft.is_leader() {
            events.extend([Event::StepDown, Event::Beat, Event::Propose]);
            events.extend(raft.progress().map(|(peer, _)| Event::Break(peer)));
        } else {
            events.push(Event::Campaign);
        }
        if raft.role() == RoleName::Follower && raft.leader().is_some() {
            events.push(Event::Forget);
        }
        if raft.leader().is_some() {
            events.push(Event::Read(ReadId(0)));
        }
        if raft.log().base().index < raft.applied_index() && raft.snapshot().index < raft.applied_index() {
            events.push(Event::Compact);
        }
        if self.can_install() {
            events.extend([Event::Install, Event::CrashInstalling]);
        }
        events
    }

    /// Whose snapshot it could fetch now, and from which entry on it helps.
    pub(crate) fn wants(&self) -> Option<(NodeId, EntryId)> {
        self.raft.wanted_snapshot().filter(|_| self.fetched.is_none())
    }

    pub(crate) fn snapshot(&self) -> Option<&Snapshot> {
        self.disk.snapshot.as_ref()
    }

    /// The term of the entry that its disk holds at a position, in the log or in a snapshot.
    pub(crate) fn on_disk(&self, index: Index) -> Option<Term> {
        let in_snapshot = self.snapshot().and_then(|snapshot| snapshot.applied.iter().find(|entry| entry.index == index));
        in_snapshot.map(|entry| entry.term).or_else(|| self.disk.term_at(index))
    }

    fn can_install(&self) -> bool {
        let is_needed = |snapshot: &Snapshot| self.raft.needs_snapshot(snapshot.last());
        self.fetched.as_ref().is_some_and(is_needed) && !self.raft.is_leader() && !self.raft.has_outstanding_save()
    }

    pub(crate) fn receive(&mut self, mail: &Mail, saves_late: bool) -> Said {
        self.step(saves_late, |node, _| node.raft.step(mail.from, mail.message.clone()))
    }

    pub(crate) fn happen(&mut self, event: &Event, saves_late: bool) -> Said {
        match event {
            Event::Crash { save_survives } => {
                if let Some(save) = self.outstanding.take().filter(|_| *save_survives) {
                    self.disk.write(&save);
                }
                return self.restart();
            }
            Event::CrashInstalling => {
                self.disk.snapshot = self.fetched.take();
                return self.restart();
            }
            _ => {}
        }
        self.step(saves_late, |node, said| match event {
            Event::Campaign => node.raft.campaign(),
            Event::Forget => {
                let leader = node.raft.leader().expect("it follows");
                node.raft.leader_lost(leader);
            }
            Event::StepDown => node.raft.step_down(),
            Event::Beat => node.raft.tick(1),
            Event::Propose => _ = node.raft.propose(10).expect("a leader that is not busy"),
            Event::Read(read) => {
                node.raft.read(*read).expect("there is a leader to ask");
                said.facts.push(Fact::Asked(*read));
            }
            Event::Break(peer) => node.raft.peer_unreachable(*peer),
            Event::Saved => {
                let save = node.outstanding.take().expect("a save is under way");
                node.disk.write(&save);
                node.raft.saved(save.token);
            }
            Event::Compact => {
                let snapshot = Snapshot { applied: node.applied.clone(), membership: node.raft.membership().clone() };
                let last = snapshot.last();
                node.disk.snapshot = Some(snapshot);
                node.raft.snapshot_taken(last);
                node.raft.compact(last.index);
                node.disk.compact(last.index);
            }
            Event::Fetch(snapshot) => node.fetched = Some(snapshot.clone()),
            Event::Install => {
                let snapshot = node.fetched.take().expect("a snapshot has arrived");
                let last = snapshot.last();
                node.applied.clone_from(&snapshot.applied);
                let membership = snapshot.membership.clone();
                node.disk.snapshot = Some(snapshot);
                node.disk.replace_log(last, node.raft.hard_state());
                node.raft.install(last, membership);
                said.facts.push(Fact::Installed);
            }
            Event::Crash { .. } | Event::CrashInstalling => unreachable!("done above"),
        })
    }

    fn restart(&mut self) -> Said {
        self.config.incarnation.0 += 1;
        *self = Node::new(self.config.clone(), self.disk.clone());
        self.step(false, |_, _| {})
    }

    /// One input and the turns that follow, as in the way through: send, save, release, apply.
    fn step(&mut self, saves_late: bool, input: impl FnOnce(&mut Node, &mut Said)) -> Said {
        let mut said = Said::default();
        let (led, commit_index) = (self.raft.is_leader(), self.raft.commit_index());
        self.checked(|node| input(node, &mut said));
        while self.raft.has_ready() {
            let ready = self.checked(|node| node.raft.take_ready());
            self.send(ready.appends, &mut said);
            if let Some(save) = ready.save {
                if saves_late {
                    self.outstanding = Some(save);
                    said.save_is_late = true;
                } else {
                    self.disk.write(&save);
                    self.checked(|node| node.raft.saved(save.token));
                }
            }
            self.release(&mut said);
        }
        self.release(&mut said); // after `saved`, even if nothing else is ready
        if self.raft.is_leader() && !led {
            said.facts.push(Fact::Leads { term: self.raft.term(), leader: self.id() });
        }
        for index in (commit_index.0 + 1..=self.raft.commit_index().0).map(Index) {
            said.facts.push(Fact::Committed { entry: self.entry(index), known_in: self.raft.term() });
        }
        said
    }

    /// The entry at a position that is committed here.
    pub(crate) fn entry(&self, index: Index) -> EntryId {
        let in_log = self.raft.log().term_at(index).map(|term| EntryId { index, term });
        let applied = || self.applied.iter().find(|entry| entry.index == index).copied();
        in_log.or_else(applied).expect("what is committed is in the log or was applied")
    }

    fn checked<T>(&mut self, input: impl FnOnce(&mut Node) -> T) -> T {
        let before = self.raft.facts();
        let result = input(self);
        self.raft.check(&before);
        result
    }

    fn release(&mut self, said: &mut Said) {
        let released = self.checked(|node| node.raft.take_released());
        self.send(released.promises, said);
        if let Some((first, last)) = released.committed {
            for index in (first.0..=last.0).map(Index) {
                self.applied.push(self.entry(index));
            }
            self.checked(|node| node.raft.applied(last));
        }
        said.facts.extend(released.reads.into_iter().map(|(read, index)| Fact::Served { read, index }));
        said.facts.extend(released.reads_failed.into_iter().map(Fact::Failed));
    }

    fn send(&self, messages: Vec<(NodeId, Message)>, said: &mut Said) {
        let from = self.id();
        for (to, message) in messages {
            let candidate = match &message {
                Message::RequestVote { .. } => Some(from),
                Message::RequestVoteReply { vote_granted: true, .. } => Some(to),
                _ => None,
            };
            if let (Some(candidate), Some(term)) = (candidate, message.term()) {
                said.facts.push(Fact::Voted { term, voter: from, candidate });
            }
            said.mails.push(Mail { from, to, message });
        }
    }
}
