//! What a run of tests may not leave behind: processes, network namespaces, firewall rules, files. Taken before and after.

use std::collections::BTreeSet;
use std::path::Path;

use crate::shell;

/// Everything that must be the same afterwards, one line each.
pub(crate) struct Traces(BTreeSet<String>);

impl Traces {
    /// `marker` stands in the environment of every process of this run, whoever started it: an orphan is found whatever its name.
    pub(crate) fn take(root: &Path, target: &Path, marker: &str) -> Traces {
        let mut all = BTreeSet::new();
        all.extend(processes(target, marker).into_iter().map(|process| format!("process {process}")));
        all.extend(lines("network namespace", "ip", &["netns", "list"]));
        for table in ["filter", "nat", "mangle"] {
            all.extend(lines("rule", "iptables", &["-w", "-t", table, "-S"]));
        }
        all.extend(lines("file", "git", &["-C", &root.to_string_lossy(), "status", "--porcelain", "--ignored"]));
        all.extend(temp_files().into_iter().map(|name| format!("file {name}")));
        Traces(all)
    }

    /// What is there now and was not before.
    pub(crate) fn new_since(&self, before: &Traces) -> Vec<String> {
        self.0.difference(&before.0).cloned().collect()
    }
}

fn lines(what: &'static str, program: &str, args: &[&str]) -> Vec<String> {
    let output = shell::output(program, args).unwrap_or_default();
    output.lines().map(|line| format!("{what} {line}")).collect()
}

fn processes(target: &Path, marker: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        if pid == std::process::id() {
            continue;
        }
        let environ = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        let marked = environ.split(|byte| *byte == 0).any(|variable| variable == marker.as_bytes());
        let exe = std::fs::read_link(entry.path().join("exe")).unwrap_or_default();
        let ours = exe.starts_with(target) && exe.file_name().is_some_and(|name| name == "kvnode" || name == "kvcli");
        if marked || ours {
            let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            found.push(format!("{pid} {}", String::from_utf8_lossy(&command).replace('\0', " ")));
        }
    }
    found
}

/// Files of ours in the host's temporary directory: the tests' own is elsewhere, inside `target`.
fn temp_files() -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/tmp").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if ["kvraft", "kvnode", "kvcli"].iter().any(|ours| name.contains(ours)) {
            found.push(format!("/tmp/{name}"));
        }
    }
    found
}
