//! A run that is read: verified at its head when it is opened, and block by block when it is used.

use std::{collections::BTreeMap, io};

use takt_protocol::words::{BatchNumber, Offset, Timestamp};
use xxhash_rust::xxh3::xxh3_128;

use super::{
    extent::{Extent, MaskedAddress, OrderRow, Slot, SlotSummary},
    header::{self, Header, HeaderError},
    info::RunInfo,
    row::Row,
    table::Table,
};
use crate::{
    disk::{Disk, DiskFile},
    journal::JournalId,
    ledger::{HeadEntry, LedgerEntry},
};

/// Why a run gives no answer. It is made again from its journal file.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// There is no such file.
    #[error("the run {name} is missing")]
    Missing {
        /// The file's name.
        name: String,
    },
    /// It is not what the manifest says, or it rotted.
    #[error("the run {name} is damaged: {what}")]
    Corrupt {
        /// The file's name.
        name: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// It is of another format version.
    #[error("the run {name} has format version {version}, which is not known")]
    Version {
        /// The file's name.
        name: String,
        /// The version.
        version: u16,
    },
    /// The disk failed.
    #[error("the run {name} could not be read")]
    Io {
        /// The file's name.
        name: String,
        /// What the disk said.
        #[source]
        error: io::Error,
    },
}

/// The open file of a run, with the name for its errors.
#[derive(Debug)]
pub(super) struct Source {
    name: String,
    file: Box<dyn DiskFile>,
}

impl Source {
    pub(super) fn read(&self, at: u64, bytes: &mut [u8]) -> Result<(), RunError> {
        self.file.read_at(at, bytes).map_err(|error| self.io(error))
    }

    pub(super) fn corrupt(&self, what: &'static str) -> RunError {
        RunError::Corrupt { name: self.name.clone(), what }
    }

    fn io(&self, error: io::Error) -> RunError {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            self.corrupt("it is too short")
        } else {
            RunError::Io { name: self.name.clone(), error }
        }
    }
}

/// A run that answers. It stays readable when its name is removed.
#[derive(Debug)]
pub struct RunReader {
    info: RunInfo,
    source: Source,
    ledger: Table<LedgerEntry>,
    heads: Table<HeadEntry>,
    extents: Table<Extent>,
    orders: Table<OrderRow>,
    conflicts: Table<MaskedAddress>,
    slots: BTreeMap<Slot, SlotSummary>,
}

