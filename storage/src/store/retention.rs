//! Retention: whole journal files, the oldest first, never one that somebody still needs.

use takt_protocol::words::Timestamp;

use super::Store;
use crate::entry::{Entry, SealedFile};
use crate::journal::Position;

impl<T> Store<T> {
    /// Stages the dropping of files that are over the limits, or hold nothing, and that neither
    /// the uplink nor a cursor with hold still needs. One with open conflicts waits for the copy
    /// of those.
    pub(super) fn retain(&mut self, now: Timestamp) {
        if self.unread_merge().is_some() {
            return;
        }
        let files = self.journal.files();
        let mut kept_bytes: u64 = files.iter().map(|file| file.len_bytes).sum();
        let mut chosen = Vec::new();
        let mut blocked = false;
        let mut to_copy = None;
        for file in &files {
            let Some(sealed) = self.state.control.manifest.files.get(&file.start) else { continue };
            if self.is_chosen(file.start) {
                kept_bytes -= file.len_bytes;
                continue;
            }
            // A file without batches goes at once, so that cursors never fill the disk; batches go
            // oldest first.
            let wanted = sealed.slots.is_empty()
                || !blocked && self.is_over(sealed, kept_bytes, now) && !self.is_needed(sealed);
            // Until its damaged run is made again, nothing else has its keys.
            let wanted = wanted && !self.files.is_unwritten(file.start);
            if wanted && self.outlives(sealed) {
                chosen.push(file.start);
                kept_bytes -= file.len_bytes;
            } else {
                if wanted {
                    to_copy.get_or_insert(file);
                }
                blocked |= !sealed.slots.is_empty();
            }
        }
        self.want_side(to_copy);
        #[cfg(takt_planted)]
        for &start in chosen.iter().filter(|_| takt_protocol::planted::is("dropped_before_named")) {
            self.view.catalog().drop_file(start);
            self.drop_file(start);
        }
        let drops = chosen.into_iter().map(|start| Entry::FileDropped { start });
        self.waiting.extend(drops);
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
        file.slots.iter().any(|end| {
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
        })
    }
}
