//! A core, and the network as a test tells it: who connects, what was asked, what is answered. Nodes are `n1:1`, `n2:1`, `n3:1`.

use std::collections::BTreeMap;

use raft::{ClusterId, Index, NodeId};
use wire::limits::FRAME_BODY_LEN_MAX;
use wire::{
    CallId, Command, FrameBuffer, Hello, Kind, MemberAddress, Reply, Request, SessionId, Welcome, WriteOutcome, Written, decode_hello,
    decode_request, encode_reply, encode_welcome,
};

use super::*;

pub(super) const MS: u64 = 1_000;
pub(super) const CLUSTER: ClusterId = ClusterId(42);
pub(super) const SESSION: SessionId = SessionId(1000);

/// A request, as a node gets it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Seen {
    pub(super) connection: ConnectionId,
    pub(super) address: String,
    pub(super) id: u64,
    pub(super) what: What,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum What {
    Write { call: CallId, key: Vec<u8> },
    Get(Vec<u8>),
    GetStale(Vec<u8>),
    Scan { from: Vec<u8>, to: Option<Vec<u8>>, stale: bool },
    ScanNext(u64),
    Status,
}

pub(super) struct Script {
    pub(super) core: Core,
    pub(super) now_us: u64,
    /// Dialled and neither connected nor closed, in order.
    pub(super) dialling: Vec<(ConnectionId, String)>,
    /// Connected.
    pub(super) open: BTreeMap<ConnectionId, String>,
    pub(super) hellos: Vec<Option<ClusterId>>,
    /// Requests not taken by the test yet.
    pub(super) asked: Vec<Seen>,
    pub(super) finished: BTreeMap<CallNumber, Result<Answer, ClerkError>>,
    pub(super) closed_count: usize,
}

pub(super) fn put(key: &str) -> Ask {
    Ask::Put { key: key.into(), value: b"v".to_vec() }
}

pub(super) fn get(key: &str) -> Ask {
    Ask::Get { key: key.into() }
}

pub(super) fn written(position: u64) -> Reply {
    Reply::Written(Written { outcome: WriteOutcome::Done, version: 1, position: Index(position) })
}

/// A page of scan 7 with this key.
pub(super) fn page(key: &str, last: bool) -> Reply {
    let item = wire::Item { key: key.into(), value: b"v".to_vec(), version: 1 };
    Reply::Page(wire::Page { scan: 7, position: Index(20), age_ms: None, last, items: vec![item] })
}

/// "Not me; n2 leads."
pub(super) fn not_leader(leader: Option<u64>) -> Reply {
    Reply::NotLeader { leader: leader.map(NodeId), client_addr: leader.map_or_else(String::new, |id| format!("n{id}:1")) }
}

impl Script {
    pub(super) fn new(endpoints: &[&str]) -> Script {
        let core = Core::new(CoreConfig {
            endpoints: endpoints.iter().map(ToString::to_string).collect(),
            session: SESSION,
            seed: 7,
            cluster_id: None,
            patience: Patience::default(),
        });
        Script {
            core,
            now_us: 0,
            dialling: Vec::new(),
            open: BTreeMap::new(),
            hellos: Vec::new(),
            asked: Vec::new(),
            finished: BTreeMap::new(),
            closed_count: 0,
        }
    }

    pub(super) fn submit(&mut self, ask: Ask) -> CallNumber {
        self.submit_for(ask, 5_000 * MS)
    }

    pub(super) fn submit_for(&mut self, ask: Ask, timeout_us: u64) -> CallNumber {
        let call = self.core.submit(self.now_us, ask, timeout_us);
        self.pump();
        call
    }

    pub(super) fn resume(&mut self, ask: Ask, token: Token) -> CallNumber {
        let call = self.core.resume(self.now_us, ask, token, 5_000 * MS);
        self.pump();
        call
    }

    /// So much time passes, with every tick that falls due.
    pub(super) fn pass(&mut self, us: u64) {
        let until_us = self.now_us + us;
        while let Some(at_us) = self.core.next_tick_us().filter(|at_us| *at_us <= until_us) {
            self.now_us = self.now_us.max(at_us);
            self.core.tick(self.now_us);
            self.pump();
        }
        self.now_us = until_us;
    }

    /// The one address that is being dialled.
    pub(super) fn dialled(&self) -> Vec<&str> {
        self.dialling.iter().map(|(_, address)| address.as_str()).collect()
    }

    /// Refuses the connection that is being made to this address.
    pub(super) fn refuse(&mut self, address: &str) {
        let connection = self.take_dial(address);
        self.core.closed(self.now_us, connection, Reason::Connect("connection refused".into()));
        self.pump();
    }

    /// Accepts it, and says nothing yet.
    pub(super) fn accept(&mut self, address: &str) -> ConnectionId {
        let connection = self.take_dial(address);
        self.open.insert(connection, address.into());
        self.core.connected(self.now_us, connection);
        self.pump();
        connection
    }

