//! Faults, as people write them: `pause leader`, `partition n1,n2`, `loss 10% n2`, `one-way n1 n3`. One notation for the command line,
//! scenarios, plans and records.

pub(crate) mod effect; // what a fault did
pub(crate) mod shape; // which links a partition cuts
pub(crate) mod target; // whom it is aimed at

use std::fmt;
use std::time::Duration;

use bytesize::ByteSize;
use fastrand::Rng;

use self::shape::Shape;
use self::target::{Scene, Target};

/// Something to break. Written and read as words.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Fault {
    /// To processes or their files, one node at a time.
    Process(ProcessFault, Target),
    /// Links between nodes are cut.
    Partition(Shape),
    /// No packet from one to the other; back they go.
    OneWay(Target, Target),
    /// Something is wrong with all links from and to these.
    Links(LinkFault, Target),
    /// The same, with those from one to the other only.
    Link(LinkFault, Target, Target),
}

/// What can be done to a process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ProcessFault {
    /// SIGKILL, and it stays down.
    Kill,
    /// SIGKILL, and up again at once.
    Restart,
    /// SIGKILL again and again, while it starts, and while it runs.
    CrashLoop,
    /// SIGSTOP.
    Pause,
    /// Down, the last so many bytes of its newest log segment's records cut off, up again.
    Truncate(u64),
    /// Down, one bit of its newest log segment turned, up again.
    Flip,
    /// Down, onto a small disk that is filled up, up again.
    DiskFull,
    /// Down, an empty directory in place of its data, up again.
    Wipe,
}

/// What can be wrong with a link.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum LinkFault {
    /// This part of the packets vanishes.
    Loss(f64),
    /// Connections are reset.
    Reset,
    /// Packets take so much longer.
    Delay(Duration),
    /// Packets take up to so much longer, each its own, in order.
    Jitter(Duration),
    /// This part is overtaken by others.
    Reorder(f64),
    /// This part arrives twice.
    Duplicate(f64),
    /// No more than so many bytes per second.
    Rate(u64),
}

/// What is wrong with the words of a fault.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct BadWords(String);

/// Every fault by name, and its words.
pub(crate) const ALL: [(&str, &str); 17] = [
    ("kill", "kill WHO"),
    ("restart", "restart WHO"),
    ("crash-loop", "crash-loop WHO"),
    ("pause", "pause WHO"),
    ("partition", "partition WHO | halves | ring | bridge | clients [WHO]"),
    ("one-way", "one-way FROM TO"),
    ("loss", "loss 10% [WHO | FROM TO]"),
    ("reset", "reset [WHO | FROM TO]"),
    ("delay", "delay 50ms [WHO | FROM TO]"),
    ("jitter", "jitter 20ms [WHO | FROM TO]"),
    ("reorder", "reorder 10% [WHO | FROM TO]"),
    ("duplicate", "duplicate 10% [WHO | FROM TO]"),
    ("rate", "rate 64KiB [WHO | FROM TO]"),
    ("truncate", "truncate WHO [BYTES]"),
    ("flip", "flip WHO"),
    ("disk-full", "disk-full WHO"),
    ("wipe", "wipe WHO"),
];

/// The longest that a packet can be held up.
const TIME_MAX: Duration = Duration::from_secs(3600);
/// Bytes that `truncate` cuts off unless told.
const TRUNCATE_BYTES: u64 = 512;

/// Enough to meet two different nodes where there are two.
const DRAWS: u64 = 16;

impl Fault {
    /// Reads the words.
    pub(crate) fn parse<W: AsRef<str>>(words: &[W]) -> Result<Fault, BadWords> {
        let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
        let Some((name, rest)) = words.split_first() else { return Err(BadWords("which fault? say `kill leader`".into())) };
        let Some((_, usage)) = ALL.iter().find(|(known, _)| known == name) else {
            let known: Vec<&str> = ALL.iter().map(|(name, _)| *name).collect();
            return Err(BadWords(format!("no fault {name}: there are {}", known.join(", "))));
        };
        Fault::parse_rest(name, rest).map_err(|why| BadWords(format!("{}: {why}; it is written {usage}", words.join(" "))))
    }

