//! Many keys at one point in time, and reads that may be old.

use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::fake::{Fake, Manner};
use crate::program::{Ran, command_at, run_at};

fn node_with(keys: &[&str]) -> Fake {
    let node = Fake::new(Manner::Serves);
    node.hold(keys.iter().map(|key| (key.as_bytes().to_vec(), key.to_uppercase().into_bytes())));
    node
}

#[test]
fn a_scan_prints_what_the_arguments_allow_in_order_across_pages() {
    let node = node_with(&["a", "b1", "b2", "b3", "b4", "b5", "c"]);
    let cases: [(&[&str], &str); 8] = [
        (&["scan"], "a b1 b2 b3 b4 b5 c"),
        (&["ls", "b"], "b1 b2 b3 b4 b5"),
        (&["scan", "b", "--from", "b2", "--to", "b4"], "b2 b3"),
        (&["scan", "--from", "b4"], "b4 b5 c"),
        (&["scan", "--to", "b1"], "a"),
        (&["scan", "--limit", "3"], "a b1 b2"),
        (&["scan", "x"], ""),
        (&["scan", "--from", "c", "--to", "a"], ""),
    ];
    for (args, keys) in cases {
        let expected: String = keys.split_whitespace().map(|key| format!("{key}\t{}\n", key.to_uppercase())).collect();
        let ran = run_at(&[&node], args).expect(0);
        assert_eq!((ran.text(), ran.stderr.as_str()), (expected, ""), "{args:?}");
        let expected: String = keys.split_whitespace().map(|key| format!("{key}\n")).collect();
        assert_eq!(run_at(&[&node], [args, &["--keys-only"]].concat()).expect(0).text(), expected, "{args:?}");
    }
}

#[test]
fn a_prefix_is_any_bytes() {
    let node = Fake::new(Manner::Serves);
    node.hold([b"\xfe\xff".to_vec(), b"\xff".to_vec(), b"\xff\xff1".to_vec()].map(|key| (key, b"v".to_vec())));
    let ran = run_at(&[&node], [OsStr::new("scan"), OsStr::from_bytes(b"\xff"), OsStr::new("-o"), OsStr::new("json")]).expect(0);
    let keys: Vec<String> =
        ran.text().lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["key_b64"].to_string()).collect();
    assert_eq!(keys, ["\"/w==\"", "\"//8x\""]);
}

#[test]
fn a_scan_that_is_lost_midway_says_how_far_it_got() {
    for args in [&["scan"][..], &["scan", "-o", "json"]] {
        let node = node_with(&["a", "b", "c", "d", "e", "f"]);
        node.lose_scans_after(2);
        let ran = run_at(&[&node], args).expect(3);
        assert_eq!(ran.text().lines().count(), 4, "{ran:?}");
        assert!(ran.stderr.contains("4 keys, the last is d") && ran.stderr.contains("forgotten the scan"), "{ran:?}");
    }
    let ran = {
        let node = node_with(&["a"]);
        node.lose_scans_after(0);
        run_at(&[&node], ["--timeout", "300ms", "-o", "json", "scan"]).expect(3)
    };
    assert_eq!((ran.stdout.len(), ran.error()["outcome"].as_str()), (0, Some("not_done")));
}

#[test]
fn a_scan_whose_first_page_is_lost_begins_again_elsewhere() {
    let [first, second, _] = Fake::cluster([Manner::Serves, Manner::Serves, Manner::Serves]);
    first.hold([(b"k".to_vec(), b"old".to_vec())]);
    first.lose_scans_after(0);
    second.hold([(b"k".to_vec(), b"v".to_vec())]);
    assert_eq!(run_at(&[&first, &second], ["scan"]).expect(0).text(), "k\tv\n");
}

#[test]
fn a_reader_that_has_enough_is_no_failure_to_talk_about() {
    let node = node_with(&["a", "b", "c"]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let child = command_at(&[&node]).arg("scan").stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
    let ran: Ran = child.wait_with_output().unwrap().into();
    assert_eq!(ran.expect(141).stderr, "");
}

#[test]
fn a_stale_read_needs_no_leader_and_says_how_old_it_may_be() {
    let [follower, _, _] = Fake::cluster([Manner::Serves, Manner::Silent, Manner::Silent]);
    follower.hold([(b"k".to_vec(), b"v".to_vec())]);
    let ran = run_at(&[&follower], ["get", "--stale", "k"]).expect(0);
    assert_eq!((ran.text().as_str(), ran.stderr.as_str()), ("v", "as of position 6; the node has not heard from a leader yet\n"));
    follower.age(250);
    let ran = run_at(&[&follower], ["get", "--stale", "k"]).expect(0);
    assert_eq!(ran.stderr, "as of position 6; the node last heard from a leader 250ms ago\n");
    let ran = run_at(&[&follower], ["scan", "--stale", "-o", "json"]).expect(0);
    assert_eq!(ran.error(), serde_json::json!({"position": 6, "age_ms": 250}));
    let ran = run_at(&[&follower], ["get", "--stale", "nothing"]).expect(1);
    assert!(ran.stderr.contains("as of position 6") && ran.stderr.contains("no such key"), "{ran:?}");
    assert_eq!(follower.asked(), ["stale get", "stale get", "stale scan", "stale get"]);
}

#[test]
fn a_later_page_that_does_not_come_ends_with_the_timeout_or_with_ctrl_c() {
    let node = node_with(&["a", "b", "c"]);
    node.behave(Manner::FirstPages);
    let ran = run_at(&[&node], ["--timeout", "300ms", "scan"]).expect(3);
    assert!(ran.text() == "a\tA\nb\tB\n" && ran.stderr.contains("2 keys, the last is b") && ran.stderr.contains("no reply"), "{ran:?}");

    let mut child = command_at(&[&node]).arg("scan").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut printed = [0; 8];
    child.stdout.as_mut().unwrap().read_exact(&mut printed).unwrap();
    // While it prints, a signal ends it as any program; then it waits, and has blocked the signal to read it.
    let waits = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        let blocked = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap().trim();
        u64::from_str_radix(blocked, 16).unwrap() >> (Signal::SIGINT as u32 - 1) & 1 == 1
    };
    while !waits() {
        // sleeps because what another process blocks can only be polled
        thread::sleep(Duration::from_millis(1));
    }
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGINT).unwrap();
    let ran = Ran::from(child.wait_with_output().unwrap()).expect(130);
    assert_eq!((ran.stdout.len(), ran.stderr.as_str()), (0, ""));
}
