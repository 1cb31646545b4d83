//! A network interface whose other end is a descriptor: what the host sends is read from it, what is written to it the host receives.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt as _;

/// Where the kernel offers them.
pub(crate) const DEVICE: &str = "/dev/net/tun";

/// The interface is gone when this is.
#[derive(Debug)]
pub(crate) struct Tun {
    file: File,
}

impl Tun {
    /// A new interface of this name, in the network namespace of the calling thread.
    pub(crate) fn create(name: &str) -> io::Result<Tun> {
        let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(DEVICE)?;
        // Whole IP packets, with nothing in front.
        let flags = libc::IFF_TUN | libc::IFF_NO_PI;
        attach(&file, name, libc::c_short::try_from(flags).map_err(io::Error::other)?)?;
        Ok(Tun { file })
    }

    /// The next packet that the host has sent; `None`: there is none yet.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match (&self.file).read(buffer) {
            Ok(len) => Ok(Some(len)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Hands the host a packet. If it cannot take it, the packet is lost, as packets are.
    pub(crate) fn send(&self, packet: &[u8]) {
        let _ = (&self.file).write(packet);
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn attach(file: &File, name: &str, flags: libc::c_short) -> io::Result<()> {
    let mut ifr_name = [0; libc::IFNAMSIZ];
    for (to, from) in ifr_name[..libc::IFNAMSIZ - 1].iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    let request = libc::ifreq { ifr_name, ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_flags: flags } };
    #[expect(unsafe_code, reason = "an interface can only be named by an ioctl, which the standard library does not have")]
    // SAFETY: TUNSETIFF reads and writes one `ifreq`, which `request` is and which outlives the call; the descriptor is open.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw const request) };
    nix::errno::Errno::result(result).map(drop).map_err(io::Error::from)
}
