//! Ctrl-C and SIGTERM, as a flag: a run heals what it broke and keeps what it saw before it ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::ending::{Ending, Failure};

/// Whether somebody wants us to end.
#[derive(Clone, Debug)]
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// From now on a signal sets the flag, and a second one ends the process at once. Starts a thread: not before `Cluster::start`.
    pub(crate) fn catch() -> Result<Interrupt, Failure> {
        let flag = Arc::new(AtomicBool::new(false));
        let sets = Arc::clone(&flag);
        ctrlc::set_handler(move || {
            if sets.swap(true, Ordering::Relaxed) {
                std::process::exit(Ending::Interrupted as i32);
            }
        })
        .map_err(|error| Ending::Internal.says(format!("cannot handle signals: {error}")))?;
        Ok(Interrupt(flag))
    }

    pub(crate) fn came(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
