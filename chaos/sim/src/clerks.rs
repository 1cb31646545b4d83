//! Clients: the core of the real Clerk, and what happens to it. A clerk may be cut off from some nodes, interrupted or lost in the middle
//! of its calls; another takes its place, in a session of its own. Some calls of unknown outcome are settled later, by their tokens.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use fastrand::Rng;
use kvcli::core::{Action, ConnectionId, Core, CoreConfig};
use kvcli::{Answer, Ask, CallNumber, ClerkError, Expectation, Page, Token};
use raft::Index;
use wire::Item;
use wire::client::Reply;
use wire::command::SessionId;

use crate::connections::Connections;
use crate::ledger::{Identity, Ledger};
use crate::trace::tell;
use crate::words::shown;
use crate::workload::Asks;
use crate::world::{Event, World};

/// Something that is due for clerks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Due {
    /// A clerk has something to do, if this is still when.
    Tick { clerk: u64, at_us: u64 },
    /// Somebody asks for something.
    Call,
    /// A call of unknown outcome is to be settled.
    Resume { call: usize, token: Box<Token> },
    /// Something happens to clerks.
    Fault,
    /// A clerk reaches all nodes again.
    Mend { clerk: u64 },
}

/// All clients, living and gone.
pub(crate) struct Clerks {
    pub(crate) rng: Rng,
    pub(crate) connections: Connections,
    living: BTreeMap<u64, Clerk>,
    /// Those that the workload uses.
    hired: Vec<u64>,
    /// Nodes that no clerk can reach.
    pub(crate) unreachable: BTreeSet<usize>,
    /// What a script that is no clerk was told.
    pub(crate) told: BTreeMap<u64, Reply>,
    last_clerk: u64,
    /// Every call, in the order in which they were made.
    pub(crate) calls: Vec<Call>,
    pub(crate) asks: Asks,
    /// Tokens that somebody will come back with.
    resumes_due: usize,
    /// Writes that some node was asked for.
    pub(crate) asked: BTreeSet<Identity>,
    /// What was applied.
    pub(crate) ledger: Ledger,
}

struct Clerk {
    core: Core,
    tick_us: Option<u64>,
    connections: BTreeMap<ConnectionId, u64>,
    in_flight: BTreeMap<CallNumber, usize>,
    /// Nodes that it cannot reach.
    cut_from: BTreeSet<usize>,
    /// Whom it hears at the moment.
    hears: Option<usize>,
    /// Counts its calls of unknown outcome: in the history it is another client after each.
    unknown_count: u64,
    /// It is there for one call.
    is_guest: bool,
    /// It holds on to one session, as a load does.
    is_loader: bool,
}

/// One call, as the history will tell it.
pub(crate) struct Call {
    pub(crate) clerk: u64,
    pub(crate) unknown_count: u64,
    pub(crate) ask: Ask,
    pub(crate) called_us: u64,
    pub(crate) deadline_us: u64,
    /// `None`: it is under way, or its clerk was lost.
    pub(crate) returned_us: Option<u64>,
    pub(crate) outcome: Option<Result<Answer, ClerkError>>,
    /// Every session and number that it was sent under.
    pub(crate) identities: Vec<Identity>,
    /// Who answered.
    pub(crate) node: Option<usize>,
    /// Of a scan: the pages so far.
    items: Vec<Item>,
    resumes: u32,
    /// Behind it no older call of this session may take effect: as the call of a load that goes on.
    pub(crate) fence: Option<Identity>,
    /// Since when that holds.
    pub(crate) fenced_at: Option<Index>,
}

/// What was asked, in the words of the command line.
impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, key, value) = match &self.ask {
            Ask::Put { key, value } => ("put", key, Some(value)),
            Ask::Append { key, value } => ("append", key, Some(value)),
            Ask::Delete { key } => ("delete", key, None),
            Ask::Cas { key, value, .. } => ("cas", key, Some(value)),
            Ask::Get { key } => ("get", key, None),
            Ask::GetStale { key } => ("get --stale", key, None),
            Ask::Scan(range) => return write!(f, "c{} scan {range:?}", self.clerk),
            other => return write!(f, "c{} {other:?}", self.clerk),
        };
        write!(f, "c{} {what} {}", self.clerk, shown(key))?;
        if let Ask::Cas { expect, .. } = &self.ask {
            match expect {
                Expectation::Absent => write!(f, " --absent")?,
                Expectation::Version(version) => write!(f, " --version {version}")?,
                Expectation::Value(value) => write!(f, " --expect {}", shown(value))?,
            }
        }
        value.map_or(Ok(()), |value| write!(f, " {}", shown(value)))?;
        write!(f, ", from {} us", self.called_us)
    }
}

