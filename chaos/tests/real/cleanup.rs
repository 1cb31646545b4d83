//! Killed at any moment, chaos leaves nothing; and outside its own namespaces nothing ever was.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fastrand::Rng;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tests::wait::{PATIENCE, let_pass, wait_until};
use tests::{Ran, host, place, process, programs};

use crate::up::lacks;

/// A stand-in for the host: network and mount namespaces in which nobody but us changes anything, so that any trace is chaos's.
struct Outside {
    holder: Child,
}

impl Outside {
    fn new() -> Outside {
        let mut command = Command::new("unshare");
        // Shared, as systemd has it: what is mounted below would show here, unless chaos sees to it.
        let setup = "mount --make-rshared / && ip link set lo up && echo ready && exec sleep infinity";
        command.args(["--net", "--mount", "sh", "-c", setup]);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut holder = process::spawn(command).expect("unshare starts");
        let mut ready = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(holder.stdout.take().expect("a pipe")), &mut ready).expect("it says so");
        assert_eq!(ready, "ready\n");
        Outside { holder }
    }

    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = programs::command("nsenter");
        command.args(["--target", &self.holder.id().to_string(), "--net", "--mount", "--"]).arg(program);
        command
    }

    /// Interfaces, addresses, routes, rules and mounts.
    fn look(&self) -> String {
        let show = |program: &str, args: &[&str]| {
            let mut command = self.command(program);
            command.args(args);
            String::from_utf8(Ran::run(command, b"").expect_code(0).stdout).expect("text")
        };
        let rules: String = show("iptables-save", &[]).lines().filter(|line| !line.starts_with('#')).collect();
        [show("ip", &["-o", "link"]), show("ip", &["-o", "addr"]), show("ip", &["route"]), rules, show("cat", &["/proc/self/mountinfo"])]
            .join("\n--\n")
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// `chaos` on that host.
fn chaos(outside: &Outside, dir: &Path, words: &[&str]) -> Command {
    let mut command = outside.command(env!("CARGO_BIN_EXE_chaos"));
    command.arg(words[0]).arg("--dir").arg(dir).args(&words[1..]);
    command
}

fn up_words() -> [String; 3] {
    [format!("--kvnode={}", programs::kvnode().display()), crate::up::with_us(), "--seed=7".into()]
}

/// Processes that belong to the runs of a directory: those that carry a mark of its journal, and those that have it on their command line.
fn processes(dir: &Path) -> Vec<String> {
    let journal = std::fs::read_to_string(dir.join("undo.jsonl")).unwrap_or_default();
    let mark = |line: &str| line.split("\"end_marked\":\"").nth(1).and_then(|rest| rest.split('"').next()).map(str::to_owned);
    let marks: BTreeSet<String> = journal.lines().filter_map(mark).collect();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("/proc") {
        let path = entry.expect("an entry").path();
        let read =
            |name: &str| std::fs::read(path.join(name)).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        let (environment, line) = (read("environ"), read("cmdline"));
        let is_marked = environment.split('\0').filter_map(|variable| variable.strip_prefix("CHAOS_RUN=")).any(|mark| marks.contains(mark));
        let is_ours = line.contains(dir.to_str().expect("text")) && line.contains("supervise");
        if is_marked || is_ours {
            found.push(format!("{}: {}", path.display(), line.replace('\0', " ")));
        }
    }
    found
}

/// Network namespaces by their numbers. Held open, or the kernel would give a number again, to another test's.
type Networks = BTreeMap<String, File>;

/// Which of these any process but ours is in, or has open.
fn still_there(networks: &Networks) -> Vec<String> {
    let mut seen = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("/proc") {
        let path = entry.expect("an entry").path();
        let pid = path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok());
        let link = |path: &Path| std::fs::read_link(path).map(|link| link.to_string_lossy().into_owned());
        seen.extend(link(&path.join("ns/net")));
        if pid.is_some_and(|pid| pid != std::process::id()) {
            let descriptors = std::fs::read_dir(path.join("fd")).into_iter().flatten().flatten();
            seen.extend(descriptors.filter_map(|entry| link(&entry.path()).ok()));
        }
    }
    seen.retain(|link| networks.contains_key(link));
    seen
}

/// What the supervisor and the nodes of a directory live in.
fn networks_of(dir: &Path) -> Networks {
    let pid_files = ["pid", "n1.pid", "n2.pid", "n3.pid"].map(|name| std::fs::read_to_string(dir.join(name)));
    let network = |pid: String| {
        let file = File::open(format!("/proc/{}/ns/net", pid.trim())).ok()?;
        let link = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()?;
        Some((link.to_string_lossy().into_owned(), file))
    };
    pid_files.into_iter().flatten().filter_map(network).collect()
}

/// `None`: it has not written its number yet.
fn supervisor(dir: &Path) -> Option<Pid> {
    let text = std::fs::read_to_string(dir.join("pid")).ok()?;
    text.strip_suffix('\n')?.parse().ok().map(Pid::from_raw)
}

