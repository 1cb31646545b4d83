//! `chaos run`: real nodes, real clients, faults by plan, and a verdict.
//!
//! Clients work and faults come and go; then everything is healed, the nodes must converge, every key is read on every node, and the
//! history of what the clients saw is judged. A run in which nothing was exercised is inconclusive, never passed.

mod applied; // what nodes say they applied
mod args; // the flags
mod artifacts; // what it leaves behind
mod crew; // clients
mod findings; // what else is wrong
mod finish; // healed: do they converge, and to the same?
mod observer; // who leads
pub(crate) mod perform; // one call
mod plan; // which fault when
mod scenario; // what is to be done
mod sight; // what a history shows at a glance
mod verdict; // what came of it
mod workload; // what clients ask

use std::io::{self, IsTerminal as _, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use checker::{History, Op};
use serde::Serialize;

use self::applied::Applied;
pub(crate) use self::args::RunArgs;
use self::artifacts::Artifacts;
use self::crew::{Crew, Duty};
use self::findings::{Findings, bugs};
use self::observer::Observer;
use self::plan::Step;
use self::scenario::Scenario;
use self::verdict::{Broken, Outcome, Result as RunResult};
use crate::cluster::{Cluster, Options};
use crate::ending::{Ending, Failure};
use crate::host::programs;
use crate::interrupt::Interrupt;

/// How long nodes may take to form a cluster, and to come together after the last fault.
const CONVERGE_MAX: Duration = Duration::from_secs(30);
/// Between two looks at the clock.
const TURN: Duration = Duration::from_millis(5);
/// Between two updates of the live line.
const LIVE_EVERY: Duration = Duration::from_millis(250);
/// Client hosts: enough that some clients are cut off while others are not.
const CLIENT_HOSTS_MAX: usize = 3;

/// What is written to `run.json`: enough to ask for the same plan again.
#[derive(Serialize)]
struct RunJson<'a> {
    version: &'static str,
    seed: u64,
    replay: String,
    scenario: &'a Scenario,
    /// Every interval of the history is on one monotonic clock; it read 0 at this time.
    began: String,
}

