//! What applying entries changed, for those who read the state from outside.

use std::collections::BTreeSet;

use takt_protocol::words::{CursorName, NodeName, PartitionChain, TopicName};

use crate::entry::{PackFile, SealedFile, SideFile};
use crate::journal::Position;
use crate::runs::{Extent, MaskedAddress, OrderRow, RunInfo, Slot};

/// What the entries of a commit changed. Readers see it when the commit is durable.
#[derive(Debug, Clone, Default)]
pub struct Effects {
    /// Batches with the chain before each.
    pub batches: Vec<(Extent, PartitionChain)>,
    /// Events with an order key.
    pub orders: Vec<OrderRow>,
    /// Conflicts that were listed.
    pub conflicts: Vec<MaskedAddress>,
    /// Partitions that were made, moved or trimmed.
    pub slots: BTreeSet<Slot>,
    /// Topics that were made or have other settings.
    pub topics: Vec<(TopicName, NodeName)>,
    /// Cursors that were set or removed.
    pub cursors: BTreeSet<CursorName>,
    /// Journal files whose run is there.
    pub sealed: Vec<SealedFile>,
    /// Side files that are named now.
    pub sides: Vec<SideFile>,
    /// Merged runs that are named now.
    pub merged: Vec<RunInfo>,
    /// Runs and packs that nothing names any more, by the names of their files.
    pub unnamed: Vec<String>,
    /// Packs that are named now.
    pub packs: Vec<PackFile>,
    /// Journal files that were dropped.
    pub dropped: Vec<Position>,
}