impl Call {
    /// Whether somebody came back with its token.
    pub(crate) fn resumed(&self) -> bool {
        self.resumes > 0 || self.fence.is_some()
    }
}

/// A call is not resumed more often than this.
const RESUMES_MAX: u32 = 2;

impl Clerks {
    pub(crate) fn new(seed: u64) -> Clerks {
        Clerks {
            rng: Rng::with_seed(seed ^ 0xc1e2_c500),
            connections: Connections::default(),
            living: BTreeMap::new(),
            hired: Vec::new(),
            unreachable: BTreeSet::new(),
            told: BTreeMap::new(),
            last_clerk: 0,
            calls: Vec::new(),
            asks: Asks::default(),
            resumes_due: 0,
            asked: BTreeSet::new(),
            ledger: Ledger::default(),
        }
    }

    /// Whether no call is under way, and nobody will come back.
    pub(crate) fn are_idle(&self) -> bool {
        self.resumes_due == 0 && self.living.values().all(|clerk| clerk.core.calls_in_flight() == 0)
    }

    pub(crate) fn describe(&self) -> String {
        let under_way = |clerk: &Clerk| {
            let calls = clerk.in_flight.iter().map(|(call, place)| {
                let tried: Vec<String> = clerk.core.tried(*call).iter().map(ToString::to_string).collect();
                format!("{}: {}\n", self.calls[*place], tried.join("; "))
            });
            calls.collect::<String>()
        };
        self.living.values().map(under_way).collect()
    }

    pub(crate) fn is_cut(&self, clerk: u64, node: usize) -> bool {
        self.unreachable.contains(&node) || self.living.get(&clerk).is_some_and(|clerk| clerk.cut_from.contains(&node))
    }

    /// A clerk that still lives reaches all nodes but these.
    pub(crate) fn cut(&mut self, clerk: u64, nodes: BTreeSet<usize>) {
        if let Some(clerk) = self.living.get_mut(&clerk) {
            clerk.cut_from = nodes;
        }
    }

    pub(crate) fn connections_of(&self, clerk: u64) -> Vec<u64> {
        self.living.get(&clerk).map(|clerk| clerk.connections.values().copied().collect()).unwrap_or_default()
    }

    /// A clerk's connection is over.
    pub(crate) fn forget(&mut self, clerk: u64, connection: ConnectionId) {
        if let Some(clerk) = self.living.get_mut(&clerk) {
            clerk.connections.remove(&connection);
        }
    }

    /// What a clerk hears next comes from this node.
    pub(crate) fn hears(&mut self, clerk: u64, node: usize) {
        if let Some(clerk) = self.living.get_mut(&clerk) {
            clerk.hears = Some(node);
        }
    }
}

impl World {
    /// The workload begins.
    pub(crate) fn hire_clerks(&mut self) {
        for _ in 0..self.plan.workload.clerk_count {
            let clerk = self.add_clerk(None);
            self.clerks.hired.push(clerk);
        }
        if self.plan.workload.clerk_count > 0 {
            self.after(0, Event::Clerks(Due::Call));
        }
        self.next_clerk_fault();
    }

    /// A new client that knows all nodes, or only this one.
    pub(crate) fn add_clerk(&mut self, node: Option<usize>) -> u64 {
        let first = self.clerks.rng.usize(0..self.hosts.len());
        let nodes = match node {
            Some(node) => vec![node],
            None => (0..self.hosts.len()).map(|place| (first + place) % self.hosts.len()).collect(),
        };
        self.add_clerk_of(nodes)
    }

