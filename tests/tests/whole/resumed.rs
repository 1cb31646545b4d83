//! A write of unknown outcome is settled by the command that was printed: whatever became of the first attempt, and whatever became of
//! the cluster since, it has happened once in the end.

use tests::cli::PATIENT;
use tests::lossy::Ways;
use tests::wait::PATIENCE;
use tests::{Cluster, Ran, programs, wait_until};

/// What is printed behind "finish safely with: ": a line for a shell.
pub(crate) fn finish_line(ran: &Ran) -> String {
    let line = ran.stderr.lines().find_map(|line| line.strip_prefix("finish safely with: "));
    let line = line.unwrap_or_else(|| panic!("no way to settle it\n{ran}"));
    assert!(line.starts_with("kvcli --resume kv"), "{line}");
    line.to_owned()
}

/// Runs the line as it was printed, as somebody would who pastes it.
pub(crate) fn paste(line: &str) -> Ran {
    let kvcli = programs::kvcli();
    let path = format!("{}:{}", kvcli.parent().expect("a directory").display(), std::env::var("PATH").unwrap_or_default());
    let mut command = programs::command("sh");
    command.args(["-c", line]).env("PATH", path).env("KVCLI_TIMEOUT", PATIENT);
    Ran::run(command, b"")
}

/// What happens between the attempt and its settling.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Meanwhile {
    Nothing,
    LeaderChange,
    RestartOfAll,
}

/// Pastes the line twice, and looks at the value each time.
fn settle_twice(line: &str, value: impl Fn() -> Vec<u8>) {
    for _ in 0..2 {
        paste(line).expect_code(0);
        assert_eq!(String::from_utf8_lossy(&value()), "before,once,", "{line}");
    }
}

fn value(cluster: &Cluster) -> Vec<u8> {
    cluster.kvcli(["get", "k"]).expect_code(0).stdout
}

/// An append that its leader has taken and cannot finish: both others are stopped, and are still when this returns. The line that
/// settles it, and the leader.
fn append_with_two_of_three_stopped(cluster: &mut Cluster) -> (String, usize) {
    for _ in 0..20 {
        let leader = cluster.leader();
        let others: Vec<usize> = (0..3).filter(|number| *number != leader).collect();
        others.iter().for_each(|number| cluster.pause(*number));
        let endpoints = cluster.endpoints_of([leader].into_iter().chain(others.clone()));
        let append = ["append", "k", "once,", "--timeout", "1s"];
        let ran = Ran::run(cluster.kvcli_command(&endpoints, append), b"").expect_one_of(&[4, 3]);
        if ran.code == 4 {
            return (finish_line(&ran), leader);
        }
        // The leader had noticed that it was alone before it was asked: a definite "not done", and nothing to settle.
        others.iter().for_each(|number| cluster.resume(*number));
        cluster.wait_healthy();
    }
    panic!("twenty times the leader knew that it was alone before it was asked");
}

fn stopped_then_settled(meanwhile: Meanwhile) {
    let mut cluster = Cluster::start(3);
    cluster.kvcli(["append", "k", "before,"]).expect_code(0);
    let (line, leader) = append_with_two_of_three_stopped(&mut cluster);
    let others: Vec<usize> = (0..3).filter(|number| *number != leader).collect();
    match meanwhile {
        Meanwhile::Nothing => others.iter().for_each(|number| cluster.resume(*number)),
        Meanwhile::LeaderChange => {
            cluster.kill(leader);
            others.iter().for_each(|number| cluster.resume(*number));
        }
        Meanwhile::RestartOfAll => {
            cluster.kill_all();
            cluster.start_all();
        }
    }
    settle_twice(&line, || value(&cluster));
    if meanwhile == Meanwhile::LeaderChange {
        assert_ne!(cluster.leader(), leader);
        cluster.start_node(leader); // with the append in its log, perhaps at a place that is another's now
    }
    cluster.wait_healthy();
    cluster.wait_equal();
    settle_twice(&line, || value(&cluster));
}

#[test]
fn an_append_begun_with_two_of_three_stopped_is_settled_by_the_printed_command() {
    stopped_then_settled(Meanwhile::Nothing);
}

#[test]
fn an_append_begun_with_two_of_three_stopped_is_settled_after_a_leader_change() {
    stopped_then_settled(Meanwhile::LeaderChange);
}

#[test]
fn an_append_begun_with_two_of_three_stopped_is_settled_after_a_restart_of_all() {
    stopped_then_settled(Meanwhile::RestartOfAll);
}

/// The nodes are well and do what they are asked; only nobody hears it.
fn done_unheard_then_settled(meanwhile: Meanwhile) {
    let mut cluster = Cluster::prepare(3);
    let ways = Ways::to(&mut cluster);
    cluster.start_all();
    let endpoints = &ways.endpoints;
    let kvcli = |args: &[&str]| Ran::kvcli([&["--endpoints", endpoints], args].concat());
    let value = || kvcli(&["get", "k"]).expect_code(0).stdout;
    kvcli(&["wait", "--all"]).expect_code(0);
    kvcli(&["append", "k", "before,"]).expect_code(0);

    let line = finish_line(&ways.unheard(|| kvcli(&["append", "k", "once,", "--timeout", "1s"])));
    wait_until("it takes effect, or this test shows nothing", PATIENCE, || value() == b"before,once,");
    let position = || kvcli(&["-o", "json", "get", "k"]).expect_code(0).stdout;
    let modified = |document: Vec<u8>| serde_json::from_slice::<serde_json::Value>(&document).expect("a document")["modified"].clone();
    let before = modified(position());
    match meanwhile {
        Meanwhile::Nothing => {}
        Meanwhile::LeaderChange => {
            let leader = cluster.leader();
            cluster.kill(leader);
            settle_twice(&line, value);
            assert_ne!(cluster.leader(), leader);
            cluster.start_node(leader);
        }
        Meanwhile::RestartOfAll => {
            cluster.kill_all();
            cluster.start_all();
        }
    }
    settle_twice(&line, value);
    assert_eq!(modified(position()), before, "the value was not even written again");
    cluster.wait_equal();
}

#[test]
fn an_append_that_was_done_unheard_is_not_done_again_by_the_printed_command() {
    done_unheard_then_settled(Meanwhile::Nothing);
}

#[test]
fn an_append_that_was_done_unheard_is_not_done_again_after_a_leader_change() {
    done_unheard_then_settled(Meanwhile::LeaderChange);
}

#[test]
fn an_append_that_was_done_unheard_is_not_done_again_after_a_restart_of_all() {
    done_unheard_then_settled(Meanwhile::RestartOfAll);
}
