//! Ways to the nodes on which answers can get lost, and requests can be late. What a node does with one whose answer nobody hears, or
//! whose client has long gone, is what such tests are about, and only the way can lose, or hold back, exactly those.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use wire::limits::FRAME_BODY_LEN_MAX;
use wire::{FrameBuffer, Kind, Reply};

use crate::wait::{PATIENCE, wait_until};
use crate::{Cluster, Ran, place, raw};

/// A way to every node of a cluster, which they announce as their own addresses: clients that know one of them know no other way.
pub struct Ways {
    /// `--endpoints` with all of them.
    pub endpoints: String,
    traffic: Arc<Traffic>,
}

#[derive(Default)]
struct Traffic {
    loses: AtomicBool,
    lost: AtomicU64,
    /// That nodes gave, lost or not.
    replies: AtomicU64,
    holds: AtomicBool,
    /// Requests on their way, and the connections they are on.
    held: Mutex<Vec<(TcpStream, Vec<u8>)>>,
}

impl Ways {
    /// To a cluster whose nodes have not been started yet. They end with the test program.
    pub fn to(cluster: &mut Cluster) -> Ways {
        let traffic = Arc::new(Traffic::default());
        let ways = cluster.nodes.iter_mut().map(|node| {
            // Another test program may take an address between our look at it and our use of it.
            let listener = (0..10).find_map(|_| TcpListener::bind((place::loopback(), place::CLIENT_PORT)).ok()).expect("a free address");
            let address = listener.local_addr().expect("an address").to_string();
            node.run_args.extend(["--advertise-client".to_owned(), address.clone()]);
            open(listener, node.client_addr.clone(), &traffic);
            address
        });
        let endpoints = ways.collect::<Vec<_>>().join(",");
        Ways { endpoints, traffic }
    }

    /// From now on replies are lost, or not any more. A greeting is none, nor is the name of another node to ask: so what is asked reaches
    /// the leader.
    pub fn lose_replies(&self, lose: bool) {
        self.traffic.loses.store(lose, Ordering::SeqCst);
    }

    /// Runs a write whose answer is lost, so that it ends unknown. One that a stalled machine did not even send in time was not done, and
    /// is run again.
    pub fn unheard(&self, write: impl Fn() -> Ran) -> Ran {
        self.lose_replies(true);
        let ran = Ran::until(4, &[], &[3], write);
        self.lose_replies(false);
        ran
    }

    /// How many have been lost.
    pub fn lost(&self) -> u64 {
        self.traffic.lost.load(Ordering::SeqCst)
    }

    /// From now on requests are kept on their way, or others pass them. Those that were kept an earlier time are lost.
    pub fn hold_requests(&self, hold: bool) {
        if hold {
            self.traffic.held.lock().expect("nobody panics with it").clear();
        }
        self.traffic.holds.store(hold, Ordering::SeqCst);
    }

    /// Those that were kept arrive, though their clients may be gone; returns how many, when the nodes have answered as many requests.
    pub fn let_requests_arrive(&self) -> usize {
        let before = self.traffic.replies.load(Ordering::SeqCst);
        let held = std::mem::take(&mut *self.traffic.held.lock().expect("nobody panics with it"));
        for (to, frame) in &held {
            (&*to).write_all(frame).expect("the node has not ended it");
        }
        wait_until("late requests are answered", PATIENCE, || self.traffic.replies.load(Ordering::SeqCst) >= before + held.len() as u64);
        held.len()
    }
}

fn open(listener: TcpListener, node: String, traffic: &Arc<Traffic>) {
    let traffic = Arc::clone(traffic);
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let Ok(server) = TcpStream::connect(&node) else { continue }; // a closed connection, where the node's host would refuse one
            let (from_client, to_server) = (client.try_clone().expect("a socket"), server.try_clone().expect("a socket"));
            let (there, back) = (Arc::clone(&traffic), Arc::clone(&traffic));
            std::thread::spawn(move || pass_on_what_is_not_held(from_client, to_server, &there));
            std::thread::spawn(move || pass_on_what_is_not_lost(server, client, &back));
        }
    });
}

fn pass_on_what_is_not_held(mut from: TcpStream, mut to: TcpStream, traffic: &Traffic) {
    let mut buffer = FrameBuffer::new(FRAME_BODY_LEN_MAX);
    let mut holds_any = false;
    while let Ok(count @ 1..) = from.read(buffer.space()) {
        buffer.filled(count);
        while let Some(frame) = buffer.next().expect("well-formed frames") {
            let bytes = raw::frame(frame.kind, frame.body);
            if frame.kind == Kind::Request && traffic.holds.load(Ordering::SeqCst) {
                holds_any = true;
                traffic.held.lock().expect("nobody panics with it").push((to.try_clone().expect("a socket"), bytes));
            } else if to.write_all(&bytes).is_err() {
                return;
            }
        }
    }
    if !holds_any {
        let _ = to.shutdown(Shutdown::Write);
    }
}

fn pass_on_what_is_not_lost(mut from: TcpStream, mut to: TcpStream, traffic: &Traffic) {
    let mut buffer = FrameBuffer::new(FRAME_BODY_LEN_MAX);
    while let Ok(count @ 1..) = from.read(buffer.space()) {
        buffer.filled(count);
        while let Some(frame) = buffer.next().expect("well-formed frames") {
            let is_reply = frame.kind == Kind::Reply;
            traffic.replies.fetch_add(u64::from(is_reply), Ordering::SeqCst);
            let is_answer = || !matches!(wire::decode_reply(frame).expect("a reply").1, Reply::NotLeader { .. });
            if is_reply && traffic.loses.load(Ordering::SeqCst) && is_answer() {
                traffic.lost.fetch_add(1, Ordering::SeqCst);
            } else {
                let _ = to.write_all(&raw::frame(frame.kind, frame.body)); // nobody there: what comes is still counted
            }
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}
