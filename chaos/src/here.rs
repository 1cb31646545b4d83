//! Nodes that somebody else started, on this host: their processes are stopped and killed, their packets dropped by this host's firewall.
//!
//! Nothing ends by itself here, so everything is in the undo journal before it is done: `chaos heal` and `chaos clean` undo it. A rule
//! carries a comment that names it. Only packets between this host and others can be dropped, and hosts are told apart by their addresses.

mod nodes; // which nodes, and which of them are here
mod rules; // of the firewall

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use fastrand::Rng;
use kvcli::{Clerk, Options};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use self::nodes::{Node, Nodes};
use crate::ending::{Ending, Failure};
use crate::fault::effect::Effect;
use crate::fault::shape::Shape;
use crate::fault::target::{Scene, Target};
use crate::fault::{Fault, LinkFault, ProcessFault};
use crate::journal::{self, Journal, Undo};

/// How long a node may take to say how it is.
const STATUS_TIMEOUT: Duration = Duration::from_millis(800);

/// What was begun.
pub(crate) struct Begun {
    /// In the journal's numbers: still to be undone, also after an error.
    pub(crate) steps: Vec<u64>,
    /// When all of it was done.
    pub(crate) at: Instant,
    pub(crate) outcome: Result<Injected, Failure>,
}

/// What a fault came to.
pub(crate) struct Injected {
    /// The nodes that it met.
    pub(crate) targets: Vec<String>,
    /// It is over already, and did this.
    pub(crate) over: Option<Effect>,
}

/// Breaks something.
pub(crate) fn inject(dir: &Path, nodes_file: &Path, fault: &Fault) -> Result<Begun, Failure> {
    let journal = Journal::open(dir).map_err(unwritten)?;
    let mut here = Here { nodes: Nodes::read(nodes_file)?, journal, begun: Vec::new(), over: None };
    let targets = here.inject(fault);
    let at = Instant::now();
    if let Ok(targets) = &targets {
        note(dir, &json!({"event": "begin", "fault": fault.to_string(), "targets": targets, "here": true}));
    }
    let over = here.over;
    if let Some(effect) = &over {
        note_end(dir, effect);
    }
    Ok(Begun { steps: here.begun, at, outcome: targets.map(|targets| Injected { targets, over }) })
}

/// Undoes these, or all that was done here according to the journal of this directory; what it did. What cannot be undone, say a unit that
/// does not start, leaves nothing else broken.
pub(crate) fn heal(dir: &Path, only: Option<&[u64]>) -> Result<Effect, Failure> {
    let mut journal = Journal::open(dir).map_err(unwritten)?;
    let (mut effect, mut failures) = (Effect::default(), Vec::new());
    let open = journal::open_ends(dir).map_err(unwritten)?;
    for (id, step) in open.iter().filter(|(id, step)| step.is_here() && only.is_none_or(|only| only.contains(id))) {
        match undo(step) {
            Ok(done) => {
                effect = effect.with(&done);
                journal.end(*id).map_err(unwritten)?;
            }
            Err(failure) => failures.push(failure),
        }
    }
    note_end(dir, &effect);
    Failure::of_all(failures).map_or(Ok(effect), Err)
}

/// Records what was undone.
pub(crate) fn note_end(dir: &Path, effect: &Effect) {
    note(dir, &json!({"event": "end", "effect": effect, "here": true}));
}

/// Undoes one thing that was done here; what it did. Other things are somebody else's.
pub(crate) fn undo(step: &Undo) -> Result<Effect, Failure> {
    let mut effect = Effect::default();
    match step {
        Undo::GoOn { pid, begun, since_ms } => {
            // Another process may have its number by now, but not its beginning.
            if nodes::begun(*pid).as_ref() == Some(begun) {
                if nodes::is_stopped(*pid) {
                    effect.stopped_ms = since_ms.map_or(0, |since_ms| uptime_ms().saturating_sub(since_ms)).max(1);
                }
                signal(*pid, Signal::SIGCONT)?; // if there is nobody any more, nobody stands
            }
        }
        Undo::Start { unit, pid_file, command, since_ms } => {
            // Whoever watches over it may have been faster: systemd, where the unit says `Restart=`.
            let runs = || nodes::pid_of(pid_file.as_deref(), unit.as_deref()).ok();
            let up_ms = match runs().and_then(nodes::begun_ms) {
                Some(begun_ms) => begun_ms,
                None => {
                    start(unit.as_deref(), command.as_deref())?;
                    uptime_ms()
                }
            };
            if let Some(since_ms) = since_ms {
                effect.killed = 1;
                effect.down_ms = up_ms.saturating_sub(*since_ms).max(1);
            }
        }
        Undo::DropRule { chain, rule, comment } => effect = rules::remove(chain, rule, comment)?,
        Undo::EndMarked(_) | Undo::MoveBack { .. } | Undo::PutBack { .. } => {}
    }
    Ok(effect)
}

