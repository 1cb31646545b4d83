//! `chaos check` from the outside: a file in, a verdict and an exit code out.

use std::io::Write;
use std::process::{Command, Output, Stdio};

fn check(history: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_chaos"))
        .args(["check", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("chaos starts");
    child.stdin.take().expect("a pipe").write_all(history.as_bytes()).expect("it reads its input");
    child.wait_with_output().expect("it ends")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

const PUT_OLD: &str = r#"{"client":1,"op":"put","key":"x","value":"old","call_ns":10,"return_ns":20,"outcome":"ok"}"#;
const PUT_NEW: &str = r#"{"client":1,"op":"put","key":"x","value":"new","call_ns":30,"return_ns":40,"outcome":"ok"}"#;

fn get(value: &str) -> String {
    format!(r#"{{"client":2,"op":"get","key":"x","call_ns":50,"return_ns":60,"outcome":"ok","result":"{value}"}}"#)
}

#[test]
fn a_good_history_passes() {
    let output = check(&format!("{PUT_OLD}\n{PUT_NEW}\n{}\n", get("new")));
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), "linearizable: 3 operations\n".into()));
}

#[test]
fn a_lost_write_is_named_and_exits_1() {
    let output = check(&format!("{PUT_OLD}\n{PUT_NEW}\n{}\n", get("old")));
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).starts_with("violation: lost write on key \"x\"\n"), "{}", text(&output.stdout));
}

#[test]
fn no_operations_are_inconclusive_and_exit_4() {
    assert_eq!(check("").status.code(), Some(4));
}

#[test]
fn a_history_in_which_nothing_was_answered_is_inconclusive_and_exits_4() {
    let refused = PUT_OLD.replace("\"ok\"", "\"fail\"");
    let unknown = r#"{"client":2,"op":"get","key":"x","call_ns":50,"return_ns":null,"outcome":"unknown"}"#;
    let output = check(&format!("{refused}\n{unknown}\n"));
    let says = "inconclusive: 2 operations, and none of them is ok\n";
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(4), says.into()));
}

#[test]
fn a_bad_line_is_named_and_exits_64() {
    let output = check(&format!("{PUT_OLD}\nnonsense\n"));
    assert_eq!(output.status.code(), Some(64));
    assert!(text(&output.stderr).contains("line 2"), "{}", text(&output.stderr));
}

#[test]
fn a_missing_file_is_named_and_exits_64() {
    let output = Command::new(env!("CARGO_BIN_EXE_chaos")).args(["check", "no/such/file"]).output().expect("chaos starts");
    assert_eq!(output.status.code(), Some(64));
    assert!(text(&output.stderr).contains("cannot open no/such/file"), "{}", text(&output.stderr));
}
