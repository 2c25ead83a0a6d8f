//! Counts what crosses the disk seam, over any disk.

use std::{
    io,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use super::{AlignedBuf, Disk, DiskFile};

/// Totals since the node's start. Failed calls count too, except reads.
#[derive(Debug, Default)]
pub struct DiskCounters {
    syncs: AtomicU64,
    bytes_written: AtomicU64,
    bytes_read: AtomicU64,
}

impl DiskCounters {
    /// Syncs of files and of the directory.
    pub fn syncs(&self) -> u64 {
        self.syncs.load(Relaxed)
    }

    /// Bytes handed to writes.
    pub fn bytes_written(&self) -> u64 {
        self.bytes_written.load(Relaxed)
    }

    /// Bytes that reads returned.
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read.load(Relaxed)
    }
}

/// A disk that counts and passes on.
#[derive(Debug)]
pub struct CountedDisk {
    inner: Arc<dyn Disk>,
    counters: Arc<DiskCounters>,
}

impl CountedDisk {
    /// Wraps `inner`; the counters start at 0.
    pub fn new(inner: Arc<dyn Disk>) -> Self {
        Self { inner, counters: Arc::default() }
    }

    /// The counters, which stay alive with whoever holds them.
    pub fn counters(&self) -> Arc<DiskCounters> {
        Arc::clone(&self.counters)
    }

    fn wrap(&self, inner: Box<dyn DiskFile>) -> Box<dyn DiskFile> {
        Box::new(CountedFile { inner, counters: self.counters() })
    }
}

impl Disk for CountedDisk {
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        self.inner.create(name).map(|file| self.wrap(file))
    }

    fn open(&self, name: &str, write: bool) -> io::Result<Box<dyn DiskFile>> {
        self.inner.open(name, write).map(|file| self.wrap(file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.inner.remove(name)
    }

    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        self.inner.list()
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.counters.syncs.fetch_add(1, Relaxed);
        self.inner.sync_dir()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.inner.free_bytes()
    }
}

#[derive(Debug)]
struct CountedFile {
    inner: Box<dyn DiskFile>,
    counters: Arc<DiskCounters>,
}

impl DiskFile for CountedFile {
    fn read_at(&self, at: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.inner.read_at(at, bytes)?;
        self.counters.bytes_read.fetch_add(bytes.len() as u64, Relaxed);
        Ok(())
    }

    fn read_once(&self, at: u64, len: usize, buffer: &mut AlignedBuf) -> io::Result<Range<usize>> {
        let read = self.inner.read_once(at, len, buffer)?;
        self.counters.bytes_read.fetch_add(read.len() as u64, Relaxed);
        Ok(read)
    }

    fn prefetch(&self, at: u64, len: u64) {
        self.inner.prefetch(at, len);
    }

    fn read_ahead(&self, at: u64, len: usize) {
        self.inner.read_ahead(at, len);
    }

    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.counters.bytes_written.fetch_add(bytes.len() as u64, Relaxed);
        self.inner.write_at(at, bytes)
    }

    fn write_behind(&self, at: u64, buffer: &mut AlignedBuf, len: usize) -> io::Result<()> {
        self.counters.bytes_written.fetch_add(len as u64, Relaxed);
        self.inner.write_behind(at, buffer, len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.counters.syncs.fetch_add(1, Relaxed);
        self.inner.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.counters.syncs.fetch_add(1, Relaxed);
        self.inner.sync_all()
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.inner.set_len(bytes)
    }

    fn end_writing(&self) {
        self.inner.end_writing();
    }
}
