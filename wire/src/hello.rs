//! The first frame on every connection, in both directions: who is there, and whether we may talk.
//!
//! How fields are written stands in PROTOCOL.md, "Fields". `Hello`, the body of a frame of kind 1:
//!
//! | offset | size | field              | meaning                                                       |
//! |-------:|-----:|--------------------|---------------------------------------------------------------|
//! |      0 |    6 | magic              | `kvraft`                                                      |
//! |      6 |    2 | protocol version   | 1; of another version only the bytes to here can be relied on |
//! |      8 |    1 | who                | 1 client, 2 node                                              |
//! |      9 |      | client: cluster id | optional 16: the one it means, from an earlier answer         |
//! |      9 |   16 | node: cluster id   |                                                               |
//! |     25 |    1 | node: purpose      | 1 control, 2 entries, 3 snapshot                              |
//! |     26 |      | node: itself       | as in `PeerWelcome`                                           |
//!
//! `Welcome`, kind 2, the answer to a client:
//!
//! | offset | size | field         | meaning                                                    |
//! |-------:|-----:|---------------|------------------------------------------------------------|
//! |      0 |   16 | cluster id    |                                                            |
//! |     16 |    8 | node          | who answers                                                |
//! |     24 |    8 | applied index | the birth index of a session that begins now               |
//! |     32 |      | leader        | optional node: whom this node follows, or itself           |
//! |        |      | version       | of the program                                             |
//! |        |      | members       | list of: node, name, client address (empty: not yet known) |
//!
//! `PeerWelcome`, kind 3, the answer to a node:
//!
//! | offset | size | field          | meaning                                                                 |
//! |-------:|-----:|----------------|-------------------------------------------------------------------------|
//! |      0 |    8 | node           | who speaks                                                              |
//! |      8 |   16 | disk id        | its data directory                                                      |
//! |     24 |    8 | incarnation    | its life: drawn when the process started                                |
//! |     32 |      | to             | optional node: whom the dialler believes to reach; absent in the answer |
//! |        |      | client address | where clients reach it                                                  |
//! |        |      | peer address   | where peers reach it                                                    |
//! |        |      | version        | of the program                                                          |
//!
//! `Refused`, kind 4:
//!
//! | offset | size | field   | meaning                                    |
//! |-------:|-----:|---------|--------------------------------------------|
//! |      0 |    1 | reason  | see below                                  |
//! |      1 |      | message | text for people, at most `MESSAGE_LEN_MAX` |
//!
//! | code | reason                                                                 |
//! |-----:|------------------------------------------------------------------------|
//! |    1 | another cluster's id                                                   |
//! |    2 | a protocol version not spoken here                                     |
//! |    3 | a member whose data directory is not the one it announced              |
//! |    4 | another node was expected at this address                              |
//! |    5 | not a member                                                           |
//! |    6 | the first frame was no `Hello`, or of the wrong kind for this listener |
//! |    7 | no room for another connection                                         |

use raft::{ClusterId, DiskId, Incarnation, Index, NodeId};

use crate::codec::{DecodeError, Reader, Writer};
use crate::frame::{Frame, Kind, encode_frame};
use crate::limits::{ADDRESS_LEN_MAX, MESSAGE_LEN_MAX, NAME_LEN_MAX, VERSION_LEN_MAX};

/// Version of the protocol; a node speaks exactly one so far.
pub const PROTOCOL_VERSION: u16 = 1;

const MAGIC: &[u8; 6] = b"kvraft";

/// What a connection between nodes carries. Bulk never delays a heartbeat: they travel apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Purpose {
    /// Heartbeats, votes, reads, acknowledgements.
    Control,
    /// Appends.
    Entries,
    /// Snapshots.
    Snapshot,
}

/// First frame of whoever dialled.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Hello {
    /// From a client.
    Client {
        /// The cluster it means, if it knows one: from a resume token or an earlier answer.
        cluster_id: Option<ClusterId>,
    },
    /// From a node, on one of its connections to a peer.
    Peer {
        /// The cluster it belongs to.
        cluster_id: ClusterId,
        /// What the connection will carry.
        purpose: Purpose,
        /// Who it is.
        peer: PeerHello,
    },
}