    /// Accepts it, and greets: all three members are known, and perhaps who leads.
    pub(super) fn welcome(&mut self, address: &str, leader: Option<u64>) -> ConnectionId {
        let connection = self.accept(address);
        self.greet(connection, leader, 10);
        connection
    }

    pub(super) fn greet(&mut self, connection: ConnectionId, leader: Option<u64>, applied_index: u64) {
        let node = self.open[&connection].trim_start_matches('n').split(':').next().and_then(|id| id.parse().ok()).map(NodeId);
        let members = (1..=3).map(|id| MemberAddress { id: NodeId(id), name: format!("n{id}"), client_addr: format!("n{id}:1") });
        let welcome = Welcome {
            cluster_id: CLUSTER,
            node: node.expect("a node's address"),
            applied_index: Index(applied_index),
            leader: leader.map(NodeId),
            members: members.collect(),
            version: "0.1.0".into(),
        };
        let mut bytes = Vec::new();
        encode_welcome(&welcome, &mut bytes);
        self.bytes(connection, &bytes);
    }

    pub(super) fn bytes(&mut self, connection: ConnectionId, bytes: &[u8]) {
        self.core.received(self.now_us, connection, bytes);
        self.pump();
    }

    /// Ends a connection from the node's side.
    pub(super) fn end(&mut self, connection: ConnectionId) {
        self.open.remove(&connection);
        self.core.closed(self.now_us, connection, Reason::Closed("reset".into()));
        self.pump();
    }

    /// The one request that is waiting, of whatever kind.
    pub(super) fn take(&mut self) -> Seen {
        assert_eq!(self.asked.len(), 1, "requests: {:?}; dialling {:?}", self.asked, self.dialling);
        self.asked.remove(0)
    }

    pub(super) fn reply(&mut self, seen: &Seen, reply: &Reply) {
        let mut bytes = Vec::new();
        encode_reply(seen.id, reply, &mut bytes);
        self.bytes(seen.connection, &bytes);
    }

    /// The outcome of a call that must be over.
    pub(super) fn outcome(&mut self, call: CallNumber) -> Result<Answer, ClerkError> {
        self.finished.remove(&call).unwrap_or_else(|| panic!("not over: {:?}", self.core.tried(call)))
    }

    /// Does what the core wants, as far as a network would.
    pub(super) fn pump(&mut self) {
        let by_looking_at_all = self.core.calls.values().map(|call| call.next_due_us(&self.core.patience)).min();
        assert_eq!(self.core.timers.first_us(), by_looking_at_all, "when a call is due");
        for action in self.core.take_actions() {
            match action {
                Action::Dial { connection, address } => self.dialling.push((connection, address)),
                Action::Send { connection, bytes, .. } => self.read(connection, &bytes),
                Action::Close { connection } => {
                    self.closed_count += 1;
                    self.dialling.retain(|(dialled, _)| *dialled != connection);
                    self.open.remove(&connection);
                }
                Action::Finished { call, outcome } => {
                    assert!(self.finished.insert(call, outcome).is_none(), "{call:?} finished twice");
                }
            }
        }
    }

    fn read(&mut self, connection: ConnectionId, bytes: &[u8]) {
        let address = self.open.get(&connection).expect("bytes only for a connection that stands").clone();
        let mut buffer = FrameBuffer::new(FRAME_BODY_LEN_MAX);
        let mut left = bytes;
        while !left.is_empty() {
            let space = buffer.space();
            let count = space.len().min(left.len());
            space[..count].copy_from_slice(&left[..count]);
            buffer.filled(count);
            left = &left[count..];
            while let Some(frame) = buffer.next().expect("a good frame") {
                if frame.kind == Kind::Hello {
                    let Hello::Client { cluster_id } = decode_hello(frame).expect("a hello") else { panic!("a client's hello") };
                    self.hellos.push(cluster_id);
                    continue;
                }
                let (id, request) = decode_request(frame).expect("a request");
                let what = match request {
                    Request::Write { command } => match Command::decode(command).expect("a command") {
                        Command::Write { call, op } => What::Write { call, key: op.key().to_vec() },
                        Command::Announce(_) => panic!("clients write"),
                    },
                    Request::Get { key } => What::Get(key.to_vec()),
                    Request::GetStale { key } => What::GetStale(key.to_vec()),
                    Request::Scan(scan) => What::Scan { from: scan.from.to_vec(), to: scan.to.map(<[u8]>::to_vec), stale: scan.stale },
                    Request::ScanNext { scan } => What::ScanNext(scan),
                    Request::Status => What::Status,
                    other @ Request::Members => panic!("never asked: {other:?}"),
                };
                self.asked.push(Seen { connection, address: address.clone(), id, what });
            }
        }
        assert_eq!(buffer.pending_len(), 0, "whole frames only");
    }

    fn take_dial(&mut self, address: &str) -> ConnectionId {
        let at = self.dialling.iter().position(|(_, dialled)| dialled == address);
        self.dialling.remove(at.unwrap_or_else(|| panic!("{address} is not dialled, but {:?}", self.dialling))).0
    }
}
