//! The first three commands anybody would try: each line is the command as run, and what it really printed.

use std::ffi::OsStr;
use std::process::Stdio;

use super::stage::{CheckFailed, Stage, say};
use crate::words;

/// Commands, and what each must have printed.
const COMMANDS: [(&[&str], &str); 3] =
    [(&["put", "greeting", "hello"], "OK"), (&["append", "greeting", ", world"], "OK"), (&["get", "greeting"], "hello, world")];

/// Runs them and shows them.
pub(super) fn tour(stage: &mut Stage) -> anyhow::Result<()> {
    for (args, expected) in COMMANDS {
        let line = words::join(std::iter::once("kvcli").chain(args.iter().copied()).map(OsStr::new));
        let mut command = stage.kvcli_command();
        // As on a terminal, wherever our own output goes: the same demo prints the same lines.
        command.args(args).env("KVCLI_OUTPUT", "table").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let output = command.output()?;
        stage.interrupts.check()?;
        let printed = String::from_utf8_lossy(&output.stdout);
        say(&format!("$ {line}\n{}", printed.trim_end_matches('\n')))?;
        if !output.status.success() || printed.trim_end_matches('\n') != expected {
            let stderr = String::from_utf8_lossy(&output.stderr);
            anyhow::bail!(CheckFailed(format!("`{line}` should have printed {expected:?}; {}: {}", output.status, stderr.trim())));
        }
    }
    Ok(())
}
