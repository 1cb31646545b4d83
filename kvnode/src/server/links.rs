//! The peers of this node and the three links to each: which are due, and what their ends and beginnings tell about the peer.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use raft::{Incarnation, NodeId};
use wire::Purpose;

use super::connection::{ConnectionKey, Why};
use super::link::{End, Link, Pace, PeerNews, Want};
use crate::address::Address;

/// In the order of `Peer::links`.
const PURPOSES: [Purpose; 3] = [Purpose::Control, Purpose::Entries, Purpose::Snapshot];

/// A peer that was never reached is worth a line after this time.
const FIRST_GREETING_MAX: Duration = Duration::from_secs(2);

/// All peers.
pub(crate) struct Links {
    pace: Pace,
    peers: BTreeMap<NodeId, Peer>,
    random: fastrand::Rng,
}

struct Peer {
    name: String,
    address: Address,
    /// Where a name led last; asked again when it no longer answers.
    resolved: Option<SocketAddr>,
    links: [Slot; 3],
    reach: Reach,
    /// Why its name does not resolve, as it was logged: once, and not with every attempt.
    told: Option<String>,
}

struct Slot {
    link: Link,
    key: Option<ConnectionKey>,
}

/// What the log was told about a peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Reach {
    Unknown { since: Instant },
    Reached,
    Lost,
}

/// One thing to do.
#[derive(Debug)]
pub(crate) enum Due {
    Dial { peer: NodeId, purpose: Purpose },
    Ping { key: ConnectionKey },
    Close { peer: NodeId, purpose: Purpose, key: ConnectionKey, end: End },
}

/// Where a dial goes.
pub(crate) enum Destination {
    Socket(SocketAddr),
    /// A name: look it up first.
    Lookup(Address),
}

impl Links {
    /// No peers yet.
    pub(crate) fn new(pace: Pace, seed: u64) -> Links {
        Links { pace, peers: BTreeMap::new(), random: fastrand::Rng::with_seed(seed) }
    }

    /// The members as the node knows them now: new ones are dialled, changed addresses are dialled from the next time on. The
    /// connections of those that left are returned, to be closed.
    pub(crate) fn set_members(&mut self, members: Vec<(NodeId, String, String)>, now: Instant) -> Vec<ConnectionKey> {
        let gone: Vec<NodeId> = self.peers.keys().filter(|id| members.iter().all(|(member, ..)| member != *id)).copied().collect();
        let peers = gone.iter().filter_map(|id| self.peers.remove(id)).collect::<Vec<_>>();
        for (id, name, address) in members {
            // What a node announces was parsed when it was written; an address from elsewhere that is none cannot be dialled.
            let Ok(address) = address.parse::<Address>() else { continue };
            match self.peers.get_mut(&id) {
                Some(peer) if peer.address == address => {}
                Some(peer) => (peer.address, peer.resolved) = (address, None),
                None => {
                    let links = PURPOSES.map(|_| Slot { link: Link::new(self.pace, now), key: None });
                    let peer = Peer { name, address, resolved: None, links, reach: Reach::Unknown { since: now }, told: None };
                    self.peers.insert(id, peer);
                }
            }
        }
        peers.into_iter().flat_map(|peer| peer.links.into_iter().filter_map(|slot| slot.key)).collect()
    }

    /// What is due now.
    pub(crate) fn poll(&mut self, now: Instant, due: &mut Vec<Due>) {
        for (&id, peer) in &mut self.peers {
            for (slot, purpose) in peer.links.iter_mut().zip(PURPOSES) {
                while let Some(want) = slot.link.poll(now, self.random.f64()) {
                    match (want, slot.key) {
                        (Want::Dial, _) => due.push(Due::Dial { peer: id, purpose }),
                        (Want::Ping, Some(key)) => due.push(Due::Ping { key }),
                        (Want::Close(end), Some(key)) => {
                            slot.key = None;
                            due.push(Due::Close { peer: id, purpose, key, end });
                        }
                        (_, None) => {}
                    }
                }
            }
        }
    }

    /// Where to dial `peer`.
    pub(crate) fn destination(&self, peer: NodeId) -> Option<Destination> {
        let peer = self.peers.get(&peer)?;
        Some(match peer.address.literal().or(peer.resolved) {
            Some(socket) => Destination::Socket(socket),
            None => Destination::Lookup(peer.address.clone()),
        })
    }

    /// A lookup has come to an end.
    pub(crate) fn resolved(&mut self, address: &Address, outcome: Result<SocketAddr, String>) {
        for peer in self.peers.values_mut().filter(|peer| peer.address == *address) {
            match &outcome {
                Ok(socket) => peer.resolved = Some(*socket),
                Err(error) => peer.tell(error),
            }
        }
    }

