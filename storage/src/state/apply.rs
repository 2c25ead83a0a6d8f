//! The one function that changes the state.

use std::collections::BTreeSet;

use takt_protocol::batch::{Place, StoredBatch, StoredError, Verdict};
use takt_protocol::limits::IN_FLIGHT_BATCHES_MAX;
use takt_protocol::words::{
    JournalId, NodeName, PartitionChain, PartitionId, PartitionNumber, ProducerId, Sequence,
    Timestamp, TopicName,
};

use super::{
    CONFLICTS_LISTED_MAX, Cursor, Edge, Effects, Kept, OpenConflict, Partition, Producer, State,
    Topic,
};
use crate::entry::{
    BATCH_AT, BatchReceipt, Entry, PackFile, SealedFile, SideFile, SlotEnd, TopicSettings,
};
use crate::journal::Position;
use crate::keys::KeyHashes;
use crate::ledger::{HeadEntry, Known, LedgerEntry, MaskedPlace};
use crate::runs::{Extent, MaskedAddress, OrderRow, RunInfo, Slot};

impl Edge {
    /// Behind a batch that follows it.
    fn behind(&self, batch: &StoredBatch) -> Self {
        Self {
            offset: batch.end_offset(),
            batch: batch.header().batch_number.advance(1),
            chain: batch.header().chain,
            bytes: self.bytes + batch.len() as u64,
        }
    }
}

/// Why an entry cannot follow the state: it was judged on another one. The journal was mixed with
/// another one's files, or this program has a bug.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// A batch does not continue its partition.
    #[error("batch {batch} of partition {slot} does not continue it")]
    Batch {
        /// The partition.
        slot: Slot,
        /// The batch.
        batch: u64,
    },
    /// A partition, topic, producer or cursor that the entry names is not there, or already is.
    #[error("an entry names {0}, which does not fit the state")]
    Name(String),
    /// A file of the manifest does not follow the one before.
    #[error("the manifest has no place for the journal file at {0}")]
    File(Position),
    /// A verdict does not decode.
    #[error(transparent)]
    Stored(#[from] StoredError),
}

impl State {
    /// Applies the entry whose bytes begin at `at`. `keys` are those of its batch; they are needed
    /// for batches with records in topics that are deduplicated or have order keys, and ignored
    /// otherwise. What changed is added to `effects`.
    ///
    /// # Errors
    /// [`ApplyError`] where the entry was not judged on this state; it may be half applied then.
    pub fn apply(
        &mut self,
        at: Position,
        entry: &Entry,
        keys: Option<&KeyHashes>,
        effects: &mut Effects,
    ) -> Result<(), ApplyError> {
        let control = at >= self.control_from;
        if let Entry::Batch { slot, batch } | Entry::MirrorBatch { slot, batch } = entry {
            let unknown = || ApplyError::Name(format!("partition {slot}"));
            self.partition(*slot).ok_or_else(unknown)?;
            if at >= self.tables_from {
                self.teach(at, *slot, batch, keys, effects)?;
            }
            if control {
                self.list_conflicts(*slot, batch, effects)?;
                self.append(*slot, batch, effects)?;
                if matches!(entry, Entry::Batch { .. }) {
                    self.receipt_of(*slot, batch)?;
                }
            }
            return Ok(());
        }
        if control { self.apply_control(entry, effects) } else { Ok(()) }
    }

