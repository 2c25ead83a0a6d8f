//! Open conflicts outlive retention: before a file is dropped, the batches that hold them are
//! copied to a side file, which an entry names.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use takt_protocol::words::Timestamp;

use super::files::{RETRY_US, is_due};
use super::{OpenError, Store};
use crate::disk::Disk;
use crate::entry::{Entry, SealedFile, SideFile};
use crate::journal::{Incarnation, JournalId, Position};
use crate::kept::{KeptError, SideReader, SideWriter, is_side, side_len_bytes};
use crate::runs::MaskedAddress;
use crate::view::{ReadError, View};

/// What the side files of a node may take in all, in bytes.
const SIDES_BYTES_MAX: u64 = 64 << 20;

/// What goes on around the side files.
#[derive(Debug)]
pub(super) struct Sides {
    pub(super) bytes_max: u64,
    /// The file that retention would drop if its conflicts were copied.
    wanted: Option<(Position, Incarnation)>,
    /// Side files whose entry is not durable yet.
    readers: BTreeMap<Position, SideReader>,
    /// The file whose conflicts found no room, and how much there was, in bytes.
    over: Option<(Position, u64)>,
    retry_at: Option<Timestamp>,
    /// The file whose failure was logged.
    warned: Option<Position>,
    /// A side file was named: its journal file may go.
    retain_again: bool,
}

impl Default for Sides {
    fn default() -> Self {
        Self {
            bytes_max: SIDES_BYTES_MAX,
            wanted: None,
            readers: BTreeMap::new(),
            over: None,
            retry_at: None,
            warned: None,
            retain_again: false,
        }
    }
}

impl Sides {
    pub(super) fn take_retain_again(&mut self) -> bool {
        std::mem::take(&mut self.retain_again)
    }

    /// The oldest file has to stay, because its open conflicts find no room.
    pub(super) fn are_full(&self) -> bool {
        self.wanted.is_some_and(|(start, _)| self.over.is_some_and(|(over, _)| over == start))
    }
}

/// What a side file is made from.
#[derive(Debug)]
pub(super) struct SideWork {
    disk: Arc<dyn Disk>,
    journal: JournalId,
    view: View,
    start: Position,
    incarnation: Incarnation,
    addresses: Vec<MaskedAddress>,
    /// How long it may become.
    bytes_left: u64,
}

