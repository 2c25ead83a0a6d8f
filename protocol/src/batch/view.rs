//! Reading a batch: from bytes that a peer sent to one that has been checked.

use bytes::Bytes;

use crate::chunks::Chunks;
use crate::hashing::{DigestFields, DigestHasher, route_bytes};
use crate::limits::{
    ATTRIBUTE_BYTES_MAX, BATCH_RECORDS_MAX, DICTIONARY_ENTRIES_MAX, ORDER_KEY_BYTES_MAX,
    PAYLOAD_RATIO_MAX, PAYLOAD_RAW_BYTES_MAX, batch_bytes_max,
};
use crate::varint::{Cursor, Truncated};
use crate::words::{PartitionNumber, Sequence};

use super::index::{self, RecordView, Tables};
use super::{Compression, FLAG_COMPRESSION, FLAG_ENCRYPTED, HEADER_BYTES, MAGIC, VERSION};

/// Why bytes are no batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// The bytes end early.
    #[error("the batch is cut off")]
    Truncated,
    /// Not a batch, or of a version that this program does not know.
    #[error("no batch of a known version")]
    Version,
    /// A flag that this version does not know, or payloads encrypted by the producer.
    #[error("the batch has a flag that this version does not support")]
    Flags,
    /// Lengths or counts in the header exceed a limit or do not add up.
    #[error("lengths or counts in the batch's header do not add up or exceed a limit")]
    Lengths,
    /// The checksum does not fit the content.
    #[error("the batch's checksum does not fit its content")]
    Crc,
    /// The index block is not well formed.
    #[error("the batch's index is not well formed")]
    Index,
    /// Text is not UTF-8.
    #[error("text in the batch is not UTF-8")]
    Text,
    /// A record is larger than the limit.
    #[error("a record of the batch is larger than 896 KiB")]
    RecordTooLarge,
    /// An order key belongs to another partition.
    #[error("an order key of the batch belongs to another partition")]
    Routing,
    /// A digest does not fit its record.
    #[error("a digest of the batch does not fit its record")]
    Digest,
    /// The payload does not decompress to the length that the header says.
    #[error("the batch's payload does not decompress to its stated length")]
    Payload,
}

impl From<Truncated> for BatchError {
    fn from(_: Truncated) -> Self {
        Self::Truncated
    }
}

/// The header's fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    /// How the payload block is compressed.
    pub compression: Compression,
    /// CRC-32 over all but the field itself.
    pub crc: u32,
    /// Length of the batch, this header included, in bytes.
    pub len: usize,
    /// Length of the index block in bytes.
    pub index_len: usize,
    /// Length of the payload before compression in bytes.
    pub payload_raw_len: usize,
    /// Records, 1 to 4,096; of what compaction has left of a batch also 0.
    pub records: usize,
    /// Entries of the table of order keys.
    pub orders: usize,
    /// Entries of the table of strings.
    pub strings: usize,
    /// The partition that the batch is for.
    pub partition: PartitionNumber,
    /// The sequence of the first record.
    pub first_sequence: Sequence,
    /// What the records' times are relative to, in microseconds since 1970.
    pub base_time: i64,
}

impl BatchHeader {
    /// Reads a header and checks that its numbers add up.
    ///
    /// # Errors
    /// [`BatchError`]; the content is not looked at.
    pub fn decode(bytes: &[u8]) -> Result<Self, BatchError> {
        let header = Self::decode_kept(bytes)?;
        if header.records == 0 { Err(BatchError::Lengths) } else { Ok(header) }
    }

