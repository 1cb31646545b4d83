//! Nothing is acknowledged before the disks of a majority have it: seen from outside, in the system calls.

use std::path::Path;
use std::time::Duration;

use tests::client::Client;
use tests::load::{Load, Told};
use tests::strace::Strace;
use tests::wait::{PATIENCE, let_pass};
use tests::{Cluster, host, wait_until};

/// The calls that matter, in order, with enough of their bytes to recognise a value.
const CALLS: &str = "trace=fdatasync,fsync,read,readv,recvfrom,recvmsg,write,writev,sendto,sendmsg";

/// The file descriptor that a line of strace is about.
fn descriptor(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once('(')?;
    rest.split([',', ')']).next()
}

#[test]
fn the_leader_syncs_between_receiving_a_write_and_acknowledging_it() {
    if host::lacks("ptrace", "the_leader_syncs_between_receiving_a_write_and_acknowledging_it") {
        return;
    }
    let cluster = Cluster::start_calm(3);
    let leader = cluster.leader();
    cluster.kvcli(["put", "warm", "up"]).expect_code(0);
    let strace = Strace::attach(cluster.pid(leader), &cluster.path().join("strace"), &["-e", CALLS, "-s", "4096"]);
    cluster.kvcli_at([leader], ["put", "haystack", "needle-4711"]).expect_code(0);
    let lines = strace.detach();
    let is = |line: &str, calls: &[&str]| calls.iter().any(|call| line.contains(&format!(" {call}(")));
    let receives = |line: &&String| line.contains("needle-4711") && is(line, &["read", "readv", "recvfrom", "recvmsg"]);
    let received = lines.iter().position(|line| receives(&line)).expect("the leader receives the value");
    let client = descriptor(&lines[received]).expect("a descriptor");
    let answers = |line: &&String| is(line, &["write", "writev", "sendto", "sendmsg"]) && descriptor(line) == Some(client);
    let answered = received + lines[received..].iter().position(|line| answers(&line)).expect("the leader answers");
    let synced = |line: &&String| is(line, &["fdatasync", "fsync"]) && line.ends_with("= 0");
    assert!(lines[received..answered].iter().any(|line| synced(&line)), "no sync in\n{}", lines[received..=answered].join("\n"));
}

#[test]
fn a_snapshot_is_synced_before_it_gets_its_name_and_its_directory_before_anything_of_the_log_goes() {
    if host::lacks("ptrace", "a_snapshot_is_synced_before_it_gets_its_name_and_its_directory_before_anything_of_the_log_goes") {
        return;
    }
    let mut cluster = Cluster::prepare(1);
    cluster.run_args = ["--max-log-bytes", "16KiB"].map(String::from).into();
    cluster.start_all();
    cluster.wait_healthy();
    let calls = "trace=fdatasync,fsync,rename,renameat,renameat2,unlink,unlinkat";
    let strace = Strace::attach(cluster.pid(0), &cluster.path().join("strace"), &["-e", calls, "-y", "-s", "4096"]);
    let mut client = Client::new(&cluster.endpoints(), PATIENCE);
    let data_dir = cluster.nodes[0].data_dir.clone();
    let first_segment = std::fs::read_dir(data_dir.join("log")).expect("a directory").map(|entry| entry.expect("an entry").path()).min();
    let first_segment = first_segment.expect("a segment");
    let (snapshots, log) = (data_dir.join("snapshot"), data_dir.join("log"));
    let goes =
        |line: &str| (line.contains(" unlink") || line.contains(" rename")) && line.contains(&format!("\"{}\"", first_segment.display()));
    wait_until("the log no longer has its first segment, for good", PATIENCE, || {
        client.put("k", [0; 512]).expect("a put");
        let lines = strace.lines();
        lines.iter().skip_while(|line| !goes(line)).any(|line| is_sync_of(line, &log) && line.ends_with("= 0"))
    });
    let lines: Vec<String> = strace.detach().into_iter().filter(|line| line.ends_with("= 0")).collect();
    let first = |what: &str, is: &dyn Fn(&str) -> bool| {
        lines.iter().position(|line| is(line)).unwrap_or_else(|| panic!("{what}: not among\n{}", lines.join("\n")))
    };
    // Between quotes: the name that a call is given; between angle brackets: what a descriptor is.
    let named =
        first("a snapshot gets its name", &|line| line.contains(" rename") && line.contains(&format!("\"{}/", snapshots.display())));
    let temporary = lines[named].split('"').nth(1).expect("a name").to_owned();
    let synced = first("its file is synced", &|line| line.contains(" fdatasync(") && line.contains(&format!("<{temporary}>")));
    let listed = named + lines[named..].iter().position(|line| is_sync_of(line, &snapshots)).expect("its directory is synced");
    let gone = first("a segment goes", &goes);
    assert!(synced < named && listed < gone, "{}", lines.join("\n"));
    let forgotten = gone + lines[gone..].iter().position(|line| is_sync_of(line, &log)).expect("that it goes is synced, too");
    assert!(gone < forgotten);
}

