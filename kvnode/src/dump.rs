//! `kvnode dump`: what lies in a data directory, offline and read-only, in the notation of the logs: `i7/t3` is entry 7 of term 3.
//! Damage is no reason to stop: what is good is printed, then what is wrong, and the exit code says so.

use std::io::{self, BufWriter, Write};

use data::{Bad, BatchKind, Identity, RealDisk, Record, SnapshotState, inspect};
use raft::{EntryHeader, EntryKind, Index};
use wire::image::{self, decode_record};
use wire::{Command, Expect, Member, Op, decode_membership};

use crate::cli::DumpArgs;
use crate::exit::{Exit, Failure, OrExit};

/// Bytes of a key that are printed.
const KEY_SHOWN_MAX: usize = 120;

/// `kvnode dump`.
pub(crate) fn dump(args: &DumpArgs) -> Result<(), Failure> {
    let dir = args.data_dir.display();
    let mut disk = RealDisk::open_read_only(&args.data_dir).or_exit(Exit::Config, || format!("cannot open {dir}"))?;
    let mut printer = Printer::new(BufWriter::new(io::stdout().lock()));
    inspect(&mut disk, &mut |record| printer.record(&record)).or_exit(Exit::Io, || format!("cannot list {dir}"))?;
    match printer.finish() {
        Verdict::Good => Ok(()),
        Verdict::Unwritten(error) => Err(Exit::Io.says(format!("standard output: {error}"))),
        Verdict::Damaged(damage) => Err(Exit::Corrupt.says(format!("{dir} is damaged:\n  {}", damage.join("\n  ")))),
        Verdict::NoNode => Err(Exit::Config.says(format!("{dir} holds no node: there is no identity and no log"))),
    }
}

enum Verdict {
    Good,
    /// Good, but not all of it was said.
    Unwritten(io::Error),
    Damaged(Vec<String>),
    NoNode,
}

/// Prints records in order, and remembers what was wrong.
struct Printer<W: Write> {
    out: W,
    /// Why nothing more can be printed. What is wrong with the directory is found out all the same: the exit code still counts.
    unwritten: Option<io::Error>,
    seen_anything: bool,
    damage: Vec<String>,
    /// A bad batch with nothing good behind it so far. At the end of the log it is a torn write, which the next start cuts off.
    torn: Option<String>,
    /// Of the snapshot's content: a record whose rest comes next.
    partial: Vec<u8>,
}

impl<W: Write> Printer<W> {
    fn new(out: W) -> Printer<W> {
        Printer { out, unwritten: None, seen_anything: false, damage: Vec::new(), torn: None, partial: Vec::new() }
    }

    fn record(&mut self, record: &Record<'_>) {
        self.seen_anything |= !matches!(record, Record::NoIdentity(None));
        match record {
            Record::Identity(identity) => self.identity(identity),
            Record::NoIdentity(None) => self.line("no identity: `kvnode init` has not finished here"),
            Record::NoIdentity(Some(error)) => {
                self.line(format!("BAD {error}"));
                self.damage.push(error.to_string());
            }
            Record::Snapshot { file, file_len, state: SnapshotState::Newest(meta) } => {
                self.line(format!("{file} ({file_len} bytes) up to {} at {}ms", meta.last, meta.time_ms));
            }
            Record::Snapshot { file, file_len, state: SnapshotState::Leftover } => {
                self.line(format!("{file} ({file_len} bytes), not needed: it is removed at the next start"));
            }
            Record::SnapshotContent(content) => self.content(content),
            Record::BadSnapshot(error) => {
                self.line(format!("  BAD {error}"));
                self.damage.push(error.to_string());
            }
            Record::Segment { name, file_len, header: Some(_) } => self.line(format!("{name} ({file_len} bytes)")),
            Record::Segment { name, file_len, header: None } => self.line(format!("{name} ({file_len} bytes) without a header")),
            Record::Batch { offset, header, intact } => {
                if *intact {
                    self.damage.extend(self.torn.take());
                }
                let vote = header.hard_state.voted_for.map_or(String::new(), |node| format!(" vote {node}"));
                let what = match header.entry_count {
                    0 if header.kind == BatchKind::Base => format!("the log begins anew behind t{}", header.last_entry_term.0),
                    0 if header.body_len == 0 => "hard state only".to_owned(),
                    1 => "1 entry".to_owned(),
                    count => format!("{count} entries"),
                };
                let intact = if *intact { "" } else { ", bad body" };
                let (term, commit, len) = (header.hard_state.term, header.commit_index, header.batch_len());
                self.line(format!(
                    "  batch at {offset}, {len} bytes: {term}{vote} commit {commit}, {what} from {}{intact}",
                    header.first_index
                ));
            }
            Record::Entry { index, header, payload } => self.line(format!("    {}", entry(*index, header, payload))),
            Record::Bad { segment, offset, what } => {
                let text = format!("{segment}: {what} at offset {offset}");
                self.line(format!("  BAD {text}"));
                match what {
                    Bad::Batch(_) => self.damage.extend(self.torn.replace(text)),
                    _ => self.damage.push(text),
                }
            }
        }
    }

