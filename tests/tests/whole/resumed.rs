//! A write of unknown outcome is settled by another process, at most once in all.

use tests::{Cluster, Ran};

/// The token in "finish safely with: kvcli --resume TOKEN ...".
fn token(ran: &Ran) -> String {
    let words: Vec<&str> = ran.stderr.split_whitespace().collect();
    let place = words.iter().position(|word| *word == "--resume").unwrap_or_else(|| panic!("no --resume\n{ran}"));
    words[place + 1].to_owned()
}

/// An append that its leader has taken and cannot finish: both others are stopped.
fn append_of_unknown_outcome(cluster: &mut Cluster) -> String {
    let leader = cluster.leader();
    let others: Vec<usize> = (0..cluster.nodes.len()).filter(|number| *number != leader).collect();
    others.iter().for_each(|number| cluster.pause(*number));
    let ran = cluster.kvcli_at([leader], ["--timeout", "1s", "append", "log", "once,"]).expect_code(4);
    let token = token(&ran);
    others.iter().for_each(|number| cluster.resume(*number));
    token
}

#[test]
fn a_resumed_append_is_done_once_however_often_it_is_resumed() {
    let mut cluster = Cluster::start(3);
    cluster.kvcli(["append", "log", "first,"]).expect_code(0);
    let token = append_of_unknown_outcome(&mut cluster);
    for _ in 0..3 {
        cluster.kvcli(["--timeout", "20s", "--resume", &token, "append", "log", "once,"]).expect_code(0);
    }
    assert_eq!(cluster.kvcli(["get", "log"]).expect_code(0).stdout, b"first,once,");
}

#[test]
fn a_resumed_append_is_done_once_even_across_sigkill_of_all() {
    let mut cluster = Cluster::start(3);
    let token = append_of_unknown_outcome(&mut cluster);
    cluster.kvcli(["--timeout", "20s", "--resume", &token, "append", "log", "once,"]).expect_code(0);
    cluster.kill_all();
    cluster.start_all();
    cluster.kvcli(["--timeout", "20s", "--resume", &token, "append", "log", "once,"]).expect_code(0);
    assert_eq!(cluster.kvcli(["--timeout", "20s", "get", "log"]).expect_code(0).stdout, b"once,");
}
