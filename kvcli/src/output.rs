//! Results, in every mode.

use std::io::{self, Write};
use std::time::Duration;

use kvcli::bench::{BenchArgs, BenchOp, Report};
use kvcli::{Item, Overview, Reading, Verdict, WriteOutcome, Written};
use raft::Index;
use serde::Serialize;
use wire::NodeStatus;

use crate::cli::Mode;
use crate::json;
use crate::quote::escape;

const COLUMNS: [&str; 13] =
    ["NODE", "ADDRESS", "ROLE", "TERM", "COMMIT", "APPLIED", "LOG", "KEYS", "DATA", "SYNC P99", "UP", "VERSION", "PROBLEM"];

/// A put or an append.
pub(crate) fn written(out: &mut impl Write, mode: Mode, written: &Written) -> io::Result<()> {
    match mode {
        Mode::Table => writeln!(out, "OK"),
        Mode::Plain | Mode::Raw => Ok(()),
        Mode::Json | Mode::Jsonl => document(out, &json::Written { version: written.version, position: written.position.0 }),
    }
}

/// A delete.
pub(crate) fn deleted(out: &mut impl Write, mode: Mode, written: &Written) -> io::Result<()> {
    match mode {
        Mode::Table => writeln!(out, "OK"),
        Mode::Plain | Mode::Raw => Ok(()),
        Mode::Json | Mode::Jsonl => {
            document(out, &json::Deleted { existed: written.outcome == WriteOutcome::Deleted, position: written.position.0 })
        }
    }
}

/// A cas; why it lost stands in the error.
pub(crate) fn swapped(out: &mut impl Write, mode: Mode, written: &Written) -> io::Result<()> {
    let swapped = written.outcome == WriteOutcome::Swapped;
    match mode {
        Mode::Table if swapped => writeln!(out, "OK"),
        Mode::Table | Mode::Plain | Mode::Raw => Ok(()),
        Mode::Json | Mode::Jsonl => document(out, &json::Swapped { swapped, version: written.version, position: written.position.0 }),
    }
}

/// A get that found something.
pub(crate) fn reading(out: &mut impl Write, mode: Mode, key: &[u8], reading: &Reading) -> io::Result<()> {
    let Some(value) = &reading.value else { return Ok(()) };
    match mode {
        Mode::Raw => out.write_all(&value.value),
        Mode::Table | Mode::Plain => writeln!(out, "{}", escape(&value.value)),
        Mode::Json | Mode::Jsonl => document(out, &json::Found::new(key, value, reading.position)),
    }
}

/// How old a stale read may be; for standard error.
pub(crate) fn age(out: &mut impl Write, mode: Mode, position: Index, age_ms: Option<u64>) -> io::Result<()> {
    match (mode, age_ms) {
        (Mode::Json | Mode::Jsonl, _) => document(out, &json::Age { position: position.0, age_ms }),
        (_, Some(ms)) => writeln!(out, "as of position {}; the node last heard from a leader {ms}ms ago", position.0),
        (_, None) => writeln!(out, "as of position {}; the node has not heard from a leader yet", position.0),
    }
}

/// A dump that is complete; for standard error.
pub(crate) fn dumped(out: &mut impl Write, mode: Mode, position: Index, keys: u64) -> io::Result<()> {
    match mode {
        Mode::Json | Mode::Jsonl => document(out, &json::Dumped { position: position.0, keys }),
        _ => writeln!(out, "{keys} keys as of position {}", position.0),
    }
}

/// A load that is complete.
pub(crate) fn loaded(out: &mut impl Write, mode: Mode, lines: u64, position: Option<u64>) -> io::Result<()> {
    match mode {
        Mode::Table | Mode::Plain | Mode::Raw => Ok(()), // the summary says it
        Mode::Json | Mode::Jsonl => document(out, &json::Loaded { lines, position }),
    }
}

/// What a person wants to know in the end; for standard error. JSON has said it.
pub(crate) fn summary(out: &mut impl Write, mode: Mode, text: &str) -> io::Result<()> {
    match mode {
        Mode::Json | Mode::Jsonl => Ok(()),
        _ => writeln!(out, "{text}"),
    }
}

/// So many lines in this time.
pub(crate) fn rate(lines: u64, time: Duration) -> String {
    let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1);
    format!("{lines} lines in {}.{}s, {} per second", ms / 1000, ms % 1000 / 100, u128::from(lines) * 1000 / u128::from(ms))
}

/// Keys and values, page by page.
pub(crate) struct Items {
    mode: Mode,
    keys_only: bool,
    key_width: usize,
    headed: bool,
}

