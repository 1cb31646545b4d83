//! What a run is to do: the default, a file over it, flags over both.

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::CLIENT_HOSTS_MAX;
use super::args::RunArgs;
use super::plan::{self, Step};
use super::workload::Workload;
use crate::ending::{Ending, Failure};
use crate::fault::Fault;

/// Settled before anything is started. Written to `run.json`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Scenario {
    pub(crate) name: String,
    pub(crate) nodes: usize,
    /// How long clients work while faults happen.
    #[serde(serialize_with = "as_words")]
    pub(crate) time: Duration,
    pub(crate) workload: Workload,
    pub(crate) clients: usize,
    /// Calls per second, of all clients together; 0: as many as are answered.
    pub(crate) rate: u32,
    /// Bounds every call.
    #[serde(serialize_with = "as_words")]
    pub(crate) timeout: Duration,
    /// Kinds of faults that the seed draws from.
    pub(crate) faults: Vec<String>,
    /// Faults at given times instead of drawn ones.
    pub(crate) fault: Vec<Step>,
    /// More arguments for every `kvnode run`.
    pub(crate) node_args: Vec<String>,
}

/// A scenario file. Whatever it does not say is as in the default scenario.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: Option<String>,
    nodes: Option<usize>,
    time: Option<String>,
    workload: Option<Workload>,
    clients: Option<usize>,
    rate: Option<u32>,
    timeout: Option<String>,
    faults: Option<Vec<String>>,
    #[serde(default)]
    fault: Vec<FileStep>,
    node_args: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileStep {
    at: String,
    #[serde(rename = "for")]
    hold: String,
    inject: String,
}

/// More would not fit the run's network.
const NODES_MAX: usize = 9;
/// A thread each.
const CLIENTS_MAX: usize = 1000;
/// Too little for the first fault to begin.
const TIME_MIN: Duration = Duration::from_secs(5);
/// The plan is drawn before the run begins, and the history is judged in memory.
const TIME_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);

impl Scenario {
    pub(crate) fn new(args: &RunArgs) -> Result<Scenario, Failure> {
        let file = match &args.scenario {
            Some(path) => read(path)?,
            None => File::default(),
        };
        let given = |words: &Option<String>, default| words.as_deref().map_or(Ok(default), time);
        let steps = file.fault.iter().map(step).collect::<Result<Vec<Step>, Failure>>()?;
        let drawn = if steps.is_empty() { plan::DEFAULT_KINDS.map(String::from).into() } else { Vec::new() };
        let workload = args.workload.or(file.workload).unwrap_or(Workload::Append);
        let scenario = Scenario {
            name: file.name.unwrap_or_else(|| "default".into()),
            nodes: args.nodes.or(file.nodes).unwrap_or(5),
            time: args.time.map_or_else(|| given(&file.time, Duration::from_secs(60)), |time| Ok(time.into()))?,
            workload,
            clients: args.clients.or(file.clients).unwrap_or(16),
            rate: args.rate.or(file.rate).unwrap_or(2000),
            timeout: given(&file.timeout, workload.timeout())?,
            faults: args.faults.clone().or(file.faults).unwrap_or(drawn),
            fault: steps,
            node_args: file.node_args.unwrap_or_default(),
        };
        scenario.check()?;
        Ok(scenario)
    }

    fn check(&self) -> Result<(), Failure> {
        let wrong = |what: String| Err(Ending::Usage.says(what));
        if !(1..=NODES_MAX).contains(&self.nodes) {
            return wrong(format!("{} nodes: there may be 1 to {NODES_MAX}", self.nodes));
        }
        if !(1..=CLIENTS_MAX).contains(&self.clients) {
            return wrong(format!("{} clients: there may be 1 to {CLIENTS_MAX}", self.clients));
        }
        if self.time < TIME_MIN {
            return wrong(format!("a run of {:?} is too short to break anything: give it at least {TIME_MIN:?}", self.time));
        }
        let holds = self.fault.iter().map(|step| step.hold);
        if let Some(long) = [self.time, self.timeout].into_iter().chain(holds).find(|time| *time > TIME_MAX) {
            return wrong(format!("{long:?} is too long: a run may take {TIME_MAX:?}"));
        }
        if !self.faults.is_empty() && !self.fault.is_empty() {
            return wrong("either `faults` are drawn, or [[fault]] says when which: not both".into());
        }
        if let Some(unknown) = self.faults.iter().find(|name| plan::kind(name).is_none()) {
            let known: Vec<&str> = plan::KINDS.iter().map(|kind| kind.name).collect();
            return wrong(format!("no fault {unknown}: there are {}", known.join(", ")));
        }
        let fits = |name: &&String| plan::kind(name).is_some_and(|kind| kind.fits(self.nodes));
        if let Some(vain) = self.faults.iter().find(|name| !fits(name)) {
            return wrong(format!("{vain}: there is nothing for it to break among {} nodes", self.nodes));
        }
        let time_min = plan::time_min(self.faults.len());
        if self.time < time_min {
            let kinds = self.faults.len();
            return wrong(format!("a run of {:?} is too short for {kinds} kinds of faults: give it {time_min:?}, or fewer", self.time));
        }
        let clients = self.clients.min(CLIENT_HOSTS_MAX);
        for Step { fault, .. } in &self.fault {
            fault.check(self.nodes, clients).map_err(|why| Ending::Usage.says(format!("`{fault}`: {why}")))?;
        }
        if let Some(late) = self.fault.iter().find(|step| step.at >= self.time) {
            return wrong(format!("`{}` would begin {:?} into a run of {:?}", late.fault, late.at, self.time));
        }
        Ok(())
    }
}

