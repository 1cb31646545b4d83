//! Any well-formed value of each type.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use raft::{AppendOutcome, ClusterId, DiskId, EntryHeader, EntryId, EntryKind, Incarnation, Index, Message, NodeId, ReadToken, Term};
use wire::limits::{ADDRESS_LEN_MAX, MEMBERS_MAX, MESSAGE_LEN_MAX, NAME_LEN_MAX, VERSION_LEN_MAX};
use wire::{
    Announce, BusyReason, CallId, Command, Expect, Hello, Member, MemberAddress, MemberStatus, NodeStatus, Op, PeerHello, Purpose, Refused,
    RefusedReason, RejectedReason, Reply, Request, RoleName, SessionId, Value, Welcome, WriteOutcome, Written,
};

const LIMIT: u64 = raft::TERM_AND_INDEX_LIMIT;

fn term() -> impl Strategy<Value = Term> {
    (0..LIMIT).prop_map(Term)
}

pub(crate) fn index() -> impl Strategy<Value = Index> {
    (0..LIMIT).prop_map(Index)
}

pub(crate) fn entry_id() -> impl Strategy<Value = EntryId> {
    (index(), term()).prop_map(|(index, term)| EntryId { index, term })
}

fn node() -> impl Strategy<Value = NodeId> {
    (1..LIMIT).prop_map(NodeId)
}

fn cluster_id() -> impl Strategy<Value = ClusterId> {
    any::<u128>().prop_map(ClusterId)
}

fn disk_id() -> impl Strategy<Value = DiskId> {
    any::<u128>().prop_map(DiskId)
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..40)
}

/// Mostly short, sometimes as long as allowed.
fn text(len_max: usize) -> impl Strategy<Value = String> {
    prop_oneof![8 => "\\PC{0,12}", 1 => Just("x".repeat(len_max))]
}

/// Mostly a few, sometimes as many as allowed.
fn list<T: std::fmt::Debug + Clone + 'static>(item: impl Strategy<Value = T> + 'static) -> impl Strategy<Value = Vec<T>> {
    let item = item.boxed();
    prop_oneof![8 => vec(item.clone(), 0..4), 1 => vec(item, MEMBERS_MAX)]
}

fn peer_hello() -> impl Strategy<Value = PeerHello> {
    let addresses = (text(ADDRESS_LEN_MAX), text(ADDRESS_LEN_MAX));
    (node(), option::of(node()), disk_id(), any::<u64>(), addresses, text(VERSION_LEN_MAX)).prop_map(
        |(node, to, disk_id, incarnation, (client_addr, peer_addr), version)| PeerHello {
            node,
            to,
            disk_id,
            incarnation: Incarnation(incarnation),
            client_addr,
            peer_addr,
            version,
        },
    )
}

pub(crate) fn hello() -> impl Strategy<Value = Hello> {
    let purpose = select(vec![Purpose::Control, Purpose::Entries, Purpose::Snapshot]);
    prop_oneof![
        option::of(cluster_id()).prop_map(|cluster_id| Hello::Client { cluster_id }),
        (cluster_id(), purpose, peer_hello()).prop_map(|(cluster_id, purpose, peer)| Hello::Peer { cluster_id, purpose, peer }),
    ]
}

/// The answer to a node.
pub(crate) fn peer_welcome() -> impl Strategy<Value = Result<PeerHello, Refused>> {
    prop_oneof![peer_hello().prop_map(Ok), refused().prop_map(Err)]
}

fn member_addresses() -> impl Strategy<Value = Vec<MemberAddress>> {
    let member = (node(), text(NAME_LEN_MAX), text(ADDRESS_LEN_MAX));
    list(member.prop_map(|(id, name, client_addr)| MemberAddress { id, name, client_addr }))
}

/// The answer to a client.
pub(crate) fn welcome() -> impl Strategy<Value = Result<Welcome, Refused>> {
    let welcome = (cluster_id(), node(), index(), option::of(node()), member_addresses(), text(VERSION_LEN_MAX)).prop_map(
        |(cluster_id, node, applied_index, leader, members, version)| Welcome { cluster_id, node, applied_index, leader, members, version },
    );
    prop_oneof![welcome.prop_map(Ok), refused().prop_map(Err)]
}

fn refused() -> impl Strategy<Value = Refused> {
    use RefusedReason::*;
    let reason = select(vec![WrongCluster, WrongVersion, WrongDisk, WrongNode, NotAMember, NotHello, TooManyConnections]);
    (reason, text(MESSAGE_LEN_MAX)).prop_map(|(reason, message)| Refused { reason, message })
}

