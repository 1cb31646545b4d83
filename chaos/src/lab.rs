//! `chaos lab`: the teaching labs' cases on real processes, real disks and a network that loses and delays packets by the labs' figures.
//!
//! A case is a run of its own, because a process moves into namespaces once. What the labs do to messages is done to packets here: each
//! waits up to 26 ms and a tenth is lost, in each direction; TCP sends again, so what a node sees is delay, and order.

mod counter; // M-R: a counter that everybody increments
mod generic; // K-A, K-B: appends that must all be there, once and in order
mod lock; // M-L: a lock made of conditional puts
mod partition; // K-A6, M-K5: one partition, step by step
mod puts; // M-K: conditional puts of one key
mod stage; // a cluster, its network, and a history of all calls

use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use clap::Args;

use self::stage::Stage;
use crate::ending::{Ending, Failure};

#[derive(Args)]
pub(crate) struct LabArgs {
    /// Its id: K-A4. `list` prints all of them.
    case: String,
    /// One round instead of three, and three seconds of load in it.
    #[arg(long)]
    short: bool,
    /// For what clients and the partitioner draw.
    #[arg(long)]
    seed: Option<u64>,
}

/// How long the load of one round takes, and how many rounds there are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Length {
    pub(crate) rounds: u64,
    pub(crate) load: Duration,
}

/// What the common drivers are told of a case.
#[derive(Clone, Copy)]
pub(crate) struct Terms {
    pub(crate) clients: usize,
    pub(crate) servers: usize,
    pub(crate) unreliable: bool,
    pub(crate) restarts: bool,
    pub(crate) partitions: bool,
    pub(crate) random_keys: bool,
    pub(crate) max_log: MaxLog,
}

enum Driver {
    Appends(Terms),
    Fight(Terms),
    OneKey,
    OnePartition { conditional: bool },
    LeaderFailure,
    LeaderPartition,
    Lock { clients: usize, unreliable: bool },
}

/// The labs' limit on the log, in bytes; `None`: there is none.
type MaxLog = Option<u64>;
const NEVER: MaxLog = None;
const LABS: MaxLog = Some(1000);

/// Clients, servers, unreliable, restarts, partitions, random keys, limit on the log.
const fn terms(clients: usize, servers: usize, flags: [bool; 4], max_log: MaxLog) -> Terms {
    let [unreliable, restarts, partitions, random_keys] = flags;
    Terms { clients, servers, unreliable, restarts, partitions, random_keys, max_log }
}

/// Of K-A and K-B.
const fn appends(clients: usize, servers: usize, flags: [bool; 4], max_log: MaxLog) -> Driver {
    Driver::Appends(terms(clients, servers, flags, max_log))
}

/// Of M-K.
const fn fight(clients: usize, servers: usize, flags: [bool; 4], max_log: MaxLog) -> Driver {
    Driver::Fight(terms(clients, servers, flags, max_log))
}

const N: bool = false;
const Y: bool = true;

