//! Scans that clients are reading: each is a frozen view, read a page at a time, when the client asks for one. A client that does not ask
//! holds no more than its view, and not for ever.

use std::collections::BTreeMap;

use raft::Reached;
use wire::{Item, Page, Reply};

use crate::limits::{CLIENT_SCANS_MAX, SCAN_IDLE_US_MAX, SCANS_MAX};
use crate::machine::Machine;
use crate::view::ViewId;
use crate::waiting::{ClientId, Range};

/// Scans by number; the number is the view's.
pub(crate) struct Scans {
    open: BTreeMap<ViewId, Scan>,
    page_bytes_max: usize,
    reached: Reached,
}

struct Scan {
    client: ClientId,
    keys_only: bool,
    /// Keys that may still be given; `None`: all.
    left: Option<u64>,
    age_ms: Option<u64>,
    last_used_us: u64,
}

/// What an item costs in a page beside its bytes.
const ITEM_OVERHEAD: usize = 16;

impl Scans {
    pub(crate) fn new(page_bytes_max: usize) -> Scans {
        Scans { open: BTreeMap::new(), page_bytes_max, reached: Reached::default() }
    }

    /// Whether there is room for one more of this client's.
    pub(crate) fn may_open(&self, client: ClientId) -> bool {
        self.open.len() < SCANS_MAX && self.open.values().filter(|scan| scan.client == client).count() < CLIENT_SCANS_MAX
    }

    /// Begins a scan of the keys as they are now, at `position`; the first page.
    pub(crate) fn open(
        &mut self,
        machine: &mut Machine,
        position: raft::Index,
        client: ClientId,
        range: &Range,
        age_ms: Option<u64>,
        now_us: u64,
    ) -> Reply {
        let id = machine.open_view(position, &range.from, range.to.as_deref());
        self.open.insert(id, Scan { client, keys_only: range.keys_only, left: range.limit, age_ms, last_used_us: now_us });
        self.next(machine, client, id.0, now_us)
    }

    /// The next page of a scan of this client's.
    pub(crate) fn next(&mut self, machine: &mut Machine, client: ClientId, scan: u64, now_us: u64) -> Reply {
        let id = ViewId(scan);
        let Some(open) = self.open.get_mut(&id).filter(|open| open.client == client) else { return Reply::ScanLost };
        open.last_used_us = now_us;
        let mut items = Vec::new();
        let mut bytes = 0;
        let (keys_only, page_bytes_max) = (open.keys_only, self.page_bytes_max);
        let left = &mut open.left;
        let slice = machine.read_view(id, *left != Some(0), |key, slot| {
            let value = if keys_only { Vec::new() } else { slot.value.clone() };
            bytes += ITEM_OVERHEAD + key.len() + value.len();
            items.push(Item { key: key.to_vec(), value, version: slot.version });
            if let Some(left) = left {
                *left -= 1;
            }
            bytes < page_bytes_max && *left != Some(0)
        });
        let Some(slice) = slice else {
            self.reached.mark("a scan that was too slow has lost its view");
            self.open.remove(&id);
            return Reply::ScanLost;
        };
        let last = slice.is_last || open.left == Some(0);
        let age_ms = open.age_ms;
        if last {
            self.close(machine, id);
        }
        Reply::Page(Page { scan, position: slice.position, age_ms, last, items })
    }

    /// Moves the rare paths that were taken since the last call to `out`.
    pub(crate) fn take_reached(&mut self, out: &mut Vec<&'static str>) {
        self.reached.take(out);
    }

    /// The client is gone.
    pub(crate) fn client_gone(&mut self, machine: &mut Machine, client: ClientId) {
        self.close_all(machine, |scan| scan.client == client);
    }

    /// Closes what nobody has read for long.
    pub(crate) fn close_idle(&mut self, machine: &mut Machine, now_us: u64) {
        self.close_all(machine, |scan| now_us.saturating_sub(scan.last_used_us) > SCAN_IDLE_US_MAX);
    }

    fn close_all(&mut self, machine: &mut Machine, is_over: impl Fn(&Scan) -> bool) {
        let over: Vec<ViewId> = self.open.iter().filter(|(_, scan)| is_over(scan)).map(|(id, _)| *id).collect();
        for id in over {
            self.close(machine, id);
        }
    }

