//! Which fault when: drawn from the seed, before the run begins. What the faults then really did is in `faults.jsonl`.

use std::time::Duration;

use fastrand::Rng;
use serde::Serialize;
use serde::ser::SerializeStruct as _;

use crate::fault::Fault;

/// A fault, when it begins and how long it stays.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Step {
    pub(crate) at: Duration,
    pub(crate) hold: Duration,
    pub(crate) fault: Fault,
}

impl Serialize for Step {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let mut line = serializer.serialize_struct("Step", 3)?;
        line.serialize_field("at_ms", &ms(self.at))?;
        line.serialize_field("for_ms", &ms(self.hold))?;
        line.serialize_field("inject", &self.fault.to_string())?;
        line.end()
    }
}

/// A kind of fault that may be drawn.
pub(crate) struct Kind {
    /// As `--faults` has it.
    pub(crate) name: &'static str,
    /// The forms that it takes.
    forms: &'static [&'static str],
    /// Whether it takes so much of the cluster that another fault beside it would prove nothing: both of them would have to be excused.
    alone: bool,
}

/// In the order of the help.
pub(crate) const KINDS: [Kind; 17] = [
    Kind { name: "kill", forms: &["kill leader", "kill leader", "kill follower", "kill minority", "kill all"], alone: true },
    Kind { name: "restart", forms: &["restart leader", "restart one", "restart all"], alone: true },
    Kind { name: "crash-loop", forms: &["crash-loop one", "crash-loop leader"], alone: true },
    Kind { name: "pause", forms: &["pause leader", "pause leader", "pause follower", "pause minority"], alone: false },
    Kind {
        name: "partition",
        forms: &[
            "partition leader",
            "partition halves",
            "partition minority",
            "partition ring",
            "partition bridge",
            "partition clients leader",
        ],
        alone: false,
    },
    Kind { name: "one-way", forms: &["one-way leader follower", "one-way follower leader"], alone: false },
    Kind { name: "loss", forms: &["loss 5% all", "loss 30% one"], alone: false },
    Kind { name: "reset", forms: &["reset one", "reset leader"], alone: false },
    Kind { name: "delay", forms: &["delay 20ms all", "delay 100ms one"], alone: false },
    Kind { name: "jitter", forms: &["jitter 30ms all"], alone: false },
    Kind { name: "reorder", forms: &["reorder 10% all"], alone: false },
    Kind { name: "duplicate", forms: &["duplicate 10% all"], alone: false },
    Kind { name: "rate", forms: &["rate 128KiB one"], alone: false },
    Kind { name: "truncate", forms: &["truncate follower"], alone: true },
    Kind { name: "flip", forms: &["flip follower"], alone: true },
    Kind { name: "disk-full", forms: &["disk-full one", "disk-full leader"], alone: true },
    Kind { name: "wipe", forms: &["wipe follower"], alone: true },
];

/// What a run does unless told.
pub(crate) const DEFAULT_KINDS: [&str; 3] = ["kill", "pause", "partition"];

/// The kind of this name.
pub(crate) fn kind(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.name == name)
}

/// Clients work so long undisturbed at first: what is broken later must have been whole.
const QUIET: Duration = Duration::from_secs(2);
/// The last fault ends so long before the clients do: they see the cluster come back.
const AFTERWARDS: Duration = Duration::from_secs(1);

impl Kind {
    /// The forms that can break something among so many nodes.
    fn faults(&self, nodes: usize) -> Vec<Fault> {
        let fault = |form: &&str| Fault::parse(&form.split(' ').collect::<Vec<_>>()).expect("our own words");
        self.forms.iter().map(fault).filter(|fault| fault.check(nodes, 1).is_ok()).collect()
    }

    /// Whether there is any.
    pub(crate) fn fits(&self, nodes: usize) -> bool {
        !self.faults(nodes).is_empty()
    }
}

/// A shorter fault is over before anybody has noticed.
const HOLD_MIN: Duration = Duration::from_millis(300);

/// What each of so many kinds has of a run, with the pause behind it, if all of them are to come.
fn share(kinds: usize, time: Duration) -> Duration {
    time.saturating_sub(QUIET + AFTERWARDS) / u32::try_from(kinds.max(1)).unwrap_or(u32::MAX)
}

/// What a run takes in which so many kinds come.
pub(crate) fn time_min(kinds: usize) -> Duration {
    QUIET + AFTERWARDS + HOLD_MIN * 3 / 2 * u32::try_from(kinds).unwrap_or(u32::MAX)
}

