//! What members say of themselves: who is believed, and what a leader puts into the log of it.

use raft::{DiskId, EntryKind, NodeId};
use wire::command::{Announce, Command};
use wire::hello::{PeerHello, Refused, RefusedReason};

use super::payload;
use crate::node::{Event, Node};

impl Node {
    /// A peer says who it is, whoever dialled. `Err`: close the connection, and tell the peer why if it dialled. Not before the first
    /// turn after a start has applied what the log is known to hold.
    pub fn greeted(&mut self, hello: &PeerHello) -> Result<(), Refused> {
        let me = self.config.identity.node;
        if hello.node == me || hello.to.is_some_and(|to| to != me) {
            let to = hello.to.map_or(0, |to| to.0);
            let message =
                format!("this is node {}, not node {to}; the greeting is from node {}. Check the members' addresses", me.0, hello.node.0);
            return Err(Refused { reason: RefusedReason::WrongNode, message });
        }
        if let Err(refused) = self.members.check(hello) {
            if refused.reason == RefusedReason::WrongDisk {
                self.reached.mark("a wiped disk is refused");
            }
            return Err(refused);
        }
        self.greetings.insert(hello.node, hello.clone());
        self.announce_members();
        Ok(())
    }

    /// The disk that a member is known by.
    pub fn disk_id_of(&self, node: NodeId) -> Option<DiskId> {
        self.members.disk_id(node)
    }

    /// What this node says of itself to a peer: to node `to` when it dials, `None` in an answer.
    pub fn hello(&self, to: Option<NodeId>) -> PeerHello {
        PeerHello { to, ..self.own_hello.clone() }
    }

    /// A leader puts into the log what members say of themselves, once for every change.
    pub(super) fn announce_members(&mut self) {
        if !self.raft.is_leader() {
            return;
        }
        // Every tick asks this: almost always all is in the log, and the first question is the last.
        let changed: Vec<Announce> = std::iter::once(&self.own_hello)
            .chain(self.greetings.values())
            .filter(|hello| !self.members.announced(hello.node).is_some_and(|announced| says(announced, hello)))
            .filter(|hello| self.members.contains(hello.node))
            .filter(|hello| self.members.disk_id(hello.node).is_none_or(|disk_id| disk_id == hello.disk_id))
            .filter(|hello| !self.announcing.get(&hello.node).is_some_and(|announced| says(announced, hello)))
            .map(|hello| Announce {
                node: hello.node,
                disk_id: hello.disk_id,
                client_addr: hello.client_addr.clone(),
                peer_addr: hello.peer_addr.clone(),
                version: hello.version.clone(),
            })
            .collect();
        for announce in changed {
            let mut payload = Vec::new();
            Command::Announce(announce.clone()).encode(&mut payload);
            if self.append(EntryKind::Command, &payload).is_err() {
                return; // busy: the next tick tries again
            }
            self.announcing.insert(announce.node, announce);
        }
    }

    /// The log says other things of the members' disks than before, of `node`'s for one. A peer that was greeted with another disk is
    /// refused from now on.
    pub(super) fn follow_log(&mut self, node: Option<NodeId>) {
        self.raft.require_every_vote(!self.members.formed_in_log());
        if let Some(node) = node
            && let Some(hello) = self.greetings.get(&node)
            && let Err(refused) = self.members.check(hello)
        {
            self.greetings.remove(&node);
            self.events.push(Event::Refused { node, refused });
        }
    }
}

/// Whether this is in the log what a member says of itself.
fn says(announced: &Announce, hello: &PeerHello) -> bool {
    let Announce { node, disk_id, client_addr, peer_addr, version } = announced;
    (*node, *disk_id) == (hello.node, hello.disk_id)
        && (client_addr, peer_addr, version) == (&hello.client_addr, &hello.peer_addr, &hello.version)
}

/// Whose disk an entry announces.
pub(super) fn announced_in(kind: EntryKind, entry: &[u8]) -> Option<(NodeId, DiskId)> {
    if kind != EntryKind::Command {
        return None;
    }
    match Command::decode(payload(entry)) {
        Ok(Command::Announce(announce)) => Some((announce.node, announce.disk_id)),
        _ => None,
    }
}
