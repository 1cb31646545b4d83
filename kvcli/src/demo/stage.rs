//! What the demo's scenes share: the nodes, what these say of themselves, the terminal, and the user's wish to stop.

use std::io::{self, Write as _};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use wire::{NodeStatus, RoleName};

use super::child::{dies_with_us, forget_environment};
use super::cluster::{ClusterError, LocalCluster, ProcessState};
use super::interrupts::{Interrupted, Interrupts};
use crate::clerk::{Clerk, Options};
use crate::words;

/// How long the nodes may take for anything that takes them well below a second: a machine may be busy, and its disk slow.
const PATIENCE: Duration = Duration::from_secs(60);
/// For one answer of a node about itself.
const ANSWER_WAIT_MAX: Duration = Duration::from_millis(500);
/// Attempts at starting on ports that turn out to be taken.
const STARTS_MAX: usize = 5;
/// Between two looks at the nodes. Short: it is the error of what we measure.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// A promise that was not kept: what the demo exists to look for.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct CheckFailed(pub(super) String);

/// Nobody reads what we say.
#[derive(Debug, thiserror::Error)]
#[error("stdout: {0}")]
pub(super) struct StdoutFailed(pub(super) io::Error);

/// See the [module](self).
pub(super) struct Stage {
    pub(super) cluster: LocalCluster,
    pub(super) interrupts: Interrupts,
    /// The program that we are.
    pub(super) kvcli: std::path::PathBuf,
    /// Asks the nodes how they are, as any client would.
    clerk: Clerk,
}

impl Stage {
    pub(super) fn new(cluster: LocalCluster, interrupts: Interrupts, kvcli: std::path::PathBuf) -> anyhow::Result<Stage> {
        let options = Options { timeout: ANSWER_WAIT_MAX, ..Options::default() };
        let clerk = Clerk::new(cluster.nodes().iter().map(|node| &node.client_addr), options)?;
        Ok(Stage { cluster, interrupts, kvcli, clerk })
    }

    /// Waits until every node runs, serves and follows the same leader. Starts over if somebody else took a port meanwhile.
    pub(super) fn open(&mut self) -> anyhow::Result<()> {
        for _ in 1..STARTS_MAX {
            match self.wait_ready() {
                Err(error) if error.downcast_ref().is_some_and(ClusterError::is_port_clash) => self.cluster.start_over()?,
                other => return other,
            }
        }
        self.wait_ready()
    }

