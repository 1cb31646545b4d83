//! Breadth first through every cluster that a model can reach, each once.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use raft::{NodeId, ReadId};

use crate::history::{Fact, History, check_log_matching};
use crate::models::{KINDS, Kind, Model};
use crate::node::{Event, Mail, Node, Said};

/// Values by number: equal ones share theirs.
struct Numbered<T> {
    values: Vec<T>,
    numbers: HashMap<T, u32>,
}

impl<T: Clone + Eq + Hash> Numbered<T> {
    fn new() -> Numbered<T> {
        Numbered { values: Vec::new(), numbers: HashMap::new() }
    }

    fn number(&mut self, value: T) -> u32 {
        *self.numbers.entry(value).or_insert_with_key(|value| {
            self.values.push(value.clone());
            u32::try_from(self.values.len() - 1).expect("memory ends before")
        })
    }

    fn get(&self, number: u32) -> &T {
        &self.values[number as usize]
    }
}

/// What may reach a node, by number.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Input {
    Mail(u32),
    Event(u32),
}

/// What a node does when something reaches it: computed by raft, once.
struct Step {
    node: u32,
    /// Sorted.
    mails: Vec<u32>,
    facts: Vec<Fact>,
    save_is_late: bool,
}

/// A state of a node, and what may happen to it.
struct Known {
    node: Node,
    events: Vec<u32>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Cluster {
    nodes: [u32; 3],
    history: u32,
    left: [u8; KINDS],
    /// In flight, sorted.
    mails: Box<[u32]>,
}

/// One event in a cluster.
#[derive(Clone, Copy)]
struct Move {
    at: u8,
    input: Input,
    save_is_late: bool,
    /// The message stays in flight.
    repeats: bool,
}

/// How much was searched, and what was seen there.
#[derive(Default)]
pub(crate) struct Searched {
    model: &'static str,
    states: usize,
    transitions: usize,
    pub(crate) depth: usize,
    /// Nothing is left: every order of all that may happen was tried.
    is_complete: bool,
    elapsed: Duration,
    node_states: usize,
    pub(crate) seen: Seen,
}

/// What happened anywhere: a search in which nothing happens shows nothing.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Seen {
    /// The highest term with a leader.
    pub(crate) term_max: u64,
    pub(crate) committed_max: usize,
    pub(crate) reads: usize,
    pub(crate) installs: usize,
}

impl fmt::Display for Searched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Searched { model, states, transitions, depth, is_complete, elapsed, node_states, seen } = self;
        let Seen { term_max, committed_max, reads, installs } = seen;
        let end = if *is_complete { "nothing left" } else { "cut there" };
        write!(f, "{model:<12} {states} states, {transitions} transitions, depth {depth} ({end}), {:.1} s; ", elapsed.as_secs_f64())?;
        write!(f, "{node_states} states of a node; terms to {term_max}, commits to i{committed_max}, {reads} reads, {installs} installs")
    }
}

/// A breach, and the shortest way to it.
pub(crate) struct Breach {
    pub(crate) why: String,
    pub(crate) way: Vec<String>,
}

struct Space {
    model: Model,
    nodes: Vec<Known>,
    node_numbers: HashMap<u128, u32>,
    mails: Numbered<Mail>,
    events: Numbered<Event>,
    histories: Numbered<History>,
    steps: HashMap<(u32, Input, bool), u32>,
    step_values: Vec<Step>,
    matching: HashSet<(u32, u32)>,
    agreeing: HashSet<(u32, u32)>,
    seen: Seen,
}

/// Searches until nothing is left, or `depth_max` events after the start.
pub(crate) fn search(model: Model, depth_max: usize) -> Result<Searched, Breach> {
    let begun = Instant::now();
    let mut space = Space::new(model);
    let start = space.start().map_err(|why| Breach { why, way: Vec::new() })?;
    // Clusters are remembered by 64 bits: of 50 million, two share them with a chance of 1 in 15,000, and one of those is then missed.
    let fingerprint = |cluster: &Cluster| BuildHasherDefault::<DefaultHasher>::default().hash_one(cluster);
    let mut visited = HashSet::from([fingerprint(&start)]);
    let mut came_from: Vec<(u32, Option<Move>)> = vec![(0, None)];
    let mut layer = vec![(0u32, start)];
    let mut searched = Searched { model: model.name, ..Searched::default() };
    while !layer.is_empty() && searched.depth < depth_max {
        let mut next = Vec::new();
        for (parent, cluster) in &layer {
            for step in space.moves(cluster) {
                searched.transitions += 1;
                let breach = |space: &Space, why| Breach { why, way: space.way(&came_from, *parent, step) };
                let reached = match space.follow(cluster, step) {
                    Ok(Some(reached)) => reached,
                    Ok(None) => continue,
                    Err(why) => return Err(breach(&space, why)),
                };
                if visited.insert(fingerprint(&reached)) {
                    space.check(&reached).map_err(|why| breach(&space, why))?;
                    next.push((u32::try_from(came_from.len()).expect("memory ends before"), reached));
                    came_from.push((*parent, Some(step)));
                }
            }
        }
        searched.depth += usize::from(!next.is_empty());
        layer = next;
    }
    let (states, node_states) = (visited.len(), space.nodes.len());
    Ok(Searched { states, node_states, is_complete: layer.is_empty(), elapsed: begun.elapsed(), seen: space.seen, ..searched })
}

