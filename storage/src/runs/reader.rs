//! What a journal file's run says of its batches: verified at its head when it is opened, and block
//! by block when it is used.

use std::collections::BTreeMap;

use takt_protocol::words::{BatchNumber, Offset, Timestamp};

use super::{
    error::RunError,
    extent::{Extent, MaskedAddress, OrderRow, Placed, Slot, SlotSummary},
    header::Section,
    info::RunInfo,
    opened::{Opened, Source},
    row::Row,
    table::{Block, Table},
};
use crate::{disk::Disk, journal::JournalId};

/// A run that answers where batches are, [`super::KeyRun`] which keys it has. It stays readable when its
/// name is removed.
#[derive(Debug)]
pub struct RunReader {
    info: RunInfo,
    source: Source,
    extents: Table<Extent>,
    orders: Table<OrderRow>,
    conflicts: Table<MaskedAddress>,
    slots: BTreeMap<Slot, SlotSummary>,
}

impl RunReader {
    /// Opens the run of a journal file that the manifest of `journal` names, and verifies its head.
    ///
    /// # Errors
    /// [`RunError`] if it is missing, damaged, another than the named one, or cannot be read.
    pub fn open(disk: &dyn Disk, journal: JournalId, info: &RunInfo) -> Result<Self, RunError> {
        let opened = Opened::open(disk, info.name(), journal, info)?;
        let extents = table(&opened, Section::Extents)?;
        let orders = table(&opened, Section::Orders)?;
        let conflicts = table(&opened, Section::Conflicts)?;
        let summaries: Table<SlotSummary> = table(&opened, Section::Slots)?;
        let source = opened.source;
        let mut slots = BTreeMap::new();
        for summary in summaries.stream(&source) {
            let summary = summary?;
            slots.insert(summary.slot, summary);
        }
        Ok(Self { info: *info, source, extents, orders, conflicts, slots })
    }

    /// What the manifest says of it.
    pub fn info(&self) -> &RunInfo {
        &self.info
    }

