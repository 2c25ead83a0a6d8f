//! Folds a journal's entries: the state at its end, and the records on the way.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    batch::Stored,
    commit::RawEntry,
    compacted::is_compacted,
    contents::{Batch, Contents, Cursor, File, MaskedAddress, Partition},
    entry::{BATCH_AT, Entry},
    error::ReadError,
    input::{Input, Why, ensure, wide},
    journal::{Commit, Journal, JournalFile},
    manifest::{Holder, SealedFile},
    orders::Orders,
    pack_file::Unpacked,
    packed,
    payload::Digester,
    record::{self, Records},
    state::State,
    verdict::Verdict,
    woven::Woven,
};

/// The fold of a journal up to a position.
pub(crate) struct Fold<'a> {
    state: State<'a>,
    /// By slot.
    logs: Vec<Log<'a>>,
    digester: Digester,
    /// What was ever named.
    holders: BTreeSet<Holder>,
}

/// The batches of a partition that were read. Where journal files are missing, so are theirs.
#[derive(Default)]
struct Log<'a> {
    /// The number of the first behind the last hole.
    first: u64,
    batches: Vec<Batch<'a>>,
    records: Records<'a>,
    orders: Orders<'a>,
}

impl<'a> Fold<'a> {
    /// Folds all files, from the snapshot of the oldest on.
    pub(crate) fn of(journal: &Journal<'a>) -> Result<Self, ReadError> {
        let oldest = journal.files.first().ok_or(ReadError::NoJournal)?;
        let state = oldest.snapshot()?;
        let holders = state.manifest.holders().collect();
        let mut fold = Self { state, logs: Vec::new(), digester: Digester::new(), holders };
        fold.grow();
        let mut linked = None;
        for file in &journal.files {
            if let Some(linked) = linked {
                fold.pass(file, linked)?;
            }
            for commit in &file.commits {
                fold.commit(commit)?;
            }
            linked = Some(file.linked);
        }
        Ok(fold)
    }

    /// Goes over to the next file: what was folded must be its snapshot. Where files between were
    /// dropped, its snapshot goes on from there.
    fn pass(&mut self, file: &JournalFile<'a>, linked: bool) -> Result<(), ReadError> {
        let next = file.snapshot()?;
        let check = if linked {
            self.state.manifest.agree_on_times(&next.manifest);
            ensure(next == self.state, "it is not what the entries before it add up to")
        } else {
            self.skip_to(&next)
        };
        let bad = |why: Why| ReadError::Snapshot { file: file.name.to_owned(), why: why.0 };
        check.map_err(bad)?;
        self.holders.extend(next.manifest.holders());
        self.state = next;
        self.grow();
        Ok(())
    }

    /// The batches in a hole are in packs, or they and those before are to be dropped.
    fn skip_to(&mut self, next: &State<'a>) -> Result<(), Why> {
        let same = (next.node, next.secret) == (self.state.node, self.state.secret);
        ensure(same, "it is of another node")?;
        ensure(next.partitions.len() >= self.logs.len(), "it lacks partitions")?;
        let partitions = self.state.partitions.iter().zip(&next.partitions);
        for (log, (before, next)) in self.logs.iter_mut().zip(partitions) {
            ensure(before.id == next.id, "its partitions are others")?;
            ensure(before.end.batch <= next.end.batch, "a partition goes back")?;
            if before.end.batch < next.end.batch {
                log.first = next.end.batch;
                log.orders = Orders::default();
            } else {
                ensure(before.end == next.end, "a partition ends elsewhere")?;
            }
        }
        Ok(())
    }

    /// Each partition has a log, which begins where the partition stands.
    fn grow(&mut self) {
        let new = self.state.partitions.iter().skip(self.logs.len());
        self.logs.extend(new.map(|slot| Log { first: slot.end.batch, ..Log::default() }));
    }

