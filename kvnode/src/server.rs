//! The loop around the node: one thread, one poll. A turn reads what is ready, counts the ticks that have passed, drives the node until
//! it has nothing left to do, and hands every connection's output to the kernel in one write.
//!
//! What is absent: no lock, no queue between threads, no wait but the poll and the log's sync. The only thread beside it is the
//! resolver's, and only while a name is looked up.

mod clients; // what clients may send and have sent to them
mod clock; // time as ticks
mod complaints; // lines about bad connections, not too many
mod connection; // one connection and who is there
mod greeting; // the first frame, in both directions
mod limits; // bounds, with their reasons
mod link; // one outgoing connection as a value
mod links; // all of them, by peer
mod listener; // accepting, even without descriptors
mod network; // all connections, and the way out
mod resolver; // names to addresses
mod strangers; // who has not said who it is
mod stream; // a socket with its buffers

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use data::{RealDisk, Store, StoreError};
use kvnode::{Event, Node, NodeError};
use mio::event::Event as Readiness;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Registry, Token, Waker};
use nix::sys::signal::Signal;
use raft::{ClusterId, NodeId, RoleName};
use wire::limits::HELLO_BODY_LEN_MAX;
use wire::{Kind, PeerFrame, Purpose, Refused};

use crate::apply_trace::ApplyTrace;
use crate::exit::{Exit, Failure, OrExit};
use crate::logging::Log;
use crate::notify;
use crate::signals::Signals;
use clock::Clock;
use complaints::Complaints;
use connection::{Client, Connection, ConnectionKey, Door, Flow, Left, Party, Why};
use limits::{
    DESCRIPTORS_MIN, GAP_PASSES_MAX, GREETING_MAX, PEER_SILENT_MAX, POLL_EVENTS_MAX, SEAL_IDLE_TICKS, STOP_FLUSH_MAX, TURN_ACCEPTS_MAX,
    TURN_POLLS_MAX, clients_max, incoming_max,
};
use link::{Pace, PeerNews};
use links::{Destination, Due, Links};
use listener::Accepted;
pub(crate) use listener::Listener;
use network::{Network, client_id, key};
use resolver::Resolver;
pub(crate) use resolver::look_up;
use strangers::Strangers;
use stream::{Over, Stream};

const CLIENT_DOOR: Token = Token(0);
const PEER_DOOR: Token = Token(1);
const SIGNALS: Token = Token(2);
const RESOLVER: Token = Token(3);

/// What the loop runs.
pub(crate) struct Parts {
    pub(crate) node: Node,
    pub(crate) store: Store<RealDisk>,
    pub(crate) cluster_id: ClusterId,
    /// In the order of the doors: client, peer.
    pub(crate) listeners: [Listener; 2],
    pub(crate) signals: Signals,
    pub(crate) log: Log,
    pub(crate) trace: Option<ApplyTrace>,
    /// Its own name, for the lines of the log.
    pub(crate) name: String,
    pub(crate) tick: Duration,
    pub(crate) heartbeat_ticks: u32,
    pub(crate) election_ticks: u32,
    pub(crate) seed: u64,
    /// File descriptors that this process may have.
    pub(crate) descriptors: u64,
    pub(crate) start: Instant,
}

/// A node with its sockets and its disk.
pub(crate) struct Server {
    poll: Poll,
    node: Node,
    store: Store<RealDisk>,
    network: Network,
    links: Links,
    listeners: [Listener; 2],
    clients_max: usize,
    incoming_max: usize,
    strangers: Strangers,
    complaints: Complaints,
    /// Refusals that were logged, and when: whoever is refused comes again and again.
    refusals: BTreeMap<String, Instant>,
    resolver: Resolver,
    signals: Signals,
    signalled: Option<Signal>,
    log: Log,
    name: String,
    cluster_id: ClusterId,
    clock: Clock,
    heartbeat_ticks: u32,
    /// As the log was told.
    leads: bool,
    /// Bytes of requests taken in this turn.
    request_bytes: usize,
    /// As the log was told: the disk is full.
    no_space: bool,
    /// Ticks since the last save.
    idle_ticks: u32,
    next_check: Instant,
    due: Vec<Due>,
}

