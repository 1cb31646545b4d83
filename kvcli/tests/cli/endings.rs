//! Every exit code, from a situation that deserves it, and what is said then.

use std::fs::OpenOptions;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use wire::{BusyReason, RefusedReason, RejectedReason, Reply};

use crate::fake::{Fake, Manner};
use crate::program::{Ran, command_at, run, run_at};

#[test]
fn a_missing_key_is_no() {
    let node = Fake::new(Manner::Serves);
    let ran = run_at(&[&node], ["get", "nothing"]).expect(1);
    assert_eq!((ran.stdout.len(), ran.stderr.as_str()), (0, "kvcli: no such key: nothing\n"));
    let ran = run_at(&[&node], ["get", "nothing", "-o", "json"]).expect(1);
    assert_eq!((ran.stdout.len(), ran.error()["outcome"].as_str(), ran.error()["code"].as_u64()), (0, Some("no"), Some(1)));
    run_at(&[&node], ["delete", "nothing"]).expect(0);
    run_at(&[&node], ["delete", "--must-exist", "nothing"]).expect(1);
    run_at(&[&node], ["put", "k", "v"]).expect(0);
    run_at(&[&node], ["delete", "--must-exist", "k"]).expect(0);
}

#[test]
fn what_is_no_command_is_named_before_anything_is_done() {
    let node = Fake::new(Manner::Serves);
    let cases: [(&[&str], &str); 14] = [
        (&["frobnicate"], "frobnicate"),
        (&["put", "--bogus", "k", "v"], "--bogus"),
        (&["get", "k", "--bogus"], "--bogus"),
        (&["put", "k", "v", "w"], "w"),
        (&["put"], "KEY"),
        (&["--endpoints", "a:b:c", "get", "k"], "a:b:c"),
        (&["--endpoints", "::1:7117", "get", "k"], "write [::1]:7117"),
        (&["--timeout", "soon", "get", "k"], "soon"),
        (&["-o", "xml", "get", "k"], "xml"),
        (&["-o", "raw", "put", "k", "v"], "raw"),
        (&["status", "-o", "raw"], "raw"),
        (&["demo", "-o", "json"], "json"),
        (&["--resume", "kvnonsense", "put", "k", "v"], "resume"),
        (
            &["--resume", "kvaedqaaaaaaaaaaaaaaaaaaaaaaap777777777777777777777777777777777777aeaaaaaaaaaaaciaaaamekuwre", "get", "k"],
            "--resume",
        ),
    ];
    for (args, named) in cases {
        let ran = run_at(&[&node], args).expect(2);
        assert!(ran.stderr.contains(named) && ran.stdout.is_empty(), "{args:?}: {ran:?}");
    }
    assert!(node.asked().is_empty());
    let ran = run(["-o", "json", "frobnicate"]).expect(2);
    assert_eq!(ran.error()["code"], 2);
}

#[test]
fn help_and_version_are_results() {
    for args in [&["--help"][..], &["put", "--help"], &["-V"], &["--version"]] {
        let ran = run(args).expect(0);
        assert!(!ran.stdout.is_empty() && ran.stderr.is_empty(), "{args:?}");
    }
    let version = format!("kvcli {}", env!("CARGO_PKG_VERSION"));
    match option_env!("KVCLI_COMMIT") {
        Some(commit) => assert_eq!(run(["-V"]).text(), format!("{version} ({commit})\n")),
        None => assert_eq!(run(["-V"]).text(), format!("{version}\n")),
    }
    run::<&str>([]).expect(2);
}

#[test]
fn not_done_names_every_endpoint_and_why() {
    let [follower, silent, mute] = Fake::cluster([Manner::Follows(None), Manner::Silent, Manner::Silent]);
    let ran = run_at(&[&follower, &silent], ["--timeout", "1s", "put", "k", "v"]).expect(3);
    for (node, words) in [(&follower, "not the leader"), (&silent, "says nothing"), (&mute, "says nothing")] {
        let line = ran.stderr.lines().find(|line| line.contains(&node.address)).unwrap_or_else(|| panic!("{ran:?}"));
        assert!(line.contains(words), "{line}");
    }
    assert!(!ran.stderr.contains("finish safely"), "{ran:?}");
    let ran = run_at(&[&follower, &silent], ["--timeout", "1s", "-o", "json", "put", "k", "v"]).expect(3);
    let error = ran.error();
    assert_eq!((error["outcome"].as_str(), error["resume"].is_null()), (Some("not_done"), true));
    assert_eq!(error["endpoints"].as_array().unwrap().len(), 3);
    assert!(error["endpoints"][0]["address"].is_string() && error["endpoints"][0]["reason"].is_string());
}

