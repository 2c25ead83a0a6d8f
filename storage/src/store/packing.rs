//! Packing: what sealed journal files still hold goes into a pack, and the files are given back.
//!
//! A file is packed when the retention of topics has taken at least half of what it takes on the disk,
//! or, where old files are to be archived, when it is old enough. It goes on in steps, behind all other
//! work, and pauses while there are commits.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use takt_protocol::words::{BatchNumber, Timestamp};

use super::due::{Unit, due_pack};
use super::files::{POOL_PAUSE_US, RETRY_MAX_US, RETRY_US, is_due};
use super::job::Work;
use super::{OpenError, Store};
use crate::disk::Disk;
use crate::entry::{Entry, PackFile, SealedFile};
use crate::journal::layout::COMMIT_MAX;
use crate::journal::{JournalId, Position};
use crate::kept::{KeptError, PackCompression, PackReader, PackWriter, parse_pack};
use crate::runs::{Extent, RunError, Slot};
use crate::view::{ReadError, View};

/// What is read or written in one step, in bytes: a commit may wait behind it.
const STEP_BYTES: usize = 4 << 20;
/// Batches are put in their order in memory, so many bytes at a time. Each time, the files that hold
/// them are read from end to end where partitions are mixed.
const SORTED_BYTES: usize = 32 << 20;
/// How many extents are asked of a run at a time.
const PAGE: usize = 256;

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

/// Which batches go into a pack.
#[derive(Debug)]
pub(super) struct PackPlan {
    disk: Arc<dyn Disk>,
    journal: JournalId,
    view: View,
    range: (Position, Position),
    serial: u32,
    compression: PackCompression,
    /// The partitions that are kept, each with the files that hold it, oldest first.
    sources: Vec<(Slot, Vec<Position>)>,
    live_bytes: u64,
    /// What must stay free on the disk beside the pack, in bytes.
    margin_bytes: u64,
}

/// A pack that is written in steps.
#[derive(Debug)]
pub(super) struct PackWork {
    disk: Arc<dyn Disk>,
    journal: JournalId,
    view: View,
    writer: PackWriter,
    batches: Batches,
    lot: Lot,
}

/// The batches that go into the pack, by partition and number.
#[derive(Debug)]
struct Batches {
    sources: Vec<(Slot, Vec<Position>)>,
    slot: usize,
    file: usize,
    /// The next batch in that file.
    from: BatchNumber,
}

/// Batches that are read in the order in which they lie, and written in that of the pack.
#[derive(Debug, Default)]
struct Lot {
    /// Each with the place of its bytes in `bytes`.
    extents: Vec<(Extent, usize)>,
    bytes: Vec<u8>,
    /// Indexes of `extents` in the order in which they lie, with the place in the journal of those that
    /// are there.
    to_read: Vec<(Option<Position>, usize)>,
    read: usize,
    written: usize,
}

/// A pack that is begun or goes on.
#[derive(Debug)]
pub(super) enum PackTask {
    Begin(Box<PackPlan>),
    GoOn(Box<PackWork>),
}

impl PackTask {
    pub(super) fn run(self) -> Result<PackStep, PackError> {
        match self {
            Self::Begin(plan) => plan.begin().map(Box::new).map(PackStep::More),
            Self::GoOn(work) => work.step(),
        }
    }
}

/// Where a pack stands.
#[derive(Debug)]
pub(super) enum PackStep {
    More(Box<PackWork>),
    Done(Arc<PackReader>),
}

