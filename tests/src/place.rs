//! Addresses and directories that no other test has, in this process or another.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV6, TcpListener};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

/// Both ports of a node: fixed, since every node has an address of its own.
pub const CLIENT_PORT: u16 = 7117;
/// See [`CLIENT_PORT`].
pub const PEER_PORT: u16 = 7217;

/// A loopback address that nobody else has, with both ports free.
///
/// All of 127.0.0.0/8 is this machine. A free *port* of 127.0.0.1 would be a guess: between our closing it and the node's opening it,
/// or while a node is down for its restart, any outgoing connection may be given that very port as its own.
pub fn loopback() -> Ipv4Addr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in 0..10_000 {
        // Process id, then count: two test programs that run side by side walk through different parts of 2^23 addresses.
        let number = (std::process::id().wrapping_mul(509) + NEXT.fetch_add(1, Ordering::Relaxed)) & 0x7f_ffff;
        let [_, high, middle, low] = number.to_be_bytes();
        let address = Ipv4Addr::new(127, high | 0x80, middle, low);
        let free = |port| TcpListener::bind((address, port)).is_ok();
        if low != 0 && low != 255 && free(CLIENT_PORT) && free(PEER_PORT) {
            return address;
        }
    }
    panic!("no free loopback address in 127.128.0.0/9")
}

/// A free port of `[::1]`, which is one address and no range: a guess, then, but not one that an outgoing connection can spoil, since the
/// system hands out none below 32768 by itself.
pub fn ipv6_loopback() -> SocketAddrV6 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in 0..10_000 {
        let number = std::process::id().wrapping_mul(509).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % 20_000;
        let address = SocketAddrV6::new(Ipv6Addr::LOCALHOST, 10_000 + u16::try_from(number).expect("below 20000"), 0, 0);
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no free port of [::1] from 10000 to 30000")
}

/// A directory for one test, under cargo's place for such files (or `TMPDIR`).
pub fn directory() -> TempDir {
    let parent = std::env::var_os("TMPDIR").map(PathBuf::from).unwrap_or_else(|| {
        let target = crate::programs::target_dir();
        target.join("tmp")
    });
    std::fs::create_dir_all(&parent).expect("a directory for temporary files");
    tempfile::Builder::new().prefix("kvraft-").tempdir_in(&parent).expect("a temporary directory")
}
