//! A disk that has room for the log and none for a snapshot: it is said, service goes on as far as the log allows, nothing that was
//! acknowledged is lost, and once there is room a snapshot is made.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use tests::client::{Client, Failed};
use tests::disk::SmallDisk;
use tests::wait::PATIENCE;
use tests::{Cluster, host, wait_for, wait_until};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
/// Of one value, and how many keys there are: a state, and so a snapshot, of 6 MiB.
const LEN: usize = 64 * KIB;
const KEYS: usize = 96;
/// `--max-log-bytes`: a snapshot is due above it, and at four times that a leader takes no more writes.
const MAX_LOG: usize = MIB;

/// A client waits so long for a log that is full, and a busy machine may make any call wait.
const REFUSED_AFTER: Duration = Duration::from_secs(5);

const NO_ROOM: &str = "the disk has no room for a snapshot";
const ROOM_AGAIN: &str = "the disk had room for a snapshot again";

fn prepare(size: usize) -> Cluster {
    let mut cluster = Cluster::prepare(size);
    cluster.run_args = vec!["--max-log-bytes".into(), MAX_LOG.to_string()];
    cluster
}

fn key(number: usize) -> String {
    format!("key {:05}", number % KEYS)
}

/// Unlike that of any other number.
fn value(number: usize) -> Vec<u8> {
    format!("{number:08} ").into_bytes().into_iter().cycle().take(LEN).collect()
}

/// What was acknowledged last under each key.
#[derive(Default)]
struct Acknowledged(BTreeMap<String, usize>);

impl Acknowledged {
    /// Puts the values of these numbers; where the first one that is refused stands, and what the refusal says.
    #[track_caller]
    fn put(&mut self, client: &mut Client, numbers: std::ops::Range<usize>) -> Option<(usize, String)> {
        for number in numbers {
            if let Err(why) = put(client, number) {
                return Some((number, why));
            }
            self.0.insert(key(number), number);
        }
        None
    }

    #[track_caller]
    fn check(&self, client: &mut Client) {
        for (key, number) in &self.0 {
            assert!(client.get(key).expect("a read") == Some(value(*number)), "{key}: {number} was acknowledged and is lost");
        }
    }
}

/// One put. While a snapshot that is about to be given up holds all the room, the log may want some for its next segment: such a
/// refusal passes, so it is asked again. So is one whose last attempt a stalled machine has left without an answer: what is asked behind
/// it is answered behind it.
#[track_caller]
fn put(client: &mut Client, number: usize) -> Result<(), String> {
    wait_for("the log has room", PATIENCE, || match client.put(&key(number), value(number)) {
        Err(Failed::NotDone(why)) if why.contains("the disk of this node is full") => Err(why),
        Err(Failed::NotDone(why)) => Ok(Err(why)),
        Err(Failed::Unknown(why)) => Err(why),
        Ok(_) => Ok(Ok(())),
    })
}

fn number_of(cluster: &Cluster, number: usize, field: &str) -> u64 {
    cluster.status().number(&cluster.nodes[number].name, field).unwrap_or_else(|| panic!("{field} of a node that answers"))
}

fn has_unfinished(data_dir: &Path) -> bool {
    let names = ["log", "snapshot"].into_iter().flat_map(|dir| std::fs::read_dir(data_dir.join(dir)).expect("a directory"));
    names.into_iter().any(|entry| entry.expect("an entry").path().extension().is_some_and(|extension| extension == "tmp"))
}

