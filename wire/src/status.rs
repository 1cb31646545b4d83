//! How a node is, as it tells whoever asks. The one message that grows: a later version adds its fields behind the last one, and a
//! reader ignores what it finds behind the fields it knows. No field is ever moved, resized or removed.
//!
//! The fields, in this order:
//!
//! | field                  | type          | meaning                                                                         |
//! |------------------------|---------------|---------------------------------------------------------------------------------|
//! | cluster id             | 16            |                                                                                 |
//! | id                     | node          | who it is                                                                       |
//! | name                   | name          |                                                                                 |
//! | client address         | address       | where clients reach it                                                          |
//! | peer address           | address       | where peers reach it                                                            |
//! | role                   | 1             | 1 follower, 2 pre-candidate, 3 candidate, 4 leader, 5 learner                   |
//! | voter                  | bool          | whether it votes                                                                |
//! | leader                 | optional node | whom it follows, or itself                                                      |
//! | term                   | term          |                                                                                 |
//! | first log index        | index         | first entry it still has                                                        |
//! | last log index         | index         | last entry it has                                                               |
//! | commit index           | index         |                                                                                 |
//! | applied index          | index         |                                                                                 |
//! | snapshot index         | index         | last entry in its snapshot; 0: none                                             |
//! | log bytes              | 8             | encoded hard state and entries above the snapshot                               |
//! | snapshot bytes         | 8             |                                                                                 |
//! | keys                   | 8             | how many                                                                        |
//! | data bytes             | 8             | keys and values                                                                 |
//! | sessions               | 8             | how many                                                                        |
//! | state digest           | 8             | of the state at the digest index                                                |
//! | digest index           | index         |                                                                                 |
//! | peer messages received | 8             | since the start                                                                 |
//! | peer bytes             | 8             | sent and received, since the start                                              |
//! | fsync us p99           | 8             | of the log's syncs since the start, microseconds                                |
//! | uptime ms              | 8             |                                                                                 |
//! | version                | version       |                                                                                 |
//! | formed                 | bool          | whether every first member was heard and recorded; until then nothing is served |
//! | members                | list          | what it knows of each                                                           |
//!
//! A member:
//!
//! | field          | type    | meaning                                        |
//! |----------------|---------|------------------------------------------------|
//! | id             | node    | who                                            |
//! | name           | name    |                                                |
//! | voter          | bool    | whether it votes                               |
//! | client address | address | where clients reach it; empty: never announced |
//! | peer address   | address | where peers reach it                           |
//! | announced      | bool    | whether its disk is on record                  |

use raft::{Index, NodeId, Term};

use crate::codec::{DecodeError, Reader, Writer};
use crate::limits::{ADDRESS_LEN_MAX, NAME_LEN_MAX, VERSION_LEN_MAX};

/// A role, for people.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum RoleName {
    /// Follows.
    Follower = 1,
    /// Asks whether it would be elected.
    PreCandidate = 2,
    /// Asks to be elected.
    Candidate = 3,
    /// Leads.
    Leader = 4,
    /// Learns, and does not vote.
    Learner = 5,
}

/// How a node is, as it sees itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeStatus {
    /// Which cluster.
    pub cluster_id: raft::ClusterId,
    /// Who.
    pub id: NodeId,
    /// Its name.
    pub name: String,
    /// Where clients reach it.
    pub client_addr: String,
    /// Where peers reach it.
    pub peer_addr: String,
    /// What it does.
    pub role: RoleName,
    /// Whether it votes.
    pub voter: bool,
    /// Whom it follows.
    pub leader: Option<NodeId>,
    /// Its term.
    pub term: Term,
    /// First entry it still has.
    pub first_log_index: Index,
    /// Last entry it has.
    pub last_log_index: Index,
    /// Committed.
    pub commit_index: Index,
    /// Applied.
    pub applied_index: Index,
    /// Last entry in its snapshot; 0: none.
    pub snapshot_index: Index,
    /// Encoded hard state and entries above the snapshot, bytes.
    pub log_bytes: u64,
    /// The snapshot, bytes.
    pub snapshot_bytes: u64,
    /// Keys.
    pub keys: u64,
    /// Keys and values, bytes.
    pub data_bytes: u64,
    /// Sessions.
    pub sessions: u64,
    /// Digest of the state at `digest_index`.
    pub state_digest: u64,
    /// The applied index that `state_digest` belongs to.
    pub digest_index: Index,
    /// Messages received from peers since the start.
    pub peer_messages_received: u64,
    /// Bytes sent to and received from peers since the start.
    pub peer_bytes: u64,
    /// 99th percentile of the log's sync, microseconds, since the start.
    pub fsync_us_p99: u64,
    /// Since the start, milliseconds.
    pub uptime_ms: u64,
    /// Its version.
    pub version: String,
    /// Whether every first member was heard and recorded; until then nothing is served.
    pub formed: bool,
    /// The members, as this node knows them.
    pub members: Vec<MemberStatus>,
}

