//! Clients that do one call after the other, for as long as they are told to, while something else happens to the cluster.

use kvcli::{Answer, Ask, ClerkError};
use sim::{CallId, ClerkId, Cluster, Conditions, Limits};

/// What a client does.
pub(crate) trait Behaviour {
    /// Its next call.
    fn next(&mut self, cluster: &mut Cluster) -> Ask;
    /// The answer to it.
    fn answered(&mut self, answer: &Answer);
    /// It has nothing more to ask.
    fn is_done(&self) -> bool {
        false
    }
}

/// Clients of one kind.
pub(crate) struct Crowd<B> {
    pub(crate) members: Vec<Member<B>>,
    /// A call that takes longer than this fails the case.
    timeout_ms: u64,
    /// How long each took that is over.
    waits_ms: Vec<u64>,
    pub(crate) done: usize,
    /// Splits and power cuts so far, and when the first began and the last ended.
    faults: usize,
    trouble_ms: Option<(u64, u64)>,
}

pub(crate) struct Member<B> {
    clerk: ClerkId,
    call: Option<CallId>,
    pub(crate) behaviour: B,
}

impl<B: Behaviour> Crowd<B> {
    pub(crate) fn new(cluster: &mut Cluster, timeout_ms: u64, behaviours: impl IntoIterator<Item = B>) -> Crowd<B> {
        let members = behaviours.into_iter().map(|behaviour| Member { clerk: cluster.clerk(), call: None, behaviour });
        Crowd { members: members.collect(), timeout_ms, waits_ms: Vec::new(), done: 0, faults: 0, trouble_ms: None }
    }

    /// Takes in what is over; then, unless they are to stop, everybody who is idle calls again.
    #[track_caller]
    fn step(&mut self, cluster: &mut Cluster, stop: bool) {
        for (number, member) in self.members.iter_mut().enumerate() {
            if let Some(call) = member.call {
                let Some(outcome) = cluster.outcome(call) else { continue };
                match outcome {
                    Ok(answer) => {
                        member.behaviour.answered(answer);
                        let (began_ms, ended_ms) = cluster.call_ms(call);
                        self.waits_ms.push(ended_ms.expect("it is over") - began_ms);
                        self.done += 1;
                        member.call = None;
                    }
                    // Whoever kept its point in time is gone: it begins again.
                    Err(ClerkError::ScanLost { .. }) => member.call = None,
                    Err(error) => panic!("client {number} at {} ms: {error}\n{}", cluster.now_ms(), cluster.describe()),
                }
            }
            if !stop && member.call.is_none() && !member.behaviour.is_done() {
                let ask = member.behaviour.next(cluster);
                member.call = Some(cluster.ask(member.clerk, ask, self.timeout_ms));
            }
        }
    }

    /// They go on for so long.
    #[track_caller]
    pub(crate) fn run_for_ms(&mut self, cluster: &mut Cluster, ms: u64) {
        let end_ms = cluster.now_ms() + ms;
        while cluster.now_ms() < end_ms {
            self.step(cluster, false);
            cluster.run_for_ms(1);
        }
    }

    /// Until everybody has asked all that they wanted to, and has the answers.
    #[track_caller]
    pub(crate) fn run_to_the_end(&mut self, cluster: &mut Cluster) {
        while self.are_calling() || !self.members.iter().all(|member| member.behaviour.is_done()) {
            self.step(cluster, false);
            cluster.run_for_ms(1);
        }
    }

    /// Time passes; who has an answer makes no other call.
    #[track_caller]
    pub(crate) fn rest_for_ms(&mut self, cluster: &mut Cluster, ms: u64) {
        let end_ms = cluster.now_ms() + ms;
        while cluster.now_ms() < end_ms {
            self.step(cluster, true);
            cluster.run_for_ms(1);
        }
    }

    /// Until everybody has an answer.
    #[track_caller]
    pub(crate) fn finish(&mut self, cluster: &mut Cluster) {
        while self.are_calling() {
            self.step(cluster, true);
            cluster.run_for_ms(1);
        }
    }

    /// A side for every node, by a fair coin.
    pub(crate) fn split_by_coin(&mut self, cluster: &mut Cluster) {
        let side: Vec<usize> = (0..cluster.size()).filter(|_| cluster.draw(2) == 0).collect();
        cluster.partition(&side);
        self.faults += 1;
        self.trouble_until_now(cluster);
    }

    /// The splits are over.
    pub(crate) fn heal(&mut self, cluster: &mut Cluster) {
        cluster.heal();
        self.trouble_until_now(cluster);
    }

    /// Power is cut at all nodes for so long, while everybody is inside a call that has to be sent again: the labs let the clients finish
    /// before.
    #[track_caller]
    pub(crate) fn outlive_a_power_cut(&mut self, cluster: &mut Cluster, dark_ms: u64) {
        self.finish(cluster);
        self.step(cluster, false);
        let us = cluster.draw(2_000);
        cluster.run_for_us(us);
        self.faults += 1;
        self.trouble_until_now(cluster);
        let nodes = 0..cluster.size();
        nodes.clone().for_each(|node| cluster.crash(node));
        self.rest_for_ms(cluster, dark_ms);
        assert!(self.are_calling(), "nobody waits while all nodes are down");
        nodes.for_each(|node| cluster.restart(node));
        self.trouble_until_now(cluster);
    }

    fn trouble_until_now(&mut self, cluster: &Cluster) {
        let now_ms = cluster.now_ms();
        self.trouble_ms = Some((self.trouble_ms.map_or(now_ms, |(began_ms, _)| began_ms), now_ms));
    }

