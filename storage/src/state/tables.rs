//! The dedup ledger and the order heads: what the live journal file has taught them, what files
//! have whose run is not named yet, and the runs of all files before.

use std::collections::VecDeque;
use std::sync::Arc;

use super::generations::{Generations, YoungPlace};
use crate::journal::Position;
use crate::ledger::{HeadEntry, Heads, KeyTable, Ledger, LedgerEntry};
use crate::runs::{KeyRun, MaskedAddress, RunError, RunInfo};

/// How large the tables may become.
#[derive(Debug, Clone, Copy)]
pub struct TableLimits {
    /// Entries of the ledger, and order keys.
    pub keys_max: usize,
    /// Heads of a generation in memory, of which there are two: others are read from runs.
    pub heads_recent: usize,
}

/// The keyed tables of a node.
#[derive(Debug)]
pub(crate) struct Tables {
    limits: TableLimits,
    /// Of the live file.
    ledger: Ledger,
    /// Order keys whose first event is in the live file.
    new_orders: u64,
    /// Conflicts that the live file listed.
    conflicts: Vec<MaskedAddress>,
    /// Of files that are closed and have no run here yet, oldest first.
    frozen: VecDeque<FrozenKeys>,
    /// Oldest first; each begins where the one before ends, or behind that.
    runs: Vec<Arc<KeyRun>>,
    /// Of these, the last ones.
    generations: Generations,
    /// And those that are in no generation.
    alone: Vec<Arc<KeyRun>>,
    /// Runs below it are not asked.
    keys_from: Position,
    heads: RecentHeads,
}

#[derive(Debug)]
struct FrozenKeys {
    start: Position,
    ledger: Arc<Ledger>,
    new_orders: u64,
}

/// What one journal file taught the tables.
#[derive(Debug, Clone, Default)]
pub(crate) struct Frozen {
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) heads: Vec<HeadEntry>,
    pub(crate) new_orders: u64,
    pub(crate) conflicts: Vec<MaskedAddress>,
}

impl Tables {
    pub(crate) fn new(limits: TableLimits) -> Self {
        Self {
            limits,
            ledger: Ledger::default(),
            new_orders: 0,
            conflicts: Vec::new(),
            frozen: VecDeque::new(),
            runs: Vec::new(),
            generations: Generations::default(),
            alone: Vec::new(),
            keys_from: Position::ZERO,
            heads: RecentHeads::new(limits.heads_recent),
        }
    }

    pub(super) fn learn(&mut self, entry: LedgerEntry) {
        self.ledger.insert(entry);
    }

    pub(super) fn advance(&mut self, head: HeadEntry) {
        self.new_orders += u64::from(head.last.get() == 1);
        self.heads.advance(head);
    }

    pub(super) fn list(&mut self, conflict: MaskedAddress) {
        self.conflicts.push(conflict);
    }

    /// The journal file that began at `start` is closed: what it taught, for its run. Look-ups go
    /// on in it until [`Tables::sealed`].
    pub(crate) fn freeze(&mut self, start: Position) -> Frozen {
        let ledger = Arc::new(std::mem::take(&mut self.ledger));
        let new_orders = std::mem::take(&mut self.new_orders);
        self.ledger.reserve(ledger.len());
        let oldest = self.frozen.front().map_or(start, |frozen| frozen.start);
        let heads = self.heads.freeze(start, oldest);
        // Where forgotten keys are read once more, it is for their file's run alone.
        if start >= self.keys_from {
            self.frozen.push_back(FrozenKeys { start, ledger: Arc::clone(&ledger), new_orders });
        }
        #[cfg(takt_planted)]
        if takt_protocol::planted::is("closed_file_not_asked") {
            self.frozen.pop_back();
        }
        Frozen { ledger, heads, new_orders, conflicts: std::mem::take(&mut self.conflicts) }
    }

