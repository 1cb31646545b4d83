//! What nodes send and how it arrives; who has greeted whom.

use raft::NodeId;
use wire::hello::PeerHello;

use crate::hosts::Sent;
use crate::network::Network;
use crate::trace::tell;
use crate::words::on_its_way;
use crate::world::{Event, World};

const GREET_EVERY_US: u64 = 20_000;

/// What nodes have sent each other.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Traffic {
    /// Messages that are not answers to others.
    pub requests: u64,
    /// Of all messages.
    pub bytes: u64,
}

impl World {
    /// When copies of a message sent now arrive.
    pub(crate) fn delays(&mut self, is_answer: bool) -> Vec<u64> {
        match &self.conditions {
            Some(conditions) => conditions.delays(is_answer, &mut self.rng),
            None => Network::delays(&self.plan, self.calm, &mut self.rng),
        }
    }

    /// What a drive sent is on its way.
    pub(crate) fn carry(&mut self, node: usize, outbox: Sent) {
        self.report.leader_changes = self.checker.leader_changes;
        let from_life = self.hosts[node].life;
        for (to, message) in &outbox.messages {
            self.checker.hear(self.hosts[node].identity.node, *to, message);
        }
        for (to, is_answer, frame) in outbox.frames {
            let to = usize::try_from(to.0 - 1).expect("ids count from 1");
            self.traffic.requests += u64::from(!is_answer);
            self.traffic.bytes += frame.len() as u64;
            if !self.network.is_open(node, to) {
                continue;
            }
            let delays = self.delays(is_answer);
            if delays.is_empty() {
                tell!(self, "n{} -> n{} lost: {}", node + 1, to + 1, on_its_way(&frame));
            }
            for delay_us in delays {
                let to_life = self.hosts[to].life;
                self.after(delay_us, Event::Deliver { from: node, from_life, to, to_life, frame: frame.clone() });
            }
        }
        for (client, request_id, reply) in outbox.replies {
            self.check_reply(node, client, request_id, &reply);
            self.answer(client, request_id, &reply);
        }
    }

    /// Nodes that can reach each other, both ways, and have not met in their present lives, greet each other.
    pub(crate) fn greet(&mut self) {
        let node_count = self.hosts.len();
        for (a, b) in (0..node_count).flat_map(|a| (a + 1..node_count).map(move |b| (a, b))) {
            let reachable = self.network.is_open(a, b) && self.network.is_open(b, a);
            let awake = [a, b].iter().all(|node| self.hosts[*node].paused_until_us <= self.now_us);
            let met = self.hosts[a].greeted.contains(&(b, self.hosts[b].life));
            let (Some((node_a, _)), Some((node_b, _))) = (&self.hosts[a].process, &self.hosts[b].process) else { continue };
            if !reachable || !awake || met {
                continue;
            }
            let (hello_a, hello_b) = (node_a.hello(Some(NodeId(b as u64 + 1))), node_b.hello(None));
            let (life_a, life_b) = (self.hosts[a].life, self.hosts[b].life);
            // The one that is dialled judges first; then, if it was let in, the other.
            if self.lets_in(b, a, &hello_a) && self.lets_in(a, b, &hello_b) {
                tell!(self, "n{} and n{} have greeted each other", a + 1, b + 1);
                self.hosts[a].greeted.insert((b, life_b));
                self.hosts[b].greeted.insert((a, life_a));
            }
        }
        self.after(GREET_EVERY_US, Event::Greet);
    }

    fn lets_in(&mut self, node: usize, peer: usize, hello: &PeerHello) -> bool {
        let mut answer = Ok(());
        self.with_node(node, |node| answer = node.greeted(hello));
        let Err(refused) = answer else { return true };
        tell!(self, "n{} refuses n{}: {}", node + 1, peer + 1, refused.message);
        assert!(self.hosts[peer].wiped, "seed {}: n{} was refused, and never wiped: {}", self.plan.seed, peer + 1, refused.message);
        self.hosts[peer].refused |= self.hosts[node].process.as_ref().is_some_and(|(node, _)| node.status().formed);
        false
    }
}
