//! The control state of a node, folded from entries: what a snapshot holds.

use std::collections::{BTreeMap, VecDeque};

use crate::{
    batch::Stored,
    contents::{Edge, OpenConflict, PartitionId, Producer, ProducerKey},
    entry::{Entry, Settings},
    input::{Why, ensure},
    manifest::{Manifest, SealedFile, SideFile, SlotEnd},
    receipt::Receipt,
    verdict::Place,
};

/// Receipts that are kept of a producer.
const RECEIPTS_MAX: usize = 64;
/// Open conflicts that are listed; more are not.
pub(crate) const CONFLICTS_MAX: usize = 1 << 20;
/// Partitions of all topics; a node with more is taken for a malformed one.
const PARTITIONS_MAX: usize = 1 << 20;

/// All that a node knows but its records. Equal snapshots are equal states.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct State<'a> {
    pub(crate) node: &'a str,
    pub(crate) secret: [u8; 16],
    /// The newest append time that the node gave out.
    pub(crate) append_time: i64,
    /// By name and origin.
    pub(crate) topics: BTreeMap<(&'a str, &'a str), Topic>,
    /// By slot.
    pub(crate) partitions: Vec<Slot<'a>>,
    pub(crate) producers: BTreeMap<ProducerKey<'a>, KnownProducer<'a>>,
    pub(crate) cursors: BTreeMap<&'a str, SlotCursor<'a>>,
    /// By slot, batch number and index.
    pub(crate) conflicts: BTreeMap<(u32, u64, u32), OpenConflict>,
    pub(crate) manifest: Manifest,
}

/// A topic of one origin; its partitions have the slots from `first_slot` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Topic {
    pub(crate) first_slot: u32,
    pub(crate) settings: Settings,
    /// The origin's journal where it is a mirror.
    pub(crate) mirror_of: Option<[u8; 16]>,
}

/// A partition.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Slot<'a> {
    pub(crate) id: PartitionId<'a>,
    pub(crate) topic: Topic,
    pub(crate) start: Edge,
    pub(crate) end: Edge,
    pub(crate) append_time: i64,
}

/// A producer with its kept receipts, oldest first.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct KnownProducer<'a> {
    pub(crate) producer: Producer,
    pub(crate) kept: VecDeque<Receipt<'a>>,
}

/// A cursor.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SlotCursor<'a> {
    pub(crate) topic: &'a str,
    pub(crate) hold: bool,
    /// By slot.
    pub(crate) positions: BTreeMap<u32, u64>,
}

