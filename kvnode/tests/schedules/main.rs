//! Schedules that once broke a cluster, on whole nodes with fake disks: each is a story of what must not happen again. Time passes in
//! ticks of 10 ms, messages arrive at once, and connections are made as the server makes them: both sides judge the other's greeting.

mod formation; // first elections, and disks that are wiped around them
mod snapshots; // transfers that break off, and logs that grow too long

use std::collections::{BTreeMap, BTreeSet};

use data::{FakeDisk, Identity, InitialMember, Options, Store};
use kvnode::{Bounds, ClientId, Event, MaxLogBytes, Node, NodeConfig, Outbox, drive};
use raft::{AppendOutcome, DiskId, EntryHeader, EntryId, EntryKind, EntryMeta, Incarnation, Index, Message, NodeId, Term};
use wire::frame::FrameBuffer;
use wire::limits::FRAME_BODY_LEN_MAX;
use wire::{BusyReason, CallId, Expect, Op, PeerFrame, Reply, Request, SessionId, WriteOutcome};

const TICK_US: u64 = 10_000;

#[derive(Default)]
struct Sent {
    messages: Vec<(NodeId, Message, Vec<u8>)>,
    /// Frames beside raft's.
    beside: Vec<(NodeId, Vec<u8>)>,
    replies: Vec<Reply>,
}

impl Outbox for Sent {
    fn send(&mut self, to: NodeId, message: &Message, entries: &[u8]) {
        self.messages.push((to, message.clone(), entries.to_vec()));
    }

