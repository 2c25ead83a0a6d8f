//! The state of a node: a fold over its journal's entries.
//!
//! [`State::apply`] is the one function that changes it, live and on replay. The *control* part
//! (partitions, topics, producers, cursors, conflicts, manifest) has a snapshot in each journal
//! file's preamble; the *tables* (dedup ledger, order heads) are kept by runs. So a start restores
//! the newest snapshot, opens the runs, and replays: entries below the snapshot's position feed
//! the tables only, entries from there on both. Applying looks nothing up; judging does, in memory
//! and in runs.

mod apply;
mod effects;
mod generations;
mod manifest;
mod snapshot;
mod tables;

use std::collections::{BTreeMap, VecDeque};

use takt_protocol::batch::Place;
use takt_protocol::words::{
    BatchNumber, CursorName, Epoch, JournalId, NodeName, Offset, PartitionChain, PartitionId,
    PartitionNumber, ProducerId, Sequence, Timestamp, TopicName,
};

use crate::entry::{BatchReceipt, SealedFile, SlotEnd, TopicSettings};
use crate::journal::Position;
use crate::runs::{MaskedAddress, Slot};

pub use apply::ApplyError;
pub use effects::Effects;
pub(crate) use generations::YoungPlace;
pub(crate) use manifest::{Manifest, MergedRun};
pub use snapshot::SnapshotError;
pub use tables::TableLimits;
pub(crate) use tables::{Frozen, HeadSearch, Tables};

/// How many open conflicts are listed; more are kept in their batches and not listed.
pub const CONFLICTS_LISTED_MAX: usize = 1 << 20;

/// All that a node knows but its records.
#[derive(Debug)]
pub struct State {
    pub(crate) control: Control,
    pub(crate) tables: Tables,
    /// Entries below it are in the control part already.
    control_from: Position,
    /// Entries below it are in the tables already: runs hold them.
    tables_from: Position,
    /// While entries below `control_from` are replayed: each partition's end so far.
    edges_below: BTreeMap<Slot, Edge>,
}

/// What a snapshot holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Control {
    pub(crate) node: NodeName,
    pub(crate) secret: [u8; 16],
    /// The newest append time that this node gave out; the next is never less.
    pub(crate) append_time: Timestamp,
    /// By name and origin.
    pub(crate) topics: BTreeMap<(TopicName, NodeName), Topic>,
    /// By slot.
    pub(crate) partitions: Vec<Partition>,
    pub(crate) producers: BTreeMap<(TopicName, ProducerId), Producer>,
    pub(crate) cursors: BTreeMap<CursorName, Cursor>,
    pub(crate) conflicts: BTreeMap<MaskedAddress, OpenConflict>,
    pub(crate) manifest: Manifest,
}

/// A topic of one origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Topic {
    pub(crate) settings: TopicSettings,
    /// The slot of partition 0; the others follow.
    pub(crate) first_slot: Slot,
}

impl Topic {
    pub(crate) fn slot(&self, number: PartitionNumber) -> Option<Slot> {
        (number.get() < self.settings.partitions)
            .then(|| Slot::new(self.first_slot.get() + u32::from(number.get())))
    }

    pub(crate) fn slots(&self) -> impl Iterator<Item = Slot> + use<> {
        let first = self.first_slot.get();
        (first..first + u32::from(self.settings.partitions)).map(Slot::new)
    }
}

/// A partition, own or mirrored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Partition {
    pub(crate) id: PartitionId,
    pub(crate) settings: TopicSettings,
    /// The origin's journal where it is a mirror.
    pub(crate) mirror_of: Option<JournalId>,
    /// Where it begins.
    pub(crate) start: Edge,
    /// Where it ends.
    pub(crate) end: Edge,
    pub(crate) append_time: Timestamp,
}

/// A boundary between two batches of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Edge {
    /// The next visible record's.
    pub(crate) offset: Offset,
    /// The next batch's.
    pub(crate) batch: BatchNumber,
    /// Up to here.
    pub(crate) chain: PartitionChain,
    /// Length of all batches before, also of those that were dropped, in bytes.
    pub(crate) bytes: u64,
}

/// A producer in a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Producer {
    pub(crate) epoch: Epoch,
    pub(crate) last: Sequence,
    pub(crate) transient: bool,
    /// The newest receipts, oldest first.
    pub(crate) kept: VecDeque<Kept>,
}

/// A receipt that may be asked for again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) crc: u32,
    pub(crate) receipt: BatchReceipt,
}

