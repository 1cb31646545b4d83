//! What this machine lacks. A test may stay away for want of a facility only if `cargo xtask test` has found, by trying, that the
//! kernel or the container denies it; the word of the test alone would turn a broken test into a passed one.

use std::io::Write;

/// Whether the test called `name` must stay away because the host lacks `facility` (`ptrace`, `netns`, `mount`, `iptables`,
/// `ipv6`, `systemd`, `systemd-analyze`, `tun`, `userns`). If so this says it, on the terminal and to the run's table.
#[must_use]
pub fn lacks(facility: &str, name: &str) -> bool {
    let lacks = std::env::var("KVRAFT_HOST_LACKS").unwrap_or_default();
    if !lacks.split(',').any(|lacking| lacking == facility) {
        return false;
    }
    let line = format!("{name}: this host lacks {facility}");
    // Not `println!`, which the test runner swallows when a test passes.
    let _ = writeln!(std::io::stdout(), "not run: {line}");
    if let Some(path) = std::env::var_os("KVRAFT_NOT_RUN") {
        let file = std::fs::OpenOptions::new().append(true).create(true).open(path);
        let _ = file.and_then(|mut file| writeln!(file, "{line}"));
    }
    true
}

/// Prints a figure that people want to see even of a test that passed.
pub fn report(line: impl std::fmt::Display) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// The seed of this run: what is drawn in a test is drawn from it. Printed with its name, so that a failure can be repeated.
pub fn seed() -> u64 {
    let seed = std::env::var("KVRAFT_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(0..1 << 32));
    println!("seed={seed} (KVRAFT_SEED={seed} draws the same again)");
    seed
}
