//! What has been true so far in one cluster, and what must follow from it: Raft's five safety properties (figure 3), votes that outlive
//! crashes, and reads that see every write before them.

use std::collections::BTreeMap;

use raft::*;

use crate::node::Node;

/// What a step has made known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Fact {
    Leads {
        term: Term,
        leader: NodeId,
    },
    /// A vote has left: given to a peer, or to itself by asking for others.
    Voted {
        term: Term,
        voter: NodeId,
        candidate: NodeId,
    },
    /// Somebody in this term knows that it is committed.
    Committed {
        entry: EntryId,
        known_in: Term,
    },
    Asked(ReadId),
    Served {
        read: ReadId,
        index: Index,
    },
    Failed(ReadId),
    Installed,
}

/// A committed entry.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Committed {
    term: Term,
    /// The lowest term in which somebody knew: leaders of later terms must hold it.
    known_in: Term,
}

#[derive(Clone, Default, PartialEq, Eq, Hash, Debug)]
pub(crate) struct History {
    leaders: BTreeMap<Term, NodeId>,
    votes: BTreeMap<(Term, NodeId), NodeId>,
    /// From index 1.
    committed: Vec<Committed>,
    /// What was committed somewhere when a read was asked for.
    read_floors: BTreeMap<ReadId, Index>,
}

type Checked = Result<(), String>;

fn ensure(holds: bool, breach: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(breach()) }
}

impl History {
    pub(crate) fn learn(&mut self, fact: &Fact) -> Checked {
        match fact {
            Fact::Leads { term, leader } => {
                let votes = self.votes.iter().filter(|((given_in, _), candidate)| given_in == term && *candidate == leader).count();
                ensure(votes >= 2, || format!("{leader} leads {term} with {votes} of 3 votes"))?;
                let known = *self.leaders.entry(*term).or_insert(*leader);
                ensure(known == *leader, || format!("{known} and {leader} both lead {term} (Election Safety)"))
            }
            Fact::Voted { term, voter, candidate } => {
                let known = *self.votes.entry((*term, *voter)).or_insert(*candidate);
                ensure(known == *candidate, || format!("{voter} voted for {known} and for {candidate} in {term}"))
            }
            Fact::Committed { entry, known_in } => self.commit(*entry, *known_in),
            Fact::Asked(read) => {
                self.read_floors.insert(*read, Index(self.committed.len() as u64));
                Ok(())
            }
            Fact::Served { read, index } => {
                let floor = self.read_floors.remove(read).ok_or_else(|| format!("r{} is answered twice, or was never asked", read.0))?;
                ensure(floor <= *index, || format!("r{} may be served at {index}, but {floor} was committed when it was asked", read.0))
            }
            Fact::Failed(read) => {
                self.read_floors.remove(read);
                Ok(())
            }
            Fact::Installed => Ok(()),
        }
    }

    fn commit(&mut self, entry: EntryId, known_in: Term) -> Checked {
        let at = usize::try_from(entry.index.0 - 1).expect("few entries");
        let next = self.committed.len();
        if at == next {
            self.committed.push(Committed { term: entry.term, known_in });
            return Ok(());
        }
        ensure(at < next, || format!("{entry} is committed, but nothing at i{}", next + 1))?;
        let known = &mut self.committed[at];
        known.known_in = known.known_in.min(known_in);
        ensure(known.term == entry.term, || {
            format!("{entry} is committed, and so is {}/{} (State Machine Safety)", entry.index, known.term)
        })
    }

    pub(crate) fn committed_count(&self) -> usize {
        self.committed.len()
    }

    fn committed(&self) -> impl Iterator<Item = (EntryId, Term)> {
        (1..).map(Index).zip(&self.committed).map(|(index, known)| (EntryId { index, term: known.term }, known.known_in))
    }

    /// What the past asks of one node.
    pub(crate) fn check(&self, node: &Node) -> Checked {
        let (raft, log) = (&node.raft, node.raft.log());
        for (entry, known_in) in self.committed() {
            let held = log.term_at(entry.index);
            let is_gone = entry.index < log.base().index; // compared as applied, below
            if entry.index <= raft.commit_index() && !is_gone {
                ensure(held == Some(entry.term), || {
                    format!("{raft} committed another {} than {entry} (State Machine Safety)", entry.index)
                })?;
            }
            if raft.is_leader() && known_in < raft.term() && !is_gone {
                ensure(held == Some(entry.term), || format!("{raft} lacks {entry}, committed in {known_in} (Leader Completeness)"))?;
            }
        }
        for (applied, known) in node.applied.iter().zip(self.committed().map(|(entry, _)| entry)) {
            ensure(*applied == known, || format!("{raft} applied {applied}, committed is {known} (State Machine Safety)"))?;
        }
        ensure(node.applied.len() <= self.committed.len(), || format!("{raft} applied what nobody committed"))
    }

    /// Whoever was told "done" was told so on the strength of a majority's disks, and they keep it.
    pub(crate) fn check_disks(&self, nodes: [&Node; 3]) -> Checked {
        for (entry, _) in self.committed() {
            let copies = nodes.iter().filter(|node| node.on_disk(entry.index) == Some(entry.term)).count();
            ensure(copies >= 2, || format!("{entry} is committed and on {copies} of 3 disks"))?;
        }
        Ok(())
    }
}

/// If two logs have an entry of one index and term, they agree on everything before it.
pub(crate) fn check_log_matching(one: &LogPositions, other: &LogPositions) -> Checked {
    let last = one.last_index().min(other.last_index());
    let first = one.base().index.max(other.base().index).max(Index(1));
    let mut matched = false;
    for index in (first.0..=last.0).rev().map(Index) {
        let agrees = one.term_at(index) == other.term_at(index);
        ensure(agrees || !matched, || format!("two logs agree above {index} and not there (Log Matching)"))?;
        matched = agrees;
    }
    Ok(())
}
