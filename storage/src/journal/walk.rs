//! Reads a journal file's commits from front to back.

use std::io;

use super::{
    commit::{CommitRef, Header, Mismatch},
    file::JournalFile,
    layout::{BLOCK, COMMIT_HEADER, COMMIT_MAX, narrow, wide},
    position::Position,
};

const WINDOW: usize = 2 * COMMIT_MAX;

/// A window that moves over a file.
pub(crate) struct Walk<'a> {
    file: &'a JournalFile,
    window: Vec<u8>,
    window_at: u64,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(file: &'a JournalFile) -> Self {
        Self { file, window: Vec::new(), window_at: 0 }
    }

    /// The header at `position`, if one that belongs is there.
    pub(crate) fn header(&mut self, position: Position) -> io::Result<Result<Header, Mismatch>> {
        let identity = self.file.identity;
        let bytes = self.bytes(position, COMMIT_HEADER)?;
        Ok(match bytes {
            Some(bytes) => Header::decode(bytes, &identity, position),
            None => Err(Mismatch::Foreign),
        })
    }

    /// The commit at `position`, if one that belongs is there. Its chain is the caller's to check.
    pub(crate) fn commit(
        &mut self,
        position: Position,
    ) -> io::Result<Result<CommitRef<'_>, Mismatch>> {
        let header = match self.header(position)? {
            Ok(header) => header,
            Err(mismatch) => return Ok(Err(mismatch)),
        };
        let bytes = self.bytes(position, header.total_len())?;
        Ok(bytes.ok_or(Mismatch::Body).and_then(|bytes| CommitRef::verify(header, bytes)))
    }

    /// The block at `position`; `None` where the file ends before.
    pub(crate) fn block(&mut self, position: Position) -> io::Result<Option<&[u8]>> {
        self.bytes(position, BLOCK)
    }

    fn bytes(&mut self, position: Position, len: usize) -> io::Result<Option<&[u8]>> {
        let offset = self.file.offset(position);
        let left = self.file.len_bytes.saturating_sub(offset);
        if left < wide(len) {
            return Ok(None);
        }
        let window_end = self.window_at + wide(self.window.len());
        if offset < self.window_at || offset + wide(len) > window_end {
            self.window.resize(narrow(left.min(wide(WINDOW))), 0);
            self.window_at = offset;
            self.file.file.read_at(offset, &mut self.window).inspect_err(|_| {
                self.window.clear();
            })?;
        }
        let at = narrow(offset - self.window_at);
        Ok(Some(&self.window[at..at + len]))
    }
}
