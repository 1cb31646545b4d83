//! How a command can end without success, and how that is said: for people, and as JSON.

use std::fmt::Write as _;
use std::io;

use kvcli::{ClerkError, Token};

use crate::json;
use crate::quote::escape;

/// How a command can end without success.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A definite "no".
    No(String),
    /// So says `status`, with a verdict that stands on standard output already.
    NotHealthy(String),
    /// Not a command that we know, or not in this way.
    Usage(String),
    /// The clerk gave up.
    Clerk {
        /// Why.
        error: ClerkError,
        /// The command that settles the write, if it is unknown and can be settled.
        finish: Option<String>,
        /// What may help.
        hint: Option<String>,
    },
    /// Ctrl-C, before the answer came.
    Interrupted {
        /// What the clerk says of the call then.
        error: ClerkError,
        /// The command that settles the write, if it is unknown.
        finish: Option<String>,
    },
    /// Ctrl-C, and nothing is left to settle: whoever pressed it knows.
    Stopped,
    /// A load ended early.
    Lines {
        /// All lines up to this one are done.
        done: u64,
        /// What it, or a load before it, has left on its way.
        unsettled: Option<Unsettled>,
        /// What ended it.
        why: Box<Failure>,
    },
    /// A load was to go on, and this line is not the one that it ended with.
    OtherInput(u64),
    /// A file, or standard input, could not be read, or the system refused something else.
    Local(anyhow::Error),
    /// Standard output could not be written.
    Output(io::Error),
}

/// How a load goes on without harm from what is still on its way.
#[derive(Debug)]
pub(crate) struct Unsettled {
    pub(crate) token: Token,
    /// The command.
    pub(crate) line: String,
    /// Which needs the same bytes again.
    pub(crate) reads_stdin: bool,
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Output(error)
    }
}

impl Failure {
    /// For people: what happened, every endpoint tried and why it did not help, and what to do. Nothing if they know.
    pub(crate) fn text(&self) -> String {
        if let Failure::Lines { done, unsettled, why } = self {
            let account = match unsettled {
                None => lines_done(*done),
                Some(Unsettled { line, reads_stdin: false, .. }) => format!("{done} lines done\nfinish safely with: {line}"),
                Some(Unsettled { line, .. }) => format!("{done} lines done; this reads the same input again\nfinish safely with: {line}"),
            };
            return format!("{}\n{account}", why.text());
        }
        let mut text = format!("kvcli: {}", self.message());
        let (error, finish, hint) = match self {
            Failure::NotHealthy(_) | Failure::Stopped => return String::new(),
            Failure::Clerk { error, finish, hint } => (error, finish, hint.as_ref()),
            Failure::Interrupted { error, finish } => (error, finish, None),
            Failure::No(_)
            | Failure::Usage(_)
            | Failure::Lines { .. }
            | Failure::OtherInput(_)
            | Failure::Local(_)
            | Failure::Output(_) => {
                return text;
            }
        };
        for tried in error.endpoints() {
            let _ = write!(text, "\n  {}", escape(tried.to_string().as_bytes())); // writing to a String does not fail
        }
        if let Some(hint) = hint {
            let _ = write!(text, "\n{hint}");
        }
        if let Some(finish) = finish {
            let _ = write!(text, "\nfinish safely with: {finish}");
        }
        text
    }

    /// For programs.
    pub(crate) fn json(&self, code: u8) -> json::Error {
        if let Failure::Lines { done, unsettled, why } = self {
            let error = why.json(code);
            let account = match unsettled {
                None => lines_done(*done),
                Some(Unsettled { line, .. }) => format!("{done} lines done, finish safely with: {line}"),
            };
            let resume = unsettled.as_ref().map(|unsettled| unsettled.token.to_string());
            return json::Error { message: format!("{}; {account}", error.message), resume, ..error };
        }
        let (error, hint) = match self {
            Failure::Clerk { error, hint, .. } => (Some(error), hint.as_deref()),
            Failure::Interrupted { error, .. } => (Some(error), None),
            _ => (None, None),
        };
        json::Error {
            code,
            message: match hint {
                Some(hint) => format!("{}; {hint}", self.message()),
                None => self.message(),
            },
            outcome: self.outcome(),
            resume: error.and_then(ClerkError::resume).map(ToString::to_string),
            endpoints: error.map_or(&[][..], ClerkError::endpoints).iter().map(json::Endpoint::new).collect(),
        }
    }

    fn message(&self) -> String {
        match self {
            Failure::No(message) | Failure::NotHealthy(message) | Failure::Usage(message) => message.clone(),
            Failure::Lines { why, .. } => why.message(),
            Failure::OtherInput(number) => {
                format!("--resume: line {number} is not the one that the token was made for: other input, or another --from-line")
            }
            Failure::Local(error) => format!("{error:#}"),
            Failure::Output(error) => format!("standard output: {error}"),
            Failure::Stopped => "interrupted".into(),
            Failure::Clerk { error, .. } => what_became(error),
            Failure::Interrupted { error, .. } => format!("interrupted: {}", what_became(error)),
        }
    }

    /// What became of the request.
    fn outcome(&self) -> Option<&'static str> {
        match self {
            Failure::No(_) | Failure::NotHealthy(_) => Some("no"),
            Failure::Usage(_) | Failure::OtherInput(_) | Failure::Local(_) => Some("not_done"),
            Failure::Lines { why, .. } => why.outcome(),
            Failure::Output(_) | Failure::Stopped => None, // it is done: only the answer is lost
            Failure::Clerk { error, .. } | Failure::Interrupted { error, .. } => match error {
                ClerkError::NotDone { .. } | ClerkError::ScanLost { .. } | ClerkError::Refused { resume: None, .. } => Some("not_done"),
                ClerkError::Unknown { .. } | ClerkError::Refused { resume: Some(_), .. } => Some("unknown"),
                ClerkError::Rejected { .. } => Some("rejected"),
                ClerkError::Local { .. } => None,
            },
        }
    }
}

fn lines_done(done: u64) -> String {
    format!("{done} lines done, resume with --from-line {}", done + 1)
}

fn what_became(error: &ClerkError) -> String {
    match error {
        ClerkError::NotDone { .. } => "not done, safe to retry".into(),
        ClerkError::ScanLost { .. } => "not done: the node that kept the scan's point in time does not go on; safe to retry".into(),
        ClerkError::Unknown { resume: Some(_), .. } => "unknown: the write may have happened, or may yet".into(),
        ClerkError::Unknown { resume: None, .. } => {
            "unknown: the write may have happened, and the cluster has forgotten its session: look at the key".into()
        }
        ClerkError::Refused { message, resume, .. } => {
            let token = if resume.is_some() { " (the token stays good, at its own cluster)" } else { "" };
            format!("refused: {}{token}", escape(message.as_bytes())) // a node's words
        }
        ClerkError::Rejected { .. } | ClerkError::Local { .. } => error.to_string(),
    }
}