impl Server {
    /// Everything registered with one poll.
    pub(crate) fn new(parts: Parts) -> Result<Server, Failure> {
        let Parts {
            node,
            store,
            cluster_id,
            mut listeners,
            signals,
            log,
            trace,
            name,
            tick,
            heartbeat_ticks,
            election_ticks,
            seed,
            descriptors,
            start,
        } = parts;
        if descriptors < DESCRIPTORS_MIN {
            tracing::warn!(
                "only {descriptors} open files are allowed; with fewer than {DESCRIPTORS_MIN} the log may find none: raise LimitNOFILE"
            );
        }
        let poll = Poll::new().or_exit(Exit::Io, || "cannot create a poll")?;
        let registry = watch(&poll, &mut listeners, &signals).or_exit(Exit::Io, || "cannot watch the sockets")?;
        let network = Network::new(registry, trace, start);
        let waker = Waker::new(poll.registry(), RESOLVER).or_exit(Exit::Io, || "cannot create a waker")?;
        let links = Links::new(Pace { heartbeat: tick * heartbeat_ticks, election: tick * election_ticks }, seed);
        Ok(Server {
            poll,
            node,
            store,
            network,
            links,
            listeners,
            clients_max: clients_max(descriptors),
            incoming_max: incoming_max(descriptors),
            strangers: Strangers::default(),
            complaints: Complaints::default(),
            refusals: BTreeMap::new(),
            resolver: Resolver::new(waker),
            signals,
            signalled: None,
            log,
            name,
            cluster_id,
            clock: Clock::new(tick, start),
            heartbeat_ticks,
            leads: false,
            request_bytes: 0,
            no_space: false,
            idle_ticks: 0,
            next_check: start,
            due: Vec::new(),
        })
    }

    /// Runs until a signal asks it to stop, or the node must.
    pub(crate) fn run(mut self) -> Result<(), Failure> {
        let mut events = Events::with_capacity(POLL_EVENTS_MAX);
        // What the log is known to hold is applied before anybody is listened to: it says whose disk is whose.
        self.drive(Instant::now())?;
        self.follow_members(Instant::now());
        loop {
            let signalled = self.turn(&mut events)?;
            if let Some(signal) = signalled {
                return self.stop(signal);
            }
        }
    }

    fn turn(&mut self, events: &mut Events) -> Result<Option<Signal>, Failure> {
        let wait = if self.network.ready_count() > 0 || self.node.has_work() { Duration::ZERO } else { self.clock.wait(Instant::now()) };
        self.take_events(events, wait)?;
        let now = Instant::now();
        self.network.set_now(now);
        self.request_bytes = 0;
        self.accept(now);
        self.read_ready(now);
        let ticks = self.clock.due(now);
        if ticks > 0 {
            self.tick(ticks, events, now)?;
        }
        self.drive(now)?;
        self.network.flush_all();
        self.close_broken(now);
        self.go_on_answering();
        self.serve_links(now);
        if self.store.needs_prepare() {
            self.store.prepare_slice().map_err(|error| fatal(&error.into()))?;
            self.tell_space();
        }
        // One slice per tick: freeing is paid for by everybody who waits for the disk. More only while files gather.
        if self.store.needs_trim() && (ticks > 0 || self.store.trim_is_late()) {
            self.store.trim_slice().map_err(|error| fatal(&error.into()))?;
        }
        self.log.flush();
        Ok(self.signalled)
    }

