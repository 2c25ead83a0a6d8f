//! What a plant keeps: which batches its retention has dropped, and by which time it may have judged
//! their age. This is what is promised, computed once more, beside the node.

use std::collections::BTreeMap;

use takt_protocol::words::{BatchNumber, PartitionId, Timestamp};
use takt_storage::store::StoreOptions;
use takt_storage::view::View;

use super::agenda::{At, SECOND};
use super::faults::Dropping;
use super::history::Dropped;

/// A clock that is so far ahead of the newest batch at a start is not believed: 7 days.
const AHEAD_MAX_US: i64 = 7 * 24 * 3_600 * SECOND as i64;
/// Nor one that has run ahead by more than this since: 5 minutes.
const LEAP_MAX_US: i64 = 300 * SECOND as i64;

/// What one process of a plant keeps.
#[derive(Debug, Default)]
pub struct Kept {
    /// Where each partition begins.
    starts: BTreeMap<PartitionId, BatchNumber>,
    /// When it began.
    since: At,
    /// The latest time that was credible then, in microseconds since 1970.
    credible: i64,
    /// The latest time that its wall clock has shown.
    shown: i64,
}

impl Kept {
    /// A process has begun, with these partitions and its wall clock at `wall`.
    pub fn new(view: &View, wall: Timestamp, now: At) -> Self {
        let partitions = view.all_partitions();
        let written = partitions.iter().filter(|partition| partition.end_batch.get() > 0);
        let newest = written.map(|partition| partition.last_append.as_micros()).max();
        let shown = wall.as_micros();
        let credible =
            newest.map_or(shown, |newest| shown.clamp(newest, newest.saturating_add(AHEAD_MAX_US)));
        let starts = partitions.into_iter().map(|partition| (partition.id, partition.start_batch));
        Self { starts: starts.collect(), since: now, credible, shown }
    }

    /// Its wall clock shows this.
    pub fn shown(&mut self, wall: Timestamp) {
        self.shown = self.shown.max(wall.as_micros());
    }

    /// What was dropped since the last look.
    pub fn look(
        &mut self,
        view: &View,
        options: &StoreOptions,
        now: At,
    ) -> Vec<(Dropped, Dropping)> {
        let passed = i64::try_from(now - self.since).unwrap_or(i64::MAX);
        let credible = self.credible.saturating_add(passed).saturating_add(LEAP_MAX_US);
        let at_most = self.shown.min(credible);
        let older_than = options.retention_age.map(|age| {
            let age_us = i64::try_from(age.as_micros()).unwrap_or(i64::MAX);
            Timestamp::from_micros(at_most.saturating_sub(age_us))
        });
        // With both limits there may have been too much of it, however young it was.
        let by_size = options.retention_bytes > 0;
        let mut dropped = Vec::new();
        for found in view.all_partitions() {
            let upto = found.start_batch;
            let known = self.starts.insert(found.id.clone(), upto);
            if known.is_some_and(|known| known < upto) {
                let why = if by_size { Dropping::Size } else { Dropping::Age };
                let older_than = older_than.unwrap_or(Timestamp::from_micros(i64::MIN));
                let older_than = (why == Dropping::Age).then_some(older_than);
                dropped.push((Dropped { partition: found.id, upto, older_than }, why));
            }
        }
        dropped
    }
}
