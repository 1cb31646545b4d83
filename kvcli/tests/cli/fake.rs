//! A node that does what a test tells it to: enough of one to talk to, and as unhelpful as the test needs it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::Bound;
use std::sync::{Arc, Mutex};
use std::thread;

use raft::{ClusterId, Index, NodeId, Term};
use wire::limits::FRAME_BODY_LEN_MAX;
use wire::status::MemberStatus;
use wire::{
    BusyReason, CallId, Command, Expect, FrameBuffer, Item, Kind, MemberAddress, NodeStatus, Op, Page, RefusedReason, RejectedReason,
    Reply, Request, RoleName, Scan, SessionId, Value, Welcome, WriteOutcome, Written,
};

/// The cluster of all fake nodes.
pub(crate) const CLUSTER: ClusterId = ClusterId(7);

/// How a node treats whoever talks to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Manner {
    /// As the leader of a healthy cluster.
    Serves,
    /// Names this leader.
    Follows(Option<String>),
    /// Accepts connections, and never says a word.
    Silent,
    /// Greets, and answers nothing.
    Mute,
    /// Greets, and keeps what it is asked to write until `let_through`: as a network does, or a leader that is paused.
    HoldsBack,
    /// Does what it is asked, and ends the connection instead of answering, so often; then serves.
    LosesAnswers(usize),
    /// Serves, and keeps nothing of what is written.
    Forgets,
    /// Serves, and never says a word about the second page of a scan.
    FirstPages,
    /// Answers every request with this.
    Answers(Reply),
    /// Refuses to talk.
    Refuses(RefusedReason),
    /// Speaks HTTP.
    Garbage,
}

/// A node, for as long as the test lives.
#[derive(Clone)]
pub(crate) struct Fake {
    /// Where it listens.
    pub(crate) address: String,
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    manner: Manner,
    id: u64,
    members: Vec<(u64, String)>,
    unformed: bool,
    applied_index: u64,
    state: BTreeMap<Vec<u8>, (Vec<u8>, u64, u64)>,
    /// What each call was told: the same again.
    replies: BTreeMap<(SessionId, u64), Reply>,
    /// Calls below this number are answered: they never run again.
    first_unanswered: BTreeMap<SessionId, u64>,
    forgotten: BTreeSet<SessionId>,
    /// Commands that were held back.
    held: Vec<Vec<u8>>,
    /// They come through in front of this write, counted from the next.
    let_through_at: Option<usize>,
    /// It holds back what comes behind so many writes.
    served_until: Option<usize>,
    /// What became of them.
    late: Vec<Reply>,
    asked: Vec<String>,
    /// Since it last heard from a leader.
    age_ms: Option<u64>,
    /// By number, from 1.
    scans: Vec<OpenScan>,
    /// Of any scan; then all are lost.
    pages_left: usize,
    /// It takes so many writes more, and then is full.
    room: usize,
}

struct OpenScan {
    left: Vec<Item>,
    position: u64,
    age_ms: Option<u64>,
}

impl Fake {
    /// One node, alone in its cluster.
    pub(crate) fn new(manner: Manner) -> Fake {
        let fake = Fake::listening("127.0.0.1:0".parse().expect("an address"), manner);
        fake.join(1, &[(1, fake.address.clone())]);
        fake
    }

    /// Three nodes that know each other.
    pub(crate) fn cluster(manners: [Manner; 3]) -> [Fake; 3] {
        let fakes = manners.map(|manner| Fake::listening("127.0.0.1:0".parse().expect("an address"), manner));
        let members: Vec<(u64, String)> = (1..).zip(&fakes).map(|(id, fake)| (id, fake.address.clone())).collect();
        for (id, fake) in (1..).zip(&fakes) {
            fake.join(id, &members);
        }
        fakes
    }

    /// At this address; alone in its cluster.
    pub(crate) fn at(address: SocketAddr, manner: Manner) -> Fake {
        let fake = Fake::listening(address, manner);
        fake.join(1, &[(1, fake.address.clone())]);
        fake
    }

    /// From now on.
    pub(crate) fn behave(&self, manner: Manner) {
        self.shared().manner = manner;
    }

    /// The cluster never had all its members together.
    pub(crate) fn unform(&self) {
        self.shared().unformed = true;
    }

    /// What was held back comes through as soon as it has served so many writes; 0: now.
    pub(crate) fn let_through_after(&self, writes: usize) {
        let mut shared = self.shared();
        shared.let_through_at = Some(writes);
        shared.let_through();
    }

    /// It serves so many writes more, and holds back the others.
    pub(crate) fn hold_back_after(&self, writes: usize) {
        self.shared().served_until = Some(writes);
    }

