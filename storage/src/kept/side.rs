//! Side files: the batches that hold open conflicts, copied before retention drops their journal
//! file.
//!
//! A side file `conflicts-<start>-<incarnation>.side` goes with the journal file of the same
//! numbers. It has its name only when it is durable, and counts only once the manifest names it.
//! Numbers are little-endian.
//!
//! ```text
//! header (96 bytes)                                               offset
//!   magic "TAKTSID\n"                                             0
//!   format version u16, reserved u16, incarnation u32             8
//!   journal id                                                    16
//!   start of the journal file u64, batches u64, length u64        32
//!   reserved u64                                                  56
//!   xxh3-128 of the index                                         64
//!   xxh3-128 of the header up to here                             80
//! index, by slot and batch number: 40 bytes each
//!   slot u32, length u32, batch number u64, offset u64, xxh3-128 of the batch
//! stored batches, one behind the other, as the journal has them
//! ```
//! The header's checksum is also in the manifest: with it, every byte is accounted for.

use std::io;

use takt_protocol::batch::StoredBatch;
use takt_protocol::varint::{Cursor, Truncated};
use takt_protocol::words::BatchNumber;
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use super::KeptError;
use super::file::{self, IndexAt, Named, Source};
use crate::disk::{Disk, DiskFile};
use crate::entry::SideFile;
use crate::journal::{Incarnation, JournalId, Position};
use crate::runs::Slot;

const HEADER: usize = 96;
const ROW: usize = 40;
const MAGIC: [u8; 8] = *b"TAKTSID\n";
const VERSION: u16 = 1;

/// One batch in a side file.
#[derive(Debug, Clone, Copy)]
struct Row {
    slot: Slot,
    batch_number: BatchNumber,
    at: u64,
    len_bytes: u32,
    checksum: u128,
}

impl Row {
    fn key(&self) -> (Slot, BatchNumber) {
        (self.slot, self.batch_number)
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.slot.get().to_le_bytes());
        out.extend_from_slice(&self.len_bytes.to_le_bytes());
        out.extend_from_slice(&self.batch_number.get().to_le_bytes());
        out.extend_from_slice(&self.at.to_le_bytes());
        out.extend_from_slice(&self.checksum.to_le_bytes());
    }

    fn decode(cursor: &mut Cursor<'_>) -> Result<Self, Truncated> {
        let slot = Slot::new(u32::from_le_bytes(cursor.array()?));
        let len_bytes = u32::from_le_bytes(cursor.array()?);
        let batch_number = BatchNumber::new(u64::from_le_bytes(cursor.array()?));
        let at = u64::from_le_bytes(cursor.array()?);
        let checksum = u128::from_le_bytes(cursor.array()?);
        Ok(Self { slot, batch_number, at, len_bytes, checksum })
    }
}

/// What a file of so many batches has in front of them, in bytes.
fn data_at(batches: usize) -> u64 {
    (HEADER + batches * ROW) as u64
}

/// The length of a side file of these batches, in bytes.
pub(crate) fn len_bytes(batches: usize, batch_bytes: u64) -> u64 {
    data_at(batches).saturating_add(batch_bytes)
}

/// The header up to its checksum, and that.
fn header(side: &SideFile, journal: JournalId, index_hash: u128) -> (Vec<u8>, u128) {
    let mut out = Vec::with_capacity(HEADER);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&[0; 2]);
    out.extend_from_slice(&side.incarnation.get().to_le_bytes());
    out.extend_from_slice(&journal.bytes());
    for number in [side.start.get(), side.batches, side.len_bytes, 0] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.extend_from_slice(&index_hash.to_le_bytes());
    let checksum = xxh3_128(&out);
    (out, checksum)
}

/// Writes a side file front to back, and gives it its name when it is durable.
#[derive(Debug)]
pub(crate) struct SideWriter<'a> {
    disk: &'a dyn Disk,
    file: Box<dyn DiskFile>,
    side: SideFile,
    rows: Vec<Row>,
    at: u64,
}

impl<'a> SideWriter<'a> {
    /// Begins the side file of a journal file, for so many batches.
    pub(crate) fn begin(
        disk: &'a dyn Disk,
        start: Position,
        incarnation: Incarnation,
        batches: usize,
    ) -> io::Result<Self> {
        let at = data_at(batches);
        let batches = batches as u64;
        let side = SideFile { start, incarnation, batches, len_bytes: 0, checksum: 0 };
        let file = file::create(disk, &side.name())?;
        Ok(Self { disk, file, side, rows: Vec::new(), at })
    }