    fn send_beside(&mut self, to: NodeId, frame: &PeerFrame<'_>) {
        let mut bytes = Vec::new();
        wire::peer::encode_peer(frame, &mut bytes);
        self.beside.push((to, bytes));
    }

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

/// Whether a message from one node to another is lost.
type Loses = Box<dyn Fn(u64, u64, &Message) -> bool>;

/// Some of so many nodes.
struct World {
    count: u64,
    hosts: BTreeMap<u64, Host>,
    /// Who can send to whom.
    links: BTreeSet<(u64, u64)>,
    loses: Loses,
    max_log_bytes: MaxLogBytes,
    /// Chunks of snapshots from this offset on are lost.
    chunks_lost_from: Option<u64>,
    /// Every question for a chunk: which snapshot, from where on.
    fetches: Vec<(EntryId, u64)>,
    /// Chunks that were sent, lost ones included.
    chunks: u64,
    /// Snapshots that became the state of a node.
    installed: Vec<EntryId>,
    /// Of every term that had one.
    leaders: BTreeMap<Term, u64>,
    now_us: u64,
    seq: u64,
}

impl World {
    fn new(count: u64) -> World {
        World {
            count,
            hosts: BTreeMap::new(),
            links: BTreeSet::new(),
            loses: Box::new(|_, _, _| false),
            max_log_bytes: MaxLogBytes::Never,
            chunks_lost_from: None,
            fetches: Vec::new(),
            chunks: 0,
            installed: Vec::new(),
            leaders: BTreeMap::new(),
            now_us: 0,
            seq: 0,
        }
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
        let (now_us, max_log_bytes) = (self.now_us, self.max_log_bytes);
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
            max_log_bytes,
            max_log_entries: None,
            bounds: Bounds::default(),
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
        while store.needs_trim() {
            store.trim_slice().expect("a disk without faults");
        }
        for event in node.take_events() {
            match event {
                Event::Refused { node: NodeId(peer), .. } => self.links.retain(|link| *link != (id, peer) && *link != (peer, id)),
                Event::Installed { last, .. } => self.installed.push(last),
                _ => {}
            }
        }
        let raft = self.node(id).raft();
        if raft.is_leader() {
            let term = raft.term();
            let leader = *self.leaders.entry(term).or_insert(id);
            assert_eq!(leader, id, "two leaders of {term}\n{}", self.describe());
        }
        for (to, message, entries) in sent.messages {
            if self.links.contains(&(id, to.0)) && self.is_up(to.0) && !(self.loses)(id, to.0, &message) {
                self.node_mut(to.0).peer_message(NodeId(id), message, &entries);
            }
        }
        for (NodeId(to), bytes) in sent.beside {
            if !self.links.contains(&(id, to)) || !self.is_up(to) {
                continue;
            }
            let mut received = FrameBuffer::new(FRAME_BODY_LEN_MAX);
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let space = received.space();
                let len = space.len().min(rest.len());
                space[..len].copy_from_slice(&rest[..len]);
                received.filled(len);
                rest = &rest[len..];
            }
            let frame = wire::decode_peer(received.next().expect("a good frame").expect("a whole one")).expect("what a node said");
            let is_lost = match frame {
                PeerFrame::SnapshotChunk { offset, .. } => {
                    self.chunks += 1;
                    self.chunks_lost_from.is_some_and(|from| from <= offset)
                }
                PeerFrame::SnapshotFetch { last, offset } => {
                    self.fetches.push((last, offset));
                    false
                }
                _ => false,
            };
            if !is_lost {
                self.node_mut(to).peer_beside(NodeId(id), frame);
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
        self.write(id, &Op::Put { key, value });
    }

    fn write(&mut self, id: u64, op: &Op<'_>) {
        self.seq += 1;
        let seq = self.seq;
        let call = CallId { session: SessionId(9), birth_index: Index(1), seq, first_unanswered: seq };
        let mut command = Vec::new();
        wire::encode_write(&call, op, &mut command);
        let now_us = self.now_us;
        self.node_mut(id).request(ClientId(1), seq, Request::Write { command: &command }, now_us);
    }

    fn get(&mut self, id: u64, key: &[u8]) {
        let now_us = self.now_us;
        self.node_mut(id).request(ClientId(1), 0, Request::Get { key }, now_us);
    }
}

// Writes side by side.

#[test]
fn of_two_swaps_that_wait_side_by_side_for_the_same_version_one_is_made() {
    use WriteOutcome::*;
    let mut world = World::serving(3);
    world.put_done(b"k", b"v");
    let leader = world.leader().expect("it serves");
    // Both are in the log before either is applied: what a swap finds is what stands there when its turn has come.
    for value in [b"one", b"two"] {
        world.write(leader, &Op::Cas { key: b"k", expect: Expect::Version(1), value });
    }
    let replies = world.run(10);
    let [Reply::Written(first), Reply::Written(second)] = &replies[..] else { panic!("{replies:?}") };
    assert_eq!([(first.outcome, first.version), (second.outcome, second.version)], [(Swapped, 2), (NotSwapped, 2)]);
    assert_eq!(world.get_done(b"k").as_deref(), Some(&b"one"[..]));
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
    for (leader_term, terms) in [(5, &[1, 3][..]), (6, &[3, 3])] {
        let entries: Vec<u8> = terms.iter().flat_map(|term| header(*term).encode()).collect();
        let metas = (2..).zip(terms).map(meta).collect();
        let (prev_log_index, prev_log_term) = (Index(1), Term(0));
        let message = Message::Append { term: Term(leader_term), prev_log_index, prev_log_term, leader_commit: Index(1), entries: metas };
        world.node_mut(1).peer_message(NodeId(2), message, &entries);
        world.pump(1);
        let term_at = |index| world.node(1).raft().log().term_at(Index(index)).map_or(0, |term| term.0);
        assert_eq!([term_at(2), term_at(3)], terms);
    }
}

/// Something a member may say to this node, sense or nonsense: the frame is good, and the bytes are those of the entries.
fn any_message(random: &mut fastrand::Rng, to: &raft::Raft) -> (Message, Vec<u8>) {
    let header = |term| EntryHeader { term: Term(term), time_ms: 0, payload_len: 0, kind: EntryKind::NoOp };
    // Mostly of the term that it is in.
    let term = Term(match random.u32(0..16) {
        0 => to.term().0.saturating_sub(1),
        1 => to.term().0 + 1,
        _ => to.term().0,
    });
    let index = Index(random.u64(0..to.log().last_index().0 + 2));
    let true_term = to.log().term_at(index).filter(|_| random.u32(0..6) > 0);
    let log_term = true_term.unwrap_or(Term(random.u64(0..=term.0)));
    let (vote_granted, leader_commit) = (random.bool(), Index(random.u64(0..=index.0)));
    let mut terms: Vec<u64> = (0..random.usize(0..4)).map(|_| random.u64(log_term.0.min(term.0)..=term.0)).collect();
    terms.sort_unstable();
    let message = match random.u32(0..12) {
        0 => Message::PreVote { term, last_log_index: index, last_log_term: log_term },
        1 => Message::PreVoteReply { term, vote_granted },
        2 => Message::RequestVote { term, last_log_index: index, last_log_term: log_term, transfer: vote_granted },
        3 => Message::RequestVoteReply { term, vote_granted },
        4 => Message::AppendReply { term, outcome: AppendOutcome::Accepted { match_index: index } },
        5 => Message::Heartbeat { term, leader_commit, read_token: None },
        6 => Message::InstallSnapshot { term, last_included: EntryId { index, term: log_term } },
        _ => {
            let meta = |(at, term): (u64, &u64)| EntryMeta { index: Index(at), term: Term(*term), payload_len: 0, kind: EntryKind::NoOp };
            let entries = (index.0 + 1..).zip(&terms).map(meta).collect();
            Message::Append { term, prev_log_index: index, prev_log_term: log_term, leader_commit, entries }
        }
    };
    let bytes = if matches!(message, Message::Append { .. }) { terms } else { Vec::new() };
    (message, bytes.into_iter().flat_map(|term| header(term).encode()).collect())
}

#[test]
fn whatever_members_say_several_times_a_turn_beside_slow_syncs_stops_no_node() {
    let mut most_entries = 0;
    for seed in 0..1_000 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut world = World::three();
        (1..=3).for_each(|id| world.start(id));
        world.greet();
        world.kill(2);
        world.kill(3);
        world.hosts[&1].disk.hold_syncs(true);
        for _ in 0..40 {
            for _ in 0..random.u32(0..4) {
                let (message, entries) = any_message(&mut random, world.node(1).raft());
                world.node_mut(1).peer_message(NodeId(random.u64(2..4)), message, &entries);
            }
            if random.u32(0..3) == 0 {
                world.hosts[&1].disk.finish_sync();
            }
            if random.u32(0..8) == 0 {
                world.now_us += TICK_US;
                let now_us = world.now_us;
                world.node_mut(1).tick(random.u32(0..40), now_us);
            }
            world.pump(1);
        }
        most_entries = most_entries.max(world.last_index(1));
    }
    assert!(most_entries > 6, "hardly anything was ever believed: {most_entries}");
}

// What other stories need, too.

fn is_append(message: &Message) -> bool {
    matches!(message, Message::Append { .. })
}

impl World {
    /// Three nodes that have never been up.
    fn three() -> World {
        let mut world = World::new(3);
        (1..=3).for_each(|id| world.init(id, u128::from(id)));
        world
    }