    /// What became of that.
    pub(crate) fn late(&self) -> Vec<Reply> {
        self.shared().late.clone()
    }

    /// Every session so far is evicted.
    pub(crate) fn forget_sessions(&self) {
        let mut shared = self.shared();
        let sessions: Vec<SessionId> = shared.held.iter().filter_map(|command| Some(call_of(command)?.session)).collect();
        shared.forgotten.extend(sessions);
    }

    /// How far it has applied.
    pub(crate) fn apply_to(&self, index: u64) {
        self.shared().applied_index = index;
    }

    /// When it last heard from a leader.
    pub(crate) fn age(&self, ms: u64) {
        self.shared().age_ms = Some(ms);
    }

    /// It gives so many pages more, and then has forgotten every scan.
    pub(crate) fn lose_scans_after(&self, pages: usize) {
        self.shared().pages_left = pages;
    }

    /// It has room for so many writes more.
    pub(crate) fn room_for(&self, writes: usize) {
        self.shared().room = writes;
    }

    /// It holds these.
    pub(crate) fn hold(&self, pairs: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>) {
        let mut shared = self.shared();
        for (key, value) in pairs {
            shared.applied_index += 1;
            let at = shared.applied_index;
            shared.state.insert(key, (value, 1, at));
        }
    }

    /// Every request it got, as text.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.shared().asked.clone()
    }

    /// What a key holds.
    pub(crate) fn value(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.shared().state.get(key).map(|(value, ..)| value.clone())
    }

    /// Every key it holds.
    pub(crate) fn keys(&self) -> Vec<Vec<u8>> {
        self.shared().state.keys().cloned().collect()
    }

    fn join(&self, id: u64, members: &[(u64, String)]) {
        let mut shared = self.shared();
        shared.id = id;
        shared.members = members.to_vec();
    }

    fn listening(address: SocketAddr, manner: Manner) -> Fake {
        let listener = TcpListener::bind(address).expect("a listener");
        let address = listener.local_addr().expect("its address").to_string();
        let shared = Shared {
            manner,
            id: 1,
            members: Vec::new(),
            unformed: false,
            applied_index: 5,
            state: BTreeMap::new(),
            replies: BTreeMap::new(),
            first_unanswered: BTreeMap::new(),
            forgotten: BTreeSet::new(),
            held: Vec::new(),
            let_through_at: None,
            served_until: None,
            late: Vec::new(),
            asked: Vec::new(),
            age_ms: None,
            scans: Vec::new(),
            pages_left: usize::MAX,
            room: usize::MAX,
        };
        let fake = Fake { address, shared: Arc::new(Mutex::new(shared)) };
        let node = fake.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let node = node.clone();
                thread::spawn(move || node.talk(stream));
            }
        });
        fake
    }

    fn shared(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.shared.lock().expect("no test panics with it")
    }

    /// Until either side has enough.
    fn talk(&self, mut stream: TcpStream) -> Option<()> {
        let mut buffer = FrameBuffer::new(FRAME_BODY_LEN_MAX);
        loop {
            let count = stream.read(buffer.space()).ok().filter(|count| *count > 0)?;
            buffer.filled(count);
            while let Some(frame) = buffer.next().ok()? {
                let manner = self.shared().manner.clone();
                let mut out = Vec::new();
                match (frame.kind, manner) {
                    (_, Manner::Silent) => {}
                    (_, Manner::Garbage) => out.extend_from_slice(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
                    (Kind::Hello, Manner::Refuses(reason)) => {
                        wire::encode_refused(&wire::Refused { reason, message: "this is cluster \x1b[31mred".into() }, &mut out);
                        stream.write_all(&out).ok()?;
                        return None;
                    }
                    (Kind::Hello, _) => wire::encode_welcome(&self.welcome(), &mut out),
                    (_, Manner::Mute) => {
                        self.shared().asked.push("unheard".into());
                    }
                    (_, manner) => {
                        let (id, request) = wire::decode_request(frame).ok()?;
                        if let (Manner::HoldsBack, Request::Write { command }) = (&manner, &request) {
                            let mut shared = self.shared();
                            shared.held.push(command.to_vec());
                            shared.asked.push("held".into());
                            continue;
                        }
                        if manner == Manner::FirstPages && matches!(request, Request::ScanNext { .. }) {
                            self.shared().asked.push("unheard".into());
                            continue;
                        }
                        let reply = self.answer(&request, &manner)?;
                        wire::encode_reply(id, &reply, &mut out);
                    }
                }
                stream.write_all(&out).ok()?;
            }
        }
    }

    fn welcome(&self) -> Welcome {
        let shared = self.shared();
        let member =
            |(id, client_addr): &(u64, String)| MemberAddress { id: NodeId(*id), name: format!("n{id}"), client_addr: client_addr.clone() };
        Welcome {
            cluster_id: CLUSTER,
            node: NodeId(shared.id),
            applied_index: Index(shared.applied_index),
            leader: shared.leader(),
            members: shared.members.iter().map(member).collect(),
            version: "0.1.0".into(),
        }
    }

    /// `None` ends the connection.
    fn answer(&self, request: &Request<'_>, manner: &Manner) -> Option<Reply> {
        let mut shared = self.shared();
        shared.asked.push(name_of(request));
        if matches!(request, Request::Status) {
            return Some(Reply::Status(Box::new(shared.status())));
        }
        match manner {
            Manner::Answers(reply) => Some(reply.clone()),
            Manner::Follows(leader) => {
                let client_addr = leader.clone().unwrap_or_default();
                Some(Reply::NotLeader { leader: shared.leader(), client_addr })
            }
            Manner::LosesAnswers(left) => {
                shared.manner = if *left > 1 { Manner::LosesAnswers(left - 1) } else { Manner::Serves };
                shared.serve(request);
                None
            }
            Manner::Forgets => {
                let reply = shared.serve(request);
                shared.state.clear();
                reply
            }
            _ => shared.serve(request),
        }
    }
}

