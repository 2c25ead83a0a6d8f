//! Entries on their way into a commit.

use crate::disk::AlignedBuf;

use super::layout::{COMMIT_HEADER, COMMIT_MAX, ENTRY_HEADER, padded, short};

/// How much room a new buffer has: most commits are small, the largest grow it.
const FIRST_ROOM: usize = 64 << 10;

/// A commit that is being filled. It leaves room for the header, so that sealing copies nothing.
#[derive(Debug)]
pub struct CommitBuilder {
    bytes: AlignedBuf,
    entry_count: u32,
    len_max: usize,
}

impl CommitBuilder {
    /// An empty commit of at most `len_max` bytes with header and padding, in a used buffer.
    pub(crate) fn new(len_max: usize, mut buffer: AlignedBuf) -> Self {
        assert!(len_max <= COMMIT_MAX && len_max == padded(len_max));
        buffer.resize(0);
        buffer.reserve(FIRST_ROOM.min(len_max));
        buffer.resize(COMMIT_HEADER);
        Self { bytes: buffer, entry_count: 0, len_max }
    }

    /// Whether one more entry of `len` bytes fits.
    pub fn has_room(&self, len: usize) -> bool {
        len <= self.len_max.saturating_sub(self.bytes.len() + ENTRY_HEADER)
    }

    /// Appends one entry made of `parts`. Returns where its bytes begin within the commit: its
    /// position is the commit's plus that.
    ///
    /// # Panics
    /// If there is no room for it: ask [`CommitBuilder::has_room`] first.
    pub fn push(&mut self, kind: u8, parts: &[&[u8]]) -> u32 {
        let len = parts.iter().map(|part| part.len()).sum();
        assert!(self.has_room(len), "an entry must fit its commit");
        self.bytes.push(kind);
        self.bytes.extend_from_slice(&short(len).to_le_bytes());
        let offset = short(self.bytes.len());
        for part in parts {
            self.bytes.extend_from_slice(part);
        }
        self.entry_count += 1;
        offset
    }

    /// Whether it has no entry.
    pub const fn is_empty(&self) -> bool {
        self.entry_count == 0
    }

    /// How many entries it has.
    pub const fn entry_count(&self) -> u32 {
        self.entry_count
    }

    /// What it takes in the journal, with header and padding, in bytes.
    pub fn padded_len(&self) -> usize {
        padded(self.bytes.len())
    }

    /// The padded bytes with room for the header, the entries' length and their count.
    pub(crate) fn finish(mut self) -> (AlignedBuf, usize, u32) {
        let body_len = self.bytes.len() - COMMIT_HEADER;
        self.bytes.resize(self.padded_len());
        (self.bytes, body_len, self.entry_count)
    }
}
