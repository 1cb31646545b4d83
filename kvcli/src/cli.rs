//! The command line, as clap knows it. What scripts rely on stands in docs/COMMANDS.md.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use kvcli::Token;
use kvcli::bench::BenchArgs;
use kvcli::demo::DemoArgs;

use crate::value::Source;

const TEMPLATE: &str = "\
{about}

{usage-heading} {usage}

Data:
  put KEY [VALUE]      write a value (also: set)
  append KEY [VALUE]   add to the end of a value
  get KEY              print a value
  delete KEY           remove a key (also: del, rm)
  cas KEY [VALUE]      write a value if the key is as expected
  scan [PREFIX]        print keys and values in order (also: ls)
  dump                 print everything, for load
  load [FILE]          write many keys and values

Cluster:
  status               how the cluster is, member by member
  wait                 wait until it serves

Tools:
  bench                how fast it is, and what a failover costs its clients
  shell                a command per line, over one connection
  demo                 start three nodes, try them, kill the leader, clean up

Options:
{options}{after-help}
";

const AFTER_HELP: &str = "
VALUE is literal. Left out, or `-`: all bytes of standard input. One that could be an option goes behind `--`.

Exit codes: 0 done; 1 no (missing key, lost cas, not healthy); 2 usage; 3 not done, safe to retry; 4 unknown, the write may have happened;
5 refused (another cluster); 6 rejected (too large, empty key); 74 local I/O; 130 interrupted; 141 closed pipe.

Examples:
  kvcli put greeting hello
  kvcli --endpoints db1,db2,db3 status
  kvcli COMMAND --help";

/// The version, and the commit if it was built from one.
static VERSION: LazyLock<String> = LazyLock::new(|| match option_env!("KVCLI_COMMIT") {
    Some(commit) => format!("{} ({commit})", env!("CARGO_PKG_VERSION")),
    None => env!("CARGO_PKG_VERSION").into(),
});

