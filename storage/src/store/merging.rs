//! Merging of runs, so that a look-up of a key meets few of them; forgetting those that the horizon
//! has passed; and runs that turn out damaged.

use std::ops::Range;
use std::sync::Arc;

use takt_protocol::words::Timestamp;

use super::files::{Merging, RETRY_MAX_US, RETRY_US, is_due};
use super::job::{MergeTask, RunWork, Work};
use super::manifest::{holes, kept_runs};
use super::{Store, StoreError};
use crate::entry::Entry;
use crate::journal::Position;
use crate::runs::{
    KeyRun, MergeError, MergePlan, MergeStep, RUNS_AT_REST, RunError, RunInfo, RunSize, due_merge,
};

/// Look-ups meet no more filters than this while merging keeps up: then files wait for their runs.
const FILTERS_MET_MAX: usize = 6;
/// So many filters may be there beside that of the generation that takes runs; one more, and some runs are
/// merged.
const FILTERS_AT_REST: usize = 3;
/// So many closed files may wait for their runs, with their keys in memory; then the writer waits.
const UNWRITTEN_MAX: usize = 2;
/// Nor may more than one wait where all of their keys take more memory than this, in bytes: a file of
/// small events has many.
const UNWRITTEN_BYTES_MAX: usize = 192 << 20;
/// Windows of a horizon: what is merged is of one of them, so that it is not kept for much longer
/// than asked because of what came later.
const WINDOWS: i64 = 3;

impl<T> Store<T> {
    pub(super) fn merge_work(&mut self, now: Timestamp) -> Option<Work> {
        if self.merges_may_wait(now) {
            if self.forget_keys() {
                self.flush_waiting();
            }
            return None;
        }
        match std::mem::take(&mut self.files.merging) {
            Merging::None if is_due(self.files.retry_merge_at, now) => {}
            Merging::Paused(work) => {
                self.files.merging = Merging::Out;
                return Some(Work::Merge(Box::new(MergeTask::GoOn(work))));
            }
            merging @ (Merging::None | Merging::Out | Merging::Unnamed(_)) => {
                self.files.merging = merging;
                return None;
            }
        }
        // Retention waits for a merged run that is lost: space is not what it may wait for.
        let (margin_bytes, (start, end, inputs)) = match self.unread_merge() {
            Some(lost) => (0, self.merge_again(lost)?),
            None if !self.may_merge() => return None,
            // What is forgotten is not merged.
            None if self.forget_keys() => {
                self.flush_waiting();
                return None;
            }
            None => (self.options.journal.file_bytes.saturating_mul(2), self.merge_due()?),
        };
        let (disk, journal) = (Arc::clone(&self.disk), self.journal.id());
        let plan = MergePlan { disk, journal, start, end, inputs, margin_bytes };
        self.files.merging = Merging::Out;
        Some(Work::Merge(Box::new(MergeTask::Begin(plan))))
    }

    /// In a burst, and where look-ups meet few tables, what could be merged stays as it is: the processor's
    /// time is the publishers' then.
    fn merges_may_wait(&mut self, now: Timestamp) -> bool {
        let files = &mut self.files;
        if files.last_left.0 != files.current {
            files.last_left = (files.current, now);
        }
        let since_us = now.as_micros().saturating_sub(files.last_left.1.as_micros());
        let pause_us = i64::try_from(self.options.merge_pause.as_micros()).unwrap_or(i64::MAX);
        (0..pause_us).contains(&since_us)
            && self.options.generation_runs > 1
            && self.state.tables.units().len() <= FILTERS_AT_REST
            && self.unread_merge().is_none()
    }

    /// On a full disk only what retention waits for is merged; else the space is given back.
    pub(super) fn merge_work_when_full(&mut self, now: Timestamp) -> Option<Work> {
        if self.unread_merge().is_some() {
            return self.merge_work(now);
        }
        match std::mem::take(&mut self.files.merging) {
            Merging::Paused(work) => work.abandon(),
            merging @ (Merging::None | Merging::Out | Merging::Unnamed(_)) => {
                self.files.merging = merging;
            }
        }
        None
    }

    /// Whether there are as many runs that some may be merged.
    fn may_merge(&self) -> bool {
        let tables = &self.state.tables;
        if self.options.generation_runs > 1 {
            let units = tables.units();
            units.len() > FILTERS_AT_REST || units.last().is_some_and(|unit| unit.len() > 1)
        } else {
            tables.runs().len() > RUNS_AT_REST
        }
    }

