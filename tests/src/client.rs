//! A Clerk, with the answers that the tests tell apart.

use std::time::Duration;

use kvcli::{Clerk, ClerkError, Options};

/// How a call failed. Any other way is a failure of the test.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Failed {
    /// It did not happen and never will.
    NotDone(String),
    /// It may have happened, or may yet.
    Unknown(String),
}

/// A client of one cluster.
pub struct Client(Clerk);

impl Client {
    /// With these endpoints, separated by commas, and this timeout for every call.
    pub fn new(endpoints: &str, timeout: Duration) -> Client {
        let options = Options { timeout, ..Options::default() };
        Client(Clerk::new(endpoints.split(','), options).expect("a clerk"))
    }

    /// Appends; the key's version afterwards.
    pub fn append(&mut self, key: &str, value: &str) -> Result<u64, Failed> {
        self.0.append(key, value).map(|written| written.version).map_err(failed)
    }

    /// Puts; the key's version afterwards.
    pub fn put(&mut self, key: &str, value: impl Into<Vec<u8>>) -> Result<u64, Failed> {
        self.0.put(key, value).map(|written| written.version).map_err(failed)
    }

    /// Reads.
    pub fn get(&mut self, key: &str) -> Result<Option<Vec<u8>>, Failed> {
        self.0.get(key).map(|reading| reading.value.map(|value| value.value)).map_err(failed)
    }
}

fn failed(error: ClerkError) -> Failed {
    match error {
        ClerkError::NotDone { .. } | ClerkError::ScanLost { .. } => Failed::NotDone(error.to_string()),
        ClerkError::Unknown { .. } => Failed::Unknown(error.to_string()),
        ClerkError::Refused { .. } | ClerkError::Rejected { .. } | ClerkError::Local { .. } => panic!("{error}"),
    }
}
