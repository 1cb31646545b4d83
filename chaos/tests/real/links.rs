//! Faults of links, as those feel them who use the links.

use std::fs::File;
use std::net::UdpSocket;
use std::thread;
use std::time::Duration;

use nix::sched::{CloneFlags, setns};
use tests::wait::{PATIENCE, wait_until};

use crate::up::{Up, figure, lacks, target};

#[test]
fn a_leader_alone_is_deposed_and_a_healed_one_follows() {
    if lacks("a_leader_alone_is_deposed_and_a_healed_one_follows") {
        return;
    }
    let up = Up::start(5);
    let old = target(&up.inject("partition leader"));
    wait_until("the others elect another", PATIENCE, || up.leader() != old);
    up.kvcli(&["put", "city", "Turin"]).expect_code(0);
    // Clients still reach the old leader, which cannot reach a majority.
    let address = up.node(&old)["client_addr"].as_str().expect("an address").to_owned();
    assert_eq!(up.kvcli(&["--endpoints", &address, "get", "city"]).expect_code(0).stdout, b"Turin", "it names the new one");
    let effect = up.heal();
    assert!(figure(&effect, "packets_cut") > 0, "{effect}");
    up.wait_healthy();
}

#[test]
fn without_a_majority_nothing_is_done_and_all_is_well_after() {
    if lacks("without_a_majority_nothing_is_done_and_all_is_well_after") {
        return;
    }
    let up = Up::start(3);
    up.inject("partition n1");
    up.inject("partition n2");
    up.kvcli(&["--timeout", "1500ms", "get", "city"]).expect_code(3);
    up.chaos(&["heal"]).expect_code(0);
    up.wait_healthy();
    up.kvcli(&["put", "city", "Turin"]).expect_code(0);
}

/// Datagrams, which need no answer, sent from one node's host to another's.
struct Datagrams {
    receiver: UdpSocket,
    to: String,
}

impl Datagrams {
    fn to(up: &Up, name: &str) -> Datagrams {
        let receiver = on_host(up.pid(name), || UdpSocket::bind("0.0.0.0:5000").expect("a socket"));
        receiver.set_read_timeout(Some(Duration::from_millis(20))).expect("a timeout");
        Datagrams { receiver, to: format!("10.117.0.{}:5000", &name[1..]) }
    }

    fn send(&self, up: &Up, from: &str, count: usize, words: &[u8]) {
        let sender = on_host(up.pid(from), || UdpSocket::bind("0.0.0.0:0").expect("a socket"));
        for _ in 0..count {
            sender.send_to(words, &self.to).expect("it leaves");
        }
    }

    /// Waits until one arrives from there; whether one has arrived from anywhere else before.
    fn wait(&self, up: &Up, from: &str) -> bool {
        let mut others = false;
        wait_until(&format!("a datagram arrives from {from}"), PATIENCE, || {
            self.send(up, from, 1, from.as_bytes());
            let mut words = [0; 8];
            let arrived = self.receiver.recv(&mut words).map(|len| words[..len].to_vec());
            others |= arrived.as_ref().is_ok_and(|words| words != from.as_bytes());
            arrived.is_ok_and(|words| words == from.as_bytes())
        });
        others
    }
}

/// Runs something on the host of a process, by a thread of its own. A socket stays there.
fn on_host<T: Send>(pid: u64, work: impl FnOnce() -> T + Send) -> T {
    let enter = || {
        let network = File::open(format!("/proc/{pid}/ns/net")).expect("a process");
        setns(network, CloneFlags::CLONE_NEWNET).expect("we may");
        work()
    };
    thread::scope(|scope| scope.spawn(enter).join().expect("a thread"))
}

#[test]
fn a_one_way_cut_is_one_way() {
    if lacks("a_one_way_cut_is_one_way") {
        return;
    }
    let up = Up::start(3);
    Datagrams::to(&up, "n2").wait(&up, "n1");
    up.inject("one-way n1 n2");
    let to_n2 = Datagrams::to(&up, "n2");
    to_n2.send(&up, "n1", 20, b"n1");
    assert!(!to_n2.wait(&up, "n3"), "what n1 sends does not arrive, and what n3 sends behind it does");
    drop(to_n2);
    Datagrams::to(&up, "n1").wait(&up, "n2"); // the other way is well
    Datagrams::to(&up, "n3").wait(&up, "n1"); // and so is another link
    let effect = up.heal();
    assert!(figure(&effect, "packets_cut") >= 20, "{effect}");
    Datagrams::to(&up, "n2").wait(&up, "n1");
}

#[test]
fn bridges_halves_and_client_cuts_leave_a_majority_that_serves() {
    if lacks("bridges_halves_and_client_cuts_leave_a_majority_that_serves") {
        return;
    }
    let up = Up::start(5);
    for words in ["partition halves", "partition minority", "partition bridge", "partition ring"] {
        up.inject(words);
        up.kvcli(&["put", "city", words]).expect_code(0);
        // The write may have needed none of the cut links. But every node pings every other once per heartbeat.
        wait_until(&format!("{words} cuts packets"), PATIENCE, || figure(&up.effect(), "packets_cut") > 0);
        let effect = up.heal();
        assert!(figure(&effect, "packets_cut") > 0, "{words}: {effect}");
        up.wait_healthy();
    }
    up.inject("partition clients all");
    up.kvcli(&["--timeout", "1s", "get", "city"]).expect_code(3);
    up.wait_healthy(); // nodes do not notice
    assert!(figure(&up.heal(), "packets_cut") > 0);
    assert_eq!(up.kvcli(&["get", "city"]).expect_code(0).stdout, b"partition ring");
}

