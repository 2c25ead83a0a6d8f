//! One section of a run: its fences in memory, its rows on the disk, a block for a look-up.

use std::marker::PhantomData;

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

    /// Where a block is, and its length in bytes.
    fn place(&self, block: usize) -> (u64, usize) {
        let before = (block * self.rows_per_block) as u64;
        let left = usize::try_from(self.rows - before).unwrap_or(usize::MAX);
        (self.at + before * R::LEN as u64, left.min(self.rows_per_block) * R::LEN)
    }

    /// Reads and verifies one block.
    fn block(&self, source: &Source, block: usize) -> Result<Block<R>, RunError> {
        let (at, len) = self.place(block);
        let mut bytes = vec![0; len];
        source.read(at, &mut bytes)?;
        if xxh3_64(&bytes) != self.fences[block].checksum {
            return Err(source.corrupt("a block's checksum is wrong"));
        }
        Ok(Block { index: block, bytes, row: PhantomData })
    }

    /// The block in which the last row is that `before` holds for, which must hold for a front part of
    /// the rows; `None` if it holds for none.
    fn last_block(&self, before: impl Fn(&R) -> bool) -> Option<usize> {
        self.fences.partition_point(|fence| before(&fence.first)).checked_sub(1)
    }

    /// Has the first block fetched that the other functions read for `before`.
    pub(super) fn prefetch(&self, source: &Source, before: impl Fn(&R) -> bool) {
        if let Some(block) = self.last_block(before) {
            let (at, len) = self.place(block);
            source.prefetch(at, len);
        }
    }

    /// The last row that `before` holds for, which must hold for a front part of the rows, and the one
    /// in front of it, where that is in the same block. The block stays in `kept`, for the next look-up.
    pub(super) fn last_before(
        &self,
        source: &Source,
        kept: &mut Option<Block<R>>,
        before: impl Fn(&R) -> bool,
    ) -> Result<Option<(R, Option<R>)>, RunError> {
        let Some(index) = self.last_block(&before) else { return Ok(None) };
        let block = match kept.take().filter(|block| block.index == index) {
            Some(block) => block,
            None => self.block(source, index)?,
        };
        let block = kept.insert(block);
        let Some(last) = block.partition_point(source, before)?.checked_sub(1) else {
            return Ok(None);
        };
        let in_front = last.checked_sub(1).map(|in_front| block.row(source, in_front));
        Ok(Some((block.row(source, last)?, in_front.transpose()?)))
    }

    /// The first row that `before` does not hold for.
    pub(super) fn first_behind(
        &self,
        source: &Source,
        before: impl Fn(&R) -> bool,
    ) -> Result<Option<R>, RunError> {
        let last = self.last_block(&before);
        if let Some(last) = last {
            let block = self.block(source, last)?;
            let behind = block.partition_point(source, before)?;
            if behind < block.len() {
                return Ok(Some(block.row(source, behind)?));
            }
        }
        let next = last.map_or(0, |last| last + 1);
        Ok(self.fences.get(next).map(|fence| fence.first))
    }

    /// The rows behind those that `before` holds for, while `wanted` holds, at most `max`.
    pub(super) fn range(
        &self,
        source: &Source,
        before: impl Fn(&R) -> bool,
        wanted: impl Fn(&R) -> bool,
        max: usize,
    ) -> Result<Vec<R>, RunError> {
        let last = self.last_block(&before);
        let mut found = Vec::new();
        for index in last.unwrap_or(0)..self.fences.len() {
            let behind = last.is_none_or(|last| last < index);
            if found.len() >= max || (behind && !wanted(&self.fences[index].first)) {
                break;
            }
            let block = self.block(source, index)?;
            for at in block.partition_point(source, &before)?..block.len() {
                let row = block.row(source, at)?;
                if found.len() >= max || !wanted(&row) {
                    return Ok(found);
                }
                found.push(row);
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
        let rows = |block: Block<R>| {
            (0..block.len()).map(|at| block.row(source, at)).collect::<Result<Vec<_>, _>>()
        };
        let blocks = (0..self.blocks()).map(move |block| self.block(source, block).and_then(rows));
        blocks.take_while(move |rows| !std::mem::replace(&mut failed, rows.is_err())).flat_map(
            |rows| match rows {
                Ok(rows) => Rows::Good(rows.into_iter()),
                Err(error) => Rows::Bad(Some(error)),
            },
        )
    }
}

/// Rows as they lie on the disk, verified. A look-up decodes those alone that it meets.
#[derive(Debug)]
pub(super) struct Block<R> {
    index: usize,
    bytes: Vec<u8>,
    row: PhantomData<fn() -> R>,
}

impl<R: Row> Block<R> {
    fn len(&self) -> usize {
        self.bytes.len() / R::LEN
    }

    fn row(&self, source: &Source, at: usize) -> Result<R, RunError> {
        let row = R::decode(&mut Cursor::new(&self.bytes[at * R::LEN..(at + 1) * R::LEN]));
        row.map_err(|_| source.corrupt("a row is not well formed"))
    }

    /// How many rows `before` holds for, which must hold for a front part of them.
    fn partition_point(
        &self,
        source: &Source,
        before: impl Fn(&R) -> bool,
    ) -> Result<usize, RunError> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            if before(&self.row(source, middle)?) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
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
