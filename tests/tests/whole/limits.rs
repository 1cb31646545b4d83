//! What does not fit is refused with 3, never half done; and room that is made is used. Nothing that was acknowledged is lost for want of
//! room.

use std::net::TcpStream;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use raft::Index;
use tests::client::{Client, Failed};
use tests::cluster::CALM_TICKS;
use tests::disk::SmallDisk;
use tests::raw::Raw;
use tests::wait::{PATIENCE, let_pass};
use tests::{Cluster, Ran, host, wait_for, wait_until};
use wire::{BusyReason, CallId, Op, Reply, Request, Scan, SessionId};

/// Puts values of so many bytes under numbered keys until one is refused; how many were done, and what the refusal said.
#[track_caller]
fn put_until_refused(client: &mut Client, prefix: &str, len: usize) -> (usize, String) {
    for number in 0..10_000 {
        match client.put(&format!("{prefix}{number:05}"), value(number, len)) {
            Ok(_) => {}
            Err(Failed::NotDone(why)) => return (number, why),
            Err(Failed::Unknown(why)) => panic!("a write that is refused is not unknown: {why}"),
        }
    }
    panic!("10000 values of {len} bytes fit")
}

/// Unlike that of any other number.
fn value(number: usize, len: usize) -> Vec<u8> {
    format!("{number:08} ").into_bytes().into_iter().cycle().take(len).collect()
}

#[track_caller]
fn expect_all(client: &mut Client, prefix: &str, count: usize, len: usize) {
    for number in 0..count {
        let key = format!("{prefix}{number:05}");
        assert!(client.get(&key).expect("a read") == Some(value(number, len)), "{key} was acknowledged and is lost");
    }
}

#[test]
fn at_max_data_bytes_deletes_make_room_and_a_restart_loses_nothing() {
    const LEN: usize = 100_000;
    let mut cluster = Cluster::prepare(3);
    let tests_own = cluster.run_args.clone();
    cluster.run_args.extend(["--max-data-bytes", "1MiB"].map(String::from));
    cluster.start_all();
    cluster.wait_healthy();
    let mut client = Client::new(&cluster.endpoints(), PATIENCE);
    let (count, why) = put_until_refused(&mut client, "k", LEN);
    assert!((10..=12).contains(&count) && why.contains("--max-data-bytes"), "{count} values: {why}");
    for command in [&["put", "k00000", "smaller"][..], &["append", "k00000", "more"], &["cas", "new", "--absent", "v"]] {
        cluster.kvcli(command).expect_code(3).expect_says(&["--max-data-bytes", "deletes go on"]);
    }
    expect_all(&mut client, "k", count, LEN);
    cluster.wait_equal();
    let full = cluster.status();

    // A limit decides what is proposed, never what a log means: with a tenth of it, everything is still there.
    cluster.kill_all();
    cluster.run_args = tests_own;
    cluster.run_args.extend(["--max-data-bytes", "100KiB"].map(String::from));
    cluster.start_all();
    cluster.wait_healthy();
    cluster.wait_equal();
    let again = cluster.status();
    assert_eq!(again.number("n1", "data_bytes"), full.number("n1", "data_bytes"));
    expect_all(&mut client, "k", count, LEN);
    cluster.kvcli(["put", "another", "v"]).expect_code(3).expect_says(&["--max-data-bytes"]);
    for number in 1..count {
        cluster.kvcli(["delete", "--must-exist", &format!("k{number:05}")]).expect_code(0);
    }
    cluster.kvcli(["put", "another", "v"]).expect_code(0);
    assert_eq!(cluster.kvcli(["get", "another"]).expect_code(0).stdout, b"v");
    expect_all(&mut client, "k", 1, LEN);
    cluster.wait_equal();
}

