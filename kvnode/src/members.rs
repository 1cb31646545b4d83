//! Who the members are, and the guard against a wiped disk.
//!
//! The membership entry names them; each then *announces* its disk and addresses, through the log. Until every first member has announced
//! itself and that is committed, the cluster is not *formed* and serves nothing. A member with another disk id than it has announced has
//! lost its votes and entries, and is refused by all: it could vote twice in one term, or let a leader win that lacks what was
//! acknowledged.
//!
//! Who has announced itself is known from the log, whether that is committed or not: what is truncated is forgotten. A node whose log
//! lacks any first member's announcement cannot tell whether that member was wiped, so it stands for election by every vote
//! (`raft::Raft::require_every_vote`). Once one such leader has appended all announcements they are safe like any other entry: whoever
//! holds them refuses to vote for a log without them, and that log needs every vote; whoever is elected by a majority counted only votes
//! of announced disks.

use std::collections::BTreeMap;

use data::InitialMember;
use raft::{DiskId, EntryHeader, EntryKind, Index, NodeId, Term};
use wire::command::{Announce, Member};
use wire::hello::{MemberAddress, PeerHello, Refused, RefusedReason};

/// The members and what they have announced.
#[derive(Default)]
pub(crate) struct Members {
    records: BTreeMap<NodeId, Record>,
    formed: bool,
    /// Announcements in the log that are not applied yet. Not part of the replicated state.
    in_log: BTreeMap<Index, (NodeId, DiskId)>,
}

struct Record {
    name: String,
    peer_addr: String,
    voter: bool,
    announced: Option<Announce>,
}

impl Members {
    /// The whole membership from here on. What members have announced stays true.
    pub(crate) fn set(&mut self, members: Vec<Member>) {
        let mut old = std::mem::take(&mut self.records);
        for Member { id, name, peer_addr, voter } in members {
            let announced = old.remove(&id).and_then(|record| record.announced);
            self.records.insert(id, Record { name, peer_addr, voter, announced });
        }
        self.form_if_complete();
    }

    /// Members and announcements from a snapshot, instead of what was known; the log behind it begins anew.
    pub(crate) fn restore(&mut self, formed: bool, members: &[(Member, Option<Announce>)]) {
        let record = |(member, announced): &(Member, Option<Announce>)| {
            let Member { id, name, peer_addr, voter } = member.clone();
            (id, Record { name, peer_addr, voter, announced: announced.clone() })
        };
        self.records = members.iter().map(record).collect();
        self.formed |= formed;
        self.in_log.clear();
    }

    /// For a snapshot: every member and what it has announced.
    pub(crate) fn image(&self) -> Vec<(Member, Option<Announce>)> {
        let member = |(id, record): (&NodeId, &Record)| {
            let Record { name, peer_addr, voter, announced } = record;
            (Member { id: *id, name: name.clone(), peer_addr: peer_addr.clone(), voter: *voter }, announced.clone())
        };
        self.records.iter().map(member).collect()
    }

    /// A committed announcement. The first disk id counts for ever.
    pub(crate) fn announce(&mut self, announce: Announce) {
        let Some(record) = self.records.get_mut(&announce.node) else { return };
        if record.announced.as_ref().is_some_and(|known| known.disk_id != announce.disk_id) {
            return;
        }
        record.announced = Some(announce);
        self.form_if_complete();
    }

    /// The log has an entry at `index` now, perhaps an announcement, and none behind it.
    pub(crate) fn appended(&mut self, index: Index, announced: Option<(NodeId, DiskId)>) {
        if self.in_log.last_key_value().is_some_and(|(last, _)| index <= *last) {
            self.in_log.split_off(&index);
        }
        if let Some(announced) = announced {
            self.in_log.insert(index, announced);
        }
    }

    /// The entry at `index` is applied: what it says is in the state.
    pub(crate) fn applied(&mut self, index: Index) {
        if self.in_log.first_key_value().is_some_and(|(first, _)| *first <= index) {
            self.in_log = self.in_log.split_off(&index.next());
        }
    }

