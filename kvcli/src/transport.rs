//! What the core wants done, done with real sockets: one poll over all connections. It decides nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};

use crate::ask::Ask;
use crate::clerk::Finished;
use crate::core::{Action, CallNumber, ConnectionId, Core};
use crate::reason::Reason;
use crate::resolve::{Lookup, Resolver, without_code};

const RESOLVED: Token = Token(0); // connections count from 1
const WATCHED: Token = Token(usize::MAX);
const READ_LEN: usize = 64 << 10;
/// Reads from one connection before the others have their turn, and time is looked at.
const READS_MAX: usize = 32;

/// A core, and the sockets it works with.
pub(crate) struct Transport {
    core: Core,
    poll: Poll,
    events: Events,
    sockets: BTreeMap<ConnectionId, Socket>,
    /// Have bytes to send that were not tried yet.
    unsent: BTreeSet<ConnectionId>,
    /// May have more to read, without a new event.
    unread: BTreeSet<ConnectionId>,
    resolver: Resolver,
    started: Instant,
    read_buffer: Vec<u8>,
}

struct Socket {
    address: String,
    /// `None` while the name is looked up.
    stream: Option<TcpStream>,
    connected: bool,
    /// Where to go if this one refuses.
    others: Vec<SocketAddr>,
    unsent: Vec<u8>,
    sent_len: usize,
}

