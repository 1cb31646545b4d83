//! The teaching labs' cases (`tests/lab-cases.tsv`), and the tests and runs that stand for them: none may be missing, and none imaginary.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail, ensure};

use crate::{read, root, tidy};

/// A line of the table. A case has one for each tier that tests it.
struct Case {
    id: String,
    tier: String,
    test: String,
    note: String,
}

/// Where a case is tested. Other rows say `later` or `not applicable`, and the note says when or why.
const TIERS: [&str; 5] = ["script", "unit", "simulation", "real", RUN];
/// On real processes, by `cargo xtask labs ID` and not by a test.
const RUN: &str = "run";

pub(crate) fn list() -> Result<()> {
    for case in table()? {
        println!("{}\t{}\t{}\t{}", case.id, case.tier, case.test, case.note);
    }
    check()
}

/// Fails on a test or run that does not exist, a run that is not in the table, an id that is missing or strange, and a row that must have
/// a test by now and has none.
pub(crate) fn check() -> Result<()> {
    let tests = test_names()?;
    let runs = runs()?;
    let mut wrong = Vec::new();
    let mut seen = BTreeMap::new();
    for case in table()? {
        let Case { id, tier, test, note } = &case;
        if !seen.entry(id.clone()).or_insert_with(BTreeSet::new).insert(tier.clone()) {
            wrong.push(format!("{id}: twice in the table as {tier}"));
        }
        match tier.as_str() {
            "later" | "not applicable" if test == "-" && !note.is_empty() => {}
            "later" | "not applicable" => wrong.push(format!("{id}: {tier}, but test is not `-` or the note does not say why")),
            known if !TIERS.contains(&known) => wrong.push(format!("{id}: no such tier: {tier}")),
            RUN if !runs.contains(id) || *test != command(id) => wrong.push(format!("{id}: no such run: {test}")),
            RUN => {}
            // A story in a file, or a function marked `#[test]`.
            _ if test.contains('/') && root().join(test).is_file() => {}
            _ if !tests.contains(test.as_str()) => wrong.push(format!("{id}: no such test: {test}")),
            _ => {}
        }
    }
    for id in all_ids() {
        if !seen.contains_key(&id) {
            wrong.push(format!("{id}: missing from the table"));
        }
    }
    for (id, tiers) in &seen {
        if tiers.len() > 1 && tiers.iter().any(|tier| tier == "not applicable" || tier == "later") {
            wrong.push(format!("{id}: has a test, and has none"));
        }
    }
    for id in due_ids() {
        if seen.get(&id).is_some_and(|tiers| tiers.iter().all(|tier| !TIERS.contains(&tier.as_str()))) {
            wrong.push(format!("{id}: must have a test by now"));
        }
    }
    for id in simulated_ids() {
        if seen.get(&id).is_some_and(|tiers| !tiers.contains("simulation")) {
            wrong.push(format!("{id}: must be tested in simulation by now"));
        }
    }
    for id in real_ids() {
        if seen.get(&id).is_some_and(|tiers| !tiers.contains("real") && !tiers.contains(RUN)) {
            wrong.push(format!("{id}: must be tested on real processes by now"));
        }
    }
    for id in runs.iter().filter(|id| seen.get(*id).is_some_and(|tiers| !tiers.contains(RUN))) {
        wrong.push(format!("{id}: `{}` runs it, and no row says so", command(id)));
    }
    let known: BTreeSet<String> = all_ids().collect();
    wrong.extend(runs.difference(&known).map(|id| format!("{id}: `{}` runs it, and there is no such case", command(id))));
    wrong.extend(seen.keys().filter(|id| !known.contains(*id)).map(|id| format!("{id}: no such case")));
    if !wrong.is_empty() {
        bail!("tests/lab-cases.tsv:\n{}", wrong.join("\n"));
    }
    let tested = seen.values().filter(|tiers| tiers.iter().any(|tier| TIERS.contains(&tier.as_str()))).count();
    let simulated = seen.values().filter(|tiers| tiers.contains("simulation")).count();
    let real = seen.values().filter(|tiers| tiers.contains("real") || tiers.contains(RUN)).count();
    println!("labs: {} cases, {tested} of them tested so far, {simulated} in virtual time, {real} on real processes", seen.len());
    Ok(())
}

fn table() -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for (number, line) in read("tests/lab-cases.tsv")?.lines().enumerate() {
        let fields: Vec<&str> = line.split('\t').collect();
        ensure!(fields.len() == 4, "tests/lab-cases.tsv:{}: {} fields, not id, tier, test, note", number + 1, fields.len());
        let field = |index: usize| fields[index].trim().to_owned();
        if field(0) != "id" {
            cases.push(Case { id: field(0), tier: field(1), test: field(2), note: field(3) });
        }
    }
    Ok(cases)
}

fn command(id: &str) -> String {
    format!("cargo xtask labs {id}")
}

/// The cases that `chaos lab` runs, as its source has them: a build would be a long way to a list.
pub(crate) fn runs() -> Result<BTreeSet<String>> {
    collect_runs(&read("chaos/src/lab.rs")?)
}

