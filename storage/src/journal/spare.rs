//! Files that are written full before the journal needs them, so that a commit's sync touches no
//! file-system metadata.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{
    layout::{narrow, wide},
    names,
};
use crate::disk::{AlignedBuf, Disk, DiskFile};

/// What one step of the making writes and syncs, in bytes.
pub const SLICE_BYTES: usize = 4 << 20;
/// What is written at a time, in bytes.
const ZEROS: u64 = 1 << 20;

/// A file of full length that can become the journal's next one.
#[derive(Debug)]
pub struct SpareFile {
    pub(crate) name: String,
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) len_bytes: u64,
    /// It may hold old content; otherwise it holds zeros.
    pub(crate) recycled: bool,
}

impl SpareFile {
    /// Its length in bytes.
    pub const fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    /// Opens what an earlier run left or what the journal kept for need.
    pub(crate) fn reopen(disk: &dyn Disk, name: String) -> io::Result<Self> {
        let file: Arc<dyn DiskFile> = disk.open(&name, true)?.into();
        let len_bytes = file.len()?;
        Ok(Self { name, file, len_bytes, recycled: true })
    }
}

/// Makes spare files; a background thread runs it at its own pace.
#[derive(Debug, Clone)]
pub struct SpareMaker {
    disk: Arc<dyn Disk>,
    /// The next free number, shared with the journal, which recycles.
    numbers: Arc<AtomicU64>,
}

impl SpareMaker {
    pub(crate) fn new(disk: Arc<dyn Disk>, numbers: Arc<AtomicU64>) -> Self {
        Self { disk, numbers }
    }

    /// Begins a spare file of `len_bytes`.
    ///
    /// # Errors
    /// What the disk says.
    pub fn begin(&self, len_bytes: u64) -> io::Result<SpareWork> {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        SpareWork::begin(Arc::clone(&self.disk), names::spare(number), len_bytes)
    }

    /// Begins reserve chunk `chunk`, one of [`super::Journal::reserve_missing`].
    ///
    /// # Errors
    /// What the disk says.
    pub fn begin_reserve(&self, chunk: usize, len_bytes: u64) -> io::Result<SpareWork> {
        SpareWork::begin(Arc::clone(&self.disk), names::reserve(chunk), len_bytes)
    }

    /// Makes a spare file of `len_bytes` in one go.
    ///
    /// # Errors
    /// What the disk says; nothing is left of the file then.
    pub fn make(&self, len_bytes: u64) -> io::Result<SpareFile> {
        self.begin(len_bytes)?.finish()
    }
}

/// A spare file in the making.
#[derive(Debug)]
pub struct SpareWork {
    disk: Arc<dyn Disk>,
    name: String,
    file: Arc<dyn DiskFile>,
    done: u64,
    len_bytes: u64,
}

impl SpareWork {
    pub(crate) fn begin(disk: Arc<dyn Disk>, name: String, len_bytes: u64) -> io::Result<Self> {
        let temporary = names::temporary(&name);
        remove_if_there(&*disk, &temporary)?;
        let file = disk.create(&temporary)?.into();
        Ok(Self { disk, name, file, done: 0, len_bytes })
    }

    /// Writes and syncs one slice of zeros. Returns the file when it is full and has its name.
    ///
    /// # Errors
    /// What the disk says; the file is removed, and the work must not go on.
    pub fn step(&mut self) -> io::Result<Option<SpareFile>> {
        self.step_of(SLICE_BYTES)
    }

    /// As [`SpareWork::step`], of so many bytes.
    ///
    /// # Errors
    /// As [`SpareWork::step`].
    pub fn step_of(&mut self, bytes: usize) -> io::Result<Option<SpareFile>> {
        self.write_slice(bytes).inspect_err(|_| {
            // The error that counts is the one that is returned.
            self.remove();
        })
    }

    /// Gives it up, and the space that it takes.
    pub fn abandon(self) {
        self.remove();
    }

    /// How long the file will be, in bytes.
    pub const fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    /// What cannot be removed is deleted at the next start.
    fn remove(&self) {
        let _ = self.disk.remove(&names::temporary(&self.name));
    }

    /// Makes all the rest.
    ///
    /// # Errors
    /// As [`SpareWork::step`].
    pub fn finish(mut self) -> io::Result<SpareFile> {
        loop {
            if let Some(spare) = self.step()? {
                return Ok(spare);
            }
        }
    }

    fn write_slice(&mut self, bytes: usize) -> io::Result<Option<SpareFile>> {
        let end = self.len_bytes.min(self.done + wide(bytes));
        write_zeros(&*self.file, self.done, end)?;
        self.done = end;
        if end < self.len_bytes {
            self.file.sync_data()?;
            return Ok(None);
        }
        self.file.sync_all()?;
        self.disk.rename(&names::temporary(&self.name), &self.name)?;
        self.disk.sync_dir()?;
        Ok(Some(SpareFile {
            name: self.name.clone(),
            file: Arc::clone(&self.file),
            len_bytes: self.len_bytes,
            recycled: false,
        }))
    }
}

/// Fills `from..to` of a file with zeros.
pub(crate) fn write_zeros(file: &dyn DiskFile, from: u64, to: u64) -> io::Result<()> {
    let mut zeros = AlignedBuf::default();
    zeros.resize(narrow((to - from).min(ZEROS)));
    let mut at = from;
    while at < to {
        let len = (to - at).min(ZEROS);
        file.write_at(at, &zeros[..narrow(len)])?;
        at += len;
    }
    Ok(())
}

/// Removes a file that may be missing.
pub(crate) fn remove_if_there(disk: &dyn Disk, name: &str) -> io::Result<()> {
    match disk.remove(name) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}