    /// A place for the keys of a run that is to be written, in a generation of `runs_max` runs.
    pub(crate) fn place(&mut self, keys: usize, window: i64, runs_max: usize) -> YoungPlace {
        self.generations.place(keys, window, runs_max)
    }

    /// Whether the run of so many keys begins a generation.
    pub(crate) fn begins_generation(&self, keys: usize, window: i64) -> bool {
        self.generations.begins(keys, window)
    }

    /// The run that was to have this place was not written.
    pub(crate) fn give_back(&mut self, place: &YoungPlace) {
        self.generations.give_back(place);
    }

    /// The run of the file that began at `start`, with its keys in `place`, is durable and named.
    pub(crate) fn sealed_young(&mut self, start: Position, run: Arc<KeyRun>, place: &YoungPlace) {
        self.generations.named(place, &run);
        self.sealed(start, Some(run));
        if !self.runs.iter().any(|run| run.info().start == start) {
            self.generations.forget(|run| run.start == start);
        }
    }

    /// How many filters a look-up meets; a generation has one.
    pub(crate) fn filters(&self) -> usize {
        self.alone.len() + self.generations.all().len()
    }

    /// What is merged as a whole: runs that are in no generation, and generations that take no more; each
    /// with the starts of its runs, oldest first.
    pub(crate) fn units(&self) -> Vec<Vec<Position>> {
        let alone = self.alone.iter().map(|run| vec![run.info().start]);
        let mut units: Vec<_> = alone.chain(self.generations.closed()).collect();
        units.sort_unstable();
        units
    }

    /// The run of the file that began at `start` is durable and named; `None` where it has none.
    pub(crate) fn sealed(&mut self, start: Position, run: Option<Arc<KeyRun>>) {
        self.frozen.retain(|frozen| frozen.start != start);
        // One that was made again may be merged already, or of forgotten keys.
        let is_asked =
            |run: &Arc<KeyRun>| run.info().end > self.keys_from && !self.is_covered(run.info());
        if let Some(run) = run.filter(is_asked) {
            self.add(run);
        }
    }

    /// All keys below `upto` are forgotten, as far as they are in runs.
    pub(crate) fn forget(&mut self, upto: Position) {
        self.keys_from = self.keys_from.max(upto);
        self.runs.retain(|run| run.info().end > upto);
        self.generations.forget(|run| run.end <= upto);
        self.regroup();
    }

    fn regroup(&mut self) {
        let alone = self.runs.iter().filter(|run| !self.generations.holds(run.info().start));
        self.alone = alone.cloned().collect();
    }

    /// A merged run is durable and named: it stands for those that it covers.
    pub(crate) fn merged(&mut self, run: Arc<KeyRun>) {
        self.runs.retain(|old| !run.info().covers(old.info()));
        self.generations.forget(|old| run.info().covers(old));
        self.add(run);
    }

    /// Runs are added oldest first at a start.
    pub(crate) fn add(&mut self, run: Arc<KeyRun>) {
        let at = self.runs.partition_point(|old| old.info().start < run.info().start);
        self.runs.insert(at, run);
        self.regroup();
    }

    /// The runs that look-ups meet, oldest first.
    pub(crate) fn runs(&self) -> &[Arc<KeyRun>] {
        &self.runs
    }

    /// Whether a run that covers all of `info` is met by look-ups.
    fn is_covered(&self, info: &RunInfo) -> bool {
        self.runs.iter().any(|run| run.info().covers(info))
    }

    /// Entries of the ledger, in memory and in runs.
    pub(crate) fn keys(&self) -> usize {
        let frozen: usize = self.frozen.iter().map(|frozen| frozen.ledger.len()).sum();
        let runs: u64 = self.runs.iter().map(|run| run.info().counts.ledger).sum();
        self.ledger.len() + frozen + usize::try_from(runs).unwrap_or(usize::MAX)
    }

