//! Clients that wait for an answer: writers by the log index of their entry, readers by the read that raft was asked for.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use raft::Index;
use wire::client::Reply;
use wire::command::CallId;

/// Names a client's connection for as long as the process lives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ClientId(pub u64);

/// One request of one client: where its reply goes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct RequestId {
    /// Whose.
    pub(crate) client: ClientId,
    /// The client's own number for it.
    pub(crate) request_id: u64,
}

/// A reply and where it goes.
pub(crate) type Addressed = (RequestId, Reply);

/// Writers, by the index of the entry they wait for.
#[derive(Default)]
pub(crate) struct WaitingWrites {
    by_index: BTreeMap<Index, (RequestId, CallId)>,
}

impl WaitingWrites {
    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.by_index.len()
    }

    /// `request` waits for the entry at `index`, which this leader has just appended for `call`.
    pub(crate) fn wait(&mut self, index: Index, request: RequestId, call: CallId) {
        self.by_index.insert(index, (request, call));
    }

    /// The command at `index` was applied: who waited for it, and what that client is told. Another command may stand there than the one
    /// that was appended, from another leader: then the client's own will never take effect.
    pub(crate) fn applied(&mut self, index: Index, applied: Option<(&CallId, Reply)>) -> Option<Addressed> {
        let (request, call) = self.by_index.remove(&index)?;
        let reply = match applied {
            Some((applied, reply)) if (applied.session, applied.seq) == (call.session, call.seq) => reply,
            _ => Reply::Replaced,
        };
        Some((request, reply))
    }

    /// Leadership is lost: everybody is told at once, without waiting for new traffic that may never come.
    pub(crate) fn leadership_lost(&mut self) -> impl Iterator<Item = Addressed> {
        std::mem::take(&mut self.by_index).into_values().map(|(request, _)| (request, Reply::LeadershipLost))
    }
}

/// A read that waits: for raft, for an index to be applied, or for room for its answer.
pub(crate) struct WaitingRead {
    /// Where the reply goes.
    pub(crate) request: RequestId,
    /// What it is to fetch.
    pub(crate) wanted: Wanted,
}

/// What a reader wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Wanted {
    /// The value of a key.
    Value(Box<[u8]>),
    /// The same, as this node has applied it.
    StaleValue(Box<[u8]>),
    /// The first page of a scan.
    Scan(Range),
    /// The same, of what this node has applied.
    StaleScan(Range),
    /// The next page of a scan.
    Page(u64),
}

impl Wanted {
    /// What it costs to remember.
    fn bytes(&self) -> usize {
        WAITING_OVERHEAD
            + match self {
                Wanted::Value(key) | Wanted::StaleValue(key) => key.len(),
                Wanted::Scan(range) | Wanted::StaleScan(range) => range.from.len() + range.to.as_ref().map_or(0, |to| to.len()),
                Wanted::Page(_) => 0,
            }
    }
}

/// Beside the bytes of its keys.
const WAITING_OVERHEAD: usize = 100;

/// Which keys a scan reads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Range {
    pub(crate) from: Box<[u8]>,
    pub(crate) to: Option<Box<[u8]>>,
    pub(crate) keys_only: bool,
    pub(crate) limit: Option<u64>,
}

/// Readers: first by the number of their read, then, once raft has named an index, until that index is applied. From then on they are
/// ready, but an answer is made only when there is room for it: a read is a few bytes, what it asks for may be a megabyte.
#[derive(Default)]
pub(crate) struct WaitingReads {
    last_read: u64,
    unconfirmed: BTreeMap<u64, WaitingRead>,
    confirmed: BTreeMap<(Index, u64), WaitingRead>,
    ready: VecDeque<WaitingRead>,
    /// Ready, but their client has no room.
    parked: BTreeMap<ClientId, Vec<WaitingRead>>,
    parked_count: usize,
    /// Of all of them.
    bytes: usize,
    /// Clients that are gone and may still wait above: many may go at once, and are looked for together.
    gone: BTreeSet<ClientId>,
}

