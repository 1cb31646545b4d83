//! The replicated state as the content of a snapshot, and back: taken in slices from frozen views, loaded as it comes. It knows nothing
//! of files or peers.
//!
//! The content is the same on every node that has applied the same entries: sessions by id, keys in byte order, and nothing in it that
//! a node made up by itself.

use raft::Index;
use wire::DecodeError;
use wire::command::{Announce, Member};
use wire::image::{ImageHead, KeyImage, Record, decode_record};

use crate::machine::{Machine, Slot};
use crate::members::Members;
use crate::sessions::Sessions;
use crate::view::ViewId;

/// Covers keys and sessions: all that decides what a command does.
pub(crate) fn state_digest(machine: &Machine, sessions: &Sessions) -> u64 {
    machine.digest().wrapping_add(crate::machine::mix(sessions.digest()))
}

/// The state at one log position, being read.
pub(crate) struct Taking {
    /// What was not given out yet.
    head: Option<ImageHead>,
    sessions: Option<ViewId>,
    keys: ViewId,
}

/// What a slice was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sliced {
    /// There is more.
    More,
    /// That was the end.
    End,
    /// A view was cut off: too much has changed ahead of it. Begin again.
    CutOff,
}

impl Taking {
    /// Begins with the state as it is now, at `position`.
    pub(crate) fn begin(machine: &mut Machine, sessions: &mut Sessions, members: &Members, position: Index) -> Taking {
        let head = ImageHead {
            digest: state_digest(machine, sessions),
            horizon: sessions.horizon(),
            session_count: sessions.count(),
            key_count: machine.key_count(),
            formed: members.formed(),
            members: members.image(),
        };
        Taking { head: Some(head), sessions: Some(sessions.open_view(position)), keys: machine.open_whole(position) }
    }

    /// Appends about so many bytes of content.
    pub(crate) fn slice(&mut self, machine: &mut Machine, sessions: &mut Sessions, bytes_max: usize, out: &mut Vec<u8>) -> Sliced {
        let end = out.len() + bytes_max;
        if let Some(head) = self.head.take() {
            head.encode(out);
        }
        if let Some(view) = self.sessions {
            match sessions.read_view(view, |session| {
                session.encode(out);
                out.len() < end
            }) {
                Some(true) => self.sessions = None,
                Some(false) => return Sliced::More,
                None => return Sliced::CutOff,
            }
        }
        let slice = machine.read_view(self.keys, out.len() < end, |key, slot| {
            KeyImage { key, value: &slot.value, version: slot.version, modified: slot.modified }.encode(out);
            out.len() < end
        });
        match slice {
            Some(slice) if slice.is_last => Sliced::End,
            Some(_) => Sliced::More,
            None => Sliced::CutOff,
        }
    }

    /// Forgets it.
    pub(crate) fn close(self, machine: &mut Machine, sessions: &mut Sessions) {
        machine.close_view(self.keys);
        if let Some(view) = self.sessions {
            sessions.close_view(view);
        }
    }
}

/// Why content is no state.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ImageError {
    /// A record that is none, or of a newer version.
    #[error("{0}")]
    Record(#[from] DecodeError),
    /// Records out of their order, or twice.
    #[error("its records are not in their order")]
    Order,
    /// It ends before all that the head counts, or goes on behind it.
    #[error("it holds {sessions} sessions and {keys} keys, and another number was announced")]
    Count {
        /// Sessions found.
        sessions: u64,
        /// Keys found.
        keys: u64,
    },
    /// It is not the state that was taken.
    #[error("its digest is {found:016x}, and {expected:016x} was announced")]
    Digest {
        /// Of what was loaded.
        found: u64,
        /// What the head says.
        expected: u64,
    },
}

/// A state on its way from a snapshot into memory.
#[derive(Default)]
pub(crate) struct Loading {
    /// The beginning of a record whose rest is still to come.
    partial: Vec<u8>,
    head: Option<ImageHead>,
    sessions: Sessions,
    slots: Vec<(Box<[u8]>, Slot)>,
}

/// A whole state.
pub(crate) struct Image {
    pub(crate) machine: Machine,
    pub(crate) sessions: Sessions,
    pub(crate) formed: bool,
    pub(crate) members: Vec<(Member, Option<Announce>)>,
}

