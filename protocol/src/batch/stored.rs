//! A batch as a node stores it and as mirrors and subscribers get it: the origin's header in front
//! of the client's bytes.
//!
//! ```text
//! magic 0x7b, version 1, kind (0 data), flags 0      0  4 x u8
//! length of this header; length of the batch         4  2 x u32
//! records; visible records                           12 2 x u16
//! batch number                                       16 u64
//! base offset: that of the first visible record      24 u64
//! append time, microseconds since 1970               32 i64
//! chain over the previous chain and this header      40 16 bytes
//! producer's epoch                                   56 u64
//! the batch's CRC; reserved, 0                       64 2 x u32
//! producer id                                        72 u8 length, bytes
//! verdicts, one for each record
//! ```
//! Of a batch of which compaction has left out records, see `compacted`.

use bytes::Bytes;
use xxhash_rust::xxh3::Xxh3;

use crate::chunks::Chunks;
use crate::limits::{
    BATCH_RECORDS_MAX, STORED_BATCH_BYTES_MAX, STORED_HEADER_FIXED_BYTES, stored_header_bytes_max,
};
use crate::varint::{Cursor, Truncated};
use crate::words::{BatchNumber, Epoch, Offset, PartitionChain, ProducerId, Timestamp};

use super::compacted::{KIND_COMPACTED, Kept, StoredRecords};
use super::{Batch, BatchError, VerdictIter, le16, le32};

pub(super) const STORED_MAGIC: u8 = 0x7b;
pub(super) const STORED_VERSION: u8 = 1;
/// Where in a header the count of its records is.
pub(super) const RECORDS_AT: usize = 12;
const CHAIN_AT: usize = 40;

/// Why bytes are no stored batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StoredError {
    /// The node's header is not well formed.
    #[error("the header in front of a stored batch is not well formed")]
    Header,
    /// The chain does not continue the one before.
    #[error("the chain of a stored batch does not continue the one before it")]
    Chain,
    /// The header and the batch behind it do not belong together.
    #[error("a stored batch's header does not belong to the batch behind it")]
    Mismatch,
    /// The client's part is no batch.
    #[error(transparent)]
    Batch(#[from] BatchError),
}

impl From<Truncated> for StoredError {
    fn from(_: Truncated) -> Self {
        Self::Header
    }
}

/// What kind of batch it is. The number is on disk and on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoredKind {
    /// Records as a producer sent them.
    Data,
}

/// The origin's header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredHeader {
    /// What kind of batch it is.
    pub kind: StoredKind,
    /// The batch's place in its partition.
    pub batch_number: BatchNumber,
    /// The offset of the first visible record, or of the next one where none is visible.
    pub base_offset: Offset,
    /// How many records are visible.
    pub visible: usize,
    /// How many records there are.
    pub records: usize,
    /// When the origin appended it; never less than that of the batch before.
    pub append_time: Timestamp,
    /// Who sent it.
    pub producer: ProducerId,
    /// In which incarnation.
    pub epoch: Epoch,
    /// The CRC of the client's batch.
    pub crc: u32,
    /// The chain up to and with this batch.
    pub chain: PartitionChain,
    /// Length of the client's batch in bytes, as it was when it was stored.
    pub batch_len: usize,
}

impl StoredHeader {
    /// How many of a stored batch's first bytes [`StoredHeader::peek_chain`] needs.
    pub const CHAIN_END: usize = CHAIN_AT + 16;

    /// The chain that a stored batch carries, from its first bytes, of which nothing is verified: what
    /// continues it is. `None` where they are not those of one, or of one that is compacted.
    pub fn peek_chain(front: &[u8]) -> Option<PartitionChain> {
        let kind = front.get(..4)? == [STORED_MAGIC, STORED_VERSION, 0, 0];
        let chain = front.get(CHAIN_AT..Self::CHAIN_END)?.try_into().ok()?;
        kind.then_some(PartitionChain::new(chain))
    }

