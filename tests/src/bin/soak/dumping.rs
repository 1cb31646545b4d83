//! While one writer always writes the same number to the first and then to the last of 100,000 keys, every dump is one point in time, and
//! nobody who writes beside it waits long.

use std::process::Stdio;

use tests::dumps::Dumps;
use tests::process;

const KEYS: usize = 100_000;

/// Whether all was well, for so many seconds.
pub(crate) fn run(seconds: u64) -> bool {
    let cluster = crate::cluster();
    let dumps = Dumps::of(&cluster, KEYS);
    let before = cluster.status().term();
    let seconds = seconds.to_string();
    let args = ["bench", "--clients", "16", "--seconds", &seconds, "--json"];
    let mut bench = cluster.kvcli_command(&cluster.endpoints(), args);
    bench.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut bench = process::spawn(bench).expect("kvcli starts");
    let count = dumps.check_while(&cluster, 1, || bench.try_wait().expect("a child").is_none());
    let output = bench.wait_with_output().expect("it ends");
    let figures: serde_json::Value = serde_json::from_slice(&output.stdout).expect("a document");
    println!("dumps of {KEYS} keys for {seconds} s, one after the other: {count}, each one point in time");
    println!("  a bench of 16 clients beside them: {figures}");
    output.status.success() & crate::same_term(&cluster, before)
}