#[test]
fn a_full_disk_refuses_writes_goes_on_reading_and_takes_writes_again() {
    const LEN: usize = 16 << 10;
    if host::lacks("mount", "a_full_disk_refuses_writes_goes_on_reading_and_takes_writes_again") {
        return;
    }
    let mut cluster = Cluster::prepare(1);
    let disk = SmallDisk::mount(&cluster.nodes[0].data_dir, 24 << 20);
    cluster.nodes[0].under = disk.under();
    cluster.start_all();
    cluster.wait_healthy();
    let mut client = Client::new(&cluster.endpoints(), PATIENCE);
    client.put("before", "all this").expect("there is room");
    disk.fill_but(1 << 20);
    let (count, why) = put_until_refused(&mut client, "k", LEN);
    assert!(why.contains("the disk of this node is full") && why.contains(&cluster.nodes[0].client_addr), "{why}");
    let pid = cluster.pid(0);
    for command in [&["put", "k", "v"][..], &["append", "k", "v"], &["delete", "k00000"]] {
        cluster.kvcli(command).expect_code(3).expect_says(&["the disk of this node is full"]);
    }
    expect_all(&mut client, "k", count, LEN);
    assert_eq!(cluster.log(0).matches("the disk is full").count(), 1, "one line\n{}", cluster.log(0));

    // Also a node that starts on a full disk.
    cluster.kill(0);
    cluster.start_node(0);
    cluster.wait_healthy();
    assert_ne!(cluster.pid(0), pid);
    expect_all(&mut client, "k", count, LEN);
    // What it had prepared for its log was given back at the start: there may be room for a few.
    let (more, why) = put_until_refused(&mut client, "more", LEN);
    assert!(why.contains("the disk of this node is full"), "{why}");
    expect_all(&mut client, "more", more, LEN);

    disk.free();
    // A full disk is said at once, and the node looks again by itself.
    wait_until("there is room again", PATIENCE, || cluster.kvcli(["put", "after", "all"]).expect_one_of(&[0, 3]).code == 0);
    expect_all(&mut client, "k", count, LEN);
    assert_eq!(client.get("before").expect("a read"), Some(b"all this".to_vec()));
}

#[test]
fn a_disk_that_fills_under_large_writes_does_not_stop_the_node() {
    if host::lacks("mount", "a_disk_that_fills_under_large_writes_does_not_stop_the_node") {
        return;
    }
    let mut random = fastrand::Rng::with_seed(host::seed());
    for round in 0..4 {
        let mut cluster = Cluster::prepare(1);
        let disk = SmallDisk::mount(&cluster.nodes[0].data_dir, 48 << 20);
        cluster.nodes[0].under = disk.under();
        cluster.start_all();
        cluster.wait_healthy();
        let len = 1 << random.u32(8..=20);
        let first = random.usize(0..200);
        let mut client = Client::new(&cluster.endpoints(), PATIENCE);
        for number in 0..first {
            client.put(&format!("first{number:05}"), value(number, 4 << 10)).expect("there is room");
        }
        disk.fill_but(random.u64(0..4 << 20));
        // 64 lines are under way at once: a save may be as long as all of them.
        let lines: Vec<u8> =
            (0..(16 << 20) / len).flat_map(|number| [format!("k{number:05}\t").as_bytes(), &value(number, len), b"\n"].concat()).collect();
        let mut done = 0;
        let ran = wait_for("the disk is full", PATIENCE, || {
            let from = (done + 1).to_string();
            let ran = cluster.kvcli_reading(&lines, ["--timeout", "2s", "load", "--from-line", &from]).expect_one_of(&[3, 4]);
            done = ran.stderr.lines().find_map(|line| line.split_once(" lines done")?.0.parse().ok()).expect("an account");
            // A machine that stalls may let the load end before that.
            if cluster.log(0).contains("the disk is full") { Ok(ran) } else { Err(ran) }
        });
        // What it has taken and cannot save waits for room: unknown, until there is some. The rest is refused.
        let ran = if ran.code == 3 { ran.expect_says(&["the disk of this node is full"]) } else { ran };
        host::report(format!("round {round}: {done} values of {len} bytes behind {first} of 4 KiB, then {}", ran.code));
        expect_all(&mut client, "k", done, len);
        expect_all(&mut client, "first", first, 4 << 10);
        disk.free();
        wait_until("there is room again", PATIENCE, || cluster.kvcli(["put", "after", "all"]).expect_one_of(&[0, 3]).code == 0);
        let rest: Vec<u8> = lines.split_inclusive(|byte| *byte == b'\n').take(done + 100).flatten().copied().collect();
        cluster.kvcli_reading(&rest, ["load", "--from-line", &(done + 1).to_string()]).expect_code(0);
        expect_all(&mut client, "k", (done + 100).min((16 << 20) / len), len);
    }
}

