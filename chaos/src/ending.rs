//! How a command ends: the exit codes that scripts rely on, and the errors that lead to some of them.

use std::fmt;
use std::io;
use std::process::ExitCode;

/// Not every code is reached by every command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ending {
    /// What was looked for did not happen, and what was needed to see it did.
    Passed = 0,
    /// Something that must never happen has happened.
    Violation = 1,
    /// The checker gave up.
    Unknown = 2,
    /// Something that must happen in time has not.
    Late = 3,
    /// Nothing that could have failed was exercised.
    Inconclusive = 4,
    /// This host cannot do what was asked for.
    Unsupported = 5,
    /// The command line, or a file that it names, is wrong.
    Usage = 64,
    /// Our own fault.
    Internal = 70,
    /// A file or the terminal failed.
    Io = 74,
    /// Ctrl-C, or SIGTERM.
    Interrupted = 130,
    /// Whoever read our output has gone.
    ClosedPipe = 141,
}

impl From<Ending> for ExitCode {
    fn from(ending: Ending) -> ExitCode {
        ExitCode::from(ending as u8)
    }
}

/// Why a command could not do its work.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) ending: Ending,
    error: anyhow::Error,
}

impl Ending {
    /// A failure that ends so, in words.
    pub(crate) fn says(self, message: impl fmt::Display) -> Failure {
        Failure { ending: self, error: anyhow::anyhow!("{message}") }
    }
}

impl Failure {
    /// Several in one, which ends as the first of them; `None`: there are none.
    pub(crate) fn of_all(failures: Vec<Failure>) -> Option<Failure> {
        let first = failures.first()?.ending;
        let words: Vec<String> = failures.iter().map(Failure::to_string).collect();
        Some(first.says(words.join("; ")))
    }
}

/// Of output.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        let ending = if error.kind() == io::ErrorKind::BrokenPipe { Ending::ClosedPipe } else { Ending::Io };
        Failure { ending, error: anyhow::Error::new(error).context("cannot write the output") }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.error)
    }
}
