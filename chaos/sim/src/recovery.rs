//! The end of the faults: first for a majority only, which must serve while the others are down, cut off or worse; then for all.

use kvcli::Ask;

use crate::effects::Effect;
use crate::fault::{Cut, Target};
use crate::faults::Ambushes;
use crate::hosts::Death;
use crate::network::LinkQuality;
use crate::plan::{DiskPlan, Rest, Ticks};
use crate::trace::tell;
use crate::world::{Event, World};

/// Virtual time within which a majority without faults must elect a leader, agree on one log, and answer every call: what is outstanding
/// and one new one of each client.
pub(crate) fn bound_us(ticks: &Ticks) -> u64 {
    40 * ticks.election_us() + 20_000_000
}

/// How a restless node lives.
const UNREST_US: u64 = 700_000;

impl World {
    /// The faults are over, for a majority.
    pub(crate) fn calm_core(&mut self) {
        self.calm = true;
        // Until the cluster is formed nothing happens without all of them; and where nothing went wrong nothing does now.
        self.core = match self.formed && !self.plan.kinds.is_empty() {
            true => self.plan.core_order.iter().copied().filter(|node| !self.hosts[*node].wiped).take(self.plan.quorum()).collect(),
            false => (0..self.hosts.len()).collect(),
        };
        tell!(self, "the faults are over for {:?}", self.core.iter().map(|node| format!("n{}", node + 1)).collect::<Vec<_>>());
        self.network.heal();
        self.ambushes = Ambushes::default();
        for node in 0..self.hosts.len() {
            if self.core.contains(&node) {
                self.calm_node(node);
            } else {
                self.hold(node);
            }
        }
        self.mended();
        self.call_once_more();
    }

    /// The faults are over, for all.
    pub(crate) fn calm_all(&mut self) {
        self.core = (0..self.hosts.len()).collect();
        tell!(self, "all faults are over");
        self.network.heal();
        for node in 0..self.hosts.len() {
            self.calm_node(node);
        }
        self.mended();
        self.call_once_more();
    }

    fn calm_node(&mut self, node: usize) {
        self.network.is_calm[node] = true;
        let host = &mut self.hosts[node];
        // A sync that is held may have met the end of its process already: then it still dies so, now that the sync returns.
        host.disk.disarm();
        (host.is_full, host.late, host.refuses_until_us, host.slow_syncs) = (false, (0, 0), 0, (0, 0));
        host.crash_loop.0.clear();
        host.disk_plan = DiskPlan::good(host.disk_plan.beside);
        host.deaf_until_us = host.deaf_until_us.min(self.now_us);
        let (life, number, is_syncing) = (host.life, host.sync_number, host.syncing);
        if host.process.is_none() {
            return self.start(node);
        }
        if is_syncing {
            self.after(0, Event::SyncDone { node, life, number, took_us: 0 });
        }
        self.after(0, Event::Wake { node, life });
    }

    /// What a node does that is not of the majority. What is wrong with its disk stays wrong.
    fn hold(&mut self, node: usize) {
        let node_count = self.hosts.len();
        let rest = self.plan.rest[node];
        if self.hosts[node].process.is_none() && rest != Rest::Down {
            self.start(node);
        }
        match rest {
            Rest::Down => self.kill(node, Death::Process, None),
            Rest::Paused if self.hosts[node].process.is_some() => self.pause(node, u64::MAX / 2),
            Rest::Paused => {} // a disk that fails lets it start later: see `rests_paused`
            Rest::CutOff => self.network.cut(&Cut::Isolate(Target::Node(node)).links(node_count, None)),
            Rest::Deaf => self.network.cut(&Cut::Deaf(Target::Node(node)).links(node_count, None)),
            Rest::Mute => self.network.cut(&Cut::Mute(Target::Node(node)).links(node_count, None)),
            Rest::Restless => {
                let quality = LinkQuality { loss_permille: 500, ..LinkQuality::GOOD };
                for peer in (0..node_count).filter(|peer| *peer != node) {
                    self.network.set_weather(node, peer, Some((u64::MAX, quality)));
                    self.network.set_weather(peer, node, Some((u64::MAX, quality)));
                }
                self.unrest(node);
            }
        }
    }