    /// Dialled: the connection is under way.
    pub(crate) fn dialled(&mut self, peer: NodeId, purpose: Purpose, key: ConnectionKey) {
        if let Some(slot) = self.slot(peer, purpose) {
            slot.key = Some(key);
        }
    }

    /// The connection stands.
    pub(crate) fn connected(&mut self, peer: NodeId, purpose: Purpose, now: Instant) {
        if let Some(slot) = self.slot(peer, purpose) {
            slot.link.connected(now);
        }
    }

    /// The peer answered our `Hello`.
    pub(crate) fn greeted(&mut self, peer: NodeId, purpose: Purpose, incarnation: Incarnation, now: Instant) -> Option<PeerNews> {
        let peer = self.peers.get_mut(&peer)?;
        if purpose == Purpose::Control {
            if peer.reach == Reach::Lost {
                tracing::info!("{} is back", peer.name);
            }
            (peer.reach, peer.told) = (Reach::Reached, None);
        }
        peer.slot(purpose).link.greeted(incarnation, now)
    }

    /// The link was greeted.
    pub(crate) fn is_up(&mut self, peer: NodeId, purpose: Purpose) -> bool {
        self.slot(peer, purpose).is_some_and(|slot| slot.link.is_up())
    }

    /// Bytes came from the peer.
    pub(crate) fn heard(&mut self, peer: NodeId, purpose: Purpose, now: Instant) {
        if let Some(slot) = self.slot(peer, purpose) {
            slot.link.heard(now);
        }
    }

    /// A link has ended, or could not be made. `key`: of which connection; an older one says nothing about the link as it is now.
    pub(crate) fn ended(
        &mut self,
        peer: NodeId,
        purpose: Purpose,
        key: Option<ConnectionKey>,
        why: &Why,
        now: Instant,
    ) -> Option<PeerNews> {
        let jitter = self.random.f64();
        let peer = self.peers.get_mut(&peer)?;
        let slot = peer.slot(purpose);
        if slot.key != key {
            return None;
        }
        slot.key = None;
        let was_up = slot.link.is_up();
        let news = slot.link.ended(why.end(), now, jitter);
        if !was_up {
            peer.resolved = None; // the name may lead elsewhere by now
        }
        if purpose == Purpose::Control {
            peer.unreached(why, now);
        }
        news
    }

    /// A link has closed itself (`Due::Close`).
    pub(crate) fn gave_up(&mut self, peer: NodeId, purpose: Purpose, why: &Why, now: Instant) {
        if let Some(peer) = self.peers.get_mut(&peer)
            && purpose == Purpose::Control
        {
            peer.unreached(why, now);
        }
    }

    /// After a gap of our own.
    pub(crate) fn forgive_silence(&mut self, now: Instant) {
        for slot in self.peers.values_mut().flat_map(|peer| &mut peer.links) {
            slot.link.forgive_silence(now);
        }
    }

    /// The peer has just dialled us, so it is there: no need to wait out a pause.
    pub(crate) fn nudge(&mut self, peer: NodeId, now: Instant) {
        for slot in self.peers.get_mut(&peer).into_iter().flat_map(|peer| &mut peer.links) {
            slot.link.nudge(now);
        }
    }

    fn slot(&mut self, peer: NodeId, purpose: Purpose) -> Option<&mut Slot> {
        Some(self.peers.get_mut(&peer)?.slot(purpose))
    }
}

impl Peer {
    fn slot(&mut self, purpose: Purpose) -> &mut Slot {
        match purpose {
            Purpose::Control => &mut self.links[0],
            Purpose::Entries => &mut self.links[1],
            Purpose::Snapshot => &mut self.links[2],
        }
    }

    /// The control link is down: one line, unless we were turned away, which is told elsewhere with its reason.
    fn unreached(&mut self, why: &Why, now: Instant) {
        match self.reach {
            _ if matches!(why.end(), End::Refused) => self.reach = Reach::Lost,
            Reach::Reached => {
                self.reach = Reach::Lost;
                tracing::warn!("{} ({}) is lost: {why}", self.name, self.address);
            }
            Reach::Unknown { since } if now.duration_since(since) >= FIRST_GREETING_MAX => {
                self.reach = Reach::Lost;
                tracing::warn!("{} ({}) does not answer: {why}", self.name, self.address);
            }
            Reach::Unknown { .. } | Reach::Lost => {}
        }
    }

    fn tell(&mut self, what: &str) {
        if self.told.as_deref() != Some(what) {
            tracing::warn!("{} ({}): {what}", self.name, self.address);
            self.told = Some(what.to_owned());
        }
    }
}
