//! One real process, `kvnode dev`, spoken to in the raw protocol: what the loop owes its clients, whatever the others do.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use raft::{ClusterId, DiskId, Incarnation, Index, NodeId};
use wire::limits::{FRAME_BODY_LEN_MAX, VALUE_LEN_MAX};
use wire::{CallId, FrameBuffer, Hello, Op, PeerHello, Purpose, Refused, RefusedReason, Reply, Request, SessionId, WriteOutcome};

/// What a test waits for at most; only a broken node takes that long.
const PATIENCE: Duration = Duration::from_secs(30);

/// A node of its own cluster; killed when dropped.
struct Node {
    process: Child,
    address: String,
    log: PathBuf,
}

impl Node {
    fn start(dir: &tempfile::TempDir) -> Node {
        Node::start_by(dir, Command::new(env!("CARGO_BIN_EXE_kvnode")))
    }

    /// `command` ends in the program.
    fn start_by(dir: &tempfile::TempDir, mut command: Command) -> Node {
        command.args(["dev", "--listen-client", "127.0.0.1:0", "--data-dir"]).arg(dir.path());
        let (mut process, log_path) = spawn(dir, command);
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.strip_prefix("one node at ").and_then(|rest| rest.split(',').next()).unwrap_or_else(|| panic!("{line:?}"));
        Node { process, address: address.to_owned(), log: log_path }
    }

    /// n1 of three, and nobody else is up.
    fn start_first_of_three(dir: &tempfile::TempDir) -> Node {
        let mut init = Command::new(env!("CARGO_BIN_EXE_kvnode"));
        init.args(["init", "--name", "n1", "--cluster", "n1=127.0.0.1:1,n2=127.0.0.1:2,n3=127.0.0.1:3", "--data-dir"]).arg(dir.path());
        assert!(init.stdout(Stdio::null()).status().unwrap().success());
        let mut run = Command::new(env!("CARGO_BIN_EXE_kvnode"));
        run.args(["run", "--listen-client", "127.0.0.1:0", "--listen-peer", "127.0.0.1:0", "--data-dir"]).arg(dir.path());
        let (process, log) = spawn(dir, run);
        let mut node = Node { process, address: String::new(), log };
        node.address = node.said_address("clients at ");
        node
    }

    /// The address behind these words in its log.
    fn said_address(&self, words: &str) -> String {
        self.wait_for_line(words);
        let log = std::fs::read_to_string(&self.log).unwrap();
        log.split(words).nth(1).and_then(|rest| rest.split(',').next()).unwrap().to_owned()
    }

    fn stop(mut self) -> Option<i32> {
        kill(Pid::from_raw(i32::try_from(self.process.id()).unwrap()), Signal::SIGTERM).unwrap();
        self.process.wait().unwrap().code()
    }

    fn wait_for_line(&self, part: &str) {
        let start = Instant::now();
        while !std::fs::read_to_string(&self.log).unwrap().contains(part) {
            assert!(start.elapsed() < PATIENCE, "{part:?} was not logged");
            std::thread::yield_now();
        }
    }

    fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

fn spawn(dir: &tempfile::TempDir, mut command: Command) -> (Child, PathBuf) {
    let log = dir.path().with_extension("log");
    let file = std::fs::File::create(&log).unwrap();
    (command.stdout(Stdio::piped()).stderr(file).spawn().unwrap(), log)
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_file(&self.log);
    }
}

/// A client, from its greeting on.
struct Client {
    socket: TcpStream,
    input: FrameBuffer,
    seq: u64,
    session: SessionId,
}

impl Client {
    fn connect(node: &Node) -> Client {
        let mut client = Client::greet(node, &Hello::Client { cluster_id: None });
        client.welcome().unwrap();
        client
    }

    fn greet(node: &Node, hello: &Hello) -> Client {
        Client::greet_at(&node.address, hello)
    }

    fn greet_at(address: &str, hello: &Hello) -> Client {
        let socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut client = Client {
            socket,
            input: FrameBuffer::new(FRAME_BODY_LEN_MAX),
            seq: 0,
            session: SessionId(u128::from(getrandom::u64().unwrap())),
        };
        let mut out = Vec::new();
        wire::encode_hello(hello, &mut out);
        client.socket.write_all(&out).unwrap();
        client
    }

