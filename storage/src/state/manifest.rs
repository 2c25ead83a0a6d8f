//! The manifest: which files and runs there are. Its changes are the same when entries are applied and
//! when a start reads ahead which runs it will need.

use std::collections::BTreeMap;

use takt_protocol::words::Timestamp;

use crate::entry::{PackFile, SealedFile, SideFile, SlotEnd};
use crate::journal::Position;
use crate::runs::{RunInfo, Slot};

/// A run that was merged from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MergedRun {
    pub(crate) run: RunInfo,
    /// No key in it was appended later.
    pub(crate) append_time: Timestamp,
}

/// The sealed files, and what outlives them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Manifest {
    /// By start. A dropped file stays for its run, without slots.
    pub(crate) files: BTreeMap<Position, SealedFile>,
    /// Runs that were merged from others, by start: the first begins at `keys_from`, each other where
    /// the one before ends.
    pub(crate) merged: BTreeMap<Position, MergedRun>,
    /// By the start of the journal file whose open conflicts they hold.
    pub(crate) sides: BTreeMap<Position, SideFile>,
    /// By start; none overlap. Of the files within one the journal has none: what is kept of them, the
    /// pack has.
    pub(crate) packs: BTreeMap<Position, PackFile>,
    /// The runs hold the keys of all entries below it, from `keys_from` on.
    pub(crate) runs_upto: Position,
    /// The horizon has passed all keys below it: they are forgotten.
    pub(crate) keys_from: Position,
}

impl Manifest {
    /// The next file is sealed, or the run of one that is kept was made again, in another format.
    /// `false` where it does not follow.
    pub(crate) fn seal(&mut self, file: &SealedFile) -> bool {
        if file.start == self.runs_upto {
            self.runs_upto = file.end;
            self.files.insert(file.start, file.clone());
            return true;
        }
        let known = self.files.get_mut(&file.start);
        let known = known.filter(|known| known.end == file.end && !known.is_dropped());
        let Some(known) = known.filter(|known| known.run.is_some() && file.run.is_some()) else {
            return false;
        };
        known.run = file.run;
        true
    }

    /// The batches of these partitions in a file have expired, and the file stays for others. Returns
    /// where they stood at its end; `None`, and nothing is changed, where that does not fit.
    pub(crate) fn trim(&mut self, start: Position, slots: &[Slot]) -> Option<Vec<SlotEnd>> {
        let holds = |file: &SealedFile, slot: &Slot| file.slots.iter().any(|end| end.slot == *slot);
        let ascends = slots.is_sorted_by(|a, b| a < b);
        let file = self.files.get(&start)?;
        let fits = !slots.is_empty()
            && ascends
            && slots.len() < file.slots.len()
            && slots.iter().all(|slot| holds(file, slot))
            && !self.is_held_before(start, |slot| slots.binary_search(&slot).is_ok());
        let file = self.files.get_mut(&start).filter(|_| fits)?;
        Some(file.slots.extract_if(.., |end| slots.binary_search(&end.slot).is_ok()).collect())
    }

    /// Whether a file before `start` holds batches of one of these partitions: what a partition loses,
    /// it loses oldest first.
    pub(crate) fn is_held_before(&self, start: Position, of: impl Fn(Slot) -> bool) -> bool {
        let older = self.files.range(..start).flat_map(|(_, file)| &file.slots);
        older.into_iter().any(|end| of(end.slot))
    }

    /// A file without slots goes with its run, unless that is the only one with its keys. Returns
    /// the name that the run had.
    pub(crate) fn release(&mut self, start: Position) -> Option<String> {
        let run = self.files.get(&start)?.run;
        let needless = run.is_none_or(|run| {
            let mut merged = self.merged.values();
            run.end <= self.keys_from || merged.any(|merged| merged.run.covers(&run))
        });
        #[cfg(takt_planted)]
        let needless = needless || takt_protocol::planted::is("keys_lost_with_retention");
        if needless {
            self.files.remove(&start);
        }
        run.filter(|_| needless).map(|run| run.name())
    }

    /// A merged run stands for what it covers. Returns the names of the runs that nothing needs any
    /// more; `None` where it does not fit.
    pub(crate) fn merge(&mut self, run: &RunInfo) -> Option<Vec<String>> {
        // What is merged is all of the oldest positions, without a hole.
        let merged_upto = self.merged_upto();
        let Self { files, merged, runs_upto, .. } = self;
        let begins = run.start == merged_upto || merged.contains_key(&run.start);
        let cuts = |start: Position, end: Position| start < run.end && run.end < end;
        let ends = run.end <= *runs_upto
            && !merged.values().any(|old| cuts(old.run.start, old.run.end))
            && !files.values().any(|file| cuts(file.start, file.end));
        if !begins || !ends {
            return None;
        }
        let within = files.range(run.start..).map(|(_, file)| file);
        let within = within.filter(|file| file.end <= run.end).map(|file| file.append_time);
        let before = merged.values().filter(|old| run.covers(&old.run)).map(|old| old.append_time);
        let append_time = within.chain(before).max().unwrap_or_default();
        let gone = merged.extract_if(.., |_, old| run.covers(&old.run));
        // One that was damaged is made again, under its name.
        let names =
            gone.map(|(_, old)| old.run.merged_name()).filter(|name| *name != run.merged_name());
        let mut unnamed: Vec<String> = names.collect();
        unnamed.extend(release_within(files, run.start, run.end));
        merged.insert(run.start, MergedRun { run: *run, append_time });
        Some(unnamed)
    }