struct Here {
    nodes: Nodes,
    journal: Journal,
    /// What the journal calls what we began.
    begun: Vec<u64>,
    /// What is over already has done this.
    over: Option<Effect>,
}

impl Here {
    fn inject(&mut self, fault: &Fault) -> Result<Vec<String>, Failure> {
        let only_ours = || Err(Ending::Unsupported.says(format!("{fault}: chaos does that only to clusters that it started (`chaos up`)")));
        match fault {
            Fault::Process(fault @ (ProcessFault::Pause | ProcessFault::Kill | ProcessFault::Restart), target) => {
                let whom = self.resolve(target)?;
                self.process(*fault, &whom)
            }
            Fault::Partition(Shape::Apart(target)) => {
                let group = self.resolve(target)?;
                let all: Vec<usize> = (0..self.nodes.all.len()).collect();
                let pairs = crate::fault::shape::apart(&group, &all);
                let links = pairs.into_iter().flat_map(|(a, b)| [(a, b), (b, a)]).collect();
                self.links(&group, links, LinkFault::Loss(1.0))
            }
            Fault::OneWay(from, to) => self.between(from, to, LinkFault::Loss(1.0)),
            Fault::Link(fault @ (LinkFault::Loss(_) | LinkFault::Reset), from, to) => self.between(from, to, *fault),
            Fault::Links(fault @ (LinkFault::Loss(_) | LinkFault::Reset), target) => {
                let group = self.resolve(target)?;
                let all = 0..self.nodes.all.len();
                let pairs = all.clone().flat_map(|from| all.clone().map(move |to| (from, to)));
                let links = pairs.filter(|(from, to)| from != to && (group.contains(from) || group.contains(to))).collect();
                self.links(&group, links, *fault)
            }
            _ => only_ours(),
        }
    }

    fn between(&mut self, from: &Target, to: &Target, fault: LinkFault) -> Result<Vec<String>, Failure> {
        let (mut from, to) = (self.resolve(from)?, self.resolve(to)?);
        let links = from.iter().flat_map(|from| to.iter().map(move |to| (*from, *to))).filter(|(from, to)| from != to).collect();
        from.extend(to);
        self.links(&from, links, fault)
    }

    fn resolve(&self, target: &Target) -> Result<Vec<usize>, Failure> {
        let names: Vec<String> = self.nodes.all.iter().map(|node| node.name.clone()).collect();
        let leader = if target.needs_leader() { Some(self.leader()?) } else { None };
        let found =
            target.resolve(&Scene { nodes: &names, clients: &[], leader }, &mut Rng::new()).map_err(|why| Ending::Usage.says(why))?;
        Ok(found.iter().filter_map(|name| names.iter().position(|known| known == name)).collect())
    }

    fn leader(&self) -> Result<usize, Failure> {
        let endpoints = self.nodes.all.iter().map(|node| node.client.as_str());
        let cannot = |error| Ending::Io.says(format!("cannot ask how the nodes are: {error}"));
        let options = Options { timeout: STATUS_TIMEOUT, ..Options::default() };
        let overview = Clerk::new(endpoints, options).and_then(|mut clerk| clerk.overview()).map_err(cannot)?;
        let name = overview.leader.map(|id| overview.name_of(id));
        let found = name.and_then(|name| self.nodes.all.iter().position(|node| node.name == name));
        found.ok_or_else(|| Ending::Inconclusive.says(format!("no leader to aim at: {}", overview.headline())))
    }

