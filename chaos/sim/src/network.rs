//! Who hears whom, and how late. A link is directed; between two nodes there are three connections in each direction, and a node sends
//! only on those that it dialled, as the real ones do.
//!
//! A seed draws one of two worlds. *In order*, as with TCP: a connection delivers what it was given in order and once; what the network
//! loses comes late, and with it all behind it; who is silent for an election timeout is dialled again. *In disorder*, as no real
//! connection does: every message travels for itself, may be lost, come twice, overtake, or arrive when its sender has long been another
//! process. Raft must bear both.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::rc::Rc;

use fastrand::Rng;

use crate::fault::FaultKind;
use crate::plan::{Plan, stream};

/// What one directed link does to what travels on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LinkQuality {
    /// What everything takes.
    pub base_us: u64,
    /// What it may take more.
    pub jitter_us: u64,
    /// Of a thousand messages, how many are lost.
    pub loss_permille: u32,
    /// Of a thousand messages, how many come twice.
    pub twice_permille: u32,
    /// How much it carries; `None`: anything.
    pub bytes_per_ms: Option<u64>,
}

/// What is between the nodes, all the time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NetworkPlan {
    /// Which of the two worlds: see above.
    pub in_order: bool,
    /// In disorder, messages also reach the next lives of whom they were sent to.
    pub past_lives: bool,
    /// The three connections share what the link carries, and wait for each other.
    pub shared_line: bool,
    /// Bytes under way on one connection; what finds it full is dropped.
    pub queue_bytes_max: u64,
    /// From position `a` to position `b` at `a * node_count + b`.
    pub links: Vec<LinkQuality>,
}

impl LinkQuality {
    /// Two machines in one room.
    pub const GOOD: LinkQuality = LinkQuality { base_us: 50, jitter_us: 950, loss_permille: 0, twice_permille: 0, bytes_per_ms: None };

    fn draw(rng: &mut Rng, kinds: &BTreeSet<FaultKind>) -> LinkQuality {
        let has = |kind: FaultKind| kinds.contains(&kind);
        let (base_us, jitter_us) = match rng.u32(0..12) {
            _ if !has(FaultKind::Delays) => (LinkQuality::GOOD.base_us, LinkQuality::GOOD.jitter_us),
            0 => (rng.u64(50_000..200_000), rng.u64(1_000..20_000)),
            1 | 2 => (rng.u64(1_000..20_000), rng.u64(1_000..60_000)),
            _ => (rng.u64(50..5_000), rng.u64(500..20_000)),
        };
        LinkQuality {
            base_us,
            jitter_us,
            loss_permille: if has(FaultKind::Loss) && rng.u32(0..4) > 0 { rng.u32(0..150) } else { 0 },
            twice_permille: if has(FaultKind::Disorder) && rng.bool() { rng.u32(0..100) } else { 0 },
            bytes_per_ms: (has(FaultKind::Queues) && rng.bool()).then(|| rng.u64(20..500)),
        }
    }
}

impl NetworkPlan {
    /// As much as a real node keeps for a link.
    pub(crate) const QUEUE_BYTES_MAX: u64 = 16 << 20;

    /// Every link good, every connection in order.
    pub fn good(node_count: usize) -> NetworkPlan {
        NetworkPlan {
            in_order: true,
            past_lives: false,
            shared_line: false,
            queue_bytes_max: NetworkPlan::QUEUE_BYTES_MAX,
            links: vec![LinkQuality::GOOD; node_count * node_count],
        }
    }

    pub(crate) fn draw(rng: &mut Rng, node_count: usize, kinds: &BTreeSet<FaultKind>) -> NetworkPlan {
        let in_order = !kinds.contains(&FaultKind::Disorder);
        let has_queues = kinds.contains(&FaultKind::Queues);
        // Links of one seed are much alike, or all different.
        let usual = LinkQuality::draw(rng, kinds);
        let differ = rng.bool();
        let link = |rng: &mut Rng| if differ || rng.u32(0..8) == 0 { LinkQuality::draw(rng, kinds) } else { usual };
        NetworkPlan {
            in_order,
            past_lives: !in_order && rng.bool(),
            shared_line: has_queues && rng.bool(),
            queue_bytes_max: if has_queues { rng.u64(2_000..100_000) } else { NetworkPlan::QUEUE_BYTES_MAX },
            links: (0..node_count * node_count).map(|_| link(rng)).collect(),
        }
    }
}

/// Which of the three connections from one node to another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Way {
    Control,
    Entries,
    Snapshot,
}