    /// Order keys that have a head, in memory or in runs.
    pub(crate) fn orders(&self) -> usize {
        let frozen: u64 = self.frozen.iter().map(|frozen| frozen.new_orders).sum();
        let runs: u64 = self.runs.iter().map(|run| run.new_orders()).sum();
        usize::try_from(self.new_orders + frozen + runs).unwrap_or(usize::MAX)
    }

    /// Whether so many entries, and heads of so many orders, may come.
    pub(crate) fn have_room(&self, keys: usize, orders: usize) -> bool {
        let fit = |known: usize, more: usize| {
            more == 0 || known.saturating_add(more) <= self.limits.keys_max
        };
        fit(self.keys(), keys) && fit(self.orders(), orders)
    }

    /// Entries of the ledger that the live file has taught.
    pub(crate) fn live_keys(&self) -> usize {
        self.ledger.len()
    }

    /// What keys of closed files take in memory that wait for their run, in bytes.
    pub(crate) fn frozen_bytes(&self) -> usize {
        self.frozen.iter().map(|frozen| frozen.ledger.bytes()).sum()
    }

    /// What it takes in memory and on disk, in bytes.
    pub(crate) fn bytes(&self) -> (usize, u64) {
        let frozen = self.frozen_bytes();
        let runs: usize = self.runs.iter().map(|run| run.bytes()).sum();
        let runs = runs + self.generations.bytes();
        let heads = self.heads.young.bytes() + self.heads.old.bytes();
        let disk = self.runs.iter().map(|run| run.len_bytes()).sum();
        (self.ledger.bytes() + frozen + runs + heads, disk)
    }

    /// Gives all that is known of `hashes` to `each`, once however often a hash stands there. `hits`
    /// is a buffer.
    ///
    /// # Errors
    /// [`RunError`] of the first run that does not answer.
    pub(crate) fn known(
        &self,
        hashes: &[u128],
        hits: &mut Vec<u32>,
        mut each: impl FnMut(LedgerEntry),
    ) -> Result<(), RunError> {
        // A key that stands often in a batch is read once. Most batches have none to be read.
        let once = |hits: &mut Vec<u32>| {
            hits.sort_unstable_by_key(|hit| hashes[*hit as usize]);
            hits.dedup_by_key(|hit| hashes[*hit as usize]);
        };
        let frozen = self.frozen.iter().map(|frozen| &*frozen.ledger);
        for ledger in frozen.chain([&self.ledger]) {
            hits.clear();
            ledger.pass(hashes, hits);
            once(hits);
            for hit in hits.iter() {
                ledger.get(hashes[*hit as usize]).for_each(|entry| each(*entry));
            }
        }
        let mut read = |run: &KeyRun, hash: u128| {
            let read = run.contents(hash, &mut each);
            #[cfg(takt_planted)]
            let read = if takt_protocol::planted::is("unread_is_fresh") { Ok(()) } else { read };
            read
        };
        for run in &self.alone {
            hits.clear();
            run.pass(hashes, hits);
            once(hits);
            for hit in hits.iter() {
                read(run, hashes[*hit as usize])?;
            }
        }
        let mut found = Vec::new();
        for generation in self.generations.all() {
            generation.table().pass(hashes, |index, number| found.push((hashes[index], number)));
            found.sort_unstable();
            found.dedup();
            for (hash, number) in found.drain(..) {
                if let Some(run) = generation.run(number) {
                    read(run, hash)?;
                }
            }
        }
        Ok(())
    }

