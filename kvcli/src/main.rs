//! `kvcli`: what it does is in `commands`; what that means to a script is the table of exit codes here.

mod cli; // the command line
mod commands; // what each command does
mod failure; // how a command can end without success
mod feed; // lines of a file, read while others are written
mod json; // the JSON that scripts rely on
mod lending; // one clerk for many commands
mod lines; // what dump writes and load reads
mod load; // many writes in one go
mod output; // results, in every mode
mod quote; // bytes as text
mod running; // a call, from a person's point of view
mod scanning; // many keys, as a stream
mod settings; // what holds for the whole run
mod shell; // a command per line
mod value; // where a value comes from
mod watching; // status, again and again

use std::ffi::OsString;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use clap::Parser;
use kvcli::ClerkError;

use crate::cli::{Cli, Command};
use crate::failure::Failure;
use crate::lending::Clerks;
use crate::settings::Settings;

fn main() -> ExitCode {
    exit_70_on_panic();
    ExitCode::from(match Cli::try_parse() {
        Ok(cli) => run_command(cli, &Clerks::default()),
        Err(error) => not_a_command(&error, std::env::args_os().skip(1), is_json(None)),
    })
}

/// A broken invariant of ours ends the process with its own exit code, on whichever thread: never with one that says something of a write.
fn exit_70_on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        let _ = writeln!(io::stderr(), "kvcli: this is a bug: {panic}"); // nobody is left to tell
        std::process::exit(70);
    }));
}

/// Runs one command and complains if it fails; returns the exit code.
fn run_command(cli: Cli, clerks: &Clerks) -> u8 {
    let json = is_json(cli.global.output.as_deref()) || matches!(&cli.command, Command::Bench(args) if args.json);
    let global = cli.global.clone();
    let settings = Settings::new(cli.global, &cli.command, |name| std::env::var_os(name));
    let settings = settings.map(|settings| Settings { clerks: clerks.clone(), ..settings });
    let result = settings.and_then(|settings| match &cli.command {
        Command::Demo(args) => Ok(kvcli::demo::run(args)),
        Command::Shell => shell::run(&global),
        _ => commands::run(cli.command, &settings).map(|()| 0),
    });
    let code = match &result {
        Ok(code) => *code,
        Err(failure) => exit_code(failure),
    };
    if let Err(failure) = &result {
        complain(failure, code, json);
    }
    code
}

/// The one place where an end becomes a number.
fn exit_code(failure: &Failure) -> u8 {
    match failure {
        Failure::No(_) | Failure::NotHealthy(_) => 1,
        Failure::Usage(_) | Failure::OtherInput(_) => 2,
        Failure::Clerk { error, .. } => match error {
            ClerkError::NotDone { .. } | ClerkError::ScanLost { .. } => 3,
            ClerkError::Unknown { .. } => 4,
            ClerkError::Refused { .. } => 5,
            ClerkError::Rejected { .. } => 6,
            ClerkError::Local { .. } => 74,
        },
        Failure::Lines { why, .. } => exit_code(why),
        Failure::Interrupted { .. } | Failure::Stopped => 130,
        Failure::Output(error) if error.kind() == ErrorKind::BrokenPipe => 141,
        Failure::Local(_) | Failure::Output(_) => 74,
    }
}

fn complain(failure: &Failure, code: u8, json: bool) {
    if code == 141 {
        return; // whoever read us has gone, and knows it
    }
    let text = if json { serde_json::to_string(&failure.json(code)).unwrap_or_default() } else { failure.text() };
    if !text.is_empty() {
        let _ = writeln!(io::stderr(), "{text}"); // nobody is left to tell
    }
}

/// Help and version go to standard output with 0, all else to standard error with 2.
fn not_a_command(error: &clap::Error, args: impl IntoIterator<Item = OsString>, json: bool) -> u8 {
    let is_error = error.use_stderr();
    if is_error && wants_json(args).unwrap_or(json) {
        let message = error.render().to_string();
        complain(&Failure::Usage(message.trim_end().trim_start_matches("error: ").into()), 2, true);
        return 2;
    }
    match error.print() {
        Err(error) if !is_error => {
            let failure = Failure::Output(error);
            let code = exit_code(&failure);
            complain(&failure, code, json);
            code
        }
        _ => u8::from(is_error) * 2,
    }
}

/// Whether errors are to be JSON.
fn is_json(output: Option<&str>) -> bool {
    let variable = std::env::var("KVCLI_OUTPUT").ok();
    output.or(variable.as_deref()).is_some_and(|mode| mode == "json" || mode == "jsonl")
}

/// What the command line says of that, when nothing else on it makes sense.
fn wants_json(args: impl IntoIterator<Item = OsString>) -> Option<bool> {
    let args: Vec<String> = args.into_iter().map(|arg| arg.to_string_lossy().into_owned()).take_while(|arg| arg != "--").collect();
    let separate = args.windows(2).filter(|pair| pair[0] == "-o" || pair[0] == "--output").map(|pair| pair[1].as_str());
    let joined = args.iter().filter_map(|arg| arg.strip_prefix("--output=").or(arg.strip_prefix("-o").filter(|rest| !rest.is_empty())));
    let flag = separate.chain(joined).last().map(|mode| mode.trim_start_matches('=').to_string());
    flag.map(|mode| is_json(Some(&mode)))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    #[test]
    fn a_panic_ends_with_70_and_is_called_a_bug() {
        const CHILD: &str = "KVCLI_TEST_PANICS";
        if std::env::var_os(CHILD).is_some() {
            super::exit_70_on_panic();
            panic!("as this test wants it");
        }
        let mut again = Command::new(std::env::current_exe().unwrap());
        again.args(["--exact", "tests::a_panic_ends_with_70_and_is_called_a_bug", "--nocapture"]).env(CHILD, "1");
        let output = again.output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(70), "{stderr}");
        assert!(stderr.contains("kvcli: this is a bug") && stderr.contains("as this test wants it"), "{stderr}");
    }
}
