//! What side files and packs have in common: a name that comes last, and errors that tell it.

use std::io;

use bytes::Bytes;
use takt_protocol::batch::StoredBatch;
use takt_protocol::chunks::Chunks;
use takt_protocol::words::BatchNumber;
use xxhash_rust::xxh3::xxh3_128;

use super::KeptError;
use crate::disk::{Disk, DiskFile};

/// Begins the file that is to get `name`; what an earlier attempt left is removed.
pub(super) fn create(disk: &dyn Disk, name: &str) -> io::Result<Box<dyn DiskFile>> {
    discard(disk, name)?;
    disk.create(&temporary(name))
}

/// Gives a durable file its name.
pub(super) fn name(disk: &dyn Disk, name: &str) -> io::Result<()> {
    disk.rename(&temporary(name), name)?;
    disk.sync_dir()
}

/// Removes what was begun of the file that was to get `name`, if there is anything.
pub(super) fn discard(disk: &dyn Disk, name: &str) -> io::Result<()> {
    match disk.remove(&temporary(name)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn temporary(name: &str) -> String {
    format!("{name}.tmp")
}

/// What the manifest says of a file, and where that has its index.
pub(super) struct Named {
    pub(super) magic: [u8; 8],
    pub(super) version: u16,
    pub(super) len_bytes: u64,
    /// The checksum of its header.
    pub(super) checksum: u128,
    pub(super) header_len: usize,
    pub(super) rows: u64,
    pub(super) row_len: usize,
    pub(super) index_at: IndexAt,
}

/// Where a file has its index.
pub(super) enum IndexAt {
    /// Behind the header.
    Front,
    /// Behind all else.
    End,
}

/// An open file, with the name for its errors.
#[derive(Debug)]
pub(super) struct Source {
    name: String,
    file: Box<dyn DiskFile>,
}

impl Source {
    pub(super) fn open(disk: &dyn Disk, name: String) -> Result<Self, KeptError> {
        match disk.open(&name, false) {
            Ok(file) => Ok(Self { name, file }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(KeptError::Missing { name })
            }
            Err(error) => Err(KeptError::Io { name, error }),
        }
    }

    /// The rows of the index, once they and the header are those that the manifest vouches for.
    /// `header` lays out what the header must be for an index of this hash, up to its checksum, and
    /// that.
    pub(super) fn index(
        &self,
        named: &Named,
        header: impl FnOnce(u128) -> (Vec<u8>, u128),
    ) -> Result<Bytes, KeptError> {
        let len = self.file.len().map_err(|error| self.io(error))?;
        if len != named.len_bytes {
            return Err(self.corrupt("its length is wrong"));
        }
        let index_len = usize::try_from(named.rows).ok().and_then(|n| n.checked_mul(named.row_len));
        let whole = index_len.and_then(|index_len| index_len.checked_add(named.header_len));
        // Before anything of that length is allocated.
        let index_len = index_len.filter(|_| whole.is_some_and(|whole| whole as u64 <= len));
        let index_len = index_len.ok_or_else(|| self.corrupt("it is too short"))?;
        let head = self.read(0, named.header_len)?;
        let version = u16::from_le_bytes([head[8], head[9]]);
        if head[..8] == named.magic && version != named.version {
            return Err(KeptError::Version { name: self.name.clone(), version });
        }
        let index_at = match named.index_at {
            IndexAt::Front => named.header_len as u64,
            IndexAt::End => len - index_len as u64,
        };
        let index = self.read(index_at, index_len)?;
        let (mut expected, checksum) = header(xxh3_128(&index));
        expected.extend_from_slice(&checksum.to_le_bytes());
        if checksum == named.checksum && expected == head {
            Ok(index)
        } else {
            Err(self.corrupt("its header or index is not the named one"))
        }
    }

    pub(super) fn read(&self, at: u64, len: usize) -> Result<Bytes, KeptError> {
        let mut bytes = vec![0; len];
        self.file.read_at(at, &mut bytes).map_err(|error| self.io(error))?;
        Ok(bytes.into())
    }

    /// The whole batch with this number.
    pub(super) fn batch(
        &self,
        bytes: Bytes,
        number: BatchNumber,
    ) -> Result<StoredBatch, KeptError> {
        let len = bytes.len();
        let batch = StoredBatch::take(&mut Chunks::from(bytes)).ok();
        let batch = batch.filter(|batch| batch.len() == len);
        let batch = batch.filter(|batch| batch.header().batch_number == number);
        batch.ok_or_else(|| self.corrupt("a batch is none"))
    }

    pub(super) fn corrupt(&self, what: &'static str) -> KeptError {
        KeptError::Corrupt { name: self.name.clone(), what }
    }

    fn io(&self, error: io::Error) -> KeptError {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            self.corrupt("it is too short")
        } else {
            KeptError::Io { name: self.name.clone(), error }
        }
    }
}