    /// As [`BatchHeader::decode`], of what is kept of a batch, which may be nothing.
    pub(super) fn decode_kept(bytes: &[u8]) -> Result<Self, BatchError> {
        let mut cursor = Cursor::new(bytes);
        if cursor.u8()? != MAGIC || cursor.u8()? != VERSION {
            return Err(BatchError::Version);
        }
        let flags = u16::from_le_bytes(cursor.array()?);
        let crc = u32::from_le_bytes(cursor.array()?);
        let mut len = || Ok::<_, Truncated>(u32::from_le_bytes(cursor.array()?) as usize);
        let (total, index_len, payload_raw_len) = (len()?, len()?, len()?);
        let mut count = || Ok::<_, Truncated>(u16::from_le_bytes(cursor.array()?));
        let (records, orders, strings, partition) = (count()?, count()?, count()?, count()?);
        let reserved = u32::from_le_bytes(cursor.array()?);
        let first_sequence = Sequence::new(u64::from_le_bytes(cursor.array()?));
        let base_time = i64::from_le_bytes(cursor.array()?);
        if flags & !FLAG_COMPRESSION != 0 || flags & FLAG_ENCRYPTED != 0 || reserved != 0 {
            return Err(BatchError::Flags);
        }
        let compression = match flags & FLAG_COMPRESSION {
            0 => Compression::None,
            1 => Compression::Lz4,
            2 => Compression::Zstd,
            _ => return Err(BatchError::Flags),
        };
        let header = Self {
            compression,
            crc,
            len: total,
            index_len,
            payload_raw_len,
            records: usize::from(records),
            orders: usize::from(orders),
            strings: usize::from(strings),
            partition: PartitionNumber::new(partition),
            first_sequence,
            base_time,
        };
        header.check()?;
        Ok(header)
    }

    fn check(&self) -> Result<(), BatchError> {
        let counts = self.records <= BATCH_RECORDS_MAX
            && self.orders <= DICTIONARY_ENTRIES_MAX
            && self.strings <= DICTIONARY_ENTRIES_MAX;
        if !counts || self.len > batch_bytes_max(self.records) || self.index_len > self.len {
            return Err(BatchError::Lengths);
        }
        let last = self.first_sequence.checked_add(self.records as u64);
        if self.first_sequence.get() == 0 || last.is_none() {
            return Err(BatchError::Lengths);
        }
        let payload =
            self.len.checked_sub(HEADER_BYTES + self.index_len).ok_or(BatchError::Lengths)?;
        let fits = match self.compression {
            Compression::None => payload == self.payload_raw_len,
            Compression::Lz4 | Compression::Zstd => {
                self.payload_raw_len <= PAYLOAD_RAW_BYTES_MAX
                    && self.payload_raw_len / PAYLOAD_RATIO_MAX <= payload
            }
        };
        if fits { Ok(()) } else { Err(BatchError::Lengths) }
    }

    /// The sequence behind the last record's.
    pub fn end_sequence(&self) -> Sequence {
        self.first_sequence.advance(self.records as u64)
    }
}

/// A batch: header and index in one piece, the payload as it arrived.
#[derive(Debug, Clone)]
pub struct Batch {
    header: BatchHeader,
    head: Bytes,
    payload: Chunks,
}

impl Batch {
    /// Takes one batch off the front of `bytes`; only the header's numbers are checked.
    ///
    /// # Errors
    /// [`BatchError`] where the header is not one or the bytes are fewer than it says.
    pub fn take(bytes: &mut Chunks) -> Result<Self, BatchError> {
        Self::take_as(bytes, BatchHeader::decode)
    }

    /// As [`Batch::take`], of what is kept of a batch, which may be nothing.
    pub(super) fn take_kept(bytes: &mut Chunks) -> Result<Self, BatchError> {
        Self::take_as(bytes, BatchHeader::decode_kept)
    }

    fn take_as(
        bytes: &mut Chunks,
        decode: impl FnOnce(&[u8]) -> Result<BatchHeader, BatchError>,
    ) -> Result<Self, BatchError> {
        let mut header = [0; HEADER_BYTES];
        if !bytes.peek(&mut header) {
            return Err(BatchError::Truncated);
        }
        let header = decode(&header)?;
        if header.len > bytes.len() {
            return Err(BatchError::Truncated);
        }
        let head_len = HEADER_BYTES + header.index_len;
        let head = bytes.take_contiguous(head_len).ok_or(BatchError::Truncated)?;
        let payload = bytes.take(header.len - head_len).ok_or(BatchError::Truncated)?;
        Ok(Self { header, head, payload })
    }

