//! For somebody who is not root: the same, inside a user namespace.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use tests::{Ran, host, process, programs};

use crate::up::{json, with_us};

/// What runs as nobody in particular: programs copied to where everybody may run them.
struct Ordinary {
    dir: tempfile::TempDir,
}

impl Ordinary {
    fn new() -> Ordinary {
        let dir = tempfile::Builder::new().prefix("kvraft-ordinary-").tempdir_in("/tmp").expect("a directory");
        let everybody = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("our file");
        everybody(dir.path(), 0o777);
        for program in [Path::new(env!("CARGO_BIN_EXE_chaos")), &programs::kvnode(), &programs::kvcli()] {
            let copy = dir.path().join(program.file_name().expect("a name"));
            std::fs::copy(program, &copy).expect("a copy");
            everybody(&copy, 0o755);
        }
        Ordinary { dir }
    }

    fn run(&self, words: &[&str]) -> Ran {
        Ran::run(self.command(Command::new("setpriv"), words), b"")
    }

    /// The same where everybody may have TUN devices, as most systems let them: another device node, for nobody else to see.
    fn run_with_tun(&self, words: &[&str]) -> Ran {
        let mut command = Command::new("unshare");
        let script = "mknod tun c 10 200 && chmod 666 tun && mount --bind tun /dev/net/tun && exec setpriv \"$@\"";
        command.args(["--mount", "sh", "-c", script, "sh"]);
        Ran::run(self.command(command, words), b"")
    }

    fn command(&self, under: Command, words: &[&str]) -> Command {
        let mut command = under;
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(self.dir.path().join("chaos"));
        command.args(words).current_dir(self.dir.path());
        command
    }

    /// Something that clients do.
    fn put(&self, value: &str) -> Ran {
        let kvcli = self.dir.path().join("kvcli");
        self.run(&["exec", "--", kvcli.to_str().expect("text"), "--timeout", "60s", "put", "city", value])
    }
}

impl Drop for Ordinary {
    fn drop(&mut self) {
        let cleaned = self.run(&["clean", "--force"]);
        if !std::thread::panicking() {
            cleaned.expect_code(0);
        }
    }
}

#[test]
fn an_ordinary_user_has_hosts_too() {
    let name = "an_ordinary_user_has_hosts_too";
    if host::lacks("userns", name) || host::lacks("iptables", name) {
        return;
    }
    let ordinary = Ordinary::new();
    let status = ordinary.run(&["doctor"]).expect_code(0);
    assert!(String::from_utf8_lossy(&status.stdout).contains("inside a user namespace"), "{status}");
    // The firewall works wherever this test runs; TUN devices an ordinary user may have or not.
    ordinary.run(&["up", "--net=iptables", &with_us()]).expect_code(0);
    ordinary.put("Turin").expect_code(0);
    for words in [["inject", "partition", "leader"], ["inject", "pause", "one"], ["inject", "disk-full", "one"]] {
        ordinary.run(&words).expect_code(0);
        ordinary.run(&["heal"]).expect_code(0);
        ordinary.put(words[1]).expect_code(0);
    }
    ordinary.run(&["inject", "delay", "5ms"]).expect_code(5).expect_says(&["TUN"]);
    let status = json(&ordinary.run(&["status", "--json"]).expect_code(0));
    assert_eq!(status["backend"], "iptables");
    ordinary.run(&["down"]).expect_code(0);
}

#[test]
fn an_ordinary_user_with_tun_devices_has_every_fault() {
    let name = "an_ordinary_user_with_tun_devices_has_every_fault";
    if ["userns", "mount", "tun"].into_iter().any(|facility| host::lacks(facility, name)) {
        return;
    }
    let ordinary = Ordinary::new();
    ordinary.run_with_tun(&["up", &with_us()]).expect_code(0);
    assert_eq!(json(&ordinary.run(&["status", "--json"]).expect_code(0))["backend"], "tun");
    ordinary.run(&["inject", "delay", "100ms", "c1"]).expect_code(0);
    let took = ordinary.put("Turin").expect_code(0).took;
    assert!(took >= Duration::from_millis(400), "there and back, twice: {took:?}");
    ordinary.run(&["heal"]).expect_code(0);
    ordinary.run(&["down"]).expect_code(0);
}

#[test]
fn whom_an_ordinary_user_may_not_kill_is_not_said_to_be_killed() {
    let name = "whom_an_ordinary_user_may_not_kill_is_not_said_to_be_killed";
    if crate::up::lacks(name) {
        return;
    }
    let ordinary = Ordinary::new();
    let mut command = Command::new("sh");
    // It ends with its stdin, and so with us.
    command.arg0("kvnode").args(["-c", "read line"]).stdin(Stdio::piped());
    let mut node = process::spawn(command).expect("sh starts");
    let file = |name: &str| ordinary.dir.path().join(name);
    std::fs::write(file("its.pid"), node.id().to_string()).expect("a file");
    let pid_file = file("its.pid");
    let entry = format!("[[node]]\nname = \"n1\"\nclient = \"127.0.0.1:7117\"\npid_file = {pid_file:?}\nstart = \"true\"\n");
    std::fs::write(file("nodes.toml"), entry).expect("a file");
    for fault in ["kill", "pause", "restart"] {
        let ran = ordinary.run(&["inject", "--nodes", "nodes.toml", "--yes-on-this-host", fault, "n1"]);
        ran.expect_code(74).expect_says(&["cannot send SIG", "EPERM"]);
    }
    assert!(node.try_wait().expect("a child").is_none());
    let record = std::fs::read_to_string(file("chaos-run").join("faults.jsonl")).unwrap_or_default();
    assert!(!record.contains("killed") && !record.contains("stopped_ms"), "{record}");
    ordinary.run(&["heal"]).expect_code(64).expect_says(&["no cluster is up"]);
    node.kill().and_then(|()| node.wait()).expect("it ends");
}
