//! Many writes in one go: 64 at a time, in one session, and an exact account of how far it came.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

use anyhow::Context;
use kvcli::{Answer, Ask, CallNumber, Clerk, ClerkError};
use wire::limits::SESSION_WINDOW;

use crate::cli::LoadArgs;
use crate::commands::{clerk, plainly, say};
use crate::failure::Failure;
use crate::feed::{Fed, Feed, Line};
use crate::output;
use crate::quote::escape;
use crate::running::{self, Interrupts};
use crate::settings::Settings;

/// Lines under way: as many as a session takes.
const IN_FLIGHT_MAX: u64 = SESSION_WINDOW;
/// Between two looks of a person at the progress.
const PROGRESS: Duration = Duration::from_millis(200);

/// `kvcli load`.
pub(crate) fn load(args: &LoadArgs, settings: &Settings) -> Result<(), Failure> {
    let began = Instant::now();
    let input: Box<dyn Read + Send> = match &args.file {
        Some(path) if !args.reads_stdin() => {
            let cannot = || format!("cannot read {}", escape(path.as_os_str().as_bytes()));
            Box::new(File::open(path).with_context(cannot).map_err(Failure::Local)?)
        }
        _ => Box::new(io::stdin()),
    };
    let interrupts = Interrupts::catch()?; // before there is a second thread, which would take them otherwise
    let feed = Feed::new(input, args.from_line).context("cannot begin to read").map_err(Failure::Local)?;
    let mut clerk = clerk(settings)?;
    clerk.watch(interrupts.descriptor()).map_err(plainly)?;
    clerk.watch(&*feed.bell).map_err(plainly)?;
    let mut load = Load { clerk: &mut clerk, feed, settings, queue: VecDeque::new(), account: Account::new(args.from_line), end: None };
    let mut progress = Progress { began, shown: io::stderr().is_terminal().then_some(began) };
    let interrupted = load.run(&interrupts, &mut progress);
    progress.clear();
    load.clerk.unwatch(&*load.feed.bell).map_err(plainly)?;
    load.clerk.unwatch(interrupts.descriptor()).map_err(plainly)?;
    let account = load.account;
    let (done, lines, position) = (account.done(), account.acknowledged, account.position);
    let why = match interrupted {
        Err(failure) => Some(failure),
        Ok(true) => Some(
            account
                .failure(settings, true)
                .unwrap_or(Failure::Interrupted { error: ClerkError::NotDone { endpoints: Vec::new() }, finish: None }),
        ),
        Ok(false) => account.failure(settings, false).or(load.end.and_then(Result::err)),
    };
    match why {
        Some(why) => Err(Failure::Lines { done, why: Box::new(why) }),
        None => {
            say(|out| output::loaded(out, settings.mode, lines, position))?;
            Ok(output::summary(&mut io::stderr(), settings.mode, &output::rate(lines, began.elapsed()))?)
        }
    }
}

struct Load<'a> {
    clerk: &'a mut Clerk,
    feed: Feed,
    settings: &'a Settings,
    /// Read, and not sent.
    queue: VecDeque<Line>,
    account: Account,
    /// No line comes any more: there is none, or something is wrong with the next.
    end: Option<Result<(), Failure>>,
}

impl Load<'_> {
    /// Until every line that was sent is settled, and no other is to be sent. Whether Ctrl-C ended it.
    fn run(&mut self, interrupts: &Interrupts, progress: &mut Progress) -> Result<bool, Failure> {
        let mut interrupted = false;
        loop {
            // After a failure nothing more is begun: what is under way ends in its own time.
            if !interrupted && self.account.failed.is_empty() {
                self.send();
            }
            let no_more = interrupted || !self.account.failed.is_empty() || (self.end.is_some() && self.queue.is_empty());
            if self.account.in_flight.is_empty() && no_more {
                return Ok(interrupted);
            }
            for (call, outcome) in self.clerk.turn(progress.wait()).map_err(plainly)? {
                self.account.settle(call, outcome);
            }
            if interrupts.came() {
                interrupted = true;
                self.account.in_flight.keys().for_each(|call| self.clerk.give_up(*call));
            }
            progress.show(&self.account);
        }
    }

    /// As many lines as may be under way; one whose key is under way waits, and so do all behind it.
    fn send(&mut self) {
        while (self.account.in_flight.len() as u64) < IN_FLIGHT_MAX {
            let Some(line) = self.queue.pop_front() else {
                if self.end.is_some() || !self.fetch() {
                    return;
                }
                continue;
            };
            match line.pair {
                Err(why) => {
                    self.queue.clear();
                    self.end = Some(Err(Failure::Usage(format!("line {}: {why}", line.number))));
                }
                Ok(pair) if self.account.busy.contains(&pair.key) => {
                    self.queue.push_front(Line { number: line.number, pair: Ok(pair) });
                    return;
                }
                Ok(pair) => {
                    let call = self.clerk.submit(Ask::Put { key: pair.key.clone(), value: pair.value }, self.settings.timeout);
                    self.account.begin(call, line.number, pair.key);
                }
            }
        }
    }

    /// Whether anything came from the reader.
    fn fetch(&mut self) -> bool {
        match self.feed.next() {
            None => return false,
            Some(Fed::Lines(lines)) => self.queue.extend(lines),
            Some(Fed::Failed(error)) => {
                self.end = Some(Err(Failure::Local(anyhow::Error::new(error).context("cannot read on"))));
            }
            Some(Fed::End(lines)) => {
                let first = self.account.first;
                self.end = Some(match lines + 1 < first {
                    true => Err(Failure::Usage(format!("--from-line {first}: there are only {lines} lines"))),
                    false => Ok(()),
                });
            }
        }
        true
    }
}