    /// The disk that the log knows a member by.
    pub(crate) fn disk_id(&self, node: NodeId) -> Option<DiskId> {
        let in_log = || self.in_log.values().find(|(announced, _)| *announced == node).map(|(_, disk_id)| *disk_id);
        self.announced(node).map(|announced| announced.disk_id).or_else(in_log)
    }

    /// Whether a node that says this of itself may take part.
    pub(crate) fn check(&self, hello: &PeerHello) -> Result<(), Refused> {
        let refuse = |reason, message| Err(Refused { reason, message });
        let Some(record) = self.records.get(&hello.node) else {
            return refuse(RefusedReason::NotAMember, format!("node {} is not a member of this cluster", hello.node.0));
        };
        match self.disk_id(hello.node) {
            Some(disk_id) if disk_id != hello.disk_id => {
                let Record { name, .. } = record;
                let (found, addr) = (hello.disk_id, &hello.peer_addr);
                let or_all = match self.formed {
                    true => "",
                    false => ". The cluster was not formed yet and holds nothing: kvnode init on all members begins anew",
                };
                refuse(
                    RefusedReason::WrongDisk,
                    format!(
                        "the data directory of {name} is not the one it joined with (its disk id is {found}): what it promised is lost, \
                         so it may not vote. Start it on its old directory, or replace it: kvcli member replace {name} \
                         {name}={addr}{or_all}"
                    ),
                )
            }
            _ => Ok(()),
        }
    }

    /// Whether the log has every first member's announcement, committed or not.
    pub(crate) fn formed_in_log(&self) -> bool {
        self.formed || (!self.records.is_empty() && self.records.keys().all(|node| self.disk_id(*node).is_some()))
    }

    /// Whether every first member has announced itself; once true, true for ever.
    pub(crate) fn formed(&self) -> bool {
        self.formed
    }

    /// Names of the members that have not announced themselves, but for those of which more is known.
    pub(crate) fn missing(&self, is_known: impl Fn(NodeId) -> bool) -> Vec<String> {
        let missing = self.records.iter().filter(|(id, record)| record.announced.is_none() && !is_known(**id));
        missing.map(|(_, record)| record.name.clone()).collect()
    }

    /// What a member has announced.
    pub(crate) fn announced(&self, node: NodeId) -> Option<&Announce> {
        self.records.get(&node)?.announced.as_ref()
    }

    /// Where clients reach it; empty if it has not said so.
    pub(crate) fn client_addr(&self, node: NodeId) -> &str {
        self.announced(node).map_or("", |announced| &announced.client_addr)
    }

    /// Who votes.
    pub(crate) fn voters(&self) -> impl Iterator<Item = NodeId> {
        self.records.iter().filter(|(_, record)| record.voter).map(|(id, _)| *id)
    }

    /// Whether `node` is one.
    pub(crate) fn contains(&self, node: NodeId) -> bool {
        self.records.contains_key(&node)
    }

    /// The name of a member.
    pub(crate) fn name(&self, node: NodeId) -> &str {
        self.records.get(&node).map_or("?", |record| &record.name)
    }

    /// Id, name, address for peers (the announced one, else the first one) and whether it votes.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (NodeId, &str, &str, bool)> {
        self.records.iter().map(|(id, record)| {
            let peer_addr = record.announced.as_ref().map_or(&record.peer_addr, |announced| &announced.peer_addr);
            (*id, record.name.as_str(), peer_addr.as_str(), record.voter)
        })
    }

    /// What clients are told.
    pub(crate) fn addresses(&self) -> Vec<MemberAddress> {
        let address = |(id, record): (&NodeId, &Record)| MemberAddress {
            id: *id,
            name: record.name.clone(),
            client_addr: self.client_addr(*id).to_owned(),
        };
        self.records.iter().map(address).collect()
    }

    fn form_if_complete(&mut self) {
        self.formed |= !self.records.is_empty() && self.records.values().all(|record| record.announced.is_some());
    }
}

