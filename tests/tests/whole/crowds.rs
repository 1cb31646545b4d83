//! Many clients: those that come, write once and are never seen again, and those that stay and say nothing.

use std::time::Duration;

use raft::Index;
use tests::crowd::Crowd;
use tests::process::memory_kib;
use tests::raw::Raw;
use tests::wait::let_pass;
use tests::{Cluster, host};
use wire::limits::SESSIONS_MAX;
use wire::{CallId, Op, Reply, Request, SessionId, WriteOutcome};

/// Sessions that write once each.
const SESSIONS: u64 = 100_000;
/// Requests under way on the one connection that plays all clients.
const UNDER_WAY: u64 = 2_000;

/// A put of its own number, as the first call of a session or a later one.
fn put(raw: &mut Raw, id: u64, call: &CallId) {
    let mut command = Vec::new();
    wire::encode_write(call, &Op::Put { key: b"k", value: &id.to_le_bytes() }, &mut command);
    raw.request(id, &Request::Write { command: &command });
}

/// Sends so many calls, each made with the newest index known by then, and awaits all replies; the positions, in the order of the calls.
fn put_all(raw: &mut Raw, known: Index, mut call: impl FnMut(u64, Index) -> CallId) -> Vec<Index> {
    let mut positions = vec![Index(0); usize::try_from(SESSIONS).expect("few")];
    let (mut sent, mut answered, mut known) = (0, 0, known);
    while answered < SESSIONS {
        while sent < SESSIONS && sent < answered + UNDER_WAY {
            put(raw, sent, &call(sent, known));
            sent += 1;
        }
        match raw.reply() {
            (id, Reply::Written(written)) if written.outcome == WriteOutcome::Done => {
                positions[usize::try_from(id).expect("few")] = written.position;
                known = known.max(written.position);
            }
            (id, other) => panic!("{id}: {other:?}"),
        }
        answered += 1;
    }
    positions
}

#[test]
fn of_100_000_short_lived_sessions_the_newest_65_536_are_kept_and_the_others_refused() {
    let mut random = fastrand::Rng::with_seed(host::seed());
    let mut cluster = Cluster::start_calm(3);
    let leader = cluster.leader();
    let (mut raw, welcome) = Raw::client(&cluster.nodes[leader].client_addr);
    let before = cluster.status().term();

    // First as many writes by one session, until the caches are full: what memory then grows by is the log's share, which all writes have.
    let mut resident = Vec::new();
    for _ in 0..4 {
        let one = SessionId(random.u128(..));
        put_all(&mut raw, welcome.applied_index, |n, birth_index| CallId {
            session: one,
            birth_index,
            seq: n + 1,
            first_unanswered: (n + 1).saturating_sub(63).max(1),
        });
        cluster.wait_equal();
        resident.push(memory_kib(cluster.pid(leader), "VmRSS:"));
    }
    let mut calls = Vec::new();
    let positions = put_all(&mut raw, welcome.applied_index, |_, birth_index| {
        calls.push(CallId { session: SessionId(random.u128(..)), birth_index, seq: 1, first_unanswered: 1 });
        calls[calls.len() - 1]
    });
    cluster.wait_equal();
    resident.push(memory_kib(cluster.pid(leader), "VmRSS:"));
    let [log, all] = [3, 4].map(|at| resident[at].saturating_sub(resident[at - 1]));
    let sessions = all.saturating_sub(log);
    host::report(format!(
        "resident memory of a leader: {log} KiB more for {SESSIONS} writes of one session, {all} KiB for one write each of {SESSIONS}: \
         {sessions} KiB are their sessions'"
    ));
    let status = cluster.status();
    for node in &cluster.nodes {
        assert_eq!(status.number(&node.name, "sessions"), Some(SESSIONS_MAX as u64), "{}", node.name);
    }

    // Applied in the order of their positions, so the longest idle are the first. A retry of one of those is refused; one of the others
    // is answered as the first time. The same after a leader change: who was evicted is part of the state.
    let mut in_order: Vec<(Index, u64)> = positions.iter().copied().zip(0..).collect();
    in_order.sort_unstable();
    let evicted = in_order.len() - SESSIONS_MAX;
    let check = |raw: &mut Raw| {
        for place in [0, evicted / 2, evicted - 1, evicted, evicted + SESSIONS_MAX / 2, in_order.len() - 1] {
            let (position, n) = in_order[place];
            put(raw, n, &calls[usize::try_from(n).expect("few")]);
            match raw.reply() {
                (_, Reply::SessionExpired) => assert!(place < evicted, "the session at place {place} was evicted too early"),
                (_, Reply::Written(written)) => assert!(place >= evicted && written.position == position, "place {place}: {written:?}"),
                (_, other) => panic!("place {place}: {other:?}"),
            }
        }
    };
    check(&mut raw);
    assert_eq!(cluster.status().term(), before, "one of these replies came from another leader");
    cluster.kill(leader);
    let next = cluster.leader();
    cluster.kvcli_at([next], ["get", "k"]).expect_code(0);
    let (mut raw, _) = Raw::client(&cluster.nodes[next].client_addr);
    check(&mut raw);
    cluster.start_node(leader);
    cluster.wait_healthy();
    cluster.wait_equal();
}

#[test]
fn of_4_000_idle_connections_every_one_still_answers() {
    let cluster = Cluster::start_calm(3);
    let leader = cluster.leader();
    let mut crowd = Crowd::at(&cluster, leader, 4_000);
    host::report(format!("4000 connections: the node's resident memory grew by {} KiB", crowd.grown_kib));
    // Longer than a connection may say nothing before its greeting. `cargo xtask soak` waits a minute.
    let_pass(Duration::from_secs(6));
    // Whoever is not of the crowd is served meanwhile.
    cluster.kvcli_at([leader], ["put", "other", "w"]).expect_code(0);
    crowd.expect_answers();
}
