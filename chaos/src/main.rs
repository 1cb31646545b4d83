//! `chaos`: breaks a cluster, judges what its clients saw, and says so in words, a drawing and an exit code.

mod byhand; // `chaos up`, `inject`, `heal` and the like
mod check; // `chaos check`
mod cli; // the command line
mod cluster; // real nodes, and what is broken in them
mod ending; // exit codes
mod fault; // what can be broken, in words
mod here; // nodes of this host that somebody else started
mod host; // network namespaces, and processes in them
mod interrupt; // Ctrl-C
mod journal; // what outlives us, and how to undo it
mod lab; // `chaos lab`
mod run; // `chaos run`
mod sim; // `chaos sim`

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};
use ending::{Ending, Failure};

/// A simulated second is some five thousand allocations; with glibc's allocator they were a seventh of all instructions.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    exit_70_on_panic();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let ending = if error.use_stderr() { Ending::Usage } else { Ending::Passed };
            let _ = error.print(); // nobody left to tell
            return ending.into();
        }
    };
    let outcome = match cli.command {
        Command::Check(args) => check::check(&args),
        Command::Lab(args) => lab::lab(&args),
        Command::Run(args) => run::run(&args),
        Command::Sim(args) => sim::sim(&args),
        Command::ByHand(command) => byhand::run(command),
    };
    outcome.unwrap_or_else(|failure| complain(&failure)).into()
}

fn complain(failure: &Failure) -> Ending {
    if failure.ending != Ending::ClosedPipe {
        let _ = writeln!(std::io::stderr(), "chaos: {failure}"); // a closed stderr must not change the exit code
    }
    failure.ending
}

/// A broken invariant of ours stops the process, with its own exit code.
fn exit_70_on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        let _ = writeln!(std::io::stderr(), "chaos: this is a bug: {panic}");
        std::process::exit(Ending::Internal as i32);
    }));
}
