//! The first frame, in both directions: who is there, and whether we may talk. Whoever is turned away is told why.

use std::net::SocketAddr;
use std::time::Instant;

use raft::NodeId;
use wire::limits::FRAME_BODY_LEN_MAX;
use wire::{Hello, PeerHello, Purpose, Refused, RefusedReason};

use super::Server;
use super::connection::{Client, ConnectionKey, Door, Flow, Left, Party, Why};
use super::limits::{GREETING_MAX, REFUSAL_REPEATED, REFUSALS_MAX};
use super::stream::Over;

/// There is no room for another client.
fn too_many_clients(clients_max: usize) -> Why {
    refuse(RefusedReason::TooManyConnections, format!("this node has {clients_max} clients already"))
}

/// There is no room for another connection at the peers' door.
fn too_many_incoming(incoming_max: usize) -> Why {
    refuse(RefusedReason::TooManyConnections, format!("the address for nodes has {incoming_max} connections already"))
}

fn refuse(reason: RefusedReason, message: String) -> Why {
    Why::Refuse(Refused { reason, message })
}

impl Server {
    /// There is one connection more at a door: perhaps one too many.
    pub(super) fn keep_the_door(&mut self, door: Door, newest: ConnectionKey, now: Instant) {
        match door {
            Door::Client if self.network.client_count() > self.clients_max => {
                self.close(newest, too_many_clients(self.clients_max), now);
            }
            Door::Peer if self.network.incoming_count() > self.incoming_max => {
                // Who has said nothing for longest goes: a peer says at once who it is, and finds a place in any crowd.
                let Server { network, strangers, .. } = self;
                let silent = strangers.take_oldest(Door::Peer, |key| {
                    let party = network.get_mut(key).map(|connection| &connection.party);
                    matches!(party, Some(Party::Stranger { .. } | Party::Leaving))
                });
                self.close(silent.unwrap_or(newest), too_many_incoming(self.incoming_max), now);
            }
            _ => {}
        }
    }

    /// A connection had to be closed unheard.
    pub(super) fn lacks_descriptors(&mut self, remote: SocketAddr, now: Instant) {
        const WHAT: &str = "no file descriptor is left: raise LimitNOFILE";
        if self.was_not_told_lately(WHAT, now) {
            self.complaints.add(remote, WHAT, now);
        }
    }

    /// Reads a stranger until it has said who it is.
    pub(super) fn greet_stranger(&mut self, key: ConnectionKey, now: Instant) -> Result<Left, Why> {
        let Some(connection) = self.network.get_mut(key) else { return Ok(Left::Nothing) };
        let Party::Stranger { door } = connection.party else { return Ok(Left::Nothing) };
        let mut hello = None;
        let left = connection.read(&mut 0, |frame, _, _| {
            hello = Some(wire::decode_hello(frame).map_err(|error| Why::Refuse(Refused::unreadable(&error)))?);
            Ok(Flow::Stop)
        })?;
        match (hello, door) {
            (None, _) => return Ok(left),
            (Some(Hello::Client { cluster_id }), Door::Client) => {
                let welcome = self.node.client_greeted(cluster_id).map_err(Why::Refuse)?;
                self.admit(key, Party::Client(Client::default()), |out| wire::encode_welcome(&welcome, out));
            }
            (Some(Hello::Peer { cluster_id, purpose, peer }), Door::Peer) => {
                if cluster_id != self.cluster_id {
                    return Err(self.other_cluster(cluster_id));
                }
                self.node.greeted(&peer).map_err(|refused| self.turned_away(peer.node, refused, now))?;
                self.links.nudge(peer.node, now);
                let answer = self.node.hello(None);
                self.admit(key, Party::Peer { node: peer.node, purpose, heard: now }, |out| wire::encode_peer_welcome(&answer, out));
                // A peer that dials again has given the older connection up.
                if let Some(older) = self.network.accepted.insert((peer.node, purpose), key) {
                    self.network.remove(older);
                }
            }
            (Some(Hello::Client { .. }), Door::Peer) => {
                let clients = self.listeners[0].address;
                return Err(refuse(
                    RefusedReason::NotHello,
                    format!("this address is for the nodes of the cluster; clients connect to {clients}"),
                ));
            }
            (Some(Hello::Peer { .. }), Door::Client) => {
                let peers = self.listeners[1].address;
                return Err(refuse(RefusedReason::NotHello, format!("this address is for clients; nodes connect to {peers}")));
            }
        }
        Ok(Left::More)
    }

    fn admit(&mut self, key: ConnectionKey, party: Party, answer: impl FnOnce(&mut Vec<u8>)) {
        if let Some(connection) = self.network.get_mut(key) {
            connection.party = party;
            connection.stream.input.set_body_len_max(FRAME_BODY_LEN_MAX);
        }
        self.network.write(key, answer);
    }

    /// Which disk would have been the right one is for whoever reads this node's log: a stranger that is told could come back with it.
    fn turned_away(&mut self, node: NodeId, refused: Refused, now: Instant) -> Why {
        if refused.reason == RefusedReason::WrongDisk
            && let Some(disk_id) = self.node.disk_id_of(node)
        {
            let line = format!("{} joined with disk id {disk_id}", self.node.name_of(node));
            if self.was_not_told_lately(&line, now) {
                tracing::warn!("{line}; another one is refused");
            }
        }
        Why::Refuse(refused)
    }