    fn close(&mut self, machine: &mut Machine, id: ViewId) {
        self.open.remove(&id);
        machine.close_view(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::PAGE_BYTES_MAX;
    use raft::Index;
    use wire::command::Op;

    const ME: ClientId = ClientId(1);

    fn machine(keys: usize, value: &[u8]) -> Machine {
        let mut machine = Machine::default();
        for n in 0..keys {
            machine.apply(Index(n as u64 + 1), &Op::Put { key: format!("k{n:05}").as_bytes(), value });
        }
        machine
    }

    fn all(limit: Option<u64>) -> Range {
        Range { from: b"k"[..].into(), to: None, keys_only: false, limit }
    }

    fn page(reply: Reply) -> Page {
        let Reply::Page(page) = reply else { panic!("{reply:?}") };
        page
    }

    #[test]
    fn pages_are_bounded_and_add_up() {
        let mut machine = machine(1000, &[7; 1000]);
        let mut scans = Scans::new(PAGE_BYTES_MAX);
        let mut got = page(scans.open(&mut machine, Index(1000), ME, &all(None), None, 0));
        let (scan, mut keys, mut pages) = (got.scan, got.items.len(), 1);
        while !got.last {
            assert!(got.items.len() <= PAGE_BYTES_MAX / 1000 + 1);
            got = page(scans.next(&mut machine, ME, scan, 0));
            assert_eq!(got.position, Index(1000));
            keys += got.items.len();
            pages += 1;
        }
        assert_eq!(keys, 1000);
        assert!(pages > 3);
        assert_eq!(scans.next(&mut machine, ME, scan, 0), Reply::ScanLost, "it is over");
        assert_eq!(machine.views().count(), 0);
    }

    #[test]
    fn a_limit_is_kept_across_pages_and_frees_the_view() {
        let mut machine = machine(1000, &[7; 1000]);
        let mut scans = Scans::new(PAGE_BYTES_MAX);
        for limit in [0, 1, 300, 999, 1000, 1001] {
            let mut got = page(scans.open(&mut machine, Index(1000), ME, &all(Some(limit)), None, 0));
            let mut keys = got.items.len();
            while !got.last {
                got = page(scans.next(&mut machine, ME, got.scan, 0));
                keys += got.items.len();
            }
            assert_eq!(keys as u64, limit.min(1000));
            assert_eq!(machine.views().count(), 0);
        }
    }

    #[test]
    fn a_scan_belongs_to_its_client_and_ends_with_it_or_when_nobody_asks() {
        let mut machine = machine(1000, &[7; 1000]);
        let mut scans = Scans::new(PAGE_BYTES_MAX);
        let got = page(scans.open(&mut machine, Index(1000), ME, &all(None), None, 0));
        assert_eq!(scans.next(&mut machine, ClientId(2), got.scan, 0), Reply::ScanLost);
        scans.client_gone(&mut machine, ME);
        assert_eq!(scans.next(&mut machine, ME, got.scan, 0), Reply::ScanLost);
        scans.open(&mut machine, Index(1000), ME, &all(None), None, 0);
        scans.close_idle(&mut machine, SCAN_IDLE_US_MAX);
        assert_eq!(machine.views().count(), 1);
        scans.close_idle(&mut machine, SCAN_IDLE_US_MAX + 1);
        assert_eq!(machine.views().count(), 0);
    }

    #[test]
    fn a_scan_of_a_state_that_was_replaced_is_lost_and_not_taken_for_a_later_one() {
        let (mut old, mut scans) = (machine(1000, &[7; 1000]), Scans::new(PAGE_BYTES_MAX));
        let lost = page(scans.open(&mut old, Index(1000), ME, &all(None), None, 0)).scan;
        let (mut new, mut scans) = (machine(1000, &[8; 1000]).instead_of(&old), Scans::new(PAGE_BYTES_MAX));
        let later = page(scans.open(&mut new, Index(1001), ME, &all(None), None, 0)).scan;
        assert_eq!(scans.next(&mut new, ME, lost, 0), Reply::ScanLost);
        assert_eq!(page(scans.next(&mut new, ME, later, 0)).position, Index(1001));
    }

    #[test]
    fn one_client_has_a_few_scans_and_all_of_them_have_many() {
        let mut machine = machine(1000, &[7; 1000]);
        let mut scans = Scans::new(PAGE_BYTES_MAX);
        let mut open = 0;
        while open < SCANS_MAX {
            let client = ClientId((open / CLIENT_SCANS_MAX) as u64);
            assert!(scans.may_open(client), "{open} are open");
            scans.open(&mut machine, Index(1000), client, &all(None), None, 0);
            open += 1;
            assert_eq!(scans.may_open(client), open % CLIENT_SCANS_MAX != 0, "{open} are open");
        }
        assert!(!scans.may_open(ClientId(1000)));
        scans.client_gone(&mut machine, ClientId(0));
        assert!(scans.may_open(ClientId(1000)) && scans.may_open(ClientId(0)));
        assert!(!scans.may_open(ClientId(1)));
    }
}