#[test]
fn a_follower_whose_disk_is_full_hinders_nobody_and_catches_up() {
    if host::lacks("mount", "a_follower_whose_disk_is_full_hinders_nobody_and_catches_up") {
        return;
    }
    let mut cluster = Cluster::start(3);
    let number = cluster.follower();
    cluster.kill(number);
    let disk = SmallDisk::mount(&cluster.nodes[number].data_dir, 24 << 20);
    cluster.nodes[number].under = disk.under();
    cluster.start_node(number);
    cluster.wait_healthy();
    disk.fill_but(64 << 10);
    let pid = cluster.pid(number);
    let mut client = Client::new(&cluster.endpoints(), PATIENCE);
    for key in 0..100 {
        client.put(&format!("k{key:05}"), value(key, 64 << 10)).expect("the others have room");
    }
    wait_until("it says so", PATIENCE, || cluster.log(number).contains("the disk is full"));
    assert!(cluster.status().node(&cluster.nodes[number].name)["reachable"] == true, "{:#}", cluster.status().0);
    disk.free();
    cluster.wait_equal();
    assert_eq!(cluster.pid(number), pid, "it never stopped");
    expect_all(&mut client, "k", 100, 64 << 10);
}

#[test]
fn a_leader_whose_disk_is_full_gives_way_to_one_that_has_room() {
    if host::lacks("mount", "a_leader_whose_disk_is_full_gives_way_to_one_that_has_room") {
        return;
    }
    let mut cluster = Cluster::prepare(3);
    let mut disks = Vec::new();
    for node in &mut cluster.nodes {
        let disk = SmallDisk::mount(&node.data_dir, 64 << 20);
        node.under = disk.under();
        disks.push(disk);
    }
    cluster.start_all();
    cluster.wait_healthy();
    let leader = cluster.leader();
    let pid = cluster.pid(leader);
    disks[leader].fill_but(64 << 10);
    let mut client = Client::new(&cluster.endpoints(), PATIENCE);
    for key in 0..100 {
        client.put(&format!("k{key:05}"), value(key, 64 << 10)).expect("the others have room");
    }
    // If it has given way already, for another reason, its disk fills when it hears of this.
    wait_until("its disk is full", PATIENCE, || cluster.log(leader).contains("the disk is full"));
    assert_ne!(cluster.leader(), leader, "{}", cluster.log(leader));
    disks[leader].free();
    cluster.wait_equal();
    assert_eq!(cluster.pid(leader), pid, "it never stopped");
    expect_all(&mut client, "k", 100, 64 << 10);
}

/// A cluster whose leader goes on for 100 seconds while nobody answers it: a busy machine may need long to be sent 160 MiB, and its disk to
/// sync 64 of them.
fn patient_cluster() -> (Cluster, usize) {
    let mut cluster = Cluster::prepare(3);
    // A log that is never compacted has no limit of its own.
    cluster.run_args = vec!["--max-log-bytes=-1".into()];
    cluster.start_all_calm(10_000);
    let leader = cluster.leader();
    (cluster, leader)
}

fn pause_all_but(cluster: &mut Cluster, leader: usize) {
    (0..3).filter(|number| *number != leader).for_each(|number| cluster.pause(number));
}

fn resume_all_but(cluster: &mut Cluster, leader: usize) {
    (0..3).filter(|number| *number != leader).for_each(|number| cluster.resume(number));
}

/// A put as the first call of a session of its own.
fn put_command(session: u128, birth_index: Index, key: &[u8], value: &[u8]) -> Vec<u8> {
    let call = CallId { session: SessionId(session), birth_index, seq: 1, first_unanswered: 1 };
    let mut command = Vec::new();
    wire::encode_write(&call, &Op::Put { key, value }, &mut command);
    command
}

