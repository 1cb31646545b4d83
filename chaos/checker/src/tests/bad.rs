//! One answer of a good history made wrong, in every way that has a name: caught, and called by it.

use fastrand::Rng;

use super::make::{Execution, Shape, Workload, found, key, make};
use crate::history::{Answer, Call, History, Op, Outcome};
use crate::model::Prepared;
use crate::search::{Search, search};
use crate::verdict::Anomaly::{self, *};
use crate::witness::{Witness, witness};
use crate::{Limits, OPS_MAX, Verdict, check};

/// A mutation of an execution on the key that it chooses; `None` if there is nothing fit for it. What it may be called.
type Mutation = fn(&mut Rng, &mut Execution) -> Option<&'static [Anomaly]>;

const APPENDS: [(&str, Mutation); 9] = [
    ("stale", stale_append),
    ("went back", went_back_append),
    ("lost", lost_append),
    ("twice", twice),
    ("fork", fork),
    ("nobody's", nobodys),
    ("refused", refused),
    ("future", future),
    ("reordered", reordered),
];

/// On keys that are put, too.
const WORDS: [(&str, Mutation); 8] = [
    ("stale", stale_append),
    ("went back", went_back_append),
    ("lost", lost_append),
    ("twice", twice),
    ("fork", fork_or_reordered),
    ("nobody's", nobodys),
    ("refused", refused),
    ("reordered", reordered),
];

const REGISTERS: [(&str, Mutation); 6] = [
    ("stale", stale_put),
    ("went back", went_back_put),
    ("lost", lost_put),
    ("nobody's", nobodys),
    ("refused", refused),
    ("future", future),
];

const OTHERS: [(&str, Mutation); 6] = [
    ("two cas from one value", two_cas),
    ("cas forgotten", cas_forgotten),
    ("deleted twice", deleted_twice),
    ("cas of nobody's", cas_of_nobodys),
    ("delete forgotten", delete_forgotten),
    ("torn scan", torn_scan),
];

fn over(a: &Op, b: &Op) -> bool {
    a.outcome != Outcome::Unknown && a.return_ns.is_some_and(|end| end < b.call_ns)
}

fn acked(op: &Op) -> bool {
    matches!(op.outcome, Outcome::Ok(_))
}

fn written(op: &Op) -> &[u8] {
    match &op.call {
        Call::Put { value, .. } | Call::Append { value, .. } => value,
        _ => b"",
    }
}

/// `.1.22` as `.1`, `.22`.
fn words(value: &[u8]) -> Vec<Vec<u8>> {
    value.split(|byte| *byte == b'.').skip(1).map(|word| [b".", word].concat()).collect()
}

fn set(op: &mut Op, value: &[u8]) {
    op.outcome = Outcome::Ok(Answer::Value((!value.is_empty()).then(|| value.into())));
    op.version = None;
}

/// All choices, in random order.
fn shuffled(rng: &mut Rng, choices: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut choices: Vec<usize> = choices.collect();
    rng.shuffle(&mut choices);
    choices
}

