//! `kvcli demo` as users run it: the real program, real nodes, with and without a terminal, and ended in every way there is.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

const KVCLI: &str = env!("CARGO_BIN_EXE_kvcli");
/// For what takes a fraction of it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A place for one test's demos: what is left in it afterwards was left behind by them.
struct Place {
    dir: TempDir,
}

impl Place {
    fn new() -> Place {
        kvnode_is_built();
        Place { dir: TempDir::with_prefix_in("demo-", env!("CARGO_TARGET_TMPDIR")).unwrap() }
    }

    fn demo(&self) -> Command {
        let mut command = Command::new(KVCLI);
        command.arg("demo").env("TMPDIR", self.dir.path()).stdin(Stdio::null());
        command
    }

    /// Runs a demo without a terminal to its end.
    fn run(&self) -> Output {
        self.demo().output().unwrap()
    }

    /// Starts one and waits until it has said something that begins so.
    fn start_until(&self, beginning: &str) -> Running {
        let mut child = self.demo().stdout(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut said = String::new();
        while !said.lines().any(|line| line.starts_with(beginning)) {
            assert!(stdout.read_line(&mut said).unwrap() > 0, "the demo ended before {beginning:?}: {said}");
        }
        Running { child, stdout, said }
    }

    /// The nodes that run for a demo of this place.
    fn nodes(&self) -> Vec<String> {
        let place = self.dir.path().to_str().unwrap();
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let commands = processes.filter_map(|process| std::fs::read_to_string(process.path().join("cmdline")).ok());
        commands.filter(|command| command.contains("kvnode") && command.contains(place)).collect()
    }

    fn files(&self) -> Vec<PathBuf> {
        std::fs::read_dir(self.dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    fn assert_nothing_left(&self) {
        assert_eq!(self.nodes(), Vec::<String>::new(), "processes are left");
        assert_eq!(self.files(), Vec::<PathBuf>::new(), "files are left");
    }
}

/// A demo that has not ended yet.
struct Running {
    child: Child,
    stdout: BufReader<std::process::ChildStdout>,
    said: String,
}

impl Running {
    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }

    fn wait(mut self) -> (ExitStatus, String) {
        self.stdout.read_to_string(&mut self.said).unwrap();
        (self.child.wait().unwrap(), self.said)
    }
}

/// The demo looks for kvnode beside kvcli; cargo only promises us kvcli.
fn kvnode_is_built() {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| {
        if std::env::var_os("KVRAFT_BIN_DIR").is_some() {
            return; // whoever set it has built both
        }
        let profile_dir = Path::new(KVCLI).parent().unwrap();
        let profile = match profile_dir.file_name().unwrap().to_str().unwrap() {
            "debug" => "dev",
            other => other,
        };
        let args = ["build", "--quiet", "--package", "kvnode", "--profile", profile, "--target-dir"];
        let built = Command::new(env!("CARGO")).args(args).arg(profile_dir.parent().unwrap()).status().unwrap();
        assert!(built.success());
    });
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        // sleeps because the condition is another process's, and is looked at again at once after
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The numbers in a line, in order.
fn numbers(line: &str) -> Vec<u64> {
    line.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}

#[test]
fn without_a_terminal_it_shows_everything_in_order_and_leaves_nothing() {
    let place = Place::new();
    let output = place.run();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{:?}: {stdout}{}", output.status, String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");

    let lines: Vec<&str> = stdout.lines().filter(|line| !line.is_empty()).collect();
    assert_eq!(lines[0].split_whitespace().collect::<Vec<_>>(), ["node", "client", "address", "pid", "role"]);
    let mut roles = Vec::new();
    for (line, name) in lines[1..4].iter().zip(["n1", "n2", "n3"]) {
        let cells: Vec<&str> = line.split_whitespace().collect();
        assert_eq!((cells[0], cells.len()), (name, 4), "{line}");
        assert!(cells[1].parse::<std::net::SocketAddr>().unwrap().ip().is_loopback(), "{line}");
        assert!(cells[2].parse::<u32>().unwrap() > 1, "{line}");
        roles.push(cells[3]);
    }
    let leader = 1 + roles.iter().position(|role| *role == "leader").unwrap();
    roles.sort_unstable();
    assert_eq!(roles, ["follower", "follower", "leader"]);

    let tour = ["$ kvcli put greeting hello", "OK", "$ kvcli append greeting ', world'", "OK", "$ kvcli get greeting", "hello, world"];
    assert_eq!(lines[4..10], tour);

    let killed = numbers(lines[10]); // killed n2: n3 leads after 38 ms; 412 acknowledged appends: 0 lost, 0 doubled
    let (dead, successor, appends) = (killed[0], killed[1], killed[3]);
    let expected = format!("killed n{dead}: n{successor} leads after {} ms; {appends} acknowledged appends: 0 lost, 0 doubled", killed[2]);
    assert!(lines[10].starts_with(&expected), "{}", lines[10]);
    assert!(dead != successor && appends >= 100, "{}", lines[10]);
    assert!((1..=3).contains(&dead) && leader <= 3);
    assert!(lines[11].starts_with(&format!("restarted n{dead}: it has caught up after ")), "{}", lines[11]);
    assert_eq!(lines[12..], ["stopped; nothing left"]);
    place.assert_nothing_left();
}

#[test]
fn sigkill_takes_the_nodes_along_and_the_next_demo_removes_the_directory() {
    let place = Place::new();
    let demo = place.start_until("n3 ");
    assert_eq!(place.nodes().len(), 3);
    demo.signal(Signal::SIGKILL);
    assert_eq!(demo.wait().0.signal(), Some(Signal::SIGKILL as i32));
    wait_until("no node is left", || place.nodes().is_empty());
    assert_eq!(place.files().len(), 1, "nobody was left to remove it");

    assert!(place.run().status.success());
    place.assert_nothing_left();
}

#[test]
fn signals_end_it_cleanly_with_their_own_exit_code() {
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143), (Signal::SIGHUP, 129)] {
        let place = Place::new();
        let demo = place.start_until("node ");
        demo.signal(signal);
        let (status, said) = demo.wait();
        assert_eq!(status.code(), Some(code), "{signal}: {said}");
        assert_eq!(said.lines().last(), Some("stopped; nothing left"), "{signal}");
        place.assert_nothing_left();
    }
}

