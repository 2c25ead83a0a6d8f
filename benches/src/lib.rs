//! What the benchmarks share: events, batches, a store and its producer. Everything is seeded; no
//! clock is read and nothing random is drawn here.

mod events;
mod store;

pub use events::{DATA_BYTES, EventSource, RECORDS, batch_of};
pub use store::{Feed, Seeded, feed, feed_with};