impl Execution {
    fn reads(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.ops.len()).filter(|read| matches!(self.ops[*read].call, Call::Get { .. }) && acked(&self.ops[*read]))
    }

    /// The write of a value on the same key.
    fn writer(&self, key: Option<&[u8]>, value: &[u8]) -> Option<usize> {
        (0..self.ops.len()).find(|op| self.ops[*op].call.key() == key && written(&self.ops[*op]) == value)
    }

    /// A read, the last word that it shows, and the append of that.
    fn last_words(&self, rng: &mut Rng) -> Vec<(usize, Vec<u8>, usize)> {
        let reads = shuffled(rng, self.reads());
        let last = |read: usize| found(&self.ops[read]).and_then(|value| words(value).pop());
        reads
            .into_iter()
            .filter_map(|read| last(read).and_then(|word| Some((read, word.clone(), self.writer(self.ops[read].call.key(), &word)?))))
            .collect()
    }

    fn shows(&self, read: usize, key: Option<&[u8]>, word: &[u8]) -> bool {
        self.ops[read].call.key() == key && found(&self.ops[read]).is_some_and(|value| words(value).iter().any(|other| other == word))
    }

    /// Whether a read that shows an append could not have done without.
    fn had_to_show(&self, read: usize, append: usize) -> bool {
        let (ops, key) = (&self.ops, self.ops[read].call.key());
        let first = found(&ops[read]).and_then(|value| self.writer(key, words(value).first()?));
        let could_be_covered = first.is_some_and(|first| matches!(ops[first].call, Call::Put { .. }) && !over(&ops[first], &ops[append]));
        matches!(ops[append].call, Call::Append { .. }) && over(&ops[append], &ops[read]) && !could_be_covered
    }

    /// Changes the words of every read of a key.
    fn rewrite(&mut self, of: Option<Vec<u8>>, change: impl Fn(&mut Vec<Vec<u8>>)) {
        for read in self.reads().collect::<Vec<_>>() {
            if self.ops[read].call.key() == of.as_deref() {
                let mut shown = found(&self.ops[read]).map(words).unwrap_or_default();
                change(&mut shown);
                set(&mut self.ops[read], &shown.concat());
            }
        }
    }

    fn key_of(&self, op: usize) -> Option<Vec<u8>> {
        self.ops[op].call.key().map(Into::into)
    }
}

fn stale_append(rng: &mut Rng, execution: &mut Execution) -> Option<&'static [Anomaly]> {
    let (read, word, _) = execution.last_words(rng).into_iter().find(|(read, word, append)| {
        let (ops, key) = (&execution.ops, execution.ops[*read].call.key());
        let others: Vec<usize> = execution.reads().filter(|other| other != read && execution.shows(*other, key, word)).collect();
        execution.had_to_show(*read, *append) && !others.is_empty() && others.iter().all(|other| !over(&ops[*other], &ops[*read]))
    })?;
    let shorter = found(&execution.ops[read])?.strip_suffix(&word[..])?.to_vec();
    set(&mut execution.ops[read], &shorter);
    Some(&[StaleRead])
}

fn went_back_append(rng: &mut Rng, execution: &mut Execution) -> Option<&'static [Anomaly]> {
    let (read, word, append) = execution.last_words(rng).into_iter().find(|(read, word, append)| {
        let (ops, key) = (&execution.ops, execution.ops[*read].call.key());
        matches!(ops[*append].call, Call::Append { .. })
            && execution.reads().any(|other| execution.shows(other, key, word) && over(&ops[other], &ops[*read]))
    })?;
    execution.ops[append].outcome = Outcome::Unknown;
    let shorter = found(&execution.ops[read])?.strip_suffix(&word[..])?.to_vec();
    set(&mut execution.ops[read], &shorter);
    Some(&[NonMonotonicRead])
}

fn lost_append(rng: &mut Rng, execution: &mut Execution) -> Option<&'static [Anomaly]> {
    let (read, word, _) = execution.last_words(rng).into_iter().find(|(read, _, append)| execution.had_to_show(*read, *append))?;
    execution.rewrite(execution.key_of(read), |shown| shown.retain(|other| *other != word));
    Some(&[LostWrite])
}

fn twice(rng: &mut Rng, execution: &mut Execution) -> Option<&'static [Anomaly]> {
    let (read, word, _) =
        execution.last_words(rng).into_iter().rfind(|(_, _, append)| matches!(execution.ops[*append].call, Call::Append { .. }))?;
    execution.rewrite(execution.key_of(read), |shown| {
        if let Some(place) = shown.iter().position(|other| *other == word) {
            shown.insert(place, word.clone());
        }
    });
    Some(&[Duplicate])
}

