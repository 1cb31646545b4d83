//! One call by a real Clerk, and what a history says of it.

use std::time::{Duration, Instant};

use checker::{Answer, Call, Op, Outcome};
use kvcli::{Ask, CallNumber, Clerk, ClerkError, Expectation, Range, Token, WriteOutcome, Written};

use super::applied::session_name;

/// How a call ended.
pub(crate) struct Ended {
    pub(crate) outcome: Outcome,
    pub(crate) position: Option<u64>,
    pub(crate) version: Option<u64>,
    /// Settles an unknown write.
    pub(crate) token: Option<Token>,
    /// This machine failed: nothing is known of the cluster.
    pub(crate) local: Option<String>,
}

impl Ended {
    fn of(outcome: Outcome) -> Ended {
        Ended { outcome, position: None, version: None, token: None, local: None }
    }

    /// Ends an operation. An unknown write may happen at any time from now on: it has no end, but nodes know it by its call.
    pub(crate) fn close(&self, op: &mut Op, now_ns: u64) {
        op.return_ns = (self.outcome != Outcome::Unknown).then_some(now_ns);
        (op.outcome, op.position, op.version) = (self.outcome.clone(), self.position, self.version);
        if let Some(token) = &self.token {
            (op.session, op.seq) = (Some(session_name(token.session.0)), Some(token.seq));
        }
    }

    fn written(written: &Written) -> Ended {
        let answer = match written.outcome {
            WriteOutcome::Done => Answer::Done,
            WriteOutcome::Deleted | WriteOutcome::Swapped => Answer::Flag(true),
            WriteOutcome::NotFound | WriteOutcome::NotSwapped => Answer::Flag(false),
            WriteOutcome::ValueTooLong => return Ended::of(Outcome::Fail),
        };
        let (position, version) = (Some(written.position.0), Some(written.version));
        Ended { position, version, ..Ended::of(Outcome::Ok(answer)) }
    }

    /// Whoever asked for nothing but to read has changed nothing; a write without a definite answer may have happened.
    fn failed(error: &ClerkError) -> Ended {
        match error {
            ClerkError::NotDone { .. } | ClerkError::Rejected { .. } | ClerkError::ScanLost { .. } => Ended::of(Outcome::Fail),
            ClerkError::Refused { resume: None, .. } => Ended::of(Outcome::Fail),
            ClerkError::Unknown { resume, .. } | ClerkError::Refused { resume, .. } => {
                Ended { token: resume.as_deref().cloned(), ..Ended::of(Outcome::Unknown) }
            }
            ClerkError::Local { .. } => Ended { local: Some(error.to_string()), ..Ended::of(Outcome::Unknown) },
        }
    }
}

/// The clock of a history that began at `start`.
pub(crate) fn now_ns(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// Makes a call and waits for its end.
pub(crate) fn perform(clerk: &mut Clerk, call: &Call, timeout: Duration) -> Ended {
    if let Call::Scan { from, to, limit } = call {
        let range = Range { from: from.clone().unwrap_or_default(), to: to.clone(), limit: *limit, ..Range::default() };
        return match scan(clerk, range) {
            Ok((position, items)) => Ended { position: Some(position), ..Ended::of(Outcome::Ok(Answer::List(items))) },
            Err(error) => Ended::failed(&error),
        };
    }
    perform_ask(clerk, ask(call), timeout)
}

/// The same, in the Clerk's words, which can also name a version.
pub(crate) fn perform_ask(clerk: &mut Clerk, ask: Ask, timeout: Duration) -> Ended {
    let number = clerk.submit(ask, timeout);
    wait(clerk, number)
}

/// Settles a write that an earlier clerk left unknown.
pub(crate) fn settle(clerk: &mut Clerk, token: Token, call: &Call, timeout: Duration) -> Ended {
    let number = clerk.submit_resumed(token, ask(call), timeout);
    wait(clerk, number)
}

fn wait(clerk: &mut Clerk, number: CallNumber) -> Ended {
    match clerk.wait(number) {
        Ok(kvcli::Answer::Written(written)) => Ended::written(&written),
        Ok(kvcli::Answer::Value { value, position }) => {
            let version = value.as_ref().map_or(0, |value| value.version);
            let answer = Answer::Value(value.map(|value| value.value));
            Ended { position: Some(position.0), version: Some(version), ..Ended::of(Outcome::Ok(answer)) }
        }
        Ok(other) => unreachable!("nobody asked for {other:?}"),
        Err(error) => Ended::failed(&error),
    }
}

type Items = Vec<(Vec<u8>, Vec<u8>)>;

/// All keys of a range, and the position of its point in time.
pub(crate) fn scan(clerk: &mut Clerk, range: Range) -> Result<(u64, Items), ClerkError> {
    let mut scan = clerk.scan(range)?;
    let mut items = Vec::new();
    loop {
        let page = scan.next_items()?;
        if page.is_empty() {
            return Ok((scan.position().0, items));
        }
        items.extend(page.into_iter().map(|item| (item.key, item.value)));
    }
}

fn ask(call: &Call) -> Ask {
    match call.clone() {
        Call::Get { key } => Ask::Get { key },
        Call::Put { key, value } => Ask::Put { key, value },
        Call::Append { key, value } => Ask::Append { key, value },
        Call::Delete { key } => Ask::Delete { key },
        Call::Cas { key, expect, value } => Ask::Cas { key, expect: expect.map_or(Expectation::Absent, Expectation::Value), value },
        Call::Scan { .. } => unreachable!("a scan is made of several calls"),
    }
}
