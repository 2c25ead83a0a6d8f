//! A section of a run: rows of one width, sorted, with a fence for each block.

use xxhash_rust::xxh3::xxh3_64;

use crate::input::{Input, Why, ensure, wide};

/// A block is as many rows as fit.
const BLOCK_MAX: u64 = 64 << 10;

/// What the rows of a section are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    /// Of a row, in bytes.
    pub(crate) width: u64,
    /// The numbers at a row's front that it is sorted by, as their lengths in bytes.
    key: &'static [u64],
    /// Where the key begins in the row.
    key_at: &'static [u64],
}

/// The sections of a run, in their order.
pub(crate) const SECTIONS: [Layout; 6] = [
    // Ledger entries: hash, digest, ...
    Layout { width: 48, key: &[16, 8], key_at: &[0, 16] },
    // Order heads: hash, ...
    Layout { width: 32, key: &[16], key_at: &[0] },
    // Extents: slot, length, batch number, ...
    Layout { width: 48, key: &[4, 8], key_at: &[0, 8] },
    // Orders: hash, slot, offset.
    Layout { width: 28, key: &[16, 4, 8], key_at: &[0, 16, 20] },
    // Listed conflicts: slot, batch number, index.
    Layout { width: 14, key: &[4, 8, 2], key_at: &[0, 4, 12] },
    // Slots: slot, ...
    Layout { width: 72, key: &[4], key_at: &[0] },
];

impl Layout {
    /// The length of a section's rows in bytes.
    pub(crate) fn rows_len(&self, rows: u64) -> Result<u64, Why> {
        rows.checked_mul(self.width).ok_or(Why("its rows are more than a file holds"))
    }

    /// Takes the fences of a section, and checks its rows against them.
    pub(crate) fn check(&self, rows: &[u8], fences: &mut Input<'_>) -> Result<(), Why> {
        let per_block = usize::try_from(BLOCK_MAX / self.width * self.width).unwrap_or(1);
        for block in rows.chunks(per_block) {
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

/// Splits a run's bytes behind the header into sections and fences.
pub(crate) fn split<'a>(
    input: &mut Input<'a>,
    rows: &[u64; 6],
) -> Result<([&'a [u8]; 6], Input<'a>), Why> {
    let mut sections: [&[u8]; 6] = [&[]; 6];
    for ((section, layout), rows) in sections.iter_mut().zip(&SECTIONS).zip(rows) {
        *section = input.take(layout.rows_len(*rows)?)?;
    }
    Ok((sections, *input))
}

/// How many rows there are in all.
pub(crate) fn rows_in(sections: &[&[u8]; 6]) -> u64 {
    sections.iter().zip(&SECTIONS).map(|(rows, layout)| wide(rows.len()) / layout.width).sum()
}
