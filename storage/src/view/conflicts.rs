//! Open conflicts: which there are, what lies in them, and their details for a listing.
//!
//! The directory says which are open. Their content is in the journal, and after retention in a
//! side file. Details come from the index where it has them, otherwise from the content.

use std::sync::Arc;

use takt_protocol::batch::StoredBatch;
use takt_protocol::words::{BatchNumber, TopicName};

use super::{Conflict, ReadError, View};
use crate::index::{ConflictRow, Index, IndexError};
use crate::runs::{MaskedAddress, Slot};

/// A record that was set aside, with the batch that holds it.
#[derive(Debug, Clone)]
pub struct ConflictContent {
    /// What is listed of it.
    pub row: ConflictRow,
    /// The batch; the record is number [`MaskedAddress::index`] in it.
    pub batch: StoredBatch,
}

impl View {
    /// Open conflicts behind `after`, of one topic or of all, at most `max`.
    pub fn conflicts(
        &self,
        topic: Option<&TopicName>,
        after: Option<MaskedAddress>,
        max: usize,
    ) -> Vec<Conflict> {
        use std::ops::Bound::{Excluded, Unbounded};
        let directory = self.directory();
        let of_topic = |conflict: &&Conflict| {
            topic.is_none_or(|topic| {
                let partition = directory.partition(conflict.address.slot);
                partition.is_some_and(|partition| partition.id.topic == *topic)
            })
        };
        let behind = after.map_or(Unbounded, Excluded);
        let listed = directory.conflicts.range((behind, Unbounded));
        listed.map(|(_, conflict)| conflict).filter(of_topic).take(max).copied().collect()
    }

    /// As [`View::conflicts`], with what an operator wants to see of each. Batches are read only
    /// where the index does not have the details (yet).
    ///
    /// # Errors
    /// As [`View::conflict`].
    pub fn conflict_rows(
        &self,
        topic: Option<&TopicName>,
        after: Option<MaskedAddress>,
        max: usize,
    ) -> Result<Vec<ConflictRow>, ReadError> {
        let open = self.conflicts(topic, after, max);
        let mut rows = Vec::with_capacity(open.len());
        let indexed = self.indexed(&open);
        let mut rest = &indexed[..];
        for of_batch in by_batch(&open) {
            let (these, behind) = rest.split_at(of_batch.len());
            rest = behind;
            let found: Option<Vec<_>> = these.iter().cloned().collect();
            match found {
                Some(found) => rows.extend(found),
                None => rows.extend(self.rows_of_batch(of_batch)?),
            }
        }
        Ok(rows)
    }

    /// A conflict with its content, also where retention has dropped its journal file.
    ///
    /// # Errors
    /// [`ReadError::NotFound`] where none is open there; else as [`View::read`].
    pub fn conflict(&self, address: MaskedAddress) -> Result<ConflictContent, ReadError> {
        let conflict = self.directory().conflicts.get(&address).copied();
        let conflict = conflict.ok_or(ReadError::NotFound)?;
        let batch = self.kept_batch(address.slot, address.batch_number)?;
        let row = rows_in(&batch, &[conflict])?.pop().ok_or(ReadError::NotFound)?;
        Ok(ConflictContent { row, batch })
    }

    /// The rows of open conflicts that the directory has among `addresses`, by address. What
    /// cannot be read is left out.
    pub(crate) fn readable_rows(&self, addresses: &[MaskedAddress]) -> Vec<ConflictRow> {
        let directory = self.directory();
        let open = addresses.iter().filter_map(|address| directory.conflicts.get(address));
        let open: Vec<Conflict> = open.copied().collect();
        drop(directory);
        by_batch(&open).filter_map(|of_batch| self.rows_of_batch(of_batch).ok()).flatten().collect()
    }

    /// Open conflicts whose journal file is dropped.
    pub(crate) fn outlived_conflicts(&self) -> Vec<MaskedAddress> {
        let directory = self.directory();
        let outlived = |address: &&MaskedAddress| {
            let partition = directory.partition(address.slot);
            partition.is_some_and(|partition| address.batch_number < partition.start_batch)
        };
        directory.conflicts.keys().filter(outlived).copied().collect()
    }

    /// The rows of conflicts that lie in one batch, by address.
    fn rows_of_batch(&self, conflicts: &[Conflict]) -> Result<Vec<ConflictRow>, ReadError> {
        let Some(first) = conflicts.first() else { return Ok(Vec::new()) };
        let batch = self.kept_batch(first.address.slot, first.address.batch_number)?;
        rows_in(&batch, conflicts)
    }

    /// A batch that holds open conflicts: from the journal, or from a side file.
    fn kept_batch(&self, slot: Slot, number: BatchNumber) -> Result<StoredBatch, ReadError> {
        let read = self.read_from_batch(slot, number, 1);
        let error = match read.map(|batches| batches.into_iter().next()) {
            Ok(Some(batch)) => return Ok(batch),
            Ok(None) => ReadError::NotFound,
            Err(error) => error,
        };
        let sides: Vec<_> = self.directory().sides.values().map(Arc::clone).collect();
        for side in sides {
            if let Some(batch) = self.noted(side.batch(slot, number))? {
                return Ok(batch);
            }
        }
        Err(error)
    }

    /// What the index has of each.
    fn indexed(&self, open: &[Conflict]) -> Vec<Option<ConflictRow>> {
        let addresses: Vec<_> = open.iter().map(|conflict| conflict.address).collect();
        self.ask_index(|index| index.details(&addresses)).unwrap_or_else(|| vec![None; open.len()])
    }

    /// Asks the index, if it is ready. One that fails is used no more.
    pub(super) fn ask_index<R>(
        &self,
        ask: impl FnOnce(&Index) -> Result<R, IndexError>,
    ) -> Option<R> {
        let index = self.index()?;
        ask(&index).inspect_err(|error| self.lose_index(&index, error)).ok()
    }
}

fn by_batch(conflicts: &[Conflict]) -> impl Iterator<Item = &[Conflict]> {
    let batch = |conflict: &Conflict| (conflict.address.slot, conflict.address.batch_number);
    conflicts.chunk_by(move |a, b| batch(a) == batch(b))
}

/// The rows of conflicts that lie in this batch, by address.
fn rows_in(batch: &StoredBatch, conflicts: &[Conflict]) -> Result<Vec<ConflictRow>, ReadError> {
    let damaged = || ReadError::Corrupt(format!("batch {}", batch.header().batch_number));
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|_| damaged());
    let mut records = batch.records().map_err(|_| damaged())?.map_while(Result::ok);
    let row = |conflict: &Conflict| {
        let found = records.find(|found| found.index == usize::from(conflict.address.index));
        let record = found.ok_or_else(damaged)?.record;
        Ok(ConflictRow {
            address: conflict.address,
            first: conflict.with,
            append_time: conflict.append_time,
            producer: batch.header().producer.to_string(),
            source: text(record.source)?,
            id: text(record.id)?,
            kind: text(record.kind)?,
            order_key: record.order_key.map(text).transpose()?,
            digest: record.digest,
        })
    };
    conflicts.iter().map(row).collect()
}
