//! Memory follows the bytes that are there, not the lengths and counts they claim.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index as Position;
use wire::{CallId, Command, Frame, Kind, NodeStatus, Op, SessionId};

use crate::strategies;

thread_local! {
    static ALLOCATED: Cell<usize> = const { Cell::new(0) };
}

/// The system's, counting what this thread asks for.
struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

#[expect(unsafe_code, reason = "the only way to see every allocation; all work is handed to the system's allocator unchanged")]
// SAFETY: the system's allocator keeps the contract, and counting touches no memory that it hands out.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.set(ALLOCATED.get() + layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

fn allocated_by<T>(work: impl FnOnce() -> T) -> usize {
    let before = ALLOCATED.get();
    black_box(work());
    ALLOCATED.get() - before
}

/// The factor is what a value takes more in memory than on the wire: an entry's header of 24 is known by 32, a member of 16 by some 100,
/// and lists double as they grow. The constant covers the box of a status and small lists.
fn assert_in_proportion(bytes: &[u8]) {
    let allowed = 4096 + 16 * bytes.len();
    for kind in Kind::ALL {
        let frame = Frame { kind, body: bytes };
        let allocated = allocated_by(|| match kind {
            Kind::Hello => drop(wire::decode_hello(frame)),
            Kind::Welcome | Kind::Refused => drop(wire::decode_welcome(frame)),
            Kind::PeerWelcome => drop(wire::decode_peer_welcome(frame)),
            Kind::Request => drop(wire::decode_request(frame)),
            Kind::Reply => drop(wire::decode_reply(frame)),
            Kind::Raft | Kind::Ping | Kind::Pong | Kind::SnapshotFetch | Kind::SnapshotChunk | Kind::StateDigest => {
                drop(wire::decode_peer(frame))
            }
        });
        assert!(allocated <= allowed, "{kind:?}: {allocated} bytes for {}", bytes.len());
    }
    for allocated in [
        allocated_by(|| Command::decode(bytes).is_ok()),
        allocated_by(|| wire::decode_membership(bytes)),
        allocated_by(|| NodeStatus::decode(bytes)),
    ] {
        assert!(allocated <= allowed, "{allocated} bytes for {}", bytes.len());
    }
}

#[test]
fn the_count_sees_allocations() {
    assert_eq!(allocated_by(|| vec![0_u8; 1000]), 1000);
}

#[test]
fn reading_a_write_allocates_nothing() {
    let call = CallId { session: SessionId(1), birth_index: raft::Index(1), seq: 1, first_unanswered: 1 };
    let (mut payload, mut frame) = (Vec::new(), Vec::new());
    wire::encode_write(&call, &Op::Put { key: b"key", value: &[7; 1000] }, &mut payload);
    wire::encode_request(1, &wire::Request::Write { command: &payload }, &mut frame);
    let frame = Frame { kind: Kind::Request, body: &frame[wire::FRAME_HEADER_LEN..] };
    let allocated = allocated_by(|| {
        let Ok((1, wire::Request::Write { command })) = wire::decode_request(frame) else { panic!("a good request") };
        Command::decode(command).is_ok()
    });
    assert_eq!(allocated, 0);
}

proptest! {
    #[test]
    fn any_bytes_take_memory_in_proportion(bytes in vec(any::<u8>(), 0..2000)) {
        assert_in_proportion(&bytes);
    }

    #[test]
    fn a_message_that_claims_too_much_takes_memory_in_proportion(frame in strategies::frame(), at in any::<Position>()) {
        let mut body = frame[wire::FRAME_HEADER_LEN..].to_vec();
        assert_in_proportion(&body);
        if !body.is_empty() {
            let at = at.index(body.len());
            body[at] = 0xff;
            assert_in_proportion(&body);
            body[at] = 0x20; // MEMBERS_MAX
            assert_in_proportion(&body);
        }
    }
}
