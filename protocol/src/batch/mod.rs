//! The batch: what one producer lays out at a time for one partition, and what is stored, archived
//! and mirrored without ever being encoded again.
//!
//! ```text
//! header (48 bytes)                                            offset
//!   magic 0xb7, version 1                                      0, 1
//!   flags: bits 0-1 compression (0 none, 1 lz4, 2 zstd),
//!          bit 2 payloads encrypted by the producer (reserved) 2  u16
//!   crc32 over all but itself: bytes 0-3, then all that follows 4  u32
//!   length of the batch in bytes, header included              8  u32
//!   length of the index block                                  12 u32
//!   length of the payload before compression                   16 u32
//!   records; order keys; strings; partition                    20 4 x u16
//!   reserved, 0                                                28 u32
//!   sequence of the first record                               32 u64
//!   base of the records' times, microseconds since 1970        40 i64
//! index block
//!   order keys:  (length, bytes) each
//!   strings:     (length, bytes) each: sources, types, content types
//!   records:     see `index`
//! payload block: the records' data, one behind the other; compressed as a whole where flagged
//! ```
//! Numbers of a fixed width are little-endian, all others varints of [`crate::varint`].

mod builder;
mod compacted;
mod dictionary;
mod index;
mod stored;
mod verdict;
mod view;

pub use builder::{BatchBuilder, Compression, PushError};
pub use compacted::{Kept, StoredRecord, StoredRecords};
pub use index::{DedupKeyRef, RecordView};
pub use stored::{StoredBatch, StoredError, StoredHeader, StoredKind};
pub use verdict::{Place, Verdict, VerdictIter};
pub use view::{Batch, BatchError, BatchHeader, RecordVisitor, Records};

pub(crate) const MAGIC: u8 = 0xb7;
pub(crate) const VERSION: u8 = 1;
/// Length of the batch's header in bytes.
pub const HEADER_BYTES: usize = 48;
pub(crate) const FLAG_COMPRESSION: u16 = 0b011;
pub(crate) const FLAG_ENCRYPTED: u16 = 0b100;

/// A length as it lies in a header; limits keep it far below 4 GiB.
fn le32(len: usize) -> [u8; 4] {
    u32::try_from(len).expect("limits bound every length").to_le_bytes()
}

/// A count as it lies in a header; limits keep it below 65,536.
fn le16(count: usize) -> [u8; 2] {
    u16::try_from(count).expect("limits bound every count").to_le_bytes()
}
