//! Entries to bytes and back.

use bytes::Bytes;
use takt_protocol::batch::{StoredBatch, StoredError};
use takt_protocol::chunks::Chunks;
use takt_protocol::varint::{self, Cursor, Truncated};
use takt_protocol::wire::{BatchReceipt, ReceiptError};
use takt_protocol::words::{
    BatchNumber, CursorName, Epoch, JournalId, NameError, NodeName, Offset, PartitionChain,
    ProducerId, Timestamp, TopicName,
};

use super::{BATCH_AT, Entry, PackFile, SealedFile, SideFile, TopicSettings};
use crate::journal::Position;
use crate::runs::{RunInfo, Slot};

pub(super) const TOPIC_CREATED: u8 = 1;
pub(super) const MIRROR_BEGUN: u8 = 2;
pub(super) const BATCH: u8 = 3;
pub(super) const MIRROR_BATCH: u8 = 4;
pub(super) const SEQUENCE_ADVANCED: u8 = 5;
pub(super) const PRODUCER_OPENED: u8 = 6;
pub(super) const PRODUCER_DROPPED: u8 = 7;
pub(super) const CURSOR_SET: u8 = 8;
pub(super) const CURSOR_REMOVED: u8 = 9;
pub(super) const RUN_ADDED: u8 = 10;
pub(super) const FILE_DROPPED: u8 = 11;
pub(super) const CONFLICTS_KEPT: u8 = 13;
pub(super) const MIRROR_STARTED: u8 = 14;
pub(super) const KEYS_MERGED: u8 = 15;
pub(super) const KEYS_DROPPED: u8 = 16;
pub(super) const SLOTS_TRIMMED: u8 = 17;
pub(super) const RETENTION_SET: u8 = 18;
pub(super) const PACK_ADDED: u8 = 19;
pub(super) const PACK_COMPACTED: u8 = 20;
pub(super) const COMPACTION_SET: u8 = 21;

