//! The teaching labs' rounds of snapshots, R-D1, R-D2, R-D4, R-D6 and R-D7 (`tests/lab-cases.tsv`), on the core: a service takes a
//! snapshot at every tenth entry and keeps nothing of the log below it, while nodes are cut off or dead.
//!
//! Time is ticks: the labs' heartbeat of 100 ms is one, so an agreement has 100 of them for the labs' 10 s. The labs count the bytes that
//! a node persists beside its snapshot; here that is what a node of ours writes: the hard state and the entries, encoded.

use raft::*;

use crate::cluster::Cluster;

const NODES: u64 = 3;
/// The labs' own limit for what a node persists beside its snapshot.
const LOG_BYTES_MAX: u64 = 2000;
/// What a node of ours writes as its hard state.
const HARD_STATE_LEN: u64 = 16;
const SNAPSHOT_EVERY: u64 = 10;
const AGREEMENT_TICKS: usize = 100;

/// What becomes of a node in every round.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    None,
    Cut,
    Crash,
}

struct Service {
    cluster: Cluster,
    away: Option<u64>,
    random: fastrand::Rng,
    /// The longest log at any moment.
    longest: u64,
}

impl Service {
    fn new(seed: u64) -> Service {
        Service { cluster: Cluster::new(NODES), away: None, random: fastrand::Rng::with_seed(seed), longest: 0 }
    }

    fn connected(&self) -> impl Iterator<Item = u64> + use<'_> {
        (1..=NODES).filter(|node| Some(*node) != self.away)
    }

    /// What a node persists beside its snapshot.
    fn log_bytes(&self, node: u64) -> u64 {
        let raft = self.cluster.raft(node);
        let entries = raft.log().from(raft.snapshot().index.next());
        HARD_STATE_LEN + entries.iter().map(|entry| ENTRY_HEADER_LEN as u64 + u64::from(entry.payload_len)).sum::<u64>()
    }

    /// The labs' service is handed one entry at a time; ours may be handed several, and then looks once.
    fn take_snapshots(&mut self) {
        for node in 1..=NODES {
            let raft = self.cluster.raft(node);
            let round = |index: Index| (index.0 + 1) / SNAPSHOT_EVERY;
            if self.cluster.is_up(node) && round(raft.snapshot().index) < round(raft.applied_index()) {
                self.cluster.compact_all(node);
                assert_eq!(self.cluster.raft(node).log().base(), self.cluster.raft(node).snapshot(), "the log is trimmed");
            }
        }
    }

    /// Whatever is on its way arrives, snapshots included.
    fn settle(&mut self) {
        for node in 1..=NODES {
            if self.cluster.is_up(node) {
                self.cluster.turn(node);
            }
        }
        loop {
            self.check_log_bytes(); // the labs look only when all is quiet
            self.take_snapshots();
            if let Some(envelope) = self.cluster.queue.pop_front() {
                self.cluster.deliver(envelope);
                continue;
            }
            let wants = self.connected().find(|node| self.cluster.is_up(*node) && self.cluster.raft(*node).wanted_snapshot().is_some());
            match wants {
                Some(node) if self.cluster.fetch(node) && self.cluster.install(node) => {}
                _ => return,
            }
        }
    }

    fn tick(&mut self) {
        for node in 1..=NODES {
            if self.cluster.is_up(node) {
                self.cluster.tick(node, 1);
            }
        }
        self.settle();
    }

    fn leader(&self) -> Option<u64> {
        let leaders = self.connected().filter(|node| self.cluster.is_up(*node) && self.cluster.raft(*node).is_leader());
        leaders.max_by_key(|node| self.cluster.raft(*node).term())
    }

    fn one_leader(&mut self) -> u64 {
        for _ in 0..AGREEMENT_TICKS {
            if let Some(leader) = self.leader() {
                return leader;
            }
            self.tick();
        }
        panic!("no leader within {AGREEMENT_TICKS} ticks");
    }

    /// A command that so many nodes apply at the index where it was accepted, which is returned.
    fn agree(&mut self, nodes: usize) -> Index {
        let mut offered: Option<EntryId> = None;
        for _ in 0..AGREEMENT_TICKS {
            // It may have been accepted by a leader that could not keep it: then it is offered again.
            if offered.is_none_or(|entry| self.leader().is_some_and(|leader| !self.cluster.raft(leader).log().holds(entry))) {
                offered = self.leader().and_then(|leader| self.cluster.propose(leader).ok());
                self.settle();
            }
            let applied = |entry: &EntryId| (1..=NODES).filter(|node| self.cluster.member(*node).applied.contains(entry)).count();
            match offered {
                Some(entry) if nodes <= applied(&entry) => return entry.index,
                _ => self.tick(),
            }
        }
        panic!(
            "{nodes} nodes did not agree within {AGREEMENT_TICKS} ticks: {}",
            self.cluster.trace[self.cluster.trace.len() - 20..].join("\n")
        );
    }

    fn check_log_bytes(&mut self) {
        for node in 1..=NODES {
            let bytes = self.log_bytes(node);
            assert!(bytes < LOG_BYTES_MAX, "n{node} persists {bytes} bytes beside its snapshot");
            self.longest = self.longest.max(bytes);
        }
    }

    fn leave(&mut self, node: u64, fault: Fault) {
        match fault {
            Fault::None => return,
            Fault::Cut => self.cluster.isolate(node),
            Fault::Crash => self.cluster.crash(node, true),
        }
        self.away = Some(node);
    }

    fn come_back(&mut self) {
        if let Some(node) = self.away.take() {
            self.cluster.heal();
            if !self.cluster.is_up(node) {
                self.restart(node);
            }
        }
    }

    fn restart(&mut self, node: u64) {
        let (snapshot, term) = (self.cluster.raft(node).snapshot(), self.cluster.raft(node).term());
        self.cluster.restart(node);
        let raft = self.cluster.raft(node);
        assert_eq!((raft.snapshot(), raft.log().base(), raft.term()), (snapshot, snapshot, term), "a restart is from what was persisted");
        let restored = self.cluster.member(node).applied.contains(&snapshot);
        assert!(restored || snapshot == EntryId::default(), "the snapshot {snapshot} was wiped");
    }

    fn restart_all(&mut self) {
        for node in 1..=NODES {
            self.cluster.crash(node, true);
        }
        self.cluster.queue.clear();
        for node in 1..=NODES {
            self.restart(node);
        }
    }

    /// Every node holds the same, from entry 1 on.
    fn check_equal(&mut self) {
        self.agree(3);
        let first = self.cluster.member(1).applied.clone();
        assert!(first.iter().map(|entry| entry.index.0).eq(1..=first.len() as u64), "no gaps");
        for node in 2..=NODES {
            assert_eq!(self.cluster.member(node).applied, first, "n{node} holds what n1 holds");
        }
    }
}