/// A request with bytes of its own.
#[derive(Clone, Debug)]
pub(crate) enum OwnedRequest {
    Write(Vec<u8>),
    Get(Vec<u8>),
    GetStale(Vec<u8>),
    Scan { stale: bool, keys_only: bool, from: Vec<u8>, to: Option<Vec<u8>>, limit: Option<u64> },
    ScanNext(u64),
    Status,
    Members,
}

impl OwnedRequest {
    pub(crate) fn request(&self) -> Request<'_> {
        match self {
            OwnedRequest::Write(command) => Request::Write { command },
            OwnedRequest::Get(key) => Request::Get { key },
            OwnedRequest::GetStale(key) => Request::GetStale { key },
            OwnedRequest::Scan { stale, keys_only, from, to, limit } => {
                Request::Scan(wire::Scan { stale: *stale, keys_only: *keys_only, from, to: to.as_deref(), limit: *limit })
            }
            OwnedRequest::ScanNext(scan) => Request::ScanNext { scan: *scan },
            OwnedRequest::Status => Request::Status,
            OwnedRequest::Members => Request::Members,
        }
    }
}

pub(crate) fn request() -> impl Strategy<Value = OwnedRequest> {
    let scan = (any::<[bool; 2]>(), bytes(), option::of(bytes()), option::of(any::<u64>()))
        .prop_map(|([stale, keys_only], from, to, limit)| OwnedRequest::Scan { stale, keys_only, from, to, limit });
    prop_oneof![
        1 => bytes().prop_map(OwnedRequest::GetStale),
        2 => scan,
        1 => any::<u64>().prop_map(OwnedRequest::ScanNext),
        4 => payload().prop_map(OwnedRequest::Write),
        2 => bytes().prop_map(OwnedRequest::Get),
        1 => Just(OwnedRequest::Status),
        1 => Just(OwnedRequest::Members),
    ]
}

fn written() -> impl Strategy<Value = Written> {
    use WriteOutcome::*;
    let outcome = select(vec![Done, Deleted, NotFound, Swapped, NotSwapped, ValueTooLong]);
    (outcome, any::<u64>(), index()).prop_map(|(outcome, version, position)| Written { outcome, version, position })
}

pub(crate) fn reply() -> impl Strategy<Value = Reply> {
    let value = || (bytes(), any::<u64>(), index()).prop_map(|(value, version, modified)| Value { value, version, modified });
    let stale_value = (option::of(value()), index(), option::of(any::<u64>())).prop_map(|(value, position, age_ms)| Reply::StaleValue {
        value,
        position,
        age_ms,
    });
    let item = (bytes(), bytes(), any::<u64>()).prop_map(|(key, value, version)| wire::Item { key, value, version });
    let page = (any::<u64>(), index(), option::of(any::<u64>()), any::<bool>(), vec(item, 0..4))
        .prop_map(|(scan, position, age_ms, last, items)| Reply::Page(wire::Page { scan, position, age_ms, last, items }));
    let busy = select(vec![BusyReason::Uncommitted, BusyReason::Waiting, BusyReason::Full, BusyReason::NoSpace, BusyReason::Log]);
    use RejectedReason::*;
    let rejected = select(vec![KeyEmpty, KeyTooLong, ValueTooLong, Version, Sequence]);
    prop_oneof![
        written().prop_map(Reply::Written),
        (option::of(value()), index()).prop_map(|(value, position)| Reply::Value { value, position }),
        status().prop_map(|status| Reply::Status(Box::new(status))),
        (option::of(node()), member_addresses()).prop_map(|(leader, members)| Reply::Members { leader, members }),
        (option::of(node()), text(ADDRESS_LEN_MAX)).prop_map(|(leader, client_addr)| Reply::NotLeader { leader, client_addr }),
        busy.prop_map(|reason| Reply::Busy { reason }),
        list(text(NAME_LEN_MAX)).prop_map(|missing| Reply::Forming { missing }),
        Just(Reply::Replaced),
        Just(Reply::LeadershipLost),
        Just(Reply::SessionExpired),
        stale_value,
        page,
        Just(Reply::ScanLost),
        rejected.prop_map(|reason| Reply::Rejected { reason }),
    ]
}