/// A longer key does not move the values of all the others.
const KEY_WIDTH_MAX: usize = 48;

impl Items {
    pub(crate) fn new(mode: Mode, keys_only: bool) -> Items {
        Items { mode, keys_only, key_width: 3, headed: false }
    }

    pub(crate) fn write(&mut self, out: &mut impl Write, items: &[Item]) -> io::Result<()> {
        match self.mode {
            Mode::Table => self.rows(out, items),
            Mode::Plain | Mode::Raw if self.keys_only => items.iter().try_for_each(|item| writeln!(out, "{}", escape(&item.key))),
            Mode::Plain | Mode::Raw => items.iter().try_for_each(|item| writeln!(out, "{}\t{}", escape(&item.key), escape(&item.value))),
            Mode::Json | Mode::Jsonl => items.iter().try_for_each(|item| document(out, &json::Item::new(item, self.keys_only))),
        }
    }

    fn rows(&mut self, out: &mut impl Write, items: &[Item]) -> io::Result<()> {
        let keys: Vec<String> = items.iter().map(|item| escape(&item.key)).collect();
        let widths = keys.iter().map(|key| key.chars().count()).filter(|width| *width <= KEY_WIDTH_MAX);
        self.key_width = widths.chain([self.key_width]).max().unwrap_or_default();
        let width = self.key_width;
        if !std::mem::replace(&mut self.headed, true) {
            writeln!(out, "{:width$}  VERSION{}", "KEY", if self.keys_only { "" } else { "  VALUE" })?;
        }
        for (key, item) in keys.iter().zip(items) {
            match self.keys_only {
                true => writeln!(out, "{key:width$}  {:>7}", item.version)?,
                false => writeln!(out, "{key:width$}  {:>7}  {}", item.version, escape(&item.value))?,
            }
        }
        Ok(())
    }
}

/// A wait that is over.
pub(crate) fn ready(out: &mut impl Write, mode: Mode, overview: &Overview) -> io::Result<()> {
    match mode {
        Mode::Table => writeln!(out, "{}", escape(overview.headline().as_bytes())),
        Mode::Plain | Mode::Raw => Ok(()),
        Mode::Json | Mode::Jsonl => {
            let leader = overview.leader.map(|leader| overview.name_of(leader));
            let nodes = overview.rows.iter().filter(|row| row.status().is_some()).map(|row| row.name()).collect();
            document(out, &json::Ready { verdict: overview.verdict.name(), leader, nodes })
        }
    }
}

/// What a bench found.
pub(crate) fn bench(out: &mut impl Write, mode: Mode, args: &BenchArgs, report: &Report) -> io::Result<()> {
    let latencies =
        [("p50", report.p50_us), ("p90", report.p90_us), ("p99", report.p99_us), ("p999", report.p999_us), ("max", report.max_us)];
    match mode {
        Mode::Json | Mode::Jsonl => document(out, report),
        Mode::Plain | Mode::Raw => {
            writeln!(out, "ops_per_s\t{}", report.ops_per_s)?;
            latencies.iter().try_for_each(|(name, us)| writeln!(out, "{name}_us\t{us}"))?;
            writeln!(out, "longest_gap_ms\t{}\nerrors\t{}", report.longest_gap_ms, report.errors)
        }
        Mode::Table => {
            let (op, clients, in_flight) = (args.op.name(), args.clients, args.in_flight);
            let (size, keys, seconds) = (args.value_size, args.keys, args.seconds);
            writeln!(out, "{op}: {clients} clients x {in_flight} in flight, values of {size} bytes, {keys} keys, {seconds} s\n")?;
            writeln!(out, "calls per second     {:>12}", report.ops_per_s)?;
            for (name, us) in latencies {
                writeln!(out, "latency {name:<4}         {:>12}", format!("{}.{:03} ms", us / 1000, us % 1000))?;
            }
            let without = if args.op == BenchOp::Get { "read" } else { "write" };
            writeln!(out, "longest without {without:<5}{:>12}", format!("{} ms", report.longest_gap_ms))?;
            writeln!(out, "errors               {:>12}", report.errors)?;
            writeln!(out, "\nThis program used {} % of one core.", report.cpu_percent)
        }
    }
}

