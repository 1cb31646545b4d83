//! One node: its place, and its process while there is one.

use std::fs::OpenOptions;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use kvcli::demo::child::forget_environment;
use kvcli::demo::cluster::ending;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::Options;
use crate::ending::{Ending, Failure};
use crate::host::network::Host;
use crate::host::people::People;
use crate::journal::MARK;

const CLIENT_PORT: u16 = 7117;
const PEER_PORT: u16 = 7217;
/// How long a node asked to end gets before it is killed.
const END_WAIT: Duration = Duration::from_secs(5);
/// How long the kernel may take to stop, or to go on with, a process.
const SIGNAL_WAIT: Duration = Duration::from_secs(5);
/// Lines of its log that an error quotes.
const QUOTED_LINES: usize = 6;
/// Light on the disk, unless the user says otherwise: segments are a quarter of this, filled with zeros ahead.
const RUN_ARGS: [&str; 2] = ["--max-log-bytes", "16MiB"];

/// A member of the cluster.
#[derive(Debug)]
pub(crate) struct Node {
    /// `n1` and so on: also the name of its host.
    pub(crate) name: String,
    /// Where clients reach it.
    pub(crate) client_addr: String,
    /// Where peers reach it.
    pub(crate) peer_addr: String,
    /// Its data.
    pub(crate) dir: PathBuf,
    /// All it ever said.
    pub(crate) log: PathBuf,
    /// All it ever applied, if it is to tell. Beside its data, where no fault reaches it.
    pub(crate) apply_trace: Option<PathBuf>,
    /// The process's id while there is one, for other programs.
    pid_file: PathBuf,
    kvnode: PathBuf,
    run_args: Vec<String>,
    mark: String,
    child: Option<Child>,
    paused: bool,
    /// How it ended without being asked to, until it is started again.
    ended: Option<ExitStatus>,
    /// Since when it has no process.
    down_since: Option<Instant>,
}

/// How a node's process is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ProcessState {
    /// It runs.
    Running,
    /// SIGSTOP.
    Paused,
    /// We ended it.
    Down,
    /// It ended by itself.
    Ended,
}

impl Node {
    pub(super) fn new(host: &Host, options: &Options, mark: &str) -> Node {
        let run_args = if options.run_args.is_empty() { RUN_ARGS.map(String::from).into() } else { options.run_args.clone() };
        Node {
            name: host.name.clone(),
            client_addr: format!("{}:{CLIENT_PORT}", host.address),
            peer_addr: format!("{}:{PEER_PORT}", host.address),
            dir: options.dir.join(&host.name),
            log: options.dir.join(format!("{}.log", host.name)),
            apply_trace: options.apply_traces.then(|| options.dir.join(format!("{}.applied.jsonl", host.name))),
            pid_file: options.dir.join(format!("{}.pid", host.name)),
            kvnode: options.kvnode.clone().expect("found when the cluster started"),
            run_args,
            mark: mark.to_owned(),
            child: None,
            paused: false,
            ended: None,
            down_since: None,
        }
    }

    /// How its process is.
    pub(crate) fn state(&self) -> ProcessState {
        match (&self.child, &self.ended, self.paused) {
            (Some(_), _, true) => ProcessState::Paused,
            (Some(_), _, false) => ProcessState::Running,
            (None, Some(_), _) => ProcessState::Ended,
            (None, None, _) => ProcessState::Down,
        }
    }

    /// Its process, while there is one.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// How it ended, if nobody asked it to.
    pub(crate) fn ended_by_itself(&self) -> Option<ExitStatus> {
        self.ended
    }

    /// Since when it has no process.
    pub(super) fn down_since(&self) -> Option<Instant> {
        self.down_since
    }

    /// The end of its log, and how it ended.
    pub(crate) fn last_words(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        let ended = self.ended.map_or_else(|| "runs".to_owned(), |status| format!("ended with {}", ending(status)));
        format!("{} {ended}\n    {}", self.name, lines[lines.len().saturating_sub(QUOTED_LINES)..].join("\n    "))
    }

    /// `kvnode init`.
    pub(super) fn init(&self, people: &People, host: &Host, members: &str) -> Result<(), Failure> {
        let mut command = self.command();
        command.args(["init", "--name", &self.name, "--cluster", members, "--data-dir"]).arg(&self.dir);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let output = people.spawn(&host.network, command).and_then(Child::wait_with_output).map_err(self.cannot("run kvnode init"))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(Ending::Io.says(format!("{}: kvnode init ended with {}: {}", self.name, ending(output.status), said.trim())))
    }

