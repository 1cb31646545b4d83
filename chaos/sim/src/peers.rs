//! What nodes send each other and how it arrives; who has dialled whom, and what the ends of connections tell. The rules are those of
//! the real links (`kvnode/src/server/link.rs`): greeted in both directions, dialled again with a growing pause, and a peer's process is
//! known to be gone only when its connection ended by its own side and a dial then met nobody, or another life.

use raft::NodeId;
use wire::frame::FrameBuffer;
use wire::hello::PeerHello;
use wire::peer::PeerFrame;

use crate::effects::Effect;
use crate::failure::must;
use crate::hosts::Death;
use crate::network::{Arrived, Dialler, Parcel, Posted, Way};
use crate::outgoing::Sent;
use crate::trace::tell;
use crate::words::{Said, on_its_way};
use crate::world::{Event, World};

/// A dial that nothing answers is given up.
const CONNECT_US_MAX: u64 = 300_000;
/// First pause before the next dial; it doubles up to one election timeout.
const REDIAL_US_MIN: u64 = 20_000;
/// Pause after having been turned away.
const REDIAL_REFUSED_US: u64 = 1_000_000;

/// What nodes have sent each other.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Traffic {
    /// Messages that are not answers to others.
    pub requests: u64,
    /// Of all messages.
    pub bytes: u64,
}

/// What a dial meets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Met {
    /// A machine where nobody listens.
    Nobody,
    /// A node that takes no more connections.
    Refusal,
    /// A process that listens, in this life.
    Life(u64),
}

impl World {
    /// What a turn sent is on its way.
    pub(crate) fn carry(&mut self, node: usize, part: Sent) {
        if part.is_empty() {
            return;
        }
        let from_life = self.hosts[node].life;
        for (term, commit) in part.leads {
            self.checker.hear_leader(self.hosts[node].identity.node, term, commit);
        }
        for vote in part.votes {
            self.checker.hear(self.hosts[node].identity.node, vote);
        }
        for outgone in part.frames {
            let to = usize::try_from(outgone.to.0 - 1).expect("ids count from 1");
            self.traffic.requests += u64::from(!outgone.is_answer);
            self.traffic.bytes += outgone.frame.len() as u64;
            let posted = self.network.post(self.now_us, node, to, outgone.way, outgone.frame.len() as u64);
            let (delays, is_lost) = match (posted, &self.conditions) {
                (Posted::Nowhere, _) => continue,
                (Posted::NoRoom, _) => {
                    self.report.effects[Effect::NoRoom] += 1;
                    if let (Way::Entries, Some((running, _))) = (outgone.way, &mut self.hosts[node].process) {
                        running.peer_unreachable(outgone.to);
                    }
                    continue;
                }
                (Posted::OnItsWay(..), Some(conditions)) => (conditions.delays(outgone.is_answer, &mut self.rng), false),
                (Posted::OnItsWay(delays, is_lost), None) => (delays, is_lost),
            };
            if is_lost {
                self.report.effects[Effect::LostMessage] += 1;
                tell!(self, "n{} -> n{} lost: {}", node + 1, to + 1, on_its_way(&outgone.frame));
            }
            self.report.effects[Effect::TwiceMessage] += u64::from(delays[1].is_some());
            let connection = self.network.connection(node, to, outgone.way);
            if delays == [None, None] && self.conditions.is_some() {
                connection.never_arrives(outgone.frame.len() as u64);
            }
            let (Some(to_life), number) = (connection.up, connection.number) else { continue };
            let parcel = Parcel { from: node, from_life, to, to_life, way: outgone.way, number, is_old: false, frame: outgone.frame };
            self.network.keep(&parcel);
            for delay_us in delays.into_iter().flatten() {
                self.after(delay_us, Event::Deliver { parcel: parcel.clone() });
            }
        }
        for (client, request_id, reply) in part.replies {
            self.check_reply(node, client, request_id, &reply);
            self.answer(client, request_id, &reply);
        }
    }

    pub(crate) fn deliver(&mut self, parcel: Parcel) {
        let (from, to) = (parcel.from, parcel.to);
        if self.is_deaf(to) {
            return self.hosts[to].inbox.push(Event::Deliver { parcel });
        }
        let life = self.hosts[to].life;
        let arrived = match self.network.arrived(&parcel, life) {
            // A disk that is no longer there: what it promised counts for nobody, and its greeting would be refused.
            Arrived::Read if parcel.from_life < self.hosts[from].disk_since_life => Arrived::TooLate,
            arrived => arrived,
        };
        match arrived {
            Arrived::Cut => self.report.effects[Effect::CutMessage] += 1,
            Arrived::TooLate => self.report.effects[Effect::TooLate] += 1,
            Arrived::Read => {
                self.report.effects[Effect::Replayed] += u64::from(parcel.is_old);
                self.trace.bytes(&parcel.frame);
                self.read_frame(from, to, &parcel.frame);
            }
        }
    }