fn read(path: &Path) -> Result<File, Failure> {
    let name = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| Ending::Usage.says(format!("cannot read {name}: {error}")))?;
    toml::from_str(&text).map_err(|error| Ending::Usage.says(format!("{name}: {error}")))
}

fn step(step: &FileStep) -> Result<Step, Failure> {
    let words: Vec<&str> = step.inject.split_whitespace().collect();
    let fault = Fault::parse(&words).map_err(|error| Ending::Usage.says(error))?;
    Ok(Step { at: time(&step.at)?, hold: time(&step.hold)?, fault })
}

fn time(words: &str) -> Result<Duration, Failure> {
    humantime::parse_duration(words).map_err(|error| Ending::Usage.says(format!("{words}: no time such as 300ms or 5s: {error}")))
}

fn as_words<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_duration(*time))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scenario(text: &str, flags: &[&str]) -> Result<Scenario, String> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("scenario.toml");
        std::fs::write(&path, text).expect("a file");
        let line = ["run", path.to_str().expect("text")].into_iter().chain(flags.iter().copied());
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            args: RunArgs,
        }
        let line: Line = clap::Parser::try_parse_from(line).map_err(|error| error.to_string())?;
        Scenario::new(&line.args).map_err(|failure| failure.to_string())
    }

    #[test]
    fn a_file_says_some_things_flags_others_and_the_rest_is_the_default() {
        let scenario = scenario("nodes = 3\ntime = \"20s\"\nfaults = [\"pause\"]\n", &["--time", "30s", "--clients", "4"]).expect("good");
        assert_eq!((scenario.nodes, scenario.time, scenario.clients), (3, Duration::from_secs(30), 4));
        assert_eq!((scenario.faults, scenario.workload, scenario.rate), (vec!["pause".to_owned()], Workload::Append, 2000));
    }

    #[test]
    fn a_file_may_say_when_which_fault_happens() {
        let text = "[[fault]]\nat = \"3s\"\nfor = \"2s\"\ninject = \"partition n1,n2\"\n";
        let scenario = scenario(text, &[]).expect("good");
        assert_eq!((scenario.faults.len(), scenario.fault.len()), (0, 1));
        assert_eq!(scenario.fault[0].fault.to_string(), "partition n1,n2");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let says = |text: &str, flags: &[&str], word: &str| {
            let error = scenario(text, flags).expect_err(word);
            assert!(error.contains(word), "{error}");
        };
        says("node = 3", &[], "unknown field `node`");
        says("time = \"soon\"", &[], "soon: no time such as");
        says("time = \"1s\"", &[], "too short");
        says("", &["--time", "10000000000000000000s"], "is too long");
        says("timeout = \"10000000000000000000s\"", &[], "is too long");
        says("[[fault]]\nat = \"9s\"\nfor = \"10000000000000000000s\"\ninject = \"kill n1\"\n", &[], "is too long");
        says("nodes = 1", &["--faults", "pause,one-way"], "one-way: there is nothing for it to break among 1 nodes");
        says("[[fault]]\nat = \"9s\"\nfor = \"2s\"\ninject = \"kill n6\"\n", &[], "`kill n6`: no host n6");
        let all = plan::KINDS.map(|kind| kind.name).join(",");
        says("time = \"9s\"", &["--faults", &all], "too short for 17 kinds of faults: give it 10.65s");
        says("nodes = 0", &[], "0 nodes");
        says("", &["--clients", "0"], "0 clients");
        says("faults = [\"meteor\"]", &[], "no fault meteor: there are kill, ");
        says("workload = \"dance\"", &[], "dance");
        says("[[fault]]\nat = \"99s\"\nfor = \"2s\"\ninject = \"kill n1\"\n", &[], "`kill n1` would begin 99s into a run of 60s");
        says("[[fault]]\nat = \"9s\"\nfor = \"2s\"\ninject = \"kil n1\"\n", &[], "no fault kil");
        says("faults = [\"kill\"]\n[[fault]]\nat = \"9s\"\nfor = \"2s\"\ninject = \"kill n1\"\n", &[], "not both");
    }
}