fn kill_supervisor(dir: &Path) {
    kill(supervisor(dir).expect("it has written its number"), Signal::SIGKILL).expect("it is there");
}

#[test]
fn killed_at_any_moment_chaos_leaves_nothing_and_outside_nothing_ever_was() {
    let name = "killed_at_any_moment_chaos_leaves_nothing_and_outside_nothing_ever_was";
    if lacks(name) || host::lacks("iptables", name) {
        return;
    }
    let mut random = Rng::with_seed(host::seed());
    let outside = Outside::new();
    let before = outside.look();
    let [kvnode, with, seed] = up_words();
    for round in 0..16 {
        let dir = place::directory();
        let dir = dir.path();
        let backend = if random.bool() { "--net=tun" } else { "--net=iptables" };
        let mut command = chaos(&outside, dir, &["up", "--nodes=3", &kvnode, &with, &seed, backend]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut starting = process::spawn(command).expect("chaos up starts");
        // Half of them while they start, the others while they break something.
        let mut lived_in = Networks::new();
        if round % 2 == 0 {
            wait_until("there is a supervisor", PATIENCE, || supervisor(dir).is_some());
            let_pass(Duration::from_millis(random.u64(0..500)));
            lived_in.extend(networks_of(dir));
            kill_supervisor(dir);
            let _ = starting.wait();
        } else {
            assert!(starting.wait().expect("a child").success());
            lived_in.extend(networks_of(dir));
            assert!(lived_in.len() == 4 && outside.look() == before, "hosts of their own, and nothing of it outside: {lived_in:?}");
            let mut others = Vec::new();
            // A command of the user's, too, that would outlive everything, and its child.
            let words = ["exec", "--", "sh", "-c", "sleep 1000 & exec sleep 1001"];
            let faults = ["wipe one", "disk-full one", "truncate one", "partition halves", "pause all", "crash-loop all", "loss 10%"];
            for words in [&words[..], &["inject"]] {
                let mut words = words.to_vec();
                if words == ["inject"] {
                    words.extend(faults[random.usize(0..faults.len())].split(' '));
                }
                let mut command = chaos(&outside, dir, &words);
                command.stdout(Stdio::null()).stderr(Stdio::null());
                others.push(process::spawn(command).expect("chaos starts"));
            }
            let_pass(Duration::from_millis(random.u64(0..400)));
            lived_in.extend(networks_of(dir));
            kill_supervisor(dir);
            for mut other in others {
                let _ = other.wait(); // the command was killed, the fault may have been told so
            }
        }
        // Nothing needs to be swept up for that, nor does it harm to sweep at once.
        let ends_by_itself = random.bool();
        if ends_by_itself {
            wait_until("all processes have ended", PATIENCE, || processes(dir).is_empty());
        }
        let cleaned = Ran::run(chaos(&outside, dir, &["clean"]), b"").expect_code(0);
        assert!(!ends_by_itself || !String::from_utf8_lossy(&cleaned.stdout).contains("processes"), "{cleaned}");
        assert_eq!(processes(dir), Vec::<String>::new());
        assert_eq!(outside.look(), before);
        lived_in.remove(&networks_of_holder(&outside));
        // Not at once: between fork and exec, a child of another test has what we have open.
        wait_until("nobody lives in its network namespaces", PATIENCE, || still_there(&lived_in).is_empty());
        let odd = |entry: &str| entry.contains("wiped") || entry.ends_with(".pid") || ["control", "pid"].contains(&entry);
        let entries = std::fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry").file_name());
        let odd: Vec<String> = entries.map(|name| name.to_string_lossy().into_owned()).filter(|name| odd(name)).collect();
        assert_eq!(odd, Vec::<String>::new());
    }
}

/// Until it makes its own, a supervisor is in that of who started it.
fn networks_of_holder(outside: &Outside) -> String {
    std::fs::read_link(format!("/proc/{}/ns/net", outside.holder.id())).expect("a namespace").to_string_lossy().into_owned()
}

#[test]
fn a_cluster_ends_with_the_process_it_was_told_to_end_with() {
    if lacks("a_cluster_ends_with_the_process_it_was_told_to_end_with") {
        return;
    }
    let dir = place::directory();
    let mut sleeper = process::spawn({
        let mut command = Command::new("sleep");
        command.arg("1000");
        command
    })
    .expect("sleep starts");
    let mut command = crate::up::chaos(&["up", "--nodes=1", "--dir"]);
    command.arg(dir.path()).arg(format!("--kvnode={}", programs::kvnode().display())).arg(format!("--with={}", sleeper.id()));
    Ran::run(command, b"").expect_code(0);
    assert_eq!(processes(dir.path()).len(), 3, "a supervisor, the holder, a node");
    sleeper.kill().and_then(|()| sleeper.wait()).expect("it ends");
    wait_until("all of it has ended", PATIENCE, || processes(dir.path()).is_empty());
    assert!(!dir.path().join("control").exists());
}

#[test]
fn a_killed_run_leaves_nothing() {
    let name = "a_killed_run_leaves_nothing";
    if lacks(name) || host::lacks("iptables", name) {
        return;
    }
    let mut random = Rng::with_seed(host::seed());
    let outside = Outside::new();
    let before = outside.look();
    for faults in ["kill,pause,partition", "crash-loop,wipe,disk-full"] {
        let out = place::directory();
        let mut command = outside.command(env!("CARGO_BIN_EXE_chaos"));
        command.args(["run", "--nodes=3", "--time=60s", "--clients=2", "--rate=50", "--faults", faults, "--out"]).arg(out.path());
        command.arg(format!("--kvnode={}", programs::kvnode().display())).stdout(Stdio::null()).stderr(Stdio::null());
        let mut run = process::spawn(command).expect("chaos run starts");
        let dir = || out.path().join("latest").canonicalize();
        wait_until("its nodes run", PATIENCE, || dir().is_ok_and(|dir| dir.join("n3.pid").exists()));
        let dir = dir().expect("a link");
        let_pass(Duration::from_millis(random.u64(0..4000)));
        assert!(run.try_wait().expect("a child").is_none(), "it is not over yet");
        if faults.contains("kill") {
            // One that is at work is left alone; to see that, it is given time to go.
            Ran::run(chaos(&outside, &dir, &["clean"]), b"").expect_code(64).expect_says(&["is up"]);
            assert!(run.try_wait().expect("a child").is_none());
        }
        run.kill().and_then(|()| run.wait()).expect("SIGKILL");
        wait_until("all processes have ended", PATIENCE, || processes(&dir).is_empty());
        Ran::run(chaos(&outside, &dir, &["clean"]), b"").expect_code(0);
        assert_eq!(processes(&dir), Vec::<String>::new());
        assert_eq!(outside.look(), before);
    }
}

#[test]
fn clean_touches_nothing_that_is_not_its_own() {
    let dir = place::directory();
    let dir = dir.path();
    let clean = || Ran::run(crate::up::chaos(&["clean", "--dir", dir.to_str().expect("text")]), b"");
    let all = ["control", "n1.pid", "n1x.pid", "pid", "sshd.pid"];
    let there = || {
        let entries = std::fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry").file_name());
        let mut names: Vec<String> = entries.map(|name| name.into_string().expect("text")).collect();
        names.sort();
        names
    };
    for name in all {
        std::fs::write(dir.join(name), "1\n").expect("a file");
    }
    clean().expect_code(64).expect_says(&["nothing of chaos in", "undo.jsonl"]);
    assert_eq!(there(), all, "not even a lock is left");
    // One that has only broken nodes of somebody else's has no such files either.
    let journal = |lines: &str| std::fs::write(dir.join("undo.jsonl"), lines).expect("a file");
    journal("{\"begin\":{\"id\":1,\"undo\":{\"go_on\":{\"pid\":4194304,\"begun\":\"1\",\"since_ms\":1}}}}\n");
    clean().expect_code(0);
    assert!(all.iter().all(|name| dir.join(name).exists()), "{:?}", there());
    journal("{\"begin\":{\"id\":1,\"undo\":{\"end_marked\":\"0\"}}}\n{\"end\":{\"id\":1}}\n");
    clean().expect_code(0);
    let left: Vec<&str> = all.into_iter().filter(|name| dir.join(name).exists()).collect();
    assert_eq!(left, ["n1x.pid", "sshd.pid"]);
}

#[test]
fn clean_by_force_does_not_kill_whom_a_stale_pid_file_names() {
    let dir = place::directory();
    let dir = dir.path();
    std::fs::write(dir.join("undo.jsonl"), "{\"begin\":{\"id\":1,\"undo\":{\"end_marked\":\"0\"}}}\n{\"end\":{\"id\":1}}\n")
        .expect("a file");
    let mut command = Command::new("sleep");
    command.arg("1000");
    let mut stranger = process::spawn(command).expect("sleep starts");
    std::fs::write(dir.join("pid"), format!("{}\n", stranger.id())).expect("a file");
    let lock = File::create(dir.join("lock")).expect("a file");
    let lock = Flock::lock(lock, FlockArg::LockExclusiveNonblock).expect("nobody else has it");
    let mut command = crate::up::chaos(&["clean", "--force", "--dir"]);
    command.arg(dir);
    let ran = Ran::run(command, b"");
    let lives = stranger.try_wait().expect("a child").is_none();
    stranger.kill().and_then(|()| stranger.wait()).expect("it ends");
    assert!(lives, "{ran}");
    ran.expect_code(74).expect_says(&["in use, and not by process"]);
    drop(lock);
}
