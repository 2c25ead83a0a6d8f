//! The dedup ledger and the order heads, and what the live journal file has taught them.

use crate::ledger::{HeadEntry, Heads, Ledger, LedgerEntry};
use crate::runs::MaskedAddress;

/// The keyed tables of a node.
#[derive(Debug)]
pub(crate) struct Tables {
    pub(crate) ledger: Ledger,
    pub(crate) heads: Heads,
    /// Ledger entries from this number on are the live file's.
    fresh_from: usize,
    /// One bit for each head, by number: whether the live file has moved it on.
    touched: Vec<u64>,
    /// Conflicts that the live file listed.
    conflicts: Vec<MaskedAddress>,
}

/// What one journal file taught the tables.
#[derive(Debug, Clone, Default)]
pub(crate) struct Frozen {
    pub(crate) ledger: Vec<LedgerEntry>,
    pub(crate) heads: Vec<HeadEntry>,
    pub(crate) conflicts: Vec<MaskedAddress>,
}

impl Tables {
    pub(crate) fn new(keys_max: usize) -> Self {
        Self {
            ledger: Ledger::new(keys_max),
            heads: Heads::new(keys_max),
            fresh_from: 0,
            touched: Vec::new(),
            conflicts: Vec::new(),
        }
    }

    /// Makes room for the keys of the runs that are about to be loaded.
    pub(crate) fn expect_keys(&mut self, keys: usize) {
        self.ledger.reserve(keys.min(self.ledger.remaining()));
    }

    /// Takes in what a run holds: runs come oldest first, before anything is applied.
    pub(crate) fn load_key(&mut self, entry: LedgerEntry) {
        self.ledger.insert(entry);
        self.fresh_from = self.ledger.len();
    }

    /// As [`Tables::load_key`].
    pub(crate) fn load_head(&mut self, head: HeadEntry) {
        self.heads.upsert(head, |_| true);
    }

    pub(super) fn learn(&mut self, entry: LedgerEntry) {
        self.ledger.insert(entry);
    }

    pub(super) fn advance(&mut self, head: HeadEntry) {
        let number = self.heads.upsert(head, |_| true) as usize;
        if self.touched.len() <= number / 64 {
            // Room for many: it must not grow with each head.
            self.touched.resize((number / 64 + 1).next_power_of_two(), 0);
        }
        self.touched[number / 64] |= 1 << (number % 64);
    }

    pub(super) fn list(&mut self, conflict: MaskedAddress) {
        self.conflicts.push(conflict);
    }

    /// What was learned since the last call: the file that was live is closed.
    pub(crate) fn freeze(&mut self) -> Frozen {
        let ledger = self.ledger.entries_from(self.fresh_from).copied().collect();
        self.fresh_from = self.ledger.len();
        let mut heads = Vec::new();
        for (word, base) in self.touched.iter_mut().zip((0..).step_by(64)) {
            let mut left = std::mem::take(word);
            while left > 0 {
                heads.push(*self.heads.entry(base + left.trailing_zeros()));
                left &= left - 1;
            }
        }
        Frozen { ledger, heads, conflicts: std::mem::take(&mut self.conflicts) }
    }
}
