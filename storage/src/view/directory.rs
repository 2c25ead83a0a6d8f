//! Names, ends, cursors and conflicts, as of the last durable commit.

use std::collections::BTreeMap;
use std::sync::Arc;

use takt_protocol::batch::Place;
use takt_protocol::words::{
    BatchNumber, CursorName, JournalId, NodeName, Offset, PartitionChain, PartitionId, Timestamp,
    TopicName,
};

use super::Status;
use crate::entry::TopicSettings;
use crate::journal::Position;
use crate::kept::{PackReader, SideReader};
use crate::runs::{MaskedAddress, Slot};

/// A topic of one origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicView {
    /// Its name.
    pub name: TopicName,
    /// The node that judges its records.
    pub origin: NodeName,
    /// Its settings.
    pub settings: TopicSettings,
}

/// A partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionView {
    /// Its number on this node.
    pub slot: Slot,
    /// Its full name.
    pub id: PartitionId,
    /// For a mirror the origin's journal.
    pub mirror_of: Option<JournalId>,
    /// The oldest offset that is kept.
    pub start: Offset,
    /// The oldest batch that is kept.
    pub start_batch: BatchNumber,
    /// The chain before it.
    pub start_chain: PartitionChain,
    /// The offset behind the last record.
    pub end: Offset,
    /// The number behind the last batch's.
    pub end_batch: BatchNumber,
    /// The chain up to there.
    pub chain: PartitionChain,
    /// When the last batch was appended by its origin.
    pub last_append: Timestamp,
    /// Length of the batches that are kept, in bytes.
    pub len_bytes: u64,
}

/// A cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CursorView {
    /// Its name.
    pub name: CursorName,
    /// What it is a position in.
    pub topic: TopicName,
    /// Whether it holds retention back.
    pub hold: bool,
    /// The next offset to be read, by slot; a slot that is not named is not held and was not
    /// read.
    pub positions: BTreeMap<Slot, Offset>,
}

/// A record whose dedup key is known with other content, set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conflict {
    /// Where it lies.
    pub address: MaskedAddress,
    /// The first with its key, in the same topic at the same origin.
    pub with: Place,
    /// When it was appended.
    pub append_time: Timestamp,
}

/// What readers know; the store's thread keeps it.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    topics: BTreeMap<(TopicName, NodeName), (TopicSettings, Vec<Slot>)>,
    partitions: Vec<PartitionView>,
    pub(crate) cursors: BTreeMap<CursorName, CursorView>,
    pub(crate) conflicts: BTreeMap<MaskedAddress, Conflict>,
    /// By the start of the journal file whose open conflicts they hold.
    pub(crate) sides: BTreeMap<Position, Arc<SideReader>>,
    /// By the start of what they stand for.
    pub(crate) packs: BTreeMap<Position, Arc<PackReader>>,
    pub(crate) status: Status,
}

impl Directory {
    pub(crate) fn add_topic(&mut self, topic: TopicView, slots: Vec<Slot>) {
        self.topics.insert((topic.name, topic.origin), (topic.settings, slots));
    }

    pub(crate) fn put_partition(&mut self, partition: PartitionView) {
        let index = partition.slot.get() as usize;
        if let Some(known) = self.partitions.get_mut(index) {
            *known = partition;
        } else {
            assert_eq!(index, self.partitions.len(), "slots come in their order");
            self.partitions.push(partition);
        }
    }

    pub(super) fn topics(&self) -> impl Iterator<Item = TopicView> {
        self.topics.iter().map(|((name, origin), (settings, _))| TopicView {
            name: name.clone(),
            origin: origin.clone(),
            settings: *settings,
        })
    }

    pub(super) fn settings(&self, name: &TopicName, origin: &NodeName) -> Option<TopicSettings> {
        self.topics.get(&(name.clone(), origin.clone())).map(|(settings, _)| *settings)
    }

    /// Each origin's settings and partitions of a topic.
    pub(super) fn origins(
        &self,
        topic: &TopicName,
    ) -> impl Iterator<Item = (&TopicSettings, &[Slot])> {
        self.topics
            .range((topic.clone(), first_name())..)
            .take_while(move |((name, _), _)| name == topic)
            .map(|(_, (settings, slots))| (settings, slots.as_slice()))
    }

    pub(super) fn partitions(&self, topic: &TopicName) -> impl Iterator<Item = &PartitionView> {
        self.origins(topic).flat_map(|(_, slots)| slots).filter_map(|slot| self.partition(*slot))
    }

    pub(super) fn all(&self) -> &[PartitionView] {
        &self.partitions
    }

    pub(crate) fn partition(&self, slot: Slot) -> Option<&PartitionView> {
        self.partitions.get(slot.get() as usize)
    }

    /// The pack that has what the journal had at `position`.
    pub(super) fn pack_at(&self, position: Position) -> Option<Arc<PackReader>> {
        let (_, pack) = self.packs.range(..=position).next_back()?;
        pack.info().covers(position).then(|| Arc::clone(pack))
    }

    pub(super) fn cursors(&self) -> impl Iterator<Item = CursorView> {
        self.cursors.values().cloned()
    }
}

/// The least name of all.
fn first_name() -> NodeName {
    NodeName::new("0").expect("a digit is a name")
}
