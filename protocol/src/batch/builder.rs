//! Laying out a batch.

use bytes::Bytes;

use crate::event::{EventError, EventRef};
use crate::hashing::{DigestFields, DigestHasher};
use crate::limits::{BATCH_RECORDS_MAX, RECORD_BYTES_MAX, batch_bytes_max};
use crate::words::{PartitionNumber, Sequence, Timestamp};

use super::dictionary::Dictionary;
use super::index::{self, Numbers, RecordView};
use super::{BatchHeader, HEADER_BYTES, MAGIC, VERSION, le16, le32};

/// How the payload of a batch is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// LZ4, block format.
    Lz4,
    /// Zstandard, level 1.
    Zstd,
}

/// Why an event did not go into a batch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// The batch has no room: finish it and push to the next.
    #[error("the batch is full")]
    Full,
    /// The event can go into no batch.
    #[error(transparent)]
    Event(#[from] EventError),
}

/// Lays out one batch after the other and keeps its buffers between them.
#[derive(Debug, Default)]
pub struct BatchBuilder {
    compression: Compression,
    orders: Dictionary,
    strings: Dictionary,
    records: Vec<u8>,
    record_count: usize,
    bound: usize,
    base_time: Option<i64>,
    payload: Vec<u8>,
    hasher: DigestHasher,
    scratch: Vec<u8>,
}

impl BatchBuilder {
    /// An empty builder whose batches are compressed so.
    pub fn new(compression: Compression) -> Self {
        Self { compression, ..Self::default() }
    }

    /// Records laid out so far.
    pub fn records(&self) -> usize {
        self.record_count
    }

    /// An upper bound of the batch's size in bytes so far.
    pub fn bytes(&self) -> usize {
        self.bound
    }

    /// Whether nothing has been laid out.
    pub fn is_empty(&self) -> bool {
        self.record_count == 0
    }

