//! A load that ended with lines of unknown outcome goes on, while what it has sent is still on its way: the keys hold what the file says.

use std::io::Write;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use wire::{RefusedReason, RejectedReason, Reply};

use crate::fake::{Fake, Manner};
use crate::program::{Ran, command_at, run_at, run_reading, settle, settle_reading};

/// Keys repeat, and each key's last line is its last value.
const INPUT: &[u8] = b"a\t1\nb\t1\nc\t1\na\t2\nb\t2\nd\t1\n";
const LOADED: &[u8] = b"a\t2\nb\t2\nc\t1\nd\t1\n";

fn dump(node: &Fake) -> String {
    String::from_utf8(run_at(&[node], ["dump"]).expect(0).stdout).unwrap()
}

fn loaded() -> String {
    String::from_utf8_lossy(LOADED).into_owned()
}

/// The lines of `a`, `b` and `c` are sent, and nobody hears of them; those behind them wait.
fn held_back() -> (Fake, Ran) {
    let node = Fake::new(Manner::HoldsBack);
    let ran = run_reading(&[&node], INPUT, ["--timeout", "300ms", "load"]).expect(4);
    assert_eq!(node.asked().iter().filter(|asked| *asked == "held").count(), 3);
    node.behave(Manner::Serves);
    (node, ran)
}

fn refused_late(node: &Fake) -> usize {
    node.late().iter().filter(|reply| **reply == Reply::Rejected { reason: RejectedReason::Sequence }).count()
}

#[test]
fn what_comes_late_never_takes_effect_behind_the_first_line_of_the_load_that_goes_on() {
    for writes in 0..=6 {
        let (node, ran) = held_back();
        node.let_through_after(writes);
        settle_reading(&node, &ran.finish(), INPUT).expect(0);
        assert_eq!(node.late().len(), 3, "it came through, or this test shows nothing");
        assert_eq!(refused_late(&node), if writes == 0 { 0 } else { 3 }, "behind {writes} writes: {:?}", node.late());
        assert_eq!(dump(&node), loaded(), "it came behind {writes} writes");
    }
}

#[test]
fn without_the_token_it_would_take_effect() {
    let (node, _) = held_back();
    run_reading(&[&node], INPUT, ["load", "--from-line", "1"]).expect(0);
    node.let_through_after(0);
    assert_ne!(dump(&node), loaded(), "or the fake node is kinder than a real one");
}

#[test]
fn the_command_names_the_file_and_the_endpoints_and_can_be_run_again() {
    let node = Fake::new(Manner::HoldsBack);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("it's a file");
    std::fs::write(&path, INPUT).unwrap();
    let endpoints = format!("--endpoints={}", node.address);
    let path = path.to_str().unwrap();
    let ran = run_at(&[], [endpoints.as_str(), "--timeout", "300ms", "load", path]).expect(4);
    let finish = ran.finish();
    assert!(finish.contains(&format!(" --endpoints {} load '", node.address)) && finish.ends_with("' --from-line 1"), "{finish}");
    assert!(ran.stderr.contains("\n0 lines done\n"), "{ran:?}");
    node.behave(Manner::Serves);
    for _ in 0..2 {
        settle(&Fake::new(Manner::Silent), &finish).expect(0);
        assert_eq!(dump(&node), loaded());
    }
    node.let_through_after(0);
    assert_eq!((dump(&node), refused_late(&node)), (loaded(), 3));
}

#[test]
fn a_file_whose_name_looks_like_an_option_is_named_as_a_file() {
    let node = Fake::new(Manner::Mute);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("-lines"), INPUT).unwrap();
    let mut command = command_at(&[&node]);
    let ran: Ran = command.current_dir(&dir).args(["--timeout", "300ms", "load", "--", "-lines"]).output().unwrap().into();
    assert!(ran.finish().ends_with(" load ./-lines --from-line 1"), "{ran:?}");
}

#[test]
fn only_the_first_line_is_sent_until_it_is_answered() {
    let (node, ran) = held_back();
    let sent = |node: &Fake| node.asked().iter().filter(|asked| *asked == "held").count();
    node.behave(Manner::HoldsBack);
    let before = sent(&node);
    let again = settle_reading(&node, &format!("--timeout 300ms {}", ran.finish()), INPUT).expect(4);
    assert_eq!(sent(&node) - before, 1);
    assert_eq!(again.finish(), ran.finish(), "nothing has changed: the same command is still good");
    node.behave(Manner::Serves);
    node.let_through_after(1);
    settle_reading(&node, &again.finish(), INPUT).expect(0);
    // The three of the first load are refused; that first line was the same write, and was told so.
    assert_eq!((dump(&node), refused_late(&node), node.late().len()), (loaded(), 3, 4));
}

