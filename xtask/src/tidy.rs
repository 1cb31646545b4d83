//! Rules about the sources that no compiler keeps.

use std::path::Path;

use anyhow::{Result, bail};

/// Longer files hide more than one noun.
const LINES_MAX: usize = 700;

pub(crate) fn run() -> Result<()> {
    let mut findings = Vec::new();
    for (path, text) in sources()? {
        // This file names what it forbids.
        if path != "xtask/src/tidy.rs" {
            look(&path, &text, &mut findings);
            look_for_doubles(&path, &text, &mut findings);
        }
    }
    if !findings.is_empty() {
        bail!("the sources are not tidy:\n{}", findings.join("\n"));
    }
    println!("tidy: nothing found");
    Ok(())
}

/// Every Rust source file of the workspace: its path from the root, and its text.
pub(crate) fn sources() -> Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    walk(&crate::root(), "", &mut found)?;
    found.sort();
    Ok(found)
}

/// What a node consists of, and the crate that it stands in. The simulator runs these; a second one there, however faithful, would be tested
/// in place of the product.
const ONCE: [(&str, &str); 12] = [
    ("struct Raft ", "raft/"),
    ("struct LogPositions ", "raft/"),
    ("struct Store<", "data/"),
    ("struct Segment<", "data/"),
    ("struct BatchHeader ", "data/"),
    ("struct SnapshotDecoder ", "data/"),
    ("struct Machine ", "kvnode/"),
    ("struct Sessions ", "kvnode/"),
    ("struct Image ", "kvnode/"),
    ("fn drive<", "kvnode/"),
    ("struct Core ", "kvcli/"),
    // The simulator's is a window on the fake one, which stands in `data` and passes its tests.
    (" Disk for ", "data/"),
];
const DISK_WINDOW: &str = "chaos/sim/src/disk.rs";

fn look_for_doubles(path: &str, text: &str, findings: &mut Vec<String>) {
    for (what, home) in ONCE {
        let is_window = what == " Disk for " && path == DISK_WINDOW;
        let is_elsewhere = path.starts_with("chaos/sim/") && !is_window;
        for line in text.lines().filter(|line| is_elsewhere && line.split("//").next().unwrap_or_default().contains(what)) {
            findings.push(format!("{path}: a second `{}`; the one of {home} is for all: {}", what.trim(), line.trim()));
        }
    }
}

fn walk(dir: &Path, prefix: &str, found: &mut Vec<(String, String)>) -> Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{prefix}{name}");
        if entry.file_type()?.is_dir() {
            if !["target", ".git", "runs"].contains(&name.as_str()) {
                walk(&entry.path(), &format!("{path}/"), found)?;
            }
        } else if name.ends_with(".rs") {
            found.push((path, std::fs::read_to_string(entry.path())?));
        }
    }
    Ok(())
}

fn look(path: &str, text: &str, findings: &mut Vec<String>) {
    let lines: Vec<&str> = text.lines().collect();
    if lines.len() > LINES_MAX {
        findings.push(format!("{path}: {} lines, more than {LINES_MAX}", lines.len()));
    }
    let is_test = path.starts_with("tests/") || path.contains("/tests/");
    for (number, line) in lines.iter().enumerate() {
        let mut found = |what: &str| findings.push(format!("{path}:{}: {what}: {}", number + 1, line.trim()));
        let code = line.split("//").next().unwrap_or_default();
        for word in ["todo!(", "dbg!(", "unimplemented!("] {
            if code.contains(word) {
                found("unfinished");
            }
        }
        if code.contains("#[ignore") {
            found("an ignored test: nobody would know if it failed");
        }
        if path.starts_with("raft/src/") {
            for word in ["std::time", "Instant", "SystemTime", "HashMap", "HashSet", "std::fs", "std::net", "std::thread", "std::env"] {
                if code.contains(word) {
                    found("raft has no clock, file, socket, thread or random order");
                }
            }
        }
        if is_test && code.contains("thread::sleep(") {
            let reason = "// sleeps because";
            let above = number > 0 && lines[number - 1].contains(reason);
            if !above && !line.contains(reason) {
                found("await a condition, or say `// sleeps because ...`");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> usize {
        let mut findings = Vec::new();
        look(path, text, &mut findings);
        look_for_doubles(path, text, &mut findings);
        findings.len()
    }

    #[test]
    fn every_rule_finds_its_breach_and_nothing_else() {
        assert_eq!(findings("data/src/lib.rs", "fn f() { todo!() }"), 1);
        assert_eq!(findings("data/src/lib.rs", "// todo!() is not code"), 0);
        assert_eq!(findings("data/src/lib.rs", "#[ignore = \"slow\"]"), 1);
        assert_eq!(findings("raft/src/raft.rs", "use std::time::Instant;"), 2);
        assert_eq!(findings("kvnode/src/clock.rs", "use std::time::Instant;"), 0);
        assert_eq!(findings("tests/src/x.rs", "std::thread::sleep(a);"), 1);
        assert_eq!(findings("tests/src/x.rs", "// sleeps because time is the input\nstd::thread::sleep(a);"), 0);
        assert_eq!(findings("chaos/sim/src/x.rs", "pub(crate) struct Sessions {"), 1);
        assert_eq!(findings("chaos/sim/src/x.rs", "impl<T> Disk for Other<T> {"), 1);
        assert_eq!(findings("chaos/sim/src/x.rs", "struct SessionsSeen {"), 0);
        assert_eq!(findings("chaos/sim/src/disk.rs", "impl Disk for WatchedDisk {"), 0);
        assert_eq!(findings("kvnode/src/x.rs", "pub(crate) struct Sessions {"), 0);
        assert_eq!(findings("wire/src/x.rs", &"\n".repeat(LINES_MAX + 1)), 1);
    }
}
