//! A listening socket that survives running out of descriptors.

use std::fs::File;
use std::io;
use std::net::SocketAddr;

use mio::net::{TcpListener, TcpStream};

/// Accepts connections, edge-triggered: `pending` remembers that there may be more.
pub(crate) struct Listener {
    pub(crate) socket: TcpListener,
    pub(crate) address: SocketAddr,
    pub(crate) pending: bool,
    /// Held in reserve: given up for a moment when no descriptor is left, so that a connection can be taken and closed instead of
    /// hanging in the queue for ever, and the loop spinning on it.
    reserve: Option<File>,
}

/// What `Listener::accept` found.
pub(crate) enum Accepted {
    /// A connection.
    Stream(TcpStream, SocketAddr),
    /// One had to be closed: no descriptor is left.
    NoDescriptor(SocketAddr),
    /// Nobody is waiting, or accepting fails for now; `pending` says which.
    Nobody,
}

impl Listener {
    /// Listens.
    pub(crate) fn bind(address: SocketAddr) -> io::Result<Listener> {
        let socket = TcpListener::bind(address)?;
        Ok(Listener { address: socket.local_addr()?, socket, pending: false, reserve: Some(File::open("/dev/null")?) })
    }

    /// The next connection.
    pub(crate) fn accept(&mut self) -> Accepted {
        loop {
            match self.socket.accept() {
                Ok((stream, remote)) => return Accepted::Stream(stream, remote),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.pending = false;
                    return Accepted::Nobody;
                }
                Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted) => {}
                Err(error) if no_descriptor(&error) && self.reserve.is_some() => {
                    self.reserve = None;
                    let remote = self.socket.accept().map(|(_closed, remote)| remote);
                    self.reserve = File::open("/dev/null").ok();
                    return remote.map_or(Accepted::Nobody, Accepted::NoDescriptor);
                }
                // `pending` stays: tried again next turn.
                Err(_) => {
                    self.reserve = self.reserve.take().or_else(|| File::open("/dev/null").ok());
                    return Accepted::Nobody;
                }
            }
        }
    }
}

fn no_descriptor(error: &io::Error) -> bool {
    use nix::errno::Errno;
    error.raw_os_error().is_some_and(|code| matches!(Errno::from_raw(code), Errno::EMFILE | Errno::ENFILE))
}
