//! What the store is asked to do, and what it answers.

use takt_protocol::batch::{Batch, StoredBatch};
use takt_protocol::session::Refusal;
use takt_protocol::session::producer::KeptReceipt;
use takt_protocol::words::{
    BatchNumber, CursorName, Epoch, JournalId, NodeName, Offset, PartitionChain, PartitionNumber,
    ProducerId, Sequence, TopicName,
};

use crate::entry::{BatchReceipt, TopicSettings};
use crate::keys::KeyHashes;
use crate::runs::Slot;

/// A topic of an origin, as its mirror opens it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MirrorTopic {
    /// Its name.
    pub name: TopicName,
    /// The origin's settings; the partitions may never change.
    pub settings: TopicSettings,
}

/// What the store is asked to do. Rights and the form of what a peer sent are checked before.
#[derive(Debug, Clone)]
pub enum Operation {
    /// Makes a topic of this node; again with the same settings is no error.
    CreateTopic {
        /// Its name.
        name: TopicName,
        /// Its settings.
        settings: TopicSettings,
    },
    /// A topic of this node keeps other events from now on; what is `None` stays as it is.
    SetRetention {
        /// Its name.
        name: TopicName,
        /// As in [`TopicSettings`].
        retention_ms: Option<u64>,
        /// As in [`TopicSettings`].
        retention_bytes: Option<u64>,
        /// As in [`TopicSettings`].
        compact: Option<bool>,
    },
    /// A producer begins an incarnation: all lower epochs are fenced.
    OpenProducer {
        /// Who.
        producer: ProducerId,
        /// In which topic.
        topic: TopicName,
        /// Forgotten some time after its session has ended.
        transient: bool,
    },
    /// The session of a producer has ended.
    CloseProducer {
        /// It has not said so: its connection is gone, and it may come back. A transient one is
        /// known for 7 days then, and for an hour otherwise.
        lost: bool,
        /// Who.
        producer: ProducerId,
        /// In which topic.
        topic: TopicName,
        /// Its incarnation: a newer one stays open.
        epoch: Epoch,
    },
    /// A batch is published.
    Publish {
        /// Who publishes.
        producer: ProducerId,
        /// In which topic.
        topic: TopicName,
        /// In which incarnation.
        epoch: Epoch,
        /// The batch; [`Batch::check`] has passed with the topic's partitions.
        batch: Batch,
        /// Of this batch and topic, by [`crate::view::View::key_hasher`].
        keys: KeyHashes,
    },
    /// An origin's link asks where its mirrors end; mirrors that do not exist are made.
    OpenMirror {
        /// The node that judges.
        origin: NodeName,
        /// Its journal.
        journal: JournalId,
        /// Its topics.
        topics: Vec<MirrorTopic>,
    },
    /// The first batch of an empty mirror is not its origin's batch 0: retention has dropped what
    /// was before. Comes before that batch.
    StartMirror {
        /// The mirror's number.
        slot: Slot,
        /// The journal that the link has named.
        journal: JournalId,
        /// The first batch.
        batch: BatchNumber,
        /// The offset of its first visible record.
        offset: Offset,
        /// The chain before it, as the origin tells it.
        chain: PartitionChain,
    },
    /// A batch of an origin.
    Mirror {
        /// The mirror's number: [`crate::view::PartitionView::slot`].
        slot: Slot,
        /// The journal that the link has named.
        journal: JournalId,
        /// The batch; [`Batch::check`] has passed with the topic's partitions. The chain is
        /// checked here.
        batch: StoredBatch,
        /// Of this batch and topic; the order index needs them.
        keys: KeyHashes,
    },
    /// Moves a cursor, or makes it.
    SetCursor {
        /// Its name.
        name: CursorName,
        /// What it is a position in.
        topic: TopicName,
        /// Whether it holds retention back; `None`: as it is, and a new one does not.
        hold: Option<bool>,
        /// The next offset to be read, by slot. Slots that are not named keep theirs.
        positions: Vec<(Slot, Offset)>,
    },
    /// Forgets a cursor.
    RemoveCursor {
        /// Its name.
        name: CursorName,
    },
}

/// What a producer learns when its incarnation begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerOpened {
    /// Its incarnation.
    pub epoch: Epoch,
    /// The last sequence that is stored; 0 where none is.
    pub last_sequence: Sequence,
    /// The topic's partitions.
    pub partitions: u16,
    /// The last receipts, at most 64, oldest first.
    pub kept: Vec<KeptReceipt>,
}

/// Where a mirror ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MirrorPoint {
    /// The number of the batch that must come next.
    pub next_batch: BatchNumber,
    /// The chain up to there.
    pub chain: PartitionChain,
    /// The offset behind the last visible record.
    pub next_offset: Offset,
}

/// Where one mirror ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MirrorEnd {
    /// Its number here.
    pub slot: Slot,
    /// The topic.
    pub topic: TopicName,
    /// The partition.
    pub partition: PartitionNumber,
    /// `None` where it is empty: it may begin at the origin's start.
    pub end: Option<MirrorPoint>,
}

/// What an operation came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The topic is there; whether it was made now.
    TopicCreated {
        /// False where it was there with the same settings.
        fresh: bool,
    },
    /// The topic's retention is as it was asked for.
    RetentionSet,
    /// The producer may send.
    ProducerOpened(ProducerOpened),
    /// The producer's session has ended.
    ProducerClosed,
    /// The batch is judged.
    Receipt(BatchReceipt),
    /// The mirrors are open: one end per partition of each topic, in the order asked.
    MirrorOpened(Vec<MirrorEnd>),
    /// The mirror begins there.
    MirrorStarted,
    /// The mirror ends there now; also for a batch that it had already.
    Mirrored {
        /// The mirror's number.
        slot: Slot,
        /// Its end.
        end: MirrorPoint,
    },
    /// The disk is full: the mirrored batch was not taken. The link gives no credit until
    /// [`crate::view::Status::full`] is false, and opens its mirrors anew.
    Full,
    /// The cursor stands.
    CursorSet,
    /// The cursor is gone.
    CursorRemoved,
    /// Nothing was changed.
    Refused(Refusal),
}

/// What became of an operation at once.
#[derive(Debug)]
pub enum Staged<T> {
    /// The answer comes with the durability of the commit that is being filled.
    Held,
    /// The answer needs no durability.
    Answered(T, Answer),
}
