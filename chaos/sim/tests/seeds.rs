//! Whole clusters from seeds. Every seed that ever failed is a named test below.

use sim::{Plan, Report, run};

fn first_seed() -> u64 {
    // Fresh seeds on request; the printed line replays them.
    std::env::var("SIM_FIRST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1)
}

fn sum(reports: &[Report], count: impl Fn(&Report) -> u64) -> u64 {
    reports.iter().map(count).sum()
}

fn run_range(node_count: usize, seeds: u64) {
    let first = first_seed();
    println!("seeds={first}..{} nodes={node_count} (SIM_FIRST_SEED={first} replays)", first + seeds - 1);
    let reports: Vec<Report> = (first..first + seeds).map(|seed| run(&Plan::draw(seed, node_count))).collect();
    let total = |count: fn(&Report) -> u64| sum(&reports, count);
    println!(
        "acknowledged={} retries={} kills={} cuts={} pauses={} leader_changes={} snapshots={} installs={}",
        total(|r| r.acknowledged),
        total(|r| r.retries),
        total(|r| r.kills),
        total(|r| r.cuts),
        total(|r| r.pauses),
        total(|r| r.leader_changes),
        total(|r| r.snapshots),
        total(|r| r.installs)
    );
    // A range in which nothing happened has shown nothing.
    let counts: [fn(&Report) -> u64; 8] = [
        |r| r.acknowledged,
        |r| r.retries,
        |r| r.kills,
        |r| r.cuts,
        |r| r.pauses,
        |r| r.leader_changes.saturating_sub(1),
        |r| r.snapshots,
        |r| r.installs,
    ];
    for count in counts {
        assert!(total(count) > 0, "inconclusive: one of these never happened");
    }
}

#[test]
fn three_nodes_keep_every_acknowledged_append_once_and_in_order() {
    run_range(3, 150);
}

#[test]
fn five_nodes_keep_every_acknowledged_append_once_and_in_order() {
    run_range(5, 50);
}

#[test]
fn a_quiet_cluster_elects_one_leader_and_keeps_it() {
    for seed in 1..=20 {
        let report = run(&Plan::calm(seed, 3));
        assert_eq!((report.leader_changes, report.retries > 100), (1, false), "{report:?}");
        assert!(report.acknowledged > 100, "{report:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in [3, 14, 159] {
        assert_eq!(run(&Plan::draw(seed, 3)), run(&Plan::draw(seed, 3)));
    }
}