    /// Adds a batch; they come by slot and number.
    pub(crate) fn push(&mut self, slot: Slot, batch: &StoredBatch) -> io::Result<()> {
        let mut hasher = Xxh3::new();
        let at = self.at;
        for piece in batch.pieces() {
            hasher.update(piece);
            self.file.write_at(self.at, piece)?;
            self.at += piece.len() as u64;
        }
        let len_bytes = u32::try_from(batch.len()).map_err(io::Error::other)?;
        let (batch_number, checksum) = (batch.header().batch_number, hasher.digest128());
        let row = Row { slot, batch_number, at, len_bytes, checksum };
        assert!(self.rows.last().is_none_or(|last| last.key() < row.key()), "in their order");
        self.rows.push(row);
        Ok(())
    }

    /// Durable when it returns.
    pub(crate) fn finish(self, journal: JournalId) -> io::Result<SideFile> {
        let Self { disk, file, mut side, rows, at } = self;
        assert_eq!(rows.len() as u64, side.batches, "as many batches as were announced");
        let mut index = Vec::with_capacity(rows.len() * ROW);
        for row in &rows {
            row.encode(&mut index);
        }
        side.len_bytes = at;
        let (mut bytes, checksum) = header(&side, journal, xxh3_128(&index));
        side.checksum = checksum;
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes.extend_from_slice(&index);
        file.write_at(0, &bytes)?;
        file.sync_all()?;
        file::name(disk, &side.name())?;
        Ok(side)
    }
}

/// Whether a file is a side file or was to become one.
pub(crate) fn is_side(name: &str) -> bool {
    parse_side(name.strip_suffix(".tmp").unwrap_or(name)).is_some()
}

/// The start of the journal file that a side file is of, from its name; `None` if it is none.
pub(crate) fn parse_side(name: &str) -> Option<Position> {
    let (start, _) = name.strip_prefix("conflicts-")?.strip_suffix(".side")?.split_once('-')?;
    u64::from_str_radix(start, 16).ok().map(Position::new)
}

/// A side file that answers.
#[derive(Debug)]
pub(crate) struct SideReader {
    source: Source,
    rows: Vec<Row>,
}

impl SideReader {
    /// Opens the side file that the manifest of `journal` names, and verifies header and index.
    pub(crate) fn open(
        disk: &dyn Disk,
        journal: JournalId,
        side: &SideFile,
    ) -> Result<Self, KeptError> {
        let source = Source::open(disk, side.name())?;
        let named = Named {
            magic: MAGIC,
            version: VERSION,
            len_bytes: side.len_bytes,
            checksum: side.checksum,
            header_len: HEADER,
            rows: side.batches,
            row_len: ROW,
            index_at: IndexAt::Front,
        };
        let index = source.index(&named, |hash| header(side, journal, hash))?;
        let rows = index.chunks(ROW).map(|row| Row::decode(&mut Cursor::new(row)));
        let rows: Result<Vec<_>, _> = rows.collect();
        let rows = rows.map_err(|_| source.corrupt("its index is not well formed"))?;
        Ok(Self { source, rows })
    }

    /// A batch; `None` if it is not in here.
    pub(crate) fn batch(
        &self,
        slot: Slot,
        number: BatchNumber,
    ) -> Result<Option<StoredBatch>, KeptError> {
        let Ok(index) = self.rows.binary_search_by_key(&(slot, number), Row::key) else {
            return Ok(None);
        };
        self.read(&self.rows[index]).map(Some)
    }

    /// Reads and verifies all of it.
    pub(crate) fn verify(&self) -> Result<(), KeptError> {
        self.rows.iter().try_for_each(|row| self.read(row).map(drop))
    }

    fn read(&self, row: &Row) -> Result<StoredBatch, KeptError> {
        let bytes = self.source.read(row.at, row.len_bytes as usize)?;
        if xxh3_128(&bytes) != row.checksum {
            return Err(self.source.corrupt("the checksum of a batch is wrong"));
        }
        self.source.batch(bytes, row.batch_number)
    }
}

#[cfg(test)]
pub(super) mod tests;
