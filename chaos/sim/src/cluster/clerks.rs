//! Clients of a scripted cluster: real Clerks, each with one call at a time as the script wishes.

use checker::Verdict;
use kvcli::{Answer, Ask, ClerkError};

use super::{Cluster, said};
use crate::failure;
use crate::history::history;

/// A client.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ClerkId(pub(crate) u64);

/// A call of one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct CallId(pub(crate) usize);

/// How a call ended.
pub type Outcome = Result<Answer, ClerkError>;

impl Cluster {
    /// A new client that knows all nodes, in an order of its own.
    pub fn clerk(&mut self) -> ClerkId {
        let mut order: Vec<usize> = (0..self.size()).collect();
        self.world.rng.shuffle(&mut order);
        ClerkId(self.world.add_clerk_of(order))
    }

    /// From now on this client reaches these nodes and no others.
    pub fn reach_only(&mut self, clerk: ClerkId, nodes: &[usize]) {
        let others = (0..self.size()).filter(|node| !nodes.contains(node)).collect();
        self.world.clerks.cut(clerk.0, others);
    }

    /// Asks, and does not wait.
    pub fn ask(&mut self, clerk: ClerkId, ask: Ask, timeout_ms: u64) -> CallId {
        CallId(said(failure::catch(|| self.world.submit(clerk.0, ask, 1000 * timeout_ms))))
    }

    /// How the call ended; `None`: it has not.
    pub fn outcome(&self, call: CallId) -> Option<&Outcome> {
        self.world.clerks.calls[call.0].outcome.as_ref()
    }

    /// When it was made, and when it was over.
    pub fn call_ms(&self, call: CallId) -> (u64, Option<u64>) {
        let call = &self.world.clerks.calls[call.0];
        (call.called_us / 1000, call.returned_us.map(|us| us / 1000))
    }

    /// Asks and waits.
    pub fn call(&mut self, clerk: ClerkId, ask: Ask, timeout_ms: u64) -> &Outcome {
        let call = self.ask(clerk, ask, timeout_ms);
        self.run_until(timeout_ms + 1, |cluster| cluster.outcome(call).is_some());
        self.outcome(call).expect("a call is over after its timeout")
    }

    /// Asks, waits, and will have an answer.
    #[track_caller]
    pub fn done(&mut self, clerk: ClerkId, ask: Ask) -> Answer {
        const TIMEOUT_MS: u64 = 10_000;
        let asked = format!("{ask:?}");
        match self.call(clerk, ask, TIMEOUT_MS) {
            Ok(answer) => answer.clone(),
            Err(error) => panic!("{asked}: {error}"),
        }
    }

    /// LIN-CHECK of all that clients were told so far. What cannot be judged has not passed.
    #[track_caller]
    pub fn judge(&self) {
        let history = history(&self.world.clerks.calls, Some(&self.world.clerks.ledger));
        match checker::check(&history, &checker::Limits::default()) {
            Verdict::Linearizable => {}
            Verdict::Violation(violation) => panic!("not linearizable: {violation}"),
            Verdict::Unknown(why) => panic!("not judged: {why}"),
        }
    }
}
