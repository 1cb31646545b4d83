//! What came of a run, in words, as `result.json`, and as an exit code.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Instant;

use checker::{History, Limits, Verdict};
use serde::Serialize;

use super::findings::Findings;
use super::plan::{self, Step};
use super::scenario::Scenario;
use super::sight::Sight;
use super::workload::Workload;
use crate::ending::Ending;
use crate::fault::effect::Effect;

/// What became of a step of the plan.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    /// The run was over before.
    NotBegun,
    /// There was nothing to break just then.
    NotPossible(String),
    /// It did this.
    Did(Effect),
}

/// What was broken.
pub(crate) struct Broken<'a> {
    pub(crate) steps: &'a [Step],
    /// Of each step.
    pub(crate) outcomes: &'a [Outcome],
}

impl Broken<'_> {
    fn each(&self) -> impl Iterator<Item = (&Step, &Outcome)> {
        self.steps.iter().zip(self.outcomes)
    }

    /// The table of faults.
    fn lines(&self) -> Vec<FaultLine> {
        let mut lines: BTreeMap<String, FaultLine> = BTreeMap::new();
        for (step, outcome) in self.each() {
            let fault = step.fault.to_string();
            let line = lines.entry(fault.clone()).or_insert(FaultLine { fault, ..FaultLine::default() });
            match outcome {
                Outcome::NotBegun => line.not_begun += 1,
                Outcome::NotPossible(_) => line.not_possible += 1,
                Outcome::Did(effect) => {
                    line.injected += 1;
                    line.had_effect += usize::from(!effect.is_nothing());
                    line.effect = line.effect.with(effect);
                }
            }
        }
        lines.into_values().collect()
    }
}

/// A line of the table of faults.
#[derive(Default, Serialize)]
struct FaultLine {
    fault: String,
    injected: usize,
    /// How many of them did something.
    had_effect: usize,
    /// How many had nothing to break.
    not_possible: usize,
    /// For how many there was no time.
    not_begun: usize,
    effect: Effect,
}

/// `result.json`.
#[derive(Serialize)]
pub(crate) struct Result {
    verdict: &'static str,
    exit_code: u8,
    seed: u64,
    operations: usize,
    #[serde(flatten)]
    sight: Sight,
    /// Writes of unknown outcome that were settled by another client later.
    settled: u64,
    leaders: usize,
    faults: Vec<FaultLine>,
    checked_ms: u64,
    /// Why it is not passed.
    reasons: Vec<String>,
    #[serde(skip)]
    ending: Ending,
}

impl Result {
    /// Judges. The worst that is found decides.
    pub(crate) fn of(
        scenario: &Scenario,
        seed: u64,
        history: &History,
        broken: &Broken<'_>,
        leaders: usize,
        settled: u64,
        found: Findings,
    ) -> Result {
        let begun = Instant::now();
        let judged = checker::check(history, &Limits::default());
        let checked_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let sight = Sight::of(history);
        let Findings(mut reasons) = found;
        match judged {
            Verdict::Linearizable => {}
            Verdict::Violation(violation) => reasons.insert(0, (Ending::Violation, violation.to_string())),
            Verdict::Unknown(why) => reasons.push((Ending::Unknown, why.to_string())),
        }
        reasons.extend(vacuous(scenario, broken, leaders, settled, &sight).into_iter().map(|why| (Ending::Inconclusive, why)));
        // Their codes are in this order: what must never happen, what nobody knows, what has not happened, what was not looked for.
        reasons.sort_by_key(|(ending, _)| *ending as u8);
        let ending = reasons.first().map_or(Ending::Passed, |(ending, _)| *ending);
        Result {
            verdict: match ending {
                Ending::Passed => "passed",
                Ending::Violation => "violation",
                Ending::Unknown => "unknown",
                Ending::Late => "late",
                _ => "inconclusive",
            },
            exit_code: ending as u8,
            seed,
            operations: history.ops().len(),
            sight,
            settled,
            leaders,
            faults: broken.lines(),
            checked_ms,
            reasons: reasons.into_iter().map(|(_, why)| why).collect(),
            ending,
        }
    }