pub(crate) fn run(args: &RunArgs) -> Result<Ending, Failure> {
    let scenario = Scenario::new(args)?;
    let seed = args.seed.unwrap_or_else(|| fastrand::Rng::new().u64(..1_000_000_000));
    let steps =
        if scenario.fault.is_empty() { plan::draw(&scenario.faults, scenario.nodes, scenario.time, seed) } else { scenario.fault.clone() };
    let kvnode = programs::given_or_ours(args.kvnode.as_deref(), "kvnode")?; // else there would be a run, and `latest`, of nothing
    let mut out = io::stdout();
    writeln!(out, "seed={seed}")?;
    let cannot = |error: io::Error| artifacts::cannot_write(&args.out, &error);
    let mut artifacts = Artifacts::create(&args.out, seed).map_err(cannot)?;
    writeln!(
        out,
        "{} nodes, {} clients, {:?} of {:?}: {}",
        scenario.nodes,
        scenario.clients,
        scenario.time,
        scenario.workload,
        artifacts.dir().display()
    )?;
    let run = RunJson {
        version: env!("CARGO_PKG_VERSION"),
        seed,
        replay: replay(args, seed),
        scenario: &scenario,
        began: humantime::format_rfc3339_millis(std::time::SystemTime::now()).to_string(),
    };
    artifacts.json("run.json", &run).map_err(cannot)?;
    artifacts.lines("plan.jsonl", &steps).map_err(cannot)?;

    let start = Instant::now();
    let mut cluster = Cluster::start(Options {
        kvnode: Some(kvnode),
        dir: artifacts.dir().into(),
        nodes: scenario.nodes,
        clients: scenario.clients.min(CLIENT_HOSTS_MAX),
        run_args: scenario.node_args.clone(),
        apply_traces: true,
        backend: None,
        seed,
        epoch: start,
    })?;
    if let Err(failure) = cluster.wait_healthy(CONVERGE_MAX) {
        return Err(bugs(cluster.nodes()).first().map_or(failure, |bug| Ending::Violation.says(bug)));
    }
    let endpoints: Vec<String> = cluster.nodes().iter().map(|node| node.client_addr.clone()).collect();
    let observer = Observer::start(endpoints.clone(), start)?;
    let crew = Crew::start(&duty(&scenario, &cluster, endpoints.clone(), seed, start))?;

    let interrupt = Interrupt::catch()?;
    let outcomes = vec![Outcome::NotBegun; steps.len()];
    let mut stage = Stage { cluster, steps, outcomes, in_force: Vec::new(), ops: Vec::new(), done: 0, out };
    let faulty = stage.play(&scenario, &crew, &observer, &interrupt, &mut artifacts);
    // Whatever became of it: what is broken is mended, and what is known is kept.
    let healed = stage.heal_all().and_then(|()| stage.settle(&crew, &mut artifacts));
    let (rest, settled) = crew.stop().map_err(|why| Ending::Io.says(why))?;
    stage.keep(rest, &mut artifacts)?;
    artifacts.flush()?;
    let mut found = Findings::default();
    found.late(faulty)?;
    let is_healthy = found.late(healed)?.is_some();
    let reads = finish::finish(&mut stage.cluster, &stage.ops, &endpoints, start, is_healthy.then_some(CONVERGE_MAX), &mut found)?;
    stage.keep(reads, &mut artifacts)?;
    artifacts.flush()?;
    let leaders = observer.stop();
    artifacts.lines("leaders.jsonl", &leaders).map_err(cannot)?;
    stage.cluster.stop()?;
    found.wrong(bugs(stage.cluster.nodes()));

    found.wrong(stage.place_unknown(&mut artifacts)?);
    let mut history = History::new();
    for op in std::mem::take(&mut stage.ops) {
        history.push(op).map_err(|error| Ending::Internal.says(format!("a client recorded what cannot be: {error}")))?;
    }
    let broken = Broken { steps: &stage.steps, outcomes: &stage.outcomes };
    let result = RunResult::of(&scenario, seed, &history, &broken, leaders.len(), settled, found);
    artifacts.json("result.json", &result).map_err(cannot)?;
    if result.ending() == Ending::Passed {
        // Everything that they could tell is in the history; who looks for a fault may want to see the rest.
        for trace in stage.traces() {
            let _ = std::fs::remove_file(trace); // one that is left harms nobody
        }
    }
    write!(stage.out, "{result}")?;
    writeln!(stage.out, "{}", artifacts.dir().display())?;
    Ok(result.ending())
}

/// The command that asks for the same plan.
fn replay(args: &RunArgs, seed: u64) -> String {
    let mut words = vec!["chaos".to_owned(), "run".to_owned()];
    words.extend(args.scenario.iter().map(|path| path.display().to_string()));
    let flags = [
        ("--nodes", args.nodes.map(|nodes| nodes.to_string())),
        ("--time", args.time.map(|time| time.to_string().replace(' ', ""))),
        ("--faults", args.faults.as_ref().map(|faults| faults.join(","))),
        ("--workload", args.workload.map(|workload| format!("{workload:?}").to_lowercase())),
        ("--clients", args.clients.map(|clients| clients.to_string())),
        ("--rate", args.rate.map(|rate| rate.to_string())),
        ("--seed", Some(seed.to_string())),
    ];
    words.extend(flags.into_iter().filter_map(|(flag, value)| value.map(|value| format!("{flag} {value}"))));
    words.join(" ")
}

fn duty(scenario: &Scenario, cluster: &Cluster, endpoints: Vec<String>, seed: u64, start: Instant) -> Duty {
    let hosts = cluster.network().hosts().iter().skip(scenario.nodes).take(scenario.clients.min(CLIENT_HOSTS_MAX));
    let networks: Vec<_> = hosts.map(|host| host.network.try_clone()).collect();
    Duty {
        workload: scenario.workload,
        endpoints,
        clients: scenario.clients,
        rate: Some(scenario.rate).filter(|rate| *rate > 0),
        timeout: scenario.timeout,
        seed,
        start,
        enter: Arc::new(move |client| match &networks[client % networks.len()] {
            Ok(network) => network.enter(),
            Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
        }),
    }
}

