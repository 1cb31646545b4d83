//! A walk over every exit code, each provoked by a situation that a user can really be in, and what is said then.
//!
//! Only 70 is missing: it is a mistake of ours that came to light, and we know of none to provoke. That a panic would end so is shown by
//! `a_panic_ends_with_70_and_is_called_a_bug` in kvcli and in kvnode, from inside.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use tests::cli::kvcli_command;
use tests::client::Client;
use tests::cluster::CALM_TICKS;
use tests::lossy::Ways;
use tests::wait::PATIENCE;
use tests::{Cluster, Ran, Status, place, process, programs, wait_until};

/// Where standard output goes.
enum Stdout {
    Full,
    NobodyReads,
}

/// Ends with this code, prints no result, and says all of these words.
#[track_caller]
fn expect(code: i32, ran: Ran, words: &[&str]) {
    let ran = ran.expect_code(code).expect_says(words);
    assert!(ran.stdout.is_empty(), "a result, too\n{ran}");
}

/// Runs it with such a standard output; its code and standard error.
fn run_to(mut command: Command, stdout: &Stdout) -> (Option<i32>, String) {
    match stdout {
        Stdout::Full => command.stdout(OpenOptions::new().write(true).open("/dev/full").expect("/dev/full")),
        Stdout::NobodyReads => command.stdout(std::io::pipe().expect("a pipe").1),
    };
    command.stdin(Stdio::null()).stderr(Stdio::piped());
    let child = process::spawn(command).expect("it starts");
    let output = child.wait_with_output().expect("it ends");
    (output.status.code().or(output.status.signal().map(|signal| 128 + signal)), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn kvcli_0_to_6_by_what_a_healthy_cluster_says() {
    let cluster = Cluster::start_calm(3); // a healthy one, whatever the machine does
    let kvcli = |args: &[&str]| cluster.kvcli(args);
    let long = "k".repeat(65_537);

    // 0: done. A delete of what is not there is done, too.
    expect(0, kvcli(&["put", "k", "v"]), &[]);
    expect(0, kvcli(&["append", "k", "w"]), &[]);
    expect(0, kvcli(&["delete", "nothing"]), &[]);
    assert_eq!(kvcli(&["get", "k"]).expect_code(0).stdout, b"vw");
    kvcli(&["status"]).expect_code(0);
    kvcli(&["--help"]).expect_code(0);

    // 1: a definite no.
    expect(1, kvcli(&["get", "nothing"]), &["no such key", "nothing"]);
    expect(1, kvcli(&["get", "--stale", "nothing"]), &["no such key"]);
    expect(1, kvcli(&["delete", "nothing", "--must-exist"]), &["no such key"]);
    expect(1, kvcli(&["cas", "k", "--expect", "other", "x"]), &["version 2"]);
    expect(1, kvcli(&["cas", "k", "--version", "7", "x"]), &["version 2"]);
    expect(1, kvcli(&["cas", "k", "--absent", "x"]), &["version 2"]);
    assert_eq!(kvcli(&["get", "k"]).expect_code(0).stdout, b"vw", "a no changes nothing");

    // 2: not a command, or not in this way; nothing was sent.
    expect(2, kvcli(&["frobnicate"]), &["frobnicate"]);
    expect(2, kvcli(&["put", "k", "x", "--no-such-flag"]), &["--no-such-flag"]);
    expect(2, kvcli(&["put", "k", "x", "-o", "raw"]), &["raw"]);
    expect(2, kvcli(&["get", "k", "--timeout", "soon"]), &["soon"]);
    expect(2, kvcli(&["put", "k", "x", "--resume", "kvnonsense"]), &["not a resume token"]);
    expect(2, cluster.kvcli_reading(b"a line without a tab\n", ["load"]), &["line 1", "tab", "--from-line 1"]);

    // 6: rejected for ever.
    expect(6, kvcli(&["put", "", "x"]), &["key", "empty"]);
    expect(6, kvcli(&["get", &long]), &["key", "65536"]);
    expect(6, cluster.kvcli_reading(&vec![b'v'; (1 << 20) + 1], ["put", "k"]), &["value", "1048576"]);
    cluster.kvcli_reading(&vec![b'v'; 1 << 20], ["put", "full"]).expect_code(0);
    expect(6, kvcli(&["append", "full", "x"]), &["value", "1048576"]);
}

#[test]
fn kvcli_1_and_3_by_what_is_wrong_with_the_cluster() {
    let mut cluster = Cluster::start(3);
    cluster.kvcli(["put", "k", "v"]).expect_code(0);

    // 1: status is not healthy.
    let (leader, down) = cluster.leader_and_follower();
    cluster.kill(down);
    wait_until("status says that one is missing", PATIENCE, || {
        cluster.kvcli(["status"]).expect_code(1).stdout.starts_with(b"degraded: 2/3 voters")
    });

    // 3: no majority, noticed; neither a read nor a write is done or ever will be.
    let alone = 3 - leader - down;
    cluster.kill(leader);
    wait_until("the last one knows that nobody leads", PATIENCE, || {
        let is_alone = |status: Status| status.verdict() == "no-quorum" && status.node(&cluster.nodes[alone].name)["leader"].is_null();
        cluster.try_status().is_ok_and(is_alone)
    });
    cluster.kvcli(["status"]).expect_code(1);
    for command in [&["get", "k"][..], &["put", "k", "w"], &["scan"], &["dump"]] {
        let says = ["not done, safe to retry", &cluster.nodes[alone].client_addr];
        let ran = Ran::until(3, &says, &[4], || cluster.kvcli([&["--timeout", "1s"], command].concat()));
        assert!(ran.stdout.is_empty(), "a result, too\n{ran}");
    }

    // 3: nobody is there at all.
    cluster.kill(alone);
    for command in [&["get", "k"][..], &["put", "k", "w"], &["status"], &["wait"]] {
        let addresses = [0, 1, 2].map(|number: usize| cluster.nodes[number].client_addr.as_str());
        let says = [&addresses[..], &["refused"]].concat();
        Ran::until(3, &says, &[], || cluster.kvcli([&["--timeout", "1s"], command].concat()));
    }

    cluster.start_all();
    cluster.wait_healthy();
}

#[test]
fn kvcli_4_5_and_130_by_answers_that_get_lost() {
    let mut cluster = Cluster::prepare(3);
    let ways = Ways::to(&mut cluster);
    cluster.start_all();
    let kvcli = |args: &[&str]| Ran::kvcli([&["--endpoints", &ways.endpoints], args].concat());
    kvcli(&["wait", "--all"]).expect_code(0);

    // 4: it may have happened.
    let unknown = ways.unheard(|| kvcli(&["append", "k", "v", "--timeout", "1s"])).expect_says(&["unknown", "finish safely with: kvcli"]);
    ways.lose_replies(true);
    // 3: a read never is unknown.
    expect(3, kvcli(&["get", "k", "--timeout", "1s"]), &["not done, safe to retry"]);

    // 130: somebody has pressed Ctrl-C. A write that is under way is unknown then, a read is only over.
    let interrupted = |args: &[&str]| {
        let before = ways.lost();
        let mut command = kvcli_command([&["--endpoints", &ways.endpoints, "--timeout", "60s"], args].concat());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let child = process::spawn(command).expect("kvcli starts");
        wait_until("it is asked and its answer is lost", PATIENCE, || ways.lost() > before);
        process::signal(&child, Signal::SIGINT);
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(130), "{args:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let said = interrupted(&["append", "k", "w"]);
    assert!(said.contains("finish safely with: kvcli"), "{said}");
    let said = interrupted(&["get", "k"]);
    assert!(!said.contains("finish safely"), "{said}");
    ways.lose_replies(false);

    // 5: another cluster is not told to do it, and the token stays good.
    let token = unknown.stderr.split_whitespace().skip_while(|word| *word != "--resume").nth(1).expect("a token");
    let settle = ["--resume", token, "append", "k", "v"];
    let other = Cluster::start(1);
    expect(5, other.kvcli(settle), &["refused", "cluster", "the token stays good", "finish safely with"]);
    expect(1, other.kvcli(["get", "k"]), &[]);
    // 2: a token is of one write.
    expect(2, kvcli(&["--resume", token, "append", "k", "other"]), &["--resume"]);
    expect(0, kvcli(&settle), &[]);
    let found = kvcli(&["get", "k"]).expect_code(0).stdout;
    assert!(found == b"vw" || found == b"wv", "each once, in any order: {}", String::from_utf8_lossy(&found));
}

#[test]
fn kvcli_74_and_141_by_whoever_reads_its_output() {
    let cluster = Cluster::start(1);
    let lines: String = (0..5_000).map(|number| format!("key {number:04}\tvalue {number}\n")).collect();
    cluster.kvcli_reading(lines.as_bytes(), ["load"]).expect_code(0);
    for command in [&["get", "key 0001"][..], &["dump"], &["dump", "-o", "jsonl"], &["scan"], &["status"], &["--help"]] {
        let run = |stdout| run_to(cluster.kvcli_command(&cluster.endpoints(), command), &stdout);
        // 74: no room for it. What is written there is not complete, and nothing says that it is.
        let (code, said) = run(Stdout::Full);
        assert_eq!(code, Some(74), "{command:?}: {said}");
        assert!(said.contains("standard output") && !said.contains("as of position"), "{command:?}: {said}");
        // 141: whoever read it has gone, and knows it.
        assert_eq!(run(Stdout::NobodyReads), (Some(141), String::new()), "{command:?}");
    }
    // 74, too: a file that cannot be read.
    expect(74, cluster.kvcli(["load", "/no/such/file"]), &["/no/such/file"]);
    expect(74, cluster.kvcli(["put", "k", "--file", "/no/such/file"]), &["/no/such/file"]);
    expect(1, cluster.kvcli(["get", "k"]), &[]);
}

#[test]
fn kvnode_0_64_65_74_and_78() {
    let mut cluster = Cluster::start(1);
    cluster.kvcli(["put", "k", "value-to-be-damaged"]).expect_code(0);
    let free = format!("{}:{}", place::loopback(), place::CLIENT_PORT);
    let data_dir = cluster.nodes[0].data_dir.clone();
    let run = |data_dir: &Path, listen: &str| {
        Ran::kvnode(["run".as_ref(), "--data-dir".as_ref(), data_dir.as_os_str(), "--listen-client".as_ref(), listen.as_ref()])
    };
    let dump = || {
        let mut command = programs::command(programs::kvnode());
        command.arg("dump").arg(&data_dir);
        command
    };

    // 64: a wrong command line.
    expect(64, Ran::kvnode(["run", "--no-such-flag"]), &["--no-such-flag"]);
    expect(64, Ran::kvnode(["run", "--data-dir", "d", "--listen-client", "nowhere"]), &["nowhere"]);
    expect(64, Ran::kvnode::<&str>([]), &["kvnode init"]);

    // 78: the command line is right and the surroundings do not fit it.
    expect(78, run(&cluster.path().join("nowhere"), &free), &["kvnode init", "nowhere"]);
    expect(78, run(&data_dir, &free), &[&cluster.pid(0).to_string()]); // in use
    let init = ["init", "--name", "n1", "--cluster", "n1=127.0.0.1:4242", "--data-dir", data_dir.to_str().expect("text")];
    expect(78, Ran::kvnode(init), &["127.0.0.1:4242", "nothing was changed"]);

    // 0: asked to end.
    assert_eq!(cluster.terminate(0).code(), Some(0));
    expect(78, run(&data_dir, "0.0.0.0:7117"), &["--advertise-client"]);
    expect(78, run(&data_dir, "192.0.2.1:7117"), &["no address of this machine"]);

    // 74: the disk, here a limit on the size of files, or the output.
    let mut limited = programs::command("sh");
    let script = r#"trap '' XFSZ; ulimit -f 8; exec "$0" init --data-dir "$1" --name n1 --cluster n1=127.0.0.1:4242"#;
    limited.args(["-c", script]).arg(programs::kvnode()).arg(cluster.path().join("small"));
    expect(74, Ran::run(limited, b""), &["small", "too large"]);
    let (code, said) = run_to(dump(), &Stdout::Full);
    assert!(code == Some(74) && said.contains("standard output"), "{code:?} {said}");
    assert_eq!(run_to(dump(), &Stdout::NobodyReads), (Some(0), String::new()), "it has looked at all of it, and all is well");

    // 65: damage, behind which there are good batches. It is found also by a dump that nobody reads.
    let log = std::fs::read_dir(data_dir.join("log")).expect("a log").map(|entry| entry.expect("an entry").path());
    for segment in log {
        let mut bytes = std::fs::read(&segment).expect("a segment");
        if let Some(at) = bytes.windows(19).position(|window| window == b"value-to-be-damaged") {
            bytes[at] ^= 1;
            std::fs::write(&segment, bytes).expect("damaged");
        }
    }
    expect(65, run(&data_dir, &free), &["offset"]);
    assert_eq!(run_to(dump(), &Stdout::NobodyReads).0, Some(65));
}

#[test]
fn kvnode_65_by_damage_that_comes_to_light_while_it_runs() {
    let mut cluster = Cluster::prepare(3);
    cluster.run_args = ["--max-log-bytes=-1"].map(String::from).into();
    cluster.start_all_calm(CALM_TICKS); // or another might lead, whose disk is well
    let (leader, behind) = cluster.leader_and_follower();
    cluster.kill(behind);
    // More than a node keeps in memory for followers: the first of it is on the disk alone.
    let mut client = Client::new(&cluster.endpoints_of([leader]), PATIENCE);
    for number in 0..24 {
        client.put("k", format!("{number:08}").into_bytes().repeat(1 << 17)).expect("two of three are up");
    }
    let log = std::fs::read_dir(cluster.nodes[leader].data_dir.join("log")).expect("a log").map(|entry| entry.expect("an entry").path());
    let damaged = log.filter(|segment| {
        let bytes = std::fs::read(segment).expect("a segment");
        let Some(at) = bytes.windows(16).position(|window| window == b"0000000300000003") else { return false };
        let file = OpenOptions::new().write(true).open(segment).expect("a segment");
        file.write_at(b"x", at as u64).expect("damaged");
        true
    });
    assert_eq!(damaged.count(), 1);
    cluster.start_node(behind);
    assert_eq!(cluster.wait_end(leader).code(), Some(65), "{}", cluster.log(leader));
    let log = cluster.log(leader);
    for word in ["log/", "offset", "is damaged", "replace this member"] {
        assert!(log.contains(word), "{word}\n{log}");
    }
    // The other two are a majority, and hold all of it.
    let mut client = Client::new(&cluster.endpoints(), PATIENCE);
    assert!(client.get("k") == Ok(Some(b"00000023".repeat(1 << 17))));
}