    /// The header.
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// Header and index block.
    pub fn head(&self) -> &Bytes {
        &self.head
    }

    /// The payload block.
    pub fn payload(&self) -> &Chunks {
        &self.payload
    }

    /// The batch's bytes, piece by piece.
    pub fn pieces(&self) -> impl Iterator<Item = &Bytes> {
        std::iter::once(&self.head).chain(self.payload.iter())
    }

    /// Checks that the checksum fits the content.
    ///
    /// # Errors
    /// [`BatchError::Crc`].
    pub fn check_crc(&self) -> Result<(), BatchError> {
        let mut crc = crc32fast::Hasher::new();
        crc.update(self.head.get(..4).ok_or(BatchError::Truncated)?);
        crc.update(self.head.get(8..).ok_or(BatchError::Truncated)?);
        self.payload.iter().for_each(|piece| crc.update(piece));
        if crc.finalize() == self.header.crc { Ok(()) } else { Err(BatchError::Crc) }
    }

    /// Checks everything but digests: checksum, structure, limits, text, and that each record
    /// belongs to the batch's partition of a topic with `partitions`.
    ///
    /// # Errors
    /// [`BatchError`] with the first rule that is broken.
    pub fn check(&self, partitions: u16) -> Result<(), BatchError> {
        self.check_and_visit(partitions, None, &mut ())
    }

    /// As [`Batch::check`], with a `hasher` also of every digest, and shows order keys and records on
    /// the way: a batch's index is read once, whatever is needed of it.
    ///
    /// # Errors
    /// [`BatchError`] with the first rule that is broken: what was shown before counts for nothing.
    pub fn check_and_visit<'a>(
        &'a self,
        partitions: u16,
        hasher: Option<&mut DigestHasher>,
        visitor: &mut impl RecordVisitor<'a>,
    ) -> Result<(), BatchError> {
        self.check_crc()?;
        let mut records = self.records()?;
        for order in &records.tables.orders {
            if order.is_empty() || order.len() > ORDER_KEY_BYTES_MAX {
                return Err(BatchError::Index);
            }
            std::str::from_utf8(order).map_err(|_| BatchError::Text)?;
            if route_bytes(Some(order), partitions) != self.header.partition {
                return Err(BatchError::Routing);
            }
        }
        for string in &records.tables.strings {
            if string.len() > ATTRIBUTE_BYTES_MAX {
                return Err(BatchError::Index);
            }
            std::str::from_utf8(string).map_err(|_| BatchError::Text)?;
        }
        if self.header.partition.get() >= partitions {
            return Err(BatchError::Routing);
        }
        let raw = match self.header.compression {
            Compression::Lz4 | Compression::Zstd if hasher.is_some() => {
                Some(Chunks::from(self.raw_payload()?))
            }
            Compression::None | Compression::Lz4 | Compression::Zstd => None,
        };
        let mut data = PieceReader::new(raw.as_ref().unwrap_or(&self.payload));
        let mut hasher = hasher;
        visitor.orders(&records.tables.orders);
        for record in records.by_ref() {
            let record = record?;
            index::check_record(&record)?;
            if let Some(hasher) = &mut hasher {
                let fields = DigestFields {
                    order_key: record.order_key,
                    kind: record.kind,
                    content_type: record.content_type,
                    time: record.time,
                };
                if hasher.digest(&fields, data.take(record.data_len)) != record.digest {
                    return Err(BatchError::Digest);
                }
            }
            visitor.record(&record);
        }
        if records.cursor.is_empty() && records.data_at == self.header.payload_raw_len {
            Ok(())
        } else {
            Err(BatchError::Lengths)
        }
    }

    /// Recomputes every digest, and checks all else.
    ///
    /// # Errors
    /// [`BatchError::Digest`] where one differs, or what [`Batch::check`] says.
    pub fn check_digests(
        &self,
        partitions: u16,
        hasher: &mut DigestHasher,
    ) -> Result<(), BatchError> {
        self.check_and_visit(partitions, Some(hasher), &mut ())
    }

    /// The records, in order.
    ///
    /// # Errors
    /// [`BatchError`] where the tables do not decode.
    pub fn records(&self) -> Result<Records<'_>, BatchError> {
        Records::new(&self.header, self.head.get(HEADER_BYTES..).ok_or(BatchError::Truncated)?)
    }

    /// The payload, decompressed where it is compressed, in one piece.
    ///
    /// # Errors
    /// [`BatchError::Payload`] where it does not decompress to its stated length.
    pub fn raw_payload(&self) -> Result<Bytes, BatchError> {
        let stored = self.payload.to_bytes();
        let raw_len = self.header.payload_raw_len;
        let raw = match self.header.compression {
            Compression::None => return Ok(stored),
            Compression::Lz4 => {
                lz4_flex::block::decompress(&stored, raw_len).map_err(|_| BatchError::Payload)?
            }
            Compression::Zstd => {
                zstd::bulk::decompress(&stored, raw_len).map_err(|_| BatchError::Payload)?
            }
        };
        if raw.len() == raw_len { Ok(raw.into()) } else { Err(BatchError::Payload) }
    }
}

