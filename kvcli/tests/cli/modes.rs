//! Every command, in every mode, on a terminal and in a pipe: it works, or it exits 2 before it does anything.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::process::{Child, Stdio};

use nix::pty::{OpenptyResult, openpty};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::fake::{Fake, Manner};
use crate::program::{command_at, run, run_at, run_reading};

/// What `kvcli` writes to a terminal, carriage returns taken out, and how it ends.
fn on_terminal(node: &Fake, args: &[&str]) -> (Option<i32>, String) {
    let OpenptyResult { master, slave } = openpty(None, None).expect("a terminal");
    let mut child =
        command_at(&[node]).args(args).stdout(slave.try_clone().expect("a second name for it")).stderr(slave).spawn().expect("kvcli runs");
    let mut text = Vec::new();
    let _ = File::from(master).read_to_end(&mut text); // a terminal ends with EIO when nobody has it open
    let code = child.wait().expect("kvcli ends").code();
    (code, String::from_utf8_lossy(&text).replace('\r', ""))
}

const MODES: [&str; 5] = ["table", "plain", "raw", "json", "jsonl"];

/// What standard output begins with in each mode; `None`: exit 2, and the node was asked nothing.
type Walk = (&'static [&'static str], [Option<&'static str>; 5]);

const HEADLINE: Option<&str> = Some("healthy: 1/1 voters, leader n1, term 3, can lose 0\n");
const NOTHING: Option<&str> = Some("");
const VERSION: Option<&str> = Some("{\"version\":");
const PAIR: Option<&str> = Some("{\"key\":\"k\",");
const ROWS: Option<&str> = Some("KEY  VERSION  VALUE\nk ");
const VERDICT: Option<&str> = Some("{\"cluster_id\":");
const ESCAPED: Option<&str> = Some("v\\x01\n");

/// Each command, and each of its ways to answer.
const WALKS: [Walk; 18] = [
    (&["put", "k", "v\x01"], [Some("OK\n"), NOTHING, None, VERSION, VERSION]),
    (&["append", "k", ""], [Some("OK\n"), NOTHING, None, VERSION, VERSION]),
    (&["get", "k"], [ESCAPED, ESCAPED, Some("v\x01"), PAIR, PAIR]),
    (&["get", "--stale", "k"], [ESCAPED, ESCAPED, Some("v\x01"), PAIR, PAIR]),
    (&["status"], [HEADLINE, HEADLINE, None, VERDICT, VERDICT]),
    (&["status", "--watch"], [HEADLINE, HEADLINE, None, VERDICT, VERDICT]),
    (&["wait"], [HEADLINE, NOTHING, None, Some("{\"verdict\":"), Some("{\"verdict\":")]),
    (&["wait", "--all"], [HEADLINE, NOTHING, None, Some("{\"verdict\":"), Some("{\"verdict\":")]),
    (&["scan"], [ROWS, Some("k\tv\\x01\n"), None, PAIR, PAIR]),
    (&["scan", "--stale"], [ROWS, Some("k\tv\\x01\n"), None, PAIR, PAIR]),
    (&["scan", "--keys-only"], [Some("KEY  VERSION\nk "), Some("k\n"), None, PAIR, PAIR]),
    (&["dump"], [ROWS, Some("k\tv\x01\n"), None, PAIR, PAIR]),
    (&["dump", "--stale"], [ROWS, Some("k\tv\x01\n"), None, PAIR, PAIR]),
    (&["load", "/dev/null"], [NOTHING, NOTHING, None, Some("{\"lines\":0,"), Some("{\"lines\":0,")]),
    (&["cas", "k", "--expect", "v\x01", "v\x01"], [Some("OK\n"), NOTHING, None, Some("{\"swapped\":"), Some("{\"swapped\":")]),
    (&["delete", "k"], [Some("OK\n"), NOTHING, None, Some("{\"existed\":"), Some("{\"existed\":")]),
    (
        &["bench", "--seconds", "1", "--warmup", "0", "--keys", "9", "--clients", "2"],
        [Some("put: 2 clients"), Some("ops_per_s\t"), None, Some("{\"ops_per_s\":"), Some("{\"ops_per_s\":")],
    ),
    // Its lines are walked below.
    (&["shell"], [NOTHING; 5]),
];

/// Whether it has something to say on standard error though it succeeds.
fn remarks(command: &[&str], mode: &str) -> bool {
    command[0] == "dump" || command.contains(&"--stale") || (command[0] == "load" && !mode.starts_with("json"))
}

#[test]
fn every_command_works_in_every_mode_or_refuses_it_first() {
    std::thread::scope(|scope| {
        for (command, expected) in WALKS.into_iter().filter(|(command, _)| !command.contains(&"--watch")) {
            scope.spawn(move || MODES.into_iter().zip(expected).for_each(|(mode, begins)| walk(command, mode, begins)));
        }
    });
}

fn walk(command: &[&str], mode: &str, begins: Option<&str>) {
    let node = Fake::new(Manner::Serves);
    run_at(&[&node], ["put", "k", "v\x01"]).expect(0);
    let before = node.asked().len();
    let args = [command, &["-o", mode]].concat();
    let ran = run_at(&[&node], &args);
    let (terminal_code, terminal) = on_terminal(&node, &args);
    assert_eq!(ran.code, terminal_code, "{args:?}: a mode that is asked for does not depend on the terminal");
    match begins {
        None => assert!(ran.code == Some(2) && ran.stdout.is_empty() && node.asked().len() == before, "{args:?}: {ran:?}"),
        Some(begins) => {
            assert!(ran.code == Some(0) && ran.text().starts_with(begins), "{args:?}: {ran:?}");
            assert_eq!(ran.stderr.is_empty(), !remarks(command, mode), "{args:?}: {ran:?}");
            assert!(terminal.contains(begins), "{args:?}: {terminal:?}");
            assert_eq!(begins.is_empty(), ran.stdout.is_empty(), "{args:?}: {ran:?}");
        }
    }
}

/// Reads until all of this was seen, then interrupts; how it ends.
fn interrupted_after(mut child: Child, mut from: impl Read, begins: &str) -> Option<i32> {
    let (mut text, mut some) = (Vec::new(), [0; 4096]);
    while !String::from_utf8_lossy(&text).replace('\r', "").replace("\x1b[K", "").contains(begins) {
        let count = from.read(&mut some).expect("it goes on");
        assert!(count > 0, "it ended with {:?}", String::from_utf8_lossy(&text));
        text.extend_from_slice(&some[..count]);
    }
    kill(Pid::from_raw(i32::try_from(child.id()).expect("a pid")), Signal::SIGINT).expect("it is there");
    child.wait().expect("it ends").code()
}

#[test]
fn what_goes_on_for_ever_does_so_in_every_mode_until_ctrl_c() {
    for (command, expected) in WALKS.into_iter().filter(|(command, _)| command.contains(&"--watch")) {
        for (mode, begins) in MODES.into_iter().zip(expected) {
            let node = Fake::new(Manner::Serves);
            let args = [command, &["-o", mode]].concat();
            let Some(begins) = begins else {
                let ran = run_at(&[&node], &args).expect(2);
                assert!(ran.stdout.is_empty() && node.asked().is_empty(), "{args:?}: {ran:?}");
                continue;
            };
            let mut child = command_at(&[&node]).args(&args).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("kvcli runs");
            let stdout = child.stdout.take().expect("a pipe");
            assert_eq!(interrupted_after(child, stdout, begins), Some(130), "{args:?}");
            let OpenptyResult { master, slave } = openpty(None, None).expect("a terminal");
            let child = command_at(&[&node]).args(&args).stdout(slave).stderr(Stdio::null()).spawn().expect("kvcli runs");
            assert_eq!(interrupted_after(child, File::from(master), begins), Some(130), "{args:?} on a terminal");
        }
    }
}

#[test]
fn a_line_of_a_shell_looks_as_the_command_alone_in_every_mode() {
    for (command, expected) in WALKS.into_iter().filter(|(command, _)| !["shell", "bench", "load"].contains(&command[0])) {
        for (mode, begins) in MODES.into_iter().zip(expected).filter(|_| !command.contains(&"--watch")) {
            let node = Fake::new(Manner::Serves);
            run_at(&[&node], ["put", "k", "v\x01"]).expect(0);
            let line: String = command.iter().map(|word| format!("'{word}' ")).collect();
            let ran = run_reading(&[&node], line.as_bytes(), ["shell", "-o", mode]);
            match begins {
                None => assert!(ran.code == Some(2) && ran.stdout.is_empty(), "{line}: {ran:?}"),
                Some(begins) => assert!(ran.code == Some(0) && ran.text().starts_with(begins), "{line}: {ran:?}"),
            }
        }
    }
}

#[test]
fn a_demo_has_no_value_and_no_document_to_show() {
    // What it shows in the others is the business of a test of its own.
    for mode in ["raw", "json", "jsonl"] {
        let ran = run(["demo", "-o", mode]).expect(2);
        assert!(ran.stdout.is_empty() && ran.stderr.contains(mode), "{ran:?}");
    }
}

#[test]
fn every_command_of_the_help_is_walked() {
    let help = run(["--help"]).expect(0).text();
    let groups = help.split("\nData:\n").nth(1).and_then(|rest| rest.split("\nOptions:\n").next()).expect("groups of commands");
    let listed: BTreeSet<&str> =
        groups.lines().filter_map(|line| line.strip_prefix("  ").filter(|line| !line.starts_with(' '))?.split(' ').next()).collect();
    let walked: BTreeSet<&str> = WALKS.iter().map(|(command, _)| command[0]).chain(["demo"]).collect();
    assert_eq!(listed, walked);
}

#[test]
fn people_get_tables_and_pipes_get_bytes() {
    let node = Fake::new(Manner::Serves);
    let cases: [(&[&str], &str, &str); 5] = [
        (&["put", "k", "a\x1b\n"], "OK\n", ""),
        (&["append", "k", "b"], "OK\n", ""),
        (&["get", "k"], "a\\x1b\\nbb\n", "a\x1b\nbb"), // the append ran twice: once here, once there
        (&["wait"], "healthy: 1/1 voters, leader n1, term 3, can lose 0\n", ""),
        (&["delete", "k"], "OK\n", ""),
    ];
    for (args, on_a_terminal, in_a_pipe) in cases {
        let (code, text) = on_terminal(&node, args);
        assert_eq!((code, text.as_str()), (Some(0), on_a_terminal), "{args:?}");
        assert_eq!(run_at(&[&node], args).expect(0).text(), in_a_pipe, "{args:?}");
    }
}

#[test]
fn on_a_terminal_it_says_what_it_waits_for_and_in_a_pipe_it_does_not() {
    let node = Fake::new(Manner::Follows(None));
    let args = ["--timeout", "1200ms", "get", "k"];
    let (code, text) = on_terminal(&node, &args);
    assert_eq!(code, Some(3));
    let line = format!("\n  {}: not the leader, knows of none\n", node.address);
    assert!(text.starts_with(&format!("waiting up to 1s 200ms (Ctrl-C ends it){line}kvcli: not done")), "{text:?}");
    let child = command_at(&[&node]).args(args).stderr(Stdio::piped()).spawn().unwrap();
    let piped = String::from_utf8(child.wait_with_output().unwrap().stderr).unwrap();
    assert!(piped.starts_with("kvcli: not done"), "{piped:?}");
}
