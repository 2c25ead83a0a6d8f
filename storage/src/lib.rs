//! takt-storage
pub mod catalog;
pub mod disk;
pub mod index;
pub mod journal;
pub mod ledger;
pub mod runs;
