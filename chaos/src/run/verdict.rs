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
use crate::ending::Ending;
use crate::fault::effect::Effect;

/// What was broken.
pub(crate) struct Broken<'a> {
    /// By fault as it was written: how often, and what each did.
    pub(crate) kinds: BTreeMap<String, (u32, Vec<Effect>)>,
    pub(crate) steps: &'a [Step],
}

/// A line of the table of faults.
#[derive(Serialize)]
struct FaultLine {
    fault: String,
    injected: u32,
    /// How many of them did something.
    had_effect: usize,
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
    pub(crate) fn of(scenario: &Scenario, seed: u64, history: &History, broken: &Broken<'_>, leaders: usize, found: Findings) -> Result {
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
        reasons.extend(vacuous(scenario, broken, leaders, &sight).into_iter().map(|why| (Ending::Inconclusive, why)));
        // Their codes are in this order: what must never happen, what nobody knows, what has not happened, what was not looked for.
        reasons.sort_by_key(|(ending, _)| *ending as u8);
        let ending = reasons.first().map_or(Ending::Passed, |(ending, _)| *ending);
        let faults = broken
            .kinds
            .iter()
            .map(|(fault, (injected, effects))| FaultLine {
                fault: fault.clone(),
                injected: *injected,
                had_effect: effects.iter().filter(|effect| !effect.is_nothing()).count(),
                effect: effects.iter().fold(Effect::default(), |sum, effect| sum.with(effect)),
            })
            .collect();
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
            leaders,
            faults,
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
fn vacuous(scenario: &Scenario, broken: &Broken<'_>, leaders: usize, sight: &Sight) -> Vec<String> {
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
    let had_effect = |name: &str| {
        let of_it = broken.kinds.iter().filter(|(fault, _)| fault.split(' ').next() == Some(name));
        of_it.flat_map(|(_, (_, effects))| effects).any(|effect| !effect.is_nothing())
    };
    let mut planned: Vec<&str> = broken.steps.iter().map(|step| step.fault.kind()).collect();
    planned.sort_unstable();
    planned.dedup();
    why.extend(planned.iter().filter(|name| !had_effect(name)).map(|name| format!("no {name} had any effect")));
    if broken.steps.is_empty() && !scenario.faults.is_empty() {
        why.push("the run was too short for any fault".to_owned());
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
            writeln!(f, "  {:<28} {:>3} x, {:>3} with effect: {}", line.fault, line.injected, line.had_effect, in_words(&line.effect))?;
        }
        let Sight { ok, fail, unknown, unknown_applied, contended_reads, longest_gap_ms } = &self.sight;
        writeln!(f, "{} operations: {ok} ok, {fail} failed, {unknown} unknown ({unknown_applied} of them applied)", self.operations)?;
        writeln!(f, "{contended_reads} contended reads")?;
        writeln!(f, "{} leaders seen; longest time without success {longest_gap_ms} ms; judged in {} ms", self.leaders, self.checked_ms)?;
        writeln!(f, "{}", self.verdict)?;
        for reason in &self.reasons {
            writeln!(f, "  {}", reason.trim_end())?;
        }
        Ok(())
    }
}