/// What became of every line.
#[derive(Debug)]
struct Account {
    first: u64,
    /// The last that was sent.
    last: u64,
    in_flight: BTreeMap<CallNumber, (u64, Vec<u8>)>,
    /// The keys of those.
    busy: BTreeSet<Vec<u8>>,
    acknowledged: u64,
    position: Option<u64>,
    failed: BTreeMap<u64, (Vec<u8>, ClerkError)>,
}

impl Account {
    fn new(first: u64) -> Account {
        let (in_flight, busy, failed) = (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
        Account { first, last: first - 1, in_flight, busy, acknowledged: 0, position: None, failed }
    }

    fn begin(&mut self, call: CallNumber, number: u64, key: Vec<u8>) {
        self.last = number;
        self.busy.insert(key.clone());
        self.in_flight.insert(call, (number, key));
    }

    fn settle(&mut self, call: CallNumber, outcome: Result<Answer, ClerkError>) {
        let Some((number, key)) = self.in_flight.remove(&call) else { return };
        self.busy.remove(&key);
        match outcome {
            Ok(Answer::Written(written)) => {
                self.acknowledged += 1;
                self.position = self.position.max(Some(written.position.0));
            }
            Ok(_) => unreachable!("a write is answered by what it did"),
            Err(error) => drop(self.failed.insert(number, (key, error))),
        }
    }

    /// All lines up to this one are acknowledged, or were left out.
    fn done(&self) -> u64 {
        let unsettled = self.in_flight.values().map(|(number, _)| *number).chain(self.failed.keys().copied()).min();
        unsettled.map_or(self.last, |number| number - 1)
    }

    /// What the failed lines come to: one whose outcome is unknown says most, else the first.
    fn failure(self, settings: &Settings, interrupted: bool) -> Option<Failure> {
        let unknown = |error: &ClerkError| matches!(error, ClerkError::Unknown { .. });
        let count = self.failed.values().filter(|(_, error)| unknown(error)).count();
        let (number, (key, error)) = self.failed.into_iter().min_by_key(|(number, (_, error))| (!unknown(error), *number))?;
        if interrupted {
            return Some(Failure::Interrupted { error, finish: None });
        }
        let line = match count {
            0 | 1 => format!("line {number}, key {}", escape(&key)),
            _ => format!("line {number}, key {}, and {} more of unknown outcome", escape(&key), count - 1),
        };
        let hint = running::hint(&error, settings).map_or(line.clone(), |hint| format!("{line}\n{hint}"));
        Some(Failure::Clerk { error, finish: None, hint: Some(hint) })
    }
}

/// For a person who waits.
struct Progress {
    began: Instant,
    /// When last; `None`: nobody looks.
    shown: Option<Instant>,
}

impl Progress {
    fn wait(&self) -> Duration {
        if self.shown.is_some() { PROGRESS } else { Duration::from_secs(3600) }
    }

    fn show(&mut self, account: &Account) {
        if let Some(shown) = &mut self.shown
            && shown.elapsed() >= PROGRESS
        {
            *shown = Instant::now();
            let _ = write!(io::stderr(), "\r\x1b[K{}", output::rate(account.acknowledged, self.began.elapsed())); // nobody is left to tell
        }
    }

    fn clear(&self) {
        if self.shown.is_some_and(|shown| shown != self.began) {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
