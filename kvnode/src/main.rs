//! `kvnode`: a replica of kvraft, as a program. The replica itself is the library; here are its command line, its sockets, its signals
//! and its log.

mod address; // HOST:PORT
mod cli; // the command line
mod dev; // `kvnode dev`
mod dump; // `kvnode dump`
mod exit; // exit codes
mod holder; // who else has a port
mod init; // `kvnode init`
mod logging; // lines for people
mod notify; // words for the service manager
mod run; // `kvnode run`
mod server; // the loop
mod signals; // SIGTERM and SIGINT

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};
use exit::{Exit, Failure};

fn main() -> ExitCode {
    exit_70_on_panic();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let exit = if error.use_stderr() { Exit::Usage.into() } else { ExitCode::SUCCESS };
            // Nobody left to tell.
            let _ = error.print();
            return exit;
        }
    };
    let outcome = match cli.command {
        None => {
            eprint!("{}", cli::HINT);
            return Exit::Usage.into();
        }
        Some(Command::Init(args)) => init::init(&args),
        Some(Command::Run(args)) => run::run(&args),
        Some(Command::Dev(args)) => dev::dev(&args),
        Some(Command::Dump(args)) => dump::dump(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            complain(&failure);
            failure.exit.into()
        }
    }
}

fn complain(failure: &Failure) {
    use std::io::Write;
    // A closed stderr must not change the exit code.
    let _ = writeln!(std::io::stderr(), "kvnode: {failure}");
}

/// A broken invariant of ours stops the process, with its own exit code.
fn exit_70_on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        use std::io::Write;
        let _ = writeln!(std::io::stderr(), "kvnode: this is a bug: {panic}");
        std::process::exit(Exit::Internal as i32);
    }));
}
