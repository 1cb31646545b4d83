//! Bytes that no program of ours would send: the connection is closed, one line says so, service goes on.

use std::time::Duration;

use raft::{DiskId, Incarnation, NodeId};
use tests::raw::{self, Raw};
use tests::wait::PATIENCE;
use tests::{Cluster, host, process, wait_until};
use wire::{Hello, Kind, PeerHello, Purpose, RefusedReason};

/// Sends bytes to a listener of n1 and expects the end of the connection and at most one line about it.
#[track_caller]
fn expect_closed(cluster: &Cluster, peer: bool, bytes: &[u8]) {
    let address = if peer { &cluster.nodes[0].peer_addr } else { &cluster.nodes[0].client_addr };
    let before = cluster.log(0).lines().count();
    let mut raw = Raw::connect(address);
    raw.send(bytes);
    raw.wait_closed();
    cluster.kvcli_at([0], ["put", "still", "serving"]).expect_code(0);
    let log = cluster.log(0);
    // A line about all those that had none of their own, since so many came in a second, may be due now; or one about a slow disk.
    let others = ["more connections for what they sent", "a sync took"];
    let new: Vec<&str> = log.lines().skip(before).filter(|line| !others.iter().any(|other| line.contains(other))).collect();
    assert!(new.len() <= 1, "one line per stranger, not {}:\n{}", new.len(), new.join("\n"));
}

/// Expects n1 to have said something since.
#[track_caller]
fn expect_logged(cluster: &Cluster, lines_before: usize) {
    wait_until("n1 says so in its log", PATIENCE, || cluster.log(0).lines().count() > lines_before);
}

#[test]
fn random_bytes_close_the_connection_and_nothing_else() {
    let mut random = fastrand::Rng::with_seed(host::seed());
    let cluster = Cluster::start(1);
    for peer in [false, true] {
        for len in [9, 100, 5000] {
            let bytes: Vec<u8> = (0..len).map(|_| random.u8(..)).collect();
            let before = cluster.log(0).lines().count();
            // A random length may well ask for more than is sent; cut the four bytes so that they do not.
            let bytes = [&[0, 0, 0, 0], &bytes[4..]].concat();
            expect_closed(&cluster, peer, &bytes);
            if len == 9 {
                expect_logged(&cluster, before);
            }
        }
    }
}

#[test]
fn a_huge_length_is_refused_before_anything_is_reserved_for_it() {
    let cluster = Cluster::start(1);
    let resident = || process::memory_kib(cluster.pid(0), "VmHWM:");
    let before = resident();
    for peer in [false, true] {
        for _ in 0..20 {
            expect_closed(&cluster, peer, &[0xff, 0xff, 0xff, 0x7f, 1, 2, 3, 4, 1]);
        }
        // After the greeting a frame may be larger, but has its limit too.
    }
    let (mut raw, _) = Raw::client(&cluster.nodes[0].client_addr);
    raw.send(&[0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4, 1]);
    raw.wait_closed();
    assert!(resident() < before + (16 << 10), "{} KiB grew to {} KiB", before, resident());
}

#[test]
fn half_a_frame_and_silence_are_closed_after_a_while() {
    let cluster = Cluster::start(1);
    let before = cluster.log(0).lines().count();
    let mut hello = Vec::new();
    wire::encode_hello(&Hello::Client { cluster_id: None }, &mut hello);
    let silent: Vec<Raw> = [false, true]
        .into_iter()
        .flat_map(|peer| {
            let address = if peer { &cluster.nodes[0].peer_addr } else { &cluster.nodes[0].client_addr };
            let mut half = Raw::connect(address);
            half.send(&hello[..hello.len() / 2]);
            [half, Raw::connect(address)]
        })
        .collect();
    for raw in silent {
        raw.wait_closed();
    }
    expect_logged(&cluster, before);
    // Half a frame and then the end of the connection is no more than that.
    let mut half = Raw::connect(&cluster.nodes[0].client_addr);
    half.send(&hello[..hello.len() / 2]);
    drop(half);
    cluster.kvcli(["put", "k", "v"]).expect_code(0);
}

#[test]
fn a_greeted_client_may_be_silent_for_long() {
    let cluster = Cluster::start(1);
    let (mut raw, _) = Raw::client(&cluster.nodes[0].client_addr);
    tests::wait::let_pass(Duration::from_secs(6));
    raw.request(1, &wire::Request::Get { key: b"k" });
    assert!(matches!(raw.reply(), (1, wire::Reply::Value { value: None, .. })));
}

