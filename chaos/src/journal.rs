//! The undo journal: how to undo what outlives us, written and synced *before* it is done.
//!
//! Namespaces, devices, rules inside them and mounts end with our processes, by construction. What is left for the journal is files
//! that were moved or changed, and, in case the kernel let one slip, the processes: all carry the mark of their run. What is done to
//! nodes that somebody else started does not end by itself at all.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Its name in a run's directory.
pub(crate) const FILE: &str = "undo.jsonl";
/// The environment variable that marks processes of a run.
pub(crate) const MARK: &str = "CHAOS_RUN";

/// One thing to undo. Doing so twice, or when it was never done, changes nothing.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Undo {
    /// End all processes that have this mark in their environment.
    EndMarked(String),
    /// Move it back, in place of what may be there now.
    MoveBack {
        /// Where it is.
        from: PathBuf,
        /// Where it was.
        to: PathBuf,
    },
    /// Put these bytes back.
    PutBack {
        /// Which file.
        file: PathBuf,
        /// Where in it.
        offset: u64,
        /// What was there.
        bytes: Vec<u8>,
    },
    /// Let a process go on that somebody else started.
    GoOn {
        /// Which.
        pid: i32,
        /// Another process may get its number, but not its beginning.
        begun: String,
        /// Since when it stands, by this machine's uptime; `None`: nobody has seen it stand.
        since_ms: Option<u64>,
    },
    /// Start a node that somebody else had started, unless it runs.
    Start {
        /// By systemd.
        unit: Option<String>,
        /// Where to see whether it runs.
        pid_file: Option<PathBuf>,
        /// Or by this, in a shell.
        command: Option<String>,
        /// Since when it is down, by this machine's uptime; `None`: nobody is known to have killed it.
        since_ms: Option<u64>,
    },
    /// Remove a rule of this host's firewall.
    DropRule {
        /// From where.
        chain: String,
        /// What it says.
        rule: Vec<String>,
        /// What names it.
        comment: String,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    /// It will be done; a second time: it was done.
    Begin { id: u64, undo: Undo },
    /// It was undone, or need not be.
    End { id: u64 },
}

/// Of one run.
#[derive(Debug)]
pub(crate) struct Journal {
    file: File,
    last_id: u64,
}

impl Journal {
    /// Goes on with the one in this directory, if there is one.
    pub(crate) fn open(dir: &Path) -> io::Result<Journal> {
        let path = dir.join(FILE);
        let last_id = lines(&path)?
            .iter()
            .map(|line| match line {
                Line::Begin { id, .. } | Line::End { id } => *id,
            })
            .max()
            .unwrap_or(0);
        let is_new = !path.exists();
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        if is_new {
            File::open(dir)?.sync_all()?;
        }
        Ok(Journal { file, last_id })
    }

    /// Before it is done.
    pub(crate) fn begin(&mut self, undo: Undo) -> io::Result<u64> {
        self.last_id += 1;
        self.write(&Line::Begin { id: self.last_id, undo })?;
        Ok(self.last_id)
    }

    /// When it was done: what is known only then. Not synced: what it is about outlives us, and not this machine.
    pub(crate) fn done(&mut self, id: u64, undo: Undo) -> io::Result<()> {
        append(&mut self.file, &serde_json::to_string(&Line::Begin { id, undo })?)
    }

    /// When it was undone.
    pub(crate) fn end(&mut self, id: u64) -> io::Result<()> {
        self.write(&Line::End { id })
    }

    fn write(&mut self, line: &Line) -> io::Result<()> {
        append(&mut self.file, &serde_json::to_string(line)?)?;
        self.file.sync_data()
    }
}

/// Adds a line, or nothing: a full disk takes half of one, and the next would go on behind that.
pub(crate) fn append(file: &mut File, line: &str) -> io::Result<()> {
    let before = file.metadata()?.len();
    let written = file.write_all(format!("{line}\n").as_bytes());
    if written.is_err() {
        let _ = file.set_len(before); // the first error is the one to report
    }
    written
}

