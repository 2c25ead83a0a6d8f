//! Keyed look-ups on the writer's path: the dedup ledger and the order heads, as far as they are in
//! memory. What older files taught is in their runs.
//!
//! Both are a [`KeyTable`]: entries lie densely in chunks in the order in which they came, and an
//! index of 32-bit entry numbers, split into shards by the hash's top bits, leads from a hash to
//! them. Growth moves one shard of the index and never an entry, so that no insert stalls the
//! writer, and a key costs at most 64 bytes at any moment of the growth (a test measures it).
//!
//! The hashes are the node's: made with its secret, so that no client can aim at a shard.

mod entry;
mod places;
mod table;

pub use entry::{HeadEntry, Known, LedgerEntry, MaskedPlace, digest64};
pub use table::{Entry, KeyTable};

/// The dedup ledger: one entry for each different content of a dedup key.
pub type Ledger = KeyTable<LedgerEntry>;
/// Where each order key stands: one entry for each.
pub type Heads = KeyTable<HeadEntry>;

#[cfg(test)]
mod tests;
