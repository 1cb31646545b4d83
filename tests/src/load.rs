//! Clients that append, and what became of every append.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::client::{Client, Failed};

/// What a client was told about one append.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Told {
    /// Done: it is there, once.
    Done,
    /// Not done: it is not there, and never will be.
    NotDone,
    /// It may be there, once.
    Unknown,
}

/// The `count`th append of a client: unlike any other, and readable.
pub fn token(client: usize, count: usize) -> String {
    format!("x {client} {count} y")
}

/// What every client was told, in its order.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// Per client: what it was told about append 0, 1, 2...
    pub told: BTreeMap<usize, Vec<Told>>,
    /// The longest time that an append took.
    pub longest: Duration,
}

impl Account {
    /// How many appends got this answer.
    pub fn count(&self, what: Told) -> usize {
        self.told.values().flatten().filter(|told| **told == what).count()
    }

    /// Reads what every client of a `Load` appended to, through these endpoints, and checks it.
    #[track_caller]
    pub fn check_all(&self, endpoints: &str) {
        let mut reader = Client::new(endpoints, crate::wait::PATIENCE);
        for client in self.told.keys() {
            self.check(*client, &reader.get(&Load::key(*client)).expect("a read").expect("the key is there"));
        }
    }

    /// Panics unless the value that `client` appended to holds what it must: every acknowledged append once, in order; no append that
    /// was refused; any other at most once; and nothing that was never sent. The value may hold other clients' appends too.
    #[track_caller]
    pub fn check(&self, client: usize, value: &[u8]) {
        let value = std::str::from_utf8(value).expect("tokens are text");
        let told = &self.told[&client];
        let mut places: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (place, piece) in value.split_inclusive('y').enumerate() {
            let words: Vec<&str> = piece.split(' ').collect();
            let [_, of, count, _] = words[..] else { panic!("not a token: {piece:?}") };
            if of.parse() == Ok(client) {
                places.entry(count.parse().expect("a count")).or_default().push(place);
            }
        }
        let mut last_place = None;
        for (count, told) in told.iter().enumerate() {
            let here = places.remove(&count).unwrap_or_default();
            let token = token(client, count);
            match told {
                Told::Done => assert_eq!(here.len(), 1, "{token:?} was acknowledged and is there {} times", here.len()),
                Told::NotDone => assert!(here.is_empty(), "{token:?} was reported as not done and is there {} times", here.len()),
                Told::Unknown => assert!(here.len() <= 1, "{token:?} had an unknown outcome and is there {} times", here.len()),
            }
            // An append of unknown outcome may land late; those that were acknowledged happened one after the other.
            if *told == Told::Done {
                assert!(last_place < Some(here[0]), "{token:?} stands before an append that was acknowledged earlier");
                last_place = Some(here[0]);
            }
        }
        assert!(places.is_empty(), "client {client} never sent these: {places:?}");
    }
}

/// Clients that append until told to stop, each to its own key.
pub struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<(Vec<Told>, Duration)>>,
}

impl Load {
    /// Starts so many clients.
    pub fn start(endpoints: &str, clients: usize) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let done = Arc::new(AtomicUsize::new(0));
        let clients = (0..clients).map(|client| {
            let (stop, done, endpoints) = (stop.clone(), done.clone(), endpoints.to_owned());
            std::thread::spawn(move || append_until(&stop, &done, client, &endpoints))
        });
        Load { clients: clients.collect(), stop, done }
    }

    /// The key that a client appends to.
    pub fn key(client: usize) -> String {
        format!("load-{client}")
    }

    /// How many appends have been acknowledged so far.
    pub fn done(&self) -> usize {
        self.done.load(Ordering::Relaxed)
    }

    /// Waits until so many more appends were acknowledged: service goes on.
    pub fn wait_progress(&self, more: usize) {
        let goal = self.done() + more;
        crate::wait_until(&format!("{more} more appends are acknowledged"), crate::wait::PATIENCE, || self.done() >= goal);
    }

    /// Stops the clients; each finishes the append it is in.
    pub fn stop(self) -> Account {
        self.stop.store(true, Ordering::Relaxed);
        let mut account = Account::default();
        for (client, thread) in self.clients.into_iter().enumerate() {
            let (told, longest) = thread.join().expect("a client does not panic");
            account.told.insert(client, told);
            account.longest = account.longest.max(longest);
        }
        account
    }
}

fn append_until(stop: &AtomicBool, done: &AtomicUsize, client: usize, endpoints: &str) -> (Vec<Told>, Duration) {
    let mut clerk = Client::new(endpoints, Duration::from_secs(20));
    let (mut told, mut longest) = (Vec::new(), Duration::ZERO);
    while !stop.load(Ordering::Relaxed) {
        let start = Instant::now();
        told.push(match clerk.append(&Load::key(client), &token(client, told.len())) {
            Ok(_) => {
                done.fetch_add(1, Ordering::Relaxed);
                Told::Done
            }
            Err(Failed::NotDone(_)) => Told::NotDone,
            Err(Failed::Unknown(_)) => Told::Unknown,
        });
        longest = longest.max(start.elapsed());
    }
    (told, longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(told: &[Told]) -> Account {
        Account { told: [(3, told.to_vec())].into(), longest: Duration::ZERO }
    }

    fn accepts(told: &[Told], value: &str) -> bool {
        std::panic::catch_unwind(|| account(told).check(3, value.as_bytes())).is_ok()
    }

    #[test]
    fn the_account_notices_what_is_lost_doubled_refused_invented_or_out_of_order() {
        let told = [Told::Done, Told::Unknown, Told::Done, Told::NotDone];
        assert!(accepts(&told, "x 3 0 yx 3 2 y"));
        assert!(accepts(&told, "x 3 0 yx 7 0 yx 3 1 yx 3 2 y"));
        assert!(accepts(&told, "x 3 0 yx 3 2 yx 3 1 y"), "an unknown one may land late");
        assert!(!accepts(&told, "x 3 0 y"), "lost");
        assert!(!accepts(&told, "x 3 0 yx 3 2 yx 3 2 y"), "doubled");
        assert!(!accepts(&told, "x 3 0 yx 3 1 yx 3 1 yx 3 2 y"), "doubled, though unknown");
        assert!(!accepts(&told, "x 3 0 yx 3 2 yx 3 3 y"), "refused and there");
        assert!(!accepts(&told, "x 3 0 yx 3 2 yx 3 4 y"), "never sent");
        assert!(!accepts(&told, "x 3 2 yx 3 0 y"), "out of order");
    }
}