    /// The state in the newest snapshot, record by record.
    fn content(&mut self, content: &[u8]) {
        let mut bytes = std::mem::take(&mut self.partial);
        bytes.extend_from_slice(content);
        let mut at = 0;
        loop {
            match decode_record(&bytes[at..]) {
                Ok(Some((record, len))) => {
                    self.image(&record);
                    at += len;
                }
                Ok(None) => {
                    self.partial = bytes.split_off(at);
                    return;
                }
                Err(error) => {
                    self.line(format!("  BAD content: {error}"));
                    self.damage.push(format!("the content of the snapshot: {error}"));
                    return;
                }
            }
        }
    }

    fn image(&mut self, record: &image::Record<'_>) {
        match record {
            image::Record::Head(head) => {
                let (digest, horizon, sessions, keys) = (head.digest, head.horizon, head.session_count, head.key_count);
                self.line(format!("  digest {digest:016x}, horizon {horizon}, sessions {sessions}, keys {keys}"));
                for (member, announced) in &head.members {
                    self.line(format!("    {}", self::member(member)));
                    if let Some(announce) = announced {
                        self.line(format!("    {}", command(&Command::Announce(announce.clone()))));
                    }
                }
            }
            image::Record::Session(session) => {
                let numbers: Vec<String> = session.replies.iter().map(|(seq, _)| seq.to_string()).collect();
                let (active, ms, first) = (session.last_active_index, session.last_active_ms, session.first_unanswered);
                let kept = if numbers.is_empty() { "no reply kept".to_owned() } else { format!("replies kept: {}", numbers.join(" ")) };
                self.line(format!("    session {:032x} active {active} {ms}ms, answered below {first}, {kept}", session.id.0));
            }
            image::Record::Key(key) => {
                let (version, modified, len) = (key.version, key.modified, key.value.len());
                self.line(format!("    key={} version {version} modified {modified} value({len})", bytes(key.key)));
            }
        }
    }

    fn identity(&mut self, identity: &Identity) {
        let Identity { cluster_id, node, name, disk_id, members } = identity;
        self.line(format!("identity: {name}, node {} of cluster {cluster_id}, disk {disk_id}", node.0));
        for member in members {
            self.line(format!("  {} {}={}", member.id, member.name, member.peer_addr));
        }
    }

    fn line(&mut self, line: impl std::fmt::Display) {
        if self.unwritten.is_none() {
            self.unwritten = writeln!(self.out, "{line}").err();
        }
    }

    fn finish(mut self) -> Verdict {
        if self.torn.take().is_some() {
            self.line("  (nothing good is behind it: a write that was never finished, cut off at the next start)");
        }
        let unwritten = self.unwritten.or_else(|| self.out.flush().err());
        match unwritten {
            _ if !self.seen_anything => Verdict::NoNode,
            _ if !self.damage.is_empty() => Verdict::Damaged(self.damage),
            // Whoever read us has gone, and knows it.
            Some(error) if error.kind() != io::ErrorKind::BrokenPipe => Verdict::Unwritten(error),
            _ => Verdict::Good,
        }
    }
}

/// An entry in one line: `i7/t3 put key=colour value(4)`.
fn entry(index: Index, header: &EntryHeader, payload: &[u8]) -> String {
    let id = header.meta(index).id();
    let what = match header.kind {
        EntryKind::NoOp => "no-op".to_owned(),
        EntryKind::Membership => match decode_membership(payload) {
            Ok(members) => format!("members {}", members.iter().map(member).collect::<Vec<_>>().join(", ")),
            Err(error) => format!("members, unreadable: {error}"),
        },
        EntryKind::Command => match Command::decode(payload) {
            Ok(command) => self::command(&command),
            Err(error) => format!("command({}), unreadable: {error}", payload.len()),
        },
    };
    format!("{id} {}ms {what}", header.time_ms)
}

