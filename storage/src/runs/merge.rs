//! Merging: the keys of several runs that follow each other become one run.

use std::{io, sync::Arc};

use super::{
    error::RunError,
    file::{Covered, RunFile, temporary},
    header::Section,
    info::{RunCounts, RunInfo},
    keys::{KeyCursor, KeyRun},
    row::Row,
    writer::RunWriteError,
};
use crate::{
    disk::Disk,
    journal::{JournalId, Position},
    ledger::{Entry, HeadEntry, LedgerEntry},
};

/// What is written in one step, in bytes.
const STEP_BYTES: usize = 4 << 20;
/// After so many steps what they wrote is made durable: so that little is left for the end, and few steps
/// wait for that.
const STEPS_UNSYNCED: u32 = 8;
/// Runs that are compared together before the lowest of their group is.
const GROUP: usize = 8;
/// So many runs may be there; one more, and some are merged.
pub const RUNS_AT_REST: usize = 5;

/// What a run weighs when it is chosen for a merge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunSize {
    /// Its rows.
    pub keys: u64,
    /// Which part of the horizon its newest key is of.
    pub window: i64,
}

/// Which runs that follow each other are to be merged, as a range of their indexes, given their sizes,
/// oldest first; the first `merged` of them are merged ones. `None` while there are no more than `at_rest`.
/// What is merged stays in front.
///
/// Only runs of one window are merged, so that a window can be forgotten as a whole: a run may be
/// "merged" alone where that lets later ones be. Should every window have one run, and there are
/// too many all the same, as when no time passes for the horizon, windows count no more.
///
/// Of all ranges it is the one with the fewest keys to write, divided by the square of how many runs
/// it saves. So runs of like size are merged, and rather several at once: of 500 runs that come one
/// by one each key is written again 6 times (18 times without the square, which merges pairs).
pub fn due_merge(
    runs: &[RunSize],
    merged: usize,
    at_rest: usize,
) -> Option<std::ops::Range<usize>> {
    if runs.len() <= at_rest {
        return None;
    }
    let of_one_window = |range: &std::ops::Range<usize>| {
        runs[range.clone()].iter().all(|run| run.window == runs[range.start].window)
    };
    // The first that is not merged keeps all behind it from being merged without it.
    let alone = || {
        let behind = &runs[merged.min(runs.len())..];
        let pairs = behind.windows(2).skip(1);
        let helps = pairs.into_iter().any(|pair| pair[0].window == pair[1].window);
        helps.then_some(merged..merged + 1)
    };
    best_merge(runs, merged, of_one_window)
        .or_else(alone)
        .or_else(|| best_merge(runs, merged, |_| true))
}

fn best_merge(
    runs: &[RunSize],
    merged: usize,
    allowed: impl Fn(&std::ops::Range<usize>) -> bool,
) -> Option<std::ops::Range<usize>> {
    let mut best: Option<(u64, u64, std::ops::Range<usize>)> = None;
    for first in 0..(runs.len() - 1).min(merged + 1) {
        let mut sum = runs[first].keys;
        for (last, more) in runs.iter().enumerate().skip(first + 1) {
            let range = first..last + 1;
            if !allowed(&range) {
                break;
            }
            sum = sum.saturating_add(more.keys);
            let saved = (last - first) as u64;
            let less = best.as_ref().is_none_or(|(best_sum, best_saved, _)| {
                u128::from(sum) * u128::from(best_saved * best_saved)
                    <= u128::from(*best_sum) * u128::from(saved * saved)
            });
            if less {
                best = Some((sum, saved, range));
            }
        }
    }
    best.map(|(_, _, range)| range)
}

/// A merge that goes on in steps.
#[derive(Debug)]
pub struct MergeWork {
    disk: Arc<dyn Disk>,
    journal: JournalId,
    inputs: Vec<Arc<KeyRun>>,
    info: RunInfo,
    file: RunFile,
    rows: Rows,
    steps: u32,
}

#[derive(Debug)]
enum Rows {
    Ledger(Merge<LedgerEntry>),
    Heads(Merge<HeadEntry>),
}

