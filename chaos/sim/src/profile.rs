//! Named constraints on what a seed may draw.

use std::fmt;
use std::str::FromStr;

use crate::fault::FaultKind;

/// A sort of run. Within it every seed still draws its own mix.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Profile {
    /// Anything may happen, and some of it does.
    #[default]
    Default,
    /// Nothing ever goes wrong.
    Calm,
    /// Processes and disks are sound; the network between them is not.
    Network,
    /// Disks fail in every way that a disk may; the network is sound.
    Disk,
    /// Processes and machines die and come back, again and again.
    Crash,
    /// Logs are so short and nodes away for so long that snapshots are all that brings them back.
    Snapshots,
    /// Many clients, which are lost and come back; few other faults.
    Clients,
    /// Everything at once.
    Storm,
}

impl Profile {
    /// All of them.
    pub const ALL: [Profile; 8] = [
        Profile::Default,
        Profile::Calm,
        Profile::Network,
        Profile::Disk,
        Profile::Crash,
        Profile::Snapshots,
        Profile::Clients,
        Profile::Storm,
    ];

    /// As it is given on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Profile::Default => "default",
            Profile::Calm => "calm",
            Profile::Network => "network",
            Profile::Disk => "disk",
            Profile::Crash => "crash",
            Profile::Snapshots => "snapshots",
            Profile::Clients => "clients",
            Profile::Storm => "storm",
        }
    }

    /// Whether any seed may have faults of this kind.
    pub fn has(self, kind: FaultKind) -> bool {
        self.chance(kind) > 0
    }

    /// Of a hundred seeds, how many have faults of this kind.
    pub(crate) fn chance(self, kind: FaultKind) -> u32 {
        use FaultKind::*;
        let usual = match kind {
            Kills | Cuts | Delays | Clocks => 75,
            Pauses | Loss | SlowSyncs | PowerCuts | FullDisks | Resets => 50,
            Disorder | Weather | Replays | SyncErrors | CrashLoops | LateTicks | RefusedDials | LateStarts => 35,
            WriteErrors | Queues => 25,
            Wipes => 20,
        };
        let is_networks = matches!(kind, Cuts | Resets | RefusedDials | Weather | Replays | Loss | Disorder | Delays | Queues);
        let is_disks = matches!(kind, PowerCuts | CrashLoops | SlowSyncs | SyncErrors | WriteErrors | FullDisks | Wipes);
        let rarely = usual / 4;
        match self {
            Profile::Default => usual,
            Profile::Calm => 0,
            Profile::Storm => 100,
            Profile::Network if is_networks => 80,
            Profile::Network => {
                if matches!(kind, Clocks | Pauses | LateTicks | LateStarts) {
                    usual
                } else {
                    0
                }
            }
            Profile::Disk if is_disks => 80,
            Profile::Disk => {
                if matches!(kind, Kills | Clocks | LateStarts) {
                    usual
                } else {
                    0
                }
            }
            Profile::Crash => match kind {
                Kills | PowerCuts | CrashLoops => 100,
                SyncErrors | WriteErrors | LateStarts | Cuts | Wipes => usual,
                _ => rarely,
            },
            Profile::Snapshots => match kind {
                Cuts | Kills => 100,
                PowerCuts | CrashLoops | FullDisks | Resets | SyncErrors => 60,
                Queues | Loss | Delays => usual,
                _ => rarely,
            },
            Profile::Clients => match kind {
                Kills | Pauses | Delays => usual,
                _ => rarely,
            },
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// No profile has this name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnknownProfile(pub String);

impl fmt::Display for UnknownProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = Profile::ALL.iter().map(|profile| profile.name()).collect();
        write!(f, "there is no profile {}; there are {}", self.0, names.join(", "))
    }
}

impl std::error::Error for UnknownProfile {}

impl FromStr for Profile {
    type Err = UnknownProfile;

    fn from_str(text: &str) -> Result<Profile, UnknownProfile> {
        Profile::ALL.into_iter().find(|profile| profile.name() == text).ok_or_else(|| UnknownProfile(text.to_owned()))
    }
}
