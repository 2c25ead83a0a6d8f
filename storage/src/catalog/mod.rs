//! Where a partition's batches are: in the live file's part in memory, or in a sealed file's run.
//!
//! A file is *live* while commits go into it (its extents and its order index are in memory),
//! *frozen* from its roll until its run is written (the same, immutable and shared with the job
//! that writes the run), then *sealed* (answers come from the run: one probe each, verified).
//!
//! One thread appends, any number read. A look-up holds the lock for a search in memory only;
//! probes of runs happen behind it, on a shared reader, which also survives the file's removal.

mod events;
mod live;

use std::{collections::BTreeMap, sync::Arc};

use takt_protocol::words::{BatchNumber, Offset, PartitionChain, Timestamp};

pub use crate::runs::{ChainBefore, Extent, MaskedAddress, OrderRow, Placed, Slot, SlotSummary};
use crate::{
    journal::Position,
    runs::{KeptExtents, RunError, RunReader},
    sync::{RwLock, RwLockReadGuard, RwLockWriteGuard},
};
pub use events::OrderEvents;
pub use live::LiveFile;

/// Of how many sealed files the events of an order are fetched while those of others are read.
const ORDERS_AHEAD: usize = 64;

/// The place of every batch of every partition that a node holds. Shared by reference.
#[derive(Debug)]
pub struct Catalog {
    inner: RwLock<Inner>,
}

#[derive(Debug)]
struct Inner {
    live: LiveFile,
    /// Rolled files whose run is not written yet, oldest first.
    frozen: Vec<Arc<LiveFile>>,
    sealed: BTreeMap<Position, Arc<RunReader>>,
    /// The sealed files that hold a partition, oldest first.
    by_slot: BTreeMap<Slot, Vec<Arc<RunReader>>>,
    /// Where partitions begin whose oldest batches are trimmed, though files list them.
    starts: BTreeMap<Slot, Start>,
}

/// Where a partition begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
struct Start {
    batch: BatchNumber,
    offset: Offset,
}

/// Where to look on: what memory answers, or the run to probe.
enum Found<T> {
    Here(T),
    InRun(Arc<RunReader>),
}

impl Catalog {
    /// Of a journal whose live file starts at `start`.
    pub fn new(start: Position) -> Self {
        let inner = Inner {
            live: LiveFile::new(start),
            frozen: Vec::new(),
            sealed: BTreeMap::new(),
            by_slot: BTreeMap::new(),
            starts: BTreeMap::new(),
        };
        Self { inner: RwLock::new(inner) }
    }

    /// Adds a commit's batches, each with its partition's chain before it, and events to the live
    /// file, under one lock.
    ///
    /// # Panics
    /// If a batch is not behind the last of its partition in the live file.
    pub fn publish(
        &self,
        batches: impl IntoIterator<Item = (Extent, PartitionChain)>,
        events: impl IntoIterator<Item = OrderRow>,
    ) {
        let live = &mut self.write().live;
        for (extent, chain_before) in batches {
            live.push(extent, chain_before);
        }
        live.push_orders(events);
    }

    /// The live file is closed and the one at `next` begins. Returns the closed one, for its run;
    /// look-ups go on in it until [`Catalog::sealed`].
    pub fn freeze(&self, next: Position) -> Arc<LiveFile> {
        let mut inner = self.write();
        let frozen = Arc::new(std::mem::replace(&mut inner.live, LiveFile::new(next)));
        inner.frozen.push(Arc::clone(&frozen));
        frozen
    }

    /// The run of a file is written, or found at a start: look-ups use it from now on.
    pub fn sealed(&self, run: RunReader) {
        let run = Arc::new(run);
        let start = run.info().start;
        let mut inner = self.write();
        inner.frozen.retain(|frozen| frozen.start() != start);
        inner.forget(start);
        for summary in run.slots() {
            let files = inner.by_slot.entry(summary.slot).or_default();
            let at = files.partition_point(|file| file.info().start < start);
            files.insert(at, Arc::clone(&run));
        }
        inner.sealed.insert(start, run);
    }

    /// The sealed or frozen file at `start` is dropped: nothing is found in it any more. Returns
    /// whether there was one.
    pub fn drop_file(&self, start: Position) -> bool {
        let mut inner = self.write();
        let frozen = inner.frozen.len();
        inner.frozen.retain(|file| file.start() != start);
        inner.frozen.len() < frozen || inner.forget(start)
    }

