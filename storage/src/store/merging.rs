//! Merging of runs, so that a look-up of a key meets few of them; and runs that turn out damaged.

use std::sync::Arc;

use takt_protocol::words::Timestamp;

use super::files::{RETRY_MAX_US, RETRY_US, is_due};
use super::job::{MergeTask, Work};
use super::manifest::holes;
use super::{Store, StoreError};
use crate::entry::Entry;
use crate::journal::Position;
use crate::runs::{KeyRun, MergeError, MergePlan, MergeStep, RunError, RunInfo, due_merge};

/// Look-ups meet no more runs than this while merging keeps up: then files wait for their runs.
const RUNS_MET_MAX: usize = 6;
/// So many closed files may wait for their runs, with their keys in memory; then the writer waits.
const UNWRITTEN_MAX: usize = 4;

impl<T> Store<T> {
    pub(super) fn merge_work(&mut self, now: Timestamp) -> Option<Work> {
        if let Some(work) = self.files.merge.take() {
            return Some(Work::Merge(Box::new(MergeTask::GoOn(work))));
        }
        if self.files.merged.is_some() || !is_due(self.files.retry_merge_at, now) {
            return None;
        }
        // Retention waits for a merged run that is lost: space is not what it may wait for.
        let (margin_bytes, (start, end, inputs)) = match self.unread_merge() {
            Some(lost) => (0, self.merge_again(lost)?),
            None => (self.options.journal.file_bytes.saturating_mul(2), self.merge_due()?),
        };
        let (disk, journal) = (Arc::clone(&self.disk), self.journal.id());
        let plan = MergePlan { disk, journal, start, end, inputs, margin_bytes };
        Some(Work::Merge(Box::new(MergeTask::Begin(plan))))
    }

    /// On a full disk only what retention waits for is merged; else the space is given back.
    pub(super) fn merge_work_when_full(&mut self, now: Timestamp) -> Option<Work> {
        if self.unread_merge().is_some() {
            return self.merge_work(now);
        }
        if let Some(work) = self.files.merge.take() {
            work.abandon();
        }
        None
    }

    fn merge_due(&self) -> Option<(Position, Position, Vec<Arc<KeyRun>>)> {
        let runs = self.state.tables.runs();
        let keys: Vec<u64> = runs.iter().map(|run| keys_of(run.info())).collect();
        let merged = runs.iter().filter(|run| run.is_merged()).count();
        let range = due_merge(&keys, merged)?;
        // What is merged is all of the oldest positions, also of files that have no run.
        let start = match range.start.checked_sub(1) {
            Some(before) if !runs[range.start].is_merged() => runs[before].info().end,
            Some(_) => runs[range.start].info().start,
            None => Position::ZERO,
        };
        Some((start, runs[range.end - 1].info().end, runs[range].to_vec()))
    }

    /// A merged run that is named and did not read when the store was opened: its keys are in the
    /// files' own runs, which must outlive it.
    pub(super) fn unread_merge(&self) -> Option<RunInfo> {
        let tables = &self.state.tables;
        let mut named = self.state.control.manifest.merged.values();
        named.find(|named| !tables.runs().iter().any(|run| run.info() == *named)).copied()
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
            Ok(MergeStep::More(work)) => self.files.merge = Some(work),
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
                self.files.merged = Some(run);
            }
            Err(error) => {
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
        self.state.tables.runs().len() >= RUNS_MET_MAX
            && !self.full
            && files.merged.is_none()
            && files.retry_merge_at.is_none()
            && self.unread_merge().is_none()
    }

    /// Whether the next file must not begin before the runs of those before it have come on. On a
    /// full disk, or where runs cannot be made, nothing waits for them: keys stay in memory.
    pub(super) fn must_wait_for_runs(&self) -> bool {
        let files = &self.files;
        files.unwritten.len() >= UNWRITTEN_MAX
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
        if holes(&self.state.control.manifest, run.info().start).is_none() {
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

fn keys_of(info: &RunInfo) -> u64 {
    info.counts.ledger.saturating_add(info.counts.heads)
}
