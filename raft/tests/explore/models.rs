//! Where searches begin, and how often each thing may happen in them.

use raft::*;

use crate::disk::Disk;
use crate::node::{Event, Node};
use crate::search::{Seen, search};

/// What is counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Campaign,
    Forget,
    StepDown,
    Beat,
    Propose,
    Read,
    Break,
    Crash,
    Compact,
    /// A message arrives and stays in flight.
    Repeat,
    /// A save does not end before anything else happens.
    LateSave,
}

pub(crate) const KINDS: usize = 11;
/// As often as one likes.
const ANY: u8 = u8::MAX;

impl Event {
    /// `None`: as often as it can.
    pub(crate) fn kind(&self) -> Option<Kind> {
        match self {
            Event::Campaign => Some(Kind::Campaign),
            Event::Forget => Some(Kind::Forget),
            Event::StepDown => Some(Kind::StepDown),
            Event::Beat => Some(Kind::Beat),
            Event::Propose => Some(Kind::Propose),
            Event::Read(_) => Some(Kind::Read),
            Event::Break(_) => Some(Kind::Break),
            Event::Crash { .. } | Event::CrashInstalling => Some(Kind::Crash),
            Event::Compact => Some(Kind::Compact),
            Event::Saved | Event::Fetch(_) | Event::Install => None,
        }
    }
}

/// How often each kind may still happen.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Left(pub(crate) [u8; KINDS]);

impl Left {
    const fn nothing() -> Left {
        Left([0; KINDS])
    }

    const fn and(mut self, count: u8, kind: Kind) -> Left {
        self.0[kind as usize] = count;
        self
    }
}

/// A search: three nodes, what has happened to them already, and what may happen.
#[derive(Clone, Copy)]
pub(crate) struct Model {
    pub(crate) name: &'static str,
    pub(crate) nodes: fn() -> [Node; 3],
    /// The nodes are alike, and nothing has happened yet.
    pub(crate) is_symmetric: bool,
    /// One event after the other, all messages delivered in between.
    pub(crate) before: &'static [(u8, Event)],
    pub(crate) left: Left,
    /// Events from the start, in tests and in `cargo xtask explore`.
    pub(crate) depths: [usize; 2],
    /// What must have been seen by then: a search in which nothing happens shows nothing.
    pub(crate) sees: Seen,
}

fn node(id: u64, append_bytes_max: usize, disk: Disk) -> Node {
    let config = Config {
        id: NodeId(id),
        incarnation: Incarnation(1),
        seed: id,
        election_ticks: 1 << 20, // nobody's clock decides here
        heartbeat_ticks: 1,
        append_bytes_max,
        inflight_appends_max: 64,
        inflight_bytes_max: 8 << 20,
        uncommitted_bytes_max: 16 << 20,
        unsaved_bytes_max: 16 << 20,
    };
    Node::new(config, disk)
}

fn disk(term: u64, terms: &[u64]) -> Disk {
    let meta = |(index, term): (u64, &u64)| EntryMeta { index: Index(index), term: Term(*term), payload_len: 10, kind: EntryKind::Command };
    let entries = (1..).zip(terms).map(meta).collect();
    Disk { hard_state: HardState { term: Term(term), voted_for: None }, entries, ..Disk::default() }
}

const ALL: usize = 1 << 20; // bytes in an append: more than there are

/// n1 leads t1, everybody has its no-op and knows that it is committed.
const LED: Model = Model {
    name: "",
    nodes: || [1, 2, 3].map(|id| node(id, ALL, Disk::default())),
    is_symmetric: false,
    before: &[(1, Event::Campaign), (1, Event::Beat)],
    left: Left::nothing(),
    depths: [0, 0],
    sees: Seen { term_max: 1, committed_max: 1, reads: 0, installs: 0 },
};

/// From nothing, with crashes before, in and after every save.
const ELECTIONS: Model = Model {
    name: "elections",
    is_symmetric: true,
    before: &[],
    left: Left::nothing().and(2, Kind::Campaign).and(1, Kind::Crash).and(ANY, Kind::LateSave),
    depths: [11, 17],
    ..LED
};

const REPLICATION: Model = Model {
    name: "replication",
    left: Left::nothing().and(1, Kind::Campaign).and(1, Kind::Forget).and(1, Kind::Propose).and(1, Kind::Crash).and(ANY, Kind::LateSave),
    depths: [14, 30],
    sees: Seen { term_max: 2, committed_max: 3, ..LED.sees },
    ..LED
};

