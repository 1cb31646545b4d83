//! Four checkers that are wrong on purpose (see [`crate::broken`]): the tests beside this one must notice each.

use super::{bad, brute, good};
use crate::broken::{BROKEN, Broken};

/// Puts the checker right again, also after a panic: the thread may run another test.
struct Break;

impl Break {
    fn begin(broken: Broken) -> Break {
        BROKEN.set(Some(broken));
        Break
    }
}

impl Drop for Break {
    fn drop(&mut self) {
        BROKEN.set(None);
    }
}

/// How many good histories are rejected, bad ones not caught, and short ones misjudged.
fn wrong_verdicts() -> [usize; 3] {
    [good::rejected(0..30).len(), bad::not_caught(0..30).len(), brute::disagreements(0..2000).0.len()]
}

fn wrong_verdicts_of(broken: Broken) -> [usize; 3] {
    let _break = Break::begin(broken);
    wrong_verdicts()
}

#[test]
fn a_checker_that_takes_unknown_as_failed_is_noticed() {
    let [good, _, short] = wrong_verdicts_of(Broken::UnknownIsFailed);
    assert!(good > 0 && short > 0, "{good} good histories rejected, {short} short ones misjudged");
}

#[test]
fn a_checker_with_half_open_intervals_is_noticed() {
    let [good, _, short] = wrong_verdicts_of(Broken::HalfOpenIntervals);
    assert!(good > 0 && short > 0, "{good} good histories rejected, {short} short ones misjudged");
}

#[test]
fn a_checker_that_drops_a_key_is_noticed() {
    let [_, bad, short] = wrong_verdicts_of(Broken::KeyDropped);
    assert!(bad > 0 && short > 0, "{bad} bad histories not caught, {short} short ones misjudged");
}

#[test]
fn a_checker_that_accepts_all_is_noticed() {
    let [_, bad, short] = wrong_verdicts_of(Broken::AcceptsAll);
    assert!(bad > 0 && short > 0, "{bad} bad histories not caught, {short} short ones misjudged");
}

#[test]
fn the_checker_that_is_not_broken_is_right_on_all_of_them() {
    assert_eq!(wrong_verdicts(), [0, 0, 0]);
}
