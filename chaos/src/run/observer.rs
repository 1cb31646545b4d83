//! Looks at the cluster from beside it while it is broken: who leads, in which term.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use kvcli::{Clerk, Options};
use serde::Serialize;

/// A leader, seen for the first time.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct Seen {
    pub(crate) at_ms: u64,
    pub(crate) leader: String,
    pub(crate) term: u64,
}

/// Between two looks; a leader of a shorter reign may go unseen.
const LOOK: Duration = Duration::from_millis(100);
/// A node that takes longer to say how it is has not said it.
const PATIENCE: Duration = Duration::from_millis(250);

/// A thread that looks.
pub(crate) struct Observer {
    thread: JoinHandle<()>,
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Observer {
    pub(crate) fn start(endpoints: Vec<String>, start: Instant) -> std::io::Result<Observer> {
        let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (stops, sees) = (Arc::clone(&stop), Arc::clone(&seen));
        let thread = std::thread::Builder::new().name("observer".into()).spawn(move || {
            let options = Options { timeout: PATIENCE, ..Options::default() };
            let Ok(mut clerk) = Clerk::new(endpoints, options) else { return };
            while !stops.load(Ordering::Relaxed) {
                if let Ok(overview) = clerk.overview()
                    && let (Some(leader), Some(term)) = (overview.leader, overview.term())
                {
                    let seen = Seen {
                        at_ms: u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX),
                        leader: overview.name_of(leader),
                        term: term.0,
                    };
                    let mut all = sees.lock().expect("nobody panics with it");
                    // An old leader that was cut off may still say that it leads: its term is old.
                    if all.last().is_none_or(|last: &Seen| last.term < seen.term) {
                        all.push(seen);
                    }
                }
                // sleeps because nobody tells us when a leader is elected
                std::thread::sleep(LOOK);
            }
        })?;
        Ok(Observer { thread, stop, seen })
    }

    /// The last leader seen.
    pub(crate) fn last(&self) -> Option<Seen> {
        self.seen.lock().expect("nobody panics with it").last().cloned()
    }

    /// All leaders seen, in order.
    pub(crate) fn stop(self) -> Vec<Seen> {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.join();
        let seen = self.seen.lock().expect("nobody panics with it");
        seen.clone()
    }
}
