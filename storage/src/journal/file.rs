//! One journal file, and what the writer, the thread that syncs and the readers share.

use std::sync::{Arc, PoisonError};

use bytes::Bytes;

use super::{
    layout::wide,
    names,
    position::{Identity, Incarnation, Position},
    preamble::Preamble,
};
use crate::disk::DiskFile;
use crate::sync::{
    RwLock,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

/// A file whose preamble is verified.
#[derive(Debug)]
pub(crate) struct JournalFile {
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) identity: Identity,
    pub(crate) start: Position,
    preamble_len: u64,
    pub(crate) len_bytes: u64,
    /// Exclusive; of the file that is written: no limit.
    end: AtomicU64,
    /// Up to where it was written; commits go one behind the other.
    written: AtomicU64,
}

impl JournalFile {
    pub(crate) fn new(preamble: &Preamble, file: Arc<dyn DiskFile>, len_bytes: u64) -> Self {
        Self {
            file,
            identity: preamble.identity,
            start: preamble.start,
            preamble_len: wide(preamble.len()),
            len_bytes,
            end: AtomicU64::new(u64::MAX),
            written: AtomicU64::new(preamble.start.get()),
        }
    }

    pub(crate) fn name(&self) -> String {
        names::journal(self.start, self.identity.incarnation)
    }

    /// The file's offset of `position`, which must not lie before its start.
    pub(crate) fn offset(&self, position: Position) -> u64 {
        self.preamble_len + position.since(self.start)
    }

    /// The position behind the last byte that the file can hold.
    pub(crate) fn limit(&self) -> Position {
        self.start.plus(self.len_bytes.saturating_sub(self.preamble_len))
    }

    /// Where the file ends for ever, `None` while it is written.
    pub(crate) fn end(&self) -> Option<Position> {
        let end = self.end.load(Ordering::Acquire);
        (end != u64::MAX).then_some(Position::new(end))
    }

    pub(crate) fn close(&self, end: Position) {
        assert!(end >= self.start, "a file ends behind its start");
        self.end.store(end.get(), Ordering::Release);
    }

    pub(crate) fn set_written(&self, position: Position) {
        self.written.store(position.get(), Ordering::Release);
    }

    /// How it is listed; `end` stands in where it is still written.
    pub(crate) fn info(&self, end: Position) -> FileInfo {
        FileInfo {
            name: self.name(),
            start: self.start,
            end: self.end().unwrap_or(end),
            incarnation: self.identity.incarnation,
            len_bytes: self.len_bytes,
        }
    }
}

/// A journal file as it is listed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileInfo {
    /// Its name in the directory.
    pub name: String,
    /// The first position in it.
    pub start: Position,
    /// Exclusive; of the last file the journal's end.
    pub end: Position,
    /// The start of the node that made it.
    pub incarnation: Incarnation,
    /// Its length in bytes, with the preamble and what is free at its end.
    pub len_bytes: u64,
}

/// What the writer, the thread that syncs and the readers have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    durable: AtomicU64,
    poisoned: AtomicBool,
    /// By start; the last one is written.
    pub(crate) files: RwLock<Vec<Arc<JournalFile>>>,
}

impl Shared {
    pub(crate) fn new(durable: Position, files: Vec<Arc<JournalFile>>) -> Self {
        Self {
            durable: AtomicU64::new(durable.get()),
            poisoned: AtomicBool::new(false),
            files: RwLock::new(files),
        }
    }

    pub(crate) fn durable(&self) -> Position {
        Position::new(self.durable.load(Ordering::Acquire))
    }

    pub(crate) fn set_durable(&self, position: Position) {
        self.durable.store(position.get(), Ordering::Release);
    }