    /// A new client that knows these nodes, in this order.
    pub(crate) fn add_clerk_of(&mut self, nodes: Vec<usize>) -> u64 {
        self.clerks.last_clerk += 1;
        let number = self.clerks.last_clerk;
        let rng = &mut self.clerks.rng;
        let endpoints = nodes.into_iter().map(|node| format!("n{}:7117", node + 1)).collect();
        let patience = self.plan.workload.patience;
        let (session, seed) = (SessionId(rng.u128(..)), rng.u64(..));
        let is_loader = self.conditions.is_none() && rng.bool();
        let mut core = Core::new(CoreConfig { endpoints, session, seed, cluster_id: None, patience });
        if is_loader {
            core.hold_session();
        }
        let clerk = Clerk {
            core,
            tick_us: None,
            connections: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            cut_from: BTreeSet::new(),
            hears: None,
            unknown_count: 0,
            is_guest: false,
            is_loader,
        };
        self.clerks.living.insert(number, clerk);
        number
    }

    /// A clerk is asked for something. The place of the call in `clerks.calls`.
    pub(crate) fn submit(&mut self, number: u64, ask: Ask, timeout_us: u64) -> usize {
        let place = self.note_call(number, ask.clone(), timeout_us);
        let clerk = self.clerks.living.get_mut(&number).expect("a living clerk");
        let call = clerk.core.submit(self.now_us, ask, timeout_us);
        clerk.in_flight.insert(call, place);
        self.pump(number);
        place
    }

    fn note_call(&mut self, number: u64, ask: Ask, timeout_us: u64) -> usize {
        let clerk = self.clerks.living.get_mut(&number).expect("a living clerk");
        self.clerks.calls.push(Call {
            clerk: number,
            unknown_count: clerk.unknown_count,
            ask,
            called_us: self.now_us,
            deadline_us: self.now_us + timeout_us,
            returned_us: None,
            outcome: None,
            identities: Vec::new(),
            node: None,
            items: Vec::new(),
            resumes: 0,
            fence: None,
            fenced_at: None,
        });
        self.clerks.calls.len() - 1
    }

    /// Something happens to a clerk, if it still lives.
    pub(crate) fn tell(&mut self, number: u64, event: impl FnOnce(&mut Core, u64)) {
        if let Some(clerk) = self.clerks.living.get_mut(&number) {
            event(&mut clerk.core, self.now_us);
            self.pump(number);
        }
    }

    /// Does what a clerk wants done.
    fn pump(&mut self, number: u64) {
        while let Some(clerk) = self.clerks.living.get_mut(&number) {
            let actions = clerk.core.take_actions();
            if actions.is_empty() {
                break;
            }
            // A write has a number from the moment when it is sent, and may get another only by being sent again.
            for action in &actions {
                if let Action::Send { call: Some(call), .. } = action
                    && let (Some(place), Some(identity)) = (clerk.in_flight.get(call), clerk.core.identity(*call))
                    && let identities = &mut self.clerks.calls[*place].identities
                    && !identities.contains(&identity)
                {
                    identities.push(identity);
                }
            }
            for action in actions {
                self.act(number, action);
            }
        }
        let Some(clerk) = self.clerks.living.get_mut(&number) else { return };
        clerk.hears = None;
        if clerk.is_guest && clerk.in_flight.is_empty() {
            return self.dismiss(number, false);
        }
        if let Some(next_us) = clerk.core.next_tick_us()
            && clerk.tick_us.is_none_or(|tick_us| next_us < tick_us)
        {
            let at_us = next_us.max(self.now_us);
            clerk.tick_us = Some(at_us);
            self.after(at_us - self.now_us, Event::Clerks(Due::Tick { clerk: number, at_us }));
        }
    }

    fn act(&mut self, number: u64, action: Action) {
        match action {
            Action::Dial { connection, address } => {
                let dialled = self.dial(number, connection, &address);
                if let Some(clerk) = self.clerks.living.get_mut(&number) {
                    clerk.connections.insert(connection, dialled);
                }
            }
            Action::Send { connection, bytes, .. } => {
                let dialled = self.clerks.living.get(&number).and_then(|clerk| clerk.connections.get(&connection)).copied();
                self.send_up(dialled.expect("a clerk sends on what it has dialled"), bytes);
            }
            Action::Close { connection } => {
                let dialled = self.clerks.living.get_mut(&number).and_then(|clerk| clerk.connections.remove(&connection));
                if let Some(dialled) = dialled {
                    self.leave_connection(dialled, false);
                }
            }
            Action::Finished { call, outcome } => self.finished(number, call, outcome),
        }
    }

