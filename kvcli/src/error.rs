//! How a call can fail. The variants are what a caller must tell apart: may I simply try again, or must I think first?

use std::io;

use wire::client::RejectedReason;
use wire::limits::{KEY_LEN_MAX, VALUE_LEN_MAX};

use crate::reason::Tried;
use crate::token::Token;

/// How a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClerkError {
    /// It did not take effect, and no attempt of it ever will. Safe to try again.
    #[error("not done: {}", last_words(endpoints))]
    NotDone {
        /// Every endpoint tried, and why it did not help.
        endpoints: Vec<Tried>,
    },
    /// It may have taken effect, or may yet.
    #[error("unknown, it may have happened: {}", last_words(endpoints))]
    Unknown {
        /// Settles the call, at most once in all. `None`: its session is gone, so that only looking at the key can tell.
        resume: Option<Box<Token>>,
        /// Every endpoint tried, and why it did not help.
        endpoints: Vec<Tried>,
    },
    /// A scan had begun, and the node that kept its point in time does not go on. What came before is good; the rest takes a new scan.
    #[error("the scan is lost: {}", last_words(endpoints))]
    ScanLost {
        /// The node, and why it did not go on. None: the connection was gone when the next page was asked for.
        endpoints: Vec<Tried>,
    },
    /// Every endpoint that answered refuses to talk to us: another cluster, or not its port for clients.
    #[error("refused: {message}")]
    Refused {
        /// What the last of them said.
        message: String,
        /// The token it was to settle: still good, at its own cluster.
        resume: Option<Box<Token>>,
        /// Every endpoint tried, and why it did not help.
        endpoints: Vec<Tried>,
    },
    /// Never done, however often it is tried.
    #[error("{}", rejected(*reason))]
    Rejected {
        /// Why.
        reason: RejectedReason,
    },
    /// This machine failed us.
    #[error("{doing}: {source}")]
    Local {
        /// What we were trying to do.
        doing: &'static str,
        /// How that failed.
        source: io::Error,
    },
}

impl ClerkError {
    /// Every endpoint tried, and why it did not help.
    pub fn endpoints(&self) -> &[Tried] {
        match self {
            ClerkError::NotDone { endpoints } | ClerkError::ScanLost { endpoints } => endpoints,
            ClerkError::Unknown { endpoints, .. } | ClerkError::Refused { endpoints, .. } => endpoints,
            ClerkError::Rejected { .. } | ClerkError::Local { .. } => &[],
        }
    }

    /// What settles the call, if it is not settled.
    pub fn resume(&self) -> Option<&Token> {
        match self {
            ClerkError::Unknown { resume, .. } | ClerkError::Refused { resume, .. } => resume.as_deref(),
            ClerkError::NotDone { .. } | ClerkError::ScanLost { .. } | ClerkError::Rejected { .. } | ClerkError::Local { .. } => None,
        }
    }
}

fn last_words(endpoints: &[Tried]) -> String {
    if endpoints.is_empty() {
        return "no endpoint was asked".into();
    }
    endpoints.iter().map(Tried::to_string).collect::<Vec<_>>().join("; ")
}

fn rejected(reason: RejectedReason) -> String {
    match reason {
        RejectedReason::KeyEmpty => "rejected: the key is empty".into(),
        RejectedReason::KeyTooLong => format!("rejected: the key is longer than {KEY_LEN_MAX} bytes"),
        RejectedReason::ValueTooLong => format!("rejected: the value is, or would become, longer than {VALUE_LEN_MAX} bytes"),
        RejectedReason::Version => "rejected: the node speaks another version of the protocol".into(),
        RejectedReason::Sequence => "rejected: the session has moved past this call".into(),
    }
}
