//! What docs/chaos.md shows, from top to bottom, in one shell.

use std::process::Command;

use tests::{Ran, place, programs};

use crate::up::{lacks, with_us};

#[test]
fn what_the_documentation_shows_works() {
    if lacks("what_the_documentation_shows_works") {
        return;
    }
    let page = include_str!("../../../docs/chaos.md");
    let blocks: Vec<&str> = page.split("```sh\n").skip(1).map(|rest| rest.split("```").next().expect("a text")).collect();
    assert!(blocks.len() >= 4, "{} blocks", blocks.len());
    let dir = place::directory();
    let path = [env!("CARGO_BIN_EXE_chaos"), programs::kvnode().to_str().expect("text")]
        .map(|program| program.rsplit_once('/').expect("a path").0.to_owned());
    // An exit code is only looked at by `set -e` if nothing follows the command.
    let script = format!("set -eux\n{}", blocks.concat());
    let mut command = Command::new("sh");
    command
        .args(["-c", &script])
        .current_dir(dir.path())
        .env_remove("CHAOS_DIR")
        .env("KVCLI_TIMEOUT", "60s")
        .env("CHAOS_WITH", &with_us()["--with=".len()..]);
    command.env("PATH", format!("{}:{}", path.join(":"), std::env::var("PATH").expect("a path")));
    let ran = Ran::run(command, b"").expect_code(0);
    let text = String::from_utf8_lossy(&ran.stdout);
    for words in ["hello", "still here", "healthy: 5/5 voters", "packets_cut", "stopped_ms", "chaos-run is clean"] {
        assert!(text.contains(words), "no {words:?} in\n{text}\n{}", ran.stderr);
    }
}