    /// The horizon has passed all keys below `upto`. Returns the names of the runs that nothing needs
    /// any more; `None` where that is within one.
    pub(crate) fn forget(&mut self, upto: Position) -> Option<Vec<String>> {
        let Self { files, merged, runs_upto, keys_from, .. } = self;
        let cuts = |start: Position, end: Position| start < upto && upto < end;
        let fits = *keys_from < upto
            && upto <= *runs_upto
            && !merged.values().any(|merged| cuts(merged.run.start, merged.run.end))
            && !files.values().any(|file| cuts(file.start, file.end));
        if !fits {
            return None;
        }
        let gone = merged.extract_if(.., |_, merged| merged.run.end <= upto);
        let mut unnamed: Vec<String> = gone.map(|(_, merged)| merged.run.merged_name()).collect();
        unnamed.extend(release_within(files, Position::ZERO, upto));
        *keys_from = upto;
        Some(unnamed)
    }

    /// A pack takes the place of the files, and of the packs, within it. Returns the names of packs that
    /// nothing needs any more; `None`, and nothing is changed, where it does not fit.
    pub(crate) fn pack(&mut self, pack: &PackFile) -> Option<Vec<String>> {
        let Self { files, packs, runs_upto, .. } = self;
        let cuts = |start: Position, end: Position| {
            start < pack.end && pack.start < end && !(pack.start <= start && end <= pack.end)
        };
        let overtakes = |old: &PackFile| !pack.covers(old.start) || old.serial < pack.serial;
        let fits = pack.end <= *runs_upto
            && !files.values().any(|file| cuts(file.start, file.end))
            && !packs.values().any(|old| cuts(old.start, old.end) || !overtakes(old));
        if !fits {
            return None;
        }
        let gone = packs.extract_if(.., |_, old| pack.covers(old.start));
        let mut unnamed: Vec<String> = gone.map(|(_, old)| old.name()).collect();
        packs.insert(pack.start, *pack);
        // Those that held nothing, as of cursors alone, are gone with the others.
        files.retain(|start, file| {
            !pack.covers(*start) || file.run.is_some() || !file.slots.is_empty()
        });
        // All that it was made of may have been dropped meanwhile.
        unnamed.extend(self.release_packs());
        Some(unnamed)
    }

    /// Packs that hold nothing that is kept leave; their names.
    pub(crate) fn release_packs(&mut self) -> Vec<String> {
        let Self { files, packs, .. } = self;
        let gone = packs.extract_if(.., |_, pack| {
            let mut within = files.range(pack.start..pack.end);
            #[cfg(takt_planted)]
            if takt_protocol::planted::is("pack_goes_with_its_first") {
                return within.any(|(_, file)| file.slots.is_empty());
            }
            within.all(|(_, file)| file.slots.is_empty())
        });
        gone.map(|(_, pack)| pack.name()).collect()
    }

    /// The pack that has taken the place of the journal file that starts there.
    pub(crate) fn pack_of(&self, start: Position) -> Option<&PackFile> {
        let (_, pack) = self.packs.range(..=start).next_back()?;
        Some(pack).filter(|pack| pack.covers(start))
    }

    /// What is merged, or forgotten, ends here.
    pub(crate) fn merged_upto(&self) -> Position {
        self.merged.values().next_back().map_or(self.keys_from, |merged| merged.run.end)
    }

    /// No key in the run, which is named, was appended later.
    pub(crate) fn append_time_of(&self, run: &RunInfo) -> Option<Timestamp> {
        let merged = self.merged.get(&run.start).filter(|merged| merged.run == *run);
        let merged = merged.map(|merged| merged.append_time);
        merged.or_else(|| Some(self.files.get(&run.start)?.append_time))
    }
}

/// Dropped files within these positions, whose keys are kept elsewhere or not at all, leave; the
/// names of their runs.
fn release_within(
    files: &mut BTreeMap<Position, SealedFile>,
    start: Position,
    end: Position,
) -> Vec<String> {
    let gone = files.extract_if(start.., |_, file| file.end <= end && file.is_dropped());
    gone.filter_map(|(_, file)| file.run).map(|run| run.name()).collect()
}
