//! A file of the simulated disk, and changes of names that are not durable yet.

use std::collections::{BTreeMap, BTreeSet};

use super::SECTOR_BYTES;

#[derive(Debug, Clone, Default)]
pub(super) struct Inode {
    pub(super) durable: Vec<u8>,
    pub(super) cached: Vec<u8>,
    pub(super) dirty: BTreeSet<usize>,
    pub(super) dirty_len: bool,
}

#[derive(Debug, Clone)]
pub(super) enum NameChange {
    Create { name: String, inode: u64 },
    Remove { name: String, inode: u64 },
    Rename { from: String, to: String, inode: u64 },
}

impl NameChange {
    pub(super) fn apply(self, names: &mut BTreeMap<String, u64>) {
        match self {
            Self::Create { name, inode } => {
                names.insert(name, inode);
            }
            Self::Remove { name, inode } => {
                if names.get(&name) == Some(&inode) {
                    names.remove(&name);
                }
            }
            Self::Rename { from, to, inode } => {
                if names.get(&from) == Some(&inode) {
                    names.remove(&from);
                }
                names.insert(to, inode);
            }
        }
    }
}

impl Inode {
    fn sector(&self, sector: usize) -> std::ops::Range<usize> {
        let start = sector * SECTOR_BYTES;
        start..(start + SECTOR_BYTES).min(self.cached.len())
    }

    fn persist(&mut self, sector: usize) {
        let range = self.sector(sector);
        let range = range.start..range.end.min(self.durable.len());
        if !range.is_empty() {
            self.durable[range.clone()].copy_from_slice(&self.cached[range]);
        }
    }

    pub(super) fn sync(&mut self) {
        if self.dirty_len {
            self.durable.resize(self.cached.len(), 0);
            self.dirty_len = false;
        }
        for sector in std::mem::take(&mut self.dirty) {
            self.persist(sector);
        }
    }

    pub(super) fn lose(&mut self) {
        self.dirty.clear();
        self.dirty_len = false;
    }

    pub(super) fn crash(&mut self, keep: &mut dyn FnMut() -> bool) {
        if std::mem::take(&mut self.dirty_len) && keep() {
            self.durable.resize(self.cached.len(), 0);
        }
        for sector in std::mem::take(&mut self.dirty) {
            if keep() {
                self.persist(sector);
            }
        }
        self.cached = self.durable.clone();
    }

    /// Content that is there and durable, whoever asks.
    pub(super) fn put(&mut self, at: usize, bytes: &[u8]) {
        for image in [&mut self.cached, &mut self.durable] {
            if let Some(place) = image.get_mut(at..at + bytes.len()) {
                place.copy_from_slice(bytes);
            }
        }
    }

    pub(super) fn write(&mut self, at: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let end = at + bytes.len();
        if end > self.cached.len() {
            self.cached.resize(end, 0);
            self.dirty_len = true;
        }
        self.cached[at..end].copy_from_slice(bytes);
        self.dirty.extend(at / SECTOR_BYTES..end.div_ceil(SECTOR_BYTES));
    }
}
