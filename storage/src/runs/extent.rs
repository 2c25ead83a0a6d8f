//! Where a stored batch is, and the addresses that go with it.

use takt_protocol::words::{BatchNumber, Offset, PartitionChain, Timestamp};

use crate::journal::Position;

/// A partition's number on this node, given as partitions appear: 0, 1, 2, ...
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(u32);

impl Slot {
    /// Wraps the number.
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl std::fmt::Display for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// One stored batch of one partition, and where its bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// The partition.
    pub slot: Slot,
    /// The batch.
    pub batch_number: BatchNumber,
    /// The offset of its first visible record, or of the next one where none is visible.
    pub base_offset: Offset,
    /// The offset behind its last visible record.
    pub end_offset: Offset,
    /// When its origin appended it.
    pub append_time: Timestamp,
    /// Where the stored batch's first byte is in the journal.
    pub position: Position,
    /// Length of the stored batch in bytes.
    pub len_bytes: u32,
}

impl Extent {
    /// Whether the batch holds the record at `offset`.
    pub fn contains(&self, offset: Offset) -> bool {
        self.base_offset <= offset && offset < self.end_offset
    }
}

/// A batch's place, and what the batch continues: by that its bytes verify without those around them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// The batch.
    pub extent: Extent,
    /// Where the partition's chain before it is; `None` where that is not at hand.
    pub chain_before: Option<ChainBefore>,
}

/// Where the chain before a batch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChainBefore {
    /// Here.
    Known(PartitionChain),
    /// In the header of the batch in front of it.
    In(Extent),
}

impl Placed {
    /// The last of one partition's batches in a file, which begin with what `summary` says.
    pub(crate) fn of(last: Extent, in_front: Option<Extent>, summary: &SlotSummary) -> Self {
        let chain_before = if last.batch_number == summary.first_batch {
            Some(ChainBefore::Known(summary.chain_before))
        } else {
            in_front.map(ChainBefore::In)
        };
        Self { extent: last, chain_before }
    }
}

/// The address of a record without an offset, on this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MaskedAddress {
    /// The partition.
    pub slot: Slot,
    /// The batch that holds the record.
    pub batch_number: BatchNumber,
    /// The record's place in the batch, from 0.
    pub index: u16,
}

/// One event of an order key: rows of one key and partition, sorted, are its history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct OrderRow {
    /// The node's hash of topic and order key.
    pub hash: u128,
    /// The partition.
    pub slot: Slot,
    /// Where the event is.
    pub offset: Offset,
}

/// What one file holds of one partition; there is at least one batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotSummary {
    /// The partition.
    pub slot: Slot,
    /// How many batches the file holds of it.
    pub batches: u32,
    /// The first batch.
    pub first_batch: BatchNumber,
    /// The number behind the last batch's.
    pub end_batch: BatchNumber,
    /// The first batch's base offset.
    pub first_offset: Offset,
    /// The last batch's end offset.
    pub end_offset: Offset,
    /// The first batch's append time.
    pub first_time: Timestamp,
    /// The last batch's append time.
    pub last_time: Timestamp,
    /// The partition's chain before the first batch.
    pub chain_before: PartitionChain,
}

impl SlotSummary {
    /// Of one partition's batches in a file, in their order; `None` of none.
    pub fn of(extents: &[Extent], chain_before: PartitionChain) -> Option<Self> {
        let (first, last) = (extents.first()?, extents.last()?);
        Some(Self {
            slot: first.slot,
            batches: u32::try_from(extents.len()).expect("a file holds fewer than 2^32 batches"),
            first_batch: first.batch_number,
            end_batch: last.batch_number.advance(1),
            first_offset: first.base_offset,
            end_offset: last.end_offset,
            first_time: first.append_time,
            last_time: last.append_time,
            chain_before,
        })
    }
}