impl Space {
    fn new(model: Model) -> Space {
        Space {
            model,
            nodes: Vec::new(),
            node_numbers: HashMap::new(),
            mails: Numbered::new(),
            events: Numbered::new(),
            histories: Numbered::new(),
            steps: HashMap::new(),
            step_values: Vec::new(),
            matching: HashSet::new(),
            agreeing: HashSet::new(),
            seen: Seen::default(),
        }
    }

    /// Where the model begins: its nodes as they start, and then what it says has happened already, with nothing lost and nothing late.
    fn start(&mut self) -> Result<Cluster, String> {
        let nodes = (self.model.nodes)().map(|node| self.know(node));
        let history = self.histories.number(History::default());
        let mut cluster = Cluster { nodes, history, left: [u8::MAX; KINDS], mails: Box::default() };
        for (node, event) in self.model.before {
            let input = Input::Event(self.events.number(event.clone()));
            cluster = self.quiet(cluster, Move { at: node - 1, input, save_is_late: false, repeats: false })?;
            while let Some(first) = cluster.mails.first().copied() {
                let step = self.delivery(first);
                cluster = self.quiet(cluster, step)?;
            }
        }
        self.check(&cluster)?;
        Ok(Cluster { left: self.model.left.0, ..cluster })
    }

    fn quiet(&mut self, cluster: Cluster, step: Move) -> Result<Cluster, String> {
        let mut without = cluster.clone();
        if let Input::Mail(mail) = step.input {
            without.mails = removed(&cluster.mails, mail);
        }
        Ok(self.follow(&cluster, step)?.unwrap_or(without))
    }

    fn know(&mut self, node: Node) -> u32 {
        let hash = node.hash();
        if let Some(number) = self.node_numbers.get(&hash) {
            return *number;
        }
        let events = node.events().into_iter().map(|event| self.events.number(event)).collect();
        let number = u32::try_from(self.nodes.len()).expect("memory ends before");
        self.nodes.push(Known { node, events });
        self.node_numbers.insert(hash, number);
        number
    }

    fn node(&self, number: u32) -> &Node {
        &self.nodes[number as usize].node
    }

    fn delivery(&self, mail: u32) -> Move {
        let to = self.mails.get(mail).to;
        Move { at: place(to), input: Input::Mail(mail), save_is_late: false, repeats: false }
    }

    /// All that may happen next.
    fn moves(&mut self, cluster: &Cluster) -> Vec<Move> {
        let left = |kind: Kind| cluster.left[kind as usize] > 0;
        let mut moves = Vec::new();
        let mut push = |step: Move| {
            moves.push(step);
            if left(Kind::LateSave) {
                moves.push(Move { save_is_late: true, ..step });
            }
        };
        for (at, mail) in cluster.mails.iter().enumerate() {
            if at == 0 || cluster.mails[at - 1] != *mail {
                push(self.delivery(*mail));
                if left(Kind::Repeat) {
                    push(Move { repeats: true, ..self.delivery(*mail) });
                }
            }
        }
        // Three nodes that start alike are alike: whichever stands first is called n1.
        let all_alike = self.model.is_symmetric && cluster.left == self.model.left.0;
        for (at, node) in (0u8..).zip(cluster.nodes) {
            if all_alike && at > 0 {
                break;
            }
            for index in 0..self.nodes[node as usize].events.len() {
                let mut number = self.nodes[node as usize].events[index];
                let event = self.events.get(number);
                if event.kind().is_none_or(left) {
                    if let Event::Read(_) = event {
                        let asked = self.model.left.0[Kind::Read as usize] - cluster.left[Kind::Read as usize];
                        number = self.events.number(Event::Read(ReadId(u64::from(asked) + 1)));
                    }
                    push(Move { at, input: Input::Event(number), save_is_late: false, repeats: false });
                }
            }
            if let Some((from, wanted)) = self.node(node).wants()
                && let Some(snapshot) = self.node(cluster.nodes[usize::from(place(from))]).snapshot()
                && wanted.index <= snapshot.last().index
            {
                let number = self.events.number(Event::Fetch(snapshot.clone()));
                push(Move { at, input: Input::Event(number), save_is_late: false, repeats: false });
            }
        }
        moves
    }

