//! Who hears whom, and how late. A link is directed; a cut one loses everything, also what is under way.

use std::collections::BTreeSet;
use std::fmt;

use fastrand::Rng;

use crate::plan::Plan;

/// Directed links between nodes, by position.
pub(crate) struct Network {
    cut: BTreeSet<(usize, usize)>,
}

impl Network {
    pub(crate) fn new() -> Network {
        Network { cut: BTreeSet::new() }
    }

    pub(crate) fn is_open(&self, from: usize, to: usize) -> bool {
        !self.cut.contains(&(from, to))
    }

    /// Cuts one direction, or both, between two sides drawn at random; a side may be empty.
    pub(crate) fn cut_randomly(&mut self, node_count: usize, rng: &mut Rng) {
        let side: Vec<bool> = (0..node_count).map(|_| rng.bool()).collect();
        let one_way = rng.u32(0..4) == 0;
        for from in 0..node_count {
            for to in 0..node_count {
                if side[from] != side[to] && (!one_way || side[from]) {
                    self.cut.insert((from, to));
                }
            }
        }
    }

    /// Cuts both directions between one node and all others.
    pub(crate) fn isolate(&mut self, node: usize, node_count: usize) {
        for peer in (0..node_count).filter(|peer| *peer != node) {
            self.cut.extend([(node, peer), (peer, node)]);
        }
    }

    /// These links are cut, and no others.
    pub(crate) fn cut_exactly(&mut self, links: BTreeSet<(usize, usize)>) {
        self.cut = links;
    }

    pub(crate) fn heal(&mut self) {
        self.cut.clear();
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.cut.is_empty()
    }

    /// When copies of a message sent now arrive, microseconds from now; none: it is lost.
    pub(crate) fn delays(plan: &Plan, calm: bool, rng: &mut Rng) -> Vec<u64> {
        if calm {
            return vec![rng.u64(50..1_000)];
        }
        if rng.f64() < plan.loss {
            return Vec::new();
        }
        let copies = if rng.f64() < plan.duplicate { 2 } else { 1 };
        (0..copies).map(|_| rng.u64(50..=plan.delay_us_max.max(51))).collect()
    }
}

/// The links that are cut.
impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (from, to)) in self.cut.iter().enumerate() {
            write!(f, "{}n{} -> n{}", if number == 0 { "" } else { ", " }, from + 1, to + 1)?;
        }
        Ok(())
    }
}