#[test]
fn an_interrupt_before_the_first_line_is_answered_leaves_the_same_command() {
    let (node, ran) = held_back();
    let finish = ran.finish();
    node.behave(Manner::Mute);
    let mut command = command_at(&[&node]);
    command.args(["load", "--from-line", "1", "--resume", finish.split(' ').nth(1).unwrap()]);
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(INPUT).unwrap();
    while !node.asked().contains(&"unheard".to_string()) {
        // sleeps because what another thread was asked can only be polled
        thread::sleep(Duration::from_millis(1));
    }
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGINT).unwrap();
    let again: Ran = Ran::from(child.wait_with_output().unwrap()).expect(130);
    assert_eq!(again.finish(), finish);
    node.behave(Manner::Serves);
    settle_reading(&node, &finish, INPUT).expect(0);
    node.let_through_after(0);
    assert_eq!((dump(&node), refused_late(&node)), (loaded(), 3));
}

#[test]
fn a_load_that_went_on_and_ended_again_has_a_token_of_its_own() {
    let (node, ran) = held_back();
    node.room_for(2);
    let again = settle_reading(&node, &ran.finish(), INPUT).expect(3);
    assert!(again.stderr.ends_with("\n2 lines done, resume with --from-line 3\n"), "nothing is on its way: {again:?}");
    node.room_for(usize::MAX);

    let (node, ran) = held_back();
    node.hold_back_after(2);
    let again = settle_reading(&node, &format!("--timeout 300ms {}", ran.finish()), INPUT).expect(4);
    let (first, second) = (ran.finish(), again.finish());
    assert!(first.split(' ').nth(1) != second.split(' ').nth(1) && second.ends_with(" load --from-line 3"), "{second}");
    node.behave(Manner::Serves);
    settle_reading(&node, &second, INPUT).expect(0);
    node.let_through_after(0);
    assert_eq!(dump(&node), loaded());
    assert_eq!(refused_late(&node), node.late().len(), "of both loads: {:?}", node.late());
}

#[test]
fn a_session_that_the_cluster_has_forgotten_needs_no_fence() {
    let (node, ran) = held_back();
    node.forget_sessions();
    let done = settle_reading(&node, &ran.finish(), INPUT).expect(0);
    assert!(done.stderr.starts_with("6 lines in "), "{done:?}");
    node.let_through_after(0);
    assert_eq!(node.late(), [Reply::SessionExpired, Reply::SessionExpired, Reply::SessionExpired]);
    assert_eq!(dump(&node), loaded());
}

#[test]
fn the_token_is_for_this_line_of_this_input_at_this_cluster() {
    let (node, ran) = held_back();
    let finish = ran.finish();
    for (finish, input) in [(finish.as_str(), &b"a\t9\nb\t1\n"[..]), (&finish.replace("--from-line 1", "--from-line 2"), INPUT)] {
        let ran = settle_reading(&node, finish, input).expect(2);
        assert!(ran.stderr.contains("is not the one that the token was made for") && !ran.stderr.contains("lines done"), "{ran:?}");
    }
    let token = finish.split(' ').nth(1).unwrap();
    let ran = run_at(&[&node], ["--resume", token, "put", "a", "1"]).expect(2);
    assert!(ran.stderr.contains("lets a load go on"), "{ran:?}");
    assert_eq!(dump(&node), "", "nothing was done");
    node.behave(Manner::Refuses(RefusedReason::WrongCluster));
    let refused = settle_reading(&node, &finish, INPUT).expect(5);
    assert_eq!(refused.finish(), finish, "the token stays good");
    node.behave(Manner::Mute);
    let of_a_put = run_at(&[&node], ["--timeout", "300ms", "put", "a", "1"]).expect(4).finish();
    let of_a_put = of_a_put.split(' ').nth(1).unwrap().to_string();
    let ran = run_reading(&[&node], INPUT, ["--resume", &of_a_put, "load"]).expect(2);
    assert!(ran.stderr.contains("settles one write"), "{ran:?}");
    node.behave(Manner::Serves);
    settle_reading(&node, &finish, INPUT).expect(0);
    assert_eq!(dump(&node), loaded());
}

#[test]
fn the_error_document_has_the_token() {
    let node = Fake::new(Manner::Mute);
    let ran = run_reading(&[&node], INPUT, ["--timeout", "300ms", "-o", "json", "load"]).expect(4);
    let error = ran.error();
    let (message, token) = (error["message"].as_str().unwrap(), error["resume"].as_str().unwrap());
    assert!(message.ends_with(&format!("0 lines done, finish safely with: kvcli --resume {token} load --from-line 1")), "{message}");
    assert_eq!(error["outcome"], "unknown");
    node.behave(Manner::Serves);
    run_reading(&[&node], INPUT, ["load", "--resume", token, "--from-line", "1"]).expect(0);
    assert_eq!(dump(&node), loaded());
}