    fn take_events(&mut self, events: &mut Events, wait: Duration) -> Result<(), Failure> {
        let mut wait = Some(wait);
        for _ in 0..TURN_POLLS_MAX {
            match self.poll.poll(events, wait) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => events.clear(),
                Err(error) => return Err(Exit::Io.because(anyhow::Error::new(error).context("cannot wait for events"))),
            }
            let now = Instant::now();
            let mut count = 0;
            for event in events.iter() {
                count += 1;
                self.take_event(event, now);
            }
            if count < POLL_EVENTS_MAX {
                break;
            }
            wait = Some(Duration::ZERO);
        }
        Ok(())
    }

    fn take_event(&mut self, event: &Readiness, now: Instant) {
        match event.token() {
            CLIENT_DOOR => self.listeners[0].pending = true,
            PEER_DOOR => self.listeners[1].pending = true,
            SIGNALS => self.signalled = self.signals.take().or(self.signalled),
            RESOLVER => {
                while let Some(resolved) = self.resolver.take() {
                    self.links.resolved(&resolved.address, resolved.outcome);
                }
            }
            token => {
                let key = key(token);
                let Some(connection) = self.network.get_mut(key) else { return };
                if let Party::Dialled { connected: false, .. } = connection.party {
                    return self.finish_dial(key, event.is_read_closed(), now);
                }
                if event.is_writable() {
                    connection.stream.output.unblock();
                    if !connection.stream.output.is_empty() {
                        self.network.mark_unsent(key);
                    }
                }
                if event.is_readable() || event.is_read_closed() || event.is_error() {
                    if let Some(connection) = self.network.get_mut(key) {
                        connection.stream.readable = true;
                        connection.stream.read_closed |= event.is_read_closed() || event.is_error();
                    }
                    self.network.queue(key);
                }
            }
        }
    }

    fn accept(&mut self, now: Instant) {
        for (index, door) in [Door::Client, Door::Peer].into_iter().enumerate() {
            for _ in 0..TURN_ACCEPTS_MAX {
                if !self.listeners[index].pending {
                    break;
                }
                match self.listeners[index].accept() {
                    Accepted::Stream(socket, remote) => {
                        // Replies leave in one write per turn: there is nothing for the kernel to wait for.
                        let _ = socket.set_nodelay(true);
                        let stream = Stream::new(socket, HELLO_BODY_LEN_MAX);
                        match self.network.add(Connection::new(stream, remote, Party::Stranger { door })) {
                            Ok(key) => {
                                self.keep_the_door(door, key, now);
                                if self.network.get_mut(key).is_some() {
                                    self.strangers.add(door, now + GREETING_MAX, key);
                                }
                            }
                            Err(error) => self.complaints.add(remote, error, now),
                        }
                    }
                    Accepted::NoDescriptor(remote) => self.lacks_descriptors(remote, now),
                    Accepted::Nobody => break,
                }
            }
        }
    }

    fn read_ready(&mut self, now: Instant) {
        for _ in 0..self.network.ready_count() {
            let Some(key) = self.network.next_ready() else { break };
            match self.serve(key, now) {
                Ok(Left::Nothing) => {}
                Ok(Left::More) => self.network.queue(key),
                Err(why) => self.close(key, why, now),
            }
        }
    }

    /// Reads one connection and hands the node what came.
    fn serve(&mut self, key: ConnectionKey, now: Instant) -> Result<Left, Why> {
        let Server { node, network, links, .. } = self;
        let mut bytes = 0;
        let Some(connection) = network.get_mut(key) else { return Ok(Left::Nothing) };
        match &mut connection.party {
            Party::Stranger { .. } => self.greet_stranger(key, now),
            Party::Leaving => connection.read(&mut bytes, |_, _, _| Ok(Flow::Next)),
            Party::Dialled { peer, purpose, .. } => {
                let (peer, purpose) = (*peer, *purpose);
                if !links.is_up(peer, purpose) {
                    return self.greet_dialled(key, peer, purpose, now);
                }
                let left = connection.read(&mut bytes, |frame, _, _| match frame.kind {
                    // It has learnt from the log that our disk is another.
                    Kind::Refused => Err(Why::RefusedByPeer(Refused::decode(frame.body)?)),
                    _ if matches!(wire::decode_peer(frame)?, PeerFrame::Pong) => Ok(Flow::Next),
                    _ => Err(Why::Bad("a message against the direction of the connection".to_owned())),
                });
                links.heard(peer, purpose, now);
                network.peer_bytes += bytes;
                left
            }
            Party::Peer { node: from, heard, .. } => {
                let from = *from;
                *heard = now;
                let left = connection.read(&mut bytes, |frame, output, _| {
                    if frame.kind == Kind::Refused {
                        // It has not liked our answer to its greeting.
                        return Err(Why::RefusedByPeer(Refused::decode(frame.body)?));
                    }
                    match wire::decode_peer(frame)? {
                        PeerFrame::Raft { message, entries } => node.peer_message(from, message, entries),
                        PeerFrame::Ping => wire::encode_pong(output.buffer()),
                        PeerFrame::Pong => return Err(Why::Bad("an answer to no question".to_owned())),
                        beside => node.peer_beside(from, beside),
                    }
                    Ok(Flow::Next)
                });
                network.peer_bytes += bytes;
                network.mark_unsent(key);
                left
            }
            Party::Client(_) => self.serve_client(key, now),
        }
    }

    fn tick(&mut self, ticks: u32, events: &mut Events, now: Instant) -> Result<(), Failure> {
        // After a gap (a pause, a slow sync) everything that has arrived is read before time passes: no election starts while the
        // leader's heartbeat lies unread.
        let mut now = now;
        if ticks > self.heartbeat_ticks {
            for _ in 0..GAP_PASSES_MAX {
                self.take_events(events, Duration::ZERO)?;
                if self.network.ready_count() == 0 {
                    break;
                }
                now = Instant::now();
                self.read_ready(now);
            }
            self.links.forgive_silence(now);
        }
        self.node.tick(ticks, self.clock.micros(now));
        self.node.count_peer_bytes(std::mem::take(&mut self.network.peer_bytes));
        self.idle_ticks = self.idle_ticks.saturating_add(ticks);
        if self.idle_ticks >= SEAL_IDLE_TICKS && self.store.needs_seal() {
            self.store.seal().map_err(|error| fatal(&error.into()))?;
        }
        while let Some(key) = self.strangers.take_overdue(now) {
            self.give_up_stranger(key, now);
        }
        if self.next_check <= now {
            self.next_check = now + Duration::from_secs(1);
            self.complaints.summarise(now);
            self.close_silent_peers(now);
            self.look_after_clients(now);
            self.follow_members(now);
        }
        Ok(())
    }

    fn drive(&mut self, now: Instant) -> Result<(), Failure> {
        while self.node.has_work() || self.store.has_room_again() {
            kvnode::drive(&mut self.node, &mut self.store, &mut self.network).map_err(|error| fatal(&error))?;
        }
        if std::mem::take(&mut self.network.saved) {
            self.idle_ticks = 0;
        }
        while let Some(peer) = self.network.overflown.pop_first() {
            self.node.peer_unreachable(peer);
        }
        let news = self.node.take_events();
        for event in &news {
            if let Event::Refused { node, refused } = event {
                self.close_peer(*node, refused, now);
            }
        }
        if !news.is_empty() {
            self.tell(&news);
            self.follow_members(now);
        }
        Ok(())
    }

    /// A line for every change of role or leader.
    fn tell(&mut self, news: &[Event]) {
        for event in news {
            match event {
                Event::Formed => tracing::info!("every member was heard: the cluster is formed"),
                Event::Installed { from, last, bytes } => {
                    tracing::info!("caught up to {last} by a snapshot of {bytes} bytes from {}", self.node.name_of(*from));
                }
                Event::SnapshotRefused { from, last, why } => {
                    let from = self.node.name_of(*from);
                    tracing::warn!("the snapshot of {last} that {from} sends cannot be used: {why}; asking for it again");
                }
                Event::SlowSync { sync_us } => {
                    let ms = sync_us / 1_000;
                    tracing::warn!(
                        "a sync took {ms} ms, longer than an election may: others may lead by now. If that is usual here, raise --election-ticks"
                    );
                }
                Event::Refused { .. } => {} // said where its connections are closed
                Event::NoRoomForSnapshot => tracing::warn!("the disk has no room for a snapshot: the log grows until it has"),
                Event::RoomForSnapshot => tracing::info!("the disk had room for a snapshot again"),
                Event::SnapshotCutOff => tracing::warn!("too much was written while a snapshot was taken: it is begun again"),
                Event::Role { role, term, leader } => {
                    self.log.set_who(format!("{} {role} {term}", self.name));
                    let led = std::mem::replace(&mut self.leads, *role == RoleName::Leader);
                    match (role, leader) {
                        (RoleName::Leader, _) => tracing::info!("elected"),
                        (RoleName::Follower, None) if led => tracing::info!("leads no longer"),
                        (RoleName::Follower, Some(leader)) => tracing::info!("follows {}", self.node.name_of(*leader)),
                        (RoleName::Follower, None) => tracing::info!("no leader"),
                        (RoleName::PreCandidate, _) => tracing::info!("no leader: asks the others whether it would be elected"),
                        (RoleName::Candidate, _) => tracing::info!("stands for election"),
                    }
                }
            }
        }
        let leader = self.node.leader().map_or("none", |leader| self.node.name_of(leader));
        notify::status(&format!("{} {} {}, leader: {leader}", self.name, self.node.role(), self.node.term()));
    }

    /// A line when the disk becomes full, and one when it has room again: until then only clients were told.
    fn tell_space(&mut self) {
        let no_space = self.store.no_space();
        if std::mem::replace(&mut self.no_space, no_space) == no_space {
            return;
        }
        if no_space {
            tracing::warn!("the disk is full: as leader this node refuses writes; what its log has no room for waits");
        } else {
            tracing::info!("the disk has room again");
        }
    }

    fn follow_members(&mut self, now: Instant) {
        for key in self.links.set_members(self.node.peers(), now) {
            self.network.remove(key);
        }
    }

    fn close_broken(&mut self, now: Instant) {
        while let Some((key, why)) = self.network.broken.pop() {
            self.close(key, why, now);
        }
    }

    fn close_silent_peers(&mut self, now: Instant) {
        let is_silent = |connection: &Connection| match connection.party {
            Party::Peer { heard, .. } => now.duration_since(heard) >= PEER_SILENT_MAX,
            _ => false,
        };
        let silent: Vec<ConnectionKey> = self.network.iter().filter(|(_, connection)| is_silent(connection)).map(|(key, _)| key).collect();
        for key in silent {
            self.close(key, Why::Bad("a peer that has gone silent".to_owned()), now);
        }
    }

    fn serve_links(&mut self, now: Instant) {
        let mut due = std::mem::take(&mut self.due);
        self.links.poll(now, &mut due);
        for due in due.drain(..) {
            match due {
                Due::Dial { peer, purpose } => self.dial(peer, purpose, now),
                Due::Ping { key } => self.network.write(key, wire::encode_ping),
                Due::Close { peer, purpose, key, end } => {
                    let why = Why::Link(end);
                    self.links.gave_up(peer, purpose, &why, now);
                    self.close(key, why, now);
                }
            }
        }
        self.due = due;
        self.network.flush_all();
        self.close_broken(now);
    }

    fn dial(&mut self, peer: NodeId, purpose: Purpose, now: Instant) {
        let failed = |links: &mut Links, error: io::Error| {
            let why = Why::Over(Over::Error(error));
            links.ended(peer, purpose, None, &why, now)
        };
        let socket = match self.links.destination(peer) {
            Some(Destination::Socket(socket)) => socket,
            Some(Destination::Lookup(address)) => {
                self.resolver.ask(&address);
                failed(&mut self.links, io::Error::other("its name is being looked up"));
                return;
            }
            None => return,
        };
        let party = Party::Dialled { peer, purpose, connected: false };
        let dialled = mio::net::TcpStream::connect(socket)
            .and_then(|stream| self.network.add(Connection::new(Stream::new(stream, HELLO_BODY_LEN_MAX), socket, party)));
        match dialled {
            Ok(key) => self.links.dialled(peer, purpose, key),
            Err(error) => {
                let news = failed(&mut self.links, error);
                self.follow_news(peer, news);
            }
        }
    }

    fn follow_news(&mut self, peer: NodeId, news: Option<PeerNews>) {
        if let Some(PeerNews::ProcessGone) = news {
            self.node.leader_lost(peer);
        }
    }

    /// Closes a connection, and tells everybody whom it concerns.
    fn close(&mut self, key: ConnectionKey, why: Why, now: Instant) {
        if self.network.get_mut(key).is_some_and(|connection| matches!(connection.party, Party::Client(_))) {
            self.node.client_gone(client_id(key));
        }
        let why = match self.say_goodbye(key, why, now) {
            Some(why) => why,
            None => return,
        };
        let Some(connection) = self.network.remove(key) else { return };
        tracing::debug!("closed {} ({:?}): {why}", connection.remote, connection.party);
        if matches!(why, Why::Bad(_) | Why::Refuse(_) | Why::RefusedByPeer(_)) && !matches!(connection.party, Party::Leaving) {
            self.complain(connection.remote, &why, now);
        }
        // A peer's own connections tell nothing that our link to it does not.
        if let Party::Dialled { peer, purpose, .. } = connection.party {
            let news = self.links.ended(peer, purpose, Some(key), &why, now);
            if purpose == Purpose::Entries {
                self.node.peer_unreachable(peer);
            }
            self.follow_news(peer, news);
        }
    }

    /// Closes all connections with a peer, both ways: it would not be let in again.
    fn close_peer(&mut self, node: NodeId, refused: &Refused, now: Instant) {
        let is_of = |party: &Party| match party {
            Party::Peer { node: of, .. } | Party::Dialled { peer: of, .. } => *of == node,
            _ => false,
        };
        let keys: Vec<ConnectionKey> = self.network.iter().filter(|(_, connection)| is_of(&connection.party)).map(|(key, _)| key).collect();
        keys.into_iter().for_each(|key| self.close(key, Why::Refuse(refused.clone()), now));
    }

    /// The last turn: what was promised is on disk already; the log is sealed so that the next start knows.
    fn stop(mut self, signal: Signal) -> Result<(), Failure> {
        notify::stopping();
        tracing::info!("stopping: {signal}");
        self.drive(Instant::now())?;
        if self.store.needs_seal() {
            self.store.seal().map_err(|error| fatal(&error.into()))?;
        }
        let start = Instant::now();
        let mut events = Events::with_capacity(POLL_EVENTS_MAX);
        loop {
            self.network.flush_all();
            self.close_broken(start);
            let waiting = self
                .network
                .iter()
                .any(|(_, connection)| matches!(connection.party, Party::Client(Client { .. })) && !connection.stream.output.is_empty());
            if !waiting || start.elapsed() >= STOP_FLUSH_MAX {
                break;
            }
            self.take_events(&mut events, Duration::from_millis(10))?;
        }
        self.log.finish();
        Ok(())
    }
}

fn watch(poll: &Poll, listeners: &mut [Listener], signals: &Signals) -> io::Result<Registry> {
    for (listener, token) in listeners.iter_mut().zip([CLIENT_DOOR, PEER_DOOR]) {
        poll.registry().register(&mut listener.socket, token, Interest::READABLE)?;
    }
    poll.registry().register(&mut SourceFd(&signals.raw_fd()), SIGNALS, Interest::READABLE)?;
    poll.registry().try_clone()
}

/// What a node that stops itself exits with.
pub(crate) fn fatal(error: &NodeError) -> Failure {
    match error {
        NodeError::Store(StoreError::Corrupt { .. }) => {
            Exit::Corrupt.says(format!("{error}. What this node has on disk cannot be trusted: restore the disk, or replace this member"))
        }
        NodeError::Store(_) => {
            Exit::Io.says(format!("the log failed: {error}. Nothing is retried: what the disk holds is only known after a restart"))
        }
        NodeError::Command { .. } => Exit::Config.says(error),
        NodeError::Entry { .. } | NodeError::Image { .. } | NodeError::Snapshot(_) | NodeError::Diverged { .. } => {
            Exit::Corrupt.says(error)
        }
    }
}
