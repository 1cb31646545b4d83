//! A socket and what is under way on it: bytes read and not yet understood, bytes to send and not yet taken by the kernel.

use std::io::{self, Read, Write};
use std::time::Instant;

use mio::net::TcpStream;
use wire::FrameBuffer;
use wire::limits::READ_BUFFER_LEN;

use super::limits::OUTPUT_KEPT_LEN;

/// A non-blocking connection. The poll is edge-triggered: `readable` and `writable` remember what it said.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) socket: TcpStream,
    pub(crate) input: FrameBuffer,
    pub(crate) output: Output,
    /// There may be more to read.
    pub(crate) readable: bool,
    /// The remote will send no more: read to the very end, a short read proves nothing.
    pub(crate) read_closed: bool,
}

/// Why a stream is over.
#[derive(Debug)]
pub(crate) enum Over {
    /// The remote closed its side.
    Eof,
    /// Reset, or an error of ours.
    Error(io::Error),
}

impl Over {
    /// The remote process ended it, or its kernel on its behalf: end of file or reset, and no timeout or error on our side.
    pub(crate) fn by_peer(&self) -> bool {
        match self {
            Over::Eof => true,
            Over::Error(error) => matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe),
        }
    }
}

impl std::fmt::Display for Over {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Over::Eof => f.write_str("closed by the other side"),
            Over::Error(error) => write!(f, "{error}"),
        }
    }
}

impl Stream {
    /// Takes frames up to `body_len_max`.
    pub(crate) fn new(socket: TcpStream, body_len_max: usize) -> Stream {
        let input = FrameBuffer::new(body_len_max);
        Stream { socket, input, output: Output::default(), readable: false, read_closed: false }
    }

    /// Reads once. Call it when `input` has no whole frame left and `readable` says so. The bytes read; 0: none are there.
    pub(crate) fn fill(&mut self) -> Result<usize, Over> {
        let space = self.input.space();
        let space_len = space.len();
        loop {
            match self.socket.read(space) {
                Ok(0) => return Err(Over::Eof),
                Ok(count) => {
                    self.input.filled(count);
                    // A short read has emptied the kernel's buffer: what comes later is a new event. But an end of file that came in
                    // the same event as the data is not announced again.
                    self.readable = count == space_len || self.read_closed;
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.readable = false;
                    return Ok(0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Over::Error(error)),
            }
        }
    }

    /// Gives back the memory of buffers that hold nothing and are longer than a first read.
    pub(crate) fn release(&mut self) {
        self.input.release();
        if self.output.is_empty() && self.output.bytes.capacity() > READ_BUFFER_LEN {
            self.output.bytes = Vec::new();
        }
    }

    /// Hands the kernel what it takes.
    pub(crate) fn send(&mut self, now: Instant) -> Result<usize, Over> {
        self.output.send(&mut self.socket, now).map_err(Over::Error)
    }
}

/// Bytes on their way out, in one piece: one write per turn sends many replies.
#[derive(Debug, Default)]
pub(crate) struct Output {
    bytes: Vec<u8>,
    sent: usize,
    /// When bytes began to wait, or when the last of them left.
    waiting_since: Option<Instant>,
    /// The kernel's buffer is full; the poll says when it no longer is.
    blocked: bool,
}

impl Output {
    /// Where frames are encoded to.
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Bytes not yet taken by the kernel.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.sent
    }

    /// Everything has left.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The poll says that the kernel takes bytes again.
    pub(crate) fn unblock(&mut self) {
        self.blocked = false;
    }

    /// Since when nothing has left although something waits.
    pub(crate) fn waiting_since(&self) -> Option<Instant> {
        self.waiting_since
    }

    /// Writes until everything has left or the sink takes no more. The bytes written.
    pub(crate) fn send(&mut self, sink: &mut impl Write, now: Instant) -> io::Result<usize> {
        let before = self.sent;
        while !self.blocked && self.sent < self.bytes.len() {
            match sink.write(&self.bytes[self.sent..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.blocked = true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let count = self.sent - before;
        if self.is_empty() {
            self.waiting_since = None;
            self.bytes.clear();
            self.bytes.shrink_to(OUTPUT_KEPT_LEN);
            self.sent = 0;
        } else {
            if count > 0 || self.waiting_since.is_none() {
                self.waiting_since = Some(now);
            }
            // Move the rest to the front once it is the smaller part: each byte is moved at most once per time it is halved.
            if self.sent > self.bytes.len() / 2 {
                self.bytes.drain(..self.sent);
                self.sent = 0;
            }
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Takes `room` bytes, then would block.
    struct Sink {
        taken: Vec<u8>,
        room: usize,
    }

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = bytes.len().min(self.room);
            if count == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            self.room -= count;
            self.taken.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn every_byte_leaves_once_and_in_order_however_little_the_kernel_takes() {
        let now = Instant::now();
        let mut output = Output::default();
        let mut sink = Sink { taken: Vec::new(), room: 0 };
        let mut expected = Vec::new();
        for round in 0..200_usize {
            let bytes: Vec<u8> = (0..round % 37).map(|i| u8::try_from((round + i) % 251).unwrap()).collect();
            output.buffer().extend_from_slice(&bytes);
            expected.extend_from_slice(&bytes);
            sink.room = round % 23;
            output.unblock();
            output.send(&mut sink, now).unwrap();
            assert_eq!(output.len(), expected.len() - sink.taken.len());
        }
        sink.room = usize::MAX;
        output.unblock();
        output.send(&mut sink, now).unwrap();
        assert!(output.is_empty());
        assert_eq!(sink.taken, expected);
    }

    #[test]
    fn a_full_kernel_is_not_asked_again_before_the_poll_says_so() {
        let now = Instant::now();
        let mut output = Output::default();
        let mut sink = Sink { taken: Vec::new(), room: 1 };
        output.buffer().extend_from_slice(b"abc");
        assert_eq!(output.send(&mut sink, now).unwrap(), 1);
        sink.room = 10;
        assert_eq!(output.send(&mut sink, now).unwrap(), 0);
        output.unblock();
        assert_eq!(output.send(&mut sink, now).unwrap(), 2);
    }

    #[test]
    fn waiting_starts_again_with_every_byte_that_leaves() {
        let start = Instant::now();
        let later = start + Duration::from_secs(1);
        let mut output = Output::default();
        let mut sink = Sink { taken: Vec::new(), room: 0 };
        output.buffer().extend_from_slice(b"abc");
        output.send(&mut sink, start).unwrap();
        output.unblock();
        output.send(&mut sink, later).unwrap();
        assert_eq!(output.waiting_since(), Some(start));
        sink.room = 1;
        output.unblock();
        output.send(&mut sink, later).unwrap();
        assert_eq!(output.waiting_since(), Some(later));
        sink.room = 2;
        output.unblock();
        output.send(&mut sink, later).unwrap();
        assert_eq!(output.waiting_since(), None);
    }

    #[test]
    fn a_buffer_that_was_large_is_given_back() {
        let mut output = Output::default();
        output.buffer().resize(8 << 20, 0);
        output.send(&mut Sink { taken: Vec::new(), room: usize::MAX }, Instant::now()).unwrap();
        assert!(output.buffer().capacity() <= OUTPUT_KEPT_LEN);
    }
}
