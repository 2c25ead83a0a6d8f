//! The disk seam: one directory of flat files, and nothing else.
//!
//! All file access of the node goes through [`Disk`] and [`DiskFile`], so that a test can put
//! [`sim::SimDisk`] in place of [`RealDisk`] and cut the power between any two operations.
//!
//! What a disk promises, and what it does not:
//! - a write is durable after the file's sync returned, a name after [`Disk::sync_dir`] returned;
//! - before that any subset of the written sectors, lengths and names may survive a power cut;
//! - after a failed sync nothing is known about what was written before it. A sync is never
//!   tried again, neither here nor by a caller.

mod aligned;
mod counted;
mod helper;
mod real;
pub mod sim;

use std::{fmt, io, ops::Range};

pub use aligned::{ALIGNMENT, AlignedBuf};
pub use counted::{CountedDisk, DiskCounters};
pub use real::{DiskLock, LockError, RealDisk};

/// The longest file name in bytes.
pub const FILE_NAME_MAX: usize = 128;

/// One directory with flat file names.
pub trait Disk: fmt::Debug + Send + Sync + 'static {
    /// Makes an empty file that can be read and written.
    ///
    /// # Errors
    /// `AlreadyExists` if the name is taken; `InvalidInput` if it is not a flat file name.
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;

    /// Opens an existing file to read, and to write where `write` is set.
    ///
    /// # Errors
    /// `NotFound` if there is none.
    fn open(&self, name: &str, write: bool) -> io::Result<Box<dyn DiskFile>>;

    /// Gives a file another name, in place of the file that may have it. Files that are open stay
    /// open.
    ///
    /// # Errors
    /// `NotFound` if there is no file `from`.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a name. Who has the file open may go on reading it.
    ///
    /// # Errors
    /// `NotFound` if there is none.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// All regular files with their lengths in bytes, sorted by name.
    ///
    /// # Errors
    /// What the file system says.
    fn list(&self) -> io::Result<Vec<(String, u64)>>;

    /// Makes all names durable. Never tried again after an error.
    ///
    /// # Errors
    /// What the file system says; the caller must stop writing.
    fn sync_dir(&self) -> io::Result<()>;

    /// Bytes that can still be allocated.
    ///
    /// # Errors
    /// What the file system says.
    fn free_bytes(&self) -> io::Result<u64>;
}

/// An open file, which any number of threads may share.
pub trait DiskFile: fmt::Debug + Send + Sync + 'static {
    /// Fills `bytes` from the file's offset `at`, all of it.
    ///
    /// # Errors
    /// `UnexpectedEof` if the file ends before; what the file system says.
    fn read_at(&self, at: u64, bytes: &mut [u8]) -> io::Result<()>;

    /// Reads `len` bytes from the file's offset `at` into `buffer`, in place of what it holds, and
    /// says where in it they lie. For what is not read again soon: it goes past the page cache where
    /// that is possible.
    ///
    /// # Errors
    /// As [`DiskFile::read_at`].
    fn read_once(&self, at: u64, len: usize, buffer: &mut AlignedBuf) -> io::Result<Range<usize>> {
        buffer.resize(len);
        self.read_at(at, buffer.as_mut_slice())?;
        Ok(0..len)
    }

    /// Says that these bytes will be asked for soon with [`DiskFile::read_at`], so that a disk may fetch
    /// them while others are read. Nothing comes of it where it cannot.
    fn prefetch(&self, _at: u64, _len: u64) {}

    /// Says what [`DiskFile::read_once`] will be asked for next, so that a disk may begin with it;
    /// with a `len` of 0 that nothing will, and what was begun is forgotten.
    fn read_ahead(&self, _at: u64, _len: usize) {}

    /// Writes all of `bytes` at the file's offset `at`; the file grows where needed.
    ///
    /// # Errors
    /// `StorageFull` or `QuotaExceeded` if there is no space; a part may have been written.
    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()>;

    /// Writes the first `len` bytes of `buffer` at the file's offset `at` and takes them out of it. A
    /// disk may do it while the caller goes on: then reads need not see them before the next sync,
    /// which waits for them, as every other call that changes the file does. For what is written front
    /// to back.
    ///
    /// # Errors
    /// As [`DiskFile::write_at`], also of an earlier one: each error is told once, by the next call
    /// that changes the file or by its sync.
    fn write_behind(&self, at: u64, buffer: &mut AlignedBuf, len: usize) -> io::Result<()> {
        self.write_at(at, &buffer[..len])?;
        buffer.consume(len);
        Ok(())
    }

    /// Makes the content durable, and the length where it is needed to read it (`fdatasync`).
    ///
    /// # Errors
    /// What the file system says; nothing is known about earlier writes then. Where one of them is
    /// known to have failed, that, and nothing was synced.
    fn sync_data(&self) -> io::Result<()>;

    /// Makes content and metadata durable (`fsync`).
    ///
    /// # Errors
    /// As [`DiskFile::sync_data`].
    fn sync_all(&self) -> io::Result<()>;

    /// The length in bytes.
    ///
    /// # Errors
    /// What the file system says.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file has no bytes.
    ///
    /// # Errors
    /// What the file system says.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Cuts the file or extends it with zeros.
    ///
    /// # Errors
    /// What the file system says.
    fn set_len(&self, bytes: u64) -> io::Result<()>;

    /// Nothing more is written: what only writing needs is given back.
    fn end_writing(&self) {}
}

/// Whether an error says that there is no space left, as opposed to a broken disk.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Refuses what is not one flat file name.
fn check_name(name: &str) -> io::Result<()> {
    let flat = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if flat && !name.is_empty() && name.len() <= FILE_NAME_MAX && !name.starts_with('.') {
        Ok(())
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "not a flat file name"))
    }
}