/// The labs' common body; how many snapshots were installed.
fn rounds(fault: Fault, seed: u64) -> usize {
    let mut service = Service::new(seed);
    service.agree(3);
    for round in 0..30 {
        let leader = service.one_leader();
        let next = leader % NODES + 1;
        let (victim, sender) = if round % 3 == 1 { (leader, next) } else { (next, leader) };
        let others = if fault == Fault::None { 3 } else { 2 };
        service.leave(victim, fault);
        if fault != Fault::None {
            service.agree(others);
        }
        for _ in 0..service.random.u64(5..=14) {
            let _ = service.cluster.propose(sender); // refused, as in the labs, if it does not lead
        }
        service.settle();
        service.agree(others);
        service.check_log_bytes();
        service.come_back();
        service.agree(3);
        service.one_leader();
        service.check_log_bytes();
    }
    service.check_equal();
    assert!(service.cluster.safety.compactions > 30, "{} compactions", service.cluster.safety.compactions);
    assert!(service.longest > 200, "nothing was ever in the log: {} bytes", service.longest);
    println!("{fault:?}: at most {} bytes beside a snapshot, {} installs", service.longest, service.cluster.safety.installs);
    service.cluster.safety.installs
}

const SEEDS: std::ops::Range<u64> = 0..5;

#[test]
fn r_d1_snapshots_keep_the_log_short_and_are_sent_to_nobody_who_is_there() {
    for seed in SEEDS {
        assert_eq!(rounds(Fault::None, seed), 0);
    }
}

#[test]
fn r_d2_a_node_that_was_cut_off_installs_a_snapshot() {
    for seed in SEEDS {
        assert!(rounds(Fault::Cut, seed) > 5);
    }
}

#[test]
fn r_d4_a_node_that_was_dead_installs_a_snapshot() {
    for seed in SEEDS {
        assert!(rounds(Fault::Crash, seed) > 5);
    }
}

#[test]
fn r_d6_all_nodes_restart_from_snapshot_and_tail() {
    for seed in SEEDS {
        let mut service = Service::new(seed);
        service.agree(3);
        for _ in 0..5 {
            for _ in 0..service.random.u64(5..=14) {
                service.agree(3);
            }
            let before = service.agree(3);
            service.restart_all();
            let after = service.agree(3);
            assert!(before < after, "{after} after {before}");
            service.check_log_bytes();
        }
        service.check_equal();
        assert!((1..=NODES).all(|node| service.cluster.raft(node).snapshot().index > Index(20)), "snapshots are taken");
    }
}

#[test]
fn r_d7_the_first_write_after_a_restart_leaves_the_snapshot_in_place() {
    let mut service = Service::new(0);
    service.agree(3);
    for _ in 0..11 {
        service.agree(3);
    }
    let snapshots: Vec<EntryId> = (1..=NODES).map(|node| service.cluster.raft(node).snapshot()).collect();
    assert!(snapshots.iter().all(|snapshot| snapshot.index >= Index(9)), "{snapshots:?}");
    for _ in 0..2 {
        service.restart_all(); // asserts that each begins with its snapshot
        service.agree(3);
    }
    service.check_equal();
}