    fn last_index(&self, id: u64) -> u64 {
        self.node(id).raft().log().last_index().0
    }

    /// A put that is done, at whoever leads.
    #[track_caller]
    fn put_done(&mut self, key: &[u8], value: &[u8]) {
        self.run_until("somebody leads", |world| world.leader().is_some());
        self.put(self.leader().expect("it was just there"), key, value);
        let replies = self.run(100);
        assert!(matches!(replies[..], [Reply::Written(_)]), "{replies:?}\n{}", self.describe());
    }

    /// What whoever leads has under `key`.
    #[track_caller]
    fn get_done(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        self.run_until("somebody leads", |world| world.leader().is_some());
        self.get(self.leader().expect("it was just there"), key);
        match <[Reply; 1]>::try_from(self.run(100)) {
            Ok([Reply::Value { value, .. }]) => value.map(|value| value.value),
            other => panic!("{other:?}\n{}", self.describe()),
        }
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
fn a_leader_that_was_deaf_for_longer_than_an_election_may_take_leads_no_longer() {
    for (sync_us, leads_on) in [(299_000, true), (301_000, false)] {
        let mut world = World::serving(3);
        let leader = world.leader().expect("it serves");
        world.hosts[&leader].disk.set_sync_us(sync_us);
        world.put(leader, b"k", b"v");
        let replies = world.pump(leader);
        assert_eq!((world.node(leader).raft().is_leader(), replies.contains(&Reply::LeadershipLost)), (leads_on, !leads_on));
        world.hosts[&leader].disk.set_sync_us(0);
        world.run(10);
        world.put_done(b"k", b"another");
    }
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

// Full disks.

impl World {
    /// From now on this node's disk takes nothing more than it holds.
    fn fill(&mut self, id: u64) {
        let disk = &self.hosts[&id].disk;
        let used: usize = disk.files().iter().filter_map(|file| disk.content(file)).map(|content| content.len()).sum();
        disk.set_space(Some(used as u64));
    }

    /// Puts of a kilobyte at whoever leads, or at n1, a tenth of a second each; what was said to how many, by the name of the reply.
    fn put_for(&mut self, count: u64) -> BTreeMap<&'static str, u64> {
        let mut said = BTreeMap::new();
        for _ in 0..count {
            self.put(self.leader().unwrap_or(1), b"k", &[1; 1_000]);
            for reply in self.run(10) {
                let name = match reply {
                    Reply::Written(_) => "done",
                    Reply::Busy { reason: BusyReason::NoSpace } => "full",
                    Reply::NotLeader { .. } | Reply::LeadershipLost => "elsewhere",
                    other => panic!("{other:?}"),
                };
                *said.entry(name).or_default() += 1;
            }
        }
        said
    }
}

#[test]
fn a_leader_whose_disk_is_full_gives_way_to_one_that_has_room() {
    let mut world = World::serving(3);
    let leader = world.leader().expect("it serves");
    world.fill(leader);
    let said = world.put_for(300);
    assert_eq!(said.values().sum::<u64>(), 300, "everybody is answered: {said:?}");
    assert!(said["done"] > 280, "{said:?}");
    assert_ne!(world.leader(), Some(leader));
    // Its log holds what it has no room for as little as what it never got; but it hears, and with room it catches up.
    world.hosts[&leader].disk.set_space(None);
    world
        .run_until("it has caught up", |world| world.node(leader).digest() == world.node(world.leader().expect("somebody leads")).digest());
}

#[test]
fn a_leader_whose_save_waits_for_room_answers_its_readers() {
    let mut world = World::serving(3);
    let leader = world.leader().expect("it serves");
    // No warning: what was prepared for the log is used up by one large value.
    world.fill(leader);
    world.put(leader, b"large", &[1; 900_000]);
    world.get(leader, b"k");
    let replies = world.run(300);
    assert!(replies.contains(&Reply::LeadershipLost), "{replies:?}");
    assert_eq!(replies.len(), 2, "{replies:?}");
    assert!(world.leader().is_some_and(|now| now != leader));
    world.put_done(b"k", b"v");
}

#[test]
fn with_all_disks_full_one_leads_on_and_answers_readers() {
    let mut world = World::serving(3);
    world.put_done(b"k", b"v");
    (1..=3).for_each(|id| world.fill(id));
    let said = world.put_for(100);
    assert!(said["full"] > 10, "{said:?}");
    let terms_before = world.leaders.len();
    let mut answered = 0;
    for _ in 0..300 {
        if let Some(leader) = world.leader() {
            world.get(leader, b"k");
            answered += world.run(100).iter().filter(|reply| matches!(reply, Reply::Value { value: Some(_), .. })).count();
        } else {
            world.run(100);
        }
    }
    let changes = world.leaders.len() - terms_before;
    assert!(answered > 270, "five minutes, a read per second: {answered} of 300 answered, {changes} changes of leader");
    assert!(changes <= 15, "{changes} changes of leader in five minutes");
    (1..=3).for_each(|id| world.hosts[&id].disk.set_space(None));
    world.run(200);
    world.put_done(b"k", b"after");
}

#[test]
fn a_read_that_was_confirmed_on_a_follower_is_given_up_with_its_leader() {
    let mut world = World::serving(3);
    let leader = world.leader().expect("it serves");
    let follower = leader % 3 + 1;
    world.loses = Box::new(move |_, to, message| to == follower && is_append(message));
    world.put_done(b"k", b"v");
    world.get(follower, b"k");
    assert_eq!(world.run(10), [], "it knows where to read, and does not have it");
    world.loses = Box::new(move |_, to, _| to == follower);
    let replies = world.run(100);
    assert!(matches!(replies[..], [Reply::NotLeader { .. }]), "{replies:?}");
}
