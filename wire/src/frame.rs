//! A frame: how messages are told apart in a stream of bytes.
//!
//! | offset | size     | field    | meaning; all integers are little-endian                                            |
//! |-------:|----------|----------|------------------------------------------------------------------------------------|
//! |      0 | 4        | body_len | at most `HELLO_BODY_LEN_MAX` until the greeting is done, then `FRAME_BODY_LEN_MAX` |
//! |      4 | 4        | checksum | CRC-32C of kind and body                                                           |
//! |      8 | 1        | kind     | what the body is                                                                   |
//! |      9 | body_len | body     |                                                                                    |
//!
//! | kind | body            | says                                                           |
//! |-----:|-----------------|----------------------------------------------------------------|
//! |    1 | `Hello`         | whoever dialled: who I am; the first frame of every connection |
//! |    2 | `Welcome`       | a node to a client: come in                                    |
//! |    3 | `PeerWelcome`   | a node to a node: come in, and this is who I am                |
//! |    4 | `Refused`       | a node: no, and why; it closes the connection behind it        |
//! |    5 | `Request`       | a client: do this                                              |
//! |    6 | `Reply`         | a node to a client: this became of it                          |
//! |    7 | `Raft`          | a node to a node: one message of the algorithm                 |
//! |    8 | `Ping`          | a node that dialled: are you there? No body                    |
//! |    9 | `Pong`          | a node that was dialled: I am. No body                         |
//! |   10 | `SnapshotFetch` | a node to its leader: send me this snapshot's bytes from here  |
//! |   11 | `SnapshotChunk` | a leader to a node: some of them                               |
//! |   12 | `StateDigest`   | a node to a node: what my state was at this index              |
//!
//! A length above the maximum, a bad checksum or an unknown kind ends the connection: where the next frame begins is not known any more.

use crate::checksum::checksum;
use crate::codec::DecodeError;
use crate::limits::{FRAME_BODY_LEN_MAX, READ_BUFFER_KEPT_LEN, READ_BUFFER_LEN};

/// Bytes before a frame's body.
pub const FRAME_HEADER_LEN: usize = 9;

/// Room for most frames, found at once instead of field by field.
const SHORT_FRAME_LEN: usize = 128;

/// What a frame's body is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Kind {
    /// The dialler's first frame.
    Hello = 1,
    /// The answer to a client.
    Welcome = 2,
    /// The answer to a node.
    PeerWelcome = 3,
    /// "No", and why.
    Refused = 4,
    /// From a client.
    Request = 5,
    /// To a client.
    Reply = 6,
    /// From raft to raft.
    Raft = 7,
    /// "Are you there?"
    Ping = 8,
    /// "I am."
    Pong = 9,
    /// "Send me this snapshot's bytes from here."
    SnapshotFetch = 10,
    /// Some of them.
    SnapshotChunk = 11,
    /// "This was my state at that index."
    StateDigest = 12,
}

impl Kind {
    /// Every kind, in the order of the codes.
    pub const ALL: [Kind; 12] = [
        Kind::Hello,
        Kind::Welcome,
        Kind::PeerWelcome,
        Kind::Refused,
        Kind::Request,
        Kind::Reply,
        Kind::Raft,
        Kind::Ping,
        Kind::Pong,
        Kind::SnapshotFetch,
        Kind::SnapshotChunk,
        Kind::StateDigest,
    ];

    fn from_code(code: u8) -> Option<Kind> {
        Kind::ALL.get(usize::from(code).checked_sub(1)?).copied()
    }
}

/// One frame, its checksum verified.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame<'a> {
    /// What the body is.
    pub kind: Kind,
    /// The message.
    pub body: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The body, if the frame is of the kind that is due.
    pub(crate) fn expect(&self, expected: Kind) -> Result<&'a [u8], DecodeError> {
        if self.kind == expected { Ok(self.body) } else { Err(DecodeError::WrongKind { expected, found: self.kind }) }
    }
}