    /// For a node that may turn clients away for a moment.
    fn connect_patiently(node: &Node) -> Client {
        let start = Instant::now();
        loop {
            let mut client = Client::greet(node, &Hello::Client { cluster_id: None });
            let mut byte = [0];
            if matches!(client.socket.peek(&mut byte), Ok(1)) && client.welcome().is_ok() {
                return client;
            }
            assert!(start.elapsed() < PATIENCE, "still turned away");
        }
    }

    fn welcome(&mut self) -> Result<wire::Welcome, Refused> {
        self.read(|frame| wire::decode_welcome(frame).unwrap())
    }

    fn read<T>(&mut self, take: impl FnOnce(wire::Frame<'_>) -> T) -> T {
        loop {
            if let Some(frame) = self.input.next().unwrap() {
                return take(frame);
            }
            assert!(self.fill() > 0, "the node closed the connection");
        }
    }

    fn fill(&mut self) -> usize {
        let count = self.socket.read(self.input.space()).unwrap();
        self.input.filled(count);
        count
    }

    fn send(&mut self, request_id: u64, request: &Request<'_>) {
        let mut out = Vec::new();
        wire::encode_request(request_id, request, &mut out);
        self.socket.write_all(&out).unwrap();
    }

    fn reply(&mut self) -> (u64, Reply) {
        self.read(|frame| wire::decode_reply(frame).unwrap())
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Reply {
        self.seq += 1;
        let call = CallId { session: self.session, birth_index: Index(1), seq: self.seq, first_unanswered: self.seq };
        let mut command = Vec::new();
        wire::encode_write(&call, &Op::Put { key, value }, &mut command);
        // A cluster of one that has just started is without a leader for a moment.
        let start = Instant::now();
        loop {
            self.send(0, &Request::Write { command: &command });
            let (_, reply) = self.reply();
            if !matches!(reply, Reply::NotLeader { .. } | Reply::Forming { .. }) || start.elapsed() > PATIENCE {
                return reply;
            }
        }
    }

    fn get(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        self.send(0, &Request::Get { key });
        match self.reply() {
            (_, Reply::Value { value, .. }) => value.map(|value| value.value),
            (_, other) => panic!("{other:?}"),
        }
    }

    fn expect_end(&mut self) {
        while self.fill() > 0 {}
    }
}

fn expect_done(reply: Reply) {
    assert!(matches!(&reply, Reply::Written(written) if written.outcome == WriteOutcome::Done), "{reply:?}");
}

#[test]
fn what_was_acknowledged_is_there_after_a_stop_and_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(&dir);
    expect_done(Client::connect(&node).put(b"k", b"one"));
    assert_eq!(node.stop(), Some(0));

    let mut node = Node::start(&dir);
    let mut client = Client::connect(&node);
    expect_done(client.put(b"other", b""));
    assert_eq!(client.get(b"k").as_deref(), Some(&b"one"[..]));
    node.process.kill().unwrap();
    node.process.wait().unwrap();

    let node = Node::start(&dir);
    let mut client = Client::connect(&node);
    expect_done(client.put(b"third", b""));
    assert_eq!(client.get(b"other").as_deref(), Some(&b""[..]));
}

#[test]
fn a_client_that_asks_and_does_not_read_costs_bounded_memory_and_delays_nobody() {
    const ASKED: u64 = 600;
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(&dir);
    let mut other = Client::connect(&node);
    expect_done(other.put(b"large", &vec![b'x'; VALUE_LEN_MAX]));
    expect_done(other.put(b"small", b"s"));

    let mut greedy = Client::connect(&node);
    for id in 1..=ASKED {
        greedy.send(id, &Request::Get { key: b"large" });
    }
    for _ in 0..200 {
        assert_eq!(other.get(b"small").as_deref(), Some(&b"s"[..]));
    }
    assert!(node.resident_kib() < 160 << 10, "{} KiB for {ASKED} unread replies of 1 MiB", node.resident_kib());

    // It was slow, not wrong: every answer is still due.
    let mut answered: Vec<u64> = (0..ASKED)
        .map(|_| match greedy.reply() {
            (id, Reply::Value { value: Some(value), .. }) if value.value.len() == VALUE_LEN_MAX => id,
            (id, other) => panic!("{id}: {other:?}"),
        })
        .collect();
    answered.sort_unstable();
    assert!(answered.iter().copied().eq(1..=ASKED));
}

#[test]
fn requests_may_come_many_at_once_or_byte_by_byte() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(&dir);
    let mut client = Client::connect(&node);
    expect_done(client.put(b"k", b"v"));
    let mut out = Vec::new();
    for id in 0..500 {
        wire::encode_request(id, &Request::Get { key: b"k" }, &mut out);
    }
    client.socket.write_all(&out).unwrap();
    let mut seen: Vec<u64> = (0..500).map(|_| client.reply().0).collect();
    seen.sort_unstable();
    assert!(seen.into_iter().eq(0..500));

