//! A scan under way: pages of one point in time, the next always asked for before this one is read.

use std::collections::VecDeque;
use std::time::Duration;

use raft::Index;
use wire::Item;

use crate::ask::Ask;
use crate::clerk::Clerk;
use crate::core::{Answer, CallNumber, Cursor, Page};
use crate::error::ClerkError;

/// Keys with their values, in byte order, all as they were at one point in time, however long the reading takes.
///
/// The node that answers keeps that point in time. It gives up on a reader that asks for nothing within 30 seconds, and while too much
/// changes; if it does, or is lost, the scan ends with [`ClerkError::ScanLost`], and only a new one, of a later point in time, can
/// tell the rest.
///
/// Two pages at most are in memory, some 256 KiB each.
#[derive(Debug)]
pub struct Scan<'a> {
    clerk: &'a mut Clerk,
    position: Index,
    age_ms: Option<u64>,
    items: VecDeque<Item>,
    next: Option<CallNumber>,
}

impl<'a> Scan<'a> {
    /// Goes on behind a first page, which [`Ask::Scan`] brought.
    pub fn new(clerk: &'a mut Clerk, first: Page) -> Result<Scan<'a>, ClerkError> {
        let Page { items, position, age_ms, next } = first;
        let mut scan = Scan { clerk, position, age_ms, items: items.into(), next: None };
        scan.prefetch(next)?;
        Ok(scan)
    }

    /// The log index of its point in time.
    pub fn position(&self) -> Index {
        self.position
    }

    /// Of a stale scan: milliseconds since the node had last heard from a leader when it began; `None`: never.
    pub fn age_ms(&self) -> Option<u64> {
        self.age_ms
    }

    /// The items that are here, or else the next page. Empty: that was all.
    pub fn next_items(&mut self) -> Result<Vec<Item>, ClerkError> {
        self.next_items_unless(|| false).map(Option::unwrap_or_default)
    }

    /// As `next_items`, for somebody who may change their mind: `stop` is asked whenever anything has happened, also at what the clerk
    /// [watches](Clerk::watch). `None`: it said so, and the scan is over.
    pub fn next_items_unless(&mut self, mut stop: impl FnMut() -> bool) -> Result<Option<Vec<Item>>, ClerkError> {
        while self.items.is_empty()
            && let Some(call) = self.next.take()
        {
            match self.clerk.wait_within_timeout(call, &mut stop)? {
                Some(Answer::Page(page)) => {
                    self.items = page.items.into();
                    self.prefetch(page.next)?;
                }
                Some(_) => unreachable!("the core answers what was asked"),
                None => return Ok(None),
            }
        }
        Ok(Some(std::mem::take(&mut self.items).into()))
    }

    /// The call has no deadline of its own: its time counts from when somebody waits for it.
    fn prefetch(&mut self, next: Option<Cursor>) -> Result<(), ClerkError> {
        if let Some(cursor) = next {
            self.next = Some(self.clerk.submit(Ask::ScanNext { cursor }, Duration::MAX));
            self.clerk.step(Duration::ZERO)?;
        }
        Ok(())
    }
}

impl Iterator for Scan<'_> {
    type Item = Result<Item, ClerkError>;

    /// An error is the last item.
    fn next(&mut self) -> Option<Result<Item, ClerkError>> {
        if self.items.is_empty() {
            match self.next_items() {
                Ok(items) => self.items = items.into(),
                Err(error) => return Some(Err(error)),
            }
        }
        self.items.pop_front().map(Ok)
    }
}

impl Drop for Scan<'_> {
    fn drop(&mut self) {
        if let Some(call) = self.next.take() {
            self.clerk.forget(call);
        }
    }
}
