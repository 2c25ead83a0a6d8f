//! The part of the catalog that is in memory: one file that has no run yet.

use std::collections::BTreeMap;

use takt_protocol::words::{BatchNumber, Offset, PartitionChain, Timestamp};

use crate::{
    journal::Position,
    ledger::{Entry, KeyTable},
    runs::{Extent, OrderRow, Slot, SlotSummary},
};

/// Events per chunk of the order index.
const CHUNK: usize = 1 << 12;

/// The extents and the order index of a file without a run. Once frozen it never changes.
#[derive(Debug)]
pub struct LiveFile {
    start: Position,
    slots: BTreeMap<Slot, LiveSlot>,
    orders: OrderIndex,
}

#[derive(Debug)]
struct LiveSlot {
    chain_before: PartitionChain,
    extents: Vec<Extent>,
}

impl LiveFile {
    /// Of a journal file that starts at `start`; empty.
    pub fn new(start: Position) -> Self {
        Self { start, slots: BTreeMap::new(), orders: OrderIndex::new() }
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

    /// Adds an event of an order key.
    ///
    /// # Panics
    /// If it is not behind the key's last in its partition.
    pub fn push_order(&mut self, event: OrderRow) {
        self.orders.push(event);
    }

    /// All extents by partition and batch number, for a run.
    pub fn extents(&self) -> impl Iterator<Item = &Extent> {
        self.slots.values().flat_map(|slot| &slot.extents)
    }

    /// Each partition's chain before its first batch in the file, for a run.
    pub fn chains(&self) -> impl Iterator<Item = (Slot, PartitionChain)> {
        self.slots.iter().map(|(&slot, live)| (slot, live.chain_before))
    }

    /// All events of order keys, in no particular order, for a run.
    pub fn orders(&self) -> impl Iterator<Item = OrderRow> {
        self.orders.rows()
    }

    /// The hash of every order key with an event in the file; one may come more than once.
    pub fn order_hashes(&self) -> impl Iterator<Item = u128> {
        self.orders.tails.entries_from(0).map(|tail| tail.hash)
    }

    /// What the file holds of a partition.
    pub fn summary(&self, slot: Slot) -> Option<SlotSummary> {
        let live = self.slots.get(&slot)?;
        SlotSummary::of(&live.extents, live.chain_before)
    }

    /// The last extent that begins at `offset` or before.
    pub(super) fn at_or_before(&self, slot: Slot, offset: Offset) -> Option<Extent> {
        let extents = self.of(slot);
        let behind = extents.partition_point(|extent| extent.base_offset <= offset);
        extents.get(behind.checked_sub(1)?).copied()
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

    /// The order key's offsets behind `after`, ascending.
    pub(super) fn order(
        &self,
        hash: u128,
        slot: Slot,
        after: Option<Offset>,
        max: usize,
    ) -> Vec<Offset> {
        self.orders.history(hash, slot, after, max)
    }

    fn of(&self, slot: Slot) -> &[Extent] {
        self.slots.get(&slot).map_or(&[], |slot| &slot.extents)
    }
}

/// Per order key and partition a list of its events, each linked to the one before: 16 bytes for
/// an event, and what a [`KeyTable`] needs for a key.
struct OrderIndex {
    tails: KeyTable<Tail>,
    /// All full but the last.
    nodes: Vec<Vec<Node>>,
    len: u32,
}

#[derive(Clone, Copy)]
struct Tail {
    hash: u128,
    slot: Slot,
    node: u32,
}

#[derive(Clone, Copy)]
struct Node {
    offset: Offset,
    before: Option<std::num::NonZeroU32>,
}

const _: () = assert!(size_of::<Node>() == 16 && size_of::<Tail>() == 32);

impl Entry for Tail {
    fn hash(&self) -> u128 {
        self.hash
    }
}

impl OrderIndex {
    fn new() -> Self {
        // Node 0 is never used, so that a link fits 32 bits.
        let mut nodes = Vec::with_capacity(CHUNK);
        nodes.push(Node { offset: Offset::new(0), before: None });
        Self { tails: KeyTable::new(usize::MAX), nodes: vec![nodes], len: 1 }
    }

    fn push(&mut self, event: OrderRow) {
        let tail = self.tails.get(event.hash).find(|tail| tail.slot == event.slot).copied();
        let before = tail.and_then(|tail| std::num::NonZeroU32::new(tail.node));
        if let Some(tail) = tail {
            let last = self.node(tail.node);
            assert!(last.offset < event.offset, "an order's events come in their order");
        }
        let node = self.len;
        self.len = self.len.checked_add(1).expect("a file holds fewer than 2^32 events");
        let last = match self.nodes.last_mut() {
            Some(last) if last.len() < CHUNK => last,
            Some(_) | None => {
                self.nodes.push(Vec::with_capacity(CHUNK));
                self.nodes.last_mut().expect("just pushed")
            }
        };
        last.push(Node { offset: event.offset, before });
        let new = Tail { hash: event.hash, slot: event.slot, node };
        self.tails.upsert(new, |tail| tail.slot == event.slot);
    }

    fn node(&self, number: u32) -> &Node {
        &self.nodes[number as usize / CHUNK][number as usize % CHUNK]
    }

    /// From the newest back.
    fn back_from(&self, tail: &Tail) -> impl Iterator<Item = Offset> {
        let first = Some(*self.node(tail.node));
        std::iter::successors(first, |node| node.before.map(|before| *self.node(before.get())))
            .map(|node| node.offset)
    }

    fn history(&self, hash: u128, slot: Slot, after: Option<Offset>, max: usize) -> Vec<Offset> {
        let Some(tail) = self.tails.get(hash).find(|tail| tail.slot == slot) else {
            return Vec::new();
        };
        let behind = |&offset: &Offset| after.is_none_or(|after| after < offset);
        let mut offsets: Vec<Offset> = self.back_from(tail).take_while(behind).collect();
        offsets.reverse();
        offsets.truncate(max);
        offsets
    }

    fn rows(&self) -> impl Iterator<Item = OrderRow> {
        self.tails.entries_from(0).flat_map(|tail| {
            let (hash, slot) = (tail.hash, tail.slot);
            self.back_from(tail).map(move |offset| OrderRow { hash, slot, offset })
        })
    }
}

impl std::fmt::Debug for OrderIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OrderIndex").field("len", &self.len).finish_non_exhaustive()
    }
}