    fn other_cluster(&self, theirs: raft::ClusterId) -> Why {
        let ours = self.cluster_id;
        refuse(RefusedReason::WrongCluster, format!("this node is of cluster {ours}, the node of cluster {theirs}"))
    }

    /// A connection that we dialled stands, or does not.
    pub(super) fn finish_dial(&mut self, key: ConnectionKey, read_closed: bool, now: Instant) {
        let Some(connection) = self.network.get_mut(key) else { return };
        let Party::Dialled { peer, purpose, connected } = &mut connection.party else { return };
        let socket = &connection.stream.socket;
        match socket.take_error() {
            Ok(None) => {}
            Ok(Some(error)) | Err(error) => return self.close(key, Why::Over(Over::Error(error)), now),
        }
        match socket.peer_addr() {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotConnected => return, // still on its way
            Err(error) => return self.close(key, Why::Over(Over::Error(error)), now),
        }
        *connected = true;
        let (peer, purpose) = (*peer, *purpose);
        // One write per turn: there is nothing for the kernel to wait for.
        let _ = socket.set_nodelay(true);
        self.links.connected(peer, purpose, now);
        let hello = Hello::Peer { cluster_id: self.cluster_id, purpose, peer: self.node.hello(Some(peer)) };
        self.network.write(key, |out| wire::encode_hello(&hello, out));
        // What came in the same event is not announced again.
        if let Some(connection) = self.network.get_mut(key) {
            (connection.stream.readable, connection.stream.read_closed) = (true, read_closed);
        }
        self.network.queue(key);
    }

    /// Reads the answer of a peer that we dialled.
    pub(super) fn greet_dialled(&mut self, key: ConnectionKey, peer: NodeId, purpose: Purpose, now: Instant) -> Result<Left, Why> {
        let Some(connection) = self.network.get_mut(key) else { return Ok(Left::Nothing) };
        let mut answer: Option<PeerHello> = None;
        let left = connection.read(&mut 0, |frame, _, _| {
            answer = Some(wire::decode_peer_welcome(frame)?.map_err(Why::RefusedByPeer)?);
            Ok(Flow::Stop)
        })?;
        let Some(answer) = answer else { return Ok(left) };
        if answer.node != peer {
            let message = format!("this connection was meant for node {}, and node {} answers", peer.0, answer.node.0);
            return Err(refuse(RefusedReason::WrongNode, message));
        }
        self.node.greeted(&answer).map_err(|refused| self.turned_away(peer, refused, now))?;
        let news = self.links.greeted(peer, purpose, answer.incarnation, now);
        self.follow_news(peer, news);
        self.network.open_route(peer, purpose, key);
        Ok(Left::More)
    }

    /// Whoever is refused is told why. `None`: the connection stays until the other side has had time to read it.
    pub(super) fn say_goodbye(&mut self, key: ConnectionKey, why: Why, now: Instant) -> Option<Why> {
        let Why::Refuse(refused) = &why else { return Some(why) };
        let Some(connection) = self.network.get_mut(key) else { return Some(why) };
        wire::encode_refused(refused, connection.stream.output.buffer());
        // One frame into an empty buffer of the kernel's: it takes it, or the connection is broken anyway.
        let _ = connection.stream.send(now);
        let _ = connection.stream.socket.shutdown(std::net::Shutdown::Write);
        // A crowd at the door gets no place to wait in.
        if refused.reason == RefusedReason::TooManyConnections || matches!(connection.party, Party::Dialled { .. }) {
            return Some(why);
        }
        connection.party = Party::Leaving;
        let (remote, door) = (connection.remote, connection.door.unwrap_or(Door::Client));
        self.strangers.add(door, now + GREETING_MAX, key);
        self.network.queue(key);
        self.complain(remote, &why, now);
        None
    }

    /// A line about a connection closed for what came on it. A refusal is logged once, not with every attempt and in every direction:
    /// whoever is refused comes again and again.
    pub(super) fn complain(&mut self, remote: SocketAddr, why: &Why, now: Instant) {
        if why.refusal().is_none_or(|refusal| self.was_not_told_lately(refusal, now)) {
            self.complaints.add(remote, why, now);
        }
    }

    fn was_not_told_lately(&mut self, what: &str, now: Instant) -> bool {
        if self.refusals.get(what).is_some_and(|told| now.duration_since(*told) < REFUSAL_REPEATED) {
            return false;
        }
        if self.refusals.len() >= REFUSALS_MAX {
            self.refusals.clear();
        }
        self.refusals.insert(what.to_owned(), now);
        true
    }

    /// The time to say who it is, or to read our refusal, is over.
    pub(super) fn give_up_stranger(&mut self, key: ConnectionKey, now: Instant) {
        match self.network.get_mut(key).map(|connection| &connection.party) {
            Some(Party::Stranger { .. }) => {
                self.close(key, Why::Bad(format!("it did not say who it is within {} s", GREETING_MAX.as_secs())), now);
            }
            Some(Party::Leaving) => drop(self.network.remove(key)),
            _ => {}
        }
    }
}
