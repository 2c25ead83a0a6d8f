//! Which keys a run has: a filter in memory, and a block of the disk for a key that passes it.

use std::{marker::PhantomData, ops::Range, sync::Arc};

use xxhash_rust::xxh3::xxh3_64;

use super::{
    error::RunError,
    filter::{Filter, FilterBuilder},
    header::{SUM_LEN, Section, Version},
    info::RunInfo,
    opened::{Opened, Part, Source},
    row::Row,
};
use crate::{
    disk::{AlignedBuf, Disk},
    journal::JournalId,
    ledger::{Entry, HeadEntry, LedgerEntry},
};

/// What a cursor reads at a time, in bytes.
const STREAM_BYTES: usize = 1 << 20;
/// And what all cursors of a merge read at a time together, in bytes: they hold that twice.
const MERGE_BYTES: usize = 10 << 20;
/// Each of them so much at least, in bytes.
const MERGE_READ_MIN: usize = 128 << 10;
/// Length of the hash that each row begins with.
const HASH_LEN: usize = 16;

/// The keys of a run, of a journal file or merged from several: some 3 bytes of memory a key, most
/// of them its filter. It stays readable when its name is removed.
#[derive(Debug)]
pub struct KeyRun {
    info: RunInfo,
    merged: bool,
    /// Whether the file says how many orders are new.
    counted: bool,
    new_orders: u64,
    source: Source,
    ledger: Keys<LedgerEntry>,
    heads: Keys<HeadEntry>,
    /// Whether it has a filter of its dedup keys in memory; else all may be there.
    filtered: bool,
}

impl KeyRun {
    /// Opens the run of a journal file that the manifest of `journal` names, and verifies its head
    /// and its filters.
    ///
    /// # Errors
    /// [`RunError`] if it is missing, damaged, another than the named one, or cannot be read.
    pub fn open(disk: &dyn Disk, journal: JournalId, info: &RunInfo) -> Result<Self, RunError> {
        Self::open_as(disk, info.name(), journal, info, false)
    }

    /// As [`KeyRun::open`], where a table of young runs stands for the filter of its dedup keys.
    ///
    /// # Errors
    /// As [`KeyRun::open`].
    pub(crate) fn open_young(
        disk: &dyn Disk,
        journal: JournalId,
        info: &RunInfo,
    ) -> Result<Self, RunError> {
        let mut run = Self::open(disk, journal, info)?;
        run.ledger.filter = Filter::default();
        run.filtered = false;
        Ok(run)
    }

    /// As [`KeyRun::open`], of a merged run.
    ///
    /// # Errors
    /// As [`KeyRun::open`].
    pub fn open_merged(
        disk: &dyn Disk,
        journal: JournalId,
        info: &RunInfo,
    ) -> Result<Self, RunError> {
        Self::open_as(disk, info.merged_name(), journal, info, true)
    }

    fn open_as(
        disk: &dyn Disk,
        name: String,
        journal: JournalId,
        info: &RunInfo,
        merged: bool,
    ) -> Result<Self, RunError> {
        let opened = Opened::open(disk, name, journal, info)?;
        let malformed = |what| opened.source.corrupt(what);
        let mut ledger = Keys::open(opened.part(Section::Ledger))
            .ok_or_else(|| malformed("a fence is not well formed"))?;
        let mut heads = Keys::open(opened.part(Section::Heads))
            .ok_or_else(|| malformed("a fence is not well formed"))?;
        if let Some([of_ledger, of_heads]) = opened.filters()? {
            if of_ledger.is_empty() != (ledger.rows == 0)
                || of_heads.is_empty() != (heads.rows == 0)
            {
                return Err(malformed("a filter is missing"));
            }
            ledger.filter =
                Filter::decode(of_ledger).ok_or_else(|| malformed("a filter is none"))?;
            heads.filter = Filter::decode(of_heads).ok_or_else(|| malformed("a filter is none"))?;
        } else {
            ledger.filter = ledger.make_filter(&opened.source)?;
            heads.filter = heads.make_filter(&opened.source)?;
        }
        let new_orders = opened.header.new_orders;
        let counted = opened.header.version == Version::V2;
        Ok(Self {
            info: *info,
            merged,
            counted,
            new_orders,
            source: opened.source,
            ledger,
            heads,
            filtered: true,
        })
    }

