//! The real `kvcli`, and nodes that do what a test tells them to.

mod bench; // what a cluster does under load
mod conditions; // a write that has one
mod dumping; // everything, in lines
mod endings; // every exit code, from a situation that deserves it
mod fake; // a node that does what a test tells it to
mod finding;
mod going_on; // a load that goes on while what it sent before is still on its way // endpoints that do not help
mod loading; // many lines, and how far they came
mod modes; // every command in every mode
mod program; // kvcli, run
mod reading; // many keys, and reads that may be old
mod resuming; // a write whose answer was lost
mod shell; // a command per line
mod status; // how a cluster is
mod values; // what goes in comes out
