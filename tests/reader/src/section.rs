//! A section of a run: rows of one width, sorted, with a fence for each block.

use xxhash_rust::xxh3::xxh3_64;

use crate::input::{Input, Why, ensure, wide};

/// A block is as many rows as fit: this many bytes in the sections with keys from version 2 on, ...
const KEYS_BLOCK: u64 = 4 << 10;
/// ... and this many in all others.
const BLOCK: u64 = 64 << 10;
/// Length of a block's checksum in its fence.
const CHECKSUM: u64 = 8;

/// What the rows of a section are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    /// Of a row, in bytes.
    pub(crate) width: u64,
    /// The numbers at a row's front that it is sorted by, as their lengths in bytes.
    key: &'static [u64],
    /// Where the key begins in the row.
    key_at: &'static [u64],
    /// Of a block at most, in bytes, from version 2 on.
    block: u64,
}

/// The sections of a run, in their order.
pub(crate) const SECTIONS: [Layout; 6] = [
    // Ledger entries: hash, digest, ..., kind.
    Layout { width: 48, key: &[16, 8, 1], key_at: &[0, 16, 44], block: KEYS_BLOCK },
    // Order heads: hash, ...
    Layout { width: 32, key: &[16], key_at: &[0], block: KEYS_BLOCK },
    // Extents: slot, length, batch number, ...
    Layout { width: 48, key: &[4, 8], key_at: &[0, 8], block: BLOCK },
    // Orders: hash, slot, offset.
    Layout { width: 28, key: &[16, 4, 8], key_at: &[0, 16, 20], block: BLOCK },
    // Listed conflicts: slot, batch number, index.
    Layout { width: 14, key: &[4, 8, 2], key_at: &[0, 4, 12], block: BLOCK },
    // Slots: slot, ...
    Layout { width: 72, key: &[4], key_at: &[0], block: BLOCK },
];

impl Layout {
    /// The length of a section's rows in bytes.
    pub(crate) fn rows_len(&self, rows: u64) -> Result<u64, Why> {
        rows.checked_mul(self.width).ok_or(Why("its rows are more than a file holds"))
    }

    /// Rows of a full block.
    const fn per_block(&self, version: u16) -> u64 {
        (if version == 1 { BLOCK } else { self.block }) / self.width
    }

    /// The length of a section's fences in bytes.
    fn fences_len(&self, rows: u64, version: u16) -> Option<u64> {
        rows.div_ceil(self.per_block(version)).checked_mul(self.width + CHECKSUM)
    }

    /// Takes the fences of a section, and checks its rows against them.
    pub(crate) fn check(
        &self,
        rows: &[u8],
        version: u16,
        fences: &mut Input<'_>,
    ) -> Result<(), Why> {
        let block_len = usize::try_from(self.per_block(version) * self.width).unwrap_or(1);
        for block in rows.chunks(block_len) {
            let first = fences.take(self.width)?;
            ensure(block.starts_with(first), "a fence is not its block's first row")?;
            ensure(fences.u64()? == xxh3_64(block), "the checksum of a block is wrong")?;
        }
        let mut before = None;
        for row in self.rows(rows) {
            let key = self.key_of(row)?;
            ensure(before.is_none_or(|before| before < key), "its rows are not sorted")?;
            before = Some(key);
        }
        Ok(())
    }

    /// The rows of a section.
    pub(crate) fn rows<'a>(&self, rows: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        rows.chunks(usize::try_from(self.width).unwrap_or(1))
    }

    fn key_of(&self, row: &[u8]) -> Result<[u128; 3], Why> {
        let mut key = [0; 3];
        for ((out, len), at) in key.iter_mut().zip(self.key).zip(self.key_at) {
            let mut input = Input::new(row);
            input.take(*at)?;
            let mut number = [0; 16];
            let bytes = input.take(*len)?;
            for (to, from) in number.iter_mut().zip(bytes) {
                *to = *from;
            }
            *out = u128::from_le_bytes(number);
        }
        Ok(key)
    }
}

/// Takes the sections of a run.
pub(crate) fn take<'a>(input: &mut Input<'a>, rows: &[u64; 6]) -> Result<[&'a [u8]; 6], Why> {
    let mut sections: [&[u8]; 6] = [&[]; 6];
    for ((section, layout), rows) in sections.iter_mut().zip(&SECTIONS).zip(rows) {
        *section = input.take(layout.rows_len(*rows)?)?;
    }
    Ok(sections)
}

/// The length of all fences in bytes.
pub(crate) fn fences_len(rows: &[u64; 6], version: u16) -> Result<u64, Why> {
    let lens = SECTIONS.iter().zip(rows).map(|(layout, rows)| layout.fences_len(*rows, version));
    let sum = lens.into_iter().try_fold(0_u64, |sum, len| sum.checked_add(len?));
    sum.ok_or(Why("its fences are more than a file holds"))
}

/// How many rows there are in all.
pub(crate) fn rows_in(sections: &[&[u8]; 6]) -> u64 {
    sections.iter().zip(&SECTIONS).map(|(rows, layout)| wide(rows.len()) / layout.width).sum()
}