impl<'a> State<'a> {
    pub(crate) fn slot(&self, slot: u32) -> Result<&Slot<'a>, Why> {
        let found = usize::try_from(slot).ok().and_then(|slot| self.partitions.get(slot));
        found.ok_or(Why("it names a partition that is not there"))
    }

    fn slot_mut(&mut self, slot: u32) -> Result<&mut Slot<'a>, Why> {
        let found = usize::try_from(slot).ok().and_then(|slot| self.partitions.get_mut(slot));
        found.ok_or(Why("it names a partition that is not there"))
    }

    /// Applies any entry but a batch.
    pub(crate) fn apply(&mut self, entry: Entry<'a>) -> Result<(), Why> {
        match entry {
            Entry::Batch { .. } => return Err(Why("a batch is appended")),
            Entry::Topic { name, settings } => {
                self.begin_topic(name, self.node, settings, None)?;
            }
            Entry::Mirror { origin, journal, name, settings } => {
                self.begin_topic(name, origin, settings, Some(journal))?;
            }
            Entry::Sequence { producer, topic, receipt } => {
                self.append_time = self.append_time.max(receipt.append_time);
                self.keep(ProducerKey { producer, topic }, receipt)?;
            }
            Entry::Opened { producer, topic, epoch, transient, at } => {
                self.append_time = self.append_time.max(at);
                let key = ProducerKey { producer, topic };
                let known = self.producers.entry(key).or_insert_with(|| KnownProducer {
                    producer: Producer { epoch, last: 0, transient },
                    kept: VecDeque::new(),
                });
                ensure(epoch >= known.producer.epoch, "a producer's epoch goes back")?;
                known.producer = Producer { epoch, transient, ..known.producer };
            }
            Entry::Dropped { producer, topic } => {
                self.producers.remove(&ProducerKey { producer, topic });
            }
            Entry::CursorSet { name, topic, hold, positions } => {
                self.set_cursor(name, topic, hold, positions)?;
            }
            Entry::CursorRemoved { name } => {
                self.cursors.remove(name);
            }
            Entry::RunAdded(file) => {
                let manifest = &mut self.manifest;
                if file.start == manifest.runs_upto {
                    manifest.runs_upto = file.end;
                    manifest.files.insert(file.start, file);
                } else {
                    // The run of a file that is kept was made again, in another format.
                    let known = manifest.files.get_mut(&file.start);
                    let known = known.filter(|known| !known.is_dropped());
                    let known = known.filter(|known| {
                        (known.end, &known.slots) == (file.end, &file.slots)
                            && known.run.is_some()
                            && file.run.is_some()
                    });
                    known.ok_or(Why("a sealed file does not follow"))?.run = file.run;
                }
            }
            Entry::FileDropped { start } => self.drop_file(start)?,
            Entry::SlotsTrimmed { start, slots } => {
                let ends = self.manifest.trim(start, &slots)?;
                self.begin_behind(start, ends)?;
            }
            Entry::RetentionSet { topic, retention_ms, retention_bytes } => {
                self.change_settings(topic, |settings| {
                    settings.retention_ms = retention_ms;
                    settings.retention_bytes = retention_bytes;
                })?;
            }
            Entry::CompactionSet { topic, compact } => {
                self.change_settings(topic, |settings| settings.compact = compact)?;
            }
            Entry::ConflictsKept(side) => self.keep_conflicts(side)?,
            Entry::KeysMerged(run) => self.manifest.merge(run)?,
            Entry::KeysDropped { upto } => self.manifest.forget(upto)?,
            Entry::PackAdded(pack) => self.manifest.pack(pack)?,
            Entry::MirrorStarted { slot, start } => {
                let slot = self.slot_mut(slot)?;
                let empty = slot.topic.mirror_of.is_some() && slot.end.batch == 0;
                ensure(empty, "a partition that is no empty mirror begins anew")?;
                (slot.start, slot.end) = (start, start);
            }
        }
        Ok(())
    }

    /// Changes the settings of a topic of this node.
    fn change_settings(
        &mut self,
        topic: &'a str,
        change: impl FnOnce(&mut Settings),
    ) -> Result<(), Why> {
        let known = self.topics.get_mut(&(topic, self.node));
        let known = known.ok_or(Why("a topic has other settings that is not there"))?;
        change(&mut known.settings);
        let known = *known;
        let of_topic = |slot: &&mut Slot<'_>| slot.topic.first_slot == known.first_slot;
        for slot in self.partitions.iter_mut().filter(of_topic) {
            slot.topic = known;
        }
        Ok(())
    }

    fn begin_topic(
        &mut self,
        name: &'a str,
        origin: &'a str,
        settings: Settings,
        mirror_of: Option<[u8; 16]>,
    ) -> Result<(), Why> {
        let first_slot = u32::try_from(self.partitions.len()).unwrap_or(u32::MAX);
        let topic = Topic { first_slot, settings, mirror_of };
        let known = self.topics.insert((name, origin), topic);
        ensure(known.is_none(), "a topic is made twice")?;
        self.add_slots(name, origin, topic)
    }

    /// Adds the empty partitions of a topic.
    pub(crate) fn add_slots(
        &mut self,
        name: &'a str,
        origin: &'a str,
        topic: Topic,
    ) -> Result<(), Why> {
        let count = self.partitions.len() + usize::from(topic.settings.partitions);
        ensure(count <= PARTITIONS_MAX, "there are too many partitions")?;
        let slots = (0..topic.settings.partitions).map(|number| Slot {
            id: PartitionId { origin, topic: name, number },
            topic,
            start: Edge::default(),
            end: Edge::default(),
            append_time: 0,
        });
        self.partitions.extend(slots);
        Ok(())
    }

    fn set_cursor(
        &mut self,
        name: &'a str,
        topic: &'a str,
        hold: bool,
        positions: Vec<(u32, u64)>,
    ) -> Result<(), Why> {
        for (slot, _) in &positions {
            self.slot(*slot)?;
        }
        let new = || SlotCursor { topic, hold, positions: BTreeMap::new() };
        let cursor = self.cursors.entry(name).or_insert_with(new);
        if cursor.topic != topic {
            *cursor = new();
        }
        cursor.hold = hold;
        cursor.positions.extend(positions);
        Ok(())
    }

    /// Appends a batch whose records were read; `conflicts` are those that it lists.
    pub(crate) fn append(
        &mut self,
        slot: u32,
        own: bool,
        batch: &Stored<'a>,
        conflicts: impl Iterator<Item = (u32, Place)>,
    ) -> Result<(), Why> {
        let partition = self.slot_mut(slot)?;
        ensure(partition.topic.mirror_of.is_none() == own, "a mirror's batch is not marked so")?;
        ensure(batch.client.partition == partition.id.number, "it is of another partition")?;
        let (header, end) = (&batch.header, partition.end);
        ensure(header.number == end.batch, "its number does not follow")?;
        ensure(header.base_offset == end.offset, "its offset does not follow")?;
        ensure(header.chain == header.chain_after(end.chain), "its chain does not follow")?;
        ensure(header.append_time >= partition.append_time, "its append time goes back")?;
        partition.end = end.behind(batch, own);
        partition.append_time = header.append_time;
        let topic = partition.id.topic;
        for (index, with) in conflicts {
            if self.conflicts.len() < CONFLICTS_MAX {
                let conflict = OpenConflict { with, append_time: header.append_time };
                self.conflicts.insert((slot, header.number, index), conflict);
            }
        }
        if own {
            self.append_time = self.append_time.max(header.append_time);
            self.receipt_of(topic, batch)?;
        }
        Ok(())
    }

    fn receipt_of(&mut self, topic: &'a str, batch: &Stored<'a>) -> Result<(), Why> {
        let header = &batch.header;
        let key = ProducerKey { producer: header.producer, topic };
        let epoch = self.producers.get(&key).map(|known| known.producer.epoch);
        ensure(epoch == Some(header.epoch), "its producer is at another epoch")?;
        self.keep(key, Receipt::of(batch))
    }

    fn keep(&mut self, key: ProducerKey<'a>, receipt: Receipt<'a>) -> Result<(), Why> {
        let known = self.producers.get_mut(&key).ok_or(Why("its producer is not known"))?;
        let next = known.producer.last.checked_add(1);
        ensure(next == Some(receipt.first_sequence), "a producer's sequence does not follow")?;
        known.producer.last = receipt.last_sequence();
        if known.kept.len() == RECEIPTS_MAX {
            known.kept.pop_front();
        }
        known.kept.push_back(receipt);
        Ok(())
    }

    fn keep_conflicts(&mut self, side: SideFile) -> Result<(), Why> {
        let file = self.manifest.files.get(&side.start);
        let kept = file.is_some_and(|file| !file.is_dropped());
        ensure(kept, "a side file is of a file that is not there")?;
        self.manifest.sides.insert(side.start, side);
        Ok(())
    }

    fn drop_file(&mut self, start: u64) -> Result<(), Why> {
        let unknown = Why("a file is dropped that is not there");
        let file = self.manifest.files.get(&start).ok_or(unknown)?;
        ensure(!file.is_dropped(), unknown.0)?;
        let leaves = file.run.is_none() || self.manifest.does_without(file);
        let slots: Vec<u32> = file.slots.iter().map(|end| end.slot).collect();
        ensure(!self.manifest.is_held_before(start, &slots), "a file is dropped out of turn")?;
        let file = self.manifest.files.get_mut(&start).ok_or(unknown)?;
        let ends = std::mem::take(&mut file.slots);
        if leaves {
            self.manifest.files.remove(&start);
        }
        self.manifest.release_packs();
        self.begin_behind(start, ends)
    }

    /// Partitions begin where the file at `start` said that they ended.
    fn begin_behind(&mut self, start: u64, ends: Vec<SlotEnd>) -> Result<(), Why> {
        for end in ends {
            let slot = self.slot_mut(end.slot)?;
            let within = (slot.start.batch..=slot.end.batch).contains(&end.edge.batch);
            ensure(within, "a file is dropped out of turn")?;
            let from = std::mem::replace(&mut slot.start, end.edge).batch;
            let range = (end.slot, from, 0)..(end.slot, end.edge.batch, 0);
            let open = self.conflicts.range(range).next().is_some();
            let outlives = !open || self.manifest.sides.contains_key(&start);
            ensure(outlives, "a file is dropped with its open conflicts")?;
        }
        Ok(())
    }

    /// The sealed journal files that retention has not dropped.
    pub(crate) fn kept_files(&self) -> impl Iterator<Item = &SealedFile> {
        self.manifest.files.values().filter(|file| !file.is_dropped())
    }
}
