//! A call, from a person's point of view: it says what it waits for, and Ctrl-C ends it with an answer.

use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use anyhow::Context;
use kvcli::{Answer, Ask, CallNumber, Clerk, ClerkError, Token};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::failure::Failure;
use crate::quote::escape;
use crate::settings::Settings;

/// When a person begins to wonder.
const QUIET: Duration = Duration::from_secs(1);

/// Ctrl-C as something to read, instead of the end of the process; until it is dropped.
pub(crate) struct Interrupts {
    signals: SigSet,
    descriptor: SignalFd,
}

impl Interrupts {
    pub(crate) fn catch() -> Result<Interrupts, Failure> {
        let mut signals = SigSet::empty();
        signals.add(Signal::SIGINT);
        signals.thread_block().context("cannot block a signal").map_err(Failure::Local)?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        match SignalFd::with_flags(&signals, flags).context("cannot read signals") {
            Ok(descriptor) => Ok(Interrupts { signals, descriptor }),
            Err(error) => {
                let _ = signals.thread_unblock();
                Err(Failure::Local(error))
            }
        }
    }

    /// Readable when it came.
    pub(crate) fn descriptor(&self) -> &SignalFd {
        &self.descriptor
    }

    /// Meanwhile Ctrl-C is the end of the process again: for what nothing else would end.
    pub(crate) fn let_through<T>(&self, work: impl FnOnce() -> T) -> T {
        let _ = self.signals.thread_unblock(); // it was ours to block
        let done = work();
        let _ = self.signals.thread_block(); // as before
        done
    }

    pub(crate) fn came(&self) -> bool {
        matches!(self.descriptor.read_signal(), Ok(Some(_)))
    }

    /// Sleeps; whether one came within the time, and ended it.
    pub(crate) fn within(&self, time: Duration) -> Result<bool, Failure> {
        let timeout = PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(self.descriptor.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(_) | Err(Errno::EINTR) => Ok(self.came()),
            Err(error) => Err(Failure::Local(anyhow::Error::new(error).context("cannot wait for signals"))),
        }
    }
}

impl AsFd for Interrupts {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl Drop for Interrupts {
    fn drop(&mut self) {
        let _ = self.signals.thread_unblock(); // it was ours to block
    }
}

/// Runs one call. `finish` makes the command that settles it, should it end unknown.
pub(crate) fn run(clerk: &mut Clerk, ask: Ask, settings: &Settings, finish: impl Fn(&Token) -> String) -> Result<Answer, Failure> {
    let interrupts = Interrupts::catch()?;
    let hint = |error: &ClerkError| hint(error, settings);
    let wrap = |error: ClerkError| Failure::Clerk { finish: error.resume().map(&finish), hint: hint(&error), error };
    clerk.watch(&interrupts.descriptor).map_err(wrap)?;
    let began = Instant::now();
    let call = match settings.resume {
        Some(token) => clerk.submit_resumed(token, ask, settings.timeout),
        None => clerk.submit(ask, settings.timeout),
    };
    let mut told = !io::stderr().is_terminal();
    let mut interrupted = false;
    let outcome = loop {
        let wait = if told { Duration::from_secs(3600) } else { QUIET.saturating_sub(began.elapsed()) };
        match clerk.turn(wait) {
            Ok(finished) => {
                if let Some((_, outcome)) = finished.into_iter().find(|(number, _)| *number == call) {
                    break outcome;
                }
            }
            Err(error) => break Err(error),
        }
        if interrupts.came() {
            interrupted = true;
            clerk.give_up(call);
        }
        if !told && began.elapsed() >= QUIET {
            told = true;
            eprintln!("{}", waiting(clerk, call, settings));
        }
    };
    clerk.unwatch(&interrupts.descriptor).map_err(wrap)?;
    outcome.map_err(|error| match interrupted {
        true => Failure::Interrupted { finish: error.resume().map(&finish), error },
        false => wrap(error),
    })
}

fn waiting(clerk: &Clerk, call: CallNumber, settings: &Settings) -> String {
    let mut text = format!("waiting up to {} (Ctrl-C ends it)", humantime::format_duration(settings.timeout));
    for tried in clerk.tried(call) {
        text += &format!("\n  {}", escape(tried.to_string().as_bytes())); // partly a node's words
    }
    text
}

/// For whoever tries this for the first time.
pub(crate) fn hint(error: &ClerkError, settings: &Settings) -> Option<String> {
    let nobody_there = error.endpoints().iter().all(|tried| matches!(tried.reason, kvcli::Reason::Connect(_)));
    (settings.endpoints_are_default && matches!(error, ClerkError::NotDone { .. }) && nobody_there).then(first_steps)
}

/// No endpoint was given, and nobody answers at the default one.
pub(crate) fn first_steps() -> String {
    "no --endpoints given and KVCLI_ENDPOINTS is not set; to try it out, start a node: kvnode dev".into()
}

#[cfg(test)]
mod tests {
    use kvcli::{Reason, Tried};

    use super::*;
    use crate::cli::Mode;

    #[test]
    fn whoever_gave_no_endpoint_and_found_nobody_is_told_how_to_begin() {
        let settings = |endpoints_are_default| Settings {
            endpoints: vec!["127.0.0.1:7117".into()],
            endpoints_are_default,
            endpoints_flag: None,
            timeout: Duration::from_secs(1),
            mode: Mode::Plain,
            resume: None,
            clerks: Default::default(),
        };
        let not_done = |reason| ClerkError::NotDone { endpoints: vec![Tried { address: "127.0.0.1:7117".into(), reason }] };
        let nobody = not_done(Reason::Connect("connection refused".into()));
        let text = hint(&nobody, &settings(true)).unwrap();
        assert!(text.contains("kvnode dev") && text.contains("KVCLI_ENDPOINTS"), "{text}");
        assert_eq!(hint(&nobody, &settings(false)), None);
        assert_eq!(hint(&not_done(Reason::NotLeader(None)), &settings(true)), None, "somebody is there");
    }
}