/// Where a merge stands.
#[derive(Debug)]
pub enum MergeStep {
    /// There is more to do.
    More(Box<MergeWork>),
    /// The merged run is durable, and open.
    Done(Arc<KeyRun>),
}

/// Why a merge was given up. Its runs are as they were.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// A run does not read.
    #[error(transparent)]
    Read(#[from] RunError),
    /// The merged run could not be written.
    #[error(transparent)]
    Write(#[from] RunWriteError),
}

/// Which runs are to be merged.
#[derive(Debug)]
pub struct MergePlan {
    /// Where the runs are.
    pub disk: Arc<dyn Disk>,
    /// The journal.
    pub journal: JournalId,
    /// What the merged run covers begins here.
    pub start: Position,
    /// Where it ends.
    pub end: Position,
    /// The runs; they follow each other, oldest first.
    pub inputs: Vec<Arc<KeyRun>>,
    /// What must stay free on the disk beside the merged run, in bytes.
    pub margin_bytes: u64,
}

impl MergePlan {
    /// Begins the merge.
    ///
    /// # Errors
    /// [`MergeError`], also where less than the margin would stay free on the disk.
    ///
    /// # Panics
    /// If there are no runs.
    pub fn begin(self) -> Result<MergeWork, MergeError> {
        let Self { disk, journal, start, end, inputs, margin_bytes } = self;
        let last = inputs.last().expect("there are runs to merge");
        let info = RunInfo {
            start,
            end,
            incarnation: last.info().incarnation,
            checksum: 0,
            counts: RunCounts::default(),
        };
        let written = |error| RunWriteError { name: info.merged_name(), error };
        let needed: u64 = inputs.iter().map(|run| run.len_bytes()).sum();
        if disk.free_bytes().map_err(written)? < needed.saturating_add(margin_bytes) {
            return Err(written(io::ErrorKind::StorageFull.into()).into());
        }
        let mut file = RunFile::create(&*disk, info.merged_name()).map_err(written)?;
        let keys = inputs.iter().map(|run| run.info().counts.ledger).sum();
        file.begin_keys(Section::Ledger, keys).map_err(written)?;
        let rows = Merge::new(inputs.iter().map(KeyRun::entries).collect())?;
        Ok(MergeWork { disk, journal, inputs, info, file, rows: Rows::Ledger(rows), steps: 0 })
    }
}

impl MergeWork {
    /// Gives it up, and the space that it takes.
    pub fn abandon(self) {
        // What stays is removed at the next attempt or start.
        let _ = self.disk.remove(&temporary(&self.info.merged_name()));
    }

    /// Does the next step, of 4 MiB or less.
    ///
    /// # Errors
    /// [`MergeError`]; what was written is removed if that is possible, and at the next attempt or
    /// start otherwise.
    pub fn step(self) -> Result<MergeStep, MergeError> {
        let disk = Arc::clone(&self.disk);
        let name = self.info.merged_name();
        self.advance().inspect_err(|_| {
            let _ = disk.remove(&temporary(&name));
        })
    }

    fn advance(mut self) -> Result<MergeStep, MergeError> {
        let name = self.info.merged_name();
        let written = |error| RunWriteError { name: name.clone(), error };
        self.steps += 1;
        if self.steps.is_multiple_of(STEPS_UNSYNCED) {
            self.file.sync().map_err(written)?;
        }
        match &mut self.rows {
            Rows::Ledger(rows) => {
                if rows.copy(&mut self.file, &name)? {
                    return Ok(MergeStep::More(Box::new(self)));
                }
                let heads = self.inputs.iter().map(|run| run.info().counts.heads).sum();
                self.file.begin_keys(Section::Heads, heads).map_err(written)?;
                let heads = self.inputs.iter().map(KeyRun::heads);
                #[cfg(takt_planted)]
                let heads = heads.filter(|_| !takt_protocol::planted::is("merged_without_heads"));
                let heads = heads.collect();
                self.rows = Rows::Heads(Merge::new(heads)?);
                return Ok(MergeStep::More(Box::new(self)));
            }
            Rows::Heads(rows) => {
                if rows.copy(&mut self.file, &name)? {
                    return Ok(MergeStep::More(Box::new(self)));
                }
            }
        }
        let RunInfo { start, end, incarnation, .. } = self.info;
        let new_orders = self.inputs.iter().map(|run| run.new_orders()).sum();
        let covered = Covered { journal: self.journal, incarnation, start, end, new_orders };
        let info = self.file.finish(&*self.disk, covered).map_err(written)?;
        let run = KeyRun::open_merged(&*self.disk, self.journal, &info)?;
        Ok(MergeStep::Done(Arc::new(run)))
    }
}

/// The runs, oldest first, each with the hash of its next row.
#[derive(Debug)]
struct Merge<R> {
    inputs: Vec<(KeyCursor<R>, Option<u128>)>,
    /// The lowest of these hashes in each [`GROUP`] of runs: of many, few are looked at for a row.
    lows: Vec<Option<u128>>,
}

impl<R: Row + Entry> Merge<R> {
    fn new(cursors: Vec<KeyCursor<R>>) -> Result<Self, RunError> {
        let count = cursors.len();
        let inputs = cursors.into_iter().map(|cursor| {
            let mut cursor = cursor.one_of(count);
            let hash = cursor.peek()?.map(|(hash, _)| hash);
            Ok((cursor, hash))
        });
        let inputs: Vec<_> = inputs.collect::<Result<_, RunError>>()?;
        let lows = inputs.chunks(GROUP).map(lowest_of).collect();
        Ok(Self { inputs, lows })
    }

    /// Goes behind the row of this run.
    fn skip(&mut self, input: usize) -> Result<(), RunError> {
        let (cursor, next) = &mut self.inputs[input];
        cursor.skip();
        *next = cursor.peek()?.map(|(hash, _)| hash);
        let group = input / GROUP;
        let end = self.inputs.len().min((group + 1) * GROUP);
        self.lows[group] = lowest_of(&self.inputs[group * GROUP..end]);
        Ok(())
    }

    /// Copies rows until a step is full; whether there are more.
    fn copy(&mut self, file: &mut RunFile, name: &str) -> Result<bool, MergeError> {
        for _ in 0..STEP_BYTES / R::LEN {
            let Some((hash, only)) = self.lowest() else { return Ok(false) };
            let written = |error: io::Error| RunWriteError { name: name.to_owned(), error };
            if let Some(input) = only {
                // As it is: nearly all keys are in one run.
                if let Some((_, row)) = self.inputs[input].0.peek()? {
                    file.push_stored_key(hash, row).map_err(written)?;
                }
                self.skip(input)?;
            } else if let Some(row) = self.newest(hash)? {
                file.push_key(&row).map_err(written)?;
            }
        }
        Ok(true)
    }

    /// The lowest hash, and the run that it is in, if it is in one alone.
    #[inline]
    fn lowest(&self) -> Option<(u128, Option<usize>)> {
        let (hash, group) = lowest_alone(self.lows.iter().copied())?;
        let Some(group) = group else { return Some((hash, None)) };
        let first = group * GROUP;
        let of_group = self.inputs[first..].iter().take(GROUP).map(|(_, next)| *next);
        let (hash, input) = lowest_alone(of_group)?;
        Some((hash, input.map(|input| first + input)))
    }

    /// Of the rows with the lowest `hash` the lowest; of several with one key the newest.
    fn newest(&mut self, hash: u128) -> Result<Option<R>, RunError> {
        let mut newest: Option<R> = None;
        for (cursor, _) in self.inputs.iter().filter(|(_, next)| *next == Some(hash)) {
            let row = cursor.decoded()?;
            #[cfg(takt_planted)]
            if newest.as_ref().is_some_and(|newest| newest.key() == row.key())
                && takt_protocol::planted::is("merge_keeps_the_oldest")
            {
                continue;
            }
            if newest.as_ref().is_none_or(|newest| row.key() <= newest.key()) {
                newest = Some(row);
            }
        }
        let Some(row) = newest else { return Ok(None) };
        for input in 0..self.inputs.len() {
            let (cursor, next) = &self.inputs[input];
            if *next == Some(hash) && cursor.decoded()?.key() == row.key() {
                self.skip(input)?;
            }
        }
        Ok(newest)
    }
}

fn lowest_of<R>(inputs: &[(KeyCursor<R>, Option<u128>)]) -> Option<u128> {
    inputs.iter().filter_map(|(_, next)| *next).min()
}

/// The lowest of the hashes, and where it stands, if that is in one place alone.
#[inline]
fn lowest_alone(hashes: impl Iterator<Item = Option<u128>>) -> Option<(u128, Option<usize>)> {
    let mut lowest: Option<(u128, Option<usize>)> = None;
    for (at, hash) in hashes.enumerate() {
        let Some(hash) = hash else { continue };
        match lowest {
            Some((least, _)) if least < hash => {}
            Some((least, _)) if least == hash => lowest = Some((hash, None)),
            Some(_) | None => lowest = Some((hash, Some(at))),
        }
    }
    lowest
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often a key is written when so many runs of one size come one by one.
    fn writes_of_a_key(runs: u64) -> f64 {
        let mut keys = Vec::new();
        let (mut merged, mut written) = (0, 0);
        for _ in 0..runs {
            keys.push(RunSize { keys: 1, window: 0 });
            written += 1;
            while let Some(range) = due_merge(&keys, merged, RUNS_AT_REST) {
                let sum = keys[range.clone()].iter().map(|run| run.keys).sum();
                written += sum;
                merged = merged.saturating_sub(range.len()).max(range.start) + 1;
                keys.splice(range, [RunSize { keys: sum, window: 0 }]);
            }
            assert!(keys.len() <= RUNS_AT_REST);
        }
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let writes = written as f64 / runs as f64;
        writes
    }

    #[test]
    fn a_key_is_written_few_times() {
        for (runs, most) in [(10, 2.0), (40, 3.0), (160, 5.0), (320, 6.0), (530, 7.0), (2000, 13.0)]
        {
            let writes = writes_of_a_key(runs);
            assert!(writes <= most, "of {runs} runs each key was written {writes} times");
        }
    }

    #[test]
    fn what_is_merged_follows_what_is_merged() {
        let due = |keys: &[u64], merged| due_merge(&sizes(keys, &[0; 9]), merged, RUNS_AT_REST);
        assert_eq!(due(&[9, 9, 1, 1, 1], 2), None);
        // Not the three at the end: what is merged stays in front.
        assert_eq!(due(&[9, 9, 1, 1, 1, 1], 1), Some(1..6));
        assert_eq!(due(&[90, 90, 1, 1, 1, 1], 2), Some(2..6));
        assert_eq!(due(&[90, 2, 2, 90, 2, 2], 0), Some(0..6));
    }

    #[test]
    fn what_is_merged_is_of_one_window() {
        let due =
            |windows: &[i64], merged| due_merge(&sizes(&[1; 9], windows), merged, RUNS_AT_REST);
        assert_eq!(due(&[1, 1, 2, 2, 2, 2], 0), Some(0..2));
        assert_eq!(due(&[1, 2, 2, 2, 2, 2], 1), Some(1..6));
        // The first is in the way: it is made a merged one.
        assert_eq!(due(&[1, 2, 2, 2, 2, 2], 0), Some(0..1));
        assert_eq!(due(&[1, 2, 3, 3, 4, 5], 0), Some(0..1));
        assert_eq!(due(&[1, 2, 3, 3, 4, 5], 1), Some(1..2));
        assert_eq!(due(&[1, 2, 3, 3, 4, 5], 2), Some(2..4));
        // No window has two.
        assert_eq!(due(&[1, 2, 3, 4, 5, 6], 0), Some(0..6));
        assert_eq!(due(&[1, 2, 3, 4, 5, 6], 6), Some(0..6));
    }

    fn sizes(keys: &[u64], windows: &[i64]) -> Vec<RunSize> {
        keys.iter().zip(windows).map(|(&keys, &window)| RunSize { keys, window }).collect()
    }
}
