//! Everything at once: nodes are killed, paused and started at moments drawn from the run's seed, while clients append, one client writes
//! a register and others read it. Nothing acknowledged may be lost or doubled, and no read may see the past.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tests::client::{Client, Failed};
use tests::cluster::ProcessState;
use tests::load::{Load, Told};
use tests::wait::{PATIENCE, let_pass};
use tests::{Cluster, host, wait_until};

const LENGTH: Duration = Duration::from_secs(12);
/// Too little to mean anything.
const FAULTS_MIN: usize = 10;
/// The same, of appends, of writes and of reads.
const CALLS_MIN: u64 = 100;
const CLIENTS: usize = 3;
const READERS: usize = 2;

/// A register whose one writer counts up.
#[derive(Default)]
struct Register {
    stop: AtomicBool,
    /// The highest value whose write was begun.
    begun: AtomicU64,
    /// The highest value whose write was acknowledged.
    done: AtomicU64,
    reads: AtomicU64,
}

impl Register {
    fn write(&self, endpoints: &str) {
        let mut client = Client::new(endpoints, PATIENCE);
        let mut value = 0;
        while !self.stop.load(Ordering::SeqCst) {
            value += 1;
            self.begun.store(value, Ordering::SeqCst);
            match client.put("register", value.to_string()) {
                Ok(_) => self.done.store(value, Ordering::SeqCst),
                Err(Failed::NotDone(_) | Failed::Unknown(_)) => {}
            }
        }
    }

    fn read(&self, endpoints: &str) {
        let mut client = Client::new(endpoints, PATIENCE);
        let mut seen = 0;
        while !self.stop.load(Ordering::SeqCst) {
            let done = self.done.load(Ordering::SeqCst);
            let Ok(value) = client.get("register") else { continue };
            let begun = self.begun.load(Ordering::SeqCst);
            let value = value.map_or(0, |value| String::from_utf8(value).expect("text").parse().expect("a number"));
            assert!(value >= done, "a stale read: {value}, after the write of {done} was acknowledged");
            assert!(value >= seen, "reads went back from {seen} to {value}");
            assert!(value <= begun, "a read from the future: {value}, and only {begun} was begun");
            seen = value;
            self.reads.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// What was done to the nodes.
fn storm(cluster: &mut Cluster, random: &mut fastrand::Rng) -> usize {
    let (start, size, mut faults) = (Instant::now(), cluster.nodes.len(), 0);
    while start.elapsed() < LENGTH || faults <= FAULTS_MIN {
        let_pass(Duration::from_millis(random.u64(100..700)));
        let victim = random.usize(0..size);
        faults += 1;
        match (random.u8(0..10), cluster.nodes[victim].state()) {
            (0, _) => cluster.kill_all(),
            (1..5, ProcessState::Running | ProcessState::Paused) => cluster.kill(victim),
            (5..8, ProcessState::Running) => cluster.pause(victim),
            (_, ProcessState::Paused) => cluster.resume(victim),
            (_, ProcessState::Down) => cluster.start_node(victim),
            _ => faults -= 1,
        }
    }
    for number in 0..size {
        match cluster.nodes[number].state() {
            ProcessState::Paused => cluster.resume(number),
            ProcessState::Down => cluster.start_node(number),
            _ => {}
        }
    }
    faults
}

fn weather(size: usize) {
    let mut random = fastrand::Rng::with_seed(host::seed() ^ size as u64);
    let mut cluster = Cluster::start(size);
    let register = Register::default();
    let load = Load::start(&cluster.endpoints(), CLIENTS);
    let faults = std::thread::scope(|scope| {
        let mut shuffled = || {
            let mut order: Vec<usize> = (0..size).collect();
            random.shuffle(&mut order);
            cluster.endpoints_of(order)
        };
        let (writer, readers) = (shuffled(), [(); READERS].map(|()| shuffled()));
        let register = &register;
        scope.spawn(move || register.write(&writer));
        for endpoints in readers {
            scope.spawn(move || register.read(&endpoints));
        }
        let faults = storm(&mut cluster, &mut random);
        load.wait_progress(30); // it gets well again
        wait_until("enough has happened, on a slow machine too", 4 * PATIENCE, || {
            [&register.done, &register.reads].iter().all(|count| count.load(Ordering::SeqCst) > CALLS_MIN) && load.done() as u64 > CALLS_MIN
        });
        register.stop.store(true, Ordering::SeqCst);
        faults
    });
    let account = load.stop();
    cluster.wait_healthy();
    let mut reader = Client::new(&cluster.endpoints(), PATIENCE);
    for client in 0..CLIENTS {
        let value = reader.get(&Load::key(client)).expect("a read").expect("the key is there");
        account.check(client, &value);
    }
    cluster.wait_equal();
    let (done, writes, reads) = (account.count(Told::Done), register.done.into_inner(), register.reads.into_inner());
    host::report(format!("{size} nodes, {faults} faults: {done} appends, {writes} register writes, {reads} reads"));
}

#[test]
fn three_nodes_in_a_storm_of_kills_and_pauses_lose_double_and_forget_nothing() {
    weather(3);
}

#[test]
fn five_nodes_in_a_storm_of_kills_and_pauses_lose_double_and_forget_nothing() {
    weather(5);
}
