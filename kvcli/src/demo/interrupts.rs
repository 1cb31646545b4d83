//! SIGINT, SIGTERM and SIGHUP as something one can wait for: every wait of the demo is also a wait for these.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// Somebody wants the demo to end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("interrupted by {0}")]
pub(super) struct Interrupted(pub(super) Signal);

/// The signals that end the demo, blocked and collected.
pub(super) struct Interrupts {
    signals: SignalFd,
}

impl Interrupts {
    /// Blocks them in this thread and those that it starts from now on: call it before starting any. SIGPIPE is blocked too, so that
    /// a closed stdout is an error to clean up after, and not the end.
    pub(super) fn catch() -> io::Result<Interrupts> {
        let mut caught = SigSet::empty();
        caught.extend([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]);
        let mut blocked = caught;
        blocked.add(Signal::SIGPIPE);
        blocked.thread_block()?;
        let signals = SignalFd::with_flags(&caught, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        Ok(Interrupts { signals })
    }

    /// Sleeps, unless interrupted.
    pub(super) fn sleep(&self, duration: Duration) -> Result<(), Interrupted> {
        let until = Instant::now() + duration;
        loop {
            self.check()?;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            // Rounded up: a wait of 0 ms would spin.
            let left_ms = u16::try_from(left.as_micros().div_ceil(1000)).unwrap_or(u16::MAX);
            let _ = poll(&mut [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)], PollTimeout::from(left_ms));
        }
    }

    /// Waits until `fd` can be read (or has ended), unless interrupted.
    pub(super) fn readable(&self, fd: BorrowedFd<'_>) -> Result<(), Interrupted> {
        loop {
            self.check()?;
            let mut fds = [PollFd::new(fd, PollFlags::POLLIN), PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) if fds[0].any() == Some(true) => return Ok(()),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(_) => return Ok(()), // whoever reads meets the error
            }
        }
    }

    /// Whether a signal has arrived; each is reported once.
    pub(super) fn check(&self) -> Result<(), Interrupted> {
        match self.signals.read_signal() {
            Ok(Some(info)) => {
                let signal = i32::try_from(info.ssi_signo).ok().and_then(|number| Signal::try_from(number).ok());
                Err(Interrupted(signal.unwrap_or(Signal::SIGTERM)))
            }
            Ok(None) | Err(_) => Ok(()),
        }
    }
}