pub(crate) fn status() -> impl Strategy<Value = NodeStatus> {
    use RoleName::*;
    let role = select(vec![Follower, PreCandidate, Candidate, Leader, Learner]);
    let texts = (text(NAME_LEN_MAX), text(ADDRESS_LEN_MAX), text(ADDRESS_LEN_MAX), text(VERSION_LEN_MAX));
    let member = (node(), text(NAME_LEN_MAX), text(ADDRESS_LEN_MAX), text(ADDRESS_LEN_MAX), any::<[bool; 2]>()).prop_map(
        |(id, name, client_addr, peer_addr, [voter, announced])| MemberStatus { id, name, voter, client_addr, peer_addr, announced },
    );
    let numbers = (any::<[u64; 10]>(), vec(index(), 6));
    (cluster_id(), (node(), option::of(node()), term()), texts, role, any::<[bool; 2]>(), numbers, list(member)).prop_map(
        |(cluster_id, (id, leader, term), (name, client_addr, peer_addr, version), role, [voter, formed], (n, i), members)| NodeStatus {
            cluster_id,
            id,
            name,
            client_addr,
            peer_addr,
            role,
            voter,
            leader,
            term,
            first_log_index: i[0],
            last_log_index: i[1],
            commit_index: i[2],
            applied_index: i[3],
            snapshot_index: i[4],
            log_bytes: n[0],
            snapshot_bytes: n[1],
            keys: n[2],
            data_bytes: n[3],
            sessions: n[4],
            state_digest: n[5],
            digest_index: i[5],
            peer_messages_received: n[6],
            peer_bytes: n[7],
            fsync_us_p99: n[8],
            uptime_ms: n[9],
            version,
            formed,
            members,
        },
    )
}

/// A command with bytes of its own.
#[derive(Clone, Debug)]
pub(crate) enum OwnedCommand {
    Write { call: CallId, op: u8, key: Vec<u8>, expect: (u8, Vec<u8>, u64), value: Vec<u8> },
    Announce(Announce),
}

impl OwnedCommand {
    pub(crate) fn command(&self) -> Command<'_> {
        match self {
            OwnedCommand::Announce(announce) => Command::Announce(announce.clone()),
            OwnedCommand::Write { call, op, key, expect, value } => {
                let expect = match expect {
                    (0, ..) => Expect::Absent,
                    (1, value, _) => Expect::Value(value),
                    (_, _, version) => Expect::Version(*version),
                };
                let op = match op {
                    0 => Op::Put { key, value },
                    1 => Op::Append { key, value },
                    2 => Op::Delete { key },
                    _ => Op::Cas { key, expect, value },
                };
                Command::Write { call: *call, op }
            }
        }
    }
}

pub(crate) fn command() -> impl Strategy<Value = OwnedCommand> {
    let call = (any::<u128>(), index(), any::<[u64; 2]>()).prop_map(|(session, birth_index, [seq, first_unanswered])| CallId {
        session: SessionId(session),
        birth_index,
        seq,
        first_unanswered,
    });
    let write = (call, 0_u8..4, bytes(), (0_u8..3, bytes(), any::<u64>()), bytes())
        .prop_map(|(call, op, key, expect, value)| OwnedCommand::Write { call, op, key, expect, value });
    let announce = (node(), disk_id(), text(ADDRESS_LEN_MAX), text(ADDRESS_LEN_MAX), text(VERSION_LEN_MAX)).prop_map(
        |(node, disk_id, client_addr, peer_addr, version)| {
            OwnedCommand::Announce(Announce { node, disk_id, client_addr, peer_addr, version })
        },
    );
    prop_oneof![4 => write, 1 => announce]
}

pub(crate) fn membership() -> impl Strategy<Value = Vec<Member>> {
    list((node(), text(NAME_LEN_MAX), text(ADDRESS_LEN_MAX), any::<bool>())).prop_map(|members| {
        let mut members: Vec<_> = members.into_iter().map(|(id, name, peer_addr, voter)| Member { id, name, peer_addr, voter }).collect();
        members.sort_by_key(|member| member.id);
        members.dedup_by_key(|member| member.id);
        members
    })
}

/// What the log may carry: an encoded command or membership.
pub(crate) fn payload() -> impl Strategy<Value = Vec<u8>> {
    let command = command().prop_map(|command| {
        let mut out = Vec::new();
        command.command().encode(&mut out);
        out
    });
    let membership = membership().prop_map(|members| {
        let mut out = Vec::new();
        wire::encode_membership(&members, &mut out);
        out
    });
    prop_oneof![4 => command, 1 => membership]
}

fn token() -> impl Strategy<Value = ReadToken> {
    any::<[u64; 2]>().prop_map(|[incarnation, round]| ReadToken { incarnation: Incarnation(incarnation), round })
}

fn append() -> impl Strategy<Value = (Message, Vec<u8>)> {
    let kind = select(vec![EntryKind::Command, EntryKind::NoOp, EntryKind::Membership]);
    let entry = (any::<u64>(), kind, bytes());
    // Terms rise by small steps from the entry before to the leader's.
    (0..LIMIT / 2, index(), index(), vec((0_u64..3, entry), 0..6), 0_u64..3).prop_map(|(prev_term, prev, leader_commit, steps, more)| {
        let prev_log_index = Index(prev.0 / 2);
        let (mut term, mut index) = (Term(prev_term), prev_log_index);
        let (mut entries, mut bytes) = (Vec::new(), Vec::new());
        for (step, (time_ms, kind, payload)) in steps {
            (term, index) = (Term(term.0 + step), index.next());
            let header = EntryHeader { term, time_ms, payload_len: u32::try_from(payload.len()).unwrap(), kind };
            entries.push(header.meta(index));
            bytes.extend_from_slice(&header.encode());
            bytes.extend_from_slice(&payload);
        }
        let term = Term(term.0 + more);
        (Message::Append { term, prev_log_index, prev_log_term: Term(prev_term), leader_commit, entries }, bytes)
    })
}

