//! What the plan says happens, happening. Whom it befalls is looked up now; nothing is drawn.

use std::rc::Rc;

use raft::DiskId;

use crate::disk::WatchedDisk;
use crate::effects::Effect;
use crate::fault::{Fault, Moment, Target};
use crate::hosts::Death;
use crate::plan::stream;
use crate::trace::tell;
use crate::world::{Event, World};

/// A process that was to end in the middle of something, and has not come to that, ends after this time.
const STRIKE_US_MAX: u64 = 1_000_000;

/// What waits for its moment, and strikes whoever comes to it. Times in microseconds; the last of each pair is how long the node is down then.
#[derive(Default)]
pub(crate) struct Ambushes {
    in_syncs: Vec<Ambush>,
    /// From a question for a read to the end of who asks it.
    of_askers: Vec<(u64, u64)>,
    /// How long a node is down that has cut its log.
    in_truncations: Vec<u64>,
    /// Steps of the disk behind the rename of an installation.
    pub(crate) in_installs: Vec<(u64, u64)>,
}

/// Power cuts that wait for syncs to fall into.
struct Ambush {
    /// Each with how long it is down then.
    victims: Vec<(usize, u64)>,
    /// After so many thousandths of the sync that makes them most.
    permille: u64,
    /// By then it has happened anyway.
    until_us: u64,
}

impl World {
    /// Schedules every fault of the plan.
    pub(crate) fn plan_faults(&mut self) {
        for (index, planned) in self.plan.faults.iter().enumerate().map(|(index, planned)| (index, planned.at_us)).collect::<Vec<_>>() {
            self.after(planned, Event::Fault { index });
        }
    }

    fn leader(&self) -> Option<usize> {
        // Of two that think so, the one of the later term does.
        let leads = |host: &crate::hosts::Host| {
            host.process.as_ref().filter(|(node, _)| node.raft().is_leader()).map(|(node, _)| node.raft().term())
        };
        let leaders = self.hosts.iter().enumerate().filter_map(|(position, host)| leads(host).map(|term| (term, position)));
        leaders.max().map(|(_, position)| position)
    }

    fn targets(&self, target: Target) -> Vec<usize> {
        target.positions(self.hosts.len(), self.leader())
    }

    /// Pairs of two different nodes.
    fn pairs(&self, from: Target, to: Target) -> Vec<(usize, usize)> {
        let (from, to) = (self.targets(from), self.targets(to));
        from.iter().flat_map(|from| to.iter().map(move |to| (*from, *to))).filter(|(from, to)| from != to).collect()
    }

