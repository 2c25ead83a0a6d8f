//! A run that is being written: rows front to back, then the fences, the filters, the header; it
//! gets its name when all is durable.

use std::io;

use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::{
    filter::FilterBuilder,
    header::{self, Filters, Header, Section, Version},
    info::{RunCounts, RunInfo},
    row::Row,
};
use crate::{
    disk::{ALIGNMENT, AlignedBuf, Disk, DiskFile},
    journal::{Incarnation, JournalId, Position},
    ledger::Entry,
};

/// What is written at a time, in bytes.
const WRITE_BYTES: usize = 256 << 10;

/// What a run covers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Covered {
    pub(super) journal: JournalId,
    pub(super) incarnation: Incarnation,
    pub(super) start: Position,
    pub(super) end: Position,
    pub(super) new_orders: u64,
}

/// The file, and what its end will say of the rows so far.
#[derive(Debug)]
pub(super) struct RunFile {
    name: String,
    file: Box<dyn DiskFile>,
    /// Where `pending` goes.
    at: u64,
    /// What is not written yet: the header's place, blocks, and behind them the one that is filled.
    pending: AlignedBuf,
    block_at: usize,
    section: Option<Section>,
    rows_in_block: usize,
    first_row: Vec<u8>,
    row: Vec<u8>,
    fences: Vec<u8>,
    counts: [u64; 6],
    filter: Option<FilterBuilder>,
    filters: [Vec<u8>; 2],
}

impl RunFile {
    /// Begins the file that will get `name`; what an earlier attempt left is removed.
    pub(super) fn create(disk: &dyn Disk, name: String) -> io::Result<Self> {
        let temporary = temporary(&name);
        match disk.remove(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut pending = AlignedBuf::with_capacity(WRITE_BYTES + 2 * ALIGNMENT);
        pending.resize(header::LEN);
        Ok(Self {
            file: disk.create(&temporary)?,
            name,
            at: 0,
            pending,
            block_at: header::LEN,
            section: None,
            rows_in_block: 0,
            first_row: Vec::new(),
            row: Vec::new(),
            fences: Vec::new(),
            counts: [0; 6],
            filter: None,
            filters: [Vec::new(), Vec::new()],
        })
    }

    /// Begins a section of keys, at most so many.
    pub(super) fn begin_keys(&mut self, section: Section, rows_max: u64) -> io::Result<()> {
        self.begin(section)?;
        self.filter = Some(FilterBuilder::new(rows_max));
        Ok(())
    }

    /// Begins a section: they come in their order.
    pub(super) fn begin(&mut self, section: Section) -> io::Result<()> {
        self.end_section()?;
        self.section = Some(section);
        Ok(())
    }

    /// Adds a key: they come in their order.
    pub(super) fn push_key<R: Row + Entry>(&mut self, row: &R) -> io::Result<()> {
        if let Some(filter) = &mut self.filter {
            filter.push(row.hash());
        }
        self.push(row)
    }

    /// Adds a key as another run holds it.
    pub(super) fn push_stored_key(&mut self, hash: u128, row: &[u8]) -> io::Result<()> {
        if let Some(filter) = &mut self.filter {
            filter.push(hash);
        }
        self.push_bytes(row)
    }

    /// Adds a row: they come in their order.
    pub(super) fn push<R: Row>(&mut self, row: &R) -> io::Result<()> {
        let mut bytes = std::mem::take(&mut self.row);
        bytes.clear();
        row.encode(&mut bytes);
        debug_assert_eq!(bytes.len(), R::LEN);
        let pushed = self.push_bytes(&bytes);
        self.row = bytes;
        pushed
    }

    fn push_bytes(&mut self, row: &[u8]) -> io::Result<()> {
        let section = self.section.expect("a section was begun");
        if self.rows_in_block == section.rows_per_block(Version::V2) {
            self.end_block()?;
        }
        self.pending.extend_from_slice(row);
        if self.rows_in_block == 0 {
            self.first_row.clear();
            self.first_row.extend_from_slice(row);
        }
        self.rows_in_block += 1;
        self.counts[section as usize] += 1;
        Ok(())
    }

    /// Makes durable what was written so far, so that little is left for the end.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Writes what is missing and makes it durable under its name.
    pub(super) fn finish(mut self, disk: &dyn Disk, covered: Covered) -> io::Result<RunInfo> {
        self.end_section()?;
        self.file.write_at(self.at, &self.pending)?;
        self.at += self.pending.len() as u64;
        let Covered { journal, incarnation, start, end, new_orders } = covered;
        let counts = RunCounts::from_array(self.counts);
        let fences_hash = xxh3_128(&self.fences);
        let [mut filters, mut heads] = self.filters;
        let lens = [filters.len() as u64, heads.len() as u64];
        for part in [&mut self.fences, &mut filters, &mut heads] {
            if !part.is_empty() {
                self.file.write_at(self.at, part)?;
                self.at += part.len() as u64;
            }
        }
        filters.append(&mut heads);
        let filters = Filters { lens, hash: xxh3_128(&filters) };
        let version = Version::V2;
        let header = Header {
            version,
            journal,
            incarnation,
            start,
            end,
            counts,
            fences_hash,
            new_orders,
            filters,
        };
        let (bytes, checksum) = header.encode();
        self.file.write_at(0, &bytes)?;
        #[cfg(takt_planted)]
        if takt_protocol::planted::is("run_not_synced") {
            disk.rename(&temporary(&self.name), &self.name)?;
            return Ok(RunInfo { start, end, incarnation, checksum, counts });
        }
        self.file.sync_all()?;
        disk.rename(&temporary(&self.name), &self.name)?;
        disk.sync_dir()?;
        Ok(RunInfo { start, end, incarnation, checksum, counts })
    }

    fn end_section(&mut self) -> io::Result<()> {
        self.end_block()?;
        let filter = self.filter.take().map(FilterBuilder::finish).unwrap_or_default();
        match self.section {
            Some(Section::Ledger) => self.filters[0] = filter,
            Some(Section::Heads) => self.filters[1] = filter,
            Some(Section::Extents | Section::Orders | Section::Conflicts | Section::Slots)
            | None => {}
        }
        Ok(())
    }

    fn end_block(&mut self) -> io::Result<()> {
        if self.rows_in_block > 0 {
            self.fences.extend_from_slice(&self.first_row);
            let checksum = xxh3_64(&self.pending[self.block_at..]);
            self.fences.extend_from_slice(&checksum.to_le_bytes());
            self.rows_in_block = 0;
            self.block_at = self.pending.len();
        }
        if self.pending.len() >= WRITE_BYTES + ALIGNMENT { self.write() } else { Ok(()) }
    }

    /// Writes as much of what is pending as a disk takes without a copy.
    fn write(&mut self) -> io::Result<()> {
        let len = self.pending.len() / ALIGNMENT * ALIGNMENT;
        self.file.write_behind(self.at, &mut self.pending, len)?;
        self.at += len as u64;
        self.block_at -= len;
        Ok(())
    }
}

/// Under which name a run is written.
pub(super) fn temporary(name: &str) -> String {
    format!("{name}.tmp")
}
