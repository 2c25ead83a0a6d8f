//! The words, the records and the wire of Takt: what every node and every client agrees on.
//!
//! Nothing here does IO, reads a clock, starts a thread or draws a random number. Whatever decides
//! takes `now` and bytes, and returns values.

pub mod batch;
pub mod chunks;
pub mod codes;
pub mod event;
pub mod hashing;
pub mod limits;
pub mod numbers;
#[cfg(takt_planted)]
pub mod planted;
pub mod session;
pub mod varint;
pub mod wire;
pub mod words;