    pub(crate) fn fault(&mut self, index: usize) {
        if self.calm {
            return;
        }
        let fault = self.plan.faults[index].fault.clone();
        tell!(self, "fault: {fault:?}");
        match &fault {
            Fault::Kill { target, moment, down_us } => {
                for node in self.targets(*target) {
                    self.strike(node, Death::Process, *moment, *down_us);
                }
            }
            Fault::PowerCut { target, moment, down_us } => {
                self.report.effects[Effect::BlackOut] += u64::from(*target == Target::All);
                let victims: Vec<(usize, u64)> = self.targets(*target).into_iter().map(|node| (node, down_us[node])).collect();
                match *moment {
                    Moment::InSync(permille) => self.lie_in_wait(victims, permille),
                    _ => victims.into_iter().for_each(|(node, down_us)| self.strike(node, Death::Power, *moment, down_us)),
                }
            }
            Fault::KillAsker { delay_us, down_us } => self.ambushes.of_askers.push((*delay_us, *down_us)),
            Fault::PowerCutInTruncation { down_us } => self.ambushes.in_truncations.push(*down_us),
            Fault::PowerCutInInstall { steps, down_us } => self.ambushes.in_installs.push((*steps, *down_us)),
            Fault::CrashLoop { target, steps, down_us } => {
                for node in self.targets(*target) {
                    self.hosts[node].crash_loop = (steps.iter().copied().collect(), *down_us);
                    self.strike(node, Death::Power, Moment::Now, *down_us);
                }
            }
            Fault::Pause { target, for_us } => {
                for node in self.targets(*target).into_iter().filter(|node| self.hosts[*node].process.is_some()).collect::<Vec<_>>() {
                    self.report.pauses += 1;
                    self.report.effects[Effect::Paused] += 1;
                    self.pause(node, self.now_us + for_us);
                }
            }
            Fault::LateTicks { target, late_us, for_us } => {
                for node in self.targets(*target) {
                    self.hosts[node].late = (self.now_us + for_us, *late_us);
                }
            }
            Fault::Cut { cut, for_us } => {
                let links = cut.links(self.hosts.len(), self.leader());
                self.report.cuts += u64::from(!links.is_empty());
                self.report.effects[Effect::Cut] += u64::from(!links.is_empty());
                self.network.cut(&links);
                tell!(self, "the network is cut: {}", self.network);
                self.watch_links();
                self.after(*for_us, Event::Mend { links: links.into() });
            }
            Fault::Reset { from, to } => self.pairs(*from, *to).into_iter().for_each(|(from, to)| self.reset(from, to)),
            Fault::RefuseDials { target, for_us } => {
                for node in self.targets(*target) {
                    self.hosts[node].refuses_until_us = self.now_us + for_us;
                    // Nobody dials where all connections stand.
                    let peers: Vec<usize> = (0..self.hosts.len()).filter(|peer| *peer != node).collect();
                    peers.into_iter().for_each(|peer| self.reset(peer, node));
                }
            }
            Fault::Weather { from, to, quality, for_us } => {
                for (from, to) in self.pairs(*from, *to) {
                    self.report.effects[Effect::Weather] += 1;
                    self.network.set_weather(from, to, Some((index as u64, *quality)));
                    self.after(*for_us, Event::WeatherOver { from, to, number: index as u64 });
                }
            }
            Fault::Replay { from, to, pick, count } => {
                for (from, to) in self.pairs(*from, *to) {
                    for (place, parcel) in (0..).zip(self.network.pick_old(from, to, *pick, *count)) {
                        self.after(50 * place, Event::Deliver { parcel });
                    }
                }
            }
            Fault::SlowSyncs { target, sync_us, count } => {
                for node in self.targets(*target) {
                    self.hosts[node].slow_syncs = (*count, *sync_us);
                }
            }
            Fault::SyncError { target, after_syncs, down_us, power_cut_us } => {
                for node in self.targets(*target).into_iter().filter(|node| self.hosts[*node].process.is_some()).collect::<Vec<_>>() {
                    self.hosts[node].error_down_us = *down_us;
                    self.hosts[node].disk.fail_sync_after(*after_syncs);
                    if let Some(power_cut_us) = power_cut_us {
                        self.after(*power_cut_us, Event::PowerCut { node, down_us: *down_us });
                    }
                }
            }
            Fault::WriteError { target, after_writes, down_us } => {
                for node in self.targets(*target).into_iter().filter(|node| self.hosts[*node].process.is_some()).collect::<Vec<_>>() {
                    self.hosts[node].error_down_us = *down_us;
                    self.hosts[node].disk.fail_write_after(*after_writes);
                }
            }
            Fault::FullDisk { target, free, for_us } => {
                for node in self.targets(*target) {
                    let host = &mut self.hosts[node];
                    host.disk.set_space(Some(host.disk.used() + free));
                    host.is_full = true;
                    self.report.full_disks += 1;
                    self.report.effects[Effect::FullDisk] += u64::from(host.process.is_some());
                    self.after(*for_us, Event::Room { node });
                }
            }
            Fault::Wipe { node, down_us } => self.wipe(*node, *down_us, index),
        }
    }

