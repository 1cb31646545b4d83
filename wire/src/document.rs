//! docs/PROTOCOL.md says what the code does: its tables are those of the modules, its numbers those of `limits`, and the bytes of its
//! example are what the encoder writes. Whoever changes one is told here to change the other.

use raft::{ClusterId, Index, NodeId};

use crate::hex::hex;
use crate::*;

const DOCUMENT: &str = include_str!("../../docs/PROTOCOL.md");

/// Every module with tables, and how many it has.
const SOURCES: [(&str, &str, usize); 8] = [
    ("codec.rs", include_str!("codec.rs"), 1),
    ("frame.rs", include_str!("frame.rs"), 2),
    ("hello.rs", include_str!("hello.rs"), 5),
    ("client.rs", include_str!("client.rs"), 3),
    ("command.rs", include_str!("command.rs"), 4),
    ("peer.rs", include_str!("peer.rs"), 2),
    ("status.rs", include_str!("status.rs"), 2),
    ("raft/src/entry.rs", include_str!("../../raft/src/entry.rs"), 1),
];

/// The tables in a text, each as its rows, each as its cells: how they are padded does not matter.
fn tables<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<Vec<Vec<&'a str>>> {
    let lines: Vec<&str> = lines.map(str::trim).collect();
    let rows = |table: &[&'a str]| {
        let is_text = |line: &&&str| !line.starts_with("|--");
        table.iter().filter(is_text).map(|line| line.split('|').map(str::trim).collect()).collect()
    };
    lines.split(|line| !line.starts_with('|')).filter(|table| !table.is_empty()).map(rows).collect()
}

/// The bytes of a named block.
fn example(name: &str) -> Vec<u8> {
    let (_, behind) = DOCUMENT.split_once(&format!("```hex {name}\n")).unwrap_or_else(|| panic!("no block {name:?}"));
    hex(behind.split_once("```").expect("a block ends").0)
}

#[test]
fn its_tables_are_those_of_the_modules() {
    let in_document = tables(DOCUMENT.lines());
    for (module, source, count) in SOURCES {
        let in_module = tables(source.lines().map_while(|line| line.strip_prefix("//!")));
        assert_eq!(in_module.len(), count, "{module}");
        for table in in_module {
            assert!(in_document.contains(&table), "docs/PROTOCOL.md lacks this table of {module}:\n{table:#?}");
        }
    }
}

#[test]
fn its_limits_are_those_of_the_code() {
    let source = include_str!("limits.rs");
    let row = |name: &str, value: u64| {
        assert!(source.contains(&format!("pub const {name}: ")), "{name}");
        let found = DOCUMENT.lines().find(|line| line.starts_with(&format!("| `{name}` "))).unwrap_or_else(|| panic!("no row {name}"));
        assert_eq!(found.split('|').nth(2).map(str::trim), Some(value.to_string().as_str()), "{name}");
    };
    macro_rules! rows {
        ($($name:ident),*) => { $(row(stringify!($name), limits::$name as u64);)* };
    }
    rows!(KEY_LEN_MAX, VALUE_LEN_MAX, COMMAND_LEN_MAX, HELLO_BODY_LEN_MAX, FRAME_BODY_LEN_MAX, SESSION_WINDOW, SESSIONS_MAX);
    rows!(SNAPSHOT_CHUNK_LEN_MAX, MEMBERS_MAX, NAME_LEN_MAX, ADDRESS_LEN_MAX, VERSION_LEN_MAX, MESSAGE_LEN_MAX);
}

#[test]
fn its_example_is_what_the_encoder_writes() {
    let mut out = Vec::new();
    encode_hello(&Hello::Client { cluster_id: None }, &mut out);
    assert_eq!(out, example("hello"));

    let member = |id: u64| MemberAddress { id: NodeId(id), name: format!("n{id}"), client_addr: format!("10.0.0.{id}:7117") };
    let welcome = Welcome {
        cluster_id: ClusterId(0x5c8e_1f0b_7a3d_4926_b1e0_d7c4_938a_2f61),
        node: NodeId(1),
        applied_index: Index(17),
        leader: Some(NodeId(2)),
        members: (1..=3).map(member).collect(),
        version: "0.1.0".into(),
    };
    out.clear();
    encode_welcome(&welcome, &mut out);
    assert_eq!(out, example("welcome"));

    let session = SessionId(0x0f1e_2d3c_4b5a_6978_8796_a5b4_c3d2_e1f0);
    let call = CallId { session, birth_index: Index(17), seq: 1, first_unanswered: 1 };
    let mut command = Vec::new();
    encode_write(&call, &Op::Put { key: b"color", value: b"green" }, &mut command);
    out.clear();
    encode_request(42, &Request::Write { command: &command }, &mut out);
    assert_eq!(out, example("put"));

    let written = Written { outcome: WriteOutcome::Done, version: 1, position: Index(18) };
    out.clear();
    encode_reply(42, &Reply::Written(written), &mut out);
    assert_eq!(out, example("written"));

    out.clear();
    encode_reply(42, &Reply::NotLeader { leader: Some(NodeId(2)), client_addr: "10.0.0.2:7117".into() }, &mut out);
    assert_eq!(out, example("not leader"));
}
