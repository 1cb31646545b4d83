//! The switch: packets of all hosts pass through this thread, which delays, drops, repeats and reorders them as each link's policy says.
//!
//! A policy takes effect between two packets, on all links at once. Chance is drawn from a seed, though when packets come is not.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

use super::link::{Counters, Policy, RATE_QUEUE, REORDER_HOLD};
use super::packet;
use super::tun::Tun;
use crate::ending::{Ending, Failure};

/// How long the thread may wait without looking whether it is still wanted.
const IDLE: Duration = Duration::from_millis(200);
/// Packets read from one host before the others get their turn.
const BURST: usize = 32;
/// No packet of IPv4 is longer.
const PACKET_LEN_MAX: usize = 65_535;

/// The links between all hosts, and the thread that works them, which ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Fabric {
    links: Arc<Mutex<Links>>,
}

impl Fabric {
    /// Connects these.
    pub(crate) fn start(ports: Vec<(Ipv4Addr, Tun)>, seed: u64) -> Result<Fabric, Failure> {
        let (addresses, tuns): (Vec<_>, Vec<_>) = ports.into_iter().unzip();
        let links = Arc::new(Mutex::new(Links::new(addresses, seed)));
        let watched = Arc::downgrade(&links);
        let switch = thread::Builder::new().name("fabric".into()).spawn(move || Switch::new(tuns).work(&watched));
        switch.map_err(|error| Ending::Unsupported.says(format!("no thread for the network: {error}")))?;
        Ok(Fabric { links })
    }

    /// From now on.
    pub(crate) fn set(&self, changes: &[(usize, usize, Policy)]) {
        let (mut links, now) = (self.links(), Instant::now());
        for (from, to, policy) in changes {
            links.set(*from, *to, *policy, now);
        }
    }

    /// Since the beginning.
    pub(crate) fn counters(&self, from: usize, to: usize) -> Counters {
        self.links().counters(from, to, Instant::now())
    }

    fn links(&self) -> MutexGuard<'_, Links> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner) // numbers, of which none depends on another
    }
}

#[derive(Debug)]
struct Links {
    addresses: Vec<Ipv4Addr>,
    /// Row by row: all that leave the first host come first.
    all: Vec<Link>,
    /// Packets on their way, the next to arrive first.
    flights: BinaryHeap<Reverse<Flight>>,
    /// Packets that passed, on all links.
    count: u64,
    random: Rng,
}

#[derive(Clone, Debug)]
struct Link {
    policy: Policy,
    counters: Counters,
    /// When the last packet that stays in order is due: no later one is due before it.
    last_due: Instant,
    /// When a slow link has sent what it was given.
    sent_at: Instant,
    /// Packets on their way.
    flying: usize,
    /// The number of the last to be sent of those that have arrived.
    newest: u64,
}

/// What becomes of a packet.
#[derive(PartialEq, Eq, Debug)]
enum Fate {
    Dropped,
    /// Its connection is ended.
    Reset,
    /// Due then, as many times as there are instants.
    Due(Vec<Instant>),
}

impl Links {
    fn new(addresses: Vec<Ipv4Addr>, seed: u64) -> Links {
        let now = Instant::now();
        let link = Link { policy: Policy::default(), counters: Counters::default(), last_due: now, sent_at: now, flying: 0, newest: 0 };
        let all = vec![link; addresses.len() * addresses.len()];
        Links { addresses, all, flights: BinaryHeap::new(), count: 0, random: Rng::with_seed(seed) }
    }

    fn at(&self, from: usize, to: usize) -> usize {
        from * self.addresses.len() + to
    }

    /// From now on. What waits because of something that is no longer wrong waits no more, nor does what comes behind it.
    fn set(&mut self, from: usize, to: usize, policy: Policy, now: Instant) {
        let at = self.at(from, to);
        let link = &mut self.all[at];
        let is_eased = link.policy.is_slower_than(&policy);
        link.policy = policy;
        if !is_eased {
            return;
        }
        let latest = now + policy.delay;
        (link.last_due, link.sent_at) = (link.last_due.min(latest), link.sent_at.min(now));
        let mut flights = std::mem::take(&mut self.flights).into_vec();
        for Reverse(flight) in flights.iter_mut().filter(|Reverse(flight)| (flight.from, flight.to) == (from, to)) {
            flight.due = flight.due.min(latest); // and they stay in order: of two that are due at once, the first to be sent arrives first
        }
        self.flights = flights.into();
    }

