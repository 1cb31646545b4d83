//! Ways to the nodes on which answers can get lost. Requests always arrive: what a node does with one whose answer nobody hears is what
//! tests of lost answers are about, and only the way can lose exactly those.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use wire::limits::FRAME_BODY_LEN_MAX;
use wire::{FrameBuffer, Kind};

use crate::{Cluster, place, raw};

/// A way to every node of a cluster, which they announce as their own addresses: clients that know one of them know no other way.
pub struct Ways {
    /// `--endpoints` with all of them.
    pub endpoints: String,
    loses: Arc<AtomicBool>,
    lost: Arc<AtomicU64>,
}

impl Ways {
    /// To a cluster whose nodes have not been started yet. They end with the test program.
    pub fn to(cluster: &mut Cluster) -> Ways {
        let (loses, lost) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let ways = cluster.nodes.iter_mut().map(|node| {
            // Another test program may take an address between our look at it and our use of it.
            let listener = (0..10).find_map(|_| TcpListener::bind((place::loopback(), place::CLIENT_PORT)).ok()).expect("a free address");
            let address = listener.local_addr().expect("an address").to_string();
            node.run_args.extend(["--advertise-client".to_owned(), address.clone()]);
            open(listener, node.client_addr.clone(), &loses, &lost);
            address
        });
        let endpoints = ways.collect::<Vec<_>>().join(",");
        Ways { endpoints, loses, lost }
    }

    /// From now on replies are lost, or not any more. A greeting is none.
    pub fn lose_replies(&self, lose: bool) {
        self.loses.store(lose, Ordering::SeqCst);
    }

    /// How many have been lost.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::SeqCst)
    }
}

fn open(listener: TcpListener, node: String, loses: &Arc<AtomicBool>, lost: &Arc<AtomicU64>) {
    let (loses, lost) = (Arc::clone(loses), Arc::clone(lost));
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let Ok(server) = TcpStream::connect(&node) else { continue }; // a closed connection, where the node's host would refuse one
            let (from_client, to_server) = (client.try_clone().expect("a socket"), server.try_clone().expect("a socket"));
            std::thread::spawn(move || pass_on(from_client, to_server));
            let (loses, lost) = (Arc::clone(&loses), Arc::clone(&lost));
            std::thread::spawn(move || pass_on_what_is_not_lost(server, client, &loses, &lost));
        }
    });
}

fn pass_on(mut from: TcpStream, mut to: TcpStream) {
    let _ = std::io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}

fn pass_on_what_is_not_lost(mut from: TcpStream, mut to: TcpStream, loses: &AtomicBool, lost: &AtomicU64) {
    let mut buffer = FrameBuffer::new(FRAME_BODY_LEN_MAX);
    while let Ok(count @ 1..) = from.read(buffer.space()) {
        buffer.filled(count);
        while let Some(frame) = buffer.next().expect("well-formed frames") {
            if frame.kind == Kind::Reply && loses.load(Ordering::SeqCst) {
                lost.fetch_add(1, Ordering::SeqCst);
            } else if to.write_all(&raw::frame(frame.kind, frame.body)).is_err() {
                return;
            }
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}