/// What a node says of itself to a peer, in the dialler's `Hello` and in the acceptor's answer alike.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeerHello {
    /// Who speaks.
    pub node: NodeId,
    /// Whom the dialler believes to reach; `None` in the answer.
    pub to: Option<NodeId>,
    /// Its data directory.
    pub disk_id: DiskId,
    /// Its life.
    pub incarnation: Incarnation,
    /// Where clients reach it.
    pub client_addr: String,
    /// Where peers reach it.
    pub peer_addr: String,
    /// Its version.
    pub version: String,
}

/// The answer to a client's `Hello`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Welcome {
    /// Which cluster this is.
    pub cluster_id: ClusterId,
    /// Who answers.
    pub node: NodeId,
    /// What this node has applied: the birth index of a session that begins now.
    pub applied_index: Index,
    /// The leader it knows of.
    pub leader: Option<NodeId>,
    /// Every member with a known client address: endpoints are seeds, the rest is learned here.
    pub members: Vec<MemberAddress>,
    /// Its version.
    pub version: String,
}

/// Where clients reach a member.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemberAddress {
    /// Its id.
    pub id: NodeId,
    /// Its name.
    pub name: String,
    /// `HOST:PORT` for clients; empty while it has not announced one.
    pub client_addr: String,
}

/// "No", and why; the connection is closed behind it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refused {
    /// For programs.
    pub reason: RefusedReason,
    /// For people: names what was found, what was expected and what to do.
    pub message: String,
}

/// Why a connection is refused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum RefusedReason {
    /// Another cluster's id.
    WrongCluster = 1,
    /// A protocol version this node does not speak.
    WrongVersion = 2,
    /// A member whose data directory is not the one it announced.
    WrongDisk = 3,
    /// The dialler expected another node at this address.
    WrongNode = 4,
    /// Not a member of this cluster.
    NotAMember = 5,
    /// The first frame was no `Hello`, or of the wrong kind for this listener.
    NotHello = 6,
    /// No room for another connection.
    TooManyConnections = 7,
}

impl Hello {
    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(MAGIC);
        out.put_u16(PROTOCOL_VERSION);
        match self {
            Hello::Client { cluster_id } => {
                out.put_u8(1);
                out.put_optional(*cluster_id, |out, id| out.put_u128(id.0));
            }
            Hello::Peer { cluster_id, purpose, peer } => {
                out.put_u8(2);
                out.put_u128(cluster_id.0);
                out.put_u8(match purpose {
                    Purpose::Control => 1,
                    Purpose::Entries => 2,
                    Purpose::Snapshot => 3,
                });
                peer.encode(out);
            }
        }
    }

    /// Reads the body.
    pub fn decode(body: &[u8]) -> Result<Hello, DecodeError> {
        let mut reader = Reader::new(body);
        if reader.take("magic", MAGIC.len())? != MAGIC {
            return Err(DecodeError::NotKvraft);
        }
        match reader.u16("protocol_version")? {
            PROTOCOL_VERSION => {}
            found => return Err(DecodeError::ProtocolVersion { found }),
        }
        let is_client = reader.code("who", |code| match code {
            1 => Some(true),
            2 => Some(false),
            _ => None,
        })?;
        let hello = if is_client {
            Hello::Client { cluster_id: reader.optional("cluster_id", Reader::cluster_id)? }
        } else {
            let cluster_id = reader.cluster_id()?;
            let purpose = reader.code("purpose", |code| match code {
                1 => Some(Purpose::Control),
                2 => Some(Purpose::Entries),
                3 => Some(Purpose::Snapshot),
                _ => None,
            })?;
            Hello::Peer { cluster_id, purpose, peer: PeerHello::read(&mut reader)? }
        };
        reader.finish()?;
        Ok(hello)
    }
}