    /// Since the beginning. What is on its way has been delayed for as long as it has been.
    fn counters(&self, from: usize, to: usize, now: Instant) -> Counters {
        let mut counters = self.all[self.at(from, to)].counters;
        let flying = self.flights.iter().filter(|Reverse(flight)| (flight.from, flight.to) == (from, to));
        flying.for_each(|Reverse(flight)| counters.add_delay(now.saturating_duration_since(flight.sent)));
        counters
    }

    /// Takes a packet from a host. What remains to be done with it at once: nothing, if it is dropped or has to wait.
    fn accept(&mut self, from: usize, to: usize, packet: &[u8], now: Instant) -> AtOnce {
        let times = match self.fate(from, to, packet, now) {
            Fate::Dropped => return AtOnce::Nothing,
            Fate::Reset => return AtOnce::Reset,
            Fate::Due(times) => times,
        };
        let at = self.at(from, to);
        self.count += 1;
        // Behind one that waits it waits, too: who is first decides when they are due.
        if self.all[at].flying == 0 && times.iter().all(|due| *due <= now) {
            self.all[at].newest = self.count;
            return AtOnce::Arrives { times: times.len() };
        }
        self.all[at].flying += times.len();
        let flight = |due| Reverse(Flight { due, number: self.count, sent: now, from, to, packet: packet.to_vec() });
        self.flights.extend(times.into_iter().map(flight));
        AtOnce::Nothing
    }

    /// The next packet that is due, if it arrives: a cut cuts what is on its way, too.
    fn land(&mut self, now: Instant) -> Option<Flight> {
        loop {
            if self.flights.peek().is_none_or(|Reverse(flight)| flight.due > now) {
                return None;
            }
            let Reverse(flight) = self.flights.pop().expect("just seen");
            let at = self.at(flight.from, flight.to);
            let Link { policy, counters, flying, newest, .. } = &mut self.all[at];
            *flying -= 1;
            counters.add_delay(now.saturating_duration_since(flight.sent));
            if !policy.cut {
                counters.reordered += u64::from(flight.number < *newest);
                *newest = flight.number.max(*newest);
                return Some(flight);
            }
            counters.cut += 1;
        }
    }

    fn fate(&mut self, from: usize, to: usize, packet: &[u8], now: Instant) -> Fate {
        let at = self.at(from, to);
        let Link { policy, counters, last_due, sent_at, .. } = &mut self.all[at];
        if policy.cut {
            counters.cut += 1;
            return Fate::Dropped;
        }
        if policy.reset {
            counters.reset += 1;
            return Fate::Reset;
        }
        let random = &mut self.random;
        let mut happens = |part: f64| part > 0.0 && random.f64() < part;
        if happens(policy.loss) {
            counters.lost += 1;
            return Fate::Dropped;
        }
        let copies = if happens(policy.duplicate) { 2 } else { 1 };
        let is_held = happens(policy.reorder);
        let mut due = now;
        if let Some(rate) = policy.rate {
            let waits = sent_at.saturating_duration_since(now);
            if waits > RATE_QUEUE {
                counters.queue_full += 1;
                return Fate::Dropped;
            }
            *sent_at = now + waits + time_to_send(packet.len(), rate);
            due = *sent_at;
        }
        due += policy.delay + policy.jitter.mul_f64(if policy.jitter.is_zero() { 0.0 } else { random.f64() });
        due = due.max(*last_due);
        if is_held {
            // Each for its own time, so that they overtake each other, too; and `last_due` stays, so that those behind it may.
            due += REORDER_HOLD.mul_f64(random.f64());
        } else {
            *last_due = due;
        }
        counters.passed += 1;
        counters.duplicated += copies - 1;
        Fate::Due((0..copies).map(|_| due).collect())
    }
}

