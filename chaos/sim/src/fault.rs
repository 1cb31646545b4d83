//! What can happen to a cluster, as plain data. A plan holds faults that were drawn ahead, each with all it needs: so a run from which
//! one is dropped is otherwise told the same.

use std::fmt;

use crate::network::LinkQuality;

/// A fault and its time, microseconds of virtual time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Planned {
    /// When it begins.
    pub at_us: u64,
    /// What happens.
    pub fault: Fault,
}

/// Whom it befalls. Roles are looked up when it happens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// This one, by position.
    Node(usize),
    /// Whoever leads; node 0 if nobody does.
    Leader,
    /// So many places behind whoever leads.
    BehindLeader(usize),
    /// All at once.
    All,
}

/// In the middle of what, if of anything. Whatever does not come to that soon is struck then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Moment {
    /// Between two inputs.
    Now,
    /// At the next but n-th step of its disk.
    AtStep(u64),
    /// In the middle of a sync, after so many thousandths of that; several at one instant, when most of them are in one.
    InSync(u64),
}

/// One thing that happens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fault {
    /// A process is killed; its system, and with it all that was written, lives on. Peers hear of it at once.
    Kill {
        /// Whose.
        target: Target,
        /// At which moment.
        moment: Moment,
        /// Until it is started again.
        down_us: u64,
    },
    /// Whoever asks its leader for a read next is killed soon after, and is back before long: the answer may find another life.
    KillAsker {
        /// From the question to the end.
        delay_us: u64,
        /// Until it is started again.
        down_us: u64,
    },
    /// A machine loses power: of what was not synced anything may stay. Peers hear nothing.
    PowerCut {
        /// Which.
        target: Target,
        /// At which moment.
        moment: Moment,
        /// Until it is started again, by position.
        down_us: Vec<u64>,
    },
    /// Whoever is sent a snapshot next loses power at the end of that: so many steps of its disk behind the file's getting its name.
    PowerCutInInstall {
        /// Steps.
        steps: u64,
        /// Until it is started again.
        down_us: u64,
    },
    /// Whoever cuts conflicting entries off its log next loses power in the sync of that.
    PowerCutInTruncation {
        /// Until it is started again.
        down_us: u64,
    },
    /// A power cut, and then another at these steps of each life that follows: recovery itself is cut short.
    CrashLoop {
        /// Which machine.
        target: Target,
        /// Steps of its disk from each start to the next cut.
        steps: Vec<u64>,
        /// Between a cut and the next start.
        down_us: u64,
    },
    /// A process stands still: what is sent to it waits in its sockets.
    Pause {
        /// Whose.
        target: Target,
        /// So long.
        for_us: u64,
    },
    /// A process is woken late, time after time.
    LateTicks {
        /// Whose.
        target: Target,
        /// At most so late.
        late_us: u64,
        /// So long.
        for_us: u64,
    },
    /// Links lose everything.
    Cut {
        /// Which.
        cut: Cut,
        /// So long.
        for_us: u64,
    },
    /// Connections break, with all that is under way on them.
    Reset {
        /// Who dialled.
        from: Target,
        /// Who was dialled.
        to: Target,
    },
    /// Whoever dials this node is turned away.
    RefuseDials {
        /// Whom.
        target: Target,
        /// So long.
        for_us: u64,
    },
    /// One directed link is another for a while.
    Weather {
        /// From here.
        from: Target,
        /// To there.
        to: Target,
        /// What it is then.
        quality: LinkQuality,
        /// So long.
        for_us: u64,
    },
    /// Messages of seconds ago come again.
    Replay {
        /// Who sent them.
        from: Target,
        /// Whom to.
        to: Target,
        /// Which ones.
        pick: u64,
        /// How many.
        count: u32,
    },
    /// Syncs of one disk take long.
    SlowSyncs {
        /// Whose.
        target: Target,
        /// Each.
        sync_us: u64,
        /// So many.
        count: u32,
    },
    /// A sync fails, and what it should have saved is lost at the next power cut at the latest. The node must stop.
    SyncError {
        /// Whose.
        target: Target,
        /// After so many that succeed.
        after_syncs: u64,
        /// Until it is started again.
        down_us: u64,
        /// Power is cut so long after this began.
        power_cut_us: Option<u64>,
    },
    /// A write fails half done. The node must stop.
    WriteError {
        /// Whose.
        target: Target,
        /// After so many that succeed.
        after_writes: u64,
        /// Until it is started again.
        down_us: u64,
    },
    /// Somebody else writes the disk full, and frees it again.
    FullDisk {
        /// Whose.
        target: Target,
        /// Bytes that are left.
        free: u64,
        /// So long.
        for_us: u64,
    },
    /// A directory is deleted and made again. Does not happen if it would leave no majority of disks that remember.
    Wipe {
        /// Whose.
        node: usize,
        /// Until it is started again.
        down_us: u64,
    },
}

