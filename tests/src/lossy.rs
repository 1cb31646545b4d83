//! A way to a node on which answers can get lost. Requests always arrive: what the node does with one whose answer nobody hears is what
//! tests of lost answers are about, and only the way can lose exactly those.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use wire::limits::FRAME_BODY_LEN_MAX;
use wire::{FrameBuffer, Kind};

use crate::{place, raw};

/// Passes on what clients and a node say to each other, but for the node's replies while they are to be lost.
pub struct Lossy {
    /// Where clients reach the node through it.
    pub address: String,
    loses: Arc<AtomicBool>,
}

impl Lossy {
    /// A way to a node that listens here, now or later. It ends with the test program.
    pub fn to(node: String) -> Lossy {
        let address = format!("{}:{}", place::loopback(), place::CLIENT_PORT);
        let listener = TcpListener::bind(&address).expect("a free address");
        let loses = Arc::new(AtomicBool::new(false));
        let shared = Arc::clone(&loses);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(&node) else { continue }; // a closed connection, as the node's host would
                let (from_client, to_server) = (client.try_clone().expect("a socket"), server.try_clone().expect("a socket"));
                std::thread::spawn(move || pass_on(from_client, to_server));
                let loses = Arc::clone(&shared);
                std::thread::spawn(move || pass_on_what_is_not_lost(server, client, &loses));
            }
        });
        Lossy { address, loses }
    }

    /// From now on replies are lost, or not any more. A greeting is none.
    pub fn lose_replies(&self, lose: bool) {
        self.loses.store(lose, Ordering::SeqCst);
    }
}

fn pass_on(mut from: TcpStream, mut to: TcpStream) {
    let _ = std::io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}

fn pass_on_what_is_not_lost(mut from: TcpStream, mut to: TcpStream, loses: &AtomicBool) {
    let mut buffer = FrameBuffer::new(FRAME_BODY_LEN_MAX);
    while let Ok(count @ 1..) = from.read(buffer.space()) {
        buffer.filled(count);
        while let Some(frame) = buffer.next().expect("well-formed frames") {
            let lost = frame.kind == Kind::Reply && loses.load(Ordering::SeqCst);
            if !lost && to.write_all(&raw::frame(frame.kind, frame.body)).is_err() {
                return;
            }
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}