impl Shared {
    fn leader(&self) -> Option<NodeId> {
        match &self.manner {
            Manner::Follows(leader) => {
                let leader = leader.as_ref()?;
                self.members.iter().find(|(_, address)| address == leader).map(|(id, _)| NodeId(*id))
            }
            _ => Some(NodeId(self.id)),
        }
    }

    fn serve(&mut self, request: &Request<'_>) -> Option<Reply> {
        match request {
            Request::Get { key } => {
                let value = self.value(key);
                Some(Reply::Value { value, position: Index(self.applied_index) })
            }
            Request::Write { command } => {
                let reply = self.run(command);
                self.served_until = self.served_until.map(|left| left - 1);
                if self.served_until.take_if(|left| *left == 0).is_some() {
                    self.manner = Manner::HoldsBack;
                }
                self.let_through_at = self.let_through_at.map(|left| left.saturating_sub(1));
                self.let_through();
                reply
            }
            Request::Status | Request::Members => None,
            Request::GetStale { key } => {
                let value = self.value(key);
                Some(Reply::StaleValue { value, position: Index(self.applied_index), age_ms: self.age_ms })
            }
            Request::Scan(Scan { stale, keys_only, from, to, limit }) => {
                let keys = self.state.range::<[u8], _>((Bound::Included(*from), Bound::Unbounded));
                let keys = keys.take_while(|(key, _)| to.is_none_or(|to| key.as_slice() < to));
                let items = keys.take(limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX))).map(
                    |(key, (value, version, _))| Item {
                        key: key.clone(),
                        value: if *keys_only { Vec::new() } else { value.clone() },
                        version: *version,
                    },
                );
                let scan = OpenScan { left: items.collect(), position: self.applied_index, age_ms: self.age_ms.filter(|_| *stale) };
                self.scans.push(scan);
                Some(self.page(self.scans.len() as u64))
            }
            Request::ScanNext { scan } => Some(self.page(*scan)),
        }
    }

    fn let_through(&mut self) {
        if self.let_through_at == Some(0) {
            for command in std::mem::take(&mut self.held) {
                let reply = self.run(&command).expect("a write");
                self.late.push(reply);
            }
        }
    }

    /// As a node applies it.
    fn run(&mut self, command: &[u8]) -> Option<Reply> {
        let Command::Write { call, op } = Command::decode(command).ok()? else { return None };
        if self.forgotten.contains(&call.session) {
            return Some(Reply::SessionExpired);
        }
        let first_unanswered = self.first_unanswered.entry(call.session).or_default();
        *first_unanswered = call.first_unanswered.max(*first_unanswered);
        if call.seq < *first_unanswered {
            return Some(Reply::Rejected { reason: RejectedReason::Sequence });
        }
        if let Some(reply) = self.replies.get(&(call.session, call.seq)) {
            return Some(reply.clone());
        }
        if self.room == 0 {
            return Some(Reply::Busy { reason: BusyReason::Full });
        }
        self.room -= 1;
        self.applied_index += 1;
        let reply = Reply::Written(self.write(&op));
        self.replies.insert((call.session, call.seq), reply.clone());
        Some(reply)
    }

    fn value(&self, key: &[u8]) -> Option<Value> {
        let (value, version, modified) = self.state.get(key)?;
        Some(Value { value: value.clone(), version: *version, modified: Index(*modified) })
    }

    /// Two items, or none more after so many pages as the test wants.
    fn page(&mut self, number: u64) -> Reply {
        let Some(scan) = usize::try_from(number).ok().and_then(|number| self.scans.get_mut(number.checked_sub(1)?)) else {
            return Reply::ScanLost;
        };
        if self.pages_left == 0 {
            return Reply::ScanLost;
        }
        self.pages_left -= 1;
        let items: Vec<Item> = scan.left.drain(..scan.left.len().min(2)).collect();
        Reply::Page(Page { scan: number, position: Index(scan.position), age_ms: scan.age_ms, last: scan.left.is_empty(), items })
    }

    fn write(&mut self, op: &Op<'_>) -> Written {
        let position = Index(self.applied_index);
        let (value, outcome) = match op {
            Op::Put { value, .. } => (value.to_vec(), WriteOutcome::Done),
            Op::Append { key, value } => {
                let mut grown = self.state.get(*key).map(|(value, ..)| value.clone()).unwrap_or_default();
                grown.extend_from_slice(value);
                (grown, WriteOutcome::Done)
            }
            Op::Delete { key } => {
                let outcome = if self.state.remove(*key).is_some() { WriteOutcome::Deleted } else { WriteOutcome::NotFound };
                return Written { outcome, version: 0, position };
            }
            Op::Cas { key, expect, value } => {
                let (held, version) = self.state.get(*key).map_or((None, 0), |(value, version, _)| (Some(value.as_slice()), *version));
                let is_as_expected = match expect {
                    Expect::Absent => held.is_none(),
                    Expect::Value(expected) => held == Some(*expected),
                    Expect::Version(expected) => version == *expected,
                };
                if !is_as_expected {
                    return Written { outcome: WriteOutcome::NotSwapped, version, position };
                }
                (value.to_vec(), WriteOutcome::Swapped)
            }
        };
        let version = self.state.get(op.key()).map_or(1, |(_, version, _)| version + 1);
        self.state.insert(op.key().to_vec(), (value, version, position.0));
        Written { outcome, version, position }
    }

    fn status(&self) -> NodeStatus {
        let member = |(id, client_addr): &(u64, String)| MemberStatus {
            id: NodeId(*id),
            name: format!("n{id}"),
            voter: true,
            client_addr: client_addr.clone(),
            peer_addr: format!("n{id}:7217"),
            announced: true,
        };
        let leads = self.leader() == Some(NodeId(self.id));
        NodeStatus {
            cluster_id: CLUSTER,
            id: NodeId(self.id),
            name: format!("n{}", self.id),
            client_addr: self.members.iter().find(|(id, _)| *id == self.id).map(|(_, address)| address.clone()).unwrap_or_default(),
            peer_addr: format!("n{}:7217", self.id),
            role: if leads { RoleName::Leader } else { RoleName::Follower },
            voter: true,
            leader: self.leader(),
            term: Term(3),
            first_log_index: Index(1),
            last_log_index: Index(self.applied_index),
            commit_index: Index(self.applied_index),
            applied_index: Index(self.applied_index),
            snapshot_index: Index(0),
            log_bytes: 1000,
            snapshot_bytes: 0,
            keys: self.state.len() as u64,
            data_bytes: 0,
            sessions: 0,
            state_digest: 0,
            digest_index: Index(0),
            peer_messages_received: 0,
            peer_bytes: 0,
            fsync_us_p99: 0,
            uptime_ms: 0,
            version: "0.1.0".into(),
            formed: !self.unformed,
            members: self.members.iter().map(member).collect(),
        }
    }
}

fn call_of(command: &[u8]) -> Option<CallId> {
    match Command::decode(command) {
        Ok(Command::Write { call, .. }) => Some(call),
        _ => None,
    }
}

fn name_of(request: &Request<'_>) -> String {
    match request {
        Request::Write { command } => match Command::decode(command) {
            Ok(Command::Write { call, .. }) => format!("write {} {}", call.session.0, call.seq),
            _ => "write of something else".into(),
        },
        Request::Get { .. } => "get".into(),
        Request::Status => "status".into(),
        Request::Members => "members".into(),
        Request::GetStale { .. } => "stale get".into(),
        Request::Scan(scan) => {
            if scan.stale {
                "stale scan".into()
            } else {
                "scan".into()
            }
        }
        Request::ScanNext { .. } => "next page".into(),
    }
}