    fn parse_rest(name: &str, rest: &[&str]) -> Result<Fault, String> {
        let process = |fault| match rest {
            [who] => Ok(Fault::Process(fault, who.parse()?)),
            [] => Err("whom?".to_owned()),
            [_, extra, ..] => Err(format!("what is {extra}?")),
        };
        let link = |fault, whom: &[&str]| match whom {
            [] => Ok(Fault::Links(fault, Target::All)),
            [who] => Ok(Fault::Links(fault, who.parse()?)),
            [from, to] => Ok(Fault::Link(fault, from.parse()?, to.parse()?)),
            [_, _, extra, ..] => Err(format!("what is {extra}?")),
        };
        // A figure, then whom.
        let figured = |make: &dyn Fn(&str) -> Result<LinkFault, String>| match rest {
            [] => Err("how much?".to_owned()),
            [figure, whom @ ..] => link(make(figure)?, whom),
        };
        match name {
            "kill" => process(ProcessFault::Kill),
            "restart" => process(ProcessFault::Restart),
            "crash-loop" => process(ProcessFault::CrashLoop),
            "pause" => process(ProcessFault::Pause),
            "flip" => process(ProcessFault::Flip),
            "disk-full" => process(ProcessFault::DiskFull),
            "wipe" => process(ProcessFault::Wipe),
            "truncate" => match rest {
                [who, bytes] => Ok(Fault::Process(ProcessFault::Truncate(size(bytes)?), who.parse()?)),
                _ => process(ProcessFault::Truncate(TRUNCATE_BYTES)),
            },
            "partition" => Ok(Fault::Partition(Shape::parse(rest)?)),
            "one-way" => match rest {
                [from, to] => Ok(Fault::OneWay(from.parse()?, to.parse()?)),
                _ => Err("from whom, and to whom?".to_owned()),
            },
            "reset" => link(LinkFault::Reset, rest),
            "loss" => figured(&|figure| Ok(LinkFault::Loss(part(figure)?))),
            "reorder" => figured(&|figure| Ok(LinkFault::Reorder(part(figure)?))),
            "duplicate" => figured(&|figure| Ok(LinkFault::Duplicate(part(figure)?))),
            "delay" => figured(&|figure| Ok(LinkFault::Delay(time(figure)?))),
            "jitter" => figured(&|figure| Ok(LinkFault::Jitter(time(figure)?))),
            "rate" => figured(&|figure| Ok(LinkFault::Rate(size(figure)?))),
            _ => Err("it has a name and no meaning".to_owned()),
        }
    }
}

impl Fault {
    /// The first of its words.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Fault::Process(fault, _) => fault.name(),
            Fault::Partition(_) => "partition",
            Fault::OneWay(..) => "one-way",
            Fault::Links(fault, _) | Fault::Link(fault, ..) => fault.name(),
        }
    }

    /// Why there is nothing for it to break in any cluster of so many nodes and hosts of clients, if there is not.
    pub(crate) fn check(&self, nodes: usize, clients: usize) -> Result<(), String> {
        let names = |prefix: &str, count: usize| (1..=count).map(|number| format!("{prefix}{number}")).collect::<Vec<String>>();
        let (nodes, clients) = (names("n", nodes), names("c", clients));
        let mut why = String::new();
        // Whoever leads, and whoever is drawn.
        for (leader, seed) in (0..nodes.len()).flat_map(|leader| (0..DRAWS).map(move |seed| (leader, seed))) {
            let scene = Scene { nodes: &nodes, clients: &clients, leader: Some(leader) };
            match self.check_in(&scene, &mut Rng::with_seed(seed)) {
                Ok(()) => return Ok(()),
                Err(reason) => why = reason,
            }
        }
        Err(why)
    }

    fn check_in(&self, scene: &Scene<'_>, random: &mut Rng) -> Result<(), String> {
        let needs = |count: usize| if scene.nodes.len() < count { Err(format!("it takes {count} nodes")) } else { Ok(()) };
        let mut resolve = |who: &Target| who.resolve(scene, random);
        let is_client = |name: &String| scene.clients.contains(name);
        match self {
            Fault::Process(_, who) => match resolve(who)?.iter().find(|name| is_client(name)) {
                Some(client) => Err(format!("{client} is a client's host and runs no node")),
                None => Ok(()),
            },
            Fault::Partition(Shape::Apart(who)) => {
                let group = resolve(who)?;
                if group.iter().any(is_client) {
                    return Err("a partition is between nodes; `partition clients n1` cuts clients off".into());
                }
                if scene.nodes.iter().all(|node| group.contains(node)) { Err("no node is on the other side".into()) } else { Ok(()) }
            }
            Fault::Partition(Shape::Halves) => needs(2),
            Fault::Partition(Shape::Bridge) => needs(3),
            Fault::Partition(Shape::Ring) => needs(4),
            Fault::Partition(Shape::Clients(who)) | Fault::Links(_, who) => resolve(who).map(drop),
            Fault::OneWay(from, to) | Fault::Link(_, from, to) => {
                let (from, to) = (resolve(from)?, resolve(to)?);
                let is_link = from.iter().any(|from| to.iter().any(|to| from != to));
                if is_link { Ok(()) } else { Err("that breaks no link".into()) }
            }
        }
    }

    /// Whether a leader is among those that it hits, whoever leads, and is replaced if it lasts.
    pub(crate) fn deposes(&self) -> bool {
        use ProcessFault::{CrashLoop, Kill, Pause, Restart};
        match self {
            // The leader may be in the larger half, or no follower.
            Fault::Process(Kill | Restart | CrashLoop | Pause, who) | Fault::Partition(Shape::Apart(who)) => {
                matches!(who, Target::Leader | Target::All)
            }
            _ => false,
        }
    }
}

