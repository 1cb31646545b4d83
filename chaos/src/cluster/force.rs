//! Faults in force: begun, kept going, ended, each with what it did.
//!
//! A node is in the hands of one fault at a time; a link can be the victim of several, whose policies add up.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::files::Damage;
use super::record::{Event, Line};
use super::{Cluster, Node, ProcessState};
use crate::ending::{Ending, Failure};
use crate::fault::effect::Effect;
use crate::fault::shape::{self, Shape};
use crate::fault::target::Target;
use crate::fault::{Fault, LinkFault, ProcessFault};
use crate::host::link::{Counters, Policy};

/// A crash loop leaves a node up, and down, for a time between these.
const LOOP_MS: std::ops::Range<u64> = 20..600;

/// From one host to another, by number.
type Link = (usize, usize);

/// A fault in force.
#[derive(Debug)]
pub(super) struct InForce {
    id: u64,
    fault: Fault,
    targets: Vec<String>,
    begun: Instant,
    until: Option<Instant>,
    /// What it has in hand.
    grip: Grip,
    /// What it has done that is over: what it still does comes on top.
    done: Effect,
}

/// What is still to be undone. Whatever is undone leaves it, so that a failed attempt can be gone on with.
#[derive(Debug)]
enum Grip {
    Links {
        links: Vec<Link>,
        policy: Policy,
        before: Vec<Counters>,
    },
    Down {
        nodes: Vec<usize>,
    },
    Stopped {
        nodes: Vec<(usize, Instant)>,
    },
    Loop {
        nodes: Vec<(usize, Instant)>,
    },
    /// Those that are only down are damaged next.
    Damaged {
        damages: Vec<Damage>,
        down: Vec<usize>,
    },
}

/// What a fault came to.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Injected {
    /// Its number.
    pub(crate) id: u64,
    /// As it was asked for.
    pub(crate) fault: String,
    /// Whom it met.
    pub(crate) targets: Vec<String>,
    /// It is over already, and did this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) over: Option<Effect>,
}

/// A fault that is over, and what it did.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Healed {
    /// Its number.
    pub(crate) id: u64,
    /// As it was asked for.
    pub(crate) fault: String,
    /// Whom it met.
    pub(crate) targets: Vec<String>,
    /// What it did.
    pub(crate) effect: Effect,
}

/// A fault in force, for people.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Described {
    /// Its number.
    pub(crate) id: u64,
    /// As it was asked for.
    pub(crate) fault: String,
    /// Whom it met.
    pub(crate) targets: Vec<String>,
    /// For how long it has been.
    pub(crate) for_ms: u64,
    /// When it ends by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ends_in_ms: Option<u64>,
    /// What it has done until now; `None`: nobody looked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) effect: Option<Effect>,
}

impl Cluster {
    /// Breaks something; with `lasts`, until then (see [`Cluster::turn`]), else until it is healed.
    ///
    /// An error: nothing is broken, or it says that it is. `Unsupported` if this host cannot; `Inconclusive` if there is nothing to break
    /// just now.
    pub(crate) fn inject(&mut self, fault: &Fault, lasts: Option<Duration>) -> Result<Injected, Failure> {
        let begun = Instant::now();
        self.last_id += 1;
        let id = self.last_id;
        // Further away than the clock goes is never.
        let until = lasts.and_then(|time| begun.checked_add(time));
        let (whom, grip) = match fault {
            Fault::Process(fault, target) => {
                let whom = self.resolve_running(target)?;
                let grip = first_grip(*fault, &whom);
                (whom, grip)
            }
            Fault::Partition(shape) => {
                let (whom, links) = self.shape_links(shape)?;
                (whom, self.grip_links(links, Policy { cut: true, ..Policy::default() })?)
            }
            Fault::OneWay(from, to) => {
                let (whom, links) = self.between(from, to)?;
                (whom, self.grip_links(links, Policy { cut: true, ..Policy::default() })?)
            }
            Fault::Links(fault, target) => {
                let whom = self.resolve(target)?;
                let all = 0..self.options.nodes + self.options.clients;
                let pairs = all.clone().flat_map(|from| all.clone().map(move |to| (from, to)));
                // Links between two clients carry nothing.
                let is_used = |(from, to): &Link| from != to && (*from).min(*to) < self.options.nodes;
                let links = pairs.filter(is_used).filter(|(from, to)| whom.contains(from) || whom.contains(to)).collect();
                (whom, self.grip_links(links, policy(*fault))?)
            }
            Fault::Link(fault, from, to) => {
                let (whom, links) = self.between(from, to)?;
                (whom, self.grip_links(links, policy(*fault))?)
            }
        };
        let targets: Vec<String> = whom.iter().map(|at| self.network.hosts()[*at].name.clone()).collect();
        let mut force = InForce { id, fault: fault.clone(), targets: targets.clone(), begun, until, grip, done: Effect::default() };
        let outcome = match fault {
            Fault::Process(fault, _) => self.grip_running(&mut force, *fault, &whom),
            _ => Ok(()),
        };
        // Who broke it knows how to undo it, whatever fails now.
        if let Err(failure) = outcome.and_then(|()| self.record_begin(&force)) {
            return Err(self.take_back(force, failure));
        }
        // Nothing is left to heal: what there was to do is done.
        let is_over = force.grip.is_empty();
        self.in_force.push(force);
        let over = if is_over { Some(self.heal(id)?.effect) } else { None };
        Ok(Injected { id, fault: fault.to_string(), targets, over })
    }

