//! Whole clusters from seeds. What a seed that failed had shown is a named test below, as a story: when plans are drawn otherwise its number
//! tells another.

use sim::{Effect, Fault, Moment, Plan, Planned, Profile, Report, Rest, Target};

fn run(plan: &Plan) -> Report {
    sim::run(plan).unwrap_or_else(|failure| panic!("{failure}"))
}

/// `cargo xtask test --seed N` says which; otherwise it is another one every time.
fn first_seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(1, |since| since.as_micros());
    let drawn = u64::try_from(now).unwrap_or(1) % 1_000_000_000;
    std::env::var("KVRAFT_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(drawn)
}

/// Rare paths that a hundred runs take many times.
const OFTEN_REACHED: [&str; 19] = [
    "a call is refused by the horizon",
    "a call that is in the log twice runs once",
    "a conflict is traced back over a boundary of terms",
    "a deposed leader is told so",
    "a leader steps down after a slow sync",
    "a leader that no majority answers steps down",
    "a read round is cut by a step-down",
    "a repeated call is answered from the table",
    "a second candidate of a term is refused",
    "a session makes room for another",
    "a session was evicted while its calls were in flight",
    "a snapshot is installed during appends",
    "a vote is refused while a leader lives",
    "a wiped disk is refused",
    "an append comes late, and shortens nothing",
    "an election ends without a winner",
    "promises are outlived by their term, unsaid",
    "the lowest unanswered number drops kept replies",
    "who waits for a write is told that leadership is lost",
];

/// What a range of this length may miss by chance. Everything else happens many times in it.
const RARE: [&str; 4] = ["early_wipes", "late_wipes", "waiting_saves", "overtaken_saves"];

type Count = fn(&Report) -> u64;

fn sum(reports: &[Report], count: impl Fn(&Report) -> u64) -> u64 {
    reports.iter().map(count).sum()
}

fn run_range(node_count: usize, seeds: u64) {
    let first = first_seed();
    println!("seeds={first}..{} nodes={node_count} (again with: KVRAFT_SEED={first})", first + seeds - 1);
    let reports: Vec<Report> = (first..first + seeds).map(|seed| run(&Plan::draw(seed, node_count, Profile::Default))).collect();
    let counts: [(&str, Count); 28] = [
        ("acknowledged", |r| r.acknowledged),
        ("reads", |r| r.reads),
        ("scans", |r| r.scans),
        ("retries", |r| r.retries),
        ("unknown", |r| r.unknown),
        ("not_done", |r| r.not_done),
        ("resumes", |r| r.resumes),
        ("settled", |r| r.settled),
        ("expired", |r| r.expired),
        ("fences", |r| r.fences),
        ("clerks_lost", |r| r.clerks_lost),
        ("clerk_cuts", |r| r.clerk_cuts),
        ("keys_alone", |r| r.keys_alone),
        ("kills", |r| r.kills),
        ("cuts", |r| r.cuts),
        ("pauses", |r| r.pauses),
        ("leader_changes", |r| r.leader_changes.saturating_sub(1)),
        ("snapshots", |r| r.snapshots),
        ("installs", |r| r.installs),
        ("early_wipes", |r| r.early_wipes),
        ("late_wipes", |r| r.late_wipes),
        ("full_disks", |r| r.full_disks),
        ("slow_syncs", |r| r.slow_syncs),
        ("resignations", |r| r.resignations),
        ("breaks", |r| r.breaks),
        ("batches", |r| r.batches),
        ("truncations", |r| r.truncations),
        ("overtaken_saves", |r| r.overtaken_saves),
    ];
    let line: Vec<String> = counts.iter().map(|(name, count)| format!("{name}={}", sum(&reports, count))).collect();
    println!("{}", line.join(" "));
    let mut reached = sim::Reached::default();
    reports.iter().for_each(|report| reached.add(&report.reached));
    reached.counts().for_each(|(path, count)| println!("{count:>6} x {path}"));
    // A range in which something never happened has shown nothing about it.
    for (name, count) in counts.into_iter().filter(|(name, _)| !RARE.contains(name)) {
        assert!(sum(&reports, count) > 0, "inconclusive: {name} is 0");
    }
    let (cuts, lost) = (sum(&reports, |r| r.effects[Effect::PowerLost]), sum(&reports, |r| r.effects[Effect::LostSector]));
    println!("{cuts} power cuts, {lost} sectors lost");
    // About one in six does, with those of idle machines and those that cut a recovery short; in a hundred seeds one in ten may.
    assert!(20 * lost >= cuts, "inconclusive: {cuts} power cuts have taken back {lost} sectors");
    let missing: Vec<&str> = reached.missing().filter(|path| OFTEN_REACHED.contains(path)).collect();
    assert!(missing.is_empty(), "inconclusive: never reached: {missing:?}");
    assert!(OFTEN_REACHED.iter().all(|path| sim::RARE_PATHS.contains(path)), "a path that is none");
}

#[test]
fn three_nodes_are_one_copy_whatever_happens() {
    run_range(3, 150);
}

#[test]
fn five_nodes_are_one_copy_whatever_happens() {
    run_range(5, 100);
}

/// Nothing but this happens.
fn story(seed: u64, faults: impl IntoIterator<Item = (u64, Fault)>) -> Plan {
    let planned = faults.into_iter().map(|(at_us, fault)| Planned { at_us, fault }).collect::<Vec<Planned>>();
    let kinds = planned.iter().map(|planned| planned.fault.kind()).collect();
    Plan { kinds, faults: planned, ..Plan::calm(seed, 3) }
}

/// Seed 743918408 of an earlier plan called that a mistake of the node: all were to be killed at one of their next steps, one came to it in a
/// sync, and stood still until the faults were over.
#[test]
fn a_step_that_ends_a_process_does_so_even_if_its_sync_returns_when_the_faults_are_over() {
    let (target, mut killed) = (Target::All, 0);
    for seed in 1..=100 {
        let slow = Fault::SlowSyncs { target, sync_us: 200_000, count: 20 };
        let kill = Fault::Kill { target, moment: Moment::AtStep(seed % 12), down_us: 50_000 };
        let pause = Fault::Pause { target, for_us: 1_000_000 };
        killed += run(&story(seed, [(7_600_000, slow), (7_700_000, kill), (7_900_000, pause)])).effects[Effect::Killed];
    }
    assert!(killed > 100, "{killed} were killed");
}

/// Seeds 1000584 and 1001809 of an earlier plan: who was left out, to stand still, was just then in a start that its disk cut short. It started
/// again, led, and no client reached it.
#[test]
fn who_is_left_out_to_stand_still_does_so_even_if_its_disk_lets_it_start_only_later() {
    for seed in 1..=20 {
        let cut = Fault::CrashLoop { target: Target::All, steps: vec![0, 0], down_us: 70_000 };
        let plan = story(seed, [(7_920_000, cut)]);
        let rest = vec![Rest::Paused; plan.node_count];
        let report = run(&Plan { rest, ..plan });
        assert!(report.effects[Effect::RecoveryCut] > 0, "{report:?}");
    }
}

#[test]
fn a_quiet_cluster_elects_one_leader_and_keeps_it() {
    for seed in 1..=20 {
        let report = run(&Plan::calm(seed, 3));
        assert_eq!((report.leader_changes, report.retries > 400), (1, false), "{report:?}");
        assert!(report.acknowledged > 30 && report.calls > 110, "{report:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in [3, 14, 159] {
        if let Err(failure) = sim::run_twice(&Plan::draw(seed, 3, Profile::Default)) {
            panic!("{failure}");
        }
    }
}