#[test]
fn without_room_for_a_snapshot_the_log_goes_on_to_its_limit_and_nothing_is_lost() {
    if host::lacks("mount", "without_room_for_a_snapshot_the_log_goes_on_to_its_limit_and_nothing_is_lost") {
        return;
    }
    let mut cluster = prepare(1);
    let disk = SmallDisk::mount(&cluster.nodes[0].data_dir, 32 * MIB);
    cluster.nodes[0].under = disk.under();
    cluster.start_all();
    cluster.wait_healthy();
    let mut acknowledged = Acknowledged::default();
    let mut patient = Client::new(&cluster.endpoints(), PATIENCE);
    assert_eq!(acknowledged.put(&mut patient, 0..KEYS), None);
    wait_until("a snapshot is there, and neither one due nor a file on its way out", PATIENCE, || {
        let is_short = number_of(&cluster, 0, "log_bytes") <= MAX_LOG as u64 && number_of(&cluster, 0, "snapshot_index") > 0;
        is_short && !has_unfinished(&disk.path(""))
    });
    let before = number_of(&cluster, 0, "snapshot_index");

    // More than the log may grow to, and less than another snapshot takes.
    disk.fill_but((5 * MIB + 512 * KIB) as u64);
    let mut client = Client::new(&cluster.endpoints(), REFUSED_AFTER);
    let (refused, why) = acknowledged.put(&mut client, KEYS..4 * KEYS).expect("a log has a limit");
    assert!(why.contains("its log waits to be compacted"), "{why}");
    let taken = (refused - KEYS) * LEN;
    host::report(format!("{} KiB were written without room for a snapshot, then: {why}", taken / KIB));
    // What the log held when the disk was filled counts, too.
    assert!((3 * MAX_LOG..=4 * MAX_LOG + LEN).contains(&taken), "{taken} bytes");
    assert_eq!(cluster.log(0).matches(NO_ROOM).count(), 1, "it is said once\n{}", cluster.log(0));
    assert_eq!(number_of(&cluster, 0, "snapshot_index"), before);
    acknowledged.check(&mut client);

    // Also a node that starts with such a disk.
    cluster.kill(0);
    cluster.start_node(0);
    cluster.wait_healthy();
    wait_until("the new process says so, too", PATIENCE, || cluster.log(0).matches(NO_ROOM).count() == 2);
    // A new client: the other does not know yet that its connection has ended, and could not tell what became of what it sends there.
    let mut client = Client::new(&cluster.endpoints(), REFUSED_AFTER);
    let why = put(&mut client, refused).expect_err("its log is as long as before");
    assert!(why.contains("its log waits to be compacted"), "{why}");
    acknowledged.check(&mut client);

    assert!(!cluster.log(0).contains(ROOM_AGAIN), "{}", cluster.log(0));
    disk.free();
    wait_until("a snapshot is taken", PATIENCE, || number_of(&cluster, 0, "snapshot_index") > before);
    wait_until("it says so", PATIENCE, || cluster.log(0).contains(ROOM_AGAIN));
    let mut patient = Client::new(&cluster.endpoints(), PATIENCE);
    assert_eq!(acknowledged.put(&mut patient, refused..refused + KEYS), None);
    acknowledged.check(&mut patient);
}

#[test]
fn a_follower_without_room_for_the_snapshot_it_is_sent_hinders_nobody_and_catches_up() {
    if host::lacks("mount", "a_follower_without_room_for_the_snapshot_it_is_sent_hinders_nobody_and_catches_up") {
        return;
    }
    let mut cluster = prepare(3);
    cluster.start_all();
    cluster.wait_healthy();
    let number = cluster.follower();
    let name = cluster.nodes[number].name.clone();
    cluster.wait_equal();
    let applied = number_of(&cluster, number, "applied_index");
    cluster.kill(number);
    let mut acknowledged = Acknowledged::default();
    let mut client = Client::new(&cluster.endpoints(), PATIENCE);
    assert_eq!(acknowledged.put(&mut client, 0..KEYS), None);
    wait_until("the others have no log for it", PATIENCE, || {
        let status = cluster.status();
        let others = cluster.nodes.iter().filter(|node| node.name != name);
        others.into_iter().all(|node| status.number(&node.name, "first_log_index") > Some(applied + 1))
    });

    let disk = SmallDisk::mount(&cluster.nodes[number].data_dir, 32 * MIB);
    cluster.nodes[number].under = disk.under();
    // Half of the snapshot.
    disk.fill_but((3 * MIB) as u64);
    cluster.start_node(number);
    let pid = cluster.pid(number);
    wait_until("it says so", PATIENCE, || cluster.log(number).contains(NO_ROOM));
    assert_eq!(acknowledged.put(&mut client, KEYS..2 * KEYS), None);
    // What it had applied last it may not know to be committed, since its restart.
    let still = number_of(&cluster, number, "applied_index");
    assert!(still <= applied, "{name} holds {still} and had {applied}, without room for what lies between");
    assert_eq!(cluster.log(number).matches(NO_ROOM).count(), 1, "it is said once\n{}", cluster.log(number));

    disk.free();
    cluster.wait_equal();
    assert_eq!(cluster.pid(number), pid, "it never stopped");
    let log = cluster.log(number);
    assert!(log.contains(ROOM_AGAIN) && log.contains("caught up"), "{log}");
    acknowledged.check(&mut client);
}
