//! What this host can do.

use serde_json::Value;
use tests::{Ran, host, place, programs};

use crate::up::{chaos, lacks};

#[test]
fn every_facility_has_a_line_and_what_is_lost_without_it() {
    if lacks("every_facility_has_a_line_and_what_is_lost_without_it") {
        return;
    }
    let kvnode = format!("--kvnode={}", programs::kvnode().display());
    let ran = Ran::run(chaos(&["doctor", "--json", &kvnode]), b"").expect_code(0);
    let lines: Vec<Value> = ran.stdout.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
    let names: Vec<&str> = lines.iter().filter_map(|line| line["name"].as_str()).collect();
    let expected = ["namespaces", "processes", "tun", "bridge", "iptables", "iptables-statistic", "netem", "tbf", "tmpfs", "kvnode"];
    assert_eq!(names, expected);
    for line in &lines {
        assert!(!line["found"].as_str().expect("a text").is_empty() && !line["lost"].as_str().expect("a text").is_empty(), "{line}");
    }
    let works = |name: &str| lines.iter().any(|line| line["name"] == name && line["works"] == true);
    assert!(works("namespaces") && works("processes") && works("tun") && works("tmpfs"), "what this test needs is there: {lines:?}");
}

#[test]
fn a_host_that_cannot_have_a_cluster_is_said_to_be_unsupported() {
    let dir = place::directory();
    // A program that is there and does not run.
    let file = dir.path().join("kvnode");
    std::fs::write(&file, "").expect("a file");
    let kvnode = format!("--kvnode={}", file.display());
    let ran = Ran::run(chaos(&["doctor", &kvnode]), b"").expect_code(5);
    let text = String::from_utf8(ran.stdout).expect("text");
    let line = text.lines().find(|line| line.starts_with("kvnode")).expect("a line");
    assert!(line.contains(" no ") && line.contains("lost: everything"), "{line}");
}

#[test]
fn without_namespaces_nothing_runs_and_nothing_is_called_passed() {
    if host::lacks("userns", "without_namespaces_nothing_runs_and_nothing_is_called_passed") {
        return;
    }
    // A host that lets nobody have network namespaces.
    let inside = |words: &[&str]| {
        let mut command = programs::command("unshare");
        let script = "echo 0 >/proc/sys/user/max_net_namespaces && exec \"$@\"";
        command.args(["--user", "--map-root-user", "sh", "-c", script, "sh", env!("CARGO_BIN_EXE_chaos")]).args(words);
        Ran::run(command, b"")
    };
    let kvnode = format!("--kvnode={}", programs::kvnode().display());
    let ran = inside(&["doctor", &kvnode]).expect_code(5);
    let text = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(text.lines().any(|line| line.starts_with("namespaces") && line.contains(" no ")), "{text}");
    let dir = place::directory();
    let (out, dir) = (format!("--out={}", dir.path().display()), format!("--dir={}", dir.path().display()));
    inside(&["up", &dir, &kvnode]).expect_code(5);
    inside(&["up", &dir, &kvnode]).expect_code(5); // and not: first clean up
    inside(&["run", &out, &kvnode, "--time=5s"]).expect_code(5);
}