    /// Whether it stands still from its start on: it is left out, and what was wrong with its disk may have let it start only now. Else it
    /// could lead for ever, with no client that reaches it.
    pub(crate) fn rests_paused(&self, node: usize) -> bool {
        self.calm && !self.core.contains(&node) && self.plan.rest[node] == Rest::Paused
    }

    /// Whether whoever starts nodes again may start this one.
    pub(crate) fn may_start(&self, node: usize) -> bool {
        self.core.contains(&node) || self.plan.rest[node] != Rest::Down
    }

    pub(crate) fn unrest(&mut self, node: usize) {
        if !self.core.contains(&node) {
            self.kill(node, Death::Process, Some(UNREST_US / 2));
            self.after(UNREST_US, Event::Unrest { node });
        }
    }

    /// New clerks write, as many as there were, and wait as long as it may take: one that loads may have to wait for its own calls.
    fn call_once_more(&mut self) {
        for _ in 0..self.plan.workload.clerk_count {
            let clerk = self.add_clerk(None);
            self.write_late(clerk);
        }
    }

    /// A client who knows nobody yet writes, when all others have been answered.
    pub(crate) fn begin_last_write(&mut self) {
        let clerk = self.add_clerk(None);
        self.last_write = Some(self.write_late(clerk));
    }

    fn write_late(&mut self, clerk: u64) -> usize {
        let value = format!("late {};", self.clerks.calls.len()).into_bytes();
        self.submit(clerk, Ask::Put { key: b"h0".to_vec(), value }, bound_us(&self.plan.ticks))
    }

    /// Whether that was done. Others may be told that their sessions were forgotten, which is honest; a new one is not.
    pub(crate) fn last_write_is_done(&self) -> bool {
        self.last_write.is_some_and(|call| matches!(self.clerks.calls[call].outcome, Some(Ok(_))))
    }

    /// Whether the majority agrees on a leader and a log, and has answered everybody.
    pub(crate) fn core_agrees(&self) -> bool {
        let running = || self.core.iter().filter(|node| !self.hosts[**node].refused).map(|node| self.hosts[*node].process.as_ref());
        let leads = |node: &kvnode::Node| node.raft().is_leader().then(|| node.raft().id());
        let Some(leader) = running().flatten().find_map(|(node, _)| leads(node)) else { return false };
        let applied = running().flatten().map(|(node, _)| node.raft().applied_index()).max();
        let agrees = |node: &kvnode::Node| node.leader() == Some(leader) && Some(node.raft().applied_index()) == applied;
        self.clerks.are_idle() && running().all(|process| process.as_ref().is_some_and(|(node, _)| agrees(node)))
    }

    /// Why the faults do not excuse that the majority does not serve.
    pub(crate) fn no_excuse(&self) -> String {
        let name = |node: &usize| format!("n{}", node + 1);
        let core: Vec<String> = self.core.iter().map(name).collect();
        let rest = (0..self.hosts.len()).filter(|node| !self.core.contains(node));
        let rest: Vec<String> = rest.map(|node| format!("{} is {:?}", name(&node), self.plan.rest[node])).collect();
        let rest = if rest.is_empty() { "nobody is left out".to_owned() } else { rest.join(", ") };
        let last_write = self.last_write.map(|call| &self.clerks.calls[call].outcome);
        let faults = self.report.effects[Effect::PowerLost] + self.report.effects[Effect::Killed];
        format!(
            "{} of {} nodes ({}) are up and connected, their disks are sound and none has been wiped, and clients reach them; {rest}; \
             {faults} crashes before that are over, so nothing excuses this (last write: {last_write:?}):\n{}",
            core.len(),
            self.hosts.len(),
            core.join(", "),
            self.describe()
        )
    }
}
