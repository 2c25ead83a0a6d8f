//! One section of a run: its fences in memory, its rows on the disk, a block for a look-up.

use takt_protocol::varint::Cursor;
use xxhash_rust::xxh3::xxh3_64;

use super::{
    error::RunError,
    header::SUM_LEN,
    opened::{Part, Source},
    row::Row,
};

/// A section that was opened.
#[derive(Debug)]
pub(super) struct Table<R> {
    at: u64,
    rows: u64,
    rows_per_block: usize,
    fences: Vec<Fence<R>>,
}

#[derive(Debug, Clone, Copy)]
struct Fence<R> {
    first: R,
    checksum: u64,
}

impl<R: Row> Table<R> {
    /// From what the fences, whose bytes are verified, say.
    pub(super) fn open(part: Part<'_>) -> Option<Self> {
        let Part { at, rows, rows_per_block, mut fences } = part;
        let mut table = Self { at, rows, rows_per_block, fences: Vec::new() };
        table.fences.reserve_exact(fences.len() / Self::FENCE);
        while let Some((fence, rest)) = fences.split_at_checked(Self::FENCE) {
            let mut cursor = Cursor::new(fence);
            let first = R::decode(&mut cursor).ok()?;
            let checksum = u64::from_le_bytes(cursor.array().ok()?);
            table.fences.push(Fence { first, checksum });
            fences = rest;
        }
        (table.fences.len() as u64 == rows.div_ceil(rows_per_block as u64)).then_some(table)
    }

    const FENCE: usize = R::LEN + SUM_LEN;

    /// How many blocks there are.
    pub(super) fn blocks(&self) -> usize {
        self.fences.len()
    }

    /// Reads and verifies one block.
    pub(super) fn block(&self, source: &Source, block: usize) -> Result<Vec<R>, RunError> {
        let before = (block * self.rows_per_block) as u64;
        let left = usize::try_from(self.rows - before).unwrap_or(usize::MAX);
        let mut bytes = vec![0; left.min(self.rows_per_block) * R::LEN];
        source.read(self.at + before * R::LEN as u64, &mut bytes)?;
        if xxh3_64(&bytes) != self.fences[block].checksum {
            return Err(source.corrupt("a block's checksum is wrong"));
        }
        let rows = bytes.chunks_exact(R::LEN).map(|row| R::decode(&mut Cursor::new(row)));
        rows.collect::<Result<_, _>>().map_err(|_| source.corrupt("a row is not well formed"))
    }

    /// The last row that `before` holds for, which must hold for a front part of the rows.
    pub(super) fn last_before(
        &self,
        source: &Source,
        before: impl Fn(&R) -> bool,
    ) -> Result<Option<R>, RunError> {
        let behind = self.fences.partition_point(|fence| before(&fence.first));
        let Some(block) = behind.checked_sub(1) else { return Ok(None) };
        let rows = self.block(source, block)?;
        let behind = rows.partition_point(before);
        Ok(behind.checked_sub(1).map(|last| rows[last]))
    }

    /// The first row that `before` does not hold for.
    pub(super) fn first_behind(
        &self,
        source: &Source,
        before: impl Fn(&R) -> bool,
    ) -> Result<Option<R>, RunError> {
        let behind = self.fences.partition_point(|fence| before(&fence.first));
        if let Some(block) = behind.checked_sub(1) {
            let rows = self.block(source, block)?;
            if let Some(row) = rows.get(rows.partition_point(before)) {
                return Ok(Some(*row));
            }
        }
        Ok(self.fences.get(behind).map(|fence| fence.first))
    }

    /// The rows behind those that `before` holds for, while `wanted` holds, at most `max`.
    pub(super) fn range(
        &self,
        source: &Source,
        before: impl Fn(&R) -> bool,
        wanted: impl Fn(&R) -> bool,
        max: usize,
    ) -> Result<Vec<R>, RunError> {
        let behind = self.fences.partition_point(|fence| before(&fence.first));
        let mut found = Vec::new();
        for block in behind.saturating_sub(1)..self.fences.len() {
            if found.len() >= max || (block >= behind && !wanted(&self.fences[block].first)) {
                break;
            }
            let rows = self.block(source, block)?;
            let from = rows.partition_point(&before);
            let room = max - found.len();
            let matching = rows[from..].iter().take_while(|row| wanted(row)).take(room);
            found.extend(matching);
            if rows[from..].iter().any(|row| !wanted(row)) {
                break;
            }
        }
        Ok(found)
    }

    /// All rows, a block at a time; ends behind the first error.
    pub(super) fn stream<'a>(
        &'a self,
        source: &'a Source,
    ) -> impl Iterator<Item = Result<R, RunError>> + 'a {
        let mut failed = false;
        let blocks = (0..self.blocks()).map(move |block| self.block(source, block));
        blocks.take_while(move |rows| !std::mem::replace(&mut failed, rows.is_err())).flat_map(
            |rows| match rows {
                Ok(rows) => Rows::Good(rows.into_iter()),
                Err(error) => Rows::Bad(Some(error)),
            },
        )
    }
}

enum Rows<R> {
    Good(std::vec::IntoIter<R>),
    Bad(Option<RunError>),
}

impl<R> Iterator for Rows<R> {
    type Item = Result<R, RunError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Good(rows) => rows.next().map(Ok),
            Self::Bad(error) => error.take().map(Err),
        }
    }
}
