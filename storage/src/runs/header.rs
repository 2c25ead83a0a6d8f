//! A run's first bytes: what it covers, and the lengths that follow from it.

use takt_protocol::varint::{Cursor, Truncated};
use xxhash_rust::xxh3::xxh3_128;

use super::{
    extent::{Extent, MaskedAddress, OrderRow, SlotSummary},
    info::RunCounts,
    row::Row,
};
use crate::{
    journal::{Incarnation, JournalId, Position},
    ledger::{HeadEntry, LedgerEntry},
};

/// Length of the header in bytes.
pub(super) const LEN: usize = 128;
/// What a block has at most, in bytes: as many rows as fit.
pub(super) const BLOCK_MAX: usize = 64 << 10;
const MAGIC: [u8; 8] = *b"TAKTRUN\n";
const VERSION: u16 = 1;
const CHECKSUM_AT: usize = LEN - 16;
/// Length of a block's checksum in the fences.
pub(super) const SUM_LEN: usize = 8;

/// Width of the rows of each section.
const WIDTHS: [usize; 6] = [
    LedgerEntry::LEN,
    HeadEntry::LEN,
    Extent::LEN,
    OrderRow::LEN,
    MaskedAddress::LEN,
    <SlotSummary as Row>::LEN,
];

/// Rows of a width that make a full block.
pub(super) const fn rows_per_block(width: usize) -> usize {
    BLOCK_MAX / width
}

/// A run's header, verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) journal: JournalId,
    pub(super) incarnation: Incarnation,
    pub(super) start: Position,
    pub(super) end: Position,
    pub(super) counts: RunCounts,
    pub(super) fences_hash: u128,
}

/// Why bytes are no header of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeaderError {
    Version(u16),
    Damaged,
}

impl From<Truncated> for HeaderError {
    fn from(_: Truncated) -> Self {
        Self::Damaged
    }
}

impl Header {
    /// The bytes, and the checksum that ends them.
    pub(super) fn encode(&self) -> (Vec<u8>, u128) {
        let mut out = Vec::with_capacity(LEN);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(&self.incarnation.get().to_le_bytes());
        out.extend_from_slice(&self.journal.bytes());
        out.extend_from_slice(&self.start.get().to_le_bytes());
        out.extend_from_slice(&self.end.get().to_le_bytes());
        for count in self.counts.array() {
            out.extend_from_slice(&count.to_le_bytes());
        }
        out.extend_from_slice(&self.fences_hash.to_le_bytes());
        debug_assert_eq!(out.len(), CHECKSUM_AT);
        let checksum = xxh3_128(&out);
        out.extend_from_slice(&checksum.to_le_bytes());
        (out, checksum)
    }

    /// Verifies a header and returns it with its checksum.
    pub(super) fn decode(bytes: &[u8; LEN]) -> Result<(Self, u128), HeaderError> {
        let mut cursor = Cursor::new(bytes);
        let magic: [u8; 8] = cursor.array()?;
        let version = u16::from_le_bytes(cursor.array()?);
        let reserved: [u8; 2] = cursor.array()?;
        let incarnation = Incarnation::new(u32::from_le_bytes(cursor.array()?));
        let journal = JournalId::new(cursor.array()?);
        let start = Position::new(u64::from_le_bytes(cursor.array()?));
        let end = Position::new(u64::from_le_bytes(cursor.array()?));
        let mut counts = [0; 6];
        for count in &mut counts {
            *count = u64::from_le_bytes(cursor.array()?);
        }
        let fences_hash = u128::from_le_bytes(cursor.array()?);
        let checksum = u128::from_le_bytes(cursor.array()?);
        if magic != MAGIC || checksum != xxh3_128(&bytes[..CHECKSUM_AT]) {
            return Err(HeaderError::Damaged);
        }
        if version != VERSION {
            return Err(HeaderError::Version(version));
        }
        if reserved != [0; 2] || start > end {
            return Err(HeaderError::Damaged);
        }
        let counts = RunCounts::from_array(counts);
        Ok((Self { journal, incarnation, start, end, counts, fences_hash }, checksum))
    }

    /// Where each section begins in the file, and behind them the fences and the file's end;
    /// `None` if the counts are beyond any file.
    pub(super) fn layout(&self) -> Option<Layout> {
        let mut sections = [0; 6];
        let mut fence_lens = [0; 6];
        let mut at = LEN as u64;
        let mut fences = 0_u64;
        for (i, (count, width)) in self.counts.array().into_iter().zip(WIDTHS).enumerate() {
            sections[i] = at;
            at = at.checked_add(count.checked_mul(width as u64)?)?;
            let blocks = count.div_ceil(rows_per_block(width) as u64);
            fence_lens[i] = usize::try_from(blocks).ok()?.checked_mul(width + SUM_LEN)?;
            fences = fences.checked_add(fence_lens[i] as u64)?;
        }
        Some(Layout { sections, fence_lens, fences: at, end: at.checked_add(fences)? })
    }
}

/// Where what is in a run's file, in bytes from its start.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    pub(super) sections: [u64; 6],
    pub(super) fence_lens: [usize; 6],
    pub(super) fences: u64,
    pub(super) end: u64,
}