fn fork(rng: &mut Rng, execution: &mut Execution) -> Option<&'static [Anomaly]> {
    let (read, _, _) = execution.last_words(rng).into_iter().find(|(read, word, _)| {
        let key = execution.ops[*read].call.key();
        words(found(&execution.ops[*read]).unwrap()).len() > 1
            && execution.reads().any(|other| other != *read && execution.shows(other, key, word))
    })?;
    let mut shown = words(found(&execution.ops[read])?);
    let last = shown.len() - 1;
    shown.swap(last - 1, last);
    set(&mut execution.ops[read], &shown.concat());
    Some(&[Fork])
}

/// An append that a read shows before its put is also out of order.
fn fork_or_reordered(rng: &mut Rng, execution: &mut Execution) -> Option<&'static [Anomaly]> {
    fork(rng, execution).map(|_| &[Fork, ReorderedWrites][..])
}

fn reordered(rng: &mut Rng, execution: &mut Execution) -> Option<&'static [Anomaly]> {
    let (key, first, second) = shuffled(rng, execution.reads()).into_iter().find_map(|read| {
        let key = execution.ops[read].call.key();
        let shown = words(found(&execution.ops[read])?);
        shown.windows(2).find_map(|pair| {
            let [first, second] = [&pair[0], &pair[1]].map(|word| execution.writer(key, word));
            let fits = over(&execution.ops[first?], &execution.ops[second?])
                && execution.reads().all(|other| execution.shows(other, key, &pair[0]) == execution.shows(other, key, &pair[1]));
            fits.then(|| (key.map(Into::into), pair[0].clone(), pair[1].clone()))
        })
    })?;
    execution.rewrite(key, |shown| {
        if let (Some(a), Some(b)) = (shown.iter().position(|word| *word == first), shown.iter().position(|word| *word == second)) {
            shown.swap(a, b);
        }
    });
    Some(&[ReorderedWrites])
}

/// A read, the put that it shows, and the one before, which was over when that put began.
fn overwritten(rng: &mut Rng, execution: &Execution, last_only: bool) -> Option<(usize, usize, usize)> {
    let ops = &execution.ops;
    shuffled(rng, execution.reads()).into_iter().find_map(|read| {
        let key = ops[read].call.key();
        let new = execution.writer(key, found(&ops[read])?)?;
        let is_put = |put: usize| ops[put].call.key() == key && !written(&ops[put]).is_empty() && ops[put].outcome != Outcome::Fail;
        if last_only && (new + 1..ops.len()).any(is_put) {
            return None;
        }
        let old = (0..new).rev().find(|put| is_put(*put))?;
        (acked(&ops[old]) && over(&ops[old], &ops[new])).then_some((read, new, old))
    })
}

fn stale_put(rng: &mut Rng, execution: &mut Execution) -> Option<&'static [Anomaly]> {
    let (read, new, old) = overwritten(rng, execution, false)?;
    let value = written(&execution.ops[old]).to_vec();
    let others =
        execution.reads().filter(|other| *other != read && found(&execution.ops[*other]) == Some(written(&execution.ops[new]))).count();
    if others == 0 || !over(&execution.ops[new], &execution.ops[read]) {
        return None;
    }
    set(&mut execution.ops[read], &value);
    Some(&[StaleRead, NonMonotonicRead])
}

fn went_back_put(rng: &mut Rng, execution: &mut Execution) -> Option<&'static [Anomaly]> {
    let (read, new, old) = overwritten(rng, execution, false)?;
    let (value, newer) = (written(&execution.ops[old]).to_vec(), written(&execution.ops[new]).to_vec());
    execution.reads().find(|other| found(&execution.ops[*other]) == Some(&newer) && over(&execution.ops[*other], &execution.ops[read]))?;
    execution.ops[new].outcome = Outcome::Unknown;
    set(&mut execution.ops[read], &value);
    Some(&[NonMonotonicRead])
}

