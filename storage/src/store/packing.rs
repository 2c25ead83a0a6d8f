//! Packing: what sealed journal files still hold goes into a pack, and the files are given back.
//!
//! A file is packed when the retention of topics has taken at least half of what it takes on the disk,
//! or, where old files are to be archived, when it is old enough, or when much of it is of topics that
//! are compacted. It goes on in steps, behind all other work, and pauses while there are commits.

use std::collections::BTreeMap;
use std::sync::Arc;

use takt_protocol::words::Timestamp;

use super::due::{Unit, due_pack};
use super::files::{POOL_PAUSE_US, RETRY_MAX_US, RETRY_US, is_due};
use super::job::Work;
use super::pack_work::{PackError, PackPlan, PackStep, PackTask, PackWork};
use super::{OpenError, Store};
use crate::entry::{Entry, PackFile, SealedFile};
use crate::journal::Position;
use crate::kept::{PackReader, parse_pack};
use crate::runs::Slot;

/// How often it is looked whether something may be compacted that the hub or a cursor held before, in
/// microseconds.
const COMPACTION_LOOK_US: i64 = 5 * 1_000_000;

/// How far packing has come.
#[derive(Debug, Default)]
enum Stage {
    /// Nothing is packed.
    #[default]
    None,
    /// A step of it is out as a job.
    Out,
    /// It goes on at this time, or when there is nothing to be written.
    Paused(Box<PackWork>, Timestamp),
    /// It is done, and the entry of the pack is not durable yet.
    Unnamed(Arc<PackReader>),
}

/// What goes on around packs.
#[derive(Debug, Default)]
pub(super) struct Packing {
    stage: Stage,
    /// Something has changed of what decides whether there is something to pack.
    look: bool,
    /// When it is looked all the same, as files grow older.
    look_at: Option<Timestamp>,
    /// A round of compaction goes on: all that comes before is packed with what is known up to here.
    pub(super) round_upto: Option<Position>,
    /// How much room there was for the last pack, which was too little.
    room_bytes: Option<u64>,
    /// Positions of batches that do not read: what holds them is packed no more until the next start.
    damaged: Vec<Position>,
    /// The last pause before another attempt.
    pause_us: i64,
    retry_at: Option<Timestamp>,
}

impl Packing {
    pub(super) fn look_again(&mut self) {
        self.look = true;
    }
}

impl<T> Store<T> {
    pub(super) fn pack_work(&mut self, now: Timestamp) -> Option<Work> {
        let task = match std::mem::take(&mut self.packing.stage) {
            Stage::Paused(work, at) if self.in_flight && !is_due(Some(at), now) => {
                self.packing.stage = Stage::Paused(work, at);
                return None;
            }
            Stage::Paused(work, _) => PackTask::GoOn(work),
            Stage::None => PackTask::Begin(Box::new(self.pack_due(now)?)),
            stage @ (Stage::Out | Stage::Unnamed(_)) => {
                self.packing.stage = stage;
                return None;
            }
        };
        self.packing.stage = Stage::Out;
        Some(Work::Pack(task))
    }

    fn pack_due(&mut self, now: Timestamp) -> Option<PackPlan> {
        // The journal files of a merged run that is lost are its keys' last witness.
        if !is_due(self.packing.retry_at, now) || self.unread_merge().is_some() {
            return None;
        }
        // What the hub has, nothing tells here.
        let compacts = self.has_compacted();
        let ages = self.options.pack_after.is_some() || compacts;
        let ages = ages && is_due(self.packing.look_at, now);
        if !std::mem::take(&mut self.packing.look) && !ages {
            return None;
        }
        let pause_us = if compacts { COMPACTION_LOOK_US } else { RETRY_MAX_US };
        let look_at_us = now.as_micros().saturating_add(pause_us);
        self.packing.look_at = Some(Timestamp::from_micros(look_at_us));
        let mut units = self.pack_units(now);
        self.want_compaction(&mut units);
        let file_bytes = self.options.journal.file_bytes;
        let room_bytes = self.packing.room_bytes.take();
        let chosen = &units[due_pack(&units, file_bytes, room_bytes)?];
        let range = (chosen[0].start, chosen[chosen.len() - 1].end);
        let manifest = &self.state.control.manifest;
        let mut sources: BTreeMap<Slot, Vec<Position>> = BTreeMap::new();
        for (start, file) in manifest.files.range(range.0..range.1) {
            for end in &file.slots {
                sources.entry(end.slot).or_default().push(*start);
            }
        }
        let older = manifest.packs.range(range.0..range.1).map(|(_, pack)| pack);
        let compacted_upto = older.clone().map(|pack| pack.compacted_upto).max();
        let serial = older.map(|pack| pack.serial).max().map_or(0, |serial| serial + 1);
        let files = manifest.files.range(range.0..range.1).map(|(_, file)| file);
        // What is packed for its space takes room to give back more.
        let wanted = chosen.iter().any(|unit| unit.is_wanted);
        let margin_bytes = if wanted { file_bytes.saturating_mul(2) } else { 0 };
        Some(PackPlan {
            disk: Arc::clone(&self.disk),
            journal: self.journal.id(),
            view: self.view.clone(),
            range,
            serial,
            compacted_upto: compacted_upto.unwrap_or_default(),
            compaction: self.compaction_of(files),
            compression: self.options.pack_compression,
            sources: sources.into_iter().collect(),
            live_bytes: chosen.iter().map(|unit| unit.live_bytes).sum(),
            margin_bytes,
        })
    }