    /// What the manifest says of it.
    pub fn info(&self) -> &RunInfo {
        &self.info
    }

    /// The file's name.
    pub fn name(&self) -> String {
        if self.merged { self.info.merged_name() } else { self.info.name() }
    }

    /// Whether it was merged from others.
    pub const fn is_merged(&self) -> bool {
        self.merged
    }

    /// Order keys whose first event is in what is covered.
    pub const fn new_orders(&self) -> u64 {
        self.new_orders
    }

    /// Where its version does not say how many orders are new: those that none of the `older` runs has.
    ///
    /// # Errors
    /// [`RunError`] of whichever does not read.
    pub(crate) fn count_orders(
        mut run: Arc<Self>,
        older: &[Arc<Self>],
    ) -> Result<Arc<Self>, RunError> {
        if run.counted {
            return Ok(run);
        }
        let mut new_orders = 0;
        let mut heads = run.heads();
        while let Some(head) = heads.next()? {
            let mut known = false;
            for run in older {
                known = known || run.head(head.hash)?.is_some();
            }
            new_orders += u64::from(!known);
        }
        drop(heads);
        if let Some(run) = Arc::get_mut(&mut run) {
            run.new_orders = new_orders;
        }
        Ok(run)
    }

    /// Adds the indexes of those `hashes` to `hits` that the ledger entries here may have; which of
    /// them they have, [`KeyRun::contents`] says.
    pub fn pass(&self, hashes: &[u128], hits: &mut Vec<u32>) {
        if self.filtered {
            self.ledger.filter.pass(hashes, hits);
        } else {
            hits.extend((0..).zip(hashes).map(|(index, _): (u32, _)| index));
        }
    }

    /// Gives all ledger entries of a key to `each`.
    ///
    /// # Errors
    /// [`RunError`]: nothing is known of the key then.
    pub fn contents(&self, hash: u128, each: impl FnMut(LedgerEntry)) -> Result<(), RunError> {
        self.ledger.find(&self.source, hash, each)
    }

    /// Adds the indexes of those `hashes` to `hits` whose heads may be here; [`KeyRun::head`] has them.
    pub(crate) fn pass_heads(&self, hashes: &[u128], hits: &mut Vec<u32>) {
        self.heads.filter.pass(hashes, hits);
    }

    /// The head of an order key.
    ///
    /// # Errors
    /// [`RunError`]: nothing is known of the order key then.
    pub fn head(&self, hash: u128) -> Result<Option<HeadEntry>, RunError> {
        let mut found = None;
        if self.heads.filter.may_have(hash) {
            self.heads.find(&self.source, hash, |head| found = Some(head))?;
        }
        Ok(found)
    }

    /// Memory that is allocated, in bytes.
    pub fn bytes(&self) -> usize {
        self.ledger.bytes() + self.heads.bytes()
    }

    /// What its keys take on the disk, about, in bytes.
    pub fn len_bytes(&self) -> u64 {
        let rows = |rows: u64, len: usize| rows.saturating_mul(len as u64);
        rows(self.ledger.rows, LedgerEntry::LEN)
            .saturating_add(rows(self.heads.rows, HeadEntry::LEN))
            .saturating_add(self.bytes() as u64)
    }

    /// The ledger entries by hash and digest.
    pub(crate) fn entries(self: &Arc<Self>) -> KeyCursor<LedgerEntry> {
        KeyCursor::new(Arc::clone(self), |run| &run.ledger)
    }

    /// The order heads by hash.
    pub(crate) fn heads(self: &Arc<Self>) -> KeyCursor<HeadEntry> {
        KeyCursor::new(Arc::clone(self), |run| &run.heads)
    }

    /// Reads and verifies all of it: that it is whole, in order, and that no key fails its filter.
    ///
    /// # Errors
    /// [`RunError`] with the first damage.
    pub fn verify(self: &Arc<Self>) -> Result<(), RunError> {
        self.verify_rows(self.entries(), &self.ledger)?;
        self.verify_rows(self.heads(), &self.heads)
    }