fn part(text: &str) -> Result<f64, String> {
    let percent: f64 = text.strip_suffix('%').and_then(|number| number.parse().ok()).ok_or(format!("{text} is no percentage"))?;
    if percent > 0.0 && percent <= 100.0 { Ok(percent / 100.0) } else { Err(format!("{text} is not above 0% and up to 100%")) }
}

/// Of a packet. Whatever takes longer than an hour is cut off, and can be said so.
fn time(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|error| format!("{text} is no time: {error}"))?;
    if !time.is_zero() && time <= TIME_MAX { Ok(time) } else { Err(format!("{text} is not above 0 and up to 1h")) }
}

fn size(text: &str) -> Result<u64, String> {
    let size: ByteSize = text.parse().map_err(|error| format!("{text} is no number of bytes: {error}"))?;
    if size.as_u64() > 0 { Ok(size.as_u64()) } else { Err("0 bytes are nothing".to_owned()) }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Process(ProcessFault::Truncate(bytes), who) => write!(f, "truncate {who} {bytes}"),
            Fault::Process(fault, who) => write!(f, "{} {who}", fault.name()),
            Fault::Partition(shape) => write!(f, "partition {shape}"),
            Fault::OneWay(from, to) => write!(f, "one-way {from} {to}"),
            Fault::Links(fault, who) => write!(f, "{fault} {who}"),
            Fault::Link(fault, from, to) => write!(f, "{fault} {from} {to}"),
        }
    }
}

impl LinkFault {
    /// As it is written.
    pub(crate) fn name(self) -> &'static str {
        match self {
            LinkFault::Loss(_) => "loss",
            LinkFault::Reset => "reset",
            LinkFault::Delay(_) => "delay",
            LinkFault::Jitter(_) => "jitter",
            LinkFault::Reorder(_) => "reorder",
            LinkFault::Duplicate(_) => "duplicate",
            LinkFault::Rate(_) => "rate",
        }
    }
}

impl ProcessFault {
    /// As it is written.
    pub(crate) fn name(self) -> &'static str {
        match self {
            ProcessFault::Kill => "kill",
            ProcessFault::Restart => "restart",
            ProcessFault::CrashLoop => "crash-loop",
            ProcessFault::Pause => "pause",
            ProcessFault::Truncate(_) => "truncate",
            ProcessFault::Flip => "flip",
            ProcessFault::DiskFull => "disk-full",
            ProcessFault::Wipe => "wipe",
        }
    }
}

