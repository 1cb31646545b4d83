//! Every order of events, to a stated depth: a breadth-first search over clusters of three real [`raft::Raft`] values.
//!
//! Random schedules find what is likely; this finds whatever is reachable, as long as it is near. The network is a multiset: any message
//! in it may come next, at once or long after its term, again, or never, which is what a loss is. A save ends when it ends; a crash loses
//! what was not saved; a timeout fires whenever it likes. A *model* says where a search begins and how often each thing may happen.
//!
//! A node is a value and a step is a function of it, so each (state of a node, input) is computed once, by raft itself, and looked up from
//! then on: clusters are many, states of one node are few. A cluster is three numbers of node states, the numbers of the messages in
//! flight, the number of a history and what may still happen.
//!
//! After every step: raft's own asserts and invariants, and what `history` says of the cluster as a whole. The first breach ends the search
//! with the shortest way to it.

#[path = "../suite/disk.rs"]
mod disk; // what survives a crash, as in the other tests
mod history; // what has been true so far, and what follows from that
mod models; // where searches begin, and what may happen in them
mod node; // one node on its disk: states and inputs
mod search; // breadth first, each cluster once