/// A message, and the bytes of its entries.
pub(crate) fn message() -> impl Strategy<Value = (Message, Vec<u8>)> {
    let outcome = prop_oneof![
        index().prop_map(|match_index| AppendOutcome::Accepted { match_index }),
        (index(), index(), term()).prop_map(|(prev_log_index, hint_index, hint_term)| AppendOutcome::Rejected {
            prev_log_index,
            hint_index,
            hint_term
        }),
    ];
    let bare = prop_oneof![
        (term(), index(), term()).prop_map(|(term, last_log_index, last_log_term)| Message::PreVote {
            term,
            last_log_index,
            last_log_term
        }),
        (term(), any::<bool>()).prop_map(|(term, vote_granted)| Message::PreVoteReply { term, vote_granted }),
        (term(), index(), term(), any::<bool>()).prop_map(|(term, last_log_index, last_log_term, transfer)| Message::RequestVote {
            term,
            last_log_index,
            last_log_term,
            transfer
        }),
        (term(), any::<bool>()).prop_map(|(term, vote_granted)| Message::RequestVoteReply { term, vote_granted }),
        (term(), outcome).prop_map(|(term, outcome)| Message::AppendReply { term, outcome }),
        (term(), index(), option::of(token())).prop_map(|(term, leader_commit, read_token)| Message::Heartbeat {
            term,
            leader_commit,
            read_token
        }),
        (term(), option::of(token())).prop_map(|(term, read_token)| Message::HeartbeatReply { term, read_token }),
        (term(), token()).prop_map(|(term, token)| Message::ReadIndex { term, token }),
        (term(), token(), index()).prop_map(|(term, token, index)| Message::ReadIndexReply { term, token, index }),
        (term(), entry_id()).prop_map(|(term, last_included)| Message::InstallSnapshot { term, last_included }),
    ];
    prop_oneof![2 => append(), 5 => bare.prop_map(|message| (message, Vec::new()))]
}

/// A chunk of a snapshot: which, the length of its file, the offset, the bytes.
pub(crate) fn chunk() -> impl Strategy<Value = (EntryId, u64, u64, Vec<u8>)> {
    let file =
        prop_oneof![3 => 0_u64..100, 1 => 0..=u64::MAX - 40].prop_flat_map(|offset| (Just(offset), bytes(), 0..=u64::MAX - 40 - offset));
    (entry_id(), file).prop_map(|(last, (offset, bytes, behind))| (last, offset + bytes.len() as u64 + behind, offset, bytes))
}

/// Any frame, encoded.
pub(crate) fn frame() -> impl Strategy<Value = Vec<u8>> {
    let encoded = |encode: &dyn Fn(&mut Vec<u8>)| {
        let mut out = Vec::new();
        encode(&mut out);
        out
    };
    prop_oneof![
        hello().prop_map(move |hello| encoded(&|out| wire::encode_hello(&hello, out))),
        welcome().prop_map(move |answer| encoded(&|out| match &answer {
            Ok(welcome) => wire::encode_welcome(welcome, out),
            Err(refused) => wire::encode_refused(refused, out),
        })),
        peer_welcome().prop_map(move |answer| encoded(&|out| match &answer {
            Ok(peer) => wire::encode_peer_welcome(peer, out),
            Err(refused) => wire::encode_refused(refused, out),
        })),
        (any::<u64>(), request()).prop_map(move |(id, request)| encoded(&|out| wire::encode_request(id, &request.request(), out))),
        (any::<u64>(), reply()).prop_map(move |(id, reply)| encoded(&|out| wire::encode_reply(id, &reply, out))),
        message().prop_map(move |(message, entries)| encoded(&|out| wire::encode_raft(&message, &entries, out))),
        (entry_id(), any::<u64>()).prop_map(move |(last, offset)| encoded(&|out| wire::encode_snapshot_fetch(last, offset, out))),
        chunk().prop_map(move |(last, file_len, offset, bytes)| encoded(&|out| {
            wire::encode_snapshot_chunk(last, file_len, offset, &bytes, out)
        })),
        (index(), any::<u64>()).prop_map(move |(index, digest)| encoded(&|out| wire::encode_state_digest(index, digest, out))),
        Just(encoded(&|out| wire::encode_ping(out))),
        Just(encoded(&|out| wire::encode_pong(out))),
    ]
}