    fn read_frame(&mut self, from: usize, to: usize, frame: &[u8]) {
        let mut received = std::mem::replace(&mut self.received, FrameBuffer::new(0));
        let mut rest = frame;
        while !rest.is_empty() {
            let space = received.space();
            let count = space.len().min(rest.len());
            space[..count].copy_from_slice(&rest[..count]);
            received.filled(count);
            rest = &rest[count..];
        }
        let frame = received.next().expect("a good frame").expect("a whole frame");
        let from = NodeId(from as u64 + 1);
        let frame = wire::peer::decode_peer(frame).expect("what a node sent");
        tell!(self, "{from} -> n{} {}", to + 1, Said(&frame));
        match frame {
            PeerFrame::Raft { message, entries } => self.hand_in(to, |node| node.peer_message(from, message, entries)),
            beside => self.hand_in(to, |node| node.peer_beside(from, beside)),
        }
        self.received = received;
    }

    // Dials.

    /// A process has just started: it knows nobody.
    pub(crate) fn dial_all(&mut self, node: usize) {
        for peer in (0..self.hosts.len()).filter(|peer| *peer != node) {
            let attempt = self.network.dialler(node, peer).attempt;
            *self.network.dialler(node, peer) = Dialler { attempt, backoff_us: REDIAL_US_MIN, ..Dialler::default() };
            for way in Way::ALL {
                self.network.close(node, peer, way);
            }
            self.dial_later(node, peer, 0);
        }
    }

    fn dial_later(&mut self, from: usize, to: usize, delay_us: u64) {
        let dialler = self.network.dialler(from, to);
        dialler.attempt += 1;
        let (attempt, life) = (dialler.attempt, self.hosts[from].life);
        self.after(delay_us, Event::Dial { from, to, life, attempt });
    }

    /// The next dial, after a pause that grows.
    fn dial_again(&mut self, from: usize, to: usize, spent_us: u64) {
        let longest_us = self.plan.ticks.election_us();
        let dialler = self.network.dialler(from, to);
        let pause_us = dialler.backoff_us;
        dialler.backoff_us = (2 * pause_us).min(longest_us);
        self.dial_later(from, to, spent_us + pause_us);
    }

    fn is_current_dial(&mut self, from: usize, to: usize, life: u64, attempt: u64) -> bool {
        let host = &self.hosts[from];
        host.life == life && host.process.is_some() && self.network.dialler(from, to).attempt == attempt
    }

    pub(crate) fn dial_peer(&mut self, from: usize, to: usize, life: u64, attempt: u64) {
        let has_all = Way::ALL.into_iter().all(|way| self.network.connection(from, to, way).up.is_some());
        if has_all || !self.is_current_dial(from, to, life, attempt) {
            return;
        }
        let Some(_) = self.unless_deaf(from, Event::Dial { from, to, life, attempt }) else { return };
        let host = &self.hosts[to];
        if !self.network.is_open_both_ways(from, to) || host.is_off {
            return self.dial_again(from, to, CONNECT_US_MAX);
        }
        let met = match () {
            () if host.process.is_none() => Met::Nobody,
            () if host.refuses_until_us > self.now_us => Met::Refusal,
            () => Met::Life(host.life),
        };
        let delay_us = self.network.delay_us(from, to) + self.network.delay_us(to, from);
        self.after(delay_us, Event::Dialled { from, to, life, attempt, met });
    }

    pub(crate) fn dialled(&mut self, from: usize, to: usize, life: u64, attempt: u64, met: Met) {
        if !self.is_current_dial(from, to, life, attempt) {
            return;
        }
        let Some(_) = self.unless_deaf(from, Event::Dialled { from, to, life, attempt, met }) else { return };
        if !self.network.is_open_both_ways(from, to) {
            return self.dial_again(from, to, CONNECT_US_MAX);
        }
        match met {
            Met::Nobody => {
                self.report.effects[Effect::NobodyThere] += 1;
                if std::mem::take(&mut self.network.dialler(from, to).ended_by_peer) {
                    self.process_gone(from, to);
                }
                self.dial_again(from, to, 0);
            }
            Met::Refusal => {
                self.report.effects[Effect::TurnedAway] += 1;
                self.dial_later(from, to, REDIAL_REFUSED_US);
            }
            Met::Life(to_life) if self.hosts[to].life != to_life || self.hosts[to].process.is_none() => self.dial_again(from, to, 0),
            Met::Life(_) if self.is_deaf(to) => {
                // Connected, and silent. It answers when it wakes, if that is not too late.
                let wait_us = self.hosts[to].deaf_until_us - self.now_us;
                match self.plan.ticks.election_us() {
                    longest_us if longest_us < wait_us => self.dial_again(from, to, longest_us),
                    _ => self.after(wait_us, Event::Dialled { from, to, life, attempt, met }),
                }
            }
            Met::Life(to_life) => self.greet(from, to, to_life),
        }
    }