    /// The sealed files that hold something, and the packs, oldest first.
    fn pack_units(&self, now: Timestamp) -> Vec<Unit> {
        let manifest = &self.state.control.manifest;
        let partitions = &self.state.control.partitions;
        let mut ends: Vec<u64> = partitions.iter().map(|partition| partition.start.bytes).collect();
        let lens: BTreeMap<Position, u64> =
            self.journal.files().iter().map(|file| (file.start, file.len_bytes)).collect();
        let damaged = &self.packing.damaged;
        let reads = |start, end| !damaged.iter().any(|at| (start..end).contains(at));
        let mut units: Vec<Unit> = Vec::new();
        let directory = self.view.directory();
        // Up to where what compacted packs hold of each partition is counted.
        let mut seen = vec![Position::ZERO; ends.len()];
        for file in manifest.files.values().filter(|file| !file.slots.is_empty()) {
            let SealedFile { start, end, .. } = *file;
            let reader = manifest.pack_of(start).and_then(|pack| directory.packs.get(&pack.start));
            let compacted = reader.filter(|reader| reader.info().is_compacted());
            let (mut live_bytes, mut orders_bytes) = (0, 0);
            for end in &file.slots {
                let slot = end.slot.get() as usize;
                let before = std::mem::replace(&mut ends[slot], end.appended_bytes);
                let bytes = match compacted {
                    None => end.appended_bytes.saturating_sub(before),
                    // Of all of its files at the first of them.
                    Some(reader) if seen[slot] < reader.info().end => {
                        reader.held_bytes(end.slot, partitions[slot].start.batch)
                    }
                    Some(_) => 0,
                };
                if let Some(reader) = compacted {
                    seen[slot] = reader.info().end;
                }
                live_bytes += bytes;
                let is_needed = self.is_end_needed(end);
                #[cfg(takt_planted)]
                let is_needed =
                    is_needed && !takt_protocol::planted::is("compaction_ignores_holds");
                if self.compacts(end) && !is_needed {
                    orders_bytes += bytes;
                }
            }
            if let Some(pack) = manifest.pack_of(start) {
                match units.last_mut().filter(|unit| unit.is_pack && unit.start == pack.start) {
                    Some(unit) => {
                        unit.live_bytes += live_bytes;
                        unit.orders_bytes += orders_bytes;
                    }
                    None => units.push(Unit {
                        start: pack.start,
                        end: pack.end,
                        held_bytes: pack.batch_bytes,
                        live_bytes,
                        orders_bytes,
                        compacted_upto: pack.compacted_upto,
                        is_pack: true,
                        is_wanted: false,
                    }),
                }
                continue;
            }
            // Nothing else has what its run is to be made from.
            let Some(run) = self.view.catalog().run(start) else { continue };
            if self.files.is_unwritten(start) {
                continue;
            }
            let is_trimmed = file.slots.len() < run.slots().count();
            let len_bytes = lens.get(&start).copied().unwrap_or(0);
            let held_bytes = if is_trimmed { len_bytes } else { live_bytes };
            let is_wanted = self.is_to_be_archived(file, now);
            units.push(Unit {
                start,
                end,
                held_bytes,
                live_bytes,
                orders_bytes,
                compacted_upto: Position::ZERO,
                is_pack: false,
                is_wanted,
            });
        }
        units.into_iter().filter(|unit| reads(unit.start, unit.end)).collect()
    }