impl WaitingReads {
    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.unconfirmed.len() + self.confirmed.len() + self.ready.len() + self.parked_count
    }

    /// What they hold.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The number that the next read will have.
    pub(crate) fn next_read(&self) -> u64 {
        self.last_read + 1
    }

    /// A read begins, under `next_read`.
    pub(crate) fn wait(&mut self, read: WaitingRead) {
        self.last_read += 1;
        self.bytes += read.wanted.bytes();
        self.unconfirmed.insert(self.last_read, read);
    }

    /// A read that needs no index begins.
    pub(crate) fn wait_for_room(&mut self, read: WaitingRead) {
        self.bytes += read.wanted.bytes();
        self.ready.push_back(read);
    }

    /// Raft has named the index to read at.
    pub(crate) fn confirmed(&mut self, read: u64, index: Index) {
        if let Some(waiting) = self.unconfirmed.remove(&read) {
            self.confirmed.insert((index, read), waiting);
        }
    }

    /// Raft cannot confirm this read.
    pub(crate) fn failed(&mut self, read: u64) -> Option<RequestId> {
        let read = self.unconfirmed.remove(&read)?;
        self.bytes -= read.wanted.bytes();
        Some(read.request)
    }

    /// Raft has named an index for these, and it may never be applied here.
    pub(crate) fn give_up_confirmed(&mut self) -> impl Iterator<Item = RequestId> {
        let given_up = std::mem::take(&mut self.confirmed);
        self.bytes -= given_up.values().map(|waiting| waiting.wanted.bytes()).sum::<usize>();
        given_up.into_values().map(|waiting| waiting.request)
    }

    /// Everything up to `applied` is applied: who waited for that is ready.
    pub(crate) fn applied(&mut self, applied: Index) {
        while let Some(first) = self.confirmed.first_entry()
            && first.key().0 <= applied
        {
            self.ready.push_back(first.remove());
        }
    }

    /// Whether any is ready.
    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// The next read that may be answered now.
    pub(crate) fn pop_ready(&mut self) -> Option<WaitingRead> {
        self.forget_gone();
        let read = self.ready.pop_front()?;
        self.bytes -= read.wanted.bytes();
        Some(read)
    }

    /// There is no room for its answer.
    pub(crate) fn park(&mut self, read: WaitingRead) {
        self.bytes += read.wanted.bytes();
        self.parked_count += 1;
        self.parked.entry(read.request.client).or_default().push(read);
    }

    /// There may be room for this client's answers again.
    pub(crate) fn unpark(&mut self, client: ClientId) {
        let reads = self.parked.remove(&client).unwrap_or_default();
        self.parked_count -= reads.len();
        self.ready.extend(reads);
    }

    /// Nobody waits for this client's answers any more.
    pub(crate) fn client_gone(&mut self, client: ClientId) {
        self.unpark(client);
        if self.len() > 0 {
            self.gone.insert(client);
        }
    }

    fn forget_gone(&mut self) {
        if self.gone.is_empty() {
            return;
        }
        let (gone, mut freed) = (std::mem::take(&mut self.gone), 0);
        let mut stays = |read: &WaitingRead| {
            let is_gone = gone.contains(&read.request.client);
            freed += if is_gone { read.wanted.bytes() } else { 0 };
            !is_gone
        };
        self.unconfirmed.retain(|_, read| stays(read));
        self.confirmed.retain(|_, read| stays(read));
        self.ready.retain(|read| stays(read));
        self.bytes -= freed;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::client::{WriteOutcome, Written};
    use wire::command::SessionId;

    const REQUEST: RequestId = RequestId { client: ClientId(1), request_id: 9 };

    fn call(seq: u64) -> CallId {
        CallId { session: SessionId(7), birth_index: Index(1), seq, first_unanswered: 1 }
    }

    fn done() -> Reply {
        Reply::Written(Written { outcome: WriteOutcome::Done, version: 1, position: Index(5) })
    }

    #[test]
    fn a_writer_is_answered_only_for_its_own_command() {
        let mut waiting = WaitingWrites::default();
        waiting.wait(Index(5), REQUEST, call(1));
        assert_eq!(waiting.applied(Index(4), Some((&call(1), done()))), None);
        assert_eq!(waiting.applied(Index(5), Some((&call(1), done()))), Some((REQUEST, done())));
        waiting.wait(Index(6), REQUEST, call(2));
        assert_eq!(waiting.applied(Index(6), Some((&call(3), done()))), Some((REQUEST, Reply::Replaced)));
        waiting.wait(Index(7), REQUEST, call(2));
        assert_eq!(waiting.applied(Index(7), None), Some((REQUEST, Reply::Replaced)), "a no-op or an announcement took its place");
        assert_eq!(waiting.len(), 0);
    }

    fn read(client: u64, key: &[u8]) -> WaitingRead {
        WaitingRead { request: RequestId { client: ClientId(client), request_id: 9 }, wanted: Wanted::Value(key.into()) }
    }

    fn next_key(waiting: &mut WaitingReads) -> Option<Box<[u8]>> {
        match waiting.pop_ready()?.wanted {
            Wanted::Value(key) => Some(key),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_read_waits_for_its_index() {
        let mut waiting = WaitingReads::default();
        for key in [&b"a"[..], b"b"] {
            waiting.wait(read(1, key));
        }
        waiting.applied(Index(100));
        assert!(!waiting.has_ready(), "not confirmed");
        waiting.confirmed(2, Index(3));
        waiting.confirmed(1, Index(8));
        waiting.applied(Index(7));
        assert_eq!(next_key(&mut waiting), Some(b"b"[..].into()));
        assert_eq!(next_key(&mut waiting), None);
        waiting.applied(Index(8));
        assert_eq!(next_key(&mut waiting), Some(b"a"[..].into()));
        assert_eq!((waiting.failed(1), waiting.len(), waiting.bytes()), (None, 0, 0));
    }

    #[test]
    fn a_read_without_room_waits_until_its_own_client_has_some() {
        let mut waiting = WaitingReads::default();
        for (client, key) in [(1, b"a"), (1, b"b"), (2, b"c")] {
            waiting.wait_for_room(read(client, key));
        }
        while let Some(read) = waiting.pop_ready() {
            waiting.park(read);
        }
        assert_eq!((waiting.has_ready(), waiting.len()), (false, 3));
        waiting.unpark(ClientId(3));
        assert_eq!(next_key(&mut waiting), None);
        waiting.unpark(ClientId(1));
        assert_eq!(next_key(&mut waiting), Some(b"a"[..].into()));
        assert_eq!(next_key(&mut waiting), Some(b"b"[..].into()));
        assert_eq!((next_key(&mut waiting), waiting.len()), (None, 1));
        waiting.unpark(ClientId(2));
        assert_eq!(next_key(&mut waiting), Some(b"c"[..].into()));
        assert_eq!((waiting.len(), waiting.bytes()), (0, 0));
    }

    #[test]
    fn what_a_client_that_is_gone_had_asked_for_is_forgotten_wherever_it_waits() {
        let mut waiting = WaitingReads::default();
        for key in [&b"unconfirmed"[..], b"confirmed", b"ready", b"parked"] {
            waiting.wait(read(1, key));
            waiting.wait(read(2, key));
        }
        for (number, index) in [(3, 9), (4, 9), (5, 1), (6, 1), (7, 1), (8, 1)] {
            waiting.confirmed(number, Index(index));
        }
        waiting.applied(Index(1));
        let parked = std::iter::from_fn(|| waiting.pop_ready()).collect::<Vec<_>>();
        parked.into_iter().skip(2).for_each(|read| waiting.park(read));
        for client in [1, 2] {
            waiting.wait_for_room(read(client, b"ready"));
        }
        assert_eq!(waiting.len(), 8);
        waiting.client_gone(ClientId(1));
        assert_eq!(next_key(&mut waiting), Some(b"ready"[..].into()));
        assert_eq!((next_key(&mut waiting), waiting.len()), (None, 3));
        waiting.unpark(ClientId(2));
        waiting.confirmed(2, Index(9));
        waiting.applied(Index(9));
        let left: Vec<_> = std::iter::from_fn(|| waiting.pop_ready()).map(|read| read.request.client).collect();
        assert_eq!((left, waiting.len(), waiting.bytes()), (vec![ClientId(2); 3], 0, 0));
    }
}