/// How a cluster is.
pub(crate) fn overview(out: &mut impl Write, mode: Mode, overview: &Overview) -> io::Result<()> {
    match mode {
        Mode::Json | Mode::Jsonl => document(out, &json::Status::new(overview)),
        Mode::Plain | Mode::Raw => {
            writeln!(out, "{}", escape(overview.headline().as_bytes()))?;
            cells(overview).iter().try_for_each(|cells| writeln!(out, "{}", cells.join("\t")))
        }
        Mode::Table if overview.verdict == Verdict::Unreachable => writeln!(out, "{}", escape(overview.headline().as_bytes())), // the error names them all
        Mode::Table => {
            writeln!(out, "{}\n", escape(overview.headline().as_bytes()))?;
            let mut rows = vec![COLUMNS.map(String::from)];
            rows.extend(cells(overview));
            table(out, &rows)
        }
    }
}

fn table<const N: usize>(out: &mut impl Write, rows: &[[String; N]]) -> io::Result<()> {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    for row in rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}

fn cells(overview: &Overview) -> Vec<[String; COLUMNS.len()]> {
    let cells = overview.rows.iter().map(|row| {
        let number = |number: fn(&NodeStatus) -> u64| row.status().map_or_else(|| "-".into(), |status| number(status).to_string());
        let text = |text: fn(&NodeStatus) -> String| row.status().map_or_else(|| "-".into(), text);
        let address = row.status().map_or(&row.address, |status| &status.client_addr);
        [
            row.name().into(),
            if address.is_empty() { "-".into() } else { address.clone() },
            text(|status| kvcli::overview::role_name(status.role).into()),
            number(|status| status.term.0),
            number(|status| status.commit_index.0),
            number(|status| status.applied_index.0),
            text(|status| size(status.log_bytes)),
            number(|status| status.keys),
            text(|status| size(status.data_bytes)),
            text(|status| milliseconds(status.fsync_us_p99)),
            text(|status| uptime(status.uptime_ms)),
            text(|status| status.version.clone()),
            row.problem().unwrap_or_default(),
        ]
        .map(|cell| escape(cell.as_bytes())) // names and reasons come from elsewhere
    });
    cells.collect()
}

fn document(out: &mut impl Write, document: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, document)?;
    writeln!(out)
}

fn size(bytes: u64) -> String {
    match bytes {
        0..=9_999 => format!("{bytes}B"),
        10_000..=10_485_759 => format!("{}KiB", bytes >> 10),
        10_485_760..=10_737_418_239 => format!("{}MiB", bytes >> 20),
        _ => format!("{}GiB", bytes >> 30),
    }
}

fn milliseconds(us: u64) -> String {
    format!("{}.{}ms", us / 1000, us % 1000 / 100)
}