    fn apply_control(&mut self, entry: &Entry, effects: &mut Effects) -> Result<(), ApplyError> {
        let control = &mut self.control;
        match entry {
            Entry::Batch { .. } | Entry::MirrorBatch { .. } => {}
            Entry::TopicCreated { topic, settings } => {
                let origin = control.node.clone();
                self.begin_topic(topic, &origin, None, *settings, effects)?;
            }
            Entry::MirrorBegun { origin, journal, topic, settings } => {
                self.begin_topic(topic, origin, Some(*journal), *settings, effects)?;
            }
            Entry::SequenceAdvanced { producer, topic, crc, receipt } => {
                control.append_time = control.append_time.max(receipt.append_time);
                self.keep(topic, producer, *crc, receipt.clone())?;
            }
            Entry::ProducerOpened { producer, topic, epoch, transient, at } => {
                control.append_time = control.append_time.max(*at);
                let key = (topic.clone(), producer.clone());
                let known = control.producers.entry(key).or_insert_with(|| Producer {
                    epoch: *epoch,
                    last: Sequence::new(0),
                    transient: *transient,
                    kept: std::collections::VecDeque::new(),
                });
                if *epoch < known.epoch {
                    return Err(ApplyError::Name(format!("epoch {epoch} of {producer}")));
                }
                known.epoch = *epoch;
                known.transient = *transient;
            }
            Entry::ProducerDropped { producer, topic } => {
                control.producers.remove(&(topic.clone(), producer.clone()));
            }
            Entry::CursorSet { name, topic, hold, positions } => {
                let cursor = control.cursors.entry(name.clone()).or_insert_with(|| Cursor {
                    topic: topic.clone(),
                    hold: *hold,
                    positions: std::collections::BTreeMap::new(),
                });
                if cursor.topic != *topic {
                    cursor.topic = topic.clone();
                    cursor.positions.clear();
                }
                cursor.hold = *hold;
                cursor.positions.extend(positions.iter().copied());
                effects.cursors.insert(name.clone());
            }
            Entry::CursorRemoved { name } => {
                control.cursors.remove(name);
                effects.cursors.insert(name.clone());
            }
            Entry::RunAdded { file } => self.seal_file(file, effects)?,
            Entry::FileDropped { start } => self.drop_file(*start, effects)?,
            Entry::SlotsTrimmed { start, slots } => self.trim(*start, slots, effects)?,
            Entry::RetentionSet { topic, retention_ms, retention_bytes } => {
                let (retention_ms, retention_bytes) = (*retention_ms, *retention_bytes);
                let edit = |settings| TopicSettings { retention_ms, retention_bytes, ..settings };
                self.edit_topic(topic, edit, effects)?;
            }
            Entry::CompactionSet { topic, compact } => {
                let compact = *compact;
                self.edit_topic(topic, |settings| TopicSettings { compact, ..settings }, effects)?;
            }
            Entry::ConflictsKept { side } => self.keep_conflicts(side, effects)?,
            Entry::PackAdded { pack } => self.pack(pack, effects)?,
            Entry::KeysMerged { run } => self.merge_keys(run, effects)?,
            Entry::KeysDropped { upto } => self.drop_keys(*upto, effects)?,
            Entry::MirrorStarted { slot, batch, offset, chain } => {
                let partition = control.partitions.get_mut(slot.get() as usize);
                let empty = partition.filter(|partition| partition.is_empty_mirror());
                let partition =
                    empty.ok_or(ApplyError::Batch { slot: *slot, batch: batch.get() })?;
                partition.start = Edge { offset: *offset, batch: *batch, chain: *chain, bytes: 0 };
                partition.end = partition.start;
                effects.slots.insert(*slot);
            }
        }
        Ok(())
    }

    fn begin_topic(
        &mut self,
        name: &TopicName,
        origin: &NodeName,
        mirror_of: Option<JournalId>,
        settings: TopicSettings,
        effects: &mut Effects,
    ) -> Result<(), ApplyError> {
        let control = &mut self.control;
        let first = u32::try_from(control.partitions.len()).ok();
        let first =
            first.filter(|first| first.checked_add(u32::from(settings.partitions)).is_some());
        let first = first.ok_or_else(|| ApplyError::Name(format!("topic {name}")))?;
        let topic = Topic { settings, first_slot: Slot::new(first) };
        let key = (name.clone(), origin.clone());
        if control.topics.insert(key.clone(), topic).is_some() {
            return Err(ApplyError::Name(format!("topic {name} of {origin}")));
        }
        for number in 0..settings.partitions {
            let number = PartitionNumber::new(number);
            control.partitions.push(Partition {
                id: PartitionId { origin: origin.clone(), topic: name.clone(), number },
                settings,
                mirror_of,
                start: Edge::default(),
                end: Edge::default(),
                append_time: Timestamp::default(),
            });
        }
        effects.slots.extend(topic.slots());
        effects.topics.push(key);
        Ok(())
    }

