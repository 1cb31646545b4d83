//! What a node holds while its disk is slow, on a whole node alone: bounded, refused beyond that, and nothing of it lost.

use data::limits::BATCH_BODY_LEN_MAX;
use data::{FakeDisk, Identity, InitialMember, Options, Store};
use kvnode::limits::{UNCOMMITTED_BYTES_MAX, UNSAVED_BYTES_MAX};
use kvnode::{ClientId, MaxLogBytes, Node, NodeConfig, Outbox, drive};
use raft::{DiskId, Incarnation, Index, Message, NodeId};
use wire::limits::{FRAME_BODY_LEN_MAX, VALUE_LEN_MAX};
use wire::{BusyReason, CallId, Op, PeerFrame, Reply, Request, SessionId};

#[derive(Default)]
struct Replies(Vec<(u64, Reply)>);

impl Outbox for Replies {
    fn send(&mut self, _: NodeId, _: &Message, _: &[u8]) {}

    fn send_beside(&mut self, _: NodeId, _: &PeerFrame<'_>) {}

    fn flush(&mut self) {}

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
