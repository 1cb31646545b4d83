//! Did every acknowledged append happen exactly once, and in its client's order? Looks only at what the clients saw and at the value
//! in the end; shares nothing with the cluster.
//!
//! Client 2's 17th append is the token `2.17;`. Client numbers and sequence numbers make every token unique.

use std::collections::BTreeMap;
use std::fmt;

/// What one client saw of one of its appends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Outcome {
    /// Acknowledged: must be there, once.
    Done,
    /// Definitely not done: must not be there.
    NotDone,
    /// Nobody knows: may be there, once.
    Unknown,
}

/// The token of a client's append.
pub(super) fn token(client: usize, number: usize) -> String {
    format!("{client}.{number};")
}

/// What came out.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Verdict {
    /// Appends that were acknowledged.
    pub(super) acknowledged: usize,
    /// Appends whose outcome the client does not know.
    pub(super) unknown: usize,
    /// Acknowledged and not there.
    pub(super) lost: usize,
    /// There more than once.
    pub(super) doubled: usize,
    /// Acknowledged, there, and before one that the same client had seen acknowledged earlier.
    pub(super) out_of_order: usize,
    /// There though it was refused, or was never sent.
    pub(super) uninvited: usize,
}

impl Verdict {
    /// Whether every promise was kept. A run without a single acknowledged append kept none.
    pub(super) fn holds(&self) -> bool {
        self.acknowledged > 0 && self.lost + self.doubled + self.out_of_order + self.uninvited == 0
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} acknowledged appends: {} lost, {} doubled", self.acknowledged, self.lost, self.doubled)?;
        let rare = [(self.out_of_order, "out of order"), (self.uninvited, "never asked for"), (self.unknown, "of unknown outcome")];
        rare.iter().filter(|(count, _)| *count > 0).try_for_each(|(count, what)| write!(f, ", {count} {what}"))
    }
}

/// Compares the value in the end with `outcomes[client][number]`, what each client saw of each of its appends.
pub(super) fn judge(value: &[u8], outcomes: &[Vec<Outcome>]) -> Verdict {
    let mut verdict = Verdict::default();
    let mut places: BTreeMap<(usize, usize), Vec<usize>> = BTreeMap::new();
    let tokens = value.split_inclusive(|byte| *byte == b';');
    for (place, bytes) in tokens.enumerate() {
        match parse(bytes).filter(|(client, number)| outcomes.get(*client).is_some_and(|sent| *number < sent.len())) {
            Some(id) => places.entry(id).or_default().push(place),
            None => verdict.uninvited += 1,
        }
    }
    for (client, sent) in outcomes.iter().enumerate() {
        let mut last_place = None;
        for (number, outcome) in sent.iter().enumerate() {
            let found = places.get(&(client, number)).map_or(&[][..], Vec::as_slice);
            verdict.doubled += usize::from(found.len() > 1);
            match outcome {
                Outcome::Done => {
                    verdict.acknowledged += 1;
                    verdict.lost += usize::from(found.is_empty());
                    if let Some(place) = found.first() {
                        verdict.out_of_order += usize::from(last_place > Some(*place));
                        last_place = last_place.max(Some(*place));
                    }
                }
                Outcome::NotDone => verdict.uninvited += usize::from(!found.is_empty()),
                Outcome::Unknown => verdict.unknown += 1,
            }
        }
    }
    verdict
}

/// `2.17;`, and nothing that merely looks like it.
fn parse(bytes: &[u8]) -> Option<(usize, usize)> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (client, number) = text.strip_suffix(';')?.split_once('.')?;
    let id = (client.parse().ok()?, number.parse().ok()?);
    (token(id.0, id.1) == text).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Outcome::{Done, NotDone, Unknown};

    #[test]
    fn every_acknowledged_append_once_and_in_order_holds() {
        let verdict = judge(b"0.0;1.0;0.1;1.1;", &[vec![Done, Done], vec![Done, Done]]);
        assert!(verdict.holds());
        assert_eq!(verdict.to_string(), "4 acknowledged appends: 0 lost, 0 doubled");
    }

    #[test]
    fn a_lost_append_is_found() {
        let verdict = judge(b"0.0;", &[vec![Done, Done]]);
        assert_eq!((verdict.lost, verdict.holds()), (1, false));
        assert_eq!(verdict.to_string(), "2 acknowledged appends: 1 lost, 0 doubled");
    }

    #[test]
    fn a_doubled_append_is_found_acknowledged_or_not() {
        let verdict = judge(b"0.0;0.1;0.0;0.1;", &[vec![Done, Unknown]]);
        assert_eq!((verdict.doubled, verdict.holds()), (2, false));
    }

    #[test]
    fn an_unknown_outcome_may_be_there_or_not() {
        assert!(judge(b"0.0;0.1;", &[vec![Done, Unknown]]).holds());
        let verdict = judge(b"0.0;", &[vec![Done, Unknown]]);
        assert!(verdict.holds());
        assert_eq!(verdict.to_string(), "1 acknowledged appends: 0 lost, 0 doubled, 1 of unknown outcome");
    }

    #[test]
    fn a_clients_appends_in_the_wrong_order_are_found() {
        let verdict = judge(b"0.1;0.0;0.2;", &[vec![Done, Done, Done]]);
        assert_eq!((verdict.out_of_order, verdict.holds()), (1, false));
    }

    #[test]
    fn what_nobody_acknowledged_asking_for_is_found() {
        assert_eq!(judge(b"0.0;0.1;", &[vec![Done, NotDone]]).uninvited, 1); // said "not done", and did it
        assert_eq!(judge(b"0.0;7.0;", &[vec![Done]]).uninvited, 1); // nobody's
        assert_eq!(judge(b"0.0;0.1;", &[vec![Done]]).uninvited, 1); // not sent yet
        assert_eq!(judge(b"0.0;0.", &[vec![Done]]).uninvited, 1); // torn
        assert_eq!(judge(b"0.0;0.00;", &[vec![Done]]).uninvited, 1); // not how we write it
    }

    #[test]
    fn a_run_that_acknowledged_nothing_does_not_hold() {
        assert!(!judge(b"", &[vec![], vec![NotDone]]).holds());
    }
}