fn time_to_send(len: usize, rate: u64) -> Duration {
    let nanos = len as u128 * 1_000_000_000 / u128::from(rate.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// What has to be done with a packet that has come.
enum AtOnce {
    Nothing,
    /// Its connection is ended.
    Reset,
    /// It arrives, as many times.
    Arrives {
        times: usize,
    },
}

/// A packet on its way. In order of time, then of sending.
#[derive(PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Flight {
    due: Instant,
    number: u64,
    sent: Instant,
    from: usize,
    to: usize,
    packet: Vec<u8>,
}

struct Switch {
    tuns: Vec<Tun>,
    buffer: Vec<u8>,
}

impl Switch {
    fn new(tuns: Vec<Tun>) -> Switch {
        Switch { tuns, buffer: vec![0; PACKET_LEN_MAX] }
    }

    fn work(&mut self, watched: &Weak<Mutex<Links>>) {
        let mut timeout = Duration::ZERO;
        loop {
            let ready = self.wait(timeout);
            let Some(links) = watched.upgrade() else { return };
            let mut links = links.lock().unwrap_or_else(PoisonError::into_inner);
            for from in ready {
                self.receive(from, &mut links);
            }
            let now = Instant::now();
            while let Some(flight) = links.land(now) {
                self.tuns[flight.to].send(&flight.packet);
            }
            // Another thread may let go meanwhile what waits: that takes no longer than one that is idle.
            timeout = links.flights.peek().map_or(IDLE, |Reverse(first)| first.due.saturating_duration_since(now).min(IDLE));
        }
    }

    /// Waits for a packet, at most so long; who has sent something.
    fn wait(&self, timeout: Duration) -> Vec<usize> {
        let mut descriptors: Vec<PollFd<'_>> = self.tuns.iter().map(|tun| PollFd::new(as_fd(tun), PollFlags::POLLIN)).collect();
        if ppoll(&mut descriptors, Some(TimeSpec::from_duration(timeout)), None).is_err() {
            return Vec::new(); // interrupted
        }
        let has_sent = |(number, descriptor): (usize, &PollFd<'_>)| descriptor.any().unwrap_or(false).then_some(number);
        descriptors.iter().enumerate().filter_map(has_sent).collect()
    }

    fn receive(&mut self, from: usize, links: &mut Links) {
        for _ in 0..BURST {
            let Ok(Some(len)) = self.tuns[from].receive(&mut self.buffer) else { return };
            let packet = &self.buffer[..len];
            let Some(address) = packet::destination(packet) else { continue };
            // Multicast and the like: nobody here listens to that.
            let Some(to) = links.addresses.iter().position(|known| *known == address) else { continue };
            match links.accept(from, to, packet, Instant::now()) {
                AtOnce::Nothing => {}
                AtOnce::Reset => {
                    let Some((back, forth)) = packet::resets(packet) else { continue };
                    self.tuns[from].send(&back);
                    forth.iter().for_each(|packet| self.tuns[to].send(packet));
                }
                AtOnce::Arrives { times } => (0..times).for_each(|_| self.tuns[to].send(packet)),
            }
        }
    }
}

fn as_fd(tun: &Tun) -> std::os::fd::BorrowedFd<'_> {
    std::os::fd::AsFd::as_fd(tun)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// One link with this policy, and when it was made.
    fn links(policy: Policy) -> (Links, Instant) {
        let mut links = Links::new(vec![Ipv4Addr::LOCALHOST; 2], 7);
        let at = links.at(0, 1);
        links.all[at].policy = policy;
        (links, Instant::now())
    }

    /// When each of so many packets of a thousand bytes, sent a millisecond apart, arrives; in milliseconds, in order of sending.
    fn arrivals(policy: Policy, count: u32) -> (Vec<Vec<u128>>, Counters) {
        let (mut links, start) = links(policy);
        let due = |(fate, _)| match fate {
            Fate::Due(times) => times.into_iter().map(|due| (due - start).as_millis()).collect(),
            Fate::Dropped | Fate::Reset => Vec::new(),
        };
        let fates: Vec<_> = (0..count).map(|number| (links.fate(0, 1, &[0; 1000], start + MS * number), number)).collect();
        (fates.into_iter().map(due).collect(), links.all[1].counters)
    }

    #[test]
    fn nothing_is_wrong_with_a_link_unless_it_is_told() {
        let (times, counters) = arrivals(Policy::default(), 3);
        assert_eq!(times, [[0], [1], [2]]);
        assert_eq!(counters, Counters { passed: 3, ..Counters::default() });
    }

    #[test]
    fn a_cut_is_one_way_and_counted() {
        let (mut links, now) = links(Policy { cut: true, ..Policy::default() });
        assert_eq!(links.fate(0, 1, &[0; 40], now), Fate::Dropped);
        assert_eq!(links.fate(1, 0, &[0; 40], now), Fate::Due(vec![now.max(links.all[2].last_due)]));
        assert_eq!((links.all[1].counters.cut, links.all[2].counters.passed), (1, 1));
    }

    #[test]
    fn delay_keeps_the_order_and_so_does_jitter() {
        let (times, _) = arrivals(Policy { delay: 30 * MS, ..Policy::default() }, 3);
        assert_eq!(times, [[30], [31], [32]]);
        let (times, counters) = arrivals(Policy { delay: 30 * MS, jitter: 50 * MS, ..Policy::default() }, 200);
        let times: Vec<u128> = times.into_iter().flatten().collect();
        assert!(times.is_sorted() && times.len() == 200, "{times:?}");
        let extra = |(number, time): (u128, &u128)| time - 30 - number;
        assert!((0..).zip(&times).any(|pair| extra(pair) > 20), "it varies: {times:?}");
        assert_eq!(counters.passed, 200);
    }

    /// What has arrived by then: the first bytes of packets, in order.
    fn landed(links: &mut Links, now: Instant) -> Vec<u8> {
        std::iter::from_fn(|| links.land(now)).map(|flight| flight.packet[0]).collect()
    }

    #[test]
    fn a_long_delay_that_is_healed_holds_nothing_any_more() {
        let (mut links, start) = links(Policy { delay: 40_000 * MS, ..Policy::default() });
        for number in 0..3 {
            assert!(matches!(links.accept(0, 1, &[number], start + MS * u32::from(number)), AtOnce::Nothing));
        }
        assert!(landed(&mut links, start + 3000 * MS).is_empty());
        let counted = |links: &Links, after: u32| {
            let Counters { delayed, delayed_us, .. } = links.counters(0, 1, start + MS * after);
            (delayed, delayed_us / 1000)
        };
        assert_eq!(counted(&links, 3000), (3, 3000 + 2999 + 2998), "not what it might have come to");

        links.set(0, 1, Policy::default(), start + 3000 * MS);
        // One that comes before the switch has got round to them waits its turn.
        assert!(matches!(links.accept(0, 1, &[3], start + 3001 * MS), AtOnce::Nothing));
        assert_eq!(landed(&mut links, start + 3001 * MS), [0, 1, 2, 3]);
        assert!(matches!(links.accept(0, 1, &[4], start + 3002 * MS), AtOnce::Arrives { times: 1 }));
        assert_eq!(counted(&links, 60_000), (3, 3001 + 3000 + 2999));
    }

    #[test]
    fn of_two_delays_the_one_that_is_not_healed_goes_on() {
        let short = Policy { delay: 50 * MS, ..Policy::default() };
        let (mut links, start) = links(Policy { delay: 40_000 * MS, ..short });
        links.accept(0, 1, &[0], start);
        links.set(0, 1, short, start + 1000 * MS);
        links.accept(0, 1, &[1], start + 1010 * MS);
        assert!(landed(&mut links, start + 1049 * MS).is_empty());
        assert_eq!(landed(&mut links, start + 1059 * MS), [0]);
        assert_eq!(landed(&mut links, start + 1060 * MS), [1]);
    }

    #[test]
    fn what_waits_for_a_slow_link_waits_no_more_when_it_is_fast_again() {
        let (mut links, start) = links(Policy { rate: Some(10), ..Policy::default() });
        links.accept(0, 1, &[0; 1000], start);
        links.set(0, 1, Policy::default(), start + MS);
        assert_eq!(landed(&mut links, start + MS), [0]);
        assert!(matches!(links.accept(0, 1, &[1; 1000], start + MS), AtOnce::Arrives { times: 1 }));
        links.set(0, 1, Policy { rate: Some(1_000_000), ..Policy::default() }, start + 2 * MS);
        links.accept(0, 1, &[2; 1000], start + 2 * MS);
        assert_eq!(landed(&mut links, start + 3 * MS), [2], "nor does what is sent later");
    }

    #[test]
    fn a_cut_cuts_what_is_on_its_way() {
        let (mut links, start) = links(Policy { delay: 10 * MS, ..Policy::default() });
        links.accept(0, 1, &[0], start);
        links.set(0, 1, Policy { cut: true, delay: 10 * MS, ..Policy::default() }, start + MS);
        assert!(landed(&mut links, start + 10 * MS).is_empty());
        let counters = links.counters(0, 1, start + 99 * MS);
        assert_eq!((counters.cut, counters.delayed_us), (1, 10_000));
    }

    /// The order in which packets arrive of which one is sent per millisecond, and how many are said to have been overtaken.
    fn order(part: f64, count: u8) -> (Vec<u8>, u64) {
        let (mut links, start) = links(Policy { reorder: part, ..Policy::default() });
        let mut order = Vec::new();
        for number in 0..count {
            let now = start + MS * u32::from(number);
            order.extend(landed(&mut links, now));
            if let AtOnce::Arrives { times } = links.accept(0, 1, &[number], now) {
                order.extend(vec![number; times]);
            }
        }
        order.extend(landed(&mut links, start + 1000 * MS));
        (order, links.all[1].counters.reordered)
    }

    #[test]
    fn reordering_lets_others_overtake_and_counts_whom_they_overtook() {
        for part in [0.1, 1.0] {
            let (order, reordered) = order(part, 200);
            let overtaken = (0..order.len()).filter(|place| order[..*place].iter().any(|before| *before > order[*place])).count();
            assert_eq!(reordered, overtaken as u64, "{part}: {order:?}");
            let expected = if part < 0.5 { 5..50 } else { 100..200 };
            assert!(expected.contains(&overtaken), "{part}: {overtaken} were overtaken");
            assert_eq!(order.len(), 200, "nothing is lost");
        }
    }

    #[test]
    fn a_packet_that_nobody_follows_is_overtaken_by_nobody() {
        assert_eq!(order(1.0, 1), (vec![0], 0));
    }

    #[test]
    fn loss_and_duplication_happen_as_often_as_they_should() {
        let (times, counters) = arrivals(Policy { loss: 0.3, duplicate: 0.5, ..Policy::default() }, 1000);
        let lost = times.iter().filter(|times| times.is_empty()).count();
        let twice = times.iter().filter(|times| times.len() == 2).count();
        assert!((250..350).contains(&lost) && (280..420).contains(&twice), "{lost} lost, {twice} twice");
        assert_eq!((counters.lost, counters.duplicated), (lost as u64, twice as u64));
    }

    #[test]
    fn a_slow_link_sends_one_after_the_other_and_its_queue_is_bounded() {
        // A thousand bytes take ten milliseconds, and one is sent per millisecond.
        let (times, counters) = arrivals(Policy { rate: Some(100_000), ..Policy::default() }, 100);
        assert_eq!(times[..3], [[10], [20], [30]]);
        let bound = RATE_QUEUE.as_millis() + 10 + 100;
        assert!(times.iter().flatten().all(|time| *time <= bound), "{times:?}");
        assert!(counters.queue_full > 0 && counters.queue_full + counters.passed == 100, "{counters:?}");
    }

    #[test]
    fn the_same_seed_draws_the_same() {
        let policy = Policy { loss: 0.5, jitter: 10 * MS, ..Policy::default() };
        let (a, _) = arrivals(policy, 50);
        let (b, _) = arrivals(policy, 50);
        // `last_due` begins at an instant of its own, which only the first packet can meet.
        assert_eq!(a[1..], b[1..]);
    }
}
