//! The nodes a clerk knows of, the state of its connection to each, and who is thought to lead.

use std::collections::BTreeMap;

use raft::NodeId;
use wire::FrameBuffer;
use wire::hello::MemberAddress;
use wire::limits::MEMBERS_MAX;

use super::{ConnectionId, Patience};
use crate::reason::Reason;

/// A server in the order in which the clerk came to know it: the endpoints it was given, then the members it learned.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct ServerId(usize);

#[derive(Debug)]
pub(super) struct Server {
    pub(super) address: String,
    /// Who greeted us there last.
    node: Option<NodeId>,
    pub(super) link: Link,
    /// When it last failed, and how.
    pub(super) failed: Option<(u64, Reason)>,
    /// Connections given up before it had greeted us, one after the other; none, once it greets as soon as others do.
    pub(super) vain_connections: u32,
    /// Connections given up because a request had no reply, one after the other; none, once it replies as soon as others do.
    pub(super) vain_requests: u32,
    /// It has said nothing within a time in which others answer: until then it is asked only if nobody else is left.
    pub(super) shunned_until_us: Option<u64>,
}

/// The connection to a server; at most one.
#[derive(Debug)]
pub(super) enum Link {
    Down,
    /// Connecting.
    Dialling {
        connection: ConnectionId,
        since_us: u64,
        is_left: bool,
    },
    /// Connected; our `Hello` is out.
    Greeting {
        connection: ConnectionId,
        since_us: u64,
        is_left: bool,
        buffer: FrameBuffer,
    },
    /// Greeted; `heard_us` is when the last bytes came.
    Ready {
        connection: ConnectionId,
        heard_us: u64,
        buffer: FrameBuffer,
    },
}

/// A connection that is not ready yet.
#[derive(Debug)]
pub(super) struct Awaited {
    pub(super) since_us: u64,
    /// Calls went elsewhere, and it may still come.
    pub(super) is_left: bool,
    /// What it is if it never comes.
    pub(super) reason: Reason,
}

impl Link {
    pub(super) fn connection(&self) -> Option<ConnectionId> {
        match self {
            Link::Down => None,
            Link::Dialling { connection, .. } | Link::Greeting { connection, .. } | Link::Ready { connection, .. } => Some(*connection),
        }
    }

    /// Where the bytes that come go.
    pub(super) fn buffer(&mut self) -> Option<&mut FrameBuffer> {
        match self {
            Link::Down | Link::Dialling { .. } => None,
            Link::Greeting { buffer, .. } | Link::Ready { buffer, .. } => Some(buffer),
        }
    }

    /// What is waited for until it is ready.
    pub(super) fn awaited(&self) -> Option<Awaited> {
        match *self {
            Link::Dialling { since_us, is_left, .. } => Some(Awaited { since_us, is_left, reason: Reason::ConnectTimeout }),
            Link::Greeting { since_us, is_left, .. } => Some(Awaited { since_us, is_left, reason: Reason::NoGreeting }),
            Link::Down | Link::Ready { .. } => None,
        }
    }

    pub(super) fn is_ready(&self) -> bool {
        matches!(self, Link::Ready { .. })
    }
}

#[derive(Debug)]
pub(super) struct Servers {
    list: Vec<Server>,
    connections: BTreeMap<ConnectionId, ServerId>,
    /// Never more than this: the members of a cluster that moved often are not remembered for ever.
    count_max: usize,
    next_connection: u64,
    pub(super) leader: Option<ServerId>,
}

impl Servers {
    pub(super) fn new(seeds: Vec<String>) -> Servers {
        let count_max = seeds.len() + 2 * MEMBERS_MAX;
        let mut servers = Servers { list: Vec::new(), connections: BTreeMap::new(), count_max, next_connection: 1, leader: None };
        for address in seeds {
            servers.add(&address);
        }
        servers
    }

    pub(super) fn get(&self, id: ServerId) -> &Server {
        &self.list[id.0]
    }

