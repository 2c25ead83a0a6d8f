//! What compaction leaves of a stored batch: the origin's header as it was, so that numbers, offsets and
//! the chain go on without a hole, and the records that are kept.
//!
//! ```text
//! magic 0x7b, version 1, kind 1, flags 0             0   4 x u8
//! length of the origin's header; of the batch        4   2 x u32
//! crc32 of all that follows up to the batch          12  u32
//! the origin's header, of kind 0                     16
//! kept: a bit for each record, the lowest first; the bits behind the last are 0
//! batch: the records that are kept, laid out as a batch; of none, its header alone
//! ```
//! The batch has the partition, the first sequence and the base of times of the one that it was part of,
//! and its compression where that makes it shorter.

use bytes::Bytes;

use crate::chunks::Chunks;
use crate::limits::{BATCH_RECORDS_MAX, STORED_BATCH_BYTES_MAX, stored_header_bytes_max};
use crate::varint::Cursor;
use crate::words::{Offset, OrderSequence};

use super::stored::{RECORDS_AT, STORED_MAGIC, STORED_VERSION};
use super::{
    BatchBuilder, BatchError, RecordView, Records, StoredBatch, StoredError, Verdict, VerdictIter,
    le32,
};

pub(super) const KIND_COMPACTED: u8 = 1;
/// Length of what is in front of the origin's header.
const FRONT: usize = 16;
const CRC_AT: usize = 12;

/// Which records of a stored batch compaction has left.
#[derive(Debug, Clone)]
pub struct Kept {
    /// All in front of the batch.
    bytes: Bytes,
    header_len: usize,
    batch_len: usize,
}

impl Kept {
    /// Takes all in front of the batch; structure only.
    pub(super) fn take(bytes: &mut Chunks) -> Result<Self, StoredError> {
        let mut front = [0; FRONT + RECORDS_AT + 2];
        if !bytes.peek(&mut front) {
            return Err(StoredError::Header);
        }
        let mut cursor = Cursor::new(&front);
        cursor.take(4)?;
        let header_len = u32::from_le_bytes(cursor.array()?) as usize;
        let batch_len = u32::from_le_bytes(cursor.array()?) as usize;
        cursor.take(4 + RECORDS_AT)?;
        let records = usize::from(u16::from_le_bytes(cursor.array()?));
        let len = FRONT.saturating_add(header_len).saturating_add(records.div_ceil(8));
        if header_len > stored_header_bytes_max(BATCH_RECORDS_MAX)
            || header_len < RECORDS_AT + 2
            || len.saturating_add(batch_len) > STORED_BATCH_BYTES_MAX
        {
            return Err(StoredError::Header);
        }
        let bytes = bytes.take_contiguous(len).ok_or(StoredError::Header)?;
        Ok(Self { bytes, header_len, batch_len })
    }

    /// Checks the checksum and that no bit stands for no record.
    pub(super) fn check(&self) -> Result<(), StoredError> {
        let crc = crc32fast::hash(&self.bytes[FRONT..]);
        let last = self.bits().last().copied().unwrap_or_default();
        let used = self.records_before() % 8;
        let spare = used > 0 && last >> used != 0;
        if crc.to_le_bytes() == self.bytes[CRC_AT..FRONT] && !spare {
            Ok(())
        } else {
            Err(StoredError::Header)
        }
    }

    pub(super) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    pub(super) fn header_bytes(&self) -> Bytes {
        self.bytes.slice(FRONT..FRONT + self.header_len)
    }

    pub(super) const fn batch_len(&self) -> usize {
        self.batch_len
    }

    /// How many records are there.
    pub fn records(&self) -> usize {
        self.bits().iter().map(|bits| bits.count_ones() as usize).sum()
    }

    /// Whether the record with this index is there.
    pub fn has(&self, index: usize) -> bool {
        self.bits().get(index / 8).is_some_and(|bits| bits >> (index % 8) & 1 == 1)
    }

    fn bits(&self) -> &[u8] {
        &self.bytes[FRONT + self.header_len..]
    }

    /// How many records there were.
    fn records_before(&self) -> usize {
        let at = FRONT + RECORDS_AT;
        usize::from(u16::from_le_bytes([self.bytes[at], self.bytes[at + 1]]))
    }
}

