//! Chaos on real processes: every fault has the effect that its name says, as seen by its victims, and nothing is left behind. One
//! program, so that it is linked once.

mod by_hand; // up, exec, status, down: a cluster between commands
mod cleanup; // killed at any moment, it leaves nothing
mod damage; // to processes and their files
mod docs; // what the documentation shows
mod doctor; // what this host can do
mod failing; // faults that cannot be done, recorded or undone
mod here; // nodes that somebody else started
mod labs; // the labs' cases
mod links; // between hosts
mod ordinary; // for somebody who is not root
mod run; // from a plan to a verdict
mod services; // nodes that systemd has started
mod up; // a cluster for a test