/// A run while it goes on.
struct Stage {
    cluster: Cluster,
    steps: Vec<Step>,
    /// Of each step.
    outcomes: Vec<Outcome>,
    in_force: Vec<Held>,
    ops: Vec<Op>,
    /// Calls that have ended, for the live line.
    done: usize,
    out: io::Stdout,
}

/// Whether anything is in force that is over before this step, by the plan: on a machine that stalls a fault begins late, and ends as much
/// later. A fault aimed at a leader would wait for one in vain while all nodes are paused still.
fn comes_too_early(step: &Step, in_force: &[Held]) -> bool {
    in_force.iter().any(|held| held.end <= step.at)
}

/// A fault in force.
struct Held {
    until: Instant,
    id: u64,
    /// The number of its step.
    step: usize,
    /// When it is over, by the plan.
    end: Duration,
}

impl Stage {
    /// Breaks and mends by plan, while clients work.
    fn play(
        &mut self,
        scenario: &Scenario,
        crew: &Crew,
        observer: &Observer,
        interrupt: &Interrupt,
        artifacts: &mut Artifacts,
    ) -> Result<(), Failure> {
        let began = Instant::now();
        let mut due = self.steps.clone().into_iter().enumerate().peekable();
        let mut live = Live::new(io::stderr(), io::stderr().is_terminal());
        while began.elapsed() < scenario.time {
            if interrupt.came() {
                live.clear();
                return Err(Ending::Interrupted.says("interrupted; all is healed, and what clients saw until then is in history.jsonl"));
            }
            self.cluster.turn()?;
            self.heal_due(began)?;
            while let Some((number, step)) = due.next_if(|(_, step)| step.at <= began.elapsed() && !comes_too_early(step, &self.in_force)) {
                live.clear();
                self.inject(number, &step, began)?;
            }
            let ops = crew.take(TURN).map_err(|why| Ending::Io.says(why))?;
            self.keep(ops, artifacts)?;
            live.show(began.elapsed(), self.done, &self.cluster, observer);
        }
        live.clear();
        Ok(())
    }

    fn inject(&mut self, number: usize, step: &Step, began: Instant) -> Result<(), Failure> {
        let at = began.elapsed().as_secs_f64();
        let injected = match self.cluster.inject(&step.fault, None) {
            Ok(injected) => injected,
            // A partition may have left no leader to aim at; and two of `one one` may be drawn who are one.
            Err(failure) if matches!(failure.ending, Ending::Inconclusive | Ending::Usage) => {
                writeln!(self.out, "{at:7.1} s  not possible: {}: {failure}", step.fault)?;
                self.outcomes[number] = Outcome::NotPossible(failure.to_string());
                return Ok(());
            }
            Err(failure) => return Err(failure),
        };
        writeln!(self.out, "{at:7.1} s  {} ({})", injected.fault, injected.targets.join(", "))?;
        self.outcomes[number] = Outcome::Did(injected.over.unwrap_or_default());
        match injected.over {
            Some(effect) => writeln!(self.out, "           {}", verdict::in_words(&effect))?,
            None => {
                let (until, end) = (Instant::now() + step.hold, step.at + step.hold);
                self.in_force.push(Held { until, id: injected.id, step: number, end });
            }
        }
        Ok(())
    }

    fn heal_due(&mut self, began: Instant) -> Result<(), Failure> {
        let now = Instant::now();
        while let Some(place) = self.in_force.iter().position(|held| held.until <= now) {
            let Held { id, step, .. } = self.in_force.remove(place);
            let healed = self.cluster.heal(id)?;
            let at = began.elapsed().as_secs_f64();
            writeln!(self.out, "{at:7.1} s  healed: {}: {}", healed.fault, verdict::in_words(&healed.effect))?;
            self.outcomes[step] = Outcome::Did(healed.effect);
        }
        Ok(())
    }

    fn heal_all(&mut self) -> Result<(), Failure> {
        for healed in self.cluster.heal_all()? {
            if let Some(held) = self.in_force.iter().find(|held| held.id == healed.id) {
                self.outcomes[held.step] = Outcome::Did(healed.effect);
            }
        }
        self.in_force.clear();
        Ok(())
    }