/// Log entry 1 of every node: the first membership. `init` writes it, the same bytes everywhere.
pub fn first_entry(members: &[InitialMember]) -> Vec<u8> {
    let voter =
        |member: &InitialMember| Member { id: member.id, name: member.name.clone(), peer_addr: member.peer_addr.clone(), voter: true };
    let mut payload = Vec::new();
    wire::command::encode_membership(&members.iter().map(voter).collect::<Vec<_>>(), &mut payload);
    let payload_len = u32::try_from(payload.len()).expect("a membership is short");
    let header = EntryHeader { term: Term(0), time_ms: 0, payload_len, kind: EntryKind::Membership };
    [&header.encode()[..], &payload].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use raft::Incarnation;

    fn three() -> Members {
        let member = |id| Member { id: NodeId(id), name: format!("n{id}"), peer_addr: format!("h{id}:7217"), voter: true };
        let mut members = Members::default();
        members.set((1..=3).map(member).collect());
        members
    }

    fn announce(id: u64, disk: u128) -> Announce {
        let addr = |port| format!("h{id}:{port}");
        Announce { node: NodeId(id), disk_id: DiskId(disk), client_addr: addr(7117), peer_addr: addr(7217), version: "1".into() }
    }

    fn hello(id: u64, disk: u128) -> PeerHello {
        let Announce { node, disk_id, client_addr, peer_addr, version } = announce(id, disk);
        PeerHello { node, to: None, disk_id, incarnation: Incarnation(1), client_addr, peer_addr, version }
    }

    #[test]
    fn formed_once_every_first_member_has_announced_itself() {
        let mut members = three();
        members.announce(announce(1, 11));
        members.announce(announce(3, 13));
        assert_eq!((members.formed(), members.missing(|_| false)), (false, vec!["n2".to_owned()]));
        assert!(members.missing(|node| node == NodeId(2)).is_empty());
        members.announce(announce(2, 12));
        assert!(members.formed());
    }

    #[test]
    fn a_wiped_member_is_refused_as_soon_as_its_disk_is_in_the_log() {
        let mut members = three();
        assert_eq!(members.check(&hello(3, 99)), Ok(()), "not announced: any disk may be its first");
        members.announce(announce(1, 11));
        members.appended(Index(5), Some((NodeId(2), DiskId(12))));
        members.appended(Index(6), Some((NodeId(2), DiskId(99))));
        assert_eq!(members.check(&hello(1, 11)), Ok(()));
        assert_eq!(members.check(&hello(2, 12)), Ok(()), "the first counts");
        for wiped in [hello(1, 99), hello(2, 99)] {
            let refused = members.check(&wiped).unwrap_err();
            assert_eq!(refused.reason, RefusedReason::WrongDisk);
            for what in ["kvcli member replace", "kvnode init on all members"] {
                assert!(refused.message.contains(what), "says what to do: {}", refused.message);
            }
        }
        assert_eq!(members.check(&hello(4, 1)).unwrap_err().reason, RefusedReason::NotAMember);
    }

    #[test]
    fn what_is_truncated_was_not_announced_and_what_is_applied_was() {
        let mut members = three();
        for (index, id) in [(2, 1), (3, 2), (4, 3)] {
            members.appended(Index(index), Some((NodeId(id), DiskId(id.into()))));
        }
        assert_eq!((members.formed_in_log(), members.formed()), (true, false));
        members.announce(announce(1, 1));
        members.applied(Index(2));
        members.appended(Index(4), None);
        assert!(!members.formed_in_log(), "another entry stands where n3 was announced");
        assert_eq!([1, 2, 3].map(|id| members.disk_id(NodeId(id)).map(|disk| disk.0)), [Some(1), Some(2), None]);
        members.appended(Index(5), Some((NodeId(3), DiskId(7))));
        assert!(members.formed_in_log());
    }

    #[test]
    fn an_announcement_may_change_addresses_but_never_the_disk() {
        let mut members = three();
        members.announce(announce(1, 11));
        members.announce(Announce { client_addr: "new:1".into(), ..announce(1, 11) });
        assert_eq!(members.client_addr(NodeId(1)), "new:1");
        members.announce(announce(1, 99));
        assert_eq!(members.announced(NodeId(1)).unwrap().disk_id, DiskId(11));
    }
}
