//! What nodes say they applied: the positions of writes whose clients never learned what became of them.
//!
//! A write that took effect was applied, sooner or later, by every node but those that got it with a snapshot from a peer; and whoever
//! made that snapshot had applied it. So a write that stands in no trace has not taken effect by the end of the run, as far as the
//! traces are whole. They need not be: a position is only a hint to the checker, which replays what it is given and holds it against
//! the clock. No trace makes it pass what cannot be put in order; and a write without one may still have happened anywhere.
//!
//! Beyond that the traces are evidence themselves. Two nodes that applied different writes at one index, and a write that ran at two
//! of them, are violations, whether a client noticed or not.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::path::Path;

use checker::{Name, Op, Outcome};
use serde::Deserialize;

/// A call of a client's session, by the session's number.
type CallId = (u128, u64);

/// What the traces tell.
#[derive(Debug, Default)]
pub(crate) struct Applied {
    /// Where each write ran.
    ran: HashMap<CallId, u64>,
    /// What must not be.
    pub(crate) wrong: Vec<String>,
}

/// As `kvnode run --apply-trace` writes it.
#[derive(Deserialize)]
struct Line<'l> {
    index: u64,
    term: u64,
    #[serde(borrow)]
    session: &'l str,
    seq: u64,
    outcome: Came,
}

/// What came of a write.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Came {
    Done,
    Deleted,
    NotFound,
    Swapped,
    NotSwapped,
    ValueTooLong,
    Repeated,
    Expired,
    OutOfWindow,
}

/// What all nodes must agree on.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Entry {
    term: u64,
    call: CallId,
    came: Came,
}

/// More would tell nothing new.
const WRONG_MAX: usize = 10;

/// As a history has it.
pub(crate) fn session_name(session: u128) -> Name {
    Name::Text(format!("{session:032x}").into())
}

impl Applied {
    /// Reads the traces of all nodes.
    pub(crate) fn read(traces: &[impl AsRef<Path>]) -> io::Result<Applied> {
        let mut applied = Applied::default();
        let mut log: HashMap<u64, Entry> = HashMap::new();
        for trace in traces {
            let name = trace.as_ref().file_name().unwrap_or_default().to_string_lossy().into_owned();
            let mut lines = BufReader::new(File::open(trace)?);
            let mut line = String::new();
            while lines.read_line(&mut line)? > 0 {
                // A killed node may have begun a line that it did not end.
                if line.ends_with('\n') {
                    let (index, entry) = parse(&line).map_err(|error| io::Error::other(format!("{name}: {error}: {line}")))?;
                    if *log.entry(index).or_insert(entry) != entry {
                        applied.wrong(format!("{name}: {} at index {index}, where another node applied something else", call(entry.call)));
                    }
                    applied.runs(index, entry, &name);
                }
                line.clear();
            }
        }
        Ok(applied)
    }

    fn runs(&mut self, index: u64, entry: Entry, name: &str) {
        match entry.came {
            Came::Done | Came::Deleted | Came::NotFound | Came::Swapped | Came::NotSwapped => {}
            // The first changed nothing, there or on any other node; the others did not run.
            Came::ValueTooLong | Came::Repeated | Came::Expired | Came::OutOfWindow => return,
        }
        let first = *self.ran.entry(entry.call).or_insert(index);
        if first != index {
            self.wrong(format!("{name}: {} ran twice, at index {first} and at {index}", call(entry.call)));
        }
    }

    fn wrong(&mut self, why: String) {
        if self.wrong.len() < WRONG_MAX {
            self.wrong.push(why);
        }
    }

    /// Gives the writes of unknown outcome that ran their positions; how many those are.
    pub(crate) fn place(&self, ops: &mut [Op]) -> usize {
        let mut placed = 0;
        for op in ops.iter_mut().filter(|op| op.outcome == Outcome::Unknown) {
            let position = call_of(op).and_then(|call| self.ran.get(&call));
            op.position = position.copied();
            placed += usize::from(position.is_some());
        }
        placed
    }
}