#[test]
fn a_closed_stdout_ends_it_silently_with_141() {
    let place = Place::new();
    let mut child = place.demo().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(141), ""));
    place.assert_nothing_left();
}

#[test]
fn a_kept_cluster_starts_again_as_printed_with_its_data() {
    let place = Place::new();
    let kept = place.dir.path().join("it's kept"); // a name that the printed commands must quote
    let output = place.demo().arg("--keep").arg(&kept).output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{stdout}{}", String::from_utf8_lossy(&output.stderr));
    assert!(!stdout.contains("nothing left"), "{stdout}");
    assert_eq!(place.nodes(), Vec::<String>::new());

    let commands: Vec<&str> = stdout.lines().filter(|line| line.contains(" run --data-dir ")).collect();
    assert_eq!(commands.len(), 3, "{stdout}");
    let endpoint = stdout.lines().find(|line| line.starts_with("n2 ")).unwrap().split_whitespace().nth(1).unwrap();
    let mut nodes: Vec<Child> = commands
        .iter()
        .map(|command| Command::new("sh").arg("-c").arg(format!("exec {command}")).stderr(Stdio::null()).spawn().unwrap())
        .collect();
    let got = Command::new(KVCLI).args(["--endpoints", endpoint, "--timeout", "30s", "get", "greeting"]).output().unwrap();
    for node in &mut nodes {
        node.kill().unwrap();
        node.wait().unwrap();
    }
    assert_eq!(String::from_utf8_lossy(&got.stdout), "hello, world", "{}", String::from_utf8_lossy(&got.stderr));
}

#[test]
fn a_directory_to_keep_must_be_empty() {
    let place = Place::new();
    std::fs::write(place.dir.path().join("mine"), "precious").unwrap();
    let output = place.demo().arg("--keep").arg(place.dir.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("not empty"));
    assert_eq!(place.files().len(), 1);
}

