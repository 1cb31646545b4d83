//! The commit that `kvcli -V` names. There is none in a tree without git, in a vendored copy, or where git is missing: that is no error.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // Built as a part of somebody else's repository, that one's commit would say nothing about us.
    if git(&["rev-parse", "--show-prefix"]).as_deref() != Some("kvcli/") {
        return;
    }
    // Written with every commit and checkout, in a worktree too.
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"])
        && std::path::Path::new(&log).exists()
    {
        println!("cargo::rerun-if-changed={log}");
    }
    if let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) {
        println!("cargo::rustc-env=KVCLI_COMMIT={commit}");
    }
}

/// What git says, run in this crate's directory; `None` if it says nothing, for whatever reason.
fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok().filter(|output| output.status.success())?;
    let said = String::from_utf8(output.stdout).ok()?.trim().to_string();
    Some(said).filter(|said| !said.is_empty())
}
