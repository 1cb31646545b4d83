//! What clerks were told, held against what was applied: at once where that is possible, and as a history in the end.

use checker::{Answer as Told, Call as Asked, History, Op};
use kvcli::{Answer, Ask, ClerkError, Expectation, Range, Reason};
use raft::Index;
use wire::client::{Request, Value, WriteOutcome, Written};
use wire::command::Command;

use crate::clerks::Call;
use crate::failure::must;
use crate::ledger::{Identity, Ledger};
use crate::world::World;

/// Nobody writes this, so that a cas that expects it expects something else than was there.
const NEVER_WRITTEN: &[u8] = b"never written";

impl World {
    /// A request reaches a node.
    pub(crate) fn note_request(&mut self, request: &Request<'_>) {
        if let Request::Write { command } = request
            && let Ok(Command::Write { call, .. }) = Command::decode(command)
        {
            let is_first = self.clerks.asked.insert((call.session, call.seq));
            self.report.retries += u64::from(!is_first);
        }
    }

    /// A call is over, for now.
    pub(crate) fn note_outcome(&mut self, place: usize) {
        let call = &mut self.clerks.calls[place];
        call.fenced_at = match &call.outcome {
            Some(Ok(Answer::Written(written))) => Some(written.position),
            // Its session is forgotten, and with it what was called before.
            Some(Err(ClerkError::Unknown { resume: None, .. })) => Some(self.clerks.ledger.last_index()),
            _ => None,
        };
        if call.resumed() {
            self.report.settled += u64::from(matches!(call.outcome, Some(Ok(_))));
            self.report.expired += u64::from(matches!(call.outcome, Some(Err(ClerkError::Unknown { resume: None, .. }))));
        }
        self.check_forgotten(place);
        let call = &self.clerks.calls[place];
        let (ledger, report) = (&self.clerks.ledger, &mut self.report);
        report.calls += 1;
        match call.outcome.as_ref().expect("it is over") {
            Ok(Answer::Written(written)) => {
                report.acknowledged += 1;
                check_write(call, written, ledger);
                if let Some(op) = call.ask.op() {
                    let value = ledger.value_at(op.key(), written.position).map(|value| (&value.value[..], value.version));
                    self.clerks.asks.saw(op.key(), value);
                }
            }
            Ok(Answer::Value { value, position } | Answer::StaleValue { value, position, .. }) => {
                report.reads += 1;
                let (Ask::Get { key } | Ask::GetStale { key }) = &call.ask else { panic!("a value answers a get: {:?}", call.ask) };
                let known = ledger.value_at(key, *position);
                must!(
                    value.as_ref() == known,
                    "a read shows the state at its position",
                    "{call} at {position}: {value:?} instead of {known:?}"
                );
                self.clerks.asks.saw(key, value.as_ref().map(|value| (&value.value[..], value.version)));
            }
            Ok(Answer::Page(page)) => {
                report.scans += 1;
                let Ask::Scan(range) = &call.ask else { panic!("a page answers a scan: {:?}", call.ask) };
                let shown = page.items.iter().map(|item| (&item.key[..], &item.value[..], item.version));
                must!(
                    shown.eq(expected(range, page.position, ledger)),
                    "a scan shows the state at its position",
                    "{range:?} at {}: {:?}",
                    page.position,
                    page.items
                );
            }
            Ok(Answer::Status(_)) => {}
            Err(ClerkError::Unknown { .. }) => report.unknown += 1,
            Err(ClerkError::NotDone { .. } | ClerkError::ScanLost { .. }) => report.not_done += 1,
            Err(error @ (ClerkError::Rejected { .. } | ClerkError::Refused { .. } | ClerkError::Local { .. })) => {
                panic!("nothing that is asked here should end so: {error}")
            }
        }
    }
}

impl World {
    /// Nobody is told that a call can never be settled while the cluster has its session: unless a fence stands behind it.
    fn check_forgotten(&self, place: usize) {
        let call = &self.clerks.calls[place];
        let Some(Err(ClerkError::Unknown { resume: None, endpoints })) = &call.outcome else { return };
        let is_forgotten = endpoints.iter().any(|tried| tried.reason == Reason::SessionExpired);
        let is_of = |(session, _): Identity| call.identities.iter().any(|identity| identity.0 == session);
        let is_fenced = || self.clerks.calls.iter().filter_map(|other| other.fence).any(is_of);
        must!(is_forgotten || is_fenced(), "a call can be settled while its session lives", "{call}: {endpoints:?}");
    }
}

/// Who is told "done" is told so of the own write, as it was applied.
fn check_write(call: &Call, written: &Written, ledger: &Ledger) {
    let at = written.position;
    let identity = ledger.identity_at(at);
    let is_own = identity.is_some_and(|identity| call.identities.contains(&identity));
    must!(is_own, "an answer is to the call that was made", "{call}, as {:?}, was answered by {at}: {identity:?}", call.identities);
    let Some(op) = call.ask.op() else { panic!("a read was answered as a write: {:?}", call.ask) };
    let changed = matches!(written.outcome, WriteOutcome::Done | WriteOutcome::Deleted | WriteOutcome::Swapped);
    let effect = identity.and_then(|identity| ledger.effect(&identity));
    must!(effect.is_some() == changed, "an answer tells what happened", "{call}: {written:?}, and took effect at {effect:?}");
    // The checker knows no cas by version: a wrong no would be a cas that rightly found something else.
    if let Ask::Cas { key, expect: Expectation::Version(version), .. } = &call.ask {
        let found = ledger.value_at(key, Index(at.0 - 1)).map_or(0, |value| value.version);
        must!(changed == (found == *version), "an answer tells what happened", "{call}: {written:?}, and found version {found}");
        must!(!changed || written.version == version + 1, "an answer tells what happened", "{call}: {written:?}");
    }
    let version = ledger.value_at(op.key(), at).map_or(0, |value| value.version);
    must!(version == written.version, "an answer tells what happened", "{call}: {written:?}, and left version {version}");
}