/// A record of a stored batch, with what the origin says of it.
#[derive(Debug, Clone, Copy)]
pub struct StoredRecord<'a> {
    /// Its place in the batch as the producer sent it, from 0.
    pub index: usize,
    /// What the origin says of it.
    pub verdict: Verdict,
    /// Its offset; `None` where it is not visible.
    pub offset: Option<Offset>,
    /// Itself; its data is in [`StoredBatch::batch`]'s payload.
    pub record: RecordView<'a>,
}

impl StoredRecord<'_> {
    /// Its place within its order key; `None` where it is not visible, or has no order key.
    pub fn order_sequence(&self) -> Option<OrderSequence> {
        match self.verdict {
            Verdict::Visible { order_sequence, .. } => order_sequence,
            Verdict::Duplicate { .. }
            | Verdict::Conflict { .. }
            | Verdict::PreconditionFailed { .. } => None,
        }
    }
}

/// The records of a stored batch that are there, in order.
#[derive(Debug)]
pub struct StoredRecords<'a> {
    kept: Option<&'a Kept>,
    verdicts: std::iter::Enumerate<VerdictIter<'a>>,
    records: Records<'a>,
    /// That of the next visible record.
    offset: Offset,
}

impl<'a> StoredRecords<'a> {
    pub(super) fn new(batch: &'a StoredBatch, records: Records<'a>) -> Self {
        let offset = batch.header().base_offset;
        Self { kept: batch.kept(), verdicts: batch.verdicts().enumerate(), records, offset }
    }
}

impl<'a> Iterator for StoredRecords<'a> {
    type Item = Result<StoredRecord<'a>, StoredError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (index, verdict) = self.verdicts.next()?;
            let verdict = match verdict {
                Ok(verdict) => verdict,
                Err(error) => return Some(Err(error.into())),
            };
            let offset = verdict.is_visible().then_some(self.offset);
            if offset.is_some() {
                match self.offset.checked_add(1) {
                    Some(next) => self.offset = next,
                    None => return Some(Err(StoredError::Header)),
                }
            }
            if self.kept.is_some_and(|kept| !kept.has(index)) {
                continue;
            }
            return Some(match self.records.next() {
                Some(Ok(record)) => Ok(StoredRecord { index, verdict, offset, record }),
                Some(Err(error)) => Err(error.into()),
                None => Err(StoredError::Mismatch),
            });
        }
    }
}

impl StoredBatch {
    /// The batch with those of its records alone that `keep` wants, as bytes; `None` where it wants all
    /// of them, or the batch does not get shorter. `builder` is used for its buffers.
    ///
    /// # Errors
    /// [`StoredError`] where the batch does not decode.
    pub fn compact(
        &self,
        builder: &mut BatchBuilder,
        mut keep: impl FnMut(&StoredRecord<'_>) -> bool,
    ) -> Result<Option<Bytes>, StoredError> {
        let mut bits = vec![0_u8; self.header().records.div_ceil(8)];
        let client = self.batch();
        let payload = client.raw_payload()?;
        builder.begin_kept(client.header());
        let mut left_out = false;
        for found in self.records()? {
            let found = found?;
            if !keep(&found) {
                left_out = true;
                continue;
            }
            let record = &found.record;
            let data = payload.get(record.data_at..record.data_at + record.data_len);
            builder.push_kept(record, data.ok_or(BatchError::Lengths)?);
            bits[found.index / 8] |= 1 << (found.index % 8);
        }
        let batch = builder.finish_kept(client.header());
        let header = self.header_bytes();
        let len = FRONT + header.len() + bits.len() + batch.len();
        if !left_out || len >= self.len() {
            return Ok(None);
        }
        let mut out = Vec::with_capacity(len);
        out.extend_from_slice(&[STORED_MAGIC, STORED_VERSION, KIND_COMPACTED, 0]);
        out.extend_from_slice(&le32(header.len()));
        out.extend_from_slice(&le32(batch.len()));
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(header);
        out.extend_from_slice(&bits);
        let crc = crc32fast::hash(&out[FRONT..]);
        out[CRC_AT..FRONT].copy_from_slice(&crc.to_le_bytes());
        out.extend_from_slice(&batch);
        Ok(Some(out.into()))
    }
}