    /// Beyond the labs, which bound the mean alone. Where no message is lost, only who is calling when a fault strikes waits at all, and at
    /// most for the last of the faults and an election; where messages are lost, for a few that are sent again, too.
    #[track_caller]
    pub(crate) fn check_waits(&mut self, is_lossy: bool) {
        let trouble_ms = self.trouble_ms.map_or(0, |(began_ms, ended_ms)| ended_ms - began_ms);
        let waits_ms = &mut self.waits_ms;
        waits_ms.sort_unstable();
        let percentile_99_ms = waits_ms[waits_ms.len() * 99 / 100];
        let longest_ms = waits_ms[waits_ms.len() - 1];
        if is_lossy {
            assert!(
                percentile_99_ms <= trouble_ms + 4_000,
                "of 100 calls one took {percentile_99_ms} ms; faults were there for {trouble_ms} ms"
            );
            assert!(longest_ms <= trouble_ms + 6_000, "a call took {longest_ms} ms; faults were there for {trouble_ms} ms");
        } else {
            let slow = waits_ms.iter().rev().take_while(|ms| **ms > 100).count();
            assert!(
                slow <= self.faults * self.members.len(),
                "{slow} calls took more than 100 ms, with {} faults in their way",
                self.faults
            );
            assert!(longest_ms <= trouble_ms + 3_000, "a call took {longest_ms} ms; faults were there for {trouble_ms} ms");
        }
    }

    pub(crate) fn are_calling(&self) -> bool {
        self.members.iter().any(|member| member.call.is_some())
    }
}

/// One way of the labs' reliable network. With it a client makes some 150 to 200 calls a second; in the labs' reference run, 265.
const WAY_US: std::ops::Range<u64> = 900..1_000;

pub(crate) fn conditions(unreliable: bool) -> Conditions {
    let conditions = if unreliable { Conditions::unreliable() } else { Conditions::reliable() };
    Conditions { way_us: WAY_US, ..conditions }
}

/// The labs' maxraftstate; `None`: -1.
pub(crate) fn limits(max_log_bytes: Option<u64>) -> Limits {
    Limits { max_log_bytes, ..Limits::default() }
}

/// What a call of these clients takes in the log.
const CALL_LEN_MAX: u64 = 100;

/// The log at every step and not only at the end, with all that is kept of it; without snapshots there must be none. The labs let it be
/// eight times as long as it should be. Here twice is the limit, and what all clients may be at when it gets there.
#[track_caller]
pub(crate) fn check_sizes(cluster: &Cluster, max_log_bytes: Option<u64>, clients: usize) {
    for node in 0..cluster.size() {
        assert_eq!(cluster.snapshot_bytes(node) > 0, max_log_bytes.is_some(), "n{} has a snapshot, or none", node + 1);
    }
    if let Some(max) = max_log_bytes {
        let bytes = cluster.log_bytes_max();
        assert!(bytes <= 2 * max + clients as u64 * CALL_LEN_MAX, "a log of {bytes} bytes");
    }
}

/// Beyond the labs: where nothing goes wrong the leader stays.
#[track_caller]
pub(crate) fn check_quiet(cluster: &Cluster, term: u64) {
    for node in 0..cluster.size() {
        assert_eq!(cluster.term(node).map(|term| term.0), Some(term), "the term has changed in a quiet run:\n{}", cluster.describe());
    }
}

/// What `append` number `count` of a client adds.
pub(crate) fn token(client: usize, count: usize) -> String {
    format!("x {client} {count} y")
}

/// APPENDS-OK: each of the client's first `count` tokens once, in this order.
#[track_caller]
pub(crate) fn check_appends(client: usize, value: &[u8], count: usize) {
    let value = std::str::from_utf8(value).expect("tokens are text");
    let mut rest = value;
    for number in 0..count {
        let token = token(client, number);
        assert_eq!(value.matches(&token).count(), 1, "{token:?} in {value}");
        let at = rest.find(&token).unwrap_or_else(|| panic!("{token:?} stands before an earlier one: {value}"));
        rest = &rest[at + token.len()..];
    }
    assert!(!value.contains(&token(client, count)), "{count} were acknowledged, and there is one more: {value}");
}

pub(crate) fn key(client: usize) -> Vec<u8> {
    client.to_string().into_bytes()
}

/// The value under a key, by a client of its own.
#[track_caller]
pub(crate) fn get(cluster: &mut Cluster, key: impl Into<Vec<u8>>) -> Option<kvcli::Value> {
    let clerk = cluster.clerk();
    get_by(cluster, clerk, key)
}

#[track_caller]
pub(crate) fn get_by(cluster: &mut Cluster, clerk: ClerkId, key: impl Into<Vec<u8>>) -> Option<kvcli::Value> {
    match cluster.done(clerk, Ask::Get { key: key.into() }) {
        Answer::Value { value, .. } => value,
        other => panic!("{other:?} answers no get"),
    }
}

#[track_caller]
pub(crate) fn put_by(cluster: &mut Cluster, clerk: ClerkId, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> kvcli::Written {
    written(&cluster.done(clerk, Ask::Put { key: key.into(), value: value.into() }))
}

#[track_caller]
pub(crate) fn written(answer: &Answer) -> kvcli::Written {
    match answer {
        Answer::Written(written) => *written,
        other => panic!("{other:?} answers no write"),
    }
}
