//! The files beside the journal: runs and side files that the manifest names. Packs were read with the
//! journal.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    compaction::Compacted,
    contents::{Batch, Contents, LeftOut, Partition, Record},
    error::RunsError,
    input::{Input, Why, ensure, wide},
    manifest::SealedFile,
    merged::Holders,
    order_rows,
    run_file::RunFile,
    section::{self, SECTIONS},
    sides,
    verdict::Verdict,
};

/// What was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RunReport {
    /// Runs, merged ones too.
    pub runs: u64,
    /// Merged runs.
    pub merged: u64,
    /// Their rows.
    pub rows: u64,
    /// Side files.
    pub sides: u64,
}

pub(crate) fn check(
    files: &BTreeMap<String, Vec<u8>>,
    contents: &Contents<'_>,
) -> Result<RunReport, RunsError> {
    let mut report = RunReport::default();
    let places = Places::of(contents);
    let mut compacted = Compacted::of(contents);
    for file in contents.manifest.files.values() {
        let Some(run) = &file.run else { continue };
        let name = run.name();
        let bytes = named(files, &name)?;
        let rows = RunFile::read(bytes, &contents.journal, run)
            .and_then(|run| check_run(&run, contents, file, &places, &mut compacted));
        report.rows += rows.map_err(|why| why.of_file(&name))?;
        report.runs += 1;
    }
    compacted.check()?;
    let holders = Holders::of(files, contents);
    for run in contents.manifest.merged.values() {
        let name = run.merged_name();
        let bytes = named(files, &name)?;
        let rows = RunFile::read(bytes, &contents.journal, run).and_then(|merged| {
            holders.check(run, &merged).map(|()| section::rows_in(&merged.sections))
        });
        report.rows += rows.map_err(|why| why.of_file(&name))?;
        report.runs += 1;
        report.merged += 1;
    }
    for side in contents.manifest.sides.values() {
        let name = side.name();
        let bytes = named(files, &name)?;
        sides::check(bytes, contents, side).map_err(|why| why.of_file(&name))?;
        report.sides += 1;
    }
    for file in contents.manifest.files.values() {
        check_ends(contents, file).map_err(|why| why.of_file("the manifest"))?;
    }
    Ok(report)
}

fn named<'a>(files: &'a BTreeMap<String, Vec<u8>>, name: &str) -> Result<&'a [u8], RunsError> {
    let bytes = files.get(name).map(Vec::as_slice);
    bytes.ok_or_else(|| RunsError::Missing { file: name.to_owned() })
}

/// Returns how many rows the run has. Of a journal file that is there, it must list what that holds.
fn check_run<'c>(
    run: &RunFile<'_>,
    contents: &'c Contents<'c>,
    file: &'c SealedFile,
    places: &Places<'_>,
    compacted: &mut Compacted<'c>,
) -> Result<u64, Why> {
    if !file.is_dropped() {
        let kept: BTreeSet<u32> = file.slots.iter().map(|end| end.slot).collect();
        let [_, _, extents, orders, conflicts, slots] = run.sections;
        let trimmed = check_trimmed(slots, &kept, contents)?;
        let of = |section: usize, slot_at: usize, rows: &[u8]| {
            let rows = SECTIONS[section].rows(rows);
            rows.filter(|row| is_of(row, slot_at, &kept)).collect::<Vec<_>>().concat()
        };
        let batches = places.within(file, &kept, contents)?;
        check_extents(&of(2, 0, extents), &batches, file)?;
        let hashes = order_rows::read(&of(3, 16, orders))?;
        order_rows::check(&hashes, &batches)?;
        if let Some(said) = run.new_orders.filter(|_| !trimmed) {
            order_rows::check_new(said, &hashes, &batches)?;
        }
        compacted.add(&hashes, file, contents);
        check_conflicts(&of(4, 0, conflicts), &batches)?;
        check_slots(&of(5, 0, slots), &batches, contents)?;
    }
    Ok(section::rows_in(&run.sections))
}

/// Whether the slot in a row, at `slot_at`, is one of `slots`.
fn is_of(row: &[u8], slot_at: usize, slots: &BTreeSet<u32>) -> bool {
    let slot = row.get(slot_at..).and_then(|row| row.first_chunk());
    slot.is_some_and(|slot| slots.contains(&u32::from_le_bytes(*slot)))
}

