//! The labs' lock, made of conditional puts alone (rows M-L): a key that names its holder, or nobody.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use kvcli::{Clerk, Expectation, Options, WriteOutcome};
use tests::wait::{PATIENCE, let_pass};
use tests::{Cluster, wait_until};

const LOCK: &str = "lock";
/// What the lock guards: empty unless somebody is inside.
const GUARD: &str = "guard";
const LOAD: Duration = Duration::from_secs(2);
const HOLD: Duration = Duration::from_millis(10);

fn clerk(endpoints: &str) -> Clerk {
    Clerk::new(endpoints.split(','), Options { timeout: PATIENCE, ..Options::default() }).expect("a clerk")
}

/// The value of a key and its version; one that was never written is empty, at version 0.
fn read(clerk: &mut Clerk, key: &str) -> (String, u64) {
    let value = clerk.get(key).expect("a read").value;
    value.map_or((String::new(), 0), |value| (String::from_utf8(value.value).expect("text"), value.version))
}

/// Puts if the key is still at this version; whether it was.
fn put_at(clerk: &mut Clerk, key: &str, version: u64, value: &str) -> bool {
    let expect = if version == 0 { Expectation::Absent } else { Expectation::Version(version) };
    let written = clerk.cas(key, expect, value).expect("a put is answered");
    match written.outcome {
        WriteOutcome::Swapped => {
            assert_eq!(written.version, version + 1);
            true
        }
        other => {
            assert_eq!(other, WriteOutcome::NotSwapped);
            false
        }
    }
}

/// Takes the lock and gives it back until told to stop; how often.
fn enter_and_leave(client: usize, endpoints: &str, stop: &AtomicBool, done: &AtomicU64) -> u64 {
    let (mut clerk, me) = (clerk(endpoints), format!("client {client}"));
    let mut entries = 0;
    while !stop.load(Ordering::Relaxed) {
        let mut taken = 0;
        wait_until("the lock is mine", PATIENCE, || {
            let (holder, version) = read(&mut clerk, LOCK);
            taken = version + 1;
            holder.is_empty() && put_at(&mut clerk, LOCK, version, &me)
        });
        let (inside, version) = read(&mut clerk, GUARD);
        assert_eq!(inside, "", "{me} enters");
        assert!(put_at(&mut clerk, GUARD, version, &me), "{me} is not alone");
        let_pass(HOLD);
        assert_eq!(read(&mut clerk, GUARD), (me.clone(), version + 1), "{me} leaves");
        assert!(put_at(&mut clerk, GUARD, version + 1, ""), "{me} was not alone");
        assert!(put_at(&mut clerk, LOCK, taken, ""), "the lock is {me}'s to give back");
        entries += 1;
        done.fetch_add(1, Ordering::Relaxed);
    }
    entries
}

fn lock_and_unlock(clients: usize) {
    let cluster = Cluster::start(3);
    let (endpoints, stop, done) = (cluster.endpoints(), AtomicBool::new(false), AtomicU64::new(0));
    let entries: u64 = std::thread::scope(|scope| {
        let clients = (0..clients)
            .map(|client| {
                let (endpoints, stop, done) = (&endpoints, &stop, &done);
                scope.spawn(move || enter_and_leave(client, endpoints, stop, done))
            })
            .collect::<Vec<_>>();
        let_pass(LOAD);
        // However slow the machine is just now.
        wait_until("they have entered", PATIENCE, || done.load(Ordering::Relaxed) > clients.len() as u64);
        stop.store(true, Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().expect("everyone was alone inside")).sum()
    });
    assert!(entries > clients as u64, "{entries} entries of {clients} clients are none to speak of");
    for key in [LOCK, GUARD] {
        assert_eq!(read(&mut clerk(&endpoints), key), (String::new(), 2 * entries), "{key}: written twice by everyone who entered");
    }
}

#[test]
fn m_l1_one_client_locks_and_unlocks() {
    lock_and_unlock(1);
}

#[test]
fn m_l2_ten_clients_are_never_two_inside() {
    lock_and_unlock(10);
}