    /// The partition begins here now, or behind it: what lies before is found no more, also where a run that is
    /// kept for other partitions lists it.
    pub fn trim(&self, slot: Slot, batch: BatchNumber, offset: Offset) {
        let start = Start { batch, offset };
        if start > Start::default() {
            let mut inner = self.write();
            let known = inner.starts.entry(slot).or_default();
            *known = start.max(*known);
        }
    }

    /// The run of the sealed file at `start`.
    pub fn run(&self, start: Position) -> Option<Arc<RunReader>> {
        self.read().sealed.get(&start).cloned()
    }

    /// The batch that holds the record at `offset`; `None` if it was dropped or is not there yet.
    ///
    /// # Errors
    /// [`RunError`] if the run that says it cannot be read.
    pub fn find(&self, slot: Slot, offset: Offset) -> Result<Option<Extent>, RunError> {
        let inner = self.read();
        let start = inner.start(slot);
        let found = inner.latest(
            slot,
            |summary| summary.first_offset <= offset,
            |file| file.at_or_before(slot, offset),
        );
        drop(inner);
        let extent = match found {
            Some(Found::Here(extent)) => extent,
            Some(Found::InRun(run)) => run.extent_at_or_before(slot, offset)?,
            None => None,
        };
        Ok(extent.filter(|extent| extent.contains(offset) && start.is_kept(extent)))
    }

    /// As [`Catalog::find`], of many offsets, with what the batches continue.
    ///
    /// # Errors
    /// As [`Catalog::find`].
    pub fn place(&self, slot: Slot, offsets: &[Offset]) -> Result<Vec<Option<Placed>>, RunError> {
        let inner = self.read();
        let start = inner.start(slot);
        let found = offsets.iter().map(|&offset| {
            let found = inner.latest(
                slot,
                |summary| summary.first_offset <= offset,
                |file| file.placed_at_or_before(slot, offset),
            );
            (offset, found)
        });
        let found: Vec<_> = found.collect();
        drop(inner);
        let by_run = || found.chunk_by(|(_, a), (_, b)| is_same_run(a.as_ref(), b.as_ref()));
        for of_run in by_run() {
            // Mostly a file's extents are one block.
            if let (offset, Some(Found::InRun(run))) = &of_run[0] {
                run.prefetch_extent(slot, *offset);
            }
        }
        let mut places: Vec<Option<Placed>> = Vec::with_capacity(offsets.len());
        for of_run in by_run() {
            let mut kept = KeptExtents::default();
            for (offset, found) in of_run {
                let holds = |placed: &Placed| placed.extent.contains(*offset);
                let placed = match (places.last().copied().flatten().filter(holds), found) {
                    (Some(again), _) => Some(again),
                    (None, Some(Found::Here(placed))) => *placed,
                    (None, Some(Found::InRun(run))) => {
                        run.placed_at_or_before(slot, *offset, &mut kept)?
                    }
                    (None, None) => None,
                };
                places.push(placed.filter(holds).filter(|placed| start.is_kept(&placed.extent)));
            }
        }
        Ok(places)
    }

    /// A batch by its number; `None` if it was dropped or is not there yet.
    ///
    /// # Errors
    /// As [`Catalog::find`].
    pub fn find_batch(&self, slot: Slot, batch: BatchNumber) -> Result<Option<Extent>, RunError> {
        let inner = self.read();
        let start = inner.start(slot);
        let found = inner.latest(
            slot,
            |summary| summary.first_batch <= batch,
            |file| file.batches_from(slot, batch, 1).first().copied(),
        );
        drop(inner);
        let extent = match found {
            Some(Found::Here(extent)) => extent,
            Some(Found::InRun(run)) => run.extent_by_batch(slot, batch)?,
            None => None,
        };
        Ok(extent.filter(|extent| extent.batch_number == batch && start.is_kept(extent)))
    }

    /// The first batch that was appended at `time` or later; `None` if none was.
    ///
    /// # Errors
    /// As [`Catalog::find`].
    pub fn find_time(&self, slot: Slot, time: Timestamp) -> Result<Option<Extent>, RunError> {
        let inner = self.read();
        let start = inner.start(slot);
        let found = inner.earliest(
            slot,
            |summary| time <= summary.last_time,
            |file| file.by_time(slot, time),
        );
        drop(inner);
        let extent = match found {
            Some(Found::Here(extent)) => extent,
            Some(Found::InRun(run)) => run.extent_by_time(slot, time)?,
            None => None,
        };
        match extent {
            // All that is kept was appended later.
            Some(extent) if !start.is_kept(&extent) => {
                Ok(self.page(slot, start.batch, 1)?.first().copied())
            }
            extent => Ok(extent),
        }
    }

