//! Everything, at one point in time, in lines that `load` reads.

use std::fs::OpenOptions;
use std::process::Stdio;

use crate::fake::{Fake, Manner};
use crate::program::{Ran, command_at, run_at};

fn node() -> Fake {
    let node = Fake::new(Manner::Serves);
    let pairs: [(&[u8], &[u8]); 5] = [(b"b", b"2\r"), (b"a", b"1"), (b"\xff", b"\x00"), (b"{", b"3"), (b"c", b"two\nlines")];
    node.hold(pairs.map(|(key, value)| (key.to_vec(), value.to_vec())));
    node
}

#[test]
fn a_dump_is_in_byte_order_tabbed_where_that_is_lossless_and_says_its_position() {
    let ran = run_at(&[&node()], ["dump"]).expect(0);
    let lines: [&[u8]; 5] =
        [b"a\t1\n", b"b\t2\r\n", b"{\"key\":\"c\",\"value\":\"two\\nlines\"}\n", b"{\"key\":\"{\",\"value\":\"3\"}\n", b"\xff\t\x00\n"];
    assert_eq!((ran.stdout, ran.stderr.as_str()), (lines.concat(), "5 keys as of position 10\n"));
}

#[test]
fn a_dump_in_json_is_a_document_per_line_and_one_about_it_all() {
    let ran = run_at(&[&node()], ["dump", "-o", "jsonl"]).expect(0);
    assert_eq!(ran.text().lines().next(), Some("{\"key\":\"a\",\"value\":\"1\",\"version\":1}"));
    assert_eq!((ran.text().lines().count(), ran.error()), (5, serde_json::json!({"position": 10, "keys": 5})));
}

#[test]
fn a_dump_of_nothing_is_empty_and_complete() {
    let ran = run_at(&[&Fake::new(Manner::Serves)], ["dump"]).expect(0);
    assert_eq!((ran.stdout.len(), ran.stderr.as_str()), (0, "0 keys as of position 5\n"));
}

#[test]
fn a_dump_that_ends_early_never_looks_complete() {
    let node = node();
    node.lose_scans_after(2);
    let ran = run_at(&[&node], ["dump"]).expect(3);
    assert!(ran.stderr.contains("the output ends early: 4 keys, the last is {") && !ran.stderr.contains("as of"), "{ran:?}");
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    node.lose_scans_after(usize::MAX);
    let child = command_at(&[&node]).arg("dump").stdout(full).stderr(Stdio::piped()).spawn().unwrap();
    let ran: Ran = child.wait_with_output().unwrap().into();
    let ran = ran.expect(74);
    assert!(ran.stderr.contains("standard output") && !ran.stderr.contains("as of"), "{ran:?}");
}

#[test]
fn a_stale_dump_says_how_old_it_may_be() {
    let node = node();
    node.age(40);
    let ran = run_at(&[&node], ["dump", "--stale"]).expect(0);
    assert_eq!(ran.stderr, "as of position 10; the node last heard from a leader 40ms ago\n5 keys as of position 10\n");
    assert_eq!(node.asked()[0], "stale scan");
}
