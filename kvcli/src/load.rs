//! Many writes in one go: 64 at a time, in one session, and an exact account of how far it came.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

use anyhow::Context;
use kvcli::{Answer, Ask, CallNumber, Clerk, ClerkError, Token};
use wire::limits::SESSION_WINDOW;

use crate::cli::LoadArgs;
use crate::commands::{clerk, finish_line, plainly, say};
use crate::failure::{Failure, Unsettled};
use crate::feed::{Fed, Feed, Line};
use crate::lines::Pair;
use crate::output;
use crate::quote::{escape, quote};
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
    clerk.hold_session();
    let fence = settings.resume.map(|token| Fence { token, first: None });
    let account = Account::new(args.from_line);
    let mut load = Load { clerk: &mut clerk, feed, settings, queue: VecDeque::new(), account, fence, end: None };
    let mut progress = Progress { began, shown: io::stderr().is_terminal().then_some(began) };
    let interrupted = load.run(&interrupts, &mut progress);
    progress.clear();
    load.clerk.unwatch(&*load.feed.bell).map_err(plainly)?;
    load.clerk.unwatch(interrupts.descriptor()).map_err(plainly)?;
    let left = load.clerk.leave_session(load.account.next_digest());
    let unsettled = load.fence.map(|fence| fence.token).or(left);
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
        Some(why @ Failure::OtherInput(_)) => Err(why), // not a line of it was ours to load
        Some(why) => {
            let unsettled = unsettled.map(|token| {
                let line = finish_line(settings, &token, &format!("load {}--from-line {}", file_word(args), done + 1));
                Unsettled { token, line, reads_stdin: args.reads_stdin() }
            });
            Err(Failure::Lines { done, unsettled, why: Box::new(why) })
        }
        None => {
            say(|out| output::loaded(out, settings.mode, lines, position))?;
            Ok(output::summary(&mut io::stderr(), settings.mode, &output::rate(lines, began.elapsed()))?)
        }
    }
}

/// The file as a word of a shell, and a blank.
fn file_word(args: &LoadArgs) -> String {
    match &args.file {
        Some(path) if !args.reads_stdin() => {
            let bytes = path.as_os_str().as_bytes();
            let here = if bytes.starts_with(b"-") { "./" } else { "" }; // it would be an option
            format!("{} ", quote(&[here.as_bytes(), bytes].concat()))
        }
        _ => String::new(),
    }
}

struct Load<'a> {
    clerk: &'a mut Clerk,
    feed: Feed,
    settings: &'a Settings,
    /// Read, and not sent.
    queue: VecDeque<Line>,
    account: Account,
    /// What is to be done before anything else, if an earlier load left lines unknown.
    fence: Option<Fence>,
    /// No line comes any more: there is none, or something is wrong with the next.
    end: Option<Result<(), Failure>>,
}

