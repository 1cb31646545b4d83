//! A replica whose state is not what its log says stops, and the others go on.

use std::path::Path;

use data::{Identity, Options, RealDisk, Store, init, read_identity};
use raft::{EntryHeader, HardState, Index, Save, SaveToken};
use tests::client::Client;
use tests::wait::PATIENCE;
use tests::{Cluster, wait_for, wait_until};

const WRITTEN: &[u8] = b"the value that everybody acknowledged";
const CHANGED: &[u8] = b"the value that nobody ever has written";

/// Writes the log of a stopped node anew with another value in one entry, every checksum right: what memory that lies can leave behind.
fn change_one_value(dir: &Path) {
    assert_eq!(WRITTEN.len() + 1, CHANGED.len());
    let mut disk = RealDisk::open(dir).expect("its directory");
    let identity: Identity = read_identity(&mut disk).expect("it can be read").expect("there is one");
    let options = Options::default();
    let (mut store, recovered) = Store::open(disk, &identity, options).expect("a good log");
    let mut entries = Vec::new();
    let mut changed = 0;
    for meta in &recovered.entries {
        let mut entry = store.entry(meta.index).expect("it can be read").to_vec();
        if let Some(at) = entry.windows(WRITTEN.len()).position(|window| window == WRITTEN) {
            entry[at..at + WRITTEN.len()].copy_from_slice(&CHANGED[..WRITTEN.len()]);
            changed += 1;
        }
        entries.push(entry);
    }
    assert_eq!(changed, 1, "one entry holds the value");
    drop(store);
    std::fs::remove_dir_all(dir).expect("it is removed");
    let mut disk = RealDisk::create(dir).expect("a new directory");
    init(&mut disk, &identity, &entries[0]).expect("it takes a node");
    let (mut store, _) = Store::open(disk, &identity, options).expect("a new log");
    let metas: Vec<_> =
        entries[1..].iter().zip(2..).map(|(entry, index)| EntryHeader::decode(entry).expect("an entry").meta(Index(index))).collect();
    for (entry, meta) in entries.drain(1..).zip(&metas) {
        store.stage(meta.index, entry);
    }
    let HardState { term, voted_for } = recovered.hard_state;
    let save =
        Save { token: SaveToken(1), hard_state: HardState { term, voted_for }, commit_index: recovered.commit_index, entries: metas };
    store.save(&save).expect("it is saved");
    store.seal().expect("it is sealed");
}

#[test]
fn a_replica_that_differs_from_a_majority_stops_and_names_the_index() {
    let mut cluster = Cluster::prepare(3);
    cluster.run_args = ["--max-log-bytes", "-1"].map(String::from).into();
    cluster.start_all();
    cluster.wait_healthy();
    let mut client = Client::new(&cluster.endpoints(), PATIENCE);
    client.put("witness", WRITTEN).expect("a put");
    cluster.wait_equal();
    let victim = cluster.follower();
    assert!(cluster.terminate(victim).success());
    change_one_value(&cluster.nodes[victim].data_dir);
    cluster.start_node(victim);
    cluster.wait_healthy();
    let lie = cluster.kvcli_at([victim], ["get", "--stale", "witness"]).expect_code(0);
    assert_eq!(lie.stdout, &CHANGED[..WRITTEN.len()], "it does hold another value");
    // Nothing shows it until the replicas compare, at a multiple of 1024 entries. What they tell each other then may be lost, so there is
    // another if need be.
    let lines: String = (0..1100).map(|n| format!("key {n}\tvalue\n")).collect();
    let says = "differs from that of a majority";
    wait_until("the victim says that it differs", PATIENCE, || {
        cluster.kvcli_reading(lines.as_bytes(), ["load"]).expect_code(0);
        cluster.log(victim).contains(says)
    });
    let status = cluster.wait_end(victim);
    assert_eq!(status.code(), Some(65), "{}", cluster.log(victim));
    let log = cluster.log(victim);
    let last = log.lines().last().unwrap_or_default();
    let index = last.split_once("after entry i").and_then(|(_, rest)| rest.split_once(' ')).map(|(index, _)| index.parse::<u64>());
    assert!(last.contains(says) && index.is_some_and(|index| index.is_ok_and(|index| index % 1024 == 0)), "{last}");
    wait_for("the others serve", PATIENCE, || client.put("after", "1").map_err(|failed| format!("{failed:?}")));
    assert_eq!(client.get("witness"), Ok(Some(WRITTEN.to_vec())));
}
