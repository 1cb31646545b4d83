//! A healthy node is one thread that has nothing to say.

use std::time::Duration;

use tests::load::Load;
use tests::wait::{PATIENCE, let_pass};
use tests::{Cluster, wait_for, wait_until};

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
    wait_until("every node knows that the cluster is formed", PATIENCE, || (0..3).all(|number| cluster.log(number).contains(FORMED)));
    cluster
}

const FORMED: &str = "the cluster is formed";

/// An attempt with a cluster of its own. One that fails counts only if the machine did not stand still for seconds, of which nodes have to
/// say something.
fn on_a_machine_that_does_not_stall(attempt: impl Fn(&mut Cluster) -> Result<(), String>) {
    let is_of_a_stall = |line: &&str| line.contains("a sync took") || line.contains("no leader");
    wait_for("an attempt succeeds", PATIENCE, || {
        let mut cluster = started();
        let outcome = attempt(&mut cluster);
        let stalls =
            (0..3).map(|number| cluster.log(number).lines().skip_while(|line| !line.contains(FORMED)).filter(is_of_a_stall).count());
        assert!(outcome.is_ok() || stalls.sum::<usize>() > 0, "{outcome:?}");
        outcome
    });
}

#[test]
fn a_healthy_node_logs_its_start_in_ten_lines_and_then_nothing() {
    on_a_machine_that_does_not_stall(|cluster| {
        let started: Vec<Vec<String>> = (0..3).map(|number| lines(cluster, number)).collect();
        for log in &started {
            if log.is_empty() || log.len() > 10 {
                return Err(format!("{} lines:\n{}", log.len(), log.join("\n")));
            }
            for line in log {
                assert!(["n1", "n2", "n3"].iter().any(|node| line.contains(node)), "a line without its node: {line}");
            }
        }
        let load = Load::start(&cluster.endpoints(), 4);
        load.wait_progress(100);
        let_pass(Duration::from_secs(2));
        load.stop();
        let new = (0..3).flat_map(|number| lines(cluster, number).split_off(started[number].len())).collect::<Vec<_>>();
        if new.is_empty() { Ok(()) } else { Err(format!("under load it has something to say: {new:#?}")) }
    });
}

#[test]
fn a_dead_peer_is_one_line_when_lost_and_one_when_back() {
    on_a_machine_that_does_not_stall(|cluster| {
        let victim = cluster.follower();
        let name = cluster.nodes[victim].name.clone();
        let others: Vec<usize> = (0..3).filter(|number| *number != victim).collect();
        let before: Vec<usize> = others.iter().map(|number| lines(cluster, *number).len()).collect();
        let new = |cluster: &Cluster| -> Vec<Vec<String>> {
            others.iter().zip(&before).map(|(number, before)| lines(cluster, *number).split_off(*before)).collect()
        };
        // So many lines, all of them about the victim.
        let expect = |cluster: &Cluster, count: usize| {
            let new = new(cluster);
            let is_right = new.iter().all(|lines| lines.len() == count && lines.iter().all(|line| line.contains(&name)));
            if is_right { Ok(()) } else { Err(format!("not {count} lines about {name}: {new:#?}")) }
        };
        cluster.kill(victim);
        wait_until("both others say that it is lost", PATIENCE, || new(cluster).iter().all(|lines| !lines.is_empty()));
        let_pass(Duration::from_secs(2)); // many attempts to reach it again
        expect(cluster, 1)?;
        cluster.start_node(victim);
        cluster.wait_healthy();
        wait_until("both others say that it is back", PATIENCE, || new(cluster).iter().all(|lines| lines.len() >= 2));
        let_pass(Duration::from_secs(1));
        expect(cluster, 2)
    });
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
