//! What the whole-system tests stand on: real `kvnode` processes, started, killed, paused and asked how they are; the real `kvcli`;
//! clients that write under load and an exact account of what they were told.
//!
//! It never reaches into a node: everything it knows came from a command's output, a socket, a log file or `/proc`. It waits for
//! conditions, not for time to pass.
//!
//! ```no_run
//! let mut cluster = tests::Cluster::start(3);
//! cluster.kvcli(["put", "city", "Turin"]).expect_code(0);
//! let leader = cluster.leader();
//! cluster.kill(leader);
//! assert_eq!(cluster.kvcli(["get", "city"]).expect_code(0).stdout, b"Turin");
//! ```

pub mod cli; // a finished command and what may be expected of it
pub mod client; // a Clerk, with the answers that the tests tell apart
pub mod cluster; // nodes and what is done to them
pub mod crowd; // many connections to one node
pub mod disk; // a small disk of a node's own
pub mod dumps; // dumps beside a writer, each one point in time
pub mod firewall; // packets that vanish
pub mod host; // what this machine lacks
pub mod load; // clients that append, and what became of every append
pub mod lossy; // ways on which answers get lost
pub mod machine; // one with a systemd of its own
pub mod place; // addresses and directories that no other test has
pub mod process; // children that die with us
pub mod programs; // the binaries under test
pub mod raw; // a bare connection
pub mod sizes; // of logs and snapshots, looked at all the time
pub mod status; // `kvcli status -o json`, read
pub mod strace; // system calls of a node, and delays in them
pub mod versions; // conditional puts on one key, and whether they can be told one after the other
pub mod wait; // conditions

pub use cli::Ran;
pub use cluster::{Cluster, Node};
pub use sizes::{MaxLog, Sampler, Sizes};
pub use status::Status;
pub use wait::{wait_for, wait_until};