/// Whether a run lists partitions that its file no longer holds: they begin behind it.
fn check_trimmed(rows: &[u8], kept: &BTreeSet<u32>, contents: &Contents<'_>) -> Result<bool, Why> {
    let mut trimmed = false;
    for row in SECTIONS[5].rows(rows).filter(|row| !is_of(row, 0, kept)) {
        let mut input = Input::new(row);
        let (slot, _batches) = (input.u32()?, input.u32()?);
        let (_first, end) = (input.u64()?, input.u64()?);
        let partition = contents.partitions.get(slot as usize);
        let behind = partition.is_some_and(|partition| end <= partition.start.batch);
        ensure(behind, "it has a partition that the journal file has not")?;
        trimmed = true;
    }
    Ok(trimmed)
}

/// A batch with its partition.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Placed<'a> {
    pub(crate) partition: &'a Partition<'a>,
    batch: &'a Batch<'a>,
}

impl<'a> Placed<'a> {
    pub(crate) fn records(&self) -> &'a [Record<'a>] {
        self.partition.records_of(self.batch)
    }

    pub(crate) fn left_out(&self) -> &'a [LeftOut] {
        self.partition.left_out_of(self.batch)
    }

    fn end_offset(&self) -> u64 {
        self.batch.base_offset + u64::from(self.batch.visible)
    }
}

/// All batches of journal files that are there, by their position.
struct Places<'a> {
    by_position: BTreeMap<u64, Placed<'a>>,
}

impl<'a> Places<'a> {
    fn of(contents: &'a Contents<'a>) -> Self {
        let all = contents.partitions.iter().flat_map(|partition| {
            partition.batches.iter().map(move |batch| Placed { partition, batch })
        });
        let all = all.filter_map(|placed| Some((placed.batch.position?, placed)));
        Self { by_position: all.collect() }
    }

    /// Those of a file and of these partitions, by slot and number.
    fn within(
        &self,
        file: &SealedFile,
        slots: &BTreeSet<u32>,
        contents: &'a Contents<'a>,
    ) -> Result<Vec<Placed<'a>>, Why> {
        if contents.manifest.pack_of(file).is_some() {
            return packed(file, contents);
        }
        let range = self.by_position.range(file.start..file.end).map(|(_, placed)| *placed);
        let mut batches: Vec<_> =
            range.filter(|placed| slots.contains(&placed.partition.slot)).collect();
        batches.sort_by_key(|placed| (placed.partition.slot, placed.batch.number));
        Ok(batches)
    }
}

/// The batches of a file that a pack has taken the place of, by slot and number: each partition's up to
/// where it stood at the file's end.
fn packed<'a>(file: &SealedFile, contents: &'a Contents<'a>) -> Result<Vec<Placed<'a>>, Why> {
    let lacks = Why("a sealed file ends with a batch that is not there");
    let mut batches = Vec::new();
    for end in &file.slots {
        let partition = contents.partitions.get(end.slot as usize).ok_or(lacks)?;
        let begins = partition.start.batch;
        let first = contents.manifest.first_in(file, end.slot, begins);
        let at = |number: u64| usize::try_from(number.checked_sub(begins)?).ok();
        let range = at(first).zip(at(end.edge.batch)).ok_or(lacks)?;
        let of_file = partition.batches.get(range.0..range.1).ok_or(lacks)?;
        batches.extend(of_file.iter().map(|batch| Placed { partition, batch }));
    }
    batches.sort_by_key(|placed| (placed.partition.slot, placed.batch.number));
    Ok(batches)
}