/// Attempts of an earlier load may still be on their way, and could come to rest behind a later line with the same key. The first line
/// goes out with that load's token: once it has taken effect, they are refused. (Those that took effect before it do no harm. They are
/// of lines that were not acknowledged, and all of those are written again.) The other lines are in a session of our own and wait for it:
/// so the same token can be used as often as one likes, since it is never more than this one write.
struct Fence {
    token: Token,
    /// The first line, under way.
    first: Option<(CallNumber, Pair)>,
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
                self.settle(call, outcome);
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
        while (self.account.in_flight.len() as u64) < IN_FLIGHT_MAX && self.fence.as_ref().is_none_or(|fence| fence.first.is_none()) {
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
                Ok(pair) => self.begin(line.number, pair),
            }
        }
    }

    fn begin(&mut self, number: u64, pair: Pair) {
        let first = self.fence.is_some().then(|| pair.clone());
        let ask = Ask::Put { key: pair.key.clone(), value: pair.value };
        let digest = Token::digest_of(&ask).unwrap_or_default();
        let call = match &mut self.fence {
            None => self.clerk.submit(ask, self.settings.timeout),
            Some(fence) if fence.token.is_of(&ask) => {
                let call = self.clerk.submit_resumed(fence.token, ask, self.settings.timeout);
                fence.first = first.map(|pair| (call, pair));
                call
            }
            Some(_) => {
                self.queue.clear();
                self.end = Some(Err(Failure::OtherInput(number)));
                return;
            }
        };
        self.account.begin(call, Sent { number, key: pair.key, digest });
    }

    fn settle(&mut self, call: CallNumber, outcome: Result<Answer, ClerkError>) {
        let is_first = |fence: &mut Fence| fence.first.as_ref().is_some_and(|(first, _)| *first == call);
        let Some(fence) = self.fence.take_if(is_first) else { return self.account.settle(call, outcome) };
        match (&outcome, fence.first) {
            (Ok(_), _) => self.account.settle(call, outcome),
            // The cluster has forgotten that load's session: nothing of it can happen any more, this line included.
            (Err(ClerkError::Unknown { resume: None, .. }), Some((_, pair))) => {
                let number = self.account.first;
                self.account = Account::new(number);
                self.queue.push_front(Line { number, pair: Ok(pair) });
            }
            (Err(_), _) => {
                self.account.settle(call, outcome);
                self.fence = Some(Fence { token: fence.token, first: None });
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

/// A line that was sent.
#[derive(Debug)]
struct Sent {
    number: u64,
    key: Vec<u8>,
    /// What tells it from another.
    digest: u32,
}

/// What became of every line.
#[derive(Debug)]
struct Account {
    first: u64,
    /// The last that was sent.
    last: u64,
    in_flight: BTreeMap<CallNumber, Sent>,
    /// The keys of those.
    busy: BTreeSet<Vec<u8>>,
    acknowledged: u64,
    position: Option<u64>,
    failed: BTreeMap<u64, (Sent, ClerkError)>,
}

impl Account {
    fn new(first: u64) -> Account {
        let (in_flight, busy, failed) = (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
        Account { first, last: first - 1, in_flight, busy, acknowledged: 0, position: None, failed }
    }

    fn begin(&mut self, call: CallNumber, sent: Sent) {
        self.last = sent.number;
        self.busy.insert(sent.key.clone());
        self.in_flight.insert(call, sent);
    }

    fn settle(&mut self, call: CallNumber, outcome: Result<Answer, ClerkError>) {
        let Some(sent) = self.in_flight.remove(&call) else { return };
        self.busy.remove(&sent.key);
        match outcome {
            Ok(Answer::Written(written)) => {
                self.acknowledged += 1;
                self.position = self.position.max(Some(written.position.0));
            }
            Ok(_) => unreachable!("a write is answered by what it did"),
            Err(error) => drop(self.failed.insert(sent.number, (sent, error))),
        }
    }

    /// All lines up to this one are acknowledged, or were left out.
    fn done(&self) -> u64 {
        self.next().map_or(self.last, |sent| sent.number - 1)
    }

    /// The first that was sent and is not acknowledged.
    fn next(&self) -> Option<&Sent> {
        self.in_flight.values().chain(self.failed.values().map(|(sent, _)| sent)).min_by_key(|sent| sent.number)
    }

    fn next_digest(&self) -> u32 {
        self.next().map_or(0, |sent| sent.digest)
    }

    /// What the failed lines come to: one whose outcome is unknown says most, else the first.
    fn failure(self, settings: &Settings, interrupted: bool) -> Option<Failure> {
        let unknown = |error: &ClerkError| matches!(error, ClerkError::Unknown { .. });
        let count = self.failed.values().filter(|(_, error)| unknown(error)).count();
        let (number, (Sent { key, .. }, error)) = self.failed.into_iter().min_by_key(|(number, (_, error))| (!unknown(error), *number))?;
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
