//! Writes a run: sorts what it gets, writes it front to back, and gives it its name when it is
//! durable.

use std::{collections::BTreeMap, io};

use takt_protocol::words::PartitionChain;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::{
    extent::{Extent, MaskedAddress, OrderRow, Slot, SlotSummary},
    header::{self, Header, rows_per_block},
    info::{RunCounts, RunInfo},
    row::Row,
};
use crate::{
    disk::{Disk, DiskFile},
    journal::{Incarnation, JournalId, Position},
    ledger::{HeadEntry, LedgerEntry},
};

/// What a run is made from, frozen at the roll; in any order.
#[derive(Debug, Clone)]
pub struct RunInput {
    /// The journal.
    pub journal: JournalId,
    /// Where its file starts.
    pub start: Position,
    /// The exclusive end of what the file covers.
    pub end: Position,
    /// The file's incarnation.
    pub incarnation: Incarnation,
    /// What the file taught the ledger. Of entries for one content the last one counts.
    pub ledger: Vec<LedgerEntry>,
    /// The heads of the order keys that have events in the file. Of two for one key the last one
    /// counts.
    pub heads: Vec<HeadEntry>,
    /// The file's batches.
    pub extents: Vec<Extent>,
    /// Each partition's chain before its first batch in the file.
    pub chains: BTreeMap<Slot, PartitionChain>,
    /// The file's events with an order key.
    pub orders: Vec<OrderRow>,
    /// The conflicts that the file listed.
    pub conflicts: Vec<MaskedAddress>,
}

/// Why a run was not written.
#[derive(Debug, thiserror::Error)]
#[error("the run {name} could not be written")]
pub struct RunWriteError {
    /// The file's name.
    pub name: String,
    /// What the disk said.
    #[source]
    pub error: io::Error,
}

/// Writes runs.
#[derive(Debug)]
pub struct RunWriter;

impl RunWriter {
    /// Writes a run and makes it durable under its name; one that is there under that name, from
    /// an earlier attempt, is replaced. The same input gives the same bytes.
    ///
    /// # Errors
    /// [`RunWriteError`] if the disk fails; what was written is removed if that is possible, and
    /// at the next attempt otherwise.
    ///
    /// # Panics
    /// If a partition with batches has no chain.
    pub fn write(disk: &dyn Disk, mut input: RunInput) -> Result<RunInfo, RunWriteError> {
        let slots = input.prepare();
        let mut info = RunInfo {
            start: input.start,
            end: input.end,
            incarnation: input.incarnation,
            checksum: 0,
            counts: RunCounts {
                ledger: input.ledger.len() as u64,
                heads: input.heads.len() as u64,
                extents: input.extents.len() as u64,
                orders: input.orders.len() as u64,
                conflicts: input.conflicts.len() as u64,
                slots: slots.len() as u64,
            },
        };
        let name = info.name();
        let temporary = format!("{name}.tmp");
        match write_file(disk, &temporary, &name, &input, &slots, info.counts) {
            Ok(checksum) => {
                info.checksum = checksum;
                Ok(info)
            }
            Err(error) => {
                // The first error counts; a rest is removed at the next attempt.
                let _ = disk.remove(&temporary);
                Err(RunWriteError { name, error })
            }
        }
    }
}

impl RunInput {
    /// Sorts all and drops what is overtaken; returns the partitions' summaries.
    fn prepare(&mut self) -> Vec<SlotSummary> {
        sort_last_wins(&mut self.ledger);
        sort_last_wins(&mut self.heads);
        sort_last_wins(&mut self.extents);
        sort_last_wins(&mut self.orders);
        sort_last_wins(&mut self.conflicts);
        let slots = self.extents.chunk_by(|a, b| a.slot == b.slot);
        let summaries = slots.map(|extents| {
            let chain = self.chains.get(&extents[0].slot);
            let chain = *chain.expect("each partition in a file has a chain before it");
            SlotSummary::of(extents, chain).expect("a group is not empty")
        });
        summaries.collect()
    }
}

fn sort_last_wins<R: Row>(rows: &mut Vec<R>) {
    rows.sort_by_key(Row::key);
    rows.dedup_by(|later, kept| {
        let same = later.key() == kept.key();
        if same {
            *kept = *later;
        }
        same
    });
}

fn write_file(
    disk: &dyn Disk,
    temporary: &str,
    name: &str,
    input: &RunInput,
    slots: &[SlotSummary],
    counts: RunCounts,
) -> io::Result<u128> {
    match disk.remove(temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let file = disk.create(temporary)?;
    let mut sections = Sections { file: &*file, at: header::LEN as u64, fences: Vec::new() };
    sections.write(&input.ledger)?;
    sections.write(&input.heads)?;
    sections.write(&input.extents)?;
    sections.write(&input.orders)?;
    sections.write(&input.conflicts)?;
    sections.write(slots)?;
    let Sections { at, fences, .. } = sections;
    if !fences.is_empty() {
        file.write_at(at, &fences)?;
    }
    let header = Header {
        journal: input.journal,
        incarnation: input.incarnation,
        start: input.start,
        end: input.end,
        counts,
        fences_hash: xxh3_128(&fences),
    };
    let (bytes, checksum) = header.encode();
    file.write_at(0, &bytes)?;
    file.sync_all()?;
    disk.rename(temporary, name)?;
    disk.sync_dir()?;
    Ok(checksum)
}

/// Writes section behind section and gathers their fences.
struct Sections<'a> {
    file: &'a dyn DiskFile,
    at: u64,
    fences: Vec<u8>,
}

impl Sections<'_> {
    fn write<R: Row>(&mut self, rows: &[R]) -> io::Result<()> {
        let mut block = Vec::with_capacity(header::BLOCK_MAX);
        for rows in rows.chunks(rows_per_block(R::LEN)) {
            block.clear();
            for row in rows {
                row.encode(&mut block);
            }
            debug_assert_eq!(block.len(), rows.len() * R::LEN);
            self.fences.extend_from_slice(&block[..R::LEN]);
            self.fences.extend_from_slice(&xxh3_64(&block).to_le_bytes());
            self.file.write_at(self.at, &block)?;
            self.at += block.len() as u64;
        }
        Ok(())
    }
}
