//! Reading batches and chains.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use takt_protocol::batch::StoredBatch;
use takt_protocol::chunks::Chunks;
use takt_protocol::words::{BatchNumber, Offset, PartitionChain, Timestamp};

use super::{PartitionView, ReadError, View};
use crate::journal::ReadError as JournalError;
use crate::runs::{Extent, Slot};

/// How many batches are looked up at a time.
const PAGE: usize = 64;

impl View {
    /// Batches of a partition, the one that holds the record at `from` first, then those behind
    /// it while they fit `max_bytes`; at least one. Batches without a visible record are left
    /// out. Empty at the durable end.
    ///
    /// # Errors
    /// [`ReadError`]; [`ReadError::Trimmed`] where `from` is below the partition's start.
    pub fn read(
        &self,
        slot: Slot,
        from: Offset,
        max_bytes: usize,
    ) -> Result<Vec<StoredBatch>, ReadError> {
        self.trimmed_if_gone(slot, || {
            let partition = self.partition(slot).ok_or(ReadError::NotFound)?;
            if from < partition.start {
                return Err(ReadError::Trimmed { start: partition.start });
            }
            if from >= partition.end {
                return Ok(Vec::new());
            }
            let first = self.catalog().find(slot, from)?;
            let first = first.ok_or_else(|| missing(slot, &format!("offset {from}")))?;
            self.collect(&partition, first.batch_number, max_bytes, |extent| {
                extent.base_offset < extent.end_offset
            })
        })
    }

    /// Batches of a partition from number `from` on, while they fit `max_bytes`; at least one.
    /// Empty at the durable end.
    ///
    /// # Errors
    /// As [`View::read`].
    pub fn read_from_batch(
        &self,
        slot: Slot,
        from: BatchNumber,
        max_bytes: usize,
    ) -> Result<Vec<StoredBatch>, ReadError> {
        self.trimmed_if_gone(slot, || {
            let partition = self.partition(slot).ok_or(ReadError::NotFound)?;
            if from < partition.start_batch {
                return Err(ReadError::Trimmed { start: partition.start });
            }
            self.collect(&partition, from, max_bytes, |_| true)
        })
    }

    /// The chain before a batch, from the partition's start to its durable end; `None` outside.
    ///
    /// # Errors
    /// As [`View::read`].
    pub fn chain_at(
        &self,
        slot: Slot,
        batch: BatchNumber,
    ) -> Result<Option<PartitionChain>, ReadError> {
        self.trimmed_if_gone(slot, || {
            let partition = self.partition(slot).ok_or(ReadError::NotFound)?;
            if batch == partition.end_batch {
                return Ok(Some(partition.chain));
            }
            if batch == partition.start_batch {
                return Ok(Some(partition.start_chain));
            }
            if batch < partition.start_batch || batch > partition.end_batch {
                return Ok(None);
            }
            let before = BatchNumber::new(batch.get() - 1);
            let extent = self.catalog().find_batch(slot, before)?;
            let extent = extent.ok_or_else(|| missing(slot, &format!("batch {before}")))?;
            Ok(Some(self.batch(&extent)?.header().chain))
        })
    }

    /// The offset of the first record that was appended at `time` or later; the durable end where
    /// none was.
    ///
    /// # Errors
    /// As [`View::read`].
    pub fn offset_at(&self, slot: Slot, time: Timestamp) -> Result<Offset, ReadError> {
        let partition = self.partition(slot).ok_or(ReadError::NotFound)?;
        let found = match self.indexed_time(slot, time)? {
            Some(extent) => Some(extent),
            None => self.noted(self.catalog().find_time(slot, time))?,
        };
        Ok(found.map_or(partition.end, |extent| extent.base_offset.max(partition.start)))
    }

    /// The first batch at `time` or later, where the index names the sealed file that holds it.
    fn indexed_time(&self, slot: Slot, time: Timestamp) -> Result<Option<Extent>, ReadError> {
        let file = self.ask_index(|index| index.file_at(slot, time)).flatten();
        // Where the file begins at that very time, one before it may end at it.
        let file = file.filter(|(_, held)| held.first_time < time && time <= held.last_time);
        let Some((start, held)) = file else { return Ok(None) };
        let run = self.catalog().run(start).filter(|run| run.slot(slot) == Some(&held));
        let found = run.map(|run| run.extent_by_time(slot, time)).transpose();
        Ok(self.noted(found)?.flatten())
    }

