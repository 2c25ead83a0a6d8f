//! What a power cut leaves, and the disk as it was before each operation.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use super::{SECTOR_BYTES, SimDisk, State, inode::NameChange};

/// What a power cut leaves of one pending change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// Nothing.
    Lost,
    /// All of it.
    Whole,
    /// The first bytes, where it is content; all of it otherwise.
    First(usize),
}

impl From<bool> for Kept {
    fn from(whole: bool) -> Self {
        if whole { Self::Whole } else { Self::Lost }
    }
}

/// The disk before each operation, by the operation's number.
#[derive(Debug, Default)]
pub(super) struct History(Mutex<Option<BTreeMap<u64, State>>>);

impl History {
    pub(super) fn note(&self, state: &State) {
        if let Some(kept) = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            kept.insert(state.operations, state.clone());
        }
    }
}

impl SimDisk {
    /// Keeps the disk as it is before each operation from now on, for [`SimDisk::recorded`].
    pub fn record(&self) {
        *self.history.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(BTreeMap::new());
    }

    /// The disk before each operation since [`SimDisk::record`] and as it is now, by how many
    /// operations there had been: all moments at which a power cut makes a difference.
    pub fn recorded(&self) -> BTreeMap<u64, SimDisk> {
        let disk = |state: &State| SimDisk {
            state: Arc::new(Mutex::new(state.clone())),
            ..SimDisk::new()
        };
        let now = self.state();
        let history = self.history.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut moments: BTreeMap<u64, SimDisk> =
            history.iter().flatten().map(|(at, state)| (*at, disk(state))).collect();
        moments.insert(now.operations, disk(&now));
        moments
    }

    /// The disk after a power cut now. `choose(n)` says whether pending change `n` (0, 1, ...)
    /// survived: changes of names in their order, then per file its length and those of its dirty
    /// sectors that make a difference. This disk goes on unchanged. The new one has no faults set.
    #[must_use]
    pub fn crash_image(&self, choose: &mut dyn FnMut(usize) -> bool) -> SimDisk {
        self.crash_image_by(SECTOR_BYTES, &mut |n| choose(n).into())
    }

    /// As [`SimDisk::crash_image`], where content survives or not in pieces of `grain_bytes`, a
    /// multiple of [`SECTOR_BYTES`], of which a first part may be kept.
    #[must_use]
    pub fn crash_image_by(
        &self,
        grain_bytes: usize,
        choose: &mut dyn FnMut(usize) -> Kept,
    ) -> SimDisk {
        let mut state = self.state().clone();
        state.crash(grain_bytes, choose);
        SimDisk { state: Arc::new(Mutex::new(state)), ..SimDisk::new() }
    }

    /// As [`SimDisk::crash_image`], on this disk; files that are open fail from now on.
    pub fn crash(&self, choose: &mut dyn FnMut(usize) -> bool) {
        self.state().crash(SECTOR_BYTES, &mut |n| choose(n).into());
    }

    /// How many changes are pending at most, in pieces of `grain_bytes`: fewer are asked for where
    /// a file's name did not survive.
    pub fn pending(&self, grain_bytes: usize) -> usize {
        let state = self.state();
        let named = state.pending_names.iter().map(NameChange::inode);
        let files: BTreeSet<u64> = named.chain(state.durable_names.values().copied()).collect();
        let inodes = files.iter().filter_map(|inode| state.inodes.get(inode));
        state.pending_names.len() + inodes.map(|inode| inode.pending(grain_bytes)).sum::<usize>()
    }
}

impl State {
    fn crash(&mut self, grain_bytes: usize, choose: &mut dyn FnMut(usize) -> Kept) {
        let mut count = 0;
        let mut keep = || {
            count += 1;
            choose(count - 1)
        };
        for change in std::mem::take(&mut self.pending_names) {
            if keep() != Kept::Lost {
                change.apply(&mut self.durable_names);
            }
        }
        self.names = self.durable_names.clone();
        let live: BTreeSet<u64> = self.names.values().copied().collect();
        self.inodes.retain(|inode, _| live.contains(inode));
        for inode in self.inodes.values_mut() {
            inode.crash(grain_bytes, &mut keep);
        }
        self.boot += 1;
        self.lies = false;
        self.keep_power();
    }
}
