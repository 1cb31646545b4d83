//! What does not fit is refused with 3, never half done; and room that is made is used. Nothing that was acknowledged is lost for want of
//! room.

use std::time::Duration;

use tests::client::{Client, Failed};
use tests::disk::SmallDisk;
use tests::wait::PATIENCE;
use tests::{Cluster, host, wait_until};

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
    let mut client = Client::new(&cluster.endpoints(), Duration::from_secs(20));
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
    let mut client = Client::new(&cluster.endpoints(), Duration::from_secs(20));
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
        let mut client = Client::new(&cluster.endpoints(), Duration::from_secs(20));
        for number in 0..first {
            client.put(&format!("first{number:05}"), value(number, 4 << 10)).expect("there is room");
        }
        disk.fill_but(random.u64(0..4 << 20));
        // 64 lines are under way at once: a save may be as long as all of them.
        let lines: Vec<u8> =
            (0..(16 << 20) / len).flat_map(|number| [format!("k{number:05}\t").as_bytes(), &value(number, len), b"\n"].concat()).collect();
        let ran = cluster.kvcli_reading(&lines, ["--timeout", "2s", "load"]).expect_one_of(&[3, 4]);
        // What it has taken and cannot save waits for room: unknown, until there is some. The rest is refused.
        let ran = if ran.code == 3 { ran.expect_says(&["the disk of this node is full"]) } else { ran };
        assert!(cluster.log(0).contains("the disk is full"), "{ran}");
        let done: usize = ran.stderr.lines().find_map(|line| line.split_once(" lines done")?.0.parse().ok()).expect("an account");
        host::report(format!("round {round}: {done} values of {len} bytes behind {first} of 4 KiB, then {}", ran.code));
        expect_all(&mut client, "k", done, len);
        expect_all(&mut client, "first", first, 4 << 10);
        disk.free();
        wait_until("there is room again", PATIENCE, || cluster.kvcli(["put", "after", "all"]).expect_one_of(&[0, 3]).code == 0);
        let rest: Vec<u8> = lines.split_inclusive(|byte| *byte == b'\n').take(done + 100).flatten().copied().collect();
        cluster.kvcli_reading(&rest, ["--timeout", "20s", "load", "--from-line", &(done + 1).to_string()]).expect_code(0);
        expect_all(&mut client, "k", (done + 100).min((16 << 20) / len), len);
    }
}