    fn record_begin(&mut self, force: &InForce) -> Result<(), Failure> {
        let links = if let Grip::Links { links, .. } = &force.grip { Some(links.len()) } else { None };
        let backend = links.map(|_| self.network.backend());
        let (id, fault, targets) = (force.id, force.fault.to_string(), &force.targets);
        let line = Line { event: Event::Begin, id, fault, targets, links, backend, effect: None };
        self.record.write(force.begun, &line).map_err(unrecorded)
    }

    /// Undoes what had begun when something failed. If that fails too it is a fault in force, so that it can be healed.
    fn take_back(&mut self, mut force: InForce, failure: Failure) -> Failure {
        let Err(second) = self.release(&mut force) else { return failure };
        let id = force.id;
        force.until = None;
        self.in_force.push(force);
        failure.ending.says(format!("{failure}; then it could not be undone, and is fault {id} until it is healed: {second}"))
    }

    /// Undoes one fault. One that cannot be undone just now stays in force.
    pub(crate) fn heal(&mut self, id: u64) -> Result<Healed, Failure> {
        let at = self.in_force.iter().position(|force| force.id == id);
        let at = at.ok_or_else(|| Ending::Usage.says(format!("no fault {id} is in force")))?;
        // Out of the list meanwhile: what is left on its links is up to the others.
        let mut force = self.in_force.remove(at);
        if let Err(failure) = self.release(&mut force) {
            self.in_force.insert(at, force);
            return Err(failure);
        }
        let (fault, effect) = (force.fault.to_string(), force.done);
        let line =
            Line { event: Event::End, id, fault: fault.clone(), targets: &force.targets, links: None, backend: None, effect: Some(effect) };
        self.record.write(Instant::now(), &line).map_err(unrecorded)?;
        Ok(Healed { id, fault, targets: force.targets, effect })
    }

    /// Undoes all of them, last first. What cannot be undone keeps nothing else broken; the first error is the one to report.
    pub(crate) fn heal_all(&mut self) -> Result<Vec<Healed>, Failure> {
        let ids: Vec<u64> = self.in_force.iter().rev().map(|force| force.id).collect();
        let outcomes: Vec<Result<Healed, Failure>> = ids.into_iter().map(|id| self.heal(id)).collect();
        outcomes.into_iter().collect()
    }

    /// What is in force, first to last.
    pub(crate) fn faults(&self) -> Vec<Described> {
        let now = Instant::now();
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let describe = |force: &InForce| Described {
            id: force.id,
            fault: force.fault.to_string(),
            targets: force.targets.clone(),
            for_ms: ms(now - force.begun),
            ends_in_ms: force.until.map(|until| ms(until.saturating_duration_since(now))),
            effect: None,
        };
        self.in_force.iter().map(describe).collect()
    }

    /// The same, with what each has done until now: that may mean to ask the firewall of every host.
    pub(crate) fn faults_with_effects(&mut self) -> Result<Vec<Described>, Failure> {
        let mut faults = self.faults();
        let forces = std::mem::take(&mut self.in_force);
        let effects: Result<Vec<Effect>, Failure> = forces.iter().map(|force| self.effect_until_now(force)).collect();
        self.in_force = forces;
        for (fault, effect) in faults.iter_mut().zip(effects?) {
            fault.effect = Some(effect);
        }
        Ok(faults)
    }

