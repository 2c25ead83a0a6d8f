//! Listings for operators, in redb: open conflicts with their details, and when each sealed file's
//! batches were appended. Nothing else reads it, and no recovery needs it: it is made from the
//! sealed files, and made again whenever there is any doubt.
//!
//! It is trusted only from a clean stop to the next start. [`Index::close`] writes the journal's
//! end and a checksum of every page beside it, into `index.stamp`; [`Index::open_if_stamped`]
//! takes it only if both agree, and removes the stamp before anything is changed. In between each
//! page that is read is compared with what was written, so that rot is an error and never a wrong
//! listing.

mod pages;
mod rows;
mod stamp;

use std::{collections::BTreeSet, io, ops::RangeInclusive, sync::Arc};

use redb::{
    Builder, Database, Durability, ReadableDatabase, ReadableTable, ReadableTableMetadata,
    TableDefinition,
};
use takt_protocol::words::{BatchNumber, Timestamp};

use crate::{
    disk::Disk,
    journal::Position,
    runs::{MaskedAddress, Slot, SlotSummary},
};
use pages::{Backend, Pages};
pub use rows::ConflictRow;
pub use stamp::Stamp;

const NAME: &str = "index.redb";
const CACHE_BYTES: usize = 4 << 20;

type ConflictKey = (u32, u64, u16);
/// Slot, first append time, start of the file.
type TimeKey = (u32, i64, u64);

/// Open conflicts by slot, batch number, index.
const CONFLICTS: TableDefinition<ConflictKey, &[u8]> = TableDefinition::new("conflicts");
/// Encoded slot summaries.
const TIMES: TableDefinition<TimeKey, &[u8]> = TableDefinition::new("times");

/// Starts of the sealed files that are in.
const FILES: TableDefinition<u64, ()> = TableDefinition::new("files");