/// Who is shown a batch while it is checked.
pub trait RecordVisitor<'a> {
    /// The batch's order keys; a record names one by its number here.
    fn orders(&mut self, keys: &[&'a [u8]]);
    /// The next record.
    fn record(&mut self, record: &RecordView<'a>);
}

/// Nobody.
impl<'a> RecordVisitor<'a> for () {
    fn orders(&mut self, _: &[&'a [u8]]) {}
    fn record(&mut self, _: &RecordView<'a>) {}
}

/// The records of a batch, in order.
#[derive(Debug)]
pub struct Records<'a> {
    cursor: Cursor<'a>,
    tables: Tables<'a>,
    base_time: i64,
    left: usize,
    data_at: usize,
}

impl<'a> Records<'a> {
    fn new(header: &BatchHeader, index: &'a [u8]) -> Result<Self, BatchError> {
        let mut cursor = Cursor::new(index);
        // A table's entry takes a byte at least, so its claimed size is bounded by what is there.
        if header.orders + header.strings > index.len() {
            return Err(BatchError::Lengths);
        }
        let mut table = |entries: usize| -> Result<Vec<&'a [u8]>, BatchError> {
            (0..entries).map(|_| Ok(cursor.slice()?)).collect()
        };
        let tables = Tables { orders: table(header.orders)?, strings: table(header.strings)? };
        let (base_time, left) = (header.base_time, header.records);
        Ok(Self { cursor, tables, base_time, left, data_at: 0 })
    }

    /// The batch's order keys; a record names one by its number here.
    pub fn order_keys(&self) -> &[&'a [u8]] {
        &self.tables.orders
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<RecordView<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let record =
            index::read_record(&mut self.cursor, &self.tables, self.base_time, self.data_at);
        match &record {
            Ok(record) => self.data_at += record.data_len,
            Err(_) => self.left = 0,
        }
        Some(record)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

/// Hands out consecutive stretches of bytes that lie in pieces.
struct PieceReader<'a> {
    pieces: Vec<&'a [u8]>,
    piece: usize,
    at: usize,
}

impl<'a> PieceReader<'a> {
    fn new(chunks: &'a Chunks) -> Self {
        Self { pieces: chunks.iter().map(|piece| &piece[..]).collect(), piece: 0, at: 0 }
    }

    fn take(&mut self, mut len: usize) -> impl Iterator<Item = &'a [u8]> {
        std::iter::from_fn(move || {
            while len > 0 {
                let piece = *self.pieces.get(self.piece)?;
                let rest = &piece[self.at..];
                if rest.is_empty() {
                    self.piece += 1;
                    self.at = 0;
                    continue;
                }
                let n = rest.len().min(len);
                self.at += n;
                len -= n;
                return Some(&rest[..n]);
            }
            None
        })
    }
}
