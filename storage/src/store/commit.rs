//! A commit on its way to the disk, with the answers that wait for it.

use crate::journal::{CommitError, SealedCommit};
use crate::runs::MaskedAddress;
use crate::state::{Effects, State};
use crate::view::{Conflict, CursorView, PartitionView, TopicView};
use takt_protocol::words::CursorName;

use super::operation::Answer;
use crate::runs::Slot;

/// A sealed commit. [`PendingCommit::write_and_sync`] it on any thread, then hand it back to the
/// store.
#[derive(Debug)]
pub struct PendingCommit<T> {
    pub(super) sealed: Option<SealedCommit>,
    pub(super) answers: Vec<(T, Answer)>,
    pub(super) news: News,
}

/// What readers see once the commit is durable.
#[derive(Debug, Default)]
pub(super) struct News {
    pub(super) effects: Effects,
    pub(super) partitions: Vec<PartitionView>,
    pub(super) topics: Vec<(TopicView, Vec<Slot>)>,
    pub(super) cursors: Vec<(CursorName, Option<CursorView>)>,
    pub(super) conflicts: Vec<Conflict>,
    pub(super) producers: usize,
}

impl<T> PendingCommit<T> {
    /// Writes and syncs; nothing where only answers wait.
    ///
    /// # Errors
    /// [`CommitError`]: hand the commit to [`super::Store::on_failed`], and stop the node.
    pub fn write_and_sync(&self) -> Result<(), CommitError> {
        self.sealed.as_ref().map_or(Ok(()), SealedCommit::write_and_sync)
    }

    /// Length of what is written, in bytes.
    pub fn len_bytes(&self) -> usize {
        self.sealed.as_ref().map_or(0, |sealed| sealed.bytes().len())
    }
}

impl News {
    /// What `effects`, all of them of one commit, come to in `state`, which has them applied.
    pub(super) fn of(effects: Effects, state: &State) -> Self {
        let partitions = effects.slots.iter().filter_map(|slot| partition_view(state, *slot));
        let topics = effects.topics.iter().filter_map(|(name, origin)| {
            let topic = state.topic(name, origin)?;
            let (name, origin) = (name.clone(), origin.clone());
            let view = TopicView { name, origin, settings: topic.settings };
            Some((view, topic.slots().collect()))
        });
        let cursors = effects.cursors.iter().map(|name| (name.clone(), cursor_view(state, name)));
        let conflicts =
            effects.conflicts.iter().filter_map(|address| conflict_view(state, *address));
        Self {
            partitions: partitions.collect(),
            topics: topics.collect(),
            cursors: cursors.collect(),
            conflicts: conflicts.collect(),
            producers: state.control.producers.len(),
            effects,
        }
    }

    /// All that a state says.
    pub(super) fn of_all(state: &State) -> Self {
        let control = &state.control;
        let mut effects = Effects {
            topics: control.topics.keys().cloned().collect(),
            cursors: control.cursors.keys().cloned().collect(),
            conflicts: control.conflicts.keys().copied().collect(),
            ..Effects::default()
        };
        effects.slots.extend(control.topics.values().flat_map(crate::state::Topic::slots));
        Self::of(effects, state)
    }
}

fn partition_view(state: &State, slot: Slot) -> Option<PartitionView> {
    let partition = state.partition(slot)?;
    Some(PartitionView {
        slot,
        id: partition.id.clone(),
        mirror_of: partition.mirror_of,
        start: partition.start.offset,
        start_batch: partition.start.batch,
        start_chain: partition.start.chain,
        end: partition.end.offset,
        end_batch: partition.end.batch,
        chain: partition.end.chain,
        last_append: partition.append_time,
        len_bytes: partition.end.bytes - partition.start.bytes,
    })
}

fn cursor_view(state: &State, name: &CursorName) -> Option<CursorView> {
    let cursor = state.control.cursors.get(name)?;
    Some(CursorView {
        name: name.clone(),
        topic: cursor.topic.clone(),
        hold: cursor.hold,
        positions: cursor.positions.clone(),
    })
}

fn conflict_view(state: &State, address: MaskedAddress) -> Option<Conflict> {
    let conflict = state.control.conflicts.get(&address)?;
    Some(Conflict { address, with: conflict.with, append_time: conflict.append_time })
}
