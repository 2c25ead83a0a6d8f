//! What a batch has added so far, while it is judged.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use takt_protocol::words::OrderSequence;

use crate::ledger::LedgerEntry;

/// Buffers of the sequencer, kept from batch to batch.
#[derive(Debug, Default)]
pub struct Scratch {
    learned: Vec<(LedgerEntry, Option<usize>)>,
    newest: HashMap<u128, usize, BuildHasherDefault<LowHalf>>,
    /// By number of the order key in the batch: the last sequence given out.
    orders: Vec<Option<OrderSequence>>,
    new_orders: usize,
    pub(super) verdicts: Vec<u8>,
}

impl Scratch {
    pub(super) fn begin(&mut self, orders: usize) {
        self.learned.clear();
        self.newest.clear();
        self.orders.clear();
        self.orders.resize(orders, None);
        self.new_orders = 0;
        self.verdicts.clear();
    }

    /// What the batch teaches the ledger.
    pub(super) fn learn(&mut self, entry: LedgerEntry) {
        let before = self.newest.insert(entry.hash(), self.learned.len());
        self.learned.push((entry, before));
    }

    /// What the batch taught of a key.
    pub(super) fn get(&self, hash: u128) -> impl Iterator<Item = &LedgerEntry> {
        let mut next = self.newest.get(&hash).copied();
        std::iter::from_fn(move || {
            let (entry, before) = self.learned.get(next?)?;
            next = *before;
            Some(entry)
        })
    }

    /// How many entries the ledger gets.
    pub(super) fn learned(&self) -> usize {
        self.learned.len()
    }

    /// How many heads are new.
    pub(super) fn new_orders(&self) -> usize {
        self.new_orders
    }

    /// The next sequence of order key number `order`; `head` gives the last that is stored.
    pub(super) fn next_in_order(
        &mut self,
        order: usize,
        head: impl FnOnce() -> Option<OrderSequence>,
    ) -> OrderSequence {
        let last = self.orders[order].or_else(|| {
            let stored = head();
            self.new_orders += usize::from(stored.is_none());
            stored
        });
        let next = last.unwrap_or_default().advance(1);
        self.orders[order] = Some(next);
        next
    }
}

/// Key hashes are uniform already: a map takes their low half as it is.
#[derive(Debug, Default)]
struct LowHalf(u64);

impl Hasher for LowHalf {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("only u128 keys are hashed");
    }

    #[expect(clippy::cast_possible_truncation, reason = "the low half is wanted")]
    fn write_u128(&mut self, hash: u128) {
        self.0 = hash as u64;
    }
}