    /// The first batch that is kept with a number above `batch`.
    ///
    /// # Errors
    /// As [`Catalog::find`].
    pub fn next_after(&self, slot: Slot, batch: BatchNumber) -> Result<Option<Extent>, RunError> {
        let Some(from) = batch.checked_add(1) else { return Ok(None) };
        Ok(self.page(slot, from, 1)?.first().copied())
    }

    /// The kept batches from number `from` on, at most `max` of them, in their order.
    ///
    /// # Errors
    /// As [`Catalog::find`].
    pub fn page(&self, slot: Slot, from: BatchNumber, max: usize) -> Result<Vec<Extent>, RunError> {
        let inner = self.read();
        let from = from.max(inner.start(slot).batch);
        let (runs, here) = inner.page(slot, from, max);
        drop(inner);
        let mut page = Vec::new();
        for run in runs {
            page.extend(run.extents_from(slot, from, max - page.len())?);
        }
        let room = max.saturating_sub(page.len());
        page.extend(here.into_iter().take(room));
        Ok(page)
    }

    /// What the oldest file that is kept holds of the partition: where it starts now, and the
    /// chain before that. `None` if nothing is kept.
    pub fn first(&self, slot: Slot) -> Option<SlotSummary> {
        self.read().files(slot).next()
    }

    /// What the newest file that has the partition holds of it.
    pub fn last(&self, slot: Slot) -> Option<SlotSummary> {
        self.read().files(slot).last()
    }

    /// The partition's chain before `batch`, where that is a file's first batch of it. Otherwise
    /// the batch before it carries the chain.
    pub fn chain_before_first(&self, slot: Slot, batch: BatchNumber) -> Option<PartitionChain> {
        let inner = self.read();
        let found =
            inner.latest(slot, |summary| summary.first_batch <= batch, |file| file.summary(slot));
        let summary = match found? {
            Found::Here(summary) => summary?,
            Found::InRun(run) => *run.slot(slot)?,
        };
        let is_there = summary.first_batch == batch && inner.start(slot).batch <= batch;
        is_there.then_some(summary.chain_before)
    }

    /// The offsets of an order key's events in a partition behind `after` (from the first without
    /// it), at most `max` of them, in their order. Of each sealed file in question the block is read
    /// where they are or would be, and those of some files are fetched ahead.
    ///
    /// # Errors
    /// As [`Catalog::find`].
    pub fn order(
        &self,
        hash: u128,
        slot: Slot,
        after: Option<Offset>,
        max: usize,
    ) -> Result<Vec<Offset>, RunError> {
        let inner = self.read();
        let trimmed = inner.start(slot).offset.get().checked_sub(1).map(Offset::new);
        let after = after.max(trimmed);
        let (runs, here) = inner.order(hash, slot, after);
        drop(inner);
        let mut offsets = Vec::new();
        let mut ahead = runs.iter();
        for (index, run) in runs.iter().enumerate() {
            if offsets.len() >= max {
                break;
            }
            let fetched = if index == 0 { ORDERS_AHEAD } else { 1 };
            ahead.by_ref().take(fetched).for_each(|run| run.prefetch_order(hash, slot, after));
            offsets.extend(run.order(hash, slot, after, max - offsets.len())?);
        }
        let here = here.iter().flat_map(|file| file.history(hash, slot, after));
        offsets.extend(here.take(max.saturating_sub(offsets.len())));
        Ok(offsets)
    }

    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().expect("no holder of the catalog's lock panics")
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write().expect("no holder of the catalog's lock panics")
    }
}

impl Start {
    fn is_kept(self, extent: &Extent) -> bool {
        self.batch <= extent.batch_number
    }
}

impl Inner {
    fn start(&self, slot: Slot) -> Start {
        self.starts.get(&slot).copied().unwrap_or_default()
    }

    fn forget(&mut self, start: Position) -> bool {
        let Some(run) = self.sealed.remove(&start) else { return false };
        for summary in run.slots() {
            if let Some(files) = self.by_slot.get_mut(&summary.slot) {
                files.retain(|file| file.info().start != start);
                if files.is_empty() {
                    self.by_slot.remove(&summary.slot);
                }
            }
        }
        true
    }

