//! Sizes of a journal's files.

use super::layout::{BLOCK, COMMIT_MAX};

/// The longest file that a start makes for itself: whoever starts a node waits for its zeros.
const FIRST_BYTES_MAX: u64 = 16 << 20;

/// How large a journal's files are. The defaults are meant for a node; tests take less.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JournalOptions {
    /// Length of a file in bytes, whole blocks.
    pub file_bytes: u64,
    /// The longest commit with header and padding in bytes, whole blocks, at most
    /// [`COMMIT_MAX`].
    pub commit_bytes_max: usize,
    /// How many chunks of zeros are kept for a full disk.
    pub reserve_chunks: usize,
    /// Length of a reserve chunk in bytes, whole blocks.
    pub reserve_chunk_bytes: u64,
}

impl Default for JournalOptions {
    fn default() -> Self {
        Self {
            file_bytes: 256 << 20,
            commit_bytes_max: COMMIT_MAX,
            reserve_chunks: 4,
            reserve_chunk_bytes: 16 << 20,
        }
    }
}

impl JournalOptions {
    /// Length of the file with which a start goes on, in bytes, where that is enough.
    pub(super) fn first_bytes(&self) -> u64 {
        self.file_bytes.min(FIRST_BYTES_MAX)
    }

    /// Whether the sizes fit each other.
    pub fn is_valid(&self) -> bool {
        let whole = |bytes: u64| bytes > 0 && bytes.is_multiple_of(BLOCK as u64);
        let least = (self.commit_bytes_max + 2 * BLOCK) as u64;
        self.commit_bytes_max.is_multiple_of(BLOCK)
            && (BLOCK..=COMMIT_MAX).contains(&self.commit_bytes_max)
            && whole(self.file_bytes)
            && whole(self.reserve_chunk_bytes)
            && self.file_bytes >= least
            && self.reserve_chunk_bytes >= least
    }
}

/// Where journal ids and salts come from. The shell gives the operating system's generator; a test
/// gives a seeded one.
pub trait Entropy {
    /// Fills `bytes` with unpredictable ones.
    fn fill(&mut self, bytes: &mut [u8]);
}
