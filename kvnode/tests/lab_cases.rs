//! The labs' raw calls, T-70 to T-79, on a whole node alone with its disk: requests go in as a client's would, answers come out. What
//! the labs call storage is here the state machine, and what a new process finds on the disk after all that was not synced is lost.
//!
//! T-73, one key in two column families, has no counterpart: there is one column family, and a key is its bytes.

use data::{FakeDisk, Identity, InitialMember, Options, Store};
use kvnode::{Bounds, ClientId, MaxLogBytes, Node, NodeConfig, Outbox, drive};
use raft::{DiskId, Incarnation, Index, Message, NodeId, RoleName};
use wire::{CallId, Item, Op, Page, PeerFrame, Reply, Request, Scan, SessionId, Value, WriteOutcome, Written};

const ME: ClientId = ClientId(1);
const TICK_US: u64 = 10_000;

/// The only node of its cluster. A single voter has nobody to wait for: every request is answered before `request` returns.
struct Alone {
    identity: Identity,
    disk: FakeDisk,
    running: (Node, Store<FakeDisk>),
    /// Counts its processes.
    life: u64,
    now_us: u64,
    seq: u64,
}

#[derive(Default)]
struct Replies(Vec<(u64, Reply)>);

impl Outbox for Replies {
    fn send(&mut self, to: NodeId, message: &Message, _: &[u8]) {
        panic!("{message:?} to {to:?}, who does not exist");
    }

    fn send_beside(&mut self, to: NodeId, frame: &PeerFrame<'_>) {
        panic!("{frame:?} to {to:?}, who does not exist");
    }

    fn flush(&mut self) {}

    fn reply(&mut self, client: ClientId, request_id: u64, reply: &Reply) {
        assert_eq!(client, ME);
        self.0.push((request_id, reply.clone()));
    }
}

impl Alone {
    fn new() -> Alone {
        let members = vec![InitialMember { id: NodeId(1), name: "n1".into(), peer_addr: "n1:7217".into() }];
        let cluster_id = data::cluster_id("", &[("n1", "n1:7217")]);
        let identity = Identity { cluster_id, node: NodeId(1), name: "n1".into(), disk_id: DiskId(7), members: members.clone() };
        let mut disk = FakeDisk::new();
        data::init(&mut disk, &identity, &kvnode::first_entry(&members)).expect("an empty disk takes a node");
        let running = start(&identity, &disk, 1, 0);
        let mut alone = Alone { identity, disk, running, life: 1, now_us: 0, seq: 0 };
        alone.serve();
        alone
    }

    /// SIGKILL and a power cut at once, and another process on the same disk.
    fn lose_power(&mut self) {
        self.disk.crash_losing_all();
        self.life += 1;
        self.running = start(&self.identity, &self.disk, self.life, self.now_us);
        self.serve();
    }

    /// Until it is elected and its cluster formed.
    fn serve(&mut self) {
        for _ in 0..100 {
            self.now_us += TICK_US;
            self.running.0.tick(1, self.now_us);
            assert!(self.drive().is_empty(), "nobody has asked");
            if self.running.0.role() == RoleName::Leader && matches!(self.request(Request::Get { key: b"k" }), Reply::Value { .. }) {
                return;
            }
        }
        panic!("a single node does not serve after 100 ticks");
    }

    fn drive(&mut self) -> Vec<(u64, Reply)> {
        let (node, store) = &mut self.running;
        let mut replies = Replies::default();
        drive(node, store, &mut replies).expect("a disk without faults");
        while node.has_work() {
            drive(node, store, &mut replies).expect("a disk without faults");
        }
        while store.needs_prepare() {
            store.prepare_slice().expect("a disk without faults");
        }
        replies.0
    }

    fn request(&mut self, request: Request<'_>) -> Reply {
        self.running.0.request(ME, 5, request, self.now_us);
        match <[_; 1]>::try_from(self.drive()) {
            Ok([(5, reply)]) => reply,
            other => panic!("not one answer to one request: {other:?}"),
        }
    }

    fn write(&mut self, op: Op<'_>) -> Written {
        self.seq += 1;
        let call = CallId { session: SessionId(9), birth_index: Index(1), seq: self.seq, first_unanswered: self.seq };
        let mut command = Vec::new();
        wire::encode_write(&call, &op, &mut command);
        match self.request(Request::Write { command: &command }) {
            Reply::Written(written) => written,
            other => panic!("{other:?}"),
        }
    }

    fn put(&mut self, key: &[u8], value: &[u8]) {
        assert_eq!(self.write(Op::Put { key, value }).outcome, WriteOutcome::Done);
    }

    fn delete(&mut self, key: &[u8]) {
        assert_eq!(self.write(Op::Delete { key }).outcome, WriteOutcome::Deleted);
    }

    /// "Not found" is an answer like any other, and no error.
    fn get(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        match self.request(Request::Get { key }) {
            Reply::Value { value, .. } => value.map(|Value { value, .. }| value),
            other => panic!("{other:?}"),
        }
    }

    fn scan(&mut self, from: &[u8], limit: Option<u64>) -> Page {
        let scan = Scan { stale: false, keys_only: false, from, to: None, limit };
        page(self.request(Request::Scan(scan)))
    }

    /// What the state machine holds, with no read in between.
    fn stored(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.running.0.peek(key).map(|value| value.value)
    }

