//! A whole cluster in one thread, from a seed: real `Node`s under the real `drive`, on a virtual clock, network and disk.
//!
//! What it fakes is only the world: time passes when the next event is due, messages travel as the bytes they would have on a socket and
//! may be late, lost or overtaken, links are cut and healed, processes are killed with whatever their disk had synced. What it never
//! does: sleep, read a clock, or share code with what it checks beyond looking at it.
//!
//! The same seed gives the same run, event for event: `Report::trace_digest` proves it. So a run that failed simply runs again to tell
//! what happened ([`Failure::last_events`]).

mod check; // what must hold at every step
mod clerks; // clients, and what happens to them
mod clock; // a node's own time
mod cluster; // the same world, and a script instead of drawn faults
mod connections; // what they send and receive
mod disk; // and what a power cut would leave of the logs on it
mod effects; // what faults have done
mod end; // what must hold at the end
mod failure; // a broken rule, as a value
mod fault; // what can happen to it, as data
mod faults; // that happening
mod history; // what clerks were told
mod hosts; // machines: a process, and the disk that stays
mod ledger; // what was applied
mod network; // who hears whom, when
mod outgoing; // what a turn sends, and when it leaves
mod peers; // what nodes say to each other
mod plan; // a seed's mix of faults
mod profile; // what a seed may draw
mod queue; // what is due, and when
mod reached; // rare paths, counted
mod recovery; // the end of the faults: for a majority, then for all
mod report; // what a run has to show for itself
mod run; // one plan to its end
mod schedule; // faults drawn ahead
mod shrink; // a smaller plan that fails in the same way
mod trace; // what happened, for people
mod view; // a node at one moment
mod words; // frames in few words
mod workload; // what clerks ask for
mod world; // the clock and the events

pub use cluster::{Agreement, CallId, ClerkId, Cluster, Conditions, Limits, Outcome, Proposal};
pub use effects::{Effect, Effects};
pub use failure::{Failure, FailureKind};
pub use fault::{Cut, Fault, FaultKind, Moment, Planned, Target};
pub use network::{LinkQuality, NetworkPlan};
pub use peers::Traffic;
pub use plan::{ClockPlan, DiskPlan, Plan, Rest, Ticks};
pub use profile::{Profile, UnknownProfile};
pub use reached::{RARE_PATHS, Reached};
pub use report::Report;
pub use run::{Run, explain, repeat, run, run_twice};
pub use shrink::{Less, Shrunk, shrink};
pub use trace::Keep;
pub use view::NodeView;
pub use workload::{Weights, Workload};