fn collect_runs(text: &str) -> Result<BTreeSet<String>> {
    let lines = text.lines().skip_while(|line| !line.starts_with("const CASES: ")).skip(1).take_while(|line| *line != "];");
    let runs: BTreeSet<String> =
        lines.filter_map(|line| line.trim().strip_prefix("(\"")?.split_once('"')).map(|(id, _)| id.to_owned()).collect();
    ensure!(!runs.is_empty(), "chaos/src/lab.rs: no list of cases");
    Ok(runs)
}

/// Every function marked `#[test]` in the workspace's sources.
fn test_names() -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for (_, text) in tidy::sources()? {
        collect_test_names(&text, &mut names);
    }
    Ok(names)
}

fn collect_test_names(text: &str, names: &mut BTreeSet<String>) {
    let mut marked = false;
    for line in text.lines().map(str::trim) {
        if line == "#[test]" {
            marked = true;
        } else if let Some(rest) = line.strip_prefix("fn ") {
            if let (true, Some(name)) = (marked, rest.split(['(', '<']).next()) {
                names.insert(name.to_owned());
            }
            marked = false;
        } else if !line.starts_with("#[") && !line.starts_with("//") {
            marked = false;
        }
    }
}

fn ids(family: &'static str, numbers: std::ops::RangeInclusive<u32>) -> impl Iterator<Item = String> {
    numbers.map(move |number| format!("{family}{number}"))
}

/// Every case there is.
fn all_ids() -> impl Iterator<Item = String> {
    let families = [
        ("R-A", 3),
        ("R-B", 10),
        ("R-C", 8),
        ("R-D", 7),
        ("K-A", 14),
        ("K-B", 9),
        ("K-X", 2),
        ("M-R", 8),
        ("M-K", 22),
        ("M-L", 4),
        ("T-", 79),
        ("T-B", 11),
        ("T-C", 6),
        ("T-N", 32),
    ];
    families.into_iter().flat_map(|(family, count)| ids(family, 1..=count))
}

/// Those that must have a test by now.
fn due_ids() -> impl Iterator<Item = String> {
    let raft = ["R-B2", "R-D1", "R-D2", "R-D4", "R-D6", "R-D7"];
    let appends = ["K-A1", "K-A2", "K-A3", "K-A5", "K-A9", "K-A10", "K-B1", "K-B2", "K-B3", "K-B4", "K-B5"];
    let puts = ["M-K1", "M-K2", "M-K3", "M-K8", "M-K9", "M-K14", "M-K15", "M-K16", "M-K17", "M-K18", "M-L1", "M-L2"];
    let counter = ["M-R1", "M-R2", "M-R5", "M-R6", "M-R7", "M-R8"];
    let scans = ["T-B1", "T-B2", "T-B7", "T-B8", "T-C1", "T-C2", "T-C3"];
    let core = ids("T-", 1..=65).chain(ids("T-", 67..=72)).chain(ids("T-", 74..=79));
    core.chain(raft.into_iter().chain(appends).chain(puts).chain(counter).chain(scans).map(String::from))
}

/// Those that must be tested in virtual time, with the labs' own figures, whatever else tests them.
fn simulated_ids() -> impl Iterator<Item = String> {
    let raft = [("R-A", 3), ("R-B", 10), ("R-C", 8), ("R-D", 7)];
    let clients = [("K-A", 14), ("K-B", 9), ("M-R", 8), ("M-K", 22), ("T-B", 11), ("T-C", 6)];
    raft.into_iter().chain(clients).flat_map(|(family, count)| ids(family, 1..=count))
}

/// Those that must run on real processes, as a test or by `cargo xtask labs`.
fn real_ids() -> impl Iterator<Item = String> {
    [("K-A", 14), ("K-B", 9), ("M-R", 8), ("M-K", 22), ("M-L", 4)].into_iter().flat_map(|(family, count)| ids(family, 1..=count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runs_are_those_of_the_list() {
        let text = "const OTHER: [(&str, u8); 1] = [\n    (\"X-1\", 1),\n];\nconst CASES: [(&str, Driver); 2] = [\n    (\"K-A1\", appends(1)),\n    \
            // why\n    (\"M-L4\", lock(\"x\")),\n];\n    (\"K-A9\", 1),\n";
        assert_eq!(collect_runs(text).expect("a list").into_iter().collect::<Vec<_>>(), ["K-A1", "M-L4"]);
        assert!(collect_runs("no list").is_err());
    }

    #[test]
    fn only_functions_marked_as_tests_are_tests() {
        let mut names = BTreeSet::new();
        let text = "#[test]\n#[expect(x)]\n// why\nfn one() {}\nfn helper() {}\n#[test]\n\nfn two() {}\n#[test]\nuse x;\nfn three() {}";
        collect_test_names(text, &mut names);
        assert_eq!(names.into_iter().collect::<Vec<_>>(), ["one"]);
    }

    #[test]
    fn every_case_is_listed_once_and_every_due_one_is_a_case() {
        let all: Vec<String> = all_ids().collect();
        let distinct: BTreeSet<&String> = all.iter().collect();
        assert_eq!((all.len(), distinct.len()), (28 + 25 + 34 + 79 + 17 + 32, all.len()));
        assert!(due_ids().chain(simulated_ids()).chain(real_ids()).all(|id| distinct.contains(&id)));
    }
}