fn member(member: &Member) -> String {
    format!("{}:{}={}{}", member.id, member.name, member.peer_addr, if member.voter { "" } else { " (learns)" })
}

fn command(command: &Command<'_>) -> String {
    match command {
        Command::Write { call, op } => {
            let op = match op {
                Op::Put { key, value } => format!("put key={} value({})", bytes(key), value.len()),
                Op::Append { key, value } => format!("append key={} value({})", bytes(key), value.len()),
                Op::Delete { key } => format!("delete key={}", bytes(key)),
                Op::Cas { key, expect, value } => {
                    let expect = match expect {
                        Expect::Absent => "absent".to_owned(),
                        Expect::Value(value) => format!("value({})", value.len()),
                        Expect::Version(version) => format!("version {version}"),
                    };
                    format!("cas key={} expect {expect} value({})", bytes(key), value.len())
                }
            };
            format!("{op} session {:032x} seq {} born {}", call.session.0, call.seq, call.birth_index)
        }
        Command::Announce(announce) => format!(
            "announce {} disk {} clients at {} peers at {} version {}",
            announce.node,
            announce.disk_id,
            bytes(announce.client_addr.as_bytes()),
            bytes(announce.peer_addr.as_bytes()),
            bytes(announce.version.as_bytes())
        ),
    }
}

/// Any bytes on one line, in a way that a terminal survives.
fn bytes(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(KEY_SHOWN_MAX)];
    let escaped = shown.escape_ascii().to_string().replace(' ', "\\x20");
    if shown.len() < bytes.len() { format!("{escaped}...({} bytes)", bytes.len()) } else { escaped }
}

#[cfg(test)]
mod tests {
    use raft::{DiskId, NodeId, Term};
    use wire::{Announce, CallId, SessionId};

    use super::*;

    fn written(op: Op<'_>) -> String {
        let call = CallId { session: SessionId(0xab), birth_index: Index(3), seq: 2, first_unanswered: 1 };
        let mut payload = Vec::new();
        Command::Write { call, op }.encode(&mut payload);
        let payload_len = u32::try_from(payload.len()).unwrap();
        entry(Index(7), &EntryHeader { term: Term(3), time_ms: 41, payload_len, kind: EntryKind::Command }, &payload)
    }

    #[test]
    fn every_command_is_one_line() {
        let tail = "session 000000000000000000000000000000ab seq 2 born i3";
        let cases = [
            (Op::Put { key: b"colour", value: b"blue" }, "put key=colour value(4)"),
            (Op::Append { key: b"a b\n\xff\x1b", value: b"" }, "append key=a\\x20b\\n\\xff\\x1b value(0)"),
            (Op::Delete { key: b"k" }, "delete key=k"),
            (Op::Cas { key: b"k", expect: Expect::Absent, value: b"v" }, "cas key=k expect absent value(1)"),
            (Op::Cas { key: b"k", expect: Expect::Value(b"old"), value: b"v" }, "cas key=k expect value(3) value(1)"),
            (Op::Cas { key: b"k", expect: Expect::Version(9), value: b"v" }, "cas key=k expect version 9 value(1)"),
        ];
        for (op, line) in cases {
            assert_eq!(written(op), format!("i7/t3 41ms {line} {tail}"));
        }
        let announce = Announce {
            node: NodeId(2),
            disk_id: DiskId(5),
            client_addr: "h:1".to_owned(),
            peer_addr: "h:2".to_owned(),
            version: "0.1.0".to_owned(),
        };
        let line = command(&Command::Announce(announce));
        assert_eq!(line, "announce n2 disk 00000000000000000000000000000005 clients at h:1 peers at h:2 version 0.1.0");
    }

    #[test]
    fn a_long_key_is_cut_and_its_length_named() {
        let line = written(Op::Delete { key: &[b'k'; 1000] });
        assert!(line.contains("kkk...(1000 bytes) "), "{line}");
        assert!(line.len() < 300);
    }

    #[test]
    fn what_cannot_be_decoded_is_said_so() {
        let header = EntryHeader { term: Term(1), time_ms: 0, payload_len: 2, kind: EntryKind::Command };
        assert!(entry(Index(2), &header, &[9, 9]).starts_with("i2/t1 0ms command(2), unreadable: "));
    }
}