#[test]
fn without_kvnode_it_says_where_it_looked() {
    let place = Place::new();
    // The same program in a directory where it is alone.
    let alone = place.dir.path().join("kvcli");
    std::fs::hard_link(KVCLI, &alone).unwrap();
    let output = Command::new(&alone).arg("demo").env("PATH", "").output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(74), "{stderr}");
    assert!(stderr.contains(place.dir.path().join("kvnode").to_str().unwrap()) && stderr.contains("PATH"), "{stderr}");
}

/// A demo on a pseudo-terminal: what is typed, and what appears.
struct Typist {
    child: Child,
    keyboard: std::fs::File,
    screen: Receiver<Vec<u8>>,
    /// What appeared and was not looked at yet.
    unseen: String,
}

impl Typist {
    fn sit_down(place: &Place) -> Typist {
        let pty = nix::pty::openpty(None, None).unwrap();
        let terminal = || Stdio::from(pty.slave.try_clone().unwrap());
        let child = place.demo().stdin(terminal()).stdout(terminal()).stderr(terminal()).spawn().unwrap();
        let keyboard = std::fs::File::from(pty.master);
        let mut master = keyboard.try_clone().unwrap();
        let (sender, screen) = channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // Reading fails once nobody has the other side open.
            while let Ok(count @ 1..) = master.read(&mut bytes) {
                if sender.send(bytes[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        Typist { child, keyboard, screen, unseen: String::new() }
    }

    fn types(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until this appears, and returns everything up to its end.
    fn sees(&mut self, what: &str) -> String {
        loop {
            if let Some(at) = self.unseen.find(what) {
                return self.unseen.drain(..at + what.len()).collect();
            }
            let bytes = self.screen.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{what:?} did not appear: {}", self.unseen));
            self.unseen.push_str(&String::from_utf8_lossy(&bytes).replace('\r', ""));
        }
    }
}

#[test]
fn on_a_terminal_the_shell_kills_restarts_and_runs_commands() {
    let place = Place::new();
    let mut typist = Typist::sit_down(&place);
    typist.sees("0 lost, 0 doubled");
    typist.sees("In a second terminal:\n  export KVCLI_ENDPOINTS=127.0.0.1:");
    typist.sees("kvraft> ");

    typist.types("\\status\n");
    let table = typist.sees("kvraft> ");
    assert_eq!(table.matches("follower").count(), 2, "{table}");
    assert_eq!(table.matches("leader").count(), 1, "{table}");

    typist.types("put 'a key' \"its value\"\n");
    typist.sees("OK\n");
    typist.types("get 'a key'\n");
    typist.sees("its value\n"); // not the echo: that has quotes
    typist.types("get nothing\n");
    typist.sees("[exit code 1]");

    typist.types("\\kill leader\n");
    typist.sees("killed n");
    typist.sees(" leads after ");
    typist.sees("kvraft> ");
    typist.types("\\status\n");
    let table = typist.sees("kvraft> ");
    let dead = table.lines().find(|line| line.contains("down")).unwrap_or_else(|| panic!("{table}"))[..2].to_owned();
    typist.types("get 'a key'\n");
    typist.sees("its value\n");

    typist.types("\\kill leader\n");
    typist.sees("without a majority");
    typist.types(&format!("\\restart {dead}\n"));
    typist.sees(&format!("restarted {dead}: it has caught up"));
    typist.types(&format!("\\pause {dead}\n"));
    typist.sees(&format!("paused {dead}"));
    typist.types(&format!("\\resume {dead}\n"));
    typist.sees(&format!("resumed {dead}"));
    typist.types(&format!("\\resume {dead}\n"));
    typist.sees("is not paused");
    typist.types("\\explode\n");
    typist.sees("not a command here");
    typist.types("\\help\n");
    typist.sees("Ctrl-D");

    typist.types("\x04");
    typist.sees("stopped; nothing left\n");
    assert_eq!(typist.child.wait().unwrap().code(), Some(0));
    place.assert_nothing_left();
}
