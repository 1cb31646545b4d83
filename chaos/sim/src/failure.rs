//! A run that failed, as a value. A check that finds a rule broken leaves by unwinding, from however deep: so do the assertions inside
//! nodes, which know nothing of simulations. `catch` makes one value of both.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use crate::trace::Seconds;

/// What is wrong with a run. Written out it begins with its events and ends with the rule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// Of its plan.
    pub seed: u64,
    /// Which sort of promise was broken.
    pub kind: FailureKind,
    /// Which one; the same words whenever the same rule breaks, so that a smaller run can be asked to break it again. An assertion of a
    /// node is named by its place in the source.
    pub rule: String,
    /// What was seen, with its values.
    pub detail: String,
    /// When, microseconds of virtual time.
    pub at_us: u64,
    /// What happened before, the newest last, if somebody asked (`run` does).
    pub last_events: Vec<String>,
}

/// The sorts of failures, the worst first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum FailureKind {
    /// Something happened that must never happen.
    Safety,
    /// Something did not happen in time, though nothing was in its way.
    Liveness,
    /// Nothing is known to be wrong, but the history was too hard to judge.
    Unjudged,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            FailureKind::Safety => "safety",
            FailureKind::Liveness => "liveness",
            FailureKind::Unjudged => "not judged",
        };
        self.last_events.iter().try_for_each(|event| writeln!(f, "{event}"))?;
        write!(f, "seed {} at {} s, {kind}: {}: {}", self.seed, Seconds(self.at_us), self.rule, self.detail)
    }
}

impl std::error::Error for Failure {}

/// What was wrong, before anybody has said when and where.
#[derive(Debug)]
pub(crate) struct Broken {
    pub(crate) kind: FailureKind,
    pub(crate) rule: String,
    pub(crate) detail: String,
}

/// Ends the run: this rule is broken.
pub(crate) fn broken(kind: FailureKind, rule: &str, detail: String) -> ! {
    // Unlike `panic_any` this asks no panic hook to say anything.
    panic::resume_unwind(Box::new(Broken { kind, rule: rule.into(), detail }))
}

/// A rule of safety and what is said when it is broken: `must!(leader == id, "election safety", "{term} has two leaders")`.
macro_rules! must {
    ($holds:expr, $rule:expr, $($detail:tt)+) => {
        if !$holds {
            $crate::failure::broken($crate::failure::FailureKind::Safety, $rule, format!($($detail)+));
        }
    };
}
pub(crate) use must;

thread_local! {
    static CATCHING: Cell<bool> = const { Cell::new(false) };
    /// Where the last panic of this thread was.
    static PLACE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Does the work; if it panics, says nothing on the terminal, whatever the program's own panic hook does elsewhere.
pub(crate) fn catch<T>(work: impl FnOnce() -> T) -> Result<T, Broken> {
    static HOOKED: Once = Once::new();
    HOOKED.call_once(|| {
        let others = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !CATCHING.get() {
                return others(info);
            }
            let place = info.location().map_or_else(|| "nowhere".into(), |at| format!("{}:{}", at.file(), at.line()));
            PLACE.set(place);
        }));
    });
    let outer = CATCHING.replace(true);
    // Whoever catches a failure only looks at what it has left behind.
    let done = panic::catch_unwind(AssertUnwindSafe(work));
    CATCHING.set(outer);
    done.map_err(why)
}

fn why(panic: Box<dyn Any + Send>) -> Broken {
    let panic = match panic.downcast::<Broken>() {
        Ok(broken) => return *broken,
        Err(panic) => panic,
    };
    let said = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|said| (*said).into()));
    let rule = format!("assertion at {}", PLACE.take());
    Broken { kind: FailureKind::Safety, rule, detail: said.unwrap_or_else(|| "it says nothing".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_caught_names_its_rule() {
        assert_eq!(catch(|| 7).expect("nothing is wrong"), 7);
        let terms = (3, 3);
        let caught = catch(|| must!(terms.0 < terms.1, "terms rise", "{} after {}", terms.1, terms.0)).expect_err("they do not");
        assert_eq!((caught.kind, caught.rule.as_str(), caught.detail.as_str()), (FailureKind::Safety, "terms rise", "3 after 3"));
        let late = catch(|| broken(FailureKind::Liveness, "converges", "it did not".into())).expect_err("it says so");
        assert_eq!((late.kind, late.rule.as_str()), (FailureKind::Liveness, "converges"));
    }

    #[test]
    fn an_assertion_is_named_by_its_place_not_by_its_values() {
        let assertion = |value: u64| catch(move || assert_eq!(value, 0, "value {value}")).expect_err("it fails");
        let (one, two) = (assertion(1), assertion(2));
        assert_eq!(one.rule, two.rule);
        assert!(one.rule.starts_with("assertion at chaos/sim/src/failure.rs:"), "{}", one.rule);
        assert!(one.detail.contains("value 1") && two.detail.contains("value 2"), "{one:?} {two:?}");
    }
}