/// A cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(crate) topic: TopicName,
    pub(crate) hold: bool,
    pub(crate) positions: BTreeMap<Slot, Offset>,
}

/// A conflict that is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OpenConflict {
    pub(crate) with: Place,
    pub(crate) append_time: Timestamp,
}

impl State {
    /// Of an empty journal of a node; the secret is drawn once and kept for ever.
    pub fn new(node: NodeName, secret: [u8; 16], limits: TableLimits) -> Self {
        let control = Control {
            node,
            secret,
            append_time: Timestamp::default(),
            topics: BTreeMap::new(),
            partitions: Vec::new(),
            producers: BTreeMap::new(),
            cursors: BTreeMap::new(),
            conflicts: BTreeMap::new(),
            manifest: Manifest::default(),
        };
        Self::with(control, Position::ZERO, limits)
    }

    /// From a snapshot that was taken at `at`; the tables are empty.
    ///
    /// # Errors
    /// [`SnapshotError`] where the bytes are none.
    pub fn restore(bytes: &[u8], at: Position, limits: TableLimits) -> Result<Self, SnapshotError> {
        let control = Control::decode(bytes)?;
        Ok(Self::with(control, at, limits))
    }

    fn with(control: Control, control_from: Position, limits: TableLimits) -> Self {
        Self {
            control,
            tables: Tables::new(limits),
            control_from,
            tables_from: control_from,
            edges_below: BTreeMap::new(),
        }
    }

    /// Where replay begins, given the sealed `files` below `tables_from`, whose runs are in the
    /// tables.
    pub(crate) fn begin_replay<'a>(
        &mut self,
        tables_from: Position,
        files: impl IntoIterator<Item = &'a SealedFile>,
    ) -> Position {
        self.tables_from = tables_from;
        for end in files.into_iter().flat_map(|file| &file.slots) {
            self.edges_below.insert(end.slot, end.edge());
        }
        self.control_from.min(tables_from)
    }

    /// Where the partition ends, for a file that was closed at `at`, behind which nothing was
    /// applied yet.
    pub(crate) fn edge(&self, slot: Slot, at: Position) -> Option<Edge> {
        let partition = self.partition(slot)?;
        if at > self.control_from {
            return Some(partition.end);
        }
        Some(self.edges_below.get(&slot).copied().unwrap_or(partition.start))
    }

    /// The control part's bytes: equal states have equal bytes.
    pub fn snapshot(&self) -> Vec<u8> {
        self.control.encode()
    }

    /// xxh3-128 of [`State::snapshot`].
    pub fn digest(&self) -> u128 {
        xxhash_rust::xxh3::xxh3_128(&self.snapshot())
    }

    pub(crate) fn own_topic(&self, name: &TopicName) -> Option<&Topic> {
        self.topic(name, &self.control.node)
    }

    pub(crate) fn topic(&self, name: &TopicName, origin: &NodeName) -> Option<&Topic> {
        self.control.topics.get(&(name.clone(), origin.clone()))
    }

    pub(crate) fn partition(&self, slot: Slot) -> Option<&Partition> {
        self.control.partitions.get(slot.get() as usize)
    }

    /// The open conflicts in a sealed file that is not dropped, by address.
    pub(crate) fn conflicts_in(
        &self,
        file: &SealedFile,
    ) -> impl Iterator<Item = MaskedAddress> + use<'_> {
        let older = &self.control.manifest.files;
        let slots: Vec<_> = file
            .slots
            .iter()
            .map(|end| {
                let of_slot = |file: &SealedFile| {
                    file.slots.iter().find(|older| older.slot == end.slot).map(SlotEnd::edge)
                };
                // Files go oldest first, so what lies before is in an older file or dropped.
                let before = older.range(..file.start).rev().find_map(|(_, file)| of_slot(file));
                let start = || self.partition(end.slot).map(|partition| partition.start);
                let first = before.or_else(start).unwrap_or_default().batch;
                let at = |batch_number| MaskedAddress { slot: end.slot, batch_number, index: 0 };
                at(first)..at(end.next_batch.max(first))
            })
            .collect();
        let conflicts = &self.control.conflicts;
        slots.into_iter().flat_map(|range| conflicts.range(range)).map(|(address, _)| *address)
    }

    pub(crate) fn producer(&self, topic: &TopicName, producer: &ProducerId) -> Option<&Producer> {
        self.control.producers.get(&(topic.clone(), producer.clone()))
    }
}

#[cfg(test)]
mod tests;
