//! Who belongs to the cluster, and what a majority of it is. Pure arithmetic: who said what is the caller's business.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use crate::types::NodeId;

/// The members of a cluster. Voters elect and commit; learners only receive.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Membership {
    /// Members whose votes and copies count.
    pub voters: BTreeSet<NodeId>,
    /// Members that receive the log and count for nothing.
    pub learners: BTreeSet<NodeId>,
}

impl Membership {
    /// A membership of voters alone.
    pub fn of_voters(voters: impl IntoIterator<Item = NodeId>) -> Membership {
        Membership { voters: voters.into_iter().collect(), learners: BTreeSet::new() }
    }

    /// Whether `node` is a member of either kind.
    pub fn contains(&self, node: NodeId) -> bool {
        self.voters.contains(&node) || self.learners.contains(&node)
    }

    /// Whether `node` is the only voter: what it decides alone is decided.
    pub fn is_sole_voter(&self, node: NodeId) -> bool {
        self.voters.len() == 1 && self.voters.contains(&node)
    }

    /// All members, voters first.
    pub fn members(&self) -> impl Iterator<Item = NodeId> + Clone + '_ {
        self.voters.iter().chain(self.learners.iter()).copied()
    }

    /// Voters in a majority: any two majorities share one.
    pub fn quorum(&self) -> usize {
        self.voters.len() / 2 + 1
    }

    /// Whether the voters of which `holds` is true are a majority. Never true without voters.
    pub fn is_quorum(&self, mut holds: impl FnMut(NodeId) -> bool) -> bool {
        self.voters.iter().filter(|voter| holds(**voter)).count() >= self.quorum()
    }

    /// The largest value that a majority of voters has reached; the default without voters.
    pub fn agreed<T: Ord + Copy + Default>(&self, reached: impl FnMut(NodeId) -> T) -> T {
        let mut values: Vec<T> = self.voters.iter().copied().map(reached).collect();
        values.sort_unstable();
        // Of n values in rising order, the one at n - quorum is reached by `quorum` voters.
        values.len().checked_sub(self.quorum()).map_or_else(T::default, |at| values[at])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn voters(count: u64) -> Membership {
        Membership::of_voters((1..=count).map(NodeId))
    }

    #[test]
    fn a_majority_is_more_than_half() {
        let quorums: Vec<usize> = (1..=7).map(|count| voters(count).quorum()).collect();
        assert_eq!(quorums, [1, 2, 2, 3, 3, 4, 4]);
    }

    #[test]
    fn nobody_decides_nothing() {
        let nobody = voters(0);
        assert!(!nobody.is_quorum(|_| true));
        assert_eq!(nobody.agreed(|_| 7u64), 0);
    }

    #[test]
    fn learners_count_for_nothing() {
        let mut membership = voters(3);
        membership.learners.extend([NodeId(4), NodeId(5)]);
        assert!(!membership.is_quorum(|node| node.0 >= 3));
        assert_eq!(membership.agreed(|node| if node.0 >= 3 { 9u64 } else { 1 }), 1);
        assert!(membership.contains(NodeId(5)) && !membership.contains(NodeId(6)));
    }

    proptest! {
        #[test]
        fn agreed_is_the_largest_value_that_a_quorum_reached(values in proptest::collection::vec(0u64..20, 1..8)) {
            let membership = voters(values.len() as u64);
            let value_of = |node: NodeId| values[usize::try_from(node.0).unwrap() - 1];
            // By brute force: try every value, count who reached it.
            let expected = (0..20).rev().find(|value| values.iter().filter(|have| *have >= value).count() * 2 > values.len()).unwrap();
            prop_assert_eq!(membership.agreed(value_of), expected);
            prop_assert!(membership.is_quorum(|node| value_of(node) >= expected));
            prop_assert!(!membership.is_quorum(|node| value_of(node) > expected));
        }

        #[test]
        fn any_two_quorums_share_a_voter(count in 1u64..8, one in any::<u8>(), other in any::<u8>()) {
            let membership = voters(count);
            let is_in = |set: u8, node: NodeId| set & (1 << (node.0 - 1)) != 0;
            if membership.is_quorum(|node| is_in(one, node)) && membership.is_quorum(|node| is_in(other, node)) {
                prop_assert!(membership.voters.iter().any(|node| is_in(one & other, *node)));
            }
        }
    }
}
