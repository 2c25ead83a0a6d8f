//! Reads what is durable, from any thread. Nothing leaves that is not of a verified commit.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, PoisonError},
};

use bytes::Bytes;

use super::{
    commit::{CommitRef, Header},
    file::{JournalFile, Shared},
    layout::{BLOCK, COMMIT_HEADER, COMMIT_MAX, narrow, wide},
    position::Position,
};
use crate::sync::Mutex;

/// How many verified commits a reader keeps.
const RECENT_MAX: usize = 4;

/// A reader with a few verified commits of its own; a clone begins without any.
#[derive(Debug)]
pub struct Reader {
    shared: Arc<Shared>,
    recent: Mutex<VecDeque<Commit>>,
}

/// A verified commit that owns its bytes.
#[derive(Debug, Clone)]
pub struct Commit {
    header: Header,
    bytes: Bytes,
}

/// Why nothing was read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file was dropped: retention, or a pack has it.
    #[error("the journal has no file for {position} any more")]
    Gone {
        /// What was asked for.
        position: Position,
    },
    /// It is not durable yet.
    #[error("{position} is not below {durable}, up to where the journal is durable")]
    NotDurable {
        /// What was asked for.
        position: Position,
        /// Exclusive.
        durable: Position,
    },
    /// The range is not within one commit.
    #[error("{len} bytes at {position} are not within one commit")]
    OutOfCommit {
        /// What was asked for.
        position: Position,
        /// In bytes.
        len: usize,
    },
    /// What is there does not verify: rot. It is not served.
    #[error("{file} is damaged at position {position}")]
    Corrupt {
        /// The journal file.
        file: String,
        /// What was asked for.
        position: Position,
    },
    /// The disk failed.
    #[error("reading the journal at {position} failed")]
    Io {
        /// What was asked for.
        position: Position,
        /// What the disk said.
        source: io::Error,
    },
}

impl Clone for Reader {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.shared))
    }
}

impl Commit {
    /// The commit with its entries.
    pub fn view(&self) -> CommitRef<'_> {
        CommitRef { header: self.header, bytes: &self.bytes }
    }

    /// The whole commit with header and padding.
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    fn holds(&self, position: Position) -> bool {
        (self.header.position..self.header.end()).contains(&position)
    }
}

impl Reader {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, recent: Mutex::default() }
    }

    /// What may be read (exclusive).
    pub fn durable(&self) -> Position {
        self.shared.durable()
    }

    /// The oldest position that is still there.
    pub fn oldest(&self) -> Position {
        let files = self.shared.files.read().unwrap_or_else(PoisonError::into_inner);
        files.first().map_or(self.durable(), |file| file.start)
    }

    /// `len` bytes of the journal from `position` on, within one commit: an entry's bytes or a
    /// part of them.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn read(&self, position: Position, len: usize) -> Result<Bytes, ReadError> {
        let commit = self.commit_at(position)?;
        let at = narrow(position.since(commit.header.position));
        let end = at.checked_add(len).filter(|&end| end <= commit.bytes.len());
        let end = end.ok_or(ReadError::OutOfCommit { position, len })?;
        Ok(commit.bytes.slice(at..end))
    }

    /// `len` bytes of the journal from `position` on, of which nothing is verified: for what says itself
    /// whether it is whole. `None` where [`Reader::read`] would say why they are not there.
    pub fn read_raw(&self, position: Position, len: usize) -> Option<Bytes> {
        let file = self.durable_file(position, len)?;
        let mut bytes = vec![0; len];
        file.file.read_at(file.offset(position), &mut bytes).ok()?;
        Some(bytes.into())
    }

    /// Has fetched what [`Reader::read_raw`] will be asked for soon.
    pub fn prefetch(&self, position: Position, len: usize) {
        if let Some(file) = self.durable_file(position, len) {
            file.file.prefetch(file.offset(position), len as u64);
        }
    }

    fn durable_file(&self, position: Position, len: usize) -> Option<Arc<JournalFile>> {
        let end = position.get().checked_add(len as u64)?;
        let file = self.shared.file_at(position).filter(|_| end <= self.durable().get())?;
        file.end().is_none_or(|file_end| end <= file_end.get()).then_some(file)
    }

    /// The commit that holds `position`. To follow the journal, go on at its end.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn commit_at(&self, position: Position) -> Result<Commit, ReadError> {
        let durable = self.durable();
        if position >= durable {
            return Err(ReadError::NotDurable { position, durable });
        }
        let file = self.shared.file_at(position).ok_or(ReadError::Gone { position })?;
        if let Some(commit) = self.recent(position) {
            return Ok(commit);
        }
        let commit = load(&file, position)?;
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.truncate(RECENT_MAX - 1);
        recent.push_front(commit.clone());
        Ok(commit)
    }

    fn recent(&self, position: Position) -> Option<Commit> {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let index = recent.iter().position(|commit| commit.holds(position))?;
        let commit = recent.remove(index)?;
        recent.push_front(commit.clone());
        Some(commit)
    }
}

/// Finds the commit by going back block by block to its header. No payload can imitate one: it
/// does not know the salt.
fn load(file: &JournalFile, position: Position) -> Result<Commit, ReadError> {
    let corrupt = || ReadError::Corrupt { file: file.name(), position };
    let io = |source: io::Error| {
        if source.kind() == io::ErrorKind::UnexpectedEof {
            corrupt()
        } else {
            ReadError::Io { position, source }
        }
    };
    let into_file = position.since(file.start);
    let mut at = into_file - into_file % wide(BLOCK);
    let first = at.saturating_sub(wide(COMMIT_MAX - BLOCK));
    let mut head = [0; COMMIT_HEADER];
    let header = loop {
        let begins = file.start.plus(at);
        file.file.read_at(file.offset(begins), &mut head).map_err(io)?;
        if let Ok(header) = Header::decode(&head, &file.identity, begins) {
            break header;
        }
        if at == first {
            return Err(corrupt());
        }
        at -= wide(BLOCK);
    };
    if header.end() <= position {
        return Err(corrupt());
    }
    let mut bytes = vec![0; header.total_len()];
    file.file.read_at(file.offset(header.position), &mut bytes).map_err(io)?;
    // The head that was read before and the bytes behind it must be of one read.
    if Header::decode(&bytes, &file.identity, header.position) != Ok(header) {
        return Err(corrupt());
    }
    CommitRef::verify(header, &bytes).map_err(|_| corrupt())?;
    Ok(Commit { header, bytes: bytes.into() })
}