/// Why no further frame can be found in a stream: the connection must be closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FrameError {
    /// A length above the maximum of the moment. Nothing was reserved for it.
    #[error("a frame of {len} bytes where {max} are allowed")]
    TooLong {
        /// What the frame claims.
        len: usize,
        /// What is allowed.
        max: usize,
    },
    /// Damaged on the way, or no frame at all.
    #[error("a frame with a bad checksum: it says {found:08x}, its bytes say {computed:08x}")]
    Checksum {
        /// In the frame.
        found: u32,
        /// Of its bytes.
        computed: u32,
    },
    /// A kind that this version does not know.
    #[error("a frame of unknown kind {found}")]
    Kind {
        /// Its code.
        found: u8,
    },
}

/// Appends a frame whose body is whatever `body` appends. No memory but `out`'s.
pub(crate) fn encode_frame(out: &mut Vec<u8>, kind: Kind, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.reserve(SHORT_FRAME_LEN);
    out.extend_from_slice(&[0; FRAME_HEADER_LEN - 1]);
    out.push(kind as u8);
    body(out);
    let body_len = out.len() - start - FRAME_HEADER_LEN;
    assert!(body_len <= FRAME_BODY_LEN_MAX, "a {kind:?} frame of {body_len} bytes: whoever made the message has not checked its size");
    let crc = checksum(&out[start + 8..]);
    let body_len = u32::try_from(body_len).expect("FRAME_BODY_LEN_MAX fits");
    out[start..start + 4].copy_from_slice(&body_len.to_le_bytes());
    out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
}

/// What was read from a connection and not yet understood. It knows nothing of sockets:
///
/// ```
/// # use wire::{FrameBuffer, FrameError, Kind, limits::HELLO_BODY_LEN_MAX};
/// # fn read(space: &mut [u8]) -> usize { let mut ping = Vec::new(); wire::encode_ping(&mut ping); space[..9].copy_from_slice(&ping); 9 }
/// let mut buffer = FrameBuffer::new(HELLO_BODY_LEN_MAX);
/// let count = read(buffer.space());
/// buffer.filled(count);
/// while let Some(frame) = buffer.next()? {
///     assert_eq!(frame.kind, Kind::Ping);
/// }
/// # Ok::<(), FrameError>(())
/// ```
///
/// Memory follows the bytes that have arrived, never a length that was only claimed: it doubles when full, up to the largest frame
/// allowed, and what a large frame needed is given back once it is consumed. Each byte is moved a constant number of times, however
/// many reads its frame takes.
#[derive(Debug)]
pub struct FrameBuffer {
    /// `start..end` is what was read and not yet consumed.
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    body_len_max: usize,
}

impl FrameBuffer {
    /// Empty; takes no memory before the first read.
    pub fn new(body_len_max: usize) -> FrameBuffer {
        FrameBuffer { bytes: Vec::new(), start: 0, end: 0, body_len_max }
    }

    /// Frames up to this long are taken from now on: `FRAME_BODY_LEN_MAX` once the greeting is done.
    pub fn set_body_len_max(&mut self, body_len_max: usize) {
        self.body_len_max = body_len_max;
    }

    /// Where the next read goes; never empty if `next` said `None` last. Call `next` until it does before asking for space.
    pub fn space(&mut self) -> &mut [u8] {
        self.make_room();
        &mut self.bytes[self.end..]
    }

    /// So many bytes were read into `space`.
    pub fn filled(&mut self, count: usize) {
        self.end += count;
        assert!(self.end <= self.bytes.len(), "more was read than there was space for");
    }

    /// These bytes were read, into memory of the caller's: the buffer takes as much as they need, and not as much as a read might.
    pub fn push(&mut self, bytes: &[u8]) {
        self.move_to_front();
        self.bytes.truncate(self.end);
        self.bytes.extend_from_slice(bytes);
        self.end = self.bytes.len();
    }