/// Why a side file was not written. Its journal file stays.
#[derive(Debug, thiserror::Error)]
pub(super) enum SideJobError {
    #[error("the open conflicts of the file take {needed} bytes, and only {left} are left")]
    Full { needed: u64, left: u64 },
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Verify(#[from] KeptError),
    #[error(transparent)]
    Write(#[from] io::Error),
}

impl SideWork {
    pub(super) fn start(&self) -> Position {
        self.start
    }

    pub(super) fn write(&self) -> Result<Box<(SideFile, SideReader)>, SideJobError> {
        let batches = self.addresses.iter().map(|address| (address.slot, address.batch_number));
        let mut batches: Vec<_> = batches.collect();
        batches.sort_unstable();
        batches.dedup();
        let mut batch_bytes = 0;
        for (slot, number) in &batches {
            let extent = self.view.catalog().find_batch(*slot, *number).map_err(ReadError::from)?;
            batch_bytes += u64::from(extent.ok_or(ReadError::NotFound)?.len_bytes);
        }
        let (needed, left) = (side_len_bytes(batches.len(), batch_bytes), self.bytes_left);
        if needed > left {
            return Err(SideJobError::Full { needed, left });
        }
        let mut writer =
            SideWriter::begin(&*self.disk, self.start, self.incarnation, batches.len())?;
        for (slot, number) in batches {
            let batch = self.view.read_from_batch(slot, number, 1)?.into_iter().next();
            writer.push(slot, &batch.ok_or(ReadError::NotFound)?)?;
        }
        let side = writer.finish(self.journal)?;
        let reader = SideReader::open(&*self.disk, self.journal, &side)?;
        Ok(Box::new((side, reader)))
    }
}

impl<T> Store<T> {
    /// Whether retention may drop a file: it has no open conflict, or they are durable elsewhere.
    pub(super) fn outlives(&self, file: &SealedFile) -> bool {
        self.state.conflicts_in(file).next().is_none()
            || self.view.directory().sides.contains_key(&file.start)
    }

    /// Whether the file still holds what was copied from it: not where some of that was trimmed since,
    /// and then a side file that is damaged cannot be made again.
    fn has_all_of(&self, side: &SideFile, file: &SealedFile) -> bool {
        let addresses = self.state.conflicts_in(file);
        let batches: BTreeSet<_> =
            addresses.map(|address| (address.slot, address.batch_number)).collect();
        batches.len() as u64 >= side.batches
    }

    /// Retention would take something from the file that starts there if its open conflicts were
    /// copied; `None` where no file waits for that.
    pub(super) fn want_side(&mut self, start: Option<Position>) {
        let file = start.and_then(|start| self.state.control.manifest.files.get(&start));
        let run = file.and_then(|file| file.run);
        self.sides.wanted = run.map(|run| (run.start, run.incarnation));
    }

    pub(super) fn side_work(&self, now: Timestamp) -> Option<SideWork> {
        let (start, incarnation) = self.sides.wanted?;
        let manifest = &self.state.control.manifest;
        let file = manifest.files.get(&start)?;
        let others = manifest.sides.values().filter(|side| side.start != start);
        let used: u64 = others.map(|side| side.len_bytes).sum();
        let bytes_left = self.sides.bytes_max.saturating_sub(used);
        if manifest.sides.get(&start).is_some_and(|side| !self.has_all_of(side, file)) {
            return None;
        }
        let under_way = self.sides.readers.contains_key(&start);
        if under_way || self.sides.over == Some((start, bytes_left)) || self.outlives(file) {
            return None;
        }
        is_due(self.sides.retry_at, now).then(|| SideWork {
            disk: Arc::clone(&self.disk),
            journal: self.journal.id(),
            view: self.view.clone(),
            start,
            incarnation,
            addresses: self.state.conflicts_in(file).collect(),
            bytes_left,
        })
    }

    pub(super) fn on_side_done(
        &mut self,
        start: Position,
        result: Result<Box<(SideFile, SideReader)>, SideJobError>,
        now: Timestamp,
    ) {
        match result {
            Ok(written) => {
                let (side, reader) = *written;
                self.sides.retry_at = None;
                self.sides.over = None;
                self.sides.warned = None;
                self.sides.readers.insert(start, reader);
                self.waiting.push_back(Entry::ConflictsKept { side });
            }
            Err(error) => {
                if self.sides.warned.replace(start) != Some(start) {
                    let what = "a journal file with open conflicts is not dropped";
                    tracing::warn!(%start, %error, what);
                }
                if let SideJobError::Full { left, .. } = error {
                    self.sides.over = Some((start, left));
                    self.counters.retention_blocked += 1;
                } else {
                    let retry_us = now.as_micros().saturating_add(RETRY_US);
                    self.sides.retry_at = Some(Timestamp::from_micros(retry_us));
                }
            }
        }
    }

    /// Side files that a durable entry names: readers find them, and their files may go.
    pub(super) fn publish_sides(&mut self, named: &[SideFile]) {
        for side in named {
            if let Some(reader) = self.sides.readers.remove(&side.start) {
                self.view.directory_mut().sides.insert(side.start, Arc::new(reader));
                self.sides.retain_again = true;
            }
        }
        self.show_sides();
    }

    fn show_sides(&self) {
        let kept = self.state.control.manifest.sides.values().map(|side| side.len_bytes).sum();
        self.view.directory_mut().status.conflicts_kept_bytes = kept;
    }

    /// At a start: opens what the manifest names, and deletes what it does not.
    pub(super) fn open_sides(&mut self) -> Result<(), OpenError> {
        let manifest = &self.state.control.manifest;
        for (start, side) in &manifest.sides {
            match SideReader::open(&*self.disk, self.journal.id(), side) {
                Ok(reader) => {
                    self.view.directory_mut().sides.insert(*start, Arc::new(reader));
                }
                Err(error)
                    if !manifest
                        .files
                        .get(start)
                        .is_some_and(|file| self.has_all_of(side, file)) =>
                {
                    tracing::error!(
                        %error,
                        "open conflicts that retention has dropped cannot be shown; restore the side file \
                         from a backup and start the node again"
                    );
                }
                Err(error) => tracing::warn!(%error, "a side file is made again"),
            }
        }
        let named = |name: &String| manifest.sides.values().any(|side| side.name() == *name);
        for (name, _) in self.disk.list()? {
            if is_side(&name) && !named(&name) {
                self.disk.remove(&name)?;
            }
        }
        self.show_sides();
        Ok(())
    }
}
