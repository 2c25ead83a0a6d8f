//! What the manifest says of a sealed journal file, of the side file with its open conflicts, and of a
//! pack.
//!
//! ```text
//! a sealed file
//! start, end         2 varints
//! newest append time signed varint
//! slots              count, then each: slot, next offset, next batch (varints), chain (16 bytes),
//!                    bytes appended (varint)
//! run                u8: 0 none, 1 followed by the run's info
//! a side file
//! start, incarnation of the journal file: 2 varints
//! batches, length    2 varints
//! checksum           16 bytes
//! a pack
//! start, end         2 varints
//! serial, blocks     2 varints
//! length             varint
//! bytes of batches   varint
//! checksum           16 bytes
//! compacted up to    varint, where the pack is compacted
//! ```

use takt_protocol::varint::{self, Cursor, Truncated};
use takt_protocol::words::{BatchNumber, Offset, PartitionChain, Timestamp};

use super::codec::get_slot;
use crate::journal::{Incarnation, Position};
use crate::runs::{RunInfo, Slot};
use crate::state::Edge;

/// Where a partition stood at the end of a journal file that holds batches of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotEnd {
    /// The partition.
    pub slot: Slot,
    /// The offset behind its last record in the file.
    pub next_offset: Offset,
    /// The number behind its last batch in the file.
    pub next_batch: BatchNumber,
    /// The chain up to there.
    pub chain: PartitionChain,
    /// What was ever appended to the partition up to there, in bytes.
    pub appended_bytes: u64,
}

/// A journal file that is written to no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedFile {
    /// Its first position.
    pub start: Position,
    /// Exclusive.
    pub end: Position,
    /// The newest append time of the batches in it, own and mirrored: retention by age goes by it.
    pub append_time: Timestamp,
    /// The partitions that it holds batches of, without those that are trimmed; empty once it is
    /// dropped.
    pub slots: Vec<SlotEnd>,
    /// Its run; `None` where it holds neither batches nor anything else for a run.
    pub run: Option<RunInfo>,
}

impl SlotEnd {
    pub(crate) fn edge(&self) -> Edge {
        Edge {
            offset: self.next_offset,
            batch: self.next_batch,
            chain: self.chain,
            bytes: self.appended_bytes,
        }
    }
}

impl SealedFile {
    /// Whether retention has dropped it; its run is kept for the ledger.
    pub fn is_dropped(&self) -> bool {
        self.slots.is_empty() && self.run.is_some()
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        varint::put(out, self.start.get());
        varint::put(out, self.end.get());
        varint::put_signed(out, self.append_time.as_micros());
        varint::put(out, self.slots.len() as u64);
        for end in &self.slots {
            varint::put(out, u64::from(end.slot.get()));
            varint::put(out, end.next_offset.get());
            varint::put(out, end.next_batch.get());
            out.extend_from_slice(end.chain.as_bytes());
            varint::put(out, end.appended_bytes);
        }
        match &self.run {
            None => out.push(0),
            Some(run) => {
                out.push(1);
                run.encode(out);
            }
        }
    }

    pub(crate) fn decode(cursor: &mut Cursor<'_>) -> Result<Self, Truncated> {
        let start = Position::new(cursor.varint()?);
        let end = Position::new(cursor.varint()?);
        let append_time = Timestamp::from_micros(cursor.varint_signed()?);
        let mut slots = Vec::new();
        for _ in 0..cursor.varint_usize()? {
            slots.push(SlotEnd {
                slot: get_slot(cursor)?,
                next_offset: Offset::new(cursor.varint()?),
                next_batch: BatchNumber::new(cursor.varint()?),
                chain: PartitionChain::new(cursor.array()?),
                appended_bytes: cursor.varint()?,
            });
        }
        let run = match cursor.u8()? {
            0 => None,
            1 => Some(RunInfo::decode(cursor)?),
            _ => return Err(Truncated),
        };
        if start >= end || end > Position::MAX {
            return Err(Truncated);
        }
        Ok(Self { start, end, append_time, slots, run })
    }
}

