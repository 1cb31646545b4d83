//! Many clients on one thread: a core each, and one poll over the sockets of all. It decides nothing.
//!
//! `Transport` does the same for one core. It asks the core after every event when to tick next, which costs a look at every call in
//! flight; here all cores are ticked every two milliseconds instead, and a read that did not fill the buffer is not repeated.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use wire::SessionId;

use super::load::Load;
use crate::core::{Action, ConnectionId, Core, CoreConfig, Patience};
use crate::reason::Reason;
use crate::resolve::{Lookup, Resolver, without_code};

const RESOLVED: Token = Token(0); // sockets count from 1
const INTERRUPT: Token = Token(usize::MAX);
const READ_LEN: usize = 256 << 10;
/// Between two ticks of a core: what a pause or a timeout may be late by.
const TICK_US: u64 = 2_000;

/// See the [module](self).
pub(super) struct Clients {
    clients: Vec<Client>,
    poll: Poll,
    events: Events,
    /// By their tokens. A token is never used again: an event of a socket that was closed meanwhile finds none.
    sockets: BTreeMap<usize, Socket>,
    next_socket: usize,
    /// Have bytes to send that were not tried yet.
    unsent: Vec<usize>,
    resolver: Resolver,
    started: Instant,
    next_tick_us: u64,
    read_buffer: Vec<u8>,
}

struct Client {
    core: Core,
    /// Its connections, few, and their tokens.
    sockets: Vec<(ConnectionId, usize)>,
}

struct Socket {
    client: usize,
    connection: ConnectionId,
    address: String,
    /// `None` while the name is looked up.
    stream: Option<TcpStream>,
    connected: bool,
    /// Where to go if this one refuses.
    others: Vec<SocketAddr>,
    unsent: Vec<u8>,
    sent_len: usize,
}

/// How a turn ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum TurnEnd {
    Done,
    Interrupted,
}

