//! A file of the simulated disk, and changes of names that are not durable yet.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::SECTOR_BYTES;
use super::crash::Kept;
use super::sectors::Sectors;

#[derive(Debug, Clone, Default)]
pub(super) struct Inode {
    /// Shared with the images that were taken of the disk.
    pub(super) durable: Arc<Vec<u8>>,
    pub(super) cached: Arc<Vec<u8>>,
    pub(super) dirty: Sectors,
    pub(super) dirty_len: bool,
}

#[derive(Debug, Clone)]
pub(super) enum NameChange {
    Create { name: String, inode: u64 },
    Remove { name: String, inode: u64 },
    Rename { from: String, to: String, inode: u64 },
}

impl NameChange {
    /// Whose name changes.
    pub(super) fn inode(&self) -> u64 {
        match self {
            Self::Create { inode, .. }
            | Self::Remove { inode, .. }
            | Self::Rename { inode, .. } => *inode,
        }
    }

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
    fn range(&self, sector: usize) -> Range<usize> {
        let start = sector * SECTOR_BYTES;
        start..(start + SECTOR_BYTES).min(self.cached.len())
    }

    /// Whether it makes a difference that a dirty sector survives.
    fn differs(&self, sector: usize) -> bool {
        let range = self.range(sector);
        let cached = self.cached.get(range.clone()).unwrap_or_default();
        let there = range.start.min(self.durable.len())..range.end.min(self.durable.len());
        let durable = &self.durable[there];
        cached[..durable.len()] != *durable || cached[durable.len()..].iter().any(|b| *b != 0)
    }

    /// The first `bytes` of a sector reach the disk, as far as the file's length there goes.
    fn persist(&mut self, sector: usize, bytes: usize) {
        let range = self.range(sector);
        let end = range.end.min(range.start + bytes).min(self.durable.len());
        if range.start < end {
            let range = range.start..end;
            Arc::make_mut(&mut self.durable)[range.clone()].copy_from_slice(&self.cached[range]);
        }
    }

    fn persist_len(&mut self) {
        if self.durable.len() != self.cached.len() {
            Arc::make_mut(&mut self.durable).resize(self.cached.len(), 0);
        }
    }

    pub(super) fn sync(&mut self) {
        if std::mem::take(&mut self.dirty_len) {
            self.persist_len();
        }
        let len = self.durable.len().min(self.cached.len());
        let bytes = |sectors: Range<usize>| {
            (sectors.start * SECTOR_BYTES).min(len)..(sectors.end * SECTOR_BYTES).min(len)
        };
        for range in self.dirty.runs().map(bytes).filter(|range| !range.is_empty()) {
            let durable = Arc::make_mut(&mut self.durable);
            durable[range.clone()].copy_from_slice(&self.cached[range]);
        }
        self.dirty.clear();
    }

    pub(super) fn lose(&mut self) {
        self.dirty.clear();
        self.dirty_len = false;
    }

    /// The dirty sectors that differ from what is durable, those of one grain together.
    fn grains(&self, grain_bytes: usize) -> Vec<Vec<usize>> {
        let mut grains: Vec<Vec<usize>> = Vec::new();
        let of = |sector: usize| sector * SECTOR_BYTES / grain_bytes;
        for sector in self.dirty.runs().flatten().filter(|sector| self.differs(*sector)) {
            match grains.last_mut() {
                Some(grain) if of(grain[0]) == of(sector) => grain.push(sector),
                Some(_) | None => grains.push(vec![sector]),
            }
        }
        grains
    }

    /// How many changes a crash may keep or lose.
    pub(super) fn pending(&self, grain_bytes: usize) -> usize {
        let len = self.dirty_len && self.durable.len() != self.cached.len();
        usize::from(len) + self.grains(grain_bytes).len()
    }

    pub(super) fn crash(&mut self, grain_bytes: usize, keep: &mut dyn FnMut() -> Kept) {
        let grains = self.grains(grain_bytes);
        self.dirty.clear();
        let len = std::mem::take(&mut self.dirty_len) && self.durable.len() != self.cached.len();
        if len && keep() != Kept::Lost {
            self.persist_len();
        }
        for grain in grains {
            let kept = keep();
            for (before, sector) in grain.into_iter().enumerate() {
                match kept {
                    Kept::Lost => {}
                    Kept::Whole => self.persist(sector, SECTOR_BYTES),
                    Kept::First(bytes) => {
                        let left = bytes.saturating_sub(before * SECTOR_BYTES);
                        self.persist(sector, left.min(SECTOR_BYTES));
                    }
                }
            }
        }
        self.cached = Arc::clone(&self.durable);
    }

    /// Content that is there and durable, whoever asks.
    pub(super) fn put(&mut self, at: usize, bytes: &[u8]) {
        for image in [&mut self.cached, &mut self.durable] {
            if let Some(place) = Arc::make_mut(image).get_mut(at..at + bytes.len()) {
                place.copy_from_slice(bytes);
            }
        }
    }

    /// What a reader sees of the sector of a bit.
    pub(super) fn sector_of(&self, bit: u64) -> Option<&[u8]> {
        let byte = usize::try_from(bit / 8).ok().filter(|byte| *byte < self.cached.len())?;
        self.cached.get(self.range(byte / SECTOR_BYTES))
    }

    /// Turns a bit back in each image that has its sector still as `sector`.
    pub(super) fn turn_back(&mut self, bit: u64, sector: &[u8]) {
        let Ok(byte) = usize::try_from(bit / 8) else { return };
        let start = byte / SECTOR_BYTES * SECTOR_BYTES;
        for image in [&mut self.cached, &mut self.durable] {
            if image.get(start..start + sector.len()) == Some(sector) {
                Arc::make_mut(image)[byte] ^= 1 << (bit % 8);
            }
        }
    }

    pub(super) fn write(&mut self, at: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let end = at + bytes.len();
        let cached = Arc::make_mut(&mut self.cached);
        if end > cached.len() {
            cached.resize(end, 0);
            self.dirty_len = true;
        }
        cached[at..end].copy_from_slice(bytes);
        self.dirty.insert(at / SECTOR_BYTES..end.div_ceil(SECTOR_BYTES));
    }

    pub(super) fn set_len(&mut self, len: usize) {
        Arc::make_mut(&mut self.cached).resize(len, 0);
        self.dirty_len = true;
        self.dirty.cut(len.div_ceil(SECTOR_BYTES));
    }
}
