//! Whose directory it is, and who has it open.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;
use tests::cli::Ran;
use tests::wait::PATIENCE;
use tests::{Cluster, place, programs, wait_until};

fn run(data_dir: &Path, args: &[&str]) -> Ran {
    let mut command: Command = programs::command(programs::kvnode());
    command.args([OsStr::new("run"), "--data-dir".as_ref(), data_dir.as_ref()]).args(args);
    Ran::run(command, b"")
}

/// Every file below a directory, with its bytes.
fn contents(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).expect("a directory") {
        let entry = entry.expect("an entry");
        if entry.file_type().expect("a type").is_dir() {
            found.extend(contents(&entry.path()));
        } else {
            found.push((entry.path().display().to_string(), std::fs::read(entry.path()).expect("a file")));
        }
    }
    found.sort();
    found
}

#[test]
fn run_on_a_directory_never_initialised_says_init_and_ends_with_78() {
    let dir = place::directory();
    run(dir.path(), &[]).expect_code(78).expect_says(&["kvnode init", &dir.path().display().to_string()]);
    let missing = dir.path().join("missing");
    run(&missing, &[]).expect_code(78).expect_says(&["kvnode init", "missing"]);
    assert!(!missing.exists(), "a directory mistyped is not created");
}

#[test]
fn run_on_a_directory_that_a_live_process_has_locked_names_it() {
    let mut cluster = Cluster::start(1);
    let free = place::loopback();
    let listen = [("--listen-client", place::CLIENT_PORT), ("--listen-peer", place::PEER_PORT)];
    let listen: Vec<String> = listen.iter().flat_map(|(flag, port)| [(*flag).to_owned(), format!("{free}:{port}")]).collect();
    let listen: Vec<&str> = listen.iter().map(String::as_str).collect();
    let pid = cluster.pid(0).to_string();
    let data_dir = cluster.nodes[0].data_dir.clone();
    run(&data_dir, &listen).expect_code(78).expect_says(&[&pid, &data_dir.display().to_string()]);
    // Even a process that does not react holds its lock.
    cluster.pause(0);
    run(&data_dir, &listen).expect_code(78).expect_says(&[&pid]);
    cluster.resume(0);
    cluster.kvcli(["put", "still", "there"]).expect_code(0);
    // And a dead one does not.
    cluster.kill(0);
    cluster.start_node(0);
    cluster.wait_healthy();
}

#[test]
fn init_twice_with_the_same_arguments_changes_nothing_and_ends_with_0() {
    let cluster = Cluster::prepare(3);
    let before = contents(&cluster.nodes[0].data_dir);
    let ran = cluster.init(0).expect_code(0);
    assert!(format!("{ran}").contains("already initialised"), "{ran}");
    assert_eq!(contents(&cluster.nodes[0].data_dir), before);
}

#[test]
fn init_twice_with_other_arguments_names_each_difference_and_touches_nothing() {
    let cluster = Cluster::prepare(3);
    let data_dir = cluster.nodes[0].data_dir.clone();
    let before = contents(&data_dir);
    let elsewhere = cluster.members.replace(&cluster.nodes[2].peer_addr, "127.0.0.1:4242");
    let directory = data_dir.to_str().expect("text");
    let init = |name: &str, members: &str, more: &[&str]| {
        Ran::kvnode(["init", "--data-dir", directory, "--name", name, "--cluster", members].iter().chain(more)).expect_code(78)
    };
    init("n2", &cluster.members, &[]).expect_says(&["n1", "n2"]);
    init("n1", &elsewhere, &[]).expect_says(&["127.0.0.1:4242", &cluster.nodes[2].peer_addr]);
    init("n1", &cluster.members, &["--cluster-token", "another"]).expect_says(&["cluster"]);
    init("n2", &elsewhere, &[]).expect_says(&["n1", "n2", "127.0.0.1:4242"]);
    assert_eq!(contents(&data_dir), before);
}

#[test]
fn a_port_in_use_is_named() {
    let cluster = Cluster::start(1);
    let other = Cluster::prepare(1);
    let taken = [&cluster.nodes[0].client_addr, &cluster.nodes[0].peer_addr];
    let free = [&other.nodes[0].client_addr, &other.nodes[0].peer_addr];
    let data_dir = &other.nodes[0].data_dir;
    run(data_dir, &["--listen-client", taken[0], "--listen-peer", free[1]]).expect_one_of(&[74, 78]).expect_says(&[taken[0], "in use"]);
    run(data_dir, &["--listen-client", free[0], "--listen-peer", taken[1]]).expect_one_of(&[74, 78]).expect_says(&[taken[1], "in use"]);
}