/// A side file: the batches of a journal file that hold open conflicts, kept beyond retention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SideFile {
    /// Where the journal file starts that they were copied from.
    pub start: Position,
    /// The incarnation of that journal file.
    pub incarnation: Incarnation,
    /// How many batches it holds; at least one.
    pub batches: u64,
    /// Its length in bytes.
    pub len_bytes: u64,
    /// The checksum of its header, which covers all of it.
    pub checksum: u128,
}

impl SideFile {
    /// The file's name.
    pub fn name(&self) -> String {
        format!("conflicts-{:016x}-{:08x}.side", self.start.get(), self.incarnation.get())
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        varint::put(out, self.start.get());
        varint::put(out, u64::from(self.incarnation.get()));
        varint::put(out, self.batches);
        varint::put(out, self.len_bytes);
        out.extend_from_slice(&self.checksum.to_le_bytes());
    }

    pub(crate) fn decode(cursor: &mut Cursor<'_>) -> Result<Self, Truncated> {
        let start = Position::new(cursor.varint()?);
        let incarnation = u32::try_from(cursor.varint()?).map_err(|_| Truncated)?;
        let batches = cursor.varint()?;
        let len_bytes = cursor.varint()?;
        let checksum = u128::from_le_bytes(cursor.array()?);
        if batches == 0 || start > Position::MAX {
            return Err(Truncated);
        }
        let incarnation = Incarnation::new(incarnation);
        Ok(Self { start, incarnation, batches, len_bytes, checksum })
    }
}

/// A pack: the batches that sealed journal files still held, in place of these files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackFile {
    /// Where the first of these files starts.
    pub start: Position,
    /// Where the last of them ends.
    pub end: Position,
    /// Higher than those of the packs that it took the place of.
    pub serial: u32,
    /// How many blocks it has.
    pub blocks: u64,
    /// Its length in bytes.
    pub len_bytes: u64,
    /// The length of all batches in it, in bytes.
    pub batch_bytes: u64,
    /// Events of compacted topics are left out of which later ones below this position have taken the
    /// place; 0 where none is.
    pub compacted_upto: Position,
    /// The checksum of its header, which covers all of it.
    pub checksum: u128,
}

impl PackFile {
    /// The file's name.
    pub fn name(&self) -> String {
        let (start, end, serial) = (self.start.get(), self.end.get(), self.serial);
        format!("pack-{start:016x}-{end:016x}-{serial:08x}.pack")
    }

    /// Whether batches in it may lack records.
    pub fn is_compacted(&self) -> bool {
        self.compacted_upto > Position::ZERO
    }

    /// Whether the journal file that starts there lies within.
    pub fn covers(&self, start: Position) -> bool {
        self.start <= start && start < self.end
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        varint::put(out, self.start.get());
        varint::put(out, self.end.get());
        varint::put(out, u64::from(self.serial));
        varint::put(out, self.blocks);
        varint::put(out, self.len_bytes);
        varint::put(out, self.batch_bytes);
        out.extend_from_slice(&self.checksum.to_le_bytes());
    }

    /// As [`PackFile::encode`], and up to where it is compacted.
    pub(crate) fn encode_compacted(&self, out: &mut Vec<u8>) {
        self.encode(out);
        varint::put(out, self.compacted_upto.get());
    }

    pub(crate) fn decode_compacted(cursor: &mut Cursor<'_>) -> Result<Self, Truncated> {
        let pack = Self::decode(cursor)?;
        let compacted_upto = Position::new(cursor.varint()?);
        if compacted_upto > Position::MAX {
            return Err(Truncated);
        }
        Ok(Self { compacted_upto, ..pack })
    }

    pub(crate) fn decode(cursor: &mut Cursor<'_>) -> Result<Self, Truncated> {
        let start = Position::new(cursor.varint()?);
        let end = Position::new(cursor.varint()?);
        let serial = u32::try_from(cursor.varint()?).map_err(|_| Truncated)?;
        let blocks = cursor.varint()?;
        let len_bytes = cursor.varint()?;
        let batch_bytes = cursor.varint()?;
        let checksum = u128::from_le_bytes(cursor.array()?);
        if start >= end || end > Position::MAX {
            return Err(Truncated);
        }
        let compacted_upto = Position::ZERO;
        Ok(Self { start, end, serial, blocks, len_bytes, batch_bytes, compacted_upto, checksum })
    }
}
