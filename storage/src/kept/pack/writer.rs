//! Writing a pack, front to back.

use std::io;

use takt_protocol::words::BatchNumber;
use xxhash_rust::xxh3::xxh3_128;

use super::{BLOCK_BYTES, BlockRow, HEADER, PLACE, PackCompression, ROW, header};
use crate::disk::{Disk, DiskFile};
use crate::entry::PackFile;
use crate::journal::{JournalId, Position};
use crate::kept::file;
use crate::runs::Slot;

/// Fast, and most of what zstd can do for JSON.
const ZSTD_LEVEL: i32 = 1;

/// Writes a pack, and gives it its name when it is durable.
#[derive(Debug)]
pub struct PackWriter {
    pack: PackFile,
    file: Box<dyn DiskFile>,
    compression: PackCompression,
    /// Where the next block goes.
    at: u64,
    rows: Vec<BlockRow>,
    block: Block,
    unsynced: bool,
}

/// The block that is filled.
#[derive(Debug, Default)]
struct Block {
    slot: Option<Slot>,
    places: Vec<(BatchNumber, u32)>,
    batches: Vec<u8>,
    /// Where it is laid out.
    plain: Vec<u8>,
}

impl PackWriter {
    /// Begins the pack of these positions, compacted up to `compacted_upto`; what an earlier attempt left
    /// is removed.
    ///
    /// # Errors
    /// What the disk says.
    pub fn begin(
        disk: &dyn Disk,
        (start, end): (Position, Position),
        serial: u32,
        compacted_upto: Position,
        compression: PackCompression,
    ) -> io::Result<Self> {
        let pack = PackFile {
            start,
            end,
            serial,
            blocks: 0,
            len_bytes: 0,
            batch_bytes: 0,
            compacted_upto,
            checksum: 0,
        };
        let file = file::create(disk, &pack.name())?;
        let (at, rows, block) = (HEADER as u64, Vec::new(), Block::default());
        Ok(Self { pack, file, compression, at, rows, block, unsynced: false })
    }

    /// Gives it up, and the space that it takes; what stays is removed at the next start.
    pub fn abandon(self, disk: &dyn Disk) {
        let _ = file::discard(disk, &self.pack.name());
    }

    /// Adds a stored batch; they come by slot and number.
    ///
    /// # Errors
    /// What the disk says.
    ///
    /// # Panics
    /// If one comes out of turn.
    pub fn push(&mut self, slot: Slot, number: BatchNumber, bytes: &[u8]) -> io::Result<()> {
        let len = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        let longer = 4 + (self.block.places.len() + 1) * PLACE + self.block.batches.len();
        let ends = self.block.slot != Some(slot) || longer + bytes.len() > BLOCK_BYTES;
        if ends {
            self.end_block()?;
        }
        let before = self.block.places.last().map(|(last, _)| (slot, *last));
        let before = before.or_else(|| self.rows.last().map(BlockRow::key));
        assert!(before.is_none_or(|before| before < (slot, number)), "in their order");
        self.block.slot = Some(slot);
        self.block.places.push((number, len));
        self.block.batches.extend_from_slice(bytes);
        self.pack.batch_bytes += u64::from(len);
        Ok(())
    }

    /// Makes durable what was written so far, so that little is left for the end.
    ///
    /// # Errors
    /// What the disk says.
    pub fn sync(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.unsynced) { self.file.sync_data() } else { Ok(()) }
    }

    /// Durable when it returns.
    ///
    /// # Errors
    /// What the disk says; it is given up then, as by [`PackWriter::abandon`].
    pub fn finish(self, disk: &dyn Disk, journal: JournalId) -> io::Result<PackFile> {
        let name = self.pack.name();
        self.write_end(disk, journal).inspect_err(|_| {
            // A full disk needs the space.
            let _ = file::discard(disk, &name);
        })
    }

    fn write_end(mut self, disk: &dyn Disk, journal: JournalId) -> io::Result<PackFile> {
        self.end_block()?;
        let Self { mut pack, file, rows, at, .. } = self;
        let mut index = Vec::with_capacity(rows.len() * ROW);
        for row in &rows {
            row.encode(&mut index);
        }
        pack.blocks = rows.len() as u64;
        pack.len_bytes = at + index.len() as u64;
        let (mut head, checksum) = header(&pack, journal, xxh3_128(&index));
        pack.checksum = checksum;
        head.extend_from_slice(&checksum.to_le_bytes());
        file.write_at(at, &index)?;
        file.write_at(0, &head)?;
        #[cfg(takt_planted)]
        if takt_protocol::planted::is("pack_not_synced") {
            file::name(disk, &pack.name())?;
            return Ok(pack);
        }
        file.sync_all()?;
        file::name(disk, &pack.name())?;
        Ok(pack)
    }

    fn end_block(&mut self) -> io::Result<()> {
        let Some(slot) = self.block.slot.take() else { return Ok(()) };
        let Block { places, batches, plain, .. } = &mut self.block;
        let count = u32::try_from(places.len()).map_err(io::Error::other)?;
        plain.clear();
        plain.extend_from_slice(&count.to_le_bytes());
        for (number, len) in &*places {
            plain.extend_from_slice(&number.get().to_le_bytes());
            plain.extend_from_slice(&len.to_le_bytes());
        }
        plain.append(batches);
        let packed = match self.compression {
            PackCompression::None => None,
            PackCompression::Zstd => zstd::bulk::compress(plain, ZSTD_LEVEL).ok(),
        };
        let packed = packed.filter(|packed| packed.len() < plain.len());
        let compression = packed.as_ref().map_or(PackCompression::None, |_| self.compression);
        let bytes = packed.as_ref().unwrap_or(plain);
        let len = |bytes: &Vec<u8>| u32::try_from(bytes.len()).map_err(io::Error::other);
        self.rows.push(BlockRow {
            slot,
            compression,
            first: places[0].0,
            at: self.at,
            len_bytes: len(bytes)?,
            plain_len: len(plain)?,
            checksum: xxh3_128(bytes),
        });
        places.clear();
        self.file.write_at(self.at, bytes)?;
        self.at += bytes.len() as u64;
        self.unsynced = true;
        Ok(())
    }
}