    /// The one that is dialled judges first; then, if it lets in, the other.
    fn greet(&mut self, from: usize, to: usize, to_life: u64) {
        let hello = |world: &World, node: usize, peer| world.hosts[node].process.as_ref().map(|(node, _)| node.hello(peer));
        let (Some(hello_from), Some(hello_to)) = (hello(self, from, Some(NodeId(to as u64 + 1))), hello(self, to, None)) else { return };
        if !self.lets_in(to, from, &hello_from) || !self.lets_in(from, to, &hello_to) {
            return self.dial_later(from, to, REDIAL_REFUSED_US);
        }
        for way in Way::ALL {
            if self.network.connection(from, to, way).up.is_none() {
                self.network.open(from, to, way, to_life);
            }
        }
        tell!(self, "n{} has dialled n{}, and they have greeted each other", from + 1, to + 1);
        let dialler = self.network.dialler(from, to);
        (dialler.backoff_us, dialler.ended_by_peer, dialler.silent_since_us) = (REDIAL_US_MIN, false, None);
        if dialler.greeted.replace(to_life).is_some_and(|before| before != to_life) {
            self.process_gone(from, to);
        }
        // Whoever dials us is there: no need to wait out a pause.
        self.dial_later(to, from, 0);
        self.watch_links();
    }

    fn lets_in(&mut self, node: usize, peer: usize, hello: &PeerHello) -> bool {
        let mut answer = Ok(());
        self.with_node(node, |node| answer = node.greeted(hello));
        let Err(refused) = answer else { return self.hosts[node].process.is_some() };
        tell!(self, "n{} refuses n{}: {}", node + 1, peer + 1, refused.message);
        must!(self.hosts[peer].wiped, "only another disk is refused", "n{}: {}", peer + 1, refused.message);
        self.hosts[peer].refused |= self.hosts[node].process.as_ref().is_some_and(|(node, _)| node.status().formed);
        false
    }

    fn process_gone(&mut self, node: usize, peer: usize) {
        tell!(self, "n{} hears that the process of n{} is gone", node + 1, peer + 1);
        self.hand_in(node, |node| node.leader_lost(NodeId(peer as u64 + 1)));
    }

    // Ends.

    /// A process has ended. What it sent is still on its way; whoever sends to it hears of that, if anything can come back.
    pub(crate) fn hang_up(&mut self, node: usize, death: Death) {
        for peer in (0..self.hosts.len()).filter(|peer| *peer != node) {
            for way in Way::ALL {
                self.network.close(node, peer, way);
                self.network.stop_reading(peer, node, way);
            }
            if death == Death::Process {
                self.tell_end(peer, node);
            }
        }
    }

    fn tell_end(&mut self, node: usize, gone: usize) {
        let Some(to_life) = Way::ALL.into_iter().find_map(|way| self.network.connection(node, gone, way).up) else { return };
        if self.network.is_open_both_ways(node, gone) {
            let (delay_us, life) = (self.network.delay_us(gone, node), self.hosts[node].life);
            self.after(delay_us, Event::Ended { node, life, gone, to_life });
        }
    }

    /// The other side has ended the connections that led to this life of it.
    pub(crate) fn ended(&mut self, node: usize, life: u64, gone: usize, to_life: u64) {
        if self.hosts[node].life != life || self.hosts[node].process.is_none() {
            return;
        }
        let Some(_) = self.unless_deaf(node, Event::Ended { node, life, gone, to_life }) else { return };
        let leads_there = |way: &Way| self.network.connection(node, gone, *way).up == Some(to_life);
        let ways: Vec<Way> = Way::ALL.into_iter().filter(leads_there).collect();
        if !ways.is_empty() {
            self.network.dialler(node, gone).ended_by_peer = true;
            self.give_up(node, gone, &ways);
            self.dial_later(node, gone, 0);
        }
    }

