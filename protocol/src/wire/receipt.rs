//! The answer to a batch.
//!
//! ```text
//! first sequence, records, partition, base offset   4 varints
//! append time                                       signed varint, microseconds since 1970
//! verdicts                                          length, bytes: as in a stored batch
//! ```

use bytes::Bytes;

use crate::batch::{Place, Verdict, VerdictIter};
use crate::chunks::Chunks;
use crate::limits::BATCH_RECORDS_MAX;
use crate::varint::{self, Cursor, Truncated};
use crate::words::{Offset, OrderSequence, PartitionNumber, Sequence, Timestamp};

use super::frame::{FrameError, FrameKind, OutFrame};

/// Why bytes are no receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// The bytes end early.
    #[error("a receipt is cut off")]
    Truncated,
    /// Its numbers exceed a limit or do not add up.
    #[error("a receipt's numbers do not add up")]
    Numbers,
    /// Its verdicts do not decode or are not one for each record.
    #[error("a receipt's verdicts are not well formed")]
    Verdicts,
}

impl From<Truncated> for ReceiptError {
    fn from(_: Truncated) -> Self {
        Self::Truncated
    }
}

/// The durable promise for one batch: what the origin says of each of its records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchReceipt {
    /// The sequence of the batch's first record.
    pub first_sequence: Sequence,
    /// How many records it has: 1 to 4,096.
    pub records: usize,
    /// The partition that it went to.
    pub partition: PartitionNumber,
    /// The offset of its first visible record.
    pub base_offset: Offset,
    /// When the origin appended it.
    pub append_time: Timestamp,
    /// One verdict for each record, encoded as in a stored batch.
    pub verdicts: Bytes,
}

/// The durable promise for one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// Its sequence.
    pub sequence: Sequence,
    /// What the origin says.
    pub verdict: Verdict,
    /// Where it stands; for a duplicate or a conflict, where the first stands.
    pub place: Option<Place>,
    /// Its place within its order key; for a duplicate, the first's.
    pub order_sequence: Option<OrderSequence>,
}

impl BatchReceipt {
    /// The sequence behind the batch's last record.
    pub fn end_sequence(&self) -> Sequence {
        self.first_sequence.advance(self.records as u64)
    }

    /// The sequence of the batch's last record.
    pub fn last_sequence(&self) -> Sequence {
        self.first_sequence.advance(self.records as u64 - 1)
    }

    /// What it says of each record, in order.
    ///
    /// # Panics
    /// If the verdicts of a receipt that was not decoded are not well formed.
    pub fn receipts(&self) -> impl Iterator<Item = Receipt> + '_ {
        let mut offset = self.base_offset;
        VerdictIter::new(&self.verdicts, self.records).enumerate().map(move |(i, verdict)| {
            let verdict = verdict.expect("a receipt's verdicts are checked when it is decoded");
            let (place, order_sequence) = match verdict {
                Verdict::Visible { order_sequence, .. } => {
                    let place = Place { partition: self.partition, offset };
                    offset = offset.advance(1);
                    (Some(place), order_sequence)
                }
                Verdict::Duplicate { of, order_sequence } => (Some(of), order_sequence),
                Verdict::Conflict { with, .. } => (Some(with), None),
                Verdict::PreconditionFailed { at } => (None, Some(at)),
            };
            let sequence = self.first_sequence.advance(i as u64);
            Receipt { sequence, verdict, place, order_sequence }
        })
    }

    /// Appends the receipt.
    pub fn encode(&self, out: &mut Vec<u8>) {
        varint::put(out, self.first_sequence.get());
        varint::put(out, self.records as u64);
        varint::put(out, u64::from(self.partition.get()));
        varint::put(out, self.base_offset.get());
        varint::put_signed(out, self.append_time.as_micros());
        varint::put_slice(out, &self.verdicts);
    }

    /// Takes one receipt off the front of `bytes`, sharing their memory, and checks it.
    ///
    /// # Errors
    /// [`ReceiptError`] where it is none.
    pub fn decode(bytes: &mut Bytes) -> Result<Self, ReceiptError> {
        let mut cursor = Cursor::new(bytes);
        let first_sequence = Sequence::new(cursor.varint()?);
        let records = cursor.varint_usize()?;
        let partition = u16::try_from(cursor.varint()?).map_err(|_| ReceiptError::Numbers)?;
        let base_offset = Offset::new(cursor.varint()?);
        let append_time = Timestamp::from_micros(cursor.varint_signed()?);
        let verdicts = bytes.slice_ref(cursor.slice()?);
        let consumed = bytes.len() - cursor.rest().len();
        if !(1..=BATCH_RECORDS_MAX).contains(&records)
            || first_sequence.get() == 0
            || first_sequence.checked_add(records as u64).is_none()
            || base_offset.checked_add(records as u64).is_none()
        {
            return Err(ReceiptError::Numbers);
        }
        let mut iter = VerdictIter::new(&verdicts, records);
        if iter.by_ref().any(|verdict| verdict.is_err()) || !iter.rest().is_empty() {
            return Err(ReceiptError::Verdicts);
        }
        drop(bytes.split_to(consumed));
        let partition = PartitionNumber::new(partition);
        Ok(Self { first_sequence, records, partition, base_offset, append_time, verdicts })
    }
}

/// Lays out a frame of encoded receipts.
///
/// # Errors
/// [`FrameError::TooLarge`] where they are over the limit of a frame.
pub fn receipts_frame(encoded: &[u8]) -> Result<OutFrame, FrameError> {
    OutFrame::new(FrameKind::Receipts, encoded, [])
}

/// Reads the body of a frame of receipts: at least one.
///
/// # Errors
/// [`ReceiptError`] with the first that is none.
pub fn take_receipts(body: &Chunks) -> Result<Vec<BatchReceipt>, ReceiptError> {
    let mut bytes = body.to_bytes();
    let mut receipts = Vec::new();
    while !bytes.is_empty() || receipts.is_empty() {
        receipts.push(BatchReceipt::decode(&mut bytes)?);
    }
    Ok(receipts)
}