fn uptime(ms: u64) -> String {
    match ms / 1000 {
        seconds @ 0..=119 => format!("{seconds}s"),
        seconds @ 120..=7_199 => format!("{}m", seconds / 60),
        seconds @ 7_200..=172_799 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use kvcli::Reason;
    use raft::{ClusterId, NodeId, Term};
    use wire::status::MemberStatus;
    use wire::{RoleName, Value};

    use super::*;

    const MODES: [Mode; 5] = [Mode::Table, Mode::Plain, Mode::Raw, Mode::Json, Mode::Jsonl];

    fn shown(show: impl Fn(&mut Vec<u8>, Mode) -> io::Result<()>) -> [String; 5] {
        MODES.map(|mode| {
            let mut out = Vec::new();
            show(&mut out, mode).unwrap();
            String::from_utf8_lossy(&out).into_owned()
        })
    }

    #[test]
    fn a_write_is_ok_on_a_terminal_and_silent_in_a_pipe() {
        let result = Written { outcome: WriteOutcome::Done, version: 3, position: Index(12) };
        let json = "{\"version\":3,\"position\":12}\n";
        assert_eq!(shown(|out, mode| written(out, mode, &result)), ["OK\n", "", "", json, json]);
        let result = Written { outcome: WriteOutcome::Deleted, version: 0, position: Index(13) };
        let json = "{\"existed\":true,\"position\":13}\n";
        assert_eq!(shown(|out, mode| deleted(out, mode, &result)), ["OK\n", "", "", json, json]);
        let result = Written { outcome: WriteOutcome::NotFound, ..result };
        assert_eq!(shown(|out, mode| deleted(out, mode, &result))[3], "{\"existed\":false,\"position\":13}\n");
    }

    #[test]
    fn a_lost_cas_shows_only_in_json_for_its_error_tells_the_rest() {
        let result = Written { outcome: WriteOutcome::Swapped, version: 3, position: Index(12) };
        let json = "{\"swapped\":true,\"version\":3,\"position\":12}\n";
        assert_eq!(shown(|out, mode| swapped(out, mode, &result)), ["OK\n", "", "", json, json]);
        let result = Written { outcome: WriteOutcome::NotSwapped, ..result };
        let json = "{\"swapped\":false,\"version\":3,\"position\":12}\n";
        assert_eq!(shown(|out, mode| swapped(out, mode, &result)), ["", "", "", json, json]);
    }

    #[test]
    fn a_value_is_raw_in_a_pipe_and_escaped_on_a_terminal() {
        let found =
            |value: &[u8]| Reading { value: Some(Value { value: value.to_vec(), version: 2, modified: Index(7) }), position: Index(9) };
        let text = found(b"a\tb\\\n");
        let json = "{\"key\":\"k\",\"value\":\"a\\tb\\\\\\n\",\"version\":2,\"modified\":7,\"position\":9}\n";
        assert_eq!(shown(|out, mode| reading(out, mode, b"k", &text)), ["a\\tb\\\\\\n\n", "a\\tb\\\\\\n\n", "a\tb\\\n", json, json]);
        let bytes = found(&[0xff, 0x1b]);
        let mut raw = Vec::new();
        reading(&mut raw, Mode::Raw, &[0xfe], &bytes).unwrap();
        assert_eq!(raw, [0xff, 0x1b]);
        let json = "{\"key_b64\":\"/g==\",\"value_b64\":\"/xs=\",\"version\":2,\"modified\":7,\"position\":9}\n";
        let [table, plain, _, shown_json, jsonl] = shown(|out, mode| reading(out, mode, &[0xfe], &bytes));
        assert_eq!([table.as_str(), &plain, &shown_json, &jsonl], ["\\xff\\x1b\n", "\\xff\\x1b\n", json, json]);
    }

    #[test]
    fn items_are_rows_lines_or_documents() {
        let item = |key: &[u8], value: &[u8]| Item { key: key.to_vec(), value: value.to_vec(), version: 2 };
        let pages = [vec![item(b"a\t", b"1\x1b")], vec![item(b"longer", b""), item(b"\xff", b"\xfe")]];
        let all = |keys_only| {
            shown(|out, mode| {
                let mut items = Items::new(mode, keys_only);
                pages.iter().try_for_each(|page| items.write(out, page))
            })
        };
        let [table, plain, _, json, jsonl] = all(false);
        assert_eq!(table, "KEY  VERSION  VALUE\na\\t        2  1\\x1b\nlonger        2  \n\\xff          2  \\xfe\n");
        assert_eq!(plain, "a\\t\t1\\x1b\nlonger\t\n\\xff\t\\xfe\n");
        let documents = "{\"key\":\"a\\t\",\"value\":\"1\\u001b\",\"version\":2}\n\
            {\"key\":\"longer\",\"value\":\"\",\"version\":2}\n\
            {\"key_b64\":\"/w==\",\"value_b64\":\"/g==\",\"version\":2}\n";
        assert_eq!([json.as_str(), &jsonl], [documents; 2]);
        let [table, plain, _, json, _] = all(true);
        assert!(table.starts_with("KEY  VERSION\na\\t        2\n") && plain == "a\\t\nlonger\n\\xff\n", "{table}{plain}");
        assert!(json.starts_with("{\"key\":\"a\\t\",\"version\":2}\n"), "{json}");
    }

    #[test]
    fn the_age_of_a_stale_read_is_said_in_words_or_as_a_document() {
        let [table, plain, _, json, _] = shown(|out, mode| age(out, mode, Index(9), Some(12)));
        assert_eq!([table.as_str(), &plain], ["as of position 9; the node last heard from a leader 12ms ago\n"; 2]);
        assert_eq!(json, "{\"position\":9,\"age_ms\":12}\n");
        let [table, _, _, json, _] = shown(|out, mode| age(out, mode, Index(9), None));
        assert_eq!(
            [table.as_str(), &json],
            ["as of position 9; the node has not heard from a leader yet\n", "{\"position\":9,\"age_ms\":null}\n"]
        );
    }

    fn status(id: u64, role: RoleName, leader: Option<u64>) -> Box<NodeStatus> {
        let member = |id: u64| MemberStatus {
            id: NodeId(id),
            name: format!("n{id}"),
            voter: true,
            client_addr: format!("h{id}:7117"),
            peer_addr: format!("h{id}:7217"),
            announced: true,
        };
        Box::new(NodeStatus {
            cluster_id: ClusterId(0xabc),
            id: NodeId(id),
            name: format!("n{id}"),
            client_addr: format!("h{id}:7117"),
            peer_addr: format!("h{id}:7217"),
            role,
            voter: true,
            leader: leader.map(NodeId),
            term: Term(7),
            first_log_index: Index(1),
            last_log_index: Index(20),
            commit_index: Index(19),
            applied_index: Index(18),
            snapshot_index: Index(0),
            log_bytes: 20_000,
            snapshot_bytes: 0,
            keys: 4,
            data_bytes: 99,
            sessions: 2,
            state_digest: 0xfeed,
            digest_index: Index(18),
            peer_messages_received: 5,
            peer_bytes: 6,
            fsync_us_p99: 1_870,
            uptime_ms: 61_000,
            version: "0.1.0".into(),
            formed: true,
            members: (1..=3).map(member).collect(),
        })
    }

    fn degraded() -> Overview {
        Overview::new(BTreeMap::from([
            ("h1:7117".to_string(), Ok(status(1, RoleName::Follower, Some(2)))),
            ("h2:7117".to_string(), Ok(status(2, RoleName::Leader, Some(2)))),
            ("h3:7117".to_string(), Err(Some(Reason::Connect("connection refused".into())))),
        ]))
    }

    #[test]
    fn a_member_that_answers_but_follows_nobody_is_no_help() {
        // A wiped node: the others refuse it, so it answers clients and knows no leader.
        let headline = Overview::new(BTreeMap::from([
            ("h1:7117".to_string(), Ok(status(1, RoleName::Follower, None))),
            ("h2:7117".to_string(), Ok(status(2, RoleName::Leader, Some(2)))),
            ("h3:7117".to_string(), Ok(status(3, RoleName::Follower, Some(2)))),
        ]))
        .headline();
        assert_eq!(headline, "degraded: 2/3 voters, leader n2, term 7, can lose 0");
    }

    #[test]
    fn status_is_a_verdict_and_a_row_per_member() {
        let [table, plain, ..] = shown(|out, mode| overview(out, mode, &degraded()));
        assert_eq!(
            table,
            "degraded: 2/3 voters, leader n2, term 7, can lose 0; no answer from n3\n\
             \n\
             NODE  ADDRESS  ROLE      TERM  COMMIT  APPLIED  LOG    KEYS  DATA  SYNC P99  UP   VERSION  PROBLEM\n\
             n1    h1:7117  follower  7     19      18       19KiB  4     99B   1.8ms     61s  0.1.0\n\
             n2    h2:7117  leader    7     19      18       19KiB  4     99B   1.8ms     61s  0.1.0\n\
             n3    h3:7117  -         -     -       -        -      -     -     -         -    -        connection refused\n"
        );
        assert_eq!(plain.lines().nth(3), Some("n3\th3:7117\t-\t-\t-\t-\t-\t-\t-\t-\t-\t-\tconnection refused"));
    }

    #[test]
    fn status_in_json_has_these_fields_in_this_order() {
        let [.., json] = shown(|out, mode| overview(out, mode, &degraded()));
        assert_eq!(json.lines().count(), 1);
        let first = "{\"cluster_id\":\"00000000000000000000000000000abc\",\"verdict\":\"degraded\",\"nodes\":[\
            {\"name\":\"n1\",\"id\":1,\"client_addr\":\"h1:7117\",\"peer_addr\":\"h1:7217\",\"reachable\":true,\"reason\":null,\
            \"role\":\"follower\",\"voter\":true,\"leader\":2,\"term\":7,\"first_log_index\":1,\"last_log_index\":20,\"commit_index\":19,\
            \"applied_index\":18,\"snapshot_index\":0,\"log_bytes\":20000,\"snapshot_bytes\":0,\"keys\":4,\"data_bytes\":99,\"sessions\":2,\
            \"state_digest\":\"000000000000feed\",\"digest_index\":18,\"peer_messages_received\":5,\"peer_bytes\":6,\
            \"fsync_us_p99\":1870,\"uptime_ms\":61000,\"version\":\"0.1.0\"},";
        assert!(json.starts_with(first), "{json}");
        let last = "{\"name\":\"n3\",\"id\":3,\"client_addr\":\"h3:7117\",\"peer_addr\":\"h3:7217\",\"reachable\":false,\
            \"reason\":\"connection refused\",\"role\":null,\"voter\":true,\"leader\":null,";
        assert!(json.contains(last), "{json}");
    }

    #[test]
    fn what_comes_from_a_node_cannot_drive_the_terminal() {
        let mut evil = status(1, RoleName::Leader, Some(1));
        evil.members.iter_mut().for_each(|member| member.name = "\x1b[2J".into());
        let overview_of = Overview::new(BTreeMap::from([("h1:7117".to_string(), Ok(evil))]));
        let [table, plain, _, json, _] = shown(|out, mode| overview(out, mode, &overview_of));
        for text in [table, plain, json] {
            assert!(!text.contains('\x1b'), "{text:?}");
        }
    }
}
