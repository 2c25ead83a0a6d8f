//! What a consumer gets.

use std::collections::VecDeque;

use takt_protocol::batch::{BatchError, StoredBatch, StoredError};
use takt_protocol::event::Event;
use takt_protocol::words::{Offset, OrderSequence, PartitionId, Timestamp};

/// One event, with where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    /// The partition.
    pub partition: PartitionId,
    /// Its place in the partition.
    pub offset: Offset,
    /// Its place within its order key; `None` without one.
    pub order_sequence: Option<OrderSequence>,
    /// When its origin appended it.
    pub append_time: Timestamp,
    /// The event.
    pub event: Event,
}

/// A stored batch as its origin's node laid it out, of which the visible records from an offset on
/// are new.
#[derive(Debug, Clone)]
pub struct DeliveredBatch {
    /// The partition.
    pub partition: PartitionId,
    /// Records below this offset were delivered before or not asked for.
    pub from: Offset,
    /// The batch, its bytes as they arrived.
    pub batch: StoredBatch,
}

impl DeliveredBatch {
    /// The new events, in order. Data stays a slice of what arrived where it lies there in one piece
    /// and is not compressed.
    ///
    /// # Errors
    /// [`StoredError`] where the batch does not hold what its headers say.
    pub fn events(&self) -> Result<VecDeque<Delivered>, StoredError> {
        let header = self.batch.header();
        let payload = self.batch.batch().raw_payload()?;
        let mut events = VecDeque::with_capacity(self.batch.batch().header().records);
        for found in self.batch.records()? {
            let found = found?;
            let Some(offset) = found.offset.filter(|offset| *offset >= self.from) else { continue };
            let record = &found.record;
            let end = record.data_at + record.data_len;
            if end > payload.len() {
                return Err(BatchError::Lengths.into());
            }
            events.push_back(Delivered {
                partition: self.partition.clone(),
                offset,
                order_sequence: found.order_sequence(),
                append_time: header.append_time,
                event: record.to_event(payload.slice(record.data_at..end))?,
            });
        }
        Ok(events)
    }
}