    /// With nothing broken any more, clients go on until the nodes have come together: they must be served again.
    fn settle(&mut self, crew: &Crew, artifacts: &mut Artifacts) -> Result<(), Failure> {
        self.cluster.wait_healthy(CONVERGE_MAX)?;
        let ops = crew.take(TURN).map_err(|why| Ending::Io.says(why))?;
        self.keep(ops, artifacts)
    }

    /// Gives writes of unknown outcome the positions that the nodes know, which have stopped. What these tell that must not be.
    fn place_unknown(&mut self, artifacts: &mut Artifacts) -> Result<Vec<String>, Failure> {
        match Applied::read(&self.traces()) {
            Ok(applied) => {
                if applied.place(&mut self.ops) > 0 {
                    artifacts.rewrite(&self.ops)?;
                }
                Ok(applied.wrong)
            }
            // They are hints, and there is a history to judge.
            Err(error) => {
                writeln!(self.out, "what nodes say they applied is not used: {error}")?;
                Ok(Vec::new())
            }
        }
    }

    fn traces(&self) -> Vec<PathBuf> {
        self.cluster.nodes().iter().filter_map(|node| node.apply_trace.clone()).collect()
    }

    fn keep(&mut self, ops: Vec<Op>, artifacts: &mut Artifacts) -> Result<(), Failure> {
        artifacts.record(&ops)?;
        self.done += ops.len();
        self.ops.extend(ops);
        Ok(())
    }
}

/// One line that is written again and again, on a terminal.
struct Live<W> {
    terminal: W,
    is_terminal: bool,
    shown: bool,
    last: Instant,
    done: usize,
}

impl<W: Write> Live<W> {
    fn new(terminal: W, is_terminal: bool) -> Live<W> {
        Live { terminal, is_terminal, shown: false, last: Instant::now(), done: 0 }
    }

    fn show(&mut self, at: Duration, done: usize, cluster: &Cluster, observer: &Observer) {
        if !self.is_terminal || self.last.elapsed() < LIVE_EVERY {
            return;
        }
        let rate = (done - self.done) as f64 / self.last.elapsed().as_secs_f64();
        (self.last, self.done, self.shown) = (Instant::now(), done, true);
        let leader = observer.last().map_or("no leader yet".into(), |seen| format!("{} leads t{}", seen.leader, seen.term));
        let faults: Vec<String> =
            cluster.faults().into_iter().map(|fault| format!("{} ({})", fault.fault, fault.targets.join(","))).collect();
        self.write(&format!("{:7.1} s  {rate:6.0} calls/s  {leader}  {}", at.as_secs_f64(), faults.join("; ")));
    }

    fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            self.write("");
        }
    }

    /// In place of what stands there. Whether anybody sees it changes nothing: a terminal may be closed, and the run goes on.
    fn write(&mut self, line: &str) {
        let _ = write!(self.terminal, "\r\x1b[K{line}").and_then(|()| self.terminal.flush());
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;
    use crate::fault::Fault;

    #[test]
    fn a_step_that_the_plan_has_behind_the_end_of_a_fault_waits_for_that_end() {
        let second = Duration::from_secs(1);
        let step = Step { at: 3 * second, hold: second, fault: Fault::parse(&["kill", "leader"]).expect("a fault") };
        // Begun late, it ends late.
        let held = |end: Duration| Held { until: Instant::now() + second, id: 1, step: 0, end };
        assert!(comes_too_early(&step, &[held(4 * second), held(2 * second)]) && comes_too_early(&step, &[held(3 * second)]));
        assert!(!comes_too_early(&step, &[held(4 * second)]), "the plan has them together");
        assert!(!comes_too_early(&step, &[]));
    }

    #[test]
    fn a_terminal_that_is_closed_ends_nothing() {
        let full = || File::options().write(true).open("/dev/full").expect("every Linux has it");
        assert!(full().write_all(b"x").is_err(), "it takes nothing");
        let mut live = Live::new(full(), true);
        live.write("nobody sees this");
        live.shown = true;
        live.clear();
        assert!(!live.shown);
    }
}