    fn finished(&mut self, number: u64, call: CallNumber, outcome: Result<Answer, ClerkError>) {
        let Some(clerk) = self.clerks.living.get_mut(&number) else { return };
        let place = clerk.in_flight.remove(&call).expect("a call finishes once");
        let record = &mut self.clerks.calls[place];
        let outcome = match outcome {
            // A scan is one call, however many pages it takes.
            Ok(Answer::Page(mut page)) => {
                record.items.append(&mut page.items);
                if let Some(cursor) = page.next {
                    let timeout_us = record.deadline_us.saturating_sub(self.now_us);
                    let next = clerk.core.submit(self.now_us, Ask::ScanNext { cursor }, timeout_us);
                    clerk.in_flight.insert(next, place);
                    return;
                }
                Ok(Answer::Page(Page { items: std::mem::take(&mut record.items), ..page }))
            }
            outcome => outcome,
        };
        record.returned_us = Some(self.now_us);
        record.node = clerk.hears;
        clerk.unknown_count += u64::from(matches!(outcome, Err(ClerkError::Unknown { .. })));
        let token = outcome.as_ref().err().and_then(ClerkError::resume).copied();
        record.outcome = Some(outcome);
        // A script decides itself who comes back.
        if let (Some(token), None) = (token, &self.conditions) {
            self.come_back_perhaps(place, token);
        }
        self.note_outcome(place);
    }

    // Tokens.

    fn come_back_perhaps(&mut self, place: usize, token: Token) {
        let record = &mut self.clerks.calls[place];
        record.resumes += 1;
        if record.resumes <= RESUMES_MAX && self.clerks.rng.bool() {
            self.come_back(place, token);
        }
    }

    fn come_back(&mut self, place: usize, token: Token) {
        let rng = &mut self.clerks.rng;
        let longest_us = if rng.bool() { 200_000 } else { 4_000_000 };
        // Whoever comes back after the faults need not let everybody wait.
        let left_us = self.plan.faulty_us.saturating_sub(self.now_us) + 200_000;
        let delay_us = rng.u64(10_000..longest_us).min(left_us);
        self.clerks.resumes_due += 1;
        // By way of its text, as people carry it.
        let token = Box::new(token.to_string().parse().expect("a token survives its text"));
        self.after(delay_us, Event::Clerks(Due::Resume { call: place, token }));
    }

    /// A load stops, and will go on with another write, behind which nothing of what was left unknown may take effect.
    fn leave_a_load(&mut self, number: u64) {
        let ask = self.clerks.asks.next_write(&self.plan.workload, &mut self.clerks.rng);
        let digest = Token::digest_of(&ask).expect("a write");
        let Some(clerk) = self.clerks.living.get_mut(&number).filter(|clerk| clerk.is_loader) else { return };
        let Some(token) = clerk.core.leave_session(digest) else { return };
        let place = self.note_call(number, ask, 0);
        let call = &mut self.clerks.calls[place];
        call.fence = Some((token.session, token.seq));
        self.report.fences += 1;
        self.come_back(place, token);
    }

    fn resume(&mut self, place: usize, token: Token) {
        self.clerks.resumes_due -= 1;
        self.report.resumes += 1;
        let number = self.add_clerk(None);
        let timeout_us = self.clerks.rng.u64(500_000..3_000_000);
        let record = &mut self.clerks.calls[place];
        (record.outcome, record.returned_us) = (None, None);
        record.deadline_us = self.now_us + timeout_us;
        let ask = record.ask.clone();
        let clerk = self.clerks.living.get_mut(&number).expect("it was just added");
        clerk.is_guest = true;
        let call = clerk.core.resume(self.now_us, ask, token, timeout_us);
        clerk.in_flight.insert(call, place);
        self.pump(number);
    }

    // What happens to clerks.

    pub(crate) fn handle_due(&mut self, due: Due) {
        match due {
            Due::Tick { clerk, at_us } => {
                let Some(due) = self.clerks.living.get_mut(&clerk).filter(|due| due.tick_us == Some(at_us)) else { return };
                due.tick_us = None;
                self.tell(clerk, |core, now_us| core.tick(now_us));
            }
            Due::Call => self.call(),
            Due::Resume { call, token } => self.resume(call, *token),
            Due::Fault => self.clerk_fault(),
            Due::Mend { clerk } => {
                if let Some(clerk) = self.clerks.living.get_mut(&clerk) {
                    clerk.cut_from.clear();
                }
            }
        }
    }

