//! What commands and the supervisor say to each other: one JSON line each way, over a socket in the cluster's directory.

use std::fs::File;
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::path::Path;

use kvcli::words::quote;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ending::{Ending, Failure};

/// The socket's name.
pub(super) const SOCKET: &str = "control";

/// What can be asked.
#[derive(Serialize, Deserialize, Debug)]
#[serde(rename_all = "lowercase")]
pub(super) enum Request {
    /// Break something.
    Inject { words: Vec<String>, lasts_ms: Option<u64> },
    /// Undo one fault, or all.
    Heal { id: Option<u64> },
    /// How is everything?
    Status,
    /// How does one get to this host?
    Host { name: String },
    /// Stop it all.
    Down,
}

/// What is answered.
#[derive(Serialize, Deserialize, Debug)]
#[serde(rename_all = "lowercase")]
pub(super) enum Reply {
    /// It was done.
    Done(Value),
    /// It was not.
    Failed { code: u8, message: String },
}

impl Reply {
    /// As one or the other.
    pub(super) fn of(outcome: Result<Value, Failure>) -> Reply {
        match outcome {
            Ok(value) => Reply::Done(value),
            Err(failure) => Reply::Failed { code: failure.ending as u8, message: failure.to_string() },
        }
    }

    /// Back again.
    pub(super) fn outcome(self) -> Result<Value, Failure> {
        match self {
            Reply::Done(value) => Ok(value),
            Reply::Failed { code, message } => Err(ending(code).says(message)),
        }
    }
}

fn ending(code: u8) -> Ending {
    let known = [Ending::Late, Ending::Inconclusive, Ending::Unsupported, Ending::Usage, Ending::Io];
    known.into_iter().find(|ending| *ending as u8 == code).unwrap_or(Ending::Internal)
}

/// To a supervisor.
pub(super) struct Connection {
    stream: BufReader<UnixStream>,
}

impl Connection {
    /// Finds it by its directory.
    pub(super) fn to(dir: &Path) -> Result<Connection, Failure> {
        let shown = quote(dir.as_os_str());
        let none = || Ending::Usage.says(format!("no cluster is up in {shown}: `chaos up --dir {shown}` starts one"));
        let directory = File::open(dir).map_err(|_| none())?;
        // The path of a socket may not be longer than 107 bytes, that of a directory may.
        let path = format!("/proc/self/fd/{}/{SOCKET}", directory.as_raw_fd());
        let stream = UnixStream::connect(path).map_err(|error| match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => none(),
            _ => Ending::Io.says(format!("cannot talk to the cluster in {shown}: {error}")),
        })?;
        Ok(Connection { stream: BufReader::new(stream) })
    }

    /// Asks, and waits for the answer.
    pub(super) fn ask(&mut self, request: &Request) -> Result<Value, Failure> {
        let lost = |error: std::io::Error| Ending::Io.says(format!("the supervisor does not answer: {error}"));
        let mut line = serde_json::to_string(request).map_err(|error| Ending::Internal.says(error))?;
        line.push('\n');
        self.stream.get_mut().write_all(line.as_bytes()).map_err(lost)?;
        let mut answer = String::new();
        self.stream.read_line(&mut answer).map_err(lost)?;
        parse(&answer)
    }

    /// Until it has gone.
    pub(super) fn wait_for_end(mut self) {
        let _ = self.stream.read_to_end(&mut Vec::new());
    }
}

/// A reply as it travels.
pub(super) fn parse(line: &str) -> Result<Value, Failure> {
    let reply: Reply = serde_json::from_str(line).map_err(|_| Ending::Io.says("the supervisor has ended; its log is chaos.log"))?;
    reply.outcome()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_can_be_typed_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("two words");
        std::fs::create_dir(&dir).unwrap();
        let said = Connection::to(&dir).err().unwrap().to_string();
        assert!(said.contains(&format!("`chaos up --dir '{}'`", dir.display())), "{said}");
    }
}