impl Clients {
    pub(super) fn new(count: usize, endpoints: &[String], interrupt: BorrowedFd<'_>) -> io::Result<Clients> {
        // Each client may have a connection to every node.
        if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
            let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard); // without it, fewer clients: they will say so
        }
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), RESOLVED)?);
        poll.registry().register(&mut SourceFd(&interrupt.as_raw_fd()), INTERRUPT, Interest::READABLE)?;
        let clients = (0..count).map(|_| Ok(Client { core: Core::new(core_config(endpoints)?), sockets: Vec::new() }));
        Ok(Clients {
            clients: clients.collect::<io::Result<_>>()?,
            poll,
            events: Events::with_capacity(1024),
            sockets: BTreeMap::new(),
            next_socket: 1,
            unsent: Vec::new(),
            resolver: Resolver::new(waker),
            started: Instant::now(),
            next_tick_us: 0,
            read_buffer: vec![0; READ_LEN],
        })
    }

    pub(super) fn now_us(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Lets every core work, and the load add to that.
    pub(super) fn tick(&mut self, load: &mut Load) {
        let now_us = self.now_us();
        self.next_tick_us = now_us + TICK_US;
        for at in 0..self.clients.len() {
            let core = &mut self.clients[at].core;
            core.tick(now_us);
            load.tick(at, core, now_us);
            self.act(at, now_us, load);
        }
        load.time_passed(now_us);
    }

    /// Waits for something to happen, at most until the next tick, and lets it.
    pub(super) fn turn(&mut self, load: &mut Load) -> io::Result<TurnEnd> {
        let until_tick = Duration::from_micros(self.next_tick_us.saturating_sub(self.now_us()));
        match self.poll.poll(&mut self.events, Some(until_tick)) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0)); // they are looked at while all else changes
        let mut end = TurnEnd::Done;
        for event in &events {
            match event.token() {
                RESOLVED => self.take_resolved(load),
                INTERRUPT => end = TurnEnd::Interrupted,
                Token(socket) => self.serve(socket, event.is_read_closed() || event.is_error(), load),
            }
        }
        self.events = events;
        if self.now_us() >= self.next_tick_us {
            self.tick(load);
        }
        Ok(end)
    }

    /// Until the core wants nothing more: a failure to act is news, an end makes room for the next call.
    fn act(&mut self, at: usize, now_us: u64, load: &mut Load) {
        loop {
            let actions = self.clients[at].core.take_actions();
            if actions.is_empty() && self.unsent.is_empty() {
                return;
            }
            for action in actions {
                match action {
                    Action::Dial { connection, address } => self.dial(at, connection, address),
                    Action::Send { connection, bytes, .. } => self.send(at, connection, bytes),
                    Action::Close { connection } => self.close(at, connection),
                    Action::Finished { call, outcome } => load.finished(at, &mut self.clients[at].core, call, outcome, now_us),
                }
            }
            // One write for all that was added to a connection.
            while let Some(socket) = self.unsent.pop() {
                self.flush(socket);
            }
        }
    }

    fn send(&mut self, at: usize, connection: ConnectionId, bytes: Vec<u8>) {
        let Some(token) = self.clients[at].token(connection) else { return };
        let Some(socket) = self.sockets.get_mut(&token) else { return };
        if socket.unsent.is_empty() {
            socket.unsent = bytes;
            self.unsent.push(token);
        } else {
            socket.unsent.extend_from_slice(&bytes);
            if !self.unsent.contains(&token) {
                self.unsent.push(token);
            }
        }
    }

    fn close(&mut self, at: usize, connection: ConnectionId) {
        if let Some(token) = self.clients[at].token(connection) {
            self.forget(token); // closing also ends its events
        }
    }

    fn forget(&mut self, token: usize) -> Option<Socket> {
        let socket = self.sockets.remove(&token)?;
        self.clients[socket.client].sockets.retain(|(_, known)| *known != token);
        Some(socket)
    }

    fn lose(&mut self, token: usize, reason: Reason) {
        let now_us = self.now_us();
        if let Some(socket) = self.forget(token) {
            self.clients[socket.client].core.closed(now_us, socket.connection, reason);
        }
    }

    fn dial(&mut self, at: usize, connection: ConnectionId, address: String) {
        let token = self.next_socket;
        self.next_socket += 1;
        let found = self.resolver.look_up(&address, ConnectionId(token as u64));
        let socket =
            Socket { client: at, connection, address, stream: None, connected: false, others: Vec::new(), unsent: Vec::new(), sent_len: 0 };
        self.sockets.insert(token, socket);
        self.clients[at].sockets.push((connection, token));
        if let Lookup::Found(addresses) = found {
            self.connect(token, addresses, None);
        }
    }

    fn take_resolved(&mut self, load: &mut Load) {
        for resolved in self.resolver.finished() {
            for ConnectionId(token) in resolved.waiting {
                let token = usize::try_from(token).unwrap_or(usize::MAX);
                let Some(at) = self.sockets.get(&token).map(|socket| socket.client) else { continue }; // closed meanwhile
                match &resolved.addresses {
                    Ok(addresses) => self.connect(token, addresses.clone(), None),
                    Err(why) => self.lose(token, Reason::Unresolvable(why.clone())),
                }
                self.act(at, self.now_us(), load);
            }
        }
    }

    /// To the first of them that does not fail at once.
    fn connect(&mut self, token: usize, addresses: Vec<SocketAddr>, failure: Option<io::Error>) {
        let Some(socket) = self.sockets.get_mut(&token) else { return };
        let mut failure = failure;
        let mut left = addresses.into_iter();
        while let Some(address) = left.next() {
            let opened = TcpStream::connect(address).and_then(|mut stream| {
                self.poll.registry().register(&mut stream, Token(token), Interest::READABLE | Interest::WRITABLE)?;
                Ok(stream)
            });
            match opened {
                Ok(stream) => {
                    socket.stream = Some(stream);
                    socket.others = left.collect();
                    return;
                }
                Err(error) => failure = Some(error),
            }
        }
        self.resolver.forget(&socket.address);
        let why = failure.map_or_else(|| "no address".into(), |error| without_code(&error));
        self.lose(token, Reason::Connect(why));
    }

    /// Something happened there: it stands, it failed, it has bytes, it has room for more.
    fn serve(&mut self, token: usize, may_have_ended: bool, load: &mut Load) {
        let Some(socket) = self.sockets.get_mut(&token) else { return };
        let at = socket.client;
        let now_us = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        if !socket.connected {
            let Some(stream) = &mut socket.stream else { return };
            let failed = match stream.take_error() {
                Ok(None) => stream.peer_addr().err(),
                Ok(Some(error)) | Err(error) => Some(error),
            };
            match failed {
                None => {
                    socket.connected = true;
                    let _ = stream.set_nodelay(true); // slower without, not wrong
                    self.clients[at].core.connected(now_us, socket.connection);
                }
                Some(error) if error.kind() == ErrorKind::NotConnected => return, // not yet
                Some(error) => {
                    let others = std::mem::take(&mut socket.others);
                    socket.stream = None;
                    self.connect(token, others, Some(error));
                    return self.act(at, now_us, load);
                }
            }
        }
        self.read(token, now_us, may_have_ended);
        self.flush(token);
        self.act(at, now_us, load);
    }

    fn read(&mut self, token: usize, now_us: u64, may_have_ended: bool) {
        loop {
            let Some(socket) = self.sockets.get_mut(&token) else { return };
            let Some(stream) = &mut socket.stream else { return };
            match stream.read(&mut self.read_buffer) {
                Ok(0) => return self.lose(token, Reason::Closed("ended by the node".into())),
                Ok(count) => {
                    self.clients[socket.client].core.received(now_us, socket.connection, &self.read_buffer[..count]);
                    // It gave all it had; an end that came in the same event would not be told again.
                    if count < self.read_buffer.len() && !may_have_ended {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return self.lose(token, Reason::Closed(without_code(&error))),
            }
        }
    }

    fn flush(&mut self, token: usize) {
        let Some(socket) = self.sockets.get_mut(&token) else { return };
        let Some(stream) = socket.stream.as_mut().filter(|_| socket.connected) else { return };
        while socket.sent_len < socket.unsent.len() {
            match stream.write(&socket.unsent[socket.sent_len..]) {
                Ok(count) => socket.sent_len += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return self.lose(token, Reason::Closed(without_code(&error))),
            }
        }
        socket.unsent.clear();
        socket.sent_len = 0;
    }
}

impl Client {
    fn token(&self, connection: ConnectionId) -> Option<usize> {
        self.sockets.iter().find(|(known, _)| *known == connection).map(|(_, token)| *token)
    }
}

fn core_config(endpoints: &[String]) -> io::Result<CoreConfig> {
    let (mut session, mut seed) = ([0; 16], [0; 8]);
    for random in [&mut session[..], &mut seed[..]] {
        getrandom::fill(random).map_err(|error| io::Error::other(error.to_string()))?;
    }
    Ok(CoreConfig {
        endpoints: endpoints.to_vec(),
        session: SessionId(u128::from_le_bytes(session)),
        seed: u64::from_le_bytes(seed),
        cluster_id: None,
        patience: Patience::default(),
    })
}
