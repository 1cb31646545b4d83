//! A healthy node is one thread that has nothing to say.

use std::time::Duration;

use tests::load::Load;
use tests::wait::{PATIENCE, let_pass};
use tests::{Cluster, wait_until};

fn lines(cluster: &Cluster, number: usize) -> Vec<String> {
    cluster.log(number).lines().map(String::from).collect()
}

/// A cluster whose nodes have said all that they say at a start. (They are healthy a moment earlier.)
fn started() -> Cluster {
    let mut cluster = Cluster::prepare(3);
    // 3 to 6 s: a leader that is found at once is not a quiet start, and the usual time is over whenever a disk takes a third of a second.
    cluster.run_args.extend(["--election-ticks", "300"].map(String::from));
    cluster.start_all();
    cluster.wait_healthy();
    let formed = |number| cluster.log(number).contains("the cluster is formed");
    wait_until("every node knows that the cluster is formed", PATIENCE, || (0..3).all(formed));
    cluster
}

#[test]
fn a_healthy_node_logs_its_start_in_ten_lines_and_then_nothing() {
    let cluster = started();
    let started: Vec<Vec<String>> = (0..3).map(|number| lines(&cluster, number)).collect();
    for log in &started {
        assert!(!log.is_empty() && log.len() <= 10, "{} lines:\n{}", log.len(), log.join("\n"));
        for line in log {
            assert!(["n1", "n2", "n3"].iter().any(|node| line.contains(node)), "a line without its node: {line}");
        }
    }
    let load = Load::start(&cluster.endpoints(), 4);
    load.wait_progress(100);
    let_pass(Duration::from_secs(2));
    load.stop();
    for (number, started) in started.iter().enumerate() {
        assert_eq!(&lines(&cluster, number), started, "under load it has something to say");
    }
}

#[test]
fn a_dead_peer_is_one_line_when_lost_and_one_when_back() {
    let mut cluster = started();
    let victim = cluster.follower();
    let name = cluster.nodes[victim].name.clone();
    let others: Vec<usize> = (0..3).filter(|number| *number != victim).collect();
    let before: Vec<usize> = others.iter().map(|number| lines(&cluster, *number).len()).collect();
    let new = |cluster: &Cluster| -> Vec<Vec<String>> {
        others.iter().zip(&before).map(|(number, before)| lines(cluster, *number).split_off(*before)).collect()
    };
    cluster.kill(victim);
    wait_until("both others say that it is lost", PATIENCE, || new(&cluster).iter().all(|lines| !lines.is_empty()));
    let_pass(Duration::from_secs(2)); // many attempts to reach it again
    for lines in new(&cluster) {
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains(&name), "{lines:?}");
    }
    cluster.start_node(victim);
    cluster.wait_healthy();
    wait_until("both others say that it is back", PATIENCE, || new(&cluster).iter().all(|lines| lines.len() >= 2));
    let_pass(Duration::from_secs(1));
    for lines in new(&cluster) {
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[1].contains(&name), "{lines:?}");
    }
}

#[test]
fn a_node_under_load_has_one_thread() {
    let cluster = Cluster::start(3);
    let load = Load::start(&cluster.endpoints(), 8);
    for _ in 0..10 {
        load.wait_progress(20);
        for number in 0..3 {
            let threads = std::fs::read_dir(format!("/proc/{}/task", cluster.pid(number))).expect("a process").count();
            assert_eq!(threads, 1, "{}", cluster.nodes[number].name);
        }
    }
    load.stop();
}

#[test]
fn one_put_is_one_log_entry() {
    let cluster = Cluster::start_calm(3);
    cluster.kvcli(["put", "warm", "up"]).expect_code(0);
    // Whoever gets no answer for long asks again, and that is an entry, too: on a machine that stalls it takes another attempt.
    wait_until("one put is one entry", PATIENCE, || {
        cluster.wait_equal();
        let last = || cluster.status().number("n1", "last_log_index").expect("n1 answers");
        let before = last();
        cluster.kvcli(["put", "k", "v"]).expect_code(0);
        cluster.kvcli(["get", "k"]).expect_code(0);
        cluster.wait_equal();
        last() == before + 1
    });
}