#[test]
fn delay_and_rate_are_felt_by_clients_and_by_nobody_else() {
    if lacks("delay_and_rate_are_felt_by_clients_and_by_nobody_else") {
        return;
    }
    let up = Up::start(3);
    up.kvcli(&["put", "city", "Turin"]).expect_code(0);
    // The longer one: a round trip that is longer than a client waits for the first connection.
    for delay in [150, 400] {
        up.inject(&format!("delay {delay}ms c1"));
        // There and back for the connection, and again for the question.
        let ran = up.kvcli(&["get", "city"]).expect_code(0);
        assert!(ran.stdout == b"Turin" && ran.took >= Duration::from_millis(4 * delay), "{ran}");
        let effect = up.heal();
        assert!(figure(&effect, "packets_delayed") > 0 && figure(&effect, "delayed_ms") >= 4 * delay, "{effect}");
    }

    up.inject("jitter 100ms c1");
    up.kvcli(&["get", "city"]).expect_code(0);
    assert!(figure(&up.heal(), "packets_delayed") > 0);

    up.inject("rate 64KiB c1");
    let value = "v".repeat(96 << 10);
    let took = up.kvcli(&["put", "long", &value]).expect_code(0).took;
    assert!(took >= Duration::from_secs(1), "{took:?}: one and a half were enough for nothing else");
    assert!(figure(&up.heal(), "packets_delayed") > 60, "that is how many packets it takes");
    up.wait_healthy();
}

#[test]
fn loss_duplicates_and_reordering_happen_and_change_nothing() {
    if lacks("loss_duplicates_and_reordering_happen_and_change_nothing") {
        return;
    }
    let up = Up::start(3);
    for (words, name) in [("loss 5%", "packets_lost"), ("duplicate 20%", "packets_duplicated"), ("reorder 20%", "packets_reordered")] {
        up.inject(words);
        for number in 0..5 {
            up.kvcli(&["append", name, &number.to_string()]).expect_code(0);
        }
        wait_until(&format!("{words} meets packets"), PATIENCE, || figure(&up.effect(), name) > 0);
        let effect = up.heal();
        assert!(figure(&effect, name) > 0, "{words}: {effect}");
        assert_eq!(effect.as_object().map(serde_json::Map::len), Some(1), "{words} does nothing else: {effect}");
        assert_eq!(up.kvcli(&["get", name]).expect_code(0).stdout, b"01234");
    }
}

#[test]
fn resets_refuse_connections_and_end_those_there_are() {
    if lacks("resets_refuse_connections_and_end_those_there_are") {
        return;
    }
    let up = Up::start(3);
    up.inject("reset c1");
    // Refused at once, not timed out.
    up.kvcli(&["--timeout", "3s", "get", "city"]).expect_code(3).expect_says(&["refused"]);
    assert!(figure(&up.heal(), "packets_reset") > 0);

    let old = up.leader();
    let lost = |up: &Up| std::fs::read_to_string(up.file(&format!("{old}.log"))).expect("a log").matches("is lost").count();
    let before = lost(&up);
    up.inject(&format!("reset {old}"));
    wait_until("its connections end", PATIENCE, || lost(&up) > before);
    assert!(figure(&up.heal(), "packets_reset") > 0);
    up.wait_healthy();
}

#[test]
fn faults_on_one_link_add_up_and_heal_one_by_one() {
    if lacks("faults_on_one_link_add_up_and_heal_one_by_one") {
        return;
    }
    let up = Up::start(3);
    let cut = up.inject("partition clients all")["id"].as_u64().expect("an id");
    up.inject("delay 100ms c1");
    up.chaos(&["heal", &cut.to_string()]).expect_code(0);
    let took = up.kvcli(&["get", "city"]).expect_code(1).took;
    assert!(took >= Duration::from_millis(400), "the delay is still there: {took:?}");
    up.heal();
}

#[test]
fn without_tun_devices_the_firewall_cuts_loses_and_resets_and_says_what_it_cannot() {
    let name = "without_tun_devices_the_firewall_cuts_loses_and_resets_and_says_what_it_cannot";
    if lacks(name) || tests::host::lacks("iptables", name) {
        return;
    }
    let up = Up::start_with(3, &["--net=iptables"]);
    for (words, name) in [("partition leader", "packets_cut"), ("loss 20%", "packets_lost"), ("reset n1", "packets_reset")] {
        up.inject(words);
        up.kvcli(&["put", "city", "Turin"]).expect_code(0);
        wait_until(&format!("{words} meets packets"), PATIENCE, || figure(&up.effect(), name) > 0);
        let effect = up.heal();
        assert!(figure(&effect, name) > 0, "{words}: {effect}");
        up.wait_healthy();
    }
    for words in ["delay 5ms", "jitter 5ms", "reorder 5%", "duplicate 5%", "rate 64KiB"] {
        let mut all = vec!["inject"];
        all.extend(words.split(' '));
        up.chaos(&all).expect_code(5).expect_says(&["TUN"]);
    }
    assert_eq!(up.status()["faults"], serde_json::json!([]));
}