/// A member, as a node knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemberStatus {
    /// Its id.
    pub id: NodeId,
    /// Its name.
    pub name: String,
    /// Whether it votes.
    pub voter: bool,
    /// Where clients reach it; empty: never announced.
    pub client_addr: String,
    /// Where peers reach it.
    pub peer_addr: String,
    /// Whether it has announced its disk.
    pub announced: bool,
}

impl RoleName {
    fn from_code(code: u8) -> Option<RoleName> {
        use RoleName::*;
        [Follower, PreCandidate, Candidate, Leader, Learner].into_iter().find(|role| *role as u8 == code)
    }
}

impl NodeStatus {
    /// Appends the fields.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u128(self.cluster_id.0);
        out.put_u64(self.id.0);
        out.put_text(&self.name, NAME_LEN_MAX);
        out.put_text(&self.client_addr, ADDRESS_LEN_MAX);
        out.put_text(&self.peer_addr, ADDRESS_LEN_MAX);
        out.put_u8(self.role as u8);
        out.put_bool(self.voter);
        out.put_optional(self.leader, |out, leader| out.put_u64(leader.0));
        out.put_u64(self.term.0);
        out.put_u64(self.first_log_index.0);
        out.put_u64(self.last_log_index.0);
        out.put_u64(self.commit_index.0);
        out.put_u64(self.applied_index.0);
        out.put_u64(self.snapshot_index.0);
        out.put_u64(self.log_bytes);
        out.put_u64(self.snapshot_bytes);
        out.put_u64(self.keys);
        out.put_u64(self.data_bytes);
        out.put_u64(self.sessions);
        out.put_u64(self.state_digest);
        out.put_u64(self.digest_index.0);
        out.put_u64(self.peer_messages_received);
        out.put_u64(self.peer_bytes);
        out.put_u64(self.fsync_us_p99);
        out.put_u64(self.uptime_ms);
        out.put_text(&self.version, VERSION_LEN_MAX);
        out.put_bool(self.formed);
        out.put_list(&self.members, |out, member| member.write(out));
    }

    /// Reads the fields; what a later version wrote behind them is ignored.
    pub fn decode(bytes: &[u8]) -> Result<NodeStatus, DecodeError> {
        NodeStatus::read(&mut Reader::new(bytes))
    }

    /// Reads to the end: nothing may follow a status.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<NodeStatus, DecodeError> {
        let status = NodeStatus {
            cluster_id: reader.cluster_id()?,
            id: reader.node("id")?,
            name: reader.text("name", NAME_LEN_MAX)?,
            client_addr: reader.text("client_addr", ADDRESS_LEN_MAX)?,
            peer_addr: reader.text("peer_addr", ADDRESS_LEN_MAX)?,
            role: reader.code("role", RoleName::from_code)?,
            voter: reader.bool("voter")?,
            leader: reader.optional("leader", |reader| reader.node("leader"))?,
            term: reader.term("term")?,
            first_log_index: reader.index("first_log_index")?,
            last_log_index: reader.index("last_log_index")?,
            commit_index: reader.index("commit_index")?,
            applied_index: reader.index("applied_index")?,
            snapshot_index: reader.index("snapshot_index")?,
            log_bytes: reader.u64("log_bytes")?,
            snapshot_bytes: reader.u64("snapshot_bytes")?,
            keys: reader.u64("keys")?,
            data_bytes: reader.u64("data_bytes")?,
            sessions: reader.u64("sessions")?,
            state_digest: reader.u64("state_digest")?,
            digest_index: reader.index("digest_index")?,
            peer_messages_received: reader.u64("peer_messages_received")?,
            peer_bytes: reader.u64("peer_bytes")?,
            fsync_us_p99: reader.u64("fsync_us_p99")?,
            uptime_ms: reader.u64("uptime_ms")?,
            version: reader.text("version", VERSION_LEN_MAX)?,
            formed: reader.bool("formed")?,
            members: reader.list("members", MemberStatus::read)?,
        };
        reader.rest();
        Ok(status)
    }
}