/// A directory's own sync.
fn is_sync_of(line: &str, dir: &Path) -> bool {
    line.contains(" fsync(") && line.contains(&format!("<{}>", dir.display()))
}

#[test]
fn one_sync_of_the_leader_serves_many_writes_under_load() {
    if host::lacks("ptrace", "one_sync_of_the_leader_serves_many_writes_under_load") {
        return;
    }
    let cluster = Cluster::start_calm(3);
    let leader = cluster.leader();
    let load = Load::start(&cluster.endpoints(), 32);
    load.wait_progress(200);
    // A slow disk: on one that takes no time nothing gathers behind a sync, and nothing has to.
    let slow = ["-e", "trace=fdatasync", "-e", "inject=fdatasync:delay_enter=10000"];
    let strace = Strace::attach(cluster.pid(leader), &cluster.path().join("strace"), &slow);
    let before = load.done();
    load.wait_progress(600);
    let writes = load.done() - before;
    let syncs = strace.detach().iter().filter(|line| line.contains("fdatasync(")).count();
    assert!(load.stop().count(Told::Done) > writes);
    host::report(format!("{writes} acknowledged writes of 32 clients took {syncs} syncs of the leader"));
    assert!(syncs > 0, "nothing was synced");
    assert!(writes > 3 * syncs, "{writes} writes took {syncs} syncs");
}

#[test]
fn with_both_followers_disks_asleep_a_put_is_not_acknowledged() {
    if host::lacks("ptrace", "with_both_followers_disks_asleep_a_put_is_not_acknowledged") {
        return;
    }
    let cluster = Cluster::start(3);
    cluster.kvcli(["put", "city", "Turin"]).expect_code(0);
    let leader = cluster.leader();
    let delays: Vec<Strace> = (0..3)
        .filter(|number| *number != leader)
        .map(|number| {
            let output = cluster.path().join(format!("strace-{number}"));
            let delay = ["-e", "trace=fdatasync", "-e", "inject=fdatasync:delay_enter=6000000"];
            Strace::attach(cluster.pid(number), &output, &delay)
        })
        .collect();
    cluster.kvcli(["--timeout", "2s", "put", "city", "Asti"]).expect_one_of(&[4, 3]);
    drop(delays);
    // Awake again, the same cluster answers, with the old value or the new.
    cluster.kvcli(["put", "after", "all"]).expect_code(0);
    let value = cluster.kvcli(["get", "city"]).expect_code(0).stdout;
    assert!(value == b"Turin" || value == b"Asti", "{}", String::from_utf8_lossy(&value));
    cluster.wait_healthy();
}

#[test]
fn a_failed_sync_stops_the_node_with_74_and_the_others_go_on() {
    if host::lacks("ptrace", "a_failed_sync_stops_the_node_with_74_and_the_others_go_on") {
        return;
    }
    let mut cluster = Cluster::start(3);
    let leader = cluster.leader();
    let load = Load::start(&cluster.endpoints(), 2);
    load.wait_progress(20);
    let output = cluster.path().join("strace");
    let strace = Strace::attach(cluster.pid(leader), &output, &["-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO"]);
    let status = cluster.wait_end(leader);
    drop(strace);
    assert_eq!(status.code(), Some(74), "{status}\n{}", cluster.log(leader));
    load.wait_progress(50);
    let_pass(Duration::from_millis(100));
    cluster.start_node(leader);
    load.wait_progress(50);
    let account = load.stop();
    cluster.wait_healthy();
    let mut reader = Client::new(&cluster.endpoints(), PATIENCE);
    for client in account.told.keys() {
        account.check(*client, &reader.get(&Load::key(*client)).expect("a read").expect("the key is there"));
    }
}
