//! Schedules that once broke a cluster, on whole nodes with fake disks: each is a story of what must not happen again. Time passes in
//! ticks of 10 ms, messages arrive at once, and connections are made as the server makes them: both sides judge the other's greeting.

use std::collections::{BTreeMap, BTreeSet};

use data::{FakeDisk, Identity, InitialMember, Options, Store};
use kvnode::{ClientId, MaxLogBytes, Node, NodeConfig, Outbox, drive};
use raft::{DiskId, EntryHeader, EntryKind, EntryMeta, Incarnation, Index, Message, NodeId, Term};
use wire::{CallId, Op, PeerFrame, Reply, Request, SessionId};

const TICK_US: u64 = 10_000;

#[derive(Default)]
struct Sent {
    messages: Vec<(NodeId, Message, Vec<u8>)>,
    replies: Vec<Reply>,
}

impl Outbox for Sent {
    fn send(&mut self, to: NodeId, message: &Message, entries: &[u8]) {
        self.messages.push((to, message.clone(), entries.to_vec()));
    }

    fn send_beside(&mut self, _: NodeId, _: &PeerFrame<'_>) {}

    fn flush(&mut self) {}

    fn reply(&mut self, _: ClientId, _: u64, reply: &Reply) {
        self.replies.push(reply.clone());
    }
}

struct Host {
    identity: Identity,
    disk: FakeDisk,
    running: Option<(Node, Store<FakeDisk>)>,
    life: u64,
}

/// Some of so many nodes.
struct World {
    count: u64,
    hosts: BTreeMap<u64, Host>,
    /// Who can send to whom.
    links: BTreeSet<(u64, u64)>,
    now_us: u64,
    seq: u64,
}

impl World {
    fn new(count: u64) -> World {
        World { count, hosts: BTreeMap::new(), links: BTreeSet::new(), now_us: 0, seq: 0 }
    }

    /// So many nodes, all up, and one leads.
    fn serving(count: u64) -> World {
        let mut world = World::new(count);
        (1..=count).for_each(|id| world.init(id, id.into()));
        (1..=count).for_each(|id| world.start(id));
        world.run_until("it serves", |world| world.leader().is_some_and(|leader| world.node(leader).status().formed));
        world
    }

    /// `kvnode init`, in place of whatever was there.
    fn init(&mut self, id: u64, disk_id: u128) {
        assert!(!self.is_up(id), "n{id} is running");
        let member = |id| InitialMember { id: NodeId(id), name: format!("n{id}"), peer_addr: format!("n{id}:7217") };
        let members: Vec<InitialMember> = (1..=self.count).map(member).collect();
        let named: Vec<(&str, &str)> = members.iter().map(|member| (member.name.as_str(), member.peer_addr.as_str())).collect();
        let cluster_id = data::cluster_id("", &named);
        let identity =
            Identity { cluster_id, node: NodeId(id), name: format!("n{id}"), disk_id: DiskId(disk_id), members: members.clone() };
        let mut disk = FakeDisk::new();
        data::init(&mut disk, &identity, &kvnode::first_entry(&members)).expect("an empty disk takes a node");
        let life = self.hosts.get(&id).map_or(0, |host| host.life);
        self.hosts.insert(id, Host { identity, disk, running: None, life });
    }

    fn start(&mut self, id: u64) {
        let now_us = self.now_us;
        let host = self.host(id);
        host.life += 1;
        let (mut store, recovered) = Store::open(host.disk.clone(), &host.identity, Options::default()).expect("a good disk");
        let config = NodeConfig {
            identity: host.identity.clone(),
            incarnation: Incarnation(host.life * 10 + id),
            seed: host.life + id * 77,
            client_addr: format!("n{id}:7117"),
            peer_addr: format!("n{id}:7217"),
            version: "test".into(),
            election_ticks: 30,
            heartbeat_ticks: 5,
            tick_us: TICK_US,
            max_data_bytes: None,
            max_log_bytes: MaxLogBytes::Never,
            max_log_entries: None,
        };
        let node = Node::new(config, recovered, &mut store, now_us).expect("a good log");
        host.running = Some((node, store));
        self.pump(id);
    }

    fn kill(&mut self, id: u64) {
        self.host(id).running = None;
        self.host(id).disk.kill();
        self.links.retain(|(from, to)| *from != id && *to != id);
    }

    fn host(&mut self, id: u64) -> &mut Host {
        self.hosts.get_mut(&id).expect("it was initialised")
    }

    fn is_up(&self, id: u64) -> bool {
        self.hosts.get(&id).is_some_and(|host| host.running.is_some())
    }

    fn node(&self, id: u64) -> &Node {
        &self.hosts[&id].running.as_ref().expect("it is up").0
    }

    fn node_mut(&mut self, id: u64) -> &mut Node {
        &mut self.host(id).running.as_mut().expect("it is up").0
    }

    fn up(&self) -> Vec<u64> {
        self.hosts.keys().copied().filter(|id| self.is_up(*id)).collect()
    }

    fn leader(&self) -> Option<u64> {
        let leaders = self.up().into_iter().filter(|id| self.node(*id).raft().is_leader());
        leaders.max_by_key(|id| self.node(*id).raft().term())
    }

    /// Whoever is up dials whoever is up: the one that is dialled judges the greeting, then the one that has dialled judges the answer.
    fn greet(&mut self) {
        for dialler in self.up() {
            for dialled in self.up() {
                if dialler == dialled || self.links.contains(&(dialler, dialled)) {
                    continue;
                }
                let hello = self.node(dialler).hello(Some(NodeId(dialled)));
                let answer = self.node(dialled).hello(None);
                if self.node_mut(dialled).greeted(&hello).is_ok() && self.node_mut(dialler).greeted(&answer).is_ok() {
                    self.links.insert((dialler, dialled));
                }
            }
        }
    }

