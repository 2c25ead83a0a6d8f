//! What the manifest says of sealed journal files, their runs, and side files.

use std::collections::BTreeMap;

use crate::{
    contents::Edge,
    input::{Input, Why, ensure},
    journal::name_of,
    packs::PackFile,
    preamble::POSITION_MAX,
};

/// The sealed files, and what outlives them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Manifest {
    /// By start. A dropped file stays for its run, without slots.
    pub files: BTreeMap<u64, SealedFile>,
    /// By the start of the journal file whose open conflicts they hold.
    pub sides: BTreeMap<u64, SideFile>,
    /// The runs stand up to this position of the journal (exclusive).
    pub runs_upto: u64,
    /// Runs with the keys of many journal files, by start; they cover all positions from
    /// `keys_from` up to the end of the last one.
    pub merged: BTreeMap<u64, Run>,
    /// The newest append time of the files that each merged run covers, by its start, in
    /// microseconds since 1970. Snapshots before version 3 do not say it.
    pub merged_times: BTreeMap<u64, i64>,
    /// The keys of all positions below this are forgotten.
    pub keys_from: u64,
    /// By start: what takes the place of journal files.
    pub packs: BTreeMap<u64, PackFile>,
}

/// A journal file that is written to no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedFile {
    /// Its first position.
    pub start: u64,
    /// Exclusive.
    pub end: u64,
    /// The newest append time of its batches, in microseconds since 1970.
    pub append_time: i64,
    /// Where the partitions stood at its end that it holds batches of, without those that are
    /// trimmed; empty once it is dropped.
    pub slots: Vec<SlotEnd>,
    /// Its run, if it has one.
    pub run: Option<Run>,
}

/// Where a partition stood at the end of a sealed file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotEnd {
    /// The partition's number on this node.
    pub slot: u32,
    /// Behind its last batch.
    pub edge: Edge,
}

/// A run as the manifest names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Run {
    /// The first position that it covers; where its journal file, or the first of many, starts.
    pub start: u64,
    /// Exclusive.
    pub end: u64,
    /// Of its journal file; what a merged run's header says too.
    pub incarnation: u32,
    /// Of its header, which covers all of it.
    pub checksum: u128,
    /// Rows of its six sections: ledger, heads, extents, orders, conflicts, slots.
    pub rows: [u64; 6],
}

/// A side file as the manifest names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SideFile {
    /// Where its journal file starts.
    pub start: u64,
    /// Of its journal file.
    pub incarnation: u32,
    /// How many batches it holds.
    pub batches: u64,
    /// Its length in bytes.
    pub len_bytes: u64,
    /// Of its header, which covers all of it.
    pub checksum: u128,
}

/// What holds the keys of a range of the journal, or once did: a sealed file's run, or a merged one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Holder {
    /// The range's first position.
    pub(crate) start: u64,
    /// Exclusive.
    pub(crate) end: u64,
    /// The run with its file's name; a file that has nothing for a run has none.
    pub(crate) run: Option<(String, Run)>,
}

impl Manifest {
    /// What a file holds of these partitions has expired; it is kept for others. Returns where they
    /// stood at its end.
    pub(crate) fn trim(&mut self, start: u64, slots: &[u32]) -> Result<Vec<SlotEnd>, Why> {
        let ascend = slots.windows(2).all(|pair| pair[0] < pair[1]);
        ensure(ascend && !slots.is_empty(), "trimmed partitions are not in their order")?;
        ensure(!self.is_held_before(start, slots), "a partition is trimmed out of turn")?;
        let file = self.files.get_mut(&start).ok_or(Why("a file is trimmed that is not there"))?;
        let (gone, kept): (Vec<SlotEnd>, Vec<SlotEnd>) =
            file.slots.iter().partition(|end| slots.contains(&end.slot));
        ensure(gone.len() == slots.len(), "a partition is trimmed that the file does not hold")?;
        ensure(!kept.is_empty(), "a file is trimmed that should be dropped")?;
        file.slots = kept;
        Ok(gone)
    }

    /// Whether a file before `start` holds one of these partitions.
    pub(crate) fn is_held_before(&self, start: u64, slots: &[u32]) -> bool {
        let mut older = self.files.range(..start).flat_map(|(_, file)| &file.slots);
        older.any(|end| slots.contains(&end.slot))
    }

    /// Names a merged run; what lies within it and is no longer needed beside it leaves.
    pub(crate) fn merge(&mut self, run: Run) -> Result<(), Why> {
        let ends = self.files.values().map(|file| file.end);
        let mut ends = ends.chain(self.merged.values().map(|merged| merged.end));
        ensure(ends.any(|end| end == run.end), "a merged run does not end where a file does")?;
        let files = self.files.values();
        let files = files.filter(|file| run.start <= file.start && file.end <= run.end);
        let of_files = files.map(|file| Some(file.append_time)).max().flatten();
        let covered = |start: u64, end: u64| run.start <= start && end <= run.end;
        let merged = self.merged.values().filter(|merged| covered(merged.start, merged.end));
        let times: Option<Vec<i64>> =
            merged.map(|merged| self.merged_times.get(&merged.start).copied()).collect();
        let newest = times.and_then(|times| times.into_iter().chain(of_files).max());
        self.merged_times.retain(|start, _| !(run.start..run.end).contains(start));
        self.merged_times.extend(newest.map(|newest| (run.start, newest)));
        self.merged.retain(|_, merged| merged.start < run.start || run.end < merged.end);
        let known = self.merged.insert(run.start, run);
        ensure(known.is_none(), "merged runs overlap")?;
        let within = |file: &SealedFile| run.start <= file.start && file.start < run.end;
        let left = |file: &SealedFile| within(file) && file.end <= run.end && file.is_dropped();
        self.files.retain(|_, file| !left(file));
        self.check_merged()
    }