    pub(crate) fn ending(&self) -> Ending {
        self.ending
    }
}

/// Why the run has shown nothing, if it has not.
fn vacuous(scenario: &Scenario, broken: &Broken<'_>, leaders: usize, settled: u64, sight: &Sight) -> Vec<String> {
    let mut why = Vec::new();
    if sight.ok == 0 {
        why.push("no call succeeded".to_owned());
    }
    if sight.contended_reads == 0 {
        why.push("no read was under way while its key was written".to_owned());
    }
    if plan::deposes(broken.steps) && leaders < 2 {
        why.push("leaders were hit, and no other leader was seen".to_owned());
    }
    if scenario.workload == Workload::Session && settled == 0 {
        why.push("no write of unknown outcome was settled later".to_owned());
    }
    let had_effect = |outcome: &Outcome| matches!(outcome, Outcome::Did(effect) if !effect.is_nothing());
    // What is drawn stands for its kind; what somebody has written down is meant itself.
    let had_kind = |name: &String| broken.each().any(|(step, outcome)| step.fault.kind() == name && had_effect(outcome));
    why.extend(scenario.faults.iter().filter(|name| !had_kind(name)).map(|name| format!("no {name} had any effect")));
    if scenario.faults.is_empty() {
        for (Step { at, fault, .. }, outcome) in broken.each().filter(|(_, outcome)| !had_effect(outcome)) {
            why.push(match outcome {
                Outcome::Did(_) => format!("`{fault}` at {at:?} had no effect"),
                Outcome::NotPossible(reason) => format!("`{fault}` at {at:?} was not possible: {reason}"),
                Outcome::NotBegun => format!("`{fault}` at {at:?} was never begun"),
            });
        }
    }
    why
}

/// An effect in words: `stopped_ms 2900, killed 1`.
pub(crate) fn in_words(effect: &Effect) -> String {
    let Ok(serde_json::Value::Object(fields)) = serde_json::to_value(effect) else { return String::new() };
    let words: Vec<String> = fields.iter().map(|(name, value)| format!("{name} {value}")).collect();
    if words.is_empty() { "no effect".into() } else { words.join(", ") }
}