impl Way {
    pub(crate) const ALL: [Way; 3] = [Way::Control, Way::Entries, Way::Snapshot];
}

/// A message on its way.
#[derive(Clone, Debug)]
pub(crate) struct Parcel {
    pub(crate) from: usize,
    /// The life that sent it.
    pub(crate) from_life: u64,
    pub(crate) to: usize,
    /// The life that it was sent to.
    pub(crate) to_life: u64,
    pub(crate) way: Way,
    /// The connection that it was sent on.
    pub(crate) number: u64,
    /// It has arrived before.
    pub(crate) is_old: bool,
    pub(crate) frame: Rc<[u8]>,
}

/// One connection, as both ends see it.
#[derive(Clone, Default, Debug)]
pub(crate) struct Connection {
    /// Who dialled may send: it leads to this life of the other side.
    pub(crate) up: Option<u64>,
    /// Counts the connections that there were.
    pub(crate) number: u64,
    /// The one that the other side reads from, if any.
    pub(crate) accepted: Option<u64>,
    /// When the line has carried all that it was given.
    free_at_us: u64,
    last_arrival_us: u64,
    queued_bytes: u64,
    /// In order, and the link is cut: it comes when that is over.
    stalled: VecDeque<Parcel>,
}

impl Connection {
    /// What was put into its queue is lost by the conditions of a lab, and takes no room any more.
    pub(crate) fn never_arrives(&mut self, len: u64) {
        self.queued_bytes = self.queued_bytes.saturating_sub(len);
    }
}

/// How one node stands with another that it dials.
#[derive(Clone, Default, Debug)]
pub(crate) struct Dialler {
    /// Dials by a number below this are void.
    pub(crate) attempt: u64,
    pub(crate) backoff_us: u64,
    /// The life that was greeted last.
    pub(crate) greeted: Option<u64>,
    /// The other side has ended a greeted connection, and no dial has told yet whether its process lives.
    pub(crate) ended_by_peer: bool,
    /// Since when nothing can come back.
    pub(crate) silent_since_us: Option<u64>,
}

/// How much later a message arrives: once, twice or never.
pub(crate) type Delays = [Option<u64>; 2];

/// What became of a message at its sender.
pub(crate) enum Posted {
    /// It arrives so much later, perhaps twice, perhaps never; and whether the network has lost it, so that it had to be sent again.
    OnItsWay(Delays, bool),
    /// There is no connection.
    Nowhere,
    /// There is no room.
    NoRoom,
}

/// Messages that are kept to come again, for each directed link.
const OLD_MAX: usize = 48;
/// What a connection takes until it sends again what was lost.
const REPEAT_US: u64 = 200_000;

/// All links between nodes, by position.
pub(crate) struct Network {
    plan: NetworkPlan,
    node_count: usize,
    /// Cuts that last, of each link.
    cuts: Vec<u32>,
    weather: Vec<Option<(u64, LinkQuality)>>,
    /// Three for each link.
    connections: Vec<Connection>,
    diallers: Vec<Dialler>,
    old: Vec<VecDeque<Parcel>>,
    keeps_old: bool,
    rngs: Vec<Rng>,
    /// Good links, whatever the plan says; of nodes for which it does.
    pub(crate) is_calm: Vec<bool>,
}

impl Network {
    pub(crate) fn new(plan: &Plan) -> Network {
        let links = plan.node_count * plan.node_count;
        Network {
            plan: plan.network.clone(),
            node_count: plan.node_count,
            cuts: vec![0; links],
            weather: vec![None; links],
            connections: vec![Connection::default(); 3 * links],
            diallers: vec![Dialler::default(); links],
            old: vec![VecDeque::new(); links],
            keeps_old: plan.kinds.contains(&FaultKind::Replays),
            rngs: (0..links).map(|link| stream(plan.seed, &format!("link {link}"))).collect(),
            is_calm: vec![false; plan.node_count],
        }
    }

    fn link(&self, from: usize, to: usize) -> usize {
        from * self.node_count + to
    }

    pub(crate) fn connection(&mut self, from: usize, to: usize, way: Way) -> &mut Connection {
        let link = self.link(from, to);
        &mut self.connections[3 * link + way as usize]
    }

    pub(crate) fn dialler(&mut self, from: usize, to: usize) -> &mut Dialler {
        let link = self.link(from, to);
        &mut self.diallers[link]
    }

    pub(crate) fn is_in_order(&self) -> bool {
        self.plan.in_order
    }