impl PeerHello {
    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u64(self.node.0);
        out.put_u128(self.disk_id.0);
        out.put_u64(self.incarnation.0);
        out.put_optional(self.to, |out, to| out.put_u64(to.0));
        out.put_text(&self.client_addr, ADDRESS_LEN_MAX);
        out.put_text(&self.peer_addr, ADDRESS_LEN_MAX);
        out.put_text(&self.version, VERSION_LEN_MAX);
    }

    /// Reads the body.
    pub fn decode(body: &[u8]) -> Result<PeerHello, DecodeError> {
        let mut reader = Reader::new(body);
        let peer = PeerHello::read(&mut reader)?;
        reader.finish()?;
        Ok(peer)
    }

    fn read(reader: &mut Reader<'_>) -> Result<PeerHello, DecodeError> {
        Ok(PeerHello {
            node: reader.node("node")?,
            disk_id: reader.disk_id()?,
            incarnation: reader.incarnation()?,
            to: reader.optional("to", |reader| reader.node("to"))?,
            client_addr: reader.text("client_addr", ADDRESS_LEN_MAX)?,
            peer_addr: reader.text("peer_addr", ADDRESS_LEN_MAX)?,
            version: reader.text("version", VERSION_LEN_MAX)?,
        })
    }
}

impl Welcome {
    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u128(self.cluster_id.0);
        out.put_u64(self.node.0);
        out.put_u64(self.applied_index.0);
        out.put_optional(self.leader, |out, leader| out.put_u64(leader.0));
        out.put_text(&self.version, VERSION_LEN_MAX);
        out.put_list(&self.members, |out, member| member.write(out));
    }

    /// Reads the body.
    pub fn decode(body: &[u8]) -> Result<Welcome, DecodeError> {
        let mut reader = Reader::new(body);
        let welcome = Welcome {
            cluster_id: reader.cluster_id()?,
            node: reader.node("node")?,
            applied_index: reader.index("applied_index")?,
            leader: reader.optional("leader", |reader| reader.node("leader"))?,
            version: reader.text("version", VERSION_LEN_MAX)?,
            members: reader.list("members", MemberAddress::read)?,
        };
        reader.finish()?;
        Ok(welcome)
    }
}

impl MemberAddress {
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.put_u64(self.id.0);
        out.put_text(&self.name, NAME_LEN_MAX);
        out.put_text(&self.client_addr, ADDRESS_LEN_MAX);
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<MemberAddress, DecodeError> {
        Ok(MemberAddress {
            id: reader.node("id")?,
            name: reader.text("name", NAME_LEN_MAX)?,
            client_addr: reader.text("client_addr", ADDRESS_LEN_MAX)?,
        })
    }
}

impl RefusedReason {
    const ALL: [RefusedReason; 7] = [
        RefusedReason::WrongCluster,
        RefusedReason::WrongVersion,
        RefusedReason::WrongDisk,
        RefusedReason::WrongNode,
        RefusedReason::NotAMember,
        RefusedReason::NotHello,
        RefusedReason::TooManyConnections,
    ];
}

impl Refused {
    /// Appends the body; a message above its maximum is cut.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u8(self.reason as u8);
        out.put_text(&self.message[..self.message.floor_char_boundary(MESSAGE_LEN_MAX)], MESSAGE_LEN_MAX);
    }

    /// Reads the body.
    pub fn decode(body: &[u8]) -> Result<Refused, DecodeError> {
        let mut reader = Reader::new(body);
        let reason = reader.code("reason", |code| RefusedReason::ALL.into_iter().find(|reason| *reason as u8 == code))?;
        let refused = Refused { reason, message: reader.text("message", MESSAGE_LEN_MAX)? };
        reader.finish()?;
        Ok(refused)
    }

    /// What to answer when the first frame is not a `Hello` that this version can read.
    pub fn unreadable(error: &DecodeError) -> Refused {
        let reason = match error {
            DecodeError::ProtocolVersion { .. } => RefusedReason::WrongVersion,
            _ => RefusedReason::NotHello,
        };
        Refused { reason, message: format!("{error}; this node speaks protocol version {PROTOCOL_VERSION}") }
    }
}

/// Appends the frame.
pub fn encode_hello(hello: &Hello, out: &mut Vec<u8>) {
    encode_frame(out, Kind::Hello, |out| hello.encode(out));
}

/// Appends the frame.
pub fn encode_welcome(welcome: &Welcome, out: &mut Vec<u8>) {
    encode_frame(out, Kind::Welcome, |out| welcome.encode(out));
}

