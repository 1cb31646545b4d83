//! The faults of a plan, drawn ahead. Each kind has its own random numbers and its own pace: the others do not move when one is left out.

use std::collections::BTreeSet;

use fastrand::Rng;

use crate::fault::{Cut, Fault, FaultKind, Moment, Planned, Target};
use crate::network::LinkQuality;
use crate::plan::stream;

/// Within which bounds.
pub(crate) struct Scope {
    pub(crate) node_count: usize,
    /// Nothing before this, but for wipes: in most runs the cluster is formed by then.
    pub(crate) quiet_us: u64,
    pub(crate) end_us: u64,
    pub(crate) election_us: u64,
    /// Mean time between two faults of any kind.
    pub(crate) every_us: u64,
}

/// How often a kind happens beside the others; 0: it is no event.
fn weight(kind: FaultKind) -> u64 {
    match kind {
        FaultKind::Kills | FaultKind::Cuts => 8,
        FaultKind::FullDisks => 6,
        FaultKind::PowerCuts | FaultKind::Pauses | FaultKind::SlowSyncs => 4,
        FaultKind::Resets | FaultKind::Weather | FaultKind::Replays => 4,
        FaultKind::SyncErrors | FaultKind::CrashLoops | FaultKind::LateTicks | FaultKind::RefusedDials => 2,
        FaultKind::WriteErrors | FaultKind::Wipes => 1,
        FaultKind::Loss | FaultKind::Disorder | FaultKind::Delays | FaultKind::Clocks | FaultKind::Queues | FaultKind::LateStarts => 0,
    }
}

pub(crate) fn draw(seed: u64, kinds: &BTreeSet<FaultKind>, scope: &Scope) -> Vec<Planned> {
    // Each seed has its own favourites.
    let mut rng = stream(seed, "favourites");
    let favours = FaultKind::ALL.map(|kind| (kind, weight(kind) * rng.u64(1..=4)));
    let weight_sum: u64 = favours.iter().filter(|(kind, _)| kinds.contains(kind)).map(|(_, weight)| weight).sum();
    let mut faults = Vec::new();
    for (kind, weight) in favours.into_iter().filter(|(kind, weight)| kinds.contains(kind) && *weight > 0) {
        let mut rng = stream(seed, kind.name());
        let mean_us = scope.every_us * weight_sum / weight;
        // A wipe before the cluster is formed is another matter than one after.
        let mut at_us = if kind == FaultKind::Wipes { 0 } else { scope.quiet_us };
        loop {
            at_us += rng.u64(1..=2 * mean_us);
            if at_us >= scope.end_us {
                break;
            }
            let fault = draw_one(kind, scope, &mut rng);
            let longer_us = rng.u64(300_000..2_000_000);
            if let Fault::Cut { cut: Cut::Isolate(target @ Target::Leader) | Cut::Mute(target @ Target::Leader), for_us } = &fault {
                // Perhaps a save of the leader's ends only when another leads and its log has been cut.
                let sync_us = for_us + longer_us;
                faults.push(Planned { at_us, fault: Fault::SlowSyncs { target: *target, sync_us, count: 1 } });
            }
            faults.push(Planned { at_us, fault });
        }
    }
    faults.sort_by_key(|planned| planned.at_us);
    faults
}