    // Cuts.

    pub(crate) fn is_open(&self, from: usize, to: usize) -> bool {
        self.cuts[self.link(from, to)] == 0
    }

    /// What is sent from one gets an answer.
    pub(crate) fn is_open_both_ways(&self, a: usize, b: usize) -> bool {
        self.is_open(a, b) && self.is_open(b, a)
    }

    pub(crate) fn cut(&mut self, links: &[(usize, usize)]) {
        for (from, to) in links {
            let link = self.link(*from, *to);
            self.cuts[link] += 1;
        }
    }

    /// One cut of each of these links is over.
    pub(crate) fn mend(&mut self, links: &[(usize, usize)]) {
        for (from, to) in links {
            let link = self.link(*from, *to);
            self.cuts[link] = self.cuts[link].saturating_sub(1);
        }
    }

    /// These links are cut, and no others.
    pub(crate) fn cut_exactly(&mut self, links: &BTreeSet<(usize, usize)>) {
        self.cuts.fill(0);
        links.iter().for_each(|link| self.cut(&[*link]));
    }

    /// No link is cut, and none has its weather.
    pub(crate) fn heal(&mut self) {
        self.cuts.fill(0);
        self.weather.fill(None);
    }

    // Weather.

    pub(crate) fn set_weather(&mut self, from: usize, to: usize, weather: Option<(u64, LinkQuality)>) {
        let link = self.link(from, to);
        self.weather[link] = weather;
    }

    /// The weather of this number, if it is still that.
    pub(crate) fn clear_weather(&mut self, from: usize, to: usize, number: u64) {
        let link = self.link(from, to);
        self.weather[link].take_if(|(current, _)| *current == number);
    }

    pub(crate) fn quality(&self, from: usize, to: usize) -> LinkQuality {
        let link = self.link(from, to);
        match self.weather[link] {
            Some((_, quality)) => quality,
            None if self.is_calm[from] && self.is_calm[to] => LinkQuality::GOOD,
            None => self.plan.links[link],
        }
    }

    // Messages.

    /// How long the network takes for something that no connection carries: a dial, news of an end.
    pub(crate) fn delay_us(&mut self, from: usize, to: usize) -> u64 {
        let quality = self.quality(from, to);
        let link = self.link(from, to);
        quality.base_us + self.rngs[link].u64(0..=quality.jitter_us)
    }

    /// Takes a message of so many bytes from its sender.
    pub(crate) fn post(&mut self, now_us: u64, from: usize, to: usize, way: Way, len: u64) -> Posted {
        let (quality, link) = (self.quality(from, to), self.link(from, to));
        let Network { plan, connections, rngs, .. } = self;
        let is_shared = plan.shared_line;
        let shared_at_us = match quality.bytes_per_ms {
            Some(_) => connections[3 * link..3 * link + 3].iter().map(|connection| connection.free_at_us).max().unwrap_or(0),
            None => 0,
        };
        let (connection, rng) = (&mut connections[3 * link + way as usize], &mut rngs[link]);
        if connection.up.is_none() {
            return Posted::Nowhere;
        }
        if connection.queued_bytes + len > plan.queue_bytes_max && connection.queued_bytes > 0 {
            return Posted::NoRoom;
        }
        let mut sent_at_us = now_us;
        if let Some(bytes_per_ms) = quality.bytes_per_ms {
            let free_at_us = if is_shared { shared_at_us } else { connection.free_at_us };
            sent_at_us = now_us.max(free_at_us) + len * 1_000 / bytes_per_ms.max(1);
            connection.free_at_us = sent_at_us;
        }
        let is_lost = quality.loss_permille > 0 && rng.u32(0..1_000) < quality.loss_permille;
        let mut arrival_us = sent_at_us + quality.base_us + rng.u64(0..=quality.jitter_us);
        if plan.in_order {
            arrival_us = (arrival_us + if is_lost { REPEAT_US } else { 0 }).max(connection.last_arrival_us);
            connection.last_arrival_us = arrival_us;
            connection.queued_bytes += len;
            return Posted::OnItsWay([Some(arrival_us - now_us), None], is_lost);
        }
        if is_lost {
            return Posted::OnItsWay([None, None], true);
        }
        connection.queued_bytes += len;
        let mut delays = [Some(arrival_us - now_us), None];
        if quality.twice_permille > 0 && rng.u32(0..1_000) < quality.twice_permille {
            connection.queued_bytes += len;
            delays[1] = Some(sent_at_us - now_us + quality.base_us + rng.u64(0..=2 * quality.jitter_us));
        }
        Posted::OnItsWay(delays, false)
    }

