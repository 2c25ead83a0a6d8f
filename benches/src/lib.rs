//! What the benchmarks share: events, batches, a store and its producer, runs of keys, the page
//! cache. Everything is seeded; no clock is read and nothing random is drawn here.

pub mod cache;
mod events;
mod runs;
mod spread;
mod store;
mod unsynced;

pub use events::{DATA_BYTES, EventSource, RECORDS, batch_of, reports_of};
pub use runs::{FILE_KEYS, Runs, key};
pub use spread::Spread;
pub use store::{Feed, Seeded, feed, feed_with};
pub use unsynced::UnsyncedDisk;
