//! What happens to a cluster: kills, cuts, pauses, wiped and full disks, connections that break.

use raft::DiskId;

use crate::disk::WatchedDisk;
use crate::trace::tell;
use crate::world::{Event, World};

impl World {
    pub(crate) fn next_fault(&mut self) {
        if let Some(every_us) = self.plan.fault_every_us {
            let quiet_us = self.plan.quiet_us.saturating_sub(self.now_us);
            let delay_us = quiet_us + self.rng.u64(1..=2 * every_us);
            self.after(delay_us, Event::Fault);
        }
    }

    pub(crate) fn fault(&mut self) {
        if self.calm {
            return;
        }
        let node = self.rng.usize(0..self.hosts.len());
        match self.rng.u32(0..9) {
            0 | 1 if self.plan.kills => {
                // One, or all of them at once: what is promised is on a majority of disks, not in anybody's memory.
                let victims = if self.rng.u32(0..8) == 0 { 0..self.hosts.len() } else { node..node + 1 };
                for victim in victims {
                    self.strike(victim);
                }
            }
            2 | 3 if self.plan.cuts => {
                // A leader that is cut off alone takes writes that are never committed: its log is cut when it comes back.
                let leads = |host: &crate::hosts::Host| host.process.as_ref().is_some_and(|(node, _)| node.raft().is_leader());
                match self.hosts.iter().position(leads) {
                    Some(leader) if self.rng.u32(0..4) > 0 => {
                        self.network.isolate(leader, self.hosts.len());
                        // Perhaps one of its saves ends only after that.
                        self.hosts[leader].next_sync_us = Some(self.rng.u64(1_500_000..5_000_000));
                    }
                    _ => self.network.cut_randomly(self.hosts.len(), &mut self.rng),
                }
                if !self.network.is_whole() {
                    self.report.cuts += 1;
                    tell!(self, "the network is cut: {}", self.network);
                }
                let delay_us = self.rng.u64(100_000..3_000_000);
                self.after(delay_us, Event::Heal);
            }
            4 if self.plan.pauses && self.hosts[node].process.is_some() => {
                self.report.pauses += 1;
                tell!(self, "n{} is paused", node + 1);
                self.hosts[node].paused_until_us = self.now_us + self.rng.u64(10_000..3_000_000);
            }
            5 | 6 if self.plan.full_disks => self.fill(node),
            7 => self.break_connection(node),
            8 if self.plan.wipes && self.rng.u32(0..4) == 0 => self.wipe(),
            _ => (),
        }
        self.next_fault();
    }

    /// Kills a process: between two inputs, or at the next but n-th step of its disk.
    fn strike(&mut self, node: usize) {
        if self.rng.bool() || self.hosts[node].process.is_none() {
            return self.kill(node);
        }
        self.hosts[node].doomed = true;
        self.hosts[node].disk.stop_after(self.rng.u64(0..12));
        let life = self.hosts[node].life;
        self.after(500_000, Event::Kill { node, life });
    }

    /// Somebody else writes the disk full, and frees it again. Or all of them.
    fn fill(&mut self, node: usize) {
        let is_one = self.rng.u32(0..4) > 0;
        let (victims, longest_us) = if is_one { (node..node + 1, 6_000_000) } else { (0..self.hosts.len(), 2_000_000) };
        for victim in victims.filter(|victim| self.hosts[*victim].process.is_some()).collect::<Vec<_>>() {
            let disk = &self.hosts[victim].disk;
            let used: usize = disk.files().iter().filter_map(|file| disk.content(file)).map(|content| content.len()).sum();
            disk.set_space(Some(used as u64 + self.rng.u64(0..2_000)));
            self.report.full_disks += 1;
            tell!(self, "the disk of n{} is full", victim + 1);
            let delay_us = self.rng.u64(100_000..longest_us);
            self.after(delay_us, Event::Room { node: victim });
        }
    }

    /// The connection to another node breaks, with what was in flight; the next message may come all the same.
    fn break_connection(&mut self, node: usize) {
        let peer = (node + self.rng.usize(1..self.hosts.len())) % self.hosts.len();
        if self.hosts[node].process.is_some() && self.hosts[node].paused_until_us <= self.now_us {
            self.report.breaks += 1;
            tell!(self, "the connection of n{} to n{} breaks", node + 1, peer + 1);
            self.with_node(node, |node| node.peer_unreachable(raft::NodeId(peer as u64 + 1)));
        }
    }

    /// A directory is deleted and made again; of a minority at most.
    pub(crate) fn wipe(&mut self) {
        let node = self.rng.usize(0..self.hosts.len());
        let wiped = self.hosts.iter().filter(|host| host.wiped).count();
        if self.calm || 2 * (wiped + 1) >= self.hosts.len() || self.hosts[node].wiped {
            return;
        }
        let is_formed = |host: &crate::hosts::Host| host.process.as_ref().is_some_and(|(node, _)| node.status().formed);
        let is_late = self.formed || self.hosts.iter().any(is_formed);
        self.formed = is_late;
        *(if is_late { &mut self.report.late_wipes } else { &mut self.report.early_wipes }) += 1;
        tell!(self, "the directory of n{} is deleted and made again", node + 1);
        let was_up = self.hosts[node].process.is_some();
        self.kill(node);
        let host = &mut self.hosts[node];
        host.identity.disk_id = DiskId(u128::from(self.rng.u64(..)));
        host.wiped_disks.push(std::mem::replace(&mut host.disk, WatchedDisk::new()));
        host.newest_snapshot = None;
        host.wiped = true;
        let first_entry = kvnode::first_entry(&host.identity.members);
        data::init(&mut host.disk, &host.identity, &first_entry).expect("an empty disk takes a node");
        self.checker.wiped(host.identity.node);
        if !was_up {
            let delay_us = self.rng.u64(10_000..500_000);
            self.after(delay_us, Event::Restart { node });
        }
    }

    pub(crate) fn heal_all(&mut self) {
        self.calm = true;
        tell!(self, "all faults are over");
        self.network.heal();
        for node in 0..self.hosts.len() {
            self.hosts[node].paused_until_us = self.hosts[node].paused_until_us.min(self.now_us);
            self.hosts[node].disk.hold_syncs(false);
            self.hosts[node].disk.set_space(None);
            if self.hosts[node].process.is_none() {
                self.start(node);
            }
        }
    }
}