    /// `kvnode run`. It goes on with its log file.
    pub(super) fn start(&mut self, people: &People, host: &Host) -> Result<(), Failure> {
        assert!(self.child.is_none(), "{} runs already", self.name);
        let log = OpenOptions::new().create(true).append(true).open(&self.log).map_err(self.cannot("open its log"))?;
        let mut command = self.command();
        command.args(["run", "--listen-client", &self.client_addr, "--data-dir"]).arg(&self.dir).args(&self.run_args);
        if let Some(trace) = &self.apply_trace {
            command.arg("--apply-trace").arg(trace);
        }
        command.stdout(Stdio::null()).stderr(log);
        let child = people.spawn(&host.network, command).map_err(self.cannot("run kvnode"))?;
        let pid = child.id();
        let down_since = self.down_since.take();
        (self.child, self.paused, self.ended) = (Some(child), false, None);
        if let Err(error) = std::fs::write(&self.pid_file, format!("{pid}\n")) {
            // Others are told where a node runs by that file only: then it does not run.
            self.kill()?;
            self.down_since = down_since.or(self.down_since);
            return Err(self.cannot("write its pid file")(error));
        }
        Ok(())
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.kvnode);
        forget_environment(&mut command, "KVNODE_").env(MARK, &self.mark).stdin(Stdio::null());
        command.process_group(0); // Ctrl-C on the terminal is for us, not for the nodes
        command
    }

    /// SIGKILL, and no wait for what it does: so several nodes end at one instant.
    pub(super) fn strike(&self) -> Result<(), Failure> {
        self.signal(Signal::SIGKILL)
    }

    /// SIGKILL; whether that was its end.
    pub(super) fn kill(&mut self) -> Result<bool, Failure> {
        let Some(mut child) = self.child.take() else { return Ok(false) };
        let status = child.kill().and_then(|()| child.wait()).map_err(self.cannot("kill it"))?;
        self.is_down();
        let was_killed = status.signal() == Some(Signal::SIGKILL as i32);
        self.ended = (!was_killed).then_some(status); // it had ended by itself a moment before
        Ok(was_killed)
    }

    /// SIGSTOP, seen to work.
    pub(super) fn pause(&mut self) -> Result<(), Failure> {
        self.signal(Signal::SIGSTOP)?;
        self.paused = true;
        self.wait_for_stopped(true)
    }

    /// SIGCONT, seen to work. Whoever goes on already, or has ended, is not paused either.
    pub(super) fn resume(&mut self) -> Result<(), Failure> {
        self.signal(Signal::SIGCONT)?;
        self.paused = false;
        self.wait_for_stopped(false)
    }

    /// Whether it is stopped, according to /proc.
    pub(super) fn is_stopped(&self) -> bool {
        // 42 (kvnode) T 1 ...: the name is whatever stands between the first and the last parenthesis.
        let stat = self.pid().and_then(|pid| std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
    }

    fn wait_for_stopped(&self, stopped: bool) -> Result<(), Failure> {
        let deadline = Instant::now() + SIGNAL_WAIT;
        while self.is_stopped() != stopped {
            if Instant::now() > deadline {
                return Err(Ending::Io.says(format!("{} does not {}", self.name, if stopped { "stop" } else { "go on" })));
            }
            std::thread::yield_now();
        }
        Ok(())
    }

    /// SIGTERM, also for one that is stopped.
    pub(super) fn ask_to_end(&self) {
        let _ = self.signal(Signal::SIGTERM).and_then(|()| self.signal(Signal::SIGCONT)); // who is gone already is what we want
    }

    /// Waits for the end of one that was asked to.
    pub(super) fn wait_end(&mut self) {
        let deadline = Instant::now() + END_WAIT;
        while let Some(child) = &mut self.child {
            if matches!(child.try_wait(), Ok(None)) && Instant::now() < deadline {
                // sleeps because the system has no wait for a child with a deadline
                std::thread::sleep(Duration::from_millis(2));
                continue;
            }
            let _ = child.kill();
            let _ = child.wait();
            self.child = None;
            self.is_down();
        }
    }

    /// Looks whether it has ended without being asked to.
    pub(super) fn notice_end(&mut self) {
        let Some(child) = &mut self.child else { return };
        if let Ok(Some(status)) = child.try_wait() {
            self.child = None;
            // Somebody's SIGKILL from outside is no decision of the node's, but it is not ours either.
            self.ended = Some(status);
            self.is_down();
        }
    }

    fn is_down(&mut self) {
        self.paused = false;
        self.down_since = Some(Instant::now());
        let _ = std::fs::remove_file(&self.pid_file); // it says where a process is, and there is none
    }

    fn signal(&self, signal: Signal) -> Result<(), Failure> {
        // A child that we have not waited for keeps its pid, so this cannot hit a stranger.
        let Some(pid) = self.pid().and_then(|pid| i32::try_from(pid).ok()) else { return Ok(()) };
        kill(Pid::from_raw(pid), signal).map_err(|errno| self.cannot("signal it")(errno.into()))
    }

    fn cannot(&self, what: &'static str) -> impl Fn(std::io::Error) -> Failure + use<> {
        let name = self.name.clone();
        move |error| Ending::Io.says(format!("{name}: cannot {what}: {error}"))
    }
}
