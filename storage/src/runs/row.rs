//! The rows of a run's sections: each of one width, each with a form in bytes.

use takt_protocol::varint::{Cursor, Truncated};
use takt_protocol::words::{BatchNumber, Offset, OrderSequence, PartitionChain, Timestamp};

use super::extent::{Extent, MaskedAddress, OrderRow, Slot, SlotSummary};
use crate::{
    journal::Position,
    ledger::{HeadEntry, LedgerEntry},
};

/// What a section holds.
pub(crate) trait Row: Copy {
    /// What the rows are sorted by, strictly.
    type Key: Ord;
    /// Length in bytes.
    const LEN: usize;

    fn key(&self) -> Self::Key;

    /// Appends [`Row::LEN`] bytes.
    fn encode(&self, out: &mut Vec<u8>);

    /// Reads [`Row::LEN`] bytes.
    fn decode(cursor: &mut Cursor<'_>) -> Result<Self, Truncated>;
}

impl Row for LedgerEntry {
    /// With the kind: the same content may be the first under one of a record's keys and set aside
    /// under the other, and neither is forgotten for the other.
    type Key = (u128, u64, u8);
    const LEN: usize = LedgerEntry::LEN;

    fn key(&self) -> Self::Key {
        #[cfg(takt_planted)]
        if takt_protocol::planted::is("conflict_replaces_first") {
            return (self.hash(), self.digest64(), 0);
        }
        (self.hash(), self.digest64(), self.kind_number())
    }

    fn encode(&self, out: &mut Vec<u8>) {
        self.encode(out);
    }

    fn decode(cursor: &mut Cursor<'_>) -> Result<Self, Truncated> {
        Self::decode(&cursor.array()?).ok_or(Truncated)
    }
}

impl Row for HeadEntry {
    type Key = u128;
    const LEN: usize = HeadEntry::LEN;

    fn key(&self) -> u128 {
        self.hash
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.hash.to_le_bytes());
        out.extend_from_slice(&self.last.get().to_le_bytes());
        out.extend_from_slice(&self.last_append_time.as_micros().to_le_bytes());
    }

    fn decode(cursor: &mut Cursor<'_>) -> Result<Self, Truncated> {
        Ok(Self {
            hash: u128::from_le_bytes(cursor.array()?),
            last: OrderSequence::new(word(cursor)?),
            last_append_time: time(cursor)?,
        })
    }
}

impl Row for Extent {
    type Key = (Slot, BatchNumber);
    const LEN: usize = 48;

    fn key(&self) -> Self::Key {
        (self.slot, self.batch_number)
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.slot.get().to_le_bytes());
        out.extend_from_slice(&self.len_bytes.to_le_bytes());
        out.extend_from_slice(&self.batch_number.get().to_le_bytes());
        out.extend_from_slice(&self.base_offset.get().to_le_bytes());
        out.extend_from_slice(&self.end_offset.get().to_le_bytes());
        out.extend_from_slice(&self.append_time.as_micros().to_le_bytes());
        out.extend_from_slice(&self.position.get().to_le_bytes());
    }

    fn decode(cursor: &mut Cursor<'_>) -> Result<Self, Truncated> {
        let slot = slot(cursor)?;
        let len_bytes = u32::from_le_bytes(cursor.array()?);
        Ok(Self {
            slot,
            len_bytes,
            batch_number: BatchNumber::new(word(cursor)?),
            base_offset: Offset::new(word(cursor)?),
            end_offset: Offset::new(word(cursor)?),
            append_time: time(cursor)?,
            position: Position::new(word(cursor)?),
        })
    }
}

impl Row for OrderRow {
    type Key = Self;
    const LEN: usize = 28;

    fn key(&self) -> Self {
        *self
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.hash.to_le_bytes());
        out.extend_from_slice(&self.slot.get().to_le_bytes());
        out.extend_from_slice(&self.offset.get().to_le_bytes());
    }

    fn decode(cursor: &mut Cursor<'_>) -> Result<Self, Truncated> {
        let hash = u128::from_le_bytes(cursor.array()?);
        Ok(Self { hash, slot: slot(cursor)?, offset: Offset::new(word(cursor)?) })
    }
}

impl Row for MaskedAddress {
    type Key = Self;
    const LEN: usize = 14;

    fn key(&self) -> Self {
        *self
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.slot.get().to_le_bytes());
        out.extend_from_slice(&self.batch_number.get().to_le_bytes());
        out.extend_from_slice(&self.index.to_le_bytes());
    }

    fn decode(cursor: &mut Cursor<'_>) -> Result<Self, Truncated> {
        Ok(Self {
            slot: slot(cursor)?,
            batch_number: BatchNumber::new(word(cursor)?),
            index: u16::from_le_bytes(cursor.array()?),
        })
    }
}

impl Row for SlotSummary {
    type Key = Slot;
    const LEN: usize = 72;

    fn key(&self) -> Slot {
        self.slot
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.slot.get().to_le_bytes());
        out.extend_from_slice(&self.batches.to_le_bytes());
        out.extend_from_slice(&self.first_batch.get().to_le_bytes());
        out.extend_from_slice(&self.end_batch.get().to_le_bytes());
        out.extend_from_slice(&self.first_offset.get().to_le_bytes());
        out.extend_from_slice(&self.end_offset.get().to_le_bytes());
        out.extend_from_slice(&self.first_time.as_micros().to_le_bytes());
        out.extend_from_slice(&self.last_time.as_micros().to_le_bytes());
        out.extend_from_slice(self.chain_before.as_bytes());
    }

    fn decode(cursor: &mut Cursor<'_>) -> Result<Self, Truncated> {
        Ok(Self {
            slot: slot(cursor)?,
            batches: u32::from_le_bytes(cursor.array()?),
            first_batch: BatchNumber::new(word(cursor)?),
            end_batch: BatchNumber::new(word(cursor)?),
            first_offset: Offset::new(word(cursor)?),
            end_offset: Offset::new(word(cursor)?),
            first_time: time(cursor)?,
            last_time: time(cursor)?,
            chain_before: PartitionChain::new(cursor.array()?),
        })
    }
}

fn word(cursor: &mut Cursor<'_>) -> Result<u64, Truncated> {
    Ok(u64::from_le_bytes(cursor.array()?))
}

fn time(cursor: &mut Cursor<'_>) -> Result<Timestamp, Truncated> {
    Ok(Timestamp::from_micros(i64::from_le_bytes(cursor.array()?)))
}

fn slot(cursor: &mut Cursor<'_>) -> Result<Slot, Truncated> {
    Ok(Slot::new(u32::from_le_bytes(cursor.array()?)))
}
