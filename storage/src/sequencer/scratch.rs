//! What a batch has added so far, while it is judged.

use takt_protocol::words::OrderSequence;

use crate::ledger::LedgerEntry;

/// Buffers of the sequencer, kept from batch to batch.
#[derive(Debug, Default)]
pub struct Scratch {
    learned: Vec<LedgerEntry>,
    /// Numbers of what was learned, from 1; by the low bits of the hash or behind them, around the
    /// end; 0 is free. At most half of it is used, and its length is a power of two.
    places: Vec<u32>,
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
        self.places.clear();
        self.places.resize((2 * keys).next_power_of_two(), 0);
        self.orders.clear();
        self.orders.extend(orders);
        self.new_orders = 0;
        self.verdicts.clear();
    }

    /// What the batch teaches the ledger.
    pub(super) fn learn(&mut self, entry: LedgerEntry) {
        self.learned.push(entry);
        let number = u32::try_from(self.learned.len()).expect("a batch has few keys");
        let mut at = self.home(entry.hash());
        while self.places[at] != 0 {
            at = (at + 1) & (self.places.len() - 1);
        }
        self.places[at] = number;
    }

    /// What the batch taught of a key.
    pub(super) fn get(&self, hash: u128) -> impl Iterator<Item = &LedgerEntry> {
        let (before, behind) = self.places.split_at(self.home(hash));
        let numbers = behind.iter().chain(before).take_while(|number| **number != 0);
        numbers.map(|number| &self.learned[*number as usize - 1]).filter(move |e| e.hash() == hash)
    }

    fn home(&self, hash: u128) -> usize {
        hash as usize & (self.places.len() - 1)
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