/// Why a pack was given up. What it was to hold is where it was.
#[derive(Debug, thiserror::Error)]
pub(super) enum PackError {
    #[error("there are {bytes} bytes of room, which is too little")]
    Room { bytes: u64 },
    #[error("what it was to hold does not read: {error}")]
    Damaged { position: Position, error: ReadError },
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    Verify(#[from] KeptError),
    #[error(transparent)]
    Write(#[from] io::Error),
}

impl PackPlan {
    fn begin(self) -> Result<PackWork, PackError> {
        let Self { disk, journal, view, range, serial, compression, sources, .. } = self;
        let bytes = disk.free_bytes()?.saturating_sub(self.margin_bytes);
        if bytes < self.live_bytes {
            return Err(PackError::Room { bytes });
        }
        let writer = PackWriter::begin(&*disk, range, serial, compression)?;
        let batches = Batches { sources, slot: 0, file: 0, from: BatchNumber::new(0) };
        Ok(PackWork { disk, journal, view, writer, batches, lot: Lot::default() })
    }
}

impl PackWork {
    fn abandon(self) {
        self.writer.abandon(&*self.disk);
    }

    /// Does the next step, of 4 MiB or less.
    fn step(mut self) -> Result<PackStep, PackError> {
        match self.advance() {
            Ok(true) => Ok(PackStep::More(Box::new(self))),
            Ok(false) => {
                let pack = self.writer.finish(&*self.disk, self.journal)?;
                let reader = PackReader::open(&*self.disk, self.journal, &pack)?;
                Ok(PackStep::Done(Arc::new(reader)))
            }
            Err(error) => {
                self.abandon();
                Err(error)
            }
        }
    }

    /// Whether there is more to do.
    fn advance(&mut self) -> Result<bool, PackError> {
        let Self { view, writer, batches, lot, .. } = self;
        if lot.written == lot.extents.len() {
            return Ok(lot.fill(view, batches)?);
        }
        if lot.read < lot.to_read.len() {
            lot.read(view)?;
        } else {
            lot.write(writer)?;
        }
        Ok(true)
    }
}

impl Lot {
    /// Chooses the next batches; `false` where there are no more.
    fn fill(&mut self, view: &View, batches: &mut Batches) -> Result<bool, RunError> {
        self.extents.clear();
        let mut len = 0;
        while len < SORTED_BYTES {
            let page = batches.page(view)?;
            if page.is_empty() {
                break;
            }
            for extent in page {
                self.extents.push((extent, len));
                len += extent.len_bytes as usize;
            }
        }
        self.bytes.clear();
        self.bytes.resize(len, 0);
        // As they lie: in packs in this very order.
        let places = (0..).zip(&self.extents).map(|(index, (extent, _))| {
            ((!view.is_packed(extent)).then_some(extent.position), index)
        });
        self.to_read = places.collect();
        self.to_read.sort_unstable();
        (self.read, self.written) = (0, 0);
        Ok(!self.extents.is_empty())
    }

    fn read(&mut self, view: &View) -> Result<(), PackError> {
        let mut read_bytes = 0;
        let mut read_to = Position::ZERO;
        while let Some((position, index)) = self.to_read.get(self.read) {
            if read_bytes >= STEP_BYTES {
                break;
            }
            let (extent, at) = &self.extents[*index];
            let bytes = view.extent(extent).map_err(|error| {
                if matches!(error, ReadError::Corrupt(_)) {
                    PackError::Damaged { position: extent.position, error }
                } else {
                    error.into()
                }
            })?;
            self.bytes[*at..at + bytes.len()].copy_from_slice(&bytes);
            self.read += 1;
            read_bytes += bytes.len();
            if let Some(position) = *position {
                // With it the commit was read that holds it.
                let skipped = position.get().saturating_sub(read_to.get());
                read_bytes += usize::try_from(skipped).unwrap_or(COMMIT_MAX).min(COMMIT_MAX);
                read_to = position.plus(bytes.len() as u64);
            }
        }
        Ok(())
    }

    fn write(&mut self, writer: &mut PackWriter) -> io::Result<()> {
        let mut len = 0;
        while let Some((extent, at)) = self.extents.get(self.written).filter(|_| len < STEP_BYTES) {
            let bytes = &self.bytes[*at..at + extent.len_bytes as usize];
            self.written += 1;
            #[cfg(takt_planted)]
            if takt_protocol::planted::is("pack_forgets_a_batch")
                && self.written == self.extents.len()
            {
                break;
            }
            writer.push(extent.slot, extent.batch_number, bytes)?;
            len += bytes.len();
        }
        writer.sync()
    }
}

impl Batches {
    /// The next ones, all of one partition and file; empty behind the last.
    fn page(&mut self, view: &View) -> Result<Vec<Extent>, RunError> {
        while let Some((slot, files)) = self.sources.get(self.slot) {
            let Some(start) = files.get(self.file) else {
                (self.slot, self.file) = (self.slot + 1, 0);
                self.from = BatchNumber::new(0);
                continue;
            };
            let page = match view.catalog().run(*start) {
                Some(run) => run.extents_from(*slot, self.from, PAGE)?,
                // It was dropped meanwhile.
                None => Vec::new(),
            };
            if let Some(last) = page.last() {
                self.from = last.batch_number.advance(1);
                return Ok(page);
            }
            self.file += 1;
        }
        Ok(Vec::new())
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
        let ages = self.options.pack_after.is_some() && is_due(self.packing.look_at, now);
        if !std::mem::take(&mut self.packing.look) && !ages {
            return None;
        }
        let look_at_us = now.as_micros().saturating_add(RETRY_MAX_US);
        self.packing.look_at = Some(Timestamp::from_micros(look_at_us));
        let units = self.pack_units(now);
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
        let older = manifest.packs.range(range.0..range.1).map(|(_, pack)| pack.serial);
        // What is packed for its space takes room to give back more.
        let wanted = chosen.iter().any(|unit| unit.is_wanted);
        let margin_bytes = if wanted { file_bytes.saturating_mul(2) } else { 0 };
        Some(PackPlan {
            disk: Arc::clone(&self.disk),
            journal: self.journal.id(),
            view: self.view.clone(),
            range,
            serial: older.max().map_or(0, |serial| serial + 1),
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
        for file in manifest.files.values().filter(|file| !file.slots.is_empty()) {
            let mut live_bytes = 0;
            for end in &file.slots {
                let before = &mut ends[end.slot.get() as usize];
                live_bytes += end.appended_bytes.saturating_sub(*before);
                *before = end.appended_bytes;
            }
            let SealedFile { start, end, .. } = *file;
            if let Some(pack) = manifest.pack_of(start) {
                match units.last_mut().filter(|unit| unit.is_pack && unit.start == pack.start) {
                    Some(unit) => unit.live_bytes += live_bytes,
                    None => units.push(Unit {
                        start: pack.start,
                        end: pack.end,
                        held_bytes: pack.batch_bytes,
                        live_bytes,
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
            units.push(Unit { start, end, held_bytes, live_bytes, is_pack: false, is_wanted });
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