    fn give_up(&mut self, node: usize, peer: usize, ways: &[Way]) {
        for way in ways {
            self.network.close(node, peer, *way);
        }
        if ways.contains(&Way::Entries) {
            self.report.breaks += 1;
            tell!(self, "the connection of n{} to n{} is over", node + 1, peer + 1);
            self.hand_in(node, |node| node.peer_unreachable(NodeId(peer as u64 + 1)));
        }
    }

    /// Somebody on the way breaks the connections, or some of them, with all that is under way.
    pub(crate) fn reset(&mut self, node: usize, peer: usize) {
        let Some(to_life) = Way::ALL.into_iter().find_map(|way| self.network.connection(node, peer, way).up) else { return };
        self.report.effects[Effect::Reset] += 1;
        Way::ALL.into_iter().for_each(|way| self.network.stop_reading(node, peer, way));
        let life = self.hosts[node].life;
        self.after(0, Event::Ended { node, life, gone: peer, to_life });
    }

    /// A node closes all connections with a peer, both ways: it would not be let in again.
    pub(crate) fn shut_out(&mut self, node: usize, peer: usize) {
        for (from, to) in [(node, peer), (peer, node)] {
            for way in Way::ALL {
                self.network.close(from, to, way);
                self.network.stop_reading(from, to, way);
            }
            self.dial_later(from, to, REDIAL_REFUSED_US);
        }
    }

    // Silence.

    /// Something has changed between the nodes: whose silence begins, whose is over, and who hears now that a connection leads nowhere.
    pub(crate) fn watch_links(&mut self) {
        let node_count = self.hosts.len();
        for (node, peer) in (0..node_count).flat_map(|node| (0..node_count).map(move |peer| (node, peer))) {
            let up = Way::ALL.into_iter().find_map(|way| self.network.connection(node, peer, way).up);
            let (Some(to_life), Some(_)) = (up, &self.hosts[node].process) else { continue };
            let (is_open, host) = (self.network.is_open_both_ways(node, peer), &self.hosts[peer]);
            let is_silent = !is_open || host.is_off || host.deaf_until_us > self.now_us;
            let leads_nowhere = host.life != to_life || host.process.is_none();
            let now_us = self.now_us;
            let dialler = self.network.dialler(node, peer);
            match (is_silent, dialler.silent_since_us) {
                (true, None) => {
                    dialler.silent_since_us = Some(now_us);
                    if self.network.is_in_order() {
                        let life = self.hosts[node].life;
                        let delay_us = self.plan.ticks.election_us() + self.plan.ticks.heartbeat_us();
                        self.after(delay_us, Event::Silent { node, life, peer, since_us: now_us });
                    }
                }
                (false, Some(_)) => dialler.silent_since_us = None,
                _ => {}
            }
            if !is_silent && leads_nowhere {
                self.tell_end(node, peer);
            }
        }
    }

    /// A node that stood still itself takes nobody's silence for one.
    pub(crate) fn forgive_silence(&mut self, node: usize) {
        let mut any = false;
        for peer in (0..self.hosts.len()).filter(|peer| *peer != node) {
            any |= self.network.dialler(node, peer).silent_since_us.take().is_some();
            any |= self.network.dialler(peer, node).silent_since_us.is_some();
        }
        if any {
            self.watch_links();
        }
    }

    /// A peer has been silent for an election timeout, if it is silent still.
    pub(crate) fn silent(&mut self, node: usize, life: u64, peer: usize, since_us: u64) {
        let is_up = self.hosts[node].life == life && self.hosts[node].process.is_some();
        if !is_up || self.is_deaf(node) || self.network.dialler(node, peer).silent_since_us != Some(since_us) {
            return;
        }
        let ways: Vec<Way> = Way::ALL.into_iter().filter(|way| self.network.connection(node, peer, *way).up.is_some()).collect();
        self.network.dialler(node, peer).silent_since_us = None;
        if !ways.is_empty() {
            self.report.effects[Effect::Silence] += 1;
            self.give_up(node, peer, &ways);
            self.dial_again(node, peer, 0);
        }
    }

    /// Cuts are over: what waited for that will be sent again.
    pub(crate) fn mended(&mut self) {
        let node_count = self.hosts.len();
        for (from, to) in (0..node_count).flat_map(|from| (0..node_count).map(move |to| (from, to))) {
            if let Some(delay_us) = self.network.resumes_in_us(from, to) {
                self.after(delay_us, Event::Resume { from, to });
            }
        }
        self.watch_links();
    }

    /// What a cut had held up arrives, in order.
    pub(crate) fn resume_link(&mut self, from: usize, to: usize) {
        for parcel in self.network.take_stalled(from, to) {
            self.deliver(parcel);
        }
    }
}