    /// The head of each order key, in their order. Those that are not in memory are asked for together,
    /// run by run, the newest first: so their cache misses overlap.
    ///
    /// # Errors
    /// [`RunError`] if one is not in memory, and a run does not answer.
    pub(crate) fn heads<'a>(
        &self,
        hashes: &[u128],
        search: &'a mut HeadSearch,
    ) -> Result<&'a [Option<HeadEntry>], RunError> {
        search.begin();
        let mut all = hashes.iter();
        self.heads.young.firsts(hashes, |head| {
            search.add(*all.next().expect("one for each hash"), head.copied());
        });
        let HeadSearch { heads, left, places, .. } = search;
        let mut places = places.iter();
        self.heads.old.firsts(left, |head| {
            heads[*places.next().expect("one for each hash")] = head.copied();
        });
        search.narrow();
        for run in self.runs.iter().rev() {
            #[cfg(takt_planted)]
            if takt_protocol::planted::is("heads_forgotten") {
                continue;
            }
            let HeadSearch { heads, left, places, hits } = search;
            hits.clear();
            run.pass_heads(left, hits);
            for hit in hits.iter().map(|hit| *hit as usize) {
                heads[places[hit]] = run.head(left[hit])?;
            }
            if !hits.is_empty() {
                search.narrow();
            }
        }
        Ok(&search.heads)
    }
}

/// Heads that are looked up together. Its buffers are kept from batch to batch.
#[derive(Debug, Default)]
pub(crate) struct HeadSearch {
    /// What was found, for each key.
    heads: Vec<Option<HeadEntry>>,
    /// The keys of which nothing was found yet.
    left: Vec<u128>,
    /// Where in `heads` each of these stands.
    places: Vec<usize>,
    hits: Vec<u32>,
}

impl HeadSearch {
    fn begin(&mut self) {
        self.heads.clear();
        self.left.clear();
        self.places.clear();
    }

    fn add(&mut self, hash: u128, head: Option<HeadEntry>) {
        if head.is_none() {
            self.left.push(hash);
            self.places.push(self.heads.len());
        }
        self.heads.push(head);
    }

    /// Looks no further for what was found.
    fn narrow(&mut self) {
        let mut kept = 0;
        for number in 0..self.left.len() {
            if self.heads[self.places[number]].is_none() {
                self.left[kept] = self.left[number];
                self.places[kept] = self.places[number];
                kept += 1;
            }
        }
        self.left.truncate(kept);
        self.places.truncate(kept);
    }
}

/// The heads that moved on last, in two generations: when the young one is full, the old one is
/// forgotten, if runs have all of it, and the young one grows old.
#[derive(Debug)]
struct RecentHeads {
    generation: usize,
    young: Heads,
    old: Heads,
    /// No head in the old generation moved on in a file that began behind it.
    old_upto: Position,
    /// One bit for each young head, by number: whether the live file has moved it on.
    touched: Vec<u64>,
}

impl RecentHeads {
    fn new(generation: usize) -> Self {
        Self {
            generation,
            young: KeyTable::default(),
            old: KeyTable::default(),
            old_upto: Position::ZERO,
            touched: Vec::new(),
        }
    }

    fn advance(&mut self, head: HeadEntry) {
        let number = self.young.upsert(head, |_| true) as usize;
        if self.touched.len() <= number / 64 {
            // Room for many: it must not grow with each head.
            self.touched.resize((number / 64 + 1).next_power_of_two(), 0);
        }
        self.touched[number / 64] |= 1 << (number % 64);
    }

    /// Heads that moved on in the file from `start`. The oldest file without a run begins at
    /// `oldest`.
    fn freeze(&mut self, start: Position, oldest: Position) -> Vec<HeadEntry> {
        let mut heads = Vec::new();
        for (word, base) in self.touched.iter_mut().zip((0..).step_by(64)) {
            let mut left = std::mem::take(word);
            while left > 0 {
                heads.push(*self.young.entry(base + left.trailing_zeros()));
                left &= left - 1;
            }
        }
        #[cfg(takt_planted)]
        let oldest =
            if takt_protocol::planted::is("heads_dropped_early") { Position::MAX } else { oldest };
        if self.young.len() >= self.generation && (self.old.is_empty() || self.old_upto < oldest) {
            self.old = std::mem::take(&mut self.young);
            self.old_upto = start;
        }
        heads
    }
}