/// What a scan at `position` must show.
fn expected<'a>(range: &'a Range, position: Index, ledger: &'a Ledger) -> impl Iterator<Item = (&'a [u8], &'a [u8], u64)> {
    let limit = range.limit.map_or(usize::MAX, |limit| usize::try_from(limit).expect("a small limit"));
    let within = |key: &&Vec<u8>| range.from <= **key && range.to.as_ref().is_none_or(|to| *key < to);
    let found = ledger.keys().filter(within).filter_map(move |key| Some((key, ledger.value_at(key, position)?)));
    let show = |(key, value): (&'a Vec<u8>, &'a Value)| {
        let shown = if range.keys_only { &[][..] } else { &value.value };
        (&key[..], shown, value.version)
    };
    found.map(show).take(limit)
}

/// Every call as an operation. With a ledger, writes of unknown outcome stand where they were applied, and did not happen if they were not;
/// without one it is what clients know, and nothing else.
pub(crate) fn history(calls: &[Call], ledger: Option<&Ledger>) -> History {
    let mut history = History::new();
    for call in calls {
        if let Some(op) = operation(call, ledger) {
            history.push(op).expect("an operation that can be");
        }
    }
    history
}

fn operation(call: &Call, ledger: Option<&Ledger>) -> Option<Op> {
    let effect = call.identities.iter().find_map(|identity| Some((*identity, ledger?.effect(identity)?)));
    let returned_ns = call.returned_us.map(|at_us| at_us * 1_000);
    let op = |asked| Op::new(1_000 * call.clerk + call.unknown_count, asked, call.called_us * 1_000);
    let mut op = match (&call.ask, call.outcome.as_ref()) {
        (
            Ask::GetStale { .. }
            | Ask::Scan(Range { stale: true, .. } | Range { keys_only: true, .. })
            | Ask::ScanNext { .. }
            | Ask::Status { .. },
            _,
        ) => return None,
        (Ask::Get { key }, Some(Ok(Answer::Value { value, position }))) => {
            let answer = Told::Value(value.as_ref().map(|value| value.value.clone()));
            let version = value.as_ref().map_or(0, |value| value.version);
            Op { version: Some(version), ..op(Asked::Get { key: key.clone() }).ok(returned_ns?, answer).at(position.0) }
        }
        (Ask::Scan(range), Some(Ok(Answer::Page(page)))) => {
            let asked = Asked::Scan { from: Some(range.from.clone()), to: range.to.clone(), limit: range.limit };
            let items = page.items.iter().map(|item| (item.key.clone(), item.value.clone())).collect();
            op(asked).ok(returned_ns?, Told::List(items)).at(page.position.0)
        }
        (Ask::Get { .. } | Ask::Scan(_), _) => return None,
        (ask, Some(Ok(Answer::Written(written)))) => {
            let done = written.outcome;
            let answer = match ask {
                Ask::Delete { .. } => Told::Flag(done == WriteOutcome::Deleted),
                Ask::Cas { expect: Expectation::Version(_), .. } if done == WriteOutcome::Swapped => Told::Done,
                Ask::Cas { .. } => Told::Flag(done == WriteOutcome::Swapped),
                _ => Told::Done,
            };
            let asked = asked(ask, done == WriteOutcome::Swapped);
            Op { version: Some(written.version), ..op(asked).ok(returned_ns?, answer).at(written.position.0) }
        }
        (ask, Some(Err(ClerkError::NotDone { .. }))) => op(asked(ask, false)).fail(returned_ns?),
        (ask, _) => match effect {
            Some((_, index)) => op(asked(ask, true)).at(index.0),
            None if ledger.is_none() => op(asked(ask, true)),
            None => op(asked(ask, false)).fail(call.called_us * 1_000),
        },
    };
    let identity = effect.map(|(identity, _)| identity).or(call.identities.last().copied());
    op.session = identity.map(|(session, _)| format!("{:032x}", session.0).as_str().into());
    op.seq = identity.map(|(_, seq)| seq);
    op.node = call.node.map(|node| (node as u64 + 1).into());
    Some(op)
}

/// A write as the checker knows it. It has no cas by version: one that swapped is a put, whose version is checked; one that did not is a cas
/// that must find something else than nobody writes.
fn asked(ask: &Ask, swapped: bool) -> Asked {
    match ask.clone() {
        Ask::Put { key, value } => Asked::Put { key, value },
        Ask::Append { key, value } => Asked::Append { key, value },
        Ask::Delete { key } => Asked::Delete { key },
        Ask::Cas { key, expect: Expectation::Absent, value } => Asked::Cas { key, expect: None, value },
        Ask::Cas { key, expect: Expectation::Value(expect), value } => Asked::Cas { key, expect: Some(expect), value },
        Ask::Cas { key, expect: Expectation::Version(_), value } if swapped => Asked::Put { key, value },
        Ask::Cas { key, expect: Expectation::Version(_), value } => Asked::Cas { key, expect: Some(NEVER_WRITTEN.to_vec()), value },
        read => panic!("no write: {read:?}"),
    }
}
