//! Children that die with us, however we die.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, Sender, channel};

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A command to start, and where the child goes.
type Order = (Command, Sender<io::Result<Child>>);

/// Starts a child that is killed when this process ends.
///
/// The kernel sends the signal when the *thread* that forked ends, and a test's thread ends before the process does: so one thread,
/// which lives as long as the process, starts them all.
pub fn spawn(mut command: Command) -> io::Result<Child> {
    static SPAWNER: OnceLock<std::sync::Mutex<Sender<Order>>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (orders, inbox): (Sender<Order>, Receiver<Order>) = channel();
        std::thread::spawn(move || {
            for (mut command, reply) in inbox {
                let _ = reply.send(command.spawn());
            }
        });
        std::sync::Mutex::new(orders)
    });
    #[expect(unsafe_code, reason = "a child can only ask for its death signal between fork and exec")]
    // SAFETY: the closure makes one system call and touches no memory: nothing that a fork in a process of many threads can break.
    unsafe {
        command.pre_exec(|| Ok(set_pdeathsig(Signal::SIGKILL)?));
    }
    let (reply, child) = channel();
    spawner.lock().expect("no holder panics").send((command, reply)).expect("the spawner lives");
    child.recv().expect("the spawner answers")
}

/// Sends a signal to a child that we have not waited for yet: so its pid cannot be a stranger's.
pub fn signal(child: &Child, signal: Signal) {
    let pid = i32::try_from(child.id()).expect("a pid");
    kill(Pid::from_raw(pid), signal).unwrap_or_else(|error| panic!("cannot send {signal} to {pid}: {error}"));
}

/// A line of `/proc/PID/status` in KiB: `VmRSS:`, `VmHWM:`.
pub fn memory_kib(pid: u32, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("the field");
    line.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number")
}