    fn effect_until_now(&mut self, force: &InForce) -> Result<Effect, Failure> {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let down = |nodes: &[Node], at: usize| nodes[at].down_since().map_or(0, |since| ms(since.elapsed()));
        let mut effect = force.done;
        match &force.grip {
            Grip::Links { links, policy, before } => {
                for ((from, to), before) in links.iter().zip(before) {
                    effect.add_packets(self.network.counters(*from, *to)?.since(*before), policy);
                }
            }
            Grip::Down { nodes } => effect.down_ms += nodes.iter().map(|at| down(&self.nodes, *at)).sum::<u64>(),
            Grip::Stopped { nodes } => {
                let stopped = nodes.iter().filter(|(at, _)| self.nodes[*at].is_stopped());
                effect.stopped_ms += stopped.map(|(_, since)| ms(since.elapsed())).sum::<u64>();
            }
            Grip::Loop { nodes } => effect.down_ms += nodes.iter().map(|(at, _)| down(&self.nodes, *at)).sum::<u64>(),
            Grip::Damaged { damages, .. } => {
                effect.down_ms += damages.iter().map(|damage| down(&self.nodes, damage.node)).sum::<u64>();
            }
        }
        Ok(effect)
    }

    /// Deadlines and crash loops.
    pub(super) fn turn_faults(&mut self) -> Result<(), Failure> {
        let now = Instant::now();
        let is_due = |force: &&InForce| force.until.is_some_and(|until| until <= now);
        let due: Vec<u64> = self.in_force.iter().filter(is_due).map(|force| force.id).collect();
        let mut outcome = Ok(());
        for id in due {
            if let Err(failure) = self.heal(id) {
                // Said once: from now on it is up to whoever heals it.
                self.in_force.iter_mut().filter(|force| force.id == id).for_each(|force| force.until = None);
                outcome = outcome.and(Err(failure));
            }
        }
        for number in 0..self.in_force.len() {
            let Grip::Loop { nodes } = &self.in_force[number].grip else { continue };
            for (place, (at, next)) in nodes.clone().into_iter().enumerate() {
                if next > now {
                    continue;
                }
                // Before it is tried: what fails is not tried again at once.
                let pause = Duration::from_millis(self.random.u64(LOOP_MS));
                if let Grip::Loop { nodes } = &mut self.in_force[number].grip {
                    nodes[place].1 = now + pause;
                }
                if self.nodes[at].down_since().is_none() {
                    self.in_force[number].done.killed += u64::from(self.nodes[at].kill()?);
                } else {
                    self.in_force[number].done.down_ms += self.start_after(at)?;
                }
            }
        }
        outcome
    }

    /// Whom the words of a target mean, if all of them are nodes that run and that no other fault has in hand.
    fn resolve_running(&mut self, target: &Target) -> Result<Vec<usize>, Failure> {
        let whom = self.resolve(target)?;
        for at in &whom {
            let name = &self.network.hosts()[*at].name;
            let node = self.nodes.get_mut(*at).ok_or_else(|| Ending::Usage.says(format!("{name} is a client's host and runs no node")))?;
            node.notice_end();
            if let Some(holder) = self.in_force.iter().find(|force| force.grip.holds(*at)) {
                return Err(Ending::Inconclusive.says(format!("{name} is already the victim of fault {}: {}", holder.id, holder.fault)));
            }
            if self.nodes[*at].state() != ProcessState::Running {
                return Err(Ending::Inconclusive.says(format!("nothing to break: {}", self.nodes[*at].last_words())));
            }
        }
        Ok(whom)
    }

    /// What it gets hold of is in its grip before it is touched: after an error, too, it can be released.
    fn grip_running(&mut self, force: &mut InForce, fault: ProcessFault, whom: &[usize]) -> Result<(), Failure> {
        let InForce { id, grip, done, .. } = force;
        match grip {
            Grip::Links { .. } | Grip::Loop { .. } => {}
            Grip::Down { nodes } => {
                done.killed = self.kill_all(whom)?;
                if fault == ProcessFault::Restart {
                    self.start_all(nodes, done)?;
                }
            }
            Grip::Stopped { nodes } => {
                for at in whom {
                    nodes.push((*at, Instant::now()));
                    self.nodes[*at].pause()?;
                    *nodes.last_mut().expect("just pushed") = (*at, Instant::now());
                }
            }
            Grip::Damaged { damages, down } => {
                done.killed = self.kill_all(whom)?;
                while let Some(at) = down.first().copied() {
                    self.damage(*id, at, fault, done, damages)?;
                    down.remove(0);
                }
            }
        }
        Ok(())
    }