    /// Which part of the horizon a time is of.
    pub(super) fn window_of(&self, time: Timestamp) -> i64 {
        let window_us = self.horizon_us().map_or(i64::MAX, |horizon| (horizon / WINDOWS).max(1));
        time.as_micros().div_euclid(window_us)
    }

    fn merge_due(&self) -> Option<(Position, Position, Vec<Arc<KeyRun>>)> {
        let runs = self.state.tables.runs();
        let size = |run: &RunInfo| {
            let keys = run.counts.ledger.saturating_add(run.counts.heads);
            let newest = self.state.control.manifest.append_time_of(run).unwrap_or_default();
            RunSize { keys, window: self.window_of(newest) }
        };
        let sizes: Vec<RunSize> = runs.iter().map(|run| size(run.info())).collect();
        let merged = runs.iter().filter(|run| run.is_merged()).count();
        let range = if self.options.generation_runs > 1 {
            self.units_due(&sizes, merged)?
        } else {
            due_merge(&sizes, merged, RUNS_AT_REST)?
        };
        // What is merged is all of the oldest positions, also of files that have no run.
        let start = if runs[range.start].is_merged() {
            runs[range.start].info().start
        } else {
            self.state.control.manifest.merged_upto()
        };
        Some((start, runs[range.end - 1].info().end, runs[range].to_vec()))
    }

    /// As [`due_merge`], where generations are merged as a whole.
    fn units_due(&self, sizes: &[RunSize], merged: usize) -> Option<Range<usize>> {
        let mut at = 0;
        let mut ends = Vec::new();
        let units: Vec<RunSize> = self
            .state
            .tables
            .units()
            .iter()
            .map(|unit| {
                let of = &sizes[at..at + unit.len()];
                at += unit.len();
                ends.push(at);
                let keys = of.iter().map(|run| run.keys).sum();
                RunSize { keys, window: of.last().map_or(0, |run| run.window) }
            })
            .collect();
        let range = due_merge(&units, merged, FILTERS_AT_REST).or_else(|| {
            // A generation that takes no more, with what lies before it and is of its window.
            let first = units.get(merged)?;
            let same = units[merged..].iter().take_while(|unit| unit.window == first.window);
            Some(merged..merged + same.count())
        })?;
        let start = range.start.checked_sub(1).map_or(0, |before| ends[before]);
        Some(start..ends[range.end - 1])
    }

    /// The longest of the node's own topics: their keys share runs, and a horizon is a minimum.
    fn horizon_us(&self) -> Option<i64> {
        let node = &self.state.control.node;
        let topics = self.state.control.topics.iter();
        let own = topics.filter(|((_, origin), _)| origin == node);
        own.map(|(_, topic)| topic.settings.horizon_us()).max()
    }

    /// Stages the forgetting of the runs that the horizon has passed, oldest first, and says whether
    /// there are any. While runs are merged it waits.
    ///
    /// The time is that of the newest append, as far as it is credible: what comes next is appended no
    /// earlier, also where the wall clock goes back meanwhile.
    pub(super) fn forget_keys(&mut self) -> bool {
        if !matches!(self.files.merging, Merging::None) || self.unread_merge().is_some() {
            return false;
        }
        let Some(horizon_us) = self.horizon_us() else { return false };
        let now = self.age_time(self.state.control.append_time);
        let manifest = &self.state.control.manifest;
        #[cfg(takt_planted)]
        let horizon_us = if takt_protocol::planted::is("horizon_dropped_early") {
            horizon_us / 2
        } else {
            horizon_us
        };
        let is_past = |run: &&Arc<KeyRun>| {
            let newest = manifest.append_time_of(run.info());
            newest.is_some_and(|at| now.as_micros().saturating_sub(at.as_micros()) > horizon_us)
        };
        let past = self.state.tables.runs().iter().take_while(is_past).last();
        let Some(upto) = past.map(|run| run.info().end) else { return false };
        let waits = |entry: &Entry| matches!(entry, Entry::KeysDropped { .. });
        if !self.waiting.iter().any(waits) {
            #[cfg(takt_planted)]
            if takt_protocol::planted::is("keys_dropped_early") {
                let runs = self.state.tables.runs().iter();
                for old in runs.filter(|old| old.is_merged() && old.info().end <= upto) {
                    let _ = self.disk.remove(&old.name());
                }
            }
            self.waiting.push_back(Entry::KeysDropped { upto });
        }
        true
    }

    /// A merged run that is named and did not read when the store was opened: its keys are in the
    /// files' own runs, which must outlive it.
    pub(super) fn unread_merge(&self) -> Option<RunInfo> {
        let tables = &self.state.tables;
        let mut named = self.state.control.manifest.merged.values().map(|merged| merged.run);
        named.find(|named| !tables.runs().iter().any(|run| run.info() == named))
    }

