//! What a data directory holds. Everything borrows from its files; times are microseconds since
//! 1970, positions bytes of the journal.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use crate::{
    entry::Settings,
    manifest::{Holder, Manifest},
    verdict::{Place, Verdict},
};

/// All that a directory holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents<'a> {
    /// The node's name.
    pub node: &'a str,
    /// Its journal's id.
    pub journal: [u8; 16],
    /// Of the newest file.
    pub incarnation: u32,
    /// By slot: the node's own numbers of partitions, from 0.
    pub partitions: Vec<Partition<'a>>,
    /// By name.
    pub cursors: BTreeMap<&'a str, Cursor<'a>>,
    /// The open ones, also of batches that retention has dropped.
    pub conflicts: BTreeMap<MaskedAddress<'a>, OpenConflict>,
    /// Those that are known.
    pub producers: BTreeMap<ProducerKey<'a>, Producer>,
    /// The position that is proved durable (exclusive).
    pub durable_upto: u64,
    /// Where the valid commits end (exclusive), marks at the end included.
    pub end: u64,
    /// How many commits there are in the files, marks included.
    pub commits: u64,
    /// Bytes behind the end that a start sets aside.
    pub cut: u64,
    /// The journal files that count, oldest first.
    pub files: Vec<File<'a>>,
    /// Sealed files, runs, side files and packs.
    pub manifest: Manifest,
    /// All that the files there ever named, whether it is gone or not.
    pub(crate) holders: BTreeSet<Holder>,
}

impl<'a> Contents<'a> {
    /// The partition with this name.
    pub fn partition(&self, origin: &str, topic: &str, number: u16) -> Option<&Partition<'a>> {
        let id = PartitionId { origin, topic, number };
        self.partitions.iter().find(|partition| partition.id == id)
    }
}

/// A partition by its full name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionId<'a> {
    /// The node that judges and numbers.
    pub origin: &'a str,
    /// The topic.
    pub topic: &'a str,
    /// The number within the topic.
    pub number: u16,
}

impl fmt::Display for PartitionId<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.origin, self.topic, self.number)
    }
}

/// A partition, own or mirrored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition<'a> {
    /// Its number on this node.
    pub slot: u32,
    /// Its name.
    pub id: PartitionId<'a>,
    /// The origin's journal where it is a mirror.
    pub mirror_of: Option<[u8; 16]>,
    /// Whether a dedup key counts once in its topic.
    pub dedup: bool,
    /// Whether its topic asks for compaction; it may have done so before.
    pub compact: bool,
    /// The first that retention keeps.
    pub start: Edge,
    /// Exclusive.
    pub end: Edge,
    /// The newest.
    pub append_time: i64,
    /// All from `start.batch` to `end.batch`.
    pub batches: Vec<Batch<'a>>,
    /// Those of all batches that are there, in order.
    pub records: Vec<Record<'a>>,
    /// Those of all batches that compaction has left out, in order.
    pub left_out: Vec<LeftOut>,
    /// Of its topic.
    pub(crate) settings: Settings,
}

impl<'a> Partition<'a> {
    /// The records of one of its batches that are there.
    pub fn records_of(&self, batch: &Batch<'_>) -> &[Record<'a>] {
        let records = self.records.get(batch.first_record..).unwrap_or_default();
        records.get(..batch.kept as usize).unwrap_or_default()
    }

    /// The records of one of its batches that compaction has left out.
    pub fn left_out_of(&self, batch: &Batch<'_>) -> &[LeftOut] {
        let from = self.left_out.partition_point(|gone| gone.batch < batch.number);
        let gone = self.left_out.get(from..).unwrap_or_default();
        gone.get(..batch.records.saturating_sub(batch.kept) as usize).unwrap_or_default()
    }
}

/// A boundary between two batches of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Edge {
    /// The next visible record's.
    pub offset: u64,
    /// The next batch's number.
    pub batch: u64,
    /// Over all batches before.
    pub chain: [u8; 16],
    /// Length of all batches before, in bytes.
    pub bytes: u64,
}

