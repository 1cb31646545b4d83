//! `--apply-trace FILE`: a line for every client's write that this node applies, for those who want to know what became of a call. A
//! JSON object per line:
//!
//! | field     | meaning                                                                                                    |
//! |-----------|------------------------------------------------------------------------------------------------------------|
//! | `index`   | where in the log                                                                                           |
//! | `term`    | of the entry                                                                                               |
//! | `session` | of the client: 32 hexadecimal digits, as `kvnode dump` writes it                                           |
//! | `seq`     | which call of the session                                                                                  |
//! | `outcome` | it ran: `done`, `deleted`, `not_found`, `swapped`, `not_swapped`, or `value_too_long`, which changed nothing |
//! |           | it did not: `repeated`, for it had run before; `expired`, its session is gone; `out_of_window` of its session |
//! | `first`   | of `repeated`: the index at which it had run                                                               |
//!
//! Indexes only grow, also over restarts: a node that applies once more what it has applied goes on behind the last line of the file.
//! They have gaps, for no-ops, for what members say of themselves, and for what came with a snapshot from a peer, which is another's to
//! tell. Lines are handed to the system before the client hears of its write and before a snapshot covers it, and are never synced:
//! they survive the end of the process, not that of the machine. A line that a killed process had begun is cut off by the next.
//!
//! It is a diagnostic: when the file cannot be written any more, the node says so in its log, stops tracing and goes on. What the file
//! then holds is still true, and a restart goes on behind it.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use kvnode::{AppliedWrite, Fate};
use raft::Index;
use wire::WriteOutcome;

use crate::exit::{Exit, Failure, OrExit};

/// What is kept back at most: a start that applies a whole log must not hold all its lines.
const BUFFER_BYTES_MAX: usize = 64 << 10;
/// No line is longer.
const LINE_LEN_MAX: usize = 256;
/// How every line begins.
const BEGINNING: &str = "{\"index\":";

/// The file, and what is not in it yet.
pub(crate) struct ApplyTrace {
    path: PathBuf,
    file: File,
    /// Of the last line.
    last: Index,
    buffer: String,
}