    pub(crate) fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Acquire)
    }

    pub(crate) fn poison(&self) {
        self.poisoned.store(true, Ordering::Release);
    }

    /// The file that holds `position`.
    pub(crate) fn file_at(&self, position: Position) -> Option<Arc<JournalFile>> {
        let files = self.files.read().unwrap_or_else(PoisonError::into_inner);
        let behind = files.partition_point(|file| file.start <= position);
        let file = files.get(behind.checked_sub(1)?)?;
        file.end().is_none_or(|end| position < end).then(|| Arc::clone(file))
    }
}

/// A commit that is laid out and checksummed, with all that is needed to write it on any thread.
#[derive(Debug, Clone)]
pub struct SealedCommit {
    pub(crate) position: Position,
    pub(crate) mark: bool,
    pub(crate) bytes: Bytes,
    pub(crate) file: Arc<JournalFile>,
    pub(crate) shared: Arc<Shared>,
}

/// Why a commit is not durable. The journal takes nothing more; the node stops.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// An earlier write or sync failed.
    #[error("an earlier write or sync of the journal failed")]
    Poisoned,
    /// The write failed; a part of it may be on disk.
    #[error("writing the journal at {position} failed")]
    Write {
        /// The commit's position.
        position: Position,
        /// What the disk said.
        source: std::io::Error,
    },
    /// The sync failed; it is never tried again.
    #[error("syncing the journal up to {end} failed")]
    Sync {
        /// The commit's end.
        end: Position,
        /// What the disk said.
        source: std::io::Error,
    },
}

impl SealedCommit {
    /// Where it begins.
    pub const fn position(&self) -> Position {
        self.position
    }

    /// Where the next one begins.
    pub fn end(&self) -> Position {
        self.position.plus(wide(self.bytes.len()))
    }

    /// Whether it is a mark.
    pub const fn is_mark(&self) -> bool {
        self.mark
    }

    /// The whole commit with header and padding; an entry lies at the offset that
    /// [`super::CommitBuilder::push`] returned.
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Writes and syncs the commit. When it returns without an error the commit is durable, and
    /// the caller says so to [`super::Journal::on_synced`]. Commits are written in their order,
    /// one after the other's sync.
    ///
    /// # Errors
    /// [`CommitError`]; the journal is poisoned then, and nothing is tried again.
    ///
    /// # Panics
    /// If commits are written out of their order.
    pub fn write_and_sync(&self) -> Result<(), CommitError> {
        self.write()?;
        self.sync()
    }

    /// The write alone.
    ///
    /// # Errors
    /// As [`SealedCommit::write_and_sync`].
    ///
    /// # Panics
    /// If commits are written out of their order.
    pub fn write(&self) -> Result<(), CommitError> {
        if self.shared.is_poisoned() {
            return Err(CommitError::Poisoned);
        }
        let written = self.file.written.swap(self.end().get(), Ordering::AcqRel);
        assert_eq!(written, self.position.get(), "commits are written one behind the other");
        let offset = self.file.offset(self.position);
        #[cfg(takt_planted)]
        if takt_protocol::planted::is("failed_write_ignored") {
            drop(self.file.file.write_at(offset, &self.bytes));
            return Ok(());
        }
        self.file.file.write_at(offset, &self.bytes).map_err(|source| {
            self.shared.poison();
            CommitError::Write { position: self.position, source }
        })
    }

    /// The sync alone, after the write.
    ///
    /// # Errors
    /// As [`SealedCommit::write_and_sync`].
    pub fn sync(&self) -> Result<(), CommitError> {
        if self.shared.is_poisoned() {
            return Err(CommitError::Poisoned);
        }
        #[cfg(takt_planted)]
        if takt_protocol::planted::is("no_sync") {
            return Ok(());
        }
        #[cfg(takt_planted)]
        if takt_protocol::planted::is("failed_sync_retried") {
            let again = self.file.file.sync_data().or_else(|_| self.file.file.sync_data());
            return again.map_err(|source| CommitError::Sync { end: self.end(), source });
        }
        self.file.file.sync_data().map_err(|source| {
            self.shared.poison();
            CommitError::Sync { end: self.end(), source }
        })
    }
}