fn lost_put(rng: &mut Rng, execution: &mut Execution) -> Option<&'static [Anomaly]> {
    let (read, new, old) = overwritten(rng, execution, true)?;
    if !over(&execution.ops[new], &execution.ops[read]) {
        return None;
    }
    let (value, newer) = (written(&execution.ops[old]).to_vec(), written(&execution.ops[new]).to_vec());
    for other in execution.reads().collect::<Vec<_>>() {
        if found(&execution.ops[other]) == Some(&newer) {
            set(&mut execution.ops[other], &value);
        }
    }
    Some(&[LostWrite])
}

fn nobodys(rng: &mut Rng, execution: &mut Execution) -> Option<&'static [Anomaly]> {
    let read = shuffled(rng, execution.reads()).pop()?;
    let mut value = found(&execution.ops[read]).unwrap_or_default().to_vec();
    value.extend(b".nobody");
    set(&mut execution.ops[read], &value);
    Some(&[PhantomValue, Fork])
}

fn refused(rng: &mut Rng, execution: &mut Execution) -> Option<&'static [Anomaly]> {
    let (read, _, write) = execution.last_words(rng).pop()?;
    execution.ops[write].outcome = Outcome::Fail;
    execution.ops[write].return_ns = Some(execution.ops[write].call_ns);
    (!over(&execution.ops[read], &execution.ops[write])).then_some(&[PhantomValue])
}

/// A read shows what is written only after it returned.
fn future(rng: &mut Rng, execution: &mut Execution) -> Option<&'static [Anomaly]> {
    let ops = &execution.ops;
    let (read, value) = shuffled(rng, execution.reads()).into_iter().find_map(|read| {
        let end = ops[read].return_ns?;
        let later = ops.iter().filter(|op| op.call.key() == ops[read].call.key() && op.call_ns > end && acked(op));
        let value = later.map(written).find(|value| !value.is_empty())?.to_vec();
        let before = if matches!(ops[read].call, Call::Get { .. }) { found(&ops[read]).unwrap_or_default() } else { b"" };
        let is_append = ops.iter().any(|op| matches!(op.call, Call::Append { .. }));
        Some((read, if is_append { [before, &value].concat() } else { value }))
    })?;
    set(&mut execution.ops[read], &value);
    // Appends between the two are missing from the read, which then is of another history.
    Some(&[PhantomValue, NonMonotonicRead, Fork])
}

/// Adds operations on keys of their own behind all others, one after the other.
fn behind(execution: &mut Execution, calls: Vec<(Call, Answer)>) {
    let mut position = execution.ops.iter().filter_map(|op| op.position).max().unwrap_or(0);
    for (number, (call, answer)) in calls.into_iter().enumerate() {
        position += u64::from(!call.is_read());
        let at = 10_000_000 + 100 * number as u64;
        execution.ops.push(Op::new(90 + number as u64, call, at).ok(at + 50, answer).at(position));
    }
}

fn put(key: &[u8], value: &str) -> (Call, Answer) {
    (Call::Put { key: key.into(), value: value.into() }, Answer::Done)
}

fn cas(expect: Option<&str>, value: &str) -> (Call, Answer) {
    (Call::Cas { key: b"zz".into(), expect: expect.map(Into::into), value: value.into() }, Answer::Flag(true))
}

fn get(value: Option<&str>) -> (Call, Answer) {
    (Call::Get { key: b"zz".into() }, Answer::Value(value.map(Into::into)))
}

fn two_cas(_: &mut Rng, execution: &mut Execution) -> Option<&'static [Anomaly]> {
    behind(execution, vec![put(b"zz", "a"), cas(Some("a"), "b"), get(Some("b")), cas(Some("a"), "c"), get(Some("c"))]);
    Some(&[LostWrite])
}

fn cas_forgotten(_: &mut Rng, execution: &mut Execution) -> Option<&'static [Anomaly]> {
    behind(execution, vec![put(b"zz", "a"), cas(Some("a"), "b"), get(Some("a"))]);
    Some(&[LostWrite])
}