    pub(super) fn get_mut(&mut self, id: ServerId) -> &mut Server {
        &mut self.list[id.0]
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = ServerId> + use<> {
        (0..self.list.len()).map(ServerId)
    }

    /// Whose connection this is; `None` for one that was closed already, whose last events are old news.
    pub(super) fn by_connection(&self, connection: ConnectionId) -> Option<ServerId> {
        self.connections.get(&connection).copied()
    }

    /// The server at this address.
    pub(super) fn find(&self, address: &str) -> Option<ServerId> {
        self.list.iter().position(|server| server.address == address).map(ServerId)
    }

    /// The server at this address, known from now on; `None` if there is no address or no room.
    pub(super) fn add(&mut self, address: &str) -> Option<ServerId> {
        if let Some(known) = self.find(address) {
            return Some(known);
        }
        if address.is_empty() || self.list.len() >= self.count_max {
            return None;
        }
        self.list.push(Server {
            address: address.into(),
            node: None,
            link: Link::Down,
            failed: None,
            vain_connections: 0,
            vain_requests: 0,
            shunned_until_us: None,
        });
        Some(ServerId(self.list.len() - 1))
    }

    /// Where to reach a member. A connection to it counts for more than its address: it may be known under another name, and the
    /// address it announces may not be reachable from here.
    pub(super) fn resolve(&mut self, node: Option<NodeId>, client_addr: &str) -> Option<ServerId> {
        let connected = self.list.iter().position(|server| node.is_some() && server.node == node && server.link.is_ready());
        connected.map(ServerId).or_else(|| self.add(client_addr))
    }

    /// A node greeted us and said who the others are; returns the leader it knows of.
    pub(super) fn learn(&mut self, from: ServerId, node: NodeId, members: &[MemberAddress], leader: Option<NodeId>) -> Option<ServerId> {
        self.get_mut(from).node = Some(node);
        let mut leader_found = leader.is_some_and(|leader| leader == node).then_some(from);
        for member in members.iter().take(MEMBERS_MAX) {
            let found = self.resolve(Some(member.id), &member.client_addr);
            if leader == Some(member.id) {
                leader_found = leader_found.or(found);
            }
        }
        leader_found
    }

    /// Begins a new connection; the caller dials.
    pub(super) fn dial(&mut self, id: ServerId, now_us: u64) -> ConnectionId {
        let connection = ConnectionId(self.next_connection);
        self.next_connection += 1;
        self.connections.insert(connection, id);
        self.get_mut(id).link = Link::Dialling { connection, since_us: now_us, is_left: false };
        connection
    }

    /// How long its connection, or its greeting, may take before the connection is given up.
    pub(super) fn connect_patience_us(&self, id: ServerId, patience: &Patience) -> u64 {
        (patience.connect_us << self.get(id).vain_connections.min(16)).min(patience.connect_max_us)
    }

    /// The same for a reply.
    pub(super) fn reply_patience_us(&self, id: ServerId, patience: &Patience) -> u64 {
        let vain = self.get(id).vain_connections.saturating_add(self.get(id).vain_requests);
        (patience.reply_us << vain.min(16)).min(patience.reply_max_us)
    }

    /// It replied as soon as others do.
    pub(super) fn prompt(&mut self, id: ServerId) {
        let server = self.get_mut(id);
        (server.vain_connections, server.vain_requests) = (0, 0);
    }

    /// Calls no longer wait for its connection.
    pub(super) fn leave(&mut self, id: ServerId) {
        if let Link::Dialling { is_left, .. } | Link::Greeting { is_left, .. } = &mut self.get_mut(id).link {
            *is_left = true;
        }
    }

    /// Ends the connection, if there is one, and returns it for the caller to close.
    pub(super) fn hang_up(&mut self, id: ServerId) -> Option<ConnectionId> {
        let connection = std::mem::replace(&mut self.get_mut(id).link, Link::Down).connection()?;
        self.connections.remove(&connection);
        Some(connection)
    }

    /// Whether anything came over its connection after this moment: then it is alive, and what it was asked is merely slow.
    pub(super) fn has_spoken_since(&self, id: ServerId, since_us: u64) -> bool {
        matches!(self.get(id).link, Link::Ready { heard_us, .. } if heard_us > since_us)
    }

    /// It said nothing in time.
    pub(super) fn silent(&mut self, id: ServerId, shunned_until_us: u64) {
        self.get_mut(id).shunned_until_us = Some(shunned_until_us);
        if self.leader == Some(id) {
            self.leader = None;
        }
    }

    /// It said something: whatever was held against it is forgotten.
    pub(super) fn heard(&mut self, id: ServerId, now_us: u64) {
        let server = self.get_mut(id);
        server.shunned_until_us = None;
        if let Link::Ready { heard_us, .. } = &mut server.link {
            *heard_us = now_us;
        }
    }
}
