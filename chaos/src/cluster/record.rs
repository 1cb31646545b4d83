//! `faults.jsonl`: what was broken, when, and what that did. A line when a fault begins, one when it ends.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::time::Instant;

use serde::Serialize;

use crate::fault::effect::Effect;
use crate::host::network::Backend;
use crate::journal;

/// Its name in a run's directory.
pub(crate) const FILE: &str = "faults.jsonl";

#[derive(Debug)]
pub(super) struct Record {
    file: File,
    epoch: Instant,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Event {
    Begin,
    End,
}

#[derive(Serialize)]
pub(super) struct Line<'a> {
    pub(super) event: Event,
    pub(super) id: u64,
    /// As it was asked for: `pause leader`.
    pub(super) fault: String,
    /// Whom that meant.
    pub(super) targets: &'a [String],
    /// Directed links that it broke.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) links: Option<usize>,
    /// What broke them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) backend: Option<Backend>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) effect: Option<Effect>,
}

#[derive(Serialize)]
struct Timed<'a> {
    at_ns: u64,
    #[serde(flatten)]
    line: &'a Line<'a>,
}

impl Record {
    pub(super) fn open(dir: &Path, epoch: Instant) -> io::Result<Record> {
        let file = OpenOptions::new().create(true).append(true).open(dir.join(FILE))?;
        Ok(Record { file, epoch })
    }

    pub(super) fn write(&mut self, at: Instant, line: &Line<'_>) -> io::Result<()> {
        let at_ns = u64::try_from(at.saturating_duration_since(self.epoch).as_nanos()).unwrap_or(u64::MAX);
        journal::append(&mut self.file, &serde_json::to_string(&Timed { at_ns, line })?)
    }
}
