//! `kvcli bench`: what a cluster does under load, and what its clients see of a failover.
//!
//! Every client has a connection and a session of its own and keeps so many calls in flight: the next begins when one ends (a closed
//! loop, so that a slow cluster is asked less, not later). All of them live on one thread: `clients` turns one poll over all sockets
//! into events for one sans-I/O [`Core`](crate::core::Core) per client, `load` decides what is asked next, `meter` keeps the figures.
//! The cores are those of every other command: sessions, retries and outcomes are the same, and a call through one costs about as much
//! as the encoding of its frames, far less than its share of the system calls.

mod clients; // sockets and cores
mod load; // what is asked, and what came of it
mod meter; // figures

use std::os::fd::BorrowedFd;
use std::time::Duration;

use clap::ValueEnum;
use wire::limits::{SESSION_WINDOW, VALUE_LEN_MAX};

use self::clients::{Clients, TurnEnd};
use self::load::Load;
pub use self::meter::Report;
use crate::error::ClerkError;

/// How a bench is asked for.
#[derive(Clone, PartialEq, Eq, Debug, clap::Args)]
pub struct BenchArgs {
    /// What every client does.
    #[arg(long, value_enum, default_value_t = BenchOp::Put)]
    pub op: BenchOp,
    /// Clients, each with a connection and a session of its own.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub clients: u32,
    /// Calls that each client keeps in flight.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::try_from(SESSION_WINDOW).unwrap_or(1)))]
    pub in_flight: u32,
    /// Size of a value, or of what an append adds: 256, 64KiB.
    #[arg(long, value_name = "SIZE", default_value = "256", value_parser = parse_size)]
    pub value_size: usize,
    /// Keys, `bench/0000000000` and so on, each as likely as any other.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=9_999_999_999))]
    pub keys: u64,
    /// Measured for so long.
    #[arg(long, value_name = "S", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub seconds: u32,
    /// Not measured before.
    #[arg(long, value_name = "S", default_value_t = 2, value_parser = clap::value_parser!(u32).range(0..=86_400))]
    pub warmup: u32,
    /// Somebody kills leaders meanwhile: what fails is tried again, what is unknown is settled, and only what cannot be is an error.
    #[arg(long)]
    pub failover: bool,
    /// As `-o json`.
    #[arg(long)]
    pub json: bool,
}

/// What a client does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum BenchOp {
    /// Write.
    Put,
    /// Read, linearizably.
    Get,
    /// Add to the end of values that are emptied first.
    Append,
    /// Write or read, as likely one as the other.
    Mixed,
}

impl BenchOp {
    /// As it is typed.
    pub fn name(self) -> &'static str {
        match self {
            BenchOp::Put => "put",
            BenchOp::Get => "get",
            BenchOp::Append => "append",
            BenchOp::Mixed => "mixed",
        }
    }
}

/// Why a bench has no figures.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The keys could not be written before the load began.
    #[error(transparent)]
    Prepare(#[from] ClerkError),
    /// Somebody wants it to end.
    #[error("interrupted")]
    Interrupted,
}

/// Runs one. Every call, the retries of the session rules included, is over within `timeout`; something to read at `interrupt` ends it.
pub fn run(args: &BenchArgs, endpoints: &[String], timeout: Duration, interrupt: BorrowedFd<'_>) -> Result<Report, BenchError> {
    let mut load = Load::new(args, timeout);
    let mut clients = Clients::new(args.clients as usize, endpoints, interrupt).map_err(local("preparing the clients"))?;
    load.begin(&mut clients);
    while !load.is_over() {
        match clients.turn(&mut load).map_err(local("waiting for the network"))? {
            TurnEnd::Interrupted => return Err(BenchError::Interrupted),
            TurnEnd::Done => {}
        }
    }
    Ok(load.into_report()?)
}

fn local(doing: &'static str) -> impl FnOnce(std::io::Error) -> ClerkError {
    move |source| ClerkError::Local { doing, source }
}

fn parse_size(text: &str) -> Result<usize, String> {
    let size: bytesize::ByteSize = text.parse().map_err(|_| format!("{text:?} is no size (expected 256, 64KiB)"))?;
    match usize::try_from(size.as_u64()) {
        Ok(len) if len <= VALUE_LEN_MAX => Ok(len),
        _ => Err(format!("a value has at most {VALUE_LEN_MAX} bytes")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_has_a_unit_if_it_wants_one_and_fits_into_a_value() {
        assert_eq!(
            [parse_size("0"), parse_size("256"), parse_size("64KiB"), parse_size("1MiB")],
            [Ok(0), Ok(256), Ok(65_536), Ok(1 << 20)]
        );
        assert!(parse_size("2MiB").unwrap_err().contains("1048576"));
        assert!(parse_size("many").unwrap_err().contains("\"many\""));
    }
}
