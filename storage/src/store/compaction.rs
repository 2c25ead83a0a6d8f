//! Compaction: of topics that ask for it, a pack leaves out events of which later ones of the same order
//! key have taken the place.
//!
//! Whether one has, the order heads of the sealed files say: what they know was durable before the
//! pack is named, and lies behind what it takes the place of. An order whose head is not found keeps all
//! of its events.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use takt_protocol::batch::{BatchBuilder, StoredBatch, StoredError, StoredRecord, Verdict};
use takt_protocol::chunks::Chunks;
use takt_protocol::words::{OrderSequence, Timestamp, TopicName};

use super::Store;
use super::due::{Unit, due_round};
use crate::entry::{SealedFile, SlotEnd};
use crate::journal::Position;
use crate::keys::KeyHasher;
use crate::ledger::HeadEntry;
use crate::runs::{KeyRun, RunError, Slot};

/// How many heads are looked up in one step; each takes a block of 4 KiB of each run that may have it.
const HEADS_A_STEP: usize = 512;

/// What is left out of a pack.
#[derive(Debug)]
pub(super) struct Compaction {
    /// The partitions that are compacted, with their topics.
    topics: BTreeMap<Slot, TopicName>,
    /// What tells where orders stand, oldest first.
    runs: Vec<Arc<KeyRun>>,
    /// Where what these runs cover ends.
    upto: Position,
    /// Order keys of the batches at hand whose heads are not looked up yet, by hash.
    wanted: Vec<u128>,
    heads: HashMap<u128, HeadEntry>,
    hashes: Vec<u128>,
    builder: BatchBuilder,
}

impl Compaction {
    pub(super) fn upto(&self) -> Position {
        self.upto
    }

    pub(super) fn is_of(&self, slot: Slot) -> bool {
        self.topics.contains_key(&slot)
    }

    /// Other batches are at hand.
    pub(super) fn begin(&mut self) {
        self.wanted.clear();
        self.heads.clear();
    }

    /// Notes the order keys of a batch at hand.
    pub(super) fn want(
        &mut self,
        hasher: &KeyHasher,
        slot: Slot,
        bytes: Bytes,
    ) -> Result<(), StoredError> {
        let Some(topic) = self.topics.get(&slot) else { return Ok(()) };
        let batch = StoredBatch::take(&mut Chunks::from(bytes))?;
        let records = batch.batch().records()?;
        self.wanted.extend(records.order_keys().iter().map(|key| hasher.order(topic, key)));
        Ok(())
    }

    /// All batches at hand are noted.
    pub(super) fn wanted(&mut self) {
        // Backwards by hash, so that they are taken off the end in the order in which runs have them.
        self.wanted.sort_unstable_by(|a, b| b.cmp(a));
        self.wanted.dedup();
    }

    /// Looks up the next heads; whether there were any.
    pub(super) fn look_up(&mut self) -> Result<bool, RunError> {
        let next = self.wanted.len().saturating_sub(HEADS_A_STEP);
        let step = self.wanted.split_off(next);
        for hash in step.iter().rev() {
            for run in self.runs.iter().rev() {
                if let Some(head) = run.head(*hash)? {
                    self.heads.insert(*hash, head);
                    break;
                }
            }
        }
        Ok(!step.is_empty())
    }

    /// What is kept of a batch at hand, where that is not all of it.
    pub(super) fn compact(
        &mut self,
        hasher: &KeyHasher,
        slot: Slot,
        bytes: Bytes,
    ) -> Result<Option<Bytes>, StoredError> {
        let Self { topics, heads, hashes, builder, .. } = self;
        let Some(topic) = topics.get(&slot) else { return Ok(None) };
        let batch = StoredBatch::take(&mut Chunks::from(bytes))?;
        let records = batch.batch().records()?;
        hashes.clear();
        hashes.extend(records.order_keys().iter().map(|key| hasher.order(topic, key)));
        let append_time = batch.header().append_time;
        let head = |index: usize| hashes.get(index).and_then(|hash| heads.get(hash));
        batch.compact(builder, |found| {
            is_kept(found, append_time, found.record.order_index.and_then(head))
        })
    }
}