impl fmt::Display for Result {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.faults {
            write!(f, "  {:<28} {:>3} x, {:>3} with effect: {}", line.fault, line.injected, line.had_effect, in_words(&line.effect))?;
            match line.not_possible + line.not_begun {
                0 => writeln!(f)?,
                vain => writeln!(f, "; and {vain} could not begin")?,
            }
        }
        let Sight { ok, fail, unknown, unknown_applied, contended_reads, longest_gap_ms } = &self.sight;
        writeln!(f, "{} operations: {ok} ok, {fail} failed, {unknown} unknown ({unknown_applied} of them applied)", self.operations)?;
        writeln!(f, "{contended_reads} contended reads")?;
        writeln!(f, "{} leaders seen; longest time without success {longest_gap_ms} ms; judged in {} ms", self.leaders, self.checked_ms)?;
        if self.settled > 0 {
            writeln!(f, "{} writes of unknown outcome were settled later", self.settled)?;
        }
        writeln!(f, "{}", self.verdict)?;
        for reason in &self.reasons {
            writeln!(f, "  {}", reason.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use checker::{Answer, Call, Op};

    use super::*;
    use crate::fault::Fault;

    /// A write, and a read beside it that shows it, or shows what nobody wrote.
    fn history(value: &[u8]) -> History {
        let (key, write) = (b"k".to_vec(), b"v".to_vec());
        let mut history = History::new();
        let ops = [
            Op::new(1, Call::Put { key: key.clone(), value: write }, 0).ok(100, Answer::Done),
            Op::new(2, Call::Get { key }, 50).ok(150, Answer::Value(Some(value.into()))),
        ];
        ops.into_iter().for_each(|op| history.push(op).expect("a good operation"));
        history
    }

    fn scenario(faults: &[&str], steps: &[Step], workload: Workload) -> Scenario {
        Scenario {
            name: "test".into(),
            nodes: 3,
            time: Duration::from_secs(60),
            workload,
            clients: 1,
            rate: 0,
            timeout: workload.timeout(),
            faults: faults.iter().map(|name| (*name).to_owned()).collect(),
            fault: steps.to_vec(),
            node_args: Vec::new(),
        }
    }

    fn step(words: &str) -> Step {
        let fault = Fault::parse(&words.split(' ').collect::<Vec<_>>()).expect("a fault");
        Step { at: Duration::from_secs(2), hold: Duration::from_millis(500), fault }
    }

    fn judged(scenario: &Scenario, value: &[u8], broken: &Broken<'_>, settled: u64, found: Findings) -> (Ending, String) {
        let result = Result::of(scenario, 7, &history(value), broken, 1, settled, found);
        (result.ending(), result.reasons.join("; "))
    }

    const NOTHING: Broken<'_> = Broken { steps: &[], outcomes: &[] };

    #[test]
    fn the_worst_decides_and_what_is_late_hides_no_violation() {
        let scenario = scenario(&[], &[], Workload::Register);
        let late = || Findings(vec![(Ending::Late, "not healthy after 30s".into())]);
        assert_eq!(judged(&scenario, b"v", &NOTHING, 0, Findings::default()), (Ending::Passed, String::new()));
        assert_eq!(judged(&scenario, b"v", &NOTHING, 0, late()), (Ending::Late, "not healthy after 30s".into()));
        let (ending, reasons) = judged(&scenario, b"phantom", &NOTHING, 0, late());
        assert!(ending == Ending::Violation && reasons.ends_with("; not healthy after 30s"), "{ending:?}: {reasons}");
        let mut bug = late();
        bug.wrong(["n1: panicked: this is a bug".to_owned()]);
        assert_eq!(judged(&scenario, b"v", &NOTHING, 0, bug).0, Ending::Violation);
    }

    #[test]
    fn a_kind_that_was_asked_for_and_did_nothing_is_noticed() {
        let scenario = scenario(&["kill", "loss"], &[], Workload::Register);
        let steps = [step("kill leader"), step("kill follower")];
        let did = Outcome::Did(Effect { killed: 1, ..Effect::default() });
        let broken = Broken { steps: &steps, outcomes: &[did, Outcome::NotPossible("no leader to aim at".into())] };
        assert_eq!(judged(&scenario, b"v", &broken, 0, Findings::default()), (Ending::Inconclusive, "no loss had any effect".into()));
        let table: Vec<(usize, usize)> = broken.lines().iter().map(|line| (line.had_effect, line.not_possible)).collect();
        assert_eq!(table, [(0, 1), (1, 0)]);
    }

    #[test]
    fn each_fault_of_a_file_must_do_something() {
        let steps = [step("kill n1"), step("kill n2"), step("kill n3"), step("kill n1")];
        let did = |killed: u64| Outcome::Did(Effect { killed, ..Effect::default() });
        let outcomes = [did(1), did(0), Outcome::NotPossible("it is down".into()), Outcome::NotBegun];
        let scenario = scenario(&[], &steps, Workload::Register);
        let (ending, reasons) = judged(&scenario, b"v", &Broken { steps: &steps, outcomes: &outcomes }, 0, Findings::default());
        let expected = "`kill n2` at 2s had no effect; `kill n3` at 2s was not possible: it is down; `kill n1` at 2s was never begun";
        assert_eq!((ending, reasons.as_str()), (Ending::Inconclusive, expected));
    }

    #[test]
    fn a_session_run_that_settles_nothing_has_shown_nothing() {
        let scenario = scenario(&[], &[], Workload::Session);
        let (ending, reasons) = judged(&scenario, b"v", &NOTHING, 0, Findings::default());
        assert_eq!((ending, reasons.as_str()), (Ending::Inconclusive, "no write of unknown outcome was settled later"));
        assert_eq!(judged(&scenario, b"v", &NOTHING, 1, Findings::default()).0, Ending::Passed);
    }
}
