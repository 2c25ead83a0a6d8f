//! The journal's entries: every change of a node's state, as it lies on disk.
//!
//! An entry is a kind (one byte) and bytes; what must be atomic is one entry or several in one
//! commit. A kind never changes its layout: a new layout gets a new kind. Entries hold verdicts,
//! never questions: replay applies them and judges nothing.
//!
//! ```text
//!  1 TopicCreated      topic, settings
//!  2 MirrorBegun       origin, origin's journal (16 bytes), topic, settings
//!  3 Batch             slot (u32), stored batch
//!  4 MirrorBatch       slot (u32), stored batch
//!  5 SequenceAdvanced  producer, topic, crc (u32), receipt
//!  6 ProducerOpened    producer, topic, epoch, transient (u8), append time (signed)
//!  7 ProducerDropped   producer, topic
//!  8 CursorSet         name, topic, hold (u8), count, then each: slot, offset
//!  9 CursorRemoved     name
//! 10 RunAdded          see `manifest`
//! 11 FileDropped       start of the journal file
//! 12 reserved: the clock was confirmed by an operator or the upstream
//! 13 ConflictsKept     see `manifest`
//! 14 MirrorStarted     slot, batch, offset, chain (16 bytes)
//! 15 KeysMerged        the run's info, see `manifest`
//! 16 KeysDropped       the end of what is forgotten
//! 17 SlotsTrimmed      start of the journal file, count, then each: slot
//! 18 RetentionSet      topic, age in ms, bytes
//! 19 PackAdded         see `manifest`
//! 20 PackAdded         of a compacted pack, see `manifest`
//! 21 CompactionSet     topic, u8: 0 off, 1 on
//! ```
//! Names are text behind their length; numbers are varints unless a width is given, and
//! little-endian where one is.

mod codec;
mod manifest;
mod settings;

use takt_protocol::batch::StoredBatch;
use takt_protocol::words::{
    BatchNumber, CursorName, Epoch, JournalId, NodeName, Offset, PartitionChain, ProducerId,
    Timestamp, TopicName,
};

use crate::journal::Position;
use crate::runs::{RunInfo, Slot};

pub use codec::EntryError;
pub(crate) use codec::{get_journal, get_name, get_slot, put_name};
pub use manifest::{PackFile, SealedFile, SideFile, SlotEnd};
pub use settings::{OnConflict, TopicSettings};
pub use takt_protocol::wire::BatchReceipt;

/// Where the stored batch begins within a [`Entry::Batch`] or [`Entry::MirrorBatch`].
pub(crate) const BATCH_AT: usize = 4;

