//! redb's file on our disk, with a checksum of each page in memory: what is read is what was
//! written, or an error.

use std::{
    io,
    sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use redb::StorageBackend;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::disk::DiskFile;

const PAGE: usize = 4_096;
/// Pages that are read at a time when a file is opened.
const STRIDE: usize = 64;

/// A file with the checksum of each of its pages; the last page counts as padded with zeros.
#[derive(Debug)]
pub(super) struct Pages {
    file: Box<dyn DiskFile>,
    state: RwLock<State>,
}

#[derive(Debug)]
struct State {
    len: u64,
    sums: Vec<u64>,
}

impl Pages {
    /// Takes the file as it is.
    pub(super) fn open(file: Box<dyn DiskFile>) -> io::Result<Self> {
        let len = file.len()?;
        let mut sums = Vec::new();
        let mut bytes = vec![0; STRIDE * PAGE];
        let mut at = 0;
        while at < len {
            let count = usize::try_from(len - at).map_or(bytes.len(), |left| left.min(bytes.len()));
            file.read_at(at, &mut bytes[..count])?;
            bytes[count..].fill(0);
            sums.extend(bytes[..count.next_multiple_of(PAGE)].chunks(PAGE).map(xxh3_64));
            at += count as u64;
        }
        Ok(Self { file, state: RwLock::new(State { len, sums }) })
    }

    /// Over the length and all pages.
    pub(super) fn checksum(&self) -> u128 {
        let state = self.state();
        let mut hasher = Xxh3::new();
        hasher.update(&state.len.to_le_bytes());
        for sum in &state.sums {
            hasher.update(&sum.to_le_bytes());
        }
        hasher.digest128()
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    fn state(&self) -> RwLockReadGuard<'_, State> {
        // A holder that panicked leaves sums that do not match: an error, never wrong data.
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn state_mut(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads and verifies `count` whole pages from page `first` on.
    fn load(&self, state: &State, first: usize, count: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; count * PAGE];
        let at = (first * PAGE) as u64;
        let there = usize::try_from(state.len.saturating_sub(at)).unwrap_or(usize::MAX);
        let there = there.min(bytes.len());
        self.file.read_at(at, &mut bytes[..there])?;
        for (page, sum) in bytes.chunks(PAGE).zip(&state.sums[first..first + count]) {
            if xxh3_64(page) != *sum {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a page has rotted"));
            }
        }
        Ok(bytes)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.state();
        let (first, count, within) = span(offset, out.len(), state.len)?;
        let bytes = self.load(&state, first, count)?;
        out.copy_from_slice(&bytes[within..within + out.len()]);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let state = &mut *self.state_mut();
        let (first, count, within) = span(offset, data.len(), state.len)?;
        let aligned = within == 0 && data.len().is_multiple_of(PAGE);
        let patched = if aligned {
            None
        } else {
            let mut bytes = self.load(state, first, count)?;
            bytes[within..within + data.len()].copy_from_slice(data);
            Some(bytes)
        };
        self.file.write_at(offset, data)?;
        let pages = patched.as_deref().unwrap_or(data).chunks(PAGE);
        for (page, sum) in pages.zip(&mut state.sums[first..]) {
            *sum = xxh3_64(page);
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let state = &mut *self.state_mut();
        let pages = usize::try_from(len.div_ceil(PAGE as u64))
            .map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        let cut = (len < state.len && !len.is_multiple_of(PAGE as u64)).then(|| pages - 1);
        let last = cut.map(|last| self.load(state, last, 1)).transpose()?;
        self.file.set_len(len)?;
        state.len = len;
        state.sums.resize(pages, xxh3_64(&[0; PAGE]));
        if let (Some(mut page), Some(sum)) = (last, state.sums.last_mut()) {
            page[usize::try_from(len % PAGE as u64).unwrap_or(0)..].fill(0);
            *sum = xxh3_64(&page);
        }
        Ok(())
    }
}

/// First page, count of pages, and where in them `len` bytes at `offset` begin.
fn span(offset: u64, len: usize, file_len: u64) -> io::Result<(usize, usize, usize)> {
    let end = offset.checked_add(len as u64).filter(|end| *end <= file_len);
    let (Some(_), Ok(offset)) = (end, usize::try_from(offset)) else {
        return Err(io::ErrorKind::UnexpectedEof.into());
    };
    let within = offset % PAGE;
    Ok((offset / PAGE, (within + len).div_ceil(PAGE), within))
}

/// What redb gets: a share of the pages.
#[derive(Debug)]
pub(super) struct Backend(std::sync::Arc<Pages>);

impl Backend {
    pub(super) fn new(pages: std::sync::Arc<Pages>) -> Self {
        Self(pages)
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.state().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }
}