    fn process(&mut self, fault: ProcessFault, whom: &[usize]) -> Result<Vec<String>, Failure> {
        // All are looked at before the first is touched.
        let pids: Vec<i32> = whom.iter().map(|at| self.nodes.all[*at].pid()).collect::<Result<_, _>>()?;
        for (at, pid) in whom.iter().zip(pids) {
            let node: &Node = &self.nodes.all[*at];
            let has_ended = || Ending::Inconclusive.says(format!("{} has just ended", node.name));
            let (mut step, what) = match fault {
                ProcessFault::Pause => {
                    let begun = nodes::begun(pid).ok_or_else(has_ended)?;
                    (Undo::GoOn { pid, begun, since_ms: None }, Signal::SIGSTOP)
                }
                _ => (node.how_to_start()?, Signal::SIGKILL),
            };
            let id = self.journal.begin(step.clone()).map_err(unwritten)?;
            self.begun.push(id);
            let sent = signal(pid, what);
            if !matches!(sent, Ok(true)) {
                let _ = self.journal.end(id); // nothing was done; the first error is the one to report
                return sent.and(Err(has_ended()));
            }
            if fault == ProcessFault::Pause {
                node.wait_stopped(pid)?; // else whoever heals at once could find that it does not stand
            }
            // The time counts from here: a disk may have taken its own to sync the journal.
            if let Undo::GoOn { since_ms, .. } | Undo::Start { since_ms, .. } = &mut step {
                *since_ms = Some(uptime_ms());
            }
            self.journal.done(id, step.clone()).map_err(unwritten)?;
            if fault != ProcessFault::Pause {
                node.wait_end(pid)?; // else whoever heals at once could take it for the next one
            }
            if fault == ProcessFault::Restart {
                let effect = undo(&step)?;
                self.over = Some(self.over.unwrap_or_default().with(&effect));
                self.journal.end(id).map_err(unwritten)?;
            }
        }
        Ok(self.names(whom))
    }

    fn links(&mut self, whom: &[usize], links: Vec<(usize, usize)>, fault: LinkFault) -> Result<Vec<String>, Failure> {
        // All are looked at before the first is touched.
        let mut steps = Vec::new();
        for (from, to) in links {
            let (from, to) = (&self.nodes.all[from], &self.nodes.all[to]);
            if from.address == to.address {
                let (a, b, address) = (&from.name, &to.name, from.address);
                return Err(Ending::Unsupported.says(format!("{a} and {b} have one address, {address}: a firewall cannot tell them apart")));
            }
            // Where it arrives, or else where it leaves.
            let chain = match (to.is_here(), from.is_here()) {
                (true, _) => "INPUT",
                (_, true) => "OUTPUT",
                _ => {
                    let (a, b) = (&from.name, &to.name);
                    return Err(Ending::Unsupported.says(format!("neither {a} nor {b} is on this host: run chaos on one of theirs")));
                }
            };
            steps.push(rules::rule(chain, from.address, to.address, fault));
        }
        for step in steps {
            self.begun.push(self.journal.begin(step.clone()).map_err(unwritten)?);
            rules::add(&step)?;
        }
        Ok(self.names(whom))
    }

    fn names(&self, whom: &[usize]) -> Vec<String> {
        whom.iter().map(|at| self.nodes.all[*at].name.clone()).collect()
    }
}

fn start(unit: Option<&str>, command: Option<&str>) -> Result<(), Failure> {
    let mut program = match (unit, command) {
        (Some(unit), _) => {
            let mut program = Command::new("systemctl");
            program.args(["start", unit]);
            program
        }
        (None, Some(command)) => {
            let mut program = Command::new("setsid"); // it goes on when we and our terminal have gone
            program.args(["--fork", "sh", "-c", command]);
            program
        }
        (None, None) => return Ok(()),
    };
    let shown = format!("{program:?}");
    let status = program.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Ending::Io.says(format!("{shown}: {status}"))),
        Err(error) => Err(Ending::Io.says(format!("{shown}: {error}"))),
    }
}

/// Whether there was anybody to send it to.
fn signal(pid: i32, signal: Signal) -> Result<bool, Failure> {
    match kill(Pid::from_raw(pid), signal) {
        Ok(()) => Ok(true),
        Err(Errno::ESRCH) => Ok(false),
        Err(errno) => Err(Ending::Io.says(format!("cannot send {signal} to process {pid}: {errno}"))),
    }
}

/// Milliseconds since this machine started: the same clock for whoever undoes it.
fn uptime_ms() -> u64 {
    let text = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
    let seconds = text.split(' ').next().and_then(|seconds| seconds.parse::<f64>().ok()).unwrap_or_default();
    u64::try_from(Duration::from_secs_f64(seconds).as_millis()).unwrap_or_default()
}

/// A line of `faults.jsonl`; its loss must not keep anything from being undone.
fn note(dir: &Path, line: &Value) {
    let mut line = line.clone();
    line["at_ns"] = json!(uptime_ms() * 1_000_000);
    let file = OpenOptions::new().create(true).append(true).open(dir.join("faults.jsonl"));
    let _ = file.and_then(|mut file| writeln!(file, "{line}"));
}

