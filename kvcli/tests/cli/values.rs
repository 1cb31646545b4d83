//! What goes in comes out: any bytes, by every way in.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

use wire::limits::{KEY_LEN_MAX, VALUE_LEN_MAX};

use crate::fake::{Fake, Manner};
use crate::program::{run_at, run_reading};

#[test]
fn a_value_on_the_command_line_is_literal() {
    let node = Fake::new(Manner::Serves);
    for value in ["v", "", "-1", "-x", "--unknown", "two words", "\u{fe0f}", "a\tb\n"] {
        run_at(&[&node], ["put", "k", value]).expect(0);
        assert_eq!(run_at(&[&node], ["get", "k"]).expect(0).text(), value);
    }
    run_at(&[&node], ["put", "--literal", "k", "-"]).expect(0);
    assert_eq!(run_at(&[&node], ["get", "k"]).expect(0).text(), "-");
    run_at(&[&node], ["put", "--", "-k", "--timeout"]).expect(0);
    assert_eq!(run_at(&[&node], ["get", "--", "-k"]).expect(0).text(), "--timeout");
}

#[test]
fn keys_and_values_are_any_bytes() {
    let node = Fake::new(Manner::Serves);
    let key = OsStr::from_bytes(b"\xff\x01\n key");
    let value = OsStr::from_bytes(b"\xfe\x80value\x1b");
    run_at(&[&node], [OsStr::new("put"), key, value]).expect(0);
    assert_eq!(run_at(&[&node], [OsStr::new("get"), key]).expect(0).stdout, value.as_bytes());
}

#[test]
fn all_bytes_of_standard_input_are_the_value() {
    let node = Fake::new(Manner::Serves);
    let all: Vec<u8> = (0..=255).collect();
    for args in [&["put", "k"][..], &["put", "k", "-"]] {
        run_reading(&[&node], &all, args).expect(0);
        assert_eq!(node.value(b"k").as_ref(), Some(&all));
    }
    run_reading(&[&node], b"", ["put", "k"]).expect(0);
    assert_eq!(node.value(b"k"), Some(Vec::new()));
    run_reading(&[&node], b"line\n", ["append", "k"]).expect(0);
    assert_eq!(node.value(b"k"), Some(b"line\n".to_vec()));
}

#[test]
fn a_file_is_the_value_and_one_that_cannot_be_read_is_local() {
    let node = Fake::new(Manner::Serves);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a file");
    std::fs::write(&path, b"from\0file\n").unwrap();
    run_at(&[&node], [OsStr::new("put"), OsStr::new("k"), OsStr::new("--file"), path.as_os_str()]).expect(0);
    assert_eq!(node.value(b"k"), Some(b"from\0file\n".to_vec()));
    let missing = run_at(&[&node], ["put", "k", "--file", "/nowhere/at all"]).expect(74);
    assert!(missing.stderr.contains("/nowhere/at all"), "{missing:?}");
    run_at(&[&node], ["put", "k", "v", "--file", "x"]).expect(2);
    run_at(&[&node], ["put", "k", "--literal"]).expect(2);
    run_at(&[&node], ["put", "k", "--file", "x", "--literal"]).expect(2);
}

#[test]
fn limits_hold_to_the_byte() {
    let node = Fake::new(Manner::Serves);
    for (len, code) in [(VALUE_LEN_MAX - 1, 0), (VALUE_LEN_MAX, 0), (VALUE_LEN_MAX + 1, 6)] {
        let ran = run_reading(&[&node], &vec![b'x'; len], ["put", "k"]).expect(code);
        assert_eq!(ran.stderr.contains("1048576"), code == 6, "the limit is named: {ran:?}");
    }
    assert_eq!(node.value(b"k").map(|value| value.len()), Some(VALUE_LEN_MAX));
    for (len, code) in [(KEY_LEN_MAX - 1, 0), (KEY_LEN_MAX, 0), (KEY_LEN_MAX + 1, 6)] {
        let ran = run_at(&[&node], ["put", &"k".repeat(len), "v"]).expect(code);
        assert_eq!(ran.stderr.contains("65536"), code == 6, "the limit is named: {ran:?}");
    }
    for command in [&["put", "", "v"][..], &["append", "", "v"], &["get", ""], &["delete", ""]] {
        assert!(run_at(&[&node], command).expect(6).stderr.contains("empty"));
    }
}

#[test]
fn an_endless_value_is_rejected_in_bounded_memory() {
    // 200 MB of address space: the gigabyte that is offered would not fit.
    let script = format!("ulimit -v 200000; exec {} --endpoints 127.0.0.1:1 put k < /dev/zero", env!("CARGO_BIN_EXE_kvcli"));
    let output = Command::new("sh").args(["-c", &script]).output().unwrap();
    assert_eq!(output.status.code(), Some(6), "{output:?}");
}
