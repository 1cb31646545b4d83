//! Names to addresses, without waiting: the system's resolver blocks, so that each name gets a short-lived thread of its own, and one
//! that does not resolve stops no other.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use mio::Waker;

use crate::core::ConnectionId;

/// What is known of a name.
pub(crate) enum Lookup {
    /// These are its addresses, at least one.
    Found(Vec<SocketAddr>),
    /// The answer will come out of `finished`.
    Pending,
}

/// A name, what it resolved to, and the connections that wait for it.
pub(crate) struct Resolved {
    pub(crate) waiting: Vec<ConnectionId>,
    pub(crate) addresses: Result<Vec<SocketAddr>, String>,
}

pub(crate) struct Resolver {
    waker: Arc<Waker>,
    sender: Sender<(String, io::Result<Vec<SocketAddr>>)>,
    receiver: Receiver<(String, io::Result<Vec<SocketAddr>>)>,
    pending: BTreeMap<String, Vec<ConnectionId>>,
    known: BTreeMap<String, Vec<SocketAddr>>,
}

impl Resolver {
    /// `waker` is woken when a name has resolved, or has not.
    pub(crate) fn new(waker: Arc<Waker>) -> Resolver {
        let (sender, receiver) = channel();
        Resolver { waker, sender, receiver, pending: BTreeMap::new(), known: BTreeMap::new() }
    }

    pub(crate) fn look_up(&mut self, address: &str, connection: ConnectionId) -> Lookup {
        if let Ok(literal) = address.parse() {
            return Lookup::Found(vec![literal]);
        }
        if let Some(addresses) = self.known.get_mut(address) {
            // The first may be a family that leads nowhere: every attempt begins with another.
            addresses.rotate_left(1);
            return Lookup::Found(addresses.clone());
        }
        if let Some(waiting) = self.pending.get_mut(address) {
            waiting.push(connection);
            return Lookup::Pending;
        }
        let (sender, waker, name) = (self.sender.clone(), Arc::clone(&self.waker), address.to_string());
        let thread = thread::Builder::new().name("resolve".into()).stack_size(256 << 10).spawn(move || {
            let result = name.to_socket_addrs().map(Iterator::collect);
            // Nobody listens any more: then nobody needs it.
            if sender.send((name, result)).is_ok() {
                let _ = waker.wake();
            }
        });
        self.pending.insert(address.into(), vec![connection]);
        if let Err(error) = thread {
            let _ = self.sender.send((address.into(), Err(error)));
            let _ = self.waker.wake();
        }
        Lookup::Pending
    }

    /// Every name that was decided since the last time.
    pub(crate) fn finished(&mut self) -> Vec<Resolved> {
        let mut all = Vec::new();
        while let Ok((name, result)) = self.receiver.try_recv() {
            let addresses = match result {
                Ok(addresses) if addresses.is_empty() => Err("it has no address".into()),
                Ok(addresses) => {
                    self.known.insert(name.clone(), addresses.clone());
                    Ok(addresses)
                }
                Err(error) => Err(without_code(&error)),
            };
            all.push(Resolved { waiting: self.pending.remove(&name).unwrap_or_default(), addresses });
        }
        all
    }

    /// No address of this name worked: ask again next time.
    pub(crate) fn forget(&mut self, address: &str) {
        self.known.remove(address);
    }
}

/// "Connection refused", not "Connection refused (os error 111)".
pub(crate) fn without_code(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.strip_prefix("failed to lookup address information: ").unwrap_or(&text);
    text.split(" (os error").next().unwrap_or(text).to_lowercase()
}