    fn edit_topic(
        &mut self,
        name: &TopicName,
        edit: impl FnOnce(TopicSettings) -> TopicSettings,
        effects: &mut Effects,
    ) -> Result<(), ApplyError> {
        let control = &mut self.control;
        let key = (name.clone(), control.node.clone());
        let topic = control.topics.get_mut(&key);
        let topic = topic.ok_or_else(|| ApplyError::Name(format!("topic {name}")))?;
        topic.settings = edit(topic.settings);
        for slot in topic.slots() {
            control.partitions[slot.get() as usize].settings = topic.settings;
        }
        effects.topics.push(key);
        Ok(())
    }

    /// Feeds the tables with a batch and notes where it lies.
    fn teach(
        &mut self,
        at: Position,
        slot: Slot,
        batch: &StoredBatch,
        keys: Option<&KeyHashes>,
        effects: &mut Effects,
    ) -> Result<(), ApplyError> {
        let header = batch.header();
        let partition = &self.control.partitions[slot.get() as usize];
        // A run that is made again leaves out what was trimmed since, but for its keys.
        let trimmed = at < self.control_from && header.batch_number < partition.start.batch;
        let own = partition.mirror_of.is_none();
        let dedup = own && partition.settings.dedup;
        let number = partition.id.number;
        let mut offset = header.base_offset;
        for (index, verdict) in batch.verdicts().enumerate() {
            let verdict = verdict.map_err(StoredError::from)?;
            let record = keys.and_then(|keys| keys.records().get(index));
            match verdict {
                Verdict::Visible { order_sequence, .. } => {
                    let place = Place { partition: number, offset };
                    offset = offset.advance(1);
                    let Some((keys, record)) = keys.zip(record) else { continue };
                    for hash in record.dedup().iter().filter(|_| dedup) {
                        let known = Known::First { place, order_sequence };
                        #[cfg(takt_planted)]
                        if takt_protocol::planted::is("second_key_forgotten")
                            && record.dedup().first() != Some(hash)
                        {
                            continue;
                        }
                        self.tables.learn(LedgerEntry::new(*hash, record.digest64, known));
                    }
                    let Some(hash) = keys.order_of(record) else { continue };
                    if !trimmed {
                        effects.orders.push(OrderRow { hash, slot, offset: place.offset });
                    }
                    if let Some(last) = order_sequence.filter(|_| own) {
                        let last_append_time = header.append_time;
                        self.tables.advance(HeadEntry { hash, last, last_append_time });
                    }
                }
                Verdict::Conflict { listed: true, .. } => {
                    let index = u16::try_from(index).expect("a batch has at most 4,096 records");
                    let batch_number = header.batch_number;
                    self.tables.list(MaskedAddress { slot, batch_number, index });
                    let at = MaskedPlace { partition: number, batch_number, index };
                    // Under all of its keys, whether they have a first or not: so that applying
                    // need not look them up.
                    let Some(record) = record.filter(|_| dedup) else { continue };
                    for hash in record.dedup() {
                        let known = Known::OpenConflict { at };
                        self.tables.learn(LedgerEntry::new(*hash, record.digest64, known));
                    }
                }
                Verdict::Duplicate { .. }
                | Verdict::Conflict { listed: false, .. }
                | Verdict::PreconditionFailed { .. } => {}
            }
        }
        if trimmed {
            return Ok(());
        }
        let extent = Extent {
            slot,
            batch_number: header.batch_number,
            base_offset: header.base_offset,
            end_offset: batch.end_offset(),
            append_time: header.append_time,
            position: at.plus(BATCH_AT as u64),
            len_bytes: u32::try_from(batch.len()).expect("a stored batch has at most 960 KiB"),
        };
        let chain_before = self.chain_before(at, slot, batch);
        effects.batches.push((extent, chain_before));
        Ok(())
    }

