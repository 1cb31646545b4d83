//! APPLY-CHECK: every node applies the same commands in the same order, without a gap. Each command appends itself to one key, so the
//! state of a node is the list of what it has applied; the list of any node is a beginning of that of any other. Held together by the
//! bytes of the state alone: what the log says does not count.

use std::collections::BTreeMap;

use kvnode::Node;
use raft::Index;

use super::KEY;

/// What a command adds: its number, the length of its value, its value.
pub(super) fn token(number: u32, value: &[u8]) -> Vec<u8> {
    let len = u16::try_from(value.len()).expect("a short value");
    [&number.to_le_bytes()[..], &len.to_le_bytes(), value].concat()
}

/// What was applied anywhere, ever, and how far each node is.
pub(crate) struct Applied {
    list: Vec<u8>,
    /// Where the n-th command ends in it.
    ends: Vec<usize>,
    ordinals: BTreeMap<u32, usize>,
    nodes: Vec<Position>,
}

#[derive(Clone, Copy, Default)]
struct Position {
    life: u64,
    index: Index,
    count: usize,
}

impl Applied {
    pub(super) fn new(node_count: usize) -> Applied {
        Applied { list: Vec::new(), ends: Vec::new(), ordinals: BTreeMap::new(), nodes: vec![Position::default(); node_count] }
    }

    /// Looks at a node, after any step.
    pub(super) fn look(&mut self, number: usize, life: u64, node: &Node) {
        let index = node.raft().applied_index();
        let position = self.nodes[number];
        if (position.life, position.index) == (life, index) {
            return;
        }
        let list = node.peek(KEY).map(|value| value.value).unwrap_or_default();
        let known = list.len().min(self.list.len());
        assert!(list[..known] == self.list[..known], "n{} has applied other commands than another node", number + 1);
        if self.list.len() < list.len() {
            self.extend(&list);
        }
        let count = self.ends.partition_point(|end| *end <= list.len());
        assert!(count == 0 && list.is_empty() || self.ends[count - 1] == list.len(), "n{} has applied half a command", number + 1);
        let is_same_life = position.life == life;
        assert!(!is_same_life || position.count <= count, "n{} has taken back a command", number + 1);
        self.nodes[number] = Position { life, index, count };
    }

    fn extend(&mut self, list: &[u8]) {
        let mut at = self.list.len();
        while at < list.len() {
            let number = u32::from_le_bytes(list[at..at + 4].try_into().expect("four bytes"));
            let len = u16::from_le_bytes(list[at + 4..at + 6].try_into().expect("two bytes"));
            at += 6 + usize::from(len);
            self.ends.push(at);
            let twice = self.ordinals.insert(number, self.ends.len());
            assert_eq!(twice, None, "command {number} was applied twice");
        }
        self.list = list.to_vec();
    }

    /// Its process is gone, and what it had applied in memory.
    pub(super) fn forget(&mut self, number: usize) {
        self.nodes[number] = Position::default();
    }

    pub(super) fn count(&self, number: usize) -> usize {
        self.nodes[number].count
    }

    pub(super) fn ordinal(&self, number: u32) -> Option<usize> {
        self.ordinals.get(&number).copied()
    }
}