    client.socket.set_nodelay(true).unwrap();
    let mut one = Vec::new();
    wire::encode_request(7, &Request::Get { key: b"k" }, &mut one);
    for byte in one {
        client.socket.write_all(&[byte]).unwrap();
    }
    assert_eq!(client.reply().0, 7);
}

/// What n2 says of itself to n1.
fn n2() -> PeerHello {
    PeerHello {
        node: NodeId(2),
        to: Some(NodeId(1)),
        disk_id: DiskId(7),
        incarnation: Incarnation(7),
        client_addr: "127.0.0.1:1".to_owned(),
        peer_addr: "127.0.0.1:2".to_owned(),
        version: "0.1.0".to_owned(),
    }
}

#[test]
fn whoever_comes_to_the_wrong_door_or_cluster_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(&dir);
    let other = ClusterId(5);
    for (hello, reason) in [
        (Hello::Client { cluster_id: Some(other) }, RefusedReason::WrongCluster),
        (Hello::Peer { cluster_id: other, purpose: Purpose::Control, peer: n2() }, RefusedReason::NotHello),
    ] {
        let mut client = Client::greet(&node, &hello);
        let refused = client.welcome().unwrap_err();
        assert_eq!(refused.reason, reason, "{}", refused.message);
        client.expect_end();
    }
}

#[test]
fn a_peer_is_let_in_by_its_own_cluster_and_by_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start_first_of_three(&dir);
    let door = node.said_address("peers at ");
    let ours = Client::greet(&node, &Hello::Client { cluster_id: None }).welcome().unwrap().cluster_id;
    for (cluster_id, refused) in [(ours, None), (ClusterId(ours.0 ^ 1), Some(RefusedReason::WrongCluster)), (ours, None)] {
        let hello = Hello::Peer { cluster_id, purpose: Purpose::Control, peer: n2() };
        let mut peer = Client::greet_at(&door, &hello);
        let answer = peer.read(|frame| wire::decode_peer_welcome(frame).unwrap());
        assert_eq!(answer.map(|hello| hello.node).map_err(|refused| refused.reason), refused.map_or(Ok(NodeId(1)), Err));
    }
}

#[test]
fn a_crowd_of_clients_is_turned_away_and_those_who_are_there_are_served() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start_by(&dir, with_descriptors(32));
    let mut first = Client::connect(&node);
    expect_done(first.put(b"k", b"v"));
    let crowd: Vec<TcpStream> = (0..64).map(|_| TcpStream::connect(&node.address).unwrap()).collect();
    node.wait_for_line("this node has 16 clients already");
    assert_eq!(first.get(b"k").as_deref(), Some(&b"v"[..]));
    drop(crowd);
    let mut later = Client::connect_patiently(&node);
    assert_eq!(later.get(b"k").as_deref(), Some(&b"v"[..]));
}

#[test]
fn a_node_without_descriptors_goes_on_serving() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start_by(&dir, with_descriptors(20));
    let mut first = Client::connect(&node);
    expect_done(first.put(b"k", b"v"));
    let peer_addr = node.said_address("peers at ");
    let crowd: Vec<TcpStream> = (0..64).map(|_| TcpStream::connect(&peer_addr).unwrap()).collect();
    node.wait_for_line("no file descriptor is left");
    assert_eq!(first.get(b"k").as_deref(), Some(&b"v"[..]));
    drop(crowd);
    let mut later = Client::connect_patiently(&node);
    assert_eq!(later.get(b"k").as_deref(), Some(&b"v"[..]));
    let log = std::fs::read_to_string(&node.log).unwrap();
    assert_eq!(log.matches("no file descriptor is left").count(), 1, "{log}");
}

#[test]
fn the_limit_of_open_files_is_raised_to_what_the_system_allows() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -Sn 100 && ulimit -Hn 200 && exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_kvnode")]);
    let node = Node::start_by(&dir, command);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", node.process.id())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(line.split_whitespace().skip(3).take(2).collect::<Vec<_>>(), ["200", "200"], "{line}");
}

fn with_descriptors(count: usize) -> Command {
    let mut command = Command::new("sh");
    let script = format!("ulimit -n {count}; exec \"$0\" \"$@\"");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_kvnode")]);
    command
}