    /// The cluster after it. `None`: nothing new can come of it. If a message changes nothing, the cluster that still has it in flight can
    /// do all that the one without it can.
    fn follow(&mut self, cluster: &Cluster, step: Move) -> Result<Option<Cluster>, String> {
        let Move { at, input, save_is_late, repeats } = step;
        let node = cluster.nodes[usize::from(at)];
        let number = self.step(node, input, save_is_late)?;
        let Step { node: then, mails, facts, save_is_late: is_late } = &self.step_values[number as usize];
        if (*then == node && mails.is_empty() && facts.is_empty()) || *is_late != save_is_late {
            return Ok(None);
        }
        let mut reached = cluster.clone();
        reached.nodes[usize::from(at)] = *then;
        let mut in_flight = match input {
            Input::Mail(mail) if !repeats => removed(&cluster.mails, mail).into_vec(),
            _ => cluster.mails.to_vec(),
        };
        in_flight.extend(mails);
        in_flight.sort_unstable();
        reached.mails = in_flight.into_boxed_slice();
        let kind = match input {
            Input::Event(event) => self.events.get(event).kind(),
            Input::Mail(_) => repeats.then_some(Kind::Repeat),
        };
        for kind in kind.into_iter().chain(is_late.then_some(Kind::LateSave)) {
            let left = &mut reached.left[kind as usize];
            *left -= u8::from(*left < u8::MAX);
        }
        if !facts.is_empty() {
            let mut history = self.histories.get(cluster.history).clone();
            for fact in facts {
                history.learn(fact)?;
                match fact {
                    Fact::Leads { term, .. } => self.seen.term_max = self.seen.term_max.max(term.0),
                    Fact::Committed { .. } => self.seen.committed_max = self.seen.committed_max.max(history.committed_count()),
                    Fact::Served { .. } => self.seen.reads += 1,
                    Fact::Installed => self.seen.installs += 1,
                    Fact::Voted { .. } | Fact::Asked(_) | Fact::Failed(_) => {}
                }
            }
            reached.history = self.histories.number(history);
        }
        Ok(Some(reached))
    }

    fn step(&mut self, node: u32, input: Input, saves_late: bool) -> Result<u32, String> {
        if let Some(number) = self.steps.get(&(node, input, saves_late)) {
            return Ok(*number);
        }
        let mut then = self.node(node).clone();
        let take = || match input {
            Input::Mail(mail) => then.receive(self.mails.get(mail), saves_late),
            Input::Event(event) => then.happen(self.events.get(event), saves_late),
        };
        let Said { mails, facts, save_is_late } = catch_unwind(AssertUnwindSafe(take)).map_err(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
        })?;
        let mut mails: Vec<u32> = mails.into_iter().map(|mail| self.mails.number(mail)).collect();
        mails.sort_unstable();
        let step = Step { node: self.know(then), mails, facts, save_is_late };
        let number = u32::try_from(self.step_values.len()).expect("memory ends before");
        self.step_values.push(step);
        self.steps.insert((node, input, saves_late), number);
        Ok(number)
    }

    /// What must hold of a cluster. What concerns two nodes, or a node and the past, is checked once for each such pair.
    fn check(&mut self, cluster: &Cluster) -> Result<(), String> {
        let [one, two, three] = cluster.nodes;
        let history = self.histories.get(cluster.history);
        for (left, right) in [(one, two), (one, three), (two, three)] {
            if self.matching.insert((left, right)) {
                check_log_matching(self.nodes[left as usize].node.raft.log(), self.nodes[right as usize].node.raft.log())?;
            }
        }
        for node in cluster.nodes {
            if self.agreeing.insert((cluster.history, node)) {
                history.check(&self.nodes[node as usize].node)?;
            }
        }
        history.check_disks(cluster.nodes.map(|node| self.node(node)))
    }

    /// From the start to the cluster at `last` and one move on, in our notation.
    fn way(&self, came_from: &[(u32, Option<Move>)], last: u32, step: Move) -> Vec<String> {
        let mut way = vec![self.notation(step)];
        let mut at = last;
        while let (parent, Some(step)) = came_from[at as usize] {
            way.push(self.notation(step));
            at = parent;
        }
        way.reverse();
        way
    }

    fn notation(&self, step: Move) -> String {
        let node = NodeId(u64::from(step.at) + 1);
        let mut text = match step.input {
            Input::Mail(mail) => {
                let Mail { from, to, message } = self.mails.get(mail);
                format!("{from} -> {to} {message}")
            }
            Input::Event(event) => format!("{node} {:?}", self.events.get(event)),
        };
        if step.repeats {
            text += " (and it stays in flight)";
        }
        if step.save_is_late {
            text += " (a save begins and does not end yet)";
        }
        text
    }
}

fn place(node: NodeId) -> u8 {
    u8::try_from(node.0 - 1).expect("three nodes")
}

fn removed(mails: &[u32], mail: u32) -> Box<[u32]> {
    let at = mails.binary_search(&mail).expect("it is in flight");
    [&mails[..at], &mails[at + 1..]].concat().into_boxed_slice()
}
