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
pub(super) const LEN: usize = 168;
/// What both versions have: length of the first one's header.
pub(super) const LEN_V1: usize = 128;
const MAGIC: [u8; 8] = *b"TAKTRUN\n";
/// Length of the checksum that ends a header.
const SUM: usize = 16;
/// Length of a block's checksum in the fences.
pub(super) const SUM_LEN: usize = 8;

/// The format's versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    /// Without filters, for a node that had all keys in memory: read, no longer written.
    V1,
    V2,
}

/// The sections, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    Ledger,
    Heads,
    Extents,
    Orders,
    Conflicts,
    Slots,
}

/// Width of the rows of each section.
const WIDTHS: [usize; 6] = [
    LedgerEntry::LEN,
    HeadEntry::LEN,
    Extent::LEN,
    OrderRow::LEN,
    MaskedAddress::LEN,
    <SlotSummary as Row>::LEN,
];

impl Section {
    const ALL: [Self; 6] =
        [Self::Ledger, Self::Heads, Self::Extents, Self::Orders, Self::Conflicts, Self::Slots];

    /// Rows that make a full block: as many as fit. Keys are looked up one by one, all else in
    /// ranges.
    pub(super) const fn rows_per_block(self, version: Version) -> usize {
        let block = match (version, self) {
            (Version::V2, Self::Ledger | Self::Heads) => 4 << 10,
            (Version::V2, Self::Extents | Self::Orders | Self::Conflicts | Self::Slots)
            | (Version::V1, _) => 64 << 10,
        };
        block / WIDTHS[self as usize]
    }
}

/// What a run of version 2 says of its keys' filters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Filters {
    /// Lengths in bytes: of the ledger's, and of the heads'.
    pub(super) lens: [u64; 2],
    /// Over both.
    pub(super) hash: u128,
}

/// A run's header, verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) version: Version,
    pub(super) journal: JournalId,
    pub(super) incarnation: Incarnation,
    pub(super) start: Position,
    pub(super) end: Position,
    pub(super) counts: RunCounts,
    pub(super) fences_hash: u128,
    /// Order keys whose first event is in what is covered. Version 1 does not say: all heads.
    pub(super) new_orders: u64,
    pub(super) filters: Filters,
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
    /// The bytes in version 2, and the checksum that ends them.
    pub(super) fn encode(&self) -> (Vec<u8>, u128) {
        let mut out = Vec::with_capacity(LEN);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&2_u16.to_le_bytes());
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(&self.incarnation.get().to_le_bytes());
        out.extend_from_slice(&self.journal.bytes());
        out.extend_from_slice(&self.start.get().to_le_bytes());
        out.extend_from_slice(&self.end.get().to_le_bytes());
        for count in self.counts.array() {
            out.extend_from_slice(&count.to_le_bytes());
        }
        out.extend_from_slice(&self.fences_hash.to_le_bytes());
        out.extend_from_slice(&self.new_orders.to_le_bytes());
        out.extend_from_slice(&self.filters.lens[0].to_le_bytes());
        out.extend_from_slice(&self.filters.lens[1].to_le_bytes());
        out.extend_from_slice(&self.filters.hash.to_le_bytes());
        debug_assert_eq!(out.len(), LEN - SUM);
        let checksum = xxh3_128(&out);
        out.extend_from_slice(&checksum.to_le_bytes());
        (out, checksum)
    }

    /// Which version's header the first [`LEN_V1`] bytes begin, and how long it is.
    pub(super) fn version(bytes: &[u8; LEN_V1]) -> Result<(Version, usize), HeaderError> {
        let mut cursor = Cursor::new(bytes);
        if cursor.array()? != MAGIC {
            return Err(HeaderError::Damaged);
        }
        match u16::from_le_bytes(cursor.array()?) {
            1 => Ok((Version::V1, LEN_V1)),
            2 => Ok((Version::V2, LEN)),
            version => Err(HeaderError::Version(version)),
        }
    }

    /// Verifies a header, all of it, and returns it with its checksum.
    pub(super) fn decode(bytes: &[u8], version: Version) -> Result<(Self, u128), HeaderError> {
        let mut cursor = Cursor::new(bytes);
        cursor.array::<10>()?;
        let reserved: [u8; 2] = cursor.array()?;
        let incarnation = Incarnation::new(u32::from_le_bytes(cursor.array()?));
        let journal = JournalId::new(cursor.array()?);
        let start = Position::new(u64::from_le_bytes(cursor.array()?));
        let end = Position::new(u64::from_le_bytes(cursor.array()?));
        let mut counts = [0; 6];
        for count in &mut counts {
            *count = u64::from_le_bytes(cursor.array()?);
        }
        let counts = RunCounts::from_array(counts);
        let fences_hash = u128::from_le_bytes(cursor.array()?);
        let (mut new_orders, mut filters) = (counts.heads, Filters::default());
        if version == Version::V2 {
            new_orders = u64::from_le_bytes(cursor.array()?);
            for len in &mut filters.lens {
                *len = u64::from_le_bytes(cursor.array()?);
            }
            filters.hash = u128::from_le_bytes(cursor.array()?);
        }
        let checksum = u128::from_le_bytes(cursor.array()?);
        let sealed = bytes.len().checked_sub(SUM).map(|len| xxh3_128(&bytes[..len]));
        if sealed != Some(checksum) || reserved != [0; 2] || start > end || !cursor.is_empty() {
            return Err(HeaderError::Damaged);
        }
        let header = Self {
            version,
            journal,
            incarnation,
            start,
            end,
            counts,
            fences_hash,
            new_orders,
            filters,
        };
        Ok((header, checksum))
    }

    /// Where each section begins in the file, and behind them the fences, the filters and the
    /// file's end; `None` if the counts are beyond any file.
    pub(super) fn layout(&self) -> Option<Layout> {
        let mut sections = [0; 6];
        let mut fence_lens = [0; 6];
        let mut at = match self.version {
            Version::V1 => LEN_V1,
            Version::V2 => LEN,
        } as u64;
        let mut fences = 0_u64;
        for (section, count) in Section::ALL.into_iter().zip(self.counts.array()) {
            let width = WIDTHS[section as usize];
            sections[section as usize] = at;
            at = at.checked_add(count.checked_mul(width as u64)?)?;
            let blocks = count.div_ceil(section.rows_per_block(self.version) as u64);
            let fence_len = usize::try_from(blocks).ok()?.checked_mul(width + SUM_LEN)?;
            fence_lens[section as usize] = fence_len;
            fences = fences.checked_add(fence_len as u64)?;
        }
        let filters = at.checked_add(fences)?;
        let [ledger, heads] = self.filters.lens;
        let end = filters.checked_add(ledger)?.checked_add(heads)?;
        Some(Layout { sections, fence_lens, fences: at, filters, end })
    }
}

/// Where what is in a run's file, in bytes from its start.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    pub(super) sections: [u64; 6],
    pub(super) fence_lens: [usize; 6],
    pub(super) fences: u64,
    pub(super) filters: u64,
    pub(super) end: u64,
}