    /// All before the first is waited for: a minority dies at one instant.
    fn kill_all(&mut self, whom: &[usize]) -> Result<u64, Failure> {
        for at in whom {
            self.nodes[*at].strike()?;
        }
        let mut killed = 0;
        for at in whom {
            killed += u64::from(self.nodes[*at].kill()?);
        }
        Ok(killed)
    }

    /// Starts these; who runs is one less.
    fn start_all(&mut self, nodes: &mut Vec<usize>, done: &mut Effect) -> Result<(), Failure> {
        while let Some(at) = nodes.first().copied() {
            done.down_ms += self.start_after(at)?;
            nodes.remove(0);
        }
        Ok(())
    }

    /// Starts a node, unless it runs; how long it had no process, in milliseconds, at least one.
    pub(super) fn start_after(&mut self, at: usize) -> Result<u64, Failure> {
        let Some(since) = self.nodes[at].down_since() else { return Ok(0) };
        self.start_node(at)?;
        Ok(u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX).max(1))
    }

    fn grip_links(&mut self, mut links: Vec<Link>, policy: Policy) -> Result<Grip, Failure> {
        links.sort_unstable();
        links.dedup(); // what is listed twice would be counted twice
        if links.is_empty() {
            return Err(Ending::Usage.says("that breaks no link of this cluster"));
        }
        let before = links.iter().map(|(from, to)| self.network.counters(*from, *to)).collect::<Result<_, _>>()?;
        let changes = links.iter().map(|(from, to)| (*from, *to, self.policy_of(*from, *to).and(policy)));
        let changes: Vec<(usize, usize, Policy)> = changes.collect();
        self.network.set(&changes)?;
        Ok(Grip::Links { links, policy, before })
    }

    /// All that is in force on a link.
    fn policy_of(&self, from: usize, to: usize) -> Policy {
        let on_it = |force: &InForce| match &force.grip {
            Grip::Links { links, policy, .. } if links.contains(&(from, to)) => Some(*policy),
            _ => None,
        };
        self.in_force.iter().filter_map(on_it).fold(Policy::default(), Policy::and)
    }

    fn between(&mut self, from: &Target, to: &Target) -> Result<(Vec<usize>, Vec<Link>), Failure> {
        let (mut from, to) = (self.resolve(from)?, self.resolve(to)?);
        let pairs = from.iter().flat_map(|from| to.iter().map(move |to| (*from, *to)));
        let links = pairs.filter(|(from, to)| from != to).collect();
        from.extend(to);
        from.sort_unstable();
        from.dedup();
        Ok((from, links))
    }

    fn shape_links(&mut self, shape: &Shape) -> Result<(Vec<usize>, Vec<Link>), Failure> {
        let all: Vec<usize> = (0..self.options.nodes).collect();
        let mut order = all.clone();
        self.random.shuffle(&mut order);
        let (whom, pairs) = match shape {
            Shape::Apart(target) => {
                let group = self.resolve(target)?;
                if group.iter().any(|at| *at >= self.options.nodes) {
                    return Err(Ending::Usage.says("a partition is between nodes; `partition clients n1` cuts clients off"));
                }
                let pairs = shape::apart(&group, &all);
                (group, pairs)
            }
            Shape::Halves => {
                let group = order[..all.len() / 2].to_vec();
                let pairs = shape::apart(&group, &all);
                (group, pairs)
            }
            Shape::Ring => (order.clone(), shape::ring(&order)),
            Shape::Bridge => {
                let overview = self.overview()?;
                let leader = overview.leader.map(|id| overview.name_of(id));
                shape::off_the_bridge(&mut order, self.nodes.iter().position(|node| Some(&node.name) == leader.as_ref()));
                (order.clone(), shape::bridge(&order))
            }
            Shape::Clients(target) => {
                let whom = self.resolve(target)?;
                let clients = self.options.nodes..self.options.nodes + self.options.clients;
                let pairs = whom.iter().flat_map(|node| clients.clone().map(move |client| (*node, client))).collect();
                (whom, pairs)
            }
        };
        let links = pairs.into_iter().flat_map(|(a, b)| [(a, b), (b, a)]).collect();
        Ok((whom, links))
    }

    /// Undoes what is left of it. After an error that is less than before, and it can be tried again.
    fn release(&mut self, force: &mut InForce) -> Result<(), Failure> {
        if let Grip::Links { links, .. } = &force.grip {
            let effect = self.effect_until_now(force)?;
            let changes: Vec<_> = links.iter().map(|(from, to)| (*from, *to, self.policy_of(*from, *to))).collect();
            self.network.set(&changes)?;
            force.done = effect;
            return Ok(());
        }
        let InForce { grip, done, .. } = force;
        match grip {
            Grip::Links { .. } => {}
            Grip::Down { nodes } => self.start_all(nodes, done)?,
            Grip::Stopped { nodes } => {
                while let Some((at, since)) = nodes.first().copied() {
                    // Somebody else may have made it go on, or killed it: then we do not know how long it stood.
                    let stood = self.nodes[at].is_stopped();
                    self.nodes[at].resume()?;
                    if stood {
                        done.stopped_ms += u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
                    }
                    nodes.remove(0);
                }
            }
            Grip::Loop { nodes } => {
                while let Some((at, _)) = nodes.first().copied() {
                    done.down_ms += self.start_after(at)?;
                    nodes.remove(0);
                }
            }
            Grip::Damaged { damages, down } => {
                while let Some(damage) = damages.first() {
                    self.put_back(damage)?;
                    // Never again, also if it does not start: it may have gone on with its files by then.
                    let at = damages.remove(0).node;
                    if !down.contains(&at) {
                        down.push(at);
                    }
                }
                self.start_all(down, done)?;
            }
        }
        Ok(())
    }
}