    fn commit(&mut self, commit: &Commit<'a>) -> Result<(), ReadError> {
        let mut entries = commit.entries;
        let mut position = commit.header.position;
        let bad = |position, why: Why| ReadError::Entry { position, why: why.0 };
        while let Some(raw) = entries.next().map_err(|why| bad(position, why))? {
            position = raw.position;
            let entry = match Entry::read(&raw) {
                Ok(Entry::Batch { slot, own, batch }) => {
                    let appended = self.append(slot, own, &batch, position + BATCH_AT);
                    appended.map_err(|why| bad_batch(&raw, why))?;
                    continue;
                }
                Ok(entry) => entry,
                Err(why) if Entry::is_batch(&raw) => return Err(bad_batch(&raw, why)),
                Err(why) => return Err(bad(position, why)),
            };
            if let Entry::RunAdded(file) = &entry {
                self.holders.insert(Holder::of_file(file));
            }
            if let Entry::KeysMerged(run) = &entry {
                self.holders.insert(Holder::of_merged(run));
            }
            if let Entry::MirrorStarted { slot, start } = &entry {
                let log = log_mut(&mut self.logs, *slot).map_err(|why| bad(position, why))?;
                *log = Log { first: start.batch, ..Log::default() };
            }
            self.state.apply(entry).map_err(|why| bad(position, why))?;
            self.grow();
        }
        Ok(())
    }

    fn append(
        &mut self,
        slot: u32,
        own: bool,
        batch: &Stored<'a>,
        position: u64,
    ) -> Result<(), Why> {
        let settings = self.state.slot(slot)?.topic.settings;
        let partitions = settings.partitions;
        let log = log_mut(&mut self.logs, slot)?;
        let from = log.records.end();
        record::read(batch, partitions, &mut self.digester, &mut log.records)?;
        log.batches.push(Batch::of(batch, own, Some(position), from.0));
        let records = log.records.since(from);
        let listed = records.there.iter().filter_map(|record| match record.verdict {
            Verdict::Conflict { with, listed: true } => Some((record.index, with)),
            Verdict::Conflict { listed: false, .. }
            | Verdict::Visible
            | Verdict::Duplicate { .. }
            | Verdict::PreconditionFailed { .. } => None,
        });
        self.state.append(slot, own, batch, listed)?;
        log.orders.follow(records, &settings, batch.header.append_time, log.first == 0)
    }

