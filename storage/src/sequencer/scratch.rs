//! What a batch has added so far, while it is judged.

use takt_protocol::numbers::Numbers;
use takt_protocol::words::OrderSequence;

use crate::keys::low_half;
use crate::ledger::LedgerEntry;

/// Buffers of the sequencer, kept from batch to batch.
#[derive(Debug, Default)]
pub struct Scratch {
    learned: Vec<LedgerEntry>,
    numbers: Numbers,
    /// By number of the order key in the batch: the last sequence given out.
    orders: Vec<Option<OrderSequence>>,
    new_orders: usize,
    pub(super) verdicts: Vec<u8>,
}

impl Scratch {
    /// For a batch with so many keys that it may teach, counted as often as they stand in it, and
    /// the last sequences of its order keys.
    pub(super) fn begin(
        &mut self,
        keys: usize,
        orders: impl IntoIterator<Item = Option<OrderSequence>>,
    ) {
        self.learned.clear();
        self.numbers.reset(keys);
        self.orders.clear();
        self.orders.extend(orders);
        self.new_orders = 0;
        self.verdicts.clear();
    }

    /// What the batch teaches the ledger.
    pub(super) fn learn(&mut self, entry: LedgerEntry) {
        let learned = &self.learned;
        self.numbers.insert(low_half(entry.hash()), learned.len(), |number| {
            low_half(learned[number].hash())
        });
        self.learned.push(entry);
    }

    /// What the batch taught of a key.
    pub(super) fn get(&self, hash: u128) -> impl Iterator<Item = &LedgerEntry> {
        let numbers = self.numbers.get(low_half(hash));
        numbers.map(|number| &self.learned[number]).filter(move |entry| entry.hash() == hash)
    }

    /// How many entries the ledger gets.
    pub(super) fn learned(&self) -> usize {
        self.learned.len()
    }

    /// How many heads are new.
    pub(super) fn new_orders(&self) -> usize {
        self.new_orders
    }

    /// The next sequence of order key number `order`.
    pub(super) fn next_in_order(&mut self, order: usize) -> OrderSequence {
        let last = &mut self.orders[order];
        self.new_orders += usize::from(last.is_none());
        let next = last.unwrap_or_default().advance(1);
        *last = Some(next);
        next
    }
}