    /// Appends the header and its verdicts to `out`, and returns the chain that it carries: the
    /// field `chain` is not read.
    ///
    /// # Panics
    /// If the header is longer than [`stored_header_bytes_max`]: the batch was not checked.
    pub fn encode(
        &self,
        previous: PartitionChain,
        verdicts: &[u8],
        out: &mut Vec<u8>,
    ) -> PartitionChain {
        let start = out.len();
        let producer = self.producer.as_str().as_bytes();
        let len = STORED_HEADER_FIXED_BYTES + 1 + producer.len() + verdicts.len();
        assert!(len <= stored_header_bytes_max(self.records), "a header has its bound");
        let kind = match self.kind {
            StoredKind::Data => 0,
        };
        out.extend_from_slice(&[STORED_MAGIC, STORED_VERSION, kind, 0]);
        out.extend_from_slice(&le32(len));
        out.extend_from_slice(&le32(self.batch_len));
        out.extend_from_slice(&le16(self.records));
        out.extend_from_slice(&le16(self.visible));
        out.extend_from_slice(&self.batch_number.get().to_le_bytes());
        out.extend_from_slice(&self.base_offset.get().to_le_bytes());
        out.extend_from_slice(&self.append_time.as_micros().to_le_bytes());
        out.extend_from_slice(&[0; 16]);
        out.extend_from_slice(&self.epoch.get().to_le_bytes());
        out.extend_from_slice(&self.crc.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        debug_assert_eq!(out.len() - start, STORED_HEADER_FIXED_BYTES);
        out.push(u8::try_from(producer.len()).expect("a producer id has at most 255 bytes"));
        out.extend_from_slice(producer);
        out.extend_from_slice(verdicts);
        let chain = chain_of(previous, &out[start..]);
        out[start + CHAIN_AT..start + CHAIN_AT + 16].copy_from_slice(chain.as_bytes());
        chain
    }
}

/// xxh3-128 over the previous chain and a header whose chain field counts as zeros. The header
/// holds the batch's CRC, so the chain covers the batch too.
fn chain_of(previous: PartitionChain, header: &[u8]) -> PartitionChain {
    let mut hasher = Xxh3::new();
    hasher.update(previous.as_bytes());
    hasher.update(&header[..CHAIN_AT]);
    hasher.update(&[0; 16]);
    hasher.update(&header[CHAIN_AT + 16..]);
    PartitionChain::from_u128(hasher.digest128())
}

/// A stored batch: its header decoded, all bytes untouched.
#[derive(Debug, Clone)]
pub struct StoredBatch {
    header: StoredHeader,
    /// The origin's header.
    header_bytes: Bytes,
    verdicts_at: usize,
    /// Which of the records are still there; `None` for all.
    kept: Option<Kept>,
    batch: Batch,
}

impl StoredBatch {
    /// Takes one stored batch off the front of `bytes`. Structure only: call [`Self::check`]
    /// before trusting it.
    ///
    /// # Errors
    /// [`StoredError`] where a header is not well formed or the bytes end early.
    pub fn take(bytes: &mut Chunks) -> Result<Self, StoredError> {
        let mut lengths = [0; 12];
        if !bytes.peek(&mut lengths) {
            return Err(StoredError::Header);
        }
        let mut cursor = Cursor::new(&lengths);
        let [magic, version, kind, flags] = cursor.array()?;
        if [magic, version, flags] != [STORED_MAGIC, STORED_VERSION, 0] {
            return Err(StoredError::Header);
        }
        match kind {
            0 => {}
            KIND_COMPACTED => return Self::take_compacted(bytes),
            _ => return Err(StoredError::Header),
        }
        let header_len = u32::from_le_bytes(cursor.array()?) as usize;
        let batch_len = u32::from_le_bytes(cursor.array()?) as usize;
        let bound = stored_header_bytes_max(BATCH_RECORDS_MAX);
        if header_len > bound || header_len.saturating_add(batch_len) > STORED_BATCH_BYTES_MAX {
            return Err(StoredError::Header);
        }
        let header_bytes = bytes.take_contiguous(header_len).ok_or(StoredError::Header)?;
        let (header, verdicts_at) = decode_header(&header_bytes, batch_len)?;
        let mut batch_bytes = bytes.take(batch_len).ok_or(StoredError::Header)?;
        let batch = Batch::take(&mut batch_bytes)?;
        let client = batch.header();
        if client.len != batch_len || client.records != header.records || client.crc != header.crc {
            return Err(StoredError::Mismatch);
        }
        Ok(Self { header, header_bytes, verdicts_at, kept: None, batch })
    }

    fn take_compacted(bytes: &mut Chunks) -> Result<Self, StoredError> {
        let kept = Kept::take(bytes)?;
        let header_bytes = kept.header_bytes();
        let mut cursor = Cursor::new(&header_bytes);
        let [magic, version, kind, flags] = cursor.array()?;
        let header_len = u32::from_le_bytes(cursor.array()?) as usize;
        let batch_len = u32::from_le_bytes(cursor.array()?) as usize;
        if [magic, version, kind, flags] != [STORED_MAGIC, STORED_VERSION, 0, 0]
            || header_len != header_bytes.len()
        {
            return Err(StoredError::Header);
        }
        let (header, verdicts_at) = decode_header(&header_bytes, batch_len)?;
        let mut batch_bytes = bytes.take(kept.batch_len()).ok_or(StoredError::Header)?;
        let batch = Batch::take_kept(&mut batch_bytes)?;
        if batch.header().len != kept.batch_len() || batch.header().records != kept.records() {
            return Err(StoredError::Mismatch);
        }
        Ok(Self { header, header_bytes, verdicts_at, kept: Some(kept), batch })
    }

