//! Retention: by a node's own limits whole journal files, the oldest first; by a topic's limits what
//! sealed files hold of its partitions, the oldest first. Never what somebody still needs.
//!
//! What a topic loses leaves the manifest's file, and the file goes when nothing else is left in it:
//! so a file may go before older ones. Limits of topics are those of the node's own: what an origin
//! keeps for its own disk says nothing about how long its mirror is to be kept.

use std::collections::{BTreeMap, BTreeSet};

use takt_protocol::words::Timestamp;

use super::Store;
use crate::entry::{Entry, SealedFile, SlotEnd, TopicSettings};
use crate::journal::Position;
use crate::runs::Slot;

impl<T> Store<T> {
    /// Stages what retention drops now.
    pub(super) fn retain(&mut self, now: Timestamp) {
        // What a pack takes out of the manifest is not dropped as well.
        let packs = self.waiting.iter().any(|entry| matches!(entry, Entry::PackAdded { .. }));
        if packs || self.unread_merge().is_some() {
            return;
        }
        let to_copy = self.retain_files(now);
        let limited = self.limited();
        let for_topics = if limited.is_empty() { None } else { self.retain_topics(limited, now) };
        self.want_side(to_copy.or(for_topics));
    }

    /// Stages the dropping of files that are over the node's limits, or hold nothing, and that neither
    /// the uplink nor a cursor with hold still needs. One with open conflicts waits for the copy
    /// of those, and is returned.
    fn retain_files(&mut self, now: Timestamp) -> Option<Position> {
        let lens = self.kept_lens();
        let mut kept_bytes: u64 = lens.values().sum();
        let mut chosen = Vec::new();
        let mut blocked = false;
        let mut to_copy = None;
        for (&start, sealed) in &self.state.control.manifest.files {
            let Some(len_bytes) = lens.get(&start) else { continue };
            if self.is_chosen(start) {
                kept_bytes -= len_bytes;
                continue;
            }
            // A file without batches goes at once, so that cursors never fill the disk; batches go
            // oldest first.
            let wanted = sealed.slots.is_empty()
                || !blocked && self.is_over(sealed, kept_bytes, now) && !self.is_needed(sealed);
            // Until its damaged run is made again, nothing else has its keys.
            let wanted = wanted && !self.files.is_unwritten(start);
            if wanted && self.outlives(sealed) {
                chosen.push(start);
                kept_bytes -= len_bytes;
            } else {
                if wanted {
                    to_copy.get_or_insert(start);
                }
                blocked |= !sealed.slots.is_empty();
            }
        }
        #[cfg(takt_planted)]
        for &start in chosen.iter().filter(|_| takt_protocol::planted::is("dropped_before_named")) {
            self.view.catalog().drop_file(start);
            self.drop_file(start);
        }
        let drops = chosen.into_iter().map(|start| Entry::FileDropped { start });
        self.waiting.extend(drops);
        to_copy
    }

    /// What each journal file takes on the disk, by its start, also where a pack has what it held: such a
    /// pack is given back with the last of its files.
    fn kept_lens(&self) -> BTreeMap<Position, u64> {
        let files = self.journal.files();
        let mut lens: BTreeMap<_, _> =
            files.iter().map(|file| (file.start, file.len_bytes)).collect();
        let manifest = &self.state.control.manifest;
        for pack in manifest.packs.values() {
            let held = manifest.files.range(pack.start..pack.end);
            let held = held.filter(|(_, file)| !file.slots.is_empty());
            let starts: Vec<Position> = held.map(|(start, _)| *start).collect();
            lens.extend(starts.iter().map(|start| (*start, 0)));
            if let Some(last) = starts.last() {
                lens.insert(*last, pack.len_bytes);
            }
        }
        lens
    }

    /// Stages the trimming of what is over the limits of its topic, and the dropping of files that
    /// hold nothing else. Where open conflicts are to be copied first, their file is returned.
    fn retain_topics(
        &mut self,
        mut limited: BTreeMap<Slot, TopicSettings>,
        now: Timestamp,
    ) -> Option<Position> {
        // What is staged is judged by, so it is applied first.
        self.flush_waiting();
        if self.waiting.iter().any(is_drop) {
            return None;
        }
        let mut to_copy = None;
        let mut entries = Vec::new();
        for file in self.state.control.manifest.files.values() {
            if limited.is_empty() {
                break;
            }
            let is_wanted = |end: &&SlotEnd| {
                let settings = limited.get(&end.slot);
                let is_needed = || self.is_end_needed(end);
                #[cfg(takt_planted)]
                let is_needed =
                    || is_needed() && !takt_protocol::planted::is("topic_trim_ignores_holds");
                settings.is_some_and(|settings| self.is_expired(file, end, *settings, now))
                    && !is_needed()
            };
            let wanted = file.slots.iter().filter(is_wanted).map(|end| end.slot);
            let mut wanted: BTreeSet<Slot> = wanted.collect();
            if self.files.is_unwritten(file.start) {
                wanted.clear();
            }
            if !wanted.is_empty() && !self.outlives(file) {
                let before = wanted.len();
                for address in self.state.conflicts_in(file) {
                    wanted.remove(&address.slot);
                }
                if wanted.len() < before {
                    to_copy.get_or_insert(file.start);
                }
            }
            // What a partition keeps here it keeps in all files behind.
            for end in file.slots.iter().filter(|end| !wanted.contains(&end.slot)) {
                limited.remove(&end.slot);
            }
            if wanted.is_empty() {
                continue;
            }
            let start = file.start;
            entries.push(if wanted.len() == file.slots.len() {
                Entry::FileDropped { start }
            } else {
                Entry::SlotsTrimmed { start, slots: wanted.into_iter().collect() }
            });
        }
        #[cfg(takt_planted)]
        if takt_protocol::planted::is("topic_file_dropped_early") {
            for entry in &entries {
                if let Entry::FileDropped { start } = entry {
                    self.view.catalog().drop_file(*start);
                    self.drop_file(*start);
                }
            }
        }
        self.waiting.extend(entries);
        to_copy
    }