    /// The files in memory, oldest first.
    fn in_memory(&self) -> impl DoubleEndedIterator<Item = &LiveFile> {
        self.frozen.iter().map(AsRef::as_ref).chain([&self.live])
    }

    fn runs(&self, slot: Slot) -> &[Arc<RunReader>] {
        self.by_slot.get(&slot).map_or(&[], Vec::as_slice)
    }

    /// What each file that is not trimmed holds of the partition, oldest first.
    fn files(&self, slot: Slot) -> impl Iterator<Item = SlotSummary> {
        let start = self.start(slot);
        let sealed = self.runs(slot).iter().map(move |run| summary_in(run, slot));
        let all = sealed.chain(self.in_memory().filter_map(move |file| file.summary(slot)));
        all.filter(move |summary| start.batch < summary.end_batch)
    }

    /// The newest file that holds the partition and passes `reached`, which holds for all files
    /// before it too.
    fn latest<T>(
        &self,
        slot: Slot,
        reached: impl Fn(&SlotSummary) -> bool,
        look: impl Fn(&LiveFile) -> T,
    ) -> Option<Found<T>> {
        for file in self.in_memory().rev() {
            if file.summary(slot).is_some_and(|summary| reached(&summary)) {
                return Some(Found::Here(look(file)));
            }
        }
        let runs = self.runs(slot);
        let behind = runs.partition_point(|run| reached(&summary_in(run, slot)));
        runs.get(behind.checked_sub(1)?).cloned().map(Found::InRun)
    }

    /// The oldest file that holds the partition and passes `reached`, which holds for all files
    /// behind it too.
    fn earliest<T>(
        &self,
        slot: Slot,
        reached: impl Fn(&SlotSummary) -> bool,
        look: impl Fn(&LiveFile) -> T,
    ) -> Option<Found<T>> {
        let runs = self.runs(slot);
        let first = runs.partition_point(|run| !reached(&summary_in(run, slot)));
        if let Some(run) = runs.get(first) {
            return Some(Found::InRun(Arc::clone(run)));
        }
        self.in_memory()
            .find(|file| file.summary(slot).is_some_and(|summary| reached(&summary)))
            .map(|file| Found::Here(look(file)))
    }

    /// The runs that have the page's first extents, and the extents in memory behind theirs.
    fn page(
        &self,
        slot: Slot,
        from: BatchNumber,
        max: usize,
    ) -> (Vec<Arc<RunReader>>, Vec<Extent>) {
        let runs = self.runs(slot);
        let first = runs.partition_point(|run| summary_in(run, slot).end_batch <= from);
        let mut chosen = Vec::new();
        let mut batches = 0;
        for run in &runs[first..] {
            if batches >= max {
                return (chosen, Vec::new());
            }
            let summary = summary_in(run, slot);
            let skipped = from.get().saturating_sub(summary.first_batch.get());
            let skipped = usize::try_from(skipped).unwrap_or(usize::MAX);
            batches = batches.saturating_add((summary.batches as usize).saturating_sub(skipped));
            chosen.push(Arc::clone(run));
        }
        let mut here = Vec::new();
        for file in self.in_memory() {
            let room = max.saturating_sub(batches).saturating_sub(here.len());
            here.extend_from_slice(file.batches_from(slot, from, room));
        }
        (chosen, here)
    }

    /// The runs that may hold events of the order key behind `after`, and what is in memory.
    fn order(
        &self,
        hash: u128,
        slot: Slot,
        after: Option<Offset>,
    ) -> (Vec<Arc<RunReader>>, Vec<OrderEvents>) {
        let next = after.map_or(0, |after| after.get().saturating_add(1));
        let runs = self.runs(slot);
        let first = runs.partition_point(|run| summary_in(run, slot).end_offset.get() <= next);
        let here = self.in_memory().map(|file| file.orders().of(hash, slot)).collect();
        (runs[first..].to_vec(), here)
    }
}

fn is_same_run<T>(a: Option<&Found<T>>, b: Option<&Found<T>>) -> bool {
    matches!((a, b), (Some(Found::InRun(a)), Some(Found::InRun(b))) if Arc::ptr_eq(a, b))
}

/// A run in a partition's list holds the partition.
fn summary_in(run: &RunReader, slot: Slot) -> SlotSummary {
    *run.slot(slot).expect("a run in a partition's list holds the partition")
}

#[cfg(test)]
mod tests;
