//! Settings of a store, and what it says of its opening.

use std::time::Duration;

use takt_protocol::words::NodeName;

use crate::journal::{CutTail, Incarnation, JournalOptions, Position};
use crate::kept::PackCompression;
use crate::state::TableLimits;

/// Settings of a store.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// The node: the origin of what is published here. It never changes.
    pub node: NodeName,
    /// Sizes of the journal.
    pub journal: JournalOptions,
    /// How many entries the dedup ledger, and how many the order heads may have.
    pub keys_max: usize,
    /// How many order heads make a generation in memory, of which there are two: those of orders
    /// that went on long ago are read from the disk.
    pub heads_recent: usize,
    /// How many files are kept ready for the journal, at least 1: written full of zeros, or of what
    /// was dropped.
    pub spare_files: usize,
    /// A journal file is left early once it has taught the ledger so many keys: its table, and what
    /// makes its run, are in memory.
    pub file_keys_max: usize,
    /// So many runs of journal files, 31 at most, share a table of their keys and are merged together;
    /// with 1, each has a filter of its own.
    pub generation_runs: usize,
    /// Generations that could be merged wait, while there are few, until no journal file was left for so
    /// long: in a burst files follow each other faster.
    pub merge_pause: Duration,
    /// How many bytes of journal files are kept at least before the oldest are dropped; 0 is
    /// without a limit.
    pub retention_bytes: u64,
    /// How long records are kept at least before the oldest files are dropped.
    pub retention_age: Option<Duration>,
    /// After how long files are archived: packed even where nothing in them has expired. `None` for
    /// never.
    pub pack_after: Option<Duration>,
    /// How packs are written.
    pub pack_compression: PackCompression,
}

impl StoreOptions {
    pub(super) fn table_limits(&self) -> TableLimits {
        TableLimits { keys_max: self.keys_max, heads_recent: self.heads_recent }
    }
}

/// What opening a store came to.
#[derive(Debug, Clone)]
pub struct OpenReport {
    /// The directory was empty.
    pub created: bool,
    /// The journal's incarnation from now on.
    pub incarnation: Incarnation,
    /// Where the new journal file starts: what was proved durable.
    pub synced_upto: Position,
    /// Where the journal goes on.
    pub end: Position,
    /// Commits that were replayed.
    pub replayed_commits: u64,
    /// Commits that were copied above `synced_upto`, in bytes.
    pub copied_bytes: u64,
    /// What was cut off behind the journal's end and never acknowledged.
    pub cut: Option<CutTail>,
    /// The disk was full: the reserve was used.
    pub used_reserve: bool,
    /// Merged runs that keys are looked up in.
    pub runs_merged: usize,
    /// Packs that stand for journal files.
    pub packs: usize,
    /// Runs that were damaged and are made again.
    pub runs_rebuilt: usize,
}