/// Read and write a kvraft cluster, and see how it is.
#[derive(Parser, Debug)]
#[command(name = "kvcli", version = VERSION.as_str(), help_template = TEMPLATE, after_help = AFTER_HELP, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command, before or after it.
#[derive(Args, Clone, Debug)]
pub(crate) struct Global {
    /// Where to begin; the other members are learned from the first that answers [env: KVCLI_ENDPOINTS] [default: 127.0.0.1:7117].
    #[arg(long, global = true, value_name = "HOST:PORT,...")]
    pub(crate) endpoints: Option<String>,
    /// Bounds one request, all retries included: 300ms, 5s, 1m [env: KVCLI_TIMEOUT] [default: 5s; wait: 30s].
    #[arg(long, global = true, value_name = "TIME")]
    pub(crate) timeout: Option<String>,
    /// How results look [env: KVCLI_OUTPUT] [default: table on a terminal; else raw for get, plain for the others].
    #[arg(short, long, global = true, value_name = "MODE")]
    pub(crate) output: Option<String>,
    /// Settle the write, or go on with the load, that ended with this token: at most once in all. The command must be as printed.
    #[arg(long, global = true, value_name = "TOKEN")]
    pub(crate) resume: Option<Token>,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Write VALUE under KEY, and wait until a majority has it on disk. Exits 4 if the answer was lost on the way back.
    #[command(visible_alias = "set", after_help = "Examples:\n  kvcli put greeting hello\n  kvcli put config < config.json")]
    Put(Write),
    /// Add VALUE to the end of what KEY holds (a missing key is an empty value), and wait until a majority has it on disk.
    #[command(after_help = "Examples:\n  kvcli append log 'one more line'\n  date | kvcli append log -")]
    Append(Write),
    /// Print what KEY holds, after every write that finished before. Waits for a majority. Exits 1 if there is no such key.
    #[command(after_help = "Examples:\n  kvcli get greeting\n  kvcli get -o json greeting")]
    Get {
        /// Any bytes, at most 64 KiB.
        key: OsString,
        /// Do not wait: any node says what it has, possibly old, and how old on standard error.
        #[arg(long)]
        stale: bool,
    },
    /// Remove KEY, and wait until a majority has that on disk.
    #[command(visible_aliases = ["del", "rm"], after_help = "Examples:\n  kvcli delete greeting\n  kvcli delete --must-exist greeting || echo 'it was not there'")]
    Delete {
        /// Any bytes, at most 64 KiB.
        key: OsString,
        /// Exit 1 if there was no such key.
        #[arg(long)]
        must_exist: bool,
    },
    /// Write VALUE under KEY if the key is as expected, and wait until a majority has it on disk. Exits 1 if it is not: nothing is changed.
    #[command(after_help = "Examples:\n  kvcli cas --absent lock \"$HOSTNAME\"\n  kvcli cas counter --expect 41 42")]
    Cas {
        #[command(flatten)]
        expected: Expected,
        #[command(flatten)]
        write: Write,
    },
    /// Print keys and values in byte order, as they all were at one point in time, however many. Waits for a majority first.
    #[command(visible_alias = "ls", after_help = "Examples:\n  kvcli scan user/\n  kvcli ls --keys-only --from a --to b --limit 10")]
    Scan(ScanArgs),
    /// Print all keys and values in byte order, as they all were at one point in time, in lines that `load` reads. Waits for a majority first.
    ///
    /// A line is the key, a tab, and the value; or, where those bytes would not survive that, a JSON document. On a terminal: as scan.
    #[command(after_help = "Examples:\n  kvcli dump > backup.tsv\n  kvcli dump -o jsonl | jq -r .key")]
    Dump {
        /// Do not wait: any node says what it has, possibly old, and how old on standard error.
        #[arg(long)]
        stale: bool,
    },
    /// Write a key and its value for each line of FILE, up to 64 at a time, and wait until a majority has them all on disk.
    ///
    /// A line is the key, a tab, and the value up to the line feed: any bytes, no escapes. A line that begins with `{` is JSON: key or
    /// key_b64, value or value_b64. Lines with the same key keep their order. If it ends early, it says with which line to go on.
    #[command(after_help = "Examples:\n  kvcli load backup.tsv\n  kvcli --endpoints old dump | kvcli --endpoints new load")]
    Load(LoadArgs),
    /// Ask every member how it is; waits for none longer than it takes to call it unreachable. Exits 0 healthy, 1 not, 3 nobody answers.
    #[command(after_help = "Examples:\n  kvcli status --watch\n  kvcli status -o json | jq -r .verdict")]
    Status {
        /// Again every second, until Ctrl-C (130).
        #[arg(long)]
        watch: bool,
    },
    /// Wait until a leader serves. Exits 3 if none does within the timeout (30s).
    #[command(after_help = "Examples:\n  kvcli wait\n  kvcli wait --all --timeout 2m")]
    Wait {
        /// And until every member answers and has caught up.
        #[arg(long)]
        all: bool,
    },
    /// Measure the cluster: many clients on one thread, each asking for the next thing when it has the last. Exits 1 on any error.
    #[command(after_help = "Examples:\n  kvcli bench --op get --clients 256\n  kvcli bench --clients 16 --failover --seconds 30 --json")]
    Bench(BenchArgs),
    /// Read commands from standard input, one per line, without the name of the program; one connection serves them all.
    ///
    /// On a terminal with history and completion. Otherwise it stops at the first command that exits with more than 1, and exits so.
    #[command(after_help = "Examples:\n  kvcli shell\n  kvcli shell < commands.txt")]
    Shell,
    /// Start three nodes on this machine, try them, kill the leader while clients write, and clean up. Needs no root and no fixed port.
    #[command(after_help = "Examples:\n  kvcli demo\n  kvcli demo --keep ./cluster")]
    Demo(DemoArgs),
}

/// A write of a value.
#[derive(Args, Debug)]
pub(crate) struct Write {
    /// Any bytes, at most 64 KiB.
    pub(crate) key: OsString,
    /// Any bytes, at most 1 MiB. Left out, or `-`: all of standard input, nothing added or removed.
    #[arg(allow_hyphen_values = true, conflicts_with = "file")]
    pub(crate) value: Option<OsString>,
    /// The value is the content of FILE.
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// The value is VALUE itself, even if that is `-`.
    #[arg(long, requires = "value", conflicts_with = "file")]
    pub(crate) literal: bool,
}

/// What a cas expects; one of these.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub(crate) struct Expected {
    /// KEY holds exactly this.
    #[arg(long, value_name = "OLD", allow_hyphen_values = true)]
    pub(crate) expect: Option<OsString>,
    /// KEY is at this version: `get -o json` tells.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) version: Option<u64>,
    /// There is no such key.
    #[arg(long)]
    pub(crate) absent: bool,
}

