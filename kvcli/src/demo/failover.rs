//! The leader is killed while clients append; then every acknowledged append is looked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use wire::{WriteOutcome, Written};

use super::judge::{Outcome, judge, token};
use super::stage::{CheckFailed, Stage, say};
use crate::clerk::{Clerk, Options};
use crate::error::ClerkError;

/// Clients that append at the same time, all to one key.
const CLIENTS: usize = 4;
/// Acknowledged appends of *each* client before the leader is killed, and again with its successor.
const APPENDS_EACH_MIN: usize = 25;
/// How long the clients write before the leader is killed.
const WRITING_MIN: Duration = Duration::from_millis(250);
/// A client stops here: all tokens together must stay below the longest value, 1 MiB.
const APPENDS_EACH_MAX: usize = 16_000;
/// Clients that get so little done in so long are a finding, not a reason to wait.
const STUCK_AFTER: Duration = Duration::from_secs(60);
const KEY: &str = "appends";

/// Kills the leader under load, measures, and checks; then brings it back.
pub(super) fn failover(stage: &mut Stage) -> anyhow::Result<()> {
    let writers = Writers::start(stage)?;
    stage.interrupts.sleep(WRITING_MIN)?;
    writers.wait_for(stage, &[APPENDS_EACH_MIN; CLIENTS])?;

    let killed = stage.wait_leader()?;
    let killed_at = Instant::now();
    stage.cluster.kill(killed)?;
    let successor = stage.wait_leader()?;
    let took = killed_at.elapsed();
    // The clients have to get on with the successor, or nothing was shown.
    let more = writers.progress().map(|done| done + APPENDS_EACH_MIN);
    writers.wait_for(stage, &more)?;
    let outcomes = writers.stop()?;

    let found = clerk(stage)?.get(KEY)?.value;
    let verdict = judge(&found.map_or_else(Vec::new, |found| found.value), &outcomes);
    let name = |at: usize| stage.cluster.nodes()[at].name.as_str();
    say(&format!("killed {}: {} leads after {} ms; {verdict}", name(killed), name(successor), took.as_millis()))?;
    if !verdict.holds() {
        anyhow::bail!(CheckFailed("a promise was broken: please report this".to_owned()));
    }

    let restarted_at = Instant::now();
    stage.cluster.restart(killed)?;
    stage.wait_caught_up(killed)?;
    let name = &stage.cluster.nodes()[killed].name;
    say(&format!("restarted {name}: it has caught up after {} ms", restarted_at.elapsed().as_millis()))?;
    Ok(())
}

/// A client of the cluster.
fn clerk(stage: &Stage) -> Result<Clerk, ClerkError> {
    let options = Options { timeout: STUCK_AFTER, ..Options::default() };
    Clerk::new(stage.cluster.nodes().iter().map(|node| &node.client_addr), options)
}

/// What the answer to an append means for the judge.
fn outcome_of(answer: &Result<Written, ClerkError>) -> Outcome {
    match answer {
        Ok(Written { outcome: WriteOutcome::Done, .. }) => Outcome::Done,
        Ok(_) | Err(ClerkError::NotDone { .. } | ClerkError::ScanLost { .. } | ClerkError::Rejected { .. }) => Outcome::NotDone,
        Err(ClerkError::Unknown { .. } | ClerkError::Refused { .. } | ClerkError::Local { .. }) => Outcome::Unknown,
    }
}

/// Clients that append one token after the other until they are told to stop.
struct Writers {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<[AtomicUsize; CLIENTS]>,
    threads: Vec<JoinHandle<Vec<Outcome>>>,
}

impl Writers {
    fn start(stage: &Stage) -> anyhow::Result<Writers> {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged: Arc<[AtomicUsize; CLIENTS]> = Arc::default();
        let mut threads = Vec::new();
        for client in 0..CLIENTS {
            let mut clerk = clerk(stage)?;
            let (stop, acknowledged) = (Arc::clone(&stop), Arc::clone(&acknowledged));
            threads.push(std::thread::spawn(move || {
                let mut outcomes = Vec::new();
                while !stop.load(Ordering::Relaxed) && outcomes.len() < APPENDS_EACH_MAX {
                    let outcome = outcome_of(&clerk.append(KEY, token(client, outcomes.len())));
                    acknowledged[client].fetch_add(usize::from(outcome == Outcome::Done), Ordering::Relaxed);
                    outcomes.push(outcome);
                }
                outcomes
            }));
        }
        Ok(Writers { stop, acknowledged, threads })
    }

    fn progress(&self) -> [usize; CLIENTS] {
        std::array::from_fn(|client| self.acknowledged[client].load(Ordering::Relaxed))
    }

    /// Waits until each client has so many acknowledged appends, or cannot have more.
    fn wait_for(&self, stage: &mut Stage, goals: &[usize; CLIENTS]) -> anyhow::Result<()> {
        let deadline = Instant::now() + STUCK_AFTER;
        while self.progress().iter().zip(goals).any(|(done, goal)| done < goal) {
            stage.cluster.check_running()?;
            if self.threads.iter().any(JoinHandle::is_finished) || Instant::now() >= deadline {
                let why = format!("the clients got stuck: {:?} appends acknowledged, {goals:?} wanted", self.progress());
                anyhow::bail!(CheckFailed(why));
            }
            stage.interrupts.sleep(Duration::from_millis(2))?;
        }
        Ok(())
    }

    /// What each client saw of each of its appends.
    fn stop(mut self) -> anyhow::Result<Vec<Vec<Outcome>>> {
        self.stop.store(true, Ordering::Relaxed);
        let joined = self.threads.drain(..).map(JoinHandle::join).collect::<Result<_, _>>();
        joined.map_err(|_| anyhow::anyhow!("a client of the demo panicked"))
    }
}

impl Drop for Writers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed); // whoever was interrupted does not wait for them
    }
}
