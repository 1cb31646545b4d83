//! Which links a partition cuts.

use std::fmt;

use super::target::Target;

/// As Jepsen draws them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Shape {
    /// These nodes, together, against all others.
    Apart(Target),
    /// A majority against a minority, drawn.
    Halves,
    /// Everybody sees a majority, and no two see the same: each only its neighbours in a ring.
    Ring,
    /// Two groups that see each other only through one node, which sees all; not the leader, if there is one.
    Bridge,
    /// Clients do not reach these nodes; nodes reach each other.
    Clients(Target),
}

impl Shape {
    /// Reads the words after `partition`.
    pub(super) fn parse(words: &[&str]) -> Result<Shape, String> {
        match words {
            [] => Err("which?".to_owned()),
            ["halves"] => Ok(Shape::Halves),
            ["ring"] => Ok(Shape::Ring),
            ["bridge"] => Ok(Shape::Bridge),
            ["clients"] => Ok(Shape::Clients(Target::All)),
            ["clients", who] => Ok(Shape::Clients(who.parse()?)),
            [who] => Ok(Shape::Apart(who.parse()?)),
            [_, extra, ..] => Err(format!("what is {extra}?")),
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Shape::Apart(who) => write!(f, "{who}"),
            Shape::Halves => f.write_str("halves"),
            Shape::Ring => f.write_str("ring"),
            Shape::Bridge => f.write_str("bridge"),
            Shape::Clients(Target::All) => f.write_str("clients"),
            Shape::Clients(who) => write!(f, "clients {who}"),
        }
    }
}

/// Pairs of these that do not see each other, smaller first, when each sees only those nearest in a circle of this order: itself and
/// just enough neighbours for a majority.
pub(crate) fn ring(circle: &[usize]) -> Vec<(usize, usize)> {
    let count = circle.len();
    // A majority less oneself, half of them on either side.
    let reach = (count / 2).div_ceil(2);
    let distance = |a: usize, b: usize| (b - a).min(count - (b - a));
    pairs(count).filter(|(a, b)| distance(*a, *b) > reach).map(|(a, b)| ordered(circle[a], circle[b])).collect()
}

/// Pairs that do not see each other when the one in the middle of this order sees all, and those before it do not see those after it.
pub(crate) fn bridge(order: &[usize]) -> Vec<(usize, usize)> {
    let middle = order.len() / 2;
    pairs(order.len()).filter(|(a, b)| *a < middle && middle < *b).map(|(a, b)| ordered(order[a], order[b])).collect()
}

/// Moves the leader, if there is one, from the middle to a bank. A leader that is the bridge reaches everybody, and nobody else has
/// anything to say: nothing but pings would be cut.
pub(crate) fn off_the_bridge(order: &mut [usize], leader: Option<usize>) {
    let middle = order.len() / 2;
    if leader.is_some() && order.get(middle).copied() == leader {
        order.swap(0, middle);
    }
}

/// Pairs of which one is in the group and one is not.
pub(crate) fn apart(group: &[usize], all: &[usize]) -> Vec<(usize, usize)> {
    let others = || all.iter().filter(|one| !group.contains(one));
    group.iter().flat_map(|one| others().map(|other| ordered(*one, *other))).collect()
}

fn pairs(count: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..count).flat_map(move |a| (a + 1..count).map(move |b| (a, b)))
}

fn ordered(a: usize, b: usize) -> (usize, usize) {
    (a.min(b), a.max(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whom each sees, itself included.
    fn seen(count: usize, cut: &[(usize, usize)]) -> Vec<Vec<usize>> {
        let sees = |a: usize, b: usize| !cut.contains(&ordered(a, b));
        (0..count).map(|a| (0..count).filter(|b| sees(a, *b)).collect()).collect()
    }

    #[test]
    fn in_a_ring_everybody_sees_another_majority() {
        for count in [5, 7, 9] {
            let circle: Vec<usize> = (0..count).rev().collect();
            let mut seen = seen(count, &ring(&circle));
            assert!(seen.iter().all(|seen| seen.len() > count / 2 && seen.len() < count), "{seen:?}");
            seen.sort();
            seen.dedup();
            assert_eq!(seen.len(), count, "no two see the same");
        }
    }

    #[test]
    fn a_bridge_sees_all_and_its_banks_do_not_see_each_other() {
        let seen = seen(5, &bridge(&[4, 2, 0, 1, 3]));
        assert_eq!(seen, [vec![0, 1, 2, 3, 4], vec![0, 1, 3], vec![0, 2, 4], vec![0, 1, 3], vec![0, 2, 4]]);
    }

    #[test]
    fn the_bridge_is_a_follower() {
        for leader in [None, Some(0), Some(3), Some(4)] {
            let mut order = [4, 2, 3, 1, 0];
            off_the_bridge(&mut order, leader);
            assert_eq!(order, if leader == Some(3) { [3, 2, 4, 1, 0] } else { [4, 2, 3, 1, 0] });
            let cut = bridge(&order);
            assert!(leader.is_none_or(|leader| cut.iter().any(|(a, b)| [*a, *b].contains(&leader))), "it is cut off from somebody");
        }
    }

    #[test]
    fn a_group_sees_itself_only() {
        let seen = seen(5, &apart(&[1, 3], &[0, 1, 2, 3, 4]));
        assert_eq!(seen, [vec![0, 2, 4], vec![1, 3], vec![0, 2, 4], vec![1, 3], vec![0, 2, 4]]);
    }
}