/// Why bytes are no entry, although the commit around them verifies: they are of a newer version,
/// or this program has a bug.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// No such kind.
    #[error("entries of kind {0} are not known; use the version of takt that wrote the journal")]
    Kind(u8),
    /// The bytes end early, have some left, or hold no valid number.
    #[error("an entry's bytes are not well formed")]
    Malformed,
    /// A name is none.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A batch is none.
    #[error(transparent)]
    Batch(#[from] StoredError),
    /// A receipt is none.
    #[error(transparent)]
    Receipt(#[from] ReceiptError),
}

impl From<Truncated> for EntryError {
    fn from(_: Truncated) -> Self {
        Self::Malformed
    }
}

impl Entry {
    /// Appends the bytes in front of a batch, or all of an entry without one.
    pub(crate) fn encode_head(&self, out: &mut Vec<u8>) {
        match self {
            Self::Batch { slot, .. } | Self::MirrorBatch { slot, .. } => {
                out.extend_from_slice(&slot.get().to_le_bytes());
            }
            Self::TopicCreated { topic, settings } => {
                put_name(out, topic.as_str());
                settings.encode(out);
            }
            Self::MirrorBegun { origin, journal, topic, settings } => {
                put_name(out, origin.as_str());
                out.extend_from_slice(journal.as_bytes());
                put_name(out, topic.as_str());
                settings.encode(out);
            }
            Self::SequenceAdvanced { producer, topic, crc, receipt } => {
                put_name(out, producer.as_str());
                put_name(out, topic.as_str());
                out.extend_from_slice(&crc.to_le_bytes());
                receipt.encode(out);
            }
            Self::ProducerOpened { producer, topic, epoch, transient, at } => {
                put_name(out, producer.as_str());
                put_name(out, topic.as_str());
                varint::put(out, epoch.get());
                out.push(u8::from(*transient));
                varint::put_signed(out, at.as_micros());
            }
            Self::ProducerDropped { producer, topic } => {
                put_name(out, producer.as_str());
                put_name(out, topic.as_str());
            }
            Self::CursorSet { name, topic, hold, positions } => {
                put_name(out, name.as_str());
                put_name(out, topic.as_str());
                out.push(u8::from(*hold));
                varint::put(out, positions.len() as u64);
                for (slot, offset) in positions {
                    varint::put(out, u64::from(slot.get()));
                    varint::put(out, offset.get());
                }
            }
            Self::CursorRemoved { name } => put_name(out, name.as_str()),
            Self::RunAdded { file } => file.encode(out),
            Self::FileDropped { start } => varint::put(out, start.get()),
            Self::ConflictsKept { side } => side.encode(out),
            Self::PackAdded { pack } if pack.is_compacted() => pack.encode_compacted(out),
            Self::PackAdded { pack } => pack.encode(out),
            Self::CompactionSet { topic, compact } => {
                put_name(out, topic.as_str());
                out.push(u8::from(*compact));
            }
            Self::KeysMerged { run } => run.encode(out),
            Self::KeysDropped { upto } => varint::put(out, upto.get()),
            Self::SlotsTrimmed { start, slots } => {
                varint::put(out, start.get());
                varint::put(out, slots.len() as u64);
                for slot in slots {
                    varint::put(out, u64::from(slot.get()));
                }
            }
            Self::RetentionSet { topic, retention_ms, retention_bytes } => {
                put_name(out, topic.as_str());
                varint::put(out, *retention_ms);
                varint::put(out, *retention_bytes);
            }
            Self::MirrorStarted { slot, batch, offset, chain } => {
                varint::put(out, u64::from(slot.get()));
                varint::put(out, batch.get());
                varint::put(out, offset.get());
                out.extend_from_slice(chain.as_bytes());
            }
        }
    }

    /// The batch behind [`Entry::encode_head`]'s bytes.
    pub(crate) fn batch(&self) -> Option<&StoredBatch> {
        match self {
            Self::Batch { batch, .. } | Self::MirrorBatch { batch, .. } => Some(batch),
            Self::TopicCreated { .. }
            | Self::MirrorBegun { .. }
            | Self::SequenceAdvanced { .. }
            | Self::ProducerOpened { .. }
            | Self::ProducerDropped { .. }
            | Self::CursorSet { .. }
            | Self::CursorRemoved { .. }
            | Self::RunAdded { .. }
            | Self::FileDropped { .. }
            | Self::ConflictsKept { .. }
            | Self::KeysMerged { .. }
            | Self::KeysDropped { .. }
            | Self::SlotsTrimmed { .. }
            | Self::RetentionSet { .. }
            | Self::PackAdded { .. }
            | Self::CompactionSet { .. }
            | Self::MirrorStarted { .. } => None,
        }
    }

    /// Whether entries of the kind change the manifest.
    pub(crate) fn is_of_manifest(kind: u8) -> bool {
        matches!(
            kind,
            RUN_ADDED
                | FILE_DROPPED
                | CONFLICTS_KEPT
                | KEYS_MERGED
                | KEYS_DROPPED
                | SLOTS_TRIMMED
                | PACK_ADDED
                | PACK_COMPACTED
        )
    }

    /// Reads an entry whose commit verifies.
    ///
    /// # Errors
    /// [`EntryError`] where the kind is not known or the bytes are not one entry of it.
    pub fn decode(kind: u8, bytes: &Bytes) -> Result<Self, EntryError> {
        if kind == BATCH || kind == MIRROR_BATCH {
            return decode_batch(kind, bytes);
        }
        let cursor = &mut Cursor::new(bytes);
        let entry = match kind {
            TOPIC_CREATED => {
                let topic = TopicName::new(get_name(cursor)?)?;
                Self::TopicCreated { topic, settings: TopicSettings::decode(cursor)? }
            }
            MIRROR_BEGUN => {
                let origin = NodeName::new(get_name(cursor)?)?;
                let journal = get_journal(cursor)?;
                let topic = TopicName::new(get_name(cursor)?)?;
                let settings = TopicSettings::decode(cursor)?;
                Self::MirrorBegun { origin, journal, topic, settings }
            }
            SEQUENCE_ADVANCED => {
                let producer = ProducerId::from_text(get_name(cursor)?)?;
                let topic = TopicName::new(get_name(cursor)?)?;
                let crc = u32::from_le_bytes(cursor.array()?);
                let mut rest = bytes.slice_ref(cursor.rest());
                let receipt = BatchReceipt::decode(&mut rest)?;
                *cursor = Cursor::new(&bytes[bytes.len() - rest.len()..]);
                Self::SequenceAdvanced { producer, topic, crc, receipt }
            }
            PRODUCER_OPENED => Self::ProducerOpened {
                producer: ProducerId::from_text(get_name(cursor)?)?,
                topic: TopicName::new(get_name(cursor)?)?,
                epoch: Epoch::new(cursor.varint()?),
                transient: cursor.u8()? != 0,
                at: Timestamp::from_micros(cursor.varint_signed()?),
            },
            PRODUCER_DROPPED => Self::ProducerDropped {
                producer: ProducerId::from_text(get_name(cursor)?)?,
                topic: TopicName::new(get_name(cursor)?)?,
            },
            CURSOR_SET => {
                let name = CursorName::new(get_name(cursor)?)?;
                let topic = TopicName::new(get_name(cursor)?)?;
                let hold = cursor.u8()? != 0;
                let mut positions = Vec::new();
                for _ in 0..cursor.varint_usize()? {
                    positions.push((get_slot(cursor)?, Offset::new(cursor.varint()?)));
                }
                Self::CursorSet { name, topic, hold, positions }
            }
            CURSOR_REMOVED => Self::CursorRemoved { name: CursorName::new(get_name(cursor)?)? },
            RUN_ADDED => Self::RunAdded { file: SealedFile::decode(cursor)? },
            FILE_DROPPED => Self::FileDropped { start: Position::new(cursor.varint()?) },
            CONFLICTS_KEPT => Self::ConflictsKept { side: SideFile::decode(cursor)? },
            PACK_ADDED => Self::PackAdded { pack: PackFile::decode(cursor)? },
            PACK_COMPACTED => {
                let pack = PackFile::decode_compacted(cursor)?;
                // Of one that is not, there is another kind.
                if !pack.is_compacted() {
                    return Err(EntryError::Malformed);
                }
                Self::PackAdded { pack }
            }
            COMPACTION_SET => Self::CompactionSet {
                topic: TopicName::new(get_name(cursor)?)?,
                compact: cursor.u8()? != 0,
            },
            KEYS_MERGED => Self::KeysMerged { run: RunInfo::decode(cursor)? },
            KEYS_DROPPED => Self::KeysDropped { upto: Position::new(cursor.varint()?) },
            SLOTS_TRIMMED => {
                let start = Position::new(cursor.varint()?);
                let mut slots = Vec::new();
                for _ in 0..cursor.varint_usize()? {
                    slots.push(get_slot(cursor)?);
                }
                Self::SlotsTrimmed { start, slots }
            }
            RETENTION_SET => Self::RetentionSet {
                topic: TopicName::new(get_name(cursor)?)?,
                retention_ms: cursor.varint()?,
                retention_bytes: cursor.varint()?,
            },
            MIRROR_STARTED => Self::MirrorStarted {
                slot: get_slot(cursor)?,
                batch: BatchNumber::new(cursor.varint()?),
                offset: Offset::new(cursor.varint()?),
                chain: PartitionChain::new(cursor.array()?),
            },
            _ => return Err(EntryError::Kind(kind)),
        };
        if cursor.is_empty() { Ok(entry) } else { Err(EntryError::Malformed) }
    }
}

fn decode_batch(kind: u8, bytes: &Bytes) -> Result<Entry, EntryError> {
    let slot = Slot::new(u32::from_le_bytes(Cursor::new(bytes).array()?));
    let mut rest = Chunks::from(bytes.slice(BATCH_AT..));
    let batch = StoredBatch::take(&mut rest)?;
    if !rest.is_empty() {
        return Err(EntryError::Malformed);
    }
    Ok(if kind == BATCH {
        Entry::Batch { slot, batch }
    } else {
        Entry::MirrorBatch { slot, batch }
    })
}

pub(crate) fn put_name(out: &mut Vec<u8>, name: &str) {
    varint::put_slice(out, name.as_bytes());
}

pub(crate) fn get_name<'a>(cursor: &mut Cursor<'a>) -> Result<&'a str, Truncated> {
    std::str::from_utf8(cursor.slice()?).map_err(|_| Truncated)
}

pub(crate) fn get_journal(cursor: &mut Cursor<'_>) -> Result<JournalId, Truncated> {
    cursor.array().map(JournalId::new)
}

pub(crate) fn get_slot(cursor: &mut Cursor<'_>) -> Result<Slot, Truncated> {
    u32::try_from(cursor.varint()?).map(Slot::new).map_err(|_| Truncated)
}
