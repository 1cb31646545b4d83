//! Keys and values of any bytes, up to their limits; what is beyond them is refused with 6 and costs nobody any memory.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::process::Stdio;

use tests::cli::Ran;
use tests::{Cluster, process};
use wire::limits::{KEY_LEN_MAX, VALUE_LEN_MAX};

#[test]
fn values_of_any_bytes_survive_from_stdin() {
    let cluster = Cluster::start(1);
    let every_byte: Vec<u8> = (0..=255).chain([b'\n', 0, 0, b'\n']).collect();
    for value in [&every_byte[..], b"\n", b"-", b"a\r\n", &[0xff; 70_000]] {
        cluster.kvcli_reading(value, ["put", "k"]).expect_code(0);
        assert_eq!(cluster.kvcli(["-o", "raw", "get", "k"]).expect_code(0).stdout, value);
    }
}

#[test]
fn keys_of_any_bytes_survive() {
    let cluster = Cluster::start(1);
    // All but 0, which no argument can hold.
    let key: Vec<u8> = (1..=255).collect();
    let key = OsStr::from_bytes(&key);
    cluster.kvcli([OsStr::new("put"), key, OsStr::new("found")]).expect_code(0);
    assert_eq!(cluster.kvcli([OsStr::new("get"), key]).expect_code(0).stdout, b"found");
    cluster.kvcli([OsStr::new("get"), OsStr::from_bytes(&[0xff])]).expect_code(1);
}

#[test]
fn values_are_literal_even_if_they_look_like_options_or_are_empty() {
    let cluster = Cluster::start(1);
    for value in ["-1", "-x", "", "{\"a\":1}", " "] {
        cluster.kvcli(["put", "k", value]).expect_code(0);
        assert_eq!(cluster.kvcli(["get", "k"]).expect_code(0).stdout, value.as_bytes());
    }
    for value in ["--timeout", "--"] {
        cluster.kvcli(["put", "--", "k", value]).expect_code(0);
        assert_eq!(cluster.kvcli(["get", "k"]).expect_code(0).stdout, value.as_bytes());
    }
    cluster.kvcli(["put", "k", "-1"]).expect_code(0);
    cluster.kvcli(["append", "k", "-2"]).expect_code(0);
    assert_eq!(cluster.kvcli(["get", "k"]).expect_code(0).stdout, b"-1-2");
}

#[test]
fn a_missing_key_and_an_empty_value_differ_by_exit_code() {
    let cluster = Cluster::start(1);
    let ran = cluster.kvcli(["get", "k"]).expect_code(1);
    assert!(ran.stdout.is_empty());
    cluster.kvcli(["put", "k", ""]).expect_code(0);
    assert!(cluster.kvcli(["get", "k"]).expect_code(0).stdout.is_empty());
    cluster.kvcli(["delete", "k"]).expect_code(0);
    cluster.kvcli(["get", "k"]).expect_code(1);
    cluster.kvcli(["delete", "k"]).expect_code(0);
    cluster.kvcli(["delete", "k", "--must-exist"]).expect_code(1);
}

#[test]
fn a_key_is_from_1_to_65536_bytes() {
    let cluster = Cluster::start(1);
    for (len, code) in [(0, 6), (1, 0), (KEY_LEN_MAX - 1, 0), (KEY_LEN_MAX, 0), (KEY_LEN_MAX + 1, 6)] {
        let key = "k".repeat(len);
        let ran = cluster.kvcli(["put", &key, "v"]).expect_code(code);
        cluster.kvcli(["append", &key, "v"]).expect_code(code);
        cluster.kvcli(["get", &key]).expect_code(code);
        if code == 6 {
            ran.expect_says(&["key"]);
        }
    }
}

#[test]
fn a_value_is_at_most_a_mebibyte_whether_put_or_grown() {
    let cluster = Cluster::start(1);
    for (len, code) in [(VALUE_LEN_MAX - 1, 0), (VALUE_LEN_MAX, 0), (VALUE_LEN_MAX + 1, 6)] {
        let value = vec![b'v'; len];
        cluster.kvcli_reading(&value, ["put", "k"]).expect_code(code);
        let stored = cluster.kvcli(["get", "k"]).expect_code(0).stdout;
        assert_eq!(stored.len(), len.min(VALUE_LEN_MAX));
    }
    // Full to the last byte: one more is refused, and changes nothing.
    cluster.kvcli(["append", "k", "v"]).expect_code(6).expect_says(&["value"]);
    cluster.kvcli(["append", "k", ""]).expect_code(0);
    assert_eq!(cluster.kvcli(["get", "k"]).expect_code(0).stdout.len(), VALUE_LEN_MAX);
}

#[test]
fn a_gigabyte_on_stdin_ends_with_6_in_bounded_memory() {
    let cluster = Cluster::start(1);
    let mut command = tests::programs::command("sh");
    // 256 MiB of address space: reading all of it would end otherwise.
    let script = r#"ulimit -v 262144; head -c 1G /dev/zero | "$0" --endpoints "$1" put k"#;
    command.args(["-c", script]).arg(tests::programs::kvcli()).arg(cluster.endpoints());
    Ran::run(command, b"").expect_code(6).expect_says(&["value"]);
    cluster.kvcli(["get", "k"]).expect_code(1);
}

#[test]
fn a_closed_stdout_ends_kvcli_with_141_silently() {
    let cluster = Cluster::start(1);
    cluster.kvcli_reading(&vec![b'v'; 200_000], ["put", "k"]).expect_code(0);
    for command in [&["get", "k"][..], &["status"]] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut get = cluster.kvcli_command(&cluster.endpoints(), command);
        get.stdin(Stdio::null()).stdout(writer).stderr(Stdio::piped());
        let output = process::spawn(get).expect("kvcli starts").wait_with_output().expect("it ends");
        let signal = std::os::unix::process::ExitStatusExt::signal(&output.status).map(|signal| 128 + signal);
        assert_eq!(output.status.code().or(signal), Some(141), "{command:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{command:?}");
    }
}
