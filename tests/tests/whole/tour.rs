//! What the README shows: the demonstration, a single node to try, the unit file.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use nix::sys::signal::Signal;
use tests::cli::{PATIENT, Ran, kvcli_command};
use tests::{Cluster, host, place, process, programs, wait_for};

/// Everything below a directory.
fn left_in(dir: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry").path()).collect()
}

#[test]
fn the_demonstration_without_a_terminal_checks_itself_and_leaves_nothing() {
    let dir = place::directory();
    let mut command = kvcli_command(["demo"]);
    command.env("TMPDIR", dir.path());
    let ran = Ran::run(command, b"").expect_code(0);
    let text = String::from_utf8_lossy(&ran.stdout);
    for words in ["n1", "n2", "n3", "leads after", "0 lost, 0 doubled", "stopped; nothing left"] {
        assert!(text.contains(words), "no {words:?} in\n{text}");
    }
    assert_eq!(left_in(dir.path()), Vec::<PathBuf>::new());
    assert!(!running_with(dir.path()), "a process of the demonstration still runs");
}

#[test]
fn a_killed_demonstration_takes_its_nodes_with_it() {
    let dir = place::directory();
    let mut command = kvcli_command(["demo", "--keep"]);
    command.arg(dir.path().join("kept")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut demo = process::spawn(command).expect("it starts");
    let kept = dir.path().join("kept");
    wait_for("its nodes run", tests::wait::PATIENCE, || running_with(&kept).then_some(()).ok_or("none does"));
    process::signal(&demo, Signal::SIGKILL);
    demo.wait().expect("it ends");
    wait_for("its nodes are gone", tests::wait::PATIENCE, || (!running_with(&kept)).then_some(()).ok_or("one runs"));
}

/// Whether a `kvnode` runs that was told this directory.
fn running_with(dir: &Path) -> bool {
    let dir = dir.to_str().expect("text");
    std::fs::read_dir("/proc").expect("proc").flatten().any(|entry| {
        let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).into_owned();
        command.split('\0').next().is_some_and(|program| program.ends_with("kvnode")) && command.contains(dir)
    })
}

#[test]
fn dev_is_one_node_that_serves_at_once_and_stops_with_0() {
    let dir = place::directory();
    let address = format!("{}:{}", place::loopback(), place::CLIENT_PORT);
    let mut command = programs::command(programs::kvnode());
    command.args(["dev", "--listen-client", &address]).env("TMPDIR", dir.path());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut node = process::spawn(command).expect("it starts");
    Ran::kvcli(["--endpoints", &address, "put", "k", "v"]).expect_code(0);
    assert_eq!(Ran::kvcli(["--endpoints", &address, "get", "k"]).expect_code(0).stdout, b"v");
    process::signal(&node, Signal::SIGTERM);
    assert_eq!(node.wait().expect("it ends").code(), Some(0));
    assert_eq!(left_in(dir.path()), Vec::<PathBuf>::new(), "its directory was temporary");
}

#[test]
fn status_of_a_healthy_cluster_ends_with_0_and_of_a_degraded_one_with_1() {
    let mut cluster = Cluster::start_calm(3);
    let status = cluster.wait_healthy();
    assert_eq!(status.leaders().len(), 1);
    cluster.kvcli(["status"]).expect_code(0);
    let victim = cluster.follower();
    cluster.kill(victim);
    let ran = cluster.kvcli(["-o", "json", "status"]).expect_code(1);
    let status: serde_json::Value = serde_json::from_slice(&ran.stdout).expect("json");
    assert_eq!(status["verdict"], "degraded", "{status:#}");
}

#[test]
fn a_service_manager_is_told_when_the_node_listens() {
    let mut cluster = Cluster::prepare(1);
    let path = cluster.path().join("notify");
    let socket = std::os::unix::net::UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(tests::wait::PATIENCE)).expect("a timeout");
    let mut command = cluster.run_command(0);
    command.env("NOTIFY_SOCKET", &path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut node = process::spawn(command).expect("it starts");
    let mut told = [0; 1024];
    let len = socket.recv(&mut told).expect("it says something");
    let told = String::from_utf8_lossy(&told[..len]);
    assert!(told.lines().any(|line| line == "READY=1"), "{told}");
    // It is true at once: whoever was started after us may connect.
    tests::raw::Raw::client(&cluster.nodes[0].client_addr);
    process::signal(&node, Signal::SIGTERM);
    assert_eq!(node.wait().expect("it ends").code(), Some(0));
    cluster.start_node(0);
    cluster.wait_healthy();
}

#[test]
fn the_readmes_three_nodes_by_hand_work_as_they_stand() {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md")).expect("README.md");
    let section = readme.split("\n## ").find(|section| section.starts_with("Three nodes by hand")).expect("the section");
    let block = section.split("```").nth(1).expect("its commands").trim_start_matches("sh").trim();
    // The commands themselves, on an address that nobody else has: the README's may be taken by a real node.
    let (address, dir) = (place::loopback(), place::directory());
    let script = format!("set -eux\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n{}", block.replace("127.0.0.1", &address.to_string()));
    let bin = programs::kvcli().parent().expect("a directory").to_owned();
    let path = std::env::join_paths([bin, "/usr/bin".into(), "/bin".into()]).expect("a path");
    let mut command = programs::command("bash");
    command.args(["-c", &script]).current_dir(dir.path());
    command.env("PATH", path).env("KVCLI_TIMEOUT", PATIENT).env("KVCLI_ENDPOINTS", format!("{address}:{}", place::CLIENT_PORT));
    let ran = Ran::run(command, b"").expect_code(0);
    assert!(String::from_utf8_lossy(&ran.stdout).contains("hello, world"), "{ran}");
    assert!(!running_with(dir.path()) && ran.stderr.contains("kvnode dump"), "{ran}");
}

#[test]
fn systemd_accepts_the_unit_file() {
    if host::lacks("systemd-analyze", "systemd_accepts_the_unit_file") {
        return;
    }
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/systemd/kvnode@.service");
    let text = std::fs::read_to_string(&unit).expect("the unit file");
    // `verify` wants the program to be where the unit says; here it is where cargo put it.
    let dir = place::directory();
    let kvnode = programs::kvnode();
    let installed = text.split_whitespace().find_map(|word| word.strip_prefix("ExecStart=")).expect("ExecStart");
    let copy = dir.path().join("kvnode@.service");
    std::fs::write(&copy, text.replace(installed, kvnode.to_str().expect("text"))).expect("a copy");
    let mut command = programs::command("systemd-analyze");
    command.arg("verify").arg(dir.path().join("kvnode@n1.service"));
    std::fs::rename(&copy, dir.path().join("kvnode@n1.service")).expect("an instance");
    let ran = Ran::run(command, b"").expect_code(0);
    assert!(!ran.stderr.contains("kvnode@"), "{ran}");
}
