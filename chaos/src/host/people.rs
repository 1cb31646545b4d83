//! Processes of a run. They live in a pid namespace whose first process, the *holder*, ends when we do, and takes all others with it.
//!
//! That holds however we end, also for the children's children and for those that are stopped, which no death signal of a parent
//! promises. From outside they are ordinary processes with ordinary pids.

use std::io::{self, Read as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::thread;

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};

use super::world::NetNs;
use crate::ending::{Ending, Failure};
use crate::journal::MARK;

/// A command, the network it runs in, and where the child goes.
type Order = (NetNs, Command, Sender<io::Result<Child>>);

/// Starts processes. Dropping it ends them all.
///
/// One thread starts all: only its children are born in the pid namespace, and a thread that has asked for that may not start threads.
#[derive(Clone, Debug)]
pub(crate) struct People {
    orders: Sender<Order>,
    holder: u32,
    mark: String,
}

impl People {
    /// Makes the pid namespace and its holder, which carries this mark.
    pub(crate) fn begin(mark: &str) -> Result<People, Failure> {
        let (orders, inbox) = channel::<Order>();
        let (tell, told) = channel();
        let holders_mark = mark.to_owned();
        let work = move || {
            let mut holder = match hold(&holders_mark) {
                Ok(holder) => holder,
                Err(error) => return drop(tell.send(Err(error))),
            };
            let _ = tell.send(Ok(holder.id())); // whoever began waits for it
            for (network, mut command, reply) in inbox {
                let _ = reply.send(network.enter().and_then(|()| command.spawn()));
            }
            // Nobody can order any more. The end of its stdin ends the holder.
            drop(holder.stdin.take());
            let _ = holder.wait();
        };
        thread::Builder::new().name("people".into()).spawn(work).map_err(|error| no_people(&error))?;
        let holder = told.recv().map_err(|error| no_people(&error))?.map_err(|error| no_people(&error))?;
        Ok(People { orders, holder, mark: mark.to_owned() })
    }

    /// Starts a process on a host.
    pub(crate) fn spawn(&self, network: &NetNs, command: Command) -> io::Result<Child> {
        let (reply, child) = channel();
        let gone = |_| io::Error::other("the thread that starts processes has ended");
        self.orders.send((network.try_clone()?, command, reply)).map_err(|_| gone(()))?;
        child.recv().map_err(|_| gone(()))?
    }

    /// What marks the processes of this run, in their environment.
    pub(crate) fn mark(&self) -> &str {
        &self.mark
    }

    /// The first process of the pid namespace.
    pub(crate) fn holder(&self) -> u32 {
        self.holder
    }
}

fn hold(mark: &str) -> io::Result<Child> {
    unshare(CloneFlags::CLONE_NEWPID)?;
    // The path of this link, not what it points to: that file may have been replaced since we started.
    let mut command = Command::new("/proc/self/exe");
    command.arg0("chaos").args(["internal", "hold"]).env(MARK, mark).stdin(Stdio::piped()).stdout(Stdio::null()).process_group(0);
    command.spawn()
}

fn no_people(error: &dyn std::fmt::Display) -> Failure {
    Ending::Unsupported.says(format!("no pid namespace of our own: {error}"))
}

/// What the holder does: nothing, until whoever started it has gone. It adopts orphans, and buries them.
pub(crate) fn hold_until_alone() -> Result<Ending, Failure> {
    let _ = set_pdeathsig(Signal::SIGKILL); // the end of stdin says the same, unless somebody else got hold of the other end
    thread::spawn(|| {
        loop {
            match waitpid(None, None) {
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => {
                    // sleeps because there is nobody to wait for, and nothing tells us when there is
                    thread::sleep(std::time::Duration::from_secs(1));
                }
                _ => {}
            }
        }
    });
    let _ = io::stdin().read_to_end(&mut Vec::new());
    Ok(Ending::Passed)
}
