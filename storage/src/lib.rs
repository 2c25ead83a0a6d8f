//! Storage of a Takt node: one journal, one state folded from it, and what is looked up in them.
//!
//! [`store::Store`] is the whole: a single thread drives it, and [`view::View`] reads what is
//! durable from any thread. Below it, each knowing nothing of what is above:
//!
//! - [`sequencer`] judges batches against the [`state`], which is a fold over [`entry`]s;
//! - [`ledger`], [`runs`] and [`catalog`] find keys and batches, [`index`] lists;
//! - [`kept`] are the files that hold batches when their journal file is gone;
//! - [`journal`] is the one durable log, on the [`disk`] seam;
//! - [`keys`] are the hashes that sessions compute.
//!
//! Decisions take `now` and bytes and return values: no threads, no clocks, no randomness.

pub mod catalog;
pub mod disk;
pub mod entry;
pub mod index;
pub mod journal;
pub mod kept;
pub mod keys;
pub mod ledger;
pub mod runs;
pub mod sequencer;
pub mod state;
pub mod store;
mod sync;
pub mod view;