    /// On a full disk no file is packed but for what that gives back.
    fn is_to_be_archived(&self, file: &SealedFile, now: Timestamp) -> bool {
        !self.full
            && self.options.pack_after.is_some_and(|after| {
                let age_us =
                    self.age_time(now).as_micros().saturating_sub(file.append_time.as_micros());
                u128::try_from(age_us).is_ok_and(|age_us| age_us >= after.as_micros())
            })
    }

    pub(super) fn on_pack_step(&mut self, result: Result<PackStep, PackError>, now: Timestamp) {
        match result {
            Ok(PackStep::More(work)) => {
                let at = now.as_micros().saturating_add(POOL_PAUSE_US);
                self.packing.stage = Stage::Paused(work, Timestamp::from_micros(at));
            }
            Ok(PackStep::Done(reader)) => {
                self.packing.retry_at = None;
                self.packing.pause_us = 0;
                let pack = *reader.info();
                #[cfg(takt_planted)]
                self.give_back_early(&pack);
                self.waiting.push_back(Entry::PackAdded { pack });
                self.packing.stage = Stage::Unnamed(reader);
            }
            Err(error) => {
                match error {
                    PackError::Room { bytes } => self.packing.room_bytes = Some(bytes),
                    PackError::Damaged { position, .. } => self.packing.damaged.push(position),
                    PackError::Read(_)
                    | PackError::Run(_)
                    | PackError::Verify(_)
                    | PackError::Write(_) => {}
                }
                let pause_us = (2 * self.packing.pause_us).clamp(RETRY_US, RETRY_MAX_US);
                let retry_us = now.as_micros().saturating_add(pause_us);
                self.packing.stage = Stage::None;
                self.packing.pause_us = pause_us;
                self.packing.retry_at = Some(Timestamp::from_micros(retry_us));
                self.packing.look = true;
            }
        }
    }

    /// Packs that a durable entry names: readers find what is in them, and the files that they were made
    /// of are given back.
    pub(super) fn publish_packs(&mut self, named: &[PackFile]) {
        for pack in named {
            match std::mem::take(&mut self.packing.stage) {
                Stage::Unnamed(reader) if reader.info() == pack => {
                    let mut directory = self.view.directory_mut();
                    directory.packs.retain(|start, _| !pack.covers(*start));
                    directory.packs.insert(pack.start, reader);
                    drop(directory);
                    // What is read now is what is read after the next start.
                    if pack.is_compacted() {
                        self.view.forget_recent(pack.end);
                    }
                    // There may be more.
                    self.packing.look = true;
                }
                stage @ (Stage::None | Stage::Out | Stage::Paused(..) | Stage::Unnamed(_)) => {
                    self.packing.stage = stage;
                }
            }
            let files = self.journal.files();
            for file in files.iter().filter(|file| pack.covers(file.start)) {
                self.drop_file(file.start);
            }
        }
        self.show_files();
    }

    /// Nothing names these files any more.
    pub(super) fn forget_packs(&self, unnamed: &[String]) {
        let mut directory = self.view.directory_mut();
        directory.packs.retain(|_, pack| !unnamed.contains(&pack.info().name()));
    }

    #[cfg(takt_planted)]
    fn give_back_early(&mut self, pack: &PackFile) {
        if takt_protocol::planted::is("packed_before_named") {
            let files = self.journal.files();
            for file in files.iter().filter(|file| pack.covers(file.start)) {
                self.drop_file(file.start);
            }
        }
        if takt_protocol::planted::is("old_pack_removed_early") {
            let manifest = &self.state.control.manifest;
            for (_, old) in manifest.packs.range(pack.start..pack.end) {
                let _ = self.disk.remove(&old.name());
            }
        }
    }

    /// At a start: opens what the manifest names, and deletes what it does not.
    pub(super) fn open_packs(&mut self) -> Result<(), OpenError> {
        let manifest = &self.state.control.manifest;
        for (start, pack) in &manifest.packs {
            let reader = PackReader::open(&*self.disk, self.journal.id(), pack);
            let reader = reader.map_err(OpenError::Pack)?;
            self.view.directory_mut().packs.insert(*start, Arc::new(reader));
        }
        let named = |name: &String| manifest.packs.values().any(|pack| pack.name() == *name);
        for (name, _) in self.disk.list()? {
            if parse_pack(&name).is_some() && !named(&name) {
                self.disk.remove(&name)?;
            }
        }
        self.packing.look = true;
        Ok(())
    }
}