    fn merge_again(&self, lost: RunInfo) -> Option<(Position, Position, Vec<Arc<KeyRun>>)> {
        let unwritten = self.files.unwritten.front();
        if unwritten.is_some_and(|file| file.work.file.start < lost.end) {
            return None;
        }
        let runs = self.state.tables.runs().iter().filter(|run| lost.covers(run.info()));
        let runs: Vec<_> = runs.cloned().collect();
        (!runs.is_empty()).then_some((lost.start, lost.end, runs))
    }

    pub(super) fn on_merge_step(&mut self, result: Result<MergeStep, MergeError>, now: Timestamp) {
        match result {
            Ok(MergeStep::More(work)) => self.files.merging = Merging::Paused(work),
            Ok(MergeStep::Done(run)) => {
                self.files.retry_merge_at = None;
                self.files.merge_pause_us = 0;
                #[cfg(takt_planted)]
                if takt_protocol::planted::is("merged_away_before_named") {
                    let runs = self.state.tables.runs().iter();
                    for old in runs.filter(|old| old.is_merged() && run.info().covers(old.info())) {
                        let _ = self.disk.remove(&old.name());
                    }
                }
                self.waiting.push_back(Entry::KeysMerged { run: *run.info() });
                self.files.merging = Merging::Unnamed(run);
            }
            Err(error) => {
                self.files.merging = Merging::None;
                // It begins anew, and may fail at its end again.
                let pause_us = (2 * self.files.merge_pause_us).clamp(RETRY_US, RETRY_MAX_US);
                let retry_us = now.as_micros().saturating_add(pause_us);
                self.files.merge_pause_us = pause_us;
                self.files.retry_merge_at = Some(Timestamp::from_micros(retry_us));
                if let MergeError::Read(error) = error {
                    self.see_damage(error);
                }
            }
        }
    }

    /// Whether the next file's run waits until others are merged. What is to be merged again waits
    /// for the runs of its files, and on a full disk nothing is merged.
    pub(super) fn must_merge_first(&self) -> bool {
        let files = &self.files;
        let tables = &self.state.tables;
        let begins = |next: &RunWork| {
            let window = self.window_of(next.newest_append_time());
            let alone = self.options.generation_runs <= 1;
            alone || tables.begins_generation(next.frozen.ledger.len(), window)
        };
        tables.filters() >= FILTERS_MET_MAX
            && files.unwritten.front().is_some_and(|next| begins(&next.work))
            && !self.full
            && !matches!(files.merging, Merging::Unnamed(_))
            && files.retry_merge_at.is_none()
            && self.unread_merge().is_none()
    }

    /// Whether the next file must not begin before the runs of those before it have come on. On a
    /// full disk, or where runs cannot be made, nothing waits for them: keys stay in memory.
    pub(super) fn must_wait_for_runs(&self) -> bool {
        let files = &self.files;
        let waiting = files.unwritten.len();
        let too_much = waiting > 0 && self.state.tables.frozen_bytes() > UNWRITTEN_BYTES_MAX;
        (waiting >= UNWRITTEN_MAX || too_much)
            && files.retry_run_at.is_none()
            && files.retry_merge_at.is_none()
            && !self.full
    }

    /// A run did not answer. Where its journal files are there, the next start makes it again: it is
    /// removed, and the store stops. Otherwise all that does not need the damaged place goes on.
    pub(super) fn see_damage(&mut self, error: RunError) {
        let (RunError::Corrupt { name, .. } | RunError::Missing { name }) = &error else { return };
        let runs = self.state.tables.runs();
        let Some(run) = runs.iter().find(|run| run.name() == *name) else { return };
        let manifest = &self.state.control.manifest;
        let mut unpacked = kept_runs(&manifest.files);
        let of_file = unpacked
            .any(|(file, info)| info.name() == *name && manifest.pack_of(file.start).is_none());
        if !of_file && holes(manifest, run.info().start).is_none() {
            tracing::error!(%error, "keys cannot be looked up; a journal file that would tell them is dropped");
            return;
        }
        tracing::error!(%error, "the node stops; the run is made again at the next start");
        // Where it stays, the next start opens it, and this happens once more.
        if let Err(error) = self.disk.remove(name).and_then(|()| self.disk.sync_dir()) {
            tracing::error!(%error, name, "a damaged run could not be removed");
        }
        self.broken = Some(StoreError::Run(error));
    }
}