#[test]
fn every_answer_that_means_not_yet_is_not_done_at_the_timeout() {
    let answers = [
        (Reply::Busy { reason: BusyReason::Uncommitted }, "busy"),
        (Reply::Busy { reason: BusyReason::Full }, "--max-data-bytes"),
        (Reply::Busy { reason: BusyReason::NoSpace }, "the disk of this node is full"),
        (Reply::Forming { missing: vec!["n2".into(), "n3".into()] }, "n2, n3"),
        (Reply::Replaced, "leadership"),
    ];
    for (answer, words) in answers {
        let node = Fake::new(Manner::Answers(answer));
        let ran = run_at(&[&node], ["--timeout", "300ms", "put", "k", "v"]).expect(3);
        assert!(ran.stderr.contains(words), "{ran:?}");
    }
}

#[test]
fn a_read_without_an_answer_is_not_done() {
    let node = Fake::new(Manner::Mute);
    run_at(&[&node], ["--timeout", "300ms", "get", "k"]).expect(3);
}

#[test]
fn a_write_without_an_answer_is_unknown() {
    for manner in [Manner::Mute, Manner::Answers(Reply::LeadershipLost)] {
        let node = Fake::new(manner);
        let ran = run_at(&[&node], ["--timeout", "300ms", "put", "k", "v"]).expect(4);
        assert!(ran.finish().ends_with(" put k v"), "{ran:?}");
        let ran = run_at(&[&node], ["--timeout", "300ms", "put", "k", "v", "-o", "json"]).expect(4);
        assert_eq!(ran.error()["outcome"], "unknown");
        assert!(ran.error()["resume"].as_str().unwrap().starts_with("kv"));
    }
}

#[test]
fn another_cluster_is_a_refusal_and_cannot_drive_the_terminal() {
    let node = Fake::new(Manner::Refuses(RefusedReason::WrongCluster));
    let ran = run_at(&[&node], ["put", "k", "v"]).expect(5);
    assert!(ran.stderr.contains(r"this is cluster \x1b[31mred") && !ran.stderr.contains('\x1b'), "{ran:?}");
    assert_eq!(run_at(&[&node], ["-o", "json", "get", "k"]).expect(5).error()["outcome"], "not_done");
}

#[test]
fn what_a_node_rejects_is_final() {
    for (reason, words) in [(RejectedReason::ValueTooLong, "1048576"), (RejectedReason::Version, "version")] {
        let node = Fake::new(Manner::Answers(Reply::Rejected { reason }));
        let ran = run_at(&[&node], ["append", "k", "v"]).expect(6);
        assert!(ran.stderr.contains(words), "{ran:?}");
        assert_eq!(run_at(&[&node], ["append", "k", "v", "-o", "json"]).expect(6).error()["outcome"], "rejected");
    }
}

#[test]
fn a_full_disk_behind_standard_output_is_local() {
    let node = Fake::new(Manner::Serves);
    run_at(&[&node], ["put", "k", "v"]).expect(0);
    for args in [&["get", "k"][..], &["status"], &["--help"], &["put", "--help"], &["-V"]] {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let child = command_at(&[&node]).args(args).stdout(full).stderr(Stdio::piped()).spawn().unwrap();
        let ran: Ran = child.wait_with_output().unwrap().into();
        assert!(ran.expect(74).stderr.contains("standard output"), "{args:?}");
    }
}

#[test]
fn a_closed_pipe_is_silent() {
    let node = Fake::new(Manner::Serves);
    run_at(&[&node], ["put", "k", "v"]).expect(0);
    for args in [&["get", "k"][..], &["status"], &["get", "k", "-o", "json"], &["--help"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let child = command_at(&[&node]).args(args).stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
        let ran: Ran = child.wait_with_output().unwrap().into();
        assert_eq!(ran.expect(141).stderr, "", "{args:?}");
    }
}

#[test]
fn an_interrupted_write_says_how_to_settle_it() {
    let node = Fake::new(Manner::Mute);
    let child = command_at(&[&node]).args(["put", "k", "v"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    while node.asked().is_empty() {
        // sleeps because what another thread was asked can only be polled
        thread::sleep(Duration::from_millis(1));
    }
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGINT).unwrap();
    let ran: Ran = Ran::from(child.wait_with_output().unwrap()).expect(130);
    let finish = ran.finish();
    node.behave(Manner::Serves);
    let args: Vec<&str> = finish.split(' ').collect();
    run_at(&[&node], args).expect(0);
    assert_eq!(node.value(b"k"), Some(b"v".to_vec()));
}

#[test]
fn an_interrupted_read_is_only_over() {
    let node = Fake::new(Manner::Mute);
    let child = command_at(&[&node]).args(["get", "k"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    while node.asked().is_empty() {
        // sleeps because what another thread was asked can only be polled
        thread::sleep(Duration::from_millis(1));
    }
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGINT).unwrap();
    let ran: Ran = Ran::from(child.wait_with_output().unwrap()).expect(130);
    assert!(!ran.stderr.contains("finish safely"), "{ran:?}");
}