/// Appends the frame.
pub fn encode_peer_welcome(peer: &PeerHello, out: &mut Vec<u8>) {
    encode_frame(out, Kind::PeerWelcome, |out| peer.encode(out));
}

/// Appends the frame.
pub fn encode_refused(refused: &Refused, out: &mut Vec<u8>) {
    encode_frame(out, Kind::Refused, |out| refused.encode(out));
}

/// The first frame of whoever dialled.
pub fn decode_hello(frame: Frame<'_>) -> Result<Hello, DecodeError> {
    Hello::decode(frame.expect(Kind::Hello)?)
}

/// The first frame a client gets.
pub fn decode_welcome(frame: Frame<'_>) -> Result<Result<Welcome, Refused>, DecodeError> {
    match frame.kind {
        Kind::Refused => Refused::decode(frame.body).map(Err),
        _ => Welcome::decode(frame.expect(Kind::Welcome)?).map(Ok),
    }
}

/// The first frame a dialling node gets.
pub fn decode_peer_welcome(frame: Frame<'_>) -> Result<Result<PeerHello, Refused>, DecodeError> {
    match frame.kind {
        Kind::Refused => Refused::decode(frame.body).map(Err),
        _ => PeerHello::decode(frame.expect(Kind::PeerWelcome)?).map(Ok),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex::hex;
    use crate::limits::{HELLO_BODY_LEN_MAX, MEMBERS_MAX};

    fn peer() -> PeerHello {
        PeerHello {
            node: NodeId(2),
            to: Some(NodeId(3)),
            disk_id: DiskId(0x0f0e_0d0c_0b0a_0908_0706_0504_0302_0100),
            incarnation: Incarnation(0x8877_6655_4433_2211),
            client_addr: "c:1".into(),
            peer_addr: "p:22".into(),
            version: "0.1.0".into(),
        }
    }

    const PEER_FIELDS: &str = "0200000000000000 # node
        00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f # disk id
        11 22 33 44 55 66 77 88 # incarnation
        01 0300000000000000 # to
        0300 633a31 # client addr
        0400 703a3232 # peer addr
        0500 302e312e30 # version";

    fn pinned_hello(hello: &Hello, bytes: &str) {
        let mut out = Vec::new();
        hello.encode(&mut out);
        assert_eq!(out, hex(bytes));
        assert_eq!(Hello::decode(&out).as_ref(), Ok(hello));
    }

    #[test]
    fn hello_bytes_are_fixed_for_ever() {
        pinned_hello(&Hello::Client { cluster_id: None }, "6b7672616674 0100 01 00");
        let cluster_id = ClusterId(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10);
        let id = "100f0e0d0c0b0a090807060504030201";
        pinned_hello(&Hello::Client { cluster_id: Some(cluster_id) }, &format!("6b7672616674 0100 01 01 {id}"));
        for (purpose, code) in [(Purpose::Control, "01"), (Purpose::Entries, "02"), (Purpose::Snapshot, "03")] {
            let bytes = format!("6b7672616674 0100 02 {id} {code} {PEER_FIELDS}");
            pinned_hello(&Hello::Peer { cluster_id, purpose, peer: peer() }, &bytes);
        }
    }

    #[test]
    fn peer_welcome_bytes_are_fixed_for_ever() {
        let mut out = Vec::new();
        peer().encode(&mut out);
        assert_eq!(out, hex(PEER_FIELDS));
        assert_eq!(PeerHello::decode(&out), Ok(peer()));
    }

    #[test]
    fn welcome_bytes_are_fixed_for_ever() {
        let welcome = Welcome {
            cluster_id: ClusterId(1),
            node: NodeId(2),
            applied_index: Index(0x0304),
            leader: Some(NodeId(5)),
            members: vec![
                MemberAddress { id: NodeId(2), name: "n2".into(), client_addr: "c:1".into() },
                MemberAddress { id: NodeId(5), name: "n5".into(), client_addr: String::new() },
            ],
            version: "0.1.0".into(),
        };
        let bytes = "01000000000000000000000000000000 # cluster id
            0200000000000000 # node
            0403000000000000 # applied index
            01 0500000000000000 # leader
            0500 302e312e30 # version
            0200 # members
            0200000000000000 0200 6e32 0300 633a31
            0500000000000000 0200 6e35 0000";
        let mut out = Vec::new();
        welcome.encode(&mut out);
        assert_eq!(out, hex(bytes));
        assert_eq!(Welcome::decode(&out), Ok(welcome));
    }

    #[test]
    fn refused_bytes_are_fixed_for_ever() {
        for (reason, code) in [
            (RefusedReason::WrongCluster, "01"),
            (RefusedReason::WrongVersion, "02"),
            (RefusedReason::WrongDisk, "03"),
            (RefusedReason::WrongNode, "04"),
            (RefusedReason::NotAMember, "05"),
            (RefusedReason::NotHello, "06"),
            (RefusedReason::TooManyConnections, "07"),
        ] {
            let refused = Refused { reason, message: "no".into() };
            let mut out = Vec::new();
            refused.encode(&mut out);
            assert_eq!(out, hex(&format!("{code} 0200 6e6f")));
            assert_eq!(Refused::decode(&out), Ok(refused));
        }
        let error = DecodeError::Unknown { what: "reason", offset: 0, found: 8 };
        assert_eq!(Refused::decode(&hex("08 0000")), Err(error));
    }

    #[test]
    fn a_long_explanation_is_cut_between_characters() {
        let mut out = Vec::new();
        Refused { reason: RefusedReason::WrongDisk, message: "ä".repeat(MESSAGE_LEN_MAX) + "x" }.encode(&mut out);
        assert_eq!(Refused::decode(&out).unwrap().message, "ä".repeat(MESSAGE_LEN_MAX / 2));
        out.clear();
        Refused { reason: RefusedReason::WrongDisk, message: "x".to_owned() + &"ä".repeat(MESSAGE_LEN_MAX) }.encode(&mut out);
        assert_eq!(Refused::decode(&out).unwrap().message.len(), MESSAGE_LEN_MAX - 1);
    }

    #[test]
    fn a_stranger_and_another_version_are_told_apart() {
        assert_eq!(Hello::decode(b"GET / HTTP/1.1"), Err(DecodeError::NotKvraft));
        let newer = hex("6b7672616674 0200 ff");
        let error = Hello::decode(&newer).unwrap_err();
        assert_eq!(error, DecodeError::ProtocolVersion { found: 2 });
        let refused = Refused::unreadable(&error);
        assert_eq!(refused.reason, RefusedReason::WrongVersion);
        assert_eq!(refused.message, "the greeting is of protocol version 2; this node speaks protocol version 1");
        assert_eq!(Refused::unreadable(&DecodeError::NotKvraft).reason, RefusedReason::NotHello);
    }

    #[test]
    fn the_largest_greetings_fit_before_the_greeting_is_done() {
        let longest = |len| "x".repeat(len);
        let member = MemberAddress { id: NodeId(1), name: longest(NAME_LEN_MAX), client_addr: longest(ADDRESS_LEN_MAX) };
        let welcome = Welcome {
            cluster_id: ClusterId(1),
            node: NodeId(1),
            applied_index: Index(1),
            leader: Some(NodeId(1)),
            members: vec![member; MEMBERS_MAX],
            version: longest(VERSION_LEN_MAX),
        };
        let mut out = Vec::new();
        welcome.encode(&mut out);
        assert!(out.len() <= HELLO_BODY_LEN_MAX, "{}", out.len());
    }

    #[test]
    fn a_refusal_is_an_answer_to_either_greeting() {
        let refused = Refused { reason: RefusedReason::WrongCluster, message: String::new() };
        let body = hex("01 0000");
        let frame = Frame { kind: Kind::Refused, body: &body };
        assert_eq!(decode_welcome(frame), Ok(Err(refused.clone())));
        assert_eq!(decode_peer_welcome(frame), Ok(Err(refused)));
        let error = DecodeError::WrongKind { expected: Kind::Hello, found: Kind::Refused };
        assert_eq!(decode_hello(frame), Err(error));
    }
}