    /// Checks verdicts, the chain after `previous`, and the client's batch in a topic with
    /// `partitions`.
    ///
    /// # Errors
    /// [`StoredError`] with what is wrong.
    pub fn check(&self, previous: PartitionChain, partitions: u16) -> Result<(), StoredError> {
        self.check_content(partitions)?;
        if self.continues(previous) { Ok(()) } else { Err(StoredError::Chain) }
    }

    /// Whether its chain is the one that follows `previous`. Cheap: the header is hashed.
    pub fn continues(&self, previous: PartitionChain) -> bool {
        chain_of(previous, &self.header_bytes) == self.header.chain
    }

    /// As [`Self::check`], but for the chain: all that needs no state.
    ///
    /// # Errors
    /// [`StoredError`] with what is wrong.
    pub fn check_content(&self, partitions: u16) -> Result<(), StoredError> {
        let mut verdicts = self.verdicts();
        let mut visible = 0;
        for verdict in verdicts.by_ref() {
            visible += usize::from(verdict?.is_visible());
        }
        if visible != self.header.visible || !verdicts.rest().is_empty() {
            return Err(StoredError::Header);
        }
        if self.header.base_offset.checked_add(visible as u64).is_none()
            || self.header.batch_number.checked_add(1).is_none()
        {
            return Err(StoredError::Header);
        }
        if let Some(kept) = &self.kept {
            kept.check()?;
        }
        Ok(self.batch.check(partitions)?)
    }

    /// The origin's header.
    pub fn header(&self) -> &StoredHeader {
        &self.header
    }

    /// The client's batch; where compaction has left out records, the others, laid out as a batch.
    /// [`StoredBatch::records`] has them with what the origin says of each.
    pub fn batch(&self) -> &Batch {
        &self.batch
    }

    /// Which records compaction has left; `None` where all are there.
    pub fn kept(&self) -> Option<&Kept> {
        self.kept.as_ref()
    }

    /// The records that are there, with their verdicts and offsets.
    ///
    /// # Errors
    /// [`StoredError`] where the batch's tables do not decode.
    pub fn records(&self) -> Result<StoredRecords<'_>, StoredError> {
        Ok(StoredRecords::new(self, self.batch.records()?))
    }

    /// The verdicts, one for each record.
    pub fn verdicts(&self) -> VerdictIter<'_> {
        VerdictIter::new(&self.header_bytes[self.verdicts_at..], self.header.records)
    }

    /// The origin's header as it was made.
    pub(super) fn header_bytes(&self) -> &Bytes {
        &self.header_bytes
    }

    /// The verdicts as they are encoded; shares the header's memory.
    pub fn verdict_bytes(&self) -> Bytes {
        self.header_bytes.slice(self.verdicts_at..)
    }

    /// The offset behind the last visible record.
    pub fn end_offset(&self) -> Offset {
        self.header.base_offset.advance(self.header.visible as u64)
    }

    /// Length of the whole in bytes.
    pub fn len(&self) -> usize {
        self.front().len() + self.batch.header().len
    }

    /// All in front of the batch.
    fn front(&self) -> &Bytes {
        self.kept.as_ref().map_or(&self.header_bytes, Kept::bytes)
    }

    /// Never: a stored batch has a header.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The bytes, piece by piece.
    pub fn pieces(&self) -> impl Iterator<Item = &Bytes> {
        std::iter::once(self.front()).chain(self.batch.pieces())
    }
}

fn decode_header(bytes: &[u8], batch_len: usize) -> Result<(StoredHeader, usize), StoredError> {
    let mut cursor = Cursor::new(bytes);
    cursor.take(12)?;
    let records = usize::from(u16::from_le_bytes(cursor.array()?));
    let visible = usize::from(u16::from_le_bytes(cursor.array()?));
    let batch_number = BatchNumber::new(u64::from_le_bytes(cursor.array()?));
    let base_offset = Offset::new(u64::from_le_bytes(cursor.array()?));
    let append_time = Timestamp::from_micros(i64::from_le_bytes(cursor.array()?));
    let chain = PartitionChain::new(cursor.array()?);
    let epoch = Epoch::new(u64::from_le_bytes(cursor.array()?));
    let crc = u32::from_le_bytes(cursor.array()?);
    let reserved = u32::from_le_bytes(cursor.array()?);
    let producer_len = usize::from(cursor.u8()?);
    let producer =
        std::str::from_utf8(cursor.take(producer_len)?).map_err(|_| StoredError::Header)?;
    let producer = ProducerId::from_text(producer).map_err(|_| StoredError::Header)?;
    if reserved != 0 || records == 0 || records > BATCH_RECORDS_MAX || visible > records {
        return Err(StoredError::Header);
    }
    let verdicts_at = bytes.len() - cursor.rest().len();
    let header = StoredHeader {
        kind: StoredKind::Data,
        batch_number,
        base_offset,
        visible,
        records,
        append_time,
        producer,
        epoch,
        crc,
        chain,
        batch_len,
    };
    Ok((header, verdicts_at))
}
