//! A command per line.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;

use nix::pty::{OpenptyResult, openpty};
use wire::Reply;

use crate::fake::{Fake, Manner};
use crate::program::{Ran, command, command_at, run_at, run_reading};

fn script(node: &Fake, lines: &str) -> Ran {
    run_reading(&[node], lines.as_bytes(), ["shell"])
}

#[test]
fn lines_are_commands_and_words_are_those_of_sh() {
    let node = Fake::new(Manner::Serves);
    let lines = "# a comment\n\n  put 'a key' \"a value\"\nkvcli append 'a key' \\ more\nget 'a key' -o plain\nget 'a key'";
    let ran = script(&node, lines).expect(0);
    assert_eq!((ran.text().as_str(), ran.stderr.as_str()), ("a value more\na value more", ""), "the last line needs no end");
}

#[test]
fn one_session_writes_it_all() {
    let node = Fake::new(Manner::Serves);
    script(&node, "put a 1\nput b 2\nget a\nappend a 3\n").expect(0);
    let asked = node.asked();
    let writes: Vec<(&str, &str)> = asked.iter().filter_map(|asked| asked.strip_prefix("write ")?.split_once(' ')).collect();
    assert_eq!(writes.iter().map(|(_, number)| *number).collect::<Vec<_>>(), ["1", "2", "3"]);
    assert!(writes.iter().all(|(session, _)| *session == writes[0].0), "{asked:?}");
}

#[test]
fn a_script_goes_on_after_a_no_and_ends_with_0() {
    let node = Fake::new(Manner::Serves);
    let ran = script(&node, "get nothing\ndelete --must-exist nothing\nput k v\n").expect(0);
    assert_eq!(node.value(b"k"), Some(b"v".to_vec()));
    assert_eq!(ran.stderr.matches("no such key: nothing").count(), 2, "{ran:?}");
}

#[test]
fn a_script_ends_with_the_first_code_above_1() {
    let node = Fake::new(Manner::Serves);
    for (bad, code) in [
        ("no-such-command", 2),
        ("put", 2),
        ("put k 'v", 2),
        ("--timeout 300ms --endpoints 127.0.0.1:1 get k", 3),
        ("put '' v", 6),
        ("put k --file /no/such/file", 74),
        ("shell", 2),
        ("demo", 2),
    ] {
        let ran = script(&node, &format!("get nothing\n{bad}\nput after {code}\n")).expect(code);
        assert!(!ran.stderr.is_empty() && node.value(b"after").is_none(), "{bad}: {ran:?}");
    }
    node.behave(Manner::Answers(Reply::LeadershipLost));
    let ran = script(&node, "--timeout 300ms put k v\nput after v\n").expect(4);
    assert!(ran.finish().contains(" put k v"), "{ran:?}");
}

#[test]
fn a_script_is_no_value() {
    let node = Fake::new(Manner::Serves);
    for line in ["put k", "append k -", "cas k --absent", "load", "load -"] {
        let ran = script(&node, &format!("{line}\nput after v\n")).expect(2);
        assert!(ran.stderr.contains("standard input is the script") && node.asked().is_empty(), "{ran:?}");
    }
    script(&node, "put k --literal -\n").expect(0);
    assert_eq!(node.value(b"k"), Some(b"-".to_vec()));
}

#[test]
fn options_of_the_shell_hold_for_every_line_that_has_none() {
    let node = Fake::new(Manner::Serves);
    let ran = run_reading(&[&node], b"put k v\nget k\nget k -o raw\nget nothing\nno-such-command\n", ["shell", "-o", "json"]).expect(2);
    assert_eq!(
        ran.text(),
        "{\"version\":1,\"position\":6}\n{\"key\":\"k\",\"value\":\"v\",\"version\":1,\"modified\":6,\"position\":6}\nv"
    );
    let errors: Vec<serde_json::Value> = ran.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(errors.iter().map(|error| error["code"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn help_is_there_and_the_script_goes_on() {
    let node = Fake::new(Manner::Serves);
    let ran = script(&node, "help\nhelp append\nget --help\nput k v\nexit\nput after v\n").expect(0);
    assert!(ran.text().contains("Exit codes:") && ran.text().contains("Add VALUE to the end"), "{ran:?}");
    assert_eq!((node.value(b"k"), node.value(b"after")), (Some(b"v".to_vec()), None));
}

#[test]
fn a_shell_asks_nobody_before_its_first_command() {
    let node = Fake::new(Manner::Serves);
    run_at(&[&node], ["shell"]).expect(0);
    assert!(node.asked().is_empty());
}

#[test]
fn on_a_terminal_words_are_completed_errors_are_numbers_and_lines_are_remembered() {
    let node = Fake::new(Manner::Serves);
    let home = tempfile::tempdir().unwrap();
    let OpenptyResult { master, slave } = openpty(None, None).expect("a terminal");
    let mut shell = command_at(&[&node]);
    shell.arg("shell").env("XDG_STATE_HOME", home.path()).env("TERM", "xterm");
    shell.stdin(slave.try_clone().unwrap()).stdout(slave.try_clone().unwrap()).stderr(slave);
    let mut child = shell.spawn().expect("kvcli runs");
    drop(shell); // and with it its names for the terminal
    let mut terminal = File::from(master);
    let mut unseen = String::new();
    let mut until = |said: &str| {
        while !unseen.contains(said) {
            let mut bytes = [0; 1024];
            let count = terminal.try_clone().unwrap().read(&mut bytes).expect("it goes on");
            unseen += &String::from_utf8_lossy(&bytes[..count]);
        }
        unseen = unseen.split_off(unseen.find(said).unwrap() + said.len());
    };
    let mut keyboard = terminal.try_clone().unwrap();
    let mut type_in = |keys: &str| keyboard.write_all(keys.as_bytes()).unwrap();
    until("kvcli> ");
    type_in("appe\tk 'typed value'\r");
    until("OK");
    until("kvcli> ");
    type_in("get nothing\r");
    until("[exit 1]");
    until("kvcli> ");
    type_in(" put secret s\r");
    until("OK");
    until("kvcli> ");
    type_in("half a line\x03");
    until("kvcli> ");
    type_in("\x04");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let _ = terminal.read_to_end(&mut Vec::new());
    assert_eq!(node.value(b"k"), Some(b"typed value".to_vec()));
    let file = home.path().join("kvcli/history");
    let history = std::fs::read_to_string(&file).unwrap();
    assert!(history.contains("append k 'typed value'\nget nothing\n"), "{history}");
    assert!(!history.contains("secret"), "a blank in front keeps a line out: {history}");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o077, 0, "for the user alone");
}

#[test]
fn a_reader_that_has_gone_ends_it_silently() {
    let node = Fake::new(Manner::Serves);
    script(&node, "put k v\n").expect(0);
    let (reader, writer) = nix::unistd::pipe().unwrap();
    drop(reader);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("script");
    std::fs::write(&path, "get k\nput after v\n").unwrap();
    let mut shell = command();
    shell.args(["--endpoints", &node.address, "shell"]).stdin(File::open(&path).unwrap()).stdout(writer);
    let ran = Ran::from(shell.output().unwrap()).expect(141);
    assert!(ran.stderr.is_empty() && node.value(b"after").is_none(), "{ran:?}");
}