#[test]
fn without_a_majority_a_leader_holds_64_mib_refuses_the_rest_and_loses_nothing() {
    const OFFERED: usize = 160;
    let (mut cluster, leader) = patient_cluster();
    pause_all_but(&mut cluster, leader);
    // Three connections, each with as many requests as one may have under way.
    let mut raws: Vec<Raw> = Vec::new();
    for from in (0..OFFERED).step_by(60) {
        let (mut raw, welcome) = Raw::client(&cluster.nodes[leader].client_addr);
        for number in from..OFFERED.min(from + 60) {
            let key = format!("large{number:05}");
            let session = fastrand::u128(..);
            let command = put_command(session, welcome.applied_index, key.as_bytes(), &value(number, 1 << 20));
            raw.request(number as u64, &Request::Write { command: &command });
        }
        raws.push(raw);
    }
    let mut refused = Vec::new();
    while refused.len() < OFFERED - 63 {
        for raw in &mut raws {
            while let Some((id, reply)) = raw.reply_within(Duration::from_millis(10)) {
                let is_busy = matches!(reply, Reply::Busy { reason: BusyReason::Uncommitted });
                assert!(is_busy, "{reply:?} after {} refusals\n{}", refused.len(), cluster.log(leader));
                refused.push(id);
            }
        }
    }
    let peak = tests::process::memory_kib(cluster.pid(leader), "VmHWM:");
    host::report(format!("{OFFERED} MiB offered, {} MiB refused, at most {} MiB resident", refused.len(), peak >> 10));
    assert!(peak < 128 << 10, "{peak} KiB");
    let file = cluster.path().join("large");
    std::fs::write(&file, vec![b'x'; 1 << 20]).expect("a file");
    let args = ["--timeout".as_ref(), "2s".as_ref(), "put".as_ref(), "one more".as_ref(), "--file".as_ref(), file.as_os_str()];
    Ran::until(3, &["busy: too many bytes wait for a majority"], &[4], || cluster.kvcli_at([leader], args));

    resume_all_but(&mut cluster, leader);
    let mut done = Vec::new();
    while done.len() + refused.len() < OFFERED {
        for raw in &mut raws {
            while let Some((id, reply)) = raw.reply_within(Duration::from_millis(10)) {
                assert!(matches!(reply, Reply::Written(_)), "{reply:?} after {} were done\n{}", done.len(), cluster.log(leader));
                done.push(id);
            }
        }
    }
    let mut client = Client::new(&cluster.endpoints(), PATIENCE);
    for number in 0..OFFERED {
        let expected = done.contains(&(number as u64)).then(|| value(number, 1 << 20));
        assert!(client.get(&format!("large{number:05}")).expect("a read") == expected, "{number}: done {done:?}");
    }
    cluster.kvcli(["get", "one more"]).expect_code(1);
    cluster.kvcli(["put", "one more", "now"]).expect_code(0);
    cluster.wait_equal();
}

#[test]
fn whoever_comes_when_65536_requests_wait_is_told_busy_and_is_served_later() {
    const CONNECTIONS: usize = 1024;
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    assert!(hard > 1_400, "a limit of {hard} open files leaves no room for {CONNECTIONS} connections (ulimit -Hn)");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("what is allowed");
    let (mut cluster, leader) = patient_cluster();
    cluster.kvcli(["put", "k", "v"]).expect_code(0);
    let mut raws: Vec<Raw> = (0..CONNECTIONS).map(|_| Raw::client(&cluster.nodes[leader].client_addr).0).collect();
    pause_all_but(&mut cluster, leader);
    // Reads that were asked for before the others stopped would be answered.
    for raw in &mut raws {
        for id in 0..64 {
            raw.request(id, &Request::Get { key: b"k" });
        }
    }
    // It may not have read all of them yet: ask on until the table is full.
    let (mut extra, _) = Raw::client(&cluster.nodes[leader].client_addr);
    let is_full = (0..64).any(|id| {
        extra.request(id, &Request::Get { key: b"k" });
        matches!(extra.reply_within(Duration::from_secs(1)), Some((_, Reply::Busy { reason: BusyReason::Waiting })))
    });
    assert!(is_full, "{}", cluster.log(leader));
    for command in [&["put", "k", "another"][..], &["get", "k"], &["scan"], &["delete", "k"]] {
        let args = || ["--timeout", "500ms"].into_iter().chain(command.iter().copied());
        Ran::until(3, &["busy: too many requests wait"], &[4], || cluster.kvcli_at([leader], args()));
    }
    resume_all_but(&mut cluster, leader);
    let mut served = 0;
    for _ in 0..64 {
        for raw in &mut raws {
            match raw.reply().1 {
                Reply::Value { value: Some(value), .. } => served += usize::from(value.value == b"v"),
                Reply::Busy { reason: BusyReason::Waiting } => {}
                other => panic!("{other:?}\n{}", cluster.log(leader)),
            }
        }
    }
    assert!(served >= (CONNECTIONS - 1) * 64, "only {served}: ours took the place of few");
    cluster.kvcli(["put", "k", "another"]).expect_code(0);
}