/// Whether there ever was a cluster of ours in this directory: files that say where one is are ours then, and else somebody's.
pub(crate) fn had_cluster(dir: &Path) -> io::Result<bool> {
    Ok(lines(&dir.join(FILE))?.iter().any(|line| matches!(line, Line::Begin { undo: Undo::EndMarked(_), .. })))
}

/// What is still to be undone in this directory, last first.
pub(crate) fn open_ends(dir: &Path) -> io::Result<Vec<(u64, Undo)>> {
    let mut open: Vec<(u64, Undo)> = Vec::new();
    for line in lines(&dir.join(FILE))? {
        match line {
            Line::Begin { id, undo } => match open.iter_mut().find(|(open, _)| *open == id) {
                Some(step) => step.1 = undo,
                None => open.push((id, undo)),
            },
            Line::End { id } => open.retain(|(open, _)| *open != id),
        }
    }
    open.reverse();
    Ok(open)
}

fn lines(path: &Path) -> io::Result<Vec<Line>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    // A last line that was torn describes something that was not begun.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| serde_json::from_str(line).map_err(io::Error::from)).collect()
}

impl Undo {
    /// Whether it was done to this very host, and not to hosts of our own.
    pub(crate) fn is_here(&self) -> bool {
        matches!(self, Undo::GoOn { .. } | Undo::Start { .. } | Undo::DropRule { .. })
    }

    /// Undoes what was done to files, and nothing else.
    pub(crate) fn files(&self) -> io::Result<()> {
        match self {
            Undo::EndMarked(_) | Undo::GoOn { .. } | Undo::Start { .. } | Undo::DropRule { .. } => Ok(()),
            Undo::MoveBack { from, to } => {
                if !from.exists() {
                    return Ok(());
                }
                if to.exists() {
                    std::fs::remove_dir_all(to)?;
                }
                std::fs::rename(from, to)
            }
            Undo::PutBack { file, offset, bytes } => {
                use std::os::unix::fs::FileExt as _;
                let file = OpenOptions::new().write(true).open(file)?;
                file.write_all_at(bytes, *offset)?;
                file.sync_all()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_begun_and_not_ended_is_open_last_first() {
        let dir = tempfile::tempdir().unwrap();
        let undo = |mark: &str| Undo::EndMarked(mark.to_owned());
        {
            let mut journal = Journal::open(dir.path()).unwrap();
            for mark in ["a", "b", "c"] {
                journal.begin(undo(mark)).unwrap();
            }
            journal.end(2).unwrap();
        }
        assert_eq!(open_ends(dir.path()).unwrap(), [(3, undo("c")), (1, undo("a"))]);
        // Another run in the same place goes on counting.
        assert_eq!(Journal::open(dir.path()).unwrap().begin(undo("d")).unwrap(), 4);
        // A torn line is one that was never acted on.
        let mut file = OpenOptions::new().append(true).open(dir.path().join(FILE)).unwrap();
        file.write_all(b"{\"begin\":{\"id\":5,").unwrap();
        assert_eq!(open_ends(dir.path()).unwrap().len(), 3);
    }

    #[test]
    fn undoing_twice_or_what_was_never_done_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let undo = Undo::MoveBack { from: path("aside"), to: path("data") };
        std::fs::create_dir(path("data")).unwrap();
        std::fs::write(path("data/file"), "old").unwrap();
        undo.files().unwrap(); // never done
        std::fs::rename(path("data"), path("aside")).unwrap();
        std::fs::create_dir(path("data")).unwrap();
        undo.files().unwrap();
        undo.files().unwrap();
        assert_eq!(std::fs::read_to_string(path("data/file")).unwrap(), "old");

        let undo = Undo::PutBack { file: path("data/file"), offset: 1, bytes: b"ld and more".to_vec() };
        std::fs::write(path("data/file"), "o").unwrap();
        undo.files().unwrap();
        undo.files().unwrap();
        assert_eq!(std::fs::read_to_string(path("data/file")).unwrap(), "old and more");
    }
}