/// Which links are cut.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Cut {
    /// One against all others, both ways.
    Isolate(Target),
    /// What it sends is lost.
    Mute(Target),
    /// What is sent to it is lost.
    Deaf(Target),
    /// Between two.
    Pair {
        /// From here.
        from: Target,
        /// To there.
        to: Target,
        /// And back.
        both_ways: bool,
    },
    /// So many against the others, the first of `order`.
    Halves {
        /// Every position, shuffled.
        order: Vec<usize>,
        /// How many are on the first side.
        first: usize,
        /// Whoever leads comes first in the order.
        leader_first: bool,
    },
    /// Two sides that hear each other only through the first of `order`.
    Bridge {
        /// Every position, shuffled.
        order: Vec<usize>,
    },
    /// Everybody hears a majority, no two of them the same.
    MajoritiesRing {
        /// Every position, shuffled.
        order: Vec<usize>,
    },
}

/// The sorts of faults: a seed draws which it has, a smaller plan leaves some out.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum FaultKind {
    /// Processes are killed.
    Kills,
    /// Machines lose power, one or all.
    PowerCuts,
    /// Recovery is cut short.
    CrashLoops,
    /// Processes stand still.
    Pauses,
    /// Processes are woken late.
    LateTicks,
    /// Links are cut.
    Cuts,
    /// Connections break.
    Resets,
    /// Dials are refused.
    RefusedDials,
    /// Links change for a while.
    Weather,
    /// Old messages come again.
    Replays,
    /// Syncs take long.
    SlowSyncs,
    /// Syncs fail.
    SyncErrors,
    /// Writes fail.
    WriteErrors,
    /// Disks are full for a while.
    FullDisks,
    /// Directories are lost, of a minority.
    Wipes,
    /// All the time: messages are lost, or come late where connections repeat them.
    Loss,
    /// All the time: messages come twice, and overtake each other.
    Disorder,
    /// All the time: links are slow, each in its own way.
    Delays,
    /// All the time: clocks run at different rates.
    Clocks,
    /// All the time: little room for what is under way, and slow lines.
    Queues,
    /// Nodes come up for the first time one after the other.
    LateStarts,
}

impl FaultKind {
    /// All of them.
    pub const ALL: [FaultKind; 21] = [
        FaultKind::Kills,
        FaultKind::PowerCuts,
        FaultKind::CrashLoops,
        FaultKind::Pauses,
        FaultKind::LateTicks,
        FaultKind::Cuts,
        FaultKind::Resets,
        FaultKind::RefusedDials,
        FaultKind::Weather,
        FaultKind::Replays,
        FaultKind::SlowSyncs,
        FaultKind::SyncErrors,
        FaultKind::WriteErrors,
        FaultKind::FullDisks,
        FaultKind::Wipes,
        FaultKind::Loss,
        FaultKind::Disorder,
        FaultKind::Delays,
        FaultKind::Clocks,
        FaultKind::Queues,
        FaultKind::LateStarts,
    ];