#[test]
fn a_peers_message_with_term_2_to_the_60_is_cut_off_before_raft_sees_it() {
    let mut cluster = Cluster::start(3);
    let (_, welcome) = Raw::client(&cluster.nodes[0].client_addr);
    // n3 is away, and we say that we are n3: with its very disk id, or nobody would listen.
    let dump = tests::Ran::kvnode(["dump".as_ref(), cluster.nodes[2].data_dir.as_os_str()]);
    let disk_id = disk_id(&String::from_utf8_lossy(&dump.stdout)).unwrap_or_else(|| panic!("no disk id\n{dump}"));
    cluster.kill(2);
    cluster.kvcli_at([0], ["put", "without", "n3"]).expect_code(0);
    let lines = cluster.log(0).lines().count();

    let (mut raw, kind, body) = greet_as_n3(&cluster, &welcome, disk_id);
    let answer = wire::decode_peer_welcome(wire::Frame { kind, body: &body }).expect("an answer");
    answer.expect("n1 believes that we are n3, so that the rest tests what it should");
    // A request for a vote (type 3): term, last log index, last log term, transfer. It would depose any leader.
    let mut vote = vec![3];
    for number in [1_u64 << 60, 1 << 20, 1 << 20] {
        vote.extend_from_slice(&number.to_le_bytes());
    }
    vote.push(1);
    raw.send(&raw::frame(Kind::Raft, &vote));
    raw.wait_closed();

    expect_logged(&cluster, lines);
    cluster.kvcli_at([0], ["put", "still", "serving"]).expect_code(0);
    assert!(cluster.status().term() < 1 << 60, "raft saw it");
}

/// Dials n1's port for peers as n3 with this disk id; what n1 answers.
fn greet_as_n3(cluster: &Cluster, welcome: &wire::Welcome, disk_id: u128) -> (Raw, Kind, Vec<u8>) {
    let mut raw = Raw::connect(&cluster.nodes[0].peer_addr);
    let peer = PeerHello {
        node: NodeId(3),
        to: Some(NodeId(1)),
        disk_id: DiskId(disk_id),
        incarnation: Incarnation(4711),
        client_addr: cluster.nodes[2].client_addr.clone(),
        peer_addr: cluster.nodes[2].peer_addr.clone(),
        version: welcome.version.clone(),
    };
    let mut hello = Vec::new();
    wire::encode_hello(&Hello::Peer { cluster_id: welcome.cluster_id, purpose: Purpose::Control, peer }, &mut hello);
    raw.send(&hello);
    let (kind, body) = raw.frame();
    (raw, kind, body)
}

#[test]
fn a_stranger_with_another_disk_is_not_told_which_one_would_do_and_the_log_is() {
    let cluster = Cluster::start(3);
    let (_, welcome) = Raw::client(&cluster.nodes[0].client_addr);
    let dump = tests::Ran::kvnode(["dump".as_ref(), cluster.nodes[2].data_dir.as_os_str()]);
    let disk = format!("{:032x}", disk_id(&String::from_utf8_lossy(&dump.stdout)).unwrap_or_else(|| panic!("no disk id\n{dump}")));
    let (_raw, kind, body) = greet_as_n3(&cluster, &welcome, 0x4711);
    let refused = wire::decode_peer_welcome(wire::Frame { kind, body: &body }).expect("an answer").expect_err("a refusal");
    assert_eq!(refused.reason, RefusedReason::WrongDisk);
    // What is wrong and what to do, but not the one thing that a stranger lacks.
    for word in ["data directory of n3", "4711", "kvcli member replace n3"] {
        assert!(refused.message.contains(word), "{word}: {}", refused.message);
    }
    assert!(!refused.message.contains(&disk), "{}", refused.message);
    wait_until("n1's log names both", PATIENCE, || cluster.log(0).contains(&disk) && cluster.log(0).contains("4711"));
}

/// The disk id in the output of `kvnode dump`: 32 hexadecimal digits behind the word "disk".
fn disk_id(dump: &str) -> Option<u128> {
    let line = dump.lines().find(|line| line.contains("disk"))?;
    let behind = &line[line.find("disk")?..];
    let digits = behind.split(|c: char| !c.is_ascii_hexdigit()).find(|word| word.len() == 32)?;
    u128::from_str_radix(digits, 16).ok()
}
