//! All connections, and the way out of the node: messages to peers and replies to clients are encoded into the connections' buffers,
//! and each buffer is handed to the kernel once per turn.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::time::Instant;

use kvnode::{AppliedWrite, ClientId, Node, Outbox};
use mio::{Interest, Registry, Token};
use raft::{Index, Message, NodeId};
use slotmap::{Key, KeyData, SlotMap};
use wire::limits::READ_BUFFER_LEN;
use wire::{PeerFrame, Purpose, Reply};

use crate::apply_trace::ApplyTrace;

use super::connection::{Client, Connection, ConnectionKey, Door, Party, Why};
use super::limits::{CLIENT_OUTPUT_BYTES_MAX, CLIENT_SMALL_REPLY_LEN, CLIENTS_OUTPUT_BYTES_MAX, LINK_OUTPUT_BYTES_MAX};
use super::stream::Output;

/// Every connection and what waits on them.
pub(crate) struct Network {
    registry: Registry,
    connections: SlotMap<ConnectionKey, Connection>,
    client_count: usize,
    incoming_count: usize,
    /// Unsent bytes of all clients.
    clients_output: usize,
    /// Memory that clients' requests are read into, beyond the first of each.
    clients_input: usize,
    /// Clients with answers that wait for room, in the order in which they began to.
    roomless: VecDeque<ConnectionKey>,
    /// Connections to read, in the order of the poll.
    ready: VecDeque<ConnectionKey>,
    /// Connections with output of this turn.
    unsent: Vec<ConnectionKey>,
    /// Connections whose write failed, to be closed when the node can be told.
    pub(crate) broken: Vec<(ConnectionKey, Why)>,
    /// Greeted links: where messages leave.
    routes: BTreeMap<(NodeId, Purpose), ConnectionKey>,
    /// Greeted connections of peers: where messages come in.
    pub(crate) accepted: BTreeMap<(NodeId, Purpose), ConnectionKey>,
    /// Peers for whom an append found the queue full.
    pub(crate) overflown: BTreeSet<NodeId>,
    /// The disk was waited for in this turn: there was a save.
    pub(crate) saved: bool,
    /// Bytes to and from peers since the node was last told.
    pub(crate) peer_bytes: u64,
    trace: Option<ApplyTrace>,
    now: Instant,
}

/// The token of a connection: a key as a number is never below 2^32, so small numbers are free for listeners and the like.
pub(crate) fn token(key: ConnectionKey) -> Token {
    Token(usize::try_from(key.data().as_ffi()).expect("64-bit tokens: this program is for 64-bit machines"))
}

/// The connection of a token.
pub(crate) fn key(token: Token) -> ConnectionKey {
    KeyData::from_ffi(token.0 as u64).into()
}

/// The client at the other end of a connection, as the node knows it.
pub(crate) fn client_id(key: ConnectionKey) -> ClientId {
    ClientId(key.data().as_ffi())
}

impl Network {
    /// No connections yet.
    pub(crate) fn new(registry: Registry, trace: Option<ApplyTrace>, now: Instant) -> Network {
        Network {
            registry,
            connections: SlotMap::with_key(),
            client_count: 0,
            incoming_count: 0,
            clients_output: 0,
            clients_input: 0,
            roomless: VecDeque::new(),
            ready: VecDeque::new(),
            unsent: Vec::new(),
            broken: Vec::new(),
            routes: BTreeMap::new(),
            accepted: BTreeMap::new(),
            overflown: BTreeSet::new(),
            saved: false,
            peer_bytes: 0,
            trace,
            now,
        }
    }

    /// The time of this turn.
    pub(crate) fn set_now(&mut self, now: Instant) {
        self.now = now;
    }

    /// Connections that came through the clients' door.
    pub(crate) fn client_count(&self) -> usize {
        self.client_count
    }

    /// Connections that came through the peers' door.
    pub(crate) fn incoming_count(&self) -> usize {
        self.incoming_count
    }

    /// Watches a new connection.
    pub(crate) fn add(&mut self, connection: Connection) -> io::Result<ConnectionKey> {
        self.client_count += usize::from(connection.door == Some(Door::Client));
        self.incoming_count += usize::from(connection.door == Some(Door::Peer));
        let key = self.connections.insert(connection);
        let socket = &mut self.connections[key].stream.socket;
        // Both interests, once: edge-triggered, so a writable socket costs one event in its life and one whenever it was full.
        if let Err(error) = self.registry.register(socket, token(key), Interest::READABLE | Interest::WRITABLE) {
            self.remove(key);
            return Err(error);
        }
        Ok(key)
    }