impl Grip {
    fn holds(&self, node: usize) -> bool {
        match self {
            Grip::Links { .. } => false,
            Grip::Down { nodes } => nodes.contains(&node),
            Grip::Stopped { nodes } | Grip::Loop { nodes } => nodes.iter().any(|(at, _)| *at == node),
            Grip::Damaged { damages, down } => damages.iter().any(|damage| damage.node == node) || down.contains(&node),
        }
    }

    /// Whether nothing is left to undo.
    fn is_empty(&self) -> bool {
        match self {
            Grip::Links { links, .. } => links.is_empty(),
            Grip::Down { nodes } => nodes.is_empty(),
            Grip::Stopped { nodes } | Grip::Loop { nodes } => nodes.is_empty(),
            Grip::Damaged { damages, down } => damages.is_empty() && down.is_empty(),
        }
    }
}

/// What a fault of processes has in hand when it begins.
fn first_grip(fault: ProcessFault, whom: &[usize]) -> Grip {
    let now = Instant::now();
    match fault {
        ProcessFault::Kill | ProcessFault::Restart => Grip::Down { nodes: whom.to_vec() },
        ProcessFault::CrashLoop => Grip::Loop { nodes: whom.iter().map(|at| (*at, now)).collect() },
        ProcessFault::Pause => Grip::Stopped { nodes: Vec::new() },
        ProcessFault::Truncate(_) | ProcessFault::Flip | ProcessFault::DiskFull | ProcessFault::Wipe => {
            Grip::Damaged { damages: Vec::new(), down: whom.to_vec() }
        }
    }
}

fn policy(fault: LinkFault) -> Policy {
    let good = Policy::default();
    match fault {
        LinkFault::Loss(loss) => Policy { loss, ..good },
        LinkFault::Reset => Policy { reset: true, ..good },
        LinkFault::Delay(delay) => Policy { delay, ..good },
        LinkFault::Jitter(jitter) => Policy { jitter, ..good },
        LinkFault::Reorder(reorder) => Policy { reorder, ..good },
        LinkFault::Duplicate(duplicate) => Policy { duplicate, ..good },
        LinkFault::Rate(rate) => Policy { rate: Some(rate), ..good },
    }
}

fn unrecorded(error: std::io::Error) -> Failure {
    Ending::Io.says(format!("cannot write faults.jsonl: {error}"))
}