/// Whether a record of a batch stays, given where its order stands.
fn is_kept(found: &StoredRecord<'_>, append_time: Timestamp, head: Option<&HeadEntry>) -> bool {
    #[cfg(takt_planted)]
    if takt_protocol::planted::is("compaction_takes_what_has_no_order")
        && found.offset.is_some()
        && found.order_sequence().zip(head).is_none()
    {
        return false;
    }
    #[cfg(takt_planted)]
    if takt_protocol::planted::is("compaction_takes_conflicts")
        && matches!(found.verdict, Verdict::Conflict { .. })
    {
        return false;
    }
    match found.verdict {
        Verdict::Visible { order_sequence, .. } => match order_sequence.zip(head) {
            Some((sequence, head)) => !is_behind(append_time, sequence, head),
            None => true,
        },
        // An operator may have to decide on it, or has.
        Verdict::Conflict { listed, .. } => listed,
        Verdict::Duplicate { .. } | Verdict::PreconditionFailed { .. } => false,
    }
}

/// Whether the order has gone on, or has begun again, since.
fn is_behind(append_time: Timestamp, sequence: OrderSequence, head: &HeadEntry) -> bool {
    #[cfg(takt_planted)]
    if takt_protocol::planted::is("compaction_takes_the_latest") {
        return (append_time, sequence) <= (head.last_append_time, head.last);
    }
    (append_time, sequence) < (head.last_append_time, head.last)
}

impl<T> Store<T> {
    /// What is left out of a pack of these files; `None` where all is kept.
    pub(super) fn compaction_of<'a>(
        &self,
        files: impl Iterator<Item = &'a SealedFile> + Clone,
    ) -> Option<Compaction> {
        let mut topics = BTreeMap::new();
        for end in files.clone().flat_map(|file| &file.slots).filter(|end| self.compacts(end)) {
            let partition = self.state.partition(end.slot)?;
            topics.insert(end.slot, partition.id.topic.clone());
        }
        let needed = files.flat_map(|file| &file.slots).filter(|end| self.is_end_needed(end));
        #[cfg(takt_planted)]
        let needed = needed.filter(|_| !takt_protocol::planted::is("compaction_ignores_holds"));
        for end in needed {
            topics.remove(&end.slot);
        }
        (!topics.is_empty()).then(|| Compaction {
            topics,
            runs: self.state.tables.runs().to_vec(),
            upto: self.state.control.manifest.runs_upto,
            wanted: Vec::new(),
            heads: HashMap::new(),
            hashes: Vec::new(),
            builder: BatchBuilder::default(),
        })
    }

    /// Once what was never compacted is as much as what was, all of it is packed again: so what is
    /// written for that is no more than twice what comes.
    pub(super) fn want_compaction(&mut self, units: &mut [Unit]) {
        if self.full {
            return;
        }
        let known_upto = self.state.control.manifest.runs_upto;
        let round = self.packing.round_upto.or_else(|| due_round(units).then_some(known_upto));
        self.packing.round_upto = round.filter(|upto| {
            let mut wanted = false;
            for unit in units.iter_mut().filter(|unit| unit.is_behind(*upto)) {
                unit.is_wanted = true;
                wanted = true;
            }
            wanted
        });
    }

    /// Whether its topic is one of the node's own that asks for compaction.
    pub(super) fn compacts(&self, end: &SlotEnd) -> bool {
        let partition = self.state.partition(end.slot);
        partition.is_some_and(|found| found.mirror_of.is_none() && found.settings.compact)
    }

    /// Whether any of the node's own topics asks for compaction.
    pub(super) fn has_compacted(&self) -> bool {
        let node = &self.state.control.node;
        let mut topics = self.state.control.topics.iter();
        topics.any(|((_, origin), topic)| origin == node && topic.settings.compact)
    }
}