    fn call(&mut self) {
        if self.now_us >= self.plan.faulty_us {
            return;
        }
        let workload = self.plan.workload.clone();
        let rng = &mut self.clerks.rng;
        let is_burst = rng.f64() < workload.bursts / 8.0;
        let count = if is_burst { 1 << rng.u32(1..=6) } else { 1 };
        let number = self.clerks.hired[rng.usize(0..self.clerks.hired.len())];
        for _ in 0..count {
            let rng = &mut self.clerks.rng;
            let timeout_us = if rng.u32(0..4) == 0 { rng.u64(20_000..500_000) } else { rng.u64(500_000..4_000_000) };
            let ask = self.clerks.asks.next(&workload, rng);
            self.submit(number, ask, timeout_us);
        }
        let mean_us = count * 1_000_000 / workload.calls_per_s;
        let delay_us = self.clerks.rng.u64(0..2 * mean_us);
        self.after(delay_us, Event::Clerks(Due::Call));
    }

    fn next_clerk_fault(&mut self) {
        if let Some(every_us) = self.plan.workload.fault_every_us {
            let delay_us = self.clerks.rng.u64(0..2 * every_us);
            self.after(delay_us, Event::Clerks(Due::Fault));
        }
    }

    fn clerk_fault(&mut self) {
        if self.calm || self.clerks.hired.is_empty() {
            return;
        }
        let rng = &mut self.clerks.rng;
        let place = rng.usize(0..self.clerks.hired.len());
        let number = self.clerks.hired[place];
        match rng.u32(0..7) {
            0 | 1 => {
                // Often it reaches a leader and nobody else: if that one is deposed, its clerks are the last to know, and must not be told what
                // was true before.
                let leads = |host: &crate::hosts::Host| host.process.as_ref().is_some_and(|(node, _)| node.raft().is_leader());
                let leader = self.hosts.iter().position(leads).filter(|_| rng.u32(0..4) > 0);
                let is_cut = |node: &usize| leader.map_or_else(|| rng.bool(), |leader| *node != leader);
                let cut_from: BTreeSet<usize> = (0..self.hosts.len()).filter(is_cut).collect();
                let names: Vec<String> = cut_from.iter().map(|node| format!("n{}", node + 1)).collect();
                tell!(self, "c{number} cannot reach {}", names.join(", "));
                let rng = &mut self.clerks.rng;
                let delay_us = rng.u64(50_000..3_000_000);
                if let Some(clerk) = self.clerks.living.get_mut(&number) {
                    clerk.cut_from = cut_from;
                }
                self.report.clerk_cuts += 1;
                self.after(delay_us, Event::Clerks(Due::Mend { clerk: number }));
            }
            2 | 3 => self.break_connection_of_clerk(number),
            4 | 5 => {
                // Interrupted: whoever waits is told what is known, and a token.
                let calls: Vec<CallNumber> = self.clerks.living[&number].in_flight.keys().copied().collect();
                for call in calls {
                    self.tell(number, |core, now_us| core.give_up(now_us, call));
                }
                self.leave_a_load(number);
                self.replace(place, false);
            }
            _ => {
                let is_machine = self.clerks.rng.bool();
                self.replace(place, is_machine);
            }
        }
        self.next_clerk_fault();
    }

    fn replace(&mut self, place: usize, is_lost: bool) {
        self.report.clerks_lost += 1;
        tell!(self, "c{} is lost{}", self.clerks.hired[place], if is_lost { ", and its machine" } else { "" });
        self.dismiss(self.clerks.hired[place], is_lost);
        self.clerks.hired[place] = self.add_clerk(None);
    }

    /// A clerk is gone; nobody will ever hear what became of its calls.
    fn dismiss(&mut self, number: u64, is_lost: bool) {
        let Some(clerk) = self.clerks.living.remove(&number) else { return };
        for dialled in clerk.connections.into_values() {
            self.leave_connection(dialled, is_lost);
        }
    }
}
