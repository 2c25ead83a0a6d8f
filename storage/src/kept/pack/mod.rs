//! Packs: what several sealed journal files still hold, by partition, in place of these files.
//!
//! A pack `pack-<start>-<end>-<serial>.pack` holds every batch of the positions from `start` to `end`
//! that was kept when it was written, so the journal files in between can go. One that takes the
//! place of others has a higher serial number than these. Numbers are little-endian.
//!
//! ```text
//! header (112 bytes)                                              offset
//!   magic "TAKTPAK\n"                                             0
//!   format version u16, reserved u16, serial u32                  8
//!   journal id                                                    16
//!   start u64, end u64, blocks u64, length u64                    32
//!   length of all batches u64                                     64
//!   where it is compacted, up to which position; else 0: u64      72
//!   xxh3-128 of the index                                         80
//!   xxh3-128 of the header up to here                             96
//! blocks, one behind the other
//! index, by slot and first batch: 48 bytes for each block
//!   slot u32, compression u32 (0 none, 1 zstd), number of the first batch u64
//!   offset u64, length u32, length as it was before it was compressed u32
//!   xxh3-128 of the block as it lies here
//!
//! a block, before it is compressed: of one partition
//!   batches u32, then for each: number u64, length u32
//!   stored batches, one behind the other, as the journal has them, or compacted
//! ```
//! A block is closed where the next batch would make it longer than 256 KiB. Where a block does
//! not get shorter, it is not compressed.

mod reader;
mod writer;

#[cfg(test)]
mod tests;

use takt_protocol::limits::STORED_BATCH_BYTES_MAX;
use takt_protocol::varint::{Cursor, Truncated};
use takt_protocol::words::BatchNumber;
use xxhash_rust::xxh3::xxh3_128;

use crate::entry::PackFile;
use crate::journal::{JournalId, Position};
use crate::runs::Slot;

pub use reader::{PackBlocks, PackReader};
pub use writer::PackWriter;

const HEADER: usize = 112;
const ROW: usize = 48;
/// What a block has for each batch in front of them.
const PLACE: usize = 12;
const MAGIC: [u8; 8] = *b"TAKTPAK\n";
const VERSION: u16 = 1;
/// How long a block of several batches becomes, in bytes.
const BLOCK_BYTES: usize = 256 << 10;
/// How long a block is at most: of one batch as long as may be.
const BLOCK_BYTES_MAX: usize = 4 + PLACE + STORED_BATCH_BYTES_MAX;

/// How the blocks of a pack are written. The number is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PackCompression {
    /// As they are.
    #[default]
    None,
    /// With zstd.
    Zstd,
}

impl PackCompression {
    const fn number(self) -> u32 {
        match self {
            Self::None => 0,
            Self::Zstd => 1,
        }
    }
}

/// Where a block is.
#[derive(Debug, Clone, Copy)]
struct BlockRow {
    slot: Slot,
    compression: PackCompression,
    first: BatchNumber,
    at: u64,
    len_bytes: u32,
    plain_len: u32,
    checksum: u128,
}

impl BlockRow {
    fn key(&self) -> (Slot, BatchNumber) {
        (self.slot, self.first)
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.slot.get().to_le_bytes());
        out.extend_from_slice(&self.compression.number().to_le_bytes());
        out.extend_from_slice(&self.first.get().to_le_bytes());
        out.extend_from_slice(&self.at.to_le_bytes());
        out.extend_from_slice(&self.len_bytes.to_le_bytes());
        out.extend_from_slice(&self.plain_len.to_le_bytes());
        out.extend_from_slice(&self.checksum.to_le_bytes());
    }

    fn decode(cursor: &mut Cursor<'_>) -> Result<Self, Truncated> {
        Ok(Self {
            slot: Slot::new(u32::from_le_bytes(cursor.array()?)),
            compression: match u32::from_le_bytes(cursor.array()?) {
                0 => PackCompression::None,
                1 => PackCompression::Zstd,
                _ => return Err(Truncated),
            },
            first: BatchNumber::new(u64::from_le_bytes(cursor.array()?)),
            at: u64::from_le_bytes(cursor.array()?),
            len_bytes: u32::from_le_bytes(cursor.array()?),
            plain_len: u32::from_le_bytes(cursor.array()?),
            checksum: u128::from_le_bytes(cursor.array()?),
        })
    }
}

/// The header up to its checksum, and that.
fn header(pack: &PackFile, journal: JournalId, index_hash: u128) -> (Vec<u8>, u128) {
    let mut out = Vec::with_capacity(HEADER);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&[0; 2]);
    out.extend_from_slice(&pack.serial.to_le_bytes());
    out.extend_from_slice(&journal.bytes());
    let (start, end) = (pack.start.get(), pack.end.get());
    let compacted_upto = pack.compacted_upto.get();
    for number in [start, end, pack.blocks, pack.len_bytes, pack.batch_bytes, compacted_upto] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.extend_from_slice(&index_hash.to_le_bytes());
    let checksum = xxh3_128(&out);
    (out, checksum)
}

/// The positions that a pack stands for, from its name, also of one that is not finished; `None` if it
/// is none.
pub fn parse_pack(name: &str) -> Option<(Position, Position)> {
    let name = name.strip_suffix(".tmp").unwrap_or(name);
    let mut parts = name.strip_prefix("pack-")?.strip_suffix(".pack")?.split('-');
    let mut position = || u64::from_str_radix(parts.next()?, 16).ok().map(Position::new);
    let found = (position()?, position()?);
    let serial = parts.next()?;
    (parts.next().is_none() && u32::from_str_radix(serial, 16).is_ok()).then_some(found)
}
