//! Results, in every mode.

use std::io::{self, Write};

use kvcli::{Overview, Reading, Verdict, WriteOutcome, Written};
use serde_json::{Map, Value, json};
use wire::{NodeStatus, RoleName};

use crate::cli::Mode;
use crate::quote::escape;

/// A put or an append.
pub(crate) fn written(out: &mut impl Write, mode: Mode, written: &Written) -> io::Result<()> {
    match mode {
        Mode::Table => writeln!(out, "OK"),
        Mode::Plain | Mode::Raw => Ok(()),
        Mode::Json | Mode::Jsonl => line(out, &json!({ "version": written.version, "position": written.position.0 })),
    }
}

/// A delete.
pub(crate) fn deleted(out: &mut impl Write, mode: Mode, written: &Written) -> io::Result<()> {
    match mode {
        Mode::Table => writeln!(out, "OK"),
        Mode::Plain | Mode::Raw => Ok(()),
        Mode::Json | Mode::Jsonl => {
            let existed = written.outcome == WriteOutcome::Deleted;
            line(out, &json!({ "existed": existed, "position": written.position.0 }))
        }
    }
}

/// A get that found something.
pub(crate) fn reading(out: &mut impl Write, mode: Mode, key: &[u8], reading: &Reading) -> io::Result<()> {
    let Some(value) = &reading.value else { return Ok(()) };
    match mode {
        Mode::Raw => out.write_all(&value.value),
        Mode::Table | Mode::Plain => writeln!(out, "{}", escape(&value.value)),
        Mode::Json | Mode::Jsonl => {
            let mut fields = Map::new();
            bytes(&mut fields, "key", key);
            bytes(&mut fields, "value", &value.value);
            fields.insert("version".into(), value.version.into());
            fields.insert("modified".into(), value.modified.0.into());
            fields.insert("position".into(), reading.position.0.into());
            line(out, &Value::Object(fields))
        }
    }
}

/// A wait that is over.
pub(crate) fn ready(out: &mut impl Write, mode: Mode, overview: &Overview) -> io::Result<()> {
    let leader = overview.leader.map(|leader| overview.name_of(leader));
    match mode {
        Mode::Table => writeln!(out, "{}", overview.headline()),
        Mode::Plain | Mode::Raw => Ok(()),
        Mode::Json | Mode::Jsonl => line(out, &json!({ "verdict": overview.verdict.name(), "leader": leader })),
    }
}