impl MemberStatus {
    fn write(&self, out: &mut Vec<u8>) {
        out.put_u64(self.id.0);
        out.put_text(&self.name, NAME_LEN_MAX);
        out.put_bool(self.voter);
        out.put_text(&self.client_addr, ADDRESS_LEN_MAX);
        out.put_text(&self.peer_addr, ADDRESS_LEN_MAX);
        out.put_bool(self.announced);
    }

    fn read(reader: &mut Reader<'_>) -> Result<MemberStatus, DecodeError> {
        Ok(MemberStatus {
            id: reader.node("id")?,
            name: reader.text("name", NAME_LEN_MAX)?,
            voter: reader.bool("voter")?,
            client_addr: reader.text("client_addr", ADDRESS_LEN_MAX)?,
            peer_addr: reader.text("peer_addr", ADDRESS_LEN_MAX)?,
            announced: reader.bool("announced")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex::hex;

    fn status(role: RoleName) -> NodeStatus {
        NodeStatus {
            cluster_id: raft::ClusterId(1),
            id: NodeId(2),
            name: "n2".into(),
            client_addr: "c:1".into(),
            peer_addr: "p:22".into(),
            role,
            voter: true,
            leader: Some(NodeId(3)),
            term: Term(4),
            first_log_index: Index(5),
            last_log_index: Index(6),
            commit_index: Index(7),
            applied_index: Index(8),
            snapshot_index: Index(9),
            log_bytes: 10,
            snapshot_bytes: 11,
            keys: 12,
            data_bytes: 13,
            sessions: 14,
            state_digest: 15,
            digest_index: Index(16),
            peer_messages_received: 17,
            peer_bytes: 18,
            fsync_us_p99: 19,
            uptime_ms: 20,
            version: "0.1.0".into(),
            formed: false,
            members: vec![MemberStatus {
                id: NodeId(21),
                name: "n".into(),
                voter: true,
                client_addr: String::new(),
                peer_addr: "p".into(),
                announced: false,
            }],
        }
    }

    #[test]
    fn status_bytes_are_fixed_for_ever() {
        for (role, code) in [
            (RoleName::Follower, "01"),
            (RoleName::PreCandidate, "02"),
            (RoleName::Candidate, "03"),
            (RoleName::Leader, "04"),
            (RoleName::Learner, "05"),
        ] {
            let counted: String = (4..=20).map(|n| format!("{n:02x}00000000000000 ")).collect(); // term to uptime
            let bytes = format!(
                "01000000000000000000000000000000 0200000000000000 0200 6e32 0300 633a31 0400 703a3232
                {code} 01 01 0300000000000000 # role, voter, leader
                {counted}
                0500 302e312e30 00 0100 # version, formed, members
                1500000000000000 0100 6e 01 0000 0100 70 00"
            );
            let mut out = Vec::new();
            status(role).encode(&mut out);
            assert_eq!(out, hex(&bytes));
            assert_eq!(NodeStatus::decode(&out), Ok(status(role)));
        }
    }

    #[test]
    fn fields_of_a_later_version_are_ignored() {
        let mut bytes = Vec::new();
        status(RoleName::Leader).encode(&mut bytes);
        for len in 0..bytes.len() {
            assert!(NodeStatus::decode(&bytes[..len]).is_err(), "{len}");
        }
        bytes.extend_from_slice(b"and more");
        assert_eq!(NodeStatus::decode(&bytes), Ok(status(RoleName::Leader)));
    }
}