impl fmt::Display for LinkFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            LinkFault::Loss(part) | LinkFault::Reorder(part) | LinkFault::Duplicate(part) => write!(f, " {}%", part * 100.0),
            LinkFault::Delay(time) | LinkFault::Jitter(time) => {
                write!(f, " {}", humantime::format_duration(*time).to_string().replace(' ', ""))
            }
            LinkFault::Rate(bytes) => write!(f, " {bytes}"),
            LinkFault::Reset => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Fault, BadWords> {
        Fault::parse(&line.split(' ').collect::<Vec<_>>())
    }

    #[test]
    fn every_fault_is_read_and_written_in_the_same_words() {
        for line in [
            "kill leader",
            "restart all",
            "crash-loop follower",
            "pause n1,n3",
            "partition n1,n2",
            "partition leader",
            "partition halves",
            "partition minority",
            "partition ring",
            "partition bridge",
            "partition clients",
            "partition clients leader",
            "one-way n1 n3",
            "loss 10% n2",
            "reset all",
            "reset n1 n2",
            "delay 50ms n1 n3",
            "jitter 1s500ms all",
            "reorder 2.5% all",
            "duplicate 100% minority",
            "rate 65536 majority",
            "truncate n2 512",
            "flip n2",
            "disk-full leader",
            "wipe n5",
        ] {
            assert_eq!(parse(line).unwrap().to_string(), line);
            assert_eq!(parse(line).unwrap().kind(), line.split(' ').next().unwrap());
        }
        assert_eq!(parse("rate 64KiB").unwrap().to_string(), "rate 65536 all");
        assert_eq!(parse("truncate n2").unwrap().to_string(), "truncate n2 512");
        for (name, usage) in ALL {
            assert!(usage.starts_with(name), "{usage}");
        }
    }

    #[test]
    fn a_leader_is_deposed_by_what_hits_it_whoever_it_is() {
        for line in ["kill leader", "restart all", "crash-loop leader", "pause leader", "partition leader"] {
            assert!(parse(line).unwrap().deposes(), "{line}");
        }
        for line in ["kill minority", "pause n1", "partition halves", "partition clients leader", "one-way leader n1", "flip leader"] {
            assert!(!parse(line).unwrap().deposes(), "{line}");
        }
    }

    #[test]
    fn what_a_cluster_is_too_small_for_is_known_before() {
        let fits = |line: &str, nodes: usize| parse(line).unwrap().check(nodes, 1);
        for (line, nodes_min) in [
            ("kill leader", 1),
            ("pause all", 1),
            ("loss 5% all", 1),
            ("reset c1 n1", 1),
            ("partition clients leader", 1),
            ("wipe follower", 2),
            ("partition leader", 2),
            ("partition halves", 2),
            ("one-way leader follower", 2),
            ("one-way n1 leader", 2),
            ("one-way one one", 2),
            ("kill minority", 3),
            ("partition bridge", 3),
            ("partition minority", 3),
            ("partition ring", 4),
            ("kill n5", 5),
        ] {
            for nodes in 1..=6 {
                assert_eq!(fits(line, nodes).is_ok(), nodes >= nodes_min, "{line} among {nodes}: {:?}", fits(line, nodes));
            }
        }
        for line in ["kill c1", "partition c1", "kill c2", "one-way leader leader", "partition all", "delay 1s n1 n1"] {
            assert!(fits(line, 5).is_err(), "{line}");
        }
    }

    #[test]
    fn bad_words_are_answered_with_the_right_ones() {
        let says = |line: &str, word: &str| {
            let error = parse(line).unwrap_err().to_string();
            assert!(error.contains(word), "{line}: {error}");
        };
        says("explode n1", "no fault explode: there are kill, ");
        says("kill", "kill: whom?; it is written kill WHO");
        says("kill n1 n2", "what is n2?");
        says("loss n1", "n1 is no percentage");
        says("loss 0%", "not above 0%");
        says("loss 101%", "not above 0%");
        says("delay 50", "is no time");
        for line in ["delay 0ms", "jitter 0s n1", "delay 3601s", "delay 10000000000000000000s n1"] {
            says(line, "not above 0 and up to 1h");
        }
        assert_eq!(parse("delay 1h").unwrap().to_string(), "delay 1h all");
        says("rate 0", "0 bytes");
        says("one-way n1", "to whom?");
        says("partition", "it is written partition WHO");
        says("pause n1,", "an empty name");
    }
}
