//! A read that a session wants, to be run wherever it may block.

use takt_protocol::batch::StoredBatch;
use takt_protocol::words::{BatchNumber, Offset};
use takt_storage::runs::Slot;
use takt_storage::view::{ReadError, View};

/// Batches of one partition, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Read {
    /// The partition.
    pub slot: Slot,
    /// Where to begin.
    pub from: ReadFrom,
    /// How much at most, in bytes; the first batch may be more.
    pub max_bytes: usize,
}

/// Where a read begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadFrom {
    /// With the batch that holds this offset.
    Offset(Offset),
    /// With this batch.
    Batch(BatchNumber),
}

impl Read {
    /// Reads; this may wait for the disk.
    ///
    /// # Errors
    /// As [`View::read`] and [`View::read_from_batch`].
    pub fn run(&self, view: &View) -> Result<Vec<StoredBatch>, ReadError> {
        match self.from {
            ReadFrom::Offset(offset) => view.read(self.slot, offset, self.max_bytes),
            ReadFrom::Batch(number) => view.read_from_batch(self.slot, number, self.max_bytes),
        }
    }
}
