//! The work on a pack, a step at a time: what it is to hold is read as it lies, put in order, and written.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use takt_protocol::batch::StoredError;
use takt_protocol::words::BatchNumber;

use super::compaction::Compaction;
use crate::disk::Disk;
use crate::journal::layout::COMMIT_MAX;
use crate::journal::{JournalId, Position};
use crate::kept::{KeptError, PackCompression, PackReader, PackWriter};
use crate::runs::{Extent, RunError, Slot};
use crate::view::{ReadError, View};

/// What is read or written in one step, in bytes: a commit may wait behind it.
const STEP_BYTES: usize = 4 << 20;
/// Batches are put in their order in memory, so many bytes at a time. Each time, the files that hold
/// them are read from end to end where partitions are mixed.
const SORTED_BYTES: usize = 32 << 20;
/// How many extents are asked of a run at a time.
const PAGE: usize = 256;

/// Which batches go into a pack.
#[derive(Debug)]
pub(super) struct PackPlan {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) journal: JournalId,
    pub(super) view: View,
    pub(super) range: (Position, Position),
    pub(super) serial: u32,
    /// Of the packs whose place it takes.
    pub(super) compacted_upto: Position,
    pub(super) compaction: Option<Compaction>,
    pub(super) compression: PackCompression,
    /// The partitions that are kept, each with the files that hold it, oldest first.
    pub(super) sources: Vec<(Slot, Vec<Position>)>,
    pub(super) live_bytes: u64,
    /// What must stay free on the disk beside the pack, in bytes.
    pub(super) margin_bytes: u64,
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
    compaction: Option<Compaction>,
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
    /// Each with the place of its bytes in `bytes`; what is compacted does not fill it.
    extents: Vec<(Extent, Range<usize>)>,
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
        let Self { disk, journal, view, range, serial, compaction, compression, sources, .. } =
            self;
        let upto = compaction.as_ref().map_or(self.compacted_upto, Compaction::upto);
        let bytes = disk.free_bytes()?.saturating_sub(self.margin_bytes);
        if bytes < self.live_bytes {
            return Err(PackError::Room { bytes });
        }
        let writer = PackWriter::begin(&*disk, range, serial, upto, compression)?;
        let batches = Batches { sources, slot: 0, file: 0, from: BatchNumber::new(0) };
        Ok(PackWork { disk, journal, view, writer, batches, lot: Lot::default(), compaction })
    }
}

impl PackWork {
    pub(super) fn abandon(self) {
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
        let Self { view, writer, batches, lot, compaction, .. } = self;
        if lot.written == lot.extents.len() {
            return Ok(lot.fill(view, batches)?);
        }
        if lot.read < lot.to_read.len() {
            lot.read(view)?;
            if let Some(compaction) = compaction.as_mut().filter(|_| lot.is_read()) {
                lot.look_at(view, compaction)?;
            }
            return Ok(true);
        }
        if let Some(compaction) = compaction
            && compaction.look_up()?
        {
            return Ok(true);
        }
        lot.write(writer, view, compaction.as_mut())?;
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
                let end = len + extent.len_bytes as usize;
                self.extents.push((extent, len..end));
                len = end;
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
            let (extent, place) = &mut self.extents[*index];
            let bytes = view.extent(extent).map_err(|error| {
                if matches!(error, ReadError::Corrupt(_)) {
                    PackError::Damaged { position: extent.position, error }
                } else {
                    error.into()
                }
            })?;
            place.end = place.start + bytes.len();
            self.bytes[place.clone()].copy_from_slice(&bytes);
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

    fn is_read(&self) -> bool {
        self.read == self.to_read.len()
    }

    /// Notes which orders are to be looked up.
    fn look_at(&self, view: &View, compaction: &mut Compaction) -> Result<(), PackError> {
        compaction.begin();
        for (extent, place) in &self.extents {
            if compaction.is_of(extent.slot) {
                let bytes = Bytes::copy_from_slice(&self.bytes[place.clone()]);
                let noted = compaction.want(view.key_hasher(), extent.slot, bytes);
                noted.map_err(|error| damaged(extent, error))?;
            }
        }
        compaction.wanted();
        Ok(())
    }

    fn write(
        &mut self,
        writer: &mut PackWriter,
        view: &View,
        mut compaction: Option<&mut Compaction>,
    ) -> Result<(), PackError> {
        let mut len = 0;
        while let Some((extent, at)) = self.extents.get(self.written).filter(|_| len < STEP_BYTES) {
            let bytes = &self.bytes[at.clone()];
            self.written += 1;
            let compacted = match compaction.as_deref_mut().filter(|with| with.is_of(extent.slot)) {
                None => None,
                Some(compaction) => {
                    let bytes = Bytes::copy_from_slice(bytes);
                    let compacted = compaction.compact(view.key_hasher(), extent.slot, bytes);
                    compacted.map_err(|error| damaged(extent, error))?
                }
            };
            #[cfg(takt_planted)]
            if takt_protocol::planted::is("pack_forgets_a_batch")
                && self.written == self.extents.len()
            {
                break;
            }
            writer.push(extent.slot, extent.batch_number, compacted.as_deref().unwrap_or(bytes))?;
            len += bytes.len();
        }
        Ok(writer.sync()?)
    }
}

fn damaged(extent: &Extent, error: StoredError) -> PackError {
    let error = ReadError::Corrupt(error.to_string());
    PackError::Damaged { position: extent.position, error }
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
