//! What readers see of a store: never more than what is durable.
//!
//! A [`View`] is cheap to clone and reads from any thread. The store's thread writes into it when a
//! commit has become durable, and holds its locks for moments only. The newest commits stay in
//! memory, so that tail readers and the uplink do not touch the disk.

mod conflicts;
mod directory;
mod order;
mod read;
mod recent;
mod status;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};

use takt_protocol::words::{JournalId, NodeName, TopicName};

use crate::catalog::Catalog;
use crate::entry::TopicSettings;
use crate::index::{Index, IndexError};
use crate::journal::{Position, ReadError as JournalReadError, Reader};
use crate::kept::{KeptError, PackBlocks};
use crate::keys::KeyHasher;
use crate::runs::{RunError, Slot};
use crate::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

pub use conflicts::ConflictContent;
pub(crate) use directory::Directory;
pub use directory::{Conflict, CursorView, PartitionView, TopicView};
pub use order::BatchesAt;
pub(crate) use recent::Recent;
pub use status::{Counters, Status};

use takt_protocol::words::Offset;

/// The durable part of a store, for reading.
#[derive(Debug, Clone)]
pub struct View {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    node: NodeName,
    journal: JournalId,
    hasher: KeyHasher,
    catalog: Catalog,
    reader: Reader,
    directory: RwLock<Directory>,
    recent: RwLock<Recent>,
    blocks: PackBlocks,
    /// Reads that met damage.
    damaged: AtomicU64,
    /// Once it has all that is sealed.
    index: RwLock<Option<Arc<Index>>>,
}

/// Why nothing was read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Retention has trimmed it.
    #[error("the oldest offset that is kept is {start}")]
    Trimmed {
        /// The oldest offset that is kept.
        start: Offset,
    },
    /// There is no such partition, batch or record.
    #[error("there is no such partition, batch or record")]
    NotFound,
    /// What is on disk does not verify; it is not served.
    #[error(
        "what is stored is damaged and is not served: {0}; stop the node, let `takt verify` list the \
         damaged files and restore them from a backup, or read on behind it"
    )]
    Corrupt(String),
    /// The disk failed.
    #[error("reading failed: {0}")]
    Io(String),
    /// The journal's file went away during the read: read again.
    #[error("the journal's file was dropped during the read")]
    Gone,
}

impl From<JournalReadError> for ReadError {
    fn from(error: JournalReadError) -> Self {
        match error {
            JournalReadError::Gone { .. } => Self::Gone,
            JournalReadError::Corrupt { .. } | JournalReadError::OutOfCommit { .. } => {
                Self::Corrupt(error.to_string())
            }
            JournalReadError::NotDurable { .. } => Self::NotFound,
            JournalReadError::Io { .. } => Self::Io(error.to_string()),
        }
    }
}

impl From<RunError> for ReadError {
    fn from(error: RunError) -> Self {
        Self::Corrupt(error.to_string())
    }
}

impl From<KeptError> for ReadError {
    fn from(error: KeptError) -> Self {
        Self::Corrupt(error.to_string())
    }
}

impl View {
    pub(crate) fn new(
        node: NodeName,
        journal: JournalId,
        hasher: KeyHasher,
        catalog: Catalog,
        reader: Reader,
        directory: Directory,
    ) -> Self {
        let shared = Shared {
            node,
            journal,
            hasher,
            catalog,
            reader,
            directory: RwLock::new(directory),
            recent: RwLock::default(),
            blocks: PackBlocks::default(),
            damaged: AtomicU64::new(0),
            index: RwLock::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// The node that the store is of: the origin of its own partitions.
    pub fn node(&self) -> &NodeName {
        &self.shared.node
    }

    /// The store's journal.
    pub fn journal(&self) -> JournalId {
        self.shared.journal
    }

    /// Hashes the keys of batches, with the node's secret.
    pub fn key_hasher(&self) -> &KeyHasher {
        &self.shared.hasher
    }

    /// What lies before `end` is read from elsewhere than from memory.
    pub(crate) fn forget_recent(&self, end: Position) {
        self.shared.recent.write().unwrap_or_else(PoisonError::into_inner).forget(end);
    }

    /// All topics, own and mirrored: one for each origin; sorted by name, then origin.
    pub fn topics(&self) -> Vec<TopicView> {
        self.directory().topics().collect()
    }

    /// The settings of this node's own topic.
    pub fn topic(&self, name: &TopicName) -> Option<TopicSettings> {
        self.directory().settings(name, &self.shared.node)
    }

    /// The settings of an origin's topic.
    pub fn topic_of(&self, name: &TopicName, origin: &NodeName) -> Option<TopicSettings> {
        self.directory().settings(name, origin)
    }

    /// The partitions of a topic, of all origins; those of one origin are in their order.
    pub fn partitions(&self, topic: &TopicName) -> Vec<PartitionView> {
        self.directory().partitions(topic).cloned().collect()
    }

    /// All partitions by slot.
    pub fn all_partitions(&self) -> Vec<PartitionView> {
        self.directory().all().to_vec()
    }

    /// One partition.
    pub fn partition(&self, slot: Slot) -> Option<PartitionView> {
        self.directory().partition(slot).cloned()
    }

    /// The durable end of a partition: the offset behind its last record. Cheap.
    pub fn end(&self, slot: Slot) -> Option<Offset> {
        self.directory().partition(slot).map(|partition| partition.end)
    }

    /// All cursors, by name.
    pub fn cursors(&self) -> Vec<CursorView> {
        self.directory().cursors().collect()
    }

    /// Reads since the start that met damage, the same as often as it was met.
    pub fn damaged_reads(&self) -> u64 {
        self.shared.damaged.load(Ordering::Relaxed)
    }

    /// What an operator wants to know.
    pub fn status(&self) -> Status {
        self.directory().status
    }

    pub(crate) fn catalog(&self) -> &Catalog {
        &self.shared.catalog
    }

    pub(crate) fn directory(&self) -> RwLockReadGuard<'_, Directory> {
        self.shared.directory.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn directory_mut(&self) -> RwLockWriteGuard<'_, Directory> {
        self.shared.directory.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn index(&self) -> Option<Arc<Index>> {
        self.shared.index.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lets readers use an index, or none.
    pub(crate) fn set_index(&self, index: Option<Arc<Index>>) {
        *self.shared.index.write().unwrap_or_else(PoisonError::into_inner) = index;
    }

    /// An index that failed is used no more; the store makes another.
    fn lose_index(&self, failed: &Arc<Index>, error: &IndexError) {
        let mut index = self.shared.index.write().unwrap_or_else(PoisonError::into_inner);
        if index.as_ref().is_some_and(|there| Arc::ptr_eq(there, failed)) {
            *index = None;
            let error: &(dyn std::error::Error + 'static) = error;
            tracing::warn!(error, "the index of listings failed; it is made again");
        }
    }

    pub(crate) fn recent_mut(&self) -> RwLockWriteGuard<'_, Recent> {
        self.shared.recent.write().unwrap_or_else(PoisonError::into_inner)
    }
}
