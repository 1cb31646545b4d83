//! Every command, in every mode, on a terminal and in a pipe: it works, or it exits 2 before it does anything.

use std::fs::File;
use std::io::Read;
use std::process::Stdio;

use nix::pty::{OpenptyResult, openpty};

use crate::fake::{Fake, Manner};
use crate::program::{command_at, run_at};

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

#[test]
fn every_command_works_in_every_mode_or_refuses_it_first() {
    let headline = "healthy: 1/1 voters, leader n1, term 3, can lose 0\n";
    // What standard output begins with; `None`: exit 2, and the node was asked nothing.
    let walks: [(&[&str], [Option<&str>; 5]); 10] = [
        (&["put", "k", "v\x01"], [Some("OK\n"), Some(""), None, Some("{\"version\":"), Some("{\"version\":")]),
        (&["append", "k", ""], [Some("OK\n"), Some(""), None, Some("{\"version\":"), Some("{\"version\":")]),
        (&["get", "k"], [Some("v\\x01\n"), Some("v\\x01\n"), Some("v\x01"), Some("{\"key\":\"k\","), Some("{\"key\":\"k\",")]),
        (&["status"], [Some(headline), Some(headline), None, Some("{\"cluster_id\":"), Some("{\"cluster_id\":")]),
        (&["wait"], [Some(headline), Some(""), None, Some("{\"verdict\":"), Some("{\"verdict\":")]),
        (&["scan"], [Some("KEY  VERSION  VALUE\nk "), Some("k\tv\\x01\n"), None, Some("{\"key\":\"k\","), Some("{\"key\":\"k\",")]),
        (&["dump"], [Some("KEY  VERSION  VALUE\nk "), Some("k\tv\x01\n"), None, Some("{\"key\":\"k\","), Some("{\"key\":\"k\",")]),
        (&["load", "/dev/null"], [Some(""), Some(""), None, Some("{\"lines\":0,"), Some("{\"lines\":0,")]),
        (&["cas", "k", "--expect", "v\x01", "v\x01"], [Some("OK\n"), Some(""), None, Some("{\"swapped\":"), Some("{\"swapped\":")]),
        (&["delete", "k"], [Some("OK\n"), Some(""), None, Some("{\"existed\":"), Some("{\"existed\":")]),
    ];
    for (command, expected) in walks {
        for (mode, begins) in ["table", "plain", "raw", "json", "jsonl"].into_iter().zip(expected) {
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
                    assert_eq!(
                        ran.stderr.is_empty(),
                        command[0] != "dump" && (command[0] != "load" || mode.starts_with("json")),
                        "{args:?}: {ran:?}"
                    );
                    assert!(terminal.starts_with(begins), "{args:?}: {terminal:?}");
                    assert_eq!(begins.is_empty(), ran.stdout.is_empty(), "{args:?}: {ran:?}");
                }
            }
        }
    }
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
