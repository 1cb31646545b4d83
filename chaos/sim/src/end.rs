//! The end of a run: nothing is under way any more, and what is there must be what was acknowledged.

use std::collections::BTreeSet;

use raft::{Index, Term};

use crate::client::Client;
use crate::failure::must;
use crate::hosts::Host;
use crate::world::World;

impl World {
    pub(crate) fn has_converged(&self) -> bool {
        let idle = self.clients.iter().all(Client::is_idle);
        let everywhere = |host: &Host| {
            let applied = host.process.as_ref().map(|(node, _)| node.digest().0.index);
            applied == Some(self.checker.applied_index())
        };
        idle && self.members().all(everywhere)
    }

    /// All but those that were turned away: they have lost what they had promised.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Host> {
        self.hosts.iter().filter(|host| !host.refused)
    }

    pub(crate) fn describe(&self) -> String {
        let node = |host: &Host| match &host.process {
            Some((node, _)) => {
                format!("{} leader {:?}, applied {}, {:?}\n", node.raft(), node.leader(), node.digest().0, node.status().formed)
            }
            None => format!("{} is down\n", host.identity.name),
        };
        let client = |client: &Client| format!("client {} call {}, attempt {}\n", client.id, client.request_id(), client.attempt);
        self.hosts.iter().map(node).chain(self.clients.iter().map(client)).collect()
    }

    pub(crate) fn judge(&mut self) {
        self.report.simulated_us = self.now_us;
        let seed = self.plan.seed;
        let digests: BTreeSet<(Index, Term, u64)> = self
            .members()
            .filter_map(|host| host.process.as_ref())
            .map(|(node, _)| node.digest())
            .map(|(at, digest)| (at.index, at.term, digest))
            .collect();
        for host in self.hosts.iter().filter(|host| host.refused) {
            let applied = host.process.as_ref().map(|(node, _)| node.digest().0.index);
            assert!(applied <= Some(Index(1)), "seed {seed}: {} was turned away, and has applied {applied:?}", host.identity.name);
        }
        must!(digests.len() == 1, "all end in one state", "{digests:?}");
        for client in &self.clients {
            // A client stops only when its last call is acknowledged: so the value holds exactly its tokens, each once, in order.
            let expected: String = client.acknowledged.iter().map(|seq| client.token(*seq)).collect();
            let name = |host: &Host| host.identity.name.clone();
            for host in self.members() {
                let Some((node, _)) = &host.process else { continue };
                let value = node.peek(&client.key()).map(|value| value.value).unwrap_or_default();
                let agreed = value.iter().zip(expected.as_bytes()).take_while(|(a, b)| a == b).count();
                let around = |text: &str| text.get(agreed.saturating_sub(20)..).unwrap_or_default().chars().take(60).collect::<String>();
                assert!(
                    value == expected.as_bytes(),
                    "seed {seed}: {} holds other appends of client {} than were acknowledged: from byte {agreed} on ..{}.. instead of ..{}..",
                    name(host),
                    client.id,
                    around(&String::from_utf8_lossy(&value)),
                    around(&expected),
                );
            }
        }
    }
}
