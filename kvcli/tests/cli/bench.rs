//! What a cluster does under load.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use wire::Reply;
use wire::client::BusyReason;

use crate::fake::{Fake, Manner};
use crate::program::{Ran, command_at, run, run_at};

/// As short as a bench can be.
const SHORT: [&str; 9] = ["bench", "--seconds", "1", "--warmup", "0", "--keys", "20", "--clients", "3"];

fn figures(ran: &Ran) -> Value {
    serde_json::from_slice(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
}

fn number(figures: &Value, name: &str) -> u64 {
    figures[name].as_u64().unwrap_or_else(|| panic!("{name}: {figures}"))
}

/// The sessions that wrote to this node.
fn sessions(node: &Fake) -> std::collections::BTreeSet<String> {
    node.asked().iter().filter_map(|asked| Some(asked.strip_prefix("write ")?.split(' ').next()?.to_string())).collect()
}

#[test]
fn figures_are_one_json_document_with_these_fields() {
    let node = Fake::new(Manner::Serves);
    let fields = ["errors", "longest_gap_ms", "max_us", "ops_per_s", "p50_us", "p90_us", "p999_us", "p99_us"];
    for json in [["--json"].as_slice(), &["-o", "json"]] {
        let found = figures(&run_at(&[&node], [&SHORT, json].concat()).expect(0));
        let mut names: Vec<&str> = found.as_object().unwrap().keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, fields);
        let rising: Vec<u64> = ["p50_us", "p90_us", "p99_us", "p999_us", "max_us"].map(|name| number(&found, name)).into();
        assert!(rising.is_sorted() && rising[0] > 0 && number(&found, "ops_per_s") > 0, "{found}");
        assert_eq!(number(&found, "errors"), 0);
    }
}

#[test]
fn in_a_pipe_it_is_a_line_per_figure() {
    let node = Fake::new(Manner::Serves);
    let text = run_at(&[&node], SHORT).expect(0).text();
    let names: Vec<&str> = text.lines().map(|line| line.split_once('\t').unwrap().0).collect();
    assert_eq!(names, ["ops_per_s", "p50_us", "p90_us", "p99_us", "p999_us", "max_us", "longest_gap_ms", "errors"]);
}

#[test]
fn every_client_has_a_session_and_stays_among_the_keys_of_the_bench() {
    let node = Fake::new(Manner::Serves);
    run_at(&[&node], SHORT).expect(0);
    assert_eq!(sessions(&node).len(), 3);
    let keys: Vec<String> = node.keys().into_iter().map(|key| String::from_utf8(key).unwrap()).collect();
    assert!(keys.iter().all(|key| key.starts_with("bench/")) && keys.len() <= 20, "{keys:?}");
    assert_eq!(node.value(b"bench/0000000000").map(|value| value.len()), Some(256));
}

#[test]
fn what_is_read_was_written_before() {
    let node = Fake::new(Manner::Serves);
    for op in ["get", "mixed"] {
        let found = figures(&run_at(&[&node], [&SHORT[..], &["--op", op, "--in-flight", "4", "--json"]].concat()).expect(0));
        assert_eq!(number(&found, "errors"), 0, "{op}");
    }
    let asked = node.asked();
    let first_read = asked.iter().position(|asked| asked == "get").unwrap();
    assert_eq!(asked[..first_read].iter().filter(|asked| asked.starts_with("write ")).count(), 20);
}

#[test]
fn appends_begin_with_nothing_and_so_does_the_next_bench() {
    let node = Fake::new(Manner::Serves);
    let args = [&SHORT[..], &["--op", "append", "--value-size", "7", "--json"]].concat();
    for _ in 0..2 {
        run_at(&[&node], &args).expect(0);
        let lens: Vec<usize> = node.keys().iter().map(|key| node.value(key).unwrap().len()).collect();
        assert!(lens.iter().all(|len| len % 7 == 0) && lens.iter().any(|len| *len > 7), "{lens:?}");
    }
    let appended: usize = node.keys().iter().map(|key| node.value(key).unwrap().len() / 7).sum();
    let writes = node.asked().iter().filter(|asked| asked.starts_with("write ")).count();
    assert!(appended < writes - 40, "{appended} of the second run are left of {writes} writes in both");
}

#[test]
fn a_key_that_is_missing_is_an_error_and_errors_exit_1() {
    let node = Fake::new(Manner::Forgets);
    let ran = run_at(&[&node], [&SHORT[..], &["--op", "get", "--json"]].concat()).expect(1);
    let found = figures(&ran);
    assert!(number(&found, "errors") > 0 && number(&found, "ops_per_s") == 0, "{found}");
    let error = ran.error();
    assert!(error["message"].as_str().unwrap().contains("no value at bench/00000000"), "{error}");
}

#[test]
fn a_node_that_refuses_work_makes_errors_not_figures() {
    let node = Fake::new(Manner::Serves);
    let running = command_at(&[&node]).args(SHORT).args(["--json"]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    while sessions(&node).len() < 3 || node.asked().len() < 10 {
        std::thread::yield_now();
    }
    node.behave(Manner::Answers(Reply::Busy { reason: BusyReason::Full }));
    let ran = Ran::from(running.wait_with_output().unwrap()).expect(1);
    assert!(number(&figures(&ran), "errors") > 0, "{ran:?}");
}

#[test]
fn what_a_failover_costs_is_a_gap_and_not_an_error() {
    let node = Fake::new(Manner::Serves);
    let mut bench = command_at(&[&node]);
    bench.args(SHORT).args(["--failover", "--json"]).stdout(std::process::Stdio::piped());
    let running = bench.spawn().unwrap();
    while sessions(&node).len() < 3 || node.asked().len() < 10 {
        std::thread::yield_now();
    }
    node.behave(Manner::LosesAnswers(5));
    let found = figures(&Ran::from(running.wait_with_output().unwrap()).expect(0));
    assert!(number(&found, "errors") == 0 && number(&found, "longest_gap_ms") > 0, "{found}");
}

#[test]
fn nobody_there_is_not_done() {
    let ran = run(["--endpoints", "127.0.0.1:1", "--timeout", "300ms", "bench", "--json"]).expect(3);
    assert_eq!(ran.error()["endpoints"][0]["reason"], "connection refused");
    run(["--endpoints", "127.0.0.1:1", "--timeout", "300ms", "bench", "--failover"]).expect(3);
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_sent() {
    let node = Fake::new(Manner::Serves);
    for wrong in [
        ["--clients", "0"],
        ["--in-flight", "0"],
        ["--in-flight", "65"],
        ["--keys", "0"],
        ["--seconds", "0"],
        ["--warmup", "-1"],
        ["--value-size", "2MiB"],
        ["--op", "delete"],
        ["-o", "raw"],
    ] {
        let ran = run_at(&[&node], ["bench", wrong[0], wrong[1]]).expect(2);
        assert!(ran.stdout.is_empty() && node.asked().is_empty(), "{wrong:?}: {ran:?}");
    }
}

#[test]
fn ctrl_c_ends_it_with_130() {
    let node = Fake::new(Manner::Serves);
    let running = command_at(&[&node]).args(["bench", "--seconds", "3600"]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    while node.asked().len() < 100 {
        std::thread::yield_now();
    }
    kill(Pid::from_raw(i32::try_from(running.id()).unwrap()), Signal::SIGINT).unwrap();
    let ran = Ran::from(running.wait_with_output().unwrap()).expect(130);
    assert!(ran.stdout.is_empty(), "{ran:?}");
}
