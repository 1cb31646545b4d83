//! What happened, for people, in the notation of the logs: `n1 -> n2 append t3 after i6/t2: i7/t3, commit i6`, `n2 follower i7/t3 of n1`.
//!
//! Nobody looks at a run that is well. One that failed runs again, with this switched on: it does the same things once more. What every
//! run keeps is a digest of its events, and two runs of one seed that differ in it are a failure of their own.

use std::collections::VecDeque;
use std::fmt;

use kvnode::Node;

/// How much of it is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Keep {
    /// Nothing.
    Nothing,
    /// The newest so many events.
    Last(usize),
    /// All, until they are taken.
    All,
}

/// The events of one run.
pub(crate) struct Trace {
    keep: Keep,
    lines: VecDeque<String>,
    /// What was last said of each node.
    nodes: Vec<String>,
    /// Of every fact, in its order.
    pub(crate) digest: u64,
}

/// Tells an event, if anybody listens: `tell!(self, "n{} is killed", node + 1)`. Its arguments are not even formatted otherwise.
macro_rules! tell {
    ($world:expr, $($what:tt)+) => {
        if $world.trace.is_on() {
            let what = format!($($what)+);
            $world.trace.tell($world.now_us, &what);
        }
    };
}
pub(crate) use tell;

impl Trace {
    pub(crate) fn new(node_count: usize) -> Trace {
        Trace { keep: Keep::Nothing, lines: VecDeque::new(), nodes: vec![String::new(); node_count], digest: 0 }
    }

    pub(crate) fn keep(&mut self, keep: Keep) {
        self.keep = keep;
    }

    pub(crate) fn is_on(&self) -> bool {
        self.keep != Keep::Nothing
    }

    pub(crate) fn tell(&mut self, now_us: u64, what: &str) {
        match self.keep {
            Keep::Nothing => return,
            Keep::Last(count) if self.lines.len() == count => drop(self.lines.pop_front()),
            Keep::Last(_) | Keep::All => (),
        }
        self.lines.push_back(format!("{:>10} {what}", Seconds(now_us).to_string()));
    }

    /// A node after its turn; nothing if it is as it was.
    pub(crate) fn look(&mut self, now_us: u64, node: usize, now: &Node) {
        if !self.is_on() {
            return;
        }
        let raft = now.raft();
        let leader = raft.leader().filter(|leader| *leader != raft.id()).map_or_else(String::new, |leader| format!(" of {leader}"));
        let applied = now.digest().0.index;
        self.is(now_us, node, format!("{raft}{leader}, {}, commit {}, applied {applied}", raft.term(), raft.commit_index()));
    }

    /// What a node is now.
    pub(crate) fn is(&mut self, now_us: u64, node: usize, now: String) {
        if self.nodes[node] != now {
            self.tell(now_us, &now);
            self.nodes[node] = now;
        }
    }

    pub(crate) fn take(&mut self) -> Vec<String> {
        self.lines.drain(..).collect()
    }

    /// Part of what makes this run this one.
    pub(crate) fn fact(&mut self, fact: u64) {
        let digest = (self.digest ^ fact).wrapping_mul(0x0000_0100_0000_01b3);
        self.digest = digest ^ (digest >> 29);
    }

    /// The same, of a frame, or of a part of one: of its length and its beginning, where the checksum of all of it stands.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.fact(bytes.len() as u64);
        let mut head = [[0; 8]; 2];
        let head_len = bytes.len().min(16);
        head.as_flattened_mut()[..head_len].copy_from_slice(&bytes[..head_len]);
        head.into_iter().for_each(|word| self.fact(u64::from_le_bytes(word)));
    }
}

/// Microseconds as seconds.
pub(crate) struct Seconds(pub(crate) u64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}