    /// The connection, unless it is gone.
    pub(crate) fn get_mut(&mut self, key: ConnectionKey) -> Option<&mut Connection> {
        self.connections.get_mut(key)
    }

    /// Every connection.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (ConnectionKey, &Connection)> {
        self.connections.iter()
    }

    /// Forgets and closes a connection.
    pub(crate) fn remove(&mut self, key: ConnectionKey) -> Option<Connection> {
        let mut connection = self.connections.remove(key)?;
        self.client_count -= usize::from(connection.door == Some(Door::Client));
        self.incoming_count -= usize::from(connection.door == Some(Door::Peer));
        if let Party::Client(Client { counted: [output, input], .. }) = connection.party {
            self.clients_output -= output;
            self.clients_input -= input;
        }
        // Closing would do it as well; an error here changes nothing.
        let _ = self.registry.deregister(&mut connection.stream.socket);
        match connection.party {
            Party::Dialled { peer, purpose, .. } if self.routes.get(&(peer, purpose)) == Some(&key) => {
                self.routes.remove(&(peer, purpose));
            }
            Party::Peer { node, purpose, .. } if self.accepted.get(&(node, purpose)) == Some(&key) => {
                self.accepted.remove(&(node, purpose));
            }
            _ => {}
        }
        Some(connection)
    }

    /// A link was greeted: messages for `peer` leave there.
    pub(crate) fn open_route(&mut self, peer: NodeId, purpose: Purpose, key: ConnectionKey) {
        self.routes.insert((peer, purpose), key);
    }

    /// The connection is to be read.
    pub(crate) fn queue(&mut self, key: ConnectionKey) {
        if let Some(connection) = self.connections.get_mut(key)
            && !connection.queued
        {
            connection.queued = true;
            self.ready.push_back(key);
        }
    }

    /// The next connection to be read.
    pub(crate) fn next_ready(&mut self) -> Option<ConnectionKey> {
        while let Some(key) = self.ready.pop_front() {
            if let Some(connection) = self.connections.get_mut(key) {
                connection.queued = false;
                return Some(key);
            }
        }
        None
    }

    /// How many wait to be read.
    pub(crate) fn ready_count(&self) -> usize {
        self.ready.len()
    }

    /// Writes into a connection's buffer; it leaves at the next flush.
    pub(crate) fn write(&mut self, key: ConnectionKey, encode: impl FnOnce(&mut Vec<u8>)) {
        if let Some(connection) = self.connections.get_mut(key) {
            encode(connection.stream.output.buffer());
            self.mark_unsent(key);
        }
    }

    /// The connection has output to be handed to the kernel.
    pub(crate) fn mark_unsent(&mut self, key: ConnectionKey) {
        if let Some(connection) = self.connections.get_mut(key)
            && !connection.unsent
        {
            connection.unsent = true;
            self.unsent.push(key);
        }
    }

    /// Memory that clients' requests are read into, beyond the first of each.
    pub(crate) fn clients_input(&self) -> usize {
        self.clients_input
    }

    /// Clients that do not read hold all that may be unsent.
    pub(crate) fn is_pressed(&self) -> bool {
        self.clients_output >= CLIENTS_OUTPUT_BYTES_MAX
    }

    /// What a connection holds has changed, if it is a client's.
    pub(crate) fn recount(&mut self, key: ConnectionKey) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let Party::Client(client) = &mut connection.party else { return };
        let now = [connection.stream.output.len(), connection.stream.input.allocated_len().saturating_sub(READ_BUFFER_LEN)];
        let before = std::mem::replace(&mut client.counted, now);
        self.clients_output = self.clients_output - before[0] + now[0];
        self.clients_input = self.clients_input - before[1] + now[1];
    }

    /// Tells of every client that has room again and has not been told of yet.
    pub(crate) fn take_room(&mut self, mut tell: impl FnMut(ConnectionKey)) {
        if self.is_pressed() {
            return;
        }
        for _ in 0..self.roomless.len() {
            let Some(key) = self.roomless.pop_front() else { return };
            let Some(connection) = self.connections.get_mut(key) else { continue };
            let Party::Client(client) = &mut connection.party else { continue };
            if connection.stream.output.len() < CLIENT_OUTPUT_BYTES_MAX {
                client.waits_for_room = false;
                tell(key);
            } else {
                self.roomless.push_back(key);
            }
        }
    }

    /// Gives back the memory of clients' buffers that hold nothing.
    pub(crate) fn release_buffers(&mut self) {
        let keys: Vec<ConnectionKey> = self.connections.keys().collect();
        for key in keys {
            if let Some(connection) = self.connections.get_mut(key)
                && matches!(connection.party, Party::Client(_))
            {
                connection.stream.release();
                self.recount(key);
            }
        }
    }

    /// One write for every connection with output.
    pub(crate) fn flush_all(&mut self) {
        for index in 0..self.unsent.len() {
            let key = self.unsent[index];
            let Some(connection) = self.connections.get_mut(key) else { continue };
            connection.unsent = false;
            let sent = connection.stream.send(self.now);
            self.recount(key);
            let Some(connection) = self.connections.get_mut(key) else { continue };
            match sent {
                Ok(count) => match &mut connection.party {
                    Party::Client(client) if client.paused && client.may_ask(connection.stream.output.len()) => {
                        client.paused = false;
                        self.queue(key);
                    }
                    Party::Peer { .. } | Party::Dialled { .. } => self.peer_bytes += count as u64,
                    _ => {}
                },
                Err(over) => self.broken.push((key, Why::Over(over))),
            }
        }
        self.unsent.clear();
    }

    fn link_output(&mut self, to: NodeId, purpose: Purpose) -> Option<(ConnectionKey, &mut Output)> {
        let key = *self.routes.get(&(to, purpose))?;
        Some((key, &mut self.connections.get_mut(key)?.stream.output))
    }

    fn trace(&mut self, act: impl FnOnce(&mut ApplyTrace) -> io::Result<()>) {
        let Some(trace) = &mut self.trace else { return };
        if let Err(error) = act(trace) {
            // Whoever serves clients does not end for want of a diagnostic; nor may lines be missing in the middle.
            let path = trace.path().display();
            tracing::error!("cannot write to --apply-trace {path}: {error}. It ends here, until a restart; the node goes on");
            self.trace = None;
        }
    }
}

