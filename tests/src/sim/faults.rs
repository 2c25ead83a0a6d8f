//! What goes wrong: the kinds of faults, how often each one fired, and which ways a start took.

use std::collections::BTreeMap;

macro_rules! kinds {
    ($(#[$outer:meta])* $name:ident { $($(#[$doc:meta])* $kind:ident = $text:literal,)* }) => {
        $(#[$outer])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$doc])* $kind,)*
        }

        impl $name {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$kind,)*];

            /// As reports name it.
            pub const fn text(self) -> &'static str {
                match self {
                    $(Self::$kind => $text,)*
                }
            }
        }
    };
}

kinds! {
    /// A fault.
    Fault {
        /// The process dies between two things that it does.
        Kill = "kill",
        /// The process dies within the write or the sync of a commit.
        KillInCommit = "kill_in_commit",
        /// The power goes between two things that a node does.
        PowerCut = "power_cut",
        /// The power goes within the write or the sync of a commit.
        PowerCutInCommit = "power_cut_in_commit",
        /// The power goes after a commit's sync and before anyone hears of it.
        PowerCutAfterSync = "power_cut_after_sync",
        /// The power goes within a background job: a spare, a run, a side file, the index.
        PowerCutInJob = "power_cut_in_job",
        /// The power goes within a start.
        PowerCutInStart = "power_cut_in_start",
        /// A sync fails, and what it was to write is gone.
        SyncFails = "sync_fails",
        /// A write fails half way.
        WriteFails = "write_fails",
        /// Reads fail for a while.
        ReadsFail = "reads_fail",
        /// The disk has no more room for a while.
        DiskFull = "disk_full",
        /// The disk takes seconds for a sync.
        DiskSlow = "disk_slow",
        /// A bit of a file turns.
        Rot = "rot",
        /// A bit turns in what was written last, and then the process dies.
        RotAtEnd = "rot_at_end",
        /// A plant is started from a copy of its disk that is older than what it has sent.
        Restored = "restored",
        /// A producer sends a sequence again with other content.
        Forged = "forged",
        /// A commit's write lands elsewhere in its file.
        Misdirect = "misdirect",
        /// A node stops and starts.
        Restart = "restart",
        /// A connection is lost.
        ConnectionCut = "connection_cut",
        /// Nothing passes between two hosts.
        Partition = "partition",
        /// Nothing passes from one host to another; the way back is open.
        HalfPartition = "half_partition",
        /// Packets are lost, doubled and overtaken for a while.
        Noise = "noise",
        /// A wall clock jumps by up to ten years.
        ClockJumps = "clock_jumps",
        /// A wall clock stands still for a while.
        ClockStops = "clock_stops",
        /// An adapter dies and begins again from its outbox.
        AdapterCrash = "adapter_crash",
        /// An adapter is paused, another takes over its name, and then it goes on.
        AdapterZombie = "adapter_zombie",
        /// A consumer dies and begins again from its cursor.
        ConsumerCrash = "consumer_crash",
        /// A peer sends rubbish.
        Hostile = "hostile",
        /// The disk of a plant answers syncs and keeps nothing, until the power goes.
        SyncLies = "sync_lies",
    }
}

kinds! {
    /// A way that a start can take.
    Branch {
        /// Of an empty directory.
        Created = "created",
        /// After a clean stop: there was nothing to copy.
        Clean = "clean",
        /// Valid commits above what was proved durable were copied.
        Copied = "copied",
        /// A tail was cut off.
        Cut = "cut",
        /// Commits were replayed behind the newest snapshot.
        Replayed = "replayed",
        /// Runs had been merged.
        Merged = "merged",
        /// Packs stood for journal files.
        Packed = "packed",
        /// A run was damaged and is made again.
        RunRebuilt = "run_rebuilt",
        /// The disk was full, and the reserve was used.
        UsedReserve = "used_reserve",
        /// Refused: what was proved durable is damaged.
        Refused = "refused",
        /// Broken off by another crash, and begun again.
        Interrupted = "interrupted",
    }
}

kinds! {
    /// What came of a disk that had lied about its syncs.
    Lie {
        /// Nothing was lost that anybody had been answered.
        Harmless = "harmless",
        /// The start refuses: what was proved durable is damaged or not there.
        Refused = "refused",
        /// A look through the directory finds damage.
        Damaged = "damaged",
        /// The hub holds more than the plant, and their link has diverged.
        Diverged = "diverged",
        /// The hub holds no more than the plant; a producer that still runs has receipts for more,
        /// and its session ends as diverged when it connects.
        Remembered = "remembered",
        /// Nobody who still runs holds more than the plant or remembers more: nobody can tell.
        Untold = "untold",
        /// Faults have ended before the plant and the hub had met.
        CutShort = "cut_short",
    }
}

kinds! {
    /// Why something is kept no longer.
    Dropping {
        /// There was more than is to be kept, or it may have been older too.
        Size = "size",
        /// It was older than is to be kept.
        Age = "age",
        /// There was more than is to be kept of its topic, or it may have been older too.
        TopicSize = "topic_size",
        /// It was older than is to be kept of its topic.
        TopicAge = "topic_age",
        /// A plant has forgotten keys, which the horizon had passed.
        Horizon = "horizon",
        /// A later event of its order had taken its place.
        Compacted = "compacted",
    }
}

/// How often each kind of something was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally<K: Ord> {
    counts: BTreeMap<K, u64>,
}

impl<K: Ord> Default for Tally<K> {
    fn default() -> Self {
        Self { counts: BTreeMap::new() }
    }
}

impl<K: Ord + Copy> Tally<K> {
    /// It was seen.
    pub fn count(&mut self, kind: K) {
        *self.counts.entry(kind).or_default() += 1;
    }

    /// How often it was seen.
    pub fn of(&self, kind: K) -> u64 {
        self.counts.get(&kind).copied().unwrap_or_default()
    }

    /// How often anything was seen.
    pub fn total(&self) -> u64 {
        self.counts.values().sum()
    }

    /// Adds what another has counted.
    pub fn add(&mut self, other: &Self) {
        for (kind, count) in &other.counts {
            *self.counts.entry(*kind).or_default() += count;
        }
    }
}

impl Fault {
    /// Whether a node loses its memory by it.
    pub const fn is_crash(self) -> bool {
        matches!(
            self,
            Self::Kill
                | Self::KillInCommit
                | Self::PowerCut
                | Self::PowerCutInCommit
                | Self::PowerCutAfterSync
                | Self::PowerCutInJob
        )
    }
}