fn unwritten(error: std::io::Error) -> Failure {
    Ending::Io.says(format!("the undo journal: {error}"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt as _;
    use std::process::Child;

    use super::*;

    /// Something that looks like a node, and the file that says so.
    struct Lookalike {
        dir: tempfile::TempDir,
        process: Child,
    }

    impl Lookalike {
        fn start(name: &str) -> Lookalike {
            let dir = tempfile::tempdir().unwrap();
            let mut command = Command::new("sh");
            // It ends with its stdin, and so with us.
            let process = command.arg0("kvnode").args(["-c", "read line"]).stdin(Stdio::piped()).spawn().unwrap();
            std::fs::write(dir.path().join("its.pid"), process.id().to_string()).unwrap();
            let pid_file = dir.path().join("its.pid");
            let entry = format!("[[node]]\nname = {name:?}\nclient = \"127.0.0.1:7117\"\npid_file = {pid_file:?}\nstart = \"true\"\n");
            std::fs::write(dir.path().join("nodes.toml"), entry).unwrap();
            Lookalike { dir, process }
        }

        fn inject(&self, words: &[&str]) -> Begun {
            inject(self.dir.path(), &self.dir.path().join("nodes.toml"), &Fault::parse(words).unwrap()).unwrap()
        }

        fn lines(&self, file: &str) -> Vec<Value> {
            let text = std::fs::read_to_string(self.dir.path().join(file)).unwrap();
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
        }
    }

    impl Drop for Lookalike {
        fn drop(&mut self) {
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }

    #[test]
    fn a_restart_is_over_and_its_effect_is_recorded() {
        let node = Lookalike::start("n1");
        let over = node.inject(&["restart", "n1"]).outcome.ok().unwrap().over.expect("it is over");
        assert!(over.killed == 1 && over.down_ms > 0, "{over:?}");
        assert_eq!(journal::open_ends(node.dir.path()).unwrap(), []);
        let record = node.lines("faults.jsonl");
        assert_eq!((&record[0]["event"], &record[1]["event"]), (&json!("begin"), &json!("end")));
        assert_eq!(record[1]["effect"]["killed"], 1);
    }

    #[test]
    fn what_cannot_be_undone_leaves_nothing_else_broken() {
        let node = Lookalike::start("n1");
        node.inject(&["pause", "n1"]).outcome.ok().unwrap();
        let pid = node.process.id().cast_signed();
        assert!(nodes::is_stopped(pid));
        let unit = |name: &str| Undo::Start { unit: Some(name.to_owned()), pid_file: None, command: None, since_ms: None };
        let mut journal = Journal::open(node.dir.path()).unwrap();
        let lost = ["lost.service", "gone.service"].map(|name| journal.begin(unit(name)).unwrap());
        // The last that was done is the first to be undone.
        let failure = heal(node.dir.path(), None).err().unwrap();
        assert_eq!(failure.ending, Ending::Io);
        assert!(failure.to_string().contains("gone.service") && failure.to_string().contains("lost.service"), "{failure}");
        assert!(!nodes::is_stopped(pid), "it goes on");
        let open: Vec<u64> = journal::open_ends(node.dir.path()).unwrap().into_iter().map(|(id, _)| id).collect();
        assert_eq!(open, [lost[1], lost[0]], "to be tried again");
    }

    #[test]
    fn a_pause_counts_from_the_signal_and_not_from_the_journal() {
        let node = Lookalike::start("n1");
        let begun = node.inject(&["pause", "n1"]);
        let lines = node.lines("undo.jsonl");
        let since: Vec<&Value> = lines.iter().map(|line| &line["begin"]["undo"]["go_on"]["since_ms"]).collect();
        assert!(since.len() == 2 && since[0].is_null() && since[1].is_u64(), "written before it is done, timed when it was: {since:?}");
        let [(id, Undo::GoOn { since_ms: Some(_), .. })] = &journal::open_ends(node.dir.path()).unwrap()[..] else { panic!("{lines:?}") };
        assert_eq!(begun.steps, [*id]);
        assert!(heal(node.dir.path(), None).unwrap().stopped_ms > 0);
    }

    #[test]
    fn whom_nobody_is_known_to_have_killed_is_not_said_to_be() {
        let node = Lookalike::start("n1");
        let step = Undo::Start { unit: None, pid_file: Some(node.dir.path().join("its.pid")), command: None, since_ms: None };
        assert!(undo(&step).unwrap().is_nothing());
    }

    #[test]
    fn a_node_may_have_any_name() {
        let node = Lookalike::start("turin-a");
        assert_eq!(node.inject(&["restart", "turin-a"]).outcome.ok().unwrap().targets, ["turin-a"]);
        let failure = node.inject(&["restart", "n1"]).outcome.err().unwrap();
        assert!(failure.ending == Ending::Usage && failure.to_string().contains("no host n1: there are turin-a"), "{failure}");
    }
}