    /// What the journal holds, once all of it that counts was found to be there.
    pub(crate) fn finish(
        mut self,
        journal: &Journal<'a>,
        directory: &'a BTreeMap<String, Vec<u8>>,
        unpacked: &'a Unpacked,
    ) -> Result<Contents<'a>, ReadError> {
        self.check_files(journal)?;
        let id = &journal.last().preamble.journal;
        let packed = packed::read(directory, unpacked, id, &self.state)?;
        let oldest = journal.files.first().ok_or(ReadError::NoJournal)?;
        let mut partitions = Vec::with_capacity(self.logs.len());
        for (slot, mut log) in (0..).zip(std::mem::take(&mut self.logs)) {
            if let Some(packed) = packed.get(&slot) {
                let of_journal = (&log.batches[..], &log.records);
                let woven = Woven::of(&self.state, slot, of_journal, packed, &mut self.digester)?;
                (log.batches, log.records) = (woven.batches, woven.records);
            }
            let partition = self
                .partition(slot, log)
                .map_err(|why| ReadError::Snapshot { file: oldest.name.to_owned(), why: why.0 })?;
            partitions.push(partition);
        }
        let State { node, partitions: slots, producers, cursors, conflicts, manifest, .. } =
            self.state;
        // Slots were checked when they were read.
        let id = |slot: u32| usize::try_from(slot).ok().and_then(|at| slots.get(at)).map(|s| s.id);
        let cursors = cursors.into_iter().map(|(name, cursor)| {
            let positions = cursor.positions.into_iter();
            let positions = positions.filter_map(|(slot, next)| Some((id(slot)?, next))).collect();
            (name, Cursor { topic: cursor.topic, hold: cursor.hold, positions })
        });
        let conflicts = conflicts.into_iter().filter_map(|((slot, batch, index), conflict)| {
            Some((MaskedAddress { partition: id(slot)?, batch, index }, conflict))
        });
        let producers = producers.into_iter().map(|(key, known)| (key, known.producer));
        let files = journal.files.iter().map(|file| File {
            name: file.name,
            start: file.preamble.start,
            end: file.end,
            incarnation: file.preamble.incarnation,
        });
        let commits: usize = journal.files.iter().map(|file| file.commits.len()).sum();
        Ok(Contents {
            node,
            journal: journal.last().preamble.journal,
            incarnation: journal.last().preamble.incarnation,
            partitions,
            cursors: cursors.collect(),
            conflicts: conflicts.collect(),
            producers: producers.collect(),
            durable_upto: journal.tail.durable_upto,
            end: journal.last().end,
            commits: wide(commits),
            cut: journal.tail.cut,
            files: files.collect(),
            manifest,
            holders: self.holders,
        })
    }

    /// What is not there must have been dropped or packed, and what is there must be whole.
    fn check_files(&self, journal: &Journal<'a>) -> Result<(), ReadError> {
        let manifest = &self.state.manifest;
        for file in &journal.files {
            let known = manifest.files.get(&file.preamble.start);
            if known.is_some_and(|known| known.end != file.end) {
                return Err(file.damaged(file.end, "it does not end where it was sealed"));
            }
        }
        let mut from = 0;
        for file in &journal.files {
            let to = file.preamble.start;
            if from < to && to > manifest.runs_upto {
                return Err(ReadError::Missing { from: from.max(manifest.runs_upto), to });
            }
            from = file.end;
        }
        let there: BTreeSet<u64> = journal.files.iter().map(|file| file.preamble.start).collect();
        let mut kept = self.state.kept_files();
        let missing =
            |file: &&SealedFile| !there.contains(&file.start) && manifest.pack_of(file).is_none();
        match kept.find(missing) {
            Some(file) => Err(ReadError::Missing { from: file.start, to: file.end }),
            None => Ok(()),
        }
    }

    /// A partition from its start on: what was dropped and is still in a file does not count.
    fn partition(&self, slot: u32, mut log: Log<'a>) -> Result<Partition<'a>, Why> {
        let known = self.state.slot(slot)?;
        let start = known.start.batch;
        let dropped = log.batches.partition_point(|batch| batch.number < start);
        log.batches.drain(..dropped);
        let Records { there, left_out } = &mut log.records;
        let records = log.batches.first().map_or(there.len(), |first| first.first_record);
        there.drain(..records);
        left_out.drain(..left_out.partition_point(|gone| gone.batch < start));
        for batch in &mut log.batches {
            batch.first_record -= records;
        }
        let numbers = log.batches.iter().map(|batch| batch.number);
        let whole = known.end.batch.checked_sub(start) == Some(wide(log.batches.len()));
        ensure(whole && numbers.eq(start..known.end.batch), "a partition lacks batches")?;
        if let Some(first) = log.batches.first() {
            let begins = first.number == known.start.batch;
            let chain = Stored::read(first.bytes)?.header.chain_after(known.start.chain);
            let continues = first.base_offset == known.start.offset && first.chain == chain;
            ensure(begins && continues, "a partition does not begin where it says")?;
        }
        let settings = known.topic.settings;
        Ok(Partition {
            slot,
            id: known.id,
            mirror_of: known.topic.mirror_of,
            dedup: settings.dedup,
            compact: settings.compact,
            start: known.start,
            end: known.end,
            append_time: known.append_time,
            batches: log.batches,
            records: log.records.there,
            left_out: log.records.left_out,
            settings,
        })
    }
}

fn log_mut<'l, 'a>(logs: &'l mut [Log<'a>], slot: u32) -> Result<&'l mut Log<'a>, Why> {
    let found = usize::try_from(slot).ok().and_then(|slot| logs.get_mut(slot));
    found.ok_or(Why("it names a partition that is not there"))
}

/// The error names what the bytes claim, as far as they go.
fn bad_batch(raw: &RawEntry<'_>, why: Why) -> ReadError {
    let mut input = Input::new(raw.bytes);
    let slot = input.u32().unwrap_or_default();
    let front = if is_compacted(input.rest()) { 32 } else { 16 };
    let batch = input.take(front).and_then(|_| input.u64()).unwrap_or_default();
    ReadError::Batch { position: raw.position + BATCH_AT, slot, batch, why: why.0 }
}