/// What a scan is for.
#[derive(Args, Debug)]
pub(crate) struct ScanArgs {
    /// Only keys that begin so.
    pub(crate) prefix: Option<OsString>,
    /// Only keys from this one on.
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    pub(crate) from: Option<OsString>,
    /// Only keys before this one.
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    pub(crate) to: Option<OsString>,
    /// At most so many.
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,
    /// Leave the values out.
    #[arg(long)]
    pub(crate) keys_only: bool,
    /// Do not wait: any node says what it has, possibly old, and how old on standard error.
    #[arg(long)]
    pub(crate) stale: bool,
}

/// What to load.
#[derive(Args, Debug)]
pub(crate) struct LoadArgs {
    /// Left out, or `-`: standard input.
    pub(crate) file: Option<PathBuf>,
    /// Begin with this line: where an earlier load ended, as it said. If it said `finish safely with`, with its token, too.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) from_line: u64,
}

impl LoadArgs {
    pub(crate) fn reads_stdin(&self) -> bool {
        self.file.as_ref().is_none_or(|file| file.as_os_str() == "-")
    }
}

/// How results look.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Mode {
    /// Aligned, for people.
    Table,
    /// Tab-separated, no header, control bytes escaped.
    Plain,
    /// Value bytes only.
    Raw,
    /// One JSON document; errors too, on stderr.
    Json,
    /// One JSON document per line; errors too, on stderr.
    Jsonl,
}

impl Command {
    /// As it is typed.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Command::Put(_) => "put",
            Command::Append(_) => "append",
            Command::Get { .. } => "get",
            Command::Delete { .. } => "delete",
            Command::Cas { .. } => "cas",
            Command::Scan(_) => "scan",
            Command::Dump { .. } => "dump",
            Command::Load(_) => "load",
            Command::Status { .. } => "status",
            Command::Wait { .. } => "wait",
            Command::Bench(_) => "bench",
            Command::Shell => "shell",
            Command::Demo(_) => "demo",
        }
    }

    /// Whether the command has something to show in this mode. Decided before anything is done.
    pub(crate) fn takes(&self, mode: Mode) -> bool {
        match (self, mode) {
            (Command::Get { .. } | Command::Shell, _) => true,
            (_, Mode::Raw) => false, // only a value is raw
            (Command::Demo(_), Mode::Json | Mode::Jsonl) => false,
            _ => true,
        }
    }

    /// Whether it takes a value, or lines, from standard input.
    pub(crate) fn reads_stdin(&self) -> bool {
        match self {
            Command::Put(write) | Command::Append(write) | Command::Cas { write, .. } => Source::of(write) == Source::Stdin,
            Command::Load(args) => args.reads_stdin(),
            _ => false,
        }
    }

    /// Whether it is one write, which a resume token can settle.
    pub(crate) fn is_write(&self) -> bool {
        matches!(self, Command::Put(_) | Command::Append(_) | Command::Delete { .. } | Command::Cas { .. })
    }
}

/// `300ms`, `5s`, `1m 30s`.
pub(crate) fn parse_timeout(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(timeout) if timeout.is_zero() => Err(format!("{text:?} is no time to wait (expected 300ms, 5s, 1m)")),
        Ok(timeout) => Ok(timeout),
        Err(_) => Err(format!("{text:?} is no time (expected 300ms, 5s, 1m)")),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_is_in_a_group_of_the_help_and_has_two_examples() {
        for command in Cli::command().get_subcommands() {
            let listed = TEMPLATE.lines().filter(|line| line.trim_start().split(' ').next() == Some(command.get_name())).count();
            assert_eq!(listed, 1, "{} in the help", command.get_name());
            let examples = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert_eq!(examples.matches("\n  ").count(), 2, "examples of {}", command.get_name());
        }
    }

    #[test]
    fn a_timeout_has_a_unit_and_is_not_zero() {
        assert_eq!(parse_timeout("300ms"), Ok(Duration::from_millis(300)));
        assert_eq!(parse_timeout("1m 30s"), Ok(Duration::from_secs(90)));
        for text in ["", "5", "0s", "-1s", "five"] {
            assert!(parse_timeout(text).unwrap_err().contains(&format!("{text:?}")), "{text}");
        }
    }
}
