//! Buffers of the sequencer: what older files know of a batch's keys, and what the batch has added
//! so far, while it is judged.

use takt_protocol::numbers::Numbers;
use takt_protocol::words::OrderSequence;

use crate::keys::low_half;
use crate::ledger::LedgerEntry;
use crate::state::HeadSearch;

/// Kept from batch to batch.
#[derive(Debug, Default)]
pub struct Scratch {
    /// Of all dedup keys in the batch, as often as they stand in it.
    pub(super) hashes: Vec<u128>,
    pub(super) hits: Vec<u32>,
    pub(super) heads: HeadSearch,
    /// What runs know of them.
    pub(super) found: Found,
    /// What the batch teaches the ledger.
    pub(super) learned: Contents,
    /// By number of the order key in the batch.
    pub(super) orders: Vec<OrderSoFar>,
    new_orders: usize,
    pub(super) verdicts: Vec<u8>,
}

/// How far an order has come.
#[derive(Debug, Clone, Copy)]
pub(super) struct OrderSoFar {
    /// The last sequence given out.
    pub(super) last: Option<OrderSequence>,
    /// It was quiet for longer than the horizon, and begins again.
    pub(super) expired: bool,
}

/// Ledger entries that all come before the first is looked up. A key may have any number of them.
#[derive(Debug, Default)]
pub(super) struct Found(Vec<LedgerEntry>);

impl Found {
    pub(super) fn push(&mut self, entry: LedgerEntry) {
        self.0.push(entry);
    }

    /// All are there.
    pub(super) fn sort(&mut self) {
        self.0.sort_unstable_by_key(LedgerEntry::hash);
    }

    pub(super) fn get(&self, hash: u128) -> &[LedgerEntry] {
        let from = self.0.partition_point(|entry| entry.hash() < hash);
        let of_key = self.0[from..].partition_point(|entry| entry.hash() == hash);
        &self.0[from..from + of_key]
    }
}

/// Ledger entries that are looked up by hash while more come.
#[derive(Debug, Default)]
pub(super) struct Contents {
    entries: Vec<LedgerEntry>,
    numbers: Numbers,
}

impl Scratch {
    /// For a batch with these `hashes`, and so many order keys.
    pub(super) fn begin(&mut self, orders: usize) {
        self.found.0.clear();
        self.learned.begin(self.hashes.len());
        self.orders.clear();
        self.orders.reserve(orders);
        self.new_orders = 0;
        self.verdicts.clear();
    }

    /// How many entries the ledger gets.
    pub(super) fn learned(&self) -> usize {
        self.learned.entries.len()
    }

    /// How many entries the runs gave.
    #[cfg(test)]
    pub(crate) fn found(&self) -> usize {
        self.found.0.len()
    }

    /// How many heads are new.
    pub(super) fn new_orders(&self) -> usize {
        self.new_orders
    }

    /// The next sequence of order key number `order`, and whether it begins again with it.
    pub(super) fn next_in_order(&mut self, order: usize) -> (OrderSequence, bool) {
        let OrderSoFar { last, expired } = &mut self.orders[order];
        self.new_orders += usize::from(last.is_none());
        let next = last.unwrap_or_default().advance(1);
        *last = Some(next);
        (next, std::mem::take(expired))
    }
}

impl Contents {
    fn begin(&mut self, keys: usize) {
        self.entries.clear();
        self.numbers.reset(keys);
    }

    pub(super) fn push(&mut self, entry: LedgerEntry) {
        let entries = &self.entries;
        self.numbers.insert(low_half(entry.hash()), entries.len(), |number| {
            low_half(entries[number].hash())
        });
        self.entries.push(entry);
    }

    pub(super) fn get(&self, hash: u128) -> impl Iterator<Item = &LedgerEntry> {
        let numbers = self.numbers.get(low_half(hash));
        numbers.map(|number| &self.entries[number]).filter(move |entry| entry.hash() == hash)
    }
}