    /// Its name, for reports: `kills`, `power-cuts`.
    pub fn name(self) -> &'static str {
        match self {
            FaultKind::Kills => "kills",
            FaultKind::PowerCuts => "power-cuts",
            FaultKind::CrashLoops => "crash-loops",
            FaultKind::Pauses => "pauses",
            FaultKind::LateTicks => "late-ticks",
            FaultKind::Cuts => "cuts",
            FaultKind::Resets => "resets",
            FaultKind::RefusedDials => "refused-dials",
            FaultKind::Weather => "weather",
            FaultKind::Replays => "replays",
            FaultKind::SlowSyncs => "slow-syncs",
            FaultKind::SyncErrors => "sync-errors",
            FaultKind::WriteErrors => "write-errors",
            FaultKind::FullDisks => "full-disks",
            FaultKind::Wipes => "wipes",
            FaultKind::Loss => "loss",
            FaultKind::Disorder => "disorder",
            FaultKind::Delays => "delays",
            FaultKind::Clocks => "clocks",
            FaultKind::Queues => "queues",
            FaultKind::LateStarts => "late-starts",
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Fault {
    /// Which sort it is of.
    pub fn kind(&self) -> FaultKind {
        match self {
            Fault::Kill { .. } | Fault::KillAsker { .. } => FaultKind::Kills,
            Fault::PowerCut { .. } | Fault::PowerCutInInstall { .. } | Fault::PowerCutInTruncation { .. } => FaultKind::PowerCuts,
            Fault::CrashLoop { .. } => FaultKind::CrashLoops,
            Fault::Pause { .. } => FaultKind::Pauses,
            Fault::LateTicks { .. } => FaultKind::LateTicks,
            Fault::Cut { .. } => FaultKind::Cuts,
            Fault::Reset { .. } => FaultKind::Resets,
            Fault::RefuseDials { .. } => FaultKind::RefusedDials,
            Fault::Weather { .. } => FaultKind::Weather,
            Fault::Replay { .. } => FaultKind::Replays,
            Fault::SlowSyncs { .. } => FaultKind::SlowSyncs,
            Fault::SyncError { .. } => FaultKind::SyncErrors,
            Fault::WriteError { .. } => FaultKind::WriteErrors,
            Fault::FullDisk { .. } => FaultKind::FullDisks,
            Fault::Wipe { .. } => FaultKind::Wipes,
        }
    }
}

impl Cut {
    /// The directed links that it cuts among so many nodes, while `leader` leads.
    pub fn links(&self, node_count: usize, leader: Option<usize>) -> Vec<(usize, usize)> {
        let one = |target: Target| target.positions(node_count, leader)[0];
        let all = (0..node_count).flat_map(|from| (0..node_count).map(move |to| (from, to))).filter(|(from, to)| from != to);
        match self {
            Cut::Isolate(target) => all.filter(|(from, to)| *from == one(*target) || *to == one(*target)).collect(),
            Cut::Mute(target) => all.filter(|(from, _)| *from == one(*target)).collect(),
            Cut::Deaf(target) => all.filter(|(_, to)| *to == one(*target)).collect(),
            Cut::Pair { from, to, both_ways } => {
                let (from, mut to) = (one(*from), one(*to));
                if from == to {
                    to = (to + 1) % node_count;
                }
                all.filter(|link| *link == (from, to) || *both_ways && *link == (to, from)).collect()
            }
            Cut::Halves { order, first, leader_first } => {
                let mut order = order.clone();
                if let (true, Some(leader)) = (*leader_first, leader) {
                    order.sort_by_key(|node| *node != leader);
                }
                let side = &order[..*first];
                all.filter(|(from, to)| side.contains(from) != side.contains(to)).collect()
            }
            Cut::Bridge { order } => {
                let (bridge, side) = (order[0], &order[1..1 + (node_count - 1) / 2]);
                let is_bridged = |node: &usize| *node == bridge;
                all.filter(|(from, to)| !is_bridged(from) && !is_bridged(to) && side.contains(from) != side.contains(to)).collect()
            }
            Cut::MajoritiesRing { order } => {
                let place = |node: usize| order.iter().position(|other| *other == node).expect("an order of all positions");
                // Itself and so many on either side are a majority.
                let reach = (node_count / 2).div_ceil(2);
                let distance = |a: usize, b: usize| {
                    let apart = place(a).abs_diff(place(b));
                    apart.min(node_count - apart)
                };
                // Three nodes on a ring are all neighbours: there the first and the last do not hear each other.
                let is_cut = |a: usize, b: usize| match node_count {
                    3 => place(a).abs_diff(place(b)) == 2,
                    _ => distance(a, b) > reach,
                };
                all.filter(|(from, to)| is_cut(*from, *to)).collect()
            }
        }
    }
}

impl Target {
    /// Where that is, while `leader` leads.
    pub fn positions(self, node_count: usize, leader: Option<usize>) -> Vec<usize> {
        match self {
            Target::Node(node) => vec![node % node_count],
            Target::Leader => vec![leader.unwrap_or(0)],
            Target::BehindLeader(places) => vec![(leader.unwrap_or(0) + places) % node_count],
            Target::All => (0..node_count).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(cut: &Cut, node_count: usize, leader: Option<usize>) -> Vec<Vec<usize>> {
        let cut = cut.links(node_count, leader);
        let hears = |to: usize| (0..node_count).filter(|from| *from == to || !cut.contains(&(*from, to))).collect();
        (0..node_count).map(hears).collect()
    }

    #[test]
    fn on_a_ring_everybody_hears_a_majority_and_no_two_the_same() {
        for node_count in [5, 7] {
            let ring = Cut::MajoritiesRing { order: (0..node_count).rev().collect() };
            let heard = heard(&ring, node_count, None);
            for (node, hears) in heard.iter().enumerate() {
                assert!(hears.len() > node_count / 2 && hears.len() < node_count, "{node_count}: {node} hears {hears:?}");
                assert_eq!(heard.iter().filter(|other| *other == hears).count(), 1, "{heard:?}");
            }
        }
        assert_eq!(heard(&Cut::MajoritiesRing { order: vec![0, 1, 2] }, 3, None), [vec![0, 1], vec![0, 1, 2], vec![1, 2]]);
    }

    #[test]
    fn the_bridge_hears_all_and_the_sides_only_it() {
        let heard = heard(&Cut::Bridge { order: vec![2, 0, 4, 1, 3] }, 5, None);
        assert_eq!(heard, [vec![0, 2, 4], vec![1, 2, 3], vec![0, 1, 2, 3, 4], vec![1, 2, 3], vec![0, 2, 4]]);
    }

    #[test]
    fn a_leader_is_put_on_the_side_of_the_few() {
        let halves = Cut::Halves { order: vec![0, 1, 2, 3, 4], first: 2, leader_first: true };
        assert_eq!(heard(&halves, 5, Some(3))[3], [0, 3]);
        assert_eq!(heard(&halves, 5, None)[3], [2, 3, 4]);
    }

    #[test]
    fn one_way_is_one_way() {
        assert_eq!(Cut::Mute(Target::Node(1)).links(3, None), [(1, 0), (1, 2)]);
        assert_eq!(Cut::Deaf(Target::Leader).links(3, Some(1)), [(0, 1), (2, 1)]);
        assert_eq!(Cut::Pair { from: Target::Leader, to: Target::BehindLeader(1), both_ways: false }.links(3, Some(2)), [(2, 0)]);
        assert_eq!(Cut::Pair { from: Target::Node(0), to: Target::Node(0), both_ways: true }.links(3, None), [(0, 1), (1, 0)]);
    }
}
