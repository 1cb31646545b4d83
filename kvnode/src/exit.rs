//! How a run ends when it does not end well: an exit code of sysexits.h, and an error that names the thing, its place and the fix.

use std::fmt;
use std::process::ExitCode;

/// The codes scripts and units rely on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Exit {
    /// The command line is wrong.
    Usage = 64,
    /// The data directory is damaged.
    Corrupt = 65,
    /// Our own fault.
    Internal = 70,
    /// The disk or the network of this host failed.
    Io = 74,
    /// The command line is right and the surroundings do not fit it.
    Config = 78,
}

/// Why a command failed, for `main` to print and to turn into a code.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The exit code.
    pub(crate) exit: Exit,
    /// For people.
    pub(crate) error: anyhow::Error,
}

impl Exit {
    /// A failure with this code.
    pub(crate) fn because(self, error: impl Into<anyhow::Error>) -> Failure {
        Failure { exit: self, error: error.into() }
    }

    /// A failure with this code and a message.
    pub(crate) fn says(self, message: impl fmt::Display) -> Failure {
        Failure { exit: self, error: anyhow::anyhow!("{message}") }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.error)
    }
}

/// Gives the errors of a fallible step an exit code and says what was tried.
pub(crate) trait OrExit<T> {
    /// `self`, or a failure with this code: "`doing`: the error".
    fn or_exit<C: fmt::Display + Send + Sync + 'static>(self, exit: Exit, doing: impl FnOnce() -> C) -> Result<T, Failure>;
}

impl<T, E: Into<anyhow::Error>> OrExit<T> for Result<T, E> {
    fn or_exit<C: fmt::Display + Send + Sync + 'static>(self, exit: Exit, doing: impl FnOnce() -> C) -> Result<T, Failure> {
        self.map_err(|error| Failure { exit, error: error.into().context(doing()) })
    }
}

/// A result, for stdout. A reader that is gone does not make the result wrong.
pub(crate) fn say(line: impl fmt::Display) {
    use std::io::Write;
    let _ = writeln!(std::io::stdout(), "{line}");
}
