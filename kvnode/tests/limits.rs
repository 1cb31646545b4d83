//! What a node holds while its disk or its clients are slow, on a whole node alone: bounded, refused beyond that, and nothing of it lost.

use data::limits::BATCH_BODY_LEN_MAX;
use data::{FakeDisk, Identity, InitialMember, Options, Store};
use kvnode::limits::{UNCOMMITTED_BYTES_MAX, UNSAVED_BYTES_MAX, WAITING_BYTES_MAX};
use kvnode::{Bounds, ClientId, MaxLogBytes, Node, NodeConfig, Outbox, drive};
use raft::{DiskId, Incarnation, Index, Message, NodeId};
use wire::limits::{FRAME_BODY_LEN_MAX, KEY_LEN_MAX, VALUE_LEN_MAX};
use wire::{BusyReason, CallId, Op, PeerFrame, Reply, Request, Scan, SessionId};

/// What was answered, and how long an answer to a read may be.
struct Replies(Vec<(u64, Reply)>, usize);

impl Default for Replies {
    fn default() -> Replies {
        Replies(Vec::new(), usize::MAX)
    }
}

impl Outbox for Replies {
    fn send(&mut self, _: NodeId, _: &Message, _: &[u8]) {}

    fn send_beside(&mut self, _: NodeId, _: &PeerFrame<'_>) {}

    fn flush(&mut self) {}

    fn room(&mut self, _: ClientId) -> usize {
        self.1
    }

    fn reply(&mut self, _: ClientId, request_id: u64, reply: &Reply) {
        self.0.push((request_id, reply.clone()));
    }
}

/// The leader of a cluster of one.
struct Alone {
    node: Node,
    store: Store<FakeDisk>,
    now_us: u64,
    replies: Replies,
}

impl Alone {
    fn new(disk: &FakeDisk) -> Alone {
        let members = vec![InitialMember { id: NodeId(1), name: "n1".into(), peer_addr: "n1:7217".into() }];
        let cluster_id = data::cluster_id("", &[("n1", "n1:7217")]);
        let identity = Identity { cluster_id, node: NodeId(1), name: "n1".into(), disk_id: DiskId(7), members: members.clone() };
        data::init(&mut disk.clone(), &identity, &kvnode::first_entry(&members)).expect("an empty disk takes a node");
        let (mut store, recovered) = Store::open(disk.clone(), &identity, Options::default()).expect("an intact disk");
        let config = NodeConfig {
            identity,
            incarnation: Incarnation(1),
            seed: 1,
            client_addr: "n1:7117".into(),
            peer_addr: "n1:7217".into(),
            version: "test".into(),
            election_ticks: 30,
            heartbeat_ticks: 5,
            tick_us: 10_000,
            max_data_bytes: None,
            max_log_bytes: MaxLogBytes::Never,
            max_log_entries: None,
            bounds: Bounds::default(),
        };
        let node = Node::new(config, recovered, &mut store, 0).expect("a recovered log can be read");
        let mut alone = Alone { node, store, now_us: 0, replies: Replies::default() };
        for number in 0.. {
            alone.now_us += 10_000;
            alone.node.tick(1, alone.now_us);
            alone.drive();
            alone.put(number, b"");
            alone.drive();
            if alone.replies.0.drain(..).any(|(_, reply)| matches!(reply, Reply::Written(_))) {
                return alone;
            }
            assert!(number < 100, "a single node does not serve after 100 ticks");
        }
        unreachable!()
    }

    /// A session of its own for each.
    fn put(&mut self, number: u64, value: &[u8]) {
        let call = CallId { session: SessionId(number.into()), birth_index: Index(1), seq: 1, first_unanswered: 1 };
        let mut command = Vec::new();
        wire::encode_write(&call, &Op::Put { key: format!("k{number}").as_bytes(), value }, &mut command);
        self.node.request(ClientId(1), number, Request::Write { command: &command }, self.now_us);
    }

    fn ask(&mut self, client: u64, number: u64, request: Request<'_>) {
        self.node.request(ClientId(client), number, request, self.now_us);
    }

    /// Drives, and the numbers of what was answered.
    fn answered(&mut self) -> Vec<u64> {
        self.drive();
        self.replies.0.drain(..).map(|(number, _)| number).collect()
    }