    /// A message has come to its end: whether the other side reads it. One that waits for the end of a cut is kept.
    pub(crate) fn arrived(&mut self, parcel: &Parcel, life: u64) -> Arrived {
        let Parcel { from, to, to_life, way, number, is_old, .. } = *parcel;
        let (is_open, in_order, past_lives) = (self.is_open(from, to), self.plan.in_order, self.plan.past_lives);
        let connection = self.connection(from, to, way);
        if in_order && !is_old {
            if connection.accepted != Some(number) || to_life != life {
                return Arrived::TooLate;
            }
            if !is_open || !connection.stalled.is_empty() {
                connection.stalled.push_back(parcel.clone());
                return Arrived::Cut;
            }
        }
        if connection.number == number && !is_old {
            connection.queued_bytes = connection.queued_bytes.saturating_sub(parcel.frame.len() as u64);
        }
        match () {
            () if !is_open => Arrived::Cut,
            // The other side takes messages from whom it has greeted in this life.
            () if connection.accepted.is_none() || to_life != life && !past_lives => Arrived::TooLate,
            () => Arrived::Read,
        }
    }

    /// When what waited for the end of a cut arrives, if anything did.
    pub(crate) fn resumes_in_us(&mut self, from: usize, to: usize) -> Option<u64> {
        let waits = Way::ALL.into_iter().any(|way| !self.connection(from, to, way).stalled.is_empty());
        let link = self.link(from, to);
        (waits && self.is_open(from, to)).then(|| self.quality(from, to).base_us + self.rngs[link].u64(0..REPEAT_US))
    }

    /// What has waited for the end of a cut, in order.
    pub(crate) fn take_stalled(&mut self, from: usize, to: usize) -> Vec<Parcel> {
        if !self.is_open(from, to) {
            return Vec::new(); // cut again
        }
        Way::ALL.into_iter().flat_map(|way| std::mem::take(&mut self.connection(from, to, way).stalled)).collect()
    }

    // Connections.

    /// A connection is greeted: a new one, empty.
    pub(crate) fn open(&mut self, from: usize, to: usize, way: Way, to_life: u64) {
        let connection = self.connection(from, to, way);
        let number = connection.number + 1;
        *connection = Connection { up: Some(to_life), number, accepted: Some(number), ..Connection::default() };
    }

    /// Who dialled gives it up, or hears that it has ended. What is under way on it may still be read. Whether there was one.
    pub(crate) fn close(&mut self, from: usize, to: usize, way: Way) -> bool {
        self.connection(from, to, way).up.take().is_some()
    }

    /// The other side reads from it no longer.
    pub(crate) fn stop_reading(&mut self, from: usize, to: usize, way: Way) {
        let connection = self.connection(from, to, way);
        connection.accepted = None;
        connection.stalled.clear();
    }

    // The past.

    /// Perhaps this message will come again.
    pub(crate) fn keep(&mut self, parcel: &Parcel) {
        if !self.keeps_old {
            return;
        }
        let link = self.link(parcel.from, parcel.to);
        // One in a few: so that what is kept reaches seconds back.
        if self.rngs[link].u32(0..6) == 0 {
            if self.old[link].len() == OLD_MAX {
                self.old[link].pop_front();
            }
            self.old[link].push_back(parcel.clone());
        }
    }

    /// Some old messages of a link.
    pub(crate) fn pick_old(&self, from: usize, to: usize, pick: u64, count: u32) -> Vec<Parcel> {
        let old = &self.old[self.link(from, to)];
        let mut rng = Rng::with_seed(pick);
        let pick = |_| old.get(rng.usize(0..old.len().max(1))).cloned();
        (0..count).filter_map(pick).map(|parcel| Parcel { is_old: true, ..parcel }).collect()
    }
}

/// The links that are cut.
impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cut = (0..self.cuts.len()).filter(|link| self.cuts[*link] > 0);
        for (number, link) in cut.enumerate() {
            let (from, to) = (link / self.node_count, link % self.node_count);
            write!(f, "{}n{} -> n{}", if number == 0 { "" } else { ", " }, from + 1, to + 1)?;
        }
        Ok(())
    }
}

/// What becomes of a message that has come to its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Arrived {
    /// It is handed in.
    Read,
    /// The link is cut: lost, or kept until that is over.
    Cut,
    /// Nobody reads that connection any more.
    TooLate,
}
