//! AGREE: a command is offered to everybody until enough nodes have applied it.

use super::{Cluster, Proposal};

/// In all.
const LIMIT_MS: u64 = 10_000;
/// For one attempt.
const ATTEMPT_MS: u64 = 2_000;
/// While it looks whether it was applied.
const LOOK_MS: u64 = 20;
/// When nobody has taken it.
const NOBODY_MS: u64 = 50;

/// A command on its way, as one of several. `step` it whenever time has passed.
pub struct Agreement {
    value: Vec<u8>,
    nodes: usize,
    retry: bool,
    end_ms: u64,
    attempt: Option<(Proposal, u64)>,
    next_ms: u64,
}

impl Agreement {
    /// Where the command stands among all, once so many nodes have applied it. Panics when that takes too long, or, without retry, when
    /// the first attempt fails.
    #[track_caller]
    pub fn step(&mut self, cluster: &mut Cluster) -> Option<usize> {
        let now_ms = cluster.now_ms();
        if now_ms < self.next_ms {
            return None;
        }
        if let Some((proposal, until_ms)) = self.attempt {
            let ordinal = cluster.ordinal(proposal).filter(|ordinal| cluster.nodes_applied(*ordinal) >= self.nodes);
            let is_replaced = cluster.ordinal(proposal).is_none() && cluster.nodes_past(proposal.at.index) >= self.nodes;
            if ordinal.is_some() {
                return ordinal;
            }
            if now_ms < until_ms && !is_replaced {
                self.next_ms = now_ms + LOOK_MS;
                return None;
            }
            assert!(self.retry, "{} nodes have not applied {proposal:?} within {ATTEMPT_MS} ms:\n{}", self.nodes, cluster.describe());
            self.attempt = None;
        }
        assert!(now_ms < self.end_ms, "no agreement of {} nodes within {LIMIT_MS} ms:\n{}", self.nodes, cluster.describe());
        self.attempt = cluster.propose_anywhere(&self.value).map(|proposal| (proposal, now_ms + ATTEMPT_MS));
        self.next_ms = now_ms + if self.attempt.is_some() { LOOK_MS } else { NOBODY_MS };
        None
    }
}

impl Cluster {
    /// To be stepped: agreement of so many nodes on this command.
    pub fn agreement(&self, value: &[u8], nodes: usize, retry: bool) -> Agreement {
        let now_ms = self.now_ms();
        Agreement { value: value.to_vec(), nodes, retry, end_ms: now_ms + LIMIT_MS, attempt: None, next_ms: now_ms }
    }

    /// AGREE, with retry. Where the command stands among all that were ever applied, from 1.
    #[track_caller]
    pub fn agree(&mut self, value: &[u8], nodes: usize) -> usize {
        let mut agreement = self.agreement(value, nodes, true);
        self.finish(&mut agreement)
    }

    /// AGREE, without retry: nothing may go wrong.
    #[track_caller]
    pub fn agree_at_once(&mut self, value: &[u8], nodes: usize) -> usize {
        let mut agreement = self.agreement(value, nodes, false);
        self.finish(&mut agreement)
    }

    #[track_caller]
    fn finish(&mut self, agreement: &mut Agreement) -> usize {
        loop {
            if let Some(ordinal) = agreement.step(self) {
                return ordinal;
            }
            self.run_for_ms(1);
        }
    }
}