/// How a cluster is.
pub(crate) fn overview(out: &mut impl Write, mode: Mode, overview: &Overview) -> io::Result<()> {
    match mode {
        Mode::Json | Mode::Jsonl => line(out, &overview_json(overview)),
        Mode::Plain | Mode::Raw => {
            writeln!(out, "{}\t{}", overview.verdict.name(), overview.headline())?;
            for cells in cells(overview) {
                writeln!(out, "{}", cells.map(|cell| escape(cell.as_bytes())).join("\t"))?;
            }
            Ok(())
        }
        Mode::Table => {
            writeln!(out, "{}", overview.headline())?;
            if overview.verdict != Verdict::Unreachable {
                writeln!(out)?;
            }
            let header =
                ["NODE", "ADDRESS", "ROLE", "TERM", "COMMIT", "APPLIED", "LOG", "KEYS", "DATA", "SYNC P99", "UP", "VERSION", "PROBLEM"];
            let mut rows = vec![header.map(String::from)];
            rows.extend(cells(overview).into_iter().map(|cells| cells.map(|cell| escape(cell.as_bytes()))));
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

fn cells(overview: &Overview) -> Vec<[String; 13]> {
    let cells = overview.rows.iter().map(|row| {
        let number = |number: fn(&NodeStatus) -> u64| row.status().map_or_else(|| "-".into(), |status| number(status).to_string());
        let text = |text: fn(&NodeStatus) -> String| row.status().map_or_else(|| "-".into(), text);
        let problem = match &row.answer {
            Ok(_) if row.member.is_none() => "not a member".into(),
            Ok(status) if status.leader.is_none() => "knows no leader".into(),
            Ok(_) => String::new(),
            Err(Some(reason)) => reason.to_string(),
            Err(None) => "has announced no address yet".into(),
        };
        [
            row.name().into(),
            row.status().map_or_else(|| row.address.clone(), |status| status.client_addr.clone()),
            text(|status| role(status.role).into()),
            number(|status| status.term.0),
            number(|status| status.commit_index.0),
            number(|status| status.applied_index.0),
            text(|status| size(status.log_bytes)),
            number(|status| status.keys),
            text(|status| size(status.data_bytes)),
            text(|status| format!("{:.1}ms", status.fsync_us_p99 as f64 / 1e3)),
            text(|status| uptime(status.uptime_ms)),
            text(|status| status.version.clone()),
            problem,
        ]
    });
    cells.collect()
}

fn overview_json(overview: &Overview) -> Value {
    let nodes: Vec<Value> = overview
        .rows
        .iter()
        .map(|row| {
            let (member, status) = (row.member.as_ref(), row.status());
            let field = |field: fn(&NodeStatus) -> Value| status.map_or(Value::Null, field);
            let known_name = member.map(|member| &member.name).or(status.map(|status| &status.name));
            let known_id = member.map(|member| member.id).or(status.map(|status| status.id));
            json!({
                "name": known_name,
                "id": known_id.map(|id| id.0),
                "client_addr": status.map_or(&row.address, |status| &status.client_addr),
                "peer_addr": status.map(|status| &status.peer_addr).or(member.map(|member| &member.peer_addr)),
                "reachable": row.answer.is_ok(),
                "reason": row.answer.as_ref().err().map(|reason| {
                    reason.as_ref().map_or_else(|| "has announced no address yet".into(), ToString::to_string)
                }),
                "role": field(|status| role(status.role).into()),
                "voter": member.map(|member| member.voter).or(status.map(|status| status.voter)),
                "leader": field(|status| status.leader.map(|leader| leader.0).into()),
                "term": field(|status| status.term.0.into()),
                "first_log_index": field(|status| status.first_log_index.0.into()),
                "last_log_index": field(|status| status.last_log_index.0.into()),
                "commit_index": field(|status| status.commit_index.0.into()),
                "applied_index": field(|status| status.applied_index.0.into()),
                "snapshot_index": field(|status| status.snapshot_index.0.into()),
                "log_bytes": field(|status| status.log_bytes.into()),
                "snapshot_bytes": field(|status| status.snapshot_bytes.into()),
                "keys": field(|status| status.keys.into()),
                "data_bytes": field(|status| status.data_bytes.into()),
                "sessions": field(|status| status.sessions.into()),
                // As text: a JSON number has no room for all of its 64 bits.
                "state_digest": field(|status| format!("{:016x}", status.state_digest).into()),
                "digest_index": field(|status| status.digest_index.0.into()),
                "peer_messages_received": field(|status| status.peer_messages_received.into()),
                "peer_bytes": field(|status| status.peer_bytes.into()),
                "fsync_us_p99": field(|status| status.fsync_us_p99.into()),
                "uptime_ms": field(|status| status.uptime_ms.into()),
                "version": field(|status| status.version.clone().into()),
            })
        })
        .collect();
    json!({
        "cluster_id": overview.cluster_id.map(|id| id.to_string()),
        "verdict": overview.verdict.name(),
        "nodes": nodes,
    })
}

/// `"key": text` if the bytes are text, else `"key_b64"`.
fn bytes(fields: &mut Map<String, Value>, name: &str, bytes: &[u8]) {
    match str::from_utf8(bytes) {
        Ok(text) => fields.insert(name.into(), text.into()),
        Err(_) => fields.insert(format!("{name}_b64"), base64(bytes).into()),
    };
}

fn line(out: &mut impl Write, value: &Value) -> io::Result<()> {
    writeln!(out, "{value}")
}

/// RFC 4648, with padding.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0u32, |group, byte| group << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for digit in 0..4 {
            let letter = ALPHABET[(group >> (18 - 6 * digit) & 63) as usize];
            text.push(if digit <= chunk.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

fn role(role: RoleName) -> &'static str {
    match role {
        RoleName::Follower => "follower",
        RoleName::PreCandidate => "pre-candidate",
        RoleName::Candidate => "candidate",
        RoleName::Leader => "leader",
        RoleName::Learner => "learner",
    }
}

fn size(bytes: u64) -> String {
    match bytes {
        0..=9_999 => format!("{bytes}B"),
        10_000..=10_485_759 => format!("{}KiB", bytes >> 10),
        10_485_760..=10_737_418_239 => format!("{}MiB", bytes >> 20),
        _ => format!("{}GiB", bytes >> 30),
    }
}

fn uptime(ms: u64) -> String {
    match ms / 1000 {
        seconds @ 0..=119 => format!("{seconds}s"),
        seconds @ 120..=7_199 => format!("{}m", seconds / 60),
        seconds @ 7_200..=172_799 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86_400),
    }
}