fn deleted_twice(_: &mut Rng, execution: &mut Execution) -> Option<&'static [Anomaly]> {
    let delete = (Call::Delete { key: b"zz".into() }, Answer::Flag(true));
    behind(execution, vec![put(b"zz", "a"), delete.clone(), delete]);
    Some(&[LostWrite, StaleRead])
}

fn cas_of_nobodys(_: &mut Rng, execution: &mut Execution) -> Option<&'static [Anomaly]> {
    behind(execution, vec![put(b"zz", "a"), cas(Some("nobody's"), "b"), get(Some("b"))]);
    Some(&[PhantomValue])
}

fn delete_forgotten(_: &mut Rng, execution: &mut Execution) -> Option<&'static [Anomaly]> {
    let delete = (Call::Delete { key: b"zz".into() }, Answer::Flag(true));
    behind(execution, vec![put(b"zz", "a"), delete, get(None), get(Some("a"))]);
    Some(&[NonMonotonicRead])
}

/// Seen key by key every scan is fine; together they show the two writes in both orders.
fn torn_scan(_: &mut Rng, execution: &mut Execution) -> Option<&'static [Anomaly]> {
    let scan = |items: &[(&[u8], &str)]| {
        let items = items.iter().map(|(key, value)| (key.to_vec(), value.as_bytes().to_vec())).collect();
        (Call::Scan { from: Some(b"y".into()), to: None, limit: None }, Answer::List(items))
    };
    behind(execution, vec![put(b"y", "1"), put(b"zz", "1"), scan(&[(b"y", "1")]), scan(&[(b"zz", "1")])]);
    // All at once.
    for op in execution.ops.iter_mut().rev().take(4) {
        (op.call_ns, op.return_ns) = (20_000_000, Some(20_000_100));
    }
    let count = execution.ops.len();
    let first = execution.ops[count - 4].position;
    execution.ops[count - 2].position = first;
    Some(&[Fork, WrongPosition])
}

/// What a mutation made.
struct Bad {
    what: String,
    history: History,
    names: &'static [Anomaly],
    /// Whether each key alone shows it.
    by_key: bool,
}

const KINDS: [(Workload, &[(&str, Mutation)]); 4] =
    [(Workload::Append, &APPENDS), (Workload::Register, &REGISTERS), (Workload::Mixed, &OTHERS), (Workload::Words, &WORDS)];

fn bad(seeds: std::ops::Range<u64>) -> Vec<Bad> {
    let mut all = Vec::new();
    for seed in seeds {
        for (workload, mutations) in KINDS {
            for (name, mutation) in mutations {
                let mut rng = Rng::with_seed(seed);
                let ops = if matches!(workload, Workload::Mixed | Workload::Words) { 30 } else { 90 };
                let unknown = if rng.bool() { 0 } else { 15 };
                let spread = rng.u64(1..12);
                let mut execution = make(&mut rng, Shape { workload, ops, keys: 3, spread, unknown });
                if let Some(names) = mutation(&mut rng, &mut execution) {
                    let history = execution.history();
                    all.push(Bad { what: format!("seed {seed} {workload:?}, {name}"), history, names, by_key: *name != "torn scan" });
                }
            }
        }
    }
    all
}

/// Bad histories that are not caught, or called otherwise, or not explained.
pub(super) fn not_caught(seeds: std::ops::Range<u64>) -> Vec<String> {
    let mut wrong = Vec::new();
    for Bad { what, history, names, .. } in bad(seeds) {
        let bare = history.clone().without_positions();
        for (how, history) in [("with positions", &history), ("without positions", &bare)] {
            match check(history, &Limits::default()) {
                Verdict::Violation(violation) if names.contains(&violation.anomaly) => {
                    let count = violation.ops.len();
                    if !(1..=OPS_MAX).contains(&count) || violation.drawing.lines().count() > 10 || violation.sentences.len() <= count {
                        wrong.push(format!("{what} {how}, explained badly: {violation}"));
                    }
                }
                Verdict::Violation(violation) => wrong.push(format!("{what} {how}, misnamed: {violation}")),
                verdict => wrong.push(format!("{what} {how}: {verdict:?}")),
            }
        }
    }
    wrong
}