/// A stored batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batch<'a> {
    /// Its place in its partition.
    pub number: u64,
    /// The offset of its first visible record, or of the next one where none is visible.
    pub base_offset: u64,
    /// How many records are visible, with those that are left out.
    pub visible: u32,
    /// How many records there are, with those that are left out.
    pub records: u32,
    /// How many records are there: all, unless the batch is compacted.
    pub kept: u32,
    /// When its origin appended it.
    pub append_time: i64,
    /// Who sent it.
    pub producer: &'a str,
    /// In which incarnation.
    pub epoch: u64,
    /// The sequence of its first record.
    pub first_sequence: u64,
    /// The CRC of the client's batch.
    pub crc: u32,
    /// Up to and with this batch.
    pub chain: [u8; 16],
    /// Of its first byte in the journal; `None` where only a pack has it.
    pub position: Option<u64>,
    /// The origin's header and the client's batch: the same at the origin and in every mirror, until
    /// it is compacted. Of what both a pack and the journal have, this is the pack's.
    pub bytes: &'a [u8],
    /// Length that it has, or had, in this node's journal, in bytes: more than there are of `bytes`
    /// where this node has compacted it.
    pub journal_bytes: u64,
    /// Where its records begin in [`Partition::records`].
    pub first_record: usize,
}

/// One record, visible or masked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Of a visible one.
    pub offset: Option<u64>,
    /// The batch that holds it.
    pub batch: u64,
    /// Its place in the batch, from 0.
    pub index: u32,
    /// Who sent it.
    pub producer: &'a str,
    /// The number that its producer gave it.
    pub sequence: u64,
    /// What it stays in order with.
    pub order_key: Option<&'a [u8]>,
    /// Of a visible one with an order key.
    pub order_sequence: Option<u64>,
    /// Its order key began again at 1.
    pub restarted: bool,
    /// What tells a repeat: none, one or two.
    pub dedup_keys: [Option<DedupKey<'a>>; 2],
    /// The event's id; may be empty.
    pub id: &'a str,
    /// The event's source.
    pub source: &'a str,
    /// The event's type.
    pub kind: &'a str,
    /// The media type of the data.
    pub content_type: Option<&'a str>,
    /// When it occurred.
    pub time: Option<i64>,
    /// All other attributes, encoded; they are well formed.
    pub attributes: &'a [u8],
    /// As stored.
    pub digest: u128,
    /// As computed here; `None` where a compressed payload does not decompress.
    pub digest_computed: Option<u128>,
    /// The data; `None` in a compressed batch.
    pub data: Option<&'a [u8]>,
    /// xxh3-128 of the data; `None` as for `digest_computed`.
    pub data_hash: Option<u128>,
    /// Length of the data in bytes.
    pub data_len: u64,
    /// What the origin says of it.
    pub verdict: Verdict,
}

impl Record<'_> {
    /// Whether it is an event.
    pub fn is_visible(&self) -> bool {
        self.verdict == Verdict::Visible
    }
}

/// A record that compaction has left out: what its origin says of it is still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeftOut {
    /// Of a visible one.
    pub offset: Option<u64>,
    /// The batch that held it.
    pub batch: u64,
    /// Its place in the batch, from 0.
    pub index: u32,
    /// The number that its producer gave it.
    pub sequence: u64,
    /// Of a visible one; none is left out without an order key.
    pub order_sequence: Option<u64>,
    /// Its order key began again at 1.
    pub restarted: bool,
    /// What the origin says of it.
    pub verdict: Verdict,
}

/// A dedup key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DedupKey<'a> {
    /// Source and id of the event.
    SourceAndId {
        /// The source.
        source: &'a [u8],
        /// The id.
        id: &'a [u8],
    },
    /// A key that the producer named.
    Key(&'a [u8]),
}

/// A named durable position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor<'a> {
    /// What it is a position in.
    pub topic: &'a str,
    /// Whether it holds retention back.
    pub hold: bool,
    /// The next offset to be read.
    pub positions: BTreeMap<PartitionId<'a>, u64>,
}

/// The address of a record without an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MaskedAddress<'a> {
    /// The partition.
    pub partition: PartitionId<'a>,
    /// The batch that holds it.
    pub batch: u64,
    /// Its place in the batch, from 0.
    pub index: u32,
}

/// A conflict that waits for an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenConflict {
    /// The first.
    pub with: Place,
    /// When its origin appended it.
    pub append_time: i64,
}

/// A producer in a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProducerKey<'a> {
    /// Who.
    pub producer: &'a str,
    /// The topic.
    pub topic: &'a str,
}

/// How far a producer came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Producer {
    /// Its incarnation.
    pub epoch: u64,
    /// The sequence of its last record; 0 before the first.
    pub last: u64,
    /// Forgotten some time after its session has ended.
    pub transient: bool,
}

/// A journal file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct File<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its first position.
    pub start: u64,
    /// Exclusive.
    pub end: u64,
    /// Of its writer.
    pub incarnation: u32,
}