    /// Lays out one event. Nothing is changed where it fails.
    ///
    /// # Errors
    /// [`PushError::Full`] where another batch would take it, [`PushError::Event`] where none
    /// would.
    pub fn push<'a>(&mut self, event: impl Into<EventRef<'a>>) -> Result<(), PushError> {
        let event = event.into();
        event.check()?;
        let record_bound = index::record_bytes_max(&event) + event.data.len();
        if record_bound > RECORD_BYTES_MAX {
            let (len, max) = (record_bound, RECORD_BYTES_MAX);
            return Err(EventError::TooLong { what: "the event", len, max }.into());
        }
        let bound = self.bound.max(HEADER_BYTES) + record_bound;
        let room = batch_bytes_max(self.record_count + 1);
        if self.record_count == BATCH_RECORDS_MAX || bound > room {
            return Err(PushError::Full);
        }
        let time = event.time.map(Timestamp::as_micros);
        let base_time = self.base_time.or(time).unwrap_or(0);
        // A time too far from the first for the difference to be a number gets a batch of its own.
        if time.is_some_and(|time| time.checked_sub(base_time).is_none()) {
            return Err(PushError::Full);
        }
        self.base_time = self.base_time.or(time);
        self.bound = bound;
        let order_key = event.order_key.map(str::as_bytes);
        let order = order_key.map(|key| self.orders.number(key));
        let source = self.strings.number(event.source.as_bytes());
        let kind = self.strings.number(event.kind.as_bytes());
        let content_type = event.content_type.map(|text| self.strings.number(text.as_bytes()));
        let fields = DigestFields {
            order_key,
            kind: event.kind.as_bytes(),
            content_type: event.content_type.map(str::as_bytes),
            time: event.time,
        };
        let digest = self.hasher.digest(&fields, [event.data]);
        let numbers = Numbers { source, kind, order, content_type, base_time };
        index::put_event(&mut self.records, &event, digest, &numbers, &mut self.scratch);
        self.payload.extend_from_slice(event.data);
        self.record_count += 1;
        Ok(())
    }

    /// The batch, or `None` where nothing was laid out. The builder is empty afterwards.
    pub fn finish(
        &mut self,
        partition: PartitionNumber,
        first_sequence: Sequence,
    ) -> Option<Bytes> {
        (self.record_count > 0).then(|| self.lay_out(partition, first_sequence))
    }

    /// Begins to lay out what is kept of a batch: the builder is empty, and compresses as that one.
    pub(super) fn begin_kept(&mut self, of: &BatchHeader) {
        self.clear();
        self.compression = of.compression;
        self.base_time = Some(of.base_time);
    }

    /// Lays out a record of the batch that [`BatchBuilder::begin_kept`] named, with its data: what it
    /// says, its digest too, stays as it is.
    pub(super) fn push_kept(&mut self, record: &RecordView<'_>, data: &[u8]) {
        let order = record.order_key.map(|key| self.orders.number(key));
        let source = self.strings.number(record.source);
        let kind = self.strings.number(record.kind);
        let content_type = record.content_type.map(|text| self.strings.number(text));
        let base_time = self.base_time.unwrap_or(0);
        let numbers = Numbers { source, kind, order, content_type, base_time };
        index::put_record(&mut self.records, record, &numbers);
        self.payload.extend_from_slice(data);
        self.record_count += 1;
    }

    /// What [`BatchBuilder::push_kept`] has laid out, which may be nothing, as a batch with the partition
    /// and the first sequence of the one that it was part of.
    pub(super) fn finish_kept(&mut self, of: &BatchHeader) -> Bytes {
        self.lay_out(of.partition, of.first_sequence)
    }

    fn lay_out(&mut self, partition: PartitionNumber, first_sequence: Sequence) -> Bytes {
        let (flags, payload) = self.compressed();
        let payload = payload.as_deref().unwrap_or(&self.payload);
        let index_len = self.orders.table().len() + self.strings.table().len() + self.records.len();
        let len = HEADER_BYTES + index_len + payload.len();
        let mut out = Vec::with_capacity(len);
        out.extend_from_slice(&[MAGIC, VERSION]);
        out.extend_from_slice(&flags.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        for number in [len, index_len, self.payload.len()] {
            out.extend_from_slice(&le32(number));
        }
        for count in [self.record_count, self.orders.len(), self.strings.len()] {
            out.extend_from_slice(&le16(count));
        }
        out.extend_from_slice(&partition.get().to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&first_sequence.get().to_le_bytes());
        out.extend_from_slice(&self.base_time.unwrap_or(0).to_le_bytes());
        debug_assert_eq!(out.len(), HEADER_BYTES);
        for part in [self.orders.table(), self.strings.table(), &self.records] {
            out.extend_from_slice(part);
        }
        out.extend_from_slice(payload);
        let mut crc = crc32fast::Hasher::new();
        crc.update(&out[..4]);
        crc.update(&out[8..]);
        out[4..8].copy_from_slice(&crc.finalize().to_le_bytes());
        self.clear();
        out.into()
    }

    fn compressed(&self) -> (u16, Option<Vec<u8>>) {
        let (flag, compressed) = match self.compression {
            Compression::None => return (0, None),
            Compression::Lz4 => (1, Some(lz4_flex::block::compress(&self.payload))),
            Compression::Zstd => (2, zstd::bulk::compress(&self.payload, 1).ok()),
        };
        // What does not shrink, or shrinks past the ratio that a reader accepts, goes as it is.
        match compressed {
            Some(small)
                if small.len() < self.payload.len()
                    && self.payload.len() / crate::limits::PAYLOAD_RATIO_MAX <= small.len() =>
            {
                (flag, Some(small))
            }
            _ => (0, None),
        }
    }

    fn clear(&mut self) {
        self.orders.clear();
        self.strings.clear();
        self.records.clear();
        self.record_count = 0;
        self.bound = 0;
        self.base_time = None;
        self.payload.clear();
    }
}