impl Loading {
    /// Takes the content that follows what came before.
    pub(crate) fn push(&mut self, content: &[u8]) -> Result<(), ImageError> {
        let mut bytes = std::mem::take(&mut self.partial);
        bytes.extend_from_slice(content);
        let mut at = 0;
        while let Some((record, len)) = decode_record(&bytes[at..])? {
            self.record(record)?;
            at += len;
        }
        bytes.drain(..at);
        self.partial = bytes;
        Ok(())
    }

    fn record(&mut self, record: Record<'_>) -> Result<(), ImageError> {
        match (record, &self.head) {
            (Record::Head(head), None) => {
                self.sessions = Sessions::with_horizon(head.horizon);
                self.head = Some(head);
                Ok(())
            }
            (Record::Session(session), Some(_)) if self.slots.is_empty() => match self.sessions.restore(session) {
                true => Ok(()),
                false => Err(ImageError::Order),
            },
            (Record::Key(image), Some(_)) if self.slots.last().is_none_or(|(last, _)| **last < *image.key) => {
                self.slots.push((image.key.into(), Slot::restored(&image)));
                Ok(())
            }
            _ => Err(ImageError::Order),
        }
    }

    /// That was all.
    pub(crate) fn finish(self) -> Result<Image, ImageError> {
        let Loading { partial, head, sessions, slots } = self;
        let found = ImageError::Count { sessions: sessions.count(), keys: slots.len() as u64 };
        let Some(head) =
            head.filter(|head| partial.is_empty() && (head.session_count, head.key_count) == (sessions.count(), slots.len() as u64))
        else {
            return Err(found);
        };
        let machine = Machine::restore(slots);
        let found = state_digest(&machine, &sessions);
        if found != head.digest {
            return Err(ImageError::Digest { found, expected: head.digest });
        }
        Ok(Image { machine, sessions, formed: head.formed, members: head.members })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use raft::{DiskId, NodeId};
    use wire::command::{CallId, Op, SessionId};
    use wire::image::SessionImage;

    struct State {
        machine: Machine,
        sessions: Sessions,
        members: Members,
        index: u64,
    }

    impl State {
        fn new() -> State {
            let mut members = Members::default();
            let member = |id: u64| Member { id: NodeId(id), name: format!("n{id}"), peer_addr: format!("127.0.0.1:1721{id}"), voter: true };
            members.set((1..=3).map(member).collect());
            for id in 1..=3 {
                members.announce(Announce {
                    node: NodeId(id),
                    disk_id: DiskId(u128::MAX - u128::from(id)),
                    client_addr: format!("127.0.0.1:1711{id}"),
                    peer_addr: format!("127.0.0.1:1721{id}"),
                    version: "0.1.0".into(),
                });
            }
            State { machine: Machine::default(), sessions: Sessions::default(), members, index: 10 }
        }

        fn write(&mut self, session: u128, seq: u64, op: &Op<'_>) {
            self.index += 1;
            let call = CallId { session: SessionId(session), birth_index: Index(9), seq, first_unanswered: seq };
            if self.sessions.admit(&call, Index(self.index), self.index) == crate::sessions::Admission::Run {
                let written = self.machine.apply(Index(self.index), op);
                self.sessions.keep(&call, written);
            }
        }

        fn put(&mut self, session: u128, seq: u64, key: &str, value: &[u8]) {
            self.write(session, seq, &Op::Put { key: key.as_bytes(), value });
        }

        fn take(&mut self, bytes_max: usize, mut between: impl FnMut(&mut State)) -> Vec<u8> {
            let mut taking = Taking::begin(&mut self.machine, &mut self.sessions, &self.members, Index(self.index));
            let mut content = Vec::new();
            loop {
                match taking.slice(&mut self.machine, &mut self.sessions, bytes_max, &mut content) {
                    Sliced::More => between(self),
                    Sliced::End => return content,
                    Sliced::CutOff => panic!("little has changed"),
                }
            }
        }
    }

    fn load(content: &[u8], piece_len: usize) -> Result<Image, ImageError> {
        let mut loading = Loading::default();
        content.chunks(piece_len).try_for_each(|piece| loading.push(piece))?;
        loading.finish()
    }

    fn state() -> State {
        let mut state = State::new();
        for n in 0..300_u16 {
            let value = vec![b'v'; usize::from(n)];
            state.put(u128::from(n % 40), u64::from(n / 40 + 1), &format!("key {:03}", n * 7 % 300), &value);
        }
        state
    }

    #[test]
    fn a_snapshot_is_the_moment_it_was_begun_whatever_is_written_meanwhile() {
        let mut state = state();
        let digest = state_digest(&state.machine, &state.sessions);
        let quiet = state.take(1 << 20, |_| {});
        let mut count = 0_u16;
        let busy = state.take(300, |state| {
            count += 1;
            state.put(u128::from(1000 + count), 1, &format!("key {:03}", count * 11 % 300), b"new");
            state.put(u128::from(count % 40), 100 + u64::from(count), "another", b"new");
            state.write(u128::from(2000 + count), 1, &Op::Delete { key: format!("key {:03}", 299 - count % 300).as_bytes() });
        });
        assert!(count > 100, "{count} slices");
        assert!(busy == quiet, "other bytes than without writers");
        let image = load(&busy, 1 << 20).unwrap();
        assert_eq!(state_digest(&image.machine, &image.sessions), digest);
        assert_ne!(state_digest(&state.machine, &state.sessions), digest);
        assert_eq!((image.formed, image.members), (true, state.members.image()));
    }

    #[test]
    fn what_is_loaded_is_taken_again_byte_for_byte() {
        let mut state = state();
        let content = state.take(1 << 20, |_| {});
        for piece_len in [1, 7, 1000, content.len()] {
            let image = load(&content, piece_len).unwrap();
            let mut members = Members::default();
            members.restore(image.formed, &image.members);
            let mut again = State { machine: image.machine, sessions: image.sessions, members, index: state.index };
            assert!(again.take(500, |_| {}) == content);
            assert_eq!(again.machine.data_bytes(), state.machine.data_bytes());
        }
    }

    #[test]
    fn a_loaded_session_table_decides_as_the_one_it_was_taken_from() {
        let mut state = state();
        let content = state.take(1 << 20, |_| {});
        let image = load(&content, 100).unwrap();
        for session in 0..41 {
            for seq in 1..10 {
                let call = CallId { session: SessionId(session), birth_index: Index(9), seq, first_unanswered: 1 };
                assert_eq!(image.sessions.judge(&call), state.sessions.judge(&call), "session {session} call {seq}");
            }
        }
    }

    #[test]
    fn content_that_ends_early_goes_on_or_differs_is_refused() {
        let mut state = state();
        let content = state.take(1 << 20, |_| {});
        for cut in [0, 1, 10, 200, content.len() / 2, content.len() - 1] {
            assert!(matches!(load(&content[..cut], 64), Err(ImageError::Count { .. })), "cut at {cut}");
        }
        let twice = [&content[..], &content[..]].concat();
        assert_eq!(load(&twice, 64).err(), Some(ImageError::Order));
        let mut other = content.clone();
        *other.last_mut().unwrap() ^= 1;
        assert!(matches!(load(&other, 64), Err(ImageError::Digest { .. })));
        let mut unordered = Vec::new();
        let session = |id| SessionImage {
            id: SessionId(id),
            last_active_index: Index(5),
            last_active_ms: 0,
            first_unanswered: 1,
            replies: Vec::new(),
        };
        let head = ImageHead { digest: 0, horizon: Index(0), session_count: 2, key_count: 0, formed: true, members: Vec::new() };
        head.encode(&mut unordered);
        session(1).encode(&mut unordered);
        session(2).encode(&mut unordered);
        assert_eq!(load(&unordered, 64).err(), Some(ImageError::Order), "two sessions active at one index");
    }

    /// The budget of K-B2: 500 bytes, of which the container of the file takes 72.
    #[test]
    fn three_members_one_session_and_one_key_fit_into_500_bytes() {
        let mut state = State::new();
        state.put(1, 1, "x", b"0");
        let len = 72 + state.take(1 << 20, |_| {}).len();
        println!("a snapshot of three members, one session and one key: {len} bytes");
        assert!(len <= 500, "{len} bytes");
    }
}