/// Why the index gives no answer. The caller deletes it with [`Index::create`] and fills it anew.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// redb refused, or found damage.
    #[error("the index failed")]
    Redb(#[source] Box<redb::Error>),
    /// A row is not what was written.
    #[error("a row of the index is damaged")]
    Row,
    /// The disk failed beside redb.
    #[error("the disk failed under the index")]
    Disk(#[from] io::Error),
}

/// What a sealed file brings into the listings.
#[derive(Debug, Clone)]
pub struct SealedFileListing {
    /// Where the journal file starts.
    pub start: Position,
    /// What it holds of each partition: [`crate::runs::RunReader::slots`].
    pub slots: Vec<SlotSummary>,
    /// The conflicts that it listed and that are open.
    pub conflicts: Vec<ConflictRow>,
}

/// The listings. Any number of threads may read; writers wait for each other.
#[derive(Debug)]
pub struct Index {
    database: Database,
    pages: Arc<Pages>,
    disk: Arc<dyn Disk>,
}

impl Index {
    /// Makes an empty index in place of what is there.
    ///
    /// # Errors
    /// [`IndexError`] if the disk fails.
    pub fn create(disk: Arc<dyn Disk>) -> Result<Self, IndexError> {
        stamp::remove(&*disk)?;
        match disk.remove(NAME) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            Ok(()) | Err(_) => {}
        }
        let pages = Arc::new(Pages::open(disk.create(NAME)?)?);
        let index = Self::start(disk, pages)?;
        index.change(|_| Ok(()))?;
        Ok(index)
    }

    /// Opens the index that the last clean stop left at `stamp`. `None` if there is none, it is of
    /// another moment, or one bit of it is not what was written.
    ///
    /// # Errors
    /// [`IndexError`] if the disk or redb fails.
    pub fn open_if_stamped(disk: Arc<dyn Disk>, stamp: &Stamp) -> Result<Option<Self>, IndexError> {
        let Some(checksum) = stamp::read(&*disk, stamp)? else { return Ok(None) };
        let file = match disk.open(NAME, true) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let pages = Pages::open(file)?;
        if pages.checksum() != checksum {
            return Ok(None);
        }
        stamp::remove(&*disk)?;
        Self::start(disk, Arc::new(pages)).map(Some)
    }

    fn start(disk: Arc<dyn Disk>, pages: Arc<Pages>) -> Result<Self, IndexError> {
        let database = Builder::new()
            .set_cache_size(CACHE_BYTES)
            .create_with_backend(Backend::new(Arc::clone(&pages)))
            .map_err(redb)?;
        Ok(Self { database, pages, disk })
    }

    /// A clean stop at `stamp`: makes all durable and lets the next start use it.
    ///
    /// # Errors
    /// [`IndexError`]; the next start makes it anew.
    pub fn close(self, stamp: &Stamp) -> Result<(), IndexError> {
        let Self { database, pages, disk } = self;
        let write = database.begin_write().map_err(redb)?;
        write.commit().map_err(redb)?;
        database.close().map_err(redb)?;
        pages.sync()?;
        Ok(stamp::write(&*disk, stamp, pages.checksum())?)
    }

    /// Adds a sealed file; once or more often is the same.
    ///
    /// # Errors
    /// [`IndexError`]
    pub fn ingest(&self, listing: &SealedFileListing) -> Result<(), IndexError> {
        self.change(|tables| {
            tables.files.insert(listing.start.get(), ())?;
            for row in &listing.conflicts {
                tables.conflicts.insert(conflict_key(&row.address), row.encode().as_slice())?;
            }
            for summary in &listing.slots {
                let first_time = summary.first_time.as_micros();
                let key = (summary.slot.get(), first_time, listing.start.get());
                tables.times.insert(key, rows::encode_summary(summary).as_slice())?;
            }
            Ok(())
        })
    }

    /// Takes decided conflicts off the list.
    ///
    /// # Errors
    /// [`IndexError`]
    pub fn resolve(&self, decided: &[MaskedAddress]) -> Result<(), IndexError> {
        self.change(|tables| {
            for address in decided {
                tables.conflicts.remove(conflict_key(address))?;
            }
            Ok(())
        })
    }

    /// Takes a dropped file's times off the list; its open conflicts stay.
    ///
    /// # Errors
    /// [`IndexError`]
    pub fn drop_file(&self, start: Position) -> Result<(), IndexError> {
        self.change(|tables| {
            tables.files.remove(start.get())?;
            tables.times.retain(|(_, _, file), _| file != start.get())
        })
    }

    /// A partition's open conflicts behind `after` (from the first without it), by address, at
    /// most `max`.
    ///
    /// # Errors
    /// [`IndexError`]
    pub fn conflicts(
        &self,
        slot: Slot,
        after: Option<&MaskedAddress>,
        max: usize,
    ) -> Result<Vec<ConflictRow>, IndexError> {
        let read = self.database.begin_read().map_err(redb)?;
        let table = read.open_table(CONFLICTS).map_err(redb)?;
        let rows = table.range(conflicts_of(slot)).map_err(redb)?;
        let mut found = Vec::new();
        // The rows before `after` are few: conflicts are.
        for row in rows {
            let (key, value) = row.map_err(redb)?;
            if after.is_some_and(|after| key.value() <= conflict_key(after)) {
                continue;
            }
            if found.len() >= max {
                break;
            }
            let address = address_of(key.value());
            found.push(ConflictRow::decode(address, value.value()).ok_or(IndexError::Row)?);
        }
        Ok(found)
    }

    /// The sealed files that are in, by their starts.
    ///
    /// # Errors
    /// [`IndexError`]
    pub fn files(&self) -> Result<BTreeSet<Position>, IndexError> {
        let read = self.database.begin_read().map_err(redb)?;
        let table = read.open_table(FILES).map_err(redb)?;
        let starts = table.iter().map_err(redb)?;
        starts.map(|row| Ok(Position::new(row.map_err(redb)?.0.value()))).collect()
    }

    /// Adds open conflicts; once or more often is the same.
    ///
    /// # Errors
    /// [`IndexError`]
    pub fn list(&self, rows: &[ConflictRow]) -> Result<(), IndexError> {
        self.change(|tables| {
            for row in rows {
                tables.conflicts.insert(conflict_key(&row.address), row.encode().as_slice())?;
            }
            Ok(())
        })
    }

    /// What it has of each of these conflicts, in their order; `None` where one is not on the
    /// list.
    ///
    /// # Errors
    /// [`IndexError`]
    pub fn details(
        &self,
        addresses: &[MaskedAddress],
    ) -> Result<Vec<Option<ConflictRow>>, IndexError> {
        let read = self.database.begin_read().map_err(redb)?;
        let table = read.open_table(CONFLICTS).map_err(redb)?;
        let row = |address: &MaskedAddress| {
            let Some(value) = table.get(conflict_key(address)).map_err(redb)? else {
                return Ok(None);
            };
            ConflictRow::decode(*address, value.value()).map(Some).ok_or(IndexError::Row)
        };
        addresses.iter().map(row).collect()
    }

    /// One open conflict; `None` if it is not on the list.
    ///
    /// # Errors
    /// [`IndexError`]
    pub fn conflict(&self, address: &MaskedAddress) -> Result<Option<ConflictRow>, IndexError> {
        Ok(self.details(std::slice::from_ref(address))?.pop().flatten())
    }

    /// How many conflicts are open, over all partitions.
    ///
    /// # Errors
    /// [`IndexError`]
    pub fn conflict_count(&self) -> Result<u64, IndexError> {
        let read = self.database.begin_read().map_err(redb)?;
        read.open_table(CONFLICTS).map_err(redb)?.len().map_err(redb)
    }

    /// What the newest sealed file holds of the partition that had begun by `time`, with the
    /// file's start.
    ///
    /// # Errors
    /// [`IndexError`]
    pub fn file_at(
        &self,
        slot: Slot,
        time: Timestamp,
    ) -> Result<Option<(Position, SlotSummary)>, IndexError> {
        let read = self.database.begin_read().map_err(redb)?;
        let table = read.open_table(TIMES).map_err(redb)?;
        let until = (slot.get(), time.as_micros(), u64::MAX);
        let mut rows = table.range((slot.get(), i64::MIN, 0)..=until).map_err(redb)?;
        let Some(row) = rows.next_back() else { return Ok(None) };
        let (key, value) = row.map_err(redb)?;
        let summary = rows::decode_summary(value.value()).ok_or(IndexError::Row)?;
        Ok(Some((Position::new(key.value().2), summary)))
    }

    /// One transaction, not durable before [`Index::close`]: a crash means a new index anyway.
    fn change(
        &self,
        change: impl FnOnce(&mut Tables<'_>) -> Result<(), redb::StorageError>,
    ) -> Result<(), IndexError> {
        let mut write = self.database.begin_write().map_err(redb)?;
        write.set_durability(Durability::None).map_err(redb)?;
        {
            let mut tables = Tables {
                conflicts: write.open_table(CONFLICTS).map_err(redb)?,
                times: write.open_table(TIMES).map_err(redb)?,
                files: write.open_table(FILES).map_err(redb)?,
            };
            change(&mut tables).map_err(redb)?;
        }
        write.commit().map_err(redb)
    }
}

/// The tables of a transaction.
struct Tables<'a> {
    conflicts: redb::Table<'a, ConflictKey, &'static [u8]>,
    times: redb::Table<'a, TimeKey, &'static [u8]>,
    files: redb::Table<'a, u64, ()>,
}

fn redb(error: impl Into<redb::Error>) -> IndexError {
    IndexError::Redb(Box::new(error.into()))
}

fn conflict_key(address: &MaskedAddress) -> ConflictKey {
    (address.slot.get(), address.batch_number.get(), address.index)
}

fn address_of((slot, batch_number, index): ConflictKey) -> MaskedAddress {
    let batch_number = BatchNumber::new(batch_number);
    MaskedAddress { slot: Slot::new(slot), batch_number, index }
}

fn conflicts_of(slot: Slot) -> RangeInclusive<ConflictKey> {
    (slot.get(), 0, 0)..=(slot.get(), u64::MAX, u16::MAX)
}

#[cfg(test)]
mod tests;