    /// The node's own partitions whose topic has a limit.
    fn limited(&self) -> BTreeMap<Slot, TopicSettings> {
        let node = &self.state.control.node;
        let topics = self.state.control.topics.iter();
        let own =
            topics.filter(|((_, origin), topic)| origin == node && topic.settings.has_limit());
        own.flat_map(|(_, topic)| topic.slots().map(|slot| (slot, topic.settings))).collect()
    }

    /// Whether the limits of its topic have passed all that the file holds of the partition.
    fn is_expired(
        &self,
        file: &SealedFile,
        end: &SlotEnd,
        settings: TopicSettings,
        now: Timestamp,
    ) -> bool {
        let Some(partition) = self.state.partition(end.slot) else { return false };
        let behind_bytes = partition.end.bytes.saturating_sub(end.appended_bytes);
        #[cfg(takt_planted)]
        let behind_bytes = if takt_protocol::planted::is("topic_keeps_too_little") {
            2 * behind_bytes
        } else {
            behind_bytes
        };
        let too_much = settings.retention_bytes > 0 && behind_bytes >= settings.retention_bytes;
        // The run knows when the partition's newest was appended, the manifest the file's.
        let run = self.view.catalog().run(file.start);
        let held = run.as_ref().and_then(|run| run.slot(end.slot));
        let newest = held.map_or(file.append_time, |held| held.last_time);
        let age_us = self.age_time(now).as_micros().saturating_sub(newest.as_micros());
        let age_max_us = settings.retention_ms.saturating_mul(1_000);
        let too_old =
            age_max_us > 0 && u64::try_from(age_us).is_ok_and(|age_us| age_us > age_max_us);
        too_much || too_old
    }

    /// Whether its dropping is staged already, or waits for room.
    fn is_chosen(&self, start: Position) -> bool {
        let waits =
            |entry: &Entry| matches!(entry, Entry::FileDropped { start: at } if *at == start);
        self.waiting.iter().any(waits)
            || self.effects.dropped.contains(&start)
            || self.state.control.manifest.files.get(&start).is_none_or(SealedFile::is_dropped)
    }

    fn is_over(&self, file: &SealedFile, kept_bytes: u64, now: Timestamp) -> bool {
        let limit = self.options.retention_bytes;
        let too_much = limit > 0 && kept_bytes > limit;
        let now = self.age_time(now);
        let age_us = now.as_micros().saturating_sub(file.append_time.as_micros());
        let too_old = self.options.retention_age.is_some_and(|age_max| {
            u128::try_from(age_us).is_ok_and(|age_us| age_us > age_max.as_micros())
        });
        too_much || too_old
    }

    fn is_needed(&self, file: &SealedFile) -> bool {
        #[cfg(takt_planted)]
        if takt_protocol::planted::is("uplink_hold_ignored") {
            return false;
        }
        file.slots.iter().any(|end| self.is_end_needed(end))
    }

    /// Whether the uplink or a cursor with hold still needs what a file holds of a partition.
    pub(super) fn is_end_needed(&self, end: &SlotEnd) -> bool {
        let goes_up = self.state.partition(end.slot).is_some_and(|found| {
            let wanted = self.uplink_topics.as_ref();
            let wanted = wanted.is_none_or(|wanted| wanted.contains(&found.id.topic));
            found.mirror_of.is_none() && wanted
        });
        let uplink = goes_up
            && self.uplink_needs.as_ref().is_none_or(|acknowledged| {
                acknowledged.get(&end.slot).is_some_and(|next| *next < end.next_batch)
            });
        let cursors = self.state.control.cursors.values().filter(|cursor| cursor.hold);
        let held = |next: &takt_protocol::words::Offset| *next < end.next_offset;
        #[cfg(takt_planted)]
        let cursors = cursors.filter(|_| !takt_protocol::planted::is("cursor_hold_ignored"));
        let mut cursors = cursors;
        uplink || cursors.any(|cursor| cursor.positions.get(&end.slot).is_some_and(held))
    }
}

/// Whether it takes batches away.
fn is_drop(entry: &Entry) -> bool {
    matches!(entry, Entry::FileDropped { .. } | Entry::SlotsTrimmed { .. })
}