impl RunReader {
    /// Opens the run that the manifest of `journal` names, and verifies its head.
    ///
    /// # Errors
    /// [`RunError`] if it is missing, damaged, another than the named one, or cannot be read.
    pub fn open(disk: &dyn Disk, journal: JournalId, info: &RunInfo) -> Result<Self, RunError> {
        let name = info.name();
        let file = match disk.open(&name, false) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(RunError::Missing { name });
            }
            Err(error) => return Err(RunError::Io { name, error }),
        };
        let source = Source { name, file };
        let header = read_header(&source, journal, info)?;
        let layout = header.layout().ok_or_else(|| source.corrupt("its counts are too large"))?;
        if source.file.len().map_err(|error| source.io(error))? != layout.end {
            return Err(source.corrupt("its length is wrong"));
        }
        let fences_len = usize::try_from(layout.end - layout.fences)
            .map_err(|_| source.corrupt("its counts are too large"))?;
        let mut fences = vec![0; fences_len];
        source.read(layout.fences, &mut fences)?;
        if xxh3_128(&fences) != header.fences_hash {
            return Err(source.corrupt("the checksum of its fences is wrong"));
        }

        let mut opener = Opener {
            source: &source,
            counts: info.counts.array(),
            layout,
            section: 0,
            fences: &fences,
        };
        let ledger = opener.table()?;
        let heads = opener.table()?;
        let extents = opener.table()?;
        let orders = opener.table()?;
        let conflicts = opener.table()?;
        let summaries: Table<SlotSummary> = opener.table()?;
        let mut slots = BTreeMap::new();
        for summary in summaries.stream(&source) {
            let summary = summary?;
            slots.insert(summary.slot, summary);
        }
        Ok(Self { info: *info, source, ledger, heads, extents, orders, conflicts, slots })
    }

    /// What the manifest says of it.
    pub fn info(&self) -> &RunInfo {
        &self.info
    }

    /// The ledger entries by hash and digest, a block at a time; ends behind the first error.
    pub fn entries(&self) -> impl Iterator<Item = Result<LedgerEntry, RunError>> + '_ {
        self.ledger.stream(&self.source)
    }

    /// The order heads by hash, a block at a time; ends behind the first error.
    pub fn heads(&self) -> impl Iterator<Item = Result<HeadEntry, RunError>> + '_ {
        self.heads.stream(&self.source)
    }

    /// All extents by partition and batch number, a block at a time; ends behind the first error.
    pub fn extents(&self) -> impl Iterator<Item = Result<Extent, RunError>> + '_ {
        self.extents.stream(&self.source)
    }

    /// The addresses of the conflicts that the file listed, whether decided since or not.
    pub fn conflicts(&self) -> impl Iterator<Item = Result<MaskedAddress, RunError>> + '_ {
        self.conflicts.stream(&self.source)
    }

    /// What it holds of each partition, by slot. In memory.
    pub fn slots(&self) -> impl Iterator<Item = &SlotSummary> {
        self.slots.values()
    }

    /// What it holds of a partition. In memory.
    pub fn slot(&self, slot: Slot) -> Option<&SlotSummary> {
        self.slots.get(&slot)
    }

    /// The partition's first batch here.
    ///
    /// # Errors
    /// [`RunError`]
    pub fn first_extent(&self, slot: Slot) -> Result<Option<Extent>, RunError> {
        let Some(summary) = self.slot(slot) else { return Ok(None) };
        self.extent_by_batch(slot, summary.first_batch)
    }

    /// The partition's last batch here.
    ///
    /// # Errors
    /// [`RunError`]
    pub fn last_extent(&self, slot: Slot) -> Result<Option<Extent>, RunError> {
        self.extent_at_or_before(slot, Offset::new(u64::MAX))
    }

    /// The partition's last batch with a base offset of at most `offset`. It holds the record at
    /// `offset` if any batch here does.
    ///
    /// # Errors
    /// [`RunError`]
    pub fn extent_at_or_before(
        &self,
        slot: Slot,
        offset: Offset,
    ) -> Result<Option<Extent>, RunError> {
        let before = |row: &Extent| (row.slot, row.base_offset) <= (slot, offset);
        let found = self.extents.last_before(&self.source, before)?;
        Ok(found.filter(|extent| extent.slot == slot))
    }

    /// The batch with this number.
    ///
    /// # Errors
    /// [`RunError`]
    pub fn extent_by_batch(
        &self,
        slot: Slot,
        batch: BatchNumber,
    ) -> Result<Option<Extent>, RunError> {
        let before = |row: &Extent| row.key() < (slot, batch);
        let found = self.extents.first_behind(&self.source, before)?;
        Ok(found.filter(|extent| extent.key() == (slot, batch)))
    }

    /// The partition's first batch that was appended at `time` or later.
    ///
    /// # Errors
    /// [`RunError`]
    pub fn extent_by_time(&self, slot: Slot, time: Timestamp) -> Result<Option<Extent>, RunError> {
        let before = |row: &Extent| (row.slot, row.append_time) < (slot, time);
        let found = self.extents.first_behind(&self.source, before)?;
        Ok(found.filter(|extent| extent.slot == slot))
    }

    /// The partition's batches from number `from` on, at most `max`.
    ///
    /// # Errors
    /// [`RunError`]
    pub fn extents_from(
        &self,
        slot: Slot,
        from: BatchNumber,
        max: usize,
    ) -> Result<Vec<Extent>, RunError> {
        let before = |row: &Extent| row.key() < (slot, from);
        self.extents.range(&self.source, before, |row| row.slot == slot, max)
    }

    /// The offsets of an order key's events in a partition behind `after` (from the first without
    /// it), ascending, at most `max`.
    ///
    /// # Errors
    /// [`RunError`]
    pub fn order(
        &self,
        hash: u128,
        slot: Slot,
        after: Option<Offset>,
        max: usize,
    ) -> Result<Vec<Offset>, RunError> {
        let before = |row: &OrderRow| match after {
            Some(after) => *row <= OrderRow { hash, slot, offset: after },
            None => (row.hash, row.slot) < (hash, slot),
        };
        let wanted = |row: &OrderRow| (row.hash, row.slot) == (hash, slot);
        let rows = self.orders.range(&self.source, before, wanted, max)?;
        Ok(rows.into_iter().map(|row| row.offset).collect())
    }

    /// Reads and verifies all of it.
    ///
    /// # Errors
    /// [`RunError`] with the first damage.
    pub fn verify(&self) -> Result<(), RunError> {
        self.entries().try_for_each(|row| row.map(drop))?;
        self.heads().try_for_each(|row| row.map(drop))?;
        self.extents().try_for_each(|row| row.map(drop))?;
        self.orders.stream(&self.source).try_for_each(|row| row.map(drop))?;
        self.conflicts().try_for_each(|row| row.map(drop))
    }
}

fn read_header(source: &Source, journal: JournalId, info: &RunInfo) -> Result<Header, RunError> {
    let mut bytes = [0; header::LEN];
    source.read(0, &mut bytes)?;
    let (header, checksum) = Header::decode(&bytes).map_err(|error| match error {
        HeaderError::Damaged => source.corrupt("its header is damaged"),
        HeaderError::Version(version) => RunError::Version { name: source.name.clone(), version },
    })?;
    let named = RunInfo {
        start: header.start,
        end: header.end,
        incarnation: header.incarnation,
        checksum,
        counts: header.counts,
    };
    if named != *info || header.journal != journal {
        return Err(source.corrupt("it is another run than the one that the manifest names"));
    }
    Ok(header)
}

/// Opens the sections in their order.
struct Opener<'a> {
    source: &'a Source,
    counts: [u64; 6],
    layout: header::Layout,
    section: usize,
    fences: &'a [u8],
}

impl Opener<'_> {
    fn table<R: Row>(&mut self) -> Result<Table<R>, RunError> {
        let section = self.section;
        self.section += 1;
        let (fences, rest) = self.fences.split_at(self.layout.fence_lens[section]);
        self.fences = rest;
        Table::open(self.layout.sections[section], self.counts[section], fences)
            .ok_or_else(|| self.source.corrupt("a fence is not well formed"))
    }
}