#[test]
fn every_kind_of_bad_history_is_caught_and_named() {
    let wrong = not_caught(0..150);
    assert!(wrong.is_empty(), "{} not caught, the first: {}", wrong.len(), wrong[0]);
}

#[test]
fn what_is_shown_twice_on_a_key_that_is_put_and_appended_to_is_a_duplicate() {
    let says = |shown: &str| {
        let mut history = History::new();
        let append = Call::Append { key: key(0), value: b"a;".into() };
        history.push(Op::new(1, Call::Put { key: key(0), value: b"p;".into() }, 10).ok(20, Answer::Done)).unwrap();
        history.push(Op::new(1, append, 30).ok(40, Answer::Done)).unwrap();
        history.push(Op::new(1, Call::Get { key: key(0) }, 50).ok(60, Answer::Value(Some(shown.into())))).unwrap();
        match check(&history, &Limits::default()) {
            Verdict::Violation(violation) => (violation.anomaly, violation.sentences.join(" ")),
            other => panic!("{other:?}"),
        }
    };
    let (anomaly, why) = says("p;a;a;");
    assert!(anomaly == Duplicate && why.contains("shows \"a;\" twice; it was written once."), "{anomaly}: {why}");
    let (anomaly, why) = says("p;x;");
    assert!(anomaly == PhantomValue && why.contains("shows bytes that nobody wrote."), "{anomaly}: {why}");
    let (anomaly, why) = says("p;");
    assert!(anomaly == LostWrite && why.contains("shows nothing of \"a;\". Nor does any other read."), "{anomaly}: {why}");
    let (anomaly, why) = says("a;p;");
    assert!(anomaly == ReorderedWrites && why.contains("shows \"p;\" behind \"a;\"."), "{anomaly}: {why}");
}

/// The history if only these are looked at: of all else, reads are forgotten, and writes may have happened at any time or never.
pub(super) fn only(history: &History, ops: &[usize]) -> History {
    let mut named = History::new();
    for (id, op) in history.ops().iter().enumerate() {
        if ops.contains(&id) || op.outcome == Outcome::Fail {
            named.push(op.clone()).unwrap();
        } else if !op.call.is_read() {
            named.push(Op { outcome: Outcome::Unknown, return_ns: None, ..op.clone() }).unwrap();
        }
    }
    named
}

#[test]
fn the_operations_that_are_named_prove_it_alone() {
    for Bad { what, history, .. } in bad(400..500) {
        let history = history.without_positions();
        let Verdict::Violation(violation) = check(&history, &Limits::default()) else { panic!("{what}: not caught") };
        let named = only(&history, &violation.ops);
        assert!(matches!(check(&named, &Limits::default()), Verdict::Violation(_)), "{what}: {violation}");
    }
}