#[test]
fn a_peer_of_another_cluster_is_refused_on_both_sides() {
    let mut cluster = Cluster::start(3);
    cluster.kill(2);
    // The same member at the same address, but of a cluster with another token.
    std::fs::remove_dir_all(&cluster.nodes[2].data_dir).expect("removed");
    let directory = cluster.nodes[2].data_dir.to_str().expect("text").to_owned();
    let token = ["--cluster-token", "another"];
    Ran::kvnode(["init", "--data-dir", &directory, "--name", "n3", "--cluster", &cluster.members].iter().chain(&token)).expect_code(0);
    std::fs::remove_file(&cluster.nodes[2].log).expect("its log so far");
    cluster.start_node(2);
    for number in 0..3 {
        let name = cluster.nodes[number].name.clone();
        wait_until(&format!("{name} says that clusters differ"), PATIENCE, || {
            let ids: BTreeSet<String> = cluster.log(number).lines().filter(|line| line.contains("refused")).flat_map(cluster_ids).collect();
            ids.len() == 2 // its own, and the other
        });
    }
    cluster.kvcli_at([0, 1], ["put", "k", "v"]).expect_code(0);
}

/// The cluster ids in a line: words of 32 hexadecimal digits.
fn cluster_ids(line: &str) -> Vec<String> {
    let words = line.split(|c: char| !c.is_ascii_hexdigit());
    words.filter(|word| word.len() == 32).map(String::from).collect()
}

#[test]
fn a_node_at_another_nodes_address_is_refused() {
    let mut cluster = Cluster::start(3);
    cluster.kill(1);
    cluster.kill(2);
    // n2's directory, started where n3 should be: n1 dials n3 and finds n2.
    let (n2, n3) = (cluster.nodes[1].data_dir.clone(), cluster.nodes[2].data_dir.clone());
    std::fs::rename(&n3, cluster.path().join("aside")).expect("renamed");
    std::fs::rename(&n2, &n3).expect("renamed");
    std::fs::rename(cluster.path().join("aside"), &n2).expect("renamed");
    let at_n3 = ["--listen-peer".to_owned(), cluster.nodes[2].peer_addr.clone()];
    let args = std::mem::replace(&mut cluster.run_args, at_n3.to_vec());
    cluster.start_node(2);
    cluster.run_args = args;
    wait_until("n1 says whom it found", PATIENCE, || {
        cluster.log(0).lines().any(|line| line.contains(&cluster.nodes[2].peer_addr) && line.contains("node 2, not node 3"))
    });
}

#[test]
fn a_damaged_log_ends_with_65_and_names_file_and_offset() {
    let mut cluster = Cluster::start(1);
    for count in 0..20 {
        cluster.kvcli(["put", "k", &format!("value-{count}")]).expect_code(0);
    }
    cluster.signal(0, Signal::SIGTERM);
    assert_eq!(cluster.wait_end(0).code(), Some(0));
    // One bit in the middle of what was acknowledged.
    let log = cluster.nodes[0].data_dir.join("log");
    let mut damaged = None;
    for (path, mut bytes) in contents(&log) {
        if let Some(place) = bytes.windows(8).position(|window| window == b"value-10") {
            bytes[place] ^= 1;
            std::fs::write(&path, bytes).expect("damaged");
            damaged = Some(path);
        }
    }
    let damaged = damaged.expect("the value is in the log");
    let file = Path::new(&damaged).file_name().expect("a name").to_string_lossy().into_owned();
    let before = contents(&log);
    let ran = run(&cluster.nodes[0].data_dir.clone(), &[]).expect_code(65).expect_says(&[&file, "offset"]);
    assert_eq!(contents(&log), before, "a refusal changes nothing\n{ran}");
}

#[test]
fn dump_shows_a_node_that_has_stopped() {
    let mut cluster = Cluster::start(1);
    cluster.kvcli(["put", "city", "Turin"]).expect_code(0);
    assert_eq!(cluster.terminate(0).code(), Some(0));
    let ran = Ran::kvnode([OsStr::new("dump"), cluster.nodes[0].data_dir.as_ref()]).expect_code(0);
    let text = String::from_utf8_lossy(&ran.stdout);
    for word in ["n1", "city", "put"] {
        assert!(text.contains(word), "no {word:?} in\n{text}");
    }
}
