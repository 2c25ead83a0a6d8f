//! What a plant keeps: which batches its retention has dropped, and by which time it may have judged
//! their age. This is what is promised, computed once more, beside the node.

use std::collections::BTreeMap;

use takt_protocol::words::{BatchNumber, PartitionId, Timestamp, TopicName};
use takt_storage::store::StoreOptions;
use takt_storage::view::View;

use super::agenda::{At, SECOND};
use super::faults::Dropping;
use super::history::Dropped;
use super::plan::Limits;

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
        limits: &BTreeMap<TopicName, Limits>,
        now: At,
    ) -> Vec<(Dropped, Dropping)> {
        let passed = i64::try_from(now - self.since).unwrap_or(i64::MAX);
        let credible = self.credible.saturating_add(passed).saturating_add(LEAP_MAX_US);
        let at_most = self.shown.min(credible);
        let mut dropped = Vec::new();
        for found in view.all_partitions() {
            let upto = found.start_batch;
            let known = self.starts.insert(found.id.clone(), upto);
            if known.is_none_or(|known| known >= upto) {
                continue;
            }
            let limits = limits.get(&found.id.topic).copied().unwrap_or_default();
            // Where there was too much, it may have been however young.
            let why = if options.retention_bytes > 0 {
                Dropping::Size
            } else if limits.bytes > 0 && found.len_bytes >= limits.bytes {
                Dropping::TopicSize
            } else if limits.age.is_some() {
                Dropping::TopicAge
            } else {
                Dropping::Age
            };
            let by_age = matches!(why, Dropping::TopicAge | Dropping::Age);
            let age = options.retention_age.into_iter().chain(limits.age).min();
            let age_us = age.map_or(i64::MAX, |age| i64::try_from(age.as_micros()).unwrap_or(0));
            let older_than = by_age.then(|| Timestamp::from_micros(at_most.saturating_sub(age_us)));
            dropped.push((Dropped { partition: found.id, upto, older_than }, why));
        }
        dropped
    }
}