/// Where a batch lay whose journal file is gone, only its row says: within that file, and apart from all
/// others, and with the length that it had before it was compacted.
fn check_extents(rows: &[u8], batches: &[Placed<'_>], file: &SealedFile) -> Result<(), Why> {
    let differ = Why("its extents are not the journal's");
    let mut there = SECTIONS[2].rows(rows);
    let mut places = Vec::new();
    for placed in batches {
        let row = there.next().ok_or(differ)?;
        let batch = placed.batch;
        let said = Input::new(row.get(40..).unwrap_or_default()).u64()?;
        let position = batch.position.unwrap_or(said);
        let len = u32::try_from(batch.journal_bytes).unwrap_or(u32::MAX);
        let fields = [
            &placed.partition.slot.to_le_bytes()[..],
            &len.to_le_bytes(),
            &batch.number.to_le_bytes(),
            &batch.base_offset.to_le_bytes(),
            &placed.end_offset().to_le_bytes(),
            &batch.append_time.to_le_bytes(),
            &position.to_le_bytes(),
        ];
        ensure(row == fields.concat(), differ.0)?;
        places.push((position, position.saturating_add(u64::from(len))));
    }
    ensure(there.next().is_none(), differ.0)?;
    places.sort_unstable();
    let mut upto = file.start;
    for (position, end) in places {
        ensure(upto <= position && end <= file.end, "its extents do not lie in its file")?;
        upto = end;
    }
    Ok(())
}

/// None of those that compaction has left out was listed.
fn check_conflicts(rows: &[u8], batches: &[Placed<'_>]) -> Result<(), Why> {
    let mut named = Vec::new();
    for row in SECTIONS[4].rows(rows) {
        let mut input = Input::new(row);
        named.push((input.u32()?, input.u64()?, u32::from(input.u16()?)));
    }
    let there = batches.iter().flat_map(|placed| {
        let records = placed.records().iter();
        let listed = records
            .filter(|record| matches!(record.verdict, Verdict::Conflict { listed: true, .. }));
        listed.map(|record| (placed.partition.slot, record.batch, record.index))
    });
    ensure(there.eq(named), "its conflicts are not the journal's")
}

fn check_slots(rows: &[u8], batches: &[Placed<'_>], contents: &Contents<'_>) -> Result<(), Why> {
    let mut rows = SECTIONS[5].rows(rows);
    for group in batches.chunk_by(|a, b| a.partition.slot == b.partition.slot) {
        let (Some(first), Some(last)) = (group.first(), group.last()) else { continue };
        let mut input = Input::new(rows.next().ok_or(Why("it lacks a partition"))?);
        let head = (input.u32()?, u64::from(input.u32()?));
        let batch_numbers = (input.u64()?, input.u64()?);
        let offsets = (input.u64()?, input.u64()?);
        let times = (input.i64()?, input.i64()?);
        let chain = input.array()?;
        let same = head == (first.partition.slot, wide(group.len()))
            && batch_numbers == (first.batch.number, last.batch.number + 1)
            && offsets == (first.batch.base_offset, last.end_offset())
            && times == (first.batch.append_time, last.batch.append_time)
            && Some(chain) == chain_before(contents, first);
        ensure(same, "its partitions are not the journal's")?;
    }
    ensure(rows.next().is_none(), "it has a partition that the journal file has not")
}

fn chain_before(contents: &Contents<'_>, placed: &Placed<'_>) -> Option<[u8; 16]> {
    let partition = contents.partitions.get(placed.partition.slot as usize)?;
    let index = placed.batch.number.checked_sub(partition.start.batch)?;
    match usize::try_from(index).ok()?.checked_sub(1) {
        None => Some(partition.start.chain),
        Some(before) => partition.batches.get(before).map(|batch| batch.chain),
    }
}

/// What the manifest says of the partitions' ends in a file is what the journal says.
fn check_ends(contents: &Contents<'_>, file: &SealedFile) -> Result<(), Why> {
    let mut slots = BTreeSet::new();
    for end in &file.slots {
        let partition = contents.partitions.get(end.slot as usize);
        let partition = partition.ok_or(Why("it names a partition that is not there"))?;
        let index = end.edge.batch.checked_sub(partition.start.batch + 1);
        let last = index.and_then(|index| partition.batches.get(usize::try_from(index).ok()?));
        let last = last.ok_or(Why("a sealed file ends with a batch that is not there"))?;
        let same = end.edge.chain == last.chain
            && end.edge.offset == last.base_offset + u64::from(last.visible);
        ensure(same && slots.insert(end.slot), "a sealed file does not end where it says")?;
    }
    Ok(())
}
