//! Many lines, and an exact account of how far they came.

use std::io::Write;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::fake::{Fake, Manner};
use crate::program::{Ran, command_at, run_at, run_reading};

fn lines(count: usize) -> Vec<u8> {
    (0..count).map(|number| format!("key {number:04}\tvalue {number}\n")).collect::<String>().into_bytes()
}

/// Writes that the node was asked for.
fn writes(node: &Fake) -> usize {
    node.asked().iter().filter(|asked| asked.starts_with("write")).count()
}

#[test]
fn what_is_dumped_is_loaded_and_what_is_loaded_is_dumped() {
    let from = Fake::new(Manner::Serves);
    let odd: [(&[u8], &[u8]); 4] = [(b"{", b"}"), (b"a\tb", b"c"), (b"\xff\n", b"\n\xfe"), (b"crlf", b"line\r")];
    from.hold(odd.map(|(key, value)| (key.to_vec(), value.to_vec())));
    from.hold((0..=u8::MAX).map(|number| (vec![number, 0], vec![number; 3])));
    let dumped = run_at(&[&from], ["dump"]).expect(0).stdout;
    for mode in ["plain", "jsonl"] {
        let to = Fake::new(Manner::Serves);
        let ran = run_reading(&[&to], &run_at(&[&from], ["dump", "-o", mode]).expect(0).stdout, ["load"]).expect(0);
        assert!(ran.stdout.is_empty() && ran.stderr.starts_with("260 lines in "), "{ran:?}");
        assert!(run_at(&[&to], ["dump"]).expect(0).stdout == dumped, "{mode}: another dump");
    }
}

#[test]
fn a_file_is_loaded_and_one_that_cannot_be_read_is_local() {
    let node = Fake::new(Manner::Serves);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lines");
    std::fs::write(&path, lines(3)).unwrap();
    let ran = run_at(&[&node], ["load", "-o", "json", path.to_str().unwrap()]).expect(0);
    let document: serde_json::Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert_eq!((document, ran.stderr.as_str()), (serde_json::json!({"lines": 3, "position": 8}), ""));
    assert!(run_at(&[&node], ["load", "/nowhere/at all"]).expect(74).stderr.contains("/nowhere/at all"));
    let ran = run_at(&[&node], ["load", dir.path().to_str().unwrap()]).expect(74);
    assert!(ran.stderr.contains("0 lines done"), "{ran:?}");
}

#[test]
fn at_most_64_lines_are_under_way_and_one_of_each_key() {
    let node = Fake::new(Manner::Mute);
    run_reading(&[&node], &lines(200), ["--timeout", "400ms", "load"]).expect(4);
    assert_eq!(node.asked().len(), 64);
    let node = Fake::new(Manner::Mute);
    run_reading(&[&node], b"a\t1\nb\t1\na\t2\nc\t1\n", ["--timeout", "400ms", "load"]).expect(4);
    assert_eq!(node.asked().len(), 2, "the second line of a waits for the first, and what is behind it too");
}

#[test]
fn lines_with_the_same_key_keep_their_order() {
    let node = Fake::new(Manner::LosesAnswers(5));
    let input: String = (0..50).map(|number| format!("k{}\t{number}\n", number % 3)).collect();
    run_reading(&[&node], input.as_bytes(), ["load"]).expect(0);
    let values: Vec<String> = (0..3).map(|key| String::from_utf8(node.value(format!("k{key}").as_bytes()).unwrap()).unwrap()).collect();
    assert_eq!(values, ["48", "49", "47"]);
}

#[test]
fn a_bad_line_is_named_and_everything_before_it_is_done() {
    let node = Fake::new(Manner::Serves);
    let input = [&lines(99)[..], b"no pair at all\n", &lines(3)].concat();
    let ran = run_reading(&[&node], &input, ["load"]).expect(2);
    assert_eq!(ran.stderr, "kvcli: line 100: no tab between key and value\n99 lines done, resume with --from-line 100\n");
    assert_eq!(writes(&node), 99);
    let ran = run_reading(&[&node], b"{\"key\":\"k\",\"valu\":1}", ["load", "-o", "json"]).expect(2);
    let error = ran.error();
    let message = error["message"].as_str().unwrap();
    assert!(message.starts_with("line 1: unknown field `valu`") && message.ends_with("0 lines done, resume with --from-line 1"), "{error}");
    let ran = run_reading(&[&node], &[b"k\t".as_slice(), &vec![b'v'; (1 << 20) + 1]].concat(), ["load"]).expect(2);
    assert!(ran.stderr.contains("line 1: the value is longer than 1048576 bytes"), "{ran:?}");
}

#[test]
fn what_failed_is_resumed_where_it_ended() {
    let node = Fake::new(Manner::Serves);
    node.room_for(70);
    let ran = run_reading(&[&node], &lines(200), ["load"]).expect(3);
    assert!(ran.stderr.ends_with("\n70 lines done, resume with --from-line 71\n"), "{ran:?}");
    assert!(ran.stderr.contains("line 71, key key 0070") && ran.stderr.contains("--max-data-bytes"), "{ran:?}");
    node.room_for(usize::MAX);
    let before = writes(&node);
    let ran = run_reading(&[&node], &lines(200), ["load", "--from-line", "71"]).expect(0);
    assert!(ran.stderr.starts_with("130 lines in "), "{ran:?}");
    assert_eq!(writes(&node) - before, 130);
    assert_eq!(run_at(&[&node], ["dump"]).expect(0).stdout, lines(200));
}

#[test]
fn a_line_to_begin_with_that_is_not_there_is_no_success() {
    let node = Fake::new(Manner::Serves);
    run_reading(&[&node], &lines(3), ["load", "--from-line", "4"]).expect(0);
    let ran = run_reading(&[&node], &lines(3), ["load", "--from-line", "5"]).expect(2);
    assert!(ran.stderr.contains("there are only 3 lines"), "{ran:?}");
    run_reading(&[&node], &lines(3), ["load", "--from-line", "0"]).expect(2);
    assert_eq!(writes(&node), 0);
}

#[test]
fn unknown_is_never_folded_into_not_done() {
    let node = Fake::new(Manner::LosesAnswers(usize::MAX));
    let ran = run_reading(&[&node], &lines(2), ["--timeout", "300ms", "load", "-o", "json"]).expect(4);
    assert_eq!(ran.error()["outcome"], "unknown");
    assert!(ran.error()["message"].as_str().unwrap().ends_with(" load --from-line 1"), "{ran:?}");
}

#[test]
fn an_interrupted_load_says_how_far_it_came_and_so_does_a_slow_pipe() {
    let node = Fake::new(Manner::Serves);
    let mut child = command_at(&[&node]).arg("load").stdin(Stdio::piped()).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    // Written as soon as they are there, though the pipe stays open.
    pipe.write_all(&lines(5)).unwrap();
    while node.value(b"key 0004").is_none() {
        // sleeps because what another thread has can only be polled
        thread::sleep(Duration::from_millis(1));
    }
    node.behave(Manner::Mute);
    pipe.write_all(b"another\tline\n").unwrap();
    while !node.asked().contains(&"unheard".to_string()) {
        // sleeps because what another thread was asked can only be polled
        thread::sleep(Duration::from_millis(1));
    }
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGINT).unwrap();
    let ran: Ran = Ran::from(child.wait_with_output().unwrap()).expect(130);
    assert!(ran.stderr.contains("\n5 lines done; ") && ran.finish().ends_with(" load --from-line 6"), "{ran:?}");
}