/// Draws a run of this length. Every kind comes, and none comes twice as often as another.
pub(crate) fn draw(names: &[String], nodes: usize, time: Duration, seed: u64) -> Vec<Step> {
    let mut rng = Rng::with_seed(seed);
    let known = names.iter().filter_map(|name| kind(name)).map(|kind| (kind, kind.faults(nodes)));
    let kinds: Vec<(&Kind, Vec<Fault>)> = known.filter(|(_, faults)| !faults.is_empty()).collect();
    let mut steps = Vec::new();
    let mut deck: Vec<&(&Kind, Vec<Fault>)> = Vec::new();
    let share = share(kinds.len(), time);
    let (mut at, end) = (QUIET, time.saturating_sub(AFTERWARDS));
    while !kinds.is_empty() {
        if deck.is_empty() {
            deck = kinds.iter().collect();
            rng.shuffle(&mut deck);
        }
        let Some((drawn, faults)) = deck.pop() else { break };
        // In a short run faults are short too, so that there are several.
        let hold = Duration::from_millis(rng.u64(700..4_000)).min(time / 8).min(share * 2 / 3);
        if at + hold > end {
            break;
        }
        let fault = rng.choice(faults).expect("only such kinds are drawn").clone();
        steps.push(Step { at, hold, fault });
        // Sometimes the next begins before this has ended.
        let overlaps = !drawn.alone && deck.last().is_some_and(|(next, _)| !next.alone) && rng.u32(..3) == 0;
        at += if overlaps { hold / 2 } else { hold + Duration::from_millis(rng.u64(200..1_500)).min(time / 16).min(share / 3) };
    }
    steps
}

/// Whether one of these replaces the leader, if it does what it is meant to.
pub(crate) fn deposes(steps: &[Step]) -> bool {
    // Shorter than an election timeout, and nobody notices.
    steps.iter().any(|step| step.fault.deposes() && step.hold >= Duration::from_secs(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<String> {
        KINDS.iter().map(|kind| kind.name.to_owned()).collect()
    }

    #[test]
    fn a_seed_gives_one_plan() {
        let time = Duration::from_secs(60);
        assert_eq!(draw(&all(), 5, time, 7), draw(&all(), 5, time, 7));
        assert_ne!(draw(&all(), 5, time, 7), draw(&all(), 5, time, 8));
    }

    #[test]
    fn every_kind_is_drawn_and_every_form_is_a_fault() {
        let steps = draw(&all(), 5, Duration::from_secs(120), 7);
        for kind in &KINDS {
            assert!(steps.iter().any(|step| step.fault.kind() == kind.name), "{} in {steps:?}", kind.name);
            for form in kind.forms {
                Fault::parse(&form.split(' ').collect::<Vec<_>>()).expect(form);
            }
        }
    }

    #[test]
    fn a_run_that_is_long_enough_for_all_kinds_has_all_kinds() {
        for (count, seed) in (1..=KINDS.len()).flat_map(|count| (0..50).map(move |seed| (count, seed))) {
            let (names, time) = (&all()[..count], time_min(count).max(Duration::from_secs(5)));
            let steps = draw(names, 5, time, seed);
            for name in names {
                assert!(steps.iter().any(|step| step.fault.kind() == name), "{name} in {time:?} from seed {seed}: {steps:?}");
            }
            assert!(steps.iter().all(|step| step.hold >= HOLD_MIN), "{steps:?}");
        }
    }

    #[test]
    fn faults_begin_after_a_quiet_time_and_end_before_the_clients_do() {
        for seed in 0..200 {
            let time = Duration::from_secs(5 + seed % 60);
            let steps = draw(&all(), 1 + usize::try_from(seed % 7).expect("a few"), time, seed);
            assert!(!steps.is_empty(), "{time:?}");
            assert!(steps.iter().all(|step| step.at >= QUIET && step.at + step.hold <= time - AFTERWARDS), "{steps:?}");
        }
    }

    #[test]
    fn what_takes_too_much_of_a_cluster_comes_alone() {
        for seed in 0..200 {
            let steps = draw(&all(), 5, Duration::from_secs(120), seed);
            for pair in steps.windows(2).filter(|pair| pair[1].at < pair[0].at + pair[0].hold) {
                for step in pair {
                    let kind = kind(step.fault.kind()).expect("a kind");
                    assert!(!kind.alone, "{pair:?}");
                }
            }
        }
    }
}