    /// The next whole frame. After an error there is none any more: it is repeated.
    #[expect(clippy::should_implement_trait, reason = "a frame borrows from the buffer, which an Iterator cannot say")]
    pub fn next(&mut self) -> Result<Option<Frame<'_>>, FrameError> {
        let pending = &self.bytes[self.start..self.end];
        let Some((header, _)) = pending.split_first_chunk::<FRAME_HEADER_LEN>() else { return Ok(None) };
        let [l0, l1, l2, l3, c0, c1, c2, c3, code] = *header;
        let len = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        if len > self.body_len_max {
            return Err(FrameError::TooLong { len, max: self.body_len_max });
        }
        let frame_len = FRAME_HEADER_LEN + len;
        if pending.len() < frame_len {
            return Ok(None);
        }
        let (found, computed) = (u32::from_le_bytes([c0, c1, c2, c3]), checksum(&pending[8..frame_len]));
        if found != computed {
            return Err(FrameError::Checksum { found, computed });
        }
        let kind = Kind::from_code(code).ok_or(FrameError::Kind { found: code })?;
        self.start += frame_len;
        Ok(Some(Frame { kind, body: &self.bytes[self.start - len..self.start] }))
    }

    /// Bytes read and not yet consumed: part of a frame, if `next` said `None` last.
    pub fn pending_len(&self) -> usize {
        self.end - self.start
    }

    /// Bytes held, used or not.
    pub fn allocated_len(&self) -> usize {
        self.bytes.capacity()
    }

    /// Gives back what a large frame needed, if nothing is pending.
    pub fn release(&mut self) {
        if self.start == self.end && self.bytes.len() > READ_BUFFER_LEN {
            (self.bytes, self.start, self.end) = (Vec::new(), 0, 0);
        }
    }

    fn make_room(&mut self) {
        let was_full = self.end == self.bytes.len();
        self.move_to_front();
        if self.end == self.bytes.len() || (was_full && self.bytes.len() < READ_BUFFER_KEPT_LEN) {
            let len_max = (FRAME_HEADER_LEN + self.body_len_max).max(READ_BUFFER_LEN);
            let len = (self.bytes.len() * 2).clamp(READ_BUFFER_LEN, len_max).max(self.bytes.len());
            self.bytes.reserve_exact(len - self.bytes.len());
            self.bytes.resize(len, 0);
        }
    }

    /// Forgets what was consumed.
    fn move_to_front(&mut self) {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            if self.bytes.len() > READ_BUFFER_KEPT_LEN {
                self.bytes = Vec::new();
            }
        } else if self.start > 0 {
            // Part of one frame, and only once: from here it grows at the front until it is whole.
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::HELLO_BODY_LEN_MAX;

    fn frame(kind: Kind, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        encode_frame(&mut out, kind, |out| out.extend_from_slice(body));
        out
    }

    /// Feeds as much of `bytes` as there is space for.
    fn feed<'a>(buffer: &mut FrameBuffer, bytes: &'a [u8]) -> &'a [u8] {
        let space = buffer.space();
        assert!(!space.is_empty());
        let (now, later) = bytes.split_at(bytes.len().min(space.len()));
        space[..now.len()].copy_from_slice(now);
        buffer.filled(now.len());
        later
    }

    #[test]
    fn frame_bytes_are_fixed_for_ever() {
        let header = |code| [3, 0, 0, 0, 0, 0, 0, 0, code];
        for (kind, code, crc) in [
            (Kind::Hello, 1, 0xc30d_7db2_u32),
            (Kind::Welcome, 2, 0xa12f_f48b),
            (Kind::PeerWelcome, 3, 0x7c6a_5e33),
            (Kind::Refused, 4, 0x656a_e6f9),
            (Kind::Request, 5, 0xb82f_4c41),
            (Kind::Reply, 6, 0xda0d_c578),
            (Kind::Raft, 7, 0x0748_6fc0),
            (Kind::Ping, 8, 0xe80c_b4ec),
            (Kind::Pong, 9, 0x3549_1e54),
            (Kind::SnapshotFetch, 10, 0x576b_976d),
            (Kind::SnapshotChunk, 11, 0x8a2e_3dd5),
            (Kind::StateDigest, 12, 0x932e_851f),
        ] {
            let mut expected = header(code).to_vec();
            expected[4..8].copy_from_slice(&crc.to_le_bytes());
            expected.extend_from_slice(b"abc");
            assert_eq!(frame(kind, b"abc"), expected, "{kind:?}");
        }
        assert_eq!(Kind::from_code(0), None);
        assert_eq!(Kind::from_code(13), None);
    }

    #[test]
    fn a_frame_is_appended_behind_what_is_there() {
        let mut out = b"before".to_vec();
        encode_frame(&mut out, Kind::Pong, |out| out.push(7));
        assert_eq!(out, [b"before".as_slice(), &frame(Kind::Pong, &[7])].concat());
    }

    #[test]
    fn half_a_frame_is_no_frame_yet() {
        let bytes = frame(Kind::Reply, b"abc");
        let mut buffer = FrameBuffer::new(FRAME_BODY_LEN_MAX);
        for byte in &bytes[..bytes.len() - 1] {
            feed(&mut buffer, &[*byte]);
            assert_eq!(buffer.next(), Ok(None));
        }
        assert_eq!(buffer.pending_len(), bytes.len() - 1);
        feed(&mut buffer, &bytes[bytes.len() - 1..]);
        assert_eq!(buffer.next(), Ok(Some(Frame { kind: Kind::Reply, body: b"abc" })));
        assert_eq!(buffer.next(), Ok(None));
        assert_eq!(buffer.pending_len(), 0);
    }

    #[test]
    fn bytes_that_are_pushed_are_the_same_frames_in_as_much_memory_as_they_need() {
        let bytes = [frame(Kind::Reply, b"abc"), frame(Kind::Ping, b""), frame(Kind::Reply, &[7; 300])].concat();
        for piece_len in [1, 5, 12, 13, bytes.len()] {
            let mut buffer = FrameBuffer::new(FRAME_BODY_LEN_MAX);
            let mut body_lens = Vec::new();
            for piece in bytes.chunks(piece_len) {
                buffer.push(piece);
                while let Some(frame) = buffer.next().unwrap() {
                    body_lens.push(frame.body.len());
                }
            }
            assert_eq!((body_lens, buffer.pending_len()), (vec![3, 0, 300], 0), "in pieces of {piece_len}");
            assert!(buffer.allocated_len() <= 2 * bytes.len(), "{} bytes for {}", buffer.allocated_len(), bytes.len());
        }
    }

    #[test]
    fn half_a_frame_that_was_pushed_may_be_read_to_its_end() {
        let (bytes, mut buffer) = (frame(Kind::Reply, b"abc"), FrameBuffer::new(FRAME_BODY_LEN_MAX));
        buffer.push(&bytes[..4]);
        assert_eq!(buffer.next(), Ok(None));
        feed(&mut buffer, &bytes[4..7]);
        buffer.push(&bytes[7..]);
        assert_eq!(buffer.next(), Ok(Some(Frame { kind: Kind::Reply, body: b"abc" })));
    }

    #[test]
    fn a_length_above_the_maximum_of_the_moment_ends_the_stream() {
        let longest = frame(Kind::Hello, &vec![0; HELLO_BODY_LEN_MAX]);
        let mut buffer = FrameBuffer::new(HELLO_BODY_LEN_MAX);
        let mut rest = longest.as_slice();
        while !rest.is_empty() {
            assert_eq!(buffer.next(), Ok(None));
            rest = feed(&mut buffer, rest);
        }
        assert_eq!(buffer.next().unwrap().unwrap().body.len(), HELLO_BODY_LEN_MAX);

        let claim = u32::try_from(HELLO_BODY_LEN_MAX + 1).unwrap().to_le_bytes();
        feed(&mut buffer, &[claim.as_slice(), &[0; 5]].concat());
        let error = FrameError::TooLong { len: HELLO_BODY_LEN_MAX + 1, max: HELLO_BODY_LEN_MAX };
        assert_eq!(buffer.next(), Err(error));
        assert_eq!(buffer.next(), Err(error), "an error is final");

        buffer.set_body_len_max(FRAME_BODY_LEN_MAX);
        assert_eq!(buffer.next(), Ok(None), "after the greeting that length is fine");
    }

    #[test]
    fn memory_follows_what_arrived_and_not_what_was_claimed() {
        let mut buffer = FrameBuffer::new(FRAME_BODY_LEN_MAX);
        assert_eq!(buffer.allocated_len(), 0);
        let claim = u32::try_from(FRAME_BODY_LEN_MAX).unwrap().to_le_bytes();
        feed(&mut buffer, &[claim.as_slice(), &[0; 5]].concat());
        assert_eq!(buffer.next(), Ok(None));
        buffer.space();
        assert_eq!(buffer.allocated_len(), READ_BUFFER_LEN);
    }

    #[test]
    fn there_is_space_after_a_large_frame_that_did_not_fill_the_buffer() {
        let bytes = frame(Kind::Request, &[0; READ_BUFFER_KEPT_LEN + 1]);
        let mut buffer = FrameBuffer::new(FRAME_BODY_LEN_MAX);
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            assert_eq!(buffer.next(), Ok(None));
            rest = feed(&mut buffer, rest);
        }
        assert!(buffer.next().unwrap().is_some());
        assert_eq!(buffer.next(), Ok(None));
        // A read into no space would look like the end of the stream.
        assert!(!buffer.space().is_empty());
    }

    #[test]
    fn what_a_large_frame_needed_is_given_back() {
        let large = frame(Kind::Raft, &vec![1; FRAME_BODY_LEN_MAX]);
        let mut buffer = FrameBuffer::new(FRAME_BODY_LEN_MAX);
        let mut rest = large.as_slice();
        while !rest.is_empty() {
            assert_eq!(buffer.next(), Ok(None));
            rest = feed(&mut buffer, rest);
        }
        assert!(buffer.next().unwrap().is_some());
        assert_eq!(buffer.allocated_len(), FRAME_HEADER_LEN + FRAME_BODY_LEN_MAX);
        buffer.space();
        assert_eq!(buffer.allocated_len(), READ_BUFFER_LEN);
    }

    #[test]
    fn a_stream_of_small_frames_needs_no_more_than_an_idle_buffer_may_keep() {
        let stream = frame(Kind::Request, &[5; 300]).repeat(4_000);
        let mut buffer = FrameBuffer::new(FRAME_BODY_LEN_MAX);
        let (mut rest, mut count) = (stream.as_slice(), 0);
        while !rest.is_empty() {
            rest = feed(&mut buffer, rest);
            while let Some(frame) = buffer.next().unwrap() {
                assert_eq!(frame.body, [5; 300]);
                count += 1;
            }
        }
        assert_eq!(count, 4_000);
        assert_eq!(buffer.allocated_len(), READ_BUFFER_KEPT_LEN, "full reads are answered with more space");
    }

    #[test]
    fn a_frame_in_many_pieces_is_moved_only_to_the_front_and_when_the_buffer_grows() {
        let large = frame(Kind::Raft, &vec![1; 300_000]);
        let mut buffer = FrameBuffer::new(FRAME_BODY_LEN_MAX);
        feed(&mut buffer, &[frame(Kind::Ping, &[]).as_slice(), &large[..20]].concat());
        assert!(buffer.next().unwrap().is_some());
        let (mut places, mut sizes) = (Vec::new(), Vec::new());
        for byte in &large[20..] {
            assert_eq!(buffer.next(), Ok(None));
            feed(&mut buffer, &[*byte]);
            places.push(buffer.bytes[buffer.start..].as_ptr());
            sizes.push(buffer.allocated_len());
        }
        assert_eq!(buffer.next().unwrap().unwrap().body, &large[FRAME_HEADER_LEN..]);
        places.dedup();
        sizes.dedup();
        assert_eq!(sizes, [16 << 10, 32 << 10, 64 << 10, 128 << 10, 256 << 10, 512 << 10]);
        assert!(places.len() <= sizes.len(), "{} moves", places.len());
    }

    #[test]
    fn any_flipped_bit_behind_the_length_is_found() {
        let good = frame(Kind::Request, b"some bytes");
        for bit in 4 * 8..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let mut buffer = FrameBuffer::new(FRAME_BODY_LEN_MAX);
            feed(&mut buffer, &bad);
            assert!(matches!(buffer.next(), Err(FrameError::Checksum { .. })), "bit {bit}");
        }
    }

    #[test]
    fn an_unknown_kind_ends_the_stream() {
        for code in [0, 13, 255] {
            let mut bytes = vec![0, 0, 0, 0, 0, 0, 0, 0, code];
            let crc = checksum(&bytes[8..]).to_le_bytes();
            bytes[4..8].copy_from_slice(&crc);
            let mut buffer = FrameBuffer::new(FRAME_BODY_LEN_MAX);
            feed(&mut buffer, &bytes);
            assert_eq!(buffer.next(), Err(FrameError::Kind { found: code }));
        }
    }
}