fn call((session, seq): CallId) -> String {
    format!("call {seq} of session {session:032x}")
}

fn call_of(op: &Op) -> Option<CallId> {
    let (Some(Name::Text(session)), Some(seq)) = (&op.session, op.seq) else { return None };
    Some((u128::from_str_radix(session, 16).ok()?, seq))
}

fn parse(line: &str) -> Result<(u64, Entry), String> {
    let Line { index, term, session, seq, outcome } = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let session = u128::from_str_radix(session, 16).map_err(|error| error.to_string())?;
    Ok((index, Entry { term, call: (session, seq), came: outcome }))
}

#[cfg(test)]
mod tests {
    use checker::{Answer, Call};

    use super::*;

    fn line(index: u64, session: u128, seq: u64, outcome: &str) -> String {
        format!("{{\"index\":{index},\"term\":2,\"session\":\"{session:032x}\",\"seq\":{seq},\"outcome\":\"{outcome}\"}}\n")
    }

    fn put(session: u128, seq: u64) -> Op {
        let op = Op::new(1, Call::Put { key: b"k".into(), value: b"v".into() }, 10);
        Op { session: Some(session_name(session)), seq: Some(seq), ..op }
    }

    fn read(traces: &[&str]) -> Applied {
        let dir = tempfile::tempdir().expect("a directory");
        let files: Vec<_> = (1..).zip(traces).map(|(node, text)| (dir.path().join(format!("n{node}")), text)).collect();
        files.iter().for_each(|(path, text)| std::fs::write(path, text).expect("a file"));
        Applied::read(&files.iter().map(|(path, _)| path).collect::<Vec<_>>()).expect("good traces")
    }

    #[test]
    fn an_unknown_write_that_any_node_applied_has_its_position_and_no_other_has() {
        let answered = put(7, 4).ok(20, Answer::Done).at(3);
        let mut ops = [put(7, 1), put(7, 2), put(7, 3), put(8, 1), answered.clone(), put(9, 1)];
        let n1 = line(3, 7, 4, "done") + &line(5, 7, 1, "done") + &line(6, 7, 2, "expired");
        let n2 = line(5, 7, 1, "done") + &line(8, 7, 1, "repeated") + &line(9, 8, 1, "not_swapped") + &line(10, 9, 1, "done")[..40];
        let applied = read(&[&n1, &n2, ""]);
        assert_eq!(applied.wrong, Vec::<String>::new());
        assert_eq!(applied.place(&mut ops), 2);
        assert_eq!(ops.clone().map(|op| op.position), [Some(5), None, None, Some(9), Some(3), None]);
        assert_eq!(ops[4], answered);
    }

    #[test]
    fn nodes_that_differ_and_writes_that_ran_twice_are_wrong() {
        let n1 = line(5, 7, 1, "done") + &line(6, 7, 2, "done");
        let wrong = |n2: &str| read(&[&n1, n2]).wrong;
        assert_eq!(wrong(&line(6, 7, 2, "done")), Vec::<String>::new());
        assert_eq!(wrong(&line(6, 7, 3, "done")).len(), 1, "another write");
        assert_eq!(wrong(&line(6, 7, 2, "repeated")).len(), 1, "it did not run there");
        assert_eq!(wrong(&line(6, 7, 2, "deleted")).len(), 1, "another state");
        assert_eq!(wrong(&line(6, 7, 2, "done").replace("\"term\":2", "\"term\":3")).len(), 1, "another term");
        assert_eq!(wrong(&line(7, 7, 2, "done")).len(), 1, "it ran twice");
        assert_eq!(wrong(&line(7, 7, 2, "repeated")), Vec::<String>::new());
    }

    #[test]
    fn a_file_that_is_no_trace_is_not_read_as_an_empty_one() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("n1");
        for text in ["milk\n", "{\"index\":1}\n", &line(1, 1, 1, "eaten")] {
            std::fs::write(&path, text).expect("a file");
            assert!(Applied::read(&[&path]).is_err(), "{text}");
        }
        assert!(Applied::read(&[dir.path().join("none")]).is_err());
    }
}