impl Transport {
    pub(crate) fn new(core: Core) -> io::Result<Transport> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), RESOLVED)?);
        Ok(Transport {
            core,
            poll,
            events: Events::with_capacity(64),
            sockets: BTreeMap::new(),
            unsent: BTreeSet::new(),
            unread: BTreeSet::new(),
            resolver: Resolver::new(waker),
            started: Instant::now(),
            read_buffer: vec![0; READ_LEN],
        })
    }

    pub(crate) fn core(&self) -> &Core {
        &self.core
    }

    pub(crate) fn core_mut(&mut self) -> &mut Core {
        &mut self.core
    }

    pub(crate) fn submit(&mut self, ask: Ask, timeout: Duration) -> CallNumber {
        self.core.submit(self.now_us(), ask, micros(timeout))
    }

    pub(crate) fn resume(&mut self, ask: Ask, token: crate::token::Token, timeout: Duration) -> CallNumber {
        self.core.resume(self.now_us(), ask, token, micros(timeout))
    }

    pub(crate) fn give_up(&mut self, call: CallNumber) {
        self.core.give_up(self.now_us(), call);
    }

    /// From now on a turn also ends when there is something to read here.
    pub(crate) fn watch(&self, fd: RawFd) -> io::Result<()> {
        self.poll.registry().register(&mut SourceFd(&fd), WATCHED, Interest::READABLE)
    }

    pub(crate) fn unwatch(&self, fd: RawFd) -> io::Result<()> {
        self.poll.registry().deregister(&mut SourceFd(&fd))
    }

    /// Does what is to be done, waits at most so long for something to happen, and says which calls are over.
    pub(crate) fn turn(&mut self, wait: Duration) -> io::Result<Vec<Finished>> {
        let mut finished = Vec::new();
        self.act(&mut finished);
        let wait = if finished.is_empty() && self.unread.is_empty() { wait } else { Duration::ZERO };
        let until_tick = self.core.next_tick_us().map(|at_us| Duration::from_micros(at_us.saturating_sub(self.now_us())));
        match self.poll.poll(&mut self.events, Some(until_tick.map_or(wait, |until_tick| until_tick.min(wait)))) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        let mut ready: BTreeSet<ConnectionId> = std::mem::take(&mut self.unread);
        let mut resolved = false;
        for event in &self.events {
            match event.token() {
                RESOLVED => resolved = true,
                WATCHED => {}
                Token(connection) => {
                    ready.insert(ConnectionId(connection as u64));
                }
            }
        }
        if resolved {
            self.take_resolved();
        }
        for connection in ready {
            self.serve(connection);
        }
        self.core.tick(self.now_us());
        self.act(&mut finished);
        Ok(finished)
    }

    fn now_us(&self) -> u64 {
        micros(self.started.elapsed())
    }

    /// Until the core wants nothing more: a failure to act is news, and news can make it want something else.
    fn act(&mut self, finished: &mut Vec<Finished>) {
        loop {
            let actions = self.core.take_actions();
            if actions.is_empty() && self.unsent.is_empty() {
                return;
            }
            for action in actions {
                match action {
                    Action::Dial { connection, address } => self.dial(connection, address),
                    Action::Send { connection, bytes, .. } => {
                        if let Some(socket) = self.sockets.get_mut(&connection) {
                            socket.unsent.extend_from_slice(&bytes);
                            self.unsent.insert(connection);
                        }
                    }
                    Action::Close { connection } => drop(self.sockets.remove(&connection)), // closing also ends its events
                    Action::Finished { call, outcome } => finished.push((call, outcome)),
                }
            }
            // One write for all that was added to a connection.
            for connection in std::mem::take(&mut self.unsent) {
                self.flush(connection);
            }
        }
    }

    fn dial(&mut self, connection: ConnectionId, address: String) {
        let found = self.resolver.look_up(&address, connection);
        let socket = Socket { address, stream: None, connected: false, others: Vec::new(), unsent: Vec::new(), sent_len: 0 };
        self.sockets.insert(connection, socket);
        if let Lookup::Found(addresses) = found {
            self.connect(connection, addresses, None);
        }
    }

    fn take_resolved(&mut self) {
        for resolved in self.resolver.finished() {
            for connection in resolved.waiting {
                match &resolved.addresses {
                    _ if !self.sockets.contains_key(&connection) => {} // closed meanwhile
                    Ok(addresses) => self.connect(connection, addresses.clone(), None),
                    Err(why) => self.lose(connection, Reason::Unresolvable(why.clone())),
                }
            }
        }
    }

    /// To the first of them that does not fail at once.
    fn connect(&mut self, connection: ConnectionId, addresses: Vec<SocketAddr>, failure: Option<io::Error>) {
        let Some(socket) = self.sockets.get_mut(&connection) else { return };
        let mut failure = failure;
        let mut left = addresses.into_iter();
        while let Some(address) = left.next() {
            let opened = TcpStream::connect(address).and_then(|mut stream| {
                let interest = Interest::READABLE | Interest::WRITABLE;
                self.poll.registry().register(&mut stream, Token(usize::try_from(connection.0).unwrap_or(usize::MAX - 1)), interest)?;
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
        let address = socket.address.clone();
        self.resolver.forget(&address);
        let why = failure.map_or_else(|| "no address".into(), |error| without_code(&error));
        self.lose(connection, Reason::Connect(why));
    }

    fn lose(&mut self, connection: ConnectionId, reason: Reason) {
        self.sockets.remove(&connection);
        self.core.closed(self.now_us(), connection, reason);
    }

    /// Something happened there: it stands, it failed, it has bytes, it has room for more.
    fn serve(&mut self, connection: ConnectionId) {
        let Some(socket) = self.sockets.get_mut(&connection) else { return };
        let Some(stream) = &mut socket.stream else { return };
        if !socket.connected {
            let failed = match stream.take_error() {
                Ok(None) => stream.peer_addr().err(),
                Ok(Some(error)) | Err(error) => Some(error),
            };
            match failed {
                None => {
                    socket.connected = true;
                    let _ = stream.set_nodelay(true); // slower without, not wrong
                    self.core.connected(self.now_us(), connection);
                }
                Some(error) if error.kind() == ErrorKind::NotConnected => return, // not yet
                Some(error) => {
                    let others = std::mem::take(&mut socket.others);
                    socket.stream = None;
                    return self.connect(connection, others, Some(error));
                }
            }
        }
        self.read(connection);
        self.flush(connection);
    }

    fn read(&mut self, connection: ConnectionId) {
        for _ in 0..READS_MAX {
            let Some(stream) = self.sockets.get_mut(&connection).and_then(|socket| socket.stream.as_mut()) else { return };
            match stream.read(&mut self.read_buffer) {
                Ok(0) => return self.lose(connection, Reason::Closed("ended by the node".into())),
                Ok(count) => self.core.received(micros(self.started.elapsed()), connection, &self.read_buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return self.lose(connection, Reason::Closed(without_code(&error))),
            }
        }
        self.unread.insert(connection);
    }

    fn flush(&mut self, connection: ConnectionId) {
        let Some(socket) = self.sockets.get_mut(&connection) else { return };
        let Some(stream) = socket.stream.as_mut().filter(|_| socket.connected) else { return };
        while socket.sent_len < socket.unsent.len() {
            match stream.write(&socket.unsent[socket.sent_len..]) {
                Ok(count) => socket.sent_len += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return self.lose(connection, Reason::Closed(without_code(&error))),
            }
        }
        socket.unsent.clear();
        socket.sent_len = 0;
    }
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transport").field("core", &self.core).field("poll", &self.poll.as_raw_fd()).finish_non_exhaustive()
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
