//! Why a directory is not what it should be.

use crate::input::Why;

/// What [`crate::read`] found wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// There is no journal file.
    #[error("there is no journal file")]
    NoJournal,
    /// A journal file's first block or snapshot is damaged, or is another file's.
    #[error("{file}: {why}")]
    Preamble {
        /// The file's name.
        file: String,
        /// What is wrong.
        why: &'static str,
    },
    /// A file is of another journal than the first.
    #[error("{file} is of another journal")]
    OtherJournal {
        /// The file's name.
        file: String,
    },
    /// A file starts before one of an earlier incarnation.
    #[error("{file} does not fit the files before it")]
    Order {
        /// The file's name.
        file: String,
    },
    /// The journal is damaged below what was durable.
    #[error("{file} is damaged at position {position}: {why}")]
    Damaged {
        /// The file's name.
        file: String,
        /// Position in the journal of the first commit that does not belong.
        position: u64,
        /// What is wrong.
        why: &'static str,
    },
    /// A part of the journal is gone and was not dropped by retention.
    #[error("the journal has no file for {from}..{to}")]
    Missing {
        /// Journal position, inclusive.
        from: u64,
        /// Exclusive.
        to: u64,
    },
    /// The file that was the newest is gone.
    #[error("{file} is missing, the newest file")]
    NewestMissing {
        /// Its name.
        file: String,
    },
    /// A file's snapshot is none, or is not what the entries before it add up to.
    #[error("the snapshot of {file}: {why}")]
    Snapshot {
        /// The file's name.
        file: String,
        /// What is wrong.
        why: &'static str,
    },
    /// An entry of a good commit is none, or does not follow the entries before it.
    #[error("the entry at position {position}: {why}")]
    Entry {
        /// Journal position of the entry's bytes.
        position: u64,
        /// What is wrong.
        why: &'static str,
    },
    /// A stored batch contradicts itself or what is before it in its partition.
    #[error("batch {batch} of slot {slot} at position {position}: {why}")]
    Batch {
        /// Journal position of the stored batch.
        position: u64,
        /// The partition's number on this node.
        slot: u32,
        /// The batch number that it claims; 0 where it does not get that far.
        batch: u64,
        /// What is wrong.
        why: &'static str,
    },
    /// The manifest names a pack that is not there.
    #[error("{file} is missing")]
    PackMissing {
        /// Its name.
        file: String,
    },
    /// A pack is damaged, or does not hold what it is to hold.
    #[error("{file}: {why}")]
    Pack {
        /// The file's name.
        file: String,
        /// What is wrong.
        why: &'static str,
    },
    /// A batch in a pack contradicts itself or its partition.
    #[error("batch {batch} of slot {slot} in {file}: {why}")]
    Packed {
        /// The pack's name.
        file: String,
        /// The partition's number on this node.
        slot: u32,
        /// The batch number.
        batch: u64,
        /// What is wrong.
        why: &'static str,
    },
    /// No file has a batch of a partition that has others in packs.
    #[error("batch {batch} of slot {slot} is in no file")]
    Lacks {
        /// The partition's number on this node.
        slot: u32,
        /// The batch number.
        batch: u64,
    },
}

/// What [`crate::check_runs`] found wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RunsError {
    /// The manifest names a file that is not there.
    #[error("{file} is missing")]
    Missing {
        /// Its name.
        file: String,
    },
    /// A file is damaged, or is not what the manifest or the journal says.
    #[error("{file}: {why}")]
    Damaged {
        /// Its name.
        file: String,
        /// What is wrong.
        why: &'static str,
    },
}

impl Why {
    /// As damage of a run or side file.
    pub(crate) fn of_file(self, file: &str) -> RunsError {
        RunsError::Damaged { file: file.to_owned(), why: self.0 }
    }
}
