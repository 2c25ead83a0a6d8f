//! Writes the run of a journal file: sorts what it gets, and drops what is overtaken.

use std::{collections::BTreeMap, io};

use takt_protocol::words::PartitionChain;

use super::{
    extent::{Extent, MaskedAddress, OrderRow, Slot, SlotSummary},
    file::{Covered, RunFile, temporary},
    header::Section,
    info::{RunCounts, RunInfo},
    row::Row,
};
use crate::{
    disk::Disk,
    journal::{Incarnation, JournalId, Position},
    ledger::{HeadEntry, LedgerEntry},
};

/// What a run is made from, frozen at the roll; in any order.
#[derive(Debug, Clone)]
pub struct RunInput {
    /// The journal.
    pub journal: JournalId,
    /// Where its file starts.
    pub start: Position,
    /// The exclusive end of what the file covers.
    pub end: Position,
    /// The file's incarnation.
    pub incarnation: Incarnation,
    /// What the file taught the ledger. Of entries of one kind for one content the last one counts.
    pub ledger: Vec<LedgerEntry>,
    /// The heads of the order keys that have events in the file. Of two for one key the last one
    /// counts.
    pub heads: Vec<HeadEntry>,
    /// Order keys whose first event is in the file.
    pub new_orders: u64,
    /// The file's batches.
    pub extents: Vec<Extent>,
    /// Each partition's chain before its first batch in the file.
    pub chains: BTreeMap<Slot, PartitionChain>,
    /// The file's events with an order key.
    pub orders: Vec<OrderRow>,
    /// The conflicts that the file listed.
    pub conflicts: Vec<MaskedAddress>,
}

/// Why a run was not written.
#[derive(Debug, thiserror::Error)]
#[error("the run {name} could not be written")]
pub struct RunWriteError {
    /// The file's name.
    pub name: String,
    /// What the disk said.
    #[source]
    pub error: io::Error,
}

/// Writes runs.
#[derive(Debug)]
pub struct RunWriter;

impl RunWriter {
    /// Writes a run and makes it durable under its name; one that is there under that name, from
    /// an earlier attempt, is replaced. The same input gives the same bytes. Its rows are sorted
    /// afterwards, without those that are overtaken.
    ///
    /// # Errors
    /// [`RunWriteError`] if the disk fails; what was written is removed if that is possible, and
    /// at the next attempt otherwise.
    ///
    /// # Panics
    /// If a partition with batches has no chain.
    pub fn write(disk: &dyn Disk, input: &mut RunInput) -> Result<RunInfo, RunWriteError> {
        let slots = input.prepare();
        let name = RunInfo {
            start: input.start,
            end: input.end,
            incarnation: input.incarnation,
            checksum: 0,
            counts: RunCounts::default(),
        }
        .name();
        write_file(disk, &name, input, &slots).map_err(|error| {
            // The first error counts; a rest is removed at the next attempt.
            let _ = disk.remove(&temporary(&name));
            RunWriteError { name, error }
        })
    }
}

impl RunInput {
    /// Sorts all and drops what is overtaken; returns the partitions' summaries.
    fn prepare(&mut self) -> Vec<SlotSummary> {
        sort_last_wins(&mut self.ledger);
        sort_last_wins(&mut self.heads);
        sort_last_wins(&mut self.extents);
        // Equal ones are the same.
        sort_uniform(&mut self.orders, |row| row.hash);
        self.orders.dedup();
        sort_last_wins(&mut self.conflicts);
        let slots = self.extents.chunk_by(|a, b| a.slot == b.slot);
        let summaries = slots.map(|extents| {
            let chain = self.chains.get(&extents[0].slot);
            let chain = *chain.expect("each partition in a file has a chain before it");
            SlotSummary::of(extents, chain).expect("a group is not empty")
        });
        summaries.collect()
    }
}

/// Sorts rows whose keys begin with a hash: those of like hashes come together first, so that each
/// lot is sorted in the cache.
fn sort_uniform<R: Row>(rows: &mut Vec<R>, hash: impl Fn(&R) -> u128) {
    const LOTS: usize = 1 << 9;
    let Some(first) = rows.first().copied() else { return };
    let lot = |row: &R| (hash(row) >> (u128::BITS - LOTS.trailing_zeros())) as usize;
    let mut ends = vec![0; LOTS + 1];
    for row in rows.iter() {
        ends[lot(row) + 1] += 1;
    }
    for lot in 1..ends.len() {
        ends[lot] += ends[lot - 1];
    }
    let starts = ends.clone();
    let mut sorted = vec![first; rows.len()];
    for row in rows.iter() {
        let end = &mut ends[lot(row)];
        sorted[*end] = *row;
        *end += 1;
    }
    for range in starts.windows(2) {
        sorted[range[0]..range[1]].sort_unstable_by_key(Row::key);
    }
    *rows = sorted;
}

fn sort_last_wins<R: Row>(rows: &mut Vec<R>) {
    rows.sort_by_key(Row::key);
    rows.dedup_by(|later, kept| {
        let same = later.key() == kept.key();
        if same {
            *kept = *later;
        }
        same
    });
}

fn write_file(
    disk: &dyn Disk,
    name: &str,
    input: &RunInput,
    slots: &[SlotSummary],
) -> io::Result<RunInfo> {
    let mut file = RunFile::create(disk, name.to_owned())?;
    file.begin_keys(Section::Ledger, input.ledger.len() as u64)?;
    input.ledger.iter().try_for_each(|row| file.push_key(row))?;
    file.begin_keys(Section::Heads, input.heads.len() as u64)?;
    input.heads.iter().try_for_each(|row| file.push_key(row))?;
    file.begin(Section::Extents)?;
    input.extents.iter().try_for_each(|row| file.push(row))?;
    file.begin(Section::Orders)?;
    input.orders.iter().try_for_each(|row| file.push(row))?;
    file.begin(Section::Conflicts)?;
    input.conflicts.iter().try_for_each(|row| file.push(row))?;
    file.begin(Section::Slots)?;
    slots.iter().try_for_each(|row| file.push(row))?;
    let RunInput { journal, start, end, incarnation, new_orders, .. } = *input;
    file.finish(disk, Covered { journal, incarnation, start, end, new_orders })
}