    fn with_five_keys() -> Alone {
        let mut node = Alone::new();
        for key in [b"k3", b"k1", b"k5", b"k2", b"k4"] {
            node.put(key, &[b"v", &key[1..]].concat());
        }
        node
    }
}

fn start(identity: &Identity, disk: &FakeDisk, life: u64, now_us: u64) -> (Node, Store<FakeDisk>) {
    let options = Options { max_log_bytes: Some(4 << 20), ..Options::default() };
    let (mut store, recovered) = Store::open(disk.clone(), identity, options).expect("an intact disk");
    let config = NodeConfig {
        identity: identity.clone(),
        incarnation: Incarnation(life),
        seed: life,
        client_addr: "n1:7117".into(),
        peer_addr: "n1:7217".into(),
        version: "test".into(),
        election_ticks: 30,
        heartbeat_ticks: 5,
        tick_us: TICK_US,
        max_data_bytes: None,
        max_log_bytes: MaxLogBytes::Default,
        max_log_entries: None,
        bounds: Bounds::default(),
    };
    let node = Node::new(config, recovered, &mut store, now_us).expect("a recovered log can be read");
    (node, store)
}

fn page(reply: Reply) -> Page {
    let Reply::Page(page) = reply else { panic!("{reply:?}") };
    page
}

fn keys(page: &Page) -> Vec<&str> {
    page.items.iter().map(|item| std::str::from_utf8(&item.key).expect("text")).collect()
}

#[test]
fn t70_a_stored_value_comes_back() {
    let mut node = Alone::new();
    node.put(b"k", b"v");
    node.lose_power();
    assert_eq!(node.get(b"k"), Some(b"v".to_vec()));
}

#[test]
fn t71_a_missing_key_is_not_found_and_no_error() {
    let mut node = Alone::new();
    assert_eq!(node.get(b"k"), None);
    node.put(b"k1", b"neither a longer key");
    node.put(b"j", b"nor its neighbour");
    assert_eq!(node.get(b"k"), None);
    node.put(b"k", b"");
    assert_eq!(node.get(b"k"), Some(Vec::new()), "an empty value is a value");
}

#[test]
fn t72_what_was_put_is_in_storage_when_the_answer_comes() {
    let mut node = Alone::new();
    node.put(b"k", b"old");
    node.put(b"k", b"new");
    assert_eq!(node.stored(b"k"), Some(b"new".to_vec()));
    node.lose_power();
    assert_eq!(node.stored(b"k"), Some(b"new".to_vec()));
}

#[test]
fn t74_a_deleted_key_is_not_found_and_no_error() {
    let mut node = Alone::new();
    node.put(b"k", b"v");
    node.delete(b"k");
    assert_eq!(node.get(b"k"), None);
    let again = node.write(Op::Delete { key: b"k" });
    assert_eq!(again.outcome, WriteOutcome::NotFound, "to delete it again is no error either");
}

#[test]
fn t75_a_deleted_value_is_gone_from_storage_for_good() {
    let mut node = Alone::new();
    node.put(b"k", b"v");
    node.put(b"other", b"v");
    node.delete(b"k");
    for _ in 0..2 {
        let status = node.running.0.status();
        assert_eq!((node.stored(b"k"), status.keys, status.data_bytes), (None, 1, 6), "only the other one is held");
        node.lose_power();
    }
}

#[test]
fn t76_a_scan_of_three_returns_exactly_the_first_three_of_five_in_order() {
    let mut node = Alone::with_five_keys();
    let page = node.scan(b"k1", Some(3));
    let item = |key: &[u8], value: &[u8]| Item { key: key.to_vec(), value: value.to_vec(), version: 1 };
    assert_eq!(page.items, [item(b"k1", b"v1"), item(b"k2", b"v2"), item(b"k3", b"v3")]);
    assert!(page.last, "nothing follows");
    assert_eq!(keys(&node.scan(b"k3", Some(9))), ["k3", "k4", "k5"], "fewer than asked for, at the end");
}

#[test]
fn t77_a_scan_sees_a_key_that_was_put_before_it() {
    let mut node = Alone::with_five_keys();
    node.put(b"k25", b"new");
    assert_eq!(keys(&node.scan(b"k2", Some(3))), ["k2", "k25", "k3"]);
}

#[test]
fn t78_a_scan_does_not_see_a_key_that_was_deleted_before_it() {
    let mut node = Alone::with_five_keys();
    node.delete(b"k2");
    assert_eq!(keys(&node.scan(b"k1", Some(3))), ["k1", "k3", "k4"]);
}

#[test]
fn t79_a_scan_begun_before_a_delete_still_shows_its_own_point_in_time() {
    // So large that two of them are a page: the third is still to be read when it is deleted.
    let value = |count: u8| vec![count; 200 << 10];
    let mut node = Alone::new();
    for count in 1..=4 {
        node.put(&[b'k', b'0' + count], &value(count));
    }
    let first = node.scan(b"", None);
    assert_eq!((keys(&first), first.last), (vec!["k1", "k2"], false));
    node.delete(b"k3");
    node.delete(b"k1"); // it was read already
    node.put(b"k4", b"new");
    node.put(b"k35", b"was not there");
    let second = page(node.request(Request::ScanNext { scan: first.scan }));
    assert_eq!((keys(&second), second.position), (vec!["k3", "k4"], first.position));
    assert_eq!((&second.items[0].value, &second.items[1].value), (&value(3), &value(4)));
    // The next scan has a point in time of its own.
    assert_eq!(keys(&node.scan(b"", None)), ["k2", "k35", "k4"]);
}