    /// Ends a process: between two inputs, or at the next but n-th step of its disk.
    fn strike(&mut self, node: usize, death: Death, moment: Moment, down_us: u64) {
        let host = &mut self.hosts[node];
        match moment {
            Moment::AtStep(steps) if host.process.is_some() => {
                host.doom = Some((death, down_us));
                host.disk.stop_after(steps);
                self.strike_later(STRIKE_US_MAX, death, &[(node, down_us)]);
            }
            _ => self.kill(node, death, Some(down_us)),
        }
    }

    /// Cuts the power of these machines at one instant, when most of them are in the middle of a sync.
    fn lie_in_wait(&mut self, victims: Vec<(usize, u64)>, permille: u64) {
        self.strike_later(STRIKE_US_MAX, Death::Power, &victims);
        self.ambushes.in_syncs.push(Ambush { victims, permille, until_us: self.now_us + STRIKE_US_MAX });
    }

    /// A sync has begun that takes so long.
    pub(crate) fn spring_ambush(&mut self, node: usize, took_us: u64) {
        self.ambushes.in_syncs.retain(|ambush| self.now_us < ambush.until_us);
        let is_victim = |(victim, _): &(usize, u64)| *victim == node;
        let syncs = |(victim, _): &&(usize, u64)| self.hosts[*victim].syncing && self.hosts[*victim].process.is_some();
        let is_due = |ambush: &Ambush| {
            ambush.victims.iter().any(is_victim) && ambush.victims.len() < 2 * ambush.victims.iter().filter(syncs).count()
        };
        if let Some(due) = self.ambushes.in_syncs.iter().position(is_due) {
            let Ambush { victims, permille, .. } = self.ambushes.in_syncs.remove(due);
            self.strike_later(took_us * permille / 1000, Death::Power, &victims);
        }
    }

    /// This node asks for a read.
    pub(crate) fn kill_asker(&mut self, node: usize) {
        if let Some((delay_us, down_us)) = self.ambushes.of_askers.pop() {
            self.strike_later(delay_us, Death::Process, &[(node, down_us)]);
        }
    }

    /// This node has cut its log, and the sync of that has begun.
    pub(crate) fn cut_truncation(&mut self, node: usize) {
        if let Some(down_us) = self.ambushes.in_truncations.pop() {
            self.strike_later(1, Death::Power, &[(node, down_us)]);
        }
    }

    /// Ends processes that are still the same then.
    pub(crate) fn strike_later(&mut self, delay_us: u64, death: Death, victims: &[(usize, u64)]) {
        for &(node, down_us) in victims {
            let life = self.hosts[node].life;
            self.after(delay_us, Event::Strike { node, life, death, down_us });
        }
    }

    /// A directory is deleted and made again; of a minority at most, for what a majority has forgotten is lost by contract.
    fn wipe(&mut self, node: usize, down_us: u64, number: usize) {
        let wiped = self.hosts.iter().filter(|host| host.wiped).count();
        if self.hosts.len() <= 2 * (wiped + 1) || self.hosts[node].wiped {
            return;
        }
        *(if self.formed { &mut self.report.late_wipes } else { &mut self.report.early_wipes }) += 1;
        self.report.effects[Effect::Wiped] += 1;
        tell!(self, "the directory of n{} is deleted and made again", node + 1);
        self.kill(node, Death::Process, Some(down_us));
        let host = &mut self.hosts[node];
        host.identity.disk_id = DiskId(u128::from(stream(self.plan.seed, &format!("wipe {number}")).u64(..)));
        host.wiped_disks.push(std::mem::replace(&mut host.disk, WatchedDisk::new()));
        host.newest_snapshot = None;
        host.wiped = true;
        host.disk_since_life = host.life + 1;
        let first_entry = kvnode::first_entry(&host.identity.members);
        data::init(&mut host.disk, &host.identity, &first_entry).expect("an empty disk takes a node");
        self.checker.wiped(host.identity.node);
    }

    /// A cut is over.
    pub(crate) fn mend(&mut self, links: &Rc<[(usize, usize)]>) {
        if !self.calm {
            self.network.mend(links);
            tell!(self, "a cut is over, cut now: {}", self.network);
            self.mended();
        }
    }
}
