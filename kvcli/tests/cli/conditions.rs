//! A write with a condition: it swaps, or it says why not and changes nothing.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::fake::{Fake, Manner};
use crate::program::{run_at, run_reading};

#[test]
fn each_condition_swaps_when_it_holds_and_names_the_version_when_it_does_not() {
    let node = Fake::new(Manner::Serves);
    let lost = run_at(&[&node], ["cas", "k", "--expect", "", "v"]).expect(1);
    assert_eq!(lost.stderr, "kvcli: not swapped: no such key: k\n");
    run_at(&[&node], ["cas", "k", "--absent", "one"]).expect(0);
    let lost = run_at(&[&node], ["cas", "k", "--absent", "other"]).expect(1);
    assert_eq!((lost.stdout.len(), lost.stderr.as_str()), (0, "kvcli: not swapped: k is at version 1\n"));
    run_at(&[&node], ["cas", "k", "--version", "2", "other"]).expect(1);
    run_at(&[&node], ["cas", "k", "--version", "1", "two"]).expect(0);
    run_at(&[&node], ["cas", "k", "--expect", "one", "other"]).expect(1);
    run_at(&[&node], ["cas", "--expect", "two", "k", "three"]).expect(0);
    assert_eq!(node.value(b"k"), Some(b"three".to_vec()));
}

#[test]
fn in_json_both_ends_have_the_same_fields() {
    let node = Fake::new(Manner::Serves);
    let document = |code| {
        let ran = run_at(&[&node], ["-o", "json", "cas", "k", "--absent", "v"]).expect(code);
        (serde_json::from_slice::<serde_json::Value>(&ran.stdout).unwrap(), ran)
    };
    let (won, _) = document(0);
    assert_eq!((&won["swapped"], &won["version"], won["position"].is_u64()), (&true.into(), &1.into(), true));
    let (lost, ran) = document(1);
    assert_eq!((&lost["swapped"], &lost["version"]), (&false.into(), &1.into()));
    assert_eq!((ran.error()["code"].as_u64(), ran.error()["outcome"].as_str()), (Some(1), Some("no")));
}

#[test]
fn what_is_expected_and_what_is_written_are_any_bytes() {
    let node = Fake::new(Manner::Serves);
    let bytes = OsStr::from_bytes(b"-\xff\x01");
    run_at(&[&node], [OsStr::new("put"), OsStr::new("k"), bytes]).expect(0);
    run_at(&[&node], [OsStr::new("cas"), OsStr::new("k"), OsStr::new("--expect"), bytes, OsStr::new("")]).expect(0);
    assert_eq!(node.value(b"k"), Some(Vec::new()));
    run_reading(&[&node], b"from\0a pipe\n", ["cas", "k", "--expect="]).expect(0);
    assert_eq!(node.value(b"k"), Some(b"from\0a pipe\n".to_vec()));
}

#[test]
fn without_exactly_one_condition_it_is_no_command() {
    let node = Fake::new(Manner::Serves);
    for args in [&["cas", "k", "v"][..], &["cas", "k", "v", "--absent", "--version", "1"], &["cas", "k", "v", "--version", "0"]] {
        run_at(&[&node], args).expect(2);
    }
    assert!(node.asked().is_empty());
}

#[test]
fn a_lost_answer_is_settled_by_the_printed_command() {
    for condition in [&["--expect", "it's"][..], &["--version", "1"], &["--expect=it's"]] {
        let node = Fake::new(Manner::Serves);
        run_at(&[&node], ["put", "k", "it's"]).expect(0);
        node.behave(Manner::LosesAnswers(usize::MAX));
        let finish = run_at(&[&node], [&["--timeout", "300ms", "cas", "k", "-new"], condition].concat()).expect(4).finish();
        node.behave(Manner::Serves);
        for _ in 0..2 {
            let line = format!("{} {finish}", env!("CARGO_BIN_EXE_kvcli"));
            let ran = std::process::Command::new("bash").args(["-c", &line]).env("KVCLI_ENDPOINTS", &node.address).output().unwrap();
            assert_eq!(ran.status.code(), Some(0), "{finish}: {ran:?}");
            assert_eq!(node.value(b"k"), Some(b"-new".to_vec()), "once, and answered as the first time");
        }
    }
}

#[test]
fn a_token_of_another_condition_settles_nothing() {
    let node = Fake::new(Manner::Mute);
    let finish = run_at(&[&node], ["--timeout", "300ms", "cas", "k", "--absent", "v"]).expect(4).finish();
    let token = finish.split(' ').nth(1).unwrap();
    node.behave(Manner::Serves);
    run_at(&[&node], ["--resume", token, "cas", "k", "--version", "1", "v"]).expect(2);
    run_at(&[&node], ["--resume", token, "put", "k", "v"]).expect(2);
    run_at(&[&node], ["--resume", token, "cas", "k", "--absent", "v"]).expect(0);
}

#[test]
fn the_names_that_others_use_work_too() {
    let node = Fake::new(Manner::Serves);
    run_at(&[&node], ["set", "k", "v"]).expect(0);
    assert_eq!(node.value(b"k"), Some(b"v".to_vec()));
    run_at(&[&node], ["del", "--must-exist", "k"]).expect(0);
    run_at(&[&node], ["rm", "--must-exist", "k"]).expect(1);
}
