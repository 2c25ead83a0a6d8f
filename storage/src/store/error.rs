//! Why a store does not open or goes no further.

use crate::entry::EntryError;
use crate::journal::{CommitError, ReplayError, RollError, ScanError, SealError, StartError};
use crate::kept::KeptError;
use crate::runs::RunError;
use crate::state::{ApplyError, SnapshotError};

/// Why a store did not open. What was acknowledged is untouched; a start that came as far as its
/// journal has begun a file of its own, which the next one takes for what it is.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory does not read as a journal.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// The journal is damaged or has holes.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// The journal could not be started or made.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The snapshot in the newest file is none.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// An entry is none.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// An entry does not follow the ones before it.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// A run cannot be read, and a journal file from its start on that is dropped had keys: it cannot
    /// be made again.
    #[error("{0}; a journal file with its keys is gone, so restore the run from a backup")]
    Run(#[source] RunError),
    /// A journal file that the manifest names is not there.
    #[error(
        "the journal file {name} is missing: it holds records that were acknowledged; restore it from a \
         backup"
    )]
    FileMissing {
        /// Its name up to the incarnation.
        name: String,
    },
    /// Journal files are gone that nothing but a file beside the journal knows of.
    #[error(
        "{witness} was made of a journal file that has another behind it, and there is none: journal \
         files are missing that hold records that were acknowledged; restore them from a backup, or \
         begin anew in an empty directory"
    )]
    NewestMissing {
        /// The run or side file that says so.
        witness: String,
    },
    /// The directory could not be listed.
    #[error("listing the directory failed")]
    List(#[source] std::io::Error),
    /// A pack that the manifest names does not open.
    #[error("{0}; it holds records that were acknowledged: restore it from a backup")]
    Pack(KeptError),
    /// Side files or packs could not be listed, or a leftover not be deleted.
    #[error("looking through the side files and packs failed")]
    Kept(#[from] std::io::Error),
    /// The directory is of another node.
    #[error("the directory belongs to node {found}, not to {expected}")]
    OtherNode {
        /// Whose it is.
        found: String,
        /// Who opens it.
        expected: String,
    },
}

/// Why a store takes nothing more: the node stops.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A commit failed.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// A commit could not be sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The next journal file could not be begun.
    #[error(transparent)]
    Roll(#[from] RollError),
    /// A run is damaged, and its journal files are there.
    #[error("{0}; it is made again at the next start")]
    Run(#[source] RunError),
    /// It failed before.
    #[error("the store has failed before")]
    Failed,
}