    /// The chain before the batch at `at`. Below the snapshot's position the control part is ahead
    /// of the batch, so the partition's end is followed beside it.
    fn chain_before(&mut self, at: Position, slot: Slot, batch: &StoredBatch) -> PartitionChain {
        let partition = &self.control.partitions[slot.get() as usize];
        if at >= self.control_from {
            return partition.end.chain;
        }
        let edge = self.edges_below.entry(slot).or_insert(partition.start);
        std::mem::replace(edge, edge.behind(batch)).chain
    }

    fn list_conflicts(
        &mut self,
        slot: Slot,
        batch: &StoredBatch,
        effects: &mut Effects,
    ) -> Result<(), ApplyError> {
        let header = batch.header();
        if header.visible == header.records {
            return Ok(());
        }
        for (index, verdict) in (0..).zip(batch.verdicts()) {
            let verdict = verdict.map_err(StoredError::from)?;
            let Verdict::Conflict { with, listed: true } = verdict else { continue };
            if self.control.conflicts.len() == CONFLICTS_LISTED_MAX {
                break;
            }
            let address = MaskedAddress { slot, batch_number: header.batch_number, index };
            let conflict = OpenConflict { with, append_time: header.append_time };
            self.control.conflicts.insert(address, conflict);
            effects.conflicts.push(address);
        }
        Ok(())
    }

    fn append(
        &mut self,
        slot: Slot,
        batch: &StoredBatch,
        effects: &mut Effects,
    ) -> Result<(), ApplyError> {
        let header = batch.header();
        let control = &mut self.control;
        let partition = &mut control.partitions[slot.get() as usize];
        let end = &mut partition.end;
        let continues = header.batch_number == end.batch && batch.continues(end.chain);
        if !continues || header.base_offset != end.offset {
            return Err(ApplyError::Batch { slot, batch: header.batch_number.get() });
        }
        *end = end.behind(batch);
        partition.append_time = partition.append_time.max(header.append_time);
        if partition.mirror_of.is_none() {
            control.append_time = control.append_time.max(header.append_time);
        }
        effects.slots.insert(slot);
        Ok(())
    }

    fn receipt_of(&mut self, slot: Slot, batch: &StoredBatch) -> Result<(), ApplyError> {
        let header = batch.header();
        let id = self.control.partitions[slot.get() as usize].id.clone();
        let receipt = BatchReceipt {
            first_sequence: batch.batch().header().first_sequence,
            records: header.records,
            partition: id.number,
            base_offset: header.base_offset,
            append_time: header.append_time,
            // A copy, so that 64 receipts do not hold 64 commits in memory.
            verdicts: bytes::Bytes::copy_from_slice(&batch.verdict_bytes()),
        };
        self.keep(&id.topic, &header.producer, header.crc, receipt)
    }

    fn keep(
        &mut self,
        topic: &TopicName,
        producer: &ProducerId,
        crc: u32,
        receipt: BatchReceipt,
    ) -> Result<(), ApplyError> {
        let known = self.control.producers.get_mut(&(topic.clone(), producer.clone()));
        let known = known.filter(|known| known.last.advance(1) == receipt.first_sequence);
        let Some(known) = known else {
            let first = receipt.first_sequence;
            return Err(ApplyError::Name(format!("sequence {first} of {producer} in {topic}")));
        };
        known.last = receipt.last_sequence();
        if known.kept.len() == IN_FLIGHT_BATCHES_MAX {
            known.kept.pop_front();
        }
        known.kept.push_back(Kept { crc, receipt });
        Ok(())
    }

    fn seal_file(&mut self, file: &SealedFile, effects: &mut Effects) -> Result<(), ApplyError> {
        if !self.control.manifest.seal(file) {
            return Err(ApplyError::File(file.start));
        }
        effects.sealed.push(file.clone());
        Ok(())
    }

