//! Reading a pack.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::PoisonError;

use bytes::Bytes;
use takt_protocol::varint::{Cursor, Truncated};
use takt_protocol::words::BatchNumber;
use xxhash_rust::xxh3::xxh3_128;

use super::{
    BLOCK_BYTES_MAX, BlockRow, HEADER, MAGIC, PLACE, PackCompression, ROW, VERSION, header,
};
use crate::disk::Disk;
use crate::entry::PackFile;
use crate::journal::{JournalId, Position};
use crate::kept::KeptError;
use crate::kept::file::{IndexAt, Named, Source};
use crate::runs::Slot;
use crate::sync::Mutex;

/// How many blocks stay in memory, of all packs together.
const RECENT_MAX: usize = 16;

/// A pack that answers. It stays readable when its name is removed.
#[derive(Debug)]
pub struct PackReader {
    info: PackFile,
    source: Source,
    rows: Vec<BlockRow>,
}

/// The blocks that were read last, of all packs of a node: who reads on finds the next batches there.
#[derive(Debug, Default)]
pub struct PackBlocks {
    /// The newest first.
    recent: Mutex<VecDeque<(BlockOf, Block)>>,
}

/// Start and serial number of a pack, and the index of one of its blocks.
type BlockOf = (Position, u32, usize);

impl PackBlocks {
    fn find(&self, wanted: BlockOf) -> Option<Block> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.iter().find(|(of, _)| *of == wanted).map(|(_, block)| block.clone())
    }

    fn keep(&self, of: BlockOf, block: Block) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.truncate(RECENT_MAX - 1);
        recent.push_front((of, block));
    }
}

/// A verified block.
#[derive(Debug, Clone)]
struct Block {
    bytes: Bytes,
    batches: usize,
}

impl Block {
    fn take(bytes: Bytes) -> Result<Self, Truncated> {
        let mut cursor = Cursor::new(&bytes);
        let batches = u32::from_le_bytes(cursor.array()?) as usize;
        let mut len = batches.checked_mul(PLACE).and_then(|len| len.checked_add(4));
        for _ in 0..batches {
            let _number: [u8; 8] = cursor.array()?;
            let more = u32::from_le_bytes(cursor.array()?) as usize;
            len = len.and_then(|len| len.checked_add(more));
        }
        if len == Some(bytes.len()) { Ok(Self { bytes, batches }) } else { Err(Truncated) }
    }

    /// Numbers, and where in the block their batches are, in their order.
    fn places(&self) -> impl Iterator<Item = (BatchNumber, Range<usize>)> + '_ {
        let mut at = 4 + self.batches * PLACE;
        self.bytes[4..at].chunks_exact(PLACE).map(move |place| {
            let (number, len) = place.split_at(8);
            let number = u64::from_le_bytes(number.try_into().expect("8 bytes"));
            let len = u32::from_le_bytes(len.try_into().expect("4 bytes")) as usize;
            let place = at..at + len;
            at += len;
            (BatchNumber::new(number), place)
        })
    }
}

impl PackReader {
    /// Opens the pack that the manifest of `journal` names, and verifies header and index.
    ///
    /// # Errors
    /// [`KeptError`] if it is missing, damaged, another than the named one, or cannot be read.
    pub fn open(disk: &dyn Disk, journal: JournalId, info: &PackFile) -> Result<Self, KeptError> {
        let source = Source::open(disk, info.name())?;
        let named = Named {
            magic: MAGIC,
            version: VERSION,
            len_bytes: info.len_bytes,
            checksum: info.checksum,
            header_len: HEADER,
            rows: info.blocks,
            row_len: ROW,
            index_at: IndexAt::End,
        };
        let index = source.index(&named, |hash| header(info, journal, hash))?;
        let index_at = info.len_bytes - index.len() as u64;
        let rows = index.chunks(ROW).map(|row| BlockRow::decode(&mut Cursor::new(row)));
        let rows: Result<Vec<_>, _> = rows.collect();
        let rows = rows.map_err(|_| source.corrupt("its index is not well formed"))?;
        let mut at = HEADER as u64;
        for row in &rows {
            let fits = row.at == at && row.plain_len as usize <= BLOCK_BYTES_MAX;
            at = at.saturating_add(u64::from(row.len_bytes));
            if !fits || at > index_at {
                return Err(source.corrupt("its index is not well formed"));
            }
        }
        if at != index_at || !rows.is_sorted_by(|a, b| a.key() < b.key()) {
            return Err(source.corrupt("its index is not well formed"));
        }
        Ok(Self { info: *info, source, rows })
    }

    /// What the manifest says of it.
    pub fn info(&self) -> &PackFile {
        &self.info
    }

    /// The bytes of a stored batch; `None` if it is not in here.
    ///
    /// # Errors
    /// [`KeptError`] where its block does not verify, or the disk fails.
    pub fn batch(
        &self,
        blocks: &PackBlocks,
        slot: Slot,
        number: BatchNumber,
    ) -> Result<Option<Bytes>, KeptError> {
        let behind = self.rows.partition_point(|row| row.key() <= (slot, number));
        let Some(index) = behind.checked_sub(1) else { return Ok(None) };
        if self.rows[index].slot != slot {
            return Ok(None);
        }
        let of = (self.info.start, self.info.serial, index);
        let block = if let Some(block) = blocks.find(of) {
            block
        } else {
            let block = self.read(&self.rows[index])?;
            blocks.keep(of, block.clone());
            block
        };
        let found = block.places().find(|(found, _)| *found == number);
        Ok(found.map(|(_, place)| block.bytes.slice(place)))
    }

    /// What it holds of a partition from batch `from` on, in bytes; up to a block too much.
    pub fn held_bytes(&self, slot: Slot, from: BatchNumber) -> u64 {
        let behind = self.rows.partition_point(|row| row.key() <= (slot, from));
        let rows = &self.rows[behind.saturating_sub(1)..];
        let rows = rows.iter().skip_while(|row| row.slot < slot);
        rows.take_while(|row| row.slot == slot).map(|row| u64::from(row.plain_len)).sum()
    }

    /// Reads and verifies all of it.
    ///
    /// # Errors
    /// [`KeptError`] with the first damage.
    pub fn verify(&self) -> Result<(), KeptError> {
        let mut len_bytes = 0;
        for row in &self.rows {
            let block = self.read(row)?;
            let mut before = None;
            for (number, place) in block.places() {
                let in_turn = before.is_none_or(|before| before < number);
                if !in_turn || (before.is_none() && number != row.first) {
                    return Err(self.source.corrupt("a block's batches are not in their order"));
                }
                before = Some(number);
                len_bytes += place.len() as u64;
                self.source.batch(block.bytes.slice(place), number)?;
            }
        }
        if len_bytes == self.info.batch_bytes {
            Ok(())
        } else {
            Err(self.source.corrupt("its batches are not as long as it says"))
        }
    }

    fn read(&self, row: &BlockRow) -> Result<Block, KeptError> {
        let bytes = self.source.read(row.at, row.len_bytes as usize)?;
        if xxh3_128(&bytes) != row.checksum {
            return Err(self.source.corrupt("the checksum of a block is wrong"));
        }
        let plain_len = row.plain_len as usize;
        let plain = match row.compression {
            PackCompression::None => Some(bytes),
            PackCompression::Zstd => {
                zstd::bulk::decompress(&bytes, plain_len).ok().map(Bytes::from)
            }
        };
        let plain = plain.filter(|plain| plain.len() == plain_len);
        let block = plain.and_then(|plain| Block::take(plain).ok());
        block.ok_or_else(|| self.source.corrupt("a block is none"))
    }
}
