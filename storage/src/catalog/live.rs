//! The part of the catalog that is in memory: one file that has no run yet.

use std::collections::BTreeMap;

use takt_protocol::words::{BatchNumber, Offset, PartitionChain, Timestamp};

use super::events::OrderEvents;
use crate::{
    journal::Position,
    runs::{Extent, OrderRow, Placed, Slot, SlotSummary},
};

/// The extents and the events of order keys of a file without a run. Once frozen it never changes.
#[derive(Debug)]
pub struct LiveFile {
    start: Position,
    slots: BTreeMap<Slot, LiveSlot>,
    orders: OrderEvents,
}

#[derive(Debug)]
struct LiveSlot {
    chain_before: PartitionChain,
    extents: Vec<Extent>,
}

impl LiveFile {
    /// Of a journal file that starts at `start`; empty.
    pub fn new(start: Position) -> Self {
        Self { start, slots: BTreeMap::new(), orders: OrderEvents::default() }
    }

    /// Where the journal file starts.
    pub fn start(&self) -> Position {
        self.start
    }

    /// Adds a batch; `chain_before` counts for the file's first of its partition.
    ///
    /// # Panics
    /// If it is not behind the partition's last.
    pub fn push(&mut self, extent: Extent, chain_before: PartitionChain) {
        let slot = self
            .slots
            .entry(extent.slot)
            .or_insert_with(|| LiveSlot { chain_before, extents: Vec::new() });
        if let Some(last) = slot.extents.last() {
            assert!(last.batch_number < extent.batch_number, "batches come in their order");
            assert!(last.end_offset <= extent.base_offset, "offsets come in their order");
        }
        slot.extents.push(extent);
    }

    /// Adds events of order keys; those of one key and partition come in their order.
    pub fn push_orders(&mut self, events: impl IntoIterator<Item = OrderRow>) {
        self.orders.extend(events);
    }

    /// All extents by partition and batch number, for a run.
    pub fn extents(&self) -> impl Iterator<Item = &Extent> {
        self.slots.values().flat_map(|slot| &slot.extents)
    }

    /// Each partition's chain before its first batch in the file, for a run.
    pub fn chains(&self) -> impl Iterator<Item = (Slot, PartitionChain)> {
        self.slots.iter().map(|(&slot, live)| (slot, live.chain_before))
    }

    /// All events of order keys, in the order in which they were added, for a run.
    pub fn orders(&self) -> &OrderEvents {
        &self.orders
    }

    /// What the file holds of a partition.
    pub fn summary(&self, slot: Slot) -> Option<SlotSummary> {
        let live = self.slots.get(&slot)?;
        SlotSummary::of(&live.extents, live.chain_before)
    }

    /// The last extent that begins at `offset` or before.
    pub(super) fn at_or_before(&self, slot: Slot, offset: Offset) -> Option<Extent> {
        self.placed_at_or_before(slot, offset).map(|placed| placed.extent)
    }

    /// As [`LiveFile::at_or_before`], with what the batch continues.
    pub(super) fn placed_at_or_before(&self, slot: Slot, offset: Offset) -> Option<Placed> {
        let extents = self.of(slot);
        let behind = extents.partition_point(|extent| extent.base_offset <= offset);
        let last = behind.checked_sub(1)?;
        let in_front = last.checked_sub(1).map(|in_front| extents[in_front]);
        Some(Placed::of(extents[last], in_front, &self.summary(slot)?))
    }

    /// The first extent appended at `time` or later.
    pub(super) fn by_time(&self, slot: Slot, time: Timestamp) -> Option<Extent> {
        let extents = self.of(slot);
        extents.get(extents.partition_point(|extent| extent.append_time < time)).copied()
    }

    /// The extents from a batch number on.
    pub(super) fn batches_from(&self, slot: Slot, from: BatchNumber, max: usize) -> &[Extent] {
        let extents = self.of(slot);
        let rest = &extents[extents.partition_point(|extent| extent.batch_number < from)..];
        &rest[..rest.len().min(max)]
    }

    fn of(&self, slot: Slot) -> &[Extent] {
        self.slots.get(&slot).map_or(&[], |slot| &slot.extents)
    }
}