    fn verify_rows<R: Row + Entry>(
        &self,
        mut rows: KeyCursor<R>,
        keys: &Keys<R>,
    ) -> Result<(), RunError> {
        let mut last = None;
        while let Some(row) = rows.next()? {
            let key = row.key();
            if last.is_some_and(|last| last >= key) {
                return Err(self.source.corrupt("its keys are not in order"));
            }
            if !keys.filter.may_have(row.hash()) {
                return Err(self.source.corrupt("a key does not pass its filter"));
            }
            last = Some(key);
        }
        Ok(())
    }
}

/// A section of rows that are looked up by hash.
#[derive(Debug)]
struct Keys<R> {
    at: u64,
    rows: u64,
    rows_per_block: usize,
    fences: Vec<Fence>,
    filter: Filter,
    row: PhantomData<fn() -> R>,
}

#[derive(Debug, Clone, Copy)]
struct Fence {
    /// Upper half of the first row's hash.
    prefix: u64,
    checksum: u64,
}

impl<R: Row + Entry> Keys<R> {
    const FENCE: usize = R::LEN + SUM_LEN;

    fn open(part: Part<'_>) -> Option<Self> {
        let Part { at, rows, rows_per_block, fences } = part;
        let fences = fences.chunks_exact(Self::FENCE).map(|fence| {
            let (row, checksum) = fence.split_at(R::LEN);
            let checksum = u64::from_le_bytes(checksum.try_into().ok()?);
            Some(Fence { prefix: upper(hash_of(row)), checksum })
        });
        let fences: Option<Vec<_>> = fences.collect();
        let keys = Self {
            at,
            rows,
            rows_per_block,
            fences: fences?,
            filter: Filter::default(),
            row: PhantomData,
        };
        (keys.fences.len() as u64 == rows.div_ceil(rows_per_block as u64)).then_some(keys)
    }

    fn make_filter(&self, source: &Source) -> Result<Filter, RunError> {
        let mut builder = FilterBuilder::new(self.rows);
        for block in 0..self.fences.len() {
            let bytes = self.blocks(source, block, 1)?;
            let mut last = 0;
            for row in bytes.chunks_exact(R::LEN) {
                if hash_of(row) < last {
                    return Err(source.corrupt("its keys are not in order"));
                }
                last = hash_of(row);
                builder.push(last);
            }
        }
        Ok(Filter::decode(builder.finish()).expect("a filter was built"))
    }

    /// Where so many blocks are, and their length in bytes: 0 behind the last.
    fn place(&self, first: usize, count: usize) -> (u64, usize) {
        let before = (first * self.rows_per_block) as u64;
        let left = usize::try_from(self.rows.saturating_sub(before)).unwrap_or(usize::MAX);
        let len = left.min(count * self.rows_per_block) * R::LEN;
        (self.at + before * R::LEN as u64, len)
    }

    /// Reads and verifies `count` blocks.
    fn blocks(&self, source: &Source, first: usize, count: usize) -> Result<Vec<u8>, RunError> {
        let (at, len) = self.place(first, count);
        let mut bytes = vec![0; len];
        verified(source, || {
            source.read(at, &mut bytes)?;
            Ok(self.fits(first, &bytes).then_some(()))
        })?;
        Ok(bytes)
    }

    /// As [`Keys::blocks`], of what is not read again soon: into `buffer`, and where in it they are.
    fn blocks_once(
        &self,
        source: &Source,
        first: usize,
        count: usize,
        buffer: &mut AlignedBuf,
    ) -> Result<Range<usize>, RunError> {
        let (at, len) = self.place(first, count);
        verified(source, || {
            let read = source.read_once(at, len, buffer)?;
            Ok(self.fits(first, &buffer[read.clone()]).then_some(read))
        })
    }

    fn fits(&self, first: usize, bytes: &[u8]) -> bool {
        let blocks = bytes.chunks(self.rows_per_block * R::LEN).zip(&self.fences[first..]);
        blocks.into_iter().all(|(block, fence)| xxh3_64(block) == fence.checksum)
    }