#[test]
fn whoever_scans_when_256_scans_are_open_is_told_busy_and_is_served_when_one_is_gone() {
    let cluster = Cluster::start(1);
    let mut client = Client::new(&cluster.endpoints(), PATIENCE);
    for number in 0..4 {
        client.put(&format!("k{number:05}"), value(number, 200_000)).expect("there is room");
    }
    let scan = Request::Scan(Scan { stale: false, keys_only: false, from: b"", to: None, limit: None });
    // Eight each: a client alone is told busy at its ninth.
    let mut busy = 0;
    let raws: Vec<Raw> = (0..=32)
        .map(|number| {
            let (mut raw, _) = Raw::client(&cluster.nodes[0].client_addr);
            for id in 0..if number == 0 { 9 } else { 8 } {
                raw.request(id, &scan);
                match raw.reply().1 {
                    Reply::Page(page) => assert!(!page.last, "it is still open"),
                    Reply::Busy { reason: BusyReason::Waiting } => busy += 1,
                    other => panic!("{other:?}"),
                }
            }
            raw
        })
        .collect();
    assert_eq!(busy, 1 + 8, "of the first client, and of the one beyond the last");
    Ran::until(3, &["busy"], &[], || cluster.kvcli(["--timeout", "500ms", "dump"]));
    cluster.kvcli(["get", "k00000"]).expect_code(0);
    drop(raws);
    assert!(cluster.kvcli(["dump"]).expect_code(0).stdout.len() > 800_000);
}

/// Time on a processor so far, in hundredths of a second.
fn cpu_ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process");
    let behind_name = stat.rsplit_once(')').expect("a name in brackets").1;
    behind_name.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("a number")).sum()
}

#[test]
fn crowds_at_both_doors_of_a_node_with_few_descriptors_are_a_line_each_and_hinder_nobody() {
    const DESCRIPTORS: usize = 128;
    let mut cluster = Cluster::prepare(3);
    let script = format!("ulimit -n {DESCRIPTORS}; exec \"$0\" \"$@\"");
    cluster.nodes.iter_mut().for_each(|node| node.under = ["sh", "-c", &script].map(String::from).into());
    cluster.start_all_calm(CALM_TICKS);
    let leader = cluster.leader();
    let (mut first, welcome) = Raw::client(&cluster.nodes[leader].client_addr);
    let crowd = |address: &str| -> Vec<TcpStream> {
        (0..4 * DESCRIPTORS).map(|_| TcpStream::connect(address).expect("the kernel takes it")).collect()
    };
    let said = |what: &str| cluster.log(leader).matches(what).count();
    let crowds = [crowd(&cluster.nodes[leader].peer_addr), crowd(&cluster.nodes[leader].client_addr)];
    let [of_peers, of_clients] = ["the address for nodes has", "clients already"];
    wait_until("it says so, of both doors", PATIENCE, || said(of_peers) > 0 && said(of_clients) > 0);

    // Whoever is there is served, peers among them: nothing would be done without them. The log goes on in new files.
    for number in 0..8 {
        let command = put_command(fastrand::u128(..), welcome.applied_index, b"k", &value(number, 1 << 20));
        first.request(number as u64, &Request::Write { command: &command });
        let (_, reply) = first.reply();
        assert!(matches!(reply, Reply::Written(_)), "{reply:?}\n{}", cluster.log(leader));
    }
    // And it does not turn in circles: a loop that did would take all it can get.
    let before = cpu_ticks(cluster.pid(leader));
    let_pass(Duration::from_secs(2));
    let spent = cpu_ticks(cluster.pid(leader)) - before;
    assert!(spent < 20, "{spent} of 200 hundredths of a second");
    assert_eq!([said(of_peers), said(of_clients)], [1, 1], "{}", cluster.log(leader));

    drop(crowds);
    let mut client = Client::new(&cluster.endpoints_of([leader]), PATIENCE);
    assert_eq!(client.get("k"), Ok(Some(value(7, 1 << 20))));
    cluster.wait_healthy();
    cluster.wait_equal();
}
