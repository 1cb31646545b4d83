//! SIGTERM and SIGINT as a readable descriptor in the one poll: no handler, no flag, no race. (SIGPIPE is ignored by Rust's runtime:
//! a broken connection is an error of a write.)

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// The signals that ask this process to stop.
pub(crate) struct Signals {
    fd: SignalFd,
}

impl Signals {
    /// Blocks the signals for this thread and all it starts, and opens the descriptor they arrive at instead. Call it before any
    /// other thread exists.
    pub(crate) fn block() -> io::Result<Signals> {
        let mut mask = SigSet::empty();
        mask.add(Signal::SIGTERM);
        mask.add(Signal::SIGINT);
        mask.thread_block()?;
        Ok(Signals { fd: SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)? })
    }

    /// The signal that came, if one did.
    pub(crate) fn take(&self) -> Option<Signal> {
        let info = self.fd.read_signal().ok().flatten()?;
        Signal::try_from(i32::try_from(info.ssi_signo).ok()?).ok()
    }

    /// Waits this long, or until a signal is there to take.
    pub(crate) fn wait(&self, timeout_ms: u16) {
        use std::os::fd::AsFd;
        // An error here only means a shorter wait.
        let _ = nix::poll::poll(&mut [PollFd::new(self.fd.as_fd(), PollFlags::POLLIN)], PollTimeout::from(timeout_ms));
    }

    /// For the poll.
    pub(crate) fn raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}
