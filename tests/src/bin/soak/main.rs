//! What takes too long for `cargo xtask test`, on real nodes with everything as users run it, and the figures: heavy load for minutes,
//! dumps of many keys, many idle connections, lines loaded against a bench, snapshots under kills and of a million keys.
//! `cargo xtask soak [PART SECONDS]...`, see `USAGE`.

mod beside; // what one client waits for, and what the disk alone takes
mod compaction; // throughput with and without snapshots
mod dumping; // dumps of 100,000 keys beside a writer and a bench
mod heavy; // small writes from many clients, then large ones
mod idle; // 4,000 connections that say nothing for long
mod kills; // SIGKILL while snapshots are taken
mod loading; // `kvcli load` against `kvcli bench`
mod million; // snapshots, transfer and restart with a million keys

use std::process::ExitCode;

use tests::Cluster;

const USAGE: &str = "usage: cargo xtask soak [--small SECONDS] [--large SECONDS] [--dumps SECONDS] [--idle SECONDS] [--loads ROUNDS]
                         [--kills ROUNDS] [--compactions ROUNDS] [--million ROUNDS]
0 leaves a part out";

fn main() -> ExitCode {
    // A part that fails has threads that would go on for ever.
    let say = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        say(panic);
        std::process::abort();
    }));
    // How long each part takes, or how often it is done.
    let mut parts = [
        ("--small", 300),
        ("--large", 60),
        ("--dumps", 60),
        ("--idle", 60),
        ("--loads", 5),
        ("--kills", 100),
        ("--compactions", 5),
        ("--million", 1),
    ];
    let args: Vec<String> = std::env::args().skip(1).collect();
    for pair in args.chunks(2) {
        let part = parts.iter_mut().find(|(flag, _)| *flag == pair[0]);
        let (Some((_, length)), Some(Ok(asked))) = (part, pair.get(1).map(|number| number.parse())) else {
            eprintln!("{USAGE}");
            return ExitCode::from(64);
        };
        *length = asked;
    }
    let [small, large, dumps, idle, loads, kills, compactions, million] = parts.map(|(_, length)| length);
    // Every part runs, whatever became of the one before.
    let good = [
        (small + large > 0).then(|| heavy::run(small, large)),
        (dumps > 0).then(|| dumping::run(dumps)),
        (idle > 0).then(|| idle::run(idle)),
        (loads > 0).then(|| loading::run(loads)),
        (kills > 0).then(|| kills::run(kills)),
        (compactions > 0).then(|| compaction::run(compactions)),
        (million > 0).then(|| million::run(million)),
    ];
    if good.contains(&Some(false)) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Three nodes, as users run them.
fn cluster() -> Cluster {
    let mut cluster = Cluster::prepare(3);
    cluster.run_args.clear();
    cluster.start_all();
    cluster.wait_healthy();
    cluster
}

/// Whether the cluster is well and its term still this one; says so, and what the nodes said if it is not.
fn same_term(cluster: &Cluster, before: u64) -> bool {
    let after = cluster.wait_healthy().term();
    println!("  term before {before}, after {after}");
    if before != after {
        for (number, node) in cluster.nodes.iter().enumerate() {
            println!("what {} said:\n{}", node.name, cluster.log(number));
        }
    }
    before == after
}