    fn find(&self, source: &Source, hash: u128, mut each: impl FnMut(R)) -> Result<(), RunError> {
        let prefix = upper(hash);
        let behind = self.fences.partition_point(|fence| fence.prefix < prefix);
        // The last block that begins below it, and those that begin with it.
        let from = behind.saturating_sub(1);
        for (block, fence) in self.fences.iter().enumerate().skip(from) {
            if fence.prefix > prefix {
                break;
            }
            let bytes = self.blocks(source, block, 1)?;
            let rows = bytes.chunks_exact(R::LEN);
            for row in rows.skip_while(|row| hash_of(row) < hash) {
                if hash_of(row) != hash {
                    break;
                }
                each(decode(source, row)?);
            }
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.fences.capacity() * size_of::<Fence>() + self.filter.bytes()
    }
}

/// What does not fit its checksums is read once more: a bit may have turned on its way.
fn verified<T>(
    source: &Source,
    mut read: impl FnMut() -> Result<Option<T>, RunError>,
) -> Result<T, RunError> {
    let whole = match read()? {
        None => read()?,
        whole => whole,
    };
    whole.ok_or_else(|| source.corrupt("a block's checksum is wrong"))
}

fn decode<R: Row>(source: &Source, row: &[u8]) -> Result<R, RunError> {
    let row = R::decode(&mut takt_protocol::varint::Cursor::new(row));
    row.map_err(|_| source.corrupt("a row is not well formed"))
}

fn hash_of(row: &[u8]) -> u128 {
    row.first_chunk::<HASH_LEN>().map_or(0, |hash| u128::from_le_bytes(*hash))
}

fn upper(hash: u128) -> u64 {
    (hash >> 64) as u64
}

/// Goes through the rows of a section in their order.
#[derive(Debug)]
pub(crate) struct KeyCursor<R> {
    run: Arc<KeyRun>,
    section: fn(&KeyRun) -> &Keys<R>,
    next_block: usize,
    /// What is read at a time, in bytes.
    stream_bytes: usize,
    bytes: AlignedBuf,
    /// Where in `bytes` the rows are that are still to come.
    left: Range<usize>,
}

impl<R: Row + Entry> KeyCursor<R> {
    fn new(run: Arc<KeyRun>, section: fn(&KeyRun) -> &Keys<R>) -> Self {
        let (bytes, left) = (AlignedBuf::default(), 0..0);
        Self { run, section, next_block: 0, stream_bytes: STREAM_BYTES, bytes, left }
    }

    /// As one of so many that are read side by side: together they read no more at a time.
    pub fn one_of(mut self, cursors: usize) -> Self {
        self.stream_bytes = (MERGE_BYTES / cursors.max(1)).clamp(MERGE_READ_MIN, STREAM_BYTES);
        self
    }

    /// The hash of the next row, and its bytes; `None` behind the last. [`KeyCursor::skip`] goes
    /// behind it.
    ///
    /// # Errors
    /// [`RunError`], again and again.
    pub fn peek(&mut self) -> Result<Option<(u128, &[u8])>, RunError> {
        let keys = (self.section)(&self.run);
        if self.left.is_empty() {
            if self.next_block == keys.fences.len() {
                return Ok(None);
            }
            let count = (self.stream_bytes / (keys.rows_per_block * R::LEN)).max(1);
            let source = &self.run.source;
            self.left = keys.blocks_once(source, self.next_block, count, &mut self.bytes)?;
            self.next_block = (self.next_block + count).min(keys.fences.len());
            let (at, len) = keys.place(self.next_block, count);
            source.read_ahead(at, len);
        }
        let row = self.row();
        Ok(Some((hash_of(row), row)))
    }

    /// Goes behind the row that [`KeyCursor::peek`] gave.
    pub fn skip(&mut self) {
        self.left.start += R::LEN;
    }

    fn row(&self) -> &[u8] {
        &self.bytes[self.left.start..self.left.start + R::LEN]
    }

    /// The row that [`KeyCursor::peek`] gave.
    ///
    /// # Errors
    /// [`RunError`] if it is not well formed.
    pub fn decoded(&self) -> Result<R, RunError> {
        decode(&self.run.source, self.row())
    }

    /// The next row; `None` behind the last.
    ///
    /// # Errors
    /// [`RunError`], again and again.
    pub fn next(&mut self) -> Result<Option<R>, RunError> {
        if self.peek()?.is_none() {
            return Ok(None);
        }
        let row = self.decoded()?;
        self.skip();
        Ok(Some(row))
    }
}

impl<R> Drop for KeyCursor<R> {
    /// The run stays open, and nobody fetches what was begun.
    fn drop(&mut self) {
        self.run.source.read_ahead(0, 0);
    }
}