    fn drive(&mut self) {
        drive(&mut self.node, &mut self.store, &mut self.replies).expect("a disk without faults");
        while self.node.has_work() {
            drive(&mut self.node, &mut self.store, &mut self.replies).expect("a disk without faults");
        }
    }
}

/// What a save can come to: all that may gather, or one append that met nothing gathered.
const _: () = assert!(UNSAVED_BYTES_MAX + FRAME_BODY_LEN_MAX < BATCH_BODY_LEN_MAX as usize, "the longest save fits in a batch");

#[test]
fn what_gathers_while_a_sync_is_slow_fits_in_one_batch_and_the_rest_is_busy() {
    let disk = FakeDisk::new();
    let mut node = Alone::new(&disk);
    let value = vec![b'v'; VALUE_LEN_MAX];
    disk.hold_syncs(true);
    node.put(1000, &value);
    node.drive();
    assert!(disk.sync_is_held(), "a save is under way");
    let offered = (UNCOMMITTED_BYTES_MAX / VALUE_LEN_MAX) as u64 - 2;
    for number in 1001..1001 + offered {
        node.put(number, &value);
        node.drive();
    }
    let busy = Reply::Busy { reason: BusyReason::Uncommitted };
    let refused: Vec<u64> =
        node.replies.0.drain(..).map(|(number, reply)| if reply == busy { number } else { panic!("{reply:?}") }).collect();
    assert!((offered / 2..offered).contains(&(refused.len() as u64)), "{} of {offered}", refused.len());

    disk.hold_syncs(false);
    disk.finish_sync();
    node.drive();
    let mut done: Vec<u64> =
        node.replies.0.drain(..).map(|(number, reply)| if let Reply::Written(_) = reply { number } else { panic!("{reply:?}") }).collect();
    done.extend(&refused);
    done.sort_unstable();
    assert!(done.into_iter().eq(1000..1001 + offered), "each has its answer");
    for number in 1000..1001 + offered {
        assert_eq!(node.node.peek(format!("k{number}").as_bytes()).is_some(), !refused.contains(&number), "{number}");
    }
}

#[test]
fn an_answer_waits_for_room_a_small_one_for_less_and_that_of_a_client_that_is_gone_for_nothing() {
    let mut node = Alone::new(&FakeDisk::new());
    node.put(1000, &vec![b'v'; VALUE_LEN_MAX]);
    node.put(1001, b"small");
    assert_eq!(node.answered(), [1000, 1001]);
    node.replies.1 = 1 << 10;
    let scan = Scan { stale: true, keys_only: false, from: b"", to: None, limit: None };
    for client in [1, 2] {
        node.ask(client, 10 * client, Request::Get { key: b"k1000" });
        node.ask(client, 10 * client + 1, Request::Get { key: b"k1001" });
        node.ask(client, 10 * client + 2, Request::GetStale { key: b"k1000" });
        node.ask(client, 10 * client + 3, Request::GetStale { key: b"k1001" });
        node.ask(client, 10 * client + 4, Request::Scan(scan));
    }
    let mut small = node.answered();
    small.sort_unstable();
    assert_eq!(small, [11, 13, 21, 23]);
    node.node.client_has_room(ClientId(1));
    assert_eq!(node.answered(), [0; 0], "there was none after all");
    node.node.client_gone(ClientId(1));
    node.replies.1 = usize::MAX;
    node.node.client_has_room(ClientId(1));
    node.node.client_has_room(ClientId(2));
    let mut large = node.answered();
    large.sort_unstable();
    assert_eq!(large, [20, 22, 24]);
}

#[test]
fn waiting_reads_hold_so_many_bytes_of_keys_and_stale_ones_are_taken_all_the_same() {
    let mut node = Alone::new(&FakeDisk::new());
    let key = vec![b'k'; KEY_LEN_MAX];
    let fit = WAITING_BYTES_MAX / KEY_LEN_MAX;
    for number in 0..2 * fit as u64 {
        node.ask(1, number, Request::Get { key: &key });
    }
    node.ask(2, 1 << 20, Request::GetStale { key: &key });
    node.drive();
    let busy = node.replies.0.iter().filter(|(_, reply)| *reply == Reply::Busy { reason: BusyReason::Waiting }).count();
    assert!((fit..fit + 8).contains(&busy), "{busy} of {} were refused", 2 * fit);
    assert!(node.replies.0.iter().any(|(number, reply)| *number == 1 << 20 && matches!(reply, Reply::StaleValue { .. })));
    // They are answered, and there is room again.
    assert_eq!(node.replies.0.len(), 2 * fit + 1);
    node.replies.0.clear();
    node.ask(1, 7, Request::Get { key: &key });
    assert_eq!(node.answered(), [7]);
}
