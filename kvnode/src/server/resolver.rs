//! Names to addresses without holding up the loop: the system's resolver blocks, so it runs on a thread of its own, one name at a
//! time, and the thread ends with its answer. A node whose addresses are literals never starts one.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use mio::Waker;

use crate::address::Address;

/// What a lookup came to.
pub(crate) struct Resolved {
    /// What was asked.
    pub(crate) address: Address,
    /// The first address it has, or why it has none.
    pub(crate) outcome: Result<SocketAddr, String>,
}

/// At most one lookup at a time.
pub(crate) struct Resolver {
    waker: Arc<Waker>,
    sender: Sender<Resolved>,
    receiver: Receiver<Resolved>,
    busy: bool,
}

impl Resolver {
    /// Answers are announced through `waker`.
    pub(crate) fn new(waker: Waker) -> Resolver {
        let (sender, receiver) = channel();
        Resolver { waker: Arc::new(waker), sender, receiver, busy: false }
    }

    /// Starts a lookup, unless one is under way: then ask again later.
    pub(crate) fn ask(&mut self, address: &Address) {
        if self.busy {
            return;
        }
        let (address, sender, waker) = (address.clone(), self.sender.clone(), Arc::clone(&self.waker));
        let lookup = move || {
            let outcome = look_up(&address);
            // The loop may be gone, and then nobody needs the answer.
            let _ = sender.send(Resolved { address, outcome });
            let _ = waker.wake();
        };
        // No thread to be had: asked again with the next dial.
        self.busy = std::thread::Builder::new().name("resolver".to_owned()).stack_size(256 << 10).spawn(lookup).is_ok();
    }

    /// An answer that has come.
    pub(crate) fn take(&mut self) -> Option<Resolved> {
        let resolved = self.receiver.try_recv().ok()?;
        self.busy = false;
        Some(resolved)
    }
}

/// Asks the system, which may take seconds.
pub(crate) fn look_up(address: &Address) -> Result<SocketAddr, String> {
    if let Some(socket) = address.literal() {
        return Ok(socket);
    }
    let no_address = || io::Error::other("the name has no address");
    let found = address.to_string().to_socket_addrs().and_then(|mut all| all.next().ok_or_else(no_address));
    found.map_err(|error| format!("cannot resolve {address}: {error}"))
}
