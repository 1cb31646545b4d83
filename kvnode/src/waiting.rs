//! Clients that wait for an answer: writers by the log index of their entry, readers by the read that raft was asked for.

use std::collections::BTreeMap;

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

/// A read that raft was asked for, and what it is to fetch.
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
    /// The first page of a scan.
    Scan(Range),
}

/// Which keys a scan reads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Range {
    pub(crate) from: Box<[u8]>,
    pub(crate) to: Option<Box<[u8]>>,
    pub(crate) keys_only: bool,
    pub(crate) limit: Option<u64>,
}

/// Readers: first by the number of their read, then, once raft has named an index, until that index is applied.
#[derive(Default)]
pub(crate) struct WaitingReads {
    last_read: u64,
    unconfirmed: BTreeMap<u64, WaitingRead>,
    confirmed: BTreeMap<(Index, u64), WaitingRead>,
}

impl WaitingReads {
    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.unconfirmed.len() + self.confirmed.len()
    }

    /// The number that the next read will have.
    pub(crate) fn next_read(&self) -> u64 {
        self.last_read + 1
    }

    /// A read begins, under `next_read`.
    pub(crate) fn wait(&mut self, read: WaitingRead) {
        self.last_read += 1;
        self.unconfirmed.insert(self.last_read, read);
    }

    /// Raft has named the index to read at.
    pub(crate) fn confirmed(&mut self, read: u64, index: Index) {
        if let Some(waiting) = self.unconfirmed.remove(&read) {
            self.confirmed.insert((index, read), waiting);
        }
    }

    /// Raft cannot confirm this read.
    pub(crate) fn failed(&mut self, read: u64) -> Option<RequestId> {
        self.unconfirmed.remove(&read).map(|waiting| waiting.request)
    }

    /// Raft has named an index for these, and it may never be applied here.
    pub(crate) fn give_up_confirmed(&mut self) -> impl Iterator<Item = RequestId> {
        std::mem::take(&mut self.confirmed).into_values().map(|waiting| waiting.request)
    }

    /// The next read that may be served, now that everything up to `applied` is applied.
    pub(crate) fn pop_ready(&mut self, applied: Index) -> Option<WaitingRead> {
        let first = self.confirmed.first_entry()?;
        (first.key().0 <= applied).then(|| first.remove())
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

    #[test]
    fn a_read_waits_for_its_index() {
        let mut waiting = WaitingReads::default();
        for key in [&b"a"[..], b"b"] {
            waiting.wait(WaitingRead { request: REQUEST, wanted: Wanted::Value(key.into()) });
        }
        assert!(waiting.pop_ready(Index(100)).is_none(), "not confirmed");
        waiting.confirmed(2, Index(3));
        waiting.confirmed(1, Index(8));
        assert_eq!(waiting.pop_ready(Index(7)).map(|read| read.wanted), Some(Wanted::Value(b"b"[..].into())));
        assert!(waiting.pop_ready(Index(7)).is_none());
        assert_eq!(waiting.pop_ready(Index(8)).map(|read| read.wanted), Some(Wanted::Value(b"a"[..].into())));
        assert_eq!((waiting.failed(1), waiting.len()), (None, 0));
    }
}
