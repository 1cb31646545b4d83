//! The simulated world does what its plan says: every sort of fault has its effect, and where none is planned there is none.

use sim::{Effect, Effects, Fault, FaultKind, Plan, Profile, Reached, run};

fn effects(profile: Profile, seeds: u64) -> Effects {
    let mut sum = Effects::default();
    for seed in 1..=seeds {
        let report = run(&Plan::draw(seed, 5, profile)).unwrap_or_else(|failure| panic!("{failure}"));
        sum += &report.effects;
    }
    sum
}

#[test]
fn every_fault_has_its_effect() {
    let mut sum = effects(Profile::Storm, 15);
    sum += &effects(Profile::Network, 10);
    sum += &effects(Profile::Disk, 20);
    println!("{sum:?}");
    // A recovery needs room only when it begins a new segment; wipes are few, and `tests/seeds.rs` counts them.
    let missing: Vec<&str> = Effect::ALL.into_iter().filter(|effect| sum[*effect] == 0).map(Effect::name).collect();
    assert!(missing.iter().all(|name| ["recovery-full", "wiped"].contains(name)), "never happened: {missing:?}");
}

/// How often each rare path was taken in storms, whose kills and power cuts are none, or only those that wait for their moment. The same
/// seeds every time: others may miss a path by chance.
fn reached_by_waiting(waiting: bool) -> Reached {
    let mut reached = Reached::default();
    for seed in 1..=200 {
        let mut plan = Plan::draw(seed, 5, Profile::Storm);
        plan.faults.retain(|planned| match planned.fault {
            Fault::KillAsker { .. } | Fault::PowerCutInInstall { .. } | Fault::PowerCutInTruncation { .. } => waiting,
            _ => !matches!(planned.fault.kind(), FaultKind::Kills | FaultKind::PowerCuts),
        });
        reached.add(&run(&plan).unwrap_or_else(|failure| panic!("{failure}")).reached);
    }
    reached
}

#[test]
fn faults_that_wait_for_their_moment_come_to_it() {
    let (without, with) = (reached_by_waiting(false), reached_by_waiting(true));
    for path in [
        "a follower is answered for a read of its past life",
        "an installation is finished at the next start",
        "a crash meets a cut of the log that is not durable",
    ] {
        let count = |reached: &Reached| reached.counts().find(|(name, _)| *name == path).map_or(0, |(_, count)| count);
        println!("{} x without, {} x with: {path}", count(&without), count(&with));
        assert!(count(&without) < count(&with), "no more often: {path}");
    }
}

#[test]
fn a_calm_world_leaves_everybody_alone() {
    assert_eq!(effects(Profile::Calm, 5), Effects::default());
}

#[test]
fn leaving_out_one_kind_leaves_the_others_as_they_were() {
    let plan = Plan::draw(9, 5, Profile::Storm);
    for kind in FaultKind::ALL {
        let less = plan.without(kind);
        assert!(less.faults.iter().all(|planned| planned.fault.kind() != kind));
        let others = plan.faults.iter().filter(|planned| planned.fault.kind() != kind);
        assert!(others.eq(less.faults.iter()), "{kind}");
    }
    let seconds = plan.faulty_us as f64 / 1e6;
    assert!(plan.faults.len() as f64 / seconds >= 1.0, "at least one fault per second");
}

/// Effects, and the only kinds of faults that have them.
const CAUSES: [(&[FaultKind], &[Effect]); 16] = [
    (&[FaultKind::PowerCuts], &[Effect::BlackOut]),
    (&[FaultKind::PowerCuts, FaultKind::CrashLoops, FaultKind::SyncErrors], &[Effect::PowerLost, Effect::LostSector]),
    (&[FaultKind::CrashLoops], &[Effect::RecoveryCut]),
    (&[FaultKind::Pauses], &[Effect::Paused]),
    (&[FaultKind::LateTicks, FaultKind::Clocks], &[Effect::LateTick]),
    (&[FaultKind::Cuts], &[Effect::Cut]),
    (&[FaultKind::Resets, FaultKind::RefusedDials], &[Effect::Reset]),
    (&[FaultKind::RefusedDials], &[Effect::TurnedAway]),
    (&[FaultKind::Weather], &[Effect::Weather]),
    (&[FaultKind::Disorder, FaultKind::Weather], &[Effect::TwiceMessage]),
    (&[FaultKind::Replays], &[Effect::Replayed]),
    (&[FaultKind::SlowSyncs], &[Effect::SlowSync]),
    (&[FaultKind::SyncErrors], &[Effect::SyncError]),
    (&[FaultKind::WriteErrors], &[Effect::WriteError]),
    (&[FaultKind::FullDisks], &[Effect::FullDisk, Effect::RecoveryFull]),
    (&[FaultKind::Wipes], &[Effect::Wiped]),
];

#[test]
fn what_is_left_out_has_no_effect() {
    for (profile, seed) in (1..=3).map(|seed| (Profile::Storm, seed)).chain((1..=12).map(|seed| (Profile::Crash, seed))) {
        let plan = Plan::draw(seed, 3, profile);
        for (kinds, effects) in CAUSES {
            let less = kinds.iter().fold(plan.clone(), |plan, kind| plan.without(*kind));
            let report = run(&less).unwrap_or_else(|failure| panic!("{failure}"));
            for effect in effects {
                assert_eq!(report.effects[*effect], 0, "{profile}, seed {seed} without {kinds:?}: {}", effect.name());
            }
        }
    }
}