/// With positions and nothing unknown there is one order, and one answer to everything.
#[test]
fn with_positions_no_answer_can_be_another() {
    let mut changed = 0;
    for seed in 0..200 {
        let mut rng = Rng::with_seed(seed);
        let mut execution = make(&mut rng, Shape { workload: Workload::Scans, ops: 60, keys: 3, spread: 20, unknown: 0 });
        let Some(op) = shuffled(&mut rng, 0..60).into_iter().find(|op| !matches!(execution.ops[*op].outcome, Outcome::Ok(Answer::Done)))
        else {
            continue;
        };
        let op = &mut execution.ops[op];
        op.outcome = Outcome::Ok(match op.outcome.clone() {
            Outcome::Ok(Answer::Flag(flag)) => Answer::Flag(!flag),
            Outcome::Ok(Answer::Value(value)) => Answer::Value(value.is_none().then(|| b"a".into())),
            Outcome::Ok(Answer::List(items)) if items.is_empty() => continue, // its limit may be 0
            Outcome::Ok(Answer::List(items)) => {
                Answer::List(items.into_iter().map(|(key, value)| (key, [value, b"a".into()].concat())).collect())
            }
            outcome => panic!("{outcome:?}"),
        });
        changed += 1;
        let verdict = check(&execution.history(), &Limits::default());
        assert!(matches!(verdict, Verdict::Violation(_)), "seed {seed}: {verdict:?}");
    }
    assert!(changed > 150, "{changed} of 200 changed");
}

#[test]
fn every_mutation_is_made_often() {
    let all = bad(0..150);
    for (workload, mutations) in KINDS {
        for (name, _) in mutations {
            let count = all.iter().filter(|bad| bad.what.ends_with(&format!("{workload:?}, {name}"))).count();
            assert!(count >= 15, "{workload:?}, {name}: made {count} times of 150");
        }
    }
}

#[test]
fn positions_alone_show_every_kind() {
    for Bad { what, history, .. } in bad(200..260) {
        assert!(!matches!(witness(&Prepared::new(&history), &Limits::default()), Witness::Fits), "{what}");
    }
}

#[test]
fn the_search_alone_finds_every_kind() {
    for Bad { what, history, by_key, .. } in bad(300..330) {
        let prepared = Prepared::new(&history);
        let limits = Limits { steps_max: 300_000, states_max: 300_000 };
        let mut found = prepared
            .by_key()
            .iter()
            .enumerate()
            .map(|(key, own)| search(&prepared.of_key(key, own), key..key + 1, &limits))
            .collect::<Vec<_>>();
        if !by_key {
            found.push(search(&prepared.events, 0..prepared.keys.len(), &limits));
        }
        // An order of unique appends is long to search in vain; who gives up has not said that all is well.
        assert!(found.iter().any(|found| !matches!(found, Search::Fits)), "{what}");
    }
}

#[test]
fn a_violation_reads_like_this() {
    let mut history = History::new();
    let append = |value: &str| Call::Append { key: key(1), value: value.into() };
    let get = || Call::Get { key: key(1) };
    let shown = |value: &str| Answer::Value(Some(value.into()));
    history.push(Op::new(1, append(".1"), 1_000_000).ok(2_000_000, Answer::Done).at(3)).unwrap();
    history.push(Op::new("reader", get(), 1_500_000).ok(4_000_000, shown(".1.2")).at(4)).unwrap();
    history.push(Op::new(2, append(".2"), 2_500_000).ok(3_000_000, Answer::Done).at(4)).unwrap();
    let mut stale = Op::new(3, get(), 3_500_000).ok(4_500_000, shown(".1")).at(4);
    stale.node = Some("n2".into());
    history.push(stale).unwrap();
    let Verdict::Violation(violation) = check(&history, &Limits::default()) else { panic!("not noticed") };
    assert_eq!(
        violation.to_string(),
        "\
stale read on key \"k1\"
  A (#1): client reader, 1.500000 to 4.000000 ms, position 4: get \"k1\" -> \".1.2\".
  B (#2): client 2, 2.500000 to 3.000000 ms, position 4: append \"k1\" \".2\" -> done.
  C (#3): client 3, 3.500000 to 4.500000 ms, node n2, position 4: get \"k1\" -> \".1\".
  B had returned before C was called.
  C does not show \".2\".
  A does.
             1.500000 ms, then in order of time, not to scale
  A reader   |---------------|          get \"k1\" -> \".1.2\"
  B 2            |---|                  append \"k1\" \".2\" -> done
  C 3                    |-------|      get \"k1\" -> \".1\"
"
    );
}
