//! redb itself on the crash model: what a transaction has committed is there after any power cut,
//! whole, and what it has not is there whole or not at all. The node does not depend on it, since it
//! makes its index anew after an unclean stop; this says what it would be worth otherwise.

use std::collections::BTreeMap;
use std::io;

use redb::{Builder, Database, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition};
use takt_storage::disk::sim::SimDisk;
use takt_storage::disk::{Disk, DiskFile};

use super::choices::{self, Effort};
use super::{Violation, ensure};
use crate::events::Dice;

const NAME: &str = "redb";
const TABLE: TableDefinition<u64, &[u8]> = TableDefinition::new("rows");
/// Bytes in memory.
const CACHE_BYTES: usize = 1 << 20;

type Rows = BTreeMap<u64, Vec<u8>>;

/// What was done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sum {
    /// Images that were opened.
    pub images: u64,
    /// Moments at which the power was cut.
    pub moments: u64,
    /// Images that redb refused to open before its first transaction had returned.
    pub unmade: u64,
}

#[derive(Debug)]
struct Backend(Box<dyn DiskFile>);

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_at(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_at(offset, data)
    }
}

fn database(file: Box<dyn DiskFile>) -> Result<Database, redb::DatabaseError> {
    Builder::new().set_cache_size(CACHE_BYTES).create_with_backend(Backend(file))
}

/// Commits transactions and cuts the power at every moment of them, every `every`th.
///
/// # Errors
/// The first thing that should not be.
///
/// # Panics
/// If redb fails on a disk without a fault.
pub fn cut(seed: u64, count: u64, every: usize, effort: Effort) -> Result<Sum, Violation> {
    let disk = SimDisk::new();
    let file = disk.create(NAME).expect("an empty disk");
    disk.sync_dir().expect("the disk has no fault");
    disk.record();
    let database = database(file).expect("the disk has no fault");
    let mut dice = Dice::new(seed);
    let mut rows = Rows::new();
    // The rows behind each transaction, and when it had returned.
    let mut states = vec![(0, Rows::new())];
    for _ in 0..count {
        let write = database.begin_write().expect("the disk has no fault");
        {
            let mut table = write.open_table(TABLE).expect("the disk has no fault");
            for _ in 0..=dice.below(12) {
                let key = dice.below(40);
                if dice.below(4) == 0 {
                    rows.remove(&key);
                    table.remove(key).expect("the disk has no fault");
                } else {
                    let len = choices::below(&mut dice, 900);
                    let row = vec![dice.next_u64().to_le_bytes()[0]; len];
                    table.insert(key, &row[..]).expect("the disk has no fault");
                    rows.insert(key, row);
                }
            }
        }
        write.commit().expect("the disk has no fault");
        states.push((disk.operations(), rows.clone()));
    }
    let mut sum = Sum::default();
    for (at, moment) in disk.recorded().into_iter().step_by(every.max(1)) {
        sum.moments += 1;
        let committed = states.partition_point(|(returned, _)| *returned <= at) - 1;
        choices::images(&moment, effort, seed << 20 | at, &mut |image| {
            sum.images += 1;
            match read(&image) {
                Ok(found) => {
                    let whole = states[committed..].iter().take(2).any(|(_, rows)| *rows == found);
                    ensure(whole, "redb", || {
                        format!("operation {at}: it is not behind transaction {committed}")
                    })
                }
                Err(_) if committed == 0 => {
                    sum.unmade += 1;
                    Ok(())
                }
                Err(error) => Err(Violation::new(
                    "redb",
                    format!("operation {at}: it does not open: {error}"),
                )),
            }
        })?;
    }
    Ok(sum)
}

fn read(image: &SimDisk) -> Result<Rows, Box<redb::Error>> {
    let boxed = |error: redb::Error| Box::new(error);
    let file = image.open(NAME, true).map_err(|error| boxed(redb::Error::Io(error)))?;
    let database = database(file).map_err(|error| boxed(error.into()))?;
    let read = database.begin_read().map_err(|error| boxed(error.into()))?;
    let table = match read.open_table(TABLE) {
        Ok(table) => table,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Rows::new()),
        Err(error) => return Err(boxed(error.into())),
    };
    let rows = table.iter().map_err(|error| boxed(error.into()))?;
    rows.map(|row| {
        let (key, value) = row.map_err(|error| boxed(error.into()))?;
        Ok((key.value(), value.value().to_vec()))
    })
    .collect()
}