    fn wait_ready(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.cluster.check_running()?;
            let statuses = self.statuses();
            let all: Vec<&NodeStatus> = statuses.iter().flatten().collect();
            let leader = statuses.iter().position(|status| status.as_ref().is_some_and(|status| status.role == RoleName::Leader));
            if let Some(leader) = leader
                && all.len() == statuses.len()
                && all.iter().all(|status| status.formed && status.leader == all[leader].leader)
            {
                return Ok(());
            }
            if Instant::now() >= deadline {
                anyhow::bail!("the nodes were not ready within {} s: {}", PATIENCE.as_secs(), self.described(&statuses));
            }
            self.interrupts.sleep(5 * LOOK_EVERY)?;
        }
    }

    /// The node that leads, if one says so; of two, that of the higher term.
    pub(super) fn leader(&mut self) -> Option<usize> {
        let statuses = self.statuses();
        let leaders = statuses.iter().enumerate().filter_map(|(at, status)| Some((at, status.as_ref()?)));
        let newest = leaders.filter(|(_, status)| status.role == RoleName::Leader).max_by_key(|(_, status)| status.term);
        newest.map(|(at, _)| at)
    }

    /// Whether enough nodes run to elect a leader.
    pub(super) fn has_quorum(&self) -> bool {
        let running = self.cluster.nodes().iter().filter(|node| node.state() == ProcessState::Running).count();
        2 * running > self.cluster.nodes().len()
    }

    /// Waits until one of the running nodes leads.
    pub(super) fn wait_leader(&mut self) -> anyhow::Result<usize> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.cluster.check_running()?;
            if let Some(leader) = self.leader() {
                return Ok(leader);
            }
            if Instant::now() >= deadline {
                let statuses = self.statuses();
                anyhow::bail!(CheckFailed(format!("no leader within {} s: {}", PATIENCE.as_secs(), self.described(&statuses))));
            }
            self.interrupts.sleep(LOOK_EVERY)?;
        }
    }

    /// Waits until the node has applied all that the leader had committed when we began.
    pub(super) fn wait_caught_up(&mut self, at: usize) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let mut goal = None;
        loop {
            self.cluster.check_running()?;
            if goal.is_none() {
                goal = self.leader().and_then(|leader| self.status(leader)).map(|status| status.commit_index);
            }
            if let (Some(goal), Some(status)) = (goal, self.status(at))
                && status.leader.is_some()
                && status.applied_index >= goal
            {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let name = &self.cluster.nodes()[at].name;
                anyhow::bail!(CheckFailed(format!("{name} has not caught up within {} s of its restart", PATIENCE.as_secs())));
            }
            self.interrupts.sleep(LOOK_EVERY)?;
        }
    }

    /// The nodes, a line each.
    pub(super) fn table(&mut self) -> String {
        let statuses = self.statuses();
        let mut rows = vec![["node", "client address", "pid", "role"].map(str::to_owned)];
        for (node, status) in self.cluster.nodes().iter().zip(&statuses) {
            let pid = node.pid().map_or("-".to_owned(), |pid| pid.to_string());
            rows.push([node.name.clone(), node.client_addr.clone(), pid, role(node.state(), status.as_ref()).to_owned()]);
        }
        aligned(&rows)
    }

    /// What a node says of itself, if it is there to say something.
    fn status(&mut self, at: usize) -> Option<NodeStatus> {
        let node = &self.cluster.nodes()[at];
        if node.state() == ProcessState::Running { self.clerk.status(&node.client_addr).ok() } else { None }
    }

    fn statuses(&mut self) -> Vec<Option<NodeStatus>> {
        (0..self.cluster.nodes().len()).map(|at| self.status(at)).collect()
    }

    fn described(&self, statuses: &[Option<NodeStatus>]) -> String {
        let nodes = self.cluster.nodes().iter().zip(statuses);
        nodes.map(|(node, status)| format!("{} {}", node.name, role(node.state(), status.as_ref()))).collect::<Vec<_>>().join(", ")
    }

    /// A kvcli child for this cluster, which dies with us.
    pub(super) fn kvcli_command(&self) -> Command {
        let mut command = Command::new(&self.kvcli);
        forget_environment(&mut command, "KVCLI_").env("KVCLI_ENDPOINTS", self.cluster.endpoints());
        dies_with_us(&mut command);
        command
    }

    /// Waits for a child that has the terminal: Ctrl-C is for it alone; any other signal ends it and us.
    pub(super) fn wait_foreground(&self, child: &mut Child) -> anyhow::Result<ExitStatus> {
        loop {
            if let Some(status) = child.try_wait()? {
                // A Ctrl-C that ended it has reached us too.
                while let Err(interrupted) = self.interrupts.check() {
                    if interrupted.0 != nix::sys::signal::Signal::SIGINT {
                        return Err(interrupted.into());
                    }
                }
                return Ok(status);
            }
            match self.interrupts.sleep(2 * LOOK_EVERY) {
                Ok(()) | Err(Interrupted(nix::sys::signal::Signal::SIGINT)) => {}
                Err(interrupted) => {
                    child.kill()?;
                    child.wait()?;
                    return Err(interrupted.into());
                }
            }
        }
    }

    /// How a user types our own name: `kvcli` if their shell finds this very program under it, else where it is.
    pub(super) fn kvcli_as_typed(&self) -> String {
        let found = super::child::in_path("kvcli").and_then(|path| path.canonicalize().ok());
        match found {
            Some(path) if path == self.kvcli => "kvcli".to_owned(),
            _ => words::quote(self.kvcli.as_os_str()),
        }
    }
}

/// One line, or several, on stdout.
pub(super) fn say(text: &str) -> Result<(), StdoutFailed> {
    show(format!("{text}\n").as_bytes())
}

/// Bytes on stdout, now.
pub(super) fn show(bytes: &[u8]) -> Result<(), StdoutFailed> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(StdoutFailed)
}

fn role(state: ProcessState, status: Option<&NodeStatus>) -> &'static str {
    match (state, status.map(|status| status.role)) {
        (ProcessState::Down, _) => "down",
        (ProcessState::Paused, _) => "paused",
        (ProcessState::Running, None) => "no answer",
        (ProcessState::Running, Some(RoleName::Leader)) => "leader",
        (ProcessState::Running, Some(RoleName::Follower)) => "follower",
        (ProcessState::Running, Some(RoleName::PreCandidate | RoleName::Candidate)) => "candidate",
        (ProcessState::Running, Some(RoleName::Learner)) => "learner",
    }
}

/// Columns as wide as their widest cell, two blanks between, none behind the last.
fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let line = |row: &[String; N]| {
        let cells = row.iter().enumerate().map(|(column, cell)| format!("{cell:<width$}  ", width = width(column)));
        cells.collect::<String>().trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_lines_end_clean() {
        let rows = [["node", "pid", "role"], ["n1", "12345", "leader"]].map(|row| row.map(str::to_owned));
        assert_eq!(aligned(&rows), "node  pid    role\nn1    12345  leader");
    }

    #[test]
    fn a_node_that_is_not_running_has_no_role() {
        assert_eq!(role(ProcessState::Down, None), "down");
        assert_eq!(role(ProcessState::Paused, None), "paused");
        assert_eq!(role(ProcessState::Running, None), "no answer");
    }
}
