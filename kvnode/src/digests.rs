//! Replicas that have applied the same entries must have the same state. Every node tells its peers the digest of its own whenever it has
//! applied a multiple of `DIGEST_EVERY` entries, and compares. One that finds a majority of the voters agreed on another state than its own
//! has lost its way (a bug, or memory that lies): it must stop before it answers or votes anybody into believing it.

use std::collections::BTreeMap;

use raft::{Index, NodeId};

use crate::limits::{DIGEST_EVERY, DIGESTS_KEPT_MAX};

/// What this node and its peers had at the last few multiples.
#[derive(Default)]
pub(crate) struct Digests {
    at: BTreeMap<Index, At>,
    /// Something was added since the last verdict.
    has_news: bool,
}

#[derive(Default)]
struct At {
    own: Option<u64>,
    peers: BTreeMap<NodeId, u64>,
}

/// This node's state is another than that of a majority.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Diverged {
    /// Once this much was applied.
    pub(crate) index: Index,
    pub(crate) own: u64,
    /// What the majority has.
    pub(crate) theirs: u64,
}

impl Digests {
    /// Whether digests are compared at this index.
    pub(crate) fn is_due(index: Index) -> bool {
        index.0.is_multiple_of(DIGEST_EVERY)
    }

    /// This node has applied `index`.
    pub(crate) fn own(&mut self, index: Index, digest: u64) {
        self.entry(index).own = Some(digest);
        self.forget();
    }

    /// A peer has.
    pub(crate) fn heard(&mut self, from: NodeId, index: Index, digest: u64) {
        if Digests::is_due(index) {
            self.entry(index).peers.insert(from, digest);
            self.forget();
        }
    }

    /// Whether the verdict may be another than the last one.
    pub(crate) fn has_news(&self) -> bool {
        self.has_news
    }

    /// The state was replaced by a snapshot: what it was before says nothing about it.
    pub(crate) fn restart(&mut self) {
        self.at.values_mut().for_each(|at| at.own = None);
    }

    /// Whether `quorum` of the peers that vote have one other state than this node at some index.
    pub(crate) fn verdict(&mut self, quorum: usize, is_voter: impl Fn(NodeId) -> bool) -> Option<Diverged> {
        if !std::mem::take(&mut self.has_news) {
            return None;
        }
        self.at.iter().find_map(|(index, at)| {
            let own = at.own?;
            let others = || at.peers.iter().filter(|(peer, digest)| is_voter(**peer) && **digest != own).map(|(_, digest)| *digest);
            let theirs = others().find(|theirs| others().filter(|digest| digest == theirs).count() >= quorum)?;
            Some(Diverged { index: *index, own, theirs })
        })
    }

    fn entry(&mut self, index: Index) -> &mut At {
        self.has_news = true;
        self.at.entry(index).or_default()
    }

    fn forget(&mut self) {
        while self.at.len() > DIGESTS_KEPT_MAX {
            self.at.pop_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(multiple: u64) -> Index {
        Index(multiple * DIGEST_EVERY)
    }

    fn verdict(digests: &mut Digests) -> Option<Diverged> {
        digests.verdict(2, |peer| peer.0 <= 3)
    }

    #[test]
    fn a_node_that_differs_from_a_majority_learns_at_which_index() {
        let mut digests = Digests::default();
        digests.own(at(1), 7);
        digests.own(at(2), 8);
        digests.heard(NodeId(2), at(1), 7);
        digests.heard(NodeId(3), at(1), 7);
        digests.heard(NodeId(2), at(2), 9);
        assert_eq!(verdict(&mut digests), None, "one against one decides nothing");
        digests.heard(NodeId(3), at(2), 9);
        assert_eq!(verdict(&mut digests), Some(Diverged { index: at(2), own: 8, theirs: 9 }));
    }

    #[test]
    fn the_majority_itself_goes_on_and_so_does_a_node_among_many_opinions() {
        let mut digests = Digests::default();
        digests.own(at(1), 7);
        digests.heard(NodeId(2), at(1), 7);
        digests.heard(NodeId(3), at(1), 9);
        assert_eq!(verdict(&mut digests), None);
        digests.own(at(2), 7);
        digests.heard(NodeId(2), at(2), 8);
        digests.heard(NodeId(3), at(2), 9);
        assert_eq!(verdict(&mut digests), None, "nobody knows who is right");
        digests.heard(NodeId(4), at(2), 9);
        assert_eq!(verdict(&mut digests), None, "a learner does not count");
    }

    #[test]
    fn what_peers_say_early_waits_and_is_bounded() {
        let mut digests = Digests::default();
        digests.heard(NodeId(2), at(5), 9);
        digests.heard(NodeId(3), at(5), 9);
        digests.heard(NodeId(3), Index(DIGEST_EVERY + 1), 9);
        digests.own(at(5), 8);
        assert_eq!(verdict(&mut digests).map(|diverged| diverged.index), Some(at(5)));
        digests.restart();
        assert_eq!(verdict(&mut digests), None);
        for n in 0..1000 {
            digests.heard(NodeId(2), at(n), 1);
        }
        assert_eq!(digests.at.len(), DIGESTS_KEPT_MAX);
    }
}