    /// The keys below `upto` are forgotten; what was kept for them alone is no longer needed.
    pub(crate) fn forget(&mut self, upto: u64) -> Result<(), Why> {
        ensure(self.keys_from < upto && upto <= self.runs_upto, "keys are dropped out of turn")?;
        let merged = self.merged.values().map(|run| (run.start, run.end));
        let files = self.files.values().map(|file| (file.start, file.end));
        let cut = merged.chain(files).any(|(start, end)| start < upto && upto < end);
        ensure(!cut, "keys are dropped within a run")?;
        self.merged.retain(|_, run| run.end > upto);
        self.merged_times.retain(|start, _| self.merged.contains_key(start));
        self.files.retain(|_, file| file.end > upto || !file.is_dropped());
        self.keys_from = upto;
        self.check_merged()
    }

    /// Snapshots of before version 3 say nothing of the times of merged runs.
    pub(crate) fn agree_on_times(&mut self, other: &Self) {
        self.merged_times.retain(|start, _| other.merged_times.contains_key(start));
        for (start, time) in &other.merged_times {
            self.merged_times.entry(*start).or_insert(*time);
        }
    }

    /// Merged runs cover what they cover without holes, in whole files, and no file stays for its
    /// run alone there.
    pub(crate) fn check_merged(&self) -> Result<(), Why> {
        let mut upto = self.keys_from;
        for run in self.merged.values() {
            ensure(run.start == upto, "a merged run does not begin where another ends")?;
            ensure(run.start < run.end, "a merged run covers nothing")?;
            upto = run.end;
        }
        ensure(upto <= self.runs_upto, "a merged run covers what no run covers yet")?;
        for file in self.files.values() {
            // One ends where the next one begins.
            let begins = self.merged.range(file.start + 1..file.end).next().is_some();
            let cut = begins || (file.start + 1..file.end).contains(&upto);
            ensure(!cut, "a merged run ends within a file")?;
            let overtaken = file.start < upto && file.is_dropped();
            ensure(!overtaken, "a dropped file is kept beside the merged run with its keys")?;
        }
        Ok(())
    }

    /// Whether the file's run is not needed for its keys: a merged run has them, or they are
    /// forgotten.
    pub(crate) fn does_without(&self, file: &SealedFile) -> bool {
        file.end <= self.keys_from
            || self.merged.values().any(|run| run.start <= file.start && file.end <= run.end)
    }

    /// Everything that it names as a holder of keys.
    pub(crate) fn holders(&self) -> impl Iterator<Item = Holder> {
        let files = self.files.values().map(Holder::of_file);
        files.chain(self.merged.values().map(Holder::of_merged))
    }
}

impl Holder {
    pub(crate) fn of_file(file: &SealedFile) -> Self {
        let run = file.run.map(|run| (run.name(), run));
        Self { start: file.start, end: file.end, run }
    }

    pub(crate) fn of_merged(run: &Run) -> Self {
        Self { start: run.start, end: run.end, run: Some((run.merged_name(), *run)) }
    }
}

impl SealedFile {
    /// Whether retention has dropped it; its run is kept for the dedup keys.
    pub fn is_dropped(&self) -> bool {
        self.slots.is_empty() && self.run.is_some()
    }

    pub(crate) fn read(input: &mut Input<'_>) -> Result<Self, Why> {
        let (start, end) = (input.varint()?, input.varint()?);
        let append_time = input.signed()?;
        let mut slots = Vec::new();
        for _ in 0..input.varint()? {
            let slot = input.small()?;
            let (offset, batch, chain) = (input.varint()?, input.varint()?, input.array()?);
            let edge = Edge { offset, batch, chain, bytes: input.varint()? };
            slots.push(SlotEnd { slot, edge });
        }
        let run = if input.flag()? { Some(Run::read(input)?) } else { None };
        ensure(start < end && end <= POSITION_MAX, "a sealed file's positions are none")?;
        let covers = run.is_none_or(|run| (run.start, run.end) == (start, end));
        ensure(covers, "a run does not cover its file")?;
        Ok(Self { start, end, append_time, slots, run })
    }
}

impl Run {
    /// The file's name.
    pub fn name(&self) -> String {
        name_of("run", self.start, self.incarnation, "run")
    }

    /// The file's name where it is a merged run.
    pub fn merged_name(&self) -> String {
        format!("keys-{:016x}-{:016x}.run", self.start, self.end)
    }

    /// Reads the words of a merged run.
    pub(crate) fn read_merged(input: &mut Input<'_>) -> Result<Self, Why> {
        let run = Self::read(input)?;
        ensure(run.end <= POSITION_MAX, "a merged run's positions are none")?;
        ensure(matches!(run.rows, [_, _, 0, 0, 0, 0]), "a merged run has more than keys")?;
        Ok(run)
    }

    fn read(input: &mut Input<'_>) -> Result<Self, Why> {
        let (start, end) = (input.u64()?, input.u64()?);
        let (incarnation, checksum) = (input.u32()?, input.u128()?);
        let mut rows = [0; 6];
        for count in &mut rows {
            *count = input.u64()?;
        }
        Ok(Self { start, end, incarnation, checksum, rows })
    }
}

impl SideFile {
    /// The file's name.
    pub fn name(&self) -> String {
        name_of("conflicts", self.start, self.incarnation, "side")
    }

    pub(crate) fn read(input: &mut Input<'_>) -> Result<Self, Why> {
        let side = Self {
            start: input.varint()?,
            incarnation: input.small()?,
            batches: input.varint()?,
            len_bytes: input.varint()?,
            checksum: input.u128()?,
        };
        ensure(side.batches > 0, "a side file holds nothing")?;
        Ok(side)
    }
}