/// One change of the state.
#[derive(Debug, Clone)]
pub enum Entry {
    /// A topic of this node; its partitions get the next slots in their order.
    TopicCreated {
        /// Its name.
        topic: TopicName,
        /// Its settings.
        settings: TopicSettings,
    },
    /// A mirror of an origin's topic; its partitions get the next slots in their order.
    MirrorBegun {
        /// The node that judges.
        origin: NodeName,
        /// Its journal: no other may ever be mirrored here.
        journal: JournalId,
        /// The topic.
        topic: TopicName,
        /// The origin's settings.
        settings: TopicSettings,
    },
    /// A batch that this node judged.
    Batch {
        /// Its partition.
        slot: Slot,
        /// With the verdicts.
        batch: StoredBatch,
    },
    /// A batch that another node judged.
    MirrorBatch {
        /// Its partition.
        slot: Slot,
        /// As the origin stores it.
        batch: StoredBatch,
    },
    /// A batch of which nothing is kept: repeats, and conflicts that are known or not kept.
    SequenceAdvanced {
        /// Who sent it.
        producer: ProducerId,
        /// To which topic.
        topic: TopicName,
        /// The CRC of the batch.
        crc: u32,
        /// What was answered.
        receipt: BatchReceipt,
    },
    /// A producer began an incarnation.
    ProducerOpened {
        /// Who.
        producer: ProducerId,
        /// In which topic.
        topic: TopicName,
        /// Which incarnation.
        epoch: Epoch,
        /// Forgotten an hour after its session has ended.
        transient: bool,
        /// When.
        at: Timestamp,
    },
    /// A producer is forgotten.
    ProducerDropped {
        /// Who.
        producer: ProducerId,
        /// In which topic.
        topic: TopicName,
    },
    /// A cursor was made or moved.
    CursorSet {
        /// Its name.
        name: CursorName,
        /// What it is a position in.
        topic: TopicName,
        /// Whether it holds retention back.
        hold: bool,
        /// The next offset to be read; slots that are not named keep theirs.
        positions: Vec<(Slot, Offset)>,
    },
    /// A cursor is gone.
    CursorRemoved {
        /// Its name.
        name: CursorName,
    },
    /// A journal file is sealed and its run is durable.
    RunAdded {
        /// What the manifest says of it.
        file: SealedFile,
    },
    /// Retention drops a sealed journal file. Where it holds open conflicts, an entry before it,
    /// durable when this one is judged, names their side file.
    FileDropped {
        /// Where it starts.
        start: Position,
    },
    /// The open conflicts of a sealed journal file are durable in a side file.
    ConflictsKept {
        /// What the manifest says of it.
        side: SideFile,
    },
    /// The keys of several runs that follow each other are durable in one.
    KeysMerged {
        /// What the manifest says of it.
        run: RunInfo,
    },
    /// The horizon has passed all keys of these positions and of those before: they are forgotten.
    KeysDropped {
        /// Exclusive.
        upto: Position,
    },
    /// The retention of their topics has passed all batches of these partitions in a sealed journal
    /// file that holds others too; it is kept for those. Where none is left, it is dropped instead.
    /// Open conflicts are as for [`Entry::FileDropped`].
    SlotsTrimmed {
        /// Where the file starts.
        start: Position,
        /// The partitions, ascending; at least one, and not all that the file holds.
        slots: Vec<Slot>,
    },
    /// What sealed journal files still hold is durable in a pack: these files go, and the packs that lie
    /// within it.
    PackAdded {
        /// What the manifest says of it.
        pack: PackFile,
    },
    /// A topic of this node has another retention from now on.
    RetentionSet {
        /// Which.
        topic: TopicName,
        /// As in [`TopicSettings`].
        retention_ms: u64,
        /// As in [`TopicSettings`].
        retention_bytes: u64,
    },
    /// Whether events of a topic of this node may go when later ones of their order keys have come.
    CompactionSet {
        /// Which.
        topic: TopicName,
        /// As in [`TopicSettings`].
        compact: bool,
    },
    /// An empty mirror begins where its origin does, which has dropped what was before.
    MirrorStarted {
        /// Its partition.
        slot: Slot,
        /// The first batch.
        batch: BatchNumber,
        /// The offset of its first visible record.
        offset: Offset,
        /// The chain before it.
        chain: PartitionChain,
    },
}

impl Entry {
    /// Its kind in the journal.
    pub fn kind(&self) -> u8 {
        match self {
            Self::TopicCreated { .. } => codec::TOPIC_CREATED,
            Self::MirrorBegun { .. } => codec::MIRROR_BEGUN,
            Self::Batch { .. } => codec::BATCH,
            Self::MirrorBatch { .. } => codec::MIRROR_BATCH,
            Self::SequenceAdvanced { .. } => codec::SEQUENCE_ADVANCED,
            Self::ProducerOpened { .. } => codec::PRODUCER_OPENED,
            Self::ProducerDropped { .. } => codec::PRODUCER_DROPPED,
            Self::CursorSet { .. } => codec::CURSOR_SET,
            Self::CursorRemoved { .. } => codec::CURSOR_REMOVED,
            Self::RunAdded { .. } => codec::RUN_ADDED,
            Self::FileDropped { .. } => codec::FILE_DROPPED,
            Self::ConflictsKept { .. } => codec::CONFLICTS_KEPT,
            Self::MirrorStarted { .. } => codec::MIRROR_STARTED,
            Self::KeysMerged { .. } => codec::KEYS_MERGED,
            Self::KeysDropped { .. } => codec::KEYS_DROPPED,
            Self::SlotsTrimmed { .. } => codec::SLOTS_TRIMMED,
            Self::RetentionSet { .. } => codec::RETENTION_SET,
            Self::PackAdded { pack } if pack.is_compacted() => codec::PACK_COMPACTED,
            Self::PackAdded { .. } => codec::PACK_ADDED,
            Self::CompactionSet { .. } => codec::COMPACTION_SET,
        }
    }
}

#[cfg(test)]
mod tests;