    fn keep_conflicts(&mut self, side: &SideFile, effects: &mut Effects) -> Result<(), ApplyError> {
        let manifest = &mut self.control.manifest;
        if manifest.files.get(&side.start).is_none_or(SealedFile::is_dropped) {
            return Err(ApplyError::File(side.start));
        }
        // One that was damaged is made again, and named again.
        manifest.sides.insert(side.start, *side);
        effects.sides.push(*side);
        Ok(())
    }

    fn drop_file(&mut self, start: Position, effects: &mut Effects) -> Result<(), ApplyError> {
        let manifest = &self.control.manifest;
        let file = manifest.files.get(&start).ok_or(ApplyError::File(start))?;
        // Open conflicts outlive their file.
        if !manifest.sides.contains_key(&start) && self.conflicts_in(file).next().is_some() {
            return Err(ApplyError::File(start));
        }
        let slots: BTreeSet<Slot> = file.slots.iter().map(|end| end.slot).collect();
        // A file may go before older ones, but the batches of a partition go oldest first.
        let older_kept = manifest.is_held_before(start, |slot| slots.contains(&slot));
        if older_kept || file.is_dropped() {
            return Err(ApplyError::File(start));
        }
        let file = self.control.manifest.files.get_mut(&start);
        let ends = file.map(|file| std::mem::take(&mut file.slots)).unwrap_or_default();
        self.begin_behind(start, &ends, effects)?;
        effects.unnamed.extend(self.control.manifest.release(start));
        effects.unnamed.extend(self.control.manifest.release_packs());
        effects.dropped.push(start);
        Ok(())
    }

    fn pack(&mut self, pack: &PackFile, effects: &mut Effects) -> Result<(), ApplyError> {
        let unnamed = self.control.manifest.pack(pack).ok_or(ApplyError::File(pack.start))?;
        effects.unnamed.extend(unnamed);
        effects.packs.push(*pack);
        Ok(())
    }

    fn trim(
        &mut self,
        start: Position,
        slots: &[Slot],
        effects: &mut Effects,
    ) -> Result<(), ApplyError> {
        let manifest = &self.control.manifest;
        let file = manifest.files.get(&start).ok_or(ApplyError::File(start))?;
        let is_lost = |address: MaskedAddress| slots.binary_search(&address.slot).is_ok();
        let loses_open = self.conflicts_in(file).any(is_lost);
        if loses_open && !manifest.sides.contains_key(&start) {
            return Err(ApplyError::File(start));
        }
        let ends = self.control.manifest.trim(start, slots).ok_or(ApplyError::File(start))?;
        #[cfg(takt_planted)]
        let ends = if takt_protocol::planted::is("trim_moves_start_too_far") {
            let batch = |end: &SlotEnd| end.next_batch.advance(1);
            ends.iter().map(|end| SlotEnd { next_batch: batch(end), ..*end }).collect()
        } else {
            ends
        };
        self.begin_behind(start, &ends, effects)
    }

    /// Partitions begin where the file at `start`, which no longer holds them, said that they ended.
    fn begin_behind(
        &mut self,
        start: Position,
        ends: &[SlotEnd],
        effects: &mut Effects,
    ) -> Result<(), ApplyError> {
        for end in ends {
            let partition = self.control.partitions.get_mut(end.slot.get() as usize);
            let partition = partition.ok_or(ApplyError::File(start))?;
            partition.start = end.edge();
            effects.slots.insert(end.slot);
        }
        Ok(())
    }

    fn merge_keys(&mut self, run: &RunInfo, effects: &mut Effects) -> Result<(), ApplyError> {
        let unnamed = self.control.manifest.merge(run).ok_or(ApplyError::File(run.start))?;
        effects.unnamed.extend(unnamed);
        effects.merged.push(*run);
        Ok(())
    }

    fn drop_keys(&mut self, upto: Position, effects: &mut Effects) -> Result<(), ApplyError> {
        let unnamed = self.control.manifest.forget(upto).ok_or(ApplyError::File(upto))?;
        effects.unnamed.extend(unnamed);
        self.tables.forget(upto);
        Ok(())
    }
}