impl Outbox for Network {
    fn send(&mut self, to: NodeId, message: &Message, entries: &[u8]) {
        let is_append = matches!(message, Message::Append { .. });
        let purpose = if is_append { Purpose::Entries } else { Purpose::Control };
        // No link: lost, as on any network. Raft was told when the link broke.
        let Some((key, output)) = self.link_output(to, purpose) else { return };
        if output.len() + entries.len() > LINK_OUTPUT_BYTES_MAX {
            if is_append {
                self.overflown.insert(to);
            }
            return;
        }
        wire::encode_raft(message, entries, output.buffer());
        self.mark_unsent(key);
    }

    fn send_beside(&mut self, to: NodeId, frame: &PeerFrame<'_>) {
        let purpose = if matches!(frame, PeerFrame::SnapshotChunk { .. }) { Purpose::Snapshot } else { Purpose::Control };
        // What is lost here is asked for again.
        let Some((key, output)) = self.link_output(to, purpose) else { return };
        if output.len() < LINK_OUTPUT_BYTES_MAX {
            wire::peer::encode_peer(frame, output.buffer());
            self.mark_unsent(key);
        }
    }

    fn flush(&mut self) {
        self.saved = true;
        self.flush_all();
    }

    fn applied(&mut self, _node: &Node, index: Index, _entry: &[u8], write: Option<&AppliedWrite>) {
        if let Some(write) = write {
            self.trace(|trace| trace.add(index, write));
        }
    }

    fn all_applied(&mut self) {
        self.trace(ApplyTrace::flush);
    }

    fn reply(&mut self, client: ClientId, request_id: u64, reply: &Reply) {
        let key = KeyData::from_ffi(client.0).into();
        let Some(connection) = self.connections.get_mut(key) else { return };
        let Party::Client(client) = &mut connection.party else { return };
        client.in_flight = client.in_flight.saturating_sub(1);
        wire::encode_reply(request_id, reply, connection.stream.output.buffer());
        self.recount(key);
        self.mark_unsent(key);
    }

    fn room(&mut self, client: ClientId) -> usize {
        let is_pressed = self.is_pressed();
        let key = KeyData::from_ffi(client.0).into();
        let Some(connection) = self.connections.get_mut(key) else { return usize::MAX };
        let Party::Client(client) = &mut connection.party else { return usize::MAX };
        let unsent = connection.stream.output.len();
        if unsent < CLIENT_OUTPUT_BYTES_MAX && !is_pressed {
            return usize::MAX;
        }
        if !std::mem::replace(&mut client.waits_for_room, true) {
            self.roomless.push_back(key);
        }
        // However much those hold who do not read: whoever does may have small answers.
        if unsent < CLIENT_SMALL_REPLY_LEN { CLIENT_SMALL_REPLY_LEN } else { 0 }
    }
}
