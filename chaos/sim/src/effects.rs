//! What faults have done. A fault that was planned and changed nothing has tested nothing: so what is counted is its effect.

use std::fmt;
use std::ops::{AddAssign, Index, IndexMut};

macro_rules! effects {
    ($($(#[$doc:meta])* $effect:ident = $name:literal,)*) => {
        /// Something that a fault has done.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub enum Effect {
            $($(#[$doc])* $effect,)*
        }

        impl Effect {
            /// All of them.
            pub const ALL: [Effect; [$($name),*].len()] = [$(Effect::$effect),*];

            /// Its name, for reports.
            pub fn name(self) -> &'static str {
                match self {
                    $(Effect::$effect => $name,)*
                }
            }
        }
    };
}

effects! {
    /// A process was killed; its system lived on.
    Killed = "killed",
    /// A machine lost power.
    PowerLost = "power-lost",
    /// All machines did at once.
    BlackOut = "black-out",
    /// Sectors that were written and not synced, and are gone.
    LostSector = "lost-sector",
    /// Recovery was cut short.
    RecoveryCut = "recovery-cut",
    /// Recovery found the disk full, and was tried again.
    RecoveryFull = "recovery-full",
    /// A process stood still.
    Paused = "paused",
    /// Ticks came as a gap, longer than a heartbeat.
    Gap = "gap",
    /// A tick came late.
    LateTick = "late-tick",
    /// Links were cut.
    Cut = "cut",
    /// A message met a cut.
    CutMessage = "cut-message",
    /// A message was lost, or had to be sent again.
    LostMessage = "lost-message",
    /// A message came twice.
    TwiceMessage = "twice-message",
    /// A message was dropped: there was no room for it.
    NoRoom = "no-room",
    /// A message came when nobody read its connection any more.
    TooLate = "too-late",
    /// An old message was read once more.
    Replayed = "replayed",
    /// A connection was broken.
    Reset = "reset",
    /// A connection was given up: its other end had been silent.
    Silence = "silence",
    /// A dial met nobody.
    NobodyThere = "nobody-there",
    /// A dial was turned away.
    TurnedAway = "turned-away",
    /// A link changed for a while.
    Weather = "weather",
    /// A sync took longer than an election timeout.
    SlowSync = "slow-sync",
    /// A sync failed, and the node stopped.
    SyncError = "sync-error",
    /// A write failed, and the node stopped.
    WriteError = "write-error",
    /// A disk was full while its node ran.
    FullDisk = "full-disk",
    /// A directory was lost.
    Wiped = "wiped",
}

/// How often each happened.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Effects([u64; Effect::ALL.len()]);

impl Effects {
    /// Those that happened.
    pub fn iter(&self) -> impl Iterator<Item = (Effect, u64)> {
        Effect::ALL.into_iter().map(|effect| (effect, self[effect])).filter(|(_, count)| *count > 0)
    }
}

impl Index<Effect> for Effects {
    type Output = u64;

    fn index(&self, effect: Effect) -> &u64 {
        &self.0[effect as usize]
    }
}

impl IndexMut<Effect> for Effects {
    fn index_mut(&mut self, effect: Effect) -> &mut u64 {
        &mut self.0[effect as usize]
    }
}

impl AddAssign<&Effects> for Effects {
    fn add_assign(&mut self, other: &Effects) {
        self.0.iter_mut().zip(other.0).for_each(|(sum, more)| *sum += more);
    }
}

impl fmt::Debug for Effects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(|(effect, count)| (effect.name(), count))).finish()
    }
}