    /// All extents by partition and batch number, a block at a time; ends behind the first error.
    pub fn extents(&self) -> impl Iterator<Item = Result<Extent, RunError>> + '_ {
        self.extents.stream(&self.source)
    }

    /// The addresses of the conflicts that the file listed, whether decided since or not.
    pub fn conflicts(&self) -> impl Iterator<Item = Result<MaskedAddress, RunError>> + '_ {
        self.conflicts.stream(&self.source)
    }

    /// What it holds of each partition, by slot. In memory.
    pub fn slots(&self) -> impl Iterator<Item = &SlotSummary> {
        self.slots.values()
    }

    /// What it holds of a partition. In memory.
    pub fn slot(&self, slot: Slot) -> Option<&SlotSummary> {
        self.slots.get(&slot)
    }

    /// The partition's first batch here.
    ///
    /// # Errors
    /// [`RunError`]
    pub fn first_extent(&self, slot: Slot) -> Result<Option<Extent>, RunError> {
        let Some(summary) = self.slot(slot) else { return Ok(None) };
        self.extent_by_batch(slot, summary.first_batch)
    }

    /// The partition's last batch here.
    ///
    /// # Errors
    /// [`RunError`]
    pub fn last_extent(&self, slot: Slot) -> Result<Option<Extent>, RunError> {
        self.extent_at_or_before(slot, Offset::new(u64::MAX))
    }

    /// The partition's last batch with a base offset of at most `offset`. It holds the record at
    /// `offset` if any batch here does.
    ///
    /// # Errors
    /// [`RunError`]
    pub fn extent_at_or_before(
        &self,
        slot: Slot,
        offset: Offset,
    ) -> Result<Option<Extent>, RunError> {
        let found = self.extents.last_before(&self.source, &mut None, begins(slot, offset))?;
        Ok(found.map(|(extent, _)| extent).filter(|extent| extent.slot == slot))
    }

    /// As [`RunReader::extent_at_or_before`], with what the batch continues. What was read stays in
    /// `kept`, which is of this run, for the next look-up.
    ///
    /// # Errors
    /// [`RunError`]
    pub(crate) fn placed_at_or_before(
        &self,
        slot: Slot,
        offset: Offset,
        kept: &mut KeptExtents,
    ) -> Result<Option<Placed>, RunError> {
        let Some(summary) = self.slot(slot) else { return Ok(None) };
        let found = self.extents.last_before(&self.source, &mut kept.0, begins(slot, offset))?;
        let found = found.filter(|(extent, _)| extent.slot == slot);
        Ok(found.map(|(last, in_front)| Placed::of(last, in_front, summary)))
    }

    /// Has fetched what [`RunReader::extent_at_or_before`] reads.
    pub(crate) fn prefetch_extent(&self, slot: Slot, offset: Offset) {
        self.extents.prefetch(&self.source, begins(slot, offset));
    }

    /// The batch with this number.
    ///
    /// # Errors
    /// [`RunError`]
    pub fn extent_by_batch(
        &self,
        slot: Slot,
        batch: BatchNumber,
    ) -> Result<Option<Extent>, RunError> {
        let before = |row: &Extent| row.key() < (slot, batch);
        let found = self.extents.first_behind(&self.source, before)?;
        Ok(found.filter(|extent| extent.key() == (slot, batch)))
    }

    /// The partition's first batch that was appended at `time` or later.
    ///
    /// # Errors
    /// [`RunError`]
    pub fn extent_by_time(&self, slot: Slot, time: Timestamp) -> Result<Option<Extent>, RunError> {
        let before = |row: &Extent| (row.slot, row.append_time) < (slot, time);
        let found = self.extents.first_behind(&self.source, before)?;
        Ok(found.filter(|extent| extent.slot == slot))
    }

    /// The partition's batches from number `from` on, at most `max`.
    ///
    /// # Errors
    /// [`RunError`]
    pub fn extents_from(
        &self,
        slot: Slot,
        from: BatchNumber,
        max: usize,
    ) -> Result<Vec<Extent>, RunError> {
        let before = |row: &Extent| row.key() < (slot, from);
        self.extents.range(&self.source, before, |row| row.slot == slot, max)
    }

    /// The offsets of an order key's events in a partition behind `after` (from the first without
    /// it), ascending, at most `max`.
    ///
    /// # Errors
    /// [`RunError`]
    pub fn order(
        &self,
        hash: u128,
        slot: Slot,
        after: Option<Offset>,
        max: usize,
    ) -> Result<Vec<Offset>, RunError> {
        let wanted = |row: &OrderRow| (row.hash, row.slot) == (hash, slot);
        let rows = self.orders.range(&self.source, is_passed(hash, slot, after), wanted, max)?;
        Ok(rows.into_iter().map(|row| row.offset).collect())
    }

    /// Has fetched what [`RunReader::order`] reads first.
    pub(crate) fn prefetch_order(&self, hash: u128, slot: Slot, after: Option<Offset>) {
        self.orders.prefetch(&self.source, is_passed(hash, slot, after));
    }

    /// Reads and verifies all that is answered from here.
    ///
    /// # Errors
    /// [`RunError`] with the first damage.
    pub fn verify(&self) -> Result<(), RunError> {
        self.extents().try_for_each(|row| row.map(drop))?;
        self.orders.stream(&self.source).try_for_each(|row| row.map(drop))?;
        self.conflicts().try_for_each(|row| row.map(drop))
    }
}

/// Extents that a look-up has read.
#[derive(Debug, Default)]
pub(crate) struct KeptExtents(Option<Block<Extent>>);

/// The batches that begin at `offset` of the partition or in front of it.
fn begins(slot: Slot, offset: Offset) -> impl Fn(&Extent) -> bool {
    move |row| (row.slot, row.base_offset) <= (slot, offset)
}

/// The events in front of those of an order key behind `after`.
fn is_passed(hash: u128, slot: Slot, after: Option<Offset>) -> impl Fn(&OrderRow) -> bool {
    move |row| match after {
        Some(after) => *row <= OrderRow { hash, slot, offset: after },
        None => (row.hash, row.slot) < (hash, slot),
    }
}

fn table<R: Row>(opened: &Opened, section: Section) -> Result<Table<R>, RunError> {
    let table = Table::open(opened.part(section));
    table.ok_or_else(|| opened.source.corrupt("a fence is not well formed"))
}