impl ApplyTrace {
    /// Goes on with the file, or makes it.
    pub(crate) fn open(path: &Path) -> Result<ApplyTrace, Failure> {
        let shown = path.display();
        let opened = OpenOptions::new().read(true).append(true).create(true).open(path);
        let file = opened.or_exit(Exit::Io, || format!("--apply-trace {shown}: cannot open it"))?;
        let cannot_read = || format!("--apply-trace {shown}: cannot read what it holds");
        let metadata = file.metadata().or_exit(Exit::Io, cannot_read)?;
        if !metadata.is_file() {
            return Err(Exit::Config.says(format!("--apply-trace {shown}: it is no regular file, and a node must not wait for a reader")));
        }
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Exit::Config.says(format!("--apply-trace {shown}: another process writes to it; every node needs its own")));
            }
            Err(TryLockError::Error(error)) => Err(error).or_exit(Exit::Io, || format!("--apply-trace {shown}: cannot lock it"))?,
        }
        let len = metadata.len();
        let tail_offset = len.saturating_sub(2 * LINE_LEN_MAX as u64);
        let mut tail = vec![0; usize::try_from(len - tail_offset).expect("two lines")];
        file.read_exact_at(&mut tail, tail_offset).or_exit(Exit::Io, cannot_read)?;
        let Some((last, torn)) = end_of(&tail, tail_offset == 0) else {
            return Err(Exit::Config.says(format!("--apply-trace {shown}: it holds something else; name a new file")));
        };
        file.set_len(len - torn as u64).or_exit(Exit::Io, || format!("--apply-trace {shown}: cannot cut off a line that was begun"))?;
        Ok(ApplyTrace { path: path.into(), file, last, buffer: String::new() })
    }

    /// A line, unless the file has it already.
    pub(crate) fn add(&mut self, index: Index, write: &AppliedWrite) -> io::Result<()> {
        if index <= self.last {
            return Ok(());
        }
        self.last = index;
        let AppliedWrite { term, session, seq, fate } = write;
        let outcome = match fate {
            Fate::Ran(outcome) => match outcome {
                WriteOutcome::Done => "done",
                WriteOutcome::Deleted => "deleted",
                WriteOutcome::NotFound => "not_found",
                WriteOutcome::Swapped => "swapped",
                WriteOutcome::NotSwapped => "not_swapped",
                WriteOutcome::ValueTooLong => "value_too_long",
            },
            Fate::Repeated { .. } => "repeated",
            Fate::Expired => "expired",
            Fate::OutOfWindow => "out_of_window",
        };
        let (index, term, session) = (index.0, term.0, session.0);
        let to_text = "text takes what is written to it";
        write!(self.buffer, "{BEGINNING}{index},\"term\":{term},\"session\":\"{session:032x}\",\"seq\":{seq},\"outcome\":\"{outcome}\"")
            .expect(to_text);
        if let Fate::Repeated { first } = fate {
            write!(self.buffer, ",\"first\":{}", first.0).expect(to_text);
        }
        self.buffer.push_str("}\n");
        if self.buffer.len() < BUFFER_BYTES_MAX { Ok(()) } else { self.flush() }
    }

    /// Hands the system what has gathered.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let written = self.file.write_all(self.buffer.as_bytes());
        self.buffer.clear();
        written
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// The index of the last whole line, and how many bytes behind it were begun. `None`: this is no such file.
fn end_of(tail: &[u8], is_all: bool) -> Option<(Index, usize)> {
    let whole = tail.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    let torn = &tail[whole..];
    let begins = |line: &[u8]| line.iter().zip(BEGINNING.as_bytes()).all(|(byte, expected)| byte == expected);
    if torn.len() > LINE_LEN_MAX || !begins(torn) {
        return None;
    }
    if whole == 0 {
        return is_all.then_some((Index(0), torn.len()));
    }
    let before = &tail[..whole - 1];
    let start = match before.iter().rposition(|byte| *byte == b'\n') {
        Some(newline) => newline + 1,
        None if is_all => 0,
        None => return None,
    };
    let line = std::str::from_utf8(&before[start..]).ok()?;
    let (index, _) = line.strip_prefix(BEGINNING)?.split_once(",\"term\":")?;
    Some((Index(index.parse().ok()?), torn.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use raft::Term;
    use wire::command::SessionId;

    fn write(seq: u64, fate: Fate) -> AppliedWrite {
        AppliedWrite { term: Term(3), session: SessionId(0xab), seq, fate }
    }

    fn open(path: &Path) -> ApplyTrace {
        ApplyTrace::open(path).unwrap_or_else(|failure| panic!("{failure}"))
    }

    fn text(path: &Path) -> String {
        std::fs::read_to_string(path).unwrap()
    }

    const FIRST: &str = "{\"index\":5,\"term\":3,\"session\":\"000000000000000000000000000000ab\",\"seq\":1,\"outcome\":\"done\"}\n";
    const SECOND: &str =
        "{\"index\":7,\"term\":3,\"session\":\"000000000000000000000000000000ab\",\"seq\":1,\"outcome\":\"repeated\",\"first\":5}\n";

    #[test]
    fn it_goes_on_behind_its_last_line_and_cuts_off_one_that_was_begun() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trace");
        let done = write(1, Fate::Ran(WriteOutcome::Done));
        let mut trace = open(&path);
        trace.add(Index(5), &done).unwrap();
        assert_eq!(text(&path), "", "not before the flush");
        trace.flush().unwrap();
        drop(trace);
        assert_eq!(text(&path), FIRST);

        for torn in ["", "{", "{\"index\":", &SECOND[..SECOND.len() - 1]] {
            std::fs::write(&path, format!("{FIRST}{torn}")).unwrap();
            let mut trace = open(&path);
            trace.add(Index(5), &done).unwrap();
            trace.add(Index(7), &write(1, Fate::Repeated { first: Index(5) })).unwrap();
            trace.flush().unwrap();
            assert_eq!(text(&path), format!("{FIRST}{SECOND}"), "after {torn:?}");
        }
        std::fs::write(&path, &FIRST[..20]).unwrap();
        drop(open(&path));
        assert_eq!(text(&path), "", "the first line was begun");
    }

    #[test]
    fn the_longest_lines_are_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trace");
        let mut trace = open(&path);
        let longest = AppliedWrite {
            term: Term(u64::MAX),
            session: SessionId(u128::MAX),
            seq: u64::MAX,
            fate: Fate::Repeated { first: Index(u64::MAX) },
        };
        for index in [u64::MAX - 2, u64::MAX - 1] {
            trace.add(Index(index), &longest).unwrap();
        }
        trace.flush().unwrap();
        drop(trace);
        let whole = text(&path);
        assert!(whole.lines().all(|line| line.len() < LINE_LEN_MAX), "{whole}");
        std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        assert_eq!(open(&path).last, Index(u64::MAX - 2));
        assert_eq!(text(&path), whole[..whole.len() / 2]);
    }

    #[test]
    fn somebody_elses_file_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notes");
        for notes in ["milk\n", "milk", "{\"index\":\n", "{\"index\":5,\"term\":1}\nmilk", &"milk ".repeat(1000)] {
            std::fs::write(&path, notes).unwrap();
            let refused = ApplyTrace::open(&path).err().unwrap_or_else(|| panic!("{notes:?} is taken for a trace"));
            assert_eq!((refused.exit, text(&path).as_str()), (Exit::Config, notes));
        }
        assert_eq!(ApplyTrace::open(Path::new("/dev/null")).err().map(|failure| failure.exit), Some(Exit::Config));
        let trace = dir.path().join("trace");
        let _held = open(&trace);
        assert_eq!(ApplyTrace::open(&trace).err().map(|failure| failure.exit), Some(Exit::Config), "a file has one writer");
    }
}