/// Appends that arrive twice and out of order.
const REPEATS: Model = Model {
    name: "repeats",
    left: Left::nothing().and(2, Kind::Propose).and(1, Kind::Repeat).and(1, Kind::Campaign).and(1, Kind::Forget),
    depths: [10, 16],
    sees: Seen { committed_max: 3, ..LED.sees },
    ..LED
};

/// One entry in an append, so that an older one can reach a majority before the first of the leader's own term (figure 8).
const FIGURE_8: Model = Model {
    name: "figure 8",
    nodes: || [node(1, 1, disk(2, &[1])), node(2, 1, disk(2, &[2])), node(3, 1, disk(2, &[]))],
    before: &[],
    left: Left::nothing().and(2, Kind::Campaign).and(1, Kind::Forget),
    depths: [17, 60],
    sees: Seen { term_max: 4, committed_max: 2, ..LED.sees },
    ..LED
};

/// Logs that an earlier leader left in three lengths and two terms.
const DIVERGED: Model = Model {
    name: "diverged",
    nodes: || [node(1, ALL, disk(2, &[1, 1])), node(2, ALL, disk(2, &[1, 2])), node(3, ALL, disk(2, &[1]))],
    before: &[],
    left: Left::nothing().and(2, Kind::Campaign).and(1, Kind::Beat).and(1, Kind::LateSave),
    depths: [11, 17],
    sees: Seen { term_max: 3, committed_max: 3, ..LED.sees },
    ..LED
};

/// A leader is deposed, and a read is asked anywhere.
const READS: Model = Model {
    name: "reads",
    left: Left::nothing().and(1, Kind::Campaign).and(1, Kind::Forget).and(1, Kind::Propose).and(1, Kind::Read),
    depths: [14, 40],
    sees: Seen { term_max: 2, committed_max: 3, reads: 1, installs: 0 },
    ..LED
};

/// Two reads, and so two rounds, around an election.
const ROUNDS: Model = Model {
    name: "rounds",
    left: Left::nothing().and(1, Kind::Campaign).and(1, Kind::Forget).and(2, Kind::Read),
    depths: [13, 40],
    sees: Seen { term_max: 2, committed_max: 2, reads: 1, installs: 0 },
    ..LED
};

/// Reads of two lives of one node.
const LIVES: Model = Model {
    name: "lives",
    left: Left::nothing().and(1, Kind::Crash).and(1, Kind::Propose).and(2, Kind::Read),
    depths: [12, 15],
    sees: Seen { committed_max: 2, reads: 1, ..LED.sees },
    ..LED
};

const SNAPSHOTS: Model = Model {
    name: "snapshots",
    left: Left::nothing().and(1, Kind::Propose).and(2, Kind::Compact).and(1, Kind::Beat).and(1, Kind::Crash).and(1, Kind::LateSave),
    depths: [12, 40],
    sees: Seen { committed_max: 2, installs: 1, ..LED.sees },
    ..LED
};

/// Searches to the depth that tests take, that `cargo xtask explore` takes (`KVRAFT_EXPLORE=deep`), or that it was told.
fn explore(model: Model) {
    let [in_tests, deep] = model.depths;
    let asked = std::env::var("KVRAFT_EXPLORE").ok();
    let depth = match asked.as_deref() {
        None => in_tests,
        Some("deep") => deep,
        Some(depth) => depth.parse().expect("KVRAFT_EXPLORE is `deep` or a depth"),
    };
    match search(model, depth) {
        Ok(searched) => {
            println!("\n{searched}");
            let Seen { term_max, committed_max, reads, installs } = searched.seen;
            let has_seen = model.sees.term_max <= term_max && model.sees.committed_max <= committed_max;
            assert!(
                depth < in_tests || (has_seen && model.sees.reads <= reads && model.sees.installs <= installs),
                "too little happens: {:?} is to be seen at least",
                model.sees
            );
        }
        Err(breach) => panic!("{}: {}\n  {}", model.name, breach.why, breach.way.join("\n  ")),
    }
}

#[test]
fn elections() {
    explore(ELECTIONS);
}

#[test]
fn replication() {
    explore(REPLICATION);
}

#[test]
fn repeats() {
    explore(REPEATS);
}

#[test]
fn figure_8() {
    explore(FIGURE_8);
}

#[test]
fn diverged() {
    explore(DIVERGED);
}

#[test]
fn reads() {
    explore(READS);
}

#[test]
fn rounds() {
    explore(ROUNDS);
}

#[test]
fn lives() {
    explore(LIVES);
}

#[test]
fn snapshots() {
    explore(SNAPSHOTS);
}