    /// Drives a node until it has nothing left to do, and delivers what it says.
    fn pump(&mut self, id: u64) -> Vec<Reply> {
        let mut sent = Sent::default();
        let (node, store) = self.host(id).running.as_mut().expect("it is up");
        loop {
            drive(node, store, &mut sent).expect("a disk without faults");
            if !node.has_work() {
                break;
            }
        }
        if store.needs_prepare() {
            store.prepare_slice().expect("a disk without faults");
        }
        for (to, message, entries) in sent.messages {
            if self.links.contains(&(id, to.0)) && self.is_up(to.0) {
                self.node_mut(to.0).peer_message(NodeId(id), message, &entries);
            }
        }
        sent.replies
    }

    fn settle(&mut self) -> Vec<Reply> {
        (0..6).flat_map(|_| self.up()).collect::<Vec<u64>>().into_iter().flat_map(|id| self.pump(id)).collect()
    }

    fn run(&mut self, ticks: u64) -> Vec<Reply> {
        let mut replies = Vec::new();
        for _ in 0..ticks {
            self.now_us += TICK_US;
            self.greet();
            let now_us = self.now_us;
            self.up().into_iter().for_each(|id| self.node_mut(id).tick(1, now_us));
            replies.extend(self.settle());
        }
        replies
    }

    #[track_caller]
    fn run_until(&mut self, what: &str, is_so: impl Fn(&World) -> bool) {
        for _ in 0..3_000 {
            if is_so(self) {
                return;
            }
            self.run(1);
        }
        panic!("not within 30 s: {what}\n{}", self.describe());
    }

    fn describe(&self) -> String {
        let line = |id: u64| {
            let raft = self.node(id).raft();
            format!("{raft} of {}, commit {}, formed {}\n", raft.term(), raft.commit_index(), self.node(id).status().formed)
        };
        self.up().into_iter().map(line).collect()
    }

    /// Asks for a put; its answer comes with a later turn.
    fn put(&mut self, id: u64, key: &[u8], value: &[u8]) {
        self.seq += 1;
        let seq = self.seq;
        let call = CallId { session: SessionId(9), birth_index: Index(1), seq, first_unanswered: seq };
        let mut command = Vec::new();
        wire::encode_write(&call, &Op::Put { key, value }, &mut command);
        let now_us = self.now_us;
        self.node_mut(id).request(ClientId(1), seq, Request::Write { command: &command }, now_us);
    }
}

// Members that lie.

#[test]
fn an_append_that_repeats_an_entry_behind_another_replaces_both() {
    let header = |term| EntryHeader { term: Term(term), time_ms: 0, payload_len: 0, kind: EntryKind::NoOp };
    let meta = |(index, term): (u64, &u64)| EntryMeta { index: Index(index), term: Term(*term), payload_len: 0, kind: EntryKind::NoOp };
    let mut world = World::new(3);
    world.init(1, 1);
    world.init(2, 2);
    world.start(1);
    world.start(2);
    world.greet();
    world.kill(2);
    // No honest log has an entry of term 3 behind a lower one and behind another of term 3 at once.
    for terms in [&[1, 3][..], &[3, 3]] {
        let entries: Vec<u8> = terms.iter().flat_map(|term| header(*term).encode()).collect();
        let metas = (2..).zip(terms).map(meta).collect();
        let (prev_log_index, prev_log_term) = (Index(1), Term(0));
        let message = Message::Append { term: Term(5), prev_log_index, prev_log_term, leader_commit: Index(1), entries: metas };
        world.node_mut(1).peer_message(NodeId(2), message, &entries);
        world.pump(1);
        let term_at = |index| world.node(1).raft().log().term_at(Index(index)).map_or(0, |term| term.0);
        assert_eq!([term_at(2), term_at(3)], terms);
    }
}

// Time and slow disks.

#[test]
fn a_node_alone_leads_however_slow_its_disk_is() {
    let mut world = World::new(1);
    world.init(1, 1);
    world.hosts[&1].disk.set_sync_us(3_000_000);
    world.start(1);
    world.run_until("it serves", |world| world.node(1).raft().is_leader() && world.node(1).status().formed);
    let term = world.node(1).raft().term();
    world.put(1, b"k", b"v");
    let replies = world.run(1);
    assert!(matches!(replies[..], [Reply::Written(_)]), "{replies:?}");
    assert_eq!((world.node(1).raft().is_leader(), world.node(1).raft().term()), (true, term));
}

#[test]
fn cluster_time_passes_under_load_as_it_does_without() {
    let mut world = World::serving(1);
    let time_ms = |world: &mut World| {
        let (node, store) = world.host(1).running.as_mut().expect("it is up");
        let last = node.raft().log().last_index();
        EntryHeader::decode(store.entry(last).expect("it is there")).expect("a good entry").time_ms
    };
    let (before, start_us) = (time_ms(&mut world), world.now_us);
    for _ in 0..1_000 {
        world.now_us += 900;
        world.put(1, b"k", b"v");
        assert!(matches!(world.pump(1)[..], [Reply::Written(_)]));
    }
    let (passed_ms, passed_here_ms) = (time_ms(&mut world) - before, (world.now_us - start_us) / 1000);
    assert!(passed_ms + 1 >= passed_here_ms, "cluster time went on by {passed_ms} of {passed_here_ms} ms");
}
