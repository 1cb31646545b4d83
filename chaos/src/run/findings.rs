//! What is not as it must be, beside what the history shows.

use crate::cluster::node::Node;
use crate::ending::{Ending, Failure};

/// How each of them ends a run, and why.
#[derive(Debug, Default)]
pub(crate) struct Findings(pub(crate) Vec<(Ending, String)>);

impl Findings {
    /// These must never be.
    pub(crate) fn wrong(&mut self, why: impl IntoIterator<Item = String>) {
        self.0.extend(why.into_iter().map(|why| (Ending::Violation, why)));
    }

    /// Keeps that something has not happened in time, and goes on: what clients saw may be worse. Any other failure is not the cluster's.
    pub(crate) fn late<T>(&mut self, outcome: Result<T, Failure>) -> Result<Option<T>, Failure> {
        match outcome {
            Ok(value) => Ok(Some(value)),
            Err(failure) if failure.ending == Ending::Late => {
                self.0.push((Ending::Late, failure.to_string()));
                Ok(None)
            }
            Err(failure) => Err(failure),
        }
    }
}

/// Broken invariants that nodes have reported of themselves.
pub(crate) fn bugs(nodes: &[Node]) -> Vec<String> {
    let bug = |node: &Node| {
        let log = std::fs::read(&node.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log).into_owned();
        log.lines().find(|line| line.contains("this is a bug")).map(|line| format!("{}: {line}", node.name))
    };
    nodes.iter().filter_map(bug).collect()
}