const CASES: [(&str, Driver); 38] = [
    ("K-A1", appends(1, 5, [N, N, N, N], NEVER)),
    ("K-A3", appends(5, 5, [N, N, N, N], NEVER)),
    ("K-A4", appends(5, 5, [Y, N, N, N], NEVER)),
    ("K-A5", Driver::OneKey),
    ("K-A6", Driver::OnePartition { conditional: false }),
    ("K-A7", appends(1, 5, [N, N, Y, N], NEVER)),
    ("K-A8", appends(5, 5, [N, N, Y, N], NEVER)),
    ("K-A9", appends(1, 5, [N, Y, N, N], NEVER)),
    ("K-A10", appends(5, 5, [N, Y, N, N], NEVER)),
    ("K-A11", appends(5, 5, [Y, Y, N, N], NEVER)),
    ("K-A12", appends(5, 5, [N, Y, Y, N], NEVER)),
    ("K-A13", appends(5, 5, [Y, Y, Y, N], NEVER)),
    ("K-A14", appends(15, 7, [Y, Y, Y, Y], NEVER)),
    ("K-B4", appends(1, 5, [N, Y, N, N], LABS)),
    ("K-B5", appends(20, 5, [N, Y, N, N], LABS)),
    ("K-B6", appends(5, 5, [Y, N, N, N], LABS)),
    ("K-B7", appends(5, 5, [Y, Y, N, N], LABS)),
    ("K-B8", appends(5, 5, [Y, Y, Y, N], LABS)),
    ("K-B9", appends(15, 7, [Y, Y, Y, Y], LABS)),
    ("M-R3", Driver::LeaderFailure),
    ("M-R4", Driver::LeaderPartition),
    ("M-K4", fight(5, 5, [Y, N, N, N], NEVER)),
    ("M-K5", Driver::OnePartition { conditional: true }),
    ("M-K6", fight(1, 5, [N, N, Y, N], NEVER)),
    ("M-K7", fight(5, 5, [N, N, Y, N], NEVER)),
    ("M-K8", fight(1, 5, [N, Y, N, N], NEVER)),
    ("M-K9", fight(5, 5, [N, Y, N, N], NEVER)),
    ("M-K10", fight(5, 5, [Y, Y, N, N], NEVER)),
    ("M-K11", fight(5, 5, [N, Y, Y, N], NEVER)),
    ("M-K12", fight(5, 5, [Y, Y, Y, N], NEVER)),
    ("M-K13", fight(15, 7, [Y, Y, Y, Y], NEVER)),
    ("M-K19", fight(5, 5, [Y, N, N, N], LABS)),
    ("M-K20", fight(5, 5, [Y, Y, N, N], LABS)),
    ("M-K21", fight(5, 5, [Y, Y, Y, N], LABS)),
    ("M-K22", fight(15, 7, [Y, Y, Y, Y], LABS)),
    ("M-L2", Driver::Lock { clients: 10, unreliable: N }),
    ("M-L3", Driver::Lock { clients: 1, unreliable: Y }),
    ("M-L4", Driver::Lock { clients: 10, unreliable: Y }),
];

pub(crate) fn lab(args: &LabArgs) -> Result<Ending, Failure> {
    let mut out = io::stdout();
    if args.case == "list" {
        for (id, _) in &CASES {
            writeln!(out, "{id}")?;
        }
        return Ok(Ending::Passed);
    }
    let Some((id, driver)) = CASES.iter().find(|(id, _)| *id == args.case) else {
        return Err(Ending::Usage.says(format!("no case {}: `chaos lab list` prints them", args.case)));
    };
    let seed = args.seed.unwrap_or_else(|| fastrand::Rng::new().u64(..1_000_000_000));
    writeln!(out, "seed={seed}")?;
    let length = |load: u64| {
        if args.short { Length { rounds: 1, load: Duration::from_secs(3) } } else { Length { rounds: 3, load: Duration::from_secs(load) } }
    };
    let start = Instant::now();
    let told = match driver {
        Driver::Appends(terms) => generic::run(terms, length(5), seed)?,
        Driver::Fight(terms) => puts::run(terms, length(1), seed)?,
        Driver::OneKey => generic::one_key(seed)?,
        Driver::OnePartition { conditional } => partition::one_partition(*conditional, seed)?,
        Driver::LeaderFailure => counter::leader_failure(seed)?,
        Driver::LeaderPartition => counter::leader_partition(seed)?,
        Driver::Lock { clients, unreliable } => lock::lock(*clients, *unreliable, Duration::from_secs(2), seed)?,
    };
    writeln!(out, "{id} passed in {:.1} s: {told}", start.elapsed().as_secs_f64())?;
    Ok(Ending::Passed)
}

/// A rule of the case that does not hold.
fn broken(what: impl std::fmt::Display) -> Failure {
    Ending::Violation.says(what)
}