    fn collect(
        &self,
        partition: &PartitionView,
        mut from: BatchNumber,
        max_bytes: usize,
        wanted: impl Fn(&Extent) -> bool,
    ) -> Result<Vec<StoredBatch>, ReadError> {
        let mut batches = Vec::new();
        let mut bytes = 0;
        while from < partition.end_batch {
            let page = self.catalog().page(partition.slot, from, PAGE)?;
            if page.first().is_none_or(|extent| extent.batch_number != from) {
                return Err(missing(partition.slot, &format!("batch {from}")));
            }
            for extent in page {
                from = extent.batch_number.advance(1);
                if !wanted(&extent) {
                    continue;
                }
                bytes += extent.len_bytes as usize;
                if bytes > max_bytes && !batches.is_empty() {
                    return Ok(batches);
                }
                batches.push(self.batch(&extent)?);
            }
        }
        Ok(batches)
    }

    fn batch(&self, extent: &Extent) -> Result<StoredBatch, ReadError> {
        let bytes = self.bytes(extent)?;
        let damaged = || missing(extent.slot, &format!("batch {}", extent.batch_number));
        let batch = StoredBatch::take(&mut Chunks::from(bytes)).map_err(|_| damaged())?;
        if batch.header().batch_number == extent.batch_number { Ok(batch) } else { Err(damaged()) }
    }

    /// The stored batch's bytes, fewer than the extent says where it is compacted; damage is told, as where readers meet it.
    pub(crate) fn extent(&self, extent: &Extent) -> Result<Bytes, ReadError> {
        self.noted(self.bytes(extent))
    }

    fn bytes(&self, extent: &Extent) -> Result<Bytes, ReadError> {
        if let Some(bytes) = self.recent(extent) {
            return Ok(bytes);
        }
        if let Some(bytes) = self.packed(extent)? {
            return Ok(bytes);
        }
        match self.shared.reader.read(extent.position, extent.len_bytes as usize) {
            // It may have been packed just now.
            Err(gone @ JournalError::Gone { .. }) => {
                self.packed(extent)?.ok_or_else(|| gone.into())
            }
            read => Ok(read?),
        }
    }

    /// The bytes, where they are in memory.
    fn recent(&self, extent: &Extent) -> Option<Bytes> {
        let recent = self.shared.recent.read().unwrap_or_else(PoisonError::into_inner);
        recent.slice(extent.position, extent.len_bytes as usize)
    }

    /// Whether it is in the journal alone.
    pub(super) fn is_in_journal(&self, extent: &Extent) -> bool {
        self.recent(extent).is_none() && !self.is_packed(extent)
    }

    /// Whether a pack has it.
    pub(crate) fn is_packed(&self, extent: &Extent) -> bool {
        self.directory().pack_at(extent.position).is_some()
    }

    /// As [`View::bytes`], where a pack has taken the place of the journal file.
    fn packed(&self, extent: &Extent) -> Result<Option<Bytes>, ReadError> {
        let pack = self.directory().pack_at(extent.position);
        let Some(pack) = pack else { return Ok(None) };
        let found = pack.batch(&self.shared.blocks, extent.slot, extent.batch_number)?;
        let len = extent.len_bytes as usize;
        let fits =
            |bytes: &Bytes| bytes.len() == len || bytes.len() < len && pack.info().is_compacted();
        let found = found.filter(fits);
        let damaged = || missing(extent.slot, &format!("batch {}", extent.batch_number));
        found.ok_or_else(damaged).map(Some)
    }

    /// A file that went away during a read was trimmed: says so.
    fn trimmed_if_gone<R>(
        &self,
        slot: Slot,
        read: impl FnOnce() -> Result<R, ReadError>,
    ) -> Result<R, ReadError> {
        let start = |view: &Self| view.partition(slot).map(|partition| partition.start);
        let before = start(self);
        match read() {
            Err(ReadError::Gone | ReadError::Corrupt(_)) if start(self) != before => {
                Err(ReadError::Trimmed { start: start(self).unwrap_or_default() })
            }
            other => self.noted(other),
        }
    }

    /// Counts and tells damage that a read has met.
    pub(super) fn noted<R, E: Into<ReadError>>(&self, read: Result<R, E>) -> Result<R, ReadError> {
        let error = match read {
            Ok(read) => return Ok(read),
            Err(error) => error.into(),
        };
        if let ReadError::Corrupt(what) = &error {
            let reads = self.shared.damaged.fetch_add(1, Ordering::Relaxed) + 1;
            // Whoever asks for it again and again fills no log.
            if reads.is_power_of_two() {
                tracing::error!(what, reads, "a read met damage, which is not served");
            }
        }
        Err(error)
    }
}

fn missing(slot: Slot, what: &str) -> ReadError {
    ReadError::Corrupt(format!("{what} of partition {slot} is not where it should be"))
}