fn draw_one(kind: FaultKind, scope: &Scope, rng: &mut Rng) -> Fault {
    let node_count = scope.node_count;
    let anybody = |rng: &mut Rng| Target::Node(rng.usize(0..node_count));
    let somebody = |rng: &mut Rng| if rng.u32(0..3) == 0 { Target::Leader } else { Target::Node(rng.usize(0..node_count)) };
    let down_us = |rng: &mut Rng| rng.u64(10_000..2_000_000);
    match kind {
        FaultKind::Kills if rng.u32(0..6) == 0 => Fault::KillAsker { delay_us: rng.u64(1_000..60_000), down_us: rng.u64(500..10_000) },
        FaultKind::Kills => Fault::Kill {
            target: if rng.u32(0..8) == 0 { Target::All } else { somebody(rng) },
            moment: if rng.bool() { Moment::AtStep(rng.u64(0..12)) } else { Moment::Now },
            down_us: down_us(rng),
        },
        // What an hour of bad luck may never come to: these wait for their moment, whoever comes to it.
        FaultKind::PowerCuts if rng.u32(0..4) == 0 => Fault::PowerCutInInstall { steps: rng.u64(0..3), down_us: down_us(rng) },
        FaultKind::PowerCuts if rng.u32(0..6) == 0 => Fault::PowerCutInTruncation { down_us: down_us(rng) },
        FaultKind::PowerCuts => Fault::PowerCut {
            target: if rng.u32(0..3) == 0 { Target::All } else { somebody(rng) },
            moment: match rng.u32(0..6) {
                0 => Moment::Now,
                1 => Moment::AtStep(rng.u64(0..12)),
                _ => Moment::InSync(rng.u64(0..1000)),
            },
            down_us: (0..node_count).map(|_| down_us(rng)).collect(),
        },
        FaultKind::CrashLoops => Fault::CrashLoop {
            target: if rng.u32(0..4) == 0 { Target::All } else { somebody(rng) },
            steps: (0..rng.usize(1..6)).map(|_| rng.u64(0..10)).collect(),
            down_us: rng.u64(10_000..200_000),
        },
        FaultKind::Pauses => Fault::Pause { target: somebody(rng), for_us: rng.u64(10_000..3_000_000) },
        FaultKind::LateTicks => {
            Fault::LateTicks { target: somebody(rng), late_us: rng.u64(1_000..200_000), for_us: rng.u64(100_000..3_000_000) }
        }
        FaultKind::Cuts => {
            // About as long as others take to elect a leader, or any time.
            let for_us = if rng.u32(0..3) == 0 { rng.u64(scope.election_us..2 * scope.election_us) } else { rng.u64(100_000..3_000_000) };
            Fault::Cut { cut: draw_cut(node_count, rng), for_us }
        }
        FaultKind::Resets => Fault::Reset { from: somebody(rng), to: if rng.u32(0..3) == 0 { Target::All } else { anybody(rng) } },
        FaultKind::RefusedDials => Fault::RefuseDials { target: somebody(rng), for_us: rng.u64(100_000..3_000_000) },
        FaultKind::Weather => {
            let quality = LinkQuality {
                base_us: rng.u64(0..200_000),
                jitter_us: rng.u64(1_000..200_000),
                loss_permille: rng.u32(0..500),
                twice_permille: rng.u32(0..300),
                bytes_per_ms: rng.bool().then(|| rng.u64(5..200)),
            };
            Fault::Weather { from: somebody(rng), to: anybody(rng), quality, for_us: rng.u64(100_000..3_000_000) }
        }
        FaultKind::Replays => Fault::Replay {
            from: somebody(rng),
            to: if rng.bool() { Target::All } else { anybody(rng) },
            pick: rng.u64(..),
            count: rng.u32(1..20),
        },
        FaultKind::SlowSyncs => Fault::SlowSyncs {
            target: somebody(rng),
            sync_us: rng.u64(1_000..3_000_000),
            count: if rng.bool() { 1 } else { rng.u32(1..20) },
        },
        FaultKind::SyncErrors => Fault::SyncError {
            target: somebody(rng),
            after_syncs: rng.u64(0..10),
            down_us: rng.u64(10_000..500_000),
            power_cut_us: rng.bool().then(|| rng.u64(20_000..1_500_000)),
        },
        FaultKind::WriteErrors => {
            Fault::WriteError { target: somebody(rng), after_writes: rng.u64(0..20), down_us: rng.u64(10_000..500_000) }
        }
        FaultKind::FullDisks => {
            // Long enough that the log needs another file, which it cannot have.
            // A leader gives way, so it is followers whose saves come to wait.
            let target = match rng.u32(0..6) {
                0 => Target::All,
                1 => somebody(rng),
                _ => Target::BehindLeader(rng.usize(1..node_count)),
            };
            let longest_us = if target == Target::All { 3_000_000 } else { 8_000_000 };
            let free = if rng.bool() { rng.u64(0..100) } else { rng.u64(0..5_000) };
            Fault::FullDisk { target, free, for_us: rng.u64(1_000_000..longest_us) }
        }
        FaultKind::Wipes => Fault::Wipe { node: rng.usize(0..node_count), down_us: rng.u64(10_000..2_000_000) },
        FaultKind::Loss | FaultKind::Disorder | FaultKind::Delays | FaultKind::Clocks | FaultKind::Queues | FaultKind::LateStarts => {
            unreachable!("{kind} is there all the time")
        }
    }
}

fn draw_cut(node_count: usize, rng: &mut Rng) -> Cut {
    let mut order: Vec<usize> = (0..node_count).collect();
    rng.shuffle(&mut order);
    let somebody = |rng: &mut Rng| if rng.u32(0..4) > 0 { Target::Leader } else { Target::Node(rng.usize(0..node_count)) };
    match rng.u32(0..12) {
        // A leader that is cut off alone takes writes that are never committed: its log is cut when it comes back.
        0..4 => Cut::Isolate(somebody(rng)),
        4 => Cut::Mute(somebody(rng)),
        5 => Cut::Deaf(somebody(rng)),
        6 => Cut::Pair { from: somebody(rng), to: Target::Node(rng.usize(0..node_count)), both_ways: rng.bool() },
        7..10 => Cut::Halves { order, first: rng.usize(1..node_count), leader_first: rng.bool() },
        10 => Cut::Bridge { order },
        _ => Cut::MajoritiesRing { order },
    }
}
