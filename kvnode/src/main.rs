//! `kvnode`: a replica of kvraft, as a program. The replica itself is the library; here are its command line, its sockets, its signals
//! and its log.

mod address; // HOST:PORT
mod apply_trace; // `--apply-trace`
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

#[cfg(test)]
mod tests {
    use std::process::Command;

    #[test]
    fn a_panic_ends_with_70_and_is_called_a_bug() {
        const CHILD: &str = "KVNODE_TEST_PANICS";
        if std::env::var_os(CHILD).is_some() {
            super::exit_70_on_panic();
            panic!("as this test wants it");
        }
        let mut again = Command::new(std::env::current_exe().unwrap());
        again.args(["--exact", "tests::a_panic_ends_with_70_and_is_called_a_bug", "--nocapture"]).env(CHILD, "1");
        let output = again.output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(70), "{stderr}");
        assert!(stderr.contains("kvnode: this is a bug") && stderr.contains("as this test wants it"), "{stderr}");
    }
}
