//! The figures of a store.

use crate::journal::Position;

/// What an operator wants to know of a store, as of the last durable commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Status {
    /// The journal's oldest position that is kept.
    pub journal_start: Position,
    /// What is durable (exclusive).
    pub journal_durable: Position,
    /// Journal files, the one that is written included.
    pub journal_files: usize,
    /// What the journal files take on disk, in bytes.
    pub journal_bytes: u64,
    /// Packs, which stand for journal files.
    pub packs: usize,
    /// What the packs take on disk, in bytes.
    pub packs_bytes: u64,
    /// Files that are ready for the journal.
    pub spare_files: usize,
    /// Entries of the dedup ledger.
    pub keys: usize,
    /// What the ledger and the order heads take in memory, in bytes, about a second ago.
    pub keys_memory_bytes: usize,
    /// What their runs take on disk, in bytes.
    pub keys_disk_bytes: u64,
    /// Runs that a look-up of a key meets at most.
    pub runs: usize,
    /// How many it may have.
    pub keys_max: usize,
    /// Order keys with a head.
    pub orders: usize,
    /// The disk is full: nothing is published or mirrored.
    pub full: bool,
    /// Open conflicts that are listed.
    pub conflicts: usize,
    /// What the side files with open conflicts of dropped files take, in bytes.
    pub conflicts_kept_bytes: u64,
    /// Side files have no more room: the oldest file cannot be dropped before conflicts are
    /// decided.
    pub conflicts_kept_full: bool,
    /// Producers that are known.
    pub producers: usize,
    /// Since the start of the node.
    pub counters: Counters,
}

/// What was counted since the start of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Commits, marks included.
    pub commits: u64,
    /// Batches judged.
    pub batches: u64,
    /// Records judged.
    pub records: u64,
    /// Records that became events.
    pub visible: u64,
    /// Records that were repeats.
    pub duplicates: u64,
    /// Records whose key had other content.
    pub conflicts: u64,
    /// Records without a dedup key.
    pub no_identity: u64,
    /// Batches that were refused.
    pub refused: u64,
    /// Batches that were refused since a run that may know their keys did not read.
    pub unreadable: u64,
    /// Batches of other origins.
    pub mirrored: u64,
    /// Journal files that were to be dropped, but their open conflicts found no room in side
    /// files.
    pub retention_blocked: u64,
}
