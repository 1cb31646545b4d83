//! A bare connection to a node: for bytes that no program of ours would send, and for a request put into one node's socket by hand.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use wire::limits::FRAME_BODY_LEN_MAX;
use wire::{FRAME_HEADER_LEN, Frame, FrameBuffer, Hello, Kind, Reply, Request, Welcome};

use crate::wait::{PATIENCE, wait_for};

/// One connection.
pub struct Raw {
    stream: TcpStream,
    buffer: FrameBuffer,
}

impl Raw {
    /// Connects, as soon as somebody listens there: a process that was just started needs a moment.
    pub fn connect(address: &str) -> Raw {
        let stream = wait_for(&format!("somebody listens at {address}"), PATIENCE, || TcpStream::connect(address));
        stream.set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        Raw { stream, buffer: FrameBuffer::new(FRAME_BODY_LEN_MAX) }
    }

    /// Connects and greets as a client does.
    pub fn client(address: &str) -> (Raw, Welcome) {
        let mut raw = Raw::connect(address);
        let mut bytes = Vec::new();
        wire::encode_hello(&Hello::Client { cluster_id: None }, &mut bytes);
        raw.send(&bytes);
        let (kind, body) = raw.frame();
        let welcome = wire::decode_welcome(Frame { kind, body: &body }).expect("an answer to our hello");
        (raw, welcome.expect("a welcome"))
    }

    /// Sends bytes as they are; a connection that the node has closed already swallows them.
    pub fn send(&mut self, bytes: &[u8]) {
        match self.stream.write_all(bytes) {
            Err(error) if ![ErrorKind::BrokenPipe, ErrorKind::ConnectionReset].contains(&error.kind()) => panic!("cannot send: {error}"),
            _ => {}
        }
    }

    /// Sends a request and does not wait.
    pub fn request(&mut self, id: u64, request: &Request<'_>) {
        let mut bytes = Vec::new();
        wire::encode_request(id, request, &mut bytes);
        self.send(&bytes);
    }

    /// Waits for the next reply.
    pub fn reply(&mut self) -> (u64, Reply) {
        let (kind, body) = self.frame();
        wire::decode_reply(Frame { kind, body: &body }).expect("a reply")
    }

    /// Waits so long for a reply, if one comes.
    pub fn reply_within(&mut self, limit: Duration) -> Option<(u64, Reply)> {
        let start = Instant::now();
        while start.elapsed() < limit {
            if let Some(frame) = self.buffer.next().expect("well-formed frames") {
                return Some(wire::decode_reply(frame).expect("a reply"));
            }
            self.fill();
        }
        None
    }

    /// Reads what there is, for at most 100 ms. `false`: the connection has ended.
    fn fill(&mut self) -> bool {
        match self.stream.read(self.buffer.space()) {
            Ok(0) => return false,
            Ok(count) => self.buffer.filled(count),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return false,
            // Interrupted: a machine, or a debugger, has stopped us for a while.
            Err(error) if [ErrorKind::WouldBlock, ErrorKind::TimedOut, ErrorKind::Interrupted].contains(&error.kind()) => {}
            Err(error) => panic!("cannot read: {error}"),
        }
        true
    }

    /// Waits for the next frame; panics if the connection ends instead.
    pub fn frame(&mut self) -> (Kind, Vec<u8>) {
        self.frame_or_end(PATIENCE).expect("a frame, not the end of the connection")
    }

    /// Waits for the next frame, or `None` at the connection's end.
    pub fn frame_or_end(&mut self, limit: Duration) -> Option<(Kind, Vec<u8>)> {
        let start = Instant::now();
        loop {
            if let Some(frame) = self.buffer.next().expect("well-formed frames") {
                return Some((frame.kind, frame.body.to_vec()));
            }
            if !self.fill() {
                return None;
            }
            assert!(start.elapsed() < limit, "the connection said nothing for {limit:?} and was not closed");
        }
    }

    /// Waits until the node closes the connection, whatever it says before.
    pub fn wait_closed(mut self) {
        while self.frame_or_end(PATIENCE).is_some() {}
    }
}

/// A frame with any body, its checksum right.
pub fn frame(kind: Kind, body: &[u8]) -> Vec<u8> {
    let mut checked = vec![kind as u8];
    checked.extend_from_slice(body);
    let mut bytes = u32::try_from(body.len()).expect("a short body").to_le_bytes().to_vec();
    bytes.extend_from_slice(&wire::checksum(&checked).to_le_bytes());
    bytes.extend_from_slice(&checked);
    debug_assert_eq!(bytes.len(), FRAME_HEADER_LEN + body.len());
    bytes
}
